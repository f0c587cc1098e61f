"""Choosing the policy of a project on fold predictions.

Never on a test period: what is chosen here is frozen with the model and only then evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.costs import FloatArray, cost_matrix, taken_cost
from fraudctl.errors import DataError
from fraudctl.policy.decide import CapacityLimit, Policy, PolicyRule
from fraudctl.policy.search import ScoreGroups, ThresholdSearch, search_thresholds
from fraudctl.project import Project


@dataclass(frozen=True)
class PolicyChoice:
    """The policy, and why it is this one."""

    policy: Policy
    report: dict[str, Any] = field(default_factory=dict)
    """JSON: cost on the data it was chosen on, plateaus, simple alternatives."""


def choose_policy(project: Project, frame: pl.DataFrame, y_prob: FloatArray) -> PolicyChoice:
    """Choose the policy of a project.

    Parameters
    ----------
    project
        Its costs, policy and rules.
    frame
        Fold predictions in time order: ``event_time``, ``label`` (rows with a null label are left out), ``amount``
        and the cost columns where the costs need them.
    y_prob
        Cross-fitted calibrated probabilities, shape ``(n_events,)``.

    Raises
    ------
    DataError
        No event has a known label, or a column that the costs need is missing.
    """
    known = frame["label"].is_not_null().to_numpy()
    if not known.any():
        msg = f"none of the {frame.height} events has a known label, and a policy is chosen on labels"
        raise DataError(msg)
    frame, y_prob = frame.filter(known), y_prob[known]
    y_true = frame["label"].to_numpy()
    bare = bare_policy(project)
    if bare.kind == "expected_cost":
        policy, extra = bare, dict[str, Any]()
    else:
        policy, extra = _with_thresholds(bare, frame, y_true, y_prob)
    table = policy.matrix.per_event(frame)
    cost = float(taken_cost(table, policy.decide(frame, y_prob), y_true).sum())
    return PolicyChoice(policy, {"events": frame.height, "frauds": int(y_true.sum()), "cost": cost, **extra})


def bare_policy(project: Project) -> Policy:
    """Give the policy as the project file states it, before anything is chosen: no thresholds, no prices."""
    matrix = cost_matrix(project.costs)
    rules = tuple(
        PolicyRule(rule.name or f"rule {i + 1}", rule.when, rule.action) for i, rule in enumerate(project.rules)
    )
    capacity = tuple(CapacityLimit(action, cap.limit, cap.per) for action, cap in project.policy.capacity.items())
    return Policy(
        kind=project.policy.kind, matrix=matrix, capacity=capacity, rules=rules, timezone=project.data.timezone
    )


def _with_thresholds(
    bare: Policy, frame: pl.DataFrame, y_true: npt.NDArray[Any], y_prob: FloatArray
) -> tuple[Policy, dict[str, Any]]:
    table = bare.matrix.per_event(frame)
    outcome = np.take_along_axis(table, y_true.astype(np.int64)[:, None, None], axis=2)[:, :, 0]
    search = search_thresholds(ScoreGroups.of(y_prob, outcome))
    from dataclasses import replace

    values = {action: item.value for action, item in zip(bare.actions[1:], search.thresholds, strict=True)}
    return replace(bare, thresholds=values), {"thresholds": _describe(bare.actions[1:], search)}


def _describe(actions: tuple[str, ...], search: ThresholdSearch) -> dict[str, Any]:
    return {
        action: {"value": item.value, "exact": item.exact, "plateau": {"low": item.low, "high": item.high}}
        for action, item in zip(actions, search.thresholds, strict=True)
    }
