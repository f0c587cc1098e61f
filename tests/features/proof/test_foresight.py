"""What came later is found in columns that hold it, and not in their honest twins."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from fraudctl.features import build
from fraudctl.features.proof.audit import audit
from fraudctl.features.proof.foresight import outlook

DAY = 86_400
N_DAYS, DELAY = 90, 20
TEXT = """
[[features.window]]
by = "card"
windows = ["1d", "14d"]
aggregates = ["count", "mean(amount)", "std(amount)", "max(amount)"]
[[features.labels]]
by = "card"
windows = ["30d"]
aggregates = ["fraud_count", "fraud_rate"]
[[features.recency]]
by = "card"
"""
LEAKS = {
    "count_ahead": "later events", "until_next": "later events", "count_around": "later events",
    "mean_ahead": "amounts of later events", "target_encoded": "later frauds", "undelayed_count": "later frauds",
    "own_label_added": "own label",
}  # fmt: skip


def instants(seconds):
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    return pl.Series((seconds + start) * 1_000_000).cast(pl.Datetime("us", "UTC"))


@pytest.fixture(scope="module")
def made_up(events_of, features_of):
    """Make cards of very different activity and risk; give events, and honest columns with what the cards are like."""

    def make(seed, n=10_000, n_cards=400):
        random = np.random.default_rng(seed)
        activity = random.gamma(1.0, 1.0, n_cards)
        cards = random.choice(n_cards, n, p=activity / activity.sum())
        seconds = np.sort(random.integers(0, N_DAYS * DAY, n))
        spent = random.gamma(2.0, 20.0, n) * random.gamma(4.0, 0.25, n_cards)[cards]
        risk = random.beta(0.5, 8.0, n_cards)[cards] * np.where(spent > 60.0, 2.0, 0.5)
        events = events_of(
            TEXT, id=range(n), at=instants(seconds), eur=spent, card_id=[f"c{card}" for card in cards],
            fraud=(random.random(n) < risk).astype(int), known_at=instants(seconds + DELAY * DAY),
        )  # fmt: skip
        table = build(events, features_of(TEXT), timezone="UTC")
        honest = table.drop("event_time", "label_time", "label", "card", "shop", strict=False).with_columns(
            noise=pl.Series(random.normal(size=n)),
            activity_class=pl.Series(np.digitize(activity, [0.3, 1.0, 2.0])[cards]),
            hour=table["event_time"].dt.hour(),
        )
        return events, honest

    return make


def leaking(events):
    """Give columns that look ahead, that hold the own label, or that take outcomes before they arrived."""
    frame = events.frame.with_columns(
        one=pl.lit(1), y=pl.col("label").cast(pl.Float64), at=pl.col("event_time").dt.replace_time_zone(None)
    )
    back = frame.with_columns(at=(-pl.col("at").dt.epoch("us")).cast(pl.Datetime("us"))).sort("at", maintain_order=True)
    ahead = back.select(
        "event_id",
        count_ahead=pl.col("one").rolling_sum_by("at", "5d", closed="none").over("card"),
        mean_ahead=pl.col("amount").rolling_mean_by("at", "10d", closed="none").over("card"),
    )
    so_far = frame.select(
        "event_id",
        past=pl.col("one").rolling_sum_by("at", "5d", closed="none").over("card"),
        until_next=(pl.col("at").shift(-1) - pl.col("at")).dt.total_seconds().over("card"),
        target_encoded=pl.col("y").mean().over("card"),
        undelayed_count=pl.col("y").rolling_sum_by("at", "14d", closed="none").over("card"),
    )
    both = so_far.join(ahead, on="event_id", maintain_order="left")
    count_around = pl.col("past").fill_null(0) + pl.col("count_ahead").fill_null(0)
    return both.with_columns(count_around=count_around).drop("past")


def told(table, found):
    """Give what is said of every column."""
    return {
        name: {item.what for item in found.of(table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy())}
        for name in table.columns
        if name != "event_id"
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_leaks_are_found_in_every_world(made_up, seed):
    events, honest = made_up(seed)
    table = leaking(events).with_columns(
        own_label_added=honest["card_fraud_rate_30d"].fill_null(0.0) + 0.5 * events.frame["label"]
    )
    said = told(table, outlook(events.frame, "card", seed=seed))
    assert {name for name, what in LEAKS.items() if what not in said[name]} == set()


def test_honest_columns_raise_no_alarm_in_five_worlds(made_up):
    alarms = []
    for seed in range(10, 15):
        events, honest = made_up(seed)
        said = told(honest, outlook(events.frame, "card", seed=seed))
        alarms += [(seed, name, what) for name, what in said.items() if what]
    assert alarms == []  # of 75 columns, three questions of each and one of its own outcome


def test_the_audit_names_columns_that_look_ahead(made_up, features_of):
    events, honest = made_up(3)
    foreign = leaking(events).select("event_id", "count_ahead").with_columns(noise=honest["noise"])
    result = audit(events, features_of(TEXT), foreign, sample=2, seed=1, timezone="UTC")
    (suspect,) = result.suspects
    assert (suspect.column, suspect.check) == ("count_ahead", "foresight")
    assert suspect.value > 0.5
    assert "later events of the same card explain" in suspect.words


def test_few_values_or_a_table_without_time_are_not_asked(made_up):
    events, _ = made_up(4, n=2_000, n_cards=50)
    assert outlook(events.frame, "card", seed=1) is None
    still = events.frame.with_columns(event_time=events.frame["event_time"][0])
    assert outlook(still, "card", seed=1) is None


def test_columns_without_anything_to_say_are_passed_over(made_up):
    events, honest = made_up(5)
    found = outlook(events.frame, "card", seed=1)
    n = events.frame.height
    assert found.of(np.full(n, 3.0)) == []
    assert found.of(np.full(n, np.nan)) == []
    assert found.of(honest["card_count_14d"].cast(pl.Float64).to_numpy() * 2 + 1) == []
