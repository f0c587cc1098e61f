"""Frames as bytes and back: every type, however columns are cut into chunks, whichever rows are taken."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes

from fraudctl.cluster import plan
from fraudctl.cluster.blobs import OWN, BlobRow, from_batches, to_batch
from fraudctl.cluster.packed import FrameWriter, from_blobs, to_blob
from fraudctl.cluster.plan import Part

TYPES = [
    pl.Int8, pl.Int32, pl.Int64, pl.UInt16, pl.UInt64, pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Binary,
    pl.Date, pl.Time, pl.Duration("us"), pl.Datetime("us"), pl.Datetime("us", "UTC"), pl.Decimal(20, 2),
    pl.List(pl.Struct({"since": pl.Datetime("us", "UTC"), "label": pl.Int8, "sure": pl.Boolean})),
    pl.Categorical, pl.Enum(["a", "b"]), pl.Null,
]  # fmt: skip


@given(frame=dataframes(max_size=30, max_cols=6, allowed_dtypes=TYPES, allow_null=True),
       cut=st.integers(0, 30), data=st.data())  # fmt: skip
def test_rows_come_back_as_they_were(frame, cut, data):
    rows = data.draw(st.none() | st.lists(st.integers(0, max(frame.height - 1, 0)), unique=True, max_size=frame.height))
    chunked = pl.concat([frame[:cut], frame[cut:]], rechunk=False) if frame.width else frame
    positions = None if rows is None else np.sort(np.array(rows, np.int64))
    expected = frame if positions is None else frame[pl.Series(positions)]
    assert_frame_equal(from_blobs([FrameWriter(chunked).blob(positions)]), expected, check_exact=True)


def test_what_an_engine_brings_is_read_where_it_lies():
    blob = to_blob(pl.DataFrame({"a": range(100_000)}))
    batch = to_batch(BlobRow(3, OWN, blob, 7))
    (row,) = from_batches([batch])
    assert (row.task, row.kind, row.place) == (3, OWN, 7)
    values = batch.column(3).buffers()[2]
    assert isinstance(row.blob, pa.Buffer)
    assert (values.address, row.blob.address) == (blob.address, blob.address)
    assert blob.address % 64 == blob.size % 64 == 0


@given(n=st.integers(1, 200), seed=st.integers(0, 9), limit=st.integers(1, 2000))
def test_no_value_holds_much_more_than_it_may(n, seed, limit):
    frame = pl.DataFrame({"a": range(n), "b": ["x" * (i % 5) for i in range(n)]})
    chosen = np.random.default_rng(seed).random(n) < 0.5
    kept, plan._BLOB_BYTES = plan._BLOB_BYTES, limit
    try:
        for rows, expected in ((None, frame), (np.flatnonzero(chosen), frame.filter(pl.Series(chosen)))):
            found = [from_blobs([blob]) for blob in Part(0, OWN, frame, rows).blobs()]
            assert_frame_equal(pl.concat([frame.clear(), *found]), expected)
            assert all(part.height <= max(1, limit / (frame.estimated_size() / n)) for part in found)
    finally:
        plan._BLOB_BYTES = kept


@given(n=st.integers(0, 300), top=st.sampled_from([1, 255, 256, 65_535, 65_536, 2**32, 2**62]),
       low=st.sampled_from([0, -1]), nulls=st.booleans(), parts=st.integers(1, 4), seed=st.integers(0, 99))  # fmt: skip
def test_packed_values_of_several_blobs_come_back_in_the_order_of_events(n, top, low, nulls, parts, seed):
    draw = np.random.default_rng(seed)
    count = pl.Series(draw.integers(low, top, n, np.int64, endpoint=True))
    frame = pl.DataFrame(
        {
            "event_id": pl.Series(draw.permutation(n)),
            "event_time": pl.Series(draw.integers(0, 9, n)).cast(pl.Datetime("us", "UTC")),
            "count": count.set(pl.Series(draw.random(n) < 0.3), None) if nulls else count,
            "noise": pl.Series(draw.random(n)),
            "steps": pl.Series(np.repeat(draw.random(n // 50 + 1), 50)[:n]),
            "word": pl.Series([f"w{i % 7}" for i in range(n)], dtype=pl.String),
        }
    )
    task = draw.integers(0, parts, n)
    blobs = [FrameWriter(frame).blob(np.flatnonzero(task == part)) for part in range(parts)]
    expected = pl.concat([frame.filter(pl.Series(task == part)) for part in range(parts)])
    assert_frame_equal(from_blobs(blobs), expected, check_exact=True)
    found = from_blobs(blobs, in_order=True)
    assert_frame_equal(found, frame.sort("event_time", "event_id"), check_exact=True)
    assert found.n_chunks() <= 1


def test_blobs_whose_bytes_mean_something_else_are_not_put_together():
    whole = pl.DataFrame({"event_id": [1, 2], "x": [3, 4]})
    others = (
        whole.cast({"x": pl.Float64}), whole.cast({"x": pl.Datetime("us")}), whole.select("x", "event_id"),
        whole.rename({"x": "y"}), whole.cast({"x": pl.String}), whole.select("x"),
    )  # fmt: skip
    for other in others:
        with pytest.raises(ValueError, match="different columns"):
            from_blobs([to_blob(whole), to_blob(other)])


def test_numbers_take_no_more_bytes_than_they_need():
    draw, n = np.random.default_rng(0), 20_000
    sizes = {name: len(to_blob(pl.DataFrame({"x": values}))) / n for name, values in (
        ("counts", draw.integers(0, 9, n)), ("sums", np.round(draw.random(n) * 50, 2)), ("noise", draw.random(n)),
        ("whole", draw.integers(0, 10**6, n).astype(float)),
        ("steps", np.repeat(draw.random(200), 100)), ("negative", draw.integers(-9, 0, n)),
    )}  # fmt: skip
    assert sizes["counts"] < 1.1
    assert sizes["sums"] < 2.1
    assert sizes["whole"] < 4.1
    assert sizes["steps"] < 0.5
    assert sizes["noise"] < 8.1
    assert sizes["negative"] < 6


floats = st.one_of(
    st.integers(0, 2**32).map(lambda cents: cents / 100), st.integers(-3, 2**33).map(float),
    st.floats(width=64), st.sampled_from([-0.0, float("nan"), float("inf"), 0.1 + 0.2, 2.0**32, 5e-324]),
)  # fmt: skip


@given(common=st.lists(st.one_of(st.none(), st.integers(0, 70_000).map(lambda cents: cents / 100)), max_size=40),
       odd=st.lists(floats, max_size=3), times=st.integers(1, 200))  # fmt: skip
def test_floats_come_back_to_the_last_bit_however_they_are_packed(common, odd, times):
    values = pl.Series("x", common * times + odd, dtype=pl.Float64)
    found = from_blobs([to_blob(values.to_frame())])["x"]
    there = values.is_not_null()
    assert found.is_not_null().equals(there)
    bits = [series.filter(there).to_numpy().view(np.uint64) for series in (values, found)]
    assert np.array_equal(*bits)
