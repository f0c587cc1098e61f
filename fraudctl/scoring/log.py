"""Log segments as bytes: records in batches, each batch checked by itself and chained to the one before.

Owns the format and the rule for the end of a log; knows nothing of files.

A segment starts with a line that names the format. Batches follow: a header of 40 bytes (bytes after the first 8,
number of records, sequence number of the first, digest of the body, digest of the header before, digest of this
header), then the body (records with their lengths, and 1 to 4 filling bytes). The first batch of a segment has no
records: its body says which segment this is and which digest the segment before ended with. So a flipped length, a
missing batch, and a segment that is missing or of another state are all found.

**The end of the newest segment.** A batch is written in one call, and its answers count once that call (and, with
``--durable``, a flush) has returned. The last batch is *torn*, and was never acknowledged, if the file ends inside it,
or if a sector (512 bytes) of it was never written and reads as zeros: the filling makes the first and the last byte of
every batch differ from zero even with one bit flipped, and records are text. Anything else is damage.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from fraudctl.errors import BundleError

MAGIC: Final = b"fraudctl log 2\n"
DIGEST: Final = 8
NO_DIGEST: Final = bytes(DIGEST)
_HEAD: Final = struct.Struct("<IIQ8s8s8s")
_LENGTH: Final = struct.Struct("<I")
_COUNTED_FROM: Final = 8
"""Bytes of a header before those that its size counts."""
_FILLING: Final = b"\xa5\xa5\xa5\xa5"
_SECTOR: Final = 512
_REPAIR: Final = "`fraudctl state repair` keeps what is sound in a new folder, or build the state again from history"


class DamagedLogError(BundleError):
    """A log is not what was written; says where.

    Parameters
    ----------
    name
        Of the file.
    at
        Byte.
    what
        What is wrong there.
    """

    def __init__(self, name: str, at: int, what: str) -> None:
        super().__init__(f"{name} is damaged at byte {at}: {what}", hint=_REPAIR)
        self.at = at


class Position(NamedTuple):
    """A place in the log of a state.

    Attributes
    ----------
    sequence
        Number of the last record before it; the first record of a state is number 1.
    chain
        Digest of the last header before it.
    """

    sequence: int
    chain: bytes


@dataclass
class Segment:
    """A segment that was read.

    Attributes
    ----------
    number
        Its own number.
    begin, end
        Positions before its first and after its last sound record.
    records
        In the order in which they were written.
    size
        Bytes up to the end of the last sound batch; what follows is a torn batch.
    """

    number: int
    begin: Position
    end: Position
    records: list[bytes] = field(default_factory=list)
    size: int = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.records)


def frame(record: bytes) -> bytes:
    """Return a record as it stands in the body of a batch: its length, then its content."""
    return _LENGTH.pack(len(record)) + record


def batch(frames: Sequence[bytes], after: Position) -> tuple[bytes, Position]:
    """Return framed records as one batch after a position, and the position after it."""
    body = b"".join(frames)
    body += _FILLING[: (3 - len(body)) % 4 or 4]
    return _sealed(body, len(frames), after.sequence + 1, after.chain)


def _sealed(body: bytes, count: int, first: int, before: bytes) -> tuple[bytes, Position]:
    size = _HEAD.size - _COUNTED_FROM + len(body)
    head = _HEAD.pack(size, count, first, _digest(body), before, b"")[:-DIGEST]
    chain = _digest(head)
    return b"".join((head, chain, body)), Position(first + count - 1, chain)


def _digest(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=DIGEST).digest()


def opening(number: int, after: Position) -> tuple[bytes, Position]:
    """Return the bytes that a segment starts with, and the position after them."""
    body = json.dumps({"segment": number, "before": after.chain.hex()}).encode()
    body += _FILLING[: (3 - len(body)) % 4 or 4]
    head, position = _sealed(body, 0, after.sequence + 1, NO_DIGEST)
    return MAGIC + head, position


@dataclass(frozen=True)
class _Head:
    size: int
    count: int
    first: int
    body: bytes
    before: bytes
    chain: bytes


def _head(content: bytes, at: int) -> _Head | None:
    """Return the header at a byte, or None where none is sound."""
    if at + _HEAD.size > len(content):
        return None
    found = _Head(*_HEAD.unpack_from(content, at))
    sound = _digest(content[at : at + _HEAD.size - DIGEST]) == found.chain and found.size >= _HEAD.size - _COUNTED_FROM
    return found if sound else None


def parse(
    content: bytes, name: str, *, last: bool, number: int | None = None, after: Position | None = None
) -> Segment:
    """Read a segment, all of which is checked; where it is the ``last`` one, a torn batch at its end is left out.

    Parameters
    ----------
    number
        That of the segment, where it is known.
    after
        Where the segment before ended, where it is known.

    Raises
    ------
    DamagedLogError
        It is not what was written, or does not follow the segment before.
    BundleError
        It has another format.
    """
    if not content.startswith(MAGIC):
        if not content.startswith(MAGIC[:-2]):
            raise DamagedLogError(name, 0, "it does not say which format it has")
        msg = f"{name} is not a log that this version of fraudctl can read"
        hint = "use the version that wrote it, or build the state again from history: `fraudctl state build --force`"
        raise BundleError(msg, hint=hint)
    segment, at = _opened(content, name)
    if number is not None and segment.number != number:
        raise DamagedLogError(name, len(MAGIC), f"it is segment {segment.number}, under the name of another")
    if after is not None and segment.begin != after:
        what = f"it follows record {segment.begin.sequence}, and what is before it ends with record {after.sequence}"
        raise DamagedLogError(name, len(MAGIC), what)
    while at < len(content):
        head = _head(content, at)
        stop = _sound_end(content, at, head, segment.end)
        if stop is None:
            if last and _torn(content, at, head, segment.end):
                break
            raise DamagedLogError(name, at, f"record {segment.end.sequence + 1} is not what was written")
        assert head is not None  # noqa: S101 - a batch with an end has a header
        segment.records += _records(content, at + _HEAD.size, stop, head.count, name)
        segment.end, at = Position(head.first + head.count - 1, head.chain), stop
    segment.size = at
    return segment


def _opened(content: bytes, name: str) -> tuple[Segment, int]:
    """Read what a segment starts with: it was flushed before the segment got its name, so all of it must be there."""
    head = _head(content, len(MAGIC))
    begin = len(MAGIC) + _HEAD.size
    if head is None or head.count or head.before != NO_DIGEST:
        raise DamagedLogError(name, len(MAGIC), "the header of the segment is not what was written")
    end = len(MAGIC) + _COUNTED_FROM + head.size
    body = content[begin:end]
    if len(body) != end - begin or _digest(body) != head.body:
        raise DamagedLogError(name, begin, "the header of the segment is not what was written")
    said = json.loads(body.rstrip(_FILLING[:1]))
    sequence = head.first - 1
    begin_at = Position(sequence, bytes.fromhex(said["before"]))
    return Segment(said["segment"], begin_at, Position(sequence, head.chain), size=end), end


def _sound_end(content: bytes, at: int, head: _Head | None, after: Position) -> int | None:
    """Return where a batch ends, or None where it is not the sound next one."""
    if head is None or head.before != after.chain or head.first != after.sequence + 1 or not head.count:
        return None
    stop = at + _COUNTED_FROM + head.size
    return stop if stop <= len(content) and _digest(content[at + _HEAD.size : stop]) == head.body else None


def _records(content: bytes, at: int, stop: int, count: int, name: str) -> list[bytes]:
    out = []
    for _ in range(count):
        if at + _LENGTH.size > stop:
            raise DamagedLogError(name, at, "a batch holds fewer records than it says")
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        out.append(content[at : at + size])
        at += size
    if not 0 < stop - at <= len(_FILLING):
        raise DamagedLogError(name, at, "a batch holds other records than it says")
    return out


def _torn(content: bytes, at: int, head: _Head | None, after: Position) -> bool:
    """Return whether what stands at the end of the newest segment is a batch whose write never ended."""
    rest = len(content) - at
    if rest < _HEAD.size:
        return True
    if head is not None:
        if head.before != after.chain or head.first != after.sequence + 1:
            return False
        stop = at + _COUNTED_FROM + head.size
        if stop > len(content):
            return True
        return not any(content[stop:]) and _unwritten(content, at + _HEAD.size, stop, stop)
    return _unwritten(content, at, at + _HEAD.size, len(content)) and not _later_batch(content, at)


def _unwritten(content: bytes, start: int, stop: int, end: int) -> bool:
    """Return whether a sector with bytes of ``[start, stop)`` reads as zeros from ``start`` or its begin to ``end``."""
    for sector in range(start // _SECTOR * _SECTOR, stop, _SECTOR):
        part = content[max(sector, start) : min(sector + _SECTOR, end)]
        if part and not any(part):
            return True
    return False


def _later_batch(content: bytes, at: int) -> bool:
    """Return whether any sound header follows: then what stands at ``at`` was complete once."""
    return any(_head(content, place) is not None for place in range(at + 1, len(content) - _HEAD.size + 1))


def salvage(content: bytes, name: str, *, after: Position) -> tuple[Segment, list[str]]:
    """Read what is sound in a segment, past damaged batches; say what is left out.

    Raises
    ------
    BundleError
        Nothing can be read: another format, or a damaged start.
    """
    if not content.startswith(MAGIC):
        return parse(content, name, last=True, after=after), []
    segment, at = _opened(content, name)
    left_out: list[str] = []
    while at < len(content):
        head = _head(content, at)
        if head is None:
            places = range(at + 1, len(content))
            following = next((place for place in places if _head(content, place) is not None), len(content))
            left_out.append(f"{name}: bytes {at} to {following}, after record {segment.end.sequence}")
            at = following
            continue
        stop = at + _COUNTED_FROM + head.size
        if _digest(content[at + _HEAD.size : stop]) == head.body:
            segment.records += _records(content, at + _HEAD.size, stop, head.count, name)
        else:
            records = f"records {head.first} to {head.first + head.count - 1}"
            left_out.append(f"{name}: bytes {at} to {min(stop, len(content))}, {records}")
        segment.end, at = Position(head.first + head.count - 1, head.chain), stop
    segment.size = len(content)
    return segment, left_out
