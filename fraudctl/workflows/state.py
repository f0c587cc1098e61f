"""``state``: what scoring remembers, built from history, looked at, and brought forward."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import BundleError, DataError, UsageError
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.workflows.decision_files import export_decisions, roll
from fraudctl.workflows.score import Model, read_entries, read_sources
from fraudctl.workflows.slots import taken_by_history

if TYPE_CHECKING:
    from fraudctl.data.tables import Events
    from fraudctl.scoring.decider import Explained
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.experiment import Experiment
    from fraudctl.scoring.live import LiveState
    from fraudctl.scoring.store import Store


@dataclass(frozen=True)
class StateResult:
    """What a saved state holds."""

    path: Path
    features: tuple[str, ...]
    """Digests of the feature sets that it holds."""
    counts: dict[str, int]
    """Events, labels and source rows since it was built, and what was odd about them."""
    bytes: int
    """Size of snapshots and logs on the disk."""
    records: int
    """Log records since the snapshot."""


def build_state(
    models: Sequence[Model],
    folder: Path,
    *,
    history: Sequence[str | Path],
    sources: Mapping[str, Sequence[str | Path]] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> StateResult:
    """Build what scoring remembers from history in one go, for one or several bundles.

    Parameters
    ----------
    models
        The bundles that the state will serve, the champion first.
    folder
        Where the state is written.
    history
        Files, globs or folders of the events so far; outcomes in them count from the times at which they arrived.
    sources
        Source name -> its files; by default where the project says.
    force
        Replace a state that the folder holds.

    Raises
    ------
    UsageError
        The folder holds a state already and ``force`` is not given, or it is in use.
    BundleError
        It holds a damaged one, and ``force`` is not given.
    DataError
        History that is missing, unreadable, or not like the data that the models were trained on.
    """
    from fraudctl.scoring.store import Store

    with Store(folder, replacing=force) as store:
        if not force and not store.empty:
            msg = f"{folder} holds a state already"
            raise UsageError(msg, hint="name another folder, or replace it with --force")
        live = seeded(models, history=history, sources=sources or {}, progress=progress)
        (progress or Silent()).stage("Saving the state")
        if force:
            store.replace(live.to_parts())
        else:
            store.save(live.to_parts())
    return show_state(folder)


def seeded(
    models: Sequence[Model],
    *,
    history: Sequence[str | Path],
    sources: Mapping[str, Sequence[str | Path]],
    progress: Progress | None = None,
) -> LiveState:
    """Return a state that has seen history, or nothing where there is none.

    Under a capacity, the events of the last local day or week have taken slots: those of the first model as champion,
    of the second as challenger.
    """
    from fraudctl.features.online import from_history
    from fraudctl.scoring.live import ROLES, Definition, LiveState

    progress = progress or Silent()
    by_digest = {model.decider.features.digest: model for model in models}
    definitions = [Definition.of(model.decider) for model in by_digest.values()]
    if not history:
        return LiveState(definitions)
    features = {}
    for item, model in zip(definitions, by_digest.values(), strict=True):
        events = _history_of(model, history, sources, model.decider.features.carried, progress)
        progress.stage(f"Taking in {events.frame.height:,} events")
        features[item.digest] = from_history(
            events, model.decider.features, **item.settings, sources=read_sources(model, sources),
            progress=lambda name, done, total: progress.update(done, total, name),
        )  # fmt: skip
    live = LiveState(definitions, features)
    for role, model in zip(ROLES, models, strict=False):
        if model.decider.policy.capacity:
            events = _history_of(model, history, sources, model.decider.carried, progress)
            live.used[role] = taken_by_history(model.decider, events, read_sources(model, sources))
    return live


def _history_of(
    model: Model,
    history: Sequence[str | Path],
    sources: Mapping[str, Sequence[str | Path]],
    carried: Collection[str],
    progress: Progress,
) -> Events:
    from fraudctl.scoring.tables import events_of, open_new

    decider = model.decider
    progress.stage("Reading history")
    table = open_new(history, decider.project, decider.schema, carried=carried, what="--history")
    entries = read_entries(model, sources)
    watch = Steps(progress, 4).begin
    return events_of(None, table, decider.project, carried=carried, entries=entries, watch=watch)


def open_live(
    store: Store | None,
    models: Sequence[Model],
    *,
    history: Sequence[str | Path] = (),
    sources: Mapping[str, Sequence[str | Path]] | None = None,
    progress: Progress | None = None,
) -> LiveState:
    """Return the state in a store, brought up to its last record; or a new one, which is saved at once.

    Raises
    ------
    UsageError
        The store holds a state, and history is given too.
    BundleError
        The state is damaged, or of other features than those of a bundle.
    """
    if store is None or store.empty:
        live = seeded(models, history=history, sources=sources or {}, progress=progress)
        if store is not None:
            store.save(live.to_parts())
            store.let_compact()
            live.answers.attach(store.folder)
        return live
    if history:
        msg = f"{store.folder} holds a state already, which has its history in it"
        raise UsageError(msg, hint="leave out --history, or build the state again with `fraudctl state build --force`")
    live = restored(store, progress=progress)
    for model in models:
        live.require(model.decider, where=str(store.folder))
    return live


@contextlib.contextmanager
def engine_on(
    model: Model,
    folder: Path | None,
    *,
    new: bool = False,
    history: Sequence[str | Path] = (),
    sources: Mapping[str, Sequence[str | Path]] | None = None,
    with_features: bool = False,
    explained: Explained = "all",
    durable: bool = False,
    experiment: Experiment | None = None,
    progress: Progress | None = None,
) -> Iterator[DecisionEngine]:
    """Return an engine on a saved state, or on history alone; what it took in is saved at the end."""
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.store import Store

    if folder is not None:
        expect_state(folder, new=new or bool(history))
    store = None if folder is None else Store(folder, durable=durable)
    try:
        live = open_live(store, [model], history=history, sources=sources, progress=progress)
        engine = DecisionEngine(
            model.decider, live, store=store, explained=explained, with_features=with_features, experiment=experiment
        )
        if store is not None:
            engine.roll = functools.partial(roll, store, live)
        yield engine
        if store is not None:
            engine.flush()
            save_state(store, live, progress=progress)
    finally:
        if store is not None:
            store.close()


def restored(store: Store, *, progress: Progress | None = None) -> LiveState:
    """Read the snapshot in a store, and bring it forward through the log."""
    from fraudctl.scoring.live import LiveState

    progress = progress or Silent()
    progress.stage("Reading the state")
    for note in store.notes:
        progress.warn(f"{store.folder}: {note}")
    parts = store.snapshot(lambda done, total: progress.update(done, total, "bytes"))
    if parts is None:
        msg = f"{store.folder} has a log, and the snapshot that it belongs to is missing"
        raise BundleError(msg, hint="build the state again from history: `fraudctl state build --force`")
    live = LiveState.from_parts(parts)
    live.answers.attach(store.folder)
    replay(live, store.records(), progress=progress)
    store.let_compact()
    return live


def replay(live: LiveState, records: Iterable[bytes], *, progress: Progress) -> None:
    """Apply log records in order; those that do not apply are left out and counted (see `LiveState.apply`)."""
    for done, record in enumerate(records, start=1):
        live.apply(record)
        if done % 1000 == 0:
            progress.update(done, None, "log records")


def save_state(store: Store, live: LiveState, *, always: bool = False, progress: Progress | None = None) -> None:
    """Write what was decided as Parquet, and, where one is due, a snapshot that takes the place of the log.

    Where nothing came since the last time, nothing is written. See `Store.snapshot_due`.

    Parameters
    ----------
    always
        Whether a snapshot is written although none is due.
    """
    if store.idle:
        return
    roll(store, live)
    if always or store.snapshot_due:
        (progress or Silent()).stage("Saving the state")
        store.cover(live.to_parts())


def compact_state(folder: Path, *, progress: Progress | None = None) -> StateResult:
    """Bring the snapshot in a folder forward through its closed log segments, while a server may go on writing.

    Parameters
    ----------
    folder
        The folder of the state.

    Raises
    ------
    UsageError
        Another process is doing so.
    BundleError
        There is no state, or it is damaged.
    """
    import os

    from fraudctl.scoring.saved import compaction_lock, explained

    require_state(folder)
    with explained(folder):
        held = compaction_lock(folder)
        if held is None:
            msg = f"the state in {folder} is being compacted by another process"
            raise UsageError(msg, hint="wait until it has ended")
        try:
            _compact(folder, progress or Silent())
        finally:
            for handle in held:
                os.close(handle)
    return show_state(folder)


def _compact(folder: Path, progress: Progress) -> None:
    from fraudctl.disk.files import Folder
    from fraudctl.scoring.live import LiveState
    from fraudctl.scoring.saved import closed_segments, read_segment, remove_covered
    from fraudctl.scoring.snapshots import read_snapshot, write_snapshot

    covered, segments = closed_segments(folder)
    if not segments:
        return
    progress.stage(f"Compacting {len(segments)} log segments")
    snapshot = read_snapshot(folder, covered)
    live, position = LiveState.from_parts(snapshot.parts), snapshot.position
    for number in segments:
        segment = read_segment(folder, number, after=position)
        position = segment.end
        replay(live, segment.records, progress=progress)
        export_decisions(folder, number, live)
    read_segment(folder, segments[-1] + 1, last=True, after=position)
    files = Folder(folder)
    try:
        write_snapshot(files, segments[-1] + 1, live.to_parts(), position)
        remove_covered(files, segments[-1] + 1)
    finally:
        files.close()


@dataclass(frozen=True)
class Verified:
    """A state all of which was checked."""

    path: Path
    segments: int
    """Log segments after the snapshot; they follow it and each other."""
    records: int
    """Log records in them; all apply."""
    skipped: int
    """Of these, records of earlier versions that are left out (see `LiveState.apply`)."""
    answered: int
    """Rows of decisions and of answers in files; all are what was written."""


def verify_state(folder: Path, *, progress: Progress | None = None) -> Verified:
    """Check everything in the folder of a state, and change nothing: a server may go on writing.

    Parameters
    ----------
    folder
        The folder of the state.

    Raises
    ------
    BundleError
        Something is missing or damaged; the message says where.
    """
    from fraudctl.scoring.answers import ANSWERS, verify_answers
    from fraudctl.scoring.live import LiveState
    from fraudctl.scoring.saved import DECISIONS, latest, read_state, require_acknowledged

    progress = progress or Silent()
    require_state(folder)
    progress.stage("Checking snapshot and log")
    snapshot, segments = read_state(folder)
    require_acknowledged(folder, latest(folder) + len(segments) - 1, segments[-1])
    live = LiveState.from_parts(snapshot.parts)
    before = live.counts["skipped"]
    for segment in segments:
        replay(live, segment, progress=progress)
    progress.stage("Checking decisions and answers")
    rows = sum(_rows_of(path) for path in sorted((folder / DECISIONS).glob("*.parquet")))
    rows += sum(verify_answers(path) for path in sorted((folder / ANSWERS).glob("*.parquet")))
    n_records = sum(len(segment.records) for segment in segments)
    return Verified(folder, len(segments), n_records, live.counts["skipped"] - before, rows)


def _rows_of(path: Path) -> int:
    """Read a file of decisions whole; return the number of its rows."""
    from fraudctl.data.tables import read_parquet
    from fraudctl.disk.kept import DamagedError, require_undamaged

    try:
        require_undamaged(path)
        return read_parquet(path).height
    except (DamagedError, OSError) as error:
        raise BundleError(f"{path} is damaged: it is not what was written", hint="restore the file") from error
    except DataError as error:
        raise BundleError(f"{path} is damaged: {error.message}", hint="restore the file") from error


@dataclass(frozen=True)
class Repaired:
    """What of a damaged state was kept."""

    path: Path
    records: int
    """Log records that were kept and applied to the snapshot."""
    left_out: tuple[str, ...]
    """Places of the log that were left out."""


def repair_state(folder: Path, target: Path, *, progress: Progress | None = None) -> Repaired:
    """Make a new state of what is sound in a damaged one, which is not touched.

    Kept are the snapshot, every log record that is what was written, decisions and answers. Left out is what is not,
    and said.

    Parameters
    ----------
    folder
        The folder of the damaged state.
    target
        A new or empty folder for the repaired one.

    Raises
    ------
    UsageError
        The old state is in use, or the new folder is not empty.
    BundleError
        The snapshot itself is damaged: only history can make the state again.
    """
    import os

    from fraudctl.data.outputs import require_local
    from fraudctl.disk.files import locked
    from fraudctl.scoring.saved import explained

    require_state(folder)
    require_local(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        msg = f"{target} is there already, and not an empty folder"
        raise UsageError(msg, hint="name a new folder")
    with explained(folder):
        handle = locked(folder, create=False)
    if handle is None:
        msg = f"the state in {folder} is in use by another process"
        raise UsageError(msg, hint="stop it first")
    try:
        return _repair(folder, target, progress or Silent())
    finally:
        os.close(handle)


def _repair(folder: Path, target: Path, progress: Progress) -> Repaired:
    from fraudctl.scoring.live import LiveState
    from fraudctl.scoring.saved import explained, latest, salvage_log, segments
    from fraudctl.scoring.snapshots import read_snapshot
    from fraudctl.scoring.store import Store, frame

    progress.stage("Reading what is sound")
    covered = latest(folder)
    snapshot = read_snapshot(folder, covered)
    live = LiveState.from_parts(snapshot.parts)
    records, left_out = salvage_log(folder, covered, snapshot.position)
    with explained(target):
        target.mkdir(parents=True, exist_ok=True)
        left_out += _copy_sound(folder, target)
    with Store(target, replacing=True) as store:
        store.replace(live.to_parts(), above=max([covered, *segments(folder)]))
        if records:
            store.append([frame(record) for record in records])
        live.answers.attach(target)
        replay(live, records, progress=progress)
        save_state(store, live)
    return Repaired(target, len(records), tuple(left_out))


def _copy_sound(folder: Path, target: Path) -> list[str]:
    """Copy the files of decisions and answers that are sound; return what is left out."""
    import shutil

    from fraudctl.scoring.answers import ANSWERS, verify_answers
    from fraudctl.scoring.saved import DECISIONS

    left_out = []
    for name, check in ((DECISIONS, _rows_of), (ANSWERS, verify_answers)):
        for path in sorted((folder / name).glob("*.parquet")):
            try:
                check(path)
            except BundleError:
                left_out.append(f"{name}/{path.name}: it is damaged")
                continue
            (target / name).mkdir(exist_ok=True)
            shutil.copy2(path, target / name / path.name)
    return left_out


def expect_state(folder: Path, *, new: bool) -> None:
    """Refuse a folder without a state, which may be a mistyped name, unless a ``new`` state is asked for.

    Raises
    ------
    BundleError
        There is none, and none is asked for.
    """
    if not new and not has_state(folder):
        msg = f"no state in {folder}"
        raise BundleError(
            msg, hint="correct the path; `fraudctl state build` makes one from history, --new an empty one"
        )


def has_state(folder: Path) -> bool:
    """Return whether there is a state in a folder."""
    from fraudctl.scoring.saved import latest, segments

    return folder.is_dir() and bool(latest(folder) or segments(folder))


def require_state(folder: Path) -> int:
    """Return the number of the newest snapshot in a folder.

    Raises
    ------
    BundleError
        There is none.
    """
    from fraudctl.scoring.saved import latest

    number = latest(folder) if folder.is_dir() else 0
    if number == 0:
        msg = f"no state in {folder}"
        raise BundleError(msg, hint="`fraudctl state build` makes one from history")
    return number


def show_state(folder: Path) -> StateResult:
    """Return what a saved state holds, from the head of its snapshot and its log; `verify_state` checks all of it.

    Parameters
    ----------
    folder
        The folder of the state.

    Raises
    ------
    BundleError
        There is no state, or what is read of it is damaged.
    """
    from fraudctl.scoring import wire
    from fraudctl.scoring.saved import read_state
    from fraudctl.scoring.snapshots import BUILD, bytes_of, read_part

    number = require_state(folder)
    snapshot, segments = read_state(folder, read=lambda place, number: read_part(place, number, "about"))
    try:
        about = wire.loads(bytes_of(snapshot.parts, "about"))
        digests, counts = tuple(item["digest"] for item in about["definitions"]), dict(about["counts"])
    except (DataError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder}: the head of snapshot {number} is damaged"
        raise BundleError(msg, hint=BUILD) from error
    size = sum(path.stat().st_size for path in folder.glob("*.bin"))
    n_records = sum(len(segment.records) for segment in segments)
    return StateResult(folder, digests, counts, size, n_records)
