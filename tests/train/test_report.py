from __future__ import annotations

import numpy as np
import pytest

from fraudctl.metrics.calibration import expected_calibration_error
from fraudctl.train.report import calibration_report


def drawn(n: int, *, tilt: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_prob = rng.beta(0.4, 8, n)
    return (rng.random(n) < np.clip(tilt * y_prob, 0, 1)).astype(np.int8), y_prob


def test_a_calibrated_score_lies_within_its_own_range() -> None:
    inside = 0
    for seed in range(40):
        report = calibration_report(*drawn(2000, seed=seed), seed=0)
        inside += report.ece_if_perfect.low <= report.ece <= report.ece_if_perfect.high
    assert 29 <= inside <= 40  # 36 expected of 40 at 90 %; below 29 has a chance of 0.0005


def test_a_tilted_score_lies_outside() -> None:
    report = calibration_report(*drawn(20_000, tilt=1.6), seed=0)
    assert report.ece > report.ece_if_perfect.high
    top = report.reliability[-1]
    assert top.fraud_rate > top.if_perfect.high


def test_the_error_is_that_of_the_metrics_and_the_bins_hold_all_events() -> None:
    y_true, y_prob = drawn(3000)
    report = calibration_report(y_true, y_prob, seed=0)
    assert report.ece == pytest.approx(expected_calibration_error(y_true, y_prob), abs=1e-8)
    assert sum(item.rows for item in report.reliability) == 3000
    probabilities = [item.mean_prob for item in report.reliability]
    assert probabilities == sorted(probabilities)
    assert sum(item.rows * item.fraud_rate for item in report.reliability) == pytest.approx(y_true.sum())


def test_the_seed_decides_the_draws_and_weights_count() -> None:
    y_true, y_prob = drawn(1000)
    assert calibration_report(y_true, y_prob, seed=1) == calibration_report(y_true, y_prob, seed=1)
    other = calibration_report(y_true, y_prob, seed=2)
    assert other.ece_if_perfect != calibration_report(y_true, y_prob, seed=1).ece_if_perfect
    weight = np.where(y_true == 1, 4.0, 1.0)
    assert calibration_report(y_true, y_prob, seed=1, weight=weight).ece > other.ece
