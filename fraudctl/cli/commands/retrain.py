"""``fraudctl retrain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, ProjectPath
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl retrain --dry-run",
    "fraudctl retrain --if monitor --if age=30d --if frauds=300 --refit --promote",
    "fraudctl retrain --resume",
    'fraudctl retrain --acknowledge "the label feed lacked a week; loaded again"',
)
def retrain(
    session: Session,
    *,
    project: ProjectPath = HERE,
    if_: Annotated[
        list[str] | None,
        typer.Option("--if", help="always (the default), monitor, age=30d or frauds=300; several: if any holds."),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit again on the newest labels; ships if it acts alike on 99 %.")
    ] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Make it the champion if its gate passes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Only finish a run that was begun, as it was asked.")
    ] = False,
    acknowledge: Annotated[
        str | None, typer.Option(metavar="NOTE", help="Go on after two failed gates in a row; say what was found.")
    ] = None,
) -> None:
    """Train on the newest mature data, gate against the champion, promote; every step once, whatever dies."""
    from fraudctl.cli.life import retrain_tables
    from fraudctl.project import load_project
    from fraudctl.workflows.retrain import acknowledge_failures, retrain_model

    others = {"--if": bool(if_), "--refit": refit, "--promote": promote, "--dry-run": dry_run, "--resume": resume}
    _refuse_together("--acknowledge", others, given=acknowledge is not None)
    _refuse_together("--resume", {name: others[name] for name in list(others)[:-1]}, given=resume)
    opened = load_project(project)
    if acknowledge is not None:
        run = acknowledge_failures(opened, note=acknowledge)
        session.emit({"run": run})
        session.show(f"acknowledged in {run}")
        return
    with session.progress() as progress:
        result = retrain_model(
            opened, conditions=tuple(if_ or ["always"]), refit=refit, promote=promote, dry_run=dry_run, resume=resume,
            progress=progress,
        )  # fmt: skip
    session.emit(result)
    for table in retrain_tables(result):
        session.show(table)
    raise typer.Exit(result.exit_code)


def _refuse_together(option: str, others: dict[str, bool], *, given: bool) -> None:
    found = [name for name, there in others.items() if there]
    if given and found:
        msg = f"{option} stands alone; got {' and '.join(found)} too"
        raise UsageError(msg)
