"""Distinct and repeated values of a column, by one sort of 64-bit keys instead of a hash table that leaves the cache.

Owns the counting only. Numbers and times are their own keys. Text is counted by its 64-bit hash: among 10 million
different texts, the chance that two share a hash, so that the count is one too low, is 3 in a million. `repeats`
compares the texts themselves and is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tally:
    """Counts over the filled rows of a column; NaN counts as null.

    Attributes
    ----------
    n_null
        Rows without a value.
    n_unique
        Distinct values; 0 for lists and structs.
    largest
        Rows of the most frequent value; 0 where there is none.
    """

    n_null: int
    n_unique: int
    largest: int

    @property
    def n_values(self) -> int:
        """Distinct values with null as one of them, as Polars counts."""
        return self.n_unique + (self.n_null > 0)


def tally(values: pl.Series) -> Tally:
    """Count nulls, distinct values, and the rows of the most frequent one.

    >>> tally(pl.Series(["a", None, "a", "b"]))
    Tally(n_null=1, n_unique=2, largest=2)
    """
    n_null = values.null_count()
    if values.dtype.is_nested() or n_null == len(values):
        return Tally(n_null, 0, 0)
    filled = values.drop_nulls() if n_null else values
    if filled.dtype.is_float():
        return _floats(filled.sort().to_numpy(), n_null)
    runs = _runs(filled)
    return Tally(n_null, len(runs), int(runs.max()))


def _floats(ordered: NDArray[Any], n_null: int) -> Tally:
    """Count sorted floats; NaN, which is sorted last, counts as null."""
    n_filled = int(np.searchsorted(ordered, np.nan))
    n_null += len(ordered) - n_filled
    ordered = ordered[:n_filled]
    if not n_filled:
        return Tally(n_null, 0, 0)
    changes = ordered[1:] != ordered[:-1]
    n_values = int(np.count_nonzero(changes)) + 1
    if n_values == n_filled:
        return Tally(n_null, n_values, 1)
    starts = np.flatnonzero(changes) + 1
    return Tally(n_null, n_values, int(np.diff(starts, prepend=0, append=n_filled).max()))


_NARROW = 2
"""Whole numbers within a range of this many times their number are counted without a sort."""


def n_unique(values: pl.Series) -> int:
    """Return the number of distinct values; null counts as one of them, as in Polars."""
    return tally(values).n_values


def _runs(values: pl.Series) -> NDArray[Any]:
    """Return how many rows each distinct value has, of values without nulls."""
    if not _has_keys(values.dtype):
        return values.value_counts()["count"].to_numpy()
    found = keys(values)
    low, high = (found.min(), found.max()) if found.dtype.kind in "iu" and values.dtype != pl.String else (0, 2**63)
    if int(high) - int(low) < _NARROW * len(found):  # codes and counts: counted in place of sorting
        counts = np.bincount((found - low).astype(np.int64, copy=False))
        return counts[counts > 0]
    ordered = pl.Series(found).sort().to_numpy()  # takes half of the time of NumPy's
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.diff(starts, prepend=0, append=len(ordered))


def _has_keys(dtype: pl.DataType) -> bool:
    narrow = dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128)
    return dtype == pl.String or dtype.is_float() or narrow or isinstance(dtype, (pl.Datetime, pl.Date))


def keys(values: pl.Series) -> NDArray[Any]:
    """Return one number a row, equal where the values are: the numbers themselves, or the hash of anything else."""
    plain = _has_keys(values.dtype) and values.dtype != pl.String and not values.null_count()
    if plain and not (values.dtype.is_float() and values.is_nan().any()):
        return values.to_physical().to_numpy()
    return values.hash(seed=0).to_numpy()


def repeats(values: pl.Series) -> NDArray[np.uint32]:
    """Return the rows, in order, whose value stands in more than one row; nulls are one value.

    >>> repeats(pl.Series(["a", "b", "a", "c"])).tolist()
    [0, 2]
    """
    found = pl.Series(keys(values))
    ordered = found.sort().to_numpy()
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return np.empty(0, np.uint32)
    rows = found.is_in(pl.Series(twice).unique().implode()).arg_true()
    return rows.filter(values.gather(rows).is_duplicated()).to_numpy()


def tally_of_repeats(values: pl.Series, rows: NDArray[np.uint32]) -> Tally:
    """Count a column of texts or integers, of which `repeats` gave the rows whose value stands in more than one.

    >>> ids = pl.Series(["a", "b", "a", None])
    >>> tally_of_repeats(ids, repeats(ids))
    Tally(n_null=1, n_unique=2, largest=2)
    """
    n_null = values.null_count()
    again = values.gather(rows).drop_nulls()
    found, n_single = tally(again), len(values) - n_null - len(again)
    return Tally(n_null, n_single + found.n_unique, max(found.largest, min(1, n_single)))


def spells(values: pl.Series, times: pl.Series) -> tuple[int, NDArray[np.int64]]:
    """Return the number of distinct values, and the time since the value's previous row, which is at an earlier time.

    Parameters
    ----------
    values, times
        No nulls, shape ``(n_rows,)``, fewer than 2**32 rows; times are whole numbers.

    Returns
    -------
    tuple
        The count, and one difference for each row but those at the first time of each value, in no particular order.
    """
    at, found = times.to_numpy(), values.hash(seed=0).to_numpy()
    if not times.is_sorted():
        order = np.argsort(at, kind="stable")
        at, found = at[order], found[order]
    rows = _grouped(found)
    same = found[rows[1:]] == found[rows[:-1]]
    return int(len(at) - same.sum()), _since_earlier(np.diff(at[rows]), same)


def _since_earlier(gaps: NDArray[np.int64], same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the gap to the row before where it is of the same value; rows at one time have that of their first."""
    tied = same & (gaps == 0)
    if not tied.any():
        return gaps[same]
    first = np.maximum.accumulate(np.where(tied, -1, np.arange(len(gaps))))
    has = (first >= 0) & same[np.maximum(first, 0)]
    return gaps[first[has]]


