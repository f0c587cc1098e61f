"""Odd files and their normalised twin: one world of events, written as different teams would write it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fraudctl.project import Project, parse_project

N = 480
PARTS = 12
HEAD = """
[data]
events = {events}
event_id = {id}
event_time = "{time}"
amount = "amount"
label = "y"
label_delay = "2d"
timezone = "{zone}"
"""
TAIL = """
[entities]
card = "card"
[features]
raw = ["amount", "mcc", "n"]
categorical = ["mcc"]
[[features.window]]
by = "card"
windows = ["7d"]
aggregates = ["count", "mean(amount)"]
[split]
test = "7d"
folds = 1
[train]
trials = 0
iterations = 10
[costs]
currency = "EUR"
[costs.actions]
allow.fraud = { rate = 1.0 }
block.legit = { fixed = 500 }
"""


def world() -> pl.DataFrame:
    """Events in their normal form: text ids with leading zeros, instants, floats, codes."""
    rng = np.random.default_rng(3)
    times = [datetime(2024, 3, 1) + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 40 * 1440, N))]
    amounts = rng.gamma(2, 900, N)
    return pl.DataFrame({
        "id": [f"{i:05d}" for i in range(N)],
        "t": pl.Series(times).dt.replace_time_zone("UTC"),
        "amount": [None if i % 11 == 0 else round(float(a), 2) for i, a in enumerate(amounts)],
        "card": [None if i % 13 == 0 else f"0{c}" if c % 2 else f"{c}" for i, c in enumerate(rng.integers(1, 40, N))],
        "mcc": [f"0{m}" for m in rng.integers(100, 103, N)],
        "n": [None if i % 7 == 0 or 80 <= i < 120 else int(v) for i, v in enumerate(rng.integers(0, 50, N))],
        "y": [int(v) for v in rng.random(N) < np.where(amounts > 2500, 0.7, 0.05)],
    })  # fmt: skip


def project(
    folder: Path, events: str, more: str = "", *, time: str = "t", zone: str = "UTC", event_id: str = '"id"'
) -> Project:
    text = (
        HEAD.format(events=events if events.startswith("[") else f'"{events}"', time=time, zone=zone, id=event_id)
        + more
        + TAIL
    )
    (folder / "fraudctl.toml").write_text(text, encoding="utf-8")
    return parse_project(text, path=folder / "fraudctl.toml")


def comma(value: float | None) -> str | None:
    return None if value is None else f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def texts(frame: pl.DataFrame, **columns: Any) -> pl.DataFrame:
    out = frame.with_columns([pl.Series(name, values) for name, values in columns.items()])
    return out.select(pl.all().cast(pl.String))


Write = Callable[[pl.DataFrame, Path], Project]


def slashed(frame: pl.DataFrame, folder: Path) -> Project:
    words = ["fraud" if v else "legit" for v in frame["y"]]
    odd = texts(frame, t=frame["t"].dt.to_string("%d/%m/%Y %H:%M"), amount=[comma(v) for v in frame["amount"]],
                n=["?" if v is None else str(v) for v in frame["n"]], y=words)  # fmt: skip
    odd.write_csv(folder / "x.csv", separator=";")
    more = (
        'missing = ["?"]\n[data.csv]\nseparator = ";"\n[data.time]\nformat = "%d/%m/%Y %H:%M"\n'
        '[data.numbers]\ndecimal = ","\ngrouping = "."\n[data.label_values]\nfraud = 1\nlegit = 0\n'
    )
    return project(folder, "x.csv", more)


def joined(frame: pl.DataFrame, folder: Path) -> Project:
    odd = texts(frame, day=frame["t"].dt.to_string("%b %d, %Y"), time=frame["t"].dt.to_string("%I:%M %p"),
                amount=[None if v is None else f"${v:,.2f}" for v in frame["amount"]]).drop("t")  # fmt: skip
    (folder / "x.csv.gz").write_bytes(gzip.compress(odd.write_csv(include_bom=True).encode()))
    more = (
        '[data.time]\ncolumns = ["day", "time"]\nformat = "%b %d, %Y %I:%M %p"\n'
        '[data.numbers.columns]\namount = { prefix = "$", grouping = "," }\n'
    )
    return project(folder, "x.csv.gz", more)


def epochs(frame: pl.DataFrame, folder: Path) -> Project:
    seconds = (frame["t"] - pl.Series([datetime(2023, 12, 1)]).dt.replace_time_zone("UTC")[0]).dt.total_seconds()
    frame.with_columns(t=seconds, n=pl.col("n").fill_null(-999)).write_ndjson(folder / "x.jsonl")
    return project(folder, "x.jsonl", 'missing_in = { n = [-999] }\n[data.time]\nunit = "s"\norigin = 2023-12-01\n')


def zones(frame: pl.DataFrame, folder: Path) -> Project:
    local = frame["t"].dt.convert_time_zone("Asia/Kolkata")
    mixed = [
        f"{a:%Y-%m-%d %H:%M:%S}" if i % 2 else f"{a:%Y-%m-%d %H:%M:%S} UTC" if i % 4 else f"{a:%Y-%m-%dT%H:%M:%S%z}"
        for i, (a, u) in enumerate(zip(local, frame["t"], strict=True))
    ]
    mixed = [
        text if not text.endswith(" UTC") else f"{u:%Y-%m-%d %H:%M:%S} UTC"
        for text, u in zip(mixed, frame["t"], strict=True)
    ]
    texts(frame, t=mixed).write_csv(folder / "x.csv")
    return project(folder, "x.csv", zone="Asia/Kolkata")


def two_kinds(frame: pl.DataFrame, folder: Path) -> Project:
    local = frame.with_columns(pl.col("t").dt.convert_time_zone("Asia/Kolkata").dt.replace_time_zone(None))
    (folder / "ev").mkdir()
    local[::2].write_parquet(folder / "ev/a.parquet")
    frame[1::2].with_columns(pl.col("t").dt.cast_time_unit("ns")).write_parquet(folder / "ev/b.parquet")
    return project(folder, "ev", zone="Asia/Kolkata")


def weekly(frame: pl.DataFrame, folder: Path) -> Project:
    odd = texts(frame, t=frame["t"].dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
    for i in range(PARTS):
        part = odd[i * N // PARTS : (i + 1) * N // PARTS]
        (folder / f"ev/week={i:02d}").mkdir(parents=True)
        part = part.with_columns(n=pl.lit(None, pl.String)) if part["n"].null_count() == len(part) else part
        part.select(sorted(part.columns, reverse=i % 2 == 0)).write_csv(folder / f"ev/week={i:02d}/part.csv")
    (folder / "ev/week=99").mkdir()
    odd[:0].write_csv(folder / "ev/week=99/part.csv")
    (folder / "ev/_temporary").mkdir()
    odd.write_csv(folder / "ev/_temporary/part.csv")
    return project(folder, "ev")


def latin(frame: pl.DataFrame, folder: Path) -> Project:
    odd = texts(frame, t=frame["t"].dt.to_string("%Y-%m-%dT%H:%M:%SZ"), place=["Österreich"] * N)
    (folder / "x.csv").write_bytes(odd.write_csv(separator="\t").encode("latin-1"))
    return project(folder, "x.csv", '[data.csv]\nseparator = "\\t"\nencoding = "latin-1"\n')


def digits(frame: pl.DataFrame, folder: Path) -> Project:
    stamps = frame["t"].dt.to_string("%Y%m%d%H%M%S").cast(pl.Int64)
    words = ["Yes" if v else "No" for v in frame["y"]]
    small = pl.col("n").cast(pl.UInt64), pl.col("mcc").cast(pl.Categorical), pl.col("amount").cast(pl.Decimal(12, 2))
    frame.with_columns(*small, t=stamps, y=pl.Series(words)).write_parquet(folder / "x.parquet")
    more = '[data.time]\nformat = "%Y%m%d%H%M%S"\n[data.label_values]\nYes = 1\nNo = 0\n'
    return project(folder, "x.parquet", more)


def accounting(frame: pl.DataFrame, folder: Path) -> Project:
    millis = frame["t"].dt.epoch("ms")
    odd = texts(frame, t=millis, amount=[None if v is None else f"{v:,.2f} EUR" for v in frame["amount"]],
                y=[f"{v}.0" for v in frame["y"]], n=[None if v is None else f"{v}.0" for v in frame["n"]])  # fmt: skip
    for i, part in enumerate((odd[:7], odd[7:])):  # types are those of all rows, and not of the first file
        part.write_csv(folder / f"x{i}.tsv", separator="\t", quote_style="always")
    numbers = '[data.numbers.columns]\namount = { grouping = ",", suffix = " EUR" }\n'
    more = 'types = { n = "whole" }\n[data.time]\nunit = "ms"\n' + numbers
    return project(folder, "x*.tsv", more)


def hive(frame: pl.DataFrame, folder: Path) -> Project:
    local = frame.with_columns(pl.col("t").dt.convert_time_zone("America/New_York").dt.to_string("%d.%m.%y %H.%M"))
    for code, part in local.partition_by("mcc", as_dict=True).items():
        place = folder / f"ev/mcc={code[0]}"
        place.mkdir(parents=True)
        part.drop("mcc").sample(fraction=1.0, shuffle=True, seed=1).write_ndjson(place / "a.jsonl")
        (place / "b.jsonl").write_text("\n")  # a day without events
    return project(
        folder, "ev", '[data.time]\nformat = ["%d.%m.%Y %H:%M", "%d.%m.%y %H.%M"]\n', zone="America/New_York"
    )


def clocks(frame: pl.DataFrame, folder: Path) -> Project:
    """Dates and times of the day as numbers without leading zeros; dates in another column that mean "never"."""
    numbers = pl.Series([10_000 * at.hour + 100 * at.minute for at in frame["t"]])
    days = pl.Series([int(f"{at:%Y%m%d}") for at in frame["t"]])
    closed = [None if i % 3 else datetime(9999, 12, 31) if i % 2 else datetime(2024, 1, 9) for i in range(N)]
    odd = frame.with_columns(day=days, clock=numbers, closed=pl.Series(closed, dtype=pl.Datetime("us"))).drop("t")
    odd.write_parquet(folder / "x.parquet")
    more = (
        'missing_in = { closed = ["9999-12-31"] }\n[data.time]\ncolumns = ["day", "clock"]\nformat = "%Y%m%d %{hms}"\n'
    )
    return project(folder, "x.parquet", more)


def weeks(frame: pl.DataFrame, folder: Path) -> Project:
    """ISO weeks, padded with spaces, and minutes since 1970 as the arrival of nothing."""
    stamps = [f"  {at:%G-W%V-%u}   {at.hour:2d}:{at:%M}" for at in frame["t"]]
    texts(frame, t=stamps).write_csv(folder / "x.csv", separator="|")
    return project(folder, "x.csv", '[data.csv]\nseparator = "|"\n[data.time]\nformat = "%G-W%V-%u %H:%M"\n')


def minutes(frame: pl.DataFrame, folder: Path) -> Project:
    frame.with_columns(t=frame["t"].dt.epoch("s") // 60).write_parquet(folder / "x.parquet")
    return project(folder, "x.parquet", '[data.time]\nunit = "min"\n')


FORMS: list[Write] = [
    slashed,
    joined,
    epochs,
    zones,
    two_kinds,
    weekly,
    latin,
    digits,
    accounting,
    hive,
    clocks,
    weeks,
    minutes,
]
