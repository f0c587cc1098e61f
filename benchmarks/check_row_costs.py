"""Savings with costs from columns of the data, on consumer credit (credit_gmsc_costs.parquet).

The data has no time, so the split is **random**, by name: it says nothing about the future.

    python benchmarks/check_row_costs.py credit_gmsc_costs.parquet
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from catboost import CatBoostClassifier

from fraudctl.calibrate import fit_calibrator
from fraudctl.evaluate import Period, decide_frame, evaluate
from fraudctl.policy import bare_policy
from fraudctl.project import parse_project

PROJECT = """
[data]
events = "x"
event_id = "i"
event_time = "t"
label = "target"
label_delay = "0d"
[costs.actions]
allow.fraud = { column = "fn_cost" }
block.legit = { column = "fp_cost" }
"""


def main() -> None:
    """Fit on a random half, calibrate on a quarter, evaluate on the last quarter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    data = pl.read_parquet(args.data)
    features = [name for name in data.columns if name not in {"row_id", "target", "fp_cost", "fn_cost"}]
    matrix, y_true = data.select(features).cast(pl.Float64).to_numpy(), data["target"].cast(pl.Int8).to_numpy()
    part = np.random.default_rng(0).choice(3, data.height, p=[0.5, 0.25, 0.25])
    model = CatBoostClassifier(
        iterations=200, depth=5, verbose=False, thread_count=2, random_seed=0, allow_writing_files=False
    )
    model.fit(matrix[part == 0], y_true[part == 0])
    raw = model.predict(matrix, prediction_type="RawFormulaVal")
    calibrator = fit_calibrator(y_true[part == 1], raw[part == 1], method="logistic")
    assert calibrator is not None  # noqa: S101 -- None only for methods that may fail
    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    policy = bare_policy(project)
    test = part == 2
    now = datetime(2000, 1, 1, tzinfo=UTC)
    table = data.filter(test).select(
        pl.int_range(pl.len()).alias("event_id"),
        pl.lit(now).dt.cast_time_unit("us").alias("event_time"),
        pl.col("target").cast(pl.Int8).alias("label"),
        pl.col("fp_cost").cast(pl.Float64),
        pl.col("fn_cost").cast(pl.Float64),
    )
    scored = decide_frame(table, calibrator.predict(raw[test]), policy=policy, project=project)
    found = evaluate(scored, project=project, policy=policy, model="catboost", as_of=now, period=Period(now, now))
    out = {name: found.metrics[name].to_dict() for name in ("roc_auc", "savings", "savings_of_perfect", "cost")}
    print(
        json.dumps(
            {"split": "random", "rows": found.rows, "frauds": found.frauds, **out, "money": found.money}, indent=2
        )
    )


if __name__ == "__main__":
    main()
