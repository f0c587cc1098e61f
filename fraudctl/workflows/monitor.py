"""``monitor``: decisions that were taken against what ordinary days were, and against the limits of harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fraudctl.errors import BundleError, DataError, ProjectError, UsageError
from fraudctl.monitor.outcome import AlarmNote, MonitorAlarm, MonitorResult, limit_words, shift_words, verdict_of
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.project.monitor import LEAST_DAYS
from fraudctl.text.figures import count, listed, number
from fraudctl.workflows.evidence import promised_savings
from fraudctl.workflows.label_feed import feed_alarms
from fraudctl.workflows.monitor_log import HELD, AlarmRecord, notes_of, record_run
from fraudctl.workflows.parity import alarm_of_parity, check_parity
from fraudctl.workflows.watched import Judged, Watching, score_causes, watching

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.monitor.decisions import LoggedDecisions
    from fraudctl.monitor.harm import LimitVerdict

STATE: Final = "state"
"""Folder of the project where decisions are looked for by default."""
EXPLAINED: Final = 3
"""Alarms whose causes are computed."""


def monitor_model(
    project: Project,
    decisions: Sequence[str | Path] = (),
    *,
    model: str | None = None,
    as_of: datetime | date | None = None,
    fail_on_drift: bool = False,
    parity: int | None = None,
    record: bool = True,
    progress: Progress | None = None,
) -> MonitorResult:
    """Watch a model after its training.

    Parameters
    ----------
    decisions
        The folder of a state, or Parquet files of decisions; by default the folder ``state`` of the project.
    model
        A version, a path, ``latest`` or ``champion``; by default the model of the latest decision.
    as_of
        Nothing later is known; a day without a time means its end. By default the latest event of data and decisions.
    fail_on_drift
        Whether drift too is a reason to act.
    parity
        Decisions that are recomputed from the raw data and compared with what was logged.
    record
        Whether the run is added to ``monitor/runs.jsonl``.

    Raises
    ------
    UsageError
        ``parity`` is not positive.
    ProjectError
        The reference overlaps a known incident.
    DataError
        There are no decisions of the model, or they or their outcomes cannot be read.
    BundleError
        The bundle or the log of runs is damaged.
    """
    if parity is not None and parity < 1:
        msg = f"--parity {parity}: expected a number of decisions, at least 1"
        raise UsageError(msg)
    progress = progress or Silent()
    run = _open(project, decisions, model, as_of, progress)
    result = run.judge(fail_on_drift=fail_on_drift, parity=parity)
    if record:
        record_run(project, result)
    return result


@dataclass(frozen=True)
class _Run:
    """Everything that a run looks at.

    Attributes
    ----------
    logged
        Decisions of all models up to as_of, with outcomes.
    mine
        Those of the watched model.
    feed
        Alarms on the labels.
    """

    project: Project
    bundle: Bundle
    logged: LoggedDecisions
    mine: LoggedDecisions
    as_of: datetime
    notes: tuple[AlarmRecord, ...]
    feed: tuple[MonitorAlarm, ...]
    progress: Progress

    def judge(self, *, fail_on_drift: bool, parity: int | None) -> MonitorResult:
        """Judge harm, data and drift."""
        watched = self._watch()
        judged = watched.judge(self._accepted())
        limits = self._limits()
        recomputed = None if parity is None else check_parity(watched, self._with_values(), parity)
        found = [*self._harm(limits), *self._blind(), *self.feed, *watched.unreadable, *self._shifts(watched, judged)]
        if recomputed is not None and recomputed.differing:
            found.append(alarm_of_parity(recomputed, self.bundle.version))
        alarms = self._in_order(found)
        something = judged.n_days > 0 or any(item.state != "unknown" for item in limits) or recomputed is not None
        verdict, reason, code = verdict_of(alarms, judged=something, fail_on_drift=fail_on_drift)
        return MonitorResult(
            project=self.project.project.name,
            verdict=verdict,
            reason=reason,
            exit_code=int(code),
            fail_on_drift=fail_on_drift,
            as_of=self.as_of,
            model=self.bundle.version,
            timezone=self.project.data.timezone,
            currency=self.project.costs.currency,
            decisions=self.mine.frame.height,
            last_decision=self.mine.frame["event_time"][-1],
            first_day=judged.first_day,
            last_day=judged.last_day,
            reference_days=judged.reference_days,
            series=judged.n_series,
            threshold=judged.threshold,
            false_alarms=self.project.monitor.false_alarms,
            alarms=alarms,
            minor=tuple(group for group in judged.groups if not group.counts),
            limits=limits,
            parity=recomputed,
            left_out=watched.left_out,
            notes=(*self._own_notes(), *watched.notes, *judged.notes),
        )

    def _in_order(self, found: Sequence[MonitorAlarm]) -> tuple[MonitorAlarm, ...]:
        """Return alarms with the notes on them: those without a note first, then harm, data, drift."""
        order = {"harm": 0, "data": 1, "drift": 2}
        noted = [self._with_note(item) for item in found]
        return tuple(sorted(noted, key=lambda item: (item.acknowledged is not None, order[item.tier])))

    def _watch(self) -> Watching:
        refuse_incidents(self.project, self.bundle)
        return watching(self.project, self.bundle, self.mine, self.as_of, progress=self.progress)

    def _with_values(self) -> LoggedDecisions:
        """Return the decisions with the values that they were taken on, as far as these are to be had."""
        from fraudctl.workflows.logged import replayed_values

        folder = Path(self.mine.files[0])
        if self.mine.values is not None or not folder.is_dir():
            return self.mine
        self.progress.stage("Taking in the log again")
        return replace(self.mine, values=replayed_values(folder, self.bundle.columns.names))

    def _accepted(self) -> list[AlarmRecord]:
        return [note for note in self.notes if note.series and note.model == self.bundle.version]

    def _limits(self) -> tuple[LimitVerdict, ...]:
        """Return what the latest 28 days say of each limit; of all models, for customers meet whichever decides."""
        from fraudctl.monitor.harm import limit_verdicts
        from fraudctl.monitor.performance import judged_cohorts, performance_of

        if not any(True for _ in self.project.monitor.harm.limits()):
            return ()
        self.progress.stage("Judging performance")
        judged = judged_cohorts(self.logged.frame, self.project, self.as_of)
        promised = promised_savings(self.project, self.logged.frame)
        return limit_verdicts(judged, performance_of(judged), self.project, promised=promised)

    def _harm(self, limits: Sequence[LimitVerdict]) -> list[MonitorAlarm]:
        from fraudctl.monitor.alarms import alarm_id

        since = (self.as_of - HELD).date()
        command = f"fraudctl explain -m {self.bundle.version} --from {since:%Y-%m-%d}"
        return [
            MonitorAlarm(
                id=alarm_id("", "harm", item.figure, ""),
                tier="harm",
                kind="limit",
                what=limit_words(item),
                limit=item,
                next=command,
            )
            for item in limits
            if item.state == "broken"
        ]

    def _blind(self) -> list[MonitorAlarm]:
        """Return the alarm that decisions are too old to see anything."""
        from fraudctl.monitor.alarms import alarm_id

        last = self.logged.frame["event_time"][-1]
        age = self.as_of - last
        if age <= self.project.monitor.max_age.timedelta:
            return []
        days = age / timedelta(days=1)
        what = (
            f"blind: the latest decision is {number(days, 2)} days old, and max_age is {self.project.monitor.max_age}"
        )
        command = "fraudctl state show STATE   # is it written?"
        return [MonitorAlarm(alarm_id("", "data", "blind", ""), "data", "blind", what, next=command)]

    def _shifts(self, watched: Watching, judged: Judged) -> list[MonitorAlarm]:
        from fraudctl.monitor.alarms import alarm_id

        found = []
        for at, group in enumerate(item for item in judged.groups if item.counts):
            first = group.leading
            causes = score_causes(watched, first.first_day) if at < EXPLAINED else ()
            start = f"--from {first.first_day:%Y-%m-%d}"
            evaluate = f"fraudctl evaluate -m {self.bundle.version} {start} --no-gate"
            found.append(
                MonitorAlarm(
                    id=alarm_id(
                        self.bundle.version, group.tier, f"{first.column}: {first.figure}", str(first.first_day)
                    ),
                    tier=group.tier,
                    kind="shift",
                    what=shift_words(group, self.project.costs.currency),
                    moved=group.moved,
                    effects=group.effects,
                    causes=causes,
                    money_per_day=group.money_per_day,
                    next="fraudctl check" if group.tier == "data" else evaluate,
                )
            )
        return found

    def _with_note(self, alarm: MonitorAlarm) -> MonitorAlarm:
        """Return an alarm with the latest note on it that still holds."""
        held = [
            note for note in self.notes if note.id == alarm.id and not note.series and note.as_of + HELD >= self.as_of
        ]
        if not held:
            return alarm
        last = held[-1]
        return replace(alarm, acknowledged=AlarmNote(last.at, last.by, last.note))

    def _own_notes(self) -> list[str]:
        out = [
            f"{', '.join(note.series)}: the level since the change is what is expected now ({note.by}: {note.note})"
            for note in self._accepted()
        ]
        others = self.logged.frame.height - self.mine.frame.height
        if others:
            models = [name or "unknown" for name in self.logged.frame["model"].unique(maintain_order=True).to_list()]
            out.append(
                f"{count(others, 'decision')} of other models are in no comparison with the reference: {listed(models)}"
            )
        if self.logged.n_repeated:
            out.append(
                f"{count(self.logged.n_repeated, 'decision')} repeat an earlier one of the same event and are left out"
            )
        return out


def _open(
    project: Project,
    places: Sequence[str | Path],
    model: str | None,
    as_of: datetime | date | None,
    progress: Progress,
) -> _Run:
    import polars as pl

    from fraudctl.costs import cost_matrix
    from fraudctl.workflows.logged import read_logged, with_events_of

    progress.stage("Reading decisions and outcomes")
    names = _feature_names(project, model)
    logged = read_logged(project, places or [project.root / STATE], features=names)
    weight = [] if project.data.weight is None else [project.data.weight]
    columns = [*cost_matrix(project.costs).columns, *weight]
    logged, events = with_events_of(project, logged, columns=columns, entities=list(project.entities))
    known_until = max(events.known_until, logged.frame["event_time"][-1])
    at = known_until if as_of is None else _instant(as_of, project)
    frame = logged.frame.filter(pl.col("event_time") <= at)
    if frame.is_empty():
        msg = f"there is no decision on an event up to {at:%Y-%m-%d %H:%M} UTC"
        raise DataError(msg, hint="name a later --as-of")
    logged = replace(logged, frame=frame)
    bundle = _bundle(project, frame, model, progress)
    mine = frame.filter(pl.col("model").is_null() | (pl.col("model") == bundle.version))
    if mine.is_empty():
        msg = f"model {bundle.version} has decided nothing there"
        raise DataError(msg, hint="name with --model the one that decided")
    notes = tuple(note for note in notes_of(project) if note.as_of <= at)
    feed = tuple(feed_alarms(project, bundle, events.frame, until=at))
    return _Run(project, bundle, logged, replace(logged, frame=mine), at, notes, feed, progress)


def _feature_names(project: Project, model: str | None) -> list[str]:
    """Return the features of the model that is likely watched, to keep their logged values; none without a bundle."""
    from fraudctl.workflows.versions import open_bundle

    try:
        return list(open_bundle(project, model or "latest").columns.names)
    except BundleError:
        return []


def _bundle(project: Project, frame: pl.DataFrame, model: str | None, progress: Progress) -> Bundle:
    """Open the bundle that is watched: as named, else that of the latest decision, else the champion or the latest."""
    from fraudctl.registry import champion
    from fraudctl.workflows.versions import open_bundle

    named = frame["model"].drop_nulls()
    reference = model or (named[-1] if len(named) else champion(project.models_dir) or "latest")
    return open_bundle(project, reference, progress=progress)


def _instant(value: datetime | date, project: Project) -> datetime:
    """Return an instant; a day without a time means its end."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(project.data.timezone)
    if not isinstance(value, datetime):
        return datetime.combine(value + timedelta(days=1), time(), zone)
    return value if value.tzinfo is not None else value.replace(tzinfo=zone)


