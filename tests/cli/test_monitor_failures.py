"""What goes wrong after training, each with its right outcome: which alarm, which exit code, what stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from command_line import Outcome, run_in
from faults.disk import no_larger_files

from fraudctl.bundle import load_bundle
from fraudctl.workflows import causes

TIME = pl.col("created_at")


@pytest.fixture(autouse=True)
def _causes_of_few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """What moved the score is asked of 200 events a side instead of 4,000: no test here is about these figures."""
    monkeypatch.setattr(causes, "SAMPLE", 200)


@pytest.fixture(scope="module")
def lived(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with its events split at as_of."""
    folder = tmp_path_factory.mktemp("lived") / "project"
    shutil.copytree(trained, folder)
    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id").sort("created_at")
    as_of = load_bundle(next((folder / "models").glob("2*"))).as_of
    events.filter(as_of > TIME).write_parquet(folder / "before.parquet")
    events.filter(as_of <= TIME).write_parquet(folder / "after.parquet")
    decide(folder)
    return folder


def decide(folder: Path) -> None:
    (folder / "decisions.parquet").unlink(missing_ok=True)
    done = run_in(folder, "score", "after.parquet", "--history", "before.parquet", "-o", "decisions.parquet")
    assert done.code == 0, done.err


def copy_of(lived: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lived, tmp_path / "project"))


def change(folder: Path, alter: Callable[[pl.DataFrame, pl.Expr], pl.DataFrame], *, days: int = 12) -> None:
    """Alter the events of the last days, in the data and before they were decided on."""
    late = pl.read_parquet(folder / "after.parquet")
    start = late["created_at"].max() - timedelta(days=days)  # type: ignore[operator]
    altered = alter(late, start <= TIME)
    altered.write_parquet(folder / "after.parquet")
    pl.concat([pl.read_parquet(folder / "before.parquet"), altered]).write_parquet(folder / "transactions.parquet")
    decide(folder)


def watch(folder: Path, *args: str) -> Outcome:
    return run_in(folder, "monitor", "decisions.parquet", "--json", *args)


def limits(folder: Path, text: str) -> None:
    with (folder / "fraudctl.toml").open("a") as file:
        file.write(f"\n[monitor.harm]\n{text}\n")


def null_channel(frame: pl.DataFrame, late: pl.Expr) -> pl.DataFrame:
    return frame.with_columns(channel=pl.when(late).then(None).otherwise("channel"))


def new_categories(frame: pl.DataFrame, late: pl.Expr) -> pl.DataFrame:
    each = pl.concat_str(pl.lit("c"), pl.int_range(pl.len()).cast(pl.String))
    return frame.with_columns(category=pl.when(late).then(each).otherwise("category"))


def clock_behind(frame: pl.DataFrame, late: pl.Expr) -> pl.DataFrame:
    return frame.with_columns(created_at=pl.when(late).then(TIME - timedelta(hours=3)).otherwise(TIME)).sort(TIME)


@pytest.mark.parametrize(
    ("alter", "column", "figure"),
    [
        (null_channel, "channel", "null share"),
        (new_categories, "category", "share of values not seen before"),
        (clock_behind, "hour", None),
    ],
)
def test_data_that_changed_are_one_alarm_on_the_data_with_their_first_day(
    lived: Path, tmp_path: Path, alter: Callable[[pl.DataFrame, pl.Expr], pl.DataFrame], column: str, figure: str | None
) -> None:
    """A column without values, a category that explodes, clocks that go wrong (or another time zone)."""
    folder = copy_of(lived, tmp_path)
    change(folder, alter)
    done = watch(folder)
    assert done.code == 1, done.out
    found = [item for item in done.json["alarms"] if item["tier"] == "data" and item["kind"] == "shift"]
    named = [item for item in found if item["moved"][0]["column"] == column]
    assert len(named) == 1, [item["what"] for item in found]
    moved = named[0]["moved"][0]
    assert figure is None or moved["figure"] == figure
    began = (pl.read_parquet(folder / "after.parquet")["created_at"].max() - timedelta(days=12)).date()  # type: ignore[operator]
    assert moved["first_day_low"] <= (began + timedelta(days=1)).isoformat()
    assert moved["first_day_high"] >= began.isoformat()
    assert done.json["verdict"] == "act"


