"""The reference engine: plain Python, written from the definitions alone; every other engine has to agree with it.

Owns one question: given one event and the world that was known at it, what is the value of each feature? Later events,
events of the same instant and labels that had not arrived are never read. A feature of an earlier event (for a window
over a feature) is computed as of that earlier event.

The rows of an entity are found by one pass over its column, so that an event costs in proportion to the history of its
entities, not to the table. `World` counts its steps, so that `audit` can pass over what would take too long. It shares
no code with the engines that it checks.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from fraudctl.data.labels import CHANGES
from fraudctl.features.meaning.definition import POLARS_TYPES, FeatureSet
from fraudctl.features.meaning.families.base import Spec, is_column
from fraudctl.features.meaning.families.decay import BLOCK, DecaySpec
from fraudctl.features.meaning.families.geo import GeoSpec
from fraudctl.features.meaning.families.habits import HabitSpec
from fraudctl.features.meaning.families.hours import HourSpec
from fraudctl.features.meaning.families.labels import LabelSpec
from fraudctl.features.meaning.families.links import LinkSpec
from fraudctl.features.meaning.families.lookups import LookupSpec
from fraudctl.features.meaning.families.pairs import PairSpec
from fraudctl.features.meaning.families.recency import RecencySpec
from fraudctl.features.meaning.families.rows import RawSpec, RowSpec
from fraudctl.features.meaning.families.source_windows import SourceWindowSpec
from fraudctl.features.meaning.families.spacing import SpacingSpec
from fraudctl.features.meaning.families.trends import RatioSpec
from fraudctl.features.meaning.families.windows import WindowSpec
from fraudctl.features.proof.aggregates import Value, aggregate, number, of_moment, place, plain
from fraudctl.features.proof.graph import Graph, Node
from fraudctl.features.rows.read import RowExpr

Rows = np.ndarray[Any, np.dtype[np.int64]]

_NEVER = np.iinfo(np.int64).max
_MOST_PASSES = 3
"""Passes over a column for some of its values, before one finds the rows of all."""

_CALL = 100
"""Steps that one aggregate of one event counts for, whatever it reads."""


class TooLongError(Exception):
    """A feature of one event would take more steps than are allowed."""


class History:
    """The events of a table by entity: rows are found by a pass over a column, and kept for the next event.

    Parameters
    ----------
    frame
        Columns as in `tables.Events`, sorted by event_time.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.times: Rows = frame["event_time"].dt.epoch("us").to_numpy()
        """event_time in µs, shape ``(n_events,)``."""
        self.arrivals: Rows = frame["label_time"].dt.epoch("us").fill_null(_NEVER).to_numpy()
        """label_time in µs, shape ``(n_events,)``; the largest integer where there is none."""
        self.labels: Rows = frame["label"].cast(pl.Int64).fill_null(0).to_numpy()
        changes = frame[CHANGES].to_list() if CHANGES in frame.columns else []
        self.changed = {
            row: [(_micros(item["time"]), int(item["label"])) for item in found]
            for row, found in enumerate(changes)
            if found is not None
        }
        """Row -> µs and label of every change, of the events whose label was changed."""
        self._numbers: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._found: dict[Node, tuple[pl.Series, int]] = {}
        self._passes: Counter[str] = Counter()

    def find(self, entity: str, values: Iterable[Any]) -> None:
        """Find the rows of several values of an entity in one pass; after a few passes, those of all values."""
        new = {value for value in values if value is not None and (entity, value) not in self._found}
        if not new or self._passes[entity] > _MOST_PASSES:
            return
        self._passes[entity] += 1
        column = self.frame[entity].alias("value")
        wanted = column.is_not_null()
        if self._passes[entity] <= _MOST_PASSES:
            wanted = column.is_in(pl.Series(list(new), dtype=column.dtype).implode())
        rows = wanted.arg_true().cast(pl.Int64).alias("row")
        groups = pl.DataFrame([column.gather(rows), rows]).group_by("value", maintain_order=True).agg("row")
        self._found.update(((entity, value), (groups["row"], at)) for at, value in enumerate(groups["value"].to_list()))

    def values(self, name: str, rows: list[int]) -> list[Value]:
        """Return a column at some rows; None for null, NaN and infinities."""
        column = self.frame[name]
        if not column.dtype.is_float():
            found: list[Value] = column.gather(rows).to_list()
            return found
        if name not in self._numbers:
            self._numbers[name] = column.cast(pl.Float64).set(~column.is_finite(), None).to_numpy()
        return [None if value != value else value for value in self._numbers[name][rows].tolist()]

    def rows(self, entity: str, value: Any) -> Rows:
        """Return the rows of one value, in the order of time; none for null."""
        self.find(entity, [value])
        found = self._found.get((entity, value))
        return _NO_ROWS if found is None else found[0][found[1]].to_numpy()

    def known(self, rows: Rows, t: int) -> tuple[Rows, Rows]:
        """Return since when the label of each event was what it was at ``t``, and that label.

        Returns
        -------
        µs, at most ``t`` where a label was known by then, and the label (without meaning where none was).
        """
        arrivals, labels = self.arrivals[rows], self.labels[rows]
        for at, row in enumerate(rows.tolist() if self.changed else ()):
            if row in self.changed:
                arrivals[at], labels[at] = _NEVER, 0
                for since, label in self.changed[row]:
                    if since <= t:
                        arrivals[at], labels[at] = since, label
        return arrivals, labels


