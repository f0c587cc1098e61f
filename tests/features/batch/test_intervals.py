"""The ends of every interval, by hand: who is seen at exactly t, one microsecond off, and exactly a window ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fraudctl.features import build
from fraudctl.features.proof.reference import recompute

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
US = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
TEXT = """
[[features.window]]
by = "card"
windows = ["1h"]
aggregates = ["count", "sum(amount)"]
[[features.window]]
by = "card"
windows = ["1h"]
aggregates = ["count", "sum(amount)"]
include_current = true
name = "with"
[[features.labels]]
by = "card"
windows = ["1h"]
aggregates = ["known_count", "fraud_count", "fraud_rate"]
[[features.recency]]
by = "card"
aggregates = ["seconds_since_last", "seconds_since_first", "seconds_since_last_known_fraud"]
[[features.hours]]
by = "card"
windows = ["1h"]
aggregates = ["hour_concentration"]
[[features.pairs]]
of = ["card", "shop"]
"""


def asked(events_of, features_of, *, at, known_at=None, card="a"):
    """Give the features of an event at NOW, with one other event (a fraud over 8.0) in the world."""
    events = events_of(
        TEXT, id=[1, 2], at=[at, NOW], eur=[8.0, 1.0], card_id=[card, card], shop_id=[5, 5], fraud=[1, None],
        known_at=[known_at or at + 100 * HOUR, None],
    )  # fmt: skip
    features = features_of(TEXT)
    table = build(events, features, timezone="UTC").filter(event_id=2)
    row = events.frame["event_id"].to_list().index(2)
    expected = recompute(events.frame, row, features, timezone="UTC")
    got = {name: table[name][0] for name in features.names}
    assert got == expected
    return got


@pytest.mark.parametrize(
    ("at", "seen", "before"),
    [
        (NOW - HOUR - US, 0, True),
        (NOW - HOUR, 0, True),
        (NOW - HOUR + US, 1, True),
        (NOW - US, 1, True),
        (NOW, 0, False),
        (NOW + US, 0, False),
    ],
)
def test_windows_are_open_at_both_ends(events_of, features_of, at, seen, before):
    got = asked(events_of, features_of, at=at)
    assert got["card_count_1h"] == seen
    assert got["card_sum_amount_1h"] == (8.0 if seen else None)
    assert got["card_with_count_1h"] == seen + 1
    assert got["card_with_sum_amount_1h"] == 8.0 * seen + 1.0
    assert got["card_hour_concentration_1h"] == (pytest.approx(1.0) if seen else None)
    assert got["card_seconds_since_last"] == got["card_seconds_since_first"]
    assert got["card_seconds_since_last"] == ((NOW - at).total_seconds() if before else None)
    assert got["card_shop_first_time"] is not before


@pytest.mark.parametrize(
    ("known_at", "in_window", "known"),
    [
        (NOW - HOUR - US, 0, True),
        (NOW - HOUR, 0, True),
        (NOW - HOUR + US, 1, True),
        (NOW, 1, True),
        (NOW + US, 0, False),
    ],
)
def test_label_windows_are_closed_at_the_event(events_of, features_of, known_at, in_window, known):
    got = asked(events_of, features_of, at=NOW - 3 * HOUR, known_at=known_at)
    assert got["card_known_count_1h"] == got["card_fraud_count_1h"] == in_window
    assert got["card_fraud_rate_1h"] == (1.0 if in_window else None)
    assert got["card_seconds_since_last_known_fraud"] == (10_800.0 if known else None)


def test_a_label_that_arrives_with_its_event_is_not_seen_at_that_instant(events_of, features_of):
    assert asked(events_of, features_of, at=NOW, known_at=NOW)["card_known_count_1h"] == 0
    assert asked(events_of, features_of, at=NOW - US, known_at=NOW - US)["card_known_count_1h"] == 1


def test_null_entities_have_no_history(events_of, features_of):
    got = asked(events_of, features_of, at=NOW - US, known_at=NOW, card=None)
    assert (got["card_count_1h"], got["card_with_count_1h"], got["card_known_count_1h"]) == (0, 1, 0)
    assert got["card_with_sum_amount_1h"] == 1.0
    assert got["card_seconds_since_last"] is None
    assert got["card_shop_first_time"] is None


RUNS = """
[[features.recency]]
by = "card"
aggregates = ["seconds_since_fraud_run_began"]
run_gap = "10s"
"""


@pytest.mark.parametrize(
    ("happened", "arrived", "began"),
    [
        ([0, 10, 20], [30, 31, 32], 0),
        ([0, 11, 20], [30, 31, 32], 11),
        ([0, 10, 21], [30, 31, 32], 21),
        ([0, 10, 20], [32, 30, 31], 0),
        ([0, 10, 20], [30, 99, 31], 20),
        ([0, 10, 20], [99, 31, 30], 10),
        ([0, 11, 21], [32, 31, 30], 11),
        ([0, 10, 20], [99, 99, 99], None),
    ],
)
def test_runs_of_known_frauds_in_any_order_of_arrival(events_of, features_of, happened, arrived, began):
    start = NOW - timedelta(seconds=60)
    at = [start + timedelta(seconds=second) for second in [*happened, 60]]
    known = [start + timedelta(seconds=second) for second in arrived]
    events = events_of(
        RUNS, id=range(4), at=at, eur=[1.0] * 4, card_id=["a"] * 4, fraud=[1, 1, 1, None], known_at=[*known, None]
    )
    features = features_of(RUNS)
    got = build(events, features, timezone="UTC")["card_seconds_since_fraud_run_began"][3]
    assert got == (None if began is None else 60.0 - began)
    assert got == recompute(events.frame, 3, features, timezone="UTC")["card_seconds_since_fraud_run_began"]
