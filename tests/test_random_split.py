"""Data without a time: a random split, asked for by name and reported as such."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run_in
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.data.tables import UTC_US
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.progress import Silent
from fraudctl.project import Project, load_project, parse_project
from fraudctl.propose import Flags
from fraudctl.split import RandomSplit, make_split, random_split
from fraudctl.workflows.check import check_data
from fraudctl.workflows.evaluate import evaluate_model, write_predictions
from fraudctl.workflows.explain import explain_model, explain_one
from fraudctl.workflows.init import init_project
from fraudctl.workflows.models import compare_models, list_models
from fraudctl.workflows.train import train_model

BASE = """
[data]
events = "loans.parquet"
event_id = "id"
label = "target"
{data}
[features]
raw = ["income", "late"]
{features}
[split]
{split}
{more}
"""


class Lines(Silent):
    """Collects stages and warnings in their order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, name: str) -> None:
        self.told.append(f"stage: {name}")

    def warn(self, text: str) -> None:
        self.told.append(text)


TIMELESS = {"split": 'kind = "random"'}


def project_of(**parts: str) -> Project:
    blank = {"data": "", "features": "", "split": "", "more": ""}
    return parse_project(BASE.format(**{**blank, **parts}), path=Path("/nowhere/fraudctl.toml"))


def loans(n_events: int = 3000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    late = rng.poisson(0.4, n_events)
    odds = late * 1.5 - 3.2
    return pl.DataFrame(
        {
            "id": np.arange(n_events),
            "income": rng.gamma(2.0, 2000.0, n_events).round(),
            "late": late,
            "target": (rng.random(n_events) < 1 / (1 + np.exp(-odds))).astype(np.int8),
            "fn_cost": rng.uniform(1000, 5000, n_events).round(2),
            "fp_cost": rng.uniform(100, 300, n_events).round(2),
        }
    )


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, 'has to be asked for by name: [split] kind = "random"'),
        ({"data": 'label_delay = "7d"'}, "only with a time has label_delay a meaning"),
        ({"data": 'label_time = "x"', **TIMELESS}, "only with a time has label_time a meaning"),
        ({"data": 'event_time = "t"'}, "label_delay is missing"),
        ({"data": 'event_time = "t"\nlabel_delay = "7d"', **TIMELESS}, "split by time"),
        ({"split": 'kind = "random"\nas_of = "2026-01-01"\ntest = "7d"'}, "no as_of and no test: these are times"),
        ({"split": 'kind = "random"\nfolds = 1'}, "at least 2 folds"),
        ({"data": 'event_time = "t"\nlabel_delay = "7d"', "split": "test_share = 0.3"}, "test_share belongs to"),
        (
            {**TIMELESS, "more": '[entities]\ncard = "c"\n[[features.window]]\nby = "card"\nwindows = ["1d"]\n'
             'aggregates = ["count"]'},
            "features.window: needs to know what came before the event",
        ),
        (
            {**TIMELESS, "more": '[entities]\ncard = "c"\n[[features.labels]]\nby = "card"\nwindows = ["1d"]'},
            "features.labels: needs to know what came before the event",
        ),
        (
            {**TIMELESS, "more": '[entities]\ncard = "c"\n[[features.recency]]\nby = "card"'},
            "features.recency: needs to know what came before the event",
        ),
        (
            {**TIMELESS, "more": '[policy]\ncapacity = { review = "5 per day" }'},
            "policy.capacity: needs to know what came before the event",
        ),
        (
            {**TIMELESS, "more": '[entities]\ncard = "c"\n[evaluate]\nblock_known = { entity = "card" }'},
            "which fraud was known when",
        ),
    ],
)  # fmt: skip
def test_what_needs_a_time_is_refused_by_name(parts: dict[str, str], words: str) -> None:
    with pytest.raises(ProjectError) as error:
        project_of(**parts)
    assert words in error.value.message


@given(st.lists(st.integers(0, 10**12), unique=True, min_size=1, max_size=50), st.integers(0, 99))
def test_an_event_is_drawn_by_its_id_alone(ids: list[int], seed: int) -> None:
    split = RandomSplit(seed, 0.3)
    alone = {name: bool(split.test_rows(pl.Series([name]))[0]) for name in ids}
    shuffled = ids[::-1]
    together = split.test_rows(pl.Series(shuffled))
    assert [alone[name] for name in shuffled] == together.tolist()


def test_shares_are_as_asked_and_seeds_differ() -> None:
    ids = pl.Series(range(20_000))
    draws = RandomSplit(0, 0.2).draws(ids)
    assert draws.min() >= 0
    assert draws.max() < 1
    # 20,000 uniform draws: the share below 0.2 has a standard deviation of sqrt(.2 × .8 / 20,000) = .0028
    assert abs((draws < 0.2).mean() - 0.2) < 0.012
    assert (RandomSplit(1, 0.2).test_rows(ids) != RandomSplit(0, 0.2).test_rows(ids)).any()


NO_TIME = pl.lit(None, dtype=UTC_US)


def frame_of(events: pl.DataFrame) -> pl.DataFrame:
    return events.select(event_id="id", event_time=NO_TIME, label="target", label_time=NO_TIME)


