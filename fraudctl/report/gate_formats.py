"""The gate's verdict in the forms that continuous integration reads: JUnit, GitHub, Markdown. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from fraudctl.evaluate.result import Evaluation, GateResult, RuleResult
from fraudctl.report.escape import github as github_message
from fraudctl.report.escape import github_property, xml
from fraudctl.report.escape import markdown as escape
from fraudctl.text.figures import count, number, percent, whole
from fraudctl.uncertainty import Estimate

MARKDOWN_LIMIT = 64_000
"""Bytes; a pull-request comment takes 65,536 characters."""
MAX_ANNOTATIONS = 10

_WORDS = {
    "pass": "The model may ship: {reason}.",
    "fail": "The model must not ship: {reason}.",
    "inconclusive": "It is not known whether the model may ship: {reason}.",
    "none": "No verdict: {reason}.",
    "refused": "These rules cannot judge a model: {reason}.",
}
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "none": "➖", "refused": "⛔"}
_LEVELS = {"pass": "notice", "fail": "error", "inconclusive": "warning"}


def sentence(gate: GateResult) -> str:
    """State the verdict in one sentence for readers who know no statistics."""
    return _WORDS[gate.verdict].format(reason=gate.reason or "no rule was applied")


def junit(evaluation: Evaluation) -> str:
    """Return JUnit XML with one test case per rule.

    A broken rule is a failure, an inconclusive one an error: neither is a pass, nor skipped, which some readers count
    as one. A gate that refuses its rules is one more test case in error.
    """
    gate = evaluation.gate
    failures = sum(rule.verdict == "fail" for rule in gate.rules)
    errors = sum(rule.verdict == "inconclusive" for rule in gate.rules) + (gate.verdict == "refused")
    cases = len(gate.rules) + (gate.verdict == "refused")
    counts = {"tests": str(cases), "failures": str(failures), "errors": str(errors)}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": xml(f"fraudctl gate {evaluation.model}"), **counts})
    for rule in gate.rules:
        _junit_case(suite, rule)
    if gate.verdict == "refused":
        case = ET.SubElement(suite, "testcase", {"classname": "fraudctl.gate", "name": "negative control"})
        ET.SubElement(case, "error", {"message": xml(gate.reason)}).text = xml(gate.hint or gate.reason)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _junit_case(suite: ET.Element, rule: RuleResult) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": "fraudctl.gate", "name": xml(rule.name)})
    if rule.verdict != "pass":
        tag = "failure" if rule.verdict == "fail" else "error"
        found = ET.SubElement(case, tag, {"message": xml(rule.reason), "type": rule.verdict})
        found.text = xml(rule.reason)
    else:
        ET.SubElement(case, "system-out").text = xml(rule.reason)


def github(evaluation: Evaluation) -> str:
    """Return GitHub workflow commands: the verdict and then its rules, worst first, at most 10 annotations."""
    gate = evaluation.gate
    level = {"pass": "notice", "none": "notice", "inconclusive": "warning"}.get(gate.verdict, "error")
    lines = [_annotation(level, f"fraudctl gate: {gate.verdict}", sentence(gate))]
    order = {"fail": 0, "inconclusive": 1, "pass": 2}
    rules = sorted(gate.rules, key=lambda rule: order[rule.verdict])
    lines += [_annotation(_LEVELS[rule.verdict], rule.name, rule.reason) for rule in rules]
    return "\n".join(lines[:MAX_ANNOTATIONS]) + "\n"


def _annotation(level: str, title: str, text: str) -> str:
    return f"::{level} title={github_property(title)}::{github_message(text)}"


def markdown(evaluation: Evaluation) -> str:
    """Return the verdict, rules, money and metrics as Markdown under 64 KB, for a comment or a step summary."""
    lines = list(_markdown_lines(evaluation))
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > MARKDOWN_LIMIT - 200:
            kept.append(f"\n… and {len(lines) - len(kept)} more lines; the whole is in the JSON and the HTML report.")
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _markdown_lines(evaluation: Evaluation) -> Iterator[str]:
    gate = evaluation.gate
    yield f"## {_MARKS[gate.verdict]} fraudctl gate: {gate.verdict}"
    yield ""
    yield escape(sentence(gate))
    if gate.hint:
        yield ""
        yield f"**Hint:** {escape(gate.hint)}"
    for warning in (*gate.warnings, *evaluation.warnings):
        yield ""
        yield f"> {escape(warning)}"
    yield ""
    yield (
        f"Model {escape(evaluation.model)}, {count(evaluation.rows, 'event')} with "
        f"{count(evaluation.frauds, 'fraud')}, {escape(evaluation.when)}; "
        f"intervals at {percent(evaluation.confidence)}."
    )
    if gate.rules:
        yield ""
        yield "| rule | verdict | value | interval | bound | why |"
        yield "|---|---|---:|---|---:|---|"
        yield from (_rule_row(rule) for rule in gate.rules)
    yield from _money_lines(evaluation)
    yield ""
    yield "| metric | value | interval |"
    yield "|---|---:|---|"
    yield from (
        f"| {escape(name)} | {_number(item.value)} | {escape(_interval(item))} |"
        for name, item in evaluation.metrics.items()
    )


def _rule_row(rule: RuleResult) -> str:
    bound = f"{rule.direction.replace('_', ' ')} {number(rule.bound, 4)}"
    cells = [
        rule.name,
        f"{_MARKS[rule.verdict]} {rule.verdict}",
        _number(rule.estimate.value),
        _interval(rule.estimate),
    ]
    return "| " + " | ".join(escape(cell) for cell in [*cells, bound, rule.reason]) + " |"


def _money_lines(evaluation: Evaluation) -> Iterator[str]:
    sums = evaluation.money.sums
    if sums is None:
        return
    base = sums.baseline
    aside = " without limits of capacity" if sums.perfect_without_capacity else ""
    yield ""
    yield (
        f"Money ({escape(evaluation.money.currency)}): the model's decisions cost {whole(sums.cost)}, against "
        f"{whole(base.cost)} for the cheapest constant action ({escape(base.words)}) and "
        f"{whole(sums.perfect_cost)} for a perfect model{aside}; saved {whole(sums.saved)}."
    )


def _number(value: float | None) -> str:
    return number(value, 4)


def _interval(item: Estimate) -> str:
    return f"{_number(item.low)} to {_number(item.high)}" if item.known else (item.reason or "–")
