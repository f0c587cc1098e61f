"""Intervals and tests that hold however often one looks.

Owns two statistics. The confidence sequence is the normal mixture boundary (H. Robbins, *Statistical methods related to
the law of the iterated logarithm*, Annals of Mathematical Statistics 1970; S. R. Howard and others, *Time-uniform,
nonparametric, nonasymptotic confidence sequences*, Annals of Statistics 2021, eq. 14), applied in information time to
an estimate with a standard error, as asymptotic confidence sequences are (I. Waudby-Smith and others, *Time-uniform
central limit theory and asymptotic confidence sequences*, Annals of Statistics 2024). The sample-ratio test is the
mixture martingale of M. Lindon and A. Malek, *Anytime-valid inference for multinomial count data*, NeurIPS 2022.
"""

from __future__ import annotations

import functools
import math
from typing import Final

from fraudctl.arrays import FloatArray, IntArray

PRIOR_UNITS: Final = 200.0
"""Weight of the planned shares in the mixture of the sample-ratio test, in units."""


_SCALES: Final = tuple(4.0**power for power in range(-7, 2))
"""Information at which the mixtures are narrowest, relative to that of the target."""
_AT_TARGET: Final = 0.5
"""Weight of the mixture that is narrowest at the target; the others share the rest."""


def half_width(se: float, *, target_se: float, alpha: float) -> float:
    """Return half the width of the confidence sequence at a standard error.

    With the information ``I = 1 / se²``, a difference ``d`` is left out where the mean over the mixtures ``t`` of
    ``sqrt(t / (I + t)) exp(d² I² / (2 (I + t)))`` reaches ``1 / α``. One mixture is narrowest about ``target_se``;
    eight others keep the sequence useful far from it. Which target is taken must not depend on the difference.

    Parameters
    ----------
    se
        Standard error of the estimate now, above 0.
    target_se
        Standard error that the experiment aims at, above 0.
    alpha
        How often the sequence may ever leave out the truth, both sides together.

    >>> round(half_width(1.0, target_se=1.0, alpha=0.05), 3)
    3.196
    """
    information = 1.0 / se**2
    aim = -2.0 * math.log(alpha)
    best = 1.0 / target_se**2 / (aim + math.log(aim + 1.0))
    mixed = [best * scale for scale in _SCALES]
    weights = [_AT_TARGET if scale == 1.0 else (1.0 - _AT_TARGET) / (len(_SCALES) - 1) for scale in _SCALES]
    low, high = 0.0, 40.0 * se * max(1.0, math.sqrt(min(mixed) / information))
    for _ in range(60):
        middle = 0.5 * (low + high)
        score = (middle * information) ** 2 / 2.0
        terms = [
            math.log(weight) + 0.5 * math.log(t / (information + t)) + score / (information + t)
            for t, weight in zip(mixed, weights, strict=True)
        ]
        most = max(terms)
        reached = most + math.log(sum(math.exp(term - most) for term in terms)) >= -math.log(alpha)
        low, high = (low, middle) if reached else (middle, high)
    return high


@functools.lru_cache(maxsize=1024)
def target_of(effect: float, *, alpha: float) -> float:
    """Return the standard error at which the confidence sequence is as narrow as an effect, if it is aimed at it.

    >>> round(half_width(target_of(2.0, alpha=0.05), target_se=target_of(2.0, alpha=0.05), alpha=0.05), 6)
    2.0
    """
    return effect / half_width(1.0, target_se=1.0, alpha=alpha)


def sample_ratio_evidence(n_challenger: int, n_champion: int, *, share: float) -> float:
    """Return the natural logarithm of the evidence against a share: of the Bayes factor of any share against it.

    By Ville's inequality it exceeds ``log(1 / α)`` with a probability of at most α, however often it is looked at.

    Parameters
    ----------
    n_challenger, n_champion
        Units in each arm.
    share
        Planned share of the challenger, in (0, 1).

    >>> sample_ratio_evidence(100, 900, share=0.1) < 0 < sample_ratio_evidence(160, 840, share=0.1)
    True
    """
    a, b = PRIOR_UNITS * share, PRIOR_UNITS * (1.0 - share)
    mixture = _log_beta(a + n_challenger, b + n_champion) - _log_beta(a, b)
    return mixture - n_challenger * math.log(share) - n_champion * math.log(1.0 - share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def ratio_of_units(cost: FloatArray, events: FloatArray | IntArray) -> tuple[float, float]:
    """Return cost per event, and its standard error clustered by unit (linearised ratio).

    Parameters
    ----------
    cost, events
        Totals of each unit, shape ``(n_units,)``, at least two units.

    >>> import numpy as np
    >>> ratio_of_units(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    (2.0, 1.0)
    """
    n_units, total = len(cost), float(events.sum())
    value = float(cost.sum()) / total
    residual = cost - value * events
    return value, math.sqrt(n_units / (n_units - 1) * float((residual**2).sum())) / total
