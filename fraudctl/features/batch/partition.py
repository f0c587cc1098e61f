"""The partition step: which rows have to be together so that an entity's history is whole.

A row belongs to a bucket by the hash of its entity's value, and buckets are packed into partitions of about equal size.
Nothing that is computed within a partition depends on the others, and no bit of a result depends on how many there are.
An engine that is spread over machines would shuffle by `buckets_of` and run `batch.Engine` on each partition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.features.batch.groups import Array

N_BUCKETS = 4096


def buckets_of(values: pl.Series, *, first_row: int = 0) -> Array:
    """Return the bucket of each row, shape (n,); a null shares no history and is spread by its row number."""
    if values.null_count() == len(values):
        return (np.arange(len(values)) + first_row) % N_BUCKETS
    buckets = (values.hash(seed=1) % N_BUCKETS).cast(pl.Int64).to_numpy()
    if not values.null_count():
        return buckets
    return np.where(values.is_null().to_numpy(), (np.arange(len(values)) + first_row) % N_BUCKETS, buckets)


@dataclass(frozen=True)
class Packing:
    """Which partition each bucket is in: shape (N_BUCKETS,), and how many rows each partition has."""

    partition_of: Array
    sizes: Array

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return len(self.sizes)


def packed(counts: Array, most_rows: int) -> Packing:
    """Pack buckets into as few partitions of at most ``most_rows`` as a simple rule finds.

    The largest bucket comes first and goes into the first partition that has room; one that is larger than
    ``most_rows`` has a partition to itself.

    >>> packed(np.array([5, 1, 9, 3]), 6).partition_of.tolist()
    [1, 1, 0, 2]
    """
    partition_of = np.zeros(len(counts), np.int64)
    sizes: list[int] = []
    for bucket in np.argsort(-counts, kind="stable").tolist():
        n = int(counts[bucket])
        room = next((i for i, size in enumerate(sizes) if size + n <= most_rows), None)
        if room is None:
            sizes.append(0)
            room = len(sizes) - 1
        sizes[room] += n
        partition_of[bucket] = room
    return Packing(partition_of, np.array(sizes, np.int64))
