from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from decisions_world import START, make_events, make_project
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.costs import CostCell, CostMatrix, expected_cost, minimum_risk
from fraudctl.documents.results import as_object
from fraudctl.errors import BundleError, DataError
from fraudctl.policy import CapacityLimit, CapacityUse, Policy, PolicyRule, bare_policy
from fraudctl.policy.bids import BidPrices, local_moments, local_period

MATRIX = CostMatrix(
    ("allow", "review", "block"),
    ((CostCell(), CostCell(100.0)), (CostCell(2.0), CostCell(2.0)), (CostCell(20.0), CostCell(0.0))),
)


def table(n_events: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"event_time": pl.Series([START] * n_events), "amount": pl.Series(range(n_events), dtype=pl.Float64)}
    )


def test_lowest_expected_cost_by_hand() -> None:
    # p = 0.01: allow 1, review 2, block 19.8; p = 0.5: 50, 2, 10; p = 0.99: 99, 2, 0.2
    codes = Policy("expected_cost", MATRIX).decide(table(3), np.array([0.01, 0.5, 0.99]))
    assert codes.tolist() == [0, 1, 2]


def test_thresholds_are_reached_not_passed() -> None:
    policy = Policy("thresholds", MATRIX, thresholds={"review": 0.2, "block": 0.6})
    assert policy.decide(table(4), np.array([0.199, 0.2, 0.6, 1.0])).tolist() == [0, 1, 2, 2]
    never = Policy("thresholds", MATRIX, thresholds={"review": None, "block": None})
    assert never.decide(table(1), np.array([1.0])).tolist() == [0]


def test_a_price_of_alerts_makes_them_rarer_and_never_allow_dearer() -> None:
    assert Policy("expected_cost", MATRIX, alert_price=60.0).decide(table(1), np.array([0.5])).tolist() == [0]
    assert Policy("expected_cost", MATRIX, alert_price=-5.0).decide(table(1), np.array([0.0])).tolist() == [1]


def test_running_cap_serves_in_time_order_and_the_rest_take_their_next_wish() -> None:
    policy = Policy("expected_cost", MATRIX, capacity=(CapacityLimit("review", 1, "day"),))
    # all want review; the second would rather allow (p .05: 5 against 19), the third rather block (p .5: 50 against 10)
    assert policy.decide(table(3), np.array([0.03, 0.05, 0.5])).tolist() == [1, 0, 2]


def test_a_place_is_taken_only_where_it_is_worth_its_price() -> None:
    # until 00:30 a place costs 4, with both left, and 60 with the last; later nothing. Reviewing instead of allowing
    # gains 1 at p = .03, 5 at .07, 48 at .5 (there against blocking 8); all events come at midnight
    prices = ((60.0, 4.0), *((0.0, 0.0) for _ in range(47)))
    limits = (CapacityLimit("review", 2, "day"),)
    policy = Policy("expected_cost", MATRIX, capacity=limits, bids={"review": BidPrices("day", (1, 2), prices)})
    assert policy.decide(table(4), np.array([0.03, 0.07, 0.07, 0.5])).tolist() == [0, 1, 0, 2]
    later = table(4).with_columns(pl.col("event_time") + pl.duration(minutes=30))
    assert policy.decide(later, np.array([0.03, 0.07, 0.07, 0.5])).tolist() == [1, 1, 0, 2]


def test_a_rule_never_gets_a_milder_action_while_a_harsher_one_has_room() -> None:
    # the second wants a review by itself, as its rule demands, and finds it full: it is blocked, though to allow it
    # would be cheaper
    rules = (PolicyRule("all", "amount >= 0", "review"),)
    policy = Policy("expected_cost", MATRIX, rules=rules, capacity=(CapacityLimit("review", 1, "day"),))
    assert policy.decide(table(2), np.array([0.05, 0.05])).tolist() == [1, 2]


def test_days_are_local() -> None:
    times = pl.Series(["2026-03-02T23:30:00", "2026-03-08T22:59:00", "2026-03-08T23:30:00"]).str.to_datetime(
        time_zone="UTC", time_unit="us"
    )
    assert np.diff(local_period(times, "day", "Europe/Berlin")).tolist() == [5, 1]
    assert np.diff(local_period(times, "week", "Europe/Berlin")).tolist() == [0, 1]
    assert np.diff(local_period(times, "day", "UTC")).tolist() == [6, 0]
    # 00:30, 23:59 (summer time has not begun) and 00:30 on the wall: Tuesday, Sunday, Monday
    assert local_moments(times, "day", "Europe/Berlin").slot.tolist() == [1, 47, 1]
    assert local_moments(times, "week", "Europe/Berlin").slot.tolist() == [24, 167, 0]


