"""``demo``: the whole path on synthetic events, ending with where to look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.progress import Progress, Silent
from fraudctl.project import load_project
from fraudctl.workflows.check import check_data
from fraudctl.workflows.evaluate import EvaluationResult, evaluate_model
from fraudctl.workflows.explain import ExplainResult, explain_model
from fraudctl.workflows.sample import write_sample
from fraudctl.workflows.train import TrainResult, train_model
from fraudctl.workflows.versions import user_name

if TYPE_CHECKING:
    from fraudctl.checks import CheckReport
    from fraudctl.monitor.outcome import MonitorResult
    from fraudctl.workflows.dashboard import DashboardResult
    from fraudctl.workflows.sample import PlantedChange, SampleResult
    from fraudctl.workflows.score import ScoreResult

LABEL_TABLES = ("chargebacks", "disputes")
"""What the demo knows of outcomes: the two tables that every merchant has."""

TRIALS = 3
"""Settings tried: enough to show the search, few enough for two minutes."""

LIFE_WEEKS, LIFE_TRAINED = 16, 8
"""Weeks after the sample, and those of them that are over when the model is trained."""
LIFE_CHANGES = ("attack=10w", "dead-feature=12w", "clock=14w")
"""What is planted in `run_life`."""

_LIMITS = """
# A limit of harm, for the demo.
[monitor.harm]
recall = { at_least = 0.40 }
"""


@dataclass(frozen=True)
class DemoResult:
    """Everything that the demo made, in one folder."""

    JSON = ("folder", "verdict as check", "model", "evaluation", "reports")

    folder: Path
    check: CheckReport
    train: TrainResult
    evaluation: EvaluationResult
    explanation: ExplainResult

    @property
    def verdict(self) -> str:
        """Verdict of the check."""
        return self.check.verdict

    @property
    def model(self) -> str:
        """Version of the model."""
        return self.train.version

    @property
    def reports(self) -> tuple[str, str]:
        """Paths of both HTML reports."""
        return str(self.evaluation.report), str(self.explanation.report)


def run_demo(folder: Path, *, progress: Progress | None = None) -> DemoResult:
    """Make the sample, propose its project, check, train, evaluate and explain, all in ``folder``.

    Raises
    ------
    UsageError
        The folder already holds a sample.
    """
    progress = progress or Silent()
    sample = write_sample(folder, label_tables=LABEL_TABLES, progress=progress)
    project = load_project(sample.project_file)
    check = check_data(project, progress=progress)
    trained = train_model(project, trials=TRIALS, progress=progress)
    evaluation = evaluate_model(
        project, model=trained.version, now=datetime.now(UTC), by=user_name(), progress=progress
    )
    explanation = explain_model(project, model=trained.version, progress=progress)
    return DemoResult(folder, check, trained, evaluation, explanation)


@dataclass(frozen=True)
class LifeResult:
    """A model and the weeks after its training, in one folder."""

    JSON = ("folder", "changes", "model", "decided as decisions", "calm_verdict as before", "verdict as after", "page")

    folder: Path
    changes: tuple[PlantedChange, ...]
    """What was planted, and from when."""
    train: TrainResult
    decided: ScoreResult
    calm: MonitorResult
    """The run of `monitor` before the first change."""
    monitor: MonitorResult
    """The run at the end."""
    dashboard: DashboardResult

    @property
    def model(self) -> str:
        """Version of the model."""
        return self.train.version

    @property
    def calm_verdict(self) -> str:
        """Verdict of `monitor` before the first change."""
        return self.calm.verdict

    @property
    def verdict(self) -> str:
        """Verdict of `monitor` at the end."""
        return self.monitor.verdict

    @property
    def page(self) -> str:
        """Path of the dashboard."""
        return str(self.dashboard.page)


def run_life(folder: Path, *, n_events: int | None = None, progress: Progress | None = None) -> LifeResult:
    """Train on the sample, decide on weeks after it in which something changes, watch, and write the dashboard.

    Parameters
    ----------
    folder
        Where everything is written.
    n_events
        Size of the sample; by default that of `write_sample`.

    Raises
    ------
    UsageError
        The folder already holds a sample.
    """
    from fraudctl.data.outputs import write_text
    from fraudctl.sample import START
    from fraudctl.workflows.dashboard import make_dashboard
    from fraudctl.workflows.models import promote_model
    from fraudctl.workflows.monitor import monitor_model
    from fraudctl.workflows.sample import DAYS, N_EVENTS

    progress = progress or Silent()
    sample = write_sample(
        folder, n_events=n_events or N_EVENTS, label_tables=LABEL_TABLES, after_days=7 * LIFE_WEEKS,
        changes=LIFE_CHANGES, progress=progress,
    )  # fmt: skip
    write_text(sample.project_file.read_text(encoding="utf-8") + _LIMITS, sample.project_file)
    project = load_project(sample.project_file)
    first_change = sample.changes[0].begins
    as_of = (START + timedelta(days=DAYS, weeks=LIFE_TRAINED)).date()
    trained = train_model(project, as_of=as_of, fast=True, progress=progress)
    promote_model(project, trained.version, force_reason="the first champion of the demo", progress=progress)
    decided = _decide(sample, as_of, progress)
    calm = monitor_model(project, [decided.output], as_of=first_change - timedelta(days=1), progress=progress)
    found = monitor_model(project, [decided.output], progress=progress)
    board = make_dashboard(project, [decided.output], progress=progress)
    return LifeResult(folder, sample.changes, trained, decided, calm, found, board)


def _decide(sample: SampleResult, as_of: date, progress: Progress) -> ScoreResult:
    """Decide with the champion on every event since ``as_of``."""
    import polars as pl

    from fraudctl.data.outputs import write_parquet
    from fraudctl.disk.files import temporary_folder
    from fraudctl.workflows.score import open_model, score_files

    model = open_model(sample.project_file, "champion", batch=True, progress=progress)
    events = pl.concat([pl.read_parquet(path) for path in (sample.transactions, sample.after[0])])
    since = pl.col("created_at").dt.date() >= as_of
    with temporary_folder(sample.folder, ".weeks") as place:
        write_parquet(events.filter(~since), place / "before.parquet")
        write_parquet(events.filter(since), place / "since.parquet")
        return score_files(
            model, [place / "since.parquet"], output=sample.folder / "decisions.parquet",
            history=[place / "before.parquet"], progress=progress,
        )  # fmt: skip
