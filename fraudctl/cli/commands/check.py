"""``fraudctl check``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, NoProgress, ProjectPath, Quiet, Verbose
from fraudctl.errors import ExitCode


def check(
    *,
    project: ProjectPath = HERE,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where there are warnings.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Look for trouble in the data: quality, label maturity, leakage suspects."""
    from fraudctl.cli.render import check_tables
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.check import check_data

    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
    with session.progress() as progress:
        report = check_data(load_project(project), now=datetime.now(UTC), progress=progress)
    session.emit(report)
    for table in check_tables(report, verbose=verbose):
        session.show(table)
    if report.n_errors:
        raise typer.Exit(ExitCode.DATA)
    raise typer.Exit(ExitCode.NO if strict and report.n_warnings else ExitCode.OK)