_NO_ROWS: Rows = np.empty(0, np.int64)


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
    world = World(History(frame), row, features, timezone=timezone, sources=sources or {})
    return {name: world.value(row, name) for name in names or features.names}


class World:
    """The world that was known at one event, and the features of the events in it, each as of its own time.

    Parameters
    ----------
    history
        The events.
    row
        The event: the world ends before its instant.
    steps
        Most values of earlier events that one feature may read; None for no limit.
    """

    def __init__(
        self,
        history: History,
        row: int,
        features: FeatureSet,
        *,
        timezone: str,
        sources: Mapping[str, pl.DataFrame],
        steps: int | None = None,
    ) -> None:
        self.history = history
        self.frame = history.frame
        self.sources = sources
        self.specs: dict[str, Spec] = {step.name: step.spec for step in features.steps}
        self.dtypes = {step.name: POLARS_TYPES[step.dtype] for step in features.steps}
        self._schema = history.frame.schema
        self.timezone = timezone
        self.row = row
        self.steps = steps
        self.spent = 0
        self._values: dict[tuple[int, str], Value] = {}
        self._source_found: dict[tuple[str, str, Any], Sequence[Mapping[str, Any]]] = {}
        self._labels_known: dict[int, tuple[int, int]] = {}

    def value(self, row: int, name: str) -> Value:
        """Return a feature, or a column of the data, of one event.

        Raises
        ------
        TooLongError
            It takes more than ``steps``.
        """
        self.spent = 0
        return self.values([row], name)[0]

    def values(self, rows: list[int], name: str) -> list[Value]:
        """Return a feature, or a column of the data, of several events, each as of its own time."""
        self.spend(len(rows))
        spec = self.specs.get(name)
        if spec is None or is_column(name, spec):
            return self._column(rows, name, self.dtypes.get(name))
        new = [row for row in rows if (row, name) not in self._values]
        if new:
            typed = self._typed(name, self._compute(new, self.specs[name]))
            self._values.update(zip(((row, name) for row in new), typed, strict=True))
        return [self._values[row, name] for row in rows]

    def spend(self, steps: int) -> None:
        """Count values that are read; raise `TooLongError` beyond the limit."""
        self.spent += steps
        if self.steps is not None and self.spent > self.steps:
            raise TooLongError

    def _column(self, rows: list[int], name: str, dtype: pl.DataType | None = None) -> list[Value]:
        values = self.history.values(name, rows)
        if dtype is None or (dtype == pl.Float64 and self._schema[name].is_float()):
            return values
        return [plain(value) for value in pl.Series(values, dtype=self._schema[name]).cast(dtype).to_list()]

    def _typed(self, name: str, values: list[Value]) -> list[Value]:
        finite = [plain(value) for value in values]
        return [plain(value) for value in pl.Series(finite, strict=False).cast(self.dtypes[name]).to_list()]

    def _compute(self, rows: list[int], spec: Spec) -> list[Value]:
        for entity in spec.grouped_by[:1]:
            self.history.find(entity, self.frame[entity].gather(rows).to_list())
        return REFERENCE[type(spec)](self, rows, spec)

    # ------------------------------------------------------------ what is known

    def time(self, row: int) -> int:
        """Return the event's time in µs."""
        return int(self.history.times[row])

    def before(self, row: int, entity: str, *, window_us: int | None = None) -> Rows:
        """Return the rows of earlier events of the same entity, event_time in ``(t - window, t)``."""
        return self.earlier(entity, self.frame[entity][row], self.time(row), window_us=window_us)

    def earlier(self, entity: str, value: Any, t: int, *, window_us: int | None = None) -> Rows:
        """Return the rows of the events of one value of an entity, event_time in ``(t - window, t)``."""
        rows = self.history.rows(entity, value)
        times = self.history.times[rows]
        stop = int(np.searchsorted(times, min(t, self.time(self.row)), side="left"))
        start = 0 if window_us is None else int(np.searchsorted(times, t - window_us, side="right"))
        return rows[start:stop]

    def outcomes(self, row: int, entity: str, window_us: int | None = None) -> tuple[int, list[int]]:
        """Return what was known of earlier events of the same entity, since an instant in ``(t - window, t]``.

        Returns
        -------
        How many labels, and the event times of the frauds among them.
        """
        t, rows = self.time(row), self.before(row, entity)
        arrivals, labels = self.history.known(rows, t)
        seen = (arrivals <= t) & (arrivals > (t - window_us if window_us is not None else -_NEVER))
        frauds: list[int] = self.history.times[rows[seen & (labels == 1)]].tolist()
        self.spend(len(frauds))
        return int(np.count_nonzero(seen)), frauds

    # ------------------------------------------------------------ families

    def ratio(self, rows: list[int], spec: RatioSpec) -> list[Value]:
        """Return one feature over another, times a factor, of several events."""
        pairs = zip(self.values(rows, spec.upper), self.values(rows, spec.lower), strict=True)
        return [None if a is None or not b else number(a) / number(b) * spec.factor for a, b in pairs]

    def row_level(self, rows: list[int], expr: RowExpr) -> list[Value]:
        """Return a row-level expression of several events."""
        names = expr.columns or ("event_time",)
        columns = {
            name: pl.Series(name, self.values(rows, name), dtype=self.dtypes[name])
            if name in self.specs
            else self.frame[name].gather(rows)
            for name in names
        }
        return [plain(value) for value in expr.apply(pl.DataFrame(columns), timezone=self.timezone).to_list()]

    def window(self, row: int, spec: WindowSpec) -> Value:
        """Return a window aggregate over earlier events."""
        rows = self.before(row, spec.entity, window_us=spec.window_us).tolist()
        rows += [row] if spec.include_current else []
        if spec.where is not None and rows:
            self.spend(len(rows))
            kept = self.row_level(rows, spec.where)
            rows = [other for other, keep in zip(rows, kept, strict=True) if keep is True]
        if spec.kind == "count" or spec.column is None:
            return len(rows)
        values = [value for value in self.values(rows, spec.column) if value is not None] if rows else []
        if spec.kind == "nunique":
            return len(set(values))
        return aggregate(spec.kind, list(map(float, values)))

    def source_window(self, row: int, spec: SourceWindowSpec) -> Value:
        """Return a window aggregate over rows of another table."""
        t, source = self.time(row), self.sources[spec.source]
        seen = self._usable(row, spec.source, spec.entity)
        seen = [other for other in seen if _micros(other["usable_time"]) > t - spec.window_us]
        if spec.where is not None:
            frame = pl.DataFrame(seen, schema=source.schema)
            kept = spec.where.apply(frame, timezone=self.timezone).to_list()
            seen = [other for other, keep in zip(seen, kept, strict=True) if keep is True]
        if spec.kind == "count" or spec.column is None:
            return len(seen)
        values = [other[spec.column] for other in seen if plain(other[spec.column]) is not None]
        return len(set(values)) if spec.kind == "nunique" else aggregate(spec.kind, [float(value) for value in values])

    def lookup(self, row: int, spec: LookupSpec) -> Value:
        """Return an attribute of the latest row of another table that is not too old."""
        seen = self._usable(row, spec.source, spec.entity)
        latest = max(enumerate(seen), key=lambda item: (item[1]["event_time"], item[0]), default=(0, None))[1]
        if latest is None:
            return None
        age = spec.max_age_us
        too_old = age is not None and _micros(latest["event_time"]) <= self.time(row) - age
        if too_old or spec.kind == "value":
            return None if too_old else plain(latest[spec.column])
        return of_moment(spec.kind, latest[spec.column], self.frame["event_time"][row], self.timezone)

    def _usable(self, row: int, source: str, entity: str) -> list[Mapping[str, Any]]:
        """Return the rows of another table about the entity of an event that were usable before it."""
        rows = self._source_rows(source, entity, self.frame[entity][row])
        self.spend(len(rows))
        t = self.time(row)
        return [other for other in rows if _micros(other["usable_time"]) < t]

    def _source_rows(self, source: str, entity: str, value: Any) -> Sequence[Mapping[str, Any]]:
        """Return the rows of another table for one value of an entity; none for null."""
        key = source, entity, value
        if key not in self._source_found:
            table = self.sources[source]
            known = table.clear() if value is None else table.filter(pl.col(entity) == value)
            self._source_found[key] = known.rows(named=True)
        return self._source_found[key]

    def label(self, row: int, spec: LabelSpec) -> Value:
        """Return an aggregate of outcomes that had arrived."""
        known, frauds = self.outcomes(row, spec.entity, spec.window_us)
        if spec.kind == "known_count":
            return known
        if spec.kind == "fraud_count":
            return len(frauds)
        if spec.kind == "fraud_rate":
            return len(frauds) / known if known else None
        if spec.kind == "smoothed_rate":
            everyone, everyone_frauds = self._known_labels(row)
            if not everyone:
                return None
            prior = everyone_frauds / everyone
            return (len(frauds) + spec.prior_strength * prior) / (known + spec.prior_strength)
        if not frauds:
            return None
        when = min(frauds) if spec.kind == "seconds_since_first_fraud" else max(frauds)
        return (self.time(row) - when) / 1e6

    def _known_labels(self, row: int) -> tuple[int, int]:
        """Return how many labels of earlier events had arrived by an event, and how many of them are fraud."""
        if row not in self._labels_known:
            t = self.time(row)
            stop = int(np.searchsorted(self.history.times, t, side="left"))
            arrivals, labels = self.history.known(np.arange(stop), t)
            known = arrivals <= t
            self._labels_known[row] = int(np.count_nonzero(known)), int(np.count_nonzero(labels[known] == 1))
        return self._labels_known[row]

    def recency(self, row: int, spec: RecencySpec) -> Value:
        """Return the seconds since something earlier."""
        if "fraud" in spec.kind:
            _, times = self.outcomes(row, spec.entity)
        else:
            rows = self.before(row, spec.entity)
            times = [self.time(rows[0]), self.time(rows[-1])] if len(rows) else []
        if not times:
            return None
        when = times[0] if spec.kind == "seconds_since_first" else times[-1]
        if spec.kind == "seconds_since_fraud_run_began":
            for earlier in reversed(times):
                if when - earlier > spec.gap_us:
                    break
                when = earlier
        return (self.time(row) - when) / 1e6

    def pair(self, row: int, spec: PairSpec) -> Value:
        """Return what is known of earlier events of both entities."""
        a, b = spec.entities
        other = self.frame[b][row]
        if self.frame[a][row] is None or other is None:
            return None
        of_a = self.before(row, a)
        rows = of_a[(self.frame[b].gather(of_a) == other).fill_null(value=False).to_numpy()]
        if spec.kind == "first_time":
            return len(rows) == 0
        if spec.kind == "count":
            return len(rows)
        return (self.time(row) - self.time(int(rows[-1]))) / 1e6 if len(rows) else None

    def hour(self, row: int, spec: HourSpec) -> Value:
        """Return the distance from the usual hour, or how much hours lie together."""
        rows = self.before(row, spec.entity, window_us=spec.window_us).tolist()
        self.spend(len(rows))
        angles = [2 * math.pi * minute / 1440 for minute in self._minutes(rows)]
        if not angles:
            return None
        x, y = math.fsum(map(math.cos, angles)), math.fsum(map(math.sin, angles))
        length = math.sqrt(x * x + y * y) / len(angles)
        if spec.kind == "hour_concentration":
            return min(length, 1.0)
        if length < 1e-9:
            return None
        apart = abs(self._minutes([row])[0] / 60 - math.atan2(y, x) * 12 / math.pi) % 24
        return min(apart, 24 - apart)

    def _minutes(self, rows: list[int]) -> list[int]:
        """Return the minute of the local day of events."""
        zone = ZoneInfo(self.timezone)
        local: list[datetime] = [time.astimezone(zone) for time in self.frame["event_time"].gather(rows).to_list()]
        return [time.hour * 60 + time.minute for time in local]

    # ------------------------------------------------------------ latest and usual values, gaps, places

    def habit(self, row: int, spec: HabitSpec) -> Value:
        """Return the event against the latest or the usual values of its entity."""
        rows = self.before(row, spec.entity, window_us=spec.window_us).tolist()
        *earlier, own = self.values([*rows, row], spec.column)
        if spec.kind in {"last", "previous"}:
            back = 1 if spec.kind == "last" else 2
            value = None if len(earlier) < back else earlier[-back]
            return value if value is None or isinstance(value, str) else number(value)
        if own is None:
            return None
        if spec.kind == "changed":
            return None if not earlier or earlier[-1] is None else earlier[-1] != own
        if spec.kind in {"same", "seconds_same"}:
            n = next((i for i, value in enumerate(reversed(earlier)) if value != own), len(earlier))
            if spec.kind == "same":
                return n
            return (self.time(row) - self.time(rows[-n])) / 1e6 if n else None
        known = [value for value in earlier if value is not None]
        equal = sum(value == own for value in known)
        if spec.kind == "share":
            return equal / len(known) if known else None
        below = sum(number(value) < number(own) for value in known)
        return (below + 0.5 * equal) / len(known) if known else None

    def spacing(self, row: int, spec: SpacingSpec) -> Value:
        """Return something of the gaps between the latest events."""
        rows = [*self.before(row, spec.entity, window_us=spec.window_us).tolist(), row][-spec.gaps - 1 :]
        times = [self.time(other) for other in rows]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        if not gaps:
            return None
        if spec.kind == "min_gap":
            return min(gaps) / 1e6
        if spec.kind == "equal_gaps":
            return max(Counter(gap // 1_000_000 for gap in gaps).values())
        middle = sorted(gaps)[(len(gaps) - 1) // 2 : len(gaps) // 2 + 1]
        return sum(middle) / (len(middle) * 1e6)

    def decay(self, row: int, spec: DecaySpec) -> Value:
        """Return a sum over the events of two blocks, each with its weight."""
        t, block = self.time(row), BLOCK * spec.half_life_us
        rows = [
            other for other in self.before(row, spec.entity).tolist() if self.time(other) // block >= t // block - 1
        ]
        values = [1.0] * len(rows) if spec.column is None else [number(v) for v in self.values(rows, spec.column)]
        weights = [2.0 ** ((self.time(other) - t) / spec.half_life_us) for other in rows]
        there = [(value, weight) for value, weight in zip(values, weights, strict=True) if value == value]
        if spec.kind == "count":
            return math.fsum(weights)
        if not there:
            return None
        total = math.fsum(value * weight for value, weight in there)
        return total if spec.kind == "sum" else total / math.fsum(weight for _, weight in there)

    def geo(self, rows: list[int], spec: GeoSpec) -> list[Value]:
        """Return distances, speeds or coordinates of several events."""
        columns = [self.values(rows, name) for name in spec.places]
        return [place(spec.kind, *map(number, row)) for row in zip(*columns, strict=True)]

    # ------------------------------------------------------------ links

    def link(self, row: int, spec: LinkSpec) -> Value:
        """Return what is known of the component, or the number of partners."""
        a, b = own = tuple((entity, self.frame[entity][row]) for entity in spec.entities)
        t = self.time(row)
        if spec.kind == "degree":
            return None if b[1] is None else len(Graph(self, spec, t).partners_of(b))
        if a[1] is None:
            return None
        graph = Graph(self, spec, t)
        if spec.kind.startswith("neighbour"):
            return self._neighbours(graph, own, spec, t)
        component = graph.component(own)
        if spec.kind == "component_size":
            return sum(entity == a[0] for entity, _ in component)
        inside = graph.events_of(component)
        if spec.kind == "component_age_seconds":
            return (t - self.time(inside[0])) / 1e6 if inside else None
        return self._link_rate(t, a, b[0], component, inside)

    def _neighbours(self, graph: Graph, own: tuple[Node, ...], spec: LinkSpec, t: int) -> Value:
        """Return how many other values met the partners of an event's own, or their known frauds."""
        partners = {*graph.partners_of(own[0])[: spec.hub], *(end for end in own[1:] if end[1] is not None)}
        met = [graph.partners_of(partner) for partner in partners]
        others = {end for found in met if len(found) <= spec.hub for end in found} - {own[0]}
        if spec.kind == "neighbours":
            return len(others)
        rows = [self.earlier(*end, t) for end in others]
        self.spend(sum(map(len, rows)))
        known = [self.history.known(found, t) for found in rows]
        return sum(int(np.count_nonzero(labels[arrivals <= t] == 1)) for arrivals, labels in known)

    def _link_rate(self, t: int, own: Node, shared: str, component: set[Node], inside: list[int]) -> Value:
        """Return the fraud rate of others; an event belongs where its first entity does, or else its second."""
        outcomes = []
        for row in inside:
            first = self.frame[own[0]][row]
            home = own[0] if first is not None else shared
            other = (home, self.frame[home][row]) in component and first != own[1]
            arrivals, labels = self.history.known(np.array([row]), t)
            if other and arrivals[0] <= t:
                outcomes.append(int(labels[0]))
        return sum(outcomes) / len(outcomes) if outcomes else None


def _micros(time: datetime) -> int:
    return (time - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(microseconds=1)


# ---------------------------------------------------------------- the table

Compute = Callable[[World, list[int], Any], list[Value]]


def _each(one: Callable[[World, int, Any], Value]) -> Compute:
    """Return a function that computes a feature event by event, and counts the steps of each."""

    def compute(world: World, rows: list[int], spec: Any) -> list[Value]:
        out = []
        for row in rows:
            world.spend(_CALL)
            out.append(one(world, row, spec))
        return out

    return compute


REFERENCE: Mapping[type[Spec], Compute] = {
    RawSpec: lambda world, rows, spec: world.values(rows, spec.column),
    RowSpec: lambda world, rows, spec: world.row_level(rows, spec.expr),
    RatioSpec: World.ratio,
    WindowSpec: _each(World.window),
    SourceWindowSpec: _each(World.source_window),
    LookupSpec: _each(World.lookup),
    LabelSpec: _each(World.label),
    RecencySpec: _each(World.recency),
    PairSpec: _each(World.pair),
    LinkSpec: _each(World.link),
    HourSpec: _each(World.hour),
    HabitSpec: _each(World.habit),
    SpacingSpec: _each(World.spacing),
    DecaySpec: _each(World.decay),
    GeoSpec: World.geo,
}
"""Type of spec -> how the reference computes it, for some rows."""
