"""Replaying events one by one gives what the batch engine gives, whatever the order in which messages come."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import polars as pl
import pytest
from features.test_against_reference import EVERYTHING, ZONE, tables
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraudctl.errors import BundleError
from fraudctl.features import build
from fraudctl.features.online import OnlineFeatures

DELAY = 2 * 86_400_000_000
BASE = datetime(2024, 3, 30, 22, 0, tzinfo=UTC)


def messages_of(events, sources=None):
    """Give (µs, kind, content) of all that happens, in order: outcomes before events before rows of other tables."""
    frame = events.frame.with_columns(pl.col("event_time", "label_time").dt.epoch("us"))
    rows = list(frame.iter_rows(named=True))
    out = [(row["event_time"], 1, row) for row in rows]
    out += [(row["label_time"], 0, row) for row in rows if row["label"] is not None]
    for name, source in (sources or {}).items():
        times = source["usable_time"].dt.epoch("us").to_list()
        out += [(t, 2, (name, row)) for t, row in zip(times, source.iter_rows(named=True), strict=True)]
    return sorted(out, key=lambda item: item[:2])


def send(state, messages):
    """Send messages; give the answers by event id."""
    out = {}
    for _, kind, content in messages:
        if kind == 1:
            out[content["event_id"]] = state.observe(content)
        elif kind == 0:
            state.label(content["event_id"], content["label"], content["label_time"])
        else:
            state.source(*content)
    return out


def new_state(features, zone=ZONE):
    return OnlineFeatures(features, timezone=zone, label_delay_us=DELAY)


def assert_same(table, features, answers):
    for event_id, answer in answers.items():
        row = table.row(by_predicate=pl.col("event_id") == event_id, named=True)
        for at, feature in enumerate(features.features):
            value, got = row[feature.name], answer.numbers[at]
            note = feature.name, event_id, value, got
            if feature.dtype == "category":
                assert answer.categories[feature.name] == value, note
            elif value is None or math.isnan(got):
                assert (value is None) == math.isnan(got), note
            elif feature.dtype == "float":
                assert math.isclose(got, value, rel_tol=1e-9, abs_tol=1e-12 if "hour" in feature.name else 0), note
            else:
                assert got == float(value), note


def assert_equal_bits(first, second):
    assert first.keys() == second.keys()
    for key, answer in first.items():
        assert answer.numbers.tobytes() == second[key].numbers.tobytes()
        assert answer.categories == second[key].categories


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(columns=tables(24))
def test_replay_equals_batch(columns, events_of, features_of):
    features, events = features_of(EVERYTHING), events_of(EVERYTHING, **columns)
    answers = send(new_state(features), messages_of(events))
    assert_same(build(events, features, timezone=ZONE), features, answers)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(columns=tables(24), data=st.data())
def test_a_snapshot_and_a_history_go_on_as_if_nothing_had_been(columns, data, events_of, features_of):
    features, events = features_of(EVERYTHING), events_of(EVERYTHING, **columns)
    messages = messages_of(events)
    cut = data.draw(st.integers(1, len(messages)))
    state = new_state(features)
    before = send(state, messages[:cut])
    again = OnlineFeatures.from_bytes(state.to_bytes(), features, timezone=ZONE, label_delay_us=DELAY)
    assert again.to_bytes() == state.to_bytes()
    rest = send(state, messages[cut:])
    assert_equal_bits(rest, send(again, messages[cut:]))
    assert_same(build(events, features, timezone=ZONE), features, before | rest)
    n = data.draw(st.integers(1, events.frame.height))
    first, later = events.frame.head(n), events.frame.tail(-n)["event_id"].to_list()
    history = type(events)(first, first["event_time"][-1], 0, "")
    bulk = OnlineFeatures.from_history(history, features, timezone=ZONE, label_delay_us=DELAY)
    until = first["event_time"].dt.epoch("us")[-1]
    left = [
        (time, kind, row)
        for time, kind, row in messages
        if (kind == 1 and row["event_id"] in later) or (kind == 0 and time > until)
    ]
    answers = send(bulk, left)
    assert_equal_bits({key: (before | rest)[key] for key in answers}, answers)


def test_a_damaged_or_foreign_state_is_refused(features_of):
    features = features_of('[[features.recency]]\nby = "card"\n')
    other = features_of('[[features.recency]]\nby = "shop"\n')
    data = new_state(features).to_bytes()
    for broken in (data[:-1], data[:-8] + b"x" * 8, b"", b"other" + data, data.replace(b"sha256", b"sha512")):
        with pytest.raises(BundleError):
            OnlineFeatures.from_bytes(broken, features, timezone=ZONE, label_delay_us=DELAY)
    with pytest.raises(BundleError, match="other features"):
        OnlineFeatures.from_bytes(data, other, timezone=ZONE, label_delay_us=DELAY)
