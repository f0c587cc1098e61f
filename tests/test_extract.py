"""Extracts: all frauds and a share of the rest, with the features of the whole table and weights that add up to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run_in
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fraudctl.extract import Extract, as_written
from fraudctl.project import load_project
from fraudctl.weights import event_weights


@given(labels=st.lists(st.sampled_from([0, 1, None]), max_size=60), share=st.floats(0.01, 1), seed=st.integers(0, 5),
       other=st.integers(0, 60))  # fmt: skip
def test_frauds_are_kept_and_others_by_their_id_alone(labels, share, seed, other):
    frame = pl.DataFrame({"event_id": [f"e{i}" for i in range(len(labels))], "label": pl.Series(labels, dtype=pl.Int8)})
    extract = Extract(share, seed)
    kept = extract.kept(frame)
    assert all(kept[i] for i, label in enumerate(labels) if label == 1)
    assert kept[:other].tolist() == extract.kept(frame[:other]).tolist()
    assert not (kept & ~Extract(min(1.0, share * 1.5), seed).kept(frame)).any()
    assert Extract(1.0, seed).kept(frame).all()


def test_weights_add_up_to_all_events():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"event_id": range(20_000), "label": (rng.random(20_000) < 0.02).astype(np.int8)})
    extract, frauds = Extract(0.05, 3), int(frame["label"].sum())
    kept = frame.filter(pl.Series(extract.kept(frame)))
    n = kept.height - frauds
    assert abs(n - 0.05 * (20_000 - frauds)) < 5 * (0.05 * 0.95 * 20_000) ** 0.5
    assert 1 / extract.share == 20


def test_a_column_of_the_data_keeps_its_longer_name_beside_ours():
    frame = pl.DataFrame({"event_weight (data)": [2.0], "event_weight": [1.0], "action (data)": ["x"]})
    assert as_written(frame).columns == ["event_weight (data)", "event_weight", "action"]
    assert as_written(frame.drop("event_weight")).columns == ["event_weight", "action"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extract")
    assert run_in(folder, "sample", "s", "--events", "2000", "--days", "40").code == 0
    assert run_in(folder / "s", "features", "-o", "all.parquet").code == 0
    return folder / "s"


@pytest.mark.parametrize("more", [[], ["--memory", "1GB"]], ids=["in memory", "in parts"])
def test_rows_are_those_of_the_whole_table(more: list[str], sample: Path) -> None:
    done = run_in(sample, "features", "-o", "some.parquet", "--keep-negatives", "0.1", *more)
    assert done.code == 0, done.err
    every, some = pl.read_parquet(sample / "all.parquet"), pl.read_parquet(sample / "some.parquet")
    kept = Extract(0.1, load_project(sample).train.seed).kept(every)
    expected = every.filter(pl.Series(kept))
    assert_frame_equal(some.drop("event_weight"), expected, check_exact=True)
    weights = pl.when(expected["label"] == 1).then(1.0).otherwise(10.0)
    assert some["event_weight"].to_list() == expected.select(weights).to_series().to_list()
    assert f"({some.height:,} events: all frauds and 0.1 of the other events)" in done.out


def test_a_project_on_the_extract_takes_its_weights(sample: Path, tmp_path: Path) -> None:
    run_in(sample, "features", "-o", "some.parquet", "--keep-negatives", "0.1")
    (tmp_path / "fraudctl.toml").write_text(
        f'[data]\nevents = "{sample / "some.parquet"}"\nevent_id = "event_id"\nevent_time = "event_time"\n'
        'amount = "amount"\nlabel = "label"\nlabel_time = "label_time"\nlabel_delay = "14d"\nweight = "event_weight"\n'
        '[entities]\ncard = "card"\n'
    )
    project = load_project(tmp_path)
    done = run_in(tmp_path, "features", "-o", "again.parquet")
    assert done.code == 0, done.err
    from fraudctl.workflows.features import build_features

    weights = event_weights(build_features(project).frame, project)
    assert sorted(set(weights.tolist())) == [1.0, 10.0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--keep-negatives", "0"], "--keep-negatives is 0; expected a share above 0"),
        (["--keep-negatives", "0.1"], "--keep-negatives needs --output"),
        (["--keep-negatives", "0.1", "--since", "2026-01-01", "-o", "x.parquet"], "exclude each other"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(more: list[str], words: str, sample: Path) -> None:
    done = run_in(sample, "features", *more)
    assert (done.code, words in done.err) == (2, True), done.err
