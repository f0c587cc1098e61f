"""Compiled inner loops of bootstraps: precision at K (who is found among the K highest scores of a day), and counts."""

from __future__ import annotations

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray
from fraudctl.features.batch.jit import jit


@jit
def found_per_day(
    board_start: IntArray,
    group_start: IntArray,
    entity: IntArray,
    fraud: AnyArray,
    weight: FloatArray,
    k: float,
    remove: AnyArray,
) -> FloatArray:
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


@jit
def cells_drawn(drawn: IntArray, cell: AnyArray, n_cells: int) -> IntArray:
    """Return how many drawn events lie in each cell, shape ``(n_cells,)``; an event drawn twice counts twice.

    Parameters
    ----------
    drawn
        Numbers of events.
    cell
        Cell of each event, shape ``(n_events,)``.
    """
    out = np.zeros(n_cells, dtype=np.int64)
    for event in drawn:
        out[cell[event]] += 1
    return out


@jit
def groups_drawn(drawn: IntArray, n_clusters: int, codes: AnyArray, starts: IntArray) -> tuple[IntArray, AnyArray]:
    """Return how many events of each group are drawn, shape ``(n_groups,)``, and how often each cluster was drawn.

    Parameters
    ----------
    drawn
        Numbers of clusters; all events of a cluster are drawn with it.
    codes
        Cluster of each event, events of one group in a row, shape ``(n_events,)``.
    starts
        First event of each group, shape ``(n_groups,)``.
    """
    times = np.zeros(n_clusters, dtype=np.int32)
    for cluster in drawn:
        times[cluster] += 1
    out = np.zeros(len(starts), dtype=np.int64)
    for group in range(len(starts)):
        stop = starts[group + 1] if group + 1 < len(starts) else len(codes)
        total = 0
        for i in range(starts[group], stop):
            total += times[codes[i]]
        out[group] = total
    return out, times
