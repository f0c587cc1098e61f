"""The rhythm of the period: growth, weekdays, and the month in which behaviour drifts.

Owns how much happens when. All positions are days since the start (floats; a day is 86,400 s), all instants are whole
seconds since the start. It refuses to know about cards or fraud patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from fraudctl.sample.draws import Bools, Draws, Floats, Ints

DAY = 86_400
DRIFT_FROM, DRIFT_UNTIL = 0.65, 0.90
"""The drift month as a share of the period, ``[from, until)``: 30 days of 120."""

_WEEKDAY = (0.93, 0.92, 0.96, 1.00, 1.13, 1.17, 0.89)
_GROWTH = 0.30
_SEASON_VOLUME = 1.20
_SEASON_FRAUD = 1.35


@dataclass(frozen=True, eq=False)
class Calendar:
    """When things happen.

    Attributes
    ----------
    days
        Length of the period, whole days.
    volume, attacks
        Running sums of the daily weights of ordinary events and of fraud, shape ``(days + 1,)``, from 0 to 1.
    total, total_attacks
        What the weights add up to; a weight of 1 is an ordinary Thursday at the start of the sample.
    season
        The drift month as a share of the period, ``[from, until)``.
    """

    days: int
    volume: Floats
    attacks: Floats
    total: float
    total_attacks: float
    season: tuple[float, float] = (DRIFT_FROM, DRIFT_UNTIL)

    @property
    def seconds(self) -> int:
        """Length of the period in seconds."""
        return self.days * DAY

    def drifting(self, day: Floats) -> Bools:
        """Whether each position (days) lies in the drift month."""
        begin, end = self.season
        return np.asarray((day >= begin * self.days) & (day < end * self.days))

    def day_of_volume(self, share: Floats) -> Floats:
        """Return the position (days) before which that share of the ordinary volume lies."""
        return np.interp(share, self.volume, np.arange(self.days + 1))

    def day_of_attacks(self, share: Floats) -> Floats:
        """Return the position (days) before which that share of the attacks lies."""
        return np.interp(share, self.attacks, np.arange(self.days + 1))

    def inside(self, seconds: Floats | Ints) -> Ints:
        """Whole seconds within ``[0, length)``; what would lie after the end is mirrored back from it."""
        last = self.seconds - 1
        whole = np.floor(seconds).astype(np.int64)
        mirrored = np.where(whole > last, 2 * last - whole, whole)
        return np.clip(mirrored, 0, last)

    def daytime(self, draws: Draws, n: int) -> Floats:
        """Seconds since midnight, most of them in the daytime, shape ``(n,)``."""
        hours = np.where(draws.chance(0.75, n), 14.0 + 4.0 * draws.normal(n), draws.between(0.0, 24.0, n))
        return np.asarray(np.mod(hours, 24.0) * 3600.0)


def make_calendar(*, start: datetime, days: int) -> Calendar:
    """Lay out a period of that many days from ``start``.

    The volume grows by 30 % from the first day to the last, follows the week, and is a fifth higher in the drift month;
    attacks follow it and are a further third more frequent in that month.
    """
    day = np.arange(days, dtype=np.float64)
    season = (day >= DRIFT_FROM * days) & (day < DRIFT_UNTIL * days)
    volume = (1.0 + _GROWTH * day / days) * _weekdays(start, days) * np.where(season, _SEASON_VOLUME, 1.0)
    return _calendar(volume, volume * np.where(season, _SEASON_FRAUD, 1.0))


def later_calendar(*, start: datetime, days: int, busier: Floats) -> Calendar:
    """Lay out days after the sample: as many events as at its end, no growth, no drift month.

    ``busier`` multiplies the ordinary events of each day, shape ``(days,)``, and leaves attacks as they are.
    """
    level = (1.0 + _GROWTH) * _weekdays(start, days)
    return _calendar(level * busier, level, season=(1.0, 1.0))


def _calendar(volume: Floats, attacks: Floats, *, season: tuple[float, float] = (DRIFT_FROM, DRIFT_UNTIL)) -> Calendar:
    return Calendar(
        days=len(volume),
        volume=_running_share(volume),
        attacks=_running_share(attacks),
        total=float(volume.sum()),
        total_attacks=float(attacks.sum()),
        season=season,
    )


def _weekdays(start: datetime, days: int) -> Floats:
    return np.asarray(_WEEKDAY)[(start.weekday() + np.arange(days)) % 7]


def _running_share(weights: Floats) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(weights)])
    return np.asarray(total / total[-1])
