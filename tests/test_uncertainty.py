from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.catalogue import METRICS
from fraudctl.metrics import average_precision, day_boards, precision_at_k, ratios, roc_auc
from fraudctl.metrics.ranking import Ranking
from fraudctl.uncertainty import (
    Clusters,
    RankingIntervals,
    bootstrap,
    calibration_estimate,
    clustered_variance,
    codes_by_appearance,
    difference_estimate,
    normal_quantile,
    percentile_estimate,
    ranking_difference,
    ranking_estimate,
    ranking_statistic,
    ratio_estimate,
    times_drawn,
    too_few,
    topk_estimate,
    widest_way,
)

SETTINGS = RankingIntervals(100, 0, 0.90)
RANKING = tuple(item.name for item in METRICS if item.way == "ranking")


def clusters(*codes: list[int] | np.ndarray) -> Clusters:
    arrays = tuple(np.asarray(item) for item in codes)
    n_events = len(arrays[0]) if arrays else 0
    names = tuple("abcdef"[: len(arrays)])
    return Clusters(names, arrays, tuple(int(item.max()) + 1 for item in arrays), n_events)


def test_two_way_variance_by_hand() -> None:
    # psi 1, 2, 3, -1. Entity a {0, 1}, {2, 3}: 3^2 + 2^2 = 13. Entity b {0, 2}, {1, 3}: 4^2 + 1^2 = 17.
    # Rows: 1 + 4 + 9 + 1 = 15. Two-way: 13 + 17 - 15 = 15; the largest is 17
    psi = np.array([1.0, 2.0, 3.0, -1.0])
    a, b = [0, 0, 1, 1], [0, 1, 0, 1]
    assert clustered_variance(psi, clusters(a)) == 15.0
    assert clustered_variance(psi, clusters(b)) == 17.0
    assert clustered_variance(psi, clusters(a, b)) == 17.0
    assert clustered_variance(np.ones(4), clusters(a, b)) == 12.0
    # three entities or more: the largest of one way
    assert clustered_variance(psi, clusters(a, b, a)) == 17.0
    assert clustered_variance(psi, Clusters((), (), (), 4)) == 15.0


def test_two_way_adds_where_clusters_cross() -> None:
    # {0,1}, {2,3} and {1,2}, {0,3}; psi 2, 2, 2, 2: V_a = 32, V_b = 32, V_row = 16 -> 48
    assert clustered_variance(np.full(4, 2.0), clusters([0, 0, 1, 1], [0, 1, 1, 0])) == 48.0


def test_interval_by_hand() -> None:
    # recall 3/4 over 40 frauds that are 20 cards of two; each card's frauds share their fate in half of the cards
    y_true, alert = np.ones(40), np.tile([1, 1, 1, 0], 10).astype(bool)
    codes = np.repeat(np.arange(20), 2)
    found = ratio_estimate(ratios.recall(y_true, alert), clusters(codes), confidence=0.90)
    # psi: (1 - .75)/40 or (0 - .75)/40; cards (+,+): .5/40, cards (+,-): -.5/40 -> V = 20 × .25/1600 = .003125
    # rows: 30 × .0625/1600 + 10 × .5625/1600 = .0046875, the larger; plus (1/40)^2
    se = math.sqrt(0.0046875 + 1 / 1600)
    assert found.value == 0.75
    assert found.se == pytest.approx(se)
    assert found.low == pytest.approx(0.75 - 1.6448536 * se)


def test_savings_take_the_mean_frauds_share_of_the_base() -> None:
    matrix_base = np.where(np.arange(40) < 30, 10.0, 0.0)
    fraud = (np.arange(40) < 30).astype(int)
    from fraudctl.costs import Baseline, ConstantAction

    allow = ConstantAction("allow", 300.0, 40)
    base = Baseline(allow, np.zeros(40, dtype=np.int8), matrix_base, (allow, ConstantAction("block", 900.0, 40)))
    ratio = ratios.savings_against(fraud, np.zeros(40), matrix_base, base, weight=np.ones(40))
    assert ratio.value == 1.0
    found = ratio_estimate(ratio, clusters(np.arange(40)), confidence=0.9)
    # a perfect record has no variance, but 30 frauds cannot tell 1 from 1 - 1.645/30
    assert found.se == pytest.approx(1 / 30)


