"""Features that broke for a day: a day on which a feature's values are unlike those of all other days.

Owns the comparison of each day with the rest of the period, and with the days next to it: a feature that drifts is like
itself from one day to the next, and is not called broken. Labels play no part in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.explain.result import BrokenFeature
from fraudctl.explain.scene import FeatureLike, Scene
from fraudctl.metrics.edges import edges_below
from fraudctl.progress import Watch, unwatched

MIN_DAYS: Final = 4
MIN_EVENTS: Final = 100
FAR: Final = 0.25
TIMES: Final = 4.0
BINS: Final = 10


def find_broken(scene: Scene, *, watch: Watch = unwatched) -> tuple[BrokenFeature, ...]:
    """Find days on which a feature is unlike the rest: a total variation of 0.25 or more, and 4 times the usual.

    The day before and the day after must be as far away from it. ``watch`` is called with each step before it begins.
    """
    days = scene.day.unique().sort()
    code = scene.day.replace_strict({value: i for i, value in enumerate(days.to_list())}).to_numpy().astype(np.int64)
    sizes = np.bincount(code, minlength=len(days))
    if len(days) < MIN_DAYS:
        return ()
    features = [feature for feature in scene.features if feature.name not in scene.clock_features]
    out = []
    for i, feature in enumerate(features):
        watch(f"days of feature {i + 1} of {len(features)}")
        found = _broken(scene, feature, code, sizes, days)
        out += [] if found is None else [found]
    return tuple(sorted(out, key=lambda item: -item.distance))


def _broken(
    scene: Scene, feature: FeatureLike, code: IntArray, sizes: IntArray, days: pl.Series
) -> BrokenFeature | None:
    shares = _shares(scene.scored[feature.name], code, len(days))
    total = (shares * sizes[:, None]).sum(axis=0)
    rest = (total[None, :] - shares * sizes[:, None]) / np.maximum(sizes.sum() - sizes, 1)[:, None]
    distance = np.where(sizes >= MIN_EVENTS, 0.5 * np.abs(shares - rest).sum(axis=1), 0.0)
    worst = int(distance.argmax())
    typical = float(np.median(np.delete(distance, worst)))
    if distance[worst] < max(FAR, TIMES * typical) or _next_of_kin(shares, worst) < FAR:
        return None
    missed = scene.missed & (code == worst)
    by_day = np.bincount(code, np.where(scene.missed | scene.false_alarm, scene.cost, 0.0), minlength=len(days))
    return BrokenFeature(
        feature=feature.name,
        words=feature.words or feature.name,
        day=days[worst],
        distance=float(distance[worst]),
        typical=typical,
        missed_cost=float(scene.cost[missed].sum()),
        n_missed=int(missed.sum()),
        day_cost=float(by_day[worst]),
        usual_cost=float(np.median(np.delete(by_day, worst))),
    )


def _next_of_kin(shares: FloatArray, day: int) -> float:
    """Return the distance to the nearer of the days before and after."""
    near = [k for k in (day - 1, day + 1) if 0 <= k < len(shares)]
    return float(min(0.5 * np.abs(shares[day] - shares[k]).sum() for k in near))


def _shares(series: pl.Series, code: IntArray, n_days: int) -> FloatArray:
    """Return the share of each bin on each day, shape ``(n_days, n_bins)``; null is a bin of its own."""
    if series.dtype.is_numeric():
        values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = values[np.isfinite(values)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)
        level = np.where(np.isfinite(values), edges_below(values, edges.tolist(), equal=False), len(edges) + 1)
    else:
        top = (
            series.value_counts(name=".n")
            .sort([".n", series.name], descending=[True, False])
            .head(30)[series.name]
            .drop_nulls()
        )
        order = {value: i for i, value in enumerate(top.to_list())}
        known_code = series.replace_strict(order, default=len(order), return_dtype=pl.Int64)
        level = known_code.set(series.is_null(), len(order) + 1).to_numpy()
    size = int(level.max(initial=0)) + 1
    cell = code * size + level.astype(np.int64)
    table = np.bincount(cell, minlength=n_days * size).reshape(n_days, size).astype(np.float64)
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1.0), dtype=np.float64)
