"""Which chunks of events hold the events of decisions, found a piece of the decisions at a time, and kept.

Owns `located`: times of decisions as `fraudctl.monitor.taken.with_times` completes them, and for each piece of the
decisions the chunks that hold all of its events. As each event is in one chunk only, nothing of such a piece changes
while its file and these chunks stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import IntArray
from fraudctl.data import tables
from fraudctl.data.labels import same_ids
from fraudctl.data.pieces import KeptPieces
from fraudctl.errors import DataError
from fraudctl.monitor.taken import FOUND, UNTIMED, TakenDecisions, TakenPiece, places_of
from fraudctl.text.figures import count

SEARCHED: Final = 1_000
"""Chunks that are searched for single pieces, before the rest of the decisions is looked for in all chunks at once."""


class EventChunks(Protocol):
    """Events in chunks, each event in one of them."""

    @property
    def names(self) -> Sequence[str]:
        """Names that stay while a chunk stays what it is; empty for a chunk that is not kept."""

    def chunk(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return the columns of `fraudctl.data.tables.Events` and further ones of one chunk."""


@dataclass
class _DecidedSoFar:
    """What has been found so far of the decisions of some pieces.

    Attributes
    ----------
    ids
        Their events, shape ``(n_searched,)``.
    rows
        Start of a piece among all decisions -> its rows among those that are searched for.
    time
        Of each decision in µs, `UNTIMED` where it has none, shape ``(n_searched,)``.
    found
        Chunk of the event of each decision, -1 where it was not found yet, the same shape.
    """

    ids: pl.Series
    rows: Mapping[int, slice]
    events: EventChunks
    time: IntArray
    found: npt.NDArray[np.int32]
    last: int
    searched: int = 0
    _chunks: dict[int, pl.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(cls, taken: TakenDecisions, pieces: Sequence[TakenPiece], events: EventChunks) -> _DecidedSoFar:
        """Begin a search for the events of some pieces."""
        frame = pl.concat([taken.frame.head(0), *(taken.frame[piece.rows] for piece in pieces)], rechunk=False)
        time = np.full(frame.height, UNTIMED)
        if "event_time" in frame.columns:
            time = frame["event_time"].dt.epoch("us").fill_null(UNTIMED).to_numpy().copy()
        ends = np.cumsum([0, *(piece.stop - piece.start for piece in pieces)]).tolist()
        rows = {piece.start: slice(*ends[at : at + 2]) for at, piece in enumerate(pieces)}
        found = np.full(frame.height, -1, np.int32)
        return cls(frame["event_id"], rows, events, time, found, max(len(events.names) - 1, 0))

    def time_of(self, rows: slice) -> pl.Series:
        """Return the times of some decisions."""
        return pl.Series(self.time[rows]).cast(tables.UTC_US)

    def around(self, rows: slice) -> None:
        """Look for the events of a piece where that of the one before it was, near it, then elsewhere."""
        for number in self._order():
            if (self.found[rows] >= 0).all() or self.searched >= SEARCHED:
                return
            self.searched += abs(number - self.last) > 1
            at = np.arange(rows.start, rows.stop)
            if self._look(at[self.found[rows] < 0], number):
                self.last = number

    def _order(self) -> Iterator[int]:
        """Yield chunks, the nearest first."""
        n, last = len(self.events.names), self.last
        yield from sorted(range(n), key=lambda number: (abs(number - last), -number))

    def rest(self) -> None:
        """Look for all decisions that were not found in all chunks."""
        left = np.flatnonzero(self.found < 0)
        if not len(left):
            return
        places = places_of(self.ids[left])
        for number in range(len(self.events.names)):
            self._look(left[places.find(self._ids(number)["event_id"])], number)

    def _look(self, at: IntArray, number: int) -> bool:
        """Look for some decisions in a chunk; say whether any was there."""
        if not len(at):
            return False
        ids = self.ids[at]
        theirs = self._ids(number)
        own = pl.DataFrame({"event_id": ids, "row": at})
        there = theirs.with_columns(same_ids(theirs["event_id"], ids.dtype))
        pairs = own.join(there, on="event_id", how="inner")
        rows, time = pairs["row"].to_numpy(), pairs["event_time"].dt.epoch("us").to_numpy()
        self.found[rows] = number
        self.time[rows] = np.where(self.time[rows] == UNTIMED, time, self.time[rows])
        return bool(len(rows))

    def _ids(self, number: int) -> pl.DataFrame:
        """Return ids and times of a chunk; the last three are at hand."""
        if number not in self._chunks:
            while len(self._chunks) > 2:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[number] = self.events.chunk(number, ()).select("event_id", "event_time")
        return self._chunks[number]


def located(taken: TakenDecisions, events: EventChunks, kept: KeptPieces) -> TakenDecisions:
    """Return decisions with all their times, and with the chunks that hold the events of each piece.

    Raises
    ------
    DataError
        A decision has no time, neither of its own nor of an event.
    """
    numbers = {name: number for number, name in enumerate(events.names) if name}
    pieces, times = [], {}
    for piece in taken.pieces:
        before = piece.found
        if before is not None and before.chunks and set(before.chunks) <= set(numbers):
            piece = replace(piece, events=tuple(numbers[name] for name in before.chunks))  # noqa: PLW2901
            times[piece.start] = before.time
        pieces.append(piece)
    search = _DecidedSoFar.of(taken, [piece for piece in pieces if piece.start not in times], events)
    for start in search.rows:
        search.around(search.rows[start])
    search.rest()
    _refuse_untimed(taken, search.time)
    times |= {start: search.time_of(rows) for start, rows in search.rows.items()}
    whole = pl.concat([times[piece.start] for piece in pieces], rechunk=False).alias("event_time")
    frame = taken.frame.with_columns(whole)
    pieces = [_noted(piece, search, taken, kept) if piece.start in search.rows else piece for piece in pieces]
    return replace(taken, frame=frame, pieces=tuple(pieces))


def _refuse_untimed(taken: TakenDecisions, time: IntArray) -> None:
    untimed = int((time == UNTIMED).sum())
    if untimed:
        where = tables.place(taken.files)
        msg = f"{where}: {count(untimed, 'decision')} of events that [data] events does not have"
        raise DataError(msg, hint="name the files of these events in [data] events, or add event_time to the decisions")


def _noted(piece: TakenPiece, search: _DecidedSoFar, taken: TakenDecisions, kept: KeptPieces) -> TakenPiece:
    """Return a piece with the chunks that hold its events, and keep it."""
    rows = search.rows[piece.start]
    found = search.found[rows]
    numbers = tuple(np.unique(found).tolist())
    whole = bool((found >= 0).all())
    names = [search.events.names[number] for number in numbers] if whole else []
    if piece.name is not None:
        own = taken.frame[piece.rows]
        stated = [name for name in own.columns if name == "event_id" or own[name].null_count() < own.height]
        texts = [name for name in stated if isinstance(own.schema[name], pl.Enum)]
        part = own.select(stated).with_columns(pl.col(texts).cast(pl.String).cast(pl.Categorical))
        kept.write(
            piece.name, part.with_columns(search.time_of(rows).alias(FOUND)),
            {"chunks": names if whole and all(names) else None},
        )  # fmt: skip
    return replace(piece, events=numbers if whole else None)
