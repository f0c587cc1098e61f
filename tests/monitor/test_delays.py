from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.monitor.delays import (
    N_BINS,
    SLOPES,
    STRETCHES,
    TEMPER,
    DelayCurve,
    assumed_curve,
    blended,
    delay_curve,
    label_stops,
    money_delays,
    shape_evidence,
)

HORIZON = float(N_BINS)
"""Bins of one second."""
INSTANTS = st.floats(0, 140) | st.integers(0, 140).map(float)
"""Within bins, and at their ends."""


def curve_by_hand(delay: list[float], age: list[float]) -> np.ndarray:
    """The share known by the end of each bin: one minus the reverse hazards of all later bins, loop by loop."""
    pairs = [(min(max(math.ceil(d) - 1, 0), N_BINS - 1), min(int(a), N_BINS)) for d, a in zip(delay, age, strict=True)]
    pairs = [(d, a) for d, a in pairs if d < a]
    known = [0.0] * (N_BINS + 1)
    for edge in range(N_BINS + 1):
        share = 1.0
        for x in range(edge, N_BINS):
            at_risk = [d for d, a in pairs if d <= x < a]
            if at_risk:
                share *= 1.0 - sum(d == x for d in at_risk) / len(at_risk)
        known[edge] = share
    return np.array(known)


@settings(max_examples=40)
@given(st.lists(st.tuples(INSTANTS, INSTANTS), max_size=30))
def test_the_reverse_hazard_is_that_of_the_loops(pairs: list[tuple[float, float]]) -> None:
    delay = [min(pair) for pair in pairs]
    age = [max(pair) for pair in pairs]
    found = delay_curve(np.array(delay), np.array(age), horizon=HORIZON)
    assert found.known == pytest.approx(curve_by_hand(delay, age))
    assert found.known[-1] == 1.0
    assert (np.diff(found.known) >= -1e-12).all()


def test_the_reverse_hazard_by_hand() -> None:
    # two old events, known after .5 and 2.5 s; one of age 2 known after .5 s. By 3 s all are known. In the third bin
    # one of the two that can show it arrived: 1/2 were known by 2 s, all of them in the first bin: F(1) = F(2) = 1/2
    found = delay_curve(np.array([0.5, 2.5, 0.5]), np.array([99.0, 99.0, 2.0]), horizon=HORIZON)
    assert found.known[[0, 1, 2, 3]] == pytest.approx([0.0, 0.5, 0.5, 1.0])
    assert found.share(np.array([1.5, 2.5])) == pytest.approx([0.5, 0.75])
    assert found.share(np.array([3.0]), 2.0) == pytest.approx([0.5])


def test_it_is_the_chain_ladder_of_a_triangle() -> None:
    # cohorts of age 3, 2 and 1, known counts by age: 40 60 80 | 50 70 | 60
    new = [[40, 20, 20], [50, 20], [60]]
    delay = np.array([bin_ + 0.5 for row in new for bin_, n in enumerate(row) for _ in range(n)])
    age = np.array([float(len(row)) for row in new for n in row for _ in range(n)])
    found = delay_curve(delay, age, horizon=HORIZON)
    to_third = 80 / 60
    to_second = (60 + 70) / (40 + 50)
    assert found.known[3] == 1.0
    assert found.known[2] == pytest.approx(1 / to_third)
    assert found.known[1] == pytest.approx(1 / to_third / to_second)


def test_without_truncation_it_is_the_empirical_distribution() -> None:
    delay = np.random.default_rng(0).uniform(0, 100, 500)
    found = delay_curve(delay, np.full(500, 1000.0), horizon=HORIZON)
    assert found.known == pytest.approx([(delay <= edge).mean() for edge in range(N_BINS + 1)])


def test_what_comes_at_the_end_of_a_bin_is_known_at_it() -> None:
    # whole seconds: of 1, 2, 2 and 5 s, by 1 s a quarter is known, by 2 s three quarters, by 5 s all
    found = delay_curve(np.array([1.0, 2.0, 2.0, 5.0]), np.full(4, 500.0), horizon=HORIZON)
    assert found.known[:7] == pytest.approx([0.0, 0.25, 0.75, 0.75, 0.75, 1.0, 1.0])
    # all after 5 s exactly: the one class that the curve has mass in is theirs, so that no stretch is likelier than 1
    late = delay_curve(np.full(9, 5.0), np.full(9, 500.0), horizon=HORIZON)
    said = shape_evidence(late, np.full(9, 5.0), np.full(9, 500.0), np.zeros(9, int), n_cohorts=1)[0]
    assert said[STRETCHES == 1.0] == pytest.approx(said.max())


def test_a_curve_of_few_arrivals_is_that_of_all() -> None:
    own, pooled = DelayCurve(HORIZON, np.ones(N_BINS + 1), 10), assumed_curve(HORIZON, by=64.0)
    assert pooled.share(np.array([32.0, 64.0, 100.0])) == pytest.approx([0.5, 1.0, 1.0])
    assert blended(own, pooled, enough=30.0).known[32] == pytest.approx(0.25 * 1.0 + 0.75 * 0.5)


