"""``evaluate``: a bundle, or scores from anywhere, on a period that its training could not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import BundleError, DataError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project, parse_project
from fraudctl.workflows.features import FeatureTable, build_features
from fraudctl.workflows.train import open_bundle

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from fraudctl.bundle import Bundle
    from fraudctl.evaluate import Evaluation, Excluded, Period
    from fraudctl.policy import Policy

PREDICTION_COLUMNS = ("event_id", "event_time", "label", "y_prob", "action", "cost")


@dataclass(frozen=True)
class Judged:
    """What is evaluated: who scores, what it knew, how it decides.

    Attributes
    ----------
    name
        Version of the bundle, or ``scores`` for scores from a file.
    as_of
        What the model knew.
    train_from
        Start of its training period; frauds before it do not block by default.
    test_until
        End of the test period by default.
    policy
        Frozen with the model.
    y_prob
        Calibrated probabilities of every event of the feature table, NaN outside the period or where missing.
    """

    name: str
    as_of: datetime
    train_from: datetime
    test_until: datetime
    policy: Policy


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, the events behind it, and where its report stands."""

    evaluation: Evaluation
    scored: pl.DataFrame
    """Evaluated events: the feature table's columns with y_prob, action and cost."""
    table: FeatureTable
    report: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the result as the document of ``evaluate --json``."""
        return {**self.evaluation.to_dict(), "report": None if self.report is None else str(self.report)}


def evaluate_model(
    project: Project,
    *,
    model: str | None = None,
    champion: str | None = None,
    scores: Path | None = None,
    from_time: datetime | date | None = None,
    until: datetime | date | None = None,
    gate: bool = True,
    require_gate: bool = False,
    report: bool = True,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Evaluate a model on events after its as_of, and apply the gate.

    Parameters
    ----------
    model
        A version, a path, ``latest`` (the default) or ``champion``. With ``scores`` it only gives the policy.
    champion
        A bundle to compare with on the same events.
    scores
        Parquet or CSV with ``event_id`` (or the data's own name of it) and ``y_prob``, evaluated instead of a model.
    from_time, until
        Period ``[from_time, until)``; by default the test period after as_of.
    gate
        Whether to apply ``[gate]``.
    require_gate
        Refuse a project without ``[gate]``.
    report
        Whether to write the HTML report.

    Raises
    ------
    UsageError
        The period begins before the as_of of the model or of the champion, or there is no gate to require.
    DataError
        The period has no events, or none of them can be judged.
    BundleError
        A bundle is missing, damaged or of another project.
    """
    if require_gate and project.gate is None:
        msg = "the project has no [gate], and --require-gate asks for one"
        raise UsageError(msg, hint="write the floors that a model must reach into [gate]")
    progress = progress or Silent()
    run = _Run(project, build_features(project, progress=progress), progress)
    return run.evaluate(model, champion, scores, (from_time, until), gate=gate, report=report)


