from __future__ import annotations

import itertools
from random import Random

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


@settings(deadline=None)
@given(ROWS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_names_codes_and_row_order_change_no_bit(rows: list[tuple[int, int, int, int]], k: int, rng: Random) -> None:
    names = list(range(6))
    rng.shuffle(names)
    renamed = [(day, 7 * names[entity] + 3, label, score) for day, entity, label, score in rows]
    rng.shuffle(renamed)
    one, other = precision_at_k(boards_of(rows), k), precision_at_k(boards_of(renamed), k)
    assert (one.value, one.lowest, one.highest) == (other.value, other.lowest, other.highest)
    assert one.per_day.tolist() == other.per_day.tolist()


@settings(deadline=None)
@given(ROWS, st.integers(1, 500))
def test_recall_never_exceeds_one(rows: list[tuple[int, int, int, int]], k: int) -> None:
    found = precision_at_k(boards_of(rows), k)
    if found.findable:
        value, low, high = found.recall or (2.0, 2.0, 2.0)
        assert low <= value + 1e-12 <= high + 2e-12
        assert max(value, low, high) <= 1.0


def test_everything_found_is_a_recall_of_exactly_one() -> None:
    # 12 days with 7 new frauds each and 100 places: precision .07, recall 1, although 12 × 100 × .07 / 84 is not 1
    rows = [(day, 100 * day + card, int(card < 7), card % 3) for day in range(12) for card in range(20)]
    assert precision_at_k(boards_of(rows), 100).recall == (1.0, 1.0, 1.0)


def over_orders(rows: list[tuple[int, int, int, int]], k: int, draws: int, *, seed: int) -> np.ndarray:
    """Precision at K for many random orders of ties, a new order on each day; found entities really leave."""
    rng = np.random.default_rng(seed)
    values = []
    for _draw in range(draws):
        found: set[int] = set()
        shares = []
        for day in sorted({row[0] for row in rows}):
            best: dict[int, int] = {}
            fraud: set[int] = set()
            for at, entity, label, score in rows:
                if at == day and entity not in found:
                    best[entity] = max(best.get(entity, -1), score)
                    fraud |= {entity} if label else set()
            luck = rng.random(1 + max(best, default=0))
            top = sorted(best, key=lambda c: (-best[c], luck[c]))[:k]
            shares.append(len(fraud.intersection(top)) / k)
            found |= fraud.intersection(top)
        values.append(np.mean(shares))
    return np.array(values)


@pytest.mark.parametrize("seed", range(4))
def test_removal_in_expectation_is_the_mean_over_orders_of_a_larger_board(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bad = rng.random(60) < 0.3
    rows = [
        (day, card, int(bad[card] and rng.random() < 0.5), int(rng.integers(0, 3)))
        for day in range(5) for card in range(60) if rng.random() < 0.8
    ]  # fmt: skip
    values = over_orders(rows, 15, 400, seed=seed)
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(precision_at_k(boards_of(rows), 15).value - values.mean()) < 4 * error + 0.002


def brute_weighted(rows: list[tuple[int, int, int, int]], k: int, weight: np.ndarray) -> float:
    """The expectation written out in plain Python: each day, groups from the top, the straddling one by its share."""
    left = dict(enumerate(weight.tolist()))
    shares = []
    for day in sorted({row[0] for row in rows}):
        best, fraud = {}, set()
        for _day, entity, label, score in (row for row in rows if row[0] == day):
            best[entity] = max(best.get(entity, score), score)
            fraud |= {entity} if label else set()
        room, found = float(k), 0.0
        for level in sorted(set(best.values()), reverse=True):
            members = [c for c in best if best[c] == level]
            size = sum(left[c] for c in members)
            share = min(room, size) / size if size else 0.0
            room -= share * size
            for c in fraud.intersection(members):
                found += left[c] * share
                left[c] *= 1 - share
        shares.append(found / k)
    return float(np.mean(shares))


@settings(deadline=None)
@given(ROWS, st.integers(1, 4), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_weights_count_as_copies(rows: list[tuple[int, int, int, int]], k: int, weight: list[int]) -> None:
    weights = np.array(weight, dtype=np.float64)
    assert weighted_precision_at_k(boards_of(rows), k, weights) == pytest.approx(brute_weighted(rows, k, weights))
    copies = [(day, 4 * entity + c, label, score) for day, entity, label, score in rows for c in range(weight[entity])]
    if {row[0] for row in copies} == {row[0] for row in rows}:
        assert weighted_precision_at_k(boards_of(rows), k, weights) == pytest.approx(
            precision_at_k(boards_of(copies), k).value
        )
