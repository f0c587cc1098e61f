"""What a model has to beat: scores that cost nothing, made on the same rows in the same run.

Owns the baselines (the amount alone, the best label rate alone, a logistic regression on the same features) as log-odds
for the validation rows of a fold. It compares nothing; that is `fraudctl.train.objective`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.calibrate import fit_calibrator, log_odds, undo_sampling
from fraudctl.metrics.ranking import average_precision
from fraudctl.progress import Watch, unwatched
from fraudctl.train.model import MISSING, ModelColumns
from fraudctl.weights import in_events

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

AMOUNT: Final = "amount alone"
LABEL_RATE: Final = "label rate alone"
LOGISTIC: Final = "logistic regression"
CHAMPION: Final = "champion"

_LABEL_FEATURE = re.compile(r".+_(smoothed_rate|fraud_rate|fraud_count)_\d+[smhdw]")
_MOST_DUMMIES = 30
_ROWS_AT_ONCE = 16_384
_MOST_LEGIT: Final = 100_000
"""Legitimate rows that the logistic regression is fitted on: its 300 coefficients do not need more."""


@dataclass(frozen=True)
class BaselineRows:
    """The rows of one fold that baselines are fitted on and judged on.

    Attributes
    ----------
    train
        All frauds and a share ``kept`` of the legitimate rows of the training period.
    weight
        Weights of ``train``, shape ``(n_train,)``.
    valid
        Validation rows.
    columns
        The model's features, with vocabularies learned from the fold's training rows.
    """

    train: pl.DataFrame
    weight: FloatArray
    kept: float
    valid: pl.DataFrame
    columns: ModelColumns


def baseline_scores(rows: BaselineRows, *, watch: Watch = unwatched) -> dict[str, FloatArray]:
    """Return the log-odds of every baseline that the data allow for ``rows.valid``, each of shape ``(n_valid,)``.

    One column alone becomes log-odds by a logistic fit on the training rows; that keeps its order, so a ranking by it
    is a ranking by the column. Nulls count as the least value. ``watch`` is called with each step before it begins.
    """
    scores = {}
    if "amount" in rows.train.columns:
        watch(AMOUNT)
        scores[AMOUNT] = _one_column(rows, "amount")
    rate = _best_label_rate(rows, watch)
    if rate is not None:
        scores[LABEL_RATE] = _one_column(rows, rate)
    scores[LOGISTIC] = logistic_scores(rows, watch=watch)
    return scores


def label_features(names: Sequence[str]) -> list[str]:
    """Return the features that say how often an entity was fraudulent, by their names."""
    return [name for name in names if _LABEL_FEATURE.fullmatch(name)]


def _best_label_rate(rows: BaselineRows, watch: Watch) -> str | None:
    """Name the label feature that ranks the training rows best; None where there is none."""
    y_true = rows.train["label"].to_numpy()
    names = [name for name in label_features(rows.columns.names) if name in rows.train.columns]
    ranked = []
    for i, name in enumerate(names):
        watch(f"label rate {i + 1} of {len(names)}")
        ranked.append((average_precision(y_true, _column(rows.train, name), weight=rows.weight), name))
    return max(ranked)[1] if ranked else None


def _column(frame: pl.DataFrame, name: str) -> FloatArray:
    values = frame[name].cast(pl.Float64)
    least = values.min()
    return np.asarray(values.fill_null(0.0 if least is None else least).to_numpy(), dtype=np.float64)


def _one_column(rows: BaselineRows, name: str) -> FloatArray:
    train, valid = _column(rows.train, name), _column(rows.valid, name)
    fitted = fit_calibrator(rows.train["label"].to_numpy(), train, method="logistic", weight=rows.weight)
    if fitted is None:
        return valid
    slope, intercept = fitted.parameters
    return undo_sampling(slope * valid + intercept, kept=rows.kept)


def logistic_scores(rows: BaselineRows, *, watch: Watch = unwatched) -> FloatArray:
    """Fit a ridge logistic regression on the model's features and give the log-odds of the validation rows.

    Numbers are put on a signed logarithmic scale and standardised, with a column that marks nulls; of a category the
    most frequent values get a column each. It runs in one thread, so that its sums do not depend on the machine.
    Of more than 100,000 legitimate training rows it takes that number, evenly spaced, each with the weight of those it
    stands for; the columns' means and spreads are those of the rows that it takes. Rows are scored some at a time, so
    that their design is never held whole. ``watch`` is called with each step before it begins.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    spelled = {name: rows.columns.levels(name)[:-2] for name in rows.columns.categorical}
    y_true = rows.train["label"].to_numpy()
    if len(np.unique(y_true[rows.weight > 0])) < 2:
        return np.full(rows.valid.height, log_odds(np.array([y_true.mean()]))[0])
    watch(f"{LOGISTIC}, fitting")
    taken, weight = thinned(y_true, rows.weight)
    train = rows.columns.matrix(rows.train[taken])
    design = _Design.learn(train, spelled)
    with threadpool_limits(limits=1):
        model = LogisticRegression(C=1.0, max_iter=300, tol=1e-4)
        model.fit(design.apply(train), y_true[taken], sample_weight=in_events(weight))
        scores = _scored(model, design, rows.columns.matrix(rows.valid), watch)
    return undo_sampling(scores, kept=rows.kept)


