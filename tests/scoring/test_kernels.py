"""Small loops of a decision against the operations on arrays that they stand for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.explain.reasons import FAINT, MOST
from fraudctl.scoring.kernels import add_partner, strongest

VALUES = st.lists(st.sampled_from([-2.0, -0.5, -0.0, 0.0, FAINT, 2 * FAINT, 0.5, 2.0]), max_size=9)


@given(VALUES, st.booleans(), st.randoms(use_true_random=False))
def test_the_strongest_are_those_of_a_stable_sort(values: list[float], raises: bool, random: object) -> None:
    closed = np.array([random.random() < 0.3 for _ in values], dtype=np.bool_)  # type: ignore[attr-defined]
    given_values = np.array(values, dtype=np.float64)
    push = np.where(closed, -np.inf, given_values if raises else -given_values)
    wanted = [j for j in np.argsort(-push, kind="stable")[:MOST].tolist() if push[j] >= FAINT]
    found = np.empty(MOST, dtype=np.int64)
    n = strongest(given_values, 1.0 if raises else -1.0, closed, FAINT, found)
    assert found[:n].tolist() == wanted


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=8), st.floats(0.1, 0.9), st.integers(0, 1000))
def test_a_partners_contributions_are_added_where_its_columns_are(own: list[float], weight: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.permutation(len(own))[: int(rng.integers(0, len(own) + 1))]).astype(np.int64)
    theirs = rng.normal(size=len(positions))
    wanted = (1.0 - weight) * np.array(own)
    wanted[positions] += weight * theirs
    found = np.array(own, dtype=np.float64)
    add_partner(found, theirs, positions, weight)
    assert np.array_equal(found, wanted)
