"""The figures of the page on scale are those of the committed runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
BILLION = 1_000_000_000


def results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


AFRESH, LARGE = "handbook, blobs copied once", "10 million"
"""The run of ours; Spark's own windows were run before, on the same rows, with a run of one process beside it."""


def costs() -> list[str]:
    """Return the lines on what a cluster costs, from the runs of `bench_spark.py`."""
    found, lines = results("spark"), []
    for words, data, method in (
        ("one process, `features`", AFRESH, "one process"),
        ("`features --spark sail --partitions 4`", AFRESH, "sail"),
        ("PySpark's window functions over range frames, `local[2]`", "handbook", "pyspark"),
        ("10 million synthetic events, one process", LARGE, "one process"),
        ("10 million synthetic events, `features --spark sail --partitions 4`", LARGE, "sail"),
        ("10 million synthetic events, `--spark local-cluster[2,1,3072] --partitions 4`", LARGE, "spark"),
    ):
        item = found[data]["runs"][method]
        differ = f"{item['differ_exactly']:,} of {item['cells']:,}" if "cells" in item else ""
        of_one = f"{item['cpu_of_one_process']:.2f} | {item['wall_of_one_process']:.2f}"
        lines.append(f"| {words} | {item['cpu_seconds']:.1f} | {of_one} | {item['load_before']:.0f} | {differ} |")
    return lines


def a_billion() -> list[str]:
    """Return the lines on a billion events a day."""
    one = results("features")["synthetic-10M"]["methods"]["ours"]["cpu_seconds"] / 1e7 * BILLION / 3600
    spark = one * results("spark")[LARGE]["runs"]["sail"]["cpu_of_one_process"]
    batch = BILLION / results("scoring")["batch"]["rows_per_second_reasons_alerts"] / 3600
    stream = BILLION / 86_400 / results("consume")["throughput"]["consume_events_per_cpu_second"]
    held = results("state")["open"]["state_bytes_per_event"] * 30 * BILLION / 1e12
    return [
        (
            f"| features of a day, one process, 50 columns | {one:.1f} processor hours |"
            " `bench_features.py 10000000 --methods ours` |"
        ),
        (
            f"| the same through the engine of a cluster | {spark:.1f} processor hours |"
            ' `bench_spark.py 10000000 --methods "one process" sail` |'
        ),
        f"| a backfill of 90 days | {90 * spark:,.0f} processor hours | the same |",
        (
            f"| decisions on files, reasons for alerts, 102 features | {batch:.1f} hours on two processors |"
            " `bench_scoring.py` |"
        ),
        (
            f"| decisions from topic to topic | {stream:.1f} processors at an even rate;"
            f" {math.ceil(3 * stream / 0.6)} shards for peaks of three times that, at 60 % | `bench_consume.py` |"
        ),
        f"| state of 30 days, all shards | {held:.1f} TB | `bench_state.py` |",
    ]


def test_what_it_costs_is_what_was_measured() -> None:
    (section,) = [part for part in PAGE.split("\n## ") if part.startswith("What it costs")]
    assert [line for line in section.splitlines() if line.startswith("| ")][1:] == costs()


def test_sentences_say_what_was_measured() -> None:
    runs = results("spark")[LARGE]["runs"]
    sail, spark = (f"{runs[name]['cpu_of_one_process']:.2f} times" for name in ("sail", "spark"))
    assert f"Sail takes {sail} the processor time of one process, and Apache Spark 4.3.0 {spark}" in PAGE
    assert f"decides on {round(results('scoring')['worker']['rows_per_second'], -4):,.0f} rows a\nsecond" in PAGE
    task = results("task")
    assert (
        f"at most {task['largest_peak_bytes'] / 1e9:.2f} GB for a task of {task['rows'] / 1e6:.2f} million rows" in PAGE
    )
    assert f"first row {task['seconds_to_first_row']:.1f} s after its start" in PAGE


def test_a_billion_events_a_day_are_recounted() -> None:
    (section,) = [part for part in PAGE.split("\n## ") if part.startswith("A billion events a day")]
    assert [line for line in section.splitlines() if line.startswith("| ")][1:] == a_billion()


def test_every_command_of_the_table_is_there() -> None:
    for name in ("features", "spark", "scoring", "consume", "state"):
        assert (ROOT / "benchmarks" / f"bench_{name}.py").is_file()
