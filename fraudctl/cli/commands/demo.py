"""``fraudctl demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command("fraudctl demo", "fraudctl demo my-folder")
def demo(
    session: Session,
    folder: Annotated[Path | None, typer.Argument(help="Where to work. Default: a new temporary folder.")] = None,
) -> None:
    """Run everything on synthetic card payments and say where the reports are."""
    from fraudctl.cli.render import demo_tables
    from fraudctl.workflows.demo import run_demo

    place = folder or Path(tempfile.mkdtemp(prefix="fraudctl-demo-"))
    with session.progress() as progress:
        result = run_demo(place, progress=progress)
    session.emit(result)
    for table in demo_tables(result):
        session.show(table)
