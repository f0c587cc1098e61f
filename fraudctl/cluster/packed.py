"""Frames as bytes and back: each column packed by itself, a piece of rows at a time.

Engines copy the bytes of a value many times, and all of them from one process to another. So columns of numbers and
times are packed (`fraudctl.cluster.forms`); pieces are small, so that packing stays in the processor's cache and
engines use the same memory again for the next value. All other columns travel as an Arrow stream.
"""

from __future__ import annotations

import functools
import io
import itertools
import pickle
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from fraudctl.cluster.forms import pack, unpack
from fraudctl.features.batch.groups import Array

_ALIGNED: Final = 64
"""Bytes: whatever begins in a blob begins where processors read best."""
_LENGTH: Final = 8
"""Bytes at the end of a blob that say where its description begins."""
_WIDEST: Final = 8
"""Bytes of a value of a column that is packed."""
_ORDER: Final = ("event_time", "event_id")
"""Columns by which events are sorted."""
_in_turn: Final = threading.Lock()
"""For threads that pack: many short steps, between which two would do little but hand the interpreter's lock over."""


class _Mark(NamedTuple):
    """Where a column lies in a blob, and how its values are packed."""

    name: str
    type: pa.DataType
    form: str
    values: tuple[int, int]
    bits: tuple[int, int] | None


class _BlobHead(NamedTuple):
    """What a blob holds."""

    height: int
    names: list[str]
    marks: list[_Mark]
    stream: tuple[int, int]


# ---------------------------------------------------------------- frames to bytes


class FrameWriter:
    """Writes rows of one frame, as often as wanted, as bytes that hold no more than these rows."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._plain = [column for column in map(_Plain.of, frame.get_columns()) if column is not None]
        self._rest = frame.drop(column.name for column in self._plain)

    def blob(self, rows: Array | None = None) -> pa.Buffer:
        """Return rows as bytes.

        Parameters
        ----------
        rows
            Positions, rising; None for all rows.
        """
        with _in_turn:
            return self._blob(np.arange(self._frame.height) if rows is None else rows)

    def _blob(self, rows: Array) -> pa.Buffer:
        cuts, out, marks = _Cuts(rows), _Pieces(), []
        for column in self._plain:
            values, bits = column.values(cuts), None
            if column.has_nulls:
                there = column.there(cuts)
                values *= there  # what lies under a null is nothing, and packs best as zero
                bits = out.add(np.packbits(there, bitorder="little"))
            form, held = pack(values, column.type)
            marks.append(_Mark(column.name, column.type, form, out.add(held), bits))
        head = _BlobHead(len(rows), self._frame.columns, marks, out.add(_stream(self._rest[pl.Series(rows)])))
        return out.joined(pickle.dumps(tuple(head)))


def to_blob(frame: pl.DataFrame) -> pa.Buffer:
    """Return all rows of a frame as bytes; see `FrameWriter`."""
    return FrameWriter(frame).blob()


class _Pieces:
    """Bytes one after the other, each aligned."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Any]] = []
        self._size = 0

    def add(self, piece: Any) -> tuple[int, int]:
        """Keep bytes; return where they begin and end."""
        begin, size = self._size, memoryview(piece).nbytes
        self._held.append((begin, piece))
        self._size += -(-size // _ALIGNED) * _ALIGNED
        return begin, begin + size

    def joined(self, head: bytes) -> pa.Buffer:
        """Return all bytes, with a description at the end."""
        begin, _ = self.add(head)
        found = pa.allocate_buffer(self._size + _ALIGNED)
        room = memoryview(found).cast("B")
        for at, piece in self._held:
            raw = memoryview(piece)
            if raw.nbytes:
                room[at : at + raw.nbytes] = raw.cast("B")  # NumPy would give the interpreter's lock away for each
        room[-_LENGTH:] = begin.to_bytes(_LENGTH, "little")
        return found


def _stream(frame: pl.DataFrame) -> memoryview:
    """Return columns as Polars writes and reads them: PyArrow damages some lists of structs."""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="lz4", compat_level=pl.CompatLevel.oldest())
    return out.getbuffer()


