from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from training_data import project, table

from fraudctl.calibrate import log_odds
from fraudctl.documents.results import as_object
from fraudctl.train.objective import (
    N_GROUPS,
    FoldRows,
    entity_groups,
    judge_rows,
    make_objective,
    paired_gain,
)
from fraudctl.train.summary import savings_base_of

COSTS = """
[costs.actions]
allow.fraud = { fixed = 10, rate = 1.0 }
block.legit = { fixed = 5 }
"""


def judged(n: int = 3000, *, seed: int = 0) -> tuple[FoldRows, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(-3, 1.5, n)
    y_true = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(np.int8)
    return FoldRows(y_true, np.ones(n), rng.integers(0, N_GROUPS, n), None), score


def test_average_precision_is_that_of_scikit_learn() -> None:
    rows, score = judged()
    value = make_objective(project()).value(rows, score)
    assert value == pytest.approx(average_precision_score(rows.y_true, score))


def test_recall_at_a_false_positive_rate_by_hand() -> None:
    # Of four legitimate events one may be alerted at 0.25: the threshold falls to 0.6, and two of three frauds are met.
    rows = FoldRows(np.array([1, 0, 1, 0, 1, 0, 0], dtype=np.int8), np.ones(7), np.zeros(7, dtype=np.int64), None)
    score = np.array([0.9, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2])
    objective = make_objective(project(train='metric = "recall_at_fpr(0.25)"\n'))
    assert objective.value(rows, score) == pytest.approx(2 / 3)


def test_savings_by_hand() -> None:
    # Amounts 90, 20, 40; the middle one is legitimate. Allowing all costs 100 + 50 = 150, blocking all 5.
    # At probability 0.5 blocking (2.5 expected) beats allowing (half of 100, 30, 50): every event is blocked, cost 5.
    # At 0.01 allowing costs 1, 0.3, 0.5 expected and blocking 4.95: all are allowed, cost 150 against 5.
    frame = pl.DataFrame({"label": [1, 0, 1], "amount": [90.0, 20.0, 40.0]})
    objective = make_objective(project(train='metric = "savings"\n', rest=COSTS))
    rows = judge_rows(frame, objective=objective, weight=np.ones(3), group=np.zeros(3, dtype=np.int64))
    assert objective.value(rows, log_odds(np.full(3, 0.5))) == pytest.approx(0.0)
    assert objective.value(rows, log_odds(np.full(3, 0.01))) == pytest.approx(1 - 150 / 5)
    # Told which is which, the frauds are blocked and the rest is allowed: nothing is lost.
    assert objective.value(rows, log_odds(np.array([0.9, 0.01, 0.9]))) == pytest.approx(1.0)


def test_savings_are_measured_against_every_constant_action() -> None:
    # a review costs 1 whatever comes: reviewing all three costs 3, and blocking all still 5
    frame = pl.DataFrame({"label": [1, 0, 1], "amount": [90.0, 20.0, 40.0]})
    costs = COSTS.replace("block.legit", "review.legit = { fixed = 1 }\nreview.fraud = { fixed = 1 }\nblock.legit")
    objective = make_objective(project(train='metric = "savings"\n', rest=costs))
    rows = judge_rows(frame, objective=objective, weight=np.ones(3), group=np.zeros(3, dtype=np.int64))
    assert objective.value(rows, log_odds(np.full(3, 0.5))) == pytest.approx(0.0)  # reviews all
    assert objective.value(rows, log_odds(np.array([0.9, 0.01, 0.9]))) == pytest.approx(1.0)  # blocks the frauds
    assert objective.base_rule == "cheapest constant action"


def test_savings_of_a_summary_without_a_base_are_those_of_before() -> None:
    assert savings_base_of({"folds": [{"savings": 0.4}]}) == "better of allowing all and blocking all"
    assert savings_base_of({"folds": [{"average_precision": 0.4}]}) is None
    assert savings_base_of({"folds": [{"savings": 0.4}], "savings_base": "x"}) == "x"


def test_without_fraud_there_is_no_figure() -> None:
    rows = FoldRows(np.zeros(5, dtype=np.int8), np.ones(5), np.zeros(5, dtype=np.int64), None)
    assert not rows.has_both_classes
    assert np.isnan(make_objective(project()).value(rows, np.arange(5.0)))
    assert paired_gain(make_objective(project()), [rows], [np.arange(5.0)], [np.arange(5.0)]) is None


def test_the_same_scores_gain_nothing_for_sure() -> None:
    rows, score = judged()
    gain = paired_gain(make_objective(project()), [rows], [score], [score])
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_a_good_score_surely_beats_noise_and_the_signs_turn_with_the_order() -> None:
    rows, score = judged()
    noise = np.random.default_rng(9).normal(size=len(score))
    objective = make_objective(project())
    gain, loss = (paired_gain(objective, [rows], [a], [b]) for a, b in ((score, noise), (noise, score)))
    assert gain is not None
    assert loss is not None
    assert 0 < gain.low < gain.value < gain.high
    assert (loss.value, loss.low, loss.high) == pytest.approx((-gain.value, -gain.high, -gain.low))
    assert gain.words().startswith("+0.")
    assert set(as_object(gain.rounded())) == {"value", "low", "high"}


def test_the_interval_is_the_jackknife_by_its_formula() -> None:
    rows, score = judged(800)
    other = score + np.random.default_rng(3).normal(size=800)
    gain = paired_gain(make_objective(project()), [rows], [score], [other])
    values = [
        average_precision_score(rows.y_true[keep], score[keep])
        - average_precision_score(rows.y_true[keep], other[keep])
        for keep in (rows.group != group for group in range(N_GROUPS))
    ]
    error = np.sqrt((N_GROUPS - 1) * np.var(values))
    assert gain is not None
    assert gain.high - gain.value == pytest.approx(1.6448536269514722 * error)


def test_the_interval_of_noise_holds_zero_about_nine_times_in_ten() -> None:
    held = 0
    for seed in range(60):
        rows, score = judged(1500, seed=seed)
        rng = np.random.default_rng([seed, 1])
        a, b = score + rng.normal(size=1500), score + rng.normal(size=1500)
        gain = paired_gain(make_objective(project()), [rows], [a], [b])
        assert gain is not None
        held += gain.low <= 0 <= gain.high
    assert held >= 45  # 54 expected at 90 %; fewer than 45 of 60 has a chance of about 0.001


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_an_entitys_events_share_a_group_and_nulls_stand_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cards = pl.Series("card", rng.integers(0, 30, 200)).replace({0: None})
    frame = pl.DataFrame({"card": cards})
    group = entity_groups(frame, cluster="card")
    assert ((group >= 0) & (group < N_GROUPS)).all()
    for card in cards.drop_nulls().unique():
        assert len(np.unique(group[(cards == card).fill_null(value=False).to_numpy()])) == 1
    assert len(np.unique(entity_groups(frame, cluster=None))) == N_GROUPS


def test_groups_are_the_same_for_the_same_entity_in_all_folds() -> None:
    frame = table(2000)
    whole = entity_groups(frame, cluster="card")
    by_card = frame.with_columns(group=whole).drop_nulls("card").group_by("card").agg(pl.col("group").n_unique())
    assert by_card["group"].max() == 1
