"""A small decided period whose truth is known: scores are calibrated unless a weakness is planted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fraudctl.costs import cost_matrix, minimum_risk, taken_cost
from fraudctl.evaluate import Replay
from fraudctl.explain.result import Explanation
from fraudctl.explain.run import explain
from fraudctl.policy import bare_policy
from fraudctl.project import Project, parse_project

PROJECT = """
[project]
name = "test"
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "label"
label_delay = "7d"
ignore = ["secret"]
[entities]
card = "card_id"
merchant = "merchant_id"
[features]
protected = ["age"]
[costs.actions]
allow.fraud = { rate = 1.0 }
block.legit = { fixed = 10 }
"""
START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Described:
    """A feature as an explanation knows it."""

    name: str
    family: str = "raw"
    words: str = ""
    entity: str | None = None
    dtype: str = "float"


FEATURES = (
    Described("amount", words="amount"),
    Described("velocity", "window", "events of this card in an hour", "card"),
    Described("merchant_risk", "labels", "known fraud rate of this merchant", "merchant"),
    Described("age", words="age of the holder"),
    Described("channel", words="channel", dtype="category"),
)
WEIGHTS = {"amount": 0.9, "velocity": 1.2, "merchant_risk": 1.5, "age": 0.1}


@dataclass(frozen=True)
class World:
    """Decided events, their history, and the model behind them."""

    project: Project
    scored: pl.DataFrame
    history: pl.DataFrame

    def contribute(self, frame: pl.DataFrame) -> np.ndarray[Any, Any]:
        return contributions(frame)

    def score(self, frame: pl.DataFrame) -> np.ndarray[Any, Any]:
        return 1 / (1 + np.exp(-contributions(frame).sum(axis=1)))

    @property
    def replay(self) -> Replay:
        """The decided events as all there is, under the policy of lowest expected cost."""
        return Replay.of(self.scored, self.scored["y_prob"].to_numpy(), bare_policy(self.project))

    def decide(self, frame: pl.DataFrame, y_prob: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return minimum_risk(cost_matrix(self.project.costs).per_event(frame), y_prob)


def project(text: str = PROJECT) -> Project:
    return parse_project(text, path=Path("/nowhere/fraudctl.toml"))


def contributions(frame: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Additive by construction: one column per feature, the base last."""
    amount = np.log(frame["amount"].to_numpy() / 50.0)
    channel = np.where((frame["channel"] == "web").to_numpy(), 0.3, 0.0)
    parts = {"amount": amount, "velocity": frame["velocity"].fill_null(0.0).to_numpy(),
             "merchant_risk": frame["merchant_risk"].to_numpy(), "age": frame["age"].to_numpy()}  # fmt: skip
    columns = [WEIGHTS[name] * value for name, value in parts.items()] + [channel]
    return np.column_stack([*columns, np.full(frame.height, -5.0)])


def make_world(n: int = 6000, *, seed: int = 0, days: int = 10, **plant: Any) -> World:
    """Draw a period; ``plant`` may set ``missed_channel``, ``flagged_channel`` or ``broken_day``.

    missed_channel
        Frauds of that channel look like legitimate events to the model.
    flagged_channel
        Legitimate events of that channel look like fraud.
    broken_day
        The velocity is zero on that day (from 0).
    """
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, days * 86_400, n))
    frame = pl.DataFrame(
        {
            "event_id": np.arange(n) + 1,
            "event_time": [START + timedelta(seconds=int(s)) for s in seconds],
            "amount": np.round(np.exp(rng.normal(4.0, 0.7, n)), 2),
            "card": rng.integers(0, 300, n),
            "merchant": rng.integers(0, 80, n),
            "velocity": rng.exponential(0.6, n) * (rng.random(n) < 0.5),
            "merchant_risk": rng.exponential(0.8, n) * (rng.random(n) < 0.3),
            "age": rng.normal(0, 1, n),
            "channel": rng.choice(["app", "pos", "web"], n),
            "secret": rng.choice(["a", "b"], n),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    truth = contributions(frame).sum(axis=1) + 1.2
    label = rng.random(n) < 1 / (1 + np.exp(-truth))
    frame = frame.with_columns(label=pl.Series(label.astype(np.int8)))
    frame = frame.with_columns(label_time=pl.col("event_time") + pl.duration(days=7))
    seen = _planted(frame, rng, plant)
    world = World(project(), frame, seen)
    return decided(world, seen, shift=1.2)


def _planted(frame: pl.DataFrame, rng: np.random.Generator, plant: dict[str, Any]) -> pl.DataFrame:
    if "missed_channel" in plant:
        hit = (pl.col("channel") == plant["missed_channel"]) & (pl.col("label") == 1)
        frame = frame.with_columns(
            velocity=pl.when(hit).then(0.0).otherwise("velocity"),
            merchant_risk=pl.when(hit).then(0.0).otherwise("merchant_risk"),
        )
    if "flagged_channel" in plant:
        hit = (pl.col("channel") == plant["flagged_channel"]) & (pl.Series(rng.random(frame.height) < 0.15))
        frame = frame.with_columns(velocity=pl.when(hit).then(3.0).otherwise("velocity"))
    if "broken_day" in plant:
        day = pl.col("event_time").dt.date() == (START + timedelta(days=plant["broken_day"])).date()
        frame = frame.with_columns(
            velocity=pl.when(day).then(0.0).otherwise("velocity"),
            merchant_risk=pl.when(day).then(0.0).otherwise("merchant_risk"),
        )
    return frame


def decided(world: World, frame: pl.DataFrame, *, shift: float = 0.0) -> World:
    """Score, decide and price the events; ``shift`` is the calibration of the raw score."""
    y_prob = 1 / (1 + np.exp(-(contributions(frame).sum(axis=1) + shift)))
    matrix = cost_matrix(world.project.costs)
    codes = minimum_risk(matrix.per_event(frame), y_prob)
    cost = taken_cost(matrix.per_event(frame), codes, frame["label"].to_numpy())
    scored = frame.with_columns(
        y_prob=pl.Series(y_prob), action=pl.Series([matrix.actions[c] for c in codes]), cost=pl.Series(cost)
    )
    return World(world.project, scored, frame)


def explain_world(world: World, **more: object) -> Explanation:
    arguments: dict[str, object] = {"model": "v1", "permutations": 200, "threads": 1, **more}
    return explain(
        world.scored, world.history, project=world.project, features=FEATURES, contribute=world.contribute,
        replay=world.replay, **arguments,
    )  # type: ignore[arg-type]  # fmt: skip


def weighted(world: World, weight: np.ndarray[Any, Any]) -> World:
    """Give the same events, each standing for ``weight`` events."""
    text = PROJECT.replace('label_delay = "7d"\n', 'label_delay = "7d"\nweight = "stands_for"\n')
    return World(project(text), world.scored.with_columns(stands_for=pl.Series(weight)), world.history)
