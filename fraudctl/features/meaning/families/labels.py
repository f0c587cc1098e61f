"""Aggregates over the outcomes of an entity that had arrived, by the time of their arrival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.aggregates import NEVER
from fraudctl.features.meaning.families.base import DAY, NO_TABLES, Draft, Family, OfEntity, Spec, Types, last, span
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_WORDS = {
    "known_count": "number of outcomes of the {entity} that became known in the last {last}",
    "fraud_count": "number of frauds of the {entity} that became known in the last {last}",
    "fraud_rate": "share of frauds among outcomes of the {entity} that became known in the last {last}",
    "smoothed_rate": "share of frauds (drawn to the overall rate) in the outcomes of the {entity} of the last {last}",
    "seconds_since_first_fraud": "seconds since the earliest fraud of the {entity} known in the last {last}",
    "seconds_since_last_fraud": "seconds since the latest fraud of the {entity} known in the last {last}",
}
_NO_FRAUD = "null where no known fraud is in the window"
_NULLS = {
    "known_count": NEVER,
    "fraud_count": NEVER,
    "fraud_rate": "null where no outcome is in the window",
    "smoothed_rate": "the overall rate where no outcome is in the window; null before any outcome is known",
    "seconds_since_first_fraud": _NO_FRAUD,
    "seconds_since_last_fraud": _NO_FRAUD,
}


@dataclass(frozen=True)
class LabelSpec(OfEntity):
    """An aggregate over labels of an entity's earlier events, label_time in ``(t - window, t]``."""

    title = "LabelSpec"
    always = ("entity", "window_us", "kind", "prior_strength")

    entity: str
    window_us: int
    kind: str
    prior_strength: float = 0.0

    needs = ()
    source_reads = NO_TABLES

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity and the outcomes."""
        return (self.entity, "label", "label_time")

    @property
    def lookback(self) -> Lookback:
        """Outcomes that arrived in the window; of all others, for a smoothed rate, their number."""
        within = {self.entity: self.window_us}
        return Lookback(labels_within_us=within, outcomes=True, prior=self.kind == "smoothed_rate")

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the aggregate and the window."""
        return _WORDS[self.kind].format(entity=self.entity, last=last(self.window_us))

    @property
    def interval(self) -> str:
        """By label_time: an outcome that arrives at t is known at t."""
        return f"label_time in (t - {span(self.window_us)}, t] of events before t"

    @property
    def nulls(self) -> str:
        """By aggregate."""
        return _NULLS[self.kind]

    def dtype(self, _name: str, _types: Types) -> str:
        """Return int for counts, else float."""
        return "int" if self.kind in {"known_count", "fraud_count"} else "float"


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("labels"):
        reader.check_section(section, _WORDS, place)
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    strength = section.prior_strength if item.kind == "smoothed_rate" else 0.0
                    spec = LabelSpec(entity, length.us, item.kind, strength)
                    yield Draft(f"{entity}_{item.kind}_{length}", "labels", entity, spec)


LABELS = Family(
    "labels",
    (LabelSpec,),
    _drafts,
    (
        (
            "`[[features.labels]]`",
            "outcomes of earlier events of *v* that had arrived",
            LabelSpec("card", DAY, "known_count"),
        ),
    ),
)
