"""The ledger, the pairs and the blocks of the heap do what a dictionary would, whatever the order of calls."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from fraudctl.disk.mapped import mapped
from fraudctl.features.online import arena, ledger, pairs
from fraudctl.features.online.ledger import Ledger


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


@pytest.mark.parametrize("seed", range(4))
def test_events_are_known_until_they_are_forgotten(seed: int) -> None:
    rng, book = drawn(seed), Ledger(4, [0, 2, 3], b"key")
    known: dict[int | str, tuple[int, int, list[int]]] = {}
    order: list[int | str] = []
    for now in range(6_000):
        key: int | str = rng.choice([now, f"{now}", -now])
        number = book.add(key, now)
        slots = np.array([rng.randrange(1 << 32), arena.NULL, rng.randrange(1 << 20), 0], np.int64)
        book.keep_slots(number, slots)
        known[key], order = (number, now, slots.tolist()), [*order[-3000:], key]
        if rng.random() < 0.02:
            until = now - rng.choice([0, 10, 500, 2_000])
            book.forget(until, most=64)
            known = {key: found for key, found in known.items() if found[0] >= book.first}
        for asked in rng.sample(order, min(3, len(order))):
            assert (asked in book) == (asked in known)
            if asked in known:
                found, when, kept = known[asked]
                assert (book.get(asked), book.time(found), book.slots(found).tolist()) == (found, when, kept)
        assert now + 1 not in book
    rows = book.rows().copy()
    again = Ledger(4, [0, 2, 3], b"key")
    again.take(rows, book.first)
    assert [again.get(key) for key in order] == [book.get(key) for key in order]
    assert np.array_equal(again.rows(), rows)


@pytest.mark.parametrize("can_map", [True, False])
def test_saved_records_go_on_where_they_lie(tmp_path: Path, can_map: bool) -> None:
    book, rng = Ledger(3, [0, 1], b"key"), drawn(5)
    for now in range(5_000):
        book.keep_slots(book.add(f"e{now}", now), np.array([now, 2 * now, 0], np.int64))
    book.forget(1_200, most=10_000)
    (tmp_path / "rows").write_bytes(book.rows().tobytes())
    rows = np.fromfile(tmp_path / "rows", np.int64)
    if can_map:
        with (tmp_path / "rows").open("rb") as file:
            words = mapped(file.fileno(), 0, rows.nbytes)
        assert words is not None
        rows = words
    again = Ledger(3, [0, 1], b"key")
    again.take(rows.reshape(-1, again.width), book.first)
    for now in range(5_000, 30_000):
        for either in (book, again):
            either.keep_slots(either.add(f"e{now}", now), np.array([now, 2 * now, 0], np.int64))
            if now % 500 == 0:
                either.forget(now - 4_000 if now < 15_000 else now - 12_000, most=900)
        asked = f"e{rng.randrange(now + 2)}"
        number = again.get(asked)
        assert number == book.get(asked)
        if number is not None:
            assert again.slots(number).tolist() == book.slots(number).tolist()
    assert np.array_equal(again.rows(), book.rows())


def test_a_number_and_its_text_are_two_ids_and_the_key_counts() -> None:
    book = Ledger(1, [0], b"key")
    book.add(5, 1)
    assert 5 in book
    assert "5" not in book
    assert book.hashed(5) != Ledger(1, [0], b"other").hashed(5)


def test_two_ids_whose_hashes_share_all_but_the_last_bit_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Ledger(1, [0], b"key")
    monkeypatch.setattr(book, "hashed", lambda key: (7, int(key)))
    for number in range(3_000):
        assert book.add(number, number) == number
    assert [book.get(number) for number in range(3_001)] == [*range(3_000), None]
    for _ in range(40):
        book.forget(1_999, most=64)
    assert [book.get(number) for number in range(3_000)] == [None] * 2_000 + list(range(2_000, 3_000))


def test_an_expected_outcome_outlives_its_record_and_counts_once() -> None:
    book = Ledger(2, [0, 1], b"")
    number = book.add("a", 10)
    book.keep_slots(number, np.array([100, 200], np.int64))
    book.expect(number, 1, 500)
    book.expect(number, 2, 600)
    book.forget(400, most=64)
    assert "a" not in book
    assert book.settle(number, 1) is None, "another message has taken its place"
    settled = book.settle(number, 2)
    assert settled is not None
    assert (settled[0], settled[1].tolist()) == (10, [100, 200])
    assert book.settle(number, 2) is None
    assert not book.waiting
    assert not book.expected


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_found_as_in_a_dictionary(seed: int) -> None:
    rng, heap = drawn(seed), arena.new_heap(1 << 18, 8)
    index, spaces = pairs.PairIndex(searches=rng.choice([0, 3, 4000])), np.array([[2, 0, 1]], np.int64)
    known: dict[tuple[int, int], int] = {}
    for _ in range(12_000):
        both = rng.choice([arena.NULL, arena.EMPTY, 1 << 31, *range(5000, 5200)]), rng.randrange(7000, 7200)
        slots = np.array([*both, 0], np.int64)
        index.look_up(heap, spaces, slots)
        expected = arena.NULL if both[0] == arena.NULL else known.get(both, arena.EMPTY)
        assert slots[2] == expected
        if arena.NULL not in both and arena.EMPTY not in both:
            while not index.make(heap, spaces, slots):
                heap.resize(len(heap) + 4096, refcheck=False)
            assert known.setdefault(both, int(slots[2])) == slots[2]
            heap[slots[2] + arena.COUNT] += 1
    assert heap[arena.N_PAIRS] == len(known)
    again = pairs.PairIndex()
    for both, at in known.items():
        slots = np.array([*both, 0], np.int64)
        again.look_up(heap, spaces, slots)
        assert slots[2] == at


def test_blocks_fit_what_is_asked_for_and_are_rounded_up_by_an_eighth_at_most() -> None:
    sizes = [arena.size_of(c) for c in range(arena.SMALLEST, arena.N_SIZES)]
    assert all(np.diff(sizes) > 0)
    assert sizes[-1] > ledger.LARGEST_SLOT, "no list of free blocks is missing"
    for words in [*range(1, 3_000), *(2**n + d for n in range(12, 33) for d in (-1, 0, 1))]:
        size = arena.size_of(arena.size_class(words))
        assert words <= size <= max(arena.SMALLEST, words + words / 8 + 1)
        assert arena.size_of(arena.size_class(words) - 1) < words or words <= arena.SMALLEST
