"""Compute the features of an event from the state: one pass over a program with a line per feature; compiled.

A line names an operation, a slot, a log, a window and the place of the result. Lines with the same log and window are
adjacent, so that their range is computed once. Ranges end at the end of the log, so the log must hold all rows before
the event and no others; otherwise `late` computes the answer.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch import fading, recent
from fraudctl.features.batch.exact import (
    difference,
    make_positive,
    mantissa_of,
    n_times_squares_minus_square,
    put_part,
    rounded_words,
    scaled,
    square_of,
)
from fraudctl.features.batch.jit import jit
from fraudctl.features.online import hops, sorted_blocks
from fraudctl.features.online.arena import (
    BODY,
    COUNT,
    DEGREE,
    EMPTY,
    FIRST,
    FRAUDS,
    KNOWN,
    LAST,
    LAST_FRAUD,
    LATER,
    LINK_FRAUDS,
    LINK_KNOWN,
    NEVER,
    NULL,
    OWN_FRAUDS,
    OWN_KNOWN,
    PARENT,
    RUN_BLOCK,
    RUN_N,
    SINCE,
    SIZE,
    Floats,
    Ints,
    Words,
)
from fraudctl.features.online.log_words import (
    D_CODES,
    H_BLOCK,
    H_CAP,
    H_END,
    H_START,
    NO_CODE,
    S_AT,
    S_N,
    V_GRID,
    V_LARGEST,
    V_LARGEST_TAIL,
    V_N,
    V_SMALLEST,
    V_SMALLEST_TAIL,
    V_SQUARES,
    V_SUMS,
    V_VALUES,
)
from fraudctl.features.online.logs import distinct_from, exponents, find_code, first_after, grid_words
from fraudctl.features.online.packed import count_at, grid_high, grid_low, square_words, sum_words
from fraudctl.features.online.sorted_windows import rank_of, slide_sorted, sorted_insert

# a line of a program
P_OP, P_OUT, P_SLOT, P_HEADER, P_COLUMN, P_WINDOW, P_CURRENT, P_OWN, P_WHERE, P_MORE, P_EXTRA = range(11)
LINE_WORDS = 11
OF_OUTCOMES = 2
"""What P_CURRENT is where the log is one of outcomes; 1 where the event itself counts, else 0."""

# operations over a log
(
    COUNTED, DISTINCT, SUM, MEAN, STD, MIN, MAX, MEDIAN, MAD, FRAUD_COUNT, FRAUD_RATE, SMOOTHED, FIRST_FRAUD,
    LATEST_FRAUD, HOUR_DISTANCE, HOUR_CONCENTRATION,
) = range(16)  # fmt: skip
FIRST_HABIT = 16
"""The kinds of `recent.HABITS` and then those of `recent.SPACINGS`, in their order."""
FIRST_SPACING = FIRST_HABIT + len(recent.HABITS)
FIRST_OF_SLOT = FIRST_SPACING + len(recent.SPACINGS)
# operations on a slot
(
    SINCE_LAST, SINCE_FIRST, SINCE_FRAUD, SINCE_RUN, PAIR_NEW, PAIR_COUNT, PAIR_SINCE,
    LINK_SIZE, LINK_AGE, LINK_RATE, LINK_DEGREE,
) = range(FIRST_OF_SLOT, FIRST_OF_SLOT + 11)  # fmt: skip
FIRST_OF_DECAY = FIRST_OF_SLOT + 11
"""The kinds of `fading.DECAYS`, in their order."""
FIRST_OF_HOP = FIRST_OF_DECAY + len(fading.DECAYS)
"""The kinds of `hops.HOPS`, in their order; P_HEADER and P_COLUMN say where the partners are in the two slots."""
FIRST_OF_LINK = LINK_SIZE

SCRATCH = 512


@jit
def values_of(pattern: int) -> float:
    """Return the float that an integer is the pattern of."""
    number: float = np.int64(pattern).view(np.float64)
    return number


@jit
def pattern_of(value: float) -> int:
    """Return the IEEE 754 pattern of a float as an integer."""
    pattern: int = np.float64(value).view(np.int64)  # type: ignore[assignment]
    return pattern


# ---------------------------------------------------------------- sums


@jit
def finished(scratch: Words, n_words: int, n_squares: int, low: int, n: int, total: Floats) -> None:
    """Round an exact sum, and the spread where ``n_squares`` is not 0, to floats.

    ``scratch`` holds the sum from word 0 on and the sum of squares from 64 on; ``total`` (2,) takes the sum (NaN where
    it overflows) and the standard deviation (NaN below two values or where it overflows).
    """
    sums, squares, spread = scratch[:64], scratch[64:192], scratch[192:]
    negative = make_positive(sums, n_words)
    mantissa, exponent = rounded_words(sums, n_words)
    result = scaled(mantissa, exponent + low)
    total[0] = math.nan if math.isinf(result) else (-result if negative else result)
    total[1] = math.nan
    if n_squares == 0 or n < 2:
        return
    n_times_squares_minus_square(squares, n_squares, sums, n_words, n, spread)
    mantissa, exponent = rounded_words(spread, n_squares)
    exponent += 2 * low
    if exponent & 1:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    result = scaled(math.sqrt(mantissa / (np.float64(n) * np.float64(n - 1))), exponent >> 1)
    if not math.isinf(result):
        total[1] = result


@jit
def _put(scratch: Words, n_words: int, n_squares: int, low: int, bits: int) -> None:
    """Add a value, by its pattern, to the sums in the scratch."""
    part, shift = mantissa_of(bits, low)
    put_part(scratch, 0, n_words, part, shift, 1 if bits < 0 else 0)
    if n_squares:
        first, second = square_of(part)
        put_part(scratch, 64, n_squares, first, 2 * shift, 0)
        put_part(scratch, 64, n_squares, second, 2 * shift + 64, 0)


@jit
def scanned_moments(
    heap: Ints, values: Floats, at: int, lo: int, hi: int, own: float, scratch: Words, out: Floats
) -> int:
    """Count, add up and measure the spread of the values at ``at`` + ``[lo, hi)`` and ``own``, one by one.

    NaN is null; ``out`` is as in `finished`.
    """
    low, high = exponents(pattern_of(own)) if not math.isnan(own) else (5000, -5000)
    n = 0 if math.isnan(own) else 1
    for p in range(at + lo, at + hi):
        if not math.isnan(values[p]):
            first, last = exponents(heap[p])
            low, high, n = min(low, first), max(high, last), n + 1
    out[0] = 0.0 if n > 0 else math.nan
    out[1] = 0.0 if n > 1 else math.nan
    if low >= high:
        return n
    n_words, n_squares = grid_words(low, high, n, 0), grid_words(low, high, n, 1)
    scratch[:192] = 0
    for p in range(at + lo, at + hi):
        if not math.isnan(values[p]) and values[p] != 0.0:
            _put(scratch, n_words, n_squares, low, heap[p])
    if not math.isnan(own) and own != 0.0:
        _put(scratch, n_words, n_squares, low, pattern_of(own))
    finished(scratch, n_words, n_squares, low, n, out)
    return n


@jit
def _moments(
    heap: Ints, values: Floats, words: Words, header: int, column: int, lo: int, own: float, scratch: Words, out: Floats
) -> int:
    """Compute sum and spread of the positions from ``lo`` to the end of a log from its prefix sums."""
    end, grid = heap[header + H_END], heap[column + V_GRID]
    low = grid_low(grid)
    if heap[header + H_BLOCK] == 0 or lo == end:
        return scanned_moments(heap, values, 0, 0, 0, own, scratch, out)
    n: int = count_at(heap, heap[column + V_N], end) - count_at(heap, heap[column + V_N], lo)
    n_words, n_squares = sum_words(grid), square_words(grid)
    if not math.isnan(own) and own != 0.0:
        first, last = exponents(pattern_of(own))
        if first < low or last > grid_high(grid):
            return scanned_moments(heap, values, heap[column + V_VALUES], lo, end, own, scratch, out)
    difference(words[heap[column + V_SUMS] :], n_words, lo, end, scratch)
    if n_squares:
        difference(words[heap[column + V_SQUARES] :], n_squares, lo, end, scratch[64:])
    if not math.isnan(own):
        n += 1
        if own != 0.0:
            _put(scratch, n_words, n_squares, low, pattern_of(own))
    if n == 0:
        out[0] = out[1] = math.nan
        return 0
    finished(scratch, n_words, n_squares, low, n, out)
    return n


# ---------------------------------------------------------------- extremes and order


@jit
def _extreme(heap: Ints, values: Floats, header: int, column: int, lo: int, own: float, largest: int) -> float:
    """Find the largest or smallest value from ``lo`` to the end, and ``own``."""
    best = math.nan
    if heap[header + H_BLOCK] != 0:
        queue = heap[column + V_LARGEST] if largest else heap[column + V_SMALLEST]
        n = heap[column + V_LARGEST_TAIL] if largest else heap[column + V_SMALLEST_TAIL]
        at = first_after(heap, queue, 0, n, lo - 1)
        if at < n:
            best = values[heap[column + V_VALUES] + heap[queue + at]]
    return beaten(best, own, 1.0 if largest else -1.0)


@jit
def beaten(best: float, own: float, sign: float) -> float:
    """Return ``own`` where it beats the best so far, or there is none."""
    return own if not math.isnan(own) and not sign * best >= sign * own else best


@jit
def _kth_distance(values: Floats, at: int, n: int, centre: float, k: int) -> float:
    """Return the k-th smallest (from 0) distance of n sorted values from their median, by merging its two sides."""
    left = n // 2
    low, high = max(0, k + 1 - (n - left)), min(k + 1, left)
    while low < high:
        i = (low + high) // 2
        if centre - values[at + left - 1 - i] < values[at + left + k - i] - centre:
            low = i + 1
        else:
            high = i
    best = -math.inf
    if low > 0:
        best = centre - values[at + left - low]
    if k + 1 - low > 0:
        best = max(best, values[at + left + k - low] - centre)
    return best


@jit
def middle(values: Floats, at: int, n: int, spread: int) -> float:
    """Return the median of n sorted values, or the median distance from it; NaN where there is none."""
    if n == 0:
        return math.nan
    odd = n & 1
    centre: float = values[at + n // 2] if odd else 0.5 * values[at + n // 2 - 1] + 0.5 * values[at + n // 2]
    if not spread:
        return centre
    upper = _kth_distance(values, at, n, centre, n // 2)
    return upper if odd else 0.5 * _kth_distance(values, at, n, centre, n // 2 - 1) + 0.5 * upper


@jit
def _middle(
    heap: Ints, values: Floats, header: int, column: int, window: int, edge: int, own: float, spread: int
) -> float:
    """Return the median, or the median distance from it, of a sorted window and ``own``."""
    if heap[header + H_BLOCK] == 0:
        return math.nan if math.isnan(own) else (0.0 if spread else own)
    slide_sorted(heap, values, header, column, window, edge)
    at, n = heap[window + S_AT], heap[window + S_N]
    if math.isnan(own):
        return middle(values, at, n, spread)
    rank = rank_of(values, at, n, own)
    sorted_insert(values, at, n, own)
    out = middle(values, at, n + 1, spread)
    for j in range(rank, n):
        values[at + j] = values[at + j + 1]
    return out


@jit
def hour(n: int, cosines: float, sines: float, minute: float, concentration: int) -> float:
    """Compare a minute of the day with the circular mean of n others, as `kernels.usual_hour` does."""
    if n == 0:
        return math.nan
    length = math.sqrt(cosines * cosines + sines * sines) / n
    if concentration:
        return min(length, 1.0)
    if length < 1e-9:
        return math.nan
    apart = abs(minute / 60.0 - math.atan2(sines, cosines) * 12.0 / math.pi) % 24.0
    return min(apart, 24.0 - apart)


# ---------------------------------------------------------------- latest and usual values, gaps


@jit
def recently(
    heap: Ints, values: Floats, line: Ints, header: int, lo: int, hi: int, own: Floats, codes: Ints, now: int
) -> float:
    """Answer a line about the positions ``[lo, hi)`` of a log, and the event itself."""
    op, column, times = line[P_OP], header + line[P_COLUMN], heap[header + H_BLOCK]
    if op >= FIRST_SPACING:
        found = np.empty(line[P_EXTRA], np.int64)
        n = recent.gaps_before(heap, times, lo, hi, now, line[P_EXTRA], found)
        return recent.of_gaps(op - FIRST_SPACING, found, n)
    op -= FIRST_HABIT
    if op in (recent.LAST, recent.PREVIOUS):
        at = hi - 1 if op == recent.LAST else hi - 2
        if line[P_EXTRA] == recent.OF_CODES:
            return values_of(heap[heap[column + D_CODES] + at] if at >= lo else NO_CODE)
        return values[heap[column + V_VALUES] + at] if at >= lo else math.nan
    if op == recent.RANK:
        return sorted_blocks.rank_in(values, heap[column + V_VALUES], heap[header + H_CAP], lo, hi, own[line[P_OWN]])
    code, place = codes[line[P_OWN]], heap[column + D_CODES]
    if op == recent.SHARE:
        return sorted_blocks.share_of(heap, place, heap[header + H_CAP], lo, hi, code, NO_CODE)
    if op == recent.CHANGED:
        before = heap[place + hi - 1] if hi > lo else NO_CODE
        return math.nan if code == NO_CODE or before == NO_CODE else (0.0 if before == code else 1.0)
    begin = recent.run_start(heap, place, lo, hi, code, NO_CODE)
    if op == recent.SAME:
        return math.nan if code == NO_CODE else np.float64(hi - begin)
    return (now - heap[times + begin]) / 1e6 if begin < hi else math.nan


# ---------------------------------------------------------------- slots


@jit
def root_of(heap: Ints, node: int) -> int:
    """Find the root of a node, halving the path on the way."""
    while heap[node + PARENT] != node:
        heap[node + PARENT] = heap[heap[node + PARENT] + PARENT]
        node = heap[node + PARENT]
    return node


@jit
def link(heap: Ints, op: int, first: int, second: int, met: int, places: int, hub: int, now: int) -> float:
    """Answer a line about linked entities; ``places`` holds the places of the nodes in the two slots."""
    a, b = first + (places & 0xFFFF), second + (places >> 16)
    degree_a = heap[a + DEGREE] if first != EMPTY else 0
    degree_b = heap[b + DEGREE] if second != EMPTY and second != NULL else 0
    if op == LINK_DEGREE:
        return math.nan if second == NULL else np.float64(degree_b)
    if first == NULL:
        return math.nan
    root, size, since, known, frauds = 0, 1, LATER, 0, 0
    if first != EMPTY:
        root = root_of(heap, a)
        size, since = heap[root + SIZE], heap[root + SINCE]
        known = heap[root + LINK_KNOWN] - heap[a + OWN_KNOWN]
        frauds = heap[root + LINK_FRAUDS] - heap[a + OWN_FRAUDS]
    if second != NULL and second != EMPTY and degree_a < hub and degree_b < hub and not met:
        other = root_of(heap, b)
        if other != root:
            size += heap[other + SIZE]
            since = min(since, heap[other + SINCE])
            known += heap[other + LINK_KNOWN]
            frauds += heap[other + LINK_FRAUDS]
    if op == LINK_SIZE:
        return np.float64(size)
    if op == LINK_AGE:
        return (now - since) / 1e6 if since < now else math.nan
    return frauds / known if known > 0 else math.nan


@jit
def of_slot(heap: Ints, op: int, slot: int, more: int, now: int) -> float:
    """Answer a line from the slot itself: time since the last event, and counts."""
    if op in (PAIR_NEW, PAIR_COUNT):
        if slot == NULL:
            return math.nan
        n = heap[slot + COUNT]
        return np.float64(n) if op == PAIR_COUNT else (1.0 if n == 0 else 0.0)
    when = NEVER
    if op in (SINCE_LAST, PAIR_SINCE):
        when = heap[slot + LAST]
    elif op == SINCE_FIRST:
        when = heap[slot + FIRST]
    elif op == SINCE_FRAUD:
        when = heap[slot + LAST_FRAUD]
    elif slot != EMPTY and slot != NULL and heap[slot + more + RUN_N] > 0:
        when = heap[heap[slot + more + RUN_BLOCK] + 2 * (heap[slot + more + RUN_N] - 1)]
    return (now - when) / 1e6 if when != NEVER and when < now else math.nan


# ---------------------------------------------------------------- the pass


@jit
def smoothed(heap: Ints, n: int, frauds: int, strength: float) -> float:
    """Shrink a fraud rate towards the overall rate."""
    if heap[KNOWN] == 0:
        return math.nan
    prior: float = heap[FRAUDS] / heap[KNOWN]
    return (frauds + strength * prior) / (n + strength)


@jit
def answer(  # noqa: C901
    heap: Ints, program: Ints, slots: Ints, own: Floats, codes: Ints, now: int, out: Floats
) -> None:
    """Answer all lines of a program for one event.

    Parameters
    ----------
    heap
        The state.
    program
        Shape (n_lines, LINE_WORDS).
    slots
        Slot of the event in each key space.
    own, codes
        What the event holds, for lines that include it, and which conditions it meets.
    now
        µs of the event.
    out
        Written, at the places that the lines name; NaN is null.
    """
    values, words = heap.view(np.float64), heap.view(np.uint64)
    scratch, pair = np.empty(SCRATCH, np.uint64), np.empty(2, np.float64)
    known_header, known_window, lo = -1, -1, 0
    known_column, known_current, known_own, known_n = -1, False, -1, 0
    for r in range(program.shape[0]):
        op, slot = program[r, P_OP], slots[program[r, P_SLOT]]
        if op >= FIRST_OF_SLOT:
            if op >= FIRST_OF_HOP:
                out[program[r, P_OUT]] = hops.hop(
                    heap, op - FIRST_OF_HOP, slot, slots[program[r, P_OWN]], program[r, P_HEADER], program[r, P_COLUMN],
                    program[r, P_MORE], program[r, P_WINDOW],
                )  # fmt: skip
            elif op >= FIRST_OF_DECAY:
                cell, kind = slot + program[r, P_MORE], op - FIRST_OF_DECAY
                out[program[r, P_OUT]] = fading.faded(heap, values, cell, now, kind, program[r, P_WINDOW])
            elif op >= FIRST_OF_LINK:
                met = heap[slots[program[r, P_EXTRA]] + COUNT] > 0
                second = slots[program[r, P_OWN]]
                out[program[r, P_OUT]] = link(
                    heap, op, slot, second, met, program[r, P_MORE], program[r, P_WINDOW], now
                )
            else:
                out[program[r, P_OUT]] = of_slot(heap, op, slot, program[r, P_MORE], now)
            continue
        header = heap[heap[slot + BODY] + program[r, P_HEADER]]
        column, window, end = header + program[r, P_COLUMN], program[r, P_WINDOW], heap[header + H_END]
        if header != known_header or window != known_window:
            known_header, known_window, known_column = header, window, -1
            lo = first_after(heap, heap[header + H_BLOCK], heap[header + H_START], end, now - window)
        if op >= FIRST_HABIT:
            out[program[r, P_OUT]] = recently(heap, values, program[r], header, lo, end, own, codes, now)
            continue
        current = program[r, P_CURRENT] == 1 and (program[r, P_WHERE] < 0 or codes[program[r, P_WHERE]] == 1)
        value, at = math.nan, program[r, P_OUT]
        if op == COUNTED:
            out[at] = end - lo + (1 if current else 0)
            continue
        if op == DISTINCT:
            code = codes[program[r, P_OWN]] if current else NO_CODE
            n = distinct_from(heap, words, header, column, lo) if end > lo else 0
            if code != NO_CODE and (end == lo or find_code(heap, header, column, code) < lo):
                n += 1
            out[at] = n
            continue
        if current:
            value = own[program[r, P_OWN]]
        if op <= STD:
            if column != known_column or current != known_current or program[r, P_OWN] != known_own:
                n = _moments(heap, values, words, header, column, lo, value, scratch, pair)
                known_column, known_current, known_own, known_n = column, current, program[r, P_OWN], n
            n = known_n
            out[at] = pair[1] if op == STD else (pair[0] / n if op == MEAN else pair[0])
        elif op <= MAX:
            out[at] = _extreme(heap, values, header, column, lo, value, op == MAX)
        elif op <= MAD:
            sorted_at = column + program[r, P_MORE]
            out[at] = _middle(heap, values, header, column, sorted_at, now - window, value, op == MAD)
        elif op <= SMOOTHED:
            known = end - lo
            frauds = (
                count_at(heap, heap[column + V_N], end) - count_at(heap, heap[column + V_N], lo) if known > 0 else 0
            )
            if op == FRAUD_COUNT:
                out[at] = frauds
            elif op == FRAUD_RATE:
                out[at] = frauds / known if known > 0 else math.nan
            else:
                out[at] = smoothed(heap, known, frauds, values_of(program[r, P_EXTRA]))
        elif op <= LATEST_FRAUD:
            when = _extreme(heap, values, header, column, lo, math.nan, op == LATEST_FRAUD)
            out[at] = (now - when) / 1e6
        else:
            known_column = -1
            n = _moments(heap, values, words, header, column, lo, math.nan, scratch, pair)
            cosines = pair[0]
            _moments(heap, values, words, header, header + program[r, P_MORE], lo, math.nan, scratch, pair)
            out[at] = hour(n, cosines, pair[0], own[program[r, P_OWN]], op == HOUR_CONCENTRATION)
