"""Decisions as arrays, with what was known of their outcomes at one instant, and how much each outcome counts.

Owns which outcomes can be seen at all. An event that was blocked has none, unless labels of blocked events come in or a
control group was let through: then an event of the control group counts ``1 / exposure_prob`` times, and stands for
those that were blocked. An event whose outcome cannot be seen counts nothing in what depends on outcomes; it is never
taken for legitimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.costs import FRAUD, LEGIT, CostMatrix, constant_codes, cost_matrix
from fraudctl.data.labels import spells
from fraudctl.errors import DataError
from fraudctl.monitor.cohort_source import CohortEvents
from fraudctl.monitor.row_arrays import RowArrays
from fraudctl.policy.bids import local_period
from fraudctl.policy.constant import PeriodOrder, reach_of
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
_LENGTHS: Final[tuple[Every, ...]] = ("week", "day")
_ROWS: Final[Mapping[str, type[np.generic]]] = {
    "counted": np.bool_, "cohort": np.int64, "codes": np.int8, "day": np.int64, "volume": np.float64,
    "unlabelled": np.bool_,
}  # fmt: skip
_EVENTS: Final[Mapping[str, type[np.generic]]] = {
    "cohort": np.int64, "stratum": np.int64, "age": np.float64, "y_prob": np.float64, "known": np.int8,
    "fraud_after": np.float64, "cleared_after": np.float64,
}  # fmt: skip


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
    arrays
        Made the arrays, and lets their memory go.
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
    arrays: RowArrays = field(default_factory=RowArrays, repr=False)

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
    look = _Look(project, as_of)
    part = look.part(until(frame, as_of))
    return _seen(look, lambda: iter([part]), RowArrays(), every)


def see_parts(
    parts: Callable[[], Iterable[pl.DataFrame]],
    project: Project,
    as_of: datetime,
    *,
    arrays: RowArrays,
    every: Every | None = None,
) -> SeenEvents:
    """Do what `see` does for decisions that come in parts, each after the one before it, with arrays in files.

    Parameters
    ----------
    parts
        Gives the parts of the table; it is called more than once.
    """
    look = _Look(project, as_of)
    return _seen(look, lambda: (look.part(until(part, as_of)) for part in parts()), arrays, every)


def _seen(look: _Look, parts: Callable[[], Iterator[_Part]], arrays: RowArrays, every: Every | None) -> SeenEvents:
    totals = _Totals(look.matrix)
    for part in parts():
        totals.add(part)
    totals.refuse(look.as_of)
    filled = _Filled(look, totals, every or totals.every, arrays)
    for part in parts():
        try:
            filled.add(part)
        except DataError:
            names = ["amount", *look.matrix.columns]
            look.matrix.per_event(pl.concat([each.frame.select(names) for each in parts()]))  # says it of all events
            raise
        arrays.let_go()
    return filled.whole()


def until(frame: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Return the decisions up to an instant; the frame itself where all are."""
    known = (frame["event_time"] <= as_of).fill_null(value=False)
    return frame if known.all() else frame.filter(known)


@dataclass(frozen=True)
class _Look:
    """With what decisions are looked at."""

    project: Project
    as_of: datetime

    @cached_property
    def matrix(self) -> CostMatrix:
        """The costs."""
        return cost_matrix(self.project.costs)

    def part(self, frame: pl.DataFrame) -> _Part:
        """Return some of the decisions."""
        return _Part(frame, self)


