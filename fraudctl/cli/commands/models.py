"""``fraudctl models``: list, show, promote, rollback, diff, card, lineage, export, verify."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, ProjectPath
from fraudctl.errors import ExitCode

if TYPE_CHECKING:
    from fraudctl.cli.session import Session

Reference = Annotated[str, typer.Argument(help="A version, a path, latest or champion.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the log.")]


@command("fraudctl models list")
def list_(session: Session, *, project: ProjectPath = HERE) -> None:
    """List the versions, their gates and the champion."""
    from fraudctl.cli.render import models_table
    from fraudctl.project import load_project
    from fraudctl.workflows.models import list_models

    result = list_models(load_project(project))
    session.emit(result)
    session.show(models_table(result))
    if result.champion_missing:
        session.warn(
            f"the champion {result.champion} has no folder among the models: restore it, or promote another version"
        )


@command("fraudctl models show latest", json="always")
def show(session: Session, model: Reference, *, project: ProjectPath = HERE) -> None:
    """Print a bundle's manifest, policy and log as JSON."""
    from fraudctl.project import load_project
    from fraudctl.workflows.models import show_model

    with session.progress() as progress:
        session.emit(show_model(load_project(project), model, progress=progress))


@command("fraudctl models diff champion latest", json="always")
def diff(session: Session, a: Reference, b: Reference, *, project: ProjectPath = HERE) -> None:
    """Print as JSON in what two bundles differ: project file, features, fit, policy."""
    from fraudctl.project import load_project
    from fraudctl.workflows.models import diff_models

    with session.progress() as progress:
        session.emit(diff_models(load_project(project), a, b, progress=progress))


@command(
    "fraudctl models promote latest",
    'fraudctl models promote 2026-01-01-1a2b3c4d --force "the attack of today"',
)
def promote(
    session: Session,
    model: Reference,
    *,
    project: ProjectPath = HERE,
    force: Annotated[str | None, typer.Option("--force", help="Promote against an objection, for this reason.")] = None,
) -> None:
    """Make a version the champion; it must have passed its gate on its own test period by the project's rules."""
    from fraudctl.project import load_project
    from fraudctl.workflows.models import promote_model
    from fraudctl.workflows.versions import user_name

    with session.progress() as progress:
        entry = promote_model(
            load_project(project), model, now=datetime.now(UTC), by=user_name(), force_reason=force, progress=progress
        )
    session.emit(vars(entry))
    session.show(f"champion: {entry.version}")


@command('fraudctl models rollback --reason "alerts doubled"')
def rollback(session: Session, *, reason: Reason, project: ProjectPath = HERE) -> None:
    """Make the previous champion the champion again."""
    from fraudctl.project import load_project
    from fraudctl.workflows.models import rollback_model
    from fraudctl.workflows.versions import user_name

    entry = rollback_model(load_project(project), reason=reason, now=datetime.now(UTC), by=user_name())
    session.emit(vars(entry))
    session.show(f"champion: {entry.version}")


@command("fraudctl models card", "fraudctl models card champion --strict")
def card(
    session: Session,
    model: Reference = "latest",
    *,
    project: ProjectPath = HERE,
    evaluation: Annotated[Path | None, typer.Option(help="What `evaluate --json` printed for this version.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a part of the card is missing.")] = False,
) -> None:
    """Write the model card: use, worth, data, features, decisions, evidence, limits; no data are read."""
    from fraudctl.project import load_project
    from fraudctl.report.render import card_terminal
    from fraudctl.workflows.account import write_card

    with session.progress() as progress:
        result = write_card(load_project(project), model, evaluation=evaluation, progress=progress)
    session.emit(result)
    session.show(card_terminal(result.card))
    for path in result.pages:
        session.show(f"card: {path}")
    if strict and result.card.missing:
        raise typer.Exit(ExitCode.NO)


@command("fraudctl models lineage", "fraudctl models lineage -o lineage.ndjson")
def lineage(
    session: Session,
    *,
    project: ProjectPath = HERE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file. Default: reports/lineage.ndjson.")
    ] = None,
) -> None:
    """Write the log as OpenLineage events, one a line: data, models, gates, promotions. Nothing is sent."""
    from fraudctl.project import load_project
    from fraudctl.text.figures import count
    from fraudctl.workflows.account import write_lineage

    with session.progress() as progress:
        result = write_lineage(load_project(project), output, progress=progress)
    session.emit(result)
    session.show(f"{count(result.events, 'event')}: {result.path}")
    for version in result.missing:
        session.warn(f"{version} has no folder: what it was made of is not known")


@command(
    "fraudctl models export champion --mlflow http://127.0.0.1:5000",
    "fraudctl models export --mlflow sqlite:///mlflow.db --experiment cards",
)
def export(
    session: Session,
    model: Reference = "latest",
    *,
    mlflow: Annotated[str, typer.Option("--mlflow", help="Tracking server or store: http://… or sqlite:///…")],
    project: ProjectPath = HERE,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Experiment and registered model. Default: the project's name.")
    ] = None,
) -> None:
    """Write a version to MLflow: run, metrics with intervals, papers, a registered pyfunc model, aliases."""
    from fraudctl.project import load_project
    from fraudctl.workflows.export import export_model

    with session.progress() as progress:
        result = export_model(load_project(project), model, uri=mlflow, experiment=experiment, progress=progress)
    session.emit(result)
    done = "written" if result.new else "was there already"
    names = "".join(f", {alias}: version {number}" for alias, number in result.aliases.items())
    where = f"run {result.run}, {result.registered} version {result.registered_version}{names}"
    session.show(f"{result.model} {done}: {where}")


@command("fraudctl models verify")
def verify(session: Session, *, project: ProjectPath = HERE) -> None:
    """Verify the log line by line, every bundle byte by byte, and the papers of evaluations; exit 4 if not sound."""
    from fraudctl.cli.render import verified_table
    from fraudctl.project import load_project
    from fraudctl.workflows.account import verify_models

    with session.progress() as progress:
        result = verify_models(load_project(project), progress=progress)
    session.emit(result)
    session.show(verified_table(result))
    if not result.sound:
        raise typer.Exit(ExitCode.BUNDLE)


MODELS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "diff": diff,
    "promote": promote,
    "rollback": rollback,
    "card": card,
    "lineage": lineage,
    "export": export,
    "verify": verify,
}
