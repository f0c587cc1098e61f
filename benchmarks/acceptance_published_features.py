"""Compare our window and label features with those that the handbook's authors publish.

Usage: ``python benchmarks/acceptance_published_features.py FOLDER``, where FOLDER holds ``transactions.parquet`` and
``published_features_days_1_50.parquet`` of *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne,
Siblini, Lebichot, Bontempi). Exits with 1 unless every value agrees: counts exactly, floats to 1e-9 relative, our null
of an empty window being their 0; events that share a second with another of the same entity are left out and counted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from fraudctl.features import build, define
from fraudctl.project import Project, parse_project
from fraudctl.tables import load_events, load_schema

PROJECT = """
[data]
events = "transactions.parquet"
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
"""
COLUMNS = {
    "customer_count": ("customer", "CUSTOMER_ID_NB_TX"),
    "customer_mean_amount": ("customer", "CUSTOMER_ID_AVG_AMOUNT"),
    "terminal_known_count": ("terminal", "TERMINAL_ID_NB_TX"),
    "terminal_fraud_rate": ("terminal", "TERMINAL_ID_RISK"),
}


def project_in(folder: Path) -> Project:
    """Give the project of the comparison for the data in ``folder``."""
    return parse_project(PROJECT, path=folder / "fraudctl.toml")


def compare(folder: Path) -> dict[str, dict[str, int]]:
    """Count, for each feature: events compared, events left out for ties, and events that differ."""
    project = project_in(folder)
    features = define(project, load_schema(project))
    table = build(load_events(project, columns=features.carried), features, timezone=project.data.timezone)
    published = pl.read_parquet(folder / "published_features_days_1_50.parquet")
    published = published.with_columns(pl.col("TRANSACTION_ID").cast(pl.Int64).alias("event_id"))
    for entity in project.entities:
        table = table.with_columns(pl.struct(entity, "event_time").is_duplicated().alias(f"tied_{entity}"))
    both = published.join(table, on="event_id", how="inner")
    out = {}
    for ours, (entity, theirs) in COLUMNS.items():
        for days in (1, 7, 30):
            free = both.filter(~pl.col(f"tied_{entity}"))
            mine, other = pl.col(f"{ours}_{days}d").fill_null(0), pl.col(f"{theirs}_{days}DAY_WINDOW")
            tolerance = 0.0 if "count" in ours else 1e-9
            differ = free.filter((mine - other).abs() > tolerance * other.abs()).height
            out[f"{ours}_{days}d"] = {"compared": free.height, "tied": both.height - free.height, "differ": differ}
    return out


def main() -> int:
    """Print the comparison and give the exit code."""
    result = compare(Path(sys.argv[1]))
    print(json.dumps(result, indent=2))
    return 1 if any(item["differ"] or not item["compared"] for item in result.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
