"""Window aggregates over rows of another table about an entity; the section is that of windows, with a `source`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.aggregates import KINDS, OfWindow, window_name
from fraudctl.features.meaning.families.base import Draft, OfSource, Spec, Types, span
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.features.rows.read import RowExpr
from fraudctl.project.features import WindowSection

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader


@dataclass(frozen=True)
class SourceWindowSpec(OfWindow, OfSource):
    """An aggregate over rows of another table about the same entity, usable in ``(t - window, t)``."""

    title = "SourceWindowSpec"
    always = ("source", "entity", "window_us", "kind", "column", "where")

    source: str
    entity: str
    window_us: int
    kind: str
    column: str | None = None
    where: RowExpr | None = None

    @property
    def source_reads(self) -> Mapping[str, tuple[str, ...]]:
        """The column, and those of the condition."""
        return {self.source: self.used}

    @property
    def lookback(self) -> Lookback:
        """Rows of the window."""
        return Lookback(rows_within_us={self.source: self.window_us})

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the aggregate, the window and the condition."""
        return f"{self.aggregate_words.replace('earlier events', self.source)} {self.window_words}"

    @property
    def interval(self) -> str:
        """By when a row became usable; both ends are open."""
        return f"{self.source} known in (t - {span(self.window_us)}, t)"

    def dtype(self, name: str, types: Types) -> str:
        """Return int for counts, else float."""
        return self.type_over(name, types.sources[self.source])


def source_drafts(reader: Reader, section: WindowSection, place: str) -> Iterator[Draft]:
    """Yield the features of a window section with a source."""
    source = str(section.source)
    known = reader.source(source, section.by, place)
    where = None if section.where is None else reader.sql(section.where, known, f"{place}.where")
    for item in section.aggregates:
        reader.checked(item, KINDS, f"{place}.aggregates", known=known)
    tag = source if section.name is None else f"{source}_{section.name}"
    for entity in section.by:
        for length in section.windows:
            for item in section.aggregates:
                spec = SourceWindowSpec(source, entity, length.us, item.kind, item.column, where)
                yield Draft(window_name(entity, item, str(length), tag=tag), "window", entity, spec)
