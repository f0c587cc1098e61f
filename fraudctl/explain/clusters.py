"""Groups of decisions that the model took for the same reasons: clusters of contributions, each with a rule in words.

Owns clustering (Ward on the direction of the contributions), its stability under resampling, and the rules. How many
clusters there are, and which of them are shown, depends on which are found again in resampled events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.explain.conditions import Condition, digits_for, holds, number_condition, numbers
from fraudctl.explain.contrast import family_sums
from fraudctl.explain.scene import FeatureLike
from fraudctl.explain.tree import Branch, grow
from fraudctl.text.wording import spoken

MOST_CLUSTERS: Final = 7
MOST_ROWS: Final = 3_000
REPLICATES: Final = 20
STRONG: Final = 0.9
"""Prediction strength up to which decisions are split further; its authors advise 0.8 to 0.9."""
STABLE: Final = 0.75
"""Mean Jaccard similarity under resampling from which a cluster counts as stable (Hennig 2007)."""
MIN_SIZE: Final = 8


@dataclass(frozen=True)
class Cluster:
    """Decisions taken for the same reasons.

    Attributes
    ----------
    n, cost
        False positives in the cluster, and what they cost.
    rule, where
        Conditions in words, joined by "and", and their meaning; they approximate the cluster.
    n_alerts, n_alert_frauds
        Alerts that meet the rule, and those of them that are fraud: what relaxing them would let through.
    n_false_met, cost_met
        False positives that meet the rule, and what they cost.
    n_met
        Those of them that are in the cluster.
    precision, recall
        Of the decisions that meet the rule, the share in the cluster; of the cluster, the share that meets the rule.
    stability
        Mean Jaccard similarity with the nearest cluster of each resample.
    drivers
        Families with the largest mean contribution, in log-odds.
    """

    n: int
    cost: float
    rule: tuple[str, ...]
    where: tuple[Condition, ...]
    n_met: int
    n_false_met: int
    cost_met: float
    precision: float
    recall: float
    stability: float
    drivers: tuple[tuple[str, float], ...]
    n_alerts: int
    n_alert_frauds: int


@dataclass(frozen=True)
class FoundClusters:
    """Stable clusters, the costliest first.

    Attributes
    ----------
    member
        Position in `items` of each clustered decision; -1 outside of all stable ones. Shape ``(n_events,)``.
    n_unstable
        Clusters that were found but did not come back under resampling.
    """

    member: IntArray
    items: tuple[Cluster, ...]
    n_unstable: int


@dataclass(frozen=True)
class Grouping:
    """Decisions grouped by why they were taken.

    Attributes
    ----------
    code
        Group of each decision, from 0; shape ``(n_events,)``.
    stability
        Mean Jaccard similarity of each group with its nearest in clusterings of random halves; 0 with one group.
    """

    code: IntArray
    stability: FloatArray


def group(values: FloatArray, *, seed: int) -> Grouping:
    """Group decisions by the direction of their contributions, so that the size of the score does not tell them apart.

    Ward clustering. The number of groups is the largest, up to `MOST_CLUSTERS`, whose prediction strength is at least
    `STRONG`: the share of pairs of each group that stay together when random halves are clustered again (Tibshirani
    and Walther, *Cluster Validation by Prediction Strength*, 2005). If none reaches it, the strongest.

    Parameters
    ----------
    values
        Contributions, shape ``(n_events, n_features)``.
    """
    space = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    if len(space) < 2 * MIN_SIZE or not space.any():
        return Grouping(np.zeros(len(space), dtype=np.int64), np.zeros(1))
    sample = _sample(len(space), MOST_ROWS, seed)
    part = space[sample]
    distance = _distances(part)
    tree = _ward_tree(distance)
    codes = {k: _cut(tree, k) for k in range(2, MOST_CLUSTERS + 1)}
    halves = _halves(distance, list(codes), seed)
    strength = {
        k: _prediction_strength(code, [(rows, again[k]) for rows, again in halves]) for k, code in codes.items()
    }
    k = max((k for k in codes if strength[k] >= STRONG), default=max(codes, key=lambda k: (strength[k], -k)))
    stability = _stability(codes[k], [(rows, again[k]) for rows, again in halves])
    code = codes[k] if len(sample) == len(space) else _nearest(space, part, codes[k])
    return Grouping(code, stability)


def _halves(distance: FloatArray, ks: list[int], seed: int) -> list[tuple[IntArray, dict[int, IntArray]]]:
    """Cluster random halves of the decisions: which they are, and their groups for each number of groups.

    A half has the distances of all, so that they are computed once.
    """
    rng = np.random.default_rng([seed, 1])
    out = []
    for _ in range(REPLICATES):
        rows = np.sort(rng.choice(len(distance), max(len(distance) // 2, 2), replace=False)[:1_000])
        tree = _ward_tree(distance[np.ix_(rows, rows)])
        out.append((rows, {k: _cut(tree, k) for k in ks}))
    return out


def _prediction_strength(code: IntArray, halves: list[tuple[IntArray, IntArray]]) -> float:
    """Return the share of pairs of the worst group that stay together in a half, averaged over the halves."""
    return float(np.mean([_worst_group(code[rows], again) for rows, again in halves]))


def _worst_group(code: IntArray, again: IntArray) -> float:
    table = np.zeros((int(code.max()) + 1, int(again.max()) + 1))
    np.add.at(table, (code, again), 1.0)
    size = table.sum(axis=1)
    pairs = (table * (table - 1)).sum(axis=1) / np.maximum(size * (size - 1), 1.0)
    return float(pairs[size > 1].min(initial=1.0))


def _stability(code: IntArray, halves: list[tuple[IntArray, IntArray]]) -> FloatArray:
    """Return each group's mean Jaccard similarity with its nearest in each half."""
    out = np.zeros(int(code.max()) + 1)
    for rows, again in halves:
        for k in range(len(out)):
            mine = code[rows] == k
            out[k] += max(_jaccard(mine, again == j) for j in range(int(again.max()) + 1))
    return out / len(halves)


