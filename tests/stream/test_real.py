"""What only a real cluster shows: transactions that readers do not see, and brokers that restart under a run."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from stream.conftest import Ground, Stream
from stream.test_consume import Death, dying, remembered

from fraudctl.errors import UsageError
from fraudctl.stream import bounded, flow
from fraudctl.stream.transactions import Transactions

RESTART = "FRAUDCTL_TEST_KAFKA_RESTART"


@pytest.fixture
def real(stream: Stream) -> Stream:
    if not stream.cluster.real:
        pytest.skip("the mock cluster shows aborted transactions and never restarts: FRAUDCTL_TEST_KAFKA=host:port")
    return stream


def set_keys(stream: Stream, **keys: str) -> None:
    path = stream.consuming.place / "fraudctl.toml"
    path.write_text(path.read_text() + "".join(f'{key} = "{value}"\n' for key, value in keys.items()))


def test_events_of_a_transaction_that_was_aborted_are_not_decided(real: Stream, ground: Ground) -> None:
    producer = Producer({"bootstrap.servers": real.cluster.servers, "transactional.id": real.topics["events"]})
    producer.init_transactions(60)
    half = len(ground.lines) // 2
    other = [line.replace(b'"T', b'"X') for line in ground.lines[half:]]
    for lines, end in (
        (ground.lines[:half], producer.commit_transaction),
        (other, producer.abort_transaction),
        (ground.lines[half:], producer.commit_transaction),
    ):
        producer.begin_transaction()
        for line in lines:
            producer.produce(real.topics["events"], value=line, partition=0)
        producer.flush(60)
        end(60)
    result = real.run()
    assert (result.events, result.behind, result.dead_letters) == (len(ground.answers), 0, {})
    assert real.decisions() == ground.answers
    assert real.run().events == 0


def test_a_batch_whose_transaction_is_open_is_seen_by_no_reader_of_committed_messages(
    real: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(real, exactly_once="transactions", group=real.group)
    real.cluster.produce(real.topics["events"], ground.lines)
    monkeypatch.setattr(flow, "MOST", 40)
    with monkeypatch.context() as patch:
        patch.setattr(Transactions, "_end", dying(Transactions, "_end", 2, after=False))
        with pytest.raises(Death):
            real.run()
    seen = len(real.cluster.read(real.topics["decisions"]))
    everything = len(real.cluster.read(real.topics["decisions"], isolation="read_uncommitted"))
    assert 0 < seen <= 40
    result = real.run()
    assert 0 < result.sent_again <= 40
    assert len(real.cluster.read(real.topics["decisions"])) == len(ground.answers)
    assert len(real.cluster.read(real.topics["decisions"], isolation="read_uncommitted")) >= max(
        everything, len(ground.answers)
    )
    assert real.decisions() == ground.answers


@pytest.mark.parametrize("exactly_once", ["event_id", "transactions"])
def test_a_broker_that_restarts_under_a_run_costs_time_and_nothing_else(
    real: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch, exactly_once: str
) -> None:
    command = os.environ.get(RESTART)
    if command is None:
        pytest.skip(f"no command that restarts the broker: {RESTART}")
    set_keys(real, exactly_once=exactly_once, group=real.group)
    monkeypatch.setenv("FRAUDCTL_KAFKA_PRODUCER_TRANSACTION_TIMEOUT_MS", "600000")  # longer than any restart takes
    real.cluster.produce(real.topics["events"], ground.lines, partitions=(0, 1))
    monkeypatch.setattr(flow, "MOST", 20)
    restarts: list[threading.Thread] = []
    step: Callable[..., int] = flow.Flow.step

    def slowly(self: flow.Flow, *args: Any) -> int:
        if not restarts and self.meter.batches == 2:
            restart = threading.Thread(target=subprocess.run, args=(command,), kwargs={"shell": True, "check": True})
            restarts.append(restart)
            restart.start()
            time.sleep(1)
        return step(self, *args)

    monkeypatch.setattr(flow.Flow, "step", slowly)
    monkeypatch.setattr(bounded, "HUNG", 20.0)
    hung: list[UsageError] = []
    try:
        result = real.run()
    except UsageError as error:  # librdkafka may hang there with transactions, and the process is started again
        hung.append(error)
        restarts[0].join()
        result = real.run()
    assert all(error.message.startswith("Kafka's client hangs: ") for error in hung)
    assert not hung or exactly_once == "transactions"
    assert hung or result.events == len(ground.answers)
    restarts[0].join()
    assert result.behind == 0
    assert real.decisions() == ground.answers
    assert len(real.cluster.read(real.topics["decisions"])) == len(ground.answers)
    assert remembered(real.consuming.state) == remembered(ground.state.parent / "scored")
