"""One small project, trained once, for all tests of the command line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import built_once, trained_sample


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained project that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    return folder


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose gate its model passes; the gate was there before the model."""

    def build(folder: Path) -> None:
        trained_sample(
            folder, ("savings = { at_least = 0.30 }\nrecall", "recall"),
            ("false_positive_rate = { at_most = 0.10 }\nconfidence = 0.90", "savings = { at_least = 0.4 }"),
        )  # fmt: skip

    with built_once(tmp_path_factory, "gated", build) as folder:
        yield folder


@pytest.fixture
def passing(gated: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(gated, tmp_path / "project"))
