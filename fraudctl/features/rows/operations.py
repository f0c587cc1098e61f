"""What the nodes of a row-level expression do to the values of one row, in Python, as Polars does it to a column.

Null is None and goes through; infinities and NaN are values. Whole numbers wrap around, floats compare in Polars'
order, text beyond ASCII is not looked at here. `rowcompile` puts these together.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

RowFunction = Callable[[Sequence[Any]], Any]
"""From the values of a row, by place, to the value of the expression; None is null."""
SPACE = " \t\n\x0b\x0c\r"

PYTHON: dict[Any, type] = {pl.String: str, pl.Boolean: bool}
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtEq": operator.le,
    "Gt": operator.gt,
    "GtEq": operator.ge,
}


def constant(value: Any) -> RowFunction:
    """Return the same value for every row."""
    return lambda _row: value


def strict(operation: Callable[[Any, Any], Any], a: RowFunction, b: RowFunction) -> RowFunction:
    """Return null where either is."""

    def strict(row: Sequence[Any]) -> Any:
        first = a(row)
        if first is None:
            return None
        second = b(row)
        return None if second is None else operation(first, second)

    return strict


def one(operation: Callable[[Any], Any], function: RowFunction) -> RowFunction:
    """Apply an operation to what is not null."""
    return lambda row: None if (value := function(row)) is None else operation(value)


def decided(a: RowFunction, b: RowFunction, *, by: bool) -> RowFunction:
    """Combine two truth values of which one that is ``by`` decides: false for AND, true for OR; null is unknown."""

    def decided(row: Sequence[Any]) -> bool | None:
        first: bool | None = a(row)
        second: bool | None = None if first is by else b(row)
        if first is by or second is by:
            return by
        return None if first is None or second is None else not by

    return decided


def equal(a: Any, b: Any) -> bool:
    """Compare with null equal to null and NaN to NaN."""
    if a is None or b is None:
        return a is b
    return bool(a == b or (a != a and b != b))


def total(compared: Callable[[Any, Any], bool]) -> Callable[[float, float], bool]:
    """Compare floats in Polars' order: NaN equals itself and is above all numbers."""

    def total(a: float, b: float) -> bool:
        if a == a and b == b:
            return compared(a, b)
        return compared(int(a != a), int(b != b))

    return total


def first(functions: list[RowFunction]) -> RowFunction:
    """Return the first value that is not null."""

    def first(row: Sequence[Any]) -> Any:
        for function in functions:
            value = function(row)
            if value is not None:
                return value
        return None

    return first


def _divided(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    if a == 0.0 or a != a:
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _remainder(a: float, b: float) -> float:
    """Return the remainder with the sign of the divided, as Rust's ``%`` does."""
    try:
        return math.fmod(a, b)
    except ValueError:
        return math.nan


def _whole_quotient(a: int, b: int) -> int | None:
    """Divide towards zero; by 0 gives null."""
    if b == 0:
        return None
    if b == -1 and a == -(1 << 63):
        msg = "a quotient beyond 64 bits"
        raise OverflowError(msg)
    found = abs(a) // abs(b)
    return found if (a < 0) == (b < 0) else -found


def _whole_remainder(a: int, b: int) -> int | None:
    if b == 0:
        return None
    found = abs(a) % abs(b)
    return -found if a < 0 else found


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Plus": operator.add,
    "Minus": operator.sub,
    "Mul": operator.mul,
    "Div": _divided,
    "IntDiv": _whole_quotient,
    "Rem": _remainder,
}
FLOAT_OPERATIONS = {name: ARITHMETIC[name] for name in ("Plus", "Minus", "Mul", "Div", "Rem")}
INT_OPERATIONS: dict[str, Callable[[int, int], int | None]] = {
    "Plus": operator.add,
    "Minus": operator.sub,
    "Mul": operator.mul,
    "IntDiv": _whole_quotient,
    "Rem": _whole_remainder,
    "Floor": lambda a, b: None if b == 0 else a // b,
}


