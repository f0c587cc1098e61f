from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.metrics.calibration import expected_calibration_error
from fraudctl.metrics.drift import MIN_DAYS, calibration_drift, score_drift, stability_index


def test_the_index_by_hand() -> None:
    # shares .5, .5 against .8, .2 (with a half event each): .2973 ln(.7970 / .5) - .2973 ln(.5 / .2030)... by the sum
    p, q = [50.5 / 101, 50.5 / 101], [80.5 / 101, 20.5 / 101]
    by_hand = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert stability_index(np.array([50.0, 50.0]), np.array([80.0, 20.0])) == pytest.approx(by_hand)


@given(st.lists(st.integers(0, 500), min_size=2, max_size=10), st.integers(0, 2**16))
def test_the_index_is_never_negative_and_symmetric(counts: list[int], seed: int) -> None:
    other = np.random.default_rng(seed).integers(0, 500, len(counts)).astype(float)
    first = np.array(counts, dtype=float)
    assert stability_index(first, other) >= 0
    assert stability_index(first, other) == pytest.approx(float(stability_index(other, first)))


def days(n_days: int, per_day: int, *, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of days that differ from each other by chance."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.3, n_days)
    day = np.repeat(np.arange(n_days), per_day)
    return rng.normal(moves[day] + shift, 1.0), day


def verdicts(shift: float, *, known_days: bool = True) -> list[bool]:
    found = []
    for seed in range(40):
        reference, ref_day = days(21, 200, seed=2 * seed)
        current, cur_day = days(7, 200, seed=2 * seed + 1, shift=shift)
        if not known_days:
            ref_day, cur_day = np.arange(len(ref_day)), np.arange(len(cur_day))
        drift = score_drift(reference, current, reference_day=ref_day, current_day=cur_day, seed=0, chance=0.05)
        assert drift is not None
        found.append(drift.value > drift.limit)
    return found


def test_days_that_differ_by_chance_are_no_drift_and_a_shift_is() -> None:
    # 40 trials at 5 %: more than 7 have a chance below 1 in 1,000
    assert sum(verdicts(0.0)) <= 7
    assert sum(verdicts(0.8)) >= 36
    # taken for single events, the same days look like drift far more often than 5 %: why whole days are drawn
    assert sum(verdicts(0.0, known_days=False)) >= 10


def test_too_few_days_are_not_known() -> None:
    reference, ref_day = days(21, 50, seed=0)
    current, cur_day = days(MIN_DAYS - 1, 50, seed=1)
    assert score_drift(reference, current, reference_day=ref_day, current_day=cur_day, seed=0, chance=0.05) is None


def clustered(n_clusters: int, size: int, *, seed: int, factor: float = 1.0) -> tuple[np.ndarray, ...]:
    """Clusters that are all fraud or all legitimate, with honest probabilities times ``factor``."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.4, n_clusters)
    outcome = (rng.random(n_clusters) < p).astype(np.int8)
    codes = np.repeat(np.arange(n_clusters), size)
    return outcome[codes], np.minimum(p[codes] * factor, 1.0), codes


def test_honest_probabilities_of_clusters_pass_and_inflated_ones_do_not() -> None:
    honest, inflated, single = [], [], []
    for seed in range(20):
        y_true, y_prob, codes = clustered(300, 10, seed=seed)
        weight = np.ones(len(y_true))
        found = calibration_drift(y_true, y_prob, weight, codes, seed=0, chance=0.05)
        assert found.value == pytest.approx(expected_calibration_error(y_true, y_prob))
        honest.append(found.value > found.limit)
        rows = np.arange(len(y_true))
        alone = calibration_drift(y_true, y_prob, weight, rows, seed=0, chance=0.05)
        single.append(alone.value > alone.limit)
        wrong = calibration_drift(y_true, np.minimum(2 * y_prob, 1), weight, codes, seed=0, chance=0.05)
        inflated.append(wrong.value > wrong.limit)
    assert sum(honest) <= 5
    assert sum(inflated) >= 18
    assert sum(single) >= 14  # events of one cluster taken for independent ones


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_same_inputs_same_figures_and_the_usual_lies_below_the_limit(seed: int) -> None:
    y_true, y_prob, codes = clustered(60, 3, seed=seed)
    weight = np.ones(len(y_true))
    first = calibration_drift(y_true, y_prob, weight, codes, seed=seed, chance=0.01)
    assert first == calibration_drift(y_true, y_prob, weight, codes, seed=seed, chance=0.01)
    assert first.usual <= first.limit
