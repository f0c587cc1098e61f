"""Add events, outcomes and rows of other tables to the state; compiled.

Each function first reserves all the memory it needs. If the heap is too short it returns 0 and has changed nothing
that an answer could depend on: the caller lengthens the heap and calls again.
"""

from __future__ import annotations

import numpy as np

from fraudctl.features.batch import fading
from fraudctl.features.batch.jit import jit
from fraudctl.features.online import hops
from fraudctl.features.online.answers import root_of
from fraudctl.features.online.arena import (
    BODY,
    COUNT,
    DEGREE,
    EMPTY,
    FIRST,
    FRAUDS,
    G_HORIZON,
    G_N_SPACES,
    G_SPACES,
    KNOWN,
    LAST,
    LAST_FRAUD,
    LINK_FRAUDS,
    LINK_KNOWN,
    LISTS,
    NEVER,
    NO_BODY,
    NULL,
    OWN_FRAUDS,
    OWN_KNOWN,
    PARENT,
    RUN_BLOCK,
    RUN_CAP,
    RUN_N,
    RUN_WORDS,
    S_BODY,
    S_GAPS,
    S_KEPT,
    S_N_RUNS,
    S_N_TRACKS,
    S_PAIR,
    S_RUNS,
    S_SLOT,
    S_TRACKS,
    SINCE,
    SIZE,
    SPACE_WORDS,
    TOUCHED,
    WEIGHT,
    Floats,
    Ints,
    after,
    allocate,
    give_body,
    release,
    touch,
    unlist,
)
from fraudctl.features.online.log_words import T_NUMBER, T_PLACE, T_SPACE, T_WHERE, T_WINDOW
from fraudctl.features.online.logs import append, drop, remove, reserve

# a family of links: numbers of the three key spaces, places of the nodes in the two slots, most partners
F_FIRST, F_SECOND, F_PAIR, F_PLACE_A, F_PLACE_B, F_HUB = range(6)
FAMILY_WORDS = 6

MOST_REMOVED = 64
"""Slots that one call may free, at most."""


@jit
def _wanted(layout: Ints, track: int, slots: Ints, codes: Ints, time: int, now: int) -> int:
    """Return the slot whose log gets a row; 0 if there is none, or if the row is too old for any window."""
    where, slot = layout[track + T_WHERE], slots[layout[track + T_NUMBER]]
    if slot in (NULL, EMPTY) or time <= now - layout[track + T_WINDOW]:
        return 0
    return 0 if where >= 0 and codes[where] != 1 else slot


@jit
def make_room(
    heap: Ints, layout: Ints, tracks: Ints, slots: Ints, own: Floats, codes: Ints, time: int, now: int
) -> bool:
    """Reserve memory for a row in each of its logs; False if the heap is too short."""
    values, words = heap.view(np.float64), heap.view(np.uint64)
    for track in tracks:
        slot = _wanted(layout, track, slots, codes, time, now)
        if slot == 0:
            continue
        if not give_body(heap, layout, layout[track + T_SPACE], slot):
            return False
        place = heap[slot + BODY] + layout[track + T_PLACE]
        if not reserve(heap, values, words, layout, track, place, max(time, now), own):
            return False
    return True


@jit
def take_row(
    heap: Ints, layout: Ints, tracks: Ints, slots: Ints, own: Floats, codes: Ints, time: int, now: int
) -> None:
    """Append a row to each of its logs, after `make_room`."""
    values, words = heap.view(np.float64), heap.view(np.uint64)
    for track in tracks:
        slot = _wanted(layout, track, slots, codes, time, now)
        if slot != 0:
            header = heap[heap[slot + BODY] + layout[track + T_PLACE]]
            append(heap, values, words, layout, track, header, time, own, codes)
    for number in range(slots.shape[0]):
        slot, space = slots[number], layout[G_SPACES] + number * SPACE_WORDS
        if slot in (NULL, EMPTY) or layout[space + S_PAIR]:
            continue
        if heap[slot + BODY] != NO_BODY or layout[space + S_KEPT] == 0:
            touch(heap, number, slot, max(time, now))


@jit
def hold(heap: Ints, slots: Ints, until: int) -> None:
    """Keep the slots of an event (NULL for pairs) until a future time, even if they are idle."""
    for slot in slots:
        if slot not in (0, NULL):
            heap[slot + TOUCHED] = max(heap[slot + TOUCHED], until)


