"""A trained and evaluated sample for the tests of what is said of a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run_in
from worlds import built_once, rewrite

WORDS = """
[card]
owner = "Payments risk"
purpose = "Decides card payments <before> they are authorised | not after"
"""


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Iterator[Path]:
    """A trained and evaluated sample whose owner has said two things."""

    def build(folder: Path) -> None:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        rewrite(folder, ("[evaluate]\n", '[evaluate]\nsegments = ["channel"]\n'))
        path = folder / "fraudctl.toml"
        path.write_text(path.read_text() + WORDS)
        assert run_in(folder, "evaluate", "--quiet").code in {0, 1, 5}

    with built_once(tmp_path_factory, "judged", build) as folder:
        yield folder


@pytest.fixture
def project(judged: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(judged, tmp_path / "project"))
