"""``fraudctl train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Date, ProjectPath, moment, there

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl train",
    "fraudctl train --fast   # a first look",
    "fraudctl train --as-of 2026-01-01 --trials 0",
    "fraudctl train --challenger gru --twice   # [challengers.gru] instead of CatBoost",
)
def train(
    session: Session,
    *,
    project: ProjectPath = HERE,
    as_of: Annotated[Date, typer.Option(help="Training knows nothing later; overrides [split] as_of.")] = None,
    trials: Annotated[int | None, typer.Option(min=0, help="Settings tried; overrides [train] trials.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="A first look: no search, two folds, few large steps.")] = False,
    challenger: Annotated[
        str | None, typer.Option("--challenger", metavar="NAME", help="Train [challengers.NAME] on the same folds.")
    ] = None,
    twice: Annotated[bool, typer.Option("--twice", help="Fit a challenger's latest fold again and compare.")] = False,
) -> None:
    """Tune, fit, calibrate, choose the policy and write a bundle."""
    from fraudctl.cli.policy import policy_tables
    from fraudctl.cli.render import train_tables
    from fraudctl.project import load_project
    from fraudctl.workflows.train import train_model

    with session.progress() as progress:
        loaded = load_project(project)
        result = train_model(
            loaded, as_of=moment(as_of), trials=trials, fast=fast, challenger=challenger, twice=twice,
            progress=progress,
        )  # fmt: skip
    session.emit(result)
    for table in (*train_tables(result, timezone=loaded.data.timezone), *policy_tables(result.policy, brief=True)):
        session.show(table)
    session.show(f"wrote {result.path}")
    session.note(f"next: fraudctl evaluate{there(project)} --model {result.version}")
