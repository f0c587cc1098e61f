"""A folder that survives `kill -9`: snapshots of the state, and a log of everything that came since.

Owns files, not their meaning: a snapshot is named parts of bytes, a log record is bytes. Records go to the end of the
newest log segment in one write per batch; every record has its length and CRC-32. A snapshot with number ``n`` covers
all segments before ``n`` and is written beside, flushed, and renamed; older files go afterwards. On opening, an
incomplete record at the very end of the newest segment was never acknowledged and is cut off; damage anywhere else is
refused.

An append-only file was chosen over SQLite by measurement (benchmarks/bench_scoring.py, `durability`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fraudctl.errors import BundleError, UsageError

_LOG: Final = b"fraudctl log 1\n"
_SNAPSHOT: Final = b"fraudctl state 1\n"
_FRAME: Final = struct.Struct("<II")
_SHA: Final = 32


def frame(record: bytes) -> bytes:
    """Give a record as it stands in a log: length, CRC-32, content."""
    return _FRAME.pack(len(record), zlib.crc32(record)) + record


class Store:
    """An open folder; one process at a time has it.

    Parameters
    ----------
    folder
        Made where it is not there.
    durable
        Whether records are also flushed to the disk before they count as written: they then survive a loss of power
        too, not only of the process.

    Raises
    ------
    UsageError
        The folder cannot be written, or another process has it.
    BundleError
        A file in it is damaged or of another version.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self._durable = durable
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locked(folder / "lock", f"the state in {folder} is in use by another process")
            self._still: int | None = locked(folder / "compacting", "", wait=True)
            self.covered = latest(folder)
            sweep(folder, self.covered)
            self.segment = max([self.covered, *segments(folder)])
            self._log = self._open(self.segment)

    def _open(self, segment: int) -> int:
        path = segment_path(self.folder, segment)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(handle).st_size
        if size < len(_LOG):
            os.truncate(handle, 0)
            os.write(handle, _LOG)
        else:
            os.truncate(handle, _sound_length(path, last=True))
        return handle

    def let_compact(self) -> None:
        """Say that snapshot and log have been read: from now on another process may bring the snapshot forward.

        Until then none may, not even one that a killed process has left behind: it would take away what is being read.
        """
        if self._still is not None:
            os.close(self._still)
            self._still = None

    @property
    def empty(self) -> bool:
        """Whether nothing has been stored yet."""
        return self.covered == 0 and self.segment == 0 and self.log_bytes == 0

    @property
    def log_bytes(self) -> int:
        """Bytes of records in the newest segment."""
        return os.fstat(self._log).st_size - len(_LOG)

    def snapshot(self) -> dict[str, bytes] | None:
        """Give the parts of the newest snapshot, checked; None where there is none."""
        return read_snapshot(self.folder, self.covered) if self.covered else None

    def records(self) -> Iterator[bytes]:
        """Give every record after the snapshot, in the order in which they were written."""
        for segment in range(self.covered, self.segment + 1):
            yield from read_segment(self.folder, segment, last=segment == self.segment)

    def append(self, frames: Sequence[bytes]) -> None:
        """Write framed records in one go; when this returns they survive the process."""
        with _explained(self.folder):
            before = os.fstat(self._log).st_size
            try:
                _write_all(self._log, b"".join(frames))
                if self._durable:
                    os.fsync(self._log)
            except OSError:
                os.truncate(self._log, before)
                raise

    def rotate(self) -> int:
        """Close the newest segment and begin another; give its number. A snapshot may then cover all before it."""
        with _explained(self.folder):
            os.fsync(self._log)
            os.close(self._log)
            self.segment += 1
            self._log = self._open(self.segment)
        return self.segment

    def save(self, parts: Mapping[str, bytes]) -> None:
        """Write a snapshot of everything up to now, and begin a new segment after it."""
        number = self.rotate()
        write_snapshot(self.folder, number, parts)
        self.covered = number
        sweep(self.folder, number)

    def close(self) -> None:
        """Give the folder back."""
        self.let_compact()
        os.fsync(self._log)
        os.close(self._log)
        os.close(self._lock)


def _write_all(handle: int, content: bytes) -> None:
    written = os.write(handle, content)
    while written < len(content):
        written += os.write(handle, content[written:])


