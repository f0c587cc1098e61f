"""Whether scores and probabilities still behave as they did: more than chance explains, and enough to matter.

Conventional limits (a population stability index of 0.1) mean nothing by themselves: the index is never 0, and how
large it gets by chance depends on how many events there are and how they depend on each other. So each statistic comes
with its own null distribution. Days are not independent: a feature with a window of 30 days carries what happened on
one day into the scores of a month. The null distribution therefore keeps blocks of whole days together.

With enough events any trifle is beyond chance, and features that reach far back make scores wander for good. So a shift
only counts where it moves what is done or what it costs, by more than a stated share and by more than chance. Pure
functions of arrays; verdicts are `fraudctl.gate`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.metrics.calibration import equal_mass_bins

DRAWS: Final = 4000
MIN_DAYS: Final = 5
"""With fewer days on either side nobody can tell how much days differ by chance."""
USUAL: Final = 5.0
"""The usual range ends where five times as much as `chance` lies beyond it."""
LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""Quantiles of all scores at which bins end: tenths, and finer where alerts are."""


@dataclass(frozen=True)
class AgainstChance:
    """A statistic and what it is where nothing has changed."""

    value: float
    usual: float
    """Quantile ``1 - 5 × chance`` of the null distribution: what lies below is usual."""
    limit: float
    """Quantile ``1 - chance``: what lies above is more than chance."""


@dataclass(frozen=True)
class Effect:
    """What a shift does to something that people act on or pay for.

    Attributes
    ----------
    name
        ``alert rate``, ``expected cost`` or ``promised cost``.
    before, now
        Mean per event on both sides.
    change
        ``|now - before|`` as a share of what it was before; infinite where that was 0 and is no more.
    beyond
        The share that chance seldom exceeds.
    floor
        The share up to which a change does not matter.
    """

    name: str
    before: float
    now: float
    change: float
    beyond: float
    floor: float

    @property
    def matters(self) -> bool:
        """Whether the change exceeds the floor, be it by chance or not."""
        return self.change > self.floor

    @property
    def shown(self) -> bool:
        """Whether the change exceeds the floor and what chance shows."""
        return self.matters and self.change > self.beyond


@dataclass(frozen=True)
class Drift:
    """A statistic against chance, and what the shift does.

    Attributes
    ----------
    statistic_counts
        Whether the statistic too must be more than chance for a shift to be shown.
    """

    statistic: AgainstChance
    effects: tuple[Effect, ...]
    statistic_counts: bool = False

    @property
    def matters(self) -> bool:
        """Whether any effect exceeds its floor."""
        return any(item.matters for item in self.effects)

    @property
    def shown(self) -> bool:
        """Whether some effect exceeds both its floor and what chance shows, and the statistic too where it counts."""
        beyond = self.statistic.value > self.statistic.limit or not self.statistic_counts
        return beyond and any(item.shown for item in self.effects)


@dataclass(frozen=True)
class Floors:
    """Shares up to which a change does not matter."""

    alert_rate: float
    expected_cost: float


@dataclass(frozen=True)
class Scored:
    """Decided events of both periods, arrays of shape ``(n_events,)``; the same rule chose them on both sides.

    Attributes
    ----------
    now
        Whether an event belongs to the later period.
    score
        Score or probability.
    alert
        Whether it got any action but ``allow``.
    cost
        Expected money of the action that it got.
    day
        Number of the local day.
    window_days
        Longest window of a feature in days, infinite where one has no end: so long a day leaves a trace in the scores.
    """

    now: BoolArray
    score: FloatArray
    alert: BoolArray
    cost: FloatArray
    day: IntArray
    window_days: float

    def block(self, side: IntArray | BoolArray) -> int:
        """Return the days of a block on one side: as long as the longest window, at most a seventh of the days."""
        most = len(np.unique(self.day[side])) // 7
        return max(1, most if math.isinf(self.window_days) else min(math.ceil(self.window_days), most))

    @property
    def n_days(self) -> int:
        """Number of days of the period that has fewer."""
        return min(len(np.unique(self.day[side])) for side in (self.now, ~self.now)) if len(self.day) else 0


def stability_index(reference: FloatArray, current: FloatArray) -> FloatArray:
    """Return the population stability index of counts by bin, over the last axis.

    ``PSI = sum_b (q_b - p_b) ln(q_b / p_b)``, the shares being those of ``count + 1/2``, so that no bin is empty.

    >>> round(float(stability_index(np.array([50.0, 50.0]), np.array([50.0, 50.0]))), 6)
    0.0
    >>> round(float(stability_index(np.array([50.0, 50.0]), np.array([80.0, 20.0]))), 3)  # .297 × ln(3.93)
    0.406
    """
    shares = [counts + 0.5 for counts in (reference, current)]
    p, q = (item / item.sum(axis=-1, keepdims=True) for item in shares)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1), dtype=np.float64)


