"""The reference engine: slow, obvious, in plain Python; what every other engine has to agree with.

Owns one question: given one event and the world that was known at it, what is each feature? The world is cut before
anything is computed: later events are not there, nor events of the same instant, and labels that had not arrived are
null. What is asked of an earlier event (for a window over a feature) is asked at its own time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.features.definition import POLARS_TYPES, FeatureSet
from fraudctl.features.specs import (
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
)

Value = float | int | str | bool | None


def known_world(frame: pl.DataFrame, row: int) -> pl.DataFrame:
    """Give what was known when an event happened: earlier events, labels that had arrived, and the event, last.

    Parameters
    ----------
    frame
        Columns as in `tables.Events`, sorted by event_time.
    row
        The event.
    """
    event = frame[row].with_columns(label=pl.lit(None, pl.Int8), label_time=pl.lit(None, frame.schema["label_time"]))
    t = frame["event_time"][row]
    arrived = pl.col("label_time") <= t
    earlier = frame.head(int(frame["event_time"].search_sorted(t, side="left"))).with_columns(
        label=pl.when(arrived).then("label"), label_time=pl.when(arrived).then("label_time")
    )
    return pl.concat([earlier, event])


def recompute(
    frame: pl.DataFrame,
    row: int,
    features: FeatureSet,
    *,
    timezone: str,
    sources: Mapping[str, pl.DataFrame] | None = None,
    names: Collection[str] | None = None,
) -> dict[str, Value]:
    """Compute features (by default all) of one event from the world that was known at it.

    Returns
    -------
    Feature name -> value; floats are finite, or None for null.
    """
    known = pl.col("usable_time") < frame["event_time"][row]
    then = {name: source.filter(known) for name, source in (sources or {}).items()}
    world = World(known_world(frame, row), features, timezone, then)
    return {name: world.value(world.frame.height - 1, name) for name in names or features.names}


class World:
    """A known world, and the features of its events, each at its own time."""

    def __init__(
        self, frame: pl.DataFrame, features: FeatureSet, timezone: str, sources: Mapping[str, pl.DataFrame]
    ) -> None:
        self.frame = frame
        self.sources = sources
        self.specs: dict[str, Spec] = {step.name: step.spec for step in features.steps}
        self.dtypes = {step.name: POLARS_TYPES[step.dtype] for step in features.steps}
        self.timezone = timezone
        self._times = frame["event_time"].dt.epoch("us")
        self._arrivals = frame["label_time"].dt.epoch("us")
        self._values: dict[tuple[int, str], Value] = {}
        self._groups: dict[tuple[tuple[str, Any], ...], list[int]] = {}

    def value(self, row: int, name: str) -> Value:
        """Give a feature, or a column of the data, of one event."""
        if name not in self.specs:
            return _plain(self.frame[name][row])
        if (row, name) not in self._values:
            self._values[row, name] = self._typed(name, self._compute(row, self.specs[name]))
        return self._values[row, name]

    def _typed(self, name: str, value: Value) -> Value:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        return _plain(pl.Series([value]).cast(self.dtypes[name])[0])

    def _compute(self, row: int, spec: Spec) -> Value:
        if isinstance(spec, RawSpec):
            return _plain(self.frame[spec.column][row])
        if isinstance(spec, RowSpec):
            return self._row_level(row, spec)
        if isinstance(spec, RatioSpec):
            upper, lower = self.value(row, spec.upper), self.value(row, spec.lower)
            return None if upper is None or not lower else _number(upper) / _number(lower) * spec.factor
        if isinstance(spec, WindowSpec):
            return self._window(row, spec)
        if isinstance(spec, LabelSpec):
            return self._label(row, spec)
        if isinstance(spec, RecencySpec):
            return self._recency(row, spec)
        if isinstance(spec, (SourceWindowSpec, LookupSpec)):
            return self._source(row, spec)
        if isinstance(spec, LinkSpec):
            return self._link(row, spec)
        return self._pair(row, spec) if isinstance(spec, PairSpec) else self._hour(row, spec)

    # ------------------------------------------------------------ what is seen

    def time(self, row: int) -> int:
        """Give the event's time in µs."""
        return int(self._times[row])

    def before(self, row: int, *entities: str, window_us: int | None = None) -> list[int]:
        """Give the earlier events of the same entities, event_time in ``(t - window, t)``."""
        key = tuple((entity, self.frame[entity][row]) for entity in entities)
        if any(value is None for _, value in key):
            return []
        if key not in self._groups:
            same = pl.all_horizontal(pl.col(entity) == value for entity, value in key)
            self._groups[key] = self.frame.select(same.fill_null(value=False).arg_true()).to_series().to_list()
        t = self.time(row)
        earlier = [other for other in self._groups[key] if self.time(other) < t]
        return [other for other in earlier if window_us is None or self.time(other) > t - window_us]

    def outcomes(self, row: int, entity: str, window_us: int | None = None) -> list[tuple[int, int]]:
        """Give (event time, outcome) of earlier events whose label_time lies in ``(t - window, t]``."""
        t = self.time(row)
        seen = [i for i in self.before(row, entity) if self._arrivals[i] is not None and self._arrivals[i] <= t]
        kept = [i for i in seen if window_us is None or self._arrivals[i] > t - window_us]
        return [(self.time(i), int(self.frame["label"][i])) for i in kept]

    # ------------------------------------------------------------ kinds

    def _row_level(self, row: int, spec: RowSpec) -> Value:
        names = spec.expr.columns or ("event_time",)
        one = {
            name: pl.Series(name, [self.value(row, name)], dtype=self.dtypes[name])
            if name in self.specs
            else self.frame[name][row : row + 1]
            for name in names
        }
        return _plain(spec.expr.apply(pl.DataFrame(one), timezone=self.timezone)[0])

    def _window(self, row: int, spec: WindowSpec) -> Value:
        rows = self.before(row, spec.entity, window_us=spec.window_us) + ([row] if spec.include_current else [])
        if spec.where is not None:
            rows = [other for other in rows if self._row_level(other, RowSpec(spec.where)) is True]
        if spec.kind == "count" or spec.column is None:
            return len(rows)
        values = [value for value in (self.value(other, spec.column) for other in rows) if value is not None]
        if spec.kind == "nunique":
            return len(set(values))
        return aggregate(spec.kind, [_number(value) for value in values])

    def _source(self, row: int, spec: SourceWindowSpec | LookupSpec) -> Value:
        entity, t = self.frame[spec.entity][row], self.time(row)
        rows = [] if entity is None else self.sources[spec.source].rows(named=True)
        seen = [other for other in rows if other[spec.entity] == entity and _micros(other["usable_time"]) < t]
        if isinstance(spec, LookupSpec):
            latest = max(enumerate(seen), key=lambda item: (item[1]["event_time"], item[0]), default=(0, None))[1]
            if latest is None:
                return None
            too_old = spec.max_age_us is not None and _micros(latest["event_time"]) <= t - spec.max_age_us
            return None if too_old else _plain(latest[spec.column])
        seen = [other for other in seen if _micros(other["usable_time"]) > t - spec.window_us]
        if spec.where is not None:
            schema = self.sources[spec.source].schema
            frame = pl.DataFrame(seen, schema=schema)
            kept = spec.where.apply(frame, timezone=self.timezone).to_list()
            seen = [other for other, keep in zip(seen, kept, strict=True) if keep is True]
        if spec.kind == "count" or spec.column is None:
            return len(seen)
        values = [other[spec.column] for other in seen if _plain(other[spec.column]) is not None]
        return len(set(values)) if spec.kind == "nunique" else aggregate(spec.kind, [float(value) for value in values])

    def _label(self, row: int, spec: LabelSpec) -> Value:
        seen = self.outcomes(row, spec.entity, spec.window_us)
        known, frauds = len(seen), [time for time, outcome in seen if outcome == 1]
        if spec.kind == "known_count":
            return known
        if spec.kind == "fraud_count":
            return len(frauds)
        if spec.kind == "fraud_rate":
            return len(frauds) / known if known else None
        if spec.kind == "smoothed_rate":
            t = self.time(row)
            everyone = self.frame["label"].filter((self._times < t) & (self._arrivals <= t))
            if everyone.is_empty():
                return None
            prior = int((everyone == 1).sum()) / len(everyone)
            return (len(frauds) + spec.prior_strength * prior) / (known + spec.prior_strength)
        if not frauds:
            return None
        when = min(frauds) if spec.kind == "seconds_since_first_fraud" else max(frauds)
        return (self.time(row) - when) / 1e6

    def _recency(self, row: int, spec: RecencySpec) -> Value:
        times = [self.time(other) for other in self.before(row, spec.entity)]
        if "fraud" in spec.kind:
            times = sorted(time for time, outcome in self.outcomes(row, spec.entity) if outcome == 1)
        if not times:
            return None
        when = times[0] if spec.kind == "seconds_since_first" else times[-1]
        if spec.kind == "seconds_since_fraud_run_began":
            for earlier in reversed(times):
                if when - earlier > spec.gap_us:
                    break
                when = earlier
        return (self.time(row) - when) / 1e6

    def _pair(self, row: int, spec: PairSpec) -> Value:
        if any(self.frame[entity][row] is None for entity in spec.entities):
            return None
        rows = self.before(row, *spec.entities)
        if spec.kind == "first_time":
            return not rows
        if spec.kind == "count":
            return len(rows)
        return (self.time(row) - self.time(rows[-1])) / 1e6 if rows else None

    def _link(self, row: int, spec: LinkSpec) -> Value:
        a, b = ((entity, self.frame[entity][row]) for entity in spec.entities)
        t = self.time(row)
        earlier = self.frame.filter(self._times < t).select(*spec.entities, "event_time", "label", "label_time")
        events = earlier.rows(named=True)
        partners: dict[Any, set[Any]] = {}
        linked: dict[Any, set[Any]] = {}
        own = {**dict([a, b]), "event_time": None}
        for event in [*events, own]:
            ends = [(entity, event[entity]) for entity in spec.entities]
            if any(value is None for _, value in ends) or ends[1] in partners.get(ends[0], set()):
                continue
            if event is own and spec.kind == "degree":
                continue
            for one, other in (ends, ends[::-1]):
                partners.setdefault(one, set()).add(other)
            if all(len(partners[end]) <= spec.hub for end in ends):
                for one, other in (ends, ends[::-1]):
                    linked.setdefault(one, set()).add(other)
        if spec.kind == "degree":
            return None if b[1] is None else len(partners.get(b, set()))
        if a[1] is None:
            return None
        component, edge = {a}, [a]
        while edge:
            fresh = linked.get(edge.pop(), set()) - component
            component |= fresh
            edge += fresh
        if spec.kind == "component_size":
            return sum(entity == a[0] for entity, _ in component)
        inside = [event for event in events if any((entity, event[entity]) in component for entity in spec.entities)]
        if spec.kind == "component_age_seconds":
            return (t - _micros(inside[0]["event_time"])) / 1e6 if inside else None
        return self._link_rate(t, a, b[0], component, events)

    def _link_rate(self, t: int, own: tuple[str, Any], shared: str, component: set[Any], events: list[Any]) -> Value:
        """Give the fraud rate of others; an event belongs where its first entity does, or else its second."""
        outcomes = []
        for event in events:
            home = own[0] if event[own[0]] is not None else shared
            other = (home, event[home]) in component and event[own[0]] != own[1]
            if other and event["label_time"] is not None and _micros(event["label_time"]) <= t:
                outcomes.append(event["label"])
        return sum(outcomes) / len(outcomes) if outcomes else None

    def _hour(self, row: int, spec: HourSpec) -> Value:
        angles = [
            2 * math.pi * self._minute(other) / 1440
            for other in self.before(row, spec.entity, window_us=spec.window_us)
        ]
        if not angles:
            return None
        x, y = math.fsum(map(math.cos, angles)), math.fsum(map(math.sin, angles))
        length = math.sqrt(x * x + y * y) / len(angles)
        if spec.kind == "hour_concentration":
            return min(length, 1.0)
        if length < 1e-9:
            return None
        apart = abs(self._minute(row) / 60 - math.atan2(y, x) * 12 / math.pi) % 24
        return min(apart, 24 - apart)

    def _minute(self, row: int) -> int:
        local: datetime = self.frame["event_time"][row].astimezone(ZoneInfo(self.timezone))
        return local.hour * 60 + local.minute


