"""What a worker of a cluster needs: memory for a task of 1.25 million rows, and the time to its first row.

The events and the 50 columns are those of ``bench_spark.py``. All stages are run in one process, with one partition;
each stage is kept with the rows that it gets. Then each is run in a process of its own, which reads its rows as a
worker does, and gives its peak of resident memory, libraries and loops included. The first row is that of the first
look at a split of 1,000 rows: wall seconds from the start of a process, whose loops are compiled, as in a warm image.

    python benchmarks/bench_task.py --work /tmp/bench/task --out benchmarks/results/task.json
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from bench_features import PROJECT, prepared
from bench_scoring import machine

from fraudctl.cluster.blobs import BlobRow, from_batches, to_batch
from fraudctl.cluster.session import KEPT_MEMORY
from fraudctl.cluster.task import ClusterStage
from fraudctl.project import load_project
from fraudctl.workflows.cluster import TASK_ROWS, build_on

FEW = 1_000
TURNS = 5


class Kept:
    """An engine with one partition in this process; it keeps every stage with its rows in a folder."""

    keys: Sequence[int] = (0,)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stages: list[tuple[str, Path]] = []

    def run(self, rows: Sequence[BlobRow], stages: Sequence[ClusterStage]) -> Iterable[BlobRow]:
        """Run stages one after the other."""
        for stage in stages:
            path = self.folder / f"stage-{len(self.stages)}.pickle"
            held = [(row.task, row.kind, bytes(row.blob), row.place) for row in rows]
            path.write_bytes(pickle.dumps((stage, held)))
            self.stages.append((type(stage).__name__, path))
            rows = list(from_batches(stage(iter([to_batch(BlobRow(*row)) for row in held]))))
        return rows


def on_worker(path: Path) -> None:
    """Run one stage, let each batch go when it is there, and print the peak of memory when all are."""
    stage, held = pickle.loads(path.read_bytes())  # noqa: S301 - written above

    def batches() -> Iterator[pa.RecordBatch]:
        while held:
            yield to_batch(BlobRow(*held.pop()))

    for at, _ in enumerate(stage(batches())):
        if not at:
            print("first", flush=True)
    status = Path("/proc/self/status").read_text()  # resource usage counts the process that started this one, too
    print(1024 * int(status.split("VmHWM:")[1].split()[0]), flush=True)


def worker(path: Path) -> tuple[float, int]:
    """Run one stage in a process of its own; return wall seconds to its first row, and its peak of memory in bytes."""
    env = os.environ | KEPT_MEMORY | {"POLARS_MAX_THREADS": "1"}
    began = time.perf_counter()
    command = [sys.executable, __file__, "--worker", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        lines = process.stdout or ()
        said = [(line, time.perf_counter() - began) for line in lines]
    (_, first), (peak, _) = said
    return first, int(peak)


def kept(folder: Path, n_events: int) -> list[tuple[str, Path]]:
    """Make events, build their features with one partition, and return the stages that were kept."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared(str(n_events), folder)
    (folder / "fraudctl.toml").write_text(PROJECT)
    engine = Kept(folder)
    build_on(load_project(folder), engine, folder / "out", task_rows=TASK_ROWS)
    return engine.stages


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        on_worker(args.worker)
        return
    peaks = {}
    for name, path in kept(args.work / "large", TASK_ROWS):
        _, peaks[f"{len(peaks) + 1}: {name}"] = worker(path)
    (_, look), *_ = kept(args.work / "few", FEW)
    seconds = [worker(look)[0] for _ in range(TURNS + 1)][1:]
    found: dict[str, Any] = {
        "machine": machine(), "rows": TASK_ROWS, "peak_bytes": peaks, "largest_peak_bytes": max(peaks.values()),
        "seconds_to_first_row": statistics.median(seconds),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
