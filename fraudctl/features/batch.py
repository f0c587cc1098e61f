"""The batch engine: all features of all events, in memory, on compiled loops.

Works stage by stage (see `graph`), and within a stage by entity: rows are sorted by entity once, ranges are found once
per list of windows, and each aggregate runs over the ranges. Results are written back in the order of the rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.features.definition import Feature, FeatureSet
from fraudctl.features.specs import LabelSpec, RawSpec, RecencySpec, RowSpec, WindowSpec
from fraudctl.tables import Events

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int], None]

_FOREVER = 1 << 62
_MAX_THREADS = 8


def build(
    events: Events, features: FeatureSet, *, timezone: str, progress: Progress | None = None, threads: int | None = None
) -> pl.DataFrame:
    """Compute all features of all events.

    Parameters
    ----------
    events
        Sorted by event_time, then event_id, as `tables.load_events` gives them.
    features
        From `definition.define` of the same project.
    timezone
        The project's zone: row-level columns see event_time in it.
    progress
        Called with a word for what is done, features done, and features in all.
    threads
        At most so many; default: the processors, at most 8. The result does not depend on it.

    Returns
    -------
    ``events.frame`` with one column per feature: Int64, Float64 (finite or null), String or Boolean.
    """
    engine = _Engine(events.frame, timezone, min(threads or os.cpu_count() or 1, _MAX_THREADS))
    done = 0
    for stage in features.stages:
        for family in _families([features[name] for name in stage]):
            engine.compute(family)
            done += len(family)
            if progress is not None:
                progress(family[0].name, done, len(features.features))
    out = [series for series in events.frame.get_columns() if series.name not in engine.results]
    return pl.DataFrame([*out, *(engine.results[name] for name in features.names)])


def _families(features: Iterable[Feature]) -> list[list[Feature]]:
    """Put features together that one pass can compute."""
    out: dict[object, list[Feature]] = {}
    for feature in features:
        out.setdefault(_family_key(feature), []).append(feature)
    return list(out.values())


def _family_key(feature: Feature) -> object:
    spec = feature.spec
    if isinstance(spec, WindowSpec):
        where = None if spec.where is None else spec.where.sql
        return ("window", spec.entity, where, spec.column, spec.include_current)
    if isinstance(spec, (LabelSpec, RecencySpec)):
        return (type(spec).__name__, spec.entity)
    return feature.name


@dataclass(frozen=True)
class _Queries:
    """The events in the order of one entity's groups."""

    order: Array
    times: Array
    starts: Array

    @property
    def n_groups(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class _History:
    """What the queries of each group may look back on, in the order in which it became known.

    ``rows`` are the rows of the frame behind each position; ``current`` the position of each query itself or -1.
    """

    rows: Array
    starts: Array
    current: Array


@dataclass(frozen=True)
class _Ranges:
    """For each window and query, the positions ``[lo, hi)`` of the history that it sees."""

    lo: Array
    hi: Array


class _Engine:
    """One run over one frame; keeps what several features share."""

    def __init__(self, frame: pl.DataFrame, timezone: str, threads: int) -> None:
        self.frame = frame
        self.timezone = timezone
        self.threads = threads
        self.results: dict[str, pl.Series] = {}
        self._queries: dict[str, _Queries] = {}
        self._codes: dict[str, tuple[Array, int]] = {}

    @cached_property
    def times(self) -> Array:
        return _micros(self.frame["event_time"])

    def column(self, name: str) -> pl.Series:
        """Give a column of the frame or a feature computed before."""
        return self.results[name] if name in self.results else self.frame[name]

    def compute(self, family: list[Feature]) -> None:
        spec = family[0].spec
        if isinstance(spec, RawSpec):
            self._keep(family[0], self.frame[spec.column])
        elif isinstance(spec, RowSpec):
            self._keep(family[0], self._row_level(spec))
        elif isinstance(spec, WindowSpec):
            self._windows(family, spec)
        elif isinstance(spec, LabelSpec):
            self._labels(family, spec.entity)
        else:
            self._recencies(family, spec.entity)

    def _keep(self, feature: Feature, values: pl.Series) -> None:
        dtypes: dict[str, pl.DataType] = {
            "int": pl.Int64(), "float": pl.Float64(), "bool": pl.Boolean(), "category": pl.String(),
        }  # fmt: skip
        values = values.cast(dtypes[feature.dtype])
        if feature.dtype == "float":
            values = values.set(~values.is_finite().fill_null(value=True), None)
        self.results[feature.name] = values.alias(feature.name)

    def _row_level(self, spec: RowSpec) -> pl.Series:
        frame = pl.DataFrame([self.column(name) for name in spec.expr.columns])
        if not spec.expr.columns:
            frame = self.frame.select("event_time")
        return spec.expr.apply(frame, timezone=self.timezone)

    # ------------------------------------------------------------ shared pieces

    def codes(self, name: str) -> tuple[Array, int]:
        """Number the values of a column from 0; null is -1."""
        if name not in self._codes:
            self._codes[name] = _codes(self.column(name))
        return self._codes[name]

    def queries(self, entity: str) -> _Queries:
        if entity not in self._queries:
            from fraudctl.features import kernels

            order, starts = kernels.group_order(*self.codes(entity))
            self._queries[entity] = _Queries(order, self.times[order], starts)
        return self._queries[entity]

    def in_parallel(self, n_groups: int, starts: Array, work: Callable[[int, int], None]) -> None:
        """Run ``work(first group, last group)`` on shares of about as many rows; rows of one group stay together."""
        edges = np.searchsorted(starts, np.linspace(0, starts[-1], self.threads + 1)[1:-1])
        cuts = np.unique(np.clip(np.concatenate([[0], edges, [n_groups]]), 0, n_groups)).tolist()
        shares = list(zip(cuts, cuts[1:], strict=False))
        if len(shares) == 1:
            work(*shares[0])
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for future in [pool.submit(work, *share) for share in shares]:
                future.result()

    def event_history(self, queries: _Queries, spec: WindowSpec) -> _History:
        """Give the earlier events themselves as history, or those of them that ``where`` lets through."""
        n = len(queries.order)
        positions = np.arange(n, dtype=np.int64)
        if spec.where is None:
            current = positions if spec.include_current else np.full(n, -1, np.int64)
            return _History(queries.order, queries.starts, current)
        mask = self._row_level(RowSpec(spec.where)).fill_null(value=False).to_numpy()[queries.order]
        before = np.concatenate([[0], np.cumsum(mask)]).astype(np.int64)
        current = np.where(mask, before[:-1], -1) if spec.include_current else np.full(n, -1, np.int64)
        return _History(queries.order[mask], before[queries.starts], current)

    def event_ranges(self, queries: _Queries, history: _History, windows: list[int]) -> _Ranges:
        from fraudctl.features import kernels

        n = len(queries.order)
        lo, hi = np.empty((len(windows), n), np.int32), np.empty(n, np.int32)
        times, lengths = self.times[history.rows], np.array(windows, np.int64)
        self.in_parallel(
            queries.n_groups, queries.starts,
            lambda g0, g1: kernels.event_bounds(
                queries.times, queries.starts, times, history.starts, lengths, lo, hi, g0, g1
            ),
        )  # fmt: skip
        return _Ranges(lo, hi)

    def scattered(self, values: Array, order: Array) -> pl.Series:
        """Bring values back into the order of the rows; NaN becomes null."""
        from fraudctl.features import kernels

        out = np.empty(len(order), values.dtype)
        kernels.scatter(values, order, out)
        series = pl.Series(values=out)
        return series.fill_nan(None) if series.dtype.is_float() else series

    def keep_grouped(self, feature: Feature, values: Array, queries: _Queries) -> None:
        self.results[feature.name] = self.scattered(values, queries.order).alias(feature.name)

    # ------------------------------------------------------------ families

    def _windows(self, family: list[Feature], spec: WindowSpec) -> None:
        queries = self.queries(spec.entity)
        history = self.event_history(queries, spec)
        specs = [feature.spec for feature in family if isinstance(feature.spec, WindowSpec)]
        windows = sorted({item.window_us for item in specs})
        ranges = self.event_ranges(queries, history, windows)
        tables = self.aggregates(queries, history, ranges, spec.column, {item.kind for item in specs})
        for feature, item in zip(family, specs, strict=True):
            self.keep_grouped(feature, tables[item.kind][windows.index(item.window_us)], queries)

    def aggregates(
        self, queries: _Queries, history: _History, ranges: _Ranges, column: str | None, kinds: set[str]
    ) -> dict[str, Array]:
        """Compute aggregates of one column over ranges: kind -> shape (n_windows, n_events) in group order."""
        out: dict[str, Array] = {}
        if "count" in kinds:
            out["count"] = self._counts(queries, history, ranges)
        if column is None:
            return out
        if "nunique" in kinds:
            out["nunique"] = self._distinct(queries, history, ranges, column)
        if kinds - {"count", "nunique"}:
            values = _floats(self.column(column))[history.rows]
            out |= self.numeric(queries, history, ranges, values, kinds)
        return out

    def numeric(
        self, queries: _Queries, history: _History, ranges: _Ranges, values: Array, kinds: set[str]
    ) -> dict[str, Array]:
        """Compute numeric aggregates of values in history order."""
        from fraudctl.features import kernels

        out: dict[str, Array] = {}
        for kind, sign in (("max", 1.0), ("min", -1.0)):
            if kind in kinds:
                out[kind] = best = np.empty(ranges.lo.shape, np.float64)
                self.in_parallel(
                    queries.n_groups, queries.starts,
                    lambda g0, g1, sign=sign, best=best: kernels.extreme(
                        values, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, sign, best, g0, g1
                    ),
                )  # fmt: skip
        if kinds & {"sum", "mean", "std"}:
            out |= self._moments(queries, history, ranges, values, kinds)
        return out

    def _moments(
        self, queries: _Queries, history: _History, ranges: _Ranges, values: Array, kinds: set[str]
    ) -> dict[str, Array]:
        from fraudctl.features import kernels

        longest = int(np.diff(history.starts).max(initial=0))
        grid = kernels.grid_of(values, longest=longest, squares="std" in kinds)
        shape = ranges.lo.shape
        n, total = np.empty(shape, np.int64), np.empty(shape, np.float64)
        std = np.empty(shape if "std" in kinds else (shape[0], 0), np.float64)
        self.in_parallel(
            queries.n_groups, queries.starts,
            lambda g0, g1: kernels.moments(
                values, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, grid, n, total, std, g0, g1
            ),
        )  # fmt: skip
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / n if "mean" in kinds else total
        return {"sum": total, "mean": mean, "std": std}

    def _counts(self, queries: _Queries, history: _History, ranges: _Ranges) -> Array:
        from fraudctl.features import kernels

        out = np.empty(ranges.lo.shape, np.int64)
        kernels.count(queries.starts, ranges.lo, ranges.hi, history.current, out, 0, queries.n_groups)
        return out

    def _distinct(self, queries: _Queries, history: _History, ranges: _Ranges, column: str) -> Array:
        from fraudctl.features import kernels

        all_codes, n_codes = self.codes(column)
        codes = all_codes[history.rows]
        previous, following = np.empty_like(codes), np.empty_like(codes)
        kernels.neighbours(codes, n_codes, history.starts, previous, following)
        out = np.empty(ranges.lo.shape, np.int64)
        self.in_parallel(
            queries.n_groups, queries.starts,
            lambda g0, g1: kernels.distinct(
                codes, previous, following, history.starts, queries.starts, ranges.lo, ranges.hi, history.current, out,
                g0, g1,
            ),
        )  # fmt: skip
        return out

    def label_history(self, queries: _Queries, entity: str) -> tuple[_History, Array, Array, Array]:
        """Give labels as history, by their arrival: rows, and their label times, event times and outcomes."""
        from fraudctl.features import kernels

        label_time = self.frame["label_time"]
        rows = np.flatnonzero(label_time.is_not_null().to_numpy())
        arrived = _micros(label_time.drop_nulls())
        by_arrival = np.argsort(arrived, kind="stable")
        rows, arrived = rows[by_arrival], arrived[by_arrival]
        codes, n_codes = self.codes(entity)
        kept = codes[rows] >= 0
        rows, arrived = rows[kept], arrived[kept]
        order, starts = kernels.group_order(codes[rows], n_codes)
        padding = np.full(queries.n_groups - n_codes, starts[-1], np.int64)
        rows = rows[order]
        history = _History(rows, np.concatenate([starts, padding]), np.full(len(queries.order), -1, np.int64))
        outcome = self.frame["label"].fill_null(0).to_numpy()[rows]
        return history, arrived[order], self.times[rows], outcome

    def _labels(self, family: list[Feature], entity: str) -> None:
        from fraudctl.features import kernels

        queries = self.queries(entity)
        specs = [feature.spec for feature in family if isinstance(feature.spec, LabelSpec)]
        windows = sorted({item.window_us for item in specs})
        history, arrived, times, outcome = self.label_history(queries, entity)
        ranges = self.label_ranges(queries, history, arrived, times, windows)
        known = self._counts(queries, history, ranges)
        frauds = np.empty(known.shape, np.int64)
        kernels.count_true(outcome, history.starts, queries.starts, ranges.lo, ranges.hi, frauds, 0, queries.n_groups)
        with np.errstate(invalid="ignore", divide="ignore"):
            tables = {"known_count": known, "fraud_count": frauds, "fraud_rate": frauds / known}
        for feature, item in zip(family, specs, strict=True):
            self.keep_grouped(feature, tables[item.kind][windows.index(item.window_us)], queries)

    def label_ranges(
        self, queries: _Queries, history: _History, arrived: Array, times: Array, windows: list[int]
    ) -> _Ranges:
        from fraudctl.features import kernels

        n = len(queries.order)
        lo, hi = np.empty((len(windows), n), np.int32), np.empty(n, np.int32)
        lengths = np.array(windows, np.int64)
        self.in_parallel(
            queries.n_groups, queries.starts,
            lambda g0, g1: kernels.label_bounds(
                queries.times, queries.starts, arrived, times, history.starts, lengths, lo, hi, g0, g1
            ),
        )  # fmt: skip
        return _Ranges(lo, hi)

    def _recencies(self, family: list[Feature], entity: str) -> None:
        from fraudctl.features import kernels

        queries = self.queries(entity)
        for feature in family:
            assert isinstance(feature.spec, RecencySpec)
            if feature.spec.kind == "seconds_since_last_known_fraud":
                self.keep_grouped(feature, self._since_known_fraud(queries, entity), queries)
                continue
            history = _History(queries.order, queries.starts, np.full(len(queries.order), -1, np.int64))
            ranges = self.event_ranges(queries, history, [_FOREVER])
            out = np.empty(len(queries.order), np.float64)
            last = 1 if feature.spec.kind == "seconds_since_last" else 0
            kernels.since(
                queries.times, queries.times, queries.starts, queries.starts, ranges.hi, last, out, 0, queries.n_groups
            )
            self.keep_grouped(feature, out, queries)

    def _since_known_fraud(self, queries: _Queries, entity: str) -> Array:
        history, arrived, times, outcome = self.label_history(queries, entity)
        ranges = self.label_ranges(queries, history, arrived, times, [_FOREVER])
        fraud_times = np.where(outcome == 1, times.astype(np.float64), np.nan)
        latest = self.numeric(queries, history, ranges, fraud_times, {"max"})["max"][0]
        return (queries.times - latest) / 1e6


def _micros(times: pl.Series) -> Array:
    return times.dt.epoch("us").to_numpy()


def _floats(values: pl.Series) -> Array:
    """Give values as floats, null as NaN."""
    return np.ascontiguousarray(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _codes(values: pl.Series) -> tuple[Array, int]:
    """Number the values from 0; null is -1."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.null_count() == len(values):
        return np.full(len(values), -1, np.int64), 0
    low, high = (values.min(), values.max()) if values.dtype == pl.Int64 else (None, None)
    if isinstance(low, int) and isinstance(high, int) and high - low < 2 * len(values) + 1000:
        return np.ascontiguousarray((values - low).fill_null(-1).to_numpy()), high - low + 1
    ranks = (values.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
    return np.ascontiguousarray(ranks), int(ranks.max()) + 1
