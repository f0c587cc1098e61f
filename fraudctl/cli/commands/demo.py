"""``fraudctl demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import there

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command("fraudctl demo", "fraudctl demo my-folder", "fraudctl demo --life")
def demo(
    session: Session,
    folder: Annotated[Path | None, typer.Argument(help="Where to work. Default: a new temporary folder.")] = None,
    *,
    life: Annotated[
        bool,
        typer.Option(
            "--life", help="A model's life after training: an attack, an alarm, a better champion, poisoned labels."
        ),
    ] = False,
) -> None:
    """Run everything on synthetic card payments and say where the reports are."""
    from fraudctl.cli.render import demo_tables
    from fraudctl.workflows.demo import run_demo

    place = folder or Path(tempfile.mkdtemp(prefix="fraudctl-demo-"))
    if life:
        _live(session, place)
        return
    with session.progress() as progress:
        result = run_demo(place, progress=progress)
    session.emit(result)
    for table in demo_tables(result):
        session.show(table)


def _live(session: Session, place: Path) -> None:
    """Show a model's life after its training."""
    from fraudctl.cli.life import life_tables
    from fraudctl.workflows.life import run_life

    with session.progress() as progress:
        result = run_life(place, progress=progress)
    session.emit(result)
    for table in life_tables(result):
        session.show(table)
    session.note(f"next: fraudctl models card champion{there(place)}")
