"""JSON documents that the project keeps: written in one way only, read strictly, sealed with a digest of themselves.

A seal is a checksum against damage, not a signature: whoever can write a file can seal it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

SEAL: Final = "sha256"
"""Key that holds the digest of all others."""


class DocumentError(ValueError):
    """A file that does not hold the document that was written; the text says why, without any of its content."""


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON in UTF-8: keys sorted, numbers that JSON lacks as null, one key a line."""
    text = json.dumps(_plain(document), sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_object(content: bytes) -> Mapping[str, Any]:
    """Return the object that JSON holds.

    Raises
    ------
    DocumentError
        It is not JSON in UTF-8, not an object, nested too deeply, or names a key twice.
    """
    try:
        document = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        told = "is nested too deeply"
        raise DocumentError(told) from None
    except ValueError:
        told = "is not valid JSON"
        raise DocumentError(told) from None
    if not isinstance(document, dict):
        told = f"holds {type(document).__name__}; expected an object"
        raise DocumentError(told)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def seal(document: Mapping[str, Any]) -> bytes:
    """Return a document with a digest of itself, in the only form that `unseal` takes."""
    plain = {key: value for key, value in document.items() if key != SEAL}
    return canonical({**plain, SEAL: hashlib.sha256(canonical(plain)).hexdigest()})


def unseal(content: bytes) -> Mapping[str, Any]:
    """Return a sealed document without its seal.

    Raises
    ------
    DocumentError
        It is not a document, or any byte of it is not the one that was written.
    """
    document = read_object(content)
    try:
        same = SEAL in document and seal(document) == content
    except (RecursionError, ValueError):
        same = False
    if not same:
        told = "was changed: it does not have the SHA-256 that stands in it"
        raise DocumentError(told)
    return {key: value for key, value in document.items() if key != SEAL}
