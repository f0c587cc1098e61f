"""The dashboard as a document: a light and its reason, what was lost and caught, then everything behind it.

Owns sentences and layout. Every figure is the dashboard's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fraudctl.monitor.dashboard import Dashboard
from fraudctl.monitor.harm import FIGURES, LimitVerdict
from fraudctl.monitor.performance import LabelledFigure, OutcomeFigures, Performance, PerformanceCohort
from fraudctl.report import charts
from fraudctl.report import dashboard_charts as drawn
from fraudctl.report import dashboard_sentences as said
from fraudctl.report.dashboard_sentences import ActionTotal, CohortOf, MoneyFigure, ShownCohorts, shown_cohorts
from fraudctl.report.document import (
    Block,
    Card,
    Cell,
    Chart,
    Document,
    Fact,
    Facts,
    ReportSection,
    ReportTable,
    TableColumn,
    Text,
    Tone,
)
from fraudctl.text.figures import day, money, number, percent, whole
from fraudctl.text.sentences import Sentence, fixed, joined

LIGHTS: Final[dict[str, tuple[str, Tone]]] = {
    "green": ("green", "good"),
    "amber": ("amber", "warn"),
    "red": ("red", "bad"),
    "none": ("no limits", "muted"),
}
STATES: Final[dict[str, Tone]] = {"kept": "good", "open": "warn", "broken": "bad", "unknown": "warn"}
MONEY: Final = {"caught_loss", "missed_loss", "false_positive_cost", "cost"}
COUNTS: Final = {"frauds", "false_positives"}
SHARES: Final = {"fraud_rate", "precision", "recall", "value_recall", "savings"}
WORDS: Final = {
    "frauds": "Frauds", "fraud_rate": "Fraud rate", "caught_loss": "Caught", "missed_loss": "Missed",
    "missed_bps": "Missed per 10,000", "precision": "Precision", "recall": "Recall", "value_recall": "Recall by money",
    "false_positives": "False positives", "false_positives_per_1000": "False positives per 1,000",
    "false_positive_cost": "Their cost", "cost": "Cost", "savings": "Savings",
}  # fmt: skip
DEFINITIONS: Final = (
    Fact(
        "Final, open, hidden",
        fixed(
            "A week (or day) is final when 95 % of its frauds are expected to be known, hidden below 15 % or "
            "before it is over, else open: its figures are estimates, with an interval that is made to hold the "
            "final figure nine times in ten."
        ),
    ),
    Fact(
        "Labels so far",
        fixed(
            "What labels say that had arrived on the date of this page. Flagged frauds are confirmed sooner than "
            "missed ones come back, so young weeks look better by their labels than they are."
        ),
    ),
    Fact(
        "Estimate",
        fixed(
            "From labels so far, calibrated probabilities and how long labels took in earlier weeks, apart for "
            "flagged and allowed events. It follows delays and fraud rates that change."
        ),
    ),
    Fact(
        "Missed, caught",
        fixed(
            "Money of frauds that were allowed, and of those that got any other action. Where events have no "
            "amount, what allowing them costs."
        ),
    ),
    Fact(
        "Missed per 10,000",
        fixed("Missed fraud money per 10,000 of the money of all events (basis points)."),
    ),
    Fact(
        "Recall, recall by money",
        fixed("Share of the frauds, and of the fraud money, that was flagged."),
    ),
    Fact(
        "Precision",
        fixed("Share of the flagged events that are fraud."),
    ),
    Fact(
        "False positives",
        fixed("Flagged legitimate events; their cost is that of the actions taken on them."),
    ),
    Fact(
        "Savings",
        fixed("1 - cost of all decisions / cost of the constant action that is cheapest over the final weeks."),
    ),
    Fact(
        "Light",
        fixed(
            "Red: a limit of the project file is broken by more than chance, however often one looks. Amber: a limit "
            "may or may not be kept, a figure cannot be told, or data are not as they should be. Green: all limits "
            "are kept. Limits are judged on the latest 28 days, and on those whose labels are complete."
        ),
    ),
)


def dashboard_document(board: Dashboard) -> Document:
    """Lay out a dashboard."""
    found = board.performance
    frame = drawn.TimeFrame(found.cohorts, board.marks)
    shown = shown_cohorts(found)
    sections = [
        _loss(board, frame),
        _quality(board, frame),
        _customers(board, frame),
        _work(board, frame),
        _maturity(board, frame, shown),
        *_groups(board),
        _health(board),
        _rhythm(board),
        _versions(board),
        _words(),
    ]
    return Document(
        title=said.headline(found.all, found),
        subtitle=(*_reasons(board), said.period_line(shown, found)),
        cards=tuple(_cards(board, shown)),
        sections=tuple(sections),
        kicker=f"{board.project} · dashboard",
        verdict=LIGHTS[board.light],
        footer="fraudctl dashboard",
    )


_RED, _AMBER, _GREEN, _NO_LIGHT = fixed("Red"), fixed("Amber"), fixed("Green"), fixed("No light")


def _reasons(board: Dashboard) -> tuple[Sentence, ...]:
    """Give the reasons of the light, the worst first; at most three."""
    order = ("broken", "unknown", "open", "kept")
    limits = sorted(board.limits, key=lambda item: order.index(item.state))
    bad = [(_RED, said.limit_reason(item)) for item in limits if item.state == "broken"]
    doubt = [(_AMBER, said.limit_reason(item)) for item in limits if item.state in ("unknown", "open")]
    health = [(_AMBER, said.health_reason(item)) for item in board.health]
    tiers = {"harm": _RED, "data": _RED, "drift": _AMBER}
    alarms = [(tiers[item.tier], said.alarm_reason(item)) for item in board.alarms if item.current and not item.noted]
    bad += [item for item in alarms if item[0] is _RED]
    health += [item for item in alarms if item[0] is _AMBER]
    good = [(_GREEN if board.limits else _NO_LIGHT, said.all_kept(board))]
    reasons = [*bad, *health, *doubt] or good
    return tuple(joined(word, reason, by=": ") for word, reason in reasons[:3])


def _cards(board: Dashboard, shown: ShownCohorts) -> Iterator[Card]:
    found = board.performance
    group = found.all
    if group is None:
        return
    missed, caught, savings = group.outcomes.missed_loss, group.outcomes.caught_loss, group.outcomes.savings
    yield Card(money(missed.value or 0.0, found.currency), said.lost_card(MoneyFigure(missed, found.currency)), "bad")
    if caught.value is not None:
        text = money(caught.value, found.currency)
        yield Card(text, said.caught_card(MoneyFigure(caught, found.currency)), "good")
    if savings.value is not None:
        yield Card(percent(savings.value, 1), said.savings_card(group, found), "good" if savings.value > 0 else "bad")
    yield Card(
        whole(shown.open + shown.hidden), said.open_card(shown), "warn" if shown.open + shown.hidden else "plain"
    )


def say(name: str, value: float, currency: str) -> str:
    """Write a figure of outcomes."""
    if name in MONEY:
        return money(value, currency)
    if name in SHARES:
        return percent(value, 1)
    return whole(value) if name in COUNTS else number(value, 4)


def _cell(name: str, value: float | None, currency: str) -> Cell:
    return Cell("–", "") if value is None else Cell(say(name, value, currency), round(value, 9))


def _table(name: str, caption: Sentence, board: Dashboard, figures: Sequence[str]) -> ReportTable:
    """Return the table of a chart: the figure, its interval, and what labels say so far."""
    found = board.performance
    columns = [TableColumn("From"), TableColumn("Status"), TableColumn("Matured", "number")]
    for item in figures:
        words = WORDS[item]
        columns += [TableColumn(f"{words}{part}", "number") for part in ("", ": low", ": high", ": labels so far")]
    rows = tuple(_row(cohort, figures, found) for cohort in found.cohorts)
    return ReportTable(f"{name}-table", caption, tuple(columns), rows, folded=True, csv=f"{name}.csv")


def _row(cohort: PerformanceCohort, figures: Sequence[str], found: Performance) -> tuple[Cell, ...]:
    matured = Cell("–", "") if cohort.matured is None else Cell(percent(cohort.matured), round(cohort.matured, 4))
    cells = [Cell(day(cohort.first_day), cohort.first_day.isoformat()), Cell(cohort.status), matured]
    for name in figures:
        item: LabelledFigure = getattr(cohort.outcomes, name)
        cells += [_cell(name, value, found.currency) for value in (item.value, item.low, item.high, item.known)]
    return tuple(cells)


def _pair(name: str, title: str, alt: Sentence, spec: dict[int, charts.Spec], *, wide: bool = True) -> Chart:
    return Chart(name, title, spec[max(spec)], alt, wide=wide, narrow=spec[charts.NARROW])


def _loss(board: Dashboard, frame: drawn.TimeFrame) -> ReportSection:
    found = board.performance
    lead = said.loss_lead(found.all, found)
    blocks: list[Block] = []
    if frame.shown:
        specs = {
            width: drawn.loss(frame, currency=found.currency, width=width) for width in (charts.WIDE, charts.NARROW)
        }
        title = f"Missed and caught by {found.every}, in {found.currency}; hatched: still open"
        blocks.append(_pair("loss", title, said.loss_alt(found, found.all), specs))
        most = max(frame.shown, key=lambda cohort: cohort.outcomes.missed_loss.value or 0.0)
        lead = joined(lead, said.worst(CohortOf(most, found.every, found.currency)))
    blocks.append(_table("loss", fixed("Fraud money as a table"), board, ("missed_loss", "caught_loss", "missed_bps")))
    blocks += _limit_note(board, "fraud_loss_bps", "value_recall")
    return ReportSection("lost", "What was lost, and what was caught?", lead, tuple(blocks))


def _limit_note(board: Dashboard, *names: str) -> list[Block]:
    return [Text(said.limit_reason(item), note=True) for item in board.limits if item.figure in names]


def _limits(board: Dashboard, *names: str) -> list[tuple[float, str]]:
    """Return the bounds of some figures as rules of a chart."""
    out = []
    for item in board.limits:
        tone = {"recall": "ink", "precision": "cool"}.get(item.figure, "warn")
        if FIGURES.get(item.figure) in names:
            out += [(value, tone) for value in (item.at_least, item.at_most) if value is not None]
    return out


def _quality(board: Dashboard, frame: drawn.TimeFrame) -> ReportSection:
    found = board.performance
    lines = (drawn.Line("recall", "recall", "ink"), drawn.Line("precision", "precision", "cool"))
    blocks: list[Block] = []
    if any(cohort.outcomes.recall.value is not None for cohort in frame.shown):
        limits = _limits(board, "recall", "precision")
        specs = {
            width: drawn.figures(frame, lines, share=True, limits=limits, width=width)
            for width in (charts.WIDE, charts.NARROW)
        }
        title = "Recall and precision; hollow: still open, grey: by the labels so far, dashed: limit"
        blocks.append(_pair("quality", title, said.quality_alt(found.all), specs))
    blocks.append(
        _table("quality", fixed("Recall and precision as a table"), board, ("recall", "precision", "value_recall"))
    )
    blocks += _limit_note(board, "recall", "precision", "savings")
    return ReportSection(
        "quality", "How much is caught, and how often rightly?", said.quality_lead(found.all), tuple(blocks)
    )


def _customers(board: Dashboard, frame: drawn.TimeFrame) -> ReportSection:
    found = board.performance
    actions = [item.action for item in found.cohorts[0].work]
    blocks: list[Block] = []
    if any(cohort.complete for cohort in found.cohorts):
        specs = {width: drawn.shares(frame, actions=actions, width=width) for width in (charts.HALF, charts.NARROW)}
        blocks.append(_pair("actions", "Share of events by action", said.customers_alt(found.all), specs, wide=False))
    if any(cohort.outcomes.false_positives_per_1000.value is not None for cohort in frame.shown):
        line = (drawn.Line("false_positives_per_1000", "false positives per 1,000 legitimate events", "warn"),)
        limits = _limits(board, "false_positives_per_1000")
        specs = {
            width: drawn.figures(frame, line, share=False, limits=limits, width=width, height=190)
            for width in (charts.HALF, charts.NARROW)
        }
        title = "False positives per 1,000 legitimate events"
        blocks.append(_pair("false-positives", title, said.customers_lead(found.all, found), specs, wide=False))
    names = ("false_positives", "false_positives_per_1000", "false_positive_cost")
    blocks.append(_table("customers", fixed("False positives as a table"), board, names))
    blocks.append(_actions(board))
    blocks += _limit_note(board, "false_positives_per_1000", "alerts_per_day")
    return ReportSection("customers", "Who was disturbed?", said.customers_lead(found.all, found), tuple(blocks))


def _actions(board: Dashboard) -> ReportTable:
    found = board.performance
    actions = [item.action for item in found.cohorts[0].work]
    columns = [TableColumn("From"), TableColumn("Events", "number"), TableColumn("Flagged", "number")]
    for action in actions:
        columns += [
            TableColumn(action, "number"), TableColumn(f"{action}: share", "number"),
            TableColumn(f"{action}: capacity", "number"),
        ]  # fmt: skip
    rows = []
    for cohort in found.cohorts:
        cells = [
            Cell(day(cohort.first_day), cohort.first_day.isoformat()), Cell(whole(cohort.events), cohort.events),
            Cell(whole(cohort.flagged), cohort.flagged),
        ]  # fmt: skip
        for item in cohort.work:
            places = Cell("–", "") if item.capacity is None else Cell(whole(item.capacity), item.capacity)
            cells += [Cell(whole(item.events), item.events), Cell(percent(item.share, 2), round(item.share, 9)), places]
        rows.append(tuple(cells))
    caption = fixed("Events and actions as a table")
    return ReportTable("actions-table", caption, tuple(columns), tuple(rows), folded=True, csv="actions.csv")


def _work(board: Dashboard, frame: drawn.TimeFrame) -> ReportSection:
    totals = _totals(board.performance)
    blocks: list[Block] = []
    for item in totals:
        if item.capacity is None:
            continue  # its share of events is drawn above
        specs = {
            width: drawn.workload(frame, action=item.action, width=width) for width in (charts.WIDE, charts.NARROW)
        }
        places = ", line: capacity, amber: all places of a day taken" if item.capacity else ""
        title = f"{item.action} by {item.every}{places}"
        blocks.append(_pair(f"work-{item.action}", title, said.work_alt(item), specs))
    return ReportSection("work", "How much work was it?", said.work_lead(totals), tuple(blocks))


def _totals(found: Performance) -> tuple[ActionTotal, ...]:
    """Return the work of all complete cohorts by action."""
    whole_ = [cohort for cohort in found.cohorts if cohort.complete] or list(found.cohorts)
    out = []
    for place, first in enumerate(whole_[0].work):
        work = [cohort.work[place] for cohort in whole_]
        capacity = None if first.capacity is None else sum(item.capacity or 0.0 for item in work)
        n_full = sum(item.days_full for item in work)
        out.append(
            ActionTotal(first.action, sum(item.events for item in work), capacity, n_full, len(work), found.every)
        )
    return tuple(out)


def _maturity(board: Dashboard, frame: drawn.TimeFrame, shown: ShownCohorts) -> ReportSection:
    specs = {width: drawn.maturity(frame, width=width) for width in (charts.WIDE, charts.NARROW)}
    chart = _pair("maturity", "Share of frauds that is expected to be known", said.maturity_alt(shown), specs)
    table = _table("maturity", fixed("Frauds and maturity as a table"), board, ("frauds", "fraud_rate"))
    lead = said.maturity_lead(shown, board.performance.delays)
    return ReportSection("maturity", f"Which {shown.every}s are still open?", lead, (chart, table))


def _groups(board: Dashboard) -> Iterator[ReportSection]:
    found = board.performance
    if not found.groups:
        return
    names = ("frauds", "missed_loss", "caught_loss", "recall", "precision", "false_positives_per_1000")
    columns = [TableColumn(str(found.by)), TableColumn("Events", "number"), TableColumn("Flagged", "number")]
    columns += [TableColumn(f"{WORDS[name]}{part}", "number") for name in names for part in ("", ": low", ": high")]
    rows = tuple(
        (
            Cell(group.name), Cell(whole(group.events), group.events),
            Cell(percent(group.flag_rate, 2), group.flag_rate), *_with_ends(group.outcomes, names, found.currency),
        )
        for group in found.groups
    )  # fmt: skip
    caption = said.groups_caption(found)
    table = ReportTable("groups-table", caption, tuple(columns), rows, csv="groups.csv")
    lead = said.groups_lead(found.groups, found)
    yield ReportSection("groups", f"Where? By {found.by}", lead, (table,))


def _with_ends(outcomes: OutcomeFigures, names: Sequence[str], currency: str) -> list[Cell]:
    out = []
    for name in names:
        item: LabelledFigure = getattr(outcomes, name)
        out += [_cell(name, value, currency) for value in (item.value, item.low, item.high)]
    return out


def _health(board: Dashboard) -> ReportSection:
    blocks: list[Block] = []
    if board.limits:
        columns = (
            TableColumn("Limit"), TableColumn("Bound"), TableColumn("Latest 28 days", "number"),
            TableColumn("Low", "number"), TableColumn("High", "number"), TableColumn("State"), TableColumn("Note"),
        )  # fmt: skip
        rows = tuple(_limit_row(item) for item in board.limits)
        blocks.append(ReportTable("limits", fixed("Limits of the project file"), columns, rows, csv="limits.csv"))
    blocks += [Text(said.health_reason(item)) for item in board.health]
    if not board.limits:
        blocks.append(Text(said.all_kept(board), note=True))
    blocks.append(Text(said.monitored_line(board)))
    if board.alarms:
        names = ("Alarm", "Tier", "First", "Last", "State", "What")
        rows = tuple(
            (
                Cell(item.id), Cell(item.tier), Cell(day(item.first), item.first.isoformat()),
                Cell(day(item.last), item.last.isoformat()),
                Cell("noted" if item.noted else "open" if item.current else "over"), Cell(item.what),
            )
            for item in board.alarms
        )  # fmt: skip
        heads = (TableColumn(names[0], "code"), *(TableColumn(name) for name in names[1:]))
        blocks.append(ReportTable("alarms", fixed("Alarms of fraudctl monitor"), heads, rows, csv="alarms.csv"))
    return ReportSection("health", "Why the light? Limits, data and alarms", said.health_lead(board), tuple(blocks))


def _limit_row(item: LimitVerdict) -> tuple[Cell, ...]:
    ends = [
        Cell("–", "") if value is None else Cell(said.figure_text(item.figure, value), round(value, 9))
        for value in (item.value, item.low, item.high)
    ]
    state = Cell(item.state, tone=STATES[item.state])
    note = item.reason or ("by the estimate alone" if item.estimate_alone else "")
    return (Cell(said.WORDS[item.figure]), Cell(said.bound(item)), *ends, state, Cell(note))


def _rhythm(board: Dashboard) -> ReportSection:
    items = board.rhythms
    columns = [TableColumn("What"), *(TableColumn(name[:3], "number") for name in said.WEEKDAYS)]
    columns += [TableColumn(name, "number") for name in ("Growth a week", "Low", "High")]
    rows = []
    for item in items:
        factors = [Cell("–", "") if factor is None else Cell(number(factor), factor) for factor in item.weekdays]
        trend = item.trend
        sizes = (None, None, None) if trend is None else (trend.per_week, trend.low, trend.high)
        growth = [Cell("–", "") if size is None else Cell(percent(size, 2), round(size, 9)) for size in sizes]
        rows.append((Cell(item.name), *factors, *growth))
    lead = joined(said.trend_lead(items), *(said.busiest(item) for item in items[:1]))
    caption = fixed(
        "Factor of each weekday (one is the mean of its week), and growth from week to week with its interval"
    )
    table = ReportTable("rhythm-table", caption, tuple(columns), tuple(rows), csv="rhythm.csv")
    return ReportSection("rhythm", "Weekdays and trend", lead, (table,) if rows else ())


def _versions(board: Dashboard) -> ReportSection:
    columns = (TableColumn("Model", "code"), TableColumn("From"), TableColumn("To"), TableColumn("Decisions", "number"))
    rows = tuple(
        (
            Cell(item.version), Cell(day(item.first.date()), item.first.isoformat()),
            Cell(day(item.last.date()), item.last.isoformat()), Cell(whole(item.events), item.events),
        )
        for item in board.models
    )  # fmt: skip
    blocks: list[Block] = [ReportTable("models", fixed("Models that decided"), columns, rows, csv="models.csv")]
    if board.marks:
        marks = tuple(
            (Cell(item.kind), Cell(item.name), Cell(day(item.start), item.start.isoformat()), Cell(day(item.until)))
            for item in board.marks
        )
        columns_ = (TableColumn("Mark"), TableColumn("Name"), TableColumn("From"), TableColumn("Until"))
        blocks.append(ReportTable("marks", fixed("Marks in the charts"), columns_, marks))
    if board.log:
        lines = tuple(
            (Cell(item.at[:16].replace("T", " ")), Cell(item.event), Cell(item.version), Cell(item.verdict or ""),
             Cell(item.reason))
            for item in board.log
        )  # fmt: skip
        names = (
            TableColumn("When"), TableColumn("What"), TableColumn("Model", "code"), TableColumn("Verdict"),
            TableColumn("Why"),
        )  # fmt: skip
        blocks.append(ReportTable("log", fixed("Log of models, newest first"), names, lines, folded=True))
    return ReportSection("versions", "Which models decided?", said.models_lead(board.models), tuple(blocks))


def _words() -> ReportSection:
    lead = fixed("Every figure of this page, in words.")
    return ReportSection("words", "What the words mean", lead, (Facts(DEFINITIONS),))
