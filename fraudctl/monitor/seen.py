"""Decisions as arrays, with what was known of their outcomes at one instant, and how much each outcome counts.

Owns which outcomes can be seen at all. An event that was blocked has none, unless labels of blocked events come in or a
control group was let through: then an event of the control group counts ``1 / exposure_prob`` times, and stands for
those that were blocked. An event whose outcome cannot be seen counts nothing in what depends on outcomes; it is never
taken for legitimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.costs import FRAUD, LEGIT, CostMatrix, constant_codes, cost_matrix
from fraudctl.data.labels import spells
from fraudctl.errors import DataError
from fraudctl.monitor.nowcast import CohortEvents
from fraudctl.policy.bids import local_period
from fraudctl.policy.constant import reach_of
from fraudctl.project import Project
from fraudctl.text.plain import shown
from fraudctl.weights import EXPOSURE_FLOOR

Blocked = Literal["labels", "control group", "not observable", "none blocked"]
"""How outcomes of blocked events are known."""
Every = Literal["week", "day"]

DAILY_FRAUDS: Final = 50.0
"""Frauds a day above which a day is a cohort of its own."""
AT_A_TIME: Final = 100_000
"""Events whose costs are worked out at a time."""
FRAUDS, LOSS, COST, LEGIT_COST, CONSTANTS = 0, 1, 2, 3, 4
"""Columns of `SeenEvents.values`; the constant actions follow from `CONSTANTS` on."""


@dataclass(frozen=True)
class SeenEvents:
    """Decisions up to an instant, in the order of time; arrays of shape ``(n_events,)`` where nothing else is said.

    Attributes
    ----------
    counted
        Events whose outcome counts: it can be seen, and is known or may become so.
    events
        What was known of these; strata are 0 (allowed) and 1 (flagged). Arrays of shape ``(n_counted,)``.
    values
        What each of these adds where it is fraud, shape ``(n_counted, n_values)``: 1, its money, the difference that
        fraud makes to the cost of its action, the cost of its action if legitimate, and that difference for each
        constant action; outcome weights are in it.
    base
        What each adds whatever it is, shape ``(n_counted, 2 + n_actions)``: 1, the cost of its action if legitimate,
        and the cost of each constant action if legitimate; with outcome weights.
    cohort
        Number of its cohort.
    volume
        Its money, 0 where negative or null; None where events have no amount.
    codes
        Action taken, as a position in ``matrix.actions``.
    day
        Number of its local day since 1970-01-01.
    first
        Number of the local week or day (`every`) of cohort 0.
    blocked
        How outcomes of blocked events are known.
    unlabelled
        Events older than the label delay without a label.
    matrix
        The costs.
    """

    counted: BoolArray
    events: CohortEvents
    values: FloatArray
    base: FloatArray
    cohort: IntArray
    volume: FloatArray | None
    codes: CodeArray
    day: IntArray
    every: Every
    first: int
    n_cohorts: int
    blocked: Blocked
    unlabelled: BoolArray
    matrix: CostMatrix

    def regrouped(self, group: IntArray, n_groups: int) -> CohortEvents:
        """Return the counted events with strata ``2 × group + flagged``; ``group`` has the shape ``(n_counted,)``."""
        if len(group) and not 0 <= int(group.max()) < n_groups:
            msg = f"groups must be in [0, {n_groups})"
            raise ValueError(msg)
        events = self.events
        return CohortEvents(
            events.cohort,
            2 * group + events.stratum,
            events.age,
            events.y_prob,
            events.known,
            events.fraud_after,
            events.cleared_after,
        )


def see(frame: pl.DataFrame, project: Project, as_of: datetime, *, every: Every | None = None) -> SeenEvents:
    """Return the arrays of decisions and of what was known at an instant.

    Parameters
    ----------
    frame
        Of `fraudctl.monitor.decisions.with_events`, with the cost columns and the weight column of the project.
    as_of
        Nothing later is known; events after it are left out.
    every
        Length of a cohort; by default days where there are over `DAILY_FRAUDS` frauds a day, else weeks.

    Raises
    ------
    DataError
        No event is that old, an action is not in ``[costs]``, or a cost cannot be read.
    """
    frame = until(frame, as_of)
    if frame.is_empty():
        msg = f"there is no decision on an event up to {as_of:%Y-%m-%d %H:%M} UTC"
        raise DataError(msg, hint="name a later --as-of")
    matrix = cost_matrix(project.costs)
    delay = timedelta(seconds=project.data.label_delay.seconds)
    outcome = _outcomes(frame, as_of, delay)
    taken = _codes(frame["action"], matrix)
    exposure = np.maximum(frame["exposure_prob"].fill_null(1.0).to_numpy(), EXPOSURE_FLOOR)
    control = frame["control_group"].fill_null(value=False).to_numpy() & (exposure < 1.0)
    codes = np.where(control & (taken == matrix.pass_code), np.int8(matrix.block_code), taken).astype(np.int8)
    blocked, unseen = _blocked(taken, control, outcome, matrix, delay)
    weight = np.ones(frame.height) if project.data.weight is None else _numbers(frame, project.data.weight)
    counts = np.where(unseen | outcome.unlabelled, 0.0, weight / exposure)
    zone = project.data.timezone
    day = local_period(frame["event_time"], "day", zone)
    length = every or _every(outcome, day)
    number = day if length == "day" else local_period(frame["event_time"], "week", zone)
    first = int(number.min())
    counted = counts > 0
    values, base = _money(frame, project, matrix, codes, counts)
    known = CohortEvents(
        number - first,
        (codes != matrix.pass_code).astype(np.int64),
        outcome.age,
        frame["y_prob"].to_numpy(),
        outcome.known.astype(np.int8),
        outcome.fraud_after,
        outcome.cleared_after,
    )
    amount = np.maximum(frame["amount"].fill_null(0.0).to_numpy(), 0.0) if frame["amount"].count() else None
    return SeenEvents(
        counted=counted,
        events=known if counted.all() else known.take(counted),
        values=values,
        base=base,
        cohort=number - first,
        volume=None if amount is None else weight * amount,
        codes=taken,
        day=day,
        every=length,
        first=first,
        n_cohorts=int(number.max()) - first + 1,
        blocked=blocked,
        unlabelled=outcome.unlabelled,
        matrix=matrix,
    )


def until(frame: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Return the decisions up to an instant; the frame itself where all are."""
    known = (frame["event_time"] <= as_of).fill_null(value=False)
    return frame if known.all() else frame.filter(known)


