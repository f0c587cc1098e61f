"""Descriptions of features and of how their values lie."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.features import build
from fraudctl.features.meaning.describe import QUANTILES, describe, distribution

TEXT = """
[[features.window]]
by = "card"
windows = ["1h"]
aggregates = ["count", "mean(amount)"]
[features]
raw = ["status", "online"]
categorical = ["status"]
"""


def test_words_without_a_table(features_of):
    found = describe(features_of(TEXT))
    assert found.n_events is None
    assert [item.name for item in found.features] == ["status", "online", "card_count_1h", "card_mean_amount_1h"]
    assert all(item.distribution is None and item.words and item.interval and item.nulls for item in found.features)


def test_distributions_of_a_table(features_of, events_of):
    at = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=i) for i in range(4)]
    events = events_of(
        TEXT, id=range(4), at=at, eur=[1.0, 2.0, 6.0, 9.0], card_id=["a"] * 4, status=["x", "y", None, "x"],
        online=[True, None, False, True],
    )  # fmt: skip
    found = describe(
        features_of(TEXT), build(events, features_of(TEXT), timezone="UTC").get_column, n_events=events.frame.height
    )
    by_name = {item.name: item.distribution for item in found.features}
    assert found.n_events == 4
    assert (by_name["status"].missing_rate, by_name["status"].n_distinct, by_name["status"].mean) == (0.25, 2, None)
    assert by_name["online"].mean == pytest.approx(2 / 3)
    # Counts are 0, 1, 2, 3: mean 1.5, variance (2.25 + 0.25 + 0.25 + 2.25) / 3 = 5 / 3.
    assert by_name["card_count_1h"].mean == 1.5
    assert by_name["card_count_1h"].std == pytest.approx((5 / 3) ** 0.5)
    # Means are null, 1, 1.5, 3.
    assert by_name["card_mean_amount_1h"].missing_rate == 0.25
    assert (by_name["card_mean_amount_1h"].low, by_name["card_mean_amount_1h"].high) == (1.0, 3.0)
    assert json.loads(json.dumps(found.to_dict()))["schema_version"] == 1


@given(st.lists(st.one_of(st.none(), st.integers(-1000, 1000).map(float)), max_size=40))
def test_distribution_equals_numpy(values):
    found = distribution(pl.Series(values, dtype=pl.Float64))
    present = np.array([value for value in values if value is not None])
    assert found.missing_rate == ((len(values) - len(present)) / len(values) if values else 0.0)
    assert found.n_distinct == len(set(present.tolist()))
    if len(present) == 0:
        assert (found.mean, found.std, found.low, found.high, found.quantiles) == (None, None, None, None, ())
        return
    assert found.mean == pytest.approx(present.mean())
    assert found.quantiles == tuple(np.quantile(present, QUANTILES, method="inverted_cdf").tolist())
    assert found.std == (pytest.approx(present.std(ddof=1)) if len(present) > 1 else None)
