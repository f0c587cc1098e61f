"""The online state: it computes the features of one event after another, and is updated by messages.

Every message has a time from which it counts: an event from the instant after its own, an outcome from its label_time
(of an event before it), a row of another table from the instant after it became usable. Before an event is answered,
all messages that are due are applied; the others wait.

An event that comes after later ones were answered is *late*: it is answered as of its own time from the state that is
kept, and inserted at its place in the logs for later events. Answers that were given do not change.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudctl.data.labels import DECLINED
from fraudctl.disk.mapped import lengthened
from fraudctl.errors import DataError
from fraudctl.features.batch.groups import Array
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.online import answers, arena, intake, late, pairs
from fraudctl.features.online.ledger import LARGEST_SLOT, Ledger
from fraudctl.features.online.others import Other
from fraudctl.features.online.plan import Plan
from fraudctl.features.online.reading import Reader, Seen
from fraudctl.features.online.saved_keys import SlotMap
from fraudctl.features.online.texts import Texts
from fraudctl.features.online.tracks import LABELS
from fraudctl.features.online.values import micros
from fraudctl.features.online.verdicts import Verdicts

_DAY = 86_400_000_000
_LEAST_WAIT = 30 * _DAY
_FORGET_EVERY = 16
"""Messages that were taken in, and instants that came, between two times at which something is forgotten."""
_GROWTH = 1 << 16
_MOST_EARLY = 1 << 17
"""Outcomes that are kept before their events come."""
_FREE_BLOCKS = 2 << 20
"""Bytes of the heap's own words, and of some free blocks of every size."""
_MESSAGE = 300
"""Bytes of a message that waits for its time."""


def _id(key: Any) -> int | str:
    """Return an event id, or raise where it is none."""
    if type(key) is int or type(key) is str:
        return key
    msg = f"event_id: is {type(key).__name__}; expected a whole number or a text"
    raise DataError(msg)


def _by_id(waiting: tuple[Seen, int, int | str]) -> tuple[bool, int | str]:
    """Return the sort key of events of one instant: their ids, in the order in which the batch engine has them."""
    return type(waiting[2]) is str, waiting[2]


@dataclass(slots=True)
class OnlineRow:
    """The features of one event.

    Attributes
    ----------
    numbers
        Shape (n_features,), float64, in the order of `FeatureSet.names`; whole numbers are exact up to 2 ** 53, truth
        values are 0 and 1, NaN is null and stands in the place of categories.
    categories
        The features that are categories, by name.
    """

    numbers: Array
    categories: dict[str, str | None]


