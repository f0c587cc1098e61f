"""What young cohorts will have been: frauds and money of periods whose labels have not all arrived, with intervals.

Owns one estimate per cohort and stratum (flagged or not) that glides from calibrated probabilities to arrived labels.
Events come as arrays, as known at one instant; nothing is read, and no clock is looked at. Strata are estimated apart,
for flagged frauds are confirmed in days and missed ones come back as chargebacks in weeks.

The model of a cohort and stratum: its frauds are ``rate × calibrated expectation``, and each is known by age ``a`` with
probability ``F(a / stretch)``, where F is the delay curve of the stratum. Rate and stretch follow those of the cohorts
before (`fraudctl.monitor.levels`); what has arrived, how many and after which delays, tells of both. What is missing is
drawn from the events that may still become fraud; where large losses are reported sooner, or later, than small ones,
these are the smaller, or larger, ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.monitor.cohort_source import CohortEvents, CohortPart, CohortSource, ToldFrauds, in_order
from fraudctl.monitor.delays import (
    N_BINS,
    STRETCHES,
    DelayCurve,
    MoneyDelays,
    assumed_curve,
    blended,
    delay_curve,
    money_delays,
    shape_evidence,
)
from fraudctl.monitor.levels import RATES, Arrived, Levels, levels
from fraudctl.monitor.row_arrays import RowArrays

FINAL: Final = 0.95
"""Share matured from which a cohort is final."""
HIDDEN: Final = 0.15
"""Share matured below which an estimate says nothing, and is not shown."""
ENOUGH: Final = 8.0
"""Arrivals at which a stratum's own delay curve counts as much as that of all strata."""
FEW_CLOSED: Final = 60
"""Arrivals in closed cohorts from which these alone make the curve."""
SLOWER: Final = 1.1
"""Stretch from which delays count as longer than before."""
PROB_BINS: Final = 32
"""Bins of probability in which events that may still become fraud are counted."""


@dataclass(frozen=True)
class Nowcast:
    """Sums over the frauds of each cohort and stratum, once all labels will have arrived.

    Attributes
    ----------
    matured
        Share of the frauds of each cohort that is expected to be known, shape ``(n_cohorts,)``; NaN without events.
    closed
        Cohorts all of whose events are as old as the label delay, shape ``(n_cohorts,)``.
    known
        Sums over known frauds, shape ``(n_cohorts, n_strata, n_values)``.
    estimate
        Expected sums, the same shape.
    draws
        Draws of them from their joint distribution, shape ``(n_draws, n_cohorts, n_strata, n_values)``.
    stretch
        Expected factor by which delays are longer than those of the curve, shape ``(n_cohorts, n_strata)``.
    slower
        Probability that they are longer by more than a tenth, the same shape.
    curves
        Delay curve of each stratum.
    chance
        How much of a fraud each event is expected to be, shape ``(n_events,)``: `estimate` is the sum of these times
        the values.
    """

    matured: FloatArray
    closed: BoolArray
    known: FloatArray
    estimate: FloatArray
    draws: FloatArray
    stretch: FloatArray
    slower: FloatArray
    curves: tuple[DelayCurve, ...]
    chance: FloatArray


@dataclass(frozen=True)
class Design:
    """How cohorts are estimated.

    Attributes
    ----------
    n_cohorts, n_strata
        How many there are.
    label_delay
        Age in seconds from which the labels of an event are taken as complete; delays may be twice as long.
    cohort_seconds
        Length of a cohort.
    half_life
        Cohorts this many seconds older count half for the level of the rate.
    n_draws
        Draws from the joint distribution.
    seed
        Of the draws: same events and seed, same numbers.
    money
        Column of the values with the money of a fraud, which delays may depend on; column 0 then counts it. None where
        no value is money.
    """

    n_cohorts: int
    n_strata: int
    label_delay: float
    cohort_seconds: float
    half_life: float = 56 * 86_400.0
    n_draws: int = 1000
    seed: int = 0
    money: int | None = None

    def money_of(self, values: FloatArray) -> FloatArray | None:
        """Return the money of each event if it is fraud; None where that is not known."""
        if self.money is None:
            return None
        return np.divide(values[:, self.money], values[:, 0], out=np.zeros(len(values)), where=values[:, 0] > 0)

    @property
    def horizon(self) -> float:
        """Age in seconds at which every fraud is taken as known."""
        return 2.0 * self.label_delay


