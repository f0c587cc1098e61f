"""What each action costs on each event, in money.

Owns the cost matrix: fixed + rate × amount + column for every action and outcome, the baselines "allow all" and
"block all", and what a perfect model would cost. It compares risks and never divides costs by each other, so zero,
negative and near-zero costs, and refunds, need no special case. It decides nothing: that is `fraudctl.policy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.errors import DataError, ProjectError
from fraudctl.project.decisions import ALLOW, ActionSection, CostSection, CostsSection

LEGIT: Final = 0
FRAUD: Final = 1
OUTCOMES: Final = ("legit", "fraud")

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """Money lost by one action on one outcome: ``fixed + rate × amount + column``, never below ``at_least``."""

    fixed: float = 0.0
    rate: float = 0.0
    column: str | None = None
    at_least: float | None = None

    def per_event(self, amount: FloatArray | None, columns: dict[str, FloatArray], n_events: int) -> FloatArray:
        """Give the money for each event, shape ``(n_events,)``."""
        money = np.full(n_events, self.fixed, dtype=np.float64)
        if self.rate != 0.0 and amount is not None:
            money += self.rate * amount
        if self.column is not None:
            money += columns[self.column]
        return money if self.at_least is None else np.maximum(money, self.at_least)

    def to_dict(self) -> dict[str, Any]:
        """Give the cell as JSON; parts that are nothing are left out."""
        parts = {"fixed": self.fixed, "rate": self.rate, "column": self.column}
        floor = {} if self.at_least is None else {"at_least": self.at_least}
        return {key: value for key, value in parts.items() if value not in (0.0, None)} | floor


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

    actions: tuple[str, ...]
    cells: tuple[tuple[Cell, Cell], ...]
    currency: str = "EUR"

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
        """Give the position of an action.

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
        """Give the money of each action on each outcome of each event.

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
        >>> matrix = CostMatrix(("allow", "block"), ((Cell(), Cell(15.0, 1.0)), (Cell(8.0), Cell())))
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

    def to_dict(self) -> dict[str, Any]:
        """Give the matrix as JSON; ``order`` keeps which action is harsher where keys are sorted."""
        cells = {
            action: {name: pair[outcome].to_dict() for outcome, name in enumerate(OUTCOMES)}
            for action, pair in zip(self.actions, self.cells, strict=True)
        }
        return {"currency": self.currency, "order": list(self.actions), "actions": cells}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> CostMatrix:
        """Read what `to_dict` wrote."""
        order, actions = tuple(document["order"]), document["actions"]
        cells = tuple((Cell(**actions[name]["legit"]), Cell(**actions[name]["fraud"])) for name in order)
        return cls(order, cells, document["currency"])


def cost_matrix(costs: CostsSection) -> CostMatrix:
    """Turn ``[costs]`` of the project file into a matrix, actions in the order of the file."""
    cells = tuple((_cell(action.legit), _cell(action.fraud)) for action in _ordered(costs.actions).values())
    return CostMatrix(tuple(_ordered(costs.actions)), cells, costs.currency)


def _ordered(actions: dict[str, ActionSection]) -> dict[str, ActionSection]:
    """Put ``allow`` first and keep the order of the rest: from the mildest to the harshest."""
    return {ALLOW: actions[ALLOW], **actions}


def _cell(section: CostSection) -> Cell:
    return Cell(section.fixed, section.rate, section.column, section.at_least)


def _cost_column(frame: pl.DataFrame, name: str) -> FloatArray:
    if name not in frame.columns:
        msg = f"no column {name!r} in the data, which [costs] reads money from"
        raise DataError(msg)
    series = frame[name]
    if not series.dtype.is_numeric():
        msg = f"the cost column {name!r} is {series.dtype}; expected numbers"
        raise DataError(msg)
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    bad = int((~np.isfinite(values)).sum())
    if bad:
        msg = f"the cost column {name!r} is null or not finite in {bad} of {frame.height} events"
        raise DataError(msg, hint="a cost must be known for every event; fill or drop these rows")
    return np.asarray(values, dtype=np.float64)


def null_amounts(frame: pl.DataFrame, matrix: CostMatrix) -> int:
    """Count the events whose null amount was taken as 0 in a rate."""
    return int(frame["amount"].null_count()) if matrix.needs_amount and "amount" in frame.columns else 0


def taken_cost(cost_table: FloatArray, actions: npt.NDArray[Any], y_true: npt.NDArray[Any]) -> FloatArray:
    """Give the money of the action taken on the true outcome of each event.

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


def constant_cost(cost_table: FloatArray, code: int, y_true: npt.NDArray[Any]) -> FloatArray:
    """Give the money of one action for all, per event, shape ``(n_events,)``."""
    return taken_cost(cost_table, np.full(len(cost_table), code), y_true)


def perfect_cost(cost_table: FloatArray, y_true: npt.NDArray[Any]) -> FloatArray:
    """Give the money of the cheapest action for the true outcome of each event: what a perfect model would cost."""
    known = np.take_along_axis(cost_table, y_true.astype(np.int64)[:, None, None], axis=2)[:, :, 0]
    return np.asarray(known.min(axis=1), dtype=np.float64)


def expected_cost(cost_table: FloatArray, y_prob: FloatArray) -> FloatArray:
    """Give the expected money of each action: ``p × cost if fraud + (1 - p) × cost if legitimate``.

    The conditional risk of Elkan, *The Foundations of Cost-Sensitive Learning* (IJCAI 2001), with costs of each event
    as in Bahnsen et al., *Cost Sensitive Credit Card Fraud Detection Using Bayes Minimum Risk* (ICMLA 2013).

    Returns
    -------
    array of shape ``(n_events, n_actions)``
    """
    p = y_prob[:, None]
    return np.asarray(p * cost_table[:, :, FRAUD] + (1.0 - p) * cost_table[:, :, LEGIT], dtype=np.float64)


def minimum_risk(cost_table: FloatArray, y_prob: FloatArray) -> CodeArray:
    """Give the action with the lowest expected cost for each event; of equals the mildest.

    Examples
    --------
    Catching costs 5, missing 1, a false alarm 0.5: allowing is cheaper at every probability, and so it is chosen,
    where a ratio of cost differences would have flipped its sign.

    >>> table = np.array([[[0.0, 1.0], [0.5, 5.0]]])
    >>> minimum_risk(table, np.array([0.99])).tolist()
    [0]
    """
    return np.asarray(np.argmin(expected_cost(cost_table, y_prob), axis=1), dtype=np.int8)


@dataclass(frozen=True)
class Baseline:
    """The better of allowing all and blocking all: what one can do without a model."""

    action: str
    code: int
    per_event: FloatArray
    """Money of that action on each event, shape ``(n_events,)``."""
    allow_all: float
    block_all: float

    @property
    def cost(self) -> float:
        """The lower of the two totals."""
        return min(self.allow_all, self.block_all)


def baseline(
    cost_table: FloatArray, y_true: npt.NDArray[Any], matrix: CostMatrix, *, weight: FloatArray | None = None
) -> Baseline:
    """Find the better of allowing all and blocking all (the harshest action for all); of equals, allowing."""
    allow = constant_cost(cost_table, matrix.pass_code, y_true)
    block = constant_cost(cost_table, matrix.block_code, y_true)
    totals = [float(np.sum(item if weight is None else item * weight)) for item in (allow, block)]
    code, money = (matrix.pass_code, allow) if totals[0] <= totals[1] else (matrix.block_code, block)
    return Baseline(matrix.actions[code], code, money, totals[0], totals[1])
