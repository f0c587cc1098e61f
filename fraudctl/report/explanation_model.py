"""The sections of an explanation on the model: what it did not see, whom it annoys, which campaigns it missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fraudctl.explain.campaigns import Campaign, CampaignTotal
from fraudctl.explain.clusters import Cluster
from fraudctl.explain.contrast import Contrast, ContributionDifference
from fraudctl.explain.pairs import PairEffect, Pairs
from fraudctl.explain.result import Explanation
from fraudctl.report import charts
from fraudctl.report import explanation_sentences as said
from fraudctl.report.cells import count_cell, few, money_cell, share_cell
from fraudctl.report.document import Block, Cell, Chart, ReportSection, ReportTable, TableColumn, Text
from fraudctl.report.facts import Few
from fraudctl.text.figures import moment, number, percent, signed, whole
from fraudctl.text.sentences import Sentence, fixed, joined
from fraudctl.text.wording import spoken

TOP_CAMPAIGNS: Final = 12
TABLE_CAMPAIGNS: Final = 40
TOP_DIFFERENCES: Final = 8
TOP_PAIRS: Final = 6
MOST_POINTS: Final = 400
"""Points that the course of campaigns is drawn with; denser courses are joined to larger points."""
PULL: Final = "pull on the score, in log-odds (0.7 doubles the odds of fraud)"


def contrasts_section(e: Explanation) -> ReportSection:
    """Return where the scores of errors part from those of their correctly handled peers."""
    title = "What did the model not see, what misled it?"
    parts: list[Sentence] = []
    blocks: list[Block] = []
    missed, false = e.missed_contrast, e.false_alarm_contrast
    if missed is not None:
        parts.append(said.contrasted(missed, "missed"))
        blocks += _contrast_charts(missed, "missed", "missed minus caught frauds")
    if false is not None:
        parts.append(said.contrasted(false, "false"))
        blocks += _contrast_charts(false, "false", "false positives minus events that passed")
    blocks.sort(key=lambda block: isinstance(block, Chart) and block.wide)
    if e.pairs is not None:
        blocks.append(_pairs_table(e.pairs))
    for name, side in (("missed_contrast", "Missed frauds"), ("false_alarm_contrast", "False positives")):
        if name in e.absent:
            blocks.append(Text(said.absent(side, e.absent[name]), note=True))
    used = next((item.clusters for item in (missed, false) if item is not None and item.clusters), "")
    if used:
        blocks.append(Text(said.drawn_by(used), note=True))
    return ReportSection("contrast", title, joined(*parts) if parts else fixed("Too few errors to say."), tuple(blocks))


def _contrast_charts(item: Contrast, name: str, words: str) -> list[Block]:
    """Draw the families and, wider for their words are longer, the features."""
    out: list[Block] = []
    for kind, rows in (("families", item.families), ("features", item.features)):
        shown, wide = rows[:TOP_DIFFERENCES], kind == "features"
        alt = said.differences(shown, kind, words)
        data = [_difference_row(row, shown) for row in shown]
        width, labels = (charts.WIDE, 470) if wide else (charts.HALF, 190)
        spec = charts.intervals(data, title=PULL if wide else "log-odds", width=width, label_width=labels)
        narrow = charts.intervals(data, title="log-odds", width=charts.NARROW, label_width=0)
        title = f"By {'feature' if wide else 'family'}: {words}"
        out.append(Chart(f"{name}-{kind}", title, spec, alt, wide=wide, narrow=narrow))
    return out


def _difference_row(row: ContributionDifference, shown: tuple[ContributionDifference, ...]) -> dict[str, object]:
    tone = "bad" if row.value < 0 else "cool"
    twins = sum(other.words == row.words for other in shown) > 1
    words = spoken(row.words)
    label = f"{words} [{row.name}]" if twins else words
    return {"label": label, "value": row.value, "low": row.low, "high": row.high, "tone": tone}


def _pairs_table(pairs: Pairs) -> ReportTable:
    rows = tuple(
        (Cell("", lines=item.words), _pair_cell(item.missed), _pair_cell(item.false_alarms), _strength_cell(item))
        for item in pairs.items[:TOP_PAIRS]
    )
    columns = (
        TableColumn("Features that act together", "lines"),
        TableColumn("Missed frauds", "number"),
        TableColumn("False positives", "number"),
        TableColumn("Size", "number", "mean over all errors, whatever its direction"),
    )
    return ReportTable("pairs", said.pairs_caption(pairs), columns, rows, tools=True)


def _pair_cell(value: float | None) -> Cell:
    return Cell("–", "") if value is None else Cell(signed(value), round(value, 6))


def _strength_cell(item: PairEffect) -> Cell:
    return Cell(number(item.strength), round(item.strength, 6))


def clusters_section(e: Explanation) -> ReportSection:
    """Return which groups of customers are stopped for one wrong reason."""
    title = "Whom do we annoy?"
    if "clusters" in e.absent:
        return ReportSection("clusters", title, said.absent("Not drawn", e.absent["clusters"]))
    if not e.clusters:
        return ReportSection(
            "clusters",
            title,
            fixed("The model's false positives fall into no groups that would come back with other events."),
        )
    lead = said.groups(e.clusters, e.decided, e.currency)
    rows = tuple(_cluster_row(i, item, e) for i, item in enumerate(e.clusters, 1))
    columns = (
        TableColumn("Group", "number"),
        TableColumn("Rule in words", "lines"),
        TableColumn("False positives", "number"),
        TableColumn("Cost", "number"),
        TableColumn("Precision", "number", "of the false positives that meet the rule, those in the group"),
        TableColumn("Recall", "number", "of the group, those that meet the rule"),
        TableColumn("Stability", "number", "how well the group comes back among random halves, 1 being whole"),
        TableColumn(
            "Fraud in like alerts", "number", "of all alerts of the model that meet the rule, those that are fraud"
        ),
    )
    note = said.unstable(Few(e.n_unstable_clusters, 0))
    table = ReportTable(
        "clusters", fixed("Groups of the model's false positives with the same reasons"), columns, rows, tools=True
    )
    return ReportSection("clusters", title, lead, (table, Text(note, note=True)))


def _cluster_row(i: int, item: Cluster, e: Explanation) -> tuple[Cell, ...]:
    fraud = item.n_alert_frauds / max(item.n_alerts, 1)
    return (
        Cell(f"{i}", float(i)),
        Cell("", lines=(*(item.rule or ("no short rule",)), *_driven_by(item))),
        count_cell(item.n),
        money_cell(item.cost, e),
        share_cell(item.precision),
        share_cell(item.recall),
        Cell(number(item.stability, 2), round(item.stability, 4)),
        Cell(f"{percent(fraud)} of {whole(item.n_alerts)}", round(fraud, 6)),
    )


def _driven_by(item: Cluster) -> tuple[str, ...]:
    drivers = ", ".join(f"{name} {signed(value, 2)}" for name, value in item.drivers[:2] if value >= 0.1)
    return (f"driven by {drivers}",) if drivers else ()


def campaigns_section(e: Explanation) -> ReportSection:
    """Return which missed frauds hang together, and how each campaign went on."""
    title = "Which campaigns did we miss?"
    several = [item for item in e.campaigns if item.n_missed > 1]
    total = e.campaign_total
    if total is None:
        return ReportSection("campaigns", title, fixed("No campaign holds two missed frauds."))
    lead = joined(said.in_campaigns(total, e.currency), few(e.totals.n_missed, "missed fraud"))
    note = Text(said.outside_campaigns(total), note=True)
    blocks = (_course(several[:TOP_CAMPAIGNS]), _campaign_table(several[:TABLE_CAMPAIGNS], total, e), note)
    return ReportSection("campaigns", title, lead, blocks)


def _course(shown: list[Campaign]) -> Chart:
    rows = _points(shown)
    tones = {"missed": ("missed", "bad"), "caught": ("caught", "good"), "outside": ("outside the period", "soft")}
    alt = said.courses(tuple(shown))
    wide, narrow = (charts.timeline(rows, tones=tones, width=width) for width in (charts.WIDE, charts.NARROW))
    return Chart("campaigns-course", "Course of the costliest campaigns", wide, alt, narrow=narrow)


def _points(shown: list[Campaign]) -> list[dict[str, object]]:
    """Return the frauds as points; close points of one kind are merged until at most `MOST_POINTS` are left."""
    start, end = min(item.start for item in shown), max(item.end for item in shown)
    n_bins = 400
    while True:
        width = max((end - start).total_seconds() / n_bins, 1.0)
        joined: dict[tuple[str, str, int], int] = {}
        for item in shown:
            for event in item.course:
                place = int((event.event_time - start).total_seconds() // width)
                key = (f"{item.entity} {item.value}", event.kind, place)
                joined[key] = joined.get(key, 0) + 1
        if len(joined) <= MOST_POINTS or n_bins <= 25:
            break
        n_bins //= 2
    return [
        {"group": group, "time": (start + timedelta(seconds=(place + 0.5) * width)).isoformat(), "kind": kind, "n": n}
        for (group, kind, place), n in joined.items()
    ]


def _campaign_table(shown: list[Campaign], total: CampaignTotal, e: Explanation) -> ReportTable:
    rows = tuple(
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
        for item in shown
    )
    columns = (
        TableColumn("Hangs on"),
        TableColumn("Id", "code"),
        TableColumn("Missed", "number"),
        TableColumn("Caught", "number"),
        TableColumn("Frauds in all", "number"),
        TableColumn("Of its events", "number", "share of frauds between the first and the last of them"),
        TableColumn("Lost", "number"),
        TableColumn("First fraud", "code"),
        TableColumn("Last fraud", "code"),
    )
    caption = said.campaigns_caption(tuple(shown), total)
    return ReportTable("campaigns-table", caption, columns, rows, tools=True, filter_hint="Filter campaigns")
