"""Both models' decisions on the same events: what they cost, and which frauds only one of them catches.

Owns the comparison without the noise of which frauds there were. It rests on outcomes that do not hang on who acted,
and keeps one consequence of acting apart: how soon a fraud becomes known. A fraud that only one model flags is known
soon where that model answered, and late where the other did. Both, and events so old that all is known, are estimated
alike for both models and joined by the same weights, so that equal models stay equal even if a delay curve is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.ab.rates import ALLOWED, FLAGGED, RateSum, UnitEvents, UnitRate
from fraudctl.arrays import BoolArray, FloatArray
from fraudctl.monitor.seen import COST, SeenEvents


@dataclass(frozen=True)
class PairedEvents:
    """Events that both models decided; arrays of shape ``(n_events,)`` in the order of `UnitEvents`.

    Attributes
    ----------
    events
        What was done and what is known.
    flagged
        Whether the champion and the challenger stop or review each, ``(n_events, 2)``.
    cost
        What fraud adds to the cost of each model's action, ``(n_events, 2)``.
    legit
        What each model's action costs where the event is legitimate, ``(n_events, 2)``.
    """

    events: UnitEvents
    flagged: BoolArray
    cost: FloatArray
    legit: FloatArray

    @classmethod
    def of(cls, events: UnitEvents, sides: tuple[SeenEvents, SeenEvents]) -> PairedEvents:
        """Put both models' decisions side by side; champion, then challenger."""
        rows = events.row
        return cls(
            events,
            np.column_stack([side.events.stratum[rows] == FLAGGED for side in sides]),
            np.column_stack([side.values[rows, COST] for side in sides]),
            np.column_stack([side.base[rows, 1] for side in sides]),
        )

    def weights(self) -> FloatArray | None:
        """Return how much frauds count that become known soon, late, and those of events so old that all is known.

        Weights are by the information in each if both models catch alike; they hang on exposures alone.

        Returns
        -------
        FloatArray
            Shape ``(3,)``, 1 together; None where no outcome can be known yet.
        """
        events = self.events
        arm, old = events.challenger, events.old
        information = [
            _joint(*(float(events.exposed[who & ~old, stratum].sum()) for who in (arm, ~arm)))
            for stratum in (FLAGGED, ALLOWED)
        ]
        parts = np.array([*information, float(events.n[old].sum()) / 2.0])
        return parts / parts.sum() if parts.sum() > 0.0 else None

    def alone(self, money: FloatArray, *, model: int, weights: FloatArray) -> list[UnitRate]:
        """Return what the frauds that only one model flags add per event.

        Parameters
        ----------
        money
            What each event adds.
        model
            0 for those of the champion, 1 for those of the challenger.
        weights
            Of `weights`.
        """
        events = self.events
        only = self.flagged[:, model] & ~self.flagged[:, 1 - model] & events.fraud
        acted, old = events.challenger == bool(model), events.old
        sources = [(acted & ~old, FLAGGED), (~acted & ~old, ALLOWED), (old, FLAGGED)]
        return [
            UnitRate(events.total(money * (only & who)), events.total(events.exposed[:, stratum] * who), float(weight))
            for (who, stratum), weight in zip(sources, weights, strict=True)
        ]

    def together(self, money: FloatArray) -> UnitRate:
        """Return what the frauds that both models flag add per event."""
        events = self.events
        both = self.flagged.all(axis=1) & events.fraud
        return UnitRate(events.total(money * both), events.total(events.exposed[:, FLAGGED]))

    def cost_difference(self, weights: FloatArray) -> RateSum:
        """Return the cost per event of the challenger less that of the champion."""
        more = self.cost[:, 1] - self.cost[:, 0]
        return RateSum.of(
            [
                self.events.rate(self.legit[:, 1] - self.legit[:, 0], self.events.n),
                self.together(more),
                *self.alone(more, model=0, weights=weights),
                *self.alone(more, model=1, weights=weights),
            ]
        )

    def catch_difference(self, weights: FloatArray) -> tuple[RateSum, float]:
        """Return frauds caught per event, challenger less champion, and those of the champion."""
        one = self.events.n
        champion, challenger = (self.alone(one, model=model, weights=weights) for model in (0, 1))
        caught = self.together(one).value + sum(item.value for item in champion)
        lost = [UnitRate(item.found, item.per, -item.coefficient) for item in champion]
        return RateSum.of([*challenger, *lost]), caught

    def known_alone(self) -> tuple[int, int]:
        """Return how many known frauds only the champion flags, and only the challenger."""
        champion, challenger = self.flagged.T
        fraud = self.events.fraud
        return int((champion & ~challenger & fraud).sum()), int((challenger & ~champion & fraud).sum())


def _joint(one: float, other: float) -> float:
    """Return the information in the difference of two rates with these exposures."""
    return one * other / (one + other) if one > 0.0 and other > 0.0 else 0.0


def swapped(frame: pl.DataFrame, shadow: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the events that both models decided: as answered, with the champion's actions, with the challenger's.

    Parameters
    ----------
    frame
        Answered events with ``arm`` and ``unit``; those without a unit are left out.
    shadow
        ``event_id`` and ``action`` of the model that did not answer.
    """
    other = shadow.select("event_id", pl.col("action").alias(".action"))
    both = frame.join(other, on="event_id", how="inner", maintain_order="left").filter(pl.col("unit").is_not_null())
    swap = pl.col("arm") == "challenger"
    champion = pl.when(swap).then(".action").otherwise("action")
    challenger = pl.when(swap).then("action").otherwise(".action")
    return both, both.with_columns(action=champion), both.with_columns(action=challenger)
