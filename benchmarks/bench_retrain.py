"""`fraudctl retrain` killed at many calls to the disk, each many times: what the next call finds.

A small project with a champion gets two months of newer data; everything is real, and small enough for many deaths.
`retrain --promote` runs in a process of its own, which ends at one of its calls to the disk below the project (a write
is half done). Then the same command runs again, and must end as it does when nothing dies: one promotion, the same
champion, the same bytes of the bundle, and everything verified. At other points two of them start at once.

Usage: python benchmarks/bench_retrain.py [--points 20] [--times 10] [--pairs 10] [--out FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import fraudctl
from fraudctl import registry

TESTS = Path(__file__).parents[1] / "tests"
DIED = 9
SPLIT = 140
"""Days that the champion knows, of `DAYS`."""
DAYS = 200
TOML = """
[project]
name = "kills"
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "is_fraud"
label_time = "known_at"
label_delay = "7d"
[entities]
card = "card"
[features]
raw = ["amount"]
[[features.window]]
by = ["card"]
windows = ["7d"]
aggregates = ["count"]
[split]
test = "30d"
folds = 2
[train]
trials = 0
iterations = 20
threads = 1
partner = "none"
[costs]
[costs.actions]
allow.fraud = { fixed = 15, rate = 1.0 }
block.legit = { fixed = 8 }
[evaluate]
replicates = 100
[gate]
roc_auc = { at_least = 0.6 }
champion = { metric = "savings", no_worse_than = 0.5 }
min_frauds = 20
"""
WARM = """
import os, sys, json
from pathlib import Path
from faults.deaths import dying
import altair, catboost, jinja2, numba, polars, pyarrow.parquet, scipy.stats, sklearn.linear_model, vl_convert
import fraudctl.bundle, fraudctl.checks, fraudctl.cli.app, fraudctl.cli.life, fraudctl.features.batch.hooks
import fraudctl.features.proof.audit, fraudctl.gate, fraudctl.report.evaluation, fraudctl.report.render
import fraudctl.policy.choose, fraudctl.train.baselines, fraudctl.train.fit, fraudctl.workflows.retrain
from fraudctl.__main__ import main
for line in sys.stdin:
    folder, args, at, note = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        if note is not None:
            dying(Path(folder), at, Path(note))
        sys.stdout = open(os.devnull, "w")
        os._exit(main(args))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Warm:
    """A process that has imported all and computed nothing, so that it has no threads, and forks for each run."""

    def __init__(self) -> None:
        paths = filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **one}
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-c", WARM], env=env, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
        )
        self.line = ours.makefile("rw")

    def run(self, folder: Path, *args: str, at: int = -1, note: Path | None = None) -> int:
        """Run a command in a folder, which dies at a call to the disk if there is a note; return its exit code."""
        asked = [str(folder), list(args), at, None if note is None else str(note)]
        self.line.write(json.dumps(asked) + "\n")
        self.line.flush()
        return int(self.line.readline())


