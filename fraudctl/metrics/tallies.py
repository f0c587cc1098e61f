"""Distinct values of long columns by one pass over a hash table, where they are few enough to stay in the cache.

What `fraudctl.data.distinct.tally` counts by a sort, this counts the same. A column of millions of rows with thousands
of ids takes a fifth of the time of the sort. Where the values are too many for one table in the cache, the rows are
first divided by a part of their hash, so that each part has a table that fits, as in a radix join (Manegold, Boncz and
Kersten 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
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
"""Places of the table as a power of two, at most: 40 MB. Half of them may be taken."""
FIRST_BITS: Final = 12
GROWTH: Final = 3
"""Places of the first table, as a power of two, and by how much the next one is larger: few values stay near."""
PARTS: Final = 8
"""Parts that rows with more values are divided into, as a power of two."""


def least_rows(n_columns: int) -> int:
    """Return the rows from which a table is worth it where so many columns of one length are counted.

    >>> least_rows(1), least_rows(400)
    (500000, 25000)
    """
    return min(LEAST_ROWS, LEAST_CELLS // max(1, n_columns))


@dataclass(frozen=True)
class Numbered:
    """A column as numbers of its distinct values, by their 64-bit hash, in the order in which they first appear.

    Attributes
    ----------
    codes
        The number of each row's value; shape ``(n_rows,)``.
    firsts
        The first row of each value; shape ``(n_values,)``. Null is a value.
    """

    codes: NDArray[np.int32]
    firsts: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each value."""
        return np.bincount(self.codes, minlength=len(self.firsts))


def number_values(values: pl.Series, *, n_unique: int) -> Numbered:
    """Give the distinct values of a column of text or numbers a number each; ``n_unique`` is their count, null aside.

    Two texts of one hash are one value: a chance of 3 in a million among 10 million different texts.

    >>> found = number_values(pl.Series(["b", None, "a", "b"]), n_unique=3)
    >>> found.codes.tolist(), found.firsts.tolist()
    ([0, 1, 2, 0], [0, 1, 2])
    """
    codes, firsts = _numbered(values.hash(seed=0).to_numpy(), (n_unique + 1).bit_length() + 1)
    return Numbered(codes, firsts)


@dataclass(frozen=True, eq=False)
class Counted:
    """A column counted once, for all that ask.

    Attributes
    ----------
    tally
        Its nulls, distinct values, and rows of the most frequent one.
    texts
        Of a long column of text with not too many distinct values: these, null aside, in no particular order; else
        None. ``n`` are the rows of each, the same shape ``(n_unique,)``.
    """

    tally: Tally
    texts: pl.Series | None = None
    n: pl.Series | None = None


def tally(values: pl.Series, *, least_rows: int = LEAST_ROWS, bits: int = BITS) -> Tally:
    """Count nulls, distinct values, and the rows of the most frequent one; see `fraudctl.data.distinct.tally`.

    >>> tally(pl.Series(["a", None, "a", "b"]), least_rows=1)
    Tally(n_null=1, n_unique=2, largest=2)
    """
    return count(values, least_rows=least_rows, bits=bits, keep=False).tally


def count(values: pl.Series, *, least_rows: int = LEAST_ROWS, bits: int = BITS, keep: bool = True) -> Counted:
    """Count a column as `tally` does, and ``keep`` the distinct texts where one table holds them.

    >>> found = count(pl.Series(["a", None, "a", "b"]), least_rows=1)
    >>> sorted(zip(found.texts, found.n))
    [('a', 2), ('b', 1)]
    """
    dtype = values.dtype
    hashed = dtype == pl.String or dtype.is_float() or isinstance(dtype, pl.Datetime)
    if len(values) < least_rows or not hashed or (isinstance(dtype, pl.Datetime) and values.is_sorted()):
        return Counted(distinct.tally(values))
    filled = values.drop_nulls() if values.null_count() else values
    if dtype.is_float():
        filled = filled.drop_nans()
    if not len(filled):
        return Counted(distinct.tally(values))
    words = _words(filled)
    n_unique, largest, firsts, counts = _counted(words, bits)
    if n_unique < 0:
        n_unique, largest = _counted_in_parts(*_divided(words, PARTS))
    found = Tally(len(values) - len(filled), int(n_unique), int(largest))
    if not keep or dtype != pl.String or not len(firsts):
        return Counted(found)
    return Counted(found, filled.gather(pl.Series(firsts)), pl.Series(counts))


