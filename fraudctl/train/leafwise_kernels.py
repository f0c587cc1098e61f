"""The inner loops over trees that grow leaf by leaf, compiled: scores, exact SHAP values and interactions of rows.

Trees are flat arrays (see `leafwise.LeafwiseTrees`). Tree ``t`` has the nodes ``[node_start[t], node_start[t + 1])``
and the leaves ``[leaf_start[t], leaf_start[t + 1])``; a child below 0 is the leaf ``~child``. A row is an array of
Float32, NaN where a value is null. The *turns* of a row in a tree are one word: bit ``j`` says that the row goes left
at node ``j``, whether or not it comes there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray, SingleArray
from fraudctl.features.batch.jit import jit, jit_wide

_SEQUENCE: Final = 0x077CB531
"""A de Bruijn sequence of 32 bits: times a bit, the first five bits are the bit's own number."""
_PLACES: Final = 66
"""Room for the nodes and leaves of one tree, or for both sides of its nodes and one more."""


@jit
def bin_columns(values: SingleArray, border_start: IntArray, border: SingleArray, bins: AnyArray) -> None:
    """Write, for each value, 1 and the borders of its column that it lies above; 0 for a null.

    Parameters
    ----------
    values
        Shape (n_columns, n_rows).
    border_start, border
        The borders of a column, ascending.
    bins
        uint16 of the shape of ``values``.
    """
    for column in range(values.shape[0]):
        some, counts = values[column], bins[column]
        for r in range(some.shape[0]):
            counts[r] = some[r] == some[r]  # not NaN
        for k in range(border_start[column], border_start[column + 1]):
            least = border[k]
            for r in range(some.shape[0]):
                counts[r] += some[r] > least


@jit
def score_block(
    bins: AnyArray,
    node_start: IntArray,
    column: AnyArray,
    first_bin: AnyArray,
    n_bins: AnyArray,
    without: AnyArray,
    leaf_value: FloatArray,
    spread: AnyArray,
    mask: AnyArray,
    out: FloatArray,
) -> None:
    """Add the leaf values of a block of rows to ``out``, tree after tree as `score_row` adds them.

    A node that a row leaves to the right takes the leaves on its left away from a mask; the lowest bit that is left is
    the leaf of the row (Lucchese et al., *QuickScorer*, SIGIR 2015). All rows of the block pass a node together.

    Parameters
    ----------
    bins
        From `bin_columns`, shape (n_columns, n_rows).
    first_bin, n_bins
        A row goes left where ``bin - first_bin < n_bins`` in uint16: bin 0, null, counts as left where ``first_bin`` is
        0, as right where it is 1.
    without
        The leaves that are not on the left of a node, as bits from left to right.
    leaf_value
        Of the leaf whose bit, times the de Bruijn sequence, begins with the number of the column: shape (n_trees,
        n_bits).
    spread
        A de Bruijn sequence, the shift that leaves its first bits, 1, and all bits, of the type of ``mask``.
    mask
        Room for one word per row, uint16 or uint32.
    """
    n = bins.shape[1]
    factor, shift, one, full = spread[0], spread[1], spread[2], spread[3]
    for tree in range(len(node_start) - 1):
        mask[:] = full
        for node in range(node_start[tree], node_start[tree + 1]):
            values, first, many, rest = bins[column[node]], first_bin[node], n_bins[node], without[node]
            for r in range(n):
                mask[r] &= full if np.uint16(values[r] - first) < many else rest
        for r in range(n):
            mask[r] = (mask[r] & ((mask[r] ^ full) + one)) * factor
        value = leaf_value[tree]
        for r in range(n):
            out[r] += value[mask[r] >> shift]


@jit
def score_row(
    row: SingleArray,
    feature: AnyArray,
    threshold: AnyArray,
    null_left: AnyArray,
    without: AnyArray,
    leaf_value: FloatArray,
    turns: AnyArray,
) -> float:
    """Return the sum of the leaf values of one row, added tree after tree, and note its turns in each tree.

    The first nodes of all trees are passed together, then the second ones, and so on: as `score_block` does with rows.

    Parameters
    ----------
    feature, threshold, null_left, without
        Of the nodes, shape (most nodes of a tree, n_trees); ``threshold`` is NaN and ``without`` all bits where a tree
        has fewer, so that the row goes right and keeps its leaves. ``null_left`` is 0 or 1.
    leaf_value
        As `score_block` takes it, of words of 32 bits.
    """
    n, none, one = feature.shape[1], np.uint32(0), np.uint32(1)
    word, leaves = np.zeros(n, np.uint32), np.full(n, np.uint32(none - one))
    values = np.empty(n, np.float32)
    for k in range(feature.shape[0]):
        for tree in range(n):
            values[tree] = row[feature[k, tree]]
        for tree in range(n):
            value = values[tree]
            left = np.uint32(value <= threshold[k, tree]) | (np.uint32(value != value) & null_left[k, tree])  # NaN
            word[tree] = np.uint32(word[tree] | np.uint32(left << np.uint32(k)))
            leaves[tree] = np.uint32(leaves[tree] & np.uint32(without[k, tree] | np.uint32(none - left)))
    total = 0.0
    for tree in range(n):
        turns[tree] = word[tree]
        leaf = np.uint32(np.uint32(leaves[tree] & np.uint32(none - leaves[tree])) * np.uint32(_SEQUENCE))
        total += leaf_value[tree, np.uint64(leaf) >> np.uint64(27)]
    return total


