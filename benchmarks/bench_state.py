"""What a saved state costs: bytes, memory and time to open, and one event on a state of a million.

Builds a state from a sample of a million events for the model that `bench_scoring.py` has made in the work folder, and
measures, each in a process of its own:

- `open`: processor time and peak memory of opening it, against reading and hashing the snapshot and against what the
  process rests at; bytes on the disk and in memory for each event, and what `predicted_bytes` says;
- `one_event`: processor time of `fraudctl score - --state` for one event, above that of `fraudctl score -`, and
  the bytes that it writes.

    python benchmarks/bench_state.py --work /tmp/bench --out benchmarks/results/state.json

`--python` and `--state` measure the opening of a state of another version, with that version's interpreter. The
committed results hold that of the version before snapshots had format 3 as `open_before`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
from bench_scoring import machine, prepare

N_EVENTS = 1_000_000

OPENING = """
import hashlib, json, sys, time
from pathlib import Path
import polars, fraudctl.features.online, fraudctl.scoring.live, fraudctl.workflows.state as state
from fraudctl.features.batch import jit
from fraudctl.scoring.store import Store

def memory(key):
    return 1024 * int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0])

jit.load()
folder, base = Path(sys.argv[1]), memory("VmRSS")
snapshot = max(folder.glob("snapshot-*.bin"))
begun, digest, chunk = time.process_time(), hashlib.sha256(), memoryview(bytearray(1 << 20))
with snapshot.open("rb", buffering=0) as file:
    while n := file.readinto(chunk):
        digest.update(chunk[:n])
hashed = time.process_time() - begun
begun = time.process_time()
store = Store(folder)
live = state.restored(store)
opened = time.process_time() - begun
rest, peak = memory("VmRSS"), memory("VmHWM")
features = next(iter(live.features.values()))
sizes = {"+".join(space.names): len(slots) for space, slots in zip(features.plan.spaces, features.slots, strict=True)}
pairs = sum(not n for name, n in sizes.items() if "+" in name)
known = features.n_entities - sum(sizes.values())
sizes = {name: n or known // max(pairs, 1) for name, n in sizes.items()}
print(json.dumps({
    "snapshot_bytes": snapshot.stat().st_size, "resting_bytes": rest - base, "peak_to_resting": peak / rest,
    "open_to_read_and_hash": opened / hashed, "open_cpu_seconds": opened, "read_and_hash_cpu_seconds": hashed,
    "state_bytes": features.nbytes,
    "predicted_to_state_bytes": features.predicted_bytes(float(sys.argv[2]), sizes) / features.nbytes,
}))
"""


def opening(python: str, folder: Path, per_day: float) -> dict[str, Any]:
    """Open a state in a process of its own."""
    command = [python, "-c", OPENING, str(folder), str(per_day)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def cpu_of(command: list[str], lines: bytes, project: Path) -> float:
    """Return the processor seconds of a command that reads these lines."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=lines, cwd=project, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def written(folder: Path, before: set[Path]) -> int:
    """Return the bytes of the files that are new in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path not in before)


def one_event(project: Path, folder: Path, times: int = 2) -> dict[str, Any]:
    """Score one event on the state and none without one; the least of some runs of each, after one of each."""
    event = pl.read_parquet(project / "transactions.parquet").sort("created_at").tail(1)
    event = event.drop("is_fraud", "label_available_at")
    run = [sys.executable, "-m", "fraudctl", "score", "-", "--quiet"]
    alone, on_state, sizes = [], [], []
    for at in range(times + 1):
        line = event.with_columns(transaction_id=pl.lit(f"one-{os.getpid()}-{at}")).write_ndjson().encode()
        alone.append(cpu_of(run, line, project))
        before = set(folder.rglob("*"))
        on_state.append(cpu_of([*run, "--state", str(folder)], line, project))
        sizes.append(written(folder, before))
    return {
        "cpu_seconds_above_one_event_without_state": min(on_state[1:]) - min(alone[1:]),
        "cpu_seconds_without_state": min(alone[1:]),
        "bytes_written": max(sizes[1:]),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--state", type=Path)
    args = parser.parse_args()
    project, large, folder = prepare(args.work), args.work / "large", args.state or args.work / "state-large"
    run = [sys.executable, "-m", "fraudctl"]
    if not (large / "transactions.parquet").exists():
        large.mkdir(parents=True, exist_ok=True)
        subprocess.run([*run, "sample", ".", "--events", str(N_EVENTS), "--quiet"], cwd=large, check=True)
    if args.state is None:
        shutil.rmtree(folder, ignore_errors=True)
        history = ["--history", str(large / "transactions.parquet")]
        subprocess.run([*run, "state", "build", str(folder), *history, "--quiet"], cwd=project, check=True)
    days = pl.read_parquet(large / "transactions.parquet", columns=["created_at"])["created_at"]
    per_day = N_EVENTS / ((days.max() - days.min()).total_seconds() / 86_400)
    found: dict[str, Any] = {"machine": machine(), "events": N_EVENTS, "open": opening(args.python, folder, per_day)}
    found["open"]["snapshot_bytes_per_event"] = found["open"]["snapshot_bytes"] / N_EVENTS
    found["open"]["state_bytes_per_event"] = found["open"]["state_bytes"] / N_EVENTS
    if args.python == sys.executable:
        found["one_event"] = one_event(project, folder)
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
