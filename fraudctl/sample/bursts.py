"""When attacks, and honest episodes that look like attacks, take place.

Owns the plan of bursts: how many there are, how large they are, and that they lie spread over the whole period.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudctl.sample.calendar import DAY, Calendar
from fraudctl.sample.draws import Bools, Draws, Floats, Ints

_FEWEST_BURSTS = 4


@dataclass(frozen=True, eq=False)
class BurstPlan:
    """Bursts and their events.

    Attributes
    ----------
    start
        Start of each burst, days since the start of the period, shape ``(n_bursts,)``, increasing.
    size
        Events of each burst, shape ``(n_bursts,)``.
    burst, rank
        For every event, its burst and its position in it from 0, shape ``(n_events,)``; events of a burst are adjacent.
    """

    start: Floats
    size: Ints
    burst: Ints
    rank: Ints

    def __len__(self) -> int:
        """Return the number of bursts."""
        return len(self.start)

    @property
    def n_events(self) -> int:
        """Number of events in all bursts."""
        return len(self.burst)

    @property
    def first(self) -> Ints:
        """Position of the first event of each burst, shape ``(n_bursts,)``."""
        return np.asarray(np.cumsum(self.size) - self.size)

    def running(self, gap: Floats) -> Floats:
        """Return the running sum of gaps (seconds) within each burst, 0 at its first event, shape ``(n_events,)``."""
        gap = np.where(self.rank == 0, 0.0, gap)
        total = np.cumsum(np.floor(gap))
        return np.asarray(total - total[self.first][self.burst])

    def repeated(self, values: Ints, again: Bools) -> Ints:
        """Return the values, but where ``again`` holds, the one of the event before it in the same burst."""
        own = np.where(again & (self.rank > 0), -1, np.arange(self.n_events))
        return np.asarray(values[np.maximum.accumulate(own)])


def plan_bursts(calendar: Calendar, draws: Draws, n: int, *, low: int, high: int, lasts: float) -> BurstPlan:
    """Share ``n`` events out to bursts of ``low`` to ``high`` events each, spread over the period.

    Parameters
    ----------
    calendar
        Gives the intensity of attacks.
    draws
        Random stream.
    n
        Number of events. Small numbers make smaller bursts, so that there are still four or so.
    low, high
        Smallest and largest size, both included; the last burst takes what is left.
    lasts
        Usual length of a burst in days; bursts begin early enough for most of that to fit.
    """
    high = max(1, min(high, n // _FEWEST_BURSTS))
    low = min(low, high)
    size = low + draws.below(high - low + 1, n)
    last = int(np.searchsorted(np.cumsum(size), n))
    size = size[: last + 1]
    size[-1] -= int(size.sum()) - n
    n_bursts = len(size)
    share = (np.arange(n_bursts) + draws.uniform(n_bursts)) / n_bursts
    day = calendar.day_of_attacks(share) * (1.0 - 0.5 * lasts / calendar.days)
    start = np.floor(day) + calendar.daytime(draws, n_bursts) / DAY
    burst = np.repeat(np.arange(n_bursts), size)
    rank = np.arange(n) - (np.cumsum(size) - size)[burst]
    return BurstPlan(start=start, size=size, burst=burst, rank=rank)
