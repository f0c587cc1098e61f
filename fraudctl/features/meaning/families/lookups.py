"""Look-ups: attributes of an entity in another table, as they were known at the event."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.base import Draft, Family, Kind, OfKind, OfSource, Types, span
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.features.meaning.near import near
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader


VALUE, AGE = "value", "seconds_since"
_NO_TIME = "null where there is no row, or no time in it"
KINDS = {
    VALUE: Kind("{column} of the {entity} in {source}, as known at the time", "", "null where there is none"),
    AGE: Kind(
        "seconds from {column} of the {entity} in {source} to the event, as known at the time", "float", _NO_TIME
    ),
    "hour": Kind("hour of the day of {column} of the {entity} in {source}, as known at the time", "int", _NO_TIME),
    "same_second": Kind(
        "whether {column} of the {entity} in {source}, as known at the time, lies in the second of the event",
        "bool",
        _NO_TIME,
    ),
}
"""What of an attribute is looked up: itself, or what a date or a time gives."""
_OF_TIMES = frozenset({"hour", "same_second"})
"""Kinds that a date has not."""
_CALL = re.compile(r"([A-Za-z_]\w*)\((.+)\)")


@dataclass(frozen=True)
class LookupSpec(OfKind, OfSource):
    """An attribute of an entity in another table: that of the latest valid row that was known before t."""

    title = "LookupSpec"
    always = ("source", "entity", "column", "max_age_us")

    source: str
    entity: str
    column: str
    max_age_us: int | None = None
    kind: str = VALUE

    kinds = KINDS

    @property
    def named(self) -> Mapping[str, str]:
        """The column, the entity and the table."""
        return {"column": self.column.replace("_", " "), "entity": self.entity, "source": self.source}

    @property
    def source_reads(self) -> Mapping[str, tuple[str, ...]]:
        """The column."""
        return {self.source: (self.column,)}

    @property
    def lookback(self) -> Lookback:
        """The latest row, if it is not too old."""
        return Lookback(latest_within_us={self.source: self.max_age_us})

    @property
    def interval(self) -> str:
        """By when a row became usable; its age by when it became valid."""
        age = "" if self.max_age_us is None else f", valid since at most {span(self.max_age_us)}"
        return f"{self.source} known before t{age}"

    def dtype(self, name: str, types: Types) -> str:
        """Return the type of the column, of which text is a category, or that of the kind; raise where none fits."""
        found = types.sources[self.source][self.column]
        if self.kind == VALUE:
            return "category" if found == pl.String else types.named(name, found)
        if not is_time(found) or (found == pl.Date and self.kind in _OF_TIMES):
            wanted = "a time" if self.kind in _OF_TIMES else "a date or a time"
            msg = f"features: {name}: {self.kind}({self.column}) needs {wanted}, but the column is {found}"
            hint = f"""[sources.{self.source}.types] {self.column} = "time" reads times in text"""
            raise ProjectError(msg, hint=hint if found == pl.String else None)
        return super().dtype(name, types)


def is_time(dtype: pl.DataType) -> bool:
    """Return whether a column holds dates or times, and not durations or times of the day."""
    return dtype == pl.Date or isinstance(dtype, pl.Datetime)


def _drafts(reader: Reader) -> Iterator[Draft]:
    entities = reader.project.entities
    for place, section in reader.sections("lookup"):
        reader.check_entities(section.by, f"{place}.by")
        known = reader.source(section.source, section.by, place)
        usable = [name for name in known if name not in entities and name != "event_time"]
        age = None if section.max_age is None else section.max_age.us
        for item in section.columns:
            kind, column = _asked(item, usable, f"{place}.columns")
            if column not in usable:
                msg = f"{place}.columns: no column {shown(column)} in source {section.source!r}{near(column, usable)}"
                raise ProjectError(msg)
            kind = AGE if kind == VALUE and is_time(known[column]) else kind
            for entity in section.by:
                spec = LookupSpec(section.source, entity, column, age, kind)
                yield Draft(f"{entity}_{section.source}_{_NAMES[kind].format(column)}", "lookup", entity, spec)


_NAMES = {VALUE: "{}", AGE: "seconds_since_{}", "hour": "{}_hour", "same_second": "{}_same_second"}


def _asked(item: str, usable: Collection[str], place: str) -> tuple[str, str]:
    """Return the kind and the column of an entry of ``columns``, such as ``limit`` or ``hour(opened_at)``."""
    call = None if item in usable else _CALL.fullmatch(item)
    if call is None:
        return VALUE, item
    kind, column = call.groups()
    if kind not in KINDS or kind == VALUE:
        known = sorted(KINDS.keys() - {VALUE})
        msg = f"{place}: {shown(item)}; of a column there is no {kind!r}{near(kind, known)}"
        raise ProjectError(msg, hint=f"name the column alone, or one of {', '.join(known)} of a time")
    return kind, column


LOOKUPS = Family(
    "lookup",
    "attributes",
    (LookupSpec,),
    _drafts,
    (
        (
            "`[[features.lookup]]`",
            "the latest valid row of another table about *v*",
            LookupSpec("rows", "card", "segment"),
        ),
    ),
)
