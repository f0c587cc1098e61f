"""The synthetic world, once per session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import FEATURES, World, make_world

from fraudctl.explain.result import Explanation
from fraudctl.explain.run import explain


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def explanation(world: World) -> Explanation:
    return explain_world(world)


def explain_world(world: World, **more: object) -> Explanation:
    arguments: dict[str, object] = {"model": "v1", "permutations": 200, "threads": 1, **more}
    return explain(
        world.scored, world.history, project=world.project, features=FEATURES, contribute=world.contribute,
        decide=world.decide, **arguments,
    )  # type: ignore[arg-type]  # fmt: skip
