"""The 50 columns of the handbook on a cluster's engine: ours against one process, and against Spark's own windows.

Usage: ``python benchmarks/bench_spark.py (DATA.parquet | N_EVENTS) --work FOLDER [--methods NAME ...] [--name NAME]``.
DATA and N_EVENTS are those of ``bench_features.py``, and so are the columns. Each method runs in a process of its own,
in turn, and writes Parquet. "one process" is ``fraudctl features``; "sail" and "spark" are ``--spark sail`` and
``--spark local-cluster[2,1,3072]``; "pyspark" is what a user would write: window functions over range frames on
``local[2]``. Reported are wall time, processor time of the process and all below it, the load of the machine at the
start, and the cells that differ from those of one process: exactly, and by more than one part in 10 ** 9.

Every run is noted in FOLDER; results go to ``results/spark.json`` under the name of the data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench_features import ENTITIES, LABEL_WINDOWS, PROJECT, WINDOWS, prepared

METHODS = ("one process", "sail", "spark", "pyspark")
PARTITIONS = "4"


def by_command(folder: Path, *more: str) -> None:
    """Run the command line without anything that was built before."""
    subprocess.run(["rm", "-rf", str(folder / ".fraudctl")], check=True)
    command = [sys.executable, "-m", "fraudctl", "features", "--project", str(folder), "--quiet", *more]
    subprocess.run(command, check=True)


def pyspark(folder: Path, out: Path) -> None:
    """Compute the columns with window functions over range frames, as Spark's documentation shows them."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession, Window
    from pyspark.sql import functions as f

    spark = SparkSession.builder.master("local[2]").config("spark.driver.memory", "6g").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.shuffle.partitions", PARTITIONS)
    events = spark.read.parquet(str(folder / "transactions.parquet"))
    events = events.withColumn("at", f.unix_micros(f.col("TX_DATETIME").cast("timestamp")))
    amount, micro = f.col("TX_AMOUNT"), 1_000_000
    columns = {}
    for entity, column in ENTITIES.items():
        by = Window.partitionBy(column).orderBy("at")
        for name, seconds in WINDOWS.items():
            over = by.rangeBetween(-seconds * micro + 1, -1)
            columns[f"{entity}_count_{name}"] = f.count(f.lit(1)).over(over)
            for word, function in (("sum", f.sum), ("mean", f.avg), ("std", f.stddev_samp), ("max", f.max)):
                columns[f"{entity}_{word}_amount_{name}"] = function(amount).over(over)
        if entity == "terminal":
            delay = 7 * 86_400 * micro
            for name, seconds in LABEL_WINDOWS.items():
                over = by.rangeBetween(-delay - seconds * micro + 1, -delay)
                columns[f"{entity}_known_count_{name}"] = f.count("TX_FRAUD").over(over)
                columns[f"{entity}_fraud_count_{name}"] = f.coalesce(f.sum("TX_FRAUD").over(over), f.lit(0))
                columns[f"{entity}_fraud_rate_{name}"] = f.avg("TX_FRAUD").over(over)
        else:
            before = f.max("at").over(by.rangeBetween(Window.unboundedPreceding, -1))
            columns[f"{entity}_seconds_since_last"] = (f.col("at") - before) / micro
    found = events.select(f.col("TRANSACTION_ID").alias("event_id"), *(c.alias(n) for n, c in columns.items()))
    found.write.mode("overwrite").option("compression", "zstd").parquet(str(out))
    spark.stop()


def watch(seen: dict[int, float], over: threading.Event) -> None:
    """Note the processor time of every process below this one, twice a second: Java is waited for by nobody."""
    tick = os.sysconf("SC_CLK_TCK")
    while not over.wait(0.5):
        parents, used = {}, {}
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(place.parent.name)
            parents[pid], used[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / tick
        below = {os.getpid()}
        for _ in range(12):
            below |= {pid for pid, parent in parents.items() if parent in below}
        seen.update({pid: used[pid] for pid in below - {os.getpid()} if pid in used})


def run(method: str, folder: Path, out: Path) -> dict[str, float | str]:
    """Run a method; return its times, and the load of the machine before it."""
    load, began = os.getloadavg()[0], time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen: dict[int, float] = {}
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(seen, over))
    watcher.start()
    if method == "pyspark":
        subprocess.run([sys.executable, __file__, "--inner", str(folder), str(out)], check=True)
    elif method == "one process":
        by_command(folder, "-o", str(out))
    else:
        where = "sail" if method == "sail" else "local-cluster[2,1,3072]"
        by_command(folder, "-o", str(out), "--spark", where, "--partitions", PARTITIONS)
    over.set()
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cpu = max(waited, sum(seen.values()))
    return {"method": method, "wall_seconds": time.monotonic() - began, "cpu_seconds": cpu, "load_before": load}


def differing(one: Path, other: Path) -> dict[str, int]:
    """Count the cells of the 50 columns that differ from those of one process."""
    import polars as pl

    names = [name for name in pl.read_parquet_schema(one) if any(name.startswith(f"{e}_") for e in ENTITIES)]
    source = str(other / "*.parquet") if other.is_dir() else other
    found, exact, far = pl.scan_parquet(source), 0, 0
    ids = pl.read_parquet(one, columns=["event_id"]).with_row_index()
    other_ids = (
        found.select("event_id").collect().with_row_index("there").with_columns(pl.col("event_id").cast(pl.Int64))
    )
    place = ids.join(other_ids, on="event_id", how="left", maintain_order="left")["there"]
    for name in names:
        a = pl.read_parquet(one, columns=[name]).to_series()
        b = found.select(name).collect().to_series().gather(place).cast(a.dtype)
        exact += int(a.ne_missing(b).sum())
        a, b = a.cast(pl.Float64), b.cast(pl.Float64)
        close = ((a - b).abs() <= 1e-9 * a.abs().clip(1.0)).fill_null(value=False) | (a.is_null() & b.is_null())
        far += int((~close).sum())
    return {"columns": len(names), "cells": len(names) * ids.height, "differ_exactly": exact, "differ_by_1e-9": far}


def main() -> None:
    """Run what was asked for, and write what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--name")
    parser.add_argument("--inner", nargs=2, type=Path)
    given = parser.parse_args()
    if given.inner:
        pyspark(*given.inner)
        return
    prepared(given.data, given.work)
    (given.work / "fraudctl.toml").write_text(PROJECT)
    notes = given.work / "spark-runs.jsonl"
    for method in given.methods:
        out = given.work / (method.replace(" ", "_") + (".parquet" if method == "one process" else ""))
        found = run(method, given.work, out)
        if method != "one process":
            found |= differing(given.work / "one_process.parquet", out)
        with notes.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(found, flush=True)
    runs = {item["method"]: item for item in map(json.loads, notes.read_text().splitlines())}
    one = runs["one process"]
    for item in runs.values():
        item["cpu_of_one_process"] = round(item["cpu_seconds"] / one["cpu_seconds"], 2)
        item["wall_of_one_process"] = round(item["wall_seconds"] / one["wall_seconds"], 2)
    import polars as pl
    import pyspark as spark_package

    place = Path(__file__).parent / "results" / "spark.json"
    results = json.loads(place.read_text()) if place.exists() else {}
    versions = {"python": platform.python_version(), "polars": pl.__version__, "pyspark": spark_package.__version__}
    versions["pysail"] = __import__("importlib.metadata", fromlist=["version"]).version("pysail")
    results[given.name or Path(given.data).stem] = {"versions": versions, "processors": os.cpu_count(), "runs": runs}
    place.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
