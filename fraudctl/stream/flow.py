"""From messages to answers, batch after batch: take, log, produce, mark, commit, in this order and no other.

A batch and its offsets are one write of the state's log: the next start goes on behind it, or does all of it again.
What it produces comes after that write, so a decision that anyone has seen is in the log; the mark comes after a broker
has it. Where to go on is never read from the offsets of the group: they are a copy for tools that show lag, and with
transactions the proof of what is out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar

from fraudctl.errors import BundleError, DataError
from fraudctl.scoring.consumed import Output, Place, as_list
from fraudctl.stream.codec import Codec, Message
from fraudctl.stream.intake import Intake
from fraudctl.stream.lag import Meter
from fraudctl.stream.outbox import LARGEST, Outbox, Sent

if TYPE_CHECKING:
    from fraudctl.scoring.engine import DecisionEngine

MOST: Final = 500
"""Messages in a batch."""
_MINUTE: Final = 60.0
_COMMIT_EVERY: Final = 1.0
T = TypeVar("T")


class Flow:
    """One state, its topics, and what it has done.

    Parameters
    ----------
    engine
        On a state with a store.
    intake, codec, outbox
        Where messages come from, what they mean, and where answers go.
    meter
        Counts.
    dead_per_minute
        Dead letters in a minute, above which the run stops.
    ahead
        Seconds that an event may lie ahead of the clock; None for any.

    Attributes
    ----------
    stopping
        Set from outside: no further batch is taken, and no broker is waited for.
    """

    def __init__(
        self,
        engine: DecisionEngine,
        intake: Intake,
        codec: Codec,
        outbox: Outbox,
        meter: Meter,
        *,
        dead_per_minute: int,
        ahead: float | None = None,
    ) -> None:
        self.engine, self.intake, self.codec, self.outbox, self.meter = engine, intake, codec, outbox, meter
        self.stopping = False
        self._dead_per_minute, self._ahead = dead_per_minute, ahead
        self._deaths: deque[float] = deque()
        self._committed = 0.0
        self.waiting: Callable[[], object] = lambda: None
        """Called while a broker is waited for."""

    def resend(self) -> None:
        """Produce again what may not be out: the same bytes, for answers come from the log.

        Raises
        ------
        BundleError
            An answer is no longer there.
        """
        consumed, answers = self.engine.live.consumed, self.engine.live.answers
        for number, outputs in tuple(consumed.unsent.items()):
            left = self._not_out(outputs, lambda output: output)
            answers.fetch([output.event_id for output in left if output.event_id is not None])
            behind = {output.place: output.offset + 1 for output in outputs}
            if not self._produce([(output, self._answer(output)) for output in left], behind):
                return
            self.meter.sent_again += len(left)
            self._mark(number)

    def _not_out(self, items: Sequence[T], output_of: Callable[[T], Output]) -> list[T]:
        """Return what has to be produced: all of it, but for what the group's offsets prove to be out."""
        left = [item for item in items if not self.outbox.is_out(output_of(item))]
        self.meter.already_out += len(items) - len(left)
        return left

    def _answer(self, output: Output) -> bytes | None:
        if output.error is not None or output.event_id is None:
            return None
        found = self.engine.live.answers.get(output.event_id)
        if found is None:
            msg = (
                f"the answer to the message {output.place}/{output.offset} has to be sent again and is not in the state"
            )
            raise BundleError(msg, hint="restore the files of the folder answers/")
        return found.answer

    def step(self, timeout: float) -> int:
        """Take the next batch through all of its steps; give the number of its messages.

        Raises
        ------
        DataError
            An offset is lost, or too many messages cannot be taken.
        UsageError
            The log cannot be written, or a broker refuses what is produced.
        """
        if self.engine.live.consumed.unsent:  # the group had moved on
            self.resend()
            return 0
        messages = self.intake.take(MOST, timeout)
        if messages:
            outputs, offsets = self._take(messages), {message.place: message.offset + 1 for message in messages}
            number = self._log(messages, offsets, outputs)
            if self._produce(self._not_out(outputs, itemgetter(0)), offsets):
                self._mark(number)
                self._commit()
            self._require_few_dead()
        return len(messages)

    def _take(self, messages: Sequence[Message]) -> list[Sent]:
        """Let the engine decide; give what has to be produced, in the order of the messages."""
        engine, out = self.engine, list[Sent]()
        if self._ahead is not None:
            engine.not_after = int((time.time() + self._ahead) * 1e6)
        for message in messages:
            try:
                answer = self.codec.take(engine, message)
            except DataError as error:
                out.append((self._dead(message, error), None))
                continue
            if answer is not None:
                event_id = engine.champion.reader.event_id(message.raw)
                out.append((Output(message.place, message.offset, event_id), answer))
        return out

    def _dead(self, message: Message, error: DataError) -> Output:
        kind = type(error).__name__
        self.meter.dead[kind] += 1
        self._deaths.append(time.monotonic())
        size = len(message.content or b"") + len(message.key or b"")
        kept = size <= LARGEST
        return Output(
            message.place, message.offset, None, kind, error.message,
            message.content if kept else None, message.key if kept else None, size,
        )  # fmt: skip

    def _log(self, messages: list[Message], offsets: Mapping[Place, int], outputs: Sequence[Sent]) -> int:
        """Write the batch, its offsets and what it produces in one go; give its number."""
        began, consumed = time.perf_counter(), self.engine.live.consumed
        number = consumed.last + 1
        self.engine.note("batch", number, as_list(offsets), [output.to_list() for output, _ in outputs])
        self.engine.flush()
        self.meter.log_seconds.took(time.perf_counter() - began)
        self.meter.took(messages)
        return number

    def _produce(self, outputs: Sequence[Sent], offsets: Mapping[Place, int]) -> bool:
        """Wait until a broker has all outputs; say whether that came to pass before the run was to stop."""
        began = time.perf_counter()
        if outputs and not self.outbox.send(outputs, offsets, self._wait):
            return False
        self.meter.produce_seconds.took(time.perf_counter() - began)
        return True

    def _wait(self) -> bool:
        """Keep the consumer alive while a broker is waited for; say whether to go on waiting."""
        self.intake.keep_alive()
        self.waiting()
        return not self.stopping

    def _mark(self, number: int) -> None:
        self.engine.note("sent", number)
        self.engine.flush()

    def _commit(self) -> None:
        if time.monotonic() - self._committed >= _COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Bring the offsets of the group to those of the state, where everything up to there is out."""
        self._committed = time.monotonic()
        consumed = self.engine.live.consumed
        if not consumed.unsent:
            self.outbox.commit(consumed.offsets, self._wait)

    def _require_few_dead(self) -> None:
        oldest = time.monotonic() - _MINUTE
        while self._deaths and self._deaths[0] < oldest:
            self._deaths.popleft()
        if len(self._deaths) > self._dead_per_minute:
            found = ", ".join(f"{count} {kind}" for kind, count in self.meter.dead.most_common())
            msg = (
                f"{len(self._deaths)} messages in a minute could not be taken; {self._dead_per_minute} may be ({found})"
            )
            raise DataError(msg, hint="the topic of dead letters has them with their reasons; then start again")
