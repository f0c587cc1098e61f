"""Window and label features, whole process: ours against Polars, pandas and the floor.

Usage: ``python benchmarks/bench_features.py FOLDER [--repeat 5] [--copies 1] [--out results_features.json]``

FOLDER holds the handbook's ``transactions.parquet``; ``--copies k`` makes it k times as large, with other ids. All
methods compute the same 50 columns from the same file and write them as Parquet (zstd 3), each in a process of its own,
in turn, on two threads; the medians of wall time, processor time and peak memory are reported. The floor scans, sorts
once and writes 50 columns of the same width. The pandas way of the handbook runs on a stated share of the customers and
terminals. Methods differ at ties (ours lets events of one instant not see each other), which changes nothing about the
work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

WINDOWS = {"1h": 3_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
LABEL_WINDOWS = {"1d": 86_400, "7d": 604_800, "30d": 2_592_000}
ENTITIES = {"customer": "CUSTOMER_ID", "terminal": "TERMINAL_ID"}
PANDAS_SHARE = 0.01
LARGEST_SHARE = 0.088
"""Share of the synthetic events that one terminal has."""
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
by = ["customer", "terminal"]
windows = ["1h", "1d", "7d", "30d"]
aggregates = ["count", "sum(amount)", "mean(amount)", "std(amount)", "max(amount)"]
[[features.labels]]
by = "terminal"
windows = ["1d", "7d", "30d"]
[[features.recency]]
by = "customer"
"""


def ours(data: Path, out: Path) -> None:
    """Compute with fraudctl."""
    from fraudctl.features import build, define
    from fraudctl.project import parse_project
    from fraudctl.tables import load_events, load_schema, write_parquet

    project = parse_project(PROJECT, path=data.parent / "fraudctl.toml")
    features = define(project, load_schema(project))
    write_parquet(build(load_events(project), features, timezone="UTC", threads=2), out)


def polars_over(data: Path, out: Path) -> None:
    """Compute with ``rolling_*_by().over()``."""
    import polars as pl

    frame = _polars_frame(data)
    exprs = []
    for entity in ENTITIES:
        for window in WINDOWS:
            options = {"by": "event_time", "window_size": window, "closed": "none"}
            amount = pl.col("amount")
            rolled = {
                "count": pl.col("one").rolling_sum_by(**options),
                "sum": amount.rolling_sum_by(**options),
                "mean": amount.rolling_mean_by(**options),
                "std": amount.rolling_std_by(**options),
                "max": amount.rolling_max_by(**options),
            }
            exprs += [expr.over(entity).alias(f"{entity}_{kind}_{window}") for kind, expr in rolled.items()]
    exprs.append(pl.col("event_time").diff().over("customer").dt.total_seconds().alias("customer_since_last"))
    _polars_labels(frame.with_columns(exprs)).write_parquet(out, compression="zstd", compression_level=3)


def polars_rolling(data: Path, out: Path) -> None:
    """Compute with ``rolling(group_by=)``, which gives rows by entity, joined back by id."""
    import polars as pl

    frame = _polars_frame(data)
    table = frame
    for entity in ENTITIES:
        ordered = frame.sort(entity, "event_time", "event_id")
        amount = pl.col("amount")
        for window in WINDOWS:
            part = ordered.rolling("event_time", period=window, closed="none", group_by=entity).agg(
                pl.len().alias("count"), amount.sum().alias("sum"), amount.mean().alias("mean"),
                amount.std().alias("std"), amount.max().alias("max"),
            )  # fmt: skip
            names = {kind: f"{entity}_{kind}_{window}" for kind in ("count", "sum", "mean", "std", "max")}
            part = part.select(list(names)).rename(names).with_columns(ordered["event_id"])
            table = table.join(part, on="event_id", how="left", maintain_order="left")
    since = pl.col("event_time").diff().over("customer").dt.total_seconds().alias("customer_since_last")
    _polars_labels(table.with_columns(since)).write_parquet(out, compression="zstd", compression_level=3)


def _polars_frame(data: Path):
    import polars as pl

    return (
        pl.scan_parquet(data)
        .select(
            event_id="TRANSACTION_ID", event_time="TX_DATETIME", amount="TX_AMOUNT", label="TX_FRAUD",
            customer="CUSTOMER_ID", terminal="TERMINAL_ID",
        )
        .sort("event_time", "event_id")
        .with_columns(one=pl.lit(1, pl.Int64))
        .collect()
    )  # fmt: skip


def _polars_labels(frame):
    """Add label windows: running totals at arrival, looked up at both ends of each window."""
    import polars as pl

    totals = frame.select(
        "terminal",
        arrived=pl.col("event_time") + pl.duration(days=7),
        known=pl.col("one").cum_sum().over("terminal"),
        frauds=pl.col("label").cast(pl.Int64).cum_sum().over("terminal"),
    )
    for name, seconds in {"0": 0, **LABEL_WINDOWS}.items():
        edge = frame.select("terminal", at=pl.col("event_time") - pl.duration(seconds=seconds))
        found = edge.join_asof(totals, left_on="at", right_on="arrived", by="terminal", check_sortedness=False)
        frame = frame.with_columns(
            found["known"].fill_null(0).alias(f"known_{name}"), found["frauds"].fill_null(0).alias(f"frauds_{name}")
        )
    exprs = []
    for window in LABEL_WINDOWS:
        known = pl.col("known_0") - pl.col(f"known_{window}")
        frauds = pl.col("frauds_0") - pl.col(f"frauds_{window}")
        exprs += [
            known.alias(f"terminal_known_count_{window}"),
            frauds.alias(f"terminal_fraud_count_{window}"),
            (frauds / known).alias(f"terminal_fraud_rate_{window}"),
        ]
    ends = [f"{kind}_{name}" for kind in ("known", "frauds") for name in ("0", *LABEL_WINDOWS)]
    return frame.with_columns(exprs).drop("one", *ends)


