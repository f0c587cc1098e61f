"""Decisions with what performance is judged by, in parts: what only names something is a code.

Owns `JudgedTable`, the table that `fraudctl.monitor.performance.judged_cohorts` takes, part by part in the order of
time, and `judged_table`, which builds it from `TakenDecisions` a piece at a time, in files. It holds no text of an
event but its id, and that only where the project has no entities.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray
from fraudctl.data.labels import CHANGES
from fraudctl.data.pieces import mapped
from fraudctl.monitor.decisions import COLUMNS, with_events
from fraudctl.monitor.row_arrays import RowArrays
from fraudctl.monitor.taken import TakenDecisions, completed

_UNUSED: Final = ("policy", "decided_by")
"""Columns of decisions that no figure of performance is made of."""
_CODED: Final[tuple[str, ...]] = ("action", "model")
ENOUGH: Final = 100_000
"""Decisions from which days make a part of a table."""


class OutcomeEvents(Protocol):
    """Events of a project with their outcomes, in chunks."""

    def __call__(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield all chunks."""

    def chunk(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return the columns of `fraudctl.data.tables.Events` and further ones of one chunk."""


@dataclass(frozen=True)
class JudgedTable:
    """Decisions with outcomes in parts, each after the one before it: by ``event_time``, then ``event_id``.

    Attributes
    ----------
    columns
        Those of `fraudctl.monitor.decisions.with_events`, as far as they are needed.
    read
        Yields some of the columns, part by part.
    arrays
        Makes arrays with a value for each decision.
    """

    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[pl.DataFrame]] = field(repr=False)
    arrays: RowArrays = field(default_factory=RowArrays, repr=False)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> JudgedTable:
        """Return a table in memory, as one part."""
        return cls(tuple(frame.columns), lambda columns: iter([frame.select(columns)]))

    def parts(self, *, without: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
        """Yield the decisions, part by part, without some of the columns."""
        yield from self.read([name for name in self.columns if name not in without])

    def column(self, name: str) -> pl.Series:
        """Return a column of all decisions."""
        return pl.concat([part[name] for part in self.read([name])])

    def where(self, rows: BoolArray, columns: Sequence[str]) -> pl.DataFrame:
        """Return columns of some decisions, ``rows`` of shape ``(n_decisions,)``."""
        found, start = [], 0
        for part in self.read(columns):
            own = rows[start : start + part.height]
            start += part.height
            found.append(part if own.all() else part.filter(pl.Series(own)))
        return pl.concat(found)


def judged_table(
    taken: TakenDecisions,
    events: OutcomeEvents,
    rows: BoolArray,
    *,
    columns: Sequence[str],
    entities: Sequence[str],
    folder: Path,
) -> JudgedTable:
    """Return decisions with their outcomes.

    Parameters
    ----------
    rows
        Decisions that are wanted, shape ``(n_decisions,)``, at least one.
    columns
        Data columns that costs and weights are read from.
    entities
        Entities that the project has; their ids are codes here.
    folder
        Where the table lies, and arrays of it.

    Returns
    -------
    What `fraudctl.monitor.decisions.with_events` returns for them, with ``action`` and ``model`` as Enum, entities as
    Categorical, and without ``policy`` and ``decided_by``; ``event_id`` only where there is no entity.
    """
    coded = [name for name in entities if name not in COLUMNS and name not in columns]
    kinds: dict[str, pl.DataType] = {name: taken.blocks.kind(name) for name in _CODED if name in taken.blocks.columns}
    days = _Days(folder, kinds)
    for part in _pieces(taken, events, rows, [*columns, *entities]):
        days.add(_small(part, kinds, coded))
    left_out = {"event_id"} if coded and set(coded) <= set(days.schema) else set()
    named = tuple(name for name in days.schema if name not in left_out)
    return JudgedTable(named, days.read, RowArrays(folder))


class _Days:
    """Decisions in files, by the day in UTC."""

    def __init__(self, folder: Path, kinds: Mapping[str, pl.DataType]) -> None:
        self.folder, self.kinds = folder, kinds
        self.schema: dict[str, pl.DataType] = {}
        self._files: defaultdict[int, list[Path]] = defaultdict(list)
        self._n = 0

    def add(self, part: pl.DataFrame) -> None:
        """Take in decisions that are sorted by time and id."""
        self.schema |= {name: kind for name, kind in part.schema.items() if name not in self.schema}
        day = part["event_time"].dt.epoch("d").to_numpy()
        ends = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), part.height]
        for first, stop in itertools.pairwise(ends):
            if stop > first:
                path = self.folder / f"judged{self._n}.arrow"
                part[first:stop].write_ipc(path, compression="uncompressed")
                self._files[int(day[first])].append(path)
                self._n += 1

    def read(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the decisions, some days at a time; those of one day are sorted where they lie in several files."""
        days: list[pl.DataFrame] = []
        for _, paths in sorted(self._files.items()):
            days.append(self._day(paths, columns))
            if sum(day.height for day in days) >= ENOUGH:
                yield self._whole(days, columns)
                days.clear()
        if days:
            yield self._whole(days, columns)

    def _day(self, paths: Sequence[Path], columns: Sequence[str]) -> pl.DataFrame:
        keys = ["event_time", "event_id"] if len(paths) > 1 else []
        wanted = list(dict.fromkeys([*columns, *keys]))
        whole = pl.concat([mapped(path, wanted) for path in paths], how="diagonal")
        return whole.sort(keys) if keys else whole

    def _whole(self, days: Sequence[pl.DataFrame], columns: Sequence[str]) -> pl.DataFrame:
        found = pl.concat(days, how="diagonal")
        nothing = [pl.lit(None, dtype=self.schema[name]).alias(name) for name in columns if name not in found.columns]
        coded = [pl.col(name).cast(kind) for name, kind in self.kinds.items() if name in found.columns]
        return found.with_columns([*nothing, *coded]).select(columns)


def _pieces(
    taken: TakenDecisions, events: OutcomeEvents, rows: BoolArray, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Yield decisions with their events: piece by piece of their files, where it is known which chunks hold these."""
    wanted = [piece for piece in taken.pieces if rows[piece.rows].any()]
    if not wanted or any(piece.events is None for piece in wanted):
        yield from completed(taken.in_memory(), events, rows, columns=columns)
        return
    for piece in wanted:
        own = np.flatnonzero(rows[piece.rows]) + piece.start
        theirs = [events.chunk(number, columns) for number in piece.events or ()]
        yield with_events(taken.rows(own), pl.concat(theirs, how="diagonal"), columns=columns).frame


def _small(part: pl.DataFrame, kinds: Mapping[str, pl.DataType], coded: Sequence[str]) -> pl.DataFrame:
    """Return a piece with codes for texts."""
    more = {name: pl.Categorical() for name in coded if part.schema.get(name) == pl.String}
    empty = [CHANGES] if CHANGES in part.columns and not part[CHANGES].count() else []
    return part.drop([*_UNUSED, *empty], strict=False).with_columns(
        pl.col(name).cast(kind) for name, kind in {**kinds, **more}.items()
    )
