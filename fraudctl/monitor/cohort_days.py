"""The days of cohorts: when each began and ended, which are the latest, and what can be said of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from fraudctl.monitor.nowcast import FINAL, HIDDEN, Nowcast
from fraudctl.monitor.seen import SeenEvents

Status = Literal["final", "open", "hidden"]


def seen_any(seen: SeenEvents, number: int) -> bool:
    """Return whether a cohort has events."""
    return bool(np.diff(np.searchsorted(seen.cohort, [number, number + 1]))[0])


@dataclass(frozen=True)
class CohortDays:
    """The days of cohorts."""

    seen: SeenEvents
    as_of: datetime
    timezone: str

    def first_day(self, number: int) -> date:
        """Return the first local day of a cohort."""
        at = self.seen.first + number
        return date(1970, 1, 1) + timedelta(days=at if self.seen.every == "day" else 7 * at - 3)

    def until(self, number: int) -> date:
        """Return the first local day after a cohort."""
        return self.first_day(number) + timedelta(days=self.length)

    def week(self, number: int) -> int:
        """Return the number of the local week of a cohort."""
        at = self.seen.first + number
        return at if self.seen.every == "week" else (at + 3) // 7

    @property
    def length(self) -> int:
        """Return the days of a cohort."""
        return 1 if self.seen.every == "day" else 7

    def complete(self, number: int) -> bool:
        """Return whether a cohort was over at the instant, but for a hundredth of its length."""
        day = self.until(number)
        until = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.timezone))
        return until - timedelta(days=self.length) / 100 <= self.as_of

    def first_of(self, days: int) -> int:
        """Return the first cohort of the latest ``days`` days before the last complete cohort's end."""
        n_cohorts = self.seen.n_cohorts
        last = next((number for number in reversed(range(n_cohorts)) if self.complete(number)), n_cohorts - 1)
        return last - self.within(days) + 1

    def within(self, days: int) -> int:
        """Return how many cohorts a number of days takes."""
        return max(math.ceil(days / self.length), 1)

    def status(self, number: int, found: Nowcast) -> Status:
        """Return what can be said of a cohort."""
        matured = float(found.matured[number])
        if not self.complete(number) or math.isnan(matured) or matured < HIDDEN:
            return "hidden"
        return "final" if matured >= FINAL else "open"
