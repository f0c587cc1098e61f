"""A process that really dies, at every call to the disk: the state, the registry and the bundle with its entry."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from faults.deaths import spawned, write_contents
from test_bundle import contents

from fraudctl import registry
from fraudctl.bundle import BundleContents, list_bundles, load_bundle


@pytest.mark.parametrize(("scenario", "least"), [("state", 30), ("registry", 15)])
def test_what_a_dead_process_leaves_is_whole(scenario: str, least: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from faults.deaths import main; main()", scenario, str(tmp_path)]
    tests = str(Path(__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": tests}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= least


def require_known(models: Path, made: BundleContents) -> None:
    """Check that every bundle is whole and in the log, and that writing once more makes the new one `latest`."""
    there = [path.name for path in list_bundles(models)]
    assert len(there) in (1, 2)
    for name in there:
        load_bundle(models / name)
    entries = registry.history(models)
    unknown, written = registry.in_order_of_writing(entries, there)
    assert not unknown, "a bundle that the log does not know"
    assert registry.latest(entries, there) == written[-1]
    newest = write_contents(models, made).name
    assert registry.latest(registry.history(models), [path.name for path in list_bundles(models)]) == newest
    assert not [path.name for path in models.iterdir() if path.name.startswith(".writing")], "left over"


def test_a_bundle_that_is_there_is_in_the_log(tmp_path: Path) -> None:
    model = load_bundle(write_contents(tmp_path / "first", contents()))._model_bytes
    old, new = (replace(contents(), model=model, facts={"name": name}) for name in ("old", "new"))
    (tmp_path / "contents").write_bytes(pickle.dumps(new))
    note = tmp_path / "count"

    def models(name: object) -> Path:
        folder = tmp_path / f"models-{name}"
        write_contents(folder, old)
        return folder

    spawned("bundle", models("all"), -1, note)
    n_calls = int(note.read_text())
    for at in (n_calls // 3, *range(n_calls - 3, n_calls)):  # the last calls: log, head, the name of the bundle, flush
        folder = models(at)
        spawned("bundle", folder, at, note)
        require_known(folder, new)
