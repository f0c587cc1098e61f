"""Groups of decisions that the model took for the same reasons: clusters of contributions, each with a rule in words.

Owns clustering (Ward on shares of contribution by family), its stability under resampling, and the rules. A cluster
that does not come back when events are drawn anew is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.explain.contrast import family_sums
from fraudctl.explain.scene import BoolArray, FeatureLike, FloatArray, IntArray
from fraudctl.explain.wording import said, spoken

MOST_CLUSTERS: Final = 7
MOST_ROWS: Final = 3_000
REPLICATES: Final = 20
STABLE: Final = 0.75
"""Mean Jaccard similarity under resampling from which a cluster counts as stable (Hennig 2007)."""
MIN_SIZE: Final = 8


@dataclass(frozen=True)
class Cluster:
    """Decisions taken for the same reasons.

    Attributes
    ----------
    rule
        Conditions in words, joined by "and"; they approximate the cluster.
    precision, recall
        Of the decisions that meet the rule, the share in the cluster; of the cluster, the share that meets the rule.
    stability
        Mean Jaccard similarity with the nearest cluster of each resample.
    drivers
        Families with the largest mean contribution, in log-odds.
    n_alerts, n_alert_frauds
        Alerts that meet the rule, and those of them that are fraud: what relaxing them would let through.
    """

    n: int
    cost: float
    rule: tuple[str, ...]
    precision: float
    recall: float
    stability: float
    drivers: tuple[tuple[str, float], ...]
    n_alerts: int
    n_alert_frauds: int


@dataclass(frozen=True)
class Clusters:
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


def assign(values: FloatArray, *, features: Sequence[FeatureLike], seed: int) -> IntArray:
    """Cluster decisions by why they were taken; the number of clusters has the best silhouette.

    Parameters
    ----------
    values
        Contributions, shape ``(n_events, n_features)``; at least `MIN_SIZE` × 2 events.

    Returns
    -------
    array of shape ``(n_events,)``
        Codes from 0.
    """
    from sklearn.metrics import silhouette_score

    space = reasons_space(values, features)
    if len(space) < 2 * MIN_SIZE or not space.any():
        return np.zeros(len(space), dtype=np.int64)
    sample = _sample(len(space), MOST_ROWS, seed)
    tree = _ward_tree(space[sample])
    best, best_score = np.zeros(len(sample), dtype=np.int64), -1.0
    for k in range(2, min(MOST_CLUSTERS, len(sample) - 1) + 1):
        code = _cut(tree, k)
        if len(np.unique(code)) < 2:
            continue
        score = float(silhouette_score(space[sample], code))
        if score > best_score + 1e-9:
            best, best_score = code, score
    return best if len(sample) == len(space) else _nearest(space, space[sample], best)


def reasons_space(values: FloatArray, features: Sequence[FeatureLike]) -> FloatArray:
    """Give each decision as shares of contribution by family, so that size of score does not tell groups apart."""
    sums = family_sums(values, features)[1]
    return np.asarray(sums / np.maximum(np.abs(sums).sum(axis=1, keepdims=True), 1e-12), dtype=np.float64)


def find_clusters(
    frame: pl.DataFrame,
    values: FloatArray,
    *,
    member_of: BoolArray,
    cost: FloatArray,
    is_fraud: BoolArray,
    features: Sequence[FeatureLike],
    seed: int,
) -> Clusters:
    """Cluster some of the alerts and describe the stable clusters.

    Parameters
    ----------
    frame
        Alerts, with the features; shape ``(n_alerts, ...)``.
    values
        Their contributions.
    member_of
        Which of them are clustered (the false alarms).
    """
    rows = np.flatnonzero(member_of)
    code = assign(values[rows], features=features, seed=seed)
    stable = _stability(values[rows], code, features, seed)
    shown = [k for k in range(int(code.max(initial=0)) + 1) if _holds(code, stable, k)]
    order = sorted(shown, key=lambda k: -float(cost[rows][code == k].sum()))
    member = np.full(len(rows), -1, dtype=np.int64)
    items = []
    for i, k in enumerate(order):
        member[code == k] = i
        items.append(_describe(frame, values, rows, code == k, cost, is_fraud, features, stable[k]))
    n_unstable = len(np.unique(code)) - len(shown) if len(stable) > 1 else 0
    return Clusters(member, tuple(items), n_unstable)


def _holds(code: IntArray, stable: FloatArray, k: int) -> bool:
    return bool(len(stable) > 1 and (code == k).sum() >= MIN_SIZE and stable[k] >= STABLE)


def _sample(n: int, most: int, seed: int) -> IntArray:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def _ward_tree(space: FloatArray) -> Any:
    from scipy.cluster.hierarchy import linkage

    return linkage(space, method="ward")


def _cut(tree: Any, k: int) -> IntArray:
    from scipy.cluster.hierarchy import fcluster

    code = fcluster(tree, k, criterion="maxclust")
    return np.unique(code, return_inverse=True)[1].astype(np.int64)


def _nearest(space: FloatArray, known: FloatArray, code: IntArray) -> IntArray:
    centres = np.stack([known[code == k].mean(axis=0) for k in range(int(code.max()) + 1)])
    distance = ((space[:, None, :] - centres[None]) ** 2).sum(axis=2)
    return np.asarray(distance.argmin(axis=1), dtype=np.int64)


def _stability(values: FloatArray, code: IntArray, features: Sequence[FeatureLike], seed: int) -> FloatArray:
    """Give each cluster's mean Jaccard similarity with its nearest in clusterings of half of the events."""
    n_clusters = int(code.max(initial=0)) + 1
    if n_clusters < 2:
        return np.zeros(n_clusters)
    space = reasons_space(values, features)
    rng = np.random.default_rng([seed, 1])
    total = np.zeros(n_clusters)
    for _ in range(REPLICATES):
        rows = np.sort(rng.choice(len(code), max(len(code) // 2, 2), replace=False)[:1_000])
        again = _cut(_ward_tree(space[rows]), n_clusters)
        for k in range(n_clusters):
            mine = code[rows] == k
            total[k] += max(_jaccard(mine, again == j) for j in range(int(again.max()) + 1))
    return total / REPLICATES


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
    rule, met = fit_rule(frame, rows, mine, features)
    met_rows = met[rows]
    names, sums = family_sums(values[rows[mine]], features)
    mean = sums.mean(axis=0)
    drivers = [(names[j], float(mean[j])) for j in np.argsort(-mean, kind="stable")[:3] if mean[j] > 0]
    return Cluster(
        n=int(mine.sum()),
        cost=float(cost[rows][mine].sum()),
        rule=rule,
        precision=float(mine[met_rows].mean()) if met_rows.any() else 0.0,
        recall=float(met_rows[mine].mean()),
        stability=float(stability),
        drivers=tuple(drivers),
        n_alerts=int(met.sum()),
        n_alert_frauds=int((met & is_fraud).sum()),
    )


def fit_rule(
    frame: pl.DataFrame, rows: IntArray, mine: BoolArray, features: Sequence[FeatureLike]
) -> tuple[tuple[str, ...], BoolArray]:
    """Describe a cluster by the best path of a shallow tree over the features; also say which rows meet it."""
    from sklearn.tree import DecisionTreeClassifier

    numbers = [item for item in features if frame.schema[item.name].is_numeric()]
    if not numbers:
        return (), np.ones(frame.height, dtype=bool)
    table = np.column_stack([frame[item.name].cast(pl.Float64).fill_null(np.nan).to_numpy() for item in numbers])
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=max(5, int(mine.sum()) // 10), random_state=0)
    tree.fit(table[rows], mine)
    leaf_of = tree.apply(table[rows])
    leaf = max(np.unique(leaf_of), key=lambda item: (_f1(leaf_of == item, mine), -int(item)))
    return _path_words(tree.tree_, int(leaf), numbers), np.asarray(tree.apply(table) == leaf)


def _f1(met: BoolArray, mine: BoolArray) -> float:
    return 2.0 * float((met & mine).sum()) / max(1.0, float(met.sum() + mine.sum()))


def _path_words(tree: Any, leaf: int, features: Sequence[FeatureLike]) -> tuple[str, ...]:
    """Say the conditions on the way to a leaf, one per feature and side."""
    parent = {int(child): (node, side) for node in range(tree.node_count) for side, child in
              (("<=", tree.children_left[node]), (">", tree.children_right[node])) if child >= 0}  # fmt: skip
    bounds: dict[tuple[int, str], float] = {}
    node = leaf
    while node in parent:
        node, side = parent[node]
        bounds.setdefault((int(tree.feature[node]), side), float(tree.threshold[node]))
    words = {"<=": "is at most", ">": "is over"}
    names = {j: features[j].words or features[j].name for j, _ in bounds}
    return tuple(f"{spoken(names[j])} {words[side]} {said(names[j], value)}" for (j, side), value in bounds.items())
