"""What a task does: bytes in, the batch engine, bytes out. No engine of a cluster is known here.

Every stage is a callable of Arrow batches that can be pickled. It depends on the rows of its tasks alone: a task that
is run again, elsewhere or twice at once, gives the same bytes; files are written whole under names of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.cluster.blobs import (
    ERROR,
    OWN,
    PAST,
    QUIET,
    BlobRow,
    error_row,
    facts_row,
    from_batches,
    to_batch,
)
from fraudctl.cluster.packed import from_blobs, order_of, to_blob
from fraudctl.cluster.plan import ASKS, PartFacts, Route, RowRange, Stop, facts_of
from fraudctl.cluster.told import Meaning, Told, meaning_of, require_like
from fraudctl.data.labels import CHANGES, as_known
from fraudctl.errors import FraudctlError
from fraudctl.extract import as_written
from fraudctl.features.batch.engine import PRIOR, Engine
from fraudctl.features.batch.groups import Array, Workers
from fraudctl.features.batch.links import hub_notes
from fraudctl.features.batch.passes import EVERYBODY, Pass, RowLevel, passes
from fraudctl.features.batch.prior import outcome_steps
from fraudctl.features.batch.schedule import units
from fraudctl.features.meaning.families.base import OfSource

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from fraudctl.extract import Extract

SPLIT, ROW = ".split", ".row"
"""Columns that say where the rows of one narrow partition came from."""
PRIOR_FILE, ENTRIES_FILE, DROPPED_FILE = "prior.arrow", "entries.arrow", "dropped.arrow"
"""Tables of the command's folder that every worker reads: the fraud rate of all, entries of labels, repeated rows."""
BESIDE = "-of-"
"""Comes before the number of a split in the name of a table with features of its rows."""


@dataclass(frozen=True)
class Desk:
    """What all stages have: what they were told, what has to be equal everywhere, and the folder that all share.

    Attributes
    ----------
    extract
        Which rows ask for features; None for all.
    """

    told: Told
    traits: tuple[tuple[str, str], ...]
    folder: str
    extract: Extract | None = None

    @property
    def meaning(self) -> Meaning:
        """The definitions, rebuilt once in a process."""
        return meaning_of(self.told)

    def file(self, name: str) -> Path:
        """Return a file of the shared folder."""
        return Path(self.folder) / name

    def table(self, name: str) -> pl.DataFrame | None:
        """Return a table of the shared folder, mapped; None where there is none."""
        path = self.file(name)
        return pl.read_ipc(path) if path.is_file() else None

    def beside(self, split: int) -> Iterator[pl.DataFrame]:
        """Return what was settled of all rows ahead, for those of a split in their order."""
        for path in sorted(Path(self.folder).glob(f"*{BESIDE}{split}.arrow")):
            yield pl.read_ipc(path)


