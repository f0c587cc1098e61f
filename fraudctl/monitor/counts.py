"""Events of a day as counts, on edges that are frozen: all that is ever kept of what is watched.

Owns the cells of each watched column (bins of a number, values of a category, null, other) and the way from a table to
counts by local day. It judges nothing. Only counts and sums by day leave this module; no value of an event does, apart
from the edges and the frequent values of categories that are frozen once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.documents.types import JsonObject
from fraudctl.metrics.edges import edges_below
from fraudctl.policy.bids import local_period
from fraudctl.progress import Watch, unwatched

Kind = Literal["number", "category", "flag", "presence", "hour", "score", "action"]
N_BINS: Final = 20
MOST_VALUES: Final = 12
"""Values of a category that have cells of their own; all others are one."""
RARE: Final = 0.002
"""A value of a category with a smaller share of the reference has no cell of its own."""


@dataclass(frozen=True)
class Cells:
    """The cells of one watched column, frozen.

    Attributes
    ----------
    name
        Of the column; ``score``, ``action`` and ``hour`` for those that are no column of the feature table.
    kind
        ``number``: bins ``(-inf, e0], (e0, e1], ...``, then null, then not finite. ``score``: bins ``[e_i, e_i+1)``.
        ``category`` and ``action``: the values, then null, then other. ``flag``: false, true, null. ``presence``:
        there, null. ``hour``: 24 local hours.
    edges
        Inner edges of numbers and scores, rising.
    values
        Of categories and actions.
    through
        Features that are watched through this column, because their windows are too long to be watched themselves.
    derived
        Whether it is computed from other events: it may be null, or not, for want of a history.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    derived: bool = False

    @property
    def n(self) -> int:
        """Number of cells."""
        sizes = {"number": len(self.edges) + 3, "score": len(self.edges) + 1, "flag": 3, "presence": 2, "hour": 24}
        return sizes.get(self.kind, len(self.values) + 2)

    @property
    def null(self) -> int | None:
        """Number of the cell of null; None where nothing can be null."""
        return {
            "number": self.n - 2, "category": self.n - 2, "action": self.n - 2, "flag": 2, "presence": 1,
        }.get(self.kind)  # fmt: skip

    @property
    def other(self) -> int | None:
        """Number of the cell of what is no value of the reference: not finite, or a value that has no cell."""
        return self.n - 1 if self.kind in ("number", "category", "action") else None

    def place(self, values: pl.Series) -> IntArray:
        """Return the cell of each value, shape ``(n_events,)``."""
        null = values.is_null().to_numpy() if values.null_count() else None
        if self.kind == "presence":
            return np.zeros(len(values), np.int64) if null is None else null.astype(np.int64)
        if self.kind == "hour":
            return values.cast(pl.Int64).to_numpy()
        if self.kind == "flag":
            return values.cast(pl.Int64).fill_null(2).to_numpy()
        if self.kind in ("category", "action"):
            known = values.cast(pl.String).cast(pl.Enum(self.values), strict=False).to_physical().to_numpy()
            found = np.where(np.isnan(known), self.n - 1, known).astype(np.int64)  # what has no cell is null, and NaN
            return found if null is None else np.where(null, self.n - 2, found)
        numbers = values.cast(pl.Float64).to_numpy()  # null is NaN
        if self.kind == "score":
            return edges_below(numbers, self.edges, equal=True)
        cells = edges_below(numbers, self.edges, equal=False)
        cells[~np.isfinite(numbers)] = self.n - 1
        if null is not None:
            cells[null] = self.n - 2
        return cells


def cells_of(name: str, values: pl.Series, dtype: str, *, through: Sequence[str] = (), derived: bool = False) -> Cells:
    """Freeze the cells of a column from its values in the reference.

    Parameters
    ----------
    dtype
        Type of the feature: int, float, bool or category.
    """
    if dtype == "bool":
        return Cells(name, "flag", through=tuple(through), derived=derived)
    if dtype == "category":
        counted = values.drop_nulls().cast(pl.String).value_counts(sort=False).rename({values.name: "value"})
        frequent = counted.filter(pl.col("count") >= RARE * max(len(values), 1))
        top = frequent.sort(["count", "value"], descending=[True, False])["value"].head(MOST_VALUES)
        return Cells(name, "category", values=tuple(top.to_list()), through=tuple(through), derived=derived)
    numbers = values.cast(pl.Float64).drop_nulls().to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    return Cells(name, "number", edges=edges_of(numbers), through=tuple(through), derived=derived)


def edges_of(numbers: FloatArray) -> tuple[float, ...]:
    """Return up to 19 inner edges that cut numbers into up to 20 bins of equal mass, as far as ties allow."""
    if not len(numbers):
        return ()
    inner = np.quantile(numbers, np.arange(1, N_BINS) / N_BINS, method="inverted_cdf")
    edges = np.unique(inner)
    return tuple(float(value) for value in edges[edges < numbers.max()])