def aggregate(kind: str, values: list[float]) -> float | None:
    """Aggregate values that are not null; None where that is undefined or not finite.

    >>> aggregate("mad", [1.0, 2.0, 6.0]), aggregate("std", [1.0])
    (1.0, None)
    """
    if not values or (kind == "std" and len(values) < 2):
        return None
    if kind == "min":
        return min(values)
    if kind == "max":
        return max(values)
    if kind == "std":
        return _std(values)
    if kind in {"median", "mad"}:
        centre = _median(values)
        return centre if kind == "median" else _median([abs(value - centre) for value in values])
    try:
        total = math.fsum(values)
    except OverflowError:
        return None
    return total if kind == "sum" else total / len(values)


def _median(values: list[float]) -> float:
    ordered, n = sorted(values), len(values)
    return ordered[n // 2] if n % 2 else 0.5 * ordered[n // 2 - 1] + 0.5 * ordered[n // 2]


def _std(values: list[float]) -> float | None:
    """Give the standard deviation with ddof 1, in two passes, from the exact variance brought near to 1."""
    exact, n = [Fraction(value) for value in values], len(values)
    mean = sum(exact, Fraction(0)) / n
    variance = sum(((value - mean) * (value - mean) for value in exact), Fraction(0)) / (n - 1)
    scale = (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
    try:
        return math.ldexp(math.sqrt(variance * (Fraction(1, 4**scale) if scale >= 0 else 4**-scale)), scale)
    except OverflowError:
        return None


def _micros(time: datetime) -> int:
    return (time - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(microseconds=1)


def _number(value: Value) -> float:
    return float(value) if value is not None else math.nan


def _plain(value: Any) -> Value:
    """Give null for NaN and infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
