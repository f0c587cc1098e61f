"""How long an explanation takes, beside the floor (the contributions alone), on synthetic decided events.

    python benchmarks/bench_explain.py [--events 70000] [--sample 100000] [--out FILE]

Compares, in one run: CatBoost's SHAP values called directly against ours in chunks; and the whole explanation against
the contributions of the same rows. Prints ratios; times of a busy machine mean little by themselves.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import polars as pl

from fraudctl.costs import cost_matrix, minimum_risk, taken_cost
from fraudctl.evaluate import Replay
from fraudctl.explain.contributions import contributions
from fraudctl.explain.run import explain
from fraudctl.policy import bare_policy
from fraudctl.project import parse_project
from fraudctl.report.render import explanation_report

PROJECT = """
[data]
events = "none.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "label"
label_delay = "7d"
[entities]
card = "card"
merchant = "merchant"
[costs.actions]
allow.fraud = { rate = 1.0 }
block.legit = { fixed = 10 }
"""
N_NUMBERS = 28
CATEGORICAL = ["c0", "c1"]
NAMES = [*(f"f{j}" for j in range(N_NUMBERS)), *CATEGORICAL]


class Feature:
    """A feature as an explanation knows it."""

    family, entity = "window", "card"

    def __init__(self, name: str) -> None:
        self.name = self.words = name
        self.dtype = "category" if name in CATEGORICAL else "float"


def make_events(n: int, seed: int = 0) -> pl.DataFrame:
    """Draw events with 30 features, two of them categories; ten numbers tell fraud, about one event in two hundred."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, N_NUMBERS))
    logit = values[:, :10].sum(axis=1) * 0.8 - 8.0
    start = datetime(2026, 1, 1, tzinfo=UTC)
    seconds = np.sort(rng.integers(0, 14 * 86_400, n))
    frame = pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + start,
            "amount": np.exp(rng.normal(4, 0.8, n)),
            "card": rng.integers(0, max(n // 40, 10), n),
            "merchant": rng.integers(0, max(n // 200, 10), n),
            "label": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8),
        }
    ).with_columns(label_time=pl.col("event_time") + timedelta(days=7))
    numbers = [pl.Series(f"f{j}", values[:, j]) for j in range(N_NUMBERS)]
    levels = [pl.Series(name, rng.choice(["a", "b", "c", "d", "e"], n)) for name in CATEGORICAL]
    return frame.hstack(numbers + levels)


def timed(work: Any) -> tuple[float, float, Any]:
    """Run a function and give the seconds that it took, by the clock and of all cores."""
    start, used = time.perf_counter(), time.process_time()
    out = work()
    return time.perf_counter() - start, time.process_time() - used, out


def contributions_alone(model: Any, threads: int) -> dict[str, Any]:
    """Compare our chunks with CatBoost called directly, over 100,000 rows."""
    rows = make_events(100_000, seed=2).select(NAMES)
    pool = catboost.Pool(rows, cat_features=CATEGORICAL)
    direct, direct_cpu, raw = timed(lambda: model.get_feature_importance(pool, type="ShapValues", thread_count=threads))
    ours, ours_cpu, found = timed(
        lambda: contributions(model, rows, categorical=CATEGORICAL, partner=None, threads=threads)
    )
    score = model.predict(pool, prediction_type="RawFormulaVal")
    return {
        "rows": rows.height, "features": len(NAMES), "categorical": len(CATEGORICAL), "trees": model.tree_count_,
        "direct_s": direct, "ours_s": ours, "direct_cpu_s": direct_cpu, "ours_cpu_s": ours_cpu, "ratio": ours / direct,
        "additive_to": float(np.abs(found.y_score - score).max()),
        "equal": bool(np.array_equal(found.values, raw[:, :-1])),
    }  # fmt: skip


def whole(model: Any, n: int, *, sample: int, threads: int) -> dict[str, Any]:
    """Decide on n events, explain them, and render the page."""
    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    matrix = cost_matrix(project.costs)

    def contribute(frame: pl.DataFrame) -> Any:
        item = contributions(model, frame.select(NAMES), categorical=CATEGORICAL, partner=None, threads=threads)
        return np.column_stack([item.values, np.full(frame.height, item.base)])

    def decide(frame: pl.DataFrame, y_prob: Any) -> Any:
        return minimum_risk(matrix.per_event(frame), y_prob)

    events = make_events(n)
    pool = catboost.Pool(events.select(NAMES), cat_features=CATEGORICAL)
    y_prob = model.predict(pool, prediction_type="Probability")[:, 1]
    del pool
    codes = decide(events, y_prob)
    cost = taken_cost(matrix.per_event(events), codes, events["label"].to_numpy())
    scored = events.with_columns(
        y_prob=pl.Series(y_prob), action=pl.Series(np.array(matrix.actions)[codes]), cost=pl.Series(cost)
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds, cpu, explanation = timed(
        lambda: explain(
            scored, events, project=project, features=[Feature(name) for name in NAMES], contribute=contribute,
            replay=Replay.of(scored, y_prob, bare_policy(project)), model="bench", sample=sample, threads=threads,
        )
    )  # fmt: skip
    drawn, _, page = timed(lambda: explanation_report(explanation))
    return {
        "events": n, "errors": len(explanation.errors), "sample": sample, "explain_s": seconds,
        "explain_cpu_s": cpu, "html_s": drawn,
        "html_bytes": len(page.encode()), "peak_rss_gb_before": before,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip


def fitted(threads: int) -> Any:
    """Fit the model that decides: 300 trees on 30 features, two of them categories."""
    fit = make_events(60_000, seed=1)
    model = catboost.CatBoost(
        {"loss_function": "Logloss", "iterations": 300, "depth": 6, "logging_level": "Silent",
         "thread_count": threads, "allow_writing_files": False}
    )  # fmt: skip
    model.fit(catboost.Pool(fit.select(NAMES), fit["label"].to_numpy(), cat_features=CATEGORICAL))
    return model


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=70_000)
    parser.add_argument("--sample", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file in which the figures of this number of events are replaced")
    options = parser.parse_args()
    model = fitted(options.threads)
    machine = {"machine": f"{platform.machine()}, {options.threads} threads", "python": platform.python_version()}
    packages = {name: version(name) for name in ("fraudctl", "catboost", "polars", "numpy")}
    result = {"contributions": contributions_alone(model, options.threads)} if options.events <= 100_000 else {}
    result[f"explain_{options.events}"] = whole(model, options.events, sample=options.sample, threads=options.threads)
    print(json.dumps(result, indent=1))
    if options.out is not None:
        known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
        document = {**known, **result, **machine, "packages": packages}
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
