"""The five tables of labels of the sample: who says what, when, how often, and about which payments."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraudctl.errors import UsageError
from fraudctl.sample import SampleData
from fraudctl.sample.draws import Draws
from fraudctl.sample.verdicts import LABEL_TABLES, LabelTables, label_tables
from fraudctl.workflows.sample import write_sample


def streams(name: str) -> Draws:
    return Draws(7, name)


@pytest.fixture(scope="module")
def tables(shipped: SampleData) -> LabelTables:
    return label_tables(shipped.transactions, shipped.truth, streams)


@pytest.fixture(scope="module")
def payments(shipped: SampleData) -> pl.DataFrame:
    once = shipped.transactions.unique("transaction_id")
    return once.join(
        shipped.truth.select("transaction_id", is_true=pl.lit(value=True)), on="transaction_id", how="left"
    )


def entries(tables: LabelTables, payments: pl.DataFrame, name: str) -> pl.DataFrame:
    """The entries of a table about payments of the data, with what is true and how many days later they came."""
    found = tables[name].rename({LABEL_TABLES[name]: "known"}).join(payments, on="transaction_id")
    days = (pl.col("known") - pl.col("created_at")).dt.total_seconds() / 86_400
    return found.with_columns(days=days, is_true=pl.col("is_true").fill_null(value=False))


def test_each_table_is_the_same_whatever_others_there_are(shipped: SampleData, tables: LabelTables) -> None:
    assert list(tables.tables) == list(LABEL_TABLES)
    for name in LABEL_TABLES:
        alone = label_tables(shipped.transactions, shipped.truth, streams, names=[name])
        assert list(alone.tables) == [name]
        assert_frame_equal(alone[name], tables[name], check_exact=True)
    assert "is_fraud" not in tables.transactions.columns


def test_entries_come_after_their_event_and_before_the_extract(tables: LabelTables, payments: pl.DataFrame) -> None:
    last = payments["created_at"].max()
    for name, time in LABEL_TABLES.items():
        assert tables[name][time].is_sorted()
        assert tables[name][time].max() <= last
        assert entries(tables, payments, name)["days"].min() >= 0, name


def test_they_come_at_different_paces(tables: LabelTables, payments: pl.DataFrame) -> None:
    """Medians in days: about a third, two, six, nine, and three weeks and more."""
    medians = {name: entries(tables, payments, name)["days"].median() for name in LABEL_TABLES}
    bounds = {
        "verdicts": (0.2, 0.7), "customer_reports": (1.5, 3.0), "chargebacks": (5, 7), "tc40": (7, 11),
        "disputes": (18, 30),
    }  # fmt: skip
    assert all(low < medians[name] < high for name, (low, high) in bounds.items()), medians


def test_sources_are_right_most_of_the_time_and_wrong_now_and_then(tables: LabelTables, payments: pl.DataFrame) -> None:
    says = {"chargebacks": pl.lit(value=True), "tc40": pl.lit(value=True)}
    says |= {"verdicts": pl.col("verdict") == "confirmed", "customer_reports": pl.col("status") == "fraud"}
    says |= {"disputes": pl.col("outcome") == "lost"}
    for name, fraud in says.items():
        found = entries(tables, payments, name).filter(fraud)
        assert 0.7 < found["is_true"].mean() < 0.98, name


def test_some_frauds_are_in_no_chargeback_but_elsewhere(tables: LabelTables, payments: pl.DataFrame) -> None:
    charged = tables["chargebacks"].select("transaction_id")
    others = [entries(tables, payments, name).filter("is_true") for name in ("verdicts", "customer_reports", "tc40")]
    only = pl.concat([frame.select("transaction_id", "status") for frame in others if "status" in frame.columns][-1:])
    assert only.join(charged, on="transaction_id", how="anti").height > 20


def test_entries_are_taken_back_repeated_and_about_no_payment(tables: LabelTables, payments: pl.DataFrame) -> None:
    per_event = {name: tables[name].group_by("transaction_id").len()["len"] for name in LABEL_TABLES}
    assert {name for name, n in per_event.items() if n.max() > 1} == set(LABEL_TABLES) - {"disputes"}
    changed = tables["verdicts"].group_by("transaction_id").agg(pl.col("verdict").n_unique() > 1)
    assert changed["verdict"].sum() > 50
    back = tables["customer_reports"].filter(pl.col("status") == "withdrawn")
    called = tables["customer_reports"].filter(pl.col("status") == "fraud")
    both = back.join(called, on="transaction_id", suffix="_called")
    assert back["transaction_id"].is_in(called["transaction_id"].implode()).all()
    assert (both["received_at"] > both["received_at_called"]).all()
    for name in LABEL_TABLES:
        orphans = tables[name].join(payments, on="transaction_id", how="anti").height
        assert (orphans > 10) == (name in {"customer_reports", "tc40"}), name


def test_nobody_outside_reports_a_payment_that_was_declined(tables: LabelTables, payments: pl.DataFrame) -> None:
    status = payments.select("transaction_id", taken="status")
    for name in ("customer_reports", "tc40"):
        assert tables[name].join(status, on="transaction_id")["taken"].unique().to_list() == ["approved"]
    assert (tables["verdicts"].join(status, on="transaction_id")["taken"] == "declined").sum() > 50


def test_an_extract_at_an_earlier_instant_holds_the_entries_until_then(
    shipped: SampleData, tables: LabelTables, payments: pl.DataFrame
) -> None:
    earlier = payments["created_at"].max() - timedelta(days=20)
    found = label_tables(shipped.transactions, shipped.truth, streams, until=earlier)
    for name, time in LABEL_TABLES.items():
        assert_frame_equal(found[name], tables[name].filter(pl.col(time) <= earlier), check_exact=True)


def test_a_table_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table of labels named 'verdict'"):
        write_sample(tmp_path / "x", n_events=1000, days=40, label_tables=("verdict",))
    assert not (tmp_path / "x").exists()
