"""Bad input: one clear error, its exit code, and no half-written file."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import Outcome, run_in

START = datetime(2024, 1, 1)
TOML = """
[project]
name = "bad"
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "1d"
[entities]
card = "card"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "sum(amount)"]
[split]
test = "5d"
folds = 1
[train]
trials = 0
iterations = 20
"""


def good(n: int = 600) -> dict[str, list[Any]]:
    return {
        "id": list(range(n)),
        "at": [START + timedelta(hours=i) for i in range(n)],
        "amount": [float(i % 50) for i in range(n)],
        "fraud": [int(i % 7 == 0) for i in range(n)],
        "card": [i % 20 for i in range(n)],
    }


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def train(folder: Path, table: dict[str, list[Any]], toml: str = TOML) -> Outcome:
    pl.DataFrame(table).write_parquet(folder / "x.parquet")
    (folder / "fraudctl.toml").write_text(toml)
    return run_in(folder, "train", "--quiet")


def assert_clear(done: Outcome, code: int, words: str) -> None:
    assert done.code == code, done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({name: [] for name in good()}, "no rows"),
        ({"fraud": [0] * 600}, "frauds"),
        ({"fraud": [1] * 600}, "legitimate"),
        ({"amount": [None] * 600}, "all 600 values are null"),
        ({"amount": ["1"] * 600}, "expected a number"),
        ({"at": [str(i) for i in range(600)]}, "ISO 8601"),
        ({"at": list(range(600))}, "expected a timestamp"),
        ({"id": [1] * 600}, "share their event id"),
        ({"card": [i + 0.5 for i in range(600)]}, "not whole numbers"),
    ],
    ids=["empty", "no-fraud", "all-fraud", "null-amounts", "text-amounts", "text-times", "rows", "ids", "entity"],
)  # fmt: skip
def test_bad_tables(tmp_path: Path, changes: dict[str, list[Any]], words: str) -> None:
    assert_clear(train(tmp_path, {**good(), **changes}), 3, words)
    assert not [name for name in files(tmp_path) if name.startswith("models/") or name.endswith(".tmp")]


def test_a_truncated_file(tmp_path: Path) -> None:
    assert train(tmp_path, good()).code == 0
    path = tmp_path / "x.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    before = files(tmp_path)
    assert_clear(run_in(tmp_path, "train", "--quiet"), 3, "cannot be read as Parquet")
    assert files(tmp_path) == before


def test_a_missing_file_and_a_missing_project(tmp_path: Path) -> None:
    assert_clear(run_in(tmp_path, "train", "--quiet"), 2, "no project file")
    (tmp_path / "fraudctl.toml").write_text(TOML)
    assert_clear(run_in(tmp_path, "train", "--quiet"), 3, "no such file")
    assert_clear(run_in(tmp_path, "evaluate", "--scores", "nowhere.parquet", "--quiet"), 3, "no such file")


def test_an_unknown_key(tmp_path: Path) -> None:
    done = train(tmp_path, good(), TOML.replace("trials = 0", "trails = 0"))
    assert_clear(done, 2, "train.trails: unknown key; did you mean 'trials'?")


@pytest.mark.parametrize(
    ("old", "new"), [('windows = ["1d"]', 'windows = ["0d"]'), ("sum(amount)", "sum(fraud)"), ("count", "cuont")]
)
def test_bad_definitions(tmp_path: Path, old: str, new: str) -> None:
    assert_clear(train(tmp_path, good(), TOML.replace(old, new)), 2, "")


def test_no_model_yet(tmp_path: Path) -> None:
    pl.DataFrame(good()).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "fraudctl.toml").write_text(TOML)
    assert_clear(run_in(tmp_path, "evaluate", "--quiet"), 4, "there is no bundle")


def test_errors_are_a_document_with_json(tmp_path: Path) -> None:
    done = run_in(tmp_path, "train", "--json", "--quiet")
    assert done.code == 2
    assert done.json["error"]["exit_code"] == 2
    assert done.json["error"]["hint"]


def test_init_never_overwrites_without_force_and_refuses_to_guess(tmp_path: Path) -> None:
    pl.DataFrame({**good(), "time_a": good()["at"], "time_b": good()["at"]}).drop("at").write_parquet(
        tmp_path / "x.parquet"
    )
    guess = run_in(tmp_path, "init", "x.parquet", "--label-delay", "1d")
    assert guess.code == 2
    assert "--event-time" in guess.err
    settled = ("init", "x.parquet", "--label-delay", "1d", "--event-time", "time_a", "--label", "fraud")
    assert run_in(tmp_path, *settled).code == 0
    again = run_in(tmp_path, *settled)
    assert again.code == 2
    assert "--force" in again.err
    assert run_in(tmp_path, *settled, "--force").code == 0


def test_usage_errors_are_2_and_never_1(tmp_path: Path) -> None:
    for args in (["nonsense"], ["train", "--nonsense"], ["train", "--trials", "many"], ["evaluate", "--format", "pdf"]):
        assert run_in(tmp_path, *args).code == 2


def test_a_reader_that_leaves_the_pipe_is_no_verdict(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = f"{sys.executable} -m fraudctl schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode in {0, 130}  # 0 where all had been written before the reader left
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("features", "-o", "folder"), "is a folder"),
        (("features", "-o", "file/f.parquet"), "cannot be written"),
        (("features", "-o", "x.parquet"), "is a file that is read"),
        (("evaluate", "--predictions", "./x.parquet"), "is a file that is read"),
        (("features", "-o", "f.csv"), "ends in .parquet"),
        (("train", "--as-of", "0001-01-01"), "out of range"),
        (("monitor", "x.parquet", "--as-of", "9999-12-31"), "out of range"),
        (("monitor", "x.parquet", "--as-of", "9999-12-31T23:59:59.999999-05:00"), "out of range"),
        (("evaluate", "--model", ""), "is empty"),
        (("evaluate", "--no-gate", "--require-gate"), "contradict"),
    ],
)
def test_what_cannot_be_done_is_said_before_work_begins(tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    pl.DataFrame(good()).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "fraudctl.toml").write_text(TOML)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert_clear(run_in(tmp_path, *args, "--quiet"), 2, words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"1d"', '"9999999999999999999d"', "longer than a hundred years"),
        ('events = "x.parquet"', "events = []", "data.events"),
        ("[train]", "[gate]\nsavings = { at_least = nan }\n[train]", "gate.savings.at_least"),
    ],
)
def test_values_that_mean_nothing(tmp_path: Path, old: str, new: str, words: str) -> None:
    done = train(tmp_path, good(), TOML.replace(old, new, 1))
    assert_clear(done, 2, words)


def test_an_interruption_is_told_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fraudctl.__main__ import main

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fraudctl.project.load_project", interrupted)
    assert main(["check"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")
