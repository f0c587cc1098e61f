"""``fraudctl explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, Date, NoProgress, ProjectPath, Quiet, Verbose, moment
from fraudctl.errors import UsageError


def refuse_beside_event(**options: object) -> None:
    """Refuse options of a period beside ``--event``, which they would mean nothing to."""
    given = [f"--{name.rstrip('_')}" for name, value in options.items() if value]
    if given:
        msg = f"--event explains one decision; {' and '.join(given)} belong to the report on a period"
        raise UsageError(msg, hint="leave out either --event or the other")


def explain(
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
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Say what was missed, who was annoyed, and what it cost."""
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.report.render import event_terminal, explanation_terminal
    from fraudctl.workflows.explain import explain_model, explain_one

    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
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
    session.show(explanation_terminal(result.explanation, sections=verbose))
    session.show(f"report: {result.report}")
