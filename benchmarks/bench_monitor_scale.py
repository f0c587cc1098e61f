"""CPU time and memory of `monitor` over a year of decisions with the values of all features, one file a day.

The sample trains a model and decides on eight weeks after it (`score --with-features`). A year is drawn from these
rows, day by day, with ids, times and labels of its own: `--events` decisions, one Parquet file for each day, and as
many events of the project with their labels. There are far more events a day than the model was trained on, and at
any hour, so that every run has alarms to date and to write. Two runs are measured, each in a process of its own: *from
raw*, with nothing kept from earlier runs, up to the day before the last; and *one new day*, after the files of the last
day have come. Both once without limits of harm and once with three of them, which need the outcome of every decision.
The document is written after every run, with what earlier calls of the same machine and versions measured of other
years.

    python benchmarks/bench_monitor_scale.py --work /tmp/scale --events 1000000 10000000 \
        --out benchmarks/results/monitor_scale.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

DAYS = 365
START = datetime(2026, 1, 13, tzinfo=UTC)
LIMITS = """
[monitor.harm]
recall = { at_least = 0.05 }
fraud_loss_bps = { at_most = 5000 }
savings = { at_least = -5.0 }
"""


def run(*arguments: str, place: Path) -> None:
    """Run one command of fraudctl in ``place``."""
    subprocess.run([sys.executable, "-m", "fraudctl", *arguments, "--quiet"], cwd=place, check=True)


def prepare(place: Path) -> None:
    """Make the sample with weeks after it, train and decide on them with all values of features."""
    if (place / "base.parquet").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    run("sample", ".", "--after", "8w", "--change", "none", place=place)
    run("train", "--fast", "--as-of", f"{START:%Y-%m-%d}", place=place)
    run(
        "score", "transactions_after.parquet", "--history", "transactions.parquet", "--with-features",
        "--reasons", "none", "-o", "base.parquet", place=place,
    )  # fmt: skip


def make(base: Path, place: Path, n: int) -> None:
    """Draw a year of decisions and events into ``place``, one file a day each."""
    if (place / "done").exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    (place / "events").mkdir(parents=True)
    (place / "decisions").mkdir()
    shutil.copytree(base / "models", place / "models")
    shutil.copy(base / "logins.parquet", place)
    before = pl.read_parquet(base / "transactions.parquet")
    before.write_parquet(place / "events" / "before.parquet")
    text = (base / "fraudctl.toml").read_text(encoding="utf-8")
    (place / "fraudctl.toml").write_text(
        text.replace('events = "transactions*.parquet"', 'events = "events/*.parquet"'), encoding="utf-8"
    )
    decided = pl.read_parquet(base / "base.parquet")
    after = pl.read_parquet(base / "transactions_after.parquet").rename({"transaction_id": "event_id"})
    events = decided.select("event_id").join(after, on="event_id", how="left", maintain_order="left")
    rng, first = np.random.default_rng(3), 0
    for day in range(DAYS):
        size = int(rng.poisson(n / DAYS)) if day < DAYS - 1 else max(n - first, 1)
        rows = rng.integers(0, decided.height, size)
        seconds = np.sort(rng.integers(0, 86_400_000_000, size))
        at = pl.Series(seconds).cast(pl.Duration("us")) + (START + timedelta(days=day))
        ids = pl.Series([f"y-{first + number}" for number in range(size)])
        lag = (events["label_available_at"] - events["created_at"])[rows]
        kinds = events.schema
        part = events[rows].with_columns(
            event_id=ids,
            created_at=at.cast(kinds["created_at"]),
            label_available_at=(at.cast(kinds["created_at"]) + lag).cast(kinds["label_available_at"]),
        )
        part.rename({"event_id": "transaction_id"}).select(before.columns).write_parquet(
            place / "events" / f"day-{day:03}.parquet"
        )
        decided[rows].with_columns(event_id=ids).write_parquet(place / "decisions" / f"day-{day:03}.parquet")
        first += size
    (place / "done").write_text(str(first), encoding="utf-8")


def measured(place: Path, *, name: str) -> dict[str, object]:
    """Run `monitor` on all decisions; return seconds, seconds of CPU and the largest memory of its process."""
    command = [sys.executable, "-m", "fraudctl", "monitor", "decisions/*.parquet", "--json", "--quiet"]
    started = time.time()
    with (place / "out.json").open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, cwd=place, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
    found = json.loads((place / "out.json").read_text(encoding="utf-8"))
    return {
        "run": name,
        "exit_code": os.waitstatus_to_exitcode(status),
        "decisions": found["decisions"],
        "last_day": found["last_day"],
        "limits": len(found["limits"]),
        "seconds": round(time.time() - started, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024, 0),
        "load": round(os.getloadavg()[0], 1),
    }


def year(place: Path, *, limits: bool) -> Iterator[dict[str, object]]:
    """Measure both runs."""
    file = place / "fraudctl.toml"
    text = file.read_text(encoding="utf-8").split("\n[monitor.harm]")[0]
    file.write_text(text + (LIMITS if limits else ""), encoding="utf-8")
    for kept in ("monitor", ".fraudctl"):
        shutil.rmtree(place / kept, ignore_errors=True)
    last, aside = f"day-{DAYS - 1:03}.parquet", place / "aside"
    for folder in ("events", "decisions"):
        (aside / folder).mkdir(parents=True, exist_ok=True)
        (place / folder / last).rename(aside / folder / last)
    told = "with limits" if limits else "without limits"
    try:
        first = measured(place, name=f"from raw, {told}")
    finally:
        for folder in ("events", "decisions"):
            (aside / folder / last).rename(place / folder / last)
    yield first
    yield measured(place, name=f"one new day, {told}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the sample and the drawn years")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--limits", choices=["both", "with", "without"], default="both")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    prepare(options.work / "base")
    document: dict[str, object] = {
        "date": str(date.today()),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {name: version(name) for name in ("fraudctl", "numpy", "polars")},
    }
    chosen = [limits for limits in (False, True) if options.limits in ("both", "with" if limits else "without")]
    results = measured_before(options.out, document, options.events, chosen)
    for n in options.events:
        place = options.work / str(n)
        make(options.work / "base", place, n)
        columns = len(pl.read_parquet_schema(place / "decisions" / "day-000.parquet"))
        for limits in chosen:
            for item in year(place, limits=limits):
                results.append({"events": n, "columns": columns, **item})
                print(json.dumps(results[-1]), flush=True)
                if options.out is not None:
                    text = json.dumps({**document, "results": results}, indent=1)
                    options.out.write_text(text + "\n", encoding="utf-8")


def measured_before(
    out: Path | None, document: dict[str, object], events: list[int], chosen: list[bool]
) -> list[dict[str, object]]:
    """Return what the file holds of other years, or of other limits, by the same machine and versions."""
    if out is None or not out.exists():
        return []
    found = json.loads(out.read_text(encoding="utf-8"))
    if any(found[name] != document[name] for name in ("machine", "versions")):
        return []
    return [item for item in found["results"] if item["events"] not in events or (item["limits"] > 0) not in chosen]


if __name__ == "__main__":
    main()
