"""The batch engine against the plain-Python reference, and what must not change anything."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from costly import costly
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fraudctl.features import build
from fraudctl.features.proof.reference import recompute
from fraudctl.money import LARGEST

ZONE = "Europe/Berlin"
EVERYTHING = """
[[features.window]]
by = ["card", "shop"]
windows = ["10s", "1h", "30d"]
aggregates = ["count", "sum(amount)", "mean(amount)", "std(amount)", "min(amount)", "max(amount)", "nunique(shop)",
  "nunique(status)", "median(amount)", "mad(amount)"]
[[features.window]]
by = "card"
windows = ["1d", "7d"]
aggregates = ["count", "mean(amount)", "std(amount)", "max(amount)", "nunique(shop)", "median(amount)", "mad(items)"]
include_current = true
name = "with"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "sum(amount)", "nunique(shop)", "min(items)"]
where = "status = 'declined' or items > 100"
name = "odd"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "mean(amount)", "median(amount)"]
where = "online"
name = "online"
include_current = true
[[features.window]]
by = ["card", "shop"]
windows = ["1h", "30d"]
aggregates = ["sum(size)", "mean(size)", "std(size)", "min(size)", "max(size)", "median(size)", "mad(size)"]
[[features.window]]
by = "card"
windows = ["14d"]
aggregates = ["mean(is_outlier)", "sum(ratio)", "max(again)"]
[[features.labels]]
by = ["card", "shop"]
windows = ["10s", "1d", "30d"]
aggregates = ["known_count", "fraud_count", "fraud_rate", "smoothed_rate", "seconds_since_first_fraud",
  "seconds_since_last_fraud"]
[[features.recency]]
by = ["card", "shop"]
aggregates = ["seconds_since_last", "seconds_since_first", "seconds_since_last_known_fraud",
  "seconds_since_fraud_run_began"]
