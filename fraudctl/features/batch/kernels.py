"""The inner loops of the feature engine, compiled.

All loops see histories as arrays sorted by (group, time, event id), a group being one value of an entity, and queries
(the events that ask) sorted the same way. What an event may see of its group's history is a half-open range of
positions ``[lo, hi)``, found by the ``*_bounds`` kernels, which are the only ones that know about time. Everything else
aggregates values over ranges, and both ends of the ranges only ever grow within a group.

Sums are a matter of their own: see `exact`.

A position of -1 or NaN says "null". Kernels write to arrays of the same (group, time) order.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.jit import jit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def compiled_before() -> bool:
    """Return whether compiled loops are on disk, so that the first call need not compile them (some 10 s, once)."""
    stats = getattr(group_order, "stats", None)  # there is none where compilation is switched off
    path = None if stats is None else stats.cache_path
    return stats is None or (path is not None and any(Path(path).glob("kernels.group_order-*.nbi")))


# ---------------------------------------------------------------- groups


@jit
def group_order(codes: Array, n_codes: int) -> tuple[Array, Ints]:
    """Sort rows by group, stably, by counting.

    Parameters
    ----------
    codes
        Shape (n,): group of each row in ``[0, n_codes)``, -1 where it has none.

    Returns
    -------
    order, starts
        Shape (n,): rows by group, each group in row order; rows without a group come last. Shape (n_groups + 1,):
        where each group starts; every row without a group is a group by itself, for it shares no history.
    """
    n = codes.shape[0]
    count = np.zeros(n_codes + 1, np.int64)
    n_none = 0
    for i in range(n):
        if codes[i] >= 0:
            count[codes[i] + 1] += 1
        else:
            n_none += 1
    for code in range(n_codes):
        count[code + 1] += count[code]
    starts = np.empty(n_codes + n_none + 1, np.int64)
    starts[: n_codes + 1] = count
    for i in range(n_none):
        starts[n_codes + 1 + i] = count[n_codes] + i + 1
    order = np.empty(starts[-1], np.int32)
    none = count[n_codes]
    for i in range(n):
        if codes[i] >= 0:
            order[count[codes[i]]] = i
            count[codes[i]] += 1
        else:
            order[none] = i
            none += 1
    return order, starts


@jit
def asked_order(codes: Array, n_codes: int, first: int, stop: int) -> tuple[Array, Ints, Array, Ints]:
    """Sort, as `group_order` does, the rows of those groups in which a row of ``[first, stop)`` is.

    Returns
    -------
    order, starts
        As `group_order` gives them; groups that are not asked for are empty.
    at, asked_starts
        Shape (stop - first,): where in ``order`` the rows of ``[first, stop)`` are, rising; and shape (n_groups + 1,):
        where in ``at`` those of each group start.
    """
    n_asked = np.zeros(n_codes + 1, np.int64)
    n_none = 0
    for i in range(first, stop):
        if codes[i] >= 0:
            n_asked[codes[i] + 1] += 1
        else:
            n_none += 1
    count = np.zeros(n_codes + 1, np.int64)
    for i in range(codes.shape[0]):
        if codes[i] >= 0 and n_asked[codes[i] + 1] > 0:
            count[codes[i] + 1] += 1
    for code in range(n_codes):
        count[code + 1] += count[code]
        n_asked[code + 1] += n_asked[code]
    starts, asked_starts = np.empty(n_codes + n_none + 1, np.int64), np.empty(n_codes + n_none + 1, np.int64)
    starts[: n_codes + 1] = count
    asked_starts[: n_codes + 1] = n_asked
    for i in range(n_none):
        starts[n_codes + 1 + i] = count[n_codes] + i + 1
        asked_starts[n_codes + 1 + i] = n_asked[n_codes] + i + 1
    order, at = np.empty(starts[-1], np.int32), np.empty(stop - first, np.int32)
    none, none_at = count[n_codes], n_asked[n_codes]
    for i in range(codes.shape[0]):
        code = codes[i]
        if code >= 0 and asked_starts[code] < asked_starts[code + 1]:
            place = count[code]
            count[code] = place + 1
            order[place] = i
            if first <= i < stop:
                at[n_asked[code]] = place
                n_asked[code] += 1
        elif code < 0 and first <= i < stop:
            order[none], at[none_at] = i, none
            none += 1
            none_at += 1
    return order, starts, at, asked_starts


@jit
def gather(values: Array, rows: Array, out: Array, i0: int, i1: int) -> None:
    """Write the values of the rows ``rows[i0:i1]`` side by side."""
    for i in range(i0, i1):
        out[i] = values[rows[i]]


@jit
def scatter(values: Array, order: Array, out: Array, i0: int, i1: int) -> None:
    """Write ``values[i0:i1]`` (in group order) to the rows that they belong to."""
    for i in range(i0, i1):
        out[order[i]] = values[i]


# ---------------------------------------------------------------- bounds: the meaning of time


@jit
def _first_inside(
    q_times: Ints, q_starts: Ints, h_times: Ints, h_starts: Ints, windows: Ints, lo: Array, hi: Array, g0: int, g1: int
) -> None:
    """Write the first position in ``(t - window, hi)`` of every query to ``lo``."""
    for g in range(g0, g1):
        for w in range(windows.shape[0]):
            left = h_starts[g]
            for i in range(q_starts[g], q_starts[g + 1]):
                edge = q_times[i] - windows[w]
                while left < hi[i] and h_times[left] <= edge:
                    left += 1
                lo[w, i] = left


@jit
def event_bounds(
    q_times: Ints, q_starts: Ints, h_times: Ints, h_starts: Ints, windows: Ints, lo: Array, hi: Array, g0: int, g1: int
) -> None:
    """Find the history in ``(t - window, t)`` of every query, both ends open.

    Parameters
    ----------
    q_times, q_starts
        Shapes (n,), (n_groups + 1,): µs of the queries and where their groups start.
    h_times, h_starts
        Shapes (m,), (n_groups + 1,): the same for the history.
    windows
        Shape (k,): µs.
    lo, hi
        Shapes (k, n) and (n,): written.
    g0, g1
        The groups to work on.
    """
    for g in range(g0, g1):
        h0, h1 = h_starts[g], h_starts[g + 1]
        for i in range(q_starts[g], q_starts[g + 1]):
            while h0 < h1 and h_times[h0] < q_times[i]:
                h0 += 1
            hi[i] = h0
    _first_inside(q_times, q_starts, h_times, h_starts, windows, lo, hi, g0, g1)


@jit
def label_bounds(
    q_times: Ints,
    q_starts: Ints,
    label_times: Ints,
    event_times: Ints,
    h_starts: Ints,
    windows: Ints,
    lo: Array,
    hi: Array,
    g0: int,
    g1: int,
) -> None:
    """Find the labels of earlier events that arrived in ``(t - window, t]``.

    The history is sorted by label_time, then event_time, within a group; a label that arrives with its event (at t) is
    not that of an earlier event. Other parameters as in `event_bounds`.
    """
    for g in range(g0, g1):
        h0, h1 = h_starts[g], h_starts[g + 1]
        for i in range(q_starts[g], q_starts[g + 1]):
            t = q_times[i]
            while h0 < h1 and (label_times[h0] < t or (label_times[h0] == t and event_times[h0] < t)):
                h0 += 1
            hi[i] = h0
    _first_inside(q_times, q_starts, label_times, h_starts, windows, lo, hi, g0, g1)


# ---------------------------------------------------------------- extremes, distinct values, ranges


@jit
def extreme(
    values: Floats,
    h_starts: Ints,
    q_starts: Ints,
    lo: Array,
    hi: Array,
    current: Array,
    sign: float,
    out: Array,
    g0: int,
    g1: int,
) -> None:
    """Find the largest (``sign`` 1) or smallest (``sign`` -1) value in every range; NaN where there is none.

    A queue keeps the positions whose value no later one beats, so that each value enters and leaves once per window.
    """
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    queue = np.empty(longest + 1, np.int64)
    for w in range(lo.shape[0]):
        for g in range(g0, g1):
            head, tail, seen = 0, 0, h_starts[g]
            for i in range(q_starts[g], q_starts[g + 1]):
                while seen < hi[i]:
                    value = values[seen]
                    if not math.isnan(value):
                        while tail > head and sign * values[queue[tail - 1]] <= sign * value:
                            tail -= 1
                        queue[tail] = seen
                        tail += 1
                    seen += 1
                while head < tail and queue[head] < lo[w, i]:
                    head += 1
                best = values[queue[head]] if head < tail else math.nan
                own = current[i]
                if own >= 0 and not math.isnan(values[own]) and not sign * best >= sign * values[own]:
                    best = values[own]
                out[w, i] = best


@jit
def neighbours(codes: Array, n_codes: int, h_starts: Ints, previous: Array, following: Array) -> None:
    """Find, for every position, the previous and next position of the same code in the same group.

    ``codes`` of -1 are null. Where there is none, ``previous`` is -1 and ``following`` the length of ``codes``.
    """
    n = codes.shape[0]
    last = np.full(n_codes, -1, np.int64)
    for g in range(h_starts.shape[0] - 1):
        start = h_starts[g]
        for p in range(start, h_starts[g + 1]):
            following[p] = n
            previous[p] = -1
            code = codes[p]
            if code < 0:
                continue
            if last[code] >= start:
                previous[p] = last[code]
                following[last[code]] = p
            last[code] = p


@jit
def distinct(
    codes: Array,
    previous: Array,
    following: Array,
    h_starts: Ints,
    q_starts: Ints,
    lo: Array,
    hi: Array,
    current: Array,
    out: Array,
    g0: int,
    g1: int,
) -> None:
    """Count the distinct codes in every range; null codes (-1) do not count."""
    for w in range(lo.shape[0]):
        for g in range(g0, g1):
            n, left, seen = 0, h_starts[g], h_starts[g]
            for i in range(q_starts[g], q_starts[g + 1]):
                while seen < hi[i]:
                    if codes[seen] >= 0 and previous[seen] < left:
                        n += 1
                    seen += 1
                while left < lo[w, i]:
                    if codes[left] >= 0 and following[left] >= hi[i]:
                        n -= 1
                    left += 1
                own, extra = current[i], 0
                if own >= 0 and codes[own] >= 0:
                    twin = previous[own]
                    while twin >= hi[i]:
                        twin = previous[twin]
                    extra = 1 if twin < left else 0
                out[w, i] = n + extra


@jit
def count(q_starts: Ints, lo: Array, hi: Array, current: Array, out: Array, g0: int, g1: int) -> None:
    """Count the positions in every range."""
    for w in range(lo.shape[0]):
        for i in range(q_starts[g0], q_starts[g1]):
            out[w, i] = hi[i] - lo[w, i] + (1 if current[i] >= 0 else 0)


@jit
def count_true(
    flags: Array, h_starts: Ints, q_starts: Ints, lo: Array, hi: Array, out: Array, g0: int, g1: int
) -> None:
    """Count the positions in every range whose flag is 1."""
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    prefix = np.zeros(longest + 1, np.int64)
    for g in range(g0, g1):
        start = h_starts[g]
        for p in range(h_starts[g + 1] - start):
            prefix[p + 1] = prefix[p] + (1 if flags[start + p] == 1 else 0)
        for w in range(lo.shape[0]):
            for i in range(q_starts[g], q_starts[g + 1]):
                out[w, i] = prefix[hi[i] - start] - prefix[lo[w, i] - start]


@jit
def since(
    q_times: Ints, h_times: Ints, h_starts: Ints, q_starts: Ints, hi: Array, last: int, out: Array, g0: int, g1: int
) -> None:
    """Measure the seconds since the last (or first) position before ``hi``; NaN where there is none."""
    for g in range(g0, g1):
        for i in range(q_starts[g], q_starts[g + 1]):
            if hi[i] == h_starts[g]:
                out[i] = math.nan
            else:
                seen = h_times[hi[i] - 1] if last else h_times[h_starts[g]]
                out[i] = (q_times[i] - seen) / 1e6


@jit
def latest(
    valid_from: Ints,
    rows: Array,
    h_starts: Ints,
    q_times: Ints,
    q_starts: Ints,
    hi: Array,
    max_age: int,
    out: Ints,
    g0: int,
    g1: int,
) -> None:
    """Find the row with the latest validity before ``hi``, the larger row on a tie; -1 where it is missing or too old.

    A row that has been valid for ``max_age`` µs is too old.
    """
    for g in range(g0, g1):
        best, seen = -1, h_starts[g]
        for i in range(q_starts[g], q_starts[g + 1]):
            while seen < hi[i]:
                if best < 0 or (valid_from[seen], rows[seen]) > (valid_from[best], rows[best]):
                    best = seen
                seen += 1
            out[i] = rows[best] if best >= 0 and valid_from[best] > q_times[i] - max_age else -1


# ---------------------------------------------------------------- order statistics


@jit
def change(tree: Array, size: int, rank: int, by: int) -> None:
    """Add to the count of a rank in a Fenwick tree (1-based, ``size`` a power of two)."""
    at = rank + 1
    while at <= size:
        tree[at] += by
        at += at & -at


@jit
def _kth(tree: Array, size: int, k: int) -> int:
    """Return the rank of the k-th smallest (from 0) of what is in the tree."""
    at, step = 0, size
    while step > 0:
        if at + step <= size and tree[at + step] <= k:
            at += step
            k -= tree[at]
        step >>= 1
    return at


@jit
def _middle(tree: Array, size: int, by_rank: Floats, n: int) -> float:
    upper: float = by_rank[_kth(tree, size, n // 2)]
    if n & 1:
        return upper
    lower: float = by_rank[_kth(tree, size, n // 2 - 1)]
    return 0.5 * lower + 0.5 * upper


@jit
def _kth_distance(tree: Array, size: int, by_rank: Floats, n: int, centre: float, k: int) -> float:
    """Return the k-th smallest (from 0) distance from the median, by merging the two sides of it."""
    left = n // 2
    low, high = max(0, k + 1 - (n - left)), min(k + 1, left)
    while low < high:
        i = (low + high) // 2
        below = centre - by_rank[_kth(tree, size, left - 1 - i)]
        above = by_rank[_kth(tree, size, left + k - i)] - centre
        if below < above:
            low = i + 1
        else:
            high = i
    best = -math.inf
    if low > 0:
        best = centre - by_rank[_kth(tree, size, left - low)]
    if k + 1 - low > 0:
        best = max(best, by_rank[_kth(tree, size, left + k - low)] - centre)
    return best


@jit
def medians(  # noqa: C901
    values: Floats,
    h_starts: Ints,
    q_starts: Ints,
    lo: Array,
    hi: Array,
    current: Array,
    out_median: Array,
    out_mad: Array,
    g0: int,
    g1: int,
) -> None:
    """Find the median of the values in every range, and the median distance from it; NaN where there is no value.

    The values of a window are held as counts by rank within the group, so that each enters and leaves in O(log n).
    """
    for g in range(g0, g1):
        start, stop = h_starts[g], h_starts[g + 1]
        by_value = np.argsort(values[start:stop])
        n_values = 0
        for p in range(start, stop):
            if not math.isnan(values[p]):
                n_values += 1
        ranks = np.full(stop - start, -1, np.int64)
        by_rank = np.empty(n_values, np.float64)
        for rank in range(n_values):
            ranks[by_value[rank]] = rank
            by_rank[rank] = values[start + by_value[rank]]
        size = 1
        while size < n_values:
            size *= 2
        for w in range(lo.shape[0]):
            tree = np.zeros(size + 1, np.int64)
            n, left, seen = 0, start, start
            for i in range(q_starts[g], q_starts[g + 1]):
                while seen < hi[i]:
                    if ranks[seen - start] >= 0:
                        change(tree, size, ranks[seen - start], 1)
                        n += 1
                    seen += 1
                while left < lo[w, i]:
                    if ranks[left - start] >= 0:
                        change(tree, size, ranks[left - start], -1)
                        n -= 1
                    left += 1
                own = ranks[current[i] - start] if current[i] >= 0 else -1
                if own >= 0:
                    change(tree, size, own, 1)
                    n += 1
                out_median[w, i] = math.nan
                out_mad[w, i] = math.nan
                if n > 0:
                    centre = _middle(tree, size, by_rank, n)
                    out_median[w, i] = centre
                    upper = _kth_distance(tree, size, by_rank, n, centre, n // 2)
                    if n & 1:
                        out_mad[w, i] = upper
                    else:
                        lower = _kth_distance(tree, size, by_rank, n, centre, n // 2 - 1)
                        out_mad[w, i] = 0.5 * lower + 0.5 * upper
                if own >= 0:
                    change(tree, size, own, -1)
                    n -= 1


# ---------------------------------------------------------------- runs of known frauds, hours


@jit
def since_run_began(
    q_times: Ints,
    q_starts: Ints,
    event_times: Ints,
    frauds: Array,
    h_starts: Ints,
    hi: Array,
    gap: int,
    out: Array,
    g0: int,
    g1: int,
) -> None:
    """Measure the seconds since the latest run of known frauds began; NaN where no fraud is known.

    Two known frauds of a group belong to one run where they, or others between them, lie at most ``gap`` µs apart. The
    history is in the order in which labels arrived, which need not be that of the events.
    """
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    known = np.empty(longest + 1, np.int64)
    for g in range(g0, g1):
        n, begin, seen = 0, np.int64(0), h_starts[g]
        for i in range(q_starts[g], q_starts[g + 1]):
            while seen < hi[i]:
                if frauds[seen] == 1:
                    time = event_times[seen]
                    at = n
                    while at > 0 and known[at - 1] > time:
                        known[at] = known[at - 1]
                        at -= 1
                    known[at] = time
                    n += 1
                    if at == n - 1:
                        if n == 1 or time - known[n - 2] > gap:
                            begin = time
                    elif time < begin and begin - time <= gap:
                        begin = time
                        while at > 0 and begin - known[at - 1] <= gap:
                            at -= 1
                            begin = known[at]
                seen += 1
            out[i] = (q_times[i] - begin) / 1e6 if n > 0 else math.nan


@jit
def usual_hour(
    minutes: Ints, n: Array, cosines: Array, sines: Array, out_distance: Array, out_concentration: Array
) -> None:
    """Compare minutes of the day with the circular mean of others, given the sums of their cosines and sines.

    ``out_distance`` is in hours, 0 to 12, and NaN where nothing is in the range or the hours cancel out;
    ``out_concentration`` is the length of the mean vector (Mardia and Jupp, Directional Statistics, 2000).
    """
    for w in range(n.shape[0]):
        for i in range(n.shape[1]):
            out_distance[w, i] = math.nan
            out_concentration[w, i] = math.nan
            if n[w, i] == 0:
                continue
            length = math.sqrt(cosines[w, i] * cosines[w, i] + sines[w, i] * sines[w, i]) / n[w, i]
            out_concentration[w, i] = min(length, 1.0)
            if length < 1e-9:
                continue
            usual = math.atan2(sines[w, i], cosines[w, i]) * 12.0 / math.pi
            apart = abs(minutes[i] / 60.0 - usual) % 24.0
            out_distance[w, i] = min(apart, 24.0 - apart)
