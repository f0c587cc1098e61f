"""Metrics of a ranking: ROC AUC, average precision, recall at a false-positive rate.

Pure functions of arrays, numpy only. Ties count half (ROC AUC) or enter together (average precision), so that the
order of rows never matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Ranking:
    """Events sorted by falling score, with the ends of their groups of equal scores.

    Sorting is what costs; a bootstrap sorts once and re-weights many times.
    """

    order: IntArray
    """Row numbers by falling score, shape ``(n_events,)``."""
    starts: IntArray
    """First position of each group of equal scores, shape ``(n_groups,)``."""
    y_sorted: npt.NDArray[np.bool_]
    """Whether the event at each position is fraud."""

    @classmethod
    def of(cls, y_true: npt.NDArray[Any], y_score: npt.NDArray[Any]) -> Ranking:
        """Sort events by falling score; equal scores form one group."""
        order = np.argsort(-np.asarray(y_score, dtype=np.float64), kind="stable")
        ranked = np.asarray(y_score)[order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.empty(0, dtype=np.int64)
        return cls(order, starts.astype(np.int64), np.asarray(y_true)[order] == 1)

    def totals(self, weight_sorted: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return the weight of fraud and of all events in each group."""
        if len(self.starts) == 0:
            return np.empty(0), np.empty(0)
        weight = np.ones(len(self.order)) if weight_sorted is None else weight_sorted
        every = np.add.reduceat(weight, self.starts)
        return np.add.reduceat(weight * self.y_sorted, self.starts), every

    def condensed(self) -> Ranking:
        """Merge neighbouring groups without fraud: rankings stay the same, with at most two groups per fraud and one.

        ROC AUC and average precision depend only on the weight above, level with and below each fraud.
        """
        if len(self.starts) == 0:
            return self
        has_fraud = np.logical_or.reduceat(self.y_sorted, self.starts)
        keep = has_fraud | np.r_[True, has_fraud[:-1]]
        return Ranking(self.order, self.starts[keep], self.y_sorted)

    def weighted(self, weight: FloatArray | None) -> FloatArray | None:
        """Put weights per event into the sorted order."""
        return None if weight is None else weight[self.order]


def auc_of(fraud: FloatArray, every: FloatArray) -> float:
    """ROC AUC from the weights of fraud and of all events in each score group, highest score first."""
    legit = every - fraud
    n_fraud, n_legit = fraud.sum(), legit.sum()
    if n_fraud <= 0 or n_legit <= 0:
        return math.nan
    below = n_legit - np.cumsum(legit)
    return float(np.sum(fraud * (below + 0.5 * legit)) / (n_fraud * n_legit))


def ap_of(fraud: FloatArray, every: FloatArray) -> float:
    """Average precision from the weights of fraud and of all events in each score group, highest score first."""
    n_fraud = fraud.sum()
    if n_fraud <= 0:
        return math.nan
    hit = fraud > 0
    precision = np.cumsum(fraud)[hit] / np.cumsum(every)[hit]
    return float(np.sum(precision * fraud[hit]) / n_fraud)


def roc_auc(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], *, weight: FloatArray | None = None) -> float:
    """Probability that a fraud scores higher than a legitimate event; a tie counts half.

    Parameters
    ----------
    y_true
        1 fraud, 0 legitimate, shape ``(n_events,)``; no nulls.
    y_score
        Scores, higher is more suspicious, shape ``(n_events,)``; finite.
    weight
        Weight per event, shape ``(n_events,)``; default 1.

    Returns
    -------
    float
        In [0, 1]; NaN where one class is missing.

    Examples
    --------
    >>> roc_auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]))
    0.875
    """
    ranking = Ranking.of(y_true, y_score)
    return auc_of(*ranking.totals(ranking.weighted(weight)))


