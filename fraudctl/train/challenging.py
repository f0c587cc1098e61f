"""A challenger through the same training as CatBoost: the same folds, calibration, baselines and summary.

Owns the order of that work and two proofs about the program: that its scores do not depend on later events, and, where
asked for, that it repeats itself. What a program gets and returns is `fraudctl.challengers`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.challengers.contract import (
    EVENT_TIME,
    ChallengerFacts,
    ChallengerFeature,
    Step,
    entity_columns,
    training_rows,
)
from fraudctl.challengers.fitted import Challenger, ScoreScale, nearby
from fraudctl.challengers.program import FittedModel, Program
from fraudctl.errors import DataError, ProjectError
from fraudctl.text.figures import percent, plain
from fraudctl.train.blending import others_of
from fraudctl.train.job import ChampionModel, Job, ModelFeatures, TrainedModel
from fraudctl.train.model import ModelColumns, challenger_rows
from fraudctl.train.summary import ChallengerSummary

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from fraudctl.progress import Progress
    from fraudctl.project import Project
    from fraudctl.split import Fold, Split

ROUNDING: Final = 1e-4
"""Largest difference of two scores of an event, in deviations of all scores, that counts as rounding."""


def fit_challenger(
    table: pl.DataFrame,
    features: ModelFeatures,
    project: Project,
    split: Split,
    program: Program,
    *,
    keep: Collection[str] = (),
    champion: ChampionModel | None = None,
    twice: bool = False,
    progress: Progress,
) -> TrainedModel:
    """Fit and calibrate a challenger of ``table`` as ``split`` allows; parameters as in `fraudctl.train.fit_project`.

    Parameters
    ----------
    program
        From `fraudctl.challengers.program.read_program`.
    twice
        Fit the latest fold a second time and compare the scores.

    Raises
    ------
    DataError
        The program fails, its answer breaks the contract, its scores depend on later events, or it does not repeat
        itself though it says so.
    ProjectError
        It looks back on earlier events, and the data have no time.
    """
    if program.section.history is not None and split.by_chance is not None:
        msg = f"challengers.{program.name}.history: the data have no event_time, so there are no earlier events"
        raise ProjectError(msg, hint="leave history out")
    job = _ChallengerJob(table, features, project, split, project.train.seed, progress, champion, program, twice)
    return job.run(keep)


@dataclass(frozen=True)
class _Scored:
    """Scores of a fold's validation rows and of its events of `others_of`, and the model that they are of."""

    valid: FloatArray
    others: FloatArray
    model: FittedModel


