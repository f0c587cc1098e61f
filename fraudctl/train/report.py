"""What a training run says about itself: how well its probabilities keep their word.

Owns the reliability of the cross-fitted fold predictions beside what a perfectly calibrated score would show on so few
events. Bins and error are those of `fraudctl.metrics.calibration`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fraudctl.metrics.calibration import ece_of, equal_mass_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_DRAWS: Final = 200
"""Draws of outcomes from the probabilities themselves."""

_RANGE: Final = (0.05, 0.95)


def calibration_report(
    y_true: NDArray[Any], y_prob: Floats, *, seed: int, weight: Floats | None = None
) -> dict[str, Any]:
    """Give the expected calibration error and the reliability curve, each with its 90 % range under perfection.

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

    Returns
    -------
    dict
        ``ece``, ``ece_if_perfect`` (``low``, ``high``) and ``reliability``: per bin of equal count, by rising
        probability, ``rows``, ``mean_prob``, ``fraud_rate`` and ``if_perfect`` (``low``, ``high`` of the fraud rate).
    """
    weights = np.ones(len(y_prob)) if weight is None else weight
    bins = equal_mass_bins(y_prob)
    size, promised, seen = (_sums(bins, item) for item in (weights, weights * y_prob, weights * (y_true == 1)))
    random = np.random.default_rng([seed, 2])
    drawn = np.array([
        _sums(bins, weights * (random.random(len(y_prob)) < y_prob)) for _ in range(N_DRAWS)
    ])  # fmt: skip
    errors = np.array([ece_of(size, promised, item) for item in drawn])
    some = size > 0
    low, high = np.quantile(drawn[:, some] / size[some], _RANGE, axis=0)
    rates = zip(size[some], promised[some], seen[some], np.bincount(bins)[some], low, high, strict=True)
    return {
        "ece": round(ece_of(size, promised, seen), 9),
        "ece_if_perfect": _range(*np.quantile(errors, _RANGE)),
        "reliability": [
            {"rows": int(n), "mean_prob": round(float(p / total), 9), "fraud_rate": round(float(y / total), 9),
             "if_perfect": _range(lo, hi)}
            for total, p, y, n, lo, hi in rates
        ],
    }  # fmt: skip


def _sums(bins: NDArray[np.int64], values: Floats) -> Floats:
    return np.bincount(bins, weights=values).astype(np.float64)


def _range(low: float, high: float) -> dict[str, float]:
    return {"low": round(float(low), 9), "high": round(float(high), 9)}
