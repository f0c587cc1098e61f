"""How far a metric can be trusted: intervals that respect that events of one card, customer or terminal go together.

Ratios of sums (precision, recall, money, savings) get a linearised variance clustered on every entity at once. Rankings
(ROC AUC, average precision, precision at K) get a bootstrap of whole clusters. Below 20 clusters nothing can be said,
and nothing is; an entity of 4 to 20 widens the intervals of one that has more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.costs import ConstantAction
from fraudctl.metrics.calibration import equal_mass_bins
from fraudctl.metrics.canonical import canonical_codes
from fraudctl.metrics.ranking import Ranking, ap_influence, ap_of, auc_influence, auc_of
from fraudctl.metrics.ratios import Ratio
from fraudctl.metrics.topk import BoardPlan, DayBoard

MIN_CLUSTERS = 20
"""With fewer clusters than this an interval cannot be known."""

FEWEST_CLUSTERS = 4
"""With fewer an entity says nothing of the variance: its ids are kinds of events, not a sample of clusters."""

ROWS = "event"
"""Name of the clustering in which every event stands alone."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval, or the reason why it has none."""

    JSON = ("value", "low", "high", "base?", "reason?")

    value: float | None
    """The metric; null where it is undefined."""
    low: float | None = None
    """Low end of the interval; null where it is not known."""
    high: float | None = None
    """High end of the interval; null where it is not known."""
    reason: str | None = None
    """Why something is null."""
    se: float | None = None
    """Standard error, where one can be computed; without an interval (few clusters) it is too rough to be printed."""
    base: ConstantAction | None = None
    """The constant action that savings are measured against; absent for other metrics."""

    @property
    def known(self) -> bool:
        """Whether both ends of the interval are known and finite."""
        return self.low is not None and self.high is not None and math.isfinite(self.low) and math.isfinite(self.high)


def undefined(reason: str, *, base: ConstantAction | None = None) -> Estimate:
    """Return the estimate of a metric that cannot be computed."""
    return Estimate(None, reason=reason, base=base)


@dataclass(frozen=True)
class CoarseWay:
    """An entity with 4 to 20 clusters: too few for an interval, enough to widen that of an entity with more."""

    name: str
    codes: IntArray
    """Cluster of each event, shape ``(n_events,)``."""
    inflation: float
    """What its variance is multiplied by, which few clusters give too small: see `few_clusters_inflation`."""


