"""Stationary worlds in which declined events never get a label: nothing has changed, so nothing fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.errors import DataError
from fraudctl.evaluate import Period, Replay, Stretch, evaluate
from fraudctl.gate import Reference, judge
from fraudctl.policy import bare_policy
from fraudctl.populations import Population, comparable, require_same_events
from fraudctl.project import Project, parse_project

START = datetime(2026, 3, 2, tzinfo=UTC)
PROJECT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "t"
amount = "a"
label = "l"
label_delay = "7d"
[entities]
card = "c"
[costs.actions]
allow.fraud = { fixed = 15, rate = 1.0 }
block.legit = { fixed = 8 }
[evaluate]
replicates = 100
[gate]
checks = false
min_frauds = 20
savings = { at_least = 0.0001 }
drift = { calibration = false }
"""


def world(seed: int, n: int = 4000, n_days: int = 14) -> tuple[pl.DataFrame, np.ndarray]:
    """Events of a world that does not change; what an old rule declined (a tenth, at high risk) has no label."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    y_prob = 1 / (1 + np.exp(3.5 - 1.2 * risk))
    declined = risk + rng.normal(0, 0.3, n) > 1.3
    label = pl.Series((rng.random(n) < y_prob).astype(np.int8)).set(pl.Series(declined), None)
    hours = np.sort(rng.uniform(0, 24 * n_days, n))
    frame = pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": [START + timedelta(hours=float(h)) for h in hours],
            "amount": rng.gamma(2.0, 20.0, n).round(2),
            "label": label,
            "card": rng.integers(0, n // 5, n),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    return frame, y_prob


def verdict(project: Project, frame: pl.DataFrame, y_prob: np.ndarray, *, labelled_only: bool = False) -> str:
    policy = bare_policy(project)
    first = (frame["event_time"] < START + timedelta(days=7)).to_numpy()
    parts = []
    for rows in (first, ~first):
        events = frame.filter(rows)
        none = np.zeros(events.height, dtype=bool)
        judged = events["label"].is_not_null().to_numpy()
        parts.append(Replay((Stretch(events, y_prob[rows], policy, none),), judged))
    scored = parts[1].judge(project)
    reference = Reference(parts[0].decided(project), scored if labelled_only else parts[1].decided(project))
    period = Period(START + timedelta(days=7), START + timedelta(days=14))
    found = evaluate(scored, project=project, policy=policy, model="m", as_of=START, period=period)
    gate = judge(found, scored, project=project, policy=policy, replay=parts[1], reference=reference).gate
    return next(rule.verdict for rule in gate.rules if rule.name == "drift.scores")


def test_a_stationary_world_with_selective_labels_does_not_fail() -> None:
    project = parse_project(PROJECT, path=Path("/nowhere/fraudctl.toml"))
    worlds = [world(seed) for seed in range(20)]
    found = [verdict(project, *item) for item in worlds]
    assert found.count("fail") <= 1  # 20 trials at 1 %; two or more have a chance of 2 in 100
    assert found.count("pass") >= 15
    mixed = [verdict(project, *item, labelled_only=True) for item in worlds]
    assert mixed.count("fail") >= 18  # what one rule for both sides prevents


def test_both_sides_are_filtered_by_one_rule() -> None:
    frame, y_prob = world(0, 200)
    scored = frame.with_columns(y_prob=pl.Series(np.where(np.arange(200) % 7 == 0, np.nan, y_prob)))
    for population in Population:
        found = comparable(scored[:120], scored[120:], population)
        assert found.before.equals(scored[:120].filter(population.rows(scored[:120])))
        assert found.now.equals(scored[120:].filter(population.rows(scored[120:])))
    labelled = comparable(scored[:120], scored[120:], Population.LABELLED)
    assert all(side["label"].null_count() == 0 for side in labelled.both)
    decided = comparable(scored[:120], scored[120:], Population.DECIDED)
    assert sum(side.height for side in decided.both) == 200 - 29
    with pytest.raises(DataError, match="no column 'y_prob'"):
        comparable(scored, frame, Population.DECIDED)


def test_two_models_are_compared_on_the_same_events() -> None:
    frame, _ = world(0, 50)
    require_same_events(frame, frame, names=("a", "b"))
    with pytest.raises(DataError, match="a and b were scored on other events"):
        require_same_events(frame, frame[::-1], names=("a", "b"))
