"""From topic to topic: what `consume` takes, how long an answer takes, and what is left after it is killed.

The cluster is librdkafka's mock, in this process: it stands for the protocol, not for a real broker's disk, replication
or network, and the machine also runs it and the producer. It keeps 5 MB of a partition.

- `throughput`: processor time of `fraudctl consume --until-end` on events that are there, above that of a run that
  finds none, against `fraudctl score - --state` on the same events in the same run;
- `latency`: from the call that produces an event to the read of its decision, at a steady rate;
- `kills`: `kill -9` at random moments while events are there, until all are answered: how many answers are missing,
  differ from those of `score -`, or were produced again.

    python benchmarks/bench_consume.py --work /tmp/bench-consume --out benchmarks/results/consume.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bench_scoring import machine
from confluent_kafka import Consumer, Producer, TopicPartition

RUN = [sys.executable, "-m", "fraudctl"]
HISTORY, PARTITIONS = 10_000, 4
AHEAD = ["--max-ahead", "1e9"]


def require(held: object, what: str) -> None:
    """End the benchmark where something does not hold."""
    if not held:
        raise SystemExit(f"this does not hold: {what}")


def prepare(work: Path) -> list[bytes]:
    """Make the sample, a small model, its history, and the events after it as JSON lines."""
    project = work / "project"
    if not list(project.glob("models/2*")):
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)
        subprocess.run([*RUN, "sample", ".", "--events", "20000", "--quiet"], cwd=project, check=True)
        toml = project / "fraudctl.toml"
        small = toml.read_text().replace("trials = 30", "trials = 0\niterations = 60").replace("folds = 3", "folds = 2")
        toml.write_text(small)
        subprocess.run([*RUN, "train", "--quiet"], cwd=project, check=True, stdout=subprocess.DEVNULL)
        shutil.copy(toml, work / "fraudctl.toml")
    events = pl.read_parquet(project / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    events.head(HISTORY).write_parquet(work / "history.parquet")
    return events.slice(HISTORY).drop("is_fraud", "label_available_at").write_ndjson().encode().splitlines()


class Bench:
    """The cluster, the project, and a state that has seen the history."""

    def __init__(self, work: Path) -> None:
        self.project, self.work = work / "project", work
        self._host = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        brokers = self._host.list_topics(timeout=30).brokers.values()
        self.servers = ",".join(f"{item.host}:{item.port}" for item in brokers)
        self.producer = Producer({"bootstrap.servers": self.servers, "log_level": 2, "linger.ms": 0})
        self._names = itertools.count(1)
        (work / "kafka.properties").write_text("consumer.fetch.wait.max.ms=5\n")
        shutil.rmtree(work / "state", ignore_errors=True)
        build = ["state", "build", str(work / "state"), "--history", str(work / "history.parquet"), "--quiet"]
        subprocess.run([*RUN, *build], cwd=self.project, check=True, stdout=subprocess.DEVNULL)

    def stream(self) -> tuple[str, str, Path]:
        """Make topics of events and decisions and a copy of the state; name them in the project file."""
        number = next(self._names)
        events, decisions, dead = (f"{name}-{number}" for name in ("events", "decisions", "dead"))
        for topic in (events, decisions, dead):
            self.producer.list_topics(topic, timeout=30)
        section = f'\n[stream]\nbrokers = "{self.servers}"\nevents = "{events}"\ndecisions = "{decisions}"\n'
        text = (self.work / "fraudctl.toml").read_text() + section + f'dead_letters = "{dead}"\n'
        (self.project / "fraudctl.toml").write_text(text)
        state = self.work / f"state-{number}"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self.work / "state", state)
        return events, decisions, state

    def send(self, topic: str, lines: list[bytes]) -> None:
        """Produce lines to the partitions in turn."""
        for number, line in enumerate(lines):
            self.producer.produce(topic, value=line, partition=number % PARTITIONS)
            self.producer.poll(0)
        require(self.producer.flush(60) == 0, "the cluster took all events")

    def reader(self, topic: str) -> Consumer:
        """Return a consumer at the beginning of all partitions."""
        found = Consumer({
            "bootstrap.servers": self.servers, "group.id": "bench", "enable.auto.commit": False, "log_level": 2,
            "enable.partition.eof": True, "fetch.wait.max.ms": 5, "auto.offset.reset": "earliest",
        })  # fmt: skip
        found.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        return found

    def decisions(self, topic: str) -> list[tuple[str, bytes]]:
        """Return key and value of all decisions."""
        reader, out, ended = self.reader(topic), [], 0
        while ended < PARTITIONS:
            message = reader.poll(30)
            if message is not None and message.error():
                ended += 1
            elif message is not None:
                out.append(((message.key() or b"").decode(), message.value() or b""))
        reader.close()
        return out

    def consume(self, state: Path, *more: str) -> subprocess.Popen[bytes]:
        """Start a consumer."""
        command = [*RUN, "consume", "--model", "latest", "--state", str(state), *AHEAD, "--quiet"]
        properties = ["--properties", str(self.work / "kafka.properties")]
        return subprocess.Popen([*command, *properties, *more], cwd=self.project, stdout=subprocess.DEVNULL)


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; return its processor time."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    require(process.returncode == 0, "the command ended with 0")
    return usage.ru_utime + usage.ru_stime


def scored(bench: Bench, lines: list[bytes], state: Path) -> tuple[float, dict[str, bytes]]:
    """Return processor time and answers of `score - --state`."""
    (bench.work / "lines").write_bytes(b"\n".join(lines))
    with (bench.work / "lines").open("rb") as given, (bench.work / "answers").open("wb") as out:
        command = [*RUN, "score", "-", "--state", str(state), "--quiet"]
        seconds = cpu_of(subprocess.Popen(command, cwd=bench.project, stdin=given, stdout=out))
    answers = (bench.work / "answers").read_bytes().splitlines()
    return seconds, {str(json.loads(line)["event_id"]): line for line in answers}


def throughput(bench: Bench, lines: list[bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Measure what `consume` takes for events that are there, and what `score -` takes for the same."""
    events, decisions, state = bench.stream()
    nothing = cpu_of(bench.consume(state, "--until-end"))
    bench.send(events, lines)
    busy = cpu_of(bench.consume(state, "--until-end"))
    other = bench.work / "state-score"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(bench.work / "state", other)
    idle = scored(bench, [], other)[0]
    seconds, answers = scored(bench, lines, other)
    got = bench.decisions(decisions)
    require(dict(got) == answers and len(got) == len(lines), "the decisions are those of score -")
    found = {
        "events": len(lines),
        "consume_events_per_cpu_second": len(lines) / (busy - nothing),
        "score_events_per_cpu_second": len(lines) / (seconds - idle),
        "consume_start_cpu_seconds": nothing,
    }
    found["consume_to_score"] = found["consume_events_per_cpu_second"] / found["score_events_per_cpu_second"]
    return found, answers


