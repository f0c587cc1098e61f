"""Sums that fade: each event counts half as much for every half-life that it is older; compiled.

A cell holds what a sum needs to go on: where the last event was, and the sums of values and of weights since the start
of its block and of the block before (see `decay.BLOCK`). The batch engine and the online state take the same steps on
the same cells, so that they give the same bits.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch.jit import jit
from fraudctl.features.batch.kernels import Array, Floats, Ints
from fraudctl.features.meaning.families.decay import BLOCK

DECAYS = ("count", "sum", "mean")
D_COUNT, D_SUM, D_MEAN = range(3)
# a cell: whether there was an event, its µs and block; sums of values and weights of its block, and with the one before
SEEN, TIME, NUMBER, OWN_SUM, OWN_WEIGHT, BOTH_SUM, BOTH_WEIGHT = range(7)
CELL_WORDS = 7


@jit
def kept(age: int, half_life: int) -> float:
    """Return the share of a weight that is left after ``age`` µs."""
    return float(2.0 ** (-(age / half_life)))


@jit
def _begin(cells: Ints, values: Floats, at: int, time: int, number: int) -> None:
    """Write the cell of a history that begins at ``time``."""
    cells[at + SEEN], cells[at + TIME], cells[at + NUMBER] = 1, time, number
    values[at + OWN_SUM] = values[at + OWN_WEIGHT] = values[at + BOTH_SUM] = values[at + BOTH_WEIGHT] = 0.0


@jit
def _add(cells: Ints, values: Floats, at: int, time: int, number: int, left: float, value: float) -> None:
    """Take in an event that is not before the last one; ``left`` is what is kept of the sums since then."""
    if number != cells[at + NUMBER]:
        follows = number == cells[at + NUMBER] + 1
        values[at + BOTH_SUM] = values[at + OWN_SUM] if follows else 0.0
        values[at + BOTH_WEIGHT] = values[at + OWN_WEIGHT] if follows else 0.0
        values[at + OWN_SUM] = values[at + OWN_WEIGHT] = 0.0
        cells[at + NUMBER] = number
    missing = math.isnan(value)
    for first in (OWN_SUM, BOTH_SUM):
        values[at + first] = values[at + first] * left + (0.0 if missing else value)
        values[at + first + 1] = values[at + first + 1] * left + (0.0 if missing else 1.0)
    cells[at + TIME] = time


@jit
def _answer(cells: Ints, values: Floats, at: int, number: int, left: float, kind: int) -> float:
    """Return the weights, the sum or the mean of a cell in a block; ``left`` is what is kept since its last event."""
    if cells[at + SEEN] == 0 or number > cells[at + NUMBER] + 1:
        return 0.0 if kind == D_COUNT else math.nan
    first = at + (BOTH_SUM if number <= cells[at + NUMBER] else OWN_SUM)
    weight = values[first + 1]
    if kind == D_COUNT:
        return float(weight * left)
    if not weight > 0.0:
        return math.nan
    return float(values[first] / weight if kind == D_MEAN else values[first] * left)


@jit
def take(cells: Ints, values: Floats, at: int, time: int, value: float, half_life: int) -> None:
    """Take an event into the cell at ``at``; ``values`` are the cells as floats, NaN has no value and no weight.

    An event before the last one is added with the weight that it has by then.
    """
    number = time // (BLOCK * half_life)
    if cells[at + SEEN] == 0:
        _begin(cells, values, at, time, number)
    last, block = cells[at + TIME], cells[at + NUMBER]
    if time >= last:
        _add(cells, values, at, time, number, kept(time - last, half_life), value)
        return
    weight = kept(last - time, half_life)
    for first, oldest in ((OWN_SUM, block), (BOTH_SUM, block - 1)):
        if number >= oldest and not math.isnan(value):
            values[at + first] += value * weight
            values[at + first + 1] += weight


@jit
def faded(cells: Ints, values: Floats, at: int, now: int, kind: int, half_life: int) -> float:
    """Return the weights, the sum or the mean of a cell as of ``now``, or of its last event where that is later."""
    left = kept(max(now - cells[at + TIME], 0), half_life)
    return _answer(cells, values, at, now // (BLOCK * half_life), left, kind)


@jit
def decays(  # noqa: C901
    values: Floats, h_times: Ints, h_starts: Ints, q_times: Ints, q_starts: Ints, places: Array, hi: Array,
    half_life: int, slots: Ints, out: Floats, g0: int, g1: int,
) -> None:  # fmt: skip
    """Write the fading sums of some columns for one half-life.

    ``values`` (n_columns, m) are by position, ``slots`` (n_columns, len(DECAYS)) columns of ``out``, or -1. An event is
    asked for just before it is taken in, mostly: what is kept by then is computed once.
    """
    n, block = values.shape[0], BLOCK * half_life
    cells = np.empty(n * CELL_WORDS, np.int64)
    numbers = cells.view(np.float64)
    for g in range(g0, g1):
        seen, last, asked, age, left, number = h_starts[g], 0, 0, -1, 1.0, 0
        for c in range(n):
            cells[c * CELL_WORDS + SEEN], cells[c * CELL_WORDS + NUMBER] = 0, 0
        for i in range(q_starts[g], q_starts[g + 1]):
            while seen < hi[i]:
                time = h_times[seen]
                if time != asked or age < 0:
                    asked, number = time, int(time // block)
                if seen == h_starts[g]:
                    last = time
                    for c in range(n):
                        _begin(cells, numbers, c * CELL_WORDS, time, number)
                if time - last != age:
                    age = time - last
                    left = kept(age, half_life)
                for c in range(n):
                    _add(cells, numbers, c * CELL_WORDS, time, number, left, values[c, seen])
                last = time
                seen += 1
            if seen == h_starts[g]:
                last = q_times[i]
            if q_times[i] != asked or age < 0:
                asked, number = q_times[i], int(q_times[i] // block)
            if q_times[i] - last != age:
                age = q_times[i] - last
                left = kept(age, half_life)
            for c in range(n):
                for kind in range(len(DECAYS)):
                    if slots[c, kind] >= 0:
                        out[places[i], slots[c, kind]] = _answer(cells, numbers, c * CELL_WORDS, number, left, kind)
