"""Words that small numbers share, against arrays of those numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.features.online import arena, packed
from fraudctl.features.online.log_words import NO_HIGH, NO_LOW


@given(st.lists(st.integers(0, (1 << 31) - 1), min_size=1, max_size=9), st.integers(0, 3))
def test_counts_are_what_was_written(counts: list[int], start: int) -> None:
    heap = np.full(12, -1, np.int64)  # what a freed block held
    for i, count in enumerate(counts):
        packed.put_count(heap, 2, start + i, count)
    assert [packed.count_at(heap, 2, start + i) for i in range(len(counts))] == counts
    assert (heap[:2] == -1).all()
    assert (heap[2 + packed.count_words(start + len(counts)) :] == -1).all()


@pytest.mark.parametrize("grid", [(-1074, 1024, 40, 80), (NO_LOW, NO_HIGH, 0, 0), (0, 0, 2, 3), (-3, 71, 2, 0)])
def test_a_grid_is_what_was_packed(grid: tuple[int, int, int, int]) -> None:
    word = packed.grid_of(*grid)
    assert 0 <= word < 1 << 63
    unpacked = packed.grid_low(word), packed.grid_high(word), packed.sum_words(word), packed.square_words(word)
    assert unpacked == grid


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=40))
def test_idle_slots_are_a_list(steps: list[tuple[bool, int]]) -> None:
    heap, idle = arena.new_heap(1 << 12, 8), list[int]()
    for now, (touched, number) in enumerate(steps):
        slot = 3000 + arena.SLOT_WORDS * number
        idle = [other for other in idle if other != slot]
        if touched:
            idle.append(slot)
            arena.touch(heap, 3, slot, now)
        else:
            arena.unlist(heap, 3, slot)
        found, at = list[int](), int(heap[arena.LISTS + 6])
        while at:
            found.append(at)
            at = arena.after(heap, at)
        assert found == idle
        assert heap[arena.LISTS + 7] == (idle[-1] if idle else 0)
        assert all(arena.before(heap, one) == other for one, other in zip(idle, [0, *idle], strict=False))
