"""What `evaluate` and `explain` share: which model or scores, on which events, with which decisions.

Owns the period, what is left out of it, and the rule that nothing is judged on a time that its training could know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import BundleError, DataError, UsageError
from fraudctl.progress import Progress, Steps, Watch, unwatched
from fraudctl.project import Project
from fraudctl.text.plain import shown
from fraudctl.workflows.features import FeatureTable, build_features
from fraudctl.workflows.lineage import judging_project, say_differences, table_as_of
from fraudctl.workflows.versions import LATEST, open_bundle

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from fraudctl.bundle import Bundle
    from fraudctl.evaluate import Excluded, OneMoment, Period, Replay
    from fraudctl.gate import Reference
    from fraudctl.overlap import SplitOverlap
    from fraudctl.policy import Policy
    from fraudctl.split import Periods, RandomSplit
    from fraudctl.train.model import Scorer

Limit = datetime | date | None


@dataclass(frozen=True)
class Subject:
    """What is judged.

    Attributes
    ----------
    name
        Version of the bundle, or ``scores`` for scores from a file.
    layout
        Its training period, before which frauds do not block by default, and its test period, which is evaluated by
        default; the random split where the data have no time.
    policy
        Frozen with the model.
    bundle
        None for scores from a file without a bundle.
    """

    name: str
    layout: Periods | RandomSplit
    policy: Policy
    bundle: Bundle | None

    @property
    def by_chance(self) -> RandomSplit | None:
        """The random split; None where the data have a time."""
        from fraudctl.split import RandomSplit

        return self.layout if isinstance(self.layout, RandomSplit) else None

    @property
    def times(self) -> Periods:
        """The training and the test period, where the data have a time; else a ValueError."""
        from fraudctl.data.labels import timed
        from fraudctl.split import Periods

        return timed(self.layout if isinstance(self.layout, Periods) else None)

    @property
    def as_of(self) -> datetime | None:
        """What the model knew; None where the data have no time."""
        return None if self.by_chance is not None else self.times.as_of


@dataclass(frozen=True)
class DecidedPeriod:
    """The events of a period with a decision for each.

    Attributes
    ----------
    subject, period, excluded
        Who decided, on which events, and what was left out; the period is None for a random split.
    scored
        Feature-table rows that can be judged, with ``y_prob``, ``action`` and ``cost``, in time order.
    young
        The same for the immature ones, whose outcome may still change.
    replay
        All events that were decided, the unlabelled ones and those that took slots before the period too.
    """

    subject: Subject
    period: Period | None
    excluded: Excluded
    scored: pl.DataFrame
    young: pl.DataFrame
    replay: Replay

    @property
    def span(self) -> Period:
        """The period.

        Raises
        ------
        UsageError
            The events are the test of a random split, and have no time.
        """
        if self.period is None:
            msg = f"{self.subject.name} was split at random: its test events lie in no period"
            raise UsageError(msg)
        return self.period


@dataclass(frozen=True)
class Decisions:
    """The feature table of a model, ready to have it and its rivals decide.

    Attributes
    ----------
    project
        As of the bundle, with the present costs, evaluation and gate; the present project where there is no bundle.
    table
        Its feature table.
    present
        The project file as it is now.
    bundle
        The leading model; None for scores from a file without a bundle.
    """

    project: Project
    table: FeatureTable
    progress: Progress
    present: Project
    bundle: Bundle | None

    @classmethod
    def open(cls, project: Project, model: str | None, *, progress: Progress, scores: bool = False) -> Decisions:
        """Open a bundle, `latest` by default, and build its table.

        Parameters
        ----------
        scores
            Whether scores from a file are to be judged: then a bundle gives the policy alone, and none is needed.
        """
        from fraudctl.bundle import list_bundles

        if scores and model is None and not list_bundles(project.models_dir):
            return cls(project, build_features(project, progress=progress), progress, project, None)
        bundle = open_bundle(project, LATEST if model is None else model, progress=progress)
        return cls.of_bundle(project, bundle, progress=progress)

    @classmethod
    def of_bundle(cls, project: Project, bundle: Bundle, *, progress: Progress) -> Decisions:
        """Build the table of a bundle."""
        judging = judging_project(bundle, project)
        say_differences(bundle, project, progress=progress)
        return cls(judging, table_as_of(bundle, project, progress=progress), progress, project, bundle)

    def of_model(self, *, since: Limit = None, until: Limit = None) -> DecidedPeriod:
        """Decide with the leading bundle, by default on the test period after its as_of."""
        if self.bundle is None:
            msg = "only a bundle can decide"
            raise BundleError(msg, hint="`fraudctl train` writes one")
        return self._decide(self.subject(self.bundle), None, since, until)

    def of_scores(self, scores: Path, *, since: Limit = None, until: Limit = None) -> DecidedPeriod:
        """Decide on scores from a file, with the policy of a bundle where there is one."""
        subject = replace(self.subject(self.bundle), name="scores") if self.bundle else self._without_bundle()
        return self._decide(subject, scores, since, until)

    def of_rival(self, rival: str | Bundle, leading: DecidedPeriod) -> DecidedPeriod:
        """Decide with another bundle, or the one that a reference names, on the same events."""
        first, period = leading.subject, leading.period
        other = rival
        if isinstance(other, str):
            other = open_bundle(self.present, other, progress=self.progress, role="compared with", newer=False)
        subject = self.subject(other)
        if subject.by_chance != first.by_chance:
            msg = f"{subject.name} was split by another draw than {first.name}, and has seen some of its test events"
            raise UsageError(msg, hint="train both with the same [train] seed and [split] test_share")
        if period is None:
            return self._decide(subject, None, None, None)
        blocking = replace(subject, layout=replace(subject.times, train_from=first.times.train_from))
        return self._decide(blocking, None, period.from_time, period.until)

    def of_known(self, subject: Subject, period: Period, scores: pl.DataFrame) -> DecidedPeriod:
        """Decide on scores that are at hand: ``event_id`` and ``y_prob`` of every event of the period."""
        events, excluded = self._events(subject, period, lead=True)
        found = events.select("event_id").join(scores, on="event_id", how="left", maintain_order="left")
        return self._settled(subject, period, excluded, events, found["y_prob"].fill_null(float("nan")).to_numpy())

    def alone(self, bundle: Bundle, event_id: int | str) -> OneMoment:
        """Return the bundle's policy on variants of one event of the table, each in the state of the event's moment.

        Slots that earlier events of its local day or week took are gone; variants take none from each other.

        Returns
        -------
        OneMoment
            Decides variants with their probabilities. An id that is not in the table has the state of nothing taken;
            whoever explains it refuses it.
        """
        import numpy as np
        import polars as pl

        from fraudctl.evaluate import OneMoment, Period

        subject = self.subject(bundle)
        frame = self.table.spine
        here = (frame["event_id"].cast(pl.String) == str(event_id)).arg_true()
        if len(here) != 1 or not subject.policy.capacity:
            return OneMoment.free(subject.policy, self.project)
        row = int(here[0])
        at = frame["event_time"][row]
        places = pl.int_range(frame.height, eager=True)
        event = self.table.rows(places == row)
        before = self.table.rows((places < row) & (frame["event_time"] >= subject.policy.lead_from(at)))
        if self.project.evaluate.block_known is not None:
            kept, _ = self._events(subject, Period(subject.policy.lead_from(at), at + timedelta(microseconds=1)))
            before = before.join(kept.select("event_id"), on="event_id", how="semi", maintain_order="left")
        events, y_prob = self._bundle_scores(bundle, pl.concat([before, event]))
        return OneMoment.after(events, np.asarray(y_prob), subject.policy, self.project)

    def reference(self, decided: DecidedPeriod) -> Reference | None:
        """Return the model's decisions in its test period, and on the events just before that it was not trained on.

        Both sides are all events that were decided, labelled or not.
        """
        from fraudctl.evaluate import Period
        from fraudctl.gate import Reference

        subject = decided.subject
        if subject.bundle is None or subject.name != subject.bundle.version or subject.by_chance is not None:
            return None
        before = self.decided(subject, Period(subject.times.train_until, subject.times.as_of))
        return Reference(before, decided.replay.decided(self.project))

    def decided(self, subject: Subject, period: Period, scorer: Scorer | None = None) -> pl.DataFrame:
        """Return all events of a period as they are decided, labelled or not, whatever their outcomes.

        Parameters
        ----------
        scorer
            What scores them, on the features of this table; by default the subject's bundle.
        """
        import numpy as np

        from fraudctl.evaluate import Replay, Stretch
        from fraudctl.train import predict

        events, _ = self._events(subject, period, empty=True, lead=True)
        if scorer is not None:
            y_prob = predict(scorer, events, whole=self._around(scorer, self.table, events))[1]
        elif subject.bundle is not None:
            events, y_prob = self._bundle_scores(subject.bundle, events)
        else:
            msg = "only a bundle can decide"
            raise BundleError(msg, hint="`fraudctl train` writes one")
        lead = (events["event_time"] < period.from_time).to_numpy()
        nobody = np.zeros(int((~lead).sum()), dtype=np.bool_)
        return Replay((Stretch(events, y_prob, subject.policy, lead),), nobody).decided(self.project)

    def overlap(self, parts: Sequence[DecidedPeriod], *, watch: Watch = unwatched) -> SplitOverlap:
        """Return what the rows that were trained on and those that are judged have in common, over all periods.

        ``watch`` is called with the name of each step before it begins.
        """
        from fraudctl.overlap import pooled_overlap, relabelled

        periods = [(self._trained_on(part.subject), part.scored) for part in parts]
        found = pooled_overlap(periods, entities=list(self.project.entities), watch=watch)
        watch("outcomes that changed")
        if not self.project.data.has_time:
            return found
        last = max(range(len(parts)), key=lambda at: parts[at].subject.times.as_of)
        as_of, until = parts[last].subject.times.as_of, self.table.known_until
        return replace(found, relabelled=relabelled(periods[last][0], as_of=as_of, known_until=until))

    def _trained_on(self, subject: Subject) -> pl.DataFrame:
        import polars as pl

        frame = self.table.spine
        if subject.by_chance is not None:
            trained = ~pl.Series(subject.by_chance.test_rows(frame["event_id"]))
        else:
            trained = frame["event_time"].is_between(subject.times.train_from, subject.times.train_until, closed="left")
        return frame.filter(trained & frame["label"].is_not_null())

    def _decide(self, subject: Subject, scores: Path | None, since: Limit, until: Limit) -> DecidedPeriod:
        period, steps = self._period(subject, since, until), Steps(self.progress, 7)
        steps.begin("events of the period")
        self.table.spine  # noqa: B018  # read now, so that what is read next is told
        steps.begin("features of the period")
        events, excluded = self._events(subject, period, lead=True)
        if scores is None and subject.bundle is not None:
            events, y_prob = self._bundle_scores(subject.bundle, events, watch=steps.begin)
        else:
            y_prob = self._file_scores(scores or Path(), events)
        return self._settled(subject, period, excluded, events, y_prob, watch=steps.begin)

    def _settled(
        self,
        subject: Subject,
        period: Period | None,
        excluded: Excluded,
        events: pl.DataFrame,
        y_prob: NDArray[np.float64],
        *,
        watch: Watch = unwatched,
    ) -> DecidedPeriod:
        """Decide every event in time order, those before the period too; give those that can be judged."""
        import numpy as np

        from fraudctl.evaluate import Replay, Stretch
        from fraudctl.maturity import immature

        lead = np.zeros(events.height, dtype=np.bool_)
        if period is not None:
            lead = (events["event_time"] < period.from_time).to_numpy()
        inside = events.filter(~lead)
        young = immature(inside, label_delay=self.project.data.label_delay, known_until=self.table.known)
        judged = (~young & inside["label"].is_not_null()).to_numpy()
        replay = Replay((Stretch(events, y_prob, subject.policy, lead),), judged)
        watch("decisions")
        decided = replay.decided(self.project)
        watch("events that can be judged")
        n_unlabelled = int((~judged & ~young.to_numpy()).sum())
        excluded = replace(excluded, unlabelled=n_unlabelled, immature=int(young.sum()))
        if not judged.any():
            raise _nothing_to_judge(inside.height, excluded)
        return DecidedPeriod(subject, period, excluded, decided.filter(judged), decided.filter(young), replay)

    def subject(self, bundle: Bundle) -> Subject:
        """Return a bundle as what is judged, with its training and test period and its policy."""
        from fraudctl.policy import Policy
        from fraudctl.split import Periods, RandomSplit

        policy, by_chance = Policy.from_dict(dict(bundle.policy)), RandomSplit.from_facts(bundle.facts)
        if (by_chance is None) != self.project.data.has_time:
            how = "by time" if by_chance is None else "at random"
            msg = f"bundle {bundle.version} was split {how}, and the project now is not"
            raise BundleError(msg, hint="train again, or restore [data] event_time and [split]")
        layout = by_chance or Periods.from_facts(bundle.facts, as_of=bundle.knows_until)
        return Subject(bundle.version, layout, policy, bundle)

    def _without_bundle(self) -> Subject:
        from fraudctl.split import layout_of

        found = layout_of(self.table.spine, self.project, known_until=self.table.known)
        return Subject("scores", found, unfitted_policy(self.project), None)

    def _period(self, subject: Subject, since: Limit, until: Limit) -> Period | None:
        from fraudctl.evaluate import Period
        from fraudctl.maturity import instant

        if subject.by_chance is not None:
            if since is not None or until is not None:
                msg = "the data have no time, so a period cannot be chosen: the random test events are evaluated"
                raise UsageError(msg, hint="leave --from and --to out")
            return None
        zone, times = self.project.data.timezone, subject.times
        start = times.as_of if since is None else instant(since, timezone=zone)
        end = times.test_until if until is None else instant(until, timezone=zone)
        if since is not None and until is None and start >= end:
            end = self.table.known_until
        if start >= end:
            msg = f"the period from {start.isoformat()} to {end.isoformat()} is empty"
            raise UsageError(
                msg, hint="the end (--to, or the end of the test period) must lie after the start (--from)"
            )
        refuse_the_past(start, times.as_of, who=f"model {subject.name}")
        return Period(start, end)

    def _events(
        self, subject: Subject, period: Period | None, *, empty: bool = False, lead: bool = False
    ) -> tuple[pl.DataFrame, Excluded]:
        """Return the events of the period, less those that a block on known entities would have kept out.

        With ``lead`` also those before it, from the start of the local day or week of a capacity that had begun.
        """
        import polars as pl

        from fraudctl.evaluate import Excluded, lead_from
        from fraudctl.maturity import instant, known_blocked

        frame = self.table.spine
        if subject.by_chance is not None:
            test = self.table.rows(pl.Series(subject.by_chance.test_rows(frame["event_id"])))
            return test, Excluded(duplicates=self._copies(test["event_id"]))
        if period is None:
            msg = f"{subject.name} was split by time, and no period was given"
            raise ValueError(msg)
        start = lead_from(period.from_time, subject.policy, self.project) if lead else period.from_time
        counted = (pl.col("event_time") >= period.from_time) & (pl.col("event_time") < period.until)
        wanted = (pl.col("event_time") >= start) & (pl.col("event_time") < period.until)
        inside = frame.filter(counted)["event_id"]
        n_inside = len(inside)
        if n_inside == 0 and not empty:
            first, last = frame["event_time"][0], frame["event_time"][-1]
            msg = (
                f"no event lies between {period.from_time.isoformat()} and {period.until.isoformat()}; "
                f"the data reach from {first.isoformat()} to {last.isoformat()}"
            )
            raise DataError(msg, hint="choose another period with --from and --to, or another as_of")
        block = self.project.evaluate.block_known
        if block is None:
            rows = self.table.rows(frame.select(wanted).to_series())
            return rows, Excluded(duplicates=self._copies(inside))
        zone = self.project.data.timezone
        block_from = subject.times.train_from if block.since is None else instant(block.since, timezone=zone)
        blocked = pl.Series(known_blocked(frame, entity=block.entity, since=block_from, timezone=zone))
        n_kept = frame.filter(counted & ~blocked).height
        kept = self.table.rows(frame.select(wanted & ~blocked).to_series())
        return kept, Excluded(block_known=n_inside - n_kept, duplicates=self._copies(inside))

    def _copies(self, ids: pl.Series) -> int:
        """Return how many rows of the data repeat one of these events, and were dropped."""
        from fraudctl.data import tables, typed

        if not self.table.n_duplicates:
            return 0
        files, column = tables.event_files(self.project), self.project.data.event_id
        raw = tables.collect(tables.scan(files, form=tables.form_of(self.project)).select(column), files=files)[column]
        return int(typed.to_id(raw).is_in(ids.implode()).sum()) - len(ids)

    def _bundle_scores(
        self, bundle: Bundle, events: pl.DataFrame, *, watch: Watch = unwatched
    ) -> tuple[pl.DataFrame, NDArray[np.float64]]:
        """Score the events with the features that the bundle was trained on; give both."""
        from fraudctl.train import predict

        own = self.bundle is None or bundle.version == self.bundle.version
        table = self.table if own else table_as_of(bundle, self.present, progress=self.progress)
        events = self._features_of(bundle, table, events)
        return events, predict(bundle, events, whole=self._around(bundle, table, events), watch=watch)[1]

    def _around(self, scorer: Scorer, table: FeatureTable, events: pl.DataFrame) -> pl.DataFrame | None:
        """Return the rows of a table in which a challenger that looks back finds earlier events; else None."""
        import polars as pl

        history = None if scorer.challenger is None else scorer.challenger.section.history
        if history is None or events.is_empty():
            return None
        time, span = table.spine["event_time"], events.select(pl.col("event_time"))
        first, last = span.min().item(), span.max().item()
        return table.rows((time >= first - history.timedelta) & (time <= last))

    def _features_of(self, bundle: Bundle, theirs: FeatureTable, events: pl.DataFrame) -> pl.DataFrame:
        """Return the events with a rival's own features and columns; roles and labels stay the leading model's."""
        if self.bundle is None or bundle.version == self.bundle.version:
            return events
        from fraudctl.data.labels import CHANGES
        from fraudctl.data.tables import ROLES

        table = theirs.frame
        kept = [name for name in (*ROLES, CHANGES, *self.project.entities) if name in events.columns]
        strangers = events.join(table, on="event_id", how="anti").height
        if strangers:
            msg = (
                f"bundle {bundle.version} names events otherwise: {strangers:,} of {events.height:,} are unknown to it"
            )
            raise DataError(msg, hint="both models must be trained with the same [data] event_id")
        features = table.select("event_id", *(name for name in table.columns if name not in kept))
        found = events.select(kept).join(features, on="event_id", how="left", maintain_order="left")
        return found.hstack(events.select(name for name in events.columns if name not in found.columns))

    def _file_scores(self, path: Path, events: pl.DataFrame) -> NDArray[np.float64]:
        """Read scores from a file; events without one get NaN."""
        import polars as pl

        scores = read_scores(path, self.project, events.schema["event_id"])
        joined = events.select("event_id").join(scores, on="event_id", how="left", maintain_order="left")
        if joined["y_prob"].null_count() == joined.height:
            msg = f"{path}: none of its {scores.height:,} ids is among the {events.height:,} events of the period"
            raise DataError(msg, hint="are these the ids of the data, and scores of the test period?")
        return joined["y_prob"].fill_null(float("nan")).cast(pl.Float64).to_numpy()


def _nothing_to_judge(n_events: int, excluded: Excluded) -> DataError:
    counts = f"{excluded.immature} immature, {excluded.unlabelled} unlabelled, {excluded.block_known} blocked"
    msg = f"none of the {n_events} events of the period can be judged: {counts}"
    return DataError(msg, hint="evaluate an earlier period, or wait until labels have arrived")


def refuse_the_past(start: datetime, as_of: datetime, *, who: str) -> None:
    """Refuse a period that begins before a model's as_of: the model may have seen it."""
    if start < as_of:
        msg = f"the period begins at {start.isoformat()}, before {who} was trained as of {as_of.isoformat()}"
        raise UsageError(msg, hint="a model is only judged on what it cannot have seen: choose a later --from")


