"""A LightGBM partner of the CatBoost model: its fit, its share of the log-odds, and whether it is worth having.

Owns the fit (fixed settings, the same bytes for any number of threads), the weight that the folds give it, and the
value that stands for it in a bundle. A partner is the mean of two forests that err differently, one that splits at the
best thresholds and one that splits at the best of random ones, or one forest of larger trees. It takes numeric features
alone; categories stay CatBoost's. Scoring needs no LightGBM: its trees are read by `fraudctl.train.leafwise`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray, SingleArray
from fraudctl.errors import BundleError, UsageError
from fraudctl.text.figures import percent
from fraudctl.train.leafwise import MOST_FEATURES, LeafwiseTrees, plain_scores, read_leafwise
from fraudctl.train.objective import FoldRows, Objective, gain_of, jackknifed
from fraudctl.train.summary import Gain, PartnerSummary
from fraudctl.weights import in_events

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.project.training import TrainSection
    from fraudctl.train.model import ModelColumns

Settings = dict[str, str | int | float | bool | list[int]]

_SETTINGS: Final[Settings] = {
    "objective": "binary", "max_depth": MOST_FEATURES, "min_data_in_leaf": 50, "lambda_l2": 5.0,
    "bagging_fraction": 0.8, "bagging_freq": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
"""Small trees in small steps: measured, and not searched."""
FORESTS: Final[Mapping[str, tuple[int, Settings]]] = {
    "best": (100, {"num_leaves": 15, "learning_rate": 0.07, "feature_fraction": 0.6}),
    "random": (150, {"num_leaves": 15, "learning_rate": 0.08, "feature_fraction": 0.8, "extra_trees": True}),
    "large": (150, {"num_leaves": 31, "learning_rate": 0.05, "feature_fraction": 0.6}),
}
"""Forest -> its trees and what settings it has of its own. ``extra_trees`` draws one threshold for each column of a
node (Geurts, Ernst and Wehenkel, *Extremely randomized trees*, Machine Learning 63, 2006)."""
KINDS: Final = (("best", "random"), ("large",))
"""The forests that a partner may be the mean of: two for few frauds, one where there are many to learn from. The first
kind is judged."""
WEIGHTS: Final = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""Shares of the log-odds that a partner may have."""
JUDGED: Final = 0.3
"""The share with which it is judged whether it has any: a small one moves the score less, so that its gain is surer."""
LEAST_FRAUDS: Final = 100
"""Frauds that the latest fold has to learn from for a partner to be tried."""
_MANY_ROWS: Final = 50_000
"""With fewer rows, threads wait for each other longer than they work."""
_PROBES: Final = 64

Score = TypeVar("Score", float, FloatArray)


@dataclass(frozen=True)
class Partner:
    """A partner's trees and its share of the log-odds.

    Attributes
    ----------
    text
        LightGBM's text of the trees, without its settings and importances.
    weight
        The score is ``(1 - weight)`` times CatBoost's log-odds plus ``weight`` times the partner's; in (0, 1).
    columns
        The model's columns; the partner takes the numeric ones, in their order.
    """

    text: str
    weight: float
    columns: ModelColumns

    @cached_property
    def positions(self) -> IntArray:
        """Positions of the partner's features among the model's columns."""
        return numeric_positions(self.columns)

    @cached_property
    def trees(self) -> LeafwiseTrees:
        """The partner's trees.

        Raises
        ------
        BundleError
            The text is no model that can be read.
        """
        return read_leafwise(self.text, n_features=len(self.positions))

    def numbers(self, matrix: pl.DataFrame) -> SingleArray:
        """Return the partner's rows of the model's input (`ModelColumns.matrix`), NaN where null."""
        return numbers_of(self.columns, matrix)

    def mixed(self, own: Score, partners: Score) -> Score:
        """Return the log-odds of both together, from CatBoost's and the partner's."""
        return (1.0 - self.weight) * own + self.weight * partners

    def score(self, own: FloatArray, matrix: pl.DataFrame) -> FloatArray:
        """Return the log-odds of rows, shape ``(n_events,)``, from CatBoost's ``own`` and the model's input."""
        return self.mixed(own, self.trees.score_rows(self.numbers(matrix)))

    def explained(self, own: FloatArray, partners: FloatArray) -> FloatArray:
        """Return the contributions of the model's columns (the last axis), from CatBoost's and the partner's."""
        out = (1.0 - self.weight) * own
        out[..., self.positions] += self.weight * partners
        return out

    def shares(self, own: FloatArray) -> FloatArray:
        """Return the feature importance of both by column, from CatBoost's shares: their weighted mean."""
        return self.explained(own, self.trees.importance)

    def prove(self) -> None:
        """Compare scores and contributions of probe rows, on and beside the thresholds, with an evaluation in Python.

        Raises
        ------
        BundleError
            A score differs, or contributions do not add up to it.
        """
        rows = _probe_rows(self.trees)
        scores, explained = self.trees.score_rows(rows), self.trees.explain_rows(rows)
        wrong = int((scores != plain_scores(self.trees, rows)).sum())
        gap = np.abs(explained.sum(axis=1) + self.trees.base - scores) / np.maximum(1.0, np.abs(scores))
        if wrong or gap.max(initial=0.0) > 1e-9:
            msg = f"the partner's trees were read differently: {wrong} of {len(rows)} scores differ"
            raise BundleError(msg, hint="train again")


