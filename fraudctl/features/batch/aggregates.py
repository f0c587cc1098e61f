"""Aggregates of values over ranges of a history; each gives shape (n_windows, n_events), in the order of the queries.

NaN is null, in and out.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.features.batch.groups import Array, History, Labels, Queries, Ranges, Workers, codes_of, gathered

if TYPE_CHECKING:
    from fraudctl.features.batch.blocks import Block

SWEPT = ("count", "sum", "mean", "std", "min", "max")
"""Aggregates that `sweep` writes, in the order of its ``slots``."""
_PLAIN = 900
"""Exponents of grids, up or down, whose units and their inverses are floats."""
SWEPT_LABELS = ("known_count", "fraud_count", "fraud_rate")
"""Aggregates that `label_sweep` writes, in the order of its ``slots``."""


@dataclass(frozen=True)
class Seen:
    """Events that ask, the history behind them, and which of it each may see in each window, shortest first."""

    queries: Queries
    history: History
    ranges: Ranges


def sweep(seen: Seen, values: Array | None, slots: Array, block: Block, *, workers: Workers) -> None:
    """Write aggregates of a column (``values`` by row of the history's table, NaN null) into a block.

    Without values only counts can be asked for.
    """
    from fraudctl.features.batch import exact
    from fraudctl.features.batch import sweep as kernels
    from fraudctl.features.batch.wide import SQUARE_WORDS, SUM_WORDS

    queries, history, ranges = seen.queries, seen.history, seen.ranges
    if (slots < 0).all():
        return
    here = np.empty(0) if values is None else gathered(values, history.rows, workers)
    squares = bool((slots[SWEPT.index("std")] >= 0).any())
    longest = int(np.diff(history.starts).max(initial=0))
    grid = exact.grid_of(here, longest=longest, squares=squares)
    if grid[1] > SUM_WORDS or grid[2] > SQUARE_WORDS:
        _swept_slowly(seen, here, slots, block, workers)
        return

    few = grid[1] == 1 and abs(grid[0]) < _PLAIN and bool((slots[SWEPT.index("std") :] < 0).all())
    loop = kernels.narrow if values is not None and few else kernels.sweep

    def work(g0: int, g1: int) -> None:
        loop(
            here, history.starts, queries.starts, block.strips.places, ranges.lo, ranges.hi, history.current,
            grid[0], slots, block.values, g0, g1,
        )  # fmt: skip

    workers.run(queries.starts, work)


def _swept_slowly(seen: Seen, values: Array, slots: Array, block: Block, workers: Workers) -> None:
    """Compute what `sweep` does, kind by kind, for values whose magnitudes lie too far apart for the fast loop."""
    asked = {kind for kind, row in zip(SWEPT, slots, strict=True) if (row >= 0).any()}
    tables = numeric(seen.queries, seen.history, seen.ranges, values, asked, workers=workers)
    if "count" in asked:
        tables["count"] = counts(seen.queries, seen.history, seen.ranges)
    for kind in asked:
        for w, slot in enumerate(slots[SWEPT.index(kind)].tolist()):
            if slot >= 0:
                block.put(block.features[slot], tables[kind][w], workers)


def label_sweep(seen: Seen, outcome: Array, slots: Array, block: Block, *, workers: Workers) -> None:
    """Write counts of outcomes, of frauds, and their rate into a block."""
    from fraudctl.features.batch import sweep as kernels

    queries, history, ranges = seen.queries, seen.history, seen.ranges

    def work(g0: int, g1: int) -> None:
        kernels.label_sweep(
            outcome, history.starts, queries.starts, block.strips.places, ranges.lo, ranges.hi, slots, block.values,
            g0, g1,
        )  # fmt: skip

    workers.run(queries.starts, work)


def ordered(seen: Seen, values: pl.Series, kinds: Collection[str], *, workers: Workers) -> dict[str, Array]:
    """Compute those aggregates of a column that need more than a sweep: nunique, median and mad."""
    tables: dict[str, Array] = {}
    if "nunique" in kinds:
        tables["nunique"] = distinct(seen.queries, seen.history, seen.ranges, codes_of(values), workers=workers)
    if set(kinds) - {"nunique"}:
        floats = values.cast(pl.Float64).fill_null(math.nan).to_numpy()[seen.history.rows]
        tables |= numeric(seen.queries, seen.history, seen.ranges, floats, kinds, workers=workers)
    return tables


def counts(queries: Queries, history: History, ranges: Ranges) -> Array:
    """Count the positions in each range."""
    from fraudctl.features.batch import kernels

    out = np.empty(ranges.lo.shape, np.int64)
    kernels.count(queries.starts, ranges.lo, ranges.hi, history.current, out, 0, queries.n_groups)
    return out


def fraud_counts(queries: Queries, history: History, ranges: Ranges, outcome: Array) -> Array:
    """Count the positions in each range whose outcome is 1."""
    from fraudctl.features.batch import kernels

    out = np.empty(ranges.lo.shape, np.int64)
    kernels.count_true(outcome, history.starts, queries.starts, ranges.lo, ranges.hi, out, 0, queries.n_groups)
    return out


def outcome_counts(queries: Queries, labels: Labels, ranges: Ranges, *, workers: Workers) -> tuple[Array, Array]:
    """Count the events in each range whose outcome was known, and the frauds among them."""
    from fraudctl.features.batch import revised

    history, replaced = labels.history, labels.replaced
    if replaced is None:
        return counts(queries, history, ranges), fraud_counts(queries, history, ranges, labels.outcome)
    known, frauds = np.empty(ranges.lo.shape, np.int64), np.empty(ranges.lo.shape, np.int64)

    def work(g0: int, g1: int) -> None:
        revised.counts(
            labels.outcome, replaced, history.starts, queries.starts, ranges.lo, ranges.hi, known, frauds, g0, g1
        )

    workers.run(queries.starts, work)
    return known, frauds


def fraud_times(queries: Queries, labels: Labels, ranges: Ranges, *, latest: int, workers: Workers) -> Array:
    """Find the µs of the latest (or the earliest) event in each range that was known as fraud; NaN without one."""
    from fraudctl.features.batch import revised

    history, replaced = labels.history, labels.replaced
    if replaced is None:
        times = np.where(labels.outcome == 1, history.times.astype(np.float64), np.nan)
        return extremes(queries, history, ranges, times, 1.0 if latest else -1.0, workers=workers)
    out = np.empty(ranges.lo.shape, np.float64)

    def work(g0: int, g1: int) -> None:
        revised.fraud_times(
            labels.outcome, replaced, history.times, history.starts, queries.starts, ranges.lo, ranges.hi, latest, out,
            g0, g1,
        )  # fmt: skip

    workers.run(queries.starts, work)
    return out


def distinct(
    queries: Queries, history: History, ranges: Ranges, codes: tuple[Array, int], *, workers: Workers
) -> Array:
    """Count the distinct codes (of rows) in each range; -1 is null and does not count."""
    from fraudctl.features.batch import kernels

    here = codes[0][history.rows]
    previous, following = np.empty_like(here), np.empty_like(here)
    kernels.neighbours(here, codes[1], history.starts, previous, following)
    out = np.empty(ranges.lo.shape, np.int64)

    def work(g0: int, g1: int) -> None:
        kernels.distinct(
            here, previous, following, history.starts, queries.starts, ranges.lo, ranges.hi, history.current,
            out, g0, g1,
        )  # fmt: skip

    workers.run(queries.starts, work)
    return out


def numeric(
    queries: Queries, history: History, ranges: Ranges, values: Array, kinds: Collection[str], *, workers: Workers
) -> dict[str, Array]:
    """Compute those of sum, mean, std, min, max, median and mad that are in ``kinds``; others are passed over.

    ``values`` are those of the history's positions; the key "n" counts those that are not null, where there are sums.
    """
    out: dict[str, Array] = {}
    for kind, sign in (("max", 1.0), ("min", -1.0)):
        if kind in kinds:
            out[kind] = extremes(queries, history, ranges, values, sign, workers=workers)
    if not {"sum", "mean", "std"}.isdisjoint(kinds):
        out |= _moments(queries, history, ranges, values, kinds, workers)
    if not {"median", "mad"}.isdisjoint(kinds):
        out |= _medians(queries, history, ranges, values, workers)
    return out


def extremes(
    queries: Queries, history: History, ranges: Ranges, values: Array, sign: float, *, workers: Workers
) -> Array:
    """Find the largest (sign 1) or smallest (-1) value in each range."""
    from fraudctl.features.batch import kernels

    out = np.empty(ranges.lo.shape, np.float64)

    def work(g0: int, g1: int) -> None:
        kernels.extreme(
            values, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, sign, out, g0, g1
        )

    workers.run(queries.starts, work)
    return out


def _moments(
    queries: Queries, history: History, ranges: Ranges, values: Array, kinds: Collection[str], workers: Workers
) -> dict[str, Array]:
    from fraudctl.features.batch import exact

    longest = int(np.diff(history.starts).max(initial=0))
    grid = exact.grid_of(values, longest=longest, squares="std" in kinds)
    shape = ranges.lo.shape
    n, total = np.empty(shape, np.int64), np.empty(shape, np.float64)
    std = np.empty(shape if "std" in kinds else (shape[0], 0), np.float64)

    def work(g0: int, g1: int) -> None:
        exact.moments(
            values, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, grid, n, total, std, g0, g1
        )

    workers.run(queries.starts, work)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n if "mean" in kinds else total
    return {"n": n, "sum": total, "mean": mean, "std": std}


def _medians(queries: Queries, history: History, ranges: Ranges, values: Array, workers: Workers) -> dict[str, Array]:
    from fraudctl.features.batch import kernels

    median, mad = np.empty(ranges.lo.shape, np.float64), np.empty(ranges.lo.shape, np.float64)

    def work(g0: int, g1: int) -> None:
        kernels.medians(
            values, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, median, mad, g0, g1
        )

    workers.run(queries.starts, work)
    return {"median": median, "mad": mad}
