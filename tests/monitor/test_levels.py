from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nbinom

from fraudctl.monitor.delays import STRETCHES
from fraudctl.monitor.levels import (
    RATE_STEPS,
    RATES,
    STRETCH_STEPS,
    Arrived,
    Levels,
    drawn_paths,
    forward,
    levels,
    smoothed,
)


def test_the_posterior_is_that_of_all_paths() -> None:
    rng = np.random.default_rng(1)
    evidence = rng.normal(0, 2, (2, len(STRETCHES), len(RATES)))
    step_a, first_a = STRETCH_STEPS.transition(np.log(STRETCHES), 0.1)
    step_b, first_b = RATE_STEPS.transition(np.log(RATES), 0.06)
    weights = np.exp(evidence)
    # every path through both cohorts: (stretch, rate) then (stretch, rate)
    paths = np.einsum("a,b,ab,ac,bd,cd->abcd", first_a, first_b, weights[0], step_a, step_b, weights[1])
    found = smoothed(evidence, forward(evidence, 0.1, 0.06)[0], 0.1, 0.06)
    assert found[0] == pytest.approx(paths.sum(axis=(2, 3)) / paths.sum())
    assert found[1] == pytest.approx(paths.sum(axis=(0, 1)) / paths.sum())
    assert forward(evidence, 0.1, 0.06)[1] == pytest.approx(np.log(paths.sum()))


def test_steps_are_probabilities() -> None:
    for steps, grid in ((STRETCH_STEPS, STRETCHES), (RATE_STEPS, RATES)):
        for spread in steps.spreads:
            step, first = steps.transition(np.log(grid), spread)
            assert step.sum(axis=1) == pytest.approx(np.ones(len(grid)))
            assert first.sum() == pytest.approx(1.0)


def test_the_evidence_is_the_negative_binomial() -> None:
    arrived = Arrived(
        np.array([7.0]), np.array([10.0]), np.full((1, len(STRETCHES)), 0.5), np.zeros((1, len(STRETCHES)))
    )
    # a mean of 10 × 0.5 × the rate, and a coefficient of variation of 1/2 around it
    by_library = nbinom.logpmf(7, 4.0, 4.0 / (4.0 + 5.0 * RATES))
    assert arrived.evidence(4.0)[0, 3] == pytest.approx(by_library)


def said_of(counts: list[float], *, share: list[float] | None = None, by_shape: np.ndarray | None = None) -> Levels:
    n = len(counts)
    known = np.array(share if share is not None else [1.0] * n)
    shape = np.zeros((n, len(STRETCHES))) if by_shape is None else by_shape
    arrived = Arrived(np.array(counts), np.full(n, 100.0), np.tile(known[:, None], len(STRETCHES)), shape)
    return levels(arrived, n_draws=1000, rng=np.random.default_rng(0))


def said(counts: list[float], *, share: list[float] | None = None, by_shape: np.ndarray | None = None) -> np.ndarray:
    return said_of(counts, share=share, by_shape=by_shape).joint


def spread_of(posterior: np.ndarray, grid: np.ndarray) -> float:
    return float(np.sqrt(posterior @ grid**2 - (posterior @ grid) ** 2))


def test_a_rate_that_rose_is_expected_of_younger_cohorts() -> None:
    joint = said([100.0] * 10 + [200.0] * 3 + [0.0], share=[1.0] * 13 + [0.0])
    assert joint.sum(axis=(1, 2)) == pytest.approx(np.ones(14))
    assert joint[13].sum(axis=0) @ RATES > 1.7
    assert joint[5].sum(axis=0) @ RATES == pytest.approx(1.0, abs=0.05)


def test_cohorts_that_differed_widen_what_is_said_of_the_next() -> None:
    grid = np.log(STRETCHES)

    def last(stretches: list[float]) -> np.ndarray:
        shape = np.array([-0.5 * ((grid - value) / 0.05) ** 2 for value in stretches] + [0.0 * grid])
        return said([100.0] * len(shape), by_shape=shape)[-1].sum(axis=1)

    lively = [0.3, -0.2, 0.25, -0.3, 0.1, 0.3, -0.25, 0.0, 0.3, -0.3, 0.2, -0.1]
    assert spread_of(last(lively), grid) > 1.3 * spread_of(last([0.0] * 12), grid)
    assert last([0.0] * 9 + [0.7] * 3) @ grid == pytest.approx(0.6, abs=0.15)  # delays that doubled stay doubled
    rates = np.log(RATES)
    noisy = said([100.0, 180.0, 60.0, 150.0, 70.0, 160.0, 60.0, 0.0], share=[1.0] * 7 + [0.0])[-1].sum(axis=0)
    calm = said([100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0, 0.0], share=[1.0] * 7 + [0.0])[-1].sum(axis=0)
    assert spread_of(noisy, rates) > spread_of(calm, rates)


def test_drawn_paths_have_the_joint_probabilities_of_neighbours() -> None:
    rng = np.random.default_rng(2)
    evidence = np.full((2, len(STRETCHES), len(RATES)), -50.0)
    places = [(3, 5), (4, 6), (9, 30)]
    for stretch, rate in places:  # few places are likely at all, so that pairs of them can be counted
        evidence[:, stretch, rate] = rng.normal(0, 1, 2)
    step_a, first_a = STRETCH_STEPS.transition(np.log(STRETCHES), 0.1)
    step_b, first_b = RATE_STEPS.transition(np.log(RATES), 0.06)
    weights = np.exp(evidence)
    expected = {
        (one, two): first_a[one[0]] * first_b[one[1]] * weights[0][one]
        * step_a[one[0], two[0]] * step_b[one[1], two[1]] * weights[1][two]
        for one in places for two in places
    }  # fmt: skip
    total = sum(expected.values())
    paths = drawn_paths(forward(evidence, 0.1, 0.06)[0], 0.1, 0.06, n_draws=20_000, rng=rng)
    assert paths.shape == (20_000, 2, 2)
    for (one, two), weight in expected.items():
        share = float(((paths[:, 0] == one).all(axis=1) & (paths[:, 1] == two).all(axis=1)).mean())
        assert share == pytest.approx(weight / total, abs=0.012)


def test_what_is_unknown_of_a_cohort_is_unknown_of_its_neighbour() -> None:
    found = said_of([100.0] * 10 + [3.0, 3.0], share=[1.0] * 10 + [0.03, 0.03])
    rates = np.log(RATES)[found.paths[:, -2:, 1]]
    assert np.corrcoef(rates.T)[0, 1] > 0.5
    for at in (10, 11):
        by_path = np.bincount(found.paths[:, at, 1], minlength=len(RATES)) / len(found.paths)
        assert np.abs(np.cumsum(by_path) - np.cumsum(found.joint[at].sum(axis=0))).max() < 0.05