def level_of_closed(frauds: FloatArray, expected: FloatArray, *, half_life: float) -> float:
    """Return frauds per sum of probabilities in closed cohorts, one fraud of one expected added.

    Parameters
    ----------
    frauds, expected
        Frauds and sums of probabilities of closed cohorts, in the order of time, shape ``(n_closed,)``.
    half_life
        In cohorts: older ones count less.
    """
    fade = 0.5 ** (np.arange(len(frauds))[::-1] / half_life)
    return float((frauds @ fade + 1.0) / (expected @ fade + 1.0))


def survival(events: CohortEvents, horizon: float) -> FloatArray:
    """Return the share of frauds known at each bin of age that will stay fraud, shape ``(N_BINS + 1,)``.

    Kaplan and Meier over the age of the event, with frauds entering when they become known.
    """
    fraud = ~np.isnan(events.fraud_after)
    reversed_ = fraud & (events.known == 0)
    width = horizon / N_BINS
    enter = np.minimum(events.fraud_after[fraud] / width, N_BINS - 1).astype(np.int64)
    leave_at = np.where(reversed_, events.cleared_after, events.age)[fraud]
    leave = np.minimum(leave_at / width, N_BINS - 1).astype(np.int64)
    entered = np.cumsum(np.bincount(enter, minlength=N_BINS))
    left = np.cumsum(np.bincount(leave, minlength=N_BINS))
    exposed = (entered - np.concatenate([[0], left[:-1]])).astype(np.float64)
    gone = np.bincount(leave[reversed_[fraud]], minlength=N_BINS).astype(np.float64)
    hazard = np.divide(gone, exposed, out=np.zeros(N_BINS), where=exposed > 0)
    return np.concatenate([np.cumprod((1.0 - hazard)[::-1])[::-1], [1.0]])


def silent_share(known: npt.NDArray[np.int8], age: FloatArray, horizon: float) -> FloatArray:
    """Return of how many legitimate events of a cohort nothing was said yet, among those of its age, per event.

    Shape ``(n_events,)``. It is counted and not taken from older cohorts: verdicts come, and silence turns into
    "legitimate", when they do, whether frauds are reported slowly or not.
    """
    age_bin = (age / (horizon / N_BINS)).astype(np.int64)
    n_ages = int(age_bin.max(initial=0)) + 1
    silent = np.bincount(age_bin[known == -1], minlength=n_ages)
    legitimate = np.bincount(age_bin[known != 1], minlength=n_ages)
    share = np.divide(silent, legitimate, out=np.ones(n_ages), where=legitimate > 0)
    return np.asarray(share[age_bin], dtype=np.float64)


@dataclass(frozen=True)
class _Stratum:
    """What all cohorts of a stratum share."""

    curve: DelayCurve
    stays: FloatArray
    stays_at_last: float
    level: float
    by_money: MoneyDelays = field(default_factory=MoneyDelays)

    def still_fraud(self, y_prob: FloatArray, age: FloatArray, silent: FloatArray, stretch: float) -> FloatArray:
        """Return the probability that an event of which nothing was said will become fraud (Bayes).

        ``silent`` is the probability that nothing was said yet of a legitimate one; see `silent_share`.
        """
        prior = np.minimum(self.level * y_prob, 0.999)
        late = prior * (1.0 - self.curve.share(age, stretch))
        return late / (late + (1.0 - prior) * silent)


