from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from fraudctl.calibrate import Calibrator, fit_calibrator, sigmoid
from fraudctl.errors import DataError, ProjectError
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.scoring.trees import read_forest
from fraudctl.split import Split, make_split
from fraudctl.train import Partner, TrainedModel, fast_project, fit_model, fit_project, make_pool, predict, quantize
from fraudctl.train import fit as fit_module
from fraudctl.train import job as job_module
from fraudctl.train.model import member_seeds, raw_score

sys.path.insert(0, str(Path(__file__).parents[1]))
from training_data import FEATURES, Features, project, table

SPLIT = 'as_of = 2026-02-20\ntest = "8d"\nfolds = 2'


class Warned(Silent):
    """Progress that keeps its warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


def split_of(frame: pl.DataFrame, plan: Project) -> Split:
    return make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]


def train(
    frame: pl.DataFrame,
    plan: Project,
    *,
    features: Features = FEATURES,
    progress: Silent | None = None,
    keep: tuple[str, ...] = (),
) -> TrainedModel:
    return fit_project(frame, features, plan, split_of(frame, plan), keep=keep, progress=progress or Silent())


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return table()


@pytest.fixture(scope="module")
def plan() -> Project:
    return project(split=SPLIT)


@pytest.fixture(scope="module")
def trained(frame: pl.DataFrame, plan: Project) -> TrainedModel:
    with threadpool_limits(2, user_api="blas"):  # for the test of one core against two; all others have one
        return train(frame, plan, keep=("shop", "velocity"))


def known(trained: TrainedModel) -> pl.DataFrame:
    """The predictions whose label was known; the others only take slots of a capacity."""
    return trained.predictions.filter(pl.col("label").is_not_null())


def test_predictions_are_the_folds_own_rows_scored_before_they_happened(
    frame: pl.DataFrame, plan: Project, trained: TrainedModel
) -> None:
    predictions = trained.predictions
    assert predictions.columns == [
        "event_id", "event_time", "fold", "label", "y_score", "y_prob", "amount", "card", "shop", "velocity",
    ]  # fmt: skip
    for fold in split_of(frame, plan).folds:
        part = known(trained).filter(pl.col("fold") == fold.number)
        assert part["event_id"].to_list() == frame.filter(fold.valid)["event_id"].to_list()
        assert part["event_time"].min() >= fold.as_of  # type: ignore[operator]
    assert predictions["y_prob"].is_between(0, 1).all()


def test_the_figures_of_a_fold_are_those_of_its_predictions(trained: TrainedModel) -> None:
    for fold in trained.summary.folds:
        part = known(trained).filter(pl.col("fold") == fold.fold)
        assert fold.figures["average_precision"] == pytest.approx(
            average_precision_score(part["label"], part["y_score"]), abs=1e-6
        )
        assert fold.valid.rows == part.height
        assert fold.valid.frauds == part["label"].sum()


def test_the_final_model_has_the_folds_median_of_trees(trained: TrainedModel) -> None:
    best = [fold.best_trees for fold in trained.summary.folds]
    assert trained.model.tree_count_ == trained.n_trees == int(np.median(best))


def test_probabilities_are_cross_fitted_and_the_shipped_calibrator_saw_all(trained: TrainedModel) -> None:
    method = trained.calibrator.method
    everything = known(trained)
    label, y_score = everything["label"].to_numpy(), everything["y_score"].to_numpy()
    assert trained.calibrator == (fit_calibrator(label, y_score, method=method) or Calibrator("none"))
    for number in everything["fold"].unique():
        out = (everything["fold"] != number).to_numpy()
        fitted = fit_calibrator(label[out], y_score[out], method=method)
        assert fitted is not None
        assert np.array_equal(fitted.predict(y_score[~out]), everything["y_prob"].to_numpy()[~out])


def test_events_without_a_known_label_are_predicted_as_those_around_them(
    frame: pl.DataFrame, plan: Project, trained: TrainedModel
) -> None:
    """All events of the validation periods stand there, and those of the week in which the first begins as fold 0."""
    split = make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    first, last = split.folds[0].times.valid_from, split.folds[-1].times.valid_until
    inside = frame.filter(pl.col("event_time").is_between(first, last, closed="left"))
    found = trained.predictions
    assert set(found.filter(pl.col("fold") > 0)["event_id"]) == set(inside["event_id"])
    lead = found.filter(pl.col("fold") == 0)
    assert lead["label"].null_count() == lead.height
    assert lead["event_time"].max() is None or lead["event_time"].max() < first  # type: ignore[operator]
    unseen = found.filter(pl.col("label").is_null(), pl.col("fold") > 0)
    assert unseen["y_prob"].is_between(0, 1).all()
    for number in unseen["fold"].unique():
        labelled = known(trained)
        out = (labelled["fold"] != number).to_numpy()
        label, y_score = labelled["label"].to_numpy()[out], labelled["y_score"].to_numpy()[out]
        fitted = fit_calibrator(label, y_score, method=trained.calibrator.method)
        part = unseen.filter(pl.col("fold") == number)
        assert fitted is not None
        assert np.array_equal(fitted.predict(part["y_score"].to_numpy()), part["y_prob"].to_numpy())
    assert unseen.height + lead.height > 0


def test_rows_and_labels_after_as_of_change_nothing(frame: pl.DataFrame, plan: Project, trained: TrainedModel) -> None:
    as_of = trained.summary.as_of
    later = pl.col("event_time") >= as_of
    altered = frame.with_columns(
        label=pl.when(later).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8),
        ratio=pl.when(later).then(99.0).otherwise("ratio"),
        channel=pl.when(later).then(pl.lit("new")).otherwise("channel"),
    )
    other = train(altered, plan, keep=("shop", "velocity"))
    assert other.predictions.equals(trained.predictions)
    assert np.array_equal(predict(other, frame)[0], predict(trained, frame)[0])
    assert other.columns == trained.columns


def test_scores_rank_fraud_and_carry_no_class_weight(frame: pl.DataFrame, trained: TrainedModel) -> None:
    y_score, y_prob = predict(trained, frame)
    assert y_prob.sum() == pytest.approx(frame["label"].sum(), rel=0.15)
    assert sigmoid(y_score).sum() == pytest.approx(frame["label"].sum(), rel=0.25)
    assert average_precision_score(frame["label"], y_score) > 2 * frame["label"].mean()  # type: ignore[operator]


def test_the_order_of_columns_does_not_matter_but_their_names_and_types_do(
    frame: pl.DataFrame, trained: TrainedModel
) -> None:
    rows = frame.head(50)
    shuffled = rows.select(sorted(rows.columns, reverse=True))
    assert np.array_equal(predict(trained, shuffled)[0], predict(trained, rows)[0])
    with pytest.raises(DataError, match="ratio is missing"):
        predict(trained, rows.drop("ratio"))
    with pytest.raises(DataError, match="ratio is String, expected a number"):
        predict(trained, rows.with_columns(pl.col("ratio").cast(pl.String)))
    with pytest.raises(DataError, match="channel is Float64, expected a category"):
        predict(trained, rows.with_columns(channel=pl.lit(1.0)))


def test_one_row_scores_as_it_does_among_many_and_none_as_none(frame: pl.DataFrame, trained: TrainedModel) -> None:
    y_score, y_prob = predict(trained, frame.head(20))
    for i in range(20):
        one_score, one_prob = predict(trained, frame[i])
        assert one_score[0] == y_score[i]
        assert one_prob[0] == y_prob[i]
    assert [len(part) for part in predict(trained, frame.clear())] == [0, 0]


def test_categories_may_be_null_new_or_of_another_polars_type(frame: pl.DataFrame, trained: TrainedModel) -> None:
    rows = frame.head(30)
    plain = predict(trained, rows)[0]
    for dtype in (pl.Categorical, pl.Enum(["web", "app"])):
        assert np.array_equal(predict(trained, rows.with_columns(pl.col("channel").cast(dtype)))[0], plain)
    unknown = predict(trained, rows.with_columns(channel=pl.lit("carrier pigeon")))[0]
    assert np.isfinite(unknown).all()
    assert np.isfinite(predict(trained, rows.with_columns(channel=pl.lit(None)))[0]).all()


def test_same_inputs_same_bytes_on_one_core_and_on_two(trained: TrainedModel, tmp_path: Path) -> None:
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import test_fit as t\n"
        "trained = t.train(t.table(), t.project(split=t.SPLIT), keep=('shop', 'velocity'))\n"
        "trained.model.save_model(sys.argv[2]); trained.predictions.write_parquet(sys.argv[3])\n"
        "print(trained.summary)"
    )
    there = [tmp_path / "one.cbm", tmp_path / "one.parquet"]
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, there)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    trained.model.save_model(str(tmp_path / "two.cbm"))
    assert there[0].read_bytes() == (tmp_path / "two.cbm").read_bytes()
    assert pl.read_parquet(there[1]).equals(trained.predictions)
    assert done.stdout.strip() == str(trained.summary)


def test_one_thread_and_two_give_the_same_model_predictions_and_summary(frame: pl.DataFrame, tmp_path: Path) -> None:
    found = []
    for threads in (1, 2):
        trained = train(frame, project(split=SPLIT, trials=2, train=f"threads = {threads}\n"))
        trained.model.save_model(str(tmp_path / "model.cbm"))
        found.append(((tmp_path / "model.cbm").read_bytes(), trained.predictions.to_dicts(), trained.summary))
    assert found[0] == found[1]


def test_an_unlabelled_event_is_never_trained_on_as_legitimate(frame: pl.DataFrame, plan: Project) -> None:
    hidden = (pl.col("label") == 0) & (pl.col("event_id") % 2 == 0)
    part = frame.with_columns(
        label=pl.when(hidden).then(None).otherwise("label"),
        label_time=pl.when(hidden).then(None).otherwise("label_time"),
    )
    summary = train(part, plan).summary
    known = part.filter(pl.col("label").is_not_null())
    assert replace(train(known, plan).summary.train, from_time=summary.train.from_time) == summary.train
    assert summary.train.rows < train(frame, plan).summary.train.rows


def test_weights_count_as_copies_do_in_the_mean_probability(frame: pl.DataFrame) -> None:
    weighted = frame.with_columns(w=pl.when(pl.col("label") == 1).then(3.0).otherwise(1.0))
    plan = project(split=SPLIT, data='weight = "w"')
    heavy = train(weighted, plan)
    frauds, rest = frame["label"].sum(), (frame["label"] == 0).sum()
    expected = 3 * frauds / (3 * frauds + rest)
    mean = float(np.average(predict(heavy, weighted)[1], weights=weighted["w"]))
    assert mean == pytest.approx(expected, rel=0.1)
    with pytest.raises(DataError, match="weight column 'w' is null or not a positive number"):
        train(weighted.with_columns(w=-pl.col("w")), plan)
    with pytest.raises(DataError, match="weight column 'w' is missing"):
        train(frame, plan)


def test_sampling_of_negatives_leaves_the_probabilities_right(
    frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "LEAST_NEGATIVES", 100)
    plan = project(split=SPLIT, trials=2, train="keep_negatives = 0.2\n")
    summary = train(frame, plan).summary
    assert summary.tuning.trials == 2
    logistic = summary.baselines["logistic regression"]
    assert 0 < logistic.value < 1


def test_a_monotone_constraint_holds_and_is_checked(frame: pl.DataFrame) -> None:
    plan = project(split=SPLIT, train='[train.monotone]\nvelocity = "decreasing"\n')
    scores = predict(train(frame, plan), _grid(frame, "velocity"))[0].reshape(-1, 30)
    assert (np.diff(scores, axis=1) <= 1e-9).all()
    for name, says in (("velocety", "no feature"), ("channel", "categorical")):
        bad = project(split=SPLIT, train=f'[train.monotone]\n{name} = "increasing"\n')
        with pytest.raises(ProjectError, match=says):
            train(frame, bad)


def _grid(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    rows = frame.head(10).drop(name)
    return rows.join(pl.DataFrame({name: np.arange(30.0)}), how="cross")


def test_a_useless_feature_is_named_and_all_useless_features_are_refused(frame: pl.DataFrame, plan: Project) -> None:
    useless = frame.with_columns(flat=pl.lit(1.0), empty=pl.lit(None, pl.Float64))
    told = Warned()
    names = Features([*FEATURES.names, "flat", "empty"], FEATURES.categorical)
    summary = train(useless, plan, features=names, progress=told).summary
    assert any("flat, empty" in text for text in told.texts)
    assert any("flat, empty" in text for text in summary.warnings)
    with pytest.raises(DataError, match="constant or null"):
        train(useless, plan, features=Features(["flat", "empty"], []))
    with pytest.raises(DataError, match="no features"):
        train(useless, plan, features=Features([], []))


def test_an_almost_unique_entity_is_no_trouble(frame: pl.DataFrame, plan: Project) -> None:
    unique = frame.with_columns(card=pl.col("event_id"))
    assert train(unique, plan).summary.baselines["amount alone"].gain.low > 0


def test_many_categories_are_cut_to_the_most_frequent_of_the_training_rows(frame: pl.DataFrame) -> None:
    many = frame.with_columns(channel=(pl.col("event_id") % 977).cast(pl.String))
    small = train(many, project(split=SPLIT, train="max_categories = 10\n"))
    assert len(small.columns.vocabularies["channel"]) == 10
    assert set(predict(small, many)[1]) != set()


def test_few_frauds_still_give_a_model_and_a_warning() -> None:
    frame = table(4000, base=-10.5, seed=3)
    told = Warned()
    trained = train(frame, project(split=SPLIT), progress=told)
    assert trained.summary.train.frauds < 30
    assert any("frauds" in text for text in told.texts)


def test_baselines_stand_beside_the_model_on_the_same_rows(frame: pl.DataFrame, trained: TrainedModel) -> None:
    baselines = trained.summary.baselines
    assert set(baselines) == {"amount alone", "logistic regression"}
    amounts = [
        average_precision_score(part["label"], part["amount"])
        for _, part in known(trained).group_by("fold", maintain_order=True)
    ]
    assert baselines["amount alone"].value == pytest.approx(np.mean(amounts), abs=1e-6)
    model = np.mean([fold.figures["average_precision"] for fold in trained.summary.folds])
    gain = baselines["amount alone"].gain
    assert gain.value == pytest.approx(model - np.mean(amounts), abs=2e-6)
    assert gain.low < gain.value < gain.high


def test_a_model_that_does_not_beat_a_baseline_says_so(frame: pl.DataFrame, plan: Project) -> None:
    noise = np.random.default_rng(5).normal(size=frame.height)
    told = Warned()
    train(frame.with_columns(noise=noise), plan, features=Features(["noise"], []), progress=told)
    assert any("does not surely beat" in text for text in told.texts)


def test_the_label_rate_that_ranks_training_best_is_a_baseline(frame: pl.DataFrame, plan: Project) -> None:
    with_rates = frame.with_columns(
        shop_fraud_rate_7d=pl.col("velocity") / 10, card_smoothed_rate_30d=pl.col("event_id") % 7 / 7
    )
    names = Features([*FEATURES.names, "shop_fraud_rate_7d", "card_smoothed_rate_30d"], ["channel"])
    trained = train(with_rates, plan, features=names, keep=("velocity",))
    values = [
        average_precision_score(part["label"], part["velocity"])
        for _, part in known(trained).group_by("fold", maintain_order=True)
    ]
    assert trained.summary.baselines["label rate alone"].value == pytest.approx(np.mean(values), abs=1e-6)


@dataclass(frozen=True)
class InUse:
    """A champion that knows what it knew."""

    trained: TrainedModel
    as_of: datetime

    @property
    def model(self) -> object:
        return self.trained.model

    @property
    def challenger(self) -> object:
        return self.trained.challenger

    @property
    def columns(self) -> object:
        return self.trained.columns

    @property
    def partner(self) -> Partner | None:
        return self.trained.partner

    @property
    def calibrator(self) -> Calibrator:
        return self.trained.calibrator


def test_the_champion_is_compared_on_folds_that_it_has_not_seen(
    frame: pl.DataFrame, plan: Project, trained: TrainedModel
) -> None:
    split = split_of(frame, plan)
    for as_of, n_folds in ((split.folds[0].as_of, 2), (split.folds[1].as_of, 1), (split.as_of, 0)):
        champion = InUse(trained, as_of)
        summary = fit_project(frame, FEATURES, plan, split, champion=champion, progress=Silent()).summary  # type: ignore[arg-type]
        assert (summary.baselines["champion"].folds if "champion" in summary.baselines else 0) == n_folds


def test_a_fold_without_fraud_counts_for_calibration_only(frame: pl.DataFrame, plan: Project) -> None:
    last = split_of(frame, plan).folds[-1]
    inside = pl.col("event_time").is_between(last.times.valid_from, last.times.valid_until, closed="left")
    calm = frame.with_columns(label=pl.when(inside).then(0).otherwise("label").cast(pl.Int8))
    summary = train(calm, project(split=SPLIT, trials=2)).summary
    assert summary.folds[-1].figures["average_precision"] is None
    assert summary.folds[0].figures["average_precision"] > 0


def test_a_later_split_replaces_nothing_in_the_one_given(frame: pl.DataFrame, plan: Project) -> None:
    split = split_of(frame, plan)
    narrow = replace(split, folds=split.folds[-1:])
    trained = fit_project(frame, FEATURES, plan, narrow, progress=Silent())
    assert known(trained)["fold"].unique().to_list() == [split.folds[-1].number]


def test_a_first_look_is_quick_and_still_a_model(frame: pl.DataFrame) -> None:
    plan = project(split=SPLIT.replace("folds = 2", "folds = 3"), trials=30, train="")
    quick = fast_project(plan)
    trained = train(frame, quick)
    assert len(trained.summary.folds) <= 2
    assert trained.summary.tuning.trials == 0
    assert trained.params["learning_rate"] == 0.2
    assert plan.train.trials == 30
    assert trained.summary.baselines["amount alone"].gain.low > 0


def test_the_summary_tells_how_well_probabilities_keep_their_word(trained: TrainedModel) -> None:
    told = trained.summary.calibration
    assert 0 < told.report.ece < 0.1
    assert told.report.ece_if_perfect.low < told.report.ece_if_perfect.high
    assert sum(item.rows for item in told.report.reliability) == known(trained).height


def test_several_models_become_one_that_scores_their_mean(frame: pl.DataFrame, plan: Project) -> None:
    several = train(frame, project(split=SPLIT, train="models = 3\n"))
    assert several.model.tree_count_ == 3 * several.n_trees
    assert several.summary.models == 3
    final = []
    for seed in member_seeds(0, 3):
        own = plan.model_copy(update={"train": plan.train.model_copy(update={"seed": seed})})
        columns = several.columns
        pool = quantize(make_pool(columns, frame, rows=split_of(frame, plan).train, label=_labels(frame, plan)))
        model = fit_model(pool, several.params, settings=own.train, iterations=several.n_trees, seed=seed)
        final.append(raw_score(model, make_pool(columns, frame)))
    assert predict(several, frame)[0] == pytest.approx(np.mean(final, axis=0), abs=1e-9)
    for fold in several.summary.folds:
        part = known(several).filter(pl.col("fold") == fold.fold)
        found = average_precision_score(part["label"], part["y_score"])
        assert fold.figures["average_precision"] == pytest.approx(found, abs=1e-6)


def _labels(frame: pl.DataFrame, plan: Project) -> np.ndarray:
    return frame["label"].filter(split_of(frame, plan).train).to_numpy()


@pytest.mark.parametrize("features", [FEATURES, Features(["ratio", "velocity"], [])])
def test_a_fit_on_a_share_of_the_legitimate_rows_keeps_its_word(
    frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, features: Features
) -> None:
    monkeypatch.setattr(job_module, "LEAST_NEGATIVES", 100)
    drawn = []
    sample = fit_module._Job._sample

    def seen(
        job: object, rows: np.ndarray, share: float, seeds: Sequence[int], label: pl.Series
    ) -> tuple[np.ndarray, float]:
        found = sample(job, rows, share, seeds, label)  # type: ignore[arg-type]
        if seeds[2] == 2 and seeds[1] == 0:
            drawn.append(found[0])
        return found

    monkeypatch.setattr(fit_module._Job, "_sample", seen)
    plan = project(split=SPLIT, train='models = 2\nfit_negatives = 0.3\npartner = "none"\n')
    sampled = train(frame, plan, features=features)
    frauds = split_of(frame, plan).train & (frame["label"] == 1).to_numpy()
    assert all((rows & frauds).sum() == frauds.sum() for rows in drawn)
    assert len(drawn) == (1 if features.categorical else 2)
    assert len({rows.tobytes() for rows in drawn}) == len(drawn)
    assert sampled.summary.fit_negatives == 0.3
    assert sampled.model.get_scale_and_bias()[1] == pytest.approx(np.log(0.3), rel=0.01)
    y_score, _ = predict(sampled, frame)
    assert sigmoid(y_score).sum() == pytest.approx(frame["label"].sum(), rel=0.25)
    assert sigmoid(known(sampled)["y_score"].to_numpy()).sum() == pytest.approx(known(sampled)["label"].sum(), rel=0.35)
    forest = read_forest(sampled.model, sampled.columns)
    assert np.array_equal(forest.score_frame(frame), y_score)


def test_few_legitimate_rows_are_all_kept(frame: pl.DataFrame, plan: Project, trained: TrainedModel) -> None:
    sampled = train(frame, project(split=SPLIT, train="fit_negatives = 0.3\n"))
    assert sampled.summary.fit_negatives == 1.0
    assert np.array_equal(predict(sampled, frame)[0], predict(trained, frame)[0])
