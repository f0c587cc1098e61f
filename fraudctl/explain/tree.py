"""The shallow decision tree behind the rule of a cluster: CART with the Gini index, grown on few rows.

Owns the search for cuts. Unknown values go to the side on which they part the classes better, as in scikit-learn, whose
trees are the same but for two things: numbers keep double precision, and of equally good cuts that of the first feature
is taken, where scikit-learn draws. Loading scikit-learn would take longer than everything that is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class TreeCut:
    """Where a node is parted.

    Attributes
    ----------
    feature
        Position of the feature.
    at
        Values up to it are on the low side; infinite where known values are parted from unknown ones.
    unknown_low
        Whether unknown values are on the low side; where the node has none, the side with more rows.
    """

    feature: int
    at: float
    unknown_low: bool


@dataclass(frozen=True)
class Branch:
    """One step on the way to a leaf: a cut, and whether the low side is taken."""

    cut: TreeCut
    low: bool


@dataclass(frozen=True)
class Leaf:
    """A leaf: the way to it from the root, and the positions of its rows, rising."""

    way: tuple[Branch, ...]
    rows: IntArray


def grow(table: FloatArray, mine: BoolArray, *, depth: int, least: int) -> list[Leaf]:
    """Grow a tree that parts some rows from the others; return its leaves, those of low sides first.

    A node is parted while it holds both classes, by the cut with the lowest Gini impurity, weighted by rows.

    Parameters
    ----------
    table
        Numbers, shape ``(n_rows, n_features)``; NaN is unknown, none is infinite.
    mine
        The rows to part from the others, shape ``(n_rows,)``.
    depth
        Most cuts on the way to a leaf.
    least
        Fewest rows of a leaf, at least 1.

    Examples
    --------
    >>> leaves = grow(np.array([[1.0], [2.0], [3.0]]), np.array([False, True, True]), depth=3, least=1)
    >>> [(leaf.rows.tolist(), leaf.way[0].cut.at) for leaf in leaves]
    [([0], 1.5), ([1, 2], 1.5)]
    """
    orders = [np.argsort(column, kind="stable") for column in table.T]
    return _grown(table, mine, orders, np.ones(len(mine), dtype=bool), (), depth, least)


def _grown(
    table: FloatArray, mine: BoolArray, orders: Sequence[IntArray], inside: BoolArray, way: tuple[Branch, ...],
    depth: int, least: int,
) -> list[Leaf]:  # fmt: skip
    """Grow the tree below a node; ``orders`` are its rows by each feature, rising, unknown values last."""
    rows = np.flatnonzero(inside)
    parted = 0 < mine[rows].sum() < len(rows)
    cut = _best(table, mine, orders, least) if depth > 0 and parted else None
    if cut is None:
        return [Leaf(way, rows)]
    values = table[:, cut.feature]
    low = (values <= cut.at) | (np.isnan(values) & cut.unknown_low)
    out: list[Leaf] = []
    for is_low, side in ((True, inside & low), (False, inside & ~low)):
        orders_there = [order[side[order]] for order in orders]
        out += _grown(table, mine, orders_there, side, (*way, Branch(cut, is_low)), depth - 1, least)
    return out


def _best(table: FloatArray, mine: BoolArray, orders: Sequence[IntArray], least: int) -> TreeCut | None:
    """Return the best cut of a node, of equal ones the first; None where no side would keep ``least`` rows."""
    found = [_best_of(j, table[order, j], mine[order], least) for j, order in enumerate(orders)]
    best = max(range(len(found)), key=lambda j: found[j][0], default=None)
    return None if best is None else found[best][1]


def _best_of(feature: int, values: FloatArray, mine: BoolArray, least: int) -> tuple[float, TreeCut | None]:
    """Return the purity and the best cut of one feature, whose values rise and are unknown at the end.

    Of equal cuts the lowest is taken, and unknown values are on the high side.
    """
    n = len(values)
    known = n - int(np.isnan(values).sum())
    up_to = np.cumsum(mine, dtype=np.int64)
    ends = np.flatnonzero(values[1:known] > values[: max(known - 1, 0)]) + 1
    at, n_low, mine_low = [ends], [ends], [up_to[ends - 1]]
    if 0 < known < n:
        missed = up_to[-1] - up_to[known - 1]
        at += [ends, np.array([known])]
        n_low += [ends + (n - known), np.array([known])]
        mine_low += [up_to[ends - 1] + missed, up_to[known - 1 : known]]
    places, size, hits = np.concatenate(at), np.concatenate(n_low), np.concatenate(mine_low)
    able = (size >= least) & (n - size >= least)
    if not able.any():
        return -np.inf, None
    places, size, hits = places[able], size[able], hits[able]
    purity = _purity(size, hits) + _purity(n - size, up_to[-1] - hits)
    k = int(purity.argmax())
    unknown_low = bool(size[k] != places[k] if known < n else 2 * size[k] > n)
    return float(purity[k]), TreeCut(feature, _between(values, int(places[k]), known), unknown_low)


def _purity(n: IntArray, hits: IntArray) -> FloatArray:
    """Return the rows of a side less its Gini impurity times its rows: the higher, the better."""
    return np.asarray((hits**2 + (n - hits) ** 2) / n, dtype=np.float64)


def _between(values: FloatArray, place: int, known: int) -> float:
    """Return the middle between two neighbours, or the lower one where no number lies between them."""
    if place == known:
        return float(np.inf)
    low, high = float(values[place - 1]), float(values[place])
    middle = low / 2 + high / 2
    return middle if low <= middle < high else low
