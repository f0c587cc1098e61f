"""Savings are measured against the cheapest constant action, however many actions and capacities a project has."""

from __future__ import annotations

import io
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from decisions_world import START, evaluated, make_events, make_project, score
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fraudctl.cli.render import evaluation_tables, models_table
from fraudctl.compare import compare
from fraudctl.costs import BASE_RULE, OLD_BASE_RULE, baseline, cost_matrix, taken_cost
from fraudctl.documents.results import as_object
from fraudctl.evaluate import Replay, Stretch, decide_frame, prepare
from fraudctl.evaluate.estimates import difference, estimate
from fraudctl.gate import Champion, judge
from fraudctl.metrics import savings_ratio
from fraudctl.policy import Policy, bare_policy
from fraudctl.policy.constant import ORDER, reach_of, with_order
from fraudctl.project import Project
from fraudctl.report.gate_formats import github, junit, markdown
from fraudctl.report.render import evaluation_report
from fraudctl.uncertainty import RankingIntervals
from fraudctl.workflows.models import ModelEntry, ModelsResult

SETTINGS = RankingIntervals(50, 0, 0.90)
GATE = "[gate]\nsavings = { at_least = 0.3 }\nmin_frauds = 10\n"


def with_capacity(zone: str = "UTC", **limits: str) -> Project:
    """Give the project with a time zone and capacities, such as ``review="100 per day"``."""
    rows = ", ".join(f'{action} = "{limit}"' for action, limit in limits.items())
    plan = make_project(f"[policy]\ncapacity = {{ {rows} }}\n" if limits else "")
    return plan.model_copy(update={"data": plan.data.model_copy(update={"timezone": zone})})


def random_project(rng: np.random.Generator) -> Project:
    """Give a project with random costs, capacities and time zone."""
    limits = {
        action: f"{rng.integers(0, 60)} per {rng.choice(['day', 'week'])}"
        for action in ("review", "block")
        if rng.random() < 0.6
    }
    plan = with_capacity(str(rng.choice(["UTC", "Europe/Berlin", "Pacific/Auckland"])), **limits)

    def cell() -> dict[str, float]:
        return {"fixed": float(rng.normal(2, 4)), "rate": float(rng.choice([0.0, 0.1, 1.0]))}

    actions = {name: {"legit": cell(), "fraud": cell()} for name in ("allow", "review", "block")}
    costs = type(plan.costs).model_validate({"actions": actions})
    return plan.model_copy(update={"costs": costs})


def brute_force(events: pl.DataFrame, project: Project, *, counted: list[bool] | None = None) -> dict[str, float]:
    """Take each action for one event after the other, and count its slots in a dictionary of local days and weeks.

    ``counted`` says which events are judged; the others only take slots.
    """
    matrix = cost_matrix(project.costs)
    zone, totals = ZoneInfo(project.data.timezone), {}
    for code, action in enumerate(matrix.actions):
        cap, used, total = project.policy.capacity.get(action), Counter[Any](), 0.0
        for at, row in enumerate(events.iter_rows(named=True)):
            day = row["event_time"].astimezone(zone).date()
            key = day if cap is None or cap.per == "day" else day.isocalendar()[:2]
            free = cap is None or used[key] < cap.limit
            used[key] += 1
            if counted is not None and not counted[at]:
                continue
            cell = matrix.cells[code if free else 0][row["label"]]
            total += cell.fixed + cell.rate * row["amount"]
        totals[action] = total
    return totals


