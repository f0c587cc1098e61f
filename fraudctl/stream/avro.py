"""Messages in Avro, by a schema from a file: read as the JSON documents that mean the same, written from such.

Owns which schemas are taken and how their types are written as JSON: times as ISO 8601 in UTC, decimals as numbers,
enumerations as texts. What JSON could not hold is refused when the schema is read. A document that was read has the one
verdict that the same document has as JSON.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.project.stream import AvroFile
from fraudctl.scoring import wire
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER: Final = struct.Struct(">bI")
"""A zero and the id of a schema, before the content, as registries have it."""
_UNREADABLE: Final = (
    EOFError, IndexError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError, struct.error,
)  # fmt: skip
"""What the library raises on bytes that are not of a schema."""
_PLAIN: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "string", "enum", "record"})
_HINT: Final = "one field is one value: null, boolean, a number, a text, a time, a decimal, or a record of such"


class AvroForm:
    """Reads and writes the messages of one topic.

    Parameters
    ----------
    root
        What the path of the schema is relative to.
    topic
        For errors.
    about
        File with the schema, and the id that registries know it by.

    Raises
    ------
    ProjectError
        The file cannot be read, is no schema, or has a type that is not read.
    UsageError
        The package is not installed.
    """

    def __init__(self, root: Path, topic: str, about: str | AvroFile) -> None:
        about = AvroFile(file=about) if isinstance(about, str) else about
        self._what = f"stream.avro.{topic}"
        self._head = b"" if about.id is None else _HEADER.pack(0, about.id)
        document = _document(root / about.file, self._what)
        try:
            from fastavro import parse_schema, schemaless_reader, schemaless_writer
            from fastavro.schema import SchemaParseException, UnknownType
        except ImportError:
            msg = "reading and writing Avro needs fastavro"
            raise UsageError(msg, hint="python -m pip install 'fraudctl[kafka]'") from None
        try:
            self._schema = parse_schema(document)
        except (SchemaParseException, UnknownType, *_UNREADABLE) as error:
            msg = f"{self._what}: {about.file} is no Avro schema: {type(error).__name__}"
            raise ProjectError(msg) from error
        if not isinstance(self._schema, dict) or self._schema.get("type") != "record":
            msg = f"{self._what}: {about.file} is not the schema of a record"
            raise ProjectError(msg)
        odd = next(_odd(self._schema, ""), None)
        if odd is not None:
            msg = f"{self._what}: {about.file} has a field that is not read: {odd}"
            raise ProjectError(msg, hint=_HINT)
        self._reader: Callable[..., Any] = schemaless_reader
        self._writer: Callable[..., Any] = schemaless_writer

    def read(self, content: bytes) -> Any:
        """Return the document of a message.

        Raises
        ------
        DataError
            The bytes are not of the schema, or hold what JSON cannot.
        """
        if not content.startswith(self._head):
            msg = "this message does not begin with the id of the schema that is expected"
            raise DataError(
                msg, hint=f"{self._what}: give the id that producers write, or leave it out where they do not"
            )
        stream = io.BytesIO(content)
        stream.seek(len(self._head))
        try:
            found = _as_json(self._reader(stream, self._schema))
        except _UNREADABLE as error:
            msg = "this message is not of the Avro schema of its topic"
            raise DataError(msg, hint="no part of it was used") from error
        if stream.tell() != len(content):
            msg = "this message is longer than the Avro schema of its topic allows"
            raise DataError(msg, hint="no part of it was used; a header of 5 bytes needs an id in the project file")
        return wire.required(found)

    def write(self, document: Any) -> bytes:
        """Return a document as a message; fields that the schema lacks are left out.

        Raises
        ------
        UsageError
            It does not fit the schema.
        """
        out = io.BytesIO(self._head)
        out.seek(len(self._head))
        try:
            self._writer(out, self._schema, document)
        except _UNREADABLE as error:
            msg = f"{self._what}: the schema does not take what is produced: {type(error).__name__}"
            raise UsageError(msg, hint="correct the schema; after a new start it is produced again") from error
        return out.getvalue()


def _document(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{what}: {path.name} cannot be read: {type(error).__name__}"
        raise ProjectError(msg, hint="name a file with an Avro schema as JSON, relative to the project file") from error


def _odd(schema: Any, where: str) -> Iterator[str]:
    """Yield the fields of a type that JSON has no value for."""
    if isinstance(schema, list):
        for item in schema:
            yield from _odd(item, where)
        return
    kind = schema.get("type") if isinstance(schema, Mapping) else schema
    if isinstance(kind, (list, Mapping)):
        yield from _odd(kind, where)
    elif kind == "record":
        for field in schema["fields"]:
            yield from _odd(field["type"], f"{where}.{field['name']}" if where else str(field["name"]))
    elif kind in ("bytes", "fixed"):
        if schema == kind or schema.get("logicalType") != "decimal":
            yield f"{shown(where)} is {kind}"
    elif kind in ("array", "map"):
        yield f"{shown(where)} is {kind}"


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, UUID) else value
