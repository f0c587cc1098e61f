from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from decisions_world import PERIOD, START, evaluated, make_events, make_project, score

from fraudctl.costs import ConstantAction
from fraudctl.data.categories import Rest, Value
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError
from fraudctl.evaluate import Excluded, decide_frame, evaluate, pool, prepare
from fraudctl.evaluate.estimates import difference, estimate, metric_list
from fraudctl.evaluate.segments import split_segments
from fraudctl.metrics import average_precision, precision_at_k
from fraudctl.metrics.topk import day_boards
from fraudctl.policy import bare_policy
from fraudctl.uncertainty import RankingIntervals

SETTINGS = RankingIntervals(100, 0, 0.9)
NAMES = [
    "roc_auc", "average_precision", "precision", "recall", "value_recall", "alert_rate", "false_positive_rate", "cost",
    "savings", "savings_of_perfect", "brier", "ece", "card_precision_at_100", "terminal_precision_at_100",
]  # fmt: skip


def test_every_metric_of_the_contract_has_value_and_interval() -> None:
    project = make_project()
    document = as_object(evaluated(score(make_events(), project), project))
    assert list(document["metrics"]) == NAMES
    for name, item in document["metrics"].items():
        assert item["low"] <= item["value"] <= item["high"], name
    assert document["rows"] == 4000
    assert document["frauds"] == 400
    json.dumps(document, allow_nan=False)


def test_figures_by_hand() -> None:
    project = make_project()
    scored = score(make_events(), project)
    found = evaluated(scored, project)
    label, action = scored["label"].to_numpy(), scored["action"]
    alert = (action != "allow").to_numpy()
    assert found.metrics["precision"].value == pytest.approx(label[alert].mean())
    assert found.metrics["recall"].value == pytest.approx(alert[label == 1].mean())
    assert found.metrics["alert_rate"].value == pytest.approx(alert.mean())
    assert found.metrics["cost"].value == pytest.approx(scored["cost"].sum())
    fraud_amount = scored.filter(pl.col("label") == 1)["amount"]
    allow_all = (15 + fraud_amount).sum()
    block_all = (8 + 0.15 * scored.filter(pl.col("label") == 0)["amount"]).sum()
    constants = {item.words: item.cost for item in found.money.sums.constants}
    assert constants == pytest.approx({"allow all": allow_all, "review all": 4 * 4000, "block all": block_all})
    base = min(constants.values())
    assert found.money.sums.baseline == ConstantAction("review", base, 4000)
    assert found.metrics["savings"].base == found.money.sums.baseline
    assert found.metrics["savings"].value == pytest.approx(1 - scored["cost"].sum() / base)
    assert found.money.sums.saved == pytest.approx(base - scored["cost"].sum())
    assert found.metrics["savings_of_perfect"].value == 1.0
    assert found.money.sums.share_of_perfect == pytest.approx(found.metrics["savings"].value)
    ap = average_precision(label, scored["y_prob"].to_numpy())
    assert found.metrics["average_precision"].value == pytest.approx(ap)
    days = scored["event_time"].dt.epoch("d").to_numpy()
    boards = day_boards(label, scored["y_prob"].to_numpy(), day=days, entity=scored["card"].to_numpy())
    assert found.metrics["card_precision_at_100"].value == pytest.approx(precision_at_k(boards, 100).value)


def test_per_action_figures_add_up() -> None:
    project = make_project()
    found = evaluated(score(make_events(), project), project)
    assert set(found.by_action) == {"allow", "review", "block"}
    assert sum(item.events for item in found.by_action.values()) == 4000
    assert sum(item.frauds for item in found.by_action.values()) == 400
    assert sum(item.cost for item in found.by_action.values()) == pytest.approx(found.metrics["cost"].value)
    alerted = found.by_action["review"].recall.value + found.by_action["block"].recall.value
    assert alerted == pytest.approx(found.metrics["recall"].value)


