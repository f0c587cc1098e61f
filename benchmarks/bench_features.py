"""Window and label features, whole process: ours against Polars, DuckDB, pandas and the floor.

Usage: ``python benchmarks/bench_features.py (DATA.parquet | N_EVENTS) --work FOLDER [--rounds 5] [--seconds 200]
[--methods NAME ...] [--name NAME]``. DATA is the handbook's ``transactions.parquet``; a number makes so many
synthetic events instead (one terminal has 8.8 % of all). All methods compute the same 50 columns from the same file
and write them as Parquet (zstd 3), each in a process of its own, in turn, on two threads; the medians of wall time,
processor time and peak memory are reported. The floor scans, sorts once and writes 50 columns of the same width
with the same writer. The pandas way of the handbook runs on a stated share of the customers and terminals. Methods
differ at ties (ours lets events of one instant not see each other), which changes nothing about the work. "ours
--memory 1GB" and "ours --since" are the command line; the latter adds a day of 110,000 events in a file of its own.
"links" joins customers and terminals of 1.5 M events.

Every run is noted in FOLDER, with the load of the machine; after ``--seconds`` no further one begins, and the same
command goes on where it stopped. Results go to ``results/features.json`` under the name of the data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

WINDOWS = {"1h": 3_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
LABEL_WINDOWS = {"1d": 86_400, "7d": 604_800, "30d": 2_592_000}
ENTITIES = {"customer": "CUSTOMER_ID", "terminal": "TERMINAL_ID"}
PANDAS_SHARE = 0.01
INNER = {"links": "inner_seconds", "ours": "build_cpu_seconds", "ours --since": "command_seconds"}
"""Methods that measure a part of themselves: wall time of links and of the command, processor time of the engine."""
NEW_DAY = "2022-04-09"
"""The day after those of the synthetic events."""
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
    from fraudctl.data.outputs import write_parquet
    from fraudctl.data.tables import load_events, load_schema
    from fraudctl.features import build, define, loading
    from fraudctl.project import parse_project

    project = parse_project(PROJECT, path=data.parent / "fraudctl.toml")
    with loading():
        features, events = define(project, load_schema(project)), load_events(project)
    start = time.process_time()
    table = build(events, features, timezone="UTC", threads=2)
    out.with_suffix(".seconds").write_text(str(time.process_time() - start))
    write_parquet(table, out)


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
                pl.len().alias("count"),
                amount.sum().alias("sum"),
                amount.mean().alias("mean"),
                amount.std().alias("std"),
                amount.max().alias("max"),
            )
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
            event_id="TRANSACTION_ID",
            event_time="TX_DATETIME",
            amount="TX_AMOUNT",
            label="TX_FRAUD",
            customer="CUSTOMER_ID",
            terminal="TERMINAL_ID",
        )
        .sort("event_time", "event_id")
        .with_columns(one=pl.lit(1, pl.Int64))
        .collect()
    )


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
    """Scan, sort once, and write as many columns of the same types, in the same pages."""
    import polars as pl

    frame = _polars_frame(data).drop("one")
    ints = [(pl.col("event_id") % (7 + i)).cast(pl.Int64).alias(f"i{i}") for i in range(14)]
    floats = [(pl.col("amount") * (1.1 + i)).alias(f"f{i}") for i in range(36)]
    frame.with_columns(ints + floats).write_parquet(
        out, compression="zstd", compression_level=3, row_group_size=100_000, data_page_size=1 << 17
    )


def duckdb_windows(data: Path, out: Path) -> None:
    """Compute with DuckDB's windows over ranges of time, and as-of joins for the labels."""
    import duckdb

    columns, windows = [], []
    for entity in ENTITIES:
        for window, seconds in WINDOWS.items():
            name = f"{entity}_{window}"
            windows.append(
                f"{name} as (partition by {entity} order by event_time range between interval {seconds} seconds "
                "preceding and interval 1 microseconds preceding)"
            )
            columns.append(f"count(*) over {name} as {entity}_count_{window}")
            columns += [
                f"{function}(amount) over {name} as {entity}_{kind}_{window}"
                for kind, function in {"sum": "sum", "mean": "avg", "std": "stddev_samp", "max": "max"}.items()
            ]
    columns.append("epoch(event_time - lag(event_time) over (partition by customer order by event_time)) as since")
    joins, labels = [], []
    for name, seconds in {"0": 0, **LABEL_WINDOWS}.items():
        joins.append(
            f"asof left join totals l{name} on f.terminal = l{name}.terminal and "
            f"f.event_time - interval {seconds} seconds >= l{name}.arrived"
        )
        labels += [f"coalesce(l{name}.{kind}, 0) as {kind}_{name}" for kind in ("known", "frauds")]
    counted = [
        f"{kind}_0 - {kind}_{window} as terminal_{kind}_{window}"
        for window in LABEL_WINDOWS
        for kind in ("known", "frauds")
    ]
    rates = [
        f"(frauds_0 - frauds_{window}) / nullif(known_0 - known_{window}, 0) as terminal_rate_{window}"
        for window in LABEL_WINDOWS
    ]
    ends = ", ".join(f"{kind}_{name}" for kind in ("known", "frauds") for name in ("0", *LABEL_WINDOWS))
    query = f"""
        with e as (select TRANSACTION_ID event_id, TX_DATETIME event_time, TX_AMOUNT amount, TX_FRAUD label,
                   CUSTOMER_ID customer, TERMINAL_ID terminal from read_parquet('{data}')),
        totals as (select terminal, event_time + interval 7 days arrived,
                   count(*) over t known, sum(label) over t frauds from e
                   window t as (partition by terminal order by event_time, event_id rows unbounded preceding)),
        f as (select *, {", ".join(columns)} from e window {", ".join(windows)}),
        g as (select f.*, {", ".join(labels)} from f {" ".join(joins)})
        select * exclude ({ends}), {", ".join(counted + rates)} from g order by event_time, event_id"""  # noqa: S608
    with duckdb.connect() as connection:
        connection.execute("set threads = 2; set memory_limit = '12GB'")
        connection.execute(f"copy ({query}) to '{out}' (format parquet, compression zstd, compression_level 3)")


