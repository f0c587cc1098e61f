"""Snapshots of a state: named parts in one file, verified before any of them is used, large ones mapped where they lie.

A file of format 4 is a line with the format, a line of JSON with name, bytes and kind of each part and the place in the
log up to which it goes, the parts, and a SHA-256 of all before the parts and of the XXH3-128 of each block of them.
Parts of a megabyte begin at multiples of `mapped.PAGE`; what lies between parts is zeros. A hash that runs as fast as
memory is read is enough here: it finds torn, rotten and mixed files, and whoever could change a file on purpose could
write its SHA-256 as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from fraudctl.disk.files import Folder
from fraudctl.disk.mapped import PAGE, mapped
from fraudctl.errors import BundleError
from fraudctl.scoring.log import Position

Part = bytes | npt.NDArray[np.int64]
"""A part of a snapshot: bytes, or an array of words, which is written and read without a copy."""
Told = Callable[[int, int], None]
"""Is told how many bytes were verified, of all."""
Entry = tuple[str, int, str]
"""A part in a head: its name, bytes, and whether it is bytes or words."""


_SNAPSHOT: Final = b"fraudctl state 4\n"
_BLOCK: Final = 8 << 20
"""Bytes of a part that have a digest of their own: blocks are verified side by side."""
_CHUNK: Final = 1 << 20
"""Bytes that are read and hashed at a time, while the processor's cache still holds them."""
_LARGE: Final = 1 << 20
"""Bytes of a part that is mapped, not read."""
_MOST_THREADS: Final = 4
_SHA: Final = 32
_LARGEST_HEAD: Final = 1 << 16
BUILD: Final = "build the state again from history: `fraudctl state build --force`"


def snapshot_name(number: int) -> str:
    """Return the name of a snapshot."""
    return f"snapshot-{number:012d}.bin"


def snapshot_path(folder: Path, number: int) -> Path:
    """Return the place of a snapshot."""
    return folder / snapshot_name(number)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: its parts, and the place in the log up to which it goes."""

    parts: dict[str, Part]
    position: Position


def bytes_of(parts: Mapping[str, Part], name: str) -> bytes:
    """Return a part that is bytes.

    Raises
    ------
    BundleError
        There is none of that name.
    """
    found = parts.get(name)
    if not isinstance(found, bytes):
        msg = f"the state has no part {name!r}"
        raise BundleError(msg, hint=f"use the version that wrote it, or {BUILD}")
    return found


def write_snapshot(files: Folder, number: int, parts: Mapping[str, Part], position: Position) -> None:
    """Write a snapshot whole or not at all, flushed to the disk before it has its name.

    Parameters
    ----------
    parts
        Bytes and arrays of words, which are written from where they lie.
    position
        Up to where in the log it goes: segment ``number`` starts there.
    """
    entries = [(name, len(view), _kind(part)) for name, part in parts.items() for view in [_view(part)]]
    head = json.dumps({"parts": entries, "sequence": position.sequence, "chain": position.chain.hex()}).encode() + b"\n"
    begin = len(_SNAPSHOT) + len(head)
    digest = hashlib.sha256()

    def content() -> Iterator[bytes | memoryview]:
        end = begin
        for part in (_SNAPSHOT, head):
            digest.update(part)
            yield part
        for at, view in zip(_places(begin, entries), map(_view, parts.values()), strict=True):
            yield bytes(at - end)
            for start, stop in _ranges(len(view), _BLOCK):
                block = xxhash.xxh3_128()
                for first, last in _ranges(stop - start, _CHUNK):
                    chunk = view[start + first : start + last]
                    block.update(chunk)
                    yield chunk
                digest.update(block.digest())
            end = at + len(view)
        yield digest.digest()

    name = snapshot_name(number)
    os.close(files.prepare(name, content()))
    files.publish(name)
    files.flush()


def _kind(part: Part) -> str:
    return "bytes" if isinstance(part, bytes) else "words"


def _view(part: Part) -> memoryview:
    """Return the bytes of a part, little end first, where they lie."""
    if isinstance(part, bytes):
        return memoryview(part)
    return part.astype("<i8", copy=False).reshape(-1).view(np.uint8).data


def _places(begin: int, entries: Sequence[Entry]) -> list[int]:
    """Return where the parts of a file of format 4 begin: large ones at pages, all others at words."""
    places, end = list[int](), begin
    for _, length, _ in entries:
        unit = PAGE if length >= _LARGE else 8
        places.append(-(-end // unit) * unit)
        end = places[-1] + length
    return places


def _ranges(length: int, size: int) -> list[tuple[int, int]]:
    """Return begin and end of the pieces of so many bytes."""
    return [(at, min(at + size, length)) for at in range(0, length, size)]


def read_snapshot(folder: Path, number: int, tell: Told | None = None) -> Snapshot:
    """Read a snapshot after verifying all of it: large parts are mapped, others read to the memory where they stay.

    Raises
    ------
    BundleError
        It is missing, damaged or of another version.
    """
    path = snapshot_path(folder, number)
    try:
        with path.open("rb", buffering=0) as file:
            head = _head_of(path, file)
            return Snapshot(_read(path, file, head, tell or (lambda _done, _all: None)), head.position)
    except OSError as error:
        raise missing(path, error) from error


def _read(path: Path, file: FileIO, head: _SnapshotHead, tell: Told) -> dict[str, Part]:
    handle, digest = file.fileno(), hashlib.sha256(head.content)
    words, blocks, end = dict[str, npt.NDArray[np.int64]](), list[tuple[int, memoryview, bool]](), head.begin
    for at, (name, length, kind) in zip(head.places, head.entries, strict=True):
        if os.pread(handle, at - end, end).strip(b"\0"):
            raise _changed(path)
        there = mapped(handle, at, length) if kind == "words" and length >= _LARGE else None
        words[name] = np.empty(-(-length // 8), "<i8") if there is None else there
        view, end = _view(words[name])[:length], at + length
        blocks += [(at + start, view[start:stop], there is None) for start, stop in _ranges(length, _BLOCK)]
    for block in _digests(path, handle, blocks, tell):
        digest.update(block)
    if os.pread(handle, _SHA, end) != digest.digest():
        raise _changed(path)
    return {
        name: bytes(_view(words[name])[:length]) if kind == "bytes" else words[name].astype(np.int64, copy=False)
        for name, length, kind in head.entries
    }


def _digests(path: Path, handle: int, blocks: Sequence[tuple[int, memoryview, bool]], tell: Told) -> Iterator[bytes]:
    """Give the digest of each block in turn: its place in the file, its memory, and whether that has to be filled."""
    done, total = 0, sum(len(view) for _, view, _ in blocks)

    def digest(block: tuple[int, memoryview, bool]) -> bytes:
        at, view, empty = block
        if not empty:
            _read_ahead(handle, at + len(view))
            return xxhash.xxh3_128_digest(view)
        found = xxhash.xxh3_128()
        _fill(path, handle, at, view, found)
        return found.digest()

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        parallel = total > _MOST_THREADS * _BLOCK
        for (_, view, _), found in zip(blocks, (pool.map if parallel else map)(digest, blocks), strict=True):
            done += len(view)
            tell(done, total)
            yield found


def _read_ahead(handle: int, at: int) -> None:
    """Let the system read the next block of a file while this one is verified, where it can."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, at, _BLOCK, os.POSIX_FADV_WILLNEED)


