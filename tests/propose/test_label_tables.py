"""`init --labels`: tables of labels by what they hold, questions all at once, and a project that reads them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.data.entries import load_entries
from fraudctl.data.tables import load_events
from fraudctl.errors import DataError, UsageError
from fraudctl.project import load_project
from fraudctl.propose import Flags
from fraudctl.workflows.init import InitResult, init_project

N, DAY0 = 1_200, datetime(2026, 1, 1, tzinfo=UTC)


def events(*, wide_ids: bool = True) -> pl.DataFrame:
    """Payments of 100 days of 60 cards, every twelfth of them fraud and every thirtieth declined."""
    rng = np.random.default_rng(5)
    ids = [f"T{i:05d}" if wide_ids else i + 1 for i in range(N)]
    return pl.DataFrame({
        "payment_id": ids,
        "created_at": [DAY0 + timedelta(days=100 * i / N) for i in range(N)],
        "card_id": [f"C{c}" for c in rng.integers(0, 60, N)],
        "amount": rng.gamma(2, 30, N).round(2),
        "state": ["rejected" if i % 30 == 7 else "settled" for i in range(N)],
        "response_declined": [i % 30 == 7 for i in range(N)],
    })  # fmt: skip


def chargebacks(frame: pl.DataFrame, *, days: float = 6.0) -> pl.DataFrame:
    """Reports of every twelfth payment after some days, with the time of the payment beside them."""
    found = frame[::12].filter(~pl.col("response_declined"))
    return found.select(
        pl.col("payment_id").alias("ref"),
        pl.col("created_at").alias("paid_at"),
        (pl.col("created_at") + pl.duration(hours=int(24 * days))).alias("reported_at"),
        pl.int_range(pl.len()).alias("line"),
    )


def write(folder: Path, frame: pl.DataFrame, **others: pl.DataFrame) -> Flags:
    """Write events and tables of labels; give the flags that name the latter."""
    frame.write_parquet(folder / "events.parquet")
    for name, table in others.items():
        table.write_csv(folder / f"{name}.csv", separator=";")
    return Flags(labels=tuple(f"{name}={folder / name}.csv" for name in others))


def init(folder: Path, flags: Flags) -> InitResult:
    return init_project([str(folder / "events.parquet")], place=folder / "fraudctl.toml", flags=flags, force=True)


def test_tables_are_proposed_by_what_they_hold_and_the_project_reads_them(tmp_path: Path) -> None:
    frame = events(wide_ids=False)
    back = chargebacks(frame)
    disputes = back[::3].select(
        pl.col("ref").cast(pl.String).alias("transaction"),
        (pl.col("reported_at") + pl.duration(days=9)).dt.to_string("%d.%m.%Y %H:%M").alias("closed"),
        pl.Series("result", ["Won by merchant", "Lost", "open"] * 20).head(len(back[::3])).alias("result"),
    )
    flags = write(tmp_path, frame.drop("state"), chargebacks=back, disputes=disputes)
    found = init(tmp_path, flags).proposal
    assert found.labels is not None
    first, second = found.labels.tables
    assert (first.event_id.column, first.time.column, first.section.label) == ("ref", "reported_at", 1)
    assert second.event_id.column == "transaction"
    assert second.section.label.values == {"Lost": 1, "Won by merchant": 0, "open": None}  # type: ignore[union-attr]
    assert second.section.times["closed"].formats == ("%d.%m.%Y %H:%M",)
    assert found.labels.silence.column == "label_delay"
    assert found.clock is not None
    assert str(found.clock.delay.duration) == "6d"
    declined, _ = found.labels.declined or (None, None)
    assert declined is not None
    assert (declined.column, declined.values) == ("response_declined", (True,))
    assert "response_declined" not in found.plan.raw

    project = load_project(tmp_path)
    loaded = load_events(project, entries=load_entries(project))
    read = loaded.frame.filter(pl.col("label_time") <= loaded.known_until)
    # every twelfth payment but the declined ones (7 mod 60: none is a multiple of 12) is reported within the data,
    # save those of the last six days; a third of them is disputed, of which every third is won
    old = frame.filter(pl.col("created_at") < frame["created_at"].max() - timedelta(days=6))
    n_reported = len(old[::12])
    closed = disputes.with_columns(pl.col("closed").str.to_datetime("%d.%m.%Y %H:%M", time_zone="UTC"))
    n_back = closed.filter(pl.col("result") == "Won by merchant", pl.col("closed") <= frame["created_at"].max()).height
    assert n_back > 3
    assert int((read["label"] == 1).sum()) == n_reported - n_back == found.n_frauds


def test_all_that_is_in_doubt_is_asked_at_once_with_flags_that_settle_it(tmp_path: Path) -> None:
    frame = events()
    back = chargebacks(frame).with_columns(filed_at=pl.col("reported_at") + pl.duration(days=1))
    cases = back.select("ref", pl.col("filed_at"), pl.Series("verdict", ["grün", "rot"] * 50).head(len(back)))
    notes = back.select(pl.Series("ticket", [f"X{i}" for i in range(len(back))]), "filed_at")
    flags = write(tmp_path, frame, chargebacks=back, cases=cases, notes=notes)
    with pytest.raises(UsageError) as caught:
        init(tmp_path, flags)
    told, hint = caught.value.message, str(caught.value.hint)
    assert "3 questions" in told
    for part in ("2 times could say when", "'verdict' holds 2 different values", "no column holds the ids"):
        assert part in told
    for part in ("--labels-time chargebacks=reported_at", "--label-value WORD=1", "--labels-id notes=ticket"):
        assert part in hint
    settled = replace(
        flags, labels=flags.labels[:2], labels_times=("chargebacks=reported_at",), label_values=("rot=1", "grün=0")
    )
    found = init(tmp_path, settled).proposal
    assert found.labels is not None
    assert found.labels.tables[1].section.label.values == {"rot": 1, "grün": 0}  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no table of labels has that name"):
        init(tmp_path, replace(settled, labels_ids=("notes=ticket",)))


def test_what_a_table_says_of_every_row_is_in_its_name_or_asked(tmp_path: Path) -> None:
    frame = events()
    flags = write(tmp_path, frame, refunds=chargebacks(frame))
    with pytest.raises(UsageError, match="nothing says what its rows mean") as caught:
        init(tmp_path, flags)
    assert "--labels-outcome refunds=1" in str(caught.value.hint)
    assert init(tmp_path, replace(flags, labels_outcomes=("refunds=1",))).proposal.n_frauds > 80


def test_silence_says_nothing_where_nearly_every_event_has_a_verdict(tmp_path: Path) -> None:
    frame = events().drop("state", "response_declined")
    verdicts = frame.select(
        "payment_id", seen=pl.col("created_at") + pl.duration(hours=30), verdict=pl.int_range(pl.len()) % 12 == 0
    )
    found = init(tmp_path, write(tmp_path, frame, verdicts=verdicts)).proposal
    assert found.labels is not None
    assert found.labels.silence.column == "never"
    assert found.labels.declined is None


def test_tables_of_labels_need_an_id_and_leave_no_room_for_a_label_column(tmp_path: Path) -> None:
    frame = events()
    flags = write(tmp_path, frame.drop("payment_id"), chargebacks=chargebacks(frame))
    with pytest.raises(UsageError, match="no column names each event once"):
        init(tmp_path, flags)
    frame.write_parquet(tmp_path / "events.parquet")
    with pytest.raises(UsageError, match="--label names a column of the events"):
        init(tmp_path, replace(flags, label="response_declined"))
    empty = chargebacks(frame).with_columns(ref=pl.lit("T99999"))
    with pytest.raises(UsageError, match="no column holds the ids"):
        init(tmp_path, write(tmp_path, frame, chargebacks=empty))
    late = write(tmp_path, frame, chargebacks=chargebacks(frame, days=500.0))
    with pytest.raises(DataError, match="is known of 1,200 events at the end of the data"):
        init(tmp_path, late)
