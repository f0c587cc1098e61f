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
from fraudctl.features.batch.jit import jit

_EDGES: Final = 128
"""Room for the edges of one tree and what is above them all."""


@jit
def score_rows(
    rows: SingleArray,
    node_start: IntArray,
    feature: AnyArray,
    threshold: FloatArray,
    null_left: AnyArray,
    left: AnyArray,
    right: AnyArray,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    out: FloatArray,
) -> None:
    """Write the sums of leaf values of many rows, added tree after tree, shape (n_rows,)."""
    out[:] = 0.0
    for tree in range(len(node_start) - 1):
        first, base = node_start[tree], leaf_start[tree]
        if node_start[tree + 1] == first:
            for i in range(rows.shape[0]):
                out[i] += leaf_value[base]
            continue
        for i in range(rows.shape[0]):
            at = 0
            while at >= 0:
                node = first + at
                value = rows[i, feature[node]]
                goes = (value <= threshold[node]) | ((value != value) & null_left[node])  # NaN
                at = left[node] if goes else right[node]
            out[i] += leaf_value[base + ~at]


@jit
def score_turns(
    row: SingleArray,
    node_start: IntArray,
    feature: AnyArray,
    threshold: FloatArray,
    null_left: AnyArray,
    left: AnyArray,
    right: AnyArray,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    turns: AnyArray,
) -> float:
    """Return the sum of the leaf values of one row, added as `score_rows` does, and note its turns in each tree."""
    total = 0.0
    for tree in range(len(node_start) - 1):
        first, last = node_start[tree], node_start[tree + 1]
        word = np.int64(0)
        for node in range(first, last):
            value = row[feature[node]]
            goes = (value <= threshold[node]) | ((value != value) & null_left[node])  # NaN
            word |= np.int64(goes) << (node - first)
        turns[tree] = word
        at = 0 if last > first else -1
        while at >= 0:
            at = left[first + at] if (word >> at) & 1 else right[first + at]
        total += leaf_value[leaf_start[tree] + ~at]
    return total


