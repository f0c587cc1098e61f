"""Answers as of an earlier time: the program of `answers`, computed from each position of the logs; compiled.

By then logs hold later positions too, so prefix sums, queues and marks cannot be used. Aggregates that are kept without
times (counts, last times, links, the overall fraud rate) have their present value; a negative age is null.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch import fading
from fraudctl.features.batch.jit import jit
from fraudctl.features.online import hops
from fraudctl.features.online.answers import (
    COUNTED,
    DISTINCT,
    FIRST_HABIT,
    FIRST_OF_DECAY,
    FIRST_OF_HOP,
    FIRST_OF_LINK,
    FIRST_OF_SLOT,
    FRAUD_COUNT,
    FRAUD_RATE,
    HOUR_CONCENTRATION,
    LATEST_FRAUD,
    MAD,
    MAX,
    MEAN,
    MIN,
    OF_OUTCOMES,
    P_COLUMN,
    P_CURRENT,
    P_EXTRA,
    P_HEADER,
    P_MORE,
    P_OP,
    P_OUT,
    P_OWN,
    P_SLOT,
    P_WHERE,
    P_WINDOW,
    SCRATCH,
    SMOOTHED,
    STD,
    beaten,
    hour,
    link,
    middle,
    of_slot,
    recently,
    scanned_moments,
    smoothed,
    values_of,
)
from fraudctl.features.online.arena import BODY, COUNT, Floats, Ints
from fraudctl.features.online.log_words import D_CODES, H_BLOCK, H_END, H_START, NO_CODE, V_VALUES
from fraudctl.features.online.logs import first_after


@jit
def _distinct(heap: Ints, codes: int, lo: int, hi: int, own: int) -> int:
    """Count the distinct codes of a range and the event's own code."""
    found = np.empty(hi - lo + 1, np.int64)
    found[: hi - lo] = heap[codes + lo : codes + hi]
    found[hi - lo] = own
    found.sort()
    n = 0
    for i in range(found.shape[0]):
        if found[i] != NO_CODE and (i == 0 or found[i] != found[i - 1]):
            n += 1
    return n


@jit
def _middle(values: Floats, at: int, lo: int, hi: int, own: float, spread: int) -> float:
    """Return the median of a range and the event's own value, or the median distance from it."""
    found = np.empty(hi - lo + 1, np.float64)
    n = 0
    for p in range(at + lo, at + hi):
        if not math.isnan(values[p]):
            found[n] = values[p]
            n += 1
    if not math.isnan(own):
        found[n] = own
        n += 1
    found[:n].sort()
    return middle(found, 0, n, spread)


@jit
def _extreme(values: Floats, at: int, lo: int, hi: int, own: float, sign: float) -> float:
    """Return the largest (sign 1) or smallest (-1) of a range and the event's own value."""
    best = own
    for p in range(at + lo, at + hi):
        best = beaten(best, values[p], sign)
    return best


@jit
def _outcomes(heap: Ints, values: Floats, line: Ints, header: int, lo: int, hi: int, now: int) -> float:
    """Answer a line about outcomes, of events before now."""
    frauds, events = heap[header + line[P_COLUMN] + V_VALUES], heap[header + line[P_MORE] + V_VALUES]
    known, n, first, last = 0, 0, math.nan, math.nan
    for p in range(lo, hi):
        if values[events + p] < now:
            known += 1
            if not math.isnan(values[frauds + p]):
                n += 1
                first = beaten(first, values[frauds + p], -1.0)
                last = beaten(last, values[frauds + p], 1.0)
    op = line[P_OP]
    if op == COUNTED:
        return np.float64(known)
    if op == FRAUD_COUNT:
        return np.float64(n)
    if op == FRAUD_RATE:
        return n / known if known > 0 else math.nan
    if op == SMOOTHED:
        return smoothed(heap, known, n, values_of(line[P_EXTRA]))
    return (now - (last if op == LATEST_FRAUD else first)) / 1e6


@jit
def answer_late(  # noqa: C901
    heap: Ints, program: Ints, slots: Ints, own: Floats, codes: Ints, now: int, out: Floats
) -> None:
    """Answer all lines of a program for one event, as of its time; parameters as in `answers.answer`."""
    values = heap.view(np.float64)
    scratch, pair = np.empty(SCRATCH, np.uint64), np.empty(2, np.float64)
    for r in range(program.shape[0]):
        line = program[r]
        op, slot, at = line[P_OP], slots[line[P_SLOT]], line[P_OUT]
        if op >= FIRST_OF_HOP:
            out[at] = hops.hop(
                heap, op - FIRST_OF_HOP, slot, slots[line[P_OWN]], line[P_HEADER], line[P_COLUMN], line[P_MORE],
                line[P_WINDOW],
            )  # fmt: skip
            continue
        if op >= FIRST_OF_DECAY:
            out[at] = fading.faded(heap, values, slot + line[P_MORE], now, op - FIRST_OF_DECAY, line[P_WINDOW])
            continue
        if op >= FIRST_OF_LINK:
            met = heap[slots[line[P_EXTRA]] + COUNT] > 0
            out[at] = link(heap, op, slot, slots[line[P_OWN]], met, line[P_MORE], line[P_WINDOW], now)
            continue
        if op >= FIRST_OF_SLOT:
            out[at] = of_slot(heap, op, slot, line[P_MORE], now)
            continue
        header = heap[heap[slot + BODY] + line[P_HEADER]]
        column, times = header + line[P_COLUMN], heap[header + H_BLOCK]
        start, end = heap[header + H_START], heap[header + H_END]
        lo = first_after(heap, times, start, end, now - line[P_WINDOW])
        if line[P_CURRENT] == OF_OUTCOMES:
            out[at] = _outcomes(heap, values, line, header, lo, first_after(heap, times, lo, end, now), now)
            continue
        hi = first_after(heap, times, lo, end, now - 1)
        if op >= FIRST_HABIT:
            out[at] = recently(heap, values, line, header, lo, hi, own, codes, now)
            continue
        current = line[P_CURRENT] == 1 and (line[P_WHERE] < 0 or codes[line[P_WHERE]] == 1)
        if op == COUNTED:
            out[at] = hi - lo + (1 if current else 0)
            continue
        if op == DISTINCT:
            out[at] = _distinct(heap, heap[column + D_CODES], lo, hi, codes[line[P_OWN]] if current else NO_CODE)
            continue
        value, place = own[line[P_OWN]] if current else math.nan, heap[column + V_VALUES]
        if op <= STD:
            n = scanned_moments(heap, values, place, lo, hi, value, scratch, pair)
            out[at] = pair[1] if op == STD else (pair[0] / n if op == MEAN else pair[0])
        elif op in (MIN, MAX):
            out[at] = _extreme(values, place, lo, hi, value, 1.0 if op == MAX else -1.0)
        elif op <= MAD:
            out[at] = _middle(values, place, lo, hi, value, op == MAD)
        else:
            n = scanned_moments(heap, values, place, lo, hi, math.nan, scratch, pair)
            cosines = pair[0]
            scanned_moments(heap, values, heap[header + line[P_MORE] + V_VALUES], lo, hi, math.nan, scratch, pair)
            out[at] = hour(n, cosines, pair[0], own[line[P_OWN]], op == HOUR_CONCENTRATION)
