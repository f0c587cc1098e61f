"""``fraudctl threshold``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Model, ProjectPath

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command("fraudctl threshold", "fraudctl threshold --model champion")
def threshold(
    session: Session,
    *,
    project: ProjectPath = HERE,
    model: Model = "latest",
) -> None:
    """Choose a new policy for a model with the project's present costs, and write it as a new version."""
    from fraudctl.cli.policy import policy_tables
    from fraudctl.project import load_project
    from fraudctl.workflows.train import choose_threshold

    with session.progress() as progress:
        result = choose_threshold(load_project(project), model=model, progress=progress)
    session.emit(result)
    for table in policy_tables(result.policy):
        session.show(table)
    session.show(f"wrote {result.path}")
