"""A policy: what turns probabilities into actions, the same in an evaluation, in a batch and online.

Two kinds. ``expected_cost`` takes for each event the action of lowest expected cost; ``thresholds`` cuts y_prob. To the
first belong prices (what an action costs beyond its money, because alerts are limited or its places are scarce) and a
running capacity per day or week, served in time order. Rules apply to both kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import CodeArray, FloatArray, IntArray
from fraudctl.costs import CostMatrix, expected_cost
from fraudctl.documents.results import fields_from_json, keys_of
from fraudctl.errors import BundleError, DataError
from fraudctl.features.rows.read import compile_row_sql
from fraudctl.maturity import period_start
from fraudctl.policy.bids import BidPrices, Moments, Per, local_moments
from fraudctl.policy.expressions import readable
from fraudctl.policy.places import CapacityLimit, CapacityUse, Scarce, Served, serve_alone, serve_in_turn
from fraudctl.policy.segments import Segments, Thresholds

SCHEMA_VERSION: Final = 2


@dataclass(frozen=True)
class PolicyRule:
    """A condition in Polars SQL over one row, and the action that it demands."""

    name: str
    """What reports call it."""
    when: str
    """The condition."""
    action: str
    """The action that it demands at least."""

    def holds(self, frame: pl.DataFrame, *, timezone: str) -> npt.NDArray[np.bool_]:
        """Return for which rows the condition is true; null is false. Shape ``(n_events,)``."""
        expr = compile_row_sql(self.when, allowed=readable(frame), where=f"rule {self.name!r}")
        result = expr.apply(frame, timezone=timezone)
        if result.dtype != pl.Boolean:
            msg = f"rule {self.name!r} gives {result.dtype}; expected a condition that is true or false"
            raise DataError(msg)
        return result.fill_null(value=False).to_numpy()


@dataclass(frozen=True)
class Policy:
    """What turns scores into actions; frozen with the model that it was chosen for.

    Parameters
    ----------
    kind
        ``expected_cost`` or ``thresholds``.
    matrix
        The costs it decides with, as they were when it was chosen.
    thresholds
        For ``thresholds``: action -> lowest y_prob that gets it, rising with harshness; ``None`` never.
    segments
        For ``thresholds``: which events have thresholds of their own instead; None where none are asked for.
    bids
        For scarce actions: the price of a place, added to the expected cost.
    alert_price
        Money added to every action but ``allow``, to hold constraints; negative where more alerts are demanded.
    capacity
        Running caps, served in time order. An event that finds its action full takes its next best.
    rules
        Conditions that demand at least their action.
    timezone
        Where days and weeks begin.
    """

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION
    JSON = ("kind", "matrix as costs", "thresholds", "segments", "bids", "alert_price", "capacity", "rules", "timezone")

    kind: Literal["expected_cost", "thresholds"]
    matrix: CostMatrix
    thresholds: Thresholds = field(default_factory=dict)
    segments: Segments | None = None
    bids: dict[str, BidPrices] = field(default_factory=dict)
    alert_price: float = 0.0
    capacity: tuple[CapacityLimit, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    timezone: str = "UTC"

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions; the codes of `decide` are positions in it."""
        return self.matrix.actions

    @property
    def columns(self) -> tuple[str, ...]:
        """Data columns that the costs need beyond the amount."""
        return self.matrix.columns

    @property
    def effective(self) -> Policy:
        """The same policy without segments that have no thresholds of their own, which decide nothing."""
        return self if self.segments is None or self.segments.thresholds else replace(self, segments=None)

    def decide(self, frame: pl.DataFrame, y_prob: FloatArray, *, used: CapacityUse | None = None) -> CodeArray:
        """Return the action of each event.

        Parameters
        ----------
        frame
            Events in time order, with what the costs and rules need (and ``event_time`` where there is a capacity).
        y_prob
            Calibrated probabilities of fraud, shape ``(n_events,)``.
        used
            Places taken by earlier calls; those of this one are added. With it, events decided one at a time get the
            same actions as all at once.

        Returns
        -------
        array of shape ``(n_events,)``
            Positions in `actions`.

        Raises
        ------
        DataError
            A probability is not in [0, 1], or a column is missing.
        """
        if len(y_prob) != frame.height or not ((y_prob >= 0) & (y_prob <= 1)).all():
            bad = int((~((y_prob >= 0) & (y_prob <= 1))).sum())
            msg = f"y_prob must be a number in [0, 1] per event; {len(y_prob)} for {frame.height} events, {bad} outside"
            raise DataError(msg)
        masks = [rule.holds(frame, timezone=self.timezone) for rule in self.rules]
        table = self.matrix.per_event(frame) if self.kind == "expected_cost" else None
        when, segment = self.when(frame), self.segment(frame)
        return self.decide_arrays(y_prob, table, rule_masks=masks, when=when, segment=segment, used=used)

    def segment(self, frame: pl.DataFrame) -> IntArray | None:
        """Return the position of each event's segment among those with thresholds of their own, -1 for the rest."""
        if self.segments is None or not self.segments.thresholds:
            return None
        return self.segments.place(self.segments.values(frame, timezone=self.timezone))

    def when(self, frame: pl.DataFrame) -> dict[Per, Moments]:
        """Return where the events lie in the days or weeks that the policy has capacities for."""
        pers = dict.fromkeys(item.per for item in self.capacity)
        return {per: local_moments(frame["event_time"], per, self.timezone) for per in pers}

    def lead_from(self, moment: datetime) -> datetime:
        """Return where the local days and weeks of capacities that hold at a moment began; it, without a capacity."""
        return min((period_start(moment, item.per, self.timezone) for item in self.capacity), default=moment)

    def decide_arrays(
        self,
        y_prob: FloatArray,
        cost_table: FloatArray | None,
        *,
        rule_masks: list[npt.NDArray[np.bool_]] | None = None,
        when: Mapping[Per, Moments] | None = None,
        segment: IntArray | None = None,
        used: CapacityUse | None = None,
    ) -> CodeArray:
        """Decide from arrays that are ready: costs, which rules hold, where events lie in time and in which segment."""
        found = self.serve_arrays(y_prob, cost_table, rule_masks=rule_masks, when=when, segment=segment, used=used)
        return found.codes

    def serve_arrays(
        self,
        y_prob: FloatArray,
        cost_table: FloatArray | None,
        *,
        rule_masks: list[npt.NDArray[np.bool_]] | None = None,
        when: Mapping[Per, Moments] | None = None,
        segment: IntArray | None = None,
        used: CapacityUse | None = None,
        left: IntArray | None = None,
    ) -> Served:
        """Return the actions and the slots that were left when each event came.

        ``left``, shape ``(n_limited, n_events)``, are the free slots of each event: each is then decided by itself,
        instead of one after the other.
        """
        floor = self.floor(rule_masks or [], len(y_prob))
        none = np.zeros((0, len(y_prob)), dtype=np.int64)
        if self.kind == "thresholds":
            return Served(np.asarray(np.maximum(self.cut(y_prob, segment), floor), dtype=np.int8), none)
        priced = self.priced(y_prob, cost_table)
        if not self.capacity:
            return Served(np.asarray(np.maximum(np.argmin(priced, axis=1), floor), dtype=np.int8), none)
        scarce = self.scarce(when or {})
        if left is not None:
            return Served(serve_alone(priced, floor, scarce, left=left), left)
        return serve_in_turn(priced, floor, scarce, used=used)

    def scarce(self, when: Mapping[Per, Moments]) -> list[Scarce]:
        """Return the scarce actions with their places and prices."""
        return [
            Scarce(self.matrix.code(item.action), item, self.bids.get(item.action), when[item.per])
            for item in self.capacity
        ]

    def cut(self, y_prob: FloatArray, segment: IntArray | None) -> CodeArray:
        """Return the harshest action whose threshold each probability reaches, by the thresholds of its segment."""
        code = self._reached(y_prob, self.thresholds)
        if self.segments is not None and segment is not None:
            for place, own in enumerate(self.segments.thresholds.values()):
                rows = np.flatnonzero(segment == place)
                code[rows] = self._reached(y_prob[rows], own)
        return code

    def _reached(self, y_prob: FloatArray, thresholds: Thresholds) -> CodeArray:
        code = np.zeros(len(y_prob), dtype=np.int8)
        for action, threshold in thresholds.items():
            if threshold is not None:
                code = np.maximum(code, (y_prob >= threshold) * np.int8(self.matrix.code(action)))
        return code

    def priced(self, y_prob: FloatArray, cost_table: FloatArray | None) -> FloatArray:
        """Return the expected cost of each action and the price of an alert, shape ``(n_events, n_actions)``."""
        if cost_table is None:
            msg = "a policy by expected cost needs the costs of each event"
            raise DataError(msg)
        return expected_cost(cost_table, y_prob) + self.price_row()

    def price_row(self) -> FloatArray:
        """Return the price of an alert for each action, shape ``(n_actions,)``."""
        row = np.full(len(self.actions), self.alert_price)
        row[self.matrix.pass_code] = 0.0
        return row

    def floor(self, rule_masks: list[npt.NDArray[np.bool_]], n_events: int) -> CodeArray:
        """Return the harshest action that a rule demands of each event; 0 where none holds."""
        found = np.zeros(n_events, dtype=np.int8)
        for rule, mask in zip(self.rules, rule_masks, strict=True):
            found = np.maximum(found, mask * np.int8(self.matrix.code(rule.action)))
        return found

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Policy:
        """Return the policy that `fraudctl.documents.results.as_json` wrote.

        Raises
        ------
        BundleError
            The document is of another version or not a policy.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            msg = f"the policy has schema version {document.get('schema_version')!r}; expected {SCHEMA_VERSION}"
            raise BundleError(msg, hint="`fraudctl threshold` chooses it again; or use the fraudctl that wrote it")
        lost = sorted(keys_of(cls) - set(document))
        if lost:
            msg = f"the policy of the bundle cannot be read: it has no {', '.join(lost)}"
            raise BundleError(msg)
        try:
            return fields_from_json(cls, document)
        except (KeyError, TypeError, ValueError) as error:
            msg = f"the policy of the bundle cannot be read: {type(error).__name__}"
            raise BundleError(msg) from error


def hindsight(policy: Policy, priced: FloatArray, floor: CodeArray, when: Mapping[Per, Moments]) -> CodeArray:
    """Decide as if the whole day or week were known: scarce places go to the highest expected benefit.

    No policy can do this online; it is the upper bound that the running cap is compared with.

    Parameters
    ----------
    priced, floor
        From `Policy.priced` and `Policy.floor`.
    when
        From `Policy.when`.
    """
    two = np.partition(priced, 1, axis=1)
    gain = np.where(floor > np.argmin(priced, axis=1), np.inf, two[:, 1] - two[:, 0])
    order = np.argsort(-gain, kind="stable")
    free = replace(policy, bids={}).scarce({per: item.take(order) for per, item in when.items()})
    codes = np.empty(len(priced), dtype=np.int8)
    codes[order] = serve_in_turn(priced[order], floor[order], free).codes
    return codes
