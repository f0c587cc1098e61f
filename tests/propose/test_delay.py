"""The label delay: the 95th percentile in whole days, and the frauds' own where they are much slower."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import DataError, UsageError
from fraudctl.propose.delay import given_delay, observed_delay

START = datetime(2024, 1, 1, tzinfo=UTC)


def observed(days: list[float | None], label: list[int | None] | None = None) -> str:
    event_time = pl.Series([START] * len(days), dtype=pl.Datetime("us", "UTC"))
    arrived = [None if day is None else START + timedelta(days=day) for day in days]
    label_time = pl.Series("known_at", arrived, dtype=pl.Datetime("us", "UTC"))
    outcome = pl.Series(label if label is not None else [0] * len(days), dtype=pl.Int8)
    return str(observed_delay(event_time, label_time, outcome).duration)


def test_by_hand() -> None:
    # 0, 1, ..., 100 days: the 95th percentile is 95 days exactly
    assert observed([float(day) for day in range(101)]) == "95d"
    # ten times 2.4 days: rounded up to 3
    assert observed([2.4] * 10) == "3d"


def test_at_least_a_day() -> None:
    assert observed([0.01] * 10) == "1d"
    assert observed([0.0] * 10) == "1d"


@given(st.lists(st.floats(0, 400), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_most_labels_are_in_by_then_and_a_day_less_would_lose_some(days: list[float]) -> None:
    chosen = int(observed(days)[:-1])
    assert sum(day <= chosen for day in days) >= 0.95 * (len(days) - 1)
    # one observation above the percentile may stand between: fewer than all but one in twenty are in a day earlier
    assert chosen == 1 or sum(day < chosen - 1 for day in days) <= 0.95 * len(days) + 1


def test_slow_frauds_decide() -> None:
    days = [2.0] * 950 + [30.0] * 50
    label = [0] * 950 + [1] * 50
    assert observed([2.0] * 960 + [30.0] * 40, [0] * 960 + [1] * 40) == "30d"
    assert observed(days, label) == "30d"
    assert observed([2.0] * 1000, label) == "2d"


def test_rows_without_outcome_or_time_are_left_out() -> None:
    assert observed([3.0, None, 300.0], [0, 0, None]) == "3d"


def test_trouble_is_explained() -> None:
    with pytest.raises(DataError, match="1 labels arrived before"):
        observed([3.0, -1.0])
    with pytest.raises(DataError, match="no labelled event"):
        observed([None, None])


def test_given_delay() -> None:
    assert given_delay("36h").duration.seconds == 36 * 3600
    with pytest.raises(UsageError, match="--label-delay: '5 days' is not a duration"):
        given_delay("5 days")
