"""The columns and types that a model's data had when it was trained: they go into its bundle and come out again.

Owns their form as JSON, and the comparison of other data with them: what is missing, renamed, retyped or extra.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from fraudctl.errors import BundleError, DataError
from fraudctl.features.rows.read import wide_dtype
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.project import Project

_PLAIN: Final[dict[str, pl.DataType]] = {
    "Int64": pl.Int64(),
    "Float64": pl.Float64(),
    "String": pl.String(),
    "Boolean": pl.Boolean(),
    "Date": pl.Date(),
    "Time": pl.Time(),
}

Columns = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class DataSchema:
    """Columns and types of the events and of the other tables, under their own names, in the types computed with."""

    events: Columns
    sources: Mapping[str, Columns] = field(default_factory=dict)

    def to_dict(self) -> JsonObject:
        """Return the schema as JSON; the order of columns is kept by lists."""
        tables = {"events": self.events, **{f"sources.{name}": columns for name, columns in self.sources.items()}}
        return {key: [[name, _text(dtype)] for name, dtype in columns.items()] for key, columns in tables.items()}

    @classmethod
    def from_dict(cls, document: Any) -> DataSchema:
        """Read what `to_dict` wrote.

        Raises
        ------
        BundleError
            The document is not of that form.
        """
        try:
            tables = {key: {name: _dtype(text) for name, text in pairs} for key, pairs in document.items()}
            events = tables.pop("events")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = "the bundle does not say which columns its data had"
            raise BundleError(msg, hint="train again with this version of fraudctl") from error
        return cls(events, {key.removeprefix("sources."): columns for key, columns in tables.items()})


def data_schema(project: Project) -> DataSchema:
    """Return the columns and types of a project's own tables."""
    from fraudctl.data import tables

    sources = {}
    for name in project.sources:
        files = tables.source_files(project, name)
        form = tables.form_of_source(project, name)
        sources[name] = _wide(tables.scan(files, form=form).collect_schema())
    return DataSchema(_wide(tables.load_schema(project)), sources)


def _wide(schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    return {name: wide_dtype(dtype) for name, dtype in schema.items()}


def _text(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.Datetime):
        return ["Datetime", dtype.time_unit, dtype.time_zone]
    return str(dtype)


def _dtype(text: Any) -> pl.DataType:
    """Read a type; one that no feature can use is only remembered as being there."""
    if isinstance(text, list):
        return pl.Datetime(text[1], text[2])
    return _PLAIN.get(text, pl.Unknown())


def time_column(project: Project) -> str:
    """Return the column with the time of events.

    Raises
    ------
    BundleError
        There is none: nothing could be said of what came before what.
    """
    if project.data.event_time is None:
        msg = "the model was trained on data without a time; scoring takes events in the order of time"
        raise BundleError(msg, hint="add event_time to [data] and train again; `fraudctl evaluate` needs none")
    return project.data.event_time


def require_columns(found: Collection[str], *, wanted: Collection[str], known: Collection[str], place: str) -> None:
    """Refuse data without the wanted columns; where a stranger is named alike, say so.

    Raises
    ------
    DataError
        A wanted column is missing.
    """
    missing = [name for name in wanted if name not in found]
    if not missing:
        return
    strangers = [name for name in found if name not in known]
    told = []
    for name in missing:
        near = difflib.get_close_matches(name, strangers, n=1, cutoff=0.5)
        told.append(f"{shown(name)} (was it renamed to {shown(near[0])}?)" if near else shown(name))
    msg = f"{place}: no column {', '.join(told)}, which the model was trained with"
    raise DataError(
        msg, hint="give every column that the model uses, under the name it had in training; null is a value"
    )


def kind_of(dtype: pl.DataType) -> str:
    """State a type in words that fit JSON and tables alike.

    >>> kind_of(pl.Int64()), kind_of(pl.Datetime("us"))
    ('a whole number', 'a time')
    """
    if dtype.is_integer():
        return "a whole number"
    if dtype.is_numeric():
        return "a number"
    if dtype == pl.Boolean:
        return "true or false"
    return "a time" if dtype.is_temporal() else "text"


def fits(found: pl.DataType, expected: pl.DataType) -> bool:
    """Return whether a column of one type can stand for a column that was of another in training.

    Whole numbers may stand for numbers; numbers for whole ones where no digit is lost, which the reading checks. Times
    may be written as text.
    """
    found, expected = wide_dtype(found), wide_dtype(expected)
    if found == pl.Null or isinstance(expected, pl.Unknown) or type(found) is type(expected):
        return True
    if expected.is_temporal():
        return found == pl.String or (found.is_temporal() and found != pl.Time)
    return found.is_numeric() and expected.is_numeric()
