"""What may be dropped of the past comes from the features: a built state, a replay, an increment and a batch agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from features.batch.test_sources import SCHEMA, SECTION, TABLE, normalised
from features.online.test_online import assert_same, messages_of, send
from polars.testing import assert_frame_equal

from fraudctl.features import build, define
from fraudctl.features.batch.engine import Dropped
from fraudctl.features.batch.increment import Past, engine_after, extend, kept, remembered
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.features.meaning.families import FAMILIES
from fraudctl.features.meaning.families.base import Spec
from fraudctl.features.meaning.families.labels import LabelSpec
from fraudctl.features.meaning.families.recency import RecencySpec
from fraudctl.features.meaning.families.windows import WindowSpec
from fraudctl.features.meaning.lookback import Lookback, combined, seen_rows
from fraudctl.features.online import OnlineFeatures, from_bytes, from_history, to_bytes

DAY = 86_400_000_000
ZONE = "UTC"
BASE = datetime(2024, 1, 1, tzinfo=UTC)
EVENTS_SCHEMA = {
    "id": pl.Int64, "at": pl.Datetime("us", "UTC"), "eur": pl.Float64, "fraud": pl.Int8,
    "known_at": pl.Datetime("us", "UTC"), "card_id": pl.String, "shop_id": pl.Int32,
}  # fmt: skip


def definitions(rng) -> str:
    """Draw features: some families, each over windows of its own, so that no two horizons are alike."""
    spans = lambda: sorted({f"{rng.choice([1, 3, 10, 20, 45, 80])}d" for _ in range(2)})  # noqa: E731
    listed = lambda items: "[" + ", ".join(f'"{item}"' for item in items) + "]"  # noqa: E731
    by = lambda: str(rng.choice(["card", "shop"]))  # noqa: E731
    labels = ["known_count", "fraud_count", "fraud_rate", "smoothed_rate", "seconds_since_last_fraud"]
    habits = ["last(amount)", "same(shop)", "share(shop)", "rank(amount)"]
    decays = ["count", "mean(amount)"]
    events = ["count", "sum(amount)", "median(amount)"]
    out = [
        f'[[features.labels]]\nby = "{by()}"\nwindows = {listed(spans())}\naggregates = {listed(labels)}\n',
        f'[[features.window]]\nby = "{by()}"\nwindows = {listed(spans())}\naggregates = {listed(events)}\n',
        f'[[features.window]]\nsource = "logins"\nby = "{by()}"\nwindows = {listed(spans())}\naggregates = ["count"]\n',
        '[[features.lookup]]\nsource = "logins"\nby = "card"\ncolumns = ["score"]\nmax_age = "9d"\n',
        f'[[features.recency]]\nby = "{by()}"\n',
        f'[[features.hours]]\nby = "{by()}"\nwindows = {listed(spans())}\naggregates = ["hour_concentration"]\n',
        '[[features.pairs]]\nof = ["card", "shop"]\naggregates = ["seconds_since_last"]\n',
        '[[features.links]]\nof = ["card", "shop"]\n',
        f'[[features.habits]]\nby = "{by()}"\nwindows = {listed(spans())}\naggregates = {listed(habits)}\n',
        f'[[features.spacing]]\nby = "{by()}"\nwindows = {listed(spans())}\nlast = {rng.integers(1, 6)}\n',
        f'[[features.decay]]\nby = "{by()}"\nhalf_lives = ["{rng.choice([2, 40])}h"]\naggregates = {listed(decays)}\n',
    ]
    chances = [0.8, 0.5, 0.5, 0.3, 0.25, 0.2, 0.2, 0.15, 0.3, 0.2, 0.3]
    drawn = [text for text, chance in zip(out, chances, strict=True) if rng.random() < chance]
    return "\n".join(drawn or out[:1])


def world(rng, n=160):
    """Draw events of 150 days whose outcomes arrive after minutes or months, and rows of another table."""
    seconds = np.sort(rng.integers(0, 150 * 86_400, n))
    seconds[1::9] = seconds[::9][: len(seconds[1::9])]  # some at the same instant
    seconds = np.sort(seconds)
    at = [BASE + timedelta(seconds=int(s)) for s in seconds]
    delays = rng.choice([60, 86_400, 14 * 86_400, 70 * 86_400], n) * rng.uniform(0.5, 1.5, n)
    known = [t + timedelta(seconds=int(d)) for t, d in zip(at, delays, strict=True)]
    cards = [f"c{k}" if k else None for k in rng.integers(0, 40, n)]
    columns = {
        "id": list(range(n)), "at": at, "eur": (rng.integers(1, 900, n) / 4).tolist(),
        "fraud": [[0, 0, 1, None][k] for k in rng.integers(0, 4, n)],
        "known_at": known, "card_id": cards, "shop_id": rng.integers(0, 12, n).tolist(),
    }  # fmt: skip
    m = 80
    when = [BASE + timedelta(seconds=int(s)) for s in rng.integers(0, 150 * 86_400, m)]
    seen = [t + timedelta(seconds=int(s)) for t, s in zip(when, rng.choice([0, 3_600, 40 * 86_400], m), strict=True)]
    logins = pl.DataFrame(
        {
            "at": when, "seen_at": seen, "card_id": [f"c{k}" for k in rng.integers(1, 40, m)],
            "shop_no": rng.integers(0, 12, m).tolist(), "city": ["x"] * m, "score": rng.integers(0, 50, m) / 8,
            "ok": [True] * m,
        },
        schema=SCHEMA,
    )  # fmt: skip
    return columns, {"logins": normalised(logins)}


def drawn(seed, project_of, events_of):
    rng = np.random.default_rng(seed)
    text = definitions(rng)
    features = define(project_of(TABLE + text), EVENTS_SCHEMA, sources={"logins": SourceTable(SECTION, SCHEMA)})
    columns, sources = world(rng)
    events = events_of("", **columns)
    used = {name: sources[name] for name in features.sources}
    return rng, features, events, used


def told_at_once(events, later):
    """Give the messages of later events: each is followed by its outcome, which counts from its label_time on."""
    rows = events.frame.with_columns(pl.col("event_time", "label_time").dt.epoch("us")).iter_rows(named=True)
    for row in rows:
        if row["event_id"] in later:
            yield row["event_time"], 1, row
            if row["label"] is not None:
                yield row["event_time"], 0, row


@pytest.mark.parametrize("seed", range(24))
def test_a_state_from_history_goes_on_as_a_replay_and_as_the_batch(seed, project_of, events_of):
    rng, features, events, sources = drawn(seed, project_of, events_of)
    table = build(events, features, timezone=ZONE, sources=sources)
    n = int(rng.integers(10, events.frame.height - 5))
    first, later = events.frame.head(n), set(events.frame.tail(-n)["event_id"].to_list())
    settings = {"timezone": ZONE, "label_delay_us": 2 * DAY}
    state = from_history(type(events)(first, first["event_time"][-1], 0), features, sources=sources, **settings)
    messages = list(told_at_once(events, later))
    cut = int(rng.integers(0, len(messages)))
    answers = send(state, messages[:cut])
    state = from_bytes(to_bytes(state), features, **settings)
    answers |= send(state, messages[cut:])
    assert_same(table, features, answers)
    assert state.counters["dropped"] == 0
    replay = OnlineFeatures(features, timezone=ZONE, label_delay_us=200 * DAY)
    assert_same(table, features, send(replay, messages_of(events, sources)))


@pytest.mark.parametrize("seed", range(12))
def test_an_increment_drops_nothing_that_a_later_event_sees(seed, project_of, events_of):
    rng, features, events, sources = drawn(100 + seed, project_of, events_of)
    whole = build(events, features, timezone=ZONE, sources=sources)
    cut = int(events.frame["event_time"].dt.epoch("us")[int(rng.integers(20, 150))])
    us = pl.col("event_time").dt.epoch("us")
    held = whole.filter(us < cut).select([*events.frame.columns, *remembered(features)])
    past = kept(Past(held, Dropped()), features, before_us=cut)
    fresh = events.frame.filter(us >= cut)
    seen = seen_rows(features, sources, from_time=datetime.fromtimestamp(cut / 1e6, UTC))
    got = extend(engine_after(past, fresh, features, timezone=ZONE, sources=seen), fresh)
    assert_frame_equal(got.select(whole.columns), whole.filter(us >= cut), check_exact=True)


@pytest.mark.parametrize("entity", ["card", "shop"])
def test_an_outcome_of_an_old_event_counts_from_when_it_arrived(entity, project_of, events_of):
    text = f'[[features.labels]]\nby = "{entity}"\nwindows = ["60d"]\naggregates = ["known_count", "fraud_count"]\n'
    features = define(project_of(text), EVENTS_SCHEMA)
    days = [0, 100, 101, 102, 140]
    known = [90, 100, 101, 130, 140]  # of the first event 90 days later; of the fourth after the state is built
    columns = {
        "id": list(range(5)), "at": [BASE + timedelta(days=d) for d in days], "eur": [1.0] * 5,
        "fraud": [1, 0, 0, 1, 0], "known_at": [BASE + timedelta(days=d) for d in known],
        "card_id": ["a", "a", "b", "a", "a"], "shop_id": [1, 1, 2, 1, 1],
    }  # fmt: skip
    events = events_of("", **columns)
    first = events.frame.head(4)
    state = from_history(
        type(events)(first, first["event_time"][-1], 0), features, timezone=ZONE, label_delay_us=2 * DAY
    )
    answers = send(state, told_at_once(events, {4}))
    assert answers[4].numbers.tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("max_age", "expected"), [(None, [1, 2, 3, 4]), ("3d", [2, 3, 4])])
def test_rows_of_other_tables_that_no_later_event_sees_are_left_out(max_age, expected, project_of):
    age = "" if max_age is None else f'max_age = "{max_age}"\n'
    text = f'[[features.lookup]]\nsource = "logins"\nby = "card"\ncolumns = ["score"]\n{age}'
    text += '[[features.window]]\nsource = "logins"\nby = "shop"\nwindows = ["1d"]\naggregates = ["count"]\n'
    features = define(project_of(TABLE + text), EVENTS_SCHEMA, sources={"logins": SourceTable(SECTION, SCHEMA)})
    days, later = [1, 8, 4, 9.5], [1, 8, 9.5, 9.5]  # happened; became usable
    at, seen = ([BASE + timedelta(days=day) for day in part] for part in (days, later))
    raw = pl.DataFrame({"at": at, "seen_at": seen, "card_id": ["c"] * 4, "shop_no": [1] * 4, "score": [1, 2, 3, 4],
                        "city": ["x"] * 4, "ok": [True] * 4}, schema=SCHEMA)  # fmt: skip
    found = seen_rows(features, {"logins": normalised(raw)}, from_time=BASE + timedelta(days=10))
    assert sorted(found["logins"]["score"].to_list()) == expected


def test_every_type_of_spec_says_what_it_sees():
    examples = [spec for family in FAMILIES for *_, spec in family.examples]
    assert {type(spec) for spec in examples} == {kind for family in FAMILIES for kind in family.specs}
    assert all(isinstance(spec.lookback, Lookback) for spec in examples)


def test_a_spec_that_leaves_a_question_open_cannot_be_made():
    class Silent(RecencySpec):
        lookback = Spec.lookback

    with pytest.raises(TypeError, match=r"abstract method.*lookback"):
        Silent("card", "seconds_since_last")


def test_horizons_are_the_longest_of_each_entity():
    specs = [
        WindowSpec("card", DAY, "count"), WindowSpec("card", 3 * DAY, "count"), WindowSpec("shop", 9 * DAY, "count"),
        LabelSpec("card", 60 * DAY, "smoothed_rate"), RecencySpec("shop", "seconds_since_last_known_fraud"),
    ]  # fmt: skip
    found = combined(specs)
    assert found.of("card") == (3 * DAY, 60 * DAY)
    assert found.of("shop") == (9 * DAY, 0)
    assert found.longest_us == 60 * DAY
    assert found.for_ever == frozenset({("shop",)})
    assert found.outcomes
    assert found.prior
