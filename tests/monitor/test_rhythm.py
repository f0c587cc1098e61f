from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import theilslopes

from fraudctl.monitor.rhythm import median_slope, rhythm


def test_factors_and_trend_by_hand() -> None:
    # 1970-01-05 is a Monday: day 4. Every week has 10 a day, Sundays 24: a mean of 12
    day = np.arange(4, 4 + 70)
    value = np.where((day + 3) % 7 == 6, 24.0, 10.0)
    found = rhythm("events", day, value)
    assert found.weekdays == pytest.approx((*[10 / 12] * 6, 2.0))
    assert found.trend is not None
    assert (found.trend.per_week, found.trend.weeks, found.trend.direction) == (pytest.approx(0.0), 10, "level")


def test_the_trend_is_the_median_of_all_slopes() -> None:
    rng = np.random.default_rng(0)
    day = np.arange(4, 4 + 7 * 12)
    value = rng.uniform(50, 150, len(day)) * 1.03 ** ((day + 3) // 7)
    sums = [value[7 * i : 7 * i + 7].sum() for i in range(12)]
    slopes = [(math.log(sums[b]) - math.log(sums[a])) / (b - a) for a, b in itertools.combinations(range(12), 2)]
    found = rhythm("events", day, value).trend
    assert found is not None
    assert found.per_week == pytest.approx(math.expm1(float(np.median(slopes))))
    assert found.low <= found.per_week <= found.high
    assert found.direction == "rising"


@pytest.mark.parametrize("n", [6, 7, 20, 53])
def test_the_interval_is_that_of_the_library(n: int) -> None:
    rng = np.random.default_rng(n)
    x = np.cumsum(rng.integers(1, 3, n)).astype(float)
    for y in (rng.normal(size=n), rng.integers(0, 3, n).astype(float)):
        slope, _, low, high = theilslopes(y, x, alpha=0.9)
        assert median_slope(x, y, confidence=0.9) == pytest.approx((slope, low, high))


def test_an_incident_of_some_days_moves_neither() -> None:
    day = np.arange(4, 4 + 7 * 14)
    value = np.where((day + 3) % 7 >= 5, 30.0, 10.0)
    attacked = value.copy()
    attacked[40:43] *= 20
    found = rhythm("events", day, attacked)
    assert found.weekdays == pytest.approx(rhythm("events", day, value).weekdays, abs=0.01)
    assert found.trend is not None
    assert found.trend.direction == "level"


def test_too_little_says_nothing() -> None:
    assert rhythm("events", np.arange(5), np.ones(5)).weekdays == (None,) * 7
    assert rhythm("events", np.arange(30), np.ones(30)).trend is None
    assert rhythm("events", np.arange(60), np.zeros(60)).trend is None
