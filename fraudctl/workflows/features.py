"""``features``: from raw tables to the feature table, built once and reused while nothing that matters changes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import Project
from fraudctl.text.figures import whole
from fraudctl.workflows.definitions import BuildPlan, plan_features

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.documents.types import JsonObject
    from fraudctl.extract import Extract
    from fraudctl.features.meaning.definition import FeatureSet
    from fraudctl.features.meaning.describe import Description


@dataclass(frozen=True)
class FeatureTableFacts:
    """What is kept beside a feature table."""

    known: datetime | None
    """The latest event_time in the data; None where they have no time."""
    n_duplicates: int
    """Exact duplicate rows that were dropped."""
    notes: tuple[str, ...]
    """What the user should know of it."""

    @property
    def known_until(self) -> datetime:
        """The latest event_time, where the data have a time; else a ValueError."""
        from fraudctl.data.labels import timed

        return timed(self.known)

    def to_dict(self) -> JsonObject:
        """Return them as JSON."""
        until = None if self.known is None else self.known.isoformat()
        return {"known_until": until, "n_duplicates": self.n_duplicates, "notes": self.notes}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FeatureTableFacts:
        """Read what `to_dict` gave."""
        until = document["known_until"]
        known = None if until is None else datetime.fromisoformat(until)
        return cls(known, document["n_duplicates"], tuple(document.get("notes", ())))


_COLUMNS_AT_ONCE = 16
"""Columns of a table on disk that are read in one step of progress."""


@dataclass(frozen=True)
class FeatureTable:
    """The feature table of a project: roles, entities, carried columns, then the features.

    Attributes
    ----------
    loaded
        `frame`, where it is in memory; None where it is read from ``path`` when it is asked for.
    features
        What each feature column is.
    known
        The latest event_time in the data: nothing later is known. None where the data have no time.
    n_duplicates
        Exact duplicate rows that were dropped.
    fingerprint
        SHA-256 of the data files.
    key
        Digest of everything that the table depends on.
    reused
        Whether it was built before.
    notes
        What the user should know of it: hubs that links leave out.
    path
        The file that holds it; its content was verified.
    """

    JSON = (
        "n_events as rows", "known as known_until", "n_duplicates as duplicates", "fingerprint as data_fingerprint",
        "key", "reused", "notes",
    )  # fmt: skip

    loaded: pl.DataFrame | None
    features: FeatureSet
    known: datetime | None
    n_duplicates: int
    fingerprint: str
    key: str
    reused: bool
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @cached_property
    def frame(self) -> pl.DataFrame:
        """All of the table: one row per event, sorted by event_time, then event_id."""
        return self.loaded if self.loaded is not None else self._read(None)

    @cached_property
    def spine(self) -> pl.DataFrame:
        """Roles and entities of every event: enough to say which rows are wanted."""
        from fraudctl.data.labels import CHANGES
        from fraudctl.data.tables import ROLES

        names = [name for name in dict.fromkeys([*ROLES, CHANGES, *self.features.entities]) if name in self.columns]
        return self.frame.select(names) if self._in_memory else self._read(names)

    @cached_property
    def columns(self) -> list[str]:
        """Names of all columns."""
        from fraudctl.data import tables

        return self.frame.columns if self._in_memory else list(tables.scan([str(self.path)]).collect_schema())

    def hold(self, progress: Progress) -> pl.DataFrame:
        """Read all of the table into memory, some columns at a time, where it is not there yet; see `frame`."""
        import polars as pl

        if not self._in_memory:
            progress.stage("Reading the features")
            found: list[pl.Series] = []
            for start in range(0, len(self.columns), _COLUMNS_AT_ONCE):
                progress.update(start, len(self.columns), "columns")
                found += self._read(self.columns[start : start + _COLUMNS_AT_ONCE]).get_columns()
            self.__dict__["frame"] = pl.DataFrame(found)  # as the cached property of that name
        return self.frame

    def select(self, names: Sequence[str]) -> pl.DataFrame:
        """Return some columns of every event; of a table on disk nothing else is read."""
        return self.frame.select(names) if self._in_memory else self._read(list(names))

    def rows(self, wanted: pl.Series) -> pl.DataFrame:
        """Return some rows with all columns; of a table on disk only the stretch that holds them is read.

        Parameters
        ----------
        wanted
            True for the rows to return, shape ``(n_events,)``.
        """
        from fraudctl.data import tables

        if self._in_memory:
            return self.frame.filter(wanted)
        places = wanted.arg_true()
        first, stop = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
        files = [str(self.path)]
        return tables.collect(tables.scan(files).slice(first, stop - first), files=files).filter(wanted[first:stop])

    def pieces(self, columns: Sequence[str], *, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the roles and some columns, so many events at a time, in the order of time."""
        from fraudctl.data import tables

        names = list(dict.fromkeys([*self.spine.columns, *(name for name in columns if name in self.columns)]))
        for start in range(0, self.spine.height, rows):
            if self._in_memory:
                yield self.frame[start : start + rows].select(names)
            else:
                files = [str(self.path)]
                yield tables.collect(tables.scan(files).select(names).slice(start, rows), files=files)

    @property
    def _in_memory(self) -> bool:
        return self.loaded is not None or "frame" in self.__dict__

    def _read(self, columns: list[str] | None) -> pl.DataFrame:
        from fraudctl.data import tables

        if self.path is None:
            msg = "a feature table is in memory or in a file"
            raise ValueError(msg)
        return tables.read_parquet(self.path, columns=columns)

    @property
    def n_events(self) -> int:
        """Number of events; of a table on disk its file knows, and no row is read."""
        import polars as pl

        from fraudctl.data import tables

        if self._in_memory:
            return self.frame.height
        if "spine" in self.__dict__:
            return self.spine.height
        files = [str(self.path)]
        return int(tables.collect(tables.scan(files).select(pl.len()), files=files).item())

    @property
    def known_until(self) -> datetime:
        """The latest event_time, where the data have a time; else a ValueError."""
        from fraudctl.data.labels import timed

        return timed(self.known)

    @property
    def timed(self) -> bool:
        """Whether the data have an event_time; else that column is null."""
        return self.known is not None


