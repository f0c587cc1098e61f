"""Which features are computed together, on which columns, and in which order, where rows are moved between entities.

A pass brings together all rows of each value of one entity, and computes every feature that needs nothing else. What
moves the rows, files on one machine (`spilled`) or the shuffle of a cluster (`fraudctl.cluster`), is not known here.
Row-level features belong to no pass: they are computed from the row wherever they are needed.

A pass ends where a feature looks back on a value that the pass itself gives: earlier rows must have the value before
rows of a part of time can be computed alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from fraudctl.features.batch.engine import PRIOR, Engine
from fraudctl.features.batch.groups import Workers
from fraudctl.features.meaning.definition import Feature, FeatureSet
from fraudctl.features.meaning.lookback import Lookback, combined, lookback_of

EVERYBODY = ""
"""Stands for an entity where all rows have to be together."""


@dataclass(frozen=True)
class Pass:
    """Features that are computed while the rows of an entity are together.

    Attributes
    ----------
    entity
        Whose rows are together; `EVERYBODY` for all rows.
    members
        What is computed. None means `PRIOR`, the fraud rate of all events.
    """

    entity: str
    members: tuple[Feature, ...]

    @property
    def names(self) -> list[str]:
        """The columns that the pass gives."""
        return [feature.name for feature in self.members] or [PRIOR]

    @property
    def lookback(self) -> Lookback:
        """What of the past its features see."""
        return combined(feature.spec for feature in self.members) if self.members else Lookback(prior=True)

    @property
    def sources(self) -> list[str]:
        """The other tables whose rows its features see."""
        return list(dict.fromkeys(name for feature in self.members for name in feature.spec.source_reads))

    @property
    def reads(self) -> list[str]:
        """The columns of events, and the features given before, that rows have to hold."""
        names = {"event_time": None} | ({self.entity: None} if self.entity else {})
        if not self.members:
            names |= {"label": None, "label_time": None}
        for spec in (feature.spec for feature in self.members):
            names |= dict.fromkeys(spec.reads)
            names |= {PRIOR: None} if spec.lookback.prior else {}
        return list(names)


def passes(features: FeatureSet) -> list[Pass]:
    """Return the passes that give all features that look beyond a row, in the order in which they can be computed.

    Passes of one entity follow each other where that is possible: rows are moved as rarely as may be. Of entities that
    need not come back, the one with the fewest features comes first, so that few values are carried far.
    """
    found = [Pass(EVERYBODY, ())] if lookback_of(features).prior else []
    left = _Left.of(features)
    while left.steps:
        here = found[-1].entity if found and found[-1].members else None
        entity = min(dict.fromkeys(map(_entity, left.ready)), key=lambda name: (name != here, *left.rank(name)))
        members = tuple(step for step in left.ready if _entity(step) == entity)
        found.append(Pass(entity, members))
        left = left.without(members)
    return found


def _entity(step: Feature) -> str:
    return step.spec.partitioned_by or EVERYBODY


@dataclass(frozen=True)
class _Left:
    """What is still to be computed: ``steps`` that look beyond a row, and the names of all that is ``missing``."""

    steps: tuple[Feature, ...]
    rows: tuple[Feature, ...]
    missing: frozenset[str]

    @classmethod
    def of(cls, features: FeatureSet) -> _Left:
        steps = tuple(step for step in features.steps if not step.spec.of_one_row)
        rows = tuple(step for step in features.steps if step.spec.of_one_row and not step.is_column)
        return cls(steps, rows, frozenset(step.name for step in [*steps, *rows])).without(())

    @property
    def ready(self) -> list[Feature]:
        """The steps whose needs are there."""
        return [step for step in self.steps if self.missing.isdisjoint(step.spec.needs)]

    def without(self, done: Sequence[Feature]) -> _Left:
        """Return what is left when these are done; row-level features are there as soon as their needs are."""
        names = {step.name for step in done}
        missing = self.missing - names
        while found := {row.name for row in self.rows if row.name in missing and missing.isdisjoint(row.spec.needs)}:
            missing -= found
        return _Left(tuple(step for step in self.steps if step.name not in names), self.rows, missing)

    def rank(self, entity: str) -> tuple[bool, int]:
        """Return by what entities are chosen: whether one has to come back after others, and its ready features."""
        left = self
        while own := [step for step in left.ready if _entity(step) == entity]:
            left = left.without(own)
        waits = any(_entity(step) == entity for step in left.steps)
        return waits, sum(_entity(step) == entity for step in self.ready)


@dataclass(frozen=True)
class RowLevel:
    """The features of a set that one row is enough for."""

    features: FeatureSet

    def is_one(self, name: str) -> bool:
        """Return whether a name is a row-level feature, and no column of the data as it is."""
        step = next((step for step in self.features.steps if step.name == name), None)
        return step is not None and step.spec.of_one_row and not step.is_column

    def with_needs(self, names: Sequence[str], held: Collection[str] = ()) -> list[str]:
        """Return the names, and what row-level ones among them are computed from, all the way down.

        Parameters
        ----------
        held
            Columns that are there: they need nothing.
        """
        wanted, edge = dict.fromkeys(names), list(names)
        while edge:
            name = edge.pop()
            asked = self.is_one(name) and name not in held
            needs = (self.features[name].spec.needs or ("event_time",)) if asked else ()
            edge += [need for need in needs if need not in wanted]
            wanted.update(dict.fromkeys(needs))
        return list(wanted)

    def computed(
        self, frame: pl.DataFrame, names: Sequence[str], timezone: str, workers: Workers, *, as_features: bool
    ) -> pl.DataFrame:
        """Return columns of a frame, with row-level features that it does not hold computed from it.

        Parameters
        ----------
        names
            The columns to return.
        as_features
            Whether a column of the data that is a feature is returned as one, in the feature's type.
        """
        engine = Engine(frame, self.features, timezone, {}, workers)
        for feature in self._in_order(self.with_needs(names, frame.columns), names, frame.columns, raw=as_features):
            engine.compute([feature])
        return pl.DataFrame([engine.column(name) for name in names])

    def _in_order(
        self, wanted: Sequence[str], names: Sequence[str], held: Collection[str], *, raw: bool
    ) -> Iterator[Feature]:
        if raw:
            yield from (step for step in self.features.features if step.is_column and step.name in names)
        chosen = {name for name in wanted if self.is_one(name) and name not in held}
        yield from (self.features[name] for stage in self.features.stages for name in stage if name in chosen)
