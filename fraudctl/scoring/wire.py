"""JSON as it goes over wires and into logs: one way to read and write it, with or without orjson.

Numbers that JSON does not have (NaN, infinities) are refused on the way in and never written.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from fraudctl.errors import DataError

try:
    import orjson
except ImportError:  # the extra `serve` is not installed: the standard library does the same, slower
    orjson = None  # type: ignore[assignment]


def loads(content: bytes | str) -> Any:
    """Read one JSON document.

    Raises
    ------
    DataError
        It is none, is nested too deeply, or holds NaN or Infinity.
    """
    try:
        return _plain_loads(content) if orjson is None else orjson.loads(content)
    except (ValueError, RecursionError):
        msg = "this is not valid JSON"
        raise DataError(msg, hint="one object; numbers are finite, text is UTF-8, nothing is nested deeply") from None


def _plain_loads(content: bytes | str) -> Any:
    return json.loads(content, parse_constant=_refuse)


def _refuse(_: str) -> NoReturn:
    msg = "not a number of JSON"
    raise ValueError(msg)


def dumps(document: Any) -> bytes:
    """Write a document on one line, keys in their order."""
    if orjson is not None:
        return orjson.dumps(document)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
