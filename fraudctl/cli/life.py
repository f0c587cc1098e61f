"""Results of retraining and experiments as the terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fraudctl.cli.render import plain_table
from fraudctl.text.figures import count

if TYPE_CHECKING:
    from rich.console import RenderableType

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
