from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from fraudctl import build_features, load_project, write_sample
from fraudctl.documents.results import as_object
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.workflows import features
from fraudctl.workflows.definitions import plan_features
from fraudctl.workflows.features import describe_features, find_features, write_features


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, n_events=2_000, days=40)
    project = load_project(folder)
    build_features(project)
    return project


def test_a_table_is_found_without_being_read_and_says_the_same_facts(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = build_features(built)
    with monkeypatch.context() as patch:
        patch.setattr(pl, "read_parquet", None)
        patch.setattr(features, "_facts", None)
        found = find_features(built, read=False)
    assert found is not None
    assert as_object(found) == as_object(table)


def test_rows_and_roles_that_are_read_alone_are_those_of_the_whole(built: Project) -> None:
    table, whole = build_features(built), build_features(built).frame
    assert table.reused
    assert table.spine.equals(whole.select(table.spine.columns))
    assert {"event_id", "event_time", "label", "label_time", *built.entities} <= set(table.spine.columns)
    rows = pl.int_range(whole.height, eager=True)
    for wanted in (rows >= 0, rows < 0, rows == 7, (rows > 300) & (rows % 3 == 0), rows >= whole.height - 5):
        assert table.rows(wanted).equals(whole.filter(wanted))
    assert "frame" not in vars(table)
    assert table.frame.equals(whole)
    assert table.rows(rows == 7).equals(whole.filter(rows == 7))


def test_a_table_that_is_read_some_columns_at_a_time_is_the_whole(built: Project) -> None:
    class Seen(Silent):
        def __init__(self) -> None:
            self.done: list[tuple[int, int | None]] = []

        def update(self, done: int, total: int | None = None, note: str = "") -> None:
            self.done.append((done, total))

    table, whole = build_features(built), build_features(built).frame
    some = ["label", whole.columns[-1]]
    assert table.select(some).equals(whole.select(some))
    assert "frame" not in vars(table)
    seen = Seen()
    assert table.hold(seen).equals(whole)
    assert table.hold(seen) is table.frame
    assert table.select(some).equals(whole.select(some))
    assert seen.done == [(start, whole.width) for start in range(0, whole.width, 16)]


def test_reading_events_tells_its_steps(built: Project) -> None:
    plan, steps = plan_features(built), list[str]()
    assert plan.load(watch=steps.append).frame.equals(plan.load().frame)
    assert steps == ["columns", "ids that stand twice", "roles of columns", "order of time"]


def test_what_is_written_and_described_is_the_table(built: Project, tmp_path: Path) -> None:
    table, found = build_features(built), find_features(built, read=True)
    assert found is not None
    write_features(found, tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet").equals(table.frame)
    assert describe_features(found).to_dict() == describe_features(table).to_dict()


def test_nothing_is_found_for_other_definitions_or_other_data(built: Project, tmp_path: Path) -> None:
    other = built.model_copy(update={"features": built.features.model_copy(update={"raw": ()})})
    assert find_features(other, read=False) is None
    folder = tmp_path / "sample"
    write_sample(folder, n_events=2_000, days=40, seed=8)
    moved = load_project(folder)
    (folder / ".fraudctl").symlink_to(built.cache_dir)
    assert find_features(moved, read=False) is None


def test_damage_without_a_change_of_time_is_found_when_the_table_is_read(built: Project) -> None:
    table = build_features(built)
    assert table.path is not None
    content, old = table.path.read_bytes(), table.path.stat()
    middle = len(content) // 3
    table.path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    os.utime(table.path, ns=(old.st_atime_ns, old.st_mtime_ns))
    try:
        assert len(content) > 3 << 15
        assert find_features(built, read=True) is None
        again = build_features(built)
        assert not again.reused
        assert again.frame.equals(table.frame)
    finally:
        table.path.write_bytes(content)


def test_a_table_written_in_pieces_is_the_same(built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, place = build_features(built).frame, tmp_path / "kept.parquet"
    monkeypatch.setattr(features, "_QUICKLY_WRITTEN", 10)
    features._keep(frame, features.FeatureTableFacts(None, 0, ()), place, Silent())
    assert pl.read_parquet(place).equals(frame)
    assert pl.read_parquet(place).schema == frame.schema
