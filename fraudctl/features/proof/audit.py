"""Proof that features tell nothing that was not known: recompute a sample, alter the future, look at foreign columns.

Owns three questions. Does every feature of a sampled event equal what the reference computes from the world that was
known at that event? Does it stay the same when everything later is altered? And, for columns that were computed
elsewhere and whose definition is not declared: does one alone (or whether it is null) nearly give the label, does it
know frauds of an entity that had happened but not become known, and does it know of the future what the past does not
explain (`foresight`)?
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from fraudctl.data.labels import CHANGES
from fraudctl.data.tables import Events
from fraudctl.documents.types import JsonObject
from fraudctl.errors import DataError
from fraudctl.features.batch import aggregates, groups
from fraudctl.features.batch.build import build
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.meaning.lookback import seen_rows
from fraudctl.features.proof.foresight import Outlook, auc_of, outlook
from fraudctl.features.proof.reference import History, TooLongError, World
from fraudctl.text.plain import shown_all

Flags = np.ndarray[Any, np.dtype[np.bool_]]

SCHEMA_VERSION = 1
_TOLERANCE = 1e-9
_LEAK_AUC = 0.98
_PENDING_AUC = 0.95
_LEAST_PENDING = 20
_MOST_EXAMPLES = 5
_TOLD_EACH = 10
"""Features of an event after which progress is told: the first of an entity reads its whole column."""
STEPS_EACH = 20_000
"""Values of earlier events that every feature may read at every event, whatever the budget."""


@dataclass(frozen=True)
class Difference:
    """A feature that is not what it should be.

    Attributes
    ----------
    feature
        Its name.
    check
        recomputed (from the known world) or future (was altered).
    n_differing, n_checked
        Events that differ, and events looked at.
    largest
        Largest relative difference, or None where one side is null or the feature is no number.
    event_ids
        A few of the events, as text.
    """

    feature: str
    check: str
    n_differing: int
    n_checked: int
    largest: float | None
    event_ids: tuple[str, ...]


@dataclass(frozen=True)
class Suspect:
    """A column without a declared definition that behaves as if it knew more than it may.

    ``check`` is single_column (alone it nearly gives the label), nulls (whether it is null does), pending_frauds (it
    knows an entity's frauds whose labels had not arrived), foresight (it knows what came later beyond what the past
    explains) or snapshots (its values changed with later data; declared columns are looked at too); ``value`` is the
    measure that gave it away: an AUC, for nulls a difference of shares, for snapshots the share of events, for
    foresight the share explained, or an AUC where it is the event's own label.
    """

    column: str
    check: str
    value: float
    words: str


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes
    ----------
    n_events
        Events in the sample.
    n_features
        Declared features that were recomputed.
    differences
        One for each feature and check that failed.
    suspects
        Undeclared columns that look like leaks.
    undeclared
        Columns that were not recomputed, for nothing declares what they mean.
    n_future
        Latest events that features were built from twice, the second time with another future.
    digest
        SHA-256 of the values that were recomputed, with event ids and names, one JSON list a line.
    passed_over
        Feature -> sampled events at which it was not recomputed, because that would have read too many earlier events.
    """

    n_events: int
    n_features: int
    differences: tuple[Difference, ...]
    suspects: tuple[Suspect, ...]
    undeclared: tuple[str, ...]
    n_future: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    digest: str | None = None

    @property
    def n_passed_over(self) -> int:
        """Number of values that were not recomputed."""
        return sum(self.passed_over.values())

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.differences and not self.suspects

    def to_dict(self) -> JsonObject:
        """Return it as what JSON can hold."""
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed, **asdict(self)}