def test_fewer_than_twenty_clusters_cannot_be_known() -> None:
    y_true = np.ones(100)
    few = clusters(np.arange(100) % 19)
    found = ratio_estimate(ratios.recall(y_true, y_true > 0), few, confidence=0.9)
    assert found.value == 1.0
    assert not found.known
    assert "only 19 a clusters" in (found.reason or "")
    assert too_few(clusters(np.arange(100) % 20), np.ones(100, dtype=bool)) is None
    ranked = ranking_estimate("roc_auc", np.arange(100) % 2, np.arange(100.0), np.ones(100), few, settings=SETTINGS)
    assert not ranked.known


def test_nulls_are_their_own_clusters() -> None:
    found = Clusters.of(pl.DataFrame({"card": ["x", None, "x", None]}), ["card"])
    assert found.sizes == (3,)
    assert found.codes[0][0] == found.codes[0][2]
    assert len(set(found.codes[0].tolist())) == 3
    nothing = Clusters.of(pl.DataFrame({"card": [None, None]}, schema={"card": pl.Int64}), ["card"])
    assert nothing.sizes == (2,)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
@settings(deadline=None)
def test_variance_against_brute_force(rows: list[tuple[float, int, int]]) -> None:
    psi, a, b = (np.array(item) for item in zip(*rows, strict=True))
    same = [[(a[i] == a[j]) * psi[i] * psi[j] for j in range(len(psi))] for i in range(len(psi))]
    other = [[(b[i] == b[j]) * psi[i] * psi[j] for j in range(len(psi))] for i in range(len(psi))]
    v_a, v_b, v_row = np.sum(same), np.sum(other), np.sum(psi**2)
    expected = max(v_a + v_b - v_row, v_a, v_b, v_row)
    assert clustered_variance(psi, clusters(a, b)) == pytest.approx(expected, abs=1e-9)


def test_linearised_interval_agrees_with_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 200, 3000)
    y_true = (rng.random(3000) < 0.1 + 0.3 * (codes % 5 == 0)).astype(int)
    alert = (rng.random(3000) < 0.3 + 0.4 * y_true) | (codes % 7 == 0)
    ratio = ratios.precision(y_true, alert)
    linear = ratio_estimate(ratio, clusters(codes), confidence=0.9)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        w = times_drawn(drawn, 200)[codes]
        return np.array([np.sum(w * ratio.numerator) / np.sum(w * ratio.denominator)])

    draws = bootstrap(200, statistic, RankingIntervals(400, 1, 0.9))
    assert draws.std() == pytest.approx(linear.se, rel=0.15)


def test_bootstrap_does_not_depend_on_threads() -> None:
    seen: list[tuple[int, int]] = []
    watches = {1: None, 3: lambda done, total: seen.append((done, total))}
    one, two = (
        bootstrap(30, lambda drawn: drawn[:3], RankingIntervals(20, 5, 0.9, threads=n, watch=watch))
        for n, watch in watches.items()
    )
    assert seen == [(done, 20) for done in range(1, 21)]
    assert (one == two).all()
    assert not (one == bootstrap(30, lambda drawn: drawn[:3], RankingIntervals(20, 6, 0.9))).all()


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40),
    st.booleans(),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_what_a_draw_gives_is_the_metric_of_the_drawn_events(
    rows: list[tuple[int, bool, int]], alone: bool, seed: int
) -> None:
    score, fraud, code = (np.array(item) for item in zip(*rows, strict=True))
    codes = np.arange(len(rows)) if alone else np.unique(code, return_inverse=True)[1].astype(np.int64)
    n_clusters = int(codes.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, n_clusters, n_clusters)
    again = np.concatenate([np.flatnonzero(codes == cluster) for cluster in drawn])
    ranking, plain = Ranking.of(fraud, score / 7), np.ones(len(rows))
    for name, metric in (("roc_auc", roc_auc), ("average_precision", average_precision)):
        expected = metric(fraud[again], score[again] / 7)
        for weight in (plain, plain * 3):  # counted, and weighted: the metrics have no unit
            found = ranking_statistic(name, ranking, weight, codes.astype(np.int64), n_clusters)(drawn)
            assert found[0] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def ranked(n_events: int = 1500) -> tuple[np.ndarray, np.ndarray, Clusters]:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 150, n_events)
    hot = rng.normal(size=150)
    y_true = (rng.random(n_events) < 1 / (1 + np.exp(2 - hot[codes]))).astype(int)
    score = np.round(rng.normal(size=n_events) + y_true + 0.5 * hot[codes], 1)
    return y_true, score, clusters(codes, rng.integers(0, 90, n_events))


