"""Features by partitions, through files: the very bits of the engine in memory, whatever the sizes of the parts."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run_in
from features.batch.test_sources import asking, events_frame, features_with, normalised, rows, source_frame
from features.proof.test_against_reference import EVERYTHING, ZONE, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fraudctl.data import chunks
from fraudctl.data.tables import load_events
from fraudctl.errors import DataError, UsageError
from fraudctl.features import build
from fraudctl.features.batch.engine import Dropped, Engine
from fraudctl.features.batch.groups import Workers
from fraudctl.features.batch.increment import Past, engine_after, extend
from fraudctl.features.batch.schedule import units
from fraudctl.features.batch.spilled import Spilled, SpillLimits, row_bytes
from fraudctl.project import parse_project
from fraudctl.workflows.features import build_features_file


def by_parts(
    frame: pl.DataFrame, features, sizes: SpillLimits, sources=None
) -> tuple[pl.DataFrame, list[tuple[str, int, int]]]:
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), []
        for start in range(0, frame.height, sizes.chunk_rows):
            files.append(folder / f"chunk{start}.arrow")
            frame.slice(start, sizes.chunk_rows).write_ipc(files[-1], compression="uncompressed")
        heights = [pl.read_ipc(file).height for file in files]
        beside = {
            name: in_files(shuffled(found), folder / name, sizes.chunk_rows) for name, found in (sources or {}).items()
        }
        spilled, seen = Spilled(files, heights, features, ZONE, beside, folder, sizes, Workers(2)), []
        spilled.compute(lambda *item: seen.append(item))
        return pl.concat(spilled.table()), seen


def in_files(table: pl.DataFrame, folder: Path, rows: int) -> list[Path]:
    """Write a table to files of so many rows."""
    folder.mkdir()
    files = [folder / f"{start}.arrow" for start in range(0, max(table.height, 1), rows)]
    for number, file in enumerate(files):
        table[number * rows : (number + 1) * rows].write_ipc(file, compression="uncompressed")
    return files


def shuffled(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in another order."""
    return table.sample(fraction=1.0, shuffle=True, seed=1)


@settings(max_examples=8, deadline=None)
@given(columns=tables(30), sizes=st.sampled_from([(1, 4), (20_000, 7), (100_000_000, 100)]))
def test_the_number_of_parts_changes_no_bit(columns, sizes, events_of, features_of):
    features, events = features_of(EVERYTHING), events_of(EVERYTHING, **columns)
    whole = build(events, features, timezone=ZONE)
    parts, seen = by_parts(events.frame, features, SpillLimits(*sizes, least_rows=1))
    assert_frame_equal(whole, parts, check_exact=True)
    assert seen[-1][1] == seen[-1][2]


@given(
    budget=st.integers(0, 10**10), n_features=st.integers(0, 400), n_rows=st.integers(0, 10**8),
    beside=st.integers(0, 10**9),
)  # fmt: skip
def test_a_partition_that_fits_is_one_piece_and_a_larger_one_gets_what_its_history_leaves(
    budget, n_features, n_rows, beside
):
    sizes = SpillLimits(budget, 1000)
    room, piece = sizes.partition_bytes(n_features), sizes.piece_rows(n_rows, n_features, beside)
    if n_rows * row_bytes(n_features) + beside <= room:
        assert piece >= n_rows
    elif budget - 150 * n_rows - beside > budget // 4 and piece > sizes.least_rows:
        assert 150 * n_rows + beside + (24 * n_features + 40) * piece <= budget
    else:
        assert piece >= sizes.least_rows


