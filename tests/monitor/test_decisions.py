"""Decisions are read whole or refused, and get their outcomes as they were known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from decisions_world import make_project

from fraudctl.data.labels import known_labels
from fraudctl.errors import DataError
from fraudctl.monitor.decisions import COLUMNS, from_frame, read_decisions, with_events

AT = datetime(2026, 3, 2, tzinfo=UTC)


def raw(**more: object) -> pl.DataFrame:
    """Three decisions as `score -o` writes them, with columns replaced or added."""
    kind = [{"kind": "expected_cost"}, {"kind": "rule"}, {"kind": "expected_cost"}]
    columns = {
        "event_id": [1, 2, 3], "probability": [0.1, 0.9, 0.2], "action": ["allow", "block", "allow"],
        "decided_by": kind, "policy": ["p"] * 3, "model": ["m"] * 3,
    }  # fmt: skip
    return pl.DataFrame({**columns, **more})


def events() -> pl.DataFrame:
    """The events behind them; event 2 is fraud from the second day on."""
    day = timedelta(days=1)
    return pl.DataFrame(
        {
            "event_id": [3, 2, 1],
            "event_time": [AT + 2 * day, AT + day, AT],
            "amount": [30.0, 20.0, 10.0],
            "label": [None, 1, 0],
            "label_time": [None, AT + 3 * day, AT + day],
        },
        schema_overrides={
            "event_time": pl.Datetime("us", "UTC"),
            "label_time": pl.Datetime("us", "UTC"),
            "label": pl.Int8,
        },
    )


def test_decisions_get_times_amounts_and_outcomes_of_their_events() -> None:
    found = from_frame(raw(), make_project(), files=["x"])
    assert found.frame.columns == ["event_id", *COLUMNS]
    assert found.unknown == ("event_time", "amount", "control_group", "exposure_prob")
    assert found.frame["decided_by"].to_list() == ["expected_cost", "rule", "expected_cost"]
    whole = with_events(found, events())
    assert whole.unknown == ("control_group", "exposure_prob")
    assert whole.frame["event_id"].to_list() == [1, 2, 3]
    assert whole.frame["amount"].to_list() == [10.0, 20.0, 30.0]
    assert known_labels(whole.frame, AT + timedelta(days=2)).tolist() == [0, -1, -1]
    assert known_labels(whole.frame, AT + timedelta(days=3)).tolist() == [0, 1, -1]


def test_what_a_decision_states_itself_stands_and_names_of_the_data_are_known() -> None:
    own = raw(a=[1.0, None, 3.0], t=[AT, AT, AT])
    found = with_events(from_frame(own, make_project(), files=["x"]), events())
    assert found.frame["amount"].to_list() == [1.0, 20.0, 3.0]
    assert found.frame["event_time"].to_list() == [AT] * 3


def test_an_event_without_data_keeps_its_decision_and_has_no_outcome() -> None:
    timed = raw(event_time=[AT] * 3)
    found = with_events(from_frame(timed, make_project(), files=["x"]), events().filter(pl.col("event_id") != 2))
    assert found.frame.filter(pl.col("event_id") == 2).select("label", "amount").row(0) == (None, None)
    with pytest.raises(DataError, match="1 decision of events that"):
        with_events(from_frame(raw(), make_project(), files=["x"]), events().filter(pl.col("event_id") != 2))


def test_roles_and_repeated_rows() -> None:
    both = pl.concat([raw(role=["champion"] * 3), raw(role=["challenger"] * 3, probability=[0.5] * 3)])
    assert from_frame(both, make_project(), files=["x"]).frame["y_prob"].to_list() == [0.1, 0.9, 0.2]
    assert from_frame(both, make_project(), files=["x"], role="challenger").frame["y_prob"].to_list() == [0.5] * 3
    twice = from_frame(pl.concat([raw(), raw()]), make_project(), files=["x"])
    assert (twice.frame.height, twice.n_repeated) == (3, 3)
    differ = pl.concat([raw(), raw(probability=[0.5] * 3)])
    with pytest.raises(DataError, match="3 events with two decisions that differ"):
        from_frame(differ, make_project(), files=["x"])
    assert from_frame(differ, make_project(), files=["x"], first=True).frame["y_prob"].to_list() == [0.1, 0.9, 0.2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": [0.1, None, 0.2]}, r"probability is not in \[0, 1\] in 1 of 3"),
        ({"probability": [0.1, float("nan"), 0.2]}, r"probability is not in \[0, 1\] in 1 of 3"),
        ({"probability": [0.1, 1.5, 0.2]}, r"probability is not in \[0, 1\] in 1 of 3"),
        ({"probability": ["a", "b", "c"]}, "probability.* is String; expected Float64"),
        ({"action": ["allow", None, "allow"]}, "action is not the name of an action in 1 of 3"),
        ({"event_id": [1, None, 3]}, "1 decision without an event id"),
        ({"decided_by": ["rule", "fate", None]}, "decided_by is not one of .* in 1 of 3"),
        ({"exposure_prob": [0.5, -1.0, None]}, "exposure_prob is not in .* in 1 of 3"),
        ({"control_group": ["yes", "no", "no"]}, "control_group.* is String; expected Boolean"),
    ],
)
def test_what_cannot_be_a_decision_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_frame(raw(**change), make_project(), files=["x"])


def test_missing_columns_files_and_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    with pytest.raises(DataError):
        read_decisions([path], make_project())
    raw().drop("action").write_parquet(path)
    with pytest.raises(DataError, match=r"no column .?action"):
        read_decisions([path], make_project())
    raw().clear().write_parquet(path)
    with pytest.raises(DataError, match="there are no decisions"):
        read_decisions([path], make_project())
    raw().write_parquet(path)
    assert read_decisions([path], make_project()).frame.height == 3
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError):
        read_decisions([path], make_project())
