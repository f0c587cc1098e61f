"""`state`: what is damaged is refused with its place, checked, repaired into a new folder, or built again."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in
from faults.deaths import spawned
from faults.disk import every_fault

from fraudctl.compare import read_logged
from fraudctl.errors import BundleError, DataError, UsageError
from fraudctl.project import load_project
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.scoring.store import Store
from fraudctl.workflows.logged import read_logged as read_taken
from fraudctl.workflows.logged import with_outcomes
from fraudctl.workflows.score import Model, open_model
from fraudctl.workflows.state import (
    build_state,
    compact_state,
    engine_on,
    open_live,
    repair_state,
    restored,
    show_state,
    verify_state,
)
from fraudctl.workflows.stream import score_through

N_NEW = 40


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return open_model(trained, "latest")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    folder = tmp_path_factory.mktemp("state")
    events = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    events.slice(14_000, 1000).write_parquet(folder / "history.parquet")
    new = events.slice(15_000, N_NEW).drop("is_fraud", "label_available_at")
    new.write_parquet(folder / "new.parquet")
    new.write_ndjson(folder / "new.jsonl")
    return folder


@pytest.fixture(scope="module")
def events(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "new.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def built(data: Path, model: Model, events: list[dict[str, Any]]) -> tuple[Path, list[bytes]]:
    """A state whose log holds answers, as a killed process leaves it, and the answers."""
    folder = data / "state"
    build_state([model], folder, history=[data / "history.parquet"])
    with Store(folder) as store:
        engine = DecisionEngine(model.decider, open_live(store, [model]), store=store)
        answers = []
        for event in events:
            answers.append(engine.event(event))
            engine.flush()
    return folder, answers


@pytest.fixture
def state(built: tuple[Path, list[bytes]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(built[0], tmp_path / "state"))


def log_of(state: Path) -> Path:
    return max(state.glob("log-*.bin"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_sound_state_verifies(trained: Path, state: Path) -> None:
    found = run_in(trained, "state", "verify", str(state), "--json")
    assert (found.code, found.json["records"], found.json["skipped"]) == (0, N_NEW, 0), found.err


@pytest.mark.parametrize("what", ["log", "snapshot", "no log", "no snapshot", "decisions", "acknowledged"])
def test_what_is_damaged_is_refused_with_its_place(what: str, state: Path, model: Model) -> None:
    log, snapshot = log_of(state), max(state.glob("snapshot-*.bin"))
    named = {"snapshot": snapshot, "no snapshot": state}.get(what, log)
    if what == "log":
        flip(log, log.stat().st_size - 20)
    elif what == "snapshot":
        flip(snapshot, snapshot.stat().st_size // 2)
    elif what == "acknowledged":
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    elif what == "decisions":
        named = state / "decisions" / "000000000000.parquet"
        named.parent.mkdir()
        named.write_bytes(b"PAR1 not a table")
    else:
        (log if what == "no log" else snapshot).unlink()
    with pytest.raises(BundleError) as caught:
        verify_state(state)
    assert str(named) in caught.value.message
    if what != "decisions":
        with pytest.raises(BundleError), engine_on(model, state):
            pass


def test_what_is_sound_is_repaired_into_a_new_folder(
    trained: Path,
    state: Path,
    model: Model,
    built: tuple[Path, list[bytes]],
    events: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    log = log_of(state)
    flip(log, log.read_bytes().index(events[10]["transaction_id"].encode()))
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}
    target = tmp_path / "repaired"
    found = run_in(trained, "state", "repair", str(state), str(target))
    assert found.code == 0, found.err
    assert f"{N_NEW - 1} log records" in found.out
    assert f"left out: {log.name}: bytes" in found.out
    assert {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()} == before
    verify_state(target)
    with engine_on(model, target) as engine:
        again = [engine.event(event) for event in events if event != events[10]]
    assert again == [*built[1][:10], *built[1][11:]], "every answer that is sound is given again"
    with pytest.raises(UsageError, match="not an empty folder"):
        repair_state(state, target)


@pytest.fixture
def fresh(data: Path, model: Model, tmp_path: Path) -> Callable[[], Path]:
    """Make folders with a state from history, nothing of which was decided yet, and new events."""
    first = tmp_path / "fresh"
    build_state([model], first / "state", history=[data / "history.parquet"])
    shutil.copy(data / "new.parquet", first)
    numbers = itertools.count()
    return lambda: Path(shutil.copytree(first, tmp_path / f"run{next(numbers)}"))


def test_a_file_whose_scoring_died_anywhere_is_scored_as_if_nothing_had_happened(
    fresh: Callable[[], Path], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudctl.workflows.stream.BATCH", 5)

    def run(folder: Path) -> None:
        with engine_on(model, folder / "state", explained="alerts") as engine:
            score_through(engine, [folder / "new.parquet"], output=folder / "out.parquet")

    whole = fresh()
    run(whole)
    expected, n_half = (whole / "out.parquet").read_bytes(), 0
    for faults, error in every_fault(run, fresh, ("death",), most=12):
        note, out = (faults.kind, faults.at, faults.names[faults.at], error), faults.folder / "out.parquet"
        assert error is None or isinstance(error, UsageError), note
        assert not out.exists() or out.read_bytes() == expected, note
        n_half += not out.exists() and verify_state(faults.folder / "state").records > 0
        run(faults.folder)
        assert out.read_bytes() == expected, note
        with Store(faults.folder / "state") as store:
            assert restored(store).counts["events"] == N_NEW, note
    assert n_half > 1, "no death in the middle"


def test_a_killed_score_is_run_again(fresh: Callable[[], Path], model: Model, trained: Path, tmp_path: Path) -> None:
    killed, whole = fresh(), fresh()
    shutil.copytree(trained / "models", killed / "models")
    shutil.copy(trained / "fraudctl.toml", killed)
    spawned("score", killed, 20, tmp_path / "count")
    assert not (killed / "out.parquet").exists()
    assert verify_state(killed / "state").records > 0, "it died in the middle"
    spawned("score", killed, -1, tmp_path / "count")
    with engine_on(model, whole / "state", explained="alerts") as engine:
        score_through(engine, [whole / "new.parquet"], output=whole / "out.parquet")
    assert pl.read_parquet(killed / "out.parquet").equals(pl.read_parquet(whole / "out.parquet"))


@pytest.mark.parametrize("name", ["answers", "decisions"])
def test_a_bit_of_an_answer_or_decision_is_never_used_in_silence(
    name: str, state: Path, model: Model, built: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    with engine_on(model, state):
        pass  # which writes what the log holds
    (path,) = (state / name).glob("*.parquet")
    verify_state(state)
    read_logged(state / "decisions", model.decider.model)
    flip(path, path.stat().st_size // 3)
    with pytest.raises(BundleError) as caught:
        verify_state(state)
    assert str(path) in caught.value.message
    if name == "answers":
        with pytest.raises(BundleError), engine_on(model, state):
            pass
    else:
        with pytest.raises(DataError, match="not what was written"):
            read_logged(state / "decisions", model.decider.model)
    repaired = repair_state(state, tmp_path / "new")
    assert repaired.left_out == (f"{name}/{path.name}: it is damaged",)
    verify_state(tmp_path / "new")


def test_a_damaged_state_is_built_again_with_force_alone(state: Path, model: Model, data: Path) -> None:
    log_of(state).write_bytes(b"")
    with pytest.raises(BundleError) as caught:
        build_state([model], state, history=[data / "history.parquet"])
    assert "state repair" in str(caught.value.hint)
    build_state([model], state, history=[data / "history.parquet"], force=True)
    assert verify_state(state).records == 0


def test_a_file_on_a_state_gets_every_answer_however_often_it_is_scored(
    state: Path,
    model: Model,
    data: Path,
    built: tuple[Path, list[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fraudctl.scoring.answers.REMEMBERED", 3)  # the others are found in files
    frames = []
    for number in range(3):
        out = tmp_path / f"out{number}.parquet"
        with engine_on(model, state, explained="alerts") as engine:
            found = score_through(engine, [data / "new.parquet"], output=out)
        assert (found.rows, found.repeated, found.duplicates) == (N_NEW, N_NEW, 0)
        frames.append(pl.read_parquet(out))
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])
    given = {item["event_id"]: item["probability"] for item in map(json.loads, built[1])}
    assert dict(frames[0].select("event_id", "probability").iter_rows()) == given
    with (
        pytest.raises(DataError, match="without the values of its features"),
        engine_on(model, state, with_features=True) as engine,
    ):
        score_through(engine, [data / "new.parquet"], output=out)


def test_a_run_that_died_half_way_is_repeated_as_if_it_had_not(
    built: tuple[Path, list[bytes]], model: Model, data: Path, tmp_path: Path
) -> None:
    more = pl.concat(
        [pl.read_parquet(data / "new.parquet").with_columns(pl.col("transaction_id") + f"-{i}") for i in range(2)]
    )
    more.write_parquet(tmp_path / "more.parquet")
    outputs = []
    for died in (False, True):
        state = Path(shutil.copytree(built[0], tmp_path / f"state{died}"))
        if died:
            with Store(state) as store:
                engine = DecisionEngine(model.decider, open_live(store, [model]), store=store, explained="alerts")
                half = more.sort("created_at", "transaction_id").head(N_NEW)
                for line in half.write_ndjson().splitlines():
                    engine.event(json.loads(line))
                engine.flush()
        with engine_on(model, state, explained="alerts") as engine:
            found = score_through(engine, [tmp_path / "more.parquet"], output=tmp_path / "out.parquet")
        assert (found.rows, found.repeated) == (2 * N_NEW, N_NEW if died else 0)
        outputs.append(pl.read_parquet(tmp_path / "out.parquet"))
    assert outputs[0].equals(outputs[1])


def test_a_file_that_does_not_fit_changes_nothing(state: Path, model: Model, data: Path, tmp_path: Path) -> None:
    before, out = log_of(state).read_bytes(), tmp_path / "out.parquet"
    frame = pl.read_parquet(data / "new.parquet").with_columns(pl.col("transaction_id") + "x")
    last = pl.int_range(pl.len()) == N_NEW - 1
    bad = frame.with_columns(transaction_id=pl.when(~last).then("transaction_id"))
    bad.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="transaction_id"), engine_on(model, state) as engine:
        score_through(engine, [tmp_path / "bad.parquet"], output=out)
    assert not out.exists()
    assert log_of(state).read_bytes() == before


def test_looking_at_a_state_reads_its_head_and_its_log_alone(state: Path) -> None:
    before, snapshot = show_state(state), max(state.glob("snapshot-*.bin"))
    flip(snapshot, snapshot.stat().st_size // 2)  # in what a state remembers, which is not looked at
    assert show_state(state) == before
    assert before.records == N_NEW
    flip(snapshot, snapshot.read_bytes().index(b'"definitions"'))
    with pytest.raises(BundleError, match="damaged"):
        show_state(state)
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    with pytest.raises(BundleError, match="was changed"):
        show_state(state)


def test_a_folder_without_a_state_is_an_error_of_its_own(state: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    nowhere = tmp_path / "nowhere"
    for command in (compact_state, show_state, verify_state, lambda folder: repair_state(folder, tmp_path / "new")):
        with pytest.raises(BundleError, match="no state in"):
            command(nowhere)
    with pytest.raises(UsageError):
        repair_state(state, tmp_path / "file")


def test_what_a_command_writes_is_in_proportion_to_what_it_took(
    state: Path, model: Model, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_on(model, state):
        pass  # a snapshot takes the place of the log that is there
    monkeypatch.setattr("fraudctl.scoring.store.SMALL_SNAPSHOT", 0)
    monkeypatch.setattr("fraudctl.scoring.store.LOG_SHARE", 1)
    first, n_decisions = _files(state), _n_decisions(state)
    with engine_on(model, state):
        pass
    assert _files(state) == first, "where nothing came, nothing is written"
    answers = []
    for number in range(2):
        with engine_on(model, state) as engine:
            answers.append(engine.event({**events[0], "transaction_id": f"more-{number}"}))
    later = _files(state)
    assert [later.get(name) for name in first if name.startswith("snapshot")] == [
        content for name, content in first.items() if name.startswith("snapshot")
    ]
    assert _n_decisions(state) == n_decisions + 2, "decisions are there, with or without a snapshot"
    with engine_on(model, state) as engine:
        assert engine.event({**events[0], "transaction_id": "more-1"}) == answers[1]
        assert engine.live.counts["events"] >= 2
    verify_state(state)


def _files(folder: Path) -> dict[str, bytes]:
    kept = [path for path in folder.iterdir() if path.name.startswith(("snapshot", "log"))]
    return {path.name: path.read_bytes() for path in sorted(kept)}


def _n_decisions(folder: Path) -> int:
    return sum(pl.read_parquet(path).height for path in folder.glob("decisions/*.parquet"))


def test_decisions_are_read_from_the_open_log_and_from_files_alike(trained: Path, state: Path, events: Any) -> None:
    project = load_project(trained)
    told = read_taken(project, [state])
    assert told.frame["event_id"].to_list() == [item["transaction_id"] for item in events]
    assert told.frame["event_time"].null_count() == 0
    compact_state(state)
    again, _ = with_outcomes(project, read_taken(project, [state]))
    wanted = told.frame.sort("event_time", "event_id")
    assert again.frame.select("event_id", "y_prob", "action", "decided_by").equals(
        wanted.select("event_id", "y_prob", "action", "decided_by")
    )
    assert again.frame["amount"].null_count() == 0
    assert again.frame["label"].is_not_null().any()
    flip(log_of(state), log_of(state).stat().st_size // 2)
    with pytest.raises(BundleError):
        read_taken(project, [state])


def test_decisions_of_state_and_files_do_not_mix(trained: Path, state: Path, data: Path) -> None:
    with pytest.raises(DataError, match="expected it alone"):
        read_taken(load_project(trained), [state, data / "new.parquet"])
