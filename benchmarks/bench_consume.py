"""From topic to topic: what `consume` takes, how long an answer takes, and what is left after it is killed.

Without `--servers` the cluster is librdkafka's mock, in this process: it stands for the protocol, not for a real
broker's disk, replication or network, and the machine also runs it and the producer. It keeps 5 MB of a partition, and
shows aborted transactions. It answers a fetch that finds nothing when the time to wait is over, a real broker as soon
as there is something: so that time is 2 ms here, twice on the way of each event.

- `throughput`: processor time of `fraudctl consume --until-end` on events that are there, above that of a run that
  finds none, against `fraudctl score - --state` on the same events in the same run;
- `latency`: from the call that produces an event to the read of its decision, at a steady rate;
- `kills`: `kill -9` while events are there, in one process after another on one state: at named points of a batch, and
  at random moments while events go on coming. How many answers are missing, differ from those of `score -`, or are
  there again; and whether the events after these (those beyond `--events`) get the answers of a state that saw no kill.
  Bytes of states are not compared: where in memory something lies also depends on how often a state was written and
  read.
  Processes that die at a named point take batches of ten messages, so that each surely comes to its point; a process
  that ends before it was killed ends the benchmark.

    python benchmarks/bench_consume.py --work /tmp/bench-consume --out benchmarks/results/consume.json
    python benchmarks/bench_consume.py --work /tmp/bench-consume --measure kills --events 6000 --kills 100
    python benchmarks/bench_consume.py --work /tmp/bench-consume --servers localhost:9092 --exactly-once transactions
"""

from __future__ import annotations

import argparse
import functools
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
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from bench_scoring import machine
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

RUN = [sys.executable, "-m", "fraudctl"]
CHILD = "--die"
BATCH, LEAST = 10, 60
"""Messages in a batch of a process that dies at a named point, and new messages that it finds at least: six batches."""
EACH = 5
"""Kills at each named point, where there are enough."""
RANDOM_SECONDS = 0.1


class Point(NamedTuple):
    """Where a process kills itself.

    Attributes
    ----------
    where
        A function of the program, module:name.
    most
        The most calls of it that end well; in six batches there are more.
    when
        Before it, after it, or when half of the bytes it was given are written.
    """

    where: str
    most: int
    when: Literal["before", "after", "half"]


START = "before the offsets of the start are logged"
POINTS = {
    START: Point("fraudctl.scoring.store:Store.append", 0, "before"),
    "before a batch is logged": Point("fraudctl.stream.flow:Flow._log", 4, "before"),
    "while a batch or its mark is written": Point("fraudctl.scoring.store:write_all", 9, "half"),
    "between log and produce": Point("fraudctl.stream.flow:Flow._log", 4, "after"),
    "while a batch is produced": Point("fraudctl.stream.outbox:Outbox._produce", 50, "before"),
    "before offsets are in a transaction": Point("fraudctl.stream.transactions:Transactions._end", 4, "before"),
    "after a commit": Point("fraudctl.stream.transactions:Transactions._end", 4, "after"),
    "between produce and mark": Point("fraudctl.stream.flow:Flow._produce", 4, "after"),
    "before the mark is written": Point("fraudctl.stream.flow:Flow._mark", 4, "before"),
    "after the mark": Point("fraudctl.stream.flow:Flow._mark", 4, "after"),
    "before the offsets are committed": Point("fraudctl.stream.flow:Flow.commit", 1, "before"),
    "after the offsets are committed": Point("fraudctl.stream.flow:Flow.commit", 1, "after"),
}
"""Offsets are committed after the first batch and at the end. Only a state that has read nothing logs those of its
start, so the first processes die there."""
HISTORY, PARTITIONS, WAIT_MS = 10_000, 4, 2
PATIENT, WAIT = 60.0, 0.5
"""Seconds that messages wait for an earlier one: where answers are compared, and as it is where nothing is said."""
MEASURES = ("throughput", "latency", "kills")
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

    def stream(self, *, wait: float = PATIENT) -> tuple[str, str, Path]:
        """Make topics of events and decisions and a copy of the state; name them in the project file.

        Answers are those of the same events in the order of time only as long as no message stops waiting for another.
        """
        number = next(self._names)
        events, decisions, dead = (f"{name}-{os.getpid()}-{number}" for name in ("events", "decisions", "dead"))
        self._make((events, decisions, dead))
        section = f'\n[stream]\nbrokers = "{self.servers}"\nevents = "{events}"\ndecisions = "{decisions}"\n'
        section += f'group = "bench-{events}"\nexactly_once = "{self.exactly_once}"\n'
        section += f"wait_seconds = {wait}\n"
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

    def send(self, topic: str, lines: list[bytes], *, partition: int | None = None) -> None:
        """Produce lines to one partition, or to all in turn."""
        for number, line in enumerate(lines):
            self.producer.produce(topic, value=line, partition=number % PARTITIONS if partition is None else partition)
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

    def all_decisions(self, topic: str, wanted: int) -> list[tuple[str, bytes]]:
        """Return key and value of all decisions when there are as many keys: a commit is answered before it is seen."""
        until = time.monotonic() + PATIENT
        while len(dict(got := self.decisions(topic))) < wanted and time.monotonic() < until:
            time.sleep(0.2)
        return got

    def decisions(self, topic: str) -> list[tuple[str, bytes]]:
        """Return key and value of all decisions that are there."""
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