def ours_memory(data: Path, out: Path) -> None:
    """Compute within 1 GB, by the command line."""
    _command(_project_beside(data), "--memory", "1GB", "-o", str(out))


def ours_since(data: Path, out: Path) -> None:
    """Compute the day after the data, from the state that was kept of what came before, by the command line."""
    start = time.perf_counter()
    _command(data.parent / "increment", "--since", NEW_DAY, "-o", str(out))
    out.with_suffix(".seconds").write_text(str(time.perf_counter() - start))


def links(data: Path, out: Path) -> None:
    """Join the customers and terminals of 1.5 M events, and write what each event sees of its component."""
    import polars as pl

    from fraudctl.features.batch.links import linked

    frame = _polars_frame(data).head(1_500_000)
    at = pl.col("event_time").dt.replace_time_zone("UTC")
    frame = frame.with_columns(event_time=at, label_time=at + pl.duration(days=7))
    linked(frame.head(100), ("customer", "terminal"), hub=50)
    start = time.perf_counter()
    linked(frame, ("customer", "terminal"), hub=50)
    out.with_suffix(".seconds").write_text(str(time.perf_counter() - start))


def _project_beside(data: Path) -> Path:
    (data.parent / "fraudctl.toml").write_text(PROJECT)
    shutil.rmtree(data.parent / ".fraudctl", ignore_errors=True)
    return data.parent


def _command(project: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "fraudctl", "features", "--project", str(project), "--no-progress", "--quiet"]
    subprocess.run([*command, *arguments], check=True)


METHODS = {
    "ours": ours,
    "polars rolling_*_by().over()": polars_over,
    "polars rolling(group_by=)": polars_rolling,
    "duckdb windows": duckdb_windows,
    "pandas groupby.rolling (sample)": pandas_sample,
    "floor": floor,
    "ours --memory 1GB": ours_memory,
    "ours --since": ours_since,
    "links": links,
}


