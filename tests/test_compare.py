from __future__ import annotations

import json

import polars as pl
import pytest
from decisions_world import PERIOD, make_events, make_project, score

from fraudctl.compare import compare
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError
from fraudctl.split import RandomSplit
from fraudctl.text.figures import percent


def test_disagreements_add_up_to_the_difference() -> None:
    project = make_project()
    a, b = (score(make_events(strength=s), project) for s in (3.0, 2.0))
    found = compare(a, b, project=project, names=("new", "old"))
    gap = sum(item.cost_a - item.cost_b for item in found.disagreements)
    assert gap == pytest.approx(found.differences["cost"].value)
    assert gap == pytest.approx(a["cost"].sum() - b["cost"].sum())
    assert found.agreed + sum(item.events for item in found.disagreements) == 4000
    assert found.agreed == int((a["action"] == b["action"]).sum())
    cell = next(item for item in found.disagreements if (item.action_a, item.action_b) == ("review", "allow"))
    both = a.filter((a["action"] == "review") & (b["action"] == "allow"))
    assert (cell.events, cell.frauds) == (both.height, both["label"].sum())
    assert 0 < found.rank_correlation < 1
    json.dumps(as_object(found), allow_nan=False)


def test_costliest_come_first_and_are_disagreements() -> None:
    project = make_project()
    a, b = (score(make_events(strength=s), project) for s in (3.0, 2.0))
    found = compare(a, b, project=project, names=("new", "old"), most=5)
    gaps = [abs(item.cost_a - item.cost_b) for item in found.costliest]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 5
    assert all(item.action_a != item.action_b for item in found.costliest)
    assert max(gaps) == pytest.approx((a["cost"] - b["cost"]).abs().max())


def test_a_comparison_names_its_period() -> None:
    project = make_project()
    scored = score(make_events(), project)
    found = compare(scored, scored, project=project, names=("a", "b"), period=PERIOD)
    assert as_object(found)["period"] == as_object(PERIOD)
    assert as_object(found)["split"] == {"kind": "time"}
    assert found.when == "2–8 Mar 2026"
    first, last = scored["event_time"].min(), scored["event_time"].max()
    own = compare(scored, scored, project=project, names=("a", "b")).period
    assert own.from_time == first
    assert own.until > last  # type: ignore[operator]
    drawn = compare(scored, scored, project=project, names=("a", "b"), split=RandomSplit(3, 0.25))
    assert as_object(drawn)["period"] is None
    assert as_object(drawn)["split"] == {"kind": "random", "seed": 3, "test_share": 0.25}
    assert drawn.when == f"a random {percent(0.25)} of the events (random split, seed 3)"


def test_twins_never_disagree() -> None:
    project = make_project()
    a = score(make_events(), project)
    found = compare(a, a, project=project, names=("x", "x"))
    assert found.disagreements == ()
    assert found.costliest == ()
    assert found.differences["savings"].value == 0.0
    assert found.rank_correlation == pytest.approx(1.0)


def test_other_events_or_missing_scores_are_errors() -> None:
    project = make_project()
    a = score(make_events(), project)
    with pytest.raises(DataError, match="other events"):
        compare(a, a[:-1], project=project, names=("x", "y"))
    holes = score(make_events().with_columns(y_prob=pl.lit(None, dtype=pl.Float64)), project)
    with pytest.raises(DataError, match="y cannot be compared"):
        compare(a, holes, project=project, names=("x", "y"))
