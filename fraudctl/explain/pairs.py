"""Features that act together: what pairs add to the scores of errors beyond what each adds by itself. On request.

Owns the summary. Which pairs are looked at, and the values, come from `fraudctl.explain.contributions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.explain.scene import FeatureLike, Scene

MOST_ERRORS: Final = 2_000
"""Errors of either kind whose interactions are computed, drawn at random where there are more."""


class Interact(Protocol):
    """The model's interactions: events -> pairs of feature positions, and values of shape ``(n_events, n_pairs)``."""

    def __call__(self, frame: pl.DataFrame, /) -> tuple[Sequence[tuple[int, int]], FloatArray]: ...  # noqa: D102


@dataclass(frozen=True)
class PairEffect:
    """What two features together added to the scores of errors, in log-odds, beyond what each added alone.

    Attributes
    ----------
    missed, false_alarms
        Mean over the missed frauds and over the false positives; None without any.
    strength
        Mean size over all errors.
    """

    features: tuple[str, str]
    """Names of both features."""
    words: tuple[str, str]
    """Both features in words."""
    missed: float | None
    false_alarms: float | None
    strength: float


@dataclass(frozen=True)
class Pairs:
    """The pairs that act most on the errors, and how many errors they were computed for."""

    n_missed: int
    """Missed frauds that were looked at."""
    n_false_alarms: int
    """False positives that were looked at."""
    items: tuple[PairEffect, ...]
    """Pairs of features, the strongest first."""


def find_pairs(scene: Scene, *, interact: Interact, seed: int) -> Pairs:
    """Summarise the interactions in the scores of the errors, the strongest pair first."""
    missed = _drawn(np.flatnonzero(scene.missed), seed=[seed, 14])
    alarms = _drawn(np.flatnonzero(scene.false_alarm), seed=[seed, 15])
    pairs, values = interact(scene.scored[np.concatenate([missed, alarms])])
    is_missed = np.arange(len(values)) < len(missed)
    items = [_effect(scene.features, pair, values[:, k], is_missed) for k, pair in enumerate(pairs)]
    ordered = sorted(items, key=lambda item: (-item.strength, item.features))
    return Pairs(len(missed), len(alarms), tuple(ordered))


def _drawn(rows: IntArray, *, seed: list[int]) -> IntArray:
    if len(rows) <= MOST_ERRORS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_ERRORS, replace=False))


def _effect(
    features: Sequence[FeatureLike], pair: tuple[int, int], values: FloatArray, is_missed: BoolArray
) -> PairEffect:
    first, second = (features[j] for j in pair)
    return PairEffect(
        features=(first.name, second.name),
        words=(first.words or first.name, second.words or second.name),
        missed=float(values[is_missed].mean()) if is_missed.any() else None,
        false_alarms=float(values[~is_missed].mean()) if not is_missed.all() else None,
        strength=float(np.abs(values).mean()),
    )