def find_clusters(
    frame: pl.DataFrame,
    values: FloatArray,
    *,
    member_of: BoolArray,
    cost: FloatArray,
    is_fraud: BoolArray,
    features: Sequence[FeatureLike],
    seed: int,
) -> FoundClusters:
    """Cluster some of the alerts and describe the stable clusters.

    Parameters
    ----------
    frame
        All alerts of the period, with the features; shape ``(n_alerts, ...)``.
    values
        Contributions of those that are clustered, shape ``(member_of.sum(), n_features)``.
    member_of
        Which alerts are clustered: the false positives.
    """
    rows = np.flatnonzero(member_of)
    grouping = group(values, seed=seed)
    code, stable = grouping.code, grouping.stability
    shown = [k for k in range(len(stable)) if _holds(code, stable, k)]
    order = sorted(shown, key=lambda k: -float(cost[rows][code == k].sum()))
    member = np.full(len(rows), -1, dtype=np.int64)
    items = []
    for i, k in enumerate(order):
        member[code == k] = i
        items.append(_describe(frame, values, rows, code == k, cost, is_fraud, features, stable[k]))
    n_unstable = len(np.unique(code)) - len(shown) if len(stable) > 1 else 0
    return FoundClusters(member, tuple(items), n_unstable)


def _holds(code: IntArray, stable: FloatArray, k: int) -> bool:
    return bool(len(stable) > 1 and (code == k).sum() >= MIN_SIZE and stable[k] >= STABLE)


def _sample(n: int, most: int, seed: int) -> IntArray:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def _distances(space: FloatArray) -> FloatArray:
    """Return the distance of each decision to each, shape ``(n_events, n_events)``."""
    from scipy.spatial.distance import pdist, squareform

    return np.asarray(squareform(pdist(space), checks=False), dtype=np.float64)


