"""Labels that were changed: counts and times over histories whose later positions replace earlier ones; compiled.

Positions of a history are changes of labels, in the order in which they became known. ``replaced`` names for each the
position of the change of the same event that it takes the place of, -1 for the first one. A range ``[lo, hi)`` of a
query holds the changes that were known at it, and those among them count that nothing before ``hi`` replaces.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch.jit import jit
from fraudctl.features.batch.kernels import Array, Floats, Ints


@jit
def _longest(h_starts: Ints, g0: int, g1: int) -> int:
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    return longest


@jit
def _insert(times: Ints, n: int, time: int) -> None:
    """Put a time among n sorted ones."""
    at = n
    while at > 0 and times[at - 1] > time:
        times[at] = times[at - 1]
        at -= 1
    times[at] = time


@jit
def _delete(times: Ints, n: int, time: int) -> None:
    """Take a time that is there out of n sorted ones."""
    at = np.searchsorted(times[:n], time)
    for i in range(at, n - 1):
        times[i] = times[i + 1]


@jit
def counts(
    outcome: Array, replaced: Array, h_starts: Ints, q_starts: Ints, lo: Array, hi: Array, known: Ints, frauds: Ints,
    g0: int, g1: int,
) -> None:  # fmt: skip
    """Count the changes of every range that nothing replaces, and the frauds among them.

    Parameters
    ----------
    outcome, replaced
        Shape (m,): 1 for fraud, and the position that each replaces or -1.
    known, frauds
        Shape (n_windows, n): written.
    """
    gone = np.zeros(_longest(h_starts, g0, g1), np.bool_)
    for w in range(lo.shape[0]):
        for g in range(g0, g1):
            start = h_starts[g]
            gone[: h_starts[g + 1] - start] = False
            n, n_frauds, left, seen = 0, 0, start, start
            for i in range(q_starts[g], q_starts[g + 1]):
                while seen < hi[i]:
                    n += 1
                    n_frauds += outcome[seen]
                    old = replaced[seen]
                    if old >= 0:
                        gone[old - start] = True
                        if old >= left:
                            n -= 1
                            n_frauds -= outcome[old]
                    seen += 1
                while left < lo[w, i]:
                    if not gone[left - start]:
                        n -= 1
                        n_frauds -= outcome[left]
                    left += 1
                known[w, i] = n
                frauds[w, i] = n_frauds


@jit
def fraud_times(
    outcome: Array, replaced: Array, times: Ints, h_starts: Ints, q_starts: Ints, lo: Array, hi: Array, latest: int,
    out: Floats, g0: int, g1: int,
) -> None:  # fmt: skip
    """Find the latest (or the earliest) event among the frauds of every range that nothing replaces; NaN without one.

    Parameters
    ----------
    times
        Shape (m,): µs of the events.
    out
        Shape (n_windows, n): µs, written.
    """
    longest = _longest(h_starts, g0, g1)
    gone, live = np.zeros(longest, np.bool_), np.empty(longest + 1, np.int64)
    for w in range(lo.shape[0]):
        for g in range(g0, g1):
            start = h_starts[g]
            gone[: h_starts[g + 1] - start] = False
            n, left, seen = 0, start, start
            for i in range(q_starts[g], q_starts[g + 1]):
                while seen < hi[i]:
                    old = replaced[seen]
                    if old >= 0:
                        if old >= left and outcome[old] == 1:
                            _delete(live, n, times[old])
                            n -= 1
                        gone[old - start] = True
                    if outcome[seen] == 1:
                        _insert(live, n, times[seen])
                        n += 1
                    seen += 1
                while left < lo[w, i]:
                    if outcome[left] == 1 and not gone[left - start]:
                        _delete(live, n, times[left])
                        n -= 1
                    left += 1
                out[w, i] = live[n - 1 if latest else 0] if n > 0 else math.nan


@jit
def since_run_began(
    q_times: Ints, q_starts: Ints, times: Ints, outcome: Array, replaced: Array, h_starts: Ints, hi: Array, gap: int,
    out: Array, g0: int, g1: int,
) -> None:  # fmt: skip
    """Do what `kernels.since_run_began` does, of the frauds that nothing replaces."""
    live = np.empty(_longest(h_starts, g0, g1) + 1, np.int64)
    for g in range(g0, g1):
        n, seen = 0, h_starts[g]
        for i in range(q_starts[g], q_starts[g + 1]):
            while seen < hi[i]:
                old = replaced[seen]
                if old >= 0 and outcome[old] == 1:
                    _delete(live, n, times[old])
                    n -= 1
                if outcome[seen] == 1:
                    _insert(live, n, times[seen])
                    n += 1
                seen += 1
            at = n - 1
            while at > 0 and live[at] - live[at - 1] <= gap:
                at -= 1
            out[i] = (q_times[i] - live[at]) / 1e6 if n > 0 else math.nan
