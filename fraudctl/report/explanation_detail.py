"""The closing sections of an explanation: slices, autopsy, cases, method."""

from __future__ import annotations

from typing import Final

from fraudctl.documents.results import as_object
from fraudctl.explain.result import ErrorCase, Explanation
from fraudctl.explain.scene import MISSED
from fraudctl.explain.slices import Slice
from fraudctl.report import explanation_sentences as said
from fraudctl.report.cells import count_cell, money_cell, share_cell
from fraudctl.report.document import Block, Cell, Fact, Facts, ReportSection, ReportTable, TableColumn, Text, Tone
from fraudctl.report.explanation_sentences import SHORT_CAUSE
from fraudctl.report.facts import CauseLookback, Counts, Listed
from fraudctl.text.figures import moment, money, number, whole
from fraudctl.text.sentences import fixed

TOP_CASES: Final = 150
MOST_FAINT: Final = 3
"""Slices within chance that are shown as well, to see how far they are from it."""


def weak_section(e: Explanation) -> ReportSection:
    """Return where more is lost than the scores explain."""
    title = "Where is it weak?"
    strong = tuple(item for item in e.slices.items if item.significant)
    blocks: list[Block] = []
    shown = [*strong, *[item for item in e.slices.items if not item.significant][:MOST_FAINT]]
    if shown:
        rows = tuple(_slice_row(item, e) for item in shown)
        columns = (
            TableColumn("Where", "lines"),
            TableColumn("Errors"),
            TableColumn("Events", "number"),
            TableColumn("Found", "number"),
            TableColumn("Expected", "number", "errors that events of the same scores have on average over the period"),
            TableColumn("Lost", "number"),
            TableColumn("Beyond expected", "number"),
            TableColumn("p", "number", "chance of anything as extreme in the whole search, if nothing were weak"),
            TableColumn("Beyond chance", "text", "found by p, and again on the part of the period it was not found on"),
        )
        caption = fixed("Slices that lose more than their scores account for, those beyond chance first")
        blocks.append(ReportTable("slices", caption, columns, rows, tools=True))
    blocks += [Text(said.broke(item)) for item in e.broken[:5]]
    blocks.append(Text(said.searched(e.slices), note=True))
    blocks += [Text(said.not_searched(kind, reason), note=True) for kind, reason in e.slices.reasons.items()]
    return ReportSection("weak", title, said.weak(strong), tuple(blocks))


def _slice_row(item: Slice, e: Explanation) -> tuple[Cell, ...]:
    beyond = "yes" if item.significant else "not again later" if item.confirmed is False else "no"
    tone: Tone = "bad" if item.significant else "muted"
    return (
        Cell("", lines=(*item.conditions, *(f"{whole(part.n_errors)} of them: {part.words}" for part in item.mostly))),
        Cell("missed" if item.kind == MISSED else "false positives"),
        count_cell(item.n_events),
        count_cell(item.n_errors),
        Cell(number(item.expected_errors), round(item.expected_errors, 3)),
        money_cell(item.cost, e),
        money_cell(item.excess, e),
        Cell(number(item.p_value), round(item.p_value, 5)),
        Cell(beyond, tone=tone),
    )


def autopsy_section(e: Explanation) -> ReportSection:
    """Return whether a better model or better data would help."""
    title = "Better model or better data?"
    if e.autopsy is None:
        return ReportSection("autopsy", title, said.absent("Not examined", e.absent.get("autopsy", "too few errors")))
    a = e.autopsy
    leads = {
        "better_model": fixed("A better model: a refit on today's features finds far more of the missed frauds."),
        "better_data": fixed("Better data: labels in hindsight find far more of the missed frauds, a refit does not."),
        "new_signals": fixed(
            "New signals: neither a refit nor labels in hindsight find far more of the missed frauds."
        ),
    }
    names = (
        ("The scores as they are", a.model),
        ("Refitted on these errors, today's features", a.refit),
        ("The same, with labels in hindsight (diagnosis only)", a.hindsight),
    )
    rows = tuple(
        (
            Cell(name),
            Cell(number(item.roc_auc), round(item.roc_auc, 4)),
            share_cell(item.recall),
            money_cell(item.cost_recovered, e),
        )
        for name, item in names
    )
    columns = (
        TableColumn("Separated by"),
        TableColumn("ROC AUC", "number", "chance that a missed fraud is ranked above a passed event; 0.5 is a coin"),
        TableColumn("Missed frauds found", "number"),
        TableColumn("Their money", "number"),
    )
    caption = said.autopsy_caption(a)
    note = fixed(
        "Cross-validated on whole entities. Hindsight uses labels that arrived later: it is never achievable. Far "
        "more: at least 30 % of the missed frauds, and 15 points more than today's scores."
    )
    return ReportSection(
        "autopsy",
        title,
        leads[a.verdict],
        (ReportTable("autopsy-table", caption, columns, rows), Text(note, note=True)),
    )


