from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.metrics import expected_calibration_error, reliability
from fraudctl.metrics.calibration import equal_mass_bins

ROWS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=1, max_size=60)


def test_by_hand() -> None:
    # bins {.1, .1} with no fraud and {.6, .6} with two: |.1 - 0| / 2 + |.6 - 1| / 2
    value = expected_calibration_error(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.6, 0.6]), n_bins=2)
    assert value == pytest.approx(0.25)


def test_empty_is_undefined() -> None:
    assert math.isnan(expected_calibration_error(np.empty(0), np.empty(0)))
    assert reliability(np.empty(0), np.empty(0)) == ()


@settings(deadline=None)
@given(ROWS)
def test_equal_to_brute_force_and_ties_share_a_bin(rows: list[tuple[int, float]]) -> None:
    y_true, y_prob = (np.array(item, dtype=np.float64) for item in zip(*rows, strict=True))
    bins = equal_mass_bins(y_prob)
    assert all(len(set(bins[y_prob == p])) == 1 for p in y_prob)
    brute = sum((bins == b).mean() * abs(y_prob[bins == b].mean() - y_true[bins == b].mean()) for b in set(bins))
    assert expected_calibration_error(y_true, y_prob) == pytest.approx(brute)
    table = reliability(y_true, y_prob)
    assert sum(item.n_events for item in table) == len(rows)
    assert sum(item.n_frauds for item in table) == y_true.sum()
    assert all(left.high < right.low for left, right in itertools.pairwise(table))


def test_reliability_weighs_events() -> None:
    # One bin of two events: (3 x 0.2 + 1 x 0.6) / 4 = 0.3 promised, and 1 / 4 of the weight is fraud.
    (only,) = reliability(np.array([0, 1]), np.array([0.2, 0.6]), weight=np.array([3.0, 1.0]), n_bins=1)
    assert only.mean_prob == pytest.approx(0.3)
    assert only.fraud_rate == pytest.approx(0.25)
    assert (only.n_events, only.n_frauds) == (2, 1)
