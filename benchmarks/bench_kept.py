"""What it costs to verify a kept table before it is read: paired runs on a table of some 300 MB.

    python benchmarks/bench_kept.py [ROWS] [ROUNDS]

Prints the median processor time of reading, of verifying, and their ratio; and how many of 1,000 single-bit
flips are used in silence.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from fraudctl.data.outputs import write_parquet
from fraudctl.data.tables import read_parquet
from fraudctl.disk.kept import DamagedError, verified, vouch


def table(rows: int) -> pl.DataFrame:
    """Return a table like one of features: amounts, counts, ratios with nulls."""
    draw = np.random.default_rng(0)
    columns = {"event_id": np.arange(rows)}
    columns |= {f"amount_{i}": draw.gamma(2.0, 40.0, rows).round(2) for i in range(30)}
    columns |= {f"count_{i}": draw.poisson(3, rows) for i in range(20)}
    columns |= {f"ratio_{i}": np.where(draw.random(rows) < 0.3, np.nan, draw.gamma(2.0, size=rows)) for i in range(15)}
    return pl.DataFrame(columns)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call, all threads together: it does not depend on what else runs."""
    start = time.process_time()
    work()
    return time.process_time() - start


def flips_used(place: Path, n_flips: int) -> int:
    """Return how many of so many single-bit flips are not noticed."""
    draw, used = random.Random(7), 0  # noqa: S311 - no secret
    size = place.stat().st_size
    with place.open("r+b") as file:
        for _ in range(n_flips):
            at, bit = draw.randrange(size), 1 << draw.randrange(8)
            _flip(file, at, bit)
            with contextlib.suppress(DamagedError):
                used += verified(place) is not None
            _flip(file, at, bit)
    return used


def _flip(file: BinaryIO, at: int, bit: int) -> None:
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ bit]))
    file.flush()


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "table.parquet"
        write_parquet(table(rows), place)
        vouch(place, {})
        pairs = [
            (cpu_seconds(lambda: read_parquet(place)), cpu_seconds(lambda: verified(place))) for _ in range(rounds)
        ]
        reading, verifying = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for other, one in pairs)
        print(f"{place.stat().st_size / 1e6:.0f} MB: read {reading:.3f} s, verify {verifying:.3f} s, ratio {ratio:.1%}")
        print(f"flips used in silence: {flips_used(place, 1000)} of 1000")


if __name__ == "__main__":
    main()
