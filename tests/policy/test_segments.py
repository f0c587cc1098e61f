"""Segments get thresholds of their own where that is shown to save money, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from decisions_world import make_events, make_project

from fraudctl.costs import CostMatrix, cost_matrix
from fraudctl.documents.results import as_object
from fraudctl.errors import ProjectError
from fraudctl.policy import Policy, choose_policy
from fraudctl.policy.choose import _floored, bare_policy
from fraudctl.policy.ground import ground_of
from fraudctl.policy.segments import Cases, SegmentFound, Segments, choose_segments
from fraudctl.uncertainty import Clusters

TWO = '[policy]\nkind = "thresholds"\nsegments = "channel"'


def tried(events: pl.DataFrame, by: str = "channel") -> dict[str, SegmentFound]:
    project = make_project(TWO)
    ground = ground_of(project, bare_policy(project), events, events["y_prob"].to_numpy())
    cases = Cases(ground.y_true, ground.y_prob, _floored(bare_policy(project), ground), ground.clusters)
    values = Segments(by).values(events, timezone="UTC")
    found, _held = choose_segments(values, cases, ("review", "block"))
    return {item.value: item for item in found}


def overrated(events: pl.DataFrame, channel: str, factor: float = 20.0) -> pl.DataFrame:
    """Give the odds of one channel as so many times what they are: its thresholds should lie so much higher."""
    odds = pl.col("y_prob") / (1 - pl.col("y_prob")) * factor
    return events.with_columns(y_prob=pl.when(pl.col("channel") == channel).then(odds / (1 + odds)).otherwise("y_prob"))


def test_a_real_gain_is_found_and_the_rest_keeps_the_common_thresholds() -> None:
    hits = 0
    for seed in range(10):
        found = tried(overrated(make_events(8000, 600, seed=seed, strength=2.0), "web"))
        hits += found["web"].thresholds is not None
        assert list(found) == sorted(found, key=lambda name: -found[name].frauds)
    assert hits >= 9
    own = tried(overrated(make_events(8000, 600, strength=2.0), "web"))["web"]
    assert own.gain.low is not None
    assert own.gain.low > 0
    assert own.why == "own: the gain lies above zero"


def test_no_gain_is_found_where_there_is_none() -> None:
    wrong = sum(
        any(item.thresholds is not None for item in tried(make_events(2000, 200, seed=seed, strength=1.5)).values())
        for seed in range(100)
    )
    assert wrong <= 5


def test_what_is_saved_is_saved_on_other_events() -> None:
    """Brute force: the gain is the sum over five parts of the entities of what thresholds from the others save."""
    events = overrated(make_events(4000, 400, strength=2.0), "web")
    found = tried(events)["web"]
    matrix = cost_matrix(make_project().costs)
    codes = Clusters.of(events, ["terminal"]).codes[0]
    part = np.random.default_rng(0).permutation(int(codes.max()) + 1)[codes] % 5
    saved = 0.0
    for number in range(5):
        chosen_on, judged_on = events.filter(part != number), events.filter(part == number)
        web = judged_on.filter(pl.col("channel") == "web")
        both = (chosen_on, chosen_on.filter(pl.col("channel") == "web"))
        common, own = (money(matrix, web, thresholds_of(item)) for item in both)
        saved += common - own
    assert found.gain.value == pytest.approx(saved)


def thresholds_of(events: pl.DataFrame) -> dict[str, Any]:
    project = make_project('[policy]\nkind = "thresholds"')
    return choose_policy(project, events, events["y_prob"].to_numpy()).policy.thresholds


def money(matrix: CostMatrix, events: pl.DataFrame, thresholds: dict[str, Any]) -> float:
    codes = Policy("thresholds", matrix, thresholds=thresholds).decide(events, events["y_prob"].to_numpy())
    table = matrix.per_event(events)
    return float(table[np.arange(len(codes)), codes.astype(int), events["label"].to_numpy().astype(int)].sum())


def test_the_choice_decides_by_segment_and_says_so() -> None:
    events = overrated(make_events(8000, 600, strength=2.0), "web")
    choice = choose_policy(make_project(TWO), events, events["y_prob"].to_numpy())
    policy, told = choice.policy, choice.report.fit.segments
    assert policy.segments is not None
    assert list(policy.segments.thresholds) == ["web"]
    assert told.by == "channel"
    assert told.confidence == pytest.approx(1 - 0.05 / 3)
    rows = {item.value: item for item in told.each}
    assert rows["web"].thresholds == policy.segments.thresholds["web"]
    assert {name: row.own for name, row in rows.items()} == {"web": True, "app": False, "shop": False}
    assert rows["shop"].why == "common: no gain is shown"
    assert "common thresholds" in choice.report.worth.alternatives
    assert "common thresholds" not in choice.report.worth.as_good_and_simpler
    assert Policy.from_dict(as_object(policy)) == policy
    p = events["y_prob"].to_numpy()
    common = Policy("thresholds", policy.matrix, thresholds=policy.thresholds).decide(events, p)
    own = Policy("thresholds", policy.matrix, thresholds=policy.segments.thresholds["web"]).decide(events, p)
    web = (events["channel"] == "web").to_numpy()
    assert policy.decide(events, p).tolist() == np.where(web, own, common).tolist()


def test_unseen_and_null_get_the_common_thresholds() -> None:
    matrix = cost_matrix(make_project().costs)
    own = Segments("channel", {"web": {"review": 0.9, "block": None}})
    policy = Policy("thresholds", matrix, thresholds={"review": 0.1, "block": 0.5}, segments=own)
    events = make_events(4, 2).with_columns(channel=pl.Series(["web", "new", None, "shop"]))
    assert policy.decide(events, np.full(4, 0.3)).tolist() == [0, 1, 1, 1]


def test_small_segments_and_few_clusters_keep_the_common_thresholds() -> None:
    events = overrated(make_events(8000, 600, strength=2.0), "web")
    few = events.with_columns(card=pl.col("card") % 15, terminal=pl.col("card") % 16)
    kept = tried(few)["web"]
    assert kept.thresholds is None
    assert kept.why == "common: the gain is not known"
    assert "only 15 card clusters" in (kept.gain.reason or "")
    rare = events.with_columns(
        channel=pl.when(pl.col("event_id") < 300).then(pl.lit("rare")).otherwise(pl.col("channel"))
    )
    assert "rare" not in tried(rare)
    choice = choose_policy(make_project(TWO), rare, rare["y_prob"].to_numpy())
    assert choice.report.fit.segments.rest.events == 300
    many = events.with_columns(channel=(pl.col("event_id") % 11).cast(pl.String))
    assert len(tried(many)) == 8


def test_expressions_numbers_and_truths_are_segments_and_fractions_are_not() -> None:
    events = make_events(4000, 600)
    large = "CASE WHEN amount > 100 THEN 'large' ELSE 'small' END"
    assert set(tried(events, large)) == {"large", "small"}
    assert set(tried(events, "amount > 100")) == {"true", "false"}
    assert set(tried(events.with_columns(shift=pl.col("event_id") % 2), "shift")) == {"0", "1"}
    with pytest.raises(ProjectError, match="gives Float64; expected text"):
        tried(events, "amount")
    with pytest.raises(ProjectError, match=r"policy\.segments"):
        tried(events, "chanel")
    with pytest.raises(ProjectError, match=r"policy\.segments"):
        tried(events, "label")


def test_mistakes_in_the_section() -> None:
    with pytest.raises(ProjectError, match='needs kind = "thresholds"'):
        make_project('[policy]\nsegments = "channel"')
    with pytest.raises(ProjectError, match="exclude each other"):
        make_project(TWO + "\nconstraints = { precision = { at_least = 0.5 } }")
    with pytest.raises(ProjectError, match="segments: is empty; expected some text"):
        make_project('[policy]\nkind = "thresholds"\nsegments = ""')