def command(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command of fraudctl."""
    line = [sys.executable, "-m", "fraudctl", *args]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def require(done: subprocess.CompletedProcess[str], code: int = 0) -> None:
    """Refuse another exit code."""
    if done.returncode != code:
        msg = f"exit code {done.returncode}, expected {code}: {done.stdout} {done.stderr}"
        raise RuntimeError(msg)


def payments(n_events: int) -> pl.DataFrame:
    """Return payments of which one in eight is fraud, mostly of larger amounts; outcomes are known within 6 days."""
    rng = np.random.default_rng(0)
    fraud = rng.random(n_events) < 1 / 8
    second = np.sort(rng.integers(0, DAYS * 86_400, n_events))
    at = pl.Series(second * 1_000_000).cast(pl.Datetime("us", "UTC")) + timedelta(days=20_000)
    late = pl.Series(rng.integers(86_400, 6 * 86_400, n_events) * 1_000_000).cast(pl.Duration("us"))
    return pl.DataFrame(
        {
            "id": np.arange(n_events), "at": at, "card": rng.integers(0, n_events // 6, n_events),
            "amount": rng.lognormal(np.where(fraud, 4.5, 3.0), 0.8), "is_fraud": fraud.astype(np.int8),
            "known_at": at + late,
        }
    )  # fmt: skip


def prepare(folder: Path, events: int) -> None:
    """Make a project with a champion, and two months of data that it does not know."""
    folder.mkdir()
    (folder / "fraudctl.toml").write_text(TOML)
    whole = payments(events)
    end = whole["at"][0] + timedelta(days=SPLIT)
    early = whole.filter(pl.col("at") < end)
    known = pl.col("known_at") < end
    early.with_columns(pl.when(known).then(name).alias(name) for name in ("is_fraud", "known_at")).write_parquet(
        folder / "events.parquet"
    )
    require(command(folder, "train", "--quiet"))
    require(command(folder, "models", "promote", "latest", "--force", "the first champion"))
    whole.write_parquet(folder / "events.parquet")


def copied(prepared: Path, place: Path) -> Path:
    """Copy the project."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(prepared, place))


def bundles(folder: Path) -> str:
    """Return a digest of all bytes of all bundles."""
    found = hashlib.sha256()
    for path in sorted((folder / "models").glob("2*/*")):
        found.update(f"{path.parent.name}/{path.name}".encode() + path.read_bytes())
    return found.hexdigest()


def promotions(folder: Path) -> list[str]:
    """Return the versions that were promoted, in order."""
    return [entry.version for entry in registry.history(folder / "models") if entry.event == "promote"]


def state(folder: Path) -> tuple[str | None, list[str], str]:
    """Return what must be the same after every death: champion, promotions, bundles."""
    return registry.champion(folder / "models"), promotions(folder), bundles(folder)


def main() -> None:
    """Kill, go on, and look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warm = Warm()
    rng, began = random.Random(0), time.perf_counter()  # noqa: S311 - points in time, no secrets
    with tempfile.TemporaryDirectory() as name:
        prepared, place, note = Path(name) / "project", Path(name) / "run", Path(name) / "count"
        prepare(prepared, args.events)
        champion = registry.champion(prepared / "models")

        def die(at: int) -> int:
            return warm.run(copied(prepared, place), "retrain", "--promote", "--quiet", at=at, note=note)

        if die(-1) != 0:
            msg = "the retraining does not promote without a death"
            raise RuntimeError(msg)
        wanted, n_calls = state(place), int(note.read_text())
        found: dict[str, int] = {
            "deaths": 0,
            "other champion meanwhile": 0,
            "not as without a death": 0,
            "not verified": 0,
        }
        for done in range(args.times):
            for point in range(args.points):
                low, high = (round(n_calls * edge / args.points) for edge in (point, point + 1))
                code = die(rng.randrange(low, max(high, low + 1)))
                found["deaths"] += code == DIED
                found["other champion meanwhile"] += registry.champion(place / "models") not in {champion, wanted[0]}
                again = warm.run(place, "retrain", "--promote", "--quiet")
                found["not as without a death"] += again != 0 or state(place) != wanted
                found["not verified"] += warm.run(place, "models", "verify", "--quiet") != 0
            sys.stdout.write(f"{args.points} points, time {done + 1} of {args.times}: {json.dumps(found)}\n")
            sys.stdout.flush()
        pairs = {"pairs": 0, "one of them ran": 0, "not as alone": 0}
        for _ in range(args.pairs):
            copied(prepared, place)
            line = [sys.executable, "-m", "fraudctl", "retrain", "--promote", "--quiet", "--json"]
            both = [
                subprocess.Popen(line, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)
            ]
            said = [json.loads(process.communicate()[0]) for process in both]
            outcomes = sorted(item["outcome"] for item in said)
            pairs["pairs"] += 1
            pairs["one of them ran"] += outcomes in (["promoted", "running"], ["not due", "promoted"])
            pairs["not as alone"] += state(place) != wanted
    result: dict[str, Any] = {
        "points": args.points, "times": args.times, "calls_to_the_disk": n_calls, "events": args.events, **found,
        **pairs,
        "fraudctl": fraudctl.__version__, "python": platform.python_version(), "machine": platform.machine(),
        "seconds": round(time.perf_counter() - began),
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
