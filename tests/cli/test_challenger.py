"""A challenger from the command line: trained, judged, compared and scored in batch; refused where it cannot serve."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from command_line import Outcome, run_in
from polars.testing import assert_frame_equal

RIVAL = """
import json, sys
from pathlib import Path
import numpy as np
import polars as pl

facts = json.loads(Path(sys.argv[1]).read_text())
names = [item["name"] for item in facts["features"] if item["kind"] == "number"]
card, tables = facts["entities"]["card"], facts["tables"]


def numbers(rows):
    return np.log1p(rows.select(names).cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy().clip(0.0))


if facts["step"] == "fit":
    train = pl.read_parquet(tables["train"])
    x, fraud = numbers(train), train["label"].to_numpy() == 1
    gap = (x[fraud].mean(axis=0) - x[~fraud].mean(axis=0)) / (x.var(axis=0) + 1.0)
    Path(facts["model"], "slopes.json").write_text(json.dumps(gap.tolist()))
else:
    rows, context = pl.read_parquet(tables["rows"]), pl.read_parquet(tables["context"])
    both = pl.concat([rows, context]).sort("event_time", "event_id")
    span = f"{facts['history_seconds']}s"
    past = both.rolling("event_time", period=span, group_by=card, closed="left").agg(n=pl.len())
    past = past.unique([card, "event_time"])
    n = rows.join(past, on=[card, "event_time"], how="left", maintain_order="left", nulls_equal=True)["n"].fill_null(0)
    slopes = np.array(json.loads(Path(facts["model"], "slopes.json").read_text()))
    score = (numbers(rows) * slopes).sum(axis=1) + 0.01 * np.minimum(n.to_numpy(), 5)
    rows.select("event_id", score=pl.Series(score)).write_parquet(facts["output"])
"""
SECTION = """
[challengers.rival]
command = ["python", "rival.py"]
history = "3d"

