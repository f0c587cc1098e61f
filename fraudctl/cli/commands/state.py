"""``fraudctl state``: what scoring remembers, on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, History, ProjectPath, SourceFiles, named_paths
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session

Folder = Annotated[Path, typer.Argument(help="Folder of the state.")]


@command(
    "fraudctl state build state --history transactions.parquet",
    'fraudctl state build state --history "data/*.parquet" --model champion --model latest',
    stores=("history",),
)
def build(
    session: Session,
    folder: Folder,
    *,
    project: ProjectPath = HERE,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A bundle whose features it holds, `latest` by default; may come twice."),
    ] = None,
    history: History = None,
    source: SourceFiles = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a state that is there.")] = False,
) -> None:
    """Build the state from history in one go."""
    from fraudctl.workflows.score import open_model
    from fraudctl.workflows.state import build_state

    if not history:
        msg = "a state is built from history"
        raise UsageError(msg, hint="name the events with --history FILE")
    with session.progress() as progress:
        models = [open_model(project, name, progress=progress) for name in model or ["latest"]]
        result = build_state(
            models, folder, history=history, sources=named_paths(source or []), force=force, progress=progress
        )
    session.emit(result)
    session.show(f"wrote {folder}: {result.bytes:,} bytes")


@command("fraudctl state show state")
def show(
    session: Session,
    folder: Folder,
) -> None:
    """Show what a state holds, by the heads of its snapshot and log; `verify` checks all of it."""
    from fraudctl.workflows.state import show_state

    result = show_state(folder)
    session.emit(result)
    counts = (
        ", ".join(f"{count:,} {name}" for name, count in sorted(result.counts.items())) or "nothing since its history"
    )
    session.show(f"features: {', '.join(digest[:8] for digest in result.features)}")
    session.show(f"snapshot: {counts}; log: {result.records:,} records; {result.bytes:,} bytes")


@command("fraudctl state verify state")
def verify(
    session: Session,
    folder: Folder,
) -> None:
    """Check all of a state: snapshot, log, decisions, answers. Changes nothing; a server may go on writing."""
    from fraudctl.workflows.state import verify_state

    with session.progress() as progress:
        result = verify_state(folder, progress=progress)
    session.emit(result)
    skipped = f", {result.skipped:,} of them left out as refused today" if result.skipped else ""
    log = f"{result.records:,} log records in {result.segments:,} segments{skipped}"
    session.show(f"{folder} is sound: snapshot, {log}, {result.answered:,} rows of decisions and answers")


@command("fraudctl state repair state repaired")
def repair(
    session: Session,
    folder: Folder,
    target: Annotated[Path, typer.Argument(help="New folder for what is sound; the old one is not touched.")],
) -> None:
    """Make a new state of what is sound in a damaged one, and say what is left out."""
    from fraudctl.workflows.state import repair_state

    with session.progress() as progress:
        result = repair_state(folder, target, progress=progress)
    session.emit(result)
    session.show(f"wrote {target}: the snapshot of {folder} and {result.records:,} log records after it")
    for place in result.left_out:
        session.show(f"left out: {place}")
    if not result.left_out:
        session.show("left out: nothing but what a write that never ended had left at the end")


@command("fraudctl state compact state")
def compact(
    session: Session,
    folder: Folder,
) -> None:
    """Bring the snapshot forward through the closed parts of the log, even while a server writes on."""
    from fraudctl.workflows.state import compact_state

    with session.progress() as progress:
        result = compact_state(folder, progress=progress)
    session.emit(result)
    session.show(f"{folder}: {result.bytes:,} bytes, {result.records:,} records in the log")


STATE: dict[str, Callable[..., None]] = {
    "build": build,
    "show": show,
    "verify": verify,
    "repair": repair,
    "compact": compact,
}
