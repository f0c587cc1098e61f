"""The tree behind a rule: against every cut tried one by one, and against scikit-learn's tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.explain.tree import Leaf, TreeCut, grow

NAN = float("nan")
VALUES = st.sampled_from([NAN, -2.0, 0.0, 0.5, 1.0, 7.0])
ROWS = st.lists(st.tuples(VALUES, VALUES, st.booleans()), min_size=2, max_size=14)


def gini(mine: np.ndarray) -> float:
    share = mine.mean()
    return float(len(mine) * 2.0 * share * (1.0 - share))


def every_cut(table: np.ndarray, mine: np.ndarray, least: int) -> list[float]:
    """Impurities that any cut leaves: between all values, with the unknown ones on either side or by themselves."""
    out = []
    for column in table.T:
        missing = np.isnan(column)
        for at in [*np.unique(column[~missing])[:-1], np.inf]:
            for unknown_low in (False, True):
                low = (column <= at) | (missing & unknown_low)
                if min(low.sum(), (~low).sum()) >= least:
                    out.append(gini(mine[low]) + gini(mine[~low]))
    return out


@given(ROWS, st.integers(1, 4))
def test_the_first_cut_is_the_best_of_all(rows: list[tuple[float, float, bool]], least: int) -> None:
    table = np.array([row[:2] for row in rows])
    mine = np.array([row[2] for row in rows])
    leaves = grow(table, mine, depth=1, least=least)
    possible = every_cut(table, mine, least) if 0 < mine.sum() < len(mine) else []
    assert (len(leaves) == 2) == bool(possible)
    assert np.sort(np.concatenate([leaf.rows for leaf in leaves])).tolist() == list(range(len(rows)))
    if possible:
        assert sum(gini(mine[leaf.rows]) for leaf in leaves) == pytest.approx(min(possible), abs=1e-9)


@given(ROWS, st.integers(1, 4))
def test_a_leaf_holds_the_rows_that_go_its_way(rows: list[tuple[float, float, bool]], least: int) -> None:
    table = np.array([row[:2] for row in rows])
    leaves = grow(table, np.array([row[2] for row in rows]), depth=3, least=least)
    for leaf in leaves:
        assert leaf.rows.tolist() == [i for i, row in enumerate(table) if goes(row, leaf)]
        assert len(leaf.way) <= 3
        assert len(leaves) == 1 or len(leaf.rows) >= least


def goes(row: np.ndarray, leaf: Leaf) -> bool:
    return all(is_low(row[step.cut.feature], step.cut) == step.low for step in leaf.way)


def is_low(value: float, cut: TreeCut) -> bool:
    return cut.unknown_low if np.isnan(value) else bool(value <= cut.at)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(8))
def test_trees_are_those_of_scikit_learn(seed: int, missing: float) -> None:
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(seed)
    table = rng.normal(size=(3_000, 5)).astype(np.float32).astype(np.float64)
    mine = table[:, 0] + 0.5 * table[:, 1] * (table[:, 2] > 0) + rng.normal(size=3_000) > 0.5
    table[rng.random(table.shape) < missing] = np.nan
    theirs = DecisionTreeClassifier(max_depth=3, min_samples_leaf=40, random_state=0).fit(table, mine)
    leaf_of = theirs.apply(table)
    leaves = grow(table, mine, depth=3, least=40)
    assert [leaf.rows.tolist() for leaf in leaves] == [
        np.flatnonzero(leaf_of == k).tolist() for k in np.unique(leaf_of)
    ]
    ours = sorted({(step.cut.feature, step.cut.at) for leaf in leaves for step in leaf.way})
    inner = theirs.tree_.children_left >= 0
    known = sorted(set(zip(theirs.tree_.feature[inner].tolist(), theirs.tree_.threshold[inner].tolist(), strict=True)))
    assert [feature for feature, _ in ours] == [feature for feature, _ in known]
    assert [at for _, at in ours] == pytest.approx([at for _, at in known])


def test_of_equal_cuts_the_first_feature_and_unknown_values_by_themselves() -> None:
    column = np.array([1.0, 1.0, NAN, NAN])
    (low, high) = grow(np.column_stack([column, column]), np.array([True, True, False, False]), depth=3, least=1)
    assert low.way[0].cut == TreeCut(0, np.inf, unknown_low=False)
    assert (low.rows.tolist(), high.rows.tolist()) == ([0, 1], [2, 3])


def test_nothing_is_parted_without_two_classes_or_without_a_difference() -> None:
    assert len(grow(np.array([[1.0], [2.0]]), np.array([True, True]), depth=3, least=1)) == 1
    assert len(grow(np.array([[2.0], [2.0]]), np.array([True, False]), depth=3, least=1)) == 1
    assert len(grow(np.full((2, 1), NAN), np.array([True, False]), depth=3, least=1)) == 1


def test_neighbours_without_a_number_between_them_are_parted_by_the_lower_one() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2.0))
    leaves = grow(np.array([[low], [high]]), np.array([True, False]), depth=1, least=1)
    assert leaves[0].way[0].cut.at == low
    assert [leaf.rows.tolist() for leaf in leaves] == [[0], [1]]