@dataclass(frozen=True)
class _Part:
    """Some decisions next to each other; arrays of shape ``(n_events,)``."""

    frame: pl.DataFrame
    look: _Look

    @property
    def delay(self) -> timedelta:
        """The label delay."""
        return timedelta(seconds=self.look.project.data.label_delay.seconds)

    @cached_property
    def outcome(self) -> _Outcomes:
        """What was known of them."""
        return _outcomes(self.frame, self.look.as_of, self.delay)

    @cached_property
    def taken(self) -> CodeArray:
        """Action taken, as a position among the actions."""
        return _codes(self.frame["action"], self.look.matrix)

    @cached_property
    def exposure(self) -> FloatArray:
        """Probability with which each was let through."""
        exposure = np.maximum(self.frame["exposure_prob"].fill_null(1.0).to_numpy(), EXPOSURE_FLOOR)
        return np.asarray(exposure, dtype=np.float64)

    @cached_property
    def control(self) -> BoolArray:
        """Whether each is of the control group."""
        control = self.frame["control_group"].fill_null(value=False).to_numpy() & (self.exposure < 1.0)
        return np.asarray(control, dtype=np.bool_)

    @property
    def blocked(self) -> BoolArray:
        """Whether each was blocked."""
        return np.asarray((self.taken == self.look.matrix.block_code) & ~self.control, dtype=np.bool_)

    @cached_property
    def weight(self) -> FloatArray:
        """The weight of each."""
        weight = self.look.project.data.weight
        return np.ones(self.frame.height) if weight is None else _numbers(self.frame, weight)

    @cached_property
    def day(self) -> IntArray:
        """Number of its local day."""
        return local_period(self.frame["event_time"], "day", self.look.project.data.timezone)

    def number(self, every: Every) -> IntArray:
        """Return the number of its local week or day."""
        if every == "day":
            return self.day
        return local_period(self.frame["event_time"], "week", self.look.project.data.timezone)


@dataclass
class _Totals:
    """What is said of all decisions together."""

    matrix: CostMatrix
    n: int = 0
    n_amounts: int = 0
    control: bool = False
    blocked: Counter[str] = field(default_factory=Counter)
    frauds: Counter[int] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)
    ends: dict[Every, tuple[int, int]] = field(default_factory=dict)

    def add(self, part: _Part) -> None:
        """Take in some decisions."""
        if part.frame.is_empty():
            return
        self.n += part.frame.height
        self.n_amounts += part.frame["amount"].count()
        unknown = set(part.frame["action"].unique().cast(pl.String)) - set(self.matrix.actions)
        self.unknown |= unknown
        if unknown:
            return
        self.control = self.control or bool(part.control.any())
        labelled, blocked = part.outcome.labelled, part.blocked
        old = blocked & (part.outcome.age >= part.delay.total_seconds())
        counted = {"all": blocked, "all labelled": blocked & labelled, "old": old, "old labelled": old & labelled}
        self.blocked.update({name: int(rows.sum()) for name, rows in counted.items()})
        days, n = np.unique(part.day[labelled & (part.outcome.known == 1)], return_counts=True)
        self.frauds.update(dict(zip(days.tolist(), n.tolist(), strict=True)))
        for every in _LENGTHS:
            number = part.number(every)
            first, last = self.ends.get(every, (int(number[0]), int(number[0])))
            self.ends[every] = min(first, int(number.min())), max(last, int(number.max()))

    def refuse(self, as_of: datetime) -> None:
        """Refuse decisions of which none is old enough, or whose actions are not known."""
        if not self.n:
            msg = f"there is no decision on an event up to {as_of:%Y-%m-%d %H:%M} UTC"
            raise DataError(msg, hint="name a later --as-of")
        if self.unknown:
            names, expected = ", ".join(sorted(self.unknown)), ", ".join(self.matrix.actions)
            msg = f"actions {names} of decisions are not in [costs]; expected {expected}"
            raise DataError(msg, hint="costs may change after training, the names of the actions may not")

    @property
    def how_blocked(self) -> Blocked:
        """How outcomes of blocked events are known."""
        if not self.blocked["all"]:
            return "none blocked"
        asked = "old" if self.blocked["old"] else "all"
        if self.blocked[f"{asked} labelled"] / self.blocked[asked] >= 0.5:
            return "labels"
        return "control group" if self.control else "not observable"

    @property
    def every(self) -> Every:
        """Length of a cohort where none is asked for."""
        if not self.frauds:
            return "week"
        days = [self.frauds[day] for day in range(min(self.frauds), max(self.frauds) + 1)]
        return "day" if float(np.median(days)) > DAILY_FRAUDS else "week"


