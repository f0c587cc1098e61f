"""Slots of a capacity in the middle of a day or week: an evaluation, a file, a stream and one explanation agree."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in
from worlds import with_few_slots


@pytest.fixture(scope="module")
def scarce(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A project whose slots are few, in a zone where local days begin within UTC days; its files before and after."""
    return with_few_slots(trained, tmp_path_factory.mktemp("slots") / "project")


def moment_of_no_slot(period: dict[str, Any], decided: pl.DataFrame) -> datetime:
    """Return the instant of an event that found no slot left in its day or week: earlier events had taken them."""
    late = decided.filter(pl.col("decided_by").struct.field("kind") == "capacity").sort("event_time")
    assert late.height > 2
    found = late["event_time"][late.height // 2]
    assert isinstance(found, datetime)
    assert datetime.fromisoformat(period["from"]) < found
    return found


def written(folder: Path, at: datetime) -> tuple[Path, Path]:
    """Write the events before an instant and those from it on; return both files."""
    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id")
    events = events.sort("created_at", "transaction_id")
    paths = folder / "before.parquet", folder / "after.parquet"
    since = pl.col("created_at") >= pl.lit(at.astimezone(UTC))
    events.filter(~since).write_parquet(paths[0])
    events.filter(since)[:150].write_parquet(paths[1])
    return paths


def test_a_file_in_the_middle_of_a_day_gets_what_the_evaluation_decided(scarce: Path) -> None:
    out = scarce / "predictions.parquet"
    found = run_in(scarce, "evaluate", "--no-gate", "--predictions", str(out), "--json", "--quiet")
    assert found.code == 0, found.err
    predictions = pl.read_parquet(out)
    evaluated = {row["event_id"]: row for row in predictions.iter_rows(named=True)}
    history, new = written(scarce, moment_of_no_slot(found.json["period"], predictions))
    command = ("score", str(new), "-o", str(scarce / "scored.parquet"), "--reasons", "all", "--with-features")
    done = run_in(scarce, *command, "--history", str(history))
    assert done.code == 0, done.err
    assert "take slots" in done.err
    batch = pl.read_parquet(scarce / "scored.parquet")
    assert batch.height == 150
    in_period = [row for row in batch.iter_rows(named=True) if row["event_id"] in evaluated]
    assert len(in_period) > 50
    for row in in_period:
        same = evaluated[row["event_id"]]
        assert (row["action"], row["decided_by"]) == (same["action"], same["decided_by"])
    assert any(row["decided_by"]["kind"] == "capacity" for row in in_period)

    state = scarce / "state"
    built = run_in(scarce, "state", "build", str(state), "--history", str(history), "--quiet")
    assert built.code == 0, built.err
    streamed = run_in(scarce, "score", str(new), "--state", str(state), "-o", str(scarce / "live.parquet"), "--quiet")
    assert streamed.code == 0, streamed.err
    live = pl.read_parquet(scarce / "live.parquet")
    for name in ("event_id", "probability", "action", "decided_by"):
        assert live[name].to_list() == batch[name].to_list()

    alone = run_in(scarce, *command)
    assert alone.code == 0, alone.err
    assert "all slots count as free" in alone.err

    kinds = {row["decided_by"]["kind"]: row["event_id"] for row in in_period}
    for event_id in kinds.values():
        one = run_in(scarce, "explain", "--event", str(event_id), "--json", "--quiet")
        assert one.code == 0, one.err
        same = evaluated[event_id]
        assert (one.json["action"], one.json["decided_by"]) == (same["action"], same["decided_by"])


def test_in_parts_the_slots_are_the_same(scarce: Path) -> None:
    at = pl.read_parquet(scarce / "transactions.parquet")["created_at"].cast(pl.Datetime("us", "UTC")).sort()[15_000]
    assert isinstance(at, datetime)
    history, new = written(scarce, at)
    found = []
    for name, more in (("whole", ()), ("parts", ("--memory", "2GB"))):
        out = scarce / f"{name}.parquet"
        done = run_in(scarce, "score", str(new), "--history", str(history), "-o", str(out), "--quiet", *more)
        assert done.code == 0, done.err
        found.append(pl.read_parquet(out))
    assert found[0].equals(found[1])
