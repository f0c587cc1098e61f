"""The demo of life after training: decisions on weeks in which something changes, an alarm, and the dashboard."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl

from fraudctl import run_life
from fraudctl.documents.results import as_json


def test_life_ends_with_an_alarm_on_what_was_planted_and_a_page(tmp_path: Path) -> None:
    result = run_life(tmp_path / "life", n_events=3_000)
    begins = {change.name: change.begins for change in result.changes}
    assert list(begins) == ["attack", "dead-feature", "clock"]
    since = begins["attack"] - timedelta(weeks=2)
    decisions = pl.read_parquet(result.decided.output)
    events = pl.concat([pl.read_parquet(result.folder / f"transactions{part}.parquet") for part in ("", "_after")])
    wanted = events.filter(pl.col("created_at").dt.date() >= since)["transaction_id"].unique()
    assert set(decisions["event_id"]) == set(wanted)
    assert result.calm.as_of.date() <= begins["attack"]
    assert not [alarm for alarm in result.calm.alarms if alarm.tier == "data"]
    dead = [alarm for alarm in result.monitor.alarms if alarm.tier == "data" and alarm.what.startswith("ip")]
    assert len(dead) == 1
    assert dead[0].moved[0].first_day == begins["dead-feature"]
    assert (result.verdict, result.monitor.exit_code) == ("act", 1)
    page = Path(result.page).read_text(encoding="utf-8")
    assert str(dead[0].moved[0].column) in page
    assert not list(result.folder.glob(".weeks*"))
    document = as_json(result)
    assert (document["before"], document["after"]) == (result.calm.verdict, "act")
    assert json.loads(json.dumps(document["changes"]))[1]["from"] == begins["dead-feature"].isoformat()
