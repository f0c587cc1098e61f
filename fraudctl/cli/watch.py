"""What `monitor` found as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fraudctl.cli.render import plain_table
from fraudctl.text.figures import number, percent
from fraudctl.text.plain import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fraudctl.monitor.outcome import MonitorAlarm, MonitorResult

MOST_MOVED = 8


def monitor_tables(found: MonitorResult) -> Iterator[RenderableType]:
    """Yield the verdict, alarms with causes, limits, and what was watched."""
    from rich.text import Text

    from fraudctl.report.monitor_formats import sentence_of, watched_words

    yield Text(visible(sentence_of(found)), style="bold")
    yield Text(visible(watched_words(found)))
    for alarm in found.alarms:
        yield from _alarm(alarm)
    if found.limits:
        rows = [
            (item.figure, number(item.value), "" if item.low is None else f"{number(item.low)} to {number(item.high)}",
             f"≥ {number(item.at_least)}" if item.at_least is not None else f"≤ {number(item.at_most)}",
             item.state + (", by the estimate alone" if item.estimate_alone else "")
             + ("" if item.reason is None else f": {item.reason}"))
            for item in found.limits
        ]  # fmt: skip
        columns = ("figure", "value", "interval", "limit", "state")
        yield plain_table("Limits, latest 28 days", columns, rows, right="value limit")
    if found.minor:
        said = [(item.leading.column, item.leading.figure, f"{item.leading.first_day}") for item in found.minor]
        yield plain_table("Beyond chance, and of no matter", ("column", "figure", "since"), said)
    if found.parity is not None:
        same = found.parity.sampled - found.parity.differing
        yield Text(f"recomputed {found.parity.sampled:,} logged decisions: {same:,} are the same")
    for note in found.notes:
        yield Text(visible(f"note: {note}"))


def _alarm(alarm: MonitorAlarm) -> Iterator[RenderableType]:
    from rich.text import Text

    noted = "" if alarm.acknowledged is None else f" (noted by {alarm.acknowledged.by}: {alarm.acknowledged.note})"
    style = {"harm": "bold red", "data": "red", "drift": "yellow"}[alarm.tier]
    yield Text(visible(f"{alarm.tier} {alarm.id}{noted}: {alarm.what}"), style=style)
    moved = [
        (
            item.column,
            item.figure,
            number(item.before, 4),
            number(item.now, 4),
            number(item.excess, 2),
            f"{item.first_day}",
        )
        for item in alarm.moved[:MOST_MOVED]
    ]
    if len(moved) > 1:
        columns = ("column", "figure", "before", "now", "× threshold", "since")
        yield plain_table("Moved together", columns, moved, right="before now × threshold")
    effects = [(item.name, *_change(item.before, item.now), _signed(item.change)) for item in alarm.effects]
    if effects:
        yield plain_table("Effect", ("per event", "before", "now", "change"), effects, right="before now change")
    causes = [(item.feature, number(item.before), number(item.now), number(item.change)) for item in alarm.causes]
    if causes:
        title = "Mean contributions to the raw score"
        yield plain_table(title, ("feature", "before", "now", "change"), causes, right="before now change")
    if alarm.next:
        yield Text(visible(f"next: {alarm.next}"))


def _change(before: float | None, now: float | None) -> tuple[str, str]:
    return number(before, 4), number(now, 4)


def _signed(share: float) -> str:
    return f"{'+' if share >= 0 else '−'}{percent(abs(share))}"
