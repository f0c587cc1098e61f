"""What a batch has to produce: decisions and dead letters, in order, until a broker has them all.

Owns the idempotent producer. The same output gives the same bytes, key and headers, however often it is produced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fraudctl.errors import UsageError
from fraudctl.scoring import wire
from fraudctl.scoring.consumed import Output, Place

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

LARGEST: Final = 900_000
"""Bytes of a message that a dead letter holds; of larger ones only the position is sent on."""
PRODUCER: Final[dict[str, str | int | bool]] = {
    "enable.idempotence": True,
    "delivery.timeout.ms": 0,
    "linger.ms": 1,
    "log_level": 2,
}
"""Answers wait for a broker that is away, however long; meanwhile nothing is taken."""
_TURN: Final = 0.1
Sent = tuple[Output, bytes | None]
"""What is produced: an output with its answer; dead letters have none."""


class Outbox:
    """Produces to the topics of decisions and dead letters.

    Parameters
    ----------
    producer
        An idempotent producer.
    decisions, dead_letters
        The topics.
    copy
        Notes offsets for the group.

    Attributes
    ----------
    encode
        Turns an answer into the content of its message; None where it is the content.
    """

    encode: Callable[[bytes], bytes] | None = None

    def __init__(
        self, producer: Producer, decisions: str, dead_letters: str, copy: Callable[[Mapping[Place, int]], None]
    ) -> None:
        self._producer, self._decisions, self._dead_letters, self._copy = producer, decisions, dead_letters, copy
        self._failed: str | None = None

    def is_out(self, output: Output) -> bool:  # noqa: ARG002 - only a transaction can tell
        """Return whether readers have an output already, as far as the group's offsets prove it."""
        return False

    def commit(self, offsets: Mapping[Place, int], idle: Callable[[], bool]) -> None:  # noqa: ARG002
        """Copy the offsets of the state to the group, for tools that show lag."""
        self._copy(offsets)

    def send(self, outputs: Sequence[Sent], offsets: Mapping[Place, int], idle: Callable[[], bool]) -> bool:  # noqa: ARG002
        """Produce outputs in order and wait until a broker has them all; say whether that came to pass.

        Parameters
        ----------
        outputs
            What is produced.
        offsets
            The next offset of each partition after the messages that these outputs are for.
        idle
            Called while it waits; says whether to go on waiting.

        Raises
        ------
        UsageError
            The broker refuses one for good.
        """
        self._failed = None
        if not self._hand_over(outputs, idle):
            return False
        while self._producer.flush(_TURN):
            if not idle():
                return False
        if self._failed is not None:
            raise refused(self._failed)
        return True

    def _hand_over(self, outputs: Sequence[Sent], idle: Callable[[], bool]) -> bool:
        """Give outputs to the producer; say whether it took them all before the run was to stop."""
        for output, answer in outputs:
            while not self._produce(output, answer):
                if not idle():
                    return False
        return True

    def _produce(self, output: Output, answer: bytes | None) -> bool:
        """Hand an output to the producer; say whether there was room."""
        try:
            if answer is not None:
                content = answer if self.encode is None else self.encode(answer)
                self._producer.produce(
                    self._decisions, value=content, key=str(output.event_id), headers=_headers(output, answer),
                    on_delivery=self._delivered,
                )  # fmt: skip
            else:
                self._producer.produce(
                    self._dead_letters, value=output.content, key=output.key, headers=_about(output),
                    on_delivery=self._delivered,
                )  # fmt: skip
        except BufferError:
            self._producer.poll(_TURN)
            return False
        return True

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failed = self._failed or error.name()


def refused(reason: str) -> UsageError:
    """Return the error of an output that a broker refuses for good."""
    msg = f"the broker does not take what is produced: {reason}"
    return UsageError(msg, hint="nothing is lost: after a new start it is produced again")


def _headers(output: Output, answer: bytes) -> dict[str, str | bytes | None]:
    found = wire.loads(answer)
    return {"input": _position(output), "model": found["model"], "policy": found["policy"]}


def _about(output: Output) -> dict[str, str | bytes | None]:
    about: dict[str, str | bytes | None] = {
        "input": _position(output),
        "error": output.error,
        "message": output.message,
    }
    return about if output.content is not None or not output.size else {**about, "left_out_bytes": str(output.size)}


def _position(output: Output) -> str:
    return f"{output.place}/{output.offset}"
