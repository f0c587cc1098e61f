"""A LightGBM model of numeric splits as flat arrays: scores and exact SHAP values without LightGBM.

Owns the reading of such a model's text, which is checked node by node before compiled loops see it, and its scores,
contributions, interactions and feature importance. Scores are LightGBM's to the last bit: a value at or below a
threshold goes left, a null where the node says, and leaf values are added tree after tree. `plain_scores` evaluates the
text a second way, in plain Python, for the proof on loading.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray, SingleArray
from fraudctl.errors import BundleError
from fraudctl.train.leafwise_blocks import BLOCK, LeafwiseBlocks, RowTables, blocks_of, row_tables

MOST_LEAVES: Final = 32
"""Leaves of a tree that can be read: its nodes are the bits of one word, and kernels have room for its edges."""
MOST_NODES: Final = 60_000
"""Nodes of a model that can be read: the thresholds of a feature are numbered in 16 bits."""
MOST_FEATURES: Final = 8
"""Features on a path that can be read: up to so many, the quadrature of `explain_turns` is exact."""
_POINTS: Final = 4
_PART: Final = 256
"""Rows that are explained together."""
_CATEGORICAL, _DEFAULT_LEFT, _NONE, _NAN = 1, 2, 0, 2

Leaves = tuple[IntArray, FloatArray]
Paths = tuple[IntArray, AnyArray, IntArray, IntArray, FloatArray]


@dataclass(frozen=True)
class Tree:
    """One tree as its text says: nodes, children (``~leaf`` where below 0), leaves and their training rows."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    null_left: tuple[bool, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    leaf_rows: tuple[float, ...]

    def rows(self, child: int) -> float:
        """Return the training rows of a node or a leaf."""
        return self._node_rows[child] if child >= 0 else self.leaf_rows[~child]

    @cached_property
    def _node_rows(self) -> tuple[float, ...]:
        """Rows of the leaves below each node."""
        found = [0.0] * len(self.feature)
        for node in reversed(_order(self)):
            sides = self.left[node], self.right[node]
            found[node] = sum(found[side] if side >= 0 else self.leaf_rows[~side] for side in sides)
        return tuple(found)

    @property
    def expected(self) -> float:
        """Mean leaf value over the training rows."""
        total = sum(self.leaf_rows)
        return sum(v * n for v, n in zip(self.value, self.leaf_rows, strict=True)) / total if total > 0 else 0.0


