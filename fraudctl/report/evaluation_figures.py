"""Figures of an evaluation as cells: one way to write each metric, its interval and its name in words."""

from __future__ import annotations

from fraudctl.catalogue import metric
from fraudctl.evaluate.result import Evaluation
from fraudctl.report.document import Cell
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