def few_clusters_inflation(n_clusters: float) -> float:
    """Return what a variance over few clusters is multiplied by: ``G / (G - 1) × (t / z)²``.

    Both quantiles are of a two-sided interval at 90 %, t with ``G - 1`` degrees of freedom (Cameron and Miller, *A
    Practitioner's Guide to Cluster-Robust Inference*, 2015, section VI).

    >>> round(few_clusters_inflation(5), 2)
    2.1
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(n_clusters - 1, 0.95))
    return n_clusters / (n_clusters - 1) * (quantile / normal_quantile(0.90)) ** 2


@dataclass(frozen=True)
class Clusters:
    """Which events belong together, once per entity."""

    names: tuple[str, ...]
    """Entity names; empty where the project has none, and events stand alone."""
    codes: tuple[IntArray, ...]
    """Cluster of each event from 0, one array of shape ``(n_events,)`` per entity; each null is its own cluster."""
    sizes: tuple[int, ...]
    """Number of clusters of each entity."""
    n_events: int
    coarse: tuple[CoarseWay, ...] = ()
    """Entities with few clusters, which can widen an interval and not carry one."""
    left: tuple[str, ...] = ()
    """Entities that are left out, for their clusters are fewer still."""

    @classmethod
    def of(
        cls, frame: pl.DataFrame, entities: Sequence[str], *, known: Mapping[str, IntArray] | None = None
    ) -> Clusters:
        """Read the clusters from the entity columns of ``frame``.

        Parameters
        ----------
        known
            What `codes_by_appearance` gives of each entity, where that was computed before.
        """
        coded = [_codes(codes_by_appearance(frame[name]) if known is None else known[name]) for name in entities]
        sizes = tuple(int(codes.max()) + 1 if len(codes) else 0 for codes in coded)
        return cls(tuple(entities), tuple(coded), sizes, frame.height)

    @classmethod
    def carried(
        cls, frame: pl.DataFrame, entities: Sequence[str], *, known: Mapping[str, IntArray] | None = None
    ) -> Clusters:
        """Read the clusters of the entities that can carry an interval, or of all where none can; ``known`` as in `of`.

        One can where its clusters count for at least `MIN_CLUSTERS` equal ones: ``n² / sum of squared sizes``, which
        few or dominant ids make small (Carter, Schnepel and Steigerwald, *Asymptotic Behavior of a t-Test Robust to
        Cluster Heterogeneity*, 2017). One that counts for `FEWEST_CLUSTERS` or more still widens the intervals of the
        others. No outcome is looked at.

        >>> frame = pl.DataFrame({"card": range(40), "device": ["mobile"] * 30 + ["desktop"] * 10})
        >>> found = Clusters.carried(frame, ["device", "card"])
        >>> found.names, found.left
        (('card',), ('device',))
        """
        found = cls.of(frame, entities, known=known)
        equal = [_equal_clusters(codes) for codes in found.codes]
        able = [place for place, size in enumerate(equal) if size >= MIN_CLUSTERS]
        if not able:
            return found
        kept = [(found.names[place], found.codes[place], found.sizes[place]) for place in able]
        names, codes, sizes = zip(*kept, strict=True)
        coarse = tuple(
            CoarseWay(found.names[place], found.codes[place], few_clusters_inflation(size))
            for place, size in enumerate(equal)
            if FEWEST_CLUSTERS <= size < MIN_CLUSTERS
        )
        left = tuple(name for name in found.names if name not in {*names, *(way.name for way in coarse)})
        return cls(names, codes, sizes, found.n_events, coarse, left)

    def take(self, rows: BoolArray | IntArray) -> Clusters:
        """Return the clusters of some of the events."""
        found = [_renumbered(item[rows], size) for item, size in zip(self.codes, self.sizes, strict=True)]
        codes, sizes = tuple(item[0] for item in found), tuple(item[1] for item in found)
        coarse = tuple(replace(way, codes=way.codes[rows]) for way in self.coarse)
        return Clusters(self.names, codes, sizes, len(np.arange(self.n_events)[rows]), coarse, self.left)

    def fewest(self, support: BoolArray) -> tuple[int, str]:
        """Count the clusters that hold an event of ``support``, for the entity that has the fewest, and name it."""
        return min(zip(self.counts(support), self.names, strict=True), default=(int(support.sum()), ROWS))

    def counts(self, support: BoolArray) -> list[int]:
        """Count the clusters of each entity that hold an event of ``support``."""
        return [_n_used(codes[support], size) for codes, size in zip(self.codes, self.sizes, strict=True)]


def _equal_clusters(codes: IntArray) -> float:
    """Return how many clusters of equal size would be as uneven as these."""
    sizes = np.bincount(codes)
    return float(sizes.sum()) ** 2 / max(1.0, float((sizes.astype(np.float64) ** 2).sum()))


def _n_used(codes: IntArray, size: int) -> int:
    """Count the different codes below ``size``."""
    used = np.zeros(size, dtype=np.bool_)
    used[codes] = True
    return int(np.count_nonzero(used))


def _renumbered(codes: IntArray, size: int) -> tuple[IntArray, int]:
    """Return numbers without gaps to the clusters that are left, and their count."""
    used = np.zeros(size, dtype=np.int64)
    used[codes] = 1
    return (np.cumsum(used) - 1)[codes], int(used.sum())


def codes_by_appearance(column: pl.Series) -> IntArray:
    """Return entity codes from 0 in the order of first appearance, -1 for null, shape ``(n_events,)``.

    Draws by code therefore do not depend on how entities are named.

    >>> codes_by_appearance(pl.Series(["b", "a", None, "b"])).tolist()
    [0, 1, -1, 0]
    """
    if isinstance(column.dtype, pl.Categorical):
        return _codes_of_categories(column)
    frame = pl.DataFrame({"value": column}).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    first = frame.select(pl.col("row").min().over("value")).to_series().to_numpy()
    there = column.is_not_null().to_numpy()
    number = np.cumsum((first == np.arange(len(first))) & there) - 1
    return np.where(there, number[first], -1).astype(np.int64)


def _codes_of_categories(column: pl.Series) -> IntArray:
    """Do what `codes_by_appearance` does for values that are codes already, with little memory."""
    there = column.is_not_null().to_numpy()
    numbers = column.drop_nulls().to_physical().to_numpy()
    n_codes = int(numbers.max()) + 1 if len(numbers) else 0
    first = np.full(n_codes, len(numbers), dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the first row of each stands
    used = np.flatnonzero(first < len(numbers))
    rank = np.empty(len(first), dtype=np.int64)
    rank[used[np.argsort(first[used])]] = np.arange(len(used))
    codes = np.full(len(there), -1, dtype=np.int64)
    codes[there] = rank[numbers]
    return codes


def _codes(by_appearance: IntArray) -> IntArray:
    """Give each null a code of its own, after all others."""
    values = by_appearance.copy()
    missing = values < 0
    values[missing] = np.arange(int(missing.sum())) + int(values.max(initial=-1)) + 1
    return np.asarray(values, dtype=np.int64)


def clustered_variance(psi: FloatArray, clusters: Clusters) -> float:
    """Variance of a sum of influences ``psi``, shape ``(n_events,)``, clustered on every entity.

    With ``V_k`` the sum over clusters of entity k of their squared sums and ``V_row`` that of single events: for two
    entities ``max(V_1 + V_2 - V_row, V_1, V_2, V_row)`` (Cameron, Gelbach and Miller, *Robust Inference With Multiway
    Clustering*, 2011, never below one way alone); for three or more the largest one-way variance. Never below the
    inflated variance of an entity with few clusters.
    """
    v_row = float(np.sum(psi**2))
    one_way = [_squared_sums(codes, psi) for codes in clusters.codes]
    both = [sum(one_way) - v_row] if len(one_way) == 2 else []
    few = [way.inflation * _squared_sums(way.codes, psi) for way in clusters.coarse]
    return max([v_row, *one_way, *both, *few])


def _squared_sums(codes: IntArray, psi: FloatArray) -> float:
    return float(np.sum(np.bincount(codes, weights=psi) ** 2))


def normal_quantile(confidence: float) -> float:
    """Return the z of a two-sided interval: 1.645 at 0.90."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def too_few(clusters: Clusters, support: BoolArray) -> str | None:
    """Return why an interval cannot be known, or None where it can."""
    count, name = clusters.fewest(support)
    if count >= MIN_CLUSTERS:
        return None
    return f"only {count} {name} clusters carry information; below {MIN_CLUSTERS} the uncertainty cannot be known"


