"""Constant actions under a capacity: which events still find a free slot, in the order in which events come.

A constant action gives its slots to the first events of each local day or week, whatever they are: labelled or not,
immature or mature. So the place of every event among all events of its period is noted before any are left out
(`with_order`), and travels with the events as a column. `fraudctl.costs.baseline` turns reach into money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, IntArray
from fraudctl.costs import CostMatrix
from fraudctl.policy.bids import Moments, Per, local_period
from fraudctl.policy.places import CapacityLimit
from fraudctl.project import Project

ORDER: Final[dict[Per, str]] = {"day": "fraudctl:order_in_day", "week": "fraudctl:order_in_week"}
"""Columns with the number of earlier events in the local day or week, among all events that were decided."""


def limits_of(project: Project) -> tuple[CapacityLimit, ...]:
    """Return the capacities of the project file."""
    return tuple(CapacityLimit(action, cap.limit, cap.per) for action, cap in project.policy.capacity.items())


def order_in_period(period: IntArray, takes: BoolArray | None = None) -> IntArray:
    """Return how many earlier rows of the same period take a slot, shape ``(n_events,)``; rows are in time order.

    ``takes`` says which rows do, shape ``(n_events,)``; by default all.

    >>> order_in_period(np.array([7, 7, 8, 7, 8])).tolist()
    [0, 1, 0, 2, 1]
    >>> order_in_period(np.array([7, 7, 8, 7, 8]), np.array([True, False, True, True, True])).tolist()
    [0, 1, 0, 1, 1]
    """
    rows = np.argsort(period, kind="stable")
    grouped = period[rows]
    first = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(grouped) else np.empty(0, dtype=np.int64)
    taken = np.ones(len(period), dtype=np.int64) if takes is None else takes[rows].astype(np.int64)
    before = np.cumsum(taken) - taken
    order = np.empty(len(period), dtype=np.int64)
    order[rows] = before - np.repeat(before[first], np.diff(np.r_[first, len(period)]))
    return order


def with_order(frame: pl.DataFrame, project: Project, *, takes: BoolArray | None = None) -> pl.DataFrame:
    """Add the `ORDER` columns that the project's capacities need, over the events of ``frame``.

    Parameters
    ----------
    frame
        All events of a period in time order, with ``event_time``. Columns that are there already are replaced.
    project
        Its capacities and time zone.
    takes
        Which events can take a slot, shape ``(n_events,)``; by default all. An event without a usable probability is
        not decided, by a model or by a constant action.
    """
    pers = dict.fromkeys(limit.per for limit in limits_of(project))
    zone = project.data.timezone
    found = [
        pl.Series(ORDER[per], order_in_period(local_period(frame["event_time"], per, zone), takes)) for per in pers
    ]
    return frame.with_columns(found)


class PeriodOrder:
    """Adds the columns of `with_order` to events that come in parts, each after the one before it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._before: dict[Per, tuple[int, int]] = {}

    def ordered(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the next part, at least one event, with its `ORDER` columns."""
        zone, found = self._project.data.timezone, []
        for per in dict.fromkeys(limit.per for limit in limits_of(self._project)):
            period = local_period(frame["event_time"], per, zone)
            last, n = self._before.get(per, (int(period[0]), 0))
            order = order_in_period(period) + np.where(period == last, n, 0)
            self._before[per] = int(period[-1]), int(order[period == period[-1]].max()) + 1
            found.append(pl.Series(ORDER[per], order))
        return frame.with_columns(found)


def reach_of(frame: pl.DataFrame, project: Project, matrix: CostMatrix) -> BoolArray | None:
    """Return which events each constant action reaches, for `fraudctl.costs.baseline`.

    Parameters
    ----------
    frame
        Events with the columns of `with_order`. Without them ``frame`` itself, in time order, counts as all events.
    project
        Its present capacities; that of a frozen policy plays no part, so that two models have the same base.
    matrix
        The actions.

    Returns
    -------
    array of shape ``(n_events, n_actions)``, or None
        None where the project has no capacity.
    """
    limits = limits_of(project)
    if not limits:
        return None
    if any(ORDER[limit.per] not in frame.columns for limit in limits):
        frame = with_order(frame, project)
    orders = {limit.per: frame[ORDER[limit.per]].to_numpy() for limit in limits}
    return _reach(orders, limits, matrix)


def reach_among(when: Mapping[Per, Moments], limits: Sequence[CapacityLimit], matrix: CostMatrix) -> BoolArray | None:
    """Return the same for events, in time order, whose local days and weeks are known."""
    orders = {limit.per: order_in_period(when[limit.per].period) for limit in limits}
    return _reach(orders, limits, matrix) if limits else None


def _reach(orders: Mapping[Per, IntArray], limits: Sequence[CapacityLimit], matrix: CostMatrix) -> BoolArray:
    n_events = len(next(iter(orders.values())))
    reach = np.ones((n_events, len(matrix.actions)), dtype=np.bool_)
    for limit in limits:
        reach[:, matrix.code(limit.action)] = orders[limit.per] < limit.limit
    return reach