@dataclass
class _Run:
    """One evaluation of a project on its feature table."""

    project: Project
    table: FeatureTable
    progress: Progress

    def evaluate(
        self,
        model: str | None,
        champion: str | None,
        scores: Path | None,
        limits: tuple[datetime | date | None, datetime | date | None],
        *,
        gate: bool,
        report: bool,
    ) -> EvaluationResult:
        from fraudctl.evaluate import evaluate
        from fraudctl.gate import Champion, judge

        self.progress.stage("Scoring")
        bundle = self._bundle(model, scores)
        subject = self._subject(bundle, scores)
        period = self._period(subject, limits)
        events, excluded = self._events(subject, period)
        if scores is None and bundle is not None:
            events, y_prob = self._bundle_scores(bundle, events)
        else:
            y_prob = self._file_scores(scores or Path(), events)
        scored, young = self._decided(events, y_prob, subject.policy)
        excluded = replace(excluded, unlabelled=events.height - scored.height - young.height, immature=young.height)
        if scored.height == 0:
            raise self._nothing_to_judge(events.height, excluded)
        self.progress.stage("Evaluating")
        evaluation = evaluate(
            scored,
            project=self.project,
            policy=subject.policy,
            model=subject.name,
            as_of=subject.as_of,
            period=period,
            excluded=excluded,
            seed=self.project.train.seed,
            immature=young,
        )
        rival = None
        if champion is not None:
            version, rival_scored = self._rival(champion, events, period)
            rival = Champion(version, rival_scored)
        if gate:
            self.progress.stage("Applying the gate")
            evaluation = judge(
                evaluation, scored, project=self.project, policy=subject.policy, champion=rival,
                seed=self.project.train.seed,
            )  # fmt: skip
        path = self._report(evaluation) if report else None
        return EvaluationResult(evaluation, scored, self.table, path)

    def _bundle(self, model: str | None, scores: Path | None) -> Bundle | None:
        """Open the model; with scores from a file and no model named, none is needed."""
        try:
            return open_bundle(self.project, model or "latest")
        except BundleError:
            if scores is not None and model is None and not self.project.models_dir.exists():
                return None
            raise

    def _subject(self, bundle: Bundle | None, scores: Path | None) -> Judged:
        from fraudctl.policy import Policy
        from fraudctl.split import make_split

        if bundle is None:
            split = make_split(self.table.frame, self.project, known_until=self.table.known_until)
            policy = unfitted_policy(self.project)
            return Judged("scores", split.as_of, split.train_from, split.test_until, policy)
        facts = bundle.facts
        test = self.project.split.test
        until = bundle.as_of + test.timedelta if test else datetime.fromisoformat(facts["test_until"])
        return Judged(
            name="scores" if scores is not None else bundle.version,
            as_of=bundle.as_of,
            train_from=datetime.fromisoformat(facts["train_from"]),
            test_until=until,
            policy=Policy.from_dict(dict(bundle.policy)),
        )

    def _period(self, subject: Judged, limits: tuple[datetime | date | None, datetime | date | None]) -> Period:
        from fraudctl.evaluate import Period
        from fraudctl.split import instant

        zone = self.project.data.timezone
        start = subject.as_of if limits[0] is None else instant(limits[0], timezone=zone)
        end = subject.test_until if limits[1] is None else instant(limits[1], timezone=zone)
        if limits[0] is not None and limits[1] is None and start >= end:
            end = self.table.known_until
        if start >= end:
            msg = f"the period from {start.isoformat()} to {end.isoformat()} is empty"
            raise UsageError(msg, hint="--to must lie after --from")
        refuse_the_past(start, subject.as_of, who=f"model {subject.name}")
        return Period(start, end)

    def _events(self, subject: Judged, period: Period) -> tuple[pl.DataFrame, Excluded]:
        """Give the events of the period, less those that a block on known entities would have kept out."""
        import polars as pl

        from fraudctl.evaluate import Excluded
        from fraudctl.split import instant, known_blocked

        frame = self.table.frame
        inside = (pl.col("event_time") >= period.from_time) & (pl.col("event_time") < period.until)
        events = frame.filter(inside)
        if events.height == 0:
            first, last = frame["event_time"][0], frame["event_time"][-1]
            msg = (
                f"no event lies between {period.from_time.isoformat()} and {period.until.isoformat()}; "
                f"the data reach from {first.isoformat()} to {last.isoformat()}"
            )
            raise DataError(msg, hint="choose another period with --from and --to, or another as_of")
        block = self.project.evaluate.block_known
        if block is None:
            return events, Excluded(duplicates=self.table.n_duplicates)
        zone = self.project.data.timezone
        since = subject.train_from if block.since is None else instant(block.since, timezone=zone)
        blocked = pl.Series(known_blocked(frame, entity=block.entity, since=since, timezone=zone))
        kept = frame.filter(inside & ~blocked)
        return kept, Excluded(block_known=events.height - kept.height, duplicates=self.table.n_duplicates)

    def _bundle_scores(self, bundle: Bundle, events: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float64]]:
        """Score the events with the features that the bundle was trained on; give both."""
        from fraudctl.train import predict

        events = self._features_of(bundle, events)
        return events, predict(bundle, events)[1]

    def _features_of(self, bundle: Bundle, events: pl.DataFrame) -> pl.DataFrame:
        """Give the events with the bundle's own features, built anew where the project's differ from them."""
        if bundle.features.get("digest") == self.table.features.digest:
            return events
        theirs = parse_project(bundle.manifest["project_file"], path=self.project.path)
        own = theirs.model_copy(update={"data": self.project.data, "entities": self.project.entities})
        table = build_features(own, progress=self.progress).frame
        found = events.select("event_id").join(table, on="event_id", how="left", maintain_order="left")
        return found.hstack(events.select(name for name in events.columns if name not in table.columns))

    def _file_scores(self, path: Path, events: pl.DataFrame) -> NDArray[np.float64]:
        """Read scores from a file; events without one get NaN."""
        import polars as pl

        scores = read_scores(path, self.project, events.schema["event_id"])
        joined = events.select("event_id").join(scores, on="event_id", how="left", maintain_order="left")
        missing = joined["y_prob"].null_count()
        if missing:
            self.progress.warn(f"{missing:,} of {events.height:,} events have no score in {path}")
        return joined["y_prob"].fill_null(float("nan")).cast(pl.Float64).to_numpy()

    def _decided(
        self, events: pl.DataFrame, y_prob: NDArray[np.float64], policy: Policy
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Decide on every event in time order; give those that can be judged, and those that are too young."""
        from fraudctl.evaluate import decide_frame
        from fraudctl.split import immature

        decided = decide_frame(events, y_prob, policy=policy, project=self.project)
        young = immature(decided, label_delay=self.project.data.label_delay, known_until=self.table.known_until)
        judged = decided.filter(~young & decided["label"].is_not_null())
        return judged, decided.filter(young)

    def _rival(self, champion: str, events: pl.DataFrame, period: Period) -> tuple[str, pl.DataFrame]:
        from fraudctl.policy import Policy

        bundle = open_bundle(self.project, champion)
        refuse_the_past(period.from_time, bundle.as_of, who=f"champion {bundle.version}")
        policy = Policy.from_dict(dict(bundle.policy))
        return bundle.version, self._decided(*self._bundle_scores(bundle, events), policy)[0]

    def _nothing_to_judge(self, n_events: int, excluded: Excluded) -> DataError:
        counts = f"{excluded.immature} immature, {excluded.unlabelled} unlabelled, {excluded.block_known} blocked"
        msg = f"none of the {n_events} events of the period can be judged: {counts}"
        return DataError(msg, hint="evaluate an earlier period, or wait until labels have arrived")

    def _report(self, evaluation: Evaluation) -> Path:
        from fraudctl import tables
        from fraudctl.report import evaluation_html

        path = self.project.reports_dir / f"evaluation-{evaluation.model}.html"
        tables.write_text(evaluation_html(evaluation, project=self.project), path)
        return path


def refuse_the_past(start: datetime, as_of: datetime, *, who: str) -> None:
    """Refuse a period that begins before a model's as_of: the model may have seen it."""
    if start < as_of:
        msg = f"the period begins at {start.isoformat()}, before {who} was trained as of {as_of.isoformat()}"
        raise UsageError(msg, hint="a model is only judged on what it cannot have seen: choose a later --from")


def unfitted_policy(project: Project) -> Policy:
    """Give the policy of a project that needs no fold predictions: the lowest expected cost, and nothing else."""
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

    from fraudctl import tables

    files = tables.find_files(str(path.resolve()), root=Path.cwd())
    frame = tables.collect(tables.scan(files), files=files)
    name = next((item for item in ("event_id", project.data.event_id) if item in frame.columns), None)
    if name is None or "y_prob" not in frame.columns:
        msg = f"{path}: expected the columns event_id (or {project.data.event_id}) and y_prob; got {frame.columns}"
        raise DataError(msg)
    if not frame["y_prob"].dtype.is_numeric():
        msg = f"{path}: y_prob is {frame['y_prob'].dtype}; expected numbers between 0 and 1"
        raise DataError(msg)
    ids = frame[name].cast(id_type, strict=False)
    if ids.null_count():
        msg = f"{path}: {ids.null_count()} ids in {name!r} are null or not of the data's type {id_type}"
        raise DataError(msg)
    if ids.n_unique() < len(ids):
        msg = f"{path}: {len(ids) - ids.n_unique()} ids in {name!r} stand more than once"
        raise DataError(msg, hint="give one score per event")
    return pl.DataFrame({"event_id": ids, "y_prob": frame["y_prob"].cast(pl.Float64)})


def write_predictions(result: EvaluationResult, path: Path) -> None:
    """Write the evaluated events with y_prob, action and cost as Parquet."""
    from fraudctl import tables

    tables.write_parquet(result.scored.select(PREDICTION_COLUMNS), path)


def verdict_line(document: Mapping[str, Any]) -> str:
    """Say the verdict of an evaluation's document in one line."""
    gate = document["gate"]
    return f"{gate['verdict']}: {gate['reason']}" if gate["reason"] else str(gate["verdict"])
