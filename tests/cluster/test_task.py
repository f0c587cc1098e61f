"""Tables made by stages on partitions of bytes: the bits of one process, however rows are parted and cut in time."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from contract.test_families import SECTIONS
from features import complete
from features.batch.test_sources import SCHEMA as SOURCE_SCHEMA
from features.batch.test_sources import TABLE, rows, source_frame
from features.conftest import HEAD, SCHEMA, _defined, _events
from features.proof.test_against_reference import tables
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cluster.shuffling import Shuffled
from fraudctl.cluster import told
from fraudctl.cluster.plan import placed, splits_of
from fraudctl.cluster.task import ordered, prior_at, prior_table
from fraudctl.errors import DataError, UsageError
from fraudctl.extract import Extract, as_written
from fraudctl.features import build
from fraudctl.features.batch.engine import Engine
from fraudctl.features.batch.groups import Workers
from fraudctl.features.batch.passes import passes
from fraudctl.features.batch.prior import outcome_steps
from fraudctl.project import load_project
from fraudctl.workflows.cluster import build_on, told_project
from fraudctl.workflows.definitions import load_definitions, plan_features


def project_in(folder: Path, text: str, events: pl.DataFrame, logins: pl.DataFrame) -> Path:
    (folder / "fraudctl.toml").write_text(HEAD + TABLE + text)
    events.write_parquet(folder / "events.parquet", row_group_size=3)
    logins.write_parquet(folder / "logins.parquet")
    return folder


def raw_of(columns) -> pl.DataFrame:
    height = len(columns["id"])
    return pl.DataFrame({name: columns.get(name, [None] * height) for name in SCHEMA}, schema=SCHEMA)


def whole(folder: Path) -> pl.DataFrame:
    plan = plan_features(load_project(folder))
    events, sources = plan.load(), plan.load_sources()
    return build(events, plan.features, timezone=plan.project.data.timezone, sources=sources)


def clustered(folder: Path, engine: Shuffled, **sizes) -> pl.DataFrame:
    found = build_on(load_project(folder), engine, folder / "out", **sizes)
    parts = [pl.read_parquet(path) for path in sorted((folder / "out").iterdir())]
    assert [item.name for item in folder.iterdir() if item.name.startswith(".out")] == []
    assert (found.files, found.rows) == (len(parts), sum(part.height for part in parts))
    return pl.concat(parts)


TEXT = complete.COMPLETE.removeprefix(TABLE)


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    columns=tables(24), found=rows, seed=st.integers(0, 99), partitions=st.sampled_from([1, 3, 16]),
    task_rows=st.sampled_from([1, 4, 1000]), file_rows=st.sampled_from([2, 1000]), repeated=st.integers(0, 5),
    share=st.sampled_from([None, 0.4]),
)  # fmt: skip
def test_partitions_slices_of_time_the_order_of_rows_and_extracts_change_no_bit(
    columns, found, seed, partitions, task_rows, file_rows, repeated, share
):
    raw = raw_of(columns)
    raw = pl.concat([raw, raw.sample(min(repeated, raw.height), seed=seed)])
    with tempfile.TemporaryDirectory() as name:
        folder = project_in(Path(name), TEXT, raw, source_frame(found))
        expected = whole(folder)
        raw.sample(fraction=1, shuffle=True, seed=seed).write_parquet(folder / "events.parquet", row_group_size=4)
        engine, extract = Shuffled(partitions, seed), None if share is None else Extract(share, seed)
        if extract is not None:
            expected = expected.filter(pl.Series(extract.kept(expected)))
            expected = extract.weighted(expected, load_project(folder))
        if expected.is_empty():
            with pytest.raises(UsageError, match="no event belongs to the extract"):
                clustered(folder, engine, task_rows=task_rows, file_rows=file_rows, extract=extract)
            return
        table = clustered(folder, engine, task_rows=task_rows, file_rows=file_rows, extract=extract)
        assert_frame_equal(table, as_written(expected), check_exact=True)


@pytest.mark.parametrize("key", sorted(SECTIONS))
def test_extracts_of_every_family_are_rows_of_the_whole_table(key, tmp_path):
    folder = project_in(tmp_path, SECTIONS[key], raw_of(complete.columns()), complete.rows_with_times())
    extract, expected, engine = Extract(0.4, 1), whole(folder), Shuffled(3)
    expected = expected.filter(pl.Series(extract.kept(expected)))
    table = clustered(folder, engine, task_rows=7, file_rows=20, extract=extract)
    assert 0 < table.height < len(complete.columns()["id"])
    assert_frame_equal(table.drop("event_weight"), as_written(expected), check_exact=True)


@pytest.mark.parametrize("key", sorted(SECTIONS))
def test_every_family_survives_cuts_in_time(key, tmp_path):
    folder = project_in(tmp_path, SECTIONS[key], raw_of(complete.columns()), complete.rows_with_times())
    engine = Shuffled(3)
    table = clustered(folder, engine, task_rows=7, file_rows=20)
    assert_frame_equal(table, whole(folder), check_exact=True)
    looking = [item for item in passes(load_definitions(load_project(folder)).features) if item.members and item.entity]
    assert engine.calls.count("Compute") == len(looking)


def test_passes_of_one_entity_share_a_place_where_nothing_is_cut(tmp_path):
    folder = project_in(tmp_path, TEXT, raw_of(complete.columns()), pl.DataFrame(schema=SOURCE_SCHEMA))
    engine = Shuffled(2)
    assert_frame_equal(clustered(folder, engine), whole(folder), check_exact=True)
    looking = [item for item in passes(load_definitions(load_project(folder)).features) if item.members and item.entity]
    entities = [item.entity for item in looking]
    assert engine.calls.count("Compute") == 1 + sum(a != b for a, b in itertools.pairwise(entities))


@given(columns=tables(30))
def test_the_prior_of_a_table_is_that_of_the_engine(columns):
    text = '[[features.labels]]\nby = "card"\nwindows = ["1d"]\n'
    project, features = _defined(text)
    frame = _events(project, features, columns).frame
    engine = Engine(frame, features, "UTC", {}, Workers(1))
    parts = [outcome_steps(frame[start : start + 7]) for start in range(0, frame.height, 7)]
    found = prior_at(prior_table(parts), engine.times)
    assert np.array_equal(found, engine.known_fraud_rate, equal_nan=True)


@given(times=st.lists(st.integers(0, 5), min_size=1, max_size=30), data=st.data())
def test_rows_are_ordered_by_time_and_id(times, data):
    ids = data.draw(st.permutations(range(len(times))))
    frame = pl.DataFrame({"event_id": ids, "event_time": pl.Series(times).cast(pl.Datetime("us", "UTC"))})
    assert_frame_equal(ordered(frame), frame.sort("event_time", "event_id"))


@given(n_rows=st.integers(1, 500), most=st.integers(1, 60))
def test_splits_hold_every_row_once(n_rows, most):
    found = splits_of(n_rows, most)
    assert [row for item in found for row in range(item.first, item.first + item.rows)] == list(range(n_rows))
    assert all(0 < item.rows <= most for item in found)


@given(loads=st.lists(st.integers(0, 50), min_size=1, max_size=40), n=st.integers(1, 6))
def test_no_place_gets_more_than_a_fair_share_and_one_task(loads, n):
    keys = list(range(100, 100 + n))
    places = placed(loads, keys)
    held = [sum(max(load, 1) for load, place in zip(loads, places, strict=True) if place == key) for key in keys]
    fair = sum(max(load, 1) for load in loads) / n
    assert max(held) <= fair + max(max(load, 1) for load in loads)


# ---------------------------------------------------------------- what is refused


def test_a_mistake_in_the_data_comes_out_with_its_own_words(tmp_path):
    raw = raw_of(complete.columns())
    folder = project_in(tmp_path, SECTIONS["window"], pl.concat([raw, raw.head(1).with_columns(eur=pl.lit(1.25))]),
                        pl.DataFrame(schema=SOURCE_SCHEMA))  # fmt: skip
    with pytest.raises(DataError, match="2 rows share their event id"):
        clustered(folder, Shuffled(3))
    assert not (folder / "out").exists()
    raw.with_columns(at=pl.when(pl.int_range(pl.len()) == 30).then(None).otherwise("at")).write_parquet(
        folder / "events.parquet"
    )
    with pytest.raises(DataError, match="1 times are null"):
        clustered(folder, Shuffled(3))


def test_another_definition_or_another_worker_is_refused(tmp_path, monkeypatch):
    folder = project_in(tmp_path, SECTIONS["window"], raw_of(complete.columns()), pl.DataFrame(schema=SOURCE_SCHEMA))
    found = told_project(load_definitions(load_project(folder)))
    assert found.meaning().features.digest == found.digest
    monkeypatch.setattr("fraudctl.features.meaning.definition.ENGINE_VERSION", -1)
    with pytest.raises(UsageError, match="defines the features of the project otherwise"):
        found.meaning()
    monkeypatch.undo()
    told.require_like(told.traits())
    for name, value in told.traits():
        other = tuple((key, "other" if key == name else held) for key, held in told.traits())
        with pytest.raises(UsageError, match=f"a worker has {name} {value}"):
            told.require_like(other)


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    folder = project_in(tmp_path, SECTIONS["window"], raw_of(complete.columns()), pl.DataFrame(schema=SOURCE_SCHEMA))
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files than those of a table"):
        clustered(folder, Shuffled(1))
    (folder / "out" / "notes.txt").rename(folder / "out" / "part-99999.parquet")
    clustered(folder, Shuffled(1))
    assert [item.name for item in (folder / "out").iterdir()] == ["part-00000.parquet"]
