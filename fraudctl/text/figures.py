"""Numbers, money and times as text: one way to write each, for every command, report and document.

Owns the formats. It knows no fraudctl type: a sentence takes its numbers from a typed value and writes them with these.
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_SIGNS: Final = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}
_TINY: Final = 1e-4
_UNITS: Final = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


def money(value: float, currency: str) -> str:
    """Return money as text: signs before, other words behind; small amounts with cents.

    >>> money(12670.4, "EUR"), money(-3.5, "USD"), money(5, "CHF")
    ('€12,670', '-$3.50', '5.00 CHF')
    """
    size = abs(value)
    text = f"{size:,.0f}" if size >= 100 or value == 0 else f"{size:,.2f}"
    sign = "-" if value < 0 and float(text.replace(",", "")) != 0 else ""
    mark = _SIGNS.get(currency, currency)
    return f"{sign}{mark}{text}" if len(mark) == 1 else f"{sign}{text} {mark}"


def whole(value: float) -> str:
    """Return a whole number as text, with commas between thousands.

    >>> whole(1106.0), whole(12)
    ('1,106', '12')
    """
    return f"{value:,.0f}"


def count(n: int, one: str, many: str | None = None) -> str:
    """Return a number of things.

    >>> count(1, "fraud"), count(1200, "fraud"), count(0, "loss", "losses")
    ('1 fraud', '1,200 frauds', '0 losses')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent(share: float, digits: int = 0) -> str:
    r"""Return a share as a percentage; a share short of all is never written as 100, one above nothing never as 0.

    >>> percent(0.653), percent(0.0034), percent(0.9996), percent(1.0)
    ('65\xa0%', '0.3\xa0%', '99.96\xa0%', '100\xa0%')
    """
    size = abs(share)
    while digits < 4 and (0 < size < 1 or 1 < size < 1.01) and float(f"{size * 100:.{digits}f}") in {0.0, 100.0}:
        digits += 1
    return f"{share * 100:.{digits}f}\u00a0%"


def number(value: float | None, digits: int = 3) -> str:
    """Return a plain number with ``digits`` significant digits; whole from 1,000 up; None or NaN is a dash.

    >>> number(0.0123456), number(999.96), number(123456.7), number(1.0), number(0.000012345), number(None)
    ('0.0123', '1,000', '123,457', '1', '1.23e-5', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return _significant(value, digits, ",")


def exact(value: float) -> str:
    """Return a number that a person wrote, such as a bound of the project file, in full.

    >>> exact(0.07), exact(1_000_000.0), exact(0.00012345)
    ('0.07', '1,000,000', '0.00012345')
    """
    return number(value, 15)


def digits_apart(values: tuple[float, ...], bound: float, *, at_least: int = 4) -> int:
    """Return the significant digits with which each value still lies on its side of a bound.

    >>> digits_apart((0.71, 0.65), 0.7), digits_apart((0.699996,), 0.7)
    (4, 6)
    """
    for digits in range(at_least, 15):
        rounded = [float(number(value, digits).replace(",", "")) for value in values]
        sides = zip(values, rounded, strict=True)
        if all((value < bound) == (near < bound) and (value > bound) == (near > bound) for value, near in sides):
            return digits
    return 15


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign, and zero without one.

    >>> signed(0.25), signed(-1200.4), signed(0.0)
    ('+0.25', '-1,200', '0')
    """
    text = number(value, digits)
    return text if text.startswith("-") or text == "0" else f"+{text}"


def _significant(value: float, digits: int, group: str) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if size < _TINY:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_trimmed(mantissa)}e{int(exponent)}"
    decimals = max(digits - 1 - math.floor(math.log10(size)), 0)
    return _trimmed(f"{value:{group}.{decimals}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(value: float, digits: int = 3) -> str:
    """Return the value of a column: no comma below 10,000, for the number may be a year or a code.

    >>> plain(2008), plain(12500), plain(12.345), plain(1234.5)
    ('2008', '12,500', '12.3', '1234')
    """
    group = "," if abs(value) >= 10_000 else ""
    if float(value).is_integer():
        return f"{int(value):{group}d}"
    return _significant(value, digits, group)


def length(seconds: float, digits: int = 2) -> str:
    """Return a length of time in the unit that suits it.

    >>> length(42), length(5400), length(200_000)
    ('42 s', '1.5 h', '2.3 days')
    """
    size, unit = _unit(seconds)
    return f"{_significant(seconds / size, digits, '')} {unit}"


def _unit(seconds: float) -> tuple[float, str]:
    whole = abs(seconds)
    for size, unit in _UNITS:
        if whole >= size:
            return size, unit
    return 1.0, "s"


def rounded_length(seconds: float, digits: int = 2) -> float:
    """Return the seconds that `length` writes: the condition that a reader reads is the condition that is counted.

    >>> rounded_length(5555.0), length(5555.0)
    (5400.0, '1.5 h')
    """
    size, _ = _unit(seconds)
    return float(_significant(seconds / size, digits, "")) * size


def rounded_figure(value: float) -> float:
    """Return a figure with six significant digits, in which sums agree whatever order they are added in.

    >>> rounded_figure(1 / 3)
    0.333333
    """
    return float(f"{value:.6g}")


def rounded_plain(value: float, digits: int = 3) -> float:
    """Return the number that `plain` writes.

    >>> rounded_plain(12.345), rounded_plain(1234.5)
    (12.3, 1234.0)
    """
    return float(plain(value, digits).replace(",", ""))


def period(start: datetime, until: datetime, timezone: str | tzinfo = "UTC") -> str:
    """Return a period by its first and last local day; ``until`` is the first instant after it.

    >>> from datetime import UTC
    >>> period(datetime(2018, 8, 8, tzinfo=UTC), datetime(2018, 8, 15, tzinfo=UTC))
    '8–14 Aug 2018'
    >>> period(datetime(2018, 7, 30, 22, tzinfo=UTC), datetime(2018, 8, 1, 22, tzinfo=UTC), "Europe/Berlin")
    '31 Jul – 1 Aug 2018'
    """
    zone = ZoneInfo(timezone) if isinstance(timezone, str) else timezone
    first = start.astimezone(zone)
    last = max(until - timedelta(microseconds=1), start).astimezone(zone)
    return days(first.date(), last.date())


def days(first: date, last: date) -> str:
    """Return a range of days, both ends included.

    >>> days(date(2018, 8, 8), date(2018, 8, 8)), days(date(2017, 12, 30), date(2018, 1, 2))
    ('8 Aug 2018', '30 Dec 2017 – 2 Jan 2018')
    """
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{day(last)}" if first.day != last.day else day(last)
    start = f"{first:%-d %b}" if first.year == last.year else day(first)
    return f"{start} – {day(last)}"


def span(start: datetime, until: datetime) -> str:
    """Return the length of a period in days.

    >>> span(datetime(2018, 8, 8, 20), datetime(2018, 8, 15, 20)), span(datetime(2018, 8, 8), datetime(2018, 8, 8, 12))
    ('7 days', '0.5 days')
    """
    text = number((until - start) / timedelta(days=1))
    return f"{text} {'day' if text == '1' else 'days'}"


def day(value: date) -> str:
    """Return a day as text."""
    return f"{value:%-d %b %Y}"


def moment(value: datetime) -> str:
    """Return an instant to the minute."""
    return f"{value:%Y-%m-%d %H:%M}"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Return names as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
