"""Records of recent events by id, to recognise duplicates and to match outcomes with their events.

A ring buffer in order of arrival; the oldest records are dropped once they have waited long enough. A record holds a
128-bit keyed hash of the id (BLAKE2b), not the id: with 2^40 ids, the chance of any collision is below 2^-48, and the
key is derived from the features, so that collisions cannot be constructed without knowing them. A repeated event gets
its stored answer only after its values were compared, whatever this ledger says (see `scoring.answers`).

A record whose outcome is known but not yet due is kept outside the ring until it has counted.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fraudctl.disk.mapped import lengthened
from fraudctl.features.batch.groups import Array
from fraudctl.features.batch.jit import jit
from fraudctl.features.online.arena import NULL, Ints
from fraudctl.features.online.saved_keys import FEW

Index = npt.NDArray[np.uint32]
Halves = npt.NDArray[np.uint32]

HASH_A, HASH_B, TIME, SLOTS = range(4)
"""Words of a record; then come 32-bit halves: the slots of the entities, and whether the outcome has counted."""
FIRST_RING = 1024
LARGEST_SLOT = (1 << 32) - 1
"""Offsets of slots and pairs are kept in 32 bits: the heap has at most 2^32 words, 34 GB."""
_ENTRY = 120
"""Bytes of an entry of a dictionary, with its tuple and numbers."""
_WORDS = struct.Struct("<qq")


@jit
def _find(index: Index, records: Ints, a: int, b: int) -> int:
    """Return the place of a hash in the index, or the empty place for it."""
    mask = index.shape[0] - 1
    at: int = a & mask
    while index[at] != 0:
        row = np.int64(index[at]) - 1
        if records[row, HASH_A] == a and records[row, HASH_B] == b:
            return at
        at = (at + 1) & mask
    return at


@jit
def _row_of(index: Index, records: Ints, a: int, b: int) -> int:
    """Return the row of a hash, or -1."""
    row: int = np.int64(index[_find(index, records, a, b)]) - 1  # type: ignore[assignment]
    return row


@jit
def _search(records: Ints, begin: int, n: int, a: int, b: int) -> int:
    """Return the row of a hash among ``n`` records from one on, the last where there are several; -1 for none."""
    mask = records.shape[0] - 1
    for i in range(begin + n - 1, begin - 1, -1):
        if records[i & mask, HASH_A] == a and records[i & mask, HASH_B] == b:
            at: int = i & mask
            return at
    return -1


@jit
def _insert(index: Index, records: Ints, start: int, stop: int) -> None:
    """Put the records ``[start, stop)``, counted from the ring's begin, into the index.

    Of two with one hash the later one counts.
    """
    mask = records.shape[0] - 1
    for number in range(start, stop):
        row = number & mask
        index[_find(index, records, records[row, HASH_A], records[row, HASH_B])] = row + 1


@jit
def _remove(index: Index, records: Ints, row: int) -> None:
    """Remove a row from the index and close the gap (linear probing; Knuth, TAOCP 3, 6.4, algorithm R)."""
    mask = index.shape[0] - 1
    hole = _find(index, records, records[row, HASH_A], records[row, HASH_B])
    if np.int64(index[hole]) != row + 1:
        return
    at = hole
    while True:
        index[hole] = 0
        while True:
            at = (at + 1) & mask
            if index[at] == 0:
                return
            home = records[np.int64(index[at]) - 1, HASH_A] & mask
            if (at - home) & mask >= (at - hole) & mask:
                break
        index[hole] = index[at]
        hole = at


@jit
def _record(records: Ints, row: int, a: int, b: int, time: int) -> None:
    """Write a record."""
    records[row] = 0
    records[row, HASH_A] = a
    records[row, HASH_B] = b
    records[row, TIME] = time


def _lengthened(words: Ints, n: int) -> Ints | None:
    """Return mapped words made longer in their place; None where they are not the first of such memory."""
    base = words.base
    if not isinstance(base, np.ndarray) or base.ctypes.data != words.ctypes.data:
        return None
    return lengthened(base, n)


class Ledger:
    """Records of events: hash of the id, µs, slots of the entities, whether the outcome has counted.

    Parameters
    ----------
    n_spaces
        Key spaces of the state.
    entities
        Numbers of those that are entities; pairs follow from them.
    key
        Key of the hash, at most 64 bytes.

    Attributes
    ----------
    expected
        Number -> which message the outcome is expected from, and when it will count.
    waiting
        Number -> µs and slots of events that have left the ring and whose outcome will still count.
    """

    def __init__(self, n_spaces: int, entities: Sequence[int], key: bytes) -> None:
        self._n_spaces = n_spaces
        self._entities = list(entities)
        self._key = key
        self._words = SLOTS + (len(self._entities) + 2) // 2
        self.expected: dict[int, tuple[int, int]] = {}
        self.waiting: dict[int, tuple[int, list[int]]] = {}
        self.first = self.end = 0
        self._last: tuple[int | str, int, int] | None = None
        self._origin = 0
        self._searches_left = 0
        self._index: Index | None = None
        self._set(np.zeros((FIRST_RING, self._words), np.int64))

    def _set(self, records: Array) -> None:
        self._records = records
        self._halves: Halves = records.view(np.uint32)[:, 2 * SLOTS :]
        if self._index is not None:
            self.index()

    def index(self) -> Index:
        """Make the index of all ids; until then, an id is looked for among all of them."""
        self._index = np.zeros(2 * len(self._records), np.uint32)
        _insert(self._index, self._records, self.first - self._origin, self.end - self._origin)
        return self._index

    @property
    def width(self) -> int:
        """Words of a record."""
        return self._words

    def rows(self) -> Array:
        """Return the records in the order of their numbers, shape (n, width)."""
        start, stop = self._at(self.first), self._at(self.end)
        if start < stop or self.first == self.end:
            return self._records[start : start + self.end - self.first]
        return np.concatenate([self._records[start:], self._records[:stop]])

    def take(self, rows: Array, first: int) -> None:
        """Take records that `rows` gave, the first of which has this number; mapped ones stay where they are."""
        self.first, self.end = first, first + len(rows)
        self._index, self._searches_left = None, FEW
        self._grow(len(rows), rows)

    def _grow(self, least: int, rows: Array) -> None:
        size = FIRST_RING
        while size < least:
            size *= 2
        self._origin = self.first
        words = rows.reshape(-1)
        records = _lengthened(words, size * self._words)
        if records is None:
            records = np.zeros(size * self._words, np.int64)
            records[: len(words)] = words
        self._set(records.reshape(size, self._words))

    def _row_of(self, key: int | str) -> int:
        """Return the row of an id, or -1."""
        if self._index is None and self._searches_left:
            self._searches_left -= 1
            begin = self._at(self.first)
            return _search(self._records, begin, self.end - self.first, *self.hashed(key))
        index = self.index() if self._index is None else self._index
        return _row_of(index, self._records, *self.hashed(key))

    # ------------------------------------------------------------ ids

    def hashed(self, key: int | str) -> tuple[int, int]:
        """Return the hash of an id as two words; the number 5 and the text 5 differ."""
        if self._last is not None and self._last[0] == key and type(self._last[0]) is type(key):
            return self._last[1:]
        a, b = _WORDS.unpack(self._digest(key))
        self._last = key, a, b
        return a, b

    def _digest(self, key: int | str) -> bytes:
        text = f"t{key}" if type(key) is str else f"n{key}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()

    def hashed_all(self, keys: Sequence[int | str]) -> bytes:
        """Return the hashes of many ids, 16 bytes each."""
        return b"".join([self._digest(key) for key in keys])

    def __len__(self) -> int:
        """Return the number of events that are known by their id."""
        return self.end - self.first

    def __contains__(self, key: int | str) -> bool:
        return self.get(key) is not None

    def get(self, key: int | str) -> int | None:
        """Return the number of an event's record, or None where it is not known."""
        row = self._row_of(key)
        return None if row < 0 else self.first + ((row - self._at(self.first)) & (len(self._records) - 1))

    def add(self, key: int | str, time: int) -> int:
        """Make a record for an event."""
        if self.end - self.first == len(self._records):
            self._grow(2 * len(self._records), self.rows())
        number = self.end
        self.end = number + 1
        _record(self._records, self._at(number), *self.hashed(key), time)
        if self._index is not None:
            _insert(self._index, self._records, self._at(number), self._at(number) + 1)
        return number

    def add_all(self, hashes: bytes, times: Array, slots: Array) -> None:
        """Make the records of many events, by the hashes of their ids, in a new ledger, the first with number 0."""
        rows = np.zeros((len(times), self._words), np.int64)
        rows[:, : HASH_B + 1] = np.frombuffer(hashes, "<i8").reshape(-1, 2)
        rows[:, TIME] = times
        rows.view(np.uint32)[:, 2 * SLOTS : 2 * SLOTS + len(self._entities)] = slots[:, self._entities]
        self.take(rows, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the records take."""
        kept = sum(sys.getsizeof(found) + _ENTRY * len(found) for found in (self.expected, self.waiting))
        return int(self._records.nbytes + (0 if self._index is None else self._index.nbytes)) + kept

    # ------------------------------------------------------------ records

    def _at(self, number: int) -> int:
        return (number - self._origin) & (len(self._records) - 1)

    def time(self, number: int) -> int:
        """Return the µs of an event."""
        found = self.waiting.get(number) if self.waiting else None
        return int(self._records[self._at(number), TIME]) if found is None else found[0]

    def keep_waiting(self, number: int, time: int, slots: Array) -> None:
        """Add a record outside the ring, for an event that is older than the first one in it."""
        self.waiting[number] = time, slots[self._entities].tolist()

    def keep_slots(self, number: int, slots: Array) -> None:
        """Remember the slots of an event that was taken in."""
        if number in self.waiting:
            self.keep_waiting(number, self.time(number), slots)
        else:
            self._halves[self._at(number), : len(self._entities)] = slots[self._entities]

    def slots(self, number: int) -> Array:
        """Return the slots of an event, NULL for pairs; those of entities are 0 until it is taken in."""
        found = self.waiting.get(number) if self.waiting else None
        out = np.full(self._n_spaces, NULL, np.int64)
        out[self._entities] = self._halves[self._at(number), : len(self._entities)] if found is None else found[1]
        return out

    def due(self, number: int) -> int:
        """Return the µs at which the outcome will count, or 0 where none is expected."""
        return self.expected.get(number, (0, 0))[1]

    def expect(self, number: int, sequence: int, due: int) -> None:
        """Schedule the outcome of this message at ``due`` µs; it replaces any earlier message."""
        self.expected[number] = sequence, due

    def is_settled(self, number: int) -> bool:
        """Return whether the outcome of an event has counted."""
        return number not in self.waiting and bool(self._halves[self._at(number), len(self._entities)])

    def holds(self, number: int) -> bool:
        """Return whether a record of this number exists."""
        return number >= self.first or number in self.waiting

    def fulfilled(self, number: int) -> bool:
        """Note that nothing more is expected of an event; return whether it is forgotten with that."""
        self.expected.pop(number, None)
        return self.waiting.pop(number, None) is not None

    def flags(self, number: int) -> int:
        """Return the bits that are kept of an event whose label may change; 0 outside the ring."""
        return 0 if number in self.waiting else int(self._halves[self._at(number), len(self._entities)])

    def set_flags(self, number: int, flags: int) -> None:
        """Keep the bits of an event whose label may change; outside the ring none are kept."""
        if number not in self.waiting:
            self._halves[self._at(number), len(self._entities)] = flags

    def settle_all(self, numbers: Array) -> None:
        """Note, in a new ledger, that the outcomes of these events have counted; negative ones are not known."""
        self._halves[numbers[numbers >= 0], len(self._entities)] = 1

    def settle(self, number: int, sequence: int) -> tuple[int, Array] | None:
        """Mark the outcome as counted; return the event's µs and slots, or None if another message is scheduled.

        The outcome counts if it comes from the message it is expected from; it is then expected no longer.
        """
        if self.expected.get(number, (0, 0))[0] != sequence:
            return None
        del self.expected[number]
        found = self.time(number), self.slots(number)
        if self.waiting.pop(number, None) is None:
            self._halves[self._at(number), len(self._entities)] = 1
        return found

    def forget(self, until: int, *, most: int) -> None:
        """Forget up to ``most`` events of ``until`` and before, oldest first."""
        for _ in range(most):
            row = self._at(self.first)
            if self.first == self.end or self._records[row, TIME] > until:
                return
            if self.first in self.expected:
                slots = self._halves[row, : len(self._entities)].tolist()
                self.waiting[self.first] = int(self._records[row, TIME]), slots
            if self._index is not None:
                _remove(self._index, self._records, row)
            self.first += 1
