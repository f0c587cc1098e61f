"""A policy for one event at a time, without arrays: the same actions as `Policy.decide`, some hundred times sooner.

Owns no rule of its own: thresholds, the floor that rules demand, places and their prices are those of `decide` and
`places`, in the same order of the same floating-point operations. A property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from fraudctl.costs import FRAUD, LEGIT, CostCell
from fraudctl.errors import DataError
from fraudctl.policy.bids import place_in
from fraudctl.policy.decide import Policy
from fraudctl.policy.places import CapacityUse
from fraudctl.policy.provenance import DecidedBy, Slot, chosen_by
from fraudctl.policy.segments import Thresholds
from fraudctl.text.plain import shown

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
        self._unpriced = not any(self._prices)
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
        """Return the position of the event's action in `actions`, and the place of a limited action that it took.

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
        code, place, _ = self.explained(event, y_prob, holds=holds, segment=segment, used=used)
        return code, place

    def let_through_cost(self, event: Mapping[str, Any]) -> float:
        """Return what an event costs if it is let through and is fraud; parameters are those of `decide`."""
        matrix = self.policy.matrix
        return _money(matrix.cells[matrix.pass_code][FRAUD], event)

    def local_day(self, event: Mapping[str, Any]) -> int:
        """Return the number of the event's local day since 1970-01-01."""
        local = (_EPOCH + timedelta(microseconds=event["event_time"])).astimezone(self._zone)
        return local.toordinal() - _EPOCH_DAY

    def explained(
        self,
        event: Mapping[str, Any],
        y_prob: float,
        *,
        holds: Sequence[bool],
        segment: str | None = None,
        used: CapacityUse | None = None,
    ) -> tuple[int, tuple[str, int] | None, DecidedBy]:
        """Return what `decide` does, and by what the action was decided; parameters as there."""
        floor = max((code for code, held in zip(self._demands, holds, strict=True) if held), default=0)
        if self.policy.kind == "thresholds":
            return self._cut(floor, y_prob, holds, segment)
        cost = self._costs(event, y_prob)
        every = range(len(cost))
        if self._unpriced:
            priced, stages = cost, (_cheapest(cost, every),) * 2
        else:
            priced = [money + price for money, price in zip(cost, self._prices, strict=True)]
            stages = _cheapest(priced, every), _cheapest(cost, every)
        if not self._limits:
            code = max(floor, stages[0])
            return code, None, self._by(code, floor, stages[0], stages, holds, {})
        return self._serve(priced, floor, stages, holds, event["event_time"], CapacityUse() if used is None else used)

    def _cut(
        self, floor: int, y_prob: float, holds: Sequence[bool], segment: str | None
    ) -> tuple[int, None, DecidedBy]:
        own = segment is not None and segment in self._own
        cuts = self._own[segment] if own and segment is not None else self._cuts
        cut = max((code for code, threshold in cuts if y_prob >= threshold), default=0)
        if floor > cut:
            return floor, None, DecidedBy("rule", self._rule(floor, holds), self.actions[cut])
        decisive = dict(cuts).get(cut, min((threshold for _, threshold in cuts), default=None))
        return cut, None, DecidedBy("threshold", threshold=decisive, segment=segment if own else None)

    def _rule(self, floor: int, holds: Sequence[bool]) -> str:
        """Return the first rule that demands the floor."""
        pairs = zip(self.policy.rules, self._demands, holds, strict=True)
        return next(rule.name for rule, code, held in pairs if held and code == floor)

    def _by(
        self,
        code: int,
        floor: int,
        free: int,
        stages: tuple[int, int],
        holds: Sequence[bool],
        slots: Mapping[int, Slot],
    ) -> DecidedBy:
        kind, other = chosen_by(code, floor, free=free, priced=stages[0], cheapest=stages[1])
        rule = self._rule(floor, holds) if kind == "rule" or (code < floor and floor > stages[0]) else None
        slot = slots.get(code)
        if slot is None and kind == "capacity" and other is not None:
            slot = slots.get(other)
        return DecidedBy(kind, rule, None if other is None else self.actions[other], slot=slot)

    def _costs(self, event: Mapping[str, Any], y_prob: float) -> list[float]:
        return [
            y_prob * _money(pair[FRAUD], event) + (1.0 - y_prob) * _money(pair[LEGIT], event)
            for pair in self.policy.matrix.cells
        ]

    def _serve(
        self,
        priced: list[float],
        floor: int,
        stages: tuple[int, int],
        holds: Sequence[bool],
        event_time: int,
        used: CapacityUse,
    ) -> tuple[int, tuple[str, int] | None, DecidedBy]:
        """Do what `places.serve_in_turn` does for one event."""
        local = (_EPOCH + timedelta(microseconds=event_time)).astimezone(self._zone)
        day, minute = local.toordinal() - _EPOCH_DAY, local.hour * 60 + local.minute
        full, periods, slots = set(), {}, {}
        for code, limit in self._limits.items():
            periods[code], slot = place_in(day, minute, limit.per)
            left = limit.limit - used.count(limit.action, periods[code])
            if left <= 0:
                full.add(code)
            bids = self.policy.bids.get(limit.action)
            price = 0.0 if bids is None else bids.price(slot, left)
            priced[code] += price
            slots[code] = Slot(limit.action, limit.per, left, price)
        room = [code for code in range(len(priced)) if code not in full]
        allowed = [code for code in room if code >= floor]
        if not allowed:
            code = _cheapest(priced, room)
        elif floor > _cheapest(priced, range(len(priced))):
            code = allowed[0]
        else:
            code = _cheapest(priced, allowed)
        by = self._by(code, floor, _cheapest(priced, room), stages, holds, slots)
        if code not in self._limits:
            return code, None, by
        place = self._limits[code].action, periods[code]
        used.add(*place)
        return code, place, by


def _cheapest(priced: list[float], codes: Sequence[int]) -> int:
    """Return the code of lowest cost; of equals the mildest."""
    return min(codes, key=priced.__getitem__)


def _money(cell: CostCell, event: Mapping[str, Any]) -> float:
    """Return what `Cell.per_event` gives for one event."""
    money = cell.fixed
    if cell.rate != 0.0:
        money += cell.rate * (event.get("amount") or 0.0)
    if cell.column is not None:
        value = event[cell.column]
        if value is None:
            msg = f"the cost column {shown(cell.column)} is null"
            raise DataError(msg, hint="a cost must be known for every event")
        money += value
    return money if cell.at_least is None else max(money, cell.at_least)
