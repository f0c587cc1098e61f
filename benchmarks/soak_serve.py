"""A server under load for minutes, with labels, reloads, nonsense and `kill -9` in between; then compared with batch.

Events go in the order of time, in requests of 1 to 20, and every outcome when it arrived. Meanwhile other clients send
what cannot be taken, models are reloaded, and the server is killed without warning and started again; a request that
got no answer is sent again. At the end every event must have been answered, and every probability and action must be
that of batch scoring over history and events together; and the logged decisions must be the answers.

    python benchmarks/soak_serve.py --work /tmp/bench --seconds 180 --out benchmarks/results/soak.json

Takes the sample and the model that `bench_scoring.py` has made in the work folder.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
from bench_scoring import N_HISTORY, machine, prepare

from fraudctl.scoring.tables import messages, open_new
from fraudctl.workflows.score import open_model, score_files

NONSENSE = (b"{", b"[1,2", b'{"amount": 1e400}', b'{"unknown": 1}', b"[" * 5000, b"null", b"[]", b'{"amount": "x"}')


class Server:
    """A server that can be killed and started again."""

    def __init__(self, project: Path, work: Path) -> None:
        self.project, self.work = project, work
        self.state = work / "state-soak"
        shutil.rmtree(self.state, ignore_errors=True)
        self.port, self.starts, self.restart_seconds = 0, 0, []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, the first time on history, and wait until it listens."""
        began, log = time.perf_counter(), self.work / f"soak-{self.starts}.log"
        history = ["--history", str(self.work / "before.parquet")] if self.starts == 0 else []
        command = [
            sys.executable,
            "-m",
            "fraudctl",
            "serve",
            "--port",
            "0",
            "--state",
            str(self.state),
            "--new",
            "--quiet",
        ]
        command += ["--snapshot-every", "5000", "--challenger", "latest", *history]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, cwd=self.project, stderr=stream)
        self.starts += 1
        while not (lines := [line for line in log.read_text().splitlines() if '"listening"' in line]):
            if self.process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        self.port = json.loads(lines[0])["port"]
        self.restart_seconds.append(time.perf_counter() - began)

    def send(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None  # noqa: S101 - started
        self.process.send_signal(number)

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Send a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def disturb(server: Server, stop: threading.Event, counts: dict[str, int]) -> None:
    """Send nonsense and reloads until told to stop; every answer must be a refusal."""
    rng = random.Random(1)  # noqa: S311
    while not stop.wait(rng.uniform(0.01, 0.1)):
        try:
            status, _ = server.post(rng.choice(["/decisions", "/labels"]), rng.choice(NONSENSE))
            counts["refused" if 400 <= status < 500 else "wrong_status"] += 1
            if rng.random() < 0.02:
                server.send(signal.SIGHUP)
                counts["reloads"] += 1
        except (OSError, http.client.HTTPException, ValueError):
            counts["while_down"] += 1


def feed(server: Server, sent: list[dict[str, Any]], seconds: float, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Send messages in order for a while, killing the server now and then; give the answers."""
    rng, answers, at, end = random.Random(2), [], 0, time.monotonic() + seconds  # noqa: S311
    next_kill = time.monotonic() + seconds / 6
    while at < len(sent) and time.monotonic() < end:
        is_label = sent[at].get("type") == "label"
        size = rng.randint(1, 20)
        batch = [sent[at]]
        for item in sent[at + 1 : at + size]:
            if (item.get("type") == "label") != is_label:
                break
            batch.append(item)
        killer = None
        if time.monotonic() > next_kill:
            killer = threading.Timer(rng.uniform(0, 0.02), server.send, [signal.SIGKILL])
            killer.start()
            next_kill = time.monotonic() + seconds / 6
        try:
            status, document = server.post("/labels" if is_label else "/decisions", json.dumps(batch).encode())
        except (OSError, http.client.HTTPException, ValueError):
            status = 0
        if killer is not None:
            killer.join()
            server.process.wait()
            server.start()
            counts["kills"] += 1
        if status == 0:
            counts["sent_again"] += 1
            continue
        if status not in (200, 202):
            raise SystemExit(f"status {status}: {document}")
        if not is_label:
            answers += document
        at += len(batch)
    counts["messages"] = at
    return answers


def main() -> None:
    """Soak, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    project = prepare(args.work)
    events = pl.read_parquet(project / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    events.head(N_HISTORY).write_parquet(args.work / "before.parquet")
    events.slice(N_HISTORY).write_parquet(args.work / "after.parquet")
    model = open_model(project, "latest")
    new = open_new(
        [args.work / "after.parquet"], model.decider.project, model.decider.schema, carried=model.decider.carried,
        what="DATA",
    )  # fmt: skip
    sent = list(messages(new, model.decider))
    counts = dict.fromkeys(("refused", "wrong_status", "reloads", "while_down", "kills", "sent_again", "messages"), 0)
    server, stop = Server(project, args.work), threading.Event()
    server.start()
    noise = threading.Thread(target=disturb, args=(server, stop, counts))
    noise.start()
    try:
        answers = feed(server, sent, args.seconds, counts)
    finally:
        stop.set()
        noise.join()
        server.send(signal.SIGTERM)
        server.process.wait(60)
    found = compare(args.work, model, server.state, sent[: counts["messages"]], answers)
    found |= {**counts, "restart_seconds_max": max(server.restart_seconds[1:], default=None), "machine": machine()}
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    if found["lost"] or found["wrong"] or found["log_differs"] or found["wrong_status"]:
        raise SystemExit(1)


def compare(work: Path, model: Any, state: Path, sent: list[dict[str, Any]], answers: list[Any]) -> dict[str, Any]:
    """Compare the answers with batch scoring of the same events, and with the logged decisions."""
    out = work / "soak.parquet"
    column = model.decider.project.data.event_id
    asked = [item[column] for item in sent if item.get("type") != "label"]
    score_files(model, [work / "after.parquet"], history=[work / "before.parquet"], output=out, explained="none")
    batch = {row["event_id"]: row for row in pl.read_parquet(out).iter_rows(named=True)}
    given = {item["event_id"]: item for item in answers}
    logged = pl.read_parquet(state / "decisions" / "*.parquet").filter(role="champion")
    log = dict(logged.select("event_id", "action").iter_rows())
    wrong = [
        name
        for name, item in given.items()
        if item["action"] != batch[name]["action"] or abs(item["probability"] - batch[name]["probability"]) > 1e-9
    ]
    return {
        "events": len(asked),
        "labels": len(sent) - len(asked),
        "lost": sum(name not in given for name in asked),
        "wrong": len(wrong),
        "log_differs": sum(log.get(name) != item["action"] for name, item in given.items()),
        "logged_twice": logged.height - logged["event_id"].n_unique(),
    }


if __name__ == "__main__":
    main()
