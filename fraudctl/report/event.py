"""The explanation of one event as a document, for the terminal and Markdown."""

from __future__ import annotations

from fraudctl.explain.event import EventExplanation, KnownEntity
from fraudctl.explain.reasons import tell
from fraudctl.explain.wording import spoken
from fraudctl.figures import count, moment, money, number, percent
from fraudctl.policy.provenance import decided_words
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
        sections=(
            _decided(item),
            _reasons(item),
            _change(item),
            *(_known(entity, item.currency) for entity in item.known),
        ),
        footer=f"fraudctl explain --event {item.event_id}",
    )


def _decided(item: EventExplanation) -> Section:
    return Section("decided", "What decided?", decided_words(item.decided_by, item.action))


def _reasons(item: EventExplanation) -> Section:
    by = item.decided_by
    if by.by_model:
        title, towards = "Why?", "was stopped" if item.action != "allow" else "passed"
        lead = f"No single feature speaks for it: the event {towards} on the sum of many."
        if item.reasons:
            lead = f"The event {towards} mostly for {spoken(item.reasons[0].words)}."
    else:
        title = "The model's view"
        lead = f"These did not decide: a {by.kind} did. By the model alone it would have been {by.instead_of}."
    if not item.model_view:
        return Section("reasons", title, lead)
    rows = tuple(
        (
            Cell(reason.text),
            Cell(f"{reason.contribution:+.2f}", reason.contribution),
            Cell(f"{reason.direction} the risk"),
        )
        for reason in item.model_view
    )
    columns = (Column("Reason"), Column("Log-odds", "number"), Column("Direction"))
    return Section("reasons", title, lead, (Table("reasons", "Reasons, the strongest first", columns, rows),))


def _change(item: EventExplanation) -> Section:
    title = "What would have flipped it?"
    change, applies = item.change, _applies(item)
    if change is None:
        nothing = "No change of a single feature flips this decision."
        return Section("change", title, f"{applies} {nothing}".strip())
    needed, value = tell(change.words, change.needed), tell(change.words, change.value)
    if needed == value:
        needed, value = repr(change.needed), repr(change.value)
    lead = (
        f"{spoken(change.words)}: {needed} instead of {value} would have led to {change.action} "
        f"(probability {number(change.y_prob)})."
    )
    note = (
        f"The smallest single change, {percent(min(change.size, 1.0))} of the way across what is usual, all "
        f"else as it was."
    )
    return Section("change", title, f"{applies} {lead}".strip(), (Text(note, note=True),))


def _applies(item: EventExplanation) -> str:
    """Return what would have changed a decision that a rule or a capacity made; nothing for the model's own."""
    by = item.decided_by
    if by.kind == "rule":
        return f"Without the rule {by.rule!r} it would have been {by.instead_of}."
    if by.kind == "capacity" and by.slot is not None:
        got = "With a slot" if by.slot.left <= 0 else "Had slots been free of a price"
        return f"{got} for {by.slot.action} it would have been {by.instead_of}."
    return ""


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
