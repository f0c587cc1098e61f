"""Columns whose values move with time so far that a later period has not been trained on.

Owns the statistic: how well a column alone tells the last fifth of the events from the others, within frauds and within
legitimate events, learnt on one half of the rows and tried on the other. It decides nothing about projects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.checks.leakage import auc_low, roc_auc
from fraudctl.data.distinct import keys
from fraudctl.text.figures import number

LATE: Final = 0.2
"""Share of the events, by time, that are late."""
MOVED: Final = 0.85
"""AUC between early and late from which a later period is said not to have been trained on; an even mix has 0.5."""
MIN_ROWS: Final = 200
"""With fewer events of a class nothing is said about it."""
_MOST_ROWS: Final = 50_000
_BINS: Final = 32
"""Numbers are judged by quantile bins, so that values in the middle may move, too."""
_FEW: Final = 50
"""With more values to compare with, a search is quicker than a pass over the rows for each."""
_MANY: Final = 1_000
"""With more codes, their scores are sorted no faster than those of the rows."""


@dataclass(frozen=True)
class TimeDrift:
    """A column that tells early from late events.

    Attributes
    ----------
    side
        ``legitimate events`` or ``frauds``: where it does.
    auc
        Of late against early events of that class, by the column alone.
    before, after
        AUC of fraud by the column alone, learnt on early events: on early events left out, and on late ones. None where
        a class is missing.
    """

    column: str
    side: str
    auc: float
    before: float | None
    after: float | None

    @property
    def words(self) -> str:
        """The finding in words."""
        moved = (
            f"its values move with time: alone they tell the last fifth of the {self.side} from the others with an AUC "
            f"of {number(self.auc)}, so that later values were hardly trained on"
        )
        if self.before is None or self.after is None:
            return moved
        ranks = f"learnt on the earlier events it ranks fraud with an AUC of {number(self.before)} there"
        return f"{moved}; {ranks} and {number(self.after)} later"


@dataclass(frozen=True, eq=False)
class DriftSide:
    """The events of one class: their places among those looked at, which are late, and which are of the first half."""

    name: str
    rows: IntArray
    late: BoolArray
    half: BoolArray


class TimeDrifts:
    """The times and outcomes that columns are held against, thinned once for all.

    Parameters
    ----------
    event_time
        Shape ``(n_events,)``; rows without one are left out.
    label
        Int8 1, 0 or null, the same shape; rows without an outcome are left out.
    """

    def __init__(self, event_time: pl.Series, label: pl.Series) -> None:
        rows = (event_time.is_not_null() & label.is_not_null()).arg_true()
        self._rows = rows.gather_every(max(1, -(-len(rows) // _MOST_ROWS)))
        times = event_time.gather(self._rows).cast(pl.Int64).to_numpy()
        self._fraud: BoolArray = label.gather(self._rows).to_numpy() == 1
        self._half: BoolArray = np.random.default_rng(0).integers(0, 2, len(times)).astype(np.bool_)
        sides = {"legitimate events": ~self._fraud, "frauds": self._fraud}
        self._sides = [
            DriftSide(name, np.flatnonzero(rows), _late(times, rows)[rows], self._half[rows])
            for name, rows in sides.items()
            if int(rows.sum()) >= MIN_ROWS
        ]
        self._all_late = _late(times, np.ones(len(times), dtype=np.bool_)) if len(times) else np.empty(0, np.bool_)

    def judge(self, column: pl.Series) -> TimeDrift | None:
        """Return how far a column moves with time, where that is surely above `MOVED`; shape ``(n_events,)``."""
        if not self._sides or column.dtype.is_temporal() or column.dtype.is_nested():
            return None
        codes = _codes(column.gather(self._rows))
        worst: tuple[float, str] | None = None
        for side in self._sides:
            found = self._moved(codes[side.rows], side.late, side.half)
            if found is not None and (worst is None or found > worst[0]):
                worst = found, side.name
        if worst is None:
            return None
        before, after = self._outcome(codes)
        return TimeDrift(column.name, worst[1], worst[0], before, after)

    def _moved(self, codes: IntArray, late: BoolArray, half: BoolArray) -> float | None:
        n_late = int(late.sum())
        if not 0 < n_late < len(late):
            return None
        auc = _cross_fitted_auc(codes, late, half)
        moved = auc >= MOVED and auc_low(auc, n_pos=n_late, n_neg=len(late) - n_late) >= MOVED
        return auc if moved else None

    def _outcome(self, codes: IntArray) -> tuple[float | None, float | None]:
        """Return how well the column ranks fraud on early events, by halves, and on late ones, by all early ones."""
        early, fraud = ~self._all_late, self._fraud
        classes = [int((fraud & part).sum()) for part in (early, ~early)]
        totals = [int(part.sum()) for part in (early, ~early)]
        if any(not 0 < n < total for n, total in zip(classes, totals, strict=True)):
            return None, None
        own = _cross_fitted(codes[early], fraud[early], self._half[early])
        learnt = _rates(codes[early], fraud[early], int(codes.max()) + 1)
        return roc_auc(own, fraud[early]), roc_auc(learnt[codes[~early]], fraud[~early])


def _late(times: IntArray, rows: BoolArray) -> BoolArray:
    """Return which events lie in the last fifth of those in ``rows``."""
    return np.asarray(times > np.quantile(times[rows], 1 - LATE), dtype=np.bool_)


def _codes(values: pl.Series) -> IntArray:
    """Return a code of each value: of each text, of each quantile bin of numbers; null has one of its own."""
    if values.dtype.is_numeric():
        return _bins(values.cast(pl.Float64).fill_nan(None))
    found = keys(values.cast(pl.String))
    return _places(pl.Series(found).unique().sort().to_numpy(), found) - 1


def _bins(values: pl.Series) -> IntArray:
    """Return the quantile bin of each number by its average rank; of few different ones, a code of each."""
    n_null, out = values.null_count(), np.zeros(len(values), np.int64)
    ordered = values.drop_nulls().sort().to_numpy()
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    low = ordered[starts]  # the least number of each bin
    if len(starts) + (n_null > 0) > _BINS:
        ranks = starts + (np.diff(starts, append=len(ordered)) + 1) / 2
        bins = np.floor(ranks * _BINS / len(values))
        low = low[np.diff(bins, prepend=-1.0) != 0]
    filled = values.is_not_null().to_numpy() if n_null else slice(None)
    out[filled] = _places(low, values.drop_nulls().to_numpy()) - (n_null == 0)
    return out


def _places(ordered: NDArray[Any], values: NDArray[Any]) -> IntArray:
    """Return how many of ``ordered``, without repeats, are not larger than each value; shape ``(n_values,)``."""
    if len(ordered) > _FEW:
        places: IntArray = np.searchsorted(ordered, values, side="right")
        return places
    out = np.zeros(len(values), np.uint8)
    for one in ordered:  # comparisons of a whole column are quicker than a search with jumps that nothing foretells
        out += values >= one
    return out.astype(np.int64)


def _rates(codes: IntArray, truth: BoolArray, n_codes: int) -> FloatArray:
    """Return the share of ``truth`` by code, drawn to that of all as by one event more."""
    n = np.bincount(codes, minlength=n_codes)
    hits = np.bincount(codes, weights=truth, minlength=n_codes)
    rates: FloatArray = (hits + float(truth.mean())) / (n + 1.0)
    return rates


def _cross_fitted(codes: IntArray, truth: BoolArray, half: BoolArray) -> FloatArray:
    """Return for each row the rate of its code in the other half of the rows."""
    n_codes = int(codes.max(initial=0)) + 1
    out = np.zeros(len(codes))
    for mine in (half, ~half):
        if mine.any() and not mine.all():
            out[mine] = _rates(codes[~mine], truth[~mine], n_codes)[codes[mine]]
    return out


def _cross_fitted_auc(codes: IntArray, truth: BoolArray, half: BoolArray) -> float:
    """Return the AUC of `_cross_fitted` for ``truth``; where codes are few, counted by code and half, not by row."""
    n_codes = int(codes.max(initial=0)) + 1
    if n_codes > _MANY:
        return roc_auc(_cross_fitted(codes, truth, half), truth)
    cells = codes * 2 + half
    n = np.bincount(cells, minlength=2 * n_codes).reshape(n_codes, 2)
    hits = np.bincount(cells[truth], minlength=2 * n_codes).reshape(n_codes, 2)
    totals = n.sum(axis=0)
    score = np.zeros((n_codes, 2))
    if totals.all():
        score = ((hits + hits.sum(axis=0) / totals) / (n + 1.0))[:, ::-1]
    _, place = np.unique(score.ravel(), return_inverse=True)
    positive, negative = (np.bincount(place, weights=part.ravel()) for part in (hits, n - hits))
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below) / (float(positive.sum()) * float(negative.sum()))
