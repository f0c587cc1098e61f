"""When deviations are more than chance: several memories, one threshold for all, from a bootstrap of the reference.

Owns the null distribution. Days of the reference are drawn in blocks, all series of a day together, so that what
depends on each other stays together, over time and across series. Each draw learns its expectations from a drawn
reference and is judged on a drawn year, so that what a short reference does not know about itself is part of chance.
A day of the drawn year is a mixture of two days, ``cos(a) x + sin(a) y`` with a random angle: the same covariances, and
values beyond those that were seen. Rare counts are drawn from Poisson distributions with a rate that is not known
either (Gamma).

The threshold is the one at which a year of chance has as many episodes as were promised, over everything watched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.monitor.series import (
    LARGEST,
    WEEK,
    Expected,
    Figures,
    Series,
    deviations,
    expect,
    poisson_deviations,
    shrunk_means,
)

MEMORIES: Final = (1, 7, 28)
"""Days that an exponentially weighted mean remembers: its weight is ``2 / (days + 1)``."""
YEAR: Final = 365
QUIET: Final = 7
"""Days without an excess that end an episode."""
SCALES: Final = 50
MIXED: Final = 8
"""Days that one drawn day is made of."""
WITHIN: Final = 2.97
"""Log-likelihood below that of the likeliest first day up to which a day may be the first: 90 % of the time."""
DRAWS: Final = 150
"""Drawn years for the scale of each memory, and for the threshold."""


@dataclass(frozen=True)
class Watch:
    """A reference that has been learned, with the threshold of everything that is watched.

    Attributes
    ----------
    series
        What is watched.
    expected
        Of the reference.
    scale
        Standard deviation of each memory of each series under chance, shape ``(n_memories, n_series)``.
    threshold
        Largest standardised memory that counts as chance.
    block
        Days of a block.
    """

    series: tuple[Series, ...]
    expected: Expected
    scale: FloatArray
    threshold: float
    block: int


def weekdays(days: IntArray) -> IntArray:
    """Return 0 (Monday) to 6 of days counted from 1970-01-01."""
    return (days + 3) % WEEK


def learn(
    reference: Figures, days: IntArray, series: Sequence[Series], *, per_year: float, window_days: float, seed: int
) -> Watch:
    """Learn expectations from a reference, and the threshold that keeps a promise.

    Parameters
    ----------
    days
        Of the reference, shape ``(n_days,)``.
    per_year
        False alarms a year that are promised, over all series and memories.
    window_days
        Longest window behind a watched figure: so long days depend on each other.
    seed
        Of the draws.
    """
    weekday = weekdays(days)
    expected = expect(reference, weekday, series)
    block = block_days(len(days), window_days)
    null = _Null(reference, weekday, series, expected, block)
    total = np.zeros((len(MEMORIES), len(series)))
    for z in null.years(SCALES, seed):
        total += np.stack([(memory(z, length) ** 2).mean(axis=0) for length in MEMORIES])
    least = np.array([2.0 / (length + 1.0) / (2.0 - 2.0 / (length + 1.0)) for length in MEMORIES])[:, None]
    scale = np.sqrt(np.maximum(total / SCALES, least))
    peaks = [peak(z, scale) for z in null.years(DRAWS, seed + 1)]
    return Watch(tuple(series), expected, scale, threshold_for(peaks, per_year), block)


def block_days(n_days: int, window_days: float) -> int:
    """Return the days of a block: as long as the longest window, at least a week, at most a quarter of the days."""
    most = max(1, n_days // 4)
    wanted = WEEK if math.isinf(window_days) else max(WEEK, math.ceil(2 * window_days))
    return min(wanted, most)


def memory(z: FloatArray, days: int) -> FloatArray:
    """Return the exponentially weighted mean of past deviations, over the first axis; it starts at 0.

    >>> memory(np.array([[1.0], [0.0]]), 3).ravel().tolist()  # weight 2 / (3 + 1)
    [0.5, 0.25]
    """
    weight = 2.0 / (days + 1.0)
    if weight == 1.0:
        return z
    out = weight * z
    for day in range(1, len(out)):
        out[day] += (1.0 - weight) * out[day - 1]
    return out


def peak(z: FloatArray, scale: FloatArray) -> FloatArray:
    """Return the largest standardised memory of each day, shape ``(n_days,)``."""
    found = [np.abs(memory(z, length) / scale[at]).max(axis=1) for at, length in enumerate(MEMORIES)]
    return np.asarray(np.max(found, axis=0), dtype=np.float64)


def episodes(above: BoolArray | IntArray) -> int:
    """Return the number of runs of days above a threshold; runs with fewer than `QUIET` days between them are one.

    >>> episodes(np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]))
    2
    """
    at = np.flatnonzero(above)
    return 0 if not len(at) else 1 + int((np.diff(at) > QUIET).sum())


def threshold_for(peaks: Sequence[FloatArray], per_year: float) -> float:
    """Return the lowest threshold at which drawn years have no more episodes than promised, on average."""
    low, high = 1.0, LARGEST * 4
    for _ in range(40):
        middle = (low + high) / 2
        mean = float(np.mean([episodes(item > middle) * YEAR / len(item) for item in peaks]))
        low, high = (middle, high) if mean > per_year else (low, middle)
    return high


@dataclass(frozen=True)
class _Null:
    """Draws years of chance from a reference."""

    reference: Figures
    weekday: IntArray
    series: Sequence[Series]
    expected: Expected
    block: int

    def years(self, n: int, seed: int) -> Iterator[FloatArray]:
        """Yield standardised deviations of drawn years, each with expectations from a drawn reference."""
        rng = np.random.default_rng([seed, len(self.weekday), len(self.series)])
        rest = self._residuals()
        for _ in range(n):
            yield self._year(rest, rng)

    def _residuals(self) -> FloatArray:
        """Return what days of the reference differ by from their weekday, scaled up for what was spent on means."""
        x, mean = self.reference.x, self.expected.mean[self.weekday]
        rest = np.where(np.isfinite(x), x - mean, np.nan)
        day_of = np.arange(len(rest))
        for at in np.flatnonzero(np.isnan(rest).any(axis=0)):
            known = np.flatnonzero(np.isfinite(rest[:, at]))
            rest[:, at] = rest[known[day_of % len(known)], at] if len(known) else 0.0
        centred = rest - rest.mean(axis=0)
        n = len(rest)
        return np.asarray(centred * math.sqrt(n / max(n - 1 - (WEEK - 1) / 2, 1.0)), dtype=np.float64)

    def _year(self, rest: FloatArray, rng: np.random.Generator) -> FloatArray:
        n_ref = len(rest)
        weekday = np.arange(YEAR) % WEEK
        drawn = rest[self._blocks(n_ref, n_ref, rng)] + self.expected.mean[self.weekday]
        mean, variance = shrunk_means(drawn, self.weekday)
        year = self._mixture(rng, n_ref) @ rest + self.expected.mean[weekday]
        floor = self._floor()
        z = (year - mean[weekday]) / np.sqrt(np.maximum(variance, floor))
        rare = self.expected.rare
        if rare.any():
            z[:, rare] = self._rare(rng)
        return np.clip(z, -LARGEST, LARGEST)

    def _floor(self) -> FloatArray:
        """Return the least variance of a day: that of counts."""
        n_usual = np.maximum(np.nanmean(self.reference.n, axis=0), 1.0)
        return np.asarray(np.maximum(self.expected.within / n_usual, 1e-18), dtype=np.float64)

    def _blocks(self, n: int, n_ref: int, rng: np.random.Generator) -> IntArray:
        """Draw day numbers of the reference in blocks, which go round its end."""
        starts = rng.integers(0, n_ref, -(-n // self.block))
        days = starts[:, None] + np.arange(self.block)
        return np.asarray(days.ravel()[:n] % n_ref, dtype=np.int64)

    def _mixture(self, rng: np.random.Generator, n_ref: int) -> FloatArray:
        """Draw the weights of the reference's days in each day of a year, shape ``(YEAR, n_ref)``."""
        weights = np.zeros((YEAR, n_ref))
        rows = np.arange(YEAR)
        for _ in range(MIXED):
            offset = int(rng.integers(self.block))
            block = (rows + offset) // self.block
            start, factor = rng.integers(0, n_ref, block[-1] + 1), rng.standard_normal(block[-1] + 1)
            weights[rows, (start[block] + rows) % n_ref] += factor[block]
        found: FloatArray = weights / math.sqrt(MIXED)
        return found

    def _rare(self, rng: np.random.Generator) -> FloatArray:
        """Draw rare counts of a year: the true rate is uncertain, and what is expected comes from a drawn reference."""
        rare = self.expected.rare
        n_days = self.reference.n[:, rare]
        total, events = n_days.sum(axis=0), np.maximum(np.nanmean(n_days, axis=0), 1.0)
        seen = self.expected.rate[rare] * np.maximum(total, 1.0) - 0.5
        true = rng.gamma(seen + 0.5) / np.maximum(total, 1.0)
        again = rng.poisson(true * total)
        learned = (again + 0.5) / np.maximum(total, 1.0)
        found = rng.poisson(true * events, (YEAR, int(rare.sum())))
        counts = np.arange(int(found.max(initial=0)) + 1, dtype=np.float64)[:, None]
        by_count = poisson_deviations(counts, np.broadcast_to(learned * events, (len(counts), len(learned))))
        return np.take_along_axis(by_count, found, axis=0)


