"""Decisions in transactions: what is committed is not produced again, what is not is, and one process at a time may.

The mock cluster shows aborted transactions to every reader, and forgets the offsets of a transaction: tests commit them
behind it. What only a real broker can show is asserted there alone.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import PATIENCE
from confluent_kafka import KafkaError, KafkaException, Producer
from stream.conftest import Ground, Stream
from stream.test_consume import Death, dying, remembered

from fraudctl.errors import UsageError
from fraudctl.scoring.consumed import Output, Place
from fraudctl.stream import bounded, flow, topics, transactions
from fraudctl.stream.transactions import Transactions

ANSWER = b'{"event_id":7,"model":"m","policy":"p"}'
PLACE = Place("e", 1)
OUTPUTS = [(Output(PLACE, 5, 7), ANSWER), (Output(PLACE, 6, error="DataError", content=b"x"), None)]


@pytest.fixture
def transactional(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Stream:
    path = stream.consuming.place / "fraudctl.toml"
    path.write_text(path.read_text() + f'exactly_once = "transactions"\ngroup = "{stream.group}"\n')
    if not stream.cluster.real:  # the mock cluster takes the offsets of a transaction and forgets them
        real = Transactions._end

        def end(self: Transactions, offsets: Mapping[Place, int], idle: Callable[[], bool]) -> bool:
            done = real(self, offsets, idle)
            stream.cluster.commit(stream.group, offsets)
            return done

        monkeypatch.setattr(Transactions, "_end", end)
    return stream


def committed(stream: Stream) -> Counter[bytes]:
    return Counter(message.key() for message in stream.cluster.read(stream.topics["decisions"]))


def test_each_decision_is_there_once_and_the_group_is_behind_it(transactional: Stream, ground: Ground) -> None:
    transactional.cluster.produce(transactional.topics["events"], [*ground.lines, b"{"], partitions=(0, 1, 2, 3))
    result = transactional.run()
    assert transactional.decisions() == ground.answers
    assert set(committed(transactional).values()) == {1}
    assert (result.behind, result.already_out, result.dead_letters) == (0, 0, {"DataError": 1})
    group = transactional.cluster.committed(transactional.group, transactional.topics["events"])
    at = transactional.topics["events"]
    assert group == {number: result.offsets[f"{at}/{number}"] for number in range(4)}
    again = transactional.run()
    assert (again.events, again.sent_again, again.batches) == (0, 0, 0)


# the first batch, the offsets of all partitions after it, the second batch: each is a transaction
POINTS: list[tuple[str, type, str, int, bool, bool]] = [
    ("before the transaction", flow.Flow, "_log", 1, True, False),
    ("before the offsets are in it", Transactions, "_end", 2, False, False),
    ("before it is committed", Transactions, "_insist", 5, False, False),
    ("after it is committed", Transactions, "_end", 2, True, True),
    ("before the mark is written", flow.Flow, "_mark", 1, False, True),
    ("after the mark", flow.Flow, "_mark", 1, True, False),
]


@pytest.mark.parametrize(
    ("owner", "name", "at", "after", "out"), [point[1:] for point in POINTS], ids=[point[0] for point in POINTS]
)
def test_a_run_that_dies_produces_again_what_was_not_committed_and_nothing_else(
    transactional: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch,
    owner: type, name: str, at: int, *, after: bool, out: bool,
) -> None:  # fmt: skip
    lines = [*ground.lines[:70], b"{no json", *ground.lines[70:]]
    transactional.cluster.produce(transactional.topics["events"], lines, partitions=(0, 1, 2))
    monkeypatch.setattr(flow, "MOST", 40)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(owner, name, at, after=after))
        with pytest.raises(Death):
            transactional.run()
    result = transactional.run()
    assert transactional.decisions() == ground.answers
    assert (result.already_out > 0) == out
    assert (result.sent_again > 0) == (not out and name != "_mark")
    keys = committed(transactional)
    if transactional.cluster.real or name not in {"_end", "_insist"} or out:
        assert set(keys.values()) == {1}, "readers of committed messages see each decision once"
        assert len(transactional.cluster.read(transactional.topics["dead"])) == 1
    assert remembered(transactional.consuming.state) == remembered(ground.state.parent / "scored")


def test_a_state_that_lost_its_last_batches_takes_them_again_and_produces_nothing_twice(
    transactional: Stream, ground: Ground
) -> None:
    before = transactional.consuming.state.with_name("before")
    shutil.copytree(transactional.consuming.state, before)
    transactional.cluster.produce(transactional.topics["events"], ground.lines, partitions=(0, 1))
    transactional.run()
    result = transactional.run(state=before)
    assert (result.events, result.already_out) == (len(ground.answers), len(ground.answers))
    assert set(committed(transactional).values()) == {1}
    assert transactional.decisions() == ground.answers


def test_of_two_processes_the_one_that_began_first_is_fenced(
    transactional: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not transactional.cluster.real:
        pytest.skip("the mock cluster does not fence: FRAUDCTL_TEST_KAFKA=host:port names a broker that does")
    transactional.cluster.produce(transactional.topics["events"], ground.lines, partitions=(0, 1))
    real = Transactions._end

    def overtaken(self: Transactions, *args: Any) -> bool:
        name = transactions.named(transactional.group, transactional.topics["events"], None)
        other = Producer({"bootstrap.servers": transactional.cluster.servers, "transactional.id": name})
        other.init_transactions(30)
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Transactions, "_end", overtaken)
        with pytest.raises(UsageError, match="another process produces for these partitions"):
            transactional.run()
    assert committed(transactional) == {}
    assert transactional.run().sent_again > 0
    assert transactional.decisions() == ground.answers
    assert set(committed(transactional).values()) == {1}


# ------------------------------------------------------------ a producer that fails as it is asked to


def failure(name: str, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaException:
    error = SimpleNamespace(
        name=lambda: name, fatal=lambda: fatal, retriable=lambda: retriable, txn_requires_abort=lambda: abort
    )
    return KafkaException(error)


class Failing:
    """A producer whose calls fail in turn: name of a call -> what each of its calls raises, None for success."""

    def __init__(self, undelivered: str | None = None, **failures: Sequence[KafkaException | None]) -> None:
        self.failures = {name: list(items) for name, items in failures.items()}
        self.undelivered, self.calls = undelivered, list[str]()
        self.visible: list[str] = []
        self._open: list[str] = []
        self.group: dict[Place, int] = {}
        self._moved: dict[Place, int] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        found = self.failures.get(name)
        error = found.pop(0) if found else None
        if error is not None:
            raise error

    def begin_transaction(self) -> None:
        self._call("begin")
        self._open, self._moved = [], {}

    def produce(self, topic: str, *, on_delivery: Callable[[Any, Any], None], **_: Any) -> None:
        self._open.append(topic)
        if self.undelivered is not None and self.failures.get("commit"):
            on_delivery(SimpleNamespace(name=lambda: self.undelivered), None)

    def send_offsets_to_transaction(self, positions: list[Any], _: object, __: float) -> None:
        self._call("offsets")
        self._moved = {Place(item.topic, item.partition): item.offset for item in positions}

    def commit_transaction(self, _: float) -> None:
        self._call("commit")
        self.visible += self._open
        self.group.update(self._moved)

    def abort_transaction(self, _: float) -> None:
        self._call("abort")

    def init_transactions(self, _: float) -> None:
        self._call("init")

    def poll(self, _: float) -> int:
        return 0


def of(producer: Any) -> tuple[Transactions, Counter[str]]:
    counts = Counter[str]()
    return Transactions(producer, "d", "x", lambda: None, counts), counts


def test_what_passes_is_tried_again_and_what_was_aborted_is_produced_whole() -> None:
    timed_out, aborted = failure("_TIMED_OUT", retriable=True), failure("_TRANSPORT", abort=True)
    producer = Failing(offsets=[timed_out, aborted, None], commit=[timed_out, None], abort=[timed_out, None])
    found, counts = of(producer)
    assert found.send(OUTPUTS, {PLACE: 7}, lambda: True)
    assert producer.visible == ["d", "x"]
    assert producer.group == {PLACE: 7}
    assert counts == {"committed": 1, "aborted": 1}
    assert producer.calls.count("begin") == 2
    assert found.is_out(OUTPUTS[1][0])
    assert not found.is_out(Output(PLACE, 7, 8))
    before = list(producer.calls)
    found.commit({PLACE: 7}, lambda: True)
    assert producer.calls == before, "the group is there already"
    found.commit({PLACE: 9}, lambda: True)
    assert producer.group == {PLACE: 9}


@pytest.mark.parametrize(
    ("producer", "words"),
    [
        (Failing(commit=[failure("_FENCED", fatal=True)]), "another process produces .* _FENCED"),
        (Failing(offsets=[failure("GROUP_AUTHORIZATION_FAILED", abort=True)]), "GROUP_AUTHORIZATION_FAILED"),
        (Failing("MSG_SIZE_TOO_LARGE", commit=[failure("X", abort=True)]), "does not take .* MSG_SIZE_TOO_LARGE"),
        (Failing(begin=[failure("_STATE")]), "does not take what is produced: _STATE"),
    ],
)
def test_what_is_for_good_ends_the_run_and_nothing_is_visible(producer: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        of(producer)[0].send(OUTPUTS, {PLACE: 7}, lambda: True)
    assert (producer.visible, producer.group) == ([], {})


def test_a_message_that_was_late_is_tried_again() -> None:
    producer = Failing("_MSG_TIMED_OUT", commit=[failure("_TIMED_OUT", abort=True)])
    found, counts = of(producer)
    assert found.send(OUTPUTS, {PLACE: 7}, lambda: True)
    assert (producer.visible, counts["aborted"]) == (["d", "x"], 1)


def test_it_stops_waiting_when_it_is_told_to_or_the_group_has_moved_on() -> None:
    late = failure("_TIMED_OUT", retriable=True)
    turns = itertools.count()
    assert not of(Failing(commit=[late] * 9))[0].send(OUTPUTS, {PLACE: 7}, lambda: next(turns) < 3)
    moved = Failing(offsets=[failure("ILLEGAL_GENERATION", abort=True)])
    assert not of(moved)[0].send(OUTPUTS, {PLACE: 7}, lambda: True)
    assert (moved.visible, moved.calls[-1]) == ([], "abort")


# ------------------------------------------------------------ a client that never returns


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event that a call waits for until the test has ended; calls count as hung at once."""
    for module, name in ((bounded, "HUNG"), (transactions, "START"), (transactions, "_TURN")):
        monkeypatch.setattr(module, name, 0.05)
    found = threading.Event()
    yield found
    found.set()