def unfitted_policy(project: Project) -> Policy:
    """Return the policy of a project that needs no fold predictions: the lowest expected cost, and nothing else."""
    from fraudctl.policy import bare_policy

    if project.policy.kind != "expected_cost" or project.policy.constraints or project.policy.capacity:
        msg = "the policy needs a trained model: thresholds, capacity and constraints are chosen on fold predictions"
        raise BundleError(msg, hint='run `fraudctl train` first, or set [policy] kind = "expected_cost" alone')
    return bare_policy(project)


def read_scores(path: Path, project: Project, id_type: pl.DataType) -> pl.DataFrame:
    """Read ``event_id`` and ``y_prob`` from Parquet or CSV.

    Raises
    ------
    DataError
        The file or a column is missing, an id stands twice, or a type does not fit.
    """
    import polars as pl

    from fraudctl.data import tables

    files = tables.given_files([path], what="--scores")
    frame = tables.collect(tables.scan(files), files=files)
    both = [item for item in dict.fromkeys(["event_id", project.data.event_id]) if item in frame.columns]
    if len(both) == 2 and not frame[both[0]].cast(pl.String).equals(frame[both[1]].cast(pl.String)):
        msg = f"{path}: the columns event_id and {shown(both[1])} hold other ids, and either may name the events"
        raise DataError(msg, hint="leave one of them out")
    name = both[0] if both else None
    if name is None or "y_prob" not in frame.columns:
        msg = f"{path}: expected the columns event_id (or {project.data.event_id}) and y_prob; got {frame.columns}"
        raise DataError(msg)
    if not frame["y_prob"].dtype.is_numeric():
        msg = f"{path}: y_prob is {frame['y_prob'].dtype}; expected numbers between 0 and 1"
        raise DataError(msg)
    tables.refuse_empty_ids(frame[name], where=f"{path}: column {shown(name)}")
    ids = frame[name].cast(id_type, strict=False)
    if ids.null_count():
        msg = f"{path}: {ids.null_count()} ids in {shown(name)} are null or not of the data's type {id_type}"
        raise DataError(msg)
    if ids.n_unique() < len(ids):
        msg = f"{path}: {len(ids) - ids.n_unique()} ids in {shown(name)} stand more than once"
        raise DataError(msg, hint="give one score per event")
    return pl.DataFrame({"event_id": ids, "y_prob": frame["y_prob"].cast(pl.Float64)})
