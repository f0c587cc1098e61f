"""``fraudctl audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, NoProgress, ProjectPath, Quiet, Verbose
from fraudctl.errors import ExitCode


def audit(
    *,
    project: ProjectPath = HERE,
    sample: Annotated[int, typer.Option(min=1, help="Events to recompute.")] = 200,
    features: Annotated[Path | None, typer.Option(help="Features computed elsewhere: event_id and columns.")] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="The same features as computed earlier, from fewer data.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Recompute sampled events from what was known then; exit 1 on any difference."""
    from fraudctl.cli.render import audit_tables
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.audit import audit_features

    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
    with session.progress() as progress:
        result = audit_features(
            load_project(project), sample=sample, features_file=features, snapshot_file=snapshot, progress=progress
        )
    session.emit(result.to_dict())
    for table in audit_tables(result):
        session.show(table)
    raise typer.Exit(ExitCode.OK if result.passed else ExitCode.NO)
