"""Which events are compared with which: one rule for both sides of every comparison.

A distribution, a rate or a share is only comparable where both sides were chosen in the same way. Events whose outcome
is known are a selection (declined events have none, late ones have none yet), so they are compared with such events
only, and scores, which every event has, are compared over every event that was decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import polars as pl

from fraudctl.errors import DataError
from fraudctl.text.plain import shown


class Population(Enum):
    """Which events take part in a comparison."""

    DECIDED = "every event with a usable score, whatever is known of its outcome"
    LABELLED = "events with a known outcome"

    def rows(self, frame: pl.DataFrame) -> pl.Series:
        """Return which rows belong to it, shape ``(n_events,)``; needs ``y_prob`` or ``label``."""
        if self is Population.LABELLED:
            return frame["label"].is_not_null()
        return frame["y_prob"].is_between(0.0, 1.0).fill_null(value=False)


@dataclass(frozen=True)
class Comparable:
    """Two sets of events chosen by the same rule; only `comparable` makes one.

    Attributes
    ----------
    before, now
        The events of both sides, in their order.
    population
        The rule.
    """

    before: pl.DataFrame
    now: pl.DataFrame
    population: Population

    @property
    def both(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The earlier and the later side."""
        return self.before, self.now


def comparable(before: pl.DataFrame, now: pl.DataFrame, population: Population) -> Comparable:
    """Return the events of both sides that belong to a population.

    Parameters
    ----------
    before, now
        Events of two periods, groups or samples, not yet filtered by what is known of them.
    population
        Which of them take part, on both sides.

    Raises
    ------
    DataError
        A column that the rule reads is missing on one side.
    """
    column = "label" if population is Population.LABELLED else "y_prob"
    for side in (before, now):
        if column not in side.columns:
            msg = f"events to compare have no column {shown(column)}; expected it on both sides ({population.value})"
            raise DataError(msg)
    return Comparable(before.filter(population.rows(before)), now.filter(population.rows(now)), population)


def require_same_events(one: pl.DataFrame, other: pl.DataFrame, *, names: tuple[str, str]) -> None:
    """Refuse to compare two models on different events.

    Raises
    ------
    DataError
        The ids differ, or their order does.
    """
    if not one["event_id"].equals(other["event_id"]):
        msg = f"{names[0]} and {names[1]} were scored on other events, or in another order"
        raise DataError(msg, hint="score both on the same events")
