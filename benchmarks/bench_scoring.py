"""What a decision costs: one in process, many over HTTP, a batch; and what the log costs against SQLite.

Makes a sample with 80 features, trains a model without search, and takes its last events:

- `single`: one decision in process, with features, reasons and the log, event after event in the order of time; the
  interpreter looks for garbage as it does in a server (`short_pauses`);
- `partner`: `single` with LightGBM's partner and without it, in turns, where the model has one;
- `http`: 16 clients, each of which sends its next event when the last one was answered, from a process of their own
  (this file again, plain asyncio); events in the order of time, features and reasons included, the log on;
- `batch`: decisions on a feature table that is built already;
- `worker`: the same as a worker of a cluster makes them (`DecideParts`), in a process with one processor;
- `durability`: one write to the append-only log against one commit to SQLite (write-ahead log), neither flushed.

    python benchmarks/bench_scoring.py --work /tmp/bench --out benchmarks/results/scoring.json

The work folder keeps the sample and the model; a further run only measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from fraudctl import load_project
from fraudctl.cluster.scores import DecideParts
from fraudctl.policy import CapacityUse
from fraudctl.scoring.blend import Blend
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.scoring.store import Store, frame
from fraudctl.workflows.features import build_features
from fraudctl.workflows.score import Model, open_model
from fraudctl.workflows.state import open_live
from fraudctl.workflows.steady import short_pauses

if TYPE_CHECKING:
    from fraudctl.cluster.task import Desk

N_EVENTS = 80_000
N_HISTORY = 60_000
CLIENTS = 16
BATCH_ROWS = 1_000_000


def prepare(work: Path) -> Path:
    """Make the sample, its model, its history, and the events after it as JSON lines."""
    project = work / "project"
    if not list(project.glob("models/2*")):
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)
        run = [sys.executable, "-m", "fraudctl"]
        subprocess.run([*run, "sample", ".", "--events", str(N_EVENTS), "--quiet"], cwd=project, check=True)
        toml = project / "fraudctl.toml"
        toml.write_text(toml.read_text().replace("trials = 30", "trials = 0"))
        subprocess.run([*run, "train", "--quiet"], cwd=project, check=True, stdout=subprocess.DEVNULL)
    events = pl.read_parquet(project / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    events.head(N_HISTORY).write_parquet(work / "history.parquet")
    events.slice(N_HISTORY).drop("is_fraud", "label_available_at").write_ndjson(work / "events.jsonl")
    return project


def quantiles(seconds: np.ndarray) -> dict[str, float]:
    """Give milliseconds."""
    found = {f"p{q:g}_ms": float(np.quantile(seconds, q / 100) * 1e3) for q in (50, 90, 99, 99.9)}
    return {**found, "mean_ms": float(seconds.mean() * 1e3), "events": len(seconds)}


def single(work: Path, model: Model) -> dict[str, Any]:
    """Time decision after decision in this process, the write to the log included."""
    shutil.rmtree(work / "state-single", ignore_errors=True)
    store = Store(work / "state-single")
    live = open_live(store, [model], history=[work / "history.parquet"])
    engine = DecisionEngine(model.decider, live, store=store)
    events = [json.loads(line) for line in (work / "events.jsonl").open()]
    seconds = np.empty(len(events))
    with short_pauses():
        for at, event in enumerate(events):
            began = time.perf_counter()
            engine.event(event)
            engine.flush()
            seconds[at] = time.perf_counter() - began
    reader, features = model.decider.reader, live.features[model.decider.features.digest]
    roles = [{**reader.event(event), "event_id": f"again-{at}"} for at, event in enumerate(events[-1000:])]
    began = time.perf_counter()
    rows = [features.peek(event) for event in roles]
    peeked = time.perf_counter() - began
    began = time.perf_counter()
    for event, row in zip(roles, rows, strict=True):
        model.decider.decide(event, row)
    decided = time.perf_counter() - began
    store.close()
    return {
        **quantiles(seconds[1000:]),
        "features_ms": peeked / len(roles) * 1e3,
        "score_policy_reasons_ms": decided / len(roles) * 1e3,
    }


def partner(work: Path, model: Model, *, turns: int = 3) -> dict[str, Any]:
    """Time decisions with both families of trees and with CatBoost's alone, in turns; the middle turn of each."""
    both = model.decider.forest
    if not isinstance(both, Blend):
        return {"trees": both.n_trees, "partner_trees": 0}
    found: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    try:
        for _ in range(turns):
            for name, forest in (("with", both), ("without", both.forest)):
                model.decider._forest = forest
                found[name].append(single(work, model))
    finally:
        model.decider._forest = both
    kinds = ("p50_ms", "p99_ms", "score_policy_reasons_ms")
    middle = {name: {at: statistics.median(turn[at] for turn in many) for at in kinds} for name, many in found.items()}
    ratio = {at: middle["with"][at] / middle["without"][at] for at in ("p50_ms", "p99_ms")}
    sizes = {"trees": both.forest.n_trees, "partner_trees": len(both.partner.trees.trees)}
    return {**sizes, **middle, "ratio": ratio}


