"""Tables and curves of an evaluation: totals by day, reliability, precision-recall and threshold curves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, TypeVar

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.evaluate.estimates import estimate, metric_list, nothing_known
from fraudctl.evaluate.judged import EvaluatedEvents
from fraudctl.evaluate.result import (
    CalibrationError,
    ControlOutcome,
    DayTotals,
    EvaluationTables,
    PrecisionRecall,
    ReviewQueue,
    SegmentOutcome,
    ThresholdCost,
)
from fraudctl.evaluate.segments import split_segments
from fraudctl.metrics import topk
from fraudctl.metrics.calibration import ReliabilityBin, expected_calibration_error, honest_ece, reliability
from fraudctl.metrics.ranking import Ranking
from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project
from fraudctl.uncertainty import RankingIntervals
from fraudctl.weights import control_group

CURVE_POINTS = 200
T = TypeVar("T")


def draw_tables(judged: EvaluatedEvents, *, watch: Watch = unwatched) -> EvaluationTables:
    """Return the tables and curves of all events; empty where nothing is known.

    ``watch`` is called with the name of each table before it is made.
    """
    if nothing_known(judged) is not None:
        return EvaluationTables()

    def told(step: str, make: Callable[[EvaluatedEvents], T]) -> T:
        watch(step)
        return make(judged)

    return EvaluationTables(
        by_day=told("table of days", by_day),
        calibration=told("calibration by chance", calibration),
        reliability=told("reliability", _reliability),
        pr_curve=told("precision-recall curve", pr_curve),
        cost_curve=told("threshold curve", cost_curve),
        at_k=at_k(judged, watch=watch),
    )


def _reliability(judged: EvaluatedEvents) -> tuple[ReliabilityBin, ...]:
    return reliability(judged.y_true, judged.y_prob, weight=judged.weight)


SEGMENT_METRICS = ("recall", "precision", "value_recall", "false_positive_rate", "alert_rate", "savings", "cost")
SEGMENT_MIN_FRAUDS = 20
AT_K = (10, 20, 50, 100, 200, 500)


def by_segment(
    scored: pl.DataFrame, judged: EvaluatedEvents, project: Project, confidence: float
) -> dict[str, tuple[SegmentOutcome, ...]]:
    """Return the metrics within each segment, by column; values with fewer than 20 frauds are pooled."""
    if nothing_known(judged) is not None:
        return {}
    return {name: _segments(scored[name], judged, confidence) for name in project.segment_columns}


def on_control_group(
    scored: pl.DataFrame, judged: EvaluatedEvents, project: Project, settings: RankingIntervals
) -> ControlOutcome | None:
    """Return every metric on the events that were let through at random alone; None where the project names none.

    Their outcomes were seen whatever a model said of them, so they carry no selection. The decisions are those that
    the events got among all others.
    """
    rows = control_group(scored, project)
    if rows is None:
        return None
    inside = judged.take(rows)
    metrics = {name: estimate(name, inside, settings) for name in metric_list(inside)}
    return ControlOutcome(inside.n_events, inside.n_frauds, metrics)


def _segments(values: pl.Series, judged: EvaluatedEvents, confidence: float) -> tuple[SegmentOutcome, ...]:
    settings = RankingIntervals(100, 0, confidence)
    rows = []
    for name, mask in split_segments(values, judged.y_true, min_frauds=SEGMENT_MIN_FRAUDS):
        part = judged.take(mask)
        found = {metric: estimate(metric, part, settings) for metric in SEGMENT_METRICS}
        rows.append(SegmentOutcome(name, part.n_events, part.n_frauds, found))
    return tuple(rows)


def at_k(judged: EvaluatedEvents, *, watch: Watch = unwatched) -> tuple[ReviewQueue, ...]:
    """Return precision and recall of the K highest scores of each day, of events and of each entity's, ties shared.

    ``precision`` is the mean over days of the share of K that is fraud, with its ``lowest`` and ``highest`` over the
    orders of ties; ``recall`` the share of all that could be found, with the same range. An entity once found is not
    ranked again.
    """
    subjects = {"event": np.arange(judged.n_events, dtype=np.int64), **judged.entity_codes}
    rows: list[ReviewQueue] = []
    for subject, codes in subjects.items():
        watch(f"review queue of {subject}")
        boards = topk.day_boards(judged.y_true, judged.y_prob, day=judged.day, entity=codes)
        rows += [_at_k(subject, topk.precision_at_k(boards, k)) for k in AT_K]
    return tuple(rows)


def _at_k(subject: str, found: topk.TopK) -> ReviewQueue:
    recall, lowest, highest = found.recall or (None, None, None)
    return ReviewQueue(
        subject, found.k, found.value, found.lowest, found.highest,
        recall=recall, recall_lowest=lowest, recall_highest=highest,
    )  # fmt: skip


def calibration(judged: EvaluatedEvents) -> CalibrationError:
    """Compare the calibration error with what honest probabilities would show by chance, not with a round number."""
    error = expected_calibration_error(judged.y_true, judged.y_prob, weight=judged.weight)
    mean, high = honest_ece(judged.y_prob, seed=0, weight=judged.weight)
    return CalibrationError(error, mean, high, more_than_chance=error > high)


def by_day(judged: EvaluatedEvents) -> tuple[DayTotals, ...]:
    """Count events, frauds and alerts, and sum money, on each local day."""
    days, index = np.unique(judged.day, return_inverse=True)
    if not judged.timed:
        return ()
    fraud, alert = judged.y_true == 1, judged.alert

    def total(values: Any) -> FloatArray:
        return np.bincount(index, weights=values, minlength=len(days)).astype(np.float64)

    counts = {"events": np.ones(judged.n_events), "frauds": fraud, "alerts": alert, "caught": fraud & alert}
    money = {"cost": judged.cost_taken, "baseline_cost": judged.base.per_event}
    sums = {name: total(item).astype(int).tolist() for name, item in counts.items()}
    sums |= {name: total(judged.weight * item).tolist() for name, item in money.items()}
    dates = [date(1970, 1, 1) + timedelta(days=int(day)) for day in days]
    return tuple(DayTotals(day, **{key: sums[key][i] for key in sums}) for i, day in enumerate(dates))


def pr_curve(judged: EvaluatedEvents) -> tuple[PrecisionRecall, ...]:
    """Return precision and recall at up to `CURVE_POINTS` thresholds, by falling threshold."""
    if judged.n_frauds == 0:
        return ()
    ranking = Ranking.of(judged.y_true, judged.y_prob)
    fraud, every = (np.cumsum(item) for item in ranking.totals(judged.weight[ranking.order]))
    scores = judged.y_prob[ranking.order][ranking.starts]
    picks = _spread(fraud / fraud[-1])
    return tuple(
        PrecisionRecall(float(scores[i]), float(fraud[i] / every[i]), float(fraud[i] / fraud[-1])) for i in picks
    )


def cost_curve(judged: EvaluatedEvents) -> tuple[ThresholdCost, ...]:
    """Return the cost of one threshold on y_prob, from which up the harshest action is taken, by falling threshold.

    ``alert_rate`` is the share of events, weights included, as the metric of that name is. No capacity plays a part.
    """
    ranking = Ranking.of(judged.y_true, judged.y_prob)
    rows = np.arange(judged.n_events)
    outcome = judged.cost_table[rows, :, judged.y_true.astype(np.int64)]
    gain = judged.weight * (outcome[:, judged.matrix.block_code] - outcome[:, judged.matrix.pass_code])
    cost = judged.base.constants[judged.matrix.pass_code].cost + np.cumsum(
        np.add.reduceat(gain[ranking.order], ranking.starts)
    )
    share = np.cumsum(np.add.reduceat(judged.weight[ranking.order], ranking.starts)) / judged.weight.sum()
    scores = judged.y_prob[ranking.order][ranking.starts]
    picks = np.unique(np.r_[_spread(share), int(np.argmin(cost)), _spread(-np.log(np.maximum(scores, 1e-9)))])
    return tuple(ThresholdCost(float(scores[i]), float(cost[i]), float(share[i])) for i in picks)


def _spread(rising: FloatArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Pick positions spread evenly over a rising quantity, its ends among them."""
    goals = np.linspace(rising[0], rising[-1], CURVE_POINTS)
    return np.unique(np.minimum(np.searchsorted(rising, goals), len(rising) - 1)).astype(np.int64)
