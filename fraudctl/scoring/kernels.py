"""The inner loops over symmetric trees, compiled: which leaf a row falls into, its score, and its exact SHAP values.

A forest is a handful of flat arrays (see `trees.Forest`). Tree ``t`` has the splits ``[split_start[t], split_start[t +
1])``; split ``j`` of a tree sets bit ``j`` of the leaf's number, so the last split is the root. A row is an array of
Float32 without NaN: the numbers of the model, then 0 or 1 for every split on a category.
"""

from __future__ import annotations

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray, SingleArray
from fraudctl.features.batch.jit import jit


@jit
def score_row(
    row: SingleArray,
    column: AnyArray,
    border: SingleArray,
    stride: IntArray,
    cell_start: IntArray,
    cells: FloatArray,
    places: IntArray,
) -> float:
    """Return the sum of the leaf values of one row, tree after tree, and note where the cells of its leaves begin.

    The first splits of all trees are looked at together, then the second ones, and so on.

    Parameters
    ----------
    column, border
        Of the splits, shape (most splits of a tree, n_trees); no row lies above the border where a tree has fewer.
    stride
        Tree -> words of one leaf's cell, shape (n_trees,).
    cell_start
        Tree -> its first cell in ``cells``, shape (n_trees,).
    cells
        For each leaf its value and what each feature of its tree contributes there, in words of `stride_of`.
    """
    n = column.shape[1]
    leaf, values = np.zeros(n, np.uint32), np.empty(n, np.float32)
    for split in range(column.shape[0]):
        for tree in range(n):
            values[tree] = row[column[split, tree]]
        for tree in range(n):
            above = np.uint32(values[tree] > border[split, tree])
            leaf[tree] = np.uint32(leaf[tree] | np.uint32(above << np.uint32(split)))
    total = 0.0
    for tree in range(n):
        place = cell_start[tree] + np.int64(leaf[tree]) * stride[tree]
        places[tree] = place
        total += cells[place]
    return total


@jit
def stride_of(n_features: int) -> int:
    """Return the words of a leaf's cell: whole lines of the cache, so that what is scored is there to be explained."""
    return (n_features + 8) // 8 * 8


@jit
def score_numbers(
    numbers: FloatArray,
    high_nan: AnyArray,
    codes: IntArray,
    truth_of: IntArray,
    truth_start: IntArray,
    truth: SingleArray,
    column: AnyArray,
    border: SingleArray,
    stride: IntArray,
    cell_start: IntArray,
    cells: FloatArray,
    places: IntArray,
) -> float:
    """Do what `score_row` does for numbers and codes of categories as an event has them.

    Parameters
    ----------
    numbers
        One per column, NaN for null.
    high_nan
        Whether null counts as the largest value of a column; otherwise as the smallest.
    codes
        The value of each category.
    truth_of, truth_start
        Split on a category -> the category, and its first entry in ``truth``.
    truth
        0 or 1 for each value of a category.
    """
    n = len(numbers)
    row = np.empty(n + len(truth_of), np.float32)
    for k in range(n):
        value = np.float32(numbers[k])
        row[k] = (np.inf if high_nan[k] else -np.inf) if value != value else value  # NaN
    for k in range(len(truth_of)):
        row[n + k] = truth[truth_start[k] + codes[truth_of[k]]]
    return score_row(row, column, border, stride, cell_start, cells, places)


@jit
def explain_row(
    places: IntArray, feature_start: IntArray, feature: AnyArray, cells: FloatArray, out: FloatArray
) -> None:
    """Add up what each feature contributes in the leaves of one row; ``out`` is the model's features in their order."""
    out[:] = 0.0
    for tree in range(len(feature_start) - 1):
        first, last = feature_start[tree], feature_start[tree + 1]
        at = places[tree] + 1
        for k in range(first, last):
            out[feature[k]] += cells[at + k - first]


@jit
def add_partner(values: FloatArray, partners: FloatArray, positions: IntArray, weight: float) -> None:
    """Mix the contributions of one row in place: ``1 - weight`` of the values, ``weight`` of a partner's."""
    for k in range(len(values)):
        values[k] *= 1.0 - weight
    for k in range(len(positions)):
        values[positions[k]] += weight * partners[k]


@jit
def strongest(values: FloatArray, sign: float, closed: AnyArray, least: float, found: IntArray) -> int:
    """Write the positions of the greatest ``sign * values`` from ``least`` up, the greatest first; give how many.

    Of equal ones the first comes first. Those that are closed are passed over.
    """
    for n in range(len(found)):
        best = -1
        for k in range(len(values)):
            push = sign * values[k]
            if closed[k] or not push >= least or (best >= 0 and push <= sign * values[best]):
                continue
            taken = False
            for earlier in range(n):
                taken = taken or found[earlier] == k
            if not taken:
                best = k
        if best < 0:
            return n
        found[n] = best
    return len(found)


