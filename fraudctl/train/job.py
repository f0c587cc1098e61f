"""What every training run has in common: rows, labels and weights as each fold may know them, calibration, summary.

Owns what does not depend on the kind of model: which rows and labels a fit gets, how fold predictions are put together
and calibrated, what they are compared with, and the form of the summary. It fits nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl

from fraudctl.calibrate import CalibrationChoice, Calibrator, choose_calibrator, cross_calibrated, log_odds
from fraudctl.data.labels import CHANGES, as_known, known_labels
from fraudctl.errors import BundleError, DataError
from fraudctl.train.baselines import CHAMPION, BaselineRows, baseline_scores
from fraudctl.train.blending import others_of
from fraudctl.train.cautions import constant
from fraudctl.train.model import ModelColumns, Scorer, learn_columns, predict
from fraudctl.train.objective import FoldRows, Objective, entity_groups, gain_of, jackknifed, judge_rows, make_objective
from fraudctl.train.report import calibration_report
from fraudctl.train.summary import (
    BaselineGain,
    CalibrationReport,
    CalibrationSummary,
    FoldSummary,
    NoSearch,
    OutOfRange,
    RowCounts,
    TrainingSummary,
)
from fraudctl.weights import WEIGHT, event_weights, fit_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.boosting import CatBoost
    from fraudctl.challengers import Challenger
    from fraudctl.progress import Progress, Watch
    from fraudctl.project import Project
    from fraudctl.split import Fold, Split
    from fraudctl.train.partner import Partner

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
    def as_of(self) -> datetime | None:
        """It has seen nothing later, and so may be judged on what is; None where the data have no time."""


@dataclass(frozen=True)
class TrainedModel:
    """A model, how it calibrates, and what its folds predicted.

    Attributes
    ----------
    fitted
        The final fit, on all training rows known at ``as_of``: one CatBoost model, or the average of ``[train]
        models``; or a challenger.
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

    fitted: CatBoost | Challenger
    columns: ModelColumns
    calibrator: Calibrator
    predictions: pl.DataFrame
    params: dict[str, float]
    n_trees: int
    summary: TrainingSummary
    partner: Partner | None = None
    partner_seconds: float = 0.0

    @property
    def model(self) -> CatBoost:
        """The CatBoost model.

        Raises
        ------
        BundleError
            A challenger was trained.
        """
        from fraudctl.challengers import Challenger

        if isinstance(self.fitted, Challenger):
            msg = f"the challenger {self.fitted.name} was trained: there is no CatBoost model"
            raise BundleError(msg)
        return self.fitted

    @property
    def challenger(self) -> Challenger | None:
        """The challenger that was trained; None where CatBoost was."""
        from fraudctl.challengers import Challenger

        return self.fitted if isinstance(self.fitted, Challenger) else None


@dataclass
class Job:
    """One training run: what its folds may know, whatever is fitted on them."""

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
        self.objective: Objective = make_objective(self.project)
        self.weight = event_weights(self.table, self.project)
        self.fit_weight = fit_weights(self.table, self.project)
        self.group = entity_groups(self.table, cluster=_cluster(self.project))
        self.warnings: list[str] = []
        self.out_of_range: tuple[OutOfRange, ...] = ()
        self._known_columns: dict[bytes, ModelColumns] = {}

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

    def _judged(self, fold: Fold) -> FoldRows:
        matrix = self.objective.matrix
        costs = [name for name in ("amount", *matrix.columns) if name in self.table.columns]
        names = ["label", *(costs if self.objective.needs_costs else [])]
        rows = self.table.select(list(dict.fromkeys(names))).filter(fold.valid)
        weight = np.ones(rows.height) if self.weight is None else self.weight[fold.valid]
        return judge_rows(rows, objective=self.objective, weight=weight, group=self.group[fold.valid])

    def _baselines(self, scores: Sequence[NDArray[np.float64]]) -> dict[str, BaselineGain]:
        """Compare the folds' predictions with what costs nothing, on the same rows; what is not beaten is said."""
        self.progress.stage("baselines")
        ours: list[NDArray[np.float64]] = []
        theirs: dict[str, dict[int, NDArray[np.float64]]] = {}
        for done, (fold, score) in enumerate(zip(self.split.folds, scores, strict=True)):
            self.progress.update(done, len(scores), "the model")
            judged = self._judged(fold)
            ours.append(jackknifed(self.objective, judged, score) if judged.has_both_classes else np.empty(0))
            watch = partial(self.progress.update, done, len(scores))
            for name, old in self._baseline_scores(fold, watch).items():
                watch(f"comparing with {name}")
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

    def _baseline_scores(self, fold: Fold, watch: Watch) -> dict[str, NDArray[np.float64]]:
        columns = self._columns(fold.train)
        label = self._known(fold)
        share = self._share(fold.train, self.settings.keep_negatives, label)
        sampled, kept = self._sample(fold.train, share, [self.seed, fold.number, 0], label)
        weight = np.ones(int(sampled.sum())) if self.fit_weight is None else self.fit_weight[sampled]
        amount = [name for name in ("amount",) if name in self.table.columns]
        table = self.table.select(list(dict.fromkeys(["label", *amount, *columns.names])))
        train = table.with_columns(label.alias("label")).filter(sampled)
        rows = BaselineRows(train, weight, kept, table.filter(fold.valid), columns)
        found = baseline_scores(rows, watch=watch)
        knew, now = None if self.champion is None else self.champion.as_of, fold.as_of
        if self.champion is not None and knew is not None and now is not None and now >= knew:
            watch(CHAMPION)
            found[CHAMPION] = log_odds(predict(self.champion, self.table.filter(fold.valid), whole=self.table)[1])
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

    def _summary(
        self,
        scores: Sequence[NDArray[np.float64]],
        choice: CalibrationChoice,
        baselines: dict[str, BaselineGain],
        trees: Sequence[int] | None = None,
    ) -> TrainingSummary:
        """Return what every kind of model says of its training; ``trees`` are the best counts of the folds."""
        best = [0] * len(scores) if trees is None else trees
        folds = tuple(
            _fold_summary(fold, self.objective, self._judged(fold), self._known(fold), self._known(), score, n)
            for fold, score, n in zip(self.split.folds, scores, best, strict=True)
        )
        labels = self._known().filter(self.split.train).to_numpy()
        times = self.split.periods
        return TrainingSummary(
            as_of=self.split.as_of,
            train=RowCounts(
                None if times is None else times.train_from,
                None if times is None else times.train_until,
                rows=len(labels),
                frauds=int(labels.sum()),
            ),
            folds=folds,
            savings_base=self.objective.base_rule,
            tuning=NoSearch(),
            params={},
            trees=0,
            calibration=CalibrationSummary(
                choice.calibrator.method,
                {name: None if loss is None else round(loss, 9) for name, loss in choice.log_loss.items()},
                choice.reason,
                self._calibration_report(choice),
            ),
            features=len(self.features.names),
            warnings=tuple(self.warnings),
            out_of_range=self.out_of_range,
            baselines=baselines,
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
    times: tuple[datetime, ...] | tuple[None, ...] = (None,) * 4
    if fold.periods is not None:
        times = (fold.times.train_from, fold.times.train_until, fold.times.valid_from, fold.times.valid_until)
    return FoldSummary(
        fold=fold.number,
        as_of=fold.as_of,
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
