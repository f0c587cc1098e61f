"""Aggregates over the outcomes of an entity that had arrived, by the time of their arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.aggregates import NEVER
from fraudctl.features.meaning.families.base import DAY, NO_TABLES, Draft, Family, Kind, OfEntity, OfKind, span
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_NO_FRAUD = "null where no known fraud is in the window"
KINDS = {
    "known_count": Kind("number of outcomes of the {entity} that became known in the last {last}", "int", NEVER),
    "fraud_count": Kind("number of frauds of the {entity} that became known in the last {last}", "int", NEVER),
    "fraud_rate": Kind(
        "share of frauds among outcomes of the {entity} that became known in the last {last}",
        "float",
        "null where no outcome is in the window",
    ),
    "smoothed_rate": Kind(
        "share of frauds (drawn to the overall rate) in the outcomes of the {entity} of the last {last}",
        "float",
        "the overall rate where no outcome is in the window; null before any outcome is known",
    ),
    "seconds_since_first_fraud": Kind(
        "seconds since the earliest fraud of the {entity} known in the last {last}", "float", _NO_FRAUD
    ),
    "seconds_since_last_fraud": Kind(
        "seconds since the latest fraud of the {entity} known in the last {last}", "float", _NO_FRAUD
    ),
}


@dataclass(frozen=True)
class LabelSpec(OfEntity, OfKind):
    """An aggregate over labels of an entity's earlier events, label_time in ``(t - window, t]``."""

    title = "LabelSpec"
    always = ("entity", "window_us", "kind", "prior_strength")
    kinds = KINDS

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

    @property
    def interval(self) -> str:
        """By label_time: an outcome that arrives at t is known at t."""
        return f"label_time in (t - {span(self.window_us)}, t] of events before t"


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("labels"):
        reader.check_section(section, KINDS, place)
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    strength = section.prior_strength if item.kind == "smoothed_rate" else 0.0
                    spec = LabelSpec(entity, length.us, item.kind, strength)
                    yield Draft(f"{entity}_{item.kind}_{length}", "labels", entity, spec)


LABELS = Family(
    "labels",
    "known frauds",
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
