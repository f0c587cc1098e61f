"""From a feature table to a trained, calibrated model and the predictions that its policy is chosen on.

Owns the order of the work: rehearse on folds, search, refit the folds in full, take the tree count from them, fit the
final model on everything that was known, calibrate. It chooses no policy and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fraudctl.data.labels import CHANGES
from fraudctl.progress import Steps
from fraudctl.train.blending import Blended, Blending, Drawn, others_of
from fraudctl.train.cautions import FIRST_LOOK, cap_sentence, capped_trees, out_of_range, range_sentence
from fraudctl.train.growing import Growing
from fraudctl.train.job import ChampionModel, Job, ModelFeatures, TrainedModel
from fraudctl.train.model import (
    ModelColumns,
    average_models,
    best_trees,
    check_monotone,
    feature_shares,
    fit_model,
    make_pool,
    mean_score,
    member_seeds,
    quantize,
)
from fraudctl.train.tune import Rehearsal, Tuned, Tuner

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from fraudctl.boosting import CatBoost, Pool
    from fraudctl.progress import Progress
    from fraudctl.project import Project
    from fraudctl.split import Fold, Split

FAST_LEARNING_RATE: Final = 0.2
FAST_ITERATIONS: Final = FIRST_LOOK


def fast_project(project: Project) -> Project:
    """Return the project as it is trained for a first look: two folds at most, no search, one model, few large steps.

    The result is a model like any other; its bundle tells by its training summary that nothing was searched.
    """
    params = project.train.params.model_copy(
        update={"learning_rate": max(project.train.params.learning_rate, FAST_LEARNING_RATE)}
    )
    train = project.train.model_copy(
        update={
            "trials": 0,
            "models": 1,
            "partner": "none",
            "iterations": min(project.train.iterations, FAST_ITERATIONS),
            "params": params,
        }
    )
    split = project.split.model_copy(update={"folds": min(project.split.folds, 2)})
    return project.model_copy(update={"train": train, "split": split})


def fit_project(
    table: pl.DataFrame,
    features: ModelFeatures,
    project: Project,
    split: Split,
    *,
    trials: int | None = None,
    seed: int | None = None,
    journal: Path | None = None,
    keep: Collection[str] = (),
    champion: ChampionModel | None = None,
    progress: Progress,
) -> TrainedModel:
    """Tune, fit and calibrate a model of ``table`` as ``split`` allows.

    Parameters
    ----------
    table
        The feature table: roles, entities, carried columns and features, sorted by event_time, then event_id.
    features
        Names in model order, and which of them are categories.
    project
        Gives ``[train]``, ``[costs]`` (for the objective savings) and the entities.
    split
        What may be known; from `fraudctl.split.make_split`.
    trials, seed
        Override ``[train] trials`` and ``seed``.
    journal
        File that keeps the trials, so that a killed search resumes; None keeps them in memory.
    keep
        Further columns to carry into the predictions: those that costs and rules read.
    champion
        The model in use, compared on the folds that begin at or after its as_of; its features must be in ``table``.
    progress
        Is called with the step that begins.

    Raises
    ------
    DataError
        No usable feature, or folds that cannot rank trials.
    ProjectError
        A monotone constraint on a feature that is not there.
    """
    job = _Job(table, features, project, split, project.train.seed if seed is None else seed, progress, champion)
    return job.run(project.train.trials if trials is None else trials, journal, keep)


class _Job(Job):
    """One run of `fit_project`."""

    shares: NDArray[np.float64]
    """Feature importance of the latest fold's CatBoost model."""

    def run(self, trials: int, journal: Path | None, keep: Collection[str]) -> TrainedModel:
        final_columns = self._columns(self.split.train)
        blending = Blending(self.table, self.settings, self.seed, self.progress, self._columns, self._drawn)
        check_monotone(self.settings, final_columns)
        self._warn_useless(final_columns)
        tuned = self._tune(trials, journal)
        scores, trees, unseen = self._fit_folds(tuned.params)
        judged = [self._judged(fold) for fold in self.split.folds]
        blended = blending.rehearse(self.objective, self.split.folds, judged, scores, unseen)
        scores, unseen = blended.scores, blended.unseen
        self._warn_range(blended)
        self.progress.stage("final fit")
        n_trees = max(1, int(np.median(trees)))
        growing = self._growing(1, n_trees, what="model")
        model = average_models(
            self._fit(final_columns, self.split.train, tuned.params, growing, None, iterations=n_trees)
        )
        growing.end()
        partner, told = blending.final(self.split.train, blended)
        self.progress.stage("calibrating")
        steps = Steps(self.progress, 3)
        steps.begin("choosing the method")
        fold_rows = self._fold_rows(keep)
        choice = self._calibrate(fold_rows, np.concatenate(scores))
        steps.begin("predictions of the folds")
        predictions = self._predictions(fold_rows, np.concatenate(scores), choice, np.concatenate(unseen), keep)
        baselines = self._baselines(scores)
        self.progress.update(1, 1, "summary")
        summary = replace(
            self._summary(scores, choice, baselines, trees),
            tuning=tuned.summary,
            params=tuned.params,
            models=self.settings.models,
            fit_negatives=self._share(self.split.train, self.settings.fit_negatives, self._known()),
            trees=n_trees,
            partner=told,
        )
        return TrainedModel(
            model,
            final_columns,
            choice.calibrator,
            predictions,
            tuned.params,
            n_trees,
            summary,
            partner,
            blending.seconds,
        )

    def _tune(self, trials: int, journal: Path | None) -> Tuned:
        self.progress.stage("preparing folds")
        needed = trials > 0 and bool(self.settings.search)
        rehearsals = [self._rehearse(fold) for fold in self.split.folds] if needed else []
        self.progress.stage("tuning")
        tuner = Tuner(rehearsals, self.objective, self.settings, self.seed, self.progress)
        return tuner.run(n_trials=trials, journal=journal, name=self._study_name() if needed else "")

    def _rehearse(self, fold: Fold) -> Rehearsal:
        """Sample a fold and quantise it once for all trials."""
        columns = self._columns(fold.train)
        label = self._known(fold)
        share = self._share(fold.train, self.settings.keep_negatives, label)
        sampled, kept = self._sample(fold.train, share, [self.seed, fold.number, 0], label)
        stop, _ = self._sample(fold.valid, kept, [self.seed, fold.number, 1], self._known())
        train = quantize(self._pool(columns, sampled, label))
        stopping, valid = (self._pool(columns, rows, self._known()) for rows in (stop, fold.valid))
        return Rehearsal(train, stopping, valid, self._judged(fold), kept)

    def _drawn(self, rows: NDArray[np.bool_], fold: Fold | None) -> Drawn:
        """Return the rows that the first model of a recipe is fitted on, for a fold or (None) the final model."""
        number, label = 0 if fold is None else fold.number, self._known(fold)
        share = self._share(rows, self.settings.fit_negatives, label)
        sampled, kept = self._sample(rows, share, [self.seed, number, 2, 0], label)
        weight = None if self.fit_weight is None else self.fit_weight[sampled]
        return Drawn(sampled, label.filter(sampled).to_numpy(), weight, kept)

    def _pool(self, columns: ModelColumns, rows: NDArray[np.bool_], label: pl.Series) -> Any:
        weight = None if self.fit_weight is None else self.fit_weight[rows]
        return make_pool(columns, self.table, rows=rows, label=label.filter(rows).to_numpy(), weight=weight)

    def _fit(
        self,
        columns: ModelColumns,
        rows: NDArray[np.bool_],
        params: dict[str, float],
        growing: Growing,
        fold: Fold | None,
        *,
        iterations: int,
        stop: Any = None,
    ) -> list[CatBoost]:
        """Fit the models of one recipe for a fold (None: the final model), log-odds corrected for sampling."""
        number, label = 0 if fold is None else fold.number, self._known(fold)
        share = self._share(rows, self.settings.fit_negatives, label)
        alike = share == 1.0 or bool(columns.categorical)
        models: list[CatBoost] = []
        first = pool = None
        for i, seed in enumerate(member_seeds(self.seed, self.settings.models)):
            growing.begin("reading the rows")
            if pool is None or not alike:
                sampled, kept = self._sample(rows, share, [self.seed, number, 2, i], label)
                read = self._pool(columns, sampled, label)
                growing.doing("finding the borders of columns")
                pool = quantize(read, like=first)
                first = first or pool
                growing.doing("growing the first tree")
            model = fit_model(
                pool, params, settings=self.settings, iterations=iterations, seed=seed, valid=stop, watch=growing.tree
            )
            if kept < 1.0:
                model.set_scale_and_bias(1.0, float(np.log(kept)))
            models.append(model)
        return models

    def _growing(self, n_recipes: int, n_trees: int, *, what: str) -> Growing:
        n_fits = n_recipes * self.settings.models
        return Growing(self.progress, n_fits=n_fits, n_trees=n_trees, what=what)

    def _fit_fold(self, fold: Fold, params: dict[str, float], growing: Growing) -> tuple[list[CatBoost], Pool]:
        """Fit a fold, stopping early on validation rows sampled likewise; gives the pool of all of these besides."""
        columns = self._columns(fold.train)
        known = self._known()
        valid = self._pool(columns, fold.valid, known)
        share = self._share(fold.train, self.settings.fit_negatives, self._known(fold))
        sampled, kept = self._sample(fold.valid, share, [self.seed, fold.number, 3], known)
        stop = valid if kept == 1.0 else self._pool(columns, sampled, known)
        iterations = self.settings.iterations
        models = self._fit(columns, fold.train, params, growing, fold, iterations=iterations, stop=stop)
        return models, valid

    def _fit_folds(
        self, params: dict[str, float]
    ) -> tuple[list[NDArray[np.float64]], list[int], list[NDArray[np.float64]]]:
        """Fit every fold; score its validation rows with as many trees as the final model will have.

        The last are the scores of the events of `others_of`, which have no known label.
        """
        self.progress.stage("fitting folds")
        growing = self._growing(len(self.split.folds), self.settings.iterations, what="fit")
        fitted = [self._fit_fold(fold, params, growing) for fold in self.split.folds]
        trees = [int(np.median([best_trees(model) for model in models])) for models, _ in fitted]
        n_trees = max(1, int(np.median(trees)))
        growing.end()
        self._warn_fits([models for models, _ in fitted])
        scores = [mean_score(models, valid, trees=n_trees) for models, valid in fitted]
        unseen = [
            self._score_others(models, fold, n_trees)
            for (models, _), fold in zip(fitted, self.split.folds, strict=True)
        ]
        return scores, trees, unseen

    def _warn_fits(self, fitted: Sequence[Sequence[CatBoost]]) -> None:
        """Warn of folds that were ended by the cap on trees."""
        cap = self.settings.iterations
        capped = capped_trees(fitted, iterations=cap, patience=self.settings.early_stopping)
        self.shares = feature_shares(fitted[-1][0])
        text = cap_sentence(capped, folds=len(fitted), iterations=cap)
        if text is not None:
            self._warn(text)

    def _warn_range(self, blended: Blended) -> None:
        """Warn of features that leave their training range in the latest fold; a split by chance has no later rows."""
        if self.split.by_chance is not None:
            return
        fold, shares = self.split.folds[-1], self.shares
        if blended.latest is not None:
            shares = blended.latest.shares(shares)
        columns = self._columns(fold.train)
        self.out_of_range = out_of_range(self.table, columns, shares, train=fold.train, later=fold.valid)
        text = range_sentence(self.out_of_range)
        if text is not None:
            self._warn(text)

    def _score_others(self, models: Sequence[CatBoost], fold: Fold, n_trees: int) -> NDArray[np.float64]:
        rows = others_of(fold)
        if not rows.any():
            return np.empty(0, dtype=np.float64)
        return mean_score(models, make_pool(self._columns(fold.train), self.table, rows=rows), trees=n_trees)

    def _study_name(self) -> str:
        """Hash everything that a trial depends on, so that a journal is only resumed by the same search."""
        settings = self.settings.model_dump(mode="json", exclude={"trials", "threads", "partner"})
        told = [
            settings,
            self.features.names,
            self.seed,
            self.project.costs.model_dump(mode="json"),
            version("catboost"),
            self.objective.base_rule,
        ]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for fold in self.split.folds:
            digest.update(np.packbits(fold.train).tobytes() + np.packbits(fold.valid).tobytes())
        columns = ["label", *self.features.names]
        used = np.logical_or.reduce([fold.train | fold.valid for fold in self.split.folds])
        digest.update(self.table.select(columns).filter(used).hash_rows(seed=0).to_numpy().tobytes())
        digest.update(b"" if self.weight is None else self.weight[used].tobytes())
        for fold in self.split.folds if CHANGES in self.table.columns else ():
            digest.update(self._known(fold).filter(fold.train).to_numpy().tobytes())
        return digest.hexdigest()[:16]
