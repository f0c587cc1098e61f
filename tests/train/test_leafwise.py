"""Trees that grow leaf by leaf: scores, SHAP values and interactions against plain Python and all coalitions."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import BundleError
from fraudctl.train.leafwise import LeafwiseTrees, Tree, plain_scores, read_leafwise
from fraudctl.train.leafwise_blocks import _FEWEST, BLOCK, _runs

N = 4
"""Features of the drawn trees."""


def drawn_tree(seed: int, most_leaves: int = 9) -> Tree:
    """Grow a tree of up to so many leaves by splits of random leaves, with random rows, thresholds, ways of nulls."""
    rng = np.random.default_rng(seed)
    left, right, feature, threshold, null_left = [], [], [], [], []
    n_splits = int(rng.integers(0, most_leaves))
    for node in range(n_splits):
        if node:
            leaf = int(rng.integers(0, node + 1))
            for children in (left, right):
                for at, child in enumerate(children):
                    if child == ~leaf:
                        children[at] = node
            left.append(~leaf)
        else:
            left.append(~0)
        right.append(~(node + 1))
        feature.append(int(rng.integers(0, N)))
        threshold.append(float(rng.choice([-1.0, 0.0, 0.5, 1.0, math.inf])))
        null_left.append(bool(rng.random() < 0.5))
    leaf_rows = rng.integers(1, 60, n_splits + 1).astype(float)
    return Tree(
        tuple(feature), tuple(threshold), tuple(null_left), tuple(left), tuple(right),
        tuple(rng.normal(size=n_splits + 1)), tuple(leaf_rows),
    )  # fmt: skip


def forest(seed: int, n_trees: int = 3, most_leaves: int = 9) -> LeafwiseTrees:
    return LeafwiseTrees(tuple(drawn_tree(seed * 10 + t, most_leaves) for t in range(n_trees)), N)


def drawn_rows(seed: int, n: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([-2.0, -1.0, 0.0, 0.5, 0.7, 1.0, 3.0, np.inf, np.nan], (n, N)).astype(np.float32)


def expected(tree: Tree, row: np.ndarray, known: frozenset[int], at: int) -> float:
    """What a tree expects of a row of which some features are known, below a node or leaf."""
    if at < 0:
        return tree.value[~at]
    sides = tree.left[at], tree.right[at]
    if tree.feature[at] in known:
        value = row[tree.feature[at]]
        goes_left = tree.null_left[at] if np.isnan(value) else value <= tree.threshold[at]
        return expected(tree, row, known, sides[0] if goes_left else sides[1])
    total = sum(map(tree.rows, sides))
    return sum(tree.rows(side) / total * expected(tree, row, known, side) for side in sides)


def worth(trees: LeafwiseTrees, row: np.ndarray, known: frozenset[int]) -> float:
    return sum(expected(tree, row, known, 0 if tree.feature else ~0) for tree in trees.trees)


def subsets(features: list[int]) -> list[frozenset[int]]:
    return [frozenset(item) for k in range(len(features) + 1) for item in itertools.combinations(features, k)]


def shapley(trees: LeafwiseTrees, row: np.ndarray, feature: int) -> float:
    others = [item for item in range(N) if item != feature]
    return sum(
        (worth(trees, row, known | {feature}) - worth(trees, row, known))
        * math.factorial(len(known)) * math.factorial(N - len(known) - 1) / math.factorial(N)
        for known in subsets(others)
    )  # fmt: skip


def interaction(trees: LeafwiseTrees, row: np.ndarray, a: int, b: int) -> float:
    """Both halves of the SHAP interaction value: sum over sets of |S|! (N - |S| - 2)! / (N - 1)! times the effect."""
    others = [item for item in range(N) if item not in (a, b)]
    return sum(
        (
            worth(trees, row, known | {a, b}) - worth(trees, row, known | {a})
            - worth(trees, row, known | {b}) + worth(trees, row, known)
        )
        * math.factorial(len(known)) * math.factorial(N - len(known) - 2) / math.factorial(N - 1)
        for known in subsets(others)
    )  # fmt: skip


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_contributions_are_the_shapley_values_of_all_coalitions(seed: int) -> None:
    trees, rows = forest(seed), drawn_rows(seed)
    explained = trees.explain_rows(rows)
    for row, values in zip(rows, explained, strict=True):
        assert values == pytest.approx([shapley(trees, row, feature) for feature in range(N)], abs=1e-12)
        assert values.sum() + trees.base == pytest.approx(worth(trees, row, frozenset(range(N))), abs=1e-12)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_interactions_are_those_of_all_coalitions(seed: int) -> None:
    trees, rows = forest(seed, n_trees=2), drawn_rows(seed, n=3)
    pairs = list(itertools.combinations(range(N), 2))
    found = trees.interactions(rows, pairs)
    for row, values in zip(rows, found, strict=True):
        assert values == pytest.approx([interaction(trees, row, *pair) for pair in pairs], abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_one_row_many_rows_and_plain_python_give_the_same_bits(seed: int) -> None:
    trees, rows = forest(seed), drawn_rows(seed, n=20)
    scores, explained = trees.score_rows(rows), trees.explain_rows(rows)
    assert np.array_equal(scores, plain_scores(trees, rows))
    assert np.array_equal(scores, trees.score_rows(rows, threads=1))
    for row, score, values in zip(rows, scores, explained, strict=True):
        one, turns = trees.score(row)
        assert one == score
        assert np.array_equal(trees.explain(turns), values)


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([16, 17, 32]), st.sampled_from(["C", "F"]))
def test_trees_of_many_leaves_and_more_rows_than_a_block_give_the_same_bits(seed: int, most: int, order: str) -> None:
    trees = forest(seed, most_leaves=most)
    rows = np.resize(drawn_rows(seed, n=40), (BLOCK + 3, N))
    scores = trees.score_rows(np.asarray(rows, order=order))  # type: ignore[call-overload]
    expected = plain_scores(trees, rows[:40])
    assert np.array_equal(scores, np.resize(expected, BLOCK + 3))
    assert [trees.score(row)[0] for row in rows[:40]] == expected.tolist()


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.lists(st.tuples(st.sampled_from([9, 32]), st.integers(1, 70)), max_size=4))
def test_forests_of_small_and_large_trees_one_after_the_other_give_the_same_bits(
    seed: int, sizes: list[tuple[int, int]]
) -> None:
    most = [leaves for leaves, many in sizes for _ in range(many)]
    trees = LeafwiseTrees(tuple(drawn_tree(seed + at, leaves) for at, leaves in enumerate(most)), N)
    rows = drawn_rows(seed, n=40)
    assert np.array_equal(trees.score_rows(rows), plain_scores(trees, rows))


@given(st.lists(st.tuples(st.sampled_from([1, 16, 17, 32]), st.integers(1, 150)), max_size=6))
def test_words_hold_the_leaves_of_their_trees_and_are_small_where_many_trees_in_a_row_are(
    sizes: list[tuple[int, int]],
) -> None:
    leaves = [n for n, many in sizes for _ in range(many)]
    runs = _runs(leaves)
    assert [at for first, last, _ in runs for at in range(first, last)] == list(range(len(leaves)))
    assert all(one[2] is not two[2] for one, two in itertools.pairwise(runs))
    for first, last, word in runs:
        assert max(leaves[first:last]) <= np.dtype(word).itemsize * 8
        assert word is np.uint32 or last - first >= _FEWEST
    halves = [1] * _FEWEST + [32] * _FEWEST
    assert _runs(halves) == [(0, _FEWEST, np.uint16), (_FEWEST, 2 * _FEWEST, np.uint32)]


def test_thresholds_between_two_numbers_of_single_precision_keep_their_sides() -> None:
    one = np.float32(1.0)
    up, down = np.nextafter(one, np.float32(2.0)), np.nextafter(one, np.float32(0.0))
    for threshold in (1.0, 1.0 + 1e-12, 1.0 - 1e-12, 1e300, -1e300, math.inf, -math.inf, 1e-60, -1e-60, -0.0):
        for null_left in (True, False):
            tree = Tree((0,), (threshold,), (null_left,), (~0,), (~1,), (1.0, 2.0), (1.0, 1.0))
            trees = LeafwiseTrees((tree,), 1)
            values = [one, up, down, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, math.inf, -math.inf, math.nan]
            rows = np.array(values, dtype=np.float32)[:, None]
            assert np.array_equal(trees.score_rows(rows), plain_scores(trees, rows))


def test_importance_by_hand() -> None:
    # Root on feature 1: 40 rows of -1 and 60 below node 1, which has 20 rows of 2 and 40 of 5 by feature 0.
    # Mean of node 1: (20*2 + 40*5) / 60 = 4; of the root: (40*-1 + 60*4) / 100 = 2.
    # Feature 1: 40*(−1−2)² + 60*(4−2)² = 600; feature 0: 20*(2−4)² + 40*(5−4)² = 120.
    tree = Tree((1, 0), (0.0, 0.0), (True, True), (~0, ~1), (1, ~2), (-1.0, 2.0, 5.0), (40.0, 20.0, 40.0))
    trees = LeafwiseTrees((tree,), 3)
    assert trees.importance == pytest.approx([120 / 720, 600 / 720, 0.0])
    assert trees.base == pytest.approx(2.0)
    assert trees.pair_strength == {(0, 1): 1.0}


TEXT = """tree
num_class=1
num_tree_per_iteration=1
max_feature_idx=1
objective=binary sigmoid:1

