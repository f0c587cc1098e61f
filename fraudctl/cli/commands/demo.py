"""``fraudctl demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fraudctl.cli.options import AsJson, NoProgress, Quiet


def demo(
    folder: Annotated[Path | None, typer.Argument(help="Where to work. Default: a new temporary folder.")] = None,
    *,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Run everything on synthetic card payments and say where the reports are."""
    from fraudctl.cli.render import demo_tables
    from fraudctl.cli.session import Session
    from fraudctl.workflows.demo import run_demo

    session = Session(as_json=as_json, quiet=quiet, no_progress=no_progress)
    place = folder or Path(tempfile.mkdtemp(prefix="fraudctl-demo-"))
    with session.progress() as progress:
        result = run_demo(place, progress=progress)
    session.emit(result.to_dict())
    for table in demo_tables(result):
        session.show(table)
