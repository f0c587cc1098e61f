"""Hours: the local time of day of the event against the usual one of an entity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import DAY, NO_TABLES, Draft, Family, InWindow, Kind, OfKind

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

KINDS = {
    "hour_distance": Kind(
        "hours between the time of day and the usual one of the {entity} over the last {last}",
        "float",
        "null where no event is in the window or its hours cancel out",
    ),
    "hour_concentration": Kind(
        "how much the {entity} kept to one time of day, from 0 to 1, over the last {last}",
        "float",
        "null where no event is in the window",
    ),
}


@dataclass(frozen=True)
class HourSpec(InWindow, OfKind):
    """The local hour of the event against those of the entity's earlier events, event_time in ``(t - window, t)``."""

    title = "HourSpec"
    always = ("entity", "window_us", "kind")
    kinds = KINDS

    entity: str
    window_us: int
    kind: str

    needs = ()
    source_reads = NO_TABLES

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity and the time."""
        return (self.entity, "event_time")


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("hours"):
        reader.check_section(section, KINDS, place)
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    spec = HourSpec(entity, length.us, item.kind)
                    yield Draft(f"{entity}_{item.kind}_{length}", "hours", entity, spec)


HOURS = Family(
    "hours",
    "usual hours",
    (HourSpec,),
    _drafts,
    (
        (
            "`[[features.hours]]`",
            "hours of the day of earlier events of *v*",
            HourSpec("card", DAY, "hour_distance"),
        ),
    ),
)
