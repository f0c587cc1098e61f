"""``warm``: every loop that commands and families need is compiled, and a cache that cannot be written is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fraudctl.cluster import whole
from fraudctl.errors import UsageError
from fraudctl.features.batch import unions
from fraudctl.features.batch.hooks import BATCH
from fraudctl.features.meaning.families import FAMILIES
from fraudctl.project import parse_project
from fraudctl.workflows import warm


def test_the_project_asks_for_everything_that_families_have() -> None:
    project = parse_project(warm.PROJECT, path=Path("fraudctl.toml"))
    features, _ = warm.definitions(project, warm.raw_events(), warm.raw_logins())
    asked = [step.spec for step in features.steps]
    for kind in (kind for family in FAMILIES for kind in family.specs):
        mine = [spec for spec in asked if type(spec) is kind]
        missing = set(getattr(kind, "kinds", ())) - {getattr(spec, "kind", None) for spec in mine}
        assert mine, f"PROJECT asks for no {kind.__name__}"
        assert not missing, f"PROJECT asks for no {kind.__name__} of {missing}"
    assert {type(spec) for spec in asked} == set(BATCH)


SQUARE = """
import json, os, sys
place, real = os.environ["NUMBA_CACHE_DIR"], os.access
if sys.argv[1] == "read-only":
    os.access = lambda path, mode, **more: not (str(path).startswith(place) and mode & os.W_OK) and real(path, mode)
    import tempfile
    def refuse(*args, dir=None, **more):
        raise PermissionError(dir)
    tempfile.TemporaryFile = refuse
import numpy as np
from fraudctl.features.batch import jit, kernels
values, rows = np.arange(5.0), np.arange(5, dtype=np.int32)
kernels.gather(values, rows, np.empty(5), 0, 5)
if sys.argv[1] == "read-only":
    kernels.gather(np.arange(5), rows, np.empty(5, np.int64), 0, 5)  # of a type that the cache lacks
stats = kernels.gather.stats
print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), jit.kept().loops, jit.kept().cpu]))
"""


def test_loops_in_a_folder_that_cannot_be_written_are_used_and_others_compiled(tmp_path: Path) -> None:
    env = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "loops"), "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "",
    }  # fmt: skip

    def run(how: str) -> list[int | str]:
        command = [sys.executable, "-c", SQUARE, how]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[int | str] = json.loads(done.stdout)
        return found

    assert run("writable") == [0, 1, 1, "generic"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "loops").rglob("*")}
    assert run("read-only") == [1, 1, 1, "generic"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "loops").rglob("*")} == before


def test_every_family_is_computed_at_once_for_a_part_and_one_by_one() -> None:
    warm._every_family()
    assert all(loop.signatures for loop in (unions.roots, whole.multiples))  # which only workers of a cluster need


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fraudctl train` on a sample ended with 2"):
        warm._run(tmp_path, "train")
