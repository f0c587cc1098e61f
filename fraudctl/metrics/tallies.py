"""Distinct values of long columns by one pass over a hash table, where they are few enough to stay in the cache.

Owns the choice only: what `fraudctl.data.distinct.tally` counts by a sort, this counts the same. A column of millions
of rows with thousands of ids takes a fifth of the time of the sort; one of as many ids as rows is left to it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudctl.data import distinct
from fraudctl.data.distinct import Tally
from fraudctl.features.batch.jit import jit

LEAST_ROWS: Final = 500_000
"""Rows from which a table is worth its memory, and the compiled loop its loading."""
LEAST_CELLS: Final = 10_000_000
"""Cells from which the loop is worth its loading for shorter columns, too."""
BITS: Final = 21
"""Places of the table as a power of two, at most: 24 MB. Half of them may be taken."""


def least_rows(n_columns: int) -> int:
    """Return the rows from which a table is worth it where so many columns of one length are counted.

    >>> least_rows(1), least_rows(400)
    (500000, 25000)
    """
    return min(LEAST_ROWS, LEAST_CELLS // max(1, n_columns))


def tally(values: pl.Series, *, least_rows: int = LEAST_ROWS, bits: int = BITS) -> Tally:
    """Count nulls, distinct values, and the rows of the most frequent one; see `fraudctl.data.distinct.tally`.

    >>> tally(pl.Series(["a", None, "a", "b"]), least_rows=1)
    Tally(n_null=1, n_unique=2, largest=2)
    """
    dtype = values.dtype
    hashed = dtype == pl.String or dtype.is_float() or isinstance(dtype, pl.Datetime)
    if len(values) < least_rows or not hashed:
        return distinct.tally(values)
    filled = values.drop_nulls() if values.null_count() else values
    if dtype.is_float():
        filled = filled.drop_nans()
    if not len(filled):
        return distinct.tally(values)
    n_unique, largest = _counted(_words(filled), min(bits, len(filled).bit_length() + 1))
    if n_unique < 0:
        return distinct.tally(values)
    return Tally(len(values) - len(filled), int(n_unique), int(largest))


def _words(filled: pl.Series) -> NDArray[np.uint64]:
    """Return one 64-bit word a row, equal where the values are: their hash, or their own bits."""
    if filled.dtype == pl.String:
        return filled.hash(seed=0).to_numpy()
    plain: NDArray[Any] = filled.to_physical().to_numpy()
    if plain.dtype.kind == "f":
        plain = plain.astype(np.float64) + 0.0  # zeros are one value, whatever their sign
    return plain.view(np.uint64)


@jit
def _counted(words: NDArray[np.uint64], bits: int) -> tuple[int, int]:
    """Return how many different words there are and how often the most frequent comes; -1 where the table is too small.

    Linear probing; the place of a word are the high bits of its product with 2**64 / golden ratio (Knuth 1973, 6.4).
    """
    size = 1 << bits
    held, n = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
    shift, last = np.uint64(64 - bits), np.uint64(size - 1)
    n_unique, largest = 0, np.uint32(0)
    for row in range(len(words)):
        word = words[row]
        place = (word * np.uint64(0x9E3779B97F4A7C15)) >> shift
        while n[place] != 0 and held[place] != word:
            place = (place + np.uint64(1)) & last
        if n[place] == 0:
            n_unique += 1
            if 2 * n_unique > size:
                return -1, 0
            held[place] = word
        n[place] += np.uint32(1)
        largest = max(largest, n[place])
    return n_unique, int(largest)
