"""Decisions from stages on partitions of bytes: those of `score`, places of a capacity and reasons included."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from command_line import run_in
from polars.testing import assert_frame_equal
from worlds import with_few_slots

from cluster.shuffling import Shuffled
from cluster.test_session import on_sail
from fraudctl.cluster import scores
from fraudctl.errors import BundleError
from fraudctl.workflows.cluster import score_on
from fraudctl.workflows.score import open_model, score_files


@pytest.fixture(scope="module")
def scarce(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A project with few places a day and week; its events before and after the middle of a week."""
    folder = with_few_slots(trained, tmp_path_factory.mktemp("scarce") / "project")
    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id").sort("created_at")
    events[:15_000].sample(fraction=1, shuffle=True, seed=1).write_parquet(folder / "before.parquet")
    events[15_000:].sample(fraction=1, shuffle=True, seed=2).write_parquet(folder / "after.parquet")
    return folder


def read(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.iterdir())])


@pytest.mark.parametrize("history", [True, False], ids=["after a history", "alone"])
def test_decisions_are_those_of_one_process(history: bool, scarce: Path, tmp_path: Path) -> None:
    model, data = open_model(scarce, batch=True), [scarce / "after.parquet"]
    before = [scarce / "before.parquet"] if history else []
    settings = {"history": before, "with_features": True, "explained": "alerts"}
    one = score_files(model, data, output=tmp_path / "one.parquet", **settings)
    engine = Shuffled(3)
    found = score_on(model, data, engine, tmp_path / "many", task_rows=3000, **settings)
    expected = pl.read_parquet(tmp_path / "one.parquet")
    assert_frame_equal(read(tmp_path / "many"), expected, check_exact=True)
    assert (found.actions, found.rows, found.duplicates) == (one.actions, one.rows, one.duplicates)
    kinds = set(expected["decided_by"].struct.field("kind"))
    assert "capacity" in kinds
    assert len(list((tmp_path / "many").iterdir())) > 1


@on_sail
@pytest.mark.filterwarnings("ignore")
def test_the_command_decides_on_sail(trained: Path, tmp_path: Path) -> None:
    events = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id").sort("created_at")
    events.head(3000).write_parquet(tmp_path / "before.parquet")
    events[3000:3400].write_parquet(tmp_path / "new.parquet")
    command = [
        "score",
        str(tmp_path / "new.parquet"),
        "--history",
        str(tmp_path / "before.parquet"),
        "-p",
        str(trained),
    ]
    done = run_in(tmp_path, *command, "-o", "one.parquet", "--json")
    assert done.code == 0, done.err
    many = run_in(tmp_path, *command, "-o", "many", "--spark", "sail", "--partitions", "2", "--json")
    assert many.code == 0, many.err
    assert many.json["actions"] == done.json["actions"]
    assert_frame_equal(read(tmp_path / "many"), pl.read_parquet(tmp_path / "one.parquet"), check_exact=True)


def test_another_bundle_on_a_worker_is_refused(trained: Path) -> None:
    path = open_model(trained, batch=True).decider.bundle.path
    with pytest.raises(BundleError, match="this command has other"):
        scores.opened(str(path), "other")


def test_events_one_by_one_are_not_for_a_cluster(trained: Path) -> None:
    done = run_in(trained, "score", "-", "--spark", "sail")
    assert done.code == 2
    assert "--spark and - exclude each other" in done.err
