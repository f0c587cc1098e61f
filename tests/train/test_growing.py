"""Progress of fits: it moves with every fit and with the trees, and ends where all are grown."""

from __future__ import annotations

import pytest

from fraudctl.progress import Silent
from fraudctl.train import growing
from fraudctl.train.growing import Growing


class Heard(Silent):
    def __init__(self) -> None:
        self.steps: list[tuple[int, int | None, str]] = []

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self.steps.append((done, total, note))


def test_fits_that_stop_early_count_as_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_EVERY_SECONDS", 0.0)
    heard = Heard()
    fits = Growing(heard, n_fits=2, n_trees=10, what="fit")
    for grown in (3, 10):
        fits.begin("reading the rows")
        for tree in range(1, grown + 1):
            fits.tree(tree)
    fits.end()
    done = [step[0] for step in heard.steps]
    assert done == [0, 1, 2, 3, 10, *range(11, 21), 20]
    assert {step[1] for step in heard.steps} == {20}
    assert heard.steps[0][2] == "fit 1 of 2, reading the rows"
    assert heard.steps[-2][2] == "fit 2 of 2, tree 10"


def test_trees_are_not_counted_aloud_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_EVERY_SECONDS", 3_600.0)
    monkeypatch.setattr(growing.time, "monotonic", lambda: 10_000.0)
    heard = Heard()
    fits = Growing(heard, n_fits=1, n_trees=100, what="model")
    fits.begin("reading the rows")
    for tree in range(1, 101):
        fits.tree(tree)
    assert [step[0] for step in heard.steps] == [0, 1]
