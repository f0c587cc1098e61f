"""Union-find through time: components of linked values as of each event; compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.jit import jit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@jit
def _root(parent: Ints, node: int) -> int:
    """Find the root of a node, halving the path on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@jit
def _absorb(parent: Ints, size: Ints, first: Ints, known: Ints, frauds: Ints, weight: Ints, a: int, b: int) -> None:
    """Join two components into one."""
    a, b = _root(parent, a), _root(parent, b)
    if a == b:
        return
    if weight[a] < weight[b]:
        a, b = b, a
    parent[b] = a
    weight[a] += weight[b]
    size[a] += size[b]
    first[a] = min(first[a], first[b])
    known[a] += known[b]
    frauds[a] += frauds[b]


@jit
def components(  # noqa: C901
    times: Ints,
    a_codes: Ints,
    b_codes: Ints,
    pairs: Ints,
    sizes: tuple[int, int, int],
    labelled: Ints,
    label_times: Ints,
    outcomes: Array,
    signs: Ints,
    hub: int,
    out_size: Ints,
    out_age: Floats,
    out_rate: Floats,
    out_degree: Ints,
) -> None:
    """Sweep through time, joining what events share, and answer every event from what came strictly before it.

    Parameters
    ----------
    times, a_codes, b_codes, pairs
        Shape (n,): µs, sorted; the two entities and their pair as numbers, -1 for null.
    sizes
        How many numbers there are of each.
    labelled, label_times, outcomes, signs
        Shape (m,): rows with an outcome, when it arrived or was taken back, 1 for fraud, and 1 or -1 for which of the
        two; sorted by that time, then by when its event was where it can be that of its event.
    hub
        Most partners of a value that may still join.
    out_size, out_age, out_rate, out_degree
        Shape (n,): written; -1 and NaN are null.
    """
    n_a, n_b, n_pairs = sizes
    never = np.int64(1) << 62
    parent = np.arange(n_a + n_b)
    weight = np.ones(n_a + n_b, np.int64)
    size = np.zeros(n_a + n_b, np.int64)
    size[:n_a] = 1
    first = np.full(n_a + n_b, never, np.int64)
    known, frauds = np.zeros(n_a + n_b, np.int64), np.zeros(n_a + n_b, np.int64)
    own_known, own_frauds = np.zeros(n_a, np.int64), np.zeros(n_a, np.int64)
    degree = np.zeros(n_a + n_b, np.int64)
    met = np.zeros(n_pairs, np.bool_)
    arrived, start, n = 0, 0, times.shape[0]
    while start < n:
        t = times[start]
        while arrived < labelled.shape[0]:
            row = labelled[arrived]
            if label_times[arrived] > t or (label_times[arrived] == t and times[row] >= t):
                break
            node = a_codes[row] if a_codes[row] >= 0 else n_a + b_codes[row]
            if a_codes[row] >= 0 or b_codes[row] >= 0:
                root = _root(parent, node)
                known[root] += signs[arrived]
                frauds[root] += signs[arrived] * outcomes[arrived]
            if a_codes[row] >= 0:
                own_known[a_codes[row]] += signs[arrived]
                own_frauds[a_codes[row]] += signs[arrived] * outcomes[arrived]
            arrived += 1
        stop = start
        while stop < n and times[stop] == t:
            a, b = a_codes[stop], b_codes[stop]
            out_size[stop] = -1
            out_age[stop] = math.nan
            out_rate[stop] = math.nan
            out_degree[stop] = degree[n_a + b] if b >= 0 else -1
            if a >= 0:
                root = _root(parent, a)
                n_linked, since = size[root], first[root]
                n_known, n_frauds = known[root] - own_known[a], frauds[root] - own_frauds[a]
                if b >= 0:
                    other = _root(parent, n_a + b)
                    joins = degree[a] < hub and degree[n_a + b] < hub and not met[pairs[stop]]
                    if other != root and joins:
                        n_linked += size[other]
                        since = min(since, first[other])
                        n_known += known[other]
                        n_frauds += frauds[other]
                out_size[stop] = n_linked
                if since < never:
                    out_age[stop] = (t - since) / 1e6
                if n_known > 0:
                    out_rate[stop] = n_frauds / n_known
            stop += 1
        for row in range(start, stop):
            a, b = a_codes[row], b_codes[row]
            for node in ((a if a >= 0 else -1), (n_a + b if b >= 0 else -1)):
                if node >= 0:
                    root = _root(parent, node)
                    first[root] = min(first[root], t)
            if a >= 0 and b >= 0 and not met[pairs[row]]:
                met[pairs[row]] = True
                degree[a] += 1
                degree[n_a + b] += 1
                if degree[a] <= hub and degree[n_a + b] <= hub:
                    _absorb(parent, size, first, known, frauds, weight, a, n_a + b)
        start = stop
