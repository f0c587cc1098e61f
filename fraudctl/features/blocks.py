"""Blocks: the values of several features side by side, one row per event, and their way into columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.features.definition import POLARS_TYPES, Feature
from fraudctl.features.groups import Array, Strips, Workers


class Room:
    """Memory for one block at a time, kept from block to block: touching fresh memory costs more than a sweep."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.int64)

    def block(self, features: Sequence[Feature], strips: Strips) -> Block:
        """Give an empty block; the one given before must not be used any more."""
        n_rows = len(strips.places)
        size = n_rows * len(features)
        if len(self._memory) < size:
            self._memory = np.empty(0, np.int64)
            self._memory = np.empty(size, np.int64)
        return Block(features, self._memory[:size].reshape(n_rows, len(features)), strips)


@dataclass(frozen=True)
class Block:
    """Room for features of type int and float, (n_rows, n_features) values of 64 bits, floats by their bits.

    Values are at the places that ``strips`` gives the queries. A kernel writes a column of it where `slot` says so;
    NaN is null.
    """

    features: Sequence[Feature]
    values: Array
    strips: Strips

    def slot(self, feature: Feature) -> int:
        """Give the column of a feature."""
        return next(i for i, item in enumerate(self.features) if item.name == feature.name)

    def put(self, feature: Feature, values: Array, workers: Workers) -> None:
        """Write values, which are in the order of the queries, to their places."""
        from fraudctl.features import sweep

        real = feature.dtype == "float"
        kept = np.ascontiguousarray(values, np.float64 if real else np.int64)
        block, slot = self.values.view(np.float64) if real else self.values, self.slot(feature)
        places = self.strips.places
        workers.spread(len(places), lambda start, stop: sweep.put(kept, places, slot, block, start, stop))

    def columns(self, workers: Workers) -> list[pl.Series]:
        """Give the features as columns in the order of the rows, nulls as nulls."""
        import pyarrow as pa

        from fraudctl.features import sweep

        n, k = self.values.shape
        real = np.array([feature.dtype == "float" for feature in self.features])
        out, valid = np.empty((k, n), np.int64), np.empty((k, -(-n // 8)), np.uint8)
        counts: list[Array] = []

        def work(start: int, stop: int) -> None:
            nulls = np.zeros(k, np.int64)
            strips = self.strips
            sweep.unpack(self.values, strips.rows, strips.shift, real, out, valid, nulls, start, stop)
            counts.append(nulls)

        workers.spread(n, work, step=1 << self.strips.shift)
        nulls = np.sum(counts, axis=0) if counts else np.zeros(k, np.int64)
        series = []
        for c, feature in enumerate(self.features):
            kind = pa.float64() if real[c] else pa.int64()
            bits = pa.py_buffer(valid[c]) if nulls[c] else None
            column = pa.Array.from_buffers(kind, n, [bits, pa.py_buffer(out[c])], int(nulls[c]))
            found = pl.Series(feature.name, pl.from_arrow(column))
            series.append(found.cast(POLARS_TYPES[feature.dtype]))
        return series
