"""``score``: new events to decisions, as a file or as they come."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fraudctl.errors import BundleError, DataError, ProjectError, UsageError
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import Project, load_project
from fraudctl.text.plain import shown_all

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.data.tables import Events
    from fraudctl.scoring.decider import Decider, Explained
    from fraudctl.scoring.tables import NewTable

_T = TypeVar("_T")
CHUNK = 200_000
"""Events decided and written at once."""


@dataclass(frozen=True)
class ScoreResult:
    """A file of decisions, and what is in it."""

    output: Path
    model: str
    policy: str
    rows: int
    actions: dict[str, int]
    """Events by action."""
    duplicates: int
    """Rows that repeat another, of history and new events together."""
    extra: tuple[str, ...]
    """Columns that training never saw, left out."""
    repeated: int = 0
    """Events that had been answered before, on a state: the file has the answers that they got."""


@dataclass(frozen=True)
class Model:
    """A bundle that decides, and the project that it was found through, where there is one."""

    decider: Decider
    project: Project | None

    def source_paths(self, given: Mapping[str, Sequence[str | Path]]) -> dict[str, tuple[str, ...]]:
        """Return where the rows of the other tables are: as given, else as the project says.

        Raises
        ------
        UsageError
            A table is named that the model does not use.
        DataError
            A table that the model uses is neither given nor known from the project.
        """
        used, verdicts = list(self.decider.features.sources), list(self.decider.project.labels.tables)
        for name in given:
            if name not in used and name not in verdicts:
                told = ", ".join([*used, *verdicts]) or "none"
                msg = f"--source {name}: the model uses no source of that name; it uses {told}"
                raise UsageError(msg)
        return {name: self._source_path(name, given) for name in used}

    def label_paths(self, given: Mapping[str, Sequence[str | Path]]) -> dict[str, tuple[str, ...]]:
        """Give where the tables of labels are, as `source_paths` does; none where labels are a column.

        Raises
        ------
        DataError
            A table is neither given nor known from the project.
        """
        return {name: self._source_path(name, given) for name in self.decider.project.labels.tables}

    def knows_labels(self, given: Mapping[str, Sequence[str | Path]]) -> bool:
        """Say whether it is known where every table of labels is."""
        known = {*given, *(() if self.project is None else self.project.labels.tables)}
        return known.issuperset(self.decider.project.labels.tables)

    def _source_path(self, name: str, given: Mapping[str, Sequence[str | Path]]) -> tuple[str, ...]:
        from fraudctl.data import tables

        if name in given:
            return tuple(tables.given_files(given[name], what=f"--source {name}"))
        if self.project is not None and name in self.project.sources:
            return tuple(tables.source_files(self.project, name))
        if self.project is not None and name in self.project.labels.tables:
            return tuple(tables.label_files(self.project, name))
        what = "table of labels" if name in self.decider.project.labels.tables else "source"
        msg = f"the model uses the {what} {name!r}, and it is not known where its rows are"
        raise DataError(msg, hint=f"give them with --source {name}=FILE")


def open_model(
    place: str | Path,
    reference: str = "latest",
    *,
    expect: str | None = None,
    batch: bool = False,
    progress: Progress | None = None,
    role: str = "model",
) -> Model:
    """Open a bundle for deciding: by its path alone, or by what the project at ``place`` calls it.

    Parameters
    ----------
    place
        The project's folder, or its fraudctl.toml.
    reference
        A version, a path of a bundle, ``latest`` or ``champion``.
    expect
        The only version that is opened; None for any.
    batch
        Whether it decides on files at once, by `score_files`. Only then a challenger's bundle can be opened.
    role
        What messages call it.

    Raises
    ------
    BundleError
        The bundle is missing, damaged, of another project, or cannot decide.
    """
    from fraudctl.scoring.decider import Decider

    bundle, project = find_model(place, reference, progress=progress, role=role)
    if expect is not None and bundle.version != expect:
        msg = f"{bundle.path} is version {bundle.version}; --expect asks for {expect}"
        raise BundleError(msg, hint="name the bundle of that version with --model")
    return Model(Decider(bundle, batch=batch), project)


def find_model(
    place: str | Path, reference: str, *, progress: Progress | None = None, role: str = "model"
) -> tuple[Bundle, Project | None]:
    """Find and check a bundle; a path to a bundle needs no project."""
    from fraudctl.bundle import MANIFEST, load_bundle
    from fraudctl.workflows.versions import open_bundle

    try:
        project = load_project(place)
    except ProjectError:
        if reference and (Path(reference) / MANIFEST).is_file():
            bundle = load_bundle(Path(reference))
            (progress or Silent()).note(f"{role}: {bundle.version} ({reference})")
            return bundle, None
        raise
    return open_bundle(project, reference, progress=progress, role=role), project


def score_files(
    model: Model,
    data: Sequence[str | Path],
    *,
    output: Path,
    history: Sequence[str | Path] = (),
    sources: Mapping[str, Sequence[str | Path]] | None = None,
    with_features: bool = False,
    explained: Explained = "alerts",
    memory: int | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Decide on the events of Parquet or CSV files, and write one Parquet file.

    Parameters
    ----------
    model
        What `open_model` returned.
    data
        The new events. Outcomes in them are used as they arrived, as those of the history are.
    history
        Events before them: what the windows look back on. They get no answer; under a capacity, those of the local day
        or week in which the new events begin take slots.
    sources
        Source name -> its files; by default where the project says.
    output
        The Parquet file to write.
    with_features
        Adds the value of every feature.
    explained
        Which decisions get reasons.
    memory
        Bytes that this process may take: features are then built through files. The answers are the same.

    Raises
    ------
    DataError
        Files that are missing, unreadable, or not like the data that the model was trained on.
    """
    from fraudctl.data.outputs import require_parquet_path
    from fraudctl.disk.files import address_of, temporary_folder
    from fraudctl.scoring.tables import events_of, first_time, ids_of, open_new, raw_of
    from fraudctl.workflows.slots import lead_from

    require_parquet_path(output)
    progress, decider = progress or Silent(), model.decider
    before: NewTable | None = None
    if history:
        before = open_new(history, decider.project, decider.schema, carried=decider.carried, what="--history")
    new = open_new(data, decider.project, decider.schema, carried=decider.carried, what="DATA", after=before)
    tell_extra(new, progress)
    progress.stage("Reading events")
    work = _Work(model, sources or {}, progress)
    entries = read_entries(model, sources or {})
    ids = None if before is None else ids_of(new, decider.project)
    beside = Path(tempfile.gettempdir()) if address_of(output) is not None else output.parent
    with temporary_folder(beside, f".{output.name}") if memory is not None else nullcontext(None) as place:
        if memory is None or place is None:
            watch = Steps(progress, 4).begin
            found = events_of(before, new, decider.project, carried=decider.carried, entries=entries, watch=watch)
            pieces, n_duplicates = work.at_once(found)
        else:
            raw = raw_of(before, new, decider.project)
            pieces, n_duplicates = work.in_parts(raw, place, memory, entries)
        wanted = _Wanted(ids, lead_from(decider, first_time(new, decider.project)))
        _say_slots(wanted, progress)
        counts = _write(
            decider, pieces, wanted, output, with_features=with_features, explained=explained, progress=progress
        )
    actions = {action: counts[action] for action in decider.policy.actions}
    return ScoreResult(output, decider.model, decider.policy_version, counts.total(), actions, n_duplicates, new.extra)


