"""Every writer of the project on a disk that fails, at every call that it makes, and a process that dies at each.

Whatever happens: nothing that was acknowledged is lost, nothing half-written has a name, no error is a bug, what was
there before is still there where the new is not, and the next run works.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from faults.deaths import write_contents
from faults.disk import Faults, every_fault, faulty, kept_table, no_larger_files
from test_bundle import contents

from fraudctl import registry
from fraudctl.bundle import list_bundles, load_bundle
from fraudctl.data import outputs, tables
from fraudctl.data.chunks import write_chunks
from fraudctl.disk import files
from fraudctl.errors import BundleError, FraudctlError, UsageError
from fraudctl.progress import Silent
from fraudctl.scoring.answers import Answered, Answers, write_answers
from fraudctl.scoring.store import Store, frame
from fraudctl.scoring.trees import read_forest
from fraudctl.train import tune
from fraudctl.workflows import features
from fraudctl.workflows.features import FeatureTableFacts

SOME = ("full", "short", "death")
"""Kinds that differ from each other; the other errors go the same ways as a full disk."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def new_folder(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Make folders, in memory where the system has such a place: a flush then takes no time."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as place:
        numbers = itertools.count()

        def make() -> Path:
            folder = Path(place) / str(next(numbers))
            folder.mkdir()
            return folder

        yield make


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*.tmp")]


# ---------------------------------------------------------------- the state


