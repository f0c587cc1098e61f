"""Which chunks of events hold the events of decisions, found a piece of the decisions at a time, and kept.

Owns `located`: times of decisions as `fraudctl.monitor.taken.with_times` completes them, and for each piece of the
decisions the chunks that hold all of its events. As each event is in one chunk only, nothing of such a piece changes
while its file and these chunks stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
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
    """What has been found so far.

    Attributes
    ----------
    time
        Of each decision in µs, `UNTIMED` where it has none, shape ``(n_decisions,)``.
    found
        Chunk of the event of each decision, -1 where it was not found yet, the same shape.
    """

    taken: TakenDecisions
    events: EventChunks
    time: IntArray
    found: IntArray
    last: int
    searched: int = 0
    _chunks: dict[int, pl.DataFrame] = field(default_factory=dict)

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
        places = places_of(self.taken.frame["event_id"][left])
        for number in range(len(self.events.names)):
            self._look(left[places.find(self._ids(number)["event_id"])], number)

    def _look(self, at: IntArray, number: int) -> bool:
        """Look for some decisions in a chunk; say whether any was there."""
        if not len(at):
            return False
        ids = self.taken.frame["event_id"][at]
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
    search = _begun(taken, events)
    numbers = {name: number for number, name in enumerate(events.names) if name}
    open_, pieces = [], []
    for piece in taken.pieces:
        before = piece.found
        if before is not None and before.chunks and set(before.chunks) <= set(numbers):
            search.time[piece.rows] = before.time.dt.epoch("us").to_numpy()
            piece = replace(piece, events=tuple(numbers[name] for name in before.chunks))  # noqa: PLW2901
        else:
            open_.append(piece)
        pieces.append(piece)
    new = {piece.start for piece in open_}
    if new:
        search.found[:] = 0
        for piece in open_:
            search.found[piece.rows] = -1
        for piece in open_:
            search.around(piece.rows)
        search.rest()
    _refuse_untimed(taken, search.time)
    times = pl.Series("event_time", search.time).cast(tables.UTC_US)
    frame = taken.frame.with_columns(times) if new or "event_time" not in taken.frame.columns else taken.frame
    pieces = [_noted(piece, search, frame, kept) if piece.start in new else piece for piece in pieces]
    return replace(taken, frame=frame.with_columns(times), pieces=tuple(pieces))


def _begun(taken: TakenDecisions, events: EventChunks) -> _DecidedSoFar:
    time = np.full(taken.height, UNTIMED)
    if "event_time" in taken.frame.columns:
        time = taken.frame["event_time"].dt.epoch("us").fill_null(UNTIMED).to_numpy().copy()
    return _DecidedSoFar(taken, events, time, np.full(taken.height, -1), max(len(events.names) - 1, 0))


def _refuse_untimed(taken: TakenDecisions, time: IntArray) -> None:
    untimed = int((time == UNTIMED).sum())
    if untimed:
        where = tables.place(taken.files)
        msg = f"{where}: {count(untimed, 'decision')} of events that [data] events does not have"
        raise DataError(msg, hint="name the files of these events in [data] events, or add event_time to the decisions")


def _noted(piece: TakenPiece, search: _DecidedSoFar, timed: pl.DataFrame, kept: KeptPieces) -> TakenPiece:
    """Return a piece with the chunks that hold its events, and keep it."""
    found = search.found[piece.rows]
    numbers = tuple(np.unique(found).tolist())
    whole = bool((found >= 0).all())
    names = [search.events.names[number] for number in numbers] if whole else []
    if piece.name is not None:
        own = search.taken.frame[piece.rows]
        stated = [name for name in own.columns if name == "event_id" or own[name].null_count() < own.height]
        texts = [name for name in stated if isinstance(own.schema[name], pl.Enum)]
        part = own.select(stated).with_columns(pl.col(texts).cast(pl.String).cast(pl.Categorical))
        kept.write(
            piece.name, part.with_columns(timed["event_time"][piece.rows].alias(FOUND)),
            {"chunks": names if whole and all(names) else None},
        )  # fmt: skip
    return replace(piece, events=numbers if whole else None)
