"""``explain``: what was missed, who was annoyed, what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import BundleError, UsageError
from fraudctl.explain.result import Explanation
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.workflows.decide import DecidedPeriod, Decisions
from fraudctl.workflows.versions import LATEST, open_bundle

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from fraudctl.bundle import Bundle
    from fraudctl.explain.event import EventExplanation


@dataclass(frozen=True)
class ExplainResult:
    """An explanation, and where its report stands."""

    JSON = ("*explanation", "report")

    explanation: Explanation
    """The explanation."""
    report: Path
    """The HTML report."""

    def _repr_html_(self) -> str:
        """Show the result in a notebook."""
        from fraudctl.report.render import explanation_notebook

        return explanation_notebook(self.explanation)


def explain_model(
    project: Project,
    *,
    model: str | None = None,
    from_time: datetime | date | None = None,
    until: datetime | date | None = None,
    sample: int | None = None,
    charts: Path | None = None,
    interactions: bool = False,
    progress: Progress | None = None,
) -> ExplainResult:
    """Explain a model's errors on a period that it cannot have seen, and write the report.

    Parameters
    ----------
    model
        A version, a path, or ``latest`` (the default).
    from_time, until
        Period ``[from_time, until)``; by default the test period after as_of.
    sample
        Most legitimate passed events that are looked at closely.
    charts
        Folder that gets every chart as SVG and PNG.
    interactions
        Whether to say which features act together on the errors.

    Raises
    ------
    UsageError, DataError, BundleError
        As `fraudctl.workflows.evaluate.evaluate_model` does.
    """
    from fraudctl.explain.result import Basis
    from fraudctl.explain.run import SAMPLE, STEPS, explain
    from fraudctl.text.wording import policy_words

    _require_time(project)
    progress = progress or Silent()
    _require_trees(project, model)
    decisions = Decisions.open(project, model, progress=progress)
    project, table = decisions.project, decisions.table
    _require_time(project)
    progress.stage("Scoring")
    decided = decisions.of_model(since=from_time, until=until)
    bundle = bundle_of(decided)
    progress.stage("Explaining")
    explanation = explain(
        decided.scored,
        table.spine,
        columns=table.select,
        project=project,
        features=table.features.features,
        contribute=lambda frame: contributions_of(bundle, frame, progress=progress),
        replay=decided.replay,
        model=bundle.version,
        interact=partial(interactions_of, bundle, progress=progress) if interactions else None,
        as_of=bundle.as_of,
        start=decided.span.from_time,
        until=min(decided.span.until, _judged_until(project, table.known_until)),
        seed=project.train.seed,
        sample=sample or SAMPLE,
        basis=Basis(
            table.fingerprint,
            " ".join(policy_words(decided.subject.policy)),
            decided.excluded,
            project.data.times_note,
        ),
        progress=lambda name, done, total: progress.update(done, total, name),
    )
    progress.update(STEPS, STEPS, "report")
    return ExplainResult(explanation, _write_report(project, explanation, charts))


def _judged_until(project: Project, known_until: datetime) -> datetime:
    """Return the first instant whose events are too young to be judged: losses are those of the time before."""
    return known_until - project.data.label_delay.timedelta + timedelta(microseconds=1)


def explain_one(
    project: Project, event_id: str, *, model: str | None = None, progress: Progress | None = None
) -> EventExplanation:
    """Explain the decision on one event of the data, whatever its time.

    Parameters
    ----------
    event_id
        The event's id as text.
    model
        A version, a path, or ``latest`` (the default).

    Raises
    ------
    DataError
        There is no such event.
    BundleError
        The bundle is missing or damaged.
    """
    from fraudctl.explain.event import explain_event
    from fraudctl.train import predict

    _require_time(project)
    progress = progress or Silent()
    bundle = open_bundle(project, LATEST if model is None else model, progress=progress)
    bundle.require_trees()
    decisions = Decisions.of_bundle(project, bundle, progress=progress)
    project, table = decisions.project, decisions.table
    _require_time(project)
    progress.stage("Explaining")
    moment = decisions.alone(bundle, event_id)
    return explain_event(
        event_id,
        table.frame,
        project=project,
        features=table.features.features,
        contribute=lambda frame: contributions_of(bundle, frame),
        score=lambda frame: predict(bundle, frame)[1],
        decide=moment.decide,
        decided_by=moment.decided_by,
        model=bundle.version,
    )


def _require_time(project: Project) -> None:
    """Refuse data without a time: nearly all that is explained is what was known before an event, and what came when.

    Raises
    ------
    UsageError
        ``[data]`` has no event_time.
    """
    if not project.data.has_time:
        msg = "the data have no event_time, and an explanation tells what was known before each event"
        raise UsageError(msg, hint="`fraudctl evaluate --predictions FILE` writes every decision with its cost")


def _require_trees(project: Project, model: str | None) -> None:
    """Refuse a challenger before its features are built: contributions are exact, and only trees have them."""
    open_bundle(project, LATEST if model is None else model).require_trees()


def bundle_of(decided: DecidedPeriod) -> Bundle:
    """Return the bundle that decided; only a bundle can be explained."""
    if decided.subject.bundle is None:
        msg = "only the decisions of a bundle can be explained"
        raise BundleError(msg, hint="`fraudctl train` writes one")
    return decided.subject.bundle


def contributions_of(bundle: Bundle, frame: pl.DataFrame, *, progress: Progress | None = None) -> NDArray[np.float64]:
    """Return exact SHAP values, shape ``(n_events, n_features + 1)``, the base last."""
    import numpy as np

    from fraudctl.explain.contributions import contributions

    shown = progress or Silent()
    found = contributions(
        bundle.model, bundle.columns.matrix(frame), categorical=bundle.columns.categorical, partner=bundle.partner,
        progress=lambda name, done, total: shown.update(done, total, name),
    )  # fmt: skip
    return np.column_stack([found.values, np.full(frame.height, found.base)])


def interactions_of(
    bundle: Bundle, frame: pl.DataFrame, *, progress: Progress
) -> tuple[list[tuple[int, int]], NDArray[np.float64]]:
    """Return the pairs of features that the model uses together most, and their interactions on each event."""
    from fraudctl.explain.contributions import interactions, strongest_pairs

    pairs = strongest_pairs(bundle.model, partner=bundle.partner)
    matrix = bundle.columns.matrix(frame)
    values = interactions(
        bundle.model,
        matrix,
        pairs=pairs,
        categorical=bundle.columns.categorical,
        partner=bundle.partner,
        progress=lambda name, done, total: progress.update(done, total, name),
    )
    return pairs, values


def _write_report(project: Project, explanation: Explanation, charts: Path | None) -> Path:
    from fraudctl.data import outputs
    from fraudctl.report.explanation import explanation_document
    from fraudctl.report.render import chart_files, explanation_report

    path = project.reports_dir / f"explanation-{explanation.model}.html"
    outputs.write_text(explanation_report(explanation), path)
    if charts is not None:
        for name, content in chart_files(explanation_document(explanation)).items():
            with outputs.whole_file(charts / name) as temporary:
                temporary.write_bytes(content)
    return path
