"""Files as strangers write them, from the raw file to events: what init asks, and that its answers read every row."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run_in

from fraudctl.data import tables
from fraudctl.data.entries import load_entries
from fraudctl.features import define
from fraudctl.project import load_project
from fraudctl.scoring.events import EventReader
from fraudctl.scoring.schema import data_schema

N = 1200
START = datetime(2024, 1, 1)


def world() -> pl.DataFrame:
    rng = np.random.default_rng(8)
    times = [START + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 150 * 1440, N))]
    fraud = rng.random(N) < 0.2
    return pl.DataFrame({
        "time": times, "amount": np.round(rng.gamma(2, 700, N) * (1 + fraud), 2),
        "customer_id": [f"C{c:04d}" for c in rng.integers(0, 60, N)], "kind": rng.choice(["a", "b", "c"], N),
        "is_fraud": fraud.astype(int),
    })  # fmt: skip


def padded(at: datetime) -> str:
    return f"{at:%b} {at.day:2d} {at.year} {at.hour % 12 or 12:2d}:{at:%M}{'AM' if at.hour < 12 else 'PM'}"


Odd = Callable[[pl.DataFrame], pl.DataFrame]
DAYS = pl.col("time").dt.truncate("1d")
ODD: dict[str, tuple[Odd, pl.Expr]] = {
    "iso week": (lambda f: f.with_columns(time=pl.Series([f"{at:%G-W%V-%u}" for at in f["time"]])), DAYS),
    "year, week, weekday": (
        lambda f: f.with_columns(
            Year=pl.Series([at.isocalendar()[0] for at in f["time"]]),
            Week=pl.Series([at.isocalendar()[1] for at in f["time"]]),
            DayOfWeek=pl.Series([f"{at:%A}" for at in f["time"]]),
        ).drop("time"), DAYS),
    "padded": (lambda f: f.with_columns(time=pl.Series([padded(at) for at in f["time"]])), pl.col("time")),
    "two numbers": (
        lambda f: f.with_columns(
            trans_date=pl.Series([int(f"{at:%Y%m%d}") for at in f["time"]]),
            trans_time=pl.Series([10_000 * at.hour + 100 * at.minute for at in f["time"]]),
        ).drop("time"), pl.col("time")),
    "clock of another language": (
        lambda f: f.with_columns(
            Datum=pl.Series([f"{at:%d.%m.%Y}" for at in f["time"]]),
            Uhrzeit=pl.Series([f"{at:%H:%M}" for at in f["time"]]),
        ).drop("time"), pl.col("time")),
    "minutes since 1970": (
        lambda f: f.with_columns(ts=pl.col("time").dt.epoch("s") // 60).drop("time"), pl.col("time")),
    "spreadsheet": (
        lambda f: f.with_columns(
            date=pl.Series([round((at - datetime(1899, 12, 30)).total_seconds() / 86_400, 9) for at in f["time"]])
        ).drop("time"), pl.col("time")),
    "month number": (
        lambda f: f.with_columns(month_no=pl.Series([at.month - 1 for at in f["time"]])).drop("time"),
        pl.lit(None, pl.Datetime("us")),
    ),
}  # fmt: skip
"""What a file has in place of the time, and the times that the events have then; null where the origin is unknown."""


@pytest.mark.parametrize("name", ODD)
def test_at_most_one_refusal_and_its_flags_read_every_row(name: str, tmp_path: Path) -> None:
    change, wanted = ODD[name]
    change(world()).select(pl.all().cast(pl.String)).write_csv(tmp_path / "x.csv")
    refused = run_in(tmp_path, "init", "x.csv", "--quiet")
    assert refused.code == 2
    flags = refused.err.partition("your own answers: ")[2] or "--label-delay 7d"
    done = run_in(tmp_path, "init", "x.csv", "--quiet", *shlex.split(flags))
    assert done.code == 0, done.err
    events = tables.load_events(load_project(tmp_path)).frame
    assert events.height == N
    want = world().select(wanted).to_series()
    if want.null_count():
        assert events["event_time"].dt.date().unique().sort().to_list() == [date(2000, m, 1) for m in range(1, 6)]
    else:
        found = events["event_time"].dt.replace_time_zone(None).sort().dt.round("1s")
        assert found.to_list() == want.sort().to_list()


def test_what_counts_minutes_is_told_with_the_days_that_they_would_be(tmp_path: Path) -> None:
    ODD["minutes since 1970"][0](world()).write_parquet(tmp_path / "x.parquet")
    told = run_in(tmp_path, "init", "x.parquet", "--quiet").err
    assert "as minutes since 1970 it goes from 2024-01-01 to 2024-05-2" in told
    assert "--event-time ts --time-unit min --time-origin 1970-01-01" in told


def test_an_offset_that_only_might_be_minutes_is_not_taken_for_them(tmp_path: Path) -> None:
    """Seconds since an origin that nobody knows, as large as minutes since 1970 are."""
    seconds = (pl.col("time") - START).dt.total_seconds() + 18_403_224
    world().with_columns(dt=seconds).drop("time").write_parquet(tmp_path / "x.parquet")
    done = run_in(tmp_path, "init", "x.parquet", "--label-delay", "7d", "--quiet")
    assert done.code == 2
    assert "from an origin that the data do not say" in done.err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_dates_that_mean_never_are_read_as_null(suffix: str, tmp_path: Path) -> None:
    frame = world()
    reported = (
        pl.when(pl.col("is_fraud") == 1).then(pl.col("time") + pl.duration(days=3)).otherwise(datetime(9999, 12, 31))
    )
    born = (
        pl.when(pl.int_range(N) % 9 == 0)
        .then(date(1900, 1, 1))
        .otherwise(date(1980, 1, 1) + pl.duration(days=pl.int_range(N)))
    )
    odd = frame.with_columns(chargeback_at=reported, date_of_birth=born.cast(pl.Date))
    odd.write_csv(tmp_path / "x.csv") if suffix == "csv" else odd.write_parquet(tmp_path / "x.parquet")
    done = run_in(tmp_path, "init", f"x.{suffix}", "--quiet")
    assert done.code == 0, done.err
    project = load_project(tmp_path)
    assert set(project.data.missing_in) == {"chargeback_at", "date_of_birth"}
    events = tables.load_events(project, columns=["date_of_birth"]).frame
    assert events["date_of_birth"].null_count() == len(range(0, N, 9))
    frauds = events.filter(pl.col("label") == 1)
    assert (frauds["label_time"] - frauds["event_time"]).unique().to_list() == [timedelta(days=3)]
    reader = EventReader(
        project, define(project, tables.load_schema(project)), data_schema(project), more=["date_of_birth"]
    )
    row = odd.row(0, named=True)
    message = {
        **row,
        "time": row["time"].isoformat(),
        "date_of_birth": "1900-01-01",
        "chargeback_at": "9999-12-31T00:00:00Z",
    }
    message = {name: value for name, value in message.items() if name in reader.known} | {"event_id": 10**6}
    assert reader.event(message)["date_of_birth"] is None


def test_ids_that_were_written_as_floats_meet_tables_of_labels_of_days_alone(tmp_path: Path) -> None:
    """As pandas writes integers beside nulls; reports that are days are known on the day of their event."""
    frame = world().drop("is_fraud").with_columns(payment_id=pl.int_range(N).cast(pl.Float64))
    frame.write_csv(tmp_path / "payments.csv")
    frauds = world().with_row_index().filter(pl.col("is_fraud") == 1)
    days = [at.date() + timedelta(days=i % 7) for i, at in enumerate(frauds["time"])]
    ids = [*map(float, frauds["index"]), None]
    chargebacks = pl.DataFrame({"payment_id": ids, "reported": [*days, days[0]]})
    chargebacks.write_csv(tmp_path / "chargebacks.csv")
    frame.write_parquet(tmp_path / "payments.parquet")
    chargebacks.write_parquet(tmp_path / "chargebacks.parquet")
    found = []
    for suffix in ("csv", "parquet"):
        labels = ("--labels", f"chargebacks=chargebacks.{suffix}")
        done = run_in(tmp_path, "init", f"payments.{suffix}", *labels, "--force", "--quiet")
        assert done.code == 0, done.err
        project = load_project(tmp_path)
        events = tables.load_events(project, entries=load_entries(project)).frame
        found.append(int((events["label"] == 1).sum()))
    assert found == [frauds.height, frauds.height]


def test_ids_with_spaces_around_are_found_and_the_hint_mends_them(tmp_path: Path) -> None:
    spaces = pl.when(pl.int_range(N) % 3 == 0).then(pl.lit("  ")).otherwise(pl.lit(""))
    frame = world().with_columns(customer_id=pl.col("customer_id") + spaces)
    frame.write_csv(tmp_path / "x.csv")
    assert run_in(tmp_path, "init", "x.csv", "--label-delay", "7d", "--quiet").code == 0
    found = [item for item in run_json(tmp_path, "check")["findings"] if item["id"] == "entity-spaces"]
    assert [item["counts"]["n_both"] for item in found] == [60]
    path = tmp_path / "fraudctl.toml"
    line = found[0]["hint"].removeprefix("[entities] ")
    lines = [line if text.startswith("customer = ") else text for text in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    assert "entity-spaces" not in {item["id"] for item in run_json(tmp_path, "check")["findings"]}
    assert tables.load_events(load_project(tmp_path)).frame["customer"].n_unique() == 60


def run_json(folder: Path, *args: str) -> dict:  # type: ignore[type-arg]
    return run_in(folder, *args, "--json", "--quiet").json


def test_windows_that_times_of_days_alone_leave_empty_are_not_proposed(tmp_path: Path) -> None:
    days = world().with_columns(pl.col("time").dt.truncate("7d").dt.date())
    days.write_parquet(tmp_path / "x.parquet")
    assert run_in(tmp_path, "init", "x.parquet", "--label-delay", "7d", "--quiet").code == 0
    names = define(load_project(tmp_path), tables.load_schema(load_project(tmp_path))).names
    assert "customer_count_30d" in names
    assert not [name for name in names if name.endswith(("_1h", "_1d"))]