class Hanging(Failing):
    """A producer one of whose calls never returns."""

    def __init__(self, name: str, never: threading.Event, **failures: Sequence[KafkaException | None]) -> None:
        super().__init__(**failures)
        self.name, self.never = name, never

    def _call(self, name: str) -> None:
        super()._call(name)
        if name == self.name:
            self.never.wait()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("init", "init_transactions"),
        ("begin", "begin_transaction"),
        ("offsets", "send_offsets_to_transaction"),
        ("commit", "commit_transaction"),
        ("abort", "abort_transaction"),
    ],
)
def test_a_call_that_never_returns_ends_the_run(never: threading.Event, name: str, words: str) -> None:
    failed = {"offsets": [failure("_TRANSPORT", abort=True)]} if name == "abort" else {}
    producer = Hanging(name, never, **failed)
    found, counts = of(producer)

    def run() -> None:
        found.begin(dict)
        found.send(OUTPUTS, {PLACE: 7}, lambda: True)

    with pytest.raises(UsageError, match=f"Kafka's client hangs: {words} has not returned for 0.1 s") as caught:
        run()
    assert (caught.value.exit_code, "a new start" in str(caught.value.hint)) == (2, True)
    assert (producer.calls[-1], producer.visible, counts) == (name, [], {})


def test_what_a_call_returns_and_raises_comes_back() -> None:
    assert bounded.within(9, "it", lambda: 7) == 7
    producer = Failing(begin=[failure("_STATE")])
    with pytest.raises(KafkaException):
        bounded.within(9, "it", producer.begin_transaction)


