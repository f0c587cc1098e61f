"""Trees that grow leaf by leaf in the form in which many rows go through them: bins of values, leaves as bits.

Owns the tables of `leafwise_kernels.score_block`. A threshold of double precision becomes the greatest value of single
precision at or below it: rows are of single precision, so that no row changes sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray, SingleArray

if TYPE_CHECKING:
    from fraudctl.train.leafwise import Tree

BLOCK: Final = 2048
"""Rows that go through all trees together: their bins stay in a near cache."""
_SEQUENCES: Final[dict[type[np.uint16 | np.uint64], int]] = {np.uint16: 0x09AF, np.uint64: 0x03F79D71B4CB0A89}
"""Type of a word -> a de Bruijn sequence of its length: times each bit, its first bits are a number of their own."""


@dataclass(frozen=True)
class LeafwiseBlocks:
    """The trees as tables over bins.

    Attributes
    ----------
    columns
        Features that any tree splits on, ascending, shape (n_columns,).
    borders
        Starts, and the distinct thresholds of each of these columns, ascending.
    nodes
        Starts by tree, column, first bin and number of bins on the left, and the leaves that are not on the left.
    leaf_value
        Of each leaf at its place, shape (n_trees, bits of a word).
    spread
        As `score_block` takes it.
    """

    columns: IntArray
    borders: tuple[IntArray, SingleArray]
    nodes: tuple[IntArray, AnyArray, AnyArray, AnyArray, AnyArray]
    leaf_value: FloatArray
    spread: AnyArray

    def score(self, rows: SingleArray, out: FloatArray) -> None:
        """Write the log-odds of up to `BLOCK` rows, shape ``(n_rows, n_features)``, NaN where null."""
        from fraudctl.train.leafwise_kernels import bin_columns, score_block

        values = np.ascontiguousarray(rows[:, self.columns].T)
        bins = np.empty(values.shape, dtype=np.uint16)
        bin_columns(values, *self.borders, bins)
        score_block(bins, *self.nodes, self.leaf_value, self.spread, np.empty(len(rows), self.spread.dtype), out)


def blocks_of(trees: Sequence[Tree]) -> LeafwiseBlocks:
    """Make the tables of trees of up to 64 leaves."""
    word = np.uint16 if max((len(tree.value) for tree in trees), default=1) <= 16 else np.uint64
    n_bits = np.dtype(word).itemsize * 8
    feature = np.array([item for tree in trees for item in tree.feature], dtype=np.int64)
    least = _single_at_most(np.array([item for tree in trees for item in tree.threshold], dtype=np.float64))
    null_left = np.array([item for tree in trees for item in tree.null_left], dtype=np.bool_)
    columns = np.unique(feature)
    borders = [np.unique(least[feature == at]) for at in columns]
    rank = np.empty(len(feature), dtype=np.int64)
    for at, some in zip(columns, borders, strict=True):
        rank[feature == at] = np.searchsorted(some, least[feature == at])
    values, without = np.zeros((len(trees), n_bits)), []
    factor, shift = _SEQUENCES[word], n_bits - (n_bits - 1).bit_length()
    for tree, row in zip(trees, values, strict=True):
        from_left, left_of = _left_to_right(tree)
        for bit, leaf in enumerate(from_left):
            row[((factor << bit) % (1 << n_bits)) >> shift] = tree.value[leaf]
        without += [(1 << n_bits) - 1 - sum(1 << bit for bit in bits) for bits in left_of]
    return LeafwiseBlocks(
        columns,
        (_starts(list(map(len, borders))), np.concatenate([np.empty(0, np.float32), *borders])),
        (
            _starts([len(tree.feature) for tree in trees]), np.searchsorted(columns, feature).astype(np.int32),
            (~null_left).astype(np.uint16), (rank + 1 + null_left).astype(np.uint16), np.array(without, dtype=word),
        ),
        values,
        np.array([factor, shift, 1, (1 << n_bits) - 1], dtype=word),
    )  # fmt: skip


def _single_at_most(values: FloatArray) -> SingleArray:
    """Return the greatest number of single precision at or below each value."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def _left_to_right(tree: Tree) -> tuple[list[int], list[range]]:
    """Return the leaves from left to right, and for each node the places of those on its left."""
    leaves: list[int] = []
    places = [range(0)] * len(tree.feature)

    def visit(at: int) -> None:
        if at < 0:
            leaves.append(~at)
            return
        first = len(leaves)
        visit(tree.left[at])
        places[at] = range(first, len(leaves))
        visit(tree.right[at])

    visit(0 if tree.feature else ~0)
    return leaves, places


def _starts(lengths: Sequence[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
