"""Messages of several partitions in the order of time, with a bound on memory and on waiting.

Owns the consumer: manual assignment, offsets that it is told, a stop where the broker no longer has one. Messages of
one partition keep their order; among partitions the earliest comes first. A partition that has messages which have not
come yet is waited for, a bounded time; one whose end was reached is not.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from fraudctl.errors import UsageError
from fraudctl.scoring.consumed import Place
from fraudctl.stream.bounded import leave
from fraudctl.stream.codec import Codec, Message
from fraudctl.stream.topics import lost

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError

CONSUMER: Final[dict[str, str | int | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 10,
    "fetch.wait.max.ms": 100,
    "log_level": 2,
}
"""An offset that is not there is an error; nothing is committed but what the flow commits. Where one partition fills
the client's queue, the others are fetched again after 10 ms, not after 1 s, and one that is resumed waits 100 ms for
the answer to what was asked for the others, not 500: a message waits no longer for an earlier one."""
HELD, HELD_BY_ALL = 1_000, 40_000
"""Messages of one partition that are held, above which it is paused: so many at least, and its share of all. A client
whose partitions were all paused fetches up to a second after one was resumed: so nothing is fetched as long as a batch
is there, and partitions are paused only while another is waited for."""
ALIVE: Final = 10.0
"""Seconds after which a client is polled while answers wait for a broker."""
_MOST: Final = 2_000
"""Messages that are fetched in one call."""
PATIENT: Final = 60.0
"""Seconds that messages wait for an earlier one, at least, where all of them are there: nothing is in a hurry then."""


class Intake:
    """Reads partitions from given offsets on.

    Parameters
    ----------
    client
        A consumer without an assignment; closed by `close`.
    offsets
        The next offset of each partition.
    ends
        The offset after the last of each partition, as it was last known.
    codec
        Reads messages.
    wait
        Seconds that messages wait for an earlier one.
    until_end
        Whether to stop at ``ends``; what came later is left, and messages wait `PATIENT` seconds at least.

    Attributes
    ----------
    waits_given_up
        Times that messages did not wait any longer for an earlier one of a partition: their order is not that of time.
    problems
        Errors that pass, by the name of their kind: a broker that is away for some time.
    """

    def __init__(
        self,
        client: Consumer,
        offsets: Mapping[Place, int],
        ends: Mapping[Place, int],
        codec: Codec,
        *,
        wait: float,
        until_end: bool = False,
    ) -> None:
        from confluent_kafka import TopicPartition

        self._client, self._codec = client, codec
        self._wait = max(wait, PATIENT) if until_end else wait
        self._ends = dict(ends)
        self._stop = dict(ends) if until_end else {}
        self._fetched = dict(offsets)
        self._held: dict[Place, deque[Message]] = {place: deque() for place in offsets}
        self._heads: list[tuple[int, int, Place]] = []
        self._times = dict.fromkeys(offsets, -(2**63))
        self._awaited: set[Place] = set()
        self._given_up: set[Place] = set()
        self._paused: set[Place] = set()
        self._since = self._polled = 0.0
        self._most_held = max(HELD, HELD_BY_ALL // max(len(self._held), 1))
        self._partitions = {place: TopicPartition(*place) for place in offsets}
        self.waits_given_up = 0
        self.problems = Counter[str]()
        client.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        self._look(offsets)

    @property
    def done(self) -> bool:
        """Whether everything up to the ends has been taken; never without ``until_end``."""
        return (
            bool(self._stop)
            and not self._heads
            and all(self._fetched[place] >= self._stop[place] for place in self._stop)
        )

    def take(self, most: int, timeout: float) -> list[Message]:
        """Return the next messages in order, at most so many; none where nothing comes in ``timeout`` seconds.

        Raises
        ------
        DataError
            The broker no longer has an offset.
        UsageError
            A topic is gone or may not be read.
        """
        until = time.monotonic() + timeout
        if self._awaited or self._n_held() < most:
            self._fetch(0.0 if self._heads else timeout)
        else:
            self._resume_short()
        while True:
            out = self._ready(most)
            left = until - time.monotonic()
            if out or left <= 0 or self.done:
                return out
            self._fetch(min(left, self._wait / 4) if self._heads else left)

    def keep_alive(self) -> None:
        """Poll now and then, while answers wait for a broker."""
        if time.monotonic() - self._polled >= ALIVE and self._n_held() < HELD_BY_ALL:
            self._fetch(0.0)

    def _n_held(self) -> int:
        return sum(map(len, self._held.values()))

    def end_of(self, place: Place) -> int:
        """Return the offset after the last message of a partition, as far as it is known without asking."""
        known = self._client.get_watermark_offsets(self._partitions[place], cached=True)
        return max(self._ends[place], known[1] if known is not None else -1)

    def behind(self) -> dict[Place, int]:
        """Return how many messages of each partition have not been taken, as far as it is known without asking."""
        return {
            place: max(self.end_of(place) - (queue[0].offset if queue else self._fetched[place]), 0)
            for place, queue in self._held.items()
        }

    def close(self) -> None:
        """Leave the brokers."""
        leave(self._client)

    # ------------------------------------------------------------ order

    def _ready(self, most: int) -> list[Message]:
        """Return the messages whose turn it is."""
        out: list[Message] = []
        while self._heads and len(out) < most and not self._waits():
            place = heapq.heappop(self._heads)[2]
            queue = self._held[place]
            out.append(queue.popleft())
            if queue:
                self._push(place)
            else:
                self._look([place])
        return out

    def _push(self, place: Place) -> None:
        """Put the first message of a partition in order; one that says no time comes when its predecessor came."""
        message = self._held[place][0]
        if message.time is not None:
            self._times[place] = message.time
        heapq.heappush(self._heads, (self._times[place], message.rank, place))

    def _look(self, places: Mapping[Place, int] | list[Place]) -> None:
        """Find out which partitions without a message have some that have not come yet."""
        for place in places:
            behind = not self._held[place] and self._fetched[place] < self._stop.get(place, self.end_of(place))
            if behind and place not in self._given_up:
                if not self._awaited:
                    self._since = time.monotonic()
                self._awaited.add(place)
            else:
                self._awaited.discard(place)

    def _waits(self) -> bool:
        """Say whether a partition is waited for; one that kept others waiting for too long is not, until it comes."""
        if self._awaited and time.monotonic() - self._since >= self._wait:
            self.waits_given_up += len(self._awaited)
            self._given_up |= self._awaited
            self._awaited.clear()
        return bool(self._awaited)

    # ------------------------------------------------------------ fetching

    def _fetch(self, timeout: float) -> None:
        self._receive(timeout)
        self._look([place for place, queue in self._held.items() if not queue])
        if self._awaited:
            self._pause(
                [p for p, queue in self._held.items() if len(queue) >= self._most_held and p not in self._paused]
            )
        self._resume_short()

    def _resume_short(self) -> None:
        self._resume([place for place in self._paused if len(self._held[place]) < (self._most_held + 1) // 2])

    def _receive(self, timeout: float) -> None:
        first = self._client.poll(timeout)
        self._polled = time.monotonic()
        if first is None:
            return
        for found in (first, *self._client.consume(_MOST, 0.0)):
            place = Place(found.topic() or "", found.partition() or 0)
            error = found.error()
            if error is not None:
                self._failed(place, found.offset() or 0, error)
                continue
            offset, stamp = found.offset() or 0, found.timestamp()[1]
            if offset >= self._stop.get(place, offset + 1) or offset < self._fetched[place]:
                continue
            self._fetched[place] = offset + 1
            self._given_up.discard(place)
            self._awaited.discard(place)
            message = Message(place, offset, found.value(), found.key(), max(stamp, 0) / 1e3)
            self._held[place].append(self._codec.read(message))
            if len(self._held[place]) == 1:
                self._push(place)

    def _failed(self, place: Place, offset: int, error: KafkaError) -> None:
        """Take in what is no message: the end of a partition, an error that passes, or one that ends the run."""
        from confluent_kafka import KafkaError as Kafka

        code = error.code()
        if code == Kafka._PARTITION_EOF:  # noqa: SLF001 - that is its public name
            self._fetched[place] = max(self._fetched[place], offset)
        elif code in (Kafka._AUTO_OFFSET_RESET, Kafka.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            raise lost(place, self._fetched.get(place, offset), error.name())
        elif code in (Kafka.UNKNOWN_TOPIC_OR_PART, Kafka.TOPIC_AUTHORIZATION_FAILED) or error.fatal():
            msg = f"{place} cannot be read any longer: {error.name()}"
            raise UsageError(msg, hint="see whether the topic is there and this client may read it, and start again")
        else:
            self.problems[error.name()] += 1

    def _pause(self, places: list[Place]) -> None:
        self._switch(self._client.pause, places)
        self._paused.update(places)

    def _resume(self, places: list[Place]) -> None:
        self._switch(self._client.resume, places)
        self._paused.difference_update(places)

    def _switch(self, act: Callable[..., None], places: list[Place]) -> None:
        if places:
            act([self._partitions[place] for place in places])
