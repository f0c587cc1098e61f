"""What is settled before rows move: which rows are read where, where values go, and what is cut in time.

Pure: from what the first look at every split found to routes. No row is moved here and no file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from fraudctl.cluster.blobs import OWN, PAST, QUIET
from fraudctl.cluster.packed import FrameWriter
from fraudctl.data.labels import CHANGES
from fraudctl.features.batch.groups import Array
from fraudctl.features.batch.partition import N_BUCKETS, buckets_of, packed
from fraudctl.features.batch.passes import EVERYBODY, Pass, RowLevel, passes
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.meaning.lookback import Lookback

ASKS = ".asks"
"""Column that tells, of an extract, the rows whose features are wanted from those that others look back on."""
_BLOB_BYTES = 1 << 23
"""About as much as one value of an engine holds before it is packed: of more, engines take fresh memory each time."""
_SAMPLED_TIMES = 400
"""Times of a split by which the table is cut in time."""
_HOT_TIMES = 64
"""Times of a value in a split by which it is cut in time."""


@dataclass(frozen=True)
class RowRange:
    """Rows ``[first, first + rows)`` of the raw table, in the order of its files."""

    number: int
    first: int
    rows: int


def splits_of(n_rows: int, most_rows: int) -> list[RowRange]:
    """Cut a table into splits of about equal size.

    >>> splits_of(5, 2)
    [RowRange(number=0, first=0, rows=1), RowRange(number=1, first=1, rows=2), RowRange(number=2, first=3, rows=2)]
    """
    n = max(1, -(-n_rows // most_rows))
    edges = [n_rows * at // n for at in range(n + 1)]
    return [RowRange(at, edges[at], edges[at + 1] - edges[at]) for at in range(n)]


@dataclass(frozen=True)
class Heavy:
    """A value with many rows in one split: how many, and some of their times (µs), evenly spread."""

    value: Any
    rows: int
    times: Array


@dataclass(frozen=True)
class SplitFacts:
    """What a first look at a split finds.

    Attributes
    ----------
    number, rows
        Of the split.
    rising
        Whether each id is larger than the one before.
    first_id, last_id
        The ids at its ends.
    times
        Some of its times (µs), evenly spread by rank.
    last_time
        Its latest time (µs).
    amounts
        Amounts that are not null.
    counts
        By entity: rows by bucket, shape (N_BUCKETS,).
    heavy
        By entity: values with many rows.
    """

    number: int
    rows: int
    rising: bool
    first_id: Any
    last_id: Any
    times: Array
    last_time: int
    amounts: int
    counts: Mapping[str, Array]
    heavy: Mapping[str, list[Heavy]]


def facts_of(
    split: RowRange, frame: pl.DataFrame, entities: Sequence[str], *, rising: bool, heavy_from: int
) -> SplitFacts:
    """Look at the rows of a split.

    Parameters
    ----------
    frame
        Its rows with their roles, in the order of the files.
    heavy_from
        Rows from which on a value is reported.
    """
    times = frame["event_time"].dt.epoch("us").to_numpy()
    counts = {name: np.bincount(buckets_of(frame[name]), minlength=N_BUCKETS) for name in entities}
    heavy = {name: list(_heavy(frame[name], times, heavy_from)) for name in entities}
    amounts = frame["amount"].count() if "amount" in frame.columns else frame.height
    return SplitFacts(
        split.number, frame.height, rising, frame["event_id"][0], frame["event_id"][-1],
        _spread(times, _SAMPLED_TIMES), int(times.max()), amounts, counts, heavy,
    )  # fmt: skip


def _spread(times: Array, n: int) -> Array:
    at = (np.arange(min(n, len(times))) + 0.5) / min(n, len(times)) * len(times)
    found: Array = np.sort(times)[at.astype(np.int64)]
    return found


def _heavy(values: pl.Series, times: Array, heavy_from: int) -> Iterator[Heavy]:
    found = values.drop_nulls().value_counts(name="n").filter(pl.col("n") >= heavy_from)
    for value, n in found.sort(values.name).iter_rows():
        yield Heavy(value, n, _spread(times[(values == value).fill_null(value=False).to_numpy()], _HOT_TIMES))


@dataclass(frozen=True)
class Cut:
    """A value with too many rows for one task, cut in time.

    Attributes
    ----------
    edges
        µs at which slices begin, but for the first; rising, shape (n_slices - 1,).
    first_task
        The task of the first slice; the others follow.
    """

    value: Any
    edges: Array
    first_task: int

    def task_of(self, times: Array) -> Array:
        """Return the task that rows at these times belong to."""
        found: Array = self.first_task + np.searchsorted(self.edges, times, side="right")
        return found


@dataclass(frozen=True)
class Part:
    """Rows of a frame on their way to a task.

    Attributes
    ----------
    rows
        Positions in the frame, rising; None for all rows.
    """

    task: int
    kind: int
    frame: pl.DataFrame
    rows: Array | None = None

    def blobs(self) -> Iterator[pa.Buffer]:
        """Return the rows as bytes, of which one value of an engine holds no more than it may."""
        n = self.frame.height if self.rows is None else len(self.rows)
        each = max(1, int(_BLOB_BYTES / max(self.frame.estimated_size() / max(self.frame.height, 1), 1)))
        rows, writer = np.arange(n) if self.rows is None else self.rows, FrameWriter(self.frame)
        for start in range(0, n, each):
            yield writer.blob(rows[start : start + each])


@dataclass(frozen=True)
class Route:
    """To which task rows go.

    Attributes
    ----------
    n_tasks
        Number of tasks.
    places
        By task: the key by which the engine brings its rows together, shape (n_tasks,).
    columns
        What rows take along.
    quiet_columns
        What rows take along that do not ask (`ASKS`): with none they stay.
    """

    n_tasks: int
    places: Array
    columns: list[str]
    quiet_columns: list[str]

    def parts(self, frame: pl.DataFrame) -> Iterator[Part]:
        """Return rows by task and kind; each part keeps their order."""
        if ASKS not in frame.columns:
            yield from _by_task(frame.select(self.columns), self.task_of(frame), OWN)
            return
        task, asks = self.task_of(frame), frame[ASKS].to_numpy()
        for kind, columns, rows in ((OWN, self.columns, asks), (QUIET, self.quiet_columns, ~asks)):
            if columns and rows.any():
                yield from _by_task(frame.select(columns), task, kind, np.flatnonzero(rows))

    def task_of(self, frame: pl.DataFrame) -> Array:
        """Return the task that each row belongs to, shape (n,)."""
        raise NotImplementedError


def _by_task(frame: pl.DataFrame, task: Array, kind: int, rows: Array | None = None) -> Iterator[Part]:
    """Return rows of a frame by task, by default all of them."""
    order = np.argsort(task, kind="stable") if rows is None else rows[np.argsort(task[rows], kind="stable")]
    numbers, starts = np.unique(task[order], return_index=True)
    in_order = rows is None and not (np.diff(task) < 0).any()
    for number, start, stop in zip(numbers.tolist(), starts.tolist(), [*starts.tolist()[1:], len(order)], strict=True):
        yield Part(number, kind, frame[start:stop]) if in_order else Part(number, kind, frame, order[start:stop])


@dataclass(frozen=True)
class ByEntity(Route):
    """By the value of an entity; values with too many rows by time, each slice with what it looks back on.

    Attributes
    ----------
    task_of_bucket
        Shape (N_BUCKETS,).
    cuts
        Of values with too many rows.
    lookback
        What of the past the features of the task see.
    past_columns
        What rows take along that are only looked back on.
    """

    entity: str
    task_of_bucket: Array
    cuts: tuple[Cut, ...]
    lookback: Lookback
    past_columns: list[str]

    def task_of(self, frame: pl.DataFrame) -> Array:
        """Return the task of each row."""
        values = frame[self.entity]
        found: Array = self.task_of_bucket[buckets_of(values)]
        times = frame["event_time"].dt.epoch("us").to_numpy() if self.cuts else found
        for cut in self.cuts:
            own = (values == cut.value).fill_null(value=False).to_numpy()
            found[own] = cut.task_of(times[own])
        return found

    def parts(self, frame: pl.DataFrame) -> Iterator[Part]:
        """Return the rows of each task, and those that later slices of the same value look back on."""
        yield from super().parts(frame)
        for cut in self.cuts:
            rows = frame.filter(pl.col(self.entity) == cut.value)
            for at, edge in enumerate(cut.edges.tolist(), start=1):
                before = rows.filter(pl.col("event_time").dt.epoch("us") < edge)
                seen = before.filter(self.lookback.matters(before_us=edge, columns=before.columns))
                if seen.height:
                    yield Part(cut.first_task + at, PAST, seen.select(self.past_columns))


@dataclass(frozen=True)
class ByTime(Route):
    """By time: the tasks follow each other, and so do their rows.

    Attributes
    ----------
    edges
        µs at which tasks begin, but for the first; rising.
    """

    edges: Array

    def task_of(self, frame: pl.DataFrame) -> Array:
        """Return the task of each row."""
        times = frame["event_time"].dt.epoch("us").to_numpy()
        found: Array = np.searchsorted(self.edges, times, side="right")
        return found


@dataclass(frozen=True)
class Stop:
    """Passes that are made while rows are in one place, and the way to it."""

    passes: tuple[Pass, ...]
    route: ByEntity


@dataclass(frozen=True)
class Sizes:
    """How much goes where.

    Attributes
    ----------
    partitions
        Partitions of the engine.
    task_rows
        Most rows of a task, unless they cannot be parted.
    file_rows
        Rows of a file of the result.
    """

    partitions: int
    task_rows: int
    file_rows: int


@dataclass(frozen=True)
class TableFacts:
    """What the first look at all splits found together."""

    facts: Sequence[SplitFacts]

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(item.rows for item in self.facts)

    @property
    def last_time(self) -> int:
        """The latest time in µs."""
        return max(item.last_time for item in self.facts)

    @property
    def first_time(self) -> int:
        """About the earliest time in µs: of the times that splits report."""
        return int(min(item.times[0] for item in self.facts))

    @property
    def rising(self) -> bool:
        """Whether each id is larger than the one before throughout: then none is there twice."""
        ends = zip(self.facts[:-1], self.facts[1:], strict=True)
        return all(item.rising for item in self.facts) and all(a.last_id < b.first_id for a, b in ends)

    def time_edges(self, rows: int) -> Array:
        """Return times that cut the table into parts of about so many rows."""
        weights = [np.full(len(item.times), item.rows / len(item.times)) for item in self.facts]
        n = max(1, -(-self.rows // rows))
        return _edges(np.concatenate([item.times for item in self.facts]), np.concatenate(weights), n)

    def counts(self, entity: str) -> Array:
        """Return the rows of each bucket of an entity."""
        found: Array = np.sum([item.counts[entity] for item in self.facts], axis=0)
        return found

    def hot(self, entity: str, most_rows: int) -> dict[Any, tuple[int, Array]]:
        """Return values with more than about ``most_rows`` rows: how many at least, and where to cut them in time."""
        found: dict[Any, list[Heavy]] = {}
        for item in self.facts:
            for heavy in item.heavy[entity]:
                found.setdefault(heavy.value, []).append(heavy)
        out = {}
        for value, parts in found.items():
            rows = sum(part.rows for part in parts)
            if rows > most_rows:
                weights = [np.full(len(part.times), part.rows / len(part.times)) for part in parts]
                times = np.concatenate([part.times for part in parts])
                out[value] = rows, _edges(times, np.concatenate(weights), -(-rows // most_rows))
        return out


def _edges(times: Array, weights: Array, n: int) -> Array:
    """Return up to ``n - 1`` times that cut weighted times into parts of about equal weight."""
    order = np.argsort(times, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(share, np.arange(1, n) / n, side="right")
    found: Array = np.unique(times[order][np.minimum(at, len(times) - 1)])
    return found


def stops_of(
    features: FeatureSet, base: Sequence[str], world: TableFacts, sizes: Sizes, keys: Sequence[int]
) -> list[Stop]:
    """Return the stops of rows on their way through all passes that have an entity.

    Parameters
    ----------
    base
        Columns of the events, which the result holds.
    keys
        Of the engine: each brings its rows into a partition of its own.
    """
    every = passes(features)
    ahead, todo = ([item for item in every if (item.entity == EVERYBODY) == first] for first in (True, False))
    out: list[Stop] = []
    for at, item in enumerate(todo):
        cut = bool(world.hot(item.entity, sizes.task_rows))
        if out and out[-1].route.entity == item.entity and not cut:
            out[-1] = replace(out[-1], passes=(*out[-1].passes, item))
            continue
        columns = carried(features, base, [*ahead, *todo[:at]], todo[at:])
        quiet = dict.fromkeys(name for later in todo[at:] for name in past_columns(features, later, columns))
        out.append(Stop((item,), _by_entity(item, features, columns, list(quiet), world, sizes, keys)))
    return out


def carried(features: FeatureSet, base: Sequence[str], done: Sequence[Pass], todo: Sequence[Pass]) -> list[str]:
    """Return the columns that rows take along between passes: those of the result, and what later passes read."""
    rows = RowLevel(features)
    there = [*base, *(name for item in done for name in item.names)]
    needed = set(rows.with_needs(features.names)) | set(base)
    needed.update(name for item in todo for name in rows.with_needs(item.reads))
    return [name for name in dict.fromkeys(there) if name in needed]


def past_columns(features: FeatureSet, item: Pass, columns: Sequence[str]) -> list[str]:
    """Return what earlier rows take along that a pass looks back on."""
    wanted = {"event_id", "event_time", *RowLevel(features).with_needs(item.reads)}
    wanted |= {CHANGES} if "label" in wanted else set()
    return [name for name in columns if name in wanted]


def _by_entity(
    item: Pass,
    features: FeatureSet,
    columns: list[str],
    quiet: list[str],
    world: TableFacts,
    sizes: Sizes,
    keys: Sequence[int],
) -> ByEntity:
    hot, counts = world.hot(item.entity, sizes.task_rows), world.counts(item.entity).copy()
    for value, (rows, _) in hot.items():
        bucket = int(buckets_of(pl.Series([value]))[0])
        counts[bucket] = max(counts[bucket] - rows, 0)
    packing = packed(counts, min(sizes.task_rows, max(1, -(-int(counts.sum()) // sizes.partitions))))
    cuts, n_tasks, loads = [], packing.n_partitions, packing.sizes.tolist()
    for value, (rows, edges) in hot.items():
        cuts.append(Cut(value, edges, n_tasks))
        n_tasks += len(edges) + 1
        loads += [rows // (len(edges) + 1)] * (len(edges) + 1)
    seen = replace(item.lookback, prior=False)
    return ByEntity(
        n_tasks, placed(loads, keys), columns, quiet, item.entity, packing.partition_of, tuple(cuts), seen,
        past_columns(features, item, columns),
    )  # fmt: skip


def placed(loads: Sequence[int], keys: Sequence[int]) -> Array:
    """Return the key of each task: the largest task first, to the place that has the least so far.

    >>> placed([5, 3, 4], [70, 80]).tolist()
    [70, 80, 80]
    """
    out, held = np.zeros(len(loads), np.int64), [0] * len(keys)
    for task in np.argsort(-np.array(loads), kind="stable").tolist():
        at = min(range(len(keys)), key=held.__getitem__)
        held[at] += max(loads[task], 1)
        out[task] = keys[at]
    return out


@dataclass(frozen=True)
class PartFacts:
    """What a finished task says of its part of the result."""

    task: int
    rows: int
    counts: Mapping[str, int] = field(default_factory=dict)


def instant(us: int) -> datetime:
    """Return µs UTC as an instant."""
    value = pl.Series([us]).cast(pl.Datetime("us", "UTC"))[0]
    assert isinstance(value, datetime)  # noqa: S101 - for the type
    return value
