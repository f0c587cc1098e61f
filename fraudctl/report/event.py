"""The explanation of one event as a document, for the terminal and Markdown."""

from __future__ import annotations

from fraudctl.explain.event import EventExplanation, KnownEntity
from fraudctl.explain.reasons import tell
from fraudctl.explain.wording import spoken
from fraudctl.figures import count, moment, money, number, percent
from fraudctl.report.document import Card, Cell, Column, Document, Section, Table, Text


def event_document(item: EventExplanation) -> Document:
    """Lay out the explanation of one event."""
    amount = "" if item.amount is None else f" over {money(item.amount, item.currency)}"
    outcome = {1: "fraud", 0: "legitimate", None: "not known yet"}[item.label]
    cards = (
        Card(number(item.y_prob), "probability of fraud"),
        *(Card(money(cost, item.currency), f"expected loss: {name}") for name, cost in item.expected_costs.items()),
    )
    return Document(
        title=f"Event {item.event_id}{amount}: {item.action}",
        subtitle=(f"{moment(item.event_time)} UTC · model {item.model}", f"In hindsight: {outcome}."),
        cards=cards,
        sections=(_reasons(item), _change(item), *(_known(entity, item.currency) for entity in item.known)),
        footer=f"fraudctl explain --event {item.event_id}",
    )


def _reasons(item: EventExplanation) -> Section:
    towards = "was stopped" if item.action != "allow" else "passed"
    if not item.reasons:
        return Section("reasons", "Why?", f"No single feature speaks for it: the event {towards} on the sum of many.")
    rows = tuple(
        (
            Cell(reason.text),
            Cell(f"{reason.contribution:+.2f}", reason.contribution),
            Cell(f"{reason.direction} the risk"),
        )
        for reason in item.reasons
    )
    columns = (Column("Reason"), Column("Log-odds", "number"), Column("Direction"))
    lead = f"The event {towards} mostly for {spoken(item.reasons[0].words)}."
    return Section("reasons", "Why?", lead, (Table("reasons", "Reasons, the strongest first", columns, rows),))


def _change(item: EventExplanation) -> Section:
    title = "What would have flipped it?"
    change = item.change
    if change is None:
        return Section("change", title, "No change of a single feature flips this decision.")
    lead = (
        f"{spoken(change.words)}: {tell(change.words, change.needed)} instead of "
        f"{tell(change.words, change.value)} would have led to {change.action} "
        f"(probability {number(change.y_prob)})."
    )
    note = (
        f"The smallest single change, {percent(min(change.size, 1.0))} of the way across what is usual, all "
        f"else as it was."
    )
    return Section("change", title, lead, (Text(note, note=True),))


def _known(entity: KnownEntity, currency: str) -> Section:
    title = f"What was known of this {entity.entity}?"
    name = f"known-{entity.entity}"
    if entity.value is None:
        return Section(name, title, f"The event has no {entity.entity}.")
    lead = (
        f"{entity.entity} {entity.value}: {count(entity.n_events, 'earlier event')}, "
        f"{count(entity.n_known_frauds, 'known fraud')}, {entity.n_pending:,} labels not yet in."
    )
    words = {1: "fraud", 0: "legitimate", None: "not yet in"}
    rows = tuple(
        (
            Cell(str(item.event_id)), Cell(moment(item.event_time)),
            Cell("–" if item.amount is None else money(item.amount, currency)),
            Cell(words[item.label], tone="bad" if item.label == 1 else "plain"),
        )
        for item in entity.recent
    )  # fmt: skip
    if not rows:
        return Section(name, title, lead)
    columns = (Column("Event", "code"), Column("Time (UTC)"), Column("Amount", "number"), Column("Label by then"))
    return Section(name, title, lead, (Table(name + "-table", "Its latest earlier events", columns, rows),))
