"""Logs: the history of one entity, stored so that any window that ends now is a lookup; compiled.

A log holds times and values in time order, with prefix sums on a binary grid (see `exact`), monotonic stacks for
extremes, marks on the last occurrence of each code, and the sorted values of each window that has a median. A range
``[lo, end)`` is answered from these without reading its positions.

The layout (see `plan`) lists the arrays of a log. Header and arrays lie in one block of the heap. When the block is
full, positions that no window needs are dropped, and the rest moves to a block that is a quarter longer. The body of a
slot holds the offset of the block, or `arena.NO_LOG`, a header of zeros, if the entity has no log.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch.exact import mantissa_of, put_part, square_of
from fraudctl.features.batch.jit import jit
from fraudctl.features.online import sorted_blocks
from fraudctl.features.online.arena import NO_LOG, Floats, Ints, Words, allocate, release
from fraudctl.features.online.log_words import (
    C_FLAGS,
    C_HEADER,
    C_HIGH,
    C_LOW,
    C_N_SORTED,
    C_OWN,
    C_SORTED,
    CODE_WORDS,
    COLUMN_WORDS,
    D_BITS,
    D_BLOCKS,
    D_CODES,
    D_HASH,
    D_MASK,
    H_BLOCK,
    H_CAP,
    H_END,
    H_START,
    H_WORDS,
    K_HEADER,
    K_OWN,
    LARGEST,
    NO_CODE,
    NO_HIGH,
    NO_LOW,
    NUMBER,
    S_AT,
    S_LEFT,
    SMALL,
    SMALLEST,
    SORTED_WORDS,
    SQUARES,
    SUMS,
    T_CODES,
    T_COLUMNS,
    T_N_CODES,
    T_N_COLUMNS,
    T_PLACE,
    T_WINDOW,
    T_WORDS,
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
from fraudctl.features.online.packed import (
    count_at,
    count_words,
    grid_high,
    grid_low,
    grid_of,
    put_count,
    square_words,
    sum_words,
)
from fraudctl.features.online.sorted_windows import sort_anew, sort_in

_U1 = np.uint64(1)
_FRACTION = (1 << 52) - 1


# ---------------------------------------------------------------- searching


@jit
def first_after(heap: Ints, times: int, lo: int, hi: int, edge: int) -> int:
    """Find the first position in ``[lo, hi)`` whose time lies after ``edge``."""
    while lo < hi:
        middle = (lo + hi) >> 1
        if heap[times + middle] > edge:
            hi = middle
        else:
            lo = middle + 1
    return lo


@jit
def popcount(word: np.uint64) -> int:
    """Count the bits that are set (Warren, Hacker's Delight, 2nd ed., 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@jit
def _mixed(code: int) -> int:
    word = np.uint64(code)
    word ^= word >> np.uint64(32)
    word *= np.uint64(0x9E3779B97F4A7C15)
    return int(word >> np.uint64(20))


@jit
def find_code(heap: Ints, header: int, coded: int, code: int) -> int:
    """Find the last position of a code, or -1."""
    start, end = heap[header + H_START], heap[header + H_END]
    codes, table = heap[coded + D_CODES], heap[coded + D_HASH]
    if table == 0:
        for p in range(end - 1, start - 1, -1):
            if heap[codes + p] == code:
                return p
        return -1
    mask = heap[coded + D_MASK]
    at = _mixed(code) & mask
    while heap[table + 2 * at + 1] != 0:
        if heap[table + 2 * at] == code:
            p = heap[table + 2 * at + 1] - 1
            return p if p >= start else -1
        at = (at + 1) & mask
    return -1


@jit
def distinct_from(heap: Ints, words: Words, header: int, coded: int, lo: int) -> int:
    """Count the distinct codes at and after a position: the marks on last occurrences there."""
    end = heap[header + H_END]
    if lo >= end:
        return 0
    bits, blocks = heap[coded + D_BITS], heap[coded + D_BLOCKS]
    word, last = lo >> 6, (end - 1) >> 6
    n = popcount(words[bits + word] >> np.uint64(lo & 63))
    stop = min(last + 1, ((lo >> 9) + 1) << 3)
    for j in range(word + 1, stop):
        n += popcount(words[bits + j])
    for j in range((lo >> 9) + 1, ((end - 1) >> 9) + 1):
        n += heap[blocks + j]
    return n


# ---------------------------------------------------------------- prefix sums, queues, marks


@jit
def exponents(bits: int) -> tuple[int, int]:
    """Return the exponents of a value's lowest and highest bit, from its IEEE 754 pattern; none for 0 and NaN."""
    exponent, fraction = (bits >> 52) & 0x7FF, bits & _FRACTION
    if exponent == 0x7FF or (exponent == 0 and fraction == 0):
        return NO_LOW, NO_HIGH
    if exponent == 0:
        exponent = 1
    else:
        fraction |= _FRACTION + 1
    low = exponent - 1075
    high = low + 53
    while fraction & 0xFF == 0:
        fraction >>= 8
        low += 8
    while fraction & 1 == 0:
        fraction >>= 1
        low += 1
    return low, high


@jit
def _queue(heap: Ints, values: Floats, column: int, own: int, tail: int, queue: int, i: int, sign: float) -> None:
    """Push a position onto a monotonic stack, after popping the positions with no better value."""
    at, n = heap[queue], heap[tail]
    while n > 0 and sign * values[column + heap[at + n - 1]] <= sign * values[own]:
        n -= 1
    heap[at + n] = i
    heap[tail] = n + 1


@jit
def _add_up(words: Words, values: Floats, heap: Ints, column: int, i: int) -> None:
    """Extend the prefix sums by the value at position i."""
    grid = heap[column + V_GRID]
    n_words, n_squares, low = sum_words(grid), square_words(grid), grid_low(grid)
    sums = heap[column + V_SUMS] + (i + 1) * n_words
    squares = heap[column + V_SQUARES] + (i + 1) * n_squares if n_squares else 0
    for j in range(n_words):
        words[sums + j] = words[sums + j - n_words]
    for j in range(n_squares):
        words[squares + j] = words[squares + j - n_squares]
    at = heap[column + V_VALUES] + i
    if math.isnan(values[at]) or values[at] == 0.0:
        return
    part, shift = mantissa_of(heap[at], low)
    put_part(words, sums, n_words, part, shift, 1 if heap[at] < 0 else 0)
    if n_squares:
        first, second = square_of(part)
        put_part(words, squares, n_squares, first, 2 * shift, 0)
        put_part(words, squares, n_squares, second, 2 * shift + 64, 0)


@jit
def _mark(heap: Ints, words: Words, header: int, coded: int, i: int) -> None:
    """Mark position i as the last occurrence of its code."""
    code = heap[heap[coded + D_CODES] + i]
    if code == NO_CODE:
        return
    bits, blocks = heap[coded + D_BITS], heap[coded + D_BLOCKS]
    before = find_code(heap, header, coded, code)
    if before >= 0:
        words[bits + (before >> 6)] ^= _U1 << np.uint64(before & 63)
        if before >> 9:
            heap[blocks + (before >> 9)] -= 1
    words[bits + (i >> 6)] |= _U1 << np.uint64(i & 63)
    if i >> 9:
        heap[blocks + (i >> 9)] += 1
    table, mask = heap[coded + D_HASH], heap[coded + D_MASK]
    if table == 0:
        return
    at = _mixed(code) & mask
    while heap[table + 2 * at + 1] != 0 and heap[table + 2 * at] != code:
        at = (at + 1) & mask
    heap[table + 2 * at] = code
    heap[table + 2 * at + 1] = i + 1


@jit
def _derive(heap: Ints, values: Floats, words: Words, layout: Ints, track: int, header: int, i: int) -> None:
    """Update prefix sums, queues and marks (not sorted windows) for position i, the last before the end."""
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column, flags = header + layout[described + C_HEADER], layout[described + C_FLAGS]
        at = heap[column + V_VALUES]
        missing = math.isnan(values[at + i])
        if flags & NUMBER:
            counts = heap[column + V_N]
            put_count(heap, counts, i + 1, count_at(heap, counts, i) + (0 if missing else 1))
        if flags & SUMS:
            _add_up(words, values, heap, column, i)
        if flags & LARGEST and not missing:
            _queue(heap, values, at, at + i, column + V_LARGEST_TAIL, column + V_LARGEST, i, 1.0)
        if flags & SMALLEST and not missing:
            _queue(heap, values, at, at + i, column + V_SMALLEST_TAIL, column + V_SMALLEST, i, -1.0)
        if flags & sorted_blocks.SORTED:
            sorted_blocks.sort_numbers(values, at, heap[header + H_CAP], i)
    for c in range(layout[track + T_N_CODES]):
        described = layout[track + T_CODES] + c * CODE_WORDS
        coded = header + layout[described + K_HEADER]
        _mark(heap, words, header, coded, i)
        if layout[described + K_OWN] & sorted_blocks.CODED:
            sorted_blocks.sort_codes(heap, heap[coded + D_CODES], heap[header + H_CAP], i)


# ---------------------------------------------------------------- room


@jit
def grid_words(low: int, high: int, cap: int, squares: int) -> int:
    """Return the words in which sums (or sums of squares) of up to ``cap`` + 1 values on a grid are exact."""
    bits, n = 0, cap + 1
    while n > 0:
        bits += 1
        n >>= 1
    span = high - low if high > low else 0
    if squares:
        return (2 * span + 2 * bits + 65) // 64
    return (span + bits + 65) // 64


@jit
def _fits(heap: Ints, layout: Ints, track: int, header: int, own: Floats) -> bool:
    """Return whether one more position fits, and its values fit the grids."""
    if heap[header + H_BLOCK] == 0 or heap[header + H_END] >= heap[header + H_CAP]:
        return False
    bits = own.view(np.int64)
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        if layout[described + C_FLAGS] & SUMS:
            low, high = exponents(bits[layout[described + C_OWN]])
            grid = heap[header + layout[described + C_HEADER] + V_GRID]
            if low < grid_low(grid) or high > grid_high(grid):
                return False
    return True


@jit
def _grid(heap: Ints, layout: Ints, described: int, column: int, start: int, end: int, own: int) -> tuple[int, int]:
    """Choose a grid that holds the values kept, the new value, and the usual range of the column."""
    low, high = exponents(own)
    usual_low, usual_high = layout[described + C_LOW], layout[described + C_HIGH]
    wide_low, wide_high = min(low, usual_low), max(high, usual_high)
    if low < high and wide_high - wide_low <= 90:
        layout[described + C_LOW], layout[described + C_HIGH] = wide_low, wide_high
        usual_low, usual_high = wide_low, wide_high
    low, high = min(low, usual_low), max(high, usual_high)
    values = heap[column + V_VALUES]
    for p in range(start, end):
        first, last = exponents(heap[values + p])
        low, high = min(low, first), max(high, last)
    return (low, high) if low < high else (0, 0)


@jit
def _table_size(cap: int) -> int:
    if cap <= SMALL:
        return 0
    size = 64
    while 2 * size < 3 * cap:
        size *= 2
    return size


@jit
def _lay_out_column(heap: Ints, column: int, flags: int, at: int, cap: int, low: int, high: int) -> int:
    """Place the arrays of a column, but for its sorted windows, as `_lay_out` does; return the words that they take."""
    write, begin = at != 0, at
    if write:
        heap[column + V_VALUES] = at
    at += cap + sorted_blocks.room(cap, flags & sorted_blocks.SORTED)
    if flags & NUMBER:
        if write:
            heap[column + V_N] = at
        at += count_words(cap + 1)
    if flags & SUMS:
        n_words, n_squares = grid_words(low, high, cap, 0), grid_words(low, high, cap, 1) if flags & SQUARES else 0
        if write:
            heap[column + V_SUMS], heap[column + V_GRID] = at, grid_of(low, high, n_words, n_squares)
        at += (cap + 1) * n_words
        if write and flags & SQUARES:
            heap[column + V_SQUARES] = at
        at += (cap + 1) * n_squares
    if flags & LARGEST:
        if write:
            heap[column + V_LARGEST], heap[column + V_LARGEST_TAIL] = at, 0
        at += cap
    if flags & SMALLEST:
        if write:
            heap[column + V_SMALLEST], heap[column + V_SMALLEST_TAIL] = at, 0
        at += cap
    return at - begin


@jit
def _lay_out(heap: Ints, layout: Ints, track: int, header: int, at: int, cap: int, grids: Ints) -> int:
    """Place the arrays of a log with room for ``cap`` from offset ``at`` on; write them where ``at`` is not 0.

    ``grids`` (n_columns, 2) holds the grids. Returns the words that it takes.
    """
    words = cap
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column = header + layout[described + C_HEADER]
        here = at + words if at else 0
        words += _lay_out_column(heap, column, layout[described + C_FLAGS], here, cap, grids[c, 0], grids[c, 1])
        for s in range(layout[described + C_N_SORTED]):
            if at:
                heap[column + layout[described + C_SORTED] + s * SORTED_WORDS + S_AT] = at + words
            words += cap + 1  # a query may put its own value there for a moment
    for c in range(layout[track + T_N_CODES]):
        described = layout[track + T_CODES] + c * CODE_WORDS
        coded, copies = header + layout[described + K_HEADER], layout[described + K_OWN] & sorted_blocks.CODED
        table, room = _table_size(cap), cap + sorted_blocks.room(cap, copies)
        if at:
            heap[coded + D_CODES] = at + words
            heap[coded + D_BITS] = at + words + room
            heap[coded + D_BLOCKS] = heap[coded + D_BITS] + (cap >> 6)  # the first block needs no count
            heap[coded + D_HASH] = heap[coded + D_BLOCKS] + (cap >> 9) + 1 if table else 0
            heap[coded + D_MASK] = table - 1
        words += room + (cap >> 6) + 1 + (cap >> 9) + 2 * table
    return words


@jit
def _clear(heap: Ints, layout: Ints, track: int, header: int) -> None:
    """Reset prefix sums, queues and marks to those of an empty log."""
    cap, start = heap[header + H_CAP], heap[header + H_START]
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column = header + layout[described + C_HEADER]
        flags = layout[described + C_FLAGS]
        if flags & NUMBER:
            put_count(heap, heap[column + V_N], start, 0)
        if flags & SUMS:
            at, n = heap[column + V_SUMS], sum_words(heap[column + V_GRID])
            heap[at + start * n : at + (start + 1) * n] = 0
        if flags & SQUARES:
            at, n = heap[column + V_SQUARES], square_words(heap[column + V_GRID])
            heap[at + start * n : at + (start + 1) * n] = 0
        if flags & LARGEST:
            heap[column + V_LARGEST_TAIL] = 0
        if flags & SMALLEST:
            heap[column + V_SMALLEST_TAIL] = 0
    for c in range(layout[track + T_N_CODES]):
        coded = header + layout[layout[track + T_CODES] + c * CODE_WORDS + K_HEADER]
        stop = heap[coded + D_BLOCKS] + (cap >> 9) + 1 + 2 * (heap[coded + D_MASK] + 1)
        heap[heap[coded + D_BITS] : stop] = 0


@jit
def _derive_all(heap: Ints, values: Floats, words: Words, layout: Ints, track: int, header: int) -> None:
    """Rebuild prefix sums, queues and marks from times and values (not the left ends of sorted windows)."""
    _clear(heap, layout, track, header)
    end = heap[header + H_END]
    start = heap[header + H_START]
    for i in range(start, end):
        heap[header + H_END] = i
        _derive(heap, values, words, layout, track, header, i)
    heap[header + H_END] = end
    sort_anew(heap, values, layout, track, header)


@jit
def expire(heap: Ints, layout: Ints, track: int, header: int, now: int) -> int:
    """Move the start of a log past positions that no window needs after ``now``; return the number left."""
    start, end = heap[header + H_START], heap[header + H_END]
    start = first_after(heap, heap[header + H_BLOCK], start, end, now - layout[track + T_WINDOW])
    heap[header + H_START] = start
    return int(end - start)


@jit
def reserve(
    heap: Ints, values: Floats, words: Words, layout: Ints, track: int, place: int, now: int, own: Floats
) -> bool:
    """Reserve memory in a log for one more position with these values; False if the heap is too short.

    Parameters
    ----------
    heap, values, words
        The heap, seen as integers, floats and unsigned words.
    track, place
        Where the layout describes the log, and which word of the heap says where it is.
    now
        No window will be asked for before this time, in µs.
    own
        What the new event holds; the layout says at which places.
    """
    old = heap[place]
    if _fits(heap, layout, track, old, own):
        return True
    live = 0 if old == NO_LOG else expire(heap, layout, track, old, now)
    start = heap[old + H_START]
    cap = max(2, live + (live >> 2) + 1)
    grids = np.zeros((layout[track + T_N_COLUMNS], 2), np.int64)
    bits = own.view(np.int64)
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        if layout[described + C_FLAGS] & SUMS:
            column = old + layout[described + C_HEADER]
            grids[c] = _grid(heap, layout, described, column, start, start + live, bits[layout[described + C_OWN]])
    needed = layout[track + T_WORDS] + _lay_out(heap, layout, track, old, 0, cap, grids)
    header = allocate(heap, needed)
    if header == 0:
        return False
    _move(heap, layout, track, old, header, cap, live, grids)
    if old != NO_LOG:
        release(heap, old, heap[old + H_WORDS])
    heap[place] = header
    heap[header + H_WORDS], heap[header + H_CAP] = needed, cap
    heap[header + H_START], heap[header + H_END] = 0, live
    _derive_all(heap, values, words, layout, track, header)
    return True


@jit
def _move(heap: Ints, layout: Ints, track: int, old: int, header: int, cap: int, live: int, grids: Ints) -> None:
    """Copy the live positions of a log, given by its header, to a new block."""
    start, words = heap[old + H_START], layout[track + T_WORDS]
    for i in range(words):
        heap[header + i] = heap[old + i]
    heap[header + H_BLOCK] = header + words
    _lay_out(heap, layout, track, header, header + words, cap, grids)
    for i in range(live):
        heap[heap[header + H_BLOCK] + i] = heap[heap[old + H_BLOCK] + start + i]
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column, before = header + layout[described + C_HEADER], old + layout[described + C_HEADER]
        for i in range(live):
            heap[heap[column + V_VALUES] + i] = heap[heap[before + V_VALUES] + start + i]
        for s in range(layout[described + C_N_SORTED]):
            window = column + layout[described + C_SORTED] + s * SORTED_WORDS
            heap[window + S_LEFT] = max(0, heap[window + S_LEFT] - start)
    for c in range(layout[track + T_N_CODES]):
        place = layout[layout[track + T_CODES] + c * CODE_WORDS + K_HEADER]
        for i in range(live):
            heap[heap[header + place + D_CODES] + i] = heap[heap[old + place + D_CODES] + start + i]


# ---------------------------------------------------------------- taking in


@jit
def append(
    heap: Ints,
    values: Floats,
    words: Words,
    layout: Ints,
    track: int,
    header: int,
    time: int,
    own: Floats,
    codes: Ints,
) -> None:
    """Add one position after `reserve`; a time before the last one is inserted at its place."""
    times, start, end = heap[header + H_BLOCK], heap[header + H_START], heap[header + H_END]
    at = end
    if end > start and heap[times + end - 1] > time:
        at = first_after(heap, times, start, end, time)
    for i in range(end, at, -1):
        heap[times + i] = heap[times + i - 1]
    heap[times + at] = time
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column = header + layout[described + C_HEADER]
        place = heap[column + V_VALUES]
        for i in range(end, at, -1):
            heap[place + i] = heap[place + i - 1]
        values[place + at] = own[layout[described + C_OWN]]
        for s in range(layout[described + C_N_SORTED]):
            window = column + layout[described + C_SORTED] + s * SORTED_WORDS
            if at < heap[window + S_LEFT]:
                heap[window + S_LEFT] += 1
    for c in range(layout[track + T_N_CODES]):
        described = layout[track + T_CODES] + c * CODE_WORDS
        place = heap[header + layout[described + K_HEADER] + D_CODES]
        for i in range(end, at, -1):
            heap[place + i] = heap[place + i - 1]
        heap[place + at] = codes[layout[described + K_OWN] & ~sorted_blocks.CODED]
    if at < end:
        heap[header + H_END] = end + 1
        _derive_all(heap, values, words, layout, track, header)
        return
    _derive(heap, values, words, layout, track, header, end)
    heap[header + H_END] = end + 1
    sort_in(heap, values, layout, track, header, end)


@jit
def drop(heap: Ints, layout: Ints, track: int, body: int) -> None:
    """Free the block of a log."""
    place = body + layout[track + T_PLACE]
    header = heap[place]
    if header != NO_LOG:
        release(heap, header, heap[header + H_WORDS])
        heap[place] = NO_LOG


@jit
def _holds(values: Floats, heap: Ints, layout: Ints, track: int, header: int, i: int, own: Floats) -> bool:
    """Say whether a position has these values."""
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        held = values[heap[header + layout[described + C_HEADER] + V_VALUES] + i]
        wanted = own[layout[described + C_OWN]]
        if held != wanted and not (math.isnan(held) and math.isnan(wanted)):
            return False
    return True


@jit
def remove(
    heap: Ints, values: Floats, words: Words, layout: Ints, track: int, header: int, time: int, own: Floats
) -> None:
    """Take a position with this time and these values out of a log without codes, where it is there."""
    times, end = heap[header + H_BLOCK], heap[header + H_END]
    if times == 0:
        return
    at = first_after(heap, times, heap[header + H_START], end, time - 1)
    while at < end and heap[times + at] == time and not _holds(values, heap, layout, track, header, at, own):
        at += 1
    if at == end or heap[times + at] != time:
        return
    for i in range(at, end - 1):
        heap[times + i] = heap[times + i + 1]
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column = header + layout[described + C_HEADER]
        place = heap[column + V_VALUES]
        for i in range(at, end - 1):
            heap[place + i] = heap[place + i + 1]
        for s in range(layout[described + C_N_SORTED]):
            window = column + layout[described + C_SORTED] + s * SORTED_WORDS
            if at < heap[window + S_LEFT]:
                heap[window + S_LEFT] -= 1
    heap[header + H_END] = end - 1
    _derive_all(heap, values, words, layout, track, header)
