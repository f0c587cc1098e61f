"""An evaluation as a document: the verdict in plain words, then money, curves, segments, champion, gate.

Owns sentences and layout. Every figure is the evaluation's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from fraudctl.categories import from_json
from fraudctl.categories import shown as category_text
from fraudctl.costs import CostMatrix
from fraudctl.evaluate.result import Evaluation, RuleResult
from fraudctl.explain.wording import cost_words, policy_words
from fraudctl.figures import count, day, money, number, percent, period
from fraudctl.policy import Policy
from fraudctl.report import charts
from fraudctl.report.document import (
    Block,
    Card,
    Cell,
    Chart,
    Column,
    Document,
    Fact,
    Facts,
    Section,
    Table,
    Text,
    Tone,
)  # fmt: skip
from fraudctl.report.evaluation_beside import champion_section
from fraudctl.report.evaluation_figures import METRIC_WORDS, estimate, figure, interval, say, with_interval, words
from fraudctl.uncertainty import Estimate

VERDICT_TONES: Final[dict[str, Tone]] = {
    "pass": "good", "fail": "bad", "inconclusive": "warn", "refused": "bad", "none": "muted",
}  # fmt: skip


def evaluation_document(evaluation: Evaluation, *, project: str = "") -> Document:
    """Lay out an evaluation."""
    e = evaluation
    matrix = CostMatrix.from_dict(e.costs)
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
    return Document(
        title=_headline(e),
        subtitle=(
            (f"{_when(e)} · {count(e.rows, 'event')} · {count(e.frauds, 'fraud')} · model {e.model}, {_known(e)}"),
            f"Costs: {'; '.join(cost_words(matrix))}.",
        ),
        cards=_cards(e),
        sections=tuple(section for section in sections if section is not None),
        kicker=f"{project} · evaluation" if project else "evaluation",
        verdict=verdict,
        findings=_findings(e),
        footer=f"fraudctl evaluate · model {e.model}",
    )


def _when(e: Evaluation) -> str:
    if e.by_chance is not None:
        return f"Random split: a random {percent(e.by_chance.test_share)} of the events"
    return e.when


def _known(e: Evaluation) -> str:
    if e.by_chance is not None:
        return "trained on the others"
    return f"trained on what was known on {day(e.as_of.astimezone(ZoneInfo(e.timezone)))}"


def _findings(e: Evaluation) -> tuple[tuple[str, str, Tone], ...]:
    """Put the rules that did not pass first, where a reader looks."""
    open_rules = [rule for rule in e.gate.rules if rule.verdict != "pass"]
    ranked = sorted(open_rules, key=lambda rule: rule.verdict != "fail")[:4]
    return tuple((f"{rule.name}: {rule.verdict}.", rule.reason, VERDICT_TONES[rule.verdict]) for rule in ranked)


def _headline(e: Evaluation) -> str:
    may = {
        "pass": "This model may ship: ",
        "fail": "This model must not ship: ",
        "inconclusive": "It is not settled whether this model may ship: ",
        "refused": "The gate cannot judge this model: ",
        "none": "",
    }[e.gate.verdict]
    saved = e.money.get("saved")
    if saved is None:
        return f"{may}its figures are not known" if may else "The figures of this model are not known"
    base, words = float(e.money["baseline"]["cost"]), e.money["baseline"]["words"]
    share = f" ({percent(saved / base)} of what “{words}” would cost)" if base > 0 else ""
    amount = money(abs(saved), e.money["currency"])
    text = f"it saves {amount}{share}" if saved >= 0 else f"it costs {amount} more than “{words}” would"
    return may + text if may else text[0].upper() + text[1:]


def _cards(e: Evaluation) -> tuple[Card, ...]:
    cards: list[Card] = []
    if "saved" in e.money:
        currency = str(e.money["currency"])
        base = e.money["baseline"]
        tone: Tone = "good" if e.money["saved"] >= 0 else "bad"
        text = f"saved against {base['words']} ({money(base['cost'], currency)})"
        cards.append(Card(money(e.money["saved"], currency), text, tone))
        cards.append(Card(money(e.money["cost"], currency), "lost all the same", "bad"))
    for name, told in (("recall", "of frauds are alerted"), ("precision", "of alerts are fraud")):
        item = e.metrics.get(name)
        if item is not None and item.value is not None:
            cards.append(Card(percent(item.value), told + _between(item)))
    return tuple(cards)


def _between(item: Estimate) -> str:
    return "" if item.low is None or item.high is None else f" ({percent(item.low)} to {percent(item.high)})"


def _money_section(e: Evaluation) -> Section:
    title = "What does it save?"
    if "saved" not in e.money:
        return Section("money", title, "Not known: the scores or the outcomes do not allow it.")
    currency = str(e.money["currency"])
    perfect = e.money.get("share_of_perfect")
    of_perfect = f", {percent(perfect)} of what a perfect model would save" if perfect is not None else ""
    base = e.money["baseline"]["words"]
    saved = float(e.money["saved"])
    lead = f"{money(saved, currency)} against “{base}”, the cheapest constant action{of_perfect}."
    if saved < 0:
        lead = f"Nothing: it costs {money(-saved, currency)} more than “{base}”, the cheapest constant action."
    lost = [(item["words"][0].upper() + item["words"][1:], item["cost"]) for item in e.money["constants"]]
    lost += [("This model", e.money["cost"]), ("A perfect model", e.money["perfect_cost"])]
    rows = tuple((Cell(name), Cell(money(value, currency), round(value, 2))) for name, value in lost)
    table = Table("money-table", "Money lost over the period", (Column("Policy"), Column("Lost", "number")), rows)
    return Section("money", title, lead, (table, *_cost_chart(e, currency), *_actions(e, currency)))


def _cost_chart(e: Evaluation, currency: str) -> Iterator[Block]:
    points = [row for row in e.tables.get("cost_curve", []) if row["threshold"] > 0]
    if len(points) < 3:
        return
    best = min(points, key=lambda row: row["cost"])
    ceiling = best["cost"] + 4 * max(e.money["baseline"]["cost"] - best["cost"], abs(best["cost"]), 1e-9)
    shown = [row for row in points if row["cost"] <= ceiling]
    cheap = _plateau(points, best)
    rows = [{"x": row["threshold"], "cost": row["cost"]} for row in sorted(shown, key=lambda row: row["threshold"])]
    block = str(e.money["block_action"])
    spec = charts.lines(
        rows,
        x="x",
        series={"cost": ("one line", "ink")},
        x_axis={
            "type": "quantitative",
            "title": f"{block} from this probability up",
            "scale": {"type": "log", "nice": False},
            "axis": charts.ticks("number"),
        },
        y_axis={"type": "quantitative", "title": currency, "axis": charts.ticks("money")},
        marks={"lowest": best["threshold"]},
        band=(min(cheap), max(cheap)),
    )
    alt = (
        f"Money lost by one threshold. Lowest {money(best['cost'], currency)} at probability "
        f"{number(best['threshold'])}; "
        f"within 1 % from {number(min(cheap))} to {number(max(cheap))}. The policy in use loses "
        f"{money(e.money['cost'], currency)}."
    )
    yield Chart("cost-curve", "Money lost if one line decided; shaded: within 1 % of the lowest", spec, alt)


def _plateau(points: list[dict[str, float]], best: dict[str, float]) -> list[float]:
    """Give the thresholds next to the best that cost at most 1 % more."""
    ranked = sorted(points, key=lambda row: row["threshold"])
    at = ranked.index(best)
    limit = best["cost"] + 0.01 * abs(best["cost"])
    low = high = at
    while low > 0 and ranked[low - 1]["cost"] <= limit:
        low -= 1
    while high < len(ranked) - 1 and ranked[high + 1]["cost"] <= limit:
        high += 1
    return [ranked[low]["threshold"], ranked[high]["threshold"]]


def _actions(e: Evaluation, currency: str) -> Iterator[Block]:
    if not e.by_action:
        return
    rows = tuple(
        (
            Cell(name), Cell(f"{item['events']:,}", item["events"]), Cell(f"{item['frauds']:,}", item["frauds"]),
            estimate("precision", item["precision"]), estimate("recall", item["recall"]),
            Cell(money(item["cost"], currency), round(item["cost"], 2)),
        )
        for name, item in e.by_action.items()
    )  # fmt: skip
    columns = (
        Column("Action"), Column("Events", "number"), Column("Frauds", "number"), Column("Fraud among them", "number"),
        Column("Share of all frauds", "number"), Column("Lost", "number"),
    )  # fmt: skip
    yield Table("actions", f"By action; intervals at {percent(e.confidence)}", columns, rows)


def _metrics(e: Evaluation) -> Section:
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
        Column("Metric", "code"), Column("What it is"), Column("Value", "number"),
        Column(f"{percent(e.confidence)} interval", "number"), Column("Note"),
    )  # fmt: skip
    item = e.metrics.get("recall")
    lead = "Every figure with its uncertainty."
    if item is not None and item.value is not None:
        lead = f"It alerts on {percent(item.value)} of the frauds{_between(item)}."
    return Section("metrics", "How good is it?", lead, (Table("metrics-table", "Metrics", columns, rows, tools=True),))


def _quality(e: Evaluation) -> Section | None:
    blocks: list[Block] = []
    curve, bins = e.tables.get("pr_curve") or [], e.tables.get("reliability") or []
    recall, precision = e.metrics.get("recall"), e.metrics.get("precision")
    if len(curve) > 1:
        known = (
            recall is not None and precision is not None and recall.value is not None and precision.value is not None
        )
        point = (recall.value, precision.value, "this policy") if known and recall and precision else None
        spec = charts.curve(curve, x="recall", y="precision", x_title="recall", y_title="precision", point=point)  # type: ignore[arg-type]
        now = f" This policy: {percent(precision.value)} at {percent(recall.value)}." if known else ""  # type: ignore[union-attr, arg-type]
        alt = f"Precision against recall at all thresholds, from {percent(curve[0]['precision'])} at the highest.{now}"
        blocks.append(Chart("precision-recall", "Precision against recall", spec, alt, wide=False))
    rows = [row for row in bins if row["mean_prob"] > 0 and row["fraud_rate"] > 0]
    if len(rows) > 1:
        data = [{"mean": row["mean_prob"], "rate": row["fraud_rate"]} for row in rows]
        spec = charts.curve(
            data, x="mean", y="rate", x_title="predicted probability", y_title="observed share of fraud", diagonal=True,
            dots=True, log=True,
        )  # fmt: skip
        alt = "Observed share of fraud against predicted probability: " + "; ".join(
            f"{number(row['mean_prob'])} → {number(row['fraud_rate'])}" for row in rows
        )
        blocks.append(
            Chart("reliability", "Are the probabilities true? (both axes logarithmic)", spec, alt, wide=False)
        )
    if not blocks:
        return None
    ece = e.metrics.get("ece")
    lead = "How precision falls as more fraud is caught, and whether probabilities mean what they say."
    if ece is not None and ece.value is not None:
        lead = f"Probabilities are off by {percent(ece.value, 2)} on average; the diagonal is perfect."
    return Section("quality", "Are its scores right?", lead, tuple(blocks))


def _top_k(e: Evaluation) -> Section | None:
    """Show what a team finds that looks at the K riskiest a day."""
    rows = e.tables.get("at_k") or []
    if not rows:
        return None
    body = tuple(
        (Cell(str(row["of"])), Cell(f"{row['k']:,}", row["k"]), *(_of_ties(row, *keys) for keys in _TIED))
        for row in rows
    )
    columns = (
        Column("Looked at"), Column("A day", "number"), Column("Fraud among them", "number"),
        Column("Share of all that could be found", "number"),
    )  # fmt: skip
    lead = "The riskiest of each day; where scores tie at the cut, the mean over their orders and its range."
    table = Table("top-k", "Who looks at so many a day", columns, body, tools=True)
    return Section("top-k", "What does a team find that looks at the riskiest?", lead, (table,))


_TIED: Final = (("precision", "lowest", "highest"), ("recall", "recall_lowest", "recall_highest"))


def _of_ties(row: Mapping[str, Any], name: str, low: str, high: str) -> Cell:
    if row[name] is None:
        return Cell("–", "")
    text = percent(row[name], 1)
    if round(row[high] - row[low], 9) == 0:
        return Cell(text, round(row[name], 9))
    return Cell("", round(row[name], 9), lines=(text, f"{percent(row[low], 1)} to {percent(row[high], 1)}"))


def _days(e: Evaluation) -> Section | None:
    days = e.tables.get("by_day") or []
    if len(days) < 2 or "currency" not in e.money:
        return None
    currency = str(e.money["currency"])
    base = e.money["baseline"]["words"]
    rows = [
        {"day": row["day"], "kind": kind, "value": value}
        for row in days
        for kind, value in (("cost", row["cost"]), ("saved", max(row["baseline_cost"] - row["cost"], 0.0)))
    ]
    spec = charts.stacked_days(
        rows, series={"cost": ("lost", "bad"), "saved": (f"saved against {base}", "good")}, title=currency
    )
    worst = max(days, key=lambda row: row["cost"])
    bad = sum(row["cost"] > row["baseline_cost"] for row in days)
    lead = f"The worst day is {worst['day']} with {money(worst['cost'], currency)} lost."
    lead += f" On {count(bad, 'day')} of {len(days)} the model cost more than “{base}”." if bad else ""
    table = Table(
        "days-table", "By local day",
        (Column("Day"), Column("Events", "number"), Column("Frauds", "number"), Column("Alerts", "number"),
         Column("Caught", "number"), Column("Lost", "number"), Column(f"Lost by “{base}”", "number")),
        tuple(
            (Cell(row["day"]), *(Cell(f"{row[key]:,}", row[key]) for key in ("events", "frauds", "alerts", "caught")),
             *(Cell(money(row[key], currency), round(row[key], 2)) for key in ("cost", "baseline_cost")))
            for row in days
        ),
        tools=True,
    )  # fmt: skip
    return Section("days", "Does it hold day by day?", lead, (Chart("by-day", "Money by day", spec, lead), table))


def _periods(e: Evaluation) -> Section | None:
    """Show the periods that were pooled, each by itself."""
    parts = e.tables.get("pooled") or []
    if not parts:
        return None
    rows = tuple(
        (
            Cell(_part_period(part, e), part["from"]), Cell("refitted" if part["refitted"] else "itself"),
            Cell(f"{part['rows']:,}", part["rows"]), Cell(f"{part['frauds']:,}", part["frauds"]),
            figure("savings", part["savings"], e), figure("savings", part["savings_of_champion"], e),
            Cell(part["savings_base"]["words"]),
        )
        for part in parts
    )  # fmt: skip
    columns = (
        Column("Period"), Column("Model"), Column("Events", "number"), Column("Frauds", "number"),
        Column("Saved", "number"), Column("By the champion", "number"), Column("Against"),
    )  # fmt: skip
    lead = (
        f"{len(parts)} periods are judged together. For all but the last, model and champion were refitted on what was "
        "known before the period, with the settings that they have; the settings themselves were searched later."
    )
    table = Table(
        "periods", "The share of the cheapest constant action's cost that is saved, period by period", columns, rows
    )
    return Section("periods", "Does it hold in earlier periods?", lead, (table,))


def _part_period(part: Mapping[str, Any], e: Evaluation) -> str:
    return period(datetime.fromisoformat(part["from"]), datetime.fromisoformat(part["until"]), e.timezone)


_SEGMENT_METRICS: Final = ("recall", "precision", "false_positive_rate", "savings")


def _segments(e: Evaluation) -> Section | None:
    """Show the segments that the project names, each with its intervals."""
    by_column = e.tables.get("by_segment") or {}
    tables = [_segment_table(column, rows, e) for column, rows in by_column.items() if rows]
    if not tables:
        return None
    recalls = [
        (row["metrics"]["recall"]["value"], f"{column} {category_text(from_json(row))}")
        for column, rows in by_column.items()
        for row in rows
        if row["metrics"].get("recall", {}).get("value") is not None
    ]
    lead = "Each segment by itself."
    if recalls:
        value, name = min(recalls)
        lead = f"Recall is lowest for {name}: {percent(value)} of its frauds are alerted."
    return Section("segments", "Does it hold for every segment?", lead, tuple(tables))


def _segment_table(column: str, rows: list[dict[str, Any]], e: Evaluation) -> Table:
    shown = [name for name in _SEGMENT_METRICS if any(name in row["metrics"] for row in rows)]
    columns = (
        Column(column), Column("Events", "number"), Column("Frauds", "number"),
        *(Column(METRIC_WORDS[name], "number") for name in shown),
    )  # fmt: skip
    body = tuple(
        (
            Cell(category_text(from_json(row))),
            Cell(f"{row['events']:,}", row["events"]),
            Cell(f"{row['frauds']:,}", row["frauds"]),
            *(with_interval(name, row["metrics"].get(name, {}), e) for name in shown),
        )
        for row in rows
    )
    return Table(f"segments-{column}", f"By {column}; intervals at {percent(e.confidence)}", columns, body, tools=True)


def _gate(e: Evaluation) -> Section:
    title = "What does the gate say?"
    gate = e.gate
    if gate.verdict == "none":
        return Section("gate", title, "There is no [gate] in the project: nothing was asked of this model.")
    columns = (
        Column("Rule", "code"), Column("Verdict"), Column("Figure", "number"), Column("Interval", "number"),
        Column("Must be"), Column("Why"),
    )  # fmt: skip
    rows = tuple(_rule_row(rule, e) for rule in gate.rules)
    blocks: list[Block] = [Table("gate-rules", "Rules compare an end of the interval, never the point", columns, rows)]
    blocks += [Text(text) for text in gate.warnings]
    if gate.hint:
        blocks.append(Text(gate.hint))
    if gate.control is not None:
        told = (
            "pass, so these rules cannot tell a model from noise"
            if gate.control == "pass"
            else "do not pass, as they should"
        )
        blocks.append(Text(f"Negative control: shuffled scores {told}.", note=True))
    lead = gate.reason or f"The verdict is {gate.verdict}."
    return Section("gate", title, lead[0].upper() + lead[1:], tuple(blocks))


def _rule_row(rule: RuleResult, e: Evaluation) -> tuple[Cell, ...]:
    item = rule.estimate
    sign = "≥" if rule.direction == "at_least" else "≤"
    settle = f" About {rule.frauds_to_settle:,} frauds would settle it." if rule.frauds_to_settle else ""
    return (
        Cell(rule.name), Cell(rule.verdict, tone=VERDICT_TONES[rule.verdict]), figure(rule.metric, item.value, e),
        interval(rule.metric, item, e), Cell(f"{sign} {say(rule.metric, rule.bound, e)}"), Cell(rule.reason + settle),
    )  # fmt: skip


def _method(e: Evaluation) -> Section:
    out = e.excluded
    facts = [
        Fact("Rows", _rows_fact(e)),
        Fact("Left out", (f"{out.immature:,} immature, {out.unlabelled:,} unlabelled, {out.block_known:,} of "
            f"entities already known to be defrauded, {out.duplicates:,} duplicates. None of them is scored as "
            f"legitimate.")),
        Fact("Known world", _known_fact(e)),
        Fact("Policy", " ".join(policy_words(Policy.from_dict(e.policy)))),
        Fact("Alert", "Any action but allow. Precision, recall and rates refer to alerts."),
        Fact("Intervals", (f"{percent(e.confidence)}, two-sided, by entity: events of one card or merchant stand "
            f"and fall together. ") + "; ".join(f"{n:,} {name} ids with "
            f"fraud" for name, n in e.clusters.items()) + "."),
        Fact("Savings", _savings_fact(e)),
        Fact("Limits", ("One period of one portfolio. Costs are those of the project file; fraud that was never "
            "labelled is not in it.")),
    ]  # fmt: skip
    facts += [Fact("Overlap", text) for text in _overlap(e)]
    facts += [Fact("Immature", text) for text in _immature(e)]
    facts += [Fact("Control group", text) for text in _control_group(e)]
    facts += [Fact("Warning", text) for text in e.warnings]
    return Section("method", "Method and limits", "What was counted, and what it cannot say.", (Facts(tuple(facts)),))


def _meaning(name: str, item: Estimate) -> str:
    return words(name) if item.base is None else f"{words(name)} (here “{item.base.words}”)"


def _savings_fact(e: Evaluation) -> str:
    rule = (
        "1 - cost / cost of the cheapest constant action: each action taken for all events, as far as its capacity "
        "reaches. A model that only equals it saves nothing; each segment has its own."
    )
    return f"{rule} On these events it is “{e.money['baseline']['words']}”." if "baseline" in e.money else rule


def _rows_fact(e: Evaluation) -> str:
    if e.by_chance is not None:
        share, seed = e.by_chance.test_share, e.by_chance.seed
        return f"{e.rows:,} labelled events: those of a random {percent(share)} (seed {seed}) that were not trained on."
    span = f"from {e.period.from_time.isoformat()} until before {e.period.until.isoformat()}"
    return f"{e.rows:,} mature, labelled events {span}."


def _known_fact(e: Evaluation) -> str:
    if e.by_chance is not None:
        return (
            "The split is random, because the data have no time: what came later may have taught the model about what "
            "came before, and nothing here says how it will do in the future."
        )
    return f"The model was trained on what was known at {e.as_of.isoformat()}."


def _overlap(e: Evaluation) -> Iterator[str]:
    shared = e.tables.get("overlap")
    if shared is None:
        return
    gap = shared["gap_days"]
    yield f"{count(shared['events'], 'event')} of the test was trained on." + (
        "" if gap is None else f" Between the last event trained on and the first evaluated lie {gap:.1f} days."
    )
    for name, item in shared["entities"].items():
        share = "" if item["share_of_frauds"] is None else f" and {percent(item['share_of_frauds'])} of the frauds"
        yield (
            f"{item['seen']:,} of {item['ids']:,} {name} ids were in training; they have "
            f"{percent(item['share_of_events'] or 0.0)} of the events{share}."
        )


def _immature(e: Evaluation) -> Iterator[str]:
    bounds = e.tables.get("immature")
    if not bounds:
        return
    legit, fraud = bounds["all_legit"].get("savings"), bounds["all_fraud"].get("savings")
    if legit is not None and fraud is not None:
        bases = [bounds[name]["savings_base"]["words"] for name in ("all_legit", "all_fraud")]
        yield (
            f"Savings would be {percent(legit, 1)} (against {bases[0]}) if all immature events were legitimate, "
            f"{percent(fraud, 1)} (against {bases[1]}) if all were fraud."
        )


def _control_group(e: Evaluation) -> Iterator[str]:
    group = e.tables.get("control_group")
    if group is None:
        return
    yield (
        f"{count(group['rows'], 'event')} with {count(group['frauds'], 'fraud')} were let through at random, so no "
        "decision chose the outcomes that were seen."
    )
    for name in ("average_precision", "recall", "savings"):
        item = group["metrics"][name]
        if item["low"] is None or item["high"] is None:
            yield f"{METRIC_WORDS[name]}, on these alone: {item.get('reason', 'no interval')}."
        else:
            yield (
                f"{METRIC_WORDS[name]}, on these alone: {say(name, item['value'], e)} "
                f"({say(name, item['low'], e)} to {say(name, item['high'], e)})."
            )
