"""Instants from what a table holds: timestamps, ISO 8601 text, texts of declared formats, counts since an origin.

Owns the meaning of a time, for a column (`utc`) and for a single value (`one_declared`, `iso_one`), with equal results.
Times without a zone are local to the project.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.errors import DataError
from fraudctl.normal import moments
from fraudctl.normal.formats import compile_format
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.project.reading import TimeSection

_SUFFIX: Final = re.compile(r"\s*(?:[Zz]|UTC|GMT)$")
_GAP: Final = re.compile(r"\s+([+-][0-9]{2}(?::?[0-9]{2})?)$")
UTC_US: Final = pl.Datetime("us", "UTC")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER: Final = {
    "ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000,
    "d": 86_400_000_000_000, "w": 7 * 86_400_000_000_000,
}  # fmt: skip
_UNIT_WORDS: Final = {
    "ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours",
    "d": "days", "w": "weeks", "month": "months",
}  # fmt: skip
_FIRST_US: Final = -62_135_510_400_000_000
_LAST_US: Final = 253_402_128_000_000_000
"""Microseconds of 0001-01-02 and 9999-12-30: times that every zone can write."""
_MOST_MONTHS: Final = 12 * 10_000
ISO_DATE: Final = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}"
"""What a time in text starts with where no format is declared: of other notations nobody can say which number is the
day."""
ISO_ZONE: Final = r"[T ][0-9]{2}:[0-9]{2}.*(?:[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)\s*$"
_ISO_FORMS: Final = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")


def utc(times: pl.Series, *, timezone: str, role: str) -> pl.Series:
    """Normalise instants to microseconds UTC; times without a zone are read in ``timezone``.

    A local time that happens twice (when clocks go back) is taken as the earlier; one that never happens is an error.
    """
    dtype = times.dtype
    if dtype == pl.String:
        times = iso_times(times, timezone=timezone, role=role)
    elif dtype == pl.Date:
        times = times.cast(pl.Datetime("us"))
    elif dtype == pl.Null:
        times = times.cast(UTC_US)
    elif not isinstance(dtype, pl.Datetime):
        msg = f"column {shown(times.name)} ({role}): is {dtype}; expected a timestamp, a date or ISO 8601 text"
        hint = 'numbers since an origin are read with [data.time] unit = "s" (and origin); a row number is no time'
        raise DataError(msg, hint=hint)
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        return times.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return localised(times.dt.cast_time_unit("us"), timezone=timezone, role=role)


def localised(local: pl.Series, *, timezone: str, role: str, ambiguous: str = "earliest") -> pl.Series:
    """Return local times (µs) as instants; one that never happens is a DataError."""
    if timezone == "UTC":
        return local.dt.replace_time_zone("UTC")
    zoned = local.dt.replace_time_zone(timezone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
    lost = zoned.null_count() - local.null_count()
    if lost:
        msg = f"column {shown(local.name)} ({role}): {lost} times do not exist in {timezone} (clocks went forward)"
        raise DataError(msg, hint="are the times in another zone? set [data] timezone")
    return zoned.dt.convert_time_zone("UTC")


def iso_times(times: pl.Series, *, timezone: str, role: str) -> pl.Series:
    """Return ISO 8601 texts as local times (µs), or as instants where any text has a zone.

    Texts with a zone and texts without may stand in one column; " UTC" and a space before an offset are read too.
    """
    lost, parsed = iso_read(times, timezone=timezone, role=role)
    if lost:
        msg = f"column {shown(times.name)} ({role}): {lost} of {len(times)} texts are not ISO 8601 times"
        hint = (
            'declare how they are written: [data.time] format = "%d/%m/%Y %H:%M" (docs/data.md), or write them '
            "year first, as 2026-01-31 23:59:00"
        )
        raise DataError(msg, hint=hint)
    return parsed


def are_iso(times: pl.Series) -> bool:
    """Return whether all texts are ISO 8601 times."""
    return iso_read(times, timezone="UTC", role="time")[0] == 0


def iso_read(times: pl.Series, *, timezone: str, role: str) -> tuple[int, pl.Series]:
    """Return how many texts are no ISO 8601 times, and the times as `iso_times` does; null where a text is none."""
    dated = times.set(~times.str.contains(ISO_DATE), None)
    zoned = dated.str.contains(ISO_ZONE).fill_null(value=False)
    if not zoned.any():
        naive = _naive(dated)
        return naive.null_count() - times.null_count(), naive
    instants = _aware(dated.set(~zoned, None))
    if not zoned.all():
        local = _naive(dated.set(zoned, None))
        instants = instants.zip_with(zoned, localised(local, timezone=timezone, role=role))
    return instants.null_count() - times.null_count(), instants


def _naive(texts: pl.Series) -> pl.Series:
    """Return ISO texts without a zone as times; null where one is not."""
    kind = pl.Datetime("us")
    try:
        found = texts.str.to_datetime(time_unit="us", strict=False)
        if not isinstance(found.dtype, pl.Datetime) or found.dtype.time_zone is not None:
            found = pl.Series(texts.name, [None] * len(texts), dtype=kind)
    except pl.exceptions.ComputeError:
        found = pl.Series(texts.name, [None] * len(texts), dtype=kind)
    for form in (*_ISO_FORMS, "%Y-%m-%d"):
        if found.null_count() == texts.null_count():
            break
        rest = texts.set(found.is_not_null(), None).str.strip_chars()
        if form == "%Y-%m-%d":
            found = found.zip_with(found.is_not_null(), rest.str.to_date(form, strict=False).cast(kind))
        else:
            found = found.zip_with(found.is_not_null(), rest.str.strptime(kind, form, strict=False))
    return found


def _aware(texts: pl.Series) -> pl.Series:
    """Return ISO texts with a zone as instants; null where one is not."""
    plain = texts.str.strip_chars().str.replace(r"\s*(?:[Zz]|UTC|GMT)$", "+00:00")
    plain = plain.str.replace(r"\s*([+-][0-9]{2}):?([0-9]{2})$", "${1}${2}").str.replace(
        r"\s*([+-][0-9]{2})$", "${1}00"
    )
    found = pl.Series(texts.name, [None] * len(texts), dtype=UTC_US)
    for form in _ISO_FORMS:
        if found.null_count() == texts.null_count():
            break
        rest = plain.set(found.is_not_null(), None)
        found = found.zip_with(found.is_not_null(), rest.str.strptime(UTC_US, form + "%z", strict=False))
    return found


def declared(values: pl.Series, form: TimeSection, *, timezone: str, role: str, part: str = "data.time") -> pl.Series:
    """Return the instants (µs UTC) of a column whose notation is declared; timestamps are taken as they are.

    Raises
    ------
    DataError
        A text that no format reads, a value that is no number where a unit is declared, a time beyond the years 1 to
        9999.
    """
    if values.dtype in (pl.Date, pl.Null) or isinstance(values.dtype, pl.Datetime):
        return utc(values, timezone=timezone, role=role)
    if form.unit is not None:
        return _counted(values, form, timezone=timezone, role=role, part=part)
    texts = values.cast(pl.String)
    found = by_formats(texts, form.formats, timezone=timezone, role=role)
    lost = found.null_count() - values.null_count()
    if lost:
        which = f"format {form.formats[0]!r}" if len(form.formats) == 1 else f"any of {len(form.formats)} formats"
        msg = f"column {shown(values.name)} ({role}): {lost} of {len(values)} texts are not of {which}"
        raise DataError(msg, hint=f"correct [{part}] format; a list of formats is tried in order")
    return found


def by_formats(texts: pl.Series, formats: tuple[str, ...], *, timezone: str, role: str) -> pl.Series:
    """Return the instants of texts, each by the first format that reads it; null where none does."""
    found = pl.Series(texts.name, [None] * len(texts), dtype=UTC_US)
    for text in formats:
        if found.null_count() == texts.null_count():
            break
        form = compile_format(text)
        rest = texts if not found.len() - found.null_count() else texts.set(found.is_not_null(), None)
        read = moments.many(rest, form)
        if not form.zoned:
            read = localised(read, timezone=timezone, role=role)
        found = found.zip_with(found.is_not_null(), read)
    return found


def _counted(values: pl.Series, form: TimeSection, *, timezone: str, role: str, part: str) -> pl.Series:
    """Return numbers, or texts of numbers, as instants: each counts units since the origin."""
    unit = str(form.unit)
    if values.dtype == pl.String:
        whole = values.cast(pl.Int64, strict=False)
        numbers = whole if whole.null_count() == values.null_count() else values.cast(pl.Float64, strict=False)
    elif values.dtype.is_numeric():
        numbers = values.cast(pl.Int64, strict=False) if values.dtype.is_integer() else values.cast(pl.Float64)
    else:
        msg = f"column {shown(values.name)} ({role}): is {values.dtype}; expected a number of {_UNIT_WORDS[unit]}"
        raise DataError(msg, hint=f"correct [{part}]")
    if unit == "month":
        micros = _months(numbers, form, timezone)
    else:
        micros = _micros(numbers, _NS_PER[unit]) + origin_micros(form, timezone)
    micros = micros.set(~micros.is_between(_FIRST_US, _LAST_US).fill_null(value=True), None)
    lost = micros.null_count() - values.null_count()
    if lost:
        msg = (
            f"column {shown(values.name)} ({role}): {lost} of {len(values)} values are no number of "
            f"{_UNIT_WORDS[unit]} within the years 1 to 9999"
        )
        raise DataError(msg, hint=f"correct [{part}] unit or origin, or name missing values in [data] missing")
    return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(values.name)


def _micros(numbers: pl.Series, ns: int) -> pl.Series:
    """Return counts of ``ns`` nanoseconds as whole microseconds; null where they are beyond the years 1 to 9999."""
    if numbers.dtype == pl.Int64:
        limit = (2**62) // max(1, ns // 1_000)
        numbers = numbers.set((numbers.abs() > limit).fill_null(value=False), None)
        return numbers * (ns // 1_000) if ns >= 1_000 else numbers // 1_000
    scaled = numbers * (ns / 1_000)
    scaled = scaled.set(~(scaled.is_finite() & (scaled.abs() < 9e18)).fill_null(value=True), None)
    return scaled.round(mode="half_to_even").cast(pl.Int64)


def _months(numbers: pl.Series, form: TimeSection, timezone: str) -> pl.Series:
    """Return whole months since the origin as microseconds since 1970; each different number is counted once."""
    distinct = numbers.unique().drop_nulls()
    found = [_month_micros(value, form, timezone) for value in distinct]
    return numbers.replace_strict(distinct, pl.Series(found, dtype=pl.Int64), default=None, return_dtype=pl.Int64)


def _month_micros(number: float, form: TimeSection, timezone: str) -> int | None:
    """Return the µs of the day of the month of the origin so many months later, or of the month's last day.

    None where the number is not whole, or the time does not exist.
    """
    if number != number or abs(number) > _MOST_MONTHS or not float(number).is_integer():
        return None
    start, zone = _origin(form), ZoneInfo(timezone) if _origin(form).tzinfo is None else None
    months = 12 * start.year + start.month - 1 + int(number)
    year, month = months // 12, months % 12 + 1
    if not 1 <= year <= 9999:
        return None
    local = start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))
    found = local.astimezone(UTC) if zone is None else _exists(local, zone)
    return None if found is None else (found - EPOCH) // timedelta(microseconds=1)


def origin_micros(form: TimeSection, timezone: str) -> int:
    """Return the µs since 1970 in UTC at which a count begins."""
    moment = _origin(form)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone))
    return (moment - EPOCH) // timedelta(microseconds=1)


def _origin(form: TimeSection) -> datetime:
    """Return the instant that a count begins at; without a zone it is local."""
    origin = form.origin if form.origin is not None else form.invented_origin
    if origin is None:
        return EPOCH
    return origin if isinstance(origin, datetime) else datetime(origin.year, origin.month, origin.day)


def one_declared(value: Any, form: TimeSection, *, timezone: str) -> str | None:
    """Return one value as ISO 8601 text with a zone, as `declared` reads it; None where it is not of the notation.

    Text that begins as an ISO 8601 date is left as it is where no format reads it.
    """
    if form.unit is not None:
        micros = _count_of(value, form, timezone)
        return None if micros is None else (EPOCH + timedelta(microseconds=micros)).isoformat()
    text = value if isinstance(value, str) else str(value)
    for name in form.formats:
        found = compile_format(name).one(text)
        if found is None:
            continue
        if found.tzinfo is None:
            found = _exists(found, ZoneInfo(timezone))
        return None if found is None else found.astimezone(UTC).isoformat()
    return None


def _exists(local: datetime, zone: ZoneInfo) -> datetime | None:
    """Return a local time as an instant, the earlier of two; None where it never happens."""
    found = local.replace(tzinfo=zone).astimezone(UTC)
    return found if found.astimezone(zone).replace(tzinfo=None) == local else None


def _count_of(value: Any, form: TimeSection, timezone: str) -> int | None:
    number: int | float
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            number = int(value) if value.lstrip("+-").isascii() and value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            return None
    elif isinstance(value, (int, float)):
        number = value
    else:
        return None
    if form.unit == "month":
        found = _month_micros(number, form, timezone)
        return found if found is not None and _FIRST_US <= found <= _LAST_US else None
    ns = _NS_PER[str(form.unit)]
    if isinstance(number, int):
        micros = number * (ns // 1_000) if ns >= 1_000 else number // 1_000
    else:
        scaled = number * (ns / 1_000)
        if not abs(scaled) < 9e18:
            return None
        micros = round(scaled)
    micros += origin_micros(form, timezone)
    return micros if _FIRST_US <= micros <= _LAST_US else None


def iso_one(text: str) -> datetime:
    """Return one ISO 8601 text as a time; " UTC" and a space before an offset are read as in `iso_times`.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        plain = _SUFFIX.sub("+00:00", text.strip())
        return datetime.fromisoformat(_GAP.sub(r"\1", plain))
