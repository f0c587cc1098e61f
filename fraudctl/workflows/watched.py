"""What is watched of a model's decisions: the days after its reference, as counts on the edges that it froze."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import polars as pl

from fraudctl.documents.sealed import canonical
from fraudctl.errors import DataError
from fraudctl.monitor.outcome import MonitorAlarm
from fraudctl.progress import Progress
from fraudctl.project import Project
from fraudctl.project.monitor import LEAST_DAYS
from fraudctl.text.figures import count
from fraudctl.workflows.causes import MANY_EVENTS
from fraudctl.workflows.lineage import differences, require_features, say_differences, table_as_of
from fraudctl.workflows.reference import borders, decided_events, instant_of, with_expected_cost

if TYPE_CHECKING:
    from fraudctl.arrays import BoolArray, IntArray
    from fraudctl.bundle import Bundle
    from fraudctl.data.pieces import KeptPieces
    from fraudctl.monitor.alarms import MovedGroup
    from fraudctl.monitor.counts import Cells, DayCounts
    from fraudctl.monitor.engine import Watch
    from fraudctl.monitor.reference import FrozenReference
    from fraudctl.monitor.series import Series
    from fraudctl.monitor.taken import LoggedValues, TakenDecisions
    from fraudctl.policy import Policy
    from fraudctl.workflows.features import FeatureTable
    from fraudctl.workflows.logged import EventFiles
    from fraudctl.workflows.monitor_log import AlarmRecord

TABLE_MEMORY: Final = 1_000_000_000
"""Bytes within which it is."""
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
    taken
        Decisions of all models.
    mine
        Those of the watched model up to as_of, shape ``(n_decisions,)``.
    events
        The events of the project.
    logged
        Values of features that were logged with the decisions; None where there are none.
    built
        The feature table of the model, where values were not logged; None where they were, or where the data cannot be
        read as they were for training.
    reference
        Days before as_of; None for a bundle without any.
    unreadable
        Alarms about data that cannot be read.
    notes
        What the reader should know.
    kept
        What was made of pieces of the files in earlier runs; None where nothing is kept.
    """

    project: Project
    bundle: Bundle
    policy: Policy
    taken: TakenDecisions
    mine: BoolArray
    events: EventFiles
    as_of: datetime
    logged: LoggedValues | None
    built: FeatureTable | None
    reference: FrozenReference | None
    unreadable: tuple[MonitorAlarm, ...] = ()
    notes: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress, repr=False)
    kept: KeptPieces | None = field(default=None, repr=False)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Feature -> why it is not watched itself."""
        return {} if self.reference is None else self.reference.left_out

    @cached_property
    def in_order(self) -> IntArray:
        """Rows of the model's decisions in the order of time."""
        return self.taken.blocks.by_time(self.mine)

    @cached_property
    def table(self) -> FeatureTable:
        """The feature table of the model, built where it has not been.

        Raises
        ------
        DataError
            The data cannot be read as they were for training.
        """
        if self.unreadable:
            msg = "the features cannot be computed from the data"
            raise DataError(msg, hint="`fraudctl check` says what is wrong with them")
        return self.built or _built(self.project, self.bundle, self.events, self.progress)

    def recomputed(self, ids: pl.Series) -> pl.DataFrame:
        """Return the feature-table rows of events; raises as `table` does."""
        spine = self.table.spine["event_id"]
        return self.table.rows(spine.is_in(ids.cast(spine.dtype).implode()))

    @property
    def whole(self) -> pl.DataFrame:
        """The whole feature table; raises as `table` does."""
        return self.table.frame

    def features_of(self, rows: IntArray) -> pl.DataFrame:
        """Return decisions with the features of the model: logged values where there are any, else recomputed ones."""
        frame = self.taken.rows(rows).frame
        if self.logged is not None:
            found = self.logged.of(frame["event_id"], rows)
            frame = frame.join(found, on="event_id", how="left", maintain_order="left")
        if not set(self.bundle.columns.names) <= set(frame.columns):
            found = self.recomputed(frame["event_id"])
            more = [name for name in found.columns if name not in frame.columns]
            frame = frame.join(found.select("event_id", *more), on="event_id", how="left", maintain_order="left")
        return frame

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
        digest = hashlib.sha256(canonical(reference.to_dict())).hexdigest()
        days = before.days.tobytes()
        usual = _Usual(digest, days, self.project.monitor.alarms_per_year, reference, before)
        return _learn(usual) if self.kept is None else _learned_before(usual, self.kept)

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

        zone, start = self.project.data.timezone, self.taken.blocks.span(self.mine)[0]
        ends = pl.Series([start, start, self.as_of, self.bundle.as_of], dtype=pl.Datetime("us", "UTC"))
        first, _, now, trained = (int(value) for value in local_period(ends, "day", zone))
        begun = first if start - instant_of(first, self.project) <= _WHOLE else first + 1
        over = now + 1 if self.as_of >= instant_of(now + 1, self.project) - _WHOLE else now
        begins = max(begun, trained)
        return np.arange(begins, max(over, begins))

    def _counts(self, days: IntArray) -> DayCounts:
        """Count the decided events of days; days decided by another policy say nothing of actions."""
        import numpy as np

        from fraudctl.monitor.counts import DayCounts
        from fraudctl.policy.bids import local_period

        assert self.reference is not None  # noqa: S101 - `judge` looks first
        start, stop = instant_of(int(days[0]), self.project), instant_of(int(days[-1]) + 1, self.project)
        inside = self.mine & self.taken.blocks.between(start, stop)
        plain = [item for item in self.reference.watched if item.kind not in ("score", "action")]
        logged = [] if self.logged is None else [item for item in plain if item.name in self.logged.names]
        beside = [item for item in plain if item not in logged]
        counted = self._of_pieces(days, inside)
        if counted is None:
            rest, found = self._of_events(days, inside, beside)
            cells = {**rest.cells, **found.cells, **self._of_log(days, inside, logged)}
            counted = DayCounts(days, rest.events, cells, found.sums)
        cells = dict(counted.cells)
        own = str(self.bundle.manifest["files"]["policy.json"])[:8]
        if "action" in cells:
            other = self.taken.blocks.where("policy", lambda policy: policy not in (None, own), inside)
            local = (local_period(time, "day", self.reference.timezone) for time in self.taken.blocks.times(other))
            mixed = np.isin(days, np.concatenate([np.zeros(0, np.int64), *map(np.unique, local)]))
            cells["action"] = np.where(mixed[:, None], -1, cells["action"])
        return replace(counted, cells=cells)

    def _of_pieces(self, days: IntArray, inside: BoolArray) -> DayCounts | None:
        """Count pieces of the files, as far as they were not counted before; None where there are none."""
        from fraudctl.workflows.counted import PieceCounts

        located = [item.events is not None or not inside[item.rows].any() for item in self.taken.pieces]
        if self.kept is None or self.reference is None or self.built is not None or not located or not all(located):
            return None
        return PieceCounts(self, self.reference, self.kept).of(days, inside)

    def _of_log(self, days: IntArray, inside: BoolArray, watched: Sequence[Cells]) -> Mapping[str, IntArray]:
        """Count logged values of features, a batch of decisions at a time."""
        import numpy as np

        from fraudctl.monitor.counts import added, count_days

        assert self.reference is not None  # noqa: S101 - `judge` looks first
        if self.logged is None or not watched:
            return {}
        zone, start = self.reference.timezone, 0
        total = count_days(_no_times(), [], timezone=zone, days=days)
        for batch in self.logged.batches([item.name for item in watched]):
            rows = slice(start, start + batch.height)
            start += batch.height
            if inside[rows].any():
                time = self.taken.blocks.frame(np.arange(rows.start, rows.stop), ["event_time"])
                frame = batch.hstack(time).filter(pl.Series(inside[rows]))
                found = count_days(frame, watched, timezone=zone, days=days)
                total = found if not total.cells else added(total, found)
        return total.cells

    def _of_events(self, days: IntArray, inside: BoolArray, watched: Sequence[Cells]) -> tuple[DayCounts, DayCounts]:
        """Count what events say of decisions, and what was decided, a piece of the events at a time."""
        from fraudctl.monitor.counts import added, count_days
        from fraudctl.monitor.reference import known_days, sum_decided
        from fraudctl.monitor.taken import completed

        assert self.reference is not None  # noqa: S101 - `judge` looks first
        zone, names = self.reference.timezone, [item.name for item in watched]
        scored = [item for item in self.reference.watched if item.kind in ("score", "action")]
        columns = [*(name for name in names if name != "hour"), *self.policy.matrix.columns]
        rest: DayCounts | None = None
        priced: DayCounts | None = None
        bare: DayCounts | None = None
        all_priced = True
        taken = self.taken.in_memory() if self.built is None else self.taken  # many chunks look for their decisions
        for piece in completed(taken, self._pieces, inside, columns=list(dict.fromkeys(columns))):
            more = count_days(piece, watched, timezone=zone, days=days)
            rest = more if rest is None else added(rest, more)
            decided = count_days(piece.with_columns(score="y_prob"), scored, timezone=zone, days=days)
            bare = decided if bare is None else added(bare, decided)
            all_priced = all_priced and self.priced(piece)
            if all_priced:
                summed = sum_decided(with_expected_cost(piece, self.policy), scored, timezone=zone, days=days)
                priced = summed if priced is None else added(priced, summed)
        if rest is None or bare is None:
            rest = count_days(_no_times(), watched, timezone=zone, days=days)
            bare = count_days(_no_times(), scored, timezone=zone, days=days)
        return rest, known_days(priced) if all_priced and priced is not None else bare

    def _pieces(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the events with watched columns: those of the feature table where it was built."""
        from fraudctl.workflows.logged import EVENT_ROWS

        if self.built is None:
            yield from self.events(columns)
        else:
            yield from self.built.pieces(columns, rows=EVENT_ROWS)

    def priced(self, frame: pl.DataFrame) -> bool:
        """Return whether the costs of the policy can be read of these decisions, and know all their actions."""
        matrix = self.policy.matrix
        there = all(name in frame.columns and not frame[name].null_count() for name in matrix.columns)
        return there and set(frame["action"].unique().to_list()) <= set(matrix.actions)


def _no_times() -> pl.DataFrame:
    from fraudctl.data.tables import UTC_US

    return pl.DataFrame(schema={"event_time": UTC_US})


def _known_sum(counts: DayCounts, name: str) -> IntArray:
    import numpy as np

    rows = counts.cells[name]
    return np.asarray(rows[rows[:, 0] >= 0].sum(axis=0), dtype=np.int64)


def used_days(project: Project, bundle: Bundle, reference: FrozenReference | None = None) -> IntArray:
    """Return the days of the frozen reference that are used: as many of the latest as the project file asks for."""
    from fraudctl.monitor.reference import FrozenReference as Frozen

    found = reference or Frozen.from_dict(bundle.reference)
    return found.counts.days[-(project.monitor.reference.seconds // 86_400) :]


def watched_inputs(project: Project, bundle: Bundle) -> list[str]:
    """Return the data columns that are watched of a model beside its features, and those that its costs read."""
    from fraudctl.bundle import understood
    from fraudctl.data.tables import load_schema
    from fraudctl.policy import Policy

    with understood(bundle.path):
        priced = Policy.from_dict(dict(bundle.policy)).matrix.columns
    named = [item["name"] for item in bundle.reference["watched"]] if bundle.reference else []
    own = {*bundle.columns.names, *project.entities, "amount", "hour", "score", "action"}
    schema = load_schema(project)
    return [name for name in dict.fromkeys([*named, *priced]) if name not in own and name in schema]


def watching(
    project: Project,
    bundle: Bundle,
    taken: TakenDecisions,
    mine: BoolArray,
    events: EventFiles,
    as_of: datetime,
    *,
    progress: Progress,
    kept: KeptPieces | None = None,
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
    logged = taken.values(bundle.columns.names)
    needed = _needs_table(project, bundle, reference, logged)
    table, alarms = _table(project, bundle, events, progress, needed=needed)
    notes += _policy_notes(taken, mine, bundle)
    return Watching(
        project, bundle, policy, taken, mine, events, as_of, logged, table, reference, alarms, tuple(notes), progress,
        kept,
    )  # fmt: skip


def _needs_table(
    project: Project, bundle: Bundle, reference: FrozenReference | None, logged: LoggedValues | None
) -> bool:
    """Return whether a watched column is neither logged nor one of the data as they were read for training."""
    names = {item.name for item in reference.watched} if reference is not None else set()
    beside = {*watched_inputs(project, bundle), *project.entities, "amount", "hour", "score", "action"}
    changed = any(name.split(".")[0] in ("data", "entities") for name in differences(bundle, project))
    return changed or bool(names - beside - set(() if logged is None else logged.names))


def _table(
    project: Project, bundle: Bundle, events: EventFiles, progress: Progress, *, needed: bool
) -> tuple[FeatureTable | None, tuple[MonitorAlarm, ...]]:
    """Build the feature table of the bundle; data that cannot be read as they were for training are an alarm."""
    from fraudctl.monitor.alarms import alarm_id

    try:
        if not needed:
            require_features(bundle, project)
        return _built(project, bundle, events, progress) if needed else None, ()
    except DataError as error:
        what = f"the data cannot be read as they were for training: {error.message}"
        alarm = MonitorAlarm(
            alarm_id(bundle.version, "data", "unreadable", ""), "data", "unreadable", what, next="fraudctl check"
        )
        return None, (alarm,)


def _built(project: Project, bundle: Bundle, events: EventFiles, progress: Progress) -> FeatureTable:
    """Build the feature table of a bundle, in a file where there are many events."""
    say_differences(bundle, project, progress=progress)
    many = sum(events.chunks.heights) > MANY_EVENTS
    return table_as_of(bundle, project, progress=progress, memory=TABLE_MEMORY if many else None)


def _policy_notes(taken: TakenDecisions, mine: BoolArray, bundle: Bundle) -> list[str]:
    own = str(bundle.manifest["files"]["policy.json"])[:8]
    other = taken.blocks.where("policy", lambda policy: policy not in (None, own), mine)
    n_other = int(other.sum())
    if not n_other:
        return []
    first = taken.blocks.span(other)[0]
    told = f"{count(n_other, 'decision')} from {first:%Y-%m-%d %H:%M} UTC on were taken by another policy"
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


@dataclass(frozen=True)
class _Usual:
    """From what the usual is learned: it follows from the reference, the days of it that are used, and the promise."""

    digest: str
    """SHA-256 of the reference."""
    days: bytes
    per_year: float
    reference: FrozenReference = field(compare=False, repr=False)
    before: DayCounts = field(compare=False, repr=False)

    @property
    def series(self) -> list[Series]:
        """What is watched."""
        from fraudctl.monitor.series import VOLUME, series_of

        totals = {item.name: _known_sum(self.before, item.name) for item in self.reference.watched}
        return [*(one for item in self.reference.watched for one in series_of(item, totals[item.name])), VOLUME]


@functools.lru_cache(maxsize=2)
def _learn(usual: _Usual) -> Watch:
    """Learn what is usual; a process that looks at one model again has learned it before."""
    from fraudctl.monitor.engine import learn
    from fraudctl.monitor.series import figures

    before, series, window = usual.before, usual.series, usual.reference.window_days
    found = figures(before, series)
    return learn(found, before.days, series, per_year=usual.per_year, window_days=window, seed=SEED)


def _learned_before(usual: _Usual, kept: KeptPieces) -> Watch:
    """Return what an earlier run learned and kept, or learn and keep it."""
    from fraudctl.data.pieces import digest
    from fraudctl.monitor.learned import watch_from_frame, watch_to_frame

    name = f"usual-{digest(usual.digest, usual.days.hex(), usual.per_year, SEED)}"
    found = kept.read(name)
    if found is not None:
        return watch_from_frame(usual.series, *found)
    watch = _learn(usual)
    kept.write(name, *watch_to_frame(watch))
    return watch
