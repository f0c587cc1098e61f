"""Partitions that a group assigns: a state for each, closed before the partition goes, opened where it comes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import PATIENCE
from kafka_cluster import PARTITIONS
from stream.conftest import Ground, Stream
from stream.test_consume import Death, dying

from fraudctl.errors import UsageError
from fraudctl.scoring.saved import latest
from fraudctl.scoring.store import Store
from fraudctl.stream import flow
from fraudctl.stream.lag import Meter
from fraudctl.stream.member import Member
from fraudctl.workflows.state import engine_on
from fraudctl.workflows.stream import score_stream


@pytest.fixture
def group(stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """A stream whose group assigns partitions, with a state for each; a member that is gone is missed soon."""
    monkeypatch.setenv("FRAUDCTL_KAFKA_CONSUMER_SESSION_TIMEOUT_MS", "6000")
    path = stream.consuming.place / "fraudctl.toml"
    path.write_text(path.read_text() + f'assignment = "group"\ngroup = "{stream.group}"\n')
    shutil.rmtree(stream.consuming.state)
    for number in range(PARTITIONS):
        shutil.copytree(ground.state, stream.consuming.state / str(number))
    return stream


def alone(ground: Ground, folder: Path) -> dict[bytes, bytes]:
    """Return the decisions of states that each see the lines of one partition, dealt out in turn."""
    found: dict[bytes, bytes] = {}
    for number in range(PARTITIONS):
        answers: list[bytes] = []
        shutil.copytree(ground.state, folder / f"alone-{number}")
        with engine_on(ground.model, folder / f"alone-{number}", explained="alerts") as engine:
            score_stream(engine, ground.lines[number::PARTITIONS], answers.append)
        found |= {json.loads(line)["event_id"].encode(): line for line in answers}
    return found


def test_a_member_alone_takes_every_partition_on_a_state_of_its_own(
    group: Stream, ground: Ground, tmp_path: Path
) -> None:
    group.cluster.produce(group.topics["events"], ground.lines, partitions=range(PARTITIONS))
    result = group.run()
    assert group.decisions() == alone(ground, tmp_path)
    assert (result.events, result.behind) == (len(ground.answers), 0)
    assert result.offsets == {
        f"{group.topics[name]}/{number}": (len(ground.lines[number::PARTITIONS]) if name == "events" else 0)
        for name in ("events", "labels", "logins")
        for number in range(PARTITIONS)
    }
    before = {number: latest(group.consuming.state / str(number)) for number in range(PARTITIONS)}
    assert min(before.values()) > latest(ground.state), "each shard was closed with a snapshot"
    again = group.run()
    assert (again.events, again.sent_again) == (0, 0)
    with pytest.raises(UsageError, match="--partitions has no effect where the group assigns them"):
        group.run(partitions="0")


def test_a_member_that_dies_leaves_its_batch_to_the_next_owner(
    group: Stream, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.cluster.produce(group.topics["events"], ground.lines, partitions=range(PARTITIONS))
    monkeypatch.setattr(flow, "MOST", 10)
    with monkeypatch.context() as patch:
        patch.setattr(flow.Flow, "_log", dying(flow.Flow, "_log", 5, after=True))
        with pytest.raises(Death):
            group.run()
    result = group.run()
    assert 0 < result.sent_again <= 10
    assert group.decisions() == alone(ground, tmp_path)


def test_a_state_that_another_process_still_writes_is_waited_for(
    group: Stream, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.cluster.produce(group.topics["events"], ground.lines, partitions=range(PARTITIONS))
    held, real, turns = Store(group.consuming.state / "2"), Member.poll, Counter[str]()

    def poll(self: Member, timeout: float) -> None:
        real(self, timeout)
        turns["held"] += self.numbers >= {2}
        if turns["held"] == 5:
            held.close()

    monkeypatch.setattr(Member, "poll", poll)
    assert group.run().events == len(ground.answers)
    assert group.decisions() == alone(ground, tmp_path)


def test_partitions_move_between_processes_and_no_decision_is_lost_or_another(
    group: Stream, ground: Ground, trained: Path, tmp_path: Path
) -> None:
    folder, half = group.consuming.place, len(ground.lines) // 2 // PARTITIONS * PARTITIONS
    shutil.copytree(trained / "models", folder / "models")
    group.cluster.produce(group.topics["events"], ground.lines[:half], partitions=range(PARTITIONS))
    command = [sys.executable, "-m", "fraudctl", "consume", "--model", "latest", "--state", "state"]
    command += ["--max-ahead", "1e9", "--metrics"]
    first = subprocess.Popen([*command, "first.prom"], cwd=folder, stderr=subprocess.PIPE)
    processes = [first]
    try:
        wait_for(lambda: len(group.decisions()) >= half * 3 // 5, processes)
        second = subprocess.Popen([*command, "second.prom"], cwd=folder, stderr=subprocess.PIPE)
        processes.append(second)
        wait_for(lambda: 0 < shards(folder / "second.prom") < PARTITIONS, processes)
        group.cluster.produce(group.topics["events"], ground.lines[half:], partitions=range(PARTITIONS))
        wait_for(lambda: len(group.decisions()) == len(ground.answers), processes)
        end(second)
        processes.remove(second)
        wait_for(lambda: shards(folder / "first.prom") == PARTITIONS, processes)
        end(first)
        processes.remove(first)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert group.decisions() == alone(ground, tmp_path)
    assert "fraudctl_stream_rebalances_total" in (folder / "first.prom").read_text()


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 0, err


def shards(path: Path) -> int:
    """Return how many partitions of the first topic a file of metrics names."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(line.startswith('fraudctl_stream_lag{topic="events-') for line in lines)


def wait_for(holds: Any, processes: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, "nothing happened"
        for process in processes:
            assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.2)


class Client:
    """A consumer that notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *parts, **_: self.calls.append((name, parts[0] if parts else None))


def test_a_group_whose_brokers_are_gone_is_left_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    client, gone, meter = Client(), threading.Event(), Meter()
    monkeypatch.setattr(client, "close", gone.wait, raising=False)
    monkeypatch.setattr("fraudctl.stream.bounded.LEAVE", 0.01)
    link: Any = SimpleNamespace(meter=meter, consumer=lambda _: client, section=SimpleNamespace(events="e"))
    Member(link, lambda _: None).close()
    gone.set()


def test_what_is_revoked_has_ended_before_the_group_gives_it_away() -> None:
    client, meter = Client(), Meter()
    link: Any = SimpleNamespace(
        meter=meter, consumer=lambda _: client, section=SimpleNamespace(events="e"),
    )  # fmt: skip
    member = Member(link, lambda gone: client.calls.append(("let go", gone)))
    parts: Any = [SimpleNamespace(partition=number) for number in (1, 3)]
    asked: Any = client
    member._on_assign(asked, parts)
    assert (member.numbers, member.assigned) == ({1, 3}, True)
    member._on_revoke(asked, parts[1:])
    assert (member.numbers, meter.rebalances) == ({1}, 2)
    assert [name for name, _ in client.calls] == [
        "subscribe", "incremental_assign", "pause", "let go", "incremental_unassign"
    ]  # fmt: skip
