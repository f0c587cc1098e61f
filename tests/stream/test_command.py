"""``fraudctl consume`` as a user runs it: what it says, what it refuses, and a process that is killed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import PATIENCE, run_in
from confluent_kafka import KafkaException
from stream.conftest import Ground, Stream

from fraudctl.errors import ProjectError, UsageError
from fraudctl.project import Project, parse_project
from fraudctl.scoring.consumed import Consumed, Place
from fraudctl.stream import topics


def test_the_command_says_what_it_did(stream: Stream, ground: Ground) -> None:
    folder = stream.consuming.place
    stream.cluster.produce(stream.topics["events"], [*ground.lines, b"{"], partitions=(0, 1))
    command = ("consume", "--state", "state", "--until-end", "--max-ahead", "1e9")
    done = run_in(folder, *command, "--json", "--metrics", "consume.prom")
    assert done.code == 0, done.err
    assert done.json["events"] == len(ground.answers)
    assert done.json["dead_letters"] == {"DataError": 1}
    assert done.json["behind"] == 0
    metrics = (folder / "consume.prom").read_text()
    assert f'fraudctl_stream_lag{{topic="{stream.topics["events"]}",partition="1"}} 0' in metrics
    assert 'fraudctl_stream_dead_letters_total{error="DataError"} 1' in metrics
    assert metrics.count("\n") < 200
    again = run_in(folder, "consume", "--state", "state", "--until-end")
    assert again.code == 0, again.err
    assert again.out.startswith("0 events: 0 allow")


def test_without_the_package_or_the_section_it_says_what_to_do(
    stream: Stream, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = run_in(trained, "consume", "--state", str(stream.consuming.state))
    assert (bare.code, "has no [stream]" in bare.err) == (2, True)
    missing = run_in(stream.consuming.place, "consume", "--state", "nowhere", "--until-end")
    assert (missing.code, "no state in nowhere" in missing.err) == (4, True)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "confluent_kafka" else real(name))
    done = run_in(stream.consuming.place, "consume", "--state", "state")
    assert done.code == 2
    assert "python -m pip install 'fraudctl[kafka]'" in done.err


def test_a_process_that_is_killed_goes_on_where_it_was(stream: Stream, ground: Ground, trained: Path) -> None:
    folder = stream.consuming.place
    shutil.copytree(trained / "models", folder / "models")
    command = [
        sys.executable,
        "-m",
        "fraudctl",
        "consume",
        "--model",
        "latest",
        "--state",
        "state",
        "--max-ahead",
        "1e9",
    ]
    half = len(ground.lines) // 2
    stream.cluster.produce(stream.topics["events"], ground.lines[:half], partitions=(0, 1))
    for number, lines in ((signal.SIGKILL, ground.lines[half:]), (signal.SIGTERM, ())):
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)
        wanted = {item.key() for item in stream.cluster.read(stream.topics["decisions"])}
        until = time.monotonic() + PATIENCE
        expected = half * 3 // 5 if number == signal.SIGKILL else len(ground.answers)
        while len(wanted) < expected and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
            wanted = {item.key() for item in stream.cluster.read(stream.topics["decisions"])}
        process.send_signal(number)
        err = process.communicate(timeout=PATIENCE)[1].decode()
        assert process.returncode == (-9 if number == signal.SIGKILL else 0), err
        stream.cluster.produce(stream.topics["events"], lines, partitions=(0, 1))
    assert stream.decisions() == ground.answers
    assert stream.run().events == 0


def test_settings_come_from_the_file_and_the_environment_and_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("# who\nsasl.username = team\nproducer.linger.ms=7\n\nconsumer.fetch.wait.max.ms=9\n")
    found = topics.read_properties(path, {"FRAUDCTL_KAFKA_SASL_PASSWORD": "a=b", "PATH": "/"})
    assert found["sasl.password"] == "a=b"
    text = '[stream]\nevents = "e"\ndecisions = "d"\ndead_letters = "x"\n'
    section = project(text).stream
    assert section is not None
    with pytest.raises(UsageError, match="no broker is named"):
        topics.settings(found, section, "consumer")
    section = project(text + 'brokers = ["a:1", "b:2"]\n').stream
    assert section is not None
    consumer, producer = (topics.settings(found, section, part) for part in ("consumer", "producer"))
    assert (consumer["bootstrap.servers"], consumer["fetch.wait.max.ms"], "linger.ms" in consumer) == (
        "a:1,b:2",
        "9",
        False,
    )
    assert (producer["linger.ms"], producer["sasl.username"]) == ("7", "team")
    with pytest.raises(UsageError, match=r"enable\.auto\.commit is fraudctl's own"):
        topics.read_properties(None, {"FRAUDCTL_KAFKA_ENABLE_AUTO_COMMIT": "true"})
    path.write_text("secret without a sign")
    with pytest.raises(UsageError, match="line 1: expected key=value"):
        topics.read_properties(path, {})


def project(more: str) -> Project:
    text = '[data]\nevents = "e.parquet"\nevent_id = "id"\nevent_time = "at"\nlabel = "fraud"\nlabel_delay = "7d"\n'
    return parse_project(text + more, path=Path("fraudctl.toml"))


def test_mistakes_of_the_section() -> None:
    text = '[stream]\nevents = "e"\ndecisions = "e"\ndead_letters = "x"\n'
    with pytest.raises(ProjectError, match="decisions and events name one topic"):
        project(text)
    with pytest.raises(ProjectError, match=r"stream\.sources\.logins: no source 'logins'"):
        project(text.replace('decisions = "e"', 'decisions = "d"\nsources = { logins = "l" }'))
    with pytest.raises(ProjectError, match="exactly_once"):
        project(text.replace('decisions = "e"', 'decisions = "d"\nexactly_once = "hope"'))


def test_a_partition_whose_leader_is_not_known_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(topics, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    place, asked = Place("e", 0), itertools.count()

    def client(name: str, times: int) -> Any:
        def ends(*_: object, timeout: float) -> tuple[int, int]:
            if next(asked) < times:
                raise KafkaException(SimpleNamespace(name=lambda: name))
            return 5, 9

        return SimpleNamespace(get_watermark_offsets=ends)

    assert topics.ends_of(client("NOT_LEADER_FOR_PARTITION", 3), [place]) == {place: (5, 9)}
    with pytest.raises(UsageError, match="e/0: the broker does not say which offsets it has: LEADER_NOT_AVAILABLE"):
        topics.ends_of(client("LEADER_NOT_AVAILABLE", 99), [place])
    assert next(asked) < 40, "it does not ask for ever"
    with pytest.raises(UsageError, match="TOPIC_AUTHORIZATION_FAILED"):
        topics.ends_of(client("TOPIC_AUTHORIZATION_FAILED", 99), [place])


def test_which_partitions_and_from_where() -> None:
    consumed, there = Consumed(), {"e": frozenset({0, 1, 2})}
    assert topics.chosen(consumed, there, None) == (True, [Place("e", 0), Place("e", 1), Place("e", 2)])
    ends = {Place("e", number): (5, 9) for number in range(3)}
    assert topics.starts_of(consumed, ends, latest=False) == dict.fromkeys(ends, 5)
    assert topics.starts_of(consumed, ends, latest=True) == dict.fromkeys(ends, 9)
    consumed.assigned(True, [["e", 0, 7], ["e", 1, 7]])
    assert topics.starts_of(consumed, ends, latest=True) == {Place("e", 2): 5}, "a new partition is read from its start"
    assert topics.read_partitions("0-2,7") == {0, 1, 2, 7}
    for text in ("", "x", "3-1", "-1", "1,,2"):
        with pytest.raises(UsageError, match="expected numbers and ranges"):
            topics.read_partitions(text)
    assert json.loads(json.dumps(consumed.to_dict()))["whole"] is True
