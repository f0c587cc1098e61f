"""The last 30 days of the handbook, decided one by one and as a file: all actions must be the same.

Trains a model without search on what is known 30 days before the end, builds the state from all events before, and then
takes the last 30 days event by event, each outcome 7 days after its event. The same events are scored as one file with
their history. Probabilities, actions, reasons and, with `--features`, every feature are compared.

    python benchmarks/acceptance_scoring.py transactions.parquet --work /tmp/acceptance --out result.json

The data are third-party and not part of the project; FRAUDCTL_HANDBOOK may name them instead of the argument.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from bench_scoring import machine

from fraudctl import load_project, train_model
from fraudctl.workflows.score import open_model, score_files
from fraudctl.workflows.state import engine_on
from fraudctl.workflows.stream import score_through

DAYS = 30
PROJECT = """
[project]
name = "handbook"
[data]
events = "{events}"
event_id = "TRANSACTION_ID"
event_time = "TX_DATETIME"
amount = "TX_AMOUNT"
label = "TX_FRAUD"
label_delay = "7d"
ignore = ["TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"]
[entities]
customer = "CUSTOMER_ID"
terminal = "TERMINAL_ID"
[[features.window]]
by = ["customer", "terminal"]
windows = ["1d", "7d", "30d"]
aggregates = ["count", "mean(amount)"]
[[features.window]]
by = "customer"
windows = ["30d"]
aggregates = ["std(amount)", "max(amount)", "nunique(terminal)"]
[[features.labels]]
by = ["customer", "terminal"]
windows = ["1d", "7d", "30d"]
[[features.recency]]
by = ["customer", "terminal"]
[[features.pairs]]
of = ["customer", "terminal"]
[features]
raw = ["amount"]
[features.columns]
amount_to_customer_mean_30d = "amount / nullif(customer_mean_amount_30d, 0)"
is_night = "hour(event_time) <= 6"
[train]
trials = 0
iterations = 200
[split]
train = "30d"
folds = 2
[policy.capacity]
review = "60 per day"
[[rules]]
when = "amount > 220 and customer_count_1d > 3"
action = "block"
"""


def main() -> None:
    """Train, decide both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?", default=os.environ.get("FRAUDCTL_HANDBOOK"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--features", action="store_true", help="compare every feature too")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.events is None:
        raise SystemExit("name the events, or set FRAUDCTL_HANDBOOK")
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "fraudctl.toml").write_text(PROJECT.format(events=Path(args.events).resolve()))
    events = pl.read_parquet(args.events)
    cut = events["TX_DATETIME"].max() - timedelta(days=DAYS)
    events.filter(pl.col("TX_DATETIME") < cut).write_parquet(args.work / "before.parquet")
    events.filter(pl.col("TX_DATETIME") >= cut).write_parquet(args.work / "after.parquet")
    if not list(args.work.glob("models/2*")):
        train_model(load_project(args.work), as_of=cut)
    print(json.dumps(found := compare(args.work, with_features=args.features), indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    if found["other_actions"] or found["other_reasons"] or found["largest_probability_gap"] > 1e-9:
        raise SystemExit(1)


def compare(work: Path, *, with_features: bool) -> dict[str, Any]:
    """Decide both ways; say what differs."""
    model = open_model(work, "latest")
    before, after = [work / "before.parquet"], [work / "after.parquet"]
    began = time.perf_counter()
    score_files(
        model, after, history=before, output=work / "batch.parquet", with_features=with_features, explained="alerts"
    )
    batch_seconds = time.perf_counter() - began
    with engine_on(model, None, history=before, with_features=with_features, explained="alerts") as engine:
        began = time.perf_counter()
        score_through(engine, after, output=work / "single.parquet")
        single_seconds = time.perf_counter() - began
    a, b = (pl.read_parquet(work / f"{name}.parquet") for name in ("batch", "single"))
    if not a["event_id"].equals(b["event_id"]):
        raise SystemExit("other events, or in another order")
    names = a.columns[6:]
    return {
        "events": a.height,
        "labels": engine.live.counts["labels"],
        "actions": dict(a["action"].value_counts().sort("action").rows()),
        "other_actions": int((a["action"] != b["action"]).sum()),
        "other_reasons": int(
            (
                a["reasons"].list.eval(pl.element().struct.field("feature"))
                != b["reasons"].list.eval(pl.element().struct.field("feature"))
            ).sum()
        ),
        "largest_probability_gap": float((a["probability"] - b["probability"]).abs().max()),
        "features_compared": len(names),
        "features_differing": {name: n for name in names if (n := _differing(a[name], b[name]))},
        "batch_seconds": batch_seconds,
        "single_events_per_second": a.height / single_seconds,
        "machine": machine(),
    }


def _differing(a: pl.Series, b: pl.Series) -> int:
    if a.dtype.is_float():
        gap = (a - b).abs() > 1e-9 * pl.select(pl.max_horizontal(a.abs(), b.abs())).to_series()
        return int(gap.fill_null(value=False).sum()) + int((a.is_null() != b.is_null()).sum())
    return int(a.ne_missing(b).sum())


if __name__ == "__main__":
    main()
