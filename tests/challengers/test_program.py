"""A program in a process of its own: what it finds, how it fails, and what is kept of it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.challengers.contract import ChallengerFacts, ChallengerFeature
from fraudctl.challengers.program import Program, read_program
from fraudctl.errors import DataError, ProjectError
from fraudctl.project.challengers import ChallengerSection

GOOD = """
import json, sys
from pathlib import Path
import polars as pl
from helper import FACTOR

facts = json.loads(Path(sys.argv[1]).read_text())
here = Path.cwd()
seen = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()} - {".output"}
if facts["step"] == "fit":
    train = pl.read_parquet(facts["tables"]["train"])
    document = {"mean": train["x"].mean(), "found": sorted(seen), "columns": train.columns, "python": sys.executable}
    Path(facts["model"], "model.json").write_text(json.dumps(document))
    Path("versions.json").write_text(json.dumps({"rival": "3.1"}))
else:
    labels = [path for path in seen if path.endswith(".parquet") and "label" in pl.read_parquet_schema(path)]
    assert not labels and "train.parquet" not in seen
    rows = pl.read_parquet(facts["tables"]["rows"])
    mean = json.loads(Path(facts["model"], "model.json").read_text())["mean"]
    rows.select("event_id", score=(pl.col("x") - mean) * FACTOR).sort("score").write_parquet(facts["output"])
