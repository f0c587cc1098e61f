"""The events that are remembered by their id: to know a duplicate, and to know whose outcome arrives.

A ring of records in the order of their arrival; the oldest are forgotten once they have waited long enough. A record
whose outcome is known already, and only has to come due, is kept beside the ring until it has counted.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fraudctl.features.groups import Array

TIME, EXPECTED, SETTLED, DUE, SLOTS = range(5)


class Ledger:
    """Records of events: µs, which message the outcome is expected from, whether it has counted, when, their slots.

    Attributes
    ----------
    waiting
        Number -> record of events that have left the ring and whose outcome will still count.
    """

    def __init__(self, n_spaces: int) -> None:
        self.numbers: dict[Any, int] = {}
        self.records: Array = np.zeros((1024, SLOTS + n_spaces), np.int64)
        self.ids: list[Any] = [None] * 1024
        self.waiting: dict[int, Array] = {}
        self.first = 0
        self.end = 0

    def __contains__(self, key: Any) -> bool:
        return key in self.numbers

    def get(self, key: Any) -> int | None:
        """Give the number of an event's record, or None where it is not known."""
        return self.numbers.get(key)

    def add(self, key: Any, time: int) -> int:
        """Make a record for an event."""
        if self.end - self.first == len(self.ids):
            self._grow(2 * len(self.ids))
        number = self.end
        at = number & (len(self.ids) - 1)
        self.records[at] = 0
        self.records[at, TIME] = time
        self.ids[at] = key
        self.numbers[key] = number
        self.end = number + 1
        return number

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the records take."""
        waiting = sys.getsizeof(self.waiting) + (128 + int(self.records[0].nbytes)) * len(self.waiting)
        ids = 8 * len(self.ids) + sys.getsizeof(self.numbers) + 96 * len(self.numbers)
        return int(self.records.nbytes) + ids + waiting

    def add_all(self, keys: list[Any], times: Array, slots: Array) -> None:
        """Make the records of many events in a new ledger, the first with number 0."""
        size = len(self.ids)
        while size < len(keys):
            size *= 2
        self._grow(size)
        n = len(keys)
        self.records[:n, TIME], self.records[:n, SLOTS:], self.ids[:n] = times, slots, keys
        self.numbers = dict(zip(keys, range(n), strict=True))
        self.end = n

    def settle_all(self, numbers: Array) -> None:
        """Note, in a new ledger, that the outcomes of these events have counted; negative ones are not known."""
        self.records[numbers[numbers >= 0], SETTLED] = 1

    def _grow(self, size: int) -> None:
        records = np.zeros((size, self.records.shape[1]), np.int64)
        ids: list[Any] = [None] * size
        for number in range(self.first, self.end):
            at, to = number & (len(self.ids) - 1), number & (size - 1)
            records[to], ids[to] = self.records[at], self.ids[at]
        self.records, self.ids = records, ids

    def _at(self, number: int) -> int:
        return number & (len(self.ids) - 1)

    def _record(self, number: int) -> Array:
        found = self.waiting.get(number) if self.waiting else None
        return self.records[self._at(number)] if found is None else found

    def keep_waiting(self, number: int, time: int, slots: Array) -> None:
        """Make a record beside the ring, of an event from before its first one."""
        record = np.zeros(self.records.shape[1], np.int64)
        record[TIME], record[SLOTS:] = time, slots
        self.waiting[number] = record

    def time(self, number: int) -> int:
        """Return the µs of an event."""
        return int(self._record(number)[TIME])

    def keep_slots(self, number: int, slots: Array) -> None:
        """Remember the slots of an event that was taken in."""
        self._record(number)[SLOTS:] = slots

    def slots(self, number: int) -> Array:
        """Return the slots of an event; all are 0 until it is taken in."""
        return self._record(number)[SLOTS:]

    def due(self, number: int) -> int:
        """Return the µs at which the outcome will count, or 0 where none is expected."""
        record = self._record(number)
        return int(record[DUE]) if record[EXPECTED] and not record[SETTLED] else 0

    def expect(self, number: int, sequence: int, due: int) -> None:
        """Expect the outcome from this message at ``due`` µs, and no longer from one before it."""
        record = self._record(number)
        record[EXPECTED], record[DUE] = sequence, due

    def is_settled(self, number: int) -> bool:
        """Return whether the outcome of an event has counted."""
        return bool(self._record(number)[SETTLED])

    def settle(self, number: int, sequence: int) -> tuple[int, Array] | None:
        """Let the outcome count; return the event's µs and slots, or None where another message is expected.

        The outcome counts if it comes from the message it is expected from and none has counted.
        """
        record = self._record(number)
        if record[EXPECTED] != sequence or record[SETTLED]:
            return None
        record[SETTLED] = 1
        self.waiting.pop(number, None)
        return int(record[TIME]), np.ascontiguousarray(record[SLOTS:])

    def forget(self, until: int, *, most: int) -> None:
        """Forget up to ``most`` events of ``until`` and before, oldest first."""
        for _ in range(most):
            if self.first == self.end or self.records[self._at(self.first), TIME] > until:
                return
            at = self._at(self.first)
            if self.due(self.first):
                self.waiting[self.first] = self.records[at].copy()
            del self.numbers[self.ids[at]]
            self.ids[at] = None
            self.first += 1
