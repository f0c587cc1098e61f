"""A policy: what turns probabilities into actions, the same in an evaluation, in a batch and online.

Two kinds. ``expected_cost`` takes for each event the action of lowest expected cost; ``thresholds`` cuts y_prob. Around
either stand prices (what an action costs beyond its money, because it is scarce or because alerts are limited), a
running capacity per day or week, applied in time order, and rules beside the model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.costs import CodeArray, CostMatrix, FloatArray, IntArray, expected_cost
from fraudctl.errors import BundleError, DataError
from fraudctl.features.rowwise import compile_row_sql

SCHEMA_VERSION = 1


def local_period(event_time: pl.Series, per: Literal["day", "week"], timezone: str) -> IntArray:
    """Give the number of the local day or week (from Monday) of each instant; days count from 1970-01-01."""
    days = event_time.dt.convert_time_zone(timezone).dt.date().cast(pl.Int32).cast(pl.Int64).to_numpy()
    return days if per == "day" else (days + 3) // 7


@dataclass(frozen=True)
class CapacityLimit:
    """Most events that an action takes in one local day or week (weeks start on Monday)."""

    action: str
    limit: int
    per: Literal["day", "week"]

    def to_dict(self) -> dict[str, Any]:
        """Give the limit as JSON."""
        return {"action": self.action, "limit": self.limit, "per": self.per}


class CapacityUse:
    """How many places each action has taken in each day or week: what a running cap remembers between calls."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()

    def taken(self, action: str, period: IntArray) -> IntArray:
        """Give the places that an action has taken in each event's period, shape ``(n_events,)``."""
        return np.array([self._counts[action, int(number)] for number in period], dtype=np.int64)

    def take(self, action: str, period: IntArray) -> None:
        """Note one more place for each of the given periods."""
        self._counts.update((action, int(number)) for number in period)

    def count(self, action: str, period: int) -> int:
        """Give the places that an action has taken in one period."""
        return self._counts[action, period]

    def add(self, action: str, period: int) -> None:
        """Note one more place in one period."""
        self._counts[action, period] += 1

    def to_list(self) -> list[list[Any]]:
        """Give what was taken as JSON: action, period, places."""
        return [[action, period, places] for (action, period), places in sorted(self._counts.items())]

    @classmethod
    def from_list(cls, document: list[list[Any]]) -> CapacityUse:
        """Read what `to_list` wrote."""
        used = cls()
        used._counts.update({(action, period): places for action, period, places in document})
        return used


