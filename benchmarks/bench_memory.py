"""What grows in memory while a scorer runs on traffic in which every id and every entity is new.

- `hour`: events go through the engine with its log, as fast as they can be decided, with times spread over one hour:
  the worst traffic for whatever is kept per id or per entity, for nothing leaves a window. Resident memory is read at
  each twelfth of the hour.
- `steady`: events over 120 days go through features whose longest window is a week; ids wait 42 days for their
  outcomes. What the state takes is read at each twelfth: it has to stop growing once the first ids are forgotten.

    python benchmarks/bench_memory.py --work /tmp/bench --out benchmarks/results/memory.json

Takes the sample and the model that `bench_scoring.py` makes in the work folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from bench_scoring import machine, prepare

from fraudctl.features import define
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.features.online import OnlineFeatures
from fraudctl.project import parse_project
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.scoring.store import Store
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import open_live

PARTS = 12
DAY = 86_400_000_000
ENTITIES = ("card_id", "customer_id", "device_id", "merchant_id")


def resident() -> int:
    """Give the bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def distinct(pattern: dict[str, Any], at: int, begin: datetime, step: float) -> dict[str, Any]:
    """Give an event that no other shares an id or an entity with."""
    moment = (begin + timedelta(seconds=at * step)).isoformat()
    named = {name: f"{name}-{at}" for name in ENTITIES if name in pattern}
    return {**pattern, **named, "transaction_id": f"m-{at}", "created_at": moment}


STEADY = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "fraud"
label_delay = "14d"
[entities]
card = "card"
device = "device"
merchant = "merchant"
[sources.logins]
events = "logins.parquet"
event_time = "at"
entities = { card = "card" }
[[features.window]]
by = ["card", "device", "merchant"]
windows = ["1h", "7d"]
aggregates = ["count", "sum(amount)", "max(amount)", "nunique(merchant)"]
[[features.labels]]
by = ["card", "device"]
windows = ["7d"]
aggregates = ["known_count", "fraud_count"]
[[features.lookup]]
source = "logins"
by = "card"
columns = ["success"]
max_age = "7d"
"""


def steady(*, days: int = 120, events_per_day: int = 1440) -> dict[str, Any]:
    """Send events, outcomes and rows of another table, all of new ids and entities; read what the state takes."""
    project = parse_project(STEADY, path=Path("fraudctl.toml"))
    time_type = pl.Datetime("us", "UTC")
    of_events = {"id": pl.Int64, "at": time_type, "eur": pl.Float64, "fraud": pl.Int8}
    columns = of_events | dict.fromkeys(("card", "device", "merchant"), pl.String)
    logins = SourceTable(project.sources["logins"], {"at": time_type, "card": pl.String, "success": pl.Boolean})
    features = define(project, columns, sources={"logins": logins})
    delay = 14 * DAY
    state = OnlineFeatures(features, timezone="UTC", label_delay_us=delay)
    n_events, read = days * events_per_day, []
    for at in range(n_events):
        moment = at * DAY // events_per_day
        own = {name: f"{name}-{at}" for name in ("card", "device", "merchant")}
        state.source("logins", {"event_time": moment, "card": own["card"], "success": True})
        state.observe({"event_id": at, "event_time": moment + 1, "amount": 1.0, **own})
        state.label(at, at % 100 == 0, moment + delay)
        if (at + 1) % (n_events // PARTS) == 0:
            rows = sum(map(len, state.others["logins"].latest.values()))
            read.append({
                "day": days * len(read) // PARTS + days // PARTS, "state_mb": round(state.nbytes / 1e6, 1),
                "resident_mb": round(resident() / 1e6, 1), "entities": state.n_entities,
                "ids": len(state.ledger), "looked_up_rows": rows,
            })  # fmt: skip
    later = [item["state_mb"] for item in read if item["day"] > 60]
    return {
        "events": n_events,
        "new_entities": 3 * n_events,
        "longest_window_days": 7,
        "ids_wait_days": 42,
        "read": read,
        "growth_after_day_60": later[-1] / later[0] - 1,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rate", type=float, default=8.0, help="Events a second of the simulated hour.")
    args = parser.parse_args()
    found = {"machine": machine(), "hour": hour(args.work, args.rate), "steady": steady()}
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def hour(work: Path, rate: float) -> dict[str, Any]:
    """Decide for an hour of events of new ids and entities; read the memory of the process."""
    model = open_model(prepare(work), "latest")
    folder = work / "state-memory"
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder)
    live = open_live(store, [model], history=[work / "history.parquet"])
    engine = DecisionEngine(model.decider, live, store=store)
    patterns = [json.loads(line) for line in (work / "events.jsonl").open()]
    begin = datetime.fromisoformat(patterns[-1]["created_at"]) + timedelta(days=1)
    n_events = int(rate * 3600)
    n_entities = sum(name in patterns[0] for name in ENTITIES)
    began, read = time.perf_counter(), []
    for at in range(n_events):
        engine.event(distinct(patterns[at % len(patterns)], at, begin, 3600 / n_events))
        engine.flush()
        if (at + 1) % (n_events // PARTS) == 0:
            read.append(resident())
    per_event = (read[-1] - read[0]) / (n_events * (PARTS - 1) / PARTS)
    found = {
        "rate": rate, "events": n_events, "entities": n_events * n_entities, "simulated_seconds": 3600,
        "seconds": time.perf_counter() - began, "resident_mb": [round(value / 1e6, 1) for value in read],
        "bytes_per_event": per_event, "bytes_per_entity": per_event / n_entities,
    }  # fmt: skip
    store.close()
    return found


if __name__ == "__main__":
    main()
