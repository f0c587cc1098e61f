from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from catboost import CatBoost, Pool
from training_data import table

from fraudctl.errors import BundleError, DataError
from fraudctl.project.training import TrainSection
from fraudctl.train.model import (
    BORDER_COUNT,
    MISSING,
    OTHER,
    ModelColumns,
    average_models,
    best_trees,
    fit_model,
    learn_columns,
    make_pool,
    member_seeds,
    params_of,
    quantize,
    raw_score,
)


def test_the_vocabulary_is_the_most_frequent_values_and_ties_go_by_text() -> None:
    rows = pl.DataFrame({"kind": ["b", "a", "a", "c", None, "d", "d"]})
    columns = learn_columns(rows, names=["kind"], categorical=["kind"], max_categories=3)
    assert columns.vocabularies["kind"] == ("a", "b", "d")


def test_the_matrix_names_what_is_missing_or_unknown() -> None:
    columns = ModelColumns(("x", "kind"), {"kind": ("a", "b")})
    rows = pl.DataFrame({"kind": ["a", None, "z"], "x": [1, None, 3]})
    matrix = columns.matrix(rows)
    assert matrix.columns == ["x", "kind"]
    assert matrix["kind"].to_list() == ["a", MISSING, OTHER]
    assert matrix["x"].dtype == pl.Float32
    assert matrix["x"].to_list() == [1.0, None, 3.0]


def test_whole_numbers_and_booleans_may_be_categories_or_numbers() -> None:
    columns = ModelColumns(("flag", "code"), {"code": ("3",)})
    matrix = columns.matrix(pl.DataFrame({"code": [3, 4], "flag": [True, False]}))
    assert matrix["code"].to_list() == ["3", OTHER]
    assert matrix["flag"].to_list() == [1.0, 0.0]


def test_all_trouble_with_columns_is_told_at_once() -> None:
    columns = ModelColumns(("a", "b", "c"), {"c": ()})
    with pytest.raises(DataError) as caught:
        columns.matrix(pl.DataFrame({"b": ["x"], "c": [1.5]}))
    for part in ("3 columns", "a is missing", "b is String, expected a number", "c is Float64, expected a category"):
        assert part in caught.value.message


def test_columns_survive_json() -> None:
    columns = ModelColumns(("x", "kind"), {"kind": ("a", "b")})
    assert ModelColumns.from_dict(columns.to_dict()) == columns
    with pytest.raises(BundleError, match="columns cannot be read"):
        ModelColumns.from_dict({"names": "x"})


@pytest.mark.parametrize("subsample", [0.7, 1.0])
def test_a_fit_stops_early_and_tells_where_it_was_best(subsample: float) -> None:
    rows = table(3000)
    settings = TrainSection(threads=1, early_stopping=5)
    columns = learn_columns(rows, names=["ratio", "velocity", "channel"], categorical=["channel"], max_categories=5)
    pool = quantize(make_pool(columns, rows.head(2000), label=rows.head(2000)["label"].to_numpy()))
    valid = make_pool(columns, rows.tail(1000), label=rows.tail(1000)["label"].to_numpy())
    params = {**params_of(settings.params), "subsample": subsample, "learning_rate": 0.5}
    model = fit_model(pool, params, settings=settings, iterations=400, seed=0, valid=valid)
    assert model.tree_count_ == best_trees(model) + 5
    label = rows.tail(1000)["label"].to_numpy()

    def loss(trees: int) -> float:
        score = raw_score(model, valid, trees=trees)
        return float(np.mean(np.logaddexp(0, score) - label * score))

    losses = [loss(trees) for trees in range(1, model.tree_count_ + 1)]
    assert min(losses) == pytest.approx(losses[best_trees(model) - 1])