@jit
def score_numbers(
    numbers: FloatArray,
    positions: IntArray,
    feature: AnyArray,
    threshold: AnyArray,
    null_left: AnyArray,
    without: AnyArray,
    leaf_value: FloatArray,
    turns: AnyArray,
) -> float:
    """Do what `score_row` does for the numbers at some positions, in single precision."""
    row = np.empty(len(positions), np.float32)
    for k in range(len(positions)):
        row[k] = numbers[positions[k]]
    return score_row(row, feature, threshold, null_left, without, leaf_value, turns)


@jit_wide
def explain_turns(
    turns: AnyArray,
    out: FloatArray,
    node_start: IntArray,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    bit: AnyArray,
    sides: AnyArray,
    again: AnyArray,
    feature: AnyArray,
    share: FloatArray,
    earlier_share: FloatArray,
    quadrature: FloatArray,
) -> None:
    """Add up what each feature contributes to the score of one row, in log-odds.

    A leaf of value v counts in a set of known features where the row meets all conditions of those on its path; an
    unknown feature lets it count by its share of the training rows. With ``o`` = 1 where the row meets the conditions
    on a feature, else 0, and ``z`` the share, the Shapley value of feature ``i`` is ``v (o_i - z_i)`` times the
    integral from 0 to 1 of the product of ``f_j = o_j t + z_j (1 - t)`` over the other features on the path: the weight
    of a set of s of D - 1 features is the integral of ``t^s (1 - t)^(D - 1 - s)``. The integrand is a polynomial of
    degree D - 1, for which Gauss-Legendre quadrature with 4 points is exact to D = 8.
    The leaves below a node share the product of the factors above it (down), and pass up the sum of their values times
    the factors below (Yu et al., *Linear TreeShap*, NeurIPS 2022). The factors of both sides of a node sum to 1, or to
    the earlier factor of the feature where it comes again on the path and is replaced. So a node contributes by the
    difference of its sides alone. The four points are written out, so that they are computed at once.

    Parameters
    ----------
    out
        Shape (n_features,).
    bit, feature
        The bit of a node in the turns and its feature, by tree, each node after its parent, shape (n_nodes,).
    sides
        Places of its left and right side in the tree: nodes in their order, then leaves; shape (n_nodes, 2).
    again
        The last side above on the same feature: 1 + 2 times the place of its node, plus 1 for a right side; 0 for none.
    share, earlier_share
        Share of the training rows that meet all conditions on the feature down to the left side, and down to the side
        that ``again`` names (1 for none); above 0.
    quadrature
        ``t``, ``1 - t`` and weights, shape (3, 4).
    """
    out[:] = 0.0
    t0, t1, t2, t3 = quadrature[0, 0], quadrature[0, 1], quadrature[0, 2], quadrature[0, 3]
    r0, r1, r2, r3 = quadrature[1, 0], quadrature[1, 1], quadrature[1, 2], quadrature[1, 3]
    met = np.ones(_PLACES)
    factor, down, up = np.empty((_PLACES, 4)), np.empty((_PLACES, 4)), np.empty((_PLACES, 4))
    down[0] = quadrature[2]
    for tree in range(len(node_start) - 1):
        word, first = turns[tree], node_start[tree]
        n, leaf = node_start[tree + 1] - first, leaf_start[tree]
        for k in range(leaf_start[tree + 1] - leaf):
            place, value = np.uint64(n + k), leaf_value[leaf + k]
            up[place, 0], up[place, 1], up[place, 2], up[place, 3] = value, value, value, value
        for k in range(n):
            at, place = np.uint64(first + k), np.uint64(k)
            earlier, z = again[at], share[at]
            before = met[earlier]
            passed = before * np.float64((word >> bit[at]) & 1)
            met[2 * place + np.uint64(1)], met[2 * place + np.uint64(2)] = passed, before - passed
            f0, f1, f2, f3 = passed * t0 + z * r0, passed * t1 + z * r1, passed * t2 + z * r2, passed * t3 + z * r3
            if earlier:
                z = earlier_share[at]
                f0, f1 = f0 / (before * t0 + z * r0), f1 / (before * t1 + z * r1)
                f2, f3 = f2 / (before * t2 + z * r2), f3 / (before * t3 + z * r3)
            d0, d1, d2, d3 = down[place, 0], down[place, 1], down[place, 2], down[place, 3]
            left, right = sides[at, 0], sides[at, 1]
            factor[place, 0], factor[place, 1], factor[place, 2], factor[place, 3] = f0, f1, f2, f3
            f0, f1, f2, f3 = f0 * d0, f1 * d1, f2 * d2, f3 * d3
            down[left, 0], down[left, 1], down[left, 2], down[left, 3] = f0, f1, f2, f3
            d0, d1, d2, d3 = d0 - f0, d1 - f1, d2 - f2, d3 - f3
            down[right, 0], down[right, 1], down[right, 2], down[right, 3] = d0, d1, d2, d3
        for k in range(n - 1, -1, -1):
            at, place = np.uint64(first + k), np.uint64(k)
            left, right, earlier, z = sides[at, 0], sides[at, 1], again[at], share[at]
            u0, u1, u2, u3 = up[right, 0], up[right, 1], up[right, 2], up[right, 3]
            l0, l1, l2, l3 = up[left, 0] - u0, up[left, 1] - u1, up[left, 2] - u2, up[left, 3] - u3
            f0, f1, f2, f3 = factor[place, 0], factor[place, 1], factor[place, 2], factor[place, 3]
            u0, u1, u2, u3 = u0 + f0 * l0, u1 + f1 * l1, u2 + f2 * l2, u3 + f3 * l3
            up[place, 0], up[place, 1], up[place, 2], up[place, 3] = u0, u1, u2, u3
            d0, d1, d2, d3 = down[place, 0] * l0, down[place, 1] * l1, down[place, 2] * l2, down[place, 3] * l3
            moved = met[2 * place + np.uint64(1)] - z
            if earlier:
                z = earlier_share[at]
                before = met[earlier]
                own = before - z
                d0 = d0 * (moved - own * f0) / (before * t0 + z * r0)
                d1 = d1 * (moved - own * f1) / (before * t1 + z * r1)
                d2 = d2 * (moved - own * f2) / (before * t2 + z * r2)
                d3 = d3 * (moved - own * f3) / (before * t3 + z * r3)
                moved = 1.0
            out[feature[at]] += moved * ((d0 + d1) + (d2 + d3))


