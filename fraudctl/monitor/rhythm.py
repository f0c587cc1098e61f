"""The rhythm of the week and the trend in daily figures: what a day of the week usually has, and where it is going.

Owns a small robust decomposition: the factor of a weekday is the median ratio of its days to the mean of the seven days
around each; the trend is the median slope between pairs of weeks (Theil and Sen) of the logarithm of what a week has,
with its 90 % interval. Medians, so that an incident of some days moves neither. Takes counts, looks at no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from fraudctl.arrays import FloatArray, IntArray

LEAST_WEEKS: Final = 6
"""Whole weeks below which no trend is named."""
CONFIDENCE: Final = 0.90

Rising = Literal["rising", "falling", "level"]


@dataclass(frozen=True)
class WeekTrend:
    """Growth from week to week."""

    per_week: float
    """Share by which a week has more than the one before, by the median slope."""
    low: float
    """Low end of the 90 % interval."""
    high: float
    """High end of the 90 % interval."""
    weeks: int
    """Whole weeks behind it."""

    JSON = ("per_week", "low", "high", "weeks", "direction")

    @property
    def direction(self) -> Rising:
        """Whether it rises or falls beyond its interval."""
        return "rising" if self.low > 0 else "falling" if self.high < 0 else "level"


@dataclass(frozen=True)
class WeekRhythm:
    """Weekday factors and trend of one series of days."""

    name: str
    """What is counted."""
    weekdays: tuple[float | None, ...]
    """Factor of each weekday, Monday first: 1.2 has a fifth more than the mean of its week; null without a day."""
    trend: WeekTrend | None
    """Growth; null with fewer than six whole weeks."""


def rhythm(name: str, day: IntArray, value: FloatArray) -> WeekRhythm:
    """Return weekday factors and trend.

    Parameters
    ----------
    name
        What is counted.
    day
        Days since 1970-01-01 without gaps, the unfinished last day left out, shape ``(n_days,)``.
    value
        What each day had, at least 0, the same shape.
    """
    if len(day) < 7:
        return WeekRhythm(name, (None,) * 7, None)
    middle = np.convolve(value, np.full(7, 1 / 7), mode="valid")  # of the 4th day to the 4th last
    inner = slice(3, len(day) - 3)
    ratio = np.divide(value[inner], middle, out=np.full(len(middle), np.nan), where=middle > 0)
    weekday = (day[inner] + 3) % 7
    factors = tuple(_median(ratio[weekday == number]) for number in range(7))
    return WeekRhythm(name, factors, _trend(day, value))


def _median(values: FloatArray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _trend(day: IntArray, value: FloatArray) -> WeekTrend | None:
    week = (day + 3) // 7
    numbers, sizes = np.unique(week, return_counts=True)
    whole = numbers[sizes == 7]
    sums = np.array([value[week == number].sum() for number in whole])
    whole, sums = whole[sums > 0], sums[sums > 0]
    if len(whole) < LEAST_WEEKS:
        return None
    slope, low, high = median_slope(whole.astype(np.float64), np.log(sums), confidence=CONFIDENCE)
    return WeekTrend(float(np.expm1(slope)), float(np.expm1(low)), float(np.expm1(high)), len(whole))


def median_slope(x: FloatArray, y: FloatArray, *, confidence: float) -> tuple[float, float, float]:
    """Return the median of the slopes between all pairs of points, and its interval.

    ``x`` rises strictly. The interval is that of `scipy.stats.theilslopes`, whose module takes longer to load than a
    dashboard takes to draw.

    Notes
    -----
    P. K. Sen, *Estimates of the regression coefficient based on Kendall's tau*, JASA 1968.
    """
    n = len(x)
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    ties = np.unique(y, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * np.sqrt(variance)
    upper = min(round((len(slopes) + half) / 2), len(slopes) - 1)
    lower = max(round((len(slopes) - half) / 2) - 1, 0)
    return float(np.median(slopes)), float(slopes[lower]), float(slopes[upper])
