"""``fraudctl dashboard``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Date, ProjectPath, length_of_days, moment

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl dashboard",
    "fraudctl dashboard decisions.parquet -o week.html --by channel",
    "fraudctl dashboard --period 52w --as-of 2026-06-30 --json",
    stores=("decisions",),
)
def dashboard(
    session: Session,
    decisions: Annotated[
        list[Path] | None,
        typer.Argument(help="Folder of a state, or Parquet files of decisions. Default: the project's folder state."),
    ] = None,
    *,
    project: ProjectPath = HERE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page. Default: reports/dashboard.html.")
    ] = None,
    period: Annotated[str, typer.Option(help="How much is shown, such as 26w or 90d.")] = "26w",
    by: Annotated[str | None, typer.Option(help="Column to group by.")] = None,
    as_of: Annotated[
        Date, typer.Option("--as-of", help="What was known on that day. Default: the latest event.")
    ] = None,
    role: Annotated[str, typer.Option(help="Whose decisions of a log: champion or challenger.")] = "champion",
) -> None:
    """Show what decisions were worth: losses, recall, customers disturbed, week by week as labels arrive."""
    from fraudctl.project import load_project
    from fraudctl.report.render import dashboard_terminal
    from fraudctl.workflows.dashboard import make_dashboard

    with session.progress() as progress:
        result = make_dashboard(
            load_project(project),
            decisions or (),
            output=output,
            period_days=length_of_days(period, "--period"),
            by=by,
            as_of=moment(as_of),
            role=role,
            progress=progress,
        )
    session.emit(result)
    session.show(dashboard_terminal(result.dashboard))
    session.show(f"dashboard: {result.page}")
