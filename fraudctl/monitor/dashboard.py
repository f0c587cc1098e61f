"""The dashboard as a value: performance, limits and the light, marks, health, versions.

Owns the light: green, amber or red, and each reason for it. Limits are those of ``[monitor.harm]``, judged by
`fraudctl.monitor.harm`; none is built in. Nothing is read here, and no clock is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from fraudctl.monitor.harm import LimitVerdict, PromisedSavings, limit_verdicts
from fraudctl.monitor.performance import Performance, judged_cohorts, performance_of
from fraudctl.monitor.rhythm import WeekRhythm, rhythm
from fraudctl.monitor.seen import Every
from fraudctl.policy.bids import local_period
from fraudctl.project import Project

if TYPE_CHECKING:
    from fraudctl.registry import Entry

Light = Literal["green", "amber", "red", "none"]
HealthKind = Literal["labels slow", "labels missing", "decisions missing", "nothing final", "blocked unseen"]

SLOW: Final = 1.3
"""Delays this many times as long as those of the past are a reason for amber, where that is sure."""
SURE_SLOW: Final = 0.95
UNLABELLED: Final = 0.05
"""Share of old events without a label above which it is a reason for amber."""
SILENT: Final = timedelta(days=2)
"""Time without a decision after which it is a reason for amber."""
DAILY_UNTIL: Final = 200
"""Longest period in days that is shown by day; longer ones are shown by week."""


@dataclass(frozen=True)
class HealthFinding:
    """Something that weakens what the figures say."""

    kind: HealthKind
    """What was found."""
    value: float
    """How much: times as long, share of events, days, or events."""
    limit: float
    """What it is held against; 0 where there is nothing to hold it against."""


@dataclass(frozen=True)
class DashboardMark:
    """A mark in the charts."""

    kind: Literal["model", "incident", "holiday"]
    """What it marks."""
    name: str
    """Version of the model, or what the project file calls it."""
    start: date
    """Its first local day."""
    until: date
    """The first local day after it."""


@dataclass(frozen=True)
class DashboardAlarm:
    """An alarm of `fraudctl monitor`."""

    id: str
    """8 hex, as `fraudctl monitor ack` takes it."""
    tier: Literal["harm", "data", "drift"]
    """What kind of thing it is about."""
    what: str
    """What happened, in the words of the run."""
    first: date
    """Local day of the first run that showed it."""
    last: date
    """Local day of the latest run that showed it."""
    current: bool
    """Whether the latest run shows it."""
    noted: bool
    """Whether a person took note of it."""


@dataclass(frozen=True)
class DashboardModel:
    """A model that decided."""

    version: str
    """The model; `unknown` where decisions do not say."""
    first: datetime
    """Its first decision of the period."""
    last: datetime
    """Its last decision of the period."""
    events: int
    """Decisions of the period."""


@dataclass(frozen=True)
class DashboardEntry:
    """A line of the log of models."""

    at: str
    """When."""
    event: str
    """``train``, ``threshold``, ``gate``, ``promote`` or ``rollback``."""
    version: str
    """The model."""
    verdict: str | None
    """Of a gate; null for other lines."""
    reason: str
    """Why."""


@dataclass(frozen=True)
class MonitorRunAlarm:
    """An alarm of one run of `monitor`."""

    id: str
    tier: Literal["harm", "data", "drift"]
    what: str
    noted: bool


@dataclass(frozen=True)
class MonitorRun:
    """One run of `monitor`: the instant that it looked at, and its alarms."""

    as_of: datetime
    alarms: tuple[MonitorRunAlarm, ...]


@dataclass(frozen=True)
class Dashboard:
    """Everything that the dashboard shows."""

    SCHEMA_VERSION: ClassVar = 1

    JSON = (
        "project", "light", "limits", "health", "monitored", "alarms", "performance", "rhythms", "marks", "models",
        "log", "n_repeated",
    )  # fmt: skip

    project: str
    """Name of the project."""
    light: Light
    """The worst of all reasons; `none` where no limit is set and nothing else is found."""
    limits: tuple[LimitVerdict, ...]
    """Each limit of the project file."""
    health: tuple[HealthFinding, ...]
    """What weakens the figures."""
    monitored: date | None
    """Local day of the latest run of `fraudctl monitor`; null without one."""
    alarms: tuple[DashboardAlarm, ...]
    """Alarms of its runs in the period, those of the latest run first."""
    performance: Performance
    """Performance by week or day."""
    rhythms: tuple[WeekRhythm, ...]
    """Weekdays and trend of events, flagged events and money."""
    marks: tuple[DashboardMark, ...]
    """Model changes, incidents and holidays of the period."""
    models: tuple[DashboardModel, ...]
    """Models that decided in the period."""
    log: tuple[DashboardEntry, ...]
    """What the log of models says, newest first."""
    n_repeated: int
    """Decisions that were left out because an earlier one was of the same event."""


def dashboard(
    frame: pl.DataFrame,
    project: Project,
    as_of: datetime,
    *,
    period_days: int = 182,
    by: str | None = None,
    entries: Sequence[Entry] = (),
    runs: Sequence[MonitorRun] = (),
    n_repeated: int = 0,
    promised: PromisedSavings | None = None,
) -> Dashboard:
    """Return the dashboard as of an instant.

    Parameters
    ----------
    frame
        As for `fraudctl.monitor.performance.performance`.
    as_of
        The instant; aware.
    period_days
        Days before it that are shown.
    by
        Column to group by.
    entries
        The log of models.
    runs
        Runs of `monitor`, oldest first; those after ``as_of`` are left out.
    promised
        Savings at the promotion of the model that took the latest decision.

    Raises
    ------
    DataError
        As `fraudctl.monitor.performance.performance`.
    """
    every: Every | None = "week" if period_days > DAILY_UNTIL else None
    judged = judged_cohorts(frame, project, as_of, every=every)
    found = performance_of(judged, period_days=period_days, by=by)
    first, until = found.cohorts[0].first_day, found.cohorts[-1].until_day
    zone = project.data.timezone
    shown = frame.filter(pl.col("event_time") <= as_of).with_columns(
        pl.col("event_time").dt.convert_time_zone(zone).dt.date().alias("day")
    )
    shown = shown.filter(pl.col("day") >= first)
    limits = limit_verdicts(judged, found, project, promised=promised)
    health = tuple(_health(found, shown["event_time"].max(), as_of))
    seen = [run for run in runs if run.as_of <= as_of]
    alarms = _alarms(seen, first, ZoneInfo(zone))
    return Dashboard(
        project=project.project.name,
        light=_light(limits, health, alarms),
        limits=limits,
        health=health,
        monitored=seen[-1].as_of.astimezone(ZoneInfo(zone)).date() if seen else None,
        alarms=alarms,
        performance=found,
        rhythms=_rhythms(shown, zone, as_of),
        marks=tuple(_marks(shown, project, first, until)),
        models=_models(shown),
        log=tuple(
            DashboardEntry(item.at, item.event, item.version, item.verdict, item.reason) for item in reversed(entries)
        )[:20],
        n_repeated=n_repeated,
    )


def _health(found: Performance, last: object, as_of: datetime) -> list[HealthFinding]:
    out = []
    if isinstance(last, datetime) and as_of - last > SILENT:
        out.append(HealthFinding("decisions missing", (as_of - last) / timedelta(days=1), SILENT / timedelta(days=1)))
    if found.delays.latest_stretch > SLOW and found.delays.slower > SURE_SLOW:
        out.append(HealthFinding("labels slow", found.delays.latest_stretch, SLOW))
    events = sum(cohort.events for cohort in found.cohorts)
    unlabelled = sum(cohort.unlabelled for cohort in found.cohorts) / events
    if found.blocked == "not observable":
        blocked = sum(item.events for cohort in found.cohorts for item in cohort.work[-1:])
        out.append(HealthFinding("blocked unseen", blocked, 0.0))
    elif unlabelled > UNLABELLED:
        out.append(HealthFinding("labels missing", unlabelled, UNLABELLED))
    if found.final is None:
        out.append(HealthFinding("nothing final", 0.0, 0.0))
    return out


def _alarms(runs: Sequence[MonitorRun], first: date, zone: ZoneInfo) -> tuple[DashboardAlarm, ...]:
    """Return each alarm once, with the runs that showed it; those of the latest run first, then the newest."""
    found: dict[str, DashboardAlarm] = {}
    for number, run in enumerate(runs):
        day = run.as_of.astimezone(zone).date()
        for item in run.alarms:
            before = found.get(item.id)
            began = day if before is None else before.first
            current = number == len(runs) - 1
            found[item.id] = DashboardAlarm(item.id, item.tier, item.what, began, day, current, item.noted)
    kept = [item for item in found.values() if item.last >= first]
    return tuple(sorted(kept, key=lambda item: (not item.current, -item.last.toordinal(), item.id)))


def _light(
    limits: Sequence[LimitVerdict], health: Sequence[HealthFinding], alarms: Sequence[DashboardAlarm] = ()
) -> Light:
    states = {item.state for item in limits}
    tiers = {item.tier for item in alarms if item.current and not item.noted}
    if "broken" in states or tiers & {"harm", "data"}:
        return "red"
    if health or tiers or states & {"open", "unknown"}:
        return "amber"
    return "green" if limits else "none"


def _rhythms(shown: pl.DataFrame, zone: str, as_of: datetime) -> tuple[WeekRhythm, ...]:
    """Return rhythms of whole days: the unfinished last one is left out."""
    now = as_of.astimezone(ZoneInfo(zone))
    over = (now + timedelta(minutes=15)).date() > now.date()  # the last minutes of a day make it a whole one
    whole = shown if over else shown.filter(pl.col("day") < now.date())
    if whole.is_empty():
        return ()
    day = local_period(whole["event_time"], "day", zone)
    first, n_days = int(day.min()), int(day.max()) - int(day.min()) + 1
    flagged = (whole["action"] != "allow").to_numpy()
    series = {"events": np.ones(whole.height), "flagged events": flagged.astype(np.float64)}
    if whole["amount"].count():
        series["money of events"] = np.maximum(whole["amount"].fill_null(0.0).to_numpy(), 0.0)
    days = np.arange(first, first + n_days)
    return tuple(
        rhythm(name, days, np.bincount(day - first, weights=value, minlength=n_days).astype(np.float64))
        for name, value in series.items()
    )


def _marks(shown: pl.DataFrame, project: Project, first: date, until: date) -> list[DashboardMark]:
    day = timedelta(days=1)
    begins = shown.drop_nulls("model").group_by("model").agg(pl.col("day").min()).sort("day", "model")
    out = [
        DashboardMark("model", str(model), at, at + day) for model, at in begins.iter_rows() if at > shown["day"].min()
    ]
    calendar = project.monitor
    out += [
        DashboardMark("incident", item.name, item.start, item.until or item.start + day) for item in calendar.incidents
    ]
    out += [DashboardMark("holiday", item.name, item.day, item.day + day) for item in calendar.holidays]
    return sorted((mark for mark in out if mark.until > first and mark.start < until), key=lambda mark: mark.start)


def _models(shown: pl.DataFrame) -> tuple[DashboardModel, ...]:
    spans = shown.group_by(pl.col("model").fill_null("unknown")).agg(
        pl.col("event_time").min().alias("first"), pl.col("event_time").max().alias("last"), pl.len()
    )
    return tuple(DashboardModel(*row) for row in spans.sort("first", "model").iter_rows())
