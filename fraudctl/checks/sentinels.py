"""Values that stand for "missing": one negative number among others that are none, one far beyond all, a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from fraudctl.metrics.tallies import Counted
from fraudctl.text.figures import exact, percent

WORDS: Final = ("?", "na", "n/a", "#n/a", "null", "none", "nil", "-", "--", "nan", "\\n", "(null)", "missing",
                "unknown", ".", "n.a.", "not available")  # fmt: skip
"""Words that stand for a missing value, in small letters."""
_LONGEST: Final = max(map(len, WORDS))
MOST_LIKELY: Final = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0)
"""Numbers that are used for one."""
_FEW_TEXTS: Final = 1_000
"""Texts that are looked at one by one."""
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


def sentinel(values: pl.Series, counted: Counted | None = None) -> Sentinel | None:
    """Return the value of a column that most likely stands for a missing one; shape ``(n_events,)``.

    A number has to be one of `MOST_LIKELY`, and negative where no other is, or five times as large as all others.
    ``counted`` may hold the distinct texts of the column.
    """
    if values.dtype.is_integer() or values.dtype.is_float():
        return _number(values)
    if values.dtype != pl.String and values.dtype != pl.Categorical and not isinstance(values.dtype, pl.Enum):
        return None
    texts = None if counted is None else counted.texts
    if texts is not None and len(texts) <= _FEW_TEXTS and not any(text.lower() in WORDS for text in texts):
        return None
    held = _words(values.cast(pl.String)) if counted is None or texts is None else _counted_words(counted)
    held = held.group_by("word").agg(pl.col("n").sum()).sort("n", "word", descending=[True, False])
    if not held.height or held["n"][0] < _least(len(values)):
        return None
    word, n_rows = str(held["word"][0]), int(held["n"][0])
    return Sentinel("word", word, n_rows, n_rows / len(values))


def _words(text: pl.Series) -> pl.DataFrame:
    """Return the values that are one of `WORDS`: each ``word`` in small letters, and the ``n`` rows of one spelling."""
    short = text.filter(text.str.len_bytes() <= _LONGEST)
    words = short.unique()
    spelled = words.filter(words.str.to_lowercase().is_in(WORDS))
    counts = short.filter(short.is_in(spelled.implode())).value_counts() if len(spelled) else spelled.value_counts()
    return counts.select(pl.col(text.name).str.to_lowercase().alias("word"), pl.col("count").alias("n"))


def _counted_words(counted: Counted) -> pl.DataFrame:
    """Return what `_words` does, of texts that are counted already."""
    frame = pl.DataFrame([counted.texts, counted.n], schema=["word", "n"])
    frame = frame.filter(pl.col("word").str.len_bytes() <= _LONGEST).with_columns(pl.col("word").str.to_lowercase())
    return frame.filter(pl.col("word").is_in(WORDS))


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