# ---------------------------------------------------------------- HTTP


def http(work: Path, project: Path, seconds: float) -> dict[str, Any]:
    """Serve in one process, load from another."""
    state = work / "state-http"
    shutil.rmtree(state, ignore_errors=True)
    command = [sys.executable, "-m", "fraudctl", "serve", "--port", "0", "--state", str(state), "--new", "--quiet"]
    command += ["--history", str(work / "history.parquet"), "--snapshot-every", "1000000"]
    with (work / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=project, stderr=log)
    try:
        port = _port(work / "serve.log", server)
        load = [sys.executable, __file__, "--load", str(port), "--work", str(work), "--seconds", str(seconds)]
        done = subprocess.run(load, check=True, capture_output=True, text=True)
        return {"clients": CLIENTS, **json.loads(done.stdout)}
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _port(log: Path, server: subprocess.Popen[bytes]) -> int:
    for _ in range(1200):
        for line in log.read_text().splitlines():
            if '"listening"' in line:
                return int(json.loads(line)["port"])
        if server.poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.1)
    raise SystemExit("the server did not come up")


def load(work: Path, port: int, seconds: float) -> dict[str, Any]:
    """Send events from 16 clients; give decisions a second and how long each took."""
    bodies = iter(_bodies(work, int(seconds * 6000)))
    took: list[float] = []
    wrong = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in bodies:
            began = time.perf_counter()
            if began > end:
                break
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - began)
            wrong += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    async def all_clients() -> None:
        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    began = time.perf_counter()
    import uvloop

    uvloop.run(all_clients())
    lasted = time.perf_counter() - began
    found = np.array(took)
    return {"decisions_per_second": len(found) / lasted, "seconds": lasted, "not_200": wrong, **quantiles(found)}