class _Cuts:
    """Positions of rows by the chunks of a column, worked out once for all columns that are cut alike."""

    def __init__(self, rows: Array) -> None:
        self._rows = rows
        self._known: dict[tuple[int, ...], list[_Cut]] = {}

    def take(self, chunks: Sequence[Array], kind: np.dtype[Any]) -> Array:
        """Return the rows of a column."""
        out = np.empty(len(self._rows), kind)
        for cut in self._of(tuple(map(len, chunks))):
            chunk = chunks[cut.chunk]
            if isinstance(cut.rows, slice):
                out[cut.to] = chunk[cut.rows]
            else:
                np.take(chunk, cut.rows, out=out[cut.to], mode="clip")
        return out

    def _of(self, sizes: tuple[int, ...]) -> list[_Cut]:
        if sizes not in self._known:
            edges = np.cumsum([0, *sizes])
            at = np.searchsorted(self._rows, edges).tolist()
            self._known[sizes] = [
                _Cut(chunk, slice(start, stop), _compact(self._rows[start:stop] - edges[chunk]))
                for chunk, (start, stop) in enumerate(itertools.pairwise(at))
                if start < stop
            ]
        return self._known[sizes]


class _Cut(NamedTuple):
    """Rows of a chunk, and where they go."""

    chunk: int
    to: slice
    rows: Array | slice