def pandas_sample(data: Path, out: Path) -> None:
    """Compute with the handbook's ``groupby.apply(rolling)``, on a share of the customers and terminals."""
    import pandas as pd

    frame = pd.read_parquet(data)
    parts = []
    for entity, column in ENTITIES.items():
        ids = frame[column].drop_duplicates().sort_values()
        chosen = ids.iloc[:: round(1 / PANDAS_SHARE)]
        part = frame[frame[column].isin(chosen)].sort_values("TX_DATETIME")
        for _, group in part.groupby(column):
            group = group.set_index("TX_DATETIME")  # noqa: PLW2901
            for window in WINDOWS:
                rolled = group["TX_AMOUNT"].rolling(window.replace("d", "D"), closed="neither")
                for kind in ("count", "sum", "mean", "std", "max"):
                    group[f"{entity}_{kind}_{window}"] = getattr(rolled, kind)()
            if entity == "terminal":
                delayed = group["TX_FRAUD"].rolling("7D")
                for window in LABEL_WINDOWS:
                    longer = group["TX_FRAUD"].rolling(f"{7 + int(window[:-1])}D")
                    group[f"known_{window}"] = longer.count() - delayed.count()
                    group[f"frauds_{window}"] = longer.sum() - delayed.sum()
                    group[f"rate_{window}"] = group[f"frauds_{window}"] / group[f"known_{window}"]
            parts.append(group.reset_index())
    pd.concat(parts).to_parquet(out, compression="zstd")


def floor(data: Path, out: Path) -> None:
    """Scan, sort once, and write as many columns of the same types."""
    import polars as pl

    frame = _polars_frame(data).drop("one")
    ints = [(pl.col("event_id") % (7 + i)).cast(pl.Int64).alias(f"i{i}") for i in range(14)]
    floats = [(pl.col("amount") * (1.1 + i)).alias(f"f{i}") for i in range(36)]
    frame.with_columns(ints + floats).write_parquet(out, compression="zstd", compression_level=3)


METHODS = {
    "ours": ours,
    "polars rolling_*_by().over()": polars_over,
    "polars rolling(group_by=)": polars_rolling,
    "pandas groupby.rolling (sample)": pandas_sample,
    "floor": floor,
}


def timed(method: str, data: Path, out: Path) -> tuple[float, float, float]:
    """Run one method in a process of its own; give wall seconds, processor seconds and peak MB."""
    start = time.perf_counter()
    env = {**os.environ, "POLARS_MAX_THREADS": "2"}
    arguments = [sys.executable, __file__, str(data.parent), "--child", method, "--data", str(data), "--out", str(out)]
    pid = os.posix_spawn(sys.executable, arguments, env)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        msg = f"{method} ended with status {status}"
        raise SystemExit(msg)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def synthetic(place: Path, n_events: int, *, first_day: int = 0, days: int = 91, first_id: int = 0) -> Path:
    """Write made-up events in the handbook's columns: sorted by time, and the largest terminal has 8.8 % of all."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(20_240_101 + first_day)
    seconds = np.sort(random.integers(first_day * 86_400, (first_day + days) * 86_400, n_events))
    terminal = random.integers(1, 50_000, n_events)
    terminal[random.random(n_events) < LARGEST_SHARE] = 0
    frame = pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(first_id, first_id + n_events),
            "TX_DATETIME": pl.Series((seconds + 19_000 * 86_400) * 1_000_000).cast(pl.Datetime("us")),
            "CUSTOMER_ID": (random.pareto(1.5, n_events) * 20_000).astype(np.int64) % 200_000,
            "TERMINAL_ID": terminal,
            "TX_AMOUNT": np.round(random.gamma(2.0, 25.0, n_events), 2),
            "TX_FRAUD": (random.random(n_events) < 0.008).astype(np.int64),
        }
    )
    frame = frame.with_columns(TX_TIME_SECONDS=0, TX_TIME_DAYS=0, TX_FRAUD_SCENARIO=0)
    frame.write_parquet(place, row_group_size=250_000)
    return place


def main() -> None:
    """Time all methods in turn, print the ratios and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results_features.json"))
    parser.add_argument("--child", choices=list(METHODS))
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.child:
        METHODS[options.child](options.data, options.out)
        return
    import numba
    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        data = enlarged(options.folder, options.copies, Path(folder))
        n_events = pl.scan_parquet(data).select(pl.len()).collect().item()
        timed("ours", data, Path(folder) / "warm.parquet")
        runs: dict[str, list[tuple[float, float, float]]] = {method: [] for method in METHODS}
        for _ in range(options.repeat):
            for method, results in runs.items():
                results.append(timed(method, data, Path(folder) / "out.parquet"))
    wall, cpu, peak = (
        {method: statistics.median(run[i] for run in results) for method, results in runs.items()} for i in range(3)
    )
    result = {
        "n_events": n_events, "n_columns": 50, "repeat": options.repeat, "load_before": os.getloadavg()[0],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "polars": pl.__version__, "numba": numba.__version__},
        "pandas_share_of_entities": PANDAS_SHARE,
        "methods": {
            method: {
                "seconds": round(wall[method], 2),
                "times_floor": round(wall[method] / wall["floor"], 2),
                "cpu_seconds": round(cpu[method], 2),
                "cpu_times_floor": round(cpu[method] / cpu["floor"], 2),
                "peak_mb": round(peak[method]),
            }
            for method in METHODS
        },
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