def test_tables() -> None:
    project = make_project('segments = ["channel"]')
    found = evaluated(score(make_events(), project), project)
    tables = found.tables
    assert sum(day.frauds for day in tables.by_day) == 400
    assert sum(day.cost for day in tables.by_day) == pytest.approx(found.metrics["cost"].value)
    assert [day.day.isoformat() for day in tables.by_day] == [f"2026-03-0{n}" for n in range(2, 9)]
    assert {row.category.segment for row in tables.by_segment["channel"]} == {"web", "shop", "app"}
    assert sum(row.events for row in tables.by_segment["channel"]) == 4000
    recalls = [point.recall for point in tables.pr_curve]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0
    lowest = min(point.cost for point in tables.cost_curve)
    constants = {item.action: item.cost for item in found.money.sums.constants}
    assert lowest < constants["allow"]
    assert tables.cost_curve[-1].cost == pytest.approx(constants["block"])
    at_100 = next(row for row in tables.at_k if row.subject == "card" and row.k == 100)
    assert at_100.precision == pytest.approx(found.metrics["card_precision_at_100"].value)
    assert at_100.lowest <= at_100.precision <= at_100.highest
    assert at_100.recall_lowest <= at_100.recall <= at_100.recall_highest
    by_event = [row for row in tables.at_k if row.subject == "event"]
    assert [row.recall for row in by_event] == sorted(row.recall for row in by_event)


def test_missing_scores_leave_every_metric_unknown() -> None:
    project = make_project()
    events = make_events()
    y_prob = events["y_prob"].to_numpy().copy()
    y_prob[7] = np.nan
    scored = decide_frame(events.drop("y_prob"), y_prob, policy=bare_policy(project), project=project)
    assert scored.row(7, named=True)["action"] is None
    assert scored["cost"].null_count() == 1
    found = evaluated(scored, project)
    assert all(item.value is None for item in found.metrics.values())
    assert all("1 of 4000" in (item.reason or "") for item in found.metrics.values())
    json.dumps(as_object(found), allow_nan=False)


def test_nothing_to_evaluate_and_one_class() -> None:
    project = make_project()
    nothing = evaluated(score(make_events()[:0], project), project)
    assert {item.reason for item in nothing.metrics.values()} == {"no events"}
    honest = score(make_events().filter(pl.col("label") == 0), project)
    found = evaluated(honest, project)
    assert found.metrics["recall"].reason == "no frauds"
    assert found.metrics["roc_auc"].reason == "no frauds"
    assert found.metrics["savings"].reason is not None
    assert found.metrics["false_positive_rate"].value is not None
    json.dumps(as_object(found), allow_nan=False)


def test_null_labels_are_refused_and_unknown_actions_named() -> None:
    project = make_project()
    scored = score(make_events(), project)
    with pytest.raises(DataError, match="1 of 4000 events to evaluate have no label"):
        prepare(scored.with_columns(label=pl.Series([None, *scored["label"][1:]], dtype=pl.Int8)), project)
    with pytest.raises(DataError, match="actions ban are not in"):
        prepare(scored.with_columns(action=pl.lit("ban")), project)
    with pytest.raises(DataError, match="lack terminal"):
        prepare(scored.drop("terminal"), project)


def test_immature_rows_never_vote_and_are_bounded() -> None:
    project = make_project()
    scored = score(make_events(), project)
    young = score(make_events(200, 20, seed=9).with_columns(label=pl.lit(None, dtype=pl.Int8)), project)
    policy = bare_policy(project)
    with_young, without = (
        evaluate(
            scored, project=project, policy=policy, model="m", as_of=START, period=PERIOD,
            excluded=Excluded(immature=200), immature=item,
        )
        for item in (young, None)
    )  # fmt: skip
    assert with_young.metrics == without.metrics
    assert without.tables.immature is None
    bounds = with_young.tables.immature
    assert bounds.all_fraud.cost > bounds.all_legit.cost > scored["cost"].sum()
    assert bounds.all_fraud.recall < with_young.metrics["recall"].value == pytest.approx(bounds.all_legit.recall)
    assert as_object(with_young)["immature_rows"] == 200


