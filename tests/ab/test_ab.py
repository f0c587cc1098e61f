"""Experiments compared: by hand, by brute force, with every way in which there is no result."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from ab_frames import START, answered, project
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.ab.arms import ArmsCompared, compare_arms, days_needed
from fraudctl.errors import DataError
from fraudctl.sequences import half_width, ratio_of_units, sample_ratio_evidence, target_of

LATER = START + timedelta(days=60)


def compared(frame: pl.DataFrame, *, margin: float = 0.05, shadow: pl.DataFrame | None = None) -> ArmsCompared:
    return compare_arms(frame, project(), LATER, margin=margin, confidence=0.95, shadow=shadow)


def test_cost_per_event_and_its_error_by_hand() -> None:
    # units with (cost, events) (4, 2), (0, 2), (2, 1): 6 / 5 a event; residuals 1.6, -2.4, 0.8
    # se = sqrt(3/2 (2.56 + 5.76 + 0.64)) / 5 = sqrt(13.44) / 5
    value, se = ratio_of_units(np.array([4.0, 0.0, 2.0]), np.array([2.0, 2.0, 1.0]))
    assert (value, se) == (pytest.approx(1.2), pytest.approx(math.sqrt(13.44) / 5))


def test_the_error_is_that_of_drawing_units_again() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(1, 9, 300).astype(float)
    cost = n * rng.gamma(0.5, 2.0, 300)
    _, se = ratio_of_units(cost, n)
    rows = rng.integers(0, 300, (4000, 300))
    drawn = cost[rows].sum(axis=1) / n[rows].sum(axis=1)
    assert se == pytest.approx(float(drawn.std()), rel=0.08)


def test_the_arms_are_what_a_loop_counts() -> None:
    frame = answered(3000, units=400)
    found = compared(frame)
    for item in found.arms:
        rows = frame.filter(pl.col("arm") == item.arm)
        cost = sum(
            2.0 if action == "review" else 10.0 * label
            for action, label in zip(rows["action"], rows["label"], strict=True)
        )
        assert item.cost_per_event == pytest.approx(cost / rows.height)
        assert (item.units, item.events, item.frauds) == (rows["unit"].n_unique(), rows.height, rows["label"].sum())
    difference = found.difference
    assert difference is not None
    assert difference.value == pytest.approx(found.arms[1].cost_per_event - found.arms[0].cost_per_event)
    # the cheapest constant action is to allow all: 10 for each fraud
    base = 10.0 * frame["label"].mean()  # type: ignore[operator]
    assert difference.savings == pytest.approx(-difference.value / base)
    assert difference.savings_low < difference.savings < difference.savings_high
    assert (found.verdict, int(found.exit_code)) == ("inconclusive", 5)


def test_a_policy_that_changes_in_the_middle_of_a_week_counts_each_event_by_what_was_done() -> None:
    """On the tenth day both models begin to review three times as much: that day has decisions of both policies."""
    frame = answered(6000, units=600)
    changed = pl.col("event_time") >= START + timedelta(days=9, hours=13)
    more = changed & (pl.col("event_id") % 10 == 0)
    frame = frame.with_columns(
        action=pl.when(more).then(pl.lit("review")).otherwise("action"),
        policy=pl.when(changed).then(pl.lit("q")).otherwise("policy"),
        model=pl.when(changed).then(pl.col("model") + "2").otherwise("model"),
    )
    found = compared(frame)
    for item in found.arms:
        rows = frame.filter(pl.col("arm") == item.arm)
        cost = sum(
            2.0 if action == "review" else 10.0 * label
            for action, label in zip(rows["action"], rows["label"], strict=True)
        )
        assert item.cost_per_event == pytest.approx(cost / rows.height)
        assert sorted(item.models) == sorted(rows["model"].unique())
    assert found.verdict == "inconclusive"
    before = compare_arms(frame, project(), START + timedelta(days=9), margin=0.05, confidence=0.95)
    never = compare_arms(answered(6000, units=600), project(), START + timedelta(days=9), margin=0.05, confidence=0.95)
    assert before == never, "what was said before the change is what is said of that time"


def test_what_is_known_early_is_scaled_to_what_will_be_known() -> None:
    """Half of the frauds come after two days, half after eight: at any instant the cost is near the final one."""
    frame = answered(40_000, units=2000, days=40, fraud_rate=0.1)
    late = pl.col("event_id") % 2 == 0
    delay = pl.when(pl.col("label") == 0).then(10).when(late).then(8).otherwise(2)
    frame = frame.with_columns(label_time=pl.col("event_time") + pl.duration(days=delay))
    final = compared(frame)
    young = compare_arms(frame, project(), START + timedelta(days=20), margin=0.05, confidence=0.95)
    assert young.too_young > 0
    for now, then in zip(young.arms, final.arms, strict=True):
        assert now.cost_per_event == pytest.approx(then.cost_per_event, rel=0.05)


def test_a_surely_worse_challenger_fails_and_a_same_one_passes_with_enough_events() -> None:
    frame = answered(60_000, units=5000, fraud_rate=0.2)
    assert compared(frame, margin=0.1).verdict == "pass"
    worse = frame.with_columns(action=pl.when(pl.col("arm") == "challenger").then(pl.lit("allow")).otherwise("action"))
    found = compared(worse)
    assert (found.verdict, int(found.exit_code)) == ("fail", 1)
    assert "worse than the champion" in found.reason


def test_the_paired_shadow_is_narrower_than_the_arms() -> None:
    frame = answered(5000, units=500)
    rng = np.random.default_rng(1)
    changed = pl.Series(rng.random(frame.height) < 0.02)
    shadow = frame.select("event_id", action=pl.when(changed).then(pl.lit("allow")).otherwise("action"))
    found = compared(frame, shadow=shadow)
    assert found.paired is not None
    assert found.difference is not None
    assert found.paired.high - found.paired.low < 0.5 * (found.difference.high - found.difference.low)
    # the shadow is the challenger in the champion's arm, and the champion in the other
    swap = (frame["arm"] == "challenger").to_numpy()
    cost = {"allow": 10.0, "review": 2.0}

    def money(action: str, label: int) -> float:
        return cost[action] * label if action == "allow" else 2.0

    gaps = [
        (money(a, y) - money(b, y)) if s else (money(b, y) - money(a, y))
        for a, b, y, s in zip(frame["action"], shadow["action"], frame["label"], swap, strict=True)
    ]
    assert found.paired.value == pytest.approx(sum(gaps) / len(gaps))


def test_shares_that_are_not_as_planned_give_no_result() -> None:
    frame = answered(4000, units=800)
    gone = frame.filter((pl.col("arm") == "champion") | (pl.col("unit").cast(pl.Int64) % 2 != 0))
    found = compared(gone)
    assert not found.sample_ratio.sound
    assert (found.difference, int(found.exit_code)) == (None, 3)
    assert "cannot be compared" in found.reason


def test_an_empty_arm_is_inconclusive_while_chance_may_be_the_reason_and_else_no_result() -> None:
    few = answered(300, units=60, share=0.02)
    few = few.with_columns(arm=pl.lit("champion"), model=pl.lit("A"))
    found = compared(few)
    assert (found.verdict, int(found.exit_code), found.difference) == ("inconclusive", 5, None)
    assert "the challenger's arm has 0 units" in found.reason
    assert found.arms[1].cost_per_event is None
    many = answered(5000, units=1000, share=0.1).with_columns(arm=pl.lit("champion"))
    assert int(compared(many).exit_code) == 3


def test_without_a_known_fraud_nothing_can_be_compared() -> None:
    frame = answered(2000, units=300).with_columns(label=pl.lit(0, dtype=pl.Int8))
    found = compared(frame, shadow=frame.select("event_id", "action"))
    assert (found.verdict, found.difference, found.paired) == ("inconclusive", None, None)
    assert "no fraud is known yet" in found.reason
    with pytest.raises(DataError, match="no known fraud"):
        days_needed(frame, project(), LATER, loss=0.1, share=0.5, confidence=0.95)


def test_null_units_and_earlier_shares_are_left_out_and_counted() -> None:
    frame = answered(3000, units=400)
    part = frame.with_columns(
        unit=pl.when(pl.col("event_id") % 10 == 9).then(None).otherwise("unit"),
        arm_share=pl.when(pl.col("event_id") < 1000).then(0.2).otherwise(0.5),
    )
    found = compared(part)
    assert (found.other_shares, found.null_units) == (1000, 200)
    assert found.since == part["event_time"][1000]
    assert sum(item.events for item in found.arms) == 1800


def test_events_that_were_blocked_without_a_control_group_are_unseen() -> None:
    frame = answered(4000, units=400, fraud_rate=0.2).with_columns(
        action=pl.when(pl.col("action") == "review").then(pl.lit("block")).otherwise("action")
    )
    hidden = pl.when(pl.col("action") == "block").then(None)
    frame = frame.with_columns(label=hidden.otherwise("label"), label_time=hidden.otherwise("label_time"))
    blind = compared(frame)
    assert blind.unseen == (frame["action"] == "block").sum()
    assert blind.paired is None
    control = pl.Series(np.random.default_rng(2).random(frame.height) < 0.3)
    blocked = frame["action"] == "block"
    seen = frame.with_columns(
        control_group=control, exposure_prob=pl.when(blocked).then(0.3).otherwise(1.0),
        action=pl.when(blocked & control).then(pl.lit("allow")).otherwise("action"),
        label=pl.when(blocked & control).then(1).otherwise("label").cast(pl.Int8),
        label_time=pl.when(blocked & control).then(pl.col("event_time") + timedelta(days=5)).otherwise("label_time"),
    )  # fmt: skip
    found = compared(seen)
    assert found.unseen == (blocked & ~control).sum()
    total = sum(item.events for item in found.arms)
    assert total == frame.height - found.unseen


def test_no_event_and_no_second_arm_are_errors() -> None:
    frame = answered(100, units=50)
    with pytest.raises(DataError, match="no event up to"):
        compare_arms(frame, project(), START - timedelta(days=1), margin=0.05, confidence=0.95)
    with pytest.raises(DataError, match="nothing to compare"):
        compared(frame.with_columns(arm_share=0.0))


def test_a_plan_needs_four_times_as_long_for_half_the_loss() -> None:
    frame = answered(5000, units=500).drop("arm", "arm_share")
    days = [days_needed(frame, project(), LATER, loss=loss, share=0.5, confidence=0.95)[0] for loss in (0.1, 0.05)]
    assert days[1] == pytest.approx(4 * days[0])
    one_in_ten, _ = days_needed(frame, project(), LATER, loss=0.1, share=0.1, confidence=0.95)
    assert one_in_ten == pytest.approx(days[0] * (1 / 0.1 + 1 / 0.9) / 4)
    with pytest.raises(DataError, match="expected at least 20"):
        days_needed(frame[:10], project(), LATER, loss=0.1, share=0.5, confidence=0.95)


def with_shadow(frame: pl.DataFrame, *, seed: int = 3, changed: float = 0.1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events with labels that come by what was done, and what the other model decided."""
    rng = np.random.default_rng(seed)
    flip = pl.Series(rng.random(frame.height) < changed)
    other = pl.when(pl.col("action") == "review").then(pl.lit("allow")).otherwise(pl.lit("review"))
    shadow = frame.select("event_id", pl.when(flip).then(other).otherwise("action").alias("action"), y_prob="y_prob")
    days = pl.when(pl.col("label") == 0).then(10.0).when(pl.col("action") == "review").then(1.0).otherwise(6.0)
    spread = pl.Series(rng.uniform(0.5, 1.5, frame.height))
    late = (days * spread).clip(upper_bound=10.0)
    return frame.with_columns(label_time=pl.col("event_time") + (late * 86_400e6).cast(pl.Duration("us"))), shadow


