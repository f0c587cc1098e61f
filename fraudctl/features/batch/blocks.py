"""Blocks: the values of several features side by side, one row per event, and their way into columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.data.outputs import Handed
from fraudctl.features.batch.groups import Array, Strips, Workers
from fraudctl.features.meaning.definition import Feature


@dataclass(frozen=True)
class Block:
    """Room for features of type int and float, (n_rows, n_features) values of 64 bits, floats by their bits.

    Values are at the places that ``strips`` gives the queries. A kernel writes a column of it where `slot` says so;
    NaN is null. In the end the same memory holds the columns: fresh memory costs more than all arithmetic.
    """

    features: Sequence[Feature]
    values: Array
    strips: Strips

    @classmethod
    def empty(cls, features: Sequence[Feature], strips: Strips) -> Block:
        """Return a block whose values are still to be written."""
        return cls(features, np.empty((len(strips.places), len(features)), np.int64), strips)

    def slot(self, feature: Feature) -> int:
        """Return the column of a feature."""
        return next(i for i, item in enumerate(self.features) if item.name == feature.name)

    def put(self, feature: Feature, values: Array, workers: Workers) -> None:
        """Write values, which are in the order of the queries, to their places."""
        from fraudctl.features.batch import sweep

        real = feature.dtype == "float"
        kept = np.ascontiguousarray(values, np.float64 if real else np.int64)
        block, slot = self.values.view(np.float64) if real else self.values, self.slot(feature)
        places = self.strips.places
        workers.spread(len(places), lambda start, stop: sweep.put(kept, places, slot, block, start, stop))

    def columns(self, workers: Workers) -> list[pl.Series]:
        """Turn the block into columns in the order of the rows, nulls as nulls, a chunk for each strip.

        The columns lie in the memory of the block, whose values cannot be used any more.
        """
        from fraudctl.features.batch import sweep

        (n, k), shift = self.values.shape, self.strips.shift
        flat, real = self.values.reshape(-1), np.array([feature.dtype == "float" for feature in self.features])
        valid = np.empty((k, (n >> shift) + 1, (min(1 << shift, n) + 7) // 8), np.uint8)
        n_nulls = np.zeros(valid.shape[:2], np.int64)

        def work(start: int, stop: int) -> None:
            sweep.unpack(flat, self.strips.rows, shift, real, valid, n_nulls, start, stop)

        workers.spread(n, work, step=1 << shift)
        return workers.each(lambda c: _column(self, c, valid[c], n_nulls[c].tolist()), range(k))


def _column(block: Block, c: int, valid: Array, n_nulls: list[int]) -> pl.Series:
    """Return column ``c`` of a block after `sweep.unpack`, where it lies; ``valid`` and ``n_nulls`` are by strip."""
    import pyarrow as pa

    (n, k), feature = block.values.shape, block.features[c]
    kind, values = pa.float64() if feature.dtype == "float" else pa.int64(), pa.py_buffer(block.values)
    chunks, size = [], 1 << block.strips.shift
    for strip, start in enumerate(range(0, n, size)):
        height = min(size, n - start)
        bits = pa.py_buffer(valid[strip]) if n_nulls[strip] else None
        part = values.slice(8 * (start * k + height * c), 8 * height)
        chunks.append(pa.Array.from_buffers(kind, height, [bits, part], null_count=n_nulls[strip]))
    return pl.Series(values=Handed(pa.chunked_array(chunks, type=kind))).alias(feature.name)
