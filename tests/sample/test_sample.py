from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraudctl.errors import UsageError
from fraudctl.sample import STEPS, SampleData, generate
from fraudctl.sample.making import renumbered
from fraudctl.sample.rows import PATTERNS

SHIPPED = Path(__file__).parents[2] / "sample_data"


def distinct(data: SampleData) -> pl.DataFrame:
    return data.transactions.unique(maintain_order=True)


def test_sample_data_is_the_output_of_the_generator(shipped: SampleData) -> None:
    assert_frame_equal(pl.read_parquet(SHIPPED / "transactions.parquet"), shipped.transactions, check_exact=True)
    assert_frame_equal(pl.read_parquet(SHIPPED / "logins.parquet"), shipped.logins, check_exact=True)


def test_sample_data_is_small_and_says_what_its_columns_are(shipped: SampleData) -> None:
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 3_000_000
    text = (SHIPPED / "README.md").read_text()
    missing = [c for c in (*shipped.transactions.columns, *shipped.logins.columns) if f"| `{c}` |" not in text]
    assert missing == []
    assert f"| `transactions.parquet` | {shipped.transactions.height:,} |" in text
    assert f"| `logins.parquet` | {shipped.logins.height:,} |" in text


def test_same_arguments_give_the_same_values(small: SampleData) -> None:
    again = generate(n_events=6_000, days=90, seed=3)
    assert_frame_equal(again.transactions, small.transactions, check_exact=True)
    assert_frame_equal(again.logins, small.logins, check_exact=True)
    assert_frame_equal(again.truth, small.truth, check_exact=True)
    assert not generate(n_events=6_000, days=90, seed=4).transactions.equals(small.transactions)


def test_the_number_of_threads_changes_nothing(small: SampleData) -> None:
    code = (
        "from fraudctl.sample import generate; d = generate(n_events=6_000, days=90, seed=3);"
        "print(*(f.hash_rows(seed=0).sum() for f in (d.transactions, d.logins, d.truth)))"
    )
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    mine = [str(f.hash_rows(seed=0).sum()) for f in (small.transactions, small.logins, small.truth)]
    assert found.stdout.split() == mine


@pytest.mark.parametrize("n_events", [1_000, 2_500, 6_001])
def test_any_size_has_exactly_that_many_rows_within_the_period(n_events: int) -> None:
    data = generate(n_events=n_events, days=45, seed=1)
    times = data.transactions["created_at"]
    assert data.transactions.height == n_events
    assert times.min() >= datetime(2025, 9, 15, tzinfo=UTC)
    assert times.max() < datetime(2025, 9, 15, tzinfo=UTC) + timedelta(days=45)
    assert set(data.truth["pattern"]) == set(PATTERNS)


def test_start_is_utc_when_naive_and_the_same_instant_in_any_zone() -> None:
    naive = generate(n_events=1_000, days=30, start=datetime(2026, 1, 1))
    east = timezone(timedelta(hours=2))
    aware = generate(n_events=1_000, days=30, start=datetime(2026, 1, 1, 2, tzinfo=east))
    assert_frame_equal(naive.transactions, aware.transactions)
    assert naive.transactions.schema["created_at"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(("name", "value"), [("n_events", 999), ("days", 29), ("seed", -1)])
def test_arguments_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}, expected at least"):
        generate(**{name: value})  # type: ignore[arg-type]


def test_prevalence_is_between_one_and_two_percent(shipped: SampleData, small: SampleData) -> None:
    for data in (shipped, small):
        assert 0.01 < data.truth.height / distinct(data).height < 0.02
        assert 0.01 < data.transactions["is_fraud"].mean() < 0.02


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_has_many_bursts_in_every_third_of_the_period(shipped: SampleData, pattern: str) -> None:
    frauds = shipped.truth.filter(pattern=pattern).join(distinct(shipped), on="transaction_id")
    begin = frauds.group_by("burst_id").agg(pl.col("created_at").min())
    day = (begin["created_at"] - shipped.transactions["created_at"].min()).dt.total_days()
    assert begin.height >= 10
    assert min(day.is_between(low, low + 40, closed="left").sum() for low in (0, 40, 80)) >= 2
    assert frauds.height > 200


def test_fraud_happens_in_every_week(shipped: SampleData) -> None:
    weeks = distinct(shipped).group_by_dynamic("created_at", every="1w").agg(pl.col("is_fraud").sum(), pl.len())
    whole = weeks.filter(pl.col("len") > 3_000)
    assert whole.height >= 15
    assert (whole.head(-2)["is_fraud"] >= 20).all()


def test_many_victims_are_hit_by_more_than_one_burst(shipped: SampleData) -> None:
    frauds = shipped.truth.join(distinct(shipped), on="transaction_id")
    bursts = frauds.group_by("card_id").agg(pl.col("burst_id").n_unique())["burst_id"]
    assert (bursts > 1).mean() > 0.15
    honest = distinct(shipped).filter(pl.col("is_fraud") == 0)["card_id"]
    assert frauds["card_id"].is_in(honest.implode()).mean() > 0.97


