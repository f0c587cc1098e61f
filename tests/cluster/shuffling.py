"""An engine of a cluster in one process: rows by place, in any order; every stage is pickled, some are run twice."""

from __future__ import annotations

import pickle
import random

import pyarrow as pa

from fraudctl.cluster.blobs import from_batches, to_batch


class Shuffled:
    """Brings rows of one place together, as an engine does, in an order that changes from run to run."""

    def __init__(self, partitions: int, seed: int = 0) -> None:
        self.keys = [1_000 + 7 * at for at in range(partitions)]
        self.random = random.Random(seed)  # noqa: S311
        self.calls = []

    def run(self, rows, stages):
        for stage in stages:
            copied = pickle.loads(pickle.dumps(stage))  # noqa: S301
            self.calls.append(type(stage).__name__)
            found = []
            for partition in self.partitions(rows):
                batches = [to_batch(row) for row in partition]
                if self.random.random() < 0.2:
                    list(copied(iter(batches)))  # a task whose result is lost is run again
                found += from_batches(pa.RecordBatch.from_arrays(batch.columns, batch.schema.names)
                                      for batch in copied(iter(batches)))  # fmt: skip
            rows = found
        return rows

    def partitions(self, rows):
        held = {}
        for row in rows:
            held.setdefault(row.place, []).append(row)
        parts = list(held.values())
        self.random.shuffle(parts)
        for part in parts:
            self.random.shuffle(part)
        return parts
