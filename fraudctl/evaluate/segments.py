"""Segments of the evaluated events: the values of a column, small ones pooled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.data.categories import Category, Rest, category

MAX_SEGMENTS = 8

Segments = list[tuple[Category, npt.NDArray[np.bool_]]]


def split_segments(
    values: pl.Series, y_true: npt.NDArray[Any], *, min_frauds: int, most: int = MAX_SEGMENTS
) -> Segments:
    """Split events by a column, by falling number of frauds, with every event in exactly one segment.

    Parameters
    ----------
    values
        The column, shape ``(n_events,)``; nulls form the segment `Missing`.
    y_true
        1 fraud, 0 legitimate.
    min_frauds
        Values with fewer frauds are pooled into `Rest`. Where even `Rest` has fewer, the smallest segments join it
        until it has as many.
    most
        Most segments, `Rest` included.

    Returns
    -------
    list of (segment, mask of shape ``(n_events,)``)
        One segment `Rest` where no value has enough.
    """
    text = values.cast(pl.String).alias("value")
    counts = (
        pl.DataFrame({"value": text, "fraud": y_true})
        .group_by("value")
        .agg(pl.col("fraud").cast(pl.Int64).sum())
        .sort(["fraud", "value"], descending=[True, False], nulls_last=True)
    )
    names, frauds = counts["value"].to_list(), counts["fraud"].to_list()
    kept = sum(1 for count in frauds if count >= min_frauds)
    if kept > most or (kept == most and len(names) > most):
        kept = most - 1
    while 0 < kept < len(names) and sum(frauds[kept:]) < min_frauds:
        kept -= 1
    masks: Segments = [(category(name), _holds(text, name)) for name in names[:kept]]
    if kept < len(names):
        named = np.zeros(len(text), dtype=np.bool_)
        for _, mask in masks:
            named |= mask
        masks.append((Rest(), ~named))
    return masks


def _holds(text: pl.Series, value: str | None) -> npt.NDArray[np.bool_]:
    held = text.is_null() if value is None else (text == value).fill_null(value=False)
    return np.asarray(held.to_numpy(), dtype=np.bool_)