@dataclass(frozen=True)
class LeafwiseTrees:
    """The trees of a LightGBM model.

    Attributes
    ----------
    trees
        As the text says.
    n_features
        Columns of a row.
    """

    trees: tuple[Tree, ...]
    n_features: int

    @cached_property
    def base(self) -> float:
        """The expected score: contributions and it add up to the score."""
        return math.fsum(tree.expected for tree in self.trees)

    def score(self, row: SingleArray) -> tuple[float, IntArray]:
        """Return the log-odds of one row, NaN where null, and its turns (for `explain`)."""
        from fraudctl.train.leafwise_kernels import score_row

        turns = np.empty(len(self.trees), dtype=np.int64)
        return float(score_row(row, *self._row_tables, turns)), turns

    def score_into(self, turns: IntArray, numbers: FloatArray, positions: IntArray) -> float:
        """Return what `score` does for the numbers at some positions, and write the turns."""
        from fraudctl.train.leafwise_kernels import score_numbers

        return float(score_numbers(numbers, positions, *self._row_tables, turns))

    def explain(self, turns: IntArray) -> FloatArray:
        """Return the contribution of each feature, in log-odds, of the row with these turns."""
        from fraudctl.train.leafwise_kernels import explain_turns

        out = np.empty(self.n_features, dtype=np.float64)
        explain_turns(turns, out, self._node_start, *self._leaves, *self._steps)
        return out

    def score_rows(self, rows: SingleArray, *, threads: int | None = None) -> FloatArray:
        """Return the log-odds of many rows, shape ``(n_rows,)``; bit by bit those of `score`.

        Parameters
        ----------
        rows
            Float32, shape ``(n_rows, n_features)``, NaN where null.
        threads
            Most threads to use; default: the processors. The result does not depend on it.
        """
        out = np.empty(len(rows), dtype=np.float64)
        blocks = self._blocks
        self._each_part(len(rows), BLOCK, threads, lambda at: blocks.score(rows[at], out[at]))
        return out

    def explain_rows(self, rows: SingleArray, *, threads: int | None = None) -> FloatArray:
        """Return the contributions of many rows, shape ``(n_rows, n_features)``; bit by bit those of `explain`."""
        from fraudctl.train.leafwise_kernels import explain_rows

        out = np.empty((len(rows), self.n_features), dtype=np.float64)
        tables: tuple[Any, ...] = (*self._row_tables, self._node_start, *self._leaves, *self._steps)
        self._each_part(
            len(rows), _PART, threads, lambda at: explain_rows(np.ascontiguousarray(rows[at]), out[at], *tables)
        )
        return out

    def interactions(self, rows: SingleArray, pairs: Sequence[tuple[int, int]]) -> FloatArray:
        """Return the SHAP interactions of pairs of features, both halves, shape ``(n_rows, n_pairs)``.

        Parameters
        ----------
        pairs
            Two different features each.
        """
        from fraudctl.train.leafwise_kernels import interact_turns

        out = np.empty((len(rows), len(pairs)), dtype=np.float64)
        for i, row in enumerate(rows):
            turns = self.score(row)[1]
            for k, (first, second) in enumerate(pairs):
                out[i, k] = interact_turns(turns, first, second, *self._tables)
        return out

    @cached_property
    def importance(self) -> FloatArray:
        """Share of each feature in how much the splits move the score, shape ``(n_features,)``; zeros without a split.

        As CatBoost's PredictionValuesChange: training rows of both sides of a split times the squared distance of their
        mean values from the mean of both, summed over the splits on a feature.
        """
        found = np.zeros(self.n_features, dtype=np.float64)
        for tree in self.trees:
            means = _means(tree)
            for node, feature in enumerate(tree.feature):
                sides = tree.left[node], tree.right[node]
                found[feature] += sum(tree.rows(side) * (means[side] - means[node]) ** 2 for side in sides)
        total = found.sum()
        return found / total if total > 0 else found

    @cached_property
    def pair_strength(self) -> Mapping[tuple[int, int], float]:
        """Pair of features -> share in how far leaves that both lead to are from what their trees expect."""
        found: dict[tuple[int, int], float] = {}
        for tree in self.trees:
            total, mean = sum(tree.leaf_rows), tree.expected
            for leaf, steps in enumerate(_leaf_paths(tree)):
                moved = tree.leaf_rows[leaf] / total * abs(tree.value[leaf] - mean) if total > 0 else 0.0
                for pair in itertools.combinations(sorted(steps), 2):
                    found[pair] = found.get(pair, 0.0) + moved
        total = sum(found.values())
        return {pair: value / total for pair, value in found.items()} if total > 0 else {}

    @staticmethod
    def _each_part(n: int, size: int, threads: int | None, work: Callable[[slice], object]) -> None:
        parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            list(pool.map(work, parts))

    @cached_property
    def _blocks(self) -> LeafwiseBlocks:
        return blocks_of(self.trees)

    @cached_property
    def _row_tables(self) -> RowTables:
        return row_tables(self.trees)

    @cached_property
    def _node_start(self) -> IntArray:
        return _offsets([len(tree.feature) for tree in self.trees])

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        """What `interact_turns` reads of all trees."""
        points, _, weights = _quadrature(_POINTS)
        return (*self._leaves, *self._paths, points, weights)

    @cached_property
    def _steps(self) -> tuple[Any, ...]:
        """What `explain_turns` reads of all nodes, each after its parent."""
        steps = [step for tree in self.trees for step in _tree_steps(tree)]
        kinds = (np.int64, np.uint8, np.uint8, np.uint32, np.float64, np.float64)
        columns = zip(*steps, strict=True) if steps else [(), np.empty((0, 2)), (), (), (), ()]
        flat = (np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=True))
        return (*flat, _quadrature(_POINTS))

    @cached_property
    def _leaves(self) -> Leaves:
        values = np.array([value for tree in self.trees for value in tree.value], dtype=np.float64)
        return _offsets([len(tree.value) for tree in self.trees]), values

    @cached_property
    def _paths(self) -> Paths:
        paths = [steps for tree in self.trees for steps in _leaf_paths(tree)]
        flat = [(feature, *step) for steps in paths for feature, step in sorted(steps.items())]
        return (
            _offsets([len(steps) for steps in paths]),
            np.array([item[0] for item in flat], dtype=np.int32),
            np.array([item[1] for item in flat], dtype=np.int64),
            np.array([item[2] for item in flat], dtype=np.int64),
            np.array([item[3] for item in flat], dtype=np.float64),
        )


