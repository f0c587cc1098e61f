"""``serve`` as clients meet it: a process of its own, the answers of the stream, refusals that name no value."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import PATIENCE, run_in
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import BundleError
from fraudctl.workflows.serve import Serving

N_NEW = 30
RUNNING: list[subprocess.Popen[bytes]] = []
"""Every server that was started; whoever starts one ends it, see `ended` and `served`."""
EVERYWHERE = "0.0.0.0"  # noqa: S104 - an address that is refused


@dataclass
class Served:
    """A server that runs, and how to talk to it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get("content-type") == "application/json"
            return response.status, json.loads(content) if is_json else content.decode()
        finally:
            connection.close()

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        return self.call("POST", path, json.dumps(document).encode())

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


def start(folder: Path, log: Path, *args: str, env: dict[str, str] | None = None) -> Served:
    command = [sys.executable, "-m", "fraudctl", "serve", "--port", "0", "--quiet", *args]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, stderr=stream, env={**os.environ, **(env or {})})
    RUNNING.append(process)
    served = Served(process, 0, log)
    until(lambda: process.poll() is not None or bool(served.said("listening")))
    if not served.said("listening"):
        pytest.fail(log.read_text())
    served.port = served.said("listening")[0]["port"]
    return served


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def end_all(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """End the servers that a test has started, however it went."""
    before = len(RUNNING)
    yield
    end_all(RUNNING[before:])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    folder = tmp_path_factory.mktemp("data")
    events = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    events.slice(14_000, 1000).write_parquet(folder / "history.parquet")
    events.slice(15_000, N_NEW).drop("is_fraud", "label_available_at").write_ndjson(folder / "new.jsonl")
    return folder


@pytest.fixture(scope="module")
def events(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "new.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def streamed(data: Path, trained: Path) -> list[dict[str, Any]]:
    """What the stream says to the same events."""
    args = ("score", "-", "--quiet", "--reasons", "all", "--history", str(data / "history.parquet"))
    done = run_in(trained, *args, sent=(data / "new.jsonl").read_bytes())
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


@contextmanager
def running(trained: Path, log: Path, *args: str) -> Iterator[Served]:
    """Run a server without state or history, for what does not need them; it has to end well."""
    found = start(trained, log, "--max-items", "50", *args)
    try:
        yield found
        assert found.stop() == 0
    finally:
        end_all([found.process])


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that waits for slow clients: a slow machine makes every client one."""
    with running(trained, tmp_path_factory.mktemp("served") / "log", "--timeout", "300") as found:
        yield found


@pytest.fixture(scope="module")
def hurried(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that cuts slow clients off, and those that ask for nothing more."""
    log = tmp_path_factory.mktemp("hurried") / "log"
    with running(trained, log, "--timeout", "2", "--idle-timeout", "2") as found:
        yield found


def test_no_acknowledged_event_is_lost_to_kill_and_the_answers_are_those_of_the_stream(
    trained: Path, data: Path, events: list[dict[str, Any]], streamed: list[dict[str, Any]], tmp_path: Path
) -> None:
    state, history = ("--state", str(tmp_path / "state")), ("--history", str(data / "history.parquet"))
    first = start(trained, tmp_path / "log1", *state, *history, "--challenger", "latest")
    answers = [first.post("/decisions", event) for event in events[:10]]
    assert first.post("/decisions", events[9]) == answers[9], "sent again, answered alike"
    changed = {**events[9], "amount": 1.25}
    assert first.post("/decisions", changed)[0] == 409
    assert first.call("POST", "/admin/reload")[0] == 200
    assert first.stop(signal.SIGKILL) != 0
    second = start(trained, tmp_path / "log2", *state)
    assert second.post("/decisions", events[9]) == answers[9], "answered alike after a restart too"
    status, many = second.post("/decisions", events[10:])
    assert status == 200
    assert [item for _, item in answers] + many == streamed
    label = {"event_id": events[0]["transaction_id"], "label": 1, "label_time": events[-1]["created_at"]}
    assert second.post("/labels", [label]) == (202, {"taken": 1})
    assert second.stop() == 0
    shown = run_in(trained, "state", "show", state[1], "--json").json
    assert (shown["counts"]["events"], shown["counts"]["labels"], shown["records"]) == (N_NEW, 1, 0)
    decided = pl.read_parquet(tmp_path / "state" / "decisions" / "*.parquet")
    assert decided["role"].value_counts().sort("role").rows() == [("challenger", 10), ("champion", N_NEW)]
    champion = decided.filter(role="champion")
    assert champion["event_id"].to_list() == [item["event_id"] for item in streamed]
    assert champion["action"].to_list() == [item["action"] for item in streamed]


def test_a_full_log_is_compacted_by_another_process(
    trained: Path, data: Path, events: list[dict[str, Any]], streamed: list[dict[str, Any]], tmp_path: Path
) -> None:
    args = ("--state", str(tmp_path / "state"), "--snapshot-every", "100", "--history", str(data / "history.parquet"))
    served = start(trained, tmp_path / "log", *args)
    status, many = served.post("/decisions", events)
    assert (status, many) == (200, streamed)
    label = {"event_id": "nobody", "label": 0, "label_time": events[-1]["created_at"]}
    assert served.post("/labels", [label] * 100) == (202, {"taken": 100})
    until(lambda: bool(served.said("compacted") or served.said("compaction failed")))
    assert served.said("compacted"), served.log.read_text()
    assert served.post("/decisions", events[3]) == (200, streamed[3])
    assert served.stop() == 0


def test_routes_that_tell_of_the_server(served: Served) -> None:
    assert served.call("GET", "/healthz") == (200, {"status": "alive"})
    assert served.call("GET", "/readyz") == (200, {"status": "ready"})
    assert served.call("GET", "/version")[1]["challenger"] is None
    status, text = served.call("GET", "/metrics")
    assert status == 200
    assert 'fraudctl_requests_total{route="/readyz",status="200"}' in text
    document = served.call("GET", "/openapi.json")[1]
    assert set(document["paths"]) >= {"/decisions", "/labels", "/healthz", "/readyz", "/metrics", "/version"}
    assert document["components"]["schemas"]["Event"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/decisions", b'{"amount": ', 400),
        ("POST", "/decisions", b"\xff\xfe", 400),
        ("POST", "/decisions", b'{"amount": NaN}', 400),
        ("POST", "/decisions", b'{"amount": 1e400}', 400),
        ("POST", "/decisions", b"[" * 100_000, 400),
        ("POST", "/decisions", b'{"a":' * 100_000, 400),
        ("POST", "/decisions", b"", 400),
        ("POST", "/decisions", b"null", 422),
        ("POST", "/decisions", b"[]", 422),
        ("POST", "/decisions", b"[" + b"1," * 60 + b"1]", 422),
        ("POST", "/decisions", b'{"unknown": 1}', 422),
        ("POST", "/labels", b'{"event_id": "x", "label": 7, "label_time": "2026-01-01"}', 422),
        ("POST", "/labels", b'{"event_id": "x", "label": 1, "label_time": "soon"}', 422),
        ("POST", "/sources/logins", b"{}", 422),
        ("GET", "/decisions", None, 405),
        ("POST", "/healthz", b"", 405),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_what_cannot_be_taken(served: Served, method: str, path: str, body: bytes | None, status: int) -> None:
    found, document = served.call(method, path, body)
    assert found == status
    assert document["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("amount", "12"), ("amount", True), ("amount", [1]), ("card_id", 7), ("created_at", "yesterday"),
     ("created_at", 17), ("created_at", "0001-01-01T00:00:00+23:00"), ("transaction_id", None), ("channel", {"a": 1})],
)  # fmt: skip
def test_wrong_types_are_named_and_no_value_is_repeated(
    served: Served, events: list[dict[str, Any]], field: str, value: Any
) -> None:
    status, document = served.post("/decisions", {**events[0], field: value})
    assert status == 422
    assert repr(field) in document["error"]["message"]
    assert "yesterday" not in json.dumps(document)


def test_events_from_the_future_are_refused(served: Served, events: list[dict[str, Any]]) -> None:
    ahead = {**events[0], "transaction_id": "ahead", "created_at": "2999-01-01T00:00:00Z"}
    for body in (ahead, [events[1], ahead]):
        status, document = served.post("/decisions", body)
        assert status == 422
        assert "ahead of the clock" in document["error"]["message"]


def test_large_bodies_are_not_read(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as client:
        client.sendall(b"POST /decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as client:
        client.sendall(b"POST /decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        try:
            for _ in range(1600):
                client.sendall(chunk)
        except OSError:
            pass
    assert served.call("GET", "/healthz")[0] == 200


def test_slow_clients_are_cut_off(hurried: Served) -> None:
    answers = {
        b"POST /decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{": b"HTTP/1.1 408",
        b"": b"",
        b"POST /decisions HTTP/1.1\r\nHos": b"",
    }
    with ExitStack() as stack:
        clients = []
        for content in answers:
            client = socket.create_connection(("127.0.0.1", hurried.port), timeout=PATIENCE)
            clients.append(stack.enter_context(client))
            client.sendall(content)
        found = [client.recv(4096) for client in clients]
    assert [got[:12] for got in found] == [*answers.values()]


def raw(served: Served, content: bytes) -> bytes:
    """What a server says to bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as client:
        client.sendall(content)
        found = b""
        while piece := client.recv(65536):
            found += piece
    return found


UNREAD = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
ENCODED = b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
MANY = b"".join(b"X-%d: y\r\n" % number for number in range(200))


UNFINISHED = [
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\n", b"HTTP/1.1 200"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX: ", b"HTTP/1.1 200"),
    (b"POST /decisions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + MANY, b"HTTP/1.1 "),
    (b"POST /decisions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"HTTP/1.1 408"),
]
"""Requests that are followed by nothing, or by half of another; and how the answer begins."""
WHOLE = [
    (b"POST /nowhere" + UNREAD, b"HTTP/1.1 404"),
    (b"GET /healthz" + UNREAD, b"HTTP/1.1 200"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000, b"HTTP/1.1 431"),
    (b"GET /healthz?" + b"a" * 100_000, b"HTTP/1.1 431"),
    (b"GET /healthz HTTP/1.1\r\n" + MANY + b"\r\n", b"HTTP/1.1 431"),
    (b"GET /healthz HTTP/1.1\r\n" + MANY, b"HTTP/1.1 431"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2000, b"HTTP/1.1 200"),
    (b"POST /decisions/ HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n", b"HTTP/1.1 404"),
    (b"POST /labels" + ENCODED + b"1\r\nx\r\n0\r\n\r\n", b"HTTP/1.1 415"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400"),
    (b"POST /decisions HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400"),
    (b"POST /decisions HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"HTTP/1.1 400"),
    (b"POST /decisions HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 422"),
    (b"GET /healthz HTTP/1.1\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 200"),
    (b"not HTTP at all\r\n\r\n", b"HTTP/1.1 400"),
]


@pytest.fixture(scope="module")
def answered(hurried: Served) -> dict[bytes, bytes]:
    """What a server says to unfinished requests, which wait at the same time."""
    contents = [content for content, _ in UNFINISHED]
    with concurrent.futures.ThreadPoolExecutor(len(contents)) as pool:
        return dict(zip(contents, pool.map(lambda content: raw(hurried, content), contents), strict=True))


@pytest.mark.parametrize(("content", "answer"), [*UNFINISHED, *WHOLE])
def test_no_request_holds_a_connection(
    hurried: Served, answered: dict[bytes, bytes], content: bytes, answer: bytes
) -> None:
    found = answered[content] if content in answered else raw(hurried, content)
    assert found.startswith(answer)
    assert hurried.call("GET", "/healthz")[0] == 200


def test_connections_that_wait_give_way_to_new_ones(trained: Path, tmp_path: Path) -> None:
    served = start(trained, tmp_path / "log", "--max-connections", "10", "--timeout", "300", "--idle-timeout", "300")
    held = []
    try:
        for content in (b"", b"POST /decisions" + UNREAD, b"GET /healthz HTTP/1.1\r\nX: ") * 7:
            held.append(socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE))
            held[-1].sendall(content)
        assert served.call("GET", "/healthz")[0] == 200
        text = served.call("GET", "/metrics")[1]
        assert "fraudctl_connections_closed_total" in text
        assert int(next(line for line in text.splitlines() if line.startswith("fraudctl_connections ")).split()[1]) <= 8
    finally:
        for client in held:
            client.close()
    assert served.stop() == 0


def test_labels_and_rows_of_far_years_are_refused_whole(served: Served, events: list[dict[str, Any]]) -> None:
    good = {"event_id": "x", "label": 1, "label_time": "2026-01-01T00:00:00Z"}
    before = served.call("GET", "/metrics")[1]
    for body in (
        {**good, "label_time": "2999-01-01T00:00:00Z"},
        [good, {**good, "label_time": "9999-12-30T00:00:00Z"}],
    ):
        status, document = served.post("/labels", body)
        assert status == 422
        assert "ahead of the clock" in document["error"]["message"]
    assert 'what="labels"' in before or 'what="labels"' not in served.call("GET", "/metrics")[1]


@pytest.fixture
def unserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that would begin to serve ends as a bug, so that a refusal can be tested in this process."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("fraudctl.server.run.serve", begin)
    monkeypatch.delenv("FRAUDCTL_TOKEN", raising=False)


def test_a_reload_is_held_to_the_expected_version(trained: Path) -> None:
    """`serve` opens models anew by the same call, at SIGHUP and at POST /admin/reload."""
    champion, _ = Serving(place=trained).open()
    assert Serving(place=trained, expect=champion.decider.model).open()[0].decider.model == champion.decider.model
    with pytest.raises(BundleError, match="--expect asks for 2020-01-01-00000000"):
        Serving(place=trained, expect="2020-01-01-00000000").open()


@pytest.mark.usefixtures("unserved")
def test_a_server_that_would_admit_everyone_does_not_start(trained: Path) -> None:
    started = run_in(trained, "serve", "--port", "0")
    assert started.code == 70, "what would serve is seen"
    cases = [
        ({"FRAUDCTL_TOKEN": ""}, [], "FRAUDCTL_TOKEN is empty"),
        ({"FRAUDCTL_TOKEN": " \n"}, [], "FRAUDCTL_TOKEN is empty"),
        ({"FRAUDCTL_TOKEN": "two words"}, [], "not one word"),
        ({"FRAUDCTL_TOKEN": ""}, ["--insecure", "--host", EVERYWHERE], "is empty"),
        ({}, ["--host", EVERYWHERE], "others can reach"),
        ({}, ["--host", "::"], "others can reach"),
        ({}, ["--host", ""], "others can reach"),
        ({}, ["--host", "::ffff:0.0.0.0"], "others can reach"),
        ({}, ["--host", "a..b", "--insecure"], "cannot be listened on"),
        ({"FRAUDCTL_TOKEN": "t\u00f6ken"}, [], "not one word"),
        ({}, ["--memory", "10MB"], "before the first request"),
        ({}, ["--memory", "9" * 400 + "GB"], "not an amount of memory"),
        ({}, ["--new"], "--state names none"),
        ({}, ["--max-ahead", "inf"], "the limit ahead is inf"),
        ({}, ["--timeout", "inf"], "the limit seconds is inf"),
        ({}, ["--max-connections", "1" + "0" * 30], "the limit connections is 1e+30"),
    ]
    for env, args, said in cases:
        done = run_in(trained, "serve", "--port", "0", *args, env=env)
        assert (done.code, said in done.err) == (2, True), done.err


@pytest.mark.usefixtures("unserved")
def test_a_state_is_there_or_asked_for_and_a_version_is_held_to(trained: Path, tmp_path: Path) -> None:
    missing = run_in(trained, "score", "-", "--state", str(tmp_path / "mistyped"))
    assert (missing.code, "no state in" in missing.err) == (4, True)
    assert not (tmp_path / "mistyped").exists()
    served = run_in(trained, "serve", "--port", "0", "--state", str(tmp_path / "mistyped"))
    assert (served.code, "--new" in served.err) == (4, True)
    other = run_in(trained, "serve", "--port", "0", "--expect", "2020-01-01-00000000")
    assert (other.code, "--expect asks for 2020-01-01-00000000" in other.err) == (4, True)


def test_nothing_of_a_list_is_taken_where_one_item_does_not_fit(served: Served, events: list[dict[str, Any]]) -> None:
    before = served.call("GET", "/metrics")[1]
    status, document = served.post("/decisions", [events[0], {**events[1], "amount": "x"}])
    assert status == 422
    assert document["error"]["message"].startswith("item 1: ")

    def taken(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("fraudctl_taken_total")]

    assert taken(served.call("GET", "/metrics")[1]) == taken(before)


def test_a_token_and_a_rate(trained: Path, events: list[dict[str, Any]], tmp_path: Path) -> None:
    served = start(trained, tmp_path / "log", "--rate", "8", env={"FRAUDCTL_TOKEN": "s3cret"})
    bearer = {"Authorization": "Bearer s3cret"}
    assert served.call("GET", "/healthz")[0] == 200
    for path in ("/version", "/metrics", "/openapi.json"):
        assert served.call("GET", path)[0] == 401
        assert served.call("GET", path, **bearer)[0] == 200
    body = json.dumps(events[:5]).encode()
    assert served.call("POST", "/decisions", body, Authorization="Bearer wrong")[0] == 401
    head = b"POST /decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nContent-Length: %d\r\n" % len(body)
    three = (head + b"\r\n" + body) * 2 + head + b"Connection: close\r\n\r\n" + body
    answers = raw(served, three)  # sent ahead, so that no slow client lets the rate recover
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 429" in answers
    assert served.call("POST", "/decisions", json.dumps(events[:9]).encode(), **bearer)[0] == 429
    assert served.stop() == 0
    assert "s3cret" not in served.log.read_text()
    assert str(events[0]["card_id"]) not in served.log.read_text()


def test_reloads_and_the_end_drop_no_request(trained: Path, events: list[dict[str, Any]], tmp_path: Path) -> None:
    served = start(trained, tmp_path / "log")

    def send(number: int) -> int:
        event = {**events[number % N_NEW], "transaction_id": f"R{number}"}
        return served.post("/decisions", event)[0]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(send, number) for number in range(40)]
        for _ in range(3):
            served.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        assert {item.result() for item in sent} == {200}
    until(lambda: bool(served.said("reloaded")))
    assert served.stop() == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_sent_the_server_answers_and_stays_up(
    served: Served, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(["/decisions", "/labels", "/sources/logins"]))
    odd = st.fixed_dictionaries({}, optional=dict.fromkeys(events[0], json_values))
    changed = odd.map(lambda new: {**events[0], **new})
    document = data.draw(json_values | changed | st.lists(changed, max_size=2))
    status, answer = served.call("POST", path, json.dumps(document).encode())
    assert status in {200, 202, 400, 409, 422}
    assert answer
    assert served.process.poll() is None