def refuse_incidents(project: Project, bundle: Bundle) -> None:
    """Refuse a reference that overlaps a known incident.

    Raises
    ------
    ProjectError
        It does; the hint says which reference does not.
    """
    if not bundle.reference:
        return
    from fraudctl.monitor.alarms import day_of
    from fraudctl.workflows.watched import used_days

    days = used_days(project, bundle)
    if not len(days):
        return
    first, last = day_of(int(days[0])), day_of(int(days[-1]))
    for incident in project.monitor.incidents:
        until = incident.until or incident.start + timedelta(days=1)
        if incident.start <= last and until > first:
            msg = (
                f"[monitor] incidents: {incident.name!r} ({incident.start} to {until}) lies in the reference of "
                f"{bundle.version}, {first} to {last}: days of an incident are no ordinary days"
            )
            left = (last - until).days + 1
            shorter = f'set [monitor] reference = "{left}d"' if left >= LEAST_DAYS else "train with a later as_of"
            raise ProjectError(msg, hint=shorter)


def monitor_text(result: MonitorResult, form: str) -> str:
    """Return what a run found as ``junit``, ``github`` or ``markdown``."""
    from fraudctl.report import monitor_formats as forms

    write = {"junit": forms.monitor_junit, "github": forms.monitor_github, "markdown": forms.monitor_markdown}
    return write[form](result)


def write_prometheus(result: MonitorResult, path: Path) -> None:
    """Write what a run found as a text file for Prometheus' node exporter, whole or not at all."""
    from fraudctl.data import outputs
    from fraudctl.report.monitor_formats import monitor_prometheus

    outputs.write_text(monitor_prometheus(result), path)


def write_monitor_summary(result: MonitorResult, output_format: str) -> None:
    """With the format ``github``, append what was found to the step summary that a GitHub job names."""
    import os

    from fraudctl.disk.files import append_whole
    from fraudctl.report.monitor_formats import monitor_markdown

    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if output_format == "github" and place:
        append_whole(Path(place), monitor_markdown(result).encode())
