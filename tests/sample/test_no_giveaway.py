"""No column gives fraud away by itself: neither its value, nor its category, nor its absence, nor its name."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fraudctl.sample import SampleData

ENTITIES = ("card_id", "customer_id", "device_id", "ip", "merchant_id")
CATEGORIES = ("category", "country", "card_country", "channel", "status")
ENTITY_LIMIT, CATEGORY_LIMIT, NUMBER_LIMIT, NULL_LIMIT, NAME_LIMIT = 0.88, 0.66, 0.68, 0.56, 0.58


@pytest.fixture(scope="module")
def rows(shipped: SampleData) -> pl.DataFrame:
    table = shipped.transactions.unique(maintain_order=True)
    return table.with_columns(fraud=pl.col("transaction_id").is_in(shipped.truth["transaction_id"].implode()))


def strength(y_true: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    """AUC in the better of the two directions."""
    auc = float(roc_auc_score(y_true, values))
    return max(auc, 1.0 - auc)


def encoded(y_true: NDArray[np.bool_], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fraud rate of each category in the four other of five random folds, smoothed by 20 events of the mean."""
    fold = np.random.Generator(np.random.PCG64(0)).permutation(len(codes)) % 5
    out, mean = np.zeros(len(codes)), y_true.mean()
    for k in range(5):
        others = fold != k
        count = np.bincount(codes[others], minlength=codes.max() + 1)
        frauds = np.bincount(codes[others], weights=y_true[others], minlength=codes.max() + 1)
        out[~others] = ((frauds + 20 * mean) / (count + 20))[codes[~others]]
    return out


def codes_of(values: pl.Series) -> NDArray[np.int64]:
    return values.fill_null("").rank("dense").cast(pl.Int64).to_numpy()


def test_every_column_is_looked_at(rows: pl.DataFrame) -> None:
    others = {"transaction_id", "created_at", "amount", "is_fraud", "label_available_at", "fraud"}
    assert set(rows.columns) == {*ENTITIES, *CATEGORIES, *others}


@pytest.mark.parametrize("column", ["created_at", "amount"])
def test_numbers(rows: pl.DataFrame, column: str) -> None:
    y_true, values = rows["fraud"].to_numpy(), rows[column].to_physical().cast(pl.Float64)
    assert strength(y_true, values.to_numpy()) < NUMBER_LIMIT
    edges = np.unique(np.quantile(values.to_numpy(), np.linspace(0.0, 1.0, 61)))
    bins = np.searchsorted(edges, values.to_numpy())
    assert strength(y_true, encoded(y_true, bins)) < NUMBER_LIMIT


def test_clock(rows: pl.DataFrame) -> None:
    y_true = rows["fraud"].to_numpy()
    hour = rows["created_at"].dt.hour().cast(pl.Int64).to_numpy()
    assert strength(y_true, encoded(y_true, hour)) < CATEGORY_LIMIT
    second = rows["created_at"].dt.second().cast(pl.Float64).to_numpy()
    assert strength(y_true, second) < NAME_LIMIT


@pytest.mark.parametrize("column", CATEGORIES)
def test_categories(rows: pl.DataFrame, column: str) -> None:
    y_true = rows["fraud"].to_numpy()
    assert strength(y_true, encoded(y_true, codes_of(rows[column]))) < CATEGORY_LIMIT


@pytest.mark.parametrize("column", ENTITIES)
def test_entities(rows: pl.DataFrame, column: str) -> None:
    y_true = rows["fraud"].to_numpy()
    assert strength(y_true, encoded(y_true, codes_of(rows[column]))) < ENTITY_LIMIT


@pytest.mark.parametrize("column", ["transaction_id", *ENTITIES])
def test_names_have_no_order(rows: pl.DataFrame, column: str) -> None:
    seen = rows.filter(pl.col(column).is_not_null())
    order = seen[column].rank("dense").cast(pl.Float64)
    assert strength(seen["fraud"].to_numpy(), order.to_numpy()) < NAME_LIMIT
    time = seen["created_at"].to_physical().cast(pl.Float64)
    assert abs(np.corrcoef(order.to_numpy(), time.to_numpy())[0, 1]) < 0.1
    assert seen[column].str.len_chars().n_unique() == 1 or column == "ip"


@pytest.mark.parametrize("column", ["device_id", "ip", "customer_id", "category", "country"])
def test_nulls(rows: pl.DataFrame, column: str) -> None:
    assert strength(rows["fraud"].to_numpy(), rows[column].is_null().to_numpy().astype(float)) < NULL_LIMIT


def test_no_amount_parts_fraud_from_the_rest(rows: pl.DataFrame) -> None:
    bought = rows.filter(pl.col("amount") > 0)
    for low, high in ((0.0, 2.0), (2.0, 10.0), (300.0, 600.0), (600.0, 1e9)):
        band = bought.filter(pl.col("amount").is_between(low, high, closed="left"))
        assert band["fraud"].any(), (low, high)
        assert band["fraud"].mean() < 0.30, (low, high)
    cents = (bought["amount"] * 100).round().cast(pl.Int64) % 100
    assert strength(bought["fraud"].to_numpy(), encoded(bought["fraud"].to_numpy(), cents.to_numpy())) < CATEGORY_LIMIT


def test_no_category_belongs_to_a_part_of_the_period(rows: pl.DataFrame) -> None:
    half = rows["created_at"].sort()[rows.height // 2]
    for column in CATEGORIES:
        share = rows.drop_nulls(column).group_by(column).agg((pl.col("created_at") < half).mean().alias("early"))
        assert share["early"].is_between(0.3, 0.7).all(), column


def test_file_order_says_nothing(rows: pl.DataFrame) -> None:
    position = np.arange(rows.height, dtype=np.float64)
    assert strength(rows["fraud"].to_numpy(), position) < NAME_LIMIT
