"""A batch and the offset behind it in one transaction: readers of committed messages see each decision exactly once.

Owns the transactional producer. The group's offsets, which the transaction moves, say which batches are out: a batch is
visible if and only if the group is behind it. So they are read here, once, after the start has ended what an earlier
process left open; nothing else decides by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fraudctl.errors import UsageError
from fraudctl.scoring.consumed import Output, Place
from fraudctl.stream.bounded import within
from fraudctl.stream.outbox import Outbox, Sent, refused

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

PRODUCER: Final[dict[str, str | int | bool]] = {"linger.ms": 1, "log_level": 2}
"""A producer with a transactional id is idempotent; what is not delivered in time aborts, and is tried again."""
START: Final = 60.0
"""Seconds that brokers may take to end what an earlier process left open."""
_TURN: Final = 0.5
_PASSES: Final = frozenset({"_MSG_TIMED_OUT", "_TIMED_OUT", "_PURGE_QUEUE", "_PURGE_INFLIGHT", "_TRANSPORT"})
"""Why a message of a transaction was not delivered, and may be the next time."""
_MOVED: Final = frozenset({"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS", "FENCED_INSTANCE_ID"})
"""The group has moved on: whether the partitions are still ours is found out before anything is tried again."""


def named(group: str, events: str, partitions: Sequence[int] | None) -> str:
    """Return the transactional id of a state: one for each set of partitions, so that of two processes one is fenced.

    >>> named("fraudctl", "payments", [0, 1, 2, 7])
    'fraudctl.payments.0-1-2-7'
    """
    return f"{group}.{events}." + ("all" if partitions is None else "-".join(map(str, sorted(partitions))))


class Transactions(Outbox):
    """Produces each batch in a transaction with the offsets behind it.

    Parameters
    ----------
    producer
        A producer with a transactional id.
    decisions, dead_letters
        The topics.
    group
        Gives the metadata of the group that offsets are moved for.
    counts
        Counts transactions by how they ended: committed, aborted.
    """

    def __init__(
        self, producer: Producer, decisions: str, dead_letters: str, group: Callable[[], object], counts: Counter[str]
    ) -> None:
        super().__init__(producer, decisions, dead_letters, lambda _: None)
        self._group, self._counts = group, counts
        self._out: dict[Place, int] = {}

    def begin(self, committed: Callable[[], Mapping[Place, int]]) -> None:
        """End what an earlier process left open, and find out what is out.

        Parameters
        ----------
        committed
            Asks the brokers for the group's offsets.

        Raises
        ------
        UsageError
            The brokers do not allow it, or do not answer.
        """
        from confluent_kafka import KafkaException

        try:
            within(START, "init_transactions", lambda: self._producer.init_transactions(START))
            self._out = dict(committed())
        except KafkaException as error:
            msg = f"transactions cannot begin: {error.args[0].name()}"
            hint = 'allow this client the transactional id (group.events...), or write exactly_once = "event_id"'
            raise UsageError(msg, hint=hint) from error

    def is_out(self, output: Output) -> bool:
        """Return whether the transaction with an output was committed: the group is behind its message."""
        return output.offset < self._out.get(output.place, -1)

    def commit(self, offsets: Mapping[Place, int], idle: Callable[[], bool]) -> None:
        """Move the group to the offsets of the state, where batches that produced nothing have moved these."""
        self.send((), offsets, idle)

    def send(self, outputs: Sequence[Sent], offsets: Mapping[Place, int], idle: Callable[[], bool]) -> bool:
        """Run one transaction; say whether it was committed.

        Where it could not be said before the run was to stop, the next start finds out.

        Raises
        ------
        UsageError
            The brokers refuse it for good, or another process has taken over.
        """
        further = {place: offset for place, offset in offsets.items() if offset > self._out.get(place, -1)}
        if not outputs and not further:
            return True
        while not self._attempt(outputs, further, idle):
            if self._failed in _MOVED or not idle():
                return False
        self._out.update(further)
        self._counts["committed"] += 1
        return True

    def _attempt(self, outputs: Sequence[Sent], offsets: Mapping[Place, int], idle: Callable[[], bool]) -> bool:
        from confluent_kafka import KafkaException

        self._failed = None
        try:
            within(_TURN, "begin_transaction", self._producer.begin_transaction)
            return self._hand_over(outputs, idle) and self._end(offsets, idle)
        except KafkaException as error:
            self._abort(error.args[0], idle)
        return False

    def _end(self, offsets: Mapping[Place, int], idle: Callable[[], bool]) -> bool:
        """Add the offsets and commit; say whether that came to pass before the run was to stop."""
        from confluent_kafka import TopicPartition

        positions, group = [TopicPartition(*place, offset) for place, offset in offsets.items()], self._group()
        added = self._insist(
            "send_offsets_to_transaction",
            lambda: self._producer.send_offsets_to_transaction(positions, group, _TURN),
            idle,
        )
        return added and self._insist("commit_transaction", lambda: self._producer.commit_transaction(_TURN), idle)

    def _insist(self, name: str, call: Callable[[], object], idle: Callable[[], bool]) -> bool:
        """Make a call until it has an answer; say whether it had one before the run was to stop."""
        from confluent_kafka import KafkaException

        while True:
            try:
                within(_TURN, name, call)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                if not idle():
                    return False
            else:
                return True

    def _abort(self, error: KafkaError, idle: Callable[[], bool]) -> None:
        """Undo a transaction that cannot be committed, so that it can be tried again.

        Raises
        ------
        UsageError
            Trying again would not help.
        """
        if error.fatal():
            msg = f"another process produces for these partitions, or this one was away for too long: {error.name()}"
            raise UsageError(
                msg, hint="two never read one set of partitions for one group; after a new start it goes on"
            )
        if not error.txn_requires_abort():
            raise refused(error.name())
        self._insist("abort_transaction", lambda: self._producer.abort_transaction(_TURN), idle)
        self._producer.poll(0)
        self._counts["aborted"] += 1
        if self._failed is not None and self._failed not in _PASSES:
            raise refused(self._failed)
        self._failed = error.name()
        if self._failed.endswith("_AUTHORIZATION_FAILED"):
            raise refused(self._failed)
