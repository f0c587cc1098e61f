"""JSON Schema of results: what `fraudctl.documents.results` writes, described from the dataclasses themselves.

Draft 2020-12. The description of a key is the text below its field, or its entry in the section ``Attributes`` (or
``Parameters``) of the class's docstring; of a property the first sentence of its docstring. Objects
allow no other keys.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, Final, Literal, get_args, get_origin

import numpy as np

from fraudctl.documents.results import VERSION, JsonPart, hint, parts
from fraudctl.documents.types import JsonObject, JsonValue

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_SIMPLE: Final[dict[Any, JsonObject]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    types.NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
}


def schema_of(kind: type, *, name: str, version: int) -> JsonObject:
    """Return the JSON Schema of a dataclass as `fraudctl.documents.results.as_json` writes it.

    Parameters
    ----------
    name
        What the document is called: part of ``$id``, and its title.
    version
        The document's ``schema_version``; part of ``$id``.

    Raises
    ------
    TypeError
        A type that has no form in JSON, or two classes of one name.
    """
    book = _Book()
    whole = book.object_of(kind)
    head: JsonObject = {
        "$schema": DIALECT,
        "$id": f"urn:fraudctl:schema:{name}:{version}",
        "title": f"fraudctl {name}, schema_version {version}",
    }
    definitions: JsonObject = {key: book.definitions[key] for key in sorted(book.definitions)}
    return {**head, **whole, **({"$defs": definitions} if definitions else {})}


@dataclass
class _Book:
    """The definitions that one schema refers to."""

    definitions: dict[str, JsonObject] = field(default_factory=dict)
    kinds: dict[str, type] = field(default_factory=dict)

    def of(self, expected: Any) -> JsonObject:
        """Return the schema of a type."""
        origin, inner = get_origin(expected), get_args(expected)
        if origin in {typing.Union, types.UnionType}:
            return self._any_of(inner)
        if origin is Literal:
            return {"enum": list(inner)}
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(inner[1])}
        if origin in {tuple, list} and not (len(inner) == 2 and inner[1] is ...) and origin is tuple:
            items: list[JsonValue] = [self.of(item) for item in inner]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if origin in {tuple, list}:
            return {"type": "array", "items": self.of(inner[0])}
        if origin is np.ndarray:
            return {"type": "array"}
        return self._named(expected)

    def _any_of(self, choices: tuple[Any, ...]) -> JsonObject:
        found = [self.of(item) for item in choices]
        names = [item.get("type") for item in found]
        if all(len(item) == 1 for item in found) and all(isinstance(name, str) for name in names):
            return {"type": list(dict.fromkeys(names))}
        return {"anyOf": list(found)}

    def _named(self, expected: Any) -> JsonObject:
        if expected in _SIMPLE:
            return dict(_SIMPLE[expected])
        if isinstance(expected, type) and issubclass(expected, Enum):
            return {"enum": [item.value for item in expected]}
        if isinstance(expected, type) and issubclass(expected, (str, PurePath)):
            return {"type": "string"}
        if not dataclasses.is_dataclass(expected):
            msg = f"{expected} has no form in JSON"
            raise TypeError(msg)
        kind: Any = expected
        name = str(kind.__name__)
        if self.kinds.setdefault(name, kind) is not kind:
            msg = f"two classes are called {name}"
            raise TypeError(msg)
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self.object_of(kind)
        return {"$ref": f"#/$defs/{name}"}

    def object_of(self, kind: Any) -> JsonObject:
        """Return the schema of a dataclass as an object."""
        properties: JsonObject = {}
        needed: list[str] = []
        more: JsonValue = False
        version = getattr(kind, VERSION, None)
        if version is not None:
            properties["schema_version"] = {"const": version, "description": "Version of this form."}
            needed.append("schema_version")
        for part in parts(kind):
            expected = type_of(kind, part)
            if part.key is None and _is_mapping(expected):
                more = {**self.of(get_args(expected)[1]), "description": describe(kind, part)}
            elif part.key is None:
                found, always = self._merged(expected)
                properties.update(found)
                needed += always
            else:
                properties[part.key] = {**self.of(expected), "description": describe(kind, part)}
                needed += [] if part.optional else [part.key]
        return {
            "type": "object",
            "description": summary(kind.__doc__ or ""),
            "properties": properties,
            "required": list(needed),
            "additionalProperties": more,
        }

    def _merged(self, expected: Any) -> tuple[JsonObject, list[str]]:
        """Return the properties of a value whose keys stand in place of its own, and those that are always there."""
        choices = get_args(expected) if get_origin(expected) in {typing.Union, types.UnionType} else (expected,)
        found = [self.object_of(item) for item in choices if item is not types.NoneType]
        tables = [item["properties"] for item in found]
        properties: JsonObject = {}
        for key in dict.fromkeys(key for table in tables if isinstance(table, dict) for key in table):
            forms = [table[key] for table in tables if isinstance(table, dict) and key in table]
            properties[key] = (
                forms[0]
                if all(form == forms[0] for form in forms)
                else {"anyOf": forms, "description": forms[0]["description"] if isinstance(forms[0], dict) else ""}
            )
        always = [] if types.NoneType in choices else [
            str(key) for key in properties
            if all(isinstance(item["required"], list) and key in item["required"] for item in found)
        ]  # fmt: skip
        return properties, always


def _is_mapping(expected: Any) -> bool:
    origin = get_origin(expected)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def type_of(kind: type, part: JsonPart) -> Any:
    """Return the type of a part: that of its field, or what its property returns."""
    if not part.derived:
        return hint(kind, part.name)
    getter = getattr(kind, part.name).fget
    return typing.get_type_hints(getter)["return"]


def describe(kind: type, part: JsonPart) -> str:
    """Return the description of a part.

    Raises
    ------
    TypeError
        There is none.
    """
    text = summary(getattr(kind, part.name).__doc__ or "") if part.derived else described(kind).get(part.name, "")
    if not text:
        msg = f"{kind.__qualname__}.{part.name} has no description: add a text below the field"
        raise TypeError(msg)
    return text.replace("``", "`")


@cache
def described(kind: type) -> dict[str, str]:
    """Return the descriptions of a class's fields: texts below them, and entries of its docstring."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        found |= _listed(inspect.cleandoc(base.__doc__ or ""))
        found |= _below(base)
    return found


_ENTRY: Final = re.compile(r"^(\w+(?:, \w+)*)$")


def _listed(text: str) -> dict[str, str]:
    """Read the entries of the sections Attributes and Parameters: names, then their text, indented."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in re.split(r"^(?:Attributes|Parameters)\n-+\n", text, flags=re.MULTILINE)[1:]:
        for row in line.splitlines():
            entry = _ENTRY.match(row)
            if entry:
                names = entry[1].split(", ")
            elif row.startswith("    ") and names:
                found |= {name: f"{found.get(name, '')} {row.strip()}".strip() for name in names}
            elif row.strip():
                names = []
    return found


def _below(kind: type) -> dict[str, str]:
    """Read the texts that stand below the fields in the source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError):
        return {}
    found, name = {}, ""
    for node in tree.body if isinstance(tree, ast.ClassDef) else ():
        if name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join(inspect.cleandoc(str(node.value.value)).split())
        name = node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""
    return found


def summary(text: str) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split()).replace("``", "`")