def test_by_hand_with_a_capacity_over_local_midnight() -> None:
    # Six events, at 22:00, 22:30, 23:30 UTC of one day and 00:30, 21:00, 23:00 of the next. In Berlin (UTC+1) they
    # lie on days 1, 1, 2, 2, 2, 3. One review a day reaches events 0, 2 and 5; the frauds are 1 and 2 (amounts 10).
    # Reviewing costs 4 each: 3 × 4, and fraud 1 is allowed: 15 + 10. Together 37; in UTC events 0 and 3: 2 × 4 + 50.
    hours = [22.0, 22.5, 23.5, 24.5, 45.0, 47.0]
    events = pl.DataFrame(
        {
            "event_id": range(6),
            "event_time": [START + timedelta(hours=hour) for hour in hours],
            "label": pl.Series([0, 1, 1, 0, 0, 0], dtype=pl.Int8),
            "amount": [10.0] * 6,
        }
    )
    for zone, reached, cost in (("Europe/Berlin", [0, 2, 5], 37.0), ("UTC", [0, 3], 58.0)):
        plan = with_capacity(zone, review="1 per day")
        matrix = cost_matrix(plan.costs)
        reach = reach_of(events, plan, matrix)
        assert reach is not None
        assert np.flatnonzero(reach[:, 1]).tolist() == reached
        found = baseline(matrix.per_event(events), events["label"].to_numpy(), matrix, reach=reach)
        review = found.constants[1]
        assert (review.cost, review.without_slot, review.rest) == (cost, 6 - len(reached), "allow")
        assert review.words == f"review {len(reached)} of 6 as they come, allow the rest"
    # without a capacity: allow all 50, review all 24, block 4 legitimate events at 8 + 1.5 = 38
    matrix = cost_matrix(make_project().costs)
    found = baseline(matrix.per_event(events), events["label"].to_numpy(), matrix)
    assert [item.cost for item in found.constants] == [50.0, 24.0, 38.0]
    assert found.chosen.words == "review all"


def test_of_equally_cheap_constants_the_mildest_is_the_base() -> None:
    matrix = cost_matrix(make_project().costs)
    table = np.zeros((3, 3, 2))
    table[:, 0] = 5.0
    table[:, 1:] = 2.0
    assert baseline(table, np.array([0, 1, 0]), matrix).action == "review"
    assert baseline(np.ones((3, 3, 2)), np.array([0, 1, 0]), matrix).action == "allow"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_base_is_what_taking_each_action_event_by_event_costs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan, events = random_project(rng), make_events(int(rng.integers(1, 300)), 1, seed=seed)
    matrix = cost_matrix(plan.costs)
    reach = reach_of(events, plan, matrix)
    found = baseline(matrix.per_event(events), events["label"].to_numpy(), matrix, reach=reach)
    expected = brute_force(events, plan)
    assert {item.action: item.cost for item in found.constants} == pytest.approx(expected)
    assert found.cost == min(item.cost for item in found.constants)
    money = taken_cost(matrix.per_event(events), found.codes, events["label"].to_numpy())
    assert float(money.sum()) == found.cost


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_slots_go_to_all_events_over_clock_changes_refunds_and_lead(seed: int) -> None:
    """A period that begins within a week and crosses a change of clocks; labels are missing, and amounts negative.

    Slots are given to unlabelled events and to those before the period; labelled events of the period are judged.
    """
    rng = np.random.default_rng(seed)
    plan = random_project(rng)
    days = {"Europe/Berlin": 24, "Pacific/Auckland": 31, "UTC": 0}[plan.data.timezone]  # 29 March and 5 April 2026
    events = make_events(int(rng.integers(60, 300)), 20, seed=seed)
    unknown, refund = (pl.Series(rng.random(events.height) < share) for share in (0.3, 0.2))
    events = events.with_columns(
        event_time=pl.col("event_time") + timedelta(days=days),
        label=pl.when(unknown).then(None).otherwise(pl.col("label")),
        amount=pl.when(refund).then(-pl.col("amount")).otherwise(pl.col("amount")),
    )
    lead = (events["event_time"] < START + timedelta(days=days, hours=float(rng.uniform(0, 100)))).to_numpy()
    judged = (events["label"].is_not_null().to_numpy())[~lead]
    if not judged.any():
        return
    stretch = Stretch(events.drop("y_prob"), events["y_prob"].to_numpy(), bare_policy(plan), lead)
    found = prepare(Replay((stretch,), judged).judge(plan), plan).base
    counted = np.zeros(events.height, dtype=bool)
    counted[np.flatnonzero(~lead)[judged]] = True
    expected = brute_force(events, plan, counted=counted.tolist())
    assert {item.action: item.cost for item in found.constants} == pytest.approx(expected)
    assert found.cost == min(item.cost for item in found.constants)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_constant_action_never_saves_and_the_cheapest_saves_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan, events = random_project(rng), make_events(200, 20, seed=seed)
    scored = score(events, plan)
    judged = prepare(scored, plan)
    table, y_true = judged.cost_table, judged.y_true
    found = baseline(table, y_true, judged.matrix, weight=judged.weight, reach=judged.reach)
    for code, action in enumerate(judged.matrix.actions):
        codes = np.full(200, code) if judged.reach is None else np.where(judged.reach[:, code], code, 0)
        ratio = savings_ratio(y_true, taken_cost(table, codes, y_true), table, judged.matrix, reach=judged.reach)
        as_decided = estimate("savings", judged.deciding(judged.y_prob, codes.astype(np.int8)), SETTINGS)
        assert ratio.base == as_decided.base == found.chosen
        if found.cost <= 0:
            assert as_decided.value is None
            assert "nothing to save" in (as_decided.reason or "")
            continue
        assert ratio.value <= 0
        assert as_decided.value == ratio.value
        if action == found.action:
            assert ratio.value == 0.0


