"""Projects that many tests share: built once in a run of the tests, by the worker that needs one first.

Workers of pytest-xdist share the folder above their own (`tmp_path_factory.getbasetemp().parent`). It is new in every
run, so nothing is used that an older version of the code built. Tests read a shared project or change a copy of it;
`built_once` fails in a run in which one was changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import run_in

CACHES = {".fraudctl", "reports"}
"""Folders that commands write into when they only read a project."""


@contextmanager
def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Iterator[Path]:
    """Yield a folder that ``build`` filled once for all workers of this run; check afterwards that it is unchanged."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, built = base / f"world-{name}", base / f"world-{name}.digest"
    with (base / f"world-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            built.write_text(digest(folder))
    yield folder
    assert digest(folder) == built.read_text(), f"a test changed the shared project {name}; it has to take a copy"


def digest(folder: Path) -> str:
    """Return a digest of the names and bytes of all files below a folder that are no caches."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder)
        if place.parts[0] not in CACHES:
            found.update(f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def succeed(folder: Path, *args: str) -> None:
    """Run a command line that has to end with 0."""
    done = run_in(folder, *args, "--quiet")
    assert done.code == 0, done.err


def rewrite(folder: Path, *pairs: tuple[str, str]) -> None:
    """Replace texts of a project file, each of which has to be there."""
    path = folder / "fraudctl.toml"
    text = path.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)


def five_label_tables(folder: Path) -> None:
    """Make a project whose labels are in five tables, as `init` proposes it, and a small model."""
    succeed(folder, "sample", ".", "--events", "12000", "--days", "80", "--label-tables")
    small = (("trials = 30", "trials = 0\niterations = 40"), ("folds = 3", "folds = 1"))
    rewrite(folder, *small, ("[evaluate]", "[evaluate]\nreplicates = 100"))
    succeed(folder, "train")


def trained_sample(folder: Path, *more: tuple[str, str]) -> None:
    """Make the sample of 20,000 events and train a small model on it; ``more`` changes its project file before.

    Intervals come from the fewest replicates that a project may ask for: half of `evaluate` would go into them.
    """
    succeed(folder, "sample", ".", "--events", "20000")
    small = (("trials = 30", "trials = 0\niterations = 60"), ("folds = 3", "folds = 2"))
    quick = ("[evaluate]", "[evaluate]\nreplicates = 100")
    rewrite(folder, *small, quick, ("min_frauds = 300", "min_frauds = 20"), *more)
    done = run_in(folder.parent, "train", "--no-progress", "--project", folder.name)
    assert done.code == 0, done.err
    (folder / "train.log").write_text(done.err)


def with_few_slots(trained: Path, folder: Path) -> Path:
    """Make a copy of the trained sample whose reviews and blocks have few slots, with thresholds for it."""
    shutil.copytree(trained, folder)
    few = 'kind = "expected_cost"\ncapacity = { review = "1 per day", block = "2 per week" }'
    rewrite(folder, ('kind = "expected_cost"', few))
    succeed(folder, "threshold")
    return folder