def test_models_that_change_places_change_the_sign_of_what_is_compared_in_pairs() -> None:
    """Whatever the shares, the delays and what is known: no model is treated unlike the other."""
    frame, shadow = with_shadow(answered(6000, units=900, share=0.2, fraud_rate=0.1).with_columns(arm_share=0.2))
    other = pl.when(pl.col("arm") == "champion").then(pl.lit("challenger")).otherwise(pl.lit("champion"))
    mirrored = frame.with_columns(arm=other, arm_share=1.0 - pl.col("arm_share"))
    as_of = START + timedelta(days=20)
    one, two = (
        compare_arms(item, project(), as_of, margin=0.05, confidence=0.95, shadow=shadow) for item in (frame, mirrored)
    )
    assert one.paired is not None
    assert two.paired is not None
    assert two.paired.value == pytest.approx(-one.paired.value)
    assert two.paired.se == pytest.approx(one.paired.se)
    assert one.difference is not None
    assert two.difference is not None
    assert two.difference.value == pytest.approx(-one.difference.value)
    assert one.catches is not None
    assert two.catches is not None
    assert (two.catches.only_champion, two.catches.only_challenger) == (
        one.catches.only_challenger, one.catches.only_champion,
    )  # fmt: skip


def test_the_catches_are_what_a_loop_counts() -> None:
    frame, shadow = with_shadow(answered(5000, units=500, fraud_rate=0.1))
    found = compared(frame, shadow=shadow).catches
    assert found is not None
    caught = {"champion": 0, "challenger": 0}
    alone = {"champion": 0, "challenger": 0}
    for arm, acted, other, label in zip(frame["arm"], frame["action"], shadow["action"], frame["label"], strict=True):
        if not label:
            continue
        by = {arm: acted == "review", "champion" if arm == "challenger" else "challenger": other == "review"}
        for name in caught:
            caught[name] += by[name]
            alone[name] += by[name] and sum(by.values()) == 1
    assert (found.only_champion, found.only_challenger) == (alone["champion"], alone["challenger"])
    assert found.relative == pytest.approx(caught["challenger"] / caught["champion"] - 1.0)
    assert found.low < found.relative < found.high