@dataclass(frozen=True)
class PolicyRule:
    """A condition in Polars SQL over one row, and the action that it demands."""

    name: str
    when: str
    action: str

    def holds(self, frame: pl.DataFrame, *, timezone: str) -> npt.NDArray[np.bool_]:
        """Say for which rows the condition is true; null is false. Shape ``(n_events,)``."""
        expr = compile_row_sql(self.when, allowed=frame.columns, where=f"rule {self.name!r}")
        result = expr.apply(frame, timezone=timezone)
        if result.dtype != pl.Boolean:
            msg = f"rule {self.name!r} gives {result.dtype}; expected a condition that is true or false"
            raise DataError(msg)
        return result.fill_null(value=False).to_numpy()

    def to_dict(self) -> dict[str, Any]:
        """Give the rule as JSON."""
        return {"name": self.name, "when": self.when, "action": self.action}


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
    prices
        Money added to an action's expected cost because its capacity is scarce (its shadow price).
    alert_price
        Money added to every action but ``allow``, to hold constraints; negative where more alerts are demanded.
    capacity
        Running caps, applied in time order. An event that finds its action full takes its next best.
    rules
        Conditions that demand at least their action.
    timezone
        Where days and weeks begin.
    """

    kind: Literal["expected_cost", "thresholds"]
    matrix: CostMatrix
    thresholds: dict[str, float | None] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
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

    def decide(self, frame: pl.DataFrame, y_prob: FloatArray, *, used: CapacityUse | None = None) -> CodeArray:
        """Give the action of each event.

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
        periods: dict[str, IntArray] = {
            limit.per: local_period(frame["event_time"], limit.per, self.timezone) for limit in self.capacity
        }
        return self.decide_arrays(y_prob, table, rule_masks=masks, periods=periods, used=used)

    def decide_arrays(
        self,
        y_prob: FloatArray,
        cost_table: FloatArray | None,
        *,
        rule_masks: list[npt.NDArray[np.bool_]] | None = None,
        periods: dict[str, IntArray] | None = None,
        used: CapacityUse | None = None,
    ) -> CodeArray:
        """Decide from arrays that are ready: costs, which rules hold, and the number of each event's day or week."""
        wishes = self.wishes(y_prob, cost_table)
        if self.rules:
            wishes = _with_floor(wishes, self.floor(rule_masks or []))
        if not self.capacity:
            return wishes[:, 0]
        limits = {self.matrix.code(item.action): (item, (periods or {})[item.per]) for item in self.capacity}
        left = {code: _left(item, period, used) for code, (item, period) in limits.items()}
        codes = _in_turn(wishes, left)
        if used is not None:
            for code, (item, period) in limits.items():
                used.take(item.action, period[codes == code])
        return codes

    def wishes(self, y_prob: FloatArray, cost_table: FloatArray | None) -> CodeArray:
        """Give each event's actions from the most to the least wanted, shape ``(n_events, n_actions)``."""
        if self.kind == "expected_cost":
            if cost_table is None:
                msg = "a policy by expected cost needs the costs of each event"
                raise DataError(msg)
            priced = expected_cost(cost_table, y_prob) + self.price_row()
            return np.asarray(np.argsort(priced, axis=1, kind="stable"), dtype=np.int8)
        code = np.zeros(len(y_prob), dtype=np.int8)
        for action, threshold in self.thresholds.items():
            if threshold is not None:
                reached = y_prob >= threshold
                code[reached] = np.maximum(code[reached], self.matrix.code(action))
        n_actions = len(self.actions)
        return np.asarray((code[:, None] - np.arange(n_actions)) % n_actions, dtype=np.int8)

    def price_row(self) -> FloatArray:
        """Give the money added to each action's expected cost, shape ``(n_actions,)``."""
        row = np.array([self.prices.get(action, 0.0) + self.alert_price for action in self.actions])
        row[self.matrix.pass_code] = 0.0
        return row

    def floor(self, rule_masks: list[npt.NDArray[np.bool_]]) -> CodeArray:
        """Give the harshest action that a rule demands of each event; 0 where none holds."""
        demands = [mask * self.matrix.code(rule.action) for rule, mask in zip(self.rules, rule_masks, strict=True)]
        return np.asarray(np.maximum.reduce(demands), dtype=np.int8)

    def to_dict(self) -> dict[str, Any]:
        """Give the policy as JSON, as it stands in a bundle."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "costs": self.matrix.to_dict(),
            "thresholds": dict(self.thresholds),
            "prices": dict(self.prices),
            "alert_price": self.alert_price,
            "capacity": [limit.to_dict() for limit in self.capacity],
            "rules": [rule.to_dict() for rule in self.rules],
            "timezone": self.timezone,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Policy:
        """Read what `to_dict` wrote.

        Raises
        ------
        BundleError
            The document is of another version or not a policy.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            msg = f"the policy has schema version {document.get('schema_version')!r}; expected {SCHEMA_VERSION}"
            raise BundleError(msg, hint="train again, or use the fraudctl that wrote it")
        try:
            return cls(
                kind=document["kind"],
                matrix=CostMatrix.from_dict(document["costs"]),
                thresholds=dict(document["thresholds"]),
                prices=dict(document["prices"]),
                alert_price=float(document["alert_price"]),
                capacity=tuple(CapacityLimit(**item) for item in document["capacity"]),
                rules=tuple(PolicyRule(**item) for item in document["rules"]),
                timezone=document["timezone"],
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"the policy of the bundle cannot be read: {type(error).__name__}"
            raise BundleError(msg) from error


def _with_floor(wishes: CodeArray, floor: CodeArray) -> CodeArray:
    """Put the demanded action first where the most wanted one is milder; milder ones then come last."""
    out = wishes.copy()
    n_actions = wishes.shape[1]
    for demand in range(1, n_actions):
        rows = np.flatnonzero((floor == demand) & (wishes[:, 0] < demand))
        milder = wishes[rows]
        out[rows, : n_actions - demand] = np.arange(demand, n_actions)
        out[rows, n_actions - demand :] = milder[milder < demand].reshape(len(rows), demand)
    return out


def _left(item: CapacityLimit, period: IntArray, used: CapacityUse | None) -> tuple[IntArray, IntArray]:
    """Give the places left in each event's period before this call, and the periods."""
    taken = np.zeros(len(period), dtype=np.int64) if used is None else used.taken(item.action, period)
    return item.limit - taken, period


def _in_turn(wishes: CodeArray, left: dict[int, tuple[IntArray, IntArray]]) -> CodeArray:
    """Serve events in time order: each takes the first of its wishes that still has room in its day or week.

    Found in rounds: every event asks for its next wish, a full action keeps its earliest askers. Because all actions
    rank events alike, by time, this ends where serving them one after the other would.
    """
    asked = np.zeros(len(wishes), dtype=np.int64)
    rows = np.arange(len(wishes))
    while True:
        codes = wishes[rows, asked]
        turned_away = np.zeros(len(wishes), dtype=bool)
        for code, (places, period) in left.items():
            askers = np.flatnonzero(codes == code)
            turned_away[askers[_rank_within(period[askers]) >= places[askers]]] = True
        if not turned_away.any():
            return codes.astype(np.int8)
        asked[turned_away] += 1


def hindsight(
    policy: Policy,
    y_prob: FloatArray,
    cost_table: FloatArray,
    rule_masks: list[npt.NDArray[np.bool_]],
    periods: dict[str, IntArray],
) -> CodeArray:
    """Decide as if the whole day or week were known: scarce places go to the highest expected benefit.

    No policy can do this online; it is the upper bound that the running cap is compared with.
    """
    expected = expected_cost(cost_table, y_prob) + policy.price_row()
    wishes = policy.wishes(y_prob, cost_table)
    rows = np.arange(len(wishes))
    gain = expected[rows, wishes[:, 1]] - expected[rows, wishes[:, 0]]
    if policy.rules:
        floor = policy.floor(rule_masks)
        gain = np.where(floor > wishes[:, 0], np.inf, gain)
        wishes = _with_floor(wishes, floor)
    order = np.argsort(-gain, kind="stable")
    left = {policy.matrix.code(item.action): _left(item, periods[item.per][order], None) for item in policy.capacity}
    codes = np.empty(len(wishes), dtype=np.int8)
    codes[order] = _in_turn(wishes[order], left)
    return codes


def _rank_within(period: IntArray) -> IntArray:
    """Give the place of each event within its period, from 0, shape ``(n_events,)``."""
    order = np.argsort(period, kind="stable")
    ranked = period[order]
    starts = np.searchsorted(ranked, ranked, side="left")
    rank = np.empty(len(period), dtype=np.int64)
    rank[order] = np.arange(len(period)) - starts
    return rank
