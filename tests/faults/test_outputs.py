"""What commands write, on a disk that fails at any call: every output is complete, or what was there before.

Each action runs undisturbed once, then with a fault at calls spread over all that it makes. Whatever happens, a file
of its output has the bytes of before or those of the undisturbed run, the exit code is not that of a bug, and the next
run gives all of it.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from evaluate.test_scores_alone import world
from faults.disk import every_fault, faulty, no_larger_files

from fraudctl.__main__ import _verdict
from fraudctl.disk import files
from fraudctl.disk.kept import verified
from fraudctl.errors import UsageError
from fraudctl.project import load_project
from fraudctl.propose import Flags
from fraudctl.report.render import evaluation_report
from fraudctl.workflows import explain
from fraudctl.workflows.evaluate import (
    EvaluationResult,
    _write_report,
    evaluate_model,
    write_predictions,
    write_step_summary,
)
from fraudctl.workflows.features import LEAST_MEMORY, build_features, build_features_file, write_features
from fraudctl.workflows.increment import build_since
from fraudctl.workflows.init import init_project
from fraudctl.workflows.sample import write_sample

MOST = 9
"""Calls at which a fault is tried, of each action and kind."""
KINDS = ("full", "death", "short")
MORE = '[[features.window]]\nby = ["card"]\nwindows = ["1d"]\naggregates = ["count", "sum(amount)"]\n'

Act = Callable[[Path], object]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    world(folder, 1, n=300)
    toml = folder / "fraudctl.toml"
    toml.write_text(toml.read_text() + MORE)
    return folder


@pytest.fixture(scope="module")
def evaluated(base: Path) -> EvaluationResult:
    return evaluate_model(load_project(base), scores=base / "scores.parquet", gate=False, report=False)


def outputs(folder: Path) -> dict[str, str]:
    """Return a digest of the content of all files below a folder that have a name of their own."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not hidden(path, folder))
    return {str(path.relative_to(folder)): digest(path) for path in found}


