"""What every family of features keeps: engines agree on it, and nothing that could not be known reaches it.

A family that is missing here, or in one of the three tables of engines, fails by its name.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from features import complete
from features.batch.test_sources import SCHEMA as SOURCE_SCHEMA
from features.batch.test_sources import SECTION, TABLE
from features.batch.test_spilled import in_files
from features.conftest import SCHEMA, _project
from features.online.test_online import assert_same, messages_of, new_state, send
from features.proof.test_against_reference import ZONE, same
from polars.testing import assert_frame_equal

from fraudctl.features import build, define
from fraudctl.features.batch.engine import Dropped
from fraudctl.features.batch.hooks import BATCH
from fraudctl.features.batch.increment import Past, engine_after, extend, kept, remembered
from fraudctl.features.batch.spilled import Spilled, SpillLimits
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.features.meaning.families import FAMILIES
from fraudctl.features.online import from_bytes, from_history, to_bytes
from fraudctl.features.online.hooks import ONLINE
from fraudctl.features.proof.reference import REFERENCE, recompute

SECTIONS = {
    "raw": '[features]\nraw = ["amount", "items", "status", "online"]\ncategorical = ["status"]\n',
    "window": """
[[features.window]]
by = ["card", "shop"]
windows = ["1h", "1d"]
aggregates = ["count", "nunique(shop)", "sum(amount)", "mean(size)", "std(amount)", "min(size)", "max(amount)",
  "median(size)", "mad(amount)"]
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "mean(amount)"]
where = "online"
name = "online"
include_current = true
[[features.window]]
source = "logins"
by = ["card", "shop"]
windows = ["1d", "30d"]
aggregates = ["count", "nunique(city)", "sum(score)", "mean(score)", "std(score)", "min(score)", "max(score)",
  "median(score)", "mad(score)"]
""",
    "labels": """
[[features.labels]]
by = ["card", "shop"]
windows = ["1h", "3d"]
aggregates = ["known_count", "fraud_count", "fraud_rate", "smoothed_rate", "seconds_since_first_fraud",
  "seconds_since_last_fraud"]
""",
    "recency": """
[[features.recency]]
by = ["card", "shop"]
aggregates = ["seconds_since_last", "seconds_since_first", "seconds_since_last_known_fraud",
  "seconds_since_fraud_run_began"]
run_gap = "1d"
""",
    "pairs": '[[features.pairs]]\nof = ["card", "shop"]\naggregates = ["first_time", "count", "seconds_since_last"]\n',
    "trend": """
[[features.trend]]
by = "card"
short = "1h"
long = "3d"
aggregates = ["count", "mean(amount)", "sum(amount)"]
""",
    "hours": """
[[features.hours]]
by = "card"
windows = ["2d"]
aggregates = ["hour_distance", "hour_concentration"]
""",
    "habits": """
[[features.habits]]
by = ["card", "shop"]
windows = ["1h", "3d"]
aggregates = ["last(amount)", "previous(size)", "last(online)", "changed(status)", "same(status)",
  "seconds_same(online)", "share(amount)", "share(status)", "share(shop)", "rank(amount)", "rank(items)",
  "previous(status)"]
[[features.habits]]
by = "card"
aggregates = ["last(large)", "same(shop)", "changed(shop)", "last(status)", "previous(card_last_status_90d)"]
[features.columns]
large = "amount > 90 and online"
""",
    "spacing": '[[features.spacing]]\nby = ["card", "shop"]\nwindows = ["1h", "3d"]\nlast = 4\n',
    "decay": """
[[features.decay]]
by = ["card", "shop"]
half_lives = ["10m", "1d"]
aggregates = ["count", "sum(amount)", "mean(size)"]
[[features.decay]]
by = "card"
half_lives = ["1h"]
aggregates = ["mean(large)"]
[features.columns]
large = "amount > 90 and online"
""",
    "geo": """
[[features.geo]]
by = ["card", "shop"]
at = ["size", "items"]
to = ["lat", "amount"]
windows = ["1d", "30d"]
aggregates = ["distance_from_last", "speed_from_last", "distance_from_usual", "distance"]
[features.columns]
lat = "size * 80 - 40"
""",
    "links": """
[[features.links]]
of = ["card", "shop"]
aggregates = ["component_size", "component_age_seconds", "component_fraud_rate", "degree", "neighbours",
  "neighbour_frauds"]
[[features.links]]
of = ["shop", "card"]
hub = 2
aggregates = ["component_size", "component_fraud_rate", "neighbours", "neighbour_frauds"]
""",
    "lookup": """
[[features.lookup]]
source = "logins"
by = ["card", "shop"]
columns = ["city", "score", "ok", "born_on", "opened_at", "hour(opened_at)", "same_second(opened_at)", "renewed_at",
  "hour(renewed_at)", "same_second(renewed_at)"]
