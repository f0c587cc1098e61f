"""An explanation as a document: its sections, in the order in which questions come up.

Owns the head, and why fraud was missed. Every figure is the explanation's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from fraudctl.explain.causes import CauseTotal
from fraudctl.explain.findings import CAUSE_WORDS, CURES, CauseShare, overlap_words
from fraudctl.explain.result import Explanation
from fraudctl.report import charts
from fraudctl.report import explanation_sentences as said
from fraudctl.report.cells import count_cell, few, money_cell
from fraudctl.report.document import (
    Bar,
    BarSegment,
    Block,
    Card,
    Cell,
    Chart,
    Document,
    ReportSection,
    ReportTable,
    TableColumn,
    Tone,
)
from fraudctl.report.explanation_decided import decided_section
from fraudctl.report.explanation_detail import autopsy_section, cases_section, method_section, weak_section
from fraudctl.report.explanation_model import campaigns_section, clusters_section, contrasts_section
from fraudctl.report.explanation_money import threshold_section, where_section
from fraudctl.report.explanation_sentences import SHORT_CAUSE
from fraudctl.report.facts import Amount, CauseLookback, Parts, Span, Worst
from fraudctl.text.figures import money, percent, whole
from fraudctl.text.sentences import fixed, joined

MOST_DAYS: Final = 45
"""Days that are drawn one by one; a longer period is drawn by week."""
CAUSE_TONES: Final[dict[str, Tone]] = {
    "label_delay": "bad",
    "near_miss": "good",
    "known": "warn",
    "first_fraud": "cool",
}


def explanation_document(e: Explanation) -> Document:
    """Lay out an explanation."""
    decided = decided_section(e)
    sections = (
        _why(e),
        where_section(e),
        threshold_section(e),
        contrasts_section(e),
        *([] if decided is None else [decided]),
        clusters_section(e),
        campaigns_section(e),
        weak_section(e),
        autopsy_section(e),
        cases_section(e),
        method_section(e),
    )
    tones: dict[bool, Tone] = {True: "bad", False: "plain"}
    when = Span(e.start, e.until, e.timezone)
    return Document(
        title=said.verdict(e.totals, when, e.currency),
        subtitle=(said.judged(e.totals, when, e.model), said.costs(e.cost_words)),
        cards=_cards(e),
        sections=sections,
        kicker=f"{e.project} · what was missed, who was annoyed, what it cost",
        findings=tuple((item.head, item.text, tones[item.significant]) for item in e.findings),
        footer=f"fraudctl explain · project {e.project} · model {e.model}",
    )


def _cards(e: Explanation) -> tuple[Card, ...]:
    t = e.totals
    tone: Tone = "good" if t.saved > 0 else "bad"
    precision = percent(t.n_caught / t.n_alerts) if t.n_alerts else "–"
    return (
        Card(money(t.saved, e.currency), said.saved(t, e.currency), tone),
        Card(whole(t.n_missed), said.missed(t, e.currency), "bad"),
        Card(whole(t.n_false_alarms), said.false_alarms(t, e.currency), "cool"),
        Card(precision, said.precision(t)),
    )


def _why(e: Explanation) -> ReportSection:
    t = e.totals
    title = "Why was fraud missed?"
    if not t.n_missed:
        return ReportSection("why", title, fixed("No fraud was missed in this period."))
    top = max(e.causes, key=lambda item: (item.cost, item.n_missed))
    lead = joined(said.cause_lead(CauseShare(top, t.n_missed, t.missed_cost)), few(t.n_missed, "missed fraud"))
    return ReportSection("why", title, lead, (*_cause_bar(e), _cause_table(e), *_by_day(e)))


def _cause_bar(e: Explanation) -> Iterator[Block]:
    shown = [item for item in e.causes if item.n_missed and item.cost > 0]
    total = sum(item.cost for item in shown)
    if total <= 0:
        return
    values = [f"{money(item.cost, e.currency)} · {whole(item.n_missed)}" for item in shown]
    segments = tuple(
        BarSegment(SHORT_CAUSE[item.cause], value, item.cost / total, CAUSE_TONES[item.cause])
        for item, value in zip(shown, values, strict=True)
    )
    parts = Parts(tuple((SHORT_CAUSE[item.cause], Amount(item.n_missed, item.cost)) for item in shown))
    yield Bar("causes-bar", segments, said.cause_parts(parts, e.currency))


def _cause_table(e: Explanation) -> ReportTable:
    rows = tuple(
        (
            Cell(CAUSE_WORDS[item.cause] + _entity_note(item)),
            count_cell(item.n_missed),
            money_cell(item.cost, e),
            Cell(" ".join(filter(None, (CURES[item.cause], said.cause_wait(item))))),
        )
        for item in e.causes
    )
    columns = (
        TableColumn("What could have been known"),
        TableColumn("Missed", "number"),
        TableColumn("Lost", "number"),
        TableColumn("What it would take"),
    )
    caption = said.cause_caption(e.causes, CauseLookback(e.lookback_days))
    return ReportTable("causes", caption, columns, rows)


def _entity_note(item: CauseTotal) -> str:
    """Return the entities by which a cause shows, and the causes that also hold; entities may share a fraud."""
    parts = [f"{name} {whole(n)}" for name, n in item.entities.items() if n]
    overlap = overlap_words(item)
    return (f" ({', '.join(parts)})" if parts else "") + (f". {overlap}" if overlap else "")


def _by_day(e: Explanation) -> Iterator[Block]:
    if len(e.days) < 2:
        return
    weekly = len(e.days) > MOST_DAYS
    days = _weeks(e.days) if weekly else e.days
    rows = [
        {"day": f"{at:%Y-%m-%d}", "kind": kind, "value": value}
        for at, missed, false in days
        for kind, value in (("missed", missed), ("false", false))
    ]
    unit = "week" if weekly else "day"
    most = max(missed + false for _, missed, false in days)
    worst = tuple(at for at, missed, false in days if missed + false == most)
    alt = said.worst_days(Worst(unit, len(days), worst, most), e.currency)
    series = {"missed": ("missed fraud", "bad"), "false": ("false positives", "cool")}
    wide, narrow = (
        charts.stacked_days(rows, series=series, title=e.currency, width=width)
        for width in (charts.WIDE, charts.NARROW)
    )
    yield Chart("by-day", f"Money lost on errors by {unit}", wide, alt, narrow=narrow)


def _weeks(days: tuple[tuple[date, float, float], ...]) -> tuple[tuple[date, float, float], ...]:
    """Add days up to weeks that begin on Monday."""
    out: dict[date, tuple[float, float]] = {}
    for at, missed, false in days:
        monday = at - timedelta(days=at.weekday())
        before = out.get(monday, (0.0, 0.0))
        out[monday] = (before[0] + missed, before[1] + false)
    return tuple((monday, *sums) for monday, sums in out.items())
