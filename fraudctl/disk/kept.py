"""Files that are computed once and read again: what is read is what was written, or it is computed again.

Every kept file has a sealed document next to it with its size, a hash of its content, and facts about it. The hash is
verified before the file is read. It is Polars' own hash of every block of a mebibyte (64 bits each, XXH3), and SHA-256
over these: some 6 GB/s on one core, a few hundredths of the time of reading a table (`benchmarks/bench_kept.py`). It
finds damage; it does not stop somebody who can write the folder.

Tables that are numbered and kept for years (answers and decisions of a state) carry the start of their SHA-256 in their
name instead, which no version of a library changes. A damaged table must not even be parsed: a flipped length can end
the process.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.data.outputs import whole_file
from fraudctl.disk import files
from fraudctl.documents.sealed import DocumentError, seal, unseal

_BLOCK: Final = 1 << 20
_NUMBERED: Final = re.compile(r"(\d{12})(?:-(\d{12}))?(?:-([0-9a-f]{16}))?\.parquet")
"""Name of a numbered table: its number, or the first and last of several; earlier versions wrote no digest into it."""
_MOST_MERGED: Final = 5_000
"""Rows of a table that numbered tables are merged into, at most."""
_END: Final = 1 << 16
"""Bytes at the end of a file that are looked at where the rest is not."""
_STRETCH: Final = 1 << 24
"""Bytes that one thread hashes at a time."""


class DamagedError(Exception):
    """A kept file that must not be used; the text names it and says why."""


def content_hash(path: Path) -> str:
    """Return a hash of a file's content; it is the same for one version of Polars."""
    digest = hashlib.sha256(f"polars {pl.__version__}\n".encode())
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                digest.update(_block_hashes(content, size))
    return digest.hexdigest()


def _block_hashes(content: mmap.mmap, size: int) -> bytes:
    """Return the hashes of all blocks, computed side by side."""
    if size <= _STRETCH:
        with memoryview(content) as view:
            return _hashes(view)
    starts = list(range(0, size, _STRETCH))
    with memoryview(content) as view, ThreadPoolExecutor(pl.thread_pool_size()) as pool:

        def hashes(start: int) -> bytes:
            found = _hashes(view[start : start + _STRETCH])
            content.madvise(mmap.MADV_DONTNEED, start, min(_STRETCH, size - start))  # the file is not kept in memory
            return found

        return b"".join(pool.map(hashes, starts))


def _hashes(view: memoryview) -> bytes:
    import pyarrow as pa

    with view:
        ends = np.append(np.arange(0, len(view), _BLOCK), len(view)).astype(np.int64)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(view)]
        blocks = pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, buffers)
        hashes = pl.Series(_Handed(blocks)).hash(seed=0).to_numpy().tobytes()
        del blocks, buffers
    return hashes


class _Handed:
    """An array that Polars takes over as it lies; one of PyArrow's type has it load PyArrow's computations first."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._array.__arrow_c_array__(requested_schema)


def facts_place(path: Path) -> Path:
    """Return the file that vouches for a kept file."""
    return path.with_suffix(".json")


def keep(path: Path, *, write: Callable[[Path], object], facts: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Write a file that is kept, then what vouches for it; return its facts.

    Until both are complete nothing vouches for the file, so that the next run computes it again.

    Parameters
    ----------
    write
        Writes the file whole.
    facts
        Called when the file is there.
    """
    facts_place(path).unlink(missing_ok=True)
    write(path)
    known = dict(facts())
    vouch(path, known)
    return known


