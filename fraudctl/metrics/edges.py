"""Places of numbers among a few rising edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fraudctl.arrays import FloatArray, IntArray

_MOST_COMPARED: Final = 64
"""Edges up to which numbers are compared with each."""
_COMPARED: Final = 1 << 15
"""Numbers that are compared at a time."""


def edges_below(numbers: FloatArray, edges: Sequence[float], *, equal: bool) -> IntArray:
    """Return how many of some rising edges lie below each number, shape ``(n_events,)``; all of them below NaN.

    That is ``np.searchsorted(edges, numbers)``. Few edges are compared one after the other with numbers that stay in
    the cache: several times as fast as a search for each number, whose branches cannot be foreseen.

    Parameters
    ----------
    equal
        Whether an edge that equals a number lies below it.
    """
    if len(edges) > _MOST_COMPARED:
        return np.searchsorted(edges, numbers, side="right" if equal else "left").astype(np.int64)
    beyond = np.greater_equal if equal else np.greater
    out = np.zeros(len(numbers), dtype=np.int64)
    for start in range(0, len(numbers), _COMPARED):
        block = numbers[start : start + _COMPARED]
        below = np.zeros(len(block), dtype=np.uint8)
        for edge in edges:
            below += beyond(block, edge).view(np.uint8)
        below[np.isnan(block)] = len(edges)
        out[start : start + _COMPARED] = below
    return out
