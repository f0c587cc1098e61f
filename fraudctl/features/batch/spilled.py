"""The batch engine for tables that are larger than memory: by partitions of each entity, through files.

The events lie on disk in the order of time, in chunks. For every entity (see `partition`) their columns are written by
partition, each partition is read whole, `batch.Engine` computes its features, and these are written by chunk; a chunk
of the feature table then takes from every partition what belongs to it. Row-level columns are computed chunk by chunk.
Rows of other tables lie in files, too, and come to the partitions of their entity; the fraud rate of all is added up
from chunk to chunk. Links are computed from their few columns of the whole table at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.data.labels import CHANGES
from fraudctl.disk.batches import BatchWriter, read_batch, write_batches, write_each
from fraudctl.features.batch.engine import Engine
from fraudctl.features.batch.groups import Array, Workers
from fraudctl.features.batch.loading import default_workers
from fraudctl.features.batch.memory import give_back, spare_memory
from fraudctl.features.batch.partition import N_BUCKETS, Packing, buckets_of, packed
from fraudctl.features.batch.passes import EVERYBODY, Pass, RowLevel, passes
from fraudctl.features.batch.prior import PriorParts, write_prior
from fraudctl.features.batch.schedule import units
from fraudctl.features.batch.sources import in_order
from fraudctl.features.meaning.definition import FeatureSet

Tell = Callable[[str, int, int], None]

_ENGINE_BYTES = 150
"""Bytes that the engine holds for each row of a partition, without its results."""
_VALUE_BYTES = 24
"""A result of one row: as it is computed, in its column, and while it is written."""
_ROW_BYTES = 40
"""What a row of results takes whatever their number."""
_SOURCE_BYTES = 200
"""Bytes of a row of another table, with what is computed of it."""


@dataclass(frozen=True)
class SpillLimits:
    """How many rows may be in memory at a time: of one partition, one piece of its results, one chunk of the table.

    Attributes
    ----------
    budget
        Bytes for a partition and what is computed of it.
    chunk_rows
        Rows of one chunk of the table.
    least_rows
        Of a partition or a piece, however small the budget.
    """

    budget: int
    chunk_rows: int
    least_rows: int = 1000

    @property
    def source_rows(self) -> int:
        """Rows of another table that are in memory at a time while they are moved."""
        return max(self.budget // 8 // _SOURCE_BYTES, self.least_rows)

    @property
    def prior_rows(self) -> int:
        """Rows of which the fraud rate of all is computed at a time."""
        return max(self.budget // 4 // _ENGINE_BYTES, self.least_rows)

    def partition_bytes(self, n_features: int) -> int:
        """Return the bytes of a partition whose features are computed all at once."""
        return max(self.budget, self.least_rows * row_bytes(n_features))

    def piece_rows(self, n_rows: int, n_features: int, source_bytes: int = 0) -> int:
        """Return the rows of a partition of ``n_rows`` whose features are computed at a time.

        All of them, unless one entity has more rows than there is room for: then what its history, and its rows of
        other tables, leave of the budget, and a quarter of it at least.
        """
        if n_rows * row_bytes(n_features) + source_bytes <= self.partition_bytes(n_features):
            return max(n_rows, 1)
        left = max(self.budget - _ENGINE_BYTES * n_rows - source_bytes, self.budget // 4)
        return max(left // (_VALUE_BYTES * n_features + _ROW_BYTES), self.least_rows)


def row_bytes(n_features: int) -> int:
    """Return the bytes of a row of a partition, with so many features."""
    return _ENGINE_BYTES + _VALUE_BYTES * n_features + _ROW_BYTES


def limits(budget: int, features: FeatureSet) -> SpillLimits:
    """Share out a budget in bytes."""
    return SpillLimits(budget, max(budget // 8 // (8 * (len(features.steps) + 10)), 1000))


@dataclass
class _Results:
    """The results of one pass: where they are, and how to bring them into a chunk."""

    folder: Path
    n_partitions: int
    names: list[str]

    def columns(self, chunk: int, names: Sequence[str]) -> pl.DataFrame:
        """Return some of the features of a chunk, in the order of its rows."""
        parts = [read_batch(self.folder / f"out{p}.arrow", chunk, names) for p in range(self.n_partitions)]
        order = np.load(self.folder / f"order{chunk}.npy")
        at = np.empty(len(order), np.int64)
        at[order] = np.arange(len(order))
        return pl.concat([part for part in parts if part.height])[pl.Series(at)]


@dataclass
class Spilled:
    """Events in chunk files in the order of time, and the features computed of them so far.

    Attributes
    ----------
    chunks
        Arrow files with the columns of `tables.Events`.
    heights
        Rows of each.
    sources
        Arrow files with what `sources.normalise_source` gives, in any order.
    """

    chunks: Sequence[Path]
    heights: Sequence[int]
    features: FeatureSet
    timezone: str
    sources: Mapping[str, Sequence[Path]]
    folder: Path
    limits: SpillLimits
    workers: Workers = field(default_factory=default_workers)
    results: list[_Results | PriorParts] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows of all chunks."""
        return sum(self.heights)

    def compute(self, tell: Tell) -> None:
        """Compute everything that looks beyond a row; ``tell`` hears rows done, and in all."""
        todo = passes(self.features)
        total, done = self.n_rows * len(todo), 0
        spare_memory()
        for number, item in enumerate(todo):
            folder = self.folder / f"pass{number}"
            folder.mkdir()
            name = item.entity or "everybody"

            def moved(rows: int, doing: str = "", name: str = name, before: int = done) -> None:
                tell(doing + name, before + rows, total)

            moved(0)
            self.results.append(self._of_pass(item, folder, moved))
            done += self.n_rows
            moved(self.n_rows)

    def _of_pass(self, item: Pass, folder: Path, moved: Callable[..., None]) -> _Results | PriorParts:
        if not item.members:
            return self._prior(folder, moved)
        packing, sizes = self._packing(item)
        for part, n_parts in self._scatter(item, folder, packing):
            moved(0, f"parting {part} of {n_parts} by ")
        done = 0
        for p in range(packing.n_partitions):
            self._partition(item, folder, p, functools.partial(_moved_from, moved, done))
            done += int(sizes[p])
            moved(done)
            give_back()
        for file in folder.glob("in*.arrow"):
            file.unlink()
        return _Results(folder, packing.n_partitions, item.names)

    def _prior(self, folder: Path, moved: Callable[[int], None]) -> PriorParts:
        """Compute the fraud rate of all events."""

        def of_chunk(names: list[str], chunk: int) -> pl.DataFrame:
            return pl.read_ipc(self.chunks[chunk], columns=names)

        def times(chunk: int) -> Array:
            return of_chunk(["event_time"], chunk)["event_time"].dt.epoch("us").to_numpy()

        names = ["event_time", "label", "label_time", *self._changes]
        read = functools.partial(of_chunk, names)
        return write_prior(read, times, self.heights, folder, rows=self.limits.prior_rows, tell=moved)

    @property
    def _changes(self) -> list[str]:
        return [CHANGES] if CHANGES in pl.read_ipc_schema(self.chunks[0]) else []

    def columns(self, chunk: int, names: Sequence[str]) -> pl.DataFrame:
        """Return columns of the events, or features, of a chunk."""
        rows = RowLevel(self.features)
        wanted = rows.with_needs(names)
        base = pl.read_ipc(self.chunks[chunk], columns=[n for n in wanted if self._is_base(n, rows)])
        held = [base]
        for item in self.results:
            found = [name for name in item.names if name in wanted]
            if found:
                held.append(item.columns(chunk, found))
        frame = pl.concat(held, how="horizontal")
        return rows.computed(frame, names, self.timezone, self.workers, as_features=True)

    def table(self) -> Iterator[pl.DataFrame]:
        """Return the feature table, chunk by chunk, with the columns that `batch.build` gives."""
        base = list(pl.read_ipc_schema(self.chunks[0]))
        names = [name for name in base if name not in set(self.features.names)]
        for chunk in range(len(self.chunks)):
            yield self.columns(chunk, [*names, *self.features.names])
            give_back()

    # ------------------------------------------------------------ parts

    def _is_base(self, name: str, rows: RowLevel) -> bool:
        return not any(name in item.names for item in self.results) and not rows.is_one(name)

    def _scatter(self, item: Pass, folder: Path, packing: Packing) -> Iterator[tuple[int, int]]:
        """Write the columns that features need by partition, and where each row came from; yield the parts done."""
        names, entity = item.reads, item.entity
        names += self._changes if "label" in names else []
        firsts = np.concatenate([[0], np.cumsum(self.heights)]).tolist()

        def of_chunk(chunk: int) -> None:
            frame = self.columns(chunk, names)
            partition = np.zeros(frame.height, np.int64)
            if entity != EVERYBODY:
                partition = packing.partition_of[buckets_of(frame[entity], first_row=firsts[chunk])]
            np.save(folder / f"order{chunk}.npy", _write_parted(folder / f"in{chunk}.arrow", frame, partition, packing))

        def of_source(at: int, number: int, file: Path) -> None:
            source = pl.read_ipc(file).drop_nulls(entity)
            partition = packing.partition_of[buckets_of(source[entity])]
            _write_parted(folder / f"in{at}-{number}.arrow", source, partition, packing)

        work = [functools.partial(of_chunk, chunk) for chunk in range(len(self.chunks))]
        for at, name in enumerate(item.sources):
            work += [functools.partial(of_source, at, *numbered) for numbered in enumerate(self.sources[name])]
        with ThreadPoolExecutor(self.workers.threads) as pool:
            for part, _ in enumerate(pool.map(lambda each: each(), work)):
                yield part + 1, len(work)

    def _packing(self, item: Pass) -> tuple[Packing, Array]:
        """Share the values of an entity out; return also how many events each partition has."""
        if item.entity == EVERYBODY:
            return Packing(np.zeros(N_BUCKETS, np.int64), np.array([self.n_rows])), np.array([self.n_rows])
        counts, weights = self._counted(item.entity, self.chunks), np.zeros(N_BUCKETS, np.int64)
        for name in item.sources:
            weights += _SOURCE_BYTES * self._counted(item.entity, self.sources[name])
        weights += row_bytes(len(item.members)) * counts
        found = packed(weights, self.limits.partition_bytes(len(item.members)))
        return found, np.bincount(found.partition_of, weights=counts, minlength=found.n_partitions)

    def _counted(self, entity: str, files: Sequence[Path]) -> Array:
        """Count rows by bucket of an entity."""
        counts, first = np.zeros(N_BUCKETS, np.int64), 0
        for file in files:
            values = pl.read_ipc(file, columns=[entity]).to_series()
            counts += np.bincount(buckets_of(values, first_row=first), minlength=N_BUCKETS)
            first += len(values)
        return counts

    def _partition(self, item: Pass, folder: Path, p: int, moved: Callable[[int], None]) -> None:
        """Compute the features of a partition, piece by piece, and write them by chunk; tell how many rows are done."""
        parts = [read_batch(folder / f"in{chunk}.arrow", p) for chunk in range(len(self.chunks))]
        sizes = [part.height for part in parts]
        frame = pl.concat(parts).rechunk()
        del parts
        sources = {name: self._own_rows(folder, at, name, p) for at, name in enumerate(item.sources)}
        edges, n_features = np.concatenate([[0], np.cumsum(sizes)]), len(item.members)
        beside = _SOURCE_BYTES * sum(source.height for source in sources.values())
        with BatchWriter(folder / f"out{p}.arrow") as write, ThreadPoolExecutor(1) as pool:
            writing: Future[None] | None = None
            for first, stop in _pieces(edges, self.limits.piece_rows(frame.height, n_features, beside)):
                asking = int(edges[first]), int(edges[stop])
                found = self._computed(frame, item, sources, asking, moved)
                if writing is not None:
                    writing.result()
                writing = pool.submit(write_each, write, found, sizes[first:stop])
                del found
            if writing is not None:
                writing.result()

    def _own_rows(self, folder: Path, at: int, name: str, p: int) -> pl.DataFrame:
        """Return the rows of another table, the pass's ``at``-th, that can belong to a partition."""
        files = range(len(self.sources[name]))
        return in_order(pl.concat([read_batch(folder / f"in{at}-{number}.arrow", p) for number in files]))

    def _computed(
        self,
        frame: pl.DataFrame,
        item: Pass,
        sources: Mapping[str, pl.DataFrame],
        asking: tuple[int, int],
        moved: Callable[[int], None],
    ) -> pl.DataFrame:
        engine = Engine(frame, self.features, self.timezone, sources, self.workers, asking=asking)
        every, (first, stop) = units(item.members), asking
        for done, unit in enumerate(every):
            moved(first + (stop - first) * done // len(every))
            engine.compute(unit)
        return pl.DataFrame([engine.results[feature.name] for feature in item.members])


def _moved_from(moved: Callable[..., None], before: int, rows: int) -> None:
    moved(before + rows)


def _pieces(edges: Array, most_rows: int) -> Iterator[tuple[int, int]]:
    """Return runs of chunks ``[first, stop)`` of at most ``most_rows``, or of one chunk; rows start at ``edges``."""
    first = 0
    while first < len(edges) - 1:
        stop = max(int(np.searchsorted(edges, edges[first] + most_rows, side="right")) - 1, first + 1)
        yield first, stop
        first = stop


def _write_parted(path: Path, frame: pl.DataFrame, partition: Array, packing: Packing) -> Array:
    """Write rows by partition, a batch each; return their order, shape (n,)."""
    order = np.argsort(partition, kind="stable")
    sizes = np.bincount(partition, minlength=packing.n_partitions)
    write_batches(path, frame[pl.Series(order)], sizes.tolist())
    return order.astype(np.int32)
