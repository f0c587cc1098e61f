"""Single columns that know the answer: the statistics behind leakage suspects.

Owns: how well one column alone ranks the outcome (ROC AUC with an interval, numeric or by value), whether its being
filled gives the outcome away, and whether it merely counts along with time. It decides nothing about projects and
reads no files; `fraudctl check` reports its suspects, `fraudctl init` proposes to ignore them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudctl.figures import number, percent

SUSPECT_AUC = 0.95
"""A single column whose AUC is surely above this is suspect; honest fraud models rarely reach it with all columns."""
SURE = 0.9
"""Fraud rate from which a value, or being filled, is said to give fraud away."""
MIN_FRAUDS = 20
"""With fewer frauds nothing is said."""
MAX_VALUES = 1000
"""Text with more distinct values is not judged by value."""
_MAX_PER_CLASS = 200_000
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Suspect:
    """One way in which a column alone nearly gives the outcome.

    Attributes
    ----------
    column
        Name of the column.
    kind
        ``separates`` (its order), ``values`` (its values), ``filled`` (being null or not), ``labelled`` (filled only
        where the outcome is known).
    words
        The finding in words, without cell values.
    figures
        The numbers behind it.
    """

    column: str
    kind: str
    words: str
    figures: dict[str, float]


def roc_auc(x: NDArray[np.float64], y: NDArray[np.bool_]) -> float:
    r"""Give the ROC AUC of ``x`` for ``y``, ties counted half.

    .. math:: AUC = (R_1 - n_1 (n_1 + 1) / 2) / (n_1 n_0)

    with :math:`R_1` the sum of the average ranks of the positives (Mann and Whitney 1947).

    Parameters
    ----------
    x
        Scores, shape ``(n,)``, finite.
    y
        Outcomes, shape ``(n,)``; both classes must be present.

    >>> roc_auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    n_pos = int(y.sum())
    n_neg = len(y) - n_pos
    ranks = pl.Series(x).rank("average").to_numpy()
    return float((ranks[y].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def auc_low(auc: float, *, n_pos: int, n_neg: int) -> float:
    """Give the low end of the 95 % interval of an AUC, by inverting the variance of Hanley and McNeil (1982).

    The variance is taken at the bound instead of at the estimate, so that a perfect AUC of few frauds does not get an
    interval of no width: the result solves ``auc - low = z * sqrt(variance(low))`` by bisection.

    >>> round(auc_low(1.0, n_pos=10, n_neg=1000), 3), round(auc_low(1.0, n_pos=1000, n_neg=1000), 4)
    (0.85, 0.9981)
    """
    low, high = 0.0, auc
    for _ in range(60):
        middle = (low + high) / 2
        if auc - middle > _Z * math.sqrt(_auc_variance(middle, n_pos, n_neg)):
            low = middle
        else:
            high = middle
    return low


def _auc_variance(auc: float, n_pos: int, n_neg: int) -> float:
    both_pos = auc / (2 - auc) - auc**2
    both_neg = 2 * auc**2 / (1 + auc) - auc**2
    return max(0.0, auc * (1 - auc) + (n_pos - 1) * both_pos + (n_neg - 1) * both_neg) / (n_pos * n_neg)


def suspects(column: pl.Series, label: pl.Series) -> list[Suspect]:
    """Give every way in which ``column`` alone nearly gives ``label``.

    Parameters
    ----------
    column
        Any dtype, shape ``(n_events,)``; NaN counts as null. Times are judged by being filled only.
    label
        Int8 1, 0 or null, shape ``(n_events,)``; null rows serve only to see what is filled without an outcome.
    """
    if column.dtype.is_float():
        column = column.fill_nan(None)
    known = label.is_not_null()
    column_known, y = column.filter(known), label.filter(known).cast(pl.Boolean)
    n_frauds = int(y.sum())
    if min(n_frauds, len(y) - n_frauds) < MIN_FRAUDS:
        return []
    found = [_by_filling(column_known, y), _by_labelling(column, known)]
    if _thinned_frauds(column_known, y) >= MIN_FRAUDS:
        rows = _thin(y)
        found += [_by_order(column_known.gather(rows), y.gather(rows)), _by_value(column_known, y)]
    return [item for item in found if item is not None]


def _thinned_frauds(column: pl.Series, y: pl.Series) -> int:
    filled = column.is_not_null()
    return min(int((y & filled).sum()), int((~y & filled).sum()))


def _thin(y: pl.Series) -> pl.Series:
    """Give the positions of every k-th row of each class, at most 200,000 of each: enough for three digits."""
    parts = []
    for mask in (y, ~y):
        rows = mask.arg_true()
        parts.append(rows.gather_every(max(1, math.ceil(len(rows) / _MAX_PER_CLASS))))
    return pl.concat(parts)


def _by_order(column: pl.Series, y: pl.Series) -> Suspect | None:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        return None
    filled = column.is_not_null()
    truth = y.filter(filled).to_numpy()
    n_pos, n_neg = int(truth.sum()), int((~truth).sum())
    if min(n_pos, n_neg) < MIN_FRAUDS:
        return None
    auc = roc_auc(column.filter(filled).cast(pl.Float64).to_numpy(), truth)
    auc = max(auc, 1 - auc)
    low = auc_low(auc, n_pos=n_pos, n_neg=n_neg)
    if low < SUSPECT_AUC:
        return None
    words = f"alone it ranks fraud with an AUC of {number(auc)} (at least {number(low)})"
    return Suspect(column.name, "separates", words, {"auc": auc, "auc_low": low, "n_frauds": n_pos})


def _by_value(column: pl.Series, y: pl.Series) -> Suspect | None:
    """Judge a column of few values: values learnt on one half of the rows are tried on the other.

    Shares are taken over all known outcomes, for thinning would move them; halves are drawn with a fixed seed, for
    files may be ordered in any way.
    """
    if not _has_values(column):
        return None
    half = np.random.default_rng(0).integers(0, 2, len(y))
    frame = pl.DataFrame({"value": column.cast(pl.String), "y": y, "half": half})
    counts = frame.group_by("value", "half").agg(n=pl.len(), frauds=pl.col("y").sum().cast(pl.Int64))
    other = counts.with_columns(half=1 - pl.col("half"))
    both = counts.join(other, on=["value", "half"], nulls_equal=True, suffix="_other")
    sure = both.filter(pl.col("frauds_other") >= SURE * pl.col("n_other"), pl.col("frauds_other") >= 3)
    n_rows, n_frauds = int(sure["n"].sum()), int(sure["frauds"].sum())
    recall = n_frauds / int(y.sum())
    if n_frauds < MIN_FRAUDS or n_frauds < SURE * n_rows or recall < 0.25:
        return None
    words = (
        f"{sure['value'].n_unique()} of its values hold {percent(recall)} of the frauds, and "
        f"{percent(n_frauds / n_rows)} of their events are fraud"
    )
    return Suspect(column.name, "values", words, {"share_of_frauds": recall, "fraud_rate": n_frauds / n_rows})


def _has_values(column: pl.Series) -> bool:
    dtype = column.dtype
    is_text = dtype in (pl.String, pl.Categorical, pl.Boolean) or isinstance(dtype, pl.Enum) or dtype.is_integer()
    return is_text and 2 <= column.n_unique() <= MAX_VALUES


def _by_filling(column: pl.Series, y: pl.Series) -> Suspect | None:
    for mask, state in ((column.is_not_null(), "filled"), (column.is_null(), "null")):
        n_rows, n_frauds = int(mask.sum()), int((mask & y).sum())
        recall = n_frauds / int(y.sum())
        if n_frauds < MIN_FRAUDS or n_rows == len(y) or n_frauds < SURE * n_rows or recall < 0.1:
            continue
        words = f"where it is {state}, {percent(n_frauds / n_rows)} are fraud ({percent(recall)} of all frauds)"
        return Suspect(column.name, "filled", words, {"share_of_frauds": recall, "fraud_rate": n_frauds / n_rows})
    return None


def _by_labelling(column: pl.Series, known: pl.Series) -> Suspect | None:
    """Judge whether a column is filled only where the outcome is known: then it came with the outcome, or after it."""
    n_unknown = int((~known).sum())
    if n_unknown < 100:
        return None
    filled = column.is_not_null()
    with_outcome = int((filled & known).sum()) / int(known.sum())
    without = int((filled & ~known).sum()) / n_unknown
    if without > 0.005 or with_outcome < 0.05:
        return None
    filled_in = f"{percent(with_outcome)} of the events with an outcome"
    words = f"filled for {filled_in} and {percent(without, 1)} of those without"
    return Suspect(column.name, "labelled", words, {"filled_known": with_outcome, "filled_unknown": without})


def counts_along(column: pl.Series, event_time: pl.Series) -> bool:
    """Say whether a number only rises, or only falls, with time: a row number, a day count, a copy of the clock.

    At most one step in a thousand may go the other way, and Spearman's correlation with the time must reach 0.9. Such
    a column takes values in the test period that training never saw.

    >>> from datetime import datetime, timedelta
    >>> times = pl.Series([datetime(2024, 1, 1) + timedelta(hours=i) for i in range(100)])
    >>> counts_along(pl.Series(range(100)), times), counts_along(pl.Series([0, 1] * 50), times)
    (True, False)
    """
    if not column.dtype.is_numeric() or column.null_count() or len(column) < 10:
        return False
    frame = pl.DataFrame({"t": event_time.cast(pl.Int64), "x": column.cast(pl.Float64)}).drop_nulls()
    return _rises(frame) or _rises(frame.with_columns(x=-pl.col("x")))


def _rises(frame: pl.DataFrame) -> bool:
    steps = frame.sort("t", "x")["x"].diff().drop_nulls()
    if not len(steps) or int((steps < 0).sum()) > 0.001 * len(steps) or not bool((steps > 0).any()):
        return False
    correlation = frame.select(pl.corr("t", "x", method="spearman")).item()
    return correlation is not None and correlation >= 0.9
