"""Random tables of labels, late, doubled, reversed, orphaned and at one instant: every engine counts what was known."""

from __future__ import annotations

import functools
import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fraudctl.data import labels
from fraudctl.data.entries import load_entries
from fraudctl.data.tables import Events, normalise
from fraudctl.features import build, define
from fraudctl.features.batch.engine import Dropped
from fraudctl.features.batch.increment import Past, engine_after, extend, kept, remembered
from fraudctl.features.batch.spilled import Spilled, SpillLimits
from fraudctl.features.online import OnlineFeatures, from_bytes, from_history, to_bytes
from fraudctl.features.proof.reference import recompute
from fraudctl.project import parse_project

HOUR = 3600
DELAY = 20 * HOUR
BASE = datetime(2024, 3, 30, 22, 0, tzinfo=UTC)
TEXT = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
label_delay = "20h"
[entities]
card = "card_id"
shop = "shop_id"
[labels]
legit_after = "{after}"
declined = {{ column = "status", values = ["declined"] }}
[labels.chargebacks]
events = "chargebacks.parquet"
event_id = "event"
time = "known"
label = 1
[labels.disputes]
events = "disputes.parquet"
event_id = "event"
time = "decided"
label = {{ column = "outcome", values = {{ lost = 1, won = 0, open = "unknown" }} }}
[labels.verdicts]
events = "verdicts.csv"
event_id = "event"
time = "closed"
label = {{ column = "verdict", values = {{ confirmed = 1, cleared = 0, undecided = "unknown" }} }}
[labels.verdicts.times]
closed = {{ format = "%d.%m.%Y %H:%M" }}
[labels.verdicts.csv]
separator = ";"
[labels.reports]
events = "reports.jsonl"
event_id = "event"
time = "received"
label = {{ column = "status" }}
[labels.reports.times]
received = {{ unit = "s" }}
[labels.reversals]
events = "reversals.parquet"
event_id = "event"
time = "known"
label = 0
[[features.labels]]
by = ["card", "shop"]
windows = ["1h", "1d"]
aggregates = ["known_count", "fraud_count", "fraud_rate", "smoothed_rate", "seconds_since_first_fraud",
  "seconds_since_last_fraud"]
