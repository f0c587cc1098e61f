"""Integers of 128 and 256 bits as two and four 64-bit words, lowest first, in registers; compiled.

What `exact` does for any width, for the widths that nearly all data fit, and many times faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudctl.features.batch.exact import mantissa_of
from fraudctl.features.batch.jit import high_product, jit, leading_zeros

Word = Any

SUM_WORDS = 2
SQUARE_WORDS = 4

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@jit
def placed(bits: int, low: int) -> tuple[Word, Word]:
    """Return the size of a float, by its bit pattern, on the grid 2 ** ``low``."""
    part, shift = mantissa_of(bits, low)
    if shift >= 64:
        return _ZERO, part << np.uint64(shift - 64)
    if shift == 0:
        return part, _ZERO
    return part << np.uint64(shift), part >> np.uint64(64 - shift)


@jit
def square(x0: Word, x1: Word) -> tuple[Word, Word, Word, Word]:
    """Square an integer of two words."""
    a0, a1 = x0 * x0, high_product(x0, x0)
    if x1 == _ZERO:
        return a0, a1, _ZERO, _ZERO
    b0, b1 = x0 * x1, high_product(x0, x1)
    b2, b1, b0 = b1 >> np.uint64(63), (b1 << _ONE) | (b0 >> np.uint64(63)), b0 << _ONE
    c0, c1 = x1 * x1, high_product(x1, x1)
    return add(a0, a1, c0, c1, _ZERO, b0, b1, b2)


@jit
def add(
    a0: Word, a1: Word, a2: Word, a3: Word, b0: Word, b1: Word, b2: Word, b3: Word
) -> tuple[Word, Word, Word, Word]:
    """Add two integers of four words."""
    r0 = a0 + b0
    carry = _ONE if r0 < a0 else _ZERO
    r1 = a1 + b1
    over = _ONE if r1 < a1 else _ZERO
    r1 += carry
    carry = over | (_ONE if r1 < carry else _ZERO)
    r2 = a2 + b2
    over = _ONE if r2 < a2 else _ZERO
    r2 += carry
    carry = over | (_ONE if r2 < carry else _ZERO)
    return r0, r1, r2, a3 + b3 + carry


@jit
def subtract(
    a0: Word, a1: Word, a2: Word, a3: Word, b0: Word, b1: Word, b2: Word, b3: Word
) -> tuple[Word, Word, Word, Word]:
    """Subtract the second from the first integer of four words."""
    borrow = _ONE if a0 < b0 else _ZERO
    r1 = a1 - b1
    under = _ONE if a1 < b1 else _ZERO
    under |= _ONE if r1 < borrow else _ZERO
    r1 -= borrow
    r2 = a2 - b2
    below = _ONE if a2 < b2 else _ZERO
    below |= _ONE if r2 < under else _ZERO
    r2 -= under
    return a0 - b0, r1, r2, a3 - b3 - below


@jit
def times(n: Word, a0: Word, a1: Word, a2: Word, a3: Word) -> tuple[Word, Word, Word, Word]:
    """Multiply an integer of four words by a word."""
    return add(n * a0, n * a1, n * a2, n * a3, _ZERO, high_product(n, a0), high_product(n, a1), high_product(n, a2))


@jit
def rounded(a0: Word, a1: Word, a2: Word, a3: Word) -> tuple[float, int]:
    """Return a positive integer as (f, e): f × 2 ** e, f in [2 ** 63, 2 ** 64], rounded half to even; 0 is (0, 0)."""
    exponent = 192
    while a3 == _ZERO and exponent > 0:
        a3, a2, a1, a0 = a2, a1, a0, _ZERO
        exponent -= 64
    if a3 == _ZERO:
        return 0.0, 0
    lead = leading_zeros(a3)
    word, rest = a3, a2
    if lead != _ZERO:
        word = (a3 << lead) | (a2 >> (np.uint64(64) - lead))
        rest = a2 << lead
    if (rest | a1 | a0) != _ZERO:
        word |= _ONE
    out: Any = np.float64(word)
    return out, exponent - int(lead)