@pytest.mark.parametrize("limits", [{}, {"review": "200 per day"}, {"review": "30 per day", "block": "9 per week"}])
def test_scores_that_know_nothing_save_nothing(limits: dict[str, str]) -> None:
    plan = with_capacity(**limits)
    # every event costs the same: with costs by amount, deciding by amount alone saves something without a model
    same = {
        "allow": {"fraud": {"fixed": 95.0}},
        "review": {"fraud": {"fixed": 4.0}, "legit": {"fixed": 4.0}},
        "block": {"legit": {"fixed": 20.0}},
    }
    plan = plan.model_copy(update={"costs": type(plan.costs).model_validate({"actions": same})})
    for seed in range(8):
        rng = np.random.default_rng(seed)
        for spread in (0.0, 0.3, 1.5):
            odds = rng.normal(np.log(0.05 / 0.95), spread, 4000)
            events = make_events(4000, 200, seed=seed).with_columns(y_prob=1 / (1 + np.exp(-odds)))
            found = estimate("savings", prepare(score(events, plan), plan), SETTINGS)
            assert found.low is not None
            assert found.low <= 0, (seed, spread, found)


def test_two_models_have_the_same_base_whatever_capacity_they_were_frozen_with() -> None:
    plan, other = with_capacity(review="300 per day"), with_capacity(review="20 per day")
    events = make_events()
    ours = prepare(score(events, plan), plan)
    theirs = prepare(score(events, plan, policy=bare_policy(other)), plan)
    assert ours.base.chosen == theirs.base.chosen
    assert difference("savings", ours, theirs, SETTINGS).base == ours.base.chosen
    elsewhere = difference("savings", ours, prepare(score(events, other), other), SETTINGS)
    assert elsewhere.value is None
    assert "different constant actions" in (elsewhere.reason or "")


def test_events_without_a_label_take_slots_of_a_constant_action_too() -> None:
    plan = with_capacity(review="200 per day")
    whole = score(make_events(), plan)
    kept = whole.filter(pl.col("event_id") % 2 == 0)
    judged = prepare(kept, plan)
    first_200 = (pl.int_range(pl.len()).over(pl.col("event_time").dt.date()) < 200).alias("free")
    expected = whole.with_columns(first_200).filter(pl.col("event_id") % 2 == 0)["free"].to_numpy()
    assert judged.reach is not None
    assert np.array_equal(judged.reach[:, 1], expected)
    part = judged.take(judged.y_prob > 0.01)
    assert part.reach is not None
    assert np.array_equal(part.reach[:, 1], expected[judged.y_prob > 0.01])
    dearer = judged.repriced(1, 0, 2.0)
    assert dearer.base.constants[1].without_slot == judged.base.constants[1].without_slot


@pytest.mark.parametrize("limit", ["3 per day", "200 per day", "900 per week"])
def test_events_without_a_usable_score_take_no_slot_of_a_model_or_of_a_constant_action(limit: str) -> None:
    plan = with_capacity("Europe/Berlin", review=limit)
    events = make_events(seed=3)
    blank = np.random.default_rng(1).random(events.height) < 0.4
    y_prob = np.where(blank, np.nan, events["y_prob"].to_numpy())
    kept = events.filter(~pl.Series(blank))
    whole = decide_frame(events.drop("y_prob"), y_prob, policy=bare_policy(plan), project=plan)
    among_others = prepare(whole.filter(~pl.Series(blank)), plan)
    alone = prepare(score(kept, plan), plan)
    assert among_others.base.chosen == alone.base.chosen
    assert among_others.base.constants == alone.base.constants
    assert np.array_equal(among_others.codes, alone.codes)


