"""Logistic regression as a challenger: ``entry = "fraudctl.challengers.logistic"``.

Numbers are put on a signed logarithmic scale and standardised, with a column that marks nulls; every level of a
category has a column. ``params``: ``C``, the inverse of the ridge penalty (0.1).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.challengers.contract import LABEL, WEIGHT, ChallengerFacts

_FILE = "coefficients.json"


def fit(train: pl.DataFrame, _context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> None:
    """Fit on rows with labels and weights, and write the coefficients as JSON."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    numbers = _logarithmic(train, facts)
    mean = np.nan_to_num(np.nanmean(numbers, axis=0)) if len(facts.numbers) else np.empty(0)
    spread = np.nan_to_num(np.nanstd(numbers, axis=0)) if len(facts.numbers) else np.empty(0)
    learned = {"mean": mean.tolist(), "spread": np.where(spread > 0, spread, 1.0).tolist()}
    weight = train[WEIGHT].to_numpy()
    with threadpool_limits(limits=1):
        fitted = LogisticRegression(C=float(facts.params.get("C", 0.1)), max_iter=500).fit(
            _design(train, facts, learned), train[LABEL].to_numpy(), sample_weight=weight / weight.mean()
        )
    learned |= {"slopes": fitted.coef_[0].tolist(), "intercept": [float(fitted.intercept_[0])]}
    (model / _FILE).write_text(json.dumps(learned), encoding="utf-8")


def score(rows: pl.DataFrame, _context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> FloatArray:
    """Return the log-odds of rows."""
    learned = json.loads((model / _FILE).read_text(encoding="utf-8"))
    slopes, intercept = np.array(learned["slopes"]), learned["intercept"][0]
    return np.asarray((_design(rows, facts, learned) * slopes).sum(axis=1) + intercept, dtype=np.float64)


def _logarithmic(rows: pl.DataFrame, facts: ChallengerFacts) -> FloatArray:
    values = np.empty((rows.height, len(facts.numbers)))
    for k, name in enumerate(facts.numbers):
        values[:, k] = rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)), dtype=np.float64)


def _design(rows: pl.DataFrame, facts: ChallengerFacts, learned: dict[str, list[float]]) -> FloatArray:
    """Return standardised numbers (0 where null), marks of nulls, and a column per level of each category."""
    values = (_logarithmic(rows, facts) - np.array(learned["mean"])) / np.array(learned["spread"])
    parts = [np.nan_to_num(values), np.isnan(values).astype(np.float64)]
    for name, levels in facts.categories.items():
        parts.append(np.eye(len(levels))[rows[name].cast(pl.Enum(levels)).to_physical().to_numpy()])
    return np.concatenate(parts, axis=1)
