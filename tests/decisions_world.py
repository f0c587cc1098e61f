"""A small scored world for tests of decisions: events with scores that know something, and a project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.costs import CostCell, CostMatrix
from fraudctl.evaluate import Evaluation, Period, decide_frame, evaluate
from fraudctl.policy import Policy, bare_policy
from fraudctl.project import Project, parse_project

START = datetime(2026, 3, 2, tzinfo=UTC)
PERIOD = Period(START, START + timedelta(days=7))

BASE = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "t"
amount = "a"
label = "l"
label_delay = "7d"
[entities]
card = "c"
terminal = "d"
[costs.actions]
allow.fraud = {{ fixed = 15, rate = 1.0 }}
review.fraud = {{ fixed = 4 }}
review.legit = {{ fixed = 4 }}
block.legit = {{ fixed = 8, rate = 0.15 }}
[evaluate]
replicates = 100
{more}
"""


def make_project(more: str = "") -> Project:
    """Give a project; ``more`` is appended to its file. Its gate asks for no checks: there are no files to check."""
    more = more.replace("[gate]\n", "[gate]\nchecks = false\n", 1)
    return parse_project(BASE.format(more=more), path=Path("/nowhere/fraudctl.toml"))


def make_events(n_events: int = 4000, n_frauds: int = 400, *, seed: int = 0, strength: float = 3.0) -> pl.DataFrame:
    """Give events in time order with a ``y_prob`` that ranks fraud higher by ``strength`` standard deviations."""
    rng = np.random.default_rng(seed)
    label = np.zeros(n_events, dtype=np.int8)
    label[rng.choice(n_events, n_frauds, replace=False)] = 1
    seconds = np.sort(rng.integers(0, 7 * 86_400, n_events))
    odds = rng.normal(size=n_events) * 1.5 + strength * label - 4.0
    return pl.DataFrame(
        {
            "event_id": np.arange(n_events),
            "event_time": pl.Series([START] * n_events) + pl.Series(seconds * 1_000_000).cast(pl.Duration("us")),
            "amount": rng.gamma(2.0, 40.0, n_events).round(2),
            "label": label,
            "card": rng.integers(0, max(n_events // 5, 2), n_events),
            "terminal": rng.integers(0, max(n_events // 10, 2), n_events),
            "channel": rng.choice(["web", "shop", "app"], n_events),
            "y_prob": 1 / (1 + np.exp(-odds)),
        }
    )


def score(events: pl.DataFrame, project: Project, *, policy: Policy | None = None) -> pl.DataFrame:
    """Decide the events by their ``y_prob``."""
    y_prob = events["y_prob"].to_numpy()
    return decide_frame(events.drop("y_prob"), y_prob, policy=policy or bare_policy(project), project=project)


def evaluated(scored: pl.DataFrame, project: Project) -> Evaluation:
    """Evaluate scored events with the project's bare policy."""
    policy = bare_policy(project)
    return evaluate(scored, project=project, policy=policy, model="m", as_of=START, period=PERIOD)


def two_actions(tp: float, fp: float, fn: float, tn: float = 0.0) -> CostMatrix:
    """Give allow and block with constant costs."""
    return CostMatrix(("allow", "block"), ((CostCell(tn), CostCell(fn)), (CostCell(fp), CostCell(tp))))
