"""The sections of an explanation on money: where it goes, and what another threshold would have changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fraudctl.explain.findings import Move
from fraudctl.explain.money import EntityTable, Loss, SegmentTable
from fraudctl.explain.result import Explanation
from fraudctl.explain.threshold import ThresholdSetting
from fraudctl.report import charts
from fraudctl.report import explanation_sentences as said
from fraudctl.report.cells import count_cell, few, money_cell
from fraudctl.report.document import Block, Cell, Chart, ReportSection, ReportTable, TableColumn, Text, Tone
from fraudctl.text.figures import money, number, signed
from fraudctl.text.sentences import fixed, joined

_LOSS_COLUMNS = (
    TableColumn("Events", "number"),
    TableColumn("Frauds", "number"),
    TableColumn("Missed", "number"),
    TableColumn("Missed money", "number"),
    TableColumn("False positives", "number"),
    TableColumn("Their cost", "number"),
    TableColumn("Lost in all", "number"),
)


def where_section(e: Explanation) -> ReportSection:
    """Return which entities and segments carry the loss."""
    title = "Where does the money go?"
    errors = e.totals.missed_cost + e.totals.false_alarm_cost
    tables = sorted((item for item in e.money.entities if item.rows and item.n_values), key=_by_share)
    if errors <= 0 or not (tables or e.money.segments):
        return ReportSection(
            "where", title, fixed("No money was lost on errors that a segment or an entity could be named for.")
        )
    told = said.concentrated(tables[0]) if tables else fixed("No entity is known that the loss could lie with.")
    lead = joined(told, few(len(e.errors), "error"))
    shown = [_entity_table(item, e) for item in tables[:1]] + [_segment_table(item, e) for item in e.money.segments[:1]]
    folded = [_segment_table(item, e) for item in e.money.segments[1:]] + [
        _entity_table(item, e) for item in tables[1:]
    ]
    blocks = (*_concentration(tables), *shown, *(replace(item, folded=True) for item in folded))
    return ReportSection("where", title, lead, blocks)


def _by_share(item: EntityTable) -> float:
    return -item.share_of_top


def _concentration(tables: list[EntityTable]) -> Iterator[Block]:
    shown = [item for item in tables if len(item.concentration) > 1]
    if not shown:
        return
    rows = [{"name": item.entity, "n": n, "share": share} for item in shown for n, share in item.concentration]
    names = [item.entity for item in shown]
    alt = said.concentration(tuple(shown))
    wide, narrow = (charts.concentration(rows, names=names, width=width) for width in (charts.WIDE, charts.NARROW))
    title = "How concentrated the loss is: share of the money lost on errors that the costliest ids carry"
    yield Chart("concentration", title, wide, alt, narrow=narrow)


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


def _segment_table(item: SegmentTable, e: Explanation) -> ReportTable:
    rows = tuple(_loss_row(row, e) for row in item.rows)
    return ReportTable(
        f"segment-{item.column}",
        said.segment_caption(item.words),
        (TableColumn(item.words), *_LOSS_COLUMNS),
        rows,
        tools=True,
    )


def _entity_table(item: EntityTable, e: Explanation) -> ReportTable:
    rows = tuple(_loss_row(row, e) for row in item.rows)
    caption = said.entity_caption(item)
    return ReportTable(
        f"entity-{item.entity}", caption, (TableColumn(item.entity, "code"), *_LOSS_COLUMNS), rows, tools=True
    )


def threshold_section(e: Explanation) -> ReportSection:
    """Return whether another threshold would have cost less."""
    title = "Is it the threshold?"
    move = Move(e.sweep.today, e.sweep.best)
    lead = joined(said.threshold_lead(move, e.sweep, e.currency), few(len(e.errors), "error"))
    note = fixed(
        "Each row is the same policy, with its costs, rules and capacity, had it taken all odds of fraud to be a "
        "factor of what they are. Chosen on this period, the best row flatters; “fraudctl threshold” chooses a policy."
    )
    return ReportSection("threshold", title, lead, (*_curve(e), _near_table(e), Text(note, note=True)))


def _curve(e: Explanation) -> Iterator[Block]:
    most = 3.0 * max(abs(e.sweep.today.cost), abs(e.sweep.best.cost))
    points = [item for item in e.sweep.curve if item.alerts_per_day > 0 and item.cost <= most]
    if len(points) < 3:
        return
    alt = said.threshold_curve(Move(e.sweep.today, e.sweep.best), e.currency)
    wide, narrow = (_curve_spec(e, points, width) for width in (charts.WIDE, charts.NARROW))
    yield Chart("cost-curve", said.curve_title(*_plateau(e, points)), wide, alt, narrow=narrow)


def _curve_spec(e: Explanation, points: list[ThresholdSetting], width: int) -> charts.Spec:
    rows = [
        {"x": item.alerts_per_day, "total": item.cost, "missed": item.missed_cost, "false": item.false_alarm_cost}
        for item in points
    ]
    low, high = (item.alerts_per_day for item in _plateau(e, points))
    scale = {"type": "log", "nice": False}
    ticks = charts.ticks("number", 5 if width > charts.NARROW else 3)
    return charts.lines(
        rows,
        x="x",
        series={"total": ("total", "ink"), "missed": ("missed fraud", "bad"), "false": ("false positives", "cool")},
        x_axis={"type": "quantitative", "title": "alerts per day", "scale": scale, "axis": ticks},
        y_axis={"type": "quantitative", "title": e.currency, "axis": charts.ticks("money")},
        marks={"today": e.sweep.today.alerts_per_day} if e.sweep.today.n_alerts else None,
        band=(low, high) if low != high else None,
        width=width,
    )


def _plateau(e: Explanation, points: list[ThresholdSetting]) -> tuple[ThresholdSetting, ThresholdSetting]:
    """Return the settings at the ends of the range around the cheapest that costs at most 1 % more."""
    first, last = (min(points, key=lambda item: abs(item.factor - end)) for end in e.sweep.plateau)
    return first, last


def _near_table(e: Explanation) -> ReportTable:
    today = e.sweep.today
    rows = tuple(_near_row(item, today, e) for item in e.sweep.near)
    columns = (
        TableColumn("Odds taken as", "number"),
        TableColumn("Alerts a day", "number"),
        TableColumn("Frauds caught more", "number"),
        TableColumn("Missed money recovered", "number"),
        TableColumn("False positives more", "number"),
        TableColumn("Their cost", "number"),
        TableColumn("Loss changes by", "number"),
    )
    caption = fixed("What a lower or higher threshold would recover and cost, against today")
    return ReportTable("near", caption, columns, rows)


def _near_row(item: ThresholdSetting, today: ThresholdSetting, e: Explanation) -> tuple[Cell, ...]:
    change = item.cost - today.cost
    tone: Tone = "good" if change < 0 else "bad" if change > 0 else "plain"
    changed = f"{'+' if change > 0 else ''}{money(change, e.currency)}"
    return (
        Cell(f"{number(item.factor)} ×", item.factor),
        Cell(number(item.alerts_per_day), item.alerts_per_day),
        Cell(signed(today.n_missed - item.n_missed), float(today.n_missed - item.n_missed)),
        money_cell(today.missed_cost - item.missed_cost, e),
        Cell(signed(item.n_false_alarms - today.n_false_alarms), float(item.n_false_alarms - today.n_false_alarms)),
        money_cell(item.false_alarm_cost - today.false_alarm_cost, e),
        Cell(changed, round(change, 2), tone),
    )