[challengers.broken]
command = ["python", "broken.py"]
"""


@pytest.fixture(scope="module")
def rivals(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained project with a challenger's bundle beside that of CatBoost."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("rivals") / "project"))
    (folder / "rival.py").write_text(RIVAL)
    (folder / "broken.py").write_text("raise SystemExit('no licence found')")
    with (folder / "fraudctl.toml").open("a") as file:
        file.write(SECTION)
    done = run_in(folder, "train", "--challenger", "rival", "--twice", "--json")
    assert done.code == 0, done.err
    (folder / "summary.json").write_text(done.out)
    return folder


def version(folder: Path) -> str:
    found: str = json.loads((folder / "summary.json").read_text())["version"]
    return found


def older(folder: Path) -> str:
    return next(path.name for path in (folder / "models").glob("2*") if path.name != version(folder))


def run(folder: Path, *args: str) -> Outcome:
    return run_in(folder, *args, "--no-progress")


def test_what_was_trained_is_said_and_kept(rivals: Path) -> None:
    told = json.loads((rivals / "summary.json").read_text())
    digest = hashlib.sha256((rivals / "rival.py").read_bytes()).hexdigest()
    assert told["summary"]["challenger"] == {
        "name": "rival", "program": "python rival.py", "seed": 0, "repeated": True, "settings": {"history": "3d"},
        "files": {"rival.py": digest}, "versions": {},
    }  # fmt: skip
    assert told["summary"]["folds"][0]["best_trees"] == 0
    assert told["summary"]["folds"][0]["average_precision"] > 0.02
    assert "partner" not in told["summary"]
    shown = run(rivals, "models", "show", version(rivals)).json
    assert shown["challenger"] == "rival"
    assert {"challenger.json", "challenger.slopes.json"} < set(shown["files"])


def test_score_answers_as_the_evaluation_does_and_gives_no_reasons(rivals: Path, tmp_path: Path) -> None:
    done = run(
        rivals, "evaluate", "--model", version(rivals), "--predictions", str(tmp_path / "p.parquet"), "--no-gate"
    )
    assert done.code == 0, done.err
    judged = pl.read_parquet(tmp_path / "p.parquet")
    events = pl.read_parquet(rivals / "transactions.parquet")
    start = judged["event_time"].min()
    new = pl.col("created_at").cast(pl.Datetime("us", "UTC")) >= start
    events.filter(new).write_parquet(tmp_path / "new.parquet")
    events.filter(~new).write_parquet(tmp_path / "old.parquet")
    given = (
        "score",
        str(tmp_path / "new.parquet"),
        "--history",
        str(tmp_path / "old.parquet"),
        "--model",
        version(rivals),
    )
    done = run(rivals, *given, "-o", str(tmp_path / "s.parquet"))
    assert done.code == 0, done.err
    scored = pl.read_parquet(tmp_path / "s.parquet")
    both = judged.join(scored, on="event_id", how="inner", suffix="_scored")
    assert both.height == judged.height
    assert_frame_equal(both.select("y_prob"), both.select(y_prob="probability"), rel_tol=1e-9)
    assert both["action"].equals(both["action_scored"])
    assert scored["reasons"].list.len().max() == 0
    assert scored["model"].unique().to_list() == [version(rivals)]
    watched = run(
        rivals, "monitor", str(tmp_path / "s.parquet"), "--model", version(rivals), "--parity", "20", "--json"
    )
    assert watched.code in (0, 1, 5), watched.err
    assert (watched.json["parity"]["sampled"], watched.json["parity"]["differing"]) == (20, 0)


def test_it_is_compared_listed_and_verified(rivals: Path) -> None:
    compared = run(rivals, "compare", older(rivals), version(rivals), "--json")
    assert compared.code == 0, compared.err
    assert compared.json["differences"]["average_precision"]["value"] is not None
    listed = run(rivals, "models", "list")
    assert version(rivals) in listed.out
    assert run(rivals, "models", "verify").code == 0
    card = run(rivals, "models", "card", version(rivals))
    assert card.code == 0, card.err
    text = (rivals / "reports" / f"card-{version(rivals)}.md").read_text()
    assert "the challenger rival, python rival.py" in text
    assert "CatBoost:" not in text
    assert f"rival.py {hashlib.sha256((rivals / 'rival.py').read_bytes()).hexdigest()}" in text
    assert "a second fit of the latest fold, with the same seed, gave the same scores" in text
    assert "history 3d" in text
    changed = run(rivals, "models", "diff", older(rivals), version(rivals)).json
    assert changed["same_model"] is False


def test_its_shadow_is_in_batch(rivals: Path, tmp_path: Path) -> None:
    events = pl.read_parquet(rivals / "transactions.parquet").sort("created_at")
    day = pl.col("created_at").dt.date().is_between(date(2025, 12, 9), date(2025, 12, 14))
    events.filter(day).write_parquet(tmp_path / "day.parquet")
    events.filter(pl.col("created_at").dt.date() < date(2025, 12, 9)).tail(4000).write_parquet(tmp_path / "old.parquet")
    (tmp_path / "decisions").mkdir()
    for name in (older(rivals), version(rivals)):
        given = ("score", str(tmp_path / "day.parquet"), "--history", str(tmp_path / "old.parquet"), "--model", name)
        assert run(rivals, *given, "-o", str(tmp_path / "decisions" / f"{name}.parquet")).code == 0
    decisions = str(tmp_path / "decisions" / "*.parquet")
    done = run(rivals, "compare", older(rivals), version(rivals), "--decisions", decisions, "--json")
    assert done.code == 0, done.err
    assert 0 < done.json["rows"] <= events.filter(day).height
    assert done.json["differences"]["cost"]["value"] is not None


def test_a_promotion_says_that_it_decides_in_batch_alone(rivals: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rivals, tmp_path / "p"))
    done = run(folder, "models", "promote", version(folder), "--force", "it decides nightly")
    assert done.code == 0, done.err
    assert "is of a challenger: it decides in batch, and `serve` and `state` refuse it" in done.err
    done = run_in(folder, "serve", "--model", "champion", "--state", "s", "--new", "--no-progress")
    assert (done.code, "whose own program scores" in done.err) == (4, True)


def test_another_policy_keeps_its_program(rivals: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rivals, tmp_path / "p"))
    done = run(folder, "threshold", "--model", version(folder), "--json")
    assert done.code == 0, done.err
    evaluated = run(folder, "evaluate", "--model", done.json["version"], "--no-gate", "--json")
    assert evaluated.code == 0, evaluated.err


@pytest.mark.parametrize(
    "args",
    [
        ["explain", "--model", "VERSION"],
        ["explain", "--model", "VERSION", "--event", "1"],
        ["state", "build", "s", "--model", "VERSION", "--history", "transactions.parquet"],
        ["score", "-", "--model", "VERSION"],
        ["serve", "--model", "VERSION", "--state", "s", "--new"],
    ],
)
def test_what_needs_trees_refuses_it_by_name(rivals: Path, args: list[str]) -> None:
    given = [version(rivals) if item == "VERSION" else item for item in args]
    done = run_in(rivals, *given, "--no-progress", sent=b"")
    assert (done.code, "is of the challenger rival, whose own program scores" in done.err) == (4, True), done.err


def test_a_program_that_was_changed_does_not_score(rivals: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rivals, tmp_path / "p"))
    (folder / "rival.py").write_text(RIVAL + "\n# another one\n")
    done = run(folder, "evaluate", "--model", version(folder), "--no-gate")
    assert done.code == 4
    assert "is not the one that was fitted: rival.py differs" in done.err
    assert "hint: restore it, or `fraudctl train --challenger rival` again" in done.err
    assert run(folder, "models", "verify").code == 0


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--challenger", "nobody"], 2, "there is: broken, rival"),
        (["--challenger", "rival", "--trials", "3"], 2, "a challenger is not searched"),
        (["--twice"], 2, "--twice is for a challenger"),
        (["--challenger", "broken"], 3, "challenger broken, fold 1, fit: the program ended with exit code 1"),
    ],
)
def test_what_cannot_be_trained_is_refused(rivals: Path, args: list[str], code: int, said: str) -> None:
    before = sorted((rivals / "models").iterdir())
    done = run(rivals, "train", *args)
    assert (done.code, said in done.err) == (code, True), done.err
    assert sorted((rivals / "models").iterdir()) == before
    assert "no licence found" in done.err or "broken" not in args
