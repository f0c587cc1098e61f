"""Formats of times and numbers: one text reads as a column of it does, and only what is of the notation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.normal import moments, numbers, times
from fraudctl.normal.formats import FormatError, compile_format
from fraudctl.project.reading import NumberSection, TimeSection

FORMATS = [
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d-%b-%Y %I:%M %p", "%Y%m%d%H%M%S", "%d.%m.%y", "%B %d, %Y %H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S%z", "%a, %d %b %Y %H:%M", "%Y %j %H", "%G-W%V-%u", "%G %V %A %H:%M", "%GW%V%u",
]  # fmt: skip
WEEKS = ["%Y %b %{week:sunday} %A", "%Y %m %{week:monday} %a", "%Y %b %{week:days} %A", "%Y %b %{week:nth} %A"]
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31))
PIECES = st.lists(
    st.sampled_from([*"0123456789/-: .,", "AM", "pm", "Jan", "MAY", "Mon", "Friday", "Z", "+01:30", "²", "٣"])
)


@pytest.mark.parametrize("text", FORMATS)
@settings(max_examples=12, deadline=None)
@given(at=MOMENTS)
def test_what_a_format_writes_it_reads(text: str, at: datetime) -> None:
    form = compile_format(text)
    at = at.replace(tzinfo=UTC) if form.zoned else at
    written = at.strftime(text)
    found = form.one(written)
    assert found is not None
    assert found.strftime(text) == written
    assert moments.many(pl.Series([written]), form).to_list() == [found]


@pytest.mark.parametrize("text", [*FORMATS, *WEEKS])
@settings(max_examples=12, deadline=None)
@given(
    texts=st.lists(st.one_of(PIECES.map("".join), MOMENTS.map(lambda at: at.strftime("%d/%m/%Y %H:%M"))), min_size=1)
)
def test_one_text_is_read_as_a_column_of_texts_is(text: str, texts: list[str]) -> None:
    form = compile_format(text)
    assert moments.many(pl.Series(texts), form).to_list() == [form.one(item) for item in texts]


@pytest.mark.parametrize("text", ["%G-W%V-%u", "%G %V %a", "%Y%m%d %{hms}", "%Y-%m-%d %{hm}", "%b %d %Y %I:%M%p"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_weeks_numbers_and_padded_days_are_read_alike_for_one_and_many(text: str, data: st.DataObject) -> None:
    """Texts of any such numbers, of which many are no day or no time of the day."""
    draw, form = data.draw, compile_format(text)
    year, number = draw(st.integers(1999, 2030)), draw(st.integers(0, 240_000))
    written = {
        "%G-W%V-%u": f"{year}-W{number % 56:02d}-{number % 9}",
        "%G %V %a": f"{year}  {number % 56} {['Mon', 'SUN', 'Xyz'][number % 3]}",
        "%Y%m%d %{hms}": f"{year}0131 {number}",
        "%Y-%m-%d %{hm}": f"{year}-02-{number % 31} {number % 2500}",
        "%b %d %Y %I:%M%p": f"Feb {number % 31:2d} {year} {number % 14:2d}:{number % 61:02d}{'AP'[number % 2]}M",
    }[text]
    found = form.one(written)
    assert moments.many(pl.Series([written]), form).to_list() == [found]
    if text == "%G-W%V-%u" and found is not None:
        assert found.isocalendar() == (year, number % 56, number % 9)
    if text == "%Y%m%d %{hms}" and found is not None:
        assert 10_000 * found.hour + 100 * found.minute + found.second == number


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.one_of(st.integers(-500, 2_000), st.sampled_from([0.5, 7.0, 10**9])), min_size=1),
    origin=st.dates(datetime(1950, 1, 1).date(), datetime(2030, 12, 31).date()),
)
def test_months_end_on_the_day_of_the_origin_or_the_last_of_the_month(counts: list[float], origin: date) -> None:
    form = TimeSection(unit="month", origin=origin)
    good = [count for count in counts if float(count).is_integer() and abs(count) < 10**6]
    for count in counts:
        one = times.one_declared(count, form, timezone="UTC")
        assert (one is None) == (count not in good)
    if not good:
        return
    found = times.declared(pl.Series([float(count) for count in good]), form, timezone="UTC", role="time")
    assert [at.isoformat() for at in found] == [times.one_declared(count, form, timezone="UTC") for count in good]
    for at, count in zip(found, good, strict=True):
        assert 12 * at.year + at.month == 12 * origin.year + origin.month + count
        assert at.day == origin.day or (at + timedelta(days=1)).month != at.month


@pytest.mark.parametrize("text", WEEKS)
def test_weeks_of_a_month_are_read_alike_for_one_and_many(text: str) -> None:
    form = compile_format(text)
    days = [datetime(1994, 1, 1) + timedelta(days=i) for i in range(800)]
    texts = [
        f"{day:%Y} {day:%b} {week} {day:%A}" if "%b" in text else f"{day:%Y} {day:%m} {week} {day:%a}"
        for day in days for week in (1, 3, 5)
    ]  # fmt: skip
    found = [form.one(item) for item in texts]
    assert moments.many(pl.Series(texts), form).to_list() == found
    assert sum(item is not None for item in found) > len(found) // 2
    if "nth" in text:
        assert None not in found


def test_rows_of_a_calendar() -> None:
    # December 1994 began on a Thursday: its fifth row, from Sunday on, is 25 to 31
    assert compile_format("%Y %b %{week:sunday} %A").one("1994 Dec 5 Wednesday") == datetime(1994, 12, 28)
    assert compile_format("%Y %b %{week:days} %A").one("1994 Dec 5 Wednesday") is None  # 29 to 31: Thursday to Saturday
    assert compile_format("%Y %b %{week:nth} %A").one("1994 Dec 5 Wednesday") == datetime(1994, 12, 28)


@pytest.mark.parametrize(
    "text", ["%d/%m", "%H:%M", "%Y-%m-%d %I:%M", "%Y-%m-%d %M", "%Y %Y %m %d", "%q", "%Y %m %{week:tuesday} %a"]
)
def test_a_format_that_says_no_time_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        compile_format(text)


@settings(max_examples=30, deadline=None)
@given(
    unit=st.sampled_from(["ns", "us", "ms", "s", "min", "h", "d"]),
    values=st.lists(st.one_of(st.integers(-(2**62), 2**62), st.integers(0, 10**6)), min_size=1, max_size=5),
    zone=st.sampled_from(["UTC", "Europe/Berlin"]),
)
def test_counts_since_an_origin_are_read_alike(unit: str, values: list[int], zone: str) -> None:
    form = TimeSection(unit=unit, origin=datetime(2017, 12, 1))
    ones = [times.one_declared(value, form, timezone=zone) for value in values]
    for value, one in zip(values, ones, strict=True):
        try:
            found = times.declared(pl.Series("t", [value]), form, timezone=zone, role="event_time").to_list()[0]
        except times.DataError:
            assert one is None or abs(value) > 2**61 // 86_400_000_000
            continue
        assert one is not None
        assert datetime.fromisoformat(one) == found


def test_iso_texts_with_and_without_a_zone_stand_in_one_column() -> None:
    texts = ["2024-07-01 10:00:00 UTC", "2024-07-01T10:00:00.5+05:30", "2024-07-01", "2024-07-01 10:00", None]
    found = times.utc(pl.Series("t", texts), timezone="Europe/Berlin", role="event_time").to_list()
    assert found == [
        datetime(2024, 7, 1, 10, tzinfo=UTC), datetime(2024, 7, 1, 4, 30, 0, 500_000, tzinfo=UTC),
        datetime(2024, 6, 30, 22, tzinfo=UTC), datetime(2024, 7, 1, 8, tzinfo=UTC), None,
    ]  # fmt: skip
    assert times.iso_one("2024-07-01 10:00:00 +0530") == datetime(2024, 7, 1, 10, tzinfo=timezone(timedelta(hours=5.5)))


NUMBERS = [
    NumberSection(), NumberSection(decimal=",", grouping="."), NumberSection(prefix="$", grouping=",", accounting=True),
    NumberSection(suffix="EUR", decimal=",", grouping=" "), NumberSection(grouping="'"),
]  # fmt: skip


@pytest.mark.parametrize("form", NUMBERS)
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from([*"0123456789.,'() -+$e", "EUR", "\u00a0"])).map("".join), min_size=1))
def test_one_number_is_read_as_a_column_of_numbers_is(form: NumberSection, texts: list[str]) -> None:
    many = numbers.many(pl.Series(texts, dtype=pl.String), form).to_list()
    assert [None if item is None or abs(item) == float("inf") else item for item in many] == [
        numbers.one(text, form) for text in texts
    ]


def test_notations_of_numbers() -> None:
    money = NUMBERS[2]
    assert [numbers.one(text, money) for text in ("$1,234.50", "(12.00)", "-$5", "12,34", "($1,000)")] == [
        1234.5, -12.0, -5.0, None, -1000.0,
    ]  # fmt: skip
    assert numbers.one("1.234,50", NUMBERS[1]) == 1234.5
