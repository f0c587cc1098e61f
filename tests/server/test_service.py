"""What a server takes: rates in items, a log that cannot be written, and names of metrics with anything in them."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fraudctl.errors import UsageError
from fraudctl.server.service import BusyError, Limits, ServedModels, Service, status_of
from fraudctl.server.telemetry import Log, labels
from fraudctl.workflows.serve import Serving, say_memory


class Engine:
    """Stands in for an engine whose log may fail."""

    def __init__(self) -> None:
        self.fails, self.flushed, self.events = False, 0, 0
        self.store = SimpleNamespace(problem=None, probe=self.probe)
        self.not_after, self.logged, self.probed = None, 0, 0
        self.live = SimpleNamespace(features={}, definitions={})

    def event(self, _: Any) -> bytes:
        self.events += 1
        return b"{}"

    def probe(self) -> None:
        self.probed += 1

    def flush(self) -> None:
        if self.fails:
            msg = "no space"
            raise UsageError(msg)
        self.flushed += 1


def service(engine: Engine, **limits: Any) -> Service:
    return Service(cast("Any", engine), load=cast("Any", None), log=Log(io.StringIO()), limits=Limits(**limits))


@pytest.mark.parametrize("sizes", [[1] * 40, [5] * 8, [3, 9, 1] * 8, [10] * 4])
def test_a_rate_counts_items_whatever_the_requests(sizes: list[int]) -> None:
    limited, taken = service(Engine(), rate=10.0), 0
    for at, size in enumerate(sizes):
        try:
            limited.admit(size, now=1000 + at * 0.05)
            taken += size
        except BusyError:
            pass
    assert 0 < taken <= 10 + 10 * 0.05 * len(sizes)
    with pytest.raises(BusyError, match="1000 items in one request"):
        limited.admit(1000, now=9999.0)


def test_while_the_log_cannot_be_written_nothing_is_taken_and_readiness_says_so() -> None:
    engine = Engine()
    found = service(engine)
    assert found.unready is None
    engine.fails = True
    found._unwritten = True
    assert found.unready == "the log cannot be written"
    for take in (found.decide, found.labels):
        with pytest.raises(UsageError):
            take({})
    assert engine.events == 0
    engine.fails = False
    assert found.unready is None
    assert found.decide({}) == b"{}"
    found.draining = True
    assert found.unready == "draining"


def test_following_reloads_when_names_change_and_reports_a_refusal_once() -> None:
    names = ["a", "a", "b", "c", "c", "c"]
    loaded: list[int] = []
    out = io.StringIO()

    def load() -> Any:
        loaded.append(1)
        if len(loaded) == 2:
            msg = "other features"
            raise UsageError(msg)
        return "champion", None

    engine = SimpleNamespace(store=None, swap=lambda *_: None)
    found = Service(cast("Any", engine), load=load, log=Log(out), limits=Limits())
    found.version = lambda: ServedModels("1", "a", "p", None, "f")  # type: ignore[method-assign]

    with pytest.raises(IndexError):  # the names are at their end
        asyncio.run(found.follow(lambda: names.pop(0), every=0.0))
    assert (len(loaded), found.reloads) == (2, 1)
    assert out.getvalue().count("reload refused") == 1


@pytest.mark.parametrize(
    ("model", "challenger", "expect"), [("v", None, None), ("champion", None, "v"), ("v", "w", None)]
)
def test_names_that_never_change_cannot_be_followed(model: str, challenger: str | None, expect: str | None) -> None:
    serving = Serving(Path(), model, expect=expect, challenger=challenger, follow=True)
    with pytest.raises(UsageError, match="--follow"):
        serving.require_followed()
    Serving(Path(), "v", challenger="latest", follow=True).require_followed()


def test_when_memory_is_full_nothing_is_taken_and_readiness_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, engine = [100], Engine()
    monkeypatch.setattr("fraudctl.server.service.resident_bytes", lambda: taken[0])
    monkeypatch.setattr("fraudctl.server.service._LOOK_SECONDS", 0.0)
    found = service(engine, memory=200)
    assert found.decide({}) == b"{}"
    assert found.unready is None
    taken[0] = 200
    for take in (found.decide, found.labels, lambda row: found.rows("logins", row)):
        with pytest.raises(UsageError, match="--memory") as caught:
            take({})
        assert status_of(caught.value) == 503
    assert engine.events == 1
    assert found.unready == "the memory is full"
    with pytest.raises(UsageError, match="before the first request"):
        say_memory(service(Engine(), memory=1))
    taken[0] = 199
    assert found.decide({}) == b"{}"
    assert found.unready is None


@pytest.mark.parametrize("value", ['"', "\\", "\n", 'a"b\\c\nd', "ü {} , ="])
def test_labels_of_metrics_hold_any_text(value: str) -> None:
    text = labels(action=value, role="x")
    assert "\n" not in text
    body = text.removeprefix('action="').removesuffix('",role="x"')
    assert body.replace("\\\\", "\0").replace('\\"', '"').replace("\\n", "\n").replace("\0", "\\") == value


def test_a_log_that_cannot_be_written_stops_nothing_and_shows_no_text_of_errors() -> None:
    closed = io.StringIO()
    closed.close()
    Log(closed).say("anything")
    stream = io.StringIO()
    log = Log(stream)
    log.say("bug", "error", **log.about(ValueError("4111111111111111")))
    assert json.loads(stream.getvalue())["kind"] == "ValueError"
    assert "4111" not in stream.getvalue()
    assert "4111" in Log(verbose=True).about(ValueError("4111111111111111"))["traceback"]


def test_a_state_that_cannot_be_saved_is_not_ready_and_told_once() -> None:
    engine, told = Engine(), io.StringIO()
    found = Service(cast("Any", engine), load=cast("Any", None), log=Log(told), limits=Limits())
    engine.store.problem = "no inode"
    engine.store.on_problem("no inode")
    assert [found.unready for _ in range(5)] == ["the state cannot be saved"] * 5
    assert engine.probed == 1, "not at every question"
    engine.store.problem = None
    engine.store.on_problem(None)
    assert found.unready is None
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["state cannot be written", "state can be written again"]
    assert lines[0]["message"] == "no inode"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0, 1e30])
def test_limits_are_numbers_that_a_clock_and_a_system_can_hold(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"the limit {name} is"):
        Limits(**{name: value})  # type: ignore[arg-type]
