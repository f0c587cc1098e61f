"""What is watched of a model's decisions: the days after its reference, as counts on the edges that it froze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from fraudctl.errors import DataError
from fraudctl.monitor.outcome import MonitorAlarm, ScoreCause
from fraudctl.progress import Progress
from fraudctl.project import Project
from fraudctl.project.monitor import LEAST_DAYS
from fraudctl.text.figures import count
from fraudctl.workflows.decide import Decisions
from fraudctl.workflows.reference import borders, decided_events, instant_of, with_expected_cost

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.arrays import IntArray
    from fraudctl.bundle import Bundle
    from fraudctl.monitor.alarms import MovedGroup
    from fraudctl.monitor.counts import DayCounts
    from fraudctl.monitor.decisions import LoggedDecisions
    from fraudctl.monitor.engine import Watch
    from fraudctl.monitor.reference import FrozenReference
    from fraudctl.policy import Policy
    from fraudctl.workflows.features import FeatureTable
    from fraudctl.workflows.monitor_log import AlarmRecord

SAMPLE: Final = 4_000
"""Events on each side whose contributions are averaged."""
SHOWN: Final = 8
SEED: Final = 0
_WHOLE: Final = timedelta(minutes=15)
"""So much of a day may be missing at its end, or its beginning, where nothing happened in it."""


@dataclass(frozen=True)
class Judged:
    """Days that were judged against the reference."""

    groups: tuple[MovedGroup, ...] = ()
    n_days: int = 0
    first_day: date | None = None
    last_day: date | None = None
    reference_days: int = 0
    n_series: int = 0
    threshold: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watching:
    """A model's decisions with its features and its reference.

    Attributes
    ----------
    decided
        Its decisions in the order of time.
    table
        Its feature table; None where the data cannot be read as they were for training.
    reference
        Days before as_of; None for a bundle without any.
    unreadable
        Alarms about data that cannot be read.
    notes
        What the reader should know.
    """

    project: Project
    bundle: Bundle
    policy: Policy
    decided: LoggedDecisions
    as_of: datetime
    table: Decisions | None
    reference: FrozenReference | None
    unreadable: tuple[MonitorAlarm, ...] = ()
    notes: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress, repr=False)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Feature -> why it is not watched itself."""
        return {} if self.reference is None else self.reference.left_out

    @cached_property
    def features(self) -> pl.DataFrame:
        """Decisions with the watched columns: logged values where there are any, else recomputed ones."""
        import polars as pl

        frame = self.decided.frame
        logged = self.decided.values
        if logged is not None:
            frame = frame.join(logged.select("event_id", *_new(logged, frame)), on="event_id", how="left")
        if self.table is not None:
            rows = self.recomputed(frame["event_id"])
            more = _new(rows, frame)
            frame = frame.join(rows.select("event_id", *more), on="event_id", how="left", maintain_order="left")
        return frame.with_columns(pl.col("y_prob").alias("score")).sort("event_time", "event_id")

    def recomputed(self, ids: pl.Series) -> pl.DataFrame:
        """Return the feature-table rows of events.

        Raises
        ------
        DataError
            The data cannot be read as they were for training.
        """
        table = self._own_table()
        spine = table.spine["event_id"]
        return table.rows(spine.is_in(ids.cast(spine.dtype).implode()))

    @property
    def whole(self) -> pl.DataFrame:
        """The whole feature table; raises as `recomputed` does."""
        return self._own_table().frame

    def _own_table(self) -> FeatureTable:
        if self.table is None:
            msg = "the features cannot be computed from the data"
            raise DataError(msg, hint="`fraudctl check` says what is wrong with them")
        return self.table.table

    def judge(self, accepted: Sequence[AlarmRecord]) -> Judged:
        """Judge the whole days after the reference."""
        from fraudctl.monitor.alarms import day_of

        if self.reference is None:
            return Judged()
        used = used_days(self.project, self.bundle, self.reference)
        if len(used) < LEAST_DAYS:
            told = f"the reference has {count(len(used), 'day')}, fewer than {LEAST_DAYS}: nothing is judged against it"
            return Judged(reference_days=len(used), notes=(told,))
        days = self._days()
        self.progress.stage("Learning what is usual")
        before = self.reference.counts.between(int(used[0]), int(used[-1]) + 1)
        watch = self._learned(self.reference, before)
        usual = Judged(
            reference_days=len(used), n_series=len(watch.series), threshold=round(watch.threshold, 4),
            notes=() if len(days) else ("no whole day was decided after the reference",),
        )  # fmt: skip
        if not len(days):
            return usual
        self.progress.stage(f"Watching {len(days)} days")
        now = self._counts(days)
        unknown = [item.name for item in self.reference.watched if (now.cells[item.name][:, 0] < 0).all()]
        return replace(
            usual, groups=self._moved(watch, before, now, accepted), n_days=len(days), first_day=day_of(int(days[0])),
            last_day=day_of(int(days[-1])),
            notes=(f"not known of these decisions, and not watched: {', '.join(unknown)}",) if unknown else (),
        )  # fmt: skip

    def _learned(self, reference: FrozenReference, before: DayCounts) -> Watch:
        """Learn what is usual from the days of the reference that are used."""
        from fraudctl.monitor.engine import learn
        from fraudctl.monitor.series import VOLUME, figures, series_of

        totals = {item.name: _known_sum(before, item.name) for item in reference.watched}
        series = [*(one for item in reference.watched for one in series_of(item, totals[item.name])), VOLUME]
        per_year = self.project.monitor.alarms_per_year
        found = figures(before, series)
        return learn(found, before.days, series, per_year=per_year, window_days=reference.window_days, seed=SEED)

    def _moved(
        self, watch: Watch, before: DayCounts, now: DayCounts, accepted: Sequence[AlarmRecord]
    ) -> tuple[MovedGroup, ...]:
        """Return what moved, less what was accepted."""
        from fraudctl.monitor.alarms import Acknowledged, EffectFloors, WatchedDays, accepted_deviations, moved_groups
        from fraudctl.monitor.engine import follow, weekdays
        from fraudctl.monitor.series import deviations, figures

        found = figures(now, watch.series)
        notes = [Acknowledged(item.series, item.since, item.until) for item in accepted]
        z = deviations(found, weekdays(now.days), watch.expected)
        path = follow(watch, found, now.days, accepted_deviations(z, now.days, watch.series, notes) if notes else None)
        drift = None if self.project.gate is None else self.project.gate.drift
        floors = EffectFloors() if drift is None else EffectFloors(drift.alert_rate, drift.expected_cost)
        return moved_groups(WatchedDays(watch, before, now, found, path), floors)

    def _days(self) -> IntArray:
        """Return the whole local days after the reference: begun before the first decision, and over at as_of."""
        import numpy as np
        import polars as pl

        from fraudctl.policy.bids import local_period

        zone, time = self.project.data.timezone, self.decided.frame["event_time"]
        ends = pl.Series([time[0], time[-1], self.as_of, self.bundle.as_of], dtype=pl.Datetime("us", "UTC"))
        first, _, now, trained = (int(value) for value in local_period(ends, "day", zone))
        begun = first if time[0] - instant_of(first, self.project) <= _WHOLE else first + 1
        over = now + 1 if self.as_of >= instant_of(now + 1, self.project) - _WHOLE else now
        start = max(begun, trained)
        return np.arange(start, max(over, start))

    def _counts(self, days: IntArray) -> DayCounts:
        """Count the decided events of days; days decided by another policy say nothing of actions."""
        import numpy as np
        import polars as pl

        from fraudctl.monitor.counts import DayCounts, count_days
        from fraudctl.monitor.reference import count_decided
        from fraudctl.policy.bids import local_period

        assert self.reference is not None  # noqa: S101 - `judge` looks first
        start, stop = instant_of(int(days[0]), self.project), instant_of(int(days[-1]) + 1, self.project)
        frame = self.features.filter((pl.col("event_time") >= start) & (pl.col("event_time") < stop))
        plain = [item for item in self.reference.watched if item.kind not in ("score", "action")]
        scored = [item for item in self.reference.watched if item.kind in ("score", "action")]
        counts = count_days(frame, plain, timezone=self.reference.timezone, days=days)
        priced = with_expected_cost(frame.drop("score"), self.policy) if self._priced(frame) else None
        if priced is None:
            found = count_days(frame, scored, timezone=self.reference.timezone, days=days)
        else:
            found = count_decided(priced, scored, timezone=self.reference.timezone, days=days)
        cells = {**counts.cells, **found.cells}
        own = str(self.bundle.manifest["files"]["policy.json"])[:8]
        other = frame.filter(pl.col("policy").is_not_null() & (pl.col("policy") != own))
        if "action" in cells and other.height:
            mixed = np.isin(days, local_period(other["event_time"], "day", self.reference.timezone))
            cells["action"] = np.where(mixed[:, None], -1, cells["action"])
        return DayCounts(days, counts.events, cells, found.sums)

    def _priced(self, frame: pl.DataFrame) -> bool:
        """Return whether the costs of the policy can be read of these decisions, and know all their actions."""
        matrix = self.policy.matrix
        there = all(name in frame.columns and not frame[name].null_count() for name in matrix.columns)
        return there and set(frame["action"].unique().to_list()) <= set(matrix.actions)


