"""The order of messages among partitions, with a consumer that delivers as it likes."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.project.stream import StreamSection
from fraudctl.scoring.consumed import Consumed, Output, Place, as_list
from fraudctl.stream import intake
from fraudctl.stream.codec import Message
from fraudctl.stream.intake import CONSUMER, Intake


def message(partition: int, offset: int, time: int) -> Any:
    value = json.dumps({"time": time}).encode()
    return SimpleNamespace(
        topic=lambda: "t", partition=lambda: partition, offset=lambda: offset, error=lambda: None,
        value=lambda: value, key=lambda: None, timestamp=lambda: (1, 0),
    )  # fmt: skip


class Delivers:
    """A consumer of one topic that hands out messages of its partitions in a given order of partitions."""

    def __init__(self, times: Sequence[Sequence[int]], order: Sequence[int]) -> None:
        self._times, self._order = times, deque(order)
        self._next = [0] * len(times)
        self._paused: set[int] = set()

    def assign(self, _: object) -> None:
        pass

    def pause(self, places: Sequence[Any]) -> None:
        self._paused |= {item.partition for item in places}

    def resume(self, places: Sequence[Any]) -> None:
        self._paused -= {item.partition for item in places}

    def get_watermark_offsets(self, place: Any, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, len(self._times[place.partition])

    def poll(self, _: float) -> Any:
        for _ in range(len(self._order)):
            number = self._order[0]
            self._order.rotate(-1)
            at = self._next[number]
            if number not in self._paused and at < len(self._times[number]):
                self._next[number] += 1
                return message(number, at, self._times[number][at])
        return None

    def consume(self, most: int, _: float) -> list[Any]:
        return [found for found in (self.poll(0) for _ in range(most)) if found is not None]


class Reads:
    """Takes the time from the message."""

    def read(self, message: Message) -> Message:
        message.time = json.loads(message.content or b"")["time"]
        return message


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=30).map(sorted), min_size=1, max_size=5),
    st.randoms(use_true_random=False), st.integers(1, 7), st.integers(2, 9),
)  # fmt: skip
def test_messages_come_in_order_of_time_and_none_is_lost(
    times: list[list[int]], chance: Any, most: int, held: int
) -> None:
    order = [number for number in range(len(times)) for _ in range(chance.randint(1, 4))]
    chance.shuffle(order)
    places = {Place("t", number): 0 for number in range(len(times))}
    ends = {place: len(times[place.partition]) for place in places}
    before = intake.HELD, intake.HELD_BY_ALL, intake._MOST
    intake.HELD, intake.HELD_BY_ALL, intake._MOST = held, most + held + 2, held
    try:
        opened: Any = Delivers(times, order)
        reads: Any = Reads()
        source = Intake(opened, places, ends, reads, wait=60, until_end=True)
        out: list[Message] = []
        while not source.done:
            found = source.take(most, 1)
            assert len(found) <= most
            assert len(opened._paused) < len(times), "a client without any partition to fetch falls asleep"
            out += found
    finally:
        intake.HELD, intake.HELD_BY_ALL, intake._MOST = before
    assert [item.time for item in out] == sorted(time for part in times for time in part)
    for place in places:
        offsets = [item.offset for item in out if item.place == place]
        assert offsets == list(range(ends[place]))
    assert sum(source.behind().values()) == 0


def test_a_partition_that_keeps_others_waiting_is_waited_for_once() -> None:
    places = {Place("t", 0): 0, Place("t", 1): 0}
    opened: Any = Delivers([[1, 2], []], [0, 1])
    opened.get_watermark_offsets = lambda place, cached: (0, 2)  # says that partition 1 has messages, which never come
    reads: Any = Reads()
    source = Intake(opened, places, dict.fromkeys(places, 2), reads, wait=0.01)
    out: list[Message] = []
    while len(out) < 2:
        out += source.take(1, 1)
    assert [item.time for item in out] == [1, 2]
    assert source.waits_given_up == 1
    assert source.behind() == {Place("t", 0): 0, Place("t", 1): 2}


@pytest.mark.parametrize("until_end", [False, True])
def test_messages_wait_for_longer_where_all_of_them_are_there(
    monkeypatch: pytest.MonkeyPatch, *, until_end: bool
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(intake, "time", SimpleNamespace(monotonic=lambda: next(clock) / 10))
    places = {Place("t", 0): 0, Place("t", 1): 0}
    opened: Any = Delivers([[2, 4], [1, 3]], [0])

    poll = opened.poll

    def late(timeout: float) -> Any:
        if next(clock) > 40 and len(opened._order) == 1:  # a broker is busy for four seconds
            opened._order.append(1)
        return poll(timeout)

    opened.poll, opened.consume = late, lambda *_: []
    reads: Any = Reads()
    source = Intake(opened, places, dict.fromkeys(places, 2), reads, wait=0.5, until_end=until_end)
    out: list[Message] = []
    while len(out) < 4:
        out += source.take(1, 1)
    assert ([item.time for item in out], source.waits_given_up) == (
        ([1, 2, 3, 4], 0) if until_end else ([2, 4, 1, 3], 1)
    )


def test_nothing_is_fetched_while_a_batch_is_there_and_a_client_that_waits_is_polled_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(intake, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    place = Place("t", 0)
    opened: Any = Delivers([list(range(9))], [0])
    polls, poll = list[float](), opened.poll
    opened.poll = lambda timeout: polls.append(clock[0]) or poll(timeout)
    opened.consume = lambda *_: [found for found in (poll(0) for _ in range(5)) if found is not None]
    reads: Any = Reads()
    source = Intake(opened, {place: 0}, {place: 9}, reads, wait=0.5)
    assert [[item.time for item in source.take(2, 1)] for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert polls == [100.0], "the first call brought six"
    for clock[0] in (101.0, 109.0, 110.0, 111.0, 120.0):
        source.keep_alive()
    assert polls == [100.0, 110.0, 120.0]
    assert [item.time for item in source.take(9, 1)] == [6, 7, 8]


def test_the_client_delays_no_partition_for_longer_than_messages_wait() -> None:
    wait = StreamSection(events="e", decisions="d", dead_letters="x").wait_seconds
    for name in ("fetch.queue.backoff.ms", "fetch.wait.max.ms"):
        assert float(CONSUMER[name]) / 1000 <= wait / 4


@given(
    st.dictionaries(st.tuples(st.text(min_size=1), st.integers(0, 9)), st.integers(0, 2**62)),
    st.lists(st.one_of(
        st.tuples(st.just("t"), st.integers(0, 9), st.integers(0, 99), st.one_of(st.text(), st.integers(0, 9))),
        st.tuples(st.just("t"), st.integers(0, 9), st.integers(0, 99), st.none(), st.just("DataError"), st.text(),
                  st.one_of(st.none(), st.binary()), st.one_of(st.none(), st.binary()), st.integers(0, 99)),
    )),
)  # fmt: skip
def test_what_was_taken_is_read_as_it_was_written(offsets: dict[tuple[str, int], int], parts: list[Any]) -> None:
    outputs = [Output(Place(*item[:2]), *item[2:]) for item in parts]
    first, again = Consumed(), Consumed()
    first.assigned(True, as_list({Place(*key): value for key, value in offsets.items()}))
    first.batch(7, [["t", 0, 5]], [item.to_list() for item in outputs])
    again.read_dict(json.loads(json.dumps(first.to_dict())))
    assert again == first
    assert again.unsent == {7: tuple(outputs)}
    again.sent(6)
    assert again.unsent
    again.sent(7)
    assert (again.unsent, again.offsets[Place("t", 0)], again.last) == ({}, 5, 7)
