"""What is watched of counts: shares, levels and volume by day, held against what a weekday of the reference had.

Owns the series that are made of the cells of a column, their expected values (weekday means, shrunk by evidence) and
their standardised deviations. A share that is rare in the reference is judged by the exact Poisson distribution of its
count; all else by the variance between days of the reference, which is never taken as less than that of counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.monitor.counts import Cells, DayCounts
from fraudctl.text.figures import number

Tier = Literal["harm", "data", "drift"]
FEW: Final = 10.0
"""A share with fewer expected events a day is judged by its exact Poisson distribution."""
LARGEST: Final = 12.0
"""Standardised deviations are cut off here: one day of nonsense must not be remembered for a year."""
WEEK: Final = 7


@dataclass(frozen=True)
class Series:
    """One watched figure by day: ``sum(weights × counts) / sum(counts of its base)``.

    Attributes
    ----------
    column
        Name of the watched column; ``volume`` for the number of events.
    what
        ``share of X``, ``level``, ``spread``, ``null share``, ``other share``, ``volume``, ...
    weights
        By cell; 0 and 1 for shares.
    base
        Whether a cell is part of the denominator.
    share
        Whether the figure is a share of events.
    tier
        What an alarm on it is.
    """

    column: str
    what: str
    weights: FloatArray
    base: BoolArray
    share: bool
    tier: Tier

    @property
    def name(self) -> str:
        """Column and figure in one text."""
        return self.what if self.column == "volume" else f"{self.column}: {self.what}"


def series_of(cells: Cells, totals: IntArray) -> list[Series]:
    """Return the series of a watched column.

    Null values are a matter of the data, but in a column that is computed from other events and is null at times for
    want of them.

    Parameters
    ----------
    totals
        Counts of the reference by cell.
    """
    every = np.ones(cells.n, dtype=np.bool_)

    def share(what: str, *members: int, tier: Tier = "drift") -> Series:
        weights = np.zeros(cells.n)
        weights[list(members)] = 1.0
        return Series(cells.name, what, weights, every, share=True, tier=tier)

    if cells.kind == "score":
        names = [f"share at {number(edge)} or more" for edge in cells.edges]
        return [share(name, *range(at, cells.n)) for at, name in enumerate(names, start=1)]
    if cells.kind == "hour":
        return _harmonics(cells, every)
    found: list[Series] = []
    if cells.kind in ("category", "action"):
        found += [share(f"share of {value!r}", at) for at, value in enumerate(cells.values)]
    elif cells.kind == "flag":
        found.append(share("share of true", 1))
    elif cells.kind == "number":
        found += _numeric(cells, totals)
    if cells.null is not None:
        usual = cells.derived and totals[cells.null] > 0
        found.append(share("null share", cells.null, tier="drift" if usual else "data"))
    if cells.other is not None:
        words = "share of values that are not finite" if cells.kind == "number" else "share of values not seen before"
        found.append(share(words, cells.other, tier="data" if cells.kind != "action" else "drift"))
    return found


def _numeric(cells: Cells, totals: IntArray) -> list[Series]:
    """Return level and spread: mean of ``2 r - 1`` and of its distance from the middle, r the mid-rank of a bin."""
    n_bins = len(cells.edges) + 1
    mass = totals[:n_bins].astype(np.float64)
    if n_bins < 2 or mass.sum() == 0:
        return []
    rank = (np.cumsum(mass) - mass / 2) / mass.sum()
    level = np.zeros(cells.n)
    level[:n_bins] = 2 * rank - 1
    base = np.arange(cells.n) < n_bins
    found = [Series(cells.name, "level", level, base, share=False, tier="drift")]
    if n_bins > 3:
        found.append(Series(cells.name, "spread", np.where(base, np.abs(level), 0.0), base, share=False, tier="drift"))
    return found


def _harmonics(cells: Cells, every: BoolArray) -> list[Series]:
    """Return the first two harmonics of the time of day: a clock that is an hour off turns them."""
    angle = 2 * np.pi * (np.arange(24) + 0.5) / 24
    waves = {"cosine": np.cos(angle), "sine": np.sin(angle), "cosine of half days": np.cos(2 * angle)}
    waves["sine of half days"] = np.sin(2 * angle)
    return [Series(cells.name, name, wave, every, share=False, tier="data") for name, wave in waves.items()]


VOLUME: Final = Series("volume", "events a day", np.zeros(0), np.zeros(0, dtype=np.bool_), share=False, tier="drift")


@dataclass(frozen=True)
class Figures:
    """Series by day.

    Attributes
    ----------
    x
        The figure; NaN where a day has no event of its base, or the column is not known. Shape ``(n_days, n_series)``.
    n
        Events of its base, same shape.
    count
        Of shares: the events that have it, same shape.
    within
        Variance of one event's part in the figure, by series; 0 for the volume.
    """

    x: FloatArray
    n: FloatArray
    count: FloatArray
    within: FloatArray


def figures(counts: DayCounts, series: Sequence[Series]) -> Figures:
    """Compute series from counts; the figure of volume is the logarithm of the events of a day (of 1/2 for none)."""
    n_days = len(counts.days)
    x, n, total = (np.full((n_days, len(series)), np.nan) for _ in range(3))
    within = np.zeros(len(series))
    for at, item in enumerate(series):
        if item.column == "volume":
            total[:, at] = n[:, at] = counts.events
            x[:, at] = np.log(np.maximum(counts.events, 0.5))
            continue
        cells = counts.cells[item.column].astype(np.float64)
        known = cells[:, 0] >= 0
        base = cells @ item.base
        total[:, at] = cells @ item.weights
        n[:, at] = np.where(known, base, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            x[:, at] = np.where(known & (base > 0), total[:, at] / base, np.nan)
        pooled = np.where(item.base, cells[known].sum(axis=0), 0.0)
        within[at] = _variance(item.weights, pooled)
    return Figures(x, n, np.where(np.isfinite(x), total, 0.0), within)


def _variance(weights: FloatArray, mass: FloatArray) -> float:
    if mass.sum() <= 0:
        return 0.0
    share = mass / mass.sum()
    mean = float(share @ weights)
    return float(share @ (weights - mean) ** 2)


@dataclass(frozen=True)
class Expected:
    """What series are expected to be, learned from a reference.

    Attributes
    ----------
    mean
        By weekday, shape ``(7, n_series)``.
    between
        Variance between days beyond that of counts, by series.
    within
        Variance of one event's part, by series.
    rate
        Of rare shares: events per event of the base; NaN for all others.
    usual
        Events of the base that a day has, by weekday, shape ``(7, n_series)``; at least 1.
    """

    mean: FloatArray
    between: FloatArray
    within: FloatArray
    rate: FloatArray
    usual: FloatArray

    @property
    def rare(self) -> BoolArray:
        """Which series are judged by counts."""
        return np.isfinite(self.rate)


def shrunk_means(x: FloatArray, weekday: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return means by weekday, drawn to the mean of all days by how little they differ, and the variance of a day.

    A weekday's mean is ``m + k (m_w - m)`` with ``k = max(0, 1 - 4 / (6 F))``, F the ratio of the mean square between
    weekdays to that within (James and Stein's positive part for 6 degrees of freedom).

    Parameters
    ----------
    x
        Figures, NaN where not known, shape ``(n_days, n_series)``.
    weekday
        0 to 6, shape ``(n_days,)``.

    Returns
    -------
    Means of shape ``(7, n_series)`` and variances of shape ``(n_series,)``.
    """
    known = np.isfinite(x)
    value = np.where(known, x, 0.0)
    member = (weekday[:, None] == np.arange(WEEK)).astype(np.float64)
    n_known = np.maximum(known.sum(axis=0), 1)
    grand = value.sum(axis=0) / n_known
    centred = np.where(known, x - grand, 0.0)
    size = member.T @ known
    raw = np.where(size > 0, (member.T @ centred) / np.maximum(size, 1), 0.0)
    n_groups = (size > 0).sum(axis=0)
    rest = np.where(known, centred - member @ raw, 0.0)
    free = np.maximum(n_known - n_groups, 1)
    inside = (rest**2).sum(axis=0) / free
    between = (size * raw**2).sum(axis=0) / np.maximum(n_groups - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(inside > 0, between / inside, np.where(between > 0, np.inf, 0.0))
        keep = np.where(ratio > 0, np.maximum(0.0, 1.0 - 4.0 / (6.0 * ratio)), 0.0)
    mean = grand + keep * raw
    rest = np.where(known, x - member @ mean, 0.0)
    spent = 1.0 + keep * (n_groups - 1)
    return mean, (rest**2).sum(axis=0) / np.maximum(n_known - spent, 1.0)


def expect(found: Figures, weekday: IntArray, series: Sequence[Series]) -> Expected:
    """Learn from a reference what its series are by weekday, and how much days differ."""
    mean, variance = shrunk_means(found.x, weekday)
    share = np.array([item.share for item in series])
    n_events, n_with = found.n.sum(axis=0), found.count.sum(axis=0)
    days = np.maximum((found.n > 0).sum(axis=0), 1)
    rare = share & (np.minimum(n_with, n_events - n_with) / days < FEW) & (n_with / days < FEW)
    rate = np.where(rare, (n_with + 0.5) / np.maximum(n_events, 1.0), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = np.nan_to_num(np.nanmean(np.where(found.n > 0, found.within / found.n, np.nan), axis=0))
    volume = np.array([item.column == "volume" for item in series])
    within = np.where(volume, 1.0, found.within)
    usual = np.where(volume, 1.0 / np.maximum(n_events / days, 1.0), usual)
    size, _ = shrunk_means(np.where(found.n > 0, found.n, np.nan), weekday)
    return Expected(mean, np.maximum(variance - usual, 0.0), within, rate, np.maximum(size, 1.0))


def deviations(found: Figures, weekday: IntArray, expected: Expected) -> FloatArray:
    """Return standardised deviations from what is expected, shape ``(n_days, n_series)``; 0 where not known.

    A day with more events than its weekday had in the reference says no more than one with as many. What the reference
    does not know about its own means stays the same however many events there are; measured in ever smaller deviations
    of ever larger days, it would pass for a change.
    """
    usual = expected.usual[weekday]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(expected.between + expected.within / np.clip(found.n, 1.0, usual))
        z = (found.x - expected.mean[weekday]) / scale
    z = np.where(np.isfinite(z), z, 0.0)
    rare = expected.rare
    if rare.any():
        n = found.n[:, rare]
        by_count = poisson_deviations(found.count[:, rare], n * expected.rate[rare])
        z[:, rare] = by_count * np.sqrt(np.minimum(usual[:, rare] / np.maximum(n, 1.0), 1.0))
    return np.clip(z, -LARGEST, LARGEST)


def poisson_deviations(count: FloatArray, mean: FloatArray) -> FloatArray:
    """Return the normal deviate of the mid-probability of a Poisson count; 0 where nothing is expected nor seen.

    The tail is taken on the side of the count, so that large deviates keep their digits.
    """
    from scipy.special import gammainc, gammaincc, gammaln, ndtri

    mean = np.maximum(mean, 1e-12)
    log_mass = count * np.log(mean) - mean - gammaln(count + 1.0)
    mass = np.exp(log_mass)
    upper = np.where(count > 0, gammainc(np.maximum(count, 1e-9), mean), 1.0) - mass / 2  # P(N > c) + P(N = c) / 2
    lower = gammaincc(count + 1.0, mean) - mass / 2
    high = upper < lower
    tail = np.clip(np.where(high, upper, lower), 1e-33, 0.5)
    z = np.where(high, -1.0, 1.0) * ndtri(tail)
    return np.asarray(z, dtype=np.float64)