@dataclass(frozen=True)
class WatchedPath:
    """Deviations of watched days, and how far their memories went.

    Attributes
    ----------
    days
        Shape ``(n_days,)``.
    z
        Standardised deviations, shape ``(n_days, n_series)``.
    memories
        Standardised memories, shape ``(n_memories, n_days, n_series)``.
    """

    days: IntArray
    z: FloatArray
    memories: FloatArray

    @property
    def height(self) -> FloatArray:
        """Largest memory of each series and day, without its sign, shape ``(n_days, n_series)``."""
        return np.asarray(np.abs(self.memories).max(axis=0), dtype=np.float64)


def follow(watch: Watch, found: Figures, days: IntArray, accepted: FloatArray | None = None) -> WatchedPath:
    """Follow watched days after the reference.

    Parameters
    ----------
    accepted
        Shape ``(n_days, n_series)``: deviations that were acknowledged and are no longer held against a series; NaN
        where the memory of a series begins anew after that day.
    """
    z = deviations(found, weekdays(days), watch.expected)
    if accepted is not None:
        z = z - np.nan_to_num(accepted)
    memories = np.stack([memory(z, length) / watch.scale[at] for at, length in enumerate(MEMORIES)])
    return WatchedPath(days, z, memories)


@dataclass(frozen=True)
class Onset:
    """Since when a series deviates: the likeliest first day, and the days that are nearly as likely."""

    day: int
    low: int
    high: int


