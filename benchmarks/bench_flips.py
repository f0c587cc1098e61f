"""Flip single bits in every kind of file that fraudctl reads again, and count those that are used in silence.

Makes a sample, a model with a search, a feature cache, an increment state, refits of pooled periods, and a state whose
log holds answers. Then, one at a time, flips a bit of one file and opens that file by the function that the commands
use. Each flip has one outcome:

- `refused`: an error that names the file, with its exit code;
- `rebuilt`: the file is not used, what was in it is computed again, and the user is told;
- `harmless`: what was read is equal to what was written. The reason is written down for each file; only files with a
  reason may have such flips;
- `silent`: anything else. One is a failure: the run ends with 1.

A few flips of each file are also given to the command line, which must end with the same code.

    python benchmarks/bench_flips.py --work /tmp/bench-flips --flips 1000 --out benchmarks/results/flips.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from bench_scoring import machine

from fraudctl import load_project, registry
from fraudctl.bundle import FILES, MANIFEST, load_bundle
from fraudctl.errors import FraudctlError
from fraudctl.scoring.answers import Answers
from fraudctl.scoring.decider import Decider
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.scoring.saved import MARK
from fraudctl.scoring.store import Store
from fraudctl.train import tune
from fraudctl.workflows import features, increment, pooled
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import build_state, compact_state, open_live, restored

N_EVENTS: Final = 20_000
N_HISTORY: Final = 3_000
N_ANSWERED: Final = 300
RUN: Final = [sys.executable, "-m", "fraudctl"]


@dataclass
class Notes:
    """What the user is told, as `fraudctl.progress.Progress`."""

    told: list[str] = field(default_factory=list)

    def stage(self, name: str) -> None:
        """Pass over."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Pass over."""

    def note(self, text: str) -> None:
        """Keep a note."""
        self.told.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.told.append(text)


Read = Callable[[Path, Notes], Any]


@dataclass(frozen=True)
class Target:
    """One file, and how it is opened.

    Attributes
    ----------
    place
        Folder that is copied, and the file's path in it.
    read
        Opens the copy; gives what can be compared, or None where it is not used.
    harmless
        Why a flip may change nothing; None where every flip has to be found.
    command
        A command line that opens it too, in the folder of the copy; it has to end with 4 and name the file.
    """

    name: str
    place: tuple[Path, str]
    read: Read
    harmless: str | None = None
    command: Sequence[str] = ()


# ---------------------------------------------------------------- what is flipped


