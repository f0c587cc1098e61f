"""What a place is worth: by hand, against the best policy found by brute force, and on days as they come."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.policy.bids import SLOT_MINUTES, Arrivals, BidPrices, Moments, fit_bids, place_in
from fraudctl.policy.kernels import place_values


def arrivals(day: Any, minute: Any, gain: Any, forced: Any = None, per: Any = "day") -> Arrivals:
    """Give arrivals of which every day up to the last was observed."""
    day = np.asarray(day)
    moments = Moments(*place_in(day, np.asarray(minute), per))
    none = np.zeros(len(day), dtype=bool)
    held = none if forced is None else np.asarray(forced)
    return Arrivals(moments, np.asarray(gain, dtype=float), held, np.arange(day.max() + 1))


def test_by_hand() -> None:
    """Two days; each event comes on one of them, so with a chance of 1/2.

    From the end: the event of 23:00 gains 10, so one place is worth 1/2 x 10 = 5 before it, and 0 after it. The event
    of 12:00 gains 6, 1 more than the place: the first place is worth 5 + 1/2 x (6 - 5) = 5.5 before it; with two left
    the second goes to it alone: 1/2 x 6 = 3, less what the first has won (5.5 - 5): 2.5.
    """
    found = fit_bids(arrivals([0, 1], [23 * 60, 12 * 60], [10.0, 6.0]), limit=2, per="day")
    assert found is not None
    assert [found.price(0, left) for left in (1, 2)] == [5.5, 2.5]
    assert [found.price(30, left) for left in (1, 2)] == [5.0, 0.0]
    # in the slot of an event itself the place is worth what comes after it, and after the last event nothing
    assert [found.price(46, left) for left in (1, 2)] == [0.0, 0.0]
    assert [found.price(24, left) for left in (1, 2)] == [5.0, 0.0]
    assert found.opening == 2.5
    assert (found.price(0, 0), found.price(0, 99)) == (5.5, 2.5)


def best_by_brute_force(gain: list[float], chance: list[float], places: int) -> float:
    """Give the highest expected benefit of any way to take or leave events, given the places left, in time order."""

    def value(at: int, left: int) -> float:
        if at == len(gain) or left == 0:
            return 0.0
        passed = value(at + 1, left)
        taken = max(gain[at] + value(at + 1, left - 1), passed)
        return chance[at] * taken + (1 - chance[at]) * passed

    return value(0, places)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.1, 50), st.sampled_from([0.2, 0.5, 1.0])), min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_places_are_worth_what_the_best_policy_makes_of_them(events: list[tuple[float, float]], places: int) -> None:
    gain, chance = (np.array(item) for item in zip(*events, strict=True))
    slot = np.arange(len(events))[::-1].copy()
    forced = np.zeros(len(events), dtype=bool)
    # one slot before all events shows what places are worth then; events go to the kernel by falling time
    worth = place_values(gain[::-1].copy(), forced, chance[::-1].copy(), slot + 1, len(events) + 1, places)
    best = [best_by_brute_force(gain.tolist(), chance.tolist(), k) for k in range(places + 1)]
    assert worth[0] == pytest.approx(np.diff(best), abs=1e-9)
    assert (np.diff(worth, axis=1) <= 1e-9).all()


def test_a_demanded_event_takes_a_place_whatever_it_gains() -> None:
    """It comes for certain at 20:00 and gains nothing, so with one place left what else comes before is worth less."""
    day, minute, gain = [0, 0], [20 * 60, 22 * 60], [0.0, 8.0]
    free = fit_bids(arrivals(day, minute, gain), limit=1, per="day")
    held = fit_bids(arrivals(day, minute, gain, [True, False]), limit=1, per="day")
    assert free is not None
    assert held is not None
    assert (free.price(0, 1), held.price(0, 1)) == (8.0, 0.0)
    assert (free.price(41, 1), held.price(41, 1)) == (8.0, 8.0)


def test_events_stand_for_those_whose_label_is_not_known() -> None:
    """Half of what came is known: each event comes with twice the chance, and more than once where that is above 1."""
    two = arrivals([0, 3], [22 * 60, 20 * 60], [10.0, 6.0])
    half = fit_bids(replace(two, share=0.5), limit=1, per="day")
    assert half is not None
    # four days: 2/4 x 10, and before 20:00 2/4 x (6 - 5) more
    assert (half.price(42, 1), half.price(0, 1)) == (5.0, 5.5)
    once = fit_bids(replace(arrivals([0], [600], [8.0]), share=0.4), limit=3, per="day")
    assert once is not None
    # it stands for 2.5, as three that come with a chance of 5/6 each: a k-th place is taken where at least k come
    q = 2.5 / 3
    served = [1 - (1 - q) ** 3, 3 * q**2 * (1 - q) + q**3, q**3]
    assert [once.price(0, left) for left in (1, 2, 3)] == pytest.approx([8 * p for p in served], rel=1e-5)


def test_nothing_to_price() -> None:
    assert fit_bids(arrivals([0], [5], [-1.0]), limit=3, per="day") is None
    assert fit_bids(arrivals([0], [5], [1.0]), limit=0, per="day") is None


def test_weeks_know_their_weekdays_and_stand_in_for_those_that_were_never_seen() -> None:
    # 1970-01-01 was a Thursday; 14 days: each weekday twice. One event on a Friday noon, one on a Monday noon
    two = arrivals([1, 4, 13], [720, 720, 720], [10.0, 4.0, -1.0], per="week")
    found = fit_bids(two, limit=1, per="week")
    assert found is not None
    assert len(found.prices) == 168
    # Friday evening to Sunday nothing comes; before Monday noon 1/2 x 4 + 1/2 x the rest of the week
    assert found.price(5 * 24, 1) == 0.0
    assert found.price(24, 1) == 5.0
    assert found.price(0, 1) == 5.0  # 4 is less than what the place is worth for Friday
    three = fit_bids(arrivals([0, 2], [720, 720], [7.0, -1.0], per="week"), limit=1, per="week")
    assert three is not None
    assert three.price(6 * 24, 1) == pytest.approx(7 / 3, rel=1e-5)
    assert three.price(5 * 24, 1) == pytest.approx(7 / 3 + (7 - 7 / 3) / 3, rel=1e-5)


def days(rng: np.random.Generator, n_days: int, rate: float) -> tuple[Any, Any, Any]:
    """Give events at random times of the day, with benefits of a long tail."""
    count = rng.poisson(rate, n_days)
    day = np.repeat(np.arange(n_days), count)
    return day, rng.integers(0, 1440, len(day)), rng.gamma(0.7, 60.0, len(day))


def benefit(found: BidPrices, day: Any, minute: Any, gain: Any, limit: int) -> tuple[float, float]:
    """Give what running prices and the best of each day, known only in the end, make."""
    running = bound = 0.0
    for number in np.unique(day):
        rows = np.flatnonzero(day == number)
        left = limit
        for row in rows[np.argsort(minute[rows], kind="stable")]:
            if left and gain[row] > found.price(int(minute[row]) // SLOT_MINUTES["day"], left):
                running, left = running + gain[row], left - 1
        bound += np.sort(gain[rows])[::-1][:limit].sum()
    return running, bound


@pytest.mark.parametrize(("limit", "busy"), [*itertools.product((10, 20, 60), (0.7, 1.0, 1.4))])
def test_comes_near_the_bound_also_where_more_or_less_comes_than_on_the_folds(limit: int, busy: float) -> None:
    folds, later = (np.random.default_rng(seed) for seed in (0, 1))
    found = fit_bids(arrivals(*days(folds, 21, 70.0)), limit=limit, per="day")
    assert found is not None
    running, bound = benefit(found, *days(later, 40, 70.0 * busy), limit)
    assert running >= 0.9 * bound


def test_many_places_are_looked_at_together() -> None:
    rng = np.random.default_rng(0)
    day, minute, gain = days(rng, 4, 3000.0)
    found = fit_bids(arrivals(day, minute, gain), limit=2000, per="day")
    assert found is not None
    assert found.levels[-1] == 2000
    assert len(found.levels) < 90
    # about 2,000 of 3,000 are taken: the price as the day begins is about that of the 2,000th best
    assert found.opening == pytest.approx(np.quantile(gain, 1 / 3), rel=0.15)
    running, bound = benefit(found, day, minute, gain, 2000)
    assert running >= 0.99 * bound
