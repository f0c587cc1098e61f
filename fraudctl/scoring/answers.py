"""Answers that were given, found again however long ago: the latest in memory, all others in files.

Owns the promise behind a repeated event id: the same parameters get the same answer, other parameters are refused. An
answer stays in memory until it stands in a file of ``answers/``; of the files only 12 bytes an answer are kept in
memory. Without a folder, the latest `REMEMBERED` answers are all there is.

A file is verified by the digest in its name when the state is opened, and each row by a digest of its own when it is
used: an answer that is not what was given is never given again. Files of earlier versions have neither digest.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from fraudctl.errors import BundleError
from fraudctl.scoring import wire

if TYPE_CHECKING:
    import polars as pl

EventId = int | str

REMEMBERED: Final = 20_000
"""Latest answers that are kept in memory whatever stands in files."""
ANSWERS: Final = "answers"
"""Folder in a state that holds the answers of closed log segments."""
_GROUP: Final = 2_000
"""Rows of one group of a file: a look-up reads the groups whose range holds the id's hash."""
_ROW: Final = ("id", "event", "answer", "features", "more")


@dataclass(frozen=True, slots=True)
class Answered:
    """An event that was answered.

    Attributes
    ----------
    event
        As it came, JSON.
    answer
        What it got, JSON.
    features
        Digest of the feature set that it was read for.
    more
        Data columns, apart from those of the features, that the decision depended on.
    """

    event: bytes
    answer: bytes
    features: str
    more: tuple[str, ...] = ()


class Answers:
    """All answers of one state.

    Parameters
    ----------
    folder
        Of the state; None where nothing is kept on the disk.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._recent: OrderedDict[EventId, tuple[int, Answered]] = OrderedDict()
        self._added = self._closed = self._safe = 0
        self._older: _Files | None = None
        self._fetched: dict[EventId, Answered] = {}
        if folder is not None:
            self.attach(folder)

    def attach(self, folder: Path) -> None:
        """Find answers in the files of a state too, and keep in memory what is in none of them."""
        self._older = _Files(folder / ANSWERS)

    def __len__(self) -> int:
        """Return the number of answers in memory."""
        return len(self._recent)

    def add(self, event_id: EventId, item: Answered) -> None:
        """Keep an answer."""
        self._added += 1
        self._recent[event_id] = self._added, item
        self._trim()

    def get(self, event_id: EventId) -> Answered | None:
        """Return what was answered to an id; None where it was not, or where its file was removed."""
        found = self._recent.get(event_id)
        if found is not None:
            return found[1]
        if event_id in self._fetched:
            return self._fetched[event_id]
        return None if self._older is None else self._older.get(event_id)

    def fetch(self, event_ids: Collection[EventId]) -> None:
        """Read from files what `get` will be asked next; a file is read once for all of these ids."""
        wanted = [key for key in event_ids if key not in self._recent]
        self._fetched = {} if self._older is None else self._older.get_all(wanted)

    def rotated(self) -> None:
        """Record that the log segment with all answers so far is closed."""
        self._closed = self._added

    def exported(self) -> None:
        """Record that the answers of closed segments stand in files: memory may forget all but the latest."""
        if self._older is not None:
            self._older.refresh()
        self._safe = self._closed
        self._trim()

    def merge(self) -> None:
        """Make fewer files of answers out of small ones."""
        if self._older is not None:
            self._older.merge()

    def _trim(self) -> None:
        while len(self._recent) > REMEMBERED:
            first = next(iter(self._recent))
            if self._older is not None and self._recent[first][0] > self._safe:
                return
            del self._recent[first]

    def to_list(self) -> list[list[Any]]:
        """Return the latest answers as JSON."""
        latest = list(self._recent.items())[-REMEMBERED:]
        return [
            [key, item.event.decode(), item.answer.decode(), item.features, list(item.more)]
            for key, (_, item) in latest
        ]

    def read_list(self, document: Iterable[list[Any]]) -> None:
        """Take what `to_list` gave; answers of older states hold no event and are left out."""
        for row in document:
            if len(row) == 5:
                key, event, answer, features, more = row
                self.add(key, Answered(event.encode(), answer.encode(), features, tuple(more)))
        self.rotated()
        self._safe = self._closed
        self._trim()


def write_answers(rows: Iterable[tuple[EventId, Answered]], folder: Path, segment: int) -> None:
    """Write the answers of a closed log segment, readable by its owner alone; nothing where there are none."""
    from fraudctl.disk.kept import write_numbered

    frame = _frame(rows)
    if frame.height:
        found = frame.sort("hash", maintain_order=True)
        write_numbered(found, folder / ANSWERS, segment, row_group=_GROUP, mode=0o600)


def _join(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Put two files of answers together; the newer answer to an id stays behind an older one."""
    return old.vstack(new).sort("hash", maintain_order=True)


def _frame(rows: Iterable[tuple[EventId, Answered]]) -> pl.DataFrame:
    import polars as pl

    texts = [
        (_key(key), item.event.decode(), item.answer.decode(), item.features, list(item.more)) for key, item in rows
    ]
    found = [(_hash_of(row[0]), *row, _row_digest(row)) for row in texts]
    text = pl.String()
    schema: dict[str, pl.DataType] = {
        "hash": pl.UInt64(), "id": text, "event": text, "answer": text, "features": text, "more": pl.List(pl.String),
        "digest": pl.UInt64(),
    }  # fmt: skip
    return pl.DataFrame(found, schema=schema, orient="row")


