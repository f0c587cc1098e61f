"""The vocabulary: names nominate the right roles, and nothing else."""

from __future__ import annotations

import pytest

from fraudctl.propose import names


@pytest.mark.parametrize("name", ["event_time", "created_at", "TX_DATETIME", "timestamp", "transactionTime", "date"])
def test_names_of_the_event_time(name: str) -> None:
    assert names.event_time_rank(name) == 2


@pytest.mark.parametrize(
    ("name", "rank"),
    [("updated_at", 0), ("settlement_date", 0), ("chargeback_date", 0), ("date_of_birth", 0), ("server_time", 1)],
)
def test_names_of_other_times(name: str, rank: int) -> None:
    assert names.event_time_rank(name) == rank


@pytest.mark.parametrize(
    ("name", "rank"),
    [("is_fraud", 2), ("TX_FRAUD", 2), ("isFraud", 2), ("Labels", 2), ("Class", 2), ("target", 2), ("fraud_flag", 2),
     ("TX_FRAUD_SCENARIO", 1), ("fraud_score", 1), ("channel", 0)],
)  # fmt: skip
def test_names_of_the_label(name: str, rank: int) -> None:
    assert names.label_rank(name) == rank


@pytest.mark.parametrize(
    ("name", "rank"),
    [("amount", 2), ("TX_AMOUNT", 2), ("transactionAmt", 2), ("amount_eur", 1), ("total", 1), ("avg_amount", 1),
     ("price_level", 0), ("age", 0)],
)  # fmt: skip
def test_names_of_the_amount(name: str, rank: int) -> None:
    assert names.amount_rank(name) == rank


@pytest.mark.parametrize(
    ("name", "rank"),
    [("TRANSACTION_ID", 3), ("eventId", 3), ("payment_ref", 3), ("id", 2), ("uuid", 2), ("row_id", 1), ("amount", 0),
     ("number", 0)],
)  # fmt: skip
def test_names_of_the_event_id(name: str, rank: int) -> None:
    assert names.event_id_rank(name) == rank


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CUSTOMER_ID", "customer"), ("card_hash", "card"), ("cardNumber", "card"), ("ip", "ip"), ("Source", "source"),
     ("billing_address", "billing_address"), ("merchant_category", None), ("ip_country", None), ("zip_code", None),
     ("TRANSACTION_ID", None), ("3ds_id", "e_3ds")],
)  # fmt: skip
def test_names_of_parties(name: str, expected: str | None) -> None:
    assert names.party(name) == expected


@pytest.mark.parametrize("name", ["chargeback_date", "fraudScenario", "dispute_reason", "LABEL_SOURCE"])
def test_names_known_after_the_outcome(name: str) -> None:
    assert names.tells_outcome(name)
    assert not names.tells_outcome("channel")


def test_receiving_sides() -> None:
    assert names.receives("merchant")
    assert names.receives("online_shop")
    assert not names.receives("card")
