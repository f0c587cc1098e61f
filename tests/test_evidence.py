"""What a verdict rests on: the places of the data are part of it, and events that went missing are counted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from fraudctl.project import parse_project
from fraudctl.workflows.evidence import events_between, section_digests

TEXT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
label = "y"
label_delay = "7d"
[costs.actions]
allow.fraud = { fixed = 5 }
block.legit = { fixed = 1 }
"""


def test_other_data_and_other_costs_change_the_digest_of_their_section_alone() -> None:
    before = section_digests(parse_project(TEXT, path=Path("fraudctl.toml")))
    for old, new, section in (("x.parquet", "easy.parquet", "data"), ("fixed = 5", "fixed = 6", "costs")):
        after = section_digests(parse_project(TEXT.replace(old, new), path=Path("fraudctl.toml")))
        assert {name for name in before if before[name] != after[name]} == {section}


def test_events_of_a_period_hold_its_start_and_not_its_end() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({"event_time": [start + timedelta(days=day) for day in range(5)]})
    assert events_between(frame, start, start + timedelta(days=3)) == 3
