"""The champion compared with the model: paired differences, and whether other costs would change which is better."""

from __future__ import annotations

from collections.abc import Iterator

from fraudctl.catalogue import metric
from fraudctl.evaluate.result import ChampionOutcome, Evaluation
from fraudctl.report import charts
from fraudctl.report import evaluation_sentences as said
from fraudctl.report.document import Block, Cell, Chart, ReportSection, ReportTable, TableColumn, Text, Tone
from fraudctl.report.evaluation_figures import currency_of, figure, say
from fraudctl.report.facts import Paired, PairedDifferences
from fraudctl.text.figures import number, percent
from fraudctl.text.sentences import fixed
from fraudctl.uncertainty import Estimate


def champion_section(e: Evaluation) -> Iterator[ReportSection]:
    """Return the section that compares the model with the champion; nothing without a champion."""
    beside = e.champion
    if beside is None:
        return
    differences = {name: item for name, item in beside.differences.items() if item.value is not None}
    rows = tuple(
        (
            Cell(name),
            figure(name, e.metrics[name].value if name in e.metrics else None, e),
            figure(name, beside.metrics[name].value if name in beside.metrics else None, e),
            _difference_cell(name, item, e),
            _difference_range(name, item, e),
        )
        for name, item in differences.items()
    )
    columns = (
        TableColumn("Metric", "code"),
        TableColumn("This model", "number"),
        TableColumn("Champion", "number"),
        TableColumn("Difference", "number"),
        TableColumn(f"{percent(e.confidence)} interval", "number"),
    )
    drawn = [
        {
            "label": name,
            "value": item.value,
            "low": item.low,
            "high": item.high,
            "tone": _side(name, item),
        }
        for name, item in differences.items()
        if name != "cost"
    ]
    blocks: list[Block] = []
    if drawn:
        pairs = PairedDifferences(
            tuple(_paired(str(row["label"]), differences[str(row["label"])], beside) for row in drawn)
        )
        alt = said.paired(pairs)
        spec = charts.intervals(
            drawn, title="model minus champion", bars=False, width=charts.WIDE, number_format="+.4f"
        )
        blocks.append(Chart("champion", "This model minus the champion, paired on the same events", spec, alt))
    blocks.append(ReportTable("champion-table", said.against(beside.model), columns, rows))
    blocks += _under_other_costs(beside)
    item = differences.get("savings")
    lead = said.same_events(beside.model)
    if item is not None:
        lead = said.compared(_paired("savings", item, beside))
    yield ReportSection("champion-section", "Is it better than the champion?", lead, tuple(blocks))


def _paired(name: str, item: Estimate, beside: ChampionOutcome) -> Paired:
    base = "" if item.base is None else item.base.words
    return Paired(name, item.value or 0.0, item.low, item.high, beside.model, base)


def _side(name: str, item: Estimate) -> Tone:
    low, high = item.low, item.high
    if low is None or high is None or low <= 0 <= high:
        return "muted"
    return "good" if (low > 0) == metric(name).higher_is_better else "bad"


def _difference_cell(name: str, item: Estimate, e: Evaluation) -> Cell:
    value = item.value or 0.0
    text = say(name, value, currency_of(e))
    return Cell(text if text.startswith("-") else f"+{text}", round(value, 9), _side(name, item))


def _difference_range(name: str, item: Estimate, e: Evaluation) -> Cell:
    if item.low is None or item.high is None:
        return Cell(item.reason or "–")
    low, high = (say(name, end, currency_of(e)) for end in (item.low, item.high))
    return Cell(f"{low} to {high}", round(item.low, 9))


def _under_other_costs(beside: ChampionOutcome) -> Iterator[Block]:
    """Return whether the better model would be another if a cost were half to double what the project says."""
    rows = beside.cost_sensitivity
    changed = tuple(f"{row.cost} × {number(row.factor)}" for row in rows if row.changes)
    if changed:
        yield Text(said.other_costs(changed))
    elif rows:
        yield Text(
            fixed("With any cost from half to double what it is (one at a time), the same model saves more."),
            note=True,
        )
