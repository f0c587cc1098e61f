"""Training as a user runs it: data that are hard to learn from, kills, cores, and the summary."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import Outcome, run_in
from threadpoolctl import threadpool_limits

TOML = """
[project]
name = "small"
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "3d"
[entities]
card = "card"
[features]
raw = ["amount", "ratio", "flat", "empty"]
[[features.window]]
by = "card"
windows = ["1d", "7d"]
aggregates = ["count", "mean(amount)"]
[split]
as_of = 2026-02-18
test = "7d"
folds = 2
[train]
trials = {trials}
iterations = 60
threads = 2
"""


def events(n: int = 4000, *, base: float = -4.5) -> pl.DataFrame:
    """Give eight weeks of events whose fraud shows in ``ratio``; ``flat`` is constant and ``empty`` null."""
    rng = np.random.default_rng(0)
    ratio = rng.lognormal(0, 1, n)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, 56 * 86_400, n))]
    return pl.DataFrame({
        "id": np.arange(n), "at": times, "amount": rng.lognormal(3, 1, n).round(2), "card": rng.integers(0, 200, n),
        "ratio": ratio, "flat": 1.0, "empty": pl.Series([None] * n, dtype=pl.Float64),
        "fraud": (rng.random(n) < 1 / (1 + np.exp(-base - ratio))).astype(np.int8),
    })  # fmt: skip


def project_of(folder: Path, frame: pl.DataFrame, *, trials: int = 0) -> Path:
    """Write a project into a new folder."""
    folder.mkdir()
    frame.write_parquet(folder / "events.parquet")
    (folder / "fraudctl.toml").write_text(TOML.format(trials=trials), encoding="utf-8")
    return folder


def train(folder: Path, *args: str) -> Outcome:
    return run_in(folder, "train", "--json", *args)


def bundle(folder: Path) -> dict[str, bytes]:
    """Give the bytes of the only bundle."""
    (only,) = (path for path in (folder / "models").iterdir() if path.is_dir())
    return {f"{only.name}/{file.name}": file.read_bytes() for file in only.iterdir()}


def test_one_class_is_an_error_with_its_counts(tmp_path: Path) -> None:
    for label in (0, 1):
        done = train(project_of(tmp_path / f"only{label}", events().with_columns(fraud=pl.lit(label, pl.Int8))))
        assert done.code == 3
        assert "frauds and" in done.err
        assert "both are needed" in done.err
        assert not (tmp_path / f"only{label}" / "models").exists()


@pytest.mark.parametrize(
    ("policy", "said", "code"),
    [
        ('[policy]\nkind = "thresholds"\nsegments = "amount * 2"\n', "policy.segments", 2),
        ('[[rules]]\nname = "r"\nwhen = "amount + 1"\naction = "block"\n', "rule 'r' gives Float64", 3),
    ],
)
def test_a_rule_or_segment_of_the_wrong_type_is_refused_before_anything_is_trained(
    tmp_path: Path, policy: str, said: str, code: int
) -> None:
    folder = project_of(tmp_path / "p", events(400))
    (folder / "fraudctl.toml").write_text(TOML.format(trials=0) + policy, encoding="utf-8")
    found = run_in(folder, "train")
    assert found.code == code
    assert said in found.err
    assert "Preparing folds" not in found.err


def test_few_frauds_an_almost_unique_entity_and_useless_features_are_warned_about_and_give_a_model(
    tmp_path: Path,
) -> None:
    frame = events(base=-12).with_columns(card=pl.col("id"))
    done = train(project_of(tmp_path / "few", frame))
    assert done.code == 0, done.err
    summary = done.json["summary"]
    assert 0 < summary["train"]["frauds"] < 30
    told = " ".join(summary["warnings"])
    assert f"only {summary['train']['frauds']} frauds" in told
    assert "constant or null in training, and so without effect: flat, empty" in told
    assert "card_mean_amount_1d" in told  # no card is seen twice, so it has no mean
    assert all(text in done.err for text in ("flat, empty", "frauds"))
    assert bundle(tmp_path / "few")
    checked = run_in(tmp_path / "few", "check", "--json").json
    assert any(item["id"] == "entity-unique" and "card" in item["where"] for item in checked["findings"])


def test_a_fold_without_fraud_calibrates_and_does_not_rank(tmp_path: Path) -> None:
    calm = pl.col("at").is_between(datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 15, tzinfo=UTC))
    frame = events().with_columns(fraud=pl.when(calm).then(0).otherwise("fraud").cast(pl.Int8))
    done = train(project_of(tmp_path / "calm", frame, trials=2))
    assert done.code == 0, done.err
    assert "has no fraud to validate on" in done.err
    first, last = done.json["summary"]["folds"]
    assert first["average_precision"] > 0.1
    assert last["average_precision"] is None
    assert done.json["summary"]["tuning"]["gain_judged"] == "on the fold it was chosen by"


def test_the_summary_has_folds_trials_timings_and_peak_memory(tmp_path: Path) -> None:
    done = train(project_of(tmp_path / "told", events(), trials=2))
    assert done.code == 0, done.err
    found = done.json
    assert [fold["fold"] for fold in found["summary"]["folds"]] == [1, 2]
    assert found["summary"]["tuning"]["trials"] == 2
    assert set(found["timings"]) - {"partner"} == {"features", "audit", "training", "policy"}
    assert ("partner" in found["timings"]) == (found["summary"]["partner"]["gain"] is not None)
    assert all(seconds >= 0 for seconds in found["timings"].values())
    assert found["peak_memory_mb"] > 50
    assert set(found["summary"]["baselines"]) == {"amount alone", "logistic regression"}
    quick = train(tmp_path / "told", "--fast")
    assert quick.code == 0
    assert quick.json["summary"]["tuning"]["trials"] == 0


ONE_CORE = """
import os, runpy, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.argv = ["fraudctl", "train", "--quiet"]
runpy.run_module("fraudctl", run_name="__main__")
"""
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@pytest.mark.parametrize("models", [1, 3])
def test_one_core_and_one_thread_give_the_same_bytes_as_all_of_them(tmp_path: Path, models: int) -> None:
    wide, narrow = (project_of(tmp_path / name, events(), trials=2) for name in ("wide", "narrow"))
    for folder in (wide, narrow):
        with (folder / "fraudctl.toml").open("a", encoding="utf-8") as file:
            file.write(f"models = {models}\n")
    with threadpool_limits(2, user_api="blas"):
        assert run_in(wide, "train", "--quiet").code == 0
    command = [sys.executable, "-c", ONE_CORE]
    subprocess.run(command, cwd=narrow, env={**os.environ, **ONE_THREAD}, check=True)
    assert bundle(narrow) == bundle(wide)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_training_resumes_to_the_bundle_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = (project_of(tmp_path / name, events(), trials=12) for name in ("whole", "killed"))
    assert run_in(whole, "train", "--quiet").code == 0
    child = subprocess.Popen([sys.executable, "-m", "fraudctl", "train", "--quiet"], cwd=killed)
    journal = killed / ".fraudctl" / "tuning.journal"
    while child.poll() is None and finished(journal) < 3:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    before = finished(journal)
    assert before >= 3
    assert not (killed / "models").exists()
    resumed = train(killed)
    assert resumed.code == 0
    assert resumed.json["summary"]["tuning"]["trials"] == 12
    assert finished(journal) == 12
    assert bundle(killed) == bundle(whole)
    assert resumed.json["summary"]["tuning"]["shared_study"] is False


def finished(journal: Path) -> int:
    """Count the trials of a journal that were completed (1) or pruned (2)."""
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    return sum(b'"state":1' in line or b'"state":2' in line for line in lines)


def test_two_processes_share_a_study_and_the_manifest_says_so(tmp_path: Path) -> None:
    folder = project_of(tmp_path / "shared", events(), trials=60)
    command = [sys.executable, "-m", "fraudctl", "train", "--quiet"]
    pair = [subprocess.Popen(command, cwd=folder) for _ in range(2)]
    assert [child.wait() for child in pair] == [0, 0]
    trials = []
    for path in (item for item in (folder / "models").iterdir() if item.is_dir()):
        tuning = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["facts"]["training"]["tuning"]
        trials.append(tuning["trials"])
        assert tuning["shared_study"] is True
    assert set(trials) <= {60, 61}


def test_averaged_models_are_told_in_a_line_and_score_as_one(tmp_path: Path) -> None:
    folder = project_of(tmp_path / "many", events())
    with (folder / "fraudctl.toml").open("a", encoding="utf-8") as file:
        file.write("models = 2\n")
    done = run_in(folder, "train")
    assert done.code == 0, done.err
    assert "2 models of " in done.out
    scored = run_in(folder, "score", "--model", "latest", "events.parquet", "-o", "scored.parquet")
    assert scored.code == 0, scored.err
    assert pl.read_parquet(folder / "scored.parquet")["probability"].is_between(0, 1).all()


def test_a_threshold_chosen_anew_reads_what_the_bundle_holds_and_says_what_it_may_read(tmp_path: Path) -> None:
    folder = project_of(tmp_path / "p", events())
    assert run_in(folder, "train").code == 0
    for when, hint in (("ratio > 3", "for more, `fraudctl train`"), ("label = 1", "for more, `fraudctl train`")):
        text = TOML.format(trials=0) + f'[[rules]]\nname = "r"\nwhen = "{when}"\naction = "block"\n'
        (folder / "fraudctl.toml").write_text(text, encoding="utf-8")
        found = run_in(folder, "threshold")
        assert found.code == 2
        assert hint in found.err
        assert "y_prob" not in found.err
