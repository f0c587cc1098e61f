from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from decisions_world import evaluated, make_events, make_project, score

from fraudctl.evaluate import Evaluation
from fraudctl.gate import judge
from fraudctl.policy import bare_policy
from fraudctl.report.gate_formats import MARKDOWN_LIMIT, github, junit, markdown, sentence


def parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 -- our own output


GATE = "[gate]\nmin_frauds = 100\nsavings = {{ at_least = {floor} }}\nrecall = {{ at_least = 0.5 }}\n"


def judged(floor: float = 0.3, more: str = "") -> Evaluation:
    project = make_project(GATE.format(floor=floor) + more)
    scored = score(make_events(), project)
    return judge(evaluated(scored, project), scored, project=project, policy=bare_policy(project))


def test_junit_has_a_case_per_rule() -> None:
    root = parse(junit(judged(0.99)))
    cases = root.findall(".//testcase")
    assert [case.get("name") for case in cases] == ["savings.at_least", "recall.at_least"]
    assert (root.get("failures"), root.get("errors"), root.get("tests")) == ("1", "0", "2")
    failure = cases[0].find("failure")
    assert failure is not None
    assert "breaks" in (failure.get("message") or "")


def test_inconclusive_and_refused_are_errors_never_skipped() -> None:
    unknown = judged(0.3, "champion = {}\n")
    text = junit(unknown)
    assert parse(text).get("errors") == "1"
    assert "skipped" not in text
    refused = replace(unknown, gate=replace(unknown.gate, verdict="refused", hint="add a floor"))
    assert parse(junit(refused)).findall(".//testcase")[-1].find("error").text == "add a floor"  # type: ignore[union-attr]


def test_github_has_at_most_ten_annotations_worst_first() -> None:
    found = judged(0.99)
    many = replace(found, gate=replace(found.gate, rules=found.gate.rules * 20))
    lines = github(many).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("::error title=fraudctl gate%3A fail::The model must not ship")
    assert all(line.startswith("::error") for line in lines)
    assert github(judged()).startswith("::notice")


def test_text_from_data_cannot_break_out() -> None:
    found = judged(0.99)
    rule = replace(found.gate.rules[0], name="x|y\n::error::<b>\x00", reason="100 %\nnext")
    evil = replace(found, gate=replace(found.gate, rules=(rule,), reason="a\nb"))
    assert len(github(evil).splitlines()) == 2
    assert "\\|" in markdown(evil)
    assert "<b>" not in markdown(evil)
    parse(junit(evil))


def test_markdown_says_verdict_money_and_metrics_under_the_limit() -> None:
    found = judged()
    text = markdown(found)
    assert text.startswith("## ✅ fraudctl gate: pass")
    assert "The model may ship" in text
    assert "Money (EUR)" in text
    assert "| average_precision |" in text
    huge = replace(found, gate=replace(found.gate, rules=found.gate.rules * 2000))
    cut = markdown(huge)
    assert len(cut.encode()) <= MARKDOWN_LIMIT
    assert "more lines" in cut


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive", "none", "refused"])
def test_every_verdict_has_its_sentence(verdict: str) -> None:
    found = judged()
    gate = replace(found.gate, verdict=verdict)  # type: ignore[arg-type]
    assert sentence(gate).endswith(".")
    assert verdict in markdown(replace(found, gate=gate))


def test_nothing_known_still_renders() -> None:
    project = make_project(GATE.format(floor=0.3))
    events = make_events().with_columns(y_prob=pl.lit(None, dtype=pl.Float64))
    scored = score(events, project)
    found = judge(evaluated(scored, project), scored, project=project, policy=bare_policy(project))
    for form in (junit, github, markdown):
        assert "not known" in form(found)
