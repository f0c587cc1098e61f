"""``evaluate``: a bundle, or scores from anywhere, on a period that its training could not know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import UsageError
from fraudctl.evaluate.result import Evaluation, GateResult
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import Project
from fraudctl.text.sentences import fixed
from fraudctl.workflows.check import check_data
from fraudctl.workflows.decide import DecidedPeriod, Decisions
from fraudctl.workflows.evidence import gate_evidence, not_own
from fraudctl.workflows.pooled import pool_periods

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.evaluate.result import PooledPeriod
    from fraudctl.gate import Reference

PREDICTION_COLUMNS = ("event_id", "event_time", "label", "y_prob", "action", "decided_by", "cost")


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, the events behind it, and where its report stands."""

    JSON = ("*evaluation", "report")

    evaluation: Evaluation
    """The evaluation."""
    scored: pl.DataFrame
    """Evaluated events: the feature table's columns with y_prob, action and cost."""
    report: Path | None = None
    """The HTML report; null where none was written."""

    def _repr_html_(self) -> str:
        """Show the result in a notebook."""
        from fraudctl.report.render import evaluation_notebook

        return evaluation_notebook(self.evaluation)


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
    pooled: int | None = None,
    now: datetime | None = None,
    by: str = "",
    progress: Progress | None = None,
) -> EvaluationResult:
    """Evaluate a model on events after its as_of, and apply the gate.

    Parameters
    ----------
    model
        A version, a path, ``latest`` (the default) or ``champion``. With ``scores`` it only gives the policy.
    champion
        A bundle to compare with on the same events; by default the champion, where ``[gate]`` has a rule on it.
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
    pooled
        Test periods that are pooled, the earlier ones with refitted models; default ``[gate] pooled_folds``, else 1.
    now, by
        When and by whom the verdict is noted in the registry, where a promotion looks for it; None notes nothing.

    Raises
    ------
    UsageError
        The period begins before the as_of of the model or of the champion, there is no gate to require, or periods are
        to be pooled that cannot be.
    DataError
        The period has no events, or none of them can be judged.
    BundleError
        A bundle is missing, damaged or of another project.
    """
    if require_gate and project.gate is None:
        msg = "the project has no [gate], and --require-gate asks for one"
        raise UsageError(msg, hint="write the floors that a model must reach into [gate]")
    n_periods = _n_periods(project, pooled, named=any(item is not None for item in (scores, from_time, until)))
    progress = progress or Silent()
    decisions = Decisions.open(project, model, progress=progress, scores=scores is not None)
    project = decisions.project
    progress.stage("Scoring")
    if scores is None:
        decided = decisions.of_model(since=from_time, until=until)
    else:
        decided = decisions.of_scores(scores, since=from_time, until=until)
    rival = None
    champion = _registered_champion(project, decided) if champion is None else champion
    facts: tuple[PooledPeriod, ...] = ()
    whole, parts = decided, [decided]
    if n_periods > 1:
        joined = pool_periods(decisions, decided, champion, n_periods=n_periods)
        whole, rival, facts, parts = joined.decided, joined.rival, joined.periods, joined.parts
    elif champion is not None:
        rival = decisions.of_rival(champion, decided)
    drifts = gate and project.gate is not None and project.gate.drift is not None
    reference = decisions.reference(decided) if drifts else None
    steps = Steps(progress, 6 + len(project.entities))
    evaluation = _evaluate(project, whole, rival, reference, gate=gate, progress=progress, steps=steps)
    from fraudctl.report.evaluation_sentences import relabelled

    overlap = decisions.overlap(parts, watch=steps.begin)
    if overlap.relabelled is not None:
        progress.note(relabelled(overlap.relabelled))
    shared = replace(evaluation.tables, overlap=overlap, pooled=facts)
    evaluation = replace(evaluation, tables=shared)
    named = from_time is not None or until is not None
    steps.begin("report")
    path = _write_report(project, evaluation, named=named) if report else None
    if now is not None and gate and decisions.bundle is not None:
        by_hand = not_own(decisions, decided, scores=scores, n_periods=n_periods)
        evidence = gate_evidence(
            decisions, evaluation, by_hand=by_hand, scores=scores, n_periods=n_periods, report=path
        )
        for text in by_hand if project.gate is not None else []:
            progress.warn(f"this verdict is no ground for a promotion: {text}")
        _note_verdict(project, decisions.bundle.version, evaluation, rival, evidence, now=now, by=by)
    return EvaluationResult(evaluation, whole.scored, path)