def test_weights_count_as_copies() -> None:
    project = make_project()
    weighted = make_project().model_copy(update={"data": project.data.model_copy(update={"weight": "w"})})
    events = make_events(1000, 100).with_columns(w=pl.Series(np.arange(1000) % 3 + 1.0))
    copies = events[np.repeat(np.arange(1000), (np.arange(1000) % 3 + 1))]
    ours = prepare(score(events, weighted), weighted)
    theirs = prepare(score(copies, project), project)
    for name in ("precision", "savings", "cost", "average_precision", "roc_auc", "brier"):
        assert estimate(name, ours, SETTINGS).value == pytest.approx(estimate(name, theirs, SETTINGS).value), name


def test_differences_are_the_differences() -> None:
    project = make_project()
    a, b = (prepare(score(make_events(strength=s), project), project) for s in (3.0, 2.0))
    for name in metric_list(a):
        found = difference(name, a, b, SETTINGS)
        if name.endswith("at_100") or name == "ece":
            assert "no paired interval" in (found.reason or "")
        else:
            gap = estimate(name, a, SETTINGS).value - estimate(name, b, SETTINGS).value
            assert found.value == pytest.approx(gap)
            assert found.low <= found.value <= found.high


def test_segments_pool_what_is_small() -> None:
    values = pl.Series(["a"] * 50 + ["b"] * 30 + ["c"] * 5 + [None] * 5)
    y_true = np.ones(90)
    found = {name: int(mask.sum()) for name, mask in split_segments(values, y_true, min_frauds=10)}
    assert found == {Value("a"): 50, Value("b"): 30, Rest(): 10}
    # a rest of 10 is too small for 20: the next smallest joins it
    found = {name: int(mask.sum()) for name, mask in split_segments(values, y_true, min_frauds=20)}
    assert found == {Value("a"): 50, Rest(): 40}
    assert [name for name, _ in split_segments(values, y_true, min_frauds=1000)] == [Rest()]
    many = pl.Series([str(n % 20) for n in range(2000)])
    assert len(split_segments(many, np.ones(2000), min_frauds=1)) == 8
    assert sum(mask.sum() for _, mask in split_segments(many, np.ones(2000), min_frauds=1)) == 2000


def test_cost_columns_and_data_without_amount() -> None:
    base = make_project()
    actions = {
        "allow": {"fraud": {"column": "fn_cost"}},
        "block": {"legit": {"column": "fp_cost"}},
    }
    costs = type(base.costs).model_validate({"actions": actions})
    project = base.model_copy(update={"costs": costs})
    events = make_events().drop("amount").with_columns(fn_cost=pl.lit(100.0), fp_cost=pl.lit(3.0))
    found = evaluated(score(events, project), project)
    assert found.money.sums.constants[0].cost == 40_000.0
    assert found.metrics["savings"].low > 0
    assert found.metrics["value_recall"].reason == "the project declares no amount"


def test_pooled_weeks_are_one_evaluation() -> None:
    project = make_project()
    first = make_events(2000, 200)
    second = make_events(2000, 200, seed=5).with_columns(
        event_id=pl.col("event_id") + 10_000, event_time=pl.col("event_time").dt.offset_by("7d")
    )
    weeks = [score(item, project) for item in (second, first)]
    whole = pool(weeks)
    assert whole["event_time"].is_sorted()
    alone, both = (estimate("savings", prepare(item, project), SETTINGS) for item in (weeks[0], whole))
    assert both.se < alone.se
    with pytest.raises(DataError, match="2000 events stand in more than one"):
        pool([weeks[0], weeks[0]])
    with pytest.raises(DataError, match="no periods"):
        pool([])


def test_calibration_is_held_against_chance() -> None:
    project = make_project()
    events = make_events()
    rng = np.random.default_rng(0)
    honest = events.with_columns(label=pl.Series((rng.random(4000) < events["y_prob"].to_numpy()).astype(np.int8)))
    found = evaluated(score(honest, project), project).tables.calibration
    assert not found.more_than_chance
    assert 0 < found.honest_mean < found.honest_high
    proud = honest.with_columns(y_prob=pl.col("y_prob").sqrt())
    assert evaluated(score(proud, project), project).tables.calibration.more_than_chance