[[features.recency]]
by = ["card", "shop"]
aggregates = ["seconds_since_last_known_fraud", "seconds_since_fraud_run_began"]
run_gap = "5h"
[[features.links]]
of = ["card", "shop"]
aggregates = ["component_fraud_rate", "neighbours", "neighbour_frauds"]
[[features.links]]
of = ["shop", "card"]
aggregates = ["component_fraud_rate", "neighbour_frauds"]
hub = 2
[[features.window]]
by = "card"
windows = ["2d"]
aggregates = ["mean(card_fraud_count_1d)"]
"""
SCHEMA = {
    "id": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
    "card_id": pl.String,
    "shop_id": pl.Int64,
    "status": pl.String,
}
SAYS = {
    "chargebacks": {1: "1"},
    "disputes": {1: "lost", 0: "won", None: "open"},
    "verdicts": {1: "confirmed", 0: "cleared", None: "undecided"},
    "reports": {1: "1", 0: "0", None: None},
    "reversals": {0: "0"},
}
"""Table -> what it can say, and how."""


@functools.cache
def features_of(after):
    return define(project_in(after, Path()), SCHEMA)


def project_in(after, folder):
    return parse_project(TEXT.format(after=after), path=folder / "fraudctl.toml")


@st.composite
def worlds(draw, most=14):
    n = draw(st.integers(1, most))
    of = lambda values: draw(st.lists(values, min_size=n, max_size=n))  # noqa: E731
    hours = st.one_of(st.integers(0, 60), st.sampled_from([0, 1, 19, 20, 21, 24]))
    rows = {
        "id": draw(st.permutations(range(n))),
        "at": [BASE + timedelta(hours=h) for h in of(hours)],
        "card_id": of(st.sampled_from(["a", "a", "b", None])),
        "shop_id": of(st.sampled_from([1, 1, 2, None])),
        "status": of(st.sampled_from(["ok", "ok", "declined", None])),
    }
    said = st.sampled_from([(name, label) for name, words in SAYS.items() for label in words])
    one = st.tuples(st.integers(-1, n), st.one_of(hours, st.integers(-30, 90)), said)
    found = draw(st.lists(one, max_size=2 * n))  # ids of no event and times before the event are among them
    tables = {name: [] for name in SAYS}
    for event, h, (name, label) in found:
        tables[name].append((event, BASE + timedelta(hours=h), label))
    return draw(st.sampled_from(["label_delay", "never"])), rows, tables


def stated(tables):
    """Return what all tables say: event, instant and label, without entries that say nothing."""
    return [entry for found in tables.values() for entry in found if entry[2] is not None]


def write_tables(tables, folder):
    """Write each table in a form of its own."""
    frames = {
        name: pl.DataFrame(
            [(event, time, SAYS[name][label]) for event, time, label in found],
            schema={"event": pl.Int64, "time": pl.Datetime("us", "UTC"), "says": pl.String}, orient="row",
        )
        for name, found in tables.items()
    }  # fmt: skip
    frames["chargebacks"].select("event", known="time").write_parquet(folder / "chargebacks.parquet")
    disputes = frames["disputes"].select(
        "event", decided=pl.col("time").dt.convert_time_zone("Asia/Kolkata"), outcome="says"
    )
    disputes.write_parquet(folder / "disputes.parquet")
    verdicts = frames["verdicts"].select("event", closed=pl.col("time").dt.to_string("%d.%m.%Y %H:%M"), verdict="says")
    verdicts.write_csv(folder / "verdicts.csv", separator=";")
    reports = frames["reports"].select(
        "event", received=pl.col("time").dt.epoch("s"), status=pl.col("says").cast(pl.Int8)
    )
    orphan = '{"event":-7,"received":0,"status":null}\n'  # a file needs a line to have columns
    (folder / "reports.jsonl").write_text(orphan + reports.write_ndjson())
    frames["reversals"].select("event", known="time").write_parquet(folder / "reversals.parquet")


def events_of(after, rows, tables):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tables(tables, folder)
        project = project_in(after, folder)
        entries = load_entries(project)
    assert entries.height == len(stated(tables))
    raw = pl.DataFrame(rows, schema=SCHEMA).lazy()
    return normalise(raw, project=project, files=["events"], columns=features_of(after).carried, entries=entries)


# ---------------------------------------------------------------- the double: from raw entries alone


def known_of(world, event, t):
    """Return (since when, label) of what was known of an event at t; None where nothing was."""
    after, rows, entries = world[0], world[1], stated(world[2])
    at = dict(zip(rows["id"], rows["at"], strict=True))[event]
    declined = dict(zip(rows["id"], rows["status"], strict=True))[event] == "declined"
    silent_from = at + timedelta(seconds=DELAY) if after == "label_delay" and not declined else None

    def label_at(moment):
        said = [(time, label) for one, time, label in entries if one == event and max(time, at) <= moment]
        if said:
            return max(said)[1]  # the latest; of two at one instant fraud
        return 0 if silent_from is not None and silent_from <= moment else None

    now = label_at(t)
    if now is None:
        return None
    instants = sorted({max(time, at) for one, time, _ in entries if one == event} | {silent_from} - {None})
    since = t
    for moment in reversed([moment for moment in instants if moment <= t]):
        if label_at(moment) != now:
            break
        since = moment
    return since, now


def expected(world, event):
    """Return some features of one event by the definition."""
    _, rows, _ = world
    times, out = dict(zip(rows["id"], rows["at"], strict=True)), {}
    t = times[event]
    earlier = [one for one in rows["id"] if times[one] < t]
    everyone = [found for one in earlier if (found := known_of(world, one, t))]
    for entity in ("card", "shop"):
        own = dict(zip(rows["id"], rows[f"{entity}_id"], strict=True))
        mine = [one for one in earlier if own[one] is not None and own[one] == own[event]]
        known = {one: found for one in mine if (found := known_of(world, one, t))}
        for window, seconds in (("1h", HOUR), ("1d", 24 * HOUR)):
            seen = {one: label for one, (since, label) in known.items() if since > t - timedelta(seconds=seconds)}
            frauds = sorted(times[one] for one, label in seen.items() if label == 1)
            prior = sum(label for _, label in everyone) / len(everyone) if everyone else None
            ago = lambda when: (t - when) / timedelta(seconds=1)  # noqa: E731
            out |= {
                f"{entity}_known_count_{window}": len(seen),
                f"{entity}_fraud_count_{window}": len(frauds),
                f"{entity}_fraud_rate_{window}": len(frauds) / len(seen) if seen else None,
                f"{entity}_smoothed_rate_{window}": None
                if prior is None
                else (len(frauds) + 10 * prior) / (len(seen) + 10),
                f"{entity}_seconds_since_first_fraud_{window}": ago(frauds[0]) if frauds else None,
                f"{entity}_seconds_since_last_fraud_{window}": ago(frauds[-1]) if frauds else None,
            }
        ever = sorted(times[one] for one, (_, label) in known.items() if label == 1)
        out[f"{entity}_seconds_since_last_known_fraud"] = (t - ever[-1]) / timedelta(seconds=1) if ever else None
        began = ever[-1] if ever else None
        for when in reversed(ever):
            if began - when > timedelta(hours=5):
                break
            began = when
        out[f"{entity}_seconds_since_fraud_run_began"] = (t - began) / timedelta(seconds=1) if ever else None
    return out


def alike(a, b):
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-12))


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(world=worlds())
def test_batch_is_the_definition_and_the_reference(world):
    features, events = features_of(world[0]), events_of(*world)
    table = build(events, features, timezone="UTC")
    for row, event in enumerate(table["event_id"].to_list()):
        found = recompute(events.frame, row, features, timezone="UTC")
        for name, value in {**found, **expected(world, event)}.items():
            assert alike(table[name][row], value), (name, event, table[name][row], value)
            assert alike(found[name], value), name


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(world=worlds(), share=st.floats(0, 1))
def test_since_a_date_and_through_files_are_a_full_build(world, share, tmp_path_factory):
    features, events = features_of(world[0]), events_of(*world)
    frame, table = events.frame, build(events, features, timezone="UTC")
    all_steps = type(features)(
        features.steps, features.steps, features.stages, features.carried, features.entities, features.digest,
        features.sources, features.types, features.labels,
    )  # fmt: skip
    us, cut = (
        pl.col("event_time").dt.epoch("us"),
        int(frame["event_time"].dt.epoch("us")[int(share * (len(frame) - 1))]),
    )
    steps = build(events, all_steps, timezone="UTC")
    past = steps.filter(us < cut).select(list(dict.fromkeys([*frame.columns, *remembered(features)])))
    past, new = kept(Past(past, Dropped()), features, before_us=cut), frame.filter(us >= cut)
    found = extend(engine_after(past, new, features, timezone="UTC", sources={}), new)
    assert_frame_equal(found.select(features.names), table.filter(us >= cut).select(features.names))
    folder = tmp_path_factory.mktemp("parts")
    chunks = [folder / f"{start}.arrow" for start in range(0, frame.height, 5)]
    for number, path in enumerate(chunks):
        frame[5 * number : 5 * number + 5].write_ipc(path)
    heights = [min(5, frame.height - start) for start in range(0, frame.height, 5)]
    spilled = Spilled(chunks, heights, features, "UTC", {}, folder, SpillLimits(1, 5, least_rows=6))
    spilled.compute(lambda *_: None)
    assert_frame_equal(pl.concat(list(spilled.table())).select(table.columns), table)


def messages_of(world):
    """Return (instant, 0 for an entry and 1 for an event, content) in the order in which a stream brings them."""
    _, rows, entries = world[0], world[1], stated(world[2])
    events = zip(rows["id"], rows["at"], rows["card_id"], rows["shop_id"], rows["status"], strict=True)
    out = [
        (t, 1, {"event_id": i, "event_time": t, "card": c, "shop": s, "declined": d == "declined"})
        for i, t, c, s, d in events
    ]
    out += [(time, 0, (event, label, time)) for event, time, label in entries]
    return sorted(out, key=lambda item: item[:2])


def send(state, messages):
    out = {}
    for _, kind, content in messages:
        if kind:
            out[content["event_id"]] = state.observe(content)
        else:
            state.label(content[0], content[1], content[2])
    return out


def assert_answers(table, features, answers):
    for event, answer in answers.items():
        row = table.row(by_predicate=pl.col("event_id") == event, named=True)
        for at, name in enumerate(features.names):
            got = None if math.isnan(answer.numbers[at]) else answer.numbers[at]
            assert alike(got, row[name]), (name, event, got, row[name])


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(world=worlds(), data=st.data())
def test_a_replay_a_snapshot_and_a_history_are_the_batch(world, data):
    features, events = features_of(world[0]), events_of(*world)
    table, messages = build(events, features, timezone="UTC"), messages_of(world)
    settings = {"timezone": "UTC", "label_delay_us": DELAY * 1_000_000}
    state, cut = OnlineFeatures(features, **settings), data.draw(st.integers(0, len(messages)))
    first = send(state, messages[:cut])
    again = from_bytes(to_bytes(state), features, **settings)
    rest = send(again, messages[cut:])
    assert_answers(table, features, first | rest)
    n = data.draw(st.integers(1, events.frame.height))
    frame, later = events.frame.head(n), set(events.frame.tail(-n)["event_id"])
    until = frame["event_time"][-1]
    seen = set(frame["event_id"])
    bulk = from_history(Events(frame, until, 0), features, **settings)
    left = [m for m in messages if (m[2]["event_id"] in later if m[1] else m[2][0] not in seen)]
    assert_answers(table, features, send(bulk, left))


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(world=worlds(), hours=st.integers(0, 90))
def test_what_was_known_at_an_instant_is_the_latest_entry_by_then(world, hours):
    events, at = events_of(*world).frame, BASE + timedelta(hours=hours)
    found = labels.known_labels(events, at)
    for event, time, label in zip(events["event_id"], events["event_time"], found, strict=True):
        known = known_of(world, event, at) if time <= at else None
        assert label == (-1 if known is None else known[1])
    then = labels.as_known(events, at)
    known = then["label_time"] <= at
    assert then["label"].filter(known).to_list() == [x for x in found.tolist() if x >= 0]
