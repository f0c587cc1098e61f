"""Frames as bytes: what a cluster's engine moves are a few large values, never rows.

Owns the four columns that the engine sees. Polars splits, joins and sorts; the engine brings the bytes of one task
together, by ``place``. A mistake in the data travels as a row too, so that it ends the command with its own words.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from fraudctl.errors import FraudctlError
from fraudctl.features.batch.groups import Array

NAMES: Final = ("place", "task", "kind", "blob")
DDL: Final = "place bigint, task bigint, kind bigint, blob binary"
"""The columns of all frames of the engine."""

OWN: Final = 0
"""Rows that belong to the task and ask for features."""
PAST: Final = 1
"""Rows of another task, earlier than its own: they are looked back on, and leave with nobody."""
QUIET: Final = 2
"""Rows that belong to the task and do not ask: what others look back on."""
FACTS: Final = 3
"""What a task has found out, for the driver."""
ERROR: Final = 4
_ALIGNED: Final = 64
"""Bytes: whatever begins in a blob begins where processors read best."""
_LENGTH: Final = 8
"""Bytes at the end of a blob that say where its description begins."""


Blob = bytes | pa.Buffer
"""A value of the engine; read where it lies, for fresh memory costs more than most of the work."""


@dataclass(frozen=True)
class BlobRow:
    """One row of the engine: a frame, or something else as bytes, and the task that it is for."""

    task: int
    kind: int
    blob: Blob
    place: int = 0


def to_blob(frame: pl.DataFrame, rows: Array | None = None) -> pa.Buffer:
    """Return rows of a frame as bytes that hold no more than their own; they are written once, into fresh memory.

    Columns of numbers and times lie in it as in Arrow's arrays, all others as an Arrow stream.

    Parameters
    ----------
    rows
        Positions, rising; None for all rows.
    """
    height = frame.height if rows is None else len(rows)
    plain = [column for column in map(_Plain.of, frame.get_columns()) if column is not None]
    rest = frame.drop(column.name for column in plain)
    stream = _stream(rest if rows is None else rest[pl.Series(rows)])
    places = np.cumsum([0, *(_room(size) for column in plain for size in column.sizes(height)), _room(stream.nbytes)])
    at = places.tolist()
    marks = [(c.name, c.type, c.n_nulls, *at[2 * i : 2 * i + 2]) for i, c in enumerate(plain)]
    head = pickle.dumps((height, frame.columns, marks, at[-2], at[-2] + stream.nbytes))
    found = pa.allocate_buffer(_room(at[-1] + len(head) + _LENGTH))
    room, cuts = np.frombuffer(memoryview(found), np.uint8), _Cuts(rows)
    for column, begin, bits in zip(plain, at[::2], at[1::2], strict=False):
        column.write(cuts, room[begin:], room[bits:], height)
    room[at[-2] : at[-2] + stream.nbytes] = np.frombuffer(stream, np.uint8)
    room[at[-1] : at[-1] + len(head)] = np.frombuffer(head, np.uint8)
    room[-_LENGTH:] = np.frombuffer(at[-1].to_bytes(_LENGTH, "little"), np.uint8)
    return found


def from_blob(blob: Blob) -> pl.DataFrame:
    """Return the frame that `to_blob` wrote; it lies in the memory of the blob."""
    held = pa.py_buffer(blob)
    start = int.from_bytes(held[held.size - _LENGTH :], "little")
    height, names, marks, begin, end = pickle.loads(held[start:])  # noqa: S301 - of a task of this command
    found = pl.read_ipc_stream(io.BytesIO(held[begin:end]))
    for name, kind, n_nulls, values, bits in marks:
        parts = [held[bits:] if n_nulls else None, held[values:]]
        column = pl.Series(name, pa.Array.from_buffers(kind, height, parts, null_count=-1 if n_nulls else 0))
        found = found.with_columns(column) if found.width else pl.DataFrame([column])
    return found.select(names)


def _stream(frame: pl.DataFrame) -> memoryview:
    """Return columns as Polars writes and reads them: PyArrow damages some lists of structs."""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return out.getbuffer()


def _room(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


class _Cuts:
    """Positions of rows by the chunks of a column, worked out once for all columns that are cut alike."""

    def __init__(self, rows: Array | None) -> None:
        self.rows = rows
        self.known: dict[tuple[int, ...], list[tuple[int, Array]]] = {}

    def take(self, chunks: Sequence[Array], out: Array) -> None:
        """Write the rows of a column to ``out``."""
        if self.rows is None:
            np.concatenate(chunks, out=out)
            return
        for chunk, (start, rows) in zip(chunks, self._of(self.rows, tuple(map(len, chunks))), strict=True):
            np.take(chunk, rows, out=out[start : start + len(rows)], mode="clip")

    def _of(self, rows: Array, sizes: tuple[int, ...]) -> list[tuple[int, Array]]:
        if sizes not in self.known:
            edges = np.cumsum([0, *sizes])
            at = np.searchsorted(rows, edges).tolist()
            self.known[sizes] = [(at[i], rows[at[i] : at[i + 1]] - edges[i]) for i in range(len(sizes))]
        return self.known[sizes]


@dataclass(frozen=True)
class _Plain:
    """A column of values of a fixed number of bytes, as Arrow holds it, in chunks."""

    name: str
    type: pa.DataType
    chunks: Sequence[pa.Array]
    n_nulls: int

    @classmethod
    def of(cls, series: pl.Series) -> _Plain | None:
        """Return a column as its chunks; None if its values are no fixed number of bytes."""
        if not (series.dtype.is_numeric() or series.dtype.is_temporal()) or series.dtype.is_decimal():
            return None
        column = series.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).column(0)
        return cls(series.name, column.type, column.chunks, column.null_count)

    def sizes(self, height: int) -> tuple[int, int]:
        """Return how many bytes values and marks of nulls take."""
        return height * self.type.bit_width // 8, (height + 7) // 8 if self.n_nulls else 0

    def write(self, cuts: _Cuts, values: Array, bits: Array, height: int) -> None:
        """Write rows, and which of them are there."""
        kind, (size, n_bits) = np.dtype(f"u{self.type.bit_width // 8}"), self.sizes(height)
        raw = [np.frombuffer(part.buffers()[1], kind)[part.offset :][: len(part)] for part in self.chunks]
        cuts.take(raw, values[:size].view(kind))
        if n_bits:
            there = np.empty(height, np.uint8)
            cuts.take([_there(part) for part in self.chunks], there)
            bits[:n_bits] = np.packbits(there, bitorder="little")


def _there(part: pa.Array) -> Array:
    """Return which values of an array are not null, as bytes."""
    held = part.buffers()[0]
    if held is None:
        return np.ones(len(part), np.uint8)
    return np.unpackbits(np.frombuffer(held, np.uint8), bitorder="little")[part.offset :][: len(part)]


def facts_row(found: object) -> BlobRow:
    """Return what a task has found out as a row."""
    return BlobRow(0, FACTS, pickle.dumps(found))


def facts_of(row: BlobRow) -> Any:
    """Return what `facts_row` wrote; it comes from a task of this command."""
    return pickle.loads(row.blob)  # noqa: S301


def error_row(error: FraudctlError) -> BlobRow:
    """Return a mistake of the user's as a row."""
    return BlobRow(0, ERROR, pickle.dumps((type(error), error.message, error.hint)))


