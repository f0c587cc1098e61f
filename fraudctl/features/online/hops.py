"""The second hop of links: other values of an entity that met the same partners; compiled.

A slot of either entity keeps the slots of its first partners, up to the hub, in the order in which they met. What is
more than that need not be known: a value that met more partners than the hub leads nowhere.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch.jit import jit
from fraudctl.features.online.arena import COUNT, DEGREE, EMPTY, NULL, OWN_FRAUDS, Ints, allocate, release

HOPS = ("neighbours", "neighbour_frauds")
N_NEIGHBOURS, N_FRAUDS = range(2)
# partners in a slot: where their slots are listed, how many there are, and for how many there is room
PARTNERS, N_PARTNERS, ROOM = range(3)
PARTNER_WORDS = 3
# a family of hops: key spaces of the two entities and of their pair, places of the partners in the two slots, the hub
H_FIRST, H_SECOND, H_PAIR, H_PLACE_A, H_PLACE_B, H_HUB = range(6)
HOP_WORDS = 6


@jit
def _meet(heap: Ints, hops: Ints, h: int, slots: Ints) -> bool:
    """Return whether the event is the first one of both its entities together."""
    first, second = slots[hops[h, H_FIRST]], slots[hops[h, H_SECOND]]
    return bool(first != NULL and second != NULL and heap[slots[hops[h, H_PAIR]] + COUNT] == 0)


@jit
def _has_room(heap: Ints, at: int, hub: int) -> bool:
    """Make room for one more partner; False where the heap is too short."""
    n, room, old = heap[at + N_PARTNERS], heap[at + ROOM], heap[at + PARTNERS]
    if n < room or n >= hub:
        return True
    larger = max(4, 2 * room)
    block = allocate(heap, larger)
    if block == 0:
        return False
    heap[block : block + n] = heap[old : old + n]
    if old:
        release(heap, old, room)
    heap[at + PARTNERS], heap[at + ROOM] = block, larger
    return True


@jit
def make_room(heap: Ints, hops: Ints, slots: Ints) -> bool:
    """Make room for what an event makes known of partners; False where the heap is too short."""
    for h in range(hops.shape[0]):
        if _meet(heap, hops, h, slots):
            a, b = slots[hops[h, H_FIRST]] + hops[h, H_PLACE_A], slots[hops[h, H_SECOND]] + hops[h, H_PLACE_B]
            if not (_has_room(heap, a, hops[h, H_HUB]) and _has_room(heap, b, hops[h, H_HUB])):
                return False
    return True


@jit
def _add(heap: Ints, at: int, partner: int, hub: int) -> None:
    n = heap[at + N_PARTNERS]
    if n < hub:
        heap[heap[at + PARTNERS] + n] = partner
        heap[at + N_PARTNERS] = n + 1


@jit
def join(heap: Ints, hops: Ints, slots: Ints) -> None:
    """Note the partners of an event, for which `make_room` has made room, before it is counted."""
    for h in range(hops.shape[0]):
        if _meet(heap, hops, h, slots):
            first, second = slots[hops[h, H_FIRST]], slots[hops[h, H_SECOND]]
            _add(heap, first + hops[h, H_PLACE_A], second, hops[h, H_HUB])
            _add(heap, second + hops[h, H_PLACE_B], first, hops[h, H_HUB])


@jit
def hop(
    heap: Ints, kind: int, first: int, second: int, place_a: int, place_b: int, nodes: int, hub: int
) -> float:  # fmt: skip
    """Count the other values that met the partners of a slot, or their known frauds; the event's own partner counts.

    ``nodes`` holds where the two slots keep their nodes, as for `answers.link`.
    """
    if first == NULL:
        return math.nan
    node_a, node_b, list_a = nodes & 0xFFFF, nodes >> 16, first + place_a
    n, found = 0, np.empty(0, np.int64)
    for take in range(2):  # first they are counted, then there is room for them
        found, n = np.empty(n, np.int64), 0
        for j in range(heap[list_a + N_PARTNERS] + 1):
            partner = heap[heap[list_a + PARTNERS] + j] if j < heap[list_a + N_PARTNERS] else second
            if partner in (NULL, EMPTY) or heap[partner + node_b + DEGREE] > hub:
                continue
            others = partner + place_b
            for k in range(heap[others + N_PARTNERS]):
                if take:
                    found[n] = heap[heap[others + PARTNERS] + k]
                n += 1
    found.sort()
    total = 0
    for i in range(n):
        if found[i] != first and (i == 0 or found[i] != found[i - 1]):
            total += 1 if kind == N_NEIGHBOURS else heap[found[i] + node_a + OWN_FRAUDS]
    return float(total)
