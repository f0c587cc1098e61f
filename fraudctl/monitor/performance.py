"""Performance as labels arrive: what decisions were worth, cohort by cohort, as it was known at an instant.

Owns the figures of each week (or day): money lost and caught, precision, recall, savings, customers disturbed,
workload. Each figure that depends on outcomes is given twice: by the labels that had arrived, and as it will be once
all have, with a 90 % interval (`fraudctl.monitor.nowcast`). It reads no file and no clock: the same decisions, outcomes
and instant give the same bytes, whenever it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import ClassVar, Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.costs import cost_matrix
from fraudctl.monitor.cohort_days import CohortDays, Status, seen_any
from fraudctl.monitor.cohort_sums import CohortTally, base_sums
from fraudctl.monitor.decisions import COLUMNS
from fraudctl.monitor.judged_rows import JudgedTable
from fraudctl.monitor.nowcast import FINAL, Design, Nowcast, nowcast
from fraudctl.monitor.seen import CONSTANTS, COST, FRAUDS, LEGIT_COST, LOSS, Every, SeenEvents, see, see_parts, until
from fraudctl.project import Project
from fraudctl.text.figures import percent

INTERVAL: Final = (0.05, 0.95)
"""Quantiles of the ends of an interval: 90 %."""
MOST_GROUPS: Final = 6
"""Most groups of a column; the smaller ones stand together."""


@dataclass(frozen=True)
class LabelledFigure:
    """A figure that depends on outcomes."""

    known: float | None
    """By the labels that had arrived; null where it is undefined."""
    value: float | None
    """As expected once all labels have arrived; null where `reason` says why."""
    low: float | None
    """Low end of the 90 % interval."""
    high: float | None
    """High end of the 90 % interval."""
    reason: str | None = None
    """Why there is no value."""


@dataclass(frozen=True)
class OutcomeFigures:
    """Figures of a cohort or of several that depend on outcomes."""

    frauds: LabelledFigure
    """Frauds among events whose outcome can be seen."""
    fraud_rate: LabelledFigure
    """Frauds per event."""
    caught_loss: LabelledFigure
    """Money of flagged frauds: amounts, or what allowing would have cost where events have no amount."""
    missed_loss: LabelledFigure
    """Money of frauds that were allowed."""
    missed_bps: LabelledFigure
    """Missed fraud money per 10,000 of the money of all events."""
    precision: LabelledFigure
    """Share of flagged events that are fraud."""
    recall: LabelledFigure
    """Share of frauds that were flagged."""
    value_recall: LabelledFigure
    """Share of fraud money that was flagged."""
    false_positives: LabelledFigure
    """Flagged legitimate events."""
    false_positives_per_1000: LabelledFigure
    """Flagged legitimate events per 1,000 legitimate events."""
    false_positive_cost: LabelledFigure
    """Cost of the actions on flagged legitimate events."""
    cost: LabelledFigure
    """Cost of all actions on all outcomes."""
    savings: LabelledFigure
    """Share of the cost of `base_action` that was saved."""


@dataclass(frozen=True)
class ActionWork:
    """How often an action was taken, and how often it could be."""

    action: str
    """The action."""
    events: int
    """Events that got it."""
    share: float
    """Share of all events."""
    capacity: float | None
    """Places that the project file gives it in this time; null without a capacity."""
    days_full: int
    """Local days on which all places of the day were taken; 0 without a capacity a day."""


@dataclass(frozen=True)
class PerformanceCohort:
    """One local week or day."""

    JSON = (
        "first_day", "until_day", "complete", "status", "matured", "events", "volume", "flagged", "flag_rate", "work",
        "unlabelled", "models", "*outcomes",
    )  # fmt: skip

    first_day: date
    """Its first local day."""
    until_day: date
    """The first local day after it."""
    complete: bool
    """Whether it was over at the instant."""
    status: Status
    """`final` from 95 % matured; `open`; `hidden` below 15 % matured or before the cohort is over."""
    matured: float | None
    """Share of its frauds that is expected to be known."""
    events: int
    """Events decided."""
    volume: float | None
    """Money of all events; null where events have no amount."""
    flagged: int
    """Events with any action but `allow`."""
    flag_rate: float
    """Share of events that were flagged."""
    work: tuple[ActionWork, ...]
    """Actions but `allow`, from the mildest to the harshest."""
    unlabelled: int
    """Events older than the label delay without a label: they count in no figure of outcomes."""
    models: tuple[str, ...]
    """Models that decided, in the order in which they began."""
    outcomes: OutcomeFigures
    """What depends on outcomes."""


@dataclass(frozen=True)
class PerformanceGroup:
    """Events of one value of a column, over all cohorts that are final or open."""

    JSON = ("name", "events", "flag_rate", "*outcomes")

    name: str
    """The value; `all others` for the smaller groups, `no value` for null."""
    events: int
    """Events decided."""
    flag_rate: float
    """Share of events that were flagged."""
    outcomes: OutcomeFigures
    """What depends on outcomes."""


@dataclass(frozen=True)
class LabelDelays:
    """How long labels of frauds took, by what had arrived."""

    flagged_days: float | None
    """Days in which half of the flagged frauds were known; null without any."""
    allowed_days: float | None
    """Days in which half of the allowed frauds were known; null without any."""
    latest_stretch: float
    """How many times as long delays of the newest open cohorts are as those of the past."""
    slower: float
    """Probability that they are longer by more than a tenth: of flagged or of allowed frauds, whichever is more."""


@dataclass(frozen=True)
class Performance:
    """Performance of decisions as it was known at an instant.

    `final` and `all` sum over cohorts of the period, draw by draw: what is unknown of the rate and the delays of one
    cohort is unknown of its neighbours too.
    """

    SCHEMA_VERSION: ClassVar = 1

    as_of: datetime
    """Nothing later is known."""
    timezone: str
    """Zone of days and weeks."""
    currency: str
    """Of money."""
    every: Every
    """Length of a cohort."""
    label_delay_days: float
    """Age at which labels are taken as complete."""
    blocked: Literal["labels", "control group", "not observable", "none blocked"]
    """How outcomes of blocked events are known."""
    base_action: str
    """The constant action that savings are measured against: the cheapest over all final cohorts."""
    delays: LabelDelays
    """How long labels took."""
    cohorts: tuple[PerformanceCohort, ...]
    """Cohorts of the period, oldest first."""
    final: PerformanceGroup | None
    """All final cohorts together; null without one."""
    all: PerformanceGroup | None
    """All final and open cohorts together; null without one."""
    recent: PerformanceGroup | None
    """The final and open cohorts of the latest 28 days together; null without one."""
    by: str | None
    """Column that groups are of."""
    groups: tuple[PerformanceGroup, ...]
    """Groups of a column, the largest first."""


def performance(
    frame: pl.DataFrame,
    project: Project,
    as_of: datetime,
    *,
    period_days: int | None = None,
    by: str | None = None,
    every: Every | None = None,
    seed: int = 0,
) -> Performance:
    """Return performance as it was known at an instant.

    Parameters
    ----------
    frame
        Decisions with outcomes (`fraudctl.monitor.decisions.with_events`), in the order of time, with the columns that
        costs, weights and ``by`` need.
    as_of
        The instant; aware.
    period_days
        Days before it whose cohorts are shown; earlier ones still say how labels arrive. None shows all.
    by
        Column to group by.

    Raises
    ------
    DataError
        As `fraudctl.monitor.seen.see`.
    """
    return performance_of(judged_cohorts(frame, project, as_of, every=every, seed=seed), period_days=period_days, by=by)


@dataclass(frozen=True)
class JudgedCohorts:
    """Decisions up to an instant with what their cohorts will have been.

    Attributes
    ----------
    taken
        The decisions, in the order of time.
    seen
        The same as arrays.
    found
        Estimates of the cohorts.
    status
        What can be said of each cohort.
    base_action
        Position of the constant action that savings are measured against.
    added_up
        Sums that were asked for before.
    """

    project: Project
    as_of: datetime
    taken: JudgedTable
    seen: SeenEvents
    design: Design
    found: Nowcast
    calendar: CohortDays
    status: tuple[Status, ...]
    base_action: int
    added_up: dict[tuple[int, ...], FloatArray] = field(default_factory=dict, repr=False, compare=False)

    def shown(self, *, days: int | None = None) -> list[int]:
        """Return the cohorts that are final or open, all or those of the latest days."""
        first = 0 if days is None else self.calendar.first_of(days)
        return [
            number
            for number, status in enumerate(self.status)
            if status != "hidden" and number >= first and seen_any(self.seen, number)
        ]

    def base_sums(self, numbers: list[int]) -> FloatArray:
        """Return sums of `SeenEvents.base` over the events of some cohorts, allowed and flagged."""
        asked = tuple(numbers)
        if asked not in self.added_up:
            self.added_up[asked] = base_sums(self.seen, asked, columns=slice(None), apart=True)
        return self.added_up[asked]

    def matured(self, numbers: list[int]) -> float:
        """Return the share of the frauds of some cohorts that is known."""
        total = self.found.estimate[numbers][..., FRAUDS].sum(axis=1)
        share = self.found.matured[numbers]
        return float((share * total).sum() / total.sum()) if total.sum() > 0 else float(share.mean())


def judged_cohorts(
    decided: pl.DataFrame | JudgedTable, project: Project, as_of: datetime, *, every: Every | None = None, seed: int = 0
) -> JudgedCohorts:
    """Estimate all cohorts as they were known at an instant; see `performance`.

    Parameters
    ----------
    decided
        The decisions; as a table in parts, none of which is later, arrays of all of them lie where it says.
    """
    if isinstance(decided, pl.DataFrame):
        known = until(decided, as_of)
        taken, seen = JudgedTable.of(known), see(known, project, as_of, every=every)
    else:
        taken, apart = decided, [name for name in project.entities if name not in COLUMNS]
        needed = [name for name in apart if name not in _read_by_costs(project)]
        seen = see_parts(lambda: taken.parts(without=needed), project, as_of, arrays=taken.arrays, every=every)
    design = _design(seen, project, seed, n_strata=2)
    found = nowcast(seen.events, seen.values, design, arrays=seen.arrays)
    calendar = CohortDays(seen, as_of, project.data.timezone)
    status = tuple(calendar.status(number, found) for number in range(seen.n_cohorts))
    base_action = _base_action(seen, found, list(status))
    return JudgedCohorts(project, as_of, taken, seen, design, found, calendar, status, base_action)


def performance_of(judged: JudgedCohorts, *, period_days: int | None = None, by: str | None = None) -> Performance:
    """Return performance from estimated cohorts; see `performance`."""
    seen, found, calendar, status, project = judged.seen, judged.found, judged.calendar, judged.status, judged.project
    first = 0 if period_days is None else calendar.first_of(period_days)
    shown_ = [number for number in range(seen.n_cohorts) if number >= first and seen_any(seen, number)]
    judge = _CohortSums(seen, found, judged.base_action, CohortTally.of(seen))
    models = _models(judged.taken, seen)
    cohorts = tuple(_cohort(number, seen, found, calendar, judge, project, status[number], models) for number in shown_)
    open_ = [number for number in shown_ if status[number] != "hidden"]
    late = [number for number in open_ if number >= calendar.first_of(28)]
    return Performance(
        as_of=judged.as_of,
        timezone=project.data.timezone,
        currency=seen.matrix.currency,
        every=seen.every,
        label_delay_days=project.data.label_delay.seconds / 86_400,
        blocked=seen.blocked,
        base_action=seen.matrix.actions[judged.base_action],
        delays=_delays(found, open_),
        cohorts=cohorts,
        final=judge.group("final", [number for number in open_ if status[number] == "final"]),
        all=judge.group("all", open_),
        recent=judge.group("latest 28 days", late),
        by=by,
        groups=() if by is None else _groups(judged.taken.column(by), seen, judged.design, judged.base_action, open_),
    )


def _design(seen: SeenEvents, project: Project, seed: int, *, n_strata: int) -> Design:
    length = 7 * 86_400.0 if seen.every == "week" else 86_400.0
    delay = max(float(project.data.label_delay.seconds), 60.0)
    return Design(seen.n_cohorts, n_strata, delay, length, seed=seed, money=LOSS)


def _base_action(seen: SeenEvents, found: Nowcast, status: list[Status]) -> int:
    """Return the cheapest constant action over all final cohorts, or over all that are shown where none is final."""
    chosen = [n for n, item in enumerate(status) if item == "final"] or [
        n for n, item in enumerate(status) if item != "hidden"
    ]
    legit = base_sums(seen, chosen or range(seen.n_cohorts), columns=slice(2, None), apart=False)[0]
    numbers = chosen or list(range(seen.n_cohorts))
    fraud = found.estimate[numbers][:, :, CONSTANTS:].sum(axis=(0, 1))
    return int(np.argmin(legit + fraud))


def _share(top: FloatArray, bottom: FloatArray | float) -> FloatArray:
    """Return quotients, NaN where the divisor is not positive."""
    divisor = np.broadcast_to(np.asarray(bottom, dtype=np.float64), np.shape(top))
    out = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, divisor, out=out, where=divisor > 0), dtype=np.float64)


def figures_of(
    frauds: FloatArray, base: FloatArray, *, volume: float | None, base_action: int
) -> dict[str, FloatArray]:
    """Return each figure from sums.

    Parameters
    ----------
    frauds
        Sums of `SeenEvents.values` over frauds, shape ``(..., 2, n_values)``: allowed, then flagged.
    base
        Sums of `SeenEvents.base` over all events, shape ``(2, 2 + n_actions)``.
    volume
        Money of all events.
    base_action
        Position of the constant action that savings are measured against.
    """
    missed, caught = frauds[..., 0, LOSS], frauds[..., 1, LOSS]
    n_frauds = frauds[..., FRAUDS].sum(axis=-1)
    flagged, events = float(base[1, 0]), float(base[:, 0].sum())
    wrong = flagged - frauds[..., 1, FRAUDS]
    cost = base[:, 1].sum() + frauds[..., COST].sum(axis=-1)
    constant = base[:, 2 + base_action].sum() + frauds[..., CONSTANTS + base_action].sum(axis=-1)
    found = {
        "frauds": n_frauds,
        "fraud_rate": _share(n_frauds, events),
        "caught_loss": caught,
        "missed_loss": missed,
        "missed_bps": _share(1e4 * missed, volume or 0.0),
        "precision": _share(frauds[..., 1, FRAUDS], flagged),
        "recall": _share(frauds[..., 1, FRAUDS], n_frauds),
        "value_recall": _share(caught, missed + caught),
        "false_positives": wrong,
        "false_positives_per_1000": _share(1e3 * wrong, events - n_frauds),
        "false_positive_cost": base[1, 1] - frauds[..., 1, LEGIT_COST],
        "cost": cost,
        "savings": 1.0 - _share(cost, constant),
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}


NEEDS_BLOCKED: Final = frozenset(
    {
        "frauds", "fraud_rate", "caught_loss", "precision", "recall", "value_recall", "false_positives",
        "false_positives_per_1000", "false_positive_cost", "cost", "savings",
    }
)  # fmt: skip
"""Figures that cannot be known where outcomes of blocked events cannot be seen."""
NOT_OBSERVABLE: Final = "not observable: outcomes of blocked events are not seen, and there is no control group"
UNDEFINED: Final[Mapping[str, str]] = {
    "fraud_rate": "no event whose outcome can be seen",
    "missed_bps": "events have no amount",
    "precision": "no flagged event",
    "recall": "no fraud",
    "value_recall": "no fraud",
    "false_positives_per_1000": "no legitimate event",
    "savings": "the cheapest constant action costs nothing",
}
"""Why a figure is undefined."""


@dataclass(frozen=True)
class _CohortSums:
    """Turns sums into figures; strata may be those of several groups, two each."""

    seen: SeenEvents
    found: Nowcast
    base_action: int
    tally: CohortTally
    group_number: int = 0

    def outcomes(self, numbers: list[int], *, hidden: str | None = None) -> OutcomeFigures:
        """Return the figures of some cohorts together."""
        strata = [2 * self.group_number, 2 * self.group_number + 1]
        known = self.found.known[numbers][:, strata].sum(axis=0)
        value = self.found.estimate[numbers][:, strata].sum(axis=0)
        draws = self.found.draws[:, numbers][:, :, strata].sum(axis=1)
        base = self.tally.base[numbers][:, strata].sum(axis=0)
        money = self.tally.volume[numbers, self.group_number].sum()
        volume = None if self.seen.volume is None else float(money)
        now, then, drawn = (
            figures_of(item, base, volume=volume, base_action=self.base_action) for item in (known, value, draws)
        )
        unseen = NEEDS_BLOCKED if self.seen.blocked == "not observable" else frozenset()
        made = {
            name: _figure(name, now[name], then[name], drawn[name], NOT_OBSERVABLE if name in unseen else hidden)
            for name in then
        }
        return OutcomeFigures(**made)

    def group(self, name: str, numbers: list[int]) -> PerformanceGroup | None:
        """Return some cohorts together; None without any event."""
        events = int(self.tally.events[numbers, self.group_number].sum())
        if events == 0:
            return None
        flagged = float(self.tally.flagged[numbers, self.group_number].sum()) / events
        return PerformanceGroup(name, events, flagged, self.outcomes(numbers))


def _figure(name: str, known: FloatArray, value: FloatArray, draws: FloatArray, reason: str | None) -> LabelledFigure:
    if reason is not None:
        return LabelledFigure(None if reason == NOT_OBSERVABLE else _finite(known), None, None, None, reason)
    finite = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(finite):  # of a fraud that is hardly to be expected there is no recall
        return LabelledFigure(None, None, None, None, UNDEFINED.get(name, "undefined"))
    low = float(np.quantile(finite, INTERVAL[0], method="lower"))
    high = float(np.quantile(finite, INTERVAL[1], method="higher"))
    return LabelledFigure(_finite(known), float(value), min(low, float(value)), max(high, float(value)))


def _finite(value: FloatArray) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cohort(
    number: int,
    seen: SeenEvents,
    found: Nowcast,
    calendar: CohortDays,
    judge: _CohortSums,
    project: Project,
    status: Status,
    models: dict[int, tuple[str, ...]],
) -> PerformanceCohort:
    rows = slice(*np.searchsorted(seen.cohort, [number, number + 1]).tolist())  # in the order of time
    n_events = rows.stop - rows.start
    flagged = int((seen.codes[rows] != seen.matrix.pass_code).sum())
    matured = None if math.isnan(float(found.matured[number])) else float(found.matured[number])
    start = calendar.first_day(number)
    seen.arrays.let_go()
    return PerformanceCohort(
        first_day=start,
        until_day=start + timedelta(days=1 if seen.every == "day" else 7),
        complete=calendar.complete(number),
        status=status,
        matured=matured,
        events=n_events,
        volume=None if seen.volume is None else float(seen.volume[rows].sum()),
        flagged=flagged,
        flag_rate=flagged / n_events,
        work=_work(rows, seen, project),
        unlabelled=int(seen.unlabelled[rows].sum()),
        models=models.get(number, ()),
        outcomes=judge.outcomes([number], hidden=_hidden(calendar.complete(number), matured, status)),
    )


def _hidden(complete: bool, matured: float | None, status: Status) -> str | None:  # noqa: FBT001
    if status != "hidden":
        return None
    if not complete:
        return "not over yet"
    return "nothing is known" if matured is None else f"only {percent(matured)} matured"


def _work(rows: slice, seen: SeenEvents, project: Project) -> tuple[ActionWork, ...]:
    codes, day = seen.codes[rows], seen.day[rows]
    out = []
    for code, action in enumerate(seen.matrix.actions):
        if code == seen.matrix.pass_code:
            continue
        taken = codes == code
        limit = project.policy.capacity.get(action)
        places, full = None, 0
        if limit is not None and limit.per == "day":
            places = float(limit.limit * (1 if seen.every == "day" else 7))
            full = int((np.unique(day[taken], return_counts=True)[1] >= limit.limit).sum())
        elif limit is not None:
            places = float(limit.limit) / (7 if seen.every == "day" else 1)
        out.append(ActionWork(action, int(taken.sum()), float(taken.mean()), places, full))
    return tuple(out)


def _models(taken: JudgedTable, seen: SeenEvents) -> dict[int, tuple[str, ...]]:
    """Return the models that decided in each cohort, in the order in which they began."""
    found: dict[int, dict[str, None]] = {}
    start = 0
    for part in taken.read(["model"]):
        cohort = seen.cohort[start : start + part.height]
        start += part.height
        named = part.select(pl.Series("cohort", cohort), "model").drop_nulls("model")
        grouped = named.group_by("cohort", maintain_order=True).agg(pl.col("model").unique(maintain_order=True))
        for number, names in grouped.iter_rows():
            found.setdefault(int(number), {}).update(dict.fromkeys(names))
    seen.arrays.let_go()
    return {number: tuple(names) for number, names in found.items()}


def _read_by_costs(project: Project) -> set[str]:
    """Return the data columns that costs and weights are read from."""
    weight = project.data.weight
    return {*cost_matrix(project.costs).columns, *([] if weight is None else [weight])}


def _delays(found: Nowcast, open_: list[int]) -> LabelDelays:
    def half(number: int) -> float | None:
        curve = found.curves[number]
        if curve.n_outcomes == 0:
            return None
        place = int(np.searchsorted(curve.known, 0.5))
        return float(place * curve.horizon / (len(curve.known) - 1) / 86_400)

    latest = [number for number in open_ if found.matured[number] < FINAL][-4:]
    if not latest:
        return LabelDelays(half(1), half(0), 1.0, 0.0)
    slower, stretch = found.slower[latest].mean(axis=0), found.stretch[latest].mean(axis=0)
    most = int(np.argmax(slower))
    return LabelDelays(half(1), half(0), float(stretch[most]), float(slower[most]))


def _groups(
    values: pl.Series, seen: SeenEvents, design: Design, base_action: int, numbers: list[int]
) -> tuple[PerformanceGroup, ...]:
    """Return the largest groups of a column, and all others together."""
    text = values.cast(pl.String, strict=False).fill_null("no value")
    sizes = text.value_counts(sort=True, name="n").sort(["n", text.name], descending=[True, False])
    names = sizes[text.name].head(MOST_GROUPS - 1 if sizes.height > MOST_GROUPS else MOST_GROUPS).to_list()
    listed = [*names, "all others"] if sizes.height > len(names) else names
    codes = text.replace_strict(
        {name: code for code, name in enumerate(names)}, default=len(names), return_dtype=pl.Int64
    ).to_numpy()
    events = seen.regrouped(codes[seen.counted], len(listed))
    found = nowcast(events, seen.values, _regrouped(design, 2 * len(listed)), arrays=seen.arrays)
    tally = CohortTally.of(seen, codes, len(listed))
    judges = [_CohortSums(seen, found, base_action, tally, number) for number in range(len(listed))]
    made = [judge.group(name, numbers) for name, judge in zip(listed, judges, strict=True)]
    return tuple(item for item in made if item is not None)


def _regrouped(design: Design, n_strata: int) -> Design:
    return replace(design, n_strata=n_strata)
