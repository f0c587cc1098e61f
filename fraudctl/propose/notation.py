"""How texts and numbers of a column are written: the notations that read every row, and whether they say one thing.

Owns the search only. A notation counts where it reads **all** rows; where two of them read all rows differently, both
are returned, and `fraudctl.propose.reading` and `event_time` ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

from fraudctl.normal import moments, numbers
from fraudctl.normal.formats import Format, FormatError, compile_format
from fraudctl.project.reading import NumberSection

_SAMPLE: Final = 400
_DATES: Final = (
    "%Y{s}%m{s}%d", "%m{s}%d{s}%Y", "%d{s}%m{s}%Y", "%m{s}%d{s}%y", "%d{s}%m{s}%y", "%d{s}%b{s}%Y", "%b{s}%d{s}%Y",
    "%d{s}%B{s}%Y", "%B{s}%d{s}%Y", "%d{s}%b{s}%y", "%b{s}%d,{s}%Y", "%B{s}%d,{s}%Y", "%a,{s}%d{s}%b{s}%Y",
    "%a{s}%b{s}%d{s}%Y", "%G{s}W%V{s}%u",
)  # fmt: skip
_COMPACT: Final = ("%Y%m%d", "%d%m%Y", "%m%d%Y")
_TIMES: Final = (
    "", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%I:%M:%S%p", "%H.%M", "%H.%M.%S",
    "%H:%M:%S,%f",
)  # fmt: skip
_COMPACT_TIMES: Final = ("", "%H%M", "%H%M%S")
_JOINTS: Final = (" ", "T", ", ", "-", ":")
_ZONES: Final = ("", "%z", " %z")
_NUMBERS: Final = ((".", ""), (".", ","), (",", "."), (",", ""), (",", " "), (".", " "), (".", "'"), (",", "'"))
_MARKS: Final = "[.,' \u00a0\u202f]"
"""Signs that a notation may read; texts without one are the same numbers in all of them."""
_CODES = """EUR USD GBP CHF JPY CNY INR BRL CAD AUD NZD SEK NOK DKK PLN CZK HUF RON BGN TRY RUB UAH ZAR NGN KES MXN
ARS CLP COP
PEN SGD HKD TWD KRW THB IDR MYR PHP VND AED SAR ILS EGP PKR BDT LKR Rs R$ US$ C$ A$ kr"""
_CURRENCIES: Final = frozenset(_CODES.split())
_MONEY: Final = re.compile(r"^\s*\(?\s*[+-]?\s*([^\d\s.,()+-][^\d.,()+-]{0,4})?\s*[+-]?[\d.,' \u00a0\u202f]*\d[\d.,]*"
                           r"\s*([^\d\s.,()][^\d.,()]{0,4})?\s*\)?\s*$")  # fmt: skip
EPOCHS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
EPOCH: Final = date(1970, 1, 1)
_LARGEST: Final = 1e15
_EPOCH_FIRST, _EPOCH_LAST = 6e8, 4e9
"""1989 and 2096 in seconds since 1970."""


@dataclass(frozen=True)
class Reading:
    """One way to read all rows of a column: the formats that give it, the plainest first, and what comes out."""

    formats: tuple[str, ...]
    times: pl.Series
    zoned: bool
    dated: bool
    """Whether there is a day and no time of the day."""


def time_readings(values: pl.Series) -> list[Reading]:
    """Return the different ways in which one format reads all texts of a column; [] where none does."""
    texts = values.cast(pl.String).drop_nulls()
    if not len(texts):
        return []
    distinct = texts.unique(maintain_order=True)
    sample = distinct.head(_SAMPLE)
    fits = [form for form in _candidates(sample[0]) if not moments.many(sample, form).null_count()]
    found: list[Reading] = []
    for form in fits:
        times = moments.many(distinct, form)
        if times.null_count():
            continue
        same = next((i for i, item in enumerate(found) if item.times.equals(times)), None)
        if same is None:
            found.append(Reading((form.text,), times, form.zoned, "%H" not in form.text and "%I" not in form.text))
        else:
            found[same] = Reading((*found[same].formats, form.text), times, form.zoned, found[same].dated)
    return found


def _candidates(text: str) -> Iterator[Format]:
    """Yield the formats that read one text."""
    text = text.strip()
    digits = re.match(r"\d+", text)
    if digits and len(digits[0]) >= 8:
        heads = [(day, time) for day in _COMPACT for time in _COMPACT_TIMES] + [
            (d, t) for d in _COMPACT for t in _TIMES
        ]
    else:
        signs = dict.fromkeys([*(sign for sign in text[:12] if sign in "/-. "), ""])
        heads = [(day.replace("{s}", sign), time) for sign in signs for day in _DATES for time in _TIMES]
    begun = {day for day in dict.fromkeys(day for day, _ in heads) if compile_format(day).begins(text)}
    for day, time in dict.fromkeys(head for head in heads if head[0] in begun):
        joints = ("",) if not time or time in _COMPACT_TIMES[1:] else _JOINTS
        for joint in (*joints, " ") if time in _COMPACT_TIMES[1:] else joints:
            for zone in _ZONES if time else ("",):
                try:
                    form = compile_format(f"{day}{joint}{time}{zone}")
                except FormatError:
                    continue
                if form.one(text) is not None:
                    yield form


def epoch_unit(values: pl.Series) -> str | None:
    """Return the unit in which numbers count from 1970, where all lie between 1989 and 2096 in exactly one."""
    filled = values.drop_nulls().cast(pl.Float64)
    low, high = filled.min(), filled.max()
    if not isinstance(low, float) or not isinstance(high, float):
        return None
    fits = [unit for unit, factor in EPOCHS.items() if _EPOCH_FIRST * factor <= low and high <= _EPOCH_LAST * factor]
    return fits[0] if len(fits) == 1 else None


_EXCEL: Final = date(1899, 12, 30)
_COUNTS: Final = (("min", 60.0, EPOCH), ("h", 3_600.0, EPOCH), ("d", 86_400.0, EPOCH), ("d", 86_400.0, _EXCEL))
_LIKELY: Final = (date(1995, 1, 1), date(2050, 1, 1))


@dataclass(frozen=True)
class Count:
    """What numbers would be if they counted a unit since an origin: the first and the last day."""

    unit: str
    origin: date
    first: date
    last: date


def likely_counts(values: pl.Series) -> list[Count]:
    """Return what numbers may count so that all of them lie between 1995 and 2050.

    Minutes, hours and days since 1970, and days as spreadsheets count them (since 1899-12-30). These are no surer than
    an offset from elsewhere, and so a question.
    """
    filled = values.drop_nulls().cast(pl.Float64)
    low, high = filled.min(), filled.max()
    if not isinstance(low, float) or not isinstance(high, float) or not abs(low) + abs(high) < _LARGEST:
        return []
    found = []
    for unit, seconds, origin in _COUNTS:
        first, last = (_day(origin, value * seconds) for value in (low, high))
        if first is not None and last is not None and _LIKELY[0] <= first <= last < _LIKELY[1]:
            found.append(Count(unit, origin, first, last))
    return found


def _day(origin: date, seconds: float) -> date | None:
    try:
        return origin + timedelta(days=seconds // 86_400.0)
    except OverflowError:
        return None


def _is_money(word: str) -> bool:
    """Say whether a word beside a number is a currency or a percentage, and no part of an id such as C123."""
    return word in _CURRENCIES or (not any(sign.isalnum() for sign in word))


def number_readings(values: pl.Series) -> list[NumberSection]:
    """Return the notations that read all texts of a column as numbers, one for each different result."""
    texts = values.drop_nulls().unique(maintain_order=True)
    if not len(texts):
        return []
    sample = texts.head(_SAMPLE).to_list()
    matches = [_MONEY.match(text) for text in sample]
    if any(match is None for match in matches):
        return []
    prefixes = {match[1].strip() for match in matches if match and match[1]}
    suffixes = {match[2].strip() for match in matches if match and match[2]}
    if len(prefixes) > 1 or len(suffixes) > 1 or not all(map(_is_money, prefixes | suffixes)):
        return []
    more = {"prefix": next(iter(prefixes), ""), "suffix": next(iter(suffixes), "")}
    bracket = bool(texts.str.contains(r"\(").any())
    found: list[tuple[NumberSection, pl.Series]] = []
    for decimal, grouping in _NUMBERS if bool(texts.str.contains(_MARKS).any()) else _NUMBERS[:1]:
        form = NumberSection(decimal=decimal, grouping=grouping, accounting=bracket, **more)  # type: ignore[arg-type]
        first = [numbers.one(text, form) for text in sample]
        if None in first:
            continue
        read = numbers.many(texts, form) if len(texts) > _SAMPLE else pl.Series(first, dtype=pl.Float64)
        if not read.null_count() and not any(other.equals(read) for _, other in found):
            found.append((form, read))
    return [form for form, _ in found]
