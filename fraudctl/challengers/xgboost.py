"""XGBoost as a challenger: ``entry = "fraudctl.challengers.xgboost"``; categories are XGBoost's own.

``params`` go to XGBoost as they are; ``trees`` is the number of trees (100). Needs XGBoost (``pip install xgboost``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.challengers.contract import LABEL, WEIGHT, ChallengerFacts, as_numbers

_FILE = "model.json"


def fit(train: pl.DataFrame, _context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> None:
    """Fit on rows with labels and weights, and write XGBoost's JSON."""
    import xgboost

    given = {"objective": "binary:logistic", "seed": facts.seed, "nthread": facts.threads, **facts.params}
    trees = int(given.pop("trees", 100))
    data = _matrix(train, facts, label=train[LABEL].to_numpy(), weight=train[WEIGHT].to_numpy())
    xgboost.train(given, data, trees).save_model(model / _FILE)


def score(rows: pl.DataFrame, _context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> FloatArray:
    """Return the log-odds of rows."""
    import xgboost

    booster = xgboost.Booster({"nthread": facts.threads}, model_file=model / _FILE)
    found: FloatArray = booster.predict(_matrix(rows, facts), output_margin=True)
    return found


def _matrix(rows: pl.DataFrame, facts: ChallengerFacts, **more: Any) -> Any:
    import xgboost

    kinds = ["q" if item.levels is None else "c" for item in facts.features]
    return xgboost.DMatrix(as_numbers(rows, facts), feature_types=kinds, enable_categorical=True, **more)
