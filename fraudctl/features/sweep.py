"""One pass over a history for all aggregates and windows of a column; compiled.

A sweep writes the values of one event side by side into a row of a block (the order of the rows of the table, 64 bits a
value), so that writing in the order of time costs one visit to memory per event; `unpack` then turns the block into
columns. Ranges are those of the ``*_bounds`` kernels; sums are exact (`wide`, and `exact` for what does not fit there).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.exact import _scaled
from fraudctl.features.jit import jit, prefetch
from fraudctl.features.wide import add, placed, rounded, square, subtract, times

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Array = npt.NDArray[Any]

_STRIDE = 8
_TILE = 512
_AHEAD = 4
"""Events for whose row memory is asked in advance, for rows lie far apart."""
_LINE = 8
"""Values in one line of the processor's cache."""
_ZERO = np.uint64(0)
_NO_SIGN = np.int64(0x7FFFFFFFFFFFFFFF)
_INFINITY = np.int64(0x7FF0000000000000)


@jit
def _add_up(values: Floats, bits: Ints, start: int, stop: int, low: int, spread: int, prefix: Words) -> None:
    """Write running totals: how many values, their sum (two words), and that of their squares (four words)."""
    for j in range(_STRIDE):
        prefix[j] = _ZERO
    for p in range(stop - start):
        at, before = (p + 1) * _STRIDE, p * _STRIDE
        for j in range(_STRIDE - 1):
            prefix[at + j] = prefix[before + j]
        value = values[start + p]
        if math.isnan(value):
            continue
        prefix[at] += np.uint64(1)
        if value == 0.0:
            continue
        x0, x1 = placed(bits[start + p], low)
        s0, s1 = _signed_sum(prefix[at + 1], prefix[at + 2], x0, x1, value < 0.0)
        prefix[at + 1], prefix[at + 2] = s0, s1
        if spread:
            q0, q1, q2, q3 = square(x0, x1)
            q0, q1, q2, q3 = add(prefix[at + 3], prefix[at + 4], prefix[at + 5], prefix[at + 6], q0, q1, q2, q3)
            prefix[at + 3], prefix[at + 4], prefix[at + 5], prefix[at + 6] = q0, q1, q2, q3


@jit
def _signed_sum(s0: Any, s1: Any, x0: Any, x1: Any, negative: int) -> tuple[Any, Any]:
    if negative:
        return s0 - x0, s1 - x1 - (np.uint64(1) if s0 < x0 else _ZERO)
    low = s0 + x0
    return low, s1 + x1 + (np.uint64(1) if low < x0 else _ZERO)


@jit
def _moments(
    prefix: Words, left: int, right: int, own: float, own_bits: int, low: int, spread: int
) -> tuple[Any, float, float]:
    """Give count, sum and standard deviation of the values in a range, and of ``own`` unless it is NaN."""
    lo, hi = left * _STRIDE, right * _STRIDE
    n: Any = np.int64(prefix[hi] - prefix[lo])
    extra = not math.isnan(own)
    if extra:
        n += 1
    if n == 0:
        return 0, math.nan, math.nan
    s0, s1 = prefix[hi + 1] - prefix[lo + 1], prefix[hi + 2] - prefix[lo + 2]
    if prefix[hi + 1] < prefix[lo + 1]:
        s1 -= np.uint64(1)
    x0, x1 = _ZERO, _ZERO
    if extra and own != 0.0:
        x0, x1 = placed(own_bits, low)
        s0, s1 = _signed_sum(s0, s1, x0, x1, own < 0.0)
    negative = s1 >> np.uint64(63) != _ZERO
    if negative:
        s1 = ~s1 + (np.uint64(1) if s0 == _ZERO else _ZERO)
        s0 = ~s0 + np.uint64(1)
    size, exponent = rounded(s0, s1, _ZERO, _ZERO)
    total = _scaled(size, exponent + low)
    total = math.nan if math.isinf(total) else (-total if negative else total)
    if not spread or n < 2:
        return n, total, math.nan
    q0, q1, q2, q3 = subtract(
        prefix[hi + 3], prefix[hi + 4], prefix[hi + 5], prefix[hi + 6],
        prefix[lo + 3], prefix[lo + 4], prefix[lo + 5], prefix[lo + 6],
    )  # fmt: skip
    return n, total, _std(n, s0, s1, q0, q1, q2, q3, x0, x1, low)


