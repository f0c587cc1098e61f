"""Which evidence promotes a model: its own test period, judged by the rules that were there before it."""

from __future__ import annotations

import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in

from fraudctl.bundle import load_bundle


def version(project: Path) -> str:
    (found,) = (path.name for path in (project / "models").iterdir() if path.is_dir())
    return found


def entries(project: Path) -> list[dict[str, Any]]:
    lines = (project / "models" / "registry.jsonl").read_bytes().split(b"\n")
    return [json.loads(line) for line in lines if line]


def test_a_gate_chosen_by_hand_promotes_only_by_force_and_the_log_says_so(passing: Path) -> None:
    project = passing
    own = run_in(project, "evaluate", "--quiet")
    if own.code != 0:
        pytest.fail(own.out + own.err)
    (train, gate) = entries(project)
    evidence = gate["evidence"]
    assert (train["event"], gate["verdict"], evidence["not_own"]) == ("train", "pass", [])
    assert evidence["frauds"] >= 20
    assert 0 < evidence["savings"]["value"] <= 1  # `monitor` holds later savings against these
    assert evidence["savings"]["se"] > 0
    assert evidence["savings"]["base"] in ("review", "block", "allow")
    assert [rule["name"] for rule in evidence["rules"] if rule["bound"]] == ["recall.at_least", "savings.at_least"]
    assert (evidence["gate"]["min_frauds"], evidence["pooled"], len(evidence["report"])) == (20, 1, 64)
    scores = pl.read_parquet(project / "transactions.parquet").select(
        event_id="transaction_id", y_prob=0.5 * pl.col("is_fraud").fill_null(0)
    )
    scores.unique("event_id").write_parquet(project / "scores.parquet")
    by_hand = [("--from", "2025-12-15"), ("--scores", "scores.parquet")]
    for options in by_hand:
        done = run_in(project, "evaluate", "--quiet", *options)
        assert "no ground for a promotion" in done.err
        assert entries(project)[-1]["evidence"]["not_own"]
    text = (project / "fraudctl.toml").read_text()
    (project / "fraudctl.toml").write_text(text.replace("min_frauds = 20", "min_frauds = 5"))
    refused = run_in(project, "models", "promote", "latest")
    assert refused.code == 2
    assert "[gate] of the project file changed after the gate" in refused.err
    assert run_in(project, "evaluate", "--quiet").code in {0, 1, 5}
    assert "min_frauds 20 -> 5" in entries(project)[-1]["evidence"]["not_own"][0]
    forced = run_in(project, "models", "promote", "latest", "--force", "line\u2028separator")
    assert forced.code == 0
    last = entries(project)[-1]
    assert (last["event"], last["forced"], last["reason"]) == ("promote", True, "line\u2028separator")
    assert "changed after the gate" in last["evidence"]["objections"][0]
    assert run_in(project, "models", "list").code == 0
    (project / "fraudctl.toml").write_text(text)


def test_a_changed_line_of_the_registry_ends_every_command_that_reads_it(passing: Path) -> None:
    log = passing / "models" / "registry.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"by": "', b'"by": "another ', 1))
    for command in (("models", "list"), ("evaluate", "--quiet"), ("models", "promote", "latest", "--force", "x")):
        done = run_in(passing, *command)
        assert done.code == 4
        assert "registry.jsonl, line 1" in done.err
    named = run_in(passing, "models", "show", version(passing))
    assert named.code == 4


def test_a_gate_does_not_count_where_events_of_the_test_period_are_gone(project: Path) -> None:
    data = project / "transactions.parquet"
    frame = pl.read_parquet(data)
    bundle = load_bundle(project / "models" / version(project))
    start, until = bundle.as_of, datetime.fromisoformat(bundle.facts["test_until"])
    of_test = frame.filter(pl.col("created_at").is_between(start, until, closed="left"))["transaction_id"].unique()
    removed = of_test.sort().head(50)
    frame.filter(~pl.col("transaction_id").is_in(removed.implode())).write_parquet(data)
    assert "no ground for a promotion" in run_in(project, "evaluate", "--quiet").err
    said = f"50 of the {len(of_test):,} events that the test period had in training are gone"
    assert said in entries(project)[-1]["evidence"]["not_own"]
    refused = run_in(project, "models", "promote", "latest")
    assert refused.code == 2
    assert said in refused.err
    assert run_in(project, "models", "promote", "latest", "--force", "rows were test payments").code == 0
    assert any(said in text for text in entries(project)[-1]["evidence"]["objections"])


def test_one_model_under_two_names_is_called_one(project: Path) -> None:
    name = version(project)
    shutil.copytree(project / "models" / name, project / "copy")
    for command in (("compare", name, "copy"), ("models", "diff", name, "copy")):
        done = run_in(project, *command)
        assert done.code == 0
        assert f"A and B are one model: {name} and copy both mean {name}" in done.err.replace("\n", " ")


def test_the_next_step_finds_the_project_from_where_the_command_ran(trained: Path, tmp_path: Path) -> None:
    log = (trained / "train.log").read_text()
    assert re.search(rf"next: fraudctl evaluate --project \S+ --model {version(trained)}", log)
    made = run_in(tmp_path, "sample", "my folder", "--events", "1000", "--days", "60")
    assert "next: fraudctl train --project 'my folder'" in made.err
    proposed = run_in(
        tmp_path, "init", "my folder/transactions.parquet", "--project", "my folder", "--label-delay", "7d", "--force",
        "--event-time", "created_at", "--label", "is_fraud", "--label-time", "label_available_at",
    )  # fmt: skip
    assert proposed.code == 0, proposed.err
    said = "`fraudctl check --project 'my folder'` and `fraudctl train --project 'my folder'`"
    assert said in proposed.err
