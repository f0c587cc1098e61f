"""How long outcomes take to become known: delay curves from censored arrivals, and what the shape of a cohort says.

Owns the share of the frauds that is known at an age, estimated from what had arrived, and the evidence in the delays
of a cohort for its stretch: by which factor they are longer than those of the curve. Ages and delays are seconds since
the event. Nothing here knows of probabilities or money.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudctl.arrays import FloatArray, IntArray

N_BINS: Final = 128
"""Bins of age between 0 and the horizon."""
STRETCHES: Final[FloatArray] = np.exp(np.linspace(-1.2, 1.2, 33))
"""Factors by which the delays of a cohort may be longer than those of the curve: from 0.3 to 3.3."""
CLASSES: Final = 10
"""Classes of delay, each with about the same share of the curve, by which shapes are compared."""
TEMPER: Final = 0.6
"""Weight of the evidence in a shape: labels arrive in batches, so that delays of one cohort are not independent."""
SLOPES: Final[FloatArray] = np.linspace(-1.2, 1.2, 49)
"""By how much the logarithm of a delay may change with a standard deviation of that of a fraud's money."""
SLOPE_SPREAD: Final = 0.3
"""Standard deviation of the slope beforehand: little is expected of it."""
LEAST_PRICED: Final = 20
"""Arrivals with money below which delays are taken not to depend on it."""
FARTHEST: Final = 2.5
"""Standard deviations from the middle beyond which money says no more."""
SHORTEST_STOP: Final = 1.5 * 86_400.0
"""Seconds without any label from which they may have stopped."""
SURE_STOP: Final = 12.0
"""Labels that should have come in that time, so that chance is no explanation (exp(-12))."""
RELEASE: Final = 86_400.0
"""Seconds after a stop in which the labels that waited are taken to arrive."""


@dataclass(frozen=True)
class DelayCurve:
    """Share of outcomes that is known at an age.

    Attributes
    ----------
    horizon
        Age in seconds at which all are known.
    known
        Share known by age ``j * horizon / N_BINS``, shape ``(N_BINS + 1,)``, rising from 0 or above to 1.
    n_outcomes
        How many arrivals it was estimated from.
    """

    horizon: float
    known: FloatArray
    n_outcomes: int

    def share(self, age: FloatArray, stretch: FloatArray | float = 1.0) -> FloatArray:
        """Return the share known at each age, where delays are ``stretch`` times as long; same shape as ``age``."""
        grid = np.linspace(0.0, self.horizon, N_BINS + 1)
        return np.interp(np.asarray(age) / stretch, grid, self.known)

    def class_edges(self) -> FloatArray:
        """Return ages that cut the curve into at most `CLASSES` classes of about equal share; from 0 to infinity."""
        grid = np.linspace(0.0, self.horizon, N_BINS + 1)
        levels = np.arange(1, CLASSES) / CLASSES
        inner = grid[np.searchsorted(self.known, levels)]
        inner = np.unique(inner[(inner > 0.0) & (inner < self.horizon)])
        return np.concatenate([[0.0], inner, [np.inf]])


def delay_curve(delay: FloatArray, age: FloatArray, *, horizon: float) -> DelayCurve:
    """Estimate the share of outcomes known by age from the arrivals so far, by the reverse hazard.

    An outcome that arrived after ``delay`` is seen only where its event is older than that: the sample is truncated on
    the right. The reverse hazard of a bin is the share of the outcomes with a delay up to the bin that arrived in it,
    among events old enough to show the whole bin; the share known by a bin is the product of one minus the reverse
    hazards of all later bins. On a triangle of cohorts this is the chain ladder.

    Parameters
    ----------
    delay
        Seconds from event to arrival of each outcome that has arrived, shape ``(n_outcomes,)``.
    age
        Seconds from each of these events to the instant of the estimate, at least ``delay``.
    horizon
        Age at which every outcome is known.

    Notes
    -----
    Bins are open at their beginning and closed at their end: where all labels come when the label delay is over, all
    are known at that age, and none is still to come.

    J. F. Lawless, *Adjustments for reporting delays and the prediction of occurred but not reported events*, Canadian
    Journal of Statistics 1994; T. Mack, *Distribution-free calculation of the standard error of chain ladder reserve
    estimates*, ASTIN Bulletin 1993.
    """
    width = horizon / N_BINS
    arrived = np.clip(np.ceil(delay / width) - 1.0, 0, N_BINS - 1).astype(np.int64)
    whole = np.minimum(age / width, N_BINS).astype(np.int64)  # bins that the event has lived through
    seen = arrived < whole
    arrived, whole = arrived[seen], whole[seen]
    in_bin = np.bincount(arrived, minlength=N_BINS).astype(np.float64)
    up_to = np.cumsum(in_bin)
    # of the arrivals up to a bin, those whose events are too young to show the whole bin say nothing of it
    at_risk = up_to - np.cumsum(np.bincount(whole, minlength=N_BINS + 1))[:N_BINS]
    hazard = np.divide(in_bin, at_risk, out=np.zeros(N_BINS), where=at_risk > 0)
    later = np.concatenate([np.cumprod((1.0 - hazard)[::-1])[::-1], [1.0]])
    return DelayCurve(horizon, np.maximum.accumulate(later), int(seen.sum()))