class OnlineFeatures:
    """What has to be remembered to answer the features of the next event as the batch engine would.

    Parameters
    ----------
    features
        From `definition.define`.
    timezone
        The project's zone.
    label_delay_us
        The project's label delay in µs; outcomes are waited for at least three times as long.
    wait_us
        How long an event waits for its outcome, and an id is known as a duplicate; default: three label delays, or 30
        days if that is longer.

    Attributes
    ----------
    counters
        ``late``: events that came after later ones were answered. ``duplicates``: events and outcomes whose id had
        come before. ``dropped``: outcomes whose event is not (or no longer) known.
    n_events
        Events taken in.
    """

    def __init__(self, features: FeatureSet, *, timezone: str, label_delay_us: int, wait_us: int | None = None) -> None:
        self.features = features
        self.timezone = timezone
        self.label_delay_us = label_delay_us
        self.wait_us = max(3 * label_delay_us, _LEAST_WAIT) if wait_us is None else wait_us
        if features.labels is not None:
            self.wait_us = max(self.wait_us, label_delay_us)
        self.counters = {"late": 0, "duplicates": 0, "dropped": 0}
        self.n_events = 0
        self.plan = Plan(features, wait_us=self.wait_us)
        self.heap = arena.new_heap(1 << 16, max([track.words for track in self.plan.tracks], default=0))
        entities = [number for number, space in enumerate(self.plan.spaces) if not space.is_pair]
        self.ledger = Ledger(len(self.plan.spaces), entities, bytes.fromhex(features.digest)[:64])
        self.slots = [SlotMap(self.ledger.hashed, kept=space.kept) for space in self.plan.spaces]
        rule = features.labels
        self.verdicts = None if rule is None else Verdicts(rule, label_delay_us, self.ledger)
        self.now = -(1 << 62)
        self.pending: list[tuple[Seen, int, int | str]] = []
        self.due: list[tuple[int, int, str, tuple[Any, ...]]] = []
        self.early: dict[Any, tuple[int, int]] = {}
        self.sequence = 0
        self.turns = 0
        self.forgotten = self.now
        self.reader = Reader(features, self.plan, timezone)
        self.texts = Texts(self.plan.texts, self.reader.places)
        self.others = {
            name: Other(name, features, self.plan, timezone, self.ledger.hashed) for name in features.sources
        }
        self._lookups = self.reader.lookups()
        self._unanswered = np.full(len(self.plan.places), math.nan)
        self.tracks = {name: self.plan.tracks_of(name) for name in self.plan.inputs}
        self._removed = np.zeros((intake.MOST_REMOVED, 2), np.int64)
        self._entities = [
            self.reader.places[space.names[0]] if len(space.names) == 1 else -1 for space in self.plan.spaces
        ]
        self._single = {space.names[0]: i for i, space in enumerate(self.plan.spaces) if len(space.names) == 1}
        described = [
            (number, self.plan.space(space.names[0]), self.plan.space(space.names[1]))
            for number, space in enumerate(self.plan.spaces)
            if space.is_pair
        ]
        self.pairs = np.array(described, np.int64).reshape(-1, 3)
        self.pair_index = pairs.PairIndex()
        self.spaces_at = [arena.LAYOUT_WORDS + i * arena.SPACE_WORDS for i in range(len(self.plan.spaces))]

    @property
    def n_entities(self) -> int:
        """Values of entities (and pairs of them) that are remembered."""
        return sum(len(slots) for slots in self.slots) + int(self.heap[arena.N_PAIRS])

    @property
    def n_early(self) -> int:
        """Events that outcomes came for and that have not come themselves."""
        return len(self.early if self.verdicts is None else self.verdicts.early)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the state takes, names and ids among them (their objects by estimate)."""
        names = sum(slots.nbytes for slots in self.slots)
        n_rows = sum(len(found) for other in self.others.values() for found in other.latest.values())
        arrays = 8 * int(self.heap[arena.TOP]) + self.pair_index.nbytes
        return int(arrays + names + self.ledger.nbytes + self.texts.nbytes + _MESSAGE * (len(self.due) + n_rows))

    def predicted_bytes(self, events_per_day: float, n_entities: Mapping[str, int], *, rows_per_day: float = 0) -> int:
        """Return what the state takes at most once its longest window is full.

        Parameters
        ----------
        events_per_day
            Events, all of which get an outcome.
        n_entities
            Entity, pair as ``card+shop``, or column whose latest text is an answer -> values that are remembered at
            a time.
        rows_per_day
            Rows of other tables.

        Notes
        -----
        A position of a log takes some words of 8 bytes: one for the time, one for each column, and what is kept with
        it (a count a half, a sum 2, a sum of squares 4, a code 1.5, or 6 in logs of more than 32 positions). Logs have
        room for some positions that no window needs any more and for those to come, a third more than are needed.
        """
        return (
            self.plan.predicted_bytes(
                events_per_day,
                n_entities,
                rows_per_day=rows_per_day,
                wait_us=self.wait_us,
                record_words=self.ledger.width,
            )
            + _FREE_BLOCKS
        )

    # ------------------------------------------------------------ messages

    def observe(self, event: Mapping[str, Any]) -> OnlineRow:
        """Answer an event's features, then take it in.

        Parameters
        ----------
        event
            By role: ``event_id``, ``event_time`` (µs UTC, or a time with a zone), ``amount``, entities and carried
            columns. What is not there is null.

        Raises
        ------
        DataError
            An id that is neither a whole number nor a text, or a value that does not fit its column's type.
        """
        key = _id(event.get("event_id"))
        seen, answered = self._answered(event)
        if key in self.ledger:
            self.counters["duplicates"] += 1
            return answered
        self.texts.take(seen.row, self.now)
        self.n_events += 1
        number = self.ledger.add(key, seen.time)
        if self.verdicts is not None and event.get(DECLINED):
            self.verdicts.decline(number)
        if seen.time < self.now:
            self.counters["late"] += 1
            self._take_event(seen, number)
        else:
            self.pending.append((seen, number, key))
        if self.verdicts is not None:
            self._open_verdicts(key, number, self.verdicts)
            return answered
        waiting = self.early.pop(key, None)
        if waiting is not None and waiting[1] < seen.time:
            self.counters["dropped"] += 1
        elif waiting is not None:
            self.label(key, *waiting)
        return answered

    def peek(self, event: Mapping[str, Any]) -> OnlineRow:
        """Answer an event's features without taking it in.

        Asking at a time lets time pass: events that come later with an earlier time are late.
        """
        return self._answered(event)[1]

    def label(self, event_id: Any, label: int | None, label_time_us: int) -> None:
        """Take in an outcome, which counts from its label_time on.

        It may come before that time, after it, or even before its event; dated before its event, it is then dropped
        when the event comes. Of several outcomes of one event the last one
        that comes before the event's outcome counted is taken; later ones are counted as duplicates. None is no
        outcome.

        Where labels are in tables of their own, every outcome is an entry: of several the latest by label_time counts,
        of two at one instant fraud, and one that is dated before its event counts from the event on. None says that the
        event was declined: it never becomes legitimate by silence.

        Raises
        ------
        DataError
            A label that is neither 1, 0 nor None, or a label_time before its event.
        """
        number = self.check_label(event_id, label, label_time_us)
        if self.verdicts is not None:
            self._take_verdict(event_id, number, label, micros(label_time_us, name="label_time"), self.verdicts)
            return
        if label is None or not self.plan.needs_labels:
            return
        time = micros(label_time_us, name="label_time")
        if number is None:
            self.early.pop(event_id, None)
            self.early[event_id] = label, time
            self._forget_early(_MOST_EARLY)
            return
        if self.ledger.is_settled(number):
            self.counters["duplicates"] += 1
            return
        if self.ledger.time(number) <= self.forgotten - self.wait_us:
            self.counters["dropped"] += 1
            return
        self.expect(number, label, time)

    def check_label(self, event_id: Any, label: int | None, label_time_us: int) -> int | None:
        """Check that `label` can be taken, and take nothing; give the record of its event, None where none is known.

        Raises
        ------
        DataError
            As `label` does.
        """
        time = micros(label_time_us, name="label_time")
        number = self.ledger.get(_id(event_id))
        if label not in (None, 0, 1):
            msg = "label: is neither 1, 0 nor null"
            raise DataError(msg)
        dated_before = label is not None and number is not None and time < self.ledger.time(number)
        if dated_before and self.verdicts is None:
            msg = "label_time: the label arrived before its event; expected none"
            raise DataError(msg, hint="are both times in the same zone?")
        return number

    def expect(self, number: int, label: int, time: int) -> None:
        """Schedule an outcome of the event with this record for the time from which it counts."""
        self.sequence += 1
        due = max(time, self.ledger.time(number) + 1)
        self.ledger.expect(number, self.sequence, due)
        self.hold(number)
        self._schedule(due, LABELS, (number, label, time))

    # ------------------------------------------------------------ labels that may change

    def _take_verdict(
        self, event_id: Any, number: int | None, label: int | None, stated: int, verdicts: Verdicts
    ) -> None:
        if not self.plan.needs_labels:
            return
        if number is None:
            found = verdicts.early.pop(event_id, [])
            verdicts.early[event_id] = [*found, (stated, label)]
            self._forget_early(_MOST_EARLY)
            return
        if self.ledger.time(number) <= self.forgotten - self.wait_us:
            self.counters["dropped"] += 1
            return
        if label is None:
            verdicts.decline(number)
            self._settle(number)
        elif verdicts.add(number, stated, label):
            self.expect_change(number, stated)
        else:
            self.counters["duplicates"] += 1

    def _open_verdicts(self, key: Any, number: int, verdicts: Verdicts) -> None:
        """Take in what was said of an event before it came, and expect silence about one that came late."""
        for stated, label in verdicts.early.pop(key, []):
            self._take_verdict(key, number, label, stated, verdicts)
        due = verdicts.silence_due(number)
        if due is not None and self.plan.needs_labels and self.ledger.time(number) < self.now:
            self.expect_change(number, due)

    def expect_change(self, number: int, stated: int) -> None:
        """Let what is known of an event count by now, or, where it is stated for later, by then."""
        due = max(stated, self.ledger.time(number) + 1)
        if due <= self.now:
            self._settle(number)
            return
        self.sequence += 1
        self.ledger.expect(number, self.sequence, max(due, self.ledger.due(number)))
        self.hold(number)
        self._schedule(due, LABELS, (number,))

    def _settle(self, number: int) -> None:
        """Bring what the logs hold of the label of an event to what is known by now."""
        found = None if self.verdicts is None else self.verdicts.settle(number, self.now)
        if found is None:
            return
        happened, slots = self.ledger.time(number), self.ledger.slots(number)
        old, new = found
        if old is not None:
            self._take_back(happened, slots, old[1], old[0])
        if new is not None:
            self._take_label(happened, slots, new[1], new[0])

    def _take_back(self, happened: int, slots: Array, label: int, time: int) -> None:
        self.turns += 1
        own = np.array([happened if label == 1 else math.nan, happened], np.float64)
        while not intake.take_back(self.heap, self.plan.layout, self.tracks[LABELS], self.plan.links, slots, own, time):
            self.lengthen()

    def hold(self, number: int) -> None:
        """Keep the slots of an event until its outcome counts, where one is expected and it was taken in."""
        due = self.ledger.due(number)
        if due:
            intake.hold(self.heap, self.ledger.slots(number), due)

    def check_source(self, name: str, row: Mapping[str, Any]) -> None:
        """Check that `source` can take a row, and take nothing.

        Raises
        ------
        DataError
            A time or value that does not fit.
        """
        if name in self.others:
            self.others[name].read(row)

    def source(self, name: str, row: Mapping[str, Any]) -> None:
        """Take in a row of another table.

        Parameters
        ----------
        name
            That of ``[sources.NAME]``.
        row
            ``event_time`` (since when it is valid), ``usable_time`` (since when it is known; default: event_time),
            both µs UTC or times with a zone, its entities and columns.
        """
        if name not in self.others:
            return
        content = self.others[name].read(row)
        self.sequence += 1
        self._schedule(content[1] + 1, name, content)

    def _schedule(self, due: int, kind: str, content: tuple[Any, ...]) -> None:
        if due <= self.now:
            self._apply(kind, content, self.sequence)
        else:
            heapq.heappush(self.due, (due, self.sequence, kind, content))

    # ------------------------------------------------------------ time

    def _advance(self, now: int) -> None:
        """Take in all that counts by now."""
        if now <= self.now:
            return
        if self.pending and self.pending[0][0].time < now:
            for event, number, _ in sorted(self.pending, key=_by_id):
                self._take_event(event, number)
            self.pending.clear()
        due = self.due
        self.now = now
        if self.verdicts is not None and self.plan.needs_labels:
            for number in self.verdicts.due_by_silence(now):
                self._settle(number)
        while due and due[0][0] <= now:
            _, sequence, kind, content = heapq.heappop(due)
            self._apply(kind, content, sequence)
        self.turns += 1
        if self.turns >= _FORGET_EVERY:
            self._forget(now)

    def _apply(self, kind: str, content: tuple[Any, ...], sequence: int) -> None:
        if kind != LABELS:
            self._take_row(kind, content)
            return
        if self.verdicts is not None:
            if self.ledger.holds(content[0]):
                self._settle(content[0])
            if self.ledger.due(content[0]) <= self.now and self.ledger.fulfilled(content[0]):
                self.verdicts.drop(content[0])
            return
        number, label, time = content
        settled = self.ledger.settle(number, sequence)
        if settled is not None:
            self._take_label(*settled, label, time)

    def _forget(self, now: int) -> None:
        """Drop what no later event can see, up to twice as much as the messages since the last time can have brought.

        So nothing is left behind for ever, however many messages share an instant, and no message has to wait while
        all that a quiet weekend has let expire is dropped.
        """
        self.forgotten = now
        n_taken, self.turns = self.turns, 0
        for _ in range(1 + 2 * n_taken * len(self.slots) // intake.MOST_REMOVED):
            n = intake.forget(self.heap, self.plan.layout, now, self._removed)
            for number, slot in self._removed[:n].tolist():
                self.slots[number].forget(slot)
            if n < intake.MOST_REMOVED:
                break
        first = self.ledger.first
        self.ledger.forget(now - max(self.wait_us, 0), most=2 * n_taken)
        if self.verdicts is not None:
            self.verdicts.forget(first, self.ledger.first)
        for other in self.others.values():
            other.forget(now, most=2 * n_taken)
        self.texts.forget(now, most=2 * n_taken * max(1, len(self.texts.columns)))
        while self.verdicts is not None and self._early_is_old(self.verdicts, now):
            self._forget_early(len(self.verdicts.early) - 1)
        while self.early and self.early[next(iter(self.early))][1] <= now - self.wait_us:
            self._forget_early(len(self.early) - 1)

    def _early_is_old(self, verdicts: Verdicts, now: int) -> bool:
        """Say whether the oldest event that was spoken of and has not come is not waited for any longer."""
        oldest = next(iter(verdicts.early.values()), None)
        return oldest is not None and max(stated for stated, _ in oldest) <= now - self.wait_us

    def _forget_early(self, most: int) -> None:
        """Drop the oldest outcomes whose events have not come, beyond the most that are kept."""
        early: dict[Any, Any] = self.early if self.verdicts is None else self.verdicts.early
        while len(early) > most:
            del early[next(iter(early))]
            self.counters["dropped"] += 1

    # ------------------------------------------------------------ answering

    def _answered(self, event: Mapping[str, Any]) -> tuple[Seen, OnlineRow]:
        time, row = self.reader.read(event)
        self._advance(time)
        slots, out = self._slots_of(row), self._unanswered.copy()
        ask = answers.answer if time >= self.now else late.answer_late

        def asked(program: Array, own: Array, codes: Array, out: Array) -> None:
            ask(self.heap, program, slots, own, codes, time, out)

        for spec, place, at, typed in self._lookups:
            value = typed(self.others[spec.source].looked_up(spec, row[self.reader.places[spec.entity]], time), time)
            row[place] = value
            if at >= 0 and value is not None:
                out[at] = value
        seen = self.reader.answer(time, row, asked, out, self.texts)
        return seen, OnlineRow(out[: len(self.features.features)], self.reader.categories(row))

    def _slots_of(self, row: list[Any]) -> Array:
        """Return the slot of an event in each key space: NULL without a value, EMPTY where it was never seen."""
        found = [
            arena.NULL if place < 0 or row[place] is None else slots.get(row[place]) or arena.EMPTY
            for place, slots in zip(self._entities, self.slots, strict=True)
        ]
        out = np.array(found, np.int64)
        if len(self.pairs):
            self.pair_index.look_up(self.heap, self.pairs, out)
        return out

    # ------------------------------------------------------------ taking in

    def _take_event(self, event: Seen, number: int) -> None:
        self.turns += 1
        slots = self._made(event.row)
        while not intake.take_event(
            self.heap, self.plan.layout, self.tracks[""], self.plan.links, self.plan.decays, self.plan.hops, slots,
            event.own, event.codes, event.time, self.now,
        ):  # fmt: skip
            self.lengthen()
        self.ledger.keep_slots(number, slots)
        if self.plan.needs_labels:
            self.hold(number)

    def _take_label(self, happened: int, slots: Array, label: int, time: int) -> None:
        self.turns += 1
        own = np.array([happened if label == 1 else math.nan, happened], np.float64)
        while not intake.take_label(
            self.heap, self.plan.layout, self.tracks[LABELS], self.plan.links, slots, own, time, self.now
        ):
            self.lengthen()

    def _take_row(self, name: str, content: tuple[Any, ...]) -> None:
        self.turns += 1
        entities, own, codes = self.others[name].take(content)
        slots = np.full(len(self.plan.spaces), arena.NULL, np.int64)
        for entity, value in entities.items():
            number = self._single.get(entity)
            if number is not None and value is not None:
                slots[number] = self._slot(number, value)
        while not intake.take_other(
            self.heap, self.plan.layout, self.tracks[name], slots, own, codes, content[1], self.now
        ):
            self.lengthen()

    def _made(self, row: list[Any]) -> Array:
        """Return the slots of an event that is taken in; those that are not there are made."""
        found = [
            arena.NULL if place < 0 or row[place] is None else self._slot(number, row[place])
            for number, place in enumerate(self._entities)
        ]
        out = np.array(found, np.int64)
        if len(self.pairs):
            while not self.pair_index.make(self.heap, self.pairs, out):
                self.lengthen()
        return out

    def index(self) -> None:
        """Make the indexes of pairs and ids now, so that no event has to wait for them."""
        self.ledger.index()
        self.pair_index.require(self.heap, 0)

    def _slot(self, number: int, value: Any) -> int:
        slot = self.slots[number].get(value)
        if slot is not None:
            return slot
        while not (made := int(arena.new_slot(self.heap, self.plan.layout, self.spaces_at[number]))):
            self.lengthen()
        self.slots[number].add(value, made)
        return made

    def lengthen(self, words: int = 0) -> None:
        """Make the heap longer, by a sixteenth or by ``words``.

        Raises
        ------
        DataError
            It would be longer than slots can be named in 32 bits.
        """
        size = len(self.heap) + max(len(self.heap) >> 4, _GROWTH, words)
        if size > LARGEST_SLOT:
            msg = "the state needs more than 34 GB of memory, the most that it can hold"
            raise DataError(msg, hint="use shorter windows, or fewer features without a window (first, last, pairs)")
        if (longer := lengthened(self.heap, size)) is not None:
            self.heap = longer
        else:
            self.heap.resize(size, refcheck=False)
