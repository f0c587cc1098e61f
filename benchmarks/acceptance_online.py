"""Replay events one by one and compare every feature of every event with the batch engine.

Usage: ``python benchmarks/acceptance_online.py FOLDER [--days 30] [--out FILE]``, where FOLDER holds the
``transactions.parquet`` of *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne,
Siblini, Lebichot, Bontempi). Three replays, each with the features that ``fraudctl init`` proposes:

- the handbook's last days, after a state built from everything before, with labels as messages 7 days late;
- the project's sample from its first event on, with logins as a source, links, windows with the event itself, an own
  label_time for each event, and every few rows a missing id or amount, a refund, or the minute of another event;
- the same sample's last days, after a state built from its events, logins and all their outcomes, also those that
  arrive after the state is built.

Exits with 1 unless whole numbers, truth values and categories agree exactly and floats to 1e-9 relative.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.data.tables import Events
from fraudctl.features import build
from fraudctl.features.online import OnlineFeatures, from_history
from fraudctl.project import load_project
from fraudctl.workflows.definitions import plan_features

SAMPLE = Path(__file__).parent.parent / "sample_data"
MORE_FEATURES = """
[[features.window]]
source = "logins"
by = ["customer", "device", "ip"]
windows = ["2h", "30d"]
aggregates = ["count", "nunique(device)", "nunique(os)"]
[[features.window]]
source = "logins"
by = "customer"
windows = ["1d"]
aggregates = ["count", "std(success)"]
where = "not success and hour(event_time) < 12"
name = "failed"
[[features.lookup]]
source = "logins"
by = "customer"
columns = ["os"]
max_age = "7d"
[[features.links]]
of = ["card", "device"]
[[features.window]]
by = ["card", "merchant"]
windows = ["1d", "30d"]
aggregates = ["count", "sum(amount)", "std(amount)", "min(amount)", "median(amount)", "nunique(channel)"]
include_current = true
name = "with"
[[features.window]]
by = ["card"]
windows = ["7d"]
aggregates = ["count", "sum(amount)"]
where = "amount < 0"
name = "refunds"
"""


def handbook_project(data: Path, folder: Path) -> Path:
    """Let ``fraudctl init`` propose a project for the handbook's events."""
    flags = [
        "--event-id",
        "TRANSACTION_ID",
        "--event-time",
        "TX_DATETIME",
        "--amount",
        "TX_AMOUNT",
        "--label",
        "TX_FRAUD",
    ]
    flags += ["--label-delay", "7d", "--entity", "customer=CUSTOMER_ID", "--entity", "terminal=TERMINAL_ID"]
    for column in ("TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"):
        flags += ["--ignore", column]
    command = [sys.executable, "-m", "fraudctl", "init", str(data), "--project", str(folder), "--quiet", *flags]
    subprocess.run(command, check=True)
    return folder / "fraudctl.toml"


def sample_project(folder: Path) -> Path:
    """Copy the sample with harder rows, its logins, and more features that use them."""
    row = pl.int_range(pl.len())
    events = (
        pl.read_parquet(SAMPLE / "transactions.parquet")
        .unique(maintain_order=True)
        .with_columns(
            pl.when(row % 3 == 0)
            .then(pl.col("created_at").dt.truncate("1m"))
            .otherwise("created_at")
            .alias("created_at"),
            pl.when(row % 17 == 0).then(None).otherwise("device_id").alias("device_id"),
            pl.when(row % 23 == 0)
            .then(-pl.col("amount"))
            .when(row % 31 == 0)
            .then(None)
            .otherwise("amount")
            .alias("amount"),
        )
    )
    events.write_parquet(folder / "transactions.parquet")
    pl.read_parquet(SAMPLE / "logins.parquet").write_parquet(folder / "logins.parquet")
    text = (SAMPLE / "fraudctl.toml").read_text(encoding="utf-8")
    (folder / "fraudctl.toml").write_text(text + MORE_FEATURES, encoding="utf-8")
    return folder / "fraudctl.toml"


