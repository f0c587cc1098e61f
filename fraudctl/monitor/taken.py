"""Decisions that may be more than memory holds: small columns of all of them, the rest read a piece at a time.

Owns `TakenDecisions`: what is looked at of every decision (its id, time, probability, action), in blocks that may lie
in files, and `completed`: the same with events and outcomes, as `fraudctl.monitor.decisions.with_events` gives them, a
piece at a time. Values of features stay in their files until they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from fraudctl.data.pieces import FilePiece, KeptPieces, digest, mapped, pieces_of
from fraudctl.errors import DataError
from fraudctl.monitor.decision_blocks import TEXTS, BlockFacts, DecisionBlock, DecisionBlocks, in_memory
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
        Under which they are kept; None where they are not, or where not all of them have an event.
    found
        What was kept of an earlier run: where the events of all of them were, and their times; None without one.
    events
        Numbers of the chunks of events that hold all their events that there are, at least one; None where that is not
        known.
    path
        The file with their small columns; None where these are in memory.
    """

    piece: FilePiece
    start: int
    stop: int
    name: str | None
    found: FoundEvents | None = None
    events: tuple[int, ...] | None = None
    path: Path | None = None

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
    facts
        Of the decisions, with the time of each, its own or that of its event.
    """

    chunks: tuple[str, ...]
    facts: BlockFacts


@dataclass(frozen=True)
class TakenDecisions:
    """Decisions, each event once, in the order in which they were logged.

    Attributes
    ----------
    blocks
        ``event_id`` and those of `fraudctl.monitor.decisions.COLUMNS` that are known of any decision, in memory or in
        files.
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

    blocks: DecisionBlocks
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
        return self.blocks.height

    @property
    def frame(self) -> pl.DataFrame:
        """All small columns of all decisions, texts as text."""
        return self.blocks.frame(np.arange(self.height))

    def rows(self, places: IntArray | BoolArray) -> LoggedDecisions:
        """Return some of the decisions as `LoggedDecisions`, in the order of ``places``."""
        chosen = np.flatnonzero(places) if places.dtype == np.bool_ else places.astype(np.int64, copy=False)
        found = self.blocks.frame(chosen)
        nothing = [pl.lit(None, dtype=COLUMNS[name]).alias(name) for name in COLUMNS if name not in found.columns]
        whole = found.with_columns(nothing).select("event_id", *COLUMNS)
        return LoggedDecisions(whole, self.files, self.unknown, self.n_repeated)

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

    def in_memory(self) -> TakenDecisions:
        """Return the same with all small columns in memory, texts as codes."""
        if not self.pieces:
            return self
        kinds = {name: self.blocks.kind(name) for name in TEXTS if name in self.blocks.columns}
        parts = [self.blocks.frame(np.arange(block.rows.start, block.rows.stop)) for block in self.blocks.blocks]
        coded = [part.with_columns(pl.col(name).cast(kinds[name]) for name in TEXTS if name in part) for part in parts]
        frame = pl.concat(coded, how="diagonal")
        order = ["event_id", *(name for name in COLUMNS if name in frame.columns)]
        return replace(self, blocks=DecisionBlocks((in_memory(frame.select(order)),)))

    @cached_property
    def places(self) -> _Places:
        """Where the decision of an event stands."""
        return places_of(pl.concat([block.read(["event_id"])["event_id"] for block in self.blocks.blocks]))


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


def take_files(
    paths: Sequence[str | Path],
    project: Project,
    *,
    role: str = "champion",
    kept: KeptPieces | None = None,
    folder: Path | None = None,
) -> TakenDecisions:
    """Read Parquet files of decisions; see `fraudctl.monitor.decisions.read_decisions`, whose errors are the same.

    Parameters
    ----------
    kept
        What was made of pieces of the files in earlier runs.
    folder
        Where small columns of pieces lie during the run; without it, or ``kept``, they are in memory.
    """
    files = tables.given_files(paths, what="DECISIONS")
    require_undamaged_files(files)
    found = None if kept is None or folder is None else _take_pieces(files, project, kept, folder)
    return found or take_table(tables.scan(files), project, files=files, role=role)