@pytest.mark.parametrize(("name", "metric"), [("roc_auc", roc_auc), ("average_precision", average_precision)])
def test_ranking_bootstrap_is_that_of_copied_clusters(name: str, metric: object) -> None:
    y_true, score, groups = ranked()
    found = ranking_estimate(name, y_true, score, np.ones(len(score)), groups, settings=SETTINGS)
    assert found.value == pytest.approx(metric(y_true, score))  # type: ignore[operator]
    assert found.low is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    rng = np.random.default_rng(3)
    copies = []
    for _ in range(100):
        drawn = np.bincount(rng.integers(0, 150, 150), minlength=150)
        rows = np.repeat(np.arange(len(score)), drawn[groups.codes[0]])
        copies.append(metric(y_true[rows], score[rows]))  # type: ignore[operator]
    assert found.se == pytest.approx(np.std(copies), rel=0.35)


def test_weights_scale_nothing_but_their_own_rows() -> None:
    y_true, score, groups = ranked()
    double = ranking_estimate("roc_auc", y_true, score, np.full(len(score), 2.0), groups, settings=SETTINGS)
    single = ranking_estimate("roc_auc", y_true, score, np.ones(len(score)), groups, settings=SETTINGS)
    assert (double.low, double.high) == pytest.approx((single.low, single.high))


def test_paired_difference_is_narrower_than_two_intervals_and_nothing_for_twins() -> None:
    y_true, score, groups = ranked()
    ones = np.ones(len(score))
    near = score + 0.05 * np.random.default_rng(0).normal(size=len(score))
    args = {"settings": SETTINGS}
    paired = ranking_difference("roc_auc", y_true, near, score, ones, groups, **args)  # type: ignore[arg-type]
    alone = ranking_estimate("roc_auc", y_true, score, ones, groups, **args)  # type: ignore[arg-type]
    assert paired.se < 0.3 * alone.se  # type: ignore[operator]
    twins = ranking_difference("roc_auc", y_true, score, score, ones, groups, **args)  # type: ignore[arg-type]
    assert (twins.value, twins.low, twins.high) == (0.0, 0.0, 0.0)


def test_paired_difference_of_ratios() -> None:
    y_true = np.ones(60)
    ours, theirs = (ratios.recall(y_true, np.arange(60) < n) for n in (40, 30))
    found = difference_estimate(ours, theirs, clusters(np.arange(60)), confidence=0.9)
    # 10 of 60 differ: D = 1/6, V = sum (d - D)^2 / 60^2 = (10 × (5/6)^2 + 50 × (1/6)^2) / 3600, plus 1/60^2
    variance = (10 * (5 / 6) ** 2 + 50 * (1 / 6) ** 2) / 3600 + 1 / 3600
    assert found.value == pytest.approx(1 / 6)
    assert found.se == pytest.approx(math.sqrt(variance))
    undefined = difference_estimate(
        ours, ratios.recall(np.zeros(60), y_true > 0), clusters(np.arange(60)), confidence=0.9
    )
    assert undefined.reason == "no frauds"


def test_undefined_replicates_leave_no_interval() -> None:
    draws = np.array([np.nan] * 10 + [0.5] * 90)
    assert "undefined in more than 5 %" in (percentile_estimate(0.5, draws, confidence=0.9).reason or "")


def test_widest_way_picks_the_coarsest_dependence() -> None:
    psi = np.ones(40)
    way = widest_way(psi, clusters(np.arange(40), np.arange(40) % 4))
    assert way.n_clusters == 4
    assert widest_way(psi, Clusters((), (), (), 40)).n_clusters == 40


def test_calibration_interval() -> None:
    rng = np.random.default_rng(0)
    y_prob = rng.random(2000)
    y_true = (rng.random(2000) < y_prob).astype(int)
    groups = clusters(rng.integers(0, 300, 2000))
    honest = calibration_estimate(y_true, y_prob, np.ones(2000), groups, settings=SETTINGS)
    boastful = calibration_estimate(y_true, np.sqrt(y_prob), np.ones(2000), groups, settings=SETTINGS)
    assert honest.high < boastful.low  # type: ignore[operator]
    assert calibration_estimate(y_true[:0], y_prob[:0], y_prob[:0], groups, settings=SETTINGS).reason == "no events"


