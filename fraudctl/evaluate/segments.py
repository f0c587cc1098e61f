"""Segments of the evaluated events: the values of a column, small ones pooled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

MAX_SEGMENTS = 8
REST = "rest"
NONE = "(none)"

Segments = list[tuple[str, npt.NDArray[np.bool_]]]


def split_segments(
    values: pl.Series, y_true: npt.NDArray[Any], *, min_frauds: int, most: int = MAX_SEGMENTS
) -> Segments:
    """Split events by a column, by falling number of frauds, with every event in exactly one segment.

    Parameters
    ----------
    values
        The column, shape ``(n_events,)``; nulls form the segment "(none)".
    y_true
        1 fraud, 0 legitimate.
    min_frauds
        Values with fewer frauds are pooled into "rest". Where even "rest" has fewer, the smallest segments join it
        until it has as many.
    most
        Most segments, "rest" included.

    Returns
    -------
    list of (name, mask of shape ``(n_events,)``)
        One segment "rest" where no value has enough.
    """
    text = values.cast(pl.String).fill_null(NONE)
    counts = (
        pl.DataFrame({"value": text, "fraud": y_true})
        .group_by("value")
        .agg(pl.col("fraud").cast(pl.Int64).sum())
        .sort(["fraud", "value"], descending=[True, False])
    )
    names, frauds = counts["value"].to_list(), counts["fraud"].to_list()
    kept = sum(1 for count in frauds if count >= min_frauds)
    if kept > most or (kept == most and len(names) > most):
        kept = most - 1
    while 0 < kept < len(names) and sum(frauds[kept:]) < min_frauds:
        kept -= 1
    masks: Segments = [(name, (text == name).to_numpy()) for name in names[:kept]]
    if kept < len(names):
        masks.append((REST, (~text.is_in(names[:kept])).to_numpy()))
    return masks
