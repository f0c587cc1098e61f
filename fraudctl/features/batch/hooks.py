"""How the batch engine computes each family: one function a family, and `BATCH`, the table of them.

A function takes the engine and features of one family that one pass gives, and keeps their values in the engine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl

from fraudctl.arrays import as_read
from fraudctl.features.batch import aggregates
from fraudctl.features.batch.aggregates import Seen
from fraudctl.features.batch.blocks import Block
from fraudctl.features.batch.groups import (
    FOREVER,
    POSITION,
    Array,
    Labels,
    Queries,
    Ranges,
    event_history,
    event_ranges,
    gathered,
    label_ranges,
)
from fraudctl.features.batch.journeys import fits, journeys, other_place
from fraudctl.features.batch.links import linked
from fraudctl.features.batch.sources import latest_rows, masked, of_moments, source_history
from fraudctl.features.meaning.definition import POLARS_TYPES, Feature, FeatureSet
from fraudctl.features.meaning.families.base import Spec
from fraudctl.features.meaning.families.decay import DecaySpec
from fraudctl.features.meaning.families.geo import AXES, GeoSpec
from fraudctl.features.meaning.families.habits import NUMERIC, HabitSpec
from fraudctl.features.meaning.families.hours import HourSpec
from fraudctl.features.meaning.families.labels import LabelSpec
from fraudctl.features.meaning.families.links import LinkSpec
from fraudctl.features.meaning.families.lookups import VALUE, LookupSpec
from fraudctl.features.meaning.families.pairs import PairSpec
from fraudctl.features.meaning.families.recency import RecencySpec
from fraudctl.features.meaning.families.rows import RawSpec, RowSpec
from fraudctl.features.meaning.families.source_windows import SourceWindowSpec
from fraudctl.features.meaning.families.spacing import SpacingSpec
from fraudctl.features.meaning.families.trends import RatioSpec
from fraudctl.features.meaning.families.windows import WindowSpec

if TYPE_CHECKING:
    from fraudctl.features.batch.engine import Engine

_S = TypeVar("_S", bound=Spec)


def _nothing(_engine: Engine, _spec: Any) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class BatchHook:
    """How the batch engine computes the features of one type of spec.

    Attributes
    ----------
    compute
        Computes features that have ``together`` in common.
    together
        What features that one pass gives have in common.
    look
        Prepares, before compiled loops are needed, what a feature reads.
    """

    compute: Callable[[Engine, list[Feature]], None]
    together: Callable[[Any], object]
    look: Callable[[Engine, Any], None] = _nothing


# ---------------------------------------------------------------- one row


def raw(engine: Engine, unit: list[Feature]) -> None:
    """Take columns of the data as they are."""
    for feature, spec in _with_specs(unit, RawSpec):
        engine.keep(feature, engine.asked[spec.column])


def row_level(engine: Engine, unit: list[Feature]) -> None:
    """Evaluate row-level expressions."""
    for feature, spec in _with_specs(unit, RowSpec):
        engine.keep(feature, engine.row_level(spec.expr, engine.column))


def ratios(engine: Engine, unit: list[Feature]) -> None:
    """Divide one feature by another; by 0 gives null."""
    for feature, spec in _with_specs(unit, RatioSpec):
        upper, lower = (engine.column(name).cast(pl.Float64) for name in (spec.upper, spec.lower))
        engine.keep(feature, upper / lower * spec.factor)


# ---------------------------------------------------------------- windows


def windows(engine: Engine, unit: list[Feature]) -> None:
    """Compute window aggregates over one history."""
    (_, spec), *_ = pairs_of = _with_specs(unit, WindowSpec)
    queries, lengths = engine.queries(spec.entity), _lengths(item.window_us for _, item in pairs_of)
    mask, ranges = _shared_ranges(engine, queries, spec, lengths)
    history = event_history(queries, mask, include_current=spec.include_current)
    _keep_aggregates(engine, unit, Seen(queries, history, ranges), lengths, engine.looked_back_on, engine.floats)


def window_lengths(features: FeatureSet) -> dict[tuple[str, str], list[int]]:
    """Return the windows over each history, shortest first: their ranges are found at once."""
    found: dict[tuple[str, str], set[int]] = {}
    for step in features.steps:
        if isinstance(step.spec, (WindowSpec, HabitSpec, SpacingSpec)):
            found.setdefault(_history_key(step.spec), set()).add(step.spec.window_us)
    return {key: sorted(lengths) for key, lengths in found.items()}


def _look_at_window(engine: Engine, spec: WindowSpec) -> None:
    if spec.column in engine.frame.columns and spec.kind != "nunique":
        engine.floats(spec.column)


def _history_key(spec: WindowSpec | HabitSpec | SpacingSpec) -> tuple[str, str]:
    where = spec.where if isinstance(spec, WindowSpec) else None
    return spec.entity, "" if where is None else where.sql


def _shared_ranges(
    engine: Engine, queries: Queries, spec: WindowSpec | HabitSpec | SpacingSpec, lengths: list[int]
) -> tuple[Array | None, Ranges]:
    """Return the rows that meet the condition, and the ranges of these windows.

    The ranges of all windows over the same history are found at once, and kept.
    """
    key = _history_key(spec)
    every = engine.lengths[key]
    if key not in engine.ranges:
        mask = None
        if isinstance(spec, WindowSpec) and spec.where is not None:
            mask = engine.row_level(spec.where, engine.looked_back_on).fill_null(value=False).to_numpy()
        history = event_history(queries, mask, include_current=False)
        engine.ranges[key] = mask, event_ranges(queries, history, every, workers=engine.workers)
    mask, ranges = engine.ranges[key]
    if lengths == every:
        return mask, ranges
    return mask, Ranges(ranges.lo[[every.index(length) for length in lengths]], ranges.hi)


def source_windows(engine: Engine, unit: list[Feature]) -> None:
    """Compute window aggregates over rows of another table."""
    (_, spec), *_ = pairs_of = _with_specs(unit, SourceWindowSpec)
    source = engine.sources[spec.source]
    asking = engine.times[slice(*engine.asking)]
    found = source_history(engine.asked, asking, source, spec.entity, workers=engine.workers)
    if spec.where is not None:
        where = spec.where.apply(source, timezone=engine.timezone)
        found = masked(found, where.fill_null(value=False).to_numpy())
    lengths = _lengths(item.window_us for _, item in pairs_of)
    ranges = event_ranges(found.queries, found.history, lengths, workers=engine.workers)
    seen = Seen(found.queries, found.history, ranges)
    _keep_aggregates(engine, unit, seen, lengths, source.get_column, lambda name: floats(source[name]))


def _keep_aggregates(
    engine: Engine,
    unit: list[Feature],
    seen: Seen,
    lengths: list[int],
    column: Callable[[str], pl.Series],
    numbers_of: Callable[[str], Array],
) -> None:
    """Compute and keep aggregates over ranges of all windows.

    ``column`` returns columns of the history's table, ``numbers_of`` the same as floats, null as NaN.
    """
    block = Block.empty(unit, seen.queries.strips)
    for name, features in _by_column(unit).items():
        slots = _slots(block, features, lengths, aggregates.SWEPT)
        numbers = numbers_of(name) if name is not None and (slots[1:] >= 0).any() else None
        aggregates.sweep(seen, numbers, slots, block, workers=engine.workers)
        rest = [feature for feature in features if _kind(feature) not in aggregates.SWEPT]
        if name is None or not rest:
            continue
        tables = aggregates.ordered(seen, column(name), {_kind(feature) for feature in rest}, workers=engine.workers)
        for feature in rest:
            at = lengths.index(_window(feature))
            block.put(feature, tables[_kind(feature)][at], engine.workers)
    engine.keep_block(block)


def lookups(engine: Engine, unit: list[Feature]) -> None:
    """Look attributes up in another table."""
    (_, spec), *_ = pairs_of = _with_specs(unit, LookupSpec)
    source = engine.sources[spec.source]
    asking = engine.times[slice(*engine.asking)]
    found = source_history(engine.asked, asking, source, spec.entity, workers=engine.workers)
    rows = np.empty(engine.asked.height, np.int64)
    rows[found.queries.order] = latest_rows(found, spec.max_age_us)
    at = pl.Series(rows).replace(-1, None)
    for feature, item in pairs_of:
        values = source[item.column].gather(at)
        engine.keep(feature, values if item.kind == VALUE else of_moments(item.kind, values, asking, engine.timezone))


# ---------------------------------------------------------------- outcomes


def labels(engine: Engine, unit: list[Feature]) -> None:
    """Compute aggregates of outcomes."""
    specs = _with_specs(unit, LabelSpec)
    queries = engine.queries(specs[0][1].entity)
    lengths, kinds = _lengths(spec.window_us for _, spec in specs), {spec.kind for _, spec in specs}
    found = engine.label_history(queries)
    ranges = label_ranges(queries, found, lengths, workers=engine.workers)
    block = Block.empty(unit, queries.strips)
    if found.replaced is None:
        slots = _slots(block, unit, lengths, aggregates.SWEPT_LABELS)
        seen = Seen(queries, found.history, ranges)
        aggregates.label_sweep(seen, found.outcome, slots, block, workers=engine.workers)
        kinds -= set(aggregates.SWEPT_LABELS)
    tables = _label_tables(engine, queries, found, ranges, kinds)
    for feature, spec in specs:
        if spec.kind not in kinds:
            continue
        at, weight = lengths.index(spec.window_us), spec.prior_strength
        if spec.kind == "smoothed_rate":
            prior = engine.known_fraud_rate[queries.out]
            values = (tables["fraud_count"][at] + weight * prior) / (tables["known_count"][at] + weight)
        else:
            values = tables[spec.kind][at]
        block.put(feature, values, engine.workers)
    engine.keep_block(block)


def _look_at_outcomes(engine: Engine, _spec: LabelSpec) -> None:
    _ = engine.outcomes.in_order


def _label_tables(engine: Engine, queries: Queries, found: Labels, ranges: Ranges, kinds: set[str]) -> dict[str, Array]:
    """Return the aggregates of these kinds, by kind, each (n_windows, n_events); for a smoothed rate its counts."""
    tables: dict[str, Array] = {}
    if not kinds.isdisjoint({*aggregates.SWEPT_LABELS, "smoothed_rate"}):
        known, frauds = aggregates.outcome_counts(queries, found, ranges, workers=engine.workers)
        with np.errstate(invalid="ignore", divide="ignore"):
            tables |= {"known_count": known, "fraud_count": frauds, "fraud_rate": frauds / known}
    for kind, latest in (("seconds_since_first_fraud", 0), ("seconds_since_last_fraud", 1)):
        if kind in kinds:
            when = aggregates.fraud_times(queries, found, ranges, latest=latest, workers=engine.workers)
            tables[kind] = (queries.times - when) / 1e6
    return tables


# ---------------------------------------------------------------- recency, pairs, links, hours


def recencies(engine: Engine, unit: list[Feature]) -> None:
    """Compute seconds since something of an entity."""
    for feature, spec in _with_specs(unit, RecencySpec):
        queries = engine.queries(spec.entity)
        if spec.of_frauds:
            values = _since_fraud(engine, queries, spec)
        else:
            values = _since_event(engine, queries, latest=spec.kind == "seconds_since_last")
        engine.keep_grouped(feature, values, queries)


def _since_event(engine: Engine, queries: Queries, *, latest: bool) -> Array:
    """Return the seconds since the last or first earlier event of each group."""
    from fraudctl.features.batch import kernels

    history = event_history(queries, None, include_current=False)
    ranges = event_ranges(queries, history, [], workers=engine.workers)
    out = np.empty(len(queries.order), np.float64)

    def work(g0: int, g1: int) -> None:
        kernels.since(
            queries.times, queries.row_times, queries.row_starts, queries.starts, ranges.hi, int(latest), out, g0, g1
        )

    engine.workers.run(queries.starts, work)
    return out


def _since_fraud(engine: Engine, queries: Queries, spec: RecencySpec) -> Array:
    """Return the seconds since the latest known fraud, or since its run began."""
    from fraudctl.features.batch import kernels, revised

    found = engine.label_history(queries)
    ranges = label_ranges(queries, found, [FOREVER], workers=engine.workers)
    if spec.kind == "seconds_since_last_known_fraud":
        latest = aggregates.fraud_times(queries, found, ranges, latest=1, workers=engine.workers)[0]
        since: Array = (queries.times - latest) / 1e6
        return since
    out = np.empty(len(queries.order), np.float64)
    if found.replaced is not None:
        revised.since_run_began(
            queries.times, queries.starts, found.history.times, found.outcome, found.replaced, found.history.starts,
            ranges.hi, spec.gap_us, out, 0, queries.n_groups,
        )  # fmt: skip
        return out
    kernels.since_run_began(
        queries.times, queries.starts, found.history.times, found.outcome, found.history.starts, ranges.hi,
        spec.gap_us, out, 0, queries.n_groups,
    )  # fmt: skip
    return out


def pairs(engine: Engine, unit: list[Feature]) -> None:
    """Compute what is known of earlier events of the same pair."""
    specs = _with_specs(unit, PairSpec)
    queries = engine.queries(*specs[0][1].entities)
    history = event_history(queries, None, include_current=False)
    ranges = event_ranges(queries, history, [FOREVER], workers=engine.workers)
    n_before = aggregates.counts(queries, history, ranges)[0]
    missing = pl.Series(queries.codes[slice(*engine.asking)] < 0)
    for feature, spec in specs:
        if spec.kind == "seconds_since_last":
            engine.keep_grouped(feature, _since_event(engine, queries, latest=True), queries)
            continue
        engine.keep_grouped(feature, n_before if spec.kind == "count" else n_before == 0, queries)
        engine.results[feature.name] = engine.results[feature.name].set(missing, None)


def links(engine: Engine, unit: list[Feature]) -> None:
    """Compute what is known of linked entities."""
    (_, spec), *_ = pairs_of = _with_specs(unit, LinkSpec)
    second_hop = any(item.kind.startswith("neighbour") for _, item in pairs_of)
    found = linked(engine.frame, spec.entities, hub=spec.hub, second_hop=second_hop)
    for feature, item in pairs_of:
        keep_link(engine, feature, getattr(found, item.kind)[slice(*engine.asking)])


def keep_link(engine: Engine, feature: Feature, found: Array) -> None:
    """Keep what is known of linked entities, in the order of the rows; -1 is null in counts."""
    values = pl.Series(found)
    engine.keep(feature, values if values.dtype.is_float() else values.replace(-1, None))


def hours(engine: Engine, unit: list[Feature]) -> None:
    """Compute the distance of the hour from the usual one, and how much hours lie together."""
    from fraudctl.features.batch import kernels

    specs = _with_specs(unit, HourSpec)
    queries, lengths = engine.queries(specs[0][1].entity), _lengths(spec.window_us for _, spec in specs)
    history = event_history(queries, None, include_current=False)
    ranges = event_ranges(queries, history, lengths, workers=engine.workers)
    minutes, earlier = engine.minutes_of_day[queries.order], engine.minutes_of_day[history.rows]
    cosines, sines = (
        aggregates.numeric(queries, history, ranges, axis[earlier], {"sum"}, workers=engine.workers)["sum"]
        for axis in CIRCLE
    )
    n = aggregates.counts(queries, history, ranges)
    out = {"hour_distance": np.empty(n.shape), "hour_concentration": np.empty(n.shape)}
    kernels.usual_hour(minutes, n, cosines, sines, out["hour_distance"], out["hour_concentration"])
    for feature, spec in specs:
        engine.keep_grouped(feature, out[spec.kind][lengths.index(spec.window_us)], queries)


def _circle() -> tuple[Array, Array]:
    angles = [2.0 * math.pi * minute / 1440.0 for minute in range(1440)]
    return np.array([math.cos(angle) for angle in angles]), np.array([math.sin(angle) for angle in angles])


CIRCLE = _circle()
"""Cosine and sine of each minute of the day."""


# ---------------------------------------------------------------- latest and usual values, gaps, places


def habits(engine: Engine, unit: list[Feature]) -> None:
    """Compare events with the latest and the usual values of their entity."""
    from fraudctl.features.batch import recent

    (_, spec), *_ = specs = _with_specs(unit, HabitSpec)
    queries, lengths = engine.queries(spec.entity), _lengths(item.window_us for _, item in specs)
    history = event_history(queries, None, include_current=False)
    _, ranges = _shared_ranges(engine, queries, spec, lengths)
    block = _block_of_floats(unit, queries)
    for name, features in _by_column(unit).items():
        slots = _slots(block, features, lengths, recent.HABITS)
        values, codes, n_codes = np.empty(0), np.empty(0, POSITION), 0
        if any(_kind(feature) in NUMERIC for feature in features):
            is_text = any(feature.dtype == "category" for feature in features)
            found = _rows_of(engine.looked_back_on(str(name))) if is_text else engine.floats(str(name))
            values = gathered(found, queries.rows, engine.workers)
        if any(_kind(feature) not in NUMERIC for feature in features):
            by_row, n_codes = engine.codes_looked_back_on(str(name))
            codes = gathered(by_row, queries.rows, engine.workers)

        work = functools.partial(
            recent.habits, values, codes, n_codes, history.times, history.starts, queries.times, queries.starts,
            block.strips.places, queries.at, ranges.lo, ranges.hi, slots, block.values.view(np.float64),
        )  # fmt: skip
        engine.workers.run(queries.starts, work)
    _keep_floats(engine, unit, block)
    for feature, item in specs:
        if feature.dtype == "category":
            rows = engine.results[feature.name].cast(pl.Int64)
            engine.results[feature.name] = engine.looked_back_on(item.column).gather(rows).alias(feature.name)


def _rows_of(texts: pl.Series) -> Array:
    """Return the row of each text as a float, NaN for null: loops of numbers then find rows whose text is wanted."""
    return np.where(texts.is_null().to_numpy(), math.nan, np.arange(len(texts), dtype=np.float64))


def _look_at_habit(engine: Engine, spec: HabitSpec) -> None:
    if spec.kind in NUMERIC and engine.frame.schema.get(spec.column, pl.String()) != pl.String:
        engine.floats(spec.column)


def spacings(engine: Engine, unit: list[Feature]) -> None:
    """Measure the gaps between the latest events of an entity."""
    from fraudctl.features.batch import recent

    (_, spec), *_ = _with_specs(unit, SpacingSpec)
    queries = engine.queries(spec.entity)
    history = event_history(queries, None, include_current=False)
    _, ranges = _shared_ranges(engine, queries, spec, [spec.window_us])
    block = _block_of_floats(unit, queries)
    slots = _slots(block, unit, [spec.window_us], recent.SPACINGS)[:, 0]
    out = block.values.view(np.float64)

    def work(start: int, stop: int) -> None:
        recent.spacings(
            history.times, queries.times, block.strips.places, ranges.lo[0], ranges.hi, spec.gaps, slots, out, start,
            stop,
        )  # fmt: skip

    engine.workers.spread(len(queries.order), work)
    _keep_floats(engine, unit, block)


def decays(engine: Engine, unit: list[Feature]) -> None:
    """Compute sums that fade."""
    from fraudctl.features.batch import fading

    (_, spec), *_ = specs = _with_specs(unit, DecaySpec)
    queries = engine.queries(spec.entity)
    history = event_history(queries, None, include_current=False)
    hi = event_ranges(queries, history, [], workers=engine.workers).hi
    block = _block_of_floats(unit, queries)
    columns = list(dict.fromkeys(item.column for _, item in specs))
    values = np.ones((len(columns), len(history.rows)))
    for at, column in enumerate(columns):
        if column is not None:
            values[at] = gathered(engine.floats(column), history.rows, engine.workers)
    for half_life in _lengths(item.half_life_us for _, item in specs):
        slots = np.full((len(columns), len(fading.DECAYS)), -1, np.int64)
        for feature, item in specs:
            if item.half_life_us == half_life:
                slots[columns.index(item.column), fading.DECAYS.index(item.kind)] = block.slot(feature)
        work = functools.partial(
            fading.decays, values, history.times, history.starts, queries.times, queries.starts, block.strips.places,
            hi, half_life, slots, block.values.view(np.float64),
        )  # fmt: skip
        engine.workers.run(queries.starts, work)
    _keep_floats(engine, unit, block)


def places(engine: Engine, unit: list[Feature]) -> None:
    """Compute coordinates, distances and speeds from values of each row."""
    from fraudctl.features.batch import sphere

    back = [feature for feature in unit if other_place(feature, engine.features) and fits(engine, feature)]
    _walked(engine, back)
    rest = [feature for feature in unit if feature not in back]
    for need in dict.fromkeys(need for feature in rest for need in feature.spec.needs):
        if need not in engine.results and need not in engine.frame.columns:
            engine.compute([engine.features[need]])
    specs = _with_specs(rest, GeoSpec)
    names = dict.fromkeys(name for _, spec in specs for name in spec.places)
    columns = {name: as_read(floats(engine.column(name))) for name in names}
    for feature, spec in specs:
        used = [columns[name] for name in spec.places]
        if spec.kind not in AXES:
            used += used[: 7 - len(used)]  # seconds, where no kind but speed looks
        loop: Callable[..., None] = sphere.coordinates if spec.kind in AXES else sphere.distances
        out = np.empty(engine.asked.height)
        engine.workers.spread(len(out), functools.partial(loop, sphere.GEO.index(spec.kind), *used, out))
        engine.results[feature.name] = pl.Series(feature.name, out, nan_to_null=True)


def _walked(engine: Engine, unit: list[Feature]) -> None:
    """Compute distances from other places of an entity, by window and place, in one pass each."""
    together: dict[tuple[str, int, tuple[str, ...]], list[tuple[Feature, GeoSpec]]] = {}
    for feature, spec in _with_specs(unit, GeoSpec):
        other = other_place(feature, engine.features)
        if other is not None:
            together.setdefault((other.entity, other.window_us, spec.places[:3]), []).append((feature, spec))
    for (entity, window, _), alike in together.items():
        queries = engine.queries(entity)
        _, ranges = _shared_ranges(engine, queries, HabitSpec(entity, window, "last", ""), [window])
        block = _block_of_floats([feature for feature, _ in alike], queries)
        journeys(engine, queries, ranges, block, alike)
        engine.keep_block(block)


def _block_of_floats(unit: Iterable[Feature], queries: Queries) -> Block:
    """Return a block in which every feature, of whatever type, is a float that may be null."""
    return Block.empty([replace(feature, dtype="float") for feature in unit], queries.strips)


def _keep_floats(engine: Engine, unit: Iterable[Feature], block: Block) -> None:
    """Keep the features of a block of floats, each as its own type; those of categories stay floats."""
    engine.keep_block(block)
    for feature in unit:
        if feature.dtype not in {"float", "category"}:
            engine.results[feature.name] = engine.results[feature.name].cast(POLARS_TYPES[feature.dtype])


# ---------------------------------------------------------------- shared


def floats(values: pl.Series) -> Array:
    """Return values as floats, null as NaN."""
    return np.ascontiguousarray(values.cast(pl.Float64).fill_null(math.nan).to_numpy())


def _with_specs(unit: Iterable[Feature], kind: type[_S]) -> list[tuple[Feature, _S]]:
    """Return the features of a type of spec, each with its spec."""
    return [(feature, feature.spec) for feature in unit if isinstance(feature.spec, kind)]


def _lengths(found: Iterable[int]) -> list[int]:
    return sorted(set(found))


def _kind(feature: Feature) -> str:
    return str(getattr(feature.spec, "kind", ""))


def _window(feature: Feature) -> int:
    return int(getattr(feature.spec, "window_us", 0))


def _by_column(unit: Iterable[Feature]) -> dict[str | None, list[Feature]]:
    """Return window aggregates by column; those of no column join those of the first column, where there is one."""
    out: dict[str | None, list[Feature]] = {}
    for feature in unit:
        out.setdefault(getattr(feature.spec, "column", None), []).append(feature)
    if None in out and len(out) > 1:
        counted = out.pop(None)
        first = next(iter(out))
        out[first] = [*out[first], *counted]
    return out


def _slots(block: Block, features: Iterable[Feature], lengths: list[int], kinds: Sequence[str]) -> Array:
    """Return the column of the block for each kind and window, or -1."""
    out = np.full((len(kinds), len(lengths)), -1, np.int64)
    for feature in features:
        if _kind(feature) in kinds:
            out[kinds.index(_kind(feature)), lengths.index(_window(feature))] = block.slot(feature)
    return out


# ---------------------------------------------------------------- the table


def _condition(spec: WindowSpec | SourceWindowSpec) -> str | None:
    return None if spec.where is None else spec.where.sql


BATCH: Mapping[type[Spec], BatchHook] = {
    RawSpec: BatchHook(raw, lambda spec: spec.text),
    RowSpec: BatchHook(row_level, lambda spec: spec.text),
    RatioSpec: BatchHook(ratios, lambda spec: spec.text),
    WindowSpec: BatchHook(windows, lambda spec: (spec.entity, _condition(spec), spec.include_current), _look_at_window),
    SourceWindowSpec: BatchHook(source_windows, lambda spec: (spec.source, spec.entity, _condition(spec))),
    LookupSpec: BatchHook(lookups, lambda spec: (spec.source, spec.entity, spec.max_age_us)),
    LabelSpec: BatchHook(labels, lambda spec: spec.entity, _look_at_outcomes),
    RecencySpec: BatchHook(recencies, lambda spec: spec.entity),
    PairSpec: BatchHook(pairs, lambda spec: spec.entities),
    LinkSpec: BatchHook(links, lambda spec: (spec.entities, spec.hub)),
    HourSpec: BatchHook(hours, lambda spec: spec.entity),
    HabitSpec: BatchHook(habits, lambda spec: spec.entity, _look_at_habit),
    SpacingSpec: BatchHook(spacings, lambda spec: (spec.entity, spec.window_us, spec.gaps)),
    DecaySpec: BatchHook(decays, lambda spec: spec.entity),
    GeoSpec: BatchHook(places, lambda spec: (spec.kind in AXES, spec.entity)),
}
"""Type of spec -> how the batch engine computes it."""