def find_features(project: Project, *, read: bool) -> FeatureFile | None:
    """Return the feature table that was built before from the same data and definitions; None where there is none.

    The table itself is not read, nor are data files that the system reports as unchanged (`fraudctl.disk.prints`).

    Parameters
    ----------
    read
        Whether the caller is going to read the table: then all of its content is verified.

    Raises
    ------
    DataError, ProjectError
        As `load_definitions` does.
    """
    from fraudctl.disk.kept import DamagedError, unchanged, verified
    from fraudctl.disk.prints import Prints

    if not project.data.has_time:
        return None
    prints = Prints(project.cache_dir / "features" / "prints.json", now_ns=time.time_ns())
    plan = plan_features(project, fingerprint=prints.fingerprint)
    place = _place(plan)
    try:
        found = verified(place) if read else unchanged(place)
    except DamagedError:
        return None  # who builds it again says why
    if found is None:
        return None
    with contextlib.suppress(OSError):
        prints.remember()
    return _feature_file(plan, FeatureTableFacts.from_dict(found), reused=True)


def _place(plan: BuildPlan) -> Path:
    return plan.project.cache_dir / "features" / f"{plan.key[:32]}.parquet"


def _feature_file(plan: BuildPlan, facts: FeatureTableFacts, *, reused: bool) -> FeatureFile:
    place = _place(plan)
    return FeatureFile(
        place, rows_of(place), facts.known_until, facts.n_duplicates, plan.features, plan.fingerprint, plan.key, reused,
        facts.notes,
    )  # fmt: skip


def build_features(project: Project, *, also: Sequence[str] = (), progress: Progress | None = None) -> FeatureTable:
    """Build the project's feature table, or reuse the one built before from the same data and definitions.

    Parameters
    ----------
    also
        Further data columns that travel along.

    Raises
    ------
    DataError, ProjectError
        As `fraudctl.data.tables.load_events` and `fraudctl.features.meaning.definition.define` do.
    """
    plan = plan_features(project, also=also)
    place = _place(plan)
    progress = progress or Silent()
    frame, facts = None, _facts(place, progress)
    reused = facts is not None
    if facts is None:
        frame, facts = _build(plan, progress)
        _keep(frame, facts, place, progress)
    return FeatureTable(
        loaded=frame,
        features=plan.features,
        known=facts.known,
        n_duplicates=facts.n_duplicates,
        fingerprint=plan.fingerprint,
        key=plan.key,
        reused=reused,
        notes=facts.notes,
        path=place,
    )


@dataclass(frozen=True)
class FeatureFile:
    """A feature table on disk, as `FeatureTable` would hold it."""

    JSON = (
        "rows", "known_until", "n_duplicates as duplicates", "fingerprint as data_fingerprint", "key", "reused",
        "notes",
    )  # fmt: skip

    path: Path
    rows: int
    known_until: datetime
    n_duplicates: int
    features: FeatureSet
    fingerprint: str
    key: str
    reused: bool
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> FeatureTable:
        """The same as a table that is read when it is asked for."""
        return FeatureTable(
            None, self.features, self.known_until, self.n_duplicates, self.fingerprint, self.key, self.reused,
            notes=self.notes, path=self.path,
        )  # fmt: skip

    def column(self, name: str) -> pl.Series:
        """Read one column."""
        from fraudctl.data import tables

        return tables.read_parquet(self.path, columns=[name]).to_series()


