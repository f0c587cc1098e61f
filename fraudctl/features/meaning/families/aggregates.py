"""What all windows have in common: their aggregates, in words, with null rules and types, and their names."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.base import Kind, Spec, last, result_type
from fraudctl.features.meaning.frozen import written
from fraudctl.features.rows.read import RowExpr
from fraudctl.project.types import Aggregate

NEVER = "never null; 0 where nothing is in the window"
_NO_VALUE = "null where no value is in the window"
KINDS = {
    "count": Kind("number of earlier events of the {entity}", "int", NEVER),
    "nunique": Kind("number of different values of {column} among earlier events of the {entity}", "int", NEVER),
    "sum": Kind("sum of {column} over earlier events of the {entity}", "float", _NO_VALUE),
    "mean": Kind("mean {column} of earlier events of the {entity}", "float", _NO_VALUE),
    "std": Kind(
        "standard deviation of {column} over earlier events of the {entity}",
        "float",
        "null below two values in the window",
    ),
    "min": Kind("smallest {column} among earlier events of the {entity}", "float", _NO_VALUE),
    "max": Kind("largest {column} among earlier events of the {entity}", "float", _NO_VALUE),
    "median": Kind("median {column} of earlier events of the {entity}", "float", _NO_VALUE),
    "mad": Kind("median distance of {column} from its median over earlier events of the {entity}", "float", _NO_VALUE),
}
NUMERIC = frozenset(name for name, kind in KINDS.items() if kind.dtype == "float")
"""Aggregates of a column of numbers."""


class OfWindow(Spec):
    """A spec of an aggregate over a window."""

    kinds = KINDS

    entity: str
    window_us: int
    kind: str
    column: str | None
    where: RowExpr | None

    @property
    def used(self) -> tuple[str, ...]:
        """The column, and those of the condition, in the table whose rows are aggregated."""
        own = () if self.column is None else (self.column,)
        return own if self.where is None else (*own, *self.where.columns)

    @property
    def aggregate_words(self) -> str:
        """What is aggregated, without the window."""
        return KINDS[self.kind].words.format(entity=self.entity, column=self.column)

    @property
    def window_words(self) -> str:
        """The window and the condition."""
        where = "" if self.where is None else f", only those with {self.where.text}"
        return f"in the last {last(self.window_us)}{where}"

    @property
    def nulls(self) -> str:
        """By aggregate."""
        return KINDS[self.kind].nulls

    @functools.cached_property
    def text(self) -> str:
        """The condition stands as its SQL."""
        this: Any = self
        text = written(self.title, self.always, replace(this, where=None))
        return text if self.where is None else f"{text} where {self.where.sql}"

    def type_over(self, name: str, types: Mapping[str, pl.DataType]) -> str:
        """Return int for counts, else float; raise where the columns have types that cannot be aggregated."""
        if self.where is not None and result_type(self.where, types) != pl.Boolean:
            msg = f"{self.where.where}: is no condition; expected something that is true or false"
            raise ProjectError(msg)
        if self.kind in NUMERIC and self.column is not None:
            dtype = types[self.column]
            if not (dtype.is_numeric() or dtype == pl.Boolean):
                msg = f"features: {name}: {self.kind}({self.column}) needs a number, but the column is {dtype}"
                raise ProjectError(msg, hint=f"nunique({self.column}) counts distinct values of any type")
        return KINDS[self.kind].dtype


def window_name(entity: str, aggregate: Aggregate, window: str, *, tag: str | None = None) -> str:
    """Return the name of a window feature: ``card_count_1h``, ``card_mean_amount_7d``, ``card_declined_count_1h``."""
    parts = [entity, *([tag] if tag else []), aggregate.kind, *([aggregate.column] if aggregate.column else []), window]
    return "_".join(parts)
