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
def take(cells: Ints, values: Floats, at: int, time: int, value: float, half_life: int) -> None:
    """Take an event into the cell at ``at``; ``values`` are the cells as floats, NaN has no value and no weight.

    An event before the last one is added with the weight that it has by then.
    """
    number, missing = time // (BLOCK * half_life), math.isnan(value)
    if cells[at + SEEN] == 0:
        cells[at + SEEN], cells[at + TIME], cells[at + NUMBER] = 1, time, number
        values[at + OWN_SUM] = values[at + OWN_WEIGHT] = values[at + BOTH_SUM] = values[at + BOTH_WEIGHT] = 0.0
    last, block = cells[at + TIME], cells[at + NUMBER]
    if time < last:
        weight = kept(last - time, half_life)
        for first, oldest in ((OWN_SUM, block), (BOTH_SUM, block - 1)):
            if number >= oldest and not missing:
                values[at + first] += value * weight
                values[at + first + 1] += weight
        return
    if number != block:
        follows = number == block + 1
        values[at + BOTH_SUM] = values[at + OWN_SUM] if follows else 0.0
        values[at + BOTH_WEIGHT] = values[at + OWN_WEIGHT] if follows else 0.0
        values[at + OWN_SUM] = values[at + OWN_WEIGHT] = 0.0
        cells[at + NUMBER] = number
    left = kept(time - last, half_life)
    for first in (OWN_SUM, BOTH_SUM):
        values[at + first] = values[at + first] * left + (0.0 if missing else value)
        values[at + first + 1] = values[at + first + 1] * left + (0.0 if missing else 1.0)
    cells[at + TIME] = time


@jit
def faded(cells: Ints, values: Floats, at: int, now: int, kind: int, half_life: int) -> float:
    """Return the weights, the sum or the mean of a cell as of ``now``, or of its last event where that is later."""
    number = now // (BLOCK * half_life)
    there = cells[at + SEEN] != 0 and number <= cells[at + NUMBER] + 1
    first = at + (BOTH_SUM if number <= cells[at + NUMBER] else OWN_SUM)
    weight = values[first + 1] if there else 0.0
    if kind == D_COUNT:
        return weight * kept(max(now - cells[at + TIME], 0), half_life) if weight > 0.0 else 0.0
    if not weight > 0.0:
        return math.nan
    if kind == D_MEAN:
        return float(values[first] / weight)
    return float(values[first] * kept(max(now - cells[at + TIME], 0), half_life))


@jit
def decays(
    values: Floats, h_times: Ints, h_starts: Ints, q_times: Ints, q_starts: Ints, places: Array, hi: Array,
    half_life: int, slots: Ints, out: Floats, g0: int, g1: int,
) -> None:  # fmt: skip
    """Write the fading sums of one column; ``values`` (m,) by position, (0,) where only events count.

    ``slots`` (len(DECAYS),) are columns of ``out``, or -1.
    """
    cell = np.empty(CELL_WORDS, np.int64)
    numbers = cell.view(np.float64)
    for g in range(g0, g1):
        cell[SEEN], cell[NUMBER], seen = 0, 0, h_starts[g]
        for i in range(q_starts[g], q_starts[g + 1]):
            while seen < hi[i]:
                take(cell, numbers, 0, h_times[seen], values[seen] if values.shape[0] else 1.0, half_life)
                seen += 1
            for kind in range(slots.shape[0]):
                if slots[kind] >= 0:
                    out[places[i], slots[kind]] = faded(cell, numbers, 0, q_times[i], kind, half_life)
