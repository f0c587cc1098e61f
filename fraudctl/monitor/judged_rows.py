"""Decisions with what performance is judged by, in few bytes a decision: what only names something is a code.

Owns `judged_rows`: a table for `fraudctl.monitor.performance.judged_cohorts`, built from `TakenDecisions` a piece at a
time. It holds no text of an event but its id, and that only where the project has no entities.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray
from fraudctl.data.labels import CHANGES
from fraudctl.monitor.decisions import COLUMNS, with_events
from fraudctl.monitor.taken import TakenDecisions, completed

_UNUSED: Final = ("policy", "decided_by")
"""Columns of decisions that no figure of performance is made of."""
_CODED: Final[tuple[str, ...]] = ("action", "model")


class OutcomeEvents(Protocol):
    """Events of a project with their outcomes, in chunks."""

    def __call__(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield all chunks."""

    def chunk(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return the columns of `fraudctl.data.tables.Events` and further ones of one chunk."""


def judged_rows(
    taken: TakenDecisions, events: OutcomeEvents, rows: BoolArray, *, columns: Sequence[str], entities: Sequence[str]
) -> pl.DataFrame:
    """Return decisions with their outcomes, in the order of ``event_time``, then ``event_id``.

    Parameters
    ----------
    rows
        Decisions that are wanted, shape ``(n_decisions,)``.
    columns
        Data columns that costs and weights are read from.
    entities
        Entities that the project has; their ids are codes here.

    Returns
    -------
    What `fraudctl.monitor.decisions.with_events` returns for them, with ``action`` and ``model`` as Enum, entities as
    Categorical, and without ``policy`` and ``decided_by``; ``event_id`` only where there is no entity.
    """
    more = [*columns, *entities]
    coded = [name for name in entities if name not in COLUMNS and name not in columns]
    parts = [_small(part, taken, coded) for part in _pieces(taken, events, rows, more)]
    whole = _in_order([part for part in parts if part.height] or parts[:1])
    return whole.drop("event_id") if coded and set(coded) <= set(whole.columns) else whole


def _pieces(
    taken: TakenDecisions, events: OutcomeEvents, rows: BoolArray, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Yield decisions with their events: piece by piece of their files, where it is known which chunks hold these."""
    wanted = [piece for piece in taken.pieces if rows[piece.rows].any()]
    if not wanted or any(piece.events is None for piece in wanted):
        yield from completed(taken.in_memory(), events, rows, columns=columns)
        return
    for piece in wanted:
        own = np.flatnonzero(rows[piece.rows]) + piece.start
        theirs = [events.chunk(number, columns) for number in piece.events or ()]
        yield with_events(taken.rows(own), pl.concat(theirs, how="diagonal"), columns=columns).frame


def _small(part: pl.DataFrame, taken: TakenDecisions, coded: Sequence[str]) -> pl.DataFrame:
    """Return a piece with codes for texts, as columns of their own: nothing holds the tables that it was made of."""
    kinds: dict[str, pl.DataType] = {name: taken.blocks.kind(name) for name in _CODED if name in taken.blocks.columns}
    kinds |= {name: pl.Categorical() for name in coded if part.schema.get(name) == pl.String}
    empty = [CHANGES] if CHANGES in part.columns and not part[CHANGES].count() else []
    return part.drop([*_UNUSED, *empty], strict=False).with_columns(
        pl.col(name).cast(kind) for name, kind in kinds.items()
    )


def _in_order(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of sorted pieces in the order of time and id, sorted again only where pieces overlap."""
    parts = sorted(parts, key=lambda part: part["event_time"][0]) if all(part.height for part in parts) else parts
    whole = pl.concat(parts, how="diagonal", rechunk=False)
    apart = all(a["event_time"][-1] < b["event_time"][0] for a, b in itertools.pairwise(parts))
    return whole if apart else whole.sort("event_time", "event_id")