@jit
def forget(heap: Ints, layout: Ints, now: int, removed: Ints) -> int:
    """Free the bodies of slots that have been idle for longer than any window, and are not held.

    ``removed`` (MOST_REMOVED, 2) takes the key space and offset of slots that are not kept either; returns their
    number.
    """
    n = 0
    for number in range(layout[G_N_SPACES]):
        space = layout[G_SPACES] + number * SPACE_WORDS
        slot, n_held = heap[LISTS + 2 * number], 0
        while slot != 0 and n < MOST_REMOVED and n_held < MOST_REMOVED:
            following = after(heap, slot)
            if heap[slot + TOUCHED] > now:  # held: its turn comes again after all others
                touch(heap, number, slot, now)
                slot, n_held = following, n_held + 1
                continue
            if heap[slot + TOUCHED] > now - layout[G_HORIZON]:
                break
            if heap[slot + BODY] != NO_BODY:
                for i in range(layout[space + S_N_TRACKS]):
                    drop(heap, layout, layout[layout[space + S_TRACKS] + i], heap[slot + BODY])
                release(heap, heap[slot + BODY], layout[space + S_BODY])
                heap[slot + BODY] = NO_BODY
            unlist(heap, number, slot)
            if layout[space + S_KEPT] == 0:
                removed[n, 0], removed[n, 1] = number, slot
                release(heap, slot, layout[space + S_SLOT])
                n += 1
            slot = following
    return n


# ---------------------------------------------------------------- events


@jit
def _absorb(heap: Ints, a: int, b: int) -> None:
    """Merge two components (union-find)."""
    a, b = root_of(heap, a), root_of(heap, b)
    if a == b:
        return
    if heap[a + WEIGHT] < heap[b + WEIGHT]:
        a, b = b, a
    heap[b + PARENT] = a
    heap[a + WEIGHT] += heap[b + WEIGHT]
    heap[a + SIZE] += heap[b + SIZE]
    heap[a + SINCE] = min(heap[a + SINCE], heap[b + SINCE])
    heap[a + LINK_KNOWN] += heap[b + LINK_KNOWN]
    heap[a + LINK_FRAUDS] += heap[b + LINK_FRAUDS]


@jit
def _join(heap: Ints, links: Ints, slots: Ints, time: int) -> None:
    """Merge the components of the entities of an event."""
    for f in range(links.shape[0]):
        first, second = slots[links[f, F_FIRST]], slots[links[f, F_SECOND]]
        a, b = first + links[f, F_PLACE_A], second + links[f, F_PLACE_B]
        if first != NULL:
            root = root_of(heap, a)
            heap[root + SINCE] = min(heap[root + SINCE], time)
        if second != NULL:
            root = root_of(heap, b)
            heap[root + SINCE] = min(heap[root + SINCE], time)
        if first != NULL and second != NULL and heap[slots[links[f, F_PAIR]] + COUNT] == 0:
            heap[a + DEGREE] += 1
            heap[b + DEGREE] += 1
            if heap[a + DEGREE] <= links[f, F_HUB] and heap[b + DEGREE] <= links[f, F_HUB]:
                _absorb(heap, a, b)


@jit
def take_event(
    heap: Ints, layout: Ints, tracks: Ints, links: Ints, decays: Ints, partners: Ints, slots: Ints, own: Floats,
    codes: Ints, time: int, now: int,
) -> int:  # fmt: skip
    """Add an event to the state; 0 if the heap is too short.

    Parameters
    ----------
    tracks
        Offsets (in the layout) of the logs that events go to.
    links
        Shape (n_families, FAMILY_WORDS).
    decays
        Shape (n_decays, 4): key space, place of the cell in its slots, place in ``own`` or -1, half-life in µs.
    partners
        Shape (n_families, hops.HOP_WORDS).
    slots
        Slot of the event in each key space, NULL where it has no value there.
    own, codes
        What it holds, as the layout says, and which conditions it meets.
    time, now
        µs of the event, and the latest time that was answered.
    """
    if not make_room(heap, layout, tracks, slots, own, codes, time, now) or not hops.make_room(heap, partners, slots):
        return 0
    take_row(heap, layout, tracks, slots, own, codes, time, now)
    hops.join(heap, partners, slots)
    _join(heap, links, slots, time)
    values = heap.view(np.float64)
    for d in range(decays.shape[0]):
        slot, number = slots[decays[d, 0]], decays[d, 2]
        if slot != NULL:
            fading.take(heap, values, slot + decays[d, 1], time, own[number] if number >= 0 else 1.0, decays[d, 3])
    for number in range(slots.shape[0]):
        slot = slots[number]
        if slot != NULL:
            heap[slot + COUNT] += 1
            heap[slot + LAST] = max(heap[slot + LAST], time)
            if layout[layout[G_SPACES] + number * SPACE_WORDS + S_PAIR]:
                continue
            if heap[slot + FIRST] == NEVER or time < heap[slot + FIRST]:
                heap[slot + FIRST] = time
    return 1