def _scored(model: LogisticRegression, design: _Design, matrix: pl.DataFrame, watch: Watch) -> FloatArray:
    """Return the log-odds of rows, shape ``(n_events,)``."""
    scores = np.empty(matrix.height)
    for start in range(0, matrix.height, _ROWS_AT_ONCE):
        watch(f"{LOGISTIC}, {start:,} rows scored")
        some = slice(start, start + _ROWS_AT_ONCE)
        scores[some] = model.decision_function(design.apply(matrix[some]))
    return scores


def thinned(y_true: IntArray, weight: FloatArray, *, most: int = _MOST_LEGIT) -> tuple[IntArray, FloatArray]:
    """Return the positions and weights of all frauds and of at most ``most`` legitimate rows, in the rows' order.

    The legitimate rows are evenly spaced, and their weights are scaled so that they sum to that of all of them.

    Parameters
    ----------
    y_true, weight
        Shape ``(n_events,)``; only rows with a weight above zero count and are taken.
    """
    legit = np.flatnonzero((y_true == 0) & (weight > 0))
    if len(legit) <= most:
        return np.arange(len(y_true)), weight
    chosen = legit[np.linspace(0, len(legit) - 1, most).astype(np.int64)]
    scaled = weight.copy()
    scaled[chosen] *= weight[legit].sum() / weight[chosen].sum()
    taken = np.sort(np.concatenate([np.flatnonzero(y_true == 1), chosen]))
    return taken, scaled[taken]


@dataclass(frozen=True)
class _Design:
    """How features become the columns of a linear model."""

    numbers: Mapping[str, tuple[float, float]]
    dummies: Mapping[str, tuple[str, ...]]

    @classmethod
    def learn(cls, matrix: pl.DataFrame, vocabularies: Mapping[str, Sequence[str]]) -> _Design:
        numbers = {}
        for name in matrix.columns:
            if name not in vocabularies:
                values = _signed_log(matrix[name])
                known = values[np.isfinite(values)]
                spread = float(known.std()) if len(known) else 0.0
                numbers[name] = (float(known.mean()) if len(known) else 0.0, spread)
        dummies = {name: (MISSING, *values[:_MOST_DUMMIES]) for name, values in vocabularies.items()}
        return cls(numbers, {name: tuple(values) for name, values in dummies.items()})

    def apply(self, matrix: pl.DataFrame) -> FloatArray:
        """Return the design, shape ``(n_events, n_columns)``, filled some rows at a time."""
        out = np.empty((matrix.height, 2 * len(self.numbers) + sum(map(len, self.dummies.values()))))
        for start in range(0, matrix.height, _ROWS_AT_ONCE):
            self._fill(out[start : start + _ROWS_AT_ONCE], matrix[start : start + _ROWS_AT_ONCE])
        return out

    def _fill(self, out: FloatArray, matrix: pl.DataFrame) -> None:
        at = 0
        for name, (mean, spread) in self.numbers.items():
            values = _signed_log(matrix[name])
            unknown = ~np.isfinite(values)
            out[:, at] = np.where(unknown, 0.0, (values - mean) / spread) if spread > 0 else 0.0
            out[:, at + 1] = unknown
            at += 2
        for name, known in self.dummies.items():
            texts = matrix[name]
            for value in known:
                out[:, at] = (texts == value).to_numpy()
                at += 1


def _signed_log(values: pl.Series) -> FloatArray:
    numbers = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)), dtype=np.float64)
