"""In which order features are computed, and what is computed at the same time.

Features are computed stage by stage (see `graph`), within a stage by entity, and there by units that one pass over
a history gives. Where few events ask, entities go side by side. Where many do, they go one after the other, all
processors on one of them: the grouping of the next one is found meanwhile, and that of an entity is forgotten when
nothing needs it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from fraudctl.features.batch.groups import Workers
from fraudctl.features.batch.hooks import BATCH
from fraudctl.features.batch.journeys import built_in
from fraudctl.features.meaning.definition import Feature
from fraudctl.text.figures import whole

if TYPE_CHECKING:
    from fraudctl.features.batch.engine import Engine

Progress = Callable[[str, int, int], None]
Unit = list[Feature]
"""Features that one pass computes."""

_MOST_SIDE_BY_SIDE = 2_000_000
"""Events that ask; where more do, memory for one entity at a time is what there should be."""


def units(features: Iterable[Feature]) -> list[Unit]:
    """Return features grouped by what one pass can compute."""
    out: dict[object, Unit] = {}
    for feature in features:
        kind = type(feature.spec)
        out.setdefault((kind, BATCH[kind].together(feature.spec)), []).append(feature)
    return list(out.values())


def grouping(unit: Unit) -> tuple[str, ...]:
    """Return the entities by which the events are grouped for a unit; none where they are not."""
    return unit[0].spec.grouped_by


def run(engine: Engine, *, progress: Progress | None = None) -> None:
    """Compute all steps of the engine's set."""
    features = engine.features
    left_out = built_in(features)
    wanted = [[name for name in stage if name not in left_out] for stage in features.stages]
    stages = [_by_grouping(units([features[name] for name in stage])) for stage in wanted if stage]
    tell = _Teller(len(features.steps) - len(left_out), progress)
    if engine.asked.height <= _MOST_SIDE_BY_SIDE and engine.workers.threads > 1:
        _side_by_side(engine, stages, tell)
    else:
        _one_by_one(engine, [group for stage in stages for group in stage], tell)


class _Teller:
    """Reports finished units, of so many features in all, and what is done meanwhile, to ``progress``."""

    def __init__(self, n_steps: int, progress: Progress | None) -> None:
        self._n_steps, self._progress, self._done = n_steps, progress, 0

    def unit(self, unit: Unit) -> None:
        self._done += len(unit)
        self.step(unit[0].name)

    def rows(self, unit: Unit, done: int, _total: int) -> None:
        """Tell how many rows a pass for a unit has done; one pass follows the other."""
        self.step(f"{whole(done)} rows, {unit[0].name}")

    def step(self, name: str) -> None:
        if self._progress is not None:
            self._progress(name, self._done, self._n_steps)


def _by_grouping(found: list[Unit]) -> list[list[Unit]]:
    out: dict[tuple[str, ...], list[Unit]] = {}
    for unit in found:
        out.setdefault(grouping(unit), []).append(unit)
    return list(out.values())


def _side_by_side(engine: Engine, stages: list[list[list[Unit]]], tell: _Teller) -> None:
    """Compute the groups of each stage at the same time; the calling thread tells of each unit when it is done."""
    finished: SimpleQueue[Unit | None] = SimpleQueue()
    with ThreadPoolExecutor(engine.workers.threads) as pool:
        for groups in stages:
            running = [pool.submit(_compute, engine, group, finished.put) for group in groups]
            for future in running:
                future.add_done_callback(lambda _: finished.put(None))
            for _ in running:
                while (unit := finished.get()) is not None:
                    tell.unit(unit)
            for future in running:
                future.result()


def _compute(engine: Engine, group: list[Unit], tell: Callable[[Unit], None]) -> None:
    for unit in group:
        engine.compute(unit)
        tell(unit)


def _one_by_one(engine: Engine, groups: list[list[Unit]], tell: _Teller) -> None:
    needed = [grouping(group[0]) for group in groups]
    ahead: Future[object] | None = None
    steps: SimpleQueue[str | None] = SimpleQueue()
    quiet = engine.workers
    with ThreadPoolExecutor(1) as pool:
        for number, group in enumerate(groups):
            if ahead is not None:
                _wait(ahead, steps, tell)
            following = needed[number + 1] if number + 1 < len(needed) else ()
            ahead = pool.submit(engine.prepare, *following, watch=steps.put) if following else None
            for unit in group:
                engine.workers = Workers(quiet.threads, partial(tell.rows, unit))
                engine.compute(unit)
                tell.unit(unit)
            engine.workers = quiet
            engine.forget(needed[number], needed[number + 1 :])


def _wait(ahead: Future[object], steps: SimpleQueue[str | None], tell: _Teller) -> None:
    """Wait for a grouping, and tell of its steps as they begin."""
    ahead.add_done_callback(lambda _: steps.put(None))
    while (step := steps.get()) is not None:
        tell.step(step)
    ahead.result()
