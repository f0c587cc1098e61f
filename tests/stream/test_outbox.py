"""What is produced waits for a broker that is away, and stops where one refuses for good."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from stream.conftest import Ground, Stream

from fraudctl.errors import UsageError
from fraudctl.scoring.consumed import Output, Place
from fraudctl.stream import flow
from fraudctl.stream.outbox import Outbox

ANSWER = b'{"event_id":7,"model":"m","policy":"p"}'
OUTPUTS = [(Output(Place("e", 1), 5, 7), ANSWER), (Output(Place("e", 1), 6, error="DataError", content=b"x"), None)]


class Away:
    """A producer of a broker that takes nothing for some time, or refuses."""

    def __init__(self, *, full: int = 0, flushes: int = 0, error: str | None = None) -> None:
        self.full, self.flushes, self.error = full, flushes, error
        self.taken: list[dict[str, Any]] = []

    def produce(self, topic: str, **message: Any) -> None:
        if self.full:
            self.full -= 1
            raise BufferError
        self.taken.append({"topic": topic, **message})

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        self.flushes -= 1
        if self.flushes < 0:
            failed = None if self.error is None else SimpleNamespace(name=lambda: self.error)
            for message in self.taken:
                message["on_delivery"](failed, None)
        return max(self.flushes + 1, 0)


def outbox(producer: Any) -> Outbox:
    return Outbox(producer, "d", "x", lambda _: None)


def test_it_waits_however_long_and_keeps_the_order() -> None:
    away, turns = Away(full=3, flushes=4), list[int]()
    assert outbox(away).send(OUTPUTS, {}, lambda: turns.append(1) is None)
    assert len(turns) == 7
    assert [item["topic"] for item in away.taken] == ["d", "x"]
    assert away.taken[0]["key"] == "7"
    assert away.taken[0]["headers"] == {"input": "e/1/5", "model": "m", "policy": "p"}
    assert away.taken[1]["headers"] == {"input": "e/1/6", "error": "DataError", "message": ""}


def test_it_stops_waiting_when_it_is_told_to() -> None:
    assert not outbox(Away(full=1)).send(OUTPUTS, {}, lambda: False)
    assert not outbox(Away(flushes=2)).send(OUTPUTS, {}, lambda: False)


def test_what_a_broker_refuses_for_good_ends_the_run() -> None:
    with pytest.raises(UsageError, match="does not take what is produced: TOPIC_AUTHORIZATION_FAILED"):
        outbox(Away(error="TOPIC_AUTHORIZATION_FAILED")).send(OUTPUTS, {}, lambda: True)


def test_a_stop_while_no_broker_takes_the_answers_leaves_them_for_the_next_start(
    stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.cluster.produce(stream.topics["events"], ground.lines)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "_produce", lambda *_: False)
        real = flow.Flow._wait

        def wait(self: flow.Flow) -> bool:
            self.stopping = True  # as a signal does
            return real(self)

        patch.setattr(flow.Flow, "_wait", wait)
        stopped = stream.run()
    assert stopped.batches == 1
    assert stream.decisions() == {}
    result = stream.run()
    assert result.sent_again > 0
    assert result.sent_again + result.events == len(ground.answers)
    assert stream.decisions() == ground.answers
    assert json.loads(next(iter(ground.answers.values())))["model"] == result.model
