"""Figures of an evaluation as cells: one way to write each metric, its interval and its name in words."""

from __future__ import annotations

from typing import Final

from fraudctl.evaluate.result import Evaluation
from fraudctl.figures import money, number, percent, whole
from fraudctl.report.document import Cell
from fraudctl.uncertainty import Estimate

METRIC_WORDS: Final = {
    "roc_auc": "Chance that a fraud scores above a legitimate event",
    "average_precision": "Precision averaged over recall",
    "precision": "Alerts that are fraud",
    "recall": "Frauds that are alerted",
    "value_recall": "Fraud money that is alerted",
    "alert_rate": "Events that are alerted",
    "false_positive_rate": "Legitimate events that are alerted",
    "cost": "Money lost",
    "savings": "Share of the cost of the cheapest constant action that is saved",
    "savings_of_perfect": "Share that a perfect model would save, capacities aside",
    "brier": "Mean squared error of the probability",
    "ece": "Mean gap between probability and outcome",
}
SHARES: Final = {
    "precision", "recall", "value_recall", "alert_rate", "false_positive_rate", "savings", "savings_of_perfect",
}  # fmt: skip


def _share(name: str) -> bool:
    return name in SHARES or "_precision_at_" in name


def words(name: str) -> str:
    """Say what a metric is."""
    if name.endswith("_precision_at_100"):
        entity = name.removesuffix("_precision_at_100")
        return f"Frauds among the 100 riskiest {entity} ids of a day"
    return METRIC_WORDS.get(name, "")


def figure(name: str, value: float | None, e: Evaluation) -> Cell:
    """Give the value of a metric."""
    if value is None:
        return Cell("–", "")
    return Cell(say(name, value, currency_of(e)), round(value, 9))


def currency_of(e: Evaluation) -> str:
    """Give the currency of an evaluation."""
    return e.money.currency


def say(name: str, value: float, currency: str) -> str:
    """Write a value of a metric."""
    if name == "errors":
        return whole(value)
    if name == "cost":
        return money(value, currency)
    return percent(value, 1) if _share(name) else number(value, 4)


def interval(name: str, item: Estimate, e: Evaluation) -> Cell:
    """Give the interval of a metric."""
    if item.low is None or item.high is None:
        return Cell("–", "")
    return Cell(f"{say(name, item.low, currency_of(e))} to {say(name, item.high, currency_of(e))}", round(item.low, 9))


def estimate(name: str, item: Estimate) -> Cell:
    """Give a metric as a share or a number."""
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