run_gap = "1d"
[[features.pairs]]
of = ["card", "shop"]
aggregates = ["first_time", "count", "seconds_since_last"]
[[features.links]]
of = ["card", "shop"]
[[features.links]]
of = ["shop", "card"]
hub = 2
[[features.trend]]
by = "card"
short = "1h"
long = "7d"
aggregates = ["count", "mean(amount)", "sum(amount)"]
[[features.hours]]
by = "card"
windows = ["30d"]
aggregates = ["hour_distance", "hour_concentration"]
[features]
raw = ["amount", "items", "status", "online"]
categorical = ["status"]
[features.columns]
is_outlier = "amount > card_mean_amount_30d + card_std_amount_30d"
ratio = "amount / card_mean_amount_30d"
again = "is_outlier and card_mean_is_outlier_14d > 0.1"
minute_of_day = "hour(event_time) * 60 + minute(event_time)"
"""
CLOSE = {"sum", "mean", "std", "hour_distance", "hour_concentration"}

BASE = datetime(2024, 3, 30, 22, 0, tzinfo=UTC)
moments = st.one_of(
    st.integers(0, 30),
    st.sampled_from([0, 3_600, 86_399, 86_400, 86_401, 7 * 86_400, 30 * 86_400]),
    st.integers(0, 3 * 365 * 86_400),
)
ODD = [0.0, -0.0, 0.1, 0.2, 0.3, 1e7, -12.34, 1e-9, 5e-324, float("nan")]
amounts = st.one_of(
    st.none(), st.sampled_from([*ODD, LARGEST, -LARGEST]), st.floats(-1e6, 1e6), st.floats(-LARGEST, LARGEST)
)
sizes = st.one_of(  # of a column that is no money, which has no limit
    st.none(), st.sampled_from([*ODD, 1e300, -1e300]), st.floats(-1e6, 1e6), st.floats(allow_infinity=False)
)


@st.composite
def tables(draw, most=14):
    n = draw(st.integers(1, most))
    of = lambda values: draw(st.lists(values, min_size=n, max_size=n))  # noqa: E731
    at = [BASE + timedelta(seconds=seconds) for seconds in of(moments)]
    delays = of(st.one_of(st.none(), st.integers(0, 5), st.integers(0, 3 * 86_400)))
    return {
        "id": draw(st.permutations(range(n))),
        "at": at,
        "eur": [*of(amounts)[:-1], 1.0],
        "size": of(sizes),
        "fraud": of(st.sampled_from([1, 1, 0, None])),
        "known_at": [None if d is None else t + timedelta(seconds=d) for t, d in zip(at, delays, strict=True)],
        "card_id": of(st.sampled_from(["a", "a", "b", None])),
        "shop_id": of(st.sampled_from([1, 1, 2, None])),
        "status": of(st.sampled_from(["ok", "declined", None])),
        "items": of(st.one_of(st.none(), st.integers(-128, 127))),
        "online": of(st.sampled_from([True, False, None])),
    }


def same(name: str, got: object, expected: object) -> bool:
    if got is None or expected is None or not isinstance(expected, float):
        return got == expected
    if ("distance" in name or "speed" in name) and "hour" not in name:  # km, good to some nanometres
        return math.isclose(got, expected, rel_tol=1e-12, abs_tol=1e-10)
    if "decayed" in name:  # a few roundings for each event
        return math.isclose(got, expected, rel_tol=1e-12, abs_tol=1e-9)
    if "std" in name or "hour" in name or "ratio" in name:
        return math.isclose(got, expected, rel_tol=1e-13, abs_tol=1e-13 if "hour" in name else 0.0)
    return got == expected


@settings(max_examples=costly(60), deadline=None)
@given(columns=tables())
def test_batch_equals_reference(columns, events_of, features_of):
    features, events = features_of(EVERYTHING), events_of(EVERYTHING, **columns)
    table = build(events, features, timezone=ZONE)
    for row in range(table.height):
        expected = recompute(events.frame, row, features, timezone=ZONE)
        for name in features.names:
            assert same(name, table[name][row], expected[name]), (name, row, table[name][row], expected[name])


@settings(max_examples=25, deadline=None)
@given(columns=tables(30), cut=st.integers(0, 3 * 365 * 86_400), data=st.data())
def test_the_future_changes_nothing(columns, cut, data, events_of, features_of):
    features = features_of(EVERYTHING)
    table = build(events_of(EVERYTHING, **columns), features, timezone=ZONE)
    until = sorted(columns["at"])[data.draw(st.integers(0, len(columns["at"]) - 1))]
    later = [t > until for t in columns["at"]]
    unknown = [k is None or k > until for k in columns["known_at"]]
    altered = dict(columns)
    for name, other in (("eur", 77.7), ("card_id", "a"), ("shop_id", 2), ("status", "declined"), ("items", 7)):
        altered[name] = [other if late else value for value, late in zip(columns[name], later, strict=True)]
    altered["fraud"] = [
        1 if late or (hidden and known is not None) else value
        for value, late, hidden, known in zip(columns["fraud"], later, unknown, columns["known_at"], strict=True)
    ]
    events = events_of(EVERYTHING, **altered)
    before = pl.col("event_time") <= until
    names = ["event_id", *features.names]
    after = build(events, features, timezone=ZONE)
    assert_frame_equal(table.filter(before).select(names), after.filter(before).select(names), check_exact=True)
    kept = [i for i, late in enumerate(later) if not late]
    shorter = {name: [values[i] for i in kept] for name, values in columns.items()}
    shorter["eur"] = [columns["eur"][i] for i in kept]
    if any(value is not None and value == value for value in shorter["eur"]):
        alone = build(events_of(EVERYTHING, **shorter), features, timezone=ZONE)
        assert_frame_equal(table.filter(before).select(names), alone.select(names), check_exact=True)


@settings(max_examples=15, deadline=None)
@given(columns=tables(30), data=st.data())
def test_row_order_threads_and_other_groups_change_no_bit(columns, data, events_of, features_of):
    features = features_of(EVERYTHING)
    table = build(events_of(EVERYTHING, **columns), features, timezone=ZONE, threads=1)
    order = data.draw(st.permutations(range(len(columns["at"]))))
    shuffled = {name: [values[i] for i in order] for name, values in columns.items()}
    again = build(events_of(EVERYTHING, **shuffled), features, timezone=ZONE, threads=3)
    assert_frame_equal(table, again, check_exact=True)


@pytest.mark.parametrize("outlier", [1e7, 1e15, 1e300])
def test_std_is_right_after_an_outlier_has_left(outlier, events_of, features_of):
    text = """
[[features.window]]
by = "card"
windows = ["1h"]
aggregates = ["std(size)", "sum(size)"]
"""
    n = 200
    at = [BASE + timedelta(minutes=i) for i in range(n)]
    size = [0.01 * (i * 37 % 101) + 3.3 for i in range(n)]
    size[5] = outlier
    events = events_of(text, id=range(n), at=at, eur=[1.0] * n, size=size, card_id=["a"] * n)
    table = build(events, features_of(text), timezone=ZONE)
    for i in range(100, n):
        window = size[i - 59 : i]
        mean = math.fsum(window) / len(window)
        two_pass = math.sqrt(math.fsum((value - mean) ** 2 for value in window) / (len(window) - 1))
        assert table["card_std_size_1h"][i] == pytest.approx(two_pass, rel=1e-12)
        assert table["card_sum_size_1h"][i] == math.fsum(window)


def test_one_aggregate_under_two_names(events_of, features_of):
    part = '[[features.window]]\nby = "card"\nwindows = ["1h"]\naggregates = ["count", "sum(amount)"]\nname = "{}"\n'
    text = part.format("one") + part.format("two") + part.format("on").replace("name", 'where = "online"\nname')
    text += part.format("again").replace("name", 'where = "online"\nname')
    at = [BASE, BASE + timedelta(minutes=1)]
    events = events_of(text, id=[0, 1], at=at, eur=[1.5, 2.0], card_id=["a", "a"], online=[True, False])
    table = build(events, features_of(text), timezone=ZONE)
    for name in ("one", "two", "on", "again"):
        assert table[f"card_{name}_count_1h"].to_list() == [0, 1]
        assert table[f"card_{name}_sum_amount_1h"].to_list() == [None, 1.5]
