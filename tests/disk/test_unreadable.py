"""A file that cannot be read says where and why, without a value of a cell."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudctl.data import tables
from fraudctl.errors import DataError

FRAME = pl.DataFrame({"id": [1, 2, 3], "place": ["Wien", "Bern", "Graz"], "cost": [1.5, 2.5, 3.5]})
CARD = "4111111111111111"


def _refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        tables.collect(tables.scan([str(path)]), files=[str(path)])
    return f"{caught.value.message} {caught.value.hint}"


def test_a_decimal_that_is_too_wide_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    fees = pa.array([Decimal("0.1")] * 3, pa.decimal256(76, 38))
    pq.write_table(FRAME.to_arrow().append_column("fee", fees), path)
    assert tables.read_parquet(path).equals(FRAME)
    assert tables.left_out([str(path)]) == {"fee": pl.Decimal(76, 38)}
    with pytest.raises(DataError, match="no column 'fee'") as caught:
        tables.require_columns(["fee"], tables.scan([str(path)]).collect_schema(), where="x")
    assert "38 digits" in str(caught.value.hint)


@pytest.mark.parametrize("line", [2, 4])
def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path, line: int) -> None:
    lines = [f"{i},Z\u00fcrich {CARD}" if i + 1 == line else f"{i},Bern" for i in range(1, 6)]
    (tmp_path / "x.csv").write_bytes(("id,place\n" + "\n".join(lines) + "\n").encode("latin-1"))
    told = _refusal(tmp_path / "x.csv")
    assert f"line {line}, column 'place', is not UTF-8" in told
    assert CARD not in told


def test_bytes_that_are_not_utf8_behind_the_first_block(tmp_path: Path) -> None:
    content = b"id,place\n" + b"1,Bern\n" * 300_000 + b"2,Z\xfcrich\n"
    (tmp_path / "x.csv").write_bytes(content)
    assert "line 300,002, column 'place', is not UTF-8" in _refusal(tmp_path / "x.csv")


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("|", "vertical bars"), ("\t", "tabs")])
def test_another_separator_is_named(tmp_path: Path, separator: str, word: str) -> None:
    FRAME.write_csv(tmp_path / "x.csv", separator=separator)
    assert f"separated by {word}" in _refusal(tmp_path / "x.csv")


def test_a_table_of_two_separators_is_not_told_to_be_read_with_the_other(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "x.csv", separator=";")
    FRAME.write_csv(tmp_path / "y.csv")
    with pytest.raises(DataError, match="semicolons") as caught:
        tables.collect(tables.scan([str(tmp_path / "x.csv"), str(tmp_path / "y.csv")]), files=["x.csv", "y.csv"])
    assert "with one separator" in str(caught.value.hint)
    assert "--labels" in str(caught.value.hint)
    with pytest.raises(DataError, match="semicolons") as caught:
        tables.collect(tables.scan([str(tmp_path / "x.csv")]), files=["x.csv"])
    assert str(caught.value.hint) == 'say so: [data.csv] separator = ";"'


@pytest.mark.parametrize("suffix", [" UTC", " +0000"])
def test_zones_are_read_however_they_stand_behind_a_time(tmp_path: Path, suffix: str) -> None:
    texts = [f"2024-02-0{day} 10:00:00.000{suffix}" for day in (1, 2, 3)]
    FRAME.with_columns(seen=pl.Series(texts)).write_csv(tmp_path / "x.csv")
    frame = tables.collect(tables.scan([str(tmp_path / "x.csv")]), files=["x.csv"])
    assert frame["seen"].to_list() == [datetime(2024, 2, day, 10, tzinfo=UTC) for day in (1, 2, 3)]
    assert tables.to_utc(pl.Series("seen", texts), timezone="UTC", role="event_time").equals(frame["seen"])


def test_the_last_suffix_says_what_a_file_is(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "x.csv.parquet")
    assert tables.scan([str(tmp_path / "x.csv.parquet")]).collect().equals(FRAME)