@dataclass(frozen=True)
class _Work:
    """From events to their feature table, piece by piece."""

    model: Model
    given: Mapping[str, Sequence[str | Path]]
    progress: Progress

    def at_once(self, events: Events) -> tuple[Iterator[pl.DataFrame], int]:
        """Build the table in memory; give it in pieces, and the number of repeated rows."""
        from fraudctl.features.batch.build import build

        decider, sources = self.model.decider, read_sources(self.model, self.given)
        self.progress.stage(f"Building {len(decider.features.names)} features for {events.frame.height:,} events")
        table = build(
            events,
            decider.features,
            timezone=decider.project.data.timezone,
            sources=sources,
            progress=lambda name, done, total: self.progress.update(done, total, name),
        )
        return (table.slice(start, CHUNK) for start in range(0, table.height, CHUNK)), events.n_duplicates

    def in_parts(
        self, raw: pl.LazyFrame, folder: Path, memory: int, entries: pl.DataFrame | None
    ) -> tuple[Iterator[pl.DataFrame], int]:
        """Build the table through files, within the given number of bytes of memory."""
        from fraudctl.data.chunks import spill_events
        from fraudctl.features.batch.sources import spill_source
        from fraudctl.features.batch.spilled import Spilled, limits
        from fraudctl.workflows.features import BASE_MEMORY, require_memory

        require_memory(memory)
        decider, whole = self.model.decider, folder / "events.parquet"
        raw.sink_parquet(whole)
        project = _as_written(decider.project, whole)
        sizes = limits(memory - BASE_MEMORY, decider.features)
        chunks = spill_events(
            project, columns=decider.carried, folder=folder, rows=sizes.chunk_rows, entries=entries,
            tell=lambda what, done, of: self.progress.update(done, of, what),
        )  # fmt: skip
        spill = functools.partial(spill_source, folder=folder, rows=sizes.source_rows)
        sources = _each_source(self.model, self.given, spill)
        total = sum(chunks.heights)
        self.progress.stage(f"Building {len(decider.features.names)} features for {total:,} events in parts")
        spilled = Spilled(chunks.files, chunks.heights, decider.features, project.data.timezone, sources, folder, sizes)
        spilled.compute(lambda name, done, of: self.progress.update(done, of, name))
        return spilled.table(), chunks.n_duplicates


