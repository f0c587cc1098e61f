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

from fraudctl.data.distinct import keys
from fraudctl.text.figures import number, percent

SUSPECT_AUC = 0.95
"""A single column whose AUC is surely above this is suspect; honest fraud models rarely reach it with all columns."""
SURE = 0.9
"""Fraud rate from which a value, or being filled, is said to give fraud away; see `sure_rate` for frequent fraud."""
MIN_FRAUDS = 20
"""With fewer frauds nothing is said."""
MAX_VALUES = 1000
"""Text with more distinct values is not judged by value."""
_MAX_PER_CLASS = 200_000
"""Rows of each class that an AUC is taken from: enough for three digits."""
_SOME_ROWS = 10 * MAX_VALUES
"""Rows that show that a column has more values than that, before all are counted."""
_FIRST_LOOK = 5_000
"""Rows of each class that are looked at first."""
_DULL = 0.1
"""Share of the frauds, among the rows looked at first, in values that are fraud in every second event; a suspect has a
quarter in values that nearly always are."""
FAR = 0.15
"""An AUC between this and 1 less this, over `_FIRST_LOOK` rows of each class, is more than ten standard errors from
`SUSPECT_AUC`; with `MIN_FRAUDS` frauds, three."""
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class LeakageSuspect:
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

    .. math:: AUC = U / (n_1 n_0)

    with :math:`U` the number of pairs in which the positive has the larger score (Mann and Whitney 1947).

    Parameters
    ----------
    x
        Scores, shape ``(n,)``, finite.
    y
        Outcomes, shape ``(n,)``; both classes must be present.

    >>> roc_auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    positive, negative = np.sort(x[y]), np.sort(x[~y])
    few, many = (positive, negative) if len(positive) < len(negative) else (negative, positive)
    below, to = np.searchsorted(many, few, "left"), np.searchsorted(many, few, "right")
    smaller = float(below.sum() + to.sum()) / 2  # pairs in which the one of the larger class is smaller, ties half
    n_pairs = len(positive) * len(negative)
    return (smaller if few is positive else n_pairs - smaller) / n_pairs


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


def sure_rate(base: float) -> float:
    """Return the fraud rate that gives fraud away where the base rate is ``base``: four in five legit events are gone.

    >>> [round(sure_rate(base), 3) for base in (0.01, 0.5, 0.95)]
    [0.9, 0.9, 0.99]
    """
    return max(SURE, 1 - 0.2 * (1 - base))


def _surely_fraud(n_frauds: int, n_rows: int, base: float) -> bool:
    """Say whether rows are fraud at `sure_rate`, and three standard errors above the base rate."""
    beyond = n_frauds - n_rows * base > 3 * math.sqrt(n_rows * base * (1 - base))
    return beyond and n_frauds >= sure_rate(base) * n_rows


def suspects(column: pl.Series, label: pl.Series) -> list[LeakageSuspect]:
    """Give every way in which ``column`` alone nearly gives ``label``; see `Outcomes.suspects`."""
    return LeakageOutcomes(label).suspects(column)


