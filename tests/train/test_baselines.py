from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from training_data import FEATURES, table

from fraudctl.calibrate import sigmoid
from fraudctl.train import baselines
from fraudctl.train.baselines import (
    AMOUNT,
    LABEL_RATE,
    LOGISTIC,
    BaselineRows,
    baseline_scores,
    label_features,
    logistic_scores,
    thinned,
)
from fraudctl.train.model import learn_columns


def rows(*, kept: float = 1.0, extra: pl.Expr | None = None) -> BaselineRows:
    frame = table(5000) if extra is None else table(5000).with_columns(extra)
    train, valid = frame.head(3500), frame.tail(1500)
    if kept < 1:
        train = train.filter((pl.col("label") == 1) | (pl.col("event_id") % round(1 / kept) == 0))
    names = [*FEATURES.names, *label_features(frame.columns)]
    columns = learn_columns(train, names=names, categorical=FEATURES.categorical, max_categories=5)
    return BaselineRows(train, np.ones(train.height), kept, valid, columns)


def test_the_amount_alone_ranks_as_the_amount_does() -> None:
    made = rows(extra=(pl.col("amount") + 50 * pl.col("label")).alias("amount"))
    scores = baseline_scores(made)[AMOUNT]
    assert spearmanr(scores, made.valid["amount"]).statistic == pytest.approx(1.0)
    assert np.average(sigmoid(scores)) == pytest.approx(made.valid["label"].mean(), rel=0.2)


def test_an_amount_that_falls_with_fraud_is_not_turned_round() -> None:
    made = rows(extra=(pl.col("amount") - 50 * pl.col("label")).alias("amount"))
    assert spearmanr(baseline_scores(made)[AMOUNT], made.valid["amount"]).statistic == pytest.approx(1.0)


def test_a_null_amount_counts_as_the_least() -> None:
    made = rows(extra=pl.when(pl.col("event_id") % 10 == 0).then(None).otherwise(pl.col("amount")).alias("amount"))
    scores = baseline_scores(made)[AMOUNT]
    unknown = made.valid["amount"].is_null().to_numpy()
    assert np.isfinite(scores).all()
    assert len(np.unique(scores[unknown])) == 1


def test_label_features_are_known_by_their_names() -> None:
    names = [
        "card_fraud_rate_7d", "shop_smoothed_rate_30d", "shop_fraud_count_1h", "card_known_count_7d", "fraud_rate",
        "card_count_7d",
    ]  # fmt: skip
    assert label_features(names) == names[:3]


def test_the_best_label_feature_is_chosen_on_the_training_rows() -> None:
    made = rows(extra=pl.col("velocity").alias("shop_fraud_count_7d"))
    scores = baseline_scores(made)
    assert spearmanr(scores[LABEL_RATE], made.valid["velocity"]).statistic == pytest.approx(1.0)
    assert LABEL_RATE not in baseline_scores(rows())


def test_the_logistic_regression_uses_numbers_nulls_and_categories() -> None:
    made = rows()
    scores = baseline_scores(made)[LOGISTIC]
    label = made.valid["label"].to_numpy()
    assert average_precision_score(label, scores) > 1.5 * label.mean()
    assert np.average(sigmoid(scores)) == pytest.approx(label.mean(), rel=0.2)
    turned = BaselineRows(made.train, made.weight, 1.0, made.valid.with_columns(channel=pl.lit("app")), made.columns)
    assert not np.array_equal(logistic_scores(turned), scores)


def test_sampled_negatives_are_corrected_for() -> None:
    whole, part = logistic_scores(rows()), logistic_scores(rows(kept=0.25))
    assert np.average(sigmoid(part)) == pytest.approx(np.average(sigmoid(whole)), rel=0.15)


def test_constant_and_empty_features_do_no_harm() -> None:
    made = rows(extra=pl.lit(None, pl.Float64).alias("velocity"))
    assert np.isfinite(logistic_scores(made)).all()
    flat = rows(extra=pl.lit(3.0).alias("velocity"))
    assert np.isfinite(logistic_scores(flat)).all()


def test_one_class_gives_one_score() -> None:
    made = rows(extra=pl.lit(0, pl.Int8).alias("label"))
    assert len(np.unique(logistic_scores(made))) == 1


def test_thinned_rows_keep_every_fraud_and_the_weight_of_each_class() -> None:
    rng = np.random.default_rng(4)
    y_true = (rng.random(5_000) < 0.03).astype(np.int64)
    weight = np.where(rng.random(5_000) < 0.1, 0.0, rng.uniform(0.5, 3.0, 5_000))
    taken, scaled = thinned(y_true, weight, most=400)
    assert (np.diff(taken) > 0).all()
    assert set(np.flatnonzero(y_true == 1)) <= set(taken)
    assert (y_true[taken] == 0).sum() == 400
    for label in (0, 1):
        assert scaled[y_true[taken] == label].sum() == pytest.approx(weight[y_true == label].sum())
    everything, same = thinned(y_true, weight)
    assert len(everything) == len(y_true)
    assert (same == weight).all()


def test_rows_that_are_scored_some_at_a_time_have_the_scores_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, steps = rows(), list[str]()
    found = logistic_scores(made, watch=steps.append)
    monkeypatch.setattr(baselines, "_ROWS_AT_ONCE", 64)
    assert logistic_scores(made, watch=steps.append).tolist() == found.tolist()
    assert sum("rows scored" in step for step in steps) == 1 + -(-made.valid.height // 64)


def test_each_baseline_is_told_before_it_is_made() -> None:
    steps: list[str] = []
    made = rows(extra=pl.col("label").cast(pl.Float64).alias("card_fraud_rate_7d"))
    assert baseline_scores(made, watch=steps.append).keys() == baseline_scores(made).keys()
    assert steps[:3] == [AMOUNT, "label rate 1 of 1", f"{LOGISTIC}, fitting"]
