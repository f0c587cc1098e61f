"""Windows over other tables and lookups in them, as of the event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import DataError, ProjectError
from fraudctl.features import build, define
from fraudctl.features.batch.sources import normalise_source
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.features.proof.reference import recompute
from fraudctl.project.sources import SourceSection

ZONE = "Europe/Berlin"
BASE = datetime(2024, 3, 30, 22, 0, tzinfo=UTC)
TEXT = """
[[features.window]]
source = "logins"
by = "card"
windows = ["10s", "1d"]
aggregates = ["count", "nunique(shop)", "nunique(city)", "mean(score)", "std(score)", "max(score)", "median(score)"]
[[features.window]]
source = "logins"
by = ["card", "shop"]
windows = ["1d"]
aggregates = ["count", "sum(score)"]
where = "city = 'x' and hour(event_time) < 23"
name = "from_x"
[[features.lookup]]
source = "logins"
by = "card"
columns = ["city", "score"]
[[features.lookup]]
source = "logins"
by = "shop"
columns = ["ok"]
max_age = "1d"
[features.columns]
ratio = "amount / card_logins_mean_score_1d"
"""
SCHEMA = {
    "at": pl.Datetime("us", "UTC"), "seen_at": pl.Datetime("us", "UTC"), "card_id": pl.String, "shop_no": pl.Int16,
    "city": pl.String, "score": pl.Float32, "ok": pl.Boolean,
}  # fmt: skip
SECTION = SourceSection(
    events="logins.parquet", event_time="at", known_time="seen_at", entities={"card": "card_id", "shop": "shop_no"}
)
TABLE = """[sources.logins]
events = "logins.parquet"
event_time = "at"
known_time = "seen_at"
entities = { card = "card_id", shop = "shop_no" }
"""
COLUMNS = ["city", "ok", "score"]


def normalised(raw: pl.DataFrame) -> pl.DataFrame:
    return normalise_source(raw.lazy(), SECTION, name="logins", timezone=ZONE, columns=COLUMNS)


def features_with(project_of, text=TEXT, schema=SCHEMA):
    return define(project_of(TABLE + text), EVENTS_SCHEMA, sources={"logins": SourceTable(SECTION, schema)})


EVENTS_SCHEMA = {
    "id": pl.Int64, "at": pl.Datetime("us", "UTC"), "eur": pl.Float64, "fraud": pl.Int8,
    "known_at": pl.Datetime("us", "UTC"), "card_id": pl.String, "shop_id": pl.Int32,
}  # fmt: skip

seconds = st.one_of(st.integers(0, 12), st.sampled_from([3_600, 86_399, 86_400, 86_401]), st.integers(0, 200_000))
rows = st.lists(
    st.tuples(
        seconds,
        st.one_of(st.none(), st.integers(-5, 20), st.just(90_000)),
        st.sampled_from(["a", "b", None]),
        st.sampled_from([1, 2, None]),
        st.sampled_from(["x", "y", None]),
        st.one_of(st.none(), st.floats(-1e6, 1e6, width=32), st.just(float("nan"))),
        st.sampled_from([True, False, None]),
    ),
    max_size=14,
)
asking = st.lists(
    st.tuples(seconds, st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None])), min_size=1, max_size=6
)


def source_frame(found) -> pl.DataFrame:
    at = [BASE + timedelta(seconds=row[0]) for row in found]
    late = [None if row[1] is None else t + timedelta(seconds=row[1]) for t, row in zip(at, found, strict=True)]
    columns = [at, late, *([row[i] for row in found] for i in range(2, 7))]
    return pl.DataFrame(dict(zip(SCHEMA, columns, strict=True)), schema=SCHEMA)


def events_frame(events_of, events):
    return events_of(
        "", id=range(len(events)), at=[BASE + timedelta(seconds=row[0]) for row in events], eur=[1.0] * len(events),
        card_id=[row[1] for row in events], shop_id=[row[2] for row in events],
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(found=rows, events=asking, data=st.data())
def test_sources_equal_the_reference_and_their_row_order_is_irrelevant(found, events, data, events_of, project_of):
    features = features_with(project_of)
    table = events_frame(events_of, events)
    source = normalised(source_frame(found))
    shuffled = normalised(source_frame(data.draw(st.permutations(found))))
    built = build(table, features, timezone=ZONE, sources={"logins": source})
    assert built.equals(build(table, features, timezone=ZONE, sources={"logins": shuffled}))
    for row in range(built.height):
        expected = recompute(table.frame, row, features, timezone=ZONE, sources={"logins": source})
        for name in features.names:
            got = built[name][row]
            close = "std" in name and expected[name] is not None
            assert got == (pytest.approx(expected[name], rel=1e-13) if close else expected[name]), name


def test_what_becomes_known_later_is_not_used(events_of, project_of):
    features = features_with(project_of)
    table = events_frame(events_of, [(100, "a", 1), (101, "a", 1)])
    found = [
        (10, 90, "a", 1, "x", 1.0, True),
        (50, None, "a", 1, "y", 2.0, False),
        (0, None, None, None, "z", 9.0, None),
    ]
    built = build(table, features, timezone=ZONE, sources={"logins": normalised(source_frame(found))})
    assert built["card_logins_count_1d"].to_list() == [1, 2]
    assert built["card_logins_mean_score_1d"].to_list() == [2.0, 1.5]
    assert built["card_logins_city"].to_list() == ["y", "y"]


def test_names_types_and_carried_columns(project_of):
    features = features_with(project_of)
    assert features.sources == {"logins": ["city", "ok", "score"]}
    assert features["shop_logins_from_x_count_1d"].interval == "logins known in (t - 1 day, t)"
    assert features["card_logins_city"].dtype == "category"
    assert features["shop_logins_ok"].dtype == "bool"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('source = "logins"', 'source = "login"', "no source 'login'; did you mean 'logins'"),
        ("max(score)", "max(city)", "needs a number, but the column is String"),
        ("mean(score)", "mean(amount)", "no column 'amount'"),
        ('columns = ["ok"]', 'columns = ["card"]', "no column 'card' in source"),
        ("city = 'x' and", "amount > 1 and", "no column 'amount'"),
    ],
)
def test_refusals(project_of, old, new, words):
    with pytest.raises(ProjectError, match=words.replace("(", r"\(")):
        features_with(project_of, TEXT.replace(old, new))


def test_an_entity_of_another_type_is_refused(project_of):
    with pytest.raises(DataError, match="entity 'card' is Int64 there and String in the events"):
        features_with(project_of, schema={**SCHEMA, "card_id": pl.Int64})


def test_null_times_and_missing_columns_are_refused():
    frame = source_frame([(1, None, "a", 1, "x", 1.0, True)])
    with pytest.raises(DataError, match="1 times are null in 'at'"):
        normalised(frame.with_columns(pl.lit(None, frame.schema["at"]).alias("at")))
    with pytest.raises(DataError, match="no column 'city'"):
        normalised(frame.drop("city"))


def test_unsorted_sources_have_the_same_rows() -> None:
    raw = pl.DataFrame({
        "at": [datetime(2024, 1, 2), datetime(2024, 1, 1)], "seen_at": [datetime(2024, 1, 3), datetime(2024, 1, 2)],
        "card_id": ["b", "a"], "shop_no": [1, 2], "city": ["x", "y"], "ok": [True, False], "score": [0.5, 1.5],
    })  # fmt: skip
    kept = normalise_source(raw.lazy(), SECTION, name="logins", timezone=ZONE, columns=COLUMNS, ordered=False)
    assert kept["card"].to_list() == ["b", "a"]
    assert kept.sort(kept.columns).equals(normalised(raw))