def tell_extra(new: NewTable, progress: Progress) -> None:
    """Note columns of a table to score that the model does not take."""
    if new.extra:
        shown = shown_all(new.extra, most=5)
        progress.warn(f"left out {len(new.extra)} columns that the model was not trained with: {shown}")


def read_sources(model: Model, given: Mapping[str, Sequence[str | Path]]) -> dict[str, pl.DataFrame]:
    """Read the other tables that the model uses, normalised."""
    from fraudctl.features.batch.sources import normalise_source

    return _each_source(model, given, normalise_source)


def _each_source(model: Model, given: Mapping[str, Sequence[str | Path]], take: Callable[..., _T]) -> dict[str, _T]:
    from fraudctl.data import tables

    decider, found = model.decider, {}
    for name, paths in model.source_paths(given).items():
        files = list(paths)
        with tables.explained(files):
            found[name] = take(
                tables.scan(files, form=tables.form_of_source(decider.project, name)),
                decider.project.sources[name],
                name=name,
                timezone=decider.project.data.timezone,
                columns=decider.features.sources[name],
            )
    return found


def read_entries(model: Model, given: Mapping[str, Sequence[str | Path]]) -> pl.DataFrame | None:
    """Read the tables of labels that the model uses; None where labels are a column of the events."""
    from fraudctl.data.entries import load_entries

    return load_entries(model.decider.project, model.label_paths(given))


def _as_written(project: Project, whole: Path) -> Project:
    """Return the project that reads a file of events in their normal form: notations were read, and ids made."""
    from fraudctl.project.reading import EventId, ReadingSection

    plain = ReadingSection()
    read = {name: getattr(plain, name) for name in ReadingSection.model_fields}
    made = {"events": str(whole.resolve()), "event_id": EventId(str(project.data.event_id)), "untimed": "refuse"}
    return project.model_copy(update={"data": project.data.model_copy(update={**read, **made})})


@dataclass(frozen=True)
class _Wanted:
    """Which events get an answer, and which of the others take slots of a capacity before them.

    Attributes
    ----------
    ids
        Of the new events; None where there is no history, and all events are new.
    lead
        From when on events of the history take slots; None without a capacity.
    """

    ids: pl.Series | None
    lead: datetime | None

    def part(self, piece: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
        """Return the rows of a piece to decide, and which of them get an answer; None for all."""
        if self.ids is None:
            return piece, None
        new = piece["event_id"].is_in(self.ids.implode())
        if self.lead is None:
            return piece.filter(new), None
        taking = new | (piece["event_time"] >= self.lead)
        return piece.filter(taking), new.filter(taking)


def _say_slots(wanted: _Wanted, progress: Progress) -> None:
    """Report the time from which slots of a capacity are counted."""
    if wanted.lead is None:
        return
    if wanted.ids is None:
        text = "all slots count as free at the first event; events of --history, or a --state, would have taken theirs"
    else:
        text = f"events of --history since {wanted.lead.isoformat()} take slots, as this model decides them"
    progress.note(f"capacity: {text}")


@dataclass(frozen=True)
class _Piece:
    """A piece of the feature table, and the rows before it that are looked back on; None where none are."""

    new: pl.DataFrame
    with_earlier: pl.DataFrame | None


def _looking_back(pieces: Iterator[pl.DataFrame], span: timedelta | None) -> Iterator[_Piece]:
    """Yield pieces in the order of time, each with the rows up to ``span`` before its first."""
    import polars as pl

    earlier: pl.DataFrame | None = None
    for piece in pieces:
        if span is None or piece.is_empty():
            yield _Piece(piece, None)
            continue
        whole = piece if earlier is None else pl.concat([earlier, piece])
        yield _Piece(piece, whole)
        earlier = whole.filter(pl.col("event_time") >= pl.col("event_time").last() - span)


def _write(
    decider: Decider,
    pieces: Iterator[pl.DataFrame],
    wanted: _Wanted,
    output: Path,
    *,
    with_features: bool,
    explained: Explained,
    progress: Progress,
) -> Counter[str]:
    """Decide piece by piece and write as it goes; give the number of events by action."""
    from fraudctl.data.chunks import write_chunks
    from fraudctl.data.own import shown_beside
    from fraudctl.policy import CapacityUse

    progress.stage("Deciding")
    used, counts = CapacityUse(), Counter[str]()

    def decided() -> Iterator[pl.DataFrame]:
        for whole in _looking_back(pieces, decider.looks_back):
            piece, answered = wanted.part(whole.new)
            found = decider.decide_frame(
                piece, used=used, explained=explained, answered=answered, whole=whole.with_earlier
            )
            counts.update(found["action"].to_list())
            progress.update(counts.total())
            names = {name: shown_beside(name, found.columns) for name in decider.features.names}
            rows = piece if answered is None else piece.filter(answered)
            yield found.hstack(rows.select(list(names)).rename(names)) if with_features else found

    write_chunks(decided, output)
    return counts
