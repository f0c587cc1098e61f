"""The slice search against one that tries every pair by the formula, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.explain.search import BEAM, KEEP, MIN_IN_SLICE, Errors, _largest, _Search, best_slices, draw_errors


def statistic(errors: Errors, rows: np.ndarray, inside: np.ndarray) -> float:
    """Return the statistic of a slice if the errors were these rows."""
    hits = rows[inside[rows]]
    if len(hits) < MIN_IN_SLICE:
        return -np.inf
    mean = (errors.weight * errors.stake * errors.rate)[inside].sum()
    return float((errors.stake[hits].sum() - mean) / np.sqrt(errors.spread[inside].sum() + errors.floor))


def brute(errors: Errors, rows: np.ndarray, held: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
    """Try one and two conditions, and each third of the best of them."""
    n = held.shape[1]
    short = [(j,) for j in range(n)] + list(itertools.combinations(range(n), 2))
    found = [(statistic(errors, rows, held[:, list(item)].all(axis=1)), item) for item in short]
    best = sorted((pair for pair in found if np.isfinite(pair[0])), key=lambda pair: -pair[0])[:KEEP]
    for _, pair in [item for item in best[:BEAM] if len(item[1]) == 2]:
        more = [tuple(sorted((*pair, j))) for j in range(n) if j not in pair]
        third = max((statistic(errors, rows, held[:, list(item)].all(axis=1)), item) for item in more)
        best += [third] if np.isfinite(third[0]) else []
    return sorted(best, key=lambda item: (-item[0], len(item[1])))[:KEEP]


def population(seed: int) -> tuple[Errors, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 900
    held = rng.random((n, 9)) < rng.uniform(0.2, 0.6, 9)
    error = rng.random(n) < np.where(held[:, 0] & held[:, 1], 0.3, 0.05)
    stratum = rng.integers(0, 4, n)
    return Errors.make(error, rng.lognormal(size=n), rng.uniform(1.0, 3.0, n), stratum), held


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_what_trying_everything_finds(seed: int) -> None:
    errors, held = population(seed)
    search = _Search(errors, held)
    drawn = draw_errors(errors, 5, seed=[seed])
    for rows in [np.flatnonzero(errors.error), *drawn]:
        ours, theirs = search.run(rows), brute(errors, rows, held)
        assert [item for _, item in ours] == [item for _, item in theirs]
        assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], rel=1e-4, abs=1e-5)
    top, null = best_slices(errors, held, drawn)
    assert {0, 1} & set(top[0][1])
    assert null == pytest.approx([brute(errors, rows, held)[0][0] for rows in drawn], rel=1e-4, abs=1e-5)


@given(
    st.lists(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 2.0, 3.0]), min_size=4, max_size=4), min_size=4, max_size=4),
    st.integers(1, 20),
)
def test_the_largest_places_of_a_matrix_are_those_of_sorting_them(rows: list[list[float]], n: int) -> None:
    z = np.array(rows)
    order = sorted((-z[a, b], a, b) for a in range(4) for b in range(4) if np.isfinite(z[a, b]))
    expected = [(-value, (a,) if a == b else (a, b)) for value, a, b in order[:n]]
    assert _largest(z, n) == expected


def test_no_slice_where_too_few_errors_meet_any_condition() -> None:
    errors, held = population(0)
    search = _Search(errors, np.zeros_like(held))
    assert search.run(np.flatnonzero(errors.error)) == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_taken_from_a_matrix_that_has_them_side_by_side(order: str) -> None:
    """Of a matrix that has its columns side by side, numpy copies all before it takes a row: for each permutation."""
    errors, held = population(4)
    search = _Search(errors, np.asarray(held, order=order))  # type: ignore[call-overload]
    assert search.matrix.flags.c_contiguous
    rows = np.flatnonzero(errors.error)
    assert search.run(rows) == _Search(errors, held).run(rows)