@dataclass(frozen=True)
class ClusterStage:
    """Work on the rows of a partition of the engine."""

    desk: Desk

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Do the work; a mistake of the user's comes out as a row."""
        for row in self.answers(from_batches(batches)):
            yield to_batch(row)

    def answers(self, rows: Iterable[BlobRow]) -> Iterator[BlobRow]:
        """Do the work on rows; those that hold a mistake are passed on, and nothing else is done."""
        held = list(rows)
        wrong = [row for row in held if row.kind == ERROR]
        if wrong:
            yield from wrong
            return
        try:
            require_like(self.desk.traits)
            yield from self.work(held)
        except FraudctlError as error:
            yield error_row(error)

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Return what comes of the rows of a partition."""
        raise NotImplementedError


# ---------------------------------------------------------------- splits


@dataclass(frozen=True)
class OfSplits(ClusterStage):
    """A stage whose rows name splits of the raw table."""

    splits: Sequence[RowRange]

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Work on the splits that the rows name."""
        for row in rows:
            yield from self.of_split(self.splits[row.task])

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return what comes of a split."""
        raise NotImplementedError


def raw_rows(told: Told, split: RowRange, columns: Sequence[str]) -> pl.DataFrame:
    """Read rows of the raw table under their own names."""
    from fraudctl.data import tables

    wanted = list(dict.fromkeys(columns))
    return tables.collect(told.raw().select(wanted).slice(split.first, split.rows), files=told.files)


def events_of(desk: Desk, split: RowRange, carried: Sequence[str]) -> pl.DataFrame:
    """Read a split with its roles, in the order of the files."""
    from fraudctl.data import tables

    project = desk.meaning.project
    raw = raw_rows(desk.told, split, tables.wanted_columns(project, carried))
    tables.refuse_empty_ids(raw[project.data.event_id], where=f"column {project.data.event_id}")
    return tables.with_roles(raw, project, carried, part=True, entries=desk.table(ENTRIES_FILE))


@dataclass(frozen=True)
class FirstLook(OfSplits):
    """The first look at every split: how its rows are spread, and whether ids rise.

    Attributes
    ----------
    heavy_from
        Rows of a split from which on a value is reported.
    """

    heavy_from: int

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the facts of a split."""
        from fraudctl.data import tables

        features = self.desk.meaning.features
        frame = events_of(self.desk, split, ())
        tables.check_label_times(frame)
        rising = tables.rising(frame["event_id"])
        entities = list(dict.fromkeys(item.entity for item in passes(features) if item.entity != EVERYBODY))
        yield facts_row(facts_of(split, frame, entities, rising=rising, heavy_from=self.heavy_from))


@dataclass(frozen=True)
class OutcomeSteps(OfSplits):
    """What the outcomes of every split add to those of all."""

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the steps of a split."""
        yield facts_row(added_up([outcome_steps(kept_rows(self.desk, split, events_of(self.desk, split, ())))]))


def added_up(steps: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the sums of steps at each time, rising; see `outcome_steps`."""
    return pl.concat(steps).group_by("time").agg(pl.col("known", "frauds").sum()).sort("time")