def test_another_seed_is_another_model_and_the_same_seed_the_same() -> None:
    rows, settings = table(2000), TrainSection(threads=1)
    columns = learn_columns(rows, names=["ratio", "velocity"], categorical=[], max_categories=5)
    pool = quantize(make_pool(columns, rows, label=rows["label"].to_numpy()))
    scores = [
        raw_score(fit_model(pool, params_of(settings.params), settings=settings, iterations=20, seed=seed), pool)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_neither_the_number_of_threads_nor_a_watcher_changes_a_byte(tmp_path: Path) -> None:
    rows, weight = table(20_000), np.random.default_rng(0).random(20_000) + 0.5
    columns = learn_columns(rows, names=["ratio", "velocity", "channel"], categorical=["channel"], max_categories=5)
    valid = make_pool(columns, rows.tail(4000), label=rows.tail(4000)["label"].to_numpy())
    contents, seen = set(), list[int]()
    for threads, watch in ((1, None), (2, seen.append), (4, None)):
        settings = TrainSection(threads=threads)
        pool = quantize(make_pool(columns, rows, label=rows["label"].to_numpy(), weight=weight))
        params = params_of(settings.params)
        model = fit_model(pool, params, settings=settings, iterations=40, seed=0, valid=valid, watch=watch)
        model.save_model(str(tmp_path / "model.cbm"))
        contents.add(((tmp_path / "model.cbm").read_bytes(), best_trees(model)))
    assert len(contents) == 1
    assert seen == list(range(1, model.tree_count_ + 1))


def members(rows: pl.DataFrame, n_models: int) -> tuple[list[CatBoost], Pool]:
    settings = TrainSection(threads=2)
    columns = learn_columns(rows, names=["ratio", "velocity", "channel"], categorical=["channel"], max_categories=5)
    pool = quantize(make_pool(columns, rows, label=rows["label"].to_numpy()))
    params = params_of(settings.params)
    return [
        fit_model(pool, params, settings=settings, iterations=15 + i, seed=seed)
        for i, seed in enumerate(member_seeds(0, n_models))
    ], make_pool(columns, rows)


def test_the_average_of_models_scores_the_mean_of_their_log_odds_and_explains_it(tmp_path: Path) -> None:
    models, pool = members(table(3000), 3)
    expected = np.mean([raw_score(model, pool) for model in models], axis=0)
    merged = average_models(models)
    merged.save_model(str(tmp_path / "model.cbm"))
    loaded = CatBoost().load_model(str(tmp_path / "model.cbm"))
    assert loaded.tree_count_ == 15 + 16 + 17
    assert raw_score(loaded, pool) == pytest.approx(expected, abs=1e-12)
    shap = np.mean([model.get_feature_importance(pool, type="ShapValues") for model in models], axis=0)
    assert loaded.get_feature_importance(pool, type="ShapValues") == pytest.approx(shap, abs=1e-9)


def test_the_average_of_models_has_the_same_bytes_each_time_and_one_model_is_itself(tmp_path: Path) -> None:
    contents = set()
    for _ in range(2):
        average_models(members(table(1000), 2)[0]).save_model(str(tmp_path / "model.cbm"))
        contents.add((tmp_path / "model.cbm").read_bytes())
    assert len(contents) == 1
    alone = members(table(1000), 1)[0]
    assert average_models(alone) is alone[0]


def test_seeds_of_members_are_all_different_and_do_not_depend_on_how_many_there_are() -> None:
    assert member_seeds(3, 5)[:3] == member_seeds(3, 3)
    assert len({seed for start in range(20) for seed in member_seeds(start, 10)}) == 200


def test_models_of_other_rows_quantised_alike_share_their_borders(tmp_path: Path) -> None:
    rows, settings = table(8000), TrainSection(threads=1)
    rows = rows.with_columns(noise=np.random.default_rng(1).normal(size=rows.height))
    columns = learn_columns(rows, names=["ratio", "noise"], categorical=[], max_categories=5)
    models, first = [], None
    for seed in member_seeds(0, 4):
        part = rows.filter(np.random.default_rng(seed).random(rows.height) < 0.3)
        pool = quantize(make_pool(columns, part, label=part["label"].to_numpy()), like=first)
        first = first or pool
        models.append(fit_model(pool, params_of(settings.params), settings=settings, iterations=30, seed=seed))
        models[-1].set_scale_and_bias(1.0, -0.5)
    merged, pool = average_models(models), make_pool(columns, rows)
    assert merged.get_scale_and_bias() == (1.0, -0.5)
    expected = np.mean([raw_score(model, pool) for model in models], axis=0)
    assert raw_score(merged, pool) == pytest.approx(expected, abs=1e-12)
    merged.save_model(str(tmp_path / "model.json"), format="json")
    found = json.loads((tmp_path / "model.json").read_text())["features_info"]["float_features"]
    assert all(len(feature["borders"]) <= BORDER_COUNT for feature in found)
