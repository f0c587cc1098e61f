"""Rows by entity, the histories that they look back on, and the ranges of these that each row may see."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import as_read
from fraudctl.data.labels import CHANGES, spells

Array = npt.NDArray[Any]
_R = TypeVar("_R")

FOREVER = 1 << 62
"""Microseconds of a window without an end."""
POSITION = np.int32
"""Type of rows, positions and codes: half the memory of the usual one, and room for two thousand million events."""
_LEAST_SHARED = 20_000
"""Fewer rows are not worth a second thread."""
_SHARES = 4
"""Shares of the work for each thread: who is done early, or was held up, takes what is left."""
_MOST_A_SHARE = 1 << 20
"""Rows of a share, about: of more rows there are more shares."""
_STRIP_BITS = 14
_MOST_STRIPS = 2048


@dataclass(frozen=True)
class Strips:
    """Where the queries put their values: ``places`` (n,), in strips of ``2 ** shift`` rows; ``rows`` (n,) by place.

    Those of one strip are put side by side in the order of the queries, so that what is written next lies where
    something was written lately, and a strip is small enough to be put into order in the processor's cache.
    """

    places: Array
    rows: Array
    shift: int


@dataclass(frozen=True)
class Queries:
    """Events by entity: those that may be looked back on, and those among them that ask.

    ``rows`` (m,) holds the rows of all groups in which some event asks, in the order of the groups, ``row_times`` (m,)
    their µs, ``row_starts`` (n_groups + 1,) where groups start. ``order``, ``times`` (n,) and ``starts``
    (n_groups + 1,) are the same for the events that ask; ``at`` (n,) says where these are in ``rows``, and ``out``
    (n,) where their answers go. The first ``n_codes`` groups are values of the entity; every later one is a single
    event without a value. ``codes`` is by row: -1 without a value.
    """

    rows: Array
    row_times: Array
    row_starts: Array
    order: Array
    times: Array
    starts: Array
    at: Array
    out: Array
    codes: Array
    n_codes: int

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.starts) - 1

    @cached_property
    def nowhere(self) -> Array:
        """The position -1 for each query, where its own value does not count."""
        return np.full(len(self.order), -1, POSITION)

    @cached_property
    def strips(self) -> Strips:
        """Places for what is computed of the queries."""
        from fraudctl.features.batch import sweep

        n = len(self.out)
        shift = max(_STRIP_BITS, (n // _MOST_STRIPS).bit_length())
        places, rows = np.empty(n, np.int32), np.empty(n, np.int32)
        sweep.assign_places(self.out, shift, places, rows)
        return Strips(places, rows, shift)


@dataclass(frozen=True)
class History:
    """What the queries of each group may look back on, in the order in which it became known.

    ``rows`` (m,) are the rows behind each position, ``times`` (m,) µs of what happened, ``starts`` (n_groups + 1,)
    where groups start, ``current`` (n,) the position of each query itself, or -1 where it does not count.
    """

    rows: Array
    starts: Array
    times: Array
    current: Array


@dataclass(frozen=True)
class Ranges:
    """The positions ``[lo, hi)`` of the history that each query sees: ``lo`` (n_windows, n) and ``hi`` (n,)."""

    lo: Array
    hi: Array


@dataclass(frozen=True)
class Labels:
    """A history of outcomes, by arrival: µs of arrival, and 1 for fraud; each (m,).

    Where labels were changed, each change is a position of its own, and ``replaced`` (m,) says which position of the
    same event it takes the place of, -1 for its first; else None.
    """

    history: History
    arrived: Array
    outcome: Array
    replaced: Array | None = None


def _untold(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Workers:
    """Threads that share the groups among them; ``told`` is called with the rows that are done, and all, of a pass."""

    threads: int
    told: Callable[[int, int], object] = _untold

    def run(self, starts: Array, work: Callable[[int, int], None]) -> None:
        """Call ``work(first group, last group)`` on shares with about as many rows each."""
        n_groups = len(starts) - 1
        edges = np.searchsorted(starts, np.linspace(0, starts[-1], self._n_shares(starts[-1]) + 1)[1:-1])
        cuts = np.unique(np.clip(np.concatenate([[0], edges, [n_groups]]), 0, n_groups)).tolist()
        shares = list(itertools.pairwise(cuts))
        if len(shares) < 2 or starts[-1] < _LEAST_SHARED:
            work(0, n_groups)
            return
        self._do(shares, work, starts[cuts[1:]].tolist())

    def _n_shares(self, n: int) -> int:
        """Return in how many shares so many rows are cut: of many, each is a step of progress."""
        return max(self.threads * _SHARES, int(n) // _MOST_A_SHARE)

    def _do(self, shares: Sequence[tuple[int, int]], work: Callable[[int, int], None], ends: Sequence[int]) -> None:
        """Do all shares, and tell of the rows at which each of them ends."""
        if self.threads == 1:
            for share, end in zip(shares, ends, strict=True):
                work(*share)
                self.told(end, ends[-1])
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for future, end in zip([pool.submit(work, *share) for share in shares], ends, strict=True):
                future.result()
                self.told(end, ends[-1])

    def each(self, work: Callable[[int], _R], numbers: Sequence[int]) -> list[_R]:
        """Call ``work`` with each of the numbers, and give what it gave in their order."""
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, numbers))

    def spread(self, n: int, work: Callable[[int, int], None], *, step: int = 1) -> None:
        """Call ``work(first, last)`` on equal shares of n rows that begin at multiples of ``step``."""
        each = math.ceil(math.ceil(n / self._n_shares(n)) / step) * step
        shares = [(start, min(start + each, n)) for start in range(0, n, max(each, 1))]
        if len(shares) < 2 or n < _LEAST_SHARED:
            for share in shares:
                work(*share)
            return
        self._do(shares, work, [stop for _, stop in shares])


def gathered(values: Array, rows: Array, workers: Workers) -> Array:
    """Return ``values[rows]``."""
    from fraudctl.features.batch import kernels

    out, values = np.empty(len(rows), values.dtype), as_read(np.ascontiguousarray(values))
    workers.spread(len(rows), lambda start, stop: kernels.gather(values, rows, out, start, stop))
    return out


def queries_of(
    codes: Array, n_codes: int, times: Array, *, workers: Workers, asking: tuple[int, int] | None = None
) -> Queries:
    """Sort the events by entity; ``asking`` is the first and (exclusive) last row that asks, by default all do."""
    from fraudctl.features.batch import kernels

    first, stop = asking or (0, len(codes))
    if stop - first == len(codes):
        rows, starts = kernels.group_order(as_read(codes), n_codes)
        row_times, at = gathered(times, rows, workers), np.arange(len(rows), dtype=POSITION)
        return Queries(rows, row_times, starts, rows, row_times, starts, at, rows, codes, n_codes)
    rows, starts, at, q_starts = kernels.asked_order(as_read(codes), n_codes, first, stop)
    row_times, order = gathered(times, rows, workers), rows[at]
    return Queries(rows, row_times, starts, order, row_times[at], q_starts, at, order - first, codes, n_codes)


def event_history(queries: Queries, mask: Array | None, *, include_current: bool) -> History:
    """Return the events themselves as history, or those of them whose ``mask`` (by row) is true."""
    if mask is None:
        current = queries.at if include_current else queries.nowhere
        return History(queries.rows, queries.row_starts, queries.row_times, current)
    kept = mask[queries.rows]
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    current = queries.nowhere
    if include_current:
        current = np.where(kept[queries.at], before[queries.at], -1).astype(POSITION)
    return History(queries.rows[kept], before[queries.row_starts], queries.row_times[kept], current)


def event_ranges(queries: Queries, history: History, windows: list[int], *, workers: Workers) -> Ranges:
    """Find the history in ``(t - window, t)``; without windows, where the history before t ends."""
    from fraudctl.features.batch import kernels

    ranges, lengths = _empty_ranges(queries, windows), np.array(windows, np.int64)

    def work(g0: int, g1: int) -> None:
        kernels.event_bounds(
            queries.times, queries.starts, history.times, history.starts, lengths, ranges.lo, ranges.hi, g0, g1
        )

    workers.run(queries.starts, work)
    return ranges


@dataclass(frozen=True)
class Outcomes:
    """What became known of each event, each (n,) by row: whether anything did, when (µs), and 1 for fraud.

    ``changes`` is there where the label of an event was changed: `fraudctl.data.labels.spells` of all events.
    """

    known: Array
    arrived: Array
    fraud: Array
    changes: pl.DataFrame | None = None

    @classmethod
    def of(cls, label: pl.Series, label_time: pl.Series) -> Outcomes:
        """Take them from the columns of events, each of which became known once."""
        arrived = label_time.dt.epoch("us")
        return cls(label_time.is_not_null().to_numpy(), arrived.fill_null(0).to_numpy(), label.fill_null(0).to_numpy())

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> Outcomes:
        """Take them from a table of events, with all changes of labels."""
        found = cls.of(frame["label"], frame["label_time"])
        if CHANGES not in frame.columns or not frame[CHANGES].count():
            return found
        return replace(found, changes=spells(frame.select("label", "label_time", CHANGES)))

    @cached_property
    def all_known(self) -> bool:
        """Whether there is an outcome of every event."""
        return bool(self.known.all())

    @cached_property
    def in_order(self) -> bool:
        """Whether outcomes arrived in the order of the events."""
        arrived = self.arrived if self.all_known else self.arrived[self.known]
        return not (arrived[1:] < arrived[:-1]).any()


def label_history(queries: Queries, outcomes: Outcomes, times: Array, *, workers: Workers) -> Labels:
    """Return the outcomes of the events as history, sorted by arrival within each group."""
    if outcomes.changes is not None:
        return _changed_labels(queries, outcomes.changes, times)
    rows, happened, starts = _by_arrival(queries, outcomes, times)
    starts = np.concatenate([starts, np.full(queries.n_groups - queries.n_codes, starts[-1], np.int64)])
    fraud, when = gathered(outcomes.fraud, rows, workers), gathered(outcomes.arrived, rows, workers)
    return Labels(History(rows, starts, happened, queries.nowhere), when, fraud)


def _changed_labels(queries: Queries, changes: pl.DataFrame, times: Array) -> Labels:
    """Return every change of a label as history, sorted by when it was known within each group."""
    from fraudctl.features.batch import kernels

    rows, arrived = changes["row"].to_numpy().astype(POSITION), changes["since"].dt.epoch("us").to_numpy()
    asked = np.append(np.diff(queries.starts[: queries.n_codes + 1]) > 0, False)
    kept = np.flatnonzero(asked[queries.codes[rows]])
    kept = kept[np.argsort(arrived[kept], kind="stable")]
    order, starts = kernels.group_order(as_read(queries.codes[rows[kept]]), queries.n_codes)
    kept = kept[order]
    place = np.full(len(rows) + 1, -1, np.int64)
    place[kept] = np.arange(len(kept))
    replaced = place[np.where(np.append(False, rows[1:] == rows[:-1]), np.arange(len(rows)) - 1, -1)[kept]]
    starts = np.concatenate([starts, np.full(queries.n_groups - queries.n_codes, starts[-1], np.int64)])
    history = History(rows[kept], starts, times[rows[kept]], queries.nowhere)
    return Labels(history, arrived[kept], changes["label"].to_numpy()[kept], replaced)


def _by_arrival(queries: Queries, outcomes: Outcomes, times: Array) -> tuple[Array, Array, Array]:
    """Return the rows with an outcome and an entity, by group and arrival, their times, and where groups start.

    Where outcomes arrived in the order of the events, the order of the queries is that of arrival.
    """
    from fraudctl.features.batch import kernels

    if outcomes.in_order:
        starts = queries.row_starts[: queries.n_codes + 1]
        rows, happened = queries.rows[: starts[-1]], queries.row_times[: starts[-1]]
        if outcomes.all_known:
            return rows, happened, starts
        kept = outcomes.known[rows]
        return rows[kept], happened[kept], np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)[starts]
    asked = np.append(np.diff(queries.starts[: queries.n_codes + 1]) > 0, False)
    rows = np.flatnonzero(outcomes.known & asked[queries.codes]).astype(POSITION)
    rows = rows[np.argsort(outcomes.arrived[rows], kind="stable")]
    order, starts = kernels.group_order(as_read(queries.codes[rows]), queries.n_codes)
    return rows[order], times[rows[order]], starts


def label_ranges(queries: Queries, labels: Labels, windows: list[int], *, workers: Workers) -> Ranges:
    """Find the outcomes that arrived in ``(t - window, t]``."""
    from fraudctl.features.batch import kernels

    ranges, lengths = _empty_ranges(queries, windows), np.array(windows, np.int64)

    def work(g0: int, g1: int) -> None:
        kernels.label_bounds(
            queries.times, queries.starts, labels.arrived, labels.history.times, labels.history.starts, lengths,
            ranges.lo, ranges.hi, g0, g1,
        )  # fmt: skip

    workers.run(queries.starts, work)
    return ranges


def _empty_ranges(queries: Queries, windows: list[int]) -> Ranges:
    n = len(queries.order)
    return Ranges(np.empty((len(windows), n), np.int32), np.empty(n, np.int32))


def codes_of(values: pl.Series) -> tuple[Array, int]:
    """Return the values of a column as numbers from 0; null is -1.

    Returns
    -------
    codes, n_codes
        Shape (n,), `POSITION` in ``[-1, n_codes)``; not every number need be taken.
    """
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.null_count() == len(values):
        return np.full(len(values), -1, POSITION), 0
    low, high = (values.min(), values.max()) if values.dtype == pl.Int64 else (None, None)
    if isinstance(low, int) and isinstance(high, int) and high - low < 2 * len(values) + 1000:
        return _above(values, low), high - low + 1
    if values.dtype == pl.String or values.dtype.is_integer():
        return _encoded(values)
    if values.dtype.is_float():
        return _encoded(values.set((values == 0).fill_null(value=False), 0.0))  # zeros are one value, of either sign
    ranks = (values.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
    return ranks.astype(POSITION), int(ranks.max()) + 1


def _encoded(values: pl.Series) -> tuple[Array, int]:
    """Return values as numbers in the order in which they first appear, null as -1; a hash table is enough for that."""
    found = values.rechunk().to_arrow().dictionary_encode()
    codes: Array = found.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes.astype(POSITION, copy=False), len(found.dictionary)


def _above(values: pl.Series, low: int) -> Array:
    """Return integers as what they are above the lowest, null as -1; chunk by chunk, for that needs no copy of all."""
    out, at = np.empty(len(values), POSITION), 0
    for chunk in values.get_chunks():
        part = chunk if not chunk.null_count() else chunk.fill_null(low - 1)
        np.subtract(part.to_numpy(), low, out=out[at : at + len(part)], casting="same_kind")
        at += len(part)
    return out


def joint_codes(first: tuple[Array, int], second: tuple[Array, int]) -> tuple[Array, int]:
    """Return the pairs of two columns' codes as numbers from 0; -1 where either is."""
    both = (first[0] >= 0) & (second[0] >= 0)
    codes = np.where(both, first[0].astype(np.int64) * second[1] + second[0], -1)
    return codes_of(pl.Series(codes).replace(-1, None))
