"""Sums and standard deviations of ranges, exact but for the last rounding; compiled.

Values are laid out as integers on a common binary grid, wide enough for every value of the column, and prefix sums of
these integers (modulo 2 to the 64 × words) are subtracted. A window sum is therefore the correctly rounded sum of what
the window holds, whatever came before it, in whatever order, in whatever partition. Integers are little-endian 64-bit
words in two's complement.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.jit import jit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Array = npt.NDArray[Any]

_LOW32 = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_U32 = np.uint64(32)
_U64 = np.uint64(64)
_TOP = np.uint64(63)
_FRACTION = np.int64((1 << 52) - 1)
_HIDDEN = np.int64(1 << 52)


@jit
def exponent_range(bits: Ints) -> tuple[int, int]:
    """Return the binary grid of values: the exponent of the lowest set bit and of the highest, over all of them.

    ``bits`` holds the values' IEEE 754 patterns; NaN and zero have no bits and are skipped. Without any value that has,
    the range is (0, 0).
    """
    low, high = 5000, -5000
    for i in range(bits.shape[0]):
        exponent = (bits[i] >> 52) & 0x7FF
        fraction = bits[i] & _FRACTION
        if exponent == 0x7FF or (exponent == 0 and fraction == 0):
            continue
        if exponent == 0:
            exponent = 1
        else:
            fraction |= _HIDDEN
        first = exponent - 1075
        high = max(high, first + 53)
        if low <= first:
            continue
        while fraction & 1 == 0:
            fraction >>= 1
            first += 1
        low = min(low, first)
    if low > high:
        return 0, 0
    return low, high


@jit
def mantissa_of(bits: int, low: int) -> tuple[np.uint64, int]:
    """Return a value as integer × 2 ** (low + shift), sign apart."""
    exponent = (bits >> 52) & 0x7FF
    fraction = bits & _FRACTION
    if exponent == 0:
        exponent = 1
    else:
        fraction |= _HIDDEN
    shift = exponent - 1075 - low
    if shift < 0:
        fraction >>= -shift
        shift = 0
    return np.uint64(fraction), shift


@jit
def _accumulate(words: Words, base: int, n_words: int, part: np.uint64, at: int, negative: int) -> None:
    """Add (or subtract) ``part`` × 2 ** (64 × at) to the integer at ``words[base : base + n_words]``."""
    carry = part
    for j in range(at, n_words):
        if carry == _ZERO:
            break
        old = words[base + j]
        if negative:
            words[base + j] = old - carry
            carry = _ONE if old < carry else _ZERO
        else:
            new = old + carry
            words[base + j] = new
            carry = _ONE if new < old else _ZERO


@jit
def put_part(words: Words, base: int, n_words: int, part: np.uint64, shift: int, negative: int) -> None:
    """Add (or subtract) ``part`` × 2 ** ``shift`` to the integer at ``words[base : base + n_words]``."""
    at, bit = shift >> 6, np.uint64(shift & 63)
    _accumulate(words, base, n_words, part << bit, at, negative)
    if bit != _ZERO:
        _accumulate(words, base, n_words, part >> (_U64 - bit), at + 1, negative)


@jit
def square_of(part: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the low and high word of the square of a word."""
    a, b = part & _LOW32, part >> _U32
    low, mid, high = a * a, a * b, b * b
    out = low + (mid << np.uint64(33))
    carry = _ONE if out < low else _ZERO
    return out, high + (mid >> np.uint64(31)) + carry


@jit
def difference(prefix: Words, n_words: int, lo: int, hi: int, out: Words) -> None:
    """Write the difference of two running totals of ``n_words`` words, the later minus the earlier."""
    borrow = _ZERO
    for j in range(n_words):
        a, b = prefix[hi * n_words + j], prefix[lo * n_words + j]
        out[j] = a - b - borrow
        borrow = _ONE if (a < b or (a == b and borrow == _ONE)) else _ZERO