def test_shuffled_scores_keep_the_place_of_each_event() -> None:
    plan = with_capacity(review="200 per day")
    half = score(make_events(), plan).filter(pl.col("event_id") % 2 == 0)
    y_prob = half["y_prob"].to_numpy()[::-1].copy()
    again = decide_frame(half.drop("y_prob", "action", "cost"), y_prob, policy=bare_policy(plan), project=plan)
    assert prepare(again, plan).base.chosen == prepare(half, plan).base.chosen


def test_periods_that_share_a_local_week_have_its_slots_once() -> None:
    plan = with_capacity(review="600 per week")
    events = make_events()
    cut = datetime.fromisoformat("2026-03-05T00:00:00+00:00")
    parts = [events.filter(pl.col("event_time") < cut), events.filter(pl.col("event_time") >= cut)]
    apart = sum(prepare(score(part, plan), plan).reach[:, 1].sum() for part in parts)  # type: ignore[index]
    together = with_order(pl.concat([score(part, plan) for part in parts]), plan)
    assert together[ORDER["week"]].to_list() == list(range(4000))
    assert (apart, prepare(together, plan).reach[:, 1].sum()) == (1200, 600)  # type: ignore[index]


@pytest.mark.parametrize("limits", [{}, {"review": "100 per day"}])
def test_wherever_savings_stand_their_base_is_named(limits: dict[str, str]) -> None:
    rows = ", ".join(f'{action} = "{limit}"' for action, limit in limits.items())
    more = f'segments = ["channel"]\n{GATE}champion = {{}}\n' + (f"[policy]\ncapacity = {{ {rows} }}\n" if rows else "")
    plan = make_project(more)
    scored, weaker = score(make_events(), plan), score(make_events(strength=2.5), plan)
    policy: Policy = bare_policy(plan)
    found = judge(
        evaluated(scored, plan), scored, project=plan, policy=policy, champion=Champion("older", weaker)
    )  # fmt: skip
    base = found.metrics["savings"].base
    assert base is not None
    console = Console(width=300, record=True, file=io.StringIO())
    for part in evaluation_tables(found):
        console.print(part)
    texts = {
        "terminal": console.export_text(), "html": evaluation_report(found, project="p"), "markdown": markdown(found),
        "junit": junit(found), "github": github(found),
    }  # fmt: skip
    for name, text in texts.items():
        assert base.words in text, name
        assert "allowing all and blocking all" not in text, name
    document = as_object(found)
    holders = [
        document["metrics"]["savings"], document["metrics"]["savings_of_perfect"],
        document["champion"]["metrics"]["savings"], document["champion"]["differences"]["savings"],
        *(row for row in document["gate"]["rules"] if row["metric"] == "savings"),
        *(row["metrics"]["savings"] for row in document["by_segment"]["channel"]),
        *document["champion"]["cost_sensitivity"],
    ]  # fmt: skip
    assert all(item["base"]["words"] for item in holders)
    both = as_object(compare(scored, weaker, project=plan, names=("a", "b")))
    assert both["differences"]["savings"]["base"]["words"] == base.words


def test_the_list_of_models_names_the_base_of_an_old_gate() -> None:
    bases = (BASE_RULE, OLD_BASE_RULE, None)
    rows = [
        ModelEntry(
            version="v",
            as_of=None,
            parent=None,
            policy="thresholds",
            gate="pass" if base else None,
            savings_base=base,
            gate_counts=True,
            latest=False,
            champion=False,
        )
        for base in bases
    ]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(models_table(ModelsResult(None, tuple(rows), ())))
    lines = console.export_text().splitlines()[1:]
    assert [("savings" in line, "pass" in line) for line in lines] == [(False, True), (True, True), (False, False)]
    assert "pass (savings against the better of allowing all and blocking all)" in lines[1]
