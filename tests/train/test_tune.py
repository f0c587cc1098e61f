from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fraudctl.errors import DataError, ProjectError
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.split import make_split
from fraudctl.train import TrainedModel, fit_model, fit_project
from fraudctl.train.summary import NoSearch, TreeLimits
from fraudctl.train.tune import _drop_damaged, _FileLock, _sealed_journal

sys.path.insert(0, str(Path(__file__).parents[1]))
from training_data import FEATURES, project, table

SPLIT = 'as_of = 2026-02-20\ntest = "8d"\nfolds = 2'
SMALL = "[train.search]\ndepth = { low = 2, high = 4 }\nlearning_rate = { low = 0.05, high = 0.4, log = true }\n"


class Recorder(Silent):
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[tuple[int, int | None, str]] = []
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self.notes.append((done, total, note))


def plan(trials: int, *, metric: str = "average_precision", search: str = SMALL) -> Project:
    return project(split=SPLIT, trials=trials, train=f'metric = "{metric}"\nthreads = 1\n' + search)


def run(plan: Project, *, journal: Path | None = None, progress: Silent | None = None, days: int = 60) -> TrainedModel:
    frame = table(3000, days=days)
    split = make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    return fit_project(frame, FEATURES, plan, split, journal=journal, progress=progress or Silent())


def model_bytes(trained: TrainedModel, place: Path) -> bytes:
    trained.model.save_model(str(place))
    return place.read_bytes()


def test_the_defaults_are_the_first_trial_and_all_is_told() -> None:
    told = Recorder()
    summary = run(plan(4), progress=told).summary.tuning
    assert summary.trials == 4
    assert summary.complete + summary.pruned == 4
    assert summary.best_value >= summary.default_value
    trials = [note for note in told.notes if "best average_precision" in note[2]]
    assert [done for done, _, _ in trials] == [1, 2, 3, 4]
    assert f"{summary.best_value:.4f}" in trials[-1][2]


def test_no_trials_means_the_defaults() -> None:
    trained = run(plan(0))
    assert trained.summary.tuning == NoSearch()
    assert trained.params["learning_rate"] == 0.08


def test_the_defaults_stay_unless_the_search_is_surely_better() -> None:
    trained = run(plan(5))
    tuning = trained.summary.tuning
    assert tuning.gain.low <= tuning.gain.value <= tuning.gain.high
    assert tuning.kept_defaults == (not tuning.gain.low > 0)
    expected = {**tuning.best_params} if tuning.gain.low > 0 else plan(0).train.params.model_dump()
    assert trained.params == expected


def test_bad_defaults_are_left_for_what_the_search_finds() -> None:
    search = "[train.params]\nlearning_rate = 0.001\n[train.search]\nlearning_rate = { low = 0.1, high = 0.3 }\n"
    trained = run(plan(3, search=search))
    assert not trained.summary.tuning.kept_defaults
    assert trained.params["learning_rate"] >= 0.1
    assert trained.summary.tuning.gain.low > 0


@pytest.mark.parametrize("metric", ["savings", "recall_at_fpr(0.05)"])
def test_other_objectives(metric: str) -> None:
    summary = run(plan(2, metric=metric)).summary
    assert summary.tuning.objective == metric
    assert all(0 < fold.figures[metric] < 1 for fold in summary.folds)


def test_a_stopped_and_resumed_search_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(plan(6), journal=tmp_path / "whole.journal")
    run(plan(2), journal=tmp_path / "parts.journal")
    parts = run(plan(6), journal=tmp_path / "parts.journal")
    assert parts.summary == whole.summary
    assert model_bytes(parts, tmp_path / "a.cbm") == model_bytes(whole, tmp_path / "b.cbm")
    assert parts.predictions.equals(whole.predictions)
    again = Recorder()
    run(plan(6), journal=tmp_path / "whole.journal", progress=again)
    assert not any("best" in note for _, _, note in again.notes)


