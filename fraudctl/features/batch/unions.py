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
def meetings(
    times: Ints, a_codes: Ints, b_codes: Ints, pairs: Ints, sizes: tuple[int, int, int], hub: int, out_asks: Array,
    out_joins: Array, out_degree: Ints,
) -> None:  # fmt: skip
    """Find which events bring two values together for the first time, and whether they join.

    Parameters
    ----------
    times, a_codes, b_codes, pairs
        Shape (n,): µs, sorted; the two entities and their pair as numbers, -1 for null.
    sizes
        How many numbers there are of each.
    hub
        Most partners of a value that may still join.
    out_asks, out_joins
        Shape (n,): written; whether an event sees its two values as joined by itself, and whether it joins them. Of
        events of one instant several may see that; what joins also sees it.
    out_degree
        Shape (n,): written; earlier partners of the second value; -1 is null.
    """
    n_a, n_b, n_pairs = sizes
    degree = np.zeros(n_a + n_b, np.int64)
    met = np.zeros(n_pairs, np.bool_)
    start, n = 0, times.shape[0]
    while start < n:
        t, stop = times[start], start
        while stop < n and times[stop] == t:
            a, b = a_codes[stop], b_codes[stop]
            out_degree[stop] = degree[n_a + b] if b >= 0 else -1
            both = a >= 0 and b >= 0
            out_asks[stop] = both and not met[pairs[stop]] and degree[a] < hub and degree[n_a + b] < hub
            stop += 1
        for row in range(start, stop):
            a, b = a_codes[row], b_codes[row]
            out_joins[row] = False
            if a >= 0 and b >= 0 and not met[pairs[row]]:
                met[pairs[row]] = True
                degree[a] += 1
                degree[n_a + b] += 1
                out_joins[row] = degree[a] <= hub and degree[n_a + b] <= hub
        start = stop


@jit
def roots(a_codes: Ints, b_codes: Ints, sizes: tuple[int, int], edges: Array, out: Ints) -> None:
    """Find one number for all values that edges hold together.

    Parameters
    ----------
    edges
        Shape (n,): which rows are edges.
    out
        Shape (n_a + n_b,): written, by value of the first entity, then of the second.
    """
    n_a, n_b = sizes
    for node in range(n_a + n_b):
        out[node] = node
    for row in range(edges.shape[0]):
        if edges[row]:
            a, b = _root(out, a_codes[row]), _root(out, n_a + b_codes[row])
            out[max(a, b)] = min(a, b)
    for node in range(n_a + n_b):
        out[node] = _root(out, node)


@jit
def components(  # noqa: C901
    times: Ints,
    a_codes: Ints,
    b_codes: Ints,
    asks: Array,
    joins: Array,
    sizes: tuple[int, int],
    labelled: Ints,
    label_times: Ints,
    outcomes: Array,
    signs: Ints,
    out_size: Ints,
    out_age: Floats,
    out_rate: Floats,
) -> None:
    """Sweep through time, joining what events share, and answer every event from what came strictly before it.

    Parameters
    ----------
    times, a_codes, b_codes
        Shape (n,): µs, sorted; the two entities as numbers, -1 for null.
    asks, joins
        Shape (n,): as `meetings` writes them.
    sizes
        How many numbers there are of each.
    labelled, label_times, outcomes, signs
        Shape (m,): rows with an outcome, when it arrived or was taken back, 1 for fraud, and 1 or -1 for which of the
        two; sorted by that time, then by when its event was where it can be that of its event.
    out_size, out_age, out_rate
        Shape (n,): written; -1 and NaN are null.
    """
    n_a, n_b = sizes
    never = np.int64(1) << 62
    parent = np.arange(n_a + n_b)
    weight = np.ones(n_a + n_b, np.int64)
    size = np.zeros(n_a + n_b, np.int64)
    size[:n_a] = 1
    first = np.full(n_a + n_b, never, np.int64)
    known, frauds = np.zeros(n_a + n_b, np.int64), np.zeros(n_a + n_b, np.int64)
    own_known, own_frauds = np.zeros(n_a, np.int64), np.zeros(n_a, np.int64)
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
            if a >= 0:
                root = _root(parent, a)
                n_linked, since = size[root], first[root]
                n_known, n_frauds = known[root] - own_known[a], frauds[root] - own_frauds[a]
                if asks[stop]:
                    other = _root(parent, n_a + b)
                    if other != root:
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
            if joins[row]:
                _absorb(parent, size, first, known, frauds, weight, a, n_a + b)
        start = stop


