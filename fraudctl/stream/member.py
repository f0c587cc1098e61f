"""Membership of a group: which partitions of the events' topic are this process's own. It reads no message.

Owns the subscription. What is assigned is paused at once, for states read it by clients of their own; whoever holds a
partition that is revoked has let go of it when the callback returns, and only then does the group give it to another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from fraudctl.errors import UsageError
from fraudctl.stream.bounded import leave
from fraudctl.stream.intake import CONSUMER

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

    from fraudctl.stream.connect import Link

MEMBER: Final[dict[str, str | int | bool]] = {
    **CONSUMER,
    "auto.offset.reset": "latest",
    "enable.partition.eof": False,
    "partition.assignment.strategy": "cooperative-sticky",
}
"""Only what moves is revoked: a state that stays is not closed."""
LetGo = Callable[[frozenset[int]], object]


class Member:
    """A member of the group of a stream.

    Parameters
    ----------
    link
        How to reach the brokers.
    let_go
        Ends what holds partitions that are revoked; what it raises ends the run.
    """

    def __init__(self, link: Link, let_go: LetGo) -> None:
        self.numbers: set[int] = set()
        """Partitions that are assigned now."""
        self.assigned = False
        """Whether the group has ever said what it assigns."""
        self._meter, self._let_go = link.meter, let_go
        self.client: Consumer = link.consumer(MEMBER)
        self.client.subscribe(
            [link.section.events], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, timeout: float) -> None:
        """Stay a member, and take in what the group says.

        Raises
        ------
        UsageError
            The topic is gone, or the client may not join.
        """
        found = self.client.poll(timeout)
        error = None if found is None else found.error()
        if error is not None and not error.retriable() and (error.fatal() or "AUTHORIZATION" in error.name()):
            msg = f"this process cannot be a member of the group: {error.name()}"
            raise UsageError(msg, hint="allow this client the group and the topic of events")

    def _on_assign(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        client.incremental_assign(partitions)
        if partitions:
            client.pause(partitions)
        self.numbers |= _numbers(partitions)
        self.assigned = True
        self._meter.rebalances += 1

    def _on_revoke(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        gone = _numbers(partitions)
        self.numbers -= gone
        self._meter.rebalances += 1
        self._let_go(gone)
        client.incremental_unassign(partitions)

    def close(self) -> None:
        """Leave the group, if a broker answers; else the group misses this member after its session."""
        leave(self.client)


def _numbers(partitions: Collection[TopicPartition]) -> frozenset[int]:
    return frozenset(item.partition for item in partitions)