def test_test_rows_and_folds_are_parts_of_the_whole() -> None:
    project, events = project_of(**TIMELESS), loans()
    frame = frame_of(events)
    split = make_split(frame, project, known_until=None)
    chance = random_split(project)
    assert chance is not None
    test = chance.test_rows(frame["event_id"])
    assert not (split.train & test).any()
    assert (split.train | test).all()
    valid = np.array([fold.valid for fold in split.folds])
    assert (valid.sum(axis=0) == split.train).all()
    for fold in split.folds:
        assert (fold.train == split.train & ~fold.valid).all()
    assert any("nothing about the future" in text for text in split.warnings)


def test_as_of_and_one_class_are_refused() -> None:
    project, frame = project_of(**TIMELESS), frame_of(loans())
    with pytest.raises(UsageError, match="no as_of"):
        make_split(frame, project, known_until=None, as_of=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(DataError, match="too few for 3 random folds"):
        make_split(frame.with_columns(label=pl.lit(0, pl.Int8)), project, known_until=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without a time, initialised, priced by columns and trained."""
    place = tmp_path_factory.mktemp("loans")
    loans().write_parquet(place / "loans.parquet")
    data = [str(place / "loans.parquet")]
    with pytest.raises(UsageError, match="no column holds a time") as error:
        init_project(data, place=place, flags=Flags())
    assert "--random-split" in (error.value.hint or "")
    with pytest.raises(UsageError, match="--random-split is for data without a time"):
        init_project(data, place=place, flags=Flags(random_split=True, label_delay="7d"))
    toml = init_project(data, place=place, flags=Flags(random_split=True)).path
    text = toml.read_text()
    assert 'kind = "random"' in text
    head, costs = text.split("[costs.actions]")
    rest = costs[costs.index("[policy]") :]
    priced = 'allow.fraud = { column = "fn_cost" }\nblock.legit = { column = "fp_cost" }\n\n'
    head = head.replace("trials = 30", "trials = 0\niterations = 40")
    toml.write_text(
        f"{head}[costs.actions]\n{priced}{rest}\n[gate]\nsavings = {{ at_least = 0.02 }}\nmin_frauds = 20\n"
    )
    train_model(load_project(place))
    return place


def test_every_report_says_that_the_split_is_random(folder: Path) -> None:
    told = run_in(folder, "evaluate", "--format", "markdown")
    assert told.code in {0, 5}, told.err
    assert "random split, seed 0" in told.out
    project = load_project(folder)
    result = evaluate_model(project)
    found = as_object(result)
    assert (found["as_of"], found["period"]) == (None, None)
    assert found["split"] == {"kind": "random", "seed": 0, "test_share": 0.2}
    assert found["metrics"]["savings"]["low"] < found["metrics"]["savings"]["high"]
    assert found["by_day"] == []
    report = Path(found["report"]).read_text()
    assert "Random split" in report
    assert "1970" not in report
    assert list_models(project).models[0].as_of is None
    assert list_models(project).models[0].version.startswith("random-")
    assert [item.id for item in check_data(project).findings if item.id.startswith("time")] == ["time-none"]


def test_that_such_a_model_never_scores_is_said_before_training(folder: Path, tmp_path: Path) -> None:
    lines = Lines()
    version = train_model(load_project(folder), progress=lines).version
    said = [at for at, text in enumerate(lines.told) if "can be evaluated but never score" in text]
    assert len(said) == 1
    assert said[0] < lines.told.index("stage: tuning")
    refused = run_in(
        folder, "state", "build", str(tmp_path / "s"), "-m", version, "--history", str(folder / "loans.parquet")
    )
    assert refused.code == 4, refused.err
    assert "trained on data without a time" in refused.err


def test_what_only_a_time_can_answer_is_refused(folder: Path) -> None:
    project, day = load_project(folder), datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match="the data have no time, so a period cannot be chosen"):
        evaluate_model(project, from_time=day)
    with pytest.raises(UsageError, match="so has no as_of"):
        train_model(project, as_of=day)
    with pytest.raises(UsageError, match="no event_time, and an explanation"):
        explain_model(project)
    with pytest.raises(UsageError, match="no event_time, and an explanation"):
        explain_one(project, "1")


def test_scores_from_a_file_are_judged_on_the_test_events_only(folder: Path, tmp_path: Path) -> None:
    project, written = load_project(folder), tmp_path / "p.parquet"
    own = evaluate_model(project, report=False)
    write_predictions(own, written)
    assert "event_time" not in pl.read_parquet(written).columns
    again = evaluate_model(project, scores=written, report=False)
    assert again.evaluation.rows == own.evaluation.rows
    assert again.evaluation.metrics["savings"] == own.evaluation.metrics["savings"]
    assert compare_models(project, "latest", "latest").agreed == own.evaluation.rows


def test_a_champion_of_another_draw_has_seen_the_test(folder: Path) -> None:
    project = load_project(folder)
    first = list_models(project).models[0].version
    other = project.model_copy(update={"train": project.train.model_copy(update={"seed": 7})})
    second = train_model(other).version
    with pytest.raises(UsageError, match="split by another draw"):
        evaluate_model(project, model=second, champion=first)
