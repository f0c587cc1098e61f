"""Recency: how long ago something happened to an entity, in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, OfEntity, Spec, Types
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_WORDS = {
    "seconds_since_last": "seconds since the last earlier event of the {entity}",
    "seconds_since_first": "seconds since the first event of the {entity}",
    "seconds_since_last_known_fraud": "seconds since the latest fraud of the {entity} that was known by then",
    "seconds_since_fraud_run_began": "seconds since the latest run of known frauds of the {entity} began",
}


@dataclass(frozen=True)
class RecencySpec(OfEntity):
    """Seconds since something earlier of an entity: event_time before t, label_time at or before t."""

    title = "RecencySpec"
    always = ("entity", "kind", "gap_us")

    entity: str
    kind: str
    gap_us: int = 0

    needs = ()
    source_reads = NO_TABLES
    nulls = "null where there is none"

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

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return what it is measured from."""
        return _WORDS[self.kind].format(entity=self.entity)

    @property
    def interval(self) -> str:
        """By event_time; a fraud also by when it became known."""
        return "event_time < t" + (", label_time <= t" if self.of_frauds else "")

    def dtype(self, _name: str, _types: Types) -> str:
        """Return float."""
        return "float"


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("recency"):
        reader.check_section(section, _WORDS, place)
        for entity in section.by:
            for item in section.aggregates:
                gap = section.run_gap.us if item.kind == "seconds_since_fraud_run_began" else 0
                yield Draft(f"{entity}_{item.kind}", "recency", entity, RecencySpec(entity, item.kind, gap))


RECENCY = Family(
    "recency",
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