@jit_wide
def explain_rows(
    rows: SingleArray,
    out: FloatArray,
    split: AnyArray,
    threshold: AnyArray,
    null_left: AnyArray,
    without: AnyArray,
    placed_value: FloatArray,
    node_start: IntArray,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    bit: AnyArray,
    sides: AnyArray,
    again: AnyArray,
    feature: AnyArray,
    share: FloatArray,
    earlier_share: FloatArray,
    quadrature: FloatArray,
) -> None:
    """Do what `score_row` and `explain_turns` do for many rows; ``out`` has the shape (n_rows, n_features)."""
    turns = np.empty(len(node_start) - 1, np.int64)
    for i in range(rows.shape[0]):
        score_row(rows[i], split, threshold, null_left, without, placed_value, turns)
        explain_turns(
            turns, out[i], node_start, leaf_start, leaf_value, bit, sides, again, feature, share, earlier_share,
            quadrature,
        )  # fmt: skip


@jit
def interact_turns(
    turns: AnyArray,
    first: int,
    second: int,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    path_start: IntArray,
    path_feature: AnyArray,
    path_nodes: IntArray,
    path_left: IntArray,
    path_share: FloatArray,
    points: FloatArray,
    weights: FloatArray,
) -> float:
    """Return the SHAP interaction of two features in one row, both halves of it, as `explain_turns` integrates.

    Of each leaf that has both on its path: ``v (o_i - z_i) (o_j - z_j)`` times the integral over the other features.

    Parameters
    ----------
    path_start
        Leaf -> the features on its path, shape (n_leaves + 1,).
    path_nodes, path_left
        The nodes on a leaf's path that split on a feature, as bits, and those at which the path goes left.
    path_share
        Share of the training rows that pass those nodes, the product over them.
    points, weights
        Of the quadrature over [0, 1] that is exact to 8 features.
    """
    total = 0.0
    for tree in range(len(leaf_start) - 1):
        word = turns[tree]
        for leaf in range(leaf_start[tree], leaf_start[tree + 1]):
            start, last = path_start[leaf], path_start[leaf + 1]
            one, two, n_found = 0.0, 0.0, 0
            for k in range(start, last):
                met = 1.0 if (word & path_nodes[k]) == path_left[k] else 0.0
                if path_feature[k] == first:
                    one, n_found = met - path_share[k], n_found + 1
                elif path_feature[k] == second:
                    two, n_found = met - path_share[k], n_found + 1
            if n_found < 2:
                continue
            inner = 0.0
            for q in range(len(points)):
                product = weights[q]
                for k in range(start, last):
                    if path_feature[k] != first and path_feature[k] != second:
                        met = 1.0 if (word & path_nodes[k]) == path_left[k] else 0.0
                        product *= met * points[q] + path_share[k] * (1.0 - points[q])
                inner += product
            total += leaf_value[leaf] * one * two * inner
    return total
