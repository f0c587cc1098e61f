"""How far behind a stream is, and what it met: for Prometheus and for the terminal. No series carries an id."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from fraudctl.scoring.consumed import Place
from fraudctl.server.telemetry import Histogram, labels, resident_bytes, series
from fraudctl.stream.codec import Message

MOST_PARTITIONS: Final = 64
"""Partitions with a series of their own: those that are furthest behind. The sum over all of a topic is there too."""


class Meter:
    """What a run has done so far.

    Attributes
    ----------
    batches, messages
        Batches that were logged, and messages in them.
    dead
        Dead letters by the class of their error.
    sent_again
        Messages that a start produced again, because it was not known whether they were out.
    already_out
        Messages that were not produced, because the transaction with them had been committed before.
    rebalances
        Changes of the partitions that the group has assigned.
    """

    def __init__(self) -> None:
        self.batches = self.messages = self.sent_again = self.last_batch = self.already_out = self.rebalances = 0
        self.transactions: Counter[str] = Counter()
        self.dead = Counter[str]()
        self.log_seconds = Histogram("fraudctl_stream_log_seconds", "Time of one write of a batch to the log.")
        self.produce_seconds = Histogram(
            "fraudctl_stream_produce_seconds", "Time until a broker has all that a batch produces."
        )
        self._stamps: dict[Place, float] = {}

    def took(self, messages: list[Message]) -> None:
        """Count a batch that is in the log."""
        self.batches += 1
        self.messages += len(messages)
        self.last_batch = len(messages)
        self._stamps.update({message.place: message.stamp for message in messages})

    def seconds_behind(self, behind: Mapping[Place, int], now: float) -> float:
        """Return how long ago the last message was produced that was taken, of the partition where that is longest.

        Partitions all of whose messages were taken do not count.
        """
        stamps = [self._stamps.get(place, 0.0) for place, count in behind.items() if count]
        return max((now - stamp for stamp in stamps if stamp), default=0.0)

    def text(
        self,
        behind: Mapping[Place, int],
        counts: Mapping[str, int],
        *,
        now: float,
        problems: Mapping[str, int],
        waits_given_up: int = 0,
    ) -> str:
        """Return everything in Prometheus' text format.

        Parameters
        ----------
        behind
            Messages of each partition that have not been taken.
        counts
            What was taken, since the state was built.
        now
            Seconds since 1970.
        problems
            Errors of brokers that passed, by kind.
        waits_given_up
            Times that messages did not wait any longer for an earlier one.
        """
        given_up = series(
            "fraudctl_stream_waits_given_up_total", "counter", "Waits for an earlier message that were given up.",
            {"": waits_given_up},
        )  # fmt: skip
        return "\n".join((*self._lines(behind, counts, now, problems), *given_up)) + "\n"

    def _lines(
        self, behind: Mapping[Place, int], counts: Mapping[str, int], now: float, problems: Mapping[str, int]
    ) -> Iterator[str]:
        topics = Counter[str]()
        for place, count in behind.items():
            topics[place.topic] += count
        worst = heapq.nlargest(MOST_PARTITIONS, behind.items(), key=lambda item: item[1])
        yield from series("fraudctl_stream_lag", "gauge", "Messages that have not been taken, by partition.", {
            labels(topic=place.topic, partition=str(place.partition)): count for place, count in sorted(worst)
        })  # fmt: skip
        yield from series("fraudctl_stream_topic_lag", "gauge", "Messages that have not been taken, by topic.", {
            labels(topic=topic): count for topic, count in topics.items()
        })  # fmt: skip
        yield from series(
            "fraudctl_stream_lag_seconds", "gauge", "Age of the last message taken of a partition that is behind.",
            {"": self.seconds_behind(behind, now)},
        )  # fmt: skip
        yield from series("fraudctl_stream_taken_total", "counter", "What was taken in, since the state was built.", {
            labels(what=what): count for what, count in counts.items()
        })  # fmt: skip
        yield from series("fraudctl_stream_dead_letters_total", "counter", "Dead letters of this run, by error.", {
            labels(error=error): count for error, count in self.dead.items()
        })  # fmt: skip
        yield from series("fraudctl_stream_broker_errors_total", "counter", "Errors of brokers that passed.", {
            labels(error=error): count for error, count in problems.items()
        })  # fmt: skip
        yield from series("fraudctl_stream_transactions_total", "counter", "Transactions, by how they ended.", {
            labels(end=end): count for end, count in self.transactions.items()
        })  # fmt: skip
        plain = (
            ("batches_total", "counter", "Batches of this run.", self.batches),
            ("messages_total", "counter", "Messages of this run.", self.messages),
            ("last_batch_messages", "gauge", "Messages in the last batch.", self.last_batch),
            ("sent_again_total", "counter", "Messages that the start produced again.", self.sent_again),
            ("already_out_total", "counter", "Messages that were out, and not produced again.", self.already_out),
            ("rebalances_total", "counter", "Changes of the partitions that the group assigned.", self.rebalances),
            ("resident_bytes", "gauge", "Memory that the process takes.", resident_bytes()),
        )
        for name, kind, words, value in plain:
            yield from series(f"fraudctl_stream_{name}", kind, words, {"": value})
        yield from self.log_seconds.lines()
        yield from self.produce_seconds.lines()