def test_duplicates_ties_refunds_and_nulls_have_their_shares(shipped: SampleData) -> None:
    table, rows = shipped.transactions, distinct(shipped)
    assert table.height - rows.height == round(0.004 * table.height)
    assert rows["transaction_id"].is_unique().all()
    tied = rows.filter(pl.len().over("created_at") > 1)
    assert 0.005 < tied.height / rows.height < 0.10
    assert 0.003 < rows.filter(pl.len().over("created_at", "card_id") > 1).height / rows.height < 0.05
    refunds = rows.filter(pl.col("amount") < 0)
    assert 0.015 < refunds.height / rows.height < 0.025
    assert refunds.filter(pl.col("is_fraud") == 1).is_empty()
    for column in ("customer_id", "device_id", "ip", "category", "country"):
        seen = rows.filter(pl.col("channel") != "pos") if column in {"device_id", "ip"} else rows
        assert 0.025 < seen[column].null_count() / seen.height < 0.035, column
    shop = rows.filter(pl.col("channel") == "pos")
    assert shop["device_id"].null_count() == shop["ip"].null_count() == shop.height
    whole = ["transaction_id", "created_at", "amount", "card_id", "merchant_id", "card_country", "channel", "status"]
    assert rows.select(whole).null_count().row(0) == (0,) * len(whole)


def test_duplicates_and_ties_of_fraud_exist_as_well(shipped: SampleData) -> None:
    table = shipped.transactions
    copied = table.filter(table.is_duplicated())
    assert (copied["is_fraud"] == 1).any()
    frauds = distinct(shipped).filter(pl.len().over("created_at", "card_id") > 1)
    assert 0 < frauds["is_fraud"].mean() < 0.2


def test_behaviour_drifts_in_one_month(shipped: SampleData) -> None:
    bought = distinct(shipped).filter(pl.col("amount") > 0)
    day = (pl.col("created_at") - pl.lit(datetime(2025, 9, 15, tzinfo=UTC))).dt.total_days()
    phase = pl.when(day < 78).then(pl.lit("before")).when(day < 108).then(pl.lit("drift")).otherwise(pl.lit("after"))
    found = (
        bought.with_columns(phase=phase)
        .group_by("phase")
        .agg(
            app=(pl.col("channel") == "app").mean(),
            gifts=pl.col("category").is_in(["electronics", "fashion", "luxury", "travel"]).mean(),
            amount=pl.col("amount").median(),
            per_day=pl.len() / day.n_unique(),
        )
    )
    value = {row["phase"]: row for row in found.to_dicts()}
    for other in ("before", "after"):
        assert value["drift"]["app"] > value[other]["app"] + 0.05
        assert value["drift"]["gifts"] > value[other]["gifts"] + 0.02
        assert value["drift"]["amount"] > 1.05 * value[other]["amount"]
        assert value["drift"]["per_day"] > 1.05 * value[other]["per_day"]


def test_account_takeovers_begin_with_wrong_passwords_and_honest_customers_forget_theirs(shipped: SampleData) -> None:
    failed = shipped.logins.filter(~pl.col("success")).select("customer_id", "device_id", at="at")
    bought = shipped.transactions.filter(pl.col("device_id").is_not_null() & pl.col("customer_id").is_not_null())
    kinds = bought.join(shipped.truth, on="transaction_id", how="left").select(
        "transaction_id", "created_at", "customer_id", "device_id", pl.col("pattern").fill_null("honest")
    )
    tried = kinds.join(failed, on=["customer_id", "device_id"], how="left").with_columns(
        before=(pl.col("at") < pl.col("created_at")) & (pl.col("at") > pl.col("created_at") - pl.duration(days=2))
    )
    many = tried.group_by("transaction_id", "pattern").agg(pl.col("before").sum() >= 3).group_by("pattern").agg(
        pl.col("before").mean(), n=pl.col("before").sum()
    )  # fmt: skip
    share = dict(many.select("pattern", "before").iter_rows())
    n_honest = many.filter(pl.col("pattern") == "honest")["n"].item()
    assert share["account_takeover"] > 0.4
    assert share["honest"] < 0.05
    assert n_honest > 50  # wrong passwords alone give nobody away


def test_logins_are_of_the_same_customers_and_devices(shipped: SampleData) -> None:
    logins, table = shipped.logins, shipped.transactions
    assert 0.2 < logins.height / table.height < 0.5
    assert logins["at"].is_sorted()
    assert logins["customer_id"].is_in(table["customer_id"].implode()).mean() > 0.99
    assert logins["device_id"].is_in(table["device_id"].implode()).mean() > 0.9
    per_device = logins.group_by("device_id").agg(
        pl.col("os", "browser").n_unique(), pl.col("screen").drop_nulls().n_unique()
    )
    assert per_device.select(pl.col("os", "browser", "screen").max()).row(0) == (1, 1, 1)
    assert 0.03 < 1.0 - logins["success"].mean() < 0.25
    for column in ("ip", "screen"):
        assert 0.025 < logins[column].null_count() / logins.height < 0.035


def test_what_logins_bring_is_told_as_it_was_measured() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "sample.md").read_text("utf-8")
    found = json.loads((root / "benchmarks" / "results" / "sample_logins.json").read_text("utf-8"))["seeds"]
    assert sum(row["difference"] for row in found) / len(found) > 0
    assert any(row["interval"][0] > 0 for row in found)
    for row in found:
        low, high = row["interval"]
        told = f"| {row['seed']} | {row['frauds']} | {row['with']:.3f} | {row['without']:.3f} | "
        assert f"{told}{row['difference']:+.3f} ({low:+.3f} to {high:+.3f}) |" in text


def test_every_step_of_making_a_sample_is_told() -> None:
    told: list[str] = []
    generate(n_events=2_000, tell=told.append)
    assert len(told) == len(set(told)) == STEPS


def test_numbers_are_renumbered_as_by_a_sort() -> None:
    random = np.random.default_rng(1)
    for n in (1, 5, 200):
        numbers = random.integers(-1, 300, n)
        expected, places = np.unique(numbers, return_inverse=True)
        found, at = renumbered(numbers)
        assert found.tolist() == expected.tolist()
        assert at.tolist() == places.tolist()
