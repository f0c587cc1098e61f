"""How strangers' files are read: what reads all rows in one way is taken, all else is asked, all at once."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from command_line import run_in
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.data import tables
from fraudctl.errors import UsageError
from fraudctl.normal import numbers
from fraudctl.project import load_project
from fraudctl.propose import notation
from fraudctl.propose.encoding import encoding
from fraudctl.propose.questions import Questions

N = 1500


def events(days: int = 120) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    times = [datetime(2024, 1, 1) + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, days * 1440, N))]
    fraud = rng.random(N) < 0.2
    return pl.DataFrame({
        "time": times, "amount": np.round(rng.gamma(2, 700, N) * (1 + fraud), 2),
        "customer_id": [f"C{c:04d}" for c in rng.integers(0, 60, N)], "kind": rng.choice(["a", "b", "c"], N),
        "is_fraud": fraud.astype(int),
    })  # fmt: skip


def written(folder: Path, frame: pl.DataFrame, **csv: Any) -> Path:
    frame.select(pl.all().cast(pl.String)).write_csv(folder / "x.csv", **csv)
    return folder


def asked(folder: Path, *flags: str) -> tuple[str, list[str]]:
    """Return the refusal of init, and the flags that it says would settle all of it."""
    done = run_in(folder, "init", "x.csv", "--quiet", *flags)
    assert done.code == 2, done.err
    return done.err, shlex.split(done.err.partition("your own answers: ")[2].strip())


def read(folder: Path, *flags: str) -> pl.DataFrame:
    """Return the events that the file which init wrote reads."""
    done = run_in(folder, "init", "x.csv", "--quiet", *flags)
    assert done.code == 0, done.err
    return tables.load_events(load_project(folder)).frame


def test_day_and_month_are_asked_once_with_all_other_questions(tmp_path: Path) -> None:
    frame = events().filter(pl.col("time").dt.day() <= 12)
    written(tmp_path, frame.with_columns(pl.col("time").dt.to_string("%d/%m/%Y %H:%M")))
    told, flags = asked(tmp_path)
    assert '"%m/%d/%Y %H:%M" and "%d/%m/%Y %H:%M"' in told
    assert "2 questions" in told
    assert "label-delay" in told
    flags[flags.index("--time-format") + 1] = "%d/%m/%Y %H:%M"
    assert read(tmp_path, *flags)["event_time"].dt.replace_time_zone(None).to_list() == frame["time"].to_list()


def test_what_reads_all_rows_in_one_way_is_taken(tmp_path: Path) -> None:
    frame = events()
    odd = frame.with_columns(
        day=pl.col("time").dt.to_string("%m/%d/%Y"), time=pl.col("time").dt.to_string("%H:%M"),
        amount=pl.Series([f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in frame["amount"]]),
        is_fraud=pl.col("is_fraud").replace_strict({1: "Fraud", 0: "not fraud"}),
        age=pl.Series(["?" if i % 9 == 0 else str(20 + i % 50) for i in range(N)]),
    ).rename({"day": "date"})  # fmt: skip
    written(tmp_path, odd, separator=";", include_bom=True)
    done = run_in(tmp_path, "init", "x.csv", "--label-delay", "7d", "--quiet")
    assert done.code == 0, done.err
    project = load_project(tmp_path)
    assert project.data.time is not None
    assert (project.data.time.columns, project.data.time.format) == (("date", "time"), "%m/%d/%Y %H:%M")
    assert project.data.csv.separator == ";"
    assert project.data.missing == ("?",)
    assert project.data.event_id.row_number
    found = tables.load_events(project, columns=["age"]).frame
    assert found["event_time"].dt.replace_time_zone(None).to_list() == frame["time"].to_list()
    assert found["amount"].to_list() == frame["amount"].to_list()
    assert found["label"].to_list() == frame["is_fraud"].to_list()
    assert found["age"].dtype == pl.Int64


def test_an_offset_is_asked_for_and_a_made_up_origin_is_said(tmp_path: Path) -> None:
    hours = (pl.col("time") - datetime(2024, 1, 1)).dt.total_hours()
    written(tmp_path, events().with_columns(step=hours).drop("time"))
    _, flags = asked(tmp_path)
    assert flags[:6] == ["--event-time", "step", "--time-unit", "h", "--time-origin", "unknown"]
    frame = read(tmp_path, *flags)
    assert frame["event_time"].dt.year().min() == 2000
    project = load_project(tmp_path)
    assert "made up" in project.text
    assert not {"event_hour", "event_weekday"} & set(project.features.columns)
    assert "time-origin" in run_in(tmp_path, "check", "--quiet", "--json").out


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_epochs_are_known_by_their_size(unit: str, tmp_path: Path) -> None:
    factor = {"s": 1, "ms": 1_000, "us": 1_000_000}[unit]
    frame = events()
    seconds = (frame["time"] - datetime(1970, 1, 1)).dt.total_seconds()
    written(tmp_path, frame.with_columns(time=seconds * factor))
    assert (
        read(tmp_path, "--label-delay", "7d")["event_time"].dt.replace_time_zone(None).to_list()
        == frame["time"].to_list()
    )


def test_encoding_and_separator_are_found_once(tmp_path: Path) -> None:
    frame = events().with_columns(kind=pl.lit("Österreich") + pl.col("kind"))
    text = frame.select(pl.all().cast(pl.String)).write_csv(separator="\t")
    (tmp_path / "x.csv").write_bytes(text.encode("cp1252"))
    assert read(tmp_path, "--label-delay", "7d", "--force").height == N
    assert load_project(tmp_path).data.csv.encoding == "cp1252"
    assert load_project(tmp_path).data.csv.separator == "\t"


@pytest.mark.parametrize(
    ("values", "mapping"),
    [
        (["-1", "0"], None), (["fraud?", "legit"], None), (["Yes", "No"], {"Yes": 1, "No": 0}),
        (["0.0", "1.0", "-1"], {"-1": None, "0.0": 0, "1.0": 1}),
        (["non-fraud", "Fraud"], {"Fraud": 1, "non-fraud": 0}),
        ([0.0, 1.0, float("nan")], {}),
    ],
)  # fmt: skip
def test_no_value_becomes_fraud_by_a_part_of_it(values: list[Any], mapping: Any) -> None:
    assert encoding(pl.Series(values)) == mapping


def test_a_part_of_an_id_is_no_currency() -> None:
    assert notation.number_readings(pl.Series(["C123", "C456"])) == []
    assert [form.prefix for form in notation.number_readings(pl.Series(["$1.50", "$2.25"]))] == ["$"]
    assert len(notation.number_readings(pl.Series(["1,234", "2,500"]))) == 2  # thousands, or decimals


@given(st.lists(st.text("0123456789.,' $-", min_size=1, max_size=8), min_size=1, max_size=8))
def test_notations_are_those_that_read_all_texts_differently(texts: list[str]) -> None:
    found = notation.number_readings(pl.Series(texts))
    read = [numbers.many(pl.Series(texts), form) for form in found]
    assert not any(values.null_count() for values in read)
    assert all(not one.equals(other) for i, one in enumerate(read) for other in read[:i])
    if not found:
        return
    for decimal, grouping in notation._NUMBERS:
        other = numbers.many(pl.Series(texts), found[0].model_copy(update={"decimal": decimal, "grouping": grouping}))
        assert other.null_count() or any(other.equals(values) for values in read)


def test_the_line_of_flags_answers_every_question() -> None:
    questions = Questions()
    with questions.collected():
        raise UsageError("no column is surely the outcome", hint="name it: --label COLUMN")
    questions.ask("how late are labels?", ["--label-delay", "7d"], "say it")
    with pytest.raises(UsageError) as refused:
        questions.settle()
    assert refused.value.hint is not None
    assert refused.value.hint.endswith("All at once, with your own answers: --label COLUMN --label-delay 7d")


def test_the_only_time_is_taken_under_any_name_where_its_values_are_those_of_a_clock(tmp_path: Path) -> None:
    frame = events()
    written(tmp_path, frame.rename({"time": "booked"}))
    assert (
        read(tmp_path, "--label-delay", "7d")["event_time"].dt.replace_time_zone(None).to_list()
        == frame["time"].to_list()
    )
    odd = frame.with_columns(pl.col("time").dt.to_string("%d.%m.%Y %H:%M")).rename({"time": "settled"})
    written(tmp_path, odd)
    assert read(tmp_path, "--label-delay", "7d", "--force").height == N
    for name in ("date_of_birth", "reported"):
        written(tmp_path, frame.rename({"time": name}))
        done = run_in(tmp_path, "init", "x.csv", "--label-delay", "7d", "--quiet", "--force")
        assert done.code == 2
        assert f"--event-time {name}" in done.err
    shuffled = frame.with_columns(pl.col("time").dt.truncate("7d").shuffle(seed=1)).rename({"time": "booked"})
    written(tmp_path, shuffled)
    assert run_in(tmp_path, "init", "x.csv", "--label-delay", "7d", "--quiet", "--force").code == 2


def test_hints_name_columns_where_some_are_known(tmp_path: Path) -> None:
    frame = events().rename({"is_fraud": "bad"}).with_columns(closed=pl.col("time") + pl.duration(days=2))
    written(tmp_path, frame)
    done = run_in(tmp_path, "init", "x.csv", "--event-time", "time", "--quiet")
    assert done.code == 2
    assert "--label bad" in done.err
    assert "--label-time closed" in done.err
    assert "COLUMN" not in done.err


def test_a_date_in_digits_takes_the_time_of_the_day_beside_it(tmp_path: Path) -> None:
    frame = events()
    odd = frame.with_columns(
        TRX_DATE=pl.col("time").dt.to_string("%Y%m%d").cast(pl.Int64), TRX_TIME=pl.col("time").dt.to_string("%H%M%S")
    ).drop("time")
    written(tmp_path, odd)
    found = read(tmp_path, "--label-delay", "7d")["event_time"].dt.replace_time_zone(None)
    assert found.to_list() == frame["time"].to_list()
    project = load_project(tmp_path)
    assert project.data.time is not None
    assert (project.data.time.columns, project.data.time.format) == (("TRX_DATE", "TRX_TIME"), "%Y%m%d %H%M%S")


def test_a_number_named_as_the_time_is_asked_for_as_an_offset_with_all_else(tmp_path: Path) -> None:
    frame = events().rename({"is_fraud": "outcome"}).with_columns(pl.col("outcome").replace_strict({1: "J", 0: "O"}))
    seconds = (pl.col("time") - datetime(2024, 1, 1)).dt.total_seconds().cast(pl.Float64)
    written(tmp_path, frame.with_columns(Time=seconds).drop("time"))
    _, flags = asked(tmp_path)
    assert set(flags) >= {"--event-time", "Time", "--time-unit", "s", "--label-delay"}
    assert [text for text in flags if text.startswith("WORD")] == ["WORD=1", "WORD=0"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_name_given_twice_in_a_header_is_refused_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("id;größe;größe\n1;2;3\n4;5;6\n".encode(encoding))
    done = run_in(tmp_path, "init", "x.csv", "--quiet")
    assert done.code == 3
    assert "the header names 'größe' more than once" in done.err
