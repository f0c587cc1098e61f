"""Decisions under a capacity: all events in time order, then the judged ones; against a plain loop over events."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.costs import CostCell, CostMatrix
from fraudctl.errors import DataError
from fraudctl.evaluate import OneMoment, Replay, Stretch, chained, decide_frame
from fraudctl.policy import CapacityLimit, CapacityUse, Policy
from fraudctl.policy.bids import Per
from fraudctl.policy.single import SinglePolicy
from fraudctl.project import Project, parse_project

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 3, 26, 22, tzinfo=UTC)  # a Thursday; clocks change on the 29th
ACTIONS = ("allow", "review", "block")
MATRIX = CostMatrix(
    ACTIONS, ((CostCell(), CostCell(10.0, 1.0)), (CostCell(2.0), CostCell(4.0)), (CostCell(12.0), CostCell()))
)
PROJECT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "t"
amount = "a"
label = "l"
label_delay = "7d"
[costs.actions]
allow.fraud = { fixed = 10, rate = 1.0 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 2 }
block.legit = { fixed = 12 }
"""


def project() -> Project:
    return parse_project(PROJECT, path=Path("/nowhere/fraudctl.toml"))


def policy(review: int, block: int, per: Per) -> Policy:
    limits = (CapacityLimit("review", review, per), CapacityLimit("block", block, "day"))
    return Policy("expected_cost", MATRIX, capacity=limits, timezone="Europe/Berlin")


def world(seed: int, n: int = 120, *, missing: bool = True) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    hours = np.sort(rng.uniform(0, 15 * 24, n))
    frame = pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": [START + timedelta(hours=float(h)) for h in hours],
            "amount": rng.gamma(2.0, 20.0, n).round(2),
            "label": pl.Series(rng.integers(0, 2, n), dtype=pl.Int8).set(pl.Series(rng.random(n) < 0.5), None),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    y_prob = rng.choice([0.01, 0.1, 0.3, 0.6, 0.9], n)
    y_prob[rng.random(n) < (0.1 if missing else 0.0)] = np.nan
    return frame, y_prob


