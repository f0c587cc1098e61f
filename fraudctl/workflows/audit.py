"""``audit``: proof that the features hold nothing that could not have been known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import DataError
from fraudctl.features.proof.receipt import TrainingAudit
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import Project
from fraudctl.workflows.definitions import load_definitions, plan_features
from fraudctl.workflows.features import FeatureTable, build_features

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.data.tables import Events
    from fraudctl.features.proof.audit import AuditResult, Suspect

DEFAULT_SAMPLE = 200
TRAIN_SAMPLE = 12
"""Events that `train` recomputes."""
_TRAIN_FUTURE_ROWS = 20_000
_TRAIN_STEPS = 6_000_000
_FUTURE_ROWS = 200_000
"""Latest events whose future `audit` alters."""
_STEPS = 24_000_000
"""Values of earlier events that recomputing a sample may read."""


def audit_features(
    project: Project,
    *,
    sample: int = DEFAULT_SAMPLE,
    features_file: Path | None = None,
    snapshot_file: Path | None = None,
    snapshot_version: int | datetime | None = None,
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
    snapshot_file
        The same features as they were computed earlier, from fewer data.
    snapshot_version
        An earlier version of the Delta or Iceberg table of the events: number, or an instant, for which other tables
        of such kinds are taken as they were then, too. Features, events and labels by its end have to be the same.

    Raises
    ------
    DataError
        As building features does, or the file does not fit the events; the events have no versions.
    """
    from fraudctl.features.proof.audit import audit

    progress = progress or Silent()
    plan = plan_features(project)
    built = build_features(project, progress=progress)
    table = built.hold(progress) if features_file is None else _read(features_file, "--features")
    snapshot = None if snapshot_file is None else _read(snapshot_file, "--snapshot")
    suspects: list[Suspect] = []
    progress.stage("Reading events")
    events = plan.load(watch=Steps(progress, 4).begin)
    if snapshot_version is not None:
        progress.stage("Building the features of the earlier version")
        snapshot, suspects = _earlier(project, snapshot_version, events, progress)
    progress.stage(f"Auditing {sample} events")
    progress.update(0, sample, "reading other tables")
    sources = plan.load_sources()
    progress.update(0, sample, "looking for rows")
    result = audit(
        events,
        plan.features,
        table,
        sample=sample,
        seed=project.train.seed,
        timezone=project.data.timezone,
        sources=sources,
        progress=lambda name, done, total: progress.update(done, total, name),
        future_rows=min(events.frame.height, _FUTURE_ROWS),
        steps=_STEPS,
        snapshot=snapshot,
    )
    return replace(result, suspects=(*result.suspects, *suspects))


def _earlier(
    project: Project, version: int | datetime, later: Events, progress: Progress
) -> tuple[pl.DataFrame, list[Suspect]]:
    """Build the features from an earlier version of the data; find what was changed of it afterwards."""
    from fraudctl.data.located import event_files, in_version
    from fraudctl.data.tables import place
    from fraudctl.features.proof.snapshots import changed_afterwards
    from fraudctl.normal.lake import is_lake

    files = event_files(project)
    if not is_lake(files[0]):
        msg = f"{place(files)}: is neither a Delta nor an Iceberg table, and has no earlier version"
        raise DataError(msg, hint="--snapshot FILE takes the same features as computed earlier")
    before = in_version(project, version)
    table = build_features(before, progress=progress).frame
    return table, changed_afterwards(plan_features(before).load(), later)


def _read(path: Path, option: str) -> pl.DataFrame:
    from fraudctl.data import tables

    files = tables.given_files([path], what=option)
    return tables.collect(tables.scan(files), files=files)


def audit_before_training(project: Project, table: FeatureTable, *, progress: Progress) -> TrainingAudit:
    """Recompute a few events of the table that a model is about to learn from, and alter the future of the latest.

    Raises
    ------
    DataError
        A feature is not what could have been known.
    """
    from fraudctl.data.tables import Events
    from fraudctl.features.proof.audit import audit

    events = Events(table.hold(progress), table.known_until, table.n_duplicates)
    progress.stage(f"Auditing {TRAIN_SAMPLE} events")
    result = audit(
        events, table.features, table.frame, sample=TRAIN_SAMPLE, seed=project.train.seed,
        timezone=project.data.timezone, sources=load_definitions(project).load_sources(),
        future_rows=_TRAIN_FUTURE_ROWS, steps=_TRAIN_STEPS,
        progress=lambda name, done, total: progress.update(done, total, name),
    )  # fmt: skip
    if not result.passed:
        names = ", ".join(dict.fromkeys(item.feature for item in result.differences))
        msg = f"features are not what could have been known at the event: {names}"
        raise DataError(msg, hint="`fraudctl audit` says where; remove .fraudctl/features if its files were changed")
    return TrainingAudit(result.n_events, result.n_features, result.n_future, result.n_passed_over, result.digest)
