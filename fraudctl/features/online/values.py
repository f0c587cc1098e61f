"""Single values: from what a message holds to the type of its column, and to the numbers that the state keeps."""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.errors import DataError
from fraudctl.features.online.log_words import NO_CODE
from fraudctl.text.plain import shown

Coercion = Callable[[Any], Any]
EPOCH = datetime(1970, 1, 1)
_AWARE = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_LIMIT = 1 << 63


def micros(value: Any, *, name: str = "event_time") -> int:
    """Return µs UTC of an instant: a whole number of them, or a time with a zone."""
    if type(value) is int:
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return (value - _AWARE) // _MICROSECOND
    msg = f"{name}: is {type(value).__name__}; expected µs since 1970 as a whole number, or a time with a zone"
    raise DataError(msg)


def local_clock(zone: str) -> Callable[[int], datetime]:
    """Return a function from µs UTC to the naive local time there."""
    if zone == "UTC":
        return lambda us: EPOCH + timedelta(microseconds=us)
    found = ZoneInfo(zone)

    def local(us: int) -> datetime:
        return (_AWARE + timedelta(microseconds=us)).astimezone(found).replace(tzinfo=None)

    return local


def coercion(dtype: pl.DataType) -> Coercion:
    """Return a function that brings a value to a type; None is null, and so is a float that is not finite.

    The function raises TypeError for a value that the type cannot have.
    """
    if dtype.is_integer():
        return _whole
    if dtype.is_float():
        return _number
    if dtype == pl.String:
        return _text
    return _truth if dtype == pl.Boolean else _moment_of(dtype)


def refused(values: Mapping[str, Any], takes: Iterable[tuple[str, pl.DataType]]) -> DataError:
    """Return the error for the value that its column's type cannot hold; the value is not shown."""
    for name, dtype in takes:
        try:
            coercion(dtype)(values.get(name))
        except TypeError:
            return DataError(f"column {shown(name)}: holds {type(values.get(name)).__name__}; expected {dtype}")
    return DataError("a value is not of the type of its column")


def _whole(value: Any) -> int | None:
    if type(value) is int and -_LIMIT <= value < _LIMIT:
        return value
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return _whole(int(value))
    if isinstance(value, bool):
        return int(value)
    raise TypeError


def _number(value: Any) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise TypeError
    try:
        return _number(float(value))
    except OverflowError:
        return None


def _text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    raise TypeError


def _truth(value: Any) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise TypeError


def _moment_of(dtype: pl.DataType) -> Callable[[Any], Any]:
    def moment(value: Any) -> Any:
        if type(value) is int and isinstance(dtype, pl.Datetime):
            value = _AWARE + timedelta(microseconds=value)
            return value if dtype.time_zone else value.replace(tzinfo=None)
        return value

    return moment


def code_of(value: Any) -> int:
    """Return the number that stands for a value among those of its column; `NO_CODE` for null.

    Whole numbers stand for themselves, floats for their bits; texts are hashed to 64 bits (BLAKE2b).
    """
    if value is None:
        return NO_CODE
    if type(value) is str:
        return _code_of_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return int(struct.unpack("<q", struct.pack("<d", value + 0.0))[0])
    if isinstance(value, datetime):
        return (value - (EPOCH if value.tzinfo is None else _AWARE)) // _MICROSECOND
    if isinstance(value, date):
        return value.toordinal() - _DATE
    return _code_of_text(str(value))


@functools.lru_cache(maxsize=1 << 16)
def _code_of_text(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def as_text(dtype: pl.DataType) -> Callable[[Any], str | None]:
    """Return a function that writes a value of a type as Polars does."""
    if dtype.is_integer():
        return lambda value: None if value is None else str(value)

    @functools.lru_cache(maxsize=4096)
    def text(value: Any) -> str | None:
        written: str | None = pl.Series([value], dtype=dtype).cast(pl.String)[0]
        return written

    return text


_KINDS = {"datetime": datetime.fromisoformat, "date": date.fromisoformat, "time": time.fromisoformat}
_NESTED = frozenset({list, dict})


def to_json(value: Any) -> Any:
    """Write a value as what JSON can hold."""
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return {type(value).__name__: value.isoformat()}
    if isinstance(value, timedelta):
        return {"timedelta": value // timedelta(microseconds=1)}
    return {"decimal": str(value)} if isinstance(value, Decimal) else value


def from_json(value: Any) -> Any:
    """Read a value that `to_json` wrote."""
    if isinstance(value, list):
        if _NESTED.isdisjoint(map(type, value)):
            return tuple(value)
        return tuple([from_json(item) if type(item) in _NESTED else item for item in value])
    if not isinstance(value, dict):
        return value
    kind, text = next(iter(value.items()))
    if kind == "timedelta":
        return timedelta(microseconds=text)
    return Decimal(text) if kind == "decimal" else _KINDS[kind](text)