class Clerk:
    """Takes records into a store as an engine does: what was written counts, what was refused is sent again."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder, self.durable = folder, durable
        self.sent: list[str] = []
        self.acknowledged: list[str] = []

    def work(self) -> None:
        store = self.again(lambda: Store(self.folder, durable=self.durable))
        taken = restored(store)
        store.let_compact()
        try:
            if not taken and store.empty:
                self.again(lambda: store.save(parts_of(taken)))
            for number in range(7):
                text = f'["event", {number}, "{"x" * 150 * number}"]'
                taken.append(text)
                self.sent.append(text)
                self.again(lambda: store.append([frame(taken[-1].encode())]))
                self.acknowledged.append(text)
                if number == 2:
                    self.again(store.rotate)
                if number == 4:
                    self.again(lambda: store.save(parts_of(taken)))
        finally:
            store.close()

    @staticmethod
    def again(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except UsageError:
            return act()


def parts_of(taken: list[str]) -> dict[str, bytes]:
    return {"about": json.dumps(taken).encode(), "rest": b"r" * 3000}


def restored(store: Store) -> list[str]:
    parts = store.snapshot()
    return [*json.loads(parts["about"] if parts else b"[]"), *(record.decode() for record in store.records())]


@pytest.mark.parametrize("durable", [False, True])
def test_a_state_loses_nothing_that_was_acknowledged(durable: bool, new_folder: Callable[[], Path]) -> None:
    clerks: dict[Path, Clerk] = {}

    def run(folder: Path) -> None:
        clerks[folder] = Clerk(folder / "state", durable=durable)
        clerks[folder].work()

    n_deaths = 0
    for faults, error in every_fault(run, new_folder):
        note, clerk = (faults.kind, faults.at, faults.names[-1]), clerks[faults.folder]
        assert error is None, note
        if faults.kind != "death":
            assert len(clerk.acknowledged) == 7, note
        n_deaths += faults.kind == "death"
        with Store(clerk.folder) as store:
            found = restored(store)
            assert found[: len(clerk.acknowledged)] == clerk.acknowledged, note
            assert found == clerk.sent[: len(found)], note
            store.let_compact()
            assert not hidden(clerk.folder), note
            store.save(parts_of(found))
        with Store(clerk.folder) as store:
            assert restored(store) == found, note
    assert n_deaths > 40


def test_a_disk_that_stays_full_stops_the_log_and_not_the_state(new_folder: Callable[[], Path]) -> None:
    with faulty(Faults(new_folder())) as counted:
        Clerk(counted.folder / "state", durable=False).work()
    for at in range(len(counted.names)):
        folder = new_folder()
        clerk = Clerk(folder / "state", durable=False)
        with faulty(Faults(folder, at, "full", for_good=True)), contextlib.suppress(UsageError):
            clerk.work()
        with Store(clerk.folder) as store:
            found = restored(store)
        assert found[: len(clerk.acknowledged)] == clerk.acknowledged
        assert found == clerk.sent[: len(found)]


def test_rotation_that_fails_leaves_the_old_segment_and_every_descriptor_where_it_was(
    new_folder: Callable[[], Path],
) -> None:
    def run(folder: Path) -> None:
        with Store(folder / "state") as store:
            store.save(parts_of([]))
            store.append([frame(b'"before"')])
            told: list[str | None] = []
            store.on_problem = told.append
            number, log = store.segment, store._log
            try:
                store.rotate()
            except UsageError:
                assert (store.segment, store._log) == (number, log)
                assert store.problem is not None
                assert told == [store.problem], "told once"
                store.append([frame(b'"after"')])
                assert store.problem is not None, "not ready until a segment can be begun"
                store.probe()
                assert told[1:] == [None]
            else:
                store.append([frame(b'"after"')])
            assert list(store.records()) == [b'"before"', b'"after"']

    for faults, error in every_fault(run, new_folder, ("full", "no descriptors", "read-only", "broken")):
        assert error is None or isinstance(error, UsageError), (faults.kind, faults.at, faults.names[-1], error)


def test_a_state_that_is_replaced_is_the_old_one_or_the_new_one(new_folder: Callable[[], Path]) -> None:
    def prepared() -> Path:
        folder = new_folder()
        with Store(folder / "state") as store:
            store.save(parts_of(["old"]))
            store.append([frame(b"log")])
        return folder

    def run(folder: Path) -> None:
        with Store(folder / "state", replacing=True) as store:
            store.replace(parts_of(["new"]))

    seen = set()
    for faults, error in every_fault(run, prepared):
        assert error is None or isinstance(error, FraudctlError), (faults.kind, faults.at, error)
        with Store(faults.folder / "state") as store:
            found = restored(store)
        assert found in (["old", "log"], ["new"])
        assert error is not None or faults.kind == "death" or found == ["new"]
        seen.add(len(found))
        run(faults.folder)
        with Store(faults.folder / "state") as store:
            assert restored(store) == ["new"]
    assert seen == {1, 2}


# ---------------------------------------------------------------- files that are written whole or not at all

OLD, NEW = pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": list(range(500))})
WRITERS: dict[str, tuple[Callable[[Path, pl.DataFrame], None], Callable[[Path], pl.DataFrame]]] = {
    "parquet": (lambda path, frame: outputs.write_parquet(frame, path), pl.read_parquet),
    "cache": (lambda path, frame: outputs.write_parquet(frame, path, durable=False), pl.read_parquet),
    "arrow": (lambda path, frame: outputs.write_arrow(frame, path), pl.read_ipc),
    "text": (lambda path, frame: outputs.write_text(frame.write_csv(), path), pl.read_csv),
    "chunks": (lambda path, frame: write_chunks(lambda: iter([frame]), path), pl.read_parquet),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_the_old_one_or_the_new_one(name: str, new_folder: Callable[[], Path]) -> None:
    write, read = WRITERS[name]

    def prepared() -> Path:
        folder = new_folder()
        write(folder / "out" / "file", OLD)
        return folder

    for faults, error in every_fault(lambda folder: write(folder / "out" / "file", NEW), prepared):
        note = faults.kind, faults.at, faults.names[-1], error
        assert error is None or isinstance(error, UsageError), note
        found = read(faults.folder / "out" / "file")
        assert found.equals(NEW) or found.equals(OLD), note
        assert error is not None or faults.kind == "death" or found.equals(NEW), note
        assert faults.kind == "death" or faults.names[-1] == "unlink" or not hidden(faults.folder), note
        write(faults.folder / "out" / "file", NEW)
        assert read(faults.folder / "out" / "file").equals(NEW), note


def test_an_entry_of_the_registry_is_noted_whole_or_not_at_all(new_folder: Callable[[], Path]) -> None:
    def note_gate(folder: Path, version: str) -> None:
        registry.record_gate(
            folder, version, verdict="pass", reason="it saves", compared_with=None, now=NOW, by="tests"
        )

    def prepared() -> Path:
        folder = new_folder()
        note_gate(folder, "one")
        return folder

    for faults, error in every_fault(lambda folder: note_gate(folder, "two"), prepared):
        note = faults.kind, faults.at, faults.names[-1], error
        assert error is None or isinstance(error, FraudctlError), note
        found = [entry.version for entry in registry.history(faults.folder)]
        assert found in (["one"], ["one", "two"]), note
        assert error is not None or faults.kind == "death" or len(found) == 2, note
        note_gate(faults.folder, "three")
        assert registry.history(faults.folder)[-1].version == "three"


def test_answers_in_files_are_all_there_or_none(new_folder: Callable[[], Path]) -> None:
    items = [(f"T{number}", Answered(b"{}", b'{"n": %d}' % number, "digest")) for number in range(50)]
    for faults, error in every_fault(lambda folder: write_answers(items, folder, 3), new_folder):
        note = faults.kind, faults.at, faults.names[-1], error
        assert error is None or isinstance(error, FraudctlError), note
        found = [Answers(faults.folder).get(key) for key, _ in items]
        assert found in ([None] * len(items), [item for _, item in items]), note
        write_answers(items, faults.folder, 3)
        assert Answers(faults.folder).get("T7") == items[7][1]


def test_a_bundle_is_complete_and_in_the_log_or_not_there(new_folder: Callable[[], Path]) -> None:
    trained = contents()
    model = load_bundle(write_contents(new_folder() / "models", trained))._model_bytes
    old, new = (replace(trained, model=model, facts={"name": name}) for name in ("old", "new"))

    def prepared() -> Path:
        folder = new_folder()
        write_contents(folder / "models", old)
        return folder

    for faults, error in every_fault(lambda folder: write_contents(folder / "models", new), prepared, SOME):
        note, models = (faults.kind, faults.at, faults.names[-1], error), faults.folder / "models"
        assert error is None or isinstance(error, FraudctlError), note
        there = [path.name for path in list_bundles(models)]
        for name in there:
            load_bundle(models / name)
        assert not registry.in_order_of_writing(registry.history(models), there)[0], note
        assert len(there) == 2 or error is not None or faults.kind == "death", note
        newest = write_contents(models, new).name
        assert registry.latest(registry.history(models), [path.name for path in list_bundles(models)]) == newest, note
        assert faults.kind != "death" or not list(models.glob(".writing-*")), note


# ---------------------------------------------------------------- what libraries write without `os`


def test_a_file_that_a_library_writes_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    for name, (write, read) in WRITERS.items():
        path = tmp_path / name
        write(path, NEW)
        size = path.stat().st_size
        write(path, OLD)
        for most in (0, 1, size // 2, size - 1):
            with no_larger_files(most), pytest.raises(UsageError, match="File too large"):
                write(path, NEW)
            assert read(path).equals(OLD), (name, most)
        write(path, NEW)
        assert read(path).equals(NEW), name
    assert not hidden(tmp_path)


def test_a_model_that_cannot_be_saved_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    made = contents()
    size = (write_contents(tmp_path / "whole", made) / "model.cbm").stat().st_size
    for most in (0, 100, size - 1):
        models = tmp_path / f"models-{most}"
        with no_larger_files(most), pytest.raises(BundleError, match="File too large"):
            write_contents(models, made)
        assert not list(models.iterdir())


def test_trees_that_the_temporary_folder_has_no_space_for_are_told() -> None:
    made = contents()
    for most in (0, 1000, 20_000):
        with no_larger_files(most), pytest.raises(UsageError, match="temporary folder"):
            read_forest(made.model, made.columns)


def test_a_kept_table_is_whole_or_built_again(new_folder: Callable[[], Path]) -> None:
    """The feature cache; increment states and refits of pooled periods are kept in the same steps."""

    def keep(folder: Path, frame: pl.DataFrame, known: str) -> None:
        facts = FeatureTableFacts(None, 0, (known,))
        features._keep(frame, facts, folder / "table.parquet", Silent())

    def prepared() -> Path:
        folder = new_folder()
        keep(folder, OLD, "old")
        return folder

    def require_sound(folder: Path, note: object) -> None:
        found = kept_table(folder / "table.parquet")
        if found is not None:
            assert found[0].equals({"old": OLD, "new": NEW}[found[1].notes[0]]), note
        keep(folder, NEW, "new")
        found = kept_table(folder / "table.parquet")
        assert found is not None, note
        assert found[0].equals(NEW), note

    for faults, error in every_fault(lambda folder: keep(folder, NEW, "new"), prepared):
        note = faults.kind, faults.at, faults.names[-1], error
        assert error is None or isinstance(error, (UsageError, OSError)), note
        require_sound(faults.folder, note)
    for most in (0, 100, 1000):
        folder = prepared()
        with no_larger_files(most), pytest.raises(UsageError):
            keep(folder, NEW, "new")
        require_sound(folder, most)


def test_a_journal_of_tuning_keeps_its_trials_on_a_disk_that_fills(tmp_path: Path) -> None:
    from optuna.storages import JournalStorage
    from optuna.study import StudyDirection

    def add(storage: JournalStorage, n_trials: int) -> None:
        study = storage.get_study_id_from_name("search")
        for _ in range(n_trials):
            storage.set_trial_user_attr(storage.create_new_trial(study), "text", "x" * 50)

    path = tmp_path / "tuning.journal"
    storage = tune._journal_storage(path, Silent())
    storage.create_new_study([StudyDirection.MINIMIZE], "search")
    add(storage, 3)
    size = path.stat().st_size
    for more in (1, 40, 200, 333):
        with no_larger_files(size + more), pytest.raises(OSError, match="File too large"):
            add(tune._journal_storage(path, Silent()), 3)
        again = tune._journal_storage(path, Silent())
        trials = again.get_all_trials(again.get_study_id_from_name("search"))
        assert [trial.user_attrs.get("text") for trial in trials[:3]] == ["x" * 50] * 3
        size = path.stat().st_size


def test_errors_of_the_disk_are_known_whichever_library_says_so() -> None:
    texts = {
        pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"): 28,
        OSError("File too large (os error 27)"): 27,
        OSError(5, "Input/output error"): 5,
    }
    for error, number in texts.items():
        found = files.system_error(error)
        assert found is not None
        assert found.errno == number
    assert files.system_error(ValueError("(os error 28)")) is None
    assert files.system_error(pl.exceptions.ComputeError("a column of another type")) is None
    unwritten = pl.exceptions.ComputeError("parquet: File out of specification: Invalid thrift: transport error")
    found = files.system_error(unwritten)
    assert found is not None
    assert found.errno == errno.EIO
    assert files.no_room(unwritten) is None
    assert files.no_room(FileNotFoundError(errno.ENOENT, "x")) is None
    full = files.no_room(OSError("File too large (os error 27)"))
    assert full is not None
    assert full.errno == errno.EFBIG


def test_a_full_disk_is_not_a_damaged_table(tmp_path: Path) -> None:
    table = tmp_path / "events.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(table)
    with pytest.raises(OSError, match="File too large"), tables.explained([str(table)]):
        raise OSError("File too large (os error 27)")


def test_a_hidden_file_goes_with_the_next_writer_unless_its_own_still_lives(tmp_path: Path) -> None:
    dead, other = tmp_path / ".out.parquet.abcd1234.tmp", tmp_path / ".out.parquet.x.abcd1234.tmp"
    dead.write_bytes(b"half")
    other.write_bytes(b"of another file")
    with files.whole_file(tmp_path / "out.parquet") as living:
        living.write_bytes(b"one")
        assert not dead.exists()
        with files.whole_file(tmp_path / "out.parquet") as second:
            second.write_bytes(b"two")
        assert living.exists()
    assert (tmp_path / "out.parquet").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [other.name]
