"""The rows of a cluster's engine: a few large values (`fraudctl.cluster.packed`), never events.

Owns the four columns that the engine sees. Polars splits, joins and sorts; the engine brings the bytes of one task
together, by ``place``. A mistake in the data travels as a row too, so that it ends the command with its own words.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
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

Blob = bytes | pa.Buffer
"""A value of the engine; read where it lies, for fresh memory costs more than most of the work."""


@dataclass(frozen=True)
class BlobRow:
    """One row of the engine: a frame, or something else as bytes, and the task that it is for."""

    task: int
    kind: int
    blob: Blob
    place: int = 0


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