def few_levels(seed: int) -> tuple[np.ndarray, ...]:
    """Scores with three levels: 30 days, 400 cards, some of them fraudulent."""
    rng = np.random.default_rng(seed)
    day, card = np.repeat(np.arange(30), 120), rng.integers(0, 400, 3600)
    y_true = ((card < 60) & (rng.random(3600) < 0.3)).astype(np.int8)
    return y_true, rng.integers(0, 3, 3600) / 4.0, day, card


@pytest.mark.parametrize("seed", range(3))
def test_intervals_do_not_depend_on_names_codes_or_rows(seed: int) -> None:
    y_true, score, day, card = few_levels(seed)
    rng = np.random.default_rng(seed)
    names, order = rng.permutation(400), rng.permutation(len(card))
    found = []
    for rows, codes in ((np.arange(len(card)), card), (order, names[card])):
        y, s, groups = y_true[rows], score[rows], clusters(codes[rows])
        boards = day_boards(y, s, day=day[rows], entity=codes[rows])
        found.append(
            [
                topk_estimate(precision_at_k(boards, 20).value, boards, 20, settings=SETTINGS),
                *(ranking_estimate(name, y, s, np.ones(len(y)), groups, settings=SETTINGS) for name in RANKING),
                ranking_difference("roc_auc", y, s, s**2 * (1 - y), np.ones(len(y)), groups, settings=SETTINGS),
                calibration_estimate(y, s, np.ones(len(y)), groups, settings=SETTINGS),
            ]
        )
    for one, other in zip(*found, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_interval_of_a_tied_board_is_that_of_honest_redraws() -> None:
    # four boards, each one tie of all cards: every redraw finds, of each board, the share of its cards that fits
    rng = np.random.default_rng(1)
    n_cards, k = 600, 50
    bad = rng.random((4, n_cards)) < 0.05
    day, card = (item.ravel() for item in np.meshgrid(np.arange(4), np.arange(n_cards), indexing="ij"))
    boards = day_boards(bad.ravel().astype(int), np.full(len(day), 0.02), day=day, entity=card)
    value = precision_at_k(boards, k).value
    found = topk_estimate(value, boards, k, settings=RankingIntervals(800, 3, 0.90))
    draws = []
    for number in range(800):
        weight = np.bincount(np.random.default_rng([9, number]).integers(0, n_cards, n_cards), minlength=n_cards)
        left, shares = weight.astype(float), []
        for there in bad:
            caught = left * there * min(1.0, k / left.sum())
            shares.append(caught.sum() / k)
            left = left - caught
        draws.append(np.mean(shares))
    low, high = np.quantile(draws, [0.05, 0.95])
    assert found.low is not None
    assert found.high is not None
    assert abs(found.low - low) < 0.1 * (high - low)
    assert abs(found.high - high) < 0.1 * (high - low)


def test_few_entities_on_the_boards_leave_no_interval() -> None:
    # codes up to 500, but 5 entities: it is entities that count, not numbers
    boards = day_boards(np.ones(5), np.ones(5), day=np.zeros(5, dtype=int), entity=np.arange(5) * 100)
    assert "only 5 entities" in (topk_estimate(0.05, boards, 100, settings=SETTINGS).reason or "")


@given(st.lists(st.sampled_from([None, "a", "b", "c", "z"])), st.integers(0, 4))
def test_codes_of_categories_are_those_of_their_texts(texts: list[str | None], skipped: int) -> None:
    texts = texts[:skipped] + texts
    known = pl.Series(texts, dtype=pl.String)
    found = codes_by_appearance(known.cast(pl.Categorical)[skipped:])
    assert found.tolist() == codes_by_appearance(known[skipped:]).tolist()


def test_codes_follow_the_order_of_appearance() -> None:
    one = codes_by_appearance(pl.Series([7, 3, None, 7, 5]))
    assert one.tolist() == codes_by_appearance(pl.Series(["a", "z", None, "a", "m"])).tolist() == [0, 1, -1, 0, 2]
    frames = [pl.DataFrame({"card": values}) for values in ([7, 3, None, 7, None], ["a", "z", None, "a", None])]
    assert [Clusters.of(frame, ["card"]).codes[0].tolist() for frame in frames] == [[0, 1, 2, 0, 3]] * 2


def test_no_entities_in_a_top_list() -> None:
    assert topk_estimate(0.0, (), 100, settings=SETTINGS).reason == "no events with this entity"


def test_quantile() -> None:
    assert normal_quantile(0.90) == pytest.approx(1.6448536)


@pytest.mark.parametrize("seed", range(4))
def test_an_entity_that_one_id_dominates_draws_no_interval_and_costs_none_of_its_width(seed):
    rng = np.random.default_rng(seed)
    n = 400
    frame = pl.DataFrame({
        "card": rng.integers(0, 120, n), "device": np.where(rng.random(n) < 0.6, 0, rng.integers(1, 90, n)),
        "channel": rng.integers(0, 4, n),
    })  # fmt: skip
    found = Clusters.carried(frame, ["device", "card", "channel"])
    assert (found.names, found.left) == (("card",), ("device", "channel"))
    assert found.coarse == ()
    assert found.take(np.arange(n) < 100).left == found.left
    alone = Clusters.of(frame, ["card"])
    assert found.sizes == alone.sizes
    assert np.array_equal(found.codes[0], alone.codes[0])
    none_can = Clusters.carried(frame, ["device", "channel"])  # nothing better: they stay, and say that they are few
    assert (none_can.names, none_can.left) == (("device", "channel"), ())


def test_an_entity_with_few_ids_widens_an_interval_where_its_events_differ_and_carries_none() -> None:
    n = 3000
    card, country = np.arange(n) % 600, np.arange(n) % 600 % 10
    found = Clusters.carried(pl.DataFrame({"card": card, "country": country}), ["country", "card"])
    assert (found.names, found.left, [way.name for way in found.coarse]) == (("card",), (), ["country"])
    alone = clusters(card)
    caught = np.random.default_rng(0).random(n) < 0.5
    for alert, wider in ((caught, False), (country < 5, True)):
        ratio = ratios.recall(np.ones(n, dtype=int), alert)
        ours, by_card = (ratio_estimate(ratio, ways, confidence=0.9) for ways in (found, alone))
        assert ours.known
        assert (ours.se > 3 * by_card.se) == wider
    # ten sums of 150 or -150 halves, times G / (G - 1) and the square of t (9 degrees of freedom, 1.8331) over 1.6449
    few = 10 * (300 * 0.5 / n) ** 2 * (10 / 9) * (1.8331 / 1.6449) ** 2
    assert ours.se == pytest.approx(math.sqrt(few + (1 / n) ** 2), rel=1e-4)
    half = found.take(np.arange(n) < n // 2)
    assert len(half.coarse[0].codes) == n // 2


def test_bootstrap_intervals_are_widened_for_few_ids_too() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    card = np.arange(n) % 800
    country = card % 8
    y_true = (rng.random(n) < np.where(country < 4, 0.30, 0.05)).astype(int)
    score = np.where(country < 4, y_true * 0.6, 0.0) + rng.random(n) * 0.5
    frame = pl.DataFrame({"card": card, "country": country})
    settings = RankingIntervals(replicates=60, seed=0, confidence=0.9, threads=1)
    widths = []
    for ways in (Clusters.carried(frame, ["card", "country"]), Clusters.of(frame, ["card"])):
        found = ranking_estimate("average_precision", y_true, score, np.ones(n), ways, settings=settings)
        widths.append(found.high - found.low)
    assert widths[0] > 1.5 * widths[1]


@given(st.lists(st.none() | st.sampled_from(["", "a", "b", "c"]), max_size=40))
def test_codes_count_entities_as_they_come(values: list[str | None]) -> None:
    seen: dict[str, int] = {}
    expected = [-1 if value is None else seen.setdefault(value, len(seen)) for value in values]
    column = pl.Series("x", values, dtype=pl.String)
    assert codes_by_appearance(column).tolist() == expected
    frame = pl.DataFrame([column])
    known = {"x": codes_by_appearance(column)}
    found, again = Clusters.of(frame, ["x"]), Clusters.of(frame, ["x"], known=known)
    nulls = iter(range(len(seen), len(values) + 1))
    assert found.codes[0].tolist() == [next(nulls) if code < 0 else code for code in expected]
    assert again.codes[0].tolist() == found.codes[0].tolist()
    assert (again.sizes, again.n_events) == (found.sizes, found.n_events)