def test_a_killed_search_loses_at_most_the_running_trial(tmp_path: Path) -> None:
    journal = tmp_path / "killed.journal"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, test_tune as t;"
        "t.run(t.plan(400), journal=pathlib.Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(journal)])
    for _ in range(600):
        if journal.exists() and journal.read_bytes().count(b'"state":1') >= 3:
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = journal.read_bytes().count(b'"state":1')
    assert finished >= 3
    journal.write_bytes(journal.read_bytes() + b'{"op_code":5,"torn')
    told = Recorder()
    resumed = run(plan(finished + 3), journal=journal, progress=told)
    assert len([note for note in told.notes if "best average" in note[2]]) <= 3
    whole = run(plan(finished + 3))
    assert resumed.summary == whole.summary
    assert model_bytes(resumed, tmp_path / "a.cbm") == model_bytes(whole, tmp_path / "b.cbm")


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    journal = tmp_path / "shared.journal"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, time, test_tune as t;"
        "journal = pathlib.Path(sys.argv[2]); journal.with_suffix(sys.argv[3]).touch()\n"
        "while len(list(journal.parent.glob('shared.ready*'))) < 2: time.sleep(0.01)\n"
        "print(t.run(t.plan(12), journal=journal).summary.tuning.trials)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(journal)]
    children = [
        subprocess.Popen([*command, f".ready{number}"], stdout=subprocess.PIPE, text=True) for number in range(2)
    ]
    outputs = [child.communicate(timeout=300)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert set(outputs) <= {"12", "13"}
    assert run(plan(12), journal=journal).summary.tuning.shared_study is True


def test_another_question_is_another_study(tmp_path: Path) -> None:
    journal = tmp_path / "trials.journal"
    run(plan(2), journal=journal)
    told = Recorder()
    run(plan(2, metric="recall_at_fpr(0.05)"), journal=journal, progress=told)
    assert len([note for note in told.notes if "best recall" in note[2]]) == 2


def test_no_single_bit_flip_in_a_journal_is_used(tmp_path: Path) -> None:
    journal, draw = tmp_path / "trials.journal", random.Random(3)  # noqa: S311 - no secret
    lock = _FileLock(tmp_path / "lock")
    backend = _sealed_journal(journal, lock)
    backend.append_logs([{"op_code": 5, "number": number, "value": 0.1 * number} for number in range(20)])
    content = journal.read_bytes()
    for _ in range(200):
        at, bit = draw.randrange(len(content) - 1), draw.randrange(8)
        journal.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        told = Recorder()
        _drop_damaged(journal, told)
        assert not journal.exists()
        assert "the search starts again" in told.warnings[0]
    for whole in (content, b""):
        journal.write_bytes(whole)
        _drop_damaged(journal, Recorder())
        assert journal.read_bytes() == whole
    journal.write_bytes(content)
    assert [log["number"] for log in _sealed_journal(journal, lock).read_logs(0)] == list(range(20))


def test_a_damaged_journal_is_begun_again(tmp_path: Path) -> None:
    journal = tmp_path / "trials.journal"
    first = run(plan(2), journal=journal)
    content = journal.read_bytes()
    journal.write_bytes(content.replace(b"0.", b"1.", 1))
    assert run(plan(2), journal=journal).summary == first.summary


def test_folds_without_fraud_cannot_rank_trials() -> None:
    frame = table(3000)
    split = make_split(frame, plan(2), known_until=frame["event_time"].max())  # type: ignore[arg-type]
    cut = split.folds[0].times.valid_from
    import polars as pl

    calm = frame.with_columns(label=pl.when(pl.col("event_time") >= cut).then(0).otherwise("label").cast(pl.Int8))
    with pytest.raises(DataError, match="no fold has a fraud"):
        make_split(calm, plan(2), known_until=frame["event_time"].max())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no fold has a fraud"):
        fit_project(calm, FEATURES, plan(2), split, progress=Silent())


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("[train.search]\ndepth = { low = 6, high = 4 }\n", "low must be less"),
        ("[train.search]\ndepht = { low = 4, high = 6 }\n", "depht"),
        ("[train.search]\nlearning_rate = { low = 0, high = 1, log = true }\n", "logarithmic"),
        ("[train.search]\ndepth = { low = 4, high = 6.5 }\n", "whole numbers"),
        ("[train.search]\nrsm = { low = 0.5, high = 2 }\n", "rsm"),
        ('metric = "f1"\n', "no objective"),
        ('metric = "recall_at_fpr(2)"\n', "no objective"),
    ],
)
def test_a_senseless_search_is_refused_with_its_key(train: str, says: str) -> None:
    with pytest.raises(ProjectError, match=says):
        project(train=train)


def test_the_lock_is_given_back_by_the_system(tmp_path: Path) -> None:
    from fraudctl.train.tune import _FileLock

    path = tmp_path / "x.lock"
    code = (
        "import sys, os, pathlib; from fraudctl.train.tune import _FileLock;"
        "_FileLock(pathlib.Path(sys.argv[1])).acquire(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with _FileLock(path).held():
        assert path.exists()


def test_the_search_grows_fewer_trees_in_larger_steps_and_the_gain_is_judged_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fraudctl.train import tune

    fits: list[tuple[int, int, float]] = []

    def recorded(pool: object, params: dict[str, float], **given: Any) -> Any:
        fits.append((given["iterations"], given["settings"].early_stopping, params["learning_rate"]))
        return fit_model(pool, params, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(tune, "fit_model", recorded)
    search = "search_iterations = 20\n[train.search]\ndepth = { low = 2, high = 4 }\n"
    summary = run(plan(2, search=search)).summary.tuning
    # 60 trees of 0.08 with a patience of 10 become 20 of 0.24 with one of 3; two trials on two folds.
    assert fits[:4] == [(20, 3, pytest.approx(0.24))] * 4
    assert fits[4:]
    assert set(fits[4:]) == {(60, 10, 0.08)}
    assert summary.trees_at_most == TreeLimits(20, 60)