def numeric_positions(columns: ModelColumns) -> IntArray:
    """Return the positions of the numeric columns of a model."""
    return np.array([at for at, name in enumerate(columns.names) if name not in columns.vocabularies], dtype=np.int64)


def numbers_of(columns: ModelColumns, matrix: pl.DataFrame) -> SingleArray:
    """Return the numeric columns of a model's input as rows of Float32, NaN where null."""
    names = [columns.names[at] for at in numeric_positions(columns)]
    out = np.empty((len(names), matrix.height), dtype=np.float32)
    for k, values in enumerate(matrix.select(pl.col(names).fill_null(np.nan)).iter_columns()):
        out[k] = values.to_numpy()
    return out.T


def _probe_rows(trees: LeafwiseTrees) -> SingleArray:
    """Return rows whose values lie on, just above and just below the thresholds, or are null."""
    random = np.random.default_rng(0)
    rows = np.zeros((_PROBES, trees.n_features), dtype=np.float32)
    by_feature: dict[int, list[float]] = {}
    for tree in trees.trees:
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            by_feature.setdefault(feature, []).append(threshold)
    for feature, thresholds in by_feature.items():
        with np.errstate(over="ignore"):
            values = random.choice(np.array(thresholds), _PROBES).astype(np.float32)
            up, down = np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))
        values = np.select([random.random(_PROBES) < share for share in (0.3, 0.4)], [up, down], values)
        rows[:, feature] = np.where(random.random(_PROBES) < 0.1, np.float32(np.nan), values)
    return rows


def partner_wanted(settings: TrainSection) -> str | None:
    """Return None where a partner is to be tried, else why there is none.

    Raises
    ------
    UsageError
        ``[train] partner`` names a library that is not installed.
    """
    if settings.partner == "none":
        return 'left out ([train] partner = "none")'
    if find_spec("lightgbm") is not None:
        return None
    hint = "python -m pip install 'fraudctl[blend]'"
    if settings.partner == "lightgbm":
        msg = 'train.partner = "lightgbm": LightGBM is not installed'
        raise UsageError(msg, hint=hint)
    return f"LightGBM is not installed ({hint})"


def fit_forests(
    rows: SingleArray,
    label: NDArray[Any],
    *,
    weight: FloatArray | None,
    columns: ModelColumns,
    settings: TrainSection,
    seed: int,
    forests: Sequence[str],
    shift: float = 0.0,
    watch: Callable[[int], object] | None = None,
) -> dict[str, str]:
    """Fit forests and return LightGBM's text of the trees of each; the same inputs give the same texts.

    Parameters
    ----------
    rows
        From `numbers_of`.
    label, weight
        Outcomes and weights of the rows, shape ``(n_rows,)``.
    forests
        Of `FORESTS`.
    shift
        Added to the log-odds: the logarithm of the share of legitimate rows that were kept.
    watch
        Called with the number of trees of all forests after each.
    """
    threads = min(settings.threads, os.cpu_count() or 1) if len(rows) >= _MANY_ROWS else 1
    given: Settings = {**_SETTINGS, "seed": seed, "num_threads": threads}
    if settings.monotone:
        ways, names = {"increasing": 1, "decreasing": -1}, [columns.names[at] for at in numeric_positions(columns)]
        given["monotone_constraints"] = [ways.get(settings.monotone.get(name, ""), 0) for name in names]
    heavy = None if weight is None else in_events(weight)
    texts, before = dict[str, str](), 0
    for name in forests:
        trees, own = FORESTS[name]
        texts[name] = _forest(rows, label, heavy, {**given, **own}, trees, shift, _after(watch, before))
        before += trees
    return texts


def _after(watch: Callable[[int], object] | None, trees: int) -> list[Callable[..., Any]]:
    """Return what LightGBM calls after each tree of a forest that comes after so many trees of others."""
    return [] if watch is None else [lambda now: watch(trees + now.iteration + 1)]


def n_trees(forests: Sequence[str]) -> int:
    """Return the number of trees of some forests."""
    return sum(FORESTS[name][0] for name in forests)


