"""Small numbers that share a 64-bit word of the heap: counts of positions, and the grid of a column; compiled."""

from __future__ import annotations

from fraudctl.features.batch.jit import jit
from fraudctl.features.online.arena import Ints

HALF = 0xFFFFFFFF
QUARTER = 0xFFFF
BIAS = 1 << 15
"""Added to the exponents of a grid, which may be negative."""


@jit
def count_words(n: int) -> int:
    """Return the words that ``n`` counts take, two in a word."""
    return (n + 1) >> 1


@jit
def count_at(heap: Ints, counts: int, i: int) -> int:
    """Return the i-th of the counts that begin at an offset."""
    count: int = (heap[counts + (i >> 1)] >> ((i & 1) << 5)) & HALF
    return count


@jit
def put_count(heap: Ints, counts: int, i: int, count: int) -> None:
    """Write the i-th count, below 2^31; counts are written in order, for an even one clears the odd one after it."""
    at = counts + (i >> 1)
    heap[at] = (heap[at] & HALF) | (count << 32) if i & 1 else count


@jit
def grid_of(low: int, high: int, n_words: int, n_squares: int) -> int:
    """Pack the exponents of a grid's lowest and highest bit, and the words of its sums and sums of squares."""
    return (low + BIAS) | (high + BIAS) << 16 | n_words << 32 | n_squares << 48


@jit
def grid_low(grid: int) -> int:
    """Return the exponent of the lowest bit of a grid."""
    return (grid & QUARTER) - BIAS


@jit
def grid_high(grid: int) -> int:
    """Return the exponent of the highest bit of a grid."""
    return (grid >> 16 & QUARTER) - BIAS


@jit
def sum_words(grid: int) -> int:
    """Return the words of a sum on a grid."""
    return grid >> 32 & QUARTER


@jit
def square_words(grid: int) -> int:
    """Return the words of a sum of squares on a grid."""
    return grid >> 48 & QUARTER
