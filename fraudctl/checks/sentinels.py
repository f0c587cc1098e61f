"""Values that stand for "missing": one negative number among others that are none, one far beyond all, a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from fraudctl.text.figures import exact, percent

WORDS: Final = ("?", "na", "n/a", "#n/a", "null", "none", "nil", "-", "--", "nan", "\\n", "(null)", "missing",
                "unknown", ".", "n.a.", "not available")  # fmt: skip
"""Words that stand for a missing value, in small letters."""
MOST_LIKELY: Final = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0)
"""Numbers that are used for one."""
FEW: Final = 10
"""Rows that such a value has to hold, at least."""
_SHARE: Final = 0.001
_FAR: Final = 5.0


@dataclass(frozen=True)
class Sentinel:
    """A value that stands out; ``kind`` is ``number`` or ``word``.

    Attributes
    ----------
    value
        The value; messages show it only because it is one of `WORDS` or `MOST_LIKELY`.
    n_rows
        Rows that hold it.
    share
        Of all rows.
    """

    kind: str
    value: str
    n_rows: int
    share: float

    @property
    def words(self) -> str:
        """The finding in words."""
        held = f"{self.value!r} in {self.n_rows:,} rows ({percent(self.share, 1)})"
        if self.kind == "word":
            return f"{held}: it stands for a missing value, and is read as one value among others"
        return f"{held} stands apart from all other values: is it a missing one?"


def sentinel(values: pl.Series) -> Sentinel | None:
    """Return the value of a column that most likely stands for a missing one; shape ``(n_events,)``.

    A number has to be one of `MOST_LIKELY`, and negative where no other is, or five times as large as all others.
    """
    if values.dtype.is_integer() or values.dtype.is_float():
        return _number(values)
    if values.dtype != pl.String and values.dtype != pl.Categorical and not isinstance(values.dtype, pl.Enum):
        return None
    text = values.cast(pl.String)
    short = text.filter(text.str.len_bytes() <= max(map(len, WORDS)))
    words = short.unique()
    held = short.filter(short.is_in(words.filter(words.str.to_lowercase().is_in(WORDS)).implode())).str.to_lowercase()
    counts = held.value_counts(sort=True)
    if not counts.height or counts["count"][0] < _least(len(values)):
        return None
    word, n_rows = str(counts.row(0)[0]), int(counts["count"][0])
    return Sentinel("word", word, n_rows, n_rows / len(values))


def _least(n_rows: int) -> float:
    return max(FEW, _SHARE * n_rows)


def _number(values: pl.Series) -> Sentinel | None:
    low, high = values.min(), values.max()
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return None
    for value, others in ((low, values > low), (high, values < high)):
        if float(value) not in MOST_LIKELY:
            continue
        rest = values.filter(others.fill_null(value=False))
        n_rows = len(values) - values.null_count() - len(rest)
        if n_rows < _least(len(values)) or rest.n_unique() < 3:
            continue
        if _stands_apart(float(value), rest):
            return Sentinel("number", exact(value), n_rows, n_rows / len(values))
    return None


def _stands_apart(value: float, rest: pl.Series) -> bool:
    low, high = float(rest.min()), float(rest.max())  # type: ignore[arg-type]
    if value < 0:
        return low >= 0
    return value > _FAR * max(abs(low), abs(high))
