"""The order of the work on a cluster: a look at every split, what is known of everybody, passes, and the result.

Knows of an engine only that it brings rows of one place together and calls a stage on them (`Shuffles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from fraudctl.cluster.blobs import BlobRow, facts_of, raise_error
from fraudctl.cluster.linking import Linked, LinkedBy, LinkRows, LinksOfSplit, Meet, PairsOf, Spread, parted
from fraudctl.cluster.plan import (
    ByTime,
    PartFacts,
    RowRange,
    Sizes,
    SplitFacts,
    TableFacts,
    carried,
    instant,
    placed,
    splits_of,
    stops_of,
)
from fraudctl.cluster.task import (
    DROPPED_FILE,
    PRIOR_FILE,
    ClusterStage,
    Compute,
    Desk,
    Everybody,
    FirstLook,
    IdsBySplit,
    NarrowColumns,
    OutcomeSteps,
    Read,
    Repeats,
    prior_table,
    raw_rows,
)
from fraudctl.features.batch.engine import PRIOR
from fraudctl.features.batch.groups import Array
from fraudctl.features.batch.partition import packed
from fraudctl.features.batch.passes import EVERYBODY, Pass, passes
from fraudctl.progress import Progress, Silent

if TYPE_CHECKING:
    from datetime import datetime

    from fraudctl.cluster.plan import Route
    from fraudctl.project import Project


class Shuffles(Protocol):
    """An engine that runs stages, and brings rows of one place together between them."""

    @property
    def keys(self) -> Sequence[int]:
        """Places whose rows come into partitions of their own; as many as there are partitions."""

    def run(self, rows: Sequence[BlobRow], stages: Sequence[ClusterStage]) -> Iterable[BlobRow]:
        """Run stages one after the other on rows, by place before each; return what the last one gives."""


@dataclass
class Journey:
    """One command on a cluster.

    Attributes
    ----------
    n_rows
        Rows of the raw table.
    """

    engine: Shuffles
    desk: Desk
    sizes: Sizes
    n_rows: int
    progress: Progress = field(default_factory=Silent)
    notes: list[str] = field(default_factory=list)
    n_duplicates: int = 0

    def __post_init__(self) -> None:
        most = min(self.sizes.task_rows, -(-self.n_rows // (2 * self.sizes.partitions)))
        self.splits: list[RowRange] = splits_of(self.n_rows, max(most, 1))
        self.world = TableFacts(
            self._facts(FirstLook(self.desk, self.splits, self._heavy_from), "Looking at every split")
        )

    @property
    def known_until(self) -> datetime:
        """The latest event_time."""
        return instant(self.world.last_time)

    def require_amounts(self, project: Project) -> None:
        """Refuse data whose amounts are all null."""
        from fraudctl.data import typed

        if project.data.amount is not None and not any(item.amounts for item in self.world.facts):
            first = raw_rows(self.desk.told, self.splits[0], [project.data.amount])
            typed.to_amount(first.to_series())

    def ahead(self, refuse_differing: Refuse) -> None:
        """Settle what tasks need of all rows: repeated rows, the prior, and features of everybody.

        Parameters
        ----------
        refuse_differing
            Refuses ids whose rows differ.
        """
        from fraudctl.data import outputs

        features = self.desk.meaning.features
        if not self.world.rising:
            self._drop_repeated(refuse_differing)
        for item in passes(features):
            if item.names == [PRIOR]:
                steps = self._told([OutcomeSteps(self.desk, self.splits)], "Counting outcomes")
                outputs.write_arrow(prior_table(steps), self.desk.file(PRIOR_FILE))
            elif item.entity == EVERYBODY:
                self._link(item)

    def _link(self, item: Pass) -> None:
        """Settle features of linked entities: by components, and of all rows at once what leads out of them."""
        from fraudctl.data.labels import CHANGES

        every, rest = parted(item)
        if every:
            self.notes += self._components(every)
        if rest is not None:
            columns = dict.fromkeys(["event_id", *rest.reads, CHANGES])
            narrow = NarrowColumns(self.desk, self.splits, list(columns), int(self.engine.keys[0]))
            notes = self._told([narrow, Everybody(self.desk, rest)], "Linking entities")[0]
            self.notes += [note for note in notes if note not in self.notes]

    def _components(self, every: Sequence[LinkedBy]) -> list[str]:
        """Find components, and compute the features of each in one task; return what the user should know."""
        keys, n = np.array(self.engine.keys), len(self.splits)
        places = [int(keys[linked.number % len(keys)]) for linked in every]
        pairs = PairsOf(self.desk, self.splits, every, places)
        found = sorted(self._told([pairs, Meet(self.desk, every)], "Linking entities"), key=lambda item: item.number)
        spreads = [self._spread(item.counts) for item in found]
        first_tasks = np.cumsum([0, *(len(item.places) for item in spreads)])[:-1].tolist()
        back = keys[np.arange(n) % len(keys)]
        stages = [
            LinkRows(self.desk, self.splits, every, spreads), Linked(self.desk, every, first_tasks, back),
            LinksOfSplit(self.desk, every, n),
        ]  # fmt: skip
        self._told(stages, "Linking entities")
        return [note for item in found for note in item.notes]

    def _spread(self, counts: Array) -> Spread:
        packing = packed(counts, min(self.sizes.task_rows, max(1, -(-int(counts.sum()) // self.sizes.partitions))))
        return Spread(packing.partition_of, placed(packing.sizes.tolist(), self.engine.keys))

    def through(self, base: Sequence[str], last: Route, finish: ClusterStage, what: str) -> list[PartFacts]:
        """Send every row through all passes and to the last stage.

        Parameters
        ----------
        base
            Columns of the events that travel along.
        last
            The way to the last stage.
        """
        stops = stops_of(self.desk.meaning.features, base, self.world, self.sizes, self.engine.keys)
        routes: list[Route] = [*(stop.route for stop in stops), last]
        stages: list[ClusterStage] = [Read(self.desk, self.splits, routes[0], self.known_until)]
        stages += [Compute(self.desk, stop, route) for stop, route in zip(stops, routes[1:], strict=True)]
        found = self._told([*stages, finish], what)
        return sorted((item for item in found if isinstance(item, PartFacts)), key=lambda item: item.task)

    def by_time(self, base: Sequence[str], edges: np.typing.NDArray[np.int64] | None = None) -> ByTime:
        """Return the way to the result: tasks by time, all with the columns of the result."""
        features = self.desk.meaning.features
        columns = carried(features, base, passes(features), [])
        found = self.world.time_edges(self.sizes.file_rows) if edges is None else edges
        keys = np.array(self.engine.keys)
        return ByTime(len(found) + 1, keys[np.arange(len(found) + 1) % len(keys)], columns, [], found)

    # ------------------------------------------------------------ parts

    @property
    def _heavy_from(self) -> int:
        """Rows of a split from which on a value is reported: of a value that is cut at least half is."""
        return max(1, self.sizes.task_rows // (2 * len(self.splits)))

    def _drop_repeated(self, refuse_differing: Refuse) -> None:
        from fraudctl.data import outputs

        keys = np.array(self.engine.keys)
        found = self._told(
            [IdsBySplit(self.desk, self.splits, len(keys), keys), Repeats(self.desk)], "Looking for repeated rows"
        )
        if found:
            rows = pl.concat(found)
            refuse_differing(rows["id"].unique())
            outputs.write_arrow(rows.sort(".row"), self.desk.file(DROPPED_FILE))
            self.n_duplicates = rows.height

    def _facts(self, stage: ClusterStage, what: str) -> list[SplitFacts]:
        return sorted(self._told([stage], what), key=lambda item: item.number)

    def _told(self, stages: Sequence[ClusterStage], what: str) -> list[Any]:
        """Run stages on all splits; return what the last one found out."""
        self.progress.stage(what)
        keys, out = self.engine.keys, []
        rows = [BlobRow(split.number, 0, b"", int(keys[split.number % len(keys)])) for split in self.splits]
        for row in self.engine.run(rows, stages):
            raise_error(row)
            out.append(facts_of(row))
        return out


class Refuse(Protocol):
    """Refuses ids whose rows differ."""

    def __call__(self, ids: pl.Series) -> None:
        """Raise a DataError where rows of one of the ids differ."""
