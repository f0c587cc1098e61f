"""From a feature table to a trained, calibrated model and the predictions that its policy is chosen on.

Owns the order of the work: rehearse on folds, search, refit the folds in full, take the tree count from them, fit the
final model on everything that was known, calibrate. It chooses no policy and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import polars as pl

from fraudctl.calibrate import CalibrationChoice, Calibrator, choose_calibrator, cross_calibrated, log_odds
from fraudctl.data.labels import CHANGES, as_known, known_labels
from fraudctl.data.tables import NO_TIME, known_time
from fraudctl.errors import DataError
from fraudctl.train.baselines import CHAMPION, BaselineRows, baseline_scores
from fraudctl.train.blending import Blended, Blending, Drawn, others_of
from fraudctl.train.cautions import FIRST_LOOK, cap_sentence, capped_trees, constant, out_of_range, range_sentence
from fraudctl.train.growing import Growing
from fraudctl.train.model import (
    ModelColumns,
    Scorer,
    average_models,
    best_trees,
    check_monotone,
    feature_shares,
    fit_model,
    learn_columns,
    make_pool,
    mean_score,
    member_seeds,
    predict,
    quantize,
)
from fraudctl.train.objective import FoldRows, Objective, entity_groups, gain_of, jackknifed, judge_rows, make_objective
from fraudctl.train.report import calibration_report
from fraudctl.train.summary import (
    BaselineGain,
    CalibrationReport,
    CalibrationSummary,
    FoldSummary,
    OutOfRange,
    RowCounts,
    TrainingSummary,
)
from fraudctl.train.tune import Rehearsal, Tuned, Tuner
from fraudctl.weights import WEIGHT, event_weights

if TYPE_CHECKING:
    from catboost import CatBoost, Pool
    from numpy.typing import NDArray

    from fraudctl.progress import Progress
    from fraudctl.project import Project
    from fraudctl.split import Fold, Split
    from fraudctl.train.partner import Partner

FAST_LEARNING_RATE: Final = 0.2
FAST_ITERATIONS: Final = FIRST_LOOK
LEAST_NEGATIVES: Final = 20_000
"""Legitimate rows that sampling leaves at least, where there are as many."""


class ModelFeatures(Protocol):
    """The part of a feature set that a model needs."""

    @property
    def names(self) -> list[str]:
        """Feature names in model order."""

    @property
    def categorical(self) -> list[str]:
        """Those of them that are categories."""


class ChampionModel(Scorer, Protocol):
    """A model in use, and what it may know."""

    @property
    def as_of(self) -> datetime:
        """It has seen nothing later, and so may be judged on what is."""


@dataclass(frozen=True)
class TrainedModel:
    """A model, how it calibrates, and what its folds predicted.

    Attributes
    ----------
    model
        The final fit, on all training rows known at ``as_of``: one model, or the average of ``[train] models``.
    partner
        LightGBM trees of the same rows that have a share of the score; None where the folds give them none.
    partner_seconds
        Time that fitting and judging it took, in this run.
    columns
        What the model takes, in order.
    calibrator
        Fitted on the predictions of all folds.
    predictions
        One row per event of the validation periods: ``event_id``, ``event_time``, ``fold``, ``label``, ``y_score``,
        ``y_prob`` (cross-fitted), ``event_weight`` and ``amount`` where there is one, the entities, and the columns
        asked for. The label is null where it was not known; such events take slots of a capacity. Events of the local
        week in which the earliest fold begins are there for the same reason, without a label, as fold 0. Sorted by
        fold, then by time.
    params
        Parameters of the fit.
    n_trees
        Trees of the final model, of each where several are averaged: the median of the folds' best counts.
    summary
        Folds, search, calibration and warnings; nothing in it depends on the clock or the machine.
    """

    model: CatBoost
    columns: ModelColumns
    calibrator: Calibrator
    predictions: pl.DataFrame
    params: dict[str, float]
    n_trees: int
    summary: TrainingSummary
    partner: Partner | None = None
    partner_seconds: float = 0.0


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


@dataclass
class _Job:
    """One run of `fit_project`."""

    table: pl.DataFrame
    features: ModelFeatures
    project: Project
    split: Split
    seed: int
    progress: Progress
    champion: ChampionModel | None = None

    def __post_init__(self) -> None:
        self.table = as_known(self.table, self.split.as_of)
        self.settings = self.project.train
        self.objective = make_objective(self.project)
        self.weight = event_weights(self.table, self.project)
        self.group = entity_groups(self.table, cluster=_cluster(self.project))
        self.warnings: list[str] = []
        self.out_of_range: tuple[OutOfRange, ...] = ()
        self.shares = np.empty(0)
        """Feature importance of the latest fold's CatBoost model."""
        self._known_columns: dict[bytes, ModelColumns] = {}

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
        fold_rows = self._fold_rows(keep)
        choice = self._calibrate(fold_rows, np.concatenate(scores))
        predictions = self._predictions(fold_rows, np.concatenate(scores), choice, np.concatenate(unseen), keep)
        baselines = self._baselines(scores)
        summary = replace(self._summary(tuned, scores, trees, n_trees, choice), baselines=baselines, partner=told)
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

    def _columns(self, rows: NDArray[np.bool_]) -> ModelColumns:
        """Learn the columns from some rows, once for the same rows."""
        key = hashlib.sha256(np.packbits(rows).tobytes()).digest()
        if key not in self._known_columns:
            self._known_columns[key] = learn_columns(
                self.table,
                rows=rows,
                names=self.features.names,
                categorical=self.features.categorical,
                max_categories=self.settings.max_categories,
            )
        return self._known_columns[key]

    def _warn_useless(self, columns: ModelColumns) -> None:
        """Name the features that say nothing in the training rows; without any other there is nothing to learn from."""
        useless = [name for name in columns.names if constant(self.table[name], self.split.train)]
        if len(useless) == len(columns.names):
            msg = (
                f"each of the {len(useless)} features is constant or null in the {self.split.train.sum()} training rows"
            )
            raise DataError(msg, hint="check [features] and the data with `fraudctl check`")
        for text in self.split.warnings:
            self._warn(text)
        if useless:
            self._warn(f"constant or null in training, and so without effect: {', '.join(useless)}")

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

    def _known(self, fold: Fold | None = None) -> pl.Series:
        """Return the label of each event as a fold's model may know it; of no fold, as the final model may."""
        if fold is None or CHANGES not in self.table.columns:
            return self.table["label"]
        known = pl.Series("label", known_labels(self.table, fold.as_of))
        return known.set(known < 0, None)

    def _share(self, rows: NDArray[np.bool_], wanted: float, label: pl.Series) -> float:
        """Return the share of the legitimate rows to keep, where `LEAST_NEGATIVES` are kept at least."""
        return min(1.0, max(wanted, LEAST_NEGATIVES / max(1, len(_rows_of(rows, label, 0)))))

    def _sample(
        self, rows: NDArray[np.bool_], share: float, seeds: Sequence[int], label: pl.Series
    ) -> tuple[NDArray[np.bool_], float]:
        """Keep all frauds and a share of the legitimate rows; gives the mask and the share that was kept."""
        if share == 1.0:
            return rows, 1.0
        legit = _rows_of(rows, label, 0)
        n_keep = max(1, round(share * len(legit)))
        kept = np.random.default_rng(list(seeds)).permutation(legit)[:n_keep]
        sampled = np.zeros(len(rows), dtype=np.bool_)
        sampled[_rows_of(rows, label, 1)] = True
        sampled[kept] = True
        return sampled, n_keep / len(legit)

    def _drawn(self, rows: NDArray[np.bool_], fold: Fold | None) -> Drawn:
        """Return the rows that the first model of a recipe is fitted on, for a fold or (None) the final model."""
        number, label = 0 if fold is None else fold.number, self._known(fold)
        share = self._share(rows, self.settings.fit_negatives, label)
        sampled, kept = self._sample(rows, share, [self.seed, number, 2, 0], label)
        weight = None if self.weight is None else self.weight[sampled]
        return Drawn(sampled, label.filter(sampled).to_numpy(), weight, kept)

    def _pool(self, columns: ModelColumns, rows: NDArray[np.bool_], label: pl.Series) -> Any:
        weight = None if self.weight is None else self.weight[rows]
        return make_pool(columns, self.table, rows=rows, label=label.filter(rows).to_numpy(), weight=weight)

    def _judged(self, fold: Fold) -> FoldRows:
        matrix = self.objective.matrix
        costs = [name for name in ("amount", *matrix.columns) if name in self.table.columns]
        names = ["label", *(costs if self.objective.needs_costs else [])]
        rows = self.table.select(list(dict.fromkeys(names))).filter(fold.valid)
        weight = np.ones(rows.height) if self.weight is None else self.weight[fold.valid]
        return judge_rows(rows, objective=self.objective, weight=weight, group=self.group[fold.valid])

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
                pool = quantize(self._pool(columns, sampled, label), like=first)
                first = first or pool
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

    def _baselines(self, scores: Sequence[NDArray[np.float64]]) -> dict[str, BaselineGain]:
        """Compare the folds' predictions with what costs nothing, on the same rows; what is not beaten is said."""
        self.progress.stage("baselines")
        ours: list[NDArray[np.float64]] = []
        theirs: dict[str, dict[int, NDArray[np.float64]]] = {}
        for done, (fold, score) in enumerate(zip(self.split.folds, scores, strict=True)):
            self.progress.update(done, len(scores))
            judged = self._judged(fold)
            ours.append(jackknifed(self.objective, judged, score) if judged.has_both_classes else np.empty(0))
            for name, old in self._baseline_scores(fold).items():
                found = theirs.setdefault(name, {})
                if judged.has_both_classes:
                    found[done] = jackknifed(self.objective, judged, old)
        result = {}
        for name, by_fold in theirs.items():
            both = list(by_fold)
            gain = gain_of([ours[i] for i in both], list(by_fold.values())) if both else None
            if gain is None:
                continue
            value = float(np.mean([figures[0] for figures in by_fold.values()]))
            result[name] = BaselineGain(round(value, 6), gain.rounded(), len(both))
            if not gain.low > 0:
                self._warn(f"the model does not surely beat {name} in {self.objective.name}: {gain.words()}")
        return result

    def _baseline_scores(self, fold: Fold) -> dict[str, NDArray[np.float64]]:
        columns = self._columns(fold.train)
        label = self._known(fold)
        share = self._share(fold.train, self.settings.keep_negatives, label)
        sampled, kept = self._sample(fold.train, share, [self.seed, fold.number, 0], label)
        weight = np.ones(int(sampled.sum())) if self.weight is None else self.weight[sampled]
        amount = [name for name in ("amount",) if name in self.table.columns]
        table = self.table.select(list(dict.fromkeys(["label", *amount, *columns.names])))
        train = table.with_columns(label.alias("label")).filter(sampled)
        found = baseline_scores(BaselineRows(train, weight, kept, table.filter(fold.valid), columns))
        if self.champion is not None and NO_TIME != fold.as_of >= self.champion.as_of:
            found[CHAMPION] = log_odds(predict(self.champion, self.table.filter(fold.valid))[1])
        return found

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.progress.warn(text)

    def _carried(self, keep: Collection[str]) -> list[str]:
        """Name the columns that travel with the predictions."""
        wanted = ["amount", *self.project.entities, *keep]
        return [name for name in dict.fromkeys(wanted) if name in self.table.columns]

    def _fold_rows(self, keep: Collection[str]) -> pl.DataFrame:
        names = list(dict.fromkeys(["event_id", "event_time", "label", *self._carried(keep)]))
        table = self.table.select(names)
        parts = [table.filter(fold.valid).with_columns(fold=pl.lit(fold.number, pl.Int32)) for fold in self.split.folds]
        return pl.concat(parts)

    def _calibrate(self, rows: pl.DataFrame, y_score: NDArray[np.float64]) -> CalibrationChoice:
        weight = self._fold_weight()
        return choose_calibrator(rows["label"].to_numpy(), y_score, rows["fold"].to_numpy(), weight=weight)

    def _calibration_report(self, choice: CalibrationChoice) -> CalibrationReport:
        y_true = np.concatenate([self._known().filter(fold.valid).to_numpy() for fold in self.split.folds])
        return calibration_report(y_true, choice.y_prob, seed=self.seed, weight=self._fold_weight())

    def _fold_weight(self) -> NDArray[np.float64] | None:
        return None if self.weight is None else np.concatenate([self.weight[fold.valid] for fold in self.split.folds])

    def _predictions(
        self,
        rows: pl.DataFrame,
        y_score: NDArray[np.float64],
        choice: CalibrationChoice,
        unseen: NDArray[np.float64],
        keep: Collection[str],
    ) -> pl.DataFrame:
        """Put together what the folds predicted, for events without a known label too."""
        weight, others = self._fold_weight(), self._other_rows(keep)
        known = self._predicted(rows, y_score, choice.y_prob, weight, keep)
        if others.is_empty():
            return known
        like = _like(rows, others)
        y_prob = cross_calibrated(
            choice, rows["label"].to_numpy(), y_score, rows["fold"].to_numpy(), other_score=unseen, like=like,
            weight=weight,
        )  # fmt: skip
        masks = [others_of(fold) for fold in self.split.folds]
        heavy = None if self.weight is None else np.concatenate([self.weight[mask] for mask in masks])
        both = pl.concat([known, self._predicted(others, unseen, y_prob, heavy, keep)])
        return both.sort("fold", "event_time", "event_id", maintain_order=True)

    def _other_rows(self, keep: Collection[str]) -> pl.DataFrame:
        """Return the events of `others_of` of all folds without labels; events before the first fold are in fold 0."""
        table = self.table.select(list(dict.fromkeys(["event_id", "event_time", *self._carried(keep)])))
        parts = []
        for fold in self.split.folds:
            rows = others_of(fold)
            lead = np.zeros(len(rows), dtype=np.bool_) if fold.lead is None else fold.lead
            number = pl.Series("fold", np.where(lead, 0, fold.number)[rows], dtype=pl.Int32)
            parts.append(table.filter(rows).with_columns(number, pl.lit(None, dtype=pl.Int8).alias("label")))
        return pl.concat(parts)

    def _predicted(
        self,
        rows: pl.DataFrame,
        y_score: NDArray[np.float64],
        y_prob: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        keep: Collection[str],
    ) -> pl.DataFrame:
        names = self._carried(keep)
        scores = [pl.Series("y_score", y_score), pl.Series("y_prob", y_prob)]
        scores += [] if weight is None else [pl.Series(WEIGHT, weight)]
        return rows.select("event_id", "event_time", "fold", "label", *scores, *names)

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

    def _summary(
        self,
        tuned: Tuned,
        scores: Sequence[NDArray[np.float64]],
        trees: Sequence[int],
        n_trees: int,
        choice: CalibrationChoice,
    ) -> TrainingSummary:
        folds = tuple(
            _fold_summary(fold, self.objective, self._judged(fold), self._known(fold), self._known(), score, best)
            for fold, score, best in zip(self.split.folds, scores, trees, strict=True)
        )
        labels = self._known().filter(self.split.train).to_numpy()
        return TrainingSummary(
            as_of=known_time(self.split.as_of),
            train=RowCounts(
                known_time(self.split.train_from),
                known_time(self.split.train_until),
                rows=len(labels),
                frauds=int(labels.sum()),
            ),
            folds=folds,
            savings_base=self.objective.base_rule,
            tuning=tuned.summary,
            params=tuned.params,
            models=self.settings.models,
            fit_negatives=self._share(self.split.train, self.settings.fit_negatives, self._known()),
            trees=n_trees,
            calibration=CalibrationSummary(
                choice.calibrator.method,
                {name: None if loss is None else round(loss, 9) for name, loss in choice.log_loss.items()},
                choice.reason,
                self._calibration_report(choice),
            ),
            features=len(self.features.names),
            warnings=tuple(self.warnings),
            out_of_range=self.out_of_range,
        )


