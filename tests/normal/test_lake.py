"""Delta and Iceberg tables: deleted rows never come back, whatever was done, and versions are told apart."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakes import delete_by_file, delete_by_vector, iceberg_catalog, iceberg_table, write_delta
from polars.testing import assert_frame_equal

from fraudctl.data import tables
from fraudctl.errors import DataError
from fraudctl.normal import files as finding
from fraudctl.normal import lake

pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that write tables


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    lake.begin()
    yield
    lake.begin()


def found(path: Path, as_of: Any = None) -> str:
    (name,) = finding.find(str(path), root=Path("/"), what="events", as_of=as_of).files
    return name


def read(path: Path, as_of: Any = None) -> pl.DataFrame:
    lake.begin()
    return tables.scan([found(path, as_of)]).collect().sort("id")


def rows(ids: list[int], **more: Any) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "v": [i * 1.5 for i in ids], **more}, schema_overrides={"id": pl.Int64})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5), st.booleans()),
        st.tuples(st.sampled_from(["delete", "update"]), st.integers(2, 5), st.integers(0, 4)),
        st.tuples(st.just("vector"), st.integers(0, 9), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=7,
)
PARTS = ["a", "b c", "ü/%2F", "007", None]


def partitioned(ids: list[int], *, with_w: bool) -> pl.DataFrame:
    more: dict[str, Any] = {"p": pl.Series([PARTS[i % len(PARTS)] for i in ids], dtype=pl.String)}
    if with_w:
        more["w"] = pl.Series([i * 10 for i in ids], dtype=pl.Int64)
    return rows(ids, **more)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_every_version_of_a_delta_table_is_what_a_list_of_rows_says(steps: list[Any]) -> None:
    from deltalake import DeltaTable

    with tempfile.TemporaryDirectory() as name:
        path, n = Path(name) / "t ä", 8
        truth = {i: {"id": i, "v": i * 1.5, "p": PARTS[i % len(PARTS)], "w": None} for i in range(n)}
        write_delta(path, partitioned(list(range(n)), with_w=False), partition_by=["p"],
                    configuration={"delta.enableDeletionVectors": "true"})  # fmt: skip
        versions, wide = [dict(truth)], False
        for kind, x, y in steps:
            table = DeltaTable(str(path))
            if kind == "add":
                wide = wide or y
                ids = list(range(n, n + x))
                write_delta(path, partitioned(ids, with_w=wide), "append", schema_mode="merge")
                truth |= {i: {"id": i, "v": i * 1.5, "p": PARTS[i % len(PARTS)], "w": i * 10 if wide else None}
                          for i in ids}  # fmt: skip
                n += x
            elif kind == "delete":
                table.delete(f"id % {x} = {y}")
                truth = {i: row for i, row in truth.items() if i % x != y}
            elif kind == "update":
                table.update(updates={"v": "v + 100"}, predicate=f"id % {x} = {y}")
                truth = {i: {**row, "v": row["v"] + 100} if i % x == y else row for i, row in truth.items()}
            else:
                _by_vector(path, table, truth, x, y)
            new = DeltaTable(str(path)).version()
            versions += [dict(truth)] * (new + 1 - len(versions))
        prints = []
        for number, expected in enumerate(versions):
            got = read(path, number)
            columns = got.columns
            assert got.to_dicts() == [{c: row[c] for c in columns} for _, row in sorted(expected.items())]
            prints.append(tables.fingerprint([found(path, number)]))
        assert len(set(prints)) == len(prints)
        shutil.copytree(path, Path(name) / "copy")
        lake.begin()
        assert [tables.fingerprint([found(Path(name) / "copy", i)]) for i in range(len(versions))] == prints


def _by_vector(path: Path, table: Any, truth: dict[int, Any], x: int, y: int) -> None:
    """Delete the first rows of one of the files that no vector is on yet."""
    marked = set(pl.DataFrame(table.deletion_vectors())["filepath"])
    files = sorted(pl.DataFrame(table.get_add_actions())["path"])
    free = [f for f in files if not any(m.endswith(f.rpartition("/")[2]) for m in marked)]
    if not free:
        return
    file = free[x % len(free)]
    ids = pl.read_parquet(path / unquote(file), glob=False, hive_partitioning=False)["id"].to_list()[:y]
    delete_by_vector(path, file, list(range(len(ids))))
    for i in ids:
        del truth[i]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "delete", "overwrite", "column", "position"]), st.integers(1, 4)),
                min_size=1, max_size=5))  # fmt: skip
def test_every_snapshot_of_an_iceberg_table_is_what_a_list_of_rows_says(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        catalog, n, columns = iceberg_catalog(Path(name)), 8, ["id", "v", "p"]
        table = iceberg_table(catalog, partitioned(list(range(n)), with_w=False), partition_by="p")
        path = Path(table.location().removeprefix("file://"))
        truth, snapshots = set(range(n)), {table.current_snapshot().snapshot_id: set(range(n))}
        for kind, x in steps:
            if kind == "column":
                if "w" not in columns:
                    from pyiceberg.types import LongType

                    with table.update_schema() as change:
                        change.add_column("w", LongType())
                    columns.append("w")
                continue
            if kind == "delete":
                table.delete(f"id >= {x * 2} and id < {x * 3}")
                truth = {i for i in truth if not x * 2 <= i < x * 3}
            elif kind == "position":
                free = [task.file for task in table.scan().plan_files() if not task.delete_files]
                if not free:
                    continue
                file = free[0].file_path
                ids = pl.read_parquet(file.removeprefix("file://"), glob=False)["id"].to_list()[:x]
                places = pl.DataFrame({"file_path": [file] * len(ids), "pos": range(len(ids))})
                delete_by_file(table, places, equality=False, partition=free[0].partition)  # fmt: skip
                truth -= set(ids)
            else:
                ids = list(range(n, n + x))
                frame = partitioned(ids, with_w="w" in columns)
                table.append(frame.to_arrow()) if kind == "add" else table.overwrite(frame.to_arrow())
                truth, n = (truth if kind == "add" else set()) | set(ids), n + x
            table.refresh()
            snapshots[table.current_snapshot().snapshot_id] = set(truth)
        got = read(path)
        assert got["id"].to_list() == sorted(truth)
        assert got["p"].to_list() == [PARTS[i % len(PARTS)] for i in sorted(truth)]
        assert got.columns == columns
        for snapshot, expected in snapshots.items():
            assert read(path, snapshot)["id"].to_list() == sorted(expected)
        assert len({tables.fingerprint([found(path, item)]) for item in snapshots}) == len(snapshots)


def test_rows_deleted_by_value_are_refused_by_name(tmp_path: Path) -> None:
    table = iceberg_table(iceberg_catalog(tmp_path), rows(list(range(5))))
    path = Path(table.location().removeprefix("file://"))
    before = table.current_snapshot().snapshot_id
    delete_by_file(table, pl.DataFrame({"id": [2]}), equality=True)
    with pytest.raises(DataError, match="equality deletes"):
        read(path)
    assert read(path, before).height == 5


def test_columns_that_were_renamed_are_refused_by_name(tmp_path: Path) -> None:
    import json

    write_delta(tmp_path / "t", rows([1, 2]))
    log = tmp_path / "t/_delta_log" / f"{1:020}.json"
    log.write_text(json.dumps({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}))
    with pytest.raises(DataError, match="uses columnMapping"):
        read(tmp_path / "t")
    log.write_text(json.dumps({"protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["typeWidening"],
        "writerFeatures": ["typeWidening"]}}))  # fmt: skip
    with pytest.raises(DataError, match=r"typeWidening|its log cannot be read"):
        read(tmp_path / "t")


def test_the_newest_version_holds_until_a_project_is_loaded(tmp_path: Path) -> None:
    write_delta(tmp_path / "t", rows([1, 2]))
    first = found(tmp_path / "t")
    write_delta(tmp_path / "t", rows([3]), "append")
    assert found(tmp_path / "t") == first
    lake.begin()
    assert found(tmp_path / "t") != first


def test_an_instant_names_the_version_that_held_then(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    write_delta(tmp_path / "t", rows([1, 2]))
    write_delta(tmp_path / "t", rows([3]), "append")
    times = {item["version"]: item["timestamp"] for item in DeltaTable(str(tmp_path / "t")).history()}
    at = {version: datetime.fromtimestamp(ms / 1000, UTC) for version, ms in times.items()}
    assert read(tmp_path / "t", at[0]).height == 2
    assert read(tmp_path / "t", at[1]).height == 3
    with pytest.raises(DataError, match="no version as old as"):
        read(tmp_path / "t", at[0] - timedelta(seconds=1))
    with pytest.raises(DataError, match="no version 7; it has 0 to 1"):
        read(tmp_path / "t", 7)


def test_the_newest_metadata_is_found_by_number_and_never_guessed(tmp_path: Path) -> None:
    table = iceberg_table(iceberg_catalog(tmp_path), rows(list(range(5))))
    path = Path(table.location().removeprefix("file://"))
    newest = max((path / "metadata").glob("*.metadata.json"))
    for old in (path / "metadata").glob("*.metadata.json"):
        if old != newest:
            old.unlink()
    shutil.copy(newest, path / "metadata/v9.metadata.json")
    newest.rename(path / "metadata/v10.metadata.json")
    assert "v10.metadata.json" in found(path)
    lake.begin()
    shutil.copy(path / "metadata/v10.metadata.json", path / "metadata/00010-b.metadata.json")
    with pytest.raises(DataError, match="nothing says which is the newest"):
        found(path)
    (path / "metadata/version-hint.text").write_text("9")
    assert "v9.metadata.json" in found(path)
    lake.begin()
    assert "00010-b" in found(path / "metadata/00010-b.metadata.json")


def test_only_tables_with_versions_take_a_version(tmp_path: Path) -> None:
    rows([1]).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="neither a Delta nor an Iceberg table"):
        found(tmp_path / "x.parquet", 3)


def test_a_damaged_log_is_an_error_of_the_data(tmp_path: Path) -> None:
    write_delta(tmp_path / "t", rows([1, 2]))
    next((tmp_path / "t/_delta_log").glob("*.json")).write_text("{")
    with pytest.raises(DataError, match="its log cannot be read"):
        read(tmp_path / "t")
    (tmp_path / "t").rename(tmp_path / "t [x]")  # ends deltalake 1.6 in a panic
    with pytest.raises(DataError, match="its log cannot be read"):
        read(tmp_path / "t [x]")
    (tmp_path / "i/metadata").mkdir(parents=True)
    (tmp_path / "i/metadata/v1.metadata.json").write_text("{}")
    with pytest.raises(DataError, match="its log cannot be read"):
        read(tmp_path / "i")


def test_types_of_partitions_are_those_of_the_table(tmp_path: Path) -> None:
    frame = rows([1, 2, 3], d=[date(2024, 1, 1), None, date(2024, 1, 2)], k=["01", "1", None])
    write_delta(tmp_path / "t", frame, partition_by=["d", "k"])
    assert_frame_equal(read(tmp_path / "t"), frame, check_column_order=False)


def test_what_is_not_installed_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    write_delta(tmp_path / "t", rows([1]))
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(DataError, match="deltalake is not installed") as caught:
        found(tmp_path / "t")
    assert caught.value.hint == "install the extra: pip install 'fraudctl[lake]'"
