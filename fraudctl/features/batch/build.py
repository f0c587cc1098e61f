"""The batch engine: all features of all events, in memory, on compiled loops.

Rows are sorted by entity once, ranges are found once per list of windows, and each aggregate runs over the ranges.
Results are written back in the order of the rows. `schedule` says what is computed when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import polars as pl

from fraudctl.features.batch import aggregates
from fraudctl.features.batch.aggregates import Seen
from fraudctl.features.batch.blocks import Block
from fraudctl.features.batch.groups import (
    FOREVER,
    POSITION,
    Array,
    Labels,
    Outcomes,
    Queries,
    Ranges,
    Workers,
    codes_of,
    event_history,
    event_ranges,
    joint_codes,
    label_history,
    label_ranges,
    queries_of,
)
from fraudctl.features.batch.links import linked
from fraudctl.features.batch.loading import COMPILING, compiled_before, default_workers
from fraudctl.features.batch.schedule import Progress, run
from fraudctl.features.batch.sources import latest_rows, masked, source_history
from fraudctl.features.meaning.definition import POLARS_TYPES, Feature, FeatureSet
from fraudctl.features.meaning.specs import (
    HourSpec,
    LabelSpec,
    LinkSpec,
    LookupSpec,
    PairSpec,
    RatioSpec,
    RawSpec,
    RecencySpec,
    RowSpec,
    SourceWindowSpec,
    Spec,
    WindowSpec,
    grouped_by,
)
from fraudctl.features.rows.read import RowExpr
from fraudctl.tables import Events

PRIOR = ".known_fraud_rate"
"""The column that holds `Engine.known_fraud_rate` where it was computed before."""
_EVERYONE = ""
"""The group that all events belong to."""
_S = TypeVar("_S")


@dataclass(frozen=True)
class Dropped:
    """Outcomes of earlier events that are in no frame any more: how many were known, how many of them fraud."""

    known: int = 0
    frauds: int = 0


def build(
    events: Events,
    features: FeatureSet,
    *,
    timezone: str,
    sources: Mapping[str, pl.DataFrame] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> pl.DataFrame:
    """Compute all features of all events.

    Parameters
    ----------
    events
        Sorted by event_time, then event_id, as `tables.load_events` gives them.
    features
        From `definition.define` of the same project.
    timezone
        The project's zone: row-level columns and hours see event_time in it.
    sources
        The tables of `FeatureSet.sources`, as `sources.normalise_source` gives them.
    progress
        Called with the name of a feature that is done, features done, and features in all; with `COMPILING` first
        where the loops have not been compiled on this machine yet.
    threads
        At most so many; default: the processors, at most 8. The result does not depend on it.

    Returns
    -------
    ``events.frame`` with one column per feature: Int64, Float64 (finite or null), String or Boolean. A raw feature
    takes the place of the column that it is. Columns come in chunks of 16,384 rows or more (see `blocks`).
    """
    workers = default_workers(threads)
    engine = Engine(events.frame, features, timezone, sources or {}, workers)
    if progress is not None and not compiled_before():
        progress(COMPILING, 0, len(features.steps))
    run(engine, progress=progress)
    names = set(features.names)
    out = [series for series in events.frame.get_columns() if series.name not in names]
    return pl.DataFrame([*out, *(engine.results[name] for name in features.names)])


class Engine:
    """One run over one frame; keeps what several features share.

    ``asking`` is the first and (exclusive) last row whose features are computed, by default all; earlier rows then hold
    the features that windows look back on. ``times`` are the µs of the events, by row.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        features: FeatureSet,
        timezone: str,
        sources: Mapping[str, pl.DataFrame],
        workers: Workers,
        *,
        asking: tuple[int, int] | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        self.dropped = dropped or Dropped()
        self.sources = sources
        self.frame = frame
        self.times = frame["event_time"].dt.epoch("us").to_numpy()
        self.asking = asking or (0, frame.height)
        self.asked = frame.slice(self.asking[0], self.asking[1] - self.asking[0])
        self.features = features
        self.lengths = _lengths(features)
        self.timezone = timezone
        self.workers = workers
        self.results: dict[str, pl.Series] = {}
        self._queries: dict[tuple[str, ...], Queries] = {}
        self._codes: dict[str, tuple[Array, int]] = {}
        self._floats: dict[str, Array] = {}
        self._ranges: dict[tuple[str, str], tuple[Array | None, Ranges]] = {}

    def forget(self, entities: tuple[str, ...], needed: Sequence[tuple[str, ...]]) -> None:
        """Let go of a grouping by entities, but for what is needed later."""
        if entities not in needed:
            self._queries.pop(entities, None)
        for name in set(entities).difference(*needed):
            self._codes.pop(name, None)
        if entities not in needed:
            self._ranges = {key: found for key, found in self._ranges.items() if (key[0],) != entities}

    def compute(self, family: list[Feature]) -> None:
        """Compute the features of a family, whose needs are there; what is asked under two names is computed once."""
        firsts: dict[Spec, Feature] = {}
        for feature in family:
            firsts.setdefault(_asked(feature.spec), feature)
        self._compute(list(firsts.values()))
        for feature in family:
            first = firsts[_asked(feature.spec)]
            if first is not feature:
                self.results[feature.name] = self.results[first.name].alias(feature.name)

    def _compute(self, family: list[Feature]) -> None:
        spec = family[0].spec
        if isinstance(spec, RawSpec):
            self.keep(family[0], self.asked[spec.column])
        elif isinstance(spec, RowSpec):
            self.keep(family[0], self.row_level(spec, self.column))
        elif isinstance(spec, RatioSpec):
            self.keep(family[0], self.ratio(spec))
        elif isinstance(spec, WindowSpec):
            self.windows(family, spec)
        elif isinstance(spec, LabelSpec):
            self.labels(family, spec.entity)
        elif isinstance(spec, RecencySpec):
            self.recencies(family, spec.entity)
        elif isinstance(spec, PairSpec):
            self.pairs(family, spec.entities)
        elif isinstance(spec, LinkSpec):
            self.links(family, spec)
        elif isinstance(spec, SourceWindowSpec):
            self.source_windows(family, spec)
        elif isinstance(spec, LookupSpec):
            self.lookups(family, spec)
        else:
            self.hours(family, spec.entity)

    # ------------------------------------------------------------ columns

    def column(self, name: str) -> pl.Series:
        """Give a column of the frame, or a feature computed before, for the events that ask."""
        return self.results[name] if name in self.results else self.asked[name]

    def looked_back_on(self, name: str) -> pl.Series:
        """Give a column of the frame, or a feature computed before, for all events; the last of them ask."""
        if name not in self.results:
            return self.frame[name]
        found = self.results[name]
        if not self.asking[0]:
            return found
        return pl.concat([self.frame[name][: self.asking[0]].cast(found.dtype), found])

    def floats(self, name: str) -> Array:
        """Give what `looked_back_on` does, as floats, null as NaN; a column of the frame is turned into them once."""
        if name in self.results:
            return _floats(self.looked_back_on(name))
        if name not in self._floats:
            self._floats[name] = _floats(self.frame[name])
        return self._floats[name]

    def keep(self, feature: Feature, values: pl.Series) -> None:
        """Keep values, in the order of the rows, as a feature of its type."""
        values = values.cast(POLARS_TYPES[feature.dtype])
        if feature.dtype == "float":
            values = values.set(~values.is_finite().fill_null(value=True), None)
        self.results[feature.name] = values.alias(feature.name)

    def keep_block(self, block: Block) -> None:
        """Keep the features of a block."""
        self.results.update({series.name: series for series in block.columns(self.workers)})

    def keep_grouped(self, feature: Feature, values: Array, queries: Queries) -> None:
        """Keep values that are in the order of queries."""
        from fraudctl.features.batch import kernels

        out = np.empty(len(values), values.dtype)
        self.workers.spread(len(values), lambda start, stop: kernels.scatter(values, queries.out, out, start, stop))
        series = pl.Series(feature.name, out, nan_to_null=True)
        self.results[feature.name] = series.cast(POLARS_TYPES[feature.dtype])

    def row_level(self, spec: RowSpec, column: Callable[[str], pl.Series]) -> pl.Series:
        """Evaluate a row-level expression on the rows that ``column`` gives."""
        names = spec.expr.columns or ("event_time",)
        return spec.expr.apply(pl.DataFrame([column(name) for name in names]), timezone=self.timezone)

    def ratio(self, spec: RatioSpec) -> pl.Series:
        """Divide one feature by another; by 0 gives null."""
        upper, lower = (self.column(name).cast(pl.Float64) for name in (spec.upper, spec.lower))
        return upper / lower * spec.factor

    @cached_property
    def outcomes(self) -> Outcomes:
        """The outcomes of all events."""
        return Outcomes.of(self.frame["label"], self.frame["label_time"])

    def codes(self, name: str) -> tuple[Array, int]:
        """Give the values of a column as numbers from 0, with -1 for null."""
        if name not in self._codes:
            self._codes[name] = codes_of(self.frame[name])
        return self._codes[name]

    def queries(self, *entities: str) -> Queries:
        """Give the events by entity, by a pair of entities, or (`_EVERYONE`) as one group."""
        if entities not in self._queries:
            if entities == (_EVERYONE,):
                codes = np.zeros(self.frame.height, POSITION), 1
            elif len(entities) == 2:
                codes = joint_codes(self.codes(entities[0]), self.codes(entities[1]))
            else:
                codes = self.codes(entities[0])
            self._queries[entities] = queries_of(*codes, self.times, workers=self.workers, asking=self.asking)
        return self._queries[entities]

    def look(self) -> None:
        """Look at the columns that features group by or add up, and at the outcomes that they count."""
        specs = [step.spec for step in self.features.steps]
        for spec in specs:
            if isinstance(spec, WindowSpec) and spec.column in self.frame.columns and spec.kind != "nunique":
                self.floats(spec.column)
        for name in dict.fromkeys(name for spec in specs for name in grouped_by(spec)):
            self.codes(name)
        if any(isinstance(spec, LabelSpec) for spec in specs):
            _ = self.outcomes.in_order

    def prepare(self, *entities: str) -> None:
        """Group the events by entity, with all that every family needs of it."""
        found = self.queries(*entities)
        _ = found.strips, found.nowhere

    def label_history(self, queries: Queries) -> Labels:
        """Give the outcomes as history."""
        return label_history(queries, self.outcomes, self.times, workers=self.workers)

    # ------------------------------------------------------------ families

    def windows(self, family: list[Feature], spec: WindowSpec) -> None:
        """Compute window aggregates of one column."""
        queries, windows = self.queries(spec.entity), _distinct_windows(_specs(family, WindowSpec))
        mask, ranges = self.event_ranges(queries, spec, windows)
        history = event_history(queries, mask, include_current=spec.include_current)
        self.keep_aggregates(family, Seen(queries, history, ranges), windows, self.looked_back_on, self.floats)

    def source_windows(self, family: list[Feature], spec: SourceWindowSpec) -> None:
        """Compute window aggregates of one column of another table."""
        source = self.sources[spec.source]
        found = source_history(self.asked, self.times[slice(*self.asking)], source, spec.entity, workers=self.workers)
        if spec.where is not None:
            where = spec.where.apply(source, timezone=self.timezone)
            found = masked(found, where.fill_null(value=False).to_numpy())
        windows = _distinct_windows(_specs(family, SourceWindowSpec))
        ranges = event_ranges(found.queries, found.history, windows, workers=self.workers)
        seen = Seen(found.queries, found.history, ranges)
        self.keep_aggregates(family, seen, windows, source.get_column, lambda name: _floats(source[name]))

    def lookups(self, family: list[Feature], spec: LookupSpec) -> None:
        """Look up attributes in another table."""
        source = self.sources[spec.source]
        found = source_history(self.asked, self.times[slice(*self.asking)], source, spec.entity, workers=self.workers)
        rows = np.empty(self.asked.height, np.int64)
        rows[found.queries.order] = latest_rows(found, spec.max_age_us)
        at = pl.Series(rows).replace(-1, None)
        for feature, item in zip(family, _specs(family, LookupSpec), strict=True):
            self.keep(feature, source[item.column].gather(at))

    def keep_aggregates(
        self,
        family: list[Feature],
        seen: Seen,
        windows: list[int],
        column: Callable[[str], pl.Series],
        floats: Callable[[str], Array],
    ) -> None:
        """Compute and keep aggregates over ranges of all windows.

        ``column`` gives columns of the history's table, ``floats`` the same as floats, null as NaN.
        """
        block = Block.empty(family, seen.queries.strips)
        for name, features in _by_column(family).items():
            slots = _slots(block, features, windows, aggregates.SWEPT)
            numbers = floats(name) if name is not None and (slots[1:] >= 0).any() else None
            aggregates.sweep(seen, numbers, slots, block, workers=self.workers)
            rest = [feature for feature in features if _kind(feature) not in aggregates.SWEPT]
            if name is None or not rest:
                continue
            tables = aggregates.ordered(seen, column(name), {_kind(feature) for feature in rest}, workers=self.workers)
            for feature in rest:
                at = windows.index(_window(feature))
                block.put(feature, tables[_kind(feature)][at], self.workers)
        self.keep_block(block)

    def event_ranges(self, queries: Queries, spec: WindowSpec, windows: list[int]) -> tuple[Array | None, Ranges]:
        """Give the rows that ``where`` lets through, and the ranges of these windows.

        Those of all windows over the same history are found at once, and kept.
        """
        key = _history_key(spec)
        if key not in self._ranges:
            mask = None if spec.where is None else self.let_through(spec.where)
            history = event_history(queries, mask, include_current=False)
            found = event_ranges(queries, history, self.lengths[key], workers=self.workers)
            self._ranges[key] = mask, found
        mask, ranges = self._ranges[key]
        if windows == self.lengths[key]:
            return mask, ranges
        return mask, Ranges(ranges.lo[[self.lengths[key].index(window) for window in windows]], ranges.hi)

    def let_through(self, where: RowExpr) -> Array:
        """Say of each row whether a condition is true there."""
        return self.row_level(RowSpec(where), self.looked_back_on).fill_null(value=False).to_numpy()

    def labels(self, family: list[Feature], entity: str) -> None:
        """Compute aggregates of outcomes."""
        queries, specs = self.queries(entity), _specs(family, LabelSpec)
        windows, kinds = _distinct_windows(specs), {item.kind for item in specs}
        labels = self.label_history(queries)
        ranges = label_ranges(queries, labels, windows, workers=self.workers)
        seen = Seen(queries, labels.history, ranges)
        block = Block.empty(family, queries.strips)
        slots = _slots(block, family, windows, aggregates.SWEPT_LABELS)
        aggregates.label_sweep(seen, labels.outcome, slots, block, workers=self.workers)
        rest = [feature for feature in family if _kind(feature) not in aggregates.SWEPT_LABELS]
        tables = self.label_times(seen, labels, kinds)
        if "smoothed_rate" in kinds:
            known = aggregates.counts(queries, labels.history, ranges)
            frauds = aggregates.fraud_counts(queries, labels.history, ranges, labels.outcome)
            prior = self.known_fraud_rate[queries.out]
        for feature, item in zip(rest, _specs(rest, LabelSpec), strict=True):
            at = windows.index(item.window_us)
            if item.kind == "smoothed_rate":
                weight = item.prior_strength
                values = (frauds[at] + weight * prior) / (known[at] + weight)
            else:
                values = tables[item.kind][at]
            block.put(feature, values, self.workers)
        self.keep_block(block)

    def label_times(self, seen: Seen, labels: Labels, kinds: set[str]) -> dict[str, Array]:
        """Measure the seconds since the first and last fraud in each range."""
        signs = {"seconds_since_last_fraud": 1.0, "seconds_since_first_fraud": -1.0}
        tables = {}
        if not kinds.isdisjoint(signs):
            fraud_times = np.where(labels.outcome == 1, labels.history.times.astype(np.float64), np.nan)
        for kind, sign in signs.items():
            if kind in kinds:
                when = aggregates.extremes(
                    seen.queries, seen.history, seen.ranges, fraud_times, sign, workers=self.workers
                )
                tables[kind] = (seen.queries.times - when) / 1e6
        return tables

    @cached_property
    def known_fraud_rate(self) -> Array:
        """Share of frauds among all outcomes known at each event, by row; NaN before any is."""
        if PRIOR in self.frame.columns:
            return self.asked[PRIOR].to_numpy()
        queries = self.queries(_EVERYONE)
        labels = self.label_history(queries)
        ranges = label_ranges(queries, labels, [FOREVER], workers=self.workers)
        frauds = aggregates.fraud_counts(queries, labels.history, ranges, labels.outcome)[0]
        known = aggregates.counts(queries, labels.history, ranges)[0] + self.dropped.known
        with np.errstate(invalid="ignore", divide="ignore"):
            rate: Array = (frauds + self.dropped.frauds) / known
        return rate

    def recencies(self, family: list[Feature], entity: str) -> None:
        """Compute seconds since something of an entity."""
        queries = self.queries(entity)
        for feature, spec in zip(family, _specs(family, RecencySpec), strict=True):
            if spec.kind in {"seconds_since_last", "seconds_since_first"}:
                values = self.since_event(queries, last=spec.kind == "seconds_since_last")
            else:
                values = self.since_fraud(queries, spec)
            self.keep_grouped(feature, values, queries)

    def since_event(self, queries: Queries, *, last: bool) -> Array:
        """Measure the seconds since the last or first earlier event of each group."""
        from fraudctl.features.batch import kernels

        history = event_history(queries, None, include_current=False)
        ranges = event_ranges(queries, history, [], workers=self.workers)
        out = np.empty(len(queries.order), np.float64)

        def work(g0: int, g1: int) -> None:
            kernels.since(
                queries.times, queries.row_times, queries.row_starts, queries.starts, ranges.hi, int(last), out, g0, g1
            )

        self.workers.run(queries.starts, work)
        return out

    def since_fraud(self, queries: Queries, spec: RecencySpec) -> Array:
        """Measure the seconds since the latest known fraud, or since its run began."""
        from fraudctl.features.batch import kernels

        labels = self.label_history(queries)
        ranges = label_ranges(queries, labels, [FOREVER], workers=self.workers)
        if spec.kind == "seconds_since_last_known_fraud":
            times = np.where(labels.outcome == 1, labels.history.times.astype(np.float64), np.nan)
            latest = aggregates.extremes(queries, labels.history, ranges, times, 1.0, workers=self.workers)[0]
            since: Array = (queries.times - latest) / 1e6
            return since
        out = np.empty(len(queries.order), np.float64)
        kernels.since_run_began(
            queries.times, queries.starts, labels.history.times, labels.outcome, labels.history.starts, ranges.hi,
            spec.gap_us, out, 0, queries.n_groups,
        )  # fmt: skip
        return out

    def pairs(self, family: list[Feature], entities: tuple[str, str]) -> None:
        """Compute what is known of earlier events of the same pair."""
        queries = self.queries(*entities)
        history = event_history(queries, None, include_current=False)
        ranges = event_ranges(queries, history, [FOREVER], workers=self.workers)
        n_before = aggregates.counts(queries, history, ranges)[0]
        missing = pl.Series(queries.codes[slice(*self.asking)] < 0)
        for feature, spec in zip(family, _specs(family, PairSpec), strict=True):
            if spec.kind == "seconds_since_last":
                self.keep_grouped(feature, self.since_event(queries, last=True), queries)
                continue
            self.keep_grouped(feature, n_before if spec.kind == "count" else n_before == 0, queries)
            self.results[feature.name] = self.results[feature.name].set(missing, None)

    def links(self, family: list[Feature], spec: LinkSpec) -> None:
        """Compute what is known of linked entities."""
        found = linked(self.frame, spec.entities, hub=spec.hub)
        for feature, item in zip(family, _specs(family, LinkSpec), strict=True):
            values = pl.Series(getattr(found, item.kind)[slice(*self.asking)])
            self.keep(feature, values if values.dtype.is_float() else values.replace(-1, None))

    def hours(self, family: list[Feature], entity: str) -> None:
        """Compute the distance of the hour from the usual one."""
        from fraudctl.features.batch import kernels

        queries, specs = self.queries(entity), _specs(family, HourSpec)
        windows = _distinct_windows(specs)
        history = event_history(queries, None, include_current=False)
        ranges = event_ranges(queries, history, windows, workers=self.workers)
        minutes, earlier = self.minutes_of_day[queries.order], self.minutes_of_day[history.rows]
        cosines, sines = (
            aggregates.numeric(queries, history, ranges, axis[earlier], {"sum"}, workers=self.workers)["sum"]
            for axis in CIRCLE
        )
        n = aggregates.counts(queries, history, ranges)
        out = {"hour_distance": np.empty(n.shape), "hour_concentration": np.empty(n.shape)}
        kernels.usual_hour(minutes, n, cosines, sines, out["hour_distance"], out["hour_concentration"])
        for feature, item in zip(family, specs, strict=True):
            self.keep_grouped(feature, out[item.kind][windows.index(item.window_us)], queries)

    @cached_property
    def minutes_of_day(self) -> Array:
        """Local minutes since midnight by the clock on the wall, by row."""
        local = self.frame["event_time"].dt.convert_time_zone(self.timezone).dt
        return (local.hour().cast(pl.Int64) * 60 + local.minute()).to_numpy()


