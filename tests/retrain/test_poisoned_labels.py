"""A poisoned label feed promotes nothing: the data alarm stops what changes the feed, the gate what does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from command_line import run_in
from worlds import built_once, rewrite, succeed

from fraudctl.bundle import load_bundle
from fraudctl.workflows.demo import LABEL_TABLES
from fraudctl.workflows.sample import write_sample

AS_OF, THEN = datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 4, 7, tzinfo=UTC)
"""What the champion knew, and when the data ended that it was gated on."""
TIMES = {"transactions": "created_at", "logins": "at", "chargebacks": "reported_at", "disputes": "decided_at"}


def build(folder: Path) -> None:
    """Make the sample and weeks after it, with a champion that was trained and promoted when half of them were over."""
    write_sample(folder, n_events=20_000, label_tables=LABEL_TABLES, after_days=112, changes=("none",))
    rewrite(
        folder, ("trials = 30", 'trials = 0\niterations = 40\npartner = "none"'), ("folds = 3", "folds = 2"),
        ("min_frauds = 300", "min_frauds = 15"), ("[evaluate]", "[evaluate]\nreplicates = 100"),
        ("savings = { at_least = 0.30 }\nrecall = { at_least = 0.30 }\nfalse_positive_rate = { at_most = 0.10 }",
         'recall = { at_least = 0.20 }\nchampion = { metric = "savings", no_worse_than = 0.5 }'),
    )  # fmt: skip
    kept = {name: pl.read_parquet(folder / f"{name}_after.parquet") for name in TIMES}
    for name, time in TIMES.items():
        kept[name].filter(pl.col(time) < THEN).write_parquet(folder / f"{name}_after.parquet")
    succeed(folder, "train", "--as-of", f"{AS_OF:%Y-%m-%d}", "--no-progress")
    succeed(folder, "models", "promote", "latest", "--force", "the first champion")
    for name, frame in kept.items():
        frame.write_parquet(folder / f"{name}_after.parquet")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with built_once(tmp_path_factory, "poisoned", build) as folder:
        yield folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "project"))


def events(folder: Path) -> pl.DataFrame:
    frame = pl.concat([pl.read_parquet(folder / f"transactions{part}.parquet") for part in ("", "_after")])
    return frame.unique("transaction_id").filter(pl.col("status") != "declined").sort("created_at", "transaction_id")


def frauds(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(folder / f"chargebacks{part}.parquet") for part in ("", "_after")])


def write(folder: Path, found: pl.DataFrame) -> None:
    """Make these the only chargebacks."""
    found.select("transaction_id", "reported_at").write_parquet(folder / "chargebacks.parquet")
    found.head(0).select("transaction_id", "reported_at").write_parquet(folder / "chargebacks_after.parquet")


def reported(frame: pl.DataFrame, *, days: int) -> pl.DataFrame:
    return frame.select(
        "transaction_id", reported_at=pl.col("created_at").dt.cast_time_unit("us") + pl.duration(days=days)
    )


def flipped(folder: Path) -> None:
    """A fifth of the latest six weeks' outcomes is flipped: ordinary payments are reported."""
    end = events(folder)["created_at"].max()
    late = events(folder).filter(pl.col("created_at") >= end - pl.duration(weeks=6))
    write(folder, pl.concat([frauds(folder), reported(late[::5], days=5)]).unique("transaction_id"))


def silenced(folder: Path) -> None:
    """Chargebacks are gone, those that training knew too: every fraud is legitimate after the label delay."""
    write(folder, frauds(folder).head(0))
    for part in ("", "_after"):
        place = folder / f"disputes{part}.parquet"
        pl.read_parquet(place).head(0).write_parquet(place)


def taken_back(folder: Path) -> None:
    """Every fraud was won in a dispute, after training and its report: nothing is gone from any table."""
    found = frauds(folder).select(
        "transaction_id",
        decided_at=pl.max_horizontal("reported_at", pl.lit(AS_OF)) + pl.duration(days=1),
        outcome=pl.lit("won"),
    )
    place = folder / "disputes_after.parquet"
    there = pl.read_parquet(place)
    pl.concat([there, found.cast(dict(there.schema))]).write_parquet(place)


