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
        from fraudctl.features import sweep

        n, k = self.values.shape
        out = np.empty((k, n), np.int64)

        def work(start: int, stop: int) -> None:
            sweep.unpack(self.values, self.strips.rows, self.strips.shift, out, start, stop)

        def series(c: int) -> pl.Series:
            feature = self.features[c]
            if feature.dtype == "float":
                return pl.Series(feature.name, out[c].view(np.float64), nan_to_null=True)
            return pl.Series(feature.name, out[c]).cast(POLARS_TYPES[feature.dtype])

        workers.spread(n, work, step=1 << self.strips.shift)
        return workers.each(series, range(k))
