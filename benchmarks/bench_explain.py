"""How long an explanation takes, beside the floor (the contributions alone), on synthetic decided events.

    python benchmarks/bench_explain.py [--events 70000] [--sample 100000] [--json FILE]

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
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import polars as pl

from fraudctl.costs import cost_matrix, minimum_risk, taken_cost
from fraudctl.explain.contributions import contributions
from fraudctl.explain.run import explain
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
N_FEATURES = 30


class Feature:
    """A feature as an explanation knows it."""

    family, entity, dtype = "window", "card", "float"

    def __init__(self, name: str) -> None:
        self.name = self.words = name


def make_events(n: int, seed: int = 0) -> pl.DataFrame:
    """Draw events with 30 features, ten of which tell fraud, at a fraud rate of about one per cent."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, N_FEATURES))
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
    return frame.hstack([pl.Series(f"f{j}", values[:, j]) for j in range(N_FEATURES)])


def timed(work: Any) -> tuple[float, Any]:
    """Run a function and give the seconds that it took."""
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=70_000)
    parser.add_argument("--sample", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = [f"f{j}" for j in range(N_FEATURES)]
    fit, events = make_events(60_000, seed=1), make_events(options.events)
    model = catboost.CatBoost(
        {"loss_function": "Logloss", "iterations": 300, "depth": 6, "logging_level": "Silent",
         "thread_count": options.threads, "allow_writing_files": False}
    )  # fmt: skip
    model.fit(catboost.Pool(fit.select(names), fit["label"].to_numpy()))
    rows = make_events(100_000, seed=2).select(names)
    direct, raw = timed(
        lambda: model.get_feature_importance(catboost.Pool(rows), type="ShapValues", thread_count=options.threads)
    )
    ours, found = timed(lambda: contributions(model, rows, categorical=[], threads=options.threads))
    score = model.predict(catboost.Pool(rows), prediction_type="RawFormulaVal")
    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    matrix = cost_matrix(project.costs)

    def contribute(frame: pl.DataFrame) -> Any:
        item = contributions(model, frame.select(names), categorical=[], threads=options.threads)
        return np.column_stack([item.values, np.full(frame.height, item.base)])

    def decide(frame: pl.DataFrame, y_prob: Any) -> Any:
        return minimum_risk(matrix.per_event(frame), y_prob)

    y_prob = model.predict(catboost.Pool(events.select(names)), prediction_type="Probability")[:, 1]
    codes = decide(events, y_prob)
    cost = taken_cost(matrix.per_event(events), codes, events["label"].to_numpy())
    scored = events.with_columns(
        y_prob=pl.Series(y_prob), action=pl.Series(np.array(matrix.actions)[codes]), cost=pl.Series(cost)
    )
    whole, explanation = timed(
        lambda: explain(
            scored, events, project=project, features=[Feature(name) for name in names], contribute=contribute,
            decide=decide, model="bench", sample=options.sample, threads=options.threads,
        )
    )  # fmt: skip
    drawn, page = timed(lambda: explanation_report(explanation))
    result = {
        "machine": f"{platform.machine()}, {options.threads} threads", "python": platform.python_version(),
        "catboost": catboost.__version__, "polars": pl.__version__, "events": options.events,
        "errors": len(explanation.errors), "shap_direct_s": direct, "shap_ours_s": ours, "shap_ratio": ours / direct,
        "shap_additive_to": float(np.abs(found.y_score - score).max()),
        "shap_equal": bool(np.array_equal(found.values, raw[:, :-1])), "explain_s": whole, "html_s": drawn,
        "html_bytes": len(page.encode()), "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip
    for name, value in result.items():
        print(f"{name:18} {value:.4g}" if isinstance(value, float) else f"{name:18} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