def digest(path: Path) -> str:
    if path.match("increments/*.json"):  # which names the files that were read, in folders of their own
        return str(sorted(verified(path.with_suffix(".arrow")) or ()))
    if path.match("features/*.json"):  # which also says when and where its table was written
        return str(sorted((verified(path.with_suffix(".parquet")) or {}).items()))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def hidden(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return path.name.endswith(".tmp") or any(part.startswith("parts-") for part in parts)


def build_in_memory(folder: Path) -> None:
    table = build_features(load_project(folder))
    write_features(table, folder / "out.parquet")


def build_in_parts(folder: Path) -> None:
    table = build_features_file(load_project(folder), memory=LEAST_MEMORY)
    write_features(table, folder / "out.parquet")


def build_new_events(folder: Path) -> None:
    build_since(load_project(folder), date(2026, 1, 6))


def propose(folder: Path) -> None:
    init_project([str(folder / "events.parquet")], place=folder / "new", flags=Flags(label_delay="1d"), force=True)


def make_sample(folder: Path) -> None:
    write_sample(folder / "sample", n_events=1000, days=30, truth=folder / "sample" / "truth.parquet", force=True)


ACTIONS: dict[str, Act] = {
    "features": build_in_memory, "features --memory": build_in_parts, "features --since": build_new_events,
    "init": propose, "sample": make_sample,
}  # fmt: skip


@pytest.fixture
def new_folder(base: Path, tmp_path: Path) -> Callable[[], Path]:
    numbers = itertools.count()

    def make() -> Path:
        return Path(shutil.copytree(base, tmp_path / str(next(numbers)) / "project"))

    return make


def require_whole_or_absent(run: Act, new_folder: Callable[[], Path], *, most: int = MOST) -> None:
    """Check the property of this module."""
    first = new_folder()
    before = outputs(first)
    run(first)
    whole = outputs(first)
    assert whole != before, "it writes nothing"
    n_failed = 0
    for faults, error in every_fault(run, new_folder, KINDS, most=most):
        note, folder = (faults.kind, faults.at, faults.names[-1], error), faults.folder
        assert error is None or _verdict(error)[0] in range(1, 6), note
        n_failed += error is not None
        for name, content in outputs(folder).items():
            assert content in (before.get(name), whole.get(name)), (name, note)
        run(folder)
        assert outputs(folder) == whole, note
        if faults.kind == "death":  # what a dead process has left goes with the next build
            for table in (folder / ".fraudctl" / "features").glob("*.parquet"):
                table.unlink()
            run(folder)
        assert not [path for path in folder.rglob("*") if hidden(path, folder)], note
    assert n_failed, "no call is needed"


@pytest.mark.parametrize("name", ACTIONS)
def test_an_output_is_complete_or_what_was_there_before(name: str, new_folder: Callable[[], Path]) -> None:
    require_whole_or_absent(ACTIONS[name], new_folder, most=2 if name == "sample" else MOST)


def test_reports_and_predictions_are_complete_or_what_was_there_before(
    evaluated: EvaluationResult, new_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = evaluation_report(evaluated.evaluation, project="tests")
    monkeypatch.setattr("fraudctl.report.render.evaluation_report", lambda *_, **__: text)  # drawn once

    def run(folder: Path) -> None:
        write_predictions(evaluated, folder / "predictions.parquet")
        _write_report(load_project(folder), evaluated.evaluation, named=False)

    require_whole_or_absent(run, new_folder)


def test_explanations_and_their_charts_are_complete_or_what_was_there_before(
    new_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {"explanation_report": "<html>" + "x" * 9000, "chart_files": {"a.svg": b"<svg/>", "b.png": bytes(9000)}}
    for name, content in drawn.items():
        monkeypatch.setattr(f"fraudctl.report.render.{name}", lambda *_, content=content: content)
    monkeypatch.setattr("fraudctl.report.explanation.explanation_document", lambda explanation: explanation)

    def run(folder: Path) -> None:
        explanation = SimpleNamespace(model="2026-01-09-0a1b2c3d")
        explain._write_report(load_project(folder), explanation, folder / "charts")  # type: ignore[arg-type]

    require_whole_or_absent(run, new_folder)


@pytest.mark.parametrize("name", ["features", "features --memory", "features --since", "init", "sample"])
def test_what_libraries_write_is_complete_or_what_was_there_before(name: str, new_folder: Callable[[], Path]) -> None:
    first = new_folder()
    before = outputs(first)
    ACTIONS[name](first)
    whole = outputs(first)
    for most in (100, 1500):
        folder = new_folder()
        with no_larger_files(most), pytest.raises((UsageError, OSError, pl.exceptions.PolarsError)) as caught:
            ACTIONS[name](folder)
        assert _verdict(caught.value)[0] in range(2, 6), (most, repr(caught.value))
        for path, content in outputs(folder).items():
            assert content in (before.get(path), whole.get(path)), (path, most)
        ACTIONS[name](folder)
        assert outputs(folder) == whole


def test_a_step_summary_keeps_what_others_wrote_and_gets_all_or_nothing(
    evaluated: EvaluationResult, new_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: Path) -> None:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
        write_step_summary(evaluated.evaluation, "github")

    def prepared() -> Path:
        folder = new_folder()
        (folder / "summary.md").write_text("of another step\n")
        return folder

    whole = prepared()
    run(whole)
    expected = (whole / "summary.md").read_text()
    assert len(expected) > 100
    for faults, error in every_fault(run, prepared, ("full", "broken", "short")):
        assert error is None or _verdict(error)[0] == 2, error
        found = (faults.folder / "summary.md").read_text()
        assert found == (expected if error is None else "of another step\n"), faults.names


# ---------------------------------------------------------------- folders for files in between


def test_a_folder_that_a_dead_process_left_goes_with_the_next_and_a_living_one_stays(tmp_path: Path) -> None:
    dead = tmp_path / "parts-abcd1234"
    dead.mkdir()
    (dead / "half").write_bytes(b"of a table")
    with files.temporary_folder(tmp_path, "parts") as living:
        assert not dead.exists()
        (living / "one").touch()
        with files.temporary_folder(tmp_path, "parts") as other:
            assert living.is_dir()
            assert other != living
    assert not list(tmp_path.iterdir())


def test_a_folder_in_between_is_gone_after_every_fault(tmp_path: Path) -> None:
    numbers = itertools.count()

    def new() -> Path:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    def run(folder: Path) -> None:
        with files.temporary_folder(folder, "parts") as place:
            files.write_bytes(place / "a", b"content")

    for faults, _ in every_fault(run, new):
        with files.temporary_folder(faults.folder, "parts") as place:
            assert list(faults.folder.iterdir()) == [place], (faults.kind, faults.at)
        assert not list(faults.folder.iterdir())


def test_the_layer_sees_what_python_writes_itself(tmp_path: Path) -> None:
    def run(folder: Path) -> None:
        (folder / "text").write_text("a\nb")
        with open(folder / "more", "ab") as file:  # noqa: PTH123
            file.write(b"c")

    seen = []
    for kind in ("full", "short"):
        for faults, error in every_fault(run, lambda: Path(tmp_path), (kind,)):
            assert isinstance(error, OSError), (faults.kind, faults.names)
            seen.append(faults.names[-1])
    assert set(seen) == {"open", "write"}
    with faulty(next(iter(every_fault(run, lambda: Path(tmp_path), ("full",))))[0]):
        assert (tmp_path / "text").read_text() == "a\nb"