def one_by_one(frame: pl.DataFrame, y_prob: np.ndarray, who: list[Policy]) -> list[int | None]:
    """The plain loop: each event takes its slot before the next one comes; without a score it is passed over."""
    used, found = CapacityUse(), []
    for row, p, decides in zip(frame.iter_rows(named=True), y_prob.tolist(), who, strict=True):
        event = {**row, "event_time": (row["event_time"] - EPOCH) // timedelta(microseconds=1)}
        found.append(None if np.isnan(p) else SinglePolicy(decides).decide(event, p, holds=[], used=used)[0])
    return found


def names(codes: list[int | None]) -> list[str | None]:
    return [None if code is None else ACTIONS[code] for code in codes]


SETTINGS = st.tuples(st.integers(0, 400), st.integers(0, 6), st.integers(0, 4), st.sampled_from(["day", "week"]))


@settings(max_examples=25, deadline=None)
@given(SETTINGS, st.integers(0, 110))
def test_judged_events_get_what_they_got_among_all(given_: tuple[int, int, int, Per], n_lead: int) -> None:
    seed, review, block, per = given_
    frame, y_prob = world(seed)
    decides = policy(review, block, per)
    lead = np.arange(frame.height) < n_lead
    judged = frame["label"].is_not_null().to_numpy()[n_lead:]
    replay = Replay((Stretch(frame, y_prob, decides, lead),), judged)
    expected = names(one_by_one(frame, y_prob, [decides] * frame.height))
    assert replay.decided(project())["action"].to_list() == expected[n_lead:]
    assert replay.judge(project())["action"].to_list() == [
        a for a, keep in zip(expected[n_lead:], judged, strict=True) if keep
    ]


@settings(max_examples=25, deadline=None)
@given(SETTINGS, st.floats(0.2, 5.0))
def test_other_probabilities_are_decided_for_all_and_the_lead_stays(
    given_: tuple[int, int, int, Per], factor: float
) -> None:
    seed, review, block, per = given_
    frame, y_prob = world(seed)
    decides, n_lead = policy(review, block, per), 30
    lead = np.arange(frame.height) < n_lead
    replay = Replay((Stretch(frame, y_prob, decides, lead),), frame["label"].is_not_null().to_numpy()[n_lead:])
    other = np.minimum(factor * replay.y_prob, 1.0)
    expected = one_by_one(frame, np.concatenate([y_prob[lead], other]), [decides] * frame.height)[n_lead:]
    kept = [code for code, keep in zip(expected, replay.judged, strict=True) if keep]
    assert replay.codes_at(other, project()).tolist() == [-1 if code is None else code for code in kept]
    assert replay.codes_at(replay.y_prob, project()).tolist() == [
        -1 if name is None else ACTIONS.index(name) for name in replay.judge(project())["action"].to_list()
    ]


@settings(max_examples=15, deadline=None)
@given(SETTINGS, st.sampled_from([0.05, 0.5, 0.99]))
def test_one_event_alone_is_decided_in_the_state_of_its_moment(given_: tuple[int, int, int, Per], other: float) -> None:
    seed, review, block, per = given_
    frame, y_prob = world(seed, 60, missing=False)
    decides = policy(review, block, per)
    judged = frame["label"].is_not_null().to_numpy()
    replay = Replay((Stretch(frame, y_prob, decides, np.zeros(60, dtype=bool)),), judged)
    at = np.flatnonzero(judged)
    rows = np.arange(len(at))
    expected = []
    for place in at:
        changed = y_prob.copy()
        changed[place] = other
        expected.append(one_by_one(frame, changed, [decides] * 60)[place])
        events = frame[: int(place) + 1]
        moment = OneMoment.after(events, y_prob[: place + 1], decides, project())
        variants = pl.concat([frame[int(place)]] * 3)
        assert moment.decide(variants, np.full(3, other)).tolist() == [expected[-1]] * 3
    assert replay.codes_alone(rows, np.full(len(rows), other), project()).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(SETTINGS, st.lists(st.integers(5, 115), min_size=1, max_size=3, unique=True))
def test_periods_that_meet_share_one_running_state(given_: tuple[int, int, int, Per], cuts: list[int]) -> None:
    seed, review, block, per = given_
    frame, y_prob = world(seed)
    edges = [0, *sorted(cuts), frame.height]
    parts, who = [], []
    for number, (lo, hi) in enumerate(itertools.pairwise(edges)):
        decides = replace(policy(review, block, per), alert_price=0.5 * number)
        since = decides.lead_from(frame["event_time"][lo])
        rows = ((frame["event_time"] >= since) & (frame["event_id"] < hi)).to_numpy()
        lead = (frame["event_id"] < lo).to_numpy()[rows]
        judged = frame["label"].is_not_null().to_numpy()[lo:hi]
        parts.append(Replay((Stretch(frame.filter(rows), y_prob[rows], decides, lead),), judged))
        who += [decides] * (hi - lo)
    joined = chained(parts[::-1])
    expected = names(one_by_one(frame, y_prob, who))
    assert joined.decided(project())["action"].to_list() == expected
    reviews = joined.decided(project()).filter(pl.col("action") == "review")["event_time"].dt.convert_time_zone(
        "Europe/Berlin"
    )  # fmt: skip
    counts = reviews.dt.truncate("1d" if per == "day" else "1w").value_counts()["count"]
    assert counts.max() is None or counts.max() <= review  # type: ignore[operator]


def test_overlapping_periods_are_refused() -> None:
    frame, y_prob = world(1)
    decides = policy(1, 1, "day")
    one = Replay.of(frame[:80], y_prob[:80], decides)
    other = Replay.of(frame[60:], y_prob[60:], decides)
    with pytest.raises(DataError, match="more than one of the periods"):
        chained([one, other])


def test_shuffled_scores_stay_among_the_scored_events() -> None:
    frame, y_prob = world(2)
    replay = Replay.of(frame, y_prob, policy(2, 1, "day"))
    mixed = replay.shuffled(np.random.default_rng(0))
    assert np.isnan(mixed).tolist() == np.isnan(y_prob).tolist()
    assert sorted(mixed[~np.isnan(mixed)]) == sorted(y_prob[~np.isnan(y_prob)])
    assert mixed.tolist() != y_prob.tolist()


def test_a_part_of_the_events_would_have_got_other_actions() -> None:
    """The fault that `Replay` ends: two events, one slot; without the first, the second would have it."""
    frame, _ = world(3, 2)
    frame = frame.with_columns(
        event_time=pl.Series([START, START + timedelta(minutes=1)]).cast(frame["event_time"].dtype)
    )
    y_prob, decides = np.array([0.3, 0.3]), policy(1, 0, "day")
    whole = decide_frame(frame, y_prob, policy=decides, project=project())
    part = decide_frame(frame[1:], y_prob[1:], policy=decides, project=project())
    assert whole["action"].to_list() == ["review", "allow"]
    assert part["action"].to_list() == ["review"]
    assert Replay((Stretch(frame, y_prob, decides, np.array([False, False])),), np.array([False, True])).judge(
        project()
    )["action"].to_list() == ["allow"]


def test_lead_starts_with_the_local_day_or_week() -> None:
    moment = datetime(2026, 4, 1, 9, tzinfo=UTC)  # a Wednesday, summer time
    assert policy(1, 1, "week").lead_from(moment) == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert policy(1, 1, "day").lead_from(moment) == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert Policy("expected_cost", MATRIX).lead_from(moment) == moment
