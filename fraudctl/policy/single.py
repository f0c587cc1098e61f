"""A policy for one event at a time, without arrays: the same actions as `Policy.decide`, some hundred times sooner.

Owns no rule of its own: thresholds, the floor that rules demand, places and their prices are those of `decide` and
`places`, in the same order of the same floating-point operations. A property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from fraudctl.costs import FRAUD, LEGIT, Cell
from fraudctl.errors import DataError
from fraudctl.policy.bids import place_in
from fraudctl.policy.decide import Policy
from fraudctl.policy.places import CapacityUse
from fraudctl.policy.segments import Thresholds

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
        self._cuts = self._codes(policy.thresholds)
        own = {} if policy.segments is None else policy.segments.thresholds
        self._own = {value: self._codes(thresholds) for value, thresholds in own.items()}

    def _codes(self, thresholds: Thresholds) -> list[tuple[int, float]]:
        code = self.policy.matrix.code
        return [(code(action), threshold) for action, threshold in thresholds.items() if threshold is not None]

    def decide(
        self,
        event: Mapping[str, Any],
        y_prob: float,
        *,
        holds: Sequence[bool],
        segment: str | None = None,
        used: CapacityUse | None = None,
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
        segment
            Of the event, as text; one that has no thresholds of its own, and None, get the common ones.
        used
            Places taken so far; the one that this event takes is added.

        Raises
        ------
        DataError
            A cost column is null.
        """
        floor = max((code for code, held in zip(self._demands, holds, strict=True) if held), default=0)
        if self.policy.kind == "thresholds":
            cuts = self._cuts if segment is None else self._own.get(segment, self._cuts)
            return max(floor, *(code for code, threshold in cuts if y_prob >= threshold), 0), None
        priced = self._priced(event, y_prob)
        if not self._limits:
            return max(floor, _cheapest(priced, range(len(priced)))), None
        return self._serve(priced, floor, event["event_time"], used if used is not None else CapacityUse())

    def _priced(self, event: Mapping[str, Any], y_prob: float) -> list[float]:
        return [
            y_prob * _money(pair[FRAUD], event) + (1.0 - y_prob) * _money(pair[LEGIT], event) + price
            for pair, price in zip(self.policy.matrix.cells, self._prices, strict=True)
        ]

    def _serve(
        self, priced: list[float], floor: int, event_time: int, used: CapacityUse
    ) -> tuple[int, tuple[str, int] | None]:
        """Do what `places.serve_in_turn` does for one event."""
        local = (_EPOCH + timedelta(microseconds=event_time)).astimezone(self._zone)
        day, minute = local.toordinal() - _EPOCH_DAY, local.hour * 60 + local.minute
        full, periods = set(), {}
        for code, limit in self._limits.items():
            periods[code], slot = place_in(day, minute, limit.per)
            left = limit.limit - used.count(limit.action, periods[code])
            if left <= 0:
                full.add(code)
            if limit.action in self.policy.bids:
                priced[code] += self.policy.bids[limit.action].price(slot, left)
        room = [code for code in range(len(priced)) if code not in full]
        allowed = [code for code in room if code >= floor]
        if not allowed:
            code = _cheapest(priced, room)
        elif floor > _cheapest(priced, range(len(priced))):
            code = allowed[0]
        else:
            code = _cheapest(priced, allowed)
        if code not in self._limits:
            return code, None
        place = self._limits[code].action, periods[code]
        used.add(*place)
        return code, place


def _cheapest(priced: list[float], codes: Sequence[int]) -> int:
    """Give the code of lowest cost; of equals the mildest."""
    return min(codes, key=priced.__getitem__)


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
