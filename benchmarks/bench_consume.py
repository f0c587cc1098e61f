"""From topic to topic: what `consume` takes, how long an answer takes, and what is left after it is killed.

Without `--servers` the cluster is librdkafka's mock, in this process: it stands for the protocol, not for a real
broker's disk, replication or network, and the machine also runs it and the producer. It keeps 5 MB of a partition, and
shows aborted transactions. It answers a fetch that finds nothing when the time to wait is over, a real broker as soon
as there is something: so that time is 2 ms here, twice on the way of each event.

- `throughput`: processor time of `fraudctl consume --until-end` on events that are there, above that of a run that
  finds none, against `fraudctl score - --state` on the same events in the same run;
- `latency`: from the call that produces an event to the read of its decision, at a steady rate;
- `kills`: `kill -9` while events are there, at random moments and, in every second process, at a named point of a batch
  until all are answered: how many answers are missing, differ from those of `score -`, or are there again; and whether
  the events after these (those beyond `--events`) get the answers of a state that saw no kill. Bytes of states are not
  compared: where in memory something lies also depends on how often a state was written and read.

    python benchmarks/bench_consume.py --work /tmp/bench-consume --kills 100 --out benchmarks/results/consume.json
    python benchmarks/bench_consume.py --work /tmp/bench-consume --servers localhost:9092 --exactly-once transactions
"""

from __future__ import annotations

import argparse
import importlib
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
from confluent_kafka.admin import AdminClient, NewTopic

RUN = [sys.executable, "-m", "fraudctl"]
CHILD = "--die"
POINTS = {
    "before the offsets of the start are logged": ("fraudctl.scoring.store.Store.append", 0, False),
    "before a batch is logged": ("fraudctl.stream.flow.Flow._log", 3, False),
    "while a batch is written": ("fraudctl.scoring.store.Store.append", 9, False),
    "between log and produce": ("fraudctl.stream.flow.Flow._log", 3, True),
    "while a batch is produced": ("fraudctl.stream.outbox.Outbox._produce", 100, False),
    "before offsets are in a transaction": ("fraudctl.stream.transactions.Transactions._end", 5, False),
    "after a commit": ("fraudctl.stream.transactions.Transactions._end", 5, True),
    "between produce and mark": ("fraudctl.stream.flow.Flow._produce", 3, True),
    "before the mark is written": ("fraudctl.stream.flow.Flow._mark", 3, False),
    "after the mark": ("fraudctl.stream.flow.Flow._mark", 3, True),
    "before the offsets are committed": ("fraudctl.stream.flow.Flow.commit", 1, False),
    "after the offsets are committed": ("fraudctl.stream.flow.Flow.commit", 1, True),
}
"""Name -> method of the program, the most calls of it that end well, and whether the next one dies at its end."""
HISTORY, PARTITIONS, WAIT_MS = 10_000, 4, 2
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

    def __init__(self, work: Path, servers: str | None, exactly_once: str) -> None:
        self.project, self.work, self.exactly_once = work / "project", work, exactly_once
        self._host = None
        if servers is None:
            self._host = Producer({"test.mock.num.brokers": 1, "log_level": 2})
            brokers = self._host.list_topics(timeout=30).brokers.values()
            servers = ",".join(f"{item.host}:{item.port}" for item in brokers)
        self.servers = servers
        self.producer = Producer({"bootstrap.servers": self.servers, "log_level": 2, "linger.ms": 0})
        self._names = itertools.count(1)
        (work / "kafka.properties").write_text(f"consumer.fetch.wait.max.ms={WAIT_MS}\n")
        shutil.rmtree(work / "state", ignore_errors=True)
        build = ["state", "build", str(work / "state"), "--history", str(work / "history.parquet"), "--quiet"]
        subprocess.run([*RUN, *build], cwd=self.project, check=True, stdout=subprocess.DEVNULL)

    def stream(self) -> tuple[str, str, Path]:
        """Make topics of events and decisions and a copy of the state; name them in the project file."""
        number = next(self._names)
        events, decisions, dead = (f"{name}-{os.getpid()}-{number}" for name in ("events", "decisions", "dead"))
        self._make((events, decisions, dead))
        section = f'\n[stream]\nbrokers = "{self.servers}"\nevents = "{events}"\ndecisions = "{decisions}"\n'
        section += f'group = "bench-{events}"\nexactly_once = "{self.exactly_once}"\n'
        text = (self.work / "fraudctl.toml").read_text() + section + f'dead_letters = "{dead}"\n'
        (self.project / "fraudctl.toml").write_text(text)
        state = self.work / f"state-{number}"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self.work / "state", state)
        return events, decisions, state

    def _make(self, topics: tuple[str, ...]) -> None:
        if self._host is not None:
            for topic in topics:
                self.producer.list_topics(topic, timeout=30)
            return
        admin = AdminClient({"bootstrap.servers": self.servers})
        for done in admin.create_topics([NewTopic(topic, PARTITIONS) for topic in topics]).values():
            done.result(60)
        while not all(topic in admin.list_topics(timeout=30).topics for topic in topics):
            time.sleep(0.1)  # a broker says that it made a topic before it can say that it has it

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
            "enable.partition.eof": True, "fetch.wait.max.ms": WAIT_MS, "auto.offset.reset": "earliest",
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

    def consume(self, state: Path, *more: str, dying: tuple[str, int] | None = None) -> subprocess.Popen[bytes]:
        """Start a consumer; one that kills itself at a named point, where that is asked for."""
        run = RUN if dying is None else [sys.executable, __file__, CHILD, dying[0], str(dying[1])]
        command = [*run, "consume", "--model", "latest", "--state", str(state), *AHEAD, "--quiet"]
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


