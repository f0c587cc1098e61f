"""A policy is chosen on all events of the folds: those without a label take slots and are not counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from decisions_world import make_project

from fraudctl.policy import CapacityUse, choose_policy
from fraudctl.policy.single import SinglePolicy

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 3, 4, 15, tzinfo=UTC)  # a Wednesday


def predictions(seed: int, n: int = 900) -> tuple[pl.DataFrame, np.ndarray]:
    """Three weeks of fold predictions: 60 % of the labels unknown, and two days before the folds."""
    rng = np.random.default_rng(seed)
    hours = np.sort(rng.uniform(-48, 21 * 24, n))
    score = rng.normal(-2.5, 1.5, n)
    y_prob = 1 / (1 + np.exp(-score))
    hidden = (rng.random(n) < 0.6) | (hours < 0)
    frame = pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": [START + timedelta(hours=float(h)) for h in hours],
            "fold": np.where(hours < 0, 0, 1 + (hours > 240)),
            "label": pl.Series((rng.random(n) < y_prob).astype(np.int8)).set(pl.Series(hidden), None),
            "y_score": score,
            "amount": rng.gamma(2.0, 40.0, n).round(2),
            "card": rng.integers(0, 200, n),
            "terminal": rng.integers(0, 100, n),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    return frame, y_prob


@pytest.mark.parametrize("per", ["day", "week"])
@pytest.mark.parametrize("seed", [0, 1])
def test_judged_events_are_counted_after_all_were_decided_one_by_one(seed: int, per: str) -> None:
    frame, y_prob = predictions(seed)
    project = make_project(f'[policy]\ncapacity = {{ review = "3 per {per}" }}')
    choice = choose_policy(project, frame, y_prob)
    single, used, counts = SinglePolicy(choice.policy), CapacityUse(), dict.fromkeys(choice.policy.actions, 0)
    for row, p in zip(frame.iter_rows(named=True), y_prob.tolist(), strict=True):
        event = {**row, "event_time": (row["event_time"] - EPOCH) // timedelta(microseconds=1)}
        code, _ = single.decide(event, p, holds=[], used=used)
        if row["label"] is not None:
            counts[choice.policy.actions[code]] += 1
    assert choice.report.actions == counts
    assert choice.report.events == frame["label"].count()
    alone = choose_policy(project, frame.filter(pl.col("label").is_not_null()), y_prob[frame["label"].is_not_null()])
    assert alone.report.actions["review"] > counts["review"]


def test_the_lead_takes_slots_and_expects_none() -> None:
    """Prices come from the folds' periods alone; the events before them only take what they took."""
    frame, y_prob = predictions(3)
    project = make_project('[policy]\ncapacity = { review = "3 per week" }')
    inside = (frame["fold"] > 0).to_numpy()
    with_lead = choose_policy(project, frame, y_prob)
    without = choose_policy(project, frame.filter(inside), y_prob[inside])
    assert with_lead.policy.bids == without.policy.bids
    assert with_lead.report.actions["review"] <= without.report.actions["review"]
