"""Odd files and their normalised twins: equal events, equal features, and equal messages."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraudctl.data import tables
from fraudctl.errors import DataError
from fraudctl.features.meaning.definition import define
from fraudctl.project import Project, parse_project
from fraudctl.scoring.events import EventReader
from fraudctl.scoring.schema import data_schema

N = 60
HEAD = """
[data]
events = "{events}"
event_id = {id}
event_time = "{time}"
amount = "amount"
label = "y"
label_delay = "7d"
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
"""


def world() -> pl.DataFrame:
    """Events in their normal form: text ids with leading zeros, instants, floats, codes."""
    rng = np.random.default_rng(3)
    times = [datetime(2024, 3, 1) + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 40 * 1440, N))]
    return pl.DataFrame({
        "id": [f"{i:05d}" for i in range(N)],
        "t": pl.Series(times).dt.replace_time_zone("UTC"),
        "amount": [None if i % 11 == 0 else round(float(a), 2) for i, a in enumerate(rng.gamma(2, 900, N))],
        "card": [None if i % 13 == 0 else f"0{c}" if c % 2 else f"{c}" for i, c in enumerate(rng.integers(1, 9, N))],
        "mcc": [f"0{m}" for m in rng.integers(100, 103, N)],
        "n": [None if i % 7 == 0 else int(v) for i, v in enumerate(rng.integers(0, 50, N))],
        "y": [int(v) for v in rng.random(N) < 0.3],
    })  # fmt: skip


def project(
    folder: Path, events: str, more: str = "", *, time: str = "t", zone: str = "UTC", event_id: str = '"id"'
) -> Project:
    text = HEAD.format(events=events, time=time, zone=zone, id=event_id) + more + TAIL
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
    for i in range(12):
        part = odd[i * 5 : (i + 1) * 5]
        (folder / f"ev/week={i:02d}").mkdir(parents=True)
        part = part.with_columns(n=pl.lit(None, pl.String)) if part["n"].null_count() == 5 else part
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


FORMS: list[Write] = [slashed, joined, epochs, zones, two_kinds, weekly, latin]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("twin")
    world().write_parquet(folder / "x.parquet")
    return project(folder, "x.parquet")


@pytest.mark.parametrize("write", FORMS)
def test_an_odd_file_gives_the_events_of_its_twin(write: Write, tmp_path: Path, twin: Project) -> None:
    found = write(world(), tmp_path)
    odd, want = (tables.load_events(item, columns=["mcc", "n"]) for item in (found, twin))
    assert_frame_equal(odd.frame, want.frame)


@pytest.mark.parametrize("write", [slashed, joined, epochs, zones])
def test_a_message_in_the_odd_notation_is_the_row_of_the_file(write: Write, tmp_path: Path, twin: Project) -> None:
    found = write(world(), tmp_path)
    path = next(tmp_path.glob("x.*"))
    raw = tables.scan([str(path)], form=None if path.suffix == ".jsonl" else _dialect(found)).collect()
    schema = data_schema(found)
    reader = EventReader(found, define(found, tables.load_schema(found)), schema)
    rows = tables.load_events(found, columns=["mcc", "n"]).frame
    wanted = {row["event_id"]: row for row in rows.iter_rows(named=True)}
    for row in raw.iter_rows(named=True):
        event = reader.event({name: _typed(value, schema.events.get(name)) for name, value in row.items()})
        want = wanted[event["event_id"]]
        assert event["event_time"] == int(want["event_time"].timestamp()) * 1_000_000
        assert {name: event[name] for name in ("amount", "card", "mcc", "n")} == {
            name: want[name] for name in ("amount", "card", "mcc", "n")
        }


def _dialect(found: Project) -> Any:
    from fraudctl.normal.form import Form
    from fraudctl.project.reading import ReadingSection

    every = dict.fromkeys(["id", "t", "amount", "card", "mcc", "n", "y", "day", "time"])
    return Form(ReadingSection(csv=found.data.csv), ids=frozenset(every), text=frozenset(every))


def _typed(value: Any, kind: pl.DataType | None) -> Any:
    """Give a text of CSV as JSON would hold it where its notation is the usual one."""
    if isinstance(value, str) and kind is not None and kind.is_numeric():
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


@pytest.mark.parametrize("kind", [pl.UInt64, pl.Int128])
def test_ids_beyond_64_bits_are_text_in_every_table(kind: Any, tmp_path: Path) -> None:
    frame = world().with_columns(card=pl.Series([2**63 + i % 5 for i in range(N)], dtype=kind))
    frame.write_parquet(tmp_path / "x.parquet")
    frame.select("t", "card").write_csv(tmp_path / "logins.csv")
    found = project(
        tmp_path,
        "x.parquet",
        '[sources.logins]\nevents = "logins.csv"\nevent_time = "t"\nentities = { card = "card" }\n',
    )
    assert tables.load_events(found).frame["card"].to_list()[0] == str(2**63)
    schema = data_schema(found)
    assert schema.events["card"] == schema.sources["logins"]["card"] == pl.String


def test_an_id_is_text_where_it_is_text_in_another_table(tmp_path: Path) -> None:
    frame = world().with_columns(card=pl.Series([i % 5 for i in range(N)]))
    frame.write_parquet(tmp_path / "x.parquet")
    frame.select("t", pl.col("card").cast(pl.UInt64) + 2**63).write_parquet(tmp_path / "logins.parquet")
    found = project(
        tmp_path, "x.parquet",
        '[sources.logins]\nevents = "logins.parquet"\nevent_time = "t"\nentities = { card = "card" }\n',
    )  # fmt: skip
    assert data_schema(found).events["card"] == data_schema(found).sources["logins"]["card"] == pl.String
    assert tables.load_events(found).frame["card"].dtype == pl.String


@pytest.mark.parametrize("kind", [pl.Float64, pl.Float32])
def test_ids_of_floats_that_are_no_longer_exact_are_refused(kind: Any, tmp_path: Path) -> None:
    frame = world().with_columns(
        card=pl.Series([4_000_123_400_000_000_000 + i for i in range(N)], dtype=pl.Int64).cast(kind)
    )
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"ids are Float.* beyond .*neighbouring ids are one number"):
        tables.load_events(project(tmp_path, "x.parquet"))


def test_made_ids_name_rows_or_contents(tmp_path: Path) -> None:
    world().drop("id").write_parquet(tmp_path / "x.parquet")
    numbered = tables.load_events(project(tmp_path, "x.parquet", event_id="{ row_number = true }")).frame
    assert sorted(numbered["event_id"]) == list(range(1, N + 1))
    by_content = project(tmp_path, "x.parquet", event_id='{ columns = ["card", "n", "amount", "t"] }')
    frame = tables.load_events(by_content, columns=["mcc", "n"]).frame
    assert frame["event_id"].n_unique() == N
    reader = EventReader(by_content, define(by_content, tables.load_schema(by_content)), data_schema(by_content))
    for row in world().drop("id", "y").iter_rows(named=True):
        row["t"] = row["t"].isoformat()
        assert reader.event_id(row) in set(frame["event_id"])


@pytest.mark.parametrize(("place", "name"), [("_delta_log", "Delta"), ("metadata/v1.metadata.json", "Iceberg")])
def test_tables_of_a_lake_are_never_read_as_plain_parquet(place: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "ev" / place).mkdir(parents=True)
    world().write_parquet(tmp_path / "ev/part.parquet")
    with pytest.raises(DataError, match=f"{name}"):
        tables.load_events(project(tmp_path, "ev"))
    with pytest.raises(DataError, match=f"is a {name} table"):
        tables.load_events(project(tmp_path, "ev/*.parquet"))


def test_what_is_left_out_of_a_folder_is_named_and_kinds_are_not_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "ev"
    folder.mkdir()
    world()[:30].write_parquet(folder / "a.parquet")
    world()[30:].write_parquet(folder / "B.PARQ")
    world().write_parquet(folder / ".b.parquet")
    (folder / "notes.xlsx").write_bytes(b"x")
    (folder / "_SUCCESS").touch()
    assert len(tables.find_files("ev", root=tmp_path)) == 2
    assert tables.left_behind("ev", root=tmp_path) == [".b.parquet", "notes.xlsx"]
    world().select("id").write_csv(folder / "c.csv")
    with pytest.raises(DataError, match="several kinds: 1 CSV, 2 Parquet"):
        tables.find_files("ev", root=tmp_path)


def test_a_label_in_the_repeated_hour_arrives_after_its_event(tmp_path: Path) -> None:
    # clocks in Berlin went back from 03:00 to 02:00 on 27 October 2024
    frame = world()[:2].with_columns(
        t=pl.Series([datetime(2024, 10, 27, 2, 50), datetime(2024, 10, 27, 2, 10)]),
        known=pl.Series([datetime(2024, 10, 27, 2, 10), datetime(2024, 10, 27, 2, 20)]),
    )
    frame.write_parquet(tmp_path / "x.parquet")
    found = tables.load_events(project(tmp_path, "x.parquet", 'label_time = "known"\n', zone="Europe/Berlin")).frame
    assert (found["label_time"] - found["event_time"]).dt.total_minutes().sort().to_list() == [10, 20]


@pytest.mark.parametrize("kind", [pl.UInt64, pl.Int128])
def test_wide_numbers_without_a_role_are_numbers_where_they_fit_and_text_where_not(kind: Any, tmp_path: Path) -> None:
    frame = world().with_columns(
        few=pl.Series(range(N), dtype=kind), hash=pl.Series([2**63 + i for i in range(N)], dtype=kind)
    )
    frame.write_parquet(tmp_path / "x.parquet")
    schema = tables.load_schema(project(tmp_path, "x.parquet"))
    assert (schema["few"], schema["hash"]) == (pl.Int64, pl.String)
