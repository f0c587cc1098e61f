"""Figures of an evaluation as cells: one way to write each metric, its interval and its name in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fraudctl.catalogue import metric
from fraudctl.data.categories import shown as category_text
from fraudctl.evaluate.result import Evaluation, SegmentOutcome
from fraudctl.report.document import Cell, TableColumn
from fraudctl.text.figures import money, number, percent, whole
from fraudctl.uncertainty import Estimate


def _share(name: str) -> bool:
    return metric(name).unit == "share"


def words(name: str) -> str:
    """Return what a metric is, in words."""
    return metric(name).words


def figure(name: str, value: float | None, e: Evaluation) -> Cell:
    """Return the value of a metric."""
    if value is None:
        return Cell("–", "")
    return Cell(say(name, value, currency_of(e)), round(value, 9))


def currency_of(e: Evaluation) -> str:
    """Return the currency of an evaluation."""
    return e.money.currency


def say(name: str, value: float, currency: str) -> str:
    """Write a value of a metric."""
    unit = metric(name).unit
    if unit == "count":
        return whole(value)
    if unit == "money":
        return money(value, currency)
    return percent(value, 1) if _share(name) else number(value, 4)


def interval(name: str, item: Estimate, e: Evaluation) -> Cell:
    """Return the interval of a metric."""
    if item.low is None or item.high is None:
        return Cell("–", "")
    return Cell(f"{say(name, item.low, currency_of(e))} to {say(name, item.high, currency_of(e))}", round(item.low, 9))


def estimate(name: str, item: Estimate) -> Cell:
    """Return a metric as a share or a number."""
    if item.value is None:
        return Cell("–", "")
    return Cell(percent(item.value, 1) if _share(name) else number(item.value), round(item.value, 9))


def segment_columns(column: str, metrics: Sequence[str]) -> tuple[TableColumn, ...]:
    """Return the columns of a table of segments: the category, its events and frauds, and each metric."""
    figures = (TableColumn(words(name), "number") for name in metrics)
    return TableColumn(column), TableColumn("Events", "number"), TableColumn("Frauds", "number"), *figures


def segment_rows(rows: Iterable[SegmentOutcome], metrics: Sequence[str], e: Evaluation) -> tuple[tuple[Cell, ...], ...]:
    """Return the rows of such a table, each metric with its interval."""
    return tuple(
        (
            Cell(category_text(row.category)),
            Cell(whole(row.events), row.events),
            Cell(whole(row.frauds), row.frauds),
            *(with_interval(name, row.metrics.get(name), e) for name in metrics),
        )
        for row in rows
    )


def with_interval(name: str, item: Estimate | None, e: Evaluation) -> Cell:
    """Return a metric of a table, with its interval below."""
    if item is None or item.value is None:
        return Cell("–", "")
    currency = currency_of(e)
    lines = [say(name, item.value, currency)]
    if item.low is not None and item.high is not None:
        lines.append(f"{say(name, item.low, currency)} to {say(name, item.high, currency)}")
    if item.base is not None:
        lines.append(f"against {item.base.words}")
    return Cell("", round(item.value, 9), lines=tuple(lines))
