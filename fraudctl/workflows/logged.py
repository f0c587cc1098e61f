"""Decisions that were taken, from the folder of a state or from files, with what is known of their outcomes.

Shared by what looks at a model after its training. A state may be in use: its log is read as far as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import DataError
from fraudctl.project import Project

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from fraudctl.data.chunks import Chunks
    from fraudctl.data.pieces import KeptPieces
    from fraudctl.data.tables import Events
    from fraudctl.monitor.decisions import LoggedDecisions
    from fraudctl.monitor.taken import TakenDecisions

EVENT_ROWS = 500_000
"""Events of a piece."""
_TRIES = 3
"""How often a state is read again because its files were merged in the meantime."""


def read_logged(project: Project, places: Sequence[str | Path], *, role: str = "champion") -> LoggedDecisions:
    """Read decisions as they were taken.

    Parameters
    ----------
    places
        The folder of a state of `serve` or `score --state`, or Parquet files of decisions.
    role
        Of the rows of a log that holds champion and challenger.

    Raises
    ------
    DataError
        As `fraudctl.monitor.decisions.read_decisions` does; a folder with files, or several folders.
    BundleError
        The log of the state is damaged.
    """
    from fraudctl.monitor.decisions import from_frame, read_decisions

    folder = _state_among(places)
    if folder is None:
        return read_decisions(places, project, role=role)
    return from_frame(_of_state(folder), project, files=[str(folder)], role=role, first=True)


def take_logged(
    project: Project, places: Sequence[str | Path], kept: KeptPieces | None = None, scratch: Path | None = None
) -> TakenDecisions:
    """Read the champion's decisions as small columns, however many there are; errors are those of `read_logged`.

    Parameters
    ----------
    kept
        What was made of pieces of the files in earlier runs.
    scratch
        Folder for small columns of pieces during the run.
    """
    from fraudctl.monitor.taken import take_files, take_table

    folder = _state_among(places)
    if folder is None:
        return take_files(places, project, kept=kept, folder=scratch)
    return take_table(_of_state(folder).lazy(), project, files=[str(folder)], first=True)


def raw_decisions(places: Sequence[str | Path], *, what: str = "DECISIONS") -> tuple[pl.DataFrame, list[str]]:
    """Return all that was logged, of every model, with whatever an experiment drew, and where it comes from.

    Parameters and errors are those of `read_logged`.
    """
    from fraudctl.data import tables
    from fraudctl.data.exposure import require_undamaged_files

    folder = _state_among(places)
    if folder is not None:
        return _of_state(folder), [str(folder)]
    files = tables.given_files(places, what=what)
    require_undamaged_files(files)
    return tables.collect(tables.scan(files), files=files), files


def _state_among(places: Sequence[str | Path]) -> Path | None:
    """Return the folder of a state that is named alone; None where files are."""
    folders = [Path(place) for place in places if (Path(place) / "lock").is_file() or _has_log(Path(place))]
    if folders and len(places) > 1:
        msg = f"{folders[0]} is the folder of a state; expected it alone, got {len(places)} places"
        raise DataError(msg, hint="name one state, or the files in its folder `decisions`")
    return folders[0] if folders else None


def _has_log(place: Path) -> bool:
    return place.is_dir() and any(place.glob("log-*.bin"))


def _of_state(folder: Path) -> pl.DataFrame:
    """Return all decisions of a state: those in files, then those of its log that stand in none yet."""
    for _ in range(_TRIES):
        logged = _in_log(folder)
        try:
            return _joined(folder, logged)
        except FileNotFoundError:  # files were merged while they were read
            continue
    msg = f"{folder}: its files of decisions change too often to be read"
    raise DataError(msg, hint="try again, or copy the folder and name the copy")


def _in_log(folder: Path) -> dict[int, pl.DataFrame]:
    """Return the decisions of the log segments after the snapshot, by segment."""
    from fraudctl.scoring import wire
    from fraudctl.scoring.live import Definition
    from fraudctl.scoring.saved import read_state
    from fraudctl.scoring.snapshots import bytes_of, read_part
    from fraudctl.workflows.decision_files import decision_rows

    snapshot, segments = read_state(folder, read=partial(read_part, name="about"))
    about = wire.loads(bytes_of(snapshot.parts, "about"))
    definitions = {item["digest"]: Definition(**item) for item in about["definitions"]}
    return {item.number: decision_rows(item, definitions) for item in segments}


def replayed_values(folder: Path, names: Sequence[str]) -> pl.DataFrame | None:
    """Return the features that a state answered with, of the events in its log after the snapshot, each event once.

    A log holds events as they came and no features. They are what the state of the snapshot gives when it takes the log
    in again, record by record.

    Parameters
    ----------
    names
        Features that are wanted: events that were answered from other feature sets are left out.

    Returns
    -------
    ``event_id`` and the features by name; None where no event of the log has them.

    Raises
    ------
    BundleError
        The log of the state is damaged.
    """
    import polars as pl

    from fraudctl.scoring import wire
    from fraudctl.scoring.live import LiveState
    from fraudctl.scoring.saved import read_state

    snapshot, segments = read_state(folder)
    state, rows = LiveState.from_parts(snapshot.parts), dict[int | str, dict[str, float | str | None]]()
    for record in (item for segment in segments for item in segment.records):
        kind, *rest = wire.loads(record)
        if kind != "event" or rest[4] not in state.definitions:
            state.apply(record)
            continue
        raw, answer, digest = rest[0], rest[1], rest[4]
        found = state.observe(raw, state.definitions[digest].reader.event(raw, strict=False), digest)[digest]
        own = state.features[digest].features.names
        if answer is not None and set(names) <= set(own):
            numbers = dict(zip(own, found.numbers.tolist(), strict=True))
            rows.setdefault(answer["event_id"], {**numbers, **found.categories})
    if not rows:
        return None
    columns = {name: [row[name] for row in rows.values()] for name in names}
    return pl.DataFrame({"event_id": list(rows), **columns}, nan_to_null=True)


def _joined(folder: Path, logged: dict[int, pl.DataFrame]) -> pl.DataFrame:
    import polars as pl

    from fraudctl.data.tables import read_parquet
    from fraudctl.disk.kept import DamagedError, numbered, numbers_in, require_undamaged
    from fraudctl.scoring.saved import DECISIONS

    files = sorted(numbered(folder / DECISIONS).items())
    try:
        for _, path in files:
            require_undamaged(path)
        tables = [read_parquet(path) for _, path in files]
    except DamagedError as error:
        raise DataError(str(error), hint="restore the file; without it the decisions are not complete") from error
    inside = {number for _, path in files for number in numbers_in(path)}
    rest = [rows for number, rows in sorted(logged.items()) if number not in inside]
    return pl.concat([rows for rows in [*tables, *rest] if rows.height] or rest or tables, how="diagonal_relaxed")


@dataclass(frozen=True)
class EventFiles:
    """The events of a project in files, in the order of time: given a piece at a time, whatever their number."""

    project: Project
    chunks: Chunks
    names: tuple[str, ...] = ()
    """Of the chunks, where they are kept from run to run; else empty."""
    spans: tuple[tuple[datetime, datetime], ...] = ()
    """The earliest and the latest time of each chunk, where that is known."""

    @property
    def known_until(self) -> datetime:
        """The latest event_time: nothing later is known."""
        return self.chunks.known_until

    def __call__(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield `fraudctl.data.tables.Events.frame` piece by piece, with control group and exposure."""
        for number in range(len(self.chunks.files)):
            yield self.chunk(number, columns)

    def chunk(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return one of the pieces."""
        from fraudctl.data.labels import as_known
        from fraudctl.weights import with_exposure

        piece = self.stored(number, self._wanted(tuple(columns)))
        return with_exposure(as_known(piece, self.known_until), self.project)

    def stored(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return columns of one of the pieces as they were stored, with labels after their last change."""
        from fraudctl.data.pieces import mapped

        return mapped(self.chunks.files[number], columns)

    def between(self, start: datetime, stop: datetime) -> int:
        """Count the events with times in ``[start, stop)``; only pieces that reach beyond are looked at."""
        found = 0
        for number, height in enumerate(self.chunks.heights):
            first, last = self.spans[number] if self.spans else (None, None)
            if first is not None and last is not None and (start <= first <= last < stop):
                found += height
            elif first is None or last is None or (last >= start and first < stop):
                time = self.stored(number, ["event_time"])["event_time"]
                found += int(time.is_between(start, stop, closed="left").sum())
        return found

    def _wanted(self, columns: tuple[str, ...]) -> list[str]:
        from fraudctl.data.labels import CHANGES
        from fraudctl.data.tables import ROLES

        data = self.project.data
        named = [name for name in (data.control_group, data.exposure_prob) if name is not None]
        return [name for name in dict.fromkeys([*ROLES, CHANGES, *named, *columns]) if name in self._columns]

    @cached_property
    def _columns(self) -> list[str]:
        import polars as pl

        return pl.scan_ipc(self.chunks.files[0]).collect_schema().names()


def event_files(
    project: Project, folder: Path, *, columns: Sequence[str], kept: KeptPieces | None = None
) -> EventFiles:
    """Write the events of a project into files of ``folder``, with their labels and further columns.

    Parameters
    ----------
    kept
        What was made of pieces of the files in earlier runs; without it, everything is written in the order of time.

    Raises
    ------
    DataError
        The events or the tables of labels cannot be read.
    """
    from fraudctl.data.chunks import spill_events
    from fraudctl.data.entries import load_entries
    from fraudctl.data.kept_events import keep_events
    from fraudctl.weights import weight_columns

    carried = list(dict.fromkeys([*weight_columns(project), *columns]))
    entries = load_entries(project)
    found = None if kept is None else keep_events(project, kept, columns=carried, folder=folder, entries=entries)
    if found is not None:
        return EventFiles(project, found.chunks, found.names, found.spans)
    return EventFiles(project, spill_events(project, columns=carried, folder=folder, rows=EVENT_ROWS, entries=entries))


def with_outcomes(
    project: Project, decisions: LoggedDecisions, *, columns: Sequence[str] = (), entities: Sequence[str] = ()
) -> tuple[LoggedDecisions, datetime]:
    """Do what `with_events_of` does; give the latest event_time of data and decisions: nothing later is known."""
    found, events = with_events_of(project, decisions, columns=columns, entities=entities)
    return found, max(events.known_until, found.frame["event_time"][-1])


def with_events_of(
    project: Project, decisions: LoggedDecisions, *, columns: Sequence[str] = (), entities: Sequence[str] = ()
) -> tuple[LoggedDecisions, Events]:
    """Complete decisions from the events of the project, and join their outcomes.

    Parameters
    ----------
    columns
        Further data columns of the events to join under their own names.
    entities
        Entities whose ids are joined, under the entity's name.

    Returns
    -------
    The decisions with ``label``, ``label_time`` and changes of labels, and all events of the project.

    Raises
    ------
    DataError
        The events or the tables of labels cannot be read, or a decision has no time.
    """
    from fraudctl.data.entries import load_entries
    from fraudctl.data.tables import load_events
    from fraudctl.monitor.decisions import with_events
    from fraudctl.weights import with_exposure

    data = project.data
    named = [name for name in (data.control_group, data.exposure_prob) if name is not None]
    events = load_events(project, columns=[*named, *columns], entries=load_entries(project))
    return with_events(decisions, with_exposure(events.frame, project), columns=[*columns, *entities]), events