def vouch(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts about a file that has just been written whole, and its hash: the last step of `keep`."""
    found = path.stat()
    document = {
        "facts": facts,
        "size": found.st_size,
        "written": [found.st_ino, found.st_mtime_ns],
        "end": _end_hash(path),
        "content": content_hash(path),
        "polars": pl.__version__,
    }
    with whole_file(facts_place(path), durable=False) as temporary:
        files.write_bytes(temporary, seal(document))


def verified(path: Path) -> Mapping[str, Any] | None:
    """Return the facts of a kept file after verifying all of its content; it may then be read.

    None is returned where nothing was kept, or another version of Polars kept it.

    Raises
    ------
    DamagedError
        The file or its facts are not what was written.
    """
    document = _document(path)
    if document is None or document["polars"] != pl.__version__:
        return None
    try:
        found = content_hash(path)
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if found != document["content"]:
        raise _damaged(path)
    facts: Mapping[str, Any] = document["facts"]
    return facts


def unchanged(path: Path) -> Mapping[str, Any] | None:
    """Return the facts of a kept file if it seems to be what was written; its content is not for reading yet.

    The file has the size, inode, time of writing and last `_END` bytes of when it was written; where one differs, all
    of its content is verified instead. What changes content and keeps all of these, such as a failing disk, is found by
    `verified`, which whoever reads the file calls.

    Raises
    ------
    DamagedError
        The file or its facts are not what was written.
    """
    document = _document(path)
    if document is None or document["polars"] != pl.__version__:
        return None
    found = path.stat()
    if document.get("written") != [found.st_ino, found.st_mtime_ns] or document.get("end") != _end_hash(path):
        return verified(path)
    facts: Mapping[str, Any] = document["facts"]
    return facts


def _end_hash(path: Path) -> str:
    """Return the SHA-256 of the end of a file, where a Parquet file says what is in it."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _END))
        return hashlib.sha256(file.read()).hexdigest()


def _damaged(path: Path) -> DamagedError:
    return DamagedError(f"{path} is not what was written")


def _document(path: Path) -> Mapping[str, Any] | None:
    place = facts_place(path)
    try:
        document = unseal(place.read_bytes())
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    except (OSError, DocumentError) as error:
        raise DamagedError(f"{place} {error}" if isinstance(error, DocumentError) else str(place)) from error
    if size != document.get("size") or not isinstance(document.get("facts"), dict):
        raise _damaged(path)
    return document


# ---------------------------------------------------------------- numbered tables


def write_numbered(frame: pl.DataFrame, folder: Path, number: int, *, row_group: int, mode: int = 0o644) -> Path:
    """Write a table whole, under a name with its number and digest; it replaces another of that number."""
    path = _write(frame, folder, f"{number:012d}", row_group=row_group, mode=mode)
    for other in folder.glob(f"{number:012d}*.parquet"):
        if other != path and _span(other) == (number, number):
            other.unlink(missing_ok=True)
    return path


def _write(frame: pl.DataFrame, folder: Path, name: str, *, row_group: int, mode: int) -> Path:
    content = io.BytesIO()
    frame.write_parquet(content, compression="zstd", row_group_size=row_group, statistics=True)
    path = folder / f"{name}-{_digest(content.getbuffer())}.parquet"
    with whole_file(path, mode=mode) as temporary:
        files.write_bytes(temporary, content.getbuffer())
    return path


def numbered(folder: Path) -> dict[int, Path]:
    """Return the numbered tables in a folder by number, merged ones by their last; none is part of another.

    A process that died while it merged leaves tables whose rows stand in the merged one; they are not among these.
    """
    found = {path: span for path in sorted(folder.glob("*.parquet")) if (span := _span(path)) is not None}
    return {span[1]: path for path, span in found.items() if not _is_part(span, found.values())}


def is_numbered(folder: Path, number: int) -> bool:
    """Return whether the table of a number is in a folder, by itself or merged with others."""
    spans = map(_span, folder.glob("*.parquet"))
    return any(span is not None and span[0] <= number <= span[1] for span in spans)


def numbers_in(path: Path) -> range:
    """Return the numbers that a numbered table holds; none for other names."""
    span = _span(path)
    return range(0) if span is None else range(span[0], span[1] + 1)


def merge_numbered(
    folder: Path,
    join: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
    *,
    row_group: int,
    mode: int = 0o644,
    merged: Callable[[Path], object] = lambda _: None,
) -> None:
    """Merge the newest numbered tables while they are small, so that many small ones become few.

    The newest is merged with the one before it where that has less than twice its rows: of n rows that come one by one
    there are log2 n tables, and each row is written log2 n times. Only one process at a time may merge in a folder. A
    table that is damaged, or written in another form, stays as it is.

    Parameters
    ----------
    join
        Makes one table of an older and a newer one.
    merged
        Called with each new table while those that it is made of are still there.
    """
    while True:
        tables = numbered(folder)
        _remove_parts(folder, set(tables.values()))
        pair = [tables[number] for number in sorted(tables)[-2:]]
        if len(pair) < 2 or not _worth_merging(*map(_n_rows, pair)):
            return
        old, new = map(_undamaged, pair)
        if old is None or new is None or old.schema != new.schema:
            return
        name = f"{numbers_in(pair[0])[0]:012d}-{numbers_in(pair[1])[-1]:012d}"
        merged(_write(join(old, new), folder, name, row_group=row_group, mode=mode))
        for path in pair:
            path.unlink(missing_ok=True)


def _worth_merging(old: int, new: int) -> bool:
    return 0 < old < 2 * new and old + new <= _MOST_MERGED


def _n_rows(path: Path) -> int:
    """Return the rows of a table by its end; 0 where it cannot be read."""
    try:
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return 0


def _undamaged(path: Path) -> pl.DataFrame | None:
    try:
        require_undamaged(path)
        return pl.read_parquet(path)
    except (DamagedError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


def _span(path: Path) -> tuple[int, int] | None:
    """Return the first and last number in the name of a table; None for other names."""
    match = _NUMBERED.fullmatch(path.name)
    return None if match is None else (int(match[1]), int(match[2] or match[1]))


def _is_part(span: tuple[int, int], spans: Iterable[tuple[int, int]]) -> bool:
    return any(first <= span[0] and span[1] <= last and (first, last) != span for first, last in spans)


def _remove_parts(folder: Path, whole: Collection[Path]) -> None:
    """Remove the tables whose rows stand in merged ones."""
    spans = [span for path in whole if (span := _span(path)) is not None]
    for path in folder.glob("*.parquet"):
        span = _span(path)
        if span is not None and path not in whole and _is_part(span, spans):
            path.unlink(missing_ok=True)


def require_undamaged(path: Path) -> None:
    """Check a table whose name holds its digest, before it is parsed; other names say nothing.

    Raises
    ------
    DamagedError
        The content is not what was written under this name.
    """
    named = _NUMBERED.fullmatch(path.name)
    if named is None or named[3] is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named[3]):
        raise _damaged(path)


def _digest(content: memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
