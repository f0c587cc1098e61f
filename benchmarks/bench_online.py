"""Online features: microseconds for one event, bytes of state, and the time to build it from a history.

Usage: ``python benchmarks/bench_online.py FOLDER [--events 20000] [--out FILE]``, where FOLDER holds the handbook's
``transactions.parquet`` (see acceptance_online.py). The features are those that ``fraudctl init`` proposes. Measured
twice: on the data as they are, and with 8.8 % of the events moved to one terminal, whose events are also given apart.
Every event's outcome comes as a message too, and is not part of the times of events; they are taken around `observe`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from acceptance_online import handbook_project

from fraudctl.data.tables import Events
from fraudctl.features.online import from_bytes, from_history, to_bytes
from fraudctl.project import load_project
from fraudctl.workflows.definitions import plan_features

HOT_SHARE = 0.088


def percentiles(micros: np.ndarray) -> dict[str, float]:
    """Give the median and the upper ends."""
    names = {"p50_us": 50, "p90_us": 90, "p99_us": 99, "p999_us": 99.9}
    return {name: round(float(np.percentile(micros, at)), 1) for name, at in names.items()} | {"n": len(micros)}


def measured(data: Path, folder: Path, n: int, *, hot: bool) -> dict[str, object]:
    """Build the state from all but the last events, then observe those one by one."""
    frame = pl.read_parquet(data)
    if hot:
        row = pl.int_range(pl.len())
        moved = (row * 2654435761 % 1000) < round(1000 * HOT_SHARE)
        frame = frame.with_columns(pl.when(moved).then(pl.lit(0)).otherwise("TERMINAL_ID").alias("TERMINAL_ID"))
    path = folder / "transactions.parquet"
    frame.write_parquet(path)
    plan = plan_features(load_project(handbook_project(path, folder)))
    events = plan.load()
    project, features = plan.project, plan.features
    options = {"timezone": project.data.timezone, "label_delay_us": project.data.label_delay.us}
    first = events.frame.head(events.frame.height - n)
    started = time.perf_counter()
    state = from_history(Events(first, first["event_time"][-1], 0), features, **options)
    history = time.perf_counter() - started
    rows = list(events.frame.tail(n).with_columns(pl.col("event_time").dt.epoch("us")).iter_rows(named=True))
    took = np.empty(n)
    for i, row in enumerate(rows):
        begun = time.perf_counter_ns()
        state.observe(row)
        took[i] = (time.perf_counter_ns() - begun) / 1e3
    started = time.perf_counter()
    saved = to_bytes(state)
    save = time.perf_counter() - started
    started = time.perf_counter()
    from_bytes(saved, features, **options)
    restore = time.perf_counter() - started
    result = {
        "features": len(features.names),
        "history_events": first.height,
        "history_seconds": round(history, 2),
        "observe": percentiles(took[100:]),
        "state_mb": round(state.nbytes / 1e6, 1),
        "snapshot_mb": round(len(saved) / 1e6, 1),
        "snapshot_seconds": round(save, 2),
        "restore_seconds": round(restore, 2),
    }
    if hot:
        at_hot = np.array([row["terminal"] == 0 for row in rows])
        at_hot[:100] = False
        result["observe_hot"] = percentiles(took[at_hot])
    return result


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "online.json")
    options = parser.parse_args()
    import numba

    results: dict[str, object] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "polars": pl.__version__,
            "numba": numba.__version__,
            "numpy": np.__version__,
        },
    }
    for name, hot in (("as_it_is", False), ("hot_terminal", True)):
        with tempfile.TemporaryDirectory() as folder:
            data = options.folder / "transactions.parquet"
            results[name] = measured(data, Path(folder), options.events, hot=hot)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
