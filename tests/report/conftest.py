"""Documents to render: one with everything in it, and those of a real explanation and evaluation."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fraudctl.evaluate import Excluded, Period, decide_frame, evaluate
from fraudctl.evaluate.result import Evaluation
from fraudctl.explain.result import Explanation
from fraudctl.explain.run import explain
from fraudctl.gate import Champion, judge
from fraudctl.policy import bare_policy
from fraudctl.report import charts
from fraudctl.report.document import (
    Bar,
    BarSegment,
    Card,
    Cell,
    Chart,
    Document,
    Fact,
    Facts,
    ReportSection,
    ReportTable,
    TableColumn,
    Text,
)  # fmt: skip
from fraudctl.text.sentences import Sentence

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "explain")]

from nasty import NASTY  # noqa: E402
from world import FEATURES, World, make_world, project  # noqa: E402

GATE = """
[gate]
savings = { at_least = 0.1 }
recall = { at_least = 0.99 }
champion = { metric = "savings", no_worse_than = 0.02 }
"""
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def document() -> Document:
    """Hold every kind of block, with markup in every text."""
    rows = [
        {"label": f"{NASTY} {i}", "value": i - 2.0, "low": i - 2.5, "high": i - 1.5, "tone": "bad"} for i in range(4)
    ]
    said = Sentence(NASTY)
    table = ReportTable(
        "cases", said, (TableColumn(NASTY, "code"), TableColumn("Lost", "number"), TableColumn("Why", "lines")),
        tuple((Cell(f"{NASTY} {name}"), Cell(f"{cost:,.2f}", cost), Cell("", lines=(NASTY, name)))
              for name, cost in (("bravo", 3.0), ("alpha", 1000.5), ("charlie", -20.0))),
        tools=True, filter_hint="Filter",
    )  # fmt: skip
    sections = (
        ReportSection("first", NASTY, said, (
            Bar("bar", (BarSegment(NASTY, "1", 0.7, "bad"), BarSegment("b", "2", 0.3, "cool")), said),
            Text(said), Text(Sentence("note"), note=True),
            Chart("one", NASTY, charts.intervals(rows, title="x"), said, wide=False),
            Chart("two", "t", charts.intervals(rows, title="x"), said, wide=False),
        )),
        ReportSection("second", "Cases", Sentence("lead"), (table, Facts((Fact(NASTY, said),)))),
    )  # fmt: skip
    return Document(
        said, (said,), (Card("1", said, "good"),), sections, kicker=NASTY, verdict=("fail", "bad"),
        findings=((said, said, "bad"),), footer=NASTY,
    )  # fmt: skip


@pytest.fixture(scope="session")
def explanation() -> Explanation:
    world = make_world(4000, missed_channel="web")
    return explain(
        world.scored, world.history, project=world.project, features=FEATURES, contribute=world.contribute,
        replay=world.replay, model="v1", permutations=200, threads=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    world: World = make_world(3000)
    text = project().text.replace("[features]", "[evaluate]\nreplicates = 100\n[features]") + GATE
    parsed = project(text)
    table = world.scored.drop("y_prob", "action", "cost")
    y_prob = world.scored["y_prob"].to_numpy()
    policy = bare_policy(parsed)
    scored = decide_frame(table, y_prob, policy=policy, project=parsed)
    rng = np.random.default_rng(0)
    rival = decide_frame(
        table, np.clip(y_prob * rng.uniform(0.3, 1.0, len(y_prob)), 0, 1), policy=policy, project=parsed
    )
    found = evaluate(
        scored, project=parsed, policy=policy, model="v2", as_of=START,
        period=Period(START, START + timedelta(days=10)), excluded=Excluded(immature=3),
    )  # fmt: skip
    return judge(found, scored, project=parsed, policy=policy, champion=Champion("v1", rival))
