"""One column of a raw table as the values that the rest works with: ids, amounts, labels, arrivals."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from fraudctl.errors import DataError
from fraudctl.money import refuse_beyond
from fraudctl.normal import times
from fraudctl.normal.form import WIDE, exact_whole
from fraudctl.text.plain import shown


def to_label(values: pl.Series, *, mapping: Mapping[str, int | None], where: str = "[data.label_values]") -> pl.Series:
    """Normalise outcomes to Int8 1, 0 or null, through ``mapping`` (text of the value -> 1, 0, None) where given.

    ``where`` is what the place of the mapping in the project file is called.
    """
    if mapping:
        text = as_text(values)
        unknown = text.filter(text.is_not_null() & ~text.is_in(list(mapping)))
        if len(unknown):
            msg = f"column {shown(values.name)} (label): {len(unknown)} values are not in {where}"
            raise DataError(msg, hint='map every value to 1, 0 or "unknown"')
        return text.replace_strict(mapping, default=None, return_dtype=pl.Int8)
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        msg = f"column {shown(values.name)} (label): is {values.dtype}; expected 1, 0 or null"
        raise DataError(msg, hint=f'map its values in {where}, such as fraud = 1, legit = 0, open = "unknown"')
    numbers = values if values.dtype.is_integer() else values.cast(pl.Float64).fill_nan(None)
    odd = int(((numbers != 0) & (numbers != 1)).sum())
    if odd:
        msg = f"column {shown(values.name)} (label): {odd} of {len(values)} values are neither 1, 0 nor null"
        raise DataError(msg, hint=f'map them in {where}, such as 2 = "unknown"')
    return numbers.cast(pl.Int8)


def as_text(values: pl.Series) -> pl.Series:
    """Return the text of each value; integral floats are written as integers, as a file with nulls may hold them."""
    if values.dtype.is_float() or isinstance(values.dtype, pl.Decimal):
        values = values.cast(pl.Float64).fill_nan(None)
        whole = values.cast(pl.Int64, strict=False)
        if ((whole.cast(pl.Float64) == values) | values.is_null()).all():
            values = whole
    return values.cast(pl.String)


def to_amount(values: pl.Series, *, part: bool = False) -> pl.Series:
    """Normalise amounts to Float64; NaN and infinities become null.

    A column (no ``part``) without any amount, or with one larger than `fraudctl.money.LARGEST`, is an error.
    """
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        msg = f"column {shown(values.name)} (amount): is {values.dtype}; expected a number"
        raise DataError(msg)
    amounts = finite(values.cast(pl.Float64))
    refuse_beyond(amounts.to_numpy(), where=f"column {shown(values.name)} (amount)")
    if amounts.null_count() == len(amounts) and not part:
        msg = f"column {shown(values.name)} (amount): all {len(amounts)} values are null"
        raise DataError(msg, hint="name another column in [data] amount, or leave it out where costs need none")
    return amounts


def to_id(values: pl.Series) -> pl.Series:
    """Return ids of events or entities as Int64 or String; nulls stay null.

    Floats must be whole numbers that a float holds exactly, as integers beside nulls are often written.

    Raises
    ------
    DataError
        Another type, or floats that are no ids.
    """
    if values.dtype.is_float():
        return exact_whole(values)
    dtype = values.dtype
    if dtype.is_integer() and dtype not in WIDE:
        return values.cast(pl.Int64)
    if isinstance(dtype, pl.Decimal) and dtype.scale == 0:
        return values.cast(pl.String)
    if dtype == pl.Binary:
        return _utf8(values)
    if dtype in (pl.String, pl.Categorical, pl.Null) or dtype.is_integer() or isinstance(dtype, pl.Enum):
        return values.cast(pl.String)
    msg = f"column {shown(values.name)}: is {dtype}; expected integers or text as ids"
    raise DataError(msg)


def _utf8(values: pl.Series) -> pl.Series:
    """Return bytes as the text that they are in UTF-8, as some writers store it."""
    found = values.cast(pl.String, strict=False)
    if found.null_count() > values.null_count():
        msg = f"column {shown(values.name)}: is Binary and no UTF-8 text; expected integers or text as ids"
        raise DataError(msg, hint="write the ids as text, for example in hexadecimal")
    return found


def finite(values: pl.Series) -> pl.Series:
    """Return floats with null for NaN and infinities."""
    return values.set(~values.is_finite().fill_null(value=True), None)


def plain(values: pl.Series) -> pl.Series:
    """Return a carried column a plain type: text for categories, finite floats."""
    if values.dtype == pl.Categorical or isinstance(values.dtype, pl.Enum):
        return values.cast(pl.String)
    if isinstance(values.dtype, pl.Decimal):
        return values.cast(pl.Float64)
    return finite(values) if values.dtype.is_float() else values


def arrivals(stated: pl.Series, event_time: pl.Series, *, timezone: str) -> pl.Series:
    """Return when labels arrived (µs UTC); of a local time that happens twice, the first not before its event.

    An event at 02:50 and its label at 02:10 of the same night lie 20 minutes apart when clocks go back in between.
    """
    first = times.utc(stated, timezone=timezone, role="label_time")
    if timezone == "UTC" or not (first < event_time).any():
        return first
    if isinstance(stated.dtype, pl.Datetime) and stated.dtype.time_zone is None:
        local = stated.dt.cast_time_unit("us")
    elif stated.dtype == pl.String:
        local = times.iso_times(stated, timezone=timezone, role="label_time")
        if not isinstance(local.dtype, pl.Datetime) or local.dtype.time_zone is not None:
            return first
    else:
        return first
    second = times.localised(local, timezone=timezone, role="label_time", ambiguous="latest")
    later = ((first < event_time) & (second >= event_time)).fill_null(value=False)
    return second.zip_with(later, first)
