"""What a policy is chosen on: the events of the folds, all of which are decided and some of which are counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.costs import taken_cost
from fraudctl.errors import DataError
from fraudctl.metrics import ratios
from fraudctl.outcomes import KnownOutcomes
from fraudctl.policy.bids import local_period
from fraudctl.policy.crowd import Crowd
from fraudctl.policy.decide import Policy
from fraudctl.project import Project
from fraudctl.uncertainty import Clusters, Estimate, difference_estimate
from fraudctl.weights import WEIGHT

DEFAULT_CONFIDENCE = 0.90


@dataclass(frozen=True)
class Ground(KnownOutcomes):
    """What a policy is chosen on: all events of the folds are decided, those with known labels are counted.

    The arrays of the base class are of the events with known labels.

    Attributes
    ----------
    crowd
        Every event of the folds' periods in time order, and those of the day or week in which the first of them begins.
    judged, lead
        Which of the crowd have a known label, and which came before the folds' periods.
    y_raw
        Uncalibrated probabilities of the crowd, where the raw scores are there.
    days
        Number of the local day of each event of the crowd.
    confidence
        Of the intervals.
    known_share
        Share of all events of the folds' periods that the crowd holds.
    """

    crowd: Crowd
    judged: BoolArray
    lead: BoolArray
    y_raw: FloatArray | None
    days: IntArray
    confidence: float
    known_share: float = 1.0

    @cached_property
    def seen(self) -> Crowd:
        """The judged events, for what no capacity decides."""
        return self.crowd.take(self.judged)

    @property
    def y_prob(self) -> FloatArray:
        """Probabilities of the judged events."""
        return self.seen.y_prob

    @property
    def table(self) -> FloatArray:
        """Money of each action on each outcome of the judged events."""
        return self.seen.table

    @property
    def rule_masks(self) -> list[BoolArray]:
        """Where the condition of each rule is true among the judged events."""
        return self.seen.rule_masks

    @property
    def segment(self) -> pl.Series | None:
        """Segment of each judged event as text, where the project asks for them."""
        return self.seen.segment

    def priced(self, table: FloatArray) -> Ground:
        """Return the same events with other costs, shape ``(n_crowd, n_actions, 2)``."""
        return replace(self, crowd=replace(self.crowd, table=table))

    def decide(self, policy: Policy) -> CodeArray:
        """Return the actions of the judged events, decided among all others in time order."""
        return self.crowd.decide(policy)[self.judged]

    def floor(self, policy: Policy) -> CodeArray:
        """Return the mildest action that the rules allow for each judged event."""
        return self.seen.floor(policy)

    def cost(self, codes: CodeArray) -> float:
        """Return the money of actions on the true outcomes."""
        return float((self.weight * taken_cost(self.table, codes, self.y_true)).sum())

    def dearer(self, codes: CodeArray, than: CodeArray) -> Estimate:
        """Return by how much actions cost more than others, in money, with the paired interval."""
        pair = [
            ratios.cost(self.y_true, taken_cost(self.table, item, self.y_true), weight=self.weight)
            for item in (codes, than)
        ]
        return difference_estimate(pair[0], pair[1], self.clusters, confidence=self.confidence)

    @property
    def outcome(self) -> FloatArray:
        """Money of each action on the true outcome, with weights, shape ``(n_events, n_actions)``."""
        rows = np.arange(len(self.y_true))
        return np.asarray(self.table[rows, :, self.y_true.astype(np.int64)] * self.weight[:, None], dtype=np.float64)


def ground_of(project: Project, bare: Policy, frame: pl.DataFrame, y_prob: FloatArray) -> Ground:
    """Return the ground of fold predictions.

    Parameters
    ----------
    bare
        Costs, capacity, rules and segments, before anything is chosen.
    frame, y_prob
        The events of the folds with their outcomes, and their calibrated probabilities, shape ``(n_events,)``.

    Raises
    ------
    DataError
        No event has a known label.
    """
    frame = frame.with_columns(pl.Series("y_prob", y_prob)).sort("event_time", maintain_order=True)
    seen = frame.filter(pl.col("label").is_not_null())
    if seen.height == 0:
        msg = "none of the events has a known label, and a policy is chosen on labels"
        raise DataError(msg)
    columns = frame.columns
    return Ground(
        crowd=Crowd.of(frame, frame["y_prob"].to_numpy(), bare),
        judged=frame["label"].is_not_null().to_numpy(),
        lead=(frame["fold"] == 0).to_numpy() if "fold" in columns else np.zeros(frame.height, dtype=np.bool_),
        y_raw=1 / (1 + np.exp(-frame["y_score"].to_numpy())) if "y_score" in columns else None,
        days=local_period(frame["event_time"], "day", bare.timezone),
        y_true=seen["label"].cast(pl.Int8).to_numpy(),
        weight=seen[WEIGHT].to_numpy() if WEIGHT in columns else np.ones(seen.height),
        amount=seen["amount"].cast(pl.Float64).fill_null(np.nan).to_numpy() if "amount" in columns else None,
        clusters=Clusters.carried(seen, [name for name in project.entities if name in columns]),
        confidence=DEFAULT_CONFIDENCE if project.gate is None else project.gate.confidence,
    )
