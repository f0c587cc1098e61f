"""``fraudctl train``."""

from __future__ import annotations

from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, Date, NoProgress, ProjectPath, Quiet, Verbose, moment, there


def train(
    *,
    project: ProjectPath = HERE,
    as_of: Annotated[Date, typer.Option(help="Training knows nothing later; overrides [split] as_of.")] = None,
    trials: Annotated[int | None, typer.Option(min=0, help="Settings tried; overrides [train] trials.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="A first look: no search, two folds, few large steps.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Tune, fit, calibrate, choose the policy and write a bundle."""
    from fraudctl.cli.policy import policy_tables
    from fraudctl.cli.render import train_tables
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.train import train_model

    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
    with session.progress() as progress:
        loaded = load_project(project)
        result = train_model(loaded, as_of=moment(as_of), trials=trials, fast=fast, progress=progress)
    session.emit(result)
    for table in (*train_tables(result, timezone=loaded.data.timezone), *policy_tables(result.policy, brief=True)):
        session.show(table)
    session.show(f"wrote {result.path}")
    session.note(f"next: fraudctl evaluate{there(project)} --model {result.version}")
