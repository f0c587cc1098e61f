"""What it costs and brings to average models that differ in their seed, and to fit on fewer legitimate rows.

On two weeks of the handbook's simulated card payments, with two seeds each: one model on all rows, as `train` fits
unless told otherwise; one on all frauds and a fifth of the legitimate rows; three of these averaged; and eight of few
trees, as `bench_gate.py` has them. Prints average precision, savings, how far two seeds differ (frauds decided
differently, the standard error of the difference in savings), trees, and the processor time of training.

    python benchmarks/bench_averaging.py transactions.parquet --work /tmp/averaging --minutes 7
    python benchmarks/bench_averaging.py transactions.parquet --work /tmp/averaging \
        --out benchmarks/results/averaging.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bench_gate as gate
import numpy as np
import polars as pl

from fraudctl.evaluate import prepare
from fraudctl.evaluate.estimates import difference, estimate
from fraudctl.metrics.ranking import average_precision
from fraudctl.project import Project, parse_project
from fraudctl.workflows.features import build_features

WEEKS = (date(2018, 7, 18), date(2018, 8, 8))
SEEDS = (gate.Recipe("seed-0", "base", 0), gate.Recipe("seed-1", "base", 1))
USUAL = "one model, all rows"
WAYS = {
    USUAL: "",
    "one model, a fifth of the legitimate rows": "fit_negatives = 0.2",
    "three models, a fifth": "fit_negatives = 0.2\nmodels = 3",
    "eight models of 100 trees in larger steps, a fifth": gate.TRAINING,
}


def project_of(events: Path, work: Path, training: str) -> Project:
    """Give the project of one way: fixed costs, decided by expected cost."""
    names = {"events": events.resolve(), "kind": "expected_cost", "actions": gate.FIXED, "train": "35d"}
    text = gate.PROJECT.format(**names, windows=gate.WINDOWS, columns=gate.COLUMNS, training=training)
    return parse_project(text, path=work / "fraudctl.toml")


def figures(places: dict[date, list[Path]], project: Project) -> dict[str, Any]:
    """Give the means over weeks and seeds of one way, and how far two seeds of a week differ."""
    tests = [pl.read_parquet(place / "test.parquet") for pair in places.values() for place in pair]
    facts = [json.loads((place / "facts.json").read_text()) for pair in places.values() for place in pair]
    pairs = [[prepare(gate.judged_of(place, project)[0], project) for place in pair] for pair in places.values()]
    savings = [estimate("savings", judged, gate.SETTINGS).value for pair in pairs for judged in pair]
    gaps = [difference("savings", one, two, gate.SETTINGS) for one, two in pairs]
    differ = [int(((one.alert != two.alert) & (one.y_true == 1)).sum()) for one, two in pairs]
    return {
        "average_precision": float(
            np.mean([average_precision(t["label"].to_numpy(), t["y_score"].to_numpy()) for t in tests])
        ),
        "savings": float(np.mean(np.array(savings, dtype=np.float64))),
        "frauds_decided_differently": float(np.mean(differ)),
        "standard_error_between_seeds": float(np.mean(np.array([item.se for item in gaps], dtype=np.float64))),
        "trees": float(np.mean([item["trees"] for item in facts])),
        "processor_seconds": float(np.mean([item["processor_seconds"] for item in facts])),
    }


def main() -> None:
    """Train what is missing, compare, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=600.0, help="train for so long at most")
    args = parser.parse_args()
    projects = {way: project_of(args.events, args.work, training) for way, training in WAYS.items()}
    started, table = time.monotonic(), build_features(projects[USUAL])
    places: dict[str, dict[date, list[Path]]] = {way: {week: [] for week in WEEKS} for way in WAYS}
    for i, (way, week, seed) in enumerate(itertools.product(WAYS, WEEKS, SEEDS)):
        if time.monotonic() - started > 60 * args.minutes:
            print(f"time is up after {i} models: run again to go on")
            return
        folder = args.work / str(list(WAYS).index(way))
        places[way][week].append(gate.scores_of(seed, week, projects[way], table, folder))
    found = {way: figures(places[way], project) for way, project in projects.items()}
    for item in found.values():
        item["times_the_processor_seconds"] = item["processor_seconds"] / found[USUAL]["processor_seconds"]
    results = {
        "weeks": [str(week) for week in WEEKS], "ways": found,
        "machine": {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()},
        "packages": {name: version(name) for name in ("fraudctl", "catboost", "polars", "numpy")},
    }  # fmt: skip
    print(json.dumps(results, indent=2))
    if args.out is not None:
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
