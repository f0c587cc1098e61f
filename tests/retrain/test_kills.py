"""`retrain` killed as a process at 20 points of its calls to the disk; FRAUDCTL_DEATHS=10: ten times at each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = 20
TIMES = int(os.environ.get("FRAUDCTL_DEATHS", "1"))
TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_death_promotes_twice_loses_the_champion_or_changes_a_bundle(tmp_path: Path) -> None:
    code = "from faults.retrain_deaths import main; main()"
    env = {**os.environ, "PYTHONPATH": str(TESTS), "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path), str(POINTS), str(TIMES)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["calls to the disk"] > 5 * POINTS
    assert found["deaths"] == POINTS * TIMES, found
    wrong = {name: found[name] for name in ("other champion meanwhile", "failed again", "not as without a death")}
    assert set(wrong.values()) == {0}, found
