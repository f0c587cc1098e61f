"""Is it the threshold? What the same policy would have cost if it saw all risks as higher or lower.

Owns the sweep: the odds of all events of the period are multiplied by a factor and the policy decides all of them
again, with its costs, rules and capacity; then the judged ones are counted. For a single threshold this is exactly the
threshold moving; for other policies it is the nearest thing to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray
from fraudctl.costs import FRAUD, LEGIT
from fraudctl.evaluate import Replay
from fraudctl.explain.causes import shifted
from fraudctl.explain.scene import Scene
from fraudctl.progress import Watch, unwatched
from fraudctl.text.figures import plain

FACTORS: Final = tuple(float(10 ** (step / 10)) for step in range(-15, 16))
"""Factors on the odds that the curve is drawn over: 0.03 to 32."""
NEAR_FACTORS: Final = (0.5, 0.8, 1.25, 1.5, 2.0, 3.0)
PLATEAU: Final = 0.01


@dataclass(frozen=True)
class ThresholdSetting:
    """What a policy that sees all odds multiplied by `factor` would have done.

    Attributes
    ----------
    cost
        All money lost; `missed_cost` the part of missed frauds, `false_alarm_cost` of alerted legitimate events; the
        rest is what alerted frauds cost.
    """

    factor: float
    """What all odds are multiplied by."""
    n_alerts: int
    """Alerts."""
    alerts_per_day: float
    """Alerts a day of the period."""
    n_missed: int
    """Frauds that are allowed."""
    missed_cost: float
    """Money lost on these."""
    n_false_alarms: int
    """Legitimate events that are alerted."""
    false_alarm_cost: float
    """Money lost on these."""
    cost: float


@dataclass(frozen=True)
class Sweep:
    """The curve, the settings near today's, today's, and the cheapest one (in hindsight).

    Attributes
    ----------
    plateau
        Lowest and highest factor among the neighbours of the best that cost at most 1 % more.
    """

    curve: tuple[ThresholdSetting, ...]
    """Settings over a wide range of factors."""
    near: tuple[ThresholdSetting, ...]
    """Settings with factors near 1."""
    today: ThresholdSetting
    """The decisions that were taken."""
    best: ThresholdSetting
    """The cheapest of all settings, in hindsight."""
    plateau: tuple[float, float]


def sweep(scene: Scene, *, replay: Replay, watch: Watch = unwatched) -> Sweep:
    """Decide all events of the period again at every factor; at a factor of 1 these are the decisions that were taken.

    Parameters
    ----------
    replay
        All events of the period; those it judges are the events of the scene, in the same order.
    watch
        Called with each factor before it is tried.
    """

    def setting(factor: float) -> ThresholdSetting:
        watch(f"all odds times {plain(factor)}")
        return _setting(scene, replay, factor)

    curve, near = tuple(map(setting, FACTORS)), tuple(map(setting, NEAR_FACTORS))
    today = _as_decided(scene)
    best = min((*curve, *near, today), key=lambda item: (item.cost, abs(np.log(item.factor))))
    return Sweep(curve, near, today, best, _plateau(curve, best))


def _plateau(curve: tuple[ThresholdSetting, ...], best: ThresholdSetting) -> tuple[float, float]:
    cheap = [item.cost <= best.cost + PLATEAU * abs(best.cost) for item in curve]
    at = min(range(len(curve)), key=lambda i: abs(np.log(curve[i].factor / best.factor)))
    low = high = at
    while low > 0 and cheap[low - 1]:
        low -= 1
    while high < len(curve) - 1 and cheap[high + 1]:
        high += 1
    return min(curve[low].factor, best.factor), max(curve[high].factor, best.factor)


def _setting(scene: Scene, replay: Replay, factor: float) -> ThresholdSetting:
    codes = replay.codes_at(shifted(replay.y_prob, factor), scene.project).astype(np.int64)
    taken = scene.cost_table[np.arange(len(codes)), codes]
    cost = np.where(scene.y_true, taken[:, FRAUD], taken[:, LEGIT])
    return _count(scene, factor, alert=codes != 0, cost=cost)


def _as_decided(scene: Scene) -> ThresholdSetting:
    return _count(scene, 1.0, alert=scene.alert, cost=scene.cost)


def _count(scene: Scene, factor: float, *, alert: BoolArray, cost: FloatArray) -> ThresholdSetting:
    missed, false_alarm = scene.y_true & ~alert, ~scene.y_true & alert
    return ThresholdSetting(
        factor=factor,
        n_alerts=int(alert.sum()),
        alerts_per_day=float(alert.sum()) / scene.n_days,
        n_missed=int(missed.sum()),
        missed_cost=float(cost[missed].sum()),
        n_false_alarms=int(false_alarm.sum()),
        false_alarm_cost=float(cost[false_alarm].sum()),
        cost=float(cost.sum()),
    )
