"""Spacing: the gaps between the event and the latest earlier ones of an entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import DAY, NO_TABLES, Draft, Family, InWindow, Kind, OfKind

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_GAPS = "the last {gaps} gaps between events of the {entity}, this one included, in the last {last}"
_NONE = "null where no event is in the window"
KINDS = {
    "median_gap": Kind(f"median, in seconds, of {_GAPS}", "float", _NONE),
    "min_gap": Kind(f"shortest, in seconds, of {_GAPS}", "float", _NONE),
    "equal_gaps": Kind(f"most gaps that are equal in whole seconds among {_GAPS}", "int", _NONE),
}


@dataclass(frozen=True)
class SpacingSpec(InWindow, OfKind):
    """Gaps between the event and the latest earlier events of an entity, event_time in ``(t - window, t)``.

    The gaps are those before the event itself and before each of the ``gaps - 1`` latest earlier ones, as far as both
    ends are in the window or the event itself. Events of one instant have gaps of 0 between them.
    """

    title = "SpacingSpec"
    always = ("entity", "window_us", "kind", "gaps")
    kinds = KINDS

    entity: str
    window_us: int
    kind: str
    gaps: int

    needs = ()
    source_reads = NO_TABLES

    @property
    def named(self) -> Mapping[str, str]:
        """The entity, the window and the number of gaps."""
        return {**super().named, "gaps": str(self.gaps)}

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity."""
        return (self.entity,)


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("spacing"):
        reader.check_section(section, KINDS, place)
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    spec = SpacingSpec(entity, length.us, item.kind, section.last)
                    yield Draft(f"{entity}_{item.kind}_{section.last}_{length}", "spacing", entity, spec)


SPACING = Family(
    "spacing",
    "gaps between events",
    (SpacingSpec,),
    _drafts,
    (
        (
            "`[[features.spacing]]`",
            "times of the latest earlier events of *v*",
            SpacingSpec("card", DAY, "median_gap", 5),
        ),
    ),
)
