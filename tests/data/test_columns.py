from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest
from polars.testing import assert_series_equal

from fraudctl.data import columns as reading
from fraudctl.data import tables
from fraudctl.data.columns import HOLD, MOST, Columns, available, hold, room

N_ROWS, NAMES = 1_000, [f"c{i}" for i in range(40)]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "wide.parquet"
    pl.DataFrame({name: range(i, i + N_ROWS) for i, name in enumerate(NAMES)}).write_parquet(path)
    return str(path)


def scans(columns: Columns, names: list[str]) -> int:
    """Read columns one after the other; return how often the files were scanned."""
    with patch.object(tables, "collect", wraps=tables.collect) as collect:
        for name in names:
            assert columns[name].name == name
    return collect.call_count


@pytest.mark.parametrize(("budget", "group", "first", "second"), [(40, 40, 1, 0), (40, 10, 4, 0), (20, 10, 4, 4)])
def test_scans_grow_with_groups_and_not_with_columns(
    file: str, budget: int, group: int, first: int, second: int
) -> None:
    columns = Columns(tables.scan([file]), place=file, hold=budget * N_ROWS * 8, group=group * N_ROWS * 8)
    assert scans(columns, NAMES) == first
    assert scans(columns, NAMES) == second


@pytest.mark.parametrize("budget", [0, 1, 7, 1_000])
def test_values_are_those_of_the_file_whatever_is_kept(file: str, budget: int) -> None:
    columns = Columns(tables.scan([file]), place=file, hold=budget * N_ROWS * 8, group=5 * N_ROWS * 8)
    plain = pl.read_parquet(file)
    for name in [*NAMES, "c3", "c39", "c0"]:
        assert_series_equal(columns[name], plain[name])
    assert columns.frame(["c7", "c0", "c30"]).equals(plain.select("c7", "c0", "c30"))


def test_what_is_kept_stays_within_the_budget(file: str) -> None:
    columns = Columns(tables.scan([file]), place=file, hold=12 * N_ROWS * 8, group=5 * N_ROWS * 8)
    for name in NAMES:
        assert columns[name] is not None
        assert sum(values.len() * 8 for values in columns._kept.values()) <= 12 * N_ROWS * 8


def test_a_table_that_fits_is_scanned_no_more_and_a_larger_one_stays_in_its_files(file: str) -> None:
    for budget, kept in ((40 * N_ROWS * 8, True), (40 * N_ROWS * 8 - 1, False)):
        raw = hold(tables.scan([file]), files=[file], budget=budget)
        assert ("wide.parquet" not in raw.explain()) is kept
        assert raw.collect().equals(pl.read_parquet(file))


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [("max", "5", 8_000), ("3000", "1000", 2_000), ("3000", "4000", 0), ("90000", "1000", 8_000), (None, None, 8_000)],
)
def test_available_memory_is_that_of_the_container_where_it_has_less(
    tmp_path: Path, limit: str | None, used: str | None, left: int
) -> None:
    meminfo, most, now, uses = (tmp_path / name for name in ("meminfo", "max", "current", "stat"))
    meminfo.write_text("MemTotal:  99 kB\nMemFree:  1 kB\nMemAvailable:  8 kB\n")
    if limit is not None and used is not None:
        most.write_text(f"{limit}\n")
        now.write_text(f"{used}\n")
    expected = 8 * 1024 if left == 8_000 else left
    places = (str(most), str(now), str(uses))
    assert available(meminfo=str(meminfo), limits=[places]) == expected
    uses.write_text("anon 7\ninactive_file 500\n")
    cached = 500 if limit is not None and expected not in {8 * 1024, 0} else 0
    if expected:
        assert available(meminfo=str(meminfo), limits=[places]) == expected + cached


def test_a_system_that_says_nothing_has_room() -> None:
    assert available(meminfo="/nowhere", limits=[]) == 4 * MOST


@pytest.mark.parametrize(
    ("free", "kept"),
    [(0, 0), (HOLD, HOLD // 2), (3 * HOLD, HOLD), (8 * HOLD, 2 * HOLD), (100 * HOLD, MOST)],
)
def test_columns_never_take_more_than_half_of_what_is_left(
    free: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "available", lambda: free)
    assert room() == kept
