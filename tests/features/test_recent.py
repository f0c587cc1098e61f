"""Latest and usual values, gaps and places: by hand, against brute force, and whatever order events come in."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from features.online.test_online import assert_same, messages_of, new_state, send
from features.proof.test_against_reference import same

from fraudctl.errors import ProjectError
from fraudctl.features import build
from fraudctl.features.batch import fading, journeys, recent
from fraudctl.features.batch.journeys import built_in
from fraudctl.features.online import from_bytes, from_history, sorted_blocks, to_bytes
from fraudctl.features.online.log_words import NO_CODE
from fraudctl.features.proof.reference import recompute

NOW = datetime(2024, 5, 1, tzinfo=UTC)
HABITS = """
[[features.habits]]
by = "card"
windows = ["1h", "30d"]
aggregates = ["last(amount)", "previous(amount)", "changed(shop)", "same(shop)", "seconds_same(shop)", "share(shop)",
  "share(amount)", "rank(amount)"]
[[features.spacing]]
by = "card"
last = 3
"""
DECAY = """
[[features.decay]]
by = "card"
half_lives = ["1m"]
aggregates = ["count", "sum(amount)", "mean(amount)"]
"""
PLACES = """
[[features.geo]]
at = ["size", "items"]
by = "card"
windows = ["30d"]
aggregates = ["distance_from_last", "speed_from_last", "distance_from_usual"]
"""


def table_of(text, events_of, features_of, **columns):
    columns = {"id": range(len(columns["at"])), "card_id": ["a"] * len(columns["at"]), **columns}
    events = events_of(text, **columns)
    return build(events, features_of(text), timezone="UTC").sort("event_id"), events, features_of(text)


def test_the_latest_values_and_gaps_by_hand(events_of, features_of):
    """Events at 0, 60, 120, 120 and 180 s, the fourth in another shop; the last one is asked."""
    at = [NOW + timedelta(seconds=s) for s in (0, 60, 120, 120, 180)]
    table, *_ = table_of(HABITS, events_of, features_of, at=at, eur=[5.0, 7.0, 5.0, 9.0, 7.0], shop_id=[1, 2, 3, 2, 2])
    row = table.row(4, named=True)
    assert row["card_last_amount_1h"] == 9.0  # ids 2 and 3 share an instant: the larger one is the later
    assert row["card_previous_amount_1h"] == 5.0
    assert (row["card_changed_shop_1h"], row["card_same_shop_1h"], row["card_seconds_same_shop_1h"]) == (False, 1, 60.0)
    assert row["card_share_shop_1h"] == 2 / 4  # 1, 2, 3, 2
    assert row["card_rank_amount_1h"] == (2 + 0.5) / 4  # two below 7, one equal
    assert row["card_median_gap_3_30d"] == 60.0  # 60, 0, 60
    assert (row["card_min_gap_3_30d"], row["card_equal_gaps_3_30d"]) == (0.0, 2)
    first, twin = table.row(0, named=True), table.row(3, named=True)
    assert [first[name] for name in features_of(HABITS).names] == [*([None] * 3 + [0] + [None] * 4) * 2, *[None] * 3]
    assert twin["card_last_amount_1h"] == 7.0  # not that of its twin


def test_fading_sums_by_hand(events_of, features_of):
    """Events at 0, 60 and 60 s, asked at 120 s: weights 1/4, 1/2 and 1/2; 16 to 32 half-lives later none counts."""
    at = [NOW + timedelta(seconds=s) for s in (0, 60, 60, 120, 120 + 32 * 60)]
    table, events, features = table_of(DECAY, events_of, features_of, at=at, eur=[4.0, 8.0, None, 1.0, 1.0])
    names = features.names
    assert [table[name][3] for name in names] == [1.25, 5.0, 5.0 / 0.75]
    assert [table[name][0] for name in names] == [0.0, None, None] == [table[name][4] for name in names]
    for rows in (1, 3):  # bits do not depend on where a history begins, beyond two blocks
        found = build(type(events)(events.frame[rows:], NOW, 0), features, timezone="UTC")
        assert found[names].rows()[-1] == table[names].rows()[-1]


def test_a_late_event_counts_with_the_weight_that_is_left(features_of):
    state = new_state(features_of(DECAY), "UTC")
    for key, seconds in enumerate((0, 120, 60, 180)):
        time = 1_700_000_000_000_000 + seconds * 1_000_000
        last = state.observe({"event_id": key, "event_time": time, "amount": 8.0, "card": "a"}).numbers.tolist()
    assert last == [0.125 + 0.5 + 0.25, 7.0, 8.0]


def test_places_by_hand(events_of, features_of):
    """London, Paris an hour later, a latitude that is none, and Paris again; then the antimeridian."""
    at = [NOW + timedelta(hours=i) for i in range(5)]
    table, *_ = table_of(
        PLACES, events_of, features_of, at=at, eur=[1.0] * 5, size=[51.5, 48.0, 91.0, 48.0, 48.0], items=[0, 2, 2, 2, 2]
    )
    far = table["card_distance_from_last_30d"].to_list()
    # haversine by hand: a = sin²(1.75°) + cos(51.5°) cos(48°) sin²(1°), 2 · 6371.0088 · asin(√a)
    a = (
        math.sin(math.radians(1.75)) ** 2
        + math.cos(math.radians(51.5)) * math.cos(math.radians(48)) * math.sin(math.radians(1)) ** 2
    )
    assert far[1] == pytest.approx(2 * 6371.0088 * math.asin(math.sqrt(a)), rel=1e-12)
    assert [far[0], *far[2:4]] == [None, None, None]
    assert far[4] == 0.0
    assert table["card_speed_from_last_30d"][1] == far[1]  # one hour
    usual = table["card_distance_from_usual_30d"].to_list()
    assert usual[1] == pytest.approx(far[1], rel=1e-12)
    assert usual[3] == pytest.approx(far[1] / 2, rel=1e-12)  # half way, on the great circle
    assert usual[2] is None


@pytest.mark.parametrize("seed", range(6))
def test_one_pass_over_places_gives_the_bits_of_the_hidden_features(seed, events_of, features_of, monkeypatch):
    """Distances are defined on hidden features; with all steps shown, or long histories, these are built."""
    rng = np.random.default_rng(seed)
    n = 300
    text = PLACES.replace('["30d"]', '["20m", "30d"]').replace('"card"', '["card", "shop"]')
    columns = {
        "at": [NOW + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, 6_000, n))],
        "card_id": rng.choice(np.array(["a", "b", "c", None], dtype=object), n).tolist(),
        "shop_id": rng.choice([1, 2, 3], n).tolist(),
        "eur": [1.0] * n,
        "size": [None if k % 9 == 0 else float(v) for k, v in enumerate(rng.uniform(-95, 95, n))],
        "items": rng.choice([-120, 0, 7, 7, 90], n).tolist(),
    }
    table, events, features = table_of(text, events_of, features_of, **columns)
    assert built_in(features) == {name for name in (step.name for step in features.steps) if "_of_" in name} - {
        ".x_of_size_items", ".y_of_size_items", ".z_of_size_items"
    } | {".card_seconds_since_last", ".shop_seconds_since_last"}  # fmt: skip
    every = replace(features, features=features.steps)
    assert not built_in(every)
    shown = build(events, every, timezone="UTC").sort("event_id")
    monkeypatch.setattr(journeys, "MOST", 1)
    slow = build(events, features, timezone="UTC", threads=1).sort("event_id")
    for name in features.names:
        assert table[name].equals(shown[name])
        assert table[name].equals(slow[name])
        assert 0 < table[name].null_count() < n


@pytest.mark.parametrize("n", [40, 400])  # ranges that are looked through, and those that are counted
def test_batch_equals_reference_over_long_histories(n, events_of, features_of):
    rng = np.random.default_rng(n)
    at = [NOW + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, 30 * n, n))]
    eur = [None if k == 0 else float(k) for k in rng.integers(0, 12, n)]
    places = {"size": rng.uniform(-95, 95, n).tolist(), "items": rng.integers(-128, 127, n).tolist()}
    shops = [int(s) if s else None for s in rng.integers(0, 3, n)]
    table, events, features = table_of(HABITS + PLACES, events_of, features_of, at=at, eur=eur, shop_id=shops, **places)
    for row in range(0, n, n // 20):
        found = recompute(events.frame, row, features, timezone="UTC")
        for name in features.names:
            value = table.row(by_predicate=pl.col("event_id") == events.frame["event_id"][row], named=True)[name]
            assert same(name, value, found[name]), (name, row, value, found[name])


def test_events_of_one_instant_are_told_apart_by_id_in_whatever_order_they_come(events_of, features_of):
    rng = np.random.default_rng(3)
    at = [NOW + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 12, 40))]
    columns = {
        "at": at,
        "eur": rng.integers(1, 5, 40).astype(float).tolist(),
        "shop_id": rng.integers(1, 3, 40).tolist(),
    }
    columns |= {"id": rng.permutation(40).tolist(), "card_id": rng.choice(["a", "b"], 40).tolist()}
    table, events, features = table_of(HABITS + DECAY, events_of, features_of, **columns)
    messages = [item for item in messages_of(events) if item[1] == 1]
    mixed = []
    for _, group in itertools.groupby(messages, key=lambda item: item[0]):
        found = list(group)
        mixed += [found[i] for i in rng.permutation(len(found))]
    assert mixed != messages
    answers = send(new_state(features, "UTC"), mixed)
    assert_same(table, features, answers)
    for at, name in enumerate(features.names):
        if "decayed" in name:
            numbers = {key: answer.numbers[at] for key, answer in answers.items()}
            assert numbers == pytest.approx(
                dict(table.select("event_id", pl.col(name).fill_null(math.nan)).rows()), abs=0, rel=0, nan_ok=True
            )
    for key, answer in send(new_state(features, "UTC"), messages).items():
        assert answer.numbers.tobytes() == answers[key].numbers.tobytes()


def test_blocks_of_a_log_give_the_bits_of_a_look_at_each_position():
    rng = np.random.default_rng(8)
    n = cap = 3 * sorted_blocks.BLOCK + 700
    values = rng.integers(0, 40, n).astype(float)
    values[rng.random(n) < 0.1] = math.nan
    codes = rng.integers(-3, 20, n)
    codes[rng.random(n) < 0.1] = NO_CODE
    numbers, coded = np.full(7 + 2 * cap, math.nan), np.zeros(7 + 2 * cap, np.int64)
    numbers[7 : 7 + n], coded[7 : 7 + n] = values, codes
    for i in range(n):
        sorted_blocks.sort_numbers(numbers, 7, cap, i)
        sorted_blocks.sort_codes(coded, 7, cap, i)
    edges = [(0, n), (1, n), (0, sorted_blocks.BLOCK), (sorted_blocks.BLOCK, 2 * sorted_blocks.BLOCK), (5, 5)]
    for lo, hi in [*edges, *(sorted(pair) for pair in rng.integers(0, n, (200, 2)).tolist())]:
        value, code = float(rng.integers(-1, 41)), int(rng.integers(-4, 21))
        pairs = [
            (sorted_blocks.rank_in(numbers, 7, cap, lo, hi, value), recent.rank_in(numbers, 7, lo, hi, value)),
            (
                sorted_blocks.share_of(coded, 7, cap, lo, hi, code, NO_CODE),
                recent.share_of(coded, 7, lo, hi, code, NO_CODE),
            ),
        ]
        for new, old in pairs:
            assert new == old or (math.isnan(new) and math.isnan(old))


def test_long_histories_are_answered_from_blocks_after_a_late_event_and_a_saved_state(events_of, features_of):
    rng = np.random.default_rng(9)
    n = 2 * sorted_blocks.BLOCK + 900
    columns = {
        "at": [NOW + timedelta(seconds=int(s)) for s in np.sort(rng.choice(40_000, n, replace=False))],
        "eur": [None if k == 0 else float(k) for k in rng.integers(0, 50, n)],
        "shop_id": [int(s) if s else None for s in rng.integers(0, 9, n)],
    }
    text = """
