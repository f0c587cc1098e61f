"""``retrain`` on the sample: a real training, gate, refit and promotion, and how the command speaks."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import run_in


def test_a_model_that_is_there_is_gated_refitted_promoted_and_everything_can_be_verified(passing: Path) -> None:
    """The fixture trained on these data already; `retrain` finds that model, and fits only its refit."""
    planned = run_in(passing, "retrain", "--dry-run", "--json", "--quiet")
    assert (planned.code, planned.json["outcome"]) == (0, "planned")
    (trained,) = (path.name for path in (passing / "models").iterdir() if path.is_dir())
    done = run_in(passing, "retrain", "--refit", "--promote", "--quiet", "--json")
    document = done.json
    assert (done.code, document["outcome"]) == (0, "promoted"), done.out + done.err
    steps = {item["step"]: item for item in document["steps"]}
    assert list(steps) == ["inputs", "check", "train", "gate", "refit", "promote", "end"]
    assert steps["train"]["version"] == trained
    assert json.loads(next((passing / "runs").glob("0001-*/03-train.json")).read_text())["facts"]["found"]
    assert steps["refit"]["events"] > 500
    agrees = steps["refit"]["alike"] >= 0.99 * steps["refit"]["events"]
    assert (steps["refit"]["version"] is not None) == agrees
    assert document["version"] == (steps["refit"]["version"] if agrees else trained)
    listed = run_in(passing, "models", "list", "--json").json
    assert listed["champion"] == document["version"]
    promoted = listed["log"][-1]["evidence"]
    assert promoted["judged"]["frauds"] == steps["gate"]["frauds"]
    assert promoted["judged"]["report"] == steps["gate"]["report"]
    assert promoted["run"] == document["run"]
    verified = run_in(passing, "models", "verify", "--json", "--quiet").json
    assert verified["sound"]
    assert {"kind": "runs", "name": "runs", "found": "sound", "reason": None} in verified["items"]
    again = run_in(passing, "retrain", "--promote", "--quiet")
    assert again.code == 2  # a champion is there now, and [gate] has no rule on it
    assert "no rule on the champion" in again.err
    not_due = run_in(passing, "retrain", "--if", "age=1d", "--quiet")
    assert (not_due.code, not_due.out.split(":")[0]) == (0, "data until 2026-01-12 23")
    assert "not due" in not_due.out
    receipt = next((passing / "runs").glob("0001-*/04-gate.json"))
    receipt.write_text(receipt.read_text().replace("pass", "fail", 1))
    assert run_in(passing, "models", "verify", "--quiet").code == 4
    assert run_in(passing, "retrain", "--quiet").code == 4


def test_options_that_contradict_each_other_are_refused(project: Path) -> None:
    for options in (
        ("--acknowledge", "x", "--promote"),
        ("--resume", "--refit"),
        ("--if", "sometimes"),
        ("--acknowledge", "x"),
    ):
        done = run_in(project, "retrain", *options)
        assert done.code == 2, options
        assert not (project / "runs").exists() or not list((project / "runs").glob("0*"))


def test_without_a_gate_nothing_is_trained(project: Path) -> None:
    toml = project / "fraudctl.toml"
    toml.write_text(toml.read_text().split("\n[gate]\n")[0])
    done = run_in(project, "retrain")
    assert done.code == 2
    assert "no [gate]" in done.err
