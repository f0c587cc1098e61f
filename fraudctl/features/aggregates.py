"""Aggregates of values over ranges of a history; each gives shape (n_windows, n_events), in the order of the queries.

NaN is null, in and out.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fraudctl.features.groups import Array, History, Queries, Ranges, Workers


def counts(queries: Queries, history: History, ranges: Ranges) -> Array:
    """Count the positions in each range."""
    from fraudctl.features import kernels

    out = np.empty(ranges.lo.shape, np.int64)
    kernels.count(queries.starts, ranges.lo, ranges.hi, history.current, out, 0, queries.n_groups)
    return out


def fraud_counts(queries: Queries, history: History, ranges: Ranges, outcome: Array) -> Array:
    """Count the positions in each range whose outcome is 1."""
    from fraudctl.features import kernels

    out = np.empty(ranges.lo.shape, np.int64)
    kernels.count_true(outcome, history.starts, queries.starts, ranges.lo, ranges.hi, out, 0, queries.n_groups)
    return out


def distinct(
    queries: Queries, history: History, ranges: Ranges, codes: tuple[Array, int], *, workers: Workers
) -> Array:
    """Count the distinct codes (of rows) in each range; -1 is null and does not count."""
    from fraudctl.features import kernels

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
    from fraudctl.features import kernels

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
    from fraudctl.features import exact

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
    from fraudctl.features import kernels

    median, mad = np.empty(ranges.lo.shape, np.float64), np.empty(ranges.lo.shape, np.float64)

    def work(g0: int, g1: int) -> None:
        kernels.medians(
            values, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, median, mad, g0, g1
        )

    workers.run(queries.starts, work)
    return {"median": median, "mad": mad}
