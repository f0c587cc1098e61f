"""Decisions that may be more than memory holds: small columns of all of them, the rest read a piece at a time.

Owns `TakenDecisions`: what of each decision has to be at hand whatever the number (its id, time, probability, action),
with texts as codes, and `completed`: the same with events and outcomes, as `fraudctl.monitor.decisions.with_events`
gives them, a piece at a time. Values of features stay in their files until they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import polars.selectors as cs

from fraudctl.arrays import AnyArray, BoolArray, IntArray
from fraudctl.data import tables, typed
from fraudctl.data.distinct import keys, repeats
from fraudctl.data.exposure import require_undamaged_files
from fraudctl.data.kept_keys import distinct_keys
from fraudctl.data.labels import same_ids
from fraudctl.data.pieces import FilePiece, KeptPieces, digest, pieces_of
from fraudctl.errors import DataError
from fraudctl.monitor.decisions import (
    COLUMNS,
    LoggedDecisions,
    read_names,
    refuse_contradictions,
    refuse_none,
    typed_decisions,
    value_columns,
    with_events,
)
from fraudctl.project import Project
from fraudctl.text.figures import count

BATCH: Final = 250_000
"""Decisions that are read at a time."""
FOUND: Final = ".time"
"""Column of kept decisions with the time of each, its own or that of its event."""
UNTIMED: Final = np.iinfo(np.int64).min
WIDE_BATCH: Final = 50_000
"""The same where values of features are read with them."""


@dataclass(frozen=True)
class LoggedValues:
    """Values of features that were logged with decisions, read when they are asked for.

    Attributes
    ----------
    names
        The features.
    table
        ``event_id`` and the features by name, a row for each row of the log.
    kept
        Rows of the log that are among the decisions, shape ``(n_rows,)``; None where all are.
    pieces
        The pieces of the files that the log lies in, where these can be read one after the other and all rows are kept.
    columns
        Column of the files for ``event_id`` and each feature, where there are pieces.
    """

    names: tuple[str, ...]
    table: pl.LazyFrame
    kept: BoolArray | None = None
    pieces: tuple[TakenPiece, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Number of decisions that have values."""
        if self.pieces:
            return self.pieces[-1].stop
        return int(self.table.select(pl.len()).collect().item()) if self.kept is None else int(self.kept.sum())

    def of_piece(self, piece: FilePiece, names: Sequence[str]) -> pl.DataFrame:
        """Return ``event_id`` and some of the features of a piece of the files, in its order."""
        wanted = ["event_id", *names]
        raw = piece.read([self.columns[name] for name in wanted])
        raw.columns = wanted
        return raw.with_columns(typed.to_id(raw["event_id"]))

    def batches(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield ``event_id`` and some of the features, in the order of the decisions as they were read."""
        if self.pieces:
            for item in self.pieces:
                yield from (self.of_piece(part, names) for part in item.piece.parts(WIDE_BATCH))
            return
        start = 0
        chosen = self.table.select("event_id", *names)
        for raw in chosen.collect_batches(chunk_size=WIDE_BATCH, maintain_order=True):
            batch = raw.with_columns(typed.to_id(raw["event_id"]))
            stop = start + batch.height
            yield batch if self.kept is None else batch.filter(pl.Series(self.kept[start:stop]))
            start = stop

    def of(self, ids: pl.Series, rows: IntArray | None = None) -> pl.DataFrame:
        """Return ``event_id`` and the features of some events, in no order.

        Where ``rows`` say which of the decisions these are, only the files that they lie in are read.
        """
        wanted, found = ids.implode(), []
        for batch in self.batches(self.names) if rows is None or not self.pieces else self._around(rows):
            own = same_ids(batch["event_id"], ids.dtype)
            found.append(batch.with_columns(own).filter(own.is_in(wanted)))
        return pl.concat(found)

    def _around(self, rows: IntArray) -> Iterator[pl.DataFrame]:
        """Yield the features of the parts of files that some decisions lie in."""
        ordered = np.sort(rows)
        for item in self.pieces:
            start = item.start
            for part in item.piece.parts(WIDE_BATCH):
                first, last = np.searchsorted(ordered, [start, start + part.height])
                start += part.height
                if last > first:
                    yield self.of_piece(part, self.names)

    @cached_property
    def ids(self) -> pl.Series:
        """Events that have values."""
        return pl.concat([batch["event_id"] for batch in self.batches(())])


@dataclass(frozen=True)
class TakenPiece:
    """The decisions of a piece of a file, and which events they are of.

    Attributes
    ----------
    start, stop
        Their rows among all decisions.
    name
        Under which they are kept; None where they are not.
    found
        What was kept of an earlier run: where the events of all of them were, and their times; None without one.
    events
        Numbers of the chunks of events that hold all their events; None where that is not known, or not all have one.
    """

    piece: FilePiece
    start: int
    stop: int
    name: str | None
    found: FoundEvents | None = None
    events: tuple[int, ...] | None = None

    @property
    def rows(self) -> slice:
        """Their rows among all decisions."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class FoundEvents:
    """Where the events of decisions were found in an earlier run.

    Attributes
    ----------
    chunks
        Names of the chunks of events.
    time
        ``event_time`` of each decision, its own or that of its event.
    """

    chunks: tuple[str, ...]
    time: pl.Series


@dataclass(frozen=True)
class TakenDecisions:
    """Decisions, each event once, in the order in which they were logged.

    Attributes
    ----------
    frame
        ``event_id`` and those of `fraudctl.monitor.decisions.COLUMNS` that are known of any decision; texts are
        codes (Enum). Shape ``(n_events, at most 10)``.
    files
        Where they come from.
    unknown
        Columns that no file states.
    n_repeated
        Rows left out because an earlier one decided the same event.
    log
        The table as it was logged.
    kept
        Its rows that are decisions here, shape ``(n_rows,)``; None where all are.
    pieces
        The files piece by piece, where they were read so and every row of them is a decision here.
    """

    frame: pl.DataFrame
    files: tuple[str, ...]
    unknown: tuple[str, ...]
    n_repeated: int
    log: pl.LazyFrame
    id_column: str
    kept: BoolArray | None = None
    pieces: tuple[TakenPiece, ...] = ()

    @property
    def height(self) -> int:
        """Number of decisions."""
        return self.frame.height

    def rows(self, places: IntArray | BoolArray) -> LoggedDecisions:
        """Return some of the decisions as `LoggedDecisions`, in the order of ``places``."""
        found = self.frame.filter(pl.Series(places)) if places.dtype == np.bool_ else self.frame[places]
        texts = [name for name, dtype in found.schema.items() if isinstance(dtype, pl.Enum) and name in COLUMNS]
        nothing = [pl.lit(None, dtype=COLUMNS[name]).alias(name) for name in COLUMNS if name not in found.columns]
        whole = found.with_columns(pl.col(texts).cast(pl.String)).with_columns(nothing)
        return LoggedDecisions(whole.select("event_id", *COLUMNS), self.files, self.unknown, self.n_repeated)

    def values(self, features: Collection[str]) -> LoggedValues | None:
        """Return the values of features that were logged with the decisions; None where there are none."""
        found = value_columns(self.log.collect_schema(), features)
        if not found:
            return None
        wide = self.log.select(
            pl.col(self.id_column).alias("event_id"), *(pl.col(column).alias(name) for name, column in found.items())
        )
        columns = {"event_id": self.id_column, **found}
        return LoggedValues(tuple(found), wide, self.kept, self.pieces, columns)

    def latest(self, rows: BoolArray) -> int | None:
        """Return the row of the latest of some decisions, by ``event_time``, then ``event_id``; None without one."""
        places = np.flatnonzero(rows)
        if not len(places):
            return None
        time = self.frame["event_time"]
        last = (time == time.filter(pl.Series(rows)).max()).to_numpy() & rows
        places = np.flatnonzero(last)
        return int(places[int(self.frame["event_id"][places].arg_max() or 0)])

    def by_time(self, rows: BoolArray) -> IntArray:
        """Return some rows in the order of ``event_time``, then ``event_id``."""
        places = np.flatnonzero(rows)
        frame = self.frame.select("event_time", "event_id").filter(pl.Series(rows))
        time = frame["event_time"]
        if not time.is_sorted():
            order = frame.select(pl.arg_sort_by("event_time", "event_id")).to_series()
            return np.asarray(places[order.to_numpy()], dtype=np.int64)
        again = (time == time.shift(1)).fill_null(value=False).to_numpy()
        tied = np.flatnonzero(again | np.append(again[1:], False))
        inside = frame[tied].select(pl.arg_sort_by("event_time", "event_id")).to_series().to_numpy()
        places[tied] = places[tied[inside]]
        return places

    def part(self, rows: slice, inside: BoolArray) -> LoggedDecisions:
        """Return those of some rows that lie next to each other which are ``inside``, shape ``(n_rows,)``."""
        own = replace(self, frame=self.frame[rows])
        return own.rows(np.arange(own.height) if inside.all() else inside)

    @cached_property
    def places(self) -> _Places:
        """Where the decision of an event stands."""
        return places_of(self.frame["event_id"])


@dataclass(frozen=True)
class _Places:
    """Where the decision of an event stands: keys of ids in rising order, and the row of each."""

    dtype: pl.DataType
    keys: np.ndarray
    rows: np.ndarray
    seed: int

    @classmethod
    def of(cls, ids: pl.Series) -> _Places:
        for seed in range(8):
            keys = _keys(ids, seed)
            rows = np.argsort(keys, kind="stable").astype(np.uint32)
            keys = keys[rows]
            if not (keys[1:] == keys[:-1]).any():
                return cls(ids.dtype, keys, rows, seed)
        msg = "ids of decisions must be distinct"
        raise ValueError(msg)

    def find(self, ids: pl.Series) -> IntArray:
        """Return the rows of the decisions on some events, rising; a text id may be found that only shares its hash."""
        own = same_ids(ids, self.dtype).drop_nulls()
        keys = _keys(own, self.seed)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.sort(self.rows[at[self.keys[at] == keys]]).astype(np.int64)


def places_of(ids: pl.Series) -> _Places:
    """Return where each of some distinct ids stands."""
    return _Places.of(ids)


def _keys(ids: pl.Series, seed: int) -> np.ndarray:
    return ids.to_numpy() if ids.dtype.is_integer() else ids.hash(seed=seed).to_numpy()


def latest_time(time: pl.Series) -> datetime:
    """Return the latest of some times, at least one."""
    return _instant(time.max())


def earliest_time(time: pl.Series) -> datetime:
    """Return the earliest of some times, at least one."""
    return _instant(time.min())


def _instant(found: object) -> datetime:
    if not isinstance(found, datetime):
        msg = "there is no time among them"
        raise TypeError(msg)
    return found


def take_files(
    paths: Sequence[str | Path], project: Project, *, role: str = "champion", kept: KeptPieces | None = None
) -> TakenDecisions:
    """Read Parquet files of decisions; see `fraudctl.monitor.decisions.read_decisions`, whose errors are the same.

    Parameters
    ----------
    kept
        What was made of pieces of the files in earlier runs.
    """
    files = tables.given_files(paths, what="DECISIONS")
    require_undamaged_files(files)
    found = None if kept is None else _take_pieces(files, project, kept)
    return found or take_table(tables.scan(files), project, files=files, role=role)


def _take_pieces(files: Sequence[str], project: Project, kept: KeptPieces) -> TakenDecisions | None:
    """Read files piece by piece; None where rows of them are no decisions here, or could be."""
    found = pieces_of(files, kept)
    table = tables.scan(files)
    schema = table.collect_schema()
    if not found or "role" in schema:
        return None
    names = read_names(schema, project, where=tables.place(files))
    about = digest(names, project.data.timezone)
    parts, taken, ids, start = [], [], dict[str, Callable[[], AnyArray]](), 0
    for piece in found:
        name = None if piece.state is None else f"decisions-{digest(piece.state, about)}"
        known = None if name is None else kept.read(name)
        part = _small(piece, names, project, files) if known is None else known[0]
        where = None
        if known is not None and known[1]["chunks"] is not None:
            where = FoundEvents(tuple(known[1]["chunks"]), part[FOUND])
        taken.append(TakenPiece(piece, start, start + part.height, name, where))
        ids[name or f"-{start}"] = partial(keys, part["event_id"])
        start += part.height
        parts.append(part.drop(FOUND, strict=False))
    frame = pl.concat(parts, how="diagonal", rechunk=False)
    if not distinct_keys(ids, kept, "keys-decisions") and len(repeats(frame["event_id"])):
        return None
    order = ["event_id", *(name for name in COLUMNS if name in frame.columns)]
    frame = frame.select(order).with_columns(map(_coded, frame.select(cs.categorical())))
    unknown = tuple(name for name in COLUMNS if name not in names)
    return TakenDecisions(frame, tuple(files), unknown, 0, table, names["event_id"], pieces=tuple(taken))


def _small(piece: FilePiece, names: dict[str, str], project: Project, files: Sequence[str]) -> pl.DataFrame:
    """Read the small columns of a piece of decisions that any of them states."""
    raw = piece.read(list(dict.fromkeys(names.values())))
    part = typed_decisions(raw, names, project, where=tables.place(files))
    stated = [name for name in part.columns if name == "event_id" or part[name].null_count() < part.height]
    texts = [name for name in stated if part.schema[name] == pl.String and name != "event_id"]
    return part.select(stated).with_columns(pl.col(texts).cast(pl.Categorical))


def take_table(
    table: pl.LazyFrame,
    project: Project,
    *,
    files: Sequence[str],
    role: str = "champion",
    first: bool = False,
) -> TakenDecisions:
    """Return a raw table of decisions as the value; see `fraudctl.monitor.decisions.from_frame`."""
    where, schema = tables.place(files), table.collect_schema()
    names = read_names(schema, project, where=where)
    more = ["role"] if "role" in schema else []
    chosen = table.select(list(dict.fromkeys([*names.values(), *more])))
    frame, kept = _read(chosen, names, project, files=files, role=role)
    refuse_none(frame.height, where=where, role=role if more else None)
    ids = frame["event_id"]
    again = np.empty(0, np.uint32) if tables.rising(ids) else repeats(ids)
    if len(again):
        if not first:
            refuse_contradictions(frame, where)
        own = ids.is_first_distinct().to_numpy()
        frame, kept = frame.filter(pl.Series(own)), _inside(kept, own)
    unknown = tuple(name for name in COLUMNS if name not in names)
    empty = [name for name in frame.columns if name in COLUMNS and frame[name].null_count() == frame.height]
    once = None if kept.all() else kept
    return TakenDecisions(
        frame.drop(empty), tuple(files), unknown, len(ids) - frame.height, table, names["event_id"], once
    )


def _read(
    table: pl.LazyFrame, names: dict[str, str], project: Project, *, files: Sequence[str], role: str
) -> tuple[pl.DataFrame, BoolArray]:
    """Read decisions a batch at a time; return those of the role, and which rows of the log they are."""
    parts, kept = [], []
    with tables.explained(list(files)):
        for batch in table.collect_batches(chunk_size=BATCH, maintain_order=True):
            mine = batch["role"] == role if "role" in batch.columns else pl.repeat(True, batch.height, eager=True)  # noqa: FBT003
            kept.append(mine.fill_null(value=False).to_numpy())
            part = typed_decisions(batch.filter(mine), names, project, where=tables.place(files))
            texts = [name for name, dtype in part.schema.items() if dtype == pl.String and name != "event_id"]
            parts.append(part.with_columns(pl.col(texts).cast(pl.Categorical)))
    whole = pl.concat(parts, rechunk=False) if parts else pl.DataFrame()
    parts.clear()
    inside = np.concatenate(kept) if kept else np.zeros(0, dtype=np.bool_)
    return whole.with_columns(map(_coded, whole.select(cs.categorical()))), inside


def _coded(texts: pl.Series) -> pl.Series:
    """Return texts with as few bytes for a code as their number allows."""
    return texts.cast(pl.Enum(texts.drop_nulls().unique().cast(pl.String).sort()))


def _inside(kept: BoolArray, own: BoolArray) -> BoolArray:
    """Return which rows of the log are kept; ``own`` says which of those that were."""
    out = np.zeros(len(kept), dtype=np.bool_)
    out[np.flatnonzero(kept)[own]] = True
    return out


Pieces = Callable[[Sequence[str]], Iterator[pl.DataFrame]]
"""Gives the events of a project piece by piece: the columns of `fraudctl.data.tables.Events` and further ones."""


def with_times(taken: TakenDecisions, events: Pieces) -> TakenDecisions:
    """Complete the times of decisions that state none from their events.

    Raises
    ------
    DataError
        A decision has no time, neither of its own nor of an event.
    """
    time = taken.frame["event_time"] if "event_time" in taken.frame.columns else None
    if time is not None and not time.null_count():
        return taken
    us = np.full(taken.height, UNTIMED) if time is None else time.dt.epoch("us").fill_null(UNTIMED).to_numpy().copy()
    for piece in events(()):
        ids = same_ids(piece["event_id"], taken.frame.schema["event_id"])
        places = pl.DataFrame({"event_id": ids, "theirs": piece["event_time"].dt.epoch("us")})
        rows = taken.places.find(ids)
        own = taken.frame[rows].select("event_id").join(places, on="event_id", how="left", maintain_order="left")
        theirs = own["theirs"].fill_null(UNTIMED).to_numpy()
        us[rows] = np.where(us[rows] == UNTIMED, theirs, us[rows])
    untimed = int((us == UNTIMED).sum())
    if untimed:
        where = tables.place(taken.files)
        msg = f"{where}: {count(untimed, 'decision')} of events that [data] events does not have"
        raise DataError(msg, hint="name the files of these events in [data] events, or add event_time to the decisions")
    times = pl.Series("event_time", us).cast(tables.UTC_US)
    return replace(taken, frame=taken.frame.with_columns(times))


def completed(
    taken: TakenDecisions, events: Pieces, rows: BoolArray, *, columns: Sequence[str] = ()
) -> Iterator[pl.DataFrame]:
    """Yield decisions with their events and outcomes, a piece at a time; together they are all of ``rows``, once.

    Parameters
    ----------
    events
        Gives the events with ``columns``.
    rows
        Decisions that are wanted, shape ``(n_decisions,)``.
    columns
        Further columns of the events to join.

    Yields
    ------
    What `fraudctl.monitor.decisions.with_events` returns for some of them, sorted by time.
    """
    found = np.zeros(taken.height, dtype=np.bool_)
    nothing: pl.DataFrame | None = None
    for piece in events(columns):
        nothing = piece.head(0)
        places = taken.places.find(piece["event_id"])
        places = places[rows[places] & ~found[places]]
        part = taken.rows(places)
        if not part.frame["event_id"].dtype.is_integer():  # a hash may be shared
            there = same_ids(piece["event_id"], part.frame.schema["event_id"]).implode()
            real = part.frame["event_id"].is_in(there).to_numpy()
            places, part = places[real], replace(part, frame=part.frame.filter(pl.Series(real)))
        found[places] = True
        if part.frame.height:
            yield with_events(part, piece, columns=columns).frame
    rest = taken.rows(np.flatnonzero(rows & ~found))
    if rest.frame.height and nothing is not None:
        yield with_events(rest, nothing, columns=columns).frame
