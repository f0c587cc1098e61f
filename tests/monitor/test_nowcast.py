from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fraudctl.monitor.cohort_source import CohortEvents
from fraudctl.monitor.delays import N_BINS, DelayCurve
from fraudctl.monitor.nowcast import (
    Design,
    _Stratum,
    level_of_closed,
    nowcast,
    silent_share,
    survival,
)

DAY = 86_400.0
WEEK = 7 * DAY
DESIGN = Design(n_cohorts=16, n_strata=2, label_delay=42 * DAY, cohort_seconds=WEEK, n_draws=400)


def world(seed: int, *, n_weeks: int = 16, per_week: int = 1500, slow: float = 1.0, slow_from: int = 99) -> dict:
    """Payments with all that will ever be known: flagged frauds in days, missed ones in weeks."""
    rng = np.random.default_rng(seed)
    week = np.repeat(np.arange(n_weeks), per_week)
    time = (week + rng.random(len(week))) * WEEK
    y_prob = rng.beta(0.12, 1.6, len(week))
    stratum = (y_prob > 0.3).astype(np.int64)
    fraud = rng.random(len(week)) < y_prob
    delay = np.where(stratum == 1, rng.gamma(2.0, 1.5 * DAY, len(week)), rng.gamma(4.0, 4.5 * DAY, len(week)))
    delay = np.minimum(delay, 40 * DAY) * np.where(week >= slow_from, slow, 1.0)
    return {"time": time, "week": week, "y_prob": y_prob, "stratum": stratum, "fraud": fraud, "delay": delay}


def known_at(w: dict, at: float) -> CohortEvents:
    seen = w["fraud"] & (w["time"] + w["delay"] <= at)
    none = np.full(len(seen), np.nan)
    return CohortEvents(
        w["week"], w["stratum"], at - w["time"], w["y_prob"], np.where(seen, 1, -1).astype(np.int8),
        np.where(seen, w["delay"], none), none,
    )  # fmt: skip


def ones(events: CohortEvents) -> np.ndarray:
    return np.ones((len(events.cohort), 1))


def test_the_level_by_hand() -> None:
    # the older cohort counts half: (50 + 120 + 1) / (50 + 100 + 1)
    assert level_of_closed(np.array([100.0, 120.0]), np.array([100.0, 100.0]), half_life=1.0) == 171 / 151
    assert level_of_closed(np.zeros(0), np.zeros(0), half_life=1.0) == 1.0


def test_probabilities_of_the_unknown_follow_bayes() -> None:
    curve = DelayCurve(100.0, np.minimum(np.arange(N_BINS + 1) / N_BINS, 1.0), 50)
    quarter = np.array([0.25])
    fitted = _Stratum(curve, np.ones(N_BINS + 1), 1.0, 1.0)
    # of 100 such events 20 are frauds, 10 of them known at half of the horizon; of 80 legitimate ones 60 have a verdict
    assert fitted.still_fraud(np.array([0.2]), np.array([50.0]), quarter, 1.0) == pytest.approx(10 / (10 + 20))
    assert fitted.still_fraud(np.array([0.2]), np.array([100.0]), quarter, 1.0) == pytest.approx(0.0)


def test_reversals_by_hand() -> None:
    # two frauds known at once; after 10 of 128 s one of two is reversed, the other stays for ever
    events = CohortEvents(
        np.zeros(2, int), np.zeros(2, int), np.full(2, 128.0), np.full(2, 0.5),
        np.array([0, 1], np.int8), np.zeros(2), np.array([10.5, np.nan]),
    )  # fmt: skip
    stays = survival(events, 128.0)
    assert stays[[0, 5, 10, 11, 128]] == pytest.approx([0.5, 0.5, 0.5, 1.0, 1.0])


def test_the_share_of_silence_by_hand() -> None:
    # bins of one second; of a cohort, nothing was said of one of two legitimate events that are 5 s old
    known, age = np.array([-1, 0, 1, -1], np.int8), np.array([5.1, 5.2, 5.3, 9.0])
    assert silent_share(known, age, 128.0) == pytest.approx([0.5, 0.5, 0.5, 1.0])
    assert silent_share(known[3:], age[:1], 128.0) == pytest.approx([1.0])  # of another cohort


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("slow", [1.0, 1.3])
def test_silence_that_becomes_a_verdict_says_nothing_of_the_frauds_that_are_missing(seed: int, slow: float) -> None:
    """Nearly all are known, and all older cohorts have a verdict for every event at the very age of the label delay."""
    w = world(40 + seed, slow=slow, slow_from=0)
    at = 16 * WEEK
    events = known_at(w, at)
    silent = (events.known == -1) & (events.age >= DESIGN.label_delay)
    events = replace(
        events,
        known=np.where(silent, 0, events.known).astype(np.int8),
        cleared_after=np.where(silent, DESIGN.label_delay, np.nan),
    )
    found = nowcast(events, ones(events), DESIGN)
    truth = np.bincount(w["week"][w["fraud"]], minlength=16)
    ripe = (found.matured > 0.85) & (found.matured < 1.0)
    assert ripe.any()
    assert found.estimate.sum(axis=(1, 2))[ripe] == pytest.approx(truth[ripe], rel=0.1)