def replay(path: Path, days: float | None, *, told: bool = False) -> dict[str, object]:
    """Replay the last days (None: everything) of a project, compare with the batch, and return what was found.

    ``told``: outcomes of earlier events that arrive later are in the history; otherwise they come as messages.
    """
    project = load_project(path)
    plan = plan_features(project)
    events, sources = plan.load(), plan.load_sources()
    zone, delay = project.data.timezone, project.data.label_delay.us
    started = time.perf_counter()
    expected = build(events, plan.features, timezone=zone, sources=sources)
    batch_seconds = time.perf_counter() - started
    frame = events.frame.with_columns(pl.col("event_time", "label_time").dt.epoch("us"))
    cut = -(1 << 62) if days is None else int(frame["event_time"][-1] - days * 86_400_000_000)
    known = {name: source.filter(pl.col("usable_time").dt.epoch("us") <= cut) for name, source in sources.items()}
    started = time.perf_counter()
    state = start(plan.features, events, cut, known, told=told, timezone=zone, label_delay_us=delay)
    history_seconds = time.perf_counter() - started
    later = frame.filter(pl.col("event_time") > cut)
    messages = [(row["event_time"], 1, row) for row in later.iter_rows(named=True)]
    labels = frame.filter(pl.col("event_time" if told else "label_time") > cut)
    labels = labels.filter(pl.col("label").is_not_null())
    messages += [(row["label_time"], 0, row) for row in labels.iter_rows(named=True)]
    for name, source in sources.items():
        rows = source.with_columns(pl.col("event_time", "usable_time").dt.epoch("us"))
        rows = rows.filter(pl.col("usable_time") > cut).iter_rows(named=True)
        messages += [(row["usable_time"], 2, (name, row)) for row in rows]
    messages.sort(key=lambda item: item[:2])
    started = time.perf_counter()
    numbers, categories = send(state, messages)
    replay_seconds = time.perf_counter() - started
    differing = compare(plan.features, expected.tail(len(later)), np.array(numbers), categories)
    return {
        "events": len(later), "features": len(plan.features.names), "labels": len(labels),
        "values": len(later) * len(plan.features.names), "differing": differing, "counters": state.counters,
        "batch_seconds": round(batch_seconds, 2), "history_seconds": round(history_seconds, 2),
        "replay_seconds": round(replay_seconds, 2), "state_mb": round(state.nbytes / 1e6, 1),
    }  # fmt: skip


def start(features, events: Events, cut: int, sources: dict, *, told: bool, **settings) -> OnlineFeatures:
    """Return the state after the events until ``cut``, with the outcomes that had arrived, or with all (``told``)."""
    frame = events.frame.filter(pl.col("event_time").dt.epoch("us") <= cut)
    if frame.height == 0:
        return OnlineFeatures(features, **settings)
    if not told:
        arrived = pl.col("label_time").dt.epoch("us") <= cut
        frame = frame.with_columns(label=pl.when(arrived).then("label"), label_time=pl.when(arrived).then("label_time"))
    return from_history(Events(frame, frame["event_time"][-1], 0), features, sources=sources, **settings)


def send(state: OnlineFeatures, messages: list) -> tuple[list, list]:
    """Send all messages; give numbers and categories of each event, in order."""
    numbers, categories = [], []
    for _, kind, content in messages:
        if kind == 1:
            answer = state.observe(content)
            numbers.append(answer.numbers)
            categories.append(answer.categories)
        elif kind == 0:
            state.label(content["event_id"], content["label"], content["label_time"])
        else:
            state.source(*content)
    return numbers, categories


def compare(features, expected: pl.DataFrame, numbers: np.ndarray, categories: list) -> dict[str, int]:
    """Count the differing values of each feature that has any."""
    found = {}
    for at, feature in enumerate(features.features):
        want = expected[feature.name]
        if feature.dtype == "category":
            n = sum(row[feature.name] != value for row, value in zip(categories, want.to_list(), strict=True))
        else:
            values = want.cast(pl.Float64).fill_null(np.nan).to_numpy()
            same = np.isclose(numbers[:, at], values, rtol=1e-9, atol=0, equal_nan=True)
            n = int((~same).sum()) if feature.dtype == "float" else int((numbers[:, at] != values).sum())
            if feature.dtype != "float":
                n -= int((np.isnan(numbers[:, at]) & np.isnan(values)).sum())
        if n:
            found[feature.name] = n
    return found


def main() -> None:
    """Replay both, print and write what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--only", choices=["handbook", "sample"], help="and keep what was written of the other")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "acceptance_online.json")
    options = parser.parse_args()
    written = json.loads(options.out.read_text(encoding="utf-8")) if options.only and options.out.exists() else {}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.only != "handbook":
            results["sample"] = replay(sample_project(place), None)
            results["sample_built"] = {"days": options.days} | replay(place / "fraudctl.toml", options.days, told=True)
        if options.only != "sample":
            data = (options.folder / "transactions.parquet").resolve()
            (place / "handbook").mkdir()
            results["handbook"] = {"days": options.days} | replay(
                handbook_project(data, place / "handbook"), options.days
            )
    print(json.dumps(results, indent=2))
    options.out.write_text(json.dumps(written | results, indent=2) + "\n", encoding="utf-8")
    if any(found["differing"] for found in results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