@jit
def explain_turns(
    turns: AnyArray,
    out: FloatArray,
    edge_start: IntArray,
    above: AnyArray,
    again: AnyArray,
    node: AnyArray,
    goes_left: AnyArray,
    feature: AnyArray,
    share: FloatArray,
    value: FloatArray,
    quadrature: FloatArray,
) -> None:
    """Add up what each feature contributes to the score of one row, in log-odds.

    A leaf of value v counts in a set of known features where the row meets all conditions of those on its path; an
    unknown feature lets it count by its share of the training rows. With ``o`` = 1 where the row meets the conditions
    on a feature, else 0, and ``z`` the share, the Shapley value of feature ``i`` is ``v (o_i - z_i)`` times the
    integral from 0 to 1 of the product of ``f_j = o_j t + z_j (1 - t)`` over the other features on the path: the weight
    of a set of s of D - 1 features is the integral of ``t^s (1 - t)^(D - 1 - s)``. The integrand is a polynomial of
    degree D - 1, for which Gauss-Legendre quadrature with 4 points is exact to D = 8.
    The leaves below an edge share the product of the factors above it, and pass up the sum of their values times the
    factors below (Yu et al., *Linear TreeShap*, NeurIPS 2022). Where a feature comes again on a path, its new factor
    takes the place of the earlier one. The four points are written out, so that they are computed at once.

    Parameters
    ----------
    out
        Shape (n_features,).
    edge_start
        Tree -> its edges, each after the edge above it, shape (n_trees + 1,).
    above, again
        For each edge, numbered from 1 in its tree, the edge above it and the last one above on the same feature; 0 for
        none.
    node, goes_left, feature, share
        The node that it leaves, whether to the left, the node's feature, and the share of training rows that meet all
        conditions on that feature down to here; above 0.
    value
        Value of the leaf that it leads to; 0 for a node.
    quadrature
        ``t``, ``1 - t`` and weights, shape (3, 4).
    """
    out[:] = 0.0
    t0, t1, t2, t3 = quadrature[0, 0], quadrature[0, 1], quadrature[0, 2], quadrature[0, 3]
    r0, r1, r2, r3 = quadrature[1, 0], quadrature[1, 1], quadrature[1, 2], quadrature[1, 3]
    met, rows = np.ones(_EDGES), np.zeros(_EDGES)
    factor, down, up = np.ones((_EDGES, 4)), np.empty((_EDGES, 4)), np.empty((_EDGES, 4))
    down[0] = quadrature[2]
    for tree in range(len(edge_start) - 1):
        word, first = turns[tree], edge_start[tree]
        n = edge_start[tree + 1] - first
        for e in range(n):
            k, at = np.uint64(e + 1), np.uint64(first + e)
            parent, earlier = above[at], again[at]
            passed = np.float64(((word >> node[at]) & 1) == goes_left[at]) * met[earlier]
            z, leaf = share[at], value[at]
            met[k], rows[k] = passed, z
            f0, f1, f2, f3 = passed * t0 + z * r0, passed * t1 + z * r1, passed * t2 + z * r2, passed * t3 + z * r3
            d0, d1, d2, d3 = down[parent, 0], down[parent, 1], down[parent, 2], down[parent, 3]
            if earlier:
                d0, d1 = d0 / factor[earlier, 0], d1 / factor[earlier, 1]
                d2, d3 = d2 / factor[earlier, 2], d3 / factor[earlier, 3]
            d0, d1, d2, d3 = d0 * f0, d1 * f1, d2 * f2, d3 * f3
            factor[k, 0], factor[k, 1], factor[k, 2], factor[k, 3] = f0, f1, f2, f3
            down[k, 0], down[k, 1], down[k, 2], down[k, 3] = d0, d1, d2, d3
            up[k, 0], up[k, 1], up[k, 2], up[k, 3] = leaf, leaf, leaf, leaf
        for e in range(n - 1, -1, -1):
            k, at = np.uint64(e + 1), np.uint64(first + e)
            parent, earlier = above[at], again[at]
            d0, d1, d2, d3 = down[parent, 0], down[parent, 1], down[parent, 2], down[parent, 3]
            u0, u1, u2, u3 = up[k, 0], up[k, 1], up[k, 2], up[k, 3]
            f0, f1, f2, f3 = factor[k, 0], factor[k, 1], factor[k, 2], factor[k, 3]
            p0, p1, p2, p3 = up[parent, 0], up[parent, 1], up[parent, 2], up[parent, 3]
            if earlier:
                e0, e1, e2, e3 = factor[earlier, 0], factor[earlier, 1], factor[earlier, 2], factor[earlier, 3]
                u0, u1, u2, u3 = u0 / e0, u1 / e1, u2 / e2, u3 / e3
                twice = (d0 * u0 * f0 / e0 + d1 * u1 * f1 / e1) + (d2 * u2 * f2 / e2 + d3 * u3 * f3 / e3)
                out[feature[at]] -= (met[earlier] - rows[earlier]) * twice
            up[parent, 0], up[parent, 1], up[parent, 2], up[parent, 3] = (
                p0 + f0 * u0, p1 + f1 * u1, p2 + f2 * u2, p3 + f3 * u3,
            )  # fmt: skip
            out[feature[at]] += (met[k] - rows[k]) * ((d0 * u0 + d1 * u1) + (d2 * u2 + d3 * u3))


@jit
def explain_rows(
    rows: SingleArray,
    out: FloatArray,
    node_start: IntArray,
    split: AnyArray,
    threshold: FloatArray,
    null_left: AnyArray,
    left: AnyArray,
    right: AnyArray,
    leaf_start: IntArray,
    leaf_value: FloatArray,
    edge_start: IntArray,
    above: AnyArray,
    again: AnyArray,
    node: AnyArray,
    goes_left: AnyArray,
    feature: AnyArray,
    share: FloatArray,
    value: FloatArray,
    quadrature: FloatArray,
) -> None:
    """Do what `score_turns` and `explain_turns` do for many rows; ``out`` has the shape (n_rows, n_features)."""
    turns = np.empty(len(node_start) - 1, np.int64)
    for i in range(rows.shape[0]):
        score_turns(rows[i], node_start, split, threshold, null_left, left, right, leaf_start, leaf_value, turns)
        explain_turns(turns, out[i], edge_start, above, again, node, goes_left, feature, share, value, quadrature)


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
