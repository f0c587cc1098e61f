"""Results as JSON: one way out (`as_json`), one way back (`from_json`).

Results are frozen dataclasses. Their fields are the keys of their JSON, in the order of the class. A class whose JSON
differs says so in a class variable ``JSON``, one text for each key in its order:

- ``"name"``: the field or property ``name``, under its own name;
- ``"name as key"``: under another key;
- ``"name?"``: the key is absent where the value equals the field's default (of a property, where it is None);
- ``"*name"``: the keys of the value (a dataclass, a mapping, or None for no keys) stand here themselves.

What ``JSON`` does not name is not written. A class variable ``SCHEMA_VERSION`` is written first, as
``schema_version``. `fraudctl.documents.schemas` derives the JSON Schema from the same declarations.

Refuses nothing but what it cannot write. It reads no file: that is `fraudctl.documents.sealed`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import numpy as np

from fraudctl.disk.files import address_of
from fraudctl.documents.types import JsonObject, JsonValue

T = TypeVar("T")

VERSION: Final = "SCHEMA_VERSION"


@dataclass(frozen=True)
class JsonPart:
    """One part of a class's JSON.

    Attributes
    ----------
    name
        The field or property.
    key
        Its key; None where the keys of the value stand in its place.
    optional
        Whether the key is absent where the value equals ``default``.
    """

    name: str
    key: str | None
    optional: bool
    default: object
    derived: bool
    """Whether it is a property, which is written and not read."""


@cache
def parts(kind: type) -> tuple[JsonPart, ...]:
    """Return the parts of a dataclass's JSON in order.

    Raises
    ------
    TypeError
        ``kind`` is no dataclass, or its ``JSON`` names what it does not have.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    return tuple(_part(kind, text, fields) for text in getattr(kind, "JSON", tuple(fields)))


def _part(kind: type, text: str, fields: Mapping[str, dataclasses.Field[Any]]) -> JsonPart:
    declared, _, key = text.partition(" as ")
    name = declared.strip("*?")
    if name not in fields and not isinstance(getattr(kind, name, None), property):
        msg = f"{kind.__name__}.JSON names {name!r}, which is neither a field nor a property"
        raise TypeError(msg)
    default = None
    if name in fields and fields[name].default is not dataclasses.MISSING:
        default = fields[name].default
    return JsonPart(name, None if text[0] == "*" else key or name, declared.endswith("?"), default, name not in fields)


