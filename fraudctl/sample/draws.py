"""Random numbers that stay the same on every machine.

Owns the random streams of the generator. Every number is derived from the raw bits of PCG64 through 53-bit uniforms,
never from numpy's ready-made distributions, whose algorithms may change between releases. Each stream has a name and
a seed sequence of its own, so that one more draw in one place moves nothing in another.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


class Draws:
    """One named stream of random numbers.

    Parameters
    ----------
    seed
        Non-negative; the same seed and name give the same numbers.
    name
        What the stream is for; different names give independent streams.

    Examples
    --------
    >>> Draws(7, "cards").below(10, 3).tolist() == Draws(7, "cards").below(10, 3).tolist()
    True
    """

    def __init__(self, seed: int, name: str) -> None:
        sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
        self._generator = np.random.Generator(np.random.PCG64(sequence))

    def uniform(self, n: int) -> Floats:
        """Return numbers in ``[0, 1)``, shape ``(n,)``."""
        return self._generator.random(n)

    def between(self, low: ArrayLike, high: ArrayLike, n: int) -> Floats:
        """Return numbers in ``[low, high)``, shape ``(n,)``."""
        low = np.asarray(low, dtype=np.float64)
        return np.asarray(low + (np.asarray(high, dtype=np.float64) - low) * self.uniform(n))

    def below(self, high: ArrayLike, n: int) -> Ints:
        """Return whole numbers in ``[0, high)``, shape ``(n,)``; ``high`` may hold one bound per number."""
        return np.asarray(np.floor(self.uniform(n) * np.asarray(high)), dtype=np.int64)

    def chance(self, rate: ArrayLike, n: int) -> Bools:
        """Return True with probability ``rate`` (one for all, or one each), shape ``(n,)``."""
        return np.asarray(self.uniform(n) < np.asarray(rate))

    def normal(self, n: int) -> Floats:
        """Return standard normal numbers, shape ``(n,)`` (Box and Muller, 1958: sqrt(-2 ln u) cos(2 pi v))."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(n)))
        return np.asarray(radius * np.cos(2.0 * np.pi * self.uniform(n)))

    def lognormal(self, median: ArrayLike, sigma: float, n: int) -> Floats:
        """Return log-normal numbers with that median and that standard deviation of the logarithm, shape ``(n,)``."""
        return np.asarray(np.asarray(median) * np.exp(sigma * self.normal(n)))

    def exponential(self, mean: ArrayLike, n: int) -> Floats:
        """Return waiting times with that mean, shape ``(n,)``."""
        return np.asarray(-np.asarray(mean) * np.log1p(-self.uniform(n)))

    def pick(self, cumulative: Floats, n: int) -> Ints:
        """Return positions drawn with the weights whose running sum is ``cumulative``, shape ``(n,)``."""
        position = np.searchsorted(cumulative, self.uniform(n) * cumulative[-1], side="right")
        return np.asarray(np.minimum(position, len(cumulative) - 1), dtype=np.int64)

    def order(self, n: int) -> Ints:
        """Return a random order of ``0 .. n - 1``, shape ``(n,)``."""
        return np.argsort(self.uniform(n), kind="stable").astype(np.int64)
