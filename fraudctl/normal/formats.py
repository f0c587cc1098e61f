"""Formats of times in text: one strict grammar, compiled for Polars and for a single text alike.

A format is read by its own regular expression first, so that both ways accept the same texts: digits are ASCII, years
have four digits (%Y), and nothing may stand before or behind; several spaces are one. ``%G``, ``%V`` and a weekday
(``%u``: 1 is Monday, or its name) are a day of an ISO 8601 week. Directives beyond those of ``strftime``:
``%{week:sunday}``, ``%{week:monday}`` and ``%{week:days}`` are the week of the month (rows of a calendar whose weeks
start on that day, or blocks of seven days), which also needs a weekday. ``%{week:nth}`` is the n-th such weekday
of the month, or its last where the month has fewer: a day that is near where the data count weeks loosely.
``%{hms}`` and ``%{hm}`` are the digits of a time of the day as a number, which has no leading zeros: 93015, 5, 930.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONG_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONG_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_PIECES: Final[dict[str, tuple[str, str, str]]] = {
    "%Y": ("Y", "[0-9]{4}", "%Y"), "%y": ("y", "[0-9]{2}", "%y"), "%m": ("m", "[0-9]{1,2}", "%m"),
    "%d": ("d", "[0-9]{1,2}", "%d"), "%b": ("b", "|".join(MONTHS), "%b"), "%B": ("B", "|".join(LONG_MONTHS), "%B"),
    "%a": ("a", "|".join(WEEKDAYS), "%a"), "%A": ("A", "|".join(LONG_WEEKDAYS), "%A"),
    "%H": ("H", "[0-9]{1,2}", "%H"), "%I": ("I", "[0-9]{1,2}", "%I"), "%M": ("M", "[0-9]{1,2}", "%M"),
    "%S": ("S", "[0-9]{1,2}", "%S"), "%f": ("f", "[0-9]{1,9}", "%f"), "%p": ("p", "am|pm", "%p"),
    "%G": ("G", "[0-9]{4}", "%G"), "%V": ("V", "[0-9]{1,2}", "%V"), "%u": ("u", "[1-7]", "%u"),
    "%z": ("z", "z|utc|[+-][0-9]{2}(?::?[0-9]{2})?", "%z"), "%j": ("j", "[0-9]{1,3}", "%j"),
    "%{week:sunday}": ("w", "[1-6]", ""), "%{week:monday}": ("w", "[1-6]", ""), "%{week:days}": ("w", "[1-5]", ""),
    "%{week:nth}": ("w", "[1-6]", ""),
    "%{hms}": ("hms", "[0-9]{1,6}", ""), "%{hm}": ("hm", "[0-9]{1,4}", ""),
    "%%": ("", "%", "%%"),
}  # fmt: skip
_TOKEN = re.compile(r"%\{[^}]*\}|%.|[^%]+|%$")
_TWO_DIGITS: Final = frozenset({"%m", "%d", "%H", "%I", "%M", "%S", "%V"})
_SPACES: Final = re.compile(" +")


class FormatError(ValueError):
    """A format that does not say a time."""


@dataclass(frozen=True)
class Format:
    """A compiled format.

    Attributes
    ----------
    text
        As it stands in the project file.
    regex
        What a text must match, case aside, once its fields have been named.
    week
        How weeks of the month are counted; None where the format has none.
    zoned
        Whether texts have a zone.
    """

    text: str
    regex: str
    week: str | None
    zoned: bool

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.regex, re.ASCII)

    def begins(self, text: str) -> bool:
        """Say whether a text begins as this format does, whatever follows."""
        return self._pattern.match(_plain(text)) is not None

    def one(self, text: str) -> datetime | None:
        """Return the time of one text, aware where the format has a zone; None where it is not of the format."""
        match = self._pattern.fullmatch(_plain(text))
        return None if match is None else _moment(match.groupdict(), self)


def _plain(text: str) -> str:
    """Return a text as patterns read it: in small letters, without spaces around it, several spaces as one."""
    return _SPACES.sub(" ", text.strip(" ").lower())


@functools.lru_cache(maxsize=8192)
def compile_format(text: str) -> Format:
    """Compile a format.

    Raises
    ------
    FormatError
        An unknown directive, one given twice, or fields that do not make a day.

    >>> compile_format("%m/%d/%Y %I:%M %p").one("2/24/2015 10:55 PM")
    datetime.datetime(2015, 2, 24, 22, 55)
    """
    parts: list[str] = []
    fields: list[str] = []
    week = None
    tokens = _TOKEN.findall(_SPACES.sub(" ", text))
    for place, token in enumerate(tokens):
        if not token.startswith("%"):
            parts.append(re.escape(token.lower()))
            continue
        if token not in _PIECES:
            msg = f"format {text!r}: unknown directive {token!r}; docs/data.md lists those that are known"
            raise FormatError(msg)
        name, pattern, _ = _PIECES[token]
        touching = [tokens[i] for i in (place - 1, place + 1) if 0 <= i < len(tokens)]
        if token in _TWO_DIGITS and any(item in _PIECES and item not in {"%p", "%z"} for item in touching):
            pattern = "[0-9]{2}"
        if name in fields:
            msg = f"format {text!r}: {token} is there twice"
            raise FormatError(msg)
        if name:
            fields.append(name)
        if name == "w":
            week = token[7:-1]
        if name in {"hms", "hm"} and any(item in _PIECES for item in touching):
            msg = f"format {text!r}: {token} has no fixed number of digits, and cannot touch another directive"
            raise FormatError(msg)
        parts.append(f"(?P<{name}>{pattern})" if name else re.escape("%"))
    _require_day(text, set(fields))
    return Format(text, "".join(parts), week, "z" in fields)


def _require_day(text: str, fields: set[str]) -> None:
    """Raise a FormatError where the fields of a format do not make one day, or not one time of the day."""
    year = len(fields & {"Y", "y", "G"}) == 1 and ("G" in fields) == ("V" in fields)
    by_week = "V" in fields and len(fields & {"u", "a", "A"}) == 1 and not fields & {"m", "b", "B", "d", "w", "j"}
    month = len(fields & {"m", "b", "B"}) == 1
    by_month = month and "V" not in fields and ("d" in fields) != ("w" in fields)
    by_month = by_month and ("w" not in fields or bool(fields & {"a", "A"}))
    by_day = not fields & {"m", "b", "B", "d", "w", "V"} and "j" in fields
    if not year or not (by_month or by_day or by_week):
        msg = f"format {text!r} does not say a day: expected a year, a month and a day, such as %Y-%m-%d"
        raise FormatError(msg)
    hour = fields & {"H", "I", "hms", "hm"}
    if fields & {"hms", "hm"} and fields & {"M", "S", "f", "p"}:
        hour = fields & {"H", "I", "hms", "hm", "M", "S", "f", "p"}
    if len(hour) > 1 or ("I" in fields) != ("p" in fields) or (fields & {"M", "S", "f"} and not hour):
        msg = f"format {text!r} does not say a time of the day: expected %H:%M, or %I:%M %p"
        raise FormatError(msg)


def _moment(fields: Mapping[str, Any], form: Format) -> datetime | None:
    """Return the time that the fields of one text make; None where there is no such day or time."""
    known = {*"YyGVmdHIMSjw", "hms", "hm"}
    number = {key: int(value) for key, value in fields.items() if key in known and value is not None}
    clock = number.get("hms", 100 * number.get("hm", 0))
    if "hms" in number or "hm" in number:
        number |= {"H": clock // 10_000, "M": clock // 100 % 100, "S": clock % 100}
    year = number["y"] if "y" in number else number.get("Y", number.get("G", 0))
    year = _century(year) if "y" in number else year
    try:
        day = _day(year, number, fields, form)
        hour = number.get("H", 0)
        if "I" in number:
            if not 1 <= number["I"] <= 12:
                return None
            hour = number["I"] % 12 + (12 if fields["p"] == "pm" else 0)
        micros = int((fields.get("f") or "0").ljust(9, "0")[:6])
        found = datetime(day.year, day.month, day.day, hour, number.get("M", 0), number.get("S", 0), micros)
    except (ValueError, OverflowError):
        return None
    weekday = _weekday(fields)
    if form.week is None and weekday is not None and found.weekday() != weekday:
        return None
    return found.replace(tzinfo=_zone(fields["z"])) if form.zoned else found


def _century(year: int) -> int:
    return 2000 + year if year < 69 else 1900 + year


def _day(year: int, number: dict[str, int], fields: Mapping[str, Any], form: Format) -> date:
    if "V" in number:
        return date.fromisocalendar(year, number["V"], (_weekday(fields) or 0) + 1)
    if "j" in number:
        found = date(year, 1, 1) + timedelta(days=number["j"] - 1)
        if found.year != year:
            raise ValueError
        return found
    month = number["m"] if "m" in number else MONTHS.index((fields.get("b") or fields["B"])[:3]) + 1
    if form.week is None:
        return date(year, month, number["d"])
    first, weekday = date(year, month, 1), _weekday(fields)
    start = {"sunday": 6, "monday": 0}.get(form.week, first.weekday())
    before = (first.weekday() - start) % 7  # days of the first row that belong to the month before
    found = first + timedelta(days=7 * (number["w"] - 1) - before + ((weekday or 0) - start) % 7)
    while form.week == "nth" and found.month != month:
        found -= timedelta(days=7)
    if found.month != month:
        raise ValueError
    return found


def _weekday(fields: Mapping[str, Any]) -> int | None:
    if fields.get("u"):
        return int(fields["u"]) - 1
    name = fields.get("a") or fields.get("A")
    return None if name is None else WEEKDAYS.index(name[:3])


def _zone(text: str) -> timezone:
    if text in {"z", "utc"}:
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