def as_json(value: object) -> JsonValue:
    """Return a value as JSON values.

    Dataclasses and mappings become objects; tuples, lists and arrays become arrays; times become ISO 8601; paths and
    enumerations become text; numbers that are not finite become null.

    Raises
    ------
    TypeError
        The value is of no such type.

    >>> @dataclass(frozen=True)
    ... class Found:
    ...     JSON = ("n as rows", "note?")
    ...     n: int
    ...     note: str | None = None
    >>> as_json([Found(2), Found(3, "few")])
    [{'rows': 2}, {'rows': 3, 'note': 'few'}]
    """
    if value is None or (isinstance(value, (str, bool, int)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_object(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [as_json(item) for item in value]
    return _plain(value)


def as_text(value: object) -> str:
    """Return a value as the text of a JSON document with two spaces of indent; see `as_json`."""
    return json.dumps(as_json(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> JsonValue:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Enum):
        return as_json(value.value)
    if isinstance(value, PurePath):
        return address_of(value) or str(value)
    if isinstance(value, np.ndarray):
        return [as_json(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return as_json(value.item())
    msg = f"{type(value).__name__} has no form in JSON"
    raise TypeError(msg)


def as_object(value: object) -> JsonObject:
    """Return a dataclass as a JSON object; see the module for its keys.

    Raises
    ------
    TypeError
        The value is no dataclass, or one of its parts has no form in JSON.
    """
    kind: Any = type(value)
    version = getattr(kind, VERSION, None)
    out: JsonObject = {} if version is None else {"schema_version": version}
    for part in parts(kind):
        item = getattr(value, part.name)
        if part.key is None:
            out.update(_keys(item))
        elif not (part.optional and item == part.default):
            out[part.key] = as_json(item)
    return out


def _keys(value: object) -> JsonObject:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    return as_object(value)


@cache
def hint(kind: type, name: str) -> Any:
    """Return the type of a class's field; None for what is no field.

    Only this one field is resolved: fields that stand in no JSON may have types that are imported for checks alone.
    """
    for base in kind.__mro__:
        text = inspect.get_annotations(base).get(name)
        if text is not None:
            only = types.SimpleNamespace(__annotations__={name: text})
            return typing.get_type_hints(only, globalns=vars(sys.modules[base.__module__]))[name]
    return None


def from_json(kind: type[T], document: object, *, where: str = "") -> T:
    """Return the value of a dataclass that `as_json` wrote.

    A key that is absent takes the field's default. Properties are not read, for they follow from the fields, but one of
    a literal type must have a value of that type: so the classes of a union are told apart. A class with a
    ``from_dict`` reads itself, and may use `fields_from_json`.

    Parameters
    ----------
    where
        Path of the document, for messages.

    Raises
    ------
    ValueError
        A key without a default is absent, a key is unknown, or a value is of another type; the message names the path.

    >>> @dataclass(frozen=True)
    ... class Found:
    ...     JSON = ("n as rows", "note?")
    ...     n: int
    ...     note: str | None = None
    >>> from_json(Found, {"rows": 2})
    Found(n=2, note=None)
    >>> from_json(Found, {"rows": "2"})
    Traceback (most recent call last):
    ValueError: rows: expected int, got str
    """
    made: T = _read(kind, document, where)
    return made


def fields_from_json(kind: type[T], document: Mapping[str, Any], *, where: str = "") -> T:
    """Do as `from_json` without asking a ``from_dict`` of the class."""
    made: T = _read_fields(kind, document, where)
    return made


def _read(expected: Any, document: Any, where: str) -> Any:
    origin = get_origin(expected)
    if origin in {typing.Union, types.UnionType}:
        return _read_union(get_args(expected), document, where)
    if expected is Any or expected is object:
        return document
    if origin is Literal:
        return document if document in get_args(expected) else _refuse(expected, document, where)
    if origin is not None:
        return _read_many(origin, get_args(expected), document, where)
    if dataclasses.is_dataclass(expected):
        return _read_object(expected, document, where)
    return _read_plain(expected, document, where)


def _read_union(choices: Sequence[Any], document: Any, where: str) -> Any:
    if document is None and types.NoneType in choices:
        return None
    problem: ValueError | None = None
    for choice in choices:
        if choice is types.NoneType:
            continue
        try:
            return _read(choice, document, where)
        except ValueError as error:
            problem = problem or error
    raise problem or ValueError(where)


def _read_many(origin: Any, inner: Sequence[Any], document: Any, where: str) -> Any:
    if issubclass(origin, Mapping):
        if not isinstance(document, Mapping):
            _refuse("an object", document, where)
        return {key: _read(inner[1], item, f"{where}.{key}") for key, item in document.items()}
    if not isinstance(document, (list, tuple)):
        _refuse("an array", document, where)
    if issubclass(origin, tuple) and (len(inner) != 2 or inner[1] is not ...):
        if len(inner) != len(document):
            _refuse(f"{len(inner)} values", document, where)
        return tuple(
            _read(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(inner, document, strict=True))
        )
    return origin(_read(inner[0], item, f"{where}[{i}]") for i, item in enumerate(document))


def _read_object(kind: Any, document: Any, where: str) -> Any:
    if not isinstance(document, Mapping):
        _refuse("an object", document, where)
    return kind.from_dict(document) if hasattr(kind, "from_dict") else _read_fields(kind, document, where)


def _read_fields(kind: Any, document: Mapping[str, Any], where: str) -> Any:
    known = keys_of(kind)
    others = {key: item for key, item in document.items() if key not in known}
    found: dict[str, object] = {}
    for part in parts(kind):
        expected, path = hint(kind, part.name), f"{where}.{part.key or part.name}".lstrip(".")
        if part.key is None and get_origin(expected) is dict:
            found[part.name], others = _read(expected, others, where), {}
        elif part.key is None:
            own = {key: item for key, item in document.items() if key in keys_of_type(expected)}
            found[part.name] = _read(expected, own or None, where)
        elif part.key in document and not part.derived:
            found[part.name] = _read(expected, document[part.key], path)
        elif part.key in document and (only := _constants(kind, part.name)) and document[part.key] not in only:
            _refuse(f"one of {only}", document[part.key], path)
    lost = [name for name in _needed(kind) if name not in found]
    if lost or others:
        what = f"{', '.join(lost)} missing" if lost else f"unknown key {', '.join(sorted(others))}"
        msg = f"{where or kind.__name__}: {what}"
        raise ValueError(msg)
    return kind(**found)


@cache
def _constants(kind: Any, name: str) -> tuple[Any, ...] | None:
    """Return the values that a property of a literal type may have; None of any other property."""
    getter = getattr(kind, name).fget
    if not str(getter.__annotations__["return"]).startswith("Literal["):
        return None
    return get_args(typing.get_type_hints(getter)["return"])


def _needed(kind: Any) -> list[str]:
    nothing = dataclasses.MISSING
    return [
        item.name for item in dataclasses.fields(kind) if item.default is nothing and item.default_factory is nothing
    ]


def keys_of(kind: Any) -> frozenset[str]:
    """Return the keys of a dataclass's JSON, those of values that stand in its place too; not those of mappings."""
    return _keys_of(kind)


@cache
def _keys_of(kind: type) -> frozenset[str]:
    found = {"schema_version"} if hasattr(kind, VERSION) else set()
    for part in parts(kind):
        found |= keys_of_type(hint(kind, part.name)) if part.key is None else {part.key}
    return frozenset(found)


def keys_of_type(expected: Any) -> frozenset[str]:
    """Return the keys of a dataclass, or of all dataclasses of a union."""
    choices = get_args(expected) if get_origin(expected) in {typing.Union, types.UnionType} else (expected,)
    return frozenset().union(*(keys_of(item) for item in choices if dataclasses.is_dataclass(item)))


def _read_plain(expected: Any, document: Any, where: str) -> Any:
    if expected is types.NoneType and document is None:
        return None
    if expected is float and isinstance(document, (int, float)) and not isinstance(document, bool):
        return document
    if expected in {datetime, date} and isinstance(document, str):
        return expected.fromisoformat(document)
    if isinstance(document, str) and isinstance(expected, type) and issubclass(expected, (str, PurePath)):
        return expected(document)
    if isinstance(expected, type) and type(document) is expected:
        return document
    return _refuse(getattr(expected, "__name__", str(expected)), document, where)


def _refuse(expected: object, document: object, where: str) -> Any:
    msg = f"{where or 'the document'}: expected {expected}, got {type(document).__name__}"
    raise ValueError(msg)
