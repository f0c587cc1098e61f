"""Arrow files of batches: written one after the other, read one at a time, so that little is in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa


def read_batch(path: Path, number: int, names: Sequence[str] | None = None) -> pl.DataFrame:
    """Return a batch of a file, or only some of its columns: no other is read."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        if names is not None and len(names) < len(reader.schema.names):
            wanted = [reader.schema.names.index(name) for name in names]
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=wanted))
        found = pl.DataFrame(pl.from_arrow(reader.get_batch(number)))
        return found if names is None else found.select(names)


class BatchWriter:
    """Writes frames as batches of one Arrow file, one for each call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sink: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> Callable[[pl.DataFrame], None]:
        return self.write

    def write(self, frame: pl.DataFrame) -> None:
        """Write one batch."""
        table = frame.rechunk().to_arrow()
        if self.sink is None:
            self.sink = pa.ipc.new_file(str(self.path), table.schema)
        batches = table.combine_chunks().to_batches()
        empty = pa.RecordBatch.from_pylist([], schema=table.schema)
        self.sink.write_batch(batches[0] if batches else empty)

    def __exit__(self, *_: object) -> None:
        if self.sink is not None:
            self.sink.close()


def write_batches(path: Path, frame: pl.DataFrame, sizes: Sequence[int]) -> None:
    """Write a frame as one Arrow file with a batch for each of the consecutive sizes."""
    with BatchWriter(path) as write:
        write_each(write, frame, sizes)


def write_each(write: Callable[[pl.DataFrame], None], frame: pl.DataFrame, sizes: Sequence[int]) -> None:
    """Write consecutive pieces of a frame as a batch each."""
    start = 0
    for size in sizes:
        write(frame.slice(start, size))
        start += size
