"""Compare our window and label features with those that the handbook's authors publish.

Usage: ``python benchmarks/acceptance_published_features.py FOLDER``, where FOLDER holds ``transactions.parquet`` and
``published_features_days_1_50.parquet`` of *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne,
Siblini, Lebichot, Bontempi). Exits with 1 unless every value agrees: counts exactly, floats to 1e-9 relative, our null
of an empty window being their 0; events that share a second with another of the same entity are left out and counted.

The authors publish the first 50 days. All events are compared with the same windows counted another way (`recounted`:
sorted keys and running totals of whole cents), which itself has to agree with what is published.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.data.tables import load_events, load_schema
from fraudctl.features import build, define
from fraudctl.project import Project, parse_project

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


def our_table(folder: Path) -> pl.DataFrame:
    """Give our features of all events, and which events share a second with another of their entity."""
    project = project_in(folder)
    features = define(project, load_schema(project))
    table = build(load_events(project, columns=features.carried), features, timezone=project.data.timezone)
    ties = [pl.struct(entity, "event_time").is_duplicated().alias(f"tied_{entity}") for entity in project.entities]
    return table.with_columns(ties)


def recounted(table: pl.DataFrame) -> pl.DataFrame:
    """Count in the authors' columns: (t - w, t] of a customer, (t - 7d - w, t - 7d] of a terminal."""
    out, seconds = {"event_id": table["event_id"]}, table["event_time"].dt.epoch("s").to_numpy()
    cents = (table["amount"] * 100).round().cast(pl.Int64).to_numpy()
    frauds = table["label"].cast(pl.Int64).to_numpy()
    for entity, prefix, late, summed, name in (
        ("customer", "CUSTOMER_ID", 0, cents, "AVG_AMOUNT"),
        ("terminal", "TERMINAL_ID", 7, frauds, "RISK"),
    ):
        keys = table[entity].to_numpy().astype(np.int64) * 10**11 + seconds
        order = np.argsort(keys, kind="stable")
        totals = np.concatenate([[0], np.cumsum(summed[order])])
        stop = np.searchsorted(keys[order], keys - late * 86_400, side="right")
        for days in (1, 7, 30):
            start = np.searchsorted(keys[order], keys - (late + days) * 86_400, side="right")
            n, total = stop - start, totals[stop] - totals[start]
            out[f"{prefix}_NB_TX_{days}DAY_WINDOW"] = pl.Series(n)
            scale = 100 if summed is cents else 1
            out[f"{prefix}_{name}_{days}DAY_WINDOW"] = pl.Series(np.where(n > 0, total / scale / np.maximum(n, 1), 0.0))
    return pl.DataFrame(out)


def compare(folder: Path) -> dict[str, dict[str, int]]:
    """Count, for each feature: events compared with the published, left out for ties, and that differ."""
    return _differences(our_table(folder), _published(folder))


def compare_all(folder: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Compare with what is published, all events with another count of them, and that count with what is published."""
    table = our_table(folder)
    again = recounted(table)
    ours = {
        theirs + f"_{days}DAY_WINDOW": f"{mine}_{days}d" for mine, (_, theirs) in COLUMNS.items() for days in (1, 7, 30)
    }
    as_ours = table.select("event_id", "tied_customer", "tied_terminal").join(again.rename(ours), on="event_id")
    return {
        "published": _differences(table, _published(folder)),
        "all events": _differences(table, again),
        "counted another way, against the published": _differences(as_ours, _published(folder)),
    }


def _published(folder: Path) -> pl.DataFrame:
    published = pl.read_parquet(folder / "published_features_days_1_50.parquet")
    return published.with_columns(pl.col("TRANSACTION_ID").cast(pl.Int64).alias("event_id"))


def _differences(table: pl.DataFrame, others: pl.DataFrame) -> dict[str, dict[str, int]]:
    both = others.join(table, on="event_id", how="inner")
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
    result = compare_all(Path(sys.argv[1]))
    print(json.dumps(result, indent=2))
    found = [item for group in result.values() for item in group.values()]
    return 1 if any(item["differ"] or not item["compared"] for item in found) else 0


if __name__ == "__main__":
    sys.exit(main())
