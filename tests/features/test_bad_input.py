"""Data and definitions that mean nothing: one clear error each, without a cell value."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from fraudctl.data.tables import load_events, load_schema
from fraudctl.errors import DataError, FraudctlError, ProjectError
from fraudctl.features import build, define
from fraudctl.project import parse_project

TOML = """
[data]
events = "*.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "fraud"
label_delay = "1d"
[entities]
card = "card"
[[features.window]]
by = "card"
windows = ["{window}"]
aggregates = ["{aggregate}"]
"""
N = 6


def table(**columns) -> pl.DataFrame:
    base = {
        "id": list(range(N)), "at": [datetime(2024, 1, day + 1) for day in range(N)], "eur": [4711.25] * N,
        "fraud": [0] * N, "card": [1] * N, "text": ["secret"] * N,
    }  # fmt: skip
    return pl.DataFrame(base | columns)


def features(folder, window="1d", aggregate="std(eur)") -> pl.DataFrame:
    project = parse_project(TOML.format(window=window, aggregate=aggregate), path=folder / "fraudctl.toml")
    defined = define(project, load_schema(project))
    return build(load_events(project, columns=defined.carried), defined, timezone="UTC")


def refused(folder, kind: type[FraudctlError], words: str, **options) -> None:
    with pytest.raises(kind, match=words) as caught:
        features(folder, **options)
    said = f"{caught.value} {caught.value.hint}"
    assert "4711" not in said
    assert "secret" not in said


def test_good_input_is_taken(tmp_path):
    table().write_parquet(tmp_path / "a.parquet")
    assert features(tmp_path).height == N


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": [0, 0, 2, 3, 4, 5]}, "2 rows share their event id with a row that differs"),
        ({"at": [None, *[datetime(2024, 1, 2)] * (N - 1)]}, "'at': 1 times are null"),
        ({"at": list(range(N))}, r"'at' \(event_time\): is Int64; expected a timestamp"),
        ({"card": [1.0, 2.5, 3.0, 4.0, 5.0, 6.0]}, "'card': is Float64, and 1 ids are not whole numbers"),
    ],
)
def test_data(tmp_path, columns, words):
    table(**columns).write_parquet(tmp_path / "a.parquet")
    refused(tmp_path, DataError, words)


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_files_with_mixed_time_units_are_read_as_the_same_instants(tmp_path, unit):
    table().write_parquet(tmp_path / "a.parquet")
    later = table(id=list(range(10, 10 + N)))
    later.with_columns(pl.col("at").dt.cast_time_unit(unit)).write_parquet(tmp_path / "b.parquet")
    times = features(tmp_path).sort("event_id")["event_time"]
    assert times[N:].to_list() == times[:N].to_list()


@pytest.mark.parametrize("other", [pl.Date, pl.Int64])
def test_files_of_which_one_has_no_times_are_refused(tmp_path, other):
    table().write_parquet(tmp_path / "a.parquet")
    later = table(id=list(range(10, 10 + N)))
    later.with_columns(pl.col("at").cast(other)).write_parquet(tmp_path / "b.parquet")
    refused(tmp_path, DataError, r"b\.parquet: column 'at' is .*; expected Datetime.*, as in .*a\.parquet")


@pytest.mark.parametrize("window", ["0d", "1mo", "-1d", "1.5h", "d", ""])
def test_windows_that_are_no_length_of_time(tmp_path, window):
    table().write_parquet(tmp_path / "a.parquet")
    refused(tmp_path, ProjectError, "features.window", window=window)


@pytest.mark.parametrize(
    ("aggregate", "words"),
    [
        ("std(text)", r"std\(text\) needs a number, but the column is String"),
        ("median(text)", r"median\(text\) needs a number"),
        ("mode(eur)", "no aggregate 'mode'"),
        ("count(eur)", "count takes no column"),
        ("sum", "sum takes a column"),
    ],
)
def test_aggregates_that_a_column_cannot_have(tmp_path, aggregate, words):
    table().write_parquet(tmp_path / "a.parquet")
    refused(tmp_path, ProjectError, words, aggregate=aggregate)
