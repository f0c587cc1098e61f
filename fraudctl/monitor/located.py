"""Which chunks of events hold the events of decisions, found a piece of the decisions at a time, and kept.

Owns `located`: times of decisions as `fraudctl.monitor.taken.with_times` completes them, and for each piece of the
decisions the chunks that hold all of its events. As each event is in one chunk only, nothing of such a piece changes
while its file and these chunks stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import IntArray
from fraudctl.data import tables
from fraudctl.data.labels import same_ids
from fraudctl.data.pieces import KeptPieces
from fraudctl.monitor.decision_blocks import BlockFacts, DecisionBlock, DecisionBlocks
from fraudctl.monitor.taken import (
    FOUND,
    UNTIMED,
    TakenDecisions,
    TakenPiece,
    places_of,
    refuse_untimed,
    small_columns,
)

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
class _Sought:
    """Some decisions whose events are looked for.

    Attributes
    ----------
    ids
        Their events, shape ``(n_decisions,)``.
    time
        Of each in µs, `UNTIMED` where it has none.
    found
        Chunk of the event of each, -1 where it was not found yet.
    """

    ids: pl.Series
    time: IntArray
    found: npt.NDArray[np.int32]

    @classmethod
    def of(cls, own: pl.DataFrame) -> _Sought:
        """Begin with what decisions state themselves."""
        time = np.full(own.height, UNTIMED)
        if "event_time" in own.columns:
            time = own["event_time"].dt.epoch("us").fill_null(UNTIMED).to_numpy().copy()
        return cls(own["event_id"], time, np.full(own.height, -1, np.int32))

    @property
    def whole(self) -> bool:
        """Whether all events were found."""
        return bool((self.found >= 0).all())

    @property
    def left(self) -> IntArray:
        """Rows whose events were not found yet."""
        return np.flatnonzero(self.found < 0)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Chunks that hold the events that were found."""
        return tuple(np.unique(self.found[self.found >= 0]).tolist())

    def times(self) -> pl.Series:
        """Return the times."""
        return pl.Series(FOUND, self.time).cast(tables.UTC_US)


@dataclass
class _EventSearch:
    """Looks for events in chunks; what was found before says where to look first."""

    events: EventChunks
    last: int
    searched: int = 0
    _chunks: dict[int, pl.DataFrame] = field(default_factory=dict)
    _matched: dict[int, int] = field(default_factory=dict)
    _used_up: set[int] = field(default_factory=set)
    """Chunks of which every event was found: each event is decided once."""

    def around(self, own: _Sought) -> None:
        """Look for the events of a piece where that of the one before it was, near it, then elsewhere."""
        for number in self._order():
            if own.whole or self.searched >= SEARCHED:
                return
            if number in self._used_up:
                continue
            self.searched += abs(number - self.last) > 1
            if self._look(own, own.left, number):
                self.last = number

    def _order(self) -> Iterator[int]:
        """Yield chunks, the nearest first."""
        n, last = len(self.events.names), self.last
        yield from sorted(range(n), key=lambda number: (abs(number - last), -number))

    def rest(self, pieces: Sequence[_Sought]) -> None:
        """Look for all decisions that were not found in all chunks."""
        rows = [own.left for own in pieces]
        if not sum(map(len, rows)):
            return
        pairs = list(zip(pieces, rows, strict=True))
        every = _Sought(
            pl.concat([own.ids[left] for own, left in pairs]), np.concatenate([own.time[left] for own, left in pairs]),
            np.concatenate([own.found[left] for own, left in pairs]),
        )  # fmt: skip
        places = places_of(every.ids)
        for number in range(len(self.events.names)):
            self._look(every, places.find(self._ids(number)["event_id"]), number)
        ends = np.cumsum([0, *map(len, rows)])
        for (own, left), start, stop in zip(pairs, ends[:-1], ends[1:], strict=True):
            own.time[left], own.found[left] = every.time[start:stop], every.found[start:stop]

    def _look(self, own: _Sought, at: IntArray, number: int) -> bool:
        """Look for some decisions in a chunk; say whether any was there."""
        if not len(at):
            return False
        theirs = self._ids(number)
        there = theirs.with_columns(same_ids(theirs["event_id"], own.ids.dtype))
        pairs = pl.DataFrame({"event_id": own.ids[at], "row": at}).join(there, on="event_id", how="inner")
        rows, time = pairs["row"].to_numpy(), pairs["event_time"].dt.epoch("us").to_numpy()
        own.found[rows] = number
        own.time[rows] = np.where(own.time[rows] == UNTIMED, time, own.time[rows])
        self._matched[number] = self._matched.get(number, 0) + len(rows)
        if self._matched[number] >= theirs.height:
            self._used_up.add(number)
        return bool(len(rows))

    def _ids(self, number: int) -> pl.DataFrame:
        """Return ids and times of a chunk; the last three are at hand."""
        if number not in self._chunks:
            while len(self._chunks) > 2:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[number] = self.events.chunk(number, ()).select("event_id", "event_time")
        return self._chunks[number]


