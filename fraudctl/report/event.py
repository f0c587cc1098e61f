"""The explanation of one event as a document, for the terminal."""

from __future__ import annotations

import math

from fraudctl.explain.conditions import DIGITS
from fraudctl.explain.event import Change, EventExplanation, KnownEntity
from fraudctl.explain.reasons import tell
from fraudctl.policy.provenance import decided_words
from fraudctl.report.document import Card, Cell, Document, ReportSection, ReportTable, TableColumn, Text
from fraudctl.text.figures import count, moment, money, number, percent, signed
from fraudctl.text.sentences import fixed, sentence
from fraudctl.text.wording import as_said, spoken


def event_document(item: EventExplanation) -> Document:
    """Lay out the explanation of one event."""
    cards = (
        Card(number(item.y_prob), fixed("probability of fraud")),
        *(Card(money(cost, item.currency), expected_loss(name)) for name, cost in item.expected_costs.items()),
    )
    return Document(
        title=headline(item),
        subtitle=(decided_at(item), hindsight(item)),
        cards=cards,
        sections=(
            _decided(item),
            _reasons(item),
            _change(item),
            *(_known(entity, item.currency) for entity in item.known),
        ),
        footer=f"fraudctl explain --event {item.event_id}",
    )


@sentence
def headline(item: EventExplanation) -> str:
    """Name the event, its amount and what was decided."""
    amount = "" if item.amount is None else f" over {money(item.amount, item.currency)}"
    return f"Event {item.event_id}{amount}: {item.action}"


@sentence
def decided_at(item: EventExplanation) -> str:
    """Return when the event was decided, and by which model."""
    return f"{moment(item.event_time)} UTC · model {item.model}"


@sentence
def hindsight(item: EventExplanation) -> str:
    """State the outcome, where it is known by now."""
    outcome = {1: "fraud", 0: "legitimate", None: "not known yet"}[item.label]
    return f"In hindsight: {outcome}."


@sentence
def expected_loss(action: str) -> str:
    """Name the action of an expected loss."""
    return f"expected loss: {action}"


@sentence
def decided_by(item: EventExplanation) -> str:
    """State by what the action was decided."""
    return decided_words(item.decided_by, item.action)


@sentence
def reasons_lead(item: EventExplanation) -> str:
    """Return what speaks most for a decision of the model, or that the model did not decide."""
    by = item.decided_by
    if not by.by_model:
        return f"These did not decide: a {by.kind} did. By the model alone it would have been {by.instead_of}."
    done = "was alerted" if item.action != "allow" else "passed"
    if not item.reasons:
        return f"The event {done}. No single feature stands out; the sum of many decided."
    return f"The event {done}. The strongest reason: {spoken(item.reasons[0].words)}."


@sentence
def change_lead(item: EventExplanation) -> str:
    """Return which single change would have flipped the decision."""
    change, applies = item.change, _applies(item)
    if change is None:
        return f"{applies} No change of a single feature flips this decision.".strip()
    needed, value = _told_apart(change)
    lead = (
        f"{spoken(change.words)}: {needed} instead of {value} would have led to {change.action} (probability "
        f"{number(change.y_prob)})."
    )
    return f"{applies} {lead}".strip()


def _told_apart(change: Change) -> tuple[str, str]:
    """Write two values with as few digits as state the needed one in full and tell the two apart."""
    for digits in DIGITS:
        needed, value = tell(change.words, change.needed, digits), tell(change.words, change.value, digits)
        if needed != value and _in_full(change, digits):
            return needed, value
    return repr(change.needed), repr(change.value)


def _in_full(change: Change, digits: int) -> bool:
    needed = change.needed
    if needed is None or isinstance(needed, (bool, str)):
        return True
    return math.isclose(as_said(change.words, needed, digits), needed, rel_tol=1e-6)


@sentence
def change_note(change: Change) -> str:
    """Return how large a change is, where it is a change from one number to another."""
    smallest = "The smallest single change that was found, with all other features as they were"
    if change.value is None or isinstance(change.value, (bool, str)):
        return f"{smallest}."
    return (
        f"{smallest}: it passes up to {percent(min(change.size, 1.0))} of the values of earlier events, or of their "
        "range."
    )


@sentence
def known_lead(entity: KnownEntity) -> str:
    """Return what was known of an entity when the event came."""
    if entity.value is None:
        return f"The event has no {entity.entity}."
    return (
        f"{entity.entity} {entity.value}: {count(entity.n_events, 'earlier event')}, "
        f"{count(entity.n_known_frauds, 'known fraud')}, {count(entity.n_pending, 'event')} without a label by then."
    )


def _decided(item: EventExplanation) -> ReportSection:
    return ReportSection("decided", "What decided?", decided_by(item))


def _reasons(item: EventExplanation) -> ReportSection:
    title, lead = "Why?" if item.decided_by.by_model else "The model's view", reasons_lead(item)
    if not item.model_view:
        return ReportSection("reasons", title, lead)
    rows = tuple(
        (
            Cell(reason.text),
            Cell(signed(reason.contribution), reason.contribution),
            Cell(f"{reason.direction} the risk"),
        )
        for reason in item.model_view
    )
    columns = (TableColumn("Reason"), TableColumn("Log-odds", "number"), TableColumn("Direction"))
    return ReportSection(
        "reasons", title, lead, (ReportTable("reasons", fixed("Reasons, the strongest first"), columns, rows),)
    )


def _change(item: EventExplanation) -> ReportSection:
    title, change = "What would have flipped it?", item.change
    notes = () if change is None else (Text(change_note(change), note=True),)
    return ReportSection("change", title, change_lead(item), notes)


def _applies(item: EventExplanation) -> str:
    """Return what would have changed a decision that a rule or a capacity made; nothing for the model's own."""
    by = item.decided_by
    if by.kind == "rule":
        return f"Without the rule {by.rule!r} it would have been {by.instead_of}."
    if by.kind == "capacity" and by.slot is not None:
        got = "With a slot" if by.slot.left <= 0 else "Had slots been free of a price"
        return f"{got} for {by.slot.action} it would have been {by.instead_of}."
    return ""


def _known(entity: KnownEntity, currency: str) -> ReportSection:
    title = f"What was known of this {entity.entity}?"
    name = f"known-{entity.entity}"
    lead = known_lead(entity)
    words = {1: "fraud", 0: "legitimate", None: "not yet in"}
    rows = tuple(
        (
            Cell(str(item.event_id)),
            Cell(moment(item.event_time)),
            Cell("–" if item.amount is None else money(item.amount, currency)),
            Cell(words[item.label], tone="bad" if item.label == 1 else "plain"),
        )
        for item in entity.recent
    )
    if not rows:
        return ReportSection(name, title, lead)
    columns = (
        TableColumn("Event", "code"),
        TableColumn("Time (UTC)"),
        TableColumn("Amount", "number"),
        TableColumn("Label by then"),
    )
    return ReportSection(
        name, title, lead, (ReportTable(name + "-table", fixed("Its latest earlier events"), columns, rows),)
    )