def assumed_curve(horizon: float, *, by: float) -> DelayCurve:
    """Return a curve that rises evenly up to the age ``by``: what is assumed where nothing has arrived yet."""
    grid = np.linspace(0.0, horizon, N_BINS + 1)
    return DelayCurve(horizon, np.minimum(grid / by, 1.0), 0)


def blended(own: DelayCurve, pooled: DelayCurve, *, enough: float) -> DelayCurve:
    """Return a curve between a stratum's own and that of all strata: its own counts by the arrivals behind it."""
    weight = own.n_outcomes / (own.n_outcomes + enough)
    return DelayCurve(own.horizon, weight * own.known + (1.0 - weight) * pooled.known, own.n_outcomes)


@dataclass(frozen=True)
class LabelStops:
    """Stretches of time in which no label came although some should have: a holiday, a broken feed, weekly files.

    Attributes
    ----------
    start, end
        Seconds, on the clock of the arrivals, shape ``(n_stops,)``; the last may end at the instant of the estimate.
    """

    start: FloatArray
    end: FloatArray

    def earliest(self, arrived: FloatArray) -> FloatArray:
        """Return since when a label may have waited: the start of a stop that it followed, else its own arrival."""
        if len(self.start) == 0:
            return arrived
        place = np.searchsorted(self.end, arrived, side="right") - 1
        within = (place >= 0) & (arrived < self.end[np.maximum(place, 0)] + RELEASE)
        return np.where(within, self.start[np.maximum(place, 0)], arrived)

    def still(self, at: float) -> float:
        """Return for how many seconds no label has come at an instant."""
        return float(at - self.start[-1]) if len(self.end) and self.end[-1] >= at else 0.0


def label_stops(arrived: FloatArray, *, at: float, n: int | None = None) -> LabelStops:
    """Find stops in a stream of labels of any class.

    Parameters
    ----------
    arrived
        When each came, in seconds, at most ``at``.
    at
        The instant of the estimate.
    n
        Number of labels, where ``arrived`` are only those at the ends of short times.
    """
    n = len(arrived) if n is None else n
    if n < SURE_STOP:
        return LabelStops(np.zeros(0), np.zeros(0))
    times = np.append(np.sort(arrived), at)
    gaps = np.diff(times)
    per_second = n / max(float(at - times[0]), 1.0)
    stops = np.flatnonzero((gaps >= SHORTEST_STOP) & (gaps * per_second >= SURE_STOP))
    return LabelStops(times[stops], times[stops + 1])


class LabelArrivals:
    """When labels came, a part of them at a time: kept are the first and the last of each short time."""

    def __init__(self) -> None:
        self._ends: list[FloatArray] = []
        self.n, self.last = 0, -np.inf

    def add(self, arrived: FloatArray) -> None:
        """Take in some labels; NaN is none."""
        times = np.sort(arrived[~np.isnan(arrived)])
        if not len(times):
            return
        self.n, self.last = self.n + len(times), max(self.last, float(times[-1]))
        short = np.floor(times / (SHORTEST_STOP / 3.0))
        new = short[1:] != short[:-1]
        self._ends.append(times[np.append(True, new) | np.append(new, True)])

    def stops(self, at: float) -> LabelStops:
        """Return the stops in all of them, as `label_stops` finds them."""
        return label_stops(np.concatenate([np.zeros(0), *self._ends]), at=at, n=self.n)


