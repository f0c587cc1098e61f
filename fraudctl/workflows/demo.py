"""``demo``: the whole path on synthetic events, ending with where to look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
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

LABEL_TABLES = ("chargebacks", "disputes")
"""What the demo knows of outcomes: the two tables that every merchant has."""

TRIALS = 3
"""Settings tried: enough to show the search, few enough for two minutes."""


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
