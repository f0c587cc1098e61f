"""Features of one row: columns of the data as they are, and row-level SQL."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Spec, Types
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.features.meaning.near import near
from fraudctl.features.rows.read import RowExpr
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader


COLUMN = "column"
"""What `Feature.family` is of the features of ``[features.columns]``; of all others it is the key of the section."""


@dataclass(frozen=True)
class RawSpec(Spec):
    """A column of the data as it is."""

    title = "RawSpec"
    always = ("column",)

    column: str

    needs = ()
    source_reads = NO_TABLES
    grouped_by = ()
    partitioned_by = None
    lookback = Lookback()
    interval = "the event itself"
    nulls = "null where the data is"

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def meaning(self, name: str, _others: Mapping[str, Spec]) -> str:
        """Return the name."""
        return name.replace("_", " ")

    def dtype(self, name: str, types: Types) -> str:
        """Return the type of the column."""
        return types.named(name, types.columns[self.column])


@dataclass(frozen=True)
class RowSpec(Spec):
    """A row-level expression; its text is its SQL."""

    title = "RowSpec"
    always = ("expr",)

    expr: RowExpr

    source_reads = NO_TABLES
    grouped_by = ()
    partitioned_by = None
    lookback = Lookback()
    interval = "the event itself"
    nulls = "null where the expression is null or not finite"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the expression."""
        return self.expr.columns

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the expression."""
        return self.expr.columns

    def meaning(self, name: str, _others: Mapping[str, Spec]) -> str:
        """Return the name and the expression."""
        return f"{name.replace('_', ' ')} ({self.expr.text})"

    def dtype(self, name: str, types: Types) -> str:
        """Return the type of the expression."""
        return types.named(name, types.of(self.expr))

    @functools.cached_property
    def text(self) -> str:
        """The SQL."""
        return f"{self.title} {self.expr.sql}"


def _raw(reader: Reader) -> Iterator[Draft]:
    project = reader.project
    hidden = {"event_time", *(name for name, key in project.entities.items() if not key.made and key.column != name)}
    usable = [name for name in reader.columns if name not in hidden]
    for i, name in enumerate(project.features.raw):
        column = "amount" if name == project.data.amount else name
        if column not in usable:
            msg = f"features.raw[{i}]: no column {shown(name)} that may be a feature{near(name, usable)}"
            raise ProjectError(msg)
        yield Draft(column, "raw", None, RawSpec(column))


def _columns(reader: Reader) -> Iterator[Draft]:
    for name, text in reader.project.features.columns.items():
        if reader.finding_names:  # an expression may use names that are not found yet
            yield Draft(name, COLUMN, None, RawSpec(name))
            continue
        expr = reader.sql(text, reader.known, f"features.columns.{name}")
        if len(expr.columns) == 1 and expr.columns[0] in reader.project.entities and expr.bare:
            msg = f"features.columns.{name}: is nothing but the id of entity {shown(expr.columns[0])}"
            raise ProjectError(msg, hint="an id with few values may be a feature: list its column in features.raw")
        yield Draft(name, COLUMN, None, RowSpec(expr))


RAW = Family(
    "raw", "the event as it is", (RawSpec,), _raw, (("`[features] raw`", "the event's own columns", RawSpec("amount")),)
)
COLUMNS = Family(
    "columns",
    "calculated figures",
    (RowSpec,),
    _columns,
    (
        (
            "`[features.columns]`",
            "the event's own columns and features",
            RowSpec(RowExpr("amount > 1", "amount > 1", ("amount",), "the docs")),
        ),
    ),
)