def average_precision(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], *, weight: FloatArray | None = None
) -> float:
    """Mean precision over the frauds, ``sum (R_n - R_(n-1)) P_n`` over distinct scores, as scikit-learn defines it.

    Parameters and edge cases as for `roc_auc`; NaN without fraud.

    Examples
    --------
    Precision is 1 at the first fraud and 2/3 at the second, which enters with its twin:

    >>> round(average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])), 6)
    0.833333
    """
    ranking = Ranking.of(y_true, y_score)
    return ap_of(*ranking.totals(ranking.weighted(weight)))


def recall_at_fpr(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], max_fpr: float, *, weight: FloatArray | None = None
) -> float:
    """Highest recall of any threshold whose false-positive rate is at most ``max_fpr``; 0 where no threshold is.

    Thresholds lie between distinct scores (no interpolation). NaN where one class is missing.

    Examples
    --------
    >>> recall_at_fpr(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.4, 0.1]), 0.0)
    0.5
    """
    ranking = Ranking.of(y_true, y_score)
    return recall_of(*ranking.totals(ranking.weighted(weight)), max_fpr)


def recall_of(fraud: FloatArray, every: FloatArray, max_fpr: float) -> float:
    """`recall_at_fpr` from the weights of fraud and of all events in each score group, highest score first."""
    legit = every - fraud
    if fraud.sum() <= 0 or legit.sum() <= 0:
        return math.nan
    allowed = np.cumsum(legit) <= max_fpr * legit.sum() * (1 + 1e-12)
    return float(np.max(np.cumsum(fraud)[allowed], initial=0.0) / fraud.sum())


def auc_influence(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], weight: FloatArray) -> FloatArray:
    """Return the derivative of ROC AUC by each event's weight, times that weight, shape ``(n_events,)``; sums to 0.

    The variance that follows is that of DeLong, DeLong and Clarke-Pearson (Biometrics 1988).
    """
    ranking = Ranking.of(y_true, y_score)
    fraud, every = ranking.totals(weight[ranking.order])
    legit, auc = every - fraud, auc_of(fraud, every)
    n_fraud, n_legit = fraud.sum(), legit.sum()
    below = (n_legit - np.cumsum(legit) + 0.5 * legit) / n_legit
    above = (np.cumsum(fraud) - 0.5 * fraud) / n_fraud
    group = _group_of(ranking)
    sorted_psi = np.where(ranking.y_sorted, (below[group] - auc) / n_fraud, (above[group] - auc) / n_legit)
    return _unsort(sorted_psi * weight[ranking.order], ranking)


def ap_influence(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], weight: FloatArray) -> FloatArray:
    """Return the derivative of average precision by each event's weight, times that weight; sums to 0.

    With ``T_g, N_g`` the weight of fraud and of all events at or above group g, ``f_g`` its own fraud, ``F`` all fraud:
    ``AP = sum f_g T_g / N_g / F``; an event of group h moves ``f_h``, and ``T_g, N_g`` of every ``g`` at or below h.
    """
    ranking = Ranking.of(y_true, y_score)
    fraud, every = ranking.totals(weight[ranking.order])
    n_fraud, ap = fraud.sum(), ap_of(fraud, every)
    seen = np.cumsum(every)
    precision = np.divide(np.cumsum(fraud), seen, out=np.zeros_like(seen), where=seen > 0)
    per_seen = np.divide(fraud, seen, out=np.zeros_like(seen), where=seen > 0)
    gain = np.cumsum(per_seen[::-1])[::-1]
    loss = np.cumsum((per_seen * precision)[::-1])[::-1]
    group = _group_of(ranking)
    own = ranking.y_sorted * (precision[group] - ap + gain[group])
    return _unsort((own - loss[group]) / n_fraud * weight[ranking.order], ranking)


def _group_of(ranking: Ranking) -> IntArray:
    sizes = np.diff(np.r_[ranking.starts, len(ranking.order)])
    return np.repeat(np.arange(len(ranking.starts)), sizes)


def _unsort(values: FloatArray, ranking: Ranking) -> FloatArray:
    out = np.empty(len(values), dtype=np.float64)
    out[ranking.order] = values
    return out
