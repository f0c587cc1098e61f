"""How honest probabilities are: expected calibration error and the reliability table that reports draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import FloatArray, IntArray

N_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Events of similar probability: what was promised and what came."""

    low: float
    """Lowest y_prob in the bin."""
    high: float
    """Highest y_prob in the bin."""
    n_events: int
    """Events in the bin."""
    n_frauds: int
    """Frauds among them."""
    mean_prob: float
    """Mean y_prob: what was promised."""
    fraud_rate: float
    """Share of fraud: what came."""


def equal_mass_bins(y_prob: FloatArray, *, n_bins: int = N_BINS) -> IntArray:
    """Put events into bins of about equal count by probability; equal probabilities share a bin, shape ``(n_events,)``.

    Numbers run from 0 without gaps; fewer bins come out where ties are many.
    """
    order = np.argsort(y_prob, kind="stable")
    ranked = y_prob[order]
    first = np.searchsorted(ranked, ranked, side="left")
    raw = np.empty(len(y_prob), dtype=np.int64)
    raw[order] = first * n_bins // max(len(y_prob), 1)
    return np.unique(raw, return_inverse=True)[1].astype(np.int64)


def expected_calibration_error(
    y_true: npt.NDArray[Any], y_prob: FloatArray, *, weight: FloatArray | None = None, n_bins: int = N_BINS
) -> float:
    """Mean distance between promised and seen fraud rate over bins of equal count, weighted by their events.

    ``ECE = sum_b n_b / n × |mean y_prob_b - fraud rate_b|`` (Naeini, Cooper and Hauskrecht, AAAI 2015) with bins of
    equal count, for scores of fraud crowd at 0. NaN without events.

    Examples
    --------
    >>> expected_calibration_error(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.6, 0.6]), n_bins=2)
    0.25
    """
    if len(y_prob) == 0:
        return math.nan
    w = np.ones(len(y_prob)) if weight is None else weight
    return ece_of(*_bin_sums(y_true, y_prob, w, equal_mass_bins(y_prob, n_bins=n_bins)))


def _bin_sums(
    y_true: npt.NDArray[Any], y_prob: FloatArray, weight: FloatArray, bins: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    summands = (weight, weight * y_prob, weight * (y_true == 1))
    size, promised, seen = (np.bincount(bins, weights=item).astype(np.float64) for item in summands)
    return size, promised, seen


def ece_of(size: FloatArray, promised: FloatArray, seen: FloatArray) -> float:
    """Return the error from the sums of weight, of y_prob and of fraud in each bin."""
    total = size.sum()
    return float(np.abs(promised - seen).sum() / total) if total > 0 else math.nan


def honest_ece(
    y_prob: FloatArray, *, seed: int, replicates: int = 200, weight: FloatArray | None = None, n_bins: int = N_BINS
) -> tuple[float, float]:
    """Return mean and 95 % quantile of the calibration error that perfectly honest probabilities would show.

    The error of a finite sample is never 0. Outcomes are drawn from ``y_prob`` itself, and the error is measured as
    `expected_calibration_error` does; what lies above the quantile is more than chance.
    """
    rng = np.random.default_rng([seed, 2])
    w = np.ones(len(y_prob)) if weight is None else weight
    bins = equal_mass_bins(y_prob, n_bins=n_bins)
    draws = [ece_of(*_bin_sums(rng.random(len(y_prob)) < y_prob, y_prob, w, bins)) for _ in range(replicates)]
    return float(np.mean(draws)), float(np.quantile(draws, 0.95))


def reliability(
    y_true: npt.NDArray[Any], y_prob: FloatArray, *, weight: FloatArray | None = None, n_bins: int = N_BINS
) -> tuple[ReliabilityBin, ...]:
    """Return promised and seen fraud rates, weighted, over bins of equal count, by rising probability."""
    if len(y_prob) == 0:
        return ()
    w = np.ones(len(y_prob)) if weight is None else weight
    bins = equal_mass_bins(y_prob, n_bins=n_bins)
    return tuple(_reliability_bin(y_true[bins == b], y_prob[bins == b], w[bins == b]) for b in range(bins.max() + 1))


def _reliability_bin(y_true: npt.NDArray[Any], y_prob: FloatArray, weight: FloatArray) -> ReliabilityBin:
    return ReliabilityBin(
        low=float(y_prob.min()),
        high=float(y_prob.max()),
        n_events=len(y_prob),
        n_frauds=int((y_true == 1).sum()),
        mean_prob=float(np.average(y_prob, weights=weight)),
        fraud_rate=float(np.average(y_true == 1, weights=weight)),
    )