"""
FACTS = ChallengerFacts("fit", "rival", 7, 1, (ChallengerFeature("x"),), {}, datetime(2026, 1, 1, tzinfo=UTC))
ROWS = pl.DataFrame({"event_id": [1, 2, 3], "x": [1.0, 3.0, 2.0]})
TRAIN = ROWS.with_columns(label=pl.Series([0, 1, 0]), event_weight=pl.lit(1.0))


def told(step: str) -> ChallengerFacts:
    return ChallengerFacts(**{**vars(FACTS), "step": step})


def program(folder: Path, source: str, **given: object) -> Program:
    folder.mkdir(exist_ok=True)
    (folder / "rival.py").write_text(source)
    (folder / "helper.py").write_text("FACTOR = 2.0\n")
    (folder / "secret.py").write_text("")
    section = {"command": ["python", "rival.py"], "files": ["helper.py"], "timeout": "10m", **given}
    return read_program("rival", ChallengerSection.model_validate(section), folder)


def test_a_program_finds_its_tables_and_its_own_files_alone(tmp_path: Path) -> None:
    rival = program(tmp_path / "p", GOOD)
    fitted = rival.fit(TRAIN, ROWS.clear(), told("fit"), where="fold 1")
    assert fitted.versions == {"rival": "3.1"}
    learned = pl.read_json(fitted.files["model.json"]).row(0, named=True)
    assert learned["found"] == ["context.parquet", "facts.json", "helper.py", "rival.py", "train.parquet"]
    assert Path(learned["python"]).parent == Path(sys.executable).parent
    assert {"label", "event_weight"} <= set(learned["columns"])
    scores = rival.score(ROWS, ROWS.clear(), fitted.files, told("score"), where="fold 1")
    np.testing.assert_allclose(scores, [-2.0, 2.0, 0.0])
    assert rival.score(ROWS.clear(), ROWS, {}, told("score"), where="x").shape == (0,)


def test_its_files_are_known_by_their_content(tmp_path: Path) -> None:
    before = program(tmp_path / "p", GOOD).hashes
    assert set(before) == {"rival.py", "helper.py"}
    after = program(tmp_path / "p", GOOD + "\n").hashes
    assert after["helper.py"] == before["helper.py"]
    assert after["rival.py"] != before["rival.py"]
    entry = read_program("r", ChallengerSection.model_validate({"entry": "fraudctl.challengers.logistic"}), tmp_path)
    assert set(entry.hashes) == {"module fraudctl.challengers.logistic"}


def test_a_shipped_one_is_the_installed_one_beside_any_file_of_its_name(tmp_path: Path) -> None:
    section = ChallengerSection.model_validate({"entry": "fraudctl.challengers.logistic"})
    installed = read_program("r", section, tmp_path).hashes
    beside = tmp_path / "fraudctl" / "challengers"
    beside.mkdir(parents=True)
    for name in ("__init__.py", "logistic.py"):
        (beside / name).write_text("raise SystemExit(1)\n")
    assert read_program("r", section, tmp_path).hashes == installed


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sys; sys.stderr.write('so\\x1b[31m it'); sys.exit(9)", r"code 9; it wrote last:\n  so\S+ it"),
        ("", "the program wrote no model"),
        ("import os; os._exit(3)", "exit code 3, and wrote nothing"),
        ("open('model/a.pkl', 'w')", "pickle"),
        ("open('model/A.NPY', 'w')", "pickle"),
        ("import os; os.mkdir('model/a')", "plain files alone"),
        ("import os; os.symlink('/etc/hosts', 'model/a')", "plain files alone"),
        ("open('model/a b', 'w')", "plain files alone"),
    ],
)  # fmt: skip
def test_a_program_that_fails_is_named_with_what_it_wrote(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        program(tmp_path / "p", source).fit(TRAIN, ROWS.clear(), told("fit"), where="fold 2")
    assert caught.value.message.startswith("challenger rival, fold 2, fit")
    assert "\x1b" not in caught.value.message


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    source = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    for timeout in ("2s", "20s", "200s"):  # a slow machine may take longer until the child is there
        with pytest.raises(DataError, match=f"took longer than {timeout}"):
            program(tmp_path / "p", source, timeout=timeout).fit(TRAIN, ROWS.clear(), told("fit"), where="fold 1")
        if (tmp_path / "child").exists():
            break
    state = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    assert not state.exists() or state.read_text().split(")")[1].split()[0] == "Z"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"command": ["python", "none.py"]}, "there is no file 'none.py'"),
        ({"files": ["*.R"]}, r"no file matches '\*\.R'"),
        ({"command": [], "entry": "no.such_module"}, "there is no module 'no.such_module'"),
    ],
)
def test_a_program_that_is_not_there_is_refused_before_anything_is_built(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    with pytest.raises(ProjectError, match=said):
        program(tmp_path / "p", GOOD, **given)


def test_a_command_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    rival = program(tmp_path / "p", GOOD, command=["no-such-program-here", "rival.py"])
    with pytest.raises(ProjectError, match="there is no program 'no-such-program-here'"):
        rival.fit(TRAIN, ROWS.clear(), told("fit"), where="fold 1")


def test_an_entry_beside_the_project_file_runs_with_its_package(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("SHIFT = 5.0\n")
    (tmp_path / "pack" / "own.py").write_text(
        "from pack import SHIFT\n"
        "class Rival:\n"
        "    def fit(self, train, context, facts, model):\n"
        "        (model / 'm.txt').write_text(str(train['x'].sum() + facts.seed))\n"
        "    def score(self, rows, context, facts, model):\n"
        "        return rows['x'] + float((model / 'm.txt').read_text()) + SHIFT\n"
        "rival = Rival()\n"
    )
    section = ChallengerSection.model_validate({"entry": "pack.own:rival"})
    rival = read_program("rival", section, tmp_path)
    assert set(rival.hashes) == {"pack/__init__.py", "pack/own.py"}
    fitted = rival.fit(TRAIN, ROWS.clear(), told("fit"), where="fold 1")
    assert {"polars", "python"} <= set(fitted.versions)
    found = rival.score(ROWS, ROWS.clear(), fitted.files, told("score"), where="fold 1")
    np.testing.assert_allclose(found, ROWS["x"] + 6.0 + 7 + 5.0)


def test_a_place_without_room_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rival = program(tmp_path / "p", GOOD)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"cannot be run in .*nowhere: No such file or directory"):
        rival.fit(TRAIN, ROWS.clear(), told("fit"), where="fold 1")
