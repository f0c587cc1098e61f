"""Labels that may change: the entries that came for each event, and which of its changes the logs hold.

Used where labels are in tables of their own (see `fraudctl.data.labels`). An event without an entry needs no memory:
whether silence made it legitimate, or it was declined, are bits of its record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fraudctl.data.labels import LabelRule
from fraudctl.features.online.ledger import Ledger

Change = tuple[int, int]
"""Since when (µs), and the label."""
_SILENT, _DECLINED = 1, 2


class Verdicts:
    """What was said of events, and what counts of it.

    Attributes
    ----------
    by_silence
        Whether an event without an entry becomes legitimate after the label delay.
    entries
        Number of an event -> entries as (µs stated, label), sorted.
    applied
        Number of an event with entries -> the change that the logs hold.
    declined
        Numbers of events with entries that are never legitimate by silence.
    early
        Event id -> entries that came before the event; a label of None says that it was declined.
    silent
        Number of the first record that silence has not been looked at for.
    """

    def __init__(self, rule: LabelRule, delay_us: int, ledger: Ledger) -> None:
        self.by_silence, self._delay_us, self._ledger = rule.by_silence, delay_us, ledger
        self.entries: dict[int, list[Change]] = {}
        self.applied: dict[int, Change] = {}
        self.declined: set[int] = set()
        self.early: dict[Any, list[tuple[int, int | None]]] = {}
        self.silent = 0

    def add(self, number: int, stated: int, label: int) -> bool:
        """Add an entry; return False where it was there already."""
        if number not in self.entries:
            flags = self._ledger.flags(number)
            if flags & _SILENT:
                self.applied[number] = self._silent_from(number), 0
            if flags & _DECLINED:
                self.declined.add(number)
        found = self.entries.setdefault(number, [])
        if (stated, label) in found:
            return False
        found.append((stated, label))
        found.sort()
        return True

    def decline(self, number: int) -> None:
        """Note that an event is never legitimate by silence."""
        if number in self.entries:
            self.declined.add(number)
        self._ledger.set_flags(number, self._ledger.flags(number) | _DECLINED)

    def settled_by_silence(self, number: int) -> None:
        """Note that the logs hold an event without entries as legitimate by silence."""
        self._ledger.set_flags(number, self._ledger.flags(number) | _SILENT)

    def settle(self, number: int, now: int) -> tuple[Change | None, Change | None] | None:
        """Return the change that the logs hold of an event and the one that they have to hold by now; None if equal."""
        old, new = self._applied(number), self._known(number, now)
        if old == new:
            return None
        if number in self.entries:
            if new is None:
                self.applied.pop(number, None)
            else:
                self.applied[number] = new
        else:
            kept = self._ledger.flags(number) & ~_SILENT
            self._ledger.set_flags(number, kept | (0 if new is None else _SILENT))
        return old, new

    def due_by_silence(self, now: int) -> Iterator[int]:
        """Yield the events, in the order of their records, that are as old as the label delay by now."""
        ledger = self._ledger
        self.silent = max(self.silent, ledger.first)
        while self.by_silence and self.silent < ledger.end:
            if max(self._silent_from(self.silent), ledger.time(self.silent) + 1) > now:
                return
            self.silent += 1
            yield self.silent - 1

    def silence_due(self, number: int) -> int | None:
        """Return the µs from which silence about an event counts; None where it never does."""
        return max(self._silent_from(number), self._ledger.time(number) + 1) if self.by_silence else None

    def forget(self, first: int, stop: int) -> None:
        """Forget what was said of the events of these records, ``[first, stop)``, unless more is expected of them."""
        for number in range(first, stop):
            if number not in self._ledger.waiting:
                self.drop(number)

    def drop(self, number: int) -> None:
        """Forget what was said of an event."""
        self.entries.pop(number, None)
        self.applied.pop(number, None)
        self.declined.discard(number)

    # ------------------------------------------------------------ parts

    def _silent_from(self, number: int) -> int:
        return self._ledger.time(number) + self._delay_us

    def _applied(self, number: int) -> Change | None:
        if number in self.entries:
            return self.applied.get(number)
        return (self._silent_from(number), 0) if self._ledger.flags(number) & _SILENT else None

    def _known(self, number: int, now: int) -> Change | None:
        """Return the change that is known by now: since when the label is what it is."""
        happened = self._ledger.time(number)
        by_time: dict[int, int] = {}
        for stated, label in self.entries.get(number, ()):
            by_time[max(stated, happened)] = (
                label  # of two at one instant the last counts: fraud comes after legitimate
            )
        silent = self._silent_from(number)
        declined = number in self.declined or bool(self._ledger.flags(number) & _DECLINED)
        changes = list(by_time.items())
        if self.by_silence and not declined and (not changes or changes[0][0] > silent):
            changes.insert(0, (silent, 0))
        found: Change | None = None
        for since, label in changes:
            if since <= now and (found is None or found[1] != label):
                found = since, label
        return found
