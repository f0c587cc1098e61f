"""``features --since``: the features of new events only, from the state that was kept of earlier ones.

The state lies in ``.fraudctl/increments/``: the earlier events that still matter (see `features.increment`), up to the
date of the last ``--since``, and which files they came from. It fits as long as the definitions stay the same, these
files are unchanged, and no event of another file lies before that date. Otherwise the reason is reported, all features
are built, and a new state is kept for the next time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fraudctl.disk.stores import is_address
from fraudctl.errors import DataError, UsageError
from fraudctl.normal.lake import is_lake, words
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.text.plain import shown
from fraudctl.workflows.definitions import Definitions, load_definitions

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.features.batch.increment import Past

_STATE_VERSION = 3


@dataclass(frozen=True)
class Increment:
    """The features of the events since a date.

    Attributes
    ----------
    frame
        One row for each event at or after ``since``, as in `FeatureTable`; none where no event is new.
    since
        The instant asked for.
    rows_kept
        Earlier events that the state holds.
    built_anew
        Why all features had to be built, or None where the state fitted.
    """

    JSON = ("rows", "since", "rows_kept", "built_anew")

    frame: pl.DataFrame
    features: list[str]
    since: datetime
    rows_kept: int
    built_anew: str | None

    @property
    def rows(self) -> int:
        """Number of events."""
        return self.frame.height


@dataclass(frozen=True)
class _NotedFile:
    """What is remembered of a file of events, or of a table or object whose name says what it holds."""

    stat: list[int] | None
    """Size and time of change in ns; None where the name says what it holds."""
    sha256: str
    until_us: int
    """The latest event_time, in µs."""
    rows: int


@dataclass(frozen=True)
class _State:
    """Where the state is, and what it says of itself: its date in µs, files, and counts of what was dropped."""

    place: Path
    facts: Mapping[str, Any]

    @property
    def before_us(self) -> int:
        return int(self.facts["before_us"])

    @cached_property
    def files(self) -> Mapping[str, _NotedFile]:
        return {name: _NotedFile(**noted) for name, noted in self.facts["files"].items()}

    def past(self) -> Past:
        """Return the earlier events."""
        from fraudctl.data import outputs
        from fraudctl.features.batch.engine import Dropped
        from fraudctl.features.batch.increment import Past

        return Past(outputs.map_arrow(self.place), Dropped(self.facts["known"], self.facts["frauds"]))


def build_since(project: Project, since: datetime | date, *, progress: Progress | None = None) -> Increment:
    """Compute the features of the events at or after ``since``.

    Raises
    ------
    UsageError
        Data without a time.
    DataError, ProjectError
        As `build_features` does; ids are looked at within the new events and the kept ones.
    """
    from fraudctl.data.labels import CHANGES
    from fraudctl.features.batch.increment import engine_after, extend
    from fraudctl.features.batch.loading import loading
    from fraudctl.maturity import instant

    if not project.data.has_time:
        msg = "--since works on data with an event_time; these have none"
        raise UsageError(msg)
    progress, asked = progress or Silent(), instant(since, timezone=project.data.timezone)
    since_us = round(asked.timestamp() * 1_000_000)
    with loading():
        found = load_definitions(project)
        sources, entries = found.load_sources(), found.load_entries()
        read = _read(found, sources, entries, since_us, progress)
        engine = engine_after(read.past, read.fresh, found.features, timezone=project.data.timezone, sources=sources)
    progress.stage(f"Building {len(found.features.names)} features for {read.fresh.height:,} events")
    table = extend(engine, read.fresh)
    left_out = {CHANGES, *found.features.names}
    names = [name for name in read.fresh.columns if name not in left_out] + found.features.names
    wanted = table.filter(_at_or_after(since_us)).select(names)
    if read.before_us == since_us:
        rows_kept = read.past.events.height
    else:
        rows_kept = _keep(found, sources, entries, read, table, since_us)
    return Increment(wanted, found.features.names, asked.astimezone(UTC), rows_kept, read.reason)


@dataclass(frozen=True)
class _Read:
    """The past, the events after it, what is to be noted of every file, and why no state fitted, if so.

    ``before_us`` is the date of the state, or None where there is none that fits.
    """

    past: Past
    fresh: pl.DataFrame
    files: Mapping[str, _NotedFile]
    reason: str | None
    before_us: int | None


def _at_or_after(since_us: int) -> pl.Expr:
    import polars as pl

    return pl.col("event_time").dt.epoch("us") >= since_us


def _state_columns(found: Definitions) -> list[str]:
    """Return what the state has to hold: roles, entities, columns that are read, and remembered features."""
    from fraudctl.data.labels import CHANGES
    from fraudctl.features.batch.increment import remembered
    from fraudctl.workflows.definitions import tables_roles

    roles = tables_roles(found.project) - (set() if found.project.data.amount else {"amount"})
    changes = [CHANGES] if found.features.labels is not None else []
    return list(dict.fromkeys([*sorted(roles), *changes, *found.carried, *remembered(found.features)]))


def _place(project: Project, found: Definitions) -> Path:
    import polars as pl

    parts = [_STATE_VERSION, pl.__version__, found.features.digest, found.carried, project.data.timezone]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return project.cache_dir / "increments" / f"{key[:32]}.arrow"


def _open(project: Project, found: Definitions) -> tuple[_State | None, str]:
    """Return the state, if its file is what was written; else None and why there is none."""
    from fraudctl.disk.kept import DamagedError, verified

    place = _place(project, found)
    try:
        facts = verified(place)
        return (None if facts is None else _State(place, facts)), "none was kept for these definitions"
    except DamagedError:
        return None, "its file is damaged"


def _new_files(state: _State, found: Definitions, since_us: int) -> tuple[list[str], str | None]:
    """Return the files that have to be read, and why the state does not fit, if so."""
    if since_us < state.before_us:
        return found.files, f"it was kept for {_day(state.before_us)}, which is later"
    known = state.files
    gone = sorted(set(known) - set(found.files))
    if gone and is_lake(gone[0]):
        return found.files, f"it was made from {words(gone[0])}, and another version is read now"
    if any("://" in name and not _says_itself(name) for name in found.files):
        return found.files, "whether files behind a URL are unchanged cannot be known"
    if gone:
        return found.files, f"{Path(gone[0]).name} is not there any more"
    order: list[str] = state.facts["order"]
    if found.project.data.event_id.row_number and found.files[: len(order)] != order:
        return found.files, "rows are numbered, and those of earlier files have other numbers now"
    changed = [name for name in known if not _unchanged(name, known[name])]
    if changed:
        return found.files, f"{Path(changed[0]).name} has changed"
    return [name for name in found.files if name not in known or known[name].until_us >= state.before_us], None


def _day(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat()


def _says_itself(name: str) -> bool:
    """Return whether a name is that of a table or object whose fingerprint is known without reading it."""
    return is_lake(name) or is_address(name)


def _unchanged(name: str, noted: _NotedFile) -> bool:
    """Return whether a file has the size and time of change that were noted, or else the same content."""
    from fraudctl.data import tables

    if _says_itself(name):
        return tables.fingerprint([name]) == noted.sha256
    found = Path(name).stat()
    if [found.st_size, found.st_mtime_ns] == noted.stat:
        return True
    return tables.fingerprint([name]) == noted.sha256


def _read(
    found: Definitions,
    sources: Mapping[str, pl.DataFrame],
    entries: pl.DataFrame | None,
    since_us: int,
    progress: Progress,
) -> _Read:
    """Read the state and what is new, or, where no state fits, everything."""
    from fraudctl.features.batch.engine import Dropped
    from fraudctl.features.batch.increment import Past

    state, why_none = _open(found.project, found)
    files, reason = (found.files, why_none) if state is None else _new_files(state, found, since_us)
    if state is not None and reason is None:
        reason = _rewritten(state, found, sources)
    if state is not None and reason is None:
        progress.stage("Reading new events")
        noted, reason = _noted(found, state, files)
        if reason is None:
            past = state.past()
            # where no file can hold a new event, one is read for its columns alone
            some = files or found.files[:1]
            events = _events(found, some, entries, numbers=_row_numbers(found, some, noted))
            events = events if files else events.clear()
            after = events.filter(_at_or_after(state.before_us))
            _refuse_repeated(after, past, found.project)
            reason = _relabelled(state, entries, after)
            if reason is None:
                return _Read(past, after, noted, None, state.before_us)
    progress.stage("Reading all events")
    progress.warn(f"no state fits ({reason}): all features are built again, and a new state is kept")
    events = _events(found, found.files, entries)
    noted, _ = _noted(found, None, found.files)
    return _Read(Past(events.clear(), Dropped()), events, noted, reason, None)


def _digests(found: Definitions, sources: Mapping[str, pl.DataFrame], before_us: int) -> dict[str, str]:
    """Return a digest of each other table's rows that events before a date could see, if the state depends on them.

    It does where windows look back on features: these are kept as they were computed.
    """
    import polars as pl

    from fraudctl.features.batch.increment import remembered

    if not remembered(found.features):
        return {}
    early = pl.col("usable_time").dt.epoch("us") < before_us
    rows = {name: table.filter(early).hash_rows(seed=0).to_numpy() for name, table in sorted(sources.items())}
    return {name: hashlib.sha256(hashes.tobytes()).hexdigest() for name, hashes in rows.items()}


def _rewritten(state: _State, found: Definitions, sources: Mapping[str, pl.DataFrame]) -> str | None:
    """Return which other table is no longer the one that the state was made from."""
    known = state.facts.get("sources", {})
    now = _digests(found, sources, state.before_us)
    changed = [name for name in now if now[name] != known.get(name)]
    return f"rows of [sources.{changed[0]}] that earlier events saw have changed" if changed else None


def _refuse_repeated(fresh: pl.DataFrame, past: Past, project: Project) -> None:
    """Raise a DataError where a new event has the id of a kept one."""
    import polars as pl

    ids, earlier = fresh["event_id"], past.events["event_id"]
    if ids.dtype != earlier.dtype:  # numbers in one file, text in another
        ids, earlier = ids.cast(pl.String), earlier.cast(pl.String)
    if fresh.is_empty() or earlier.is_empty() or ids.min() > earlier.max():  # type: ignore[operator]
        return
    repeated = int(ids.is_in(earlier.implode()).sum())
    if repeated:
        msg = f"column {shown(project.data.event_id)}: {repeated} new events have the id of an earlier one"
        raise DataError(msg, hint="choose the column that names each event once, or repair the rows")


def _row_numbers(found: Definitions, files: list[str], noted: Mapping[str, _NotedFile]) -> pl.Series | None:
    """Return the numbers that the rows of some files have among all, where rows are numbered."""
    import numpy as np
    import polars as pl

    if not found.project.data.event_id.row_number:
        return None
    first, ranges = 1, {}
    for name in found.files:
        ranges[name] = np.arange(first, first + noted[name].rows)
        first += noted[name].rows
    return pl.Series("number", np.concatenate([ranges[name] for name in files]))


def _events(
    found: Definitions, files: list[str], entries: pl.DataFrame | None, *, numbers: pl.Series | None = None
) -> pl.DataFrame:
    """Read events; ``numbers`` are the ids of their rows, where rows are numbered and not all files are read."""
    import polars as pl

    from fraudctl.data import tables

    def among_all(ids: pl.Series) -> pl.Series:
        return ids if numbers is None else numbers.gather(ids - 1).alias(ids.name)

    raw = tables.scan(files, form=tables.form_of(found.project))
    if numbers is not None:
        name = str(found.project.data.event_id)
        raw = raw.with_columns(pl.col(name).map_batches(among_all, return_dtype=pl.Int64()))
    return tables.normalise(raw, project=found.project, files=files, columns=found.carried, entries=entries).frame


def _label_digest(entries: pl.DataFrame | None, after: pl.DataFrame) -> str | None:
    """Give a digest of the entries of all other events than these; None where labels are a column of the events."""
    from fraudctl.data.labels import same_ids

    if entries is None:
        return None
    ids = same_ids(entries["event_id"], after.schema["event_id"])
    earlier = entries.with_columns(ids).join(after.select("event_id"), on="event_id", how="anti")
    rows = earlier.sort("event_id", "time", "label").hash_rows(seed=0).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _relabelled(state: _State, entries: pl.DataFrame | None, after: pl.DataFrame) -> str | None:
    """Say that labels of the events before a state are no longer those that it was made from, if so."""
    same = _label_digest(entries, after) == state.facts.get("labels")
    return None if same else "tables of [labels] say something else of earlier events now"


def _noted(found: Definitions, state: _State | None, files: list[str]) -> tuple[dict[str, _NotedFile], str | None]:
    """Return what is to be noted of every file, and why the files do not fit the state, if so."""
    from fraudctl.data import tables

    data = found.project.data
    noted = {} if state is None else dict(state.files)
    form = tables.form_of(found.project)
    for name in files:
        times = tables.collect(tables.scan([name], form=form).select(str(data.event_time)), files=[name]).to_series()
        utc = tables.to_utc(times, timezone=data.timezone, role="event_time").dt.epoch("us")
        early = 0 if state is None or name in noted else int((utc < state.before_us).sum())
        if early:
            return noted, f"{Path(name).name} holds {early} events before it"
        if _says_itself(name) or "://" not in name:
            stat = None if _says_itself(name) else Path(name).stat()
            digest = noted[name].sha256 if name in noted else tables.fingerprint([name])
            latest = cast("int | None", utc.max()) or 0
            stats = None if stat is None else [stat.st_size, stat.st_mtime_ns]
            noted[name] = _NotedFile(stats, digest, latest, len(utc))
    return noted, None


def _keep(
    found: Definitions,
    sources: Mapping[str, pl.DataFrame],
    entries: pl.DataFrame | None,
    read: _Read,
    table: pl.DataFrame,
    since_us: int,
) -> int:
    """Write the state for a date, and give the number of events that it holds."""
    import polars as pl

    from fraudctl.features.batch.increment import Past, kept

    everything = pl.concat([read.past.events, table.filter(~_at_or_after(since_us))], how="diagonal_relaxed")
    past = kept(Past(everything.select(_state_columns(found)), read.past.dropped), found.features, before_us=since_us)
    labels = _label_digest(entries, table.filter(_at_or_after(since_us)))
    _write(found, past, since_us, read.files, _digests(found, sources, since_us), labels)
    return past.events.height


def _write(
    found: Definitions,
    past: Past,
    before_us: int,
    files: Mapping[str, _NotedFile],
    digests: dict[str, str],
    labels: str | None,
) -> None:
    """Write the state, the facts last, and remove those of other definitions."""
    from fraudctl.data import outputs
    from fraudctl.disk.kept import keep

    place = _place(found.project, found)
    facts = {
        "before_us": before_us,
        "known": past.dropped.known,
        "frauds": past.dropped.frauds,
        "files": {name: asdict(noted) for name, noted in files.items()},
        "order": found.files,
        "sources": digests,
        **({} if labels is None else {"labels": labels}),
    }
    keep(place, write=lambda path: outputs.write_arrow(past.events, path), facts=lambda: facts)
    for other in place.parent.iterdir():
        if other.stem != place.stem:
            other.unlink(missing_ok=True)