def test_a_loss_of_catches_is_seen_before_the_money_is_sure_and_young_labels_do_not_bend_it() -> None:
    frame, shadow = with_shadow(answered(30_000, units=6000, fraud_rate=0.1, days=40), changed=0.0)
    lost = pl.Series(np.random.default_rng(5).random(frame.height) < 0.2) & (frame["action"] == "review")
    mine = frame["arm"] == "challenger"
    acted = frame.with_columns(action=pl.when(mine & lost).then(pl.lit("allow")).otherwise("action"))
    shadow = shadow.with_columns(action=pl.when(~mine & lost).then(pl.lit("allow")).otherwise("action"))
    young = compare_arms(acted, project(), START + timedelta(days=25), margin=0.02, confidence=0.95, shadow=shadow)
    assert young.catches is not None
    assert young.catches.only_challenger == 0
    assert young.catches.low < -0.2 < young.catches.high < 0.0


def test_probabilities_of_both_models_narrow_the_arms_and_do_not_move_them() -> None:
    rng = np.random.default_rng(7)
    ends, widths, gaps = [], [], []
    for seed in range(8):
        frame = answered(8000, units=1500, seed=seed, fraud_rate=0.1)
        sure = np.where(frame["label"].to_numpy() == 1, rng.beta(6, 2, frame.height), rng.beta(1, 20, frame.height))
        frame = frame.with_columns(y_prob=pl.Series(sure))
        known = frame.select("event_id", "action", "y_prob")
        plain, adjusted = (compared(frame, shadow=item).difference for item in (known.drop("y_prob"), known))
        assert plain is not None
        assert adjusted is not None
        widths.append(adjusted.se / plain.se)
        gaps.append(adjusted.value / adjusted.se)
        ends.append(plain.value / plain.se)
    assert np.mean(widths) < 0.8
    assert abs(float(np.mean(gaps))) < 1.2  # both arms act alike: the difference is 0


