"""Counts by a hash table are those by a sort, whatever the values and however small the table."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.data import distinct
from fraudctl.metrics.tallies import tally

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


@pytest.mark.parametrize("n_ids", [3, 5_000, 60_000])
def test_long_columns_by_brute_force(n_ids: int) -> None:
    ids = np.random.default_rng(n_ids).integers(0, n_ids, 60_000)
    values = pl.Series([f"c{i}" for i in ids])
    counts = np.bincount(ids)
    found = tally(values, least_rows=1, bits=14)
    assert (found.n_null, found.n_unique, found.largest) == (0, int((counts > 0).sum()), int(counts.max()))
