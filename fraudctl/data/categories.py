"""A category of the data, or one of fraudctl's own: null, and all others together.

Owns the difference. A value of the data and a word of fraudctl are never both plain text: values may be called "rest"
or "unknown" too. Code keeps the types of this module, JSON has a ``kind`` with the value, and text that people read
puts a value in quotes where it could be taken for one of fraudctl's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

UNKNOWN: Final = "unknown"
OTHERS: Final = "all others"
_OWN: Final = frozenset({UNKNOWN, OTHERS})


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the data, as text."""

    JSON = ("text as segment", "kind")

    text: str
    """The value, or null."""

    @property
    def segment(self) -> str:
        """The value, or null."""
        return self.text

    @property
    def kind(self) -> Literal["value"]:
        """``value`` of the column, ``missing`` (null), or ``rest``: all values that are not named."""
        return "value"


@dataclass(frozen=True, slots=True)
class Missing:
    """Null."""

    JSON = ("segment", "kind")

    @property
    def segment(self) -> None:
        """The value, or null."""
        return

    @property
    def kind(self) -> Literal["missing"]:
        """``value`` of the column, ``missing`` (null), or ``rest``: all values that are not named."""
        return "missing"


@dataclass(frozen=True, slots=True)
class Rest:
    """All values that are not named, null among them where it is not named."""

    JSON = ("segment", "kind")

    @property
    def segment(self) -> None:
        """The value, or null."""
        return

    @property
    def kind(self) -> Literal["rest"]:
        """``value`` of the column, ``missing`` (null), or ``rest``: all values that are not named."""
        return "rest"


Category = Value | Missing | Rest


def category(value: str | None) -> Value | Missing:
    """Return the category of a value; null is `Missing`."""
    return Missing() if value is None else Value(value)


def shown(item: Category) -> str:
    """Return the text of a category for people; two categories never have the same.

    >>> shown(Value("web")), shown(Missing()), shown(Value("unknown")), shown(Rest())
    ('web', 'unknown', '"unknown"', 'all others')
    """
    match item:
        case Value(text):
            return quoted(text)
        case Missing():
            return UNKNOWN
        case Rest():
            return OTHERS


def quoted(text: str) -> str:
    """Return the text of a value, in quotes where it could be taken for one of fraudctl's words."""
    return f'"{text}"' if text in _OWN or text.startswith('"') else text


def quoted_values(values: pl.Series) -> pl.Series:
    """Return what `shown` gives for each value of a text column; null is `UNKNOWN`."""
    own = values.is_in(list(_OWN)) | values.str.starts_with('"')
    marked = pl.select(pl.concat_str(pl.lit('"'), pl.lit(values), pl.lit('"'))).to_series().alias(values.name)
    return marked.zip_with(own.fill_null(value=False), values).fill_null(UNKNOWN)
