"""Rows of other tables as messages: windows and lookups as in the batch engine, whenever the message comes."""

from __future__ import annotations

import polars as pl
from features.batch.test_sources import ZONE, asking, events_frame, features_with, normalised, rows, source_frame
from features.online.test_online import DELAY, assert_equal_bits, assert_same, messages_of, new_state, send
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraudctl.features import build
from fraudctl.features.online import from_bytes, from_history, to_bytes


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(found=rows, events=asking, data=st.data())
def test_sources_one_by_one_equal_batch(found, events, data, events_of, project_of):
    features, events = features_with(project_of), events_frame(events_of, events)
    sources = {"logins": normalised(source_frame(found))}
    table = build(events, features, timezone=ZONE, sources=sources)
    messages = messages_of(events, sources)
    state = new_state(features)
    answers = send(state, messages)
    assert_same(table, features, answers)
    early = data.draw(st.permutations([item for item in messages if item[1] == 2]))
    assert_same(table, features, send(new_state(features), [*early, *(item for item in messages if item[1] == 1)]))
    cut = data.draw(st.integers(0, len(messages)))
    half = new_state(features)
    before = send(half, messages[:cut])
    saved = to_bytes(half)
    again = from_bytes(saved, features, timezone=ZONE, label_delay_us=DELAY)
    assert to_bytes(again) == saved  # rows that nobody asked for are saved as they were
    assert_equal_bits(answers, before | send(again, messages[cut:]))


@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(found=rows, events=asking, data=st.data())
def test_a_history_with_sources_goes_on_as_a_replay(found, events, data, events_of, project_of):
    features, events = features_with(project_of), events_frame(events_of, events)
    sources = {"logins": normalised(source_frame(found))}
    table = build(events, features, timezone=ZONE, sources=sources)
    n = data.draw(st.integers(1, events.frame.height))
    first, later = events.frame.head(n), events.frame.tail(-n)["event_id"].to_list()
    until = first["event_time"][-1]
    history = type(events)(first, until, 0)
    known = {name: source.filter(pl.col("usable_time") < until) for name, source in sources.items()}
    rest = {name: source.filter(pl.col("usable_time") >= until) for name, source in sources.items()}
    for given_rows, sent in ((sources, {}), (known, rest)):
        state = from_history(history, features, timezone=ZONE, label_delay_us=DELAY, sources=given_rows)
        messages = [item for item in messages_of(events, sent) if item[1] == 2 or item[2].get("event_id") in later]
        assert_same(table, features, send(state, messages))


LOOKED_UP = """
[[features.lookup]]
source = "logins"
by = "card"
columns = ["city"]
max_age = "1m"
"""


def test_rows_that_no_look_up_can_see_any_more_go(project_of):
    state, second = new_state(features_with(project_of, LOOKED_UP)), 1_000_000
    for number in range(2000):
        at = number * second
        state.source(
            "logins", {"event_time": at, "card": f"c{number}", "shop": 1, "city": "x", "score": 1.0, "ok": True}
        )
        event = {"event_id": number, "event_time": at + 1, "amount": 1.0, "shop": 1}
        youngest, oldest = (state.peek(event | {"card": f"c{number - age}"}).categories for age in (1, 60))
        assert list(youngest.values()) == (["x"] if number else [None])
        assert list(oldest.values()) == [None]
        state.observe(event | {"card": f"c{number}"})
        assert len(state.others["logins"].latest["card"]) < 200
