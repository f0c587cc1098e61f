"""A server under load for minutes, with all that can go wrong around it; then compared with batch scoring.

Events go in the order of time, in requests of 1 to 20, and every outcome when it arrived. Meanwhile

- the server is killed without warning and started again; a request that got no answer is sent again;
- the disk of its state is filled to the last byte for a while, now and then (as root: a file system in memory);
- messages are sent twice, and must get the answer that they got; events come days late, of cards that no other has;
- models are reloaded, other clients send what cannot be taken, and slow clients a byte at a time.

At the end every event must have been answered, and every probability and action must be that of batch scoring over
history and events together; and the logged decisions must be the answers.

    python benchmarks/soak_serve.py --work /tmp/bench --seconds 600 --out benchmarks/results/soak.json

Takes the sample and the model that `bench_scoring.py` has made in the work folder.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
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


DISK_BYTES = 400 << 20


class Server:
    """A server that can be killed and started again."""

    def __init__(self, project: Path, work: Path) -> None:
        self.project, self.work = project, work
        self.disk = work / "disk-soak"
        self.own_disk = mounted(self.disk)
        self.state = self.disk / "state"
        shutil.rmtree(self.state, ignore_errors=True)
        self.megabytes: list[float] = []
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

    def note_memory(self) -> None:
        """Note how much memory the process takes, where the system says so."""
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.megabytes.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)

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


def mounted(folder: Path) -> bool:
    """Make a small file system in memory, where this process may; say whether it did."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return False
    subprocess.run(["umount", str(folder)], check=False, stderr=subprocess.DEVNULL)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def fill(server: Server, stop: threading.Event, counts: dict[str, int], seconds: float) -> None:
    """Fill the disk of the state now and then, for a second."""
    rng = random.Random(3)  # noqa: S311
    while server.own_disk and not stop.wait(rng.uniform(0.5, 1.5) * seconds / 12):
        filler = server.disk / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        except OSError:
            counts["disk_full"] += 1
        stop.wait(rng.uniform(0.2, 1.5))
        filler.unlink()


def dawdle(server: Server, stop: threading.Event, counts: dict[str, int]) -> None:
    """Send requests a byte at a time, or nothing at all; the server must end them, and serve all others meanwhile."""
    rng = random.Random(4)  # noqa: S311
    while not stop.wait(0.2):
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
                for byte in b"POST /decisions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"[: rng.randrange(60)]:
                    client.sendall(bytes([byte]))
                    if stop.wait(0.1):
                        return
                while client.recv(4096) and not stop.is_set():
                    pass
                counts["slow_ended"] += 1
        except OSError:
            counts["while_down"] += 1


def disturb(server: Server, stop: threading.Event, counts: dict[str, int]) -> None:
    """Send nonsense and reloads until told to stop; every answer must be a refusal."""
    rng = random.Random(1)  # noqa: S311
    while not stop.wait(rng.uniform(0.01, 0.1)):
        try:
            status, _ = server.post(rng.choice(["/decisions", "/labels"]), rng.choice(NONSENSE))
            counts["refused" if 400 <= status < 500 else "not_written" if status == 503 else "wrong_status"] += 1
            if rng.random() < 0.02:
                server.send(signal.SIGHUP)
                counts["reloads"] += 1
        except (OSError, http.client.HTTPException, ValueError):
            counts["while_down"] += 1


def feed(
    server: Server,
    sent: list[dict[str, Any]],
    names: tuple[str, str, list[str]],
    seconds: float,
    counts: dict[str, int],
) -> list[dict[str, Any]]:
    """Send messages in order for a while, killing the server now and then; give the answers.

    Parameters
    ----------
    names
        Columns of id, time and entities.
    """
    rng, answers, at, end = random.Random(2), [], 0, time.monotonic() + seconds  # noqa: S311
    next_kill = time.monotonic() + seconds / 10
    pause = max(0.0, 0.8 * seconds / max(1, len(sent)) * 10)
    while time.monotonic() < end:
        killer = None
        if time.monotonic() > next_kill:
            killer = threading.Timer(rng.uniform(0, 0.02), server.send, [signal.SIGKILL])
            killer.start()
            next_kill = time.monotonic() + seconds / 10
        kind = "next" if at < len(sent) and rng.random() < 0.85 else rng.choice(["twice", "late"])
        batch = next_batch(sent, at, rng) if kind == "next" else extra_batch(kind, sent[:at], answers, names, rng)
        is_label = bool(batch) and batch[0].get("type") == "label"
        status, document = post(server, "/labels" if is_label else "/decisions", batch) if batch else (200, [])
        if killer is not None:
            killer.join()
            server.process.wait()
            start(server, counts)
        if status in (0, 503):
            counts["sent_again" if status == 0 else "not_written"] += 1
            time.sleep(0.05)
            continue
        if status not in (200, 202):
            raise SystemExit(f"status {status}: {document}")
        counts[f"{kind}_messages"] += len(batch)
        if kind == "next":
            at += len(batch)
            answers += [] if is_label else document
            time.sleep(pause * rng.random() * len(batch) / 10)
        elif kind == "twice":
            known = {item["event_id"]: item for item in answers[-5000:]}
            counts["wrong_again"] += sum(known.get(item["event_id"], item) != item for item in document)
        if rng.random() < 0.02:
            server.note_memory()
    counts["messages"] = at
    return answers


