"""The section of an explanation on what decided: the model, rules, capacities, constraints."""

from __future__ import annotations

from fraudctl.explain.decided import MODEL, DecidedTotal
from fraudctl.explain.result import Explanation
from fraudctl.report.cells import count_cell, money_cell
from fraudctl.report.document import Cell, ReportSection, ReportTable, TableColumn
from fraudctl.text.figures import count, money, whole
from fraudctl.text.sentences import fixed, sentence

_WORDS = {
    "capacity": "Capacity: no slot, or one that was worth more",
    "constraint": "Constraints on alerts",
    MODEL: "The model",
}


def decided_section(e: Explanation) -> ReportSection | None:
    """Return what rules and limits decided, apart from the model; None where the model decided everything."""
    others = [item for item in e.decided if item.kind != MODEL]
    if not others:
        return None
    lead = decided_lead(tuple(others), e.currency)
    columns = (
        TableColumn("Decided by"),
        TableColumn("Events", "number"),
        TableColumn("Alerts", "number"),
        TableColumn("Frauds alerted", "number"),
        TableColumn("False positives", "number"),
        TableColumn("Lost on them", "number"),
        TableColumn("Frauds allowed", "number"),
        TableColumn("Saved", "number", "money against the actions that would have been taken without it"),
    )
    rows = tuple(_row(item, e) for item in e.decided)
    caption = fixed("Every event of the period once, by what decided its action")
    return ReportSection(
        "decided", "What did rules and limits decide?", lead, (ReportTable("decided", caption, columns, rows),)
    )


@sentence
def decided_lead(others: tuple[DecidedTotal, ...], currency: str) -> str:
    """Return how many events rules and limits decided, with their alerts and false positives."""
    n_events, n_alerts = sum(item.n_events for item in others), sum(item.n_alerts for item in others)
    n_false, lost = sum(item.n_false_alarms for item in others), sum(item.false_alarm_cost for item in others)
    return (
        f"Rules and limits decided {count(n_events, 'event')}: {count(n_alerts, 'alert')}, {whole(n_false)} of them "
        f"false positives that cost {money(lost, currency)}. The groups of false positives below are the model's own."
    )


def _row(item: DecidedTotal, e: Explanation) -> tuple[Cell, ...]:
    name = f"Rule {item.rule}" if item.rule is not None else _WORDS[item.kind]
    return (
        Cell(name), count_cell(item.n_events), count_cell(item.n_alerts), count_cell(item.n_caught),
        count_cell(item.n_false_alarms), money_cell(item.false_alarm_cost, e), count_cell(item.n_missed),
        Cell("–") if item.gain is None else money_cell(item.gain, e),
    )  # fmt: skip
