"""Scarce actions: how many places there are and were taken, and who gets one, in the order in which events come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudctl.arrays import CodeArray, FloatArray, IntArray
from fraudctl.policy.bids import BidPrices, Moments, Per


@dataclass(frozen=True)
class CapacityLimit:
    """Most events that an action takes in one local day or week (weeks start on Monday)."""

    action: str
    """Name of the action."""
    limit: int
    """Most events."""
    per: Per
    """``day`` or ``week``."""


class CapacityUse:
    """How many places each action has taken in each day or week: what a running cap remembers between calls."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()

    def take(self, action: str, period: IntArray) -> None:
        """Record one more place for each of the given periods."""
        self._counts.update((action, int(number)) for number in period)

    def count(self, action: str, period: int) -> int:
        """Return the places that an action has taken in one period."""
        return self._counts[action, period]

    def add(self, action: str, period: int) -> None:
        """Record one more place in one period."""
        self._counts[action, period] += 1

    def to_list(self) -> list[list[Any]]:
        """Return what was taken as JSON: action, period, places."""
        return [[action, period, places] for (action, period), places in sorted(self._counts.items())]

    @classmethod
    def from_list(cls, document: list[list[Any]]) -> CapacityUse:
        """Read what `to_list` wrote."""
        used = cls()
        used._counts.update({(action, period): places for action, period, places in document})
        return used


@dataclass(frozen=True)
class Scarce:
    """One scarce action, as it is served.

    Attributes
    ----------
    code
        Position among the actions.
    limit
        Its places.
    bids
        What one is worth; None where nothing ever wanted one: its price is 0.
    moments
        When the events come.
    """

    code: int
    limit: CapacityLimit
    bids: BidPrices | None
    moments: Moments


@dataclass(frozen=True)
class Served:
    """The actions of events that were served in turn.

    Attributes
    ----------
    codes
        Position of each event's action, shape ``(n_events,)``.
    left
        Slots of each limited action that were left when the event came, shape ``(n_limited, n_events)``.
    """

    codes: CodeArray
    left: IntArray


def serve_in_turn(
    cost: FloatArray, floor: CodeArray, scarce: list[Scarce], *, used: CapacityUse | None = None
) -> Served:
    """Serve events one after the other, in the order of the rows.

    Each takes, of the actions that have room and that its rule allows, the one that costs least, the price of a slot
    included. Where a rule demands more than the cheapest action of all, it takes the mildest with room that the rule
    allows. Only where none has room does it take a milder one.

    Parameters
    ----------
    cost
        Expected cost of each action without the price of a slot, shape ``(n_events, n_actions)``.
    floor
        Mildest action that a rule allows, shape ``(n_events,)``; 0 where none speaks.
    used
        Slots taken before; those taken now are added.
    """
    periods, left = _places(scarce, used, len(cost))
    found = _served(cost, floor, scarce, periods, left)
    if used is not None:
        for item in scarce:
            used.take(item.limit.action, item.moments.period[found.codes == item.code])
    return found


def serve_alone(cost: FloatArray, floor: CodeArray, scarce: list[Scarce], *, left: IntArray) -> CodeArray:
    """Decide each event by itself, as `serve_in_turn` would with the slots that were left when it came.

    Parameters
    ----------
    cost, floor, scarce
        As in `serve_in_turn`.
    left
        Slots left for each event, shape ``(n_limited, n_events)``; what one event takes changes nothing for another.
    """
    periods = np.arange(left.size, dtype=np.int64).reshape(left.shape)
    return _served(cost, floor, scarce, periods, left.ravel().copy()).codes


def _served(cost: FloatArray, floor: CodeArray, scarce: list[Scarce], periods: IntArray, left: IntArray) -> Served:
    from fraudctl.policy.kernels import serve

    bids = [item.bids or BidPrices(item.limit.per, (1,), ()) for item in scarce]
    levels = [np.array(item.level if item.prices else [0], dtype=np.int64) for item in bids]
    prices = [np.array(item.prices or [[0.0]], dtype=np.float64) for item in bids]
    none = np.zeros(len(cost), dtype=np.int64)
    codes, room = serve(
        np.ascontiguousarray(cost),
        floor,
        np.array([item.code for item in scarce], dtype=np.int64),
        periods,
        np.array([none if item.bids is None else item.moments.slot for item in scarce], dtype=np.int64),
        left,
        np.array([len(item) - 1 for item in levels], dtype=np.int64),
        np.concatenate(levels),
        _starts([len(item) for item in levels]),
        np.concatenate([item.ravel() for item in prices]),
        _starts([item.size for item in prices]),
        np.array([item.shape[1] for item in prices], dtype=np.int64),
    )
    return Served(np.asarray(codes, dtype=np.int8), np.asarray(room, dtype=np.int64))


def _places(scarce: list[Scarce], used: CapacityUse | None, n_events: int) -> tuple[IntArray, IntArray]:
    """Return for each scarce action the place of every event's period in the second array: the places left in each."""
    rows, left, start = np.empty((len(scarce), n_events), dtype=np.int64), [], 0
    for j, item in enumerate(scarce):
        numbers, place = np.unique(item.moments.period, return_inverse=True)
        taken = [0 if used is None else used.count(item.limit.action, int(number)) for number in numbers]
        rows[j] = place + start
        left.append(item.limit.limit - np.array(taken, dtype=np.int64))
        start += len(numbers)
    return rows, np.concatenate(left)


def _starts(sizes: list[int]) -> IntArray:
    return np.cumsum([0, *sizes[:-1]], dtype=np.int64)
