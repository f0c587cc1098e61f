"""JSON of messages and of logs: one strict reader for what comes from outside, one writer, one reader for own records.

A message has one verdict, with orjson installed or not: what the standard library reads under the rules of `parse`.
orjson reads an event in a tenth of the time, but takes the last of two fields of one name. Its answer is used only
where the count of quotation marks proves that it holds all that was sent; everything else goes to the standard library.
What the project could not write back or hold exactly is refused here, whole, before any field is looked at.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from fraudctl.errors import DataError

try:
    import orjson
except ImportError:  # the extra `serve` is not installed: the standard library does the same, slower
    orjson = None  # type: ignore[assignment]

DEEPEST: Final = 32
"""Levels of lists and objects in a message, the outermost included."""
_FIRST_INTEGER, _LAST_INTEGER = -(2**63), 2**63 - 1
_FIRST, _LAST = -(2**62), 2**62


class _UnfitError(ValueError):
    """JSON that no message may hold; the text says why, without the value."""


def parse(content: bytes | str) -> Any:
    """Return the JSON document of a message; every value in it can be kept and written back exactly.

    Parameters
    ----------
    content
        UTF-8 without a byte order mark, or text.

    Raises
    ------
    DataError
        It is not JSON or not UTF-8, is nested deeper than `DEEPEST`, names a field twice in one object, or holds NaN,
        Infinity, a number beyond 64 bits, or text with half a surrogate pair.
    """
    quick = _flat(content) if orjson is not None and isinstance(content, bytes) else None
    if quick is not None:
        return quick
    try:
        text = content.decode() if isinstance(content, bytes) else content
        document = _DECODER.decode(text)
        _check(document, DEEPEST)
        if "\\u" in text or text is content:
            _check_text(document)
    except _UnfitError as problem:
        msg = f"this JSON cannot be taken: {problem}"
        raise DataError(msg, hint="no part of it was used") from None
    except RecursionError:
        msg = f"this JSON cannot be taken: it is nested deeper than {DEEPEST} levels"
        raise DataError(msg, hint="no part of it was used") from None
    except ValueError:
        msg = "this is not valid JSON"
        raise DataError(msg, hint="send one document in UTF-8; its numbers are finite") from None
    return document


def required(document: Any) -> Any:
    """Return a document that another format held, where `parse` would take the same one as JSON.

    Raises
    ------
    DataError
        It is nested too deeply, or holds NaN, an infinity, a number beyond 64 bits, or half a surrogate pair.
    """
    try:
        _check(document, DEEPEST)
        _check_text(document)
    except _UnfitError as problem:
        msg = f"this message cannot be taken: {problem}"
        raise DataError(msg, hint="no part of it was used") from None
    return document


def _flat(content: bytes) -> dict[str, Any] | None:
    """Return one flat object, read by orjson, or None where its standing for all that was sent is not proven.

    Without a backslash, every quotation mark opens or closes a text. An object without inner ones has two for every
    name and two for every value that is text: a name that was given twice would leave some over.
    """
    if b"\\" in content:
        return None
    try:
        found = orjson.loads(content)
    except ValueError:
        return None
    if type(found) is not dict:
        return None
    texts = len(found)
    for value in found.values():
        kind = type(value)
        if kind is str:
            texts += 1
        elif kind is dict or kind is list or ((kind is float or kind is int) and not _FIRST <= value < _LAST):
            return None  # a number near the ends of 64 bits may have been rounded
    return found if content.count(b'"') == 2 * texts else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        told = "an object names a field twice"
        raise _UnfitError(told)
    return found


def _refuse_constant(_: str) -> NoReturn:
    told = "NaN and Infinity are not numbers of JSON"
    raise _UnfitError(told)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def _check(value: Any, levels: int) -> None:
    """Raise where containers are nested deeper than ``levels``, or a number is beyond 64 bits."""
    kind = type(value)
    if kind is dict or kind is list:
        if not levels:
            told = f"it is nested deeper than {DEEPEST} levels"
            raise _UnfitError(told)
        for item in value.values() if kind is dict else value:
            if type(item) is not str:
                _check(item, levels - 1)
    elif (kind is int and not _FIRST_INTEGER <= value <= _LAST_INTEGER) or (kind is float and value - value != 0):
        told = "a number is beyond 64 bits"
        raise _UnfitError(told)


def _check_text(value: Any) -> None:
    """Raise where text holds half a surrogate pair, which no UTF-8 can hold."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            told = "text holds half a surrogate pair"
            raise _UnfitError(told)
    elif isinstance(value, (dict, list)):
        for item in value:
            _check_text(item)
        if isinstance(value, dict):
            _check_text(list(value.values()))


def loads(content: bytes | str) -> Any:
    """Return a document that `dumps` wrote, such as a log record; what comes from outside is read by `parse`.

    Raises
    ------
    DataError
        It is not JSON.
    """
    try:
        return json.loads(content) if orjson is None else orjson.loads(content)
    except (ValueError, RecursionError):
        msg = "this is not valid JSON"
        raise DataError(msg) from None


def dumps(document: Any) -> bytes:
    """Return a document as one line of UTF-8, keys in their order; numbers that JSON lacks become null."""
    if orjson is not None:
        return orjson.dumps(document)
    try:
        return _text(document)
    except ValueError:  # NaN or an infinity, which orjson writes as null
        return _text(_finite(document))


def _text(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