@jit
def take_events(
    heap: Ints,
    layout: Ints,
    tracks: Ints,
    links: Ints,
    decays: Ints,
    partners: Ints,
    slots: Ints,
    own: Floats,
    codes: Ints,
    times: Ints,
    now: int,
    at: int,
) -> int:
    """Add events from number ``at`` on, as of now; return the first that did not fit."""
    for i in range(at, times.shape[0]):
        if not take_event(heap, layout, tracks, links, decays, partners, slots[i], own[i], codes[i], times[i], now):
            return i
    return len(times)


@jit
def take_other(
    heap: Ints, layout: Ints, tracks: Ints, slots: Ints, own: Floats, codes: Ints, time: int, now: int
) -> int:
    """Add a row of another table, usable since ``time``; 0 if the heap is too short."""
    if not make_room(heap, layout, tracks, slots, own, codes, time, now):
        return 0
    take_row(heap, layout, tracks, slots, own, codes, time, now)
    return 1


@jit
def take_rows(
    heap: Ints, layout: Ints, tracks: Ints, slots: Ints, own: Floats, codes: Ints, times: Ints, now: int, at: int
) -> int:
    """Add rows of another table from number ``at`` on, as of now; return the first that did not fit."""
    for i in range(at, times.shape[0]):
        if not take_other(heap, layout, tracks, slots[i], own[i], codes[i], times[i], now):
            return i
    return len(times)


# ---------------------------------------------------------------- outcomes


@jit
def _room_for_runs(heap: Ints, layout: Ints, slots: Ints) -> bool:
    for number in range(slots.shape[0]):
        space, slot = layout[G_SPACES] + number * SPACE_WORDS, slots[number]
        if slot == NULL:
            continue
        for g in range(layout[space + S_N_RUNS]):
            part = slot + layout[space + S_RUNS] + g * RUN_WORDS
            n, cap, old = heap[part + RUN_N], heap[part + RUN_CAP], heap[part + RUN_BLOCK]
            if n < cap:
                continue
            larger = max(4, 2 * cap)
            at = allocate(heap, 2 * larger)
            if at == 0:
                return False
            for i in range(2 * n):
                heap[at + i] = heap[old + i]
            if old:
                release(heap, old, 2 * cap)
            heap[part + RUN_BLOCK], heap[part + RUN_CAP] = at, larger
    return True


@jit
def _add_to_runs(heap: Ints, part: int, time: int, gap: int) -> None:
    """Add a fraud to the runs of a slot: pairs of first and last, in order, more than ``gap`` apart."""
    at, n = heap[part + RUN_BLOCK], heap[part + RUN_N]
    i = 0
    while i < n and heap[at + 2 * i + 1] + gap < time:
        i += 1
    first, last, stop = time, time, i
    while stop < n and heap[at + 2 * stop] - gap <= time:
        first, last = min(first, heap[at + 2 * stop]), max(last, heap[at + 2 * stop + 1])
        stop += 1
    if stop == i:
        for j in range(2 * n - 1, 2 * i - 1, -1):
            heap[at + j + 2] = heap[at + j]
    else:
        for j in range(2 * stop, 2 * n):
            heap[at + j - 2 * (stop - i - 1)] = heap[at + j]
    heap[at + 2 * i], heap[at + 2 * i + 1] = first, last
    heap[part + RUN_N] = n + 1 - (stop - i)


@jit
def _link_outcome(heap: Ints, links: Ints, slots: Ints, fraud: int, sign: int) -> None:
    """Count an outcome (``sign`` -1: no longer) where its event belongs: to its first entity, or else its second."""
    for f in range(links.shape[0]):
        first, second = slots[links[f, F_FIRST]], slots[links[f, F_SECOND]]
        if first == NULL and second == NULL:
            continue
        node = first + links[f, F_PLACE_A] if first != NULL else second + links[f, F_PLACE_B]
        root = root_of(heap, node)
        heap[root + LINK_KNOWN] += sign
        heap[root + LINK_FRAUDS] += sign * fraud
        if first != NULL:
            heap[node + OWN_KNOWN] += sign
            heap[node + OWN_FRAUDS] += sign * fraud


