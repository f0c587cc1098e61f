"""Frames as bytes and back: every type, however columns are cut into chunks, whichever rows are taken."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes

from fraudctl.cluster import plan
from fraudctl.cluster.blobs import OWN, BlobRow, from_batches, from_blob, to_batch, to_blob
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
    assert_frame_equal(from_blob(to_blob(chunked, positions)), expected, check_exact=True)


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
            found = [from_blob(blob) for blob in Part(0, OWN, frame, rows).blobs()]
            assert_frame_equal(pl.concat([frame.clear(), *found]), expected)
            assert all(part.height <= max(1, limit / (frame.estimated_size() / n)) for part in found)
    finally:
        plan._BLOB_BYTES = kept
