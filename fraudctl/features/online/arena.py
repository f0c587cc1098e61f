"""Memory of the online state: one array of 64-bit words, allocated in blocks with free lists; compiled.

All state of entities lies in this one array (the heap), so that compiled loops take few arguments and a snapshot is a
copy. The first words are a header; therefore offset 0 never names a block.

A *slot* is the permanent state of one value of an entity. Its *body* holds the offsets of its logs (see `logs`) and is
freed when the value has been idle for longer than any window. ``EMPTY`` is the slot of a value that was never seen,
``NULL`` the slot of null; both answer like an empty history. A pair of entities has only a count and a last time (see
`pairs`), at the same places as in a slot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.jit import jit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Array = npt.NDArray[Any]

# ---------------------------------------------------------------- the heap's own words

TOP = 0
"""First word that was never handed out."""
KNOWN, FRAUDS = 1, 2
"""Outcomes that have arrived, of all events, and frauds among them."""
N_PAIRS, PAIR_CHUNK, PAIR_NEXT = 3, 4, 5
"""Pairs that are remembered, their newest chunk, and the first place in it that was never handed out."""
FREE = 8
"""Heads of the lists of free blocks, one for each size."""
SMALLEST = 4
N_SIZES = 256
"""Every size from 4 to 16 words, then eight for each power of two: a block is rounded up by an eighth at most."""
LISTS = FREE + N_SIZES
"""Oldest and newest slot with a body of each key space: two words each."""
MAX_SPACES = 32
EMPTY = LISTS + 2 * MAX_SPACES
MAX_SLOT = 256
NULL = EMPTY + MAX_SLOT
MAX_TRACKS = 1024
NO_BODY = NULL + MAX_SLOT
"""A body without anything in it: all its logs are `NO_LOG`."""
NO_LOG = NO_BODY + MAX_TRACKS
"""The header of a log without anything in it: zeros."""

# ---------------------------------------------------------------- words of a slot

COUNT, LAST, BODY, FIRST, LAST_FRAUD, IDLE, TOUCHED = range(7)
SLOT_WORDS = 7
PAIR_KEY = 2
PAIR_WORDS = 3
"""A pair has COUNT and LAST as a slot has, and then the slots of its entities as one word."""
"""Then come the parts that the plan asks for: runs of known frauds (3 words each), links (9 words each)."""
_HALF = 0xFFFFFFFF
NEVER = -(1 << 62)
LATER = 1 << 62

# parts of a slot for runs of frauds
RUN_BLOCK, RUN_N, RUN_CAP = range(3)
RUN_WORDS = 3
# parts of a slot for links
PARENT, WEIGHT, SIZE, SINCE, LINK_KNOWN, LINK_FRAUDS, OWN_KNOWN, OWN_FRAUDS, DEGREE = range(9)
LINK_WORDS = 9

# ---------------------------------------------------------------- a key space in the layout

S_SLOT, S_BODY, S_RUNS, S_N_RUNS, S_GAPS, S_KEPT, S_N_LINKS, S_LINKS, S_N_TRACKS, S_TRACKS, S_PAIR = range(11)
SPACE_WORDS = 11
"""Words of a slot and of a body; where in a slot its runs begin, how many there are, and where in the layout their gaps
stand; whether its slots are kept for ever; how many links it is part of and where (in the layout) each one's place in
the slot and size stand; how many tracks it has and where their offsets stand; whether it is one of pairs."""

# the layout's own words
G_HORIZON, G_N_SPACES, G_SPACES = range(3)
LAYOUT_WORDS = 3
"""How long an idle slot keeps its body in µs; how many key spaces there are and where their descriptions begin."""


def new_heap(words: int, header_words: int) -> Ints:
    """Return an empty heap with its header; ``header_words`` is the length of the largest header of a log."""
    heap = np.zeros(max(words, NO_LOG + header_words + 1024), np.int64)
    heap[TOP] = NO_LOG + header_words
    heap[NO_BODY : NO_BODY + MAX_TRACKS] = NO_LOG
    for slot in (EMPTY, NULL):
        heap[slot + BODY] = NO_BODY
        heap[slot + FIRST] = heap[slot + LAST] = heap[slot + LAST_FRAUD] = NEVER
    return heap


@jit
def size_class(words: int) -> int:
    """Return the number of the smallest block size of at least ``words``: 4, 5, ..., 15, 16, 18, 20, ..."""
    octave, eighths = 0, max(words, SMALLEST)
    while eighths >= 16:
        octave += 1
        eighths = (words + (1 << octave) - 1) >> octave
    return 8 * octave + eighths


@jit
def size_of(c: int) -> int:
    """Return the words of a block size."""
    return c if c < 16 else (8 + (c & 7)) << ((c >> 3) - 1)


@jit
def allocate(heap: Ints, words: int) -> int:
    """Allocate a block and return its offset; 0 if the heap is too short."""
    c = size_class(words)
    at: int = heap[FREE + c]
    if at != 0:
        heap[FREE + c] = heap[at]
        return at
    size = size_of(c)
    at = heap[TOP]
    if at + size > heap.shape[0]:
        return 0
    heap[TOP] = at + size
    return at


@jit
def release(heap: Ints, at: int, words: int) -> None:
    """Put a block on the free list of its size."""
    c = size_class(words)
    heap[at] = heap[FREE + c]
    heap[FREE + c] = at


@jit
def new_slot(heap: Ints, layout: Ints, space: int) -> int:
    """Allocate the slot of a new value; 0 if the heap is too short."""
    words = layout[space + S_SLOT]
    at = allocate(heap, words)
    if at == 0:
        return 0
    heap[at : at + words] = 0
    heap[at + BODY] = NO_BODY
    heap[at + FIRST] = NEVER
    heap[at + LAST] = NEVER
    heap[at + LAST_FRAUD] = NEVER
    for i in range(layout[space + S_N_LINKS]):
        node = at + layout[layout[space + S_LINKS] + 2 * i]
        heap[node + PARENT] = node
        heap[node + WEIGHT] = 1
        heap[node + SIZE] = layout[layout[space + S_LINKS] + 2 * i + 1]
        heap[node + SINCE] = LATER
    return at


@jit
def new_slots(heap: Ints, layout: Ints, space: int, out: Ints, at: int) -> int:
    """Allocate slots from number ``at`` on and write their offsets; return the first that did not fit into the heap."""
    for i in range(at, out.shape[0]):
        out[i] = new_slot(heap, layout, space)
        if out[i] == 0:
            return i
    return len(out)


@jit
def give_body(heap: Ints, layout: Ints, space: int, slot: int) -> int:
    """Allocate the body of a slot if it has none; 0 if the heap is too short."""
    if heap[slot + BODY] != NO_BODY:
        return 1
    words = layout[space + S_BODY]
    at = allocate(heap, words)
    if at == 0:
        return 0
    heap[at : at + words] = NO_LOG
    heap[slot + BODY] = at
    return 1


@jit
def before(heap: Ints, slot: int) -> int:
    """Return the slot before another in the idle list, the low half of a word; 0 where there is none."""
    found: int = heap[slot + IDLE] & _HALF
    return found


@jit
def after(heap: Ints, slot: int) -> int:
    """Return the slot after another in the idle list, the high half of a word; 0 where there is none."""
    found: int = heap[slot + IDLE] >> 32 & _HALF
    return found


@jit
def unlist(heap: Ints, number: int, slot: int) -> None:
    """Remove a slot from the idle list of its key space."""
    one, other = before(heap, slot), after(heap, slot)
    if one != 0:
        heap[one + IDLE] = before(heap, one) | other << 32
    elif heap[LISTS + 2 * number] == slot:
        heap[LISTS + 2 * number] = other
    if other != 0:
        heap[other + IDLE] = one | after(heap, other) << 32
    elif heap[LISTS + 2 * number + 1] == slot:
        heap[LISTS + 2 * number + 1] = one
    heap[slot + IDLE] = 0


@jit
def touch(heap: Ints, number: int, slot: int, now: int) -> None:
    """Mark a slot as used now: move it to the end of the idle list of its key space."""
    heap[slot + TOUCHED] = max(heap[slot + TOUCHED], now)
    newest = heap[LISTS + 2 * number + 1]
    if newest == slot:
        return
    unlist(heap, number, slot)
    newest = heap[LISTS + 2 * number + 1]
    heap[slot + IDLE] = newest
    if newest != 0:
        heap[newest + IDLE] = before(heap, newest) | slot << 32
    else:
        heap[LISTS + 2 * number] = slot
    heap[LISTS + 2 * number + 1] = slot
