"""Small tables of answered events, as `fraudctl.ab` takes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.project import Project, parse_project

START = datetime(2026, 1, 1, tzinfo=UTC)
TOML = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "is_fraud"
label_delay = "10d"
[entities]
card = "card_id"
[costs]
[costs.actions]
allow.fraud = { fixed = 10 }
review.fraud = { fixed = 2 }
review.legit = { fixed = 2 }
block.legit = { fixed = 5 }
"""


def project() -> Project:
    return parse_project(TOML, path=Path("fraudctl.toml"))


def answered(
    n: int, *, units: int, seed: int = 0, share: float = 0.5, days: int = 30, fraud_rate: float = 0.05
) -> pl.DataFrame:
    """Return events whose outcomes are all known after ten days; half of the frauds are reviewed."""
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, units, n)
    challenger = (rng.random(units) < share)[unit]
    fraud = rng.random(n) < fraud_rate
    review = rng.random(n) < np.where(fraud, 0.5, 0.02)
    times = pl.Series(np.sort(rng.integers(0, days * 86_400, n))).cast(pl.Int64) * 1_000_000
    event_time = (times + int(START.timestamp() * 1e6)).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "event_id": np.arange(n), "event_time": event_time, "amount": 10.0, "y_prob": 0.1,
            "action": np.where(review, "review", "allow"), "model": np.where(challenger, "B", "A"), "policy": "p",
            "decided_by": "expected_cost", "label": fraud.astype(np.int8),
            "label_time": event_time + timedelta(days=10), "unit": unit.astype(str),
            "arm": np.where(challenger, "challenger", "champion"), "arm_share": share,
        }
    ).with_columns(
        control_group=pl.lit(None, dtype=pl.Boolean), exposure_prob=pl.lit(None, dtype=pl.Float64)
    )  # fmt: skip
