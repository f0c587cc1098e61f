"""Made ids: the same in tables and single messages, null with their parts, and equal exactly where the parts are."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.data import tables
from fraudctl.data.identities import Made
from fraudctl.errors import DataError, ProjectError
from fraudctl.features import build, define
from fraudctl.features.batch.sources import normalise_source
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.project import parse_project
from fraudctl.project.entities import EntityKey
from fraudctl.scoring.events import EventReader
from fraudctl.scoring.schema import DataSchema
from fraudctl.scoring.tables import _as_json

ZONE = "Europe/Berlin"
PROJECT = f"""
[data]
events = "e.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "y"
label_delay = "7d"
timezone = "{ZONE}"
[entities]
uid = {{ columns = ["card1", "addr1", "kind", "vip", "born"] }}
bin = {{ sql = "substr(number, 1, 2)" }}
day = {{ sql = "cast(at AS DATE)" }}
band = {{ sql = "floor(eur / 10) * card1" }}
card = "card1"
[sources.logins]
events = "l.parquet"
event_time = "at"
entities = {{ bin = {{ sql = "left(number, 2)" }}, card = "card1" }}
[features]
raw = ["eur", "kind", "bin", "card1"]
categorical = ["kind", "bin"]
[[features.window]]
by = ["uid", "bin", "day", "band"]
windows = ["7d"]
aggregates = ["count", "sum(amount)", "nunique(card)"]
[[features.window]]
by = ["bin", "card"]
source = "logins"
windows = ["7d"]
aggregates = ["count"]
"""
TYPES = {
    "id": pl.Int64(), "at": pl.Datetime("us", "UTC"), "eur": pl.Float64(), "y": pl.Int8(), "card1": pl.Int64(),
    "addr1": pl.Float64(), "kind": pl.String(), "vip": pl.Boolean(), "born": pl.Date(), "number": pl.String(),
}  # fmt: skip
LOGINS = {"at": pl.Datetime("us", "UTC"), "number": pl.String(), "card1": pl.Int64()}
START = datetime(2024, 3, 29, tzinfo=UTC)
TEXT = st.none() | st.text(alphabet="a|\\é", max_size=3)
ROW = st.fixed_dictionaries({
    "minutes": st.integers(0, 6000), "y": st.sampled_from([0, 1]),
    "eur": st.none() | st.sampled_from([1.0, 9.99, 25.5]),
    "card1": st.none() | st.integers(1, 2), "addr1": st.none() | st.sampled_from([1.0, 1.5, -0.0]), "kind": TEXT,
    "vip": st.none() | st.booleans(), "born": st.none() | st.dates(date(2000, 1, 1), date(2000, 1, 2)),
    "number": TEXT,
})  # fmt: skip


def made_by_hand(row):
    """Return uid, bin, day and band of a row as tuples of what has to be equal for two ids to be one."""
    parts = tuple(row[name] for name in ("card1", "addr1", "kind", "vip", "born"))
    band = None if row["eur"] is None or row["card1"] is None else (row["eur"] // 10) * row["card1"]
    number = row["number"]
    return {
        "uid": None if None in parts else parts, "bin": None if number is None else number[:2],
        "day": row["at"].astimezone(ZoneInfo(ZONE)).date(), "band": band,
    }  # fmt: skip


def defined():
    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    sources = {"logins": SourceTable(project.sources["logins"], LOGINS)}
    return project, define(project, TYPES, sources=sources)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_tables_and_messages_make_the_ids_of_a_brute_force(rows):
    project, features = defined()
    for number, row in enumerate(rows):
        row |= {"id": number, "at": START + timedelta(minutes=row.pop("minutes"))}
    rows[0]["eur"] = 3.0  # a table without any amount is refused
    frame = pl.DataFrame(rows, schema=TYPES)
    events = tables.normalise(frame.lazy(), project=project, files=["e"], columns=features.carried)
    events = events.frame.sort("event_id")
    byhand = [made_by_hand(row) for row in rows]
    for name in ("uid", "bin", "day", "band"):
        ids, truth = events[name].to_list(), [item[name] for item in byhand]
        assert events[name].dtype == pl.String
        pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
        assert all((ids[i] is None) == (truth[i] is None) for i in range(len(rows)))
        assert all((ids[i] == ids[j]) == (truth[i] == truth[j]) for i, j in pairs if ids[i] is not None)
    reader = EventReader(project, features, DataSchema(TYPES, {"logins": LOGINS}))
    for row, held in zip(frame.iter_rows(named=True), events.iter_rows(named=True), strict=True):
        message = json.loads(json.dumps({name: _as_json(value) for name, value in row.items()}))
        read = reader.event({name: message[name] for name in reader.columns})
        assert {name: read[name] for name in project.entities} == {name: held[name] for name in project.entities}
        assert reader.differing(message, {**message, "born": "1999-01-01"}) == ["born"]
    logins = frame.select("at", "number", "card1")
    source = normalise_source(logins.lazy(), project.sources["logins"], name="logins", timezone=ZONE, columns=[])
    sent = [reader.source("logins", {name: _as_json(v) for name, v in row.items()}) for row in logins.to_dicts()]
    assert sorted(str(item["bin"]) for item in sent) == sorted(map(str, source["bin"]))


def test_a_category_that_is_an_entity_stays_a_feature_of_the_model():
    project, features = defined()
    assert features.names[:4] == ["amount", "kind", "bin", "card1"]
    rows = {name: [None, None] for name in TYPES} | {
        "id": [1, 2], "at": [START, START + timedelta(hours=1)], "eur": [1.0, 2.0], "number": ["ab1", "ab2"],
        "card1": [7, 7],
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=TYPES).lazy()
    events = tables.normalise(frame, project=project, files=["e"], columns=features.carried)
    logins = pl.DataFrame({"event_time": [START], "usable_time": [START], "bin": ["ab"], "card": [7]})
    table = build(events, features, timezone=ZONE, sources={"logins": logins})
    assert table["bin"].to_list() == ["ab", "ab"]
    assert table["card1"].to_list() == [7, 7]
    assert table["bin_count_7d"].to_list() == [0, 1]


def test_plain_keys_are_written_into_digests_as_they_always_were():
    assert repr({"card": EntityKey.parse("card_id")}) == "{'card': 'card_id'}"
    with pytest.raises(ValueError, match="expected a column"):
        EntityKey.parse({"columns": []})


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ('{ sql = "1" }', "reads no column"),
        ('{ sql = "sum(card1)" }', "function 'sum' is not allowed"),
        ('{ sql = "cast(y AS VARCHAR)" }', "reads the label"),
        ('{ columns = ["card1", "y"] }', "is the label or its time"),
        ('{ columns = ["card1", "nothing"] }', "no column 'nothing'"),
        ('{ columns = ["card1", "at"] }', "expected text, numbers, dates or truth values"),
        ('{ sql = "at" }', "the result is a time"),
        ('{ columns = ["card1", "card1"] }', "names one column twice"),
        ('{ column = "card1" }', "expected a column"),
    ],
)
def test_what_names_nobody_is_refused(key, error):
    text = PROJECT.replace('{ sql = "substr(number, 1, 2)" }', key)
    with pytest.raises((DataError, ProjectError), match=error):
        define(parse_project(text, path=Path("fraudctl.toml")), TYPES)


def test_sql_of_a_text_fits_no_number():
    made = Made(EntityKey.parse({"sql": "substr(card1, 1, 2)"}), "entities.bin", {}, "UTC")
    with pytest.raises(DataError, match=r"entities\.bin: cannot be computed"):
        made.check(TYPES)


@pytest.mark.parametrize(
    "sql", ["left(number, 2)", "coalesce(number, 'none')", "case when number > 'b' then 'late' end"]
)
def test_sql_of_values_that_come_back_gives_every_row_what_it_gives_alone(
    sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pl.Series("number", ["ab12", "b", None, "", "ab12", "c", "b", None] * 40)
    made = Made(EntityKey(sql=sql), "here", {}, ZONE)
    plain = made.ids(lambda _: values)
    seen: list[int] = []

    def looked(column: pl.Series) -> bool:
        seen.append(len(column))
        return True

    monkeypatch.setattr("fraudctl.data.identities.comes_back", looked)
    assert made.ids(lambda _: values).equals(plain, null_equal=True)
    assert seen == [len(values)]
