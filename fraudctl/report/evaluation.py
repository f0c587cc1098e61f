"""An evaluation as a document: the verdict in plain words, then money, curves, segments, champion, gate.

Owns sentences and layout. Every figure is the evaluation's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fraudctl.data.categories import shown as category_text
from fraudctl.documents.results import as_object
from fraudctl.evaluate.result import CostSums, Evaluation, Period, RuleResult, SegmentOutcome, ThresholdCost
from fraudctl.report import charts
from fraudctl.report import evaluation_sentences as said
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
from fraudctl.report.evaluation_champion import champion_section
from fraudctl.report.evaluation_figures import (
    currency_of,
    estimate,
    figure,
    interval,
    say,
    segment_columns,
    segment_rows,
    words,
)
from fraudctl.report.facts import (
    Balance,
    ControlGroup,
    CurvePoints,
    EvaluationScope,
    Ids,
    ImmatureBounds,
    LossCurve,
    LowestRecall,
    Overlap,
    Point,
    RandomTest,
    Rate,
    SharedIds,
    Worst,
)
from fraudctl.split import RandomSplit
from fraudctl.text.figures import money, percent, period, whole
from fraudctl.text.sentences import Sentence, fixed
from fraudctl.text.wording import cost_words, policy_words
from fraudctl.uncertainty import Estimate

VERDICT_TONES: Final[dict[str, Tone]] = {
    "pass": "good",
    "fail": "bad",
    "inconclusive": "warn",
    "refused": "bad",
    "none": "muted",
}


def evaluation_document(evaluation: Evaluation, *, project: str = "") -> Document:
    """Lay out an evaluation."""
    e = evaluation
    verdict = None if e.gate.verdict == "none" else (e.gate.verdict, VERDICT_TONES[e.gate.verdict])
    sections = [
        _money_section(e),
        _metrics(e),
        _quality(e),
        _top_k(e),
        _days(e),
        _segments(e),
        _periods(e),
        *champion_section(e),
        _gate(e),
        _method(e),
    ]
    balance = _balance(e)
    return Document(
        title=said.headline(e.gate, balance),
        subtitle=(said.judged(_judged(e)), said.costs(cost_words(e.costs))),
        cards=_cards(e, balance),
        sections=tuple(section for section in sections if section is not None),
        kicker=f"{project} · evaluation" if project else "evaluation",
        verdict=verdict,
        findings=_findings(e),
        footer=f"fraudctl evaluate · model {e.model}",
    )


def _judged(e: Evaluation) -> EvaluationScope:
    when = e.when
    if isinstance(e.split, RandomSplit):
        when = f"Random split: a random {percent(e.split.test_share)} of the events"
    return EvaluationScope(e.rows, e.frauds, e.model, when, e.as_of, e.timezone)


def _balance(e: Evaluation) -> Balance | None:
    """Return the money behind savings with the base that it was measured against; None where it is not known."""
    sums = e.money.sums
    if sums is None:
        return None
    return Balance(
        e.money.currency,
        sums.cost,
        sums.baseline,
        sums.perfect_cost,
        sums.share_of_perfect,
        unlimited=sums.perfect_without_capacity,
    )


def _rate(name: str, e: Evaluation) -> Rate | None:
    item = e.metrics.get(name)
    return None if item is None or item.value is None else Rate(name, item, e.confidence)


def _findings(e: Evaluation) -> tuple[tuple[Sentence, Sentence, Tone], ...]:
    """Put the rules that did not pass first, where a reader looks."""
    open_rules = [rule for rule in e.gate.rules if rule.verdict != "pass"]
    ranked = sorted(open_rules, key=lambda rule: rule.verdict != "fail")[:4]
    return tuple((said.rule_head(rule), rule.reason, VERDICT_TONES[rule.verdict]) for rule in ranked)


def _cards(e: Evaluation, balance: Balance | None) -> tuple[Card, ...]:
    cards: list[Card] = []
    if balance is not None:
        tone: Tone = "good" if balance.saved > 0 else "bad" if balance.saved < 0 else "plain"
        cards.append(Card(money(balance.saved, balance.currency), said.saved(balance), tone))
        cards.append(Card(money(balance.cost, balance.currency), fixed("lost all the same"), "bad"))
    for name in ("recall", "precision"):
        rate = _rate(name, e)
        if rate is not None:
            cards.append(Card(percent(rate.estimate.value or 0.0), said.rate(rate)))
    return tuple(cards)


def _money_section(e: Evaluation) -> ReportSection:
    title = "What does it save?"
    balance, sums = _balance(e), e.money.sums
    if balance is None or sums is None:
        return ReportSection("money", title, fixed("Not known: the scores or the outcomes do not allow it."))
    lost = [(item.words[0].upper() + item.words[1:], item.cost) for item in sums.constants]
    lost += [("This model", balance.cost), (balance.perfect.capitalize(), balance.perfect_cost)]
    rows = tuple((Cell(name), Cell(money(value, balance.currency), round(value, 2))) for name, value in lost)
    columns = (TableColumn("Policy"), TableColumn("Lost", "number"))
    table = ReportTable("money-table", fixed("Money lost over the period"), columns, rows)
    blocks = (table, *_cost_chart(e, sums), *_actions(e, balance.currency))
    return ReportSection("money", title, said.saving(balance), blocks)


def _cost_chart(e: Evaluation, sums: CostSums) -> Iterator[Block]:
    currency = e.money.currency
    points = [row for row in e.tables.cost_curve if row.threshold > 0]
    if len(points) < 3:
        return
    best = min(points, key=lambda row: (row.cost, row.threshold))
    ceiling = best.cost + 4 * max(sums.baseline.cost - best.cost, abs(best.cost), 1e-9)
    shown = [row for row in points if row.cost <= ceiling]
    cheap = _plateau(points, best)
    rows = [{"x": row.threshold, "cost": row.cost} for row in sorted(shown, key=lambda row: row.threshold)]
    block = sums.block_action
    wide, narrow = (
        charts.lines(
            rows,
            x="x",
            series={"cost": ("one threshold", "ink")},
            x_axis={
                "type": "quantitative",
                "title": f"{block} from this probability up",
                "scale": {"type": "log", "nice": False},
                "axis": charts.ticks("number", 5 if width > charts.NARROW else 3),
            },
            y_axis={"type": "quantitative", "title": currency, "axis": charts.ticks("money")},
            marks={"lowest": best.threshold},
            band=(min(cheap), max(cheap)) if min(cheap) < max(cheap) else None,
            width=width,
        )
        for width in (charts.WIDE, charts.NARROW)
    )
    curve = LossCurve(currency, len(points), best.threshold, best.cost, min(cheap), max(cheap), sums.cost)
    yield Chart("cost-curve", said.loss_title(curve), wide, said.loss_curve(curve), narrow=narrow)


def _plateau(points: list[ThresholdCost], best: ThresholdCost) -> list[float]:
    """Return the lowest and the highest threshold around the best between which all cost at most 1 % more."""
    ranked = sorted(points, key=lambda row: row.threshold)
    at = ranked.index(best)
    limit = best.cost + 0.01 * abs(best.cost)
    low = high = at
    while low > 0 and ranked[low - 1].cost <= limit:
        low -= 1
    while high < len(ranked) - 1 and ranked[high + 1].cost <= limit:
        high += 1
    return [ranked[low].threshold, ranked[high].threshold]


def _actions(e: Evaluation, currency: str) -> Iterator[Block]:
    if not e.by_action:
        return
    rows = tuple(
        (
            Cell(name),
            Cell(whole(item.events), item.events),
            Cell(whole(item.frauds), item.frauds),
            estimate("precision", item.precision),
            estimate("recall", item.recall),
            Cell(money(item.cost, currency), round(item.cost, 2)),
        )
        for name, item in e.by_action.items()
    )
    columns = (
        TableColumn("Action"),
        TableColumn("Events", "number"),
        TableColumn("Frauds", "number"),
        TableColumn("Fraud among them", "number"),
        TableColumn("Share of all frauds", "number"),
        TableColumn("Lost", "number"),
    )
    yield ReportTable("actions", said.at_confidence("By action", _confidence(e)), columns, rows)


def _confidence(e: Evaluation) -> Rate:
    return Rate("confidence", Estimate(None), e.confidence)


def _metrics(e: Evaluation) -> ReportSection:
    rows = tuple(
        (
            Cell(name),
            Cell(_meaning(name, item)),
            figure(name, item.value, e),
            interval(name, item, e),
            Cell(item.reason or ""),
        )
        for name, item in e.metrics.items()
    )
    columns = (
        TableColumn("Metric", "code"),
        TableColumn("What it is"),
        TableColumn("Value", "number"),
        TableColumn(f"{percent(e.confidence)} interval", "number"),
        TableColumn("Note"),
    )
    rate = _rate("recall", e)
    lead = fixed("Every figure with its uncertainty.") if rate is None else said.recall_lead(rate)
    table = ReportTable("metrics-table", fixed("Metrics"), columns, rows, tools=True)
    return ReportSection("metrics", "How good is it?", lead, (table,))


def _quality(e: Evaluation) -> ReportSection | None:
    blocks: list[Block] = []
    curve, bins = e.tables.pr_curve, e.tables.reliability
    recall, precision = _rate("recall", e), _rate("precision", e)
    if len(curve) > 1:
        here = None
        if recall is not None and precision is not None:
            here = Point(recall.estimate.value or 0.0, precision.estimate.value or 0.0)
        point = None if here is None else (here.x, here.y, "this policy")
        data = [as_object(row) for row in curve]
        spec = charts.curve(data, x="recall", y="precision", x_title="recall", y_title="precision", point=point)
        points = tuple(Point(row.recall, row.precision) for row in curve)
        alt = said.precision_recall(CurvePoints(points, here))
        blocks.append(Chart("precision-recall", "Precision against recall", spec, alt, wide=False))
    rows = [row for row in bins if row.mean_prob > 0 and row.fraud_rate > 0]
    if len(rows) > 1:
        data = [{"mean": row.mean_prob, "rate": row.fraud_rate} for row in rows]
        spec = charts.curve(
            data, x="mean", y="rate", x_title="predicted probability", y_title="observed share of fraud", diagonal=True,
            dots=True, log=True,
        )  # fmt: skip
        alt = said.reliability(CurvePoints(tuple(Point(row.mean_prob, row.fraud_rate) for row in rows), None))
        blocks.append(
            Chart("reliability", "Are the probabilities true? (both axes logarithmic)", spec, alt, wide=False)
        )
    if not blocks:
        return None
    ece = _rate("ece", e)
    lead = fixed("How precision falls as more fraud is caught, and whether probabilities mean what they say.")
    if ece is not None:
        lead = said.off(ece)
    return ReportSection("quality", "Are its scores right?", lead, tuple(blocks))


def _top_k(e: Evaluation) -> ReportSection | None:
    """Show what a team finds that looks at the K riskiest a day."""
    rows = e.tables.at_k
    if not rows:
        return None
    body = tuple(
        (
            Cell(row.subject),
            Cell(whole(row.k), row.k),
            _of_ties(row.precision, row.lowest, row.highest),
            _of_ties(row.recall, row.recall_lowest, row.recall_highest),
        )
        for row in rows
    )
    columns = (
        TableColumn("Looked at"),
        TableColumn("A day", "number"),
        TableColumn("Fraud among them", "number"),
        TableColumn("Share of all that could be found", "number"),
    )
    lead = fixed("The riskiest of each day; where scores tie at the cut, the mean over their orders and its range.")
    table = ReportTable("top-k", fixed("Review queues of a fixed length a day"), columns, body, tools=True)
    return ReportSection("top-k", "What does a team find that looks at the riskiest?", lead, (table,))


def _of_ties(mean: float | None, low: float | None, high: float | None) -> Cell:
    """Return the mean over the orders of tied scores, with its range where the order matters."""
    if mean is None or low is None or high is None:
        return Cell("–", "")
    text = percent(mean, 1)
    if round(high - low, 9) == 0:
        return Cell(text, round(mean, 9))
    return Cell("", round(mean, 9), lines=(text, f"{percent(low, 1)} to {percent(high, 1)}"))


def _days(e: Evaluation) -> ReportSection | None:
    days, sums = e.tables.by_day, e.money.sums
    if len(days) < 2 or sums is None:
        return None
    currency, base = e.money.currency, sums.baseline.words
    rows = [
        {"day": row.day.isoformat(), "kind": kind, "value": value}
        for row in days
        for kind, value in (("cost", row.cost), ("saved", max(row.baseline_cost - row.cost, 0.0)))
    ]
    spec = charts.stacked_days(
        rows, series={"cost": ("lost", "bad"), "saved": (f"saved against {base}", "good")}, title=currency
    )
    most = max(row.cost for row in days)
    worst = tuple(row.day for row in days if row.cost == most)
    bad = sum(row.cost > row.baseline_cost for row in days)
    lead = said.worst_days(Worst("day", len(days), worst, most, bad, sums.baseline), currency)
    table = ReportTable(
        "days-table",
        fixed("By local day"),
        (
            TableColumn("Day"),
            TableColumn("Events", "number"),
            TableColumn("Frauds", "number"),
            TableColumn("Alerts", "number"),
            TableColumn("Caught", "number"),
            TableColumn("Lost", "number"),
            TableColumn(f"Lost by “{base}”", "number"),
        ),
        tuple(
            (
                Cell(row.day.isoformat()),
                *(Cell(whole(count), count) for count in (row.events, row.frauds, row.alerts, row.caught)),
                *(Cell(money(lost, currency), round(lost, 2)) for lost in (row.cost, row.baseline_cost)),
            )
            for row in days
        ),
        tools=True,
    )
    return ReportSection("days", "Does it hold day by day?", lead, (Chart("by-day", "Money by day", spec, lead), table))


def _periods(e: Evaluation) -> ReportSection | None:
    """Show the periods that were pooled, each by itself."""
    parts = e.tables.pooled
    if not parts:
        return None
    rows = tuple(
        (
            Cell(_local(part.period, e), part.period.from_time.isoformat()),
            Cell("refitted" if part.refitted else "itself"),
            Cell(whole(part.rows), part.rows),
            Cell(whole(part.frauds), part.frauds),
            figure("savings", part.savings, e),
            figure("savings", part.savings_of_champion, e),
            Cell(part.savings_base.words),
        )
        for part in parts
    )
    columns = (
        TableColumn("Period"), TableColumn("Model"), TableColumn("Events", "number"), TableColumn("Frauds", "number"),
        TableColumn("Saved", "number"), TableColumn("By the champion", "number"), TableColumn("Against"),
    )  # fmt: skip
    lead = said.pooled(tuple(part.period for part in parts))
    table = ReportTable(
        "periods",
        fixed("The share of the cheapest constant action's cost that is saved, period by period"),
        columns,
        rows,
    )
    return ReportSection("periods", "Does it hold in earlier periods?", lead, (table,))


def _local(when: Period, e: Evaluation) -> str:
    return period(when.from_time, when.until, e.timezone)


_SEGMENT_METRICS: Final = ("recall", "precision", "false_positive_rate", "savings")


def _segments(e: Evaluation) -> ReportSection | None:
    """Show the segments that the project names, each with its intervals."""
    by_column = e.tables.by_segment
    tables = [_segment_table(column, rows, e) for column, rows in by_column.items() if rows]
    if not tables:
        return None
    recalls = [
        (recall.value, f"{column} {category_text(row.category)}")
        for column, rows in by_column.items()
        for row in rows
        if (recall := row.metrics.get("recall")) is not None and recall.value is not None
    ]
    lead = fixed("Each segment by itself.")
    if recalls:
        least = min(value for value, _ in recalls)
        names = tuple(name for value, name in recalls if value == least)
        lead = said.lowest_recall(LowestRecall(names, least, len(recalls)))
    return ReportSection("segments", "Does it hold for every segment?", lead, tuple(tables))


def _segment_table(column: str, rows: tuple[SegmentOutcome, ...], e: Evaluation) -> ReportTable:
    shown = [name for name in _SEGMENT_METRICS if any(name in row.metrics for row in rows)]
    columns, body = segment_columns(column, shown), segment_rows(rows, shown, e)
    caption = said.at_confidence(f"By {column}", _confidence(e))
    return ReportTable(f"segments-{column}", caption, columns, body, tools=True)


def _gate(e: Evaluation) -> ReportSection:
    title = "What does the gate say?"
    gate = e.gate
    if gate.verdict == "none":
        return ReportSection(
            "gate", title, fixed("There is no [gate] in the project: nothing was asked of this model.")
        )
    columns = (
        TableColumn("Rule", "code"),
        TableColumn("Verdict"),
        TableColumn("Figure", "number"),
        TableColumn("Interval", "number"),
        TableColumn("Must be"),
        TableColumn("Why"),
    )
    rows = tuple(_rule_row(rule, e) for rule in gate.rules)
    blocks: list[Block] = [
        ReportTable("gate-rules", fixed("Rules compare an end of the interval, never the point"), columns, rows)
    ]
    blocks += [Text(said.gate_note(text)) for text in gate.warnings]
    if gate.hint:
        blocks.append(Text(said.gate_note(gate.hint)))
    if gate.control is not None:
        blocks.append(Text(said.control(gate), note=True))
    return ReportSection("gate", title, said.gate_lead(gate), tuple(blocks))


def _rule_row(rule: RuleResult, e: Evaluation) -> tuple[Cell, ...]:
    item = rule.estimate
    sign = "≥" if rule.direction == "at_least" else "≤"
    return (
        Cell(rule.name),
        Cell(rule.verdict, tone=VERDICT_TONES[rule.verdict]),
        figure(rule.metric, item.value, e),
        interval(rule.metric, item, e),
        Cell(f"{sign} {say(rule.metric, rule.bound, currency_of(e))}"),
        Cell(rule.reason),
    )


def _method(e: Evaluation) -> ReportSection:
    ids = tuple(Ids(name, n) for name, n in e.clusters.items())
    base = None if e.money.sums is None else e.money.sums.baseline
    facts = [
        Fact("Rows", _rows_fact(e)),
        Fact("Left out", said.left_out(e.excluded)),
        Fact("Known world", _known_fact(e)),
        Fact("Policy", said.policy(policy_words(e.policy))),
        Fact("Alert", fixed("Any action but allow. Precision, recall and rates refer to alerts.")),
        Fact("Intervals", said.clustered(ids, e.widened_for, e.not_clustered, _confidence(e))),
        Fact("Savings", said.savings_rule(base)),
        Fact("Limits", fixed("One period of one portfolio. Costs are those of the project file; fraud that was never "
            "labelled is not in it.")),
    ]  # fmt: skip
    facts += [Fact("Overlap", text) for text in _overlap(e)]
    facts += [Fact("Immature", text) for text in _immature(e)]
    facts += [Fact("Control group", text) for text in _control_group(e)]
    facts += [Fact("Warning", said.gate_note(text)) for text in e.warnings]
    lead = fixed("What was counted, and what it cannot say.")
    return ReportSection("method", "Method and limits", lead, (Facts(tuple(facts)),))


def _meaning(name: str, item: Estimate) -> str:
    return words(name) if item.base is None else f"{words(name)} (here “{item.base.words}”)"


def _rows_fact(e: Evaluation) -> Sentence:
    if isinstance(e.split, RandomSplit) or e.period is None:
        share, seed = (e.split.test_share, e.split.seed) if isinstance(e.split, RandomSplit) else (1.0, 0)
        return said.rows_by_chance(RandomTest(e.rows, share, seed))
    return said.rows_timed(_judged(e), e.period)


def _known_fact(e: Evaluation) -> Sentence:
    if isinstance(e.split, RandomSplit):
        return fixed(
            "The split is random, because the data have no time: what came later may have taught the model about what "
            "came before, and nothing here says how it will do in the future."
        )
    return said.known_at(_judged(e))


def _overlap(e: Evaluation) -> Iterator[Sentence]:
    shared = e.tables.overlap
    if shared is None:
        return
    yield said.overlap(Overlap(shared.events, shared.gap_days))
    if shared.relabelled is not None:
        yield said.relabelled(shared.relabelled)
    for name, item in shared.entities.items():
        share = item.share_of_events or 0.0
        yield said.shared_ids(SharedIds(name, item.seen, item.ids, share, item.share_of_frauds))


def _immature(e: Evaluation) -> Iterator[Sentence]:
    bounds = e.tables.immature
    if bounds is None:
        return
    legit, fraud = bounds.all_legit, bounds.all_fraud
    if legit.savings is not None and fraud.savings is not None:
        bases = [item.savings_base.words for item in (legit, fraud)]
        yield said.immature(ImmatureBounds(legit.savings, bases[0], fraud.savings, bases[1]))


def _control_group(e: Evaluation) -> Iterator[Sentence]:
    group = e.tables.control_group
    if group is None:
        return
    yield said.control_group(ControlGroup(group.rows, group.frauds))
    for name in ("average_precision", "recall", "savings"):
        yield said.alone(Rate(name, group.metrics[name], e.confidence), currency_of(e))
