from __future__ import annotations

from datetime import timedelta

import polars as pl

from fraudctl.sample import SampleData

DELAY = timedelta(days=14)


def delays(data: SampleData, label: int) -> pl.Series:
    known = data.transactions.filter(pl.col("is_fraud") == label)
    return (known["label_available_at"] - known["created_at"]).dt.total_seconds() / 86_400


def test_a_label_and_its_time_are_null_together_and_never_early_or_in_the_future(shipped: SampleData) -> None:
    table = shipped.transactions
    assert table["is_fraud"].is_null().equals(table["label_available_at"].is_null(), check_names=False)
    known = table.filter(pl.col("is_fraud").is_not_null())
    assert (known["label_available_at"] >= known["created_at"]).all()
    end = shipped.transactions["created_at"].dt.date().max()
    assert (known["label_available_at"].dt.date() <= end).all()


def test_delays_are_about_six_days_and_two_weeks(shipped: SampleData) -> None:
    fraud, legit = delays(shipped, 1), delays(shipped, 0)
    assert 5.0 < fraud.median() < 7.0
    assert 12.0 < fraud.quantile(0.95) < 16.0
    assert 13.0 <= legit.quantile(0.5) <= 14.0
    assert legit.max() <= 14.0
    assert 13.0 < pl.concat([fraud, legit]).quantile(0.95) <= 14.0


def test_labels_agree_with_the_truth(shipped: SampleData) -> None:
    hidden = pl.col("transaction_id").is_in(shipped.truth["transaction_id"].implode())
    known = shipped.transactions.filter(pl.col("is_fraud").is_not_null())
    assert known.filter((pl.col("is_fraud") == 1) != hidden).is_empty()


def test_some_mature_fraud_and_most_declined_events_stay_unlabelled(shipped: SampleData) -> None:
    table = shipped.transactions.unique()
    old = table.filter(pl.col("created_at") < table["created_at"].max() - timedelta(days=40))
    fraud = old.join(shipped.truth, on="transaction_id")
    taken = fraud.filter(pl.col("status") == "approved")["is_fraud"]
    assert 0.04 < taken.null_count() / len(taken) < 0.13
    declined = old.filter(pl.col("status") == "declined")["is_fraud"]
    assert 0.65 < declined.null_count() / len(declined) < 0.85
    assert fraud.filter(pl.col("status") == "declined")["is_fraud"].null_count() > 20
    assert old.filter(pl.col("status") == "declined")["is_fraud"].sum() > 10


def test_the_default_test_period_has_over_300_mature_frauds(shipped: SampleData) -> None:
    table = shipped.transactions.unique()
    known_until, first = table["created_at"].max(), table["created_at"].min()
    test = min((known_until - DELAY - first) / 5, timedelta(days=30))
    as_of = known_until - DELAY - test
    frauds = table.filter(
        pl.col("created_at").is_between(as_of, as_of + test, closed="left")
        & (pl.col("is_fraud") == 1)
        & (pl.col("label_available_at") <= known_until)
    )
    assert len(frauds) > 300