@jit
def make_positive(words: Words, n_words: int) -> int:
    """Make a two's complement integer positive; give 1 if it was not."""
    if words[n_words - 1] >> _TOP == _ZERO:
        return 0
    carry = _ONE
    for j in range(n_words):
        flipped = ~words[j]
        words[j] = flipped + carry
        carry = _ONE if (carry == _ONE and words[j] == _ZERO) else _ZERO
    return 1


@jit
def rounded_words(words: Words, n_words: int) -> tuple[float, int]:
    """Return a positive integer as (f, e): f × 2 ** e, f in [2 ** 63, 2 ** 64], rounded half to even; 0 is (0, 0)."""
    top = n_words - 1
    while top >= 0 and words[top] == _ZERO:
        top -= 1
    if top < 0:
        return 0.0, 0
    word, lead = words[top], 0
    while word >> np.uint64(56) == _ZERO:
        word <<= np.uint64(8)
        lead += 8
    while word >> _TOP == _ZERO:
        word <<= _ONE
        lead += 1
    sticky = _ZERO
    if top > 0:
        below = words[top - 1]
        if lead > 0:
            word |= below >> np.uint64(64 - lead)
            below <<= np.uint64(lead)
        sticky = below
        for j in range(top - 1):
            sticky |= words[j]
    if sticky != _ZERO:
        word |= _ONE
    return np.float64(word), 64 * top - lead


_POWERS = np.array([math.ldexp(1.0, exponent) for exponent in range(-1000, 900)])
"""Powers of two from -1000: faster to multiply with than `ldexp`, and exact where nothing under- or overflows."""


@jit
def scaled(mantissa: float, exponent: int) -> float:
    """Return mantissa × 2 ** exponent; the mantissa is 0 or in [2 ** 31, 2 ** 65]."""
    if -1000 <= exponent < 900:
        scaled: float = mantissa * _POWERS[exponent + 1000]
        return scaled
    return math.ldexp(mantissa, exponent)


@jit
def n_times_squares_minus_square(
    squares: Words, n_squares: int, total: Words, n_total: int, n: int, out: Words
) -> None:
    """Write ``n`` × ``squares`` - ``total`` ** 2 into ``out``, which holds 2 × ``n_squares`` limbs of 32 bits."""
    limbs = 2 * n_squares
    carry = _ZERO
    factor = np.uint64(n)
    for j in range(n_squares):
        product = (squares[j] & _LOW32) * factor + carry
        out[2 * j] = product & _LOW32
        product = (squares[j] >> _U32) * factor + (product >> _U32)
        out[2 * j + 1] = product & _LOW32
        carry = product >> _U32
    for i in range(2 * n_total):
        a = (total[i >> 1] >> _U32) if i & 1 else (total[i >> 1] & _LOW32)
        if a == _ZERO:
            continue
        carry = _ZERO
        borrow = _ZERO
        for j in range(limbs - i):
            b = _ZERO
            if j < 2 * n_total:
                b = (total[j >> 1] >> _U32) if j & 1 else (total[j >> 1] & _LOW32)
            elif carry == _ZERO and borrow == _ZERO:
                break
            product = a * b + carry
            carry = product >> _U32
            minus = (product & _LOW32) + borrow
            old = out[i + j]
            borrow = _ONE if old < minus else _ZERO
            out[i + j] = (old - minus) & _LOW32
    for j in range(n_squares):
        out[j] = out[2 * j] | (out[2 * j + 1] << _U32)