def ratio_estimate(
    ratio: Ratio, clusters: Clusters, *, confidence: float, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Return a ratio of sums with its interval.

    ``SE^2 = clustered variance + (share of one typical event in the base)^2``: the last term keeps small samples
    honest, where the events seen may happen to agree.

    Parameters
    ----------
    ratio
        The metric, from `fraudctl.metrics.ratios`.
    clusters
        Of the same events.
    confidence
        Two-sided, such as 0.90.
    bounds
        Range that the metric cannot leave.
    """
    if ratio.reason is not None:
        return undefined(ratio.reason, base=ratio.base)
    reason = too_few(clusters, ratio.support)
    se = math.sqrt(clustered_variance(ratio.influence, clusters) + ratio.unit_share**2)
    if reason is not None:
        return Estimate(ratio.value, reason=reason, se=se, base=ratio.base)
    return replace(_around(ratio.value, se, confidence, bounds), base=ratio.base)


def difference_estimate(ours: Ratio, theirs: Ratio, clusters: Clusters, *, confidence: float) -> Estimate:
    """Return ``ours - theirs`` on the same events with its paired interval.

    Savings against different bases have no difference: the estimate is undefined.
    """
    if ours.base != theirs.base:
        return undefined("savings against different constant actions cannot be compared")
    for ratio in (ours, theirs):
        if ratio.reason is not None:
            return undefined(ratio.reason, base=ratio.base)
    reason = too_few(clusters, ours.support | theirs.support)
    value = ours.value - theirs.value
    share = max(ours.unit_share, theirs.unit_share)
    se = math.sqrt(clustered_variance(ours.influence - theirs.influence, clusters) + share**2)
    if reason is not None:
        return Estimate(value, reason=reason, se=se, base=ours.base)
    return replace(_around(value, se, confidence, (-math.inf, math.inf)), base=ours.base)


def _around(value: float, se: float, confidence: float, bounds: tuple[float, float]) -> Estimate:
    reach = normal_quantile(confidence) * se
    low, high = max(value - reach, bounds[0]), min(value + reach, bounds[1])
    return Estimate(value, low, high, se=se)


@dataclass(frozen=True)
class RankingIntervals:
    """What a bootstrap needs: how many replicates, from which seed, at which confidence."""

    replicates: int
    seed: int
    confidence: float
    threads: int = 2
    watch: Callable[[int, int], object] | None = field(default=None, compare=False)
    """Called now and then with the replicates that are done and their number; it changes nothing."""


_CHUNKS = 40
"""Pieces that the replicates are counted in; no draw depends on it."""

Statistic = Callable[[IntArray], FloatArray]
"""Takes the numbers of the drawn clusters, with repeats, and gives the statistics of the draw."""


def bootstrap(n_clusters: int, statistic: Statistic, settings: RankingIntervals) -> FloatArray:
    """Draw clusters with replacement and give the statistics of each draw, shape ``(replicates, n_statistics)``.

    Replicate r depends on the seed and r only, not on the number of threads.
    """
    chunks = np.array_split(np.arange(settings.replicates), min(settings.replicates, _CHUNKS))
    parts: list[FloatArray] = []
    with ThreadPoolExecutor(settings.threads) as pool:
        for part in pool.map(lambda chunk: _replicates(chunk, n_clusters, statistic, settings.seed), chunks):
            parts.append(part)
            if settings.watch is not None:
                settings.watch(sum(map(len, parts)), settings.replicates)
    return np.concatenate(parts)


def _replicates(numbers: IntArray, n_clusters: int, statistic: Statistic, seed: int) -> FloatArray:
    draws = (np.random.default_rng([seed, int(number)]).integers(0, n_clusters, n_clusters) for number in numbers)
    return np.asarray([statistic(drawn) for drawn in draws], dtype=np.float64)


def times_drawn(drawn: IntArray, n_clusters: int) -> FloatArray:
    """Return how often each cluster was drawn, shape ``(n_clusters,)``."""
    return np.bincount(drawn, minlength=n_clusters).astype(np.float64)


def percentile_estimate(
    value: float,
    draws: FloatArray,
    *,
    confidence: float,
    stretch: float = 1.0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Turn bootstrap draws into an interval: their percentiles, moved away from the value by ``stretch``."""
    usable = draws[np.isfinite(draws)]
    if len(usable) < 0.95 * len(draws):
        return Estimate(value, reason="undefined in more than 5 % of the bootstrap replicates")
    tail = (1 - confidence) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    se = stretch * float(usable.std(ddof=1))
    low, high = value + stretch * (min(float(low), value) - value), value + stretch * (max(float(high), value) - value)
    return Estimate(value, max(low, bounds[0]), min(high, bounds[1]), se=se)


@dataclass(frozen=True)
class WidestWay:
    """The entity whose clusters widen a ranking's interval most, and how much others or two together widen it more."""

    codes: IntArray
    n_clusters: int
    stretch: float


def widest_way(psi: FloatArray, clusters: Clusters) -> WidestWay:
    """Find by linearisation which entity to resample, so that one bootstrap is enough."""
    v_row = float(np.sum(psi**2))
    ways = [_squared_sums(codes, psi) for codes in clusters.codes]
    widest = max(ways, default=0.0)
    stretch = math.sqrt(clustered_variance(psi, clusters) / max(widest, v_row)) if max(widest, v_row) > 0 else 1.0
    if not ways or widest < v_row:
        return WidestWay(np.arange(clusters.n_events), clusters.n_events, stretch)
    best = int(np.argmax(ways))
    return WidestWay(clusters.codes[best], clusters.sizes[best], stretch)


def ranking_influence(name: str, y_true: npt.NDArray[Any], y_score: FloatArray, weight: FloatArray) -> FloatArray:
    """Return what each event moves ``roc_auc`` or ``average_precision`` by."""
    return (auc_influence if name == "roc_auc" else ap_influence)(y_true, y_score, weight)


def ranking_statistic(name: str, ranking: Ranking, weight: FloatArray, codes: IntArray, n_clusters: int) -> Statistic:
    """Return the function from drawn clusters to ``roc_auc`` or ``average_precision``.

    Where all weights are 1, only how many events of each condensed group are drawn counts, and how many of them are
    fraud: whole numbers, which no order of adding changes.
    """
    lean = ranking.condensed()
    of = auc_of if name == "roc_auc" else ap_of
    sorted_codes, base = codes[lean.order], weight[lean.order]
    if bool((base == 1.0).all()):
        each_alone = n_clusters == len(codes)
        return (_counted_events if each_alone else _counted_clusters)(
            of, lean, sorted_codes.astype(np.int32), n_clusters
        )
    places, group = _frauds(lean)

    def statistic(drawn: IntArray) -> FloatArray:
        weighted = times_drawn(drawn, n_clusters)[sorted_codes] * base
        every = np.add.reduceat(weighted, lean.starts)
        fraud = np.bincount(group, weights=weighted[places], minlength=len(every)).astype(np.float64)
        return np.array([of(fraud, every)])

    return statistic


_Curve = Callable[[FloatArray, FloatArray], float]
"""Takes the weights of fraud and of all events in each score group."""


def _frauds(ranking: Ranking) -> tuple[IntArray, IntArray]:
    """Return position and score group of every fraud."""
    places = np.flatnonzero(ranking.y_sorted)
    return places, np.searchsorted(ranking.starts, places, side="right") - 1


def _counted_clusters(of: _Curve, lean: Ranking, sorted_codes: npt.NDArray[np.int32], n_clusters: int) -> Statistic:
    from fraudctl.metrics.kernels import groups_drawn

    places, group = _frauds(lean)

    def statistic(drawn: IntArray) -> FloatArray:
        every, times = groups_drawn(drawn, n_clusters, sorted_codes, lean.starts)
        fraud = np.bincount(group, weights=times[sorted_codes[places]], minlength=len(every))
        return np.array([of(fraud.astype(np.float64), every.astype(np.float64))])

    return statistic


def _counted_events(of: _Curve, lean: Ranking, sorted_codes: npt.NDArray[np.int32], n_events: int) -> Statistic:
    from fraudctl.metrics.kernels import cells_drawn

    n_groups = len(lean.starts)
    sizes = np.diff(np.append(lean.starts, n_events))
    cell = np.empty(n_events, dtype=np.int32)
    cell[sorted_codes] = 2 * np.repeat(np.arange(n_groups), sizes) + lean.y_sorted

    def statistic(drawn: IntArray) -> FloatArray:
        legit, fraud = cells_drawn(drawn, cell, 2 * n_groups).astype(np.float64).reshape(-1, 2).T
        return np.array([of(fraud, legit + fraud)])

    return statistic


def ranking_estimate(
    name: str,
    y_true: npt.NDArray[Any],
    y_score: FloatArray,
    weight: FloatArray,
    clusters: Clusters,
    *,
    settings: RankingIntervals,
) -> Estimate:
    """Return ROC AUC or average precision with a clustered bootstrap interval.

    Clusters of the entity with the largest linearised variance are drawn; where two entities together widen it
    further, the percentiles are stretched by that factor.
    """
    reason = _ranking_reason(name, y_true)
    if reason is not None:
        return undefined(reason)
    ranking = Ranking.of(y_true, y_score)
    value = (auc_of if name == "roc_auc" else ap_of)(*ranking.totals(ranking.weighted(weight)))
    few = too_few(clusters, y_true == 1)
    if few is not None:
        return Estimate(value, reason=few)
    way = widest_way(ranking_influence(name, y_true, y_score, weight), clusters)
    codes = canonical_codes(way.codes, way.n_clusters, y_true, y_score, weight)
    draws = bootstrap(way.n_clusters, ranking_statistic(name, ranking, weight, codes, way.n_clusters), settings)
    return percentile_estimate(value, draws[:, 0], confidence=settings.confidence, stretch=way.stretch)


def ranking_difference(
    name: str,
    y_true: npt.NDArray[Any],
    ours: FloatArray,
    theirs: FloatArray,
    weight: FloatArray,
    clusters: Clusters,
    *,
    settings: RankingIntervals,
) -> Estimate:
    """Return the paired difference ``ours - theirs`` of ROC AUC or average precision: both see the same draws."""
    reason = _ranking_reason(name, y_true) or too_few(clusters, y_true == 1)
    if reason is not None:
        return undefined(reason)
    rankings = [Ranking.of(y_true, score) for score in (ours, theirs)]
    of = auc_of if name == "roc_auc" else ap_of
    values = [of(*ranking.totals(ranking.weighted(weight))) for ranking in rankings]
    psi = ranking_influence(name, y_true, ours, weight) - ranking_influence(name, y_true, theirs, weight)
    way = widest_way(psi, clusters)
    codes = canonical_codes(way.codes, way.n_clusters, y_true, ours, theirs, weight)
    first, second = (ranking_statistic(name, ranking, weight, codes, way.n_clusters) for ranking in rankings)
    draws = bootstrap(way.n_clusters, lambda drawn: first(drawn) - second(drawn), settings)
    return percentile_estimate(
        values[0] - values[1], draws[:, 0], confidence=settings.confidence, stretch=way.stretch, bounds=(-1.0, 1.0)
    )


def _ranking_reason(name: str, y_true: npt.NDArray[Any]) -> str | None:
    if not (y_true == 1).any():
        return "no frauds"
    if name == "roc_auc" and (y_true == 1).all():
        return "no legitimate events"
    return None


def calibration_estimate(
    y_true: npt.NDArray[Any], y_prob: FloatArray, weight: FloatArray, clusters: Clusters, *, settings: RankingIntervals
) -> Estimate:
    """Return the expected calibration error with a clustered bootstrap interval; the bins stay as they are."""
    if len(y_prob) == 0:
        return undefined("no events")
    bins = equal_mass_bins(y_prob)
    n_bins = int(bins.max()) + 1
    gap = weight * (y_prob - (y_true == 1))
    sums = np.bincount(bins, weights=gap, minlength=n_bins)
    value = float(np.abs(sums).sum() / weight.sum())
    few = too_few(clusters, y_true == 1)
    if few is not None:
        return Estimate(value, reason=few)
    way = widest_way((np.sign(sums)[bins] * gap - value * weight) / weight.sum(), clusters)
    cells = canonical_codes(way.codes, way.n_clusters, bins, gap, weight) * n_bins + bins
    gaps, sizes = (
        np.bincount(cells, weights=item, minlength=way.n_clusters * n_bins).reshape(way.n_clusters, n_bins)
        for item in (gap, weight)
    )
    total = sizes.sum(axis=1)

    def statistic(drawn: IntArray) -> FloatArray:
        """Sum without BLAS, whose own threads get in the way of ours."""
        w = times_drawn(drawn, way.n_clusters)
        return np.array([np.abs(np.einsum("i,ij->j", w, gaps)).sum() / np.sum(w * total)])

    draws = bootstrap(way.n_clusters, statistic, settings)
    return percentile_estimate(value, draws[:, 0], confidence=settings.confidence, stretch=way.stretch)


def topk_estimate(value: float, boards: tuple[DayBoard, ...], k: int, *, settings: RankingIntervals) -> Estimate:
    """Return precision at K with an interval from drawing entities; one drawn twice takes two of the K places.

    Every draw takes the expectation over the orders of equal scores, and draws do not depend on the entities' names,
    codes or rows: boards that differ in these alone have the same interval.
    """
    if not boards:
        return undefined("no events with this entity")
    plan = BoardPlan.of(boards).compact()
    if plan.n_entities < MIN_CLUSTERS:
        return Estimate(value, reason=f"only {plan.n_entities} entities; below {MIN_CLUSTERS} it cannot be known")

    def statistic(drawn: IntArray) -> FloatArray:
        return np.array([plan.precision(times_drawn(drawn, plan.n_entities), k)])

    draws = bootstrap(plan.n_entities, statistic, settings)
    return percentile_estimate(value, draws[:, 0], confidence=settings.confidence)
