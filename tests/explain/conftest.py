"""The synthetic world, once per session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fraudctl.explain.result import Explanation

sys.path.insert(0, str(Path(__file__).parent))

from world import World, explain_world, make_world


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def explanation(world: World) -> Explanation:
    return explain_world(world)
