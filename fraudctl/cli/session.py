"""What a command says and where: data on stdout; progress, warnings and hints on stderr."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fraudctl.documents.results import as_text
from fraudctl.text.plain import masked, visible_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LINE_EVERY_SECONDS = 10.0
"""How often progress gives a plain line where no bar can be drawn."""


@dataclass
class Session:
    """The voice of one command.

    Parameters
    ----------
    as_json
        Stdout gets one JSON document and nothing else.
    quiet
        Neither progress nor notes; warnings and errors still come.
    verbose
        Notes about details come too.
    no_progress
        No progress, in whatever form.
    """

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_progress: bool = False
    warnings: list[str] = field(default_factory=list)

    def show(self, renderable: RenderableType) -> None:
        """Print a result for people on stdout."""
        if not self.as_json:
            self._console(stderr=False).print(renderable, markup=False, soft_wrap=isinstance(renderable, str))

    def emit(self, document: object) -> None:
        """Print a result as JSON on stdout, where it was asked for: see `fraudctl.documents.results.as_text`."""
        if self.as_json:
            sys.stdout.write(to_json(document) + "\n")

    def note(self, text: str) -> None:
        """Print a message to stderr unless ``--quiet`` was given."""
        if not self.quiet:
            self._console(stderr=True).print(masked(text), style="dim", markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning to stderr, unless it was printed before."""
        text = masked(text)
        if text not in self.warnings:
            self.warnings.append(text)
            self._console(stderr=True).print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def progress(self) -> TerminalProgress:
        """Return the listener for long work."""
        return TerminalProgress(self)

    def _console(self, *, stderr: bool) -> Console:
        from fraudctl.cli.console import SafeConsole

        return SafeConsole(sys.stderr if stderr else sys.stdout)


class TerminalProgress:
    """Progress as a bar on a terminal, and as a plain line now and then elsewhere."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._silent = session.quiet or session.no_progress
        self._bars = not self._silent and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def stage(self, name: str) -> None:
        """Begin a new piece of work."""
        self._close()
        name = name[:1].upper() + name[1:]
        self._stage, self._last_line = name, time.monotonic()
        if self._bars:
            self._open(name)
        elif not self._silent:
            self._session.note(f"{name} ...")

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Draw the progress of the present stage."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif not self._silent and time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            of = f"{done:,} of {total:,}" if total else f"{done:,}"
            self._session.note(f"{self._stage}: {of}{', ' + note if note else ''}")

    def note(self, text: str) -> None:
        """Print a message above the progress bar, unless ``--quiet`` was given."""
        if self._bar is not None:
            self._bar.console.print(masked(text), style="dim", markup=False)
        else:
            self._session.note(text)

    def warn(self, text: str) -> None:
        """Print a warning above the progress bar."""
        text = masked(text)
        if self._bar is not None:
            self._bar.console.print(f"warning: {text}", style="yellow", markup=False)
            self._session.warnings.append(text)
        else:
            self._session.warn(text)

    def _open(self, name: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from fraudctl.cli.console import SafeConsole

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=SafeConsole(sys.stderr),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(name, total=None, note="")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def to_json(document: object) -> str:
    """Return a result as JSON text; see `fraudctl.documents.results.as_text`.

    Characters that a terminal would obey are written as escapes of JSON: the document is the same.
    """
    return visible_json(as_text(document))
