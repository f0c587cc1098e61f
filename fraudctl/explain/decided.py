"""What each part of a policy decided in a period, and what that brought.

Owns the partition of all decided events by the part that decided: the model, each rule, capacities, constraints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray
from fraudctl.costs import FRAUD, LEGIT, cost_matrix
from fraudctl.explain.scene import Scene
from fraudctl.policy.provenance import MODEL_KINDS

MODEL = "model"


@dataclass(frozen=True)
class DecidedTotal:
    """What one part of the policy decided; every event of the period is in exactly one total.

    Attributes
    ----------
    kind
        ``model`` (costs or thresholds), ``rule``, ``capacity`` or ``constraint``.
    rule
        Name of the rule; None for other kinds.
    n_alerts, n_caught, n_false_alarms, n_missed
        Alerts, alerted frauds, alerted legitimate events, allowed frauds.
    n_all_false
        False positives of the whole period.
    false_alarm_cost, cost
        Money lost on its false positives, and on all its decisions.
    gain
        Money that its decisions cost less than the actions that they replaced would have; None for the model.
    """

    kind: str
    rule: str | None
    n_events: int
    """Events that it decided."""
    n_alerts: int
    n_caught: int
    n_false_alarms: int
    n_missed: int
    n_all_false: int
    false_alarm_cost: float
    cost: float
    gain: float | None

    @property
    def by_model(self) -> bool:
        """Whether the model's probability decided: by costs or thresholds, or under a constraint."""
        return self.kind in {MODEL, "constraint"}


def find_decided(scene: Scene) -> tuple[DecidedTotal, ...]:
    """Return the totals: rules in the project's order, capacities, constraints, and the model last."""
    kind = pl.col("kind")
    parts = pl.when(kind.is_in(sorted(MODEL_KINDS - {"constraint"}))).then(pl.lit(MODEL)).otherwise(kind)
    keys = scene.decided_by.struct.unnest().select(
        parts.alias("part"), rule=pl.when(kind == "rule").then(pl.col("rule"))
    )
    order = {"rule": 0, "capacity": 1, "constraint": 2, MODEL: 3}
    gain = _gain(scene)
    found = sorted(keys.unique().iter_rows(), key=lambda key: (order[key[0]], key[1] or ""))
    return tuple(_total(scene, part, rule, _rows_of(keys, part, rule), gain) for part, rule in found)


def _rows_of(keys: pl.DataFrame, part: str, rule: str | None) -> BoolArray:
    """Return which events a part of the policy decided, shape ``(n_events,)``."""
    named = keys["rule"].is_null() if rule is None else (keys["rule"] == rule).fill_null(value=False)
    return np.asarray(((keys["part"] == part) & named).to_numpy())


def _total(scene: Scene, kind: str, rule: str | None, mine: BoolArray, gain: np.ndarray) -> DecidedTotal:
    return DecidedTotal(
        kind=kind,
        rule=rule,
        n_events=int(mine.sum()),
        n_alerts=int((scene.alert & mine).sum()),
        n_caught=int((scene.caught & mine).sum()),
        n_false_alarms=int((scene.false_alarm & mine).sum()),
        n_missed=int((scene.missed & mine).sum()),
        n_all_false=int(scene.false_alarm.sum()),
        false_alarm_cost=float(scene.cost[scene.false_alarm & mine].sum()),
        cost=float(scene.cost[mine].sum()),
        gain=None if kind == MODEL else float(gain[mine].sum()),
    )


def _gain(scene: Scene) -> np.ndarray:
    """Return for each event the money of the action that was replaced, less the money of the one that was taken."""
    actions = cost_matrix(scene.project.costs).actions
    codes = {name: code for code, name in enumerate(actions)}
    other = scene.decided_by.struct.field("instead_of").replace_strict(codes, default=None, return_dtype=pl.Int64)
    known = other.is_not_null().to_numpy()
    outcome = np.where(scene.y_true, FRAUD, LEGIT)
    money = scene.cost_table[np.arange(len(outcome)), other.fill_null(0).to_numpy(), outcome]
    return np.where(known, money - scene.cost, 0.0)