def nowcast(events: CohortEvents, values: FloatArray, design: Design, *, arrays: RowArrays | None = None) -> Nowcast:
    """Estimate sums over the frauds of each cohort, as they will be when all labels have arrived.

    Parameters
    ----------
    events
        Events as known at one instant.
    values
        What each event adds where it is fraud, shape ``(n_events, n_values)``: 1 for a count, its amount for money.
    arrays
        Makes arrays of all events; those that it made are let go after each cohort.
    """
    n_cohorts, n_strata = design.n_cohorts, design.n_strata
    source = CohortSource(events, values, (n_cohorts, n_strata), arrays or RowArrays())
    closed = (source.youngest >= design.label_delay) & np.isfinite(source.youngest)
    shape = (n_cohorts, n_strata, values.shape[1])
    known, estimate = np.zeros(shape), np.zeros(shape)
    draws = np.zeros((design.n_draws, *shape))
    stretch, weight, arrived, slower = np.ones(shape[:2]), np.zeros(shape[:2]), np.zeros(shape[:2]), np.zeros(shape[:2])
    pooled = _curve(source.told.events, float(source.oldest.max(initial=0.0)), closed, design)
    rng = np.random.default_rng(design.seed)
    curves, chance = [], source.arrays.empty((len(events.cohort),), np.float64)
    for number in range(n_strata):
        gathered = _gathered(source, number, _unscored(source, number, closed), design)
        fitted = _fit(source.told.of(number), gathered, closed, pooled, design)
        curves.append(fitted.curve)
        result = _cohorts(source, gathered, fitted, design, rng, chance)
        known[:, number], estimate[:, number], draws[:, :, number] = result.known, result.estimate, result.draws
        stretch[:, number], slower[:, number] = result.stretch, result.slower
        weight[:, number], arrived[:, number] = result.expected, result.arrived
    total = weight.sum(axis=1)
    matured = np.divide((weight * arrived).sum(axis=1), total, out=np.full(n_cohorts, np.nan), where=total > 0)
    return Nowcast(np.minimum(matured, 1.0), closed, known, estimate, draws, stretch, slower, tuple(curves), chance)


def _curve(told: CohortEvents, oldest: float, closed: BoolArray, design: Design) -> DelayCurve:
    """Estimate a delay curve from closed cohorts where they hold enough, else from all.

    Parameters
    ----------
    told
        Events that were known as fraud at any time.
    oldest
        Age of the oldest of all events.
    """
    whole = closed[told.cohort]
    chosen = whole if whole.sum() >= FEW_CLOSED else np.ones(len(whole), dtype=np.bool_)
    curve = delay_curve(told.fraud_after[chosen], told.age[chosen], horizon=design.horizon)
    assumed = assumed_curve(design.horizon, by=design.label_delay)
    seen = min(oldest / design.label_delay, 1.0)  # no event is old enough to show the rest
    known = seen * curve.known + (1.0 - seen) * assumed.known
    return blended(DelayCurve(curve.horizon, known, curve.n_outcomes), assumed, enough=3.0)


def _fit(told: ToldFrauds, gathered: _Gathered, closed: BoolArray, pooled: DelayCurve, design: Design) -> _Stratum:
    part, expected = told.events, gathered.expected
    curve = blended(_curve(part, gathered.oldest, closed, design), pooled, enough=ENOUGH)
    frauds = np.bincount(part.cohort, minlength=design.n_cohorts).astype(np.float64)
    level = level_of_closed(frauds[closed], expected[closed], half_life=design.half_life / design.cohort_seconds)
    stays = survival(part, design.horizon)
    settled = part.known[closed[part.cohort]]
    last = float((settled == 1).mean()) if len(settled) else 1.0
    return _Stratum(curve, stays, last, level, _by_money(told, curve, design))


def _by_money(told: ToldFrauds, curve: DelayCurve, design: Design) -> MoneyDelays:
    """Return how the delays of a stratum depend on money."""
    money = design.money_of(told.values)
    if money is None:
        return MoneyDelays()
    return money_delays(curve, told.events.fraud_after, told.events.age, money, at_least=told.at_least)


def _unscored(source: CohortSource, number: int, closed: BoolArray) -> float:
    """Return the probability of events that have none: the share of frauds in closed cohorts."""
    n, known = source.n[:, number], source.n_known[:, number]
    n_whole, n_all = int(n[closed].sum()), int(n.sum())
    if n_whole:
        return (float(known[closed].sum()) + 0.5) / (n_whole + 1.0)
    return float(int(known.sum()) / n_all) if n_all else 0.0


