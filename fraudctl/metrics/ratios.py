"""Metrics that are a ratio of two sums over events: precision, recall, rates, money, savings, Brier score.

Every one of them is written down as a numerator and a denominator per event. That is all that its value, its variance
under clustering (`fraudctl.uncertainty`) and a paired difference need, so each is defined once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import BoolArray, FloatArray
from fraudctl.costs import Baseline, ConstantAction, CostMatrix, baseline, minimum_risk, perfect_cost, taken_cost
from fraudctl.money import NEGLIGIBLE
from fraudctl.text.figures import number


@dataclass(frozen=True)
class Ratio:
    """A metric ``offset + scale × sum(numerator) / sum(denominator)``; weights are already multiplied in.

    ``unit`` is the denominator of one typical event (for savings: what the mean fraud costs). ``support`` marks the
    events that carry information, whose clusters are counted. ``reason`` says why the metric is undefined, if it is.
    ``base`` is the constant action that savings are measured against; None for other metrics.
    """

    numerator: FloatArray
    denominator: FloatArray
    unit: float
    support: BoolArray
    offset: float = 0.0
    scale: float = 1.0
    reason: str | None = None
    base: ConstantAction | None = None

    @property
    def value(self) -> float:
        """The metric; NaN where it is undefined."""
        if self.reason is not None:
            return math.nan
        return self.offset + self.scale * float(self.numerator.sum() / self.denominator.sum())

    @property
    def influence(self) -> FloatArray:
        """What each event moves the metric by, shape ``(n_events,)``; sums to 0 (linearisation of the ratio)."""
        total = float(self.denominator.sum())
        level = float(self.numerator.sum()) / total
        return np.asarray(self.scale * (self.numerator - level * self.denominator) / total, dtype=np.float64)

    @property
    def unit_share(self) -> float:
        """Share of one typical event in the base: the least that the metric can be known by."""
        return abs(self.scale * self.unit / float(self.denominator.sum()))


def _ratio(numerator: FloatArray, denominator: FloatArray, *, missing: str) -> Ratio:
    support = denominator != 0
    count = int(support.sum())
    total = float(denominator.sum())
    reason = missing if count == 0 or total <= 0 else None
    return Ratio(numerator, denominator, total / max(count, 1), support, reason=reason)


def _weights(weight: FloatArray | None, n_events: int) -> FloatArray:
    return np.ones(n_events) if weight is None else np.asarray(weight, dtype=np.float64)


def precision(y_true: npt.NDArray[Any], alert: BoolArray, *, weight: FloatArray | None = None) -> Ratio:
    """Share of alerts that are fraud: ``TP / (TP + FP)``."""
    w = _weights(weight, len(y_true))
    return _ratio(w * (alert & (y_true == 1)), w * alert, missing="no alerts")


def recall(y_true: npt.NDArray[Any], alert: BoolArray, *, weight: FloatArray | None = None) -> Ratio:
    """Share of frauds that are alerts: ``TP / (TP + FN)``."""
    w = _weights(weight, len(y_true))
    return _ratio(w * (alert & (y_true == 1)), w * (y_true == 1), missing="no frauds")


def value_recall(
    y_true: npt.NDArray[Any], alert: BoolArray, amount: FloatArray, *, weight: FloatArray | None = None
) -> Ratio:
    """Share of the defrauded amount that is in alerts; null and negative amounts (refunds) count as 0."""
    w = _weights(weight, len(y_true))
    value = np.maximum(np.nan_to_num(amount, nan=0.0), 0.0) * (y_true == 1) * w
    return _ratio(value * alert, value, missing="no frauds with a positive amount")


def alert_rate(alert: BoolArray, *, weight: FloatArray | None = None) -> Ratio:
    """Share of events that are alerts."""
    w = _weights(weight, len(alert))
    return _ratio(w * alert, w, missing="no events")


def false_positive_rate(y_true: npt.NDArray[Any], alert: BoolArray, *, weight: FloatArray | None = None) -> Ratio:
    """Share of legitimate events that are alerts: ``FP / (FP + TN)``."""
    w = _weights(weight, len(y_true))
    legit = y_true != 1
    return _ratio(w * (alert & legit), w * legit, missing="no legitimate events")


def brier(y_true: npt.NDArray[Any], y_prob: FloatArray, *, weight: FloatArray | None = None) -> Ratio:
    """Mean squared distance of probability and outcome (Brier, Monthly Weather Review 1950)."""
    w = _weights(weight, len(y_true))
    return _ratio(w * (y_prob - (y_true == 1)) ** 2, w, missing="no events")


def cost(y_true: npt.NDArray[Any], cost_taken: FloatArray, *, weight: FloatArray | None = None) -> Ratio:
    """Money of the actions taken, summed: number of events × mean money (the number counts as given)."""
    w = _weights(weight, len(y_true))
    fraud = y_true == 1
    base = _ratio(w * cost_taken, w, missing="no events")
    n_weight = float(w.sum())
    mean_fraud = float(np.abs(w * cost_taken)[fraud].mean()) if fraud.any() else 0.0
    return replace(base, unit=mean_fraud, support=fraud, scale=n_weight)


def savings_ratio(
    y_true: npt.NDArray[Any],
    cost_taken: FloatArray,
    cost_table: FloatArray,
    matrix: CostMatrix,
    *,
    weight: FloatArray | None = None,
    reach: BoolArray | None = None,
) -> Ratio:
    """Return ``1 - cost / cost of the cheapest constant action``.

    After Bahnsen, Aouada, Stojanovic and Ottersten, *Feature engineering strategies for credit card fraud detection*
    (Expert Systems with Applications 2016), who compare with the better of two constant actions, allowing all and
    blocking all; here every action of the cost matrix is one (`fraudctl.costs.baseline`). 1 is reached only where a
    perfect model costs nothing; 0 is a model that costs as much as the cheapest constant action; negative is worse
    than no model. Undefined where the base is zero or negative: there is nothing to save, and the ratio would flip its
    sign.

    Parameters
    ----------
    y_true, cost_taken
        Outcome and money of the action taken, shape ``(n_events,)``.
    cost_table
        Money of each action on each outcome, shape ``(n_events, n_actions, 2)``.
    matrix
        Names of the actions.
    weight
        How many events each stands for; default 1.
    reach
        Where the capacity of each action reaches, as in `fraudctl.costs.constant_codes`.
    """
    w = _weights(weight, len(y_true))
    base = baseline(cost_table, y_true, matrix, weight=w, reach=reach)
    return savings_against(y_true, cost_taken, cost_table[:, matrix.pass_code, 1], base, weight=w)


def savings_against(
    y_true: npt.NDArray[Any], cost_taken: FloatArray, missed_cost: FloatArray, base: Baseline, *, weight: FloatArray
) -> Ratio:
    """Return `savings_ratio` for a base that is known already; ``missed_cost`` is the money of allowing a fraud."""
    fraud = y_true == 1
    unit = float((weight * missed_cost)[fraud].mean()) if fraud.any() else 0.0
    taken, without = weight * cost_taken, weight * base.per_event
    stake = max(float(np.abs(taken).sum()), abs(unit), *(abs(item.cost) for item in base.constants))
    reason = None
    if len(y_true) == 0:
        reason = "no events"
    elif base.cost <= NEGLIGIBLE * stake:
        reason = (
            f"the cheapest constant action ({base.chosen.words}) costs {number(base.cost)}: there is nothing to save"
        )
    return Ratio(taken, without, unit, fraud, offset=1.0, scale=-1.0, reason=reason, base=base.chosen)


def savings(
    y_true: npt.NDArray[Any],
    y_prob: FloatArray,
    cost_table: FloatArray,
    matrix: CostMatrix,
    *,
    weight: FloatArray | None = None,
) -> float:
    """Return the savings of deciding by the lowest expected cost; what tuning maximises. NaN where undefined.

    Neither the decisions nor the constant actions are limited by a capacity here.

    Examples
    --------
    >>> from fraudctl.costs import CostCell
    >>> matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(10.0)), (CostCell(1.0), CostCell())))
    >>> table = np.tile([[0.0, 10.0], [1.0, 0.0]], (4, 1, 1))

    Blocking all costs 3, allowing all 10; the model blocks the fraud and one legitimate event:

    >>> round(savings(np.array([1, 0, 0, 0]), np.array([0.9, 0.2, 0.0, 0.0]), table, matrix), 6)
    0.666667
    """
    actions = minimum_risk(cost_table, y_prob)
    return savings_ratio(y_true, taken_cost(cost_table, actions, y_true), cost_table, matrix, weight=weight).value


def savings_of_perfect(
    y_true: npt.NDArray[Any],
    cost_table: FloatArray,
    matrix: CostMatrix,
    *,
    weight: FloatArray | None = None,
    reach: BoolArray | None = None,
) -> Ratio:
    """Return the savings of a perfect model (the cheapest action for each true outcome): the ceiling of `savings`."""
    return savings_ratio(y_true, perfect_cost(cost_table, y_true), cost_table, matrix, weight=weight, reach=reach)