@jit
def take_label(
    heap: Ints, layout: Ints, tracks: Ints, links: Ints, slots: Ints, own: Floats, arrived: int, now: int
) -> int:
    """Add an outcome to the state; 0 if the heap is too short.

    Parameters
    ----------
    tracks
        Offsets (in the layout) of the logs that outcomes go to.
    slots
        The slots of its event; those of pairs do not matter.
    own
        Shape (2,): µs of the event if it is a fraud and else NaN, and µs of the event.
    arrived, now
        µs of its arrival, and the latest time that was answered.
    """
    codes = slots[:0]
    if not make_room(heap, layout, tracks, slots, own, codes, arrived, now) or not _room_for_runs(heap, layout, slots):
        return 0
    take_row(heap, layout, tracks, slots, own, codes, arrived, now)
    fraud = 1 if own[0] == own[0] else 0
    heap[KNOWN] += 1
    heap[FRAUDS] += fraud
    _link_outcome(heap, links, slots, fraud, 1)
    time = int(own[1])
    for number in range(slots.shape[0]):
        space, slot = layout[G_SPACES] + number * SPACE_WORDS, slots[number]
        if slot == NULL or not fraud or layout[space + S_PAIR]:
            continue
        heap[slot + LAST_FRAUD] = max(heap[slot + LAST_FRAUD], time)
        for g in range(layout[space + S_N_RUNS]):
            gap = layout[layout[space + S_GAPS] + g]
            _add_to_runs(heap, slot + layout[space + S_RUNS] + g * RUN_WORDS, time, gap)
    return 1


@jit
def _take_back_fraud(heap: Ints, layout: Ints, space: int, slot: int, time: int) -> None:
    """Take a fraud out of those of a slot, where every one is kept, and build its runs from the others."""
    every = 0
    for g in range(layout[space + S_N_RUNS]):
        if layout[layout[space + S_GAPS] + g] < 0:
            every = slot + layout[space + S_RUNS] + g * RUN_WORDS
    if every == 0:
        return
    at, n = heap[every + RUN_BLOCK], heap[every + RUN_N]
    i = 0
    while i < n and heap[at + 2 * i] != time:
        i += 1
    if i == n:
        return
    for j in range(2 * i, 2 * n - 2):
        heap[at + j] = heap[at + j + 2]
    n -= 1
    heap[every + RUN_N] = n
    heap[slot + LAST_FRAUD] = heap[at + 2 * n - 2] if n > 0 else NEVER
    for g in range(layout[space + S_N_RUNS]):
        gap, part = layout[layout[space + S_GAPS] + g], slot + layout[space + S_RUNS] + g * RUN_WORDS
        if gap >= 0:
            heap[part + RUN_N] = 0
            for k in range(n):
                _add_to_runs(heap, part, heap[at + 2 * k], gap)


@jit
def take_back(heap: Ints, layout: Ints, tracks: Ints, links: Ints, slots: Ints, own: Floats, arrived: int) -> int:
    """Take an outcome out again that `take_label` took in; 0 where the heap is too short. Parameters as there."""
    if not _room_for_runs(heap, layout, slots):
        return 0
    values, words = heap.view(np.float64), heap.view(np.uint64)
    for track in tracks:
        slot = slots[layout[track + T_NUMBER]]
        if slot in (NULL, EMPTY) or heap[slot + BODY] == NO_BODY:
            continue
        header = heap[heap[slot + BODY] + layout[track + T_PLACE]]
        remove(heap, values, words, layout, track, header, arrived, own)
    fraud = 1 if own[0] == own[0] else 0
    heap[KNOWN] -= 1
    heap[FRAUDS] -= fraud
    _link_outcome(heap, links, slots, fraud, -1)
    for number in range(slots.shape[0]):
        space, slot = layout[G_SPACES] + number * SPACE_WORDS, slots[number]
        if slot != NULL and fraud and not layout[space + S_PAIR]:
            _take_back_fraud(heap, layout, space, slot, int(own[1]))
    return 1


@jit
def take_labels(
    heap: Ints, layout: Ints, tracks: Ints, links: Ints, slots: Ints, own: Floats, arrived: Ints, now: int, at: int
) -> int:
    """Add outcomes from number ``at`` on, as of now; return the first that did not fit."""
    for i in range(at, arrived.shape[0]):
        if not take_label(heap, layout, tracks, links, slots[i], own[i], arrived[i], now):
            return i
    return len(arrived)
