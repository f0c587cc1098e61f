"""Aggregates, distances and exact deviations of a few values in plain Python, as the reference computes them."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from fraudctl.features.meaning.families.geo import AXES, EARTH_KM, GRID

Value = float | int | str | bool | None


def aggregate(kind: str, values: list[float]) -> float | None:
    """Aggregate values that are not null; return None where that is undefined or not finite.

    >>> aggregate("mad", [1.0, 2.0, 6.0]), aggregate("std", [1.0])
    (1.0, None)
    """
    if not values or (kind == "std" and len(values) < 2):
        return None
    if kind == "min":
        return min(values)
    if kind == "max":
        return max(values)
    if kind == "std":
        return std(values)
    if kind in {"median", "mad"}:
        centre = median(values)
        return centre if kind == "median" else median([abs(value - centre) for value in values])
    try:
        total = math.fsum(values)
    except OverflowError:
        return None
    return total if kind == "sum" else total / len(values)


def place(kind: str, *values: float) -> Value:
    """Return a coordinate on the unit sphere, a distance in km or a speed in km/h; NaN are nulls."""
    if kind in AXES:
        lat, lon = values
        if not (abs(lat) <= 90 and abs(lon) <= 180):
            return None
        phi, lam = math.radians(lat), math.radians(lon)
        exact = math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)
        return math.floor(exact[AXES.index(kind)] * GRID + 0.5) / GRID
    if any(value != value for value in values):
        return None
    length = math.hypot(*values[3:6])
    if kind == "distance_from_usual" and length < 1e-9:
        return None
    ends = values[:3], [value / length for value in values[3:6]]
    half = math.sqrt(sum((b - a) ** 2 for a, b in zip(*ends, strict=True))) / 2
    km = 2 * EARTH_KM * math.asin(min(half, 1.0))
    km = km if km >= 1e-6 else 0.0
    if kind != "speed_from_last":
        return km
    return km * 3600 / values[6] if values[6] > 0 else None


def median(values: list[float]) -> float:
    """Return the middle value, or the mean of the two middle ones."""
    ordered, n = sorted(values), len(values)
    return ordered[n // 2] if n % 2 else 0.5 * ordered[n // 2 - 1] + 0.5 * ordered[n // 2]


def std(values: list[float]) -> float | None:
    """Return the standard deviation with ddof 1, from the exact variance scaled near to 1.

    Floats are integers over powers of two; over their common denominator the sums of values and squares are exact.
    """
    ratios, n = [value.as_integer_ratio() for value in values], len(values)
    common = max(denominator for _, denominator in ratios)
    whole = [numerator * (common // denominator) for numerator, denominator in ratios]
    total = sum(whole)
    variance = Fraction(n * sum(value * value for value in whole) - total * total, n * (n - 1) * common * common)
    scale = (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
    try:
        return math.ldexp(math.sqrt(variance * (Fraction(1, 4**scale) if scale >= 0 else 4**-scale)), scale)
    except OverflowError:
        return None


def number(value: Value) -> float:
    """Return a value as a number, NaN for None."""
    return float(value) if value is not None else math.nan


def plain(value: Any) -> Value:
    """Return None for NaN and infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def of_moment(kind: str, moment: date | None, event: datetime, timezone: str) -> Value:
    """Return the seconds from a date or time to an event, its local hour, or whether both share a second."""
    if moment is None:
        return None
    found = datetime.combine(moment, time()) if not isinstance(moment, datetime) else moment
    if found.tzinfo is None:
        found = found.replace(tzinfo=ZoneInfo(timezone))
        there = found.astimezone(UTC).astimezone(ZoneInfo(timezone))
        if (there.hour, there.minute) != (found.hour, found.minute):
            return None
    if kind == "hour":
        return found.astimezone(ZoneInfo(timezone)).hour
    if kind == "same_second":
        return found.astimezone(UTC).replace(microsecond=0) == event.astimezone(UTC).replace(microsecond=0)
    return (event.astimezone(UTC) - found.astimezone(UTC)) / timedelta(seconds=1)