def located(taken: TakenDecisions, events: EventChunks, kept: KeptPieces, folder: Path) -> TakenDecisions:
    """Return decisions with all their times, and with the chunks that hold the events of each piece.

    Parameters
    ----------
    folder
        Where small columns of pieces lie during the run that are not kept.

    Raises
    ------
    DataError
        A decision has no time, neither of its own nor of an event.
    """
    numbers = {name: number for number, name in enumerate(events.names) if name}
    search, left = _EventSearch(events, max(len(events.names) - 1, 0)), dict[int, _Sought]()
    done: list[tuple[TakenPiece, BlockFacts] | None] = []
    for number, piece in enumerate(taken.pieces):
        before = piece.found
        if before is not None and before.chunks and set(before.chunks) <= set(numbers):
            done.append((replace(piece, events=tuple(numbers[name] for name in before.chunks)), before.facts))
            continue
        block = taken.blocks.blocks[number]
        own = _Sought.of(block.read([name for name in ("event_id", "event_time") if name in block.facts.columns]))
        search.around(own)
        if not own.whole:
            left[number] = own
        done.append(_noted(piece, block, own, events, kept, folder) if own.whole else None)
    search.rest(list(left.values()))
    refuse_untimed(taken.files, sum(int((own.time == UNTIMED).sum()) for own in left.values()))
    for number, own in left.items():
        done[number] = _noted(taken.pieces[number], taken.blocks.blocks[number], own, events, kept, folder)
    found = [item for item in done if item is not None]
    blocks = [
        DecisionBlock(piece.start, piece.stop - piece.start, facts, partial(small_columns, piece.path, timed=True))
        for piece, facts in found
        if piece.path is not None
    ]
    return replace(taken, blocks=DecisionBlocks(tuple(blocks)), pieces=tuple(piece for piece, _ in found))


def _noted(
    piece: TakenPiece, block: DecisionBlock, own: _Sought, events: EventChunks, kept: KeptPieces, folder: Path
) -> tuple[TakenPiece, BlockFacts]:
    """Return a piece with the chunks that hold its events, and what is known of its decisions, and keep it.

    Events that were not found are in no chunk; where that is none of them, the piece has a chunk that holds no event.
    """
    names = [events.names[number] for number in own.numbers] if own.whole else []
    times = own.times()
    part, facts = block.read().with_columns(times), block.facts.timed(times)
    chunks, stated = names if own.whole and all(names) else None, "event_time" in block.facts.columns
    path = folder / f"timed{piece.start}.arrow"
    about = {"chunks": chunks, "facts": facts.to_dict(), "stated": stated}
    if piece.name is not None and kept.write(piece.name, part, about):
        path = kept.path(piece.name)
    else:
        part.write_ipc(path, compression="uncompressed")
    name = piece.name if own.whole else None  # the events that are missing may come in any chunk
    return replace(piece, name=name, events=own.numbers or (0,), path=path), facts