class LeakageOutcomes:
    """The outcomes that columns are held against: what does not depend on the column is computed once.

    Parameters
    ----------
    label
        Int8 1, 0 or null, shape ``(n_events,)``; null rows serve only to see what is filled without an outcome.
    """

    def __init__(self, label: pl.Series) -> None:
        self._known = label.is_not_null() if label.null_count() else None
        y = label.drop_nulls().cast(pl.Boolean)
        self._y, self._n_frauds = y, int(y.sum())
        self._n_unknown = label.null_count()
        self._thin = _thin(y, _MAX_PER_CLASS) if max(self._n_frauds, len(y) - self._n_frauds) > _MAX_PER_CLASS else None
        self._first = _thin(y, _FIRST_LOOK) if len(y) > 4 * _FIRST_LOOK else None
        half = np.random.default_rng(0).integers(0, 2, len(y)).astype(np.bool_)
        self._half = pl.Series(half)

    def suspects(self, column: pl.Series) -> list[LeakageSuspect]:
        """Give every way in which ``column`` alone nearly gives the outcome.

        Parameters
        ----------
        column
            Any dtype, shape ``(n_events,)``; NaN counts as null. Times are judged by being filled only.
        """
        if column.dtype.is_float():
            column = column.fill_nan(None)
        y = self._y
        if min(self._n_frauds, len(y) - self._n_frauds) < MIN_FRAUDS:
            return []
        known = column if self._known is None else column.filter(self._known)
        found: list[LeakageSuspect | None] = []
        if column.null_count():
            found += [_by_filling(known, y), self._by_labelling(column, known)]
        if not known.null_count() or _thinned_frauds(known, y) >= MIN_FRAUDS:
            found.append(self._by_order(known))
            if not self._dull(known):
                found.append(_by_value(known, y, self._half))
        return [item for item in found if item is not None]

    def _by_order(self, known: pl.Series) -> LeakageSuspect | None:
        if not (known.dtype.is_numeric() or known.dtype == pl.Boolean):
            return None
        thin, first = self._thin, self._first
        if first is not None and _far_from_suspect(known.gather(first), self._y.gather(first)):
            return None
        return _by_order(known, self._y) if thin is None else _by_order(known.gather(thin), self._y.gather(thin))

    def _dull(self, known: pl.Series) -> bool:
        """Say whether a few rows of each class show that whole numbers or texts are far from giving fraud away."""
        first = self._first
        if first is None or not (known.dtype.is_integer() or known.dtype == pl.String):
            return False
        truth = self._y.gather(first).to_numpy()
        _, codes = np.unique(keys(known.gather(first)), return_inverse=True)
        frauds = np.bincount(codes, weights=truth)
        legit = np.bincount(codes) - frauds
        weighed = frauds * self._n_frauds / truth.sum()
        others = legit * (len(self._y) - self._n_frauds) / (~truth).sum()
        return float(frauds[weighed >= others].sum()) < _DULL * float(truth.sum())

    def _by_labelling(self, column: pl.Series, known: pl.Series) -> LeakageSuspect | None:
        """Judge whether a column is filled only where the outcome is known: it came with the outcome, or after it."""
        if self._n_unknown < 100:
            return None
        n_filled, n_known = len(column) - column.null_count(), len(known) - known.null_count()
        with_outcome, without = n_known / len(known), (n_filled - n_known) / self._n_unknown
        if without > 0.005 or with_outcome < 0.05:
            return None
        filled_in = f"{percent(with_outcome)} of the events with an outcome"
        words = f"filled for {filled_in} and {percent(without, 1)} of those without"
        return LeakageSuspect(column.name, "labelled", words, {"filled_known": with_outcome, "filled_unknown": without})


def _thinned_frauds(column: pl.Series, y: pl.Series) -> int:
    filled = column.is_not_null()
    return min(int((y & filled).sum()), int((~y & filled).sum()))


def _far_from_suspect(column: pl.Series, y: pl.Series) -> bool:
    """Say whether a few rows of each class show that the AUC of a column is far below that of a suspect."""
    if column.null_count():
        return False
    auc = roc_auc(column.cast(pl.Float64).to_numpy(), y.to_numpy())
    return FAR < auc < 1 - FAR


def _thin(y: pl.Series, most: int) -> pl.Series:
    """Give the positions of every k-th row of each class, at most ``most`` of each."""
    parts = []
    for mask in (y, ~y):
        rows = mask.arg_true()
        parts.append(rows.gather_every(max(1, math.ceil(len(rows) / most))))
    return pl.concat(parts)