Tree=0
num_leaves=3
num_cat=0
split_feature=1 0
threshold=0.5 inf
decision_type=2 8
left_child=1 -1
right_child=-2 -3
leaf_value=-1 2 0.25
leaf_count=10 20 5
is_linear=0

end of trees
"""


def test_the_text_of_a_tree() -> None:
    trees = read_leafwise(TEXT, n_features=2)
    # decision_type 2: nulls were none in training and count as 0, so 0 <= 0.5 goes left; 8: nulls go right
    rows = np.array([[0, 0], [np.nan, 0], [0, 1], [np.nan, np.nan]], dtype=np.float32)
    assert trees.score_rows(rows).tolist() == [-1.0, 0.25, 2.0, 0.25]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("objective=binary sigmoid:1", "objective=regression"),
        ("max_feature_idx=1", "max_feature_idx=2"),
        ("num_cat=0", "num_cat=1"),
        ("is_linear=0", "is_linear=1"),
        ("decision_type=2 8", "decision_type=3 8"),
        ("decision_type=2 8", "decision_type=6 8"),
        ("left_child=1 -1", "left_child=0 -1"),
        ("left_child=1 -1", "left_child=-3 -1"),
        ("left_child=1 -1", "left_child=99 -1"),
        ("split_feature=1 0", "split_feature=1 7"),
        ("split_feature=1 0", "split_feature=1"),
        ("threshold=0.5 inf", "threshold=0.5 nan"),
        ("leaf_value=-1 2 0.25", "leaf_value=-1 inf 0.25"),
        ("leaf_count=10 20 5", "leaf_count=10 0 5"),
        ("num_leaves=3", "num_leaves=70"),
        ("threshold=", "border="),
    ],
)
def test_what_is_no_tree_of_numbers_is_refused(old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(BundleError, match="trees cannot be read"):
        read_leafwise(TEXT.replace(old, new), n_features=2)


def test_a_path_of_too_many_features_is_refused() -> None:
    n = 9
    chain = {
        "split_feature": range(n), "threshold": [0] * n, "decision_type": [2] * n, "left_child": [*range(1, n), ~0],
        "right_child": [~k for k in range(1, n + 1)], "leaf_value": [1] * (n + 1), "leaf_count": [1] * (n + 1),
    }  # fmt: skip
    text = TEXT.replace("max_feature_idx=1", f"max_feature_idx={n - 1}").replace("num_leaves=3", f"num_leaves={n + 1}")
    for name, values in chain.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={' '.join(map(str, values))}", text, flags=re.MULTILINE)
    with pytest.raises(BundleError, match="a path has more than 8 features"):
        read_leafwise(text, n_features=n)
