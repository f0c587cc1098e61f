"""Window aggregates over earlier events of an entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.aggregates import KINDS, OfWindow, window_name
from fraudctl.features.meaning.families.base import DAY, NO_TABLES, Draft, Family, OfEntity, Spec, Types, span
from fraudctl.features.meaning.families.source_windows import SourceWindowSpec, source_drafts
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.features.rows.read import RowExpr
from fraudctl.project.features import WindowSection
from fraudctl.project.types import Aggregate

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader


@dataclass(frozen=True)
class WindowSpec(OfWindow, OfEntity):
    """An aggregate over earlier events of an entity, event_time in ``(t - window, t)``."""

    title = "WindowSpec"
    always = ("entity", "window_us", "kind", "column", "where", "include_current")

    entity: str
    window_us: int
    kind: str
    column: str | None = None
    where: RowExpr | None = None
    include_current: bool = False

    source_reads = NO_TABLES

    @property
    def needs(self) -> tuple[str, ...]:
        """The column, and those of the condition."""
        return self.used

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity, the column, and those of the condition."""
        return (self.entity, *self.needs)

    @property
    def lookback(self) -> Lookback:
        """Events of the window."""
        return Lookback(within_us={self.entity: self.window_us})

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the aggregate, the window, the condition and whether the event itself counts."""
        current = ", this event included" if self.include_current else ""
        return f"{self.aggregate_words} {self.window_words}{current}"

    @property
    def interval(self) -> str:
        """By event_time; both ends are open."""
        own = " and the event itself" if self.include_current else ""
        return f"event_time in (t - {span(self.window_us)}, t){own}"

    def dtype(self, name: str, types: Types) -> str:
        """Return int for counts, else float."""
        return self.type_over(name, types.columns)


# ---------------------------------------------------------------- the section


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("window"):
        reader.check_entities(section.by, f"{place}.by")
        found = _of_events(reader, section, place) if section.source is None else source_drafts(reader, section, place)
        yield from found


def _of_events(reader: Reader, section: WindowSection, place: str) -> Iterator[Draft]:
    where = None
    if section.where is not None and not reader.finding_names:
        where = reader.sql(section.where, reader.known, f"{place}.where")
    columns = [reader.checked(item, KINDS, f"{place}.aggregates") for item in section.aggregates]
    for entity in section.by:
        for length in section.windows:
            for item, column in zip(section.aggregates, columns, strict=True):
                name = window_name(entity, Aggregate(item.kind, column), str(length), tag=section.name)
                spec = WindowSpec(entity, length.us, item.kind, column, where, section.include_current)
                yield Draft(name, "window", entity, spec)


WINDOWS = Family(
    "window",
    "recent activity",
    (WindowSpec, SourceWindowSpec),
    _drafts,
    (
        ("`[[features.window]]`", "earlier events of *v*", WindowSpec("card", DAY, "count")),
        (
            "the same, `include_current = true`",
            "those and the event itself, never its same-time twins",
            WindowSpec("card", DAY, "count", include_current=True),
        ),
        (
            "`[[features.window]]` with `source`",
            "rows of another table about *v*",
            SourceWindowSpec("rows", "card", DAY, "count"),
        ),
    ),
)