def raise_error(row: BlobRow) -> None:
    """Raise the error that a row holds, if it holds one."""
    if row.kind == ERROR:
        kind, message, hint = pickle.loads(row.blob)  # noqa: S301
        raise kind(message, hint=hint)


def to_batch(row: BlobRow) -> pa.RecordBatch:
    """Return a row as the engine takes it."""
    numbers = [pa.array([value], pa.int64()) for value in (row.place, row.task, row.kind)]
    ends = pa.py_buffer(np.array([0, len(row.blob)], np.int32))
    blob = pa.Array.from_buffers(pa.binary(), 1, [None, ends, pa.py_buffer(row.blob)])
    return pa.RecordBatch.from_arrays([*numbers, blob], list(NAMES))


def from_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[BlobRow]:
    """Return the rows of the engine's batches."""
    for batch in batches:
        place, task, kind = (batch.column(at).to_pylist() for at in range(3))
        for at, blob in enumerate(_values(batch.column(3))):
            yield BlobRow(task[at], kind[at], blob, place[at])


def _values(column: pa.Array) -> Iterator[Blob]:
    """Return the values of a binary column where they lie; PyArrow's own scalars are copies."""
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        yield from column.to_pylist()
        return
    _, ends, held = column.buffers()
    kind = np.int32 if pa.types.is_binary(column.type) else np.int64
    edges = np.frombuffer(ends, kind)[column.offset :][: len(column) + 1].tolist()
    for start, stop in itertools.pairwise(edges):
        yield held[start:stop] if held is not None else b""
