"""Whether scores and probabilities still behave as they did, held against what chance alone would show.

Conventional limits (a population stability index of 0.1) mean nothing by themselves: the index is never 0, and how
large it gets by chance depends on how many events there are and how much one day differs from the next. So each
statistic comes with its own null distribution. Pure functions of arrays; verdicts are `fraudctl.gate`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.metrics.calibration import equal_mass_bins

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DRAWS = 1000
MIN_DAYS = 5
"""With fewer days on either side nobody can tell how much days differ by chance."""
USUAL = 5.0
"""The usual range ends where five times as much as `chance` lies beyond it."""


@dataclass(frozen=True)
class AgainstChance:
    """A statistic and what it is where nothing has changed."""

    value: float
    usual: float
    """Quantile ``1 - 5 × chance`` of the null distribution: what lies below is usual."""
    limit: float
    """Quantile ``1 - chance``: what lies above is more than chance."""


def _against(value: float, draws: FloatArray, chance: float) -> AgainstChance:
    usual, limit = np.quantile(draws, [1.0 - min(USUAL * chance, 0.5), 1.0 - chance])
    return AgainstChance(value, float(usual), float(limit))


def stability_index(reference: FloatArray, current: FloatArray) -> FloatArray:
    """Give the population stability index of counts by bin, over the last axis.

    ``PSI = sum_b (q_b - p_b) ln(q_b / p_b)``, the shares being those of ``count + 1/2``, so that no bin is empty.

    >>> round(float(stability_index(np.array([50.0, 50.0]), np.array([50.0, 50.0]))), 6)
    0.0
    >>> round(float(stability_index(np.array([50.0, 50.0]), np.array([80.0, 20.0]))), 3)  # .297 × ln(3.93)
    0.406
    """
    shares = [counts + 0.5 for counts in (reference, current)]
    p, q = (item / item.sum(axis=-1, keepdims=True) for item in shares)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1), dtype=np.float64)


def score_drift(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_day: IntArray,
    current_day: IntArray,
    seed: int,
    chance: float,
) -> AgainstChance | None:
    """Compare the distribution of scores with that of a reference.

    Parameters
    ----------
    reference, current
        Scores or probabilities, shapes ``(n_reference,)`` and ``(n_events,)``.
    reference_day, current_day
        Day of each; whole days are drawn for the null distribution, because days differ.
    seed
        Of the draws.
    chance
        How often the statistic lies above the limit where nothing has changed.

    Returns
    -------
    AgainstChance or None
        The index over ten bins of equal count, against that of days exchanged at random between both sides; None with
        fewer than `MIN_DAYS` days on a side.
    """
    rng = np.random.default_rng([seed, 3])
    bins = equal_mass_bins(np.concatenate([reference, current]))
    sides = bins[: len(reference)], bins[len(reference) :]
    n_bins = int(bins.max(initial=0)) + 1
    counts = [np.bincount(side, minlength=n_bins).astype(np.float64) for side in sides]
    value = float(stability_index(counts[0], counts[1]))
    by_day = [_by_day(side, day, n_bins) for side, day in zip(sides, (reference_day, current_day), strict=True)]
    n_now = len(by_day[1])
    if min(len(by_day[0]), n_now) < MIN_DAYS:
        return None
    days = np.concatenate(by_day)
    order = np.argsort(rng.random((DRAWS, len(days))), axis=1)[:, :n_now]
    drawn = days[order].sum(axis=1)
    return _against(value, stability_index(counts[0] + counts[1] - drawn, drawn), chance)


def _by_day(bins: IntArray, day: IntArray, n_bins: int) -> FloatArray:
    """Count events by day and bin, shape ``(n_days, n_bins)``."""
    days, place = np.unique(day, return_inverse=True)
    cells = np.bincount(place * n_bins + bins, minlength=len(days) * n_bins)
    return cells.reshape(len(days), n_bins).astype(np.float64)


def calibration_drift(
    y_true: npt.NDArray[Any], y_prob: FloatArray, weight: FloatArray, codes: IntArray, *, seed: int, chance: float
) -> AgainstChance:
    """Hold the expected calibration error against that of honest probabilities, clusters kept together.

    Under honest probabilities the gaps ``y_prob - y_true`` of a cluster are as likely to be the other way round: the
    null distribution turns the sign of whole clusters at random (the wild bootstrap of Liu, Annals of Statistics 1988,
    by cluster).

    Parameters
    ----------
    y_true, y_prob, weight
        Outcome, probability and weight of each event, shape ``(n_events,)``, at least one.
    codes
        Cluster of each event, from 0.
    seed, chance
        As in `score_drift`.
    """
    rng = np.random.default_rng([seed, 4])
    bins = equal_mass_bins(y_prob)
    n_bins, n_clusters = int(bins.max()) + 1, int(codes.max()) + 1
    gap = weight * (y_prob - (y_true == 1))
    cells = np.bincount(codes * n_bins + bins, weights=gap, minlength=n_clusters * n_bins)
    gaps = cells.reshape(n_clusters, n_bins)
    draws = np.empty(DRAWS)
    for number in range(DRAWS):
        signs = 2.0 * rng.integers(0, 2, n_clusters) - 1.0
        draws[number] = np.abs(np.einsum("i,ij->j", signs, gaps)).sum()
    total = float(weight.sum())
    return _against(float(np.abs(gaps.sum(axis=0)).sum()) / total, draws / total, chance)
