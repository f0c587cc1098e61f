"""Look-ups: attributes of an entity in another table, as they were known at the event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.base import Draft, Family, OfSource, Spec, Types, span
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.features.meaning.near import near
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader


@dataclass(frozen=True)
class LookupSpec(OfSource):
    """An attribute of an entity in another table: that of the latest valid row that was known before t."""

    title = "LookupSpec"
    always = ("source", "entity", "column", "max_age_us")

    source: str
    entity: str
    column: str
    max_age_us: int | None = None

    nulls = "null where there is none"

    @property
    def source_reads(self) -> Mapping[str, tuple[str, ...]]:
        """The column."""
        return {self.source: (self.column,)}

    @property
    def lookback(self) -> Lookback:
        """The latest row, if it is not too old."""
        return Lookback(latest_within_us={self.source: self.max_age_us})

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the column, the entity and the table."""
        return f"{self.column.replace('_', ' ')} of the {self.entity} in {self.source}, as known at the time"

    @property
    def interval(self) -> str:
        """By when a row became usable; its age by when it became valid."""
        age = "" if self.max_age_us is None else f", valid since at most {span(self.max_age_us)}"
        return f"{self.source} known before t{age}"

    def dtype(self, name: str, types: Types) -> str:
        """Return the type of the column; text is a category."""
        found = types.sources[self.source][self.column]
        return "category" if found == pl.String else types.named(name, found)


def _drafts(reader: Reader) -> Iterator[Draft]:
    entities = reader.project.entities
    for place, section in reader.sections("lookup"):
        reader.check_entities(section.by, f"{place}.by")
        known = reader.source(section.source, section.by, place)
        usable = [name for name in known if name not in entities and name != "event_time"]
        age = None if section.max_age is None else section.max_age.us
        for column in section.columns:
            if column not in usable:
                msg = f"{place}.columns: no column {shown(column)} in source {section.source!r}{near(column, usable)}"
                raise ProjectError(msg)
            for entity in section.by:
                spec = LookupSpec(section.source, entity, column, age)
                yield Draft(f"{entity}_{section.source}_{column}", "lookup", entity, spec)


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
