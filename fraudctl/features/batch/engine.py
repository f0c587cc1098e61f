"""The batch engine: one run over one frame, and what its features share.

Rows are sorted by entity once, ranges are found once per list of windows, and each aggregate runs over the ranges.
Results are written back in the order of the rows. `hooks` computes the families, `schedule` says what is computed when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from fraudctl.features.batch import aggregates
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
    joint_codes,
    label_history,
    label_ranges,
    queries_of,
)
from fraudctl.features.batch.hooks import BATCH, floats, window_lengths
from fraudctl.features.meaning.definition import POLARS_TYPES, Feature, FeatureSet
from fraudctl.features.rows.read import RowExpr

PRIOR = ".known_fraud_rate"
"""The column that holds `Engine.known_fraud_rate` where it was computed before."""
_EVERYONE = ""
"""The group that all events belong to."""


@dataclass(frozen=True)
class Dropped:
    """Outcomes of earlier events that are in no frame any more: how many were known, how many of them fraud."""

    known: int = 0
    frauds: int = 0


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
        self.lengths = window_lengths(features)
        self.timezone = timezone
        self.workers = workers
        self.results: dict[str, pl.Series] = {}
        self._queries: dict[tuple[str, ...], Queries] = {}
        self._codes: dict[str, tuple[Array, int]] = {}
        self._floats: dict[str, Array] = {}
        self.ranges: dict[tuple[str, str], tuple[Array | None, Ranges]] = {}

    def forget(self, entities: tuple[str, ...], needed: Sequence[tuple[str, ...]]) -> None:
        """Drop a grouping by entities, except for what is needed later."""
        if entities not in needed:
            self._queries.pop(entities, None)
        for name in set(entities).difference(*needed):
            self._codes.pop(name, None)
        if entities not in needed:
            self.ranges = {key: found for key, found in self.ranges.items() if (key[0],) != entities}

    def compute(self, unit: Sequence[Feature]) -> None:
        """Compute features that one pass gives (see `schedule.units`); equal ones under two names only once.

        The features that they need have to be there.
        """
        firsts: dict[str, Feature] = {}
        for feature in unit:
            firsts.setdefault(feature.spec.text, feature)
        BATCH[type(unit[0].spec)].compute(self, list(firsts.values()))
        for feature in unit:
            first = firsts[feature.spec.text]
            if first is not feature:
                self.results[feature.name] = self.results[first.name].alias(feature.name)

    # ------------------------------------------------------------ columns

    def column(self, name: str) -> pl.Series:
        """Return a column of the frame, or a feature computed before, for the events that ask."""
        return self.results[name] if name in self.results else self.asked[name]

    def looked_back_on(self, name: str) -> pl.Series:
        """Return a column of the frame, or a feature computed before, for all events; the last of them ask."""
        if name not in self.results:
            return self.frame[name]
        found = self.results[name]
        if not self.asking[0]:
            return found
        return pl.concat([self.frame[name][: self.asking[0]].cast(found.dtype), found])

    def floats(self, name: str) -> Array:
        """Return what `looked_back_on` does, as floats, null as NaN; a column of the frame is turned into them once."""
        if name in self.results:
            return floats(self.looked_back_on(name))
        if name not in self._floats:
            self._floats[name] = floats(self.frame[name])
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

    def row_level(self, expr: RowExpr, column: Callable[[str], pl.Series]) -> pl.Series:
        """Evaluate a row-level expression on the rows that ``column`` gives."""
        names = expr.columns or ("event_time",)
        return expr.apply(pl.DataFrame([column(name) for name in names]), timezone=self.timezone)

    @cached_property
    def outcomes(self) -> Outcomes:
        """The outcomes of all events."""
        return Outcomes.of_frame(self.frame)

    def codes(self, name: str) -> tuple[Array, int]:
        """Return the values of a column of the frame as numbers from 0, with -1 for null."""
        if name not in self._codes:
            self._codes[name] = codes_of(self.frame[name])
        return self._codes[name]

    def codes_looked_back_on(self, name: str) -> tuple[Array, int]:
        """Return what `looked_back_on` does as numbers from 0, with -1 for null; a column of the frame only once."""
        return codes_of(self.looked_back_on(name)) if name in self.results else self.codes(name)

    def queries(self, *entities: str) -> Queries:
        """Return the events by entity, by a pair of entities, or (`_EVERYONE`) as one group."""
        if entities not in self._queries:
            if entities == (_EVERYONE,):
                codes = np.zeros(self.frame.height, POSITION), 1
            elif len(entities) == 2:
                codes = joint_codes(self.codes(entities[0]), self.codes(entities[1]))
            else:
                codes = self.codes(entities[0])
            quiet = Workers(self.workers.threads)  # also called ahead, beside a pass that tells of its rows
            self._queries[entities] = queries_of(*codes, self.times, workers=quiet, asking=self.asking)
        return self._queries[entities]

    def look(self) -> None:
        """Look at the columns that features group by or add up, and at the outcomes that they count."""
        specs = [step.spec for step in self.features.steps]
        for spec in specs:
            BATCH[type(spec)].look(self, spec)
        for name in dict.fromkeys(name for spec in specs for name in spec.grouped_by):
            self.codes(name)

    def prepare(self, *entities: str, watch: Callable[[str], object]) -> None:
        """Group the events by entity, with all that every feature needs of it; ``watch`` is called before each step."""
        for name in entities if entities != (_EVERYONE,) and entities not in self._queries else ():
            watch(f"ids of {name}")
            self.codes(name)
        watch(f"events by {' and '.join(entities)}")
        found = self.queries(*entities)
        watch(f"places of events by {' and '.join(entities)}")
        _ = found.strips, found.nowhere

    def label_history(self, queries: Queries) -> Labels:
        """Return the outcomes as history."""
        return label_history(queries, self.outcomes, self.times, workers=self.workers)

    @cached_property
    def known_fraud_rate(self) -> Array:
        """Share of frauds among all outcomes known at each event, by row; NaN before any is."""
        if PRIOR in self.frame.columns:
            return self.asked[PRIOR].to_numpy()
        queries = self.queries(_EVERYONE)
        labels = self.label_history(queries)
        ranges = label_ranges(queries, labels, [FOREVER], workers=self.workers)
        known, frauds = aggregates.outcome_counts(queries, labels, ranges, workers=self.workers)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate: Array = (frauds[0] + self.dropped.frauds) / (known[0] + self.dropped.known)
        return rate

    @cached_property
    def minutes_of_day(self) -> Array:
        """Local minutes since midnight by the clock on the wall, by row."""
        local = self.frame["event_time"].dt.convert_time_zone(self.timezone).dt
        return (local.hour().cast(pl.Int64) * 60 + local.minute()).to_numpy()
