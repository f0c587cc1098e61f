"""What is in each column: type, nulls, distinct values, and what kind of thing that makes it.

Owns one pass over the columns, read in groups, so that a table larger than `fraudctl.data.columns.room` never lies in
memory whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import polars as pl

from fraudctl.data import tables, typed
from fraudctl.data.columns import Columns
from fraudctl.errors import DataError
from fraudctl.metrics.tallies import least_rows, tally
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.text.plain import looks_like_value

Kind = Literal["time", "whole", "number", "bool", "text", "other"]


@dataclass(frozen=True)
class ProfiledColumn:
    """One column and its statistics; ``n_unique`` counts non-null values, ``largest`` rows of the most frequent one."""

    name: str
    dtype: pl.DataType
    kind: Kind
    n_rows: int
    n_null: int
    n_unique: int
    largest: int = 0

    @property
    def n_filled(self) -> int:
        """Rows with a value."""
        return self.n_rows - self.n_null

    @property
    def unique_share(self) -> float:
        """Distinct values per filled row; 0 where nothing is filled."""
        return self.n_unique / self.n_filled if self.n_filled else 0.0


@dataclass(frozen=True)
class Table:
    """The raw table: the statistics of its columns, and access to their values."""

    raw: pl.LazyFrame
    place: str
    n_rows: int
    values: Columns
    steps: Steps

    def __getitem__(self, name: str) -> pl.Series:
        return self.values[name]

    @cached_property
    def columns(self) -> dict[str, ProfiledColumn]:
        """The statistics of every column whose name looks like a name, in the order of the file."""
        names = [name for name in self.values.schema if not looks_like_value(name)]
        found, work = {}, partial(_profile, least_rows=least_rows(len(names)))
        for name, column in self.values.each(names, work):
            self.steps.begin("counting values")
            found[name] = column
        return found

    @property
    def n_odd_names(self) -> int:
        """Columns whose names look like values of cells: nothing is proposed for these, and nothing shows them."""
        return sum(map(looks_like_value, self.values.schema))


def may_hold_ids(column: ProfiledColumn, values: pl.Series) -> bool:
    """Say whether values can be ids: integers, text, or whole numbers that were written as floats."""
    if not column.dtype.is_float():
        return column.kind in {"whole", "text"}
    if column.kind not in {"whole", "number"} or column.n_unique < 2:
        return False
    try:
        typed.to_id(values)
    except DataError:
        return False
    return True


def open_table(raw: pl.LazyFrame, *, place: str, progress: Progress | None = None) -> Table:
    """Wrap a raw table; one without rows or without columns is a DataError."""
    values = Columns(raw, place=place)
    if values.n_rows == 0:
        msg = f"{place}: the table has no rows"
        raise DataError(msg, hint="init needs events to look at")
    progress = progress or Silent()
    progress.stage(f"Looking at {values.n_rows:,} rows")
    return Table(raw, place, values.n_rows, values, Steps(progress, 2 * len(values.schema)))


def _profile(values: pl.Series, *, least_rows: int) -> ProfiledColumn:
    found = tally(values, least_rows=least_rows)
    if values.dtype.is_float() and found.n_null > values.null_count():
        values = values.fill_nan(None)
    return ProfiledColumn(
        values.name, values.dtype, _kind(values), len(values), found.n_null, found.n_unique, found.largest
    )


def _kind(values: pl.Series) -> Kind:
    dtype = values.dtype
    if dtype == pl.Boolean:
        return "bool"
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return "time"
    if dtype.is_integer():
        return "whole"
    if dtype.is_float():
        return "whole" if _all_whole(values) else "number"
    if isinstance(dtype, pl.Decimal):
        return "number"
    if dtype == pl.String:
        return "time" if _all_times(values) else "text"
    return "text" if dtype == pl.Categorical or isinstance(dtype, pl.Enum) else "other"


def _all_whole(values: pl.Series) -> bool:
    """Say whether floats are ids or counts in disguise: a column of integers with nulls often arrives as floats."""
    filled = values.drop_nulls()
    return bool(values.null_count()) and len(filled) > 0 and bool((filled == filled.round()).all())


def _all_times(values: pl.Series) -> bool:
    sample = values.drop_nulls().head(1000)
    if not len(sample) or not bool(sample.str.contains(r"^\d{4}-\d{2}-\d{2}").all()):
        return False
    try:
        tables.to_utc(sample, timezone="UTC", role="event_time")
    except (DataError, pl.exceptions.ComputeError):
        return False
    return True
