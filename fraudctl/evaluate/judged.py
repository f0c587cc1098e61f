"""The arrays that every metric, table and gate rule of one evaluation is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.costs import Baseline, CostMatrix, baseline, cost_matrix, taken_cost
from fraudctl.errors import DataError
from fraudctl.outcomes import KnownOutcomes
from fraudctl.policy.bids import local_period
from fraudctl.policy.constant import reach_of
from fraudctl.project import Project
from fraudctl.uncertainty import Clusters, codes_by_appearance
from fraudctl.weights import event_weights


@dataclass(frozen=True)
class EvaluatedEvents(KnownOutcomes):
    """Events with known outcomes, their probabilities and actions, in time order; arrays of shape ``(n_events,)``."""

    y_prob: FloatArray
    codes: CodeArray
    """Action taken, as a position in ``matrix.actions``."""
    matrix: CostMatrix
    """The project's present costs."""
    cost_table: FloatArray
    """Money, shape ``(n_events, n_actions, 2)``."""
    cost_taken: FloatArray
    entity_codes: dict[str, IntArray]
    """Codes per entity, -1 for null."""
    day: IntArray
    """Number of the local day since 1970-01-01; 0 for all where the data have no time."""
    reach: BoolArray | None
    """Which events each constant action reaches, shape ``(n_events, n_actions)``; None without a capacity."""
    base: Baseline
    """The cheapest constant action on these events: what savings are measured against."""
    missing_scores: int
    """Events whose y_prob is null, NaN or outside [0, 1]; with any, nothing is known."""
    timed: bool
    """Whether the data have a time; without one all events lie on one day, which means nothing."""

    @property
    def alert(self) -> npt.NDArray[np.bool_]:
        """Whether an event got any action but ``allow``."""
        return np.asarray(self.codes != self.matrix.pass_code, dtype=np.bool_)

    def deciding(self, y_prob: FloatArray, codes: CodeArray) -> EvaluatedEvents:
        """Return the same events with other probabilities and actions."""
        return replace(self, y_prob=y_prob, codes=codes, cost_taken=taken_cost(self.cost_table, codes, self.y_true))

    def repriced(self, code: int, outcome: int, factor: float) -> EvaluatedEvents:
        """Return the same decisions with one cost multiplied."""
        table = self.cost_table.copy()
        table[:, code, outcome] *= factor
        return replace(
            self,
            cost_table=table,
            cost_taken=taken_cost(table, self.codes, self.y_true),
            base=baseline(table, self.y_true, self.matrix, weight=self.weight, reach=self.reach),
        )

    def take(self, rows: npt.NDArray[np.bool_]) -> EvaluatedEvents:
        """Return some of the events, with savings against the constant action that is cheapest on these events.

        Slots of a capacity stay where the constant action gave them among all events.
        """
        table, y_true, weight = self.cost_table[rows], self.y_true[rows], self.weight[rows]
        reach = None if self.reach is None else self.reach[rows]
        return replace(
            self,
            y_true=y_true,
            y_prob=self.y_prob[rows],
            codes=self.codes[rows],
            cost_table=table,
            cost_taken=self.cost_taken[rows],
            weight=weight,
            amount=None if self.amount is None else self.amount[rows],
            clusters=self.clusters.take(rows),
            entity_codes={name: codes[rows] for name, codes in self.entity_codes.items()},
            day=self.day[rows],
            reach=reach,
            base=baseline(table, y_true, self.matrix, weight=weight, reach=reach),
        )


def prepare(scored: pl.DataFrame, project: Project) -> EvaluatedEvents:
    """Read the arrays from a scored feature table.

    Parameters
    ----------
    scored
        Evaluated events in time order: roles, one column per entity, the cost columns, ``y_prob`` (Float64) and
        ``action`` (String). Every label is 1 or 0.
    project
        Its present costs, capacities, entities, weight and time zone.

    Raises
    ------
    DataError
        A label is null, a column is missing, or an action is not in ``[costs]``.
    """
    _check(scored, project)
    matrix = cost_matrix(project.costs)
    y_true = scored["label"].cast(pl.Int8).to_numpy()
    y_prob = scored["y_prob"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    missing = int((~((y_prob >= 0) & (y_prob <= 1))).sum())
    codes = _action_codes(scored["action"], matrix)
    table = matrix.per_event(scored)
    weight = event_weights(scored, project)
    weight = np.ones(scored.height) if weight is None else weight
    entity_codes = {name: codes_by_appearance(scored[name]) for name in project.entities}
    clusters = Clusters.carried(scored, list(project.entities), known=entity_codes)
    reach = reach_of(scored, project, matrix)
    return EvaluatedEvents(
        y_true=y_true,
        y_prob=y_prob,
        codes=codes,
        matrix=matrix,
        cost_table=table,
        cost_taken=taken_cost(table, codes, y_true),
        weight=weight,
        amount=scored["amount"].cast(pl.Float64).fill_null(np.nan).to_numpy() if "amount" in scored.columns else None,
        clusters=clusters,
        entity_codes=entity_codes,
        day=_days(scored["event_time"], project),
        reach=reach,
        base=baseline(table, y_true, matrix, weight=weight, reach=reach),
        missing_scores=missing,
        timed=project.data.has_time,
    )


def _days(event_time: pl.Series, project: Project) -> IntArray:
    """Return the number of the local day of each event; without a time, all are of one."""
    if not project.data.has_time:
        return np.zeros(len(event_time), dtype=np.int64)
    return local_period(event_time, "day", project.data.timezone)


def _check(scored: pl.DataFrame, project: Project) -> None:
    needed = ["event_time", "label", "y_prob", "action", *project.entities]
    missing = [name for name in needed if name not in scored.columns]
    if missing:
        msg = f"the scored events lack {', '.join(missing)}"
        raise DataError(msg)
    if scored["label"].null_count():
        msg = f"{scored['label'].null_count()} of {scored.height} events to evaluate have no label"
        raise DataError(msg, hint="null is not 0: leave these events out and count them")


def _action_codes(action: pl.Series, matrix: CostMatrix) -> CodeArray:
    """Return positions; a null action (no usable score) stands as ``allow`` and is counted with the missing scores."""
    unknown = set(action.drop_nulls().unique()) - set(matrix.actions)
    if unknown:
        msg = f"actions {', '.join(sorted(unknown))} are not in [costs]; expected {', '.join(matrix.actions)}"
        raise DataError(msg, hint="costs may change after training, the names of the actions may not")
    positions = {name: code for code, name in enumerate(matrix.actions)}
    codes = action.fill_null(matrix.actions[matrix.pass_code]).replace_strict(positions, return_dtype=pl.Int8)
    return codes.to_numpy()
