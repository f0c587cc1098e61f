"""What a state holds by the values of an entity, found in a saved state by hash: an open waits for none of them.

A hash is the ledger's: 128 bits, keyed (see `ledger`). Of a saved state, one array of words holds the hashes and what
belongs to them; it may be a mapped file. What is asked for or came since is in dictionaries.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.online.arena import Ints

Hashed = Callable[[Any], tuple[int, int]]
"""Gives the hash of a value as two words."""
Row = tuple[tuple[Any, ...], tuple[Any, ...]]
"""A row that is kept: its order among rows, and its columns."""
_OBJECT = 64
"""Bytes of a value, as an object."""
FEW = 8
"""Look-ups after a state was opened that go through all records or pairs, before an index of them is made."""
_HALF = np.dtype("<u4")


def _find(first: Ints, second: Ints, a: int, b: int) -> int:
    """Return the place of a hash among sorted ones, or -1."""
    at = int(first.searchsorted(a))
    while at < len(first) and first[at] == a:
        if second[at] == b:
            return at
        at += 1
    return -1


def _packed(halves: npt.NDArray[Any], n: int) -> Ints:
    """Return numbers below 2^32 as words that hold two each."""
    out = np.zeros(n + (n & 1), _HALF)
    out[:n] = halves
    return out.view(np.int64)


def _hashes(hashed: Hashed, values: Sequence[Any]) -> Ints:
    """Return the hashes of values, shape (n, 2)."""
    return np.array([hashed(value) for value in values], np.int64).reshape(-1, 2)


class SlotMap:
    """Values of an entity and their slots.

    Parameters
    ----------
    hashed
        The hash of a value.
    kept
        Whether slots are kept for ever; otherwise `forget` finds a value by its slot.
    """

    def __init__(self, hashed: Hashed, *, kept: bool) -> None:
        self._hashed, self._kept = hashed, kept
        self._known: dict[Any, int] = {}
        self._values: dict[int, Any] = {}
        self._n = 0
        self._take(np.zeros(0, np.int64), 0)

    def _take(self, words: Ints, n: int) -> None:
        self._first, self._second = words[:n], words[n : 2 * n]
        self._slots = words[2 * n :].view(_HALF)[:n]
        self._gone: npt.NDArray[np.bool_] | None = None
        self._by_slot: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self._n

    def __contains__(self, value: Any) -> bool:
        return self.get(value) is not None

    def __getitem__(self, value: Any) -> int:
        slot = self.get(value)
        if slot is None:
            raise KeyError(value)
        return slot

    def get(self, value: Any) -> int | None:
        """Return the slot of a value; None where it is not known."""
        slot = self._known.get(value)
        return slot if slot is not None or not len(self._first) else self._saved(value)

    def _saved(self, value: Any) -> int | None:
        at = _find(self._first, self._second, *self._hashed(value))
        if at < 0 or (self._gone is not None and self._gone[at]):
            return None
        slot = int(self._slots[at])
        self._note(value, slot)
        return slot

    def _note(self, value: Any, slot: int) -> None:
        self._known[value] = slot
        if not self._kept:
            self._values[slot] = value

    def add(self, value: Any, slot: int) -> None:
        """Take in a value that was not known."""
        self._note(value, slot)
        self._n += 1

    def add_all(self, values: Sequence[Any], slots: Sequence[int]) -> None:
        """Take in values that were not known."""
        self._known.update(zip(values, slots, strict=True))
        if not self._kept:
            self._values.update(zip(slots, values, strict=True))
        self._n += len(values)

    def forget(self, slot: int) -> None:
        """Forget the value of a slot that is not kept."""
        value = self._values.pop(slot, self)
        if value is not self:
            del self._known[value]
        self._n -= 1
        if len(self._slots):
            self._forget_saved(slot)

    def _forget_saved(self, slot: int) -> None:
        if self._by_slot is None or self._gone is None:
            self._by_slot, self._gone = np.argsort(self._slots), np.zeros(len(self._slots), np.bool_)
        at = int(self._slots.searchsorted(np.uint32(slot), sorter=self._by_slot))
        if at < len(self._by_slot) and self._slots[self._by_slot[at]] == slot:
            self._gone[self._by_slot[at]] = True

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        objects = sum(sys.getsizeof(found) + _OBJECT * len(found) for found in (self._known, self._values))
        return objects + 20 * len(self._slots)

    def save(self) -> Ints:
        """Return all values by their hashes, as words; what is asked for from now on is found among them."""
        here = slice(None) if self._gone is None else ~self._gone
        old = np.stack([self._first[here], self._second[here]], axis=1), self._slots[here].astype(np.int64)
        known = np.fromiter(self._known.values(), np.int64, len(self._known))
        new = np.flatnonzero(~np.isin(known, old[1]))
        values = list(self._known)
        hashes = np.concatenate([old[0], _hashes(self._hashed, [values[at] for at in new.tolist()])])
        slots = np.concatenate([old[1], known[new]])
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))
        words = np.concatenate([hashes[order, 0], hashes[order, 1], _packed(slots[order], len(order))])
        self._take(words, len(order))
        return words

    def restore(self, words: Ints) -> None:
        """Take what `save` returned."""
        n = 2 * len(words) // 5
        self._take(words, n)
        self._n = n


class LatestRows:
    """The row that is valid now of each value of an entity, the one that came or was replaced last at the end.

    Parameters
    ----------
    hashed
        The hash of a value.
    written, read
        Make JSON of a row, and the row of that.
    """

    def __init__(self, hashed: Hashed, written: Callable[[Row], Any], read: Callable[[Any], Row]) -> None:
        self._hashed, self._written, self._read = hashed, written, read
        self._rows: OrderedDict[Any, Row] = OrderedDict()
        self._take(_words_of(np.zeros((0, 2), np.int64), []))

    def _take(self, words: Ints) -> None:
        n = int(words[0])
        self._words, self._n_saved, at = words, n, 1
        self._hashes, at = words[at : at + 2 * n].reshape(n, 2), at + 2 * n
        self._order, at = words[at : at + (n + 1 >> 1)].view(_HALF)[:n], at + (n + 1 >> 1)
        self._ends, at = words[at : at + n + 1], at + n + 1
        self._text = words[at:].view(np.uint8)
        self._gone, self._front, self._left = bytearray(n), 0, n
        self._seen: dict[Any, tuple[int, Row]] = {}

    def __len__(self) -> int:
        return self._left + len(self._rows)

    def get(self, value: Any) -> Row | None:
        """Return the row of a value."""
        row = self._rows.get(value)
        if row is not None or not self._left:
            return row
        at = self._saved(value)
        return None if at < 0 else self._seen[value][1]

    def _saved(self, value: Any) -> int:
        """Return the place of a value's row among those that were saved, which was read then; -1 if none is left."""
        at = self._seen[value][0] if value in self._seen else self._find(*self._hashed(value))
        if at < 0 or self._gone[at]:
            self._seen.pop(value, None)
            return -1
        if value not in self._seen:
            self._seen[value] = at, self._row(at)
        return at

    def _find(self, a: int, b: int) -> int:
        low, high = 0, self._n_saved
        while low < high:
            middle = (low + high) >> 1
            if self._hashes[self._order[middle], 0] < a:
                low = middle + 1
            else:
                high = middle
        while low < self._n_saved:
            at = int(self._order[low])
            if self._hashes[at, 0] != a:
                break
            if self._hashes[at, 1] == b:
                return at
            low += 1
        return -1

    def _saved_text(self, at: int) -> bytes:
        return bytes(self._text[int(self._ends[at]) : int(self._ends[at + 1])])

    def _row(self, at: int) -> Row:
        return self._read(json.loads(self._saved_text(at).decode("utf-8", "surrogatepass")))

    def put(self, value: Any, row: Row) -> None:
        """Keep a row as that of a value, at the end."""
        if self._left and (at := self._saved(value)) >= 0:
            self._drop(at)
            del self._seen[value]
        self._rows[value] = row
        self._rows.move_to_end(value)

    def _drop(self, at: int) -> None:
        self._gone[at] = 1
        self._left -= 1

    def first(self) -> Row | None:
        """Return the row at the front."""
        if self._left:
            self._front = self._gone.index(0, self._front)
            return self._row(self._front)
        return next(iter(self._rows.values()), None)

    def forget_first(self) -> None:
        """Forget the row at the front."""
        if self._left:
            self._front = self._gone.index(0, self._front)
            self._drop(self._front)
        else:
            self._rows.popitem(last=False)

    def save(self) -> Ints:
        """Return all rows in their order, by their hashes, as words; they are found among them from now on."""
        if self._left < self._n_saved or self._rows:
            there = np.flatnonzero(np.frombuffer(self._gone, np.uint8) == 0)
            texts = [self._saved_text(at) for at in there.tolist()]
            texts += [_as_json(self._written(row)) for row in self._rows.values()]
            words = _words_of(np.concatenate([self._hashes[there], _hashes(self._hashed, list(self._rows))]), texts)
            self._rows.clear()
            self._take(words)
        return self._words

    def restore(self, words: Ints) -> None:
        """Take what `save` returned."""
        self._take(words)


def _as_json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _words_of(hashes: Ints, texts: Sequence[bytes]) -> Ints:
    """Return rows as words: how many, their hashes, their order by hash, where their texts end, and the texts."""
    n = len(texts)
    ends = np.zeros(n + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, n), out=ends[1:])
    text = b"".join(texts)
    order = _packed(np.lexsort((hashes[:, 1], hashes[:, 0])), n)
    filled = np.frombuffer(text + bytes(-len(text) % 8), np.int64)
    return np.concatenate([np.array([n], np.int64), hashes.reshape(-1), order, ends, filled])
