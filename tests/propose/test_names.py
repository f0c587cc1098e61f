"""The vocabulary: names nominate the right roles, and nothing else."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
     ("price_level", 0), ("age", 0), ("Betrag (EUR)", 1), ("purchase_value", 1), ("total_usd", 1), ("eur", 0)],
)  # fmt: skip
def test_names_of_the_amount(name: str, rank: int) -> None:
    assert names.amount_rank(name) == rank


@pytest.mark.parametrize(
    ("name", "rank"),
    [("TRANSACTION_ID", 3), ("eventId", 3), ("payment_ref", 3), ("id", 2), ("uuid", 2), ("row_id", 1), ("amount", 0),
     ("number", 0), ("transactionid", 3), ("idée", 0), ("客户_id", 1)],
)  # fmt: skip
def test_names_of_the_event_id(name: str, rank: int) -> None:
    assert names.event_id_rank(name) == rank


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CUSTOMER_ID", "customer"), ("card_hash", "card"), ("cardNumber", "card"), ("ip", "ip"), ("Source", "source"),
     ("billing_address", "billing_address"), ("merchant_category", None), ("ip_country", None), ("zip_code", None),
     ("TRANSACTION_ID", None), ("3ds_id", "e_3ds"), ("customerid", "customer"), ("cardnumber", "card"),
     ("Kundennummer", "customer"), ("Händler", "merchant"), ("Geräte-ID", "device"), ("N° carte", "card"),
     ("numéro_carte", "card"), ("客户_id", None), ("orderid", None)],
)  # fmt: skip
def test_names_of_parties(name: str, expected: str | None) -> None:
    assert names.party(name) == expected


@given(name=st.text(max_size=12))
def test_words_hold_no_sign_between_words_and_name_entities_that_a_project_may_have(name: str) -> None:
    words = names.tokens(name)
    assert all(word and re.fullmatch(r"[^\W_]+", word) for word in words)
    assert names.party(name) is None or re.fullmatch("[a-z][a-z0-9_]*", names.party(name) or "")


@given(
    name=st.text("abcdeXYZ_ -.19", max_size=12), at=st.integers(0, 11), mark=st.sampled_from("\u0300\u0301\u0308\u0327")
)
def test_an_accent_splits_no_word(name: str, at: int, mark: str) -> None:
    marked = name[: at + 1] + mark + name[at + 1 :] if name[at : at + 1].isalpha() else name
    assert names.tokens(marked) == names.tokens(name)
    assert names.tokens(unicodedata.normalize("NFC", marked)) == names.tokens(name)


@pytest.mark.parametrize(
    "name", ["chargeback_date", "fraudScenario", "dispute_reason", "LABEL_SOURCE", "Rückbuchung am", "Fraude confirmée"]
)
def test_names_known_after_the_outcome(name: str) -> None:
    assert names.tells_outcome(name)
    assert not names.tells_outcome("channel")


def test_receiving_sides() -> None:
    assert names.receives("merchant")
    assert names.receives("online_shop")
    assert not names.receives("card")
