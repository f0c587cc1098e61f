"""What the model did not see, and what misled it: mean contributions of errors against their correctly handled peers.

Owns the two contrasts (missed minus caught frauds; false positives minus legitimate events that passed), by feature
and by family, with bootstrap intervals that draw whole entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.explain.scene import FeatureLike
from fraudctl.features.meaning.families import HEADINGS
from fraudctl.progress import Watch, unwatched
from fraudctl.uncertainty import codes_by_appearance

REPLICATES: Final = 400
CONFIDENCE: Final = 0.90
MIN_CLUSTERS: Final = 20


@dataclass(frozen=True)
class ContributionDifference:
    """How much more a feature or family raised the score of the errors than of their peers, in log-odds.

    `low` and `high` are None where fewer than 20 entities stand behind one side.
    """

    name: str
    """Name of the feature or family."""
    words: str
    """The same in words."""
    value: float
    """Mean contribution on the errors minus that on the peers, in log-odds."""
    low: float | None
    """Low end of the interval."""
    high: float | None
    """High end of the interval."""
    mean_errors: float
    """Mean contribution on the errors, in log-odds."""
    mean_peers: float
    """Mean contribution on the peers, in log-odds."""


@dataclass(frozen=True)
class Contrast:
    """Errors against peers; largest differences first.

    Attributes
    ----------
    clusters
        The entity whose resampling gave the widest intervals; "" where events themselves were drawn.
    """

    n_errors: int
    """Errors that were compared."""
    n_peers: int
    """Events that they were compared with."""
    features: tuple[ContributionDifference, ...]
    """Differences by feature."""
    families: tuple[ContributionDifference, ...]
    """Differences by family of features."""
    clusters: str


def family_of(feature: FeatureLike) -> str:
    """Return the heading that a feature is grouped under: its entity, and what its family is called."""
    kind = HEADINGS.get(feature.family, feature.family)
    return f"{feature.entity}: {kind}" if feature.entity else kind


def family_sums(values: FloatArray, features: Sequence[FeatureLike]) -> tuple[list[str], FloatArray]:
    """Add the contributions of each family; returns names and an array of shape ``(n_events, n_families)``."""
    names = list(dict.fromkeys(family_of(feature) for feature in features))
    belongs = np.array([[family_of(feature) == name for name in names] for feature in features], dtype=np.float64)
    return names, values @ belongs


def contrast(
    values: FloatArray,
    *,
    errors: BoolArray,
    peers: BoolArray,
    features: Sequence[FeatureLike],
    clusters: dict[str, pl.Series],
    seed: int,
    watch: Watch = unwatched,
) -> Contrast:
    """Compare the mean contributions of errors and peers.

    Parameters
    ----------
    values
        Contributions, shape ``(n_events, n_features)``.
    errors, peers
        Masks over the events.
    clusters
        Entity -> its value per event; whole entities are drawn. The entity with the widest intervals is used, for
        errors come in campaigns and rows are not independent.
    watch
        Called with the name of each step before it begins.
    """
    names, sums = family_sums(values, features)
    both = np.column_stack([values, sums])
    sides = [np.flatnonzero(errors), np.flatnonzero(peers)]
    means = [both[side].mean(axis=0) for side in sides]
    low, high, used = _interval(both, sides, clusters, seed, watch)
    words = [feature.words or feature.name for feature in features] + names
    labels = [feature.name for feature in features] + names
    value = means[0] - means[1]
    rows = [
        ContributionDifference(
            labels[j], words[j], float(value[j]), None if low is None else float(low[j]),
            None if high is None else float(high[j]), float(means[0][j]), float(means[1][j]),
        )
        for j in np.argsort(-np.abs(value), kind="stable")
    ]  # fmt: skip
    known = {feature.name for feature in features}
    single = tuple(row for row in rows if row.name in known)
    grouped = tuple(row for row in rows if row.name not in known)
    return Contrast(len(sides[0]), len(sides[1]), single, grouped, used)


def _interval(
    both: FloatArray, sides: list[IntArray], clusters: dict[str, pl.Series], seed: int, watch: Watch
) -> tuple[FloatArray | None, FloatArray | None, str]:
    """Bootstrap by each entity and keep the widest interval; None with too few clusters everywhere."""
    best: tuple[FloatArray, FloatArray, str] | None = None
    for k, (name, series) in enumerate(clusters.items()):
        watch(f"drawn by {name}")
        codes = codes_by_appearance(series)
        groups = [np.unique(codes[side], return_inverse=True) for side in sides]
        if min(len(group[0]) for group in groups) < MIN_CLUSTERS:
            continue
        draws = [
            _draw(both[side], group[1], seed=[seed, k, i])
            for i, (side, group) in enumerate(zip(sides, groups, strict=True))
        ]
        low, high = np.quantile(draws[0] - draws[1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
        if best is None or (high - low).sum() > (best[1] - best[0]).sum():
            best = (low, high, name)
    return best if best is not None else (None, None, "")


def _draw(rows: FloatArray, group: IntArray, *, seed: list[int]) -> FloatArray:
    """Return the means over drawn clusters, shape ``(REPLICATES, n_columns)``."""
    rng = np.random.default_rng(seed)
    n_groups = int(group.max()) + 1
    sums = np.column_stack([np.bincount(group, column, minlength=n_groups) for column in np.ascontiguousarray(rows.T)])
    sizes = np.bincount(group, minlength=n_groups).astype(np.float64)
    weights = np.empty((REPLICATES, n_groups))
    for row in weights:
        row[:] = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
    return np.asarray((weights @ sums) / np.maximum(weights @ sizes, 1.0)[:, None], dtype=np.float64)