@dataclass(frozen=True)
class _Outcomes:
    """What was known at the instant, arrays of shape ``(n_events,)``; see `CohortEvents`."""

    age: FloatArray
    known: IntArray
    fraud_after: FloatArray
    cleared_after: FloatArray
    labelled: BoolArray
    """Whether any label was known, silence included."""
    unlabelled: BoolArray
    """Older than the label delay, and without any label."""


def _outcomes(frame: pl.DataFrame, as_of: datetime, delay: timedelta) -> _Outcomes:
    n_events = frame.height
    event_us = frame["event_time"].dt.epoch("us").to_numpy()
    age = (pl.Series([as_of]).dt.epoch("us").item() - event_us) / 1e6
    found = spells(frame).filter(pl.col("since") <= as_of)
    row = found["row"].to_numpy().astype(np.int64)
    label = found["label"].to_numpy()
    after = (found["since"].dt.epoch("us").to_numpy() - event_us[row]) / 1e6
    silent = (label == LEGIT) & (after == delay.total_seconds())
    known = np.full(n_events, -1, dtype=np.int64)
    known[row] = np.where(silent, -1, label)  # in the order of time: the last one stands
    fraud_after, cleared_after = np.full(n_events, np.nan), np.full(n_events, np.nan)
    fraud = label == FRAUD
    fraud_after[row[fraud][::-1]] = after[fraud][::-1]  # the first one stands
    cleared = (label == LEGIT) & ~silent
    cleared_after[row[cleared]] = after[cleared]
    labelled = np.zeros(n_events, dtype=np.bool_)
    labelled[row] = True
    old = age >= delay.total_seconds()
    return _Outcomes(np.asarray(age), known, fraud_after, cleared_after, labelled, old & ~labelled)


