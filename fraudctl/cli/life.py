"""Results of retraining and experiments as the terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fraudctl.cli.render import plain_table
from fraudctl.text.figures import count, number, percent, whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fraudctl.ab.arms import AbCatches, AbDifference
    from fraudctl.workflows.ab import AbPlan, AbResult
    from fraudctl.workflows.retrain import RetrainResult


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
