"""Commands on Delta and Iceberg tables: what they read, when they read again, and what was changed after the fact."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from command_line import run_in
from lakes import TOML, N, events, iceberg_catalog, iceberg_table, write_delta
from polars.testing import assert_frame_equal

from fraudctl.data.located import versions
from fraudctl.normal import lake
from fraudctl.project import load_project
from fraudctl.workflows.features import build_features

pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that write tables


def project(folder: Path, more: str = "") -> Path:
    (folder / "fraudctl.toml").write_text(TOML.format(more=more))
    return folder


def built(folder: Path) -> tuple[pl.DataFrame, bool]:
    table = build_features(load_project(folder))
    return table.frame, table.reused


def test_a_table_gives_the_features_of_its_rows(tmp_path: Path) -> None:
    frame = events()
    plain = project(tmp_path / "plain") if (tmp_path / "plain").mkdir() is None else tmp_path
    frame.filter(pl.col("id") % 7 != 3).write_parquet(plain / "events.parquet")
    (plain / "fraudctl.toml").write_text(TOML.format(more="").replace('"events"', '"events.parquet"'))
    expected, _ = built(plain)
    from deltalake import DeltaTable

    folder = tmp_path / "delta"
    write_delta(folder / "events", frame.with_columns(part=pl.col("card").str.tail(1)), partition_by=["part"])
    DeltaTable(str(folder / "events")).delete("id % 7 = 3")
    assert_frame_equal(built(project(folder))[0], expected)
    ice = iceberg_table(iceberg_catalog(tmp_path), frame)
    rest = frame.filter(pl.col("id") % 7 != 3)
    ice.overwrite(rest.to_arrow())
    shutil.copy(plain / "fraudctl.toml", tmp_path / "fraudctl.toml")
    (tmp_path / "fraudctl.toml").write_text(TOML.format(more="").replace('"events"', '"n/t"'))
    assert_frame_equal(built(tmp_path)[0], expected)
    done = run_in(tmp_path, "features", "--memory", "500MB", "-o", "out.parquet", "--quiet")
    assert done.code == 0, done.err
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet").select(expected.columns), expected)


def test_a_new_version_is_noticed_and_an_old_one_reused(tmp_path: Path) -> None:
    frame = events()
    write_delta(tmp_path / "events", frame[:500])
    folder = project(tmp_path)
    first, reused = built(folder)
    assert not reused
    write_delta(tmp_path / "events", frame[500:], "append")
    second, reused = built(folder)
    assert (second.height, reused) == (N, False)
    assert built(folder)[1]
    project(tmp_path, "table_as_of = 0")
    assert_frame_equal(built(folder)[0], first)
    assert built(folder)[1]
    assert versions(load_project(folder)) == {"data": ["delta 0"]}
    project(tmp_path, 'table_as_of = "2020-01-01T00:00:00Z"')
    done = run_in(folder, "features", "--json")
    assert done.code == 3
    assert "no version as old as 2020-01-01" in done.err


@pytest.mark.parametrize(("value", "words"), [("true", "got True"), ('"newest"', "is a text")])
def test_what_is_no_version_is_a_mistake_of_the_project_file(value: str, words: str, tmp_path: Path) -> None:
    done = run_in(project(tmp_path, f"table_as_of = {value}"), "features")
    assert done.code == 2
    assert "data.table_as_of" in done.err


def test_since_goes_on_with_a_version_and_says_when_it_cannot(tmp_path: Path) -> None:
    write_delta(tmp_path / "events", events())
    folder, day = project(tmp_path), "2024-02-20"
    run_in(folder, "features", "--since", day, "-o", "a.parquet")
    again = run_in(folder, "features", "--since", day, "-o", "b.parquet")
    assert again.code == 0, again.err
    assert "no state fits" not in again.err
    assert_frame_equal(pl.read_parquet(folder / "a.parquet"), pl.read_parquet(folder / "b.parquet"))
    write_delta(tmp_path / "events", events().tail(1).with_columns(id=pl.lit(N, dtype=pl.Int64)), "append")
    moved = run_in(folder, "features", "--since", day, "-o", "c.parquet")
    assert moved.code == 0, moved.err
    assert "another version is read now" in moved.err
    assert pl.read_parquet(folder / "c.parquet").height == pl.read_parquet(folder / "a.parquet").height + 1


def test_the_version_stands_in_the_bundle(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("models", ".fraudctl"))
    write_delta(folder / "tx", pl.read_parquet(folder / "transactions.parquet"))
    text = (folder / "fraudctl.toml").read_text()
    (folder / "fraudctl.toml").write_text(text.replace('"transactions.parquet"', '"tx"'))
    done = run_in(folder, "train", "--fast", "--json")
    assert done.code == 0, done.err
    (manifest,) = (folder / "models").glob("2*/manifest.json")
    assert json.loads(manifest.read_text())["facts"]["table_versions"] == {"data": ["delta 0"]}
    scored = run_in(folder, "score", "tx", "-o", "scores.parquet", "--json")
    assert scored.code == 0, scored.err


AFTERWARDS = {
    "events_gone": pl.col("id") != 20,
    "events_late": None,
    "events_moved": {"at": pl.when(pl.col("id") == 30).then(pl.col("at") + pl.duration(minutes=1)).otherwise("at")},
    "labels_changed": {"fraud": pl.when(pl.col("id") < 5).then(1 - pl.col("fraud")).otherwise("fraud").cast(pl.Int8)},
    "labels_retimed": {"known": pl.when(pl.col("id") < 5).then("at").otherwise("known")},
    "labels_lost": {"known": pl.when(pl.col("id") < 5).then(pl.lit(datetime(2024, 3, 20))).otherwise("known")},
}


@pytest.mark.parametrize("check", [*AFTERWARDS, "labels_backdated", None])
def test_audit_finds_what_was_changed_after_the_fact(check: str | None, tmp_path: Path) -> None:
    frame = events()
    unknown = pl.when(pl.col("id").is_between(100, 102)).then(None).otherwise(pl.col("fraud")).alias("fraud")
    before = frame[:500].with_columns(unknown) if check == "labels_backdated" else frame[:500]
    if check == "events_late":
        before = before.filter(pl.col("id") != 40)
    change = AFTERWARDS.get(str(check))
    after = frame
    if isinstance(change, dict):
        after = frame.with_columns(**change)
    elif change is not None:
        after = frame.filter(change)
    write_delta(tmp_path / "events", before)
    write_delta(tmp_path / "events", after, "overwrite")
    done = run_in(project(tmp_path), "audit", "--sample", "5", "--snapshot", "0", "--json")
    assert done.code == (0 if check is None else 1), done.err
    found = {item["check"]: item for item in done.json["suspects"]}
    counts = {"events_gone": 1, "events_late": 1, "events_moved": 1, "labels_backdated": 3}
    if check is None:
        assert found == {}
    else:
        n = counts.get(check, 5)
        assert found.keys() - {"snapshots"} == {check}
        assert found[check]["words"].startswith(f"{n} event")
        assert found[check]["value"] == pytest.approx(n / before.height)


def test_audit_takes_files_versions_and_instants_and_nothing_else(tmp_path: Path) -> None:
    write_delta(tmp_path / "events", events())
    folder = project(tmp_path)
    assert run_in(folder, "audit", "--sample", "2", "--snapshot", "2100-01-01").code == 0
    wrong = run_in(folder, "audit", "--snapshot", "older.parquet")
    assert wrong.code == 2
    assert "is no file, and neither the number of a version nor an instant" in wrong.err
    events().write_parquet(folder / "events.parquet")
    (folder / "fraudctl.toml").write_text(TOML.format(more="").replace('"events"', '"events.parquet"'))
    none = run_in(folder, "audit", "--snapshot", "0")
    assert none.code == 3
    assert "neither a Delta nor an Iceberg table" in none.err
    assert "hint: --snapshot FILE" in none.err
    lake.begin()