def _words(filled: pl.Series) -> NDArray[np.uint64]:
    """Return one 64-bit word a row, equal where the values are: their hash, or their own bits."""
    if filled.dtype == pl.String:
        return filled.hash(seed=0).to_numpy()
    plain: NDArray[Any] = filled.to_physical().to_numpy()
    if plain.dtype.kind == "f":
        plain = plain.astype(np.float64) + 0.0  # zeros are one value, whatever their sign
    return plain.view(np.uint64)


@jit
def _counted(words: NDArray[np.uint64], most: int) -> tuple[int, int, NDArray[np.uint32], NDArray[np.uint32]]:
    """Count words in a table that grows with their number.

    Returns
    -------
    tuple
        How many different ones there are, how often the most frequent comes, the first row of each, and its rows; -1,
        0 and nothing where a table of ``2**most`` places is too small.
    """
    for bits in range(min(FIRST_BITS, most), most + GROWTH, GROWTH):
        found = _counted_within(words, min(bits, most))
        if found[0] >= 0:
            return found
    return found


@jit
def _counted_within(words: NDArray[np.uint64], bits: int) -> tuple[int, int, NDArray[np.uint32], NDArray[np.uint32]]:
    """Return what `_counted` does, with a table of ``2**bits`` places, each a word and beside it how often it came.

    Linear probing; the place of a word are the high bits of its product with 2**64 / golden ratio (Knuth 1973, 6.4).
    """
    size = 1 << bits
    table = np.zeros((size, 2), np.uint64)
    places, firsts = np.empty(size // 2, np.uint32), np.empty(size // 2, np.uint32)
    shift, last = np.uint64(64 - bits), np.uint64(size - 1)
    n_unique, largest = 0, np.uint64(0)
    for row in range(len(words)):
        word = words[row]
        place = (word * np.uint64(0x9E3779B97F4A7C15)) >> shift
        while table[place, 1] != 0 and table[place, 0] != word:
            place = (place + np.uint64(1)) & last
        n = table[place, 1] + np.uint64(1)
        if n == 1:
            if 2 * n_unique >= size:
                return -1, 0, firsts[:0], firsts[:0]
            table[place, 0], places[n_unique], firsts[n_unique] = word, place, row
            n_unique += 1
        table[place, 1] = n
        largest = max(largest, n)
    counts = np.empty(n_unique, np.uint32)
    for i in range(n_unique):
        counts[i] = table[places[i], 1]
    return n_unique, int(largest), firsts[:n_unique].copy(), counts


@jit
def _divided(words: NDArray[np.uint64], bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the words part by part, and where each of the ``2**bits`` parts ends; equal words are in one part."""
    shift, ends = np.uint64(64 - bits), np.zeros((1 << bits) + 1, np.int64)
    for word in words:
        ends[((word * np.uint64(0xC2B2AE3D27D4EB4F)) >> shift) + np.uint64(1)] += 1
    ends = np.cumsum(ends)
    out = np.empty_like(words)
    for word in words:
        part = (word * np.uint64(0xC2B2AE3D27D4EB4F)) >> shift
        out[ends[part]] = word
        ends[part] += 1
    return out, ends[:-1]


@jit
def _counted_in_parts(words: NDArray[np.uint64], ends: NDArray[np.int64]) -> tuple[int, int]:
    """Return what `_counted` does, of words divided into parts."""
    n_unique, largest, start = 0, 0, 0
    for end in ends:
        bits, found, most = 12, -1, 0
        while found < 0:
            found, most, _, _ = _counted_within(words[start:end], bits)
            bits += 2
        n_unique += found
        largest, start = max(largest, most), end
    return n_unique, largest


@jit
def _numbered(words: NDArray[np.uint64], bits: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the number of each row's word, and the first row of each word; the table must have a free place.

    Probing as in `_counted`.
    """
    size = 1 << bits
    held, taken = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
    shift, last = np.uint64(64 - bits), np.uint64(size - 1)
    codes, firsts, n = np.empty(len(words), np.int32), np.empty(size, np.int64), 0
    for row in range(len(words)):
        word = words[row]
        place = (word * np.uint64(0x9E3779B97F4A7C15)) >> shift
        while taken[place] >= 0 and held[place] != word:
            place = (place + np.uint64(1)) & last
        if taken[place] < 0:
            held[place], taken[place], firsts[n] = word, n, row
            n += 1
        codes[row] = taken[place]
    return codes, firsts[:n].copy()
