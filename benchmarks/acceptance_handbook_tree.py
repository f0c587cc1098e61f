"""The handbook's depth-2 decision tree on its own week, judged by `fraudctl evaluate --scores`.

*Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne et al.), chapter 3, trains a decision tree of
depth 2 on 2018-07-25 to 07-31 and tests it on 2018-08-08 to 08-14 without customers already known to be defrauded. It
publishes ROC AUC 0.763, average precision 0.496 and card precision@100 0.241. Features come from this engine, the tree
from scikit-learn, the figures from the command line.

    python benchmarks/acceptance_handbook_tree.py transactions.parquet
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from sklearn.tree import DecisionTreeClassifier

from fraudctl.project import load_project
from fraudctl.workflows.features import build_features

PUBLISHED = {"roc_auc": 0.763, "average_precision": 0.496, "customer_precision_at_100": 0.241}
PROJECT = """
[project]
name = "handbook-tree"
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
by = "customer"
windows = ["1d", "7d", "30d"]
aggregates = ["count", "mean(amount)"]
include_current = true
[[features.labels]]
by = "terminal"
windows = ["1d", "7d", "30d"]
aggregates = ["known_count", "fraud_rate"]
[features]
raw = ["amount"]
[features.columns]
is_weekend = "extract(isodow FROM event_time) >= 6"
is_night = "hour(event_time) <= 6"
[split]
as_of = "2018-08-08"
test = "7d"
train = "7d"
[evaluate]
block_known = {{ entity = "customer" }}
replicates = 100
"""
AS_OF = datetime(2018, 8, 8, tzinfo=UTC)
WEEK = timedelta(days=7)


def tree_scores(folder: Path) -> pl.DataFrame:
    """Fit the tree on the training week and score the test week: ``event_id`` and ``y_prob``."""
    table = build_features(load_project(folder))
    frame = table.frame.with_columns(pl.col(table.features.names).cast(pl.Float64).fill_null(0.0))
    train, test = (
        frame.filter(pl.col("event_time").is_between(start, start + WEEK, closed="left"))
        for start in (AS_OF - 2 * WEEK, AS_OF)
    )
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    tree.fit(train.select(table.features.names).to_numpy(), train["label"].to_numpy())
    y_prob = tree.predict_proba(test.select(table.features.names).to_numpy())[:, 1]
    return test.select("event_id", y_prob=pl.Series(y_prob))


def reproduce(events: Path) -> dict[str, Any]:
    """Give the document of ``evaluate --scores`` for the tree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fraudctl.toml").write_text(PROJECT.format(events=events.resolve()), encoding="utf-8")
        tree_scores(folder).write_parquet(folder / "scores.parquet")
        command = [sys.executable, "-m", "fraudctl", "evaluate", "--scores", "scores.parquet", "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def main() -> None:
    """Print what was published beside what comes out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    found = reproduce(parser.parse_args().events)
    ties = next(row for row in found["at_k"] if (row["of"], row["k"]) == ("customer", 100))
    out = {name: {"published": value, "ours": found["metrics"][name]["value"]} for name, value in PUBLISHED.items()}
    print(json.dumps({"rows": found["rows"], "frauds": found["frauds"], **out, "over orders of ties": ties}, indent=2))


if __name__ == "__main__":
    main()
