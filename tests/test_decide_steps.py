"""What deciding a period says while it does it."""

from __future__ import annotations

from pathlib import Path

from fraudctl import load_project
from fraudctl.progress import Silent
from fraudctl.workflows.decide import Decisions


class Notes(Silent):
    """Progress that keeps the notes of its updates."""

    def __init__(self) -> None:
        self.found: list[tuple[int, int | None, str]] = []

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Keep it."""
        self.found.append((done, total, note))


def test_deciding_a_period_tells_each_step_before_it_begins(trained: Path) -> None:
    notes = Notes()
    decisions = Decisions.open(load_project(trained / "fraudctl.toml"), None, progress=notes)
    notes.found.clear()
    decided = decisions.of_model()
    assert decided.scored.height
    assert notes.found == [
        (at, 7, name)
        for at, name in enumerate(
            [
                "events of the period",
                "features of the period",
                "columns of the model",
                "trees",
                "probabilities",
                "decisions",
                "events that can be judged",
            ]
        )
    ]
