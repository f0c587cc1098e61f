"""What a decision depends on: the one list behind input checks, repeated ids, carried columns and predictions.

Owns the answer to "which columns can change this decision?". A column that an action, its price or its place can
depend on is listed here or nowhere: `Decider` and `EventReader` demand these columns, `LiveState` compares them when an
event id comes again, the feature table carries them, and fold predictions keep them for the next choice of a policy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fraudctl.costs import CostMatrix, cost_matrix
from fraudctl.features.rows.read import compile_row_sql
from fraudctl.weights import weight_columns

if TYPE_CHECKING:
    from fraudctl.features.meaning.definition import FeatureSet
    from fraudctl.policy.decide import Policy
    from fraudctl.project import Project


@dataclass(frozen=True)
class Dependence:
    """The columns behind a decision, under the names that they have inside: roles, entities, features, data columns.

    Attributes
    ----------
    roles
        ``event_id``, ``event_time`` (features and capacity periods), ``amount`` where there is one, and the entities.
    behind_features
        Data columns that features are computed from, directly or through other features.
    features
        Names of the features.
    costs
        Columns that the cost matrix reads.
    rules, segments
        Columns that the conditions of rules and the expression of segments read.
    """

    roles: tuple[str, ...]
    behind_features: tuple[str, ...]
    features: tuple[str, ...]
    costs: tuple[str, ...]
    rules: tuple[str, ...]
    segments: tuple[str, ...]

    @cached_property
    def policy(self) -> tuple[str, ...]:
        """Columns that costs, rules and segments read, each once; predictions keep them."""
        return tuple(dict.fromkeys([*self.costs, *self.rules, *self.segments]))

    @cached_property
    def data(self) -> tuple[str, ...]:
        """Data columns that every event must have, apart from roles: behind features, in costs, rules and segments."""
        computed = {*self.features, *self.roles, "event_time", "amount"} - set(self.behind_features)
        wanted = dict.fromkeys([*self.behind_features, *self.policy])
        return tuple(name for name in wanted if name not in computed)

    @cached_property
    def beyond_features(self) -> tuple[str, ...]:
        """Those of `data` that no feature is computed from."""
        return tuple(name for name in self.data if name not in self.behind_features)


def of_project(project: Project, features: FeatureSet, *, readable: Collection[str]) -> Dependence:
    """Return what decisions of a project depend on, by its present costs, rules and segments.

    Parameters
    ----------
    readable
        Columns that expressions may use.

    Raises
    ------
    ProjectError
        An expression reads a column that it may not, or is none.
    """
    named = [(where.startswith("rules"), where, text) for where, text in project.expressions]
    rules = _columns(((where, text) for is_rule, where, text in named if is_rule), readable)
    segments = _columns(((where, text) for is_rule, where, text in named if not is_rule), readable)
    return _dependence(project, features, cost_matrix(project.costs), rules, segments)


def of_policy(project: Project, features: FeatureSet, policy: Policy, *, readable: Collection[str]) -> Dependence:
    """Return what decisions of a frozen policy depend on; segments without thresholds of their own decide nothing.

    Raises
    ------
    ProjectError
        As `of_project` does.
    """
    from fraudctl.project.decisions import SEGMENTS

    rules = _columns(((f"rule {rule.name!r}", rule.when) for rule in policy.rules), readable)
    own = policy.segments is not None and policy.segments.thresholds
    segments = _columns([(SEGMENTS, policy.segments.by)] if own and policy.segments is not None else [], readable)
    return _dependence(project, features, policy.matrix, rules, segments)


def judged_columns(project: Project) -> tuple[str, ...]:
    """Return the data columns that no decision depends on and an evaluation reads: segments, weights, control group."""
    return tuple(dict.fromkeys([*project.segment_columns, *weight_columns(project)]))


def _dependence(
    project: Project, features: FeatureSet, matrix: CostMatrix, rules: tuple[str, ...], segments: tuple[str, ...]
) -> Dependence:
    data = project.data
    present = {"event_id": data.event_id, "event_time": data.event_time, "amount": data.amount}
    roles = [name for name, column in present.items() if column is not None]
    return Dependence(
        roles=(*roles, *project.entities),
        behind_features=tuple(features.carried),
        features=tuple(features.names),
        costs=tuple(matrix.columns),
        rules=rules,
        segments=segments,
    )


def _columns(expressions: Iterable[tuple[str, str]], readable: Collection[str]) -> tuple[str, ...]:
    found = [
        name for where, text in expressions for name in compile_row_sql(text, allowed=readable, where=where).columns
    ]
    return tuple(dict.fromkeys(found))
