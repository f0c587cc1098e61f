"""`fraudctl retrain` killed at many calls to the disk, each many times, on a real project: what the next call finds.

A project with a champion gets two months of newer data. `retrain --promote` runs in a process of its own, which ends at
one of its calls to the disk below the project (a write is half done). Then the same command runs again, and must end as
it does when nothing dies: one promotion, the same champion, the same bytes of the bundle, and everything verified. At
other points two of them start at once.

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
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

import fraudctl
from fraudctl import registry

TESTS = Path(__file__).parents[1] / "tests"
DIED = 9
CODE = """
import os, sys
from pathlib import Path
from faults.deaths import dying
place, at, note = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
os.chdir(place)
dying(place, at, note)
from fraudctl.__main__ import main
sys.exit(main(["retrain", "--promote", "--quiet"]))
"""


def command(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command of fraudctl."""
    line = [sys.executable, "-m", "fraudctl", *args]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def require(done: subprocess.CompletedProcess[str], code: int = 0) -> None:
    """Refuse another exit code."""
    if done.returncode != code:
        msg = f"exit code {done.returncode}, expected {code}: {done.stdout} {done.stderr}"
        raise RuntimeError(msg)


def prepare(folder: Path, events: int) -> None:
    """Make a project with a champion, and two months of data that it does not know."""
    require(command(folder.parent, "sample", folder.name, "--events", str(events), "--days", "200", "--quiet"))
    whole = {name: pl.read_parquet(folder / f"{name}.parquet") for name in ("transactions", "logins")}
    rows = whole["transactions"]
    end = rows["created_at"].min() + timedelta(days=130)  # type: ignore[operator]
    early = rows.filter(pl.col("created_at") < end)
    late = pl.col("label_available_at") > early["created_at"].max()
    early = early.with_columns(
        pl.when(late).then(None).otherwise(name).alias(name) for name in ("is_fraud", "label_available_at")
    )
    early.write_parquet(folder / "transactions.parquet")
    whole["logins"].filter(pl.col("at") < end).write_parquet(folder / "logins.parquet")
    toml = folder / "fraudctl.toml"
    small = {
        "trials = 30": "trials = 0\niterations = 40\nthreads = 1", "folds = 3": "folds = 2",
        "min_frauds = 300": "min_frauds = 20",
        "false_positive_rate = { at_most = 0.10 }": "false_positive_rate = { at_most = 0.40 }",
        "[evaluate]": "[evaluate]\nreplicates = 100", "savings = { at_least = 0.30 }\nrecall": "recall",
        "recall = { at_least = 0.30 }": (
            'roc_auc = { at_least = 0.6 }\nchampion = { metric = "savings", no_worse_than = 0.5 }'
        ),
    }  # fmt: skip
    text = toml.read_text()
    for old, new in small.items():
        text = new.join(text.rsplit(old, 1))
    toml.write_text(few_features(text))
    require(command(folder, "train", "--quiet"))
    require(command(folder, "models", "promote", "latest", "--force", "the first champion"))
    for name, frame in whole.items():
        frame.write_parquet(folder / f"{name}.parquet")


FEW = """
[entities]
card = "card_id"
[features]
raw = ["amount", "category"]
categorical = ["category"]
[[features.window]]
by = ["card"]
windows = ["1d", "7d"]
aggregates = ["count", "mean(amount)"]
[[features.labels]]
by = ["card"]
windows = ["30d"]
aggregates = ["fraud_count"]

"""


def few_features(text: str) -> str:
    """Return a project file with one entity and few features: a training of seconds, with every step there is."""
    head, rest = text.split("[entities]", 1)
    _, rest = rest.split("\n[split]", 1)
    middle, floors = rest.split("\n[[features.lookup]]", 1)
    return head + FEW + "[split]" + middle + "\n[gate]" + floors.split("\n[gate]", 1)[1]


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
    parser.add_argument("--events", type=int, default=16_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))}
    rng, began = random.Random(0), time.perf_counter()  # noqa: S311 - points in time, no secrets
    with tempfile.TemporaryDirectory() as name:
        prepared, place, note = Path(name) / "project", Path(name) / "run", Path(name) / "count"
        prepare(prepared, args.events)
        champion = registry.champion(prepared / "models")

        def die(at: int) -> int:
            line = [sys.executable, "-c", CODE, str(copied(prepared, place)), str(at), str(note)]
            return subprocess.run(line, env=env, capture_output=True, check=False).returncode

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
                again = command(place, "retrain", "--promote", "--quiet")
                found["not as without a death"] += again.returncode != 0 or state(place) != wanted
                found["not verified"] += command(place, "models", "verify", "--quiet").returncode != 0
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
