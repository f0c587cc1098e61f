"""``fraudctl explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Date, ProjectPath, moment
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


def refuse_beside_event(**options: object) -> None:
    """Reject period options given with ``--event``; they have no effect there."""
    given = [f"--{name.rstrip('_')}" for name, value in options.items() if value]
    if given:
        msg = f"--event explains one decision; {' and '.join(given)} belong to the report on a period"
        raise UsageError(msg, hint="leave out either --event or the other")


@command(
    "fraudctl explain",
    "fraudctl explain --event T1042",
    "fraudctl explain --from 2026-01-01 --to 2026-02-01 --charts charts",
)
def explain(
    session: Session,
    *,
    project: ProjectPath = HERE,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Version, path or latest.")] = None,
    from_: Annotated[Date, typer.Option("--from", help="Start of the period. Default: as_of.")] = None,
    to: Annotated[Date, typer.Option("--to", help="End of the period, itself left out.")] = None,
    event: Annotated[str | None, typer.Option(help="Explain the decision on this one event.")] = None,
    sample: Annotated[int | None, typer.Option(min=1_000, help="Passed legitimate events looked at closely.")] = None,
    charts: Annotated[Path | None, typer.Option(help="Folder that gets every chart as SVG and PNG.")] = None,
    interactions: Annotated[
        bool, typer.Option("--interactions", help="Say which features act together on the errors; takes longer.")
    ] = False,
) -> None:
    """Explain the decisions of a period: missed frauds, false positives, their causes and their cost."""
    from fraudctl.project import load_project
    from fraudctl.report.render import event_terminal, explanation_terminal
    from fraudctl.workflows.explain import explain_model, explain_one

    if event is not None:
        refuse_beside_event(from_=from_, to=to, sample=sample, charts=charts, interactions=interactions)
        with session.progress() as progress:
            one = explain_one(load_project(project), event, model=model, progress=progress)
        session.emit(one)
        session.show(event_terminal(one))
        return
    with session.progress() as progress:
        result = explain_model(
            load_project(project),
            model=model,
            from_time=moment(from_),
            until=moment(to),
            sample=sample,
            charts=charts,
            interactions=interactions,
            progress=progress,
        )
    session.emit(result)
    session.show(explanation_terminal(result.explanation, sections=session.verbose))
    session.show(f"report: {result.report}")
