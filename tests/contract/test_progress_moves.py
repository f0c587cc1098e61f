"""Commands over a whole table say where they are: each stage has a name, and its count rises up to its total."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fraudctl import check_data, load_project, write_sample
from fraudctl.propose import Flags
from fraudctl.sample import STEPS
from fraudctl.workflows.features import build_features, build_features_file
from fraudctl.workflows.init import init_project


class Heard:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, list[tuple[int, int | None, str]]]] = []

    def stage(self, name: str) -> None:
        self.stages.append((name, []))

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self.stages[-1][1].append((done, total, note))

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard]:
    folder, heard = tmp_path_factory.mktemp("sample"), Heard()
    write_sample(folder, n_events=4_000, progress=heard)
    return folder, heard


def holds(heard: Heard, *, at_least: int) -> None:
    updates = [update for _, told in heard.stages for update in told]
    assert len(updates) >= at_least
    for name, told in heard.stages:
        assert name
        counts = [done for done, _, _ in told]
        assert counts == sorted(counts), name
        assert all(total is None or done <= total for done, total, _ in told), name


def test_sample_says_each_of_its_steps(made: tuple[Path, Heard]) -> None:
    _, heard = made
    holds(heard, at_least=20)
    steps = next(told for name, told in heard.stages if name.startswith("Making"))
    assert [done for done, _, _ in steps] == list(range(STEPS))
    assert {total for _, total, _ in steps} == {STEPS}


def test_init_and_check_say_each_column(made: tuple[Path, Heard], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = made
    monkeypatch.chdir(folder)
    heard = Heard()
    init_project(["transactions.parquet"], place=folder / "proposed", flags=Flags(), progress=heard)
    holds(heard, at_least=15 + 5)
    heard = Heard()
    check_data(load_project(folder), progress=heard)
    holds(heard, at_least=15 + 15)
    assert len(heard.stages) == 1
    counted = [(done, total) for done, total, _ in heard.stages[0][1] if total is not None]
    assert [done for done, _ in counted] == list(range(counted[0][1])), "a step is not counted in the total"


@pytest.mark.parametrize("memory", [None, 1_000_000_000])
def test_features_say_that_the_written_file_is_hashed(made: tuple[Path, Heard], memory: int | None) -> None:
    project, heard = load_project(made[0]), Heard()
    shutil.rmtree(project.cache_dir, ignore_errors=True)
    if memory is None:
        build_features(project, progress=heard)
    else:
        build_features_file(project, memory=memory, progress=heard)
    holds(heard, at_least=10)
    done, total, note = heard.stages[-1][1][-1]
    assert (done, note) == (total, "hashing the file")
