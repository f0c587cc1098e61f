"""Settings of all tests: property tests draw the same examples in CI every time, and never fail for being slow.

Tables that tests build come in chunks of 64 rows, for those of more than 16,384 events do so too. Products of matrices
are computed by one thread, in processes that tests start too: a worker of pytest-xdist has a core, and of threads that
wait for another one's core, each waits by working. Modules are compiled to bytecode once, for all workers and for the
processes that tests start, also where the environment says that none is to be written: each would spend seconds on it.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # is read when NumPy is loaded
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from worlds import built_once, five_label_tables, trained_sample

from fraudctl.features.batch import groups

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
sys.dont_write_bytecode = False
groups._STRIP_BITS = 6


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without looking for garbage, never look for it among the half million objects that they are, and
    later look for it once in 10,000 new objects instead of 700."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start one worker more than there are processors: some tests wait, for brokers, servers and disks."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


SESSIONS = ("test_life.py", "test_challengers.py", "test_tutorial.py", "test_readme.py", "test_places.py")
"""Files of `tests/docs` with a test of 10 to 90 seconds of the processor, the dearest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the dearest sessions: where one is the last, the other workers wait for it."""
    places = {Path(__file__).parent / "docs" / name: number for number, name in enumerate(SESSIONS)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small sample, its project and one trained model; shared, so never written to by tests."""
    with built_once(tmp_path_factory, "trained", trained_sample) as folder:
        yield folder


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose labels are in five tables, as `init` proposes it, and a small model; shared as well."""
    with built_once(tmp_path_factory, "five-label-tables", five_label_tables) as folder:
        yield folder