@dataclass(frozen=True)
class _Gathered:
    """What is added up of the events of a stratum, first axis cohorts.

    ``expected`` are sums of probabilities, ``mass`` the same by age; ``unscored`` is the probability of events that
    have none, ``oldest`` the largest age, and ``open`` are the events of which nothing was said.
    """

    number: int
    oldest: float
    unscored: float
    expected: FloatArray
    mass: FloatArray
    open: _Open


def _gathered(source: CohortSource, number: int, unscored: float, design: Design) -> _Gathered:
    width = design.horizon / N_BINS
    n_bins = int(N_BINS * STRETCHES[-1]) + 1
    expected, mass = np.zeros(design.n_cohorts), np.zeros((design.n_cohorts, n_bins))
    cells = [_Open.nothing()]
    for cohort in range(design.n_cohorts):
        part = source.part(cohort, number)
        y_prob = part.scored(unscored)
        expected[cohort] = in_order(y_prob)
        bins = np.minimum(part.age / width, n_bins - 1).astype(np.int64)
        mass[cohort] = np.bincount(bins, weights=y_prob, minlength=n_bins)
        cells.append(_counted(cohort, part, y_prob, design.horizon))
    oldest = float(source.oldest[:, number].max(initial=0.0))
    return _Gathered(number, oldest, unscored, expected, mass, _Open.joined(cells))


@dataclass(frozen=True)
class _Cohorts:
    """Results of a stratum, first axis cohorts (of draws the second)."""

    known: FloatArray
    estimate: FloatArray
    draws: FloatArray
    stretch: FloatArray
    slower: FloatArray
    expected: FloatArray
    arrived: FloatArray


