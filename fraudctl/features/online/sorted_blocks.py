"""Sorted copies of whole blocks of a log, so that ranks and shares in long windows need no look at each position.

Positions never change once they are behind, so a block of `BLOCK` positions is sorted once, when its last one comes.
The copies lie behind the array that they are of, where there is room for a whole block. A range is its whole blocks, by
binary search in each, and what is left at both ends, position by position.
"""

from __future__ import annotations

import math

from fraudctl.features.batch.jit import jit
from fraudctl.features.online.arena import Floats, Ints

BLOCK = 2048
"""Positions of a block."""
SORTED = 32
"""The flag of a column whose blocks are sorted, beside those of `logs`."""
CODED = 1 << 32
"""The same, in the word of the layout that says which code of an event a log takes."""


@jit
def room(cap: int, wanted: int) -> int:
    """Return the words that the copies of a log of ``cap`` positions take."""
    return cap if wanted != 0 and cap >= BLOCK else 0


@jit
def sort_numbers(values: Floats, at: int, cap: int, i: int) -> None:
    """Sort the block of numbers that position ``i`` ends, if it ends one; NaN comes last."""
    if (i + 1) % BLOCK == 0 and cap >= BLOCK:
        first = i + 1 - BLOCK
        copy = values[at + cap + first : at + cap + first + BLOCK]
        copy[:] = values[at + first : at + first + BLOCK]
        copy.sort()


@jit
def sort_codes(heap: Ints, at: int, cap: int, i: int) -> None:
    """Sort the block of codes that position ``i`` ends, if it ends one."""
    if (i + 1) % BLOCK == 0 and cap >= BLOCK:
        first = i + 1 - BLOCK
        copy = heap[at + cap + first : at + cap + first + BLOCK]
        copy[:] = heap[at + first : at + first + BLOCK]
        copy.sort()


@jit
def rank_in(values: Floats, at: int, cap: int, lo: int, hi: int, value: float) -> float:
    """Return what `recent.rank_in` does, with the same bits."""
    if math.isnan(value):
        return math.nan
    below, equal, n = 0, 0, 0
    p = lo
    while p < hi:
        if p % BLOCK == 0 and p + BLOCK <= hi and cap >= BLOCK:
            block = at + cap + p
            before, up_to = _bounds_of_number(values, block, value)
            below += before
            equal += up_to - before
            n += _not_nan(values, block)
            p += BLOCK
            continue
        stop = min(hi, p - p % BLOCK + BLOCK)
        for q in range(at + p, at + stop):
            below += values[q] < value
            equal += values[q] == value
            n += values[q] == values[q]
        p = stop
    return (below + 0.5 * equal) / n if n > 0 else math.nan


@jit
def share_of(heap: Ints, at: int, cap: int, lo: int, hi: int, code: int, null: int) -> float:
    """Return what `recent.share_of` does, with the same bits; ``null`` is below all codes."""
    if code == null:
        return math.nan
    equal, n = 0, 0
    p = lo
    while p < hi:
        if p % BLOCK == 0 and p + BLOCK <= hi and cap >= BLOCK:
            block = at + cap + p
            equal += _up_to(heap, block, code) - _up_to(heap, block, code - 1)
            n += BLOCK - _up_to(heap, block, null)
            p += BLOCK
            continue
        stop = min(hi, p - p % BLOCK + BLOCK)
        for q in range(at + p, at + stop):
            n += heap[q] != null
            equal += heap[q] == code
        p = stop
    return equal / n if n > 0 else math.nan


@jit
def _up_to(heap: Ints, block: int, code: int) -> int:
    """Count the codes of a sorted block that are at most ``code``."""
    lo, hi = 0, BLOCK
    while lo < hi:
        middle = (lo + hi) >> 1
        if heap[block + middle] <= code:
            lo = middle + 1
        else:
            hi = middle
    return lo


@jit
def _bounds_of_number(values: Floats, block: int, value: float) -> tuple[int, int]:
    """Count the numbers of a sorted block that are below a value, and those that are not above it."""
    lo, hi = 0, BLOCK
    while lo < hi:
        middle = (lo + hi) >> 1
        if values[block + middle] < value:
            lo = middle + 1
        else:
            hi = middle
    below, hi = lo, BLOCK
    while lo < hi:
        middle = (lo + hi) >> 1
        if values[block + middle] <= value:
            lo = middle + 1
        else:
            hi = middle
    return below, lo


@jit
def _not_nan(values: Floats, block: int) -> int:
    """Count the numbers of a sorted block."""
    lo, hi = 0, BLOCK
    while lo < hi:
        middle = (lo + hi) >> 1
        if math.isnan(values[block + middle]):
            hi = middle
        else:
            lo = middle + 1
    return lo