def _grouped(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the rows, those of one hash side by side and in order.

    The first bits of the hash and the row make one number, which is sorted. Where two hashes share these bits, the
    rows are sorted by the whole hash.
    """
    low = np.uint64((1 << max(1, len(hashes) - 1).bit_length()) - 1)
    packed = pl.Series((hashes & ~low) | np.arange(len(hashes), dtype=np.uint64))
    rows = (packed.sort().to_numpy() & low).astype(np.int64)
    ordered = hashes[rows]
    shared = (ordered[1:] & ~low) == (ordered[:-1] & ~low)
    clash = shared & (ordered[1:] != ordered[:-1])
    return np.argsort(hashes, kind="stable") if clash.any() else rows


LONG: Final = 200_000
"""Rows from which `comes_back` looks at a column at all."""


def comes_back(values: pl.Series, *, least: int = LONG) -> bool:
    """Say whether the first rows of a long column of text or integers show that its values come back, again and again.

    Integers of 128 bits are left out: Arrow, which `coded` goes by, has none.

    It is so where, late in the first twentieth of the rows, at most every second row has a value for the first time.
    """
    dtype = values.dtype
    narrow = dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128)
    if len(values) < least or not (dtype == pl.String or narrow):
        return False
    first = values.head(len(values) // 20)
    early = first.head(3 * len(first) // 4)
    return 2 * (first.n_unique() - early.n_unique()) <= len(first) - len(early)


def coded(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the place of every row's value among the distinct ones, and these, null last.

    >>> rows, distinct = coded(pl.Series(["b", None, "a", "b"]))
    >>> rows.to_list(), distinct.to_list()
    ([0, 2, 1, 0], ['b', 'a', None])
    """
    found = values.rechunk().to_arrow().dictionary_encode()
    distinct = pl.Series(values.name, found.dictionary, dtype=values.dtype)
    rows = pl.Series(found.indices).fill_null(len(distinct))
    return rows, distinct.extend(pl.Series(values.name, [None], dtype=values.dtype))
