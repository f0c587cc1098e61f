"""Decisions in blocks of rows, of which times and texts are known without a look at them.

Owns `DecisionBlocks`: which decisions lie in a time, or were taken by a model, and which is the latest. The columns of
a block may lie on disk. Most questions are answered by what is known of whole blocks; a block is read only where that
does not settle the question, one at a time, so that memory holds one block and a few bytes of each decision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, IntArray
from fraudctl.data.tables import UTC_US
from fraudctl.documents.types import JsonObject
from fraudctl.monitor.decisions import COLUMNS

TEXTS: Final = tuple(name for name, dtype in COLUMNS.items() if dtype == pl.String)
_INSTANT: Final = timedelta(microseconds=1)


class ReadsColumns(Protocol):
    """Reads columns of a block, all that it has without a choice; texts in any type."""

    def __call__(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows in their order."""


@dataclass(frozen=True)
class BlockFacts:
    """What is known of the decisions of a block.

    Attributes
    ----------
    columns
        Columns that any of them states.
    texts
        The different values of each column of `TEXTS` that is among these, null with them, in rising order.
    first, last
        The earliest and the latest ``event_time``; None where a decision has none.
    """

    columns: frozenset[str]
    texts: Mapping[str, tuple[str | None, ...]]
    first: datetime | None = None
    last: datetime | None = None

    @classmethod
    def of(cls, frame: pl.DataFrame) -> BlockFacts:
        """Look at the decisions of a block, at least one."""
        texts = {name: _different(frame[name]) for name in TEXTS if name in frame.columns}
        found = cls(frozenset(frame.columns), texts)
        timed = "event_time" in frame.columns and not frame["event_time"].null_count()
        return found.timed(frame["event_time"]) if timed else found

    def timed(self, time: pl.Series) -> BlockFacts:
        """Return the facts of the same decisions at some times, none null."""
        first, last = time.min(), time.max()
        assert isinstance(first, datetime)  # noqa: S101 - there is a decision
        assert isinstance(last, datetime)  # noqa: S101
        return replace(self, columns=self.columns | {"event_time"}, first=first, last=last)

    def to_dict(self) -> JsonObject:
        """Return the facts as JSON."""
        times = pl.Series([self.first, self.last], dtype=UTC_US).dt.epoch("us").to_list()
        return {
            "columns": sorted(self.columns), "texts": {name: list(values) for name, values in self.texts.items()},
            "times": times,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> BlockFacts:
        """Return what `to_dict` wrote."""
        first, last = pl.Series(document["times"], dtype=pl.Int64).cast(UTC_US).to_list()
        texts = {name: tuple(values) for name, values in document["texts"].items()}
        return cls(frozenset(document["columns"]), texts, first, last)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The earliest and the latest time; every decision has one."""
        if self.first is None or self.last is None:
            msg = "decisions without a time"
            raise ValueError(msg)
        return self.first, self.last

    def untimed(self, *, stated: bool) -> BlockFacts:
        """Return the facts without completed times; ``stated`` says whether any decision states its own."""
        columns = self.columns if stated else self.columns - {"event_time"}
        return replace(self, columns=columns, first=None, last=None)


def _different(texts: pl.Series) -> tuple[str | None, ...]:
    return tuple(texts.unique().cast(pl.String).sort().to_list())


@dataclass(frozen=True)
class DecisionBlock:
    """Some decisions next to each other."""

    start: int
    """Row of the first."""
    height: int
    facts: BlockFacts
    read: ReadsColumns = field(repr=False)

    @property
    def rows(self) -> slice:
        """Their rows among all decisions."""
        return slice(self.start, self.start + self.height)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The earliest and the latest time."""
        return self.facts.span

    def time(self) -> pl.Series:
        """Read the times."""
        return self.read(["event_time"])["event_time"]


def in_memory(frame: pl.DataFrame, start: int = 0) -> DecisionBlock:
    """Return a table in memory as a block."""
    return DecisionBlock(
        start, frame.height, BlockFacts.of(frame), lambda columns=None: frame.select(columns or frame.columns)
    )


@dataclass(frozen=True)
class DecisionBlocks:
    """All decisions, in blocks one after the other; each has at least one."""

    blocks: tuple[DecisionBlock, ...]

    @property
    def height(self) -> int:
        """Number of decisions."""
        return self.blocks[-1].start + self.blocks[-1].height

    @cached_property
    def columns(self) -> frozenset[str]:
        """Columns that any decision states."""
        return frozenset().union(*(block.facts.columns for block in self.blocks))

    @cached_property
    def id_type(self) -> pl.DataType:
        """Type of the ids."""
        return self.blocks[0].read(["event_id"])["event_id"].dtype

    @property
    def latest_time(self) -> datetime:
        """The latest time of all."""
        return max(block.span[1] for block in self.blocks)

    def last_text(self, column: str) -> str | None:
        """Return the last text of a column, by rows; None where there is none."""
        for block in reversed(self.blocks):
            if any(text is not None for text in block.facts.texts.get(column, ())):
                return str(block.read([column])[column].drop_nulls()[-1])
        return None

    def kind(self, column: str) -> pl.Enum:
        """Return the enumeration of the different values of a column of texts."""
        values = {value for block in self.blocks for value in block.facts.texts.get(column, ())}
        return pl.Enum(sorted(value for value in values if value is not None))

    def frame(self, rows: IntArray, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return columns of some decisions, in the order of ``rows``; texts as text, what none states is left out."""
        rising = bool((rows[1:] >= rows[:-1]).all())
        if not rising:
            ordered = np.unique(rows)
            return self.frame(ordered, columns)[np.searchsorted(ordered, rows)]
        parts = [self._part(block, rows[slice(*ends)], columns) for block, ends in self._around(rows)]
        return pl.concat(parts or [self._part(self.blocks[0], rows, columns)], how="diagonal", rechunk=len(parts) > 1)

    def _around(self, rows: IntArray) -> Iterator[tuple[DecisionBlock, tuple[int, int]]]:
        """Yield the blocks that rising rows lie in, and which of the rows these are."""
        if not len(rows):
            return
        first, last = (np.searchsorted(self._starts, rows[[0, -1]], side="right") - 1).tolist()
        ends = np.searchsorted(rows, [*self._starts[first : last + 1], self.height]).tolist()
        for block, start, stop in zip(self.blocks[first : last + 1], ends[:-1], ends[1:], strict=True):
            if stop > start:
                yield block, (start, stop)

    @cached_property
    def _starts(self) -> IntArray:
        return np.array([block.start for block in self.blocks], dtype=np.int64)

    def _part(self, block: DecisionBlock, rows: IntArray, columns: Sequence[str] | None) -> pl.DataFrame:
        wanted = None if columns is None else [name for name in columns if name in block.facts.columns]
        found = block.read(wanted)
        own = found if len(rows) == block.height else found[rows - block.start]
        return own.with_columns(pl.col([name for name in TEXTS if name in own.columns]).cast(pl.String))

    def between(self, start: datetime | None, stop: datetime | None) -> BoolArray:
        """Return which decisions have their times in ``[start, stop)``, shape ``(n_decisions,)``; None is no end."""
        out = np.zeros(self.height, dtype=np.bool_)
        for block in self.blocks:
            first, last = block.span
            if (stop is not None and first >= stop) or (start is not None and last < start):
                continue
            inside = (start is None or first >= start) and (stop is None or last < stop)
            out[block.rows] = inside or _within(block.time(), start, stop)
        return out

    def up_to(self, at: datetime) -> BoolArray:
        """Return which decisions have a time that is not later."""
        return self.between(None, at + _INSTANT if at < self.latest_time else None)

    def where(self, column: str, chosen: Callable[[str | None], bool], rows: BoolArray) -> BoolArray:
        """Return which of some decisions have a text that is chosen; all are null where none states the column."""
        out = np.zeros(self.height, dtype=np.bool_)
        for block in self.blocks:
            values = block.facts.texts.get(column, (None,))
            mine = [value for value in values if chosen(value)]
            if mine and rows[block.rows].any():
                out[block.rows] = rows[block.rows] if len(mine) == len(values) else rows[block.rows] & _is_in(
                    block.read([column])[column], mine)  # fmt: skip
        return out

    def span(self, rows: BoolArray) -> tuple[datetime, datetime]:
        """Return the earliest and the latest time of some decisions, at least one."""
        ends = [end for block, own in self.among(rows) for end in (block.span if own.all() else _ends(block, own))]
        return min(ends), max(ends)

    def among(self, rows: BoolArray) -> Iterator[tuple[DecisionBlock, BoolArray]]:
        """Yield the blocks that some decisions lie in, and which of each block these are."""
        for block in self.blocks:
            own = rows[block.rows]
            if own.any():
                yield block, own

    def times(self, rows: BoolArray) -> Iterator[pl.Series]:
        """Yield the times of some decisions, block by block."""
        for block, own in self.among(rows):
            yield block.time().filter(pl.Series(own))

    def latest(self, rows: BoolArray) -> int | None:
        """Return the row of the latest of some decisions, by ``event_time``, then ``event_id``; None without one."""
        best: tuple[datetime, Any, int] | None = None
        for block, own in sorted(self.among(rows), key=lambda pair: pair[0].span[1], reverse=True):
            if best is not None and block.span[1] < best[0]:
                break
            frame = block.read(["event_time", "event_id"]).with_row_index(".row", block.start).filter(pl.Series(own))
            last = frame.filter(pl.col("event_time") == frame["event_time"].max())
            row = last.select("event_time", "event_id", ".row").row(int(last["event_id"].arg_max() or 0))
            best = row if best is None or row[:2] > best[:2] else best
        return None if best is None else best[2]

    def by_time(self, rows: BoolArray) -> IntArray:
        """Return some rows in the order of ``event_time``, then ``event_id``."""
        places = np.flatnonzero(rows)
        us = np.concatenate([np.zeros(0, np.int64), *(time.dt.epoch("us").to_numpy() for time in self.times(rows))])
        if (us[1:] < us[:-1]).any():
            order = np.argsort(us, kind="stable")
            places, us = places[order], us[order]
        again = us[1:] == us[:-1]
        tied = np.flatnonzero(np.append(again, False) | np.append(False, again))
        if len(tied):
            ids = self.frame(places[tied], ["event_id"]).with_columns(us=us[tied])
            places[tied] = places[tied[ids.select(pl.arg_sort_by("us", "event_id")).to_series().to_numpy()]]
        return places

    def texts_by_time(self, column: str, rows: BoolArray) -> list[str | None]:
        """Return the different texts of some decisions in the order in which each began."""
        found: dict[str | None, tuple[datetime, Any]] = {}
        for block, own in self.among(rows):
            known = column in block.facts.columns
            frame = block.read(["event_time", "event_id", *([column] if known else [])]).filter(pl.Series(own))
            frame = frame if known else frame.with_columns(pl.lit(None, dtype=pl.String).alias(column))
            first = frame.sort("event_time", "event_id").unique(column, keep="first")
            for text, *begun in first.select(pl.col(column).cast(pl.String), "event_time", "event_id").iter_rows():
                found[text] = min(found.get(text, tuple(begun)), tuple(begun))
        return sorted(found, key=found.__getitem__)


def _ends(block: DecisionBlock, own: BoolArray) -> tuple[datetime, datetime]:
    return BlockFacts(frozenset(), {}).timed(block.time().filter(pl.Series(own))).span


def _within(time: pl.Series, start: datetime | None, stop: datetime | None) -> BoolArray:
    inside = pl.repeat(True, len(time), eager=True) if start is None else time >= start  # noqa: FBT003
    return (inside if stop is None else inside & (time < stop)).to_numpy()


def _is_in(texts: pl.Series, values: Collection[str | None]) -> BoolArray:
    named = [value for value in values if value is not None]
    found = texts.cast(pl.String).is_in(named).fill_null(None in values)
    return found.to_numpy()
