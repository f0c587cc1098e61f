"""Scores from elsewhere on small data: no bundle, no folds, rows counted within the period, every rate in [0, 1]."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.documents.results import as_object
from fraudctl.errors import DataError
from fraudctl.project import load_project
from fraudctl.workflows.evaluate import evaluate_model

TOML = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "1d"
[entities]
card = "card"
[split]
as_of = 2026-01-06
test = "5d"
[evaluate]
segments = ["channel"]
"""
RATES = {
    "precision", "recall", "value_recall", "alert_rate", "false_positive_rate", "roc_auc", "average_precision",
    "brier", "ece", "precision_at_k", "recall_at_k", "fpr", "tpr", "rate", "fraud_rate", "share",
}  # fmt: skip


def world(folder: Path, seed: int, *, n: int = 600, levels: int = 4) -> pl.DataFrame:
    """Write a project of twelve days whose scores tie; return its events."""
    rng = np.random.default_rng(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({
        "id": [f"e{i}" for i in range(n)],
        "at": [start + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, 12 * 86_400, n))],
        "amount": rng.lognormal(3, 1, n).round(2), "card": rng.integers(0, 40, n),
        "channel": [["app", "web", None][k] for k in rng.integers(0, 3, n)],
        "fraud": (rng.random(n) < 0.1).astype(np.int8),
    })  # fmt: skip
    frame.write_parquet(folder / "events.parquet")
    (folder / "fraudctl.toml").write_text(TOML, encoding="utf-8")
    score = np.clip(rng.integers(0, levels, n) / levels + 0.1 * frame["fraud"].to_numpy(), 0, 1)
    frame.select("id", y_prob=pl.Series(score)).write_parquet(folder / "scores.parquet")
    return frame


def evaluation(folder: Path) -> dict[str, object]:
    project = load_project(folder)
    return as_object(evaluate_model(project, scores=folder / "scores.parquet", gate=False, report=False))


def rates(value: object, name: str = ""):
    """Yield every number that is, or bounds, a rate."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from rates(item, name if key in {"value", "low", "high"} else str(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from rates(item, name)
    elif isinstance(value, float) and name in RATES:
        yield name, value


@pytest.mark.parametrize("seed", range(4))
def test_every_rate_of_an_evaluation_lies_between_0_and_1(tmp_path, seed):
    world(tmp_path, seed, levels=1 + seed)
    found = list(rates(evaluation(tmp_path)))
    assert len({name for name, _ in found}) > 5
    assert [item for item in found if not 0.0 <= item[1] <= 1.0] == []


def test_twelve_days_are_enough_for_scores_without_a_bundle_and_duplicates_are_those_of_the_period(tmp_path):
    frame = world(tmp_path, 1)
    before = frame.filter(pl.col("at") < datetime(2026, 1, 6, tzinfo=UTC)).head(7)
    inside = frame.filter(pl.col("at") >= datetime(2026, 1, 7, tzinfo=UTC)).head(3)
    pl.concat([frame, before, inside, inside.head(1)]).write_parquet(tmp_path / "events.parquet")
    assert evaluation(tmp_path)["excluded"]["duplicates"] == 4


def test_scores_with_an_empty_id_are_refused(tmp_path):
    frame = world(tmp_path, 2)
    scores = pl.DataFrame({"event_id": ["", *frame["id"].to_list()[1:]], "y_prob": 0.5})
    scores.write_parquet(tmp_path / "scores.parquet")
    with pytest.raises(DataError, match="1 event ids are null or empty"):
        evaluation(tmp_path)
