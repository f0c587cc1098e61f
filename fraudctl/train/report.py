"""Calibration report of the cross-fitted fold predictions.

Owns their reliability, and what a perfectly calibrated score would show on as few
events. Bins and error are those of `fraudctl.metrics.calibration`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fraudctl.arrays import FloatArray
from fraudctl.metrics.calibration import ece_of, equal_mass_bins
from fraudctl.train.summary import CalibrationReport, FoldBin, Range

if TYPE_CHECKING:
    from numpy.typing import NDArray


N_DRAWS: Final = 200
"""Draws of outcomes from the probabilities themselves."""

_RANGE: Final = (0.05, 0.95)


def calibration_report(
    y_true: NDArray[Any], y_prob: FloatArray, *, seed: int, weight: FloatArray | None = None
) -> CalibrationReport:
    """Return the expected calibration error and the reliability curve, each with its 90 % range under perfection.

    A perfectly calibrated score shows an error too, by chance. Its range is found by drawing each outcome from its own
    probability, `N_DRAWS` times: the consistency resampling of Bröcker and Smith, *Increasing the Reliability of
    Reliability Diagrams* (Weather and Forecasting, 2007).

    Parameters
    ----------
    y_true, y_prob
        Outcomes (1 fraud, 0 legitimate) and probabilities, shape ``(n_events,)``.
    seed
        Seed of the draws.
    weight
        Weight of each event.
    """
    weights = np.ones(len(y_prob)) if weight is None else weight
    bins = equal_mass_bins(y_prob)
    size, promised, seen = (_sums(bins, item) for item in (weights, weights * y_prob, weights * (y_true == 1)))
    random = np.random.default_rng([seed, 2])
    drawn = np.array([_sums(bins, weights * (random.random(len(y_prob)) < y_prob)) for _ in range(N_DRAWS)])
    errors = np.array([ece_of(size, promised, item) for item in drawn])
    some = size > 0
    low, high = np.quantile(drawn[:, some] / size[some], _RANGE, axis=0)
    rates = zip(size[some], promised[some], seen[some], np.bincount(bins)[some], low, high, strict=True)
    bins_found = tuple(
        FoldBin(int(n), round(float(p / total), 9), round(float(y / total), 9), _range(lo, hi))
        for total, p, y, n, lo, hi in rates
    )
    return CalibrationReport(
        round(ece_of(size, promised, seen), 9), _range(*np.quantile(errors, _RANGE)), reliability=bins_found
    )


def _sums(bins: NDArray[np.int64], values: FloatArray) -> FloatArray:
    return np.bincount(bins, weights=values).astype(np.float64)


def _range(low: float, high: float) -> Range:
    return Range(round(float(low), 9), round(float(high), 9))
