"""What `monitor` found, in every form: the same alarms, whatever stands in names."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from xml.etree import ElementTree as ET

import pytest

from fraudctl.documents.results import as_text
from fraudctl.monitor.alarms import MovedGroup, MovedSeries, ShiftEffect
from fraudctl.monitor.harm import LimitVerdict, SureFigure
from fraudctl.monitor.outcome import (
    AlarmNote,
    MonitorAlarm,
    MonitorResult,
    ParityFeature,
    ParityResult,
    ScoreCause,
    limit_words,
    parity_words,
    shift_words,
    verdict_of,
)
from fraudctl.report.monitor_formats import monitor_github, monitor_junit, monitor_markdown, monitor_prometheus

AT = datetime(2026, 3, 2, tzinfo=UTC)
MOVED = MovedSeries("amount", "null share", 0.0, 0.25, 3.0, 7, date(2026, 2, 20), date(2026, 2, 19), date(2026, 2, 21))
EFFECT = ShiftEffect("alert rate", 0.02, 0.03, 0.5, 0.05, 0.2)
SURE = SureFigure("estimate", date(2026, 2, 2), date(2026, 3, 2), 0.62, 0.5, 0.42, 0.58)
BROKEN = LimitVerdict("recall", 0.6, None, 0.5, 0.45, 0.55, "broken", None, sure=SURE)
NASTY = 'x" @all | <b> ::error::\n%'


def alarm(tier: str = "data", what: str = "amount: null share went up", **more: object) -> MonitorAlarm:
    return MonitorAlarm("1a2b3c4d", tier, "shift", what, (MOVED,), (EFFECT,), **more)  # type: ignore[arg-type]


def result(*alarms: MonitorAlarm, judged: bool = True, fail_on_drift: bool = False) -> MonitorResult:
    verdict, reason, code = verdict_of(alarms, judged=judged, fail_on_drift=fail_on_drift)
    return MonitorResult(
        project="p", verdict=verdict, reason=reason, exit_code=int(code),
        fail_on_drift=fail_on_drift, as_of=AT, model="2026-02-01-00000000",
        timezone="UTC", currency="EUR", decisions=1000, last_decision=AT, first_day=date(2026, 2, 1),
        last_day=date(2026, 3, 1), reference_days=56, series=12, threshold=4.8, false_alarms="1 per year",
        alarms=alarms, minor=(), limits=(BROKEN,), parity=None, left_out={}, notes=(NASTY,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("alarms", "judged", "fail", "verdict", "code"),
    [
        ((), True, False, "quiet", 0),
        ((), False, False, "cannot tell", 5),
        ((alarm(),), True, False, "act", 1),
        ((alarm(),), False, False, "act", 1),
        ((alarm("drift"),), True, False, "warn", 0),
        ((alarm("drift"),), True, True, "act", 1),
        ((alarm(acknowledged=AlarmNote("t", "me", "known")),), True, False, "quiet", 0),
    ],
)
def test_the_verdict_is_that_of_the_worst_alarm(
    alarms: tuple[MonitorAlarm, ...], judged: bool, fail: bool, verdict: str, code: int
) -> None:
    found = verdict_of(alarms, judged=judged, fail_on_drift=fail)
    assert (found[0], int(found[2])) == (verdict, code)


def test_every_form_says_the_alarm_and_nothing_breaks_out_of_it() -> None:
    cause = ScoreCause(NASTY, 0.1, 0.2, 0.1)
    found = result(alarm(what=NASTY, causes=(cause,)), alarm("drift"))
    suite = ET.fromstring(monitor_junit(found))  # noqa: S314 - our own
    assert [case.get("name") for case in suite.iter("testcase")] == ["harm", "data", "drift"]
    assert suite.get("failures") == "1"
    github = monitor_github(found).splitlines()
    assert len(github) == 3
    assert all(re.match(r"::(error|warning|notice) title=[^:]*::[^\n]*$", line) for line in github)
    markdown = monitor_markdown(found)
    assert "<b>" not in markdown
    assert "@all" not in markdown
    metrics = monitor_prometheus(found).splitlines()
    assert all(re.fullmatch(r'#.*|[a-z_]+(\{[a-z]+="[^"\n]*"\})? \S+', line) for line in metrics)
    assert 'fraudctl_monitor_alarms{tier="data"} 1' in metrics
    assert 'fraudctl_monitor_limit_broken{figure="recall"} 1' in metrics
    assert as_text(found) == as_text(replace(found))


def test_what_cannot_be_told_is_neither_a_pass_nor_skipped() -> None:
    suite = ET.fromstring(monitor_junit(result(judged=False)))  # noqa: S314 - our own
    assert (suite.get("failures"), suite.get("errors")) == ("0", "3")
    assert monitor_github(result(judged=False)).startswith("::warning")


def test_sentences_say_what_moved_and_what_it_does() -> None:
    group = MovedGroup("data", (MOVED, replace(MOVED, column="count")), (EFFECT,), 12.5)
    said = shift_words(group, "EUR")
    assert "amount: null share went from 0.00 % to 25.00 %".replace(" %", "\u00a0%") in said
    assert "between 19 Feb 2026 and 21 Feb 2026" in said
    assert "together with count" in said
    assert "alert rate 0.02 to 0.03 (+50" in said
    assert "a day more" in said
    older = replace(group, moved=(replace(MOVED, or_before=True),))
    assert "and 21 Feb 2026) or before, as far as these days say" in shift_words(older, "EUR")
    small = replace(EFFECT, change=0.04)
    assert not small.matters
    assert not replace(EFFECT, beyond=0.6).matters
    assert not MovedGroup("drift", (MOVED,), (small,), 1.0).counts
    assert MovedGroup("data", (MOVED,), (small,), 1.0).counts
    assert "the limit is at least 0.6" in limit_words(BROKEN)
    parity = ParityResult(100, 3, 0, 0.2, (ParityFeature("count", 3),), with_values=True)
    assert "3 of 100 logged decisions" in parity_words(parity)
    assert "count (3)" in parity_words(parity)