def test_rules_demand_at_least_their_action() -> None:
    rules = (PolicyRule("big", "amount >= 2", "review"), PolicyRule("huge", "amount >= 3", "block"))
    policy = Policy("expected_cost", MATRIX, rules=rules)
    # allow, allow, review by rule, block by the harsher rule; a model's block stays a block
    assert policy.decide(table(4), np.array([0.0, 0.0, 0.0, 0.0])).tolist() == [0, 0, 1, 2]
    assert policy.decide(table(4), np.array([0.0, 0.0, 0.99, 0.0])).tolist() == [0, 0, 2, 2]


def test_a_rule_finds_its_action_full_and_takes_a_harsher_one() -> None:
    rules = (PolicyRule("all", "amount >= 0", "review"),)
    policy = Policy("expected_cost", MATRIX, rules=rules, capacity=(CapacityLimit("review", 2, "day"),))
    assert policy.decide(table(3), np.zeros(3)).tolist() == [1, 1, 2]


def test_null_is_no_match_and_a_rule_must_be_a_condition() -> None:
    events = table(2).with_columns(x=pl.Series([None, 1.0]))
    assert PolicyRule("r", "x > 0", "block").holds(events, timezone="UTC").tolist() == [False, True]
    with pytest.raises(DataError, match="expected a condition"):
        PolicyRule("r", "x + 1", "block").holds(events, timezone="UTC")


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_probabilities_must_be_probabilities(bad: float) -> None:
    with pytest.raises(DataError, match="1 outside"):
        Policy("expected_cost", MATRIX).decide(table(2), np.array([0.5, bad]))


def test_policy_survives_json() -> None:
    project = make_project(
        '[policy]\ncapacity = { review = "5 per week" }\n[[rules]]\nwhen = "amount > 9"\naction = "block"'
    )
    prices = tuple((float(slot), 1.5) for slot in range(168))
    policy = replace(bare_policy(project), bids={"review": BidPrices("week", (1, 4), prices)})
    assert Policy.from_dict(json.loads(json.dumps(as_object(policy)))) == policy
    short = as_object(policy)
    short["bids"]["review"]["prices"].pop()
    with pytest.raises(BundleError, match="cannot be read"):
        Policy.from_dict(short)
    with pytest.raises(BundleError, match="schema version"):
        Policy.from_dict({"schema_version": 99})
    with pytest.raises(BundleError, match="cannot be read"):
        Policy.from_dict({"schema_version": 2})


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_alerts_fall_as_the_threshold_rises(probs: list[float], first: float, second: float) -> None:
    low, high = sorted((first, second))
    alerts = [
        (Policy("thresholds", MATRIX, thresholds={"review": cut}).decide(table(len(probs)), np.array(probs)) > 0).sum()
        for cut in (low, high)
    ]
    assert alerts[1] <= alerts[0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(0, 5), st.integers(0, 5))
def test_rounds_end_where_serving_one_after_the_other_does(probs: list[float], reviews: int, blocks: int) -> None:
    limits = (CapacityLimit("review", reviews, "day"), CapacityLimit("block", blocks, "day"))
    p = np.array(probs)
    codes = Policy("expected_cost", MATRIX, capacity=limits).decide(table(len(p)), p)
    left, expected = {1: reviews, 2: blocks}, []
    for row in np.argsort(expected_cost(MATRIX.per_event(table(len(p))), p), axis=1, kind="stable"):
        code = next(int(code) for code in row if left.get(int(code), 1) > 0)
        left[code] = left.get(code, 10**9) - 1
        expected.append(code)
    assert codes.tolist() == expected


def test_online_is_what_was_evaluated() -> None:
    """An event at a time, with the counts carried by hand, gives the same actions as the batch."""
    project = make_project('[policy]\ncapacity = { review = "3 per day" }')
    policy = bare_policy(project)
    events = make_events(300, 60)
    p = events["y_prob"].to_numpy()
    batch = policy.decide(events, p)
    used = CapacityUse()
    single = [int(policy.decide(events[row], p[row : row + 1], used=used)[0]) for row in range(300)]
    assert single == batch.tolist()
    assert (batch == 1).sum() == 3 * 7
    free = Policy("expected_cost", policy.matrix)
    assert free.decide(events, p).tolist() == minimum_risk(policy.matrix.per_event(events), p).tolist()