@jit
def _std(n: int, s0: Any, s1: Any, q0: Any, q1: Any, q2: Any, q3: Any, x0: Any, x1: Any, low: int) -> float:
    """Give the standard deviation from an exact sum, the exact sum of squares, and one more value's size."""
    if x0 | x1 != _ZERO:
        a0, a1, a2, a3 = square(x0, x1)
        q0, q1, q2, q3 = add(q0, q1, q2, q3, a0, a1, a2, a3)
    a0, a1, a2, a3 = times(np.uint64(n), q0, q1, q2, q3)
    b0, b1, b2, b3 = square(s0, s1)
    a0, a1, a2, a3 = subtract(a0, a1, a2, a3, b0, b1, b2, b3)
    size, exponent = rounded(a0, a1, a2, a3)
    exponent += 2 * low
    if exponent & 1:
        size, exponent = 2.0 * size, exponent - 1
    result = _scaled(math.sqrt(size / (np.float64(n) * np.float64(n - 1))), exponent >> 1)
    return math.nan if math.isinf(result) else result


@jit
def _push(values: Floats, seen: int, sign: float, stack: Ints, tail: int, changed: int) -> tuple[int, int]:
    """Put a position on the stack of those that no later value beats; give its new height, and where it changed."""
    value = values[seen]
    if math.isnan(value):
        return tail, changed
    while tail > 0 and sign * values[stack[tail - 1]] <= sign * value:
        tail -= 1
    stack[tail] = seen
    return tail + 1, min(changed, tail)


@jit
def _best(values: Floats, stack: Ints, head: int, tail: int, own: float, sign: float) -> float:
    best = values[stack[head]] if head < tail else math.nan
    if not math.isnan(own) and not sign * best >= sign * own:
        return own
    return best


@jit
def sweep(  # noqa: C901
    values: Floats,
    h_starts: Ints,
    q_starts: Ints,
    rows: Ints,
    lo: Array,
    hi: Array,
    current: Array,
    low: int,
    slots: Ints,
    out: Ints,
    g0: int,
    g1: int,
) -> None:
    """Aggregate the values in every range of every window.

    Parameters
    ----------
    values
        Shape (m,): by position of the history; NaN is null and is skipped.
    rows
        Shape (n,): where in ``out`` each query writes.
    lo, hi, current
        Shapes (k, n), (n,), (n,): ranges of windows from the shortest to the longest, and the position of the query's
        own value, or -1 where it does not count.
    low
        Exponent of the grid, which has to fit `wide`: see `exact.grid_of`.
    slots
        Shape (6, k), a row each for count, sum, mean, std, min and max: the
        column of ``out`` for each aggregate and window, or -1 where it is not wanted.
    out
        Shape (n_rows, n_columns): written; floats by their bits, NaN for null.
    g0, g1
        The groups to work on.
    """
    n_windows = lo.shape[0]
    bits, floats = values.view(np.int64), out.view(np.float64)
    spread = slots[3].max() >= 0
    sums = spread or slots[1].max() >= 0 or slots[2].max() >= 0
    smallest, largest = slots[4].max() >= 0, slots[5].max() >= 0
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    prefix = np.zeros((longest + 1) * _STRIDE if sums else 0, np.uint64)
    lows, highs = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    low_heads, high_heads = np.zeros(n_windows, np.int64), np.zeros(n_windows, np.int64)
    for g in range(g0, g1):
        start, seen = h_starts[g], h_starts[g]
        if sums and q_starts[g + 1] > q_starts[g]:
            _add_up(values, bits, start, h_starts[g + 1], low, spread, prefix)
        tail_low, tail_high = 0, 0
        low_heads[:] = 0
        high_heads[:] = 0
        for i in range(q_starts[g], q_starts[g + 1]):
            changed_low, changed_high = tail_low, tail_high
            if i + _AHEAD < rows.shape[0]:
                for at in range(0, out.shape[1], _LINE):
                    prefetch(out, rows[i + _AHEAD] * out.shape[1] + at)
            row, own_at = rows[i], current[i]
            own = values[own_at] if own_at >= 0 else math.nan
            own_bits = bits[own_at] if own_at >= 0 else 0
            while seen < hi[i]:
                if smallest:
                    tail_low, changed_low = _push(values, seen, -1.0, lows, tail_low, changed_low)
                if largest:
                    tail_high, changed_high = _push(values, seen, 1.0, highs, tail_high, changed_high)
                seen += 1
            n, total, std, last = 0, math.nan, math.nan, -1
            for w in range(n_windows):
                left = lo[w, i]
                if slots[0, w] >= 0:
                    out[row, slots[0, w]] = hi[i] - left + (1 if own_at >= 0 else 0)
                if sums:
                    if left != last:
                        n, total, std = _moments(prefix, left - start, hi[i] - start, own, own_bits, low, spread)
                        last = left
                    if slots[1, w] >= 0:
                        floats[row, slots[1, w]] = total
                    if slots[2, w] >= 0:
                        floats[row, slots[2, w]] = total / n if n > 0 else math.nan
                    if slots[3, w] >= 0:
                        floats[row, slots[3, w]] = std
                if smallest:
                    head = min(low_heads[w], changed_low)
                    while head < tail_low and lows[head] < left:
                        head += 1
                    low_heads[w] = head
                    if slots[4, w] >= 0:
                        floats[row, slots[4, w]] = _best(values, lows, head, tail_low, own, -1.0)
                if largest:
                    head = min(high_heads[w], changed_high)
                    while head < tail_high and highs[head] < left:
                        head += 1
                    high_heads[w] = head
                    if slots[5, w] >= 0:
                        floats[row, slots[5, w]] = _best(values, highs, head, tail_high, own, 1.0)


