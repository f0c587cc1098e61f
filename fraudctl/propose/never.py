"""Dates that stand for "never" or "unknown", such as 9999-12-31 and 1900-01-01: which column holds which of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import polars as pl

from fraudctl.propose import names
from fraudctl.text.plain import looks_like_value

_FAR_YEAR: Final = 2200
_FIRSTS: Final = frozenset({(1, 1, 1), (1753, 1, 1), (1800, 1, 1), (1899, 12, 30), (1899, 12, 31), (1900, 1, 1)})
"""Days from which programs count, which are written where no day is known."""
_LAST_FIRST: Final = max(day[0] for day in _FIRSTS)
_LEAST, _SHARE = 10, 0.001
_DAY: Final = re.compile(r"^(?:(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})|(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}))(?:\D|$)")


def never_times(raw: pl.LazyFrame) -> dict[str, tuple[str, ...]]:
    """Return the texts of such dates by column, where enough rows hold one beside other times.

    Columns that are named as the time of the event itself are left aside: every event has happened.
    """
    schema = raw.collect_schema()
    open_names = [
        name for name, kind in schema.items()
        if (kind == pl.String or kind == pl.Date or isinstance(kind, pl.Datetime))
        and not looks_like_value(name) and names.event_time_rank(name) < 2 and _may_be(raw, name, kind)
    ]  # fmt: skip
    found = {}
    for name in open_names:
        words = tuple(_words(raw.select(name).collect().to_series()))
        if words:
            found[name] = words
    return found


def _may_be(raw: pl.LazyFrame, name: str, kind: pl.DataType) -> bool:
    """Say whether the first texts of a column begin as a date does; a time is one."""
    if kind != pl.String:
        return True
    head = raw.select(pl.col(name).drop_nulls().head(20)).collect().to_series()
    return len(head) > 0 and all(_DAY.match(text) for text in head)


def _words(values: pl.Series) -> Iterator[str]:
    filled = values.drop_nulls()
    if values.dtype != pl.String and not _has_such_days(filled):
        return
    counts = filled.value_counts(sort=True).head(5)
    if filled.n_unique() < 3:
        return
    for value, count in counts.iter_rows():
        if count < max(_LEAST, _SHARE * len(values)):
            return
        day = _day_of(value) if isinstance(value, str) else (value.year, value.month, value.day)
        if day is not None and (day[0] >= _FAR_YEAR or day in _FIRSTS):
            yield value if isinstance(value, str) else str(value).partition("+")[0]


def _has_such_days(filled: pl.Series) -> bool:
    """Say whether times go beyond the years in which things happen; only then one of them can stand for "never"."""
    years = filled.to_frame("at").select(low=pl.col("at").min().dt.year(), high=pl.col("at").max().dt.year())
    low, high = years.row(0)
    return low is not None and (high >= _FAR_YEAR or low <= _LAST_FIRST)


def _day_of(text: str) -> tuple[int, int, int] | None:
    """Return year, month and day of a text; of 12/31/9999 and 31/12/9999 the larger number is the day."""
    match = _DAY.match(text)
    if match is None:
        return None
    if match[1]:
        return int(match[1]), int(match[2]), int(match[3])
    one, other = sorted((int(match[4]), int(match[5])))
    return int(match[6]), one, other
