"""Events of cohorts as known at one instant, given one cohort at a time, whatever their number.

Owns `CohortEvents` and `CohortSource`: what all events are counted for (the youngest, the oldest, stops of labels), the
frauds that were known, and the events of one cohort and stratum. Sums are added up value by value in the order of
events, so that they are those of all events at once. Nothing here knows of probabilities of what is to come.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.monitor.delays import LabelArrivals, LabelStops
from fraudctl.monitor.row_arrays import RowArrays

_AT_A_TIME = 1 << 18
"""Rows whose order is looked at in one go."""


@dataclass(frozen=True)
class CohortEvents:
    """Events as known at one instant, arrays of shape ``(n_events,)``.

    Attributes
    ----------
    cohort
        Number of the period, from 0 in the order of time.
    stratum
        Number of the stratum, from 0: 1 for flagged events, 0 for others.
    age
        Seconds from the event to the instant.
    y_prob
        Calibrated probability at the decision; NaN where there is none.
    known
        1 known as fraud, 0 a verdict "legitimate" was given, -1 nothing was said. Silence is no verdict.
    fraud_after
        Seconds until the event was first known as fraud; NaN where it never was.
    cleared_after
        Seconds until the last verdict "legitimate"; NaN where there was none.
    """

    cohort: IntArray
    stratum: IntArray
    age: FloatArray
    y_prob: FloatArray
    known: npt.NDArray[np.int8]
    fraud_after: FloatArray
    cleared_after: FloatArray

    def after_stops(self, stops: LabelStops, now: float) -> tuple[CohortEvents, FloatArray]:
        """Return events whose labels did not wait, and how long each fraud took at least, shape ``(n_events,)``.

        Labels that waited for the end of a stop are taken to have come in the middle of the time they may have; while
        no label comes, events are as old as when the last one came.
        """
        at_least = np.maximum(stops.earliest(self.fraud_after - self.age) + self.age, 0.0)
        middle = 0.5 * (at_least + self.fraud_after)
        age = np.maximum(self.age - stops.still(now), 0.0)
        return replace(self, fraud_after=np.minimum(middle, age), age=age), at_least

    def take(self, rows: BoolArray) -> CohortEvents:
        """Return some of the events."""
        return CohortEvents(
            self.cohort[rows],
            self.stratum[rows],
            self.age[rows],
            self.y_prob[rows],
            self.known[rows],
            self.fraud_after[rows],
            self.cleared_after[rows],
        )


@dataclass(frozen=True)
class ToldFrauds:
    """Events that were known as fraud at any time, in the order of all events.

    ``values`` has the shape ``(n_events, n_values)``; ``at_least`` is how long each took at least.
    """

    events: CohortEvents
    values: FloatArray
    at_least: FloatArray

    def of(self, stratum: int) -> ToldFrauds:
        """Return those of a stratum."""
        rows = self.events.stratum == stratum
        return ToldFrauds(self.events.take(rows), self.values[rows], self.at_least[rows])


@dataclass(frozen=True)
class CohortPart:
    """Events of a cohort and a stratum, arrays of shape ``(n_events,)``; see `CohortEvents`."""

    rows: IntArray
    known: npt.NDArray[np.int8]
    age: FloatArray
    y_prob: FloatArray

    def scored(self, otherwise: float) -> FloatArray:
        """Return the probabilities, and that of events that have none."""
        return np.where(np.isnan(self.y_prob), otherwise, self.y_prob)


def in_order(values: FloatArray) -> float:
    """Return a sum, each value added after the one before it: the same for events of one cohort or of all."""
    return float(np.bincount(np.zeros(len(values), np.int64), weights=values, minlength=1)[0])


class CohortSource:
    """Gives the events of one cohort at a time, with labels that did not wait; counts what all cohorts are judged by.

    Attributes
    ----------
    youngest
        Age of the youngest event of each cohort, shape ``(n_cohorts,)``.
    n, n_known, oldest
        Events, known frauds, and the age of the oldest event, shape ``(n_cohorts, n_strata)``.
    told
        The frauds that were known at any time.
    """

    def __init__(self, events: CohortEvents, values: FloatArray, shape: tuple[int, int], arrays: RowArrays) -> None:
        self.events, self.values, self.arrays = events, values, arrays
        self.places = rows_by_cohort(events.cohort, shape[0], arrays)
        self.youngest, self.oldest = np.full(shape[0], np.inf), np.zeros(shape)
        self.n, self.n_known = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        nothing, arrivals = np.zeros(0, np.int64), LabelArrivals()
        told, rows, sums = [self._look(nothing)], [nothing], [values[nothing]]
        for cohort, place in enumerate(self.places):
            some = self._look(place)
            self.youngest[cohort] = some.age.min(initial=np.inf)
            for stratum in range(shape[1]):
                own = some.stratum == stratum
                self.oldest[cohort, stratum] = some.age[own].max(initial=0.0)
                self.n[cohort, stratum], self.n_known[cohort, stratum] = own.sum(), (some.known[own] == 1).sum()
            arrivals.add(some.fraud_after - some.age)
            arrivals.add(some.cleared_after - some.age)
            ever = ~np.isnan(some.fraud_after)
            told.append(some.take(ever))
            rows.append(_numbers(place)[ever])
            sums.append(values[place][ever])
            arrays.let_go()
        # without new events labels dry up: that is no stop
        now = max(arrivals.last, -float(self.youngest.min(initial=np.inf)))
        stops = arrivals.stops(now)
        self._still = stops.still(now)
        self.oldest = np.maximum(self.oldest - self._still, 0.0)
        order = np.argsort(np.concatenate(rows), kind="stable")
        adjusted, at_least = _joined(told, order).after_stops(stops, now)
        self.told = ToldFrauds(adjusted, np.concatenate(sums)[order], at_least)

    def _look(self, place: slice | IntArray) -> CohortEvents:
        return CohortEvents(*(getattr(self.events, item.name)[place] for item in fields(CohortEvents)))

    def part(self, cohort: int, stratum: int) -> CohortPart:
        """Return the events of a cohort and a stratum."""
        self.arrays.let_go()
        place, events = self.places[cohort], self.events
        own = np.flatnonzero(events.stratum[place] == stratum)
        age = np.maximum(events.age[place][own] - self._still, 0.0)
        return CohortPart(_numbers(place)[own], events.known[place][own], age, events.y_prob[place][own])

    def values_of(self, part: CohortPart) -> FloatArray:
        """Return the values of some events."""
        return self.values[part.rows]


def _joined(parts: Sequence[CohortEvents], order: IntArray) -> CohortEvents:
    names = [item.name for item in fields(CohortEvents)]
    return CohortEvents(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in names))


def _numbers(place: slice | IntArray) -> IntArray:
    return np.arange(place.start, place.stop) if isinstance(place, slice) else place


def rows_by_cohort(cohort: IntArray, n_cohorts: int, arrays: RowArrays) -> Sequence[slice | IntArray]:
    """Return the rows of each cohort in their order: those between two where cohorts never fall, else their numbers."""
    if _rising(cohort, arrays):
        bounds = np.searchsorted(cohort, np.arange(n_cohorts + 1)).tolist()
        return [slice(first, stop) for first, stop in itertools.pairwise(bounds)]
    order = np.argsort(cohort, kind="stable")
    return np.split(order, np.searchsorted(cohort[order], np.arange(1, n_cohorts)))


def _rising(cohort: IntArray, arrays: RowArrays) -> bool:
    for first in range(0, len(cohort), _AT_A_TIME):
        block = cohort[first : first + _AT_A_TIME + 1]
        if (block[1:] < block[:-1]).any():
            return False
        arrays.let_go()
    return True