def _compact(rows: Array) -> Array | slice:
    """Return rising positions as a slice where they follow each other."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


class _Plain:
    """A column of values of a fixed number of bytes, as Arrow holds it, in chunks."""

    def __init__(self, name: str, column: pa.ChunkedArray) -> None:
        self.name, self.type, self.has_nulls = name, column.type, column.null_count > 0
        self._kind = _kind(column.type)
        self._chunks = column.chunks

    @classmethod
    def of(cls, series: pl.Series) -> _Plain | None:
        """Return a column as its chunks; None if its values are no fixed number of bytes."""
        if not (series.dtype.is_numeric() or series.dtype.is_temporal()) or series.dtype.is_decimal():
            return None
        return cls(series.name, series.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).column(0))

    def values(self, cuts: _Cuts) -> Array:
        """Return the values of rows, as unsigned integers."""
        return cuts.take(self._raw, self._kind)

    def there(self, cuts: _Cuts) -> Array:
        """Return which values of rows are not null, as bytes."""
        return cuts.take(self._there, np.dtype(np.uint8))

    @functools.cached_property
    def _raw(self) -> list[Array]:
        return [np.frombuffer(part.buffers()[1], self._kind)[part.offset :][: len(part)] for part in self._chunks]

    @functools.cached_property
    def _there(self) -> list[Array]:
        return [_there(part.buffers()[0], part.offset, len(part)) for part in self._chunks]


def _kind(arrow: pa.DataType) -> np.dtype[Any]:
    return np.dtype(f"u{arrow.bit_width // 8}")


def _there(bits: pa.Buffer | None, first: int, n: int) -> Array:
    """Return which of ``n`` values from ``first`` on are not null, as bytes."""
    if bits is None:
        return np.ones(n, np.uint8)
    held = np.frombuffer(memoryview(bits), np.uint8)[first // 8 : -(-(first + n) // 8)]
    return np.unpackbits(held, bitorder="little")[first % 8 :][:n]


# ---------------------------------------------------------------- bytes to frames


def from_blobs(blobs: Sequence[bytes | pa.Buffer], *, in_order: bool = False) -> pl.DataFrame:
    """Return the rows of blobs, which have the same columns, in one frame without chunks.

    Parameters
    ----------
    blobs
        At least one.
    in_order
        Whether rows are sorted by event_time, then event_id; else they are in the order of the blobs.

    Raises
    ------
    ValueError
        The columns, or their types, differ.
    """
    found = _Opened.all_of(blobs)
    order = order_of(pl.DataFrame([found.column(name, None) for name in _ORDER])) if in_order else None
    return found.frame(order)


@dataclass(frozen=True)
class _Opened:
    """Blobs with the same columns, and what their heads say."""

    parts: list[tuple[pa.Buffer, _BlobHead]]

    @classmethod
    def all_of(cls, blobs: Sequence[bytes | pa.Buffer]) -> _Opened:
        parts = [_opened(pa.py_buffer(blob)) for blob in blobs]
        _require_alike([head for _, head in parts])
        return cls(parts)

    @functools.cached_property
    def height(self) -> int:
        return sum(head.height for _, head in self.parts)

    @functools.cached_property
    def rest(self) -> pl.DataFrame:
        """The columns that travel as a stream."""
        streams = (held[slice(*head.stream)] for held, head in self.parts)
        return pl.concat([pl.read_ipc_stream(io.BytesIO(stream)) for stream in streams]).rechunk()

    @functools.cached_property
    def marks(self) -> dict[str, list[_Mark]]:
        """Where the columns lie in each blob."""
        each = zip(*(head.marks for _, head in self.parts), strict=True)
        return {marks[0].name: list(marks) for marks in each}

    def frame(self, order: Array | None) -> pl.DataFrame:
        """Return all columns, in an order of rows."""
        return pl.DataFrame([self.column(name, order) for name in self.parts[0][1].names])

    def column(self, name: str, order: Array | None) -> pl.Series:
        """Return a column, in an order of rows; None for that of the blobs."""
        if name not in self.marks:
            return self.rest[name] if order is None else self.rest[name].gather(pl.Series(order))
        marks, bits = self.marks[name], None
        kind = _kind(marks[0].type)
        values = _room(self.height, kind)
        if order is None:
            self._values(marks, values)
        else:
            held = self._values(marks, self.scratch[: self.height * kind.itemsize].view(kind))
            np.take(held, order, out=values, mode="clip")
        if any(mark.bits for mark in marks):
            there = np.concatenate(list(self._there(marks)))
            bits = pa.py_buffer(np.packbits(there if order is None else np.take(there, order), bitorder="little"))
        array = pa.Array.from_buffers(marks[0].type, self.height, [bits, pa.py_buffer(values)])
        return pl.Series(name, array)

    @functools.cached_property
    def scratch(self) -> Array:
        """Room for a column that is sorted later: fresh memory for each costs more than sorting it."""
        return _room(self.height * _WIDEST, np.dtype(np.uint8))

    def _values(self, marks: Sequence[_Mark], out: Array) -> Array:
        at = 0
        for (held, head), mark in zip(self.parts, marks, strict=True):
            unpack(held[slice(*mark.values)], mark.form, out[at : at + head.height])
            at += head.height
        return out

    def _there(self, marks: Sequence[_Mark]) -> Iterator[Array]:
        for (held, head), mark in zip(self.parts, marks, strict=True):
            yield _there(held[slice(*mark.bits)] if mark.bits else None, 0, head.height)


def _require_alike(heads: Sequence[_BlobHead]) -> None:
    """Refuse blobs whose packed bytes do not mean the same."""
    first, *others = ((head.names, [(mark.name, mark.type) for mark in head.marks]) for head in heads)
    if any(other != first for other in others):
        msg = "blobs of one task have different columns"
        raise ValueError(msg)


def _room(n: int, kind: np.dtype[Any]) -> Array:
    """Return room for values, which PyArrow keeps for the next frame: fresh pages cost more than filling them."""
    return np.frombuffer(memoryview(pa.allocate_buffer(n * kind.itemsize)), kind)


def _opened(held: pa.Buffer) -> tuple[pa.Buffer, _BlobHead]:
    start = int.from_bytes(held[held.size - _LENGTH :], "little")
    height, names, marks, stream = pickle.loads(held[start:])  # noqa: S301 - of a task of this command
    return held, _BlobHead(height, names, marks, stream)


def order_of(events: pl.DataFrame) -> Array | None:
    """Return the positions that sort events by event_time, then event_id; None where they are sorted.

    It is quick where events consist of sorted stretches.
    """
    times = events["event_time"].dt.epoch("us").to_numpy()
    order = np.argsort(times, kind="stable")
    same = np.diff(times[order]) == 0
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if len(tied):
        rows = pl.Series("row", order[tied])
        keys = events.select("event_time", "event_id")[rows].with_columns(rows)
        order[tied] = keys.sort("event_time", "event_id")["row"].to_numpy()
    return None if (np.diff(order) == 1).all() else order
