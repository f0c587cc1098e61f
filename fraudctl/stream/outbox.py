"""What a batch has to produce: decisions and dead letters, in order, until a broker has them all.

Owns the idempotent producer. The same output gives the same bytes, key and headers, however often it is produced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fraudctl.errors import UsageError
from fraudctl.scoring import wire
from fraudctl.scoring.consumed import Output

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

LARGEST: Final = 900_000
"""Bytes of a message that a dead letter holds; of larger ones only the position is sent on."""
PRODUCER: Final[dict[str, Any]] = {
    "enable.idempotence": True,
    "delivery.timeout.ms": 0,
    "linger.ms": 1,
    "log_level": 2,
}
"""Answers wait for a broker that is away, however long; meanwhile nothing is taken."""
_TURN: Final = 0.1


class Outbox:
    """Produces to the topics of decisions and dead letters.

    Parameters
    ----------
    producer
        An idempotent producer.
    decisions, dead_letters
        The topics.
    """

    def __init__(self, producer: Producer, decisions: str, dead_letters: str) -> None:
        self._producer, self._decisions, self._dead_letters = producer, decisions, dead_letters
        self._failed: str | None = None

    def send(self, outputs: Sequence[tuple[Output, bytes | None]], idle: Callable[[], bool]) -> bool:
        """Produce outputs in order and wait until a broker has them all; say whether that came to pass.

        Parameters
        ----------
        outputs
            Each with its answer; dead letters have none.
        idle
            Called while it waits; says whether to go on waiting.

        Raises
        ------
        UsageError
            The broker refuses one for good.
        """
        self._failed = None
        for output, answer in outputs:
            while not self._produce(output, answer):
                if not idle():
                    return False
        while self._producer.flush(_TURN):
            if not idle():
                return False
        if self._failed is not None:
            msg = f"the broker does not take what is produced: {self._failed}"
            raise UsageError(msg, hint="nothing is lost: after a new start it is produced again")
        return True

    def _produce(self, output: Output, answer: bytes | None) -> bool:
        """Hand an output to the producer; say whether there was room."""
        try:
            if answer is not None:
                self._producer.produce(
                    self._decisions, value=answer, key=str(output.event_id), headers=_headers(output, answer),
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
            self._failed = error.name()


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