class Scored(NamedTuple):
    """What `score - --state` answers to the events, and its processor time above that of a run without any."""

    seconds: float
    answers: dict[str, bytes]
    state: Path


def by_score(bench: Bench, lines: list[bytes]) -> Scored:
    """Let `score - --state` answer the events."""
    state = bench.work / "state-score"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(bench.work / "state", state)
    idle = scored(bench, [], state)[0]
    seconds, answers = scored(bench, lines, state)
    return Scored(seconds - idle, answers, state)


def throughput(bench: Bench, lines: list[bytes], by: Scored) -> dict[str, Any]:
    """Measure what `consume` takes for events that are there."""
    events, decisions, state = bench.stream()
    nothing = cpu_of(bench.consume(state, "--until-end"))
    bench.send(events, lines)
    busy = cpu_of(bench.consume(state, "--until-end"))
    got = bench.all_decisions(decisions, len(lines))
    require(dict(got) == by.answers and len(got) == len(lines), "the decisions are those of score -")
    found = {
        "events": len(lines),
        "consume_events_per_cpu_second": len(lines) / (busy - nothing),
        "score_events_per_cpu_second": len(lines) / by.seconds,
        "consume_start_cpu_seconds": nothing,
    }
    found["consume_to_score"] = found["consume_events_per_cpu_second"] / found["score_events_per_cpu_second"]
    return found


def latency(bench: Bench, lines: list[bytes], rate: int) -> dict[str, Any]:
    """Measure the time from producing an event to reading its decision."""
    events, decisions, state = bench.stream(wait=WAIT)
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