def _forest(
    rows: SingleArray,
    label: NDArray[Any],
    weight: FloatArray | None,
    given: Settings,
    trees: int,
    shift: float,
    told: list[Callable[..., Any]],
) -> str:
    import lightgbm

    names = [f"f{k}" for k in range(rows.shape[1])]
    data = lightgbm.Dataset(rows, label, weight=weight, feature_name=names, params=given)
    model = lightgbm.train(given, data, trees, callbacks=told)
    for leaf in range(model.dump_model(num_iteration=1)["tree_info"][0]["num_leaves"]) if shift else ():
        model.set_leaf_output(0, leaf, model.get_leaf_output(0, leaf) + shift)
    text: str = model.model_to_string(num_iteration=-1)
    return f"{text.partition('end of trees')[0]}end of trees\n"


def mean_of(texts: Sequence[str]) -> str:
    """Return LightGBM's text of one model that scores as the mean of one or two over the same columns does.

    It holds the trees of all, their values divided by the number of models, which is exact for one and two.
    """
    header, blocks = "", list[str]()
    for text in texts:
        header, *trees = text.partition("end of trees")[0].split("Tree=")
        blocks += [_divided(tree.partition("\n")[2], len(texts)) for tree in trees]
    blocks = [f"Tree={number}\n{block}" for number, block in enumerate(blocks)]
    sizes = " ".join(str(len(block)) for block in blocks)
    return re.sub("(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", header) + "".join(blocks) + "end of trees\n"


def _divided(tree: str, by: int) -> str:
    """Divide the values of a tree's leaves and nodes."""

    def line(found: re.Match[str]) -> str:
        return found[1] + " ".join(repr(float(value) / by) for value in found[2].split())

    return tree if by == 1 else re.sub("(?m)^((?:leaf|internal)_value=)(.*)$", line, tree)


@dataclass(frozen=True)
class PartnerChoice:
    """What the folds make of a partner.

    Attributes
    ----------
    weight
        Its share of the log-odds; 0 where its gain is not sure.
    kind
        Which of `KINDS` it is.
    gain
        Of the first kind with the share `JUDGED`; None where no fold can judge it.
    """

    weight: float
    kind: int
    gain: Gain | None


def choose_partner(
    objective: Objective,
    folds: Sequence[FoldRows],
    own: Sequence[FloatArray],
    kinds: Sequence[Sequence[FloatArray]],
    *,
    learned: Sequence[int],
) -> PartnerChoice:
    """Choose the partner's kind and share of the log-odds by the objective, where it surely gains with `JUDGED`.

    The first kind and one share are judged, not chosen, so that the interval of their gain needs no correction.
    Where its lower end is above zero, the kind and the weight with the best figure are taken. Figures of the folds are
    averaged by the frauds that their models learned from: the final model has more than any of them, and a fold with
    few says little of it. For the choice they count by the square of these frauds: the more there are to learn from,
    the larger is the partner's best share.

    Parameters
    ----------
    own
        Log-odds of each fold's rows by CatBoost.
    kinds
        Log-odds of each fold's rows by the partner, for each kind.
    learned
        Frauds that each fold's models were fitted on.
    """
    usable = [i for i, rows in enumerate(folds) if rows.has_both_classes]
    if not usable:
        return PartnerChoice(0.0, 0, None)
    counts = np.array([learned[i] for i in usable], dtype=np.float64)
    counts /= counts.mean()

    def mixed(i: int, kind: int, weight: float) -> FloatArray:
        return (1.0 - weight) * own[i] + weight * kinds[kind][i]

    both, alone = ([jackknifed(objective, folds[i], mixed(i, 0, w)) for i in usable] for w in (JUDGED, 0.0))
    gain = gain_of(*([count * one for count, one in zip(counts, each, strict=True)] for each in (both, alone)))
    if gain is None or not gain.low > 0:
        return PartnerChoice(0.0, 0, gain)
    choices = list(itertools.product(range(len(kinds)), WEIGHTS))
    figures = [counts**2 @ [objective.value(folds[i], mixed(i, *choice)) for i in usable] for choice in choices]
    kind, weight = choices[int(np.argmax(figures))]
    return PartnerChoice(weight, kind, gain)


def summary_of(choice: PartnerChoice) -> PartnerSummary:
    """Return what a training summary says of a partner that was tried, its trees to be counted."""
    if choice.gain is None:
        reason = "the folds cannot judge it"
    elif choice.gain.low > 0:
        reason = f"surely better with {percent(JUDGED)} of the score"
    else:
        reason = f"not surely better with {percent(JUDGED)} of the score"
    gain = None if choice.gain is None else choice.gain.rounded()
    forests = KINDS[choice.kind] if choice.weight > 0 else ()
    return PartnerSummary("lightgbm", version("lightgbm"), choice.weight, 0, gain, reason, forests)
