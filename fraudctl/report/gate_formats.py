"""The gate's verdict in the forms that continuous integration reads: JUnit, GitHub, Markdown. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from fraudctl.evaluate.result import Evaluation, GateResult, RuleResult
from fraudctl.figures import count, number, percent, whole
from fraudctl.uncertainty import Estimate

MARKDOWN_LIMIT = 64_000
"""Bytes; a pull-request comment takes 65,536 characters."""
MAX_ANNOTATIONS = 10

_WORDS = {
    "pass": "The model may ship: {reason}.",
    "fail": "The model must not ship: {reason}.",
    "inconclusive": "It cannot be told whether the model may ship: {reason}.",
    "none": "No verdict: {reason}.",
    "refused": "These rules cannot judge a model: {reason}.",
}
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "none": "➖", "refused": "⛔"}
_LEVELS = {"pass": "notice", "fail": "error", "inconclusive": "warning"}


def sentence(gate: GateResult) -> str:
    """Say the verdict in one sentence for readers who know no statistics."""
    return _WORDS[gate.verdict].format(reason=gate.reason or "no rule was applied")


def junit(evaluation: Evaluation) -> str:
    """Give JUnit XML with one test case per rule.

    A broken rule is a failure, an inconclusive one an error: neither is a pass, nor skipped, which some readers count
    as one. A gate that refuses its rules is one more test case in error.
    """
    gate = evaluation.gate
    failures = sum(rule.verdict == "fail" for rule in gate.rules)
    errors = sum(rule.verdict == "inconclusive" for rule in gate.rules) + (gate.verdict == "refused")
    cases = len(gate.rules) + (gate.verdict == "refused")
    counts = {"tests": str(cases), "failures": str(failures), "errors": str(errors)}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": f"fraudctl gate {evaluation.model}", **counts})
    for rule in gate.rules:
        _junit_case(suite, rule)
    if gate.verdict == "refused":
        case = ET.SubElement(suite, "testcase", {"classname": "fraudctl.gate", "name": "negative control"})
        ET.SubElement(case, "error", {"message": _clean(gate.reason)}).text = _clean(gate.hint or gate.reason)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _junit_case(suite: ET.Element, rule: RuleResult) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": "fraudctl.gate", "name": _clean(rule.name)})
    if rule.verdict != "pass":
        tag = "failure" if rule.verdict == "fail" else "error"
        found = ET.SubElement(case, tag, {"message": _clean(rule.reason), "type": rule.verdict})
        found.text = _clean(rule.reason)
    else:
        ET.SubElement(case, "system-out").text = _clean(rule.reason)


def _clean(text: str) -> str:
    """Drop what XML 1.0 cannot hold: segment names come from data."""
    return "".join(char for char in text if char in "\t\n\r" or (ord(char) >= 0x20 and not _is_hole(ord(char))))


def _is_hole(point: int) -> bool:
    return 0xD800 <= point <= 0xDFFF or point in {0xFFFE, 0xFFFF} or 0x7F <= point <= 0x9F


def github(evaluation: Evaluation) -> str:
    """Give GitHub workflow commands: the verdict and then its rules, worst first, at most 10 annotations."""
    gate = evaluation.gate
    level = {"pass": "notice", "none": "notice", "inconclusive": "warning"}.get(gate.verdict, "error")
    lines = [_annotation(level, f"fraudctl gate: {gate.verdict}", sentence(gate))]
    order = {"fail": 0, "inconclusive": 1, "pass": 2}
    rules = sorted(gate.rules, key=lambda rule: order[rule.verdict])
    lines += [_annotation(_LEVELS[rule.verdict], rule.name, rule.reason) for rule in rules]
    return "\n".join(lines[:MAX_ANNOTATIONS]) + "\n"


def _annotation(level: str, title: str, text: str) -> str:
    return f"::{level} title={_property(title)}::{_escape(text)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def markdown(evaluation: Evaluation) -> str:
    """Give the verdict, rules, money and metrics as Markdown under 64 KB, for a comment or a step summary."""
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


step_summary = markdown
"""What goes to the file that ``$GITHUB_STEP_SUMMARY`` names."""


def _markdown_lines(evaluation: Evaluation) -> Iterator[str]:
    gate = evaluation.gate
    yield f"## {_MARKS[gate.verdict]} fraudctl gate: {gate.verdict}"
    yield ""
    yield _text(sentence(gate))
    if gate.hint:
        yield ""
        yield f"**Hint:** {_text(gate.hint)}"
    for warning in (*gate.warnings, *evaluation.warnings):
        yield ""
        yield f"> {_text(warning)}"
    yield ""
    yield (
        f"Model `{evaluation.model}`, {count(evaluation.rows, 'event')} with {count(evaluation.frauds, 'fraud')}, "
        f"{evaluation.when}; intervals at {percent(evaluation.confidence)}."
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
    yield from (f"| {name} | {_number(item.value)} | {_interval(item)} |" for name, item in evaluation.metrics.items())


def _rule_row(rule: RuleResult) -> str:
    bound = f"{rule.direction.replace('_', ' ')} {number(rule.bound, 4)}"
    cells = [
        rule.name,
        f"{_MARKS[rule.verdict]} {rule.verdict}",
        _number(rule.estimate.value),
        _interval(rule.estimate),
    ]
    return "| " + " | ".join(_text(cell) for cell in [*cells, bound, rule.reason]) + " |"


def _money_lines(evaluation: Evaluation) -> Iterator[str]:
    money = evaluation.money
    if "cost" not in money:
        return
    base = money["baseline"]
    yield ""
    yield (
        f"Money ({money['currency']}): the model's decisions cost {whole(money['cost'])}, against "
        f"{whole(base['cost'])} for the cheapest constant action ({_text(base['words'])}) and "
        f"{whole(money['perfect_cost'])} for a perfect model; saved {whole(money['saved'])}."
    )


def _number(value: float | None) -> str:
    return number(value, 4)


def _interval(item: Estimate) -> str:
    return f"{_number(item.low)} to {_number(item.high)}" if item.known else (item.reason or "–")


def _text(text: str) -> str:
    """Keep text from data out of the table's own syntax."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
