"""Rates per event from outcomes that are known in part, and their uncertainty clustered by unit.

Owns how known outcomes are counted: frauds that are known at an instant, divided by the events in which they would be
known by then (events times the share of such frauds that is known at their age), for flagged and allowed events apart.
A young event then counts for as little as is known of it, and nothing is blown up. The rate of a kind of fraud is taken
to be the same over the experiment; where it is not, days with more known outcomes count for more, in both arms alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.monitor.delays import DelayCurve, blended, delay_curve
from fraudctl.monitor.seen import SeenEvents

_OWN_CURVE: Final = 30.0
"""Arrivals of a stratum from which its own delays count as much as those of all."""
_FEW_ARRIVALS: Final = 20
ALLOWED, FLAGGED = 0, 1


@dataclass(frozen=True)
class Delays:
    """How long frauds take to become known, allowed and flagged ones apart.

    Attributes
    ----------
    curves
        Of allowed and of flagged frauds; None below 20 known frauds, where only events of the full age count.
    horizon
        Age in seconds from which all are known.
    """

    curves: tuple[DelayCurve, DelayCurve] | None
    horizon: float

    @classmethod
    def of(cls, seen: Sequence[SeenEvents], horizon: float) -> Delays:
        """RateSum delays from frauds that are known; those of the action that was taken.

        Parameters
        ----------
        seen
            Decisions of the experiment, and of the time before it: without those, nothing is known of delays that are
            longer than the experiment, and young events seem to be better known than they are.
        horizon
            Age in seconds from which all are known.
        """
        delay, age, stratum = (
            np.concatenate([getattr(item.events, name) for item in seen]) for name in ("fraud_after", "age", "stratum")
        )
        arrived = ~np.isnan(delay)
        if int(arrived.sum()) < _FEW_ARRIVALS:
            return cls(None, horizon)
        pooled = delay_curve(delay[arrived], age[arrived], horizon=horizon)
        allowed, flagged = (
            blended(delay_curve(delay[rows], age[rows], horizon=horizon), pooled, enough=_OWN_CURVE)
            for rows in (arrived & (stratum == code) for code in (ALLOWED, FLAGGED))
        )
        return cls((allowed, flagged), horizon)

    def share(self, age: FloatArray) -> FloatArray:
        """Return which share of the frauds is known at each age, if allowed and if flagged; ``(n_events, 2)``."""
        old = (age >= self.horizon)[:, None]
        if self.curves is None:
            return np.repeat(old, 2, axis=1).astype(np.float64)
        return np.where(old, 1.0, np.column_stack([curve.share(age) for curve in self.curves]))


@dataclass(frozen=True)
class UnitEvents:
    """Events whose outcome can be seen and whose unit is known; arrays of shape ``(n_events,)``.

    Attributes
    ----------
    row
        Place among the counted events of `SeenEvents`.
    place
        Place in the frame.
    unit
        Number of its unit, from 0 to ``n_units - 1``.
    challenger
        Whether the challenger answered.
    n
        How many events each stands for.
    exposed
        ``n`` times the share of such frauds that is known at its age, if allowed and if flagged; ``(n_events, 2)``.
    flagged
        Whether the action that was taken stops or reviews it.
    fraud
        Whether it is known as fraud.
    old
        Whether it is so old that every outcome is known.
    """

    row: IntArray
    place: IntArray
    unit: IntArray
    challenger: BoolArray
    n: FloatArray
    exposed: FloatArray
    flagged: BoolArray
    fraud: BoolArray
    old: BoolArray
    n_units: int

    @classmethod
    def of(cls, frame: pl.DataFrame, seen: SeenEvents, delays: Delays) -> UnitEvents:
        """Take events apart by unit.

        Parameters
        ----------
        frame
            What ``seen`` was made of, with ``unit`` and ``arm``.
        delays
            How long frauds take to become known.
        """
        place = np.flatnonzero(seen.counted)
        unit = frame["unit"].gather(place)
        row = np.flatnonzero(unit.is_not_null().to_numpy())
        code = unit.gather(row).rank("dense").to_numpy().astype(np.int64) - 1
        n, age = seen.base[row, 0], seen.events.age[row]
        return cls(
            row, place[row], code, (frame["arm"].gather(place[row]) == "challenger").to_numpy(), n,
            n[:, None] * delays.share(age), seen.events.stratum[row] == FLAGGED,
            seen.events.known[row] == 1, age >= delays.horizon, int(code.max(initial=-1)) + 1,
        )  # fmt: skip

    def total(self, values: FloatArray | BoolArray) -> FloatArray:
        """Return the sum of each unit, shape ``(n_units,)``."""
        return np.asarray(np.bincount(self.unit, weights=values, minlength=self.n_units), dtype=np.float64)

    def arm_of_units(self) -> BoolArray:
        """Return whether each unit met the challenger."""
        arm = np.zeros(self.n_units, dtype=np.bool_)
        arm[self.unit] = self.challenger
        return arm

    def rate(
        self, values: FloatArray, per: FloatArray, among: BoolArray | None = None, *, coefficient: float = 1.0
    ) -> UnitRate:
        """Return a rate: the sum of values over that of what they are counted per, of some of the events."""
        inside = 1.0 if among is None else among
        return UnitRate(self.total(values * inside), self.total(per * inside), coefficient)

    def fraud_rates(self, money: FloatArray, among: BoolArray, *, coefficient: float = 1.0) -> list[UnitRate]:
        """Return what frauds add per event, allowed and flagged ones apart.

        Parameters
        ----------
        money
            What each event adds where it is fraud.
        among
            Events that are looked at.
        """
        found = money * self.fraud
        return [
            UnitRate(
                self.total(found * (among & (self.flagged == bool(stratum)))),
                self.total(self.exposed[:, stratum] * among),
                coefficient,
            )
            for stratum in (ALLOWED, FLAGGED)
        ]


@dataclass(frozen=True)
class UnitRate:
    """A sum over units, per a sum over units, times a coefficient.

    Attributes
    ----------
    found, per
        Totals by unit, shape ``(n_units,)``.
    """

    found: FloatArray
    per: FloatArray
    coefficient: float = 1.0

    @property
    def value(self) -> float:
        """The rate times its coefficient; 0 where it is per nothing."""
        total = float(self.per.sum())
        return self.coefficient * float(self.found.sum()) / total if total > 0.0 else 0.0

    def influence(self) -> FloatArray:
        """Return what each unit adds to the error of the rate, shape ``(n_units,)`` (linearised ratio)."""
        total = float(self.per.sum())
        if not total > 0.0:
            return np.zeros(len(self.per))
        return (self.coefficient * self.found - self.value * self.per) / total


@dataclass(frozen=True)
class RateSum:
    """A sum of rates.

    Attributes
    ----------
    value
        The sum.
    influence
        What each unit adds to its error, shape ``(n_units,)``.
    """

    value: float
    influence: FloatArray

    @classmethod
    def of(cls, rates: Sequence[UnitRate]) -> RateSum:
        """Sum rates over the same units."""
        return cls(sum(item.value for item in rates), np.sum([item.influence() for item in rates], axis=0))

    def less(self, covariate: RateSum) -> RateSum:
        """Return the estimate less what a covariate explains, whose true value is 0.

        The coefficient is that of least squares over units, as in CUPED (A. Deng and others, *Improving the sensitivity
        of online controlled experiments by utilizing pre-experiment data*, WSDM 2013). The covariate must be the same
        whichever arm a unit is in.
        """
        spread = float((covariate.influence**2).sum())
        if not spread > 0.0:
            return self
        slope = float((self.influence * covariate.influence).sum()) / spread
        return RateSum(self.value - slope * covariate.value, self.influence - slope * covariate.influence)

    def se(self, arm: BoolArray | None = None) -> float:
        """Return the standard error, clustered by unit; with arms, units of each are counted apart."""
        groups = [np.ones(len(self.influence), dtype=np.bool_)] if arm is None else [arm, ~arm]
        variance = 0.0
        for group in groups:
            n_units = int(group.sum())
            if n_units:
                variance += n_units / max(n_units - 1, 1) * float((self.influence[group] ** 2).sum())
        return math.sqrt(variance)