@settings(max_examples=10, deadline=None)
@given(found=rows, events=asking, sizes=st.sampled_from([(1, 2), (2000, 4), (100_000_000, 100)]))
def test_other_tables_are_looked_at_by_partition_too(found, events, sizes, events_of, project_of):
    features, table = features_with(project_of), events_frame(events_of, events)
    sources = {"logins": normalised(source_frame(found))}
    whole = build(table, features, timezone=ZONE, sources=sources)
    parts, _ = by_parts(table.frame, features, SpillLimits(*sizes, least_rows=1), sources)
    assert_frame_equal(whole, parts, check_exact=True)
    fresh = table.frame.slice(table.frame.height // 2)
    past = Past(table.frame.head(table.frame.height // 2), Dropped())
    new = extend(engine_after(past, fresh, features, timezone=ZONE, sources=sources), fresh)
    assert_frame_equal(new, whole.slice(table.frame.height // 2), check_exact=True)


@settings(max_examples=15, deadline=None)
@given(columns=tables(30), data=st.data())
def test_only_the_events_that_ask_are_answered(columns, data, events_of, features_of):
    features, events = features_of(EVERYTHING), events_of(EVERYTHING, **columns)
    whole = build(events, features, timezone=ZONE)
    first = data.draw(st.integers(0, whole.height - 1))
    names = [name for name in features.names if name not in events.frame.columns]
    known = pl.concat([events.frame, whole.select(names)], how="horizontal")
    engine = Engine(known, features, ZONE, {}, Workers(1), asking=(first, whole.height))
    for stage in features.stages:
        for family in units([features[name] for name in stage]):
            engine.compute(family)
    for name in features.names:
        assert engine.results[name].equals(whole[name][first:], null_equal=True), name


TOML = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "fraud"
label_delay = "1d"
[entities]
card = "card"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "sum(amount)"]
"""


@pytest.fixture
def raw() -> pl.DataFrame:
    n = 5000
    return pl.DataFrame({"id": range(n)}).with_columns(
        at=pl.datetime(2024, 1, 1) + pl.duration(seconds=(pl.col("id") * 7919) % 86_400 + pl.col("id") // 2 * 60),
        eur=(pl.col("id") * 31 % 977) / 100, fraud=(pl.col("id") % 50 == 0).cast(pl.Int8), card=pl.col("id") % 83,
    )  # fmt: skip


@pytest.mark.parametrize("shuffled", [False, True])
def test_chunks_hold_the_events_in_order_without_repetition(tmp_path, raw, shuffled):
    if shuffled:
        raw = pl.concat([raw, raw.sample(40, seed=1)]).sample(fraction=1.0, shuffle=True, seed=2)
    raw.write_parquet(tmp_path / "events.parquet", row_group_size=700)
    project = parse_project(TOML, path=tmp_path / "fraudctl.toml")
    folder = tmp_path / "parts"
    folder.mkdir()
    found = chunks.spill_events(project, columns=[], folder=folder, rows=900)
    whole = load_events(project)
    assert_frame_equal(pl.concat([pl.read_ipc(file) for file in found.files]), whole.frame)
    assert len(found.files) > 1
    assert (found.n_duplicates, found.known_until) == (whole.n_duplicates, whole.known_until)
    assert found.n_duplicates == (40 if shuffled else 0)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), fan=st.sampled_from([2, 3, 128]), width=st.sampled_from([1, 40, 5000]))
def test_rows_in_any_order_become_chunks_that_do_not_overlap(tmp_path, raw, monkeypatch, data, fan, width):
    """Rows moved by up to ``width`` places, few and many equal times, some rows twice: the table of one process."""
    seed, coarse = data.draw(st.integers(0, 999)), data.draw(st.booleans())
    random = np.random.default_rng(seed)
    rows = raw.sort("at").head(data.draw(st.integers(1, 1500)))
    if coarse:
        rows = rows.with_columns(pl.col("at").dt.truncate("6h"))
    rows = rows[np.sort(random.integers(0, len(rows), len(rows) // 20))].vstack(rows)
    rows = rows[np.argsort(random.uniform(0, width, len(rows)) + np.argsort(np.argsort(rows["at"].to_numpy())))]
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    rows.write_parquet(folder / "events.parquet", row_group_size=50)
    project = parse_project(TOML, path=folder / "fraudctl.toml")
    told = []
    monkeypatch.setattr(chunks, "_FAN", fan)
    monkeypatch.setattr(chunks, "_HASHES", data.draw(st.sampled_from([1, 64])))
    found = chunks.spill_events(project, columns=[], folder=folder, rows=60, tell=lambda *said: told.append(said))
    whole = load_events(project)
    parts = [pl.read_ipc(file) for file in found.files]
    assert_frame_equal(pl.concat(parts), whole.frame)
    assert [part.height for part in parts] == found.heights
    assert found.n_duplicates == whole.n_duplicates
    assert all(a["event_time"][-1] <= b["event_time"][0] for a, b in itertools.pairwise(parts))
    assert sorted(folder.glob("*.arrow")) == sorted(found.files)
    assert not list(folder.glob("*.npy"))
    assert {total for _, _, total in told} == {len(rows)}
    assert told[-1][1] == len(rows)


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_rows_without_a_time_are_each_taken_once_and_lie_in_parts(tmp_path, raw, kind):
    rows = pl.concat([raw, raw.head(30)]).drop("at").sample(fraction=1.0, shuffle=True, seed=4)
    rows = rows.with_columns(pl.col("id").cast(kind))
    rows.write_parquet(tmp_path / "events.parquet", row_group_size=100)
    timeless = TOML.replace('event_time = "at"\n', "").replace('label_delay = "1d"\n', "").split("[[features")[0]
    project = parse_project(timeless + '[split]\nkind = "random"\n', path=tmp_path / "fraudctl.toml")
    found = chunks.spill_events(project, columns=[], folder=tmp_path, rows=300)
    whole = load_events(project)
    assert_frame_equal(pl.concat([pl.read_ipc(file) for file in found.files]), whole.frame)
    assert (found.n_duplicates, sum(found.heights)) == (30, 5000)
    assert len(found.files) > 5


def test_one_id_with_differing_rows_is_an_error_in_parts_too(tmp_path, raw):
    pl.concat([raw, raw.tail(1).with_columns(eur=pl.lit(1.5))]).write_parquet(tmp_path / "events.parquet")
    project = parse_project(TOML, path=tmp_path / "fraudctl.toml")
    with pytest.raises(DataError, match="2 rows share their event id with a row that differs"):
        chunks.spill_events(project, columns=[], folder=tmp_path, rows=900)


def test_the_command_gives_the_same_table_with_and_without_a_limit(tmp_path, raw):
    raw.sample(fraction=1.0, shuffle=True, seed=3).write_parquet(tmp_path / "events.parquet")
    (tmp_path / "fraudctl.toml").write_text(TOML)
    done = run_in(tmp_path, "features", "--memory", "600MB", "-o", "parts.parquet", "--json", "--describe")
    assert done.code == 0, done.err
    assert (done.json["rows"], done.json["reused"]) == (5000, False)
    (tmp_path / ".fraudctl").rename(tmp_path / "elsewhere")
    assert run_in(tmp_path, "features", "-o", "whole.parquet").code == 0
    assert_frame_equal(pl.read_parquet(tmp_path / "parts.parquet"), pl.read_parquet(tmp_path / "whole.parquet"))
    refused = run_in(tmp_path, "features", "--memory", "much")
    assert (refused.code, "is not an amount of memory" in refused.err) == (2, True)


def test_parts_of_a_killed_build_go_with_the_next_one(tmp_path, raw):
    raw.write_parquet(tmp_path / "events.parquet")
    project = parse_project(TOML, path=tmp_path / "fraudctl.toml")
    dead, alive = (project.cache_dir / "features" / f"parts-{name}" for name in ("dead", "alive"))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "in0.arrow").write_bytes(b"rows")
    lock = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_features_file(project, memory=600_000_000)
    finally:
        os.close(lock)
    assert [item.name for item in (project.cache_dir / "features").glob("parts-*")] == ["parts-alive"]


def test_too_little_memory_is_refused(tmp_path):
    with pytest.raises(UsageError, match="10 MB are too little"):
        build_features_file(parse_project(TOML, path=tmp_path / "fraudctl.toml"), memory=10_000_000)