def _blocked(
    taken: CodeArray, control: BoolArray, outcome: _Outcomes, matrix: CostMatrix, delay: timedelta
) -> tuple[Blocked, BoolArray]:
    """Return how outcomes of blocked events are known, and the events whose outcome cannot be seen."""
    blocked = (taken == matrix.block_code) & ~control
    nothing = np.zeros(len(taken), dtype=np.bool_)
    if not blocked.any():
        return "none blocked", nothing
    old = blocked & (outcome.age >= delay.total_seconds())
    asked = old if old.any() else blocked
    if outcome.labelled[asked].mean() >= 0.5:
        return "labels", nothing
    return ("control group" if control.any() else "not observable"), blocked


def _every(outcome: _Outcomes, day: IntArray) -> Every:
    old = outcome.labelled & (outcome.known == 1)
    if not old.any():
        return "week"
    days = np.bincount(day[old] - int(day[old].min()))
    return "day" if float(np.median(days)) > DAILY_FRAUDS else "week"


def _codes(action: pl.Series, matrix: CostMatrix) -> CodeArray:
    unknown = sorted(set(action.unique()) - set(matrix.actions))
    if unknown:
        msg = f"actions {', '.join(unknown)} of decisions are not in [costs]; expected {', '.join(matrix.actions)}"
        raise DataError(msg, hint="costs may change after training, the names of the actions may not")
    positions = {name: code for code, name in enumerate(matrix.actions)}
    return action.replace_strict(positions, return_dtype=pl.Int8).to_numpy()


def _numbers(frame: pl.DataFrame, column: str) -> FloatArray:
    values = frame[column].cast(pl.Float64, strict=False).to_numpy()
    if not (np.isfinite(values) & (values > 0)).all():
        msg = f"the weight column {shown(column)} is null or not positive in some decisions"
        raise DataError(msg, hint="every event needs a weight; `fraudctl check` shows the column")
    return np.asarray(values, dtype=np.float64)


def _money(
    frame: pl.DataFrame,
    project: Project,
    matrix: CostMatrix,
    codes: CodeArray,
    counts: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return `SeenEvents.values` and `SeenEvents.base`, worked out for some events at a time."""
    known = frame["amount"].count() > 0
    table = frame.select("amount", *matrix.columns)
    table = table.with_columns(pl.col("amount").fill_null(0.0)) if known else table
    reach = reach_of(frame, project, matrix)
    n, n_actions = int((counts > 0).sum()), len(matrix.actions)
    values, base = np.empty((n, CONSTANTS + n_actions)), np.empty((n, 2 + n_actions))
    start = 0
    for first in range(0, frame.height, AT_A_TIME):
        rows = slice(first, first + AT_A_TIME)
        inside = counts[rows] > 0
        stop = start + int(inside.sum())
        try:
            part = _money_of(table[rows], matrix, codes[rows], None if reach is None else reach[rows], known=known)
        except DataError:
            matrix.per_event(frame)  # says it of all events
            raise
        values[start:stop] = (part[0] * counts[rows][:, None])[inside]
        base[start:stop] = (part[1] * counts[rows][:, None])[inside]
        start = stop
    return values, base


def _money_of(
    table: pl.DataFrame, matrix: CostMatrix, codes: CodeArray, reach: BoolArray | None, *, known: bool
) -> tuple[FloatArray, FloatArray]:
    """Return `SeenEvents.values` and `SeenEvents.base` of events that count once."""
    costs = matrix.per_event(table)
    rows = np.arange(table.height)
    money = np.maximum(table["amount"].to_numpy(), 0.0) if known else costs[:, matrix.pass_code, FRAUD]
    legit, fraud = costs[rows, codes, LEGIT], costs[rows, codes, FRAUD]
    constant = constant_codes(table.height, matrix, reach=reach)
    always = [(costs[rows, column, LEGIT], costs[rows, column, FRAUD]) for column in constant.T]
    ones = np.ones(table.height)
    values = [ones, money, fraud - legit, legit, *(b - a for a, b in always)]
    return np.column_stack(values), np.column_stack([ones, legit, *(a for a, _ in always)])
