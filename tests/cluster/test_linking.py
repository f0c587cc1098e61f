"""Links by components: the bits of one process, wherever components, hubs and twins are parted."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from costly import costly
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cluster.shuffling import Shuffled
from cluster.test_session import on_sail
from fraudctl.cluster.flow import Shuffles
from fraudctl.cluster.linking import parted
from fraudctl.cluster.session import open_engine
from fraudctl.features import build
from fraudctl.features.batch.links import hub_notes
from fraudctl.features.batch.passes import EVERYBODY, passes
from fraudctl.project import load_project
from fraudctl.workflows.cluster import build_on
from fraudctl.workflows.definitions import load_definitions, plan_features

HEAD = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
label = "fraud"
label_time = "known"
label_delay = "5d"
[entities]
card = "card"
device = "device"
"""
KINDS = '"component_size", "component_age_seconds", "component_fraud_rate", "degree"'
LINKS = '[[features.links]]\nof = ["card", "device"]\nhub = {hub}\naggregates = [{kinds}]\n'
BACK = '[[features.links]]\nof = ["device", "card"]\nhub = {hub}\naggregates = ["component_size", "degree"]\n'
event = st.tuples(
    st.integers(0, 12), st.sampled_from([None, *"abcdef"]), st.sampled_from([None, *"uvwxyz"]),
    st.sampled_from([None, 0, 1]), st.integers(0, 8),
)  # fmt: skip


def table(rows: list[tuple[int, str | None, str | None, int | None, int]]) -> pl.DataFrame:
    start = datetime(2024, 1, 1)
    return pl.DataFrame({
        "id": [f"t{i:03}" for i in range(len(rows))], "at": [start + timedelta(hours=row[0]) for row in rows],
        "card": pl.Series([row[1] for row in rows], dtype=pl.String),
        "device": pl.Series([row[2] for row in rows], dtype=pl.String),
        "fraud": pl.Series([row[3] for row in rows], dtype=pl.Int8),
        "known": [start + timedelta(hours=row[0] + row[4]) for row in rows],
    })  # fmt: skip


def compared(folder: Path, text: str, raw: pl.DataFrame, engine: Shuffles, **sizes: int) -> list[str]:
    """Compare the table of a cluster with that of one process, to the bit; give the notes."""
    (folder / "fraudctl.toml").write_text(HEAD + text)
    raw.write_parquet(folder / "events.parquet", row_group_size=3)
    plan = plan_features(load_project(folder))
    events = plan.load()
    whole = build(events, plan.features, timezone=plan.project.data.timezone, sources={})
    found = build_on(load_project(folder), engine, folder / "out", **sizes)
    parts = pl.concat([pl.read_parquet(path) for path in sorted((folder / "out").iterdir())])
    assert_frame_equal(parts, whole, check_exact=True)
    assert sorted(found.notes) == sorted(hub_notes(plan.features.steps, events.frame.select))
    return list(found.notes)


@settings(max_examples=costly(60), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    rows=st.lists(event, min_size=1, max_size=24), hub=st.integers(2, 3), hops=st.booleans(),
    partitions=st.sampled_from([1, 3, 8]), task_rows=st.sampled_from([1, 4, 1000]), seed=st.integers(0, 99),
)  # fmt: skip
def test_links_are_those_of_one_process(rows, hub, hops, partitions, task_rows, seed):
    kinds = KINDS + (', "neighbours", "neighbour_frauds"' if hops else "")
    text = LINKS.format(hub=hub, kinds=kinds) + BACK.format(hub=hub + 1)
    with tempfile.TemporaryDirectory() as name:
        compared(Path(name), text, table(rows), Shuffled(partitions, seed), task_rows=task_rows)


def rings() -> pl.DataFrame:
    """Return events of cards that share devices by twos, and all of them now and then one more."""
    rng = np.random.default_rng(1)
    return table([
        (int(at), f"c{n}", f"d{n // 2}" if rng.random() < 0.95 else "shared", int(rng.random() < 0.2), 1)
        for at, n in zip(np.sort(rng.integers(0, 900, 400)), rng.integers(0, 60, 400), strict=True)
    ])  # fmt: skip


@on_sail
@pytest.mark.filterwarnings("ignore")
def test_sail_makes_the_links_of_one_process(tmp_path: Path) -> None:
    text = LINKS.format(hub=3, kinds=KINDS + ', "neighbours", "neighbour_frauds"') + BACK.format(hub=2)
    with open_engine("sail", partitions=3) as engine:
        compared(tmp_path, text, rings(), engine, task_rows=50)


def test_no_stage_but_that_of_the_pairs_sees_all_events(tmp_path: Path) -> None:
    engine = Shuffled(4)
    (note,) = compared(tmp_path, LINKS.format(hub=3, kinds=KINDS), rings(), engine, task_rows=50)
    assert "1 value of device met more than 3 of card" in note
    assert "Everybody" not in engine.calls
    assert engine.calls.count("Linked") == engine.calls.count("Meet") == 1


@pytest.mark.parametrize(("kinds", "whole"), [('"degree"', False), ('"neighbours"', True), (KINDS, False)])
def test_what_leads_out_of_a_component_is_computed_of_all_rows(kinds: str, whole: bool, tmp_path: Path) -> None:
    (tmp_path / "fraudctl.toml").write_text(HEAD + LINKS.format(hub=2, kinds=kinds))
    table([(0, "a", "u", 0, 1)]).write_parquet(tmp_path / "events.parquet")
    features = load_definitions(load_project(tmp_path)).features
    (item,) = (item for item in passes(features) if item.entity == EVERYBODY and item.members)
    every, rest = parted(item)
    assert (rest is not None) == whole
    assert sum(len(linked.members) for linked in every) + (0 if rest is None else len(rest.members)) == len(
        item.members
    )