def prior_table(steps: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the fraud rate of all by time: ``time`` from which on it holds (µs UTC, rising) and ``rate``."""
    return added_up(steps).select("time", rate=pl.col("frauds").cum_sum() / pl.col("known").cum_sum())


def prior_at(table: pl.DataFrame, times: Array) -> Array:
    """Return the fraud rate of all at times (µs UTC), NaN before any outcome is known."""
    at = np.searchsorted(table["time"].to_numpy(), times, side="right") - 1
    rates = np.append(table["rate"].to_numpy(), np.nan)
    found: Array = rates[at]
    return found


@dataclass(frozen=True)
class IdsBySplit(OfSplits):
    """The ids of every split, by their hash: rows of one id come together."""

    route_tasks: int
    places: Array

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the ids of a split, with the rows that they are in."""
        name = self.desk.meaning.project.data.event_id
        ids = raw_rows(self.desk.told, split, [str(name)]).to_series().alias("id")
        frame = pl.DataFrame([ids, pl.Series(ROW, np.arange(split.first, split.first + len(ids)))])
        task = (ids.hash(seed=2) % self.route_tasks).cast(pl.Int64).to_numpy()
        for number in np.unique(task).tolist():
            part = frame.filter(pl.Series(task == number))
            yield BlobRow(number, OWN, to_blob(part), int(self.places[number]))


@dataclass(frozen=True)
class Repeats(ClusterStage):
    """Ids that are there more than once: which rows to drop, and their ids."""

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Return the rows of each task that repeat an id that an earlier row has."""
        for _, held in rows_by_task(rows):
            frame = from_blobs([row.blob for row in held]).sort(ROW)
            again = frame.filter(~pl.col("id").is_first_distinct())
            if again.height:
                yield facts_row(again)


@dataclass(frozen=True)
class NarrowColumns(OfSplits):
    """The few columns of all events that features of everybody need, for one task."""

    columns: Sequence[str]
    place: int

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the columns of a split, with the place of each row."""
        carried = [name for name in self.desk.meaning.carried if name in self.columns]
        frame = kept_rows(self.desk, split, events_of(self.desk, split, carried))
        names = [name for name in self.columns if name in frame.columns]
        number = pl.lit(split.number, dtype=pl.Int64).alias(SPLIT)
        yield BlobRow(0, OWN, to_blob(frame.select(*names, number, pl.int_range(pl.len()).alias(ROW))), self.place)


@dataclass(frozen=True)
class Everybody(ClusterStage):
    """Features for which all rows have to be together, computed of a few columns and written by split."""

    item: Pass

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Compute the features; say what the user should know of them."""
        from fraudctl.data import outputs

        for _, held in rows_by_task(rows):
            frame = from_blobs([row.blob for row in held], in_order=True)
            engine = Engine(frame, self.desk.meaning.features, self.desk.meaning.timezone, {}, Workers(1))
            for unit in units(self.item.members):
                engine.compute(unit)
            found = pl.DataFrame([frame[SPLIT], frame[ROW], *(engine.results[name] for name in self.item.names)])
            for key, part in found.sort(SPLIT, ROW).partition_by(SPLIT, as_dict=True).items():
                outputs.write_arrow(part.drop(SPLIT, ROW), self.desk.file(f"everybody{BESIDE}{key[0]}.arrow"))
            yield facts_row(hub_notes(self.item.members, frame.select))


def kept_rows(desk: Desk, split: RowRange, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a split but for those that repeat others."""
    dropped = desk.table(DROPPED_FILE)
    if dropped is None:
        return frame
    rows = pl.int_range(split.first, split.first + pl.len(), dtype=pl.Int64)
    return frame.filter(~rows.is_in(dropped[ROW].implode()))


@dataclass(frozen=True)
class Read(OfSplits):
    """Every split with its roles and what is known of everybody, sent on its way."""

    route: Route
    known_until: datetime

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the rows of a split by task."""
        frame = kept_rows(self.desk, split, events_of(self.desk, split, self.desk.meaning.carried))
        for beside in self.desk.beside(split.number):
            frame = frame.hstack(beside)
        prior = self.desk.table(PRIOR_FILE)
        if prior is not None:
            times = frame["event_time"].dt.epoch("us").to_numpy()
            frame = frame.with_columns(pl.Series(PRIOR, prior_at(prior, times)))
        if self.desk.extract is not None:
            asks = self.desk.extract.kept(as_known(frame, self.known_until))
            frame = frame.with_columns(pl.Series(ASKS, asks))
        yield from sent(self.route, ordered(frame))


# ---------------------------------------------------------------- passes


def sent(route: Route, frame: pl.DataFrame) -> Iterator[BlobRow]:
    """Return rows by the task that they go to."""
    if frame.height:
        for part in route.parts(frame):
            for blob in part.blobs():
                yield BlobRow(part.task, part.kind, blob, int(route.places[part.task]))


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by event_time, then event_id."""
    order = order_of(frame)
    return frame if order is None else frame[pl.Series(order)]


def rows_by_task(rows: list[BlobRow]) -> Iterator[tuple[int, list[BlobRow]]]:
    """Return rows by task, in the order of tasks; ``rows`` is emptied on the way, so that memory is given back."""
    held: dict[int, list[BlobRow]] = {}
    while rows:
        row = rows.pop()
        held.setdefault(row.task, []).append(row)
    for task in sorted(held):
        yield task, held.pop(task)


def frame_of(rows: list[BlobRow], kind: int) -> pl.DataFrame | None:
    """Return the rows of a kind in order, in one frame; None where there are none."""
    found = [row.blob for row in rows if row.kind == kind]
    return from_blobs(found, in_order=True) if found else None


def own_frame(desk: Desk, rows: list[BlobRow]) -> pl.DataFrame | None:
    """Return the rows of a task in order; of an extract also those that do not ask, told apart by `ASKS`.

    What only rows that ask take along is null in the others: nothing looks at it.
    """
    if desk.extract is None:
        return frame_of(rows, OWN)
    blobs = {kind: [row.blob for row in rows if row.kind == kind] for kind in (OWN, QUIET)}
    found = [from_blobs(held).with_columns(pl.lit(kind == OWN).alias(ASKS)) for kind, held in blobs.items() if held]
    return ordered(pl.concat(found, how="diagonal")) if found else None


@dataclass(frozen=True)
class Compute(ClusterStage):
    """Features of the entity by which rows were brought together; then the rows go on."""

    stop: Stop
    route: Route

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Compute the features of each task, and send its rows on."""
        for _, held in rows_by_task(rows):
            own, past = own_frame(self.desk, held), frame_of(held, PAST)
            held.clear()
            if own is not None:
                yield from sent(self.route, computed(self.desk, self.stop.passes, own, past))


def computed(desk: Desk, every: Sequence[Pass], own: pl.DataFrame, past: pl.DataFrame | None) -> pl.DataFrame:
    """Return rows with the features of passes; ``past`` are earlier rows that they look back on."""
    for item in every:
        sources = own_sources(desk, item, own)
        own = own.hstack(features_of(desk.meaning, item, own, past, sources))
    return own


def features_of(
    meaning: Meaning, item: Pass, own: pl.DataFrame, past: pl.DataFrame | None, sources: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Compute the features of a pass.

    Parameters
    ----------
    own
        The rows that ask, in order, with the columns that the pass reads.
    past
        Rows before all of them that the pass can see, in order.
    """
    rows, names = RowLevel(meaning.features), [*item.reads]
    names += [CHANGES] if "label" in names and CHANGES in own.columns else []
    parts = [part for part in (past, own) if part is not None]
    found = [rows.computed(part, names, meaning.timezone, Workers(1), as_features=False) for part in parts]
    frame = pl.concat(found).rechunk()
    asking = frame.height - own.height, frame.height
    engine = Engine(frame, meaning.features, meaning.timezone, sources, Workers(1), asking=asking)
    for unit in units(item.members):
        engine.compute(unit)
    return pl.DataFrame([engine.results[name] for name in item.names])


def own_sources(desk: Desk, item: Pass, own: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the rows of other tables that are about the values of a task."""
    found: dict[str, pl.DataFrame] = {}
    names = dict.fromkeys(spec.source for spec in (f.spec for f in item.members) if isinstance(spec, OfSource))
    for name in names:
        table = desk.table(source_file(name))
        if table is not None:
            found[name] = table.filter(pl.col(item.entity).is_in(own[item.entity].unique().implode()))
    return found


def source_file(name: str) -> str:
    """Return the name of another table's file in the shared folder."""
    return f"source-{name}.arrow"


# ---------------------------------------------------------------- the result


@dataclass(frozen=True)
class Write(ClusterStage):
    """The feature table, a file for each stretch of time."""

    columns: Sequence[str]
    known_until: datetime
    output: str

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Write the files of the tasks; say how many rows they have."""
        from fraudctl.data import outputs

        for task, held in rows_by_task(rows):
            own = frame_of(held, OWN)
            held.clear()
            if own is not None:
                outputs.write_parquet(self.finished(own), Path(self.output) / part_name(task))
                yield facts_row(PartFacts(task, own.height, Counter()))

    def finished(self, own: pl.DataFrame) -> pl.DataFrame:
        """Return rows as they stand in the feature table."""
        found = as_known(finished(self.desk.meaning, own, self.columns), self.known_until)
        extract = self.desk.extract
        return as_written(found if extract is None else extract.weighted(found, self.desk.meaning.project))


def finished(meaning: Meaning, own: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return rows with the columns that `fraudctl.features.batch.build` gives."""
    rows = RowLevel(meaning.features)
    names = set(meaning.features.names)
    wanted = [*(name for name in columns if name not in names), *meaning.features.names]
    return rows.computed(own, wanted, meaning.timezone, Workers(1), as_features=True)


def part_name(task: int) -> str:
    """Return the name of a file of the result; names are in the order of time."""
    return f"part-{task:05d}.parquet"


Work = Callable[[Iterable["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]
"""What the engine of a cluster calls on a partition."""
