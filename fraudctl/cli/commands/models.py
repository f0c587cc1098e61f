"""``fraudctl models``: list, show, promote, rollback, diff."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, ProjectPath

models = typer.Typer(help="The versions of a project, and its champion.", no_args_is_help=True, rich_markup_mode=None)

Reference = Annotated[str, typer.Argument(help="A version, a path, latest or champion.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the log.")]


@models.command("list")
def list_(*, project: ProjectPath = HERE, as_json: AsJson = False) -> None:
    """List the versions, their gates and the champion."""
    from fraudctl.cli.render import models_table
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.models import list_models

    session = Session(as_json=as_json)
    result = list_models(load_project(project))
    session.emit(result.to_dict())
    session.show(models_table(result))
    if result.champion_missing:
        session.warn(
            f"the champion {result.champion} has no folder among the models: restore it, or promote another version"
        )


@models.command()
def show(model: Reference, *, project: ProjectPath = HERE) -> None:
    """Print a bundle's manifest, policy and log as JSON."""
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.models import show_model

    session = Session(as_json=True)
    with session.progress() as progress:
        session.emit(show_model(load_project(project), model, progress=progress))


@models.command()
def diff(a: Reference, b: Reference, *, project: ProjectPath = HERE) -> None:
    """Print as JSON in what two bundles differ: project file, features, fit, policy."""
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.models import diff_models

    session = Session(as_json=True)
    with session.progress() as progress:
        session.emit(diff_models(load_project(project), a, b, progress=progress))


@models.command()
def promote(
    model: Reference,
    *,
    project: ProjectPath = HERE,
    force: Annotated[str | None, typer.Option("--force", help="Promote against an objection, for this reason.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion; it must have passed its gate on its own test period by the project's rules."""
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.models import promote_model
    from fraudctl.workflows.versions import user_name

    session = Session(as_json=as_json)
    with session.progress() as progress:
        entry = promote_model(
            load_project(project), model, now=datetime.now(UTC), by=user_name(), force_reason=force, progress=progress
        )
    session.emit(vars(entry))
    session.show(f"champion: {entry.version}")


@models.command()
def rollback(*, reason: Reason, project: ProjectPath = HERE, as_json: AsJson = False) -> None:
    """Give the crown back to the champion before this one."""
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.models import rollback_model
    from fraudctl.workflows.versions import user_name

    entry = rollback_model(load_project(project), reason=reason, now=datetime.now(UTC), by=user_name())
    session = Session(as_json=as_json)
    session.emit(vars(entry))
    session.show(f"champion: {entry.version}")
