"""The event against the latest positions of its history, and how often its value was there; compiled.

Functions of one event take arrays, an offset in each, and a range ``[lo, hi)`` of positions: the batch engine calls
them on its own arrays, the online state on its heap. Loops over all events keep what the next one needs as well.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch.jit import jit
from fraudctl.features.batch.kernels import Array, Floats, Ints, change

HABITS = ("last", "previous", "changed", "same", "seconds_same", "share", "rank")
LAST, PREVIOUS, CHANGED, SAME, SECONDS_SAME, SHARE, RANK = range(7)
OF_CODES = 1
"""What a line of the online program says where the latest value is one of the codes, and not of the numbers."""
SPACINGS = ("median_gap", "min_gap", "equal_gaps")
MEDIAN_GAP, MIN_GAP, EQUAL_GAPS = range(3)
_SHORT = 128
"""Positions of a range up to which looking at each is quicker than to keep counts."""


# ---------------------------------------------------------------- one event


@jit
def share_of(codes: Array, at: int, lo: int, hi: int, code: int, null: int) -> float:
    """Return the share of a code among those of a range that are not null; NaN without any, or where it is null."""
    if code == null:
        return math.nan
    n, equal = 0, 0
    for p in range(at + lo, at + hi):
        n += codes[p] != null
        equal += codes[p] == code
    return equal / n if n > 0 else math.nan


@jit
def rank_in(values: Floats, at: int, lo: int, hi: int, value: float) -> float:
    """Return the share of values below ``value``, and half of those equal to it; NaN without any, or where it is."""
    if math.isnan(value):
        return math.nan
    below, equal, above = 0, 0, 0
    for p in range(at + lo, at + hi):
        below += values[p] < value
        equal += values[p] == value
        above += values[p] > value
    n = below + equal + above
    return (below + 0.5 * equal) / n if n > 0 else math.nan


@jit
def run_start(codes: Array, at: int, lo: int, hi: int, code: int, null: int) -> int:
    """Return where the run of a code that ends a range begins; ``hi`` where another code, or null, ends the range."""
    start = hi
    while code != null and start > lo and codes[at + start - 1] == code:
        start -= 1
    return start


@jit
def gaps_before(times: Ints, at: int, lo: int, hi: int, now: int, most: int, found: Ints) -> int:
    """Write the last gaps (µs, at most ``most``) up to ``now``, sorted; return how many there are.

    The positions ``[lo, hi)`` lie before ``now``; ``found`` (most,) is room for the gaps.
    """
    n, later = 0, now
    for p in range(hi - 1, max(lo, hi - most) - 1, -1):
        new = later - times[at + p]
        later = times[at + p]
        place = n
        while place > 0 and found[place - 1] > new:
            found[place] = found[place - 1]
            place -= 1
        found[place] = new
        n += 1
    return n


@jit
def of_gaps(kind: int, gaps: Ints, n: int) -> float:
    """Return the median or the shortest of n sorted gaps, or how many of them are equal; NaN without any."""
    if n == 0:
        return math.nan
    if kind == MIN_GAP:
        return float(gaps[0] / 1e6)
    if kind == MEDIAN_GAP:
        return float(gaps[n // 2] / 1e6 if n & 1 else (gaps[n // 2 - 1] + gaps[n // 2]) / 2e6)
    best, run = 1, 1
    for i in range(1, n):
        run = run + 1 if gaps[i] // 1_000_000 == gaps[i - 1] // 1_000_000 else 1
        best = max(best, run)
    return float(best)


# ---------------------------------------------------------------- all events


@jit
def _counted(
    codes: Array, at: Array, lo: Array, hi: Array, q0: int, q1: int, places: Array, slot: int, out: Floats,
    counts: Array,
) -> None:  # fmt: skip
    """Write the share of each event's code in its range, from counts that follow the ranges; counts end as 0."""
    left, seen, n = np.int64(lo[q0]), np.int64(lo[q0]), 0
    for i in range(q0, q1):
        while seen < hi[i]:
            if codes[seen] >= 0:
                counts[codes[seen]] += 1
                n += 1
            seen += 1
        while left < lo[i]:
            if codes[left] >= 0:
                counts[codes[left]] -= 1
                n -= 1
            left += 1
        code = codes[at[i]]
        out[places[i], slot] = counts[code] / n if code >= 0 and n > 0 else math.nan
    for p in range(left, seen):
        if codes[p] >= 0:
            counts[codes[p]] = 0


