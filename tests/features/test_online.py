"""Replaying events one by one gives what the batch engine gives."""

from __future__ import annotations

import numpy as np
import polars as pl
from features.test_against_reference import EVERYTHING, ZONE, tables
from hypothesis import given, settings

from fraudctl.features import build
from fraudctl.features.online import OnlineFeatures


def replay(events, features):
    """Send events and labels in the order of their times; give one row of numbers and categories per event."""
    state = OnlineFeatures(features, timezone=ZONE, label_delay_us=2 * 86_400_000_000)
    frame = events.frame.with_columns(pl.col("event_time", "label_time").dt.epoch("us"))
    messages = [(row["event_time"], 1, i, row) for i, row in enumerate(frame.iter_rows(named=True))]
    messages += [(row["label_time"], 2, i, row) for _, _, i, row in messages if row["label"] is not None]
    rows = []
    for _, kind, _, row in sorted(messages, key=lambda item: item[:3]):
        if kind == 1:
            rows.append(state.observe(row))
        else:
            state.label(row["event_id"], row["label"], row["label_time"])
    return state, rows


def assert_same(table, features, rows):
    for i, row in enumerate(rows):
        for at, feature in enumerate(features.features):
            value = table[feature.name][i]
            if feature.dtype == "category":
                assert row.categories[feature.name] == value, (feature.name, i)
            elif value is None:
                assert np.isnan(row.numbers[at]), (feature.name, i)
            else:
                assert np.isclose(row.numbers[at], float(value), rtol=1e-9, atol=0), (feature.name, i)


@settings(max_examples=10, deadline=None)
@given(columns=tables())
def test_replay_equals_batch(columns, events_of, features_of):
    features, events = features_of(EVERYTHING), events_of(EVERYTHING, **columns)
    _, rows = replay(events, features)
    assert_same(build(events, features, timezone=ZONE), features, rows)