def _n_periods(project: Project, pooled: int | None, *, named: bool) -> int:
    """Return how many periods are pooled; a period or scores that are named by hand stand alone."""
    asked = 1 if project.gate is None or named else project.gate.pooled_folds
    if pooled is None:
        return asked
    if pooled < 1:
        msg = f"--pooled {pooled}: expected a number of periods, at least 1"
        raise UsageError(msg)
    if pooled > 1 and named:
        msg = "--pooled goes with the test period of a model, not with --scores, --from or --to"
        raise UsageError(msg, hint="leave one of them out")
    return pooled


def _registered_champion(project: Project, decided: DecidedPeriod) -> str | None:
    """Return the champion that a rule of the gate needs; None if it is the model itself."""
    from fraudctl.registry import champion

    if project.gate is None or project.gate.champion is None:
        return None
    version = champion(project.models_dir)
    return None if version == decided.subject.name else version


def _note_verdict(
    project: Project,
    version: str,
    evaluation: Evaluation,
    rival: DecidedPeriod | None,
    evidence: Mapping[str, Any],
    *,
    now: datetime,
    by: str,
) -> None:
    from fraudctl.registry import record_gate

    record_gate(
        project.models_dir,
        version,
        verdict=evaluation.gate.verdict,
        reason=evaluation.gate.reason,
        compared_with=None if rival is None else rival.subject.name,
        now=now,
        by=by,
        evidence=evidence,
    )


def _evaluate(
    project: Project,
    decided: DecidedPeriod,
    rival: DecidedPeriod | None,
    reference: Reference | None,
    *,
    gate: bool,
    progress: Progress,
    steps: Steps,
) -> Evaluation:
    from fraudctl.evaluate import evaluate, prepare
    from fraudctl.gate import Champion, judge, put_beside

    progress.stage("Evaluating")
    subject, seed = decided.subject, project.train.seed
    judged = prepare(decided.scored, project)
    evaluation = evaluate(
        decided.scored,
        project=project,
        policy=subject.policy,
        model=subject.name,
        as_of=subject.as_of,
        period=decided.period,
        excluded=decided.excluded,
        seed=seed,
        immature=decided.young,
        split=subject.by_chance,
        progress=lambda name, done, total: progress.update(done, total, name),
        judged=judged,
    )
    champion = None if rival is None else Champion(rival.subject.name, rival.scored)
    if not gate:
        evaluation = put_beside(evaluation, decided.scored, project=project, champion=champion, seed=seed)
        left_out = GateResult("none", reason=fixed("the [gate] of the project was not applied, as asked for"))
        return evaluation if project.gate is None else replace(evaluation, gate=left_out)
    checks = check_data(project, progress=progress) if project.gate is not None and project.gate.checks else None
    progress.stage("Applying the gate")
    return judge(
        evaluation, decided.scored, project=project, policy=subject.policy, replay=decided.replay, champion=champion,
        reference=reference, checks=checks, seed=seed, watch=steps.begin, judged=judged,
    )  # fmt: skip


def _write_report(project: Project, evaluation: Evaluation, *, named: bool) -> Path:
    """Write the evaluation as JSON, for model cards, and the HTML report beside it.

    Those of a period named by hand replace none that the registry has a hash of.
    """
    from fraudctl.data import outputs
    from fraudctl.documents.results import as_text
    from fraudctl.report.render import evaluation_report

    period = evaluation.period
    when = f"-{period.from_time:%Y-%m-%d}-{period.until:%Y-%m-%d}" if named and period is not None else ""
    path = project.reports_dir / f"evaluation-{evaluation.model}{when}.html"
    outputs.write_text(as_text(evaluation), path.with_name(f"{path.stem}.json"))
    outputs.write_text(evaluation_report(evaluation, project=project.project.name), path)
    return path


def write_predictions(result: EvaluationResult, path: Path) -> None:
    """Write the evaluated events with their probability, action and cost as Parquet.

    Parameters
    ----------
    result
        What `evaluate_model` returned.
    path
        The file to write; one that is there is replaced.
    """
    from fraudctl.data import outputs

    timed = result.evaluation.period is not None
    columns = [name for name in PREDICTION_COLUMNS if timed or name != "event_time"]
    outputs.write_parquet(result.scored.select(columns), path)


def write_step_summary(evaluation: Evaluation, output_format: str) -> None:
    """With the format ``github``, append the verdict to the step summary that a GitHub job names in its environment."""
    from fraudctl.disk.files import append_whole
    from fraudctl.report.gate_formats import markdown

    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if output_format == "github" and place:
        append_whole(Path(place), markdown(evaluation).encode())
