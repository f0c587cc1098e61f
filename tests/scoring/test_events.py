"""Messages at the boundary: every value is taken whole or refused whole, and nothing else is ever raised."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import DataError
from fraudctl.features.meaning.definition import define
from fraudctl.project import parse_project
from fraudctl.scoring import wire
from fraudctl.scoring.events import LONGEST_ID, EventReader
from fraudctl.scoring.schema import DataSchema

PROJECT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "7d"
timezone = "{zone}"
[entities]
card = "card"
[features]
raw = ["amount", "channel", "n", "flag"]
categorical = ["channel"]
[costs.actions]
allow.fraud = {{ fixed = 15 }}
block.legit = {{ fixed = 8 }}
"""
TYPES = {
    "id": pl.String(), "at": pl.Datetime("us", "UTC"), "amount": pl.Float64(), "card": pl.String(), "fraud": pl.Int8(),
    "channel": pl.String(), "n": pl.Int64(), "flag": pl.Boolean(), "since": pl.Date(), "seen": pl.Datetime("us", "UTC"),
}  # fmt: skip
MOMENT = pl.Datetime("us", "UTC")
GOOD = {"id": "e1", "at": "2026-02-01T10:00:00Z", "amount": 1.5, "card": "k", "channel": "pos", "n": 1, "flag": True,
        "since": "2026-01-01", "seen": "2026-01-31T10:00:00+02:00"}  # fmt: skip
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"]


def reader(zone: str) -> EventReader:
    project = parse_project(PROJECT.format(zone=zone), path=Path("/nowhere/fraudctl.toml"))
    return EventReader(project, define(project, TYPES), DataSchema(TYPES, {}), more=["since", "seen"])


READERS = {zone: reader(zone) for zone in ZONES}
EDGES = st.sampled_from(
    ["0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "0001-01-02T00:00:00-14:00", "9999-12-31T23:59:59.999999",
     "9999-12-30T23:59:59-23:59", "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-02-30", "1e5", "", "\x00",
     "x" * 5000, -0.0, 0, 1e308, -1e308, 5e-324, 2**63 - 1, -(2**63), 1e18, 1e19, True, None, [], {}, [1], {"a": 1}]
)  # fmt: skip
MOMENTS = st.datetimes(timezones=st.just(UTC) | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))))
VALUES = (
    EDGES
    | MOMENTS.map(datetime.isoformat)
    | st.datetimes().map(datetime.isoformat)
    | st.text()
    | st.integers()
    | st.floats()
)


@given(zone=st.sampled_from(ZONES), field=st.sampled_from(list(GOOD)), value=VALUES)
def test_a_value_is_taken_whole_or_refused_without_being_shown(zone: str, field: str, value: Any) -> None:
    refused, raw, event = "", {}, {}
    try:
        raw = wire.parse(json.dumps({**GOOD, field: value}).encode())
        event = READERS[zone].event(raw)
    except DataError as error:
        refused = error.message
    if refused:
        assert not (isinstance(value, str) and len(value) > 3 and value in refused)
        return
    again = READERS[zone].event(wire.loads(wire.dumps(raw)), strict=False)
    assert event == again or event != event, "a log record reads as the message did"
    assert isinstance(event["event_time"], int)
    for known in (
        pl.Series([event["event_time"]]).cast(pl.Datetime("us", "UTC")),
        pl.Series([event["seen"]], dtype=MOMENT),
    ):
        assert known.dt.convert_time_zone(zone).dt.hour().null_count() in (0, int(event["seen"] is None))


@pytest.mark.parametrize("zone", ZONES)
def test_times_that_some_zone_cannot_write_are_refused(zone: str) -> None:
    for text in ("0001-01-01T00:00:00", "0001-01-01T10:00:00Z", "9999-12-31T00:00:00Z", "9999-12-31T23:59:59"):
        with pytest.raises(DataError, match="field 'at' is a time outside"):
            READERS[zone].event({**GOOD, "at": text})


@pytest.mark.parametrize("field", ["id", "card"])
def test_ids_have_a_length(field: str) -> None:
    long = "7" * (LONGEST_ID + 1)
    READERS["UTC"].event({**GOOD, field: long[:-1]})
    with pytest.raises(DataError, match=f"of {LONGEST_ID + 1} characters"):
        READERS["UTC"].event({**GOOD, field: long})
    READERS["UTC"].event({**GOOD, field: long}, strict=False)
    with pytest.raises(DataError, match="characters"):
        READERS["UTC"].label({"event_id": long, "label": 1, "label_time": "2026-02-01T10:00:00Z"})


@pytest.mark.parametrize("amount", [1e15, -1e15, 1.1e15, -1e300, 10**16, None])
def test_money_beyond_the_limit_is_refused_in_messages_and_read_from_logs(amount: float | None) -> None:
    event = {**GOOD, "amount": amount}
    assert READERS["UTC"].event(event, strict=False)["amount"] == amount
    if amount is None or abs(amount) <= 1e15:
        assert READERS["UTC"].event(event)["amount"] == amount
        return
    with pytest.raises(DataError, match="'amount' is money beyond 1,000,000,000,000,000"):
        READERS["UTC"].event(event)
