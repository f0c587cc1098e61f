"""LightGBM as a challenger: ``entry = "fraudctl.challengers.lightgbm"``; categories are LightGBM's own.

``params`` go to LightGBM as they are; ``trees`` is the number of trees (100). Needs LightGBM (extra ``blend``).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.challengers.contract import LABEL, WEIGHT, ChallengerFacts, as_numbers

_FILE = "model.txt"


def fit(train: pl.DataFrame, _context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> None:
    """Fit on rows with labels and weights, and write LightGBM's text."""
    import lightgbm

    given = {
        "objective": "binary", "verbosity": -1, "seed": facts.seed, "num_threads": facts.threads, "deterministic": True,
        "force_row_wise": True, **facts.params,
    }  # fmt: skip
    trees = int(given.pop("trees", 100))
    rows = lightgbm.Dataset(
        as_numbers(train, facts), train[LABEL].to_numpy(), weight=train[WEIGHT].to_numpy(), params=given,
        feature_name=[f"f{k}" for k in range(len(facts.features))],
        categorical_feature=[k for k, item in enumerate(facts.features) if item.levels is not None],
    )  # fmt: skip
    booster = lightgbm.train(given, rows, trees)
    (model / _FILE).write_text(booster.model_to_string(num_iteration=-1), encoding="utf-8")


def score(rows: pl.DataFrame, _context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> FloatArray:
    """Return the log-odds of rows."""
    import lightgbm

    booster = lightgbm.Booster(model_str=(model / _FILE).read_text(encoding="utf-8"))
    found: FloatArray = booster.predict(as_numbers(rows, facts), raw_score=True, num_threads=facts.threads)
    return found