def test_the_evidence_in_a_shape_by_hand() -> None:
    # even delays up to 100 s, classes of 10 s; an event of age 50 that was known after 5 s, delays 1 and 2 times as
    # long: 10 of 50 and (10 / 2) of (50 / 2), the same share: an even curve says nothing, however it is stretched
    even = DelayCurve(HORIZON, np.minimum(np.arange(N_BINS + 1) / 100, 1.0), 100)
    said = shape_evidence(even, np.array([5.0]), np.array([50.0]), np.array([0]), n_cohorts=2)
    slow = np.log(STRETCHES) >= -0.1
    assert np.ptp(said[0, slow]) == pytest.approx(0.0, abs=0.05)
    assert (said[1] == 0).all()
    # one that took 90 of its 95 s speaks for long delays: no short curve has so late ones
    # a label that may have waited since the second second says as little as one that came at once
    waited = shape_evidence(
        even, np.array([90.0]), np.array([95.0]), np.array([0]), n_cohorts=1, at_least=np.array([0.5])
    )
    assert np.ptp(waited[0]) < 0.2
    late = shape_evidence(even, np.full(5, 90.0), np.full(5, 95.0), np.zeros(5, int), n_cohorts=1)[0]
    assert late[-1] > late[8]


def arrivals(slope: float, *, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Delays, ages and money of frauds that have arrived, delays by the money of each."""
    rng = np.random.default_rng(seed)
    log = rng.normal(3.0, 0.8, n)
    delay = np.minimum(rng.gamma(3.0, 8.0, n) * np.exp(slope * (log - 3.0) / 0.8), HORIZON)
    age = rng.uniform(0, 400.0, n)
    seen = delay <= age
    return delay[seen], age[seen], np.exp(log[seen])


@pytest.mark.parametrize("slope", [-0.4, -0.2, 0.0, 0.3])
def test_how_delays_depend_on_money_is_found_and_turns_with_its_sign(slope: float) -> None:
    delay, age, money = arrivals(slope, n=6_000, seed=3)
    curve = delay_curve(delay, age, horizon=HORIZON)
    found = money_delays(curve, delay, age, money)
    assert found.slope == pytest.approx(slope, abs=0.06)
    assert found.stretch(np.exp([found.middle, found.middle + found.spread])) == pytest.approx([1, np.exp(found.slope)])
    assert money_delays(curve, delay, age, 7.0 * money).slope == pytest.approx(found.slope)
    assert money_delays(curve, delay, age, 1.0 / money).slope == pytest.approx(-found.slope)
    # frauds without money are those of the middle, and their delays say nothing of a slope
    free = money_delays(curve, np.append(delay, [1.0] * 50), np.append(age, [399.0] * 50), np.append(money, [0.0] * 50))
    assert free.slope == pytest.approx(found.slope)
    assert found.stretch(np.array([0.0])).tolist() == [1.0]


def test_little_money_and_the_same_money_say_nothing() -> None:
    delay, age, money = arrivals(0.4, n=25, seed=5)
    curve = delay_curve(delay, age, horizon=HORIZON)
    assert money_delays(curve, delay[:19], age[:19], money[:19]).slope == 0.0
    assert money_delays(curve, delay, age, np.full(len(delay), 5.0)).slope == 0.0
    assert money_delays(curve, delay[:0], age[:0], money[:0]).slope == 0.0


def test_the_slope_is_that_of_the_loops() -> None:
    delay, age, money = arrivals(0.3, n=60, seed=6)
    curve = delay_curve(delay, age, horizon=HORIZON)
    log = np.log(money)
    edges = curve.class_edges()
    weights = []
    for slope in SLOPES:
        said = -0.5 * (slope / 0.3) ** 2
        for d, a, m in zip(delay, age, log, strict=True):
            stretch = np.exp(slope * min(max((m - log.mean()) / log.std(), -2.5), 2.5))
            low, high = next((x, y) for x, y in itertools.pairwise(edges) if x < d <= y)
            share = [float(curve.share(np.array([x]), float(stretch))[0]) for x in (low, min(high, max(a, low)), a)]
            within = (share[1] - share[0]) / share[2] if share[2] > 1e-9 else 0.0
            said += TEMPER * np.log(0.98 * within + 0.02 / (len(edges) - 1))
        weights.append(said)
    weight = np.exp(np.array(weights) - max(weights))
    assert money_delays(curve, delay, age, money).slope == pytest.approx(float(weight @ SLOPES / weight.sum()))


DAY = 86_400.0


def test_a_stop_of_labels_by_hand() -> None:
    # 12 labels a day for 20 days, none for 5 days, then 60 that waited, all within half a day
    before = np.arange(240) / 12 * DAY
    after = 25 * DAY + np.linspace(0, 0.5, 60) * DAY
    stops = label_stops(np.concatenate([after, before]), at=26 * DAY)
    assert (stops.start, stops.end) == (pytest.approx([before[-1]]), pytest.approx([25 * DAY]))
    asked = np.array([3 * DAY, 25.2 * DAY, 26.5 * DAY])
    assert stops.earliest(asked) == pytest.approx([3 * DAY, before[-1], 26.5 * DAY])
    assert stops.still(26 * DAY) == 0.0
    # while none comes, the stop is not over
    quiet = label_stops(before, at=25 * DAY)
    assert quiet.still(25 * DAY) == pytest.approx(25 * DAY - before[-1])
    assert len(label_stops(before, at=20.5 * DAY).start) == 0
    assert len(label_stops(before[:3], at=99 * DAY).start) == 0
