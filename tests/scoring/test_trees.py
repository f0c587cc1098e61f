"""Our trees against CatBoost's: scores to the last bit, contributions to 1e-12, whatever the model and the row."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from catboost import CatBoost, Pool
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import BundleError
from fraudctl.scoring.trees import Forest, _in_lines, _probe_rows, _prove, read_forest
from fraudctl.train.model import OTHER, ModelColumns

NAMES = ("amount", "count", "night", "channel", "shop")


def columns(n_shops: int) -> ModelColumns:
    return ModelColumns(NAMES, {"channel": (OTHER, "app", "web"), "shop": tuple(f"s{i}" for i in range(n_shops))})


def training_rows(n: int, n_shops: int, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    amount = pl.Series("amount", rng.normal(size=n).round(1), pl.Float32).set(pl.Series(rng.random(n) < 0.1), None)
    count, night = rng.poisson(2, n), rng.random(n) < 0.3
    channel = rng.choice(np.array(["app", "web", None, OTHER, "(unseen)"], dtype=object), n)
    shop = rng.integers(0, n_shops, n)
    odds = np.nan_to_num(amount.fill_null(0).to_numpy()) + 0.3 * count + (channel == "web") + 0.4 * (shop % 3) - 2
    label = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    frame = pl.DataFrame(
        {
            "amount": amount,
            "count": pl.Series(count, dtype=pl.Float32),
            "night": pl.Series(night).cast(pl.Float32),
            "channel": pl.Series(channel.tolist(), dtype=pl.String),
            "shop": [f"s{i}" for i in shop],
        }
    )
    return frame, label


def fitted(frame: pl.DataFrame, label: np.ndarray, **params: Any) -> CatBoost:
    given_params = {
        "loss_function": "Logloss", "boosting_type": "Plain", "max_ctr_complexity": 1, "verbose": False,
        "allow_writing_files": False, "thread_count": 1, "leaf_estimation_iterations": 1, **params,
    }  # fmt: skip
    model = CatBoost(given_params)
    vocabularies = {**columns(frame["shop"].n_unique()).vocabularies}
    given_columns = ModelColumns(tuple(frame.columns), vocabularies)
    model.fit(Pool(given_columns.matrix(frame), label, cat_features=["channel", "shop"]))
    return model


@settings(max_examples=12)
@given(
    depth=st.integers(1, 8), n_shops=st.integers(2, 12), seed=st.integers(0, 99), one_hot=st.sampled_from([2, 20]),
    nan_mode=st.sampled_from(["Min", "Max"]),
)  # fmt: skip
def test_scores_and_contributions_are_those_of_catboost(
    depth: int, n_shops: int, seed: int, one_hot: int, nan_mode: str
) -> None:
    frame, label = training_rows(300, n_shops, seed)
    model = fitted(frame, label, depth=depth, iterations=8, one_hot_max_size=one_hot, nan_mode=nan_mode)
    forest = read_forest(model, columns(n_shops))
    rows = pl.concat([_probe_rows(forest), frame.head(50)])
    pool = Pool(forest.columns.matrix(rows), cat_features=["channel", "shop"])
    native = model.predict(pool, prediction_type="RawFormulaVal")
    shap = model.get_feature_importance(pool, type="ShapValues")
    assert forest.score_frame(rows).tolist() == native.tolist()
    many = forest.explain_frame(rows)
    assert np.abs(many - shap[:, :-1]).max() <= 1e-12 * max(1.0, np.abs(native).max())
    assert math.isclose(forest.base, shap[0, -1], rel_tol=1e-12, abs_tol=1e-12)
    for i, row in enumerate(rows.iter_rows(named=True)):
        numbers = [math.nan if row[name] is None or name in forest.codes else float(row[name]) for name in NAMES]
        categories = {name: row[name] for name in forest.codes}
        score, places = forest.score(numbers, categories)
        assert score == native[i]
        assert forest.explain(places).tolist() == many[i].tolist()


def test_values_outside_a_vocabulary_and_beyond_float32_are_scored_as_the_matrix_has_them() -> None:
    frame, label = training_rows(400, 4, 1)
    model = fitted(frame, label, depth=4, iterations=10)
    forest = read_forest(model, columns(4))
    table = pl.DataFrame(
        {"amount": [1e300, -1e300, None], "count": [2**40, 3, 0], "night": [True, None, False],
         "channel": ["x", None, "app"], "shop": ["s1", "unseen", None]}
    )  # fmt: skip
    many = forest.score_frame(table)
    for i, row in enumerate(table.iter_rows(named=True)):
        numbers = [math.nan if isinstance(v := row[name], str) or v is None else float(v) for name in NAMES]
        score, _ = forest.score(numbers, {name: row[name] for name in forest.codes})
        assert score == many[i]


def test_contributions_are_the_shapley_values_of_a_game_worked_out_by_hand() -> None:
    """One tree of depth 2 on two columns: four leaves, the value of each set of columns from its definition."""
    frame = pl.DataFrame({"amount": pl.Series([0, 0, 0, 1, 1, 1] * 20, dtype=pl.Float32),
                          "count": pl.Series([0, 1, 1, 0, 1, 1] * 20, dtype=pl.Float32)})  # fmt: skip
    label = np.array([0, 0, 1, 1, 0, 1] * 20)
    model = CatBoost({"loss_function": "Logloss", "iterations": 1, "depth": 2, "verbose": False,
                      "allow_writing_files": False, "bootstrap_type": "No"})  # fmt: skip
    model.fit(Pool(frame, label))
    forest = read_forest(model, ModelColumns(("amount", "count"), {}))
    rows = frame.unique().sort("amount", "count")
    values = dict(zip(rows.rows(), forest.score_frame(rows), strict=True))
    share = {
        (0, 0): 1 / 6,
        (0, 1): 2 / 6,
        (1, 0): 1 / 6,
        (1, 1): 2 / 6,
    }  # independent: the order of splits is no matter
    mean = sum(share[key] * values[key] for key in share)
    for row, found in zip(rows.rows(), forest.explain_frame(rows), strict=True):
        given_a = sum(share[row[0], b] * values[row[0], b] for b in (0, 1)) / sum(share[row[0], b] for b in (0, 1))
        given_b = sum(share[a, row[1]] * values[a, row[1]] for a in (0, 1)) / sum(share[a, row[1]] for a in (0, 1))
        first = 0.5 * (given_a - mean) + 0.5 * (values[row] - given_b)
        second = 0.5 * (given_b - mean) + 0.5 * (values[row] - given_a)
        assert found == pytest.approx([first, second], abs=1e-12)
    assert math.isclose(forest.base, mean, abs_tol=1e-12)


@given(st.lists(st.integers(0, 30), max_size=5))
def test_cells_begin_with_a_line_of_the_cache(sizes: list[int]) -> None:
    tables = [np.arange(size, dtype=np.float64) + 100 * at for at, size in enumerate(sizes)]
    found = _in_lines(tables)
    assert found.tolist() == [value for table in tables for value in table]
    assert found.ctypes.data % 64 == 0 or not len(found)


def test_a_forest_that_was_read_wrongly_is_refused() -> None:
    frame, label = training_rows(300, 3, 2)
    model = fitted(frame, label, depth=3, iterations=5)
    forest = read_forest(model, columns(3))
    wrong: Forest = replace(forest, bias=1e-9)
    with pytest.raises(BundleError, match="read differently than CatBoost"):
        _prove(wrong, model)


@pytest.mark.parametrize("policy", ["Depthwise", "Lossguide"])
def test_trees_that_are_not_symmetric_are_refused(policy: str) -> None:
    frame, label = training_rows(200, 3, 3)
    model = fitted(frame, label, depth=3, iterations=3, grow_policy=policy)
    with pytest.raises(BundleError, match="not symmetric"):
        read_forest(model, columns(3))


def test_splits_on_combined_categories_are_refused() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 8, 3000), rng.integers(0, 8, 3000)
    frame = pl.DataFrame({"channel": [f"c{i}" for i in a], "shop": [f"s{i}" for i in b]})
    label = ((a + b) % 2).astype(int)
    model = CatBoost({"loss_function": "Logloss", "iterations": 20, "depth": 4, "verbose": False,
                      "allow_writing_files": False, "max_ctr_complexity": 2, "one_hot_max_size": 1})  # fmt: skip
    model.fit(Pool(frame, label, cat_features=["channel", "shop"]))
    words = {"channel": tuple(f"c{i}" for i in range(8)), "shop": tuple(f"s{i}" for i in range(8))}
    with pytest.raises(BundleError, match="combines several columns"):
        read_forest(model, ModelColumns(("channel", "shop"), words))


def test_rows_with_every_category_come_out_as_the_model_says() -> None:
    frame, label = training_rows(600, 5, 4)
    model = fitted(frame, label, depth=5, iterations=12)
    cols = columns(5)
    forest = read_forest(model, cols)
    pairs = list(itertools.product(forest.codes["channel"], forest.codes["shop"]))
    rows = pl.DataFrame(
        {"amount": [0.1] * len(pairs), "count": [1.0] * len(pairs), "night": [0.0] * len(pairs),
         "channel": [c for c, _ in pairs], "shop": [s for _, s in pairs]},
        schema_overrides={"amount": pl.Float32, "count": pl.Float32, "night": pl.Float32},
    )  # fmt: skip
    native = model.predict(Pool(rows, cat_features=["channel", "shop"]), prediction_type="RawFormulaVal")
    assert forest.score_frame(rows).tolist() == native.tolist()