@jit
def _append(edge: int, node: int, hub: int, heads: Ints, tails: Ints, following: Ints, n: Ints) -> None:
    """Append an edge to the list of a node, while that is not longer than the hub."""
    n[node] += 1
    if n[node] > hub:
        return
    if n[node] == 1:
        heads[node] = edge
    else:
        following[tails[node]] = edge
    tails[node] = edge


@jit
def _visit(
    start: int, partner: int, own: int, stamp: int, heads: Ints, following: Ints, edges: Ints, stamps: Ints,
    frauds: Ints,
) -> tuple[int, int]:  # fmt: skip
    """Count the values in the list of a partner that were not visited yet, and their frauds."""
    total, known, edge = 0, 0, heads[start + partner]
    while edge >= 0:
        a = edges[edge]
        if a != own and stamps[a] != stamp:
            stamps[a] = stamp
            total += 1
            known += frauds[a]
        edge = following[edge]
    return total, known


@jit
def hops(
    times: Ints, a_codes: Ints, b_codes: Ints, pairs: Ints, sizes: tuple[int, int, int], labelled: Ints,
    label_times: Ints, outcomes: Array, signs: Ints, hub: int, out_neighbours: Ints, out_frauds: Ints,
) -> None:  # fmt: skip
    """Count, for every event, the other values of the first entity that met the partners of its own.

    The first ``hub`` partners of a value are looked at, and the event's own; a partner that met more than ``hub``
    values leads to none. Parameters as in `components`; -1 is null.
    """
    n_a, n_b, n_pairs = sizes
    heads, tails = np.full(n_a + n_b, -1, np.int64), np.full(n_a + n_b, -1, np.int64)
    degree, stamps = np.zeros(n_a + n_b, np.int64), np.full(n_a, -1, np.int64)
    firsts, seconds = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
    next_a, next_b = np.full(n_pairs, -1, np.int64), np.full(n_pairs, -1, np.int64)
    met, own_frauds = np.zeros(n_pairs, np.bool_), np.zeros(n_a, np.int64)
    arrived, start, n_edges, n = 0, 0, 0, times.shape[0]
    while start < n:
        t = times[start]
        while arrived < labelled.shape[0]:
            row = labelled[arrived]
            if label_times[arrived] > t or (label_times[arrived] == t and times[row] >= t):
                break
            if a_codes[row] >= 0:
                own_frauds[a_codes[row]] += signs[arrived] * outcomes[arrived]
            arrived += 1
        stop = start
        while stop < n and times[stop] == t:
            a, b = a_codes[stop], b_codes[stop]
            total, known = (0, 0) if a >= 0 else (-1, -1)
            if a >= 0:
                edge = heads[a]
                while edge >= 0:
                    if degree[n_a + seconds[edge]] <= hub:
                        more = _visit(n_a, seconds[edge], a, stop, heads, next_b, firsts, stamps, own_frauds)
                        total, known = total + more[0], known + more[1]
                    edge = next_a[edge]
                if b >= 0 and degree[n_a + b] <= hub:
                    more = _visit(n_a, b, a, stop, heads, next_b, firsts, stamps, own_frauds)
                    total, known = total + more[0], known + more[1]
            out_neighbours[stop], out_frauds[stop] = total, known
            stop += 1
        for row in range(start, stop):
            a, b = a_codes[row], b_codes[row]
            if a >= 0 and b >= 0 and not met[pairs[row]]:
                met[pairs[row]] = True
                firsts[n_edges], seconds[n_edges] = a, b
                _append(n_edges, a, hub, heads, tails, next_a, degree)
                _append(n_edges, n_a + b, hub, heads, tails, next_b, degree)
                n_edges += 1
        start = stop
