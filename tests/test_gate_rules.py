"""Where one set of rules is weaker than another is found, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.gate.rules import gate_document, weaker
from fraudctl.project.evaluation import GateSection

BOUNDS = st.floats(0.01, 0.99).map(lambda value: round(value, 3))
NAMES = ["savings", "recall", "precision", "false_positive_rate"]
METRICS = st.sampled_from(NAMES)
LIMITS = st.fixed_dictionaries({}, optional={"at_least": BOUNDS, "at_most": BOUNDS}).filter(bool)
CHAMPIONS = st.fixed_dictionaries({"metric": METRICS, "no_worse_than": BOUNDS}, optional={"better_than": BOUNDS})
SEGMENTS = st.fixed_dictionaries(
    {"by": st.sampled_from(["channel", "country"]), "metric": METRICS, "min_frauds": st.integers(1, 200)},
    optional={"at_least": BOUNDS, "at_most": BOUNDS, "no_worse_than": BOUNDS},
)
DRIFTS = st.fixed_dictionaries(
    {"scores": st.booleans(), "calibration": st.booleans(), "chance": st.sampled_from([0.005, 0.01, 0.05])}
)
GATES = st.builds(
    lambda metrics, more: {**metrics, **more},
    st.dictionaries(METRICS, LIMITS, max_size=3),
    st.fixed_dictionaries(
        {"confidence": st.sampled_from([0.8, 0.9, 0.95]), "min_frauds": st.integers(1, 400), "checks": st.booleans(),
         "pooled_folds": st.integers(1, 4)},
        optional={"champion": CHAMPIONS, "drift": DRIFTS,
                  "segments": st.lists(SEGMENTS, max_size=2, unique_by=lambda item: (item["by"], item["metric"]))},
    ),
)  # fmt: skip


def section(document: dict[str, Any]) -> GateSection:
    return GateSection.model_validate(document)


@given(GATES)
def test_rules_are_not_weaker_than_themselves_and_come_back_from_their_document(document: dict[str, Any]) -> None:
    rules = section(document)
    assert weaker(rules, rules) == []
    assert weaker(rules, None) == []
    assert weaker(None, rules) == ["[gate] is gone"]
    assert section(gate_document(rules)) == rules


@given(GATES, st.data())
def test_every_loosened_rule_is_named_and_no_tightened_one(document: dict[str, Any], data: st.DataObject) -> None:
    looser = [
        {**document, "confidence": 0.7}, {**document, "min_frauds": document["min_frauds"] - 1},
        {**document, "pooled_folds": document["pooled_folds"] - 1}, {**document, "checks": False},
        *({**document, name: {**document[name], "at_least": document[name]["at_least"] - 0.005}}
          for name in document if isinstance(document[name], dict) and "at_least" in document[name]),
        *({key: item for key, item in document.items() if key != name}
          for name in document if name in {*NAMES, "champion", "drift"}),
    ]  # fmt: skip
    change = data.draw(st.sampled_from(looser))
    if change == document or change["min_frauds"] < 1 or change["pooled_folds"] < 1:
        return
    assert weaker(section(change), section(document))
    assert not weaker(section(document), section(change))


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"min_frauds": 300}, {"min_frauds": 50}, "min_frauds 300 -> 50"),
        ({"recall": {"at_least": 0.4}}, {}, "recall at_least 0.4 -> none"),
        ({"ece": {"at_most": 0.1}}, {"ece": {"at_most": 0.2}}, "ece at_most 0.1 -> 0.2"),
        ({"champion": {"no_worse_than": 0.01}}, {"champion": {}}, "champion no_worse_than 0.01 -> 0.02"),
        ({"champion": {}}, {"champion": {"if_none": "baseline"}}, "champion if_none inconclusive -> baseline"),
        ({"drift": {}}, {"drift": {"scores": False}}, "drift scores true -> false"),
        ({"drift": {"chance": 0.05}}, {"drift": {}}, "drift chance 0.05 -> 0.01"),
        (
            {"segments": [{"by": "a", "metric": "recall"}]},
            {"segments": [{"by": "a", "metric": "recall", "at_least": 0.1}]},
            "segments a recall no_worse_than 0.1 -> none",
        ),
    ],
)
def test_what_was_loosened_is_said(before: dict[str, Any], now: dict[str, Any], said: str) -> None:
    assert weaker(section(now), section(before)) == [said]
