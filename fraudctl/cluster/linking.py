"""Links on a cluster: components by the pairs that met, then the events of each component in one task.

One task sees each pair of values once, and finds what joined and which values belong together; nothing else sees
all of a table. An event whose two values are in different components, since one of them is a hub, goes to both: to that
of its first value with its outcome, to that of its second as a partner that did not join.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.arrays import as_read
from fraudctl.cluster.blobs import OWN, PAST, BlobRow, facts_row
from fraudctl.cluster.packed import from_blobs, to_blob
from fraudctl.cluster.plan import RowRange
from fraudctl.cluster.task import BESIDE, ROW, SPLIT, ClusterStage, OfSplits, events_of, kept_rows, rows_by_task
from fraudctl.data.labels import CHANGES
from fraudctl.features.batch.engine import Engine
from fraudctl.features.batch.groups import Array, Workers, codes_of
from fraudctl.features.batch.hooks import keep_link
from fraudctl.features.batch.links import Meetings, in_components, meetings, notes_of
from fraudctl.features.batch.partition import N_BUCKETS, buckets_of
from fraudctl.features.batch.passes import EVERYBODY, Pass
from fraudctl.features.meaning.definition import Feature
from fraudctl.features.meaning.families.links import LinkSpec

_ROWS, _BUCKET = ".rows", ".bucket"
_ASKS, _JOINS, _SIDE = ".asks", ".joins", ".side"
_BOTH, _FIRST, _SECOND = range(3)
"""Which values of an event are in the component of a task."""


@dataclass(frozen=True)
class LinkedBy:
    """Two entities that features link, and these features.

    Attributes
    ----------
    number
        Among those of the project.
    hub
        Most partners of a value that may still join.
    """

    number: int
    entities: tuple[str, str]
    hub: int
    members: tuple[Feature, ...]

    def file(self, what: str) -> str:
        """Return the name of a table of the shared folder."""
        return f"links-{self.number}-{what}.arrow"


def parted(item: Pass) -> tuple[list[LinkedBy], Pass | None]:
    """Return the features of a pass by the entities that they link; and what needs all rows at once, None for nothing.

    The second hop leads through values that did not join, and so out of a component.
    """
    found: dict[tuple[tuple[str, str], int], list[Feature]] = {}
    rest = []
    for feature in item.members:
        spec = feature.spec
        if isinstance(spec, LinkSpec) and not spec.kind.startswith("neighbour"):
            found.setdefault((spec.entities, spec.hub), []).append(feature)
        else:
            rest.append(feature)
    every = [LinkedBy(at, *key, tuple(members)) for at, (key, members) in enumerate(sorted(found.items()))]
    return every, Pass(EVERYBODY, tuple(rest)) if rest else None


@dataclass(frozen=True)
class PairsOf(OfSplits):
    """The pairs of values of every split, each once with its first event."""

    links: Sequence[LinkedBy]
    places: Sequence[int]

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the pairs of a split, for the task of their entities."""
        frame = kept_rows(self.desk, split, events_of(self.desk, split, ()))
        for linked in self.links:
            yield BlobRow(linked.number, OWN, to_blob(_pairs(frame, linked)), self.places[linked.number])


def _pairs(frame: pl.DataFrame, linked: LinkedBy) -> pl.DataFrame:
    """Return each pair of values once, in the order of first events; ``_ROWS`` counts its events where it is known."""
    first, second = linked.entities
    count = pl.col(_ROWS).sum() if _ROWS in frame.columns else pl.len().cast(pl.Int64).alias(_ROWS)
    found = frame.filter(pl.col(first).is_not_null() | pl.col(second).is_not_null()).sort("event_time", "event_id")
    return found.group_by(first, second, maintain_order=True).agg(pl.col("event_time", "event_id").first(), count)


@dataclass(frozen=True)
class LinkFacts:
    """What the pairs say: ``counts``, about the rows of each bucket of components, and what the user should know."""

    number: int
    counts: Array
    notes: list[str]