_QUICKLY_WRITTEN = 1_000_000
"""Rows that are written at once; more are written in pieces, each a step of progress."""
LEAST_MEMORY = 500_000_000
"""Bytes below which `build_features_file` cannot keep its word."""
BASE_MEMORY = 410_000_000
"""What the libraries, code and small arrays take, whatever the data."""


def build_features_file(
    project: Project, *, memory: int, also: Sequence[str] = (), progress: Progress | None = None
) -> FeatureFile:
    """Build the feature table without holding it: partitions of each entity go through files.

    Parameters
    ----------
    memory
        Bytes that the process may take; the entity value with the most events, and links, take some 150 bytes for each
        of their rows whatever this says, and entries of tables of labels are held whole.
    also
        Further data columns that travel along.

    Raises
    ------
    UsageError
        Less memory than anything can be done with.
    DataError, ProjectError
        As `build_features` does.
    """
    require_memory(memory)
    if not project.data.has_time:
        msg = "--memory works on data with an event_time; these have none"
        raise UsageError(msg)
    progress, plan = progress or Silent(), plan_features(project, also=also)
    place = _place(plan)
    facts = _facts(place, progress)
    reused = facts is not None
    if facts is None:
        facts = _build_in_parts(plan, place, memory - BASE_MEMORY, progress)
    return _feature_file(plan, facts, reused=reused)


def require_memory(memory: int) -> None:
    """Refuse a budget in bytes with which nothing can be built."""
    if memory < LEAST_MEMORY:
        msg = f"--memory: {whole(memory / 1e6)} MB are too little; expected at least {whole(LEAST_MEMORY / 1e6)} MB"
        raise UsageError(msg)


def _facts(place: Path, progress: Progress) -> FeatureTableFacts | None:
    """Return the facts of a table that was built before, if its file is what was written."""
    from fraudctl.disk.kept import DamagedError, verified

    try:
        found = verified(place)
        return None if found is None else FeatureTableFacts.from_dict(found)
    except DamagedError as error:
        progress.warn(f"{error}: the features are built again")
        return None


def rows_of(path: Path) -> int:
    """Count the rows of a Parquet file by its footer."""
    import polars as pl

    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _build_in_parts(plan: BuildPlan, place: Path, budget: int, progress: Progress) -> FeatureTableFacts:
    from fraudctl.data import outputs, tables
    from fraudctl.data.chunks import spill_events, write_chunks
    from fraudctl.data.labels import as_known
    from fraudctl.disk.files import temporary_folder
    from fraudctl.disk.kept import keep
    from fraudctl.features.batch.spilled import Spilled, limits

    sizes = limits(budget, plan.features)
    outputs.require_writable(place)
    with temporary_folder(place.parent, "parts") as folder:
        progress.stage("Reading events into parts")
        entries = plan.definitions.load_entries()
        chunks = spill_events(
            plan.project, columns=plan.carried, folder=folder, rows=sizes.chunk_rows, entries=entries,
            tell=_Pace(progress),
        )  # fmt: skip
        progress.stage("Reading other tables")
        sources = plan.definitions.spill_sources(folder, sizes.source_rows)
        progress.stage(f"Building {len(plan.features.names)} features for {sum(chunks.heights):,} events in parts")
        spilled = Spilled(
            chunks.files, chunks.heights, plan.features, plan.project.data.timezone, sources, folder, sizes
        )
        spilled.compute(_Pace(progress))
        progress.stage("Joining the parts in the order of time")
        pace = _Pace(progress)

        def pieces() -> Iterator[pl.DataFrame]:
            done = 0
            for piece in spilled.table():
                yield as_known(piece, chunks.known_until)
                done += piece.height
                pace("written", done, sum(chunks.heights))

        def facts() -> JsonObject:
            total = sum(chunks.heights)
            progress.update(total, total, "hashing the file")
            notes = _notes(plan, lambda names: tables.read_parquet(place, columns=names), progress)
            return FeatureTableFacts(chunks.known_until, chunks.n_duplicates, notes).to_dict()

        rows = 2 * sizes.chunk_rows

        def write(path: Path) -> None:
            write_chunks(pieces, path, durable=False, rows=rows)

        return FeatureTableFacts.from_dict(keep(place, write=write, facts=facts))