def _history_key(spec: WindowSpec) -> tuple[str, str]:
    return spec.entity, "" if spec.where is None else spec.where.sql


def _lengths(features: FeatureSet) -> dict[tuple[str, str], list[int]]:
    """Give the windows over each history, shortest first."""
    found: dict[tuple[str, str], set[int]] = {}
    for step in features.steps:
        if isinstance(step.spec, WindowSpec):
            found.setdefault(_history_key(step.spec), set()).add(step.spec.window_us)
    return {key: sorted(lengths) for key, lengths in found.items()}


def _specs(family: Sequence[Feature], kind: type[_S]) -> list[_S]:
    return [feature.spec for feature in family if isinstance(feature.spec, kind)]


def _distinct_windows(specs: Iterable[WindowSpec | SourceWindowSpec | LabelSpec | HourSpec]) -> list[int]:
    return sorted({item.window_us for item in specs})


def _kind(feature: Feature) -> str:
    return str(getattr(feature.spec, "kind", ""))


def _window(feature: Feature) -> int:
    return int(getattr(feature.spec, "window_us", 0))


def _by_column(family: Iterable[Feature]) -> dict[str | None, list[Feature]]:
    """Put window aggregates of one column together; those of a column come before those of none where both are."""
    out: dict[str | None, list[Feature]] = {}
    for feature in family:
        out.setdefault(getattr(feature.spec, "column", None), []).append(feature)
    if None in out and len(out) > 1:
        counted = out.pop(None)
        first = next(iter(out))
        out[first] = [*out[first], *counted]
    return out


def _asked(spec: Spec) -> Spec:
    """Give what is asked, apart from the condition, which a family has in common."""
    return replace(spec, where=None) if isinstance(spec, (WindowSpec, SourceWindowSpec)) else spec


def _slots(block: Block, features: Iterable[Feature], windows: list[int], kinds: Sequence[str]) -> Array:
    """Give the column of the block for each kind and window, or -1."""
    out = np.full((len(kinds), len(windows)), -1, np.int64)
    for feature in features:
        if _kind(feature) in kinds:
            out[kinds.index(_kind(feature)), windows.index(_window(feature))] = block.slot(feature)
    return out


def _floats(values: pl.Series) -> Array:
    """Give values as floats, null as NaN."""
    return np.ascontiguousarray(values.cast(pl.Float64).fill_null(math.nan).to_numpy())


def _circle() -> tuple[Array, Array]:
    angles = [2.0 * math.pi * minute / 1440.0 for minute in range(1440)]
    return np.array([math.cos(angle) for angle in angles]), np.array([math.sin(angle) for angle in angles])


CIRCLE = _circle()
"""Cosine and sine of each minute of the day."""
