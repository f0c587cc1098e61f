"""What weakens a fit without stopping it, each with a number.

Owns three findings: features without effect, folds that were cut short by ``[train] iterations``, and features whose
later values lie outside of their training range. Works on masks and fitted models of the folds, and never looks at the
test period. It warns of nothing itself: it returns values and sentences.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.text.figures import count, percent
from fraudctl.train.model import ModelColumns, best_trees
from fraudctl.train.summary import OutOfRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.boosting import CatBoost

FIRST_LOOK: Final = 150
"""A cap of at most so many trees is a first look: that it binds is what was asked for."""
OUTSIDE_ROWS: Final = 0.25
"""Share of validation rows outside of the training range from which a feature is named."""
OUTSIDE_WEIGHT: Final = 0.01
"""Share of the model's weight from which such a feature is named."""
_FIRST_ROWS: Final = 4_096
"""Rows that are looked at before all others where one value too many settles a question."""


def constant(column: pl.Series, rows: NDArray[np.bool_]) -> bool:
    """Return whether a column has one value, or none, in ``rows`` (mask, shape ``(n_events,)``)."""
    first = column.gather(np.flatnonzero(rows)[:_FIRST_ROWS])
    return first.n_unique() <= 1 and column.filter(rows).n_unique() <= 1


def capped_trees(fitted: Sequence[Sequence[CatBoost]], *, iterations: int, patience: int) -> list[int]:
    """Return the best number of trees of each fold that grew all its trees before early stopping could end it.

    Parameters
    ----------
    fitted
        The models of each fold; a fold counts where all of its models ended so, with the median of their best numbers.
    """
    return [
        int(np.median([best_trees(model) for model in models]))
        for models in fitted
        if all(_ended_at_cap(model, iterations, patience) for model in models)
    ]


def _ended_at_cap(model: CatBoost, iterations: int, patience: int) -> bool:
    return model.tree_count_ == iterations and best_trees(model) + patience > iterations


def cap_sentence(capped: Sequence[int], *, folds: int, iterations: int) -> str | None:
    """Return what to say of folds that were ended by the cap on trees; None where there is nothing to say.

    Parameters
    ----------
    capped
        Best number of trees of each of those folds.

    >>> cap_sentence([480, 497], folds=3, iterations=500)[:70]
    '2 of 3 folds ended at the cap of 500 trees, the best at 480 and 497; m'
    """
    if not capped or iterations <= FIRST_LOOK:
        return None
    best = " and ".join(map(str, capped)) if len(capped) < 4 else f"{min(capped)} to {max(capped)}"
    return (
        f"{len(capped)} of {count(folds, 'fold')} ended at the cap of {iterations} trees, the best at {best}; more may "
        f"be better ([train] iterations = {2 * iterations})"
    )


def out_of_range(
    table: pl.DataFrame,
    columns: ModelColumns,
    shares: FloatArray,
    *,
    train: NDArray[np.bool_],
    later: NDArray[np.bool_],
) -> tuple[OutOfRange, ...]:
    """Return the numeric features whose later values lie outside of all that the model was fitted on.

    Parameters
    ----------
    table
        The feature table.
    columns, shares
        A fold's columns and their shares of the feature importance of its model, shape ``(n_columns,)``.
    train, later
        Masks of the rows that it was fitted on and of later ones, shape ``(n_events,)``.

    Returns
    -------
    tuple of OutOfRange
        Features with at least `OUTSIDE_ROWS` of the later rows below the least or above the greatest training value,
        and at least `OUTSIDE_WEIGHT` of the model's weight; the weightiest first. Nulls lie within.
    """
    found = []
    for name, weight in zip(columns.names, shares, strict=True):
        if weight < OUTSIDE_WEIGHT or name in columns.vocabularies:
            continue
        share = _share_outside(table[name], train, later)
        if share >= OUTSIDE_ROWS:
            found.append(OutOfRange(name, round(share, 6), round(float(weight), 6)))
    return tuple(sorted(found, key=lambda item: (-item.weight, item.feature)))


def _share_outside(column: pl.Series, train: NDArray[np.bool_], later: NDArray[np.bool_]) -> float:
    values = column.cast(pl.Float32).fill_nan(None)
    known, seen = values.filter(train), values.filter(later)
    low, high = known.min(), known.max()
    if low is None or not len(seen):
        return 0.0
    outside = ((seen < low) | (seen > high)).fill_null(value=False)
    return float(outside.sum()) / len(seen)


def range_sentence(found: Collection[OutOfRange]) -> str | None:
    r"""Return what to say of features outside of their training range; None where there are none.

    >>> range_sentence([OutOfRange("shop_age", 1.0, 0.08)])[:98]
    "1 feature with 8\xa0% of the model's weight leaves its training range in the latest fold: shop_age (1"
    """
    if not found:
        return None
    listed = [f"{item.feature} ({percent(item.rows)} of the rows)" for item in list(found)[:5]]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    leaves = "leaves its training range" if len(found) == 1 else "leave their training range"
    return (
        f"{count(len(found), 'feature')} with {percent(sum(item.weight for item in found))} of the model's weight "
        f"{leaves} in the latest fold: {', '.join(listed)}{more}; such a feature counts time: cap it, or leave it out "
        "and compare"
    )
