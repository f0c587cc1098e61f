"""The files of a saved state: their names, snapshots, the note of what was acknowledged, and the locks.

Owns what stands in each file; `store.Store` owns the order in which they are written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudctl.disk.files import Folder, locked
from fraudctl.errors import BundleError, UsageError
from fraudctl.scoring.log import DIGEST, NO_DIGEST, Position, Segment, parse, salvage
from fraudctl.scoring.snapshots import Snapshot, missing, read_snapshot, snapshot_name, snapshot_path

DECISIONS: Final = "decisions"
"""Folder in a state that gets what was decided, as Parquet."""
# ---------------------------------------------------------------- names

MARK: Final = "acknowledged.bin"


def segment_name(number: int) -> str:
    """Return the name of a log segment."""
    return f"log-{number:012d}.bin"


def segment_path(folder: Path, number: int) -> Path:
    """Return the place of a log segment."""
    return folder / segment_name(number)


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
        raise missing(path, error) from error


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
