"""``warm``: every loop that commands and families need is compiled, and a cache that cannot be written is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from costly import dear
from source_code import called_from_python

from fraudctl.errors import UsageError
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


BY_COMMANDS = {
    "fraudctl.features.online.arena.new_slots",
    "fraudctl.features.online.intake.take_events",
    "fraudctl.features.online.intake.take_labels",
    "fraudctl.features.online.intake.take_rows",
    "fraudctl.features.online.ledger._search",
    "fraudctl.features.online.pairs.make_all",
    "fraudctl.features.online.pairs.make_searched",
    "fraudctl.features.online.pairs.search",
    "fraudctl.metrics.kernels.found_per_day",
    "fraudctl.metrics.kernels.groups_drawn",
    "fraudctl.policy.kernels.place_values",
    "fraudctl.policy.kernels.serve",
    "fraudctl.scoring.kernels.bin_column",
    "fraudctl.scoring.kernels.explain_row",
    "fraudctl.scoring.kernels.explain_rows",
    "fraudctl.scoring.kernels.known_values",
    "fraudctl.scoring.kernels.score_block",
    "fraudctl.scoring.kernels.score_numbers",
    "fraudctl.scoring.kernels.shapley_values",
    "fraudctl.scoring.kernels.stride_of",
    "fraudctl.scoring.kernels.strongest",
}
"""Loops that are used by the commands on the sample: a state built from a history and opened, training, scores."""


USE = """
import json
from fraudctl.features.batch import jit
from fraudctl.workflows import warm

warm.every_family()
warm.partner_trees()
warm.counted_columns()
warm.import_loops()
loops = {f"{loop.py_func.__module__}.{loop.py_func.__name__}": loop for loop in jit.loops()}
print(json.dumps([name for name, loop in loops.items() if not loop.signatures]))
"""


def test_loops_that_are_called_from_python_are_all_used() -> None:
    done = subprocess.run([sys.executable, "-c", USE], check=True, capture_output=True, text=True)
    unused = called_from_python() & set(json.loads(done.stdout))
    assert unused == BY_COMMANDS


def test_what_is_edited_stands_in_the_project_of_the_sample() -> None:
    text = (Path(__file__).parents[2] / "sample_data" / "fraudctl.toml").read_text(encoding="utf-8")
    assert [old for old, _ in warm.EDITS if old not in text] == []


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fraudctl train` on a sample ended with 2"):
        warm._run(tmp_path, "train")


@dear
def test_a_new_machine_has_every_loop(tmp_path: Path) -> None:
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "fraudctl", "warm", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["missing"] == []
    assert found["loops"] > len(BY_COMMANDS)
