"""Decisions in small columns, completed a piece at a time: the same as all at once, whatever the pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from decisions_world import make_project

from fraudctl.errors import DataError
from fraudctl.monitor import taken as module
from fraudctl.monitor.decisions import from_frame, with_events
from fraudctl.monitor.taken import completed, take_files, take_table, with_times

START = datetime(2026, 1, 1, tzinfo=UTC)
N = 300


def log(*, text: bool, timed: bool) -> pl.DataFrame:
    """Decisions in no order, some of events that the data do not have."""
    rng = np.random.default_rng(4)
    order = rng.permutation(N + 10)
    ids = pl.Series([f"e{n}" for n in order]) if text else pl.Series(order)
    time = pl.Series([START + timedelta(hours=int(n) // 3) for n in order])  # threes share a time
    frame = pl.DataFrame(
        {
            "event_id": ids,
            "probability": rng.random(N + 10),
            "action": rng.choice(["allow", "review"], N + 10),
            "model": rng.choice(["m1", "m2"], N + 10),
            "card_count": rng.integers(0, 9, N + 10),
        }
    )
    return frame.with_columns(event_time=time) if timed else frame.filter(pl.Series(order < N))


def events(*, text: bool) -> pl.DataFrame:
    number = pl.Series(range(N))
    time = pl.Series("event_time", [START + timedelta(hours=n // 3) for n in range(N)])
    return pl.DataFrame(
        {
            "event_id": pl.Series([f"e{n}" for n in range(N)]) if text else number,
            "event_time": time,
            "amount": number * 1.5,
            "label": (number % 7 == 0).cast(pl.Int8),
            "label_time": time + timedelta(days=2),
            "channel": [f"c{n % 3}" for n in range(N)],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "label_time": pl.Datetime("us", "UTC")},
    )


class Pieces:
    """The events, so many at a time."""

    def __init__(self, frame: pl.DataFrame, size: int) -> None:
        self.frame, self.size = frame, size

    def __call__(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for start in range(0, self.frame.height, self.size):
            yield self.frame[start : start + self.size]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("size", [7, 50, 1000])
def test_pieces_together_are_what_comes_out_at_once(
    *, text: bool, timed: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 64)
    raw, known = log(text=text, timed=timed), events(text=text)
    whole = with_events(from_frame(raw, make_project(), files=["x"]), known, columns=["channel"]).frame
    source = Pieces(known, size)
    found = with_times(take_table(raw.lazy(), make_project(), files=["x"]), source)
    rows = np.arange(found.height) % 5 > 0
    both = pl.concat(completed(found, source, rows, columns=["channel"]), how="diagonal")
    both = both.sort("event_time", "event_id")
    wanted = raw["event_id"].filter(pl.Series(rows)).implode()
    expected = whole.filter(pl.col("event_id").is_in(wanted))
    assert both.select(expected.columns).equals(expected)
    assert both.height == rows.sum()
    assert found.rows(found.blocks.by_time(np.ones(found.height, bool))).frame["event_id"].equals(whole["event_id"])
    assert found.rows(found.blocks.by_time(rows)).frame["event_id"].equals(expected["event_id"])


def test_an_event_that_was_decided_twice_counts_once_with_its_first_values(tmp_path: Path) -> None:
    raw = log(text=True, timed=True)
    for number, part in enumerate((raw[:200], pl.concat([raw[150:], raw[:20]]))):
        part.write_parquet(tmp_path / f"{number}.parquet")
    found = take_files([str(tmp_path / "*.parquet")], make_project())
    assert (found.height, found.n_repeated) == (raw.height, 70)
    values = found.values(["card_count", "not_logged"])
    assert values is not None
    assert values.names == ("card_count",)
    batches = pl.concat(values.batches(["card_count"]))
    assert batches["event_id"].to_list() == found.frame["event_id"].to_list()
    assert batches["card_count"].to_list() == raw["card_count"].to_list()
    few = raw["event_id"][3:9]
    own = values.of(few).sort("event_id")
    assert own.equals(
        raw.select("event_id", "card_count").filter(pl.col("event_id").is_in(few.implode())).sort("event_id")
    )


def test_decisions_without_a_time_of_unknown_events_are_refused() -> None:
    raw = log(text=True, timed=False)
    found = take_table(raw.lazy(), make_project(), files=["x"])
    with pytest.raises(DataError, match="10 decisions of events that"):
        with_times(found, Pieces(events(text=True)[: N - 10], 50))
