"""What trials are compared by, and how sure a difference between two scores is.

Owns the objective of ``[train] metric`` on one fold, and the interval of a paired difference over folds by a
delete-a-group jackknife over entities. The metrics themselves are those of `fraudctl.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fraudctl.arrays import FloatArray
from fraudctl.calibrate import sigmoid
from fraudctl.costs import BASE_RULE, CostMatrix, cost_matrix, minimum_risk, taken_cost
from fraudctl.metrics.ranking import Ranking, ap_of, recall_of
from fraudctl.metrics.ratios import savings_ratio
from fraudctl.train.summary import Gain
from fraudctl.uncertainty import codes_by_appearance

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from fraudctl.project import Project

    Figure = Callable[[FloatArray], float]
    """Takes the weights of the events and gives the figure of an objective."""

N_GROUPS: Final = 20
"""Groups of entities that the jackknife leaves out in turn."""

_Z90: Final = 1.6448536269514722


@dataclass(frozen=True)
class FoldRows:
    """The validation rows of one fold, as an objective needs them.

    Attributes
    ----------
    y_true
        1 fraud, 0 legitimate, shape ``(n_events,)``.
    weight
        Weight of each event, shape ``(n_events,)``.
    group
        Jackknife group of each event's entity, in ``[0, N_GROUPS)``.
    cost_table
        Money, shape ``(n_events, n_actions, 2)``; None where the objective is no money.
    """

    y_true: NDArray[np.int8]
    weight: FloatArray
    group: NDArray[np.int64]
    cost_table: FloatArray | None

    @property
    def has_both_classes(self) -> bool:
        """Whether a ranking can be judged on these rows."""
        return len(np.unique(self.y_true[self.weight > 0])) == 2


@dataclass(frozen=True)
class Objective:
    """A figure to be maximised on the validation rows of a fold."""

    name: str
    matrix: CostMatrix

    @property
    def needs_costs(self) -> bool:
        """Whether the rows need a cost table."""
        return self.name == "savings"

    @property
    def base_rule(self) -> str | None:
        """What savings are measured against; None for an objective that is no money."""
        return BASE_RULE if self.needs_costs else None

    def value(self, rows: FoldRows, y_score: FloatArray, *, weight: FloatArray | None = None) -> float:
        """Return the figure for log-odds ``y_score`` of shape ``(n_events,)``; NaN where it is not defined.

        For savings each event gets the action of the lowest expected cost at the probability that the score means. No
        capacity limits these decisions, nor the constant action that they are measured against.
        """
        return self.figure(rows, y_score)(rows.weight if weight is None else weight)

    def figure(self, rows: FoldRows, y_score: FloatArray) -> Figure:
        """Return the function from weights, shape ``(n_events,)``, to `value`; what no weight changes is done once."""
        table = rows.cost_table
        if self.needs_costs and table is not None:
            taken = taken_cost(table, minimum_risk(table, sigmoid(y_score)), rows.y_true)
            return lambda weight: savings_ratio(rows.y_true, taken, table, self.matrix, weight=weight).value
        ranking = Ranking.of(rows.y_true, y_score)
        if self.name == "average_precision":
            return lambda weight: ap_of(*ranking.totals(weight[ranking.order]))
        max_fpr = float(self.name.removeprefix("recall_at_fpr(").removesuffix(")"))
        return lambda weight: recall_of(*ranking.totals(weight[ranking.order]), max_fpr)


def make_objective(project: Project) -> Objective:
    """Return the objective that ``[train] metric`` names."""
    return Objective(project.train.metric, cost_matrix(project.costs))


def entity_groups(table: pl.DataFrame, *, cluster: str | None) -> NDArray[np.int64]:
    """Return the jackknife group of every event, shape ``(n_events,)``: all events of an entity value share one.

    A null entity value, and every event where ``cluster`` is None, stands for itself. Groups follow from the order in
    which entities appear, not from their names.
    """
    own = np.arange(table.height, dtype=np.int64)
    if cluster is None:
        return own % N_GROUPS
    codes = codes_by_appearance(table[cluster])
    return np.where(codes < 0, own, codes) % N_GROUPS


def judge_rows(rows: pl.DataFrame, *, objective: Objective, weight: FloatArray, group: NDArray[np.int64]) -> FoldRows:
    """Prepare the labelled rows of a fold."""
    cost_table = objective.matrix.per_event(rows) if objective.needs_costs else None
    return FoldRows(rows["label"].to_numpy().astype(np.int8), weight, group, cost_table)


def paired_gain(
    objective: Objective, folds: Sequence[FoldRows], new: Sequence[FloatArray], old: Sequence[FloatArray]
) -> Gain | None:
    """Compare two sets of scores on the same rows of the same folds.

    Returns
    -------
    Gain or None
        As `gain_of` does; None where no fold has both classes.
    """
    usable = [i for i, rows in enumerate(folds) if rows.has_both_classes]
    if not usable:
        return None
    a, b = ([jackknifed(objective, folds[i], scores[i]) for i in usable] for scores in (new, old))
    return gain_of(a, b)


def jackknifed(objective: Objective, rows: FoldRows, y_score: FloatArray) -> FloatArray:
    """Return the figure of all rows, then without each group of entities in turn, shape ``(1 + N_GROUPS,)``."""
    figure = objective.figure(rows, y_score)
    without = (np.where(rows.group == group, 0.0, rows.weight) for group in range(N_GROUPS))
    return np.array([figure(rows.weight), *map(figure, without)])


def gain_of(new: Sequence[FloatArray], old: Sequence[FloatArray]) -> Gain | None:
    """Compare the figures of two sets of scores, from `jackknifed` on the same rows, one array for each fold.

    The interval is the estimate ± 1.645 standard errors of the delete-a-group jackknife,
    ``sqrt((G - 1) / G sum (d_g - mean d)²)``, whose groups are sets of entities (Kott, *The Delete-a-Group Jackknife*,
    Journal of Official Statistics, 2001).

    Returns
    -------
    Gain or None
        None where the figure is not defined, or not without more than half of the groups.
    """
    differences = np.array([a - b for a, b in zip(new, old, strict=True)])
    value, *without = (float(np.mean(one)) for one in differences.T.copy())
    sample = np.array([item for item in without if np.isfinite(item)])
    if not np.isfinite(value) or len(sample) < N_GROUPS // 2:
        return None
    error = float(np.sqrt((len(sample) - 1) / len(sample) * ((sample - sample.mean()) ** 2).sum()))
    return Gain(value, value - _Z90 * error, value + _Z90 * error)