def locked(path: Path, problem: str, *, wait: bool = False) -> int:
    """Take a lock that ends with this process, or before it when it is closed; ``wait`` until it is free.

    Raises
    ------
    UsageError
        Another process has it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        raise UsageError(problem, hint="stop it first, or name another folder") from None
    return handle


def segment_path(folder: Path, number: int) -> Path:
    """Give the place of a log segment."""
    return folder / f"log-{number:012d}.bin"


def snapshot_path(folder: Path, number: int) -> Path:
    """Give the place of a snapshot."""
    return folder / f"snapshot-{number:012d}.bin"


def _numbers(folder: Path, prefix: str) -> list[int]:
    names = (path.name for path in folder.glob(f"{prefix}-*.bin"))
    texts = (name.removeprefix(f"{prefix}-").removesuffix(".bin") for name in names)
    return sorted(int(text) for text in texts if text.isdigit())


def segments(folder: Path) -> list[int]:
    """Give the numbers of the log segments in a folder, the newest last."""
    return _numbers(folder, "log")


def latest(folder: Path) -> int:
    """Give the number of the newest snapshot in a folder; 0 where there is none."""
    return max(_numbers(folder, "snapshot"), default=0)


def sweep(folder: Path, covered: int) -> None:
    """Remove what a snapshot has made needless, and what was being written when a process died."""
    for number in segments(folder):
        if number < covered:
            segment_path(folder, number).unlink(missing_ok=True)
    for number in _numbers(folder, "snapshot"):
        if number < covered:
            snapshot_path(folder, number).unlink(missing_ok=True)


def closed_segments(folder: Path) -> tuple[int, list[int]]:
    """Give the number of the newest snapshot, and the segments after it that nothing is added to any more."""
    covered, found = latest(folder), segments(folder)
    return covered, [number for number in found if covered <= number < max(found, default=0)]


def read_segment(folder: Path, number: int, *, last: bool = False) -> Iterator[bytes]:
    """Give the records of a segment; where it is the ``last`` one, an incomplete end is left out.

    Raises
    ------
    BundleError
        The segment is missing, damaged or of another version.
    """
    path = segment_path(folder, number)
    length = _sound_length(path, last=last)
    content = path.read_bytes()[:length]
    at = len(_LOG)
    while at < length:
        size, _ = _FRAME.unpack_from(content, at)
        yield content[at + _FRAME.size : at + _FRAME.size + size]
        at += _FRAME.size + size


def _sound_length(path: Path, *, last: bool) -> int:
    """Give the length of a segment up to the end of its last sound record."""
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path} is missing or unreadable ({error.strerror})"
        raise BundleError(msg, hint="the state is incomplete: build it anew from history") from error
    if not content.startswith(_LOG):
        msg = f"{path} is no log that this version of fraudctl can read"
        raise BundleError(msg, hint="use the version that wrote it, or build the state anew from history")
    at = len(_LOG)
    while at < len(content):
        size, crc = _FRAME.unpack_from(content, at) if at + _FRAME.size <= len(content) else (0, -1)
        end = at + _FRAME.size + size
        if crc == -1 or size == 0 or end > len(content) or zlib.crc32(content[at + _FRAME.size : end]) != crc:
            if last and (end >= len(content) or not any(content[at:])):
                return at
            msg = f"{path} is damaged at byte {at} of {len(content)}"
            raise BundleError(msg, hint="build the state anew from history")
        at = end
    return at


def write_snapshot(folder: Path, number: int, parts: Mapping[str, bytes]) -> None:
    """Write a snapshot whole or not at all, flushed to the disk before it has its name."""
    head = json.dumps([[name, len(content)] for name, content in parts.items()]).encode() + b"\n"
    digest = hashlib.sha256()
    with _explained(folder):
        handle, name = tempfile.mkstemp(prefix=".snapshot-", suffix=".tmp", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                for content in (_SNAPSHOT, head, *parts.values()):
                    digest.update(content)
                    file.write(content)
                file.write(digest.digest())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(snapshot_path(folder, number))
            flush_folder(folder)
        finally:
            Path(name).unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_snapshot(folder: Path, number: int) -> dict[str, bytes]:
    """Give the parts of a snapshot after checking all of it.

    Raises
    ------
    BundleError
        It is missing, damaged or of another version.
    """
    path = snapshot_path(folder, number)
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        msg = f"{path} is missing or unreadable ({error.strerror})"
        raise BundleError(msg, hint="build the state anew from history") from error
    if bytes(content[: len(_SNAPSHOT)]) != _SNAPSHOT:
        msg = f"{path} is no state that this version of fraudctl can read"
        raise BundleError(msg, hint="use the version that wrote it, or build the state anew from history")
    if hashlib.sha256(content[:-_SHA]).digest() != bytes(content[-_SHA:]):
        msg = f"{path} was changed: it does not have the checksum that stands in it"
        raise BundleError(msg, hint="build the state anew from history")
    end = len(_SNAPSHOT) + bytes(content[len(_SNAPSHOT) : len(_SNAPSHOT) + (1 << 16)]).index(b"\n") + 1
    parts: dict[str, bytes] = {}
    for name, size in json.loads(bytes(content[len(_SNAPSHOT) : end])):
        parts[name] = bytes(content[end : end + size])
        end += size
    return parts


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"the state in {folder} cannot be written: {error.strerror or type(error).__name__}"
        raise UsageError(msg, hint="check space and permissions of the folder") from error