@jit
def _ranked(
    values: Floats, start: int, stop: int, at: Array, lo: Array, hi: Array, q0: int, q1: int, places: Array, slot: int,
    out: Floats,
) -> None:  # fmt: skip
    """Write the rank of each event's value in its range; the values of a range are counts by rank (see `medians`)."""
    order = np.argsort(values[start:stop])
    ranks = np.full(stop - start, -1, np.int64)
    n_ranks = 0
    for j in range(stop - start):
        if not math.isnan(values[start + order[j]]):
            if j > 0 and values[start + order[j]] != values[start + order[j - 1]]:
                n_ranks += 1
            ranks[order[j]] = n_ranks
    size = 1
    while size < n_ranks + 1:
        size *= 2
    tree, alike = np.zeros(size + 1, np.int64), np.zeros(n_ranks + 1, np.int64)
    left, seen, n = np.int64(lo[q0]), np.int64(lo[q0]), 0
    for i in range(q0, q1):
        while seen < hi[i]:
            rank = ranks[seen - start]
            if rank >= 0:
                change(tree, size, rank, 1)
                alike[rank] += 1
                n += 1
            seen += 1
        while left < lo[i]:
            rank = ranks[left - start]
            if rank >= 0:
                change(tree, size, rank, -1)
                alike[rank] -= 1
                n -= 1
            left += 1
        rank = ranks[at[i] - start]
        if rank < 0 or n == 0:
            out[places[i], slot] = math.nan
            continue
        below, node = 0, rank
        while node > 0:
            below += tree[node]
            node -= node & -node
        out[places[i], slot] = (below + 0.5 * alike[rank]) / n


@jit
def habits(  # noqa: C901
    values: Floats, codes: Array, n_codes: int, h_times: Ints, h_starts: Ints, q_times: Ints, q_starts: Ints,
    places: Array, at: Array, lo: Array, hi: Array, slots: Ints, out: Floats, g0: int, g1: int,
) -> None:  # fmt: skip
    """Write the habits of one column for all windows.

    Parameters
    ----------
    values, codes
        Shape (m,): the column by position, NaN and -1 for null; either is empty where no slot asks for it.
    at
        Shape (n,): the position of each event itself.
    lo, hi
        Shapes (n_windows, n) and (n,): the positions that each event sees.
    slots
        Shape (len(HABITS), n_windows): column of ``out``, or -1.
    out
        Shape (n, n_features): a block's floats, at the places of the events.
    g0, g1
        The groups to work on.
    """
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    runs, counts = np.empty(longest, np.int64), np.zeros(n_codes, np.int32)
    runs_asked = (slots[CHANGED] >= 0).any() or (slots[SAME] >= 0).any() or (slots[SECONDS_SAME] >= 0).any()
    for g in range(g0, g1):
        start, stop, q0, q1 = h_starts[g], h_starts[g + 1], q_starts[g], q_starts[g + 1]
        if q0 == q1:
            continue
        if runs_asked:
            for p in range(start, stop):
                runs[p - start] = runs[p - start - 1] if p > start and codes[p] == codes[p - 1] else p
        for w in range(lo.shape[0]):
            last, previous, changed = slots[LAST, w], slots[PREVIOUS, w], slots[CHANGED, w]
            same, seconds = slots[SAME, w], slots[SECONDS_SAME, w]
            widest = 0
            for i in range(q0, q1):
                a, b, place = np.int64(lo[w, i]), np.int64(hi[i]), places[i]
                widest = max(widest, int(b - a))
                if last >= 0:
                    out[place, last] = values[b - 1] if b > a else math.nan
                if previous >= 0:
                    out[place, previous] = values[b - 2] if b > a + 1 else math.nan
                if not runs_asked:
                    continue
                code = codes[at[i]]
                before = codes[b - 1] if b > a else -1
                alike = code >= 0 and before == code
                begin = max(a, runs[b - 1 - start]) if alike else b
                if changed >= 0:
                    out[place, changed] = math.nan if code < 0 or before < 0 else (0.0 if alike else 1.0)
                if same >= 0:
                    out[place, same] = math.nan if code < 0 else np.float64(b - begin)
                if seconds >= 0:
                    out[place, seconds] = (q_times[i] - h_times[begin]) / 1e6 if alike else math.nan
            share, rank = slots[SHARE, w], slots[RANK, w]
            if share >= 0 and widest <= _SHORT:
                for i in range(q0, q1):
                    out[places[i], share] = share_of(codes, 0, lo[w, i], hi[i], codes[at[i]], -1)
            elif share >= 0:
                _counted(codes, at, lo[w], hi, q0, q1, places, share, out, counts)
            if rank >= 0 and widest <= _SHORT:
                for i in range(q0, q1):
                    out[places[i], rank] = rank_in(values, 0, lo[w, i], hi[i], values[at[i]])
            elif rank >= 0:
                _ranked(values, start, stop, at, lo[w], hi, q0, q1, places, rank, out)


@jit
def spacings(
    h_times: Ints, q_times: Ints, places: Array, lo: Array, hi: Array, most: int, slots: Ints, out: Floats, i0: int,
    i1: int,
) -> None:  # fmt: skip
    """Write the gaps of events ``[i0, i1)`` for one window; ``lo`` and ``hi`` (n,), ``slots`` (len(SPACINGS),)."""
    found = np.empty(most, np.int64)
    for i in range(i0, i1):
        n = gaps_before(h_times, 0, lo[i], hi[i], q_times[i], most, found)
        for kind in range(slots.shape[0]):
            if slots[kind] >= 0:
                out[places[i], slots[kind]] = of_gaps(kind, found, n)
