"""Events that are larger than memory: normalised as `tables` does, in files in the order of time.

Owns the way from raw files to chunk files, whatever the order of the raw rows, and from a table that comes piece
by piece to one Parquet file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import WordArray
from fraudctl.data import outputs, tables, typed
from fraudctl.disk.batches import read_batch, write_batches
from fraudctl.errors import DataError
from fraudctl.project import Project
from fraudctl.text.plain import shown

Told = Callable[[str, int, int], None]
"""Hears what is done with the rows, how many of them that is done to, and how many there are."""
_FAN: Final = 128
"""Chunks that are cut and joined at once."""
_HASHES: Final = 64
"""Hashes that take as little memory as a row of a chunk, at least."""


@dataclass(frozen=True)
class Chunks:
    """Events on disk: Arrow files with the columns of `tables.Events`, one after the other in the order of time."""

    files: list[Path]
    heights: list[int]
    known_until: datetime
    n_duplicates: int


@dataclass(frozen=True)
class _Span:
    """A written chunk, its rows, its first and last (time, id), in that order."""

    file: Path
    height: int
    first: tuple[datetime, Any]
    last: tuple[datetime, Any]

    @classmethod
    def of(cls, frame: pl.DataFrame, file: Path) -> _Span:
        """Write events, which are in order, and describe them."""
        frame.write_ipc(file, compression="uncompressed")
        keys = frame.select("event_time", "event_id")
        return cls(file, frame.height, keys.row(0), keys.row(-1))


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


def spill_events(
    project: Project, *, columns: Collection[str], folder: Path, rows: int, entries: pl.DataFrame | None = None,
    tell: Told = _silent,
) -> Chunks:  # fmt: skip
    """Write the project's events to chunk files of about ``rows`` rows in ``folder``.

    Parameters
    ----------
    entries
        What `fraudctl.data.entries.load_entries` returns, where labels are in tables of their own: label and label_time
        are then those after the last change.
    tell
        Hears how far each way through the rows is.

    Raises
    ------
    DataError
        As `tables.load_events` does.
    """
    files = tables.event_files(project)
    raw = tables.scan(files, form=tables.form_of(project))
    wanted = list(dict.fromkeys(tables.wanted_columns(project, columns)))
    tables.require_columns(wanted, raw.collect_schema(), where=tables.place(files))
    total = int(tables.collect(raw.select(pl.len()), files=files).item())
    spans, rising = _first_pass(
        raw.select(wanted), project, columns, files, folder, rows, entries, lambda done: tell("rows read", done, total)
    )
    if not spans:
        msg = f"{tables.place(files)}: the table has no rows"
        raise DataError(msg)
    n_duplicates = 0
    spans = _by_time(spans, folder, rows, lambda done: tell("rows put in order", done, total))
    paths = [span.file for span in spans]
    if not rising:
        n_duplicates = _drop_repeated(spans, raw, project, files, rows, lambda done: tell("ids compared", done, total))
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
    tell: Callable[[int], None],
) -> tuple[list[_Span], bool]:
    """Write chunks in the order of the files, each sorted; say whether ids rise from row to row throughout."""
    spans: list[_Span] = []
    rising, last_id, done = True, None, 0
    with tables.explained(files):
        for batch in raw.collect_batches(chunk_size=rows, maintain_order=True):
            ids = batch[project.data.event_id]
            tables.refuse_empty_ids(ids, where=f"column {shown(project.data.event_id)}")
            frame = tables.with_roles(batch, project, columns, part=True, entries=entries)
            rising = rising and tables.rising(frame["event_id"]) and (last_id is None or last_id < frame["event_id"][0])
            last_id = frame["event_id"][-1]
            frame = tables.in_order(frame)
            tables.check_label_times(frame)
            spans.append(_Span.of(frame, folder / f"raw{len(spans)}.arrow"))
            done += frame.height
            tell(done)
    return spans, rising


def _by_time(spans: Sequence[_Span], folder: Path, rows: int, tell: Callable[[int], None]) -> list[_Span]:
    """Return chunks in the order of time, none of which begins before another ends; equal rows lie in one chunk.

    Chunks that overlap are cut at the same times and joined again, each run of them for itself, so that rows which are
    nearly in order are hardly touched. Of a long run, some chunks at a time are first put in order among themselves:
    then each of the others meets few of them.
    """
    out: list[_Span] = []
    done = 0

    def joined(chunks: Sequence[_Span], name: str) -> list[_Span]:
        if len(chunks) > _FAN:
            parts = [chunks[start : start + _FAN] for start in range(0, len(chunks), _FAN)]
            chunks = [span for k, part in enumerate(parts) for span in joined(part, f"{name}.{k}")]
        return _joined(chunks, folder, name, rows, lambda: tell(done))

    for number, run in enumerate(_runs(spans)):
        out += run if len(run) == 1 else joined(run, f"sorted{number}")
        done += sum(span.height for span in run)
        tell(done)
    return out


def _runs(spans: Iterable[_Span]) -> list[list[_Span]]:
    """Part chunks into runs, in the order of time, of which none begins before another ends."""
    runs: list[list[_Span]] = []
    last: tuple[datetime, Any] | None = None
    for span in sorted(spans, key=lambda item: item.first):
        if last is None or span.first > last:
            runs.append([])
        runs[-1].append(span)
        last = span.last if last is None else max(last, span.last)
    return runs


def _joined(spans: Sequence[_Span], folder: Path, name: str, rows: int, tell: Callable[[], None]) -> list[_Span]:
    """Cut chunks at the same times, and join what lies between two of them to chunks of about ``rows`` rows.

    Rows without a time are cut by their ids.
    """
    key = "event_id" if spans[0].first[0] is None else "event_time"
    times = pl.concat([_read(span.file, [key])[key].gather_every(100) for span in spans]).sort()
    n_chunks = max(1, sum(span.height for span in spans) // rows)
    edges = times.gather([len(times) * i // n_chunks for i in range(1, n_chunks)]).unique().sort()
    pieces: list[list[tuple[Path, int]]] = [[] for _ in range(len(edges) + 1)]
    for k, span in enumerate(spans):
        frame, cut = _read(span.file), folder / f"{name}-cut{k}.arrow"
        ends = [*frame[key].search_sorted(edges, side="left").to_list(), frame.height]
        sizes = np.diff(ends, prepend=0)
        held = np.flatnonzero(sizes)
        write_batches(cut, frame, sizes[held].tolist())
        for number, i in enumerate(held.tolist()):
            pieces[i].append((cut, number))
        del frame
        span.file.unlink()
        tell()
    out = []
    for i, found in enumerate(pieces):
        if found:
            frame = tables.in_order(pl.concat([read_batch(*piece) for piece in found]))
            out.append(_Span.of(frame, folder / f"{name}-{i}.arrow"))
            tell()
    for cut in {cut for found in pieces for cut, _ in found}:
        cut.unlink()
    return out


def _drop_repeated(
    spans: Sequence[_Span], raw: pl.LazyFrame, project: Project, files: list[str], rows: int,
    tell: Callable[[int], None],
) -> int:  # fmt: skip
    """Drop rows that repeat another; equal times lie in one chunk."""
    names = _repeated_ids(spans, rows, tell)
    if names.is_empty():
        return 0
    _refuse_differing(raw, names, project.data.event_id, files, rows, tell)
    dropped, done = 0, 0
    for span in spans:
        done += span.height
        tell(done)
        if not _read(span.file, ["event_id"])["event_id"].is_in(names.implode()).any():
            continue
        frame = _read(span.file)
        unique = frame.unique(subset=["event_id"], keep="first", maintain_order=True)
        if unique.height < frame.height:
            dropped += frame.height - unique.height
            unique.write_ipc(span.file, compression="uncompressed")
    return dropped


def _refuse_differing(
    raw: pl.LazyFrame, names: pl.Series, event_id: str, files: list[str], rows: int, tell: Callable[[int], None]
) -> None:
    """Do what `tables.refuse_differing` does, some rows at a time."""
    wanted, found, done = tables.has_id(event_id, names), [], 0
    with tables.explained(files):
        for batch in raw.collect_batches(chunk_size=rows, maintain_order=True):
            found.append(batch.filter(wanted))
            done += batch.height
            tell(done)
    tables.refuse_differing_rows(pl.concat(found), event_id)


def _repeated_ids(spans: Sequence[_Span], rows: int, tell: Callable[[int], None]) -> pl.Series:
    """Return the ids that stand in more than one row, each once.

    The hashes of all ids are written beside the chunks, and compared a share of them at a time; where two are equal,
    the ids themselves are.
    """
    shares = max(1, sum(span.height for span in spans) // (_HASHES * rows))
    done = 0
    for span in spans:
        np.save(_hashes_of(span), _read(span.file, ["event_id"])["event_id"].hash(seed=2).to_numpy())
        done += span.height
        tell(done)
    twice = []
    for share in range(shares):
        own = pl.Series(np.concatenate([_share(np.load(_hashes_of(span)), share, shares) for span in spans]))
        twice.append(own.filter(own.is_duplicated()).unique())
        tell(done)
    alike = pl.concat(twice)
    ids = []
    for span in spans:
        if not alike.is_empty():
            column = _read(span.file, ["event_id"])["event_id"]
            ids.append(column.filter(pl.Series(np.load(_hashes_of(span))).is_in(alike.implode())))
        _hashes_of(span).unlink()
    found = pl.concat(ids) if ids else pl.Series("event_id", [], pl.String)
    return found.filter(found.is_duplicated()).unique()


def _hashes_of(span: _Span) -> Path:
    return span.file.with_suffix(".npy")


def _share(hashes: WordArray, share: int, shares: int) -> WordArray:
    own: WordArray = hashes[hashes % np.uint64(shares) == share]
    return own


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