def timed(method: str, data: Path, out: Path) -> tuple[float, float, float]:
    """Run one method in a process of its own; give wall seconds, processor seconds and peak MB."""
    start = time.perf_counter()
    env = {**os.environ, "POLARS_MAX_THREADS": "2"}
    arguments = [sys.executable, __file__, "0", "--work", str(data.parent), "--child", method]
    pid = os.posix_spawn(sys.executable, [*arguments, "--data", str(data), "--out", str(out)], env)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        msg = f"{method} ended with status {status}"
        raise SystemExit(msg)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


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


def prepared(source: str, work: Path) -> Path:
    """Give the data in ``work``, made or linked there the first time."""
    work.mkdir(parents=True, exist_ok=True)
    data = work / "transactions.parquet"
    if not data.exists():
        if source.isdigit():
            synthetic(data, int(source))
        else:
            data.symlink_to(Path(source).resolve())
    return data


def compile_loops(work: Path) -> None:
    """Compute once on few events: on a machine that is new to them, the loops of the engine are compiled now."""
    work.mkdir(exist_ok=True)
    timed("ours", synthetic(work / "transactions.parquet", 1_000), work / "out.parquet")


def prepare_increment(data: Path) -> None:
    """Put a day of 110,000 events beside the data, and build once so that the state is kept."""
    import polars as pl

    folder = data.parent / "increment"
    if (folder / ".fraudctl").exists():
        return
    (folder / "data").mkdir(parents=True, exist_ok=True)
    if not (folder / "data" / "a.parquet").exists():
        (folder / "data" / "a.parquet").symlink_to(data.resolve())
    n_events = pl.scan_parquet(data).select(pl.len()).collect().item()
    synthetic(folder / "data" / "b.parquet", 110_000, first_day=91, days=1, first_id=n_events)
    (folder / "fraudctl.toml").write_text(PROJECT.replace("transactions.parquet", "data/*.parquet"))
    _command(folder, "--since", NEW_DAY, "-o", str(folder / "first.parquet"))


def summary(runs: list[dict[str, float | str]], data: Path) -> dict[str, object]:
    """Give the medians of all runs, and their ratios to the floor."""
    import numba
    import polars as pl

    methods = {}
    for method in METHODS:
        own = [run for run in runs if run["method"] == method]
        if own:
            keys = ("seconds", "cpu_seconds", "peak_mb", "load", *([INNER[method]] if method in INNER else []))
            found = {key: [float(run[key]) for run in own if key in run] for key in keys}
            methods[method] = {key: round(statistics.median(values), 2) for key, values in found.items() if values}
            methods[method]["runs"] = len(own)
    for found in methods.values():
        if "floor" in methods:
            found["times_floor"] = round(found["seconds"] / methods["floor"]["seconds"], 2)
            found["cpu_times_floor"] = round(found["cpu_seconds"] / methods["floor"]["cpu_seconds"], 2)
    return {
        "n_events": pl.scan_parquet(data).select(pl.len()).collect().item(),
        "n_columns": 50,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "polars": pl.__version__, "numba": numba.__version__},
        "pandas_share_of_entities": PANDAS_SHARE,
        "methods": methods,
    }


def main() -> None:
    """Time methods in turn until the rounds are full or the time is up, and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=["ours", "floor"])
    parser.add_argument("--name")
    parser.add_argument("--child", choices=list(METHODS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "features.json")
    options = parser.parse_args()
    if options.child:
        METHODS[options.child](options.data, options.out)
        return
    began, data, log = time.monotonic(), prepared(options.source, options.work), options.work / "runs.jsonl"
    compile_loops(options.work / "small")
    if "ours --since" in options.methods:
        prepare_increment(data)
    runs = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for number in range(options.rounds):
        for method in options.methods:
            done = sum(run["method"] == method for run in runs)
            if done > number or time.monotonic() - began > options.seconds:
                continue
            out = options.work / "out.parquet"
            wall, cpu, peak = timed(method, data, out)
            run = {"method": method, "seconds": wall, "cpu_seconds": cpu, "peak_mb": peak, "load": os.getloadavg()[0]}
            if method in INNER:
                run[INNER[method]] = float(out.with_suffix(".seconds").read_text())
            runs.append(run)
            with log.open("a") as file:
                file.write(json.dumps(run) + "\n")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results[options.name or options.source] = summary(runs, data)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
