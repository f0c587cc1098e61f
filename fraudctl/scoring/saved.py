"""The files of a saved state: their names, snapshots, the note of what was acknowledged, and the locks.

Owns what stands in each file; `store.Store` owns the order in which they are written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fraudctl.disk.files import Folder, locked
from fraudctl.errors import BundleError, UsageError
from fraudctl.scoring.log import DIGEST, NO_DIGEST, Position, Segment, parse, salvage

Part = bytes | npt.NDArray[np.int64]
"""A part of a snapshot: bytes, or an array of words, which is written and read without a copy."""
_SNAPSHOT: Final = b"fraudctl state 3\n"
_SNAPSHOT_2: Final = b"fraudctl state 2\n"
_SNAPSHOT_1: Final = b"fraudctl state 1\n"
"""Of the formats before, whose parts are all bytes; 1 does not say up to where in the log it goes."""
_BLOCK: Final = 8 << 20
"""Bytes of a part that have a digest of their own: blocks are read and hashed side by side."""
_CHUNK: Final = 1 << 20
"""Bytes that are read and hashed at a time, while the processor's cache still holds them."""
_MOST_THREADS: Final = 4
_SHA: Final = 32
_LARGEST_HEAD: Final = 1 << 16
DECISIONS: Final = "decisions"
"""Folder in a state that gets what was decided, as Parquet."""
BUILD: Final = "build the state again from history: `fraudctl state build --force`"

# ---------------------------------------------------------------- names

MARK: Final = "acknowledged.bin"


def segment_name(number: int) -> str:
    """Return the name of a log segment."""
    return f"log-{number:012d}.bin"


def segment_path(folder: Path, number: int) -> Path:
    """Return the place of a log segment."""
    return folder / segment_name(number)


def snapshot_name(number: int) -> str:
    """Return the name of a snapshot."""
    return f"snapshot-{number:012d}.bin"


def snapshot_path(folder: Path, number: int) -> Path:
    """Return the place of a snapshot."""
    return folder / snapshot_name(number)


def numbers_of(names: Sequence[str], prefix: str) -> list[int]:
    """Return the numbers of the files with a prefix, sorted."""
    texts = [name.removeprefix(f"{prefix}-").removesuffix(".bin") for name in names if name.startswith(f"{prefix}-")]
    return sorted(int(text) for text in texts if text.isdigit())


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.bin")]


def segments(folder: Path) -> list[int]:
    """Return the numbers of the log segments in a folder, the newest last."""
    return numbers_of(_names(folder), "log")


def latest(folder: Path) -> int:
    """Return the number of the newest snapshot in a folder; 0 where there is none."""
    return max(numbers_of(_names(folder), "snapshot"), default=0)


def remove_covered(files: Folder, covered: int) -> None:
    """Remove the segments and snapshots that a snapshot has made needless."""
    names = files.names()
    for number in numbers_of(names, "log"):
        if number < covered:
            files.remove(segment_name(number))
    for number in numbers_of(names, "snapshot"):
        if number < covered:
            files.remove(snapshot_name(number))


def remove_unfinished(files: Folder) -> None:
    """Remove what was being written when a process died. Only whoever has the folder to itself may do so."""
    for name in files.names():
        if name.startswith(".") and name.endswith(".tmp"):
            files.remove(name)
    with contextlib.suppress(OSError):
        decisions = Folder(files.path / DECISIONS)
        try:
            for name in decisions.names():
                if name.startswith(".") and name.endswith(".tmp"):
                    decisions.remove(name)
        finally:
            decisions.close()