max_age = "9d"
""",
    "columns": """
[features.columns]
large = "amount > 90 and online"
share = "amount / (items + 20)"
hour = "hour(event_time)"
""",
}
"""Key of a family -> sections of a project file that ask for all that it has, and go together with those of others."""

BUILT_ON = {
    "habits": """
[[features.habits]]
by = "card"
windows = ["5d"]
aggregates = ["last(size_band)", "share(card_logins_city)", "last(card_logins_city)", "rank(card_logins_score)"]
[[features.lookup]]
source = "logins"
by = "card"
columns = ["city", "score"]
[features]
categorical = ["size_band"]
""",
    "geo": """
[[features.geo]]
by = "card"
at = ["card_logins_score", "items"]
to = ["size", "shop_logins_score"]
name = "home"
aggregates = ["distance_from_last", "distance_from_usual", "distance"]
[[features.lookup]]
source = "logins"
by = ["card", "shop"]
columns = ["score"]
""",
}
"""Key of a family -> more sections of it, over columns of other tables and computed texts."""

TABLES = {"BATCH": BATCH, "ONLINE": ONLINE, "REFERENCE": REFERENCE}
EVERY = pytest.mark.parametrize("key", [family.key for family in FAMILIES])
DAY = 86_400_000_000


@functools.cache
def features_of(key):
    assert key in SECTIONS, f"the family {key!r} is not in {Path(__file__).name}: add its sections to SECTIONS"
    tables = {"logins": SourceTable(SECTION, {**SOURCE_SCHEMA, **complete.TIMES})}
    more = BUILT_ON.get(key, "")
    band = "size_band = \"case when size > 1 then 'l' when size > 0.5 then 'm' end\"\n" if "size_band" in more else ""
    return define(_project(TABLE + SECTIONS[key] + band + more), SCHEMA, sources=tables)


@functools.cache
def world():
    return complete.columns(), complete.events(), complete.sources_with_times()


@functools.cache
def table_of(key):
    _, events, sources = world()
    return build(events, features_of(key), timezone=ZONE, sources=sources)


def built(key, raw):
    """Return the features of altered events, in the order of their ids."""
    table = build(complete.events(raw), features_of(key), timezone=ZONE, sources=world()[2])
    return table.select("event_id", *features_of(key).names).sort("event_id")


def expected(key, rows=None):
    table = table_of(key) if rows is None else table_of(key).filter(rows)
    return table.select("event_id", *features_of(key).names).sort("event_id")


# ---------------------------------------------------------------- nothing is left out


@pytest.mark.parametrize("kind", [kind for family in FAMILIES for kind in family.specs], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", TABLES)
def test_every_type_of_spec_has_an_entry(name, kind):
    there = kind in TABLES[name]
    assert there, f"{name} has no entry for {kind.__name__}"


def test_no_family_is_forgotten_or_unknown():
    known = {kind for family in FAMILIES for kind in family.specs}
    for name, table in TABLES.items():
        strangers = [kind.__name__ for kind in table if kind not in known]
        assert not strangers, f"{name} has entries for {strangers}, which are in no family of FAMILIES"
    missing = {family.key for family in FAMILIES} - set(SECTIONS)
    assert not missing, f"SECTIONS has nothing for {missing}: every family goes through this contract"


@EVERY
def test_the_sections_here_ask_for_all_that_the_family_has(key):
    family = next(family for family in FAMILIES if family.key == key)
    asked = [step.spec for step in features_of(key).steps]
    for kind in family.specs:
        mine = [spec for spec in asked if type(spec) is kind]
        assert mine, f"SECTIONS asks for no {kind.__name__}"
        missing = set(getattr(kind, "kinds", ())) - {getattr(spec, "kind", None) for spec in mine}
        assert not missing, f"SECTIONS asks for no {kind.__name__} of {missing}"
    assert {type(spec) for *_, spec in family.examples} == set(family.specs), "each has a row in the table of intervals"


# ---------------------------------------------------------------- engines agree


@EVERY
def test_the_reference_computes_the_same(key):
    features, table, (_, events, sources) = features_of(key), table_of(key), world()
    for row in range(0, table.height, 2):
        found = recompute(events.frame, row, features, timezone=ZONE, sources=sources)
        for name in features.names:
            assert same(name, table[name][row], found[name]), (name, row, table[name][row], found[name])


@EVERY
def test_a_replay_and_a_state_from_history_compute_the_same(key):
    features, table, (_, events, sources) = features_of(key), table_of(key), world()
    messages = messages_of(events, sources)
    assert_same(table, features, send(new_state(features, ZONE), messages))
    n = 35
    first = events.frame.head(n)
    until = first["event_time"].dt.epoch("us")[-1]
    later = set(events.frame.tail(-n)["event_id"].to_list())
    settings = {"timezone": ZONE, "label_delay_us": 2 * DAY}
    state = from_history(type(events)(first, first["event_time"][-1], 0), features, sources=sources, **settings)
    state = from_bytes(to_bytes(state), features, **settings)
    rest = [
        (time, kind, content)
        for time, kind, content in messages
        if kind != 2 and (content["event_id"] in later or (kind == 0 and time > until))
    ]
    assert_same(table, features, send(state, rest))


@EVERY
def test_features_since_a_date_are_those_of_a_full_build(key):
    features, (_, events, sources) = features_of(key), world()
    steps = build(events, _all_steps(features), timezone=ZONE, sources=sources)
    us = pl.col("event_time").dt.epoch("us")
    for at in (20, 45):
        cut = int(events.frame["event_time"].dt.epoch("us")[at])
        names = dict.fromkeys([*events.frame.columns, *remembered(features)])
        past = kept(Past(steps.filter(us < cut).select(list(names)), Dropped()), features, before_us=cut)
        new = events.frame.filter(us >= cut)
        found = extend(engine_after(past, new, features, timezone=ZONE, sources=sources), new)
        assert_frame_equal(found.select(features.names), table_of(key).filter(us >= cut).select(features.names))


def _all_steps(features):
    return type(features)(
        features.steps, features.steps, features.stages, features.carried, features.entities, features.digest,
        features.sources, features.types,
    )  # fmt: skip


@EVERY
def test_features_through_files_are_those_in_memory(key, tmp_path):
    features, (_, events, sources) = features_of(key), world()
    chunks = in_files(events.frame, tmp_path / "events", 17)
    heights = [pl.read_ipc(chunk).height for chunk in chunks]
    beside = {name: in_files(source, tmp_path / name, 17) for name, source in sources.items()}
    folder = tmp_path / "parts"
    folder.mkdir()
    spilled = Spilled(chunks, heights, features, ZONE, beside, folder, SpillLimits(1, 17, least_rows=20))
    spilled.compute(lambda *_: None)
    assert_frame_equal(pl.concat(list(spilled.table())).select(table_of(key).columns), table_of(key))


# ---------------------------------------------------------------- nothing unknown reaches a feature


@EVERY
def test_the_future_and_outcomes_that_arrive_in_it_change_nothing(key):
    raw, events, _ = world()
    until = events.frame["event_time"][30]
    late = [at > until for at in raw["at"]]
    hidden = [known is not None and known > until for known in raw["known_at"]]
    altered = dict(raw)
    for name, other in (("eur", 77.7), ("card_id", "a"), ("shop_id", 2), ("status", "declined"), ("size", 9.0)):
        altered[name] = [other if is_late else value for value, is_late in zip(raw[name], late, strict=True)]
    altered["fraud"] = [
        1 if is_late or is_hidden else value
        for value, is_late, is_hidden in zip(raw["fraud"], late, hidden, strict=True)
    ]
    before = pl.col("event_time") <= until
    ids = expected(key, before)["event_id"]
    assert_frame_equal(built(key, altered).filter(pl.col("event_id").is_in(ids.implode())), expected(key, before))


@EVERY
def test_the_order_of_rows_changes_nothing(key):
    order = [i * 23 % complete.N for i in range(complete.N)]
    assert sorted(order) == list(range(complete.N))
    assert_frame_equal(
        built(key, {name: [values[i] for i in order] for name, values in world()[0].items()}), expected(key)
    )


@EVERY
def test_events_of_one_instant_do_not_see_each_other(key):
    """A twin of an event changes nothing at its instant or before."""
    raw = world()[0]
    at = raw["at"][40]
    twin = {name: [*values, values[40]] for name, values in raw.items()}
    twin["id"][-1], twin["eur"][-1] = 999, 12.5
    before = pl.col("event_time") <= at
    ids = expected(key, before)["event_id"]
    assert_frame_equal(built(key, twin).filter(pl.col("event_id").is_in(ids.implode())), expected(key, before))


@EVERY
def test_events_of_null_entities_are_nobodys_history(key):
    raw = world()[0]
    more = {name: [*values, *values[:20]] for name, values in raw.items()}
    more["id"][complete.N :] = range(1000, 1020)
    more["eur"][complete.N :] = [value or 1.0 for value in raw["eur"][:20]]
    more["at"][complete.N :] = [at + timedelta(seconds=1) for at in raw["at"][:20]]
    for name in ("card_id", "shop_id", "fraud", "known_at"):
        more[name][complete.N :] = [None] * 20
    found = built(key, more)
    assert_frame_equal(found.filter(pl.col("event_id") < 999), expected(key))
    names = [name for name in features_of(key).names if "smoothed" not in name]  # which sees all outcomes
    for i in range(complete.N, complete.N + 20, 5):
        alone = built(key, {name: [values[i]] for name, values in more.items()})
        assert_frame_equal(found.filter(pl.col("event_id") == more["id"][i]).select(names), alone.select(names))
