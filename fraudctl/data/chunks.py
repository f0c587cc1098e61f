"""Events that are larger than memory: normalised as `tables` does, in files in the order of time.

Owns the way from raw files to chunk files, whatever the order of the raw rows, and from a table that comes piece
by piece to one Parquet file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from fraudctl.data import outputs, tables, typed
from fraudctl.errors import DataError
from fraudctl.project import Project
from fraudctl.text.plain import shown


@dataclass(frozen=True)
class Chunks:
    """Events on disk: Arrow files with the columns of `tables.Events`, one after the other in the order of time."""

    files: list[Path]
    heights: list[int]
    known_until: datetime
    n_duplicates: int


@dataclass(frozen=True)
class _Span:
    """A written chunk, its first and last (time, id), in that order."""

    file: Path
    first: tuple[datetime, object]
    last: tuple[datetime, object]


def spill_events(
    project: Project, *, columns: Collection[str], folder: Path, rows: int, entries: pl.DataFrame | None = None
) -> Chunks:
    """Write the project's events to chunk files of about ``rows`` rows in ``folder``.

    Parameters
    ----------
    entries
        What `fraudctl.data.entries.load_entries` returns, where labels are in tables of their own: label and label_time
        are then those after the last change.

    Raises
    ------
    DataError
        As `tables.load_events` does.
    """
    files = tables.event_files(project)
    raw = tables.scan(files, form=tables.form_of(project))
    wanted = list(dict.fromkeys(tables.wanted_columns(project, columns)))
    tables.require_columns(wanted, raw.collect_schema(), where=tables.place(files))
    spans, rising = _first_pass(raw.select(wanted), project, columns, files, folder, rows, entries)
    if not spans:
        msg = f"{tables.place(files)}: the table has no rows"
        raise DataError(msg)
    n_duplicates = 0
    paths = [span.file for span in spans]
    if any(a.last >= b.first for a, b in itertools.pairwise(spans)):
        paths = _by_time(paths, folder, rows)
    if not rising:
        n_duplicates = _drop_repeated(paths, raw, project, files, rows)
    heights = [_read(path, ["event_time"]).height for path in paths]
    if project.data.amount is not None and all(
        _read(path, ["amount"])["amount"].null_count() == n for path, n in zip(paths, heights, strict=True)
    ):
        typed.to_amount(_read(paths[0], ["amount"])["amount"].alias(project.data.amount))
    known_until = _read(paths[-1], ["event_time"])["event_time"][-1]
    return Chunks(paths, heights, known_until, n_duplicates)


def _first_pass(
    raw: pl.LazyFrame,
    project: Project,
    columns: Collection[str],
    files: list[str],
    folder: Path,
    rows: int,
    entries: pl.DataFrame | None,
) -> tuple[list[_Span], bool]:
    """Write chunks in the order of the files, each sorted; say whether ids rise from row to row throughout."""
    spans: list[_Span] = []
    rising, last_id = True, None
    with tables.explained(files):
        for batch in raw.collect_batches(chunk_size=rows, maintain_order=True):
            ids = batch[project.data.event_id]
            tables.refuse_empty_ids(ids, where=f"column {shown(project.data.event_id)}")
            frame = tables.with_roles(batch, project, columns, part=True, entries=entries)
            rising = rising and tables.rising(frame["event_id"]) and (last_id is None or last_id < frame["event_id"][0])
            last_id = frame["event_id"][-1]
            frame = tables.in_order(frame)
            tables.check_label_times(frame)
            path = folder / f"raw{len(spans)}.arrow"
            frame.write_ipc(path, compression="uncompressed")
            keys = frame.select("event_time", "event_id")
            spans.append(_Span(path, keys.row(0), keys.row(-1)))
    return spans, rising


def _by_time(paths: list[Path], folder: Path, rows: int) -> list[Path]:
    """Re-sort overlapping chunks: build each output chunk from all input rows in its time range."""
    times = pl.concat([_read(path, ["event_time"])["event_time"].gather_every(100) for path in paths]).sort()
    n_chunks = max(1, len(times) * 100 // rows)
    edges = [times[len(times) * i // n_chunks] for i in range(1, n_chunks)]
    out = []
    for i, (start, stop) in enumerate(zip([None, *edges], [*edges, None], strict=True)):
        parts = []
        for path in paths:
            frame = pl.scan_ipc(path)
            if start is not None:
                frame = frame.filter(pl.col("event_time") >= start)
            if stop is not None:
                frame = frame.filter(pl.col("event_time") < stop)
            parts.append(frame.collect())
        frame_of_time = pl.concat(parts)
        if frame_of_time.height:
            out.append(folder / f"sorted{i}.arrow")
            tables.in_order(frame_of_time).write_ipc(out[-1], compression="uncompressed")
    for path in paths:
        path.unlink()
    return out


def _drop_repeated(paths: list[Path], raw: pl.LazyFrame, project: Project, files: list[str], rows: int) -> int:
    """Drop rows that repeat another, looking at a share of the ids at a time; equal times lie in one chunk."""
    n_rows = sum(_read(path, ["event_time"]).height for path in paths)
    shares = max(1, n_rows // (4 * rows))
    repeated = []
    for share in range(shares):
        own = pl.col("event_id").hash(seed=2) % shares == share
        ids = pl.concat([pl.scan_ipc(path).select("event_id").filter(own).collect() for path in paths])["event_id"]
        repeated.append(ids.filter(ids.is_duplicated()).unique())
    names = pl.concat(repeated)
    if names.is_empty():
        return 0
    tables.refuse_differing(raw, names, project.data.event_id, files)
    dropped = 0
    for path in paths:
        frame = _read(path)
        unique = frame.unique(subset=["event_id"], keep="first", maintain_order=True)
        if unique.height < frame.height:
            dropped += frame.height - unique.height
            unique.write_ipc(path, compression="uncompressed")
    return dropped


def _read(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    return pl.read_ipc(path, columns=columns)


def write_chunks(
    pieces: Callable[[], Iterator[pl.DataFrame]], path: Path, *, durable: bool = True, rows: int = outputs.ROW_GROUP
) -> None:
    """Write a table that comes piece by piece, at least one, as one Parquet file, whole or not at all.

    A piece is encoded, by all processors, and written while the next one is put together.
    """
    from polars.io.plugins import register_io_source

    with outputs.whole_file(path, durable=durable) as temporary, ThreadPoolExecutor(1) as pool:
        found = pieces()
        first = next(found)

        def source(*_: object) -> Iterator[pl.DataFrame]:
            ready: pl.DataFrame | None = first
            while ready is not None:
                following = pool.submit(next, found, None)
                yield ready
                ready = following.result()

        register_io_source(source, schema=first.schema).sink_parquet(
            temporary,
            compression="zstd",
            compression_level=3,
            row_group_size=min(rows, outputs.ROW_GROUP),
            data_page_size=outputs.PAGE_BYTES,
            maintain_order=True,
        )
