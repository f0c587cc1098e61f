"""Metrics as pure functions of arrays: no frames, no files, no randomness.

Rankings (`ranking`), ratios of sums over events (`ratios`), precision at K per day (`topk`) and calibration
(`calibration`). Labels must be known (1 or 0): a null label never reaches a metric. ``nan`` means undefined; the
evaluation turns it into null with a reason.
"""

from fraudctl.metrics.calibration import ReliabilityBin, expected_calibration_error, reliability
from fraudctl.metrics.ranking import average_precision, recall_at_fpr, roc_auc
from fraudctl.metrics.ratios import (
    Ratio,
    alert_rate,
    brier,
    cost,
    false_positive_rate,
    precision,
    recall,
    savings,
    savings_of_perfect,
    savings_ratio,
    value_recall,
)
from fraudctl.metrics.topk import TopK, day_boards, precision_at_k

__all__ = [
    "Ratio", "ReliabilityBin", "TopK", "alert_rate", "average_precision", "brier", "cost", "day_boards",
    "expected_calibration_error", "false_positive_rate", "precision", "precision_at_k", "recall", "recall_at_fpr",
    "reliability", "roc_auc", "savings", "savings_of_perfect", "savings_ratio", "value_recall",
]  # fmt: skip
