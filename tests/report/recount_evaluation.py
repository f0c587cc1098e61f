"""Recount what an evaluation, its curves and its gate say, out of the decided rows: a half of `recount`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ground import Ground, lost, near

from fraudctl.evaluate import result as evaluated
from fraudctl.gate import words as gate_words
from fraudctl.report import facts
from fraudctl.uncertainty import Estimate


def recount_judged(item: facts.EvaluationScope, g: Ground) -> None:
    assert (item.rows, item.frauds) == (len(g.rows), sum(row["label"] for row in g.rows))


def recount_rate(item: facts.Rate, g: Ground) -> None:
    wanted = {
        "recall": (len(g.caught()), sum(row["label"] for row in g.rows)),
        "precision": (len(g.caught()), len(g.alerts())),
    }
    if item.name in wanted:
        found, of = wanted[item.name]
        assert item.estimate.value == near(found / of)
    recount_estimate(item.estimate, g)


def recount_estimate(item: Estimate, g: Ground) -> None:
    assert item.low is None or item.high is None or item.low <= item.high


def recount_curve(item: facts.LossCurve, g: Ground) -> None:
    assert g.evaluation is not None
    points = [row for row in g.evaluation.tables.cost_curve if row.threshold > 0]
    assert item.n == len(points)
    assert item.cost == min(row.cost for row in points)
    assert item.low <= item.threshold <= item.high
    assert item.policy_cost == near(lost(g.rows))


def recount_lowest(item: facts.LowestRecall, g: Ground) -> None:
    frauds: dict[str, list[bool]] = defaultdict(list)
    for row in g.rows:
        if row["label"] == 1:
            frauds[f"channel {row['channel']}"].append(row["action"] != "allow")
    recalls = {name: sum(found) / len(found) for name, found in frauds.items()}
    assert item.n == len(recalls)
    assert set(item.names) == {name for name, value in recalls.items() if value == near(min(recalls.values()))}


def recount_points(item: facts.CurvePoints, g: Ground) -> None:
    for point in (*item.points, *([item.here] if item.here else [])):
        recount_point(point, g)


def recount_point(item: facts.Point, g: Ground) -> None:
    assert 0 <= item.x <= 1
    assert 0 <= item.y <= 1


def recount_gate(item: evaluated.GateResult, g: Ground) -> None:
    for rule in item.rules:
        recount_rule(rule, g)


def recount_rule(item: evaluated.RuleResult, g: Ground) -> None:
    if item.name == f"{item.metric}.{item.direction}":
        assert g.evaluation is not None
        assert item.estimate.value == g.evaluation.metrics[item.metric].value


def recount_held(item: gate_words.Held, g: Ground) -> None:
    """Compare with the metrics of the evaluation, which are recounted by themselves, and judge the interval again."""
    assert g.evaluation is not None
    recount_frauds(item.frauds, g)
    assert item.part is None or item.part <= item.frauds.n
    found = item.found
    beside = g.evaluation.champion
    leads = set() if beside is None else {item.value for item in beside.differences.values()}
    if item.part is None:
        signed = {found.value, None if found.value is None else -found.value}
        assert found.value == g.evaluation.metrics[item.metric].value or signed & (leads | {None})
    if found.low is None or found.high is None:
        assert item.verdict != "pass"
        return
    sides = [
        end >= item.bound if item.direction == "at_least" else end <= item.bound for end in (found.low, found.high)
    ]
    verdict = "inconclusive" if len(set(sides)) > 1 else "pass" if sides[0] else "fail"
    enough = item.frauds.n >= item.frauds.needed
    assert item.verdict == (verdict if verdict != "pass" or enough else "inconclusive")
    assert item.keeps == all(sides)


def recount_frauds(item: gate_words.Frauds, g: Ground) -> None:
    assert item.n == sum(row["label"] == 1 for row in g.rows)


def recount_deciding(item: gate_words.Deciding, g: Ground) -> None:
    assert g.evaluation is not None
    assert 1 <= item.n_rules <= len(g.evaluation.gate.rules)


def recount_family(item: gate_words.TestFamily, g: Ground) -> None:
    assert g.evaluation is not None
    assert 1 < item.n_segments <= len(g.evaluation.gate.rules)


def recount_noise(item: gate_words.Noise, g: Ground) -> None:
    assert g.rows
    assert item.floor >= round(item.savings, 1)


def recount_excluded(item: evaluated.Excluded, g: Ground) -> None:
    assert g.evaluation is not None
    assert item == g.evaluation.excluded


def recount_period(item: evaluated.Period, g: Ground) -> None:
    assert all(item.from_time <= row["event_time"] < item.until for row in g.rows)


def recount_immature(item: facts.ImmatureBounds, g: Ground) -> None:
    assert item.legit <= 1
    assert item.fraud <= 1


def recount_control(item: facts.ControlGroup, g: Ground) -> None:
    assert 0 <= item.frauds <= item.rows <= len(g.rows)


def recount_random(item: facts.RandomTest, g: Ground) -> None:
    assert item.rows == len(g.rows)
    assert 0 < item.share < 1


def recount_paired(item: facts.Paired, g: Ground) -> None:
    assert item.low is None or item.high is None or item.low <= item.high
    if g.evaluation is not None and g.evaluation.champion is not None and item.metric in g.evaluation.metrics:
        mine = g.evaluation.metrics[item.metric].value
        theirs = g.evaluation.champion.metrics[item.metric].value
        assert item.value == near(mine - theirs)


def recount_all_paired(item: facts.PairedDifferences, g: Ground) -> None:
    for one in item.items:
        recount_paired(one, g)


RECOUNT_EVALUATION: dict[type, Callable[[Any, Ground], None]] = {
    facts.EvaluationScope: recount_judged,
    facts.Rate: recount_rate,
    Estimate: recount_estimate,
    facts.LossCurve: recount_curve,
    facts.LowestRecall: recount_lowest,
    facts.CurvePoints: recount_points,
    facts.Point: recount_point,
    evaluated.GateResult: recount_gate,
    evaluated.RuleResult: recount_rule,
    gate_words.Held: recount_held,
    gate_words.Frauds: recount_frauds,
    gate_words.Deciding: recount_deciding,
    gate_words.TestFamily: recount_family,
    gate_words.Noise: recount_noise,
    evaluated.Excluded: recount_excluded,
    evaluated.Period: recount_period,
    facts.ImmatureBounds: recount_immature,
    facts.ControlGroup: recount_control,
    facts.RandomTest: recount_random,
    facts.Paired: recount_paired,
    facts.PairedDifferences: recount_all_paired,
}
