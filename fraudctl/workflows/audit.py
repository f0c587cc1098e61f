"""``audit``: proof that the features hold nothing that could not have been known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.workflows.features import build_features, plan_features

if TYPE_CHECKING:
    from fraudctl.features.audit import AuditResult

DEFAULT_SAMPLE = 200


def audit_features(
    project: Project,
    *,
    sample: int = DEFAULT_SAMPLE,
    features_file: Path | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Recompute sampled events from the world that was known at each, and alter the future to see that nothing moves.

    Parameters
    ----------
    sample
        Events to recompute.
    features_file
        Parquet or CSV with ``event_id`` and features that were computed elsewhere, audited instead of the project's
        own table as far as their definitions are declared.

    Raises
    ------
    DataError
        As building features does, or the file does not fit the events.
    """
    from fraudctl import tables
    from fraudctl.features.audit import audit

    progress = progress or Silent()
    plan = plan_features(project)
    table = build_features(project, progress=progress).frame
    if features_file is not None:
        files = tables.find_files(str(features_file.resolve()), root=Path.cwd(), what="--features")
        table = tables.collect(tables.scan(files), files=files)
    progress.stage(f"Auditing {sample} events")
    return audit(
        plan.load(),
        plan.features,
        table,
        sample=sample,
        seed=project.train.seed,
        timezone=project.data.timezone,
        sources=plan.load_sources(),
        progress=lambda name, done, total: progress.update(done, total, name),
    )