def latency(bench: Bench, lines: list[bytes], rate: int) -> dict[str, Any]:
    """Measure the time from producing an event to reading its decision."""
    events, decisions, state = bench.stream()
    reader, sent, seen = bench.reader(decisions), dict[str, float](), dict[str, float]()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            message = reader.poll(0.1)
            if message is not None and not message.error():
                seen[(message.key() or b"").decode()] = time.perf_counter()

    thread = threading.Thread(target=read)
    thread.start()
    process = bench.consume(state)
    warm, rest = lines[:200], lines[200:]
    bench.send(events, warm)
    while len(seen) < len(warm):
        time.sleep(0.05)
    begun = time.perf_counter()
    for number, line in enumerate(rest):
        due = begun + number / rate
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        sent[str(json.loads(line)["transaction_id"])] = time.perf_counter()
        bench.producer.produce(events, value=line, partition=number % PARTITIONS)
        bench.producer.poll(0)
    while len(seen) < len(lines):
        time.sleep(0.05)
    took = time.perf_counter() - begun
    process.send_signal(signal.SIGTERM)
    require(process.wait() == 0, "SIGTERM ends with 0")
    done.set()
    thread.join()
    reader.close()
    gaps = np.array([seen[key] - moment for key, moment in sent.items()])
    quantiles = {f"p{q:g}_ms": float(np.quantile(gaps, q / 100) * 1e3) for q in (50, 90, 99)}
    return {"events": len(rest), "asked_per_second": rate, "answered_per_second": len(rest) / took, **quantiles}


def kills(bench: Bench, lines: list[bytes], answers: dict[str, bytes], wanted: int, seed: int) -> dict[str, Any]:
    """Kill consumers at random moments while events are there; then let one reach the end."""
    events, decisions, state = bench.stream()
    chance, killed = random.Random(seed), 0  # noqa: S311 - moments, not secrets
    share = -(-len(lines) // wanted)
    for start in range(0, len(lines), share):
        before = len(bench.decisions(decisions))
        bench.send(events, lines[start : start + share])
        process = bench.consume(state)
        while len(bench.decisions(decisions)) <= before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.1)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    cpu_of(bench.consume(state, "--until-end"))
    got = bench.decisions(decisions)
    keys = Counter(key for key, _ in got)
    return {
        "kills": killed,
        "events": len(lines),
        "missing": len(answers.keys() - keys.keys()),
        "wrong": sum(answers[key] != value for key, value in got),
        "produced_again": len(got) - len(keys),
    }


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--note", default="", help="What else the machine did.")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = prepare(args.work)[: args.events]
    bench = Bench(args.work)
    through, answers = throughput(bench, lines)
    found = {
        "machine": machine(),
        "cluster": "librdkafka's mock, in the process of the benchmark",
        "note": args.note,
        "load_average": os.getloadavg()[0],
        "throughput": through,
        "kills": kills(bench, lines, answers, args.kills, args.seed),
        "latency": latency(bench, lines, args.rate),
    }
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