class _Pace:
    """Tells progress in rows, with rows per second."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.began = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        seconds = max(time.monotonic() - self.began, 1e-9)
        self.progress.update(done, total, f"{what}, {whole(done / seconds)} rows/s")


def _build(plan: BuildPlan, progress: Progress) -> tuple[pl.DataFrame, FeatureTableFacts]:
    from fraudctl.features.batch.build import build
    from fraudctl.features.batch.loading import COMPILING, loading

    def tell(name: str, done: int, total: int) -> None:
        if name == COMPILING:
            progress.stage(f"{name[0].upper()}{name[1:]}")
        else:
            progress.update(done, total, name)

    progress.stage("Reading events")
    with loading():
        steps = Steps(progress, 5)
        events = plan.load(watch=steps.begin)
        steps.begin("other tables")
        sources = plan.load_sources()
    progress.stage(f"Building {len(plan.features.names)} features for {events.frame.height:,} events")
    frame = build(
        events,
        plan.features,
        timezone=plan.project.data.timezone,
        sources=sources,
        progress=tell,
    )
    return frame, FeatureTableFacts(events.newest, events.n_duplicates, _notes(plan, frame.select, progress))


def _notes(plan: BuildPlan, columns: Callable[[list[str]], pl.DataFrame], progress: Progress) -> tuple[str, ...]:
    """Say once, as warnings, what the user should know of the table."""
    from fraudctl.features.batch.links import hub_notes

    notes = hub_notes(plan.features.steps, columns)
    for note in notes:
        progress.warn(note)
    return tuple(notes)


def _keep(frame: pl.DataFrame, facts: FeatureTableFacts, place: Path, progress: Progress) -> None:
    from fraudctl.data.chunks import write_chunks
    from fraudctl.data.outputs import ROW_GROUP, write_parquet
    from fraudctl.disk.kept import keep

    def pieces() -> Iterator[pl.DataFrame]:
        for start in range(0, frame.height, ROW_GROUP):
            progress.update(start, frame.height, "rows")
            yield frame[start : start + ROW_GROUP]

    def write(path: Path) -> None:
        if frame.height <= _QUICKLY_WRITTEN:
            write_parquet(frame, path, durable=False)
        else:
            write_chunks(pieces, path, durable=False)

    def told() -> JsonObject:
        progress.update(frame.height, frame.height, "hashing the file")
        return facts.to_dict()

    progress.stage("Writing the table")
    keep(place, write=write, facts=told)


def write_features(table: FeatureTable | FeatureFile, path: Path) -> None:
    """Write a feature table as Parquet, whole or not at all: event id and roles first, then the features.

    Parameters
    ----------
    table
        What `build_features` or `build_features_file` returned.
    path
        The file to write; one that is there is replaced.
    """
    import polars as pl

    from fraudctl.data import outputs
    from fraudctl.data.labels import CHANGES
    from fraudctl.data.own import outside

    names = table.features.names
    changed = any(outside(name) != name for name in names) or table.features.labels is not None
    if table.path is not None and (isinstance(table, FeatureFile) or table.timed) and not changed:
        outputs.copy_file(table.path, path)
    elif table.path is not None and (isinstance(table, FeatureFile) or table.timed):
        with outputs.whole_file(path) as temporary:
            pl.scan_parquet(table.path).drop(CHANGES, strict=False).rename(outside).sink_parquet(temporary)
    elif isinstance(table, FeatureTable):
        without = [] if table.timed else ["event_time", "label_time"]
        outputs.write_parquet(table.frame.drop(without).rename(outside), path)


def write_extract(table: FeatureTable | FeatureFile, path: Path, extract: Extract, project: Project) -> int:
    """Write the rows of an extract as Parquet, whole or not at all, with ``event_weight``; return how many there are.

    Parameters
    ----------
    table
        What `build_features` or `build_features_file` returned; of a table on disk little is in memory at a time.

    Raises
    ------
    DataError
        As `fraudctl.weights.event_weights` does.
    """
    import polars as pl

    from fraudctl.data import outputs, tables
    from fraudctl.extract import as_written

    if isinstance(table, FeatureTable):
        parts = [table.rows(pl.Series(extract.kept(table.spine)))]
        hidden = [] if table.timed else ["event_time", "label_time"]
    else:
        whole_table, hidden = tables.scan([str(table.path)]), []
        pieces = (
            whole_table.slice(start, _QUICKLY_WRITTEN).collect() for start in range(0, table.rows, _QUICKLY_WRITTEN)
        )
        parts = [piece.filter(pl.Series(extract.kept(piece))) for piece in pieces]
    found = extract.weighted(pl.concat(parts), project).drop(hidden)
    outputs.write_parquet(as_written(found), path)
    return found.height


def describe_features(table: FeatureTable | FeatureFile) -> Description:
    """State for each feature what it means, what it takes in, when it is null, and how its values are distributed.

    Parameters
    ----------
    table
        What `build_features` or `build_features_file` returned.
    """
    from fraudctl.features.meaning.describe import describe

    if isinstance(table, FeatureTable):
        return describe(table.features, table.frame.get_column, n_events=table.frame.height)
    return describe(table.features, table.column, n_events=table.rows)