HANGING = """
import sys, threading
from fraudctl.__main__ import main
from fraudctl.stream import bounded, connect, flow

bounded.HUNG, flow.MOST, made = 0.5, 40, connect.Link.producer

class Hanging:
    def __init__(self, real):
        self.real, self.calls = real, 0

    def __getattr__(self, name):
        return getattr(self.real, name)

    def send_offsets_to_transaction(self, *given):
        self.calls += 1
        if self.calls == 3:
            threading.Event().wait()
        return self.real.send_offsets_to_transaction(*given)

connect.Link.producer = lambda self, transactional: Hanging(made(self, transactional))
sys.exit(main())
"""


def test_a_process_whose_client_hangs_ends_and_the_next_goes_on(
    transactional: Stream, ground: Ground, trained: Path
) -> None:
    folder = transactional.consuming.place
    shutil.copytree(trained / "models", folder / "models")
    transactional.cluster.produce(transactional.topics["events"], ground.lines, partitions=(0, 1, 2))
    command = ["consume", "--model", "latest", "--state", "state", "--max-ahead", "1e9", "--until-end"]
    done = subprocess.run(
        [sys.executable, "-c", HANGING, *command], cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2, done.stderr
    assert "Kafka's client hangs: send_offsets_to_transaction has not returned for 1 s" in done.stderr
    assert "Traceback" not in done.stderr
    assert 0 < len(transactional.decisions()) < len(ground.answers) or not transactional.cluster.real
    result = transactional.run()
    assert (result.behind, 0 < result.sent_again <= 40) == (0, True)
    assert transactional.decisions() == ground.answers
    if transactional.cluster.real:
        assert set(committed(transactional).values()) == {1}
    assert remembered(transactional.consuming.state) == remembered(ground.state.parent / "scored")


def test_transactions_that_are_not_allowed_are_told_at_the_start() -> None:
    producer: Any = Failing(init=[failure("TRANSACTIONAL_ID_AUTHORIZATION_FAILED")])
    with pytest.raises(UsageError, match="transactions cannot begin: TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        of(producer)[0].begin(dict)
    with pytest.raises(UsageError, match=r"partition\.assignment\.strategy is fraudctl's own"):
        topics.read_properties(None, {"FRAUDCTL_KAFKA_PARTITION_ASSIGNMENT_STRATEGY": "range"})
    assert KafkaError.ILLEGAL_GENERATION == 22