def shape_evidence(
    curve: DelayCurve,
    delay: FloatArray,
    age: FloatArray,
    cohort: IntArray,
    *,
    n_cohorts: int,
    at_least: FloatArray | None = None,
) -> FloatArray:
    """Return the log likelihood of each stretch by the delays of each cohort, ``(n_cohorts, n_stretches)``.

    A delay is seen only up to the age of its event, so its density is that of the curve up to there. Where labels
    waited for the end of a stop, ``at_least`` says how long they would have taken at least; else it is the delay.
    """
    out = np.zeros((n_cohorts, len(STRETCHES)))
    if len(delay) == 0:
        return out
    seen = _SeenDelays.of(curve, delay, age, at_least)
    for position, stretch in enumerate(STRETCHES):
        out[:, position] = np.bincount(cohort, weights=seen.log_density(stretch), minlength=n_cohorts)
    return TEMPER * out


@dataclass(frozen=True)
class _SeenDelays:
    """Delays that have been seen, by the classes that they may lie in; arrays of shape ``(n_outcomes,)``."""

    curve: DelayCurve
    age: FloatArray
    low: FloatArray
    high: FloatArray
    floor: FloatArray
    """Density that chance alone gives each, whatever the curve says."""

    @classmethod
    def of(cls, curve: DelayCurve, delay: FloatArray, age: FloatArray, at_least: FloatArray | None) -> _SeenDelays:
        edges = curve.class_edges()
        first = _class_of(delay if at_least is None else np.minimum(at_least, delay), edges)
        last = _class_of(delay, edges)
        low, high = edges[first], np.minimum(edges[last + 1], np.maximum(age, edges[last]))
        return cls(curve, age, low, high, 0.02 * (last - first + 1) / (len(edges) - 1))

    def log_density(self, stretch: FloatArray | float) -> FloatArray:
        """Return the logarithm of the density of each where delays are ``stretch`` times as long."""
        whole = self.curve.share(self.age, stretch)
        part = self.curve.share(self.high, stretch) - self.curve.share(self.low, stretch)
        share = np.divide(part, whole, out=np.zeros_like(part), where=whole > 1e-9)
        return np.asarray(np.log(0.98 * share + self.floor), dtype=np.float64)


@dataclass(frozen=True)
class MoneyDelays:
    """How delays depend on the money of a fraud: a large loss may be noticed sooner than a small one.

    Attributes
    ----------
    middle, spread
        Mean and standard deviation of the logarithm of the money of known frauds.
    slope
        By how much the logarithm of a delay changes with a standard deviation of that of the money.
    """

    middle: float = 0.0
    spread: float = 1.0
    slope: float = 0.0

    def stretch(self, money: FloatArray) -> FloatArray:
        """Return by which factor delays are longer than those of the curve; 1 where there is no money."""
        return np.asarray(np.exp(self.slope * self.distance(money)), dtype=np.float64)

    def distance(self, money: FloatArray) -> FloatArray:
        """Return how many standard deviations money lies above the middle, at most `FARTHEST` either way."""
        log = np.log(money, out=np.full(len(money), self.middle), where=money > 0)
        return np.asarray(np.clip((log - self.middle) / self.spread, -FARTHEST, FARTHEST), dtype=np.float64)


def money_delays(
    curve: DelayCurve, delay: FloatArray, age: FloatArray, money: FloatArray, *, at_least: FloatArray | None = None
) -> MoneyDelays:
    """Estimate how delays depend on the money of frauds that have arrived, as `shape_evidence` judges a stretch.

    Returns
    -------
    The slope that is expected after what was seen, drawn to 0 where that is little.
    """
    log = np.log(money[money > 0])
    spread = float(log.std()) if len(log) >= LEAST_PRICED else 0.0
    if spread <= 0.0:
        return MoneyDelays()
    even = MoneyDelays(float(log.mean()), spread)
    seen, distance = _SeenDelays.of(curve, delay, age, at_least), even.distance(money)
    said = np.array([seen.log_density(np.exp(slope * distance)).sum() for slope in SLOPES])
    said = TEMPER * said - 0.5 * (SLOPES / SLOPE_SPREAD) ** 2
    weight = np.exp(said - said.max())
    return MoneyDelays(even.middle, spread, float(weight @ SLOPES / weight.sum()))


def _class_of(delay: FloatArray, edges: FloatArray) -> IntArray:
    """Return the class of each delay; like bins, classes are closed at their end, and the first also at 0."""
    return np.maximum(np.searchsorted(edges, delay, side="left") - 1, 0)
