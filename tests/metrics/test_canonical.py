from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.metrics.canonical import canonical_codes

EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=30)


def content(codes: np.ndarray, rows: np.ndarray) -> list[list[tuple[int, int]]]:
    """What each cluster number holds, as a sorted list."""
    return [sorted(map(tuple, rows[codes == number].tolist())) for number in range(6)]


@given(EVENTS, st.permutations(range(6)), st.randoms(use_true_random=False))
def test_the_same_number_holds_the_same_events_whatever_the_codes(
    events: list[tuple[int, int, int]], names: list[int], rng: object
) -> None:
    array = np.array(events)
    order = np.arange(len(array))
    rng.shuffle(order)  # type: ignore[attr-defined]
    one = canonical_codes(array[:, 0], 6, array[:, 1], array[:, 2])
    renamed = np.array(names)[array[order, 0]]
    other = canonical_codes(renamed, 6, array[order, 1], array[order, 2])
    assert content(one, array[:, 1:]) == content(other, array[order, 1:])
    assert sorted(np.unique(one)) == sorted(set(one.tolist()))
    assert len(np.unique(one)) == len(np.unique(array[:, 0]))


def test_only_the_order_of_values_counts() -> None:
    rng = np.random.default_rng(0)
    codes, values = rng.integers(0, 9, 50), rng.integers(0, 4, 50)
    assert canonical_codes(codes, 9, values).tolist() == canonical_codes(codes, 9, values / 7.0).tolist()
