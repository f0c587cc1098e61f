"""A folder that survives `kill -9` and full disks: snapshots of the state, and a log of everything that came since.

Owns files, not their meaning: a snapshot is named parts of bytes, a log record is bytes (see `log` for the format of
segments). Snapshot ``n`` covers all segments before ``n`` and says up to which record; segment ``n`` starts after it.

Segments and snapshots are prepared under a hidden name, flushed, renamed, and the folder is flushed. A new segment is
complete before the old one is closed: where that fails, the old one goes on and `problem` says why. A process that
dies in between leaves a folder that opens.

``acknowledged.bin`` notes before every batch up to which record the batches before were written: a log that ends
earlier has lost what was acknowledged, and is refused.

An append-only file was chosen over SQLite by measurement (benchmarks/bench_scoring.py, `durability`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from fraudctl.data.outputs import require_local
from fraudctl.disk.files import Folder, locked, prepared, write_all
from fraudctl.errors import BundleError, UsageError
from fraudctl.scoring.log import DIGEST, NO_DIGEST, Position, Segment, batch, frame, opening
from fraudctl.scoring.saved import (
    MARK,
    MARK_APART,
    MARK_BYTES,
    compaction_lock,
    explained,
    latest,
    mark_slot,
    numbers_of,
    read_segment,
    remove_covered,
    remove_unfinished,
    require_acknowledged,
    segment_name,
    segments,
    unwritable,
)
from fraudctl.scoring.snapshots import (
    BUILD,
    Part,
    Told,
    read_snapshot,
    read_snapshot_position,
    snapshot_name,
    write_snapshot,
)

__all__ = ["Store", "frame", "read_segment"]


LOG_SHARE: Final = 32
"""The log is a sizeable share of a snapshot from this part of its bytes on: a byte of log takes about 60 times as long
to replay as a byte of a snapshot takes to read."""
SMALL_SNAPSHOT: Final = 16 << 20
"""Bytes of a snapshot that is always written: it takes some 50 ms."""
MOST_SEGMENTS: Final = 64
"""Closed segments after a snapshot, at most, when a command ends."""


class StateInUseError(UsageError):
    """Another process writes the state."""


class Store:
    """An open folder; one process at a time has it.

    Parameters
    ----------
    folder
        Made where it is not there.
    durable
        Whether records are also flushed to the disk before they count as written: they then survive a loss of power
        too, not only of the process.
    replacing
        Opens a folder without reading it, whatever is in it: only `replace` may be called.

    Attributes
    ----------
    covered, segment
        Number of the newest snapshot (0 for none) and of the newest log segment.
    on_problem
        Called with `problem` when it changes.
    notes
        What the operator should know about how the folder was found.

    Raises
    ------
    UsageError
        The folder cannot be written, or another process has it.
    BundleError
        A file in it is damaged or of another version.
    """

    def __init__(self, folder: Path, *, durable: bool = False, replacing: bool = False) -> None:
        self.folder = folder
        self.durable = durable
        self._problems: dict[str, str] = {}
        self.on_problem: Callable[[str | None], object] | None = None
        self.notes: list[str] = []
        self.covered = self.segment = 0
        self._log = self._mark = -1
        self._held: list[int] = []
        self._still: list[int] = []
        self._loaded: dict[int, Segment] = {}
        self._position = self._begin = Position(0, NO_DIGEST)
        self._size = self._n_records = self._turn = self._closed_bytes = 0
        self._dirty = self._unflushed = False
        require_local(folder)
        try:
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._files = Folder(folder)
                self._lock()
                if not replacing:
                    self._read()
        except BaseException:
            self._release()
            raise

    # ------------------------------------------------------------ opening

    def _lock(self) -> None:
        """Take the folder itself, and the lock file that other versions know; then wait for a compaction to end."""
        for place in (self._files.handle, self.folder / "lock"):
            handle = locked(place)
            if handle is None:
                msg = f"the state in {self.folder} is in use by another process"
                raise StateInUseError(msg, hint="stop it first, or name another folder")
            self._held.append(handle)
        self._still = compaction_lock(self.folder, wait=True) or []

    def _read(self) -> None:
        self.covered = latest(self.folder)
        self._finish_replacing()
        remove_unfinished(self._files)
        numbers = segments(self.folder)
        if not numbers and not self.covered:
            os.close(self._new_segment(0, Position(0, os.urandom(DIGEST))))
            self._publish(0)
            numbers = [0]
        self.segment = max([self.covered, *numbers])
        newest = self._chained()
        self.notes += require_acknowledged(self.folder, self.segment, newest)
        self._position, self._begin, self._size = newest.end, newest.begin, newest.size
        self._log = self._files.open(segment_name(self.segment), os.O_RDWR | os.O_APPEND)
        cut = os.fstat(self._log).st_size - newest.size
        if cut:
            self.notes.append(f"cut {cut} bytes of an unfinished record from the end of the log; it was never answered")
            os.ftruncate(self._log, newest.size)
        self._open_mark()

    def _finish_replacing(self) -> None:
        """Rename the segment of a snapshot if the process that replaced the state died before doing so."""
        name = segment_name(self.covered)
        if self.covered and not self._files.has(name) and self._files.has(prepared(name)):
            self._files.publish(name)
            self._files.flush()

    def _chained(self) -> Segment:
        """Check that all segments follow each other and the snapshot; give the newest."""
        if not self.covered and not self._files.has(segment_name(0)):
            msg = f"{self.folder} has a log, and the snapshot that it belongs to is missing"
            raise BundleError(msg, hint=BUILD)
        after = self._snapshot_position()
        for number in range(self.covered, self.segment + 1):
            found = read_segment(self.folder, number, last=number == self.segment, after=after)
            self._loaded[number], after = found, found.end
        self._n_records = sum(len(found.records) for found in self._loaded.values())
        self._closed_bytes = sum(found.size for found in self._loaded.values()) - found.size
        return found

    def _open_mark(self) -> None:
        """Open the note of what was acknowledged; on a disk that is full the state works without."""
        with contextlib.suppress(OSError):
            if not self._files.has(MARK):
                os.close(self._files.prepare(MARK, [bytes(MARK_BYTES)]))
                self._files.publish(MARK)
            self._mark = self._files.open(MARK, os.O_RDWR)

    def let_compact(self) -> None:
        """State that snapshot and log have been read: from now on another process may bring the snapshot forward.

        Until then none may, not even one that a killed process has left behind: it would take away what is being read.
        What the snapshot covers goes now, for only now all of the snapshot was checked.
        """
        if self._still:
            with contextlib.suppress(OSError):
                remove_covered(self._files, self.covered)
        still, self._still = self._still, []
        for handle in still:
            os.close(handle)

    # ------------------------------------------------------------ reading

    @property
    def empty(self) -> bool:
        """Whether nothing has been stored yet."""
        return self.covered == 0 and self._n_records == 0

    @property
    def idle(self) -> bool:
        """Whether the newest segment holds no record."""
        return self._position.sequence == self._begin.sequence

    @property
    def snapshot_due(self) -> bool:
        """Whether the log after the snapshot is a sizeable share of it: replaying costs as much as reading it.

        A small snapshot is due after any record, for it costs less than looking at it again. So what one command
        writes at its end is in proportion to what it took, and what the next one has to replay is bounded.
        """
        if self.covered == 0:
            return True
        with contextlib.suppress(OSError):
            size = os.stat(snapshot_name(self.covered), dir_fd=self._files.handle).st_size
            logged = self._closed_bytes + self._size
            many = self.segment - self.covered > MOST_SEGMENTS
            return size < SMALL_SNAPSHOT or logged * LOG_SHARE > size or many
        return True

    @property
    def sequence(self) -> int:
        """Number of the last record."""
        return self._position.sequence

    def snapshot(self, tell: Told | None = None) -> dict[str, Part] | None:
        """Return the parts of the newest snapshot, verified; None where there is none."""
        return read_snapshot(self.folder, self.covered, tell).parts if self.covered else None

    def _snapshot_position(self) -> Position | None:
        return read_snapshot_position(self.folder, self.covered) if self.covered else None

    def records(self) -> Iterator[bytes]:
        """Return every record after the snapshot, in the order in which they were written."""
        loaded, self._loaded = self._loaded, {}
        after = self._snapshot_position()
        for number in range(self.covered, self.segment + 1):
            last = number == self.segment
            found = loaded.pop(number, None) or read_segment(self.folder, number, last=last, after=after)
            after = found.end
            yield from found.records

    # ------------------------------------------------------------ writing

    def append(self, frames: Sequence[bytes]) -> None:
        """Write framed records in one go; when this returns they survive the process.

        Raises
        ------
        UsageError
            They cannot be written; the log is as it was, and the next call tries again.
        """
        try:
            if self._unflushed and self.durable:
                self._flush_names()
            if self._dirty:
                self._clean()
            content, position = batch(frames, self._position)
            self._note_acknowledged()
            self._loaded, self._dirty = {}, True
            write_all(self._log, content)
            if self.durable:
                os.fsync(self._log)
        except OSError as error:
            raise self._failed("written", error) from error
        self._position, self._size, self._dirty = position, self._size + len(content), False
        self._n_records += len(frames)
        if self._problems:
            self._tell("written", None)

    def _clean(self) -> None:
        """Cut off what a failed write has left at the end of the log."""
        if self._dirty:
            os.ftruncate(self._log, self._size)
            self._dirty = False

    def _note_acknowledged(self) -> None:
        """Record that the batches so far were written: they may have been answered. Without the note, all goes on."""
        slot = mark_slot(self.segment, self._position.sequence, durable=self.durable)
        self._turn = MARK_APART - self._turn
        try:  # noqa: SIM105 - quicker, and on the way of every decision
            os.pwrite(self._mark, slot, self._turn)
        except OSError:
            pass

    def rotate(self) -> int:
        """Begin a new segment and close the newest; give its number. A snapshot may then cover all before it.

        Raises
        ------
        UsageError
            There can be none; the newest segment goes on.
        """
        with self._watched("rotated"):
            self._clean()
            os.fsync(self._log)
            number, begin = self.segment + 1, self._position
            handle = self._new_segment(number, begin)
            try:
                self._publish(number)
            except BaseException:
                os.close(handle)
                raise
            before, self._log = self._log, handle
            self._closed_bytes += self._size
            self._enter(number, begin)
            with contextlib.suppress(OSError):  # it was flushed
                os.close(before)
        return self.segment

    def _enter(self, number: int, begin: Position) -> None:
        content, self._position = opening(number, begin)
        self.segment, self._begin, self._size = number, begin, len(content)

    def _new_segment(self, number: int, begin: Position) -> int:
        """Prepare a segment and check that it is on the disk as it was written; give its descriptor."""
        content = opening(number, begin)[0]
        handle = self._files.prepare(segment_name(number), [content])
        if os.pread(handle, len(content) + 1, 0) != content:
            os.close(handle)
            msg = "the new segment is not what was written"
            raise OSError(msg)
        return handle

    def _publish(self, number: int) -> None:
        """Give a prepared segment its name. From then on it is the newest, even if the folder cannot be flushed."""
        self._files.publish(segment_name(number))
        self._unflushed = True
        with contextlib.suppress(OSError):
            self._flush_names()

    def _flush_names(self) -> None:
        self._files.flush()
        self._unflushed = False

    def cover(self, parts: Mapping[str, Part]) -> None:
        """Write a snapshot of everything before the newest segment, and remove what it covers.

        Raises
        ------
        UsageError
            It cannot be written; snapshot and log are as they were.
        """
        if self._position.sequence != self._begin.sequence:
            msg = "a snapshot covers closed segments only: rotate first"
            raise ValueError(msg)
        with self._watched("saved"):
            write_snapshot(self._files, self.segment, parts, self._begin)
            self.covered, self._closed_bytes = self.segment, 0
            with contextlib.suppress(OSError):  # what is left over goes the next time
                remove_covered(self._files, self.segment)

    def save(self, parts: Mapping[str, Part]) -> None:
        """Write a snapshot of everything up to now, and begin a new segment after it."""
        self.rotate()
        self.cover(parts)

    def replace(self, parts: Mapping[str, Part], *, above: int = 0) -> None:
        """Put a new state in the place of whatever is in the folder, in one step: until then the old one is there.

        The new segment is prepared, the new snapshot gets its name (from now on the new state counts), then the
        segment gets its own; opening the folder finishes that.

        Parameters
        ----------
        above
            Number that those of the new snapshot and segment must exceed.
        """
        with self._watched("saved"):
            names = self._files.names()
            number = max([above, *numbers_of(names, "log"), *numbers_of(names, "snapshot")]) + 1
            begin = Position(0, os.urandom(DIGEST))
            self._log = self._new_segment(number, begin)
            self._files.remove(MARK)
            write_snapshot(self._files, number, parts, begin)
            self._publish(number)
            self._enter(number, begin)
            self.covered, self._n_records, self._closed_bytes = number, 0, 0
            remove_covered(self._files, number)
            self._open_mark()

    @property
    def problem(self) -> str | None:
        """Why the log cannot be written, or no segment or snapshot can be begun; None while all of it works."""
        return next(iter(self._problems.values()), None)

    def probe(self) -> None:
        """After a failure, find out whether the folder can be written again; `problem` then says so."""
        with contextlib.suppress(OSError):
            os.close(self._files.prepare("probe", [bytes(4096)]))
            self._files.remove(prepared("probe"))
            for what in [what for what in self._problems if what != "written"]:
                self._tell(what, None)

    @contextlib.contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        """Record why writing fails, and that it works again."""
        try:
            yield
        except OSError as error:
            raise self._failed(what, error) from error
        self._tell(what, None)

    def _failed(self, what: str, error: OSError) -> UsageError:
        """Record why something could not be done; give the error to raise."""
        found = unwritable(self.folder, error)
        self._tell(what, f"{found.message}; it could not be {what}, and the log so far goes on")
        return found

    def _tell(self, what: str, problem: str | None) -> None:
        before = self.problem
        if problem is None:
            self._problems.pop(what, None)
        else:
            self._problems[what] = problem
        if (before is None) != (self.problem is None) and self.on_problem is not None:
            self.on_problem(self.problem)

    def close(self) -> None:
        """Release the folder."""
        if self._log != -1:
            with contextlib.suppress(OSError):  # without --durable, records survive the process, and no more
                os.fsync(self._log)
        self._release()

    def _release(self) -> None:
        handles = [self._log, self._mark, *self._still, *self._held]
        self._log = self._mark = -1
        self._still, self._held = [], []
        for handle in handles:
            if handle != -1:
                os.close(handle)
        files = self.__dict__.pop("_files", None)
        if files is not None:
            files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
