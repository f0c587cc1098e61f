"""Distances from the latest and the usual place of an entity in one pass over its history.

A distance is defined on hidden features: the latest coordinates, their means, the seconds since the last event. Where
nothing else needs these, they are not built: the pass finds the same bits from coordinates that lie in the order of the
entity.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fraudctl.features.batch.groups import Queries, Ranges, gathered
from fraudctl.features.meaning.definition import Feature, FeatureSet
from fraudctl.features.meaning.families.geo import GeoSpec
from fraudctl.features.meaning.families.habits import HabitSpec
from fraudctl.features.meaning.families.windows import WindowSpec

if TYPE_CHECKING:
    from fraudctl.features.batch.blocks import Block
    from fraudctl.features.batch.engine import Engine

FROM = ("distance_from_last", "speed_from_last", "distance_from_usual")
"""Kinds of places that look back, in the order of the loop's slots."""
MOST = 1 << 22
"""Events of one entity whose coordinates (multiples of 2^-40, at most 1) add up to less than 2^62 of them."""


def other_place(feature: Feature, features: FeatureSet) -> HabitSpec | WindowSpec | None:
    """Return the first of the features that a distance compares the event's place with; None for all other features."""
    spec = feature.spec
    if not isinstance(spec, GeoSpec) or spec.kind not in FROM:
        return None
    found = features[spec.places[3]].spec
    return found if isinstance(found, (HabitSpec, WindowSpec)) else None


def built_in(features: FeatureSet) -> frozenset[str]:
    """Return the hidden features that nothing needs but distances, which do without them."""
    users: dict[str, list[Feature]] = {}
    for step in features.steps:
        for need in step.spec.needs:
            users.setdefault(need, []).append(step)
    shown = set(features.names)

    def is_built_in(name: str) -> bool:
        specs = [user.spec for user in users[name] if other_place(user, features) is not None]
        looks_back = [spec for spec in specs if isinstance(spec, GeoSpec) and name in spec.places[3:]]
        return name not in shown and len(looks_back) == len(users[name])

    wanted = {
        name for step in features.steps if other_place(step, features) is not None for name in step.spec.needs[3:]
    }
    return frozenset(filter(is_built_in, wanted))


def fits(engine: Engine, feature: Feature) -> bool:
    """Say whether a distance is computed here: not all that it is defined on was built, and sums stay exact."""
    missing = [name for name in feature.spec.needs if name not in engine.results and name not in engine.frame.columns]
    if not missing:
        return False
    queries = engine.queries(*feature.spec.grouped_by)
    return int(np.diff(queries.row_starts).max(initial=0)) < MOST


def journeys(
    engine: Engine, queries: Queries, ranges: Ranges, block: Block, features: Sequence[tuple[Feature, GeoSpec]]
) -> None:
    """Write distances and speeds of one entity, window and place into a block; there is at least one.

    Parameters
    ----------
    ranges
        The positions that each event sees, of that window alone.
    """
    from fraudctl.features.batch import sphere

    slots = np.full(len(FROM), -1, np.int64)
    for feature, spec in features:
        slots[FROM.index(spec.kind)] = block.slot(feature)
    x, y, z = (gathered(engine.floats(name), queries.rows, engine.workers) for name in features[0][1].places[:3])
    work = functools.partial(
        sphere.journeys, x, y, z, queries.row_times, queries.times, queries.starts, queries.at, ranges.lo[0], ranges.hi,
        block.strips.places, slots, block.values.view(np.float64),
    )  # fmt: skip
    engine.workers.run(queries.starts, work)
