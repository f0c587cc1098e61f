"""Constraints on alerts, held by the end of an interval, for every possible cut at once.

Alerts are the events at or above a cut of some order (probability, or expected benefit), and those that a rule demands.
For each cut the metric and its clustered standard error follow from sums that grow event by event, so all cuts together
cost no more than a sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.errors import ProjectError
from fraudctl.metrics import ratios
from fraudctl.metrics.ratios import Ratio
from fraudctl.outcomes import KnownOutcomes
from fraudctl.project.decisions import LimitSection
from fraudctl.text.figures import exact, number, percent
from fraudctl.uncertainty import MIN_CLUSTERS, Estimate, normal_quantile


@dataclass(frozen=True)
class Constraint:
    """One bound on one metric of all alerts."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        parts = [] if self.at_least is None else [f"at least {exact(self.at_least)}"]
        parts += [] if self.at_most is None else [f"at most {exact(self.at_most)}"]
        return f"{self.metric} {' and '.join(parts)}"

    def kept_by(self, found: Estimate) -> bool:
        """Return whether the end of an interval keeps the bound; never where it is not known."""
        if found.low is None or found.high is None:
            return False
        low, high = self.at_least, self.at_most
        return (low is None or found.low >= low) and (high is None or found.high <= high)


@dataclass(frozen=True)
class AlertOutcomes(KnownOutcomes):
    """Events with known outcomes, and which of them are alerts in any case."""

    always: BoolArray
    """Alerts whatever the cut, because a rule demands them."""


def constraints_of(limits: dict[Any, LimitSection]) -> tuple[Constraint, ...]:
    """Read the constraints of ``[policy]``."""
    return tuple(Constraint(str(name), limit.at_least, limit.at_most) for name, limit in limits.items())