def _quadrature(n_points: int) -> FloatArray:
    """Return points of a Gauss-Legendre quadrature over [0, 1], their distances from 1, and weights, shape (3, n)."""
    at, weight = np.polynomial.legendre.leggauss(n_points)
    return np.array([(1.0 + at) / 2.0, (1.0 - at) / 2.0, weight / 2.0])


def _offsets(lengths: Sequence[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _means(tree: Tree) -> dict[int, float]:
    """Return the mean leaf value below each node and leaf, over the training rows."""
    found: dict[int, float] = {~leaf: value for leaf, value in enumerate(tree.value)}
    for node in reversed(_order(tree)):
        left, right = tree.left[node], tree.right[node]
        total = tree.rows(left) + tree.rows(right)
        found[node] = (found[left] * tree.rows(left) + found[right] * tree.rows(right)) / total if total > 0 else 0.0
    return found


def _order(tree: Tree) -> list[int]:
    """Return the nodes, each after its parent."""
    found, open_nodes = [], [0] if tree.feature else []
    while open_nodes:
        node = open_nodes.pop()
        found.append(node)
        open_nodes += [child for child in (tree.left[node], tree.right[node]) if child >= 0]
    return found


def _leaf_paths(tree: Tree) -> list[dict[int, tuple[int, int, float]]]:
    """Return for each leaf the features on its path: nodes as bits, those passed to the left, share of rows."""
    found: list[dict[int, tuple[int, int, float]]] = [{} for _ in tree.value]
    open_nodes: list[tuple[int, dict[int, tuple[int, int, float]]]] = [(0, {})] if tree.feature else []
    while open_nodes:
        node, steps = open_nodes.pop()
        for child, goes_left in ((tree.left[node], 1), (tree.right[node], 0)):
            nodes, lefts, share = steps.get(tree.feature[node], (0, 0, 1.0))
            passed = share * tree.rows(child) / tree.rows(node)
            on = {**steps, tree.feature[node]: (nodes | 1 << node, lefts | goes_left << node, passed)}
            if child < 0:
                found[~child] = on
            else:
                open_nodes.append((child, on))
    return found


def _tree_steps(tree: Tree) -> list[tuple[int, tuple[int, int], int, int, float, float]]:
    """Return the nodes of a tree as `explain_turns` takes them: bit, sides, again, feature, share and earlier share."""
    order = _order(tree)
    place = {node: k for k, node in enumerate(order)} | {~leaf: len(order) + leaf for leaf in range(len(tree.value))}
    above: dict[int, dict[int, tuple[int, float]]] = {0: {}}
    found = []
    for k, node in enumerate(order):
        last, feature = above[node], tree.feature[node]
        again, earlier = last.get(feature, (0, 1.0))
        sides = tree.left[node], tree.right[node]
        shares = [earlier * tree.rows(side) / tree.rows(node) for side in sides]
        for right, side in enumerate(sides):
            above[side] = {**last, feature: (1 + 2 * k + right, shares[right])}
        found.append((node, (place[sides[0]], place[sides[1]]), again, feature, shares[0], earlier))
    return found


def read_leafwise(text: str, *, n_features: int) -> LeafwiseTrees:
    """Read the text of a LightGBM model of numeric splits.

    Raises
    ------
    BundleError
        It is none, has another number of features, splits on categories, has linear leaves, more than `MOST_LEAVES`
        leaves in a tree, more than `MOST_NODES` nodes, or nodes that do not make a tree.
    """
    try:
        header, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
        facts = _facts(header)
        if facts.get("objective", "").split(" ")[0] != "binary" or facts.get("num_tree_per_iteration") != "1":
            raise ValueError("its objective is not binary")
        if int(facts["max_feature_idx"]) + 1 != n_features:
            raise ValueError(f"it takes {int(facts['max_feature_idx']) + 1} features, not {n_features}")
        trees = tuple(_tree(_facts(block), n_features) for block in blocks)
        if sum(len(tree.feature) for tree in trees) > MOST_NODES:
            raise ValueError(f"it has more than {MOST_NODES:,} nodes")
        return LeafwiseTrees(trees, n_features)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        msg = f"the partner's trees cannot be read: {what}"
        raise BundleError(msg, hint="train again, or use the fraudctl version that wrote the bundle") from error


def _facts(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _tree(facts: Mapping[str, str], n_features: int) -> Tree:
    """Read one tree and check that it is one."""
    n_leaves = int(facts["num_leaves"])
    if not 1 <= n_leaves <= MOST_LEAVES or facts.get("num_cat", "0") != "0" or facts.get("is_linear", "0") != "0":
        raise ValueError("a tree has too many leaves, splits on categories or linear leaves")
    n = n_leaves - 1

    def whole(name: str, size: int) -> tuple[int, ...]:
        return tuple(map(int, _listed(facts, name, size)))

    def real(name: str, size: int) -> tuple[float, ...]:
        return tuple(map(float, _listed(facts, name, size)))

    value = real("leaf_value", n_leaves)
    if n == 0:
        tree = Tree((), (), (), (), (), value, (1.0,))
    else:
        kinds, threshold = whole("decision_type", n), real("threshold", n)
        null_left = tuple(itertools.starmap(_null_left, zip(kinds, threshold, strict=True)))
        tree = Tree(
            whole("split_feature", n), threshold, null_left, whole("left_child", n), whole("right_child", n), value,
            real("leaf_count", n_leaves),
        )  # fmt: skip
    _check(tree, n_features)
    return tree


def _listed(facts: Mapping[str, str], name: str, size: int) -> list[str]:
    found = facts[name].split(" ")
    if len(found) != size:
        raise ValueError(f"{name} has {len(found)} entries, expected {size}")
    return found


def _null_left(kind: int, threshold: float) -> bool:
    """Return where a null goes: as the node says, or where training had none, as a 0 does."""
    missing = kind >> 2
    if kind & _CATEGORICAL or missing not in (_NONE, _NAN):
        raise ValueError("a split is on a category, or takes 0 for missing")
    return bool(kind & _DEFAULT_LEFT) if missing == _NAN else threshold >= 0.0


def _check(tree: Tree, n_features: int) -> None:
    """Refuse what is no binary tree over the features with finite numbers."""
    n, n_leaves = len(tree.feature), len(tree.value)
    children = sorted((*tree.left, *tree.right))
    if children != [*range(-n_leaves, 0 if n else -1), *range(1, n)] or len(_reached(tree)) != n:
        raise ValueError("the nodes do not make a tree")
    if not all(0 <= feature < n_features for feature in tree.feature):
        raise ValueError("a split is on no feature of the model")
    finite = all(map(math.isfinite, (*tree.value, *tree.leaf_rows)))
    if not finite or any(map(math.isnan, tree.threshold)) or min(tree.leaf_rows) <= 0:
        raise ValueError("a threshold is no number, a leaf value is not finite, or a leaf has no rows")
    if max(map(len, _leaf_paths(tree))) > MOST_FEATURES:
        raise ValueError(f"a path has more than {MOST_FEATURES} features")


def _reached(tree: Tree) -> set[int]:
    """Return the nodes that the root leads to; every node is the child of one, so that no way runs in circles."""
    return set(_order(tree))


def plain_scores(trees: LeafwiseTrees, rows: SingleArray) -> FloatArray:
    """Return the log-odds of rows by a walk in plain Python, shape ``(n_rows,)``: slow and obvious."""
    return np.array([sum((_leaf(tree, row) for tree in trees.trees), 0.0) for row in rows.tolist()], dtype=np.float64)


def _leaf(tree: Tree, row: Sequence[float]) -> float:
    at = 0 if tree.feature else ~0
    while at >= 0:
        value = row[tree.feature[at]]
        goes_left = tree.null_left[at] if math.isnan(value) else value <= tree.threshold[at]
        at = tree.left[at] if goes_left else tree.right[at]
    return tree.value[~at]
