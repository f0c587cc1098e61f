"""Which features moved the mean raw score of a model's decisions since a day: differences of mean contributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fraudctl.monitor.outcome import ScoreCause
from fraudctl.workflows.reference import instant_of

if TYPE_CHECKING:
    from fraudctl.arrays import FloatArray, IntArray
    from fraudctl.workflows.watched import Watching

SAMPLE: Final = 4_000
"""Events on each side whose contributions are averaged."""
FEW: Final = 400
"""With fewer decisions before a change, events before it are taken where the feature table has to be built for that."""
SHOWN: Final = 8
MANY_EVENTS: Final = 500_000
"""From so many events on the feature table is built in a file, and not for causes alone."""
CAUSE_TIME: Final = timedelta(days=28)
"""Time before a change, and latest time since it, whose contributions are compared."""


def score_causes(watched: Watching, days: Sequence[date]) -> list[tuple[ScoreCause, ...]]:
    """Return, for each day, which features moved the mean raw score since then; what they moved it by adds up.

    The latest four weeks since the day are held against the four weeks before it: decided events, or, where fewer than
    a sample were decided before, all events of the data. None where the features are not at hand, where there are so
    many events that they are not computed for this alone (`causes_left_out`), or where a challenger scores. An event
    that several days look at is explained once.
    """
    if watched.unreadable or watched.bundle.challenger is not None:
        return [() for _ in days]
    asked = [None if causes_left_out(watched, day) else _sides(watched, day) for day in days]
    means = _means(watched, [side for pair in asked if pair is not None for side in pair])
    return [() if pair is None else _causes(watched, *(means.get(side.key) for side in pair)) for pair in asked]


def causes_left_out(watched: Watching, first_day: date) -> bool:
    """Return whether features before a change would have to be computed from very many events for its causes alone."""
    if watched.built is not None or watched.logged is None or sum(watched.events.chunks.heights) <= MANY_EVENTS:
        return False
    return len(_around(watched, _start_of(watched, first_day))[0]) < FEW


@dataclass(frozen=True)
class _CauseRows:
    """Events before a change or since it: rows of the decisions, or of the feature table."""

    rows: IntArray
    of_table: bool = False

    @property
    def key(self) -> tuple[bool, bytes]:
        return self.of_table, self.rows.tobytes()


def _sides(watched: Watching, first_day: date) -> tuple[_CauseRows, _CauseRows] | None:
    """Return the events before a day and since it; None where there are none since."""
    start = _start_of(watched, first_day)
    earlier, now = (_sample(rows) for rows in _around(watched, start))
    if not len(now):
        return None
    if len(earlier) >= (SAMPLE if watched.built is not None else FEW):
        return _CauseRows(earlier), _CauseRows(now)
    time = watched.table.spine["event_time"]
    before = ((time < start) & (time >= start - CAUSE_TIME)).arg_true().to_numpy().astype(np.int64)
    return _CauseRows(_sample(before), of_table=True), _CauseRows(now)


def _means(watched: Watching, sides: Sequence[_CauseRows]) -> dict[tuple[bool, bytes], FloatArray]:
    """Return the mean contributions of the events of each side, shape (n_features,); none without all features."""
    from fraudctl.explain.contributions import contributions

    found: dict[tuple[bool, bytes], FloatArray] = {}
    columns = watched.bundle.columns
    for of_table in (False, True):
        mine = {side.key: side.rows for side in sides if side.of_table == of_table and len(side.rows)}
        if not mine:
            continue
        rows = np.unique(np.concatenate(list(mine.values())))
        frame = _rows_of_table(watched, rows) if of_table else watched.features_of(rows)
        if not set(columns.names) <= set(frame.columns):
            continue
        values = contributions(
            watched.bundle.model, columns.matrix(frame.select(columns.names)), categorical=columns.categorical,
            partner=watched.bundle.partner,
        ).values  # fmt: skip
        found |= {key: values[np.searchsorted(rows, own)].mean(axis=0) for key, own in mine.items()}
    return found


def _rows_of_table(watched: Watching, rows: IntArray) -> pl.DataFrame:
    wanted = np.zeros(watched.table.spine.height, np.bool_)
    wanted[rows] = True
    return watched.table.rows(pl.Series(wanted))


def _causes(watched: Watching, before: FloatArray | None, now: FloatArray | None) -> tuple[ScoreCause, ...]:
    if before is None or now is None:
        return ()
    names, change = watched.bundle.columns.names, now - before
    order = sorted(range(len(names)), key=lambda at: (-abs(change[at]), names[at]))
    causes = [_cause(names[at], before[at], now[at]) for at in order[:SHOWN]]
    rest = order[SHOWN:]
    if rest:
        causes.append(_cause("all others", float(before[rest].sum()), float(now[rest].sum())))
    return tuple(causes)


def _start_of(watched: Watching, first_day: date) -> datetime:
    return instant_of(first_day.toordinal() - 719_163, watched.project)


def _around(watched: Watching, start: datetime) -> tuple[IntArray, IntArray]:
    """Return the model's decisions of the four weeks before an instant, and of the latest four weeks since it."""
    blocks, mine = watched.taken.blocks, watched.mine
    late = max(start, blocks.span(mine)[1] - CAUSE_TIME)
    before, since = blocks.between(start - CAUSE_TIME, start), blocks.between(late, None)
    return blocks.by_time(mine & before), blocks.by_time(mine & since)


def _sample(rows: IntArray) -> IntArray:
    """Return `SAMPLE` of the rows, spread evenly; all where there are fewer."""
    if not len(rows):
        return rows
    at = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).round().astype(np.int64))
    return np.asarray(rows[at], dtype=np.int64)


def _cause(name: str, before: float, now: float) -> ScoreCause:
    return ScoreCause(name, round(float(before), 6), round(float(now), 6), round(float(now - before), 6))
