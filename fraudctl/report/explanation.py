"""An explanation as a document: its sections, in the order in which questions come up.

Owns the head, and why fraud was missed. Every figure is the explanation's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from fraudctl.explain.findings import CAUSE_WORDS, CURES
from fraudctl.explain.result import Explanation
from fraudctl.figures import count, day, money, percent, period, span
from fraudctl.report import charts
from fraudctl.report.cells import count_cell, few, money_cell
from fraudctl.report.document import Bar, Block, Card, Cell, Chart, Column, Document, Section, Segment, Table, Tone
from fraudctl.report.explanation_detail import SHORT_CAUSE, autopsy_section, cases_section, method_section, weak_section
from fraudctl.report.explanation_model import campaigns_section, clusters_section, contrasts_section
from fraudctl.report.explanation_money import threshold_section, where_section

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
    sections = (
        _why(e),
        where_section(e),
        threshold_section(e),
        contrasts_section(e),
        clusters_section(e),
        campaigns_section(e),
        weak_section(e),
        autopsy_section(e),
        cases_section(e),
        method_section(e),
    )
    tones: dict[bool, Tone] = {True: "bad", False: "plain"}
    judged = f"{count(e.totals.n_events, 'event')} · {count(e.totals.n_frauds, 'fraud')}"
    when = f"{period(e.start, e.until, e.timezone)} · {judged}"
    return Document(
        title=_verdict(e),
        subtitle=(f"{when} · model {e.model}", f"What counts as lost: {'; '.join(e.cost_words)}."),
        cards=_cards(e),
        sections=sections,
        kicker=f"{e.project} · what was missed, who was annoyed, what it cost",
        findings=tuple((item.head, item.text, tones[item.significant]) for item in e.findings),
        footer=f"fraudctl explain · project {e.project} · model {e.model}",
    )


def _verdict(e: Explanation) -> str:
    t = e.totals
    days = span(e.start, e.until)
    if t.cost <= 0:
        return f"The model lost nothing in {days} ({count(t.n_frauds, 'fraud')})"
    parts = {"missed fraud": t.missed_cost, "false alarms": t.false_alarm_cost, "handling caught fraud": t.caught_cost}
    top = max(parts, key=lambda item: parts[item])
    worse = f", {money(-t.saved, e.currency)} more than {t.base.words}" if t.saved < 0 else ""
    return f"The model lost {money(t.cost, e.currency)} in {days}{worse}; {percent(parts[top] / t.cost)} of it is {top}"


def _cards(e: Explanation) -> tuple[Card, ...]:
    t = e.totals
    share = f" ({percent(t.saved / t.base.cost)})" if t.base.cost > 0 and t.saved > 0 else ""
    saved = f"saved{share} against {t.base.words}, which would have cost {money(t.base.cost, e.currency)}"
    tone: Tone = "good" if t.saved > 0 else "bad"
    precision = percent(t.n_caught / t.n_alerts) if t.n_alerts else "–"
    return (
        Card(money(t.saved, e.currency), saved, tone),
        Card(f"{t.n_missed:,}", f"missed of {count(t.n_frauds, 'fraud')}: {money(t.missed_cost, e.currency)}", "bad"),
        Card(f"{t.n_false_alarms:,}", f"false alarms: {money(t.false_alarm_cost, e.currency)}", "cool"),
        Card(precision, f"of {count(t.n_alerts, 'alert')} are fraud"),
    )


def _why(e: Explanation) -> Section:
    t = e.totals
    title = "Why was fraud missed?"
    if not t.n_missed:
        return Section("why", title, "No fraud was missed in this period.")
    top = max(e.causes, key=lambda item: (item.cost, item.n_missed))
    share = f"{percent(top.cost / t.missed_cost)} of the missed money" if t.missed_cost > 0 else "Most missed frauds"
    lead = f"{share}: {SHORT_CAUSE[top.cause]}. {CURES[top.cause]}"
    lead += few(t.n_missed, "missed frauds")
    return Section("why", title, lead, (*_cause_bar(e), _cause_table(e), *_by_day(e)))


def _cause_bar(e: Explanation) -> Iterator[Block]:
    shown = [item for item in e.causes if item.n_missed and item.cost > 0]
    total = sum(item.cost for item in shown)
    if total <= 0:
        return
    values = [f"{money(item.cost, e.currency)} · {item.n_missed}" for item in shown]
    segments = tuple(
        Segment(SHORT_CAUSE[item.cause], value, item.cost / total, CAUSE_TONES[item.cause])
        for item, value in zip(shown, values, strict=True)
    )
    alt = "; ".join(f"{SHORT_CAUSE[item.cause]} {value}" for item, value in zip(shown, values, strict=True))
    yield Bar("causes-bar", segments, f"Missed money and frauds by cause: {alt}")


def _cause_table(e: Explanation) -> Table:
    rows = tuple(
        (
            Cell(CAUSE_WORDS[item.cause] + _entity_note(item.entities)),
            count_cell(item.n_missed),
            money_cell(item.cost, e),
            Cell(_cure(item.cause, item.median_wait_days)),
        )
        for item in e.causes
    )
    columns = (
        Column("What could have been known"),
        Column("Missed", "number"),
        Column("Lost", "number"),
        Column("What it would take"),
    )
    caption = f"Missed frauds by cause, each counted once; looking back {e.lookback_days:g} days"
    return Table("causes", caption, columns, rows)


def _entity_note(entities: dict[str, int]) -> str:
    parts = [f"{name} {n:,}" for name, n in entities.items() if n]
    return f" ({', '.join(parts)})" if parts else ""


def _cure(cause: str, wait: float | None) -> str:
    extra = f" The label came {wait:.1f} days after the event (median)." if wait is not None else ""
    return CURES[cause] + extra


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
    worst = max(days, key=lambda item: item[1] + item[2])
    unit = "week" if weekly else "day"
    alt = (
        f"Money lost on errors over {count(len(days), unit)}; the worst is that of {day(worst[0])} with "
        f"{money(worst[1] + worst[2], e.currency)}."
    )
    series = {"missed": ("missed fraud", "bad"), "false": ("false alarms", "cool")}
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
