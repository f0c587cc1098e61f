"""The feed of labels against plain Python, and which changes are beyond what fraud itself does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from recount_monitor import Fed, recount_flow, recount_rewritten, recount_taken_back

from fraudctl.data.labels import CHANGES
from fraudctl.monitor.feed import LabelFlow, label_feed

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF, UNTIL = START + timedelta(days=90), START + timedelta(days=140)
WEEKS = timedelta(days=56)


def fed(seed: int, *, times: float = 1.0, since: datetime = AS_OF, n: int = 4_000, rate: float = 0.04) -> Fed:
    """Draw events whose frauds are reported within two weeks, some of them taken back; ``times`` as many since."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for at in np.sort(rng.uniform(0, 140, n)):
        time = START + timedelta(days=float(at))
        fraud = rng.random() < rate * (times if time >= since else 1.0)
        reported = (
            [(time + timedelta(days=float(rng.uniform(1, 14))), 1)] if fraud else [(time + timedelta(days=14), 0)]
        )
        if fraud and rng.random() < 0.1:
            reported.append((reported[0][0] + timedelta(days=20), 0))
        rows.append({"event_id": len(rows), "event_time": time, "reported": reported, "fold": 0, "then": None})
    world = Fed(rows, AS_OF, UNTIL)
    for row in rows:
        if 50 <= (row["event_time"] - START).days < 76:
            row["fold"], row["then"] = 1, (world.label(row, AS_OF) or (None, None))[1]
    return world


def frames(world: Fed) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events as they are read from tables of labels, and what a bundle keeps of its validation."""
    rows = []
    for row in world.rows:
        time, label = world.label(row, world.until) or min(row["reported"])
        changes = [{"time": at, "label": value} for at, value in sorted(row["reported"])]
        rows.append([row["event_id"], row["event_time"], label, time, changes, row["fold"], row["then"]])
    time_us = pl.Datetime("us", "UTC")
    schema = {
        "event_id": pl.Int64, "event_time": time_us, "label": pl.Int8, "label_time": time_us,
        CHANGES: pl.List(pl.Struct({"time": time_us, "label": pl.Int8})), "fold": pl.Int32, "then": pl.Int8,
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.drop("fold", "then"), frame.select("event_id", "fold", label="then")


def feed_of(world: Fed) -> Any:
    events, judged = frames(world)
    return label_feed(events, judged, as_of=world.as_of, until=world.until, reference=WEEKS)


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_the_rows_and_an_ordinary_feed_has_no_fault(seed: int) -> None:
    world = fed(seed, times=[1.0, 2.0, 0.5][seed % 3])
    found = feed_of(world)
    recount_flow(found.flow, world)
    recount_taken_back(found.taken_back, world)
    recount_rewritten(found.rewritten, world)
    assert not found.rewritten.taken_back + found.rewritten.reported
    assert not list(found.faults())


@pytest.mark.parametrize("seed", range(3))
def test_many_times_the_frauds_none_and_labels_that_were_dated_back_are_faults(seed: int) -> None:
    assert [what for what, _ in feed_of(fed(seed, times=8.0)).faults()] == ["flow"]
    assert [what for what, _ in feed_of(fed(seed, times=0.0, n=10_000)).faults()] == ["flow"]
    world = fed(seed)
    for row in world.rows[::7]:
        if row["fold"]:
            row["reported"] = [(row["event_time"] + timedelta(days=2), 1)]
    found = feed_of(world)
    recount_rewritten(found.rewritten, world)
    assert [what for what, _ in found.faults()] == ["rewritten"]


def test_what_is_taken_back_later_is_fewer_frauds_and_no_rewriting() -> None:
    world = fed(1, n=10_000)
    for row in world.rows:
        if row["reported"][0][1] == 1:
            row["reported"] = [row["reported"][0], (max(row["reported"][0][0], AS_OF) + timedelta(days=1), 0)]
    found = feed_of(world)
    recount_flow(found.flow, world)
    recount_taken_back(found.taken_back, world)
    assert not found.rewritten.taken_back
    assert [what for what, _ in found.faults()] == ["flow", "taken back"]


def test_too_little_says_nothing() -> None:
    assert feed_of(fed(2, rate=0.001)).flow is None
    young = replace(fed(2), until=AS_OF + timedelta(days=10))
    assert feed_of(young).flow is None


def test_files_of_a_month_are_waited_for_twice() -> None:
    """Reports come in files of every 28 days: that the latest is not there yet is no fault."""
    world = fed(3)
    for row in world.rows:
        time, label = row["reported"][0]
        row["reported"] = [(START + timedelta(days=28 * (1 + (time - START) // timedelta(days=28))), label)]
    flow = feed_of(replace(world, until=START + timedelta(days=111))).flow
    assert flow is None


def test_a_few_frauds_more_or_fewer_are_never_sure() -> None:
    assert not LabelFlow(8, 28.0, 2.0, 10, 1.0).unusual
    assert LabelFlow(80, 28.0, 10.0, 20, 1.0).unusual
    assert not LabelFlow(80, 28.0, 10.0, 20, 20.0).unusual
    assert LabelFlow(0, 28.0, 30.0, 60, 1.0).unusual
    assert not LabelFlow(0, 28.0, 5.0, 10, 1.0).unusual
