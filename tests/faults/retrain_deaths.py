"""Real process death of `retrain`: a forked process ends with `os._exit` at a call to the disk, again and again.

Registry, bundles, receipts and the lock are real; training and gate are played (`retraining.World`), so that a death
costs milliseconds. `python -c "from faults.retrain_deaths import main; main()" FOLDER POINTS TIMES` prints what was
found as JSON. The parent computes nothing: whatever starts threads runs in its children.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import shutil
import sys
from pathlib import Path

from faults.deaths import DIED, child, dying
from retraining import World, played, small_contents

from fraudctl import registry, runs


def world_of(folder: Path) -> World:
    """Return the world of a folder, whose model was pickled beside it."""
    return World(folder, pickle.loads((folder.parent / "contents").read_bytes()))  # noqa: S301 - written here


def prepare(folder: Path) -> None:
    """Write the model and a project with a champion."""
    folder.mkdir()
    (folder.parent / "contents").write_bytes(pickle.dumps(small_contents()))
    with played(world_of(folder)) as world:
        world.crown()


def retrained(folder: Path) -> None:
    """Retrain with refit and promotion."""
    with played(world_of(folder)) as world:
        assert world.retrain(promote=True, refit=True).exit_code == 0


def state(folder: Path) -> str:
    """Return champion, promotions in order and a digest of all bundles; registry and receipts verify their chains."""
    models = folder / "models"
    promoted = [entry.version for entry in registry.history(models) if entry.event == "promote"]
    assert len(promoted) == len(set(promoted)), "promoted twice"
    runs.history(folder / "runs")
    found = hashlib.sha256()
    for path in sorted(models.glob("2*/*")):
        found.update(f"{path.parent.name}/{path.name}".encode() + path.read_bytes())
    return json.dumps([registry.champion(models), promoted, found.hexdigest()])


def deaths(folder: Path, *, points: int, times: int) -> dict[str, int]:
    """Let it die ``times`` times at a random call in each of ``points`` equal parts; count what went wrong."""
    prepared, place, note, said = (folder / name for name in ("prepared", "run", "calls", "state"))

    def begin(at: int) -> int:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(prepared, place)

        def act() -> None:
            dying(place, at, note)
            retrained(place)

        return child(act)

    def look() -> str | None:
        said.unlink(missing_ok=True)
        return said.read_text() if child(lambda: said.write_text(state(place))) == 0 else None

    assert child(lambda: prepare(prepared)) == 0
    champion = registry.champion(prepared / "models")
    assert begin(-1) == 0
    wanted, n_calls = look(), int(note.read_text())
    assert wanted is not None
    new, rng = json.loads(wanted)[0], random.Random(0)  # noqa: S311 - points in time, no secrets
    found = dict.fromkeys(("deaths", "other champion meanwhile", "failed again", "not as without a death"), 0)
    for point in range(points * times):
        low, high = (round(n_calls * edge / points) for edge in (point % points, point % points + 1))
        found["deaths"] += begin(rng.randrange(low, max(high, low + 1))) == DIED
        found["other champion meanwhile"] += registry.champion(place / "models") not in {champion, new}
        found["failed again"] += child(lambda: retrained(place)) != 0
        found["not as without a death"] += look() != wanted
    return {"points": points, "times": times, "calls to the disk": n_calls, **found}


def main() -> None:
    """Count and print."""
    folder, points, times = sys.argv[1:]
    print(json.dumps(deaths(Path(folder), points=int(points), times=int(times))))  # noqa: T201