def prepare(work: Path) -> Path:
    """Make the project with all its files; what is there already is used again."""
    project = work / "project"
    if (work / "ready").exists():
        return project
    shutil.rmtree(work, ignore_errors=True)
    project.mkdir(parents=True)
    command(project, "sample", ".", "--events", str(N_EVENTS))
    toml = project / "fraudctl.toml"
    text = toml.read_text().replace("trials = 30", "trials = 4\niterations = 60").replace("folds = 3", "folds = 2")
    toml.write_text(text.replace("min_frauds = 300", "min_frauds = 20"))
    command(project, "train")
    command(project, "evaluate", "--no-gate", "--pooled", "2")
    version = max(path.name for path in (project / "models").glob("2*"))
    command(project, "models", "promote", version, "--force", "the only one")
    events = pl.read_parquet(project / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    begin = N_EVENTS // 2
    events.slice(begin - N_HISTORY, N_HISTORY).write_parquet(work / "history.parquet")
    events.slice(begin, 2 * N_ANSWERED).drop("is_fraud", "label_available_at").write_ndjson(work / "new.jsonl")
    command(project, "features", "--since", str(events["created_at"][begin])[:10], "-o", str(work / "i.parquet"))
    state_of(work, project)
    (work / "ready").touch()
    return project


def command(folder: Path, *args: str) -> int:
    """Run a command; give its exit code."""
    done = subprocess.run([*RUN, *args], cwd=folder, check=False, capture_output=True)
    if done.returncode not in {0, 1, 5}:
        raise SystemExit(done.stderr.decode())
    return done.returncode


def state_of(work: Path, project: Path) -> None:
    """Make a state with answers in a file, in a closed segment and in the newest one."""
    model, folder = open_model(project, "latest"), work / "state"
    events = [json.loads(line) for line in (work / "new.jsonl").open()]
    build_state([model], folder, history=[work / "history.parquet"])
    with Store(folder) as store:
        engine = DecisionEngine(model.decider, open_live(store, [model]), store=store)
        for number, event in enumerate(events[: 2 * N_ANSWERED]):
            engine.event(event)
            engine.flush()
            if number + 1 in {N_ANSWERED // 2, N_ANSWERED}:
                store.rotate()
            if number + 1 == N_ANSWERED // 2:
                compact_state(folder)


def targets(work: Path, project: Path) -> Iterator[Target]:
    """Give every kind of file."""
    yield from state_targets(work)
    yield from bundle_targets(project)
    yield from kept_targets(project)
    (journal,) = (project / ".fraudctl").rglob("*.journal")
    place = journal.parent, journal.name
    yield Target("tuning journal", place, lambda folder, notes: read_journal(folder / journal.name, notes))
    models = project / "models"
    for name in (registry.LOG_NAME, registry.HEAD_NAME):
        yield Target(f"registry: {name}", (models, name), lambda folder, _: registry.history(folder))


def state_targets(work: Path) -> Iterator[Target]:
    """Give the files of a state."""
    state = work / "state"
    closed, newest = sorted(state.glob("log-*.bin"))
    (snapshot,), (answers,) = state.glob("snapshot-*.bin"), state.glob("answers/*.parquet")
    shown = ["state", "verify", "."]
    yield Target("snapshot", (state, snapshot.name), open_state, command=shown)
    yield Target("log, closed segment", (state, closed.name), open_state, command=shown)
    yield Target("log, newest segment", (state, newest.name), open_state, command=shown)
    spare = (
        "a note of what was acknowledged, kept twice and never read as data: a flipped note is left out, and the log "
        "is held to the other one"
    )
    yield Target("acknowledged.bin", (state, MARK), open_log, harmless=spare)
    name = str(answers.relative_to(state))
    ids = [json.loads(line)["transaction_id"] for line in (work / "new.jsonl").open()][: N_ANSWERED // 2]

    def open_answers(folder: Path, _: Notes) -> Any:
        """Ask for the answers that stand in a file, as a repeated event does and as a file that is scored again."""
        one, all_of_them = Answers(folder), Answers(folder)
        all_of_them.fetch(ids)
        return [one.get(key) for key in ids[::20]], [all_of_them.get(key) for key in ids]

    yield Target("answers", (state, name), open_answers, command=shown)


def open_log(folder: Path, notes: Notes) -> Any:
    """Open the log of a state, which is held to what was acknowledged."""
    with Store(folder) as store:
        notes.told += store.notes
        return list(store.records()), store.sequence


def open_state(folder: Path, notes: Notes) -> Any:
    """Open a state as `score --state` and `serve` do."""
    with Store(folder) as store:
        notes.told += store.notes
        live = restored(store)
        return live.to_parts(), store.sequence


def bundle_targets(project: Path) -> Iterator[Target]:
    """Give the files of a bundle, in a folder named as its version and in one that is not."""
    (bundle,) = (project / "models").glob("2*")
    for name in sorted([*FILES, MANIFEST]):
        yield Target(f"bundle: {name}", (bundle, name), open_bundle, command=["score", "-", "-m", "."])
    for name in sorted([*FILES, MANIFEST]):
        yield Target(f"bundle in a folder of another name: {name}", (bundle, name), open_renamed)


def open_bundle(folder: Path, _: Notes) -> Any:
    """Open a bundle as every command does, and decide with it."""
    bundle = load_bundle(folder)
    Decider(bundle)
    return bundle.manifest, bundle.predictions()


def open_renamed(folder: Path, notes: Notes) -> Any:
    """Open a bundle under a name that says nothing of its content."""
    return open_bundle(folder.rename(folder.parent / "renamed"), notes)


def kept_targets(project: Path) -> Iterator[Target]:
    """Give the files that are computed once: features, increment states, refits of pooled periods."""
    cache = project / ".fraudctl"
    ways: dict[str, tuple[str, Read]] = {
        "feature cache": ("features/*.parquet", features._reuse),
        "refit of a pooled period": ("pooled/*.parquet", pooled._kept),
    }
    for name, (pattern, read) in ways.items():
        path = max(cache.glob(pattern), key=lambda path: path.stat().st_size)
        for part in (path, path.with_suffix(".json")):
            place = path.parent, part.name

            def opened(folder: Path, notes: Notes, read: Read = read, table: str = path.name) -> Any:
                return read(folder / table, notes)

            yield Target(f"{name} ({part.suffix[1:]})", place, opened)
    yield from increment_targets(project)


def increment_targets(project: Path) -> Iterator[Target]:
    """Give the files of the state of `features --since`."""
    found = features.load_definitions(load_project(project))
    path = increment._place(found.project, found)

    def opened(folder: Path, notes: Notes) -> Any:
        there = found.project.model_copy(update={"path": folder.parent.parent / "fraudctl.toml"})
        state, why_none = increment._open(there, found)
        if state is None:
            notes.told.append(why_none)
            return None
        past = state.past()
        return state.facts, dataclasses.astuple(past.dropped), past.events.clone()

    for part in (path, path.with_suffix(".json")):
        yield Target(f"increment state ({part.suffix[1:]})", (path.parent, part.name), opened)


def read_journal(path: Path, notes: Notes) -> Any:
    """Open the journal of a search as `train` does."""
    storage = tune._journal_storage(path, notes)
    trials = [trial for study in storage.get_all_studies() for trial in storage.get_all_trials(study._study_id)]
    return [(trial.number, trial.state, trial.values, trial.params, trial.user_attrs) for trial in trials]


# ---------------------------------------------------------------- flipping


def flip(path: Path, at: int, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def copied(target: Target, scratch: Path) -> Path:
    """Copy the folder of a target to where nothing else is."""
    shutil.rmtree(scratch, ignore_errors=True)
    return Path(shutil.copytree(target.place[0], scratch / ".fraudctl" / target.place[0].name))


def same(found: Any, sound: Any) -> bool:
    """Say whether two things that were read are equal."""
    if isinstance(sound, pl.DataFrame):
        return isinstance(found, pl.DataFrame) and found.schema == sound.schema and found.equals(sound)
    if isinstance(sound, np.ndarray):
        return np.array_equal(found, sound)
    if isinstance(sound, dict):
        return found.keys() == sound.keys() and all(same(found[key], sound[key]) for key in sound)
    if isinstance(sound, (tuple, list)):
        return len(found) == len(sound) and all(map(same, found, sound))
    return bool(found == sound)


def outcome(target: Target, folder: Path, sound: Any) -> str:
    """Open a flipped file; say how it ends."""
    notes = Notes()
    try:
        found = target.read(folder, notes)
    except FraudctlError as error:
        named = Path(target.place[1]).name in error.message or str(folder) in error.message
        return f"refused, exit code {int(error.exit_code)}" if named else "refused without the place"
    except Exception as error:  # noqa: BLE001 - counted, and a failure
        return f"silent: crash with {type(error).__name__}"
    if found is None or (notes.told and not same(found, sound)):
        return "rebuilt, told" if notes.told else "silent: computed again"
    if same(found, sound):
        return "harmless" if target.harmless else "silent: no effect, without a reason"
    return "silent: used"


def flipped(target: Target, scratch: Path, n_flips: int, n_commands: int) -> dict[str, Any]:
    """Flip bits of one kind of file; count outcomes."""
    draw = random.Random(target.name)  # noqa: S311 - no secret
    sound = target.read(copied(target, scratch), Notes())
    require(same(target.read(copied(target, scratch), Notes()), sound), f"{target.name}: reading twice differs")
    size = (target.place[0] / target.place[1]).stat().st_size
    counts, examples, commands = Counter[str](), dict[str, list[int]](), Counter[str]()
    for number in range(n_flips):
        at, bit = draw.randrange(size), draw.randrange(8)
        folder = copied(target, scratch)
        flip(folder / target.place[1], at, bit)
        if number < n_commands and target.command:
            done = subprocess.run([*RUN, *target.command], cwd=folder, input=b"", check=False, capture_output=True)
            named = Path(target.place[1]).name in done.stderr.decode() or "bundle" in target.name
            commands[f"exit code {done.returncode}{'' if named else ', without the place'}"] += 1
        found = outcome(target, folder, sound)
        counts[found] += 1
        if found.startswith("silent"):
            examples.setdefault(found, [at, bit])
    out: dict[str, Any] = {"bytes": size, "flips": n_flips, "outcomes": dict(counts.most_common())}
    out |= {"command_line": dict(commands)} if commands else {}
    out |= {"harmless_because": target.harmless} if counts["harmless"] else {}
    return out | ({"examples": examples} if examples else {})


def require(condition: object, text: str) -> None:
    """End where the run would show nothing."""
    if not condition:
        raise SystemExit(text)


def silent(found: dict[str, Any]) -> int:
    """Count the flips that were used in silence, or refused without saying which file."""
    bad = ("silent", "refused without")
    return sum(count for name, count in found["outcomes"].items() if name.startswith(bad))


def main() -> None:
    """Flip, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--flips", type=int, default=1000, help="Flips of each file.")
    parser.add_argument("--commands", type=int, default=2, help="Flips of each file given to the command line too.")
    parser.add_argument("--only", default="", help="Files whose name holds this text.")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    work = args.work.resolve()
    project = prepare(work)
    memory = Path("/dev/shm")  # noqa: S108 - quicker than a disk, and nothing here has to survive
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        for target in targets(work, project):
            if args.only in target.name:
                found[target.name] = flipped(target, Path(place) / "x", args.flips, args.commands)
                print(target.name, json.dumps(found[target.name]), flush=True)
    n_flips = sum(item["flips"] for item in found.values())
    bad = sum(map(silent, found.values()))
    print(f"{n_flips:,} flips, {bad} of them used in silence")
    if args.out is not None:
        told = {"machine": machine(), "flips": n_flips, "used_in_silence": bad, "files": found}
        args.out.write_text(json.dumps(told, indent=1) + "\n")
    if bad:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
