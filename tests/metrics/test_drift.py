from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.metrics.calibration import expected_calibration_error
from fraudctl.metrics.drift import (
    MIN_DAYS,
    Drift,
    Floors,
    Promised,
    Scored,
    calibration_drift,
    score_drift,
    stability_index,
)


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


FLOORS = Floors(alert_rate=0.05, expected_cost=0.10)


def days(n_days: int, per_day: int, *, seed: int, shift: float = 0.0, carry: float = 0.0) -> tuple[np.ndarray, ...]:
    """Scores of days that differ by chance; with ``carry`` a day hands on its difference to the next."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.3, n_days)
    for at in range(1, n_days):
        moves[at] = carry * moves[at - 1] + np.sqrt(1 - carry**2) * moves[at]
    day = np.repeat(np.arange(n_days), per_day)
    return rng.normal(moves[day] + shift, 1.0), day


def both(reference: tuple[np.ndarray, ...], current: tuple[np.ndarray, ...], *, window: float = 0.0) -> Scored:
    score = np.concatenate([reference[0], current[0]])
    day = np.concatenate([reference[1], reference[1].max() + 1 + current[1]])
    now = np.arange(len(score)) >= len(reference[0])
    y_prob = 1 / (1 + np.exp(3.0 - score))
    alert = y_prob > 0.1
    return Scored(now, score, alert, np.where(alert, 1.0 - y_prob, 9.0 * y_prob), day, window)


def drift_of(events: Scored, *, chance: float = 0.05, floors: Floors = FLOORS) -> Drift:
    found = score_drift(events, floors=floors, seed=0, chance=chance)
    assert found is not None
    return found


def test_days_that_differ_by_chance_are_no_drift_and_a_shift_is() -> None:
    nothing = [drift_of(both(days(21, 200, seed=2 * k), days(7, 200, seed=2 * k + 1))) for k in range(40)]
    moved = [drift_of(both(days(21, 200, seed=2 * k), days(7, 200, seed=2 * k + 1, shift=0.8))) for k in range(40)]
    # 40 trials at 5 %: more than 7 have a chance below 1 in 1,000
    assert sum(item.statistic.value > item.statistic.limit for item in nothing) <= 7
    assert sum(item.shown for item in nothing) <= 7
    assert sum(item.shown for item in moved) >= 36


def test_days_that_depend_on_each_other_are_kept_together() -> None:
    """With days taken for independent ones, the same unchanged periods look as if they had changed far more often."""
    pairs = [days(56, 150, seed=k, carry=0.7) for k in range(60)]
    events = [both((x[: 28 * 150], d[: 28 * 150]), (x[28 * 150 :], d[28 * 150 :] - 28)) for x, d in pairs]
    kept = [drift_of(replace(item, window_days=30.0), floors=Floors(0.0, 0.0)) for item in events]
    apart = [drift_of(item, floors=Floors(0.0, 0.0)) for item in events]
    beyond = [sum(item.statistic.value > item.statistic.limit for item in found) for found in (kept, apart)]
    assert beyond[0] <= 9  # 60 trials at 5 %; more than 8 have a chance of 1 in 100
    assert beyond[1] > beyond[0] + 5
    assert sum(item.shown for item in kept) <= 9


@pytest.mark.parametrize(("window", "n_days", "block"), [(0.0, 28, 1), (3.0, 28, 3), (30.0, 28, 4), (math.inf, 70, 10)])
def test_blocks_grow_with_the_window_and_with_history(window: float, n_days: int, block: int) -> None:
    events = both(days(n_days, 2, seed=0), days(n_days, 2, seed=1), window=window)
    assert events.block(events.now) == block


def test_what_moves_no_decision_and_no_cost_never_fails() -> None:
    """Scores far below every threshold move for certain: more than chance, and it does not matter."""
    rng = np.random.default_rng(0)
    reference, current = days(28, 400, seed=0), days(28, 400, seed=1)
    low = current[0] < 0
    moved = (np.where(low, current[0] - 1.5 * rng.random(len(low)), current[0]), current[1])
    events = both(reference, moved)
    events = replace(events, cost=np.where(events.score < 0, 0.0, events.cost))
    found = drift_of(events, chance=0.01)
    assert found.statistic.value > found.statistic.limit
    assert not found.shown


@given(st.integers(0, 1000), st.floats(-0.3, 0.3), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
@settings(max_examples=30, deadline=None)
def test_nothing_below_its_floor_is_shown(seed: int, shift: float, rate: float, cost: float) -> None:
    events = both(days(8, 60, seed=seed), days(8, 60, seed=seed + 1, shift=shift))
    found = drift_of(events, floors=Floors(rate, cost))
    alert, money = found.effects
    before, now = events.alert[~events.now].mean(), events.alert[events.now].mean()
    assert alert.change == pytest.approx(abs(now - before) / before if before else math.inf if now else 0.0)
    scale = np.abs(events.cost[~events.now]).mean()
    assert money.change == pytest.approx(abs(money.now - money.before) / scale)
    assert found.shown == any(item.change > max(item.floor, item.beyond) for item in found.effects)
    if alert.change <= rate and money.change <= cost:
        assert not found.shown


def test_too_few_days_are_not_known() -> None:
    events = both(days(21, 50, seed=0), days(MIN_DAYS - 1, 50, seed=1))
    assert score_drift(events, floors=FLOORS, seed=0, chance=0.05) is None


def clustered(n_clusters: int, size: int, *, seed: int, factor: float = 1.0) -> tuple[np.ndarray, ...]:
    """Clusters that are all fraud or all legitimate, with honest probabilities times ``factor``."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.4, n_clusters)
    outcome = (rng.random(n_clusters) < p).astype(np.int8)
    codes = np.repeat(np.arange(n_clusters), size)
    return outcome[codes], np.minimum(p[codes] * factor, 1.0), codes


