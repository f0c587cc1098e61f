"""Each part of an explanation against brute force, arithmetic, or a truth that was planted."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import FEATURES, PROJECT, START, Described, World, contributions, make_world, project

from fraudctl.costs import cost_matrix
from fraudctl.errors import DataError
from fraudctl.evaluate import Replay
from fraudctl.explain import causes as causes_module
from fraudctl.explain.broken import find_broken
from fraudctl.explain.campaigns import around, find_campaigns, link
from fraudctl.explain.causes import find_causes, shifted
from fraudctl.explain.clusters import _prediction_strength, find_clusters
from fraudctl.explain.conditions import Condition, _bins, find_conditions, holds
from fraudctl.explain.contrast import contrast, family_sums
from fraudctl.explain.money import find_money
from fraudctl.explain.pairs import find_pairs
from fraudctl.explain.reasons import choose, give_reasons, tell
from fraudctl.explain.scene import Scene, make_scene
from fraudctl.explain.search import Errors, draw_errors, score_slice, strata_of
from fraudctl.explain.slices import _distinct, _FoundSlice
from fraudctl.explain.threshold import sweep
from fraudctl.policy import Policy


@pytest.fixture
def scene(world: World) -> Scene:
    return make_scene(world.scored, world.history, project=world.project, features=FEATURES)


def brute_cause(event: dict[str, object], history: list[dict[str, object]], near: bool) -> str:
    """The definitions of causes, word by word, for an event of a project without label windows (30 days back)."""
    t, reach = event["event_time"], timedelta(days=30)
    pending = known = False
    for other in history:
        shared = any(event[name] is not None and event[name] == other[name] for name in ("card", "merchant"))
        if other["label"] != 1 or not shared or not other["event_time"] < t:  # type: ignore[operator]
            continue
        pending |= other["label_time"] > t and other["event_time"] > t - reach  # type: ignore[operator]
        known |= t - reach < other["label_time"] <= t  # type: ignore[operator]
    return "label_delay" if pending else "near_miss" if near else "known" if known else "first_fraud"


def test_causes_are_those_of_brute_force(scene: Scene, world: World) -> None:
    causes = find_causes(scene, replay=world.replay)
    events = scene.scored[causes.rows]
    near = world.decide(events, shifted(events["y_prob"].to_numpy(), 2.0)) != 0
    history = world.history.filter(pl.col("label") == 1).to_dicts()
    expected = [brute_cause(event, history, bool(near[i])) for i, event in enumerate(events.to_dicts())]
    assert list(causes.cause) == expected
    assert {"label_delay", "known", "first_fraud", "near_miss"} >= set(expected)
    assert sum(item.n_missed for item in causes.totals) == int(scene.missed.sum())
    assert sum(item.cost for item in causes.totals) == pytest.approx(scene.cost[scene.missed].sum())


def test_causes_are_the_same_however_many_pairs_are_held(
    scene: Scene, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_causes(scene, replay=world.replay)
    monkeypatch.setattr(causes_module, "MOST_PAIRS", 7)
    parts = find_causes(scene, replay=world.replay)
    assert (parts.cause, parts.entity, parts.totals) == (whole.cause, whole.entity, whole.totals)


def test_an_empty_entity_explains_nothing(world: World) -> None:
    frame = world.scored.with_columns(card=pl.lit(None, dtype=pl.Int64), merchant=pl.lit(None, dtype=pl.Int64))
    scene = make_scene(frame, frame, project=world.project, features=FEATURES)
    never = Policy("thresholds", cost_matrix(world.project.costs))
    causes = find_causes(scene, replay=Replay.of(frame, frame["y_prob"].to_numpy(), never))
    assert set(causes.cause) == {"first_fraud"}
    assert find_campaigns(scene).items == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3) | st.none(), st.booleans()), min_size=1, max_size=40))
def test_around_counts_as_brute_force_does(rows: list[tuple[int, int | None, bool]]) -> None:
    frame = pl.DataFrame(
        {
            "event_id": range(len(rows)),
            "event_time": [START + timedelta(days=day) for day, _, _ in rows],
            "card": [card for _, card, _ in rows],
            "label": [int(fraud) for _, _, fraud in rows],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "card": pl.Int64},
    )
    n, frauds = around(frame, frame, "card", reach_days=5)
    for i, (day, card, _) in enumerate(rows):
        others = [
            other
            for j, other in enumerate(rows)
            if j != i and card is not None and other[1] == card and abs(other[0] - day) <= 5
        ]
        assert (n[i], frauds[i]) == (len(others), sum(other[2] for other in others))


def test_planted_campaigns_are_found_by_their_kind_of_entity() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    frame = pl.DataFrame(
        {
            "event_id": range(n),
            "event_time": [START + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, 20 * 86_400, n))],
            "card": rng.integers(0, 200, n),
            "merchant": rng.integers(0, 100, n),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    card_fraud, merchant_fraud = (frame["card"] == 7).to_numpy(), (frame["merchant"] == 11).to_numpy()
    label = (card_fraud | merchant_fraud).astype(np.int8)
    frame = frame.with_columns(label=pl.Series(label))
    frauds = frame.filter(pl.col("label") == 1)
    found = link(frauds, frame, entities=("card", "merchant"))
    truth = np.where((frauds["card"] == 7).to_numpy(), "card", "merchant")
    both = ((frauds["card"] == 7) & (frauds["merchant"] == 11)).to_numpy()
    assert (found == truth)[~both].all()


def test_campaigns_hold_every_fraud_of_theirs_once(scene: Scene) -> None:
    campaigns = find_campaigns(scene)
    assert len(campaigns.member) == int(scene.missed.sum())
    for i, item in enumerate(campaigns.items):
        assert item.size == len(item.course) >= item.n_missed >= int((campaigns.member == i).sum()) >= 1
        gaps = np.diff([event.event_time for event in item.course])
        assert all(gap <= timedelta(days=14) for gap in gaps)


def test_contrast_is_the_difference_of_means_and_families_add_up(scene: Scene) -> None:
    values = contributions(scene.scored)[:, :-1]
    found = contrast(
        values, errors=scene.missed, peers=scene.caught, features=FEATURES, seed=0,
        clusters={"card": scene.scored["card"]},
    )  # fmt: skip
    for row in found.features:
        j = [item.name for item in FEATURES].index(row.name)
        assert row.value == pytest.approx(values[scene.missed, j].mean() - values[scene.caught, j].mean())
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high
    assert family_sums(values, FEATURES)[1].sum(axis=1) == pytest.approx(values.sum(axis=1))
    assert sum(row.value for row in found.families) == pytest.approx(sum(row.value for row in found.features))


def test_contrast_with_few_entities_has_no_interval(scene: Scene) -> None:
    values = contributions(scene.scored)[:, :-1]
    one = pl.Series(np.zeros(scene.scored.height, dtype=np.int64))
    found = contrast(values, errors=scene.missed, peers=scene.caught, features=FEATURES, clusters={"card": one}, seed=0)
    assert {row.low for row in found.features} == {None}


def test_the_sweep_at_one_is_today_and_more_odds_never_alert_less(scene: Scene, world: World) -> None:
    found = sweep(scene, replay=world.replay)
    same = next(item for item in found.curve if item.factor == 1.0)
    assert (same.cost, same.n_alerts, same.n_missed) == (
        pytest.approx(scene.cost.sum()), int(scene.alert.sum()), int(scene.missed.sum()),
    )  # fmt: skip
    alerts = [item.n_alerts for item in found.curve]
    assert alerts == sorted(alerts)
    assert found.best.cost == min(item.cost for item in (*found.curve, *found.near, found.today))
    assert found.plateau[0] <= found.best.factor <= found.plateau[1]


def test_money_adds_up(scene: Scene) -> None:
    money = find_money(scene)
    channel = next(item for item in money.segments if item.column == "channel")
    assert sum(row.cost for row in channel.rows) == pytest.approx(scene.cost.sum())
    assert sum(row.n_events for row in channel.rows) == scene.scored.height
    assert "secret" not in {item.column for item in money.segments}


def test_clusters_find_two_planted_reasons_and_hide_noise() -> None:
    rng = np.random.default_rng(0)
    n = 200
    side = np.arange(n) % 2 == 0
    values = np.column_stack([np.where(side, 3.0, 0.2), np.where(side, 0.2, 3.0)]) + rng.normal(0, 0.1, (n, 2))
    features = (Described("amount"), Described("velocity", "window", "", "card"))
    frame = pl.DataFrame({"amount": np.where(side, 900.0, 20.0), "velocity": np.where(side, 0.0, 9.0)})
    everything = np.ones(n, dtype=bool)
    found = find_clusters(
        frame, values, member_of=everything, cost=np.ones(n), is_fraud=~everything, features=features, seed=0
    )
    assert [item.n for item in found.items] == [100, 100]
    assert all(item.precision == item.recall == 1.0 and item.stability > 0.9 for item in found.items)
    assert len({tuple(found.member[side]), tuple(found.member[~side])}) == 2
    noise = rng.normal(0, 1, (n, 2))
    hidden = find_clusters(
        frame, noise, member_of=everything, cost=np.ones(n), is_fraud=~everything, features=features, seed=0
    )
    assert all(item.stability >= 0.75 for item in hidden.items)
    assert len(hidden.items) + hidden.n_unstable >= 2


def test_reasons_point_to_the_decision_and_never_name_protected_features(scene: Scene, world: World) -> None:
    rows = np.concatenate([np.flatnonzero(scene.missed)[:40], np.flatnonzero(scene.false_alarm)[:40]])
    frame, values = scene.scored[rows], contributions(scene.scored[rows])[:, :-1]
    reasons = give_reasons(
        frame, values, towards_alert=scene.alert[rows], features=FEATURES, protected=("age",),
        history=world.history, entities=("card", "merchant"),
    )  # fmt: skip
    for row, found in zip(rows, reasons, strict=True):
        assert len(found) <= 4
        assert "age" not in {item.feature for item in found}
        assert {item.direction for item in found} <= {"raises" if scene.alert[row] else "lowers"}
        sizes = [abs(item.contribution) for item in found]
        assert sizes == sorted(sizes, reverse=True)
    again = give_reasons(frame, values, towards_alert=scene.alert[rows], features=FEATURES, protected=("age",),
                         history=world.history, entities=("card", "merchant"))  # fmt: skip
    assert again == reasons


def test_usual_value_is_the_median_of_earlier_events_of_the_entity(scene: Scene, world: World) -> None:
    row = int(np.flatnonzero(scene.missed)[-1])
    frame = scene.scored[row]
    (found,) = give_reasons(
        frame, np.array([[-9.0, 0, 0, 0, 0]]), towards_alert=np.array([False]), features=FEATURES, protected=(),
        history=world.history, entities=("card", "merchant"),
    )  # fmt: skip
    past = world.history.filter(
        pl.col("card") == frame["card"][0], pl.col("event_time") < frame["event_time"][0]
    ).sort("event_time").tail(50)  # fmt: skip
    assert found[0].usual == pytest.approx(past["amount"].median())
    assert found[0].usual_of == "card"


def test_ties_are_broken_by_the_order_of_the_model() -> None:
    values = np.array([[1.0, 1.0, 0.001, 1.0, 1.0]])
    assert choose(values, towards_alert=np.array([True]), features=FEATURES, protected=()) == [[0, 1, 3, 4]]
    assert tell("amount", 0.5) == "0.5"
    assert tell("seconds since the last event", 7200) == "2 h"


def test_zero_inflated_numbers_get_a_bin_for_zero() -> None:
    series = pl.Series("x", [0.0] * 500 + [None] * 100 + list(range(1, 401)))
    by_words = {item.words: int(holds(item, series.to_frame(), timezone="UTC").sum()) for item in _bins(series, "x")}
    assert by_words["x is 0"] == 500
    assert by_words["x is unknown"] == 100
    assert by_words["x is at most 101 but not 0"] == 101
    assert by_words["x is over 101 and at most 300"] == 199


def test_strata_depend_on_scores_alone_and_draws_keep_their_errors() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1, 20, 3000)
    stratum = strata_of(p)
    assert (np.bincount(stratum) >= 15).all()
    assert (np.diff(stratum[np.argsort(p)]) >= 0).all()
    error = rng.random(3000) < p
    errors = Errors.make(error, np.ones(3000), np.ones(3000), stratum)
    drawn = draw_errors(errors, 50, seed=[0])
    assert drawn.shape == (50, int(error.sum()))
    for rows in drawn:
        assert (
            np.bincount(stratum[rows], minlength=stratum.max() + 1)
            == np.bincount(stratum[error], minlength=stratum.max() + 1)
        ).all()


def test_one_slice_alone_is_scored_by_chance() -> None:
    rng = np.random.default_rng(2)
    stratum = np.zeros(2000, dtype=np.int64)
    inside = rng.random(2000) < 0.2
    error = rng.random(2000) < np.where(inside, 0.15, 0.03)
    errors = Errors.make(error, np.ones(2000), np.ones(2000), stratum)
    assert score_slice(errors, inside, seed=[0]) < 0.01
    assert score_slice(errors, rng.random(2000) < 0.2, seed=[0]) > 0.01


def test_a_feature_that_broke_for_a_day_is_named() -> None:
    world = make_world(3000, broken_day=6)
    scene = make_scene(world.scored, world.history, project=world.project, features=FEATURES)
    found = find_broken(scene)
    assert {item.feature for item in found} == {"velocity", "merchant_risk"}
    assert {item.day for item in found} == {(START + timedelta(days=6)).date()}
    whole = make_world(3000)
    assert find_broken(make_scene(whole.scored, whole.history, project=whole.project, features=FEATURES)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": pl.lit(None, dtype=pl.Int8)}, "no label"),
        ({"y_prob": pl.lit(float("nan"))}, "no finite y_prob"),
    ],
)
def test_decisions_that_cannot_be_explained_are_refused(world: World, change: dict[str, pl.Expr], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_scene(world.scored.with_columns(**change), world.history, project=world.project, features=FEATURES)
    with pytest.raises(DataError, match="lack cost"):
        make_scene(world.scored.drop("cost"), world.history, project=world.project, features=FEATURES)
    with pytest.raises(DataError, match="0 mature"):
        make_scene(world.scored.clear(), world.history, project=world.project, features=FEATURES)


def test_prediction_strength_counts_the_pairs_that_stay_together() -> None:
    rng = np.random.default_rng(4)
    code, again = rng.integers(0, 3, 40), rng.integers(0, 4, 40)
    shares = []
    for k in range(3):
        mine = np.flatnonzero(code == k)
        pairs = [(i, j) for i in mine for j in mine if i < j]
        shares.append(np.mean([again[i] == again[j] for i, j in pairs]))
    rows = np.arange(40)
    assert _prediction_strength(code, [(rows, again)]) == pytest.approx(min(shares))
    assert _prediction_strength(code, [(rows, again), (rows, code)]) == pytest.approx((min(shares) + 1) / 2)


def test_pairs_are_means_over_errors_of_either_kind(scene: Scene) -> None:
    n = int(scene.missed.sum())
    values = np.random.default_rng(0).normal(size=(n + int(scene.false_alarm.sum()), 2)) * [0.1, 1.0]
    found = find_pairs(scene, interact=lambda frame: ([(0, 1), (1, 2)], values[: frame.height]), seed=0)
    assert (found.n_missed, found.n_false_alarms) == (n, int(scene.false_alarm.sum()))
    assert [item.features for item in found.items] == [("velocity", "merchant_risk"), ("amount", "velocity")]
    assert found.items[0].missed == pytest.approx(values[:n, 1].mean())
    assert found.items[0].false_alarms == pytest.approx(values[n:, 1].mean())
    assert found.items[0].strength == pytest.approx(np.abs(values[:, 1]).mean())


def test_slices_with_the_same_errors_are_one_and_a_significant_one_stays() -> None:
    errors = np.arange(100) < 20
    items = [(named("strong", significant=False), errors), (named("weak", significant=True), errors)]
    assert [item.where[0].words for item in _distinct(items)] == ["weak"]
    part = errors & (np.arange(100) < 10)
    assert len(_distinct([(named("all", significant=True), errors), (named("half", significant=True), part)])) == 1
    other = (np.arange(100) >= 15) & (np.arange(100) < 40)
    assert len(_distinct([(named("all", significant=True), errors), (named("other", significant=True), other)])) == 2


def named(words: str, *, significant: bool) -> _FoundSlice:
    return _FoundSlice((Condition("x", words, "level"),), (0,), 0.01, None, None, significant)


def test_a_feature_that_drifts_is_not_broken() -> None:
    world = make_world(3000)
    day = (pl.col("event_time") - START).dt.total_days()
    frame = world.scored.with_columns(velocity=pl.col("velocity") + 2.0 * day)
    assert find_broken(make_scene(frame, frame, project=world.project, features=FEATURES)) == ()


def test_a_feature_of_the_clock_alone_is_no_segment() -> None:
    text = PROJECT.replace(
        "[features]\n", '[features]\ncolumns = { event_weekday = "extract(isodow FROM event_time)" }\n'
    )
    world = make_world(500)
    frame = world.scored.with_columns(event_weekday=pl.col("event_time").dt.weekday())
    features = (*FEATURES, Described("event_weekday", "column", "day of the week"))
    scene = make_scene(frame, frame, project=project(text), features=features)
    assert scene.clock_features == {"event_weekday"}
    assert "event_weekday" not in {item.column for item in find_money(scene).segments}
    conditions, _, n_possible = find_conditions(scene, np.arange(frame.height))
    assert "event_weekday" not in {item.column for item in conditions}
    assert n_possible >= len(conditions)


def test_days_without_an_event_count_as_days_of_the_period() -> None:
    world = make_world(1500, seed=12)
    gap = world.scored.filter(~pl.col("event_time").dt.day().is_in([4, 5, 6]))
    scene = make_scene(gap, world.history, project=world.project, features=FEATURES)
    assert scene.day.n_unique() == 7
    assert scene.n_days == 10