def _new(rows: pl.DataFrame, frame: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if name not in frame.columns]


def _known_sum(counts: DayCounts, name: str) -> IntArray:
    import numpy as np

    rows = counts.cells[name]
    return np.asarray(rows[rows[:, 0] >= 0].sum(axis=0), dtype=np.int64)


def used_days(project: Project, bundle: Bundle, reference: FrozenReference | None = None) -> IntArray:
    """Return the days of the frozen reference that are used: as many of the latest as the project file asks for."""
    from fraudctl.monitor.reference import FrozenReference as Frozen

    found = reference or Frozen.from_dict(bundle.reference)
    return found.counts.days[-(project.monitor.reference.seconds // 86_400) :]


def watching(
    project: Project, bundle: Bundle, decided: LoggedDecisions, as_of: datetime, *, progress: Progress
) -> Watching:
    """Prepare what is watched of a model's decisions."""
    from fraudctl.bundle import understood
    from fraudctl.monitor.reference import FrozenReference
    from fraudctl.policy import Policy

    with understood(bundle.path):
        policy = Policy.from_dict(dict(bundle.policy)).effective
        reference = FrozenReference.from_dict(bundle.reference) if bundle.reference else None
    notes: list[str] = []
    if reference is None:
        reference = reference_of_folds(project, bundle, policy)
        told = "scores, actions, amounts and hours alone are watched, on what its folds predicted"
        notes.append(
            f"bundle {bundle.version} has no frozen reference, as earlier versions wrote it: {told}; "
            "`fraudctl train` freezes one"
        )
    table, alarms = _table(project, bundle, progress)
    notes += _policy_notes(decided.frame, bundle)
    return Watching(project, bundle, policy, decided, as_of, table, reference, alarms, tuple(notes), progress)


def _table(project: Project, bundle: Bundle, progress: Progress) -> tuple[Decisions | None, tuple[MonitorAlarm, ...]]:
    """Build the feature table of the bundle; data that cannot be read as they were for training are an alarm."""
    from fraudctl.monitor.alarms import alarm_id

    try:
        return Decisions.of_bundle(project, bundle, progress=progress), ()
    except DataError as error:
        what = f"the data cannot be read as they were for training: {error.message}"
        alarm = MonitorAlarm(
            alarm_id(bundle.version, "data", "unreadable", ""), "data", "unreadable", what, next="fraudctl check"
        )
        return None, (alarm,)


def _policy_notes(frame: pl.DataFrame, bundle: Bundle) -> list[str]:
    own = str(bundle.manifest["files"]["policy.json"])[:8]
    other = frame.filter(frame["policy"].is_not_null() & (frame["policy"] != own))
    if other.is_empty():
        return []
    first = other["event_time"][0]
    told = f"{count(other.height, 'decision')} from {first:%Y-%m-%d %H:%M} UTC on were taken by another policy"
    return [f"{told} than that of {bundle.version}: actions of these days are not compared"]


def reference_of_folds(project: Project, bundle: Bundle, policy: Policy) -> FrozenReference | None:
    """Return a reference of what the folds of an older bundle predicted: score, action, amount and hour."""
    import numpy as np
    import polars as pl

    from fraudctl.monitor.counts import day_range
    from fraudctl.monitor.reference import WatchPlan, freeze
    from fraudctl.policy.bids import local_period

    folds = bundle.predictions().filter(pl.col("fold") > 0).sort("event_time", "event_id")
    if folds.is_empty() or folds["event_time"].n_unique() < 2:
        return None
    days = day_range(local_period(folds["event_time"], "day", project.data.timezone))[1:-1]
    wanted = project.monitor.reference.seconds // 86_400
    days = np.asarray(days[-wanted:])
    if not len(days):
        return None
    start, stop = instant_of(int(days[0]), project), instant_of(int(days[-1]) + 1, project)
    inside = folds.filter((pl.col("event_time") >= start) & (pl.col("event_time") < stop))
    columns = {"amount": "float"} if "amount" in inside.columns else {}
    decided = decided_events(inside, policy, project)
    return freeze(
        inside, WatchPlan(columns, {}, {}, 0.0), decided, days=days, timezone=project.data.timezone,
        borders=borders(policy), actions=policy.actions,
    )  # fmt: skip


def score_causes(watched: Watching, first_day: date) -> tuple[ScoreCause, ...]:
    """Return which features moved the mean raw score since a day: differences of mean contributions, which add up.

    Before are decided events before the day, or, where there are fewer than a sample, the events of the four weeks
    before it in the data. None where the features are not at hand, or a challenger scores.
    """
    import numpy as np
    import polars as pl

    from fraudctl.explain.contributions import contributions

    if watched.table is None or watched.bundle.challenger is not None:
        return ()
    start = instant_of(first_day.toordinal() - 719_163, watched.project)
    time = watched.table.table.spine["event_time"]
    now = watched.features.filter(pl.col("event_time") >= start)
    before = watched.features.filter(pl.col("event_time") < start)
    if before.height < SAMPLE:
        before = watched.table.table.rows((time < start) & (time >= start - timedelta(days=28)))
    names = watched.bundle.columns.names
    if not before.height or not now.height or not set(names) <= set(now.columns) & set(before.columns):
        return ()
    means = []
    for side in (before, now):
        rows = np.unique(np.linspace(0, side.height - 1, min(SAMPLE, side.height)).round().astype(np.int64))
        inputs = watched.bundle.columns.matrix(side[rows].select(names))
        found = contributions(
            watched.bundle.model, inputs, categorical=watched.bundle.columns.categorical, partner=watched.bundle.partner
        )
        means.append(found.values.mean(axis=0))
    change = means[1] - means[0]
    order = sorted(range(len(names)), key=lambda at: (-abs(change[at]), names[at]))
    causes = [_cause(names[at], means[0][at], means[1][at]) for at in order[:SHOWN]]
    rest = order[SHOWN:]
    if rest:
        causes.append(_cause("all others", float(means[0][rest].sum()), float(means[1][rest].sum())))
    return tuple(causes)


def _cause(name: str, before: float, now: float) -> ScoreCause:
    return ScoreCause(name, round(float(before), 6), round(float(now), 6), round(float(now - before), 6))
