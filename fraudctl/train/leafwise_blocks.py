"""Trees that grow leaf by leaf in the form in which rows go through them: bins of values, leaves as bits.

Owns the tables of `leafwise_kernels.score_block`, for many rows, and `score_row`, for one. A threshold of double
precision becomes the greatest value of single precision at or below it: rows are of single precision, so that no row
changes sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray, SingleArray

if TYPE_CHECKING:
    from fraudctl.train.leafwise import Tree

BLOCK: Final = 2048
"""Rows that go through all trees together: their bins stay in a near cache."""
Word = type[np.uint16 | np.uint32]

_SEQUENCES: Final[dict[Word, int]] = {np.uint16: 0x09AF, np.uint32: 0x077CB531}
"""Type of a word -> a de Bruijn sequence of its length: times each bit, its first bits are a number of their own."""
_FEWEST: Final = 64
"""Trees in a row that are worth a part of their own, where their leaves fit into smaller words."""


@dataclass(frozen=True)
class WordTrees:
    """Trees in a row as tables over bins, their leaves in words of one length.

    Attributes
    ----------
    nodes
        Starts by tree, column, first bin and number of bins on the left, and the leaves that are not on the left.
    leaf_value
        Of each leaf at its place, shape (n_trees, bits of a word).
    spread
        As `score_block` takes it.
    """

    nodes: tuple[IntArray, AnyArray, AnyArray, AnyArray, AnyArray]
    leaf_value: FloatArray
    spread: AnyArray


@dataclass(frozen=True)
class LeafwiseBlocks:
    """The trees as tables over bins.

    Attributes
    ----------
    columns
        Features that any tree splits on, ascending, shape (n_columns,).
    borders
        Starts, and the distinct thresholds of each of these columns, ascending.
    parts
        The trees, in their order.
    """

    columns: IntArray
    borders: tuple[IntArray, SingleArray]
    parts: tuple[WordTrees, ...]

    def score(self, rows: SingleArray, out: FloatArray) -> None:
        """Write the log-odds of up to `BLOCK` rows, shape ``(n_rows, n_features)``, NaN where null."""
        from fraudctl.train.leafwise_kernels import bin_columns, score_block

        values = np.ascontiguousarray(rows[:, self.columns].T)
        bins = np.empty(values.shape, dtype=np.uint16)
        bin_columns(values, *self.borders, bins)
        out[:] = 0.0
        for part in self.parts:
            score_block(bins, *part.nodes, part.leaf_value, part.spread, np.empty(len(rows), part.spread.dtype), out)


def blocks_of(trees: Sequence[Tree]) -> LeafwiseBlocks:
    """Make the tables of trees of up to 32 leaves."""
    feature = np.array([item for tree in trees for item in tree.feature], dtype=np.int64)
    least = _single_at_most(np.array([item for tree in trees for item in tree.threshold], dtype=np.float64))
    columns = np.unique(feature)
    borders = [np.unique(least[feature == at]) for at in columns]
    rank = np.empty(len(feature), dtype=np.int64)
    for at, some in zip(columns, borders, strict=True):
        rank[feature == at] = np.searchsorted(some, least[feature == at])
    column, starts = np.searchsorted(columns, feature).astype(np.int32), _starts([len(tree.feature) for tree in trees])
    parts = []
    for first, last, word in _runs([len(tree.value) for tree in trees]):
        nodes = slice(starts[first], starts[last])
        parts.append(_word_trees(trees[first:last], word, column[nodes], rank[nodes]))
    ends = _starts(list(map(len, borders)))
    return LeafwiseBlocks(columns, (ends, np.concatenate([np.empty(0, np.float32), *borders])), tuple(parts))


def _runs(n_leaves: Sequence[int]) -> list[tuple[int, int, Word]]:
    """Cut trees, in their order, where `_FEWEST` or more in a row fit into smaller words than those beside them."""
    words: list[Word] = []
    for small, some in itertools.groupby(n <= 16 for n in n_leaves):
        n = len(list(some))
        words += [np.uint16 if small and n >= _FEWEST else np.uint32] * n
    ends = _starts([len(list(some)) for _, some in itertools.groupby(words)])
    return [(first, last, words[first]) for first, last in itertools.pairwise(ends.tolist())]


def _word_trees(trees: Sequence[Tree], word: Word, column: AnyArray, rank: IntArray) -> WordTrees:
    """Make the tables of trees whose leaves fit into a word, from the columns and borders of their nodes."""
    n_bits = np.dtype(word).itemsize * 8
    null_left = np.array([item for tree in trees for item in tree.null_left], dtype=np.bool_)
    values, without = _leaf_words(trees, word)
    nodes = (
        _starts([len(tree.feature) for tree in trees]), column, (~null_left).astype(np.uint16),
        (rank + 1 + null_left).astype(np.uint16), np.array([item for some in without for item in some], dtype=word),
    )  # fmt: skip
    return WordTrees(nodes, values, np.array([_SEQUENCES[word], _shift(n_bits), 1, (1 << n_bits) - 1], dtype=word))


def _leaf_words(trees: Sequence[Tree], word: Word) -> tuple[FloatArray, list[list[int]]]:
    """Return the value of each leaf at its place, shape (n_trees, bits), and for each node all leaves but its left."""
    n_bits = np.dtype(word).itemsize * 8
    values, without, full = np.zeros((len(trees), n_bits)), list[list[int]](), (1 << n_bits) - 1
    for tree, row in zip(trees, values, strict=True):
        from_left, left_of = _left_to_right(tree)
        for bit, leaf in enumerate(from_left):
            row[((_SEQUENCES[word] << bit) & full) >> _shift(n_bits)] = tree.value[leaf]
        without.append([full - sum(1 << bit for bit in bits) for bits in left_of])
    return values, without


def _shift(n_bits: int) -> int:
    """Return how many bits of a word come after those that number its bits."""
    return n_bits - (n_bits - 1).bit_length()


RowTables = tuple[AnyArray, SingleArray, AnyArray, AnyArray, FloatArray]


def row_tables(trees: Sequence[Tree]) -> RowTables:
    """Make the tables of trees of up to 32 leaves that `score_row` reads, from ``feature`` to ``leaf_value``."""
    values, words = _leaf_words(trees, np.uint32)
    shape = max((len(tree.feature) for tree in trees), default=0), len(trees)
    feature, null_left = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
    threshold, without = np.full(shape, np.nan, np.float32), np.full(shape, (1 << 32) - 1, np.uint32)
    for at, (tree, words_of) in enumerate(zip(trees, words, strict=True)):
        n = len(tree.feature)
        feature[:n, at], null_left[:n, at], without[:n, at] = tree.feature, tree.null_left, words_of
        threshold[:n, at] = _single_at_most(np.array(tree.threshold, dtype=np.float64))
    return feature, threshold, null_left, without, values


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
