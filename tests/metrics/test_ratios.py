from __future__ import annotations

import numpy as np
import pytest
from decisions_world import two_actions
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fraudctl import metrics
from fraudctl.costs import perfect_cost, taken_cost

Y = np.array([1, 1, 1, 0, 0, 0, 0, 0])
ALERT = np.array([1, 1, 0, 1, 0, 0, 0, 0], dtype=bool)
ROWS = st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.floats(0, 1)), min_size=1, max_size=40)


def test_by_hand() -> None:
    # TP 2, FN 1, FP 1, TN 4
    assert metrics.precision(Y, ALERT).value == pytest.approx(2 / 3)
    assert metrics.recall(Y, ALERT).value == pytest.approx(2 / 3)
    assert metrics.alert_rate(ALERT).value == pytest.approx(3 / 8)
    assert metrics.false_positive_rate(Y, ALERT).value == pytest.approx(1 / 5)
    # amounts of the frauds 10, null, -5 (a refund): 10 of 10 is caught
    amount = np.array([10.0, np.nan, -5.0, 99, 99, 99, 99, 99])
    assert metrics.value_recall(Y, ALERT, amount).value == 1.0
    assert metrics.value_recall(Y, ~ALERT, amount).value == 0.0
    assert metrics.brier(Y, np.full(8, 0.5)).value == 0.25
    assert metrics.cost(Y, np.arange(8.0)).value == pytest.approx(28.0)


def test_weights_count_as_copies() -> None:
    weight = np.array([2.0, 1, 1, 3, 1, 1, 1, 1])
    copies = np.repeat(np.arange(8), weight.astype(int))
    assert metrics.precision(Y, ALERT, weight=weight).value == metrics.precision(Y[copies], ALERT[copies]).value
    weighted = metrics.cost(Y, np.arange(8.0), weight=weight).value
    assert weighted == pytest.approx(metrics.cost(Y[copies], np.arange(8.0)[copies]).value)


@settings(deadline=None)
@given(ROWS)
def test_equal_to_scikit_learn(rows: list[tuple[int, bool, float]]) -> None:
    y_true, alert, prob = (np.array(item) for item in zip(*rows, strict=True))
    if y_true.any():
        assert metrics.recall(y_true, alert).value == pytest.approx(sk.recall_score(y_true, alert))
    if alert.any():
        assert metrics.precision(y_true, alert).value == pytest.approx(
            sk.precision_score(y_true, alert, zero_division=0)
        )
    assert metrics.brier(y_true, prob).value == pytest.approx(np.mean((prob - y_true) ** 2))


@settings(deadline=None)
@given(ROWS)
def test_influence_sums_to_nothing(rows: list[tuple[int, bool, float]]) -> None:
    y_true, alert, prob = (np.array(item) for item in zip(*rows, strict=True))
    for ratio in (metrics.brier(y_true, prob), metrics.alert_rate(alert), metrics.precision(y_true, alert)):
        if ratio.reason is None:
            assert ratio.influence.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "reason"),
    [
        (metrics.precision(Y, np.zeros(8, dtype=bool)), "no alerts"),
        (metrics.recall(np.zeros(8), ALERT), "no frauds"),
        (metrics.false_positive_rate(np.ones(8), ALERT), "no legitimate events"),
        (metrics.value_recall(Y, ALERT, np.full(8, -1.0)), "no frauds with a positive amount"),
        (metrics.brier(np.empty(0), np.empty(0)), "no events"),
    ],
)
def test_undefined_has_a_reason(ratio: metrics.Ratio, reason: str) -> None:
    assert ratio.reason == reason
    assert np.isnan(ratio.value)


def test_savings_of_perfect_is_the_ceiling() -> None:
    # a review of each fraud costs 2 even a perfect model: allow all 30, block all 5; perfect 3 × 2 -> 1 - 6/5 < 0?
    # no: blocking the frauds costs 0 here, so perfect is 0 and its savings 1
    matrix = two_actions(0.0, 1.0, 10.0)
    table = np.tile([[0.0, 10.0], [1.0, 0.0]], (8, 1, 1))
    perfect = metrics.savings_of_perfect(Y, table, matrix)
    assert perfect.value == 1.0
    ours = metrics.savings_ratio(Y, taken_cost(table, ALERT.astype(int), Y), table, matrix)
    # ours: one fraud missed 10, one false positive 1; base is blocking all: 5
    assert ours.value == pytest.approx(1 - 11 / 5)
    assert perfect_cost(table, Y).sum() == 0.0