@dataclass(frozen=True)
class CutCurve:
    """A metric at every cut, with its interval; arrays of shape ``(n_cuts,)``, fewest alerts first.

    Cut j alerts the j first groups of equal order and whatever is always alerted. NaN where undefined; the ends are NaN
    too where fewer than 20 clusters carry information.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray

    def feasible(self, constraint: Constraint) -> BoolArray:
        """State at which cuts the interval keeps the bound; never where it is undefined."""
        keeps = np.isfinite(self.low) & np.isfinite(self.high)
        if constraint.at_least is not None:
            keeps &= self.low >= constraint.at_least
        if constraint.at_most is not None:
            keeps &= self.high <= constraint.at_most
        return keeps


def cut_curve(metric: str, order_by: FloatArray, outcomes: AlertOutcomes, *, confidence: float) -> CutCurve:
    """Return a metric and its interval at every cut of ``order_by`` (falling; equal values are cut together)."""
    place = np.where(outcomes.always, np.inf, order_by)
    order = np.argsort(-place, kind="stable")
    ranked = place[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    first = int(outcomes.always.sum())
    stops = np.r_[first, ends[ends >= first] + 1] if first else np.r_[0, ends + 1]
    parts = _parts(metric, outcomes)
    numerator, denominator = parts[0][order], parts[1][order]
    grows = metric == "precision"
    sums = _Sums.grown(numerator, denominator, None, grows=grows)

    def sums_of(codes: IntArray) -> _Sums:
        return _Sums.grown(numerator, denominator, codes[order], grows=grows)

    ways = [sums_of(codes) for codes in outcomes.clusters.codes]
    n_sum, d_sum = sums.numerator[stops], sums.denominator[stops]
    count = np.r_[0, np.cumsum(denominator != 0)][stops] if grows else np.full(len(stops), (denominator != 0).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(d_sum > 0, n_sum / d_sum, np.nan)
        one_way = [way.variance(stops, value) for way in (sums, *ways)]
        both = [one_way[1] + one_way[2] - one_way[0]] if len(ways) == 2 else []
        few = [way.inflation * sums_of(way.codes).variance(stops, value) for way in outcomes.clusters.coarse]
        se = np.sqrt(np.maximum.reduce([*one_way, *both, *few]) + 1.0 / count.astype(np.float64) ** 2)
    fewest = _fewest(denominator != 0, [codes[order] for codes in outcomes.clusters.codes], stops, grows=grows)
    reach = np.where(fewest < MIN_CLUSTERS, np.nan, normal_quantile(confidence) * se)
    return CutCurve(value, np.maximum(value - reach, 0.0), np.minimum(value + reach, 1.0))


def _fewest(counts: BoolArray, ways: list[IntArray], stops: IntArray, *, grows: bool) -> IntArray:
    """Return how many clusters carry information at every cut, of the entity that has the fewest."""
    found = []
    for codes in ways or [np.arange(len(counts))]:
        rows = np.flatnonzero(counts)
        first = np.zeros(len(counts), dtype=np.int64)
        first[rows[np.unique(codes[rows], return_index=True)[1]]] = 1
        so_far = np.r_[0, np.cumsum(first)]
        found.append(so_far[stops] if grows else np.full(len(stops), so_far[-1]))
    return np.asarray(np.minimum.reduce(found), dtype=np.int64)


def alerted(metric: str, alert: BoolArray, outcomes: AlertOutcomes) -> Ratio:
    """Return a constrained metric of some alerts as the ratio that an evaluation takes."""
    y_true, weight = outcomes.y_true, outcomes.weight
    if metric == "precision":
        return ratios.precision(y_true, alert, weight=weight)
    if metric == "alert_rate":
        return ratios.alert_rate(alert, weight=weight)
    if metric == "false_positive_rate":
        return ratios.false_positive_rate(y_true, alert, weight=weight)
    if metric == "recall" or outcomes.amount is None:
        return ratios.recall(y_true, alert, weight=weight)
    return ratios.value_recall(y_true, alert, outcomes.amount, weight=weight)


def _parts(metric: str, outcomes: AlertOutcomes) -> tuple[FloatArray, FloatArray]:
    """Return the numerator of an alerted event, and the denominator (of alerted events for precision, else of all)."""
    fraud, weight = outcomes.y_true == 1, outcomes.weight
    if metric == "precision":
        return weight * fraud, weight
    if metric == "alert_rate":
        return weight, weight
    if metric == "false_positive_rate":
        return weight * ~fraud, weight * ~fraud
    if metric == "recall":
        return weight * fraud, weight * fraud
    value = outcomes.fraud_value
    if value is None:
        msg = f"policy.constraints.{metric}: the project declares no amount"
        raise ProjectError(msg)
    return value, value


@dataclass(frozen=True)
class _Sums:
    """Sums over clusters at every number of alerted events, arrays of shape ``(n_events + 1,)``.

    With ``A_k`` and ``B_k`` numerator and denominator of cluster k: ``aa = sum A_k^2``, ``ab = sum A_k B_k``,
    ``bb = sum B_k^2``, from which the variance of the ratio follows at any cut.
    """

    numerator: FloatArray
    denominator: FloatArray
    aa: FloatArray
    ab: FloatArray
    bb: FloatArray

    @classmethod
    def grown(cls, a: FloatArray, b: FloatArray, codes: IntArray | None, *, grows: bool) -> _Sums:
        """Add event after event; ``codes`` None makes each its own cluster, ``grows`` adds the denominator too."""
        nothing = np.zeros(len(a))
        a_before = nothing if codes is None else _sum_before(a, codes)
        aa = _cumulated(2 * a_before * a + a * a)
        if grows:
            b_before = nothing if codes is None else _sum_before(b, codes)
            ab = _cumulated(a_before * b + b_before * a + a * b)
            return cls(_cumulated(a), _cumulated(b), aa, ab, _cumulated(2 * b_before * b + b * b))
        whole = b if codes is None else np.bincount(codes, weights=b)[codes]
        squares = float(np.sum(b * b)) if codes is None else float(np.sum(np.bincount(codes, weights=b) ** 2))
        size = len(a) + 1
        return cls(_cumulated(a), np.full(size, b.sum()), aa, _cumulated(a * whole), np.full(size, squares))

    def variance(self, stops: IntArray, value: FloatArray) -> FloatArray:
        """Return the variance of the ratio ``value`` at the given numbers of alerted events."""
        spread = self.aa[stops] - 2 * value * self.ab[stops] + value**2 * self.bb[stops]
        return np.asarray(np.maximum(spread, 0.0) / self.denominator[stops] ** 2, dtype=np.float64)


def _cumulated(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _sum_before(values: FloatArray, codes: IntArray) -> FloatArray:
    """Return for each event the sum of ``values`` over earlier events of its cluster."""
    order = np.argsort(codes, kind="stable")
    running = np.cumsum(values[order]) - values[order]
    ranked = codes[order]
    out = np.empty(len(values))
    out[order] = running - running[np.searchsorted(ranked, ranked, side="left")]
    return out


def feasible_cuts(
    constraints: tuple[Constraint, ...], order_by: FloatArray, outcomes: AlertOutcomes, *, confidence: float
) -> BoolArray:
    """Return which cuts keep every constraint, shape ``(n_cuts,)``.

    Raises
    ------
    ProjectError
        None does; the message says which constraint cannot be kept, or which two exclude each other, and what could.
    """
    curves = {item: cut_curve(item.metric, order_by, outcomes, confidence=confidence) for item in constraints}
    rates = cut_curve("alert_rate", order_by, outcomes, confidence=confidence).value
    kept = {item: curve.feasible(item) for item, curve in curves.items()}
    every: BoolArray = np.logical_and.reduce(list(kept.values()))
    if not every.any():
        msg = f"policy.constraints cannot be kept at any threshold: {_explain(curves, kept, rates)}"
        hint = "loosen one of them, or train on more data so that the intervals narrow"
        if outcomes.always.any():
            hint += f"; rules alert {percent(float(outcomes.always.mean()))} of the events whatever the threshold"
        raise ProjectError(msg, hint=hint)
    return every


def _explain(curves: dict[Constraint, CutCurve], kept: dict[Constraint, BoolArray], rates: FloatArray) -> str:
    alone = [_best(item, curves[item], rates) for item, cuts in kept.items() if not cuts.any()]
    if alone:
        return "; ".join(alone)
    ranges = [
        f"{item} needs an alert_rate from {number(rates[cuts].min())} to {number(rates[cuts].max())}"
        for item, cuts in kept.items()
    ]
    return "; ".join(ranges) + ", and these do not meet"


def _best(item: Constraint, curve: CutCurve, rates: FloatArray) -> str:
    """Return how near a constraint that binds alone can be come to."""
    if not np.isfinite(curve.low).any():
        why = "" if np.isnan(curve.value).all() else f": fewer than {MIN_CLUSTERS} clusters carry information"
        return f"{item} has no known interval at any threshold{why}"
    if item.at_least is not None and not (curve.low >= item.at_least).any():
        best = int(np.nanargmax(curve.low))
        low, rate = number(curve.low[best]), number(rates[best])
        return f"{item}: the low end reaches {low} at most, at an alert_rate of {rate}"
    best = int(np.nanargmin(curve.high))
    high, rate = number(curve.high[best]), number(rates[best])
    return f"{item}: the high end comes down to {high} at best, at an alert_rate of {rate}"