def onset(z: FloatArray, days: IntArray, *, spread: float, ramps: Sequence[int] = (1,)) -> Onset:
    """Return since when the mean of deviations is not 0, with a 90 % interval, for one series that still deviates.

    A change that begins at day k and takes L days to be whole is ``r_t = min(1, (t - k + 1) / L)`` from k on; its
    log-likelihood ratio is ``(sum of r z)² / (2 s² sum of r²)``. Days within 2.97 of the largest, over all L, are in
    the interval: of a change point the ratio is that of a Brownian motion with drift, which stays within c of its
    maximum with probability ``(1 - exp(-c))²`` (D. Siegmund, *Confidence sets in change-point problems*, 1988).

    Parameters
    ----------
    z
        Deviations of the days, shape ``(n_days,)``.
    spread
        Standard deviation ``s`` of a deviation beyond independent days: the memory's scale against independence.
    ramps
        Days that the change may take to be whole: what is remembered for long may change slowly.
    """
    gain = np.max([_gain(z, length) for length in ramps], axis=0) / spread**2
    best = int(np.argmax(gain))
    near = np.flatnonzero(gain >= gain[best] - WITHIN)
    return Onset(int(days[best]), int(days[near.min()]), int(days[near.max()]))


def _gain(z: FloatArray, length: int) -> FloatArray:
    """Return ``(sum of r z)² / (2 sum of r²)`` of a ramp from each day on, shape ``(n_days,)``."""
    n = len(z)
    out = np.empty(n)
    for day in range(n):
        shape = np.minimum(np.arange(1, n - day + 1) / length, 1.0)
        out[day] = float(shape @ z[day:]) ** 2 / (2.0 * float(shape @ shape))
    return out
