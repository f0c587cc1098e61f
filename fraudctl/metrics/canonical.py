"""Number clusters by what they hold, so that a random draw never depends on names, codes or the order of rows.

A bootstrap draws cluster numbers. If these follow the names of cards, the interval changes when cards are renamed; with
numbers that follow from the content alone, it cannot.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import IntArray, WordArray

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS: Final = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST: Final = np.uint64(31)


def canonical_codes(codes: IntArray, n_clusters: int, *content: npt.NDArray[Any]) -> IntArray:
    """Return new cluster numbers that follow from the content of the clusters alone.

    Clusters are ordered by a hash of the set of their events. Clusters with the same content are interchangeable, so
    their order among each other changes no statistic of that content.

    Parameters
    ----------
    codes
        Cluster of each event in ``[0, n_clusters)``, shape ``(n_events,)``.
    n_clusters
        Number of clusters; numbers without an event are allowed.
    content
        Everything that the statistic reads of an event, arrays of shape ``(n_events,)``. Only the order of the values
        counts, so that weights in another unit give the same numbers.

    Examples
    --------
    Two cards, one with the scores .1 and .2, the other with .3; neither the names nor the order of rows matters:

    >>> score = np.array([0.1, 0.2, 0.3])
    >>> one = canonical_codes(np.array([0, 0, 1]), 2, score)
    >>> other = canonical_codes(np.array([0, 1, 1]), 2, score[::-1])
    >>> one.tolist() == other.tolist()[::-1]
    True
    """
    with np.errstate(over="ignore"):
        key = np.zeros(len(codes), dtype=np.uint64)
        for column in content:
            rank = np.unique(column, return_inverse=True)[1].astype(np.uint64)
            key = _mixed(key + _STEP + rank)
        total = np.zeros(n_clusters, dtype=np.uint64)
        np.add.at(total, codes, _mixed(key + _STEP))
    place = np.empty(n_clusters, dtype=np.int64)
    place[np.argsort(total, kind="stable")] = np.arange(n_clusters)
    return place[codes]


def _mixed(words: WordArray) -> WordArray:
    """Return the words with all bits mixed (the finaliser of SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    for shift, factor in _ROUNDS:
        words = (words ^ (words >> shift)) * factor
    return words ^ (words >> _LAST)
