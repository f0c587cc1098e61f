"""Two families of trees as one: one event, many events and the libraries themselves say the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudctl.calibrate import Calibrator
from fraudctl.explain.contributions import contributions, interactions, strongest_pairs
from fraudctl.project.training import TrainSection
from fraudctl.scoring.blend import Blend, read_trees
from fraudctl.train import Partner, fit_model, learn_columns, make_pool, params_of, predict, quantize
from fraudctl.train.model import ModelColumns, raw_score
from fraudctl.train.partner import KINDS, fit_forests, mean_of, n_trees, numbers_of

lightgbm = pytest.importorskip("lightgbm")

WEIGHT = 0.3


@dataclass(frozen=True)
class Made:
    """The part of a bundle that scores."""

    model: Any
    columns: ModelColumns
    partner: Partner | None
    calibrator: Calibrator
    challenger: None = None


def events(n: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    amount, count = rng.lognormal(0, 1, n).round(2), rng.poisson(2, n)
    shop = rng.integers(0, 4, n)
    odds = np.log(amount) + 0.5 * count * (amount > 1) + (shop == 2) - 2.5
    return pl.DataFrame(
        {
            "amount": pl.Series(amount).set(pl.Series(rng.random(n) < 0.1), None),
            "shop": pl.Series([f"s{i}" for i in shop]).set(pl.Series(rng.random(n) < 0.05), None),
            "count": count,
            "night": rng.random(n) < 0.3,
            "label": (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.int8),
        }
    )


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return events()


@pytest.fixture(scope="module")
def made(frame: pl.DataFrame) -> Made:
    settings = TrainSection(threads=1)
    names = ["amount", "shop", "count", "night"]
    columns = learn_columns(frame, names=names, categorical=["shop"], max_categories=3)
    label = frame["label"].to_numpy()
    pool = quantize(make_pool(columns, frame, label=label))
    model = fit_model(pool, params_of(settings.params), settings=settings, iterations=15, seed=1)
    rows = numbers_of(columns, columns.matrix(frame))
    texts = fit_forests(rows, label, weight=None, columns=columns, settings=settings, seed=1, forests=KINDS[0])
    return Made(model, columns, Partner(mean_of(list(texts.values())), WEIGHT, columns), Calibrator("none"))


@pytest.fixture(scope="module")
def blend(made: Made) -> Blend:
    found = read_trees(made)  # type: ignore[arg-type]
    assert isinstance(found, Blend)
    return found


def native_scores(made: Made, frame: pl.DataFrame) -> np.ndarray:
    """Scores by both libraries and the definition of the mixture."""
    own = raw_score(made.model, make_pool(made.columns, frame))
    numbers = frame.select(pl.col("amount", "count", "night").cast(pl.Float32)).to_numpy()
    theirs = lightgbm.Booster(model_str=made.partner.text).predict(numbers, raw_score=True)  # type: ignore[union-attr]
    return (1.0 - WEIGHT) * own + WEIGHT * theirs


def test_scores_are_the_mixture_of_both_libraries_to_the_last_bit(
    made: Made, blend: Blend, frame: pl.DataFrame
) -> None:
    wanted = native_scores(made, frame)
    assert np.array_equal(blend.score_frame(frame), wanted)
    assert np.array_equal(predict(made, frame)[0], wanted)
    assert blend.n_trees == 15 + len(blend.partner.trees.trees)
    assert 15 < blend.n_trees <= 15 + n_trees(KINDS[0])


def test_one_event_has_the_bits_of_many(blend: Blend, frame: pl.DataFrame) -> None:
    scores, explained = blend.score_frame(frame), blend.explain_frame(frame)
    for i, row in enumerate(frame.head(80).iter_rows(named=True)):
        numbers = [math.nan if name == "shop" or row[name] is None else float(row[name]) for name in made_names(blend)]
        score, places = blend.score(numbers, {"shop": row["shop"]})
        assert score == scores[i]
        assert np.array_equal(blend.explain(places), explained[i])


def made_names(blend: Blend) -> tuple[str, ...]:
    return blend.columns.names


def test_contributions_add_up_and_are_those_of_both_libraries(made: Made, blend: Blend, frame: pl.DataFrame) -> None:
    matrix = made.columns.matrix(frame)
    found = contributions(made.model, matrix, categorical=["shop"], partner=made.partner)
    assert found.y_score == pytest.approx(native_scores(made, frame), abs=1e-10)
    assert found.values == pytest.approx(blend.explain_frame(frame), abs=1e-12)
    assert found.base == pytest.approx(blend.base, abs=1e-12)
    own = contributions(made.model, matrix, categorical=["shop"], partner=None)
    numbers = frame.select(pl.col("amount", "count", "night").cast(pl.Float32)).to_numpy()
    assert made.partner is not None
    theirs = lightgbm.Booster(model_str=made.partner.text).predict(numbers, pred_contrib=True)
    wanted = (1 - WEIGHT) * own.values
    wanted[:, [0, 2, 3]] += WEIGHT * theirs[:, :-1]
    assert found.values == pytest.approx(wanted, abs=1e-10)


def test_interactions_of_pairs_sum_to_the_contributions_of_a_feature(made: Made, frame: pl.DataFrame) -> None:
    """The interactions of a feature with all others, by halves, and its own effect are its contribution; so a pair of
    columns that only CatBoost knows keeps CatBoost's share, and mixed ones have both."""
    assert made.partner is not None
    matrix, pairs = made.columns.matrix(frame.head(40)), [(0, 2), (0, 1), (2, 3)]
    found = interactions(made.model, matrix, pairs=pairs, categorical=["shop"], partner=made.partner)
    own = interactions(made.model, matrix, pairs=pairs, categorical=["shop"], partner=None)
    theirs = made.partner.trees.interactions(made.partner.numbers(matrix), [(0, 1), (1, 2)])
    assert found[:, 0] == pytest.approx((1 - WEIGHT) * own[:, 0] + WEIGHT * theirs[:, 0], abs=1e-12)
    assert found[:, 1] == pytest.approx((1 - WEIGHT) * own[:, 1], abs=1e-12)
    assert found[:, 2] == pytest.approx((1 - WEIGHT) * own[:, 2] + WEIGHT * theirs[:, 1], abs=1e-12)
    assert np.abs(theirs).max() > 0
    listed = strongest_pairs(made.model, partner=made.partner)
    assert (0, 2) in listed
    assert all(a < b for a, b in listed)


def test_importance_is_the_weighted_mean_of_both(made: Made) -> None:
    assert made.partner is not None
    shares = made.partner.shares(np.array([0.1, 0.4, 0.3, 0.2]))
    partner = made.partner.trees.importance
    assert shares == pytest.approx([0.07 + 0.3 * partner[0], 0.28, 0.21 + 0.3 * partner[1], 0.14 + 0.3 * partner[2]])
    assert shares.sum() == pytest.approx(1.0)