def plan(wanted: int, *, transactions: bool, chance: random.Random) -> list[str | None]:
    """Return the named point at which each process dies, None for a random moment: a third of them at least."""
    names = [name for name, point in POINTS.items() if transactions or "Transactions" not in point.where]
    n_named = min(max(wanted // 2, EACH * len(names)), wanted * 2 // 3)
    first = n_named // len(names)
    rest: list[str | None] = [*itertools.islice(itertools.cycle(names[1:]), n_named - first)]
    rest += [None] * (wanted - n_named)
    chance.shuffle(rest)
    return [START] * first + rest


class Kills:
    """One state, its topics, and the processes that are killed on it, one after another."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.events, self.decisions, self.state = bench.stream()
        self.killed = Counter[str]()
        self._bench, self._chance = bench, chance

    def at(self, name: str, lines: list[bytes]) -> None:
        """Let a process die at a named point."""
        self._bench.send(self.events, lines)
        calls = self._chance.randint(0, POINTS[name].most)
        self._died(name, self._bench.consume(self.state, "--until-end", dying=(name, calls)))

    def at_random(self, lines: list[bytes]) -> None:
        """Kill a process at a random moment after its first decision, while the second half of the events comes.

        That half goes to one partition: where events come to several at once, their order is not certain.
        """
        bench, half = self._bench, len(lines) // 2
        bench.send(self.events, lines[:half])
        before = len(bench.decisions(self.decisions))
        reader, seen = bench.reader(self.decisions), 0
        process = bench.consume(self.state)
        while seen <= before:
            message = reader.poll(0.05)
            seen += message is not None and not message.error()
            require(process.poll() is None, "a process goes on until it is killed")
        reader.close()
        bench.send(self.events, lines[half:], partition=self._chance.randrange(PARTITIONS))
        time.sleep(self._chance.random() * RANDOM_SECONDS)
        process.kill()
        self._died("at random", process)

    def _died(self, name: str, process: subprocess.Popen[bytes]) -> None:
        require(process.wait() == -signal.SIGKILL, f"a process is killed {name}")
        self.killed[name] += 1


def kills(bench: Bench, lines: list[bytes], later: list[bytes], by: Scored, wanted: int, seed: int) -> dict[str, Any]:
    """Kill consumers while events are there; then let one reach the end."""
    require(len(lines) >= wanted * LEAST, f"there are {LEAST} events for each kill")
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    found, left = Kills(bench, chance), 0
    for number, name in enumerate(plan(wanted, transactions=bench.exactly_once == "transactions", chance=chance)):
        start, stop = (len(lines) * (number + more) // wanted for more in (0, 1))
        if name is None:
            found.at_random(lines[start:stop])
        else:
            found.at(name, lines[start:stop])
        left += len(dict(bench.decisions(found.decisions))) < stop
    cpu_of(bench.consume(found.state, "--until-end"))
    got = bench.all_decisions(found.decisions, len(lines))
    keys = Counter(key for key, _ in got)
    return {
        "kills": found.killed.total(),
        "by_point": dict(sorted(found.killed.items())),
        "kills_with_answers_left": left,
        "events": len(lines),
        "missing": len(by.answers.keys() - keys.keys()),
        "wrong": sum(by.answers.get(key) != value for key, value in got),
        "produced_again": len(got) - len(keys),
        "later_events": len(later),
        "later_events_answered_alike": scored(bench, later, found.state)[1] == scored(bench, later, by.state)[1],
    }


def die(name: str, at: int, arguments: list[str]) -> None:
    """Run a command that kills itself at a call of a named point."""
    from fraudctl.__main__ import main as run
    from fraudctl.stream import flow

    where, _, when = POINTS[name]
    module, _, path = where.partition(":")
    *owner, method = path.split(".")
    there: Any = functools.reduce(getattr, owner, importlib.import_module(module))
    real, calls = getattr(there, method), itertools.count()

    def call(*given: Any, **named: Any) -> Any:
        if next(calls) != at:
            return real(*given, **named)
        if when == "half":
            handle, content = given
            os.write(handle, content[: len(content) // 2])
        elif when == "after":
            real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(there, method, call)
    vars(flow)["MOST"] = BATCH
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
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=list(MEASURES))
    args = parser.parse_args()
    every = prepare(args.work)
    lines, later = every[: args.events], every[args.events :]
    bench = Bench(args.work, args.servers, args.exactly_once)
    by = by_score(bench, lines)
    found: dict[str, Any] = {
        "machine": machine(),
        "cluster": args.cluster,
        "exactly_once": args.exactly_once,
        "note": args.note,
        "load_average": os.getloadavg()[0],
    }
    measures = {
        "throughput": lambda: throughput(bench, lines, by),
        "latency": lambda: latency(bench, lines, args.rate),
        "kills": lambda: kills(bench, lines, later, by, args.kills, args.seed),
    }
    for name in args.measure:
        found[name] = measures[name]()
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