def answered_alike(bench: Bench, state: Path, later: list[bytes]) -> bool | None:
    """Return whether a state answers later events as one that saw no kill; None where there are none."""
    other = bench.work / "state-score"
    return scored(bench, later, state)[1] == scored(bench, later, other)[1] if later else None


def kills(
    bench: Bench, lines: list[bytes], later: list[bytes], answers: dict[str, bytes], wanted: int, seed: int
) -> dict[str, Any]:
    """Kill consumers while events are there, at random moments and at named points; then let one reach the end."""
    events, decisions, state = bench.stream()
    chance, killed = random.Random(seed), Counter[str]()  # noqa: S311 - moments, not secrets
    own = bench.exactly_once == "transactions"
    names = itertools.cycle([name for name, at in POINTS.items() if own or "Transactions" not in at[0]])
    share = -(-len(lines) // wanted)
    for number, start in enumerate(range(0, len(lines), share)):
        before = len(bench.decisions(decisions))
        bench.send(events, lines[start : start + share])
        if number % 2:
            name = next(names)
            process = bench.consume(state, "--until-end", dying=(name, chance.randint(0, POINTS[name][1])))
            killed[name if process.wait() == -signal.SIGKILL else "had ended before"] += 1
            continue
        process = bench.consume(state)
        while len(bench.decisions(decisions)) <= before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.1)
        process.kill()
        killed["at random" if process.wait() == -signal.SIGKILL else "had ended before"] += 1
    cpu_of(bench.consume(state, "--until-end"))
    got = bench.decisions(decisions)
    keys = Counter(key for key, _ in got)
    return {
        "kills": killed.total() - killed["had ended before"],
        "by_point": dict(sorted(killed.items())),
        "events": len(lines),
        "missing": len(answers.keys() - keys.keys()),
        "wrong": sum(answers[key] != value for key, value in got),
        "produced_again": len(got) - len(keys),
        "later_events": len(later),
        "later_events_answered_alike": answered_alike(bench, state, later),
    }


def die(name: str, at: int, arguments: list[str]) -> None:
    """Run a command that kills itself at a call of a named point."""
    from fraudctl.__main__ import main as run

    path, _, after = POINTS[name]
    owner, _, method = path.rpartition(".")
    module, _, kind = owner.rpartition(".")
    there = getattr(importlib.import_module(module), kind)
    real, calls = getattr(there, method), itertools.count()

    def call(self: Any, *given: Any, **named: Any) -> Any:
        last = next(calls) == at
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(self, *given, **named)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(there, method, call)
    sys.argv = ["fraudctl", *arguments]
    sys.exit(run())


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", help="A real cluster, host:port.")
    parser.add_argument("--exactly-once", choices=("event_id", "transactions"), default="event_id")
    parser.add_argument("--cluster", default="librdkafka's mock, in the process of the benchmark", help="What it is.")
    parser.add_argument("--note", default="", help="What else the machine did.")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    every = prepare(args.work)
    lines, later = every[: args.events], every[args.events :]
    bench = Bench(args.work, args.servers, args.exactly_once)
    through, answers = throughput(bench, lines)
    found = {
        "machine": machine(),
        "cluster": args.cluster,
        "exactly_once": args.exactly_once,
        "note": args.note,
        "load_average": os.getloadavg()[0],
        "throughput": through,
    }
    write(found, args.out)
    found["latency"] = latency(bench, lines, args.rate)
    write(found, args.out)
    if args.kills:
        found["kills"] = kills(bench, lines, later, answers, args.kills, args.seed)
        write(found, args.out)
    print(json.dumps(found, indent=1))


def write(found: dict[str, Any], out: Path | None) -> None:
    """Write what was found so far."""
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        die(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    main()
