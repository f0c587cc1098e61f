"""Pairs of entities that have met: how often, and when last; compiled.

A pair is three words of the heap, handed out from chunks: they stay where they are, so that a pair can be named by its
offset as a slot is. An index of 32-bit offsets finds them by the two slots of their entities (open addressing with
linear probing, at most half full). It is separate from the heap, is not saved, and is rebuilt from the chunks
when it is needed; until then, a pair is looked for among all of them (`search`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.jit import jit
from fraudctl.features.online.arena import (
    COUNT,
    EMPTY,
    LAST,
    N_PAIRS,
    NEVER,
    NULL,
    PAIR_CHUNK,
    PAIR_KEY,
    PAIR_NEXT,
    PAIR_WORDS,
    Ints,
    allocate,
)

Index = npt.NDArray[np.uint32]

# a space of pairs: numbers of its own key space and of those of its two entities
P_PAIR, P_FIRST, P_SECOND = range(3)
CHUNK_PAIRS = 341
CHUNK_WORDS = 1 + PAIR_WORDS * CHUNK_PAIRS
"""A chunk: the offset of the chunk before it, then pairs."""
FIRST_INDEX = 1 << 10


@jit
def _home(key: int, mask: int) -> int:
    """Return where in the index a pair is looked for first."""
    word = np.uint64(key)
    word ^= word >> np.uint64(32)
    word *= np.uint64(0x9E3779B97F4A7C15)
    return int(word >> np.uint64(24)) & mask


@jit
def _find(heap: Ints, index: Index, key: int) -> int:
    """Return the place of a pair in the index, or of the empty place where it belongs."""
    mask = index.shape[0] - 1
    at = _home(key, mask)
    while index[at] != 0 and heap[np.int64(index[at]) + PAIR_KEY] != key:
        at = (at + 1) & mask
    return at


@jit
def _new_pair(heap: Ints, key: int) -> int:
    """Return the offset of a new pair; 0 where the heap is too short."""
    if heap[PAIR_CHUNK] == 0 or heap[PAIR_NEXT] == heap[PAIR_CHUNK] + CHUNK_WORDS:
        chunk = allocate(heap, CHUNK_WORDS)
        if chunk == 0:
            return 0
        heap[chunk] = heap[PAIR_CHUNK]
        heap[PAIR_CHUNK] = chunk
        heap[PAIR_NEXT] = chunk + 1
    at: int = heap[PAIR_NEXT]
    heap[PAIR_NEXT] = at + PAIR_WORDS
    heap[N_PAIRS] += 1
    heap[at + COUNT] = 0
    heap[at + LAST] = NEVER
    heap[at + PAIR_KEY] = key
    return at


@jit
def look_up(heap: Ints, index: Index, pairs: Ints, slots: Ints) -> None:
    """Write the pairs of an event to its slots: NULL without one of the entities, EMPTY where they have never met.

    Parameters
    ----------
    pairs
        Shape (n_pair_spaces, 3): numbers of the key spaces.
    slots
        Shape (n_spaces,): those of entities are there.
    """
    for i in range(pairs.shape[0]):
        first, second = slots[pairs[i, P_FIRST]], slots[pairs[i, P_SECOND]]
        found: int = NULL
        if first != NULL and second != NULL:
            found = EMPTY
            if first != EMPTY and second != EMPTY:
                at: int = np.int64(index[_find(heap, index, first << 32 | second)])  # type: ignore[assignment]
                found = at if at != 0 else EMPTY
        slots[pairs[i, P_PAIR]] = found


@jit
def make(heap: Ints, index: Index, pairs: Ints, slots: Ints) -> bool:
    """Write the pairs of an event to its slots after making those that are new; False where the heap is too short.

    The index has to have room for all of them (see `PairIndex.require`).
    """
    for i in range(pairs.shape[0]):
        first, second = slots[pairs[i, P_FIRST]], slots[pairs[i, P_SECOND]]
        slots[pairs[i, P_PAIR]] = NULL
        if first != NULL and second != NULL:
            key = first << 32 | second
            place = _find(heap, index, key)
            if index[place] == 0:
                made = _new_pair(heap, key)
                if made == 0:
                    return False
                index[place] = made
            slots[pairs[i, P_PAIR]] = np.int64(index[place])
    return True


@jit
def search(heap: Ints, pairs: Ints, slots: Ints) -> None:
    """Do what `look_up` does without an index, by one way through all pairs."""
    n, left = pairs.shape[0], 0
    keys = np.zeros(n, np.int64)
    for i in range(n):
        first, second = slots[pairs[i, P_FIRST]], slots[pairs[i, P_SECOND]]
        slots[pairs[i, P_PAIR]] = NULL if first == NULL or second == NULL else EMPTY
        if first not in (NULL, EMPTY) and second not in (NULL, EMPTY):
            keys[i] = first << 32 | second
            left += 1
    chunk, end = heap[PAIR_CHUNK], heap[PAIR_NEXT]
    while chunk != 0 and left > 0:
        for at in range(chunk + 1, end, PAIR_WORDS):
            for i in range(n):
                if heap[at + PAIR_KEY] == keys[i]:
                    slots[pairs[i, P_PAIR]] = at
                    left -= 1
        chunk = heap[chunk]
        end = chunk + CHUNK_WORDS


@jit
def make_searched(heap: Ints, pairs: Ints, slots: Ints) -> bool:
    """Do what `make` does without an index, by one way through all pairs."""
    search(heap, pairs, slots)
    for i in range(pairs.shape[0]):
        if slots[pairs[i, P_PAIR]] == EMPTY:
            made = _new_pair(heap, slots[pairs[i, P_FIRST]] << 32 | slots[pairs[i, P_SECOND]])
            if made == 0:
                return False
            slots[pairs[i, P_PAIR]] = made
    return True


@jit
def make_all(heap: Ints, index: Index, pairs: Ints, slots: Ints, at: int, stop: int) -> int:
    """Do the same for events ``[at, stop)``; return the first that did not fit into the heap."""
    for i in range(at, stop):
        if not make(heap, index, pairs, slots[i]):
            return i
    return stop


@jit
def fill(heap: Ints, index: Index) -> None:
    """Fill an empty index with all pairs."""
    chunk, end = heap[PAIR_CHUNK], heap[PAIR_NEXT]
    while chunk != 0:
        for at in range(chunk + 1, end, PAIR_WORDS):
            index[_find(heap, index, heap[at + PAIR_KEY])] = at
        chunk = heap[chunk]
        end = chunk + CHUNK_WORDS


class PairIndex:
    """Where the pairs of a heap are found.

    Parameters
    ----------
    searches
        How many events are looked up among all pairs before an index is made.
    """

    def __init__(self, *, searches: int = 0) -> None:
        self._index: Index | None = None
        self._searches = searches

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return 0 if self._index is None else int(self._index.nbytes)

    def look_up(self, heap: Ints, pairs: Ints, slots: Ints) -> None:
        """Call `look_up`, or `search` for the first few."""
        if self._searching():
            search(heap, pairs, slots)
        else:
            look_up(heap, self.require(heap, 0), pairs, slots)

    def make(self, heap: Ints, pairs: Ints, slots: Ints) -> bool:
        """Call `make`, or `make_searched` for the first few."""
        if self._searching():
            return make_searched(heap, pairs, slots)
        return make(heap, self.require(heap, len(pairs)), pairs, slots)

    def require(self, heap: Ints, more: int) -> Index:
        """Return an index of all pairs that is at most half full after ``more`` of them were added."""
        self._searches = 0
        if self._index is None or 2 * (int(heap[N_PAIRS]) + more) > len(self._index):
            self._index = _indexed(heap, more)
        return self._index

    def _searching(self) -> bool:
        self._searches -= self._searches > 0
        return self._searches > 0


def _indexed(heap: Ints, more: int) -> Index:
    """Return an index of all pairs, with room for more of them."""
    size = FIRST_INDEX
    while size < 2 * (int(heap[N_PAIRS]) + more):
        size *= 2
    index = np.zeros(size, np.uint32)
    fill(heap, index)
    return index
