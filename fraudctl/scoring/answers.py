"""Answers that were given, found again however long ago: the latest in memory, all others in files beside the log.

Owns the promise behind a repeated event id: the same parameters get the same answer, other parameters are refused. An
answer stays in memory until it stands in a file of ``answers/``; of the files only 12 bytes an answer are kept in
memory. Without a folder, the latest `REMEMBERED` answers are all there is.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable
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
        Data columns that the decision depended on beside those of the features.
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
        """Note that the log segment with all answers so far is closed."""
        self._closed = self._added

    def exported(self) -> None:
        """Note that the answers of closed segments stand in files: memory may forget all but the latest."""
        if self._older is not None:
            self._older.refresh()
        self._safe = self._closed
        self._trim()

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
    from fraudctl.tables import whole_file

    frame = _frame(rows)
    if frame.height == 0:
        return
    path = answers_path(folder, segment)
    with whole_file(path, mode=0o600) as temporary:
        frame.sort("hash").write_parquet(temporary, compression="zstd", row_group_size=_GROUP, statistics=True)


def answers_path(folder: Path, segment: int) -> Path:
    """Return the place of the answers of a log segment."""
    return folder / ANSWERS / f"{segment:012d}.parquet"


def _frame(rows: Iterable[tuple[EventId, Answered]]) -> pl.DataFrame:
    import polars as pl

    found = [
        (_hash(key), _key(key), item.event.decode(), item.answer.decode(), item.features, list(item.more))
        for key, item in rows
    ]
    text = pl.String()
    schema: dict[str, pl.DataType] = {
        "hash": pl.UInt64(), "id": text, "event": text, "answer": text, "features": text, "more": pl.List(pl.String),
    }  # fmt: skip
    return pl.DataFrame(found, schema=schema, orient="row")


def _key(event_id: EventId) -> str:
    """Return an id as JSON, so that the number 5 and the text 5 differ."""
    return wire.dumps(event_id).decode()


def _hash(event_id: EventId) -> int:
    return int.from_bytes(hashlib.blake2b(_key(event_id).encode(), digest_size=8).digest())


class _Files:
    """Answers in files: sorted hashes of their ids in memory, in runs that are merged as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[int] = set()
        self._runs: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]] = []
        self.refresh()

    def refresh(self) -> None:
        """Take in files that are new."""
        import polars as pl

        names = (path.stem for path in self._folder.glob("*.parquet"))
        for number in sorted({int(name) for name in names if name.isdigit()} - self._known):
            try:
                hashes = pl.read_parquet(self._path(number), columns=["hash"])["hash"].to_numpy()
            except (OSError, pl.exceptions.PolarsError) as error:
                raise _unreadable(self._path(number)) from error
            self._known.add(number)
            self._add(np.sort(hashes.astype(np.uint64)), number)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.parquet"

    def _add(self, hashes: npt.NDArray[np.uint64], number: int) -> None:
        self._runs.append((hashes, np.full(len(hashes), number, dtype=np.uint32)))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (a, m), (b, n) = self._runs.pop(), self._runs.pop()
            both = np.concatenate([a, b])
            order = np.argsort(both, kind="stable")
            self._runs.append((both[order], np.concatenate([m, n])[order]))

    def get_all(self, event_ids: Collection[EventId]) -> dict[EventId, Answered]:
        """Return the answers of many ids, the newest where there are several."""
        import polars as pl

        by_file: dict[int, dict[str, EventId]] = {}
        for key in event_ids:
            for number in self._numbers(np.uint64(_hash(key))):
                by_file.setdefault(number, {})[_key(key)] = key
        out: dict[EventId, Answered] = {}
        for number, keys in sorted(by_file.items()):
            for key, *row in self._rows(number, pl.col("id").is_in(list(keys))):
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
        import polars as pl

        same = (pl.col("hash") == pl.lit(hashed, dtype=pl.UInt64)) & (pl.col("id") == key)
        rows = self._rows(number, same)
        return _answered(*rows[0][1:]) if rows else None

    def _rows(self, number: int, which: pl.Expr) -> list[tuple[Any, ...]]:
        """Return rows of a file that is there; what was removed was not answered."""
        import polars as pl

        path = self._path(number)
        if not path.is_file():
            return []
        try:
            found = pl.scan_parquet(path).filter(which).select("id", "event", "answer", "features", "more").collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unreadable(path) from error
        return found.rows()


def _answered(event: str, answer: str, features: str, more: list[str]) -> Answered:
    return Answered(event.encode(), answer.encode(), features, tuple(more))


def _unreadable(path: Path) -> BundleError:
    msg = f"{path}: the answers in it cannot be read, so it is not known which events were answered"
    return BundleError(
        msg, hint="restore the file; or remove it: its events are then decided again if they are sent again"
    )
