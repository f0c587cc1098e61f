"""From topic to topic: the decisions of `score -`, each exactly once by its id, whenever the run dies."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stream.conftest import N_OUTCOMES, N_ROWS, Ground, Stream

from fraudctl.errors import DataError, UsageError
from fraudctl.scoring import engine
from fraudctl.scoring.live import LiveState
from fraudctl.scoring.saved import latest
from fraudctl.scoring.store import Store
from fraudctl.stream import flow, intake
from fraudctl.stream.outbox import Outbox
from fraudctl.workflows.state import restored


def test_decisions_are_those_of_the_same_lines_in_order_of_time(stream: Stream, ground: Ground) -> None:
    stream.cluster.produce(stream.topics["events"], ground.lines, partitions=(0, 1, 2, 3))
    result = stream.run()
    assert (result.events, result.labels, result.behind, result.dead_letters) == (
        len(ground.answers),
        N_OUTCOMES,
        0,
        {},
    )
    assert stream.decisions() == ground.answers
    assert sum(result.actions.values()) == result.events
    message = stream.cluster.read(stream.topics["decisions"])[0]
    headers, answer = dict(message.headers()), json.loads(message.value())
    assert headers["input"].decode().startswith(f"{stream.topics['events']}/")
    assert (headers["model"].decode(), headers["policy"].decode()) == (answer["model"], answer["policy"])
    again = stream.run()
    assert (again.events, again.sent_again, again.offsets) == (0, 0, result.offsets)
    assert len(stream.cluster.read(stream.topics["decisions"])) == len(ground.answers)


def test_outcomes_and_rows_come_by_topics_of_their_own(stream: Stream, ground: Ground) -> None:
    kinds: dict[str, list[dict[str, Any]]] = {"event": [], "label": [], "source": []}
    for line in map(json.loads, ground.lines):
        kinds[line.get("type", "event")].append(line)
    for item in (*kinds["label"][:1], *kinds["source"][:9]):  # the topic says what it holds
        item.pop("type")
        item.pop("source", None)
    for kind, topic in (("event", "events"), ("label", "labels"), ("source", "logins")):
        content = [json.dumps(item).encode() for item in kinds[kind]]
        stream.cluster.produce(stream.topics[topic], content, partitions=(0, 1))
    result = stream.run()
    assert (result.labels, result.sources, result.dead_letters) == (N_OUTCOMES, N_ROWS, {})
    assert stream.decisions() == ground.answers


def test_a_partition_that_is_far_ahead_is_paused_and_nothing_is_lost(
    stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "HELD", 10)
    monkeypatch.setattr(intake, "HELD_BY_ALL", 0)
    monkeypatch.setattr(intake, "_MOST", 7)
    half = len(ground.lines) // 2
    stream.cluster.produce(stream.topics["events"], ground.lines[:half], partitions=(0,))
    stream.cluster.produce(stream.topics["events"], ground.lines[half:], partitions=(1,))
    assert stream.run().events == len(ground.answers)
    assert stream.decisions() == ground.answers


class Death(BaseException):
    """The process ends here: nothing after it runs, nothing is written."""


def dying(owner: type, name: str, at: int, *, after: bool) -> Callable[..., Any]:
    """Return a method that ends the process at its n-th call, before or after it has done its work."""
    real, calls = getattr(owner, name), itertools.count()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        last = next(calls) == at
        if last and not after:
            raise Death
        found = real(self, *args, **kwargs)
        if last:
            raise Death
        return found

    return call


def remembered(folder: Path) -> dict[str, bytes]:
    """Return all that the features of a state remember."""
    with Store(folder) as store:
        parts = restored(store).to_parts()
    found = {name: bytes(memoryview(part).cast("B")) for name, part in parts.items() if name.startswith("features:")}
    assert sum(map(len, found.values())) > 100_000
    return found


POINTS: list[tuple[str, type, str, int, bool]] = [
    ("before the offsets of the start are logged", Store, "append", 0, False),
    ("before the first batch", flow.Flow, "resend", 0, False),
    ("before a batch is logged", flow.Flow, "_log", 1, False),
    ("while a batch is written", Store, "append", 3, False),
    ("between log and produce", flow.Flow, "_log", 1, True),
    ("while a batch is produced", Outbox, "_produce", 50, False),
    ("between produce and mark", Outbox, "send", 1, True),
    ("before the mark is written", flow.Flow, "_mark", 1, False),
    ("after the mark", flow.Flow, "_mark", 1, True),
    ("before the offsets are committed", flow.Flow, "commit", 0, False),
    ("at the end", flow.Flow, "commit", 0, True),
]


@pytest.mark.parametrize(("owner", "name", "at", "after"), [point[1:] for point in POINTS], ids=[p[0] for p in POINTS])
def test_a_run_that_dies_loses_nothing_and_repeats_only_what_is_equal(
    stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: int, after: bool
) -> None:
    lines = [*ground.lines[:70], b"{no json", *ground.lines[70:]]
    stream.cluster.produce(stream.topics["events"], lines, partitions=(0, 1, 2))
    monkeypatch.setattr(flow, "MOST", 40)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(owner, name, at, after=after))
        with pytest.raises(Death):
            stream.run()
    result = stream.run()
    assert result.behind == 0
    assert stream.decisions() == ground.answers
    assert {item.value() for item in stream.cluster.read(stream.topics["dead"])} == {b"{no json"}
    assert remembered(stream.consuming.state) == remembered(ground.state.parent / "scored")
    produced = len(stream.cluster.read(stream.topics["decisions"]))
    assert produced - len(ground.answers) <= result.sent_again <= 40
    assert stream.run().sent_again == 0


def test_another_process_brings_the_snapshot_forward_while_it_runs(
    stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.cluster.produce(stream.topics["events"], ground.lines, partitions=(0, 1))
    monkeypatch.setattr(flow, "MOST", 40)
    monkeypatch.setattr(engine, "ROLL_AFTER", 60)
    before = latest(stream.consuming.state)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "send", dying(Outbox, "send", 3, after=True))
        with pytest.raises(Death):
            stream.run()
    assert latest(stream.consuming.state) > before
    assert list((stream.consuming.state / "decisions").glob("*.parquet"))
    result = stream.run()
    assert 0 < result.sent_again <= 40
    assert stream.decisions() == ground.answers


def test_what_cannot_be_taken_goes_aside_byte_for_byte_and_blocks_nothing(stream: Stream, ground: Ground) -> None:
    first = next(item for item in map(json.loads, ground.lines) if "type" not in item)
    other = json.dumps({**first, "amount": 123456.78}).encode()
    bad = [
        b"\xff\x00",
        None,
        b"[1]",
        json.dumps({**first, "transaction_id": "new", "amout": 1}).encode(),
        other,
        b"x" * 950_000,
    ]
    stream.cluster.produce(stream.topics["events"], [*ground.lines[:5], *bad, *ground.lines[5:]])
    stream.cluster.produce(stream.topics["labels"], [b'{"event_id": 7}'])
    result = stream.run()
    assert stream.decisions() == ground.answers
    assert result.dead_letters == {"DataError": 6, "RepeatedEventError": 1}
    dead = stream.cluster.read(stream.topics["dead"])
    assert sorted(item.value() or b"" for item in dead if item.value()) == sorted(
        [*bad[:1], *bad[2:5], b'{"event_id": 7}']
    )
    headers = {dict(item.headers())["input"].decode(): dict(item.headers()) for item in dead}
    at = stream.topics["events"]
    assert headers[f"{at}/0/9"]["error"] == b"RepeatedEventError"
    assert b"did you mean 'amount'" in headers[f"{at}/0/8"]["message"]
    assert headers[f"{at}/0/10"]["left_out_bytes"] == b"950000"
    assert not any(b"123456" in value for item in headers.values() for value in item.values())


def test_a_flood_of_them_stops_the_run(stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MOST", 30)
    stream.cluster.produce(stream.topics["events"], [b"{"] * 100)
    with pytest.raises(DataError, match="messages in a minute could not be taken; 60 may be") as caught:
        stream.run()
    assert caught.value.exit_code == 3
    dead = len(stream.cluster.read(stream.topics["dead"]))
    assert 60 < dead <= 90, "the batch in which it happened is the last"
    assert stream.run().dead_letters == {"DataError": 100 - dead}, "a new start goes on behind them"


def test_an_offset_that_is_gone_is_never_passed_over(stream: Stream, ground: Ground) -> None:
    events = stream.topics["events"]
    stream.cluster.produce(events, ground.lines[:3])
    stream.run()
    stream.cluster.forget(events)
    with pytest.raises(DataError, match=f"{events}/0: the state goes on at offset 3") as caught:
        stream.run()
    assert caught.value.exit_code == 3
    assert "nothing is skipped" in str(caught.value.hint)


def test_a_state_keeps_its_partitions(stream: Stream, ground: Ground) -> None:
    stream.cluster.produce(stream.topics["events"], ground.lines[:8], partitions=(0, 1, 2, 3))
    result = stream.run(partitions="0-1")
    assert result.events == 4
    assert stream.run().offsets == result.offsets, "a shard stays one, without the option too"
    with pytest.raises(UsageError, match="this state reads partitions 0, 1, and that never changes"):
        stream.run(partitions="0-3")
    with pytest.raises(UsageError, match="has 4 partitions; 9 of those asked for"):
        stream.run(partitions="9", state=ground.state.parent / "scored")


def test_offsets_and_what_is_not_sent_stand_in_the_snapshot_too(stream: Stream, ground: Ground) -> None:
    from fraudctl.workflows.state import engine_on

    stream.cluster.produce(stream.topics["events"], ground.lines)
    stream.run()
    with engine_on(ground.model, stream.consuming.state) as opened:
        consumed = opened.live.consumed
        before = dict(consumed.offsets)
        answered = [[stream.topics["events"], 0, 5, json.loads(next(iter(ground.answers.values())))["event_id"]]]
        opened.note("batch", consumed.last + 1, [], answered)
    result = stream.run()
    assert (result.sent_again, result.events) == (1, 0)
    assert {key.topic + f"/{key.partition}": value for key, value in before.items()} == result.offsets
    assert stream.decisions() == ground.answers


def test_loops_are_loaded_before_the_first_message_and_pauses_are_short_until_the_end(
    stream: Stream, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.cluster.produce(stream.topics["events"], ground.lines)
    seen: list[tuple[str, int, int]] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            seen.append((name, gc.get_threshold()[0], gc.get_freeze_count()))
            return real(*given, **named)

        return call

    monkeypatch.setattr(LiveState, "warm", noting("warm", LiveState.warm))
    monkeypatch.setattr(flow.Flow, "_take", noting("take", flow.Flow._take))
    before = gc.get_threshold()
    assert stream.run().events == len(ground.answers)
    names, often, frozen = zip(*seen, strict=True)
    assert (names[0], set(names[1:]), often[0], set(often[1:])) == ("warm", {"take"}, before[0], {10_000})
    assert frozen[0] == 0 < min(frozen[1:])
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
