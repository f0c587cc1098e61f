"""Replaying events one by one gives what the batch engine gives, whatever the order in which messages come."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from features.proof.test_against_reference import EVERYTHING, ZONE, tables
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraudctl.errors import BundleError, DataError
from fraudctl.features import build
from fraudctl.features.online import OnlineFeatures, from_bytes, from_history, to_bytes
from fraudctl.features.online import history as taking
from fraudctl.features.proof.reference import recompute

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
    again = from_bytes(to_bytes(state), features, timezone=ZONE, label_delay_us=DELAY)
    assert to_bytes(again) == to_bytes(state)
    rest = send(state, messages[cut:])
    assert_equal_bits(rest, send(again, messages[cut:]))
    assert_same(build(events, features, timezone=ZONE), features, before | rest)
    n = data.draw(st.integers(1, events.frame.height))
    first, later = events.frame.head(n), events.frame.tail(-n)["event_id"].to_list()
    history = type(events)(first, first["event_time"][-1], 0)
    bulk = from_history(history, features, timezone=ZONE, label_delay_us=DELAY)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taking, "_TOLD", data.draw(st.integers(1, 8)))
        often = from_history(
            history, features, timezone=ZONE, label_delay_us=DELAY, progress=lambda *said: told.append(said)
        )
    assert to_bytes(often) == to_bytes(bulk)
    assert {(what, 1, 4) for what in ("columns", "0 columns", "0 ids of card", "0 ids of shop")} < set(told)
    until = first["event_time"].dt.epoch("us")[-1]
    left = [
        (time, kind, row) for time, kind, row in messages if row["event_id"] in later or (kind == 0 and time > until)
    ]
    answers = send(bulk, left)
    assert_equal_bits({key: (before | rest)[key] for key in answers}, answers)


def test_a_damaged_or_foreign_state_is_refused(features_of):
    features = features_of('[[features.recency]]\nby = "card"\n')
    other = features_of('[[features.recency]]\nby = "shop"\n')
    data = to_bytes(new_state(features))
    for broken in (data[:-1], data[:-8] + b"x" * 8, b"", b"other" + data, data.replace(b"sha256", b"sha512")):
        with pytest.raises(BundleError):
            from_bytes(broken, features, timezone=ZONE, label_delay_us=DELAY)
    with pytest.raises(BundleError, match="another version"):  # that version could lose outcomes
        from_bytes(data.replace(b"state 4", b"state 3", 1), features, timezone=ZONE, label_delay_us=DELAY)
    with pytest.raises(BundleError, match="other features"):
        from_bytes(data, other, timezone=ZONE, label_delay_us=DELAY)


# ---------------------------------------------------------------- messages out of order

LATE = """
[[features.window]]
by = "card"
windows = ["1h", "1d"]
aggregates = ["count", "sum(amount)", "mean(amount)", "std(amount)", "min(amount)", "max(amount)", "nunique(shop)",
  "median(amount)", "mad(amount)"]
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "max(amount)", "nunique(shop)", "median(amount)"]
include_current = true
name = "with"
[[features.hours]]
by = "card"
windows = ["1d"]
aggregates = ["hour_distance", "hour_concentration"]
[[features.labels]]
by = "card"
windows = ["1d"]
aggregates = ["known_count", "fraud_count", "fraud_rate", "seconds_since_first_fraud", "seconds_since_last_fraud"]
"""
seconds = st.one_of(st.integers(0, 20), st.integers(0, 80_000))  # all within the longest window, so that all is kept


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    rows=st.lists(
        st.tuples(
            seconds, st.sampled_from([None, 1.5, -2.0, 1e9, 1e-9]), st.sampled_from(["a", "b"]), st.integers(1, 3)
        ),
        min_size=2, max_size=20,
    ),
    data=st.data(),
)  # fmt: skip
def test_a_late_event_is_answered_as_of_its_time_and_seen_by_those_after_it(rows, data, events_of, features_of):
    at = [BASE + timedelta(seconds=row[0]) for row in rows]
    eur = [row[1] for row in rows[:-1]] + [1.0]
    columns = {
        "id": range(len(rows)), "at": at, "eur": eur, "card_id": [row[2] for row in rows],
        "shop_id": [row[3] for row in rows], "fraud": [i % 2 for i in range(len(rows))],
        "known_at": [t + timedelta(seconds=row[3]) for t, row in zip(at, rows, strict=True)],
    }  # fmt: skip
    features, events = features_of(LATE), events_of(LATE, **columns)
    table = build(events, features, timezone=ZONE)
    in_order = [item for item in messages_of(events) if item[1] == 1]
    late = data.draw(st.integers(0, len(in_order) - 2))
    others = [item for i, item in enumerate(in_order) if i != late]
    place = data.draw(st.integers(late, len(others)))
    labels = [item for item in messages_of(events) if item[1] == 0]
    state = new_state(features)
    send(state, labels)
    send(state, others[:place])
    answer = send(state, [in_order[late]])
    assert_same(table, features, answer)
    newest = max((item[0] for item in others[:place]), default=0)
    assert state.counters["late"] == (in_order[late][0] < newest and state.now > in_order[late][0])
    assert_same(table, features, send(state, others[place:]))


def test_duplicates_are_answered_and_not_counted_twice(features_of):
    features = features_of(
        '[[features.window]]\nby = "card"\nwindows = ["1h"]\naggregates = ["count", "sum(amount)"]\n'
    )
    state = new_state(features)
    event = {"event_id": 1, "event_time": 10_000_000, "amount": 5.0, "card": "a"}
    state.observe(event)
    assert state.peek(event | {"event_time": 11_000_000}).numbers.tolist() == [1.0, 5.0]
    assert state.observe(event).numbers[0] == 0.0
    assert state.observe(event | {"event_id": 2, "event_time": 12_000_000}).numbers.tolist() == [1.0, 5.0]
    assert state.counters == {"late": 0, "duplicates": 1, "dropped": 0}
    assert state.n_events == 2


LABELS = '[[features.labels]]\nby = "card"\nwindows = ["1d"]\naggregates = ["known_count", "fraud_count"]\n'
SECOND = 1_000_000


def labelled(features, *messages):
    state = new_state(features)
    for message in messages:
        state.label(*message) if isinstance(message, tuple) else state.observe(message)
    return state


def test_a_label_counts_from_its_time_whenever_its_message_comes(features_of):
    features = features_of(LABELS)
    first = {"event_id": 1, "event_time": SECOND, "card": "a"}
    for messages in (
        [(1, 1, 5 * SECOND), first],
        [first, (1, 1, 5 * SECOND)],
        [first, first | {"event_id": 2, "event_time": 9 * SECOND}, (1, 1, 5 * SECOND)],
        [first, (1, 0, 4 * SECOND), (1, 1, 5 * SECOND)],
        [first, (1, None, 4 * SECOND), (1, 1, 5 * SECOND)],
    ):
        state = labelled(features, *messages)
        asked = {"event_id": 9, "card": "a"}
        at = [5 * SECOND - 1, 5 * SECOND] if state.now < 0 or state.now < 5 * SECOND else [9 * SECOND]
        answers = [state.peek(asked | {"event_time": t}).numbers.tolist() for t in at]
        assert answers == [[0, 0], [1, 1]][-len(at) :], messages
        assert state.peek(asked | {"event_time": 86_405 * SECOND - 1}).numbers.tolist() == [1, 1]
        assert state.peek(asked | {"event_time": 86_405 * SECOND}).numbers.tolist() == [0, 0]


def test_labels_that_cannot_count_are_counted_or_refused(features_of):
    features = features_of(LABELS)
    event = {"event_id": 1, "event_time": 10 * SECOND, "card": "a"}
    state = labelled(features, event, (1, 1, 11 * SECOND))
    state.peek(event | {"event_time": 12 * SECOND})
    state.label(1, 0, 13 * SECOND)
    assert state.counters["duplicates"] == 1
    state.label("unknown", 1, 13 * SECOND)
    for i in range(16):  # what is no longer needed goes at every 16th instant
        state.peek(event | {"event_time": 40 * 86_400 * SECOND - 16 + i})
    assert state.counters["dropped"] == 1
    state.observe(event | {"event_id": 2, "event_time": 40 * 86_400 * SECOND})
    for label, when, text in ((2, 40 * 86_400 * SECOND, "neither"), (1, 5, "before its event")):
        with pytest.raises(DataError, match=text):
            state.label(2, label, when)


@pytest.mark.parametrize(
    "odd",
    [
        {"amount": "5"}, {"card": 5}, {"event_time": None}, {"event_time": "now"}, {"event_time": 10**19},
        {"event_id": None}, {"event_id": [1]},
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused_without_being_named(odd, features_of):
    features = features_of('[[features.window]]\nby = "card"\nwindows = ["1h"]\naggregates = ["sum(amount)"]\n')
    state = new_state(features)
    with pytest.raises(DataError, match=f"(column '{next(iter(odd))}')|event_time|event_id"):
        state.observe({"event_id": 1, "event_time": 5, "amount": 1.0, "card": "a"} | odd)
    assert state.n_events == 0


# ---------------------------------------------------------------- memory

BOUNDED = """
[[features.window]]
by = ["card", "shop"]
windows = ["1h", "1d"]
aggregates = ["count", "sum(amount)", "std(amount)", "max(amount)", "nunique(shop)", "median(amount)"]
[[features.labels]]
by = "shop"
windows = ["1d"]
"""


def test_the_state_stays_as_small_as_predicted_and_forgets_idle_entities(features_of):
    features = features_of(BOUNDED)
    state = OnlineFeatures(features, timezone=ZONE, label_delay_us=3_600 * SECOND, wait_us=86_400 * SECOND)
    random = np.random.default_rng(7)
    per_day, sizes = 2_000, []
    for i in range(8 * per_day):
        t = i * 86_400 * SECOND // per_day
        card = f"c{t // (86_400 * SECOND)}-{random.integers(200)}"
        event = {"event_id": i, "event_time": t, "amount": float(random.integers(1, 9999)) / 100, "card": card}
        state.observe(event | {"shop": int(random.integers(20))})
        state.label(i, int(random.random() < 0.1), t + 3_600 * SECOND)
        if i % per_day == per_day - 1:
            sizes.append(state.nbytes)
    assert max(sizes[3:]) <= 1.25 * sizes[2]
    assert state.n_entities <= 3 * 200 + 20
    predicted = state.predicted_bytes(per_day, {"card": 3 * 200, "shop": 20})
    assert predicted / 1.5 < sizes[-1] < predicted


CHURNING = """
[[features.window]]
by = ["card", "shop"]
windows = ["1m"]
aggregates = ["count", "sum(amount)", "nunique(shop)"]
[[features.hours]]
by = ["card", "shop"]
windows = ["1m"]
[[features.labels]]
by = ["card", "shop"]
windows = ["1m"]
aggregates = ["known_count", "fraud_count"]
"""


@pytest.mark.parametrize("per_second", [1, 7, 100])
def test_what_is_idle_goes_however_many_messages_share_an_instant(per_second, features_of):
    features = features_of(CHURNING)
    state = OnlineFeatures(features, timezone=ZONE, label_delay_us=5 * SECOND, wait_us=60 * SECOND)
    sizes, number = [], 0
    for second in range(400 if per_second < 100 else 250):
        for _ in range(per_second):
            number += 1
            event = {"event_id": number, "event_time": second * SECOND, "amount": 1.0, "card": f"c{number}"}
            state.observe(event | {"shop": number, "status": "ok"})
            state.label(number, 0, (second + 5) * SECOND)
        sizes.append((state.n_entities, len(state.ledger), state.nbytes))
    later = np.array(sizes[-50:]).max(axis=0)
    assert (later <= 1.5 * np.array(sizes[130:180]).max(axis=0)).all()
    assert later[1] <= 75 * per_second + 64
    assert later[0] <= 2 * 75 * per_second + 128


# ---------------------------------------------------------------- any definitions

spans = st.lists(st.sampled_from(["5s", "10s", "1h", "1d", "7d", "30d", "400d"]), min_size=1, max_size=3, unique=True)
entities = st.sampled_from([["card"], ["shop"], ["card", "shop"]])
aggregates = st.lists(
    st.sampled_from(
        ["count", "sum(amount)", "mean(items)", "std(amount)", "min(amount)", "max(ratio)", "nunique(shop)",
         "nunique(status)", "nunique(amount)", "nunique(online)", "median(amount)", "mad(amount)", "sum(online)"]
    ),
    min_size=1, max_size=5, unique=True,
)  # fmt: skip
conditions = st.sampled_from([None, "online", "amount > 0", "status = 'ok' and items is not null", "ratio > 1"])


@st.composite
def definitions(draw):
    parts = ['[features]\nraw = ["amount", "status"]\ncategorical = ["status"]\n[features.columns]']
    parts.append(f'ratio = "amount / card_{draw(st.sampled_from(["mean", "max"]))}_amount_7d"')
    parts.append('[[features.window]]\nby = "card"\nwindows = ["7d"]\naggregates = ["mean(amount)", "max(amount)"]')
    for i in range(draw(st.integers(0, 3))):
        where, current = draw(conditions), draw(st.booleans())
        parts.append(f'[[features.window]]\nby = {draw(entities)}\nwindows = {draw(spans)}\nname = "w{i}"')
        parts.append(f"aggregates = {draw(aggregates)}\ninclude_current = {str(current).lower()}")
        parts += [] if where is None else [f'where = "{where}"']
    if draw(st.booleans()):
        parts.append(f"[[features.labels]]\nby = {draw(entities)}\nwindows = {draw(spans)}")
        parts.append('aggregates = ["known_count", "smoothed_rate", "seconds_since_first_fraud"]')
    if draw(st.booleans()):
        parts.append(f'[[features.recency]]\nby = {draw(entities)}\nrun_gap = "{draw(spans)[0]}"')
        parts.append('aggregates = ["seconds_since_last", "seconds_since_first", "seconds_since_fraud_run_began"]')
    if draw(st.booleans()):
        parts.append(
            f"[[features.links]]\nof = {draw(st.permutations(['card', 'shop']))}\nhub = {draw(st.integers(2, 4))}"
        )
        parts.append('aggregates = ["component_size", "component_fraud_rate", "neighbours", "neighbour_frauds"]')
    if draw(st.booleans()):
        parts.append(f"[[features.hours]]\nby = {draw(entities)}\nwindows = {draw(spans)}")
    if draw(st.booleans()):
        parts.append(f"[[features.habits]]\nby = {draw(entities)}\nwindows = {draw(spans)}")
        parts.append('aggregates = ["last(amount)", "previous(ratio)", "changed(shop)", "same(status)", "rank(items)"]')
        parts.append(f"[[features.spacing]]\nby = {draw(entities)}\nlast = {draw(st.integers(1, 4))}")
        parts.append(f'[[features.decay]]\nby = {draw(entities)}\nhalf_lives = {draw(spans)}\naggregates = ["count"]')
    return "\n".join(parts)


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(text=definitions(), columns=tables(16), data=st.data())
def test_any_definitions_replayed_equal_batch_and_reference(text, columns, data, events_of, features_of):
    features, events = features_of(text), events_of(text, **columns)
    messages = messages_of(events)
    cut = data.draw(st.integers(0, len(messages)))
    state = new_state(features)
    before = send(state, messages[:cut])
    again = from_bytes(to_bytes(state), features, timezone=ZONE, label_delay_us=DELAY)
    rest = send(state, messages[cut:])
    assert_equal_bits(rest, send(again, messages[cut:]))
    assert_same(build(events, features, timezone=ZONE), features, before | rest)
    row = data.draw(st.integers(0, events.frame.height - 1))
    expected = {**recompute(events.frame, row, features, timezone=ZONE), "event_id": events.frame["event_id"][row]}
    answer = {expected["event_id"]: (before | rest)[expected["event_id"]]}
    assert_same(pl.DataFrame({name: [value] for name, value in expected.items()}), features, answer)


def test_entities_that_meet_no_condition_are_forgotten_too(features_of):
    text = '[[features.window]]\nby = "card"\nwindows = ["1h"]\naggregates = ["count"]\nname = "x"\n'
    text += 'where = "amount > 10"\n'
    state = OnlineFeatures(features_of(text), timezone=ZONE, label_delay_us=SECOND)
    for i in range(3_000):
        state.observe({"event_id": i, "event_time": i * 60 * SECOND, "amount": 1.0, "card": f"c{i}"})
    assert state.n_entities < 200


def test_an_outcome_after_the_wait_is_dropped_whatever_became_of_the_entity(features_of):
    state = OnlineFeatures(features_of(LABELS), timezone=ZONE, label_delay_us=SECOND, wait_us=86_400 * SECOND)
    state.observe({"event_id": 1, "event_time": SECOND, "card": "a"})
    for i in range(16):
        state.observe({"event_id": 2 + i, "event_time": (86_400 * 4 + i) * SECOND, "card": "b"})
    state.label(1, 1, 86_400 * 5 * SECOND)
    assert list(state.early) == [1]
    assert state.peek({"event_id": 99, "event_time": 86_400 * 5 * SECOND, "card": "a"}).numbers.tolist() == [0.0, 0.0]


def test_the_first_event_of_two_entities_counts_itself_in_each_of_their_windows(features_of):
    part = '[[features.window]]\nby = "{}"\nwindows = ["1h"]\naggregates = ["sum({})"]\ninclude_current = true\n'
    features = features_of(part.format("card", "amount") + part.format("shop", "items"))
    event = {"event_id": 1, "event_time": SECOND, "amount": 2.5, "items": 7, "card": "a", "shop": 1}
    assert new_state(features).observe(event).numbers.tolist() == [2.5, 7.0]