@dataclass
class _ChallengerJob(Job):
    """One run of `fit_challenger`."""

    program: Program | None = None
    twice: bool = False

    @property
    def _rival(self) -> Program:
        assert self.program is not None  # noqa: S101 - given by `fit_challenger`
        return self.program

    def run(self, keep: Collection[str]) -> TrainedModel:
        rival, columns = self._rival, self._columns(self.split.train)
        self._warn_useless(columns)
        self.progress.stage("fitting folds")
        found = [self._fold(fold) for fold in self.split.folds]
        scale = ScoreScale.learn(rival.section.scores, np.concatenate([one.valid for one in found]))
        self._refuse_dependence(self.split.folds[-1], found[-1])
        repeated = self._repeated(self.split.folds[-1], found[-1].valid) if self.twice else None
        self.progress.stage("final fit")
        model = self._fit(columns, self.split.train, None)
        facts = self._facts("score", columns, None)
        challenger = Challenger(rival.name, rival.section, rival.hashes, facts, model, scale).within(self.project)
        self.progress.stage("calibrating")
        scores = [scale.apply(one.valid) for one in found]
        unseen = np.concatenate([scale.apply(one.others) for one in found])
        rows = self._fold_rows(keep)
        choice = self._calibrate(rows, np.concatenate(scores))
        predictions = self._predictions(rows, np.concatenate(scores), choice, unseen, keep)
        told = self._told(model, repeated=repeated)
        summary = replace(self._summary(scores, choice, self._baselines(scores)), challenger=told)
        summary = replace(summary, warnings=tuple(self.warnings))
        return TrainedModel(challenger, columns, choice.calibrator, predictions, {}, 0, summary)

    def _told(self, model: FittedModel, *, repeated: bool | None) -> ChallengerSummary:
        rival, section = self._rival, self._rival.section
        settings = {name: json.dumps(value) for name, value in section.params.items()}
        if section.history is not None:
            settings["history"] = str(section.history)
        runs = section.entry or " ".join(section.command)
        return ChallengerSummary(rival.name, runs, self.seed, repeated, settings, rival.hashes, dict(model.versions))

    def _facts(self, step: Step, columns: ModelColumns, fold: Fold | None) -> ChallengerFacts:
        as_of = self.split.as_of if fold is None else fold.as_of
        return facts_of(columns, self._rival, self.project, step=step, as_of=as_of, seed=self.seed)

    def _fit(self, columns: ModelColumns, rows: NDArray[np.bool_], fold: Fold | None) -> FittedModel:
        facts, label = self._facts("fit", columns, fold), self._known(fold)
        own = self.table.filter(rows)
        context = nearby(self.table, own, self._rival.section)
        plain, others = (challenger_rows(columns, part, facts) for part in (own, context))
        weight = None if self.fit_weight is None else self.fit_weight[rows]
        train = training_rows(plain, label.filter(rows), weight)
        return self._rival.fit(train, others, facts, where=_where(fold))

    def _fold(self, fold: Fold) -> _Scored:
        self.progress.update(fold.number - 1, len(self.split.folds))
        model = self._fit(self._columns(fold.train), fold.train, fold)
        others = others_of(fold)
        wanted = fold.valid | others
        scores = self._score(fold, model, wanted)
        return _Scored(scores[fold.valid[wanted]], scores[others[wanted]], model)

    def _score(self, fold: Fold, model: FittedModel, wanted: NDArray[np.bool_]) -> FloatArray:
        """Score events with the model of a fold, whatever came after the last of them being unknown."""
        columns = self._columns(fold.train)
        facts, rows = self._facts("score", columns, fold), self.table.filter(wanted)
        context = nearby(self.table, rows, self._rival.section)
        plain, others = (challenger_rows(columns, part, facts) for part in (rows, context))
        return self._rival.score(plain, others, model.files, facts, where=_where(fold))

    def _refuse_dependence(self, fold: Fold, found: _Scored) -> None:
        """Score the latest fold in two parts, the earlier and the later: no score may change by that.

        A score that does depends on later events, on what else happens to be scored, or on events older than `history`.
        """
        if self.split.by_chance is not None or len(found.valid) < 2:
            return
        wanted, times = fold.valid | others_of(fold), self.table[EVENT_TIME]
        middle = times.filter(fold.valid)[len(found.valid) // 2]
        early = (times <= middle).to_numpy()
        again = np.empty(int(wanted.sum()))
        for part in (early, ~early):
            again[part[wanted]] = self._score(fold, found.model, wanted & part)
        gap = np.abs(again[fold.valid[wanted]] - found.valid)
        n_moved = int((gap > ROUNDING * max(float(np.std(found.valid)), 1e-12)).sum())
        if n_moved:
            msg = (
                f"challenger {self._rival.name}: {percent(n_moved / len(gap))} of {len(gap):,} scores change when "
                "earlier and later events are scored apart; a score may depend on its own event and on those before "
                "it, at most `history` older"
            )
            hint = "take nothing from the table of rows as a whole (means, ranks), and nothing that came later"
            raise DataError(msg, hint=hint)

    def _repeated(self, fold: Fold, valid: FloatArray) -> bool:
        """Fit a fold again and say whether its scores are the same."""
        self.progress.stage("fitting the latest fold again")
        again = self._fold(fold).valid
        n_other = int((again != valid).sum())
        if not n_other:
            return True
        spread = max(float(np.std(valid)), 1e-300)
        text = (
            f"challenger {self._rival.name}: a second fit of the latest fold with the same seed gives other scores for "
            f"{percent(n_other / len(valid))} of {len(valid):,} events, by up to "
            f"{plain(float(np.abs(again - valid).max()) / spread, 2)} of their standard deviation"
        )
        if self._rival.section.deterministic:
            raise DataError(text, hint="fix its seed and threads, or set deterministic = false")
        self._warn(text)
        return False


def facts_of(
    columns: ModelColumns,
    program: Program,
    project: Project,
    *,
    step: Step,
    as_of: datetime | None,
    seed: int | None = None,
) -> ChallengerFacts:
    """Return what a challenger is told in a step, for a model with these columns that may know what ``as_of`` says."""
    names, section = columns.names, program.section
    levels = {name: tuple(columns.levels(name)) for name in columns.categorical}
    return ChallengerFacts(
        step=step,
        challenger=program.name,
        seed=project.train.seed if seed is None else seed,
        threads=project.train.threads,
        features=tuple(ChallengerFeature(name, levels.get(name)) for name in names),
        entities=entity_columns(list(project.entities), names),
        as_of=as_of,
        history=None if section.history is None else section.history.seconds,
        params=section.params,
    )


def _where(fold: Fold | None) -> str:
    return "final fit" if fold is None else f"fold {fold.number}"
