"""CatBoost's contributions: additive, with categories, the same in chunks, and checked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from catboost import CatBoost, Pool

from fraudctl.errors import BundleError
from fraudctl.explain import contributions as module
from fraudctl.explain.contributions import contributions, interactions, strongest_pairs


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {"a": rng.normal(size=900), "b": rng.normal(size=900), "c": rng.choice(["x", "y", "z"], 900)}
    ).with_columns(b=pl.when(pl.col("b") > 1.5).then(None).otherwise("b"))


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame) -> CatBoost:
    target = (frame["a"].to_numpy() + (frame["c"] == "x").to_numpy() > 0.7).astype(np.int64)
    fitted = CatBoost(
        {"loss_function": "Logloss", "iterations": 30, "depth": 3, "logging_level": "Silent", "thread_count": 1,
         "allow_writing_files": False}
    )  # fmt: skip
    fitted.fit(Pool(frame, target, cat_features=["c"]))
    return fitted


def test_contributions_add_up_to_the_raw_score(model: CatBoost, frame: pl.DataFrame) -> None:
    found = contributions(model, frame, categorical=["c"], partner=None, threads=1)
    raw = model.predict(Pool(frame, cat_features=["c"]), prediction_type="RawFormulaVal")
    assert np.abs(found.y_score - raw).max() < 1e-10
    assert found.values.shape == (900, 3)


def test_chunks_give_the_same_values(model: CatBoost, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contributions(model, frame, categorical=["c"], partner=None, threads=1)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "CHUNK", 250)
    parts = contributions(
        model,
        frame,
        categorical=["c"],
        partner=None,
        threads=1,
        progress=lambda _, done, total: seen.append((done, total)),
    )
    assert np.array_equal(whole.values, parts.values)
    assert seen == [(250, 900), (500, 900), (750, 900), (900, 900)]


def test_interactions_of_a_pair_are_those_of_the_whole_matrix(model: CatBoost, frame: pl.DataFrame) -> None:
    rows = frame.head(20)
    pairs = [(0, 1), (2, 0)]
    seen: list[tuple[int, int]] = []
    found = interactions(
        model,
        rows,
        pairs=pairs,
        categorical=["c"],
        partner=None,
        threads=1,
        progress=lambda _, k, n: seen.append((k, n)),
    )
    whole = model.get_feature_importance(Pool(rows, cat_features=["c"]), type="ShapInteractionValues")
    for k, (a, b) in enumerate(pairs):
        assert found[:, k] == pytest.approx(whole[:, a, b] + whole[:, b, a], abs=1e-10)
    single = contributions(model, rows, categorical=["c"], partner=None, threads=1)
    assert whole[:, :-1, :-1].sum(axis=2) == pytest.approx(single.values, abs=1e-8)
    assert seen == [(0, 2), (1, 2)]


def test_the_strongest_pairs_are_those_that_were_planted(model: CatBoost) -> None:
    assert set(strongest_pairs(model, partner=None, most=1)[0]) == {0, 2}
    assert len(strongest_pairs(model, partner=None)) <= 3


def test_other_columns_than_the_models_are_refused(model: CatBoost, frame: pl.DataFrame) -> None:
    with pytest.raises(BundleError, match="missing b"):
        contributions(model, frame.select("a", "c"), categorical=["c"], partner=None)
    with pytest.raises(BundleError, match="order"):
        contributions(model, frame.select("b", "a", "c"), categorical=["c"], partner=None)
