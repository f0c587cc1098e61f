from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.policy.search import ScoreGroups, search_thresholds, threshold_interval
from fraudctl.uncertainty import Clusters

COSTS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(-5, 20), st.integers(-5, 20), st.integers(-5, 20)), min_size=1, max_size=14
)


def cost_of(scores: np.ndarray, costs: np.ndarray, thresholds: tuple[float | None, ...]) -> float:
    code = np.zeros(len(scores), dtype=int)
    for action, cut in enumerate(thresholds, start=1):
        if cut is not None:
            code[scores >= cut] = np.maximum(code[scores >= cut], action)
    return float(costs[np.arange(len(scores)), code].sum())


@settings(deadline=None)
@given(COSTS)
def test_exact_against_every_pair_of_thresholds(rows: list[tuple[int, int, int, int]]) -> None:
    scores = np.array([row[0] for row in rows]) / 6
    costs = np.array([row[1:] for row in rows], dtype=np.float64)
    found = search_thresholds(ScoreGroups.of(scores, costs), tolerance=0.0)
    cuts = [np.inf, *np.unique(scores)]
    brute = min(cost_of(scores, costs, pair) for pair in itertools.product(cuts, cuts) if pair[0] <= pair[1])
    assert found.lowest_cost == pytest.approx(brute)
    assert cost_of(scores, costs, tuple(item.exact for item in found.thresholds)) == pytest.approx(brute)


@settings(deadline=None)
@given(COSTS, st.floats(0, 0.2))
def test_the_plateaus_mean_costs_no_more_than_the_tolerance(rows: list[tuple[int, ...]], tolerance: float) -> None:
    scores = np.array([row[0] for row in rows]) / 6
    costs = np.array([row[1:] for row in rows], dtype=np.float64)
    found = search_thresholds(ScoreGroups.of(scores, costs), tolerance=tolerance)
    taken = cost_of(scores, costs, tuple(item.value for item in found.thresholds))
    assert taken <= found.lowest_cost + tolerance * abs(found.lowest_cost) + 1e-6


def test_plateau_by_hand() -> None:
    # alerts cost 1 on legit, a missed fraud 10. Scores .9 F, .6 L, .4 F, .1 L: cuts cost 20, 10, 11, 1, 2
    scores = np.array([0.9, 0.6, 0.4, 0.1])
    costs = np.array([[10.0, 0], [0, 1], [10, 0], [0, 1]])
    (exact,) = search_thresholds(ScoreGroups.of(scores, costs)).thresholds
    assert (exact.value, exact.low, exact.high) == (0.4, 0.4, 0.4)
    (wide,) = search_thresholds(ScoreGroups.of(scores, costs), tolerance=1.0).thresholds
    assert (wide.low, wide.high) == (0.1, 0.4)
    assert wide.value == pytest.approx(0.2)
    (forbidden,) = search_thresholds(ScoreGroups.of(scores, costs), alert_cuts=np.array([0, 1, 2])).thresholds
    assert forbidden.value == 0.9


def test_never_is_a_choice() -> None:
    (found,) = search_thresholds(ScoreGroups.of(np.array([0.9, 0.5]), np.array([[0.0, 5], [0, 5]]))).thresholds
    assert found.value is None
    assert found.exact is None


def test_interval_of_the_best_threshold_holds_it() -> None:
    rng = np.random.default_rng(0)
    y_true = rng.random(2000) < 0.2
    scores = np.clip(rng.normal(0.3 + 0.3 * y_true, 0.15), 0, 1)
    costs = np.column_stack([10.0 * y_true, 1.0 * ~y_true])
    (found,) = search_thresholds(ScoreGroups.of(scores, costs)).thresholds
    clusters = Clusters(("card",), (rng.integers(0, 300, 2000),), (300,), 2000)
    ((low, high),) = threshold_interval(scores, costs, clusters, seed=0, confidence=0.9, replicates=50)
    assert low is not None
    assert high is not None
    assert low <= found.exact <= high  # type: ignore[operator]
