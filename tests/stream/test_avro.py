"""Avro messages: the documents that mean the same, the refusals of JSON, and nothing else that a message could do."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st
from stream.conftest import N_OUTCOMES, N_ROWS, Ground, Stream

from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.project.stream import AvroFile
from fraudctl.stream.avro import AvroForm

TEXT, NUMBER = ["null", "string"], ["null", "double"]
SCHEMA = {
    "type": "record", "name": "Payment", "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "score", "type": NUMBER},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["card", "sepa"]}},
        {"name": "place", "type": {"type": "record", "name": "Place", "fields": [{"name": "country", "type": TEXT}]}},
        {"name": "ok", "type": "boolean"},
        {"name": "n", "type": "long"},
    ],
}  # fmt: skip
VALUE: dict[str, Any] = {
    "id": "é", "at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "day": date(2026, 1, 2),
    "amount": Decimal("12.34"), "score": None, "kind": "sepa", "place": {"country": "DE"}, "ok": True, "n": -(2**63),
}  # fmt: skip
READ = {
    "id": "é", "at": "2026-01-02T03:04:05.678901+00:00", "day": "2026-01-02", "amount": 12.34, "score": None,
    "kind": "sepa", "place": {"country": "DE"}, "ok": True, "n": -(2**63),
}  # fmt: skip


def written(schema: Any, value: Any, head: bytes = b"") -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema), value)
    return head + out.getvalue()


def form(folder: Path, schema: Any = SCHEMA, identity: int | None = None) -> AvroForm:
    (folder / "a.avsc").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return AvroForm(folder, "payments", AvroFile(file="a.avsc", id=identity))


def test_each_type_is_read_as_its_json(tmp_path: Path) -> None:
    read = form(tmp_path)
    assert read.read(written(SCHEMA, VALUE)) == READ
    headed = form(tmp_path, identity=258)
    assert headed.read(written(SCHEMA, VALUE, b"\0\0\0\1\2")) == READ
    assert headed.write(VALUE) == written(SCHEMA, VALUE, b"\0\0\0\1\2")
    with pytest.raises(DataError, match="does not begin with the id of the schema"):
        headed.read(written(SCHEMA, VALUE, b"\0\0\0\1\3"))
    with pytest.raises(UsageError, match="the schema does not take what is produced"):
        headed.write({"id": 5})


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> AvroForm:
    return form(tmp_path_factory.mktemp("avro"))


@given(st.one_of(
    st.binary(max_size=60),
    st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=9)).map(
        lambda cut: (whole := written(SCHEMA, VALUE))[: cut[0]] + cut[1] + whole[cut[0] + len(cut[1]) :]
    ),
))  # fmt: skip
def test_any_bytes_are_a_document_of_json_or_refused(reader: AvroForm, content: bytes) -> None:
    with contextlib.suppress(DataError):
        found = reader.read(content)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert set(found) == set(READ)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("double", float("nan")), ("double", float("inf")), ("float", float("-inf")),
        ({"type": "long", "logicalType": "timestamp-millis"}, 2**62),
    ],
)  # fmt: skip
def test_what_json_cannot_hold_is_refused(tmp_path: Path, kind: Any, value: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]}
    plain = {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind if kind != "float" else "float"}]}
    if isinstance(kind, dict):
        plain["fields"] = [{"name": "x", "type": "long"}]
    with pytest.raises(DataError, match="this message"):
        form(tmp_path, schema).read(written(plain, {"x": value}))


def test_a_message_that_is_cut_or_longer_is_refused(reader: AvroForm) -> None:
    whole = written(SCHEMA, VALUE)
    for content in (whole[:-1], b"", whole[:5]):
        with pytest.raises(DataError, match="not of the Avro schema"):
            reader.read(content)
    with pytest.raises(DataError, match="longer than the Avro schema"):
        reader.read(whole + b"\0")


def record(kind: Any) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]})


NESTED = {
    "type": "record",
    "name": "S",
    "fields": [{"name": "y", "type": ["null", {"type": "array", "items": "null"}]}],
}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("{", "cannot be read: JSONDecodeError"),
        ('"string"', "is not the schema of a record"),
        (record("nothing"), "is no Avro schema"),
        (record("bytes"), "not read: 'x' is bytes"),
        (record(NESTED), "not read: 'x.y' is array"),
        (record({"type": "map", "values": "int"}), "not read: 'x' is map"),
        (record({"type": "fixed", "size": 4, "name": "F"}), "not read: 'x' is fixed"),
    ],
)
def test_schemas_that_are_not_taken(tmp_path: Path, schema: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        form(tmp_path, schema)
    with pytest.raises(ProjectError, match="cannot be read: FileNotFoundError"):
        AvroForm(tmp_path, "payments", "none.avsc")


# ------------------------------------------------------------ from topic to topic

LABEL = {
    "type": "record", "name": "Outcome", "fields": [
        {"name": "event_id", "type": "string"}, {"name": "label", "type": "int"},
        {"name": "label_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}  # fmt: skip
DECISION = {
    "type": "record", "name": "Decision", "fields": [
        {"name": "event_id", "type": "string"}, {"name": "probability", "type": "double"},
        {"name": "action", "type": "string"}, {"name": "model", "type": "string"},
        {"name": "policy", "type": "string"},
    ],
}  # fmt: skip


def avro_of(name: str, schema: pl.Schema) -> dict[str, Any]:
    """Return the schema that holds a table; every field may be null."""
    fields = [{"name": column, "type": ["null", _kind(kind)]} for column, kind in schema.items()]
    return {"type": "record", "name": name, "fields": fields}


def _kind(kind: pl.DataType) -> Any:
    if isinstance(kind, pl.Datetime):
        return {"type": "long", "logicalType": "timestamp-micros"}
    return (
        "boolean"
        if kind == pl.Boolean
        else "long"
        if kind.is_integer()
        else "double"
        if kind.is_numeric()
        else "string"
    )


def test_events_in_and_decisions_out(stream: Stream, ground: Ground, trained: Path) -> None:
    folder, topics = stream.consuming.place, stream.topics
    table = pl.read_parquet(trained / "transactions.parquet").drop("is_fraud", "label_available_at")
    logins = pl.read_parquet(trained / "logins.parquet")
    schemas = {
        "events": avro_of("Payment", table.schema), "logins": avro_of("Login", logins.schema), "labels": LABEL,
        "decisions": DECISION,
    }  # fmt: skip
    for name, schema in schemas.items():
        (folder / f"{name}.avsc").write_text(json.dumps(schema))
    path = folder / "fraudctl.toml"
    section = "".join(f'"{topics[name]}" = {{ file = "{name}.avsc", id = 7 }}\n' for name in schemas)
    path.write_text(path.read_text() + "\n[stream.avro]\n" + section)
    head, times = b"\0\0\0\0\7", {"created_at", "at", "label_time"}
    counts = {"events": 0, "labels": 0, "logins": 0}
    for line in map(json.loads, ground.lines):
        kind = {"label": "labels", "source": "logins"}.get(line.pop("type", "event"), "events")
        line.pop("source", None)
        value = {name: datetime.fromisoformat(item) if name in times else item for name, item in line.items()}
        value = {name: at.replace(tzinfo=UTC) if isinstance(at, datetime) else at for name, at in value.items()}
        stream.cluster.produce(topics[kind], [written(schemas[kind], value, head)], partitions=(0,))
        counts[kind] += 1
    poison = [b"\0\0\0\0\7\4", b"{}"]
    stream.cluster.produce(topics["events"], poison, partitions=(0,))
    result = stream.run()
    assert (result.events, result.labels, result.sources) == (len(ground.answers), N_OUTCOMES, N_ROWS)
    assert result.dead_letters == {"DataError": 2}
    assert sorted(item.value() for item in stream.cluster.read(topics["dead"])) == sorted(poison)
    wanted = {key: written(DECISION, json.loads(answer), head) for key, answer in ground.answers.items()}
    assert stream.decisions() == wanted
    assert counts == {"events": len(ground.answers), "labels": N_OUTCOMES, "logins": N_ROWS}


def test_mistakes_of_the_section(stream: Stream) -> None:
    path = stream.consuming.place / "fraudctl.toml"
    before = path.read_text()
    path.write_text(before + '\n[stream.avro]\nnowhere = "a.avsc"\n')
    with pytest.raises(ProjectError, match=r"avro\.nowhere: expected a topic that is read, or that of decisions"):
        stream.run()
    path.write_text(before + f'\n[stream.avro]\n"{stream.topics["events"]}" = "a.avsc"\n')
    with pytest.raises(ProjectError, match=r"a\.avsc cannot be read: FileNotFoundError"):
        replace(stream).run()
