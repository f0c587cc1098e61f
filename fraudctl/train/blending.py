"""A partner beside the CatBoost model of a training run: rehearsed on the folds, weighed, and fitted once more.

Owns the order of that work on the rows of a run. What a partner is, and how its weight is chosen, is
`fraudctl.train.partner`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.train.growing import Growing
from fraudctl.train.partner import (
    FORESTS,
    KINDS,
    LEAST_FRAUDS,
    Partner,
    choose_partner,
    fit_forests,
    mean_of,
    n_trees,
    numbers_of,
    numeric_positions,
    partner_wanted,
    summary_of,
)
from fraudctl.train.summary import PartnerSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.progress import Progress
    from fraudctl.project.training import TrainSection
    from fraudctl.split import Fold
    from fraudctl.train.model import ModelColumns
    from fraudctl.train.objective import FoldRows, Objective


@dataclass(frozen=True)
class Drawn:
    """The rows of a fit: mask, shape ``(n_events,)``, labels and weights, and the share of legitimate rows kept."""

    rows: NDArray[np.bool_]
    label: NDArray[Any]
    weight: FloatArray | None
    kept: float


@dataclass(frozen=True)
class Forests:
    """LightGBM's text of each forest of one fit, by its name, and the columns of its rows."""

    texts: dict[str, str]
    columns: ModelColumns

    def partner(self, kind: Sequence[str], weight: float) -> Partner:
        """Return the mean of some forests as a partner with this share of the log-odds."""
        return Partner(mean_of([self.texts[name] for name in kind]), weight, self.columns)


@dataclass(frozen=True)
class Blended:
    """The folds' log-odds with the partner's share, and what was found of it.

    Attributes
    ----------
    scores, unseen
        Of the validation rows of each fold, and of its events of `others_of`.
    latest
        The partner of the latest fold; None where the partner has no share.
    """

    scores: list[FloatArray]
    unseen: list[FloatArray]
    summary: PartnerSummary
    latest: Partner | None


def others_of(fold: Fold) -> NDArray[np.bool_]:
    """Return which events take slots and are not counted: without a known label, or before the earliest fold."""
    return fold.others if fold.lead is None else fold.others | fold.lead


@dataclass
class Blending:
    """The partner of one training run.

    Parameters
    ----------
    columns
        Gives the columns learned from some rows.
    drawn
        Gives the rows that a fold's model, or (None) the final one, is fitted on, of some rows.

    Raises
    ------
    UsageError
        The project wants a library that is not installed.
    """

    table: pl.DataFrame
    settings: TrainSection
    seed: int
    progress: Progress
    columns: Callable[[NDArray[np.bool_]], ModelColumns]
    drawn: Callable[[NDArray[np.bool_], Fold | None], Drawn]
    seconds: float = field(default=0.0, init=False)
    """Time that the partner took."""

    def __post_init__(self) -> None:
        self.left_out = partner_wanted(self.settings)

    def rehearse(
        self,
        objective: Objective,
        folds: Sequence[Fold],
        judged: Sequence[FoldRows],
        scores: list[FloatArray],
        unseen: list[FloatArray],
    ) -> Blended:
        """Fit a partner on every fold, choose its kind and weight, and return the folds' log-odds of both.

        Parameters
        ----------
        scores, unseen
            CatBoost's log-odds of the validation rows of each fold, and of its events of `others_of`.
        """
        self.left_out = self.left_out or self._hopeless(folds[-1])
        if self.left_out is not None:
            return Blended(scores, unseen, PartnerSummary("lightgbm", None, 0.0, 0, None, self.left_out), None)
        begun = time.monotonic()
        self.progress.stage("fitting the partner")
        growing = Growing(self.progress, n_fits=len(folds), n_trees=n_trees(tuple(FORESTS)), what="fold")
        fits = [self._fit(fold.train, fold, tuple(FORESTS), growing) for fold in folds]
        growing.end()
        kinds = [[fit.partner(kind, 0.0) for fit in fits] for kind in KINDS]
        theirs = [[self._scores(one, fold.valid) for one, fold in zip(kind, folds, strict=True)] for kind in kinds]
        learned = [int(self.drawn(fold.train, fold).label.sum()) for fold in folds]
        choice = choose_partner(objective, judged, scores, theirs, learned=learned)
        summary, partners = summary_of(choice), kinds[choice.kind]
        if choice.weight > 0.0:
            partners = [fit.partner(KINDS[choice.kind], choice.weight) for fit in fits]
            chosen = zip(partners, scores, theirs[choice.kind], strict=True)
            scores = [one.mixed(own, their) for one, own, their in chosen]
            others = [self._scores(one, others_of(fold)) for one, fold in zip(partners, folds, strict=True)]
            unseen = [one.mixed(own, their) for one, own, their in zip(partners, unseen, others, strict=True)]
        self.seconds += time.monotonic() - begun
        return Blended(scores, unseen, summary, partners[-1] if choice.weight > 0.0 else None)

    def _hopeless(self, latest: Fold) -> str | None:
        """Return why a partner need not be tried, from the latest fold; None where it may help."""
        if not len(numeric_positions(self.columns(latest.train))):
            return "no feature is a number"
        frauds = int(self.drawn(latest.train, latest).label.sum())
        if frauds < LEAST_FRAUDS:
            return f"{frauds} frauds to learn from in the latest fold; it takes {LEAST_FRAUDS}"
        return None

    def final(self, rows: NDArray[np.bool_], blended: Blended) -> tuple[Partner | None, PartnerSummary]:
        """Fit the partner of the final model on its rows, None where the folds gave it no weight; and what is said."""
        if blended.latest is None:
            return None, blended.summary
        begun = time.monotonic()
        self.progress.stage("fitting the partner")
        forests = blended.summary.forests
        growing = Growing(self.progress, n_fits=1, n_trees=n_trees(forests), what="partner")
        partner = self._fit(rows, None, forests, growing).partner(forests, blended.summary.weight)
        growing.end()
        self.seconds += time.monotonic() - begun
        return partner, replace(blended.summary, trees=len(partner.trees.trees))

    def _fit(self, rows: NDArray[np.bool_], fold: Fold | None, forests: Sequence[str], growing: Growing) -> Forests:
        growing.begin("columns")
        columns, drawn = self.columns(rows), self.drawn(rows, fold)
        numbers = numbers_of(columns, columns.matrix(self.table, rows=drawn.rows))
        texts = fit_forests(
            numbers, drawn.label, weight=drawn.weight, columns=columns, settings=self.settings, seed=self.seed,
            forests=forests, shift=float(np.log(drawn.kept)) if drawn.kept < 1.0 else 0.0, watch=growing.tree,
        )  # fmt: skip
        return Forests(texts, columns)

    def _scores(self, partner: Partner, rows: NDArray[np.bool_]) -> FloatArray:
        return partner.trees.score_rows(partner.numbers(partner.columns.matrix(self.table, rows=rows)))
