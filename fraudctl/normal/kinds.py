"""The types of columns in files without types (CSV): what all rows are, never what the first rows or files are.

Owns the rule: whole numbers without leading zeros, numbers, true and false, ISO 8601 dates and times, else text. A
column without a single value is null, and takes the type that it is needed as.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import polars as pl

from fraudctl.normal import times

_HEAD: Final = 2_000
"""Rows that nominate a type, which all rows then have to be."""
LEADING_ZERO: Final = r"^[+-]?0[0-9]"


def find_kinds(texts: pl.LazyFrame, names: Collection[str]) -> dict[str, pl.DataType]:
    """Return the type of each named column of texts, by one reading of all its rows."""
    if not names:
        return {}
    head = texts.select(names).head(_HEAD).collect()
    tests, nominated = [], {}
    for name in names:
        nominated[name] = kind = _nominate(head[name].drop_nulls())
        tests += [test.alias(f"{name}\0{key}") for key, test in _tests(name, kind).items()]
    found = texts.select(tests).collect().row(0, named=True) if tests else {}
    out = {}
    for name, kind in nominated.items():
        told = {key.rpartition("\0")[2]: value for key, value in found.items() if key.rpartition("\0")[0] == name}
        out[name] = _settle(kind, told)
    again = [name for name, kind in out.items() if isinstance(kind, pl.Unknown)]
    return out | {name: _of_all(texts.select(name).collect().to_series()) for name in again}


def typed(name: str, kind: pl.DataType) -> pl.Expr:
    """Return the expression that turns a column of texts into a type that all its rows have."""
    column = pl.col(name)
    if kind == pl.String:
        return column
    if kind == pl.Boolean:
        return column.str.to_lowercase() == "true"
    if kind.is_temporal():
        return column.map_batches(_as_time(kind), return_dtype=kind)
    return column.cast(kind)


def _as_time(kind: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    def read(values: pl.Series) -> pl.Series:
        if kind == pl.Date:
            return values.str.strip_chars().str.to_date("%Y-%m-%d")
        found = times.iso_times(values, timezone="UTC", role="time")
        return found.cast(kind) if found.dtype != kind else found

    return read


def _nominate(head: pl.Series) -> pl.DataType:
    if not len(head):
        return pl.Unknown()
    if not head.cast(pl.Int64, strict=False).null_count():
        return pl.Int64()
    if not head.cast(pl.Float64, strict=False).null_count():
        return pl.Float64()
    if head.is_in(["true", "false"]).all():
        return pl.Boolean()
    if head.str.contains(times.ISO_DATE).all():
        return pl.Datetime("us")
    return pl.String()


def _tests(name: str, kind: pl.DataType) -> dict[str, pl.Expr]:
    """Return the figures that say whether all rows are of a type."""
    column = pl.col(name)
    filled = column.count()
    if kind == pl.String:
        return {}
    if isinstance(kind, pl.Unknown):
        return {"filled": filled}
    if kind == pl.Boolean:
        return {"fits": column.is_in(["true", "false"]).all()}
    if isinstance(kind, pl.Datetime):
        return {"fits": column.str.contains(times.ISO_DATE).all()}
    out = {"filled": filled, "zeros": column.str.contains(LEADING_ZERO).any()}
    out["numbers"] = column.cast(pl.Float64, strict=False).count()
    if kind == pl.Int64:
        out["whole"] = column.cast(pl.Int64, strict=False).count()
    return out


def _settle(kind: pl.DataType, told: Mapping[str, object]) -> pl.DataType:
    """Return the type that the figures of all rows allow; Unknown where the column has to be looked at."""
    if isinstance(kind, pl.Unknown):
        return pl.Null() if told["filled"] == 0 else pl.Unknown()
    if kind == pl.Boolean:
        return kind if told["fits"] else pl.String()
    if isinstance(kind, pl.Datetime):
        return pl.Unknown() if told["fits"] else pl.String()
    if kind.is_numeric():
        if told["zeros"] and told.get("whole", -1) == told["filled"]:
            return pl.String()
        if told.get("whole", -1) == told["filled"]:
            return pl.Int64()
        if told["numbers"] != told["filled"]:
            return pl.String()
        return pl.Unknown() if kind == pl.Int64 or told["zeros"] else pl.Float64()
    return pl.String()


def _of_all(values: pl.Series) -> pl.DataType:
    """Return the type of a column by looking at all of it."""
    filled = values.drop_nulls()
    if filled.str.contains(times.ISO_DATE).all():
        if filled.str.contains(r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}\s*$").all():
            dates = filled.str.strip_chars().str.to_date("%Y-%m-%d", strict=False)
            return pl.Date() if not dates.null_count() else pl.String()
        lost, found = times.iso_read(filled, timezone="UTC", role="time")
        mixed = isinstance(found.dtype, pl.Datetime) and found.dtype.time_zone is not None
        return pl.String() if lost or (mixed and _partly_zoned(filled)) else found.dtype
    if filled.is_in(["true", "false"]).all():
        return pl.Boolean()
    digits = filled.str.contains(r"^[+-]?[0-9]+$")
    if bool(digits.any()) and bool((digits & filled.str.contains(r"^[+-]?0*[0-9]{19,}$")).any()):
        return pl.String()  # whole numbers beyond 64 bits: ids, which a float would merge
    if bool(filled.str.contains(LEADING_ZERO).any()):
        return pl.String()
    if not filled.cast(pl.Int64, strict=False).null_count():
        return pl.Int64()
    return pl.String() if filled.cast(pl.Float64, strict=False).null_count() else pl.Float64()


def _partly_zoned(texts: pl.Series) -> bool:
    """Return whether some texts have a zone and others have none: only a role's zone can read these."""
    zoned = texts.str.contains(times.ISO_ZONE)
    return not bool(zoned.all())