def compaction_lock(folder: Path, *, wait: bool = False) -> list[int] | None:
    """Take the right to bring the snapshot forward: a lock file and, should that be deleted, the snapshot itself.

    None means that another process has it.
    """
    first = locked(folder / "compacting", wait=wait)
    if first is None:
        return None
    held = [first]
    try:
        while number := latest(folder):
            with contextlib.suppress(FileNotFoundError):
                second = locked(snapshot_path(folder, number), wait=wait, create=False)
                if second is None:
                    break
                held.append(second)
                if latest(folder) == number:
                    return held
                os.close(held.pop())
        else:
            return held
    except BaseException:
        for handle in held:
            os.close(handle)
        raise
    os.close(first)
    return None


def closed_segments(folder: Path) -> tuple[int, list[int]]:
    """Return the number of the newest snapshot, and the segments after it that nothing is added to any more."""
    covered, found = latest(folder), segments(folder)
    return covered, [number for number in found if covered <= number < max(found, default=0)]


# ---------------------------------------------------------------- what was acknowledged

_SLOT: Final = struct.Struct("<QQ8s8s")
MARK_APART: Final = 512
"""The two slots lie in sectors of their own, and are written in turn: one of them is always whole."""
MARK_BYTES: Final = 2 * MARK_APART


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def _boot() -> bytes:
    """Return a name for the time since the system started: without a flush, a note holds no longer than that."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        text = b"unknown"
    return _digest(text)


_BOOT: Final = _boot()


@dataclass(frozen=True)
class Mark:
    """What was on the disk when the newest batch was begun.

    Attributes
    ----------
    segment
        Number of the newest segment.
    sequence
        That of the last record before the batch, which may have been answered.
    proof
        Whether that must still be so: not after the system was started again, without a flush.
    """

    segment: int
    sequence: int
    proof: bool


def mark_slot(segment: int, sequence: int, *, durable: bool) -> bytes:
    """Return the note that the records up to a sequence number were written (and flushed, if ``durable``)."""
    content = _SLOT.pack(segment, sequence, NO_DIGEST if durable else _BOOT, b"")[:-DIGEST]
    return content + _digest(content)


def read_marks(content: bytes) -> list[Mark]:
    """Return the notes of both slots; one that is not whole is left out."""
    found = []
    for at in (0, MARK_APART):
        if at + _SLOT.size <= len(content):
            segment, sequence, boot, digest = _SLOT.unpack_from(content, at)
            if _digest(content[at : at + _SLOT.size - DIGEST]) == digest:
                found.append(Mark(segment, sequence, boot in {NO_DIGEST, _BOOT}))
    return found


# ---------------------------------------------------------------- segments and snapshots


def read_segment(folder: Path, number: int, *, last: bool = False, after: Position | None = None) -> Segment:
    """Read a segment; where it is the ``last`` one, a torn batch at its end is left out.

    Raises
    ------
    BundleError
        The segment is missing, damaged, of another version, or does not follow what is before it.
    """
    path = segment_path(folder, number)
    return parse(_content(path), str(path), last=last, number=number, after=after)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _missing(path, error) from error


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

    It ends with a SHA-256 of its head and of the SHA-256 of each block of each part.

    Parameters
    ----------
    parts
        Bytes and arrays of words, which are written from where they lie.
    position
        Up to where in the log it goes: segment ``number`` starts there.
    """
    sizes = [[name, len(view), _kind(part)] for name, part in parts.items() for view in [_view(part)]]
    head = json.dumps({"parts": sizes, "sequence": position.sequence, "chain": position.chain.hex()}).encode() + b"\n"
    digest = hashlib.sha256()

    def content() -> Iterator[bytes | memoryview]:
        for part in (_SNAPSHOT, head):
            digest.update(part)
            yield part
        for view in map(_view, parts.values()):
            for start, stop in _blocks(len(view)):
                block = hashlib.sha256()
                for at in range(start, stop, _CHUNK):
                    chunk = view[at : min(at + _CHUNK, stop)]
                    block.update(chunk)
                    yield chunk
                digest.update(block.digest())
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


