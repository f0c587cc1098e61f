"""Real process death: what writes runs in a child process that ends with `os._exit` at its n-th call to the disk.

State and registry run in a process of their own that forks a child for each death and for each look at what it left:
`python -c "from faults.deaths import main; main()" SCENARIO FOLDER` ends with 0 if every look was satisfied. What
starts threads (Polars, CatBoost) cannot be forked, and gets a new process for each death.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from faults.disk import CALLS, Faults

if TYPE_CHECKING:
    from fraudctl.bundle import BundleContents

DIED = 9
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def child(act: Callable[[], object]) -> int:
    """Run something in a forked process; return its exit code: 0, `DIED`, or 1 where it raised."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        act()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent sees the code, the reader of the test the traceback
        traceback.print_exc()
    os._exit(code)


def dying(folder: Path, at: int, note: Path | None = None) -> None:
    """From now on, end the process at a call of `os` below a folder; a write is half done. Count calls in a file."""
    faults = Faults(folder, at, "death")
    for name in CALLS:
        faults._real[name] = getattr(os, name)

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        if faults.concerns(name, args, kwargs):
            faults.names.append(name)
            if note is not None:
                note.write_text(str(len(faults.names)))
            if len(faults.names) - 1 == at:
                if name in {"write", "pwrite"}:
                    faults._real[name](args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os._exit(DIED)
        return faults._real[name](*args, **kwargs)

    for name in CALLS:
        setattr(os, name, lambda *args, _name=name, **kwargs: call(_name, *args, **kwargs))


def every_death(prepared: Path, run: Callable[[Path], object], look: Callable[[Path], object], *, most: int) -> int:
    """Let a process die at up to ``most`` of its calls, spread over all; return how often it did.

    Parameters
    ----------
    prepared
        Copied for each death.
    run, look
        What writes below a folder, and what raises if that folder is not as it must be.
    """
    place, note = prepared.parent / "run", prepared.parent / "count"

    def begin(at: int) -> int:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(prepared, place)

        def act() -> None:
            dying(place, at, note)
            run(place)

        return child(act)

    assert begin(-1) == 0
    n_calls = int(note.read_text())
    points = sorted({round(i * (n_calls - 1) / max(1, min(most, n_calls) - 1)) for i in range(min(most, n_calls))})
    for at in points:
        assert begin(at) == DIED, f"it did not die at call {at} of {n_calls}"
        assert child(lambda: look(place)) == 0, f"died at call {at} of {n_calls}"
    return len(points)


# ---------------------------------------------------------------- what writes, and what must hold afterwards


def state(folder: Path) -> int:
    """Records that were acknowledged survive; the folder opens and takes more."""
    from fraudctl.scoring.store import Store, frame

    acknowledged = folder / "acknowledged"

    def run(place: Path) -> None:
        with Store(place / "state") as store:
            store.let_compact()
            for number in range(8):
                store.append([frame(b"%d" % number)])
                with acknowledged.open("a") as file:
                    file.write(f"{number}\n")
                if number == 2:
                    store.rotate()
                if number == 5:
                    store.save({"about": b",".join(b"%d" % n for n in range(number + 1))})

    def look(place: Path) -> None:
        wanted = acknowledged.read_text().split() if acknowledged.exists() else []
        acknowledged.unlink(missing_ok=True)
        for more in (False, True):
            with Store(place / "state") as store:
                parts = store.snapshot()
                found = parts["about"].decode().split(",") if parts else []
                found += [record.decode() for record in store.records()]
                assert found[: len(wanted)] == wanted, (found, wanted)
                assert found == [str(n) for n in range(len(found))], found
                if not more:
                    store.append([frame(b"%d" % len(found))])

    (folder / "prepared").mkdir()

    def first(place: Path) -> None:
        acknowledged.unlink(missing_ok=True)
        run(place)

    return every_death(folder / "prepared", first, look, most=1000)


def registry(folder: Path) -> int:
    """An entry is there whole or not at all, and the next one follows it."""
    from fraudctl import registry as log

    def record(place: Path, version: str) -> None:
        log.record_written(place, version, event="train", parent=None, now=NOW, by="tests")

    def run(place: Path) -> None:
        record(place, "two")
        record(place, "three")

    def look(place: Path) -> None:
        found = [entry.version for entry in log.history(place)]
        assert found == ["one", "two", "three"][: len(found)], found
        assert found, "what was there is gone"
        record(place, "four")
        assert [entry.version for entry in log.history(place)] == [*found, "four"]
        assert not list(place.glob(".registry.*.tmp")), "left over"

    prepared = folder / "prepared"
    prepared.mkdir()
    assert child(lambda: record(prepared, "one")) == 0
    return every_death(prepared, run, look, most=1000)


def spawned(action: str, place: Path, at: int, note: Path) -> None:
    """Run one of `ACTIONS` in a new process that dies at a call; -1 for none. What starts threads cannot be forked."""
    code = "from faults.deaths import act; act()"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", code, action, str(place), str(at), str(note)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == (0 if at < 0 else DIED), done.stderr


def act() -> None:
    """Run an action: the code of the process that `spawned` starts."""
    name, place, at, note = sys.argv[1:]
    dying(Path(place), int(at), Path(note))
    ACTIONS[name](Path(place))


def write_bundle_again(place: Path) -> None:
    """Write the bundle whose contents lie beside the folder, and note it."""
    write_contents(place, pickle.loads((place.parent / "contents").read_bytes()))  # noqa: S301 - the test wrote it


def write_contents(models_dir: Path, made: BundleContents) -> Path:
    """Write a bundle and note it in the registry."""
    from fraudctl.workflows.versions import write_noted

    project: Any = SimpleNamespace(models_dir=models_dir)
    return write_noted(project, made, event="train", parent=None, by="tests")


def score_on_state(place: Path) -> None:
    """Score a file on a state, on the command line, in batches of five events."""
    from fraudctl.__main__ import main as command
    from fraudctl.workflows import stream

    os.chdir(place)
    stream.BATCH = 5
    code = command(["score", "new.parquet", "--state", "state", "-o", "out.parquet", "--quiet"])
    assert code == 0, code


ACTIONS: dict[str, Callable[[Path], object]] = {"bundle": write_bundle_again, "score": score_on_state}


def main() -> None:
    """Run one scenario."""
    n_deaths = {"state": state, "registry": registry}[sys.argv[1]](Path(sys.argv[2]))
    print(f"{n_deaths} deaths")  # noqa: T201
