"""Dates and times that are looked up in other tables: ages, hours and seconds, as they were known at the event."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from features import complete
from features.batch.test_sources import SCHEMA as SOURCE_SCHEMA
from features.batch.test_sources import SECTION, TABLE
from features.conftest import SCHEMA
from features.online.test_online import assert_same, messages_of, new_state, send
from features.proof.test_against_reference import ZONE
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import ProjectError
from fraudctl.features import build, define
from fraudctl.features.batch.sources import normalise_source, of_moments
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.features.online.moments import at_event
from fraudctl.features.proof.aggregates import of_moment
from fraudctl.features.proof.reference import recompute

TEXT = """
[[features.lookup]]
source = "logins"
by = "card"
columns = ["opened_at", "hour(opened_at)", "same_second(opened_at)", "born_on", "hour(renewed_at)", "renewed_at"]
"""
LONDON = ZoneInfo("Europe/London")


def defined(project_of, text=TEXT):
    tables = {"logins": SourceTable(SECTION, {**SOURCE_SCHEMA, **complete.TIMES})}
    return define(project_of(TABLE + text), SCHEMA, sources=tables)


def source_of(rows) -> pl.DataFrame:
    """Bring rows of (valid from, known from, opened_at, born_on, renewed_at) about card a into form."""
    schema = {
        "at": pl.Datetime("us", "UTC"), "seen_at": pl.Datetime("us", "UTC"), "opened_at": pl.Datetime("us"),
        "born_on": pl.Date(), "renewed_at": pl.Datetime("us", "Europe/London"),
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(card_id=pl.lit("a"), shop_no=pl.lit(1))
    columns = ["born_on", "opened_at", "renewed_at"]
    return normalise_source(frame.lazy(), SECTION, name="logins", timezone=ZONE, columns=columns)


def test_ages_by_hand(events_of, project_of):
    """Berlin is an hour ahead of UTC on 1 March; the second row is valid from 10:00 and known from 11:00 on."""
    day = datetime(2024, 3, 1, tzinfo=UTC)
    rows = [
        (day, None, datetime(2024, 3, 1, 9, 59, 30), date(2024, 3, 1), datetime(2024, 3, 1, 12, tzinfo=LONDON)),
        (day + timedelta(hours=10), day + timedelta(hours=11), None, None, None),
    ]
    times = [(9, 0, 0), (8, 59, 30), (11, 0, 0), (11, 0, 1)]
    at = [day + timedelta(hours=h, minutes=m, seconds=s, milliseconds=400) for h, m, s in times]
    at[2] = day + timedelta(hours=11)  # at the instant itself the later row is not known
    events = events_of(
        "", id=range(4), at=at, card_id=["a"] * 4, shop_id=[1] * 4, eur=[1.0] * 4, fraud=[None] * 4, known_at=[None] * 4
    )
    table = build(events, defined(project_of), timezone=ZONE, sources={"logins": source_of(rows)}).sort("event_id")
    assert table["card_logins_seconds_since_opened_at"].to_list() == [30.4, 0.4, 7_230.0, None]  # 08:59:30 UTC
    assert table["card_logins_opened_at_same_second"].to_list() == [False, True, False, None]
    assert table["card_logins_opened_at_hour"].to_list() == [9, 9, 9, None]
    since_midnight = [36_000.4, 35_970.4, 43_200.0, None]  # of Berlin, 23:00 UTC the day before
    assert table["card_logins_seconds_since_born_on"].to_list() == since_midnight
    assert table["card_logins_renewed_at_hour"].to_list() == [13, 13, 13, None]  # noon of London in Berlin
    assert table["card_logins_seconds_since_renewed_at"].to_list() == [-10_799.6, -10_829.6, -3_600.0, None]


def test_the_contract_has_times_of_every_sort(project_of):
    """The world that all engines are compared on has ages before, at and after events, and none."""
    text = TEXT.replace('columns = ["', 'columns = ["same_second(renewed_at)", "')
    sources = complete.sources_with_times()
    table = build(complete.events(), defined(project_of, text), timezone=ZONE, sources=sources)
    ages = table["card_logins_seconds_since_renewed_at"]
    assert (ages < 0).any()
    assert (ages > 0).any()
    assert ages.null_count()
    assert table["card_logins_opened_at_hour"].null_count() > table["card_logins_seconds_since_renewed_at"].null_count()


def test_names_types_and_words(project_of):
    features = defined(project_of)
    assert features.sources == {"logins": ["born_on", "opened_at", "renewed_at"]}
    assert [feature.dtype for feature in features.features] == ["float", "int", "bool", "float", "int", "float"]
    words = "seconds from opened at of the card in logins to the event, as known at the time"
    assert features["card_logins_seconds_since_opened_at"].words == words
    assert features["card_logins_seconds_since_opened_at"].interval == "logins known before t"


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("hour(born_on)", r"hour\(born_on\) needs a time, but the column is Date"),
        ("same_second(born_on)", "needs a time"),
        ("seconds_since(city)", 'the column is String.*city = "time" reads'),
        ("hours(opened_at)", "no 'hours'; did you mean 'hour'"),
        ("value(opened_at)", "no 'value'"),
        ("hour(opend_at)", "no column 'opend_at' in source 'logins'; did you mean 'opened_at'"),
    ],
)
def test_what_a_column_has_not_is_refused(project_of, column, words):
    with pytest.raises(ProjectError) as raised:
        defined(project_of, TEXT.replace('"hour(opened_at)"', f'"{column}"'))
    assert re.search(words, f"{raised.value} {raised.value.hint}")


MOMENTS = st.one_of(
    st.none(),
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)),
    st.sampled_from([datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30), datetime(2024, 3, 31, 3)]),
    st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)).map(
        lambda t: t.astimezone(LONDON)
    ),
)


@settings(max_examples=300, deadline=None)
@given(moment=MOMENTS, now=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
@pytest.mark.parametrize("kind", ["seconds_since", "hour", "same_second"])
def test_three_ways_give_the_same(kind, moment, now):
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        dtype = pl.Datetime("us", str(moment.tzinfo))
        moment = pl.Series([moment]).cast(dtype)[0]
    else:
        dtype = pl.Date() if not isinstance(moment, datetime) else pl.Datetime("us")
    us = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    batch = of_moments(kind, pl.Series([moment], dtype=dtype), pl.Series([us]).to_numpy(), ZONE)[0]
    assert batch == at_event(kind, ZONE)(moment, us) == of_moment(kind, moment, now, ZONE)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_engines_agree_on_random_rows(data, events_of, project_of):
    features, start = defined(project_of), datetime(2024, 3, 30, 22, tzinfo=UTC)
    instants = st.integers(0, 40_000).map(lambda s: start + timedelta(seconds=s))
    local = st.one_of(st.none(), instants.map(lambda t: t.replace(tzinfo=None)))
    row = st.tuples(
        instants, st.one_of(st.none(), instants), local, st.one_of(st.none(), st.just(date(2024, 3, 31))),
        st.one_of(st.none(), instants),
    )  # fmt: skip
    sources = {"logins": source_of(data.draw(st.lists(row, max_size=8)))}
    at = data.draw(st.lists(instants, min_size=1, max_size=8))
    n = len(at)
    events = events_of(
        "", id=range(n), at=at, card_id=["a"] * n, shop_id=[1] * n, eur=[1.0] * n, fraud=[None] * n, known_at=[None] * n
    )
    table = build(events, features, timezone=ZONE, sources=sources)
    assert_same(table, features, send(new_state(features), messages_of(events, sources)))
    for i in range(n):
        found = recompute(events.frame, i, features, timezone=ZONE, sources=sources)
        assert found == {name: table[name][i] for name in features.names}
