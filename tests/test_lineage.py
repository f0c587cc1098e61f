"""A bundle keeps what it was trained with, whatever the project file says now."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.bundle import load_bundle
from fraudctl.errors import BundleError, DataError, ProjectError
from fraudctl.progress import Silent
from fraudctl.project import Project, load_project
from fraudctl.project.toml import render_toml
from fraudctl.scoring.decider import Decider
from fraudctl.workflows.evaluate import evaluate_model
from fraudctl.workflows.explain import explain_one
from fraudctl.workflows.lineage import differences, own_project
from fraudctl.workflows.models import compare_models
from fraudctl.workflows.train import choose_threshold, train_model
from fraudctl.workflows.versions import open_bundle, write_noted

TOML = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "3d"
timezone = "UTC"
[entities]
card = "card"
[features]
raw = ["x", "channel"]
categorical = ["channel"]
[features.columns]
risk = "x + y"
[[features.window]]
by = ["card"]
windows = ["1d"]
aggregates = ["count"]
[split]
test = "8d"
folds = 2
[train]
trials = 0
iterations = 20
threads = 2
[costs.actions]
allow.fraud = { fixed = 50 }
block.legit = { fixed = 5 }
[evaluate]
replicates = 100
"""


class Heard(Silent):
    """Collects notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def events(n: int = 3000) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    seconds = np.sort(rng.integers(0, 60 * 86_400, n))
    x, y = rng.normal(size=n), rng.normal(size=n)
    fraud = rng.random(n) < 1 / (1 + np.exp(3 - 1.5 * x - y))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": [f"e{i}" for i in range(n)], "at": [start + timedelta(seconds=int(s)) for s in seconds],
            "amount": rng.lognormal(3, 1, n).round(2), "card": rng.integers(0, 200, n), "shop": rng.integers(0, 40, n),
            "x": x, "y": y, "channel": rng.choice(["web", "app"], n), "fraud": fraud.astype(np.int8),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """A project with one bundle, and how that decided on its test period; never written to by tests."""
    folder = tmp_path_factory.mktemp("lineage")
    events().write_parquet(folder / "events.parquet")
    events().select("card", "at", device="shop").write_parquet(folder / "logins.parquet")
    (folder / "fraudctl.toml").write_text(TOML)
    project = load_project(folder)
    train_model(project)
    return folder, evaluate_model(project, report=False).scored


@pytest.fixture
def place(trained: tuple[Path, pl.DataFrame], tmp_path: Path) -> Path:
    shutil.copytree(trained[0], tmp_path / "project")
    return tmp_path / "project"


def rewrite(place: Path, *pairs: tuple[str, str]) -> Project:
    path = place / "fraudctl.toml"
    for old, new in pairs:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return load_project(place)


SOURCE = """[sources.logins]
events = "logins.parquet"
event_time = "at"
entities = { card = "card" }
[[features.window]]
source = "logins"
by = ["card"]
windows = ["7d"]
aggregates = ["count"]
[split]"""

CHANGES = {
    "another definition of the same name": ('risk = "x + y"', 'risk = "0 - x - y"'),
    "a dropped feature": ('[features.columns]\nrisk = "x + y"\n', ""),
    "another window": ('windows = ["1d"]', 'windows = ["30d"]'),
    "another entity": ('card = "card"', 'card = "shop"'),
    "another raw column": ('raw = ["x", "channel"]', 'raw = ["y", "channel"]'),
    "a raw column that is not there": ('raw = ["x", "channel"]', 'raw = ["x", "gone", "channel"]'),
    "another label_delay": ('label_delay = "3d"', 'label_delay = "9d"'),
    "another timezone": ('timezone = "UTC"', 'timezone = "Asia/Tokyo"'),
    "another amount": ('amount = "amount"', 'amount = "x"'),
    "another test period": ('test = "8d"', 'test = "3d"'),
    "another recipe": ("iterations = 20", "iterations = 12\nseed = 7"),
    "a new source": ("[split]", SOURCE),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_model_decides_and_is_judged_as_it_was_trained(
    trained: tuple[Path, pl.DataFrame], place: Path, change: tuple[str, str]
) -> None:
    before, project, heard = trained[1], rewrite(place, change), Heard()
    old = open_bundle(project, "latest")
    found = evaluate_model(project, report=False, progress=heard)
    shared = ["event_id", "label", "y_prob", "action", "cost"]
    assert found.scored.select(shared).equals(before.select(shared))
    said = [*heard.warnings, *heard.notes]
    assert any("keeps what it was trained with" in text for text in said) == bool(differences(old, project))
    new = load_bundle(choose_threshold(project, model=old.version).path)
    assert new.manifest["files"]["model.cbm"] == old.manifest["files"]["model.cbm"]
    again = evaluate_model(project, model=new.version, report=False).scored
    assert again.select("event_id", "label", "y_prob").equals(before.select("event_id", "label", "y_prob"))
    assert Decider(new).features.digest == old.features["digest"]
    assert own_project(new, project).model_dump(exclude={"text"}) == own_project(old, project).model_dump(
        exclude={"text"}
    )


def test_the_present_gives_costs_policy_and_rules(place: Path) -> None:
    rule = '[[rules]]\nwhen = "y > 2"\naction = "block"\n[evaluate]'
    project = rewrite(place, ("fixed = 5 }", "fixed = 9 }"), ("[evaluate]", rule), ('risk = "x + y"', 'risk = "x"'))
    with pytest.raises(ProjectError, match="y"):  # the fold predictions do not hold that column
        choose_threshold(project)
    project = rewrite(place, ('when = "y > 2"', 'when = "amount > 200"'))
    new = load_bundle(choose_threshold(project).path)
    own = own_project(new, project)
    assert own.costs == project.costs
    assert own.rules == project.rules
    assert own.features.columns == {"risk": "x + y"}
    assert [item["when"] for item in new.policy["rules"]] == ["amount > 200"]
    assert Decider(new).policy.rules[0].action == "block"


def test_one_event_is_explained_by_the_features_of_the_bundle(place: Path) -> None:
    event = "e2900"
    before = explain_one(load_project(place), event)
    project = rewrite(place, ('risk = "x + y"', 'risk = "0 - x"'), ('windows = ["1d"]', 'windows = ["9d"]'))
    assert explain_one(project, event) == before


def test_models_of_other_definitions_are_compared_each_with_its_own(place: Path) -> None:
    old = open_bundle(load_project(place), "latest").version
    project = rewrite(place, ('risk = "x + y"', 'risk = "x - y"'))
    new = train_model(project).version
    alone = [evaluate_model(project, model=name, report=False).evaluation for name in (old, new)]
    both = compare_models(project, old, new)
    for evaluation, metrics in zip(alone, (both.metrics.a, both.metrics.b), strict=True):
        assert metrics["average_precision"].value == pytest.approx(evaluation.metrics["average_precision"].value)


def test_a_champion_of_other_definitions_is_not_compared_on_the_folds(place: Path) -> None:
    from fraudctl import registry

    project = load_project(place)
    old = open_bundle(project, "latest").version
    registry.promote(project.models_dir, old, now=datetime.now(UTC), by="x", force_reason="first")
    heard = Heard()
    train_model(rewrite(place, ('risk = "x + y"', 'risk = "0 - x - y"')), progress=heard)
    assert any("is not compared on the folds: the project defines 1 of its features otherwise (risk)" in text
               for text in heard.warnings)  # fmt: skip
    again = Heard()
    more = rewrite(place, ('risk = "0 - x - y"', 'risk = "x + y"'), ('windows = ["1d"]', 'windows = ["1d", "2d"]'))
    train_model(more, progress=again)
    assert not any("not compared" in text for text in again.warnings)


def test_options_of_train_belong_to_the_recipe(place: Path) -> None:
    project = load_project(place)
    quick = open_bundle(project, train_model(project, fast=True).version)
    own = own_project(quick, project)
    assert own.train.iterations == 20
    assert own.split.folds == 2
    assert own.train.params.learning_rate == quick.facts["recipe"]["train"]["params"]["learning_rate"]


@pytest.mark.parametrize("kind", [pl.String(), pl.Float64()])
def test_a_column_of_another_type_is_refused(place: Path, kind: pl.DataType) -> None:
    frame = events()
    changed = frame.with_columns(pl.col("amount").cast(pl.Int64)) if kind == pl.Float64() else frame
    changed.with_columns(x=pl.col("x").round().cast(pl.Int64 if kind == pl.Float64() else kind)).write_parquet(
        place / "events.parquet"
    )
    with pytest.raises((BundleError, DataError, ProjectError)) as error:
        evaluate_model(load_project(place), report=False)
    assert error.value.hint


def test_a_version_that_says_it_has_other_features_is_refused_with_its_parent(place: Path) -> None:
    """Older versions of `threshold` wrote the present project file beside the trees of the parent."""
    project = load_project(place)
    old = open_bundle(project, "latest")
    text = rewrite(place, ('risk = "x + y"', 'risk = "0 - x"')).text
    facts = {**old.facts, "parent": old.version}
    contents = old.contents(policy=old.policy, project_file=text, facts=facts)
    path = write_noted(project, contents, event="threshold", parent=old.version)
    for work in (evaluate_model, lambda p: explain_one(p, "e2900")):
        with pytest.raises(BundleError, match="other features") as error:
            work(project)
        assert f"fraudctl threshold --model {old.version}" in str(error.value.hint)
    with pytest.raises(BundleError):
        Decider(load_bundle(path))


def test_every_workflow_says_which_model_it_took_and_warns_of_a_newer_one(place: Path) -> None:
    project = load_project(place)
    old = open_bundle(project, "latest").version
    new = choose_threshold(rewrite(place, ("fixed = 5 }", "fixed = 9 }"))).version
    works: list[Callable[[str, Heard], object]] = [
        lambda name, heard: evaluate_model(project, model=name, report=False, progress=heard),
        lambda name, heard: explain_one(project, "e2900", model=name, progress=heard),
        lambda name, heard: choose_threshold(project, model=name, progress=heard),
    ]
    for work in works[:2]:
        heard = Heard()
        work("latest", heard)
        assert f"model: {new} (latest)" in heard.notes
        assert not any("was written later" in text for text in heard.warnings)
    for work in works:
        heard = Heard()
        work(old, heard)
        assert f"model: {old}" in heard.notes
        assert any(f"was written later than {old}" in text for text in heard.warnings)


def test_training_the_same_bytes_again_makes_them_the_latest(place: Path) -> None:
    project = load_project(place)
    old = open_bundle(project, "latest").version
    new = choose_threshold(rewrite(place, ("fixed = 5 }", "fixed = 9 }"))).version
    assert open_bundle(project, "latest").version == new
    again = train_model(rewrite(place, ("fixed = 9 }", "fixed = 5 }"))).version
    assert again == old == open_bundle(project, "latest").version
    shutil.rmtree(project.models_dir / old)
    assert open_bundle(project, "latest").version == new


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.one_of(
    TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False), st.dates(), st.datetimes()
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(TEXTS, TREES, max_size=4))
def test_toml_comes_back_as_it_was_written(tree: dict[str, object]) -> None:
    import tomllib

    assert tomllib.loads(render_toml(tree)) == tree


def test_the_text_of_a_new_version_says_the_same(place: Path) -> None:
    import tomllib

    project = rewrite(place, ("fixed = 5 }", "fixed = 9 }"))
    new = load_bundle(choose_threshold(project).path)
    assert json.dumps(tomllib.loads(new.manifest["project_file"])) == json.dumps(tomllib.loads(project.text))


def test_a_report_on_a_period_by_hand_replaces_no_other(place: Path) -> None:
    project = load_project(place)
    own = evaluate_model(project).report
    assert own is not None
    before = own.read_bytes()
    as_of = open_bundle(project, "latest").as_of
    other = evaluate_model(project, from_time=as_of + timedelta(days=1)).report
    assert other is not None
    assert other.name.startswith(own.stem)
    assert other != own
    assert own.read_bytes() == before


def test_scores_with_two_columns_of_other_ids_are_refused(place: Path) -> None:
    from fraudctl.workflows.decide import read_scores

    project = load_project(place)
    frame = pl.DataFrame({"event_id": ["a", "b"], "id": ["e1", "e2"], "y_prob": [0.1, 0.2]})
    frame.write_parquet(place / "scores.parquet")
    with pytest.raises(DataError, match="hold other ids"):
        read_scores(place / "scores.parquet", project, pl.String())
    frame.with_columns(event_id="id").write_parquet(place / "scores.parquet")
    assert read_scores(place / "scores.parquet", project, pl.String())["event_id"].to_list() == ["e1", "e2"]
