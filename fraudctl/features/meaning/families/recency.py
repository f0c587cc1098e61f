"""Recency: how long ago something happened to an entity, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Kind, OfEntity, OfKind
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_NONE = "null where there is none"
KINDS = {
    "seconds_since_last": Kind("seconds since the last earlier event of the {entity}", "float", _NONE),
    "seconds_since_first": Kind("seconds since the first event of the {entity}", "float", _NONE),
    "seconds_since_last_known_fraud": Kind(
        "seconds since the latest fraud of the {entity} that was known by then", "float", _NONE
    ),
    "seconds_since_fraud_run_began": Kind(
        "seconds since the latest run of known frauds of the {entity} began", "float", _NONE
    ),
}


@dataclass(frozen=True)
class RecencySpec(OfEntity, OfKind):
    """Seconds since something earlier of an entity: event_time before t, label_time at or before t."""

    title = "RecencySpec"
    always = ("entity", "kind", "gap_us")
    kinds = KINDS

    entity: str
    kind: str
    gap_us: int = 0

    needs = ()
    source_reads = NO_TABLES

    @property
    def of_frauds(self) -> bool:
        """Whether it is measured from frauds, and not from events of any outcome."""
        return "fraud" in self.kind

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity, and the outcomes where it is measured from frauds."""
        return (self.entity, "label", "label_time") if self.of_frauds else (self.entity,)

    @property
    def lookback(self) -> Lookback:
        """The first or last event, or every known fraud."""
        key = frozenset({(self.entity,)})
        if self.of_frauds:
            return Lookback(frauds=key, outcomes=True)
        return Lookback(first=key) if self.kind == "seconds_since_first" else Lookback(last=key)

    @property
    def interval(self) -> str:
        """By event_time; a fraud also by when it became known."""
        return "event_time < t" + (", label_time <= t" if self.of_frauds else "")


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("recency"):
        reader.check_section(section, KINDS, place)
        for entity in section.by:
            for item in section.aggregates:
                gap = section.run_gap.us if item.kind == "seconds_since_fraud_run_began" else 0
                yield Draft(f"{entity}_{item.kind}", "recency", entity, RecencySpec(entity, item.kind, gap))


RECENCY = Family(
    "recency",
    "time since",
    (RecencySpec,),
    _drafts,
    (
        ("`[[features.recency]]`", "earlier events of *v*", RecencySpec("card", "seconds_since_last")),
        (
            "the same, of known frauds",
            "frauds of *v* whose outcomes had arrived",
            RecencySpec("card", "seconds_since_last_known_fraud"),
        ),
    ),
)