def dated_back(folder: Path) -> None:
    """Payments of the time that training was validated on are reported, as if that had been known then."""
    inside = events(folder).filter(
        pl.col("created_at").is_between(AS_OF - timedelta(weeks=8), AS_OF - timedelta(weeks=3))
    )
    write(folder, pl.concat([frauds(folder), reported(inside[::10], days=2)]).unique("transaction_id"))


def shuffled(folder: Path) -> None:
    """As many payments as ever are reported, when they would be, and they are the wrong ones, since training."""
    cases = frauds(folder)
    true = events(folder).join(cases, on="transaction_id").filter(pl.col("created_at") >= AS_OF)
    others = events(folder).filter(pl.col("created_at") >= AS_OF).join(cases, on="transaction_id", how="anti")
    wrong = others.sample(true.height, seed=1)
    kept = cases.join(true, on="transaction_id", how="anti")
    write(folder, pl.concat([kept, reported(wrong, days=5)]))


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        (flipped, "the label feed reported"),
        (silenced, "the label feed rewrote"),
        (taken_back, "the label feed took back"),
        (dated_back, "the label feed rewrote"),
    ],
)
def test_a_poison_that_changes_the_feed_is_a_data_alarm_before_anything_is_trained(
    project: Path, poison: Callable[[Path], None], said: str
) -> None:
    before, registry = bundles(project), (project / "models" / "registry.jsonl").read_bytes()
    poison(project)
    done = run_in(project, "retrain", "--promote", "--json", "--quiet")
    assert (done.code, done.json["outcome"]) == (1, "data alarm"), done.out + done.err
    assert said in done.json["sentence"]
    assert bundles(project) == before
    assert (project / "models" / "registry.jsonl").read_bytes() == registry


def test_a_poison_that_leaves_the_feed_as_it_was_fails_the_gate(project: Path) -> None:
    champion = run_in(project, "models", "list", "--json").json["champion"]
    shuffled(project)
    done = run_in(project, "retrain", "--promote", "--json", "--quiet")
    assert (done.code, done.json["outcome"]) == (1, "gate failed"), done.out + done.err
    assert [item["step"] for item in done.json["steps"]] == ["inputs", "check", "train", "gate", "end"]
    assert run_in(project, "models", "list", "--json").json["champion"] == champion


def test_the_same_feed_without_poison_is_promoted(project: Path) -> None:
    done = run_in(project, "retrain", "--promote", "--json", "--quiet")
    assert (done.code, done.json["outcome"]) == (0, "promoted"), done.out + done.err


def test_monitor_shows_the_alarm_and_a_note_on_it_lets_retraining_go_on(project: Path) -> None:
    flipped(project)
    champion = load_bundle(next((project / "models").glob("2*")))
    rows = pl.concat([pl.read_parquet(project / f"transactions{part}.parquet") for part in ("", "_after")])
    since = pl.col("created_at") >= champion.as_of
    rows.filter(~since).write_parquet(project / "past.parquet")
    rows.filter(since).write_parquet(project / "since.parquet")
    succeed(project, "score", "since.parquet", "--history", "past.parquet", "-o", "decisions.parquet")
    done = run_in(project, "monitor", "decisions.parquet", "--json")
    (alarm,) = [item for item in done.json["alarms"] if item["kind"] == "labels"]
    assert (done.code, alarm["tier"]) == (1, "data")
    assert "the label feed reported" in alarm["what"]
    for item in done.json["alarms"]:
        succeed(project, "monitor", "ack", item["id"], "--note", "a wave of fraud, and all of it true")
    planned = run_in(project, "retrain", "--promote", "--dry-run", "--json", "--quiet").json
    assert planned["sentence"].startswith("would check, train, gate, promote")


def bundles(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "models").iterdir() if path.is_dir())