def cases_section(e: Explanation) -> ReportSection:
    """List the costliest errors."""
    title = "The costliest cases"
    if not e.errors:
        return ReportSection("cases", title, fixed("There were no errors."))
    shown = e.errors[:TOP_CASES]
    cost, total = (float(sum(item.cost for item in part)) for part in (shown, e.errors))
    lead = said.costliest(Listed(len(shown), len(e.errors), cost, total, str(shown[0].event_id)))
    columns = (
        TableColumn("Event", "code"),
        TableColumn("Time", "code"),
        TableColumn("Entities", "code"),
        TableColumn("Amount", "number"),
        TableColumn("Probability", "number"),
        TableColumn("Error"),
        TableColumn("Lost", "number"),
        TableColumn("Why the model decided so", "lines"),
    )
    rows = tuple(_case_row(item, e) for item in shown)
    hint = "Filter, e.g. missed, an id, a reason"
    return ReportSection(
        "cases",
        title,
        lead,
        (ReportTable("errors", fixed("Wrong decisions by cost"), columns, rows, tools=True, filter_hint=hint),),
    )


def _case_row(item: ErrorCase, e: Explanation) -> tuple[Cell, ...]:
    missed = item.kind == MISSED
    tone: Tone = "bad" if missed else "cool"
    group = f"group {item.cluster + 1}" if item.cluster is not None else ""
    detail = SHORT_CAUSE.get(item.cause or "", "") if missed else group
    what = "missed" if missed else "false positive"
    amount = "" if item.amount is None else money(item.amount, "").strip()
    who = tuple(f"{name} {value}" for name, value in item.entities.items() if value is not None)
    return (
        Cell(str(item.event_id)),
        Cell(moment(item.event_time), item.event_time.isoformat()),
        Cell("", who[0] if who else "", lines=who),
        Cell(amount, "" if item.amount is None else item.amount),
        Cell(number(item.y_prob), round(item.y_prob, 9)),
        Cell(what, f"{what} {detail}", tone, lines=(what, detail) if detail else (what,)),
        money_cell(item.cost, e),
        Cell("", lines=tuple(reason.text for reason in item.reasons[:3])),
    )


def method_section(e: Explanation) -> ReportSection:
    """Return what was done and what it cannot say."""
    m = e.method
    counts = Counts(
        m.n_events, m.n_searched, m.n_explained, m.n_features, m.permutations, m.seed, m.sampled, m.weighted
    )
    basis = {} if m.basis is None else as_object(m.basis)
    facts = [
        Fact("Rows", said.looked_at(counts)),
        Fact("Error", fixed("A fraud that was allowed, or a legitimate event with any action but allow.")),
        Fact("Causes", said.looked_back(CauseLookback(e.lookback_days))),
        Fact("Contributions", said.contributed(counts)),
        Fact("Groups", fixed("Ward clustering of the directions of contributions, as many groups as keep a prediction "
            "strength of 0.9; a group is shown if it comes back (Jaccard 0.75) in clusterings of random halves.")),
        Fact("Campaigns", fixed("Each missed fraud is linked to the entity with the least likely number of other "
            "frauds within 14 days on either side.")),
        Fact("Slices", fixed("Within strata of equal score, errors are permuted; p-values hold for the whole search "
            "(maximum statistic).")),
        Fact("Seed", said.seeded(counts)),
        *(
            Fact(key.replace("_", " ").capitalize(), said.noted(str(value)))
            for key, value in basis.items()
            if value is not None
        ),
    ]  # fmt: skip
    lead = fixed("What was done, and what it cannot say.")
    return ReportSection("method", "Method and limits", lead, (Facts(tuple(facts)),))
