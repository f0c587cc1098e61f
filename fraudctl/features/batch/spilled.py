"""The batch engine for tables that are larger than memory: by partitions of each entity, through files.

The events lie on disk in the order of time, in chunks. For every entity (see `partition`) their columns are written by
partition, each partition is read whole, `batch.Engine` computes its features, and these are written by chunk; a chunk
of the feature table then takes from every partition what belongs to it. Row-level columns are computed chunk by chunk.
What is known of everybody (links, the fraud rate of all) is computed from its few columns of the whole table at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.data.labels import CHANGES
from fraudctl.disk.batches import BatchWriter, read_batch, write_batches, write_each
from fraudctl.features.batch.engine import PRIOR, Engine
from fraudctl.features.batch.groups import Array, Workers
from fraudctl.features.batch.loading import default_workers
from fraudctl.features.batch.partition import N_BUCKETS, Packing, buckets_of, packed
from fraudctl.features.batch.passes import EVERYBODY, Pass, RowLevel, passes
from fraudctl.features.batch.schedule import units
from fraudctl.features.meaning.definition import FeatureSet

Tell = Callable[[str, int, int], None]

_ENGINE_BYTES = 150
"""Bytes that the engine holds for each row of a partition, without its results."""
_VALUE_BYTES = 24
"""A result of one row: as it is computed, in its column, and while it is written."""
_ROW_BYTES = 40
"""What a row of results takes whatever their number."""


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

    def partition_rows(self, n_features: int) -> int:
        """Return the rows of a partition whose features are computed all at once."""
        return max(self.budget // (_ENGINE_BYTES + _VALUE_BYTES * n_features + _ROW_BYTES), self.least_rows)

    def piece_rows(self, n_rows: int, n_features: int) -> int:
        """Return the rows of a partition of ``n_rows`` whose features are computed at a time.

        All of them, unless one entity has more rows than `partition_rows`: then what its history leaves of the budget,
        and a quarter of it at least.
        """
        if n_rows <= self.partition_rows(n_features):
            return max(n_rows, 1)
        left = max(self.budget - _ENGINE_BYTES * n_rows, self.budget // 4)
        return max(left // (_VALUE_BYTES * n_features + _ROW_BYTES), self.least_rows)


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
    """

    chunks: Sequence[Path]
    heights: Sequence[int]
    features: FeatureSet
    timezone: str
    sources: Mapping[str, pl.DataFrame]
    folder: Path
    limits: SpillLimits
    workers: Workers = field(default_factory=default_workers)
    results: list[_Results] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows of all chunks."""
        return sum(self.heights)

    def compute(self, tell: Tell) -> None:
        """Compute everything that looks beyond a row; ``tell`` hears rows done, and in all."""
        todo = passes(self.features)
        total, done = self.n_rows * len(todo), 0
        for number, item in enumerate(todo):
            folder = self.folder / f"pass{number}"
            folder.mkdir()
            name = item.entity or "everybody"
            tell(f"parting by {name}", done, total)
            packing = self._scatter(item, folder)
            for p in range(packing.n_partitions):
                before = done
                tell(name, done, total)

                def moved(rows: int, name: str = name, before: int = before) -> None:
                    tell(name, before + rows, total)

                self._partition(item, folder, p, packing, moved)
                done += int(packing.sizes[p])
                tell(name, done, total)
            for file in folder.glob("in*.arrow"):
                file.unlink()
            self.results.append(_Results(folder, packing.n_partitions, item.names))

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

    # ------------------------------------------------------------ parts

    def _is_base(self, name: str, rows: RowLevel) -> bool:
        return not any(name in item.names for item in self.results) and not rows.is_one(name)

    def _scatter(self, item: Pass, folder: Path) -> Packing:
        """Write the columns that features need by partition; remember where each row came from."""
        names, entity = item.reads, item.entity
        names += [CHANGES] if "label" in names and CHANGES in pl.read_ipc_schema(self.chunks[0]) else []
        packing = self._packing(entity, len(item.members))
        firsts = np.concatenate([[0], np.cumsum(self.heights)]).tolist()

        def work(chunk: int) -> None:
            frame = self.columns(chunk, names)
            partition = np.zeros(frame.height, np.int64)
            if entity != EVERYBODY:
                partition = packing.partition_of[buckets_of(frame[entity], first_row=firsts[chunk])]
            order = np.argsort(partition, kind="stable")
            np.save(folder / f"order{chunk}.npy", order.astype(np.int32))
            sizes = np.bincount(partition, minlength=packing.n_partitions)
            write_batches(folder / f"in{chunk}.arrow", frame[pl.Series(order)], sizes.tolist())

        self.workers.each(work, range(len(self.chunks)))
        return packing

    def _packing(self, entity: str, n_features: int) -> Packing:
        if entity == EVERYBODY:
            return Packing(np.zeros(N_BUCKETS, np.int64), np.array([self.n_rows]))
        counts, first = np.zeros(N_BUCKETS, np.int64), 0
        for chunk in self.chunks:
            values = pl.read_ipc(chunk, columns=[entity]).to_series()
            counts += np.bincount(buckets_of(values, first_row=first), minlength=N_BUCKETS)
            first += len(values)
        return packed(counts, self.limits.partition_rows(n_features))

    def _partition(
        self,
        item: Pass,
        folder: Path,
        p: int,
        packing: Packing,
        moved: Callable[[int], None],
    ) -> None:
        """Compute the features of a partition, piece by piece, and write them by chunk; tell how many rows are done."""
        parts = [read_batch(folder / f"in{chunk}.arrow", p) for chunk in range(len(self.chunks))]
        sizes = [part.height for part in parts]
        frame = pl.concat(parts).rechunk()
        del parts
        sources = {name: _own_rows(source, item.entity, p, packing) for name, source in self.sources.items()}
        edges = np.concatenate([[0], np.cumsum(sizes)])
        with BatchWriter(folder / f"out{p}.arrow") as write, ThreadPoolExecutor(1) as pool:
            writing: Future[None] | None = None
            for first, stop in _pieces(edges, self.limits.piece_rows(frame.height, len(item.members) or 1)):
                asking = int(edges[first]), int(edges[stop])
                found = self._computed(frame, item, sources, asking, moved)
                if writing is not None:
                    writing.result()
                writing = pool.submit(write_each, write, found, sizes[first:stop])
                del found
            if writing is not None:
                writing.result()

    def _computed(
        self,
        frame: pl.DataFrame,
        item: Pass,
        sources: Mapping[str, pl.DataFrame],
        asking: tuple[int, int],
        moved: Callable[[int], None],
    ) -> pl.DataFrame:
        engine = Engine(frame, self.features, self.timezone, sources, self.workers, asking=asking)
        if not item.members:
            return pl.DataFrame({PRIOR: engine.known_fraud_rate})
        every, (first, stop) = units(item.members), asking
        for done, unit in enumerate(every):
            moved(first + (stop - first) * done // len(every))
            engine.compute(unit)
        return pl.DataFrame([engine.results[feature.name] for feature in item.members])


def _pieces(edges: Array, most_rows: int) -> Iterator[tuple[int, int]]:
    """Return runs of chunks ``[first, stop)`` of at most ``most_rows``, or of one chunk; rows start at ``edges``."""
    first = 0
    while first < len(edges) - 1:
        stop = max(int(np.searchsorted(edges, edges[first] + most_rows, side="right")) - 1, first + 1)
        yield first, stop
        first = stop


def _own_rows(source: pl.DataFrame, entity: str, p: int, packing: Packing) -> pl.DataFrame:
    """Return the rows of another table that can belong to a partition."""
    if entity not in source.columns:
        return source
    return source.filter(pl.Series(packing.partition_of[buckets_of(source[entity])] == p))
