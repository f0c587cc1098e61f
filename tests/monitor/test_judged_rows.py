"""Decisions in few bytes, with what performance is judged by: the rows are those of all decisions at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from decisions_world import make_project

from fraudctl.data.pieces import FilePiece
from fraudctl.errors import DataError
from fraudctl.monitor import judged_rows as tables
from fraudctl.monitor import seen as module
from fraudctl.monitor.decisions import from_frame, with_events
from fraudctl.monitor.judged_rows import judged_table
from fraudctl.monitor.seen import see, until
from fraudctl.monitor.taken import TakenDecisions, TakenPiece, take_table, with_times
from fraudctl.project import parse_project

START = datetime(2026, 1, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")
N = 240


class InChunks:
    """The events, so many at a time."""

    def __init__(self, frame: pl.DataFrame, size: int) -> None:
        self.chunks = [frame[start : start + size] for start in range(0, frame.height, size)]

    def __call__(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        yield from self.chunks

    def chunk(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        return self.chunks[number]


def log(order: np.ndarray, *, text: bool) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    return pl.DataFrame(
        {
            "event_id": pl.Series([f"e{n}" for n in order]) if text else pl.Series(order),
            "probability": rng.random(N),
            "action": rng.choice(["allow", "review"], N),
            "model": rng.choice(["m1", "m2"], N),
            "policy": rng.choice(["p", "q"], N),
        }
    )


def events(*, text: bool) -> pl.DataFrame:
    # threes share a time, also across pieces
    time = pl.Series("event_time", [START + timedelta(hours=n // 3) for n in range(N)])
    return pl.DataFrame(
        {
            "event_id": pl.Series([f"e{n}" for n in range(N)]) if text else pl.Series(range(N)),
            "event_time": time,
            "amount": pl.Series(range(N)) * 1.5,
            "label": (pl.Series(range(N)) % 7 == 0).cast(pl.Int8),
            "label_time": time + timedelta(days=2),
            "card": [None if n % 11 == 0 else f"c{n % 13}" for n in range(N)],
        },
        schema_overrides={"event_time": UTC_US, "label_time": UTC_US},
    )


def in_pieces(taken: TakenDecisions, size: int, chunk: int, places: np.ndarray) -> TakenDecisions:
    """Say of pieces of decisions which chunks hold their events."""
    found = []
    for start in range(0, N, size):
        stop = min(start + size, N)
        numbers = tuple(np.unique(places[start:stop] // chunk).tolist())
        found.append(TakenPiece(FilePiece("x", start, stop - start, None), start, stop, None, events=numbers))
    return replace(taken, pieces=tuple(found))


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("size", [None, 9, 50, 1000])
@pytest.mark.parametrize(("entities", "many"), [(["card"], False), ([], True)])
def test_the_rows_are_those_of_all_at_once(
    *,
    text: bool,
    shuffled: bool,
    size: int | None,
    entities: list[str],
    many: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "ENOUGH", 100 if many else 1)
    order = np.random.default_rng(8).permutation(N) if shuffled else np.arange(N)
    raw, known = log(order, text=text), events(text=text)
    whole = with_events(from_frame(raw, make_project(), files=["x"]), known, columns=["card"]).frame
    source = InChunks(known, 40)
    taken = with_times(take_table(raw.lazy(), make_project(), files=["x"]), source)
    taken = taken if size is None else in_pieces(taken, size, 40, order)
    rows = np.arange(N) % 5 > 0
    columns = [] if entities else ["card"]
    table = judged_table(taken, source, rows, columns=columns, entities=entities, folder=tmp_path)
    found = pl.concat(table.parts())
    assert sum(1 for _ in table.parts()) == (2 if many else 4)
    late = np.arange(found.height) % 3 == 0
    assert table.where(late, ["model", "card"]).equals(found.select("model", "card").filter(pl.Series(late)))
    assert table.column("y_prob").equals(found["y_prob"])
    wanted = raw["event_id"].filter(pl.Series(rows)).implode()
    expected = whole.filter(pl.col("event_id").is_in(wanted)).drop("policy", "decided_by")
    assert ("event_id" in found.columns) == (not entities)
    as_text = pl.col("action", "model", "card").cast(pl.String)
    names = [name for name in expected.columns if name in found.columns]
    assert set(expected.columns) - set(names) == ({"event_id"} if entities else set())
    assert found.with_columns(as_text).select(names).equals(expected.select(names))
    texts = {name for name, kind in found.schema.items() if kind == pl.String}
    assert texts <= {"event_id", "card"} - set(entities)


PROJECT = parse_project(
    """
[data]
events = "x.parquet"
event_id = "id"
event_time = "t"
amount = "a"
label = "l"
label_delay = "7d"
[costs.actions]
allow.fraud = { fixed = 10.0, rate = 1.0 }
review.fraud = { fixed = 4.0 }
review.legit = { column = "fee" }
block.legit = { fixed = 20.0 }
[policy.capacity]
review = "5 per day"
""",
    path=Path("/nowhere/fraudctl.toml"),
)


def decided(fee: list[float | None]) -> pl.DataFrame:
    rng, known = np.random.default_rng(2), events(text=False)
    exposed = pl.Series(np.where(rng.random(N) < 0.2, 0.1, np.nan)).fill_nan(None)
    return known.with_columns(
        y_prob=rng.random(N), action=pl.Series(rng.choice(["allow", "review", "block"], N)), model=pl.lit("m"),
        amount=pl.when(pl.int_range(pl.len()) < 60).then(None).otherwise("amount"),
        label=pl.when(pl.int_range(pl.len()) % 13 == 5).then(None).otherwise("label"),
        exposure_prob=exposed, control_group=exposed.is_not_null(), fee=pl.Series(fee, dtype=pl.Float64),
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 50])
def test_money_is_the_same_however_many_events_are_worked_out_at_a_time(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = decided([float(n) for n in range(N)])  # the first events have no amount
    at = START + timedelta(days=20)
    whole = see(frame, PROJECT, at)
    assert 0 < whole.counted.sum() < N
    monkeypatch.setattr(module, "AT_A_TIME", size)
    found = see(frame, PROJECT, at)
    assert (found.values == whole.values).all()
    assert (found.base == whole.base).all()
    assert (found.values[:, module.FRAUDS] == found.base[:, 0]).all()
    with pytest.raises(DataError, match=f"is null or not finite in 3 of {N} events"):
        see(decided([*[1.0] * (N - 3), *[None] * 3]), PROJECT, at)


def test_decisions_up_to_an_instant_are_copied_only_where_some_are_later() -> None:
    frame = decided([1.0] * N)
    assert until(frame, frame["event_time"][-1]) is frame
    assert until(frame, START + timedelta(hours=1)).height == 6
