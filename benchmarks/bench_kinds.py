"""Newer kinds of features (habits, gaps, fading sums, places) against 50 columns of windows and outcomes, in one run.

Usage: ``python benchmarks/bench_kinds.py [N_EVENTS] [--rounds 3]``. Events are those of `bench_features.synthetic`
with places. Each set of columns is built by `fraudctl.features.build` on one thread, in turn, after a first build that
compiles the loops; processor time is reported, and its ratio per column to that of `bench_features.PROJECT`. Then
a state answers the last 20,000 events one by one: 50th and 99th percentile of an event's processor time. Results go to
``results/kinds.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from bench_features import PROJECT, synthetic

HEAD = PROJECT.partition("[[features")[0]
BOTH = '["customer", "terminal"]'
KINDS = {
    "habits": f"""
[[features.habits]]
by = {BOTH}
windows = ["1d", "30d"]
aggregates = ["last(amount)", "previous(amount)", "changed(hour)", "same(hour)", "seconds_same(hour)", "share(hour)",
  "share(amount)", "rank(amount)"]
[features.columns]
hour = "hour(event_time)"
""",
    "spacing": f'[[features.spacing]]\nby = {BOTH}\nwindows = ["1d", "30d"]\n',
    "decay": f"""
[[features.decay]]
by = {BOTH}
half_lives = ["1h", "1d"]
aggregates = ["count", "sum(amount)", "mean(amount)"]
""",
    "geo": f"""
[[features.geo]]
at = ["lat", "lon"]
by = {BOTH}
windows = ["30d"]
aggregates = ["distance_from_last", "speed_from_last", "distance_from_usual"]
""",
}
BASE = "windows and outcomes"
N_ASKED = 20_000


def events_of(folder: Path, n: int) -> Path:
    """Write the synthetic events with places."""
    import numpy as np
    import polars as pl

    place = synthetic(folder / "transactions.parquet", n)
    random = np.random.default_rng(1)
    frame = pl.read_parquet(place)
    lat, lon = random.uniform(35, 60, n), random.uniform(-10, 30, n)
    frame.with_columns(lat=pl.Series(lat.round(4)), lon=pl.Series(lon.round(4))).write_parquet(place)
    return place


def measured(folder: Path, text: str, rounds: int) -> dict[str, float]:
    """Build once to compile, then so many times; give columns, processor seconds and microseconds of one event."""
    from fraudctl.data.tables import load_events, load_schema
    from fraudctl.features import build, define
    from fraudctl.project import parse_project

    project = parse_project(text, path=folder / "fraudctl.toml")
    features = define(project, load_schema(project))
    events = load_events(project, columns=features.carried)
    build(type(events)(events.frame.head(2_000), events.known_until, 0), features, timezone="UTC", threads=1)
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        build(events, features, timezone="UTC", threads=1)
        seconds.append(time.process_time() - start)
    low, high = online(events, features)
    return {
        "columns": len(features.names),
        "cpu_seconds": round(statistics.median(seconds), 3),
        "p50_us": round(low, 1),
        "p99_us": round(high, 1),
    }


def online(events: object, features: object) -> tuple[float, float]:
    """Answer the last events one by one from a state of all others; give percentiles in µs."""
    import numpy as np

    from fraudctl.features.online import from_history

    frame = events.frame
    first = frame.head(frame.height - N_ASKED)
    state = from_history(
        type(events)(first, first["event_time"][-1], 0), features, timezone="UTC", label_delay_us=7 * 86_400_000_000
    )
    rest = list(frame.tail(N_ASKED).iter_rows(named=True))
    taken = []
    for row in rest:
        start = time.thread_time_ns()
        state.observe(row)
        taken.append((time.thread_time_ns() - start) / 1000)
    low, high = np.quantile(taken[100:], [0.5, 0.99])
    return float(low), float(high)


def main() -> None:
    """Measure all sets in turn, print and keep the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n_events", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", help="measure this set alone (may be repeated); default: all sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kinds.json")
    options = parser.parse_args()
    load = [round(item, 1) for item in os.getloadavg()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events_of(folder, options.n_events)
        sets = {BASE: PROJECT, **{kind: HEAD + text for kind, text in KINDS.items()}}
        sets["all newer kinds"] = HEAD + "".join(KINDS.values())
        found = {}
        for kind, text in sets.items():
            if not options.only or kind in (BASE, *options.only):
                found[kind] = measured(folder, text, options.rounds)
                print(kind, found[kind], flush=True)
    base = found[BASE]
    for item in found.values():
        item["ratio_per_column"] = round(
            item["cpu_seconds"] / item["columns"] / (base["cpu_seconds"] / base["columns"]), 2
        )
    result = {
        "n_events": options.n_events,
        "rounds": options.rounds,
        "load_average": {"before": load, "after": [round(item, 1) for item in os.getloadavg()]},
        "packages": {key: version(key) for key in ("fraudctl", "polars", "numpy", "numba")},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "sets": found,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
