"""One pass over a history for all aggregates and windows of a column; compiled.

Entities come in an order of their own, and the table is in the order of time: to write each value where it belongs
would be a visit to far memory per value, which costs more than all arithmetic. So a sweep puts the values of one event
side by side into a slab that stays in the processor's cache, and a full slab is copied into a block, 64 bits a value,
in which every strip of rows of the table (`assign_places`) is filled from its start to its end; `unpack` puts the
events of a strip into their order and turns them into columns. Ranges are those of the ``*_bounds`` kernels; sums are
exact (`wide`, and `exact` for values that do not fit there).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.exact import scaled
from fraudctl.features.batch.jit import jit, prefetch
from fraudctl.features.batch.wide import add, placed, rounded, square, subtract, times

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Array = npt.NDArray[Any]

_STRIDE = 8
_TILE = 512
_SLAB = 512
"""Events whose values are held before they are copied to where they belong."""
_AHEAD = 16
"""Events for whose place memory is asked in advance, for places lie far apart."""
_LINE = 8
"""Values in one line of the processor's cache."""
_ZERO = np.uint64(0)
_GATHERS = np.uint64(0x0102040810204080)


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
    """Return count, sum and standard deviation of the values in a range, and of ``own`` unless it is NaN."""
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
    total = scaled(size, exponent + low)
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
    """Return the standard deviation from an exact sum, the exact sum of squares, and one more value's size."""
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
    result = scaled(math.sqrt(size / (np.float64(n) * np.float64(n - 1))), exponent >> 1)
    return math.nan if math.isinf(result) else result


@jit
def _take_in(values: Floats, seen: int, stop: int, sign: float, stack: Ints, tail: int) -> tuple[int, int]:
    """Put positions on the stack of those that no later value beats; give its new height, and where it changed."""
    changed = tail
    for p in range(seen, stop):
        value = values[p]
        if math.isnan(value):
            continue
        while tail > 0 and sign * values[stack[tail - 1]] <= sign * value:
            tail -= 1
        stack[tail] = p
        changed = min(changed, tail)
        tail += 1
    return tail, changed


@jit
def _best(values: Floats, stack: Ints, head: int, tail: int, own: float, sign: float) -> float:
    best = values[stack[head]] if head < tail else math.nan
    if not math.isnan(own) and not sign * best >= sign * own:
        return own
    return best


@jit
def _longest(starts: Ints, g0: int, g1: int) -> int:
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, starts[g + 1] - starts[g])
    return longest


@jit
def _used(slots: Ints, n_columns: int) -> Ints:
    """Return the columns that some slot names."""
    wanted = np.zeros(n_columns, np.int64)
    for kind in range(slots.shape[0]):
        for w in range(slots.shape[1]):
            if slots[kind, w] >= 0:
                wanted[slots[kind, w]] = 1
    return np.flatnonzero(wanted)


@jit
def _flush(slab: Ints, places: Array, used: Ints, out: Ints, first: int, stop: int) -> None:
    """Copy the values of queries ``[first, stop)`` to their places."""
    for i in range(first, stop):
        if i + _AHEAD < stop:
            for at in range(0, out.shape[1], _LINE):
                prefetch(out, places[i + _AHEAD] * out.shape[1] + at)
        place = places[i]
        for u in range(used.shape[0]):
            out[place, used[u]] = slab[i - first, used[u]]


@jit
def _write_counts(lo: Array, right: int, extra: int, i: int, slots: Ints, slab: Ints, at: int) -> None:
    for w in range(lo.shape[0]):
        if slots[0, w] >= 0:
            slab[at, slots[0, w]] = right - lo[w, i] + extra


@jit
def _write_moments(
    prefix: Words, start: int, lo: Array, right: int, i: int, own: float, own_bits: int, low: int, spread: int,
    slots: Ints, floats: Floats, at: int,
) -> None:  # fmt: skip
    """Write sum, mean and standard deviation of every window of a query."""
    n, total, std, last = 0, math.nan, math.nan, -1
    for w in range(lo.shape[0]):
        left = lo[w, i]
        if left != last:
            n, total, std = _moments(prefix, left - start, right - start, own, own_bits, low, spread)
            last = left
        if slots[1, w] >= 0:
            floats[at, slots[1, w]] = total
        if slots[2, w] >= 0:
            floats[at, slots[2, w]] = total / n if n > 0 else math.nan
        if slots[3, w] >= 0:
            floats[at, slots[3, w]] = std


@jit
def _write_extremes(
    values: Floats, stack: Ints, heads: Ints, tail: int, changed: int, lo: Array, i: int, own: float, sign: float,
    slots: Ints, floats: Floats, at: int,
) -> None:  # fmt: skip
    """Write the largest (``sign`` 1) or smallest (-1) value of every window of a query."""
    for w in range(lo.shape[0]):
        head = min(heads[w], changed)
        while head < tail and stack[head] < lo[w, i]:
            head += 1
        heads[w] = head
        if slots[w] >= 0:
            floats[at, slots[w]] = _best(values, stack, head, tail, own, sign)