class _Filled:
    """Arrays of decisions, filled part by part."""

    def __init__(self, look: _Look, totals: _Totals, every: Every, arrays: RowArrays) -> None:
        n, n_actions = totals.n, len(look.matrix.actions)
        self.look, self.totals, self.every, self.arrays = look, totals, every, arrays
        self.known = totals.n_amounts > 0
        self.rows = {name: arrays.empty((n,), kind) for name, kind in _ROWS.items()}
        self.events = {name: arrays.empty((n,), kind) for name, kind in _EVENTS.items()}
        self.values = arrays.empty((n, CONSTANTS + n_actions), np.float64)
        self.base = arrays.empty((n, 2 + n_actions), np.float64)
        self.n, self.n_counted = 0, 0
        self.periods = PeriodOrder(look.project)

    def add(self, part: _Part) -> None:
        """Fill in some decisions."""
        if part.frame.is_empty():
            return
        rows = slice(self.n, self.n + part.frame.height)
        counts = self._counts(part)
        counted, first = counts > 0, self.totals.ends[self.every][0]
        cohort = part.number(self.every) - first
        own = {"counted": counted, "cohort": cohort, "codes": part.taken, "day": part.day}
        amount = np.maximum(part.frame["amount"].fill_null(0.0).to_numpy(), 0.0)
        own |= {"volume": part.weight * amount, "unlabelled": part.outcome.unlabelled}
        for name, values in own.items():
            self.rows[name][rows] = values
        self._add_counted(part, cohort, counts, counted)
        self.n = rows.stop

    def _counts(self, part: _Part) -> FloatArray:
        """Return how many times the outcome of each counts."""
        unseen = self.totals.how_blocked in ("control group", "not observable")
        hidden = part.outcome.unlabelled | (part.blocked if unseen else False)
        return np.where(hidden, 0.0, part.weight / part.exposure)

    def _add_counted(self, part: _Part, cohort: IntArray, counts: FloatArray, counted: BoolArray) -> None:
        """Fill in those whose outcome counts."""
        matrix, outcome = self.look.matrix, part.outcome
        passed = part.control & (part.taken == matrix.pass_code)
        codes = np.where(passed, np.int8(matrix.block_code), part.taken).astype(np.int8)
        rows = slice(self.n_counted, self.n_counted + int(counted.sum()))
        own = {
            "cohort": cohort, "stratum": codes != matrix.pass_code, "age": outcome.age,
            "y_prob": part.frame["y_prob"].to_numpy(), "known": outcome.known, "fraud_after": outcome.fraud_after,
            "cleared_after": outcome.cleared_after,
        }  # fmt: skip
        for name, values in own.items():
            self.events[name][rows] = values[counted]
        frame = self.periods.ordered(part.frame)
        reach = reach_of(frame, self.look.project, matrix)
        table = part.frame.select("amount", *matrix.columns)
        table = table.with_columns(pl.col("amount").fill_null(0.0)) if self.known else table
        start = rows.start
        for first in range(0, table.height, AT_A_TIME):
            some = slice(first, first + AT_A_TIME)
            inside = counted[some]
            stop = start + int(inside.sum())
            made = _money_of(table[some], matrix, codes[some], None if reach is None else reach[some], known=self.known)
            for whole, values in zip((self.values, self.base), made, strict=True):
                whole[start:stop] = (values * counts[some][:, None])[inside]
            start = stop
        self.n_counted = rows.stop

    def whole(self) -> SeenEvents:
        """Return what was filled in."""
        first, last = self.totals.ends[self.every]
        events = CohortEvents(**{name: values[: self.n_counted] for name, values in self.events.items()})
        rows = {name: values for name, values in self.rows.items() if name != "volume"}
        return SeenEvents(
            **rows,
            events=events,
            values=self.values[: self.n_counted],
            base=self.base[: self.n_counted],
            volume=self.rows["volume"] if self.known else None,
            every=self.every,
            first=first,
            n_cohorts=last - first + 1,
            blocked=self.totals.how_blocked,
            matrix=self.look.matrix,
            arrays=self.arrays,
        )


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


def _codes(action: pl.Series, matrix: CostMatrix) -> CodeArray:
    positions = {name: code for code, name in enumerate(matrix.actions)}
    texts = action.cast(pl.String)  # an enumeration may lack an action that was never taken
    return texts.replace_strict(positions, return_dtype=pl.Int8).to_numpy()


def _numbers(frame: pl.DataFrame, column: str) -> FloatArray:
    values = frame[column].cast(pl.Float64, strict=False).to_numpy()
    if not (np.isfinite(values) & (values > 0)).all():
        msg = f"the weight column {shown(column)} is null or not positive in some decisions"
        raise DataError(msg, hint="every event needs a weight; `fraudctl check` shows the column")
    return np.asarray(values, dtype=np.float64)


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