def _by_order(column: pl.Series, y: pl.Series) -> LeakageSuspect | None:
    truth = y.to_numpy()
    if column.null_count():
        truth, column = y.filter(column.is_not_null()).to_numpy(), column.drop_nulls()
    n_pos, n_neg = int(truth.sum()), int((~truth).sum())
    if min(n_pos, n_neg) < MIN_FRAUDS:
        return None
    auc = roc_auc(column.cast(pl.Float64).to_numpy(), truth)
    auc = max(auc, 1 - auc)
    if auc < SUSPECT_AUC:
        return None
    low = auc_low(auc, n_pos=n_pos, n_neg=n_neg)
    if low < SUSPECT_AUC:
        return None
    words = f"alone it ranks fraud with an AUC of {number(auc)} (at least {number(low)})"
    return LeakageSuspect(column.name, "separates", words, {"auc": auc, "auc_low": low, "n_frauds": n_pos})


def _by_value(column: pl.Series, y: pl.Series, half: pl.Series) -> LeakageSuspect | None:
    """Judge a column of few values: values learnt on one half of the rows are tried on the other.

    Shares are taken over all known outcomes, for thinning would move them; halves are drawn with a fixed seed, for
    files may be ordered in any way.
    """
    if not _may_have_values(column):
        return None
    base = float(y.sum()) / max(1, len(y))
    rate = sure_rate(base)
    value = column.cast(pl.String) if column.dtype == pl.Categorical or isinstance(column.dtype, pl.Enum) else column
    counts = _counts_by_value(value, y, half)
    if not 2 <= counts.height <= MAX_VALUES:
        return None
    counts = counts.select("value", pl.exclude("value").cast(pl.Int64))
    first = {"n": pl.col("n") - pl.col("half"), "frauds": pl.col("y") - pl.col("both")}
    second = {"n": pl.col("half"), "frauds": pl.col("both")}
    sides = [
        counts.select("value", **one, **{f"{name}_other": count for name, count in other.items()})
        for one, other in ((first, second), (second, first))
    ]
    sure = pl.concat(sides).filter(
        pl.col("n") > 0, pl.col("frauds_other") >= rate * pl.col("n_other"), pl.col("frauds_other") >= 3
    )
    n_rows, n_frauds = int(sure["n"].sum()), int(sure["frauds"].sum())
    recall = n_frauds / int(y.sum())
    if n_frauds < MIN_FRAUDS or recall < 0.25 or not _surely_fraud(n_frauds, n_rows, base):
        return None
    words = (
        f"{sure['value'].n_unique()} of its values hold {percent(recall)} of the frauds, and "
        f"{percent(n_frauds / n_rows)} of their events are fraud"
    )
    return LeakageSuspect(column.name, "values", words, {"share_of_frauds": recall, "fraud_rate": n_frauds / n_rows})


def _counts_by_value(value: pl.Series, y: pl.Series, half: pl.Series) -> pl.DataFrame:
    """Return ``n``, ``y``, ``half`` and ``both`` of these: rows of each ``value``, null as one of them."""
    both = y & half
    if value.dtype != pl.Boolean:
        frame = pl.DataFrame({"value": value, "y": y, "half": half, "both": both})
        return frame.group_by("value").agg(pl.len().alias("n"), pl.col("y", "half", "both").sum())
    masks = {True: value.fill_null(value=False), False: (~value).fill_null(value=False), None: value.is_null()}
    rows = [(one, mask.sum(), *((mask & part).sum() for part in (y, half, both))) for one, mask in masks.items()]
    names = ["value", "n", "y", "half", "both"]
    return pl.DataFrame(rows, schema=names, orient="row").filter(pl.col("n") > 0)


