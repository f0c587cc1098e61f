"""Decisions on a cluster: each worker process opens the bundle once, and checks its hashes.

A capacity is a running cap within a local day or week. So the tasks of the last stage are whole periods, in each of
which events are decided in the order of time, beginning with no place taken.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.cluster.blobs import OWN, BlobRow, facts_row
from fraudctl.cluster.plan import PartFacts, instant
from fraudctl.cluster.task import ClusterStage, finished, frame_of, part_name, rows_by_task
from fraudctl.cluster.told import Meaning
from fraudctl.errors import BundleError
from fraudctl.policy import CapacityUse

if TYPE_CHECKING:
    from fraudctl.features.batch.groups import Array
    from fraudctl.scoring.decider import Decider, Explained

NEW_FILE = "new.arrow"
"""Table of the shared folder with the ids of the events that get an answer, where there are others."""
_PIECE = 200_000
"""Events decided at once."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = timedelta(hours=12)
"""Less than the shortest period of a capacity: no period is stepped over."""


@functools.cache
def opened(path: str, version: str) -> Decider:
    """Open a bundle once in a process, all of it checked, and refuse another version.

    Raises
    ------
    BundleError
        It is not there, damaged, or of another version than the command has.
    """
    from fraudctl.bundle import load_bundle
    from fraudctl.scoring.decider import Decider

    bundle = load_bundle(Path(path))
    if bundle.version != version:
        msg = f"a worker sees bundle {bundle.version} at {path}; this command has {version}"
        raise BundleError(msg, hint="give all workers and this command the same files")
    return Decider(bundle, batch=True)


@dataclass(frozen=True)
class ToldModel:
    """A bundle, and files of events: with those before them, where there are any.

    Attributes
    ----------
    path, version
        Of the bundle.
    data, history
        Files of new events, and of those before.
    """

    path: str
    version: str
    data: tuple[str, ...]
    history: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """All files, history first."""
        return [*self.history, *self.data]

    @property
    def key(self) -> str:
        """The version and where it is."""
        return hashlib.sha256(f"{self.version} {self.path}".encode()).hexdigest()

    def meaning(self) -> Meaning:
        """Return the definitions of the bundle; it compares their digest with the one that it was trained with."""
        decider = opened(self.path, self.version)
        return Meaning(decider.project, decider.features, decider.carried)

    def raw(self) -> pl.LazyFrame:
        """Open history and new events, checked against the data of training."""
        from fraudctl.scoring.tables import open_new, raw_of

        decider = opened(self.path, self.version)
        project, schema, carried = decider.project, decider.schema, decider.carried
        before = open_new(self.history, project, schema, carried=carried, what="--history") if self.history else None
        return raw_of(before, open_new(self.data, project, schema, carried=carried, what="DATA", after=before), project)


@dataclass(frozen=True)
class DecideParts(ClusterStage):
    """Decisions on the events of whole periods of time, a file for each.

    Attributes
    ----------
    columns
        Columns that events have.
    lead
        From when on earlier events take places of a capacity; None without one, or without earlier events.
    explained
        Which decisions get reasons.
    with_features
        Whether the value of every feature is added.
    """

    columns: Sequence[str]
    path: str
    version: str
    output: str
    lead: datetime | None
    explained: Explained
    with_features: bool

    def work(self, rows: list[BlobRow]) -> Iterator[BlobRow]:
        """Write the decisions of each task; say how many there are of each action."""
        from fraudctl.data import outputs

        ids = self.desk.table(NEW_FILE)
        for task, held in rows_by_task(rows):
            own = frame_of(held, OWN)
            held.clear()
            if own is None:
                continue
            found = self.decided(finished(self.desk.meaning, own, self.columns), ids)
            if found.height:
                outputs.write_parquet(found, Path(self.output) / part_name(task))
                yield facts_row(PartFacts(task, found.height, Counter(found["action"].to_list())))

    def decided(self, table: pl.DataFrame, ids: pl.DataFrame | None) -> pl.DataFrame:
        """DecideParts on the rows of a task in the order of time."""
        decider, used = opened(self.path, self.version), CapacityUse()
        return pl.concat(
            self._piece(decider, used, table[start : start + _PIECE], ids) for start in range(0, table.height, _PIECE)
        )

    def _piece(
        self, decider: Decider, used: CapacityUse, piece: pl.DataFrame, ids: pl.DataFrame | None
    ) -> pl.DataFrame:
        from fraudctl.data.own import shown_beside

        answered = None
        if ids is not None:
            new = piece["event_id"].is_in(ids["event_id"].implode())
            taking = new if self.lead is None else new | (piece["event_time"] >= self.lead)
            piece, answered = piece.filter(taking), new.filter(taking)
        found = decider.decide_frame(piece, used=used, explained=self.explained, answered=answered)
        if not self.with_features:
            return found
        names = {name: shown_beside(name, found.columns) for name in decider.features.names}
        rows = piece if answered is None else piece.filter(answered)
        return found.hstack(rows.select(list(names)).rename(names))


def period_edges(decider: Decider, times: Array) -> Array:
    """Return where the periods of the policy's capacities begin, as µs UTC, rising, but for the first.

    Parameters
    ----------
    times
        First and last time of the events, in µs UTC.
    """
    now, last = instant(int(times[0])), instant(int(times[1]))
    found = []
    while now < last + _STEP:
        found.append(decider.policy.lead_from(min(now, last)))
        now += _STEP
    return np.unique([(moment - EPOCH) // timedelta(microseconds=1) for moment in found])[1:]
