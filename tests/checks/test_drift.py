"""How far a column tells late from early: counted by code and half, it is the AUC of the rows' cross-fitted scores."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fraudctl.checks import drift

rows = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=2, max_size=60)


@given(rows)
def test_counts_by_code_give_the_auc_of_the_rows(found: list[tuple[int, bool, bool]]) -> None:
    codes, truth, half = (np.array(part) for part in zip(*found, strict=True))
    if len(set(truth.tolist())) < 2:
        return
    score = drift._cross_fitted(codes, truth, half)
    auc = drift._cross_fitted_auc(codes, truth, half)
    assert auc == drift.roc_auc(score, truth)
    assert auc == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


def test_many_codes_are_judged_by_their_rows() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 3 * drift._MANY, 9_000)
    truth, half = random.random(9_000) < 0.2, random.random(9_000) < 0.5
    assert drift._cross_fitted_auc(codes, truth, half) == drift.roc_auc(drift._cross_fitted(codes, truth, half), truth)


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String, pl.Boolean])
def test_codes_are_equal_where_values_are_and_null_has_its_own(dtype: type[pl.DataType]) -> None:
    values = pl.Series([1, 0, None, 1, 0, 1, None]).cast(pl.Boolean if dtype == pl.Boolean else pl.Int64).cast(dtype)
    codes = drift._codes(values).tolist()
    groups = [{codes[row] for row in rows} for rows in ((2, 6), (0, 3, 5), (1, 4))]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3


def test_numbers_of_many_values_are_binned_by_rank_and_nan_is_null() -> None:
    values = pl.Series(np.random.default_rng(1).permutation(1_000).astype(float)).scatter([3, 4], [float("nan"), None])
    codes = drift._codes(values)
    assert codes[3] == codes[4]
    assert (codes == codes[3]).sum() == 2
    order = np.argsort(np.where(codes == codes[3], np.inf, values.fill_null(0.0).to_numpy()))[:-2]
    assert len(np.unique(codes[order])) == 32
    assert np.count_nonzero(np.diff(codes[order])) == 31


@given(
    st.lists(
        st.one_of(st.none(), st.sampled_from([0.0, -0.0, math.inf, -math.inf, 1.5]), st.floats()),
        min_size=1,
        max_size=200,
    )
)
def test_bins_are_those_of_average_ranks(found: list[float | None]) -> None:
    values = pl.Series(found, dtype=pl.Float64).fill_nan(None)
    ranks = values.rank("average")
    few = ranks.n_unique() <= drift._BINS
    expected = (ranks if few else (ranks * drift._BINS / len(values)).floor()).to_list()
    pairs = set(zip(drift._codes(values).tolist(), expected, strict=True))
    assert len({code for code, _ in pairs}) == len({bin_ for _, bin_ in pairs}) == len(pairs)


@pytest.mark.parametrize("n", [0, 1, drift._FEW, drift._FEW + 1])
def test_places_among_few_are_those_of_a_search(n: int) -> None:
    random = np.random.default_rng(n)
    ordered = np.unique(random.integers(-20, 2 * n + 1, n).astype(float))
    values = random.choice(np.concatenate([ordered, [-math.inf, -0.0, 0.0, 0.5, math.inf]]), 500)
    assert drift._places(ordered, values).tolist() == np.searchsorted(ordered, values, side="right").tolist()


def test_a_column_that_stays_is_not_judged_to_move() -> None:
    random = np.random.default_rng(2)
    times = pl.Series([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=i) for i in range(4_000)])
    label = pl.Series(random.random(4_000) < 0.2).cast(pl.Int8)
    moving = pl.Series("x", np.arange(4_000) + random.normal(0, 50, 4_000))
    judged = drift.TimeDrifts(times, label)
    assert judged.judge(moving) is not None
    assert judged.judge(moving.shuffle(seed=1)) is None