def test_labels_that_are_filled_in_later_change_no_answer_of_the_past(lived: Path, tmp_path: Path) -> None:
    folder = copy_of(lived, tmp_path)
    limits(folder, "recall = { at_least = 0.05 }")
    late = pl.read_parquet(folder / "after.parquet")
    end = late["created_at"].max()
    then = (end - timedelta(days=10)).date().isoformat()  # type: ignore[operator]
    without = late.with_columns(
        pl.when((pl.col("label_available_at") > end - timedelta(days=10)).fill_null(value=False))  # type: ignore[operator]
        .then(None).otherwise(name).alias(name)
        for name in ("is_fraud", "label_available_at")
    )  # fmt: skip
    before = pl.read_parquet(folder / "before.parquet")

    def at(frame: pl.DataFrame) -> tuple[Outcome, Outcome]:
        pl.concat([before, frame]).write_parquet(folder / "transactions.parquet")
        page = run_in(folder, "dashboard", "decisions.parquet", "--as-of", then, "--json")
        return watch(folder, "--as-of", then), page

    (first, board), (again, replayed) = at(without), at(late)
    assert first.code == again.code
    assert (first.json["alarms"], first.json["limits"]) == (again.json["alarms"], again.json["limits"])
    cohorts = board.json["performance"]["cohorts"]
    assert cohorts
    assert cohorts == replayed.json["performance"]["cohorts"]


def test_labels_before_their_events_are_refused_and_not_guessed_at(lived: Path, tmp_path: Path) -> None:
    folder = copy_of(lived, tmp_path)
    limits(folder, "recall = { at_least = 0.05 }")
    frame = pl.read_parquet(folder / "transactions.parquet")
    early = pl.col("is_fraud") == 1
    frame.with_columns(
        label_available_at=pl.when(early).then(TIME - timedelta(days=1)).otherwise("label_available_at")
    ).write_parquet(folder / "transactions.parquet")
    done = run_in(folder, "monitor", "decisions.parquet")
    assert done.code == 3
    assert "labels arrived before their event" in done.err
    assert "hint:" in done.err
    assert not (folder / "monitor" / "runs.jsonl").exists()


def test_labels_that_stop_over_holidays_are_no_harm_and_are_named(lived: Path, tmp_path: Path) -> None:
    """For the last 12 days no label came at all: what is known falls, the estimate does not, and no limit is broken."""
    folder = copy_of(lived, tmp_path)
    limits(folder, "recall = { at_least = 0.2 }\nfraud_loss_bps = { at_most = 2000 }")
    before = watch(folder)
    frame = pl.read_parquet(folder / "transactions.parquet")
    end = frame["created_at"].max()
    stopped = pl.col("label_available_at").is_between(end - timedelta(days=12), end)  # type: ignore[operator]
    frame.with_columns(
        label_available_at=pl.when(stopped).then(end + timedelta(days=1)).otherwise("label_available_at")  # type: ignore[operator]
    ).write_parquet(folder / "transactions.parquet")
    after = watch(folder)
    assert [item["state"] for item in after.json["limits"]] == [item["state"] for item in before.json["limits"]]
    assert "broken" not in {item["state"] for item in after.json["limits"]}
    assert after.code == before.code
    assert "harm" not in {item["tier"] for item in after.json["alarms"]}


