"""What pydantic finds wrong in a project file, in the words of TOML: key path, what was found, what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from fraudctl.text.figures import exact

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a truth value"), (int, "a whole number"), (float, "a number"), (str, "text"), (datetime, "a time"),
    (date, "a date"), (dict, "a table"), (list, "a list"), (tuple, "a list"),
)  # fmt: skip
_EXPECTED: dict[str, str] = {
    "string_type": 'text in quotes, such as "amount"',
    "bool_type": "true or false", "bool_parsing": "true or false",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "tuple_type": "a list, such as [\"a\", \"b\"]", "list_type": "a list, such as [\"a\", \"b\"]",
    "dict_type": "a table of keys and values", "model_type": "a table of keys and values",
    "model_attributes_type": "a table of keys and values", "mapping_type": "a table of keys and values",
    "datetime_type": "a date or time, such as 2026-06-01", "datetime_parsing": "a date or time, such as 2026-06-01",
    "datetime_from_date_parsing": "a date or time, such as 2026-06-01",
    "date_type": "a date or time, such as 2026-06-01", "date_parsing": "a date or time, such as 2026-06-01",
    "date_from_datetime_parsing": "a date or time, such as 2026-06-01",
    "date_from_datetime_inexact": "a date or time, such as 2026-06-01",
    "int_parsing_size": "a whole number of at most 64 bits", "none_required": "nothing",
}  # fmt: skip
"""Pydantic's type of an error -> what the file should have there."""
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": ("gt", "more than {}"), "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"), "less_than_equal": ("le", "at most {}"),
}  # fmt: skip


def found(value: object) -> str:
    """Return what a value of the file is, as TOML calls it; short values are shown.

    >>> found(7), found("x"), found([1])
    ('the whole number 7', 'the text "x"', 'a list')
    """
    kind = next((name for type_, name in _KINDS if isinstance(value, type_)), "nothing of TOML")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and len(value) <= 40:
        return f'the text "{value}"'
    if isinstance(value, (int, float)):
        return f"{kind.replace('a ', 'the ', 1)} {value}"
    return kind


def mistake(item: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors as a sentence: what was found, and what was expected."""
    kind, context = str(item["type"]), dict(item.get("ctx", {}))
    writer = _WRITERS.get(kind)
    if writer is not None:
        return writer(item, context)
    if kind in _EXPECTED:
        return f"is {found(item['input'])}; expected {_EXPECTED[kind]}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"is {_shown(item['input'])}; expected {words.format(_shown(context[key]))}"
    return str(item["msg"]).removeprefix("Value error, ")


def _shown(value: object) -> str:
    return exact(value) if isinstance(value, float) and math.isfinite(value) else f"{value}"


def _literal(item: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    allowed = str(context["expected"]).replace("'", '"')
    return f"is {found(item['input'])}; expected {allowed}"


def _pattern(item: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    return f"is {found(item['input'])}; expected a name of letters, digits and _, not starting with a digit"


def _short(item: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    n = int(context.get("min_length", 1))
    if isinstance(item["input"], str):
        return "is empty; expected some text"
    return "is empty; expected at least 1 item" if n == 1 else f"has too few items; expected at least {n}"


def _long(_: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    return f"has {context.get('actual_length', 'more')} items; expected {context.get('max_length')}"


_WRITERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "literal_error": _literal, "string_pattern_mismatch": _pattern, "too_short": _short, "string_too_short": _short,
    "too_long": _long,
}  # fmt: skip
