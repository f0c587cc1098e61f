"""``score``: new events to decisions, as a file or as they come."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import BundleError, DataError, ProjectError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project, load_project
from fraudctl.text.figures import count, number
from fraudctl.text.plain import shown_all

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.data.tables import Events
    from fraudctl.scoring.decider import Decider, Explained
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.tables import NewTable

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
        if name in given:
            return tuple(str(Path(path).resolve()) for path in given[name])
        known = self.project
        places = {} if known is None else {name: table.events for name, table in known.sources.items()}
        places |= {} if known is None else {name: table.events for name, table in known.labels.tables.items()}
        if self.project is None or name not in places:
            what = "table of labels" if name in self.decider.project.labels.tables else "source"
            msg = f"the model uses the {what} {name!r}, and it is not known where its rows are"
            raise DataError(msg, hint=f"give them with --source {name}=FILE")
        events, root = places[name], self.project.root
        return tuple(str(root / text) if "://" not in text else text for text in _tuple(events))


def _tuple(paths: str | tuple[str, ...]) -> tuple[str, ...]:
    return (paths,) if isinstance(paths, str) else paths


def open_model(
    place: str | Path,
    reference: str = "latest",
    *,
    expect: str | None = None,
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
    return Model(Decider(bundle), project)


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
    from fraudctl.disk.files import temporary_folder
    from fraudctl.scoring.tables import events_of, first_time, ids_of, open_new, raw_of
    from fraudctl.workflows.slots import lead_from

    require_parquet_path(output)
    progress, decider = progress or Silent(), model.decider
    before: NewTable | None = None
    if history:
        before = open_new(history, decider.project, decider.schema, carried=decider.carried, what="--history")
    new = open_new(data, decider.project, decider.schema, carried=decider.carried, what="DATA", after=before)
    _tell_extra(new, progress)
    progress.stage("Reading events")
    work = _Work(decider, read_sources(model, sources or {}), progress)
    entries = read_entries(model, sources or {})
    ids = None if before is None else ids_of(new, decider.project)
    with temporary_folder(output.parent, f".{output.name}") if memory is not None else nullcontext(None) as place:
        if memory is None or place is None:
            found = events_of(before, new, decider.project, carried=decider.carried, entries=entries)
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

    decider: Decider
    sources: dict[str, pl.DataFrame]
    progress: Progress

    def at_once(self, events: Events) -> tuple[Iterator[pl.DataFrame], int]:
        """Build the table in memory; give it in pieces, and the number of repeated rows."""
        from fraudctl.features.batch.build import build

        decider = self.decider
        self.progress.stage(f"Building {len(decider.features.names)} features for {events.frame.height:,} events")
        table = build(
            events,
            decider.features,
            timezone=decider.project.data.timezone,
            sources=self.sources,
            progress=lambda name, done, total: self.progress.update(done, total, name),
        )
        return (table.slice(start, CHUNK) for start in range(0, table.height, CHUNK)), events.n_duplicates

    def in_parts(
        self, raw: pl.LazyFrame, folder: Path, memory: int, entries: pl.DataFrame | None
    ) -> tuple[Iterator[pl.DataFrame], int]:
        """Build the table through files, within the given number of bytes of memory."""
        from fraudctl.data.chunks import spill_events
        from fraudctl.features.batch.spilled import Spilled, limits
        from fraudctl.workflows.features import BASE_MEMORY, require_memory

        require_memory(memory)
        decider, whole = self.decider, folder / "events.parquet"
        raw.sink_parquet(whole)
        data = decider.project.data.model_copy(update={"events": str(whole)})
        project = decider.project.model_copy(update={"data": data})
        sizes = limits(memory - BASE_MEMORY, decider.features)
        chunks = spill_events(project, columns=decider.carried, folder=folder, rows=sizes.chunk_rows, entries=entries)
        total = sum(chunks.heights)
        self.progress.stage(f"Building {len(decider.features.names)} features for {total:,} events in parts")
        spilled = Spilled(chunks.files, chunks.heights, decider.features, data.timezone, self.sources, folder, sizes)
        spilled.compute(lambda name, done, of: self.progress.update(done, of, name))
        return spilled.table(), chunks.n_duplicates


def _tell_extra(new: NewTable, progress: Progress) -> None:
    if new.extra:
        shown = shown_all(new.extra, most=5)
        progress.warn(f"left out {len(new.extra)} columns that the model was not trained with: {shown}")


def read_sources(model: Model, given: Mapping[str, Sequence[str | Path]]) -> dict[str, pl.DataFrame]:
    """Read the other tables that the model uses, normalised."""
    from fraudctl.data import tables
    from fraudctl.features.batch.sources import normalise_source

    decider, loaded = model.decider, {}
    for name, paths in model.source_paths(given).items():
        files = tables.find_files(paths, root=Path.cwd(), what=f"--source {name}")
        with tables.explained(files):
            loaded[name] = normalise_source(
                tables.scan(files, form=tables.form_of_source(decider.project, name)),
                decider.project.sources[name],
                name=name,
                timezone=decider.project.data.timezone,
                columns=decider.features.sources[name],
            )
    return loaded


def read_entries(model: Model, given: Mapping[str, Sequence[str | Path]]) -> pl.DataFrame | None:
    """Read the tables of labels that the model uses; None where labels are a column of the events."""
    from fraudctl.data import tables
    from fraudctl.data.entries import load_entries

    files = {
        name: tables.find_files(paths, root=Path.cwd(), what=f"--source {name}")
        for name, paths in model.label_paths(given).items()
    }
    return load_entries(model.decider.project, files)


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
class StreamResult:
    """What a stream brought."""

    JSON = (
        "model", "policy", "events", "labels", "sources", "repeated", "refused", "actions", "n_dropped as dropped",
    )  # fmt: skip

    model: str
    policy: str
    events: int
    labels: int
    sources: int
    repeated: int
    """Events that had been decided before, and got the same answer."""
    refused: int
    """Lines that were answered with an error."""
    actions: dict[str, int]
    dropped: DroppedOutcomes

    @property
    def n_dropped(self) -> int:
        """Outcomes that no feature counts."""
        return self.dropped.outcomes


@dataclass(frozen=True)
class DroppedOutcomes:
    """Outcomes that no feature counts, because their event is not known: not yet, or no longer.

    Attributes
    ----------
    outcomes
        How many.
    wait_days
        How long an event waits for the message with its outcome: three label delays, at least 30 days.
    """

    outcomes: int
    wait_days: float

    @classmethod
    def so_far(cls, engine: DecisionEngine) -> DroppedOutcomes:
        """Return the outcomes without an event in the features of the champion, since their state was built."""
        features = engine.live.features[engine.champion.features.digest]
        return cls(features.counters["dropped"] + features.n_early, features.wait_us / 86_400_000_000)

    def since(self, before: DroppedOutcomes) -> DroppedOutcomes:
        """Return what came after an earlier count; events that came later may have taken some of the earlier ones."""
        return replace(self, outcomes=max(self.outcomes - before.outcomes, 0))

    @property
    def words(self) -> str | None:
        """Return how many there are and where they would count; None where there is none."""
        if not self.outcomes:
            return None
        return (
            f"{count(self.outcomes, 'outcome')} without an event that is known, which no feature counts: an event "
            f"waits {number(self.wait_days)} days (three label delays, at least 30 days) for its outcome; a file with "
            "--history counts outcomes of any age"
        )


def score_stream(engine: DecisionEngine, lines: Iterable[bytes], answer: Callable[[bytes], object]) -> StreamResult:
    """Decide on events line by line, as they come; labels and rows of other tables come in the same stream.

    Parameters
    ----------
    lines
        JSON documents, one a line; empty lines are passed over.
    answer
        Gets one line for every event, in order; and ``{"line": 7, "error": ...}`` for a line that cannot be taken,
        which changes nothing. The answer to an event is given after the event is in the log.
    """
    from fraudctl.scoring import wire

    refused, before, dropped = 0, dict(engine.live.counts), DroppedOutcomes.so_far(engine)
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            out = engine.take(wire.parse(line))
        except DataError as error:
            refused += 1
            out = wire.dumps({"line": at, "error": error.message, "hint": error.hint})
        engine.flush()
        if out is not None:
            answer(out)
    return _stream_result(engine, before, refused, DroppedOutcomes.so_far(engine).since(dropped))


def _stream_result(
    engine: DecisionEngine, before: Mapping[str, int], refused: int, dropped: DroppedOutcomes
) -> StreamResult:
    now = {key: engine.live.counts[key] - before.get(key, 0) for key in ("events", "labels", "sources", "repeated")}
    decider = engine.champion
    actions = {action: engine.actions[action] for action in decider.policy.actions}
    return StreamResult(decider.model, decider.policy_version, **now, refused=refused, actions=actions, dropped=dropped)


def score_through(
    engine: DecisionEngine,
    data: Sequence[str | Path],
    *,
    output: Path,
    entries: pl.DataFrame | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Decide on the events of files one by one, on top of what an engine remembers, and write one Parquet file.

    Events and outcomes are taken in the order of time, an outcome at the instant at which it arrived. All of them are
    checked before the first is taken. An event whose id was answered before gets the answer that it got, so that a run
    that was killed can be repeated, and a finished run gives the same file again.

    Parameters
    ----------
    entries
        What `read_entries` returned, where labels are in tables of their own: the entries of the events in the files,
        and those of others that became known since the latest event that the engine remembers.

    Raises
    ------
    DataError
        As `score_files` does; an event differs from the one that was answered under its id.
    """
    from fraudctl.data.chunks import write_chunks
    from fraudctl.data.outputs import require_parquet_path
    from fraudctl.scoring.tables import messages, open_new, require_ids

    require_parquet_path(output)
    progress, decider = progress or Silent(), engine.champion
    new = open_new(data, decider.project, decider.schema, carried=decider.carried, what="DATA")
    require_ids(new, decider.project)
    _tell_extra(new, progress)
    progress.stage("Checking events")
    after_us = engine.live.features[decider.features.digest].now
    for raw in messages(new, decider, entries=entries, after_us=after_us):
        engine.check_any(raw)
    progress.stage("Deciding one by one")
    delivery, dropped = _Delivery(engine), DroppedOutcomes.so_far(engine)

    def chunks() -> Iterator[pl.DataFrame]:
        for part in _batches(messages(new, decider, entries=entries, after_us=after_us), CHUNK // 20):
            answers = delivery.answers(part)
            engine.flush()
            progress.update(delivery.actions.total())
            yield _answers_frame(answers, decider, with_features=engine.with_features)

    nothing = _answers_frame([], decider, with_features=engine.with_features)
    write_chunks(lambda: itertools.chain(chunks(), [nothing]), output)
    lost = DroppedOutcomes.so_far(engine).since(dropped).words
    if lost is not None:
        progress.warn(lost)
    actions = {
        action: delivery.actions[action] for action in {**dict.fromkeys(decider.policy.actions), **delivery.actions}
    }
    return ScoreResult(
        output, decider.model, decider.policy_version, delivery.actions.total(), actions, delivery.duplicates,
        new.extra, delivery.repeated,
    )  # fmt: skip


class _Delivery:
    """The answers of one file: one for each event, whether it is decided now or was before.

    Attributes
    ----------
    actions
        Events by action.
    duplicates
        Rows that repeat another of the file.
    repeated
        Events that had been answered before this run.
    """

    def __init__(self, engine: DecisionEngine) -> None:
        self.actions = Counter[str]()
        self.duplicates = self.repeated = 0
        self._engine = engine
        self._seen: set[int | str] = set()

    def answers(self, part: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take messages in order; return the answers to those that are events not delivered yet."""
        from fraudctl.scoring import wire

        engine, reader = self._engine, self._engine.champion.reader
        ids = [reader.event_id(raw) for raw in part]
        engine.live.answers.fetch([key for key in ids if key is not None])
        out = []
        for key, raw in zip(ids, part, strict=True):
            before = engine.live.counts["repeated"]
            found = engine.take(raw)
            if found is None or key is None:
                continue
            if key in self._seen:
                self.duplicates += 1
                continue
            self._seen.add(key)
            self.repeated += engine.live.counts["repeated"] - before
            document = wire.loads(found)
            if engine.with_features and "features" not in document:
                msg = "an event was answered before without the values of its features"
                raise DataError(msg, hint="leave out --with-features: the answers that were given stand")
            self.actions[document["action"]] += 1
            out.append(document)
        return out


def _batches(items: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _answers_frame(documents: list[dict[str, Any]], decider: Decider, *, with_features: bool) -> pl.DataFrame:
    """Return answers as the table that batch scoring writes."""
    import polars as pl

    from fraudctl.data.own import outside, shown_beside
    from fraudctl.features.meaning.definition import POLARS_TYPES
    from fraudctl.scoring.decider import answer_schema

    schema = answer_schema(decider.schema.events[decider.project.data.event_id])
    decided = pl.DataFrame(documents, schema={**schema})
    if not with_features:
        return decided
    types = {outside(feature.name): POLARS_TYPES[feature.dtype] for feature in decider.features.features}
    values = pl.DataFrame([item["features"] for item in documents], schema=types)
    return decided.hstack(values.rename(lambda name: shown_beside(name, schema)))


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
        for piece, answered in map(wanted.part, pieces):
            found = decider.decide_frame(piece, used=used, explained=explained, answered=answered)
            counts.update(found["action"].to_list())
            progress.update(counts.total())
            names = {name: shown_beside(name, found.columns) for name in decider.features.names}
            rows = piece if answered is None else piece.filter(answered)
            yield found.hstack(rows.select(list(names)).rename(names)) if with_features else found

    write_chunks(decided, output)
    return counts
