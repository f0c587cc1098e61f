"""What `monitor` found, in the forms that machines and pull requests read: JUnit, GitHub, Markdown, Prometheus.

Pure functions of a `MonitorResult`.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from fraudctl.monitor.outcome import MonitorAlarm, MonitorResult
from fraudctl.report.escape import github as github_message
from fraudctl.report.escape import github_property, xml
from fraudctl.report.escape import markdown as escape
from fraudctl.report.gate_formats import MARKDOWN_LIMIT, MAX_ANNOTATIONS
from fraudctl.text.figures import count, number
from fraudctl.text.plain import visible

_MARKS = {"quiet": "✅", "warn": "⚠️", "act": "❌", "cannot tell": "❔"}
_LEVELS = {"harm": "error", "data": "error", "drift": "warning"}
TIERS = ("harm", "data", "drift")


def sentence_of(found: MonitorResult) -> str:
    """State the verdict in one sentence."""
    words = {
        "quiet": "Quiet: {reason}.",
        "warn": "Something moved, and nothing has to be done at once: {reason}.",
        "act": "Act: {reason}.",
        "cannot tell": "It cannot be told whether something is wrong: {reason}.",
    }
    return words[found.verdict].format(reason=found.reason)


def monitor_markdown(found: MonitorResult) -> str:
    """Return the verdict, alarms with their causes, and limits as Markdown under 64 KB."""
    kept: list[str] = []
    size = 0
    lines = list(_markdown_lines(found))
    for line in lines:
        size += len(line.encode()) + 1
        if size > MARKDOWN_LIMIT - 200:
            kept.append(f"\n… and {len(lines) - len(kept)} more lines; the whole is in the JSON.")
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _markdown_lines(found: MonitorResult) -> Iterator[str]:
    yield f"## {_MARKS[found.verdict]} fraudctl monitor: {found.verdict}"
    yield ""
    yield escape(sentence_of(found))
    yield ""
    yield escape(watched_words(found))
    for alarm in found.alarms:
        yield ""
        noted = "" if alarm.acknowledged is None else ", noted"
        yield f"### {alarm.tier}{noted}: {escape(alarm.what)}"
        yield ""
        yield f"`{alarm.id}`; next: `{alarm.next}`" if alarm.next else f"`{alarm.id}`"
        if alarm.causes:
            yield ""
            yield "| feature | contribution before | now | change |"
            yield "|---|---:|---:|---:|"
            for item in alarm.causes:
                cells = (number(item.before), number(item.now), number(item.change))
                yield f"| {escape(item.feature)} | {' | '.join(cells)} |"
    if found.limits:
        yield ""
        yield "| limit | value | interval | bound | state |"
        yield "|---|---:|---|---:|---|"
        for limit in found.limits:
            bound = f"≥ {number(limit.at_least)}" if limit.at_least is not None else f"≤ {number(limit.at_most)}"
            interval = "" if limit.low is None else f"{number(limit.low)} to {number(limit.high)}"
            yield f"| {escape(limit.figure)} | {number(limit.value)} | {interval} | {bound} | {limit.state} |"
    for note in found.notes:
        yield ""
        yield f"> {escape(note)}"


def watched_words(found: MonitorResult) -> str:
    """State what was watched."""
    if found.first_day is None:
        days = "no day was judged against the reference"
    else:
        days = (
            f"{count(found.series, 'figure')} watched from {found.first_day} to {found.last_day}, against "
            f"{count(found.reference_days, 'day')} before training; {found.false_alarms} may be a false alarm"
        )
    return f"Model {found.model}, {count(found.decisions, 'decision')} up to {found.as_of:%Y-%m-%d %H:%M} UTC; {days}."


def monitor_github(found: MonitorResult) -> str:
    """Return GitHub workflow commands: the verdict, then the alarms, at most 10 annotations."""
    level = {"quiet": "notice", "warn": "warning", "act": "error", "cannot tell": "warning"}[found.verdict]
    lines = [_annotation(level, f"fraudctl monitor: {found.verdict}", sentence_of(found))]
    for alarm in found.alarms:
        kind = "notice" if alarm.acknowledged is not None else _LEVELS[alarm.tier]
        lines.append(_annotation(kind, f"{alarm.tier} {alarm.id}", alarm.what))
    return "\n".join(lines[:MAX_ANNOTATIONS]) + "\n"


def _annotation(level: str, title: str, text: str) -> str:
    return f"::{level} title={github_property(title)}::{github_message(text)}"


def monitor_junit(found: MonitorResult) -> str:
    """Return JUnit XML with one test case a tier; its alarms that nobody took note of are failures.

    Where nothing could be judged, data and drift are errors: neither a pass nor skipped.
    """
    cases = {tier: [item for item in found.alarms if item.tier == tier and item.acknowledged is None] for tier in TIERS}
    failing = {tier: items for tier, items in cases.items() if items and (tier != "drift" or found.fail_on_drift)}
    unknown = [tier for tier in TIERS if found.verdict == "cannot tell" and tier not in failing]
    counts = {"tests": str(len(TIERS)), "failures": str(len(failing)), "errors": str(len(unknown))}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": xml(f"fraudctl monitor {found.model}"), **counts})
    for tier in TIERS:
        case = ET.SubElement(suite, "testcase", {"classname": "fraudctl.monitor", "name": tier})
        text = xml("\n".join(item.what for item in cases[tier])) or "no alarm"
        if tier in failing:
            ET.SubElement(case, "failure", {"message": xml(cases[tier][0].what), "type": tier}).text = text
        elif tier in unknown:
            ET.SubElement(case, "error", {"message": xml(found.reason)}).text = xml(found.reason)
        else:
            ET.SubElement(case, "system-out").text = text
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def monitor_prometheus(found: MonitorResult) -> str:
    """Return a text file for Prometheus' node exporter: base units, under 40 series, no ids of events as labels."""
    return "\n".join(_metrics(found)) + "\n"


