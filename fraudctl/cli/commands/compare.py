"""``fraudctl compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, Date, NoProgress, ProjectPath, Quiet, Verbose, moment


def compare(
    a: Annotated[str, typer.Argument(help="A version, a path, latest or champion.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    *,
    project: ProjectPath = HERE,
    from_: Annotated[Date, typer.Option("--from", help="Start of the period. Default: the later as_of.")] = None,
    to: Annotated[Date, typer.Option("--to", help="End of the period, itself left out.")] = None,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Compare what was decided when the events came: logged Parquet.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Put two models side by side on the same events: where they disagree, and what it costs."""
    from fraudctl.cli.render import comparison_tables
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.models import compare_logged, compare_models

    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
    with session.progress() as progress:
        opened, period = load_project(project), {"from_time": moment(from_), "until": moment(to)}
        if decisions is None:
            result = compare_models(opened, a, b, **period, progress=progress)
        else:
            result = compare_logged(opened, a, b, decisions, **period, progress=progress)
    session.emit(result)
    for table in comparison_tables(result):
        session.show(table)
