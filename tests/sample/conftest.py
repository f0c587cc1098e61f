from __future__ import annotations

import pytest

from fraudctl.sample import SampleData, generate


@pytest.fixture(scope="session")
def shipped() -> SampleData:
    """The sample that the repository ships: all arguments at their defaults."""
    return generate()


@pytest.fixture(scope="session")
def small() -> SampleData:
    """A sample of another size, length and seed."""
    return generate(n_events=6_000, days=90, seed=3)
