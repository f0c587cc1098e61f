"""Frames as bytes: what a cluster's engine moves are a few large values, never rows.

Owns the four columns that the engine sees. Polars splits, joins and sorts; the engine brings the bytes of one task
together, by ``place``. A mistake in the data travels as a row too, so that it ends the command with its own words.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow as pa

from fraudctl.errors import FraudctlError

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


@dataclass(frozen=True)
class BlobRow:
    """One row of the engine: a frame, or something else as bytes, and the task that it is for."""

    task: int
    kind: int
    blob: bytes
    place: int = 0


def to_blob(frame: pl.DataFrame) -> bytes:
    """Return a frame as an Arrow stream; text is copied, so that a slice holds no more than its own."""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return out.getvalue()


def from_blob(blob: bytes) -> pl.DataFrame:
    """Return the frame that `to_blob` wrote."""
    return pl.read_ipc_stream(io.BytesIO(blob))


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
    return pa.RecordBatch.from_arrays([*numbers, pa.array([row.blob], pa.binary())], list(NAMES))


def from_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[BlobRow]:
    """Return the rows of the engine's batches."""
    for batch in batches:
        place, task, kind = (batch.column(at).to_pylist() for at in range(3))
        for at, number in enumerate(task):
            yield BlobRow(number, kind[at], batch.column(3)[at].as_py(), place[at])
