"""How far fits are: trees that are grown, of all that may be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from fraudctl.progress import Progress

_EVERY_SECONDS: Final = 0.2
"""Trees are not counted aloud more often than this."""


class Growing:
    """The progress of several fits of the same size, one after the other.

    Parameters
    ----------
    n_fits
        Number of fits.
    n_trees
        Most trees of each fit; one that stops early counts as complete.
    what
        What a fit is called in the note: ``fold 2 of 3, tree 120``.
    """

    def __init__(self, progress: Progress, *, n_fits: int, n_trees: int, what: str) -> None:
        self._progress, self._n_fits, self._n_trees, self._what = progress, n_fits, n_trees, what
        self._fit = -1
        self._last = 0.0

    def begin(self, doing: str) -> None:
        """Begin the next fit, which does something before its first tree."""
        self._fit += 1
        self._say(0, doing)

    def doing(self, what: str) -> None:
        """Begin the next step of the present fit before its first tree."""
        self._say(0, what)

    def tree(self, number: int) -> None:
        """Record that the present fit has its tree ``number``, counted from 1."""
        now = time.monotonic()
        if now - self._last >= _EVERY_SECONDS:
            self._last = now
            self._say(number, f"tree {number}")

    def end(self) -> None:
        """Record that the last fit is complete."""
        self._progress.update(self._n_fits * self._n_trees, self._n_fits * self._n_trees)

    def _say(self, trees: int, doing: str) -> None:
        of = f"{self._what} {self._fit + 1} of {self._n_fits}, " if self._n_fits > 1 else ""
        self._progress.update(self._fit * self._n_trees + trees, self._n_fits * self._n_trees, f"{of}{doing}")


class Callback:
    """What CatBoost calls after each tree."""

    def __init__(self, watch: Callable[[int], object]) -> None:
        self._watch = watch

    def after_iteration(self, info: Any) -> bool:
        """Pass the number of trees on; never ask for an early end."""
        self._watch(int(info.iteration))
        return True
