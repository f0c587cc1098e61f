"""What grows in memory while a scorer runs: an hour of traffic in which every id and every entity is new.

Events go through the engine with its log, as fast as they can be decided, with times spread over one hour: the worst
traffic for whatever is kept per id or per entity. Resident memory is read at each twelfth of the hour.

    python benchmarks/bench_memory.py --work /tmp/bench --rate 8 --out benchmarks/results/memory.json

Takes the sample and the model that `bench_scoring.py` has made in the work folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench_scoring import machine, prepare

from fraudctl.scoring.engine import Engine
from fraudctl.scoring.store import Store
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import open_live

PARTS = 12
ENTITIES = ("card_id", "customer_id", "device_id", "merchant_id")


def resident() -> int:
    """Give the bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def distinct(pattern: dict[str, Any], at: int, begin: datetime, step: float) -> dict[str, Any]:
    """Give an event that no other shares an id or an entity with."""
    moment = (begin + timedelta(seconds=at * step)).isoformat()
    named = {name: f"{name}-{at}" for name in ENTITIES if name in pattern}
    return {**pattern, **named, "transaction_id": f"m-{at}", "created_at": moment}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rate", type=float, default=20.0, help="Events a second of the simulated hour.")
    args = parser.parse_args()
    model = open_model(prepare(args.work), "latest")
    folder = args.work / "state-memory"
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder)
    live = open_live(store, [model], history=[args.work / "history.parquet"])
    engine = Engine(model.decider, live, store=store)
    patterns = [json.loads(line) for line in (args.work / "events.jsonl").open()]
    begin = datetime.fromisoformat(patterns[-1]["created_at"]) + timedelta(days=1)
    n_events = int(args.rate * 3600)
    n_entities = sum(name in patterns[0] for name in ENTITIES)
    began, read = time.perf_counter(), []
    for at in range(n_events):
        engine.event(distinct(patterns[at % len(patterns)], at, begin, 3600 / n_events))
        engine.flush()
        if (at + 1) % (n_events // PARTS) == 0:
            read.append(resident())
    per_event = (read[-1] - read[0]) / (n_events * (PARTS - 1) / PARTS)
    found = {
        "machine": machine(), "events": n_events, "entities": n_events * n_entities, "simulated_seconds": 3600,
        "seconds": time.perf_counter() - began, "resident_mb": [round(value / 1e6, 1) for value in read],
        "bytes_per_event": per_event, "bytes_per_entity": per_event / n_entities,
    }  # fmt: skip
    store.close()
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
