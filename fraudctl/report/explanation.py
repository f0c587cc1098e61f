"""An explanation as a document: its sections, in the order in which questions come up.

Owns sentences and layout. Every figure is the explanation's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fraudctl.explain.clusters import Cluster
from fraudctl.explain.contrast import Contrast, Difference
from fraudctl.explain.findings import CAUSE_WORDS, CURES
from fraudctl.explain.money import EntityTable, Loss, SegmentTable
from fraudctl.explain.result import Explanation
from fraudctl.explain.threshold import Setting
from fraudctl.explain.wording import count, day, moment, money, percent, period
from fraudctl.report import charts
from fraudctl.report.cells import count_cell, money_cell, share_cell
from fraudctl.report.document import (
    Bar,
    Block,
    Card,
    Cell,
    Chart,
    Column,
    Document,
    Section,
    Segment,
    Table,
    Text,
    Tone,
)  # fmt: skip
from fraudctl.report.explanation_detail import SHORT_CAUSE, autopsy_section, cases_section, method_section, weak_section

TOP_CAMPAIGNS: Final = 12
TOP_DIFFERENCES: Final = 8
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
        _where(e),
        _threshold(e),
        _contrasts(e),
        _clusters(e),
        _campaigns(e),
        weak_section(e),
        autopsy_section(e),
        cases_section(e),
        method_section(e),
    )
    tones: dict[bool, Tone] = {True: "bad", False: "plain"}
    return Document(
        title=_verdict(e),
        subtitle=(
            (
                f"{period(e.start, e.end)} · {count(e.totals.n_events, 'event')} · {count(e.totals.n_frauds, 'fraud')}"
                f" · model {e.model}"
            ),
            f"Costs: {'; '.join(e.cost_words)}.",
        ),
        cards=_cards(e),
        sections=sections,
        kicker=f"{e.project} · what was missed, who was annoyed, what it cost",
        findings=tuple((item.head, item.text, tones[item.significant]) for item in e.findings),
        footer=f"fraudctl explain · project {e.project} · model {e.model}",
    )


def _verdict(e: Explanation) -> str:
    t = e.totals
    if t.cost <= 0:
        return f"The model lost nothing in this period ({count(t.n_frauds, 'fraud')})"
    lost = money(t.cost, e.currency)
    parts = {"missed fraud": t.missed_cost, "false alarms": t.false_alarm_cost, "handling caught fraud": t.caught_cost}
    top = max(parts, key=lambda item: parts[item])
    kept = (
        f"and saved {money(t.saved, e.currency)}"
        if t.saved > 0
        else f"{money(-t.saved, e.currency)} more than no model"
    )
    return f"The model lost {lost} {kept}; {percent(parts[top] / t.cost)} of the loss is {top}"


def _cards(e: Explanation) -> tuple[Card, ...]:
    t = e.totals
    share = t.saved / t.baseline_cost if t.baseline_cost > 0 else None
    against = f"{t.baseline_action} all: {money(t.baseline_cost, e.currency)}"
    tone: Tone = "good" if t.saved > 0 else "bad"
    precision = percent(t.n_caught / t.n_alerts) if t.n_alerts else "–"
    saved = money(t.saved, e.currency)
    return (
        Card(saved, f"saved against no model ({against})" + (f", {percent(share)}" if share is not None else ""), tone),
        Card(f"{t.n_missed:,}", f"missed of {count(t.n_frauds, 'fraud')}, {money(t.missed_cost, e.currency)}", "bad"),
        Card(f"{t.n_false_alarms:,}", f"false alarms, {money(t.false_alarm_cost, e.currency)}", "cool"),
        Card(precision, f"of {count(t.n_alerts, 'alert')} are fraud"),
    )


def _why(e: Explanation) -> Section:
    t = e.totals
    title = "Why was fraud missed?"
    if not t.n_missed:
        return Section("why", title, "No fraud was missed in this period.")
    by_cost = sorted(e.causes, key=lambda item: -item.cost)
    top = by_cost[0]
    share = top.cost / t.missed_cost if t.missed_cost > 0 else 0.0
    lead = f"{percent(share)} of the missed money: {SHORT_CAUSE[top.cause]}. {CURES[top.cause]}"
    shown = [item for item in e.causes if item.n_missed]
    total = sum(item.cost for item in shown) or 1.0
    values = [f"{money(item.cost, e.currency)} · {item.n_missed}" for item in shown]
    bar = Bar(
        tuple(
            Segment(SHORT_CAUSE[item.cause], value, item.cost / total, CAUSE_TONES[item.cause])
            for item, value in zip(shown, values, strict=True)
        ),
        "Missed money by cause: "
        + "; ".join(f"{SHORT_CAUSE[item.cause]} {value}" for item, value in zip(shown, values, strict=True)),
    )
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
        Column("What it takes"),
    )
    table = Table(
        "causes", f"Missed frauds by cause, each counted once; looking back {e.lookback_days:g} days", columns, rows
    )
    blocks: list[Block] = [bar, table] if t.missed_cost > 0 else [table]
    return Section("why", title, lead, (*blocks, *_by_day(e)))


def _entity_note(entities: dict[str, int]) -> str:
    parts = [f"{name} {n:,}" for name, n in entities.items() if n]
    return f" ({', '.join(parts)})" if parts else ""


def _cure(cause: str, wait: float | None) -> str:
    extra = f" The label came {wait:.1f} days after the event (median)." if wait is not None else ""
    return CURES[cause] + extra


def _by_day(e: Explanation) -> Iterator[Block]:
    if len(e.days) < 2:
        return
    rows = [
        {"day": f"{at:%Y-%m-%d}", "kind": kind, "value": value}
        for at, missed, false in e.days
        for kind, value in (("missed", missed), ("false", false))
    ]
    worst = max(e.days, key=lambda item: item[1] + item[2])
    alt = (
        f"Money lost per day over {len(e.days)} days; the worst is {day(worst[0])} with "
        f"{money(worst[1] + worst[2], e.currency)}."
    )
    spec = charts.stacked_days(
        rows, series={"missed": ("missed fraud", "bad"), "false": ("false alarms", "cool")}, title=e.currency
    )
    yield Chart("by-day", "Money lost by day", spec, alt)


def _where(e: Explanation) -> Section:
    title = "Where does the money go?"
    errors = e.totals.missed_cost + e.totals.false_alarm_cost
    tables = [item for item in e.money.entities if item.rows and item.n_values]
    if errors <= 0 or not (tables or e.money.segments):
        return Section("where", title, "No money was lost on errors that a segment or an entity could be named for.")
    lead = "Losses are spread over the segments."
    if tables:
        top = max(tables, key=lambda item: item.share_of_top)
        n = len(top.rows)
        lead = (
            f"{count(n, top.entity)} of {top.n_values:,} carry {percent(top.share_of_top)} of the money lost on "
            f"errors; "
            f"half of it lies with {count(top.half_of_loss, top.entity)}."
        )
    blocks: list[Block] = [_segment_table(item, e) for item in e.money.segments]
    blocks += [_entity_table(item, e) for item in tables]
    return Section("where", title, lead, tuple(blocks))


_LOSS_COLUMNS = (
    Column("Events", "number"), Column("Frauds", "number"), Column("Missed", "number"),
    Column("Lost on them", "number"),
    Column("False alarms", "number"), Column("Lost on them", "number"), Column("Lost in all", "number"),
)  # fmt: skip


def _loss_row(item: Loss, e: Explanation) -> tuple[Cell, ...]:
    return (
        Cell(item.value),
        count_cell(item.n_events),
        count_cell(item.n_frauds),
        count_cell(item.n_missed),
        money_cell(item.missed_cost, e),
        count_cell(item.n_false_alarms),
        money_cell(item.false_alarm_cost, e),
        money_cell(item.cost, e),
    )


def _segment_table(item: SegmentTable, e: Explanation) -> Table:
    rows = tuple(_loss_row(row, e) for row in item.rows)
    caption = f"By {item.column}, the costliest first"
    return Table(f"segment-{item.column}", caption, (Column(item.column), *_LOSS_COLUMNS), rows, tools=True)


def _entity_table(item: EntityTable, e: Explanation) -> Table:
    rows = tuple(_loss_row(row, e) for row in item.rows)
    caption = f"The costliest {item.entity} ids: {percent(item.share_of_top)} of what errors cost"
    return Table(f"entity-{item.entity}", caption, (Column(item.entity, "code"), *_LOSS_COLUMNS), rows, tools=True)


def _threshold(e: Explanation) -> Section:
    title = "Is it the threshold?"
    today, best = e.sweep.today, e.sweep.best
    gain = today.cost - best.cost
    small = gain <= 0.02 * abs(today.cost)
    if small:
        lead = "No: no other line would have cost noticeably less."
    else:
        more = "more" if best.n_alerts > today.n_alerts else "fewer"
        lead = (
            f"Partly: with {more} alerts ({best.alerts_per_day:,.1f} a day instead of "
            f"{today.alerts_per_day:,.1f}) the loss "
            f"would have been {money(gain, e.currency)} lower ({percent(gain / abs(today.cost))}), in hindsight."
        )
    note = (
        "Each row is the same policy, with its costs, rules and capacity, had it seen all odds of fraud "
        "multiplied by the "
        "factor. Chosen on this very period, the best row flatters; a policy is chosen with `fraudctl threshold`."
    )
    return Section("threshold", title, lead, (*_curve(e), _near_table(e), Text(note, note=True)))


def _curve(e: Explanation) -> Iterator[Block]:
    most = 3.0 * max(abs(e.sweep.today.cost), abs(e.sweep.best.cost))
    points = [item for item in e.sweep.curve if item.alerts_per_day > 0 and item.cost <= most]
    if len(points) < 3:
        return
    rows = [
        {"x": item.alerts_per_day, "total": item.cost, "missed": item.missed_cost, "false": item.false_alarm_cost}
        for item in points
    ]
    low, high = (min(points, key=lambda item: abs(item.factor - end)).alerts_per_day for end in e.sweep.plateau)
    spec = charts.lines(
        rows,
        x="x",
        series={"total": ("total", "ink"), "missed": ("missed fraud", "bad"), "false": ("false alarms", "cool")},
        x_axis={"type": "quantitative", "title": "alerts per day", "scale": {"type": "log", "nice": False}},
        y_axis={"type": "quantitative", "title": e.currency, "axis": {"format": "~s", "tickCount": 5}},
        marks={"today": e.sweep.today.alerts_per_day} if e.sweep.today.n_alerts else None,
        band=(low, high),
    )
    alt = (
        f"Money lost against alerts per day. Today {e.sweep.today.alerts_per_day:,.1f} alerts a day cost "
        f"{money(e.sweep.today.cost, e.currency)}; the lowest is {money(e.sweep.best.cost, e.currency)} at "
        f"{e.sweep.best.alerts_per_day:,.1f}."
    )
    yield Chart("cost-curve", "Money lost as the number of alerts changes; shaded: within 1 % of the lowest", spec, alt)


def _near_table(e: Explanation) -> Table:
    today = e.sweep.today
    rows = tuple(_near_row(item, today, e) for item in (*e.sweep.near[:2], *e.sweep.near[2:]))
    columns = (
        Column("Odds ×", "number"), Column("Alerts a day", "number"), Column("Frauds caught more", "number"),
        Column("Missed money recovered", "number"), Column("False alarms more", "number"),
        Column("Their cost", "number"), Column("Loss changes by", "number"),
    )  # fmt: skip
    return Table("near", "What a lower or higher line would recover and cost, against today", columns, rows)


def _near_row(item: Setting, today: Setting, e: Explanation) -> tuple[Cell, ...]:
    change = item.cost - today.cost
    tone: Tone = "good" if change < 0 else "bad" if change > 0 else "plain"
    signed = f"{'+' if change > 0 else ''}{money(change, e.currency)}"
    return (
        Cell(f"{item.factor:g}", item.factor), Cell(f"{item.alerts_per_day:,.1f}", item.alerts_per_day),
        Cell(f"{today.n_missed - item.n_missed:+,}", float(today.n_missed - item.n_missed)),
        money_cell(today.missed_cost - item.missed_cost, e),
        Cell(f"{item.n_false_alarms - today.n_false_alarms:+,}", float(item.n_false_alarms - today.n_false_alarms)),
        money_cell(item.false_alarm_cost - today.false_alarm_cost, e), Cell(signed, round(change, 2), tone),
    )  # fmt: skip


def _contrasts(e: Explanation) -> Section:
    title = "What did the model not see, what misled it?"
    parts: list[str] = []
    blocks: list[Block] = []
    missed, false = e.missed_contrast, e.false_alarm_contrast
    if missed is not None:
        top = missed.families[0]
        parts.append(f"What sets missed frauds apart from caught ones is “{top.words}” ({top.value:+.2f} in log-odds).")
        blocks += _contrast_charts(missed, "missed", "missed minus caught frauds")
    if false is not None:
        top = false.families[0]
        parts.append(f"False alarms differ from passed events most by “{top.words}” ({top.value:+.2f}).")
        blocks += _contrast_charts(false, "false", "false alarms minus passed events")
    blocks.sort(key=lambda block: isinstance(block, Chart) and block.wide)
    for name in ("missed_contrast", "false_alarm_contrast"):
        if name in e.absent:
            side = "Missed frauds" if name == "missed_contrast" else "False alarms"
            blocks.append(Text(f"{side}: {e.absent[name]}.", note=True))
    used = next((item.clusters for item in (missed, false) if item is not None and item.clusters), "")
    if used:
        text = f"Mean contributions in log-odds; whiskers are 90 % intervals that redraw whole {used} ids."
        blocks.append(Text(text + " A difference shows where the scores part, not why.", note=True))
    return Section("contrast", title, " ".join(parts) or "Too few errors to say.", tuple(blocks))


def _contrast_charts(item: Contrast, name: str, words: str) -> list[Block]:
    """Draw the families and, wider for their words are longer, the features."""
    out: list[Block] = []
    for kind, rows in (("families", item.families), ("features", item.features)):
        shown, wide = rows[:TOP_DIFFERENCES], kind == "features"
        alt = f"Mean contribution by {kind}, {words}: " + "; ".join(_difference_words(row) for row in shown) + "."
        data = [_difference_row(row, shown) for row in shown]
        width, labels = (charts.WIDE, 470) if wide else (charts.HALF, 190)
        spec = charts.intervals(data, title="log-odds", width=width, label_width=labels)
        title = f"By {'feature' if wide else 'family'}, {words}"
        out.append(Chart(f"{name}-{kind}", title, spec, alt, wide=wide))
    return out


def _difference_row(row: Difference, shown: tuple[Difference, ...]) -> dict[str, object]:
    tone = "bad" if row.value < 0 else "cool"
    twins = sum(other.words == row.words for other in shown) > 1
    label = f"{row.words} [{row.name}]" if twins else row.words
    return {"label": label, "value": row.value, "low": row.low, "high": row.high, "tone": tone}


def _difference_words(row: Difference) -> str:
    interval = "" if row.low is None or row.high is None else f" ({row.low:+.2f} to {row.high:+.2f})"
    return f"{row.words} {row.value:+.2f}{interval}"


def _clusters(e: Explanation) -> Section:
    title = "Whom do we annoy?"
    if "clusters" in e.absent:
        return Section("clusters", title, f"Not drawn: {e.absent['clusters']}.")
    if not e.clusters:
        return Section("clusters", title, "False alarms fall into no groups that would come back with other events.")
    top = e.clusters[0]
    n_in = sum(item.n for item in e.clusters)
    lead = (
        f"{percent(n_in / e.totals.n_false_alarms)} of the false alarms fall into {count(len(e.clusters), 'group')}; "
        f"the costliest: {' and '.join(top.rule) or top.drivers[0][0]}."
    )
    rows = tuple(
        (
            Cell(f"{i + 1}", float(i + 1)),
            Cell("", lines=(*(item.rule or ("no short rule",)), _driven_by(item))),
            count_cell(item.n),
            money_cell(item.cost, e),
            share_cell(item.precision),
            share_cell(item.recall),
            Cell(f"{item.stability:.2f}", round(item.stability, 4)),
            Cell(
                f"{percent(item.n_alert_frauds / max(item.n_alerts, 1))} of {item.n_alerts:,}",
                item.n_alert_frauds / max(item.n_alerts, 1),
            ),
        )
        for i, item in enumerate(e.clusters)
    )
    columns = (
        Column("Group", "number"), Column("Rule in words", "lines"), Column("False alarms", "number"),
        Column("Cost", "number"), Column("Precision", "number", "of the false alarms that meet the rule"),
        Column("Recall", "number", "of the group's false alarms"), Column("Stability", "number", "mean Jaccard"),
        Column("Fraud in like alerts", "number", "of all alerts that meet the rule"),
    )  # fmt: skip
    hidden = f" {count(e.n_unstable_clusters, 'group')} did not come back and are not shown."
    note = "Grouped by why the model alerted." + (hidden if e.n_unstable_clusters else "")
    table = Table("clusters", "Groups of false alarms with one reason", columns, rows, tools=True)
    return Section("clusters", title, lead, (table, Text(note, note=True)))


def _driven_by(item: Cluster) -> str:
    return "driven by " + ", ".join(f"{name} {value:+.1f}" for name, value in item.drivers[:2] if value >= 0.1)


def _campaigns(e: Explanation) -> Section:
    title = "Which campaigns did we miss?"
    several = [item for item in e.campaigns if item.n_missed > 1]
    if not several:
        return Section("campaigns", title, "No campaign: no two missed frauds share an entity beyond chance.")
    cost = sum(item.cost for item in several)
    n = sum(item.n_missed for item in several)
    kinds: dict[str, int] = {}
    for item in several:
        kinds[item.entity] = kinds.get(item.entity, 0) + 1
    hung = ", ".join(
        f"{k} {name}" if k == 1 else f"{k} {name}s" for name, k in sorted(kinds.items(), key=lambda kv: -kv[1])
    )
    lead = (
        f"{n:,} missed frauds ({money(cost, e.currency)}) belong to {count(len(several), 'campaign')}, which "
        f"hang on {hung}."
    )
    shown = several[:TOP_CAMPAIGNS]
    rows = [
        {"group": f"{item.entity} {item.value}", "time": event.event_time.isoformat(), "kind": event.kind}
        for item in shown
        for event in item.course
    ]
    tones = {"missed": ("missed", "bad"), "caught": ("caught", "good"), "outside": ("outside the period", "soft")}
    alt = "Frauds of the costliest campaigns over time: " + "; ".join(
        f"{item.entity} {item.value} {item.n_missed} missed, {item.n_caught} caught" for item in shown
    )
    table_rows = tuple(
        (
            Cell(item.entity),
            Cell(item.value),
            count_cell(item.n_missed),
            count_cell(item.n_caught),
            count_cell(item.size),
            share_cell(item.size / max(item.n_events, 1)),
            money_cell(item.cost, e),
            Cell(moment(item.start), item.start.isoformat()),
            Cell(moment(item.end), item.end.isoformat()),
        )
        for item in several[:40]
    )
    columns = (
        Column("Hangs on"), Column("Id", "code"), Column("Missed", "number"), Column("Caught", "number"),
        Column("Frauds in all", "number"), Column("Of its events", "number"), Column("Lost", "number"),
        Column("First fraud", "code"), Column("Last fraud", "code"),
    )  # fmt: skip
    caption = f"The {len(table_rows)} costliest campaigns with at least two missed frauds"
    note = (
        "Found with labels in hindsight, on both sides of each event: nobody had them then. "
        f"{count(e.n_outside_campaigns, 'missed fraud')} hang on no entity."
    )
    blocks: tuple[Block, ...] = (
        Chart("campaigns", "Course of the costliest campaigns", charts.timeline(rows, tones=tones), alt + "."),
        Table("campaigns-table", caption, columns, table_rows, tools=True, filter_hint="Filter campaigns"),
        Text(note, note=True),
    )
    return Section("campaigns", title, lead, blocks)