[[features.habits]]
by = "card"
windows = ["8h", "30d"]
aggregates = ["share(shop)", "share(amount)", "rank(amount)"]
"""
    table, events, features = table_of(text, events_of, features_of, **columns)
    messages = [item for item in messages_of(events) if item[1] == 1]
    late = messages.pop(3_000)
    state = new_state(features, "UTC")
    found = send(state, messages[:4_200])
    assert_same(table, features, {key: found[key] for key in list(found)[:3_000:60]})
    assert_same(table, features, send(state, [late]))
    state = from_bytes(to_bytes(state), features, timezone="UTC", label_delay_us=state.label_delay_us)
    found = send(state, messages[4_200:])
    assert_same(table, features, {key: found[key] for key in list(found)[::20]})


def test_late_events_go_to_their_place(events_of, features_of):
    rng = np.random.default_rng(5)
    at = [NOW + timedelta(seconds=int(s)) for s in rng.choice(3_000, 30, replace=False)]
    columns = {
        "at": at,
        "eur": rng.integers(1, 5, 30).astype(float).tolist(),
        "shop_id": rng.integers(1, 3, 30).tolist(),
    }
    columns |= {"size": rng.uniform(-60, 60, 30).tolist(), "items": rng.integers(-90, 90, 30).tolist()}
    text = HABITS + PLACES.replace('"speed_from_last", ', "")
    table, events, features = table_of(text, events_of, features_of, **columns)
    messages = [item for item in messages_of(events) if item[1] == 1]
    late = messages.pop(11)
    state = new_state(features, "UTC")
    send(state, messages[:20])
    assert_same(table, features, send(state, [late]))
    assert state.counters["late"] == 1
    assert_same(table, features, send(state, messages[20:]))


TEXTS = """
[[features.habits]]
by = "card"
windows = ["1h", "30d"]
aggregates = ["last(status)", "previous(status)", "changed(status)", "same(status)", "last(band)"]
[features.columns]
band = "case when amount > 3 then 'high' end"
[features]
categorical = ["band"]
"""


def test_the_latest_texts_by_hand(events_of, features_of):
    """Events at 0, 60, 120 and 120 s; the twins do not see each other, and later events see the larger id last."""
    at = [NOW + timedelta(seconds=s) for s in (0, 60, 120, 120, 180, 7_200)]
    status = ["new", None, "old", "odd", "odd", "new"]
    table, _, features = table_of(
        TEXTS, events_of, features_of, at=at, eur=[5.0, 1.0, 4.0, 2.0, 1.0, 1.0], status=status
    )
    assert features["card_last_status_1h"].dtype == features["card_last_band_1h"].dtype == "category"
    assert table["card_last_status_1h"].to_list() == [None, "new", None, None, "odd", None]
    assert table["card_previous_status_1h"].to_list() == [None, None, "new", "new", "old", None]
    assert table["card_last_status_30d"].to_list() == [None, "new", None, None, "odd", "odd"]
    assert table["card_changed_status_1h"].to_list() == [None, None, None, None, False, None]
    assert table["card_same_status_1h"].to_list() == [0, None, 0, 0, 1, 0]
    assert table["card_last_band_1h"].to_list() == [None, "high", None, None, None, None]


def _texts(rng, n, span):
    at = [NOW + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, span, n))]
    status = rng.choice(np.array(["a", "b", "c", "", "ü", None], dtype=object), n).tolist()
    cards = rng.choice(np.array(["a", "b", None], dtype=object), n).tolist()
    return {"at": at, "eur": rng.integers(1, 6, n).astype(float).tolist(), "status": status, "card_id": cards}


@pytest.mark.parametrize("seed", range(4))
def test_texts_agree_in_every_engine_and_through_saved_states(seed, events_of, features_of):
    rng = np.random.default_rng(seed)
    columns = _texts(rng, 60, 9_000)
    table, events, features = table_of(TEXTS, events_of, features_of, **columns)
    for row in range(60):
        found = recompute(events.frame, row, features, timezone="UTC")
        mine = table.row(by_predicate=pl.col("event_id") == events.frame["event_id"][row], named=True)
        assert {name: mine[name] for name in features.names} == pytest.approx(found)
    messages = [item for item in messages_of(events) if item[1] == 1]
    state, cut = new_state(features, "UTC"), int(rng.integers(1, 59))
    assert_same(table, features, send(state, messages[:cut]))
    again = from_bytes(to_bytes(state), features, timezone="UTC", label_delay_us=state.label_delay_us)
    assert to_bytes(again) == to_bytes(state)
    assert_same(table, features, send(again, messages[cut:]))
    first = events.frame.head(cut)
    past = type(events)(first, first["event_time"][-1], 0)
    bulk = from_history(past, features, timezone="UTC", label_delay_us=state.label_delay_us)
    assert_same(table, features, send(bulk, messages[cut:]))


def test_texts_that_no_window_reaches_are_forgotten(features_of):
    features = features_of(TEXTS.replace(', "30d"', ""))
    state, sizes = new_state(features, "UTC"), []
    for key in range(6_000):
        event = {"event_id": key, "event_time": 1_700_000_000_000_000 + key * 10_000_000, "amount": 1.0, "card": "a"}
        found = state.observe(event | {"status": f"text {key}"}).categories["card_last_status_1h"]
        assert found == (f"text {key - 1}" if key else None)
        sizes.append(len(state.texts.kept))
    assert max(sizes) <= 2 * 360 + 40  # twice an hour of events of 10 s
    assert state.texts.nbytes > 0


def test_a_late_event_sees_the_text_of_its_own_time(features_of):
    state = new_state(features_of(TEXTS), "UTC")
    for key, (seconds, status) in enumerate([(0, "one"), (120, "three"), (60, "two"), (180, "four")]):
        event = {"event_id": key, "event_time": 1_700_000_000_000_000 + seconds * 1_000_000, "amount": 8.0, "card": "a"}
        last = state.observe(event | {"status": status})
        expected = (None, "one", "one", "three")[key]
        assert last.categories["card_last_status_1h"] == expected
    assert last.categories["card_previous_status_1h"] == "two"
    assert np.isnan(last.numbers[state.features.names.index("card_last_status_1h")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[features.habits]]\nby = "card"\naggregates = ["rank(status)"]', "needs a number"),
        ('[[features.habits]]\nby = "card"\naggregates = ["last(event_time)"]', "needs a number or a text"),
        ('[[features.habits]]\nby = "card"\naggregates = ["share"]', "takes a column"),
        ('[[features.habits]]\nby = "card"\naggregates = ["shar(shop)"]', "did you mean 'share'"),
        ('[[features.geo]]\nat = ["size", "status"]\nby = "card"\naggregates = ["distance_from_last"]', "number"),
        ('[[features.geo]]\nat = ["size", "itms"]\nby = "card"\naggregates = ["distance_from_last"]', "'items'"),
        ('[[features.geo]]\nat = ["size", "items"]\nby = "card"\naggregates = ["x"]', "no aggregate 'x'"),
        ('[[features.geo]]\nat = ["size", "items"]\naggregates = ["distance"]', "needs another point"),
        ('[[features.geo]]\nat = ["size", "items"]\naggregates = ["speed_from_last"]', "needs entities"),
        ('[[features.decay]]\nby = "card"\nhalf_lives = ["1d"]\naggregates = ["sum(status)"]', "needs a number"),
        ('[[features.spacing]]\nby = "card"\nlast = 65', "64"),
    ],
)
def test_sections_that_cannot_be_are_refused(text, message, features_of):
    with pytest.raises(ProjectError) as raised:
        features_of(text)
    assert message in f"{raised.value} {raised.value.hint}"


def test_the_kinds_of_the_loops_are_those_of_the_families():
    from fraudctl.features.batch import sphere
    from fraudctl.features.meaning.families import decay, geo, habits, spacing

    assert tuple(decay.KINDS) == fading.DECAYS
    assert (*recent.HABITS,) == tuple(habits.KINDS)
    assert (*recent.SPACINGS,) == tuple(spacing.KINDS)
    assert set(sphere.GEO) == set(geo.KINDS)
