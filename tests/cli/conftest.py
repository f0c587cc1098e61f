"""One small project, trained once, for all tests of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import run_in


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small sample, its project and one trained model; shared, so never written to by tests."""
    folder = tmp_path_factory.mktemp("trained")
    made = run_in(folder, "sample", ".", "--events", "20000", "--quiet")
    assert made.code == 0, made.err
    toml = folder / "fraudctl.toml"
    text = toml.read_text().replace("trials = 30", "trials = 0\niterations = 60").replace("folds = 3", "folds = 2")
    toml.write_text(text.replace("min_frauds = 300", "min_frauds = 20"))
    done = run_in(folder, "train", "--quiet")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained project that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    return folder
