"""The closing sections of an explanation: slices, autopsy, cases, method."""

from __future__ import annotations

from typing import Final

from fraudctl.explain.result import ErrorCase, Explanation
from fraudctl.explain.scene import MISSED
from fraudctl.explain.slices import Slice
from fraudctl.figures import count, day, moment, number, percent
from fraudctl.report.cells import count_cell, money_cell, share_cell
from fraudctl.report.document import Block, Cell, Column, Fact, Facts, Section, Table, Text, Tone

TOP_CASES: Final = 150
MOST_FAINT: Final = 3
"""Slices within chance that are shown as well, to see how far they are from it."""
SHORT_CAUSE: Final = {
    "label_delay": "label not yet in",
    "near_miss": "near miss",
    "known": "known, score still low",
    "first_fraud": "first fraud",
}


def weak_section(e: Explanation) -> Section:
    """Say where more is lost than the scores explain."""
    title = "Where is it weak?"
    strong = [item for item in e.slices.items if item.significant]
    if strong:
        top = strong[0]
        what = "frauds are missed" if top.kind == MISSED else "legitimate events are stopped"
        lead = f"Beyond chance, {what} more than their scores explain where {' and '.join(top.conditions)}."
        if len(strong) > 1:
            lead += f" {len(strong) - 1} more below."
    else:
        lead = "Nothing stands out beyond chance: no slice loses more than its scores explain."
    blocks: list[Block] = []
    shown = [*strong, *[item for item in e.slices.items if not item.significant][:MOST_FAINT]]
    if shown:
        rows = tuple(_slice_row(item, e) for item in shown)
        columns = (
            Column("Where", "lines"), Column("Errors"), Column("Events", "number"), Column("Found", "number"),
            Column("Expected", "number", "errors that events of such scores have elsewhere"),
            Column("Lost", "number"), Column("Beyond expected", "number"),
            Column("p", "number", "chance of anything as extreme in the whole search, if nothing were weak"),
            Column("Beyond chance", "text", "found by p, and again on the part of the period it was not found on"),
        )  # fmt: skip
        caption = "Slices with the largest loss beyond what their scores explain"
        blocks.append(Table("slices", caption, columns, rows, tools=True))
    for item in e.broken[:5]:
        text = (
            f"On {day(item.day)}, {item.words} was unlike all other days ({percent(item.distance)} of its values "
            f"moved; "
            f"usual {percent(item.typical)})."
        )
        blocks.append(Text(text))
    note = (
        f"{e.slices.n_conditions:,} of {e.slices.n_possible:,} conditions, up to three joined; found on the first 60 % "
        f"of the period and tested again on the rest. Permutation test with {e.slices.n_permutations:,} searches on "
        f"errors permuted among equal scores."
    )
    blocks.append(Text(note, note=True))
    for kind, reason in e.slices.reasons.items():
        blocks.append(
            Text(f"{'Missed frauds' if kind == MISSED else 'False alarms'} were not searched: {reason}.", note=True)
        )
    return Section("weak", title, lead, tuple(blocks))


def _slice_row(item: Slice, e: Explanation) -> tuple[Cell, ...]:
    beyond = "yes" if item.significant else "not again later" if item.confirmed is False else "no"
    tone: Tone = "bad" if item.significant else "muted"
    return (
        Cell("", lines=(*item.conditions, *(f"{part.n_errors} of them: {part.words}" for part in item.mostly))),
        Cell("missed" if item.kind == MISSED else "false alarms"),
        count_cell(item.n_events),
        count_cell(item.n_errors),
        Cell(f"{item.expected_errors:,.1f}", round(item.expected_errors, 3)),
        money_cell(item.cost, e),
        money_cell(item.excess, e),
        Cell(f"{item.p_value:.3f}", round(item.p_value, 5)),
        Cell(beyond, tone=tone),
    )


def autopsy_section(e: Explanation) -> Section:
    """Say whether a better model or better data would help."""
    title = "Better model or better data?"
    if e.autopsy is None:
        return Section("autopsy", title, f"Not examined: {e.absent.get('autopsy', 'too few errors')}.")
    a = e.autopsy
    leads = {
        "better_model": "A better model: today's features could tell many of the missed frauds apart.",
        "better_data": "Better data: today's features do not tell the missed frauds apart, labels in hindsight would.",
        "new_signals": "New signals: neither today's features nor labels in hindsight tell the missed frauds apart.",
    }
    names = (("The scores as they are", a.model), ("Refitted on these errors, today's features", a.refit),
             ("The same, with labels in hindsight (diagnosis only)", a.hindsight))  # fmt: skip
    rows = tuple(
        (
            Cell(name), Cell(f"{item.roc_auc:.3f}", round(item.roc_auc, 4)), share_cell(item.recall),
            money_cell(item.cost_recovered, e),
        )
        for name, item in names
    )  # fmt: skip
    columns = (
        Column("Told apart by"),
        Column("ROC AUC", "number", "chance that a missed fraud is ranked above a passed event; 0.5 is a coin"),
        Column("Missed frauds found", "number"), Column("Their money", "number"),
    )  # fmt: skip
    caption = (
        f"{a.n_missed:,} missed frauds against {a.n_passed:,} passed legitimate events, at 1 % of the latter alerted"
    )
    note = "Cross-validated on whole entities. Hindsight uses labels that arrived later: it is never achievable."
    return Section(
        "autopsy", title, leads[a.verdict], (Table("autopsy-table", caption, columns, rows), Text(note, note=True))
    )