def audit(
    events: Events,
    features: FeatureSet,
    table: pl.DataFrame,
    *,
    sample: int,
    seed: int,
    timezone: str,
    sources: Mapping[str, pl.DataFrame] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    future_rows: int | None = None,
    steps: int | None = None,
    snapshot: pl.DataFrame | None = None,
) -> AuditResult:
    """Audit a feature table.

    Parameters
    ----------
    events
        The events that the table was built from.
    features
        What the declared columns mean.
    table
        ``event_id`` and feature columns: a table of `build`, or one that was computed elsewhere. Declared features that
        it does not have are passed over; columns that nothing declares are tested for what can be tested.
    sample
        Events to recompute: a quarter of them frauds or events of entities with a known fraud, where there are any.
    seed
        Of the sample.
    sources
        The other tables, as `batch.build` takes them.
    future_rows
        Build from this many of the latest events when the future is altered; default: from all.
    steps
        Values of earlier events that recomputing may read in all; default: no limit. Every feature may read
        `STEPS_EACH` at every event, whatever was read before; what would read more than that and than is left of the
        event's share is passed over and counted.
    snapshot
        The same table as it was computed earlier, from fewer data: what both say of an event has to be the same.

    Raises
    ------
    DataError
        The table lacks ``event_id``, holds an event twice or not at all, or has none of the features.
    """
    table = _aligned(events, table)
    declared = [name for name in features.names if name in table.columns]
    foreign = [name for name in table.columns if name not in {*declared, *events.frame.columns}]
    if not declared and not foreign:
        msg = "the audited table has neither a declared feature nor any other column that could be tested"
        raise DataError(msg)
    rows = _sample(events.frame, sample, seed)
    recomputing = _Recomputing(events.frame, features, rows, declared, timezone, sources or {}, steps)
    differences = recomputing.compare(table, progress)
    late = events if future_rows is None else replace(events, frame=events.frame.tail(future_rows))
    if declared:
        inside = rows if future_rows is None else [late.frame.height // 2]
        differences += _future_altered(late, features, declared, inside, timezone, sources, seed, progress)
    pending = [_pending(events.frame, entity) for entity in features.entities] if foreign else []
    outlooks = [outlook(events.frame, entity, seed=seed) for entity in features.entities] if foreign else []
    ahead = [found for found in outlooks if found is not None]
    suspects = [item for name in foreign for item in _suspicions(events.frame, table[name], pending, ahead)]
    if snapshot is not None:
        suspects += _changed(table, snapshot, [*declared, *foreign])
    return AuditResult(
        len(rows),
        len(declared),
        tuple(differences),
        tuple(suspects),
        tuple(foreign),
        n_future=late.frame.height if declared else 0,
        passed_over=recomputing.passed_over,
        digest=recomputing.digest.hexdigest() if declared else None,
    )


def _changed(table: pl.DataFrame, snapshot: pl.DataFrame, names: list[str]) -> list[Suspect]:
    """Find columns whose values for the same events are not what they were in an earlier snapshot."""
    shared = [name for name in names if name in snapshot.columns]
    if "event_id" not in snapshot.columns or not shared:
        msg = "the snapshot has no column 'event_id', or no feature of the audited table"
        raise DataError(msg)
    earlier = snapshot.select(pl.col("event_id").cast(table.schema["event_id"]), *shared)
    both = table.select("event_id", *shared).join(earlier, on="event_id", how="inner", suffix=".before")
    if both.is_empty():
        msg = "the snapshot has no event of the audited table"
        raise DataError(msg)
    out = []
    for name in shared:
        now, before = both[name], both[f"{name}.before"]
        if now.dtype == before.dtype:  # what is equal need not be looked at value by value
            differs = now.ne_missing(before)
            now, before = now.filter(differs), before.filter(differs)
        pairs = zip(now.to_list(), before.to_list(), strict=True)
        share = sum(_distance(new, old) > _TOLERANCE for new, old in pairs) / both.height
        if share:
            text = "values of earlier events changed when later data came: they were not known at the event"
            out.append(Suspect(name, "snapshots", share, text))
    return out


def _aligned(events: Events, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the table in the order of the events."""
    if "event_id" not in table.columns:
        msg = f"the audited table has no column 'event_id'; it has {shown_all(table.columns)}"
        raise DataError(msg)
    ids = events.frame["event_id"]
    if table["event_id"].equals(ids):
        return table
    try:
        keyed = table.with_columns(pl.col("event_id").cast(ids.dtype))
    except pl.exceptions.PolarsError as error:
        msg = f"the audited table's event_id is {table.schema['event_id']}; expected {ids.dtype}"
        raise DataError(msg) from error
    n_twice = int(keyed["event_id"].is_duplicated().sum())
    n_missing = int((~ids.is_in(keyed["event_id"].implode())).sum())
    if n_twice or n_missing:
        msg = f"the audited table holds {n_twice} event ids more than once and lacks {n_missing} of {len(ids)} events"
        raise DataError(msg, hint="audit a table with one row for each event of the project's data")
    return events.frame.select("event_id").join(keyed, on="event_id", how="left", maintain_order="left")


def _sample(frame: pl.DataFrame, sample: int, seed: int) -> list[int]:
    """Draw rows: up to a quarter frauds, the rest any, without repetition, in order."""
    random = np.random.default_rng(seed)
    n = min(sample, frame.height)
    frauds = np.flatnonzero((frame["label"] == 1).fill_null(value=False).to_numpy())
    chosen = set(random.choice(frauds, min(len(frauds), n // 4), replace=False).tolist()) if len(frauds) else set()
    free = np.ones(frame.height, dtype=np.bool_)
    free[list(chosen)] = False
    others = np.flatnonzero(free)
    chosen.update(random.choice(others, n - len(chosen), replace=False).tolist())
    return sorted(chosen)


# ---------------------------------------------------------------- declared features


class _Recomputing:
    """The features of sampled events by the reference engine, within a budget of steps.

    The budget is shared evenly among the events; what one leaves, the next may use. Features are visited in another
    order at every event, so that none of them is passed over only for its place.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        features: FeatureSet,
        rows: list[int],
        declared: list[str],
        timezone: str,
        sources: Mapping[str, pl.DataFrame],
        steps: int | None,
    ) -> None:
        self._history, self._features, self._rows, self._declared = History(frame), features, rows, declared
        self._timezone, self._sources, self._steps = timezone, sources, steps
        self._spent = 0
        self.digest = hashlib.sha256()
        self.passed_over: Counter[str] = Counter()
        for entity in features.entities:
            self._history.find(entity, frame[entity].gather(rows).to_list())

    def compare(self, table: pl.DataFrame, progress: Callable[[str, int, int], None] | None) -> list[Difference]:
        """Return the features of the table that differ at any of the events."""
        expected: dict[str, list[Any]] = {name: [] for name in self._declared}
        places: dict[str, list[int]] = {name: [] for name in self._declared}
        ids = self._history.frame["event_id"]
        for done, row in enumerate(self._rows, start=1):
            for place, (name, value) in enumerate(self._event(done - 1, row)):
                if progress is not None and place % _TOLD_EACH == 0:
                    progress(f"recomputed, {name}", done - 1, len(self._rows))
                line = json.dumps([str(ids[row]), name, value], default=str, ensure_ascii=False)
                self.digest.update(f"{line}\n".encode())
                expected[name].append(value)
                places[name].append(row)
            if progress is not None:
                progress("recomputed", done, len(self._rows))
        found = (
            _compared(name, "recomputed", table[name].gather(at).to_list(), expected[name], ids.gather(at).to_list())
            for name, at in places.items()
        )
        return [item for item in found if item is not None]

    def _event(self, number: int, row: int) -> Iterator[tuple[str, Any]]:
        world = World(self._history, row, self._features, timezone=self._timezone, sources=self._sources)
        left = None if self._steps is None else (self._steps - self._spent) // (len(self._rows) - number)
        turn = number * 7 % max(len(self._declared), 1)
        for name in (*self._declared[turn:], *self._declared[:turn]):
            world.steps = None if left is None else max(left, STEPS_EACH)
            try:
                yield name, world.value(row, name)
            except TooLongError:
                self.passed_over[name] += 1
                continue
            finally:
                self._spent += world.spent
                left = None if left is None else left - world.spent


def _compared(name: str, check: str, got: list[Any], expected: list[Any], ids: list[Any]) -> Difference | None:
    apart = [(i, _distance(a, b)) for i, (a, b) in enumerate(zip(got, expected, strict=True))]
    wrong = [(i, distance) for i, distance in apart if distance > _TOLERANCE]
    if not wrong:
        return None
    sizes = [distance for _, distance in wrong if math.isfinite(distance)]
    examples = tuple(str(ids[i]) for i, _ in wrong[:_MOST_EXAMPLES])
    return Difference(name, check, len(wrong), len(got), max(sizes, default=None), examples)


def _distance(got: Any, expected: Any) -> float:
    """Return the relative difference of two numbers; of anything else 0 where equal and infinity where not."""
    if isinstance(got, float) and not math.isfinite(got):
        got = None
    if isinstance(got, (int, float)) and isinstance(expected, (int, float)):
        return abs(got - expected) / max(abs(got), abs(expected), 1e-300) if got != expected else 0.0
    return 0.0 if got == expected else math.inf


def _future_altered(
    events: Events,
    features: FeatureSet,
    declared: list[str],
    rows: list[int],
    timezone: str,
    sources: Mapping[str, pl.DataFrame] | None,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> list[Difference]:
    """Build all features twice, the second time with another future, and compare what lies before it."""
    say, n = progress or (lambda *_: None), 2 * len(features.steps)

    def told(before: int) -> Callable[[str, int, int], None]:
        return lambda name, done, _: say(f"future altered, {name}", min(before + done, n), n)

    say("future altered", 0, n)
    frame = events.frame
    cut = frame["event_time"][rows[len(rows) // 2]]
    before = frame["event_time"] <= cut
    sources = seen_rows(
        features, _of_same_ids(sources or {}, frame, features.entities), from_time=frame["event_time"][0]
    )
    first = build(events, features, timezone=timezone, sources=sources, progress=told(0)).filter(before)
    say("future altered, another future", n // 2, n)
    altered = replace(events, frame=_with_another_future(frame, cut, seed))
    usable = pl.col("usable_time") < cut
    then = {name: source.filter(usable) for name, source in sources.items()}
    second = build(altered, features, timezone=timezone, sources=then, progress=told(n // 2))
    say("future altered", n, n)
    second = first.select("event_id").join(second, on="event_id", how="left", maintain_order="left")
    out: list[Difference] = []
    for name in declared:
        differs = first[name].ne_missing(second[name])
        if differs.any():
            ids = tuple(str(item) for item in first["event_id"].filter(differs).head(_MOST_EXAMPLES))
            out.append(Difference(name, "future", int(differs.sum()), first.height, None, ids))
    return out


def _of_same_ids(
    sources: Mapping[str, pl.DataFrame], frame: pl.DataFrame, entities: Iterable[str]
) -> dict[str, pl.DataFrame]:
    """Return the rows of other tables that share an id of any entity with any event: no event can see another."""
    out = {}
    for name, source in sources.items():
        ids = [(source[entity], frame[entity]) for entity in entities if entity in source.columns]
        alike = bool(ids) and all(theirs.dtype == ours.dtype for theirs, ours in ids)
        known = [theirs.is_in(ours.unique().implode()).fill_null(value=False) for theirs, ours in ids if alike]
        out[name] = source.filter(functools.reduce(operator.or_, known)) if known else source
    return out


def _with_another_future(frame: pl.DataFrame, cut: Any, seed: int) -> pl.DataFrame:
    """Shuffle the columns of all later events among them, and turn every label that was not known by the cut."""
    later = pl.col("event_time") > cut
    past, future = frame.filter(~later), frame.filter(later)
    random = np.random.default_rng(seed)
    fixed = {"event_id", "event_time", "label", "label_time", CHANGES}
    shuffled = [
        series if series.name in fixed else series.gather(random.permutation(future.height))
        for series in future.get_columns()
    ]
    unknown = pl.col("label_time") > cut
    turned = pl.when(unknown).then((1 - pl.col("label")).cast(pl.Int8)).otherwise("label")
    out = pl.concat([past, pl.DataFrame(shuffled)]).with_columns(label=turned)
    if CHANGES not in frame.columns:
        return out
    time, label = pl.element().struct.field("time"), pl.element().struct.field("label")
    other = pl.when(time > cut).then((1 - label).cast(pl.Int8)).otherwise(label).alias("label")
    return out.with_columns(pl.col(CHANGES).list.eval(pl.struct(time.alias("time"), other)))


# ---------------------------------------------------------------- columns that nothing declares


@dataclass(frozen=True)
class _Pending:
    """Legitimate events of an entity without a known fraud; and which of them follow a fraud not yet known."""

    entity: str
    rows: Flags
    pending: Flags


def _pending(frame: pl.DataFrame, entity: str) -> _Pending:
    known = _frauds_before(frame, entity, frame["label_time"])
    happened = _frauds_before(frame, entity, frame["event_time"].set(frame["label_time"].is_null(), None))
    rows = (known == 0) & (frame["label"] == 0).fill_null(value=False).to_numpy()
    return _Pending(entity, rows, happened > 0)


def _frauds_before(frame: pl.DataFrame, entity: str, label_time: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Count an entity's earlier frauds whose label had arrived, by row."""
    times = frame["event_time"].dt.epoch("us").to_numpy()
    workers = groups.Workers(1)
    queries = groups.queries_of(*groups.codes_of(frame[entity]), times, workers=workers)
    outcomes = groups.Outcomes.of(frame["label"], label_time)
    labels = groups.label_history(queries, outcomes, times, workers=workers)
    ranges = groups.label_ranges(queries, labels, [groups.FOREVER], workers=workers)
    out = np.empty(frame.height, np.int64)
    out[queries.order] = aggregates.fraud_counts(queries, labels.history, ranges, labels.outcome)[0]
    return out


def _suspicions(frame: pl.DataFrame, column: pl.Series, pending: list[_Pending], ahead: list[Outlook]) -> list[Suspect]:
    """Test one foreign column for what can be tested without its definition."""
    values, known = _ranked(column), frame["label"].is_not_null().to_numpy()
    y_true = frame["label"].fill_null(0).to_numpy()
    out: list[Suspect] = []
    usable = known & ~np.isnan(values)
    if _both_classes(y_true[usable]):
        auc = auc_of(y_true[usable], values[usable])
        if max(auc, 1 - auc) >= _LEAK_AUC:
            text = "this column alone ranks nearly every fraud above nearly every legitimate event, or below"
            out.append(Suspect(column.name, "single_column", max(auc, 1 - auc), text))
    if _both_classes(y_true[known]):
        gap = _null_gap(np.isnan(values), y_true, known)
        if gap >= _LEAK_AUC:
            out.append(Suspect(column.name, "nulls", gap, "whether this column is null nearly gives the label"))
    for item in pending:
        rows = item.rows & ~np.isnan(values)
        follows = item.pending[rows]
        if min(follows.sum(), (~follows).sum()) < _LEAST_PENDING:
            continue
        auc = auc_of(follows, values[rows])
        if max(auc, 1 - auc) >= _PENDING_AUC:
            text = f"this column knows frauds of the {item.entity} whose labels had not arrived"
            out.append(Suspect(column.name, "pending_frauds", max(auc, 1 - auc), text))
    out += [Suspect(column.name, "foresight", item.value, item.words) for view in ahead for item in view.of(values)]
    return out


def _ranked(column: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column as numbers in which only the order matters; null as NaN."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64).fill_null(math.nan).to_numpy()
    return column.cast(pl.String).rank("dense").cast(pl.Float64).fill_null(math.nan).to_numpy()


def _both_classes(y_true: np.ndarray[Any, Any]) -> bool:
    return bool(len(y_true)) and bool(y_true.any()) and not bool(y_true.all())


def _null_gap(is_null: Flags, y_true: np.ndarray[Any, Any], labelled: Flags) -> float:
    """Return the difference between the classes in the share of nulls."""
    null, y = is_null[labelled], y_true[labelled]
    return float(abs(null[y == 1].mean() - null[y == 0].mean()))
