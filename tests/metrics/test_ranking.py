from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fraudctl.metrics import average_precision, recall_at_fpr, roc_auc
from fraudctl.metrics.ranking import Ranking, ap_influence, ap_of, auc_influence, auc_of

EVENTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(1, 3)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(row[0] for row in rows) < len(rows)
)


def arrays(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y_true, score, weight = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    return y_true, score / 7, weight


def test_auc_by_hand() -> None:
    # pairs (fraud, legit): .9>.5, .9>.1, .5=.5 (half), .5>.1 -> 3.5 / 4
    assert roc_auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])) == 3.5 / 4


def test_average_precision_by_hand() -> None:
    # thresholds .9: P 1/1, R 1/2; .5 (both twins): P 2/3, R 1 -> 1/2 × 1 + 1/2 × 2/3
    assert average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])) == pytest.approx(0.5 + 1 / 3)


def test_recall_at_fpr_by_hand() -> None:
    y_true, score = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    # no false positive: 1 of 2 frauds; one of three false positives: both
    assert recall_at_fpr(y_true, score, 0.0) == 0.5
    assert recall_at_fpr(y_true, score, 1 / 3) == 1.0


@settings(deadline=None)
@given(EVENTS)
def test_equal_to_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    y_true, score, weight = arrays(rows)
    assert roc_auc(y_true, score, weight=weight) == pytest.approx(sk.roc_auc_score(y_true, score, sample_weight=weight))
    theirs = sk.average_precision_score(y_true, score, sample_weight=weight)
    assert average_precision(y_true, score, weight=weight) == pytest.approx(theirs)


@settings(deadline=None)
@given(EVENTS)
def test_equal_to_brute_force(rows: list[tuple[int, int, int]]) -> None:
    y_true, score, _ = arrays(rows)
    frauds, legits = score[y_true == 1], score[y_true == 0]
    pairs = [(f > g) + 0.5 * (f == g) for f in frauds for g in legits]
    assert roc_auc(y_true, score) == pytest.approx(np.mean(pairs))
    precision = [y_true[score >= f].mean() for f in frauds]
    assert average_precision(y_true, score) == pytest.approx(np.mean(precision))
    for limit in (0.0, 0.2, 1.0):
        recalls = [(frauds >= t).mean() for t in [*score, 9.0] if (legits >= t).mean() <= limit]
        assert recall_at_fpr(y_true, score, limit) == pytest.approx(max(recalls))


@settings(deadline=None)
@given(EVENTS, st.integers(0, 1000))
def test_row_order_is_irrelevant_and_weights_are_copies(rows: list[tuple[int, int, int]], seed: int) -> None:
    y_true, score, weight = arrays(rows)
    turn = np.random.default_rng(seed).permutation(len(score))
    copied = np.repeat(np.arange(len(score)), weight.astype(int))
    for metric in (roc_auc, average_precision):
        assert metric(y_true[turn], score[turn]) == pytest.approx(metric(y_true, score))
        assert metric(y_true[copied], score[copied]) == pytest.approx(metric(y_true, score, weight=weight))


@settings(deadline=None)
@given(EVENTS)
def test_condensed_ranking_gives_the_same(rows: list[tuple[int, int, int]]) -> None:
    y_true, score, weight = arrays(rows)
    ranking = Ranking.of(y_true, score)
    lean = ranking.condensed()
    assert len(lean.starts) <= 2 * y_true.sum() + 1
    for of in (auc_of, ap_of):
        assert of(*lean.totals(weight[lean.order])) == pytest.approx(of(*ranking.totals(weight[ranking.order])))


@settings(deadline=None)
@given(EVENTS)
def test_influences_are_derivatives(rows: list[tuple[int, int, int]]) -> None:
    y_true, score, weight = arrays(rows)
    step = 1e-6
    for metric, influence in ((roc_auc, auc_influence), (average_precision, ap_influence)):
        psi = influence(y_true, score, weight)
        assert psi.sum() == pytest.approx(0, abs=1e-9)
        for row in range(min(len(rows), 5)):
            bumped = [weight.copy(), weight.copy()]
            bumped[0][row] += step
            bumped[1][row] -= step
            up, down = (metric(y_true, score, weight=item) for item in bumped)
            assert psi[row] == pytest.approx((up - down) / (2 * step) * weight[row], abs=1e-4)


@pytest.mark.parametrize("metric", [roc_auc, average_precision])
def test_without_fraud_or_events_nothing_is_defined(metric: object) -> None:
    assert math.isnan(metric(np.array([0, 0]), np.array([0.1, 0.2])))  # type: ignore[operator]
    assert math.isnan(metric(np.array([]), np.array([])))  # type: ignore[operator]


def test_one_class_only() -> None:
    assert math.isnan(roc_auc(np.array([1, 1]), np.array([0.1, 0.2])))
    assert math.isnan(recall_at_fpr(np.array([1, 1]), np.array([0.1, 0.2]), 0.1))
    assert average_precision(np.array([1, 1]), np.array([0.1, 0.2])) == 1.0
