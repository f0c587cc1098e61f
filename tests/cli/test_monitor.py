"""`monitor`: quiet on unchanged days, alarms with their causes on planted changes, notes, forms, and refusals."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from command_line import Outcome, run_alone, run_in
from recount_monitor import Watched, recount_parity

from fraudctl.bundle import load_bundle
from fraudctl.monitor.outcome import ParityFeature, ParityResult


@pytest.fixture(scope="module")
def watched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with decisions on the events after as_of, as the model takes them."""
    folder = tmp_path_factory.mktemp("watched") / "project"
    shutil.copytree(trained, folder)
    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id").sort("created_at")
    as_of = load_bundle(next((folder / "models").glob("2*"))).as_of
    events.filter(pl.col("created_at") < as_of).write_parquet(folder / "before.parquet")
    events.filter(pl.col("created_at") >= as_of).write_parquet(folder / "after.parquet")
    done = run_in(
        folder, "score", "after.parquet", "--history", "before.parquet", "-o", "decisions.parquet", "--with-features"
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def planted(watched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a feature that is null in every third decision of the last ten days, and another policy on the last
    day."""
    folder = tmp_path_factory.mktemp("planted") / "project"
    shutil.copytree(watched, folder)
    decisions = pl.read_parquet(folder / "decisions.parquet")
    times = pl.read_parquet(folder / "after.parquet").select(
        pl.col("transaction_id").alias("event_id"), at=pl.col("created_at")
    )
    late = decisions.join(times, on="event_id", how="left", maintain_order="left")
    start = late["at"].max() - timedelta(days=10)
    dead = (pl.col("at") >= start) & (pl.int_range(pl.len()) % 3 == 0)
    late = late.with_columns(pl.when(dead).then(None).otherwise("card_count_1d").alias("card_count_1d"))
    last = pl.col("at") >= late["at"].max() - timedelta(days=1)
    late = late.with_columns(pl.when(last).then(pl.lit("00000000")).otherwise("policy").alias("policy"))
    late.drop("at").write_parquet(folder / "decisions.parquet")
    return folder


def watch(folder: Path, *args: str) -> Outcome:
    return run_in(folder, "monitor", "decisions.parquet", *args)


def test_unchanged_days_are_quiet_and_logged_answers_are_those_of_a_recomputation(watched: Path) -> None:
    done = watch(watched, "--json", "--parity", "200")
    assert done.code == 0, done.out
    found = done.json
    assert {item["tier"] for item in found["alarms"]} <= {"drift"}  # the sample has attacks that training had not
    assert found["parity"]["differing"] == 0
    assert found["parity"]["with_values"]
    assert found["parity"]["features"] == []
    schema = run_in(watched, "schema", "--of", "monitor")
    jsonschema.validate(found, json.loads(schema.out))
    before = run_alone(watched, "monitor", "decisions.parquet", "--json", "--parity", "200")
    assert before.out == done.out
    lines = (watched / "monitor" / "runs.jsonl").read_bytes().splitlines()
    bodies = [re.sub(rb', "chain": "[0-9a-f]{64}"', b"", line) for line in lines]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


def test_a_dead_feature_is_one_alarm_with_its_first_day_and_can_be_noted(planted: Path, watched: Path) -> None:
    done = watch(planted, "--json", "--parity", "100000", "--prometheus", "out.prom")
    assert done.code == 1
    alarms = {item["tier"]: item for item in done.json["alarms"] if item["kind"] == "shift"}
    shift = alarms["data"]
    assert (shift["moved"][0]["column"], shift["moved"][0]["figure"]) == ("card_count_1d", "null share")
    low, high = (shift["moved"][0][key] for key in ("first_day_low", "first_day_high"))
    last = pl.read_parquet(planted / "after.parquet")["created_at"].max()
    assert low <= (last - timedelta(days=9)).date().isoformat()
    assert high >= (last - timedelta(days=11)).date().isoformat()
    assert shift["moved"][0]["now"] == pytest.approx(1 / 3, abs=0.1)
    causes = shift["causes"]
    assert causes
    assert sum(item["change"] for item in causes) == pytest.approx(
        sum(item["now"] for item in causes) - sum(item["before"] for item in causes), abs=1e-4
    )
    parity = done.json["parity"]
    assert [item["feature"] for item in parity["features"]] == ["card_count_1d"]
    taken, again = (pl.read_parquet(folder / "decisions.parquet").to_dicts() for folder in (planted, watched))
    recount_parity(
        ParityResult(**{**parity, "features": tuple(ParityFeature(**item) for item in parity["features"])}),
        Watched(now=taken, again={row["event_id"]: row for row in again}),
    )
    assert any("taken by another policy" in note for note in done.json["notes"])
    metrics = (planted / "out.prom").read_text()
    assert 'fraudctl_monitor_alarms{tier="data"}' in metrics
    assert all(re.fullmatch(r"(#.*|[a-z_]+(\{.*\})? \S+)", line) for line in metrics.splitlines())
    noted = run_in(planted, "monitor", "ack", shift["id"], "--note", "feed of counts was down")
    assert noted.code == 0, noted.err
    again = watch(planted, "--json")
    assert again.code == 0, again.out
    assert "data" not in {item["tier"] for item in again.json["alarms"] if item["kind"] == "shift"}
    assert any("feed of counts was down" in item for item in again.json["notes"])


def test_an_incident_in_the_reference_is_refused(watched: Path) -> None:
    bundle = load_bundle(next((watched / "models").glob("2*")))
    text = (watched / "fraudctl.toml").read_text()
    day = (bundle.as_of - timedelta(days=10)).date()
    try:
        (watched / "fraudctl.toml").write_text(f'{text}\n[[monitor.incidents]]\nname = "attack"\nstart = {day}\n')
        done = watch(watched)
    finally:
        (watched / "fraudctl.toml").write_text(text)
    assert done.code == 2
    assert "lies in the reference" in done.err


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("monitor", "decisions.parquet", "--parity", "0"), 2, "at least 1"),
        (("monitor", "nothing.parquet"), 3, "nothing.parquet"),
        (("monitor", "decisions.parquet", "--as-of", "2001-01-01"), 3, "no decision"),
        (("monitor", "ack", "00000000", "--note", "x"), 2, "no run"),
        (("monitor", "ack", "00000000"), 2, "--note"),
        (("monitor", "decisions.parquet", "--note", "x"), 2, "ack"),
        (("monitor", "decisions.parquet", "--json", "--format", "junit"), 2, "contradict"),
    ],
)
def test_mistakes_are_refused(watched: Path, args: tuple[str, ...], code: int, told: str) -> None:
    done = run_in(watched, *args)
    assert done.code == code
    assert told in done.err


def test_a_changed_log_of_runs_is_found(planted: Path) -> None:
    log = planted / "monitor" / "runs.jsonl"
    kept = log.read_bytes()
    try:
        log.write_bytes(kept.replace(b'"verdict": "act"', b'"verdict": "quiet"', 1))
        done = watch(planted)
    finally:
        log.write_bytes(kept)
    assert done.code == 4
    assert re.search(r"runs.jsonl, line \d+: (was changed|does not follow)", done.err)
