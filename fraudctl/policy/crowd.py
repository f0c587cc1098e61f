"""Decide every event of a period in time order, and only then look at some of them.

Under a capacity a decision depends on who came before. So whatever is counted later (labelled events, a segment, a
group), all events are decided: those without a label, the immature ones, and those of the local day or week that had
begun before the period. Owns the arrays that this takes, and nothing about labels or money lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.policy.bids import Moments, Per
from fraudctl.policy.decide import Policy
from fraudctl.policy.places import CapacityUse, Served
from fraudctl.policy.provenance import provenance


@dataclass(frozen=True)
class Crowd:
    """Every event that takes part in deciding, in time order; arrays of shape ``(n_events,)``.

    Attributes
    ----------
    y_prob
        Calibrated probability of fraud.
    table
        Money, shape ``(n_events, n_actions, 2)``.
    rule_masks
        For each rule of the policy, where its condition is true.
    when
        Where the events lie in the local days or weeks that the policy has capacities for.
    segment
        Segment of each event as text; None where the policy has none.
    """

    y_prob: FloatArray
    table: FloatArray
    rule_masks: list[BoolArray]
    when: Mapping[Per, Moments]
    segment: pl.Series | None

    @classmethod
    def of(cls, frame: pl.DataFrame, y_prob: FloatArray, policy: Policy) -> Crowd:
        """Read the arrays from events in time order; every probability must be in [0, 1]."""
        return cls(
            y_prob=y_prob,
            table=policy.matrix.per_event(frame),
            rule_masks=[rule.holds(frame, timezone=policy.timezone) for rule in policy.rules],
            when=policy.when(frame),
            segment=None if policy.segments is None else policy.segments.values(frame, timezone=policy.timezone),
        )

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.y_prob)

    def seeing(self, y_prob: FloatArray) -> Crowd:
        """Return the same events with other probabilities."""
        return replace(self, y_prob=y_prob)

    def take(self, rows: BoolArray | IntArray) -> Crowd:
        """Return some of the events; only for what no capacity decides, or to decide them alone."""
        return Crowd(
            self.y_prob[rows],
            self.table[rows],
            [mask[rows] for mask in self.rule_masks],
            {per: item.take(rows) for per, item in self.when.items()},
            None
            if self.segment is None
            else self.segment.filter(pl.Series(rows))
            if rows.dtype == np.bool_
            else self.segment.gather(rows),
        )

    def floor(self, policy: Policy) -> CodeArray:
        """Return the mildest action that the rules of the policy allow for each event."""
        return policy.floor(self.rule_masks if policy.rules else [], self.n_events)

    def decide(self, policy: Policy, *, used: CapacityUse | None = None) -> CodeArray:
        """Return the action of every event; ``used`` holds the slots taken before, and those taken now are added."""
        return self.serve(policy, used=used).codes

    def serve(self, policy: Policy, *, used: CapacityUse | None = None) -> Served:
        """Return the action of every event and the slots that were left when it came."""
        masks = self.rule_masks if policy.rules else []
        return policy.serve_arrays(
            self.y_prob, self.table, rule_masks=masks, when=self.when, segment=self._place(policy), used=used
        )

    def decided_by(self, policy: Policy, served: Served) -> pl.Series:
        """Return by what each action that was `served` was decided; see `fraudctl.policy.provenance`."""
        masks = self.rule_masks if policy.rules else []
        return provenance(
            policy, served, self.y_prob, self.table, rule_masks=masks, when=self.when, segment=self._place(policy)
        )

    def decide_alone(self, policy: Policy, *, left: IntArray) -> CodeArray:
        """Return the action of each event by itself, with ``left`` slots at its moment, ``(n_limited, n_events)``."""
        return self.serve_alone(policy, left=left).codes

    def serve_alone(self, policy: Policy, *, left: IntArray) -> Served:
        """Return what `decide_alone` does, with the slots."""
        masks = self.rule_masks if policy.rules else []
        return policy.serve_arrays(
            self.y_prob, self.table, rule_masks=masks, when=self.when, segment=self._place(policy), left=left
        )

    def _place(self, policy: Policy) -> IntArray | None:
        if policy.segments is None or not policy.segments.thresholds or self.segment is None:
            return None
        return policy.segments.place(self.segment)
