"""What a decision depends on is one list: an id that comes again with another value in any of it is refused, always."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in

TOML = """
[project]
name = "depends"
[data]
events = "transactions.parquet"
event_id = "transaction_id"
event_time = "created_at"
amount = "amount"
label = "is_fraud"
label_time = "label_available_at"
label_delay = "14d"
ignore = ["status"]
[entities]
merchant = "merchant_id"
[features]
raw = ["channel", "category"]
categorical = ["channel", "category"]
[[features.window]]
by = "merchant"
windows = ["1d"]
aggregates = ["count"]
[split]
as_of = "2025-12-09"
test = "20d"
folds = 2
[train]
trials = 0
iterations = 25
[costs.actions]
allow.fraud = { column = "fee", rate = 0.1 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 4 }
block.legit = { fixed = 60 }
[policy]
capacity = { review = "5 per day" }
[[rules]]
name = "vip"
when = "vip"
action = "block"
"""


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained project with a cost column, a rule and a capacity whose columns are no features."""
    folder = tmp_path_factory.mktemp("ruled")
    assert run_in(folder, "sample", ".", "--events", "20000", "--quiet").code == 0
    events = pl.read_parquet(folder / "transactions.parquet").unique(maintain_order=True)
    fee = pl.col("amount").fill_null(0).abs() + 15
    more = events.with_columns(fee=fee, vip=pl.col("channel") == "pos", note=pl.lit("x"))
    more.write_parquet(folder / "transactions.parquet")
    (folder / "fraudctl.toml").write_text(TOML)
    done = run_in(folder, "train", "--quiet")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def event(ruled: Path) -> dict[str, Any]:
    last = pl.read_parquet(ruled / "transactions.parquet").sort("created_at").tail(1)
    row = last.drop("is_fraud", "label_available_at", "status").write_ndjson()
    found: dict[str, Any] = {**json.loads(row), "vip": False}
    return found


def score(folder: Path, events: list[dict[str, Any]], *args: str) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(item) + "\n" for item in events).encode()
    done = run_in(folder, "score", "-", "--quiet", *args, sent=lines)
    return [json.loads(line) for line in done.out.splitlines()]


CHANGED: dict[str, Any] = {
    "channel": "other", "category": "other", "amount": 1.25, "fee": 99.0, "vip": True, "merchant_id": "M0",
    "created_at": "2026-02-01T00:00:00Z",
}  # fmt: skip


def test_another_value_in_any_column_behind_features_costs_or_rules_is_refused(
    ruled: Path, event: dict[str, Any]
) -> None:
    first, *rest = score(ruled, [event, *({**event, name: value} for name, value in CHANGED.items())])
    for name, answer in zip(CHANGED, rest, strict=True):
        assert "decided before" in answer["error"], name
        assert repr(name) in answer["error"]
    unread, alike = score(ruled, [event, {**event, "note": "y"}, {**event, "fee": event["fee"] + 0.0}])[1:]
    assert unread == alike == first, "what nothing reads has no part in it"


def test_after_a_change_of_model_and_a_restart_the_same_event_has_its_answer_and_another_is_refused(
    ruled: Path, event: dict[str, Any], tmp_path: Path
) -> None:
    state, old = str(tmp_path / "state"), next(path.name for path in (ruled / "models").glob("2*"))
    built = run_in(ruled, "state", "build", state, "--history", "transactions.parquet", "--quiet")
    assert built.code == 0, built.err
    (before,) = score(ruled, [event], "--state", state, "--model", old)
    toml = ruled / "fraudctl.toml"
    text = toml.read_text()
    try:
        toml.write_text(
            text.replace('column = "fee", rate = 0.1', "rate = 2.0").replace('when = "vip"', 'when = "vip and fee > 1"')
        )
        done = run_in(ruled, "threshold", "--model", old, "--json", "--quiet")
        assert done.code == 0, done.err
        new = (
            Path(done.json["bundle"]).name
            if "bundle" in done.json
            else Path(next(iter(sorted(path.name for path in (ruled / "models").glob("2*") if path.name != old)))).name
        )
        assert new != old
        again, *rest = score(
            ruled,
            [event, *({**event, name: value} for name, value in CHANGED.items())],
            "--state",
            state,
            "--model",
            new,
        )
        assert again == before
        assert all("decided before" in item["error"] for item in rest)
    finally:
        toml.write_text(text)