def nanoseconds(at: datetime) -> int:
    """Return a time as nanoseconds since 1970; beyond 64 bits (1677 to 2262) it wraps around, as it does in Polars."""
    found = (at - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000
    return (found + (1 << 63)) % (1 << 64) - (1 << 63)


def wrapped(operation: Callable[[int, int], int | None], bits: int) -> Callable[[int, int], int | None]:
    """Return a function whose whole numbers wrap around at 64 bits, as they do in Polars."""
    half = 1 << (bits - 1)

    def wrapped(a: int, b: int) -> int | None:
        value = operation(a, b)
        return value if value is None or -half <= value < half else (value + half) % (2 * half) - half

    return wrapped


def wrapped_one(operation: Callable[[int], int], bits: int) -> Callable[[int], int]:
    """Return what `wrapped` does, for a function of one whole number."""
    half = 1 << (bits - 1)
    return lambda value: (operation(value) + half) % (2 * half) - half


def simple_cast(own: pl.DataType, to: pl.DataType) -> Callable[[Any], Any] | None:
    """Return a cast that cannot fail and that Python does as Polars does, or None."""
    if to.is_float() and (own.is_integer() or own == pl.Boolean or own.is_decimal()):
        return float
    if to == pl.Int64 and (own.is_integer() or own == pl.Boolean):
        return int
    if to == pl.String and own.is_integer():
        return str
    if to == pl.Date and isinstance(own, pl.Datetime):
        return datetime.date
    return None


def guarded(fast: Callable[[float], float], slow: Any, function: RowFunction) -> RowFunction:
    """Use Python's function, and numpy's where Python would raise."""

    def guarded(row: Sequence[Any]) -> float | None:
        value = function(row)
        if value is None:
            return None
        try:
            return fast(value)
        except (ValueError, OverflowError, ZeroDivisionError):
            with np.errstate(all="ignore"):
                return float(slow(value))

    return guarded


def guarded_two(fast: Callable[[float, float], float], slow: Any, a: RowFunction, b: RowFunction) -> RowFunction:
    """Return what `guarded` does, for a function of two numbers."""

    def guarded(first: float, second: float) -> float:
        try:
            return fast(first, second)
        except (ValueError, OverflowError, ZeroDivisionError):
            with np.errstate(all="ignore"):
                return float(slow(np.float64(first), np.float64(second)))

    return strict(guarded, a, b)


def _sign(value: float) -> float:
    return math.copysign(1.0, value) if value else value


FLOATS: dict[tuple[str, str], tuple[Callable[[float], float], Any]] = {
    ("", "Abs"): (abs, np.abs),
    ("", "Sign"): (_sign, np.sign),
    ("", "Exp"): (math.exp, np.exp),
    ("", "Log1p"): (math.log1p, np.log1p),
    ("", "Floor"): (lambda x: float(math.floor(x)), np.floor),
    ("", "Ceil"): (lambda x: float(math.ceil(x)), np.ceil),
    ("Pow", "Sqrt"): (math.sqrt, np.sqrt),
    ("Pow", "Cbrt"): (math.cbrt, np.cbrt),
    ("Trigonometry", "Sin"): (math.sin, np.sin),
    ("Trigonometry", "Cos"): (math.cos, np.cos),
    ("Trigonometry", "Tan"): (math.tan, np.tan),
    ("Trigonometry", "ArcSin"): (math.asin, np.arcsin),
    ("Trigonometry", "ArcCos"): (math.acos, np.arccos),
    ("Trigonometry", "ArcTan"): (math.atan, np.arctan),
    ("Trigonometry", "Radians"): (math.radians, np.radians),
    ("Trigonometry", "Degrees"): (math.degrees, np.degrees),
}
TWO_FLOATS: dict[tuple[str, str], tuple[Callable[[float, float], float], Any]] = {
    ("Pow", "Generic"): (math.pow, np.power),
    ("", "Atan2"): (math.atan2, np.arctan2),
}
LOGARITHMS: dict[float, tuple[Callable[[float], float], Any]] = {
    math.e: (math.log, np.log),
    2.0: (math.log2, np.log2),
    10.0: (math.log10, np.log10),
}
PARTS: dict[Any, Callable[[datetime], int]] = {
    "Year": lambda at: at.year,
    "Quarter": lambda at: (at.month + 2) // 3,
    "Month": lambda at: at.month,
    "Week": lambda at: at.isocalendar()[1],
    "WeekDay": lambda at: at.isoweekday(),
    "Day": lambda at: at.day,
    "OrdinalDay": lambda at: at.timetuple().tm_yday,
    "Hour": lambda at: at.hour,
    "Minute": lambda at: at.minute,
    "Second": lambda at: at.second,
    "Nanosecond": lambda at: at.microsecond * 1000,
}

# ---------------------------------------------------------------- text

ONE_TEXT: dict[Any, Callable[[str], Any]] = {
    "LenChars": len,
    "LenBytes": len,
    "Uppercase": str.upper,
    "Lowercase": str.lower,
    "Reverse": lambda text: text[::-1],
    "StripChars": lambda text: text.strip(SPACE),
    "StripCharsStart": lambda text: text.lstrip(SPACE),
    "StripCharsEnd": lambda text: text.rstrip(SPACE),
}


def in_ascii(operation: Callable[[str], Any], function: RowFunction, slow: RowFunction) -> RowFunction:
    """Use Python on ASCII, and leave other texts to Polars."""

    def careful(row: Sequence[Any]) -> Any:
        text = function(row)
        if text is None:
            return None
        return operation(text) if text.isascii() and "\r" not in text else slow(row)

    return careful


def byte_place(text: str, needle: str) -> int | None:
    """Return where a text begins within another, in bytes; None where it does not."""
    at = text.find(needle)
    return None if at < 0 else len(text[:at].encode())
