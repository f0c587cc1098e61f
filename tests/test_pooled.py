"""Pooled periods: model and champion refitted for earlier periods, and judged together."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from command_line import run_in

from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.evaluate import Evaluation
from fraudctl.progress import Silent
from fraudctl.project import Project, load_project, parse_project
from fraudctl.workflows.evaluate import evaluate_model
from fraudctl.workflows.train import train_model

AS_OF = datetime.fromisoformat("2025-12-20T00:00:00+00:00")
LENGTH = timedelta(days=8)
LAG = timedelta(days=4)


class Stages(Silent):
    """Collects the stages that progress tells."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str) -> None:
        self.names.append(name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str, str]:
    """A project, a model of it, and an older champion."""
    folder = tmp_path_factory.mktemp("pooled")
    assert run_in(folder, "sample", ".", "--events", "12000", "--quiet").code == 0
    toml = folder / "fraudctl.toml"
    text = toml.read_text()
    text = text.replace("trials = 30", "trials = 0\niterations = 20").replace("folds = 3", 'folds = 2\ntest = "8d"')
    text = text[: text.index("[[features.")] + text[text.index("# Training knows nothing") :]
    columns = text.index("[features.columns]")
    text = text[:columns] + text[text.index("# Training knows nothing") :]
    text += "\n" if "\n[evaluate]" in text else "\n[evaluate]\nreplicates = 100\n"
    toml.write_text(text.replace("min_frauds = 300", "min_frauds = 20"))
    project = load_project(folder)
    champion = train_model(project, as_of=AS_OF - LAG).version
    return project, train_model(project, as_of=AS_OF).version, champion


def pooled(world: tuple[Project, str, str], n_periods: int, stages: Stages | None = None) -> Evaluation:
    project, model, champion = world
    return evaluate_model(
        project, model=model, champion=champion, pooled=n_periods, report=False, progress=stages
    ).evaluation


def test_three_periods_end_with_the_model_s_own(world: tuple[Project, str, str]) -> None:
    found = pooled(world, 3)
    parts = found.tables.pooled
    starts = [part.period.from_time for part in parts]
    assert starts == [AS_OF - 2 * LENGTH, AS_OF - LENGTH, AS_OF]
    assert [part.as_of for part in parts] == starts
    assert [part.refitted for part in parts] == [True, True, False]
    assert sum(part.rows for part in parts) == found.rows
    assert sum(part.frauds for part in parts) == found.frauds
    assert (found.period.from_time, found.period.until) == (starts[0], AS_OF + LENGTH)
    assert "3 periods pooled" in found.when
    assert found.champion is not None
    assert found.champion.differences["savings"].value is not None


def test_a_refit_is_the_model_that_would_have_been_trained_then(world: tuple[Project, str, str]) -> None:
    project, _, _ = world
    part = pooled(world, 2).tables.pooled[0]
    then = train_model(project, as_of=AS_OF - LENGTH).version
    alone = evaluate_model(project, model=then, report=False).evaluation
    assert part.savings == alone.metrics["savings"].value
    assert part.rows == alone.rows
    old = train_model(project, as_of=AS_OF - LAG - LENGTH).version
    beside = evaluate_model(project, model=then, champion=old, report=False).evaluation.champion
    assert beside is not None
    assert part.savings_of_champion == beside.metrics["savings"].value


def test_refits_are_kept(world: tuple[Project, str, str]) -> None:
    first, again = Stages(), Stages()
    found = pooled(world, 3, first)
    assert pooled(world, 3, again) == found
    assert "Final fit" not in [name.capitalize() for name in again.names]


def test_one_period_is_the_model_s_own_alone(world: tuple[Project, str, str]) -> None:
    project, model, champion = world
    plain = evaluate_model(project, model=model, champion=champion, report=False).evaluation
    assert pooled(world, 1) == plain
    assert plain.tables.pooled == ()


def test_the_gate_asks_for_it_by_itself(world: tuple[Project, str, str]) -> None:
    project, model, champion = world
    assert project.gate is not None
    gate = project.gate.model_copy(update={"pooled_folds": 2})
    asking = project.model_copy(update={"gate": gate})
    result = evaluate_model(asking, model=model, champion=champion)
    assert len(result.evaluation.tables.pooled) == 2
    assert result.report is not None
    assert "2 periods are judged together" in result.report.read_text()
    start = evaluate_model(asking, model=model, from_time=AS_OF, report=False).evaluation
    assert start.tables.pooled == ()


def test_what_cannot_be_pooled_is_said(world: tuple[Project, str, str], tmp_path: Path) -> None:
    project, model, _ = world
    with pytest.raises(DataError, match="too little history to refit as of") as error:
        evaluate_model(project, model=model, pooled=12, report=False)
    assert "pool fewer periods" in (error.value.hint or "")
    with pytest.raises(UsageError, match="--pooled goes with the test period"):
        evaluate_model(project, model=model, pooled=2, from_time=AS_OF)
    with pytest.raises(UsageError, match="at least 1"):
        evaluate_model(project, model=model, pooled=0)
    with pytest.raises(ProjectError, match="pooled_folds"):
        parse_project(project.text.replace("[gate]\n", "[gate]\npooled_folds = 0\n"), path=tmp_path / "fraudctl.toml")
