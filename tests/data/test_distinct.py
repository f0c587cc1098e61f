from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.data.distinct import (
    LONG,
    _grouped,
    coded,
    comes_back,
    n_unique,
    repeats,
    spells,
    tally,
    tally_of_repeats,
)

KINDS = {
    "text": (pl.String, ["a", "b", "", "bb", "é"]),
    "whole": (pl.Int64, [0, 1, -1, 2**62]),
    "small": (pl.Int8, [0, 1, -1]),
    "unsigned": (pl.UInt64, [0, 2**64 - 1]),
    "wide": (pl.Int128, [0, 2**100]),
    "number": (pl.Float64, [0.0, -0.0, 1.5, float("nan"), float("inf")]),
    "truth": (pl.Boolean, [True, False]),
    "category": (pl.Categorical, ["a", "b"]),
    "decimal": (pl.Decimal(10, 2), [1, 2]),
    "time": (pl.Datetime("us", "UTC"), [datetime(2026, 1, 1, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC)]),
}


@st.composite
def columns(draw: st.DrawFn) -> pl.Series:
    dtype, values = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    cells = draw(st.lists(st.one_of(st.none(), st.sampled_from(values)), max_size=12))
    return pl.Series("x", cells, dtype=dtype)


@given(columns())
def test_counts_are_those_of_polars(values: pl.Series) -> None:
    plain = values.fill_nan(None) if values.dtype.is_float() else values
    counts = plain.drop_nulls().value_counts()["count"]
    found = tally(values)
    assert found.n_null == plain.null_count()
    assert found.n_unique == plain.drop_nulls().n_unique()
    assert found.largest == (counts.max() or 0)
    assert n_unique(values) == plain.n_unique()


@given(columns())
def test_repeats_are_all_rows_whose_value_comes_twice(values: pl.Series) -> None:
    assert repeats(values).tolist() == values.is_duplicated().arg_true().to_list()


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(-50, 50)), max_size=40))
def test_spells_are_the_times_since_the_values_last_earlier_row(rows: list[tuple[str, int]]) -> None:
    values = pl.Series([value for value, _ in rows], dtype=pl.String)
    times = pl.Series([time for _, time in rows], dtype=pl.Int64)
    expected = []
    for value in set(values):
        own = [time for other, time in rows if other == value]
        before = {b: b - a for a, b in itertools.pairwise(sorted(set(own)))}
        expected += [before[time] for time in own if time in before]
    count, gaps = spells(values, times)
    assert count == len(set(values))
    assert sorted(gaps.tolist()) == sorted(expected)


@pytest.mark.parametrize("n_values", [10, 3_000])
def test_spells_of_many_rows_agree_with_a_sort(n_values: int) -> None:
    rng = np.random.default_rng(n_values)
    frame = pl.DataFrame({"v": rng.integers(0, n_values, 20_000), "t": rng.integers(0, 10**9, 20_000)})
    _, gaps = spells(frame["v"], frame["t"])
    ordered = frame.unique().sort("v", "t")
    ordered = ordered.with_columns(gap=pl.col("t").diff(), same=pl.col("v") == pl.col("v").shift())
    ordered = frame.join(ordered, on=["v", "t"])
    assert np.array_equal(np.sort(gaps), ordered.filter("same")["gap"].sort().to_numpy())


def test_lists_have_no_count() -> None:
    found = tally(pl.Series([[1], None, [1, 2]]))
    assert (found.n_null, found.n_unique, found.largest) == (1, 0, 0)


def test_durations_are_counted() -> None:
    assert tally(pl.Series([timedelta(1), timedelta(1), None])).n_unique == 1


def test_hashes_that_share_their_first_bits_are_parted() -> None:
    hashes = np.array([8, 1, 9, 8, 1, 9, 2**63], np.uint64)
    rows = _grouped(hashes)
    assert rows.tolist() == [1, 4, 0, 3, 2, 5, 6]


@given(columns().filter(lambda values: values.dtype in (pl.String, pl.Int64, pl.Int8, pl.UInt64)))
def test_codes_and_distinct_values_are_the_column(values: pl.Series) -> None:
    rows, distinct = coded(values)
    assert rows.null_count() == 0
    assert distinct.gather(rows).equals(values, null_equal=True)
    assert distinct.to_list()[-1] is None
    assert distinct.n_unique() == len(distinct)


def test_columns_whose_values_come_back_are_told_by_their_first_rows() -> None:
    random = np.random.default_rng(0)
    ids = pl.Series(random.integers(0, LONG // 50, LONG)).cast(pl.String)
    assert comes_back(ids)
    assert not comes_back(ids.head(LONG - 1))
    assert not comes_back(pl.Series(range(LONG)).cast(pl.String))
    assert comes_back(ids.cast(pl.Int64))
    assert not comes_back(ids.cast(pl.Float64))
    assert not comes_back(ids.cast(pl.Int64).cast(pl.Int128))


@given(st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", ""]), st.text(max_size=2))))
def test_a_column_is_counted_from_its_repeats(found: list[str | None]) -> None:
    values = pl.Series(found, dtype=pl.String)
    assert tally_of_repeats(values, repeats(values)) == tally(values)
