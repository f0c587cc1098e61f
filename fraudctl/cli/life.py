"""Results of retraining and experiments, and the story of a model's life, as the terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fraudctl.cli.render import plain_table
from fraudctl.text.figures import count, number, percent, whole
from fraudctl.text.plain import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fraudctl.ab.arms import AbCatches, AbDifference
    from fraudctl.monitor.outcome import MonitorResult
    from fraudctl.workflows.ab import AbPlan, AbResult
    from fraudctl.workflows.life import LifeResult
    from fraudctl.workflows.retrained import RetrainResult


def retrain_tables(result: RetrainResult) -> list[RenderableType]:
    """Return what a retraining did: its run, its receipts, and how it ended."""
    parts: list[RenderableType] = []
    if result.known_until is not None and result.as_of is not None:
        against = result.champion or "no champion yet"
        parts.append(
            f"data until {result.known_until:%Y-%m-%d %H:%M}; as of {result.as_of:%Y-%m-%d %H:%M}; against {against}"
        )
    if result.steps:
        rows = [(item.step, item.at[:19].replace("T", " "), _said(item.step, item.facts)) for item in result.steps]
        parts.append(plain_table(f"Run {result.run}", ("step", "done", "what"), rows))
    return [*parts, f"{result.outcome}: {result.sentence}"]


def _said(step: str, facts: Mapping[str, Any]) -> str:
    """Return the receipt of a step in a few words."""
    if step == "inputs":
        return f"{count(len(facts['files']), 'file')}, {facts['fingerprint'][:16]}"
    if step == "check":
        return f"{count(len(facts['errors']), 'error')}, {count(facts['warnings'], 'warning')}"
    if step == "train":
        found = "; was there already" if facts["found"] else ""
        return f"{facts['version']}: {count(facts['rows'], 'row')}, {count(facts['frauds'], 'fraud')}{found}"
    if step == "gate":
        return f"{facts['verdict']} on {count(facts['events'], 'event')} with {count(facts['frauds'], 'fraud')}"
    if step == "refit":
        alike = f"acts alike on {facts['alike']:,} of {facts['events']:,} events"
        return f"{facts['version'] or 'not written'}: {alike}"
    if step == "promote":
        return f"{facts['version']} after {facts['previous'] or 'no champion'}"
    return str(facts.get("outcome", facts.get("note", "")))


def ab_tables(result: AbResult) -> list[RenderableType]:
    """Return what an experiment says: the sample ratio, the arms, the differences, the verdict."""
    found, money = result.compared, result.currency
    ratio = found.sample_ratio
    sound = "as planned" if ratio.sound else "NOT as planned"
    n_units = whole(ratio.challenger_units + ratio.champion_units)
    met = f"{whole(ratio.challenger_units)} of {n_units} units met the challenger"
    parts: list[RenderableType] = [
        f"experiment {result.experiment} by {result.unit}: {found.since:%Y-%m-%d} to {found.as_of:%Y-%m-%d %H:%M}",
        f"sample ratio: {met}, planned {percent(ratio.planned, 1)}: {sound}",
    ]
    rows = [
        (
            item.arm, ", ".join(item.models), whole(item.units), whole(item.events), whole(item.frauds),
            "" if item.cost_per_event is None else number(item.cost_per_event),
        )
        for item in found.arms
    ]  # fmt: skip
    columns = ("arm", "model", "units", "events", "known frauds", f"{money} per event")
    parts.append(plain_table("Arms", columns, rows, right="units events known frauds"))
    differences = [("both models on all events", found.paired), ("arms", found.difference)]
    there = [(name, *_difference(item)) for name, item in differences if item is not None]
    if there:
        head = ("challenger - champion", f"{money} per event", f"{percent(result.confidence)}, always", "savings", "")
        parts.append(plain_table("Differences", head, there))
    if found.catches is not None:
        parts.append(catches_text(found.catches))
    left_out = {
        "without a unit": found.null_units, "under other shares": found.other_shares,
        "whose outcome cannot be seen": found.unseen, "too young": found.too_young,
    }  # fmt: skip
    said = ", ".join(f"{whole(n)} {name}" for name, n in left_out.items() if n)
    return [*parts, *([f"left out: {said}"] if said else []), f"{found.verdict}: {found.reason}"]


def catches_text(item: AbCatches) -> str:
    """Return which frauds only one model catches, and what that is in all."""
    more = "fewer" if item.relative < 0 else "more"
    ends = f"{percent(item.low, 1)} to {percent(item.high, 1)}"
    return (
        f"catches: {count(item.only_champion, 'known fraud')} only the champion stops or reviews, "
        f"{whole(item.only_challenger)} only the challenger: {percent(abs(item.relative), 1)} {more} ({ends})"
    )


def _difference(item: AbDifference) -> tuple[str, str, str, str]:
    return (
        number(item.value),
        f"{number(item.low)} to {number(item.high)}",
        number(item.savings),
        f"{number(item.savings_low)} to {number(item.savings_high)}",
    )


def plan_text(plan: AbPlan) -> str:
    """Return how long an experiment takes."""
    return (
        f"a loss of {number(plan.loss)} savings in {percent(plan.share)} of the {plan.unit} ids is found after "
        f"{count(math.ceil(plan.days), 'day')} in half of all experiments, looked at as often as you like; outcomes "
        f"are known {number(plan.label_delay_days)} days later at the latest. "
        f"From {number(plan.history_days)} days of history."
    )


WATCH = 'fraudctl monitor "decisions/*.parquet"'
RETRAIN = "fraudctl retrain --if monitor --promote"


def life_tables(result: LifeResult) -> Iterator[RenderableType]:
    """Yield the life of a model: day by day which command was run, and what it said."""
    from fraudctl.report.life import earned
    from fraudctl.report.render import dashboard_terminal

    planted = [(f"{change.begins}", change.name, change.what) for change in result.changes]
    yield plain_table("Planted", ("from", "change", "what"), planted)
    yield from _first(result)
    yield from _watched(result.calm, "before the attack", past=True)
    yield from _watched(result.alarm, "nine weeks into it")
    yield from _retrained(result.retrained, RETRAIN)
    if result.earned is not None and result.earned.period is not None:
        span = result.earned.period
        days = f"--from {span.from_time:%Y-%m-%d} --to {span.until:%Y-%m-%d}"
        yield _head(span.until, f"fraudctl compare champion {result.first} {days}")
        yield visible(earned(result.earned))
    yield from _watched(result.settled, "before labels begin to lie", past=True)
    yield from _watched(result.poisoned, "four weeks later")
    yield from _retrained(result.stopped, RETRAIN)
    yield from _retrained(result.gated, f"{RETRAIN}   # after `monitor ack` of that alarm")
    yield f"champion: {result.champion}"
    yield dashboard_terminal(result.dashboard.dashboard)
    yield f"dashboard: {result.page}"


def _head(day: datetime, line: str) -> RenderableType:
    from rich.text import Text

    return Text(f"\n{day:%Y-%m-%d}  {line}", style="bold")


def _first(result: LifeResult) -> Iterator[RenderableType]:
    found = result.evaluation.evaluation
    savings = found.metrics["savings"]
    yield _head(result.began, "fraudctl train, evaluate, models promote")
    interval = f"{number(savings.low)} to {number(savings.high)}, {percent(found.confidence)}"
    yield f"champion: {result.first}; savings {number(savings.value)} ({interval}) on its test period"


def _watched(found: MonitorResult, when: str, *, past: bool = False) -> Iterator[RenderableType]:
    """Yield what `monitor` said; the end of a past day is that day's."""
    from fraudctl.report.monitor_formats import sentence_of

    day = found.as_of - timedelta(microseconds=1)
    as_of = f" --as-of {day:%Y-%m-%d}" if past else ""
    yield _head(day, f"{WATCH}{as_of}   # {when}")
    yield visible(sentence_of(found))
    yield from (visible(f"{alarm.tier}: {alarm.what}") for alarm in found.alarms if alarm.tier != "drift")
    drift = [alarm for alarm in found.alarms if alarm.tier == "drift"]
    if drift:
        yield visible(f"drift: {drift[0].what}") + (f" (and {len(drift) - 1} more)" if drift[1:] else "")


def _retrained(found: RetrainResult, line: str) -> Iterator[RenderableType]:
    if found.known_until is not None:
        yield _head(found.known_until, line)
    yield visible(f"{found.outcome}: {found.sentence}")
