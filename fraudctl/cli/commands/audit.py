"""``fraudctl audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, ProjectPath
from fraudctl.errors import ExitCode

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl audit",
    "fraudctl audit --sample 1000",
    "fraudctl audit --features warehouse.parquet   # features that were computed elsewhere",
    "fraudctl audit --snapshot 2024-06-01   # what of a Delta or Iceberg table was changed after the fact",
    stores=("features",),
)
def audit(
    session: Session,
    *,
    project: ProjectPath = HERE,
    sample: Annotated[int, typer.Option(min=1, help="Events to recompute.")] = 200,
    features: Annotated[Path | None, typer.Option(help="Features computed elsewhere: event_id and columns.")] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            help="The same features as computed earlier, from fewer data: a file; or an earlier version of a Delta or "
            "Iceberg table: its number, or an instant."
        ),
    ] = None,
) -> None:
    """Recompute sampled events from what was known then; exit 1 on any difference."""
    from fraudctl.cli.options import file_or_version
    from fraudctl.cli.render import audit_tables
    from fraudctl.project import load_project
    from fraudctl.workflows.audit import audit_features

    loaded = load_project(project)
    file, version = file_or_version(snapshot, timezone=loaded.data.timezone)
    with session.progress() as progress:
        result = audit_features(
            loaded, sample=sample, features_file=features, snapshot_file=file, snapshot_version=version,
            progress=progress,
        )  # fmt: skip
    session.emit(result.to_dict())
    for table in audit_tables(result):
        session.show(table)
    raise typer.Exit(ExitCode.OK if result.passed else ExitCode.NO)