def score_drift(events: Scored, *, floors: Floors, seed: int, chance: float) -> Drift | None:
    """Compare the distribution of scores of a period with that of an earlier one.

    The statistic is the population stability index over bins that end at the quantiles `LEVELS` of all scores. Under no
    change it is ``sum_b d_b² / p_b`` in the first order, with ``d`` the difference of shares; ``d`` is drawn from a
    normal distribution whose covariance comes from overlapping blocks of days within each side (Newey and West, *A
    Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation Consistent Covariance Matrix*, Econometrica
    1987), with the tails of a t-distribution for few blocks. The changes of the alert rate and of the expected cost are
    held against the same blocks, each at half of ``chance``.

    Parameters
    ----------
    events
        Of both periods.
    floors
        Up to which changes of alert rate and expected cost do not matter.
    seed
        Of the draws.
    chance
        How often the statistic, and any of the effects, lies above its limit where nothing has changed.

    Returns
    -------
    Drift or None
        None with fewer than `MIN_DAYS` days on a side.
    """
    if events.n_days < MIN_DAYS:
        return None
    bins = _bins(events.score)
    n_bins = int(bins.max()) + 1
    sides = [np.bincount(bins[side], minlength=n_bins).astype(np.float64) for side in (~events.now, events.now)]
    share = (sides[0] + sides[1]) / len(bins)
    draws = _draws(_covariance(events, bins), _freedom(events), np.random.default_rng([seed, 3]))
    statistic = _against(float(stability_index(*sides)), (draws**2 / share).sum(axis=1), chance)
    cost_scale = float(np.abs(events.cost[~events.now]).mean())
    effects = (
        _effect("alert rate", events, events.alert.astype(np.float64), None, floors.alert_rate, chance),
        _effect("expected cost", events, events.cost, cost_scale, floors.expected_cost, chance),
    )
    return Drift(statistic, effects)


def _bins(score: FloatArray) -> IntArray:
    """Return the bin of each score; equal scores share one, and numbers run from 0 without gaps."""
    edges = np.unique(np.quantile(score, LEVELS, method="inverted_cdf"))
    return np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)[1].astype(np.int64)


def _against(value: float, draws: FloatArray, chance: float) -> AgainstChance:
    usual, limit = np.quantile(draws, [1.0 - min(USUAL * chance, 0.5), 1.0 - chance])
    return AgainstChance(value, float(usual), float(limit))