def test_an_answer_is_found_after_it_left_the_memory(
    ruled: Path, event: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    built = run_in(ruled, "state", "build", str(state), "--history", "transactions.parquet", "--quiet")
    assert built.code == 0, built.err
    (before,) = score(ruled, [event], "--state", str(state))
    monkeypatch.setattr("fraudctl.scoring.answers.REMEMBERED", 3)
    monkeypatch.setattr("fraudctl.scoring.engine.ROLL_AFTER", 7)
    many = [{**event, "transaction_id": f"N{i}"} for i in range(40)]
    found = score(ruled, [*many, event, many[2], {**event, "fee": 1.0}], "--state", str(state))
    assert found[40] == before
    assert found[41] == found[2]
    assert "'fee'" in found[42]["error"]
    assert list((state / "answers").glob("*.parquet"))  # the log was rolled six times, and small files are merged


def test_a_rule_is_named_and_the_models_reasons_are_not_given_for_it(ruled: Path, event: dict[str, Any]) -> None:
    by_rule, by_model = score(
        ruled, [{**event, "transaction_id": "R1", "vip": True}, {**event, "transaction_id": "R2"}], "--reasons", "all"
    )
    assert (by_rule["action"], by_rule["reasons"]) == ("block", [])
    assert (by_rule["decided_by"]["kind"], by_rule["decided_by"]["rule"]) == ("rule", "vip")
    assert by_rule["decided_by"]["instead_of"] == by_model["action"]
    assert by_model["decided_by"]["rule"] is None


def test_the_report_and_one_event_follow_what_decided(ruled: Path) -> None:
    events = pl.read_parquet(ruled / "transactions.parquet").sort("created_at")
    predicted = run_in(ruled, "evaluate", "--predictions", "p.parquet", "--json", "--quiet")
    assert predicted.code in {0, 5}, predicted.err
    decided = pl.read_parquet(ruled / "p.parquet").unnest("decided_by")
    explained = run_in(ruled, "explain", "--sample", "1000", "--json", "--quiet")
    assert explained.code == 0, explained.err
    vip = dict(events.select("transaction_id", "vip").iter_rows())
    alarms = [item for item in explained.json["errors"] if item["kind"] == "false_positive"]
    assert any(item["decided_by"]["rule"] == "vip" for item in alarms)
    for item in alarms:
        made_by_rule = item["decided_by"]["kind"] == "rule"
        assert not made_by_rule or (vip[item["event_id"]] and item["reasons"] == [] and item["cluster"] is None)
    totals = explained.json["decided"]
    assert sum(item["n_events"] for item in totals) == explained.json["totals"]["n_events"] == decided.height
    rule = next(item for item in totals if item["rule"] == "vip")
    assert rule["n_events"] == decided.filter(pl.col("kind") == "rule").height
    assert rule["n_false_alarms"] == sum(item["decided_by"]["rule"] == "vip" for item in alarms)
    for kind in ("rule", "capacity", "expected_cost"):
        for row in decided.filter(pl.col("kind") == kind).tail(2).iter_rows(named=True):
            shown = run_in(ruled, "explain", "--event", str(row["event_id"]), "--json", "--quiet")
            assert shown.code == 0, shown.err
            found = shown.json
            assert (found["action"], found["decided_by"]["kind"]) == (row["action"], kind), "as it was decided then"
            assert found["decided_by"]["slot"] == row["slot"]
            assert bool(found["reasons"]) <= (kind == "expected_cost")
            change = found["change"]
            assert change is None or change["needed"] != change["value"]
