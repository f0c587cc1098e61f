"""The fast sweep gives the very bits of the loops for any width, on any data that fit it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.features.batch import aggregates, exact, groups, wide
from fraudctl.features.batch import sweep as kernels
from fraudctl.features.batch.blocks import Block

WORKERS = groups.Workers(2)
MOST = 2**64 - 1
words = st.one_of(st.integers(0, MOST), st.sampled_from([0, 1, MOST, 2**63]))
fours = st.tuples(words, words, words, words)


def number(parts) -> int:
    return sum(int(part) << (64 * i) for i, part in enumerate(parts))


def unsigned(parts):
    return [np.uint64(part) for part in parts]


@settings(max_examples=200, deadline=None)
@given(a=fours, b=fours, n=words)
def test_wide_integers_are_those_of_python(a, b, n):
    mod = 2**256
    assert number(wide.add(*unsigned(a), *unsigned(b))) == (number(a) + number(b)) % mod
    assert number(wide.subtract(*unsigned(a), *unsigned(b))) == (number(a) - number(b)) % mod
    assert number(wide.times(np.uint64(n), *unsigned(a))) == n * number(a) % mod
    half = [a[0], a[1] >> 1]
    assert number(wide.square(*unsigned(half))) == number(half) ** 2
    size, exponent = wide.rounded(*unsigned(a))
    assert float(size) * 2.0**exponent == float(number(a))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.just(float("nan")), st.just(0.0), st.integers(-(10**6), 10**6).map(lambda cents: cents / 100)),
        min_size=1, max_size=40,
    ),
    include_current=st.booleans(),
    data=st.data(),
)  # fmt: skip
def test_a_sweep_equals_the_loops_for_any_width(values, include_current, data):
    n = len(values)
    codes = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int64)
    times = np.sort(np.array(data.draw(st.lists(st.integers(0, 30), min_size=n, max_size=n)), np.int64))
    queries = groups.queries_of(codes, 3, times, workers=WORKERS)
    history = groups.event_history(queries, None, include_current=include_current)
    ranges = groups.event_ranges(queries, history, [3, 10, 100], workers=WORKERS)
    seen, here = aggregates.Seen(queries, history, ranges), np.array(values)[history.rows]
    low, n_words, n_squares = exact.grid_of(here, longest=n, squares=True)
    assert n_words <= wide.SUM_WORDS
    assert n_squares <= wide.SQUARE_WORDS
    slots = np.arange(18, dtype=np.int64).reshape(6, 3)
    out = np.empty((n, 18), np.int64)
    kernels.sweep(
        here, history.starts, queries.starts, queries.order, ranges.lo, ranges.hi, history.current, low, slots, out,
        0, queries.n_groups,
    )  # fmt: skip
    slow = aggregates.numeric(queries, history, ranges, here, set(aggregates.SWEPT), workers=WORKERS)
    slow["count"] = aggregates.counts(seen.queries, history, ranges)
    for k, kind in enumerate(aggregates.SWEPT):
        for w in range(3):
            got = out[queries.order, slots[k, w]]
            expected = slow[kind][w]
            got = got if kind == "count" else got.view(np.float64)
            assert got.tobytes() == expected.tobytes() or np.array_equal(got, expected, equal_nan=True), (kind, w)


def test_counts_alone_need_no_values_and_read_none():
    """In plain Python, where a read beyond the end of an array is an error; compiled, it may end the process."""
    codes, times = np.array([0, 1, 0, 0], np.int64), np.arange(4, dtype=np.int64)
    queries = groups.queries_of(codes, 2, times, workers=WORKERS)
    history = groups.event_history(queries, None, include_current=True)
    ranges = groups.event_ranges(queries, history, [2, 10], workers=WORKERS)
    slots, out = np.full((6, 2), -1, np.int64), np.empty((4, 2), np.int64)
    slots[0] = [0, 1]
    kernels.sweep.py_func(
        np.empty(0), history.starts, queries.starts, queries.order, ranges.lo, ranges.hi, history.current, 0, slots,
        out, 0, queries.n_groups,
    )  # fmt: skip
    assert out.tolist() == [[1, 1], [1, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize("bits", [1, 3, 14])
@pytest.mark.parametrize("n", [0, 1, 7, 3_000, 3_005])
def test_values_come_back_in_the_order_of_the_rows_whatever_the_strips(bits, n, monkeypatch):
    monkeypatch.setattr(groups, "_STRIP_BITS", bits)
    random = np.random.default_rng(1)
    queries = groups.queries_of(random.integers(-1, 40, n), 40, np.arange(n), workers=WORKERS)
    whole, real = random.integers(-9, 9, n), np.where(random.random(n) < 0.2, np.nan, random.normal(size=n))
    counted, measured = (SimpleNamespace(name=kind, dtype=kind) for kind in ("int", "float"))
    block = Block.empty([measured, counted], queries.strips)
    block.put(counted, whole[queries.out], WORKERS)
    block.put(measured, real[queries.out], WORKERS)
    found = {series.name: series for series in block.columns(WORKERS)}
    assert found["int"].to_list() == whole.tolist()
    assert found["float"].to_list() == [None if np.isnan(value) else value for value in real]
    assert (found["int"].null_count(), found["float"].null_count()) == (0, np.isnan(real).sum())
    assert found["float"].n_chunks() == max(1, -(-n >> bits))
    assert n == 0 or np.shares_memory(found["int"].get_chunks()[0].to_numpy(), block.values)


@pytest.mark.parametrize("bits", [4, 14])
def test_a_sweep_over_many_slabs_and_strips_equals_the_loops(bits, monkeypatch):
    monkeypatch.setattr(groups, "_STRIP_BITS", bits)
    random, n = np.random.default_rng(2), 2_500
    times, values = np.sort(random.integers(0, 5_000, n)), random.gamma(2.0, 20.0, n).round(2)
    queries = groups.queries_of(random.integers(-1, 9, n), 9, times, workers=WORKERS, asking=(700, n))
    history = groups.event_history(queries, None, include_current=False)
    ranges = groups.event_ranges(queries, history, [50, 900], workers=WORKERS)
    slots, out = np.arange(12).reshape(6, 2), np.empty((n - 700, 12), np.int64)
    here = values[history.rows]
    low = exact.grid_of(here, longest=n, squares=True)[0]
    kernels.sweep(
        here, history.starts, queries.starts, queries.strips.places, ranges.lo, ranges.hi, history.current, low, slots,
        out, 0, queries.n_groups,
    )  # fmt: skip
    slow = aggregates.numeric(queries, history, ranges, here, set(aggregates.SWEPT), workers=WORKERS)
    slow["count"] = aggregates.counts(queries, history, ranges)
    for k, kind in enumerate(aggregates.SWEPT):
        got = out[queries.strips.places][:, slots[k]].T
        got = got if kind == "count" else got.view(np.float64)
        np.testing.assert_array_equal(got, slow[kind])
