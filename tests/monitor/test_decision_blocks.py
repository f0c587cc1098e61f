"""What is said of decisions in blocks is what is said of all of them at once, wherever blocks begin and end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.monitor.decision_blocks import BlockFacts, DecisionBlock, DecisionBlocks, in_memory

START = datetime(2026, 1, 1, tzinfo=UTC)


def decided(hours: Sequence[int], models: Sequence[str | None], *, text: bool) -> pl.DataFrame:
    """Decisions at whole hours, several at a time; ids fall while rows rise."""
    n = len(hours)
    ids = [f"e{n - row:03}" for row in range(n)] if text else list(range(n, 0, -1))
    return pl.DataFrame(
        {
            "event_id": ids,
            "event_time": [START + timedelta(hours=hour) for hour in hours],
            "model": pl.Series(models, dtype=pl.String),
            "y_prob": [row / n for row in range(n)],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


class Noted:
    """Blocks of a table that note which of them are read."""

    def __init__(self, frame: pl.DataFrame, ends: Sequence[int], *, coded: bool) -> None:
        self.read: list[int] = []
        frame = frame.with_columns(pl.col("model").cast(pl.Categorical)) if coded else frame
        bounds = sorted({0, *ends, frame.height})
        self.blocks = DecisionBlocks(tuple(self._block(frame[a:b], a) for a, b in itertools.pairwise(bounds)))

    def _block(self, part: pl.DataFrame, start: int) -> DecisionBlock:
        part = part.select(name for name in part.columns if part[name].count())
        found = in_memory(part, start)

        def read(columns: Sequence[str] | None = None) -> pl.DataFrame:
            self.read.append(start)
            return found.read(columns)

        return DecisionBlock(start, part.height, BlockFacts.from_dict(found.facts.to_dict()), read)


ROW = st.tuples(st.integers(0, 12), st.sampled_from(["m1", "m2", None]), st.booleans())


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(ROW, min_size=1, max_size=24),
    ends=st.lists(st.integers(0, 24), max_size=5),
    hours=st.tuples(st.integers(-1, 14), st.integers(-1, 14)),
    text=st.booleans(),
    in_order=st.booleans(),
)
def test_blocks_say_what_all_rows_say(
    *, rows: list[tuple[int, str | None, bool]], ends: list[int], hours: tuple[int, int], text: bool, in_order: bool
) -> None:
    rows = sorted(rows, key=lambda row: row[0]) if in_order else rows
    frame = decided([row[0] for row in rows], [row[1] for row in rows], text=text)
    chosen = np.array([row[2] for row in rows])
    found = Noted(frame, [end for end in ends if end < len(rows)], coded=text).blocks
    start, stop = (START + timedelta(hours=hour) for hour in hours)
    time = frame["event_time"]
    assert found.between(start, stop).tolist() == ((time >= start) & (time < stop)).to_list()
    assert found.up_to(stop).tolist() == (time <= stop).to_list()
    for wanted in ({"m1"}, {"m2", None}, {None}):
        expected = frame["model"].is_in([name for name in wanted if name is not None]).fill_null(None in wanted)
        assert found.where("model", wanted.__contains__, chosen).tolist() == (expected.to_numpy() & chosen).tolist()
    ordered = frame.with_row_index("row").filter(pl.Series(chosen)).sort("event_time", "event_id")
    assert found.by_time(chosen).tolist() == ordered["row"].to_list()
    assert found.latest(chosen) == (ordered["row"][-1] if ordered.height else None)
    assert found.texts_by_time("model", chosen) == ordered["model"].unique(maintain_order=True).to_list()
    if ordered.height:
        assert found.span(chosen) == (ordered["event_time"][0], ordered["event_time"][-1])
    named = frame["model"].drop_nulls()
    assert found.last_text("model") == (named[-1] if len(named) else None)
    places = np.random.default_rng(len(rows)).integers(0, len(rows), 9)
    own = found.frame(places)
    assert own.equals(frame[places].select(own.columns))
    assert set(frame.columns) - set(own.columns) <= {"model"}


def test_only_blocks_that_a_question_divides_are_read() -> None:
    frame = decided(list(range(40)), ["m1"] * 20 + ["m1", "m2"] * 5 + ["m2"] * 10, text=True)
    noted = Noted(frame, [10, 20, 30], coded=True)
    every = np.ones(40, dtype=np.bool_)
    noted.blocks.between(START + timedelta(hours=10), START + timedelta(hours=30))
    assert noted.read == []
    noted.blocks.between(START, START + timedelta(hours=15))
    assert noted.read == [10]
    noted.read.clear()
    noted.blocks.where("model", lambda model: model == "m2", every)
    assert noted.read == [20]
    noted.read.clear()
    assert noted.blocks.latest(every) == 39
    assert noted.read == [30]
    noted.read.clear()
    assert noted.blocks.span(every) == (START, START + timedelta(hours=39))
    assert noted.read == []


def test_the_last_instant_of_all_is_after_every_decision() -> None:
    blocks = Noted(decided([1, 2, 3], ["m1"] * 3, text=False), [2], coded=False).blocks
    assert blocks.up_to(datetime.max.replace(tzinfo=UTC)).tolist() == [True] * 3
    assert blocks.up_to(START + timedelta(hours=2)).tolist() == [True, True, False]


def test_decisions_without_a_time_have_no_span() -> None:
    frame = decided([1, 2], ["m1", None], text=False).with_columns(
        event_time=pl.Series([START, None]).cast(pl.Datetime("us", "UTC"))
    )
    block = in_memory(frame)
    with pytest.raises(ValueError, match="without a time"):
        _ = block.span
    assert "event_time" in block.facts.columns
    done = block.facts.timed(pl.Series([START, START]))
    assert done.untimed(stated=True).columns == block.facts.columns
    assert "event_time" not in done.untimed(stated=False).columns
