from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.documents.results import as_text
from fraudctl.errors import DataError
from fraudctl.monitor.performance import NEEDS_BLOCKED, Performance, judged_cohorts, performance, performance_of
from fraudctl.project import parse_project

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
UTC_US = pl.Datetime("us", "UTC")
TEXT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "t"
amount = "a"
label = "l"
label_delay = "7d"
[costs.actions]
allow.fraud = { fixed = 10.0, rate = 1.0 }
review.fraud = { fixed = 4.0 }
review.legit = { fixed = 4.0 }
block.legit = { fixed = 20.0 }
"""
PROJECT = parse_project(TEXT, path=Path("/nowhere/fraudctl.toml"))


def decisions(rows: list[tuple[float, float, float, str, int | None, float | None]], **more: object) -> pl.DataFrame:
    """Decisions by (day, amount, y_prob, action, label, day on which the label is known)."""
    columns = {
        "event_id": list(range(len(rows))),
        "event_time": [MONDAY + row[0] * DAY for row in rows],
        "amount": [row[1] for row in rows],
        "y_prob": [row[2] for row in rows],
        "action": [row[3] for row in rows],
        "model": ["2026-01-01-aaaaaaaa"] * len(rows),
        "control_group": [False] * len(rows),
        "exposure_prob": [None] * len(rows),
        "label": [row[4] for row in rows],
        "label_time": [None if row[5] is None else MONDAY + row[5] * DAY for row in rows],
    }
    types = {
        "event_time": UTC_US, "label_time": UTC_US, "label": pl.Int8, "amount": pl.Float64, "exposure_prob": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame({**columns, **more}, schema_overrides=types)


WEEK = [
    (0.1, 100.0, 0.9, "block", 1, 2.0),  # caught
    (0.2, 50.0, 0.8, "block", 0, 3.0),  # a false positive
    (1.0, 200.0, 0.4, "review", 1, 2.0),  # caught
    (2.0, 30.0, 0.3, "review", 0, 3.0),  # a false positive
    (3.0, 70.0, 0.1, "allow", 1, 20.0),  # missed
    *[(4.0 + i / 10, 10.0, 0.01, "allow", 0, 7.0) for i in range(5)],
]
"""Five legitimate events that were allowed, of 10 each."""


def known(found: Performance, cohort: int = 0) -> dict[str, float | None]:
    outcomes = found.cohorts[cohort].outcomes
    return {field.name: getattr(outcomes, field.name).known for field in fields(outcomes)}


def test_a_policy_that_changes_in_the_middle_of_a_week_counts_each_event_by_what_was_done() -> None:
    """Until Wednesday noon 0.3 is reviewed and 0.8 blocked; from then on nothing is reviewed, and 0.1 is blocked."""
    early = [row for row in WEEK if row[0] < 2.5]
    late = [(3.0, 70.0, 0.1, "block", 1, 4.0), (3.5, 60.0, 0.3, "block", 0, 10.0), (4.0, 10.0, 0.01, "allow", 0, 11.0)]
    policies = ["p"] * len(early) + ["q"] * len(late)
    found = performance(decisions([*early, *late], policy=policies), PROJECT, MONDAY + 60 * DAY)
    (week,) = found.cohorts
    # blocked 0.1 and 0.2 of Monday, two of Thursday; reviewed one on Tuesday, one on Wednesday
    assert [(item.action, item.events) for item in week.work] == [("review", 2), ("block", 4)]
    assert (week.events, week.flagged) == (7, 6)
    # 4 + 4 for the reviews, 20 for each of the two false blocks; every fraud is caught
    figures = known(found)
    assert (figures["frauds"], figures["missed_loss"], figures["caught_loss"]) == (3.0, 0.0, 370.0)
    assert (figures["recall"], figures["precision"], figures["cost"]) == (1.0, 3 / 6, 48.0)
    then = MONDAY + 2.5 * DAY
    before = performance(decisions(early, policy=policies[: len(early)]), PROJECT, then)
    both = decisions([*early, *late], policy=policies).filter(pl.col("event_time") <= then)
    assert as_text(performance(both, PROJECT, then)) == as_text(before)


def test_the_figures_of_a_week_by_hand() -> None:
    found = performance(decisions(WEEK), PROJECT, MONDAY + 60 * DAY)
    (week,) = found.cohorts
    assert (week.first_day, week.until_day, week.status) == (date(2026, 3, 2), date(2026, 3, 9), "final")
    assert (week.events, week.flagged, week.volume) == (10, 4, 500.0)
    assert [(item.action, item.events) for item in week.work] == [("review", 2), ("block", 2)]
    # allow: 80 for the missed fraud; review: 4 + 4; block: 20 for the false positive
    by_hand = {
        "frauds": 3.0, "fraud_rate": 0.3, "caught_loss": 300.0, "missed_loss": 70.0, "missed_bps": 70 / 500 * 1e4,
        "precision": 2 / 4, "recall": 2 / 3, "value_recall": 300 / 370, "false_positives": 2.0,
        "false_positives_per_1000": 1000 * 2 / 7, "false_positive_cost": 24.0, "cost": 108.0,
    }  # fmt: skip
    # constant actions: allow all 110 + 210 + 80 = 400; review all 40; block all 7 × 20 = 140
    assert found.base_action == "review"
    by_hand["savings"] = 1 - 108 / 40
    assert known(found) == pytest.approx(by_hand)
    assert {field.name: getattr(week.outcomes, field.name).value for field in fields(week.outcomes)} == pytest.approx(
        by_hand, rel=1e-6
    )
    assert week.outcomes.recall.low == pytest.approx(2 / 3)
    assert found.blocked == "labels"
    assert found.final is not None
    assert found.final.outcomes.recall.value == pytest.approx(2 / 3)


def test_what_is_known_is_that_of_the_instant() -> None:
    early = performance(decisions(WEEK), PROJECT, MONDAY + 8 * DAY)
    assert known(early)["frauds"] == 2.0  # the missed fraud is known on the 20th day
    assert known(early)["recall"] == 1.0
    assert early.cohorts[0].complete
    later = decisions([*WEEK, (30.0, 5.0, 0.5, "block", 1, 40.0)])
    assert as_text(performance(later, PROJECT, MONDAY + 8 * DAY)) == as_text(early)
    changed = pl.Series("label", [0, *decisions(WEEK)["label"][1:]], dtype=pl.Int8)
    times = pl.Series("label_time", [MONDAY + 50 * DAY, *decisions(WEEK)["label_time"][1:]], dtype=UTC_US)
    changes = pl.Series(
        ".label_changes",
        [[{"time": MONDAY + 2 * DAY, "label": 1}, {"time": MONDAY + 50 * DAY, "label": 0}], *[None] * 9],
        dtype=pl.List(pl.Struct({"time": UTC_US, "label": pl.Int8})),
    )
    reversed_ = decisions(WEEK).with_columns(changed, times, changes)
    assert known(performance(reversed_, PROJECT, MONDAY + 49 * DAY))["frauds"] == 3.0
    assert known(performance(reversed_, PROJECT, MONDAY + 60 * DAY))["frauds"] == 2.0


def test_a_week_that_is_not_over_or_hardly_matured_is_hidden() -> None:
    running = performance(decisions(WEEK), PROJECT, MONDAY + 5 * DAY)
    assert (running.cohorts[0].status, running.cohorts[0].complete) == ("hidden", False)
    assert running.cohorts[0].outcomes.recall.reason == "not over yet"
    assert running.all is None
    # labels of the past took three weeks, so of a week that has just ended next to nothing is known
    past = [(day + row[0], *row[1:5], day + row[0] + 21.0) for day in range(0, 70, 7) for row in WEEK * 4]
    found = performance(decisions(past, model=["m"] * len(past)), PROJECT, MONDAY + 70 * DAY)
    young = found.cohorts[-1]
    assert (young.complete, young.status) == (True, "hidden")
    assert str(young.outcomes.recall.reason).startswith("only ")
    assert young.outcomes.recall.value is None
    assert [item.status for item in found.cohorts[:5]] == ["final"] * 5


def test_blocked_events_without_outcomes_are_not_observable() -> None:
    rows = [row if row[3] != "block" else (*row[:4], None, None) for row in WEEK]
    found = performance(decisions(rows), PROJECT, MONDAY + 60 * DAY)
    assert found.blocked == "not observable"
    outcomes = found.cohorts[0].outcomes
    for name in NEEDS_BLOCKED:
        figure = getattr(outcomes, name)
        assert (figure.known, figure.value, figure.low) == (None, None, None), name
        assert figure.reason.startswith("not observable")
    assert outcomes.missed_loss.value == pytest.approx(70.0)
    assert found.cohorts[0].flagged == 4
    assert found.cohorts[0].unlabelled == 2


def test_a_control_group_stands_for_what_was_blocked() -> None:
    rows = [row if row[3] != "block" else (*row[:4], None, None) for row in WEEK]
    let_through = [(5.0, 40.0, 0.9, "allow", 0, 9.0), (5.1, 60.0, 0.9, "allow", 1, 9.0)]
    frame = decisions(
        rows + let_through, control_group=[False] * 10 + [True] * 2, exposure_prob=[None] * 10 + [0.1] * 2
    )
    found = performance(frame, PROJECT, MONDAY + 60 * DAY)
    assert found.blocked == "control group"
    week = found.cohorts[0]
    # each stands for ten: 10 false positives beside the review's one, 10 caught frauds beside the review's one
    assert known(found)["false_positives"] == pytest.approx(11.0)
    assert known(found)["precision"] == pytest.approx(11 / 22)
    assert known(found)["recall"] == pytest.approx(11 / 12)
    assert known(found)["caught_loss"] == pytest.approx(600 + 200)
    assert (week.events, week.flagged) == (12, 4)  # what was really done


def random_world(seed: int, n: int = 3000) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    y_prob = rng.beta(0.2, 2.0, n)
    label = (rng.random(n) < y_prob).astype(int)
    action = np.where(y_prob > 0.5, "block", np.where(y_prob > 0.2, "review", "allow"))
    day = np.sort(rng.random(n) * 56)
    rows = [
        (float(d), float(a), float(p), str(w), int(y), float(d + k))
        for d, a, p, w, y, k in zip(day, rng.gamma(2, 30, n), y_prob, action, label, rng.gamma(2, 3, n), strict=True)
    ]
    return decisions(rows, channel=rng.choice(["web", "shop", "app"], n).tolist())


def test_final_weeks_are_recounted_from_the_rows() -> None:
    frame = random_world(1)
    found = performance(frame, PROJECT, MONDAY + 200 * DAY, by="channel")
    assert len(found.cohorts) == 8
    for week in found.cohorts:
        rows = [
            row for row in frame.iter_rows(named=True) if week.first_day <= row["event_time"].date() < week.until_day
        ]
        frauds = [row for row in rows if row["label"] == 1]
        flagged = [row for row in rows if row["action"] != "allow"]
        caught = [row for row in frauds if row["action"] != "allow"]
        outcomes = week.outcomes
        assert week.events == len(rows)
        assert outcomes.frauds.value == pytest.approx(len(frauds))
        assert outcomes.precision.value == pytest.approx(len(caught) / len(flagged))
        assert outcomes.recall.value == pytest.approx(len(caught) / len(frauds))
        missed = sum(row["amount"] for row in frauds if row["action"] == "allow")
        assert outcomes.missed_loss.value == pytest.approx(missed)
        assert outcomes.missed_bps.value == pytest.approx(1e4 * missed / sum(row["amount"] for row in rows))
    assert found.final is not None
    assert found.all is not None
    assert sum(group.events for group in found.groups) == found.all.events == frame.height
    total = sum(group.outcomes.missed_loss.value or 0.0 for group in found.groups)
    assert total == pytest.approx(found.all.outcomes.missed_loss.value)
    assert {group.name for group in found.groups} == {"web", "shop", "app"}


def test_open_weeks_have_intervals_around_what_they_become() -> None:
    frame = random_world(2)
    then, at_last = (performance(frame, PROJECT, MONDAY + days * DAY) for days in (56, 200))
    open_ = [(a, b) for a, b in zip(then.cohorts, at_last.cohorts, strict=True) if a.status == "open"]
    assert open_
    held = []
    for young, old in open_:
        now, final = young.outcomes.missed_loss, old.outcomes.missed_loss
        assert now.known is not None
        assert now.value is not None
        assert now.low is not None
        assert now.high is not None
        assert now.low <= now.value <= now.high
        assert final.value is not None
        held.append(now.low <= final.value <= now.high)
    assert np.mean(held) >= 0.5
    assert as_text(then) == as_text(performance(frame, PROJECT, MONDAY + 56 * DAY))


def test_the_interval_of_a_week_that_is_nearly_complete_holds_what_is_known() -> None:
    judged = judged_cohorts(random_world(3), PROJECT, MONDAY + 200 * DAY)
    # a fifth of a fraud may still come of each sum, and comes in no draw but the last tenth
    late = 0.2
    draws = np.repeat(judged.found.known[None], 1000, axis=0)
    draws[900:] += 2.0
    found = replace(
        judged.found, matured=np.full(judged.seen.n_cohorts, 0.9999), estimate=judged.found.known + late, draws=draws
    )
    for week in performance_of(replace(judged, found=found)).cohorts:
        frauds = week.outcomes.frauds
        assert frauds.known is not None
        assert (frauds.low, frauds.value) == (pytest.approx(frauds.known), pytest.approx(frauds.known + 2 * late))
        assert frauds.high == pytest.approx(frauds.known + 4.0)  # allowed and flagged ones


def test_days_where_there_are_many_frauds() -> None:
    rows = [(i / 100, 10.0, 0.7, "review", 1, i / 100 + 1) for i in range(400)]
    assert performance(decisions(rows), PROJECT, MONDAY + 30 * DAY).every == "day"
    assert performance(decisions(rows[::4]), PROJECT, MONDAY + 30 * DAY).every == "week"


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(DataError, match="no decision on an event up to"):
        performance(decisions(WEEK), PROJECT, MONDAY - DAY)
    with pytest.raises(DataError, match="not in \\[costs\\]"):
        performance(decisions([(0.0, 1.0, 0.5, "shrug", 0, 1.0)]), PROJECT, MONDAY + DAY)