def test_what_has_matured_is_what_is_known() -> None:
    w = world(1, per_week=300)
    found = nowcast(known_at(w, 60 * WEEK), ones(known_at(w, 60 * WEEK)), DESIGN)
    final = np.bincount(w["week"][w["fraud"]], minlength=16)
    assert found.known.sum(axis=(1, 2)) == pytest.approx(final)
    assert found.estimate == pytest.approx(found.known)
    assert (found.draws == found.known).all()
    assert found.matured == pytest.approx(np.ones(16))
    assert found.closed.all()


def test_without_a_label_the_probabilities_speak() -> None:
    w = world(2, per_week=400)
    events = known_at(w, 16 * WEEK)
    fresh = events.cohort == 15
    quiet = replace(
        events,
        age=np.where(fresh, 1.0, events.age),
        known=np.where(fresh, -1, events.known).astype(np.int8),
        fraud_after=np.where(fresh, np.nan, events.fraud_after),
    )
    found = nowcast(quiet, ones(quiet), DESIGN)
    assert found.matured[15] < 0.05
    expected = np.bincount(w["stratum"][fresh], weights=w["y_prob"][fresh])
    assert found.estimate[15, :, 0] == pytest.approx(expected, rel=0.25)


def test_estimates_are_near_and_intervals_hold_the_truth() -> None:
    errors, naive, held = [], [], []
    for seed in range(4):
        w = world(10 + seed)
        events = known_at(w, 16 * WEEK)
        found = nowcast(events, ones(events), DESIGN)
        truth = np.zeros((16, 2))
        np.add.at(truth, (w["week"][w["fraud"]], w["stratum"][w["fraud"]]), 1.0)
        for week in range(10, 16):
            errors.append(found.estimate[week].sum() / truth[week].sum() - 1)
            naive.append(found.known[week].sum() / truth[week].sum() - 1)
            low, high = np.quantile(found.draws[:, week, :, 0].sum(axis=1), [0.05, 0.95])
            held.append(low <= truth[week].sum() <= high)
    assert np.abs(errors).mean() < 0.5 * np.abs(naive).mean()
    assert abs(np.mean(errors)) < 0.05
    assert np.mean(held) > 0.75


@pytest.mark.parametrize("delay_days", [7, 42])
def test_where_all_labels_come_when_the_delay_is_over_closed_cohorts_are_counted_and_not_estimated(
    delay_days: int,
) -> None:
    w = world(6)
    w["delay"] = np.full(len(w["time"]), delay_days * DAY)
    design = replace(DESIGN, label_delay=delay_days * DAY)
    amount = np.random.default_rng(6).gamma(2.0, 50.0, len(w["time"]))
    for at in (15.0, 16.0):
        inside = w["time"] <= at * WEEK
        events = known_at(w, at * WEEK).take(inside)
        values = np.column_stack([np.ones(int(inside.sum())), amount[inside]])
        found = nowcast(events, values, design)
        assert found.closed.sum() == at - delay_days / 7
        assert found.matured[found.closed] == pytest.approx(1.0)
        assert found.estimate[found.closed] == pytest.approx(found.known[found.closed], rel=1e-4)
        ends = np.quantile(found.draws[:, found.closed], [0.05, 0.95], axis=0, method="nearest")
        assert (ends == found.known[found.closed]).all()
        fraud = w["fraud"][inside]
        truth = np.zeros(found.known.shape)
        np.add.at(truth, (events.cohort[fraud], events.stratum[fraud]), values[fraud])
        assert found.known[found.closed] == pytest.approx(truth[found.closed])


def test_large_losses_that_are_reported_sooner_are_not_expected_again_of_late_frauds() -> None:
    errors, held = {None: [], 1: []}, []
    for seed in range(4):
        w = world(20 + seed)
        amount = np.random.default_rng(seed).lognormal(4.0, 1.0, len(w["time"]))
        w["delay"] = np.minimum(w["delay"] * (amount / np.exp(4.0)) ** -0.4, 41 * DAY)
        inside = w["time"] <= 15 * WEEK
        events = known_at(w, 15 * WEEK).take(inside)
        values = np.column_stack([np.ones(int(inside.sum())), amount[inside]])
        allowed = inside & w["fraud"] & (w["stratum"] == 0)
        truth = np.bincount(w["week"][allowed], weights=amount[allowed], minlength=16)[10:14]
        for money, found_errors in errors.items():
            found = nowcast(events, values, replace(DESIGN, money=money))
            found_errors.append(found.estimate[10:14, 0, 1].sum() / truth.sum() - 1.0)
            assert found.estimate[:, :, 0] == pytest.approx(nowcast(events, values, DESIGN).estimate[:, :, 0])
        low, high = np.quantile(found.draws[:, 10:14, 0, 1], [0.05, 0.95], axis=0)
        held.append((low <= truth) & (truth <= high))
    assert np.mean(errors[None]) > 0.06
    assert abs(np.mean(errors[1])) < 0.03
    assert np.mean(held) >= 0.75


