"""Contributions of features to a score: exact SHAP values of all trees of a model, in chunks.

Owns the calls and their check: values of a row plus the base add up to the model's raw score. CatBoost computes those
of its trees; those of a partner come from `fraudctl.train.leafwise`, and both are mixed as the scores are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.errors import BundleError
from fraudctl.text.figures import number

if TYPE_CHECKING:
    from fraudctl.train import Partner

CHUNK = 20_000
"""Rows explained at once: bounds the working memory whatever the number of rows."""
ADDITIVE_TO = 1e-8
"""Largest allowed difference between the sum of contributions and the raw score, relative to the score's size."""
MOST_PAIRS = 12
"""Pairs of features whose interactions are computed."""


@dataclass(frozen=True)
class Contributions:
    """How much each feature moved each score, in log-odds.

    Attributes
    ----------
    values
        Shape ``(n_events, n_features)``.
    base
        The model's expected raw score; ``values.sum(axis=1) + base`` is the raw score of each event.
    """

    values: FloatArray
    base: float

    @property
    def y_score(self) -> FloatArray:
        """Raw score of each event, shape ``(n_events,)``."""
        return np.asarray(self.values.sum(axis=1) + self.base, dtype=np.float64)


def contributions(
    model: Any,
    frame: pl.DataFrame,
    *,
    categorical: list[str],
    partner: Partner | None,
    threads: int = -1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Contributions:
    """Explain each row of a frame with the model's exact tree SHAP values.

    Lundberg et al., *Consistent Individualized Feature Attribution for Tree Ensembles* (2018). Path dependent: features
    that carry the same information share the credit; a contribution is no statement about causes.

    Parameters
    ----------
    model
        A fitted CatBoost classifier.
    frame
        Exactly the model's columns, in its order; categories are text without nulls.
    categorical
        Names of the category columns.
    partner
        LightGBM trees that have a share of the score; None where CatBoost scores alone.
    threads
        -1 takes all cores.

    Raises
    ------
    BundleError
        The columns are not the model's, or the values do not add up to the score.
    """
    _require_columns(model, frame)
    values = np.empty((frame.height, frame.width), dtype=np.float64)
    base = 0.0
    for start in range(0, frame.height, CHUNK):
        part = frame.slice(start, CHUNK)
        own, base = _chunk(model, part, categorical, threads)
        if partner is not None:
            own, base = _with_partner(partner, part, own, base)
        values[start : start + part.height] = own
        if progress is not None:
            progress("contributions", min(start + CHUNK, frame.height), frame.height)
    return Contributions(values, base)


def _chunk(model: Any, part: pl.DataFrame, categorical: list[str], threads: int) -> tuple[FloatArray, float]:
    from fraudctl.boosting import Pool

    pool = Pool(part, cat_features=categorical)
    shap: FloatArray = model.get_feature_importance(pool, type="ShapValues", thread_count=threads)
    score: FloatArray = model.predict(pool, prediction_type="RawFormulaVal", thread_count=threads)
    gap = np.abs(shap.sum(axis=1) - score) / np.maximum(1.0, np.abs(score))
    if gap.max(initial=0.0) > ADDITIVE_TO:
        msg = f"contributions miss the raw score by up to {number(gap.max())}; expected at most {number(ADDITIVE_TO)}"
        raise BundleError(msg, hint="the model file does not fit this version of CatBoost; train it again")
    return shap[:, :-1], float(shap[0, -1])


def _with_partner(partner: Partner, part: pl.DataFrame, own: FloatArray, base: float) -> tuple[FloatArray, float]:
    rows = partner.numbers(part)
    values, score = partner.trees.explain_rows(rows), partner.trees.score_rows(rows)
    gap = np.abs(values.sum(axis=1) + partner.trees.base - score) / np.maximum(1.0, np.abs(score))
    if gap.max(initial=0.0) > ADDITIVE_TO:
        msg = f"contributions miss the partner's score by up to {number(gap.max())}"
        raise BundleError(msg, hint="train again")
    return partner.explained(own, values), partner.mixed(base, partner.trees.base)


def _require_columns(model: Any, frame: pl.DataFrame) -> None:
    expected = list(model.feature_names_)
    if frame.columns != expected:
        missing = [name for name in expected if name not in frame.columns]
        what = f"missing {', '.join(missing)}" if missing else "the order or the set of columns differs"
        msg = f"the model was fitted on {len(expected)} features, got {frame.width}: {what}"
        raise BundleError(msg)


def strongest_pairs(model: Any, *, partner: Partner | None, most: int = MOST_PAIRS) -> list[tuple[int, int]]:
    """Return the pairs of features that the model's trees use together most, the strongest first, as positions.

    With a partner, a pair counts by its share among the pairs of each family of trees, weighted as their log-odds are.
    """
    found = model.get_feature_importance(type="Interaction")
    if partner is None:
        return [(int(a), int(b)) for a, b, _ in found[:most]]
    shares: dict[tuple[int, int], float] = {}
    for first, second, share in found:
        a, b = sorted((int(first), int(second)))
        shares[a, b] = shares.get((a, b), 0.0) + (1.0 - partner.weight) * float(share) / 100.0
    for pair, share in partner.trees.pair_strength.items():
        a, b = (int(partner.positions[at]) for at in pair)
        shares[a, b] = shares.get((a, b), 0.0) + partner.weight * share
    return sorted(shares, key=lambda pair: (-shares[pair], pair))[:most]


def interactions(
    model: Any,
    frame: pl.DataFrame,
    *,
    pairs: Sequence[tuple[int, int]],
    categorical: list[str],
    partner: Partner | None,
    threads: int = -1,
    progress: Callable[[str, int, int], None] | None = None,
) -> FloatArray:
    """Return what each pair of features adds to each score beyond what the two add by themselves.

    Exact SHAP interaction values (Lundberg et al. 2018), one pair at a time: all pairs of 80 features would take
    minutes whatever the number of rows. Meant for errors, not for whole periods.

    Returns
    -------
    array of shape ``(n_events, n_pairs)``
        In log-odds; both halves of the symmetric interaction are in it.
    """
    from fraudctl.boosting import Pool

    _require_columns(model, frame)
    pool = Pool(frame, cat_features=categorical)
    out = np.zeros((frame.height, len(pairs)))
    for k, pair in enumerate(pairs):
        if progress is not None:
            progress("interactions", k, len(pairs))
        values = model.get_feature_importance(
            pool, type="ShapInteractionValues", interaction_indices=list(pair), thread_count=threads
        )
        out[:, k] = values[:, 0, 1] + values[:, 1, 0]
    return out if partner is None else _interactions_with(partner, frame, pairs, out)


def _interactions_with(
    partner: Partner, frame: pl.DataFrame, pairs: Sequence[tuple[int, int]], own: FloatArray
) -> FloatArray:
    """Mix CatBoost's interactions with the partner's, which are 0 for a pair with a category."""
    place = {int(at): k for k, at in enumerate(partner.positions)}
    shared = [k for k, pair in enumerate(pairs) if all(at in place for at in pair)]
    found = np.zeros_like(own)
    known = [(place[pairs[k][0]], place[pairs[k][1]]) for k in shared]
    found[:, shared] = partner.trees.interactions(partner.numbers(frame), known)
    return partner.mixed(own, found)