@dataclass(frozen=True)
class _Open:
    """Events of which nothing was said, counted by cohort, age and probability."""

    cohort: IntArray
    age: FloatArray
    y_prob: FloatArray
    silent: FloatArray
    n: FloatArray

    @classmethod
    def nothing(cls) -> _Open:
        """Return no events."""
        return cls(np.zeros(0, np.int64), *(np.zeros(0) for _ in range(4)))

    @classmethod
    def joined(cls, parts: Sequence[_Open]) -> _Open:
        """Return the events of several cohorts."""
        names = [item.name for item in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def missing(self, fitted: _Stratum, n_cohorts: int) -> tuple[FloatArray, FloatArray]:
        """Return the expected late frauds, and the sum of squared probabilities; ``(n_cohorts, n_stretches)``."""
        first, second = np.empty((n_cohorts, len(STRETCHES))), np.empty((n_cohorts, len(STRETCHES)))
        for column, stretch in enumerate(STRETCHES):
            late = fitted.still_fraud(self.y_prob, self.age, self.silent, float(stretch))
            first[:, column] = np.bincount(self.cohort, weights=self.n * late, minlength=n_cohorts)
            second[:, column] = np.bincount(self.cohort, weights=self.n * late**2, minlength=n_cohorts)
        return first, second


def _counted(cohort: int, part: CohortPart, y_prob: FloatArray, horizon: float) -> _Open:
    open_ = (part.known == -1) & (part.age < horizon * STRETCHES[-1])
    width = horizon / N_BINS
    age_bin = (part.age[open_] / width).astype(np.int64)
    log_prob = np.log(np.clip(y_prob[open_], 1e-6, 1.0)) / np.log(1e-6)
    prob_bin = np.minimum(log_prob * PROB_BINS, PROB_BINS - 1).astype(np.int64)
    cells, inverse = np.unique(age_bin * PROB_BINS + prob_bin, return_inverse=True)
    n = np.bincount(inverse, minlength=len(cells)).astype(np.float64)
    silent = silent_share(part.known, part.age, horizon)
    mean_prob, mean_age, mean_silent = (
        np.bincount(inverse, weights=of[open_], minlength=len(cells)) / np.maximum(n, 1.0)
        for of in (y_prob, part.age, silent)
    )
    return _Open(np.full(len(cells), cohort), mean_age, mean_prob, mean_silent, n)


def _arrived_share(mass: FloatArray, fitted: _Stratum) -> tuple[FloatArray, FloatArray]:
    """Return the share of the frauds of each cohort known by now, ``(n_cohorts, n_stretches)``, and expected frauds."""
    width = fitted.curve.horizon / N_BINS
    total = mass.sum(axis=1)
    middle = np.asarray((np.arange(mass.shape[1]) + 0.5) * width, dtype=np.float64)
    shares = np.array([fitted.curve.share(middle, float(stretch)) for stretch in STRETCHES])
    arrived = np.divide(
        mass @ shares.T, total[:, None], out=np.ones((len(mass), len(STRETCHES))), where=total[:, None] > 0
    )
    return arrived, fitted.level * total


def _cohorts(
    source: CohortSource,
    gathered: _Gathered,
    fitted: _Stratum,
    design: Design,
    rng: np.random.Generator,
    chance: FloatArray,
) -> _Cohorts:
    """Estimate the cohorts of a stratum; ``chance`` is filled in."""
    n_cohorts, told = design.n_cohorts, source.told.of(gathered.number)
    part = told.events
    n_known = np.bincount(part.cohort, minlength=n_cohorts).astype(np.float64)
    share, expected = _arrived_share(gathered.mass, fitted)
    by_shape = shape_evidence(
        fitted.curve, part.fraud_after, part.age, part.cohort, n_cohorts=n_cohorts, at_least=told.at_least
    )
    found = levels(Arrived(n_known, expected, share, by_shape), n_draws=design.n_draws, rng=rng)
    missing, squares = gathered.open.missing(fitted, n_cohorts)
    state = _CohortState(found, n_known, share * expected[:, None], missing, squares)
    sums = _sums(source, gathered, fitted, design, state=state, rng=rng, chance=chance)
    stretches = found.joint.sum(axis=2)
    mean_share = (stretches * share).sum(axis=1)
    rate = found.joint.sum(axis=1) @ RATES
    slower = stretches @ (STRETCHES > SLOWER)
    return _Cohorts(*sums, stretches @ STRETCHES, slower, rate * expected, mean_share)


@dataclass(frozen=True)
class _CohortState:
    """What is known of the rate and the stretch of each cohort.

    ``mean`` is how many frauds should be known at a rate of 1; ``missing`` how many are to come, and ``squares`` the
    sum of their squared probabilities; each of shape ``(n_cohorts, n_stretches)``.
    """

    levels: Levels
    n_known: FloatArray
    mean: FloatArray
    missing: FloatArray
    squares: FloatArray

    def late(self, cohort: int) -> float:
        """Return the expected number of late frauds."""
        shape = self.levels.own_shape
        mean = self.mean[cohort][:, None] * RATES
        rate = RATES * (shape + self.n_known[cohort]) / (shape + mean)
        return float((self.levels.joint[cohort] * rate * self.missing[cohort][:, None]).sum())

    def draw(self, cohort: int, n_open: int, rng: np.random.Generator) -> IntArray:
        """Draw numbers of late frauds of a cohort along the paths, at most as many as events are open."""
        n_draws = len(self.levels.paths)
        stretch, place = self.levels.paths[:, cohort].T
        shape, rate = self.levels.own_shape, RATES[place]
        own = rng.gamma(shape + self.n_known[cohort], size=n_draws) / (shape + rate * self.mean[cohort, stretch])
        missing, squares = self.missing[cohort, stretch], self.squares[cohort, stretch]
        # Bernoulli trials of unequal probabilities, as binomial ones with the same mean and variance
        trials = np.ceil(np.divide(missing**2, squares, out=np.ones(n_draws), where=squares > 0))
        trials = np.maximum(trials, np.ceil(rate * own * missing))
        chance = np.clip(rate * own * missing / np.maximum(trials, 1.0), 0.0, 1.0)
        late = rng.binomial(trials.astype(np.int64), chance)
        return np.asarray(np.minimum(late, n_open), dtype=np.int64)


def _sums(
    source: CohortSource,
    gathered: _Gathered,
    fitted: _Stratum,
    design: Design,
    *,
    state: _CohortState,
    rng: np.random.Generator,
    chance: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return sums of values over known frauds, their estimates, and draws; fill in how much of a fraud events are."""
    n_cohorts, n_values = design.n_cohorts, source.values.shape[1]
    grid = np.linspace(0.0, design.horizon, N_BINS + 1)
    known, estimate = np.zeros((n_cohorts, n_values)), np.zeros((n_cohorts, n_values))
    draws = np.zeros((design.n_draws, n_cohorts, n_values))
    for cohort in range(n_cohorts):
        part = source.part(cohort, gathered.number)
        fraud, values = part.known == 1, source.values_of(part)
        stays = np.interp(part.age[fraud], grid, fitted.stays)
        for column in range(n_values):
            known[cohort, column] = in_order(values[fraud, column])
            estimate[cohort, column] = in_order(values[fraud, column] * stays)
        draws[:, cohort] = estimate[cohort] * _surviving(stays, design.n_draws, rng)[:, None]
        expected = np.zeros(len(fraud))
        expected[fraud] = stays
        late = _late_frauds(part, values, gathered, fitted, design, _AtCohort(state, cohort, rng))
        if late is not None:
            draws[:, cohort] += late.draws
            estimate[cohort] += late.n * late.mean
            total = float(late.chance.sum())
            open_ = part.known == -1
            expected[open_] = late.n * (late.chance / total if total > 0 else 1.0 / len(late.chance))
        chance[part.rows] = expected
    return known, estimate, draws


@dataclass(frozen=True)
class _AtCohort:
    """A cohort with what is known of it, and the draws that come next."""

    state: _CohortState
    cohort: int
    rng: np.random.Generator


@dataclass(frozen=True)
class _LateFrauds:
    """Frauds of a cohort that are to come: draws of their sums, the mean of one, and the chance of each open event."""

    draws: FloatArray
    n: float
    mean: FloatArray
    chance: FloatArray


def _late_frauds(
    part: CohortPart, values: FloatArray, gathered: _Gathered, fitted: _Stratum, design: Design, at: _AtCohort
) -> _LateFrauds | None:
    """Return the frauds to come of a cohort; None where there are none to be expected, or no event is open."""
    rows, late = part.known == -1, at.state.late(at.cohort)
    n_open = int(rows.sum())
    if late <= 0 or n_open == 0:
        return None
    mean_stretch = float(at.state.levels.joint[at.cohort].sum(axis=1) @ STRETCHES)
    own, silent = values[rows], silent_share(part.known, part.age, design.horizon)[rows]
    money = design.money_of(own)
    age = part.age[rows] if money is None else part.age[rows] / fitted.by_money.stretch(money)
    chance = fitted.still_fraud(part.scored(gathered.unscored)[rows], age, silent, mean_stretch)
    numbers = at.state.draw(at.cohort, n_open, at.rng)
    numbers = at.rng.binomial(numbers, fitted.stays_at_last)
    added, mean = _late_values(own, chance, numbers, at.rng)
    return _LateFrauds(added, min(late, n_open) * fitted.stays_at_last, mean, chance)


def _surviving(stays: FloatArray, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Draw how many known frauds stay fraud, as a share of the number that is expected to."""
    mean = float(stays.sum())
    if mean <= 0 or (stays >= 1.0).all():
        return np.ones(n_draws)
    return rng.binomial(len(stays), mean / len(stays), size=n_draws) / mean


def _late_values(
    values: FloatArray, chance: FloatArray, numbers: IntArray, rng: np.random.Generator, n_pool: int = 4096
) -> tuple[FloatArray, FloatArray]:
    """Draw sums of values over so many late frauds, ``(n_draws, n_values)``; and the mean of one, ``(n_values,)``.

    Late frauds are drawn by their chance, from a systematic sample of the events.
    """
    total = float(chance.sum())
    if total <= 0:
        chance, total = np.ones(len(chance)), float(len(chance))
    mean = chance @ values / total
    ends = np.cumsum(chance)
    places = np.searchsorted(ends, (np.arange(n_pool) + rng.random()) / n_pool * ends[-1], side="right")
    pool = values[np.minimum(places, len(chance) - 1)]
    picked = rng.integers(0, n_pool, size=int(numbers.sum()))
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(pool[picked], axis=0)])
    ends_of = np.cumsum(numbers)
    return sums[ends_of] - sums[ends_of - numbers], mean
