"""``fraudctl compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Date, ProjectPath, moment

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl compare champion latest",
    'fraudctl compare champion latest --decisions "state/decisions/*.parquet"   # as decided in production',
    stores=("decisions",),
)
def compare(
    session: Session,
    a: Annotated[str, typer.Argument(help="A version, a path, latest or champion.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    *,
    project: ProjectPath = HERE,
    from_: Annotated[Date, typer.Option("--from", help="Start of the period. Default: the later as_of.")] = None,
    to: Annotated[Date, typer.Option("--to", help="End of the period, itself left out.")] = None,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Compare what was decided when the events came: logged Parquet.")
    ] = None,
) -> None:
    """Put two models side by side on the same events: where they disagree, and what it costs."""
    from fraudctl.cli.render import comparison_tables
    from fraudctl.project import load_project
    from fraudctl.workflows.models import compare_logged, compare_models

    with session.progress() as progress:
        opened, period = load_project(project), {"from_time": moment(from_), "until": moment(to)}
        if decisions is None:
            result = compare_models(opened, a, b, **period, progress=progress)
        else:
            result = compare_logged(opened, a, b, decisions, **period, progress=progress)
    session.emit(result)
    for table in comparison_tables(result):
        session.show(table)
