"""How long work says where it is: a protocol that workflows speak and the command line listens to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Watch = Callable[[str], object]
"""Called with the name of a step before it begins; what is called changes nothing, and is quick."""


def unwatched(_: str) -> None:
    """Listen to no step."""


class Progress(Protocol):
    """Receives what is being done; implementations must be quick and must not raise."""

    def stage(self, name: str) -> None:
        """Begin a new piece of work."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Report the progress of the present stage."""

    def note(self, text: str) -> None:
        """State a fact about the run, such as the model that is used."""

    def warn(self, text: str) -> None:
        """Say something that the user should know whatever the result."""


class Steps:
    """Work of a known number of steps under one stage; each step says its name before it begins."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def begin(self, what: str) -> None:
        """Begin the next step."""
        self._progress.update(min(self._done, self._total), self._total, what)
        self._done += 1


class Silent:
    """Progress that goes nowhere."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def warn(self, text: str) -> None:
        """Ignore."""