def _metrics(found: MonitorResult) -> Iterator[str]:
    open_ = [item for item in found.alarms if item.acknowledged is None]
    model = f'{{model="{_label(found.model)}"}}'
    yield from _gauge("fraudctl_monitor_exit_code", "Exit code of the run: 0 quiet, 1 act, 5 cannot tell.")
    yield f"fraudctl_monitor_exit_code{model} {found.exit_code}"
    yield from _gauge("fraudctl_monitor_alarms", "Alarms that nobody took note of, by tier.")
    for tier in TIERS:
        yield f'fraudctl_monitor_alarms{{tier="{tier}"}} {sum(item.tier == tier for item in open_)}'
    yield from _gauge("fraudctl_monitor_as_of_timestamp_seconds", "Nothing later is known to the run.")
    yield f"fraudctl_monitor_as_of_timestamp_seconds {round(found.as_of.timestamp(), 3)}"
    yield from _gauge("fraudctl_monitor_last_decision_timestamp_seconds", "Time of the latest decision.")
    yield f"fraudctl_monitor_last_decision_timestamp_seconds {round(found.last_decision.timestamp(), 3)}"
    yield from _gauge("fraudctl_monitor_excess_ratio", "Largest deviation in units of the threshold, by tier.")
    for tier in ("data", "drift"):
        yield f'fraudctl_monitor_excess_ratio{{tier="{tier}"}} {_largest(open_, tier)}'
    if found.limits:
        yield from _gauge("fraudctl_monitor_limit_value", "Figure of the latest 28 days that has a limit.")
        for item in found.limits:
            if item.value is not None:
                yield f'fraudctl_monitor_limit_value{{figure="{_label(item.figure)}"}} {item.value}'
        yield from _gauge("fraudctl_monitor_limit_broken", "Whether a limit is broken.")
        for item in found.limits:
            yield f'fraudctl_monitor_limit_broken{{figure="{_label(item.figure)}"}} {int(item.state == "broken")}'


def _gauge(name: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} gauge"


def _largest(alarms: list[MonitorAlarm], tier: str) -> float:
    return max((moved.excess for item in alarms if item.tier == tier for moved in item.moved), default=0.0)


def _label(text: str) -> str:
    return visible(text, lines=True).replace("\\", "\\\\").replace('"', '\\"')