def _take_pieces(files: Sequence[str], project: Project, kept: KeptPieces, folder: Path) -> TakenDecisions | None:
    """Read files piece by piece; None where rows of them are no decisions here, or could be."""
    found = pieces_of(files, kept)
    table = tables.scan(files)
    schema = table.collect_schema()
    if not found or "role" in schema:
        return None
    names = read_names(schema, project, where=tables.place(files))
    about = digest(names, project.data.timezone)
    pieces, blocks, ids, start = list[TakenPiece](), list[DecisionBlock](), dict[str, Callable[[], AnyArray]](), 0
    for item in found:
        name = None if item.state is None else f"decisions-{digest(item.state, about)}"
        known = None if name is None else kept.facts(name)
        path, where = folder / f"decisions{start}.arrow", None
        if known is None or name is None:
            facts = _laid_out(item, path, names, project, files)
        else:
            path, facts = kept.path(name), BlockFacts.from_dict(known["facts"])
            where = None if known["chunks"] is None else FoundEvents(tuple(known["chunks"]), facts)
            facts = facts.untimed(stated=known["stated"])
        pieces.append(TakenPiece(item, start, start + item.height, name, where, path=path))
        blocks.append(DecisionBlock(start, item.height, facts, partial(small_columns, path, timed=False)))
        ids[name or f"-{start}"] = partial(_keys_of, blocks[-1])
        start += item.height
    whole = DecisionBlocks(tuple(blocks))
    if not distinct_keys(ids, kept, "keys-decisions") and len(repeats(_all_ids(whole))):
        return None
    unknown = tuple(name for name in COLUMNS if name not in names)
    return TakenDecisions(whole, tuple(files), unknown, 0, table, names["event_id"], pieces=tuple(pieces))


def _keys_of(block: DecisionBlock) -> AnyArray:
    return keys(block.read(["event_id"])["event_id"])


def _all_ids(blocks: DecisionBlocks) -> pl.Series:
    return pl.concat([block.read(["event_id"])["event_id"] for block in blocks.blocks])


def _laid_out(
    piece: FilePiece, path: Path, names: dict[str, str], project: Project, files: Sequence[str]
) -> BlockFacts:
    """Write the small columns of a piece of decisions that any of them states, and say what is known of them."""
    raw = piece.read(list(dict.fromkeys(names.values())))
    part = typed_decisions(raw, names, project, where=tables.place(files))
    part = part.select(name for name in part.columns if name == "event_id" or part[name].null_count() < part.height)
    texts = [name for name in TEXTS if name in part.columns]
    part = part.with_columns(pl.col(texts).cast(pl.Categorical))
    part.write_ipc(path, compression="uncompressed")
    return BlockFacts.of(part)


def small_columns(path: Path, columns: Sequence[str] | None = None, *, timed: bool) -> pl.DataFrame:
    """Read small columns of a piece from their file.

    Parameters
    ----------
    timed
        Whether ``event_time`` is that of `FOUND`; else the one that decisions state themselves.
    """
    if not timed:
        return mapped(path, columns).drop(FOUND, strict=False)
    wanted = None if columns is None else [FOUND if name == "event_time" else name for name in columns]
    return mapped(path, wanted).drop("event_time", strict=False).rename({FOUND: "event_time"}, strict=False)


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
    blocks = DecisionBlocks((in_memory(frame.drop(empty)),))
    return TakenDecisions(blocks, tuple(files), unknown, len(ids) - frame.height, table, names["event_id"], once)


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
    taken = taken.in_memory()
    frame = taken.blocks.blocks[0].read()
    time = frame["event_time"] if "event_time" in frame.columns else None
    if time is not None and not time.null_count():
        return taken
    us = np.full(taken.height, UNTIMED) if time is None else time.dt.epoch("us").fill_null(UNTIMED).to_numpy().copy()
    for piece in events(()):
        ids = same_ids(piece["event_id"], frame.schema["event_id"])
        places = pl.DataFrame({"event_id": ids, "theirs": piece["event_time"].dt.epoch("us")})
        rows = taken.places.find(ids)
        own = frame[rows].select("event_id").join(places, on="event_id", how="left", maintain_order="left")
        theirs = own["theirs"].fill_null(UNTIMED).to_numpy()
        us[rows] = np.where(us[rows] == UNTIMED, theirs, us[rows])
    refuse_untimed(taken.files, int((us == UNTIMED).sum()))
    times = pl.Series("event_time", us).cast(tables.UTC_US)
    return replace(taken, blocks=DecisionBlocks((in_memory(frame.with_columns(times)),)))


def refuse_untimed(files: Sequence[str], untimed: int) -> None:
    """Refuse decisions without a time of their own whose events the data do not have."""
    if untimed:
        msg = f"{tables.place(files)}: {count(untimed, 'decision')} of events that [data] events does not have"
        raise DataError(msg, hint="name the files of these events in [data] events, or add event_time to the decisions")


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
