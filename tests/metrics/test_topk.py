from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.metrics import day_boards, precision_at_k
from fraudctl.metrics.topk import weighted_precision_at_k

ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=25
)


def boards_of(rows: list[tuple[int, int, int, int]]) -> tuple[object, ...]:
    day, entity, y_true, score = (np.array(item) for item in zip(*rows, strict=True))
    return day_boards(y_true, score, day=day, entity=entity)


def brute(rows: list[tuple[int, int, int, int]], k: int, tie_break: dict[int, int]) -> float:
    """The handbook's own loop, with one given order of ties."""
    found: set[int] = set()
    shares = []
    for day in sorted({row[0] for row in rows}):
        cards = {row[1] for row in rows if row[0] == day} - found
        best = {c: max(r[3] for r in rows if r[0] == day and r[1] == c) for c in cards}
        fraud = {c: max(r[2] for r in rows if r[0] == day and r[1] == c) for c in cards}
        top = sorted(cards, key=lambda c: (-best[c], tie_break[c]))[:k]
        caught = {c for c in top if fraud[c]}
        shares.append(len(caught) / k)
        found |= caught
    return float(np.mean(shares))


def test_by_hand() -> None:
    # day 0: cards 1 (.9, fraud), 2 (.8), 3 (.7, fraud); the best two hold one fraud -> 1/2.
    # day 1: card 1 was found and is gone; 3 (.9, fraud) and 2 (.1) -> 1/2
    rows = [(0, 1, 1, 9), (0, 1, 0, 1), (0, 2, 0, 8), (0, 3, 1, 7), (1, 1, 1, 9), (1, 3, 1, 9), (1, 2, 0, 1)]
    assert precision_at_k(boards_of(rows), 2).value == 0.5
    assert precision_at_k(boards_of(rows), 2, remove_detected=False).value == (0.5 + 1.0) / 2


def test_ties_count_with_their_share() -> None:
    # one clear card, then three tied of which one is fraud, for two places: 1/3 of a fraud in expectation
    rows = [(0, 1, 0, 9), (0, 2, 1, 5), (0, 3, 0, 5), (0, 4, 0, 5)]
    found = precision_at_k(boards_of(rows), 2)
    assert found.value == pytest.approx((1 / 3) / 2)
    assert (found.lowest, found.highest) == (0.0, 0.5)


def test_fewer_entities_than_places_still_divides_by_k() -> None:
    assert precision_at_k(boards_of([(0, 1, 1, 9)]), 100).value == 0.01


def test_null_entities_are_left_out() -> None:
    boards = day_boards(np.array([1, 1]), np.array([0.9, 0.1]), day=np.array([0, 0]), entity=np.array([-1, 0]))
    assert precision_at_k(boards, 1).value == 1.0


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_any_order_of_ties_lies_in_the_range(rows: list[tuple[int, int, int, int]], k: int) -> None:
    found = precision_at_k(boards_of(rows), k)
    one_day = [(0, *row[1:]) for row in rows]
    single = precision_at_k(boards_of(one_day), k)
    orders = itertools.islice(itertools.permutations(range(6)), 0, 720, 60)
    values = [brute(one_day, k, dict(enumerate(order))) for order in orders]
    assert single.lowest - 1e-9 <= min(values)
    assert max(values) <= single.highest + 1e-9
    assert found.lowest - 1e-9 <= found.value <= found.highest + 1e-9


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_no_more_is_found_than_there_is(rows: list[tuple[int, int, int, int]], k: int) -> None:
    found = precision_at_k(boards_of(rows), k)
    there = len({entity for _day, entity, fraud, _score in rows if fraud})
    assert found.value - 1e-9 <= found.highest <= there / (k * found.n_days) + 1e-9


@given(ROWS, st.integers(1, 4))
def test_without_ties_it_is_the_handbooks(rows: list[tuple[int, int, int, int]], k: int) -> None:
    distinct = [(day, entity, label, 100 * score + entity) for day, entity, label, score in rows]
    found = precision_at_k(boards_of(distinct), k)
    assert found.value == pytest.approx(brute(distinct, k, dict.fromkeys(range(6), 0)))
    assert found.lowest == found.highest


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_expected_value_is_the_mean_over_orders(rows: list[tuple[int, int, int, int]], k: int) -> None:
    one_day = [(0, *row[1:]) for row in rows]
    values = [brute(one_day, k, dict(enumerate(order))) for order in itertools.permutations(range(6))]
    assert precision_at_k(boards_of(one_day), k).value == pytest.approx(np.mean(values))


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_weight_one_changes_nothing_and_order_is_irrelevant(rows: list[tuple[int, int, int, int]], k: int) -> None:
    value = precision_at_k(boards_of(rows), k).value
    assert weighted_precision_at_k(boards_of(rows), k, np.ones(6)) == pytest.approx(value)
    assert precision_at_k(boards_of(rows[::-1]), k).value == pytest.approx(value)
