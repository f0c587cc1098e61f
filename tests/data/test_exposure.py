"""Exposure from logged decisions: joined by id, equal to columns, nothing guessed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from decisions_world import evaluated, make_events, make_project, score
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.data.exposure import exposure_of, read_exposure
from fraudctl.disk.kept import write_numbered
from fraudctl.errors import DataError, ProjectError
from fraudctl.project import Project, parse_project
from fraudctl.weights import control_group, event_weights, weight_columns, with_exposure

Row = tuple[int, float | None, bool | None]
SCHEMA = {"event_id": pl.Int64, "exposure_prob": pl.Float64, "control_group": pl.Boolean}


def named(folder: Path, **more: str) -> Project:
    plan = make_project()
    data = plan.data.model_copy(update={"decisions": str(folder), **more})
    return plan.model_copy(update={"data": data})


def written(folder: Path, *files: list[Row]) -> Project:
    for number, rows in enumerate(files):
        write_numbered(pl.DataFrame(rows, schema=SCHEMA, orient="row"), folder, number, row_group=1000)
    return named(folder)


rows_of = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.one_of(st.none(), st.sampled_from([0.0, 0.005, 0.25, 1.0])),
        st.one_of(st.none(), st.booleans()),
    ).filter(lambda row: row[1] is not None or not row[2]),
    max_size=25,
)


@given(st.lists(rows_of, min_size=1, max_size=4), st.lists(st.integers(0, 40), unique=True, min_size=1))
def test_files_joined_by_id_as_plain_python_does(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Row]], ids: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("decisions")
    plan, told, differing = written(folder, *files), dict[int, tuple[float, bool]](), False
    for event_id, exposure, control in (row for rows in files for row in rows):
        if exposure is None:
            continue
        one = (exposure, bool(control))
        differing |= told.setdefault(event_id, one) != one
    asked = pl.Series("event_id", ids, dtype=pl.Int64)
    if differing:
        with pytest.raises(DataError, match=r"with decisions that differ in exposure_prob or control_group"):
            exposure_of(asked, plan)
        return
    found = exposure_of(asked, plan)
    assert found.rows() == [told.get(event_id, (1.0, False)) for event_id in ids]
    texts = exposure_of(asked.cast(pl.String), plan)
    assert texts.equals(found)
    shutil.rmtree(folder)


def test_decisions_weigh_as_columns_of_the_same_content(tmp_path: Path) -> None:
    events = make_events().with_columns(
        p=pl.when(pl.col("event_id") % 3 == 0).then(0.25).otherwise(1.0), c=pl.col("event_id") % 6 == 0
    )
    logged = events.filter(pl.col("event_id") % 3 == 0).select("event_id", exposure_prob="p", control_group="c")
    logged.write_parquet(tmp_path / "decisions.parquet")
    by_id = named(tmp_path / "decisions.parquet")
    plan = make_project()
    columns = plan.model_copy(
        update={"data": plan.data.model_copy(update={"exposure_prob": "p", "control_group": "c"})}
    )
    assert np.array_equal(event_weights(events, by_id), event_weights(events, columns))  # type: ignore[arg-type]
    assert np.array_equal(control_group(events, by_id), control_group(events, columns))  # type: ignore[arg-type]
    assert with_exposure(events, by_id).equals(
        with_exposure(events, columns).select(*events.columns, "exposure_prob", "control_group")
    )
    assert weight_columns(by_id) == []
    one, other = (evaluated(score(events, each), each) for each in (by_id, columns))
    assert one.metrics["recall"] == other.metrics["recall"] != evaluated(score(events, plan), plan).metrics["recall"]
    assert one.tables.control_group == other.tables.control_group


@pytest.mark.parametrize(("frame", "told"), [
    (pl.DataFrame({"event_id": [1], "action": ["allow"]}), "no column exposure_prob, control_group"),
    (pl.DataFrame([(1, 1.5, False)], schema=SCHEMA, orient="row"), r"exposure_prob is not in \[0, 1\] in 1 decision"),
    (pl.DataFrame([(1, None, True)], schema=SCHEMA, orient="row"), r"exposure_prob is not in \[0, 1\] in 1 decision"),
    (pl.DataFrame([(None, 0.5, True)], schema=SCHEMA, orient="row"), "the event id is null in 1 decision"),
    (pl.DataFrame({"event_id": [1], "exposure_prob": ["x"], "control_group": [True]}), "is String; expected numbers"),
    (pl.DataFrame({"event_id": [1], "exposure_prob": [0.5], "control_group": ["x"]}), "expected true and false"),
])  # fmt: skip
def test_what_no_decision_can_say(tmp_path: Path, frame: pl.DataFrame, told: str) -> None:
    frame.write_parquet(tmp_path / "d.parquet")
    with pytest.raises(DataError, match=told):
        read_exposure(named(tmp_path / "d.parquet"))


def test_a_damaged_and_a_missing_file(tmp_path: Path) -> None:
    plan = written(tmp_path / "d", [(1, 0.5, True)], [(2, 0.5, False)])
    assert read_exposure(plan).height == 2
    first = min((tmp_path / "d").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"damaged|not what was written"):
        read_exposure(plan)
    with pytest.raises(DataError, match="no such file"):
        read_exposure(named(tmp_path / "none"))


BASE = """
[project]
name = "p"
[data]
events = "e.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "3d"
decisions = "state/decisions"
[entities]
card = "card"
"""
TABLES = (
    BASE.replace('label = "fraud"\n', "")
    + """
[labels.chargebacks]
events = "c.parquet"
event_id = "id"
time = "at"
label = 1
"""
)


@pytest.mark.parametrize(("text", "told"), [
    (BASE.replace("[entities]", 'exposure_prob = "p"\n[entities]'), "decisions and exposure_prob both say"),
    (BASE.replace("[entities]", 'control_group = "c"\n[entities]'), "decisions and control_group both say"),
    (BASE.replace('event_id = "id"', "event_id = { row_number = true }"), "event_id is a row number"),
    (TABLES, "silence would make them legitimate"),
])  # fmt: skip
def test_a_project_file_that_contradicts_itself(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=told):
        parse_project(text, path=tmp_path / "fraudctl.toml")


def test_a_project_file_with_decisions(tmp_path: Path) -> None:
    assert parse_project(BASE, path=tmp_path / "fraudctl.toml").data.decisions == "state/decisions"
    for line in ('legit_after = "never"', 'declined = { column = "status", values = ["declined"] }'):
        text = TABLES.replace("[labels.chargebacks]", f"[labels]\n{line}\n[labels.chargebacks]")
        assert parse_project(text, path=tmp_path / "fraudctl.toml").data.decisions == "state/decisions"
