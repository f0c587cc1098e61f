"""The unit of weights is the user's: multiplying all of them by one number changes nothing but sums of money."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from decisions_world import evaluated, make_events, make_project, score
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import FEATURES, project, table

from fraudctl.calibrate import METHODS, choose_calibrator, fit_calibrator
from fraudctl.costs import BASE_RULE
from fraudctl.documents.results import as_json, as_object
from fraudctl.gate import Champion, judge
from fraudctl.policy import bare_policy, choose_policy
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.split import make_split
from fraudctl.train import TrainedModel, fit_project
from fraudctl.weights import WEIGHT, in_events

UNITS = st.sampled_from([1e-3, 1 / 7, 0.5, 3.0, 1e3])
MONEY = {"cost", "fraud_amount", "fraud_amount_alerted", "fraud_amount_missed", "saved", "saved_by_perfect",
         "perfect_cost", "baseline_cost", "keeping_costs_more", "hindsight_bound"}  # fmt: skip
"""Keys of sums of money: they count each event as often as its weight says."""
CLOSE = {"rel": 1e-7, "abs": 1e-9}


def world(seed: int, n_events: int = 4000) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return make_events(n_events, n_events // 10, seed=seed).with_columns(w=rng.choice([0.3, 1.0, 5.0, 20.0], n_events))


def weighted(plan: Project) -> Project:
    return plan.model_copy(update={"data": plan.data.model_copy(update={"weight": "w"})})


def same(one: Any, other: Any, unit: float, *, money: bool = False, key: str = "") -> None:
    """Check that two documents are equal, sums of money aside, which are ``unit`` times as large."""
    money = money or key in MONEY
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        amounts = money or one.get("metric") == "cost"
        for name in one:
            same(one[name], other[name], unit, money=amounts, key=name)
    elif isinstance(one, list):
        assert len(one) == len(other), key
        for pair in zip(one, other, strict=True):
            same(*pair, unit, money=money, key=key)
    elif isinstance(one, float):
        assert other == pytest.approx(one * (unit if money else 1.0), **CLOSE), key
    else:
        assert one == other, key


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), UNITS)
def test_calibrators_and_their_choice(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    n_events = int(rng.integers(40, 600))
    weight = rng.choice([0.3, 1.0, 5.0, 20.0], n_events)
    # scores on a grid, so that several events share one and blocks of equal rate occur
    scores = rng.normal(-2, 1.5, n_events).round(1)
    y_true = (rng.random(n_events) < 1 / (1 + np.exp(-scores))).astype(np.int8)
    at = np.linspace(-8, 4, 50)
    for method in METHODS:
        pair = [fit_calibrator(y_true, scores, method=method, weight=weight * factor) for factor in (1.0, unit)]
        assert (pair[0] is None) == (pair[1] is None)
        if pair[0] is not None and pair[1] is not None:
            assert pair[1].predict(at) == pytest.approx(pair[0].predict(at), rel=1e-6), method
    fold = np.sort(rng.integers(0, 3, n_events))
    one, other = (choose_calibrator(y_true, scores, fold, weight=weight * factor) for factor in (1.0, unit))
    assert one.calibrator.method == other.calibrator.method
    assert other.y_prob == pytest.approx(one.y_prob, rel=1e-6)


def test_isotonic_shrinks_by_one_event_of_mean_weight() -> None:
    # 4 events at score 0, one of them fraud, and 4 at 1, three of them: all is 1/2, so (1 + .5) / 5 and (3 + .5) / 5
    y_true, scores = np.array([1, 0, 0, 0, 1, 1, 1, 0]), np.repeat([0.0, 1.0], 4)
    for unit in (0.001, 1.0, 250.0):
        found = fit_calibrator(y_true, scores, method="isotonic", weight=np.full(8, unit))
        assert found is not None
        assert found.predict(np.array([0.0, 1.0])) == pytest.approx([0.3, 0.7])


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=20), st.floats(1e-6, 1e6))
def test_weights_in_events_have_a_mean_of_one(values: list[float], unit: float) -> None:
    weight = np.array(values)
    if not (weight > 1e-290).all():
        weight = weight + 1.0
    found = in_events(weight)
    assert found.mean() == pytest.approx(1.0)
    assert in_events(weight * unit) == pytest.approx(found)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), UNITS)
def test_metrics_intervals_thresholds_and_verdicts(seed: int, unit: float) -> None:
    more = (
        'segments = ["channel"]\n[gate]\nsavings = { at_least = 0.2 }\nrecall = { at_least = 0.4 }\n'
        "ece = { at_most = 0.2 }\nchampion = {}\nmin_frauds = 100\n"
        '[[gate.segments]]\nby = "channel"\nmetric = "recall"\nat_least = 0.3\n'
    )
    plan = weighted(make_project(more))
    documents = []
    for factor in (1.0, unit):
        events = world(seed).with_columns(pl.col("w") * factor)
        weaker = make_events(4000, 400, seed=seed, strength=2.0)["y_prob"]
        scored, rival = score(events, plan), score(events.with_columns(weaker), plan)
        found = judge(
            evaluated(scored, plan), scored, project=plan, policy=bare_policy(plan), champion=Champion("old", rival)
        )
        documents.append(as_object(found))
    one, other = documents
    for item in (one, other):  # texts and sums of money are looked at apart
        item["base"] = item["money"].pop("baseline")
        item["constants"] = item["money"].pop("constants")
        item["gate"]["reason"] = ""
    assert [rule["verdict"] for rule in one["gate"]["rules"]] == [rule["verdict"] for rule in other["gate"]["rules"]]
    assert one["base"]["words"] == other["base"]["words"]
    assert other["base"]["cost"] == pytest.approx(one["base"]["cost"] * unit)
    assert one["money"]["base_rule"] == BASE_RULE
    for name in one["metrics"]:
        if name == "cost":
            same(one["metrics"]["cost"], other["metrics"]["cost"], unit, money=True)
        else:
            kept = [{key: item["metrics"][name].get(key) for key in ("value", "low", "high")} for item in documents]
            same(*kept, unit)
    assert one["gate"]["verdict"] == other["gate"]["verdict"]
    for name in ("calibration", "reliability", "pr_curve", "at_k"):
        same(one[name], other[name], unit)


@pytest.mark.parametrize("unit", [1e-3, 1 / 7, 1e3])
@pytest.mark.parametrize(
    "policy",
    ['kind = "thresholds"', 'constraints = { alert_rate = { at_most = 0.1 } }', 'capacity = { review = "60 per day" }'],
)  # fmt: skip
def test_the_policy_that_is_chosen(policy: str, unit: float) -> None:
    plan = make_project(f"[policy]\n{policy}\n")
    rows = world(1).rename({"w": WEIGHT}).with_columns(y_score=(pl.col("y_prob") / (1 - pl.col("y_prob"))).log())
    one, other = (
        choose_policy(plan, rows.with_columns(pl.col(WEIGHT) * factor), rows["y_prob"].to_numpy())
        for factor in (1.0, unit)
    )
    same(as_object(one.policy), as_object(other.policy), 1.0)
    assert other.report.cost == pytest.approx(one.report.cost * unit)
    assert one.report.actions == other.report.actions
    assert one.report.worth.as_good_and_simpler == other.report.worth.as_good_and_simpler
    changed = [[row.changes for row in item.report.worth.cost_sensitivity] for item in (one, other)]
    assert changed[0] == changed[1]


def trained(unit: float) -> TrainedModel:
    frame = table(3000).with_columns(w=unit * pl.when(pl.col("velocity") > 2).then(4.0).otherwise(1.0))
    plan = project(split='as_of = 2026-02-20\ntest = "8d"\nfolds = 2', data='weight = "w"')
    split = make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    return fit_project(frame, FEATURES, plan, split, progress=Silent())


def test_what_is_learned() -> None:
    one, other = trained(1.0), trained(1000.0)
    assert other.n_trees == one.n_trees
    for name in ("y_score", "y_prob"):
        assert other.predictions[name].to_numpy() == pytest.approx(one.predictions[name].to_numpy(), rel=1e-6, abs=1e-9)
    assert one.calibrator.method == other.calibrator.method
    for name in ("tuning", "params", "trees", "warnings", "baselines"):
        same(as_json(getattr(one.summary, name)), as_json(getattr(other.summary, name)), 1.0)
    assert other.predictions[WEIGHT].to_numpy() == pytest.approx(1000.0 * one.predictions[WEIGHT].to_numpy())


@pytest.mark.parametrize("unit", [1e-3, 1e3])
@pytest.mark.parametrize(
    "policy",
    [
        'kind = "thresholds"',
        "constraints = { alert_rate = { at_most = 0.1 } }",
        "constraints = { alert_rate = { at_least = 0.9995 } }",
        'capacity = { review = "60 per day" }',
    ],
)
def test_another_currency_changes_no_decision(policy: str, unit: float) -> None:
    more = f"[policy]\n{policy}\n"
    rows = world(2).drop("w")
    found = []
    for factor in (1.0, unit):
        plan = make_project(more)
        actions = {
            name: {
                side: {"fixed": cell.fixed * factor, "rate": cell.rate}
                for side, cell in (("legit", item.legit), ("fraud", item.fraud))
            }
            for name, item in plan.costs.actions.items()
        }
        plan = plan.model_copy(update={"costs": type(plan.costs).model_validate({"actions": actions})})
        priced = rows.with_columns(pl.col("amount") * factor)
        policy_found = choose_policy(plan, priced, rows["y_prob"].to_numpy()).policy
        scored = score(priced, plan, policy=policy_found)
        told = {**policy_found.thresholds, "alert_price": policy_found.alert_price / factor}
        found.append((scored["action"].to_list(), told, evaluated(scored, plan).metrics["savings"]))
    one, other = found
    assert one[0] == other[0]
    same(one[1], other[1], 1.0)
    for name in ("value", "low", "high"):
        same(getattr(one[2], name), getattr(other[2], name), 1.0)
