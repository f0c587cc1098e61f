"""The words of a log: where in memory each of its values is, and how the layout describes it.

Every number here is part of the digest of saved states (see `layout`).
"""

from __future__ import annotations

NO_CODE = -(1 << 63)
"""The code of null."""
NO_LOW, NO_HIGH = 5000, -5000
"""The exponents of nothing."""

# flags of a column
SUMS, SQUARES, LARGEST, SMALLEST, NUMBER = 1, 2, 4, 8, 16

# a track in the layout: first its place in a body, last the words of its header
T_PLACE, T_WINDOW, T_N_COLUMNS, T_N_CODES, T_WHERE, T_SPACE, T_COLUMNS, T_CODES, T_NUMBER, T_WORDS = range(10)
TRACK_WORDS = 10
"""Words of a track; like every constant here it is part of the digest of saved states (see `layout`)."""
# a column in the layout; the last says where in its header its sorted windows begin
C_HEADER, C_OWN, C_FLAGS, C_N_SORTED, C_WINDOWS, C_LOW, C_HIGH, C_SORTED = range(8)
COLUMN_WORDS = 8
# a code column in the layout
K_HEADER, K_OWN = range(2)
CODE_WORDS = 2

# the header of a log
H_BLOCK, H_WORDS, H_START, H_END, H_CAP = range(5)
HEADER_WORDS = 5
# of a column; it ends after the last word that its flags ask for (see `value_words`)
V_VALUES, V_N, V_SUMS, V_GRID, V_SQUARES = range(5)
V_LARGEST, V_LARGEST_TAIL, V_SMALLEST, V_SMALLEST_TAIL = range(5, 9)
# of each sorted window of a column
S_AT, S_N, S_LEFT = range(3)
SORTED_WORDS = 3
# of a code column
D_CODES, D_BITS, D_BLOCKS, D_HASH, D_MASK = range(5)
DISTINCT_WORDS = 5

SMALL = 32
"""Positions up to which the last occurrence of a code is found by looking for it."""


def value_words(flags: int) -> int:
    """Return the words that a column takes in a header, before its sorted windows."""
    ends = {SMALLEST: V_SMALLEST_TAIL, LARGEST: V_LARGEST_TAIL, SQUARES: V_SQUARES, SUMS: V_GRID, NUMBER: V_N}
    return 1 + next((last for flag, last in ends.items() if flags & flag), V_VALUES)