def _bodies(work: Path, n: int) -> list[bytes]:
    """Give requests in the order of time: every round over the events shifts their times on and gives new ids."""
    events = [json.loads(line) for line in (work / "events.jsonl").open()]
    times = [datetime.fromisoformat(event["created_at"]) for event in events]
    step = times[-1] - times[0] + timedelta(seconds=1)
    out = []
    for at in range(n):
        turn, place = divmod(at, len(events))
        moved = (times[place] + step * turn).isoformat()
        named = f"{turn}-{events[place]['transaction_id']}"
        body = json.dumps({**events[place], "transaction_id": named, "created_at": moved}).encode()
        out.append(b"POST /decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return out


# ---------------------------------------------------------------- batch, log


def million_of(project: Path) -> pl.DataFrame:
    """Return the feature table of the project, as often as it takes for a million rows."""
    table = build_features(load_project(project)).frame
    return pl.concat([table] * (-(-BATCH_ROWS // table.height))).head(BATCH_ROWS).rechunk()


def batch(project: Path, model: Model) -> dict[str, Any]:
    """Decide on a feature table of a million rows, three times over; the median counts."""
    rows = million_of(project)
    out: dict[str, Any] = {"rows": rows.height, "trees": model.decider.forest.n_trees}
    for explained in ("none", "alerts", "all"):
        part = rows if explained != "all" else rows.head(100_000)
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            decided = model.decider.decide_frame(part, used=CapacityUse(), explained=explained)
            seconds.append(time.perf_counter() - began)
        out[f"rows_per_second_reasons_{explained}"] = part.height / statistics.median(seconds)
        if explained == "alerts":
            out["alert_rate"] = float((decided["action"] != "allow").mean())
    return out


def worker(project: Path) -> dict[str, Any]:
    """Decide as a worker of a cluster does, in a process that has one processor and one thread."""
    threads = dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--work", str(project.parent), "--on-one"]
    done = subprocess.run(
        command, env=os.environ | threads, check=True, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def on_one(project: Path) -> dict[str, Any]:
    """Decide on a million rows in the pieces that a worker takes, without reasons; the median of three."""
    decider = open_model(project, "latest").decider
    parts = DecideParts(cast("Desk", None), (), str(decider.bundle.path), decider.model, "", None, "none", False)  # noqa: FBT003
    rows = million_of(project)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        parts.decided(rows, None)
        seconds.append(time.perf_counter() - began)
    return {"rows": rows.height, "rows_per_second": rows.height / statistics.median(seconds)}


def durability(work: Path) -> dict[str, Any]:
    """Write records of a kilobyte one by one, and 16 at a time, to the log and to SQLite."""
    record, out = b"x" * 1000, {}
    for size in (1, 16):
        shutil.rmtree(work / "log", ignore_errors=True)
        store = Store(work / "log")
        out[f"log_{size}_us"] = _each(lambda size=size, store=store: store.append([frame(record)] * size))
        store.close()
        base = sqlite3.connect(work / "log" / "base.db", isolation_level=None)
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = OFF")
        base.execute("CREATE TABLE log (record BLOB)")

        def commit(size: int = size, base: sqlite3.Connection = base) -> None:
            base.execute("BEGIN")
            base.executemany("INSERT INTO log VALUES (?)", [(record,)] * size)
            base.execute("COMMIT")

        out[f"sqlite_{size}_us"] = _each(commit)
        base.close()
    return out


def _each(write: Any, n: int = 3000) -> float:
    write()
    began = time.perf_counter()
    for _ in range(n):
        write()
    return (time.perf_counter() - began) / n * 1e6


def machine() -> dict[str, Any]:
    """Say what this was measured with."""
    packages = (
        "fraudctl",
        "catboost",
        "numpy",
        "polars",
        "numba",
        "uvicorn",
        "starlette",
        "uvloop",
        "httptools",
        "orjson",
    )
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in packages},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", nargs="*", default=["single", "partner", "http", "batch", "worker", "durability"])
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--on-one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        print(json.dumps(load(args.work, args.load, args.seconds)))
        return
    if args.on_one:
        print(json.dumps(on_one(args.work / "project")))
        return
    project = prepare(args.work)
    found: dict[str, Any] = {"machine": machine()}
    if args.out is not None and args.out.is_file():
        found = {**json.loads(args.out.read_text()), **found}
    model = open_model(project, "latest")
    found["features"] = len(model.decider.features.names)
    parts = {
        "single": lambda: single(args.work, model),
        "partner": lambda: partner(args.work, model),
        "http": lambda: http(args.work, project, args.seconds),
        "batch": lambda: batch(project, model),
        "worker": lambda: worker(project),
        "durability": lambda: durability(args.work),
    }
    for name in args.only:
        found[name] = parts[name]()
        print(name, json.dumps(found[name], indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
