"""What the log-ins of the sample are worth: average precision with and without the features over them.

Usage: ``python benchmarks/bench_sample_logins.py [--events 80000] [--seeds 7 8 9] [--out FILE]``. For each seed the
sample is generated, and two models of one recipe (`train --fast`) are trained: on the sample's own project file, and on
the same file without `[sources]` and all features over it. Both are evaluated on the test period; the difference in
average precision has a 95 % interval over resampled customers, the same ones for both.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score

from fraudctl.project import load_project
from fraudctl.workflows.evaluate import evaluate_model
from fraudctl.workflows.sample import write_sample
from fraudctl.workflows.train import train_model

RESAMPLED = 400


def without_logins(text: str) -> str:
    """Return a project file without its other table, and without the windows and lookups over it."""
    blocks = re.split(r"(?m)^(?=\[)", text)
    return "".join(block for block in blocks if not block.startswith("[sources") and 'source = "logins"' not in block)


def scored(folder: Path) -> pl.DataFrame:
    """Train, evaluate, and return event_id, customer, label and y_prob of the test period."""
    project = load_project(folder)
    trained = train_model(project, fast=True)
    found = evaluate_model(project, model=trained.version, gate=False, report=False).scored
    return found.select("event_id", "customer", "label", "y_prob").sort("event_id")


def difference(both: pl.DataFrame) -> dict[str, object]:
    """Return average precision of both, and their difference with an interval over resampled customers."""
    y, a, b = (both[name].to_numpy() for name in ("label", "y_prob", "without"))
    groups = both["customer"].fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLED):
        weight = rng.multinomial(groups.max() + 1, np.full(groups.max() + 1, 1 / (groups.max() + 1)))[groups]
        drawn.append(
            average_precision_score(y, a, sample_weight=weight) - average_precision_score(y, b, sample_weight=weight)
        )
    low, high = np.quantile(drawn, [0.025, 0.975])
    with_, without = average_precision_score(y, a), average_precision_score(y, b)
    return {
        "frauds": int(y.sum()),
        "with": round(with_, 4),
        "without": round(without, 4),
        "difference": round(with_ - without, 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def of_seed(seed: int, n_events: int) -> dict[str, object]:
    """Return what the log-ins of one sample are worth."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = write_sample(folder, n_events=n_events, seed=seed)
        rich = scored(folder)
        made.project_file.write_text(without_logins(made.project_file.read_text("utf-8")), "utf-8")
        plain = scored(folder).select("event_id", without="y_prob")
        return {"seed": seed} | difference(rich.join(plain, on="event_id", how="inner"))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=80_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sample_logins.json")
    options = parser.parse_args()
    versions = {name: version(name) for name in ("catboost", "numpy", "polars", "fraudctl")}
    results = []
    for seed in options.seeds:
        results.append(of_seed(seed, options.events))
        print(json.dumps(results[-1]), flush=True)
        document = {"events": options.events, "seeds": results, "versions": versions, "machine": platform.machine()}
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
