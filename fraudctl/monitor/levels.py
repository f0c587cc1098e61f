"""How cohorts differ from the past: the stretch of their delays and the rate of their frauds, followed through time.

Owns the joint posterior of both, on a grid, given what has arrived of all cohorts. Each follows that of the cohort
before it with a spread, or jumps: what older open cohorts show already is expected of younger ones, and how much past
cohorts differed decides how much the next may differ.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.monitor.delays import STRETCHES

RATES: Final[FloatArray] = np.exp(np.linspace(-1.5, 1.5, 41))
"""Factors by which the frauds of a cohort may be more than calibrated probabilities say: from 0.22 to 4.5."""


@dataclass(frozen=True)
class LevelSteps:
    """How the logarithm of a level moves from cohort to cohort.

    Attributes
    ----------
    spreads
        Standard deviations that are tried, each with its probability beforehand; each counts by its evidence.
    keeps
        Share of the level before that a cohort keeps.
    jump
        Probability that a cohort is unlike the one before it: a backlog, a holiday, a new pattern.
    wide
        Standard deviation of a jump.
    """

    spreads: dict[float, float]
    keeps: float
    jump: float
    wide: float

    def transition(self, grid: FloatArray, spread: float) -> tuple[FloatArray, FloatArray]:
        """Return the probabilities from each point of a log grid to each, and those of a first cohort."""
        gap = float(grid[1] - grid[0])

        def bell(middle: FloatArray, sd: float) -> FloatArray:
            wide = max(sd, 0.4 * gap)  # below this a bell has no point of the grid beside its middle
            shape = np.exp(-0.5 * ((grid[None, :] - middle[:, None]) / wide) ** 2)
            return np.asarray(shape / shape.sum(axis=1, keepdims=True), dtype=np.float64)

        before, nothing = self.keeps * grid, np.zeros(1)
        step = (1.0 - self.jump) * bell(before, spread) + self.jump * bell(before, self.wide)
        settled = spread / np.sqrt(1.0 - self.keeps**2)
        first = (1.0 - self.jump) * bell(nothing, settled) + self.jump * bell(nothing, self.wide)
        return step, first[0]


STRETCH_STEPS: Final = LevelSteps(spreads={0.02: 0.4, 0.05: 0.3, 0.1: 0.2, 0.2: 0.1}, keeps=0.9, jump=0.04, wide=0.5)
RATE_STEPS: Final = LevelSteps(spreads={0.02: 0.5, 0.06: 0.3, 0.15: 0.2}, keeps=0.97, jump=0.08, wide=0.6)
OWN_SPREADS: Final = {0.04: 0.6, 0.1: 0.3, 0.2: 0.1}
"""Coefficients of variation of a cohort around its rate that are tried: what it shares with no other."""
LEAST_WEIGHT: Final = 0.01
"""Settings with less weight than this are left out."""


@dataclass(frozen=True)
class Levels:
    """What is known of the stretch and the rate of each cohort.

    Attributes
    ----------
    joint
        Probabilities, shape ``(n_cohorts, n_stretches, n_rates)``; each cohort sums to 1.
    own_shape
        Shape of the gamma distribution of a cohort around its rate.
    paths
        Draws of stretch and rate of all cohorts together, as positions in their grids, shape
        ``(n_draws, n_cohorts, 2)``: what is unknown of one cohort is unknown of its neighbours too.
    """

    joint: FloatArray
    own_shape: float
    paths: IntArray


@dataclass(frozen=True)
class Arrived:
    """What has arrived of each cohort.

    Attributes
    ----------
    n_known
        Frauds known, shape ``(n_cohorts,)``.
    expected
        Frauds that calibrated probabilities say, shape ``(n_cohorts,)``.
    share
        Share of them that is known by now at each stretch, shape ``(n_cohorts, n_stretches)``.
    by_shape
        Log likelihood of each stretch by the delays seen, the same shape.
    """

    n_known: FloatArray
    expected: FloatArray
    share: FloatArray
    by_shape: FloatArray

    def evidence(self, own_shape: float) -> FloatArray:
        """Return log likelihoods of stretch and rate, ``(n_cohorts, n_stretches, n_rates)``.

        Counts are Poisson around a gamma variable (negative binomial).
        """
        from scipy.special import gammaln

        mean = np.maximum(self.expected[:, None, None] * self.share[:, :, None] * RATES, 1e-12)
        n = self.n_known[:, None, None]
        chance = gammaln(n + own_shape) - gammaln(own_shape) - gammaln(n + 1.0)
        log = own_shape * np.log(own_shape / (own_shape + mean)) + n * np.log(mean / (own_shape + mean))
        return np.asarray(self.by_shape[:, :, None] + chance + log, dtype=np.float64)


def levels(arrived: Arrived, *, n_draws: int, rng: np.random.Generator) -> Levels:
    """Return the posterior of stretch and rate of each cohort, given the arrivals of all, and draws of their paths.

    Spreads are weighed by how well they explain all cohorts, so that delays or rates that differed between past cohorts
    widen what is said of the next.
    """
    if len(arrived.n_known) == 0:
        nothing = np.zeros((n_draws, 0, 2), np.int64)
        return Levels(np.zeros((0, len(STRETCHES), len(RATES))), 1.0 / min(OWN_SPREADS) ** 2, nothing)
    settings = list(itertools.product(OWN_SPREADS, STRETCH_STEPS.spreads, RATE_STEPS.spreads))
    beforehand = [
        OWN_SPREADS[own] * STRETCH_STEPS.spreads[by_stretch] * RATE_STEPS.spreads[by_rate]
        for own, by_stretch, by_rate in settings
    ]
    seen = {own: arrived.evidence(1.0 / own**2) for own in OWN_SPREADS}
    filtered = [forward(seen[own], by_stretch, by_rate) for own, by_stretch, by_rate in settings]
    total = np.array([found[1] for found in filtered])
    weight = np.array(beforehand) * np.exp(total - total.max())
    weight = np.where(weight < LEAST_WEIGHT * weight.sum(), 0.0, weight)
    weight /= weight.sum()
    joint = np.zeros((len(arrived.n_known), len(STRETCHES), len(RATES)))
    paths: list[IntArray] = []
    for at, n_of in enumerate(rng.multinomial(n_draws, weight)):
        (own, by_stretch, by_rate), before = settings[at], filtered[at][0]
        if weight[at] > 0:
            joint += weight[at] * smoothed(seen[own], before, by_stretch, by_rate)
        if n_of > 0:
            paths.append(drawn_paths(before, by_stretch, by_rate, n_draws=int(n_of), rng=rng))
    variance = sum(share * own**2 for share, (own, _, _) in zip(weight, settings, strict=True))
    return Levels(joint, 1.0 / float(variance), rng.permutation(np.concatenate(paths)))


def drawn_paths(
    before: FloatArray, by_stretch: float, by_rate: float, *, n_draws: int, rng: np.random.Generator
) -> IntArray:
    """Draw stretch and rate of all cohorts from their joint posterior, shape ``(n_draws, n_cohorts, 2)``.

    Forward filtering, backward sampling: the last cohort first, each earlier one given the one after it. ``before`` is
    the posterior of each cohort given itself and those before it, of `forward`.
    """
    step_a, _ = STRETCH_STEPS.transition(np.log(STRETCHES), by_stretch)
    step_b, _ = RATE_STEPS.transition(np.log(RATES), by_rate)
    out = np.empty((n_draws, len(before), 2), dtype=np.int64)
    to_a, to_b = np.ones((n_draws, len(STRETCHES))), np.ones((n_draws, len(RATES)))
    by_rate_after = np.broadcast_to(before[-1].sum(axis=1), to_a.shape)
    for row in range(len(before) - 1, -1, -1):
        stretch = _pick(to_a * by_rate_after, rng)
        rate = _pick(before[row][stretch] * to_b, rng)
        out[:, row, 0], out[:, row, 1] = stretch, rate
        to_a, to_b = step_a.T[stretch], step_b.T[rate]
        if row > 0:  # one small product of all rates: draws of one rate share a row
            by_rate_after = (before[row - 1] @ step_b).T[rate]
    return out


def _pick(weights: FloatArray, rng: np.random.Generator) -> IntArray:
    """Draw a column of each row by its weights."""
    ends = np.cumsum(weights, axis=1)
    found = (ends < rng.random((len(ends), 1)) * ends[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(found, weights.shape[1] - 1), dtype=np.int64)


def forward(evidence: FloatArray, by_stretch: float, by_rate: float) -> tuple[FloatArray, float]:
    """Return the posterior of each cohort given itself and those before it, and the log likelihood of all."""
    step_a, first_a = STRETCH_STEPS.transition(np.log(STRETCHES), by_stretch)
    step_b, first_b = RATE_STEPS.transition(np.log(RATES), by_rate)
    top = evidence.max(axis=(1, 2), keepdims=True)
    seen = np.exp(evidence - top)
    out = np.empty_like(seen)
    total = float(top.sum())
    prior = np.outer(first_a, first_b)
    for row in range(len(seen)):
        here = prior * seen[row]
        scale = float(here.sum())
        out[row] = here / scale
        total += float(np.log(scale))
        prior = step_a.T @ out[row] @ step_b
    return out, total


def smoothed(evidence: FloatArray, before: FloatArray, by_stretch: float, by_rate: float) -> FloatArray:
    """Return the posterior of each cohort given all, shape ``(n_cohorts, n_stretches, n_rates)``.

    ``before`` is that given itself and those before it, of `forward`.
    """
    step_a, _ = STRETCH_STEPS.transition(np.log(STRETCHES), by_stretch)
    step_b, _ = RATE_STEPS.transition(np.log(RATES), by_rate)
    seen = np.exp(evidence - evidence.max(axis=(1, 2), keepdims=True))
    after = np.ones_like(seen)
    for row in range(len(seen) - 2, -1, -1):
        back = step_a @ (seen[row + 1] * after[row + 1]) @ step_b.T
        after[row] = back / back.sum()
    both = before * after
    return np.asarray(both / both.sum(axis=(1, 2), keepdims=True), dtype=np.float64)