def _rows_of(rows: NDArray[np.bool_], label: pl.Series, outcome: int) -> NDArray[np.int64]:
    """Return those of some rows whose label is ``outcome``."""
    return np.flatnonzero(rows & (label == outcome).fill_null(value=False).to_numpy())


def _like(rows: pl.DataFrame, others: pl.DataFrame) -> NDArray[np.int64]:
    """Return the last earlier row of the fold of each event without a label, or the first; 0 is the earliest fold."""
    fold, other = rows["fold"].to_numpy(), others["fold"].to_numpy()
    at, when = rows["event_time"].to_physical().to_numpy(), others["event_time"].to_physical().to_numpy()
    found = np.empty(len(other), dtype=np.int64)
    for number in np.unique(other):
        mine, place = other == number, np.flatnonzero(fold == (number or fold.min()))
        found[mine] = place[np.maximum(np.searchsorted(at[place], when[mine], side="right") - 1, 0)]
    return found


def _fold_summary(
    fold: Fold,
    objective: Objective,
    judged: FoldRows,
    trained: pl.Series,
    known: pl.Series,
    y_score: NDArray[np.float64],
    best: int,
) -> FoldSummary:
    train, valid = trained.filter(fold.train), known.filter(fold.valid)
    value = objective.value(judged, y_score) if judged.has_both_classes else None
    times = [known_time(item) for item in (fold.train_from, fold.train_until, fold.valid_from, fold.valid_until)]
    return FoldSummary(
        fold=fold.number,
        as_of=known_time(fold.as_of),
        train=RowCounts(times[0], times[1], len(train), int(train.sum())),
        valid=RowCounts(times[2], times[3], len(valid), int(valid.sum()), fold.n_blocked),
        best_trees=best,
        figures={objective.name: None if value is None or not np.isfinite(value) else round(value, 6)},
    )


def _cluster(project: Project) -> str | None:
    """Return the entity whose events belong together: the one that is blocked, else the first."""
    if project.evaluate.block_known is not None:
        return project.evaluate.block_known.entity
    return next(iter(project.entities), None)
