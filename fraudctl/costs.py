"""What each action costs on each event, in money.

Owns the cost matrix (fixed + rate × amount + column for every action and outcome), the constant actions (one action
for all events, without any model), and what a perfect model would cost. It compares risks and never divides costs by
each other, so zero, negative and near-zero costs, and refunds, need no special case. It decides nothing: that is
`fraudctl.policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray
from fraudctl.data.own import inside
from fraudctl.documents.results import from_json
from fraudctl.errors import DataError, ProjectError
from fraudctl.money import refuse_beyond
from fraudctl.project.decisions import ALLOW, ActionSection, CostSection, CostsSection
from fraudctl.text.plain import shown

LEGIT: Final = 0
FRAUD: Final = 1
OUTCOMES: Final = ("legit", "fraud")


@dataclass(frozen=True)
class CostCell:
    """Money lost by one action on one outcome: ``fixed + rate × amount + column``, never below ``at_least``."""

    JSON = ("fixed?", "rate?", "column?", "at_least?")

    fixed: float = 0.0
    """Money for every event; absent where 0."""
    rate: float = 0.0
    """Share of the amount; absent where 0."""
    column: str | None = None
    """Data column with money for each event; absent where there is none."""
    at_least: float | None = None
    """Least money; absent where there is no least."""

    @property
    def is_empty(self) -> bool:
        """Whether the cell says nothing: no amount of money, and no least amount."""
        return self == CostCell()

    def per_event(self, amount: FloatArray | None, columns: dict[str, FloatArray], n_events: int) -> FloatArray:
        """Return the money for each event, shape ``(n_events,)``."""
        money = np.full(n_events, self.fixed, dtype=np.float64)
        if self.rate != 0.0 and amount is not None:
            money += self.rate * amount
        if self.column is not None:
            money += columns[self.column]
        return money if self.at_least is None else np.maximum(money, self.at_least)


@dataclass(frozen=True)
class ActionCosts:
    """Money lost by one action, by outcome."""

    legit: CostCell
    """If the event is legitimate."""
    fraud: CostCell
    """If the event is fraud."""


@dataclass(frozen=True)
class CostMatrix:
    """The money of every action on every outcome.

    Parameters
    ----------
    actions
        Names from the mildest to the harshest; ``allow`` is the one that is no alert.
    cells
        ``cells[a][o]`` for action ``a`` and outcome ``o`` (0 legitimate, 1 fraud).
    currency
        Word or sign printed with money.
    """

    JSON = ("currency", "actions as order", "by_action as actions")

    actions: tuple[str, ...]
    cells: tuple[tuple[CostCell, CostCell], ...]
    currency: str = "EUR"

    @property
    def by_action(self) -> dict[str, ActionCosts]:
        """Action -> its costs by outcome."""
        return {action: ActionCosts(*pair) for action, pair in zip(self.actions, self.cells, strict=True)}

    @property
    def pass_code(self) -> int:
        """Position of ``allow``, the action that is no alert."""
        return self.actions.index(ALLOW)

    @property
    def block_code(self) -> int:
        """Position of the harshest action (the last that is not ``allow``)."""
        return max(code for code in range(len(self.actions)) if code != self.pass_code)

    @property
    def columns(self) -> tuple[str, ...]:
        """Data columns that the costs are read from, each once."""
        names = (cell.column for pair in self.cells for cell in pair)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def needs_amount(self) -> bool:
        """Whether any cell has a rate."""
        return any(cell.rate != 0.0 for pair in self.cells for cell in pair)

    def code(self, action: str) -> int:
        """Return the position of an action.

        Raises
        ------
        ProjectError
            There is no such action.
        """
        if action not in self.actions:
            msg = f"no action {action!r} in the cost matrix; expected one of {', '.join(self.actions)}"
            raise ProjectError(msg)
        return self.actions.index(action)

    def per_event(self, frame: pl.DataFrame) -> FloatArray:
        """Return the money of each action on each outcome of each event.

        A null amount counts as 0 in the rate part (the fixed part stays); `null_amounts` counts such events. A null in
        a cost column has no such reading and is an error.

        Parameters
        ----------
        frame
            Events with ``amount`` (where a rate needs it) and the cost columns.

        Returns
        -------
        array of shape ``(n_events, n_actions, 2)``
            ``[..., 0]`` when the event is legitimate, ``[..., 1]`` when it is fraud. Money lost; negative is a gain.

        Raises
        ------
        DataError
            The amount is missing or null throughout, or a cost column is missing, not numeric or not finite.

        Examples
        --------
        >>> matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(15.0, 1.0)), (CostCell(8.0), CostCell())))
        >>> matrix.per_event(pl.DataFrame({"amount": [100.0]})).tolist()
        [[[0.0, 115.0], [8.0, 0.0]]]
        """
        amount = self._amount(frame)
        columns = {name: _cost_column(frame, name) for name in self.columns}
        table = np.empty((frame.height, len(self.actions), 2), dtype=np.float64)
        for code, pair in enumerate(self.cells):
            for outcome, cell in enumerate(pair):
                table[:, code, outcome] = cell.per_event(amount, columns, frame.height)
        return table

    def _amount(self, frame: pl.DataFrame) -> FloatArray | None:
        if not self.needs_amount:
            return None
        if "amount" not in frame.columns:
            msg = "costs with a rate need the amount of the event, and [data] declares no amount"
            raise DataError(msg, hint="add amount = ... to [data], or give these costs as fixed")
        series = frame["amount"].cast(pl.Float64)
        if frame.height > 0 and series.null_count() == frame.height:
            msg = f"the amount is null in all {frame.height} events, and costs with a rate need it"
            raise DataError(msg, hint="check [data] amount")
        values = series.fill_null(0.0).to_numpy()
        if not np.isfinite(values).all():
            msg = f"the amount is not finite in {int((~np.isfinite(values)).sum())} of {frame.height} events"
            raise DataError(msg)
        return np.asarray(values, dtype=np.float64)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> CostMatrix:
        """Read what `fraudctl.documents.results.as_json` wrote.

        Raises
        ------
        KeyError, ValueError
            The document is no cost matrix.
        """
        order = tuple(document["order"])
        costs = {name: from_json(ActionCosts, document["actions"][name], where=name) for name in order}
        cells = tuple((_inside(costs[name].legit), _inside(costs[name].fraud)) for name in order)
        return cls(order, cells, document["currency"])


def _inside(cell: CostCell) -> CostCell:
    return cell if cell.column is None else replace(cell, column=inside(cell.column))


def cost_matrix(costs: CostsSection) -> CostMatrix:
    """Turn ``[costs]`` of the project file into a matrix, actions in the order of the file."""
    cells = tuple((_cell(action.legit), _cell(action.fraud)) for action in _ordered(costs.actions).values())
    return CostMatrix(tuple(_ordered(costs.actions)), cells, costs.currency)


def _ordered(actions: dict[str, ActionSection]) -> dict[str, ActionSection]:
    """Put ``allow`` first and keep the order of the rest: from the mildest to the harshest."""
    return {ALLOW: actions[ALLOW], **actions}


def _cell(section: CostSection) -> CostCell:
    return CostCell(section.fixed, section.rate, section.column, section.at_least)


def _cost_column(frame: pl.DataFrame, name: str) -> FloatArray:
    if name not in frame.columns:
        msg = f"no column {shown(name)} in the data, which [costs] reads money from"
        raise DataError(msg)
    series = frame[name]
    if not series.dtype.is_numeric():
        msg = f"the cost column {shown(name)} is {series.dtype}; expected numbers"
        raise DataError(msg)
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    bad = int((~np.isfinite(values)).sum())
    if bad:
        msg = f"the cost column {shown(name)} is null or not finite in {bad} of {frame.height} events"
        raise DataError(msg, hint="a cost must be known for every event; fill or drop these rows")
    refuse_beyond(values, where=f"the cost column {shown(name)}")
    return np.asarray(values, dtype=np.float64)


def null_amounts(frame: pl.DataFrame, matrix: CostMatrix) -> int:
    """Count the events whose null amount was taken as 0 in a rate."""
    return int(frame["amount"].null_count()) if matrix.needs_amount and "amount" in frame.columns else 0


def taken_cost(cost_table: FloatArray, actions: npt.NDArray[Any], y_true: npt.NDArray[Any]) -> FloatArray:
    """Return the money of the action taken on the true outcome of each event.

    Parameters
    ----------
    cost_table
        Money, shape ``(n_events, n_actions, 2)``, from `CostMatrix.per_event`.
    actions
        Action codes, shape ``(n_events,)``.
    y_true
        1 fraud, 0 legitimate, shape ``(n_events,)``; no nulls.
    """
    rows = np.arange(len(cost_table))
    return np.asarray(cost_table[rows, actions.astype(np.int64), y_true.astype(np.int64)], dtype=np.float64)


def perfect_cost(cost_table: FloatArray, y_true: npt.NDArray[Any]) -> FloatArray:
    """Return the money of the cheapest action for the true outcome of each event: what a perfect model would cost."""
    known = np.take_along_axis(cost_table, y_true.astype(np.int64)[:, None, None], axis=2)[:, :, 0]
    return np.asarray(known.min(axis=1), dtype=np.float64)


def expected_cost(cost_table: FloatArray, y_prob: FloatArray) -> FloatArray:
    """Return the expected money of each action: ``p × cost if fraud + (1 - p) × cost if legitimate``.

    The conditional risk of Elkan, *The Foundations of Cost-Sensitive Learning* (IJCAI 2001), with costs of each event
    as in Bahnsen et al., *Cost Sensitive Credit Card Fraud Detection Using Bayes Minimum Risk* (ICMLA 2013).

    Returns
    -------
    array of shape ``(n_events, n_actions)``
    """
    p = y_prob[:, None]
    return np.asarray(p * cost_table[:, :, FRAUD] + (1.0 - p) * cost_table[:, :, LEGIT], dtype=np.float64)


def minimum_risk(cost_table: FloatArray, y_prob: FloatArray) -> CodeArray:
    """Return the action with the lowest expected cost for each event; of equals the mildest.

    Examples
    --------
    Catching costs 5, missing 1, a false positive 0.5: allowing is cheaper at every probability, and so it is chosen,
    where a ratio of cost differences would have flipped its sign.

    >>> table = np.array([[[0.0, 1.0], [0.5, 5.0]]])
    >>> minimum_risk(table, np.array([0.99])).tolist()
    [0]
    """
    return np.asarray(np.argmin(expected_cost(cost_table, y_prob), axis=1), dtype=np.int8)


BASE_RULE: Final = "cheapest constant action"
"""What savings are measured against. Figures that do not name it had the better of allowing and blocking all."""

OLD_BASE_RULE: Final = "better of allowing all and blocking all"
"""What savings were measured against in artefacts that name no base."""


@dataclass(frozen=True)
class ConstantAction:
    """One action for all events, as far as its capacity reaches; the other events get the mildest action.

    Attributes
    ----------
    action
        Name of the action.
    cost
        Money over all events, weights included.
    events
        Number of events.
    without_slot
        How many of them came when the capacity of the day or week was used up; 0 without a capacity.
    rest
        The mildest action, which those events get.
    """

    JSON = ("action", "cost", "events", "without_slot", "rest", "words")

    action: str
    cost: float
    events: int
    without_slot: int = 0
    rest: str = ALLOW

    @property
    def words(self) -> str:
        """Name the constant action: ``review all``, or with a capacity ``review 100 of 2,000, allow the rest``."""
        if self.without_slot == 0:
            return f"{self.action} all"
        return (
            f"{self.action} {self.events - self.without_slot:,} of {self.events:,} as they come, {self.rest} the rest"
        )


@dataclass(frozen=True)
class Baseline:
    """The cheapest constant action: what savings are measured against."""

    chosen: ConstantAction
    codes: CodeArray
    """Action that it gives to each event, as a position in the cost matrix, shape ``(n_events,)``."""
    per_event: FloatArray
    """Money of that action on each event, shape ``(n_events,)``."""
    constants: tuple[ConstantAction, ...]
    """Every constant action, from the mildest to the harshest."""

    @property
    def action(self) -> str:
        """Name of the cheapest constant action."""
        return self.chosen.action

    @property
    def cost(self) -> float:
        """Money of the cheapest constant action over all events."""
        return self.chosen.cost


def constant_codes(n_events: int, matrix: CostMatrix, *, reach: BoolArray | None = None) -> CodeArray:
    """Return what each constant action gives to each event.

    Parameters
    ----------
    n_events
        Number of events.
    matrix
        Its actions.
    reach
        Whether the constant action still has a free slot when the event comes, shape ``(n_events, n_actions)``;
        None where no action has a capacity.

    Returns
    -------
    array of shape ``(n_events, n_actions)``
        Column ``a`` holds ``a`` where its capacity reaches, else the code of the mildest action.
    """
    codes = np.tile(np.arange(len(matrix.actions), dtype=np.int8), (n_events, 1))
    return codes if reach is None else np.where(reach, codes, np.int8(matrix.pass_code))


def baseline(
    cost_table: FloatArray,
    y_true: npt.NDArray[Any],
    matrix: CostMatrix,
    *,
    weight: FloatArray | None = None,
    reach: BoolArray | None = None,
) -> Baseline:
    """Find the cheapest constant action; of equally cheap ones the mildest.

    Parameters
    ----------
    cost_table
        Money, shape ``(n_events, n_actions, 2)``, from `CostMatrix.per_event`.
    y_true
        1 fraud, 0 legitimate, shape ``(n_events,)``; no nulls.
    matrix
        Names of the actions.
    weight
        How many events each stands for; default 1.
    reach
        As in `constant_codes`.

    Examples
    --------
    A fraud costs 30 if allowed, a review 2, a block of a legitimate event 5. For one fraud and three legitimate
    events, allowing all costs 30, reviewing all 8 and blocking all 15:

    >>> cells = ((CostCell(), CostCell(30.0)), (CostCell(2.0), CostCell(2.0)), (CostCell(5.0), CostCell()))
    >>> matrix = CostMatrix(("allow", "review", "block"), cells)
    >>> table = matrix.per_event(pl.DataFrame({"x": range(4)}))
    >>> y_true = np.array([0, 1, 0, 0])
    >>> baseline(table, y_true, matrix).chosen.words
    'review all'

    With one slot for a review it reaches the first event only, and blocking all is cheaper than 2 + 30:

    >>> reach = np.array([[True, True, True], *[[True, False, True]] * 3])
    >>> found = baseline(table, y_true, matrix, reach=reach)
    >>> found.chosen.words, [(item.words, item.cost) for item in found.constants][1]
    ('block all', ('review 1 of 4 as they come, allow the rest', 32.0))
    """
    codes = constant_codes(len(y_true), matrix, reach=reach)
    money = [taken_cost(cost_table, column, y_true) for column in codes.T]
    totals = [float(np.sum(item if weight is None else weight * item)) for item in money]
    missed = np.zeros(len(matrix.actions), dtype=np.int64) if reach is None else (~reach).sum(axis=0)
    rest = matrix.actions[matrix.pass_code]
    constants = tuple(
        ConstantAction(action, total, len(y_true), int(count), rest)
        for action, total, count in zip(matrix.actions, totals, missed, strict=True)
    )
    best = int(np.argmin(totals))
    return Baseline(constants[best], np.ascontiguousarray(codes[:, best]), money[best], constants)
