from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.sample.draws import Draws

CRC_OF_CARDS = 79_845_629


def test_the_first_numbers_of_a_stream_never_change() -> None:
    # Raw PCG64 output as 53-bit fractions: what every sample file hangs on.
    raw = np.random.PCG64(np.random.SeedSequence([7, CRC_OF_CARDS])).random_raw(3)
    assert Draws(7, "cards").uniform(3).tolist() == [(int(word) >> 11) * 2.0**-53 for word in raw]


def test_streams_of_other_names_and_seeds_differ() -> None:
    first = Draws(7, "cards").uniform(100)
    assert abs(np.corrcoef(first, Draws(7, "customers").uniform(100))[0, 1]) < 0.3
    assert abs(np.corrcoef(first, Draws(8, "cards").uniform(100))[0, 1]) < 0.3


def test_moments_are_those_of_the_distributions() -> None:
    draws, n = Draws(1, "moments"), 200_000
    normal = draws.normal(n)
    assert normal.mean() == pytest.approx(0.0, abs=0.01)
    assert normal.std() == pytest.approx(1.0, abs=0.01)
    assert draws.exponential(3.0, n).mean() == pytest.approx(3.0, rel=0.02)
    assert np.median(draws.lognormal(5.0, 0.7, n)) == pytest.approx(5.0, rel=0.02)
    assert draws.chance(0.2, n).mean() == pytest.approx(0.2, abs=0.005)


def test_pick_follows_the_weights() -> None:
    picked = Draws(2, "pick").pick(np.cumsum([1.0, 0.0, 3.0]), 40_000)
    assert np.bincount(picked, minlength=3) / 40_000 == pytest.approx([0.25, 0.0, 0.75], abs=0.01)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 300), high=st.integers(1, 10**6))
def test_bounds_and_permutations(seed: int, n: int, high: int) -> None:
    draws = Draws(seed, "bounds")
    below = draws.below(high, n)
    assert below.shape == (n,)
    assert ((below >= 0) & (below < high)).all()
    assert np.sort(draws.order(n)).tolist() == list(range(n))
    between = draws.between(2.0, 3.0, n)
    assert ((between >= 2.0) & (between < 3.0)).all()
