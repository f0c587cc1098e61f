"""The sections of an explanation on money: where it goes, and what another line would have changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fraudctl.explain.money import EntityTable, Loss, SegmentTable
from fraudctl.explain.result import Explanation
from fraudctl.explain.threshold import Setting
from fraudctl.figures import count, money, percent
from fraudctl.report import charts
from fraudctl.report.cells import count_cell, few, money_cell
from fraudctl.report.document import Block, Cell, Chart, Column, Section, Table, Text, Tone

_LOSS_COLUMNS = (
    Column("Events", "number"), Column("Frauds", "number"), Column("Missed", "number"),
    Column("Missed money", "number"), Column("False alarms", "number"), Column("Their cost", "number"),
    Column("Lost in all", "number"),
)  # fmt: skip


def where_section(e: Explanation) -> Section:
    """Say which entities and segments carry the loss."""
    title = "Where does the money go?"
    errors = e.totals.missed_cost + e.totals.false_alarm_cost
    tables = sorted((item for item in e.money.entities if item.rows and item.n_values), key=_by_share)
    if errors <= 0 or not (tables or e.money.segments):
        return Section("where", title, "No money was lost on errors that a segment or an entity could be named for.")
    lead = "Losses are spread over the segments."
    if tables:
        top = tables[0]
        lead = (
            f"{count(len(top.rows), top.entity)} of {top.n_values:,} carry {percent(top.share_of_top)} of the money "
            f"lost on errors; half of it lies with {count(top.half_of_loss, top.entity)}."
        )
    lead += few(len(e.errors), "errors")
    shown = [_entity_table(item, e) for item in tables[:1]] + [_segment_table(item, e) for item in e.money.segments[:1]]
    folded = [_segment_table(item, e) for item in e.money.segments[1:]] + [
        _entity_table(item, e) for item in tables[1:]
    ]
    blocks = (*_concentration(tables), *shown, *(replace(item, folded=True) for item in folded))
    return Section("where", title, lead, blocks)


def _by_share(item: EntityTable) -> float:
    return -item.share_of_top


def _concentration(tables: list[EntityTable]) -> Iterator[Block]:
    shown = [item for item in tables if len(item.concentration) > 1]
    if not shown:
        return
    rows = [{"name": item.entity, "n": n, "share": share} for item in shown for n, share in item.concentration]
    names = [item.entity for item in shown]
    alt = "Share of the loss over the number of costliest ids: " + "; ".join(
        f"half of it lies with {count(item.half_of_loss, item.entity)}" for item in shown
    )
    wide, narrow = (charts.concentration(rows, names=names, width=width) for width in (charts.WIDE, charts.NARROW))
    title = "How concentrated the loss is: share of the money lost on errors that the costliest ids carry"
    yield Chart("concentration", title, wide, alt + ".", narrow=narrow)


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
    caption = f"By {item.words}, the costliest first"
    return Table(f"segment-{item.column}", caption, (Column(item.words), *_LOSS_COLUMNS), rows, tools=True)


def _entity_table(item: EntityTable, e: Explanation) -> Table:
    rows = tuple(_loss_row(row, e) for row in item.rows)
    caption = f"The costliest of {count(item.n_values, item.entity)}: {percent(item.share_of_top)} of what errors cost"
    return Table(f"entity-{item.entity}", caption, (Column(item.entity, "code"), *_LOSS_COLUMNS), rows, tools=True)


def threshold_section(e: Explanation) -> Section:
    """Say whether another line would have cost less."""
    title = "Is it the threshold?"
    today, best = e.sweep.today, e.sweep.best
    gain = today.cost - best.cost
    if gain <= 0.02 * abs(today.cost):
        lead = "No: no other line would have cost noticeably less."
    else:
        more = "more" if best.n_alerts > today.n_alerts else "fewer"
        lead = (
            f"Partly: with {more} alerts ({best.alerts_per_day:,.1f} a day instead of {today.alerts_per_day:,.1f}) the "
            f"loss would have been {money(gain, e.currency)} lower ({percent(gain / abs(today.cost))}), in hindsight."
        )
    lead += few(len(e.errors), "errors")
    note = (
        "Each row is the same policy, with its costs, rules and capacity, had it taken all odds of fraud to be so many "
        "times what they are. Chosen on this very period, the best row flatters; “fraudctl threshold” chooses a policy."
    )
    return Section("threshold", title, lead, (*_curve(e), _near_table(e), Text(note, note=True)))


def _curve(e: Explanation) -> Iterator[Block]:
    most = 3.0 * max(abs(e.sweep.today.cost), abs(e.sweep.best.cost))
    points = [item for item in e.sweep.curve if item.alerts_per_day > 0 and item.cost <= most]
    if len(points) < 3:
        return
    today, best = e.sweep.today, e.sweep.best
    alt = (
        f"Money lost against alerts per day. Today {today.alerts_per_day:,.1f} alerts a day cost "
        f"{money(today.cost, e.currency)}; the lowest is {money(best.cost, e.currency)} at {best.alerts_per_day:,.1f}."
    )
    wide, narrow = (_curve_spec(e, points, width) for width in (charts.WIDE, charts.NARROW))
    title = "Money lost as the number of alerts changes; shaded: within 1 % of the lowest"
    yield Chart("cost-curve", title, wide, alt, narrow=narrow)


def _curve_spec(e: Explanation, points: list[Setting], width: int) -> charts.Spec:
    rows = [
        {"x": item.alerts_per_day, "total": item.cost, "missed": item.missed_cost, "false": item.false_alarm_cost}
        for item in points
    ]
    low, high = (min(points, key=lambda item: abs(item.factor - end)).alerts_per_day for end in e.sweep.plateau)
    scale = {"type": "log", "nice": False}
    ticks = charts.ticks("number", 5 if width > charts.NARROW else 3)
    return charts.lines(
        rows,
        x="x",
        series={"total": ("total", "ink"), "missed": ("missed fraud", "bad"), "false": ("false alarms", "cool")},
        x_axis={"type": "quantitative", "title": "alerts per day", "scale": scale, "axis": ticks},
        y_axis={"type": "quantitative", "title": e.currency, "axis": charts.ticks("money")},
        marks={"today": e.sweep.today.alerts_per_day} if e.sweep.today.n_alerts else None,
        band=(low, high),
        width=width,
    )


def _near_table(e: Explanation) -> Table:
    today = e.sweep.today
    rows = tuple(_near_row(item, today, e) for item in e.sweep.near)
    columns = (
        Column("Odds taken as", "number"), Column("Alerts a day", "number"), Column("Frauds caught more", "number"),
        Column("Missed money recovered", "number"), Column("False alarms more", "number"),
        Column("Their cost", "number"), Column("Loss changes by", "number"),
    )  # fmt: skip
    return Table("near", "What a lower or higher line would recover and cost, against today", columns, rows)


def _near_row(item: Setting, today: Setting, e: Explanation) -> tuple[Cell, ...]:
    change = item.cost - today.cost
    tone: Tone = "good" if change < 0 else "bad" if change > 0 else "plain"
    signed = f"{'+' if change > 0 else ''}{money(change, e.currency)}"
    return (
        Cell(f"{item.factor:g} ×", item.factor), Cell(f"{item.alerts_per_day:,.1f}", item.alerts_per_day),
        Cell(f"{today.n_missed - item.n_missed:+,}", float(today.n_missed - item.n_missed)),
        money_cell(today.missed_cost - item.missed_cost, e),
        Cell(f"{item.n_false_alarms - today.n_false_alarms:+,}", float(item.n_false_alarms - today.n_false_alarms)),
        money_cell(item.false_alarm_cost - today.false_alarm_cost, e), Cell(signed, round(change, 2), tone),
    )  # fmt: skip