def start(server: Server, counts: dict[str, int]) -> None:
    """Start the server again; on a full disk it may need several attempts."""
    while True:
        try:
            server.start()
        except SystemExit:
            counts["start_failed"] += 1
            if counts["start_failed"] > 50:
                raise
            time.sleep(0.5)
        else:
            counts["kills"] += 1
            return


def post(server: Server, path: str, batch: list[dict[str, Any]]) -> tuple[int, Any]:
    """Send a request; status 0 where there was no answer."""
    try:
        return server.post(path, json.dumps(batch).encode())
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None


def next_batch(sent: list[dict[str, Any]], at: int, rng: random.Random) -> list[dict[str, Any]]:
    """Give the next messages of one kind."""
    is_label, batch = sent[at].get("type") == "label", [sent[at]]
    for item in sent[at + 1 : at + rng.randint(1, 20)]:
        if (item.get("type") == "label") != is_label:
            break
        batch.append(item)
    return batch


def extra_batch(
    kind: str, done: list[dict[str, Any]], answers: list[Any], names: tuple[str, str, list[str]], rng: random.Random
) -> list[dict[str, Any]]:
    """Give events that were answered already, or events that come late, of entities that no other event has."""
    events = [item for item in done[-2000:] if item.get("type") != "label"]
    if len(events) < 20 or not answers:
        return []
    if kind == "twice":
        return rng.sample(events, 5)
    event_id, event_time, entities = names
    number = rng.randrange(10**9)
    early = events[0]
    own = {name: f"late-{number}" for name in entities if early[name] is not None}
    return [{**early, event_id: f"late-{number}", **own, event_time: early[event_time]}]


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
        [args.work / "after.parquet"],
        model.decider.project,
        model.decider.schema,
        carried=model.decider.carried,
        what="DATA",
    )
    sent = list(messages(new, model.decider))
    counts = dict.fromkeys(
        (
            "refused", "wrong_status", "reloads", "while_down", "kills", "sent_again", "messages", "not_written",
            "disk_full", "slow_ended", "start_failed", "next_messages", "twice_messages",
            "late_messages", "wrong_again",
        ),
        0,
    )  # fmt: skip
    data = model.decider.project.data
    names = (data.event_id, data.event_time, list(model.decider.project.entities.values()))
    server, stop = Server(project, args.work), threading.Event()
    server.start()
    around = [
        threading.Thread(target=disturb, args=(server, stop, counts)),
        threading.Thread(target=fill, args=(server, stop, counts, args.seconds)),
        *(threading.Thread(target=dawdle, args=(server, stop, counts)) for _ in range(8)),
    ]
    for thread in around:
        thread.start()
    try:
        answers = feed(server, sent, names, args.seconds, counts)
    finally:
        stop.set()
        server.note_memory()
        for thread in around:
            thread.join()
        server.send(signal.SIGTERM)
        server.process.wait(60)
    found = compare(args.work, model, server.state, sent[: counts["messages"]], answers)
    found |= {"megabytes_first": server.megabytes[0], "megabytes_most": max(server.megabytes)}
    found |= {
        **counts,
        "seconds": args.seconds,
        "own_disk": server.own_disk,
        "restart_seconds_max": max(server.restart_seconds[1:], default=None),
        "machine": machine(),
    }
    if server.own_disk:
        subprocess.run(["umount", str(server.disk)], check=False)
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    if any(found[key] for key in ("lost", "wrong", "log_differs", "wrong_status", "wrong_again", "logged_twice")):
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
