"""Small synthetic feature tables for the tests of training: roles, two entities and a few informative columns."""

from __future__ import annotations

from dataclasses import dataclass
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
label_delay = "{delay}"
{data}

[entities]
card = "card_id"
shop = "shop_id"

[split]
{split}

[train]
trials = {trials}
iterations = 60
early_stopping = 10
{train}
"""


@dataclass(frozen=True)
class Features:
    """The part of a feature set that training looks at."""

    names: list[str]
    categorical: list[str]


FEATURES = Features(["ratio", "velocity", "night", "channel"], ["channel"])


def project(
    *, delay: str = "5d", data: str = "", split: str = "", trials: int = 0, train: str = "", rest: str = ""
) -> Project:
    text = TOML.format(delay=delay, data=data, split=split, trials=trials, train=train) + rest
    return parse_project(text, path=Path("project/fraudctl.toml"))


def table(n: int = 6000, *, days: int = 60, seed: int = 0, delay_days: int = 5, base: float = -4.2) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, days * 86_400, n))
    ratio, velocity = rng.lognormal(0, 1, n), rng.poisson(2, n).astype(float)
    night, channel = rng.random(n) < 0.3, rng.integers(0, 3, n)
    logit = base + 0.8 * ratio + 0.3 * velocity + 0.7 * night + 0.9 * (channel == 2)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    ratio[rng.random(n) < 0.03] = np.nan
    times = pl.Series("event_time", [START + timedelta(seconds=int(s)) for s in seconds], pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": times,
            "amount": rng.lognormal(3, 1, n).round(2),
            "label": label,
            "label_time": times + timedelta(days=delay_days),
            "card": pl.Series(rng.integers(0, 300, n)).replace({0: None}),
            "shop": rng.integers(0, 40, n),
            "ratio": pl.Series(ratio).fill_nan(None),
            "velocity": velocity,
            "night": night,
            "channel": pl.Series(channel.astype(str)).replace_strict({"0": "web", "1": None, "2": "app"}),
        }
    )
