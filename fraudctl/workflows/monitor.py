"""``monitor``: decisions that were taken against what ordinary days were, and against the limits of harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Final

import polars as pl

from fraudctl.disk.files import in_use, temporary_folder
from fraudctl.errors import BundleError, DataError, ProjectError, UsageError
from fraudctl.monitor.outcome import AlarmNote, MonitorAlarm, MonitorResult, limit_words, shift_words, verdict_of
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.project.monitor import LEAST_DAYS
from fraudctl.text.figures import count, listed, number
from fraudctl.workflows.causes import causes_left_out, score_causes
from fraudctl.workflows.evidence import promised_savings
from fraudctl.workflows.label_feed import feed_alarms, told_events
from fraudctl.workflows.monitor_log import HELD, AlarmRecord, notes_of, record_run
from fraudctl.workflows.parity import alarm_of_parity, check_parity
from fraudctl.workflows.watched import Judged, Watching, watched_inputs, watching

if TYPE_CHECKING:
    from fraudctl.arrays import BoolArray
    from fraudctl.bundle import Bundle
    from fraudctl.data.pieces import KeptPieces
    from fraudctl.monitor.harm import LimitVerdict
    from fraudctl.monitor.judged_rows import JudgedTable
    from fraudctl.monitor.taken import LoggedValues, TakenDecisions
    from fraudctl.workflows.logged import EventFiles

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
    scratch = _scratch(project)
    with in_use(scratch) as alone, temporary_folder(scratch, "monitor") as folder:
        run = _open(project, decisions, model, as_of, folder, progress)
        result = run.judge(fail_on_drift=fail_on_drift, parity=parity)
        run.kept.sweep(alone)
    if record:
        record_run(project, result)
    return result


@dataclass(frozen=True)
class _Run:
    """Everything that a run looks at.

    Attributes
    ----------
    taken
        Decisions of all models.
    events
        Events of the project, with their outcomes.
    counted
        Which decisions are known at as_of.
    mine
        Which of these are of the watched model.
    feed
        Alarms on the labels.
    kept
        What was made of pieces of the files, now and in earlier runs.
    folder
        For files of this run.
    """

    project: Project
    bundle: Bundle
    taken: TakenDecisions
    events: EventFiles
    counted: BoolArray
    mine: BoolArray
    as_of: datetime
    notes: tuple[AlarmRecord, ...]
    feed: tuple[MonitorAlarm, ...]
    progress: Progress
    kept: KeptPieces
    folder: Path

    def judge(self, *, fail_on_drift: bool, parity: int | None) -> MonitorResult:
        """Judge harm, data and drift."""
        watched = self._watch()
        judged = watched.judge(self._accepted())
        limits = self._limits()
        recomputed = None if parity is None else check_parity(watched, self._values(watched), parity)
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
            decisions=int(self.mine.sum()),
            last_decision=self._latest(self.mine),
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
            notes=(*self._own_notes(), *watched.notes, *judged.notes, *self._without_causes(watched, judged)),
        )

    def _in_order(self, found: Sequence[MonitorAlarm]) -> tuple[MonitorAlarm, ...]:
        """Return alarms with the notes on them: those without a note first, then harm, data, drift."""
        order = {"harm": 0, "data": 1, "drift": 2}
        noted = [self._with_note(item) for item in found]
        return tuple(sorted(noted, key=lambda item: (item.acknowledged is not None, order[item.tier])))

    def _watch(self) -> Watching:
        refuse_incidents(self.project, self.bundle)
        return watching(
            self.project, self.bundle, self.taken, self.mine, self.events, self.as_of, progress=self.progress,
            kept=self.kept,
        )  # fmt: skip

    def _values(self, watched: Watching) -> LoggedValues | None:
        """Return the values that decisions were taken on, as far as these are to be had."""
        from fraudctl.monitor.taken import LoggedValues
        from fraudctl.workflows.logged import replayed_values

        folder = Path(self.taken.files[0])
        if watched.logged is not None or not folder.is_dir():
            return watched.logged
        self.progress.stage("Taking in the log again")
        found = replayed_values(folder, self.bundle.columns.names)
        return None if found is None else LoggedValues(tuple(self.bundle.columns.names), found.lazy())

    def _latest(self, rows: BoolArray) -> datetime:
        return self.taken.blocks.span(rows)[1]

    def _accepted(self) -> list[AlarmRecord]:
        return [note for note in self.notes if note.series and note.model == self.bundle.version]

    def _limits(self) -> tuple[LimitVerdict, ...]:
        """Return what the latest 28 days say of each limit; of all models, for customers meet whichever decides."""
        from fraudctl.monitor.harm import limit_verdicts
        from fraudctl.monitor.performance import judged_cohorts, performance_of

        if not any(True for _ in self.project.monitor.harm.limits()):
            return ()
        self.progress.stage("Judging performance")
        decided = self._with_outcomes()
        judged = judged_cohorts(decided, self.project, self.as_of)
        promised = promised_savings(self.project, decided.column("model"))
        return limit_verdicts(judged, performance_of(judged), self.project, promised=promised)

    def _with_outcomes(self) -> JudgedTable:
        """Return all decisions with what performance is judged by, in the order of time."""
        from fraudctl.monitor.judged_rows import judged_table

        return judged_table(
            self.taken, self.events, self.counted,
            columns=_judging_columns(self.project), entities=list(self.project.entities), folder=self.folder,
        )  # fmt: skip

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

        age = self.as_of - self._latest(self.counted)
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

        found: list[MonitorAlarm] = []
        groups = [item for item in judged.groups if item.counts]
        causes = score_causes(watched, [group.leading.first_day for group in groups[:EXPLAINED]])
        for at, group in enumerate(groups):
            first = group.leading
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
                    causes=causes[at] if at < EXPLAINED else (),
                    money_per_day=group.money_per_day,
                    next="fraudctl check" if group.tier == "data" else evaluate,
                )
            )
        return found

    def _without_causes(self, watched: Watching, judged: Judged) -> Iterator[str]:
        """Yield what is said where causes are not computed."""
        found = [group.leading for group in judged.groups if group.counts][:EXPLAINED]
        days = [item.first_day for item in found if causes_left_out(watched, item.first_day)]
        if days:
            first = f"{min(days):%Y-%m-%d}"
            yield (
                f"no causes of what moved on {first}: few decisions before it were logged, and features of "
                f"{count(sum(self.events.chunks.heights), 'event')} are not computed for that; "
                f"`fraudctl explain -m {self.bundle.version} --from {first}` computes them"
            )

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
        others = int(self.counted.sum() - self.mine.sum())
        if others:
            models = [name or "unknown" for name in self.taken.blocks.texts_by_time("model", self.counted)]
            out.append(
                f"{count(others, 'decision')} of other models are in no comparison with the reference: {listed(models)}"
            )
        if self.taken.n_repeated:
            out.append(
                f"{count(self.taken.n_repeated, 'decision')} repeat an earlier one of the same event and are left out"
            )
        return out


def _scratch(project: Project) -> Path:
    """Return the folder in which events are laid out while they are looked at."""
    folder = project.cache_dir / "monitor"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _judging_columns(project: Project) -> list[str]:
    """Return the data columns that performance is judged by."""
    from fraudctl.costs import cost_matrix

    return [*cost_matrix(project.costs).columns, *([] if project.data.weight is None else [project.data.weight])]


def _wanted_columns(project: Project, bundle: Bundle | None) -> list[str]:
    return [*_judging_columns(project), *([] if bundle is None else watched_inputs(project, bundle))]


def _open(
    project: Project,
    places: Sequence[str | Path],
    model: str | None,
    as_of: datetime | date | None,
    folder: Path,
    progress: Progress,
) -> _Run:
    from fraudctl.data.pieces import KeptPieces
    from fraudctl.monitor.located import located
    from fraudctl.monitor.taken import with_times
    from fraudctl.workflows.logged import event_files, take_logged

    progress.stage("Reading decisions and outcomes")
    kept = KeptPieces(_scratch(project) / "kept", now_ns=time_ns())
    logged = take_logged(project, places or [project.root / STATE], kept, folder)
    likely = _likely_bundle(project, logged, model)
    columns = _wanted_columns(project, likely)
    events = event_files(project, folder, columns=columns, kept=kept if logged.pieces else None)
    apart = bool(logged.pieces and events.names)
    taken = located(logged, events, kept, folder) if apart else with_times(logged, events)
    at = max(events.known_until, taken.blocks.latest_time) if as_of is None else _instant(as_of, project)
    counted = taken.blocks.up_to(at)
    if not counted.any():
        msg = f"there is no decision on an event up to {at:%Y-%m-%d %H:%M} UTC"
        raise DataError(msg, hint="name a later --as-of")
    bundle = _bundle(project, taken, counted, model, progress)
    other = likely is None or likely.version != bundle.version
    if other and not set(_wanted_columns(project, bundle)) <= set(columns):
        events = event_files(
            project, folder, columns=_wanted_columns(project, bundle), kept=kept if logged.pieces else None
        )
        apart = bool(logged.pieces and events.names)
        taken = located(logged, events, kept, folder) if apart else replace(taken.in_memory(), pieces=())
    mine = taken.blocks.where("model", lambda model: model is None or model == bundle.version, counted)
    if not mine.any():
        msg = f"model {bundle.version} has decided nothing there"
        raise DataError(msg, hint="name with --model the one that decided")
    notes = tuple(note for note in notes_of(project) if note.as_of <= at)
    told = told_events(bundle, events, kept)
    feed = (
        *feed_alarms(project, bundle, told, until=at, between=events.between),
        *_arrivals(project, taken, events, until=at),
    )
    return _Run(project, bundle, taken, events, counted, mine, at, notes, feed, progress, kept, folder)


def _arrivals(
    project: Project, taken: TakenDecisions, events: EventFiles, *, until: datetime
) -> Iterator[MonitorAlarm]:
    """Yield alarms on events that come late, which the log of a state shows, and on labels that name no event."""
    from fraudctl.data.entries import load_entries
    from fraudctl.monitor.alarms import alarm_id
    from fraudctl.monitor.arrivals import label_orphans, late_events, late_words, orphan_words

    if Path(taken.files[0]).is_dir():
        late = late_events(pl.concat([block.time() for block in taken.blocks.blocks]), until=until)
        if late is not None and late.unusual:
            what = str(late_words(late))
            yield MonitorAlarm(alarm_id("", "data", "late", ""), "data", "late", what, next="fraudctl state show STATE")
    entries = load_entries(project)
    if entries is None:
        return
    found = label_orphans(entries, (piece["event_id"] for piece in events(())), until=until)
    if found.unusual:
        what = str(orphan_words(found))
        yield MonitorAlarm(alarm_id("", "data", "labels: orphans", ""), "data", "labels", what, next="fraudctl check")


def _likely_bundle(project: Project, taken: TakenDecisions, model: str | None) -> Bundle | None:
    """Return the bundle that is likely watched, before times are known: that of the last line of the log."""
    from fraudctl.workflows.versions import open_bundle

    try:
        return open_bundle(project, model or taken.blocks.last_text("model") or "latest")
    except BundleError:
        return None


def _bundle(
    project: Project, taken: TakenDecisions, counted: BoolArray, model: str | None, progress: Progress
) -> Bundle:
    """Open the bundle that is watched: as named, else that of the latest decision, else the champion or the latest."""
    import numpy as np

    from fraudctl.registry import champion
    from fraudctl.workflows.versions import open_bundle

    named = None
    if model is None:
        last = taken.blocks.latest(taken.blocks.where("model", lambda text: text is not None, counted))
        named = None if last is None else str(taken.blocks.frame(np.array([last]), ["model"])["model"][0])
    reference = model or named or champion(project.models_dir) or "latest"
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
