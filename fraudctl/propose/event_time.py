"""The time of the event: which column it is, how it is written, or what has to be asked.

Owns the questions about times (which number is the day, what an offset counts from, which columns belong together).
A format that reads all rows in exactly one way is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from fraudctl.data import tables
from fraudctl.errors import UsageError
from fraudctl.normal.formats import WEEKDAYS, FormatError, compile_format
from fraudctl.normal.times import by_formats
from fraudctl.project.reading import MADE_TIME, TimeSection
from fraudctl.propose import names, notation
from fraudctl.propose.flags import Flags
from fraudctl.propose.found import SAMPLE, FoundNotation, all_values, first_values
from fraudctl.propose.notation import Reading
from fraudctl.propose.questions import Questions
from fraudctl.text.plain import looks_like_value, shown

INVENTED: Final = date(2000, 1, 1)
"""The origin that is made up where nobody knows it."""
_FEW_CLOCKS: Final = 20
_CLOCK: Final = r"^(?:[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?|[0-2][0-9][0-5][0-9][0-5][0-9])$"


def event_time(
    found: FoundNotation, raw: pl.LazyFrame, readings: dict[str, list[Reading]], flags: Flags, questions: Questions
) -> None:
    """Settle what the time of the event is, where its notation has to be declared; else leave it to the roles."""
    schema = raw.collect_schema()
    asked = flags.event_time
    if asked is not None and asked not in schema and "," in asked:
        _join(found, raw, [part.strip() for part in asked.split(",")], flags, questions)
        return
    if asked is not None:
        if asked in schema:
            _declare(found, raw, asked, readings, flags, questions)
        return
    if _already(schema, flags):
        _date_and_clock(found, raw, schema)
        return
    if not _from_texts(found, raw, readings, flags, questions):
        _from_numbers(found, raw, flags, questions)


def _from_texts(
    found: FoundNotation, raw: pl.LazyFrame, readings: dict[str, list[Reading]], flags: Flags, questions: Questions
) -> bool:
    """Settle the time among columns of text that formats read; say whether that did it, or asked."""
    schema = raw.collect_schema()
    ranked = _best([(names.event_time_rank(name), name) for name in readings if name not in flags.ignore])
    alone = [name for name in readings if name not in flags.ignore and names.may_be_event_time(name)]
    if not ranked and len(alone) == 1 and not any(kind.is_temporal() for kind in schema.values()):
        ranked = alone
    if len(ranked) == 1:
        dated = all(item.dated for item in readings[ranked[0]])
        _whole(found, raw, ranked[0], _clock_of(raw, schema) if dated else None, readings, flags, questions)
    elif ranked:
        flag = ["--event-time", ranked[0]]
        told = ", ".join(map(shown, ranked))
        questions.ask(f"{len(ranked)} columns could be the time of the event: {told}", flag, "say which")
    return bool(ranked)


def _from_numbers(found: FoundNotation, raw: pl.LazyFrame, flags: Flags, questions: Questions) -> None:
    """Settle the time among columns of numbers: digits of a date, seconds since 1970, parts of a day, offsets."""
    schema = raw.collect_schema()
    counters = {name: all_values(raw, name) for name in _counters(raw, schema, flags)}
    digits = [name for name, values in counters.items() if _is_date_in_digits(values)]
    epochs = [name for name, values in counters.items() if notation.epoch_unit(values) is not None]
    parts = _calendar(schema, flags)
    offsets = [name for name in counters if names.counts_time(name)] or list(counters)
    if len(digits) == 1:
        _whole(found, raw, digits[0], _clock_of(raw, schema), {}, flags, questions)
    elif len(epochs) == 1:
        _declare(found, raw, epochs[0], {}, flags, questions)
    elif parts:
        _join(found, raw, parts, flags, questions)
    elif len(offsets) == 1:
        _declare(found, raw, offsets[0], {}, flags, questions)
    elif not counters:
        _from_numbered(found, raw, flags, questions)


def _from_numbered(found: FoundNotation, raw: pl.LazyFrame, flags: Flags, questions: Questions) -> None:
    """Ask about the only column that numbers months, weeks or days, where nothing else of the table is a time."""
    schema = raw.collect_schema()
    if any(kind.is_temporal() for kind in schema.values()):
        return
    numbered = [
        name for name, kind in schema.items()
        if kind.is_integer() and name not in flags.ignore and names.counted_unit(name)
        and not all_values(raw, name).null_count()
    ]  # fmt: skip
    if len(numbered) == 1:
        _declare(found, raw, numbered[0], {}, flags, questions)


def _whole(
    found: FoundNotation,
    raw: pl.LazyFrame,
    name: str,
    clock: str | None,
    readings: dict[str, list[Reading]],
    flags: Flags,
    questions: Questions,
) -> None:
    """Declare a column as the time, together with the time of the day beside it where there is one."""
    if clock is not None:
        _join(found, raw, [name, clock], flags, questions)
    else:
        _declare(found, raw, name, readings, flags, questions)


def _already(schema: pl.Schema, flags: Flags) -> bool:
    """Say whether a column is a time as it is."""
    return any(
        (kind == pl.Date or isinstance(kind, pl.Datetime)) and name not in flags.ignore and names.event_time_rank(name)
        for name, kind in schema.items()
    )


def _best(ranked: list[tuple[int, str]]) -> list[str]:
    top = max((rank for rank, _ in ranked), default=0)
    return [name for rank, name in ranked if rank == top > 0]


def _counters(raw: pl.LazyFrame, schema: pl.Schema, flags: Flags) -> list[str]:
    """Return the columns of numbers whose names speak of a time."""
    return [
        name for name, kind in schema.items()
        if kind.is_numeric() and name not in flags.ignore and (names.event_time_named(name) or names.counts_time(name))
        and not all_values(raw, name).null_count()
    ]  # fmt: skip


def _is_date_in_digits(values: pl.Series) -> bool:
    """Say whether whole numbers are dates in digits, such as 20240131, that one format reads in one way."""
    return values.dtype.is_integer() and len(notation.time_readings(values)) == 1


def _date_and_clock(found: FoundNotation, raw: pl.LazyFrame, schema: pl.Schema) -> None:
    """Join a column of dates with the time of the day beside it."""
    dates = [name for name, kind in schema.items() if kind == pl.Date and names.event_time_rank(name)]
    clocks = [name for name, kind in schema.items() if isinstance(kind, pl.Datetime) and names.event_time_rank(name)]
    if len(dates) != 1 or clocks:
        return
    partner = _clock_of(raw, schema)
    if partner is None:
        return
    form = "%Y-%m-%d " + _clock_format(all_values(raw, partner))
    _made(found, raw, TimeSection(columns=(dates[0], partner), format=form))


def _clock_of(raw: pl.LazyFrame, schema: pl.Schema) -> str | None:
    """Return the only column with a time of the day and no date: one that is named so, else by its values alone."""
    clocks = [
        name for name, kind in schema.items()
        if not looks_like_value(name) and names.may_be_event_time(name) and _is_clock(raw, name, kind)
    ]  # fmt: skip
    found = [name for name in clocks if "time" in names.tokens(name)] or [
        name for name in clocks if schema[name] == pl.String
    ]
    return found[0] if len(found) == 1 else None


def _is_clock(raw: pl.LazyFrame, name: str, kind: pl.DataType) -> bool:
    """Say whether the values of a column are times of the day; numbers have to be named so."""
    if kind.is_integer():
        if "time" not in names.tokens(name):
            return False
        values = all_values(raw, name)
        fits = values.is_between(0, 235_959) & (values // 100 % 100 < 60) & (values % 100 < 60)
        return not values.null_count() and bool(fits.all()) and values.n_unique() >= _FEW_CLOCKS
    if kind != pl.String:
        return False
    head = first_values(raw, name)
    named = "time" in names.tokens(name) or bool(head.head(100).str.contains(":").all())
    return named and len(head) > 0 and bool(head.head(100).str.contains(_CLOCK).all())


def _clock_format(values: pl.Series) -> str:
    if values.dtype.is_integer():
        high = values.max()
        return "%{hms}" if isinstance(high, int) and high > 2_359 else "%{hm}"
    longest = values.drop_nulls().head(SAMPLE)
    if not longest.str.contains(":").any():
        return "%H%M%S"
    if longest.str.contains(r"\.").all():
        return "%H:%M:%S.%f"
    return "%H:%M:%S" if bool((longest.str.count_matches(":") == 2).all()) else "%H:%M"


def _calendar(schema: pl.Schema, flags: Flags) -> list[str]:
    """Return columns named as parts of a day.

    These are year, month and day; year, month, week of the month and weekday; or year, week of the year and weekday.
    """
    parts: dict[str, str] = {}
    for name in schema:
        part = names.calendar_part(name)
        if part is not None and name not in flags.ignore and part not in parts:
            parts[part] = name
    for wanted in (("year", "month", "day"), ("year", "month", "week", "weekday"), ("year", "week", "weekday")):
        if all(part in parts for part in wanted):
            of_day = next((parts[key] for key in ("time",) if key in parts), None)
            hours = [parts[key] for key in ("hour", "minute", "second") if key in parts]
            return [parts[part] for part in wanted] + ([of_day] if of_day else hours)
    return []


def _join(found: FoundNotation, raw: pl.LazyFrame, columns: list[str], flags: Flags, questions: Questions) -> None:
    """Declare the time of the event as several columns, by the format that reads all rows."""
    schema = raw.collect_schema()
    lost = [name for name in columns if name not in schema]
    if lost:
        msg = f"--event-time: no column {', '.join(map(shown, lost))} to join"
        raise UsageError(msg, hint="--event-time takes a column, or several with commas between them")
    if flags.time_formats:
        _made(found, raw, TimeSection(columns=tuple(columns), format=flags.time_formats))
        return
    heads = raw.select(columns).collect()
    texts = pl.select(pl.concat_str([_as_part(heads[name]) for name in columns], separator=" ")).to_series()
    fits = _joined_formats(columns, heads, texts)
    if not fits:
        questions.ask(
            f"columns {', '.join(map(shown, columns))} could be the time of the event, and no format reads all rows",
            ["--event-time", ",".join(columns), "--time-format", "%Y %m %d"], "give the format of their joined text",
        )  # fmt: skip
    elif len(fits) == 1:
        _made(found, raw, TimeSection(columns=tuple(columns), format=fits[0]))
    else:
        told = " and ".join(f'"{text}"' for text in fits)
        questions.ask(
            f"columns {', '.join(map(shown, columns))} are the time of the event, which two formats read: {told}",
            ["--event-time", ",".join(columns), "--time-format", fits[0]], _weeks(fits),
        )  # fmt: skip


def _weeks(fits: Sequence[str]) -> str:
    if all("week" in text for text in fits):
        return "say on which day a week of the month begins"
    return "say which number is the day"


def _as_part(values: pl.Series) -> pl.Series:
    if values.dtype.is_float():
        return values.cast(pl.Int64, strict=False).cast(pl.String)
    if values.dtype == pl.Date:
        return values.dt.to_string("%Y-%m-%d")
    return values.cast(pl.String)


def _joined_formats(columns: Sequence[str], heads: pl.DataFrame, texts: pl.Series) -> list[str]:
    """Return the formats of joined text that read all rows differently."""
    pieces = [_piece(name, heads[name]) for name in columns]
    if "month" not in map(names.calendar_part, columns):
        of_year = {"year": ("%G",), "week": ("%V",)}
        pieces = [
            of_year.get(names.calendar_part(name) or "", piece) for name, piece in zip(columns, pieces, strict=True)
        ]
    if all(piece is not None for piece in pieces):
        tails = [" ".join(parts) for parts in _products([list(piece) for piece in pieces if piece is not None])]
        strict = _distinct(texts, tails)
        loose = [text.replace("%{week:days}", "%{week:nth}") for text in tails if "%{week:days}" in text]
        return strict or _distinct(texts, loose)
    if len(columns) == 2 and heads[columns[1]].dtype.is_integer():  # a time of the day without leading zeros
        days = notation.time_readings(_as_part(heads[columns[0]])) or []
        return _distinct(texts, [f"{way.formats[0]} {_clock_format(heads[columns[1]])}" for way in days])
    return [item.formats[0] for item in notation.time_readings(texts)]


def _products(parts: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    if not parts:
        yield ()
        return
    for first in parts[0]:
        for rest in _products(parts[1:]):
            yield (first, *rest)


def _distinct(texts: pl.Series, formats: Sequence[str]) -> list[str]:
    found: list[tuple[str, pl.Series]] = []
    for text in formats:
        try:
            compile_format(text)
        except FormatError:
            continue
        read = by_formats(texts, (text,), timezone="UTC", role="event_time")
        if read.null_count() == texts.null_count() and not any(read.equals(other) for _, other in found):
            found.append((text, read))
    return [text for text, _ in found]


def _piece(name: str, values: pl.Series) -> tuple[str, ...] | None:
    """Return the directives that a part of a day may be written in; None where it is none of these."""
    part = names.calendar_part(name)
    words = values.dtype == pl.String and bool(values.drop_nulls().head(1).str.contains("[A-Za-z]").any())
    if part == "month":
        return ("%b", "%B") if words else ("%m",)
    if part == "weekday":
        known = {word[:3] for word in values.drop_nulls().unique().str.to_lowercase().to_list()} if words else set()
        return ("%A", "%a") if words and known <= set(WEEKDAYS) else None
    if part == "week":
        return ("%{week:sunday}", "%{week:monday}", "%{week:days}")
    if part == "time":
        text = values.dtype == pl.String and bool(values.drop_nulls().head(100).str.contains(_CLOCK).all())
        return (_clock_format(values),) if text or values.dtype.is_integer() else None
    simple = {"year": ("%Y", "%y"), "day": ("%d",), "hour": ("%H",), "minute": ("%M",), "second": ("%S",)}
    return simple.get(part or "")


def _made(found: FoundNotation, raw: pl.LazyFrame, form: TimeSection) -> None:
    name = MADE_TIME if MADE_TIME not in raw.collect_schema() else "happened_at"
    found.time, found.event_time = form, name
    found.reasons["time"] = "joined: the parts of the time stand in columns of their own"
    if any("%V" in text for text in form.formats):
        found.notes.append("weeks of the year are read as those of ISO 8601: the first has the year's first Thursday")
    if any("%{week:nth}" in text for text in form.formats):
        found.notes.append("weeks of the month are counted loosely in the data: a day may be off by a week")
    if all("%H" not in text and "%I" not in text for text in form.formats):
        _note_days(found, name)


def _note_days(found: FoundNotation, name: str) -> None:
    found.notes.append(
        f"the time of the event ({name}) is a day without a time of the day: events of one day never see each other"
    )


def _declare(
    found: FoundNotation,
    raw: pl.LazyFrame,
    name: str,
    readings: dict[str, list[Reading]],
    flags: Flags,
    questions: Questions,
) -> None:
    """Declare how one column that is the time of the event is written, or ask."""
    kind = raw.collect_schema()[name]
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return
    if flags.time_formats:
        form = TimeSection(format=flags.time_formats if len(flags.time_formats) > 1 else flags.time_formats[0])
        found.time, found.event_time, found.reasons["time"] = form, name, "given by --time-format"
        return
    if flags.time_unit is not None:
        found.time, found.event_time = _counted(flags), name
        found.reasons["time"] = "given by --time-unit"
        if found.time.invented_origin is not None:
            found.notes.append("the origin of the times is made up: dates, weekdays and hours of the day mean nothing")
        return
    if kind.is_numeric():
        _ask_number(found, raw, name, questions)
        return
    ways = readings.get(name, [])
    if len(ways) == 1:
        found.time, found.event_time = TimeSection(format=ways[0].formats[0]), name
        found.reasons["time"] = "the format that reads all rows in one way"
        if ways[0].dated:
            _note_days(found, name)
    elif ways:
        told = " and ".join(f'"{way.formats[0]}"' for way in ways[:3])
        questions.ask(
            f"column {shown(name)} is the time of the event, and day and month cannot be told apart: {told} read all",
            ["--time-format", ways[0].formats[0]], "say which",
        )  # fmt: skip
    elif not tables.are_iso(all_values(raw, name)):
        questions.ask(
            f"column {shown(name)}: no single format reads all of its texts as times",
            ["--event-time", name, "--time-format", "%d/%m/%Y %H:%M"], "give one or several formats, tried in order",
        )  # fmt: skip


def _ask_number(found: FoundNotation, raw: pl.LazyFrame, name: str, questions: Questions) -> None:
    values = all_values(raw, name)
    unit = notation.epoch_unit(values)
    if unit is not None:
        found.time, found.event_time = TimeSection(unit=unit), name  # type: ignore[arg-type]
        found.reasons["time"] = "numbers within 1989 to 2096 in this unit, counted from 1970"
        return
    ways = notation.time_readings(values) if values.dtype.is_integer() else []
    if len(ways) == 1:
        found.time, found.event_time = TimeSection(format=ways[0].formats[0]), name
        found.reasons["time"] = "digits of a date, which read all rows in one way"
        return
    if _numbers_rows(values):
        msg = f"column {shown(name)} numbers the rows: a row number is no clock"
        raise UsageError(msg, hint="without a time, --random-split asks for a split by chance")
    high, low = values.max(), values.min()
    usual = names.counted_unit(name) or ("h" if isinstance(high, (int, float)) and high < 20_000 else "s")
    likely = notation.likely_counts(values)
    told, origin = "", "unknown"
    if likely:
        usual, origin = likely[0].unit, likely[0].origin.isoformat()
        told = "; " + ", or ".join(_told(count) for count in likely)
    if isinstance(high, (int, float)) and isinstance(low, (int, float)):
        found.span = float(high - low) * _SECONDS[usual]
    questions.ask(
        f"column {shown(name)} counts time from an origin that the data do not say{told}",
        ["--event-time", name, "--time-unit", usual, "--time-origin", origin],
        "give its unit (s, ms, us, ns, min, h, d, w, month) and the date it counts from, or `unknown`",
    )


_SECONDS: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400, "month": 30 * 86_400}
_WORDS: Final = {"min": "minutes", "h": "hours", "d": "days"}


def _told(count: notation.Count) -> str:
    since = "days of a spreadsheet" if count.origin.year < 1970 else f"{_WORDS[count.unit]} since 1970"
    return f"as {since} it goes from {count.first} to {count.last}"


def _numbers_rows(values: pl.Series) -> bool:
    low, high = values.min(), values.max()
    whole = isinstance(low, int) and isinstance(high, int)
    return whole and high - low == len(values) - 1 and values.n_unique() == len(values)  # type: ignore[operator]


def _counted(flags: Flags) -> TimeSection:
    unit: Any = flags.time_unit
    if unit not in {"ns", "us", "ms", "s", "min", "h", "d", "w", "month"}:
        msg = f"--time-unit {unit}: expected s, ms, us, ns, min, h, d, w or month"
        raise UsageError(msg)
    if flags.time_origin is None:
        return TimeSection(unit=unit)
    if flags.time_origin == "unknown":
        return TimeSection(unit=unit, invented_origin=INVENTED)
    text = flags.time_origin
    try:
        whole = re.fullmatch(r"\d{4}-\d{2}-\d{2}", text)
        return TimeSection(unit=unit, origin=date.fromisoformat(text) if whole else datetime.fromisoformat(text))
    except ValueError as error:
        msg = f"--time-origin {text}: expected a date such as 2017-12-01, or unknown"
        raise UsageError(msg) from error