def _fill(path: Path, handle: int, at: int, into: memoryview, digest: xxhash.xxh3_128) -> None:
    """Read the bytes at a place of a file to where they stay, and add them to a digest."""
    done = 0
    while done < len(into):
        n = os.preadv(handle, [into[done : done + _CHUNK]], at + done)
        if not n:
            raise _changed(path)
        digest.update(into[done : done + n])
        done += n


def _changed(path: Path) -> BundleError:
    return BundleError(f"{path} was changed: it does not have the checksum that stands in it", hint=BUILD)


def missing(path: Path, error: OSError) -> BundleError:
    """Return the error of a file of a state that cannot be read."""
    msg = f"{path} is missing or unreadable ({error.strerror})"
    return BundleError(msg, hint=f"the state is incomplete: {BUILD}")


def read_part(folder: Path, number: int, name: str) -> Snapshot:
    """Read one part of a snapshot and nothing else of it: its content is not verified, for that takes all of it.

    Raises
    ------
    BundleError
        The snapshot is missing, incomplete or of another version, or has no part of that name.
    """
    path = snapshot_path(folder, number)
    try:
        with path.open("rb", buffering=0) as file:
            head = _head_of(path, file)
            for at, (found, length, _) in zip(head.places, head.entries, strict=True):
                if found == name:
                    return Snapshot({name: os.pread(file.fileno(), length, at)}, head.position)
    except OSError as error:
        raise missing(path, error) from error
    return Snapshot({}, head.position)


def read_snapshot_position(folder: Path, number: int) -> Position:
    """Return up to where in the log a snapshot goes, from its head; the rest is checked when it is read.

    Raises
    ------
    BundleError
        It is missing, of another version, or its head is damaged.
    """
    path = snapshot_path(folder, number)
    try:
        with path.open("rb", buffering=0) as file:
            return _parsed_head(path, file.read(_LARGEST_HEAD)).position
    except OSError as error:
        raise missing(path, error) from error


@dataclass(frozen=True)
class _SnapshotHead:
    """What a snapshot says of itself: the bytes before its parts, what these are and where they begin."""

    content: bytes
    entries: list[Entry]
    places: list[int]
    position: Position

    @property
    def begin(self) -> int:
        """Where parts may begin."""
        return len(self.content)

    @property
    def end(self) -> int:
        """Where the last part ends."""
        return self.places[-1] + self.entries[-1][1] if self.entries else self.begin


def _head_of(path: Path, file: FileIO) -> _SnapshotHead:
    """Read the head of a file, which has to be as long as that says."""
    head = _parsed_head(path, file.read(_LARGEST_HEAD))
    if head.end + _SHA != os.fstat(file.fileno()).st_size:
        raise _changed(path)
    return head


def _parsed_head(path: Path, content: bytes) -> _SnapshotHead:
    end = content.find(b"\n", len(_SNAPSHOT)) + 1
    if not content.startswith(_SNAPSHOT):
        msg = f"{path} is not a state that this version of fraudctl can read"
        raise BundleError(msg, hint=f"use the version that wrote it, or {BUILD}")
    try:
        about = json.loads(content[len(_SNAPSHOT) : end])
        position = Position(int(about["sequence"]), bytes.fromhex(about["chain"]))
        entries = _entries(about["parts"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} was changed: its head cannot be read"
        raise BundleError(msg, hint=BUILD) from error
    return _SnapshotHead(content[:end], entries, _places(end, entries), position)


def _entries(found: Any) -> list[Entry]:
    """Return the list of parts in a head."""
    entries = [(str(name), int(size), str(kind)) for name, size, kind in found]
    if any(size < 0 or kind not in {"bytes", "words"} or (kind == "words" and size % 8) for _, size, kind in entries):
        msg = "no such part"
        raise ValueError(msg)
    return entries
