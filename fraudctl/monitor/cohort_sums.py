"""Sums over the events of cohorts that do not depend on outcomes, a stretch of the events at a time.

Owns the order of adding: each value is added after the one before it, so that sums are those of all events at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.monitor.seen import SeenEvents

_AT_A_TIME = 1 << 18
"""Events that are looked at in one go."""


@dataclass(frozen=True)
class CohortSpan:
    """Some events next to each other: their rows among all, and among those that count."""

    rows: slice
    counted: slice


def stretches(seen: SeenEvents) -> Iterator[CohortSpan]:
    """Yield all events in stretches; memory is let go after each."""
    n_counted = 0
    for first in range(0, len(seen.cohort), _AT_A_TIME):
        rows = slice(first, first + _AT_A_TIME)
        stop = n_counted + int(seen.counted[rows].sum())
        yield CohortSpan(rows, slice(n_counted, stop))
        n_counted = stop
        seen.arrays.let_go()


@dataclass(frozen=True)
class CohortTally:
    """What does not depend on outcomes, by cohort and group.

    ``base`` has the shape ``(n_cohorts, 2 * n_groups, n)``, with strata ``2 * group + flagged``; the others
    ``(n_cohorts, n_groups)``.
    """

    base: FloatArray
    volume: FloatArray
    events: FloatArray
    flagged: FloatArray

    @classmethod
    def of(cls, seen: SeenEvents, group: IntArray | None = None, n_groups: int = 1) -> CohortTally:
        """Count the events; ``group`` has the shape ``(n_events,)``."""
        size, n_base = seen.n_cohorts * n_groups, seen.base.shape[1]
        base, sums = np.zeros((n_base, 2 * size)), np.zeros((3, size))
        for part in stretches(seen):
            place = seen.cohort[part.rows] * n_groups + (0 if group is None else group[part.rows])
            strata = 2 * place[seen.counted[part.rows]] + seen.events.stratum[part.counted]
            for column in range(n_base):
                np.add.at(base[column], strata, seen.base[part.counted, column])
            flagged = (seen.codes[part.rows] != seen.matrix.pass_code).astype(np.float64)
            for total, values in zip(sums, (seen.volume, None, flagged), strict=True):
                own = 1.0 if values is None else values if values is flagged else values[part.rows]
                np.add.at(total, place, own)
        shaped = [item.reshape(seen.n_cohorts, n_groups) for item in sums]
        return cls(np.stack(list(base), axis=1).reshape(seen.n_cohorts, 2 * n_groups, -1), *shaped)


def base_sums(seen: SeenEvents, cohorts: Collection[int], *, columns: slice, apart: bool) -> FloatArray:
    """Return sums of columns of `SeenEvents.base` over the events of some cohorts, shape ``(n_sums, n_columns)``.

    Parameters
    ----------
    apart
        Whether events that were not flagged, and then those that were, are added up apart; else all together.
    """
    wanted = np.isin(np.arange(seen.n_cohorts), list(cohorts))
    n_columns = len(range(*columns.indices(seen.base.shape[1])))
    sums: list[FloatArray | None] = [None, None] if apart else [None]
    for part in stretches(seen):
        rows = wanted[seen.events.cohort[part.counted]]
        if not rows.any():
            continue
        base, flagged = seen.base[part.counted][:, columns], seen.events.stratum[part.counted] == 1
        for at, own in enumerate([rows & ~flagged, rows & flagged] if apart else [rows]):
            sums[at] = _added(sums[at], base[own])
    return np.stack([np.zeros(n_columns) if total is None else total for total in sums])


def _added(total: FloatArray | None, rows: FloatArray) -> FloatArray | None:
    """Return a sum with further rows, each added after the one before it."""
    if not len(rows):
        return total
    every = rows if total is None else np.concatenate([total[None], rows])
    return np.asarray(every.sum(axis=0), dtype=np.float64)