@jit
def label_sweep(
    outcome: Array, h_starts: Ints, q_starts: Ints, rows: Ints, lo: Array, hi: Array, slots: Ints, out: Ints,
    g0: int, g1: int,
) -> None:  # fmt: skip
    """Count the outcomes, and the frauds among them, in every range; the rate of frauds is NaN where there is none.

    Parameters as in `sweep`; ``slots`` has a row each for known_count, fraud_count and fraud_rate.
    """
    floats = out.view(np.float64)
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    prefix = np.zeros(longest + 1, np.int64)
    for g in range(g0, g1):
        start = h_starts[g]
        for p in range(h_starts[g + 1] - start):
            prefix[p + 1] = prefix[p] + (1 if outcome[start + p] == 1 else 0)
        for i in range(q_starts[g], q_starts[g + 1]):
            for w in range(lo.shape[0]):
                known = np.int64(hi[i] - lo[w, i])
                frauds = prefix[hi[i] - start] - prefix[lo[w, i] - start]
                if slots[0, w] >= 0:
                    out[rows[i], slots[0, w]] = known
                if slots[1, w] >= 0:
                    out[rows[i], slots[1, w]] = frauds
                if slots[2, w] >= 0:
                    floats[rows[i], slots[2, w]] = frauds / known if known > 0 else math.nan


@jit
def put(values: Array, rows: Ints, slot: int, out: Array, i0: int, i1: int) -> None:
    """Write values to their rows in a column of a block of the same type."""
    for i in range(i0, i1):
        out[rows[i], slot] = values[i]


@jit
def unpack(block: Ints, as_float: Array, out: Ints, valid: Array, nulls: Ints, r0: int, r1: int) -> None:
    """Turn rows ``[r0, r1)`` of a block into columns; ``r0`` is a multiple of 512.

    Parameters
    ----------
    block
        Shape (n, k).
    as_float
        Shape (k,): whether a column holds floats, whose NaN are null.
    out, valid, nulls
        Shapes (k, n), (k, n / 8 rounded up) and (k,): written; values, a bit for each that is not null, and, added to
        what is there, how many are null.
    """
    for tile in range(r0, r1, _TILE):
        stop = min(tile + _TILE, r1)
        for c in range(block.shape[1]):
            for r in range(tile, stop):
                out[c, r] = block[r, c]
            if as_float[c]:
                nulls[c] += _mark(out, c, tile, stop, valid)


@jit
def _mark(out: Ints, c: int, start: int, stop: int, valid: Array) -> int:
    """Set a bit for each value of a column that is not NaN; give how many are."""
    n_nulls = 0
    for r in range(start, stop, 8):
        flags = 0
        for b in range(min(8, stop - r)):
            number = (out[c, r + b] & _NO_SIGN) <= _INFINITY
            flags |= number << b
            n_nulls += 1 - number
        valid[c, r >> 3] = flags
    return n_nulls
