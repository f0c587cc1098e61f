"""A challenger through training: what each fold gets, what is refused, and what comes out."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.arrays import FloatArray
from fraudctl.bundle import load_bundle, write_bundle
from fraudctl.calibrate import sigmoid
from fraudctl.challengers.contract import ChallengerFacts
from fraudctl.challengers.program import FittedModel, Program
from fraudctl.data.labels import known_labels
from fraudctl.errors import BundleError, DataError, ProjectError
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.project.challengers import ChallengerSection
from fraudctl.split import make_split
from fraudctl.train import TrainedModel, fit_challenger, fit_project, predict
from fraudctl.train.blending import others_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from training_data import FEATURES, project, table

SPLIT = 'as_of = 2026-02-20\ntest = "8d"\nfolds = 2'
Score = Callable[[pl.DataFrame, pl.DataFrame, float], FloatArray]


def by_ratio(rows: pl.DataFrame, _context: pl.DataFrame, mean: float) -> FloatArray:
    return (rows["ratio"].fill_null(0.0) + 0.3 * rows["velocity"] - mean).to_numpy().astype(np.float64)


@dataclass(frozen=True)
class Direct(Program):
    """A program that runs in this process and keeps what it was given."""

    say: Score = by_ratio
    seen: list[tuple[str, ChallengerFacts, pl.DataFrame, pl.DataFrame]] = field(default_factory=list)

    def fit(self, train: pl.DataFrame, context: pl.DataFrame, facts: ChallengerFacts, *, where: str) -> FittedModel:
        self.seen.append((where, facts, train, context))
        held = io.BytesIO()
        train.select(pl.col("ratio").mean()).write_ipc(held)
        return FittedModel({"model.arrow": held.getvalue()}, {"rival": "1"})

    def score(
        self,
        rows: pl.DataFrame,
        context: pl.DataFrame,
        model: Mapping[str, bytes],
        facts: ChallengerFacts,
        *,
        where: str,
    ) -> FloatArray:
        self.seen.append((where, facts, rows, context))
        return self.say(rows, context, pl.read_ipc(model["model.arrow"])["ratio"][0])


def direct(say: Score = by_ratio, **given: object) -> Direct:
    return Direct("rival", ChallengerSection.model_validate({"entry": "rival", **given}), {}, {}, say)


def train(
    rival: Program, *, frame: pl.DataFrame | None = None, plan: Project | None = None, **more: object
) -> TrainedModel:
    events, own = table() if frame is None else frame, plan or project(split=SPLIT)
    split = make_split(events, own, known_until=events["event_time"].max())  # type: ignore[arg-type]
    return fit_challenger(events, FEATURES, own, split, rival, progress=Silent(), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sparse() -> pl.DataFrame:
    """Events of which some have no label yet and some got it late."""
    frame, random = table(), np.random.default_rng(3)
    label = pl.Series("label", frame["label"].to_numpy())
    label[np.flatnonzero(random.random(frame.height) < 0.05)] = None
    days = pl.Series(random.integers(1, 12, frame.height)) * 86_400_000_000
    late = (frame["event_time"].dt.epoch("us") + days).cast(pl.Datetime("us", "UTC"))
    return frame.with_columns(label, pl.when(pl.col("label").is_not_null()).then(late).alias("label_time"))


def test_each_fold_gets_the_rows_and_labels_that_it_may_know(sparse: pl.DataFrame) -> None:
    rival = direct()
    plan = project(split=SPLIT)
    split = make_split(sparse, plan, known_until=sparse["event_time"].max())  # type: ignore[arg-type]
    train(rival, frame=sparse)
    for fold in split.folds:
        own = [item for item in rival.seen if item[0] == f"fold {fold.number}"]
        (_, facts, fitted, _), (_, _, scored, context) = own[0], own[1]
        known = known_labels(sparse, fold.as_of)
        assert facts.as_of == fold.as_of
        assert (facts.seed, facts.names) == (0, FEATURES.names)
        assert fitted["event_id"].to_list() == sparse.filter(fold.train)["event_id"].to_list()
        assert fitted["label"].to_list() == known[fold.train].tolist()
        assert fitted["label"].null_count() == 0
        wanted = sparse.filter(fold.valid | others_of(fold))
        assert scored["event_id"].to_list() == wanted["event_id"].to_list()
        assert scored.columns == ["event_id", "event_time", "entity.card", "entity.shop", *FEATURES.names]
        assert context.is_empty()
    last = rival.seen[-1]
    assert (last[0], last[1].step) == ("final fit", "fit")
    assert last[2].height == int(split.train.sum())


def test_a_fit_that_looks_back_sees_the_events_without_a_known_outcome_too(sparse: pl.DataFrame) -> None:
    rival, plan = direct(lambda rows, context, _: before(rows, context, 5), history="5d"), project(split=SPLIT)
    split = make_split(sparse, plan, known_until=sparse["event_time"].max())  # type: ignore[arg-type]
    train(rival, frame=sparse)
    for fold in split.folds:
        context = next(item[3] for item in rival.seen if item[0] == f"fold {fold.number}")
        last = sparse.filter(fold.train)["event_time"].max()
        wanted = sparse.filter((sparse["event_time"] <= last) & ~pl.Series(fold.train))
        assert context["event_id"].to_list() == wanted["event_id"].to_list()
        assert context.height > 50
        assert "label" not in context.columns


def test_categories_are_those_of_the_training_rows_alone() -> None:
    frame = table()
    first = frame["event_time"] < frame["event_time"][3000]
    frame = frame.with_columns(pl.when(first | (pl.col("channel") != "app")).then("channel").otherwise(pl.lit("new")))
    rival = direct()
    train(rival, frame=frame)
    facts, rows = rival.seen[1][1], rival.seen[1][2]
    assert rival.seen[1][0] == "fold 1"
    assert "new" not in facts.categories["channel"]
    assert set(rows["channel"].unique()) <= set(facts.categories["channel"])


def test_it_is_calibrated_and_judged_as_catboost_is() -> None:
    made, plan, frame = train(direct()), project(split=SPLIT), table()
    split = make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    trees = fit_project(frame, FEATURES, plan, split, progress=Silent())
    assert made.predictions.drop("y_score", "y_prob").equals(trees.predictions.drop("y_score", "y_prob"))
    assert set(made.summary.baselines) == set(trees.summary.baselines)
    assert [fold.train for fold in made.summary.folds] == [fold.train for fold in trees.summary.folds]
    assert (made.summary.trees, made.summary.params, made.summary.partner) == (0, {}, None)
    told = made.summary.challenger
    assert told is not None
    assert (told.name, told.program, told.repeated) == ("rival", "rival", None)
    known = made.predictions.drop_nulls("label")
    assert known["y_prob"].mean() == pytest.approx(known["label"].mean(), rel=0.1)
    with pytest.raises(BundleError, match="no CatBoost model"):
        _ = made.model


def test_a_unit_of_scores_changes_no_probability_and_probabilities_are_taken_as_such() -> None:
    def millions(rows: pl.DataFrame, context: pl.DataFrame, mean: float) -> FloatArray:
        return by_ratio(rows, context, mean) * 1e6 - 3e5

    def probable(rows: pl.DataFrame, context: pl.DataFrame, mean: float) -> FloatArray:
        return sigmoid(by_ratio(rows, context, mean) - 3.0)

    plain, scaled = (train(direct(say)).predictions["y_prob"].to_numpy() for say in (by_ratio, millions))
    np.testing.assert_allclose(plain, scaled, rtol=1e-6)
    found = train(direct(probable, scores="probability"))
    expected = by_ratio(table(), table(), 0.0)
    order = found.predictions.join(table().with_columns(own=pl.Series(expected)), on="event_id", maintain_order="left")
    fold = order.filter(pl.col("fold") == 2)
    gap = fold["own"] - fold["y_score"]
    assert float(gap.max() - gap.min()) < 1e-4  # type: ignore[operator]


def whole_table(rows: pl.DataFrame, context: pl.DataFrame, mean: float) -> FloatArray:
    return by_ratio(rows, context, mean) - float(rows["ratio"].mean())  # type: ignore[arg-type]


def next_event(rows: pl.DataFrame, _context: pl.DataFrame, _mean: float) -> FloatArray:
    return rows["velocity"].shift(-1).fill_null(0.0).to_numpy()


def before(rows: pl.DataFrame, context: pl.DataFrame, days: int) -> FloatArray:
    """Count the strictly earlier events of the card, up to some days old."""
    both = pl.concat([rows, context]).sort("event_time", "event_id")
    counted = both.rolling("event_time", period=f"{days}d", group_by="entity.card", closed="left").agg(
        pl.len().alias("n")
    )
    found = counted.unique(["entity.card", "event_time"])
    joined = rows.join(found, on=["entity.card", "event_time"], how="left", maintain_order="left", nulls_equal=True)
    return joined["n"].fill_null(0).cast(pl.Float64).to_numpy()


@pytest.mark.parametrize("say", [whole_table, next_event])
def test_a_score_that_depends_on_other_rows_is_refused(say: Score) -> None:
    with pytest.raises(DataError, match="scores change when earlier and later events are scored apart"):
        train(direct(say))


def test_earlier_events_count_within_the_history_and_no_older_ones() -> None:
    made = train(direct(lambda rows, context, _: before(rows, context, 5), history="5d"))
    assert made.challenger is not None
    with pytest.raises(DataError, match="at most `history` older"):
        train(direct(lambda rows, context, _: before(rows, context, 30), history="5d"))
    with pytest.raises(DataError, match="scored apart"):
        train(direct(lambda rows, context, _: before(rows, context, 5)))


def test_rows_of_a_period_find_their_history_when_they_are_scored_alone() -> None:
    frame = table()
    made = train(direct(lambda rows, context, _: before(rows, context, 5), history="5d"))
    assert made.challenger is not None
    rival = direct(lambda rows, context, _: before(rows, context, 5), history="5d")
    late = frame.filter(frame["event_time"] >= frame["event_time"][4500])
    own = late.rename({"card": "entity.card"})
    older = frame.filter(frame["event_time"] < frame["event_time"][4500]).rename({"card": "entity.card"})
    known = [before(own, older, 5), before(own, older.clear(), 5)]
    object.__setattr__(made.challenger, "program_now", lambda: rival)
    for whole, wanted in zip((frame, late), known, strict=True):
        found, _ = predict(made, late, whole=whole)
        np.testing.assert_allclose(found, made.challenger.scale.apply(wanted))
    assert (known[0] != known[1]).any()
    with pytest.raises(BundleError, match="looks back on earlier events, and none were given"):
        predict(made, late)


def test_a_second_fit_must_give_the_same_scores_where_it_says_so() -> None:
    calls = iter(range(100))

    def drawn(rows: pl.DataFrame, context: pl.DataFrame, mean: float) -> FloatArray:
        moved = 1e-3 if next(calls) >= 4 else 0.0
        return by_ratio(rows, context, mean) + moved

    assert train(direct(), twice=True).summary.challenger.repeated is True  # type: ignore[union-attr]
    with pytest.raises(
        DataError, match=r"a second fit of the latest fold with the same seed gives other scores for 100.%"
    ):
        train(direct(drawn), twice=True)
    calls = iter(range(100))
    made = train(direct(drawn, deterministic=False), twice=True)
    assert made.summary.challenger.repeated is False  # type: ignore[union-attr]
    assert any("gives other scores" in text for text in made.summary.warnings)


def test_history_needs_a_time() -> None:
    timed = project(split="folds = 2")
    plan = timed.model_copy(update={"split": timed.split.model_copy(update={"kind": "random"})})
    with pytest.raises(ProjectError, match="there are no earlier events"):
        train(direct(history="5d"), plan=plan)
    assert train(direct(), plan=plan).summary.as_of is None


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a challenger, written from what was trained."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from dataclasses import replace

    from test_bundle import contents

    made = train(direct())
    kept = replace(contents(), model=made.fitted, columns=made.columns, calibrator=made.calibrator)
    return write_bundle(tmp_path / "models", kept)


def test_a_bundle_keeps_it_and_has_no_trees(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.challenger is not None
    assert loaded.challenger.model.files.keys() == {"model.arrow"}
    assert loaded.challenger.model.versions == {"rival": "1"}
    assert {path.name for path in bundle.iterdir()} >= {"challenger.json", "challenger.model.arrow"}
    assert not (bundle / "model.cbm").exists()
    with pytest.raises(BundleError, match="is of the challenger rival, whose own program scores"):
        _ = loaded.model
    copied = load_bundle(write_bundle(bundle.parent, loaded.contents(policy={}, project_file="", facts={})))
    assert copied.trees == loaded.trees
    assert copied.challenger == loaded.challenger


@pytest.mark.parametrize("name", ["challenger.json", "challenger.model.arrow"])
def test_a_changed_or_missing_file_of_it_is_refused(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[:-3] + b"x" + content[-2:])
    with pytest.raises(BundleError, match="was changed"):
        load_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["challenger.more", "model.cbm", "partner.txt"])
def test_a_file_that_its_manifest_does_not_name_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="does not belong into this bundle"):
        load_bundle(bundle)


def test_only_the_program_that_was_fitted_scores(bundle: Path, tmp_path: Path) -> None:
    loaded, rows = load_bundle(bundle), table()[:10]
    with pytest.raises(BundleError, match="the bundle was opened without one"):
        predict(loaded, rows)
    rest = '\n[challengers.rival]\nentry = "rival"\n'
    here = project(split=SPLIT, rest=rest).model_copy(update={"path": tmp_path / "fraudctl.toml"})
    (tmp_path / "rival.py").write_text("")
    with pytest.raises(BundleError, match=r"is not the one that was fitted: rival\.py differs"):
        predict(loaded.within(here), rows)
    for other, said in (
        ("", "has no such section"),
        (f"{rest}params = {{ a = 1 }}\n", "another program or other params"),
    ):
        with pytest.raises(BundleError, match=said):
            predict(loaded.within(project(split=SPLIT, rest=other)), rows)
