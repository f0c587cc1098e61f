"""``fraudctl check``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, ProjectPath
from fraudctl.errors import ExitCode

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command("fraudctl check", "fraudctl check --strict   # exit 1 where there are warnings")
def check(
    session: Session,
    *,
    project: ProjectPath = HERE,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where there are warnings.")] = False,
) -> None:
    """Look for trouble in the data: quality, label maturity, leakage suspects."""
    from fraudctl.cli.render import check_tables
    from fraudctl.project import load_project
    from fraudctl.workflows.check import check_data

    with session.progress() as progress:
        report = check_data(load_project(project), now=datetime.now(UTC), progress=progress)
    session.emit(report)
    for table in check_tables(report, verbose=session.verbose):
        session.show(table)
    if report.n_errors:
        raise typer.Exit(ExitCode.DATA)
    raise typer.Exit(ExitCode.NO if strict and report.n_warnings else ExitCode.OK)
