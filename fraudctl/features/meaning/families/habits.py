"""Habits: the event against the latest and the usual values of an entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.aggregates import window_name
from fraudctl.features.meaning.families.base import (
    DAY,
    NO_TABLES,
    Draft,
    Family,
    InWindow,
    Kind,
    OfKind,
    Types,
)
from fraudctl.project.types import Aggregate

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_NO_EVENT = "null where no event is in the window or {column} of that event is null"
KINDS = {
    "last": Kind("{column} of the latest earlier event of the {entity} in the last {last}", "float", _NO_EVENT),
    "previous": Kind(
        "{column} of the latest earlier event but one of the {entity} in the last {last}",
        "float",
        "null where fewer than two events are in the window or {column} of that event is null",
    ),
    "changed": Kind(
        "whether {column} differs from that of the latest earlier event of the {entity} in the last {last}",
        "bool",
        "null where no event is in the window or one of the two values is null",
    ),
    "same": Kind(
        "number of latest earlier events in a row of the {entity} in the last {last} with this event's {column}",
        "int",
        "null where {column} is null",
    ),
    "seconds_same": Kind(
        "seconds since the {entity}'s {column} has been this event's, without a change in the last {last}",
        "float",
        "null where the latest earlier event has another value, or none",
    ),
    "share": Kind(
        "share of earlier events of the {entity} in the last {last} with this event's {column}",
        "float",
        "null where {column} is null, or that of every event in the window",
    ),
    "rank": Kind(
        "rank of {column} among earlier events of the {entity} in the last {last}, from 0 (lowest) to 1, ties half",
        "float",
        "null where {column} is null, or that of every event in the window",
    ),
}
NUMERIC = frozenset({"last", "previous", "rank"})
"""Aggregates of numbers and truth values; all others take a column of any type."""
AS_THEY_ARE = frozenset({"last", "previous"})
"""Those of `NUMERIC` that take texts, too, and then are categories."""


@dataclass(frozen=True)
class HabitSpec(InWindow, OfKind):
    """The event against earlier values of an entity, event_time in ``(t - window, t)``.

    The latest earlier event is the last by event_time, and by event id among those of one instant.
    """

    title = "HabitSpec"
    always = ("entity", "window_us", "kind", "column")
    kinds = KINDS

    entity: str
    window_us: int
    kind: str
    column: str

    source_reads = NO_TABLES

    @property
    def named(self) -> Mapping[str, str]:
        """The entity, the window and the column."""
        return {**super().named, "column": self.column}

    @property
    def needs(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity and the column."""
        return (self.entity, self.column)

    def dtype(self, name: str, types: Types) -> str:
        """Return the type of the kind, a category for a value that is a text; raise where it needs numbers."""
        found = types.columns[self.column]
        if self.kind in AS_THEY_ARE and found == pl.String:
            return "category"
        if self.kind in NUMERIC and not (found.is_numeric() or found == pl.Boolean):
            wanted = "a number or a text" if self.kind in AS_THEY_ARE else "a number"
            msg = f"features: {name}: {self.kind}({self.column}) needs {wanted}, but the column is {found}"
            other = "share" if self.kind == "rank" else "changed"
            raise ProjectError(msg, hint=f"{other}({self.column}) takes values of any type")
        return super().dtype(name, types)


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("habits"):
        columns = reader.check_section(section, KINDS, place)
        for entity in section.by:
            for length in section.windows:
                for item, column in zip(section.aggregates, columns, strict=True):
                    name = window_name(entity, Aggregate(item.kind, column), str(length))
                    yield Draft(name, "habits", entity, HabitSpec(entity, length.us, item.kind, str(column)))


HABITS = Family(
    "habits",
    "habits and changes",
    (HabitSpec,),
    _drafts,
    (
        (
            "`[[features.habits]]`",
            "values of earlier events of *v*",
            HabitSpec("card", DAY, "share", "merchant"),
        ),
    ),
)