def promised(y_true: np.ndarray, y_prob: np.ndarray, *ways: np.ndarray) -> Promised:
    """Events decided at a threshold of .1: a fraud that is let through costs 9, an alert on none 1."""
    alert = y_prob > 0.1
    stake, cost = np.where(alert, -1.0, 9.0), np.where(alert, 1.0 - y_prob, 9.0 * y_prob)
    return Promised(y_true, y_prob, np.ones(len(y_true)), stake, cost, ways)


def test_honest_probabilities_of_clusters_pass_and_inflated_ones_do_not() -> None:
    honest, inflated, single = [], [], []
    for seed in range(20):
        y_true, y_prob, codes = clustered(300, 10, seed=seed)
        rows = np.arange(len(y_true))
        found = calibration_drift(promised(y_true, y_prob, codes), floors=FLOORS, seed=0, chance=0.05)
        assert found.statistic.value == pytest.approx(expected_calibration_error(y_true, y_prob))
        honest.append((found.statistic.value > found.statistic.limit, found.shown))
        alone = calibration_drift(promised(y_true, y_prob, rows), floors=FLOORS, seed=0, chance=0.05)
        single.append((alone.statistic.value > alone.statistic.limit, alone.shown))
        wrong = promised(y_true, np.minimum(2 * y_prob, 1), codes)
        inflated.append(calibration_drift(wrong, floors=FLOORS, seed=0, chance=0.05).shown)
    assert sum(item[0] for item in honest) <= 5
    assert sum(item[1] for item in honest) <= 5
    assert sum(inflated) >= 18
    assert all(statistic for statistic, shown in honest + single if shown)
    assert sum(item[0] for item in single) >= 14  # events of one cluster taken for independent ones
    assert sum(item[1] for item in single) >= 10


def test_an_error_that_costs_nothing_never_fails() -> None:
    """Probabilities are wrong for certain, but only where the action costs the same either way."""
    y_true, y_prob, codes = clustered(3000, 3, seed=1)
    events = promised(y_true, np.minimum(2 * y_prob, 1), codes)
    found = calibration_drift(replace(events, stake=np.zeros(len(y_true))), floors=FLOORS, seed=0, chance=0.05)
    assert found.statistic.value > found.statistic.limit
    assert not found.shown


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_same_inputs_same_figures_and_the_usual_lies_below_the_limit(seed: int) -> None:
    y_true, y_prob, codes = clustered(60, 3, seed=seed)
    events = promised(y_true, y_prob, codes)
    first = calibration_drift(events, floors=FLOORS, seed=seed, chance=0.01)
    assert first == calibration_drift(events, floors=FLOORS, seed=seed, chance=0.01)
    assert first.statistic.usual <= first.statistic.limit