@jit
def explain_rows(
    rows: SingleArray,
    column: AnyArray,
    border: SingleArray,
    stride: IntArray,
    feature_start: IntArray,
    cell_start: IntArray,
    cells: FloatArray,
    feature: AnyArray,
    out: FloatArray,
) -> None:
    """Do what `score_row` and `explain_row` do for many rows; ``out`` has the shape (n_rows, n_features)."""
    places = np.empty(len(stride), np.int64)
    for i in range(rows.shape[0]):
        score_row(rows[i], column, border, stride, cell_start, cells, places)
        explain_row(places, feature_start, feature, cells, out[i])


@jit
def bin_column(values: SingleArray, borders: SingleArray, out: AnyArray) -> None:
    """Count, for each value of a column, the borders that it lies above.

    Border after border over a stretch of rows that stays in the nearest cache: the processor compares many at once, and
    that is sooner done than a search for as many borders as a model has.

    Parameters
    ----------
    values
        Without NaN.
    out
        uint8 of the shape of ``values``.
    """
    out[:] = 0
    for start in range(0, values.shape[0], 1024):
        some = values[start : start + 1024]
        counts = out[start : start + 1024]
        for border in borders:
            for r in range(some.shape[0]):
                counts[r] += some[r] > border


@jit
def score_block(
    bins: AnyArray,
    split_start: IntArray,
    column: AnyArray,
    rank: AnyArray,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    leaf: AnyArray,
    out: FloatArray,
) -> None:
    """Write the sums of leaf values of a block of rows, added tree after tree as `score_row` adds them.

    Parameters
    ----------
    bins
        From `bin_column`, shape (n_columns, n_rows).
    rank
        For each split, the number of borders that a value must lie above: bit set where ``bin > rank``.
    leaf
        Room for one number per row, uint16.
    """
    n = bins.shape[1]
    out[:] = 0.0
    for tree in range(len(split_start) - 1):
        first = split_start[tree]
        leaf[:] = 0
        for split in range(first, split_start[tree + 1]):
            values, least, bit = bins[column[split]], rank[split], np.uint16(1 << (split - first))
            for r in range(n):
                leaf[r] += bit if values[r] > least else np.uint16(0)
        base = leaf_start[tree]
        for r in range(n):
            out[r] += leaf_value[base + leaf[r]]


@jit
def known_values(
    depth: int, classes: AnyArray, n_classes: int, leaf_value: FloatArray, leaf_weight: FloatArray
) -> FloatArray:
    """Return what a symmetric tree expects at every leaf when only some features are known, for every set of features.

    Where a split is on a known feature the leaf's way is taken, elsewhere both, by their training weights; a way that
    no training row took counts nothing.

    Parameters
    ----------
    classes
        Number of the feature of each split, in ``[0, n_classes)``, shape (depth,).

    Returns
    -------
    array of shape (2 ** n_classes, 2 ** depth)
        Bit ``k`` of the first index says that feature ``k`` is known.
    """
    n_leaves = 1 << depth
    known = np.empty((1 << n_classes, n_leaves))
    known[:] = leaf_value
    weight = leaf_weight.copy()
    for bit in range(depth):
        for chosen in range(1 << n_classes):
            value, inside = known[chosen], (chosen >> classes[bit]) & 1
            for leaf in range(n_leaves):
                if inside:
                    if weight[leaf >> bit] <= 0.0:
                        value[leaf] = 0.0
                elif not (leaf >> bit) & 1:
                    other = leaf | (1 << bit)
                    left, right = weight[leaf >> bit], weight[other >> bit]
                    mean = (left * value[leaf] + right * value[other]) / (left + right) if left + right > 0.0 else 0.0
                    value[leaf] = mean
                    value[other] = mean
        for node in range(n_leaves >> (bit + 1)):
            weight[node] = weight[2 * node] + weight[2 * node + 1]
    return known


@jit
def shapley_values(known: FloatArray, n_classes: int, share: FloatArray, out: FloatArray) -> None:
    """Write the path-dependent SHAP values of every leaf, computed from `known_values`.

    Lundberg et al., *Consistent Individualized Feature Attribution for Tree Ensembles* (2018).

    Parameters
    ----------
    share
        ``share[size]``: weight of a set of that size, ``size! (n_classes - size - 1)! / n_classes!``.
    out
        Shape (n_leaves * n_classes,).
    """
    out[:] = 0.0
    for chosen in range(known.shape[0]):
        size = 0
        for k in range(n_classes):
            size += (chosen >> k) & 1
        for k in range(n_classes):
            if not (chosen >> k) & 1:
                more = known[chosen | (1 << k)]
                for leaf in range(known.shape[1]):
                    out[leaf * n_classes + k] += share[size] * (more[leaf] - known[chosen, leaf])
