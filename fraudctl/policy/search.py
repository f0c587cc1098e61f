"""The cheapest thresholds, found exactly: every distinct score is a candidate.

With actions from mild to harsh and events by falling score, the total cost of a set of thresholds is a sum of one term
per threshold. So the best set is found by one pass per action, whatever the number of events, and each threshold's
plateau can be read off its own term.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.uncertainty import Clusters

TOLERANCE = 0.01
"""Share of the lowest cost within which thresholds count as equally good."""


@dataclass(frozen=True)
class ScoreGroups:
    """Events sorted by falling score, with the costs of each action summed from the top.

    ``cumulative[k, j]`` is the money of action k on the events of the j highest distinct scores, j from 0.
    """

    scores: FloatArray
    """Distinct scores, falling, shape ``(n_groups,)``."""
    cumulative: FloatArray
    """Money, shape ``(n_actions, n_groups + 1)``."""

    @classmethod
    def of(cls, score: FloatArray, outcome_cost: FloatArray) -> ScoreGroups:
        """Sort and sum; ``outcome_cost`` is the money of each action on the true outcome, ``(n_events, n_actions)``."""
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True]) if len(ranked) else np.empty(0, dtype=np.int64)
        sums = np.cumsum(outcome_cost[order], axis=0)[ends].T
        return cls(ranked[ends], np.concatenate([np.zeros((outcome_cost.shape[1], 1)), sums], axis=1))


@dataclass(frozen=True)
class Threshold:
    """One threshold with the range that is as good."""

    value: float | None
    """The threshold that is taken; an event at or above it gets the action. ``None``: no event does."""
    exact: float | None
    """The threshold of the exact minimum."""
    low: float
    """Lowest threshold of the plateau."""
    high: float
    """Highest threshold of the plateau; 1 where "never" belongs to it."""


@dataclass(frozen=True)
class ThresholdSearch:
    """The cheapest thresholds for the actions beyond the first, from mild to harsh."""

    thresholds: tuple[Threshold, ...]
    cuts: tuple[int, ...]
    """How many distinct scores lie at or above each exact threshold."""
    lowest_cost: float
    """Money at the exact minimum."""


def search_thresholds(
    groups: ScoreGroups, *, tolerance: float = TOLERANCE, alert_cuts: IntArray | None = None
) -> ThresholdSearch:
    """Find the thresholds of lowest cost for ordered actions, and the plateau around each.

    Parameters
    ----------
    groups
        Costs by falling score; row 0 of ``cumulative`` is ``allow``, the rest rise in harshness.
    tolerance
        Share of the lowest cost that a plateau may cost more, split evenly between the thresholds.
    alert_cuts
        Cuts that the mildest threshold may take, where constraints forbid the others; default all.

    Returns
    -------
    ThresholdSearch
        The value of each threshold is the geometric mean of its plateau's ends: it moves less from sample to sample
        than the exact minimum, and costs at most ``tolerance`` more.
    """
    steps = np.diff(groups.cumulative, axis=0)
    cuts = _best_cuts(steps, alert_cuts)
    lowest = float(groups.cumulative[0, -1] + sum(step[cut] for step, cut in zip(steps, cuts, strict=True)))
    slack = tolerance * abs(lowest) / len(cuts)
    found = [
        _threshold(groups.scores, cut, *_plateau(step if k else _forbid(step, alert_cuts), cut, slack))
        for k, (step, cut) in enumerate(zip(steps, cuts, strict=True))
    ]
    return ThresholdSearch(_in_order(found), tuple(cuts), lowest)


def _best_cuts(steps: FloatArray, alert_cuts: IntArray | None) -> list[int]:
    """Minimise the sum of ``steps[k, cut_k]`` with falling cuts: harsher actions never reach further down.

    ``steps[k, j]`` is what it costs to give the j highest scores action k + 1 instead of action k.
    """
    tails = [steps[-1]]
    for step in steps[-2::-1]:
        tails.append(step + np.minimum.accumulate(tails[-1]))
    cuts: list[int] = []
    limit = steps.shape[1]
    for k, tail in enumerate(reversed(tails)):
        usable = _forbid(tail, alert_cuts)[:limit] if k == 0 else tail[:limit]
        cuts.append(int(np.argmin(usable)))
        limit = cuts[-1] + 1
    return cuts


def _forbid(step: FloatArray, alert_cuts: IntArray | None) -> FloatArray:
    """Make every cut but the allowed ones infinitely dear."""
    if alert_cuts is None:
        return step
    out = np.full(len(step), np.inf)
    out[alert_cuts] = step[alert_cuts]
    return out


def _plateau(step: FloatArray, cut: int, slack: float) -> tuple[int, int]:
    """Return the first and last cut of the unbroken run around ``cut`` that costs at most ``slack`` more."""
    dear = np.flatnonzero(step > step[cut] + slack)
    place = np.searchsorted(dear, cut)
    first = int(dear[place - 1]) + 1 if place > 0 else 0
    last = int(dear[place]) - 1 if place < len(dear) else len(step) - 1
    return first, last


def _threshold(scores: FloatArray, cut: int, first: int, last: int) -> Threshold:
    """Turn cuts into scores; the cut that lets ``first`` scores through has the ``first``-th score as its threshold."""
    if last == 0:
        return Threshold(None, None, 1.0, 1.0)
    high = float(scores[first - 1]) if first > 0 else max(1.0, float(scores[0]))
    low = float(scores[last - 1])
    exact = float(scores[cut - 1]) if cut > 0 else None
    value = math.sqrt(low * high) if low > 0 else low
    return Threshold(min(max(value, low), high), exact, low, high)


def _in_order(found: list[Threshold]) -> tuple[Threshold, ...]:
    """Keep the means where they rise with harshness, else fall back to the exact minima, which always do."""
    values = [math.inf if item.value is None else item.value for item in found]
    if all(mild <= harsh for mild, harsh in itertools.pairwise(values)):
        return tuple(found)
    return tuple(replace(item, value=item.exact) for item in found)


def threshold_interval(
    score: FloatArray,
    outcome_cost: FloatArray,
    clusters: Clusters,
    *,
    seed: int,
    confidence: float,
    replicates: int = 200,
) -> list[tuple[float | None, float | None]]:
    """Return the bootstrap interval of each exact threshold: whole clusters of the coarsest entity are drawn.

    An end is None where in that tail the best is that no event gets the action.
    """
    codes, n_clusters = coarsest(clusters)
    order = np.argsort(-score, kind="stable")
    ranked, ordered = score[order], outcome_cost[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    found = np.empty((replicates, outcome_cost.shape[1] - 1))
    for number in range(replicates):
        drawn = np.random.default_rng([seed, number]).integers(0, n_clusters, n_clusters)
        weight = np.bincount(drawn, minlength=n_clusters)[codes[order]]
        sums = np.cumsum(ordered * weight[:, None], axis=0)[ends].T
        cuts = _best_cuts(np.diff(np.concatenate([np.zeros((len(sums), 1)), sums], axis=1), axis=0), None)
        found[number] = [ranked[ends[cut - 1]] if cut else np.inf for cut in cuts]
    tail = (1 - confidence) / 2
    quantiles = np.quantile(found, [tail, 1 - tail], axis=0, method="nearest").T
    return [(_finite(low), _finite(high)) for low, high in quantiles]


def coarsest(clusters: Clusters) -> tuple[IntArray, int]:
    """Return the cluster of each event for the entity that has the fewest, and how many there are."""
    if not clusters.codes:
        return np.arange(clusters.n_events), clusters.n_events
    place = int(np.argmin(clusters.sizes))
    return clusters.codes[place], clusters.sizes[place]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
