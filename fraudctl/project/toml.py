"""TOML text: the only place that writes strings, keys and tables of a project file.

The standard library reads TOML and does not write it. `tomllib` reads back the value that `render_toml` wrote.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

from fraudctl.text.plain import HIDDEN

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def quoted(text: str) -> str:
    r"""Return a TOML basic string; control, bidirectional and other invisible characters are escaped.

    >>> print(quoted('a "b"\x1b'))
    "a \"b\"\u001b"
    """
    return HIDDEN.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    point = ord(match[0])
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def key(text: str) -> str:
    """Return a TOML key, quoted where it has to be."""
    return text if _BARE.fullmatch(text) else quoted(text)


def render_toml(tree: Mapping[str, Any]) -> str:
    """Return the text of a TOML document.

    Parameters
    ----------
    tree
        As `tomllib.loads` returns it. The order of keys is kept, but values come before tables.
    """
    return "\n".join(_table(tree, ())).lstrip("\n") + "\n"


def _table(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for name, value in tree.items():
        if not _is_table(value):
            yield f"{key(name)} = {_value(value)}"
    for name, value in tree.items():
        if not _is_table(value):
            continue
        inner = (*path, name)
        head = ".".join(map(key, inner))
        for item in [value] if isinstance(value, Mapping) else value:
            yield ""
            yield f"[{head}]" if isinstance(value, Mapping) else f"[[{head}]]"
            yield from _table(item, inner)


def _is_table(value: Any) -> bool:
    listed = isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping) or listed


def _value(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key(name)} = {_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