def _may_have_values(column: pl.Series) -> bool:
    """Say whether a column is of a type that is judged by value, and some of its rows do not show too many values."""
    dtype = column.dtype
    is_text = dtype in (pl.String, pl.Categorical, pl.Boolean) or isinstance(dtype, pl.Enum) or dtype.is_integer()
    return is_text and column.gather_every(max(1, len(column) // _SOME_ROWS)).n_unique() <= MAX_VALUES


def _by_filling(column: pl.Series, y: pl.Series) -> LeakageSuspect | None:
    for mask, state in ((column.is_not_null(), "filled"), (column.is_null(), "null")):
        n_rows, n_frauds = int(mask.sum()), int((mask & y).sum())
        n_all = int(y.sum())
        recall = n_frauds / n_all
        few = n_frauds < MIN_FRAUDS or n_rows == len(y) or recall < 0.1
        if few or not _surely_fraud(n_frauds, n_rows, n_all / len(y)):
            continue
        words = f"where it is {state}, {percent(n_frauds / n_rows)} are fraud ({percent(recall)} of all frauds)"
        return LeakageSuspect(
            column.name, "filled", words, {"share_of_frauds": recall, "fraud_rate": n_frauds / n_rows}
        )
    return None


def counts_along(column: pl.Series, event_time: pl.Series) -> bool:
    """Say whether a number only rises, or only falls, with time: a row number, a day count, a copy of the clock.

    At most one step in a thousand may go the other way, and Spearman's correlation with the time must reach 0.9. Such
    a column takes values in the test period that training never saw.

    >>> from datetime import datetime, timedelta
    >>> times = pl.Series([datetime(2024, 1, 1) + timedelta(hours=i) for i in range(100)])
    >>> counts_along(pl.Series(range(100)), times), counts_along(pl.Series([0, 1] * 50), times)
    (True, False)
    """
    return Along(event_time).rises_or_falls(column)


class Along:
    """The order of the events in time, found once for all columns that are held against it.

    Parameters
    ----------
    event_time
        Times, shape ``(n_events,)``; rows without one are left out.
    """

    def __init__(self, event_time: pl.Series) -> None:
        self._time = event_time
        at = event_time.cast(pl.Int64).drop_nulls().to_numpy()
        self._order = None if event_time.drop_nulls().is_sorted() else np.argsort(at, kind="stable")
        self._whole = self._order is None and not event_time.null_count()
        ordered = at if self._order is None else at[self._order]
        self._moves = ordered[1:] != ordered[:-1]

    def rises_or_falls(self, column: pl.Series) -> bool:
        """Judge one column as `counts_along` says."""
        if not column.dtype.is_numeric() or column.null_count() or len(column) < 10:
            return False
        return self._may(column) and _counts(column, self._time)

    def _may(self, column: pl.Series) -> bool:
        """Refuse at once what surely goes both ways; events of one instant may stand in any order."""
        if self._whole:
            head = column.head(_prefix(len(column))).cast(pl.Float64).to_numpy()
            moves, most = self._moves[: len(head) - 1], 0.001 * len(self._moves)
            falls, rises = (int((moves & found).sum()) for found in (head[1:] < head[:-1], head[1:] > head[:-1]))
            if min(falls, rises) > most and not np.isnan(column.to_numpy()).any():
                return False
        x = column.filter(self._time.is_not_null()).cast(pl.Float64).to_numpy()
        x = x if self._order is None else x[self._order]
        most = 0.001 * len(self._moves) + 2 * int(np.isnan(x).sum())
        falls = int((self._moves & (x[1:] < x[:-1])).sum())
        return falls <= most or int((self._moves & (x[1:] > x[:-1])).sum()) <= most


def _prefix(n_rows: int) -> int:
    """Return how many rows show that a column goes both ways, where it goes each way in every fourth."""
    return min(n_rows, 1_000 + n_rows // 200)


def _counts(column: pl.Series, event_time: pl.Series) -> bool:
    frame = pl.DataFrame({"t": event_time.cast(pl.Int64), "x": column.cast(pl.Float64)}).drop_nulls()
    return _rises(frame) or _rises(frame.with_columns(x=-pl.col("x")))


def _rises(frame: pl.DataFrame) -> bool:
    steps = frame.sort("t", "x")["x"].diff().drop_nulls()
    if not len(steps) or int((steps < 0).sum()) > 0.001 * len(steps) or not bool((steps > 0).any()):
        return False
    correlation = frame.select(pl.corr("t", "x", method="spearman")).item()
    return correlation is not None and correlation >= 0.9
