"""A year of decisions with outcomes, small enough for every test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.project import Project, parse_project

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TEXT = """
[project]
name = "cards"
[data]
events = "events.parquet"
event_id = "event_id"
event_time = "event_time"
amount = "amount"
label = "label"
label_time = "label_time"
label_delay = "30d"
[costs.actions]
allow.fraud = { fixed = 10.0, rate = 1.0 }
review.fraud = { fixed = 4.0 }
review.legit = { fixed = 4.0 }
block.legit = { fixed = 20.0 }
[policy.capacity]
review = "6 per day"
"""
HARM = """
[monitor.harm]
fraud_loss_bps = { at_most = 500 }
recall = { at_least = 0.2 }
alerts_per_day = { at_most = 900 }
[[monitor.incidents]]
name = "an attack"
start = 2026-03-02
until = 2026-03-09
[[monitor.holidays]]
name = "Easter"
day = 2026-04-05
"""


def project_of(text: str = HARM, folder: Path = Path("/nowhere")) -> Project:
    """Give the project, with more sections."""
    return parse_project(TEXT + text, path=folder / "fraudctl.toml")


def make_decisions(n_weeks: int = 20, per_week: int = 400, seed: int = 0) -> pl.DataFrame:
    """Decisions of two models, one after the other; flagged frauds are known in days, others in weeks."""
    rng = np.random.default_rng(seed)
    n = n_weeks * per_week
    day = np.sort(rng.random(n) * 7 * n_weeks)
    y_prob = rng.beta(0.25, 2.5, n)
    label = (rng.random(n) < y_prob).astype(np.int8)
    action = np.where(y_prob > 0.5, "block", np.where(y_prob > 0.25, "review", "allow"))
    delay = np.where(action == "allow", rng.gamma(4, 4, n), rng.gamma(2, 1, n)).clip(0, 29)
    delay = np.where(label == 1, delay, 30.0)
    when = pl.Series("event_time", [MONDAY] * n) + pl.Series((day * 86_400e6).astype(np.int64)).cast(pl.Duration("us"))
    return pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": when,
            "amount": rng.gamma(2, 30, n).round(2),
            "y_prob": y_prob,
            "action": action,
            "model": np.where(day < 70, "2025-12-01-aaaaaaaa", "2026-03-01-bbbbbbbb"),
            "policy": "p",
            "decided_by": "costs",
            "control_group": False,
            "exposure_prob": pl.Series([None] * n, dtype=pl.Float64),
            "label": label,
            "label_time": when + pl.Series((delay * 86_400e6).astype(np.int64)).cast(pl.Duration("us")),
            "channel": rng.choice(["web", "shop", "=app"], n),
        }
    )


@pytest.fixture(scope="session")
def decisions() -> pl.DataFrame:
    """Twenty weeks of decisions."""
    return make_decisions()


@pytest.fixture(scope="session")
def as_of(decisions: pl.DataFrame) -> datetime:
    """The end of the last week."""
    return MONDAY + timedelta(weeks=20)