def _row_digest(row: Sequence[Any]) -> int:
    """Return 64 bits over id, event, answer, features and further columns of an answer."""
    key, event, answer, features, more = row
    parts = [text.encode() for text in (key, event, answer, features, *more)]
    return int.from_bytes(
        hashlib.blake2b(b"".join(b"%d:%b" % (len(part), part) for part in parts), digest_size=8).digest()
    )


def _key(event_id: EventId) -> str:
    """Return an id as JSON, so that the number 5 and the text 5 differ."""
    return wire.dumps(event_id).decode()


def _hash(event_id: EventId) -> int:
    return _hash_of(_key(event_id))


def _hash_of(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


def verify_answers(path: Path) -> int:
    """Check every answer in a file; return their number.

    Raises
    ------
    BundleError
        The file is not what was written.
    """
    hashes = _read_hashes(path)
    rows = _read_rows(path, hashes)
    if sorted(_hash_of(row[0]) for row in rows) != hashes.tolist():
        raise _unreadable(path)
    return len(rows)


def _read_hashes(path: Path) -> npt.NDArray[np.uint64]:
    """Return the id hashes in a file, sorted, after verifying all of the file."""
    import polars as pl

    from fraudctl.disk.kept import DamagedError, require_undamaged

    try:
        require_undamaged(path)
        hashes = pl.read_parquet(path, columns=["hash"])["hash"].to_numpy()
    except (DamagedError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(path) from error
    return np.sort(hashes.astype(np.uint64))


def _read_rows(path: Path, hashes: npt.NDArray[np.uint64]) -> list[tuple[Any, ...]]:
    """Return the answers with these id hashes, all of which are in the file, each verified."""
    import polars as pl

    known = np.unique(hashes)
    try:
        found = pl.scan_parquet(path).filter(pl.col("hash").is_in(pl.Series(known).implode())).collect()
        sealed = found["digest"].to_list() if "digest" in found.columns else None
        rows = found.select(_ROW).rows()
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(path) from error
    if len(rows) < len(known) or (sealed is not None and sealed != list(map(_row_digest, rows))):
        raise _unreadable(path)
    return rows


class _Files:
    """Answers in files: sorted hashes of their ids in memory, in runs that are merged as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, Path] = {}
        self._runs: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]] = []
        self.refresh()

    def refresh(self) -> None:
        """Take in files that are new."""
        from fraudctl.disk.kept import numbered

        for number, path in sorted(numbered(self._folder).items()):
            if number not in self._known:
                hashes = _read_hashes(path)
                self._known[number] = path
                self._add(hashes, number)

    def merge(self) -> None:
        """Merge the newest files while they are small; what was in them is then found in the merged one."""
        from fraudctl.disk.kept import merge_numbered

        merge_numbered(self._folder, _join, row_group=_GROUP, mode=0o600, merged=self._moved)

    def _moved(self, path: Path) -> None:
        from fraudctl.disk.kept import numbers_in

        self._known.update({number: path for number in numbers_in(path) if number in self._known})

    def _add(self, hashes: npt.NDArray[np.uint64], number: int) -> None:
        self._runs.append((hashes, np.full(len(hashes), number, dtype=np.uint32)))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (a, m), (b, n) = self._runs.pop(), self._runs.pop()
            both = np.concatenate([a, b])
            order = np.argsort(both, kind="stable")
            self._runs.append((both[order], np.concatenate([m, n])[order]))

    def get_all(self, event_ids: Collection[EventId]) -> dict[EventId, Answered]:
        """Return the answers of many ids, the newest where there are several."""
        by_file: dict[int, dict[str, EventId]] = {}
        for key in event_ids:
            for number in self._numbers(np.uint64(_hash(key))):
                by_file.setdefault(number, {})[_key(key)] = key
        out: dict[EventId, Answered] = {}
        for number, keys in sorted(by_file.items()):
            for key, *row in self._rows(number, [_hash_of(key) for key in keys]):
                if key in keys:
                    out[keys[key]] = _answered(*row)
        return out

    def _numbers(self, wanted: np.uint64) -> set[int]:
        """Return the numbers of the files that hold an id with a hash."""
        numbers: set[int] = set()
        for hashes, files in self._runs:
            start = int(np.searchsorted(hashes, wanted))
            if start < len(hashes) and hashes[start] == wanted:
                stop = int(np.searchsorted(hashes, wanted, side="right"))
                numbers.update(files[start:stop].tolist())
        return numbers

    def get(self, event_id: EventId) -> Answered | None:
        """Return the newest answer to an id."""
        if not self._runs:
            return None
        wanted = np.uint64(_hash(event_id))
        numbers = self._numbers(wanted)
        found = (self._read(number, int(wanted), _key(event_id)) for number in sorted(numbers, reverse=True))
        return next((item for item in found if item is not None), None)

    def _read(self, number: int, hashed: int, key: str) -> Answered | None:
        rows = self._rows(number, [hashed])
        return next((_answered(*row) for found, *row in reversed(rows) if found == key), None)

    def _rows(self, number: int, hashes: list[int]) -> list[tuple[Any, ...]]:
        """Return rows of a file that is there; what was removed was not answered."""
        path = self._known[number]
        try:
            found = _read_rows(path, np.array(hashes, dtype=np.uint64)) if path.is_file() else None
        except BundleError:
            if self._known[number] == path:
                raise
            found = None
        if found is None and self._known[number] != path:  # merged in the meantime
            return self._rows(number, hashes)
        return found or []


def _answered(event: str, answer: str, features: str, more: list[str]) -> Answered:
    return Answered(event.encode(), answer.encode(), features, tuple(more))


def _unreadable(path: Path) -> BundleError:
    msg = f"{path}: the answers in it are not what was written, so it is not known which events were answered"
    return BundleError(
        msg, hint="restore the file; or remove it: its events are then decided again if they are sent again"
    )
