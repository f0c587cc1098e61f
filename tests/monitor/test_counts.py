"""Cells of values, against a slow double."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.metrics.edges import edges_below
from fraudctl.monitor.counts import Cells, count_days

NUMBERS = st.one_of(
    st.none(), st.integers(-3, 3).map(float), st.floats(allow_nan=True, allow_infinity=True), st.just(math.nan)
)


@given(
    st.lists(st.integers(-3, 3).map(float), max_size=70, unique=True).map(sorted),
    st.lists(NUMBERS.filter(lambda value: value is not None), max_size=40),
    st.booleans(),
)
def test_edges_below_are_those_that_a_search_finds(edges: list[float], numbers: list[float], equal: bool) -> None:
    values = np.array(numbers, dtype=np.float64)
    expected = np.searchsorted(np.array(edges, dtype=np.float64), values, side="right" if equal else "left")
    assert edges_below(values, edges, equal=equal).tolist() == expected.tolist()


def test_more_numbers_than_a_block_and_more_edges_than_are_compared() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(70_000) < 0.1, np.nan, rng.normal(size=70_000).round(2))
    for n_edges in (19, 80):
        edges = np.unique(rng.normal(size=n_edges).round(2)).tolist()
        for equal, side in ((True, "right"), (False, "left")):
            assert (edges_below(values, edges, equal=equal) == np.searchsorted(edges, values, side=side)).all()


def cell(item: Cells, value: object) -> int:
    """Return the cell of a value by the words of `Cells`."""
    if item.kind == "presence":
        return int(value is None)
    if value is None:
        return item.n - 2
    if item.kind == "category":
        return item.values.index(str(value)) if value in item.values else item.n - 1
    assert isinstance(value, float)
    return sum(edge < value for edge in item.edges) if math.isfinite(value) else item.n - 1


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(["a", "b", "c", None]), st.integers(0, 2)), min_size=1))
def test_days_are_counted_as_value_by_value(rows: list[tuple[float | None, str | None, int]]) -> None:
    numbers, texts, days = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            "x": pl.Series(numbers, dtype=pl.Float64),
            "k": pl.Series(texts, dtype=pl.String),
            "p": pl.Series(texts, dtype=pl.String),
            "event_time": pl.Series([day * 86_400_000_000 for day in days]).cast(pl.Datetime("us", "UTC")),
        }
    )
    watched = [Cells("x", "number", edges=(-1.0, 0.0, 2.0)), Cells("k", "category", values=("a", "b")),
               Cells("p", "presence")]  # fmt: skip
    found = count_days(frame, watched, timezone="UTC", days=np.arange(3))
    for item in watched:
        expected = np.zeros((3, item.n), np.int64)
        for value, day in zip(frame[item.name].to_list(), days, strict=True):
            expected[day, cell(item, value)] += 1
        assert found.cells[item.name].tolist() == expected.tolist()
