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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl import files
from fraudctl.documents import DocumentError, seal, unseal
from fraudctl.outputs import whole_file

_BLOCK: Final = 1 << 20
_NUMBERED: Final = re.compile(r"(\d{12})(?:-([0-9a-f]{16}))?\.parquet")
"""Name of a numbered table; earlier versions wrote no digest into it."""
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
        hashes = pl.Series(blocks).hash(seed=0).to_numpy().tobytes()
        del blocks, buffers
    return hashes


def facts_place(path: Path) -> Path:
    """Return the file that vouches for a kept file."""
    return path.with_suffix(".json")


def keep(path: Path, *, write: Callable[[Path], object], facts: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
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
        "facts": facts, "size": found.st_size, "written": [found.st_ino, found.st_mtime_ns], "end": _end_hash(path),
        "content": content_hash(path), "polars": pl.__version__,
    }  # fmt: skip
    with whole_file(facts_place(path), durable=False) as temporary:
        files.write_bytes(temporary, seal(document))


def verified(path: Path) -> dict[str, Any] | None:
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
    facts: dict[str, Any] = document["facts"]
    return facts


def unchanged(path: Path) -> dict[str, Any] | None:
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
    facts: dict[str, Any] = document["facts"]
    return facts


def _end_hash(path: Path) -> str:
    """Return the SHA-256 of the end of a file, where a Parquet file says what is in it."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _END))
        return hashlib.sha256(file.read()).hexdigest()


def _damaged(path: Path) -> DamagedError:
    return DamagedError(f"{path} is not what was written")


def _document(path: Path) -> dict[str, Any] | None:
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
    content = io.BytesIO()
    frame.write_parquet(content, compression="zstd", row_group_size=row_group, statistics=True)
    path = folder / f"{number:012d}-{_digest(content.getbuffer())}.parquet"
    with whole_file(path, mode=mode) as temporary:
        files.write_bytes(temporary, content.getbuffer())
    for other in folder.glob(f"{number:012d}*.parquet"):
        if other != path and _NUMBERED.fullmatch(other.name):
            other.unlink(missing_ok=True)
    return path


def numbered(folder: Path) -> dict[int, Path]:
    """Return the numbered tables in a folder, by number."""
    found = ((_NUMBERED.fullmatch(path.name), path) for path in sorted(folder.glob("*.parquet")))
    return {int(match[1]): path for match, path in found if match is not None}


def require_undamaged(path: Path) -> None:
    """Check a table whose name holds its digest, before it is parsed; other names say nothing.

    Raises
    ------
    DamagedError
        The content is not what was written under this name.
    """
    named = _NUMBERED.fullmatch(path.name)
    if named is None or named[2] is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named[2]):
        raise _damaged(path)


def _digest(content: memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