def _ward_tree(distance: FloatArray) -> Any:
    """Cluster by Ward's method; `scipy.cluster.hierarchy.linkage` gives the same of the points themselves."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return linkage(squareform(distance, checks=False), method="ward")


def _cut(tree: Any, k: int) -> IntArray:
    from scipy.cluster.hierarchy import fcluster

    code = fcluster(tree, k, criterion="maxclust")
    return np.unique(code, return_inverse=True)[1].astype(np.int64)


def _nearest(space: FloatArray, known: FloatArray, code: IntArray) -> IntArray:
    centres = np.stack([known[code == k].mean(axis=0) for k in range(int(code.max()) + 1)])
    distance = ((space[:, None, :] - centres[None]) ** 2).sum(axis=2)
    return np.asarray(distance.argmin(axis=1), dtype=np.int64)


def _jaccard(a: BoolArray, b: BoolArray) -> float:
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 0.0


def _describe(
    frame: pl.DataFrame,
    values: FloatArray,
    rows: IntArray,
    mine: BoolArray,
    cost: FloatArray,
    is_fraud: BoolArray,
    features: Sequence[FeatureLike],
    stability: float,
) -> Cluster:
    where = fit_rule(frame, rows, mine, features)
    met = np.logical_and.reduce([holds(item, frame, timezone="UTC") for item in where] or [np.ones(len(frame), bool)])
    in_group = met[rows] & mine
    names, sums = family_sums(values[mine], features)
    mean = sums.mean(axis=0)
    drivers = [(names[j], float(mean[j])) for j in np.argsort(-mean, kind="stable")[:3] if mean[j] > 0]
    false = met[rows]
    return Cluster(
        n=int(mine.sum()),
        cost=float(cost[rows][mine].sum()),
        rule=tuple(item.words for item in where),
        where=where,
        n_met=int(in_group.sum()),
        n_false_met=int(false.sum()),
        cost_met=float(cost[rows][false].sum()),
        precision=float(in_group.sum()) / max(int(false.sum()), 1),
        recall=float(in_group.sum()) / int(mine.sum()),
        stability=float(stability),
        drivers=tuple(drivers),
        n_alerts=int(met.sum()),
        n_alert_frauds=int((met & is_fraud).sum()),
    )


_WIDEST: Final = (-1e30, 1e30)
"""Ends of the numbers of a rule: values beyond lie on one side of every bound, and halfway to one is a number."""


def fit_rule(
    frame: pl.DataFrame, rows: IntArray, mine: BoolArray, features: Sequence[FeatureLike]
) -> tuple[Condition, ...]:
    """Describe a cluster by the best path of a shallow tree over the numeric features."""
    used = [item for item in features if frame.schema[item.name].is_numeric()]
    if not used:
        return ()
    table = np.clip(np.column_stack([numbers(frame[item.name]) for item in used]), *_WIDEST)
    leaves = grow(table[rows], mine, depth=3, least=max(5, int(mine.sum()) // 10))
    best = max(leaves, key=lambda leaf: _f1(leaf.rows, mine))
    return tuple(
        _bounded(used[j], frame.schema[used[j].name].is_integer(), table[:, j], ends)
        for j, ends in _ends(best.way).items()
    )


def _f1(rows: IntArray, mine: BoolArray) -> float:
    return 2.0 * float(mine[rows].sum()) / max(1.0, float(len(rows) + mine.sum()))


@dataclass
class _Ends:
    """What the way to a leaf asks of one feature."""

    low: float = -np.inf
    high: float = np.inf
    unknown: bool = True


def _ends(way: Sequence[Branch]) -> dict[int, _Ends]:
    """Collect the conditions on the way to a leaf, by feature, those next to the leaf first."""
    out: dict[int, _Ends] = {}
    for step in reversed(way):
        ends, cut = out.setdefault(step.cut.feature, _Ends()), step.cut.at
        if step.low:
            ends.high = min(ends.high, cut)
        else:
            ends.low = max(ends.low, cut)
        ends.unknown &= step.cut.unknown_low == step.low
    return out


def _bounded(feature: FeatureLike, whole: bool, values: FloatArray, ends: _Ends) -> Condition:  # noqa: FBT001
    """Put the ends of one feature into a condition that is counted as it reads."""
    words, missing = feature.words or feature.name, np.isnan(values)
    if np.isposinf(ends.low):
        return Condition(feature.name, f"{spoken(words)} is unknown", "unknown")
    if np.isneginf(ends.low) and np.isposinf(ends.high):
        return Condition(feature.name, f"{spoken(words)} is known", "known")
    low, high = (float(np.floor(end)) if whole and np.isfinite(end) else end for end in (ends.low, ends.high))
    finite = tuple(end for end in (low, high) if np.isfinite(end))
    return number_condition(
        feature.name,
        words,
        low=low if np.isfinite(low) else None,
        high=high if np.isfinite(high) else None,
        or_unknown=ends.unknown and bool(missing.any()),
        digits=digits_for(words, finite, values[~missing]),
    )