def test_delays_that_double_are_seen_and_widen_intervals() -> None:
    plain, slow = world(3), world(3, slow=2.0, slow_from=10)
    events = known_at(slow, 16 * WEEK)
    found = nowcast(events, ones(events), DESIGN)
    before = nowcast(known_at(plain, 16 * WEEK), ones(events), DESIGN)
    assert found.stretch[12, 0] > 1.4 > before.stretch[12, 0]
    truth = np.bincount(slow["week"][slow["fraud"]])
    total = found.draws[:, :, :, 0].sum(axis=2)
    low, high = np.quantile(total, [0.02, 0.98], axis=0)
    assert (low[10:] <= truth[10:]).sum() >= 5
    assert (high[10:] >= truth[10:]).sum() >= 5


def test_two_cohorts_and_a_hard_shift_do_not_blow_up() -> None:
    w = world(4, n_weeks=2, per_week=200, slow=0.2, slow_from=1)
    events = known_at(w, 2 * WEEK)
    design = replace(DESIGN, n_cohorts=2)
    found = nowcast(events, ones(events), design)
    truth = np.bincount(w["week"][w["fraud"]])
    assert (found.estimate.sum(axis=(1, 2)) < 2.5 * truth).all()
    assert (found.draws.sum(axis=(2, 3)) <= 200).all()


def test_reversed_frauds_leave_the_estimate() -> None:
    w = world(5, per_week=600)
    rng = np.random.default_rng(0)
    events = known_at(w, 16 * WEEK)
    back = w["delay"] + 3 * DAY
    gone = (events.known == 1) & (rng.random(len(w["week"])) < 0.3) & (back <= events.age)
    mixed = replace(
        events,
        known=np.where(gone, 0, events.known).astype(np.int8),
        cleared_after=np.where(gone, back, np.nan),
    )
    honest, kept = nowcast(mixed, ones(mixed), DESIGN), nowcast(events, ones(events), DESIGN)
    share = honest.estimate[12:15].sum() / kept.estimate[12:15].sum()
    assert 0.6 < share < 0.85
    assert (honest.estimate[:6] <= kept.estimate[:6]).all()


def test_verdicts_of_both_classes_leave_little_open() -> None:
    w = world(6, per_week=600)
    events = known_at(w, 16 * WEEK)
    said = (events.known == -1) & ~w["fraud"] & (w["delay"] <= events.age)
    both = replace(
        events,
        known=np.where(said, 0, events.known).astype(np.int8),
        cleared_after=np.where(said, w["delay"], np.nan),
    )
    truth = np.bincount(w["week"][w["fraud"]], minlength=16)
    found = nowcast(both, ones(both), DESIGN)
    assert found.estimate[8:].sum() == pytest.approx(truth[8:].sum(), rel=0.08)
    spread = found.draws.sum(axis=(2, 3)).std(axis=0)
    assert spread[15] < nowcast(events, ones(events), DESIGN).draws.sum(axis=(2, 3)).std(axis=0)[15]


def test_no_fraud_no_event_no_probability() -> None:
    n = 32
    nothing = CohortEvents(
        np.repeat(np.arange(16), 2), np.zeros(n, int), np.linspace(100, 1, n) * DAY, np.full(n, np.nan),
        np.full(n, -1, np.int8), np.full(n, np.nan), np.full(n, np.nan),
    )  # fmt: skip
    found = nowcast(nothing, ones(nothing), DESIGN)
    assert (found.known == 0).all()
    assert (found.estimate < 1).all()
    empty = nothing.take(np.zeros(n, bool))
    found = nowcast(empty, np.zeros((0, 1)), DESIGN)
    assert np.isnan(found.matured).all()
    assert (found.estimate == 0).all()


def test_same_events_same_bits() -> None:
    events = known_at(world(7, per_week=200), 16 * WEEK)
    first, second = nowcast(events, ones(events), DESIGN), nowcast(events, ones(events), DESIGN)
    assert first.draws.tobytes() == second.draws.tobytes()
    assert first.estimate.tobytes() == second.estimate.tobytes()
