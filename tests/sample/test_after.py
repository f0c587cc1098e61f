"""The weeks after the sample: the same world, and each planted change where its truth says, and nowhere else."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraudctl.errors import UsageError
from fraudctl.sample import CHANGES, START, LaterData, SampleChange, SampleData, generate, generate_after
from fraudctl.sample.draws import Draws
from fraudctl.sample.verdicts import LABEL_TABLES, label_tables, later_label_tables

SIZE = {"n_events": 12_000, "days": 60, "seed": 5}
DAYS, BEGINS = 42, 28
BEGIN = START + timedelta(days=SIZE["days"])
CHANGED = pl.col("created_at") >= BEGIN + timedelta(days=BEGINS)


@pytest.fixture(scope="module")
def before() -> SampleData:
    return generate(**SIZE)


@pytest.fixture(scope="module")
def calm() -> LaterData:
    return generate_after(DAYS, **SIZE)


def changed(name: str) -> LaterData:
    return generate_after(DAYS, [SampleChange(name, BEGINS)], **SIZE)


def per_day(frame: pl.DataFrame) -> tuple[float, float]:
    """Events a day before and since the change."""
    since = frame.filter(CHANGED).height
    return (frame.height - since) / BEGINS, since / (DAYS - BEGINS)


def test_the_sample_stays_as_it_is_but_for_labels_that_came_later(before: SampleData, calm: LaterData) -> None:
    labels = ("is_fraud", "label_available_at")
    assert_frame_equal(calm.sample.drop(labels), before.transactions.drop(labels), check_exact=True)
    known = before.transactions["is_fraud"].is_not_null()
    assert_frame_equal(calm.sample.filter(known), before.transactions.filter(known), check_exact=True)
    late = calm.sample.filter(~known).drop_nulls("is_fraud")
    assert late.height > 1_000
    assert late["label_available_at"].is_between(BEGIN, calm.end, closed="left").all()


def test_times_lie_within_the_days_after_and_ids_are_new(before: SampleData, calm: LaterData) -> None:
    assert (calm.start, calm.end) == (BEGIN, BEGIN + timedelta(days=DAYS))
    for frame, time in ((calm.transactions, "created_at"), (calm.logins, "at")):
        assert frame[time].is_between(calm.start, calm.end, closed="left").all()
        assert frame[time].is_sorted()
        assert frame[time].dt.truncate("1d").n_unique() == DAYS
    assert not set(calm.transactions["transaction_id"]) & set(before.transactions["transaction_id"])
    assert calm.transactions.schema == before.transactions.schema
    assert calm.logins.schema == before.logins.schema


def test_the_entities_are_those_of_the_sample(before: SampleData, calm: LaterData) -> None:
    for column in ("card_id", "customer_id", "merchant_id"):
        later, earlier = (set(frame[column].drop_nulls()) for frame in (calm.transactions, before.transactions))
        assert len(later & earlier) > 0.9 * len(later), column
    pairs = [f.select("device_id", "card_id").drop_nulls().unique() for f in (before.transactions, calm.transactions)]
    assert pairs[1].join(pairs[0], on=["device_id", "card_id"]).height > 0.4 * pairs[1].height
    prints = (
        pl.concat([before.logins, calm.logins])
        .drop_nulls()
        .group_by("device_id")
        .agg(pl.col("os", "browser").n_unique())
    )
    assert prints.select(pl.max_horizontal("os", "browser").max()).item() == 1


def test_unchanged_days_are_like_the_end_of_the_sample(before: SampleData, calm: LaterData) -> None:
    late = before.transactions.filter(pl.col("created_at") >= BEGIN - timedelta(days=6))
    first, second = per_day(calm.transactions)
    assert late.height / 6 == pytest.approx(first, rel=0.15)
    assert second == pytest.approx(first, rel=0.05)
    rate = calm.truth.height / calm.transactions.height
    assert rate == pytest.approx(0.0185, rel=0.25)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_begins_on_its_day_and_changes_nothing_before(name: str, calm: LaterData) -> None:
    later = changed(name)
    again = changed(name)
    assert_frame_equal(later.transactions, again.transactions, check_exact=True)
    assert_frame_equal(later.logins, again.logins, check_exact=True)
    (calm_since, since), (calm_before, earlier) = (
        [per_day(frame)[part] for frame in (calm.transactions, later.transactions)] for part in (1, 0)
    )
    assert earlier == pytest.approx(calm_before, rel=0.01)
    if name == "volume":
        assert since == pytest.approx(1.6 * calm_since, rel=0.05)
    if name in ("dead-feature", "label-delay", "poisoned-labels"):
        calm_days, days = (frame.filter(~CHANGED) for frame in (calm.transactions, later.transactions))
        assert_frame_equal(days, calm_days, check_exact=True)
    if name not in ("attack", "volume"):
        assert since == pytest.approx(calm_since, rel=0.01)


def test_a_dead_feature_is_null_from_its_day_on(calm: LaterData) -> None:
    shares = changed("dead-feature").transactions.group_by(CHANGED.alias("since")).agg(pl.col("ip").is_null().mean())
    assert dict(shares.iter_rows())[True] == 1.0
    assert dict(shares.iter_rows())[False] == pytest.approx(0.37, abs=0.05)


def test_a_wrong_clock_moves_every_payment_by_an_hour(calm: LaterData) -> None:
    true, shown = (
        frame.unique("transaction_id").sort("transaction_id")
        for frame in (calm.transactions, changed("clock").transactions)
    )
    moved = true["created_at"] - shown["created_at"]
    late = true.select(CHANGED).to_series()
    assert (moved.filter(late) == timedelta(hours=1)).all()
    assert (moved.filter(~late) == timedelta()).all()
    labelled = shown.drop_nulls("label_available_at")
    assert (labelled["label_available_at"] > labelled["created_at"]).all()


def test_slow_labels_take_twice_the_time(calm: LaterData) -> None:
    own, slow = calm.transactions, changed("label-delay").transactions
    fraud = CHANGED & (pl.col("is_fraud") == 1)
    days = (pl.col("label_available_at") - pl.col("created_at")).dt.total_hours() / 24
    both = (
        own.filter(fraud)
        .select("transaction_id", usual=days)
        .join(slow.filter(fraud).select("transaction_id", slow=days), on="transaction_id")
    )
    assert both.height > 5
    assert (both["slow"] - 2 * both["usual"]).is_between(-2, 1).all()
    assert slow.filter(CHANGED)["is_fraud"].count() < own.filter(CHANGED)["is_fraud"].count()


def test_poisoned_labels_say_the_opposite_of_a_fifth_of_what_is_true(calm: LaterData) -> None:
    poisoned = generate_after(DAYS, [SampleChange("poisoned-labels", 7)], **SIZE)
    assert_frame_equal(poisoned.truth, calm.truth, check_exact=True)
    grown_old = (pl.col("created_at") >= BEGIN + timedelta(days=7)) & (
        pl.col("created_at") < BEGIN + timedelta(days=28)
    )
    labelled = poisoned.transactions.unique("transaction_id").drop_nulls("is_fraud").filter(grown_old)
    fraud = labelled["transaction_id"].is_in(poisoned.truth["transaction_id"].implode())
    lies = labelled.with_columns(lies=(pl.col("is_fraud") == 1) != fraud)
    approved = lies.filter(pl.col("status") == "approved")
    assert approved["lies"].mean() == pytest.approx(0.2, abs=0.05)
    assert not lies.filter(pl.col("status") == "declined")["lies"].any()
    assert approved.filter("lies").filter(pl.col("is_fraud") == 1).height > 0.9 * approved["lies"].sum()
    late = (approved["label_available_at"] - approved["created_at"]).dt.total_hours() / 24
    reported = late.filter(approved["is_fraud"] == 1)
    assert reported.median() == pytest.approx(6, abs=1.5)  # type: ignore[operator]


def test_an_attack_is_fraud_of_a_pattern_of_its_own() -> None:
    later = changed("attack")
    attack = later.transactions.join(later.truth, on="transaction_id").filter(pl.col("pattern") == "new_attack")
    assert attack.height > 40
    assert attack.select(CHANGED.all()).item()
    assert attack["created_at"].dt.truncate("1d").n_unique() == DAYS - BEGINS
    assert attack["is_fraud"].drop_nulls().unique().to_list() == [1]
    assert attack.unique("transaction_id")["device_id"].drop_nulls().is_unique().all()
    assert attack["merchant_id"].n_unique() <= 3


def test_label_tables_go_on_where_they_ended(before: SampleData, calm: LaterData) -> None:
    def streams(name: str) -> Draws:
        return Draws(SIZE["seed"], name)

    alone = label_tables(before.transactions, before.truth, streams)
    mine, further = later_label_tables(before.transactions, before.truth, calm, streams)
    assert_frame_equal(mine.transactions, alone.transactions, check_exact=True)
    assert list(mine.tables) == list(further.tables) == list(LABEL_TABLES)
    for name, time in LABEL_TABLES.items():
        assert_frame_equal(mine[name], alone[name], check_exact=True)
        assert further[name].height
        assert further[name][time].is_between(before.transactions["created_at"].max(), calm.end).all()
    two, more = later_label_tables(before.transactions, before.truth, calm, streams, names=("chargebacks", "disputes"))
    assert list(two.tables) == list(more.tables) == ["chargebacks", "disputes"]
    assert_frame_equal(more["chargebacks"], further["chargebacks"], check_exact=True)
    frauds = pl.concat([calm.sample, calm.transactions]).filter(pl.col("is_fraud") == 1)["transaction_id"].unique()
    charged = pl.concat([mine["chargebacks"], further["chargebacks"]])["transaction_id"]
    assert frauds.is_in(charged.implode()).all()
    assert set(further["chargebacks"]["transaction_id"]) & set(before.transactions["transaction_id"])


@pytest.mark.parametrize(
    ("days", "changes"),
    [
        (13, []),
        (28, [SampleChange("storm", 3)]),
        (28, [SampleChange("clock", 0)]),
        (28, [SampleChange("clock", 28)]),
        (28, [SampleChange("clock", 3), SampleChange("clock", 4)]),
    ],
)
def test_what_cannot_be_planted_is_refused(days: int, changes: list[SampleChange]) -> None:
    with pytest.raises(UsageError):
        generate_after(days, changes, n_events=1_000, days=30)
