"""The sorted values of windows that have a median or a quantile, kept in a log while time passes; compiled."""

from __future__ import annotations

import math

from fraudctl.features.batch.jit import jit
from fraudctl.features.online.arena import Floats, Ints
from fraudctl.features.online.log_words import (
    C_HEADER,
    C_N_SORTED,
    C_SORTED,
    C_WINDOWS,
    COLUMN_WORDS,
    H_BLOCK,
    H_END,
    S_AT,
    S_LEFT,
    S_N,
    SORTED_WORDS,
    T_COLUMNS,
    T_N_COLUMNS,
    V_VALUES,
)


@jit
def rank_of(values: Floats, at: int, n: int, value: float) -> int:
    """Find the first of the sorted values that is not below ``value``."""
    lo, hi = 0, n
    while lo < hi:
        middle = (lo + hi) >> 1
        if values[at + middle] < value:
            lo = middle + 1
        else:
            hi = middle
    return lo


@jit
def slide_sorted(heap: Ints, values: Floats, header: int, column: int, window: int, edge: int) -> None:
    """Remove values with a time at or before ``edge`` from a sorted window (given by its words in the header)."""
    times, end = heap[header + H_BLOCK], heap[header + H_END]
    at, n, left = heap[window + S_AT], heap[window + S_N], heap[window + S_LEFT]
    while left < end and heap[times + left] <= edge:
        value = values[heap[column + V_VALUES] + left]
        if not math.isnan(value):
            n -= 1
            for j in range(rank_of(values, at, n + 1, value), n):
                values[at + j] = values[at + j + 1]
        left += 1
    heap[window + S_N] = n
    heap[window + S_LEFT] = left


@jit
def sorted_insert(values: Floats, at: int, n: int, value: float) -> None:
    """Insert a value into n sorted ones."""
    rank = rank_of(values, at, n, value)
    for j in range(n, rank, -1):
        values[at + j] = values[at + j - 1]
    values[at + rank] = value


@jit
def sort_in(heap: Ints, values: Floats, layout: Ints, track: int, header: int, i: int) -> None:
    """Insert the value at position i into all sorted windows."""
    now = heap[heap[header + H_BLOCK] + i]
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column = header + layout[described + C_HEADER]
        value = values[heap[column + V_VALUES] + i]
        for s in range(layout[described + C_N_SORTED]):
            window = column + layout[described + C_SORTED] + s * SORTED_WORDS
            slide_sorted(heap, values, header, column, window, now - layout[layout[described + C_WINDOWS] + s])
            if not math.isnan(value):
                sorted_insert(values, heap[window + S_AT], heap[window + S_N], value)
                heap[window + S_N] += 1


@jit
def sort_anew(heap: Ints, values: Floats, layout: Ints, track: int, header: int) -> None:
    """Rebuild all sorted windows from their left ends."""
    for c in range(layout[track + T_N_COLUMNS]):
        described = layout[track + T_COLUMNS] + c * COLUMN_WORDS
        column = header + layout[described + C_HEADER]
        for s in range(layout[described + C_N_SORTED]):
            window = column + layout[described + C_SORTED] + s * SORTED_WORDS
            at, n = heap[window + S_AT], 0
            for p in range(heap[window + S_LEFT], heap[header + H_END]):
                value = values[heap[column + V_VALUES] + p]
                if not math.isnan(value):
                    values[at + n] = value
                    n += 1
            values[at : at + n].sort()
            heap[window + S_N] = n
