"""Better model or better data? How well missed frauds can be separated from passed legitimate events.

Owns a diagnosis: a new classifier, cross-validated on whole entities, separates the two, once with today's features and
once with labels in hindsight as well. Neither is achievable in production: the first has seen errors of this period,
the second knows labels that had not arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.explain.campaigns import Around
from fraudctl.explain.scene import Scene
from fraudctl.metrics import roc_auc
from fraudctl.uncertainty import codes_by_appearance

PARAMS: Final = {
    "loss_function": "Logloss", "iterations": 40, "depth": 4, "learning_rate": 0.24, "random_seed": 0,
    "logging_level": "Silent", "allow_writing_files": False, "boosting_type": "Plain", "border_count": 32,
    "metric_period": 40,  # nobody looks at the losses on the way
}  # fmt: skip
MOST_LEGIT: Final = 8_000
FOLDS: Final = 5
AT_RATE: Final = 0.01
"""Share of passed legitimate events that would be alerted as well."""
GOOD: Final = 0.3
GAIN: Final = 0.15


@dataclass(frozen=True)
class Separation:
    """How well two groups are separated, out of fold.

    Attributes
    ----------
    roc_auc
        Chance that a missed fraud scores above a passed legitimate event.
    recall
        Share of the missed frauds found when 1 % of the passed legitimate events are alerted as well.
    cost_recovered
        Money of those frauds.
    """

    roc_auc: float
    recall: float
    cost_recovered: float


@dataclass(frozen=True)
class Autopsy:
    """The three separations and what they point to.

    Attributes
    ----------
    model
        The scores as they are.
    refit
        A model fitted on these errors with today's features.
    hindsight
        The same with labels in hindsight.
    verdict
        ``better_model``: today's features would do; ``better_data``: only labels in hindsight tell them apart;
        ``new_signals``: neither does.
    """

    n_missed: int
    """Missed frauds that were looked at."""
    n_passed: int
    """Allowed legitimate events that they were compared with."""
    model: Separation
    refit: Separation
    hindsight: Separation
    verdict: Literal["better_model", "better_data", "new_signals"]


def dissect(
    scene: Scene,
    *,
    seed: int,
    most_legit: int = MOST_LEGIT,
    threads: int = -1,
    watch: Callable[[str], object] = lambda _: None,
) -> Autopsy:
    """Compare the missed frauds with at most ``most_legit`` legitimate events that passed.

    ``watch`` is called with the name of each step.
    """
    rng = np.random.default_rng([seed, 7])
    passed = np.flatnonzero(scene.passed)
    if len(passed) > most_legit:
        passed = np.sort(rng.choice(passed, most_legit, replace=False))
    rows = np.concatenate([np.flatnonzero(scene.missed), passed])
    y_true = scene.y_true[rows].astype(np.int64)
    fold = _folds(scene, rows, rng)
    today = _matrix(scene, rows)
    later = np.column_stack([today, _hindsight(scene, rows, watch)])
    cost = scene.cost[rows]
    scores = [
        scene.y_prob[rows],
        _cross_fit(today, y_true, fold, threads, watch),
        _cross_fit(later, y_true, fold, threads, watch),
    ]
    model, refit, hindsight = (separation(y_true, score, cost) for score in scores)
    return Autopsy(int(y_true.sum()), len(passed), model, refit, hindsight, _verdict(model, refit, hindsight))


def _verdict(
    model: Separation, refit: Separation, hindsight: Separation
) -> Literal["better_model", "better_data", "new_signals"]:
    if refit.recall >= max(GOOD, model.recall + GAIN):
        return "better_model"
    if hindsight.recall >= max(GOOD, refit.recall + GAIN, model.recall + GAIN):
        return "better_data"
    return "new_signals"


def separation(y_true: IntArray, score: FloatArray, cost: FloatArray) -> Separation:
    """Measure one score; `cost` is the money of each fraud.

    Of the scores that are equal at the cut each counts with the share that brings false positives to exactly
    `AT_RATE`, so that a score with few levels is compared at the same rate as one with many.
    """
    legit, places = np.sort(score[y_true == 0])[::-1], AT_RATE * float((y_true == 0).sum())
    cut = legit[min(int(places), len(legit) - 1)]
    tied = float((legit == cut).sum())
    share = min(max((places - float((legit > cut).sum())) / tied, 0.0), 1.0)
    found = (y_true == 1) * ((score > cut) + share * (score == cut))
    n = int(y_true.sum())
    return Separation(roc_auc(y_true, score), float(found.sum()) / n, float((cost * found).sum()))


def _folds(scene: Scene, rows: IntArray, rng: np.random.Generator) -> IntArray:
    """Keep whole entities in a fold: of the entity whose values repeat most among the missed frauds."""
    missed = scene.scored[np.flatnonzero(scene.missed)]
    counts = {name: missed[name].drop_nulls().n_unique() for name in scene.entities if missed[name].null_count() == 0}
    if not counts:
        return rng.integers(0, FOLDS, len(rows))
    name = min(counts, key=lambda item: counts[item])
    code = codes_by_appearance(scene.scored[name].gather(rows)) + 1
    return np.asarray(rng.integers(0, FOLDS, int(code.max()) + 1)[code], dtype=np.int64)


def _matrix(scene: Scene, rows: IntArray) -> FloatArray:
    """Return the features as numbers; categories become codes in the order of their frequency."""
    columns = []
    for item in scene.features:
        series = scene.scored[item.name].gather(rows)
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            counts = (
                series.drop_nulls().value_counts(sort=True, name="n").sort(["n", item.name], descending=[True, False])
            )
            order = {value: float(i) for i, value in enumerate(counts[item.name].to_list())}
            series = series.replace_strict(order, default=None, return_dtype=pl.Float64)
        columns.append(series.cast(pl.Float64).fill_null(np.nan).to_numpy())
    return np.column_stack(columns)


def _hindsight(scene: Scene, rows: IntArray, watch: Callable[[str], object]) -> FloatArray:
    """Count the other frauds of each entity around the event, and their share, with labels of all times."""
    known = scene.labelled
    events = scene.scored[rows]
    columns = []
    for name in scene.entities:
        watch(f"frauds around each {name}")
        found = Around.of(events, known, name)
        for days in (1.0, 7.0, 14.0):
            n, frauds = found.within(days)
            columns += [frauds, (frauds + 0.01) / (n + 1.0)]
    return np.column_stack(columns) if columns else np.zeros((len(rows), 0))


def _cross_fit(
    table: FloatArray, y_true: IntArray, fold: IntArray, threads: int, watch: Callable[[str], object]
) -> FloatArray:
    from fraudctl.boosting import CatBoost, Pool

    score = np.zeros(len(y_true))
    for k in range(FOLDS):
        watch(f"fit {k + 1} of {FOLDS}, {table.shape[1]} columns")
        fit, rest = fold != k, fold == k
        if not rest.any() or y_true[fit].sum() == 0 or table.shape[1] == 0:
            continue
        model = CatBoost({**PARAMS, "thread_count": threads})
        model.fit(Pool(table[fit], y_true[fit]))
        score[rest] = model.predict(table[rest], prediction_type="RawFormulaVal")
    return score
