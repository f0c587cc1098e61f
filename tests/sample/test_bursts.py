from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.sample.bursts import BurstPlan, plan_bursts
from fraudctl.sample.calendar import make_calendar
from fraudctl.sample.draws import Draws

CALENDAR = make_calendar(start=datetime(2025, 9, 15, tzinfo=UTC), days=120)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 500), low=st.integers(1, 9), extra=st.integers(0, 9), seed=st.integers(0, 99))
def test_plan_has_all_events_in_bursts_of_the_asked_size(n: int, low: int, extra: int, seed: int) -> None:
    plan = plan_bursts(CALENDAR, Draws(seed, "plan"), n, low=low, high=low + extra, lasts=2.0)
    assert plan.n_events == n == plan.size.sum()
    assert (plan.size >= 1).all()
    assert (plan.size <= low + extra).all()
    assert len(plan) >= min(n, 4)
    sizes = [int((plan.burst == b).sum()) for b in range(len(plan))]
    assert sizes == plan.size.tolist()
    assert plan.rank.tolist() == [r for size in sizes for r in range(size)]
    assert ((plan.start >= 0.0) & (plan.start < 120.0)).all()


def test_bursts_are_spread_over_the_period() -> None:
    plan = plan_bursts(CALENDAR, Draws(1, "plan"), 300, low=5, high=9, lasts=1.0)
    assert (np.histogram(plan.start, bins=8, range=(0.0, 120.0))[0] >= 2).all()


def test_running_and_repeated_start_anew_in_each_burst() -> None:
    plan = BurstPlan(np.zeros(2), np.asarray([3, 2]), np.asarray([0, 0, 0, 1, 1]), np.asarray([0, 1, 2, 0, 1]))
    assert plan.running(np.asarray([9.0, 1.5, 2.0, 9.0, 4.0])).tolist() == [0.0, 1.0, 3.0, 0.0, 4.0]
    again = np.asarray([True, True, False, True, True])
    assert plan.repeated(np.asarray([1, 2, 3, 4, 5]), again).tolist() == [1, 1, 3, 4, 4]