@dataclass(frozen=True)
class Meet(ClusterStage):
    """Which pairs join, and which values belong together; written for all splits."""

    links: Sequence[LinkedBy]

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Find the components of each pair of entities."""
        for number, held in rows_by_task(rows):
            linked = self.links[number]
            pairs = _pairs(from_blobs([row.blob for row in held]), linked)
            yield facts_row(LinkFacts(number, self.written(linked, pairs), self.notes(linked, pairs)))

    def notes(self, linked: LinkedBy, pairs: pl.DataFrame) -> list[str]:
        """Return what the user should know."""
        return notes_of(pairs, linked.entities, linked.hub)

    def written(self, linked: LinkedBy, pairs: pl.DataFrame) -> Array:
        """Write what splits need to know; return about how many rows the components of each bucket have."""
        from fraudctl.data import outputs

        both = pairs.drop_nulls(linked.entities)
        first, second = (codes_of(both[entity]) for entity in linked.entities)
        met = meetings(both, first, second, hub=linked.hub)
        buckets = rooted(first, second, met.asks)
        both = both.with_columns(pl.Series(_JOINS, met.joins)).filter(pl.Series(met.asks))
        outputs.write_arrow(both.drop(_ROWS), self.desk.file(linked.file("pairs")))
        known, codes = {}, (first[0][met.asks], second[0][met.asks] + first[1])
        for entity, places in zip(linked.entities, codes, strict=True):
            table = pl.DataFrame([both[entity], pl.Series(_BUCKET, buckets[places])]).unique(entity)
            outputs.write_arrow(table, self.desk.file(linked.file(entity)))
            known[entity] = table
        return _counted(pairs, linked, known)


def rooted(first: tuple[Array, int], second: tuple[Array, int], edges: Array) -> Array:
    """Return the bucket of each value by the values that edges hold together."""
    from fraudctl.features.batch import unions

    found = np.empty(first[1] + second[1], np.int64)
    unions.roots(as_read(first[0]), as_read(second[0]), (first[1], second[1]), edges, found)
    buckets: Array = found % N_BUCKETS
    return buckets


def _counted(pairs: pl.DataFrame, linked: LinkedBy, known: Mapping[str, pl.DataFrame]) -> Array:
    one, other = (bucket_by(pairs[entity], known[entity]) for entity in linked.entities)
    home = np.where(one >= 0, one, other)
    away = (other >= 0) & (other != home)
    rows = pairs[_ROWS].to_numpy()
    found: Array = np.bincount(home, rows, N_BUCKETS) + np.bincount(other[away], rows[away], N_BUCKETS)
    return found.astype(np.int64)


def bucket_by(values: pl.Series, known: pl.DataFrame) -> Array:
    """Return the bucket of each value: of its component where it has joined one, else by its hash; -1 for null."""
    found = values.to_frame().join(known, on=values.name, how="left", maintain_order="left")[_BUCKET]
    buckets = np.where(found.is_null().to_numpy(), buckets_of(values), found.fill_null(0).to_numpy())
    return np.where(values.is_null().to_numpy(), -1, buckets)


@dataclass(frozen=True)
class Spread:
    """Where the components of two entities go: the task of each bucket, and the place of each task."""

    task_of_bucket: Array
    places: Array


@dataclass(frozen=True)
class LinkRows(OfSplits):
    """The few columns of every event that links need, sent to the components of its values."""

    links: Sequence[LinkedBy]
    spreads: Sequence[Spread]

    def of_split(self, split: RowRange) -> Iterator[BlobRow]:
        """Return the rows of a split by task."""
        frame = kept_rows(self.desk, split, events_of(self.desk, split, ()))
        frame = frame.with_columns(pl.lit(split.number, dtype=pl.Int64).alias(SPLIT), pl.int_range(pl.len()).alias(ROW))
        for linked, spread in zip(self.links, self.spreads, strict=True):
            base = sum(len(item.places) for item in self.spreads[: linked.number])
            for task, part in self.parts(frame, linked, spread):
                yield BlobRow(base + task, OWN, to_blob(part), int(spread.places[task]))

    def parts(self, frame: pl.DataFrame, linked: LinkedBy, spread: Spread) -> Iterator[tuple[int, pl.DataFrame]]:
        """Return the rows that go to each task, with the side that they are on."""
        one, other = (bucket_by(frame[name], self._known(linked, frame[name])) for name in linked.entities)
        nowhere = buckets_of(pl.Series([None] * frame.height), first_row=int(frame.height))
        home = spread.task_of_bucket[np.where(one >= 0, one, np.where(other >= 0, other, nowhere))]
        away = spread.task_of_bucket[np.maximum(other, 0)]
        apart = (other >= 0) & (away != home)
        names = ["event_time", *linked.entities, "label", "label_time", SPLIT, ROW, _ASKS, _JOINS]
        names += [CHANGES] if CHANGES in frame.columns else []
        rows = self._with_meetings(frame, linked).select(*dict.fromkeys(names))
        for task in np.unique(np.concatenate([home, away[apart]])).tolist():
            sides = (
                ((home == task) & ~apart, _BOTH),
                ((home == task) & apart, _FIRST),
                (apart & (away == task), _SECOND),
            )
            yield (
                task,
                pl.concat([rows.filter(pl.Series(at)).with_columns(pl.lit(side).alias(_SIDE)) for at, side in sides]),
            )

    def _known(self, linked: LinkedBy, values: pl.Series) -> pl.DataFrame:
        table = self.desk.table(linked.file(values.name))
        assert table is not None  # noqa: S101 - written by the stage before
        return table.filter(pl.col(values.name).is_in(values.unique().implode()))

    def _with_meetings(self, frame: pl.DataFrame, linked: LinkedBy) -> pl.DataFrame:
        """Return events with whether they see their values as joined by themselves, and whether they join them."""
        pairs = self.desk.table(linked.file("pairs"))
        assert pairs is not None  # noqa: S101 - written by the stage before
        pairs = pairs.filter(pl.col(linked.entities[0]).is_in(frame[linked.entities[0]].unique().implode()))
        there = frame.join(
            pairs.rename({"event_time": ".met", "event_id": ".by"}),
            on=linked.entities,
            how="left",
            maintain_order="left",
        )
        asks = (pl.col("event_time") == pl.col(".met")).fill_null(value=False)
        joins = asks & (pl.col("event_id") == pl.col(".by")) & pl.col(_JOINS)
        return there.with_columns(asks.alias(_ASKS), joins.fill_null(value=False).alias(_JOINS))


@dataclass(frozen=True)
class Linked(ClusterStage):
    """Features of whole components, sent back to the splits of their events."""

    links: Sequence[LinkedBy]
    first_tasks: Sequence[int]
    split_places: Array

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Compute the features of each task."""
        for task, held in rows_by_task(rows):
            number = int(np.searchsorted(self.first_tasks, task, side="right")) - 1
            frame = from_blobs([row.blob for row in held]).sort("event_time")
            held.clear()
            yield from self.answered(self.links[number], frame)

    def answered(self, linked: LinkedBy, frame: pl.DataFrame) -> Iterator[BlobRow]:
        """Return the features of the events of a task by split: of the first value, and of the second."""
        found, side = self.computed(linked, frame), frame[_SIDE].to_numpy()
        of_second = [item.name for item in linked.members if _kind(item) == "degree"]
        of_first = [item.name for item in linked.members if item.name not in of_second]
        for kind, names, away in ((OWN, of_first, _SECOND), (PAST, of_second, _FIRST)):
            part = found.select(SPLIT, ROW, *names).filter(pl.Series(side != away))
            for (split,), rows in part.partition_by(SPLIT, as_dict=True).items() if names else ():
                task = linked.number * len(self.split_places) + split
                yield BlobRow(task, kind, to_blob(rows.drop(SPLIT)), int(self.split_places[split]))

    def computed(self, linked: LinkedBy, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the features of the rows of a task, each true for the side that is here."""
        meaning, side = self.desk.meaning, frame[_SIDE].to_numpy()
        first, second = (codes_of(frame[entity]) for entity in linked.entities)
        degree = meetings(frame, first, second, hub=0).degree
        met = Meetings(frame[_ASKS].to_numpy(), frame[_JOINS].to_numpy(), degree)
        seen = frame.with_columns(
            pl.when(pl.col(_SIDE) != _SECOND).then(pl.col(name)).alias(name)
            for name in ("label", "label_time", CHANGES) if name in frame.columns
        )  # fmt: skip
        here = (np.where(side == _SECOND, -1, first[0]), first[1]), (np.where(side == _FIRST, -1, second[0]), second[1])
        known = in_components(seen, *here, met)
        values = {
            "component_size": known.size, "component_age_seconds": known.age_seconds,
            "component_fraud_rate": known.fraud_rate, "degree": degree,
        }  # fmt: skip
        engine = Engine(frame, meaning.features, meaning.timezone, {}, Workers(1))
        for item in linked.members:
            keep_link(engine, item, values[_kind(item)])
        return pl.DataFrame([frame[SPLIT], frame[ROW], *(engine.results[item.name] for item in linked.members)])


def _kind(feature: Feature) -> str:
    assert isinstance(feature.spec, LinkSpec)  # noqa: S101 - for the type
    return feature.spec.kind


@dataclass(frozen=True)
class LinksOfSplit(ClusterStage):
    """The features of every split, written beside it."""

    links: Sequence[LinkedBy]
    n_splits: int

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Write the features of the splits, in the order of their rows."""
        from fraudctl.data import outputs

        for task, held in rows_by_task(rows):
            linked, split = self.links[task // self.n_splits], task % self.n_splits
            parts = [[row.blob for row in held if row.kind == kind] for kind in (OWN, PAST)]
            frames = [from_blobs(part).sort(ROW).drop(ROW) for part in parts if part]
            outputs.write_arrow(
                pl.concat(frames, how="horizontal"), self.desk.file(f"links-{linked.number}{BESIDE}{split}.arrow")
            )
            yield facts_row(None)
