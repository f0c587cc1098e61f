"""One small project, trained once, for all tests of the command line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import built_once, trained_sample


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small sample, its project and one trained model; shared, so never written to by tests."""
    with built_once(tmp_path_factory, "trained", trained_sample) as folder:
        yield folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained project that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    return folder
