"""Bid prices for capacity-limited actions: the opportunity cost of one slot, by time and remaining capacity.

A slot that is used now is not available for a better case later; a slot left over at the end of the period was worth
nothing. So the price of a slot, the least expected benefit that justifies using it, falls as the period passes and
rises as slots are used. It is the expected benefit that one more slot would add, computed backwards from the end of
the period (Talluri and van Ryzin, *The Theory and Practice of Revenue Management*, 2004, section 2.5; the bid price of
a seat). Arrivals are assumed independent, with the times and benefits of the fold predictions. Labels are not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray

Per = Literal["day", "week"]

SLOT_MINUTES: Final[dict[Per, int]] = {"day": 30, "week": 60}
"""How long a price holds, on the wall clock."""
FINE: Final = 32
"""Up to this many remaining slots each number has its own price; above, numbers within a tenth share one."""
MOST_PLACES: Final = 512
"""The dynamic program distinguishes at most this many slots; with more, several are treated as one."""

_MINUTES: Final[dict[Per, int]] = {"day": 1440, "week": 7 * 1440}


@dataclass(frozen=True)
class Moments:
    """Where events lie in their local days or weeks, arrays of shape ``(n_events,)``."""

    period: IntArray
    """Number of the day since 1970-01-01, or of the week from Monday."""
    slot: IntArray
    """Part of the period, by the wall clock, in steps of `SLOT_MINUTES`."""

    def take(self, rows: npt.NDArray[Any]) -> Moments:
        """Return those of some of the events."""
        return Moments(self.period[rows], self.slot[rows])


def local_period(event_time: pl.Series, per: Per, timezone: str) -> IntArray:
    """Return the number of the local day or week (from Monday) of each instant; days count from 1970-01-01."""
    days = event_time.dt.convert_time_zone(timezone).dt.date().cast(pl.Int32).cast(pl.Int64).to_numpy()
    return days if per == "day" else (days + 3) // 7


def local_moments(event_time: pl.Series, per: Per, timezone: str) -> Moments:
    """Return the local day or week of each instant, and the part of it."""
    local = event_time.dt.convert_time_zone(timezone)
    minutes = (local.dt.hour().cast(pl.Int64) * 60 + local.dt.minute().cast(pl.Int64)).to_numpy()
    days = local_period(event_time, "day", timezone)
    return Moments(*place_in(days, minutes, per))


def place_in(day: Any, minute: Any, per: Per) -> tuple[Any, Any]:
    """Return period and slot of a local day, counted from 1970-01-01 (a Thursday), and a minute of it.

    >>> place_in(4, 90, "day"), place_in(4, 90, "week")
    ((4, 3), (1, 1))
    """
    if per == "day":
        return day, minute // SLOT_MINUTES[per]
    return (day + 3) // 7, ((day + 3) % 7 * 1440 + minute) // SLOT_MINUTES[per]


@dataclass(frozen=True)
class BidPrices:
    """Bid prices of one capacity-limited action.

    Attributes
    ----------
    per
        ``day`` or ``week``.
    levels
        Numbers of places left, rising from 1; each price holds up to the next of them.
    prices
        Money, one row per slot of `SLOT_MINUTES`, one column per level.
    """

    JSON = ("per", "slot_minutes", "levels", "prices")

    per: Per
    levels: tuple[int, ...]
    prices: tuple[tuple[float, ...], ...]

    @cached_property
    def level(self) -> list[int]:
        """Column of `prices` for each number of remaining slots, from 0, where the price does not matter."""
        return [0, *(np.searchsorted(self.levels, np.arange(1, self.levels[-1] + 1), side="right") - 1).tolist()]

    def price(self, slot: int, left: int) -> float:
        """Return the price at a time of the period with this number of slots left."""
        return self.prices[slot][self.level[min(max(left, 0), self.levels[-1])]]

    @property
    def opening(self) -> float:
        """The price at the start of a period, when all slots are free."""
        return self.prices[0][-1]

    @property
    def slot_minutes(self) -> int:
        """Minutes of a slot of time."""
        return SLOT_MINUTES[self.per]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> BidPrices:
        """Return the prices that `fraudctl.documents.results.as_json` wrote.

        Raises
        ------
        ValueError
            The prices are not one row per slot and one column per level.
        """
        per: Per = document["per"]
        levels = tuple(int(item) for item in document["levels"])
        prices = tuple(tuple(float(price) for price in row) for row in document["prices"])
        complete = len(prices) == _MINUTES[per] // SLOT_MINUTES[per] and {len(row) for row in prices} == {len(levels)}
        if document["slot_minutes"] != SLOT_MINUTES[per] or not complete or levels[:1] != (1,):
            msg = "prices must be one row per slot and one column per level"
            raise ValueError(msg)
        return cls(per, levels, prices)


@dataclass(frozen=True)
class Arrivals:
    """Events that may take a place, arrays of shape ``(n_events,)``.

    Attributes
    ----------
    moments
        When they came.
    gain
        Expected benefit of the scarce action against the best other one, in money.
    forced
        Whether a rule demands it whatever it gains.
    days
        Every local day that was observed, also those on which nothing came, each once.
    share
        Of all events that came, how many these are: for each of them, ``1 / share`` came.
    """

    moments: Moments
    gain: FloatArray
    forced: BoolArray
    days: IntArray
    share: float = 1.0


def fit_bids(arrivals: Arrivals, *, limit: int, per: Per) -> BidPrices | None:
    """Compute the bid prices; None if there are no slots or no event that would use one.

    Parameters
    ----------
    arrivals
        Of the fold predictions.
    limit, per
        Places in a local day or week.
    """
    from fraudctl.policy.kernels import place_values

    wanted = np.flatnonzero((arrivals.gain > 0) | arrivals.forced)
    if limit == 0 or len(wanted) == 0:
        return None
    slot, chance, gain, forced = _expected(arrivals, wanted, per)
    busy = float(chance.sum())
    most = min(limit, math.ceil(busy + 6 * math.sqrt(busy)) + 1)
    together = -(-most // MOST_PLACES)
    rows = np.lexsort((gain, -slot)) if together > 1 else np.arange(len(slot))
    rows = rows[together // 2 :: together]
    n_places, n_slots = -(-most // together), _MINUTES[per] // SLOT_MINUTES[per]
    worth = place_values(gain[rows], forced[rows], chance[rows], slot[rows], n_slots, n_places)
    levels = _level_starts(limit)
    column = np.minimum((np.array(levels) - 1) // together, n_places)
    padded = np.concatenate([worth, np.zeros((n_slots, 1))], axis=1)
    return BidPrices(per, levels, tuple(tuple(float(f"{x:.6g}") for x in row) for row in padded[:, column]))


def _expected(arrivals: Arrivals, wanted: IntArray, per: Per) -> tuple[IntArray, FloatArray, FloatArray, BoolArray]:
    """Return slot, chance to come in one period, gain and need of the events that want a place, by falling time.

    An event that came on one of n days comes with chance 1 / n, and more where it stands for others too. For weeks the
    days are those of its weekday; where a weekday was never observed, all days stand for each.
    """
    slot, gain, forced = arrivals.moments.slot[wanted], arrivals.gain[wanted], arrivals.forced[wanted]
    n_days = len(arrivals.days)
    if per == "day":
        chance = np.full(len(slot), 1.0 / n_days)
    else:
        per_day = 1440 // SLOT_MINUTES[per]
        seen = np.bincount((arrivals.days + 3) % 7, minlength=7)
        if (seen == 0).any():
            slot = (slot % per_day + np.arange(7)[:, None] * per_day).ravel()
            gain, forced = np.tile(gain, 7), np.tile(forced, 7)
            chance = np.full(len(slot), 1.0 / n_days)
        else:
            chance = 1.0 / seen[slot // per_day]
    stands_for = math.ceil(chance.max() / arrivals.share)
    order = np.repeat(np.argsort(-slot, kind="stable"), stands_for)
    return slot[order].astype(np.int64), chance[order] / (arrivals.share * stands_for), gain[order], forced[order]


def _level_starts(limit: int) -> tuple[int, ...]:
    """Return every number up to `FINE`, then steps of a tenth, up to the limit, which is the last.

    >>> _level_starts(3), _level_starts(40)[-3:]
    ((1, 2, 3), (35, 38, 40))
    """
    found = list(range(1, min(limit, FINE) + 1))
    while found[-1] < limit:
        found.append(min(limit, found[-1] + max(found[-1] // 10, 1)))
    return tuple(found)