def test_delays_longer_than_the_experiment_are_learned_from_the_time_before() -> None:
    before, _ = with_shadow(answered(20_000, units=2000, seed=1, fraud_rate=0.1, days=40))
    before = before.with_columns(pl.col("event_time", "label_time") - timedelta(days=40))
    frame, _ = with_shadow(answered(150_000, units=20_000, seed=2, fraud_rate=0.1, days=40))
    as_of = START + timedelta(days=7)
    final = compared(frame.filter(pl.col("event_time") <= as_of))
    alone, helped = (
        compare_arms(frame, project(), as_of, margin=0.05, confidence=0.95, earlier=item)
        for item in (None, before.drop("arm", "arm_share"))
    )
    for arm in (0, 1):
        truth = final.arms[arm].cost_per_event
        assert truth is not None
        assert alone.arms[arm].cost_per_event < 0.8 * truth  # type: ignore[operator]
        assert helped.arms[arm].cost_per_event == pytest.approx(truth, rel=0.12)


def test_worse_by_either_comparison_fails() -> None:
    frame = answered(60_000, units=5000, fraud_rate=0.2)
    worse = frame.with_columns(action=pl.when(pl.col("arm") == "challenger").then(pl.lit("allow")).otherwise("action"))
    found = compared(worse, shadow=worse.select("event_id", "action", "y_prob"))  # in the shadow both act alike
    assert found.paired is not None
    assert (found.verdict, int(found.exit_code)) == ("fail", 1)
    assert "worse than the champion by the arms" in found.reason


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0), st.floats(0.001, 0.2))
def test_the_sequence_is_wider_than_one_look_and_narrows(se: float, target: float, alpha: float) -> None:
    from statistics import NormalDist

    width = half_width(se, target_se=target, alpha=alpha)
    assert width > se * NormalDist().inv_cdf(1 - alpha / 2)
    assert half_width(se / 2, target_se=target, alpha=alpha) < width
    assert half_width(target_of(se, alpha=alpha), target_se=target_of(se, alpha=alpha), alpha=alpha) == pytest.approx(
        se
    )


def test_the_sequence_leaves_out_the_truth_no_more_often_than_promised_over_all_looks() -> None:
    rng = np.random.default_rng(0)
    sums = rng.normal(size=(4000, 500)).cumsum(axis=1)
    n = np.arange(1, 501)
    widths = np.array([half_width(1 / math.sqrt(k), target_se=0.1, alpha=0.1) for k in n])
    ever = (np.abs(sums / n) > widths).any(axis=1).mean()
    assert ever <= 0.1
    fixed = (np.abs(sums / n) > 1.645 / np.sqrt(n)).any(axis=1).mean()
    assert fixed > 0.4  # what looking at a fixed interval does


def test_the_sample_ratio_test_accuses_a_true_plan_no_more_often_than_promised_over_all_looks() -> None:
    rng = np.random.default_rng(0)
    challenger = (rng.random((1000, 300)) < 0.1).cumsum(axis=1)
    ever = [
        any(sample_ratio_evidence(int(k), n - int(k), share=0.1) > math.log(20) for n, k in enumerate(row, start=1))
        for row in challenger
    ]
    assert np.mean(ever) <= 0.05
