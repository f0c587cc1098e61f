"""A policy for one event at a time, without arrays: the same actions as `Policy.decide`, some hundred times sooner.

Owns no rule of its own: prices, thresholds, the floor that rules demand and the running capacity are those of
`decide`, in the same order of the same floating-point operations. A property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from fraudctl.costs import FRAUD, LEGIT, Cell
from fraudctl.errors import DataError
from fraudctl.policy.decide import CapacityUse, Policy

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()


class SinglePolicy:
    """A policy made ready for single events.

    Parameters
    ----------
    policy
        Frozen with the model.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.actions = policy.actions
        self._zone = ZoneInfo(policy.timezone)
        self._prices = [float(price) for price in policy.price_row()]
        self._limits = {policy.matrix.code(item.action): item for item in policy.capacity}
        self._demands = [policy.matrix.code(rule.action) for rule in policy.rules]
        self._cuts = [
            (policy.matrix.code(action), threshold)
            for action, threshold in policy.thresholds.items()
            if threshold is not None
        ]

    def decide(
        self, event: Mapping[str, Any], y_prob: float, *, holds: Sequence[bool], used: CapacityUse | None = None
    ) -> tuple[int, tuple[str, int] | None]:
        """Give the position of the event's action in `actions`, and the place of a limited action that it took.

        Parameters
        ----------
        event
            ``event_time`` in µs UTC (where there is a capacity), ``amount`` and the cost columns. A null amount counts
            as 0.
        y_prob
            Calibrated probability of fraud.
        holds
            For each rule, whether its condition is true.
        used
            Places taken so far; the one that this event takes is added.

        Raises
        ------
        DataError
            A cost column is null.
        """
        wishes = self._wishes(event, y_prob)
        floor = max((code for code, held in zip(self._demands, holds, strict=True) if held), default=0)
        if floor > wishes[0]:
            wishes = [*range(floor, len(wishes)), *(code for code in wishes if code < floor)]
        if not self._limits:
            return wishes[0], None
        return self._serve(wishes, event["event_time"], used if used is not None else CapacityUse())

    def _wishes(self, event: Mapping[str, Any], y_prob: float) -> list[int]:
        n_actions = len(self.actions)
        if self.policy.kind == "thresholds":
            code = max((code for code, threshold in self._cuts if y_prob >= threshold), default=0)
            return [(code - rank) % n_actions for rank in range(n_actions)]
        priced = []
        for pair, price in zip(self.policy.matrix.cells, self._prices, strict=True):
            priced.append(y_prob * _money(pair[FRAUD], event) + (1.0 - y_prob) * _money(pair[LEGIT], event) + price)
        return sorted(range(n_actions), key=priced.__getitem__)

    def _serve(self, wishes: list[int], event_time: int, used: CapacityUse) -> tuple[int, tuple[str, int] | None]:
        """Take the first wish that has room in the event's day or week."""
        day = (_EPOCH + timedelta(microseconds=event_time)).astimezone(self._zone).toordinal() - _EPOCH_DAY
        for code in wishes:
            limit = self._limits.get(code)
            if limit is None:
                return code, None
            period = day if limit.per == "day" else (day + 3) // 7
            if used.count(limit.action, period) < limit.limit:
                used.add(limit.action, period)
                return code, (limit.action, period)
        msg = "every action is full; `allow` never is"
        raise AssertionError(msg)


def _money(cell: Cell, event: Mapping[str, Any]) -> float:
    """Give what `Cell.per_event` gives for one event."""
    money = cell.fixed
    if cell.rate != 0.0:
        money += cell.rate * (event.get("amount") or 0.0)
    if cell.column is not None:
        value = event[cell.column]
        if value is None:
            msg = f"the cost column {cell.column!r} is null"
            raise DataError(msg, hint="a cost must be known for every event")
        money += value
    return money if cell.at_least is None else max(money, cell.at_least)