def test_without_any_fraud_limits_are_unknown_and_nothing_is_broken(lived: Path, tmp_path: Path) -> None:
    folder = copy_of(lived, tmp_path)
    limits(folder, "recall = { at_least = 0.9 }\nsavings = { at_least = 0.9 }\nfraud_loss_bps = { at_most = 1 }")
    since = pl.read_parquet(folder / "after.parquet")["created_at"].min() - timedelta(days=40)  # type: ignore[operator]
    frame = pl.read_parquet(folder / "transactions.parquet")
    late = (since <= TIME) & (pl.col("is_fraud") == 1)
    frame.with_columns(is_fraud=pl.when(late).then(0).otherwise("is_fraud").cast(pl.Int8)).write_parquet(
        folder / "transactions.parquet"
    )
    done = watch(folder)
    assert done.code in (0, 1)
    assert "harm" not in {item["tier"] for item in done.json["alarms"]}
    found = {item["figure"]: item for item in done.json["limits"]}
    assert "broken" not in {item["state"] for item in found.values()}
    page = run_in(folder, "dashboard", "decisions.parquet", "--json")
    assert page.code == 0, page.err


def test_decisions_that_come_late_count_on_the_day_of_their_event(lived: Path, tmp_path: Path) -> None:
    folder = copy_of(lived, tmp_path)
    in_time = watch(folder)
    decisions = pl.read_parquet(folder / "decisions.parquet")
    late = pl.int_range(pl.len()) % 10 == 3
    pl.concat([decisions.filter(~late), decisions.filter(late)]).write_parquet(folder / "decisions.parquet")
    assert watch(folder).out == in_time.out


def test_a_policy_that_changed_in_the_middle_of_a_week_is_told_and_its_actions_are_not_compared(
    lived: Path, tmp_path: Path
) -> None:
    folder = copy_of(lived, tmp_path)
    decisions = pl.read_parquet(folder / "decisions.parquet")
    times = pl.read_parquet(folder / "after.parquet").select(pl.col("transaction_id").alias("event_id"), at=TIME)
    end = times["at"].max()
    thursday = (end - timedelta(days=end.weekday() + 4)).replace(hour=12)  # type: ignore[union-attr,operator]
    changed = pl.col("at") >= thursday
    dated = decisions.join(times, on="event_id", maintain_order="left").with_columns(
        policy=pl.when(changed).then(pl.lit("0a1b2c3d")).otherwise("policy"),
        action=pl.when(changed).then(pl.lit("review")).otherwise("action"),
    )
    dated.drop("at").write_parquet(folder / "decisions.parquet")
    done = watch(folder)
    assert any(f"from {thursday:%Y-%m-%d}" in note and "another policy" in note for note in done.json["notes"])
    moved = [item["column"] for alarm in done.json["alarms"] for item in alarm["moved"]]
    assert "action" not in moved
    page = run_in(folder, "dashboard", "decisions.parquet", "--json")
    cohorts = page.json["performance"]["cohorts"]
    assert cohorts[-1]["flag_rate"] == 1.0 > cohorts[0]["flag_rate"]


def test_a_champion_that_was_deleted_is_named_with_what_to_do(lived: Path, tmp_path: Path) -> None:
    folder = copy_of(lived, tmp_path)
    model = next((folder / "models").glob("2*"))
    shutil.rmtree(model)
    done = run_in(folder, "monitor", "decisions.parquet")
    assert done.code == 4
    assert model.name in done.err
    assert "hint:" in done.err
    assert not (folder / "monitor").exists()
    page = run_in(folder, "dashboard", "decisions.parquet", "--json")
    assert page.code == 0, page.err  # outcomes need no model


def test_a_command_on_a_full_disk_says_so_and_leaves_what_was_there(lived: Path, tmp_path: Path) -> None:
    folder = copy_of(lived, tmp_path)
    first = watch(folder, "--prometheus", "out.prom")
    assert run_in(folder, "dashboard", "decisions.parquet", "-o", "page.html", "--quiet").code == 0
    kept = {name: (folder / name).read_bytes() for name in ("monitor/runs.jsonl", "out.prom", "page.html")}
    for command in (("monitor", "decisions.parquet"), ("dashboard", "decisions.parquet", "-o", "page.html")):
        with no_larger_files(100):
            done = run_in(folder, *command, "--quiet")
        assert done.code == 2, done.err
        assert "error" in done.err
        assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert watch(folder).code == first.code
