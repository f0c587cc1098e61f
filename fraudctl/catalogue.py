"""Every metric: its name, what it means, its unit, which direction is better, and where it may be used.

Owns all that is known of a metric by its name. Evaluation, gate, comparison, reports, the policy's constraints and the
checks of the project file take it from here; `fraudctl.evaluate.estimates` holds the functions that compute metrics by
name, and a contract test asserts that the two have the same names. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["share", "money", "number", "count"]
Way = Literal["ratio", "ranking", "bins", "queue", "objective", "drift", "checks"]

TOP_K: Final = 100
TOP_K_SUFFIX: Final = f"_precision_at_{TOP_K}"


@dataclass(frozen=True)
class Metric:
    """What is known of a metric.

    Attributes
    ----------
    words
        What it is, for reports.
    unit
        ``share`` in [0, 1] (savings may be negative), ``money`` in the project's currency, ``number`` without a unit.
    better
        Which direction is better.
    way
        How it is computed: ``ratio`` of sums over events, ``ranking`` of scores, calibration ``bins``, a review
        ``queue`` of each day; ``objective`` of training folds; ``drift`` and ``checks`` are figures of the gate alone.
    formula
        How it is computed, in words.
    paired
        Whether two models can be compared by it, with a paired interval.
    side_by_side
        Whether reports show it for two models side by side.
    needs_fraud
        Whether it is undefined without a fraud; of savings, where legitimate events that are allowed cost nothing.
    detects
        Whether a floor on it is out of reach for shuffled scores.
    constrains
        Whether ``[policy] constraints`` may bound it.
    """

    name: str
    words: str
    unit: Unit
    better: Literal["higher", "lower"]
    way: Way
    formula: str
    paired: bool = False
    side_by_side: bool = False
    needs_fraud: bool = False
    detects: bool = False
    constrains: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self.better == "higher"


METRICS: Final = (
    Metric(
        "roc_auc", "Chance that a fraud scores above a legitimate event", "number", "higher", "ranking",
        "share of pairs (fraud, legitimate) in which the fraud has the higher score; ties count half",
        paired=True, side_by_side=True, needs_fraud=True, detects=True,
    ),
    Metric(
        "average_precision", "Precision averaged over recall", "number", "higher", "ranking",
        "sum over thresholds of the gain in recall times the precision there",
        paired=True, side_by_side=True, needs_fraud=True, detects=True,
    ),
    Metric(
        "precision", "Alerts that are fraud", "share", "higher", "ratio", "alerted frauds / alerts",
        paired=True, side_by_side=True, detects=True, constrains=True,
    ),
    Metric(
        "recall", "Frauds that are alerted", "share", "higher", "ratio", "alerted frauds / frauds",
        paired=True, side_by_side=True, needs_fraud=True, detects=True, constrains=True,
    ),
    Metric(
        "value_recall", "Fraud money that is alerted", "share", "higher", "ratio",
        "amount of alerted frauds / amount of frauds",
        paired=True, side_by_side=True, needs_fraud=True, detects=True, constrains=True,
    ),
    Metric(
        "alert_rate", "Events that are alerted", "share", "lower", "ratio", "alerts / events",
        paired=True, side_by_side=True, constrains=True,
    ),
    Metric(
        "false_positive_rate", "Legitimate events that are alerted", "share", "lower", "ratio",
        "alerted legitimate events / legitimate events",
        paired=True, side_by_side=True, constrains=True,
    ),
    Metric(
        "cost", "Money lost", "money", "lower", "ratio",
        "sum over events of the cost of the action on the true outcome",
        paired=True, side_by_side=True,
    ),
    Metric(
        "savings", "Share of the cost of the cheapest constant action that is saved", "share", "higher", "ratio",
        "1 - cost / cost of the cheapest constant action",
        paired=True, side_by_side=True, needs_fraud=True, detects=True,
    ),
    Metric(
        "savings_of_perfect", "Share that a perfect model would save, capacities aside", "share", "higher", "ratio",
        "1 - cost of the cheapest action for each true outcome / cost of the cheapest constant action",
        needs_fraud=True,
    ),
    Metric(
        "brier", "Mean squared error of the probability", "number", "lower", "ratio",
        "mean over events of (y_prob - outcome)^2",
        paired=True, side_by_side=True,
    ),
    Metric(
        "ece", "Mean gap between probability and outcome", "number", "lower", "bins",
        "mean over bins of equal count of |mean y_prob - share of fraud|, weighted by their events",
    ),
)  # fmt: skip
"""The metrics that do not depend on the project, in the order of the reports."""

OBJECTIVE: Final = Metric(
    "recall_at_fpr", "Frauds that are alerted where a given share of the legitimate events is", "share", "higher",
    "objective", "recall at the highest threshold whose false_positive_rate is at least x", needs_fraud=True,
)  # fmt: skip
"""An objective of ``[train] metric``, written ``recall_at_fpr(x)``; `average_precision` and `savings` are others."""

GATE_FIGURES: Final = (
    Metric("errors", "Errors that `fraudctl check` finds", "count", "lower", "checks", "number of findings"),
    Metric(
        "score_psi",
        "Shift of the scores",
        "number",
        "lower",
        "drift",
        "population stability index of the scores against those before the period",
    ),
)
"""What rules of the gate compare in addition to metrics."""


def top_k_metric(entity: str) -> Metric:
    """Return the metric ``<entity>_precision_at_100``."""
    return Metric(
        entity + TOP_K_SUFFIX,
        f"Frauds among the {TOP_K} riskiest {entity} ids of a day",
        "share",
        "higher",
        "queue",
        f"mean over days of the share of the {TOP_K} highest-scored ids that is fraud; an id once found is not ranked "
        "again",
    )


_BY_NAME: Final = {item.name: item for item in (*METRICS, *GATE_FIGURES)}


def metric(name: str) -> Metric:
    """Return what is known of a metric by its name.

    Raises
    ------
    KeyError
        There is no such metric.

    >>> metric("cost").unit, metric("card_precision_at_100").words
    ('money', 'Frauds among the 100 riskiest card ids of a day')
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.endswith(TOP_K_SUFFIX):
        return top_k_metric(name.removesuffix(TOP_K_SUFFIX))
    if name.startswith(f"{OBJECTIVE.name}("):
        return OBJECTIVE
    raise KeyError(name)


def metric_names(entities: Iterable[str]) -> list[str]:
    """Return the names of all metrics of a project with these entities, in the order of the reports."""
    return [*(item.name for item in METRICS), *(top_k_metric(entity).name for entity in entities)]


SIDE_BY_SIDE: Final = tuple(item.name for item in METRICS if item.side_by_side)
"""Metrics that are shown for two models side by side."""
CONSTRAINED: Final = tuple(item.name for item in METRICS if item.constrains)
"""Metrics that ``[policy] constraints`` may bound."""
