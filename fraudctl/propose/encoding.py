"""How a column encodes the outcome: as 1, 0 and null, or as words and numbers that can be mapped to them."""

from __future__ import annotations

import re

import polars as pl

from fraudctl.errors import UsageError
from fraudctl.text.plain import shown

Mapping = dict[str, int | None]
"""Text of a value -> 1, 0 or None for unknown; empty where the column holds 1, 0 and null already."""

_FRAUD = frozenset(
    {"1", "fraud", "fraudulent", "yes", "y", "true", "t", "bad", "positive", "chargeback", "confirmedfraud", "isfraud"}
)
_LEGIT = frozenset(
    {
        "0", "legit", "legitimate", "genuine", "no", "n", "false", "f", "good", "ok", "normal", "clean", "negative",
        "nonfraud", "notfraud", "nofraud", "benign",
    }
)  # fmt: skip
_UNKNOWN = frozenset(
    {"unknown", "unlabelled", "unlabeled", "pending", "open", "none", "nan", "null", "na", "undetermined", "unresolved"}
)
_MAX_VALUES = 10


_BETWEEN = re.compile(r"(?<=[a-z])[\s_-]+(?=[a-z])")
"""What may stand between the words of an outcome; nothing else is left out: "fraud?" and "-1" are no fraud."""


def given_encoding(values: pl.Series, given: Mapping) -> Mapping:
    """Return the mapping of a column's values that flags gave; the other values by the words that are known.

    Raises
    ------
    UsageError
        A value that neither a flag nor the known words map; how many, not which.
    """
    distinct = values.drop_nulls().unique()
    texts = sorted(text_of_label(distinct))
    words = {word.strip().lower(): value for word, value in given.items()}
    out = {text: words[text.strip().lower()] for text in texts if text.strip().lower() in words}
    rest = [text for text in texts if text not in out]
    for text in rest:
        found = of_word(text)
        out |= {} if found is None else {text: found[0]}
    if len(out) < len(texts):
        msg = f"column {shown(values.name)} (label): {len(texts) - len(out)} of its {len(texts)} values are not mapped"
        raise UsageError(msg, hint="map each: --label-value WORD=1 or WORD=0, or WORD=unknown")
    return out


def text_of_label(values: pl.Series) -> list[str]:
    """Return the texts under which values of a label stand in [data.label_values]."""
    if values.dtype.is_float() and bool((values == values.floor()).all()):
        values = values.cast(pl.Int64)
    return [str(text) for text in values.cast(pl.String)]


def has_few_words(values: pl.Series) -> bool:
    """Say whether a column holds a few words that could be outcomes in another language."""
    distinct = values.drop_nulls().unique()
    return distinct.dtype == pl.String and 2 <= len(distinct) <= _MAX_VALUES and _of_words(distinct) is None


def of_word(text: str) -> tuple[int | None] | None:
    """Return what a word of an outcome means, in a tuple; None where it is not known.

    >>> of_word("Not fraud"), of_word("pending"), of_word("maybe")
    ((0,), (None,), None)
    """
    word = _BETWEEN.sub("", text.strip().lower())
    vocabularies: tuple[tuple[int | None, frozenset[str]], ...] = ((1, _FRAUD), (0, _LEGIT), (None, _UNKNOWN))
    return next(((value,) for value, vocabulary in vocabularies if word in vocabulary), None)


def encoding(values: pl.Series) -> Mapping | None:
    """Give the mapping of a column's values to outcomes, or None where they are not surely one.

    Numbers other than 0 and 1 are mapped to unknown where 0, 1 and exactly one other occur, for 2 and -1 are common
    marks of an event without outcome; unknown is the reading that can do no harm. Words must all be known, and both
    classes must occur among them.

    >>> encoding(pl.Series([0, 1, 2])), encoding(pl.Series(["legit", "Fraud"])), encoding(pl.Series([1, 2]))
    ({'0': 0, '1': 1, '2': None}, {'Fraud': 1, 'legit': 0}, None)
    """
    values = values.fill_nan(None) if values.dtype.is_float() else values
    distinct = values.drop_nulls().unique()
    if not 1 <= len(distinct) <= _MAX_VALUES:
        return None
    if distinct.dtype == pl.Boolean:
        return {}
    if distinct.dtype.is_numeric():
        return _of_numbers(distinct)
    return _of_words(distinct)


def _of_numbers(distinct: pl.Series) -> Mapping | None:
    numbers = {float(value) for value in distinct}
    if numbers <= {0.0, 1.0}:
        return {}
    others = numbers - {0.0, 1.0}
    if not {0.0, 1.0} <= numbers or len(others) != 1 or not all(value.is_integer() for value in others):
        return None
    return {"0": 0, "1": 1, str(int(others.pop())): None}


def _of_words(distinct: pl.Series) -> Mapping | None:
    mapping: Mapping = {}
    texts = distinct.cast(pl.String)
    numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
    if not numbers.null_count():  # the text of numbers: "0.0" and "1", and perhaps "-1" for unknown
        found = _of_numbers(numbers.unique())
        known = {1.0: 1, 0.0: 0}
        return None if found is None else {
            text: known.get(number) for text, number in sorted(zip(texts, numbers, strict=True))
        }  # fmt: skip
    for value in sorted(texts):
        word = _BETWEEN.sub("", value.strip().lower())
        if word in _FRAUD:
            mapping[value] = 1
        elif word in _LEGIT:
            mapping[value] = 0
        elif word in _UNKNOWN or not word:
            mapping[value] = None
        else:
            return None
    return mapping if {0, 1} <= set(mapping.values()) else None
