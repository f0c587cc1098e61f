"""``fraudctl threshold``."""

from __future__ import annotations

from fraudctl.cli.options import HERE, AsJson, Model, NoProgress, ProjectPath, Quiet, Verbose


def threshold(
    *,
    project: ProjectPath = HERE,
    model: Model = "latest",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Choose a model's policy anew, with the project's present costs, and write a new version."""
    from fraudctl.cli.policy import policy_tables
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.workflows.train import choose_threshold

    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
    with session.progress() as progress:
        result = choose_threshold(load_project(project), model=model, progress=progress)
    session.emit(result)
    for table in policy_tables(result.policy):
        session.show(table)
    session.show(f"wrote {result.path}")