def _freedom(events: Scored) -> int:
    """Return the degrees of freedom of the covariance by blocks: the blocks that lie apart, less one on each side."""
    sides = (events.now, ~events.now)
    return max(1, sum(len(np.unique(events.day[side])) // events.block(side) - 1 for side in sides))


def _effect(name: str, events: Scored, values: FloatArray, scale: float | None, floor: float, chance: float) -> Effect:
    """Return by what share the mean of a value changed, and by how much chance seldom changes it."""
    from scipy.special import stdtrit

    before, now = float(values[~events.now].mean()), float(values[events.now].mean())
    base = before if scale is None else scale
    error = math.sqrt(float(_covariance(events, values)[0, 0]))
    reach = float(stdtrit(_freedom(events), 1.0 - chance / 4.0)) * error

    def share(difference: float) -> float:
        return 0.0 if difference == 0 else difference / base if base > 0 else math.inf

    return Effect(name, before, now, share(abs(now - before)), share(reach), floor)


def _covariance(events: Scored, parts: IntArray | FloatArray) -> FloatArray:
    """Return the covariance of the difference of means ``now - before`` that blocks of days give.

    ``parts`` has shape ``(n_events,)``: bins (whole numbers), whose shares are the means, or one value per event.
    """
    sides = [np.flatnonzero(side) for side in (~events.now, events.now)]
    return np.asarray(sum(_of_blocks(_day_sums(parts, side, events.day), events.block(side)) for side in sides))


def _day_sums(parts: IntArray | FloatArray, side: IntArray, day: IntArray) -> FloatArray:
    """Return what each day adds to the mean of one side beyond its number of events, shape ``(n_days, n_parts)``."""
    place = np.unique(day[side], return_inverse=True)[1]
    n_days = int(place.max()) + 1
    n_parts = int(parts.max()) + 1 if parts.dtype.kind == "i" else 1
    part, weight = (parts[side], None) if parts.dtype.kind == "i" else (0, parts[side])
    cells = np.bincount(place * n_parts + part, weights=weight, minlength=n_days * n_parts).astype(np.float64)
    sums = cells.reshape(n_days, n_parts)
    size = np.bincount(place)[:, None]
    return np.asarray((sums - size * (sums.sum(axis=0) / len(side))) / len(side), dtype=np.float64)


def _of_blocks(sums: FloatArray, block: int) -> FloatArray:
    """Return the variance of a sum over days by overlapping blocks of days (Bartlett's weights)."""
    found = sums.T @ sums
    for lag in range(1, block):
        cross = sums[lag:].T @ sums[:-lag]
        found = found + (1.0 - lag / block) * (cross + cross.T)
    return np.asarray(len(sums) / max(len(sums) - block, 1) * found, dtype=np.float64)


def _draws(covariance: FloatArray, freedom: int | None, rng: np.random.Generator) -> FloatArray:
    """Draw from a normal distribution of that covariance, shape ``(DRAWS, n_values)``; with ``freedom`` from a t's."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    scaled = rng.normal(size=(DRAWS, len(values))) * np.sqrt(np.maximum(values, 0.0))
    draws = np.einsum("ij,kj->ik", scaled, vectors)
    if freedom is not None:
        draws /= np.sqrt(rng.chisquare(freedom, DRAWS) / freedom)[:, None]
    return np.asarray(draws, dtype=np.float64)


@dataclass(frozen=True)
class Promised:
    """Judged events with what their probabilities promised, arrays of shape ``(n_events,)``.

    Attributes
    ----------
    y_true, y_prob, weight
        Outcome, probability and weight.
    stake
        Money that the action taken costs more where the event is fraud than where it is not.
    cost
        Expected money of the action taken, by the probability.
    ways
        Codes of each entity from 0, each null its own; events stand alone where there is none.
    """

    y_true: npt.NDArray[Any]
    y_prob: FloatArray
    weight: FloatArray
    stake: FloatArray
    cost: FloatArray
    ways: tuple[IntArray, ...]


def calibration_drift(events: Promised, *, floors: Floors, seed: int, chance: float) -> Drift:
    """Compare the expected calibration error with that of honest probabilities, clusters kept together.

    Under honest probabilities the gaps ``y_prob - y_true`` of clusters have mean 0; their sums by bin are drawn from a
    normal distribution whose covariance is clustered on every entity (Cameron, Gelbach and Miller, *Robust Inference
    With Multiway Clustering*, 2011). Clusters hold the events of an entity over the whole period, which keeps the
    dependence that windows of features make.

    The effect is the money by which the cost that the probabilities promised and the cost that came differ, summed over
    the bins, as a share of the promised cost; it is held against what honest probabilities show in the same clusters. A
    shift is shown only where the calibration error too is more than chance.
    """
    bins = equal_mass_bins(events.y_prob)
    gap = events.weight * (events.y_prob - (events.y_true == 1))
    draws = _draws(_gap_covariance(gap, bins, events.ways), None, np.random.default_rng([seed, 4]))
    total = float(events.weight.sum())
    value = float(np.abs(np.bincount(bins, weights=gap)).sum()) / total
    statistic = _against(value, np.abs(draws).sum(axis=1) / total, chance)
    effect = _promised_cost(events, bins, gap * events.stake, floors.expected_cost, seed, chance)
    return Drift(statistic, (effect,), statistic_counts=True)


def _promised_cost(
    events: Promised, bins: IntArray, money: FloatArray, floor: float, seed: int, chance: float
) -> Effect:
    """Return by what share the cost that came differs from the promised one; ``money`` is the gap of each event."""
    promised, total = float((events.weight * events.cost).sum()), float(events.weight.sum())
    scale = float(np.abs(events.weight * events.cost).sum())
    off = float(np.abs(np.bincount(bins, weights=money)).sum())
    draws = _draws(_gap_covariance(money, bins, events.ways), None, np.random.default_rng([seed, 5]))
    beyond = float(np.quantile(np.abs(draws).sum(axis=1), 1.0 - chance))

    def share(difference: float) -> float:
        return 0.0 if difference == 0 else difference / scale if scale > 0 else math.inf

    came = promised - float(money.sum())
    return Effect("promised cost", promised / total, came / total, share(off), share(beyond), floor)


def _gap_covariance(gap: FloatArray, bins: IntArray, ways: Sequence[IntArray]) -> FloatArray:
    """Return the covariance of the sums of gaps by bin, clustered on every way; never below one way in its trace."""
    n_bins = int(bins.max()) + 1
    rows = np.diag(np.bincount(bins, weights=gap**2, minlength=n_bins))
    one_way = []
    for codes in ways:
        n_clusters = int(codes.max()) + 1
        flat = np.bincount(codes * n_bins + bins, weights=gap, minlength=n_clusters * n_bins)
        cells = flat.reshape(n_clusters, n_bins)
        one_way.append(np.einsum("ki,kj->ij", cells, cells))
    whole = [np.sum(one_way, axis=0) - (len(one_way) - 1) * rows] if one_way else []
    found = max([rows, *one_way, *whole], key=lambda item: float(np.trace(item)))
    return np.asarray(found, dtype=np.float64)