@jit
def moments(  # noqa: C901
    values: Floats,
    h_starts: Ints,
    q_starts: Ints,
    lo: Array,
    hi: Array,
    current: Array,
    grid: tuple[int, int, int],
    out_n: Array,
    out_sum: Array,
    out_std: Array,
    g0: int,
    g1: int,
) -> None:
    """Count, add up and measure the spread of the values in every range.

    Parameters
    ----------
    values
        Shape (m,): NaN is null and is skipped.
    lo, hi, current
        Shapes (k, n), (n,), (n,): ranges, and the position of the query's own value, or -1 where it does not count.
    grid
        Exponent of the grid, words for sums, words for sums of squares (0: no ``out_std``); see `grid_of`.
    out_n, out_sum, out_std
        Shape (k, n): written; values that were there, their sum (NaN where there is none or it overflows), and their
        standard deviation with ddof 1 (NaN below two). ``out_std`` is left alone where the grid has no squares.

    Notes
    -----
    The variance is (n Σx² - (Σx)²) / (n (n - 1)), its numerator exact.
    """
    low, n_words, n_squares = grid
    bits = values.view(np.int64)
    longest = 0
    for g in range(g0, g1):
        longest = max(longest, h_starts[g + 1] - h_starts[g])
    counts = np.zeros(longest + 1, np.int64)
    sums = np.zeros((longest + 1) * n_words, np.uint64)
    squares = np.zeros((longest + 1) * n_squares, np.uint64)
    total = np.zeros(n_words + 1, np.uint64)
    square = np.zeros(n_squares + 1, np.uint64)
    spread = np.zeros(2 * n_squares + 1, np.uint64)
    for g in range(g0, g1):
        start = h_starts[g]
        for p in range(h_starts[g + 1] - start):
            counts[p + 1] = counts[p]
            for j in range(n_words):
                sums[(p + 1) * n_words + j] = sums[p * n_words + j]
            for j in range(n_squares):
                squares[(p + 1) * n_squares + j] = squares[p * n_squares + j]
            if math.isnan(values[start + p]):
                continue
            counts[p + 1] += 1
            if values[start + p] == 0.0:
                continue
            part, shift = mantissa_of(bits[start + p], low)
            negative = 1 if bits[start + p] < 0 else 0
            put_part(sums, (p + 1) * n_words, n_words, part, shift, negative)
            if n_squares:
                first, second = square_of(part)
                put_part(squares, (p + 1) * n_squares, n_squares, first, 2 * shift, 0)
                put_part(squares, (p + 1) * n_squares, n_squares, second, 2 * shift + 64, 0)
        for w in range(lo.shape[0]):
            for i in range(q_starts[g], q_starts[g + 1]):
                left, right, own = lo[w, i] - start, hi[i] - start, current[i]
                n = counts[right] - counts[left]
                own_counts = own >= 0 and not math.isnan(values[own])
                if own_counts:
                    n += 1
                out_n[w, i] = n
                out_sum[w, i] = math.nan
                if n_squares:
                    out_std[w, i] = math.nan
                if n == 0:
                    continue
                difference(sums, n_words, left, right, total)
                if own_counts and values[own] != 0.0:
                    part, shift = mantissa_of(bits[own], low)
                    put_part(total, 0, n_words, part, shift, 1 if bits[own] < 0 else 0)
                negative = make_positive(total, n_words)
                mantissa, exponent = rounded_words(total, n_words)
                result = scaled(mantissa, exponent + low)
                if not math.isinf(result):
                    out_sum[w, i] = -result if negative else result
                if n_squares == 0 or n < 2:
                    continue
                difference(squares, n_squares, left, right, square)
                if own_counts and values[own] != 0.0:
                    part, shift = mantissa_of(bits[own], low)
                    first, second = square_of(part)
                    put_part(square, 0, n_squares, first, 2 * shift, 0)
                    put_part(square, 0, n_squares, second, 2 * shift + 64, 0)
                n_times_squares_minus_square(square, n_squares, total, n_words, n, spread)
                mantissa, exponent = rounded_words(spread, n_squares)
                exponent += 2 * low
                if exponent & 1:
                    mantissa, exponent = 2.0 * mantissa, exponent - 1
                result = scaled(math.sqrt(mantissa / (np.float64(n) * np.float64(n - 1))), exponent >> 1)
                if not math.isinf(result):
                    out_std[w, i] = result


def grid_of(values: Floats, *, longest: int, squares: bool) -> tuple[int, int, int]:
    """Return the grid on which sums of ``longest`` + 1 of the values are exact: exponent, words, words of squares."""
    low, high = exponent_range(values.view(np.int64))
    headroom = (longest + 1).bit_length()
    span = high - low
    n_words = -(-(span + headroom + 2) // 64)
    return low, n_words, (-(-(2 * span + 2 * headroom + 2) // 64) if squares else 0)
