"""Counts by a hash table are those by a sort, whatever the values and however small the table."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.data import distinct
from fraudctl.metrics.tallies import _counted_in_parts, _divided, count, number_values, tally

VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "b", "007", "7"]), st.text(max_size=3))).map(
        lambda found: pl.Series(found, dtype=pl.String)
    ),
    st.lists(st.one_of(st.none(), st.sampled_from([0.0, -0.0, math.nan, math.inf, 1.5]), st.floats())).map(
        lambda found: pl.Series(found, dtype=pl.Float64)
    ),
    st.lists(st.one_of(st.none(), st.floats(width=32))).map(lambda found: pl.Series(found, dtype=pl.Float32)),
    st.lists(st.one_of(st.none(), st.integers(-5, 5))).map(
        lambda found: pl.Series(
            [None if i is None else datetime(2024, 1, 1) + timedelta(hours=i) for i in found], dtype=pl.Datetime("us")
        )
    ),
    st.lists(st.one_of(st.none(), st.integers(-5, 5))).map(lambda found: pl.Series(found, dtype=pl.Int64)),
)


@settings(max_examples=200, deadline=None)
@given(values=VALUES, bits=st.integers(1, 6))
def test_a_table_counts_what_a_sort_counts(values: pl.Series, bits: int) -> None:
    assert tally(values, least_rows=0, bits=bits) == distinct.tally(values)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.text(max_size=2), st.sampled_from(["a", "b"]))), bits=st.integers(1, 6))
def test_texts_that_a_table_holds_are_kept_with_their_rows(values: list[str | None], bits: int) -> None:
    filled = [value for value in values if value is not None]
    found = count(pl.Series(values, dtype=pl.String), least_rows=0, bits=bits)
    if not filled or 2 * len(set(filled)) > 2**bits:
        assert found.texts is None
        assert found.n is None
    else:
        assert found.texts is not None
        assert found.n is not None
        assert dict(zip(found.texts, found.n, strict=True)) == Counter(filled)
        assert found.texts.n_unique() == len(found.texts)


@pytest.mark.parametrize("n_ids", [3, 5_000, 60_000])
def test_long_columns_by_brute_force(n_ids: int) -> None:
    ids = np.random.default_rng(n_ids).integers(0, n_ids, 60_000)
    values = pl.Series([f"c{i}" for i in ids])
    counts = np.bincount(ids)
    found = tally(values, least_rows=1, bits=14)
    assert (found.n_null, found.n_unique, found.largest) == (0, int((counts > 0).sum()), int(counts.max()))


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("heavy", [0, 40_000])
def test_values_that_no_table_holds_are_counted_part_by_part(bits: int, heavy: int) -> None:
    words = np.random.default_rng(bits).integers(0, 2**63, 50_000).astype(np.uint64)
    words[:heavy] = words[0]
    words[-1_000:] = words[-2_000:-1_000]
    parted, ends = _divided(words, bits)
    assert len(ends) == 2**bits
    assert ends[-1] == len(words)
    parts = [set(part.tolist()) for part in np.split(parted, ends[:-1])]
    assert sum(map(len, parts)) == len(set(words.tolist()))  # equal words are in one part
    assert np.array_equal(np.sort(parted), np.sort(words))
    _, counts = np.unique(words, return_counts=True)
    assert _counted_in_parts(parted, ends) == (len(counts), counts.max())


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.text(max_size=2), st.sampled_from(["a", "b"]))))
def test_values_are_numbered_as_they_first_appear(values: list[str | None]) -> None:
    column = pl.Series(values, dtype=pl.String)
    found = number_values(column, n_unique=column.drop_nulls().n_unique())
    distinct_ones = list(dict.fromkeys(values))
    assert column.gather(found.firsts).to_list() == distinct_ones
    assert [distinct_ones[code] for code in found.codes] == values
    assert found.counts.tolist() == [values.count(value) for value in distinct_ones]
