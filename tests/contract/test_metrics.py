"""The catalogue of metrics is complete: results, rules, constraints and objectives know its names and no others."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from decisions_world import evaluated, make_events, make_project, score

from fraudctl.catalogue import CONSTRAINED, METRICS, OBJECTIVE, SIDE_BY_SIDE, metric, metric_names, top_k_metric
from fraudctl.checks import CheckReport
from fraudctl.compare import compare
from fraudctl.evaluate.estimates import RATIOS, difference, estimate
from fraudctl.evaluate.judged import EvaluatedEvents, prepare
from fraudctl.evaluate.tables import SEGMENT_METRICS
from fraudctl.gate import Champion, judge
from fraudctl.policy.choose import bare_policy
from fraudctl.policy.limits import AlertOutcomes, alerted
from fraudctl.project.decisions import ConstrainedMetric
from fraudctl.project.training import TrainSection
from fraudctl.uncertainty import RankingIntervals

NAMES = metric_names(["card", "terminal"])
SETTINGS = RankingIntervals(100, 0, 0.9)
GATE = (
    'segments = ["channel"]\n\n[gate]\nmin_frauds = 20\n'
    + "".join(f"{name} = {{ at_least = -9e9 }}\n" for name in NAMES)
    + "[gate.drift]\n"
)  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> EvaluatedEvents:
    return prepare(score(make_events(), make_project()), make_project())


def test_names_are_distinct_and_say_what_they_are() -> None:
    items = [*METRICS, top_k_metric("card"), OBJECTIVE, metric("errors"), metric("score_psi")]
    assert len({item.name for item in items}) == len({item.words for item in items}) == len(items)
    assert all(item.words and item.formula for item in items)
    assert [metric(name).name for name in NAMES] == NAMES
    with pytest.raises(KeyError):
        metric("f1")


def test_every_figure_of_a_result_is_in_the_catalogue_and_the_other_way_round() -> None:
    project = make_project(GATE)
    scored, weaker = score(make_events(), project), score(make_events(strength=1.5), project)
    found = judge(
        evaluated(scored, project),
        scored,
        project=project,
        policy=bare_policy(project),
        champion=Champion("old", weaker),
        checks=CheckReport((), 0),
    )
    assert list(found.metrics) == NAMES
    assert found.champion is not None
    assert list(found.champion.metrics) == list(found.champion.differences) == list(SIDE_BY_SIDE)
    both = compare(scored, weaker, project=project, names=("a", "b"))
    assert list(both.metrics.a) == list(both.metrics.b) == list(both.differences) == list(SIDE_BY_SIDE)
    assert set(SEGMENT_METRICS) <= set(NAMES)
    assert all(list(row.metrics) == list(SEGMENT_METRICS) for row in found.tables.by_segment["channel"])
    assert {rule.metric for rule in found.gate.rules} >= {*NAMES, "errors", "score_psi"}
    assert all(metric(rule.metric).words for rule in found.gate.rules)


def test_ratios_are_those_that_have_a_function() -> None:
    assert set(RATIOS) == {item.name for item in METRICS if item.way == "ratio"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_metric_holds(name: str, judged: EvaluatedEvents) -> None:
    item = metric(name)
    found = estimate(name, judged, SETTINGS)
    assert found.value is not None
    if item.unit == "share":
        assert found.value <= 1.0
    paired = difference(name, judged, judged, SETTINGS)
    if item.paired:
        assert paired.value == 0.0
    if item.side_by_side:
        assert item.paired
    calm = judged.take(judged.y_true == 0)
    assert (estimate(name, calm, SETTINGS).value is None) == item.needs_fraud


@pytest.mark.parametrize(
    "name",
    [item.name for item in METRICS if item.detects or item.name in {"false_positive_rate", "cost", "brier", "ece"}],
)
def test_the_direction_is_that_in_which_better_scores_go(name: str, judged: EvaluatedEvents) -> None:
    rng = np.random.default_rng(3)
    noise = rng.permutation(len(judged.y_prob))
    worse = judged.deciding(judged.y_prob[noise], judged.codes[noise])
    good, bad = (estimate(name, item, SETTINGS).value for item in (judged, worse))
    assert good is not None
    assert bad is not None
    assert (good > bad) == metric(name).higher_is_better


def test_constraints_and_objectives_are_those_of_the_catalogue(judged: EvaluatedEvents) -> None:
    assert set(get_args(ConstrainedMetric)) == set(CONSTRAINED)
    nobody = np.zeros(judged.n_events, dtype=np.bool_)
    outcomes = AlertOutcomes(judged.y_true, judged.weight, judged.amount, judged.clusters, nobody)
    for name in CONSTRAINED:
        assert alerted(name, judged.alert, outcomes).value == pytest.approx(estimate(name, judged, SETTINGS).value)
    for name in ("average_precision", "savings", f"{OBJECTIVE.name}(0.01)"):
        assert metric(TrainSection(metric=name).metric).words