@dataclass(frozen=True)
class DayCounts:
    """Counts by local day.

    Attributes
    ----------
    days
        Numbers of the days from 1970-01-01, rising without gaps, shape ``(n_days,)``.
    events
        Events of each day, shape ``(n_days,)``.
    cells
        Name of a watched column -> counts, shape ``(n_days, n_cells)``. A column that is not known on a day has -1 in
        all cells of it.
    sums
        ``alerts``, ``expected_cost`` and ``amount`` -> sum by day, shape ``(n_days,)``; NaN where not known.
    """

    days: IntArray
    events: IntArray
    cells: Mapping[str, IntArray]
    sums: Mapping[str, FloatArray] = field(default_factory=dict)

    def between(self, first: int, stop: int) -> DayCounts:
        """Return the days in ``[first, stop)``."""
        rows = (self.days >= first) & (self.days < stop)
        return DayCounts(
            self.days[rows], self.events[rows], {name: found[rows] for name, found in self.cells.items()},
            {name: found[rows] for name, found in self.sums.items()},
        )  # fmt: skip


def added(one: DayCounts, other: DayCounts) -> DayCounts:
    """Return the counts of two sets of events on the same days; a column that one does not know counts as the other."""

    def both(name: str) -> IntArray:
        a, b = one.cells[name], other.cells[name]
        return np.where(a < 0, b, np.where(b < 0, a, a + b))

    sums = {name: one.sums[name] + other.sums[name] for name in one.sums}
    return DayCounts(one.days, one.events + other.events, {name: both(name) for name in one.cells}, sums)


def day_range(days: IntArray) -> IntArray:
    """Return all days from the first to the last, without gaps."""
    return np.arange(days.min(), days.max() + 1) if len(days) else np.zeros(0, np.int64)


def count_days(
    frame: pl.DataFrame,
    watched: Sequence[Cells],
    *,
    timezone: str,
    days: IntArray | None = None,
    sums: Mapping[str, FloatArray] | None = None,
    watch: Watch = unwatched,
) -> DayCounts:
    """Count events by local day and cell.

    Parameters
    ----------
    frame
        ``event_time`` (µs UTC) and the watched columns by name; ``hour`` is taken from the time.
    watched
        Columns that the frame does not have are not known: -1 in all cells.
    days
        Days to count; by default from the first to the last event.
    sums
        Values whose sums by day are kept, each of shape ``(n_events,)``.
    watch
        Called with each column before it is counted.
    """
    day = local_period(frame["event_time"], "day", timezone)
    days = day_range(day) if days is None else days
    row = day - days[0] if len(days) else day
    inside = (row >= 0) & (row < len(days))
    out: dict[str, IntArray] = {}
    for i, item in enumerate(watched):
        watch(f"column {i + 1} of {len(watched)} counted")
        if item.kind == "hour":
            values = frame["event_time"].dt.convert_time_zone(timezone).dt.hour()
        elif item.name in frame.columns:
            values = frame[item.name]
        else:
            out[item.name] = np.full((len(days), item.n), -1, np.int64)
            continue
        flat = (row * item.n + item.place(values))[inside]
        out[item.name] = np.bincount(flat, minlength=len(days) * item.n).reshape(len(days), item.n).astype(np.int64)
    events = np.bincount(row[inside], minlength=len(days)).astype(np.int64)
    totals: dict[str, FloatArray] = {
        name: np.bincount(row[inside], weights=np.nan_to_num(values[inside]), minlength=len(days)).astype(np.float64)
        for name, values in (sums or {}).items()
    }
    return DayCounts(days, events, out, totals)


# ---------------------------------------------------------------- as JSON


def cells_to_dict(item: Cells) -> JsonObject:
    """Return cells as JSON."""
    return {
        "name": item.name, "kind": item.kind, "edges": list(item.edges), "values": list(item.values),
        "through": list(item.through), "derived": item.derived,
    }  # fmt: skip


def cells_from_dict(document: Mapping[str, Any]) -> Cells:
    """Return what `cells_to_dict` wrote."""
    return Cells(
        document["name"], document["kind"], tuple(document["edges"]), tuple(document["values"]),
        tuple(document["through"]), document.get("derived", False),
    )  # fmt: skip


def counts_to_dict(counts: DayCounts) -> JsonObject:
    """Return counts as JSON: a line of numbers for each day of a column."""
    return {
        "first_day": int(counts.days[0]) if len(counts.days) else 0,
        "events": _line(counts.events),
        "cells": {name: [_line(row) for row in found] for name, found in counts.cells.items()},
        "sums": {name: [_rounded(value) for value in found.tolist()] for name, found in counts.sums.items()},
    }


def counts_from_dict(document: Mapping[str, Any]) -> DayCounts:
    """Return what `counts_to_dict` wrote."""
    events = _numbers(document["events"])
    days = np.arange(document["first_day"], document["first_day"] + len(events))
    cells = {name: np.stack([_numbers(row) for row in found]) for name, found in document["cells"].items() if found}
    sums = {
        name: np.array([np.nan if value is None else value for value in found], dtype=np.float64)
        for name, found in document["sums"].items()
    }
    return DayCounts(days, events, cells, sums)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _line(row: IntArray) -> str:
    return " ".join(map(str, row.tolist()))


def _numbers(line: str) -> IntArray:
    return np.array(line.split(), dtype=np.int64)