def read_snapshot(folder: Path, number: int) -> Snapshot:
    """Read a snapshot after checking all of it, in one pass: each part goes straight to the memory where it stays.

    Raises
    ------
    BundleError
        It is missing, damaged or of another version.
    """
    path = snapshot_path(folder, number)
    try:
        with path.open("rb", buffering=0) as file:
            return _read_snapshot(path, file)
    except OSError as error:
        raise _missing(path, error) from error


def _read_snapshot(path: Path, file: FileIO) -> Snapshot:
    first, size = file.read(_LARGEST_HEAD), os.fstat(file.fileno()).st_size
    entries, position, end = _snapshot_head(path, first)
    if end + sum(length for _, length, _ in entries) + _SHA != size:
        raise _changed(path)
    handle, digest = file.fileno(), hashlib.sha256(first[:end])
    parts: dict[str, Part] = {}
    views = []
    for name, length, _ in entries:
        words = np.empty(-(-length // 8), "<i8")
        view = _view(words)[:length]
        views.append((end, view))
        parts[name] = words.astype(np.int64, copy=False)
        end += length
    if first.startswith(_SNAPSHOT):
        for block in _read_blocks(path, handle, views):
            digest.update(block)
    else:
        for at, view in views:
            _fill(path, handle, at, view, digest)
    if os.pread(handle, _SHA, end) != digest.digest():
        raise _changed(path)
    for (name, _, kind), (_, view) in zip(entries, views, strict=True):
        if kind == "bytes":
            parts[name] = bytes(view)
    return Snapshot(parts, position)


def _blocks(length: int) -> list[tuple[int, int]]:
    """Return begin and end of the blocks of a part."""
    return [(at, min(at + _BLOCK, length)) for at in range(0, length, _BLOCK)]


def _read_blocks(path: Path, handle: int, views: Sequence[tuple[int, memoryview]]) -> list[bytes]:
    """Read parts to where they stay, given by their place in the file; return the digest of each block."""

    def read(block: tuple[int, memoryview]) -> bytes:
        digest = hashlib.sha256()
        _fill(path, handle, *block, digest)
        return digest.digest()

    blocks = [(at + start, view[start:stop]) for at, view in views for start, stop in _blocks(len(view))]
    if len(blocks) < 2 * len(views):
        return [read(block) for block in blocks]
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(read, blocks))


def _fill(path: Path, handle: int, at: int, into: memoryview, digest: hashlib._Hash) -> None:
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


def _missing(path: Path, error: OSError) -> BundleError:
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
            first, size = file.read(_LARGEST_HEAD), os.fstat(file.fileno()).st_size
            entries, position, at = _snapshot_head(path, first)
            if at + sum(length for _, length, _ in entries) + _SHA != size:
                raise _changed(path)
            for found, length, _ in entries:
                if found == name:
                    return Snapshot({name: os.pread(file.fileno(), length, at)}, position)
                at += length
    except OSError as error:
        raise _missing(path, error) from error
    return Snapshot({}, position)


def read_state(
    folder: Path, *, read: Callable[[Path, int], Snapshot] = read_snapshot
) -> tuple[Snapshot, list[Segment]]:
    """Read the newest snapshot of a folder and all segments after it, while another process may go on writing.

    Parameters
    ----------
    read
        Reads the snapshot of a number, or a part of it.

    Raises
    ------
    BundleError
        Something is missing or damaged, or the segments do not follow the snapshot and each other.
    """
    while True:
        covered, newest = latest(folder), max(segments(folder), default=0)
        try:
            snapshot, found = read(folder, covered), list[Segment]()
            after = snapshot.position
            for number in range(covered, max(covered, newest) + 1):
                found.append(read_segment(folder, number, last=number == newest, after=after))
                after = found[-1].end
        except BundleError:
            if latest(folder) == covered and max(segments(folder), default=0) == newest:
                raise
        else:
            return snapshot, found


def salvage_log(folder: Path, covered: int, position: Position) -> tuple[list[bytes], list[str]]:
    """Read every record after a snapshot that is what was written; return them, and what is left out."""
    records, left_out, after = list[bytes](), list[str](), position
    for number in range(covered, max([covered, *segments(folder)]) + 1):
        path = segment_path(folder, number)
        try:
            found, missed = salvage(_content(path), path.name, after=after)
        except BundleError as error:
            left_out.append(error.message)
            continue
        if found.begin.sequence > after.sequence:
            left_out.append(
                f"{path.name}: records {after.sequence + 1} to {found.begin.sequence} before it are missing"
            )
        records += found.records
        left_out += missed
        after = found.end
    return records, left_out


def require_acknowledged(folder: Path, newest: int, segment: Segment) -> list[str]:
    """Refuse a log that ends before what was acknowledged; return what the operator should know.

    Parameters
    ----------
    newest
        Number of the newest segment.
    segment
        What is in it.

    Raises
    ------
    BundleError
        Records or a segment are missing that were acknowledged.
    """
    try:
        marks = read_marks((folder / MARK).read_bytes())
    except OSError:
        return []
    last, notes = segment.end.sequence, []
    for mark in marks:
        if mark.proof and mark.segment > newest:
            msg = f"{segment_path(folder, mark.segment)} is missing"
            raise BundleError(msg, hint="restore the file; `fraudctl state repair` makes a state without it")
        if mark.proof and mark.sequence > last:
            place = f"{segment_path(folder, newest)} ends at byte {segment.size} with record {last}"
            msg = f"{place}, and records up to {mark.sequence} were acknowledged"
            raise BundleError(msg, hint="restore the file; `fraudctl state repair` makes a state without them")
        if mark.sequence > last:
            told = f"records {last + 1} to {mark.sequence} were answered, and did not survive the restart of the system"
            notes.append(f"{told}; only --durable flushes each of them to the disk")
    return notes


def read_snapshot_position(folder: Path, number: int) -> Position:
    """Return up to where in the log a snapshot goes, from its head; the rest is checked when it is read.

    Raises
    ------
    BundleError
        It is missing, of another version, or its head is damaged.
    """
    path = snapshot_path(folder, number)
    try:
        with path.open("rb") as file:
            head = file.read(_LARGEST_HEAD)
    except OSError as error:
        raise _missing(path, error) from error
    return _snapshot_head(path, head)[1]


def _snapshot_head(path: Path, content: bytes) -> tuple[list[tuple[str, int, str]], Position, int]:
    """Return name, bytes and kind of a snapshot's parts, its place in the log, and where its parts begin."""
    if not content.startswith((_SNAPSHOT, _SNAPSHOT_2, _SNAPSHOT_1)):
        msg = f"{path} is not a state that this version of fraudctl can read"
        raise BundleError(msg, hint=f"use the version that wrote it, or {BUILD}")
    end = content.find(b"\n", len(_SNAPSHOT)) + 1
    try:
        found = json.loads(content[len(_SNAPSHOT) : end])
        if content.startswith(_SNAPSHOT_1):
            return _entries(found), Position(0, NO_DIGEST), end
        return _entries(found["parts"]), Position(int(found["sequence"]), bytes.fromhex(found["chain"])), end
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} was changed: its head cannot be read"
        raise BundleError(msg, hint=BUILD) from error


def _entries(found: Any) -> list[tuple[str, int, str]]:
    """Return the list of parts in a head; older ones, which do not say of what kind they are, are bytes."""
    entries = [(str(name), int(size), str(kind[0] if kind else "bytes")) for name, size, *kind in found]
    if any(size < 0 or kind not in {"bytes", "words"} or (kind == "words" and size % 8) for _, size, kind in entries):
        msg = "no such part"
        raise ValueError(msg)
    return entries


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn trouble with the files of a state into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Return the error of a state that cannot be written."""
    msg = f"the state in {folder} cannot be written: {error.strerror or error or type(error).__name__}"
    return UsageError(msg, hint="check space and permissions of the folder")
