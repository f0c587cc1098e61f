"""Each metric by name, with its interval, and the paired difference of two models."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fraudctl.catalogue import TOP_K, TOP_K_SUFFIX, metric, metric_names
from fraudctl.costs import perfect_cost
from fraudctl.evaluate.judged import EvaluatedEvents
from fraudctl.metrics import ratios, topk
from fraudctl.metrics.ratios import Ratio
from fraudctl.uncertainty import (
    Estimate,
    RankingIntervals,
    calibration_estimate,
    difference_estimate,
    ranking_difference,
    ranking_estimate,
    ratio_estimate,
    topk_estimate,
    undefined,
)

_UNBOUNDED = (-math.inf, math.inf)
_AT_MOST_ONE = frozenset({"savings", "savings_of_perfect"})
"""Shares that may be negative."""


def metric_list(judged: EvaluatedEvents) -> list[str]:
    """Return the names of all metrics of an evaluation, in the order of the reports."""
    return metric_names(judged.entity_codes)


def ratio_of(name: str, judged: EvaluatedEvents) -> Ratio | None:
    """Return the metric as a ratio of sums, or None where it is none."""
    build = RATIOS.get(name)
    return None if build is None else build(judged)


def _savings(judged: EvaluatedEvents, cost_taken: npt.NDArray[np.float64]) -> Ratio:
    missed = judged.cost_table[:, judged.matrix.pass_code, 1]
    return ratios.savings_against(judged.y_true, cost_taken, missed, judged.base, weight=judged.weight)


def value_recall_of(judged: EvaluatedEvents, alert: npt.NDArray[np.bool_]) -> Ratio:
    """Return value_recall, undefined where the project declares no amount."""
    if judged.amount is None:
        nothing = np.zeros(judged.n_events)
        return Ratio(nothing, nothing, 0.0, nothing != 0, reason="the project declares no amount")
    return ratios.value_recall(judged.y_true, alert, judged.amount, weight=judged.weight)


RATIOS: dict[str, Callable[[EvaluatedEvents], Ratio]] = {
    "precision": lambda j: ratios.precision(j.y_true, j.alert, weight=j.weight),
    "recall": lambda j: ratios.recall(j.y_true, j.alert, weight=j.weight),
    "value_recall": lambda j: value_recall_of(j, j.alert),
    "alert_rate": lambda j: ratios.alert_rate(j.alert, weight=j.weight),
    "false_positive_rate": lambda j: ratios.false_positive_rate(j.y_true, j.alert, weight=j.weight),
    "cost": lambda j: ratios.cost(j.y_true, j.cost_taken, weight=j.weight),
    "savings": lambda j: _savings(j, j.cost_taken),
    "savings_of_perfect": lambda j: _savings(j, perfect_cost(j.cost_table, j.y_true)),
    "brier": lambda j: ratios.brier(j.y_true, j.y_prob, weight=j.weight),
}


def nothing_known(judged: EvaluatedEvents) -> str | None:
    """Return why no metric at all can be computed, or None."""
    if judged.n_events == 0:
        return "no events"
    if judged.missing_scores:
        return f"y_prob is missing or not in [0, 1] for {judged.missing_scores} of {judged.n_events} events"
    return None


def estimate(name: str, judged: EvaluatedEvents, settings: RankingIntervals) -> Estimate:
    """Return one metric with its interval; null with a reason where it is undefined.

    Parameters
    ----------
    name
        One of `metric_list`.
    judged
        The events.
    settings
        Replicates, seed and confidence of the interval.
    """
    reason = nothing_known(judged)
    if reason is not None:
        return undefined(reason)
    ratio = ratio_of(name, judged)
    if ratio is not None:
        bounds = _bounds(name, ratio)
        return ratio_estimate(ratio, judged.clusters, confidence=settings.confidence, bounds=bounds)
    if metric(name).way == "ranking":
        return ranking_estimate(name, judged.y_true, judged.y_prob, judged.weight, judged.clusters, settings=settings)
    if metric(name).way == "bins":
        return calibration_estimate(judged.y_true, judged.y_prob, judged.weight, judged.clusters, settings=settings)
    return _topk(name.removesuffix(TOP_K_SUFFIX), judged, settings)


def _bounds(name: str, ratio: Ratio) -> tuple[float, float]:
    """Return the range that a metric cannot leave; savings exceed 1 only where some action gains money."""
    if name in _AT_MOST_ONE and ratio.reason is None:
        return -math.inf, max(1.0, ratio.value)
    return _UNBOUNDED if name in _AT_MOST_ONE or metric(name).unit == "money" else (0.0, 1.0)


def _topk(entity: str, judged: EvaluatedEvents, settings: RankingIntervals) -> Estimate:
    codes = judged.entity_codes[entity]
    boards = topk.day_boards(judged.y_true, judged.y_prob, day=judged.day, entity=codes)
    value = topk.precision_at_k(boards, TOP_K).value
    return topk_estimate(value, boards, TOP_K, settings=settings)


def difference(name: str, ours: EvaluatedEvents, theirs: EvaluatedEvents, settings: RankingIntervals) -> Estimate:
    """Return ``ours - theirs`` of one metric on the same events, paired, with its interval.

    Not for ``<entity>_precision_at_100`` and ``ece``: they have no paired interval here, and say so.
    """
    reason = nothing_known(ours) or nothing_known(theirs)
    if reason is not None:
        return undefined(reason)
    pair = ratio_of(name, ours), ratio_of(name, theirs)
    if pair[0] is not None and pair[1] is not None:
        return difference_estimate(pair[0], pair[1], ours.clusters, confidence=settings.confidence)
    if metric(name).way == "ranking":
        return ranking_difference(
            name, ours.y_true, ours.y_prob, theirs.y_prob, ours.weight, ours.clusters, settings=settings
        )
    return undefined(f"{name} has no paired interval; compare savings, recall or average_precision")
