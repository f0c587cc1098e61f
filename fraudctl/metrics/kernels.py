"""Compiled inner loop of precision at K: who is found among the K highest scores of each day, in expectation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.jit import jit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@jit
def found_per_day(
    board_start: Ints, group_start: Ints, entity: Ints, fraud: Array, weight: Floats, k: float, remove: Array
) -> Floats:
    """Return the entities with fraud found on each day: expected, fewest and most, shape ``(n_days, 3)``.

    Of the equal scores that straddle the cut each has the same chance to be among the K. What a day finds is removed
    from later days in expectation; fewest and most are over the orders of the day's own equal scores.

    Parameters
    ----------
    board_start
        First score group of each day, and the end, shape ``(n_days + 1,)``.
    group_start
        First member of each score group, and the end, shape ``(n_groups + 1,)``.
    entity, fraud
        Entity and whether it had a fraud that day, by falling score, shape ``(n_members,)``.
    weight
        How many times each entity counts, shape ``(n_entities,)``; not changed.
    k
        Entities that can be looked at in a day.
    remove
        One flag: whether found entities leave the ranking of later days.
    """
    present = weight.copy()
    n_days = len(board_start) - 1
    out = np.zeros((n_days, 3))
    for day in range(n_days):
        before = 0.0
        for g in range(board_start[day], board_start[day + 1]):
            size = 0.0
            bad = 0.0
            for i in range(group_start[g], group_start[g + 1]):
                size += present[entity[i]]
                if fraud[i]:
                    bad += present[entity[i]]
            if size <= 0.0:
                continue
            fits = min(k - before, size)
            share = fits / size
            out[day, 0] += bad * share
            out[day, 1] += max(fits - (size - bad), 0.0)
            out[day, 2] += min(fits, bad)
            if remove[0] and bad > 0.0:
                for i in range(group_start[g], group_start[g + 1]):
                    if fraud[i]:
                        present[entity[i]] *= 1.0 - share
            before += size
            if before >= k:
                break
    return out