def cases_section(e: Explanation) -> Section:
    """List the costliest errors."""
    title = "The costliest cases"
    if not e.errors:
        return Section("cases", title, "There were no errors.")
    shown = e.errors[:TOP_CASES]
    cost = sum(item.cost for item in shown)
    total = sum(item.cost for item in e.errors)
    share = f", {percent(cost / total)} of what errors cost" if total > 0 else ""
    lead = (
        f"The top {len(shown):,} of {count(len(e.errors), 'error')}{share}. In a terminal, "
        f"“fraudctl explain --event {shown[0].event_id}” tells the first in full."
    )
    columns = (
        Column("Event", "code"), Column("Time", "code"), Column("Entities", "code"), Column("Amount", "number"),
        Column("Probability", "number"), Column("Error"), Column("Lost", "number"),
        Column("Why the model decided so", "lines"),
    )  # fmt: skip
    rows = tuple(_case_row(item, e) for item in shown)
    hint = "Filter, e.g. missed, an id, a reason"
    return Section(
        "cases", title, lead, (Table("errors", "Wrong decisions by cost", columns, rows, tools=True, filter_hint=hint),)
    )


def _case_row(item: ErrorCase, e: Explanation) -> tuple[Cell, ...]:
    missed = item.kind == MISSED
    tone: Tone = "bad" if missed else "cool"
    group = f"group {item.cluster + 1}" if item.cluster is not None else ""
    detail = SHORT_CAUSE.get(item.cause or "", "") if missed else group
    what = "missed" if missed else "false alarm"
    amount = "" if item.amount is None else f"{item.amount:,.2f}"
    who = tuple(f"{name} {value}" for name, value in item.entities.items() if value is not None)
    return (
        Cell(str(item.event_id)), Cell(moment(item.event_time), item.event_time.isoformat()),
        Cell("", who[0] if who else "", lines=who),
        Cell(amount, "" if item.amount is None else item.amount), Cell(number(item.y_prob), round(item.y_prob, 9)),
        Cell(what, f"{what} {detail}", tone, lines=(what, detail) if detail else (what,)), money_cell(item.cost, e),
        Cell("", lines=tuple(reason.text for reason in item.reasons[:3])),
    )  # fmt: skip


def method_section(e: Explanation) -> Section:
    """Say what was done and what it cannot say."""
    m = e.method
    sampled = (
        f"All {m['n_events']:,} events were searched."
        if not m["sampled"]
        else f"Of {m['n_events']:,} events {m['n_searched']:,} were searched closely (all frauds, all alerts, "
        f"and a random sample of the rest, weighted)."
    )
    told = {"n_events", "n_searched", "n_explained", "sampled", "weighted", "seed", "permutations", "n_features"}
    weighted = " Money counts every event by its weight; numbers are of events in the data." if m["weighted"] else ""
    facts = [
        Fact("Rows", f"{sampled} Contributions of {m['n_explained']:,}. Only labelled, mature events count.{weighted}"),
        Fact("Error", "A fraud that was allowed, or a legitimate event with any action but allow."),
        Fact("Causes", (f"An event's frauds are looked back for {e.lookback_days:g} days. Label not yet in: an "
            f"earlier fraud of one of its entities whose label arrived after the event; near miss: alerted at "
            f"twice the odds; known: such a label had arrived; else first fraud. The first that holds counts.")),
        Fact("Contributions", (f"CatBoost's own SHAP values over {m['n_features']:,} features, in log-odds; they "
            f"add up to the score exactly. They say how this model came to its score, not what causes fraud; "
            f"features that carry the same information share the credit.")),
        Fact("Groups", ("Ward clustering of the directions of contributions, as many groups as keep a prediction "
            "strength of 0.9; a group is shown if it comes back (Jaccard 0.75) in clusterings of random halves.")),
        Fact("Campaigns", ("Each missed fraud is linked to the entity with the least likely number of other "
            "frauds within 14 days on either side.")),
        Fact("Slices", ("Within strata of equal score, errors are permuted; p-values hold for the whole search "
            "(maximum statistic).")),
        Fact("Seed", f"{m['seed']}; {m['permutations']:,} permutations. The same inputs give the same bytes."),
        *(Fact(key.replace("_", " ").capitalize(), str(value)) for key, value in m.items() if key not in told),
    ]  # fmt: skip
    lead = "What was done, and what it cannot say."
    return Section("method", "Method and limits", lead, (Facts(tuple(facts)),))