@jit
def sweep(
    values: Floats, h_starts: Ints, q_starts: Ints, places: Array, lo: Array, hi: Array, current: Array, low: int,
    slots: Ints, out: Ints, g0: int, g1: int,
) -> None:  # fmt: skip
    """Aggregate the values in every range of every window.

    Parameters
    ----------
    values
        Shape (m,): by position of the history; NaN is null and is skipped. Shape (0,) where only counts are wanted.
    places
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
    n_windows, bits = lo.shape[0], values.view(np.int64)
    spread = slots[3].max() >= 0
    counted, sums = slots[0].max() >= 0, spread or slots[1].max() >= 0 or slots[2].max() >= 0
    smallest, largest = slots[4].max() >= 0, slots[5].max() >= 0
    valued = sums or smallest or largest
    longest, used = _longest(h_starts, g0, g1), _used(slots, out.shape[1])
    prefix = np.zeros((longest + 1) * _STRIDE if sums else 0, np.uint64)
    lows, highs = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    low_heads, high_heads = np.zeros(n_windows, np.int64), np.zeros(n_windows, np.int64)
    slab, first = np.empty((_SLAB, out.shape[1]), np.int64), q_starts[g0]
    floats = slab.view(np.float64)
    for g in range(g0, g1):
        if q_starts[g] == q_starts[g + 1]:
            continue
        start = lo[n_windows - 1, q_starts[g]]
        seen = start
        if sums:
            _add_up(values, bits, start, h_starts[g + 1], low, spread, prefix)
        tail_low, tail_high = 0, 0
        low_heads[:] = 0
        high_heads[:] = 0
        for i in range(q_starts[g], q_starts[g + 1]):
            if i - first == _SLAB:
                _flush(slab, places, used, out, first, i)
                first = i
            at = i - first
            if counted:
                _write_counts(lo, hi[i], 1 if current[i] >= 0 else 0, i, slots, slab, at)
            own_at = current[i] if valued else -1
            own = values[own_at] if own_at >= 0 else math.nan
            own_bits = bits[own_at] if own_at >= 0 else 0
            if sums:
                _write_moments(prefix, start, lo, hi[i], i, own, own_bits, low, spread, slots, floats, at)
            if smallest:
                tail_low, changed = _take_in(values, seen, hi[i], -1.0, lows, tail_low)
                _write_extremes(values, lows, low_heads, tail_low, changed, lo, i, own, -1.0, slots[4], floats, at)
            if largest:
                tail_high, changed = _take_in(values, seen, hi[i], 1.0, highs, tail_high)
                _write_extremes(values, highs, high_heads, tail_high, changed, lo, i, own, 1.0, slots[5], floats, at)
            seen = hi[i]
    _flush(slab, places, used, out, first, q_starts[g1])


@jit
def narrow(
    values: Floats, h_starts: Ints, q_starts: Ints, places: Array, lo: Array, hi: Array, current: Array, low: int,
    slots: Ints, out: Ints, g0: int, g1: int,
) -> None:  # fmt: skip
    """Do what `sweep` does for counts, sums and means only, where sums on the grid fit 64 bits: see `exact.grid_of`."""
    n_windows, scale, unit, floats = lo.shape[0], math.ldexp(1.0, -low), math.ldexp(1.0, low), out.view(np.float64)
    longest = _longest(h_starts, g0, g1)
    prefix, number = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    for g in range(g0, g1):
        if q_starts[g] == q_starts[g + 1]:
            continue
        start = np.int64(lo[n_windows - 1, q_starts[g]])
        for p in range(start, h_starts[g + 1]):
            there = not math.isnan(values[p])
            prefix[p + 1 - start] = prefix[p - start] + (np.int64(values[p] * scale) if there else 0)
            number[p + 1 - start] = number[p - start] + (1 if there else 0)
        for i in range(q_starts[g], q_starts[g + 1]):
            own = current[i]
            counts, stop, place = own >= 0 and not math.isnan(values[own]), hi[i] - start, places[i]
            for w in range(n_windows):
                first = lo[w, i] - start
                n = number[stop] - number[first] + (1 if counts else 0)
                total = prefix[stop] - prefix[first] + (np.int64(values[own] * scale) if counts else 0)
                if slots[0, w] >= 0:
                    out[place, slots[0, w]] = stop - first + (1 if own >= 0 else 0)
                if slots[1, w] >= 0:
                    floats[place, slots[1, w]] = total * unit if n > 0 else math.nan
                if slots[2, w] >= 0:
                    floats[place, slots[2, w]] = total * unit / n if n > 0 else math.nan


@jit
def label_sweep(
    outcome: Array, h_starts: Ints, q_starts: Ints, places: Array, lo: Array, hi: Array, slots: Ints, out: Ints,
    g0: int, g1: int,
) -> None:  # fmt: skip
    """Count the outcomes, and the frauds among them, in every range; the rate of frauds is NaN where there is none.

    Parameters as in `sweep`; ``slots`` has a row each for known_count, fraud_count and fraud_rate.
    """
    prefix, used = np.zeros(_longest(h_starts, g0, g1) + 1, np.int64), _used(slots, out.shape[1])
    slab, first = np.empty((_SLAB, out.shape[1]), np.int64), q_starts[g0]
    floats = slab.view(np.float64)
    for g in range(g0, g1):
        if q_starts[g] == q_starts[g + 1]:
            continue
        start = lo[lo.shape[0] - 1, q_starts[g]]
        for p in range(h_starts[g + 1] - start):
            prefix[p + 1] = prefix[p] + (1 if outcome[start + p] == 1 else 0)
        for i in range(q_starts[g], q_starts[g + 1]):
            if i - first == _SLAB:
                _flush(slab, places, used, out, first, i)
                first = i
            at = i - first
            for w in range(lo.shape[0]):
                known = np.int64(hi[i] - lo[w, i])
                frauds = prefix[hi[i] - start] - prefix[lo[w, i] - start]
                if slots[0, w] >= 0:
                    slab[at, slots[0, w]] = known
                if slots[1, w] >= 0:
                    slab[at, slots[1, w]] = frauds
                if slots[2, w] >= 0:
                    floats[at, slots[2, w]] = frauds / known if known > 0 else math.nan
    _flush(slab, places, used, out, first, q_starts[g1])


@jit
def assign_places(rows: Ints, shift: int, places: Array, back: Array) -> None:
    """Assign each query, in order, the next free place in the strip of ``2 ** shift`` rows that holds its row.

    Parameters
    ----------
    rows
        Shape (n,): a permutation of ``[0, n)``.
    places, back
        Shape (n,): written; the place of each query, and the row of each place.
    """
    free = np.empty((rows.shape[0] >> shift) + 1, np.int64)
    for strip in range(free.shape[0]):
        free[strip] = strip << shift
    for i in range(rows.shape[0]):
        place = free[rows[i] >> shift]
        free[rows[i] >> shift] = place + 1
        places[i] = place
        back[place] = rows[i]


@jit
def put(values: Array, places: Array, slot: int, out: Array, i0: int, i1: int) -> None:
    """Write values to their places in a column of a block of the same type."""
    for i in range(i0, i1):
        out[places[i], slot] = values[i]


@jit
def unpack(
    block: Ints, rows: Array, shift: int, real: Array, valid: Array, n_nulls: Array, r0: int, r1: int
) -> None:  # fmt: skip
    """Turn the strips of rows ``[r0, r1)`` of a block into columns, each in its own place; ``r0`` is where one starts.

    Parameters
    ----------
    block
        Shape (n * k,): a strip of m rows holds (m, k) values before, and (k, m) after.
    rows
        Shape (n,): the row of each place, see `assign_places`.
    real
        Shape (k,): whether a column holds floats by their bits, whose NaN is null.
    valid, n_nulls
        Shapes (k, n_strips, bytes) and (k, n_strips): written for each strip, the latter where a column is real; one
        bit per row, the lowest first, 0 for null, where there is any.
    """
    k = real.shape[0]
    strip = np.empty((min(1 << shift, r1 - r0), k), np.int64)
    there = np.empty((strip.shape[0] + 7) // 8 * 8, np.uint8)
    for start in range(r0, r1, 1 << shift):
        height = min(1 << shift, r1 - start)
        here = block[start * k : (start + height) * k]
        before, after = here.reshape(height, k), here.reshape(k, height)
        for place in range(height):
            row = rows[start + place] - start
            for c in range(k):
                strip[row, c] = before[place, c]
        for tile in range(0, height, _TILE):
            for c in range(k):
                for r in range(tile, min(tile + _TILE, height)):
                    after[c, r] = strip[r, c]
        for c in range(k):
            if real[c]:
                bits = valid[c, start >> shift]
                n_nulls[c, start >> shift] = _mark_nulls(after[c].view(np.float64), there, bits)


@jit
def _mark_nulls(values: Floats, there: Array, valid: Array) -> int:
    """Count the NaN among values; where there are some, set the bits of all others, the lowest of a byte first.

    ``there`` has room for a byte per value, in whole words. A product with `_GATHERS` brings the lowest bits of the
    eight bytes of a word side by side into its highest byte.
    """
    n = values.shape[0]
    there[n:] = 0
    for i in range(n):
        there[i] = values[i] == values[i]
    n_nulls: int = n
    for i in range(n):
        n_nulls -= there[i]
    if n_nulls:
        words = there.view(np.uint64)
        for byte in range((n + 7) // 8):
            valid[byte] = (words[byte] * _GATHERS) >> np.uint64(56)
    return n_nulls
