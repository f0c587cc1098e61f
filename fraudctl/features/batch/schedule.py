"""In which order features are computed, and what is computed at the same time.

Features are computed stage by stage (see `graph`), within a stage by entity, and there by families that one pass over
a history gives. Where few events ask, entities go side by side. Where many do, they go one after the other, all
processors on one of them: the grouping of the next one is found meanwhile, and that of an entity is forgotten when
nothing needs it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from fraudctl.features.meaning.definition import Feature, FeatureSet
from fraudctl.features.meaning.specs import (
    HourSpec,
    LabelSpec,
    LinkSpec,
    LookupSpec,
    PairSpec,
    RecencySpec,
    SourceWindowSpec,
    WindowSpec,
    grouped_by,
)

if TYPE_CHECKING:
    from fraudctl.features.batch.build import Engine

Progress = Callable[[str, int, int], None]
Family = list[Feature]

_MOST_SIDE_BY_SIDE = 2_000_000
"""Events that ask; where more do, memory for one entity at a time is what there should be."""


def families(features: Iterable[Feature]) -> list[Family]:
    """Put features together that one pass can compute."""
    out: dict[object, Family] = {}
    for feature in features:
        out.setdefault(_family_key(feature), []).append(feature)
    return list(out.values())


def _family_key(feature: Feature) -> object:
    spec = feature.spec
    if isinstance(spec, WindowSpec):
        where = None if spec.where is None else spec.where.sql
        return ("window", spec.entity, where, spec.include_current)
    if isinstance(spec, SourceWindowSpec):
        where = None if spec.where is None else spec.where.sql
        return ("source", spec.source, spec.entity, where)
    if isinstance(spec, LookupSpec):
        return ("lookup", spec.source, spec.entity, spec.max_age_us)
    if isinstance(spec, (LabelSpec, RecencySpec, HourSpec)):
        return (type(spec).__name__, spec.entity)
    if isinstance(spec, PairSpec):
        return ("pair", spec.entities)
    if isinstance(spec, LinkSpec):
        return ("links", spec.entities, spec.hub)
    return feature.name


def grouping(family: Family) -> tuple[str, ...]:
    """Give the entities by which the events are grouped for a family; none where they are not."""
    return grouped_by(family[0].spec)


def run(engine: Engine, *, progress: Progress | None = None) -> None:
    """Compute all steps of the engine's set."""
    features = engine.features
    stages = [_by_grouping(families([features[name] for name in stage])) for stage in features.stages]
    if engine.asked.height <= _MOST_SIDE_BY_SIDE and engine.workers.threads > 1:
        _side_by_side(engine, stages, _told(features, progress))
    else:
        _one_by_one(engine, [group for stage in stages for group in stage], _told(features, progress))


def _told(features: FeatureSet, progress: Progress | None) -> Callable[[Family], None]:
    """Give what tells progress of each family that is done."""
    done = 0

    def tell(family: Family) -> None:
        nonlocal done
        done += len(family)
        if progress is not None:
            progress(family[0].name, done, len(features.steps))

    return tell


def _by_grouping(found: list[Family]) -> list[list[Family]]:
    out: dict[tuple[str, ...], list[Family]] = {}
    for family in found:
        out.setdefault(grouping(family), []).append(family)
    return list(out.values())


def _side_by_side(engine: Engine, stages: list[list[list[Family]]], tell: Callable[[Family], None]) -> None:
    with ThreadPoolExecutor(engine.workers.threads) as pool:
        for groups in stages:
            running = {pool.submit(_compute, engine, group): group for group in groups}
            for future in as_completed(running):
                future.result()
                for family in running[future]:
                    tell(family)


def _compute(engine: Engine, group: list[Family]) -> None:
    for family in group:
        engine.compute(family)


def _one_by_one(engine: Engine, groups: list[list[Family]], tell: Callable[[Family], None]) -> None:
    needed = [grouping(group[0]) for group in groups]
    ahead: Future[object] | None = None
    with ThreadPoolExecutor(1) as pool:
        for number, group in enumerate(groups):
            if ahead is not None:
                ahead.result()
            following = needed[number + 1] if number + 1 < len(needed) else ()
            ahead = pool.submit(engine.prepare, *following) if following else None
            for family in group:
                engine.compute(family)
                tell(family)
            engine.forget(needed[number], needed[number + 1 :])
