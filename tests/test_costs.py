from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from decisions_world import make_project, two_actions
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.calibrate import log_odds, sigmoid, undo_sampling
from fraudctl.costs import (
    CostCell,
    CostMatrix,
    baseline,
    cost_matrix,
    expected_cost,
    minimum_risk,
    null_amounts,
    perfect_cost,
    taken_cost,
)
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, ProjectError
from fraudctl.metrics import savings, savings_ratio

MONEY = st.floats(-100, 100, allow_nan=False)


def frame(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(columns)


def test_cells_are_fixed_plus_rate_times_amount_plus_column() -> None:
    matrix = CostMatrix(
        ("allow", "block"), ((CostCell(), CostCell(15.0, 1.0, "fee")), (CostCell(8.0, 0.15), CostCell()))
    )
    table = matrix.per_event(frame(amount=[100.0, 20.0], fee=[1.0, 2.0]))
    # allow on fraud: 15 + 100 + 1 and 15 + 20 + 2; block on legit: 8 + 15 and 8 + 3
    assert table[:, 0, 1].tolist() == [116.0, 37.0]
    assert table[:, 1, 0].tolist() == [23.0, 11.0]
    assert table[:, 0, 0].tolist() == table[:, 1, 1].tolist() == [0.0, 0.0]


def test_a_cell_never_falls_below_its_floor() -> None:
    block = CostCell(8.0, 0.15, at_least=0.0)
    matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(15.0, 1.0)), (block, CostCell())))
    table = matrix.per_event(frame(amount=[100.0, -100.0]))
    # block on legit: 8 + 15, and 8 - 15 = -7, which the floor lifts to 0; allow on fraud has no floor: 15 - 100
    assert table[:, 1, 0].tolist() == [23.0, 0.0]
    assert table[:, 0, 1].tolist() == [115.0, -85.0]
    assert CostMatrix.from_dict(as_object(matrix)) == matrix


def test_allow_comes_first_whatever_the_file_says() -> None:
    section = make_project().costs
    turned = section.model_copy(update={"actions": dict(reversed(section.actions.items()))})
    assert cost_matrix(section).actions == ("allow", "review", "block")
    assert cost_matrix(turned).actions == ("allow", "block", "review")
    assert cost_matrix(turned).pass_code == 0


def test_a_null_amount_counts_as_nothing_in_the_rate_and_is_counted() -> None:
    matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(15.0, 1.0)), (CostCell(8.0), CostCell())))
    events = frame(amount=[None, 10.0])
    assert matrix.per_event(events)[:, 0, 1].tolist() == [15.0, 25.0]
    assert null_amounts(events, matrix) == 1


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (pl.DataFrame({"x": [1.0]}), "declares no amount"),
        (pl.DataFrame({"amount": [None, None]}, schema={"amount": pl.Float64}), "null in all 2 events"),
        (pl.DataFrame({"amount": [float("inf")]}), "not finite in 1 of 1"),
    ],
)
def test_amounts_that_cannot_be_used(events: pl.DataFrame, words: str) -> None:
    matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(rate=1.0)), (CostCell(8.0), CostCell())))
    with pytest.raises(DataError, match=words):
        matrix.per_event(events)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (pl.DataFrame({"x": [1.0]}), "no column 'fn_cost'"),
        (pl.DataFrame({"fn_cost": ["a"]}), "expected numbers"),
        (pl.DataFrame({"fn_cost": [None, 1.0]}), "null or not finite in 1 of 2"),
    ],
)
def test_cost_columns_that_cannot_be_used(events: pl.DataFrame, words: str) -> None:
    matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(column="fn_cost")), (CostCell(8.0), CostCell())))
    with pytest.raises(DataError, match=words):
        matrix.per_event(events)


def test_unknown_action() -> None:
    with pytest.raises(ProjectError, match="no action 'ban'"):
        two_actions(0, 1, 1).code("ban")


def test_matrix_survives_json() -> None:
    matrix = cost_matrix(make_project().costs)
    assert CostMatrix.from_dict(as_object(matrix)) == matrix


def test_elkan_threshold_by_hand() -> None:
    # Elkan (2001): block where p >= (fp - tn) / (fp - tn + fn - tp) = 2 / (2 + 8) = 0.2
    table = np.tile([[0.0, 8.0], [2.0, 0.0]], (3, 1, 1))
    assert minimum_risk(table, np.array([0.19, 0.2000001, 0.5])).tolist() == [0, 1, 1]
    assert expected_cost(table, np.array([0.5, 0.5, 0.5]))[0].tolist() == [4.0, 1.0]


def test_catching_dearer_than_missing_is_not_flipped() -> None:
    # tp 5, fp 0.5, fn 1: at p = 1 allowing costs 1.0 and blocking 5.0; a ratio of differences has the threshold
    # 0.5 / (0.5 + 1 - 5) < 0 and blocks everything
    table = two_actions(5.0, 0.5, 1.0).per_event(frame(x=[0, 0]))
    codes = minimum_risk(table, np.array([0.0, 1.0]))
    assert codes.tolist() == [0, 0]
    assert taken_cost(table, codes, np.array([0, 1])).tolist() == [0.0, 1.0]


def test_bahnsen_savings_by_hand() -> None:
    # frauds of 100 and 50, administration 10: allow all 150; block all 4 × 10 = 40. The model blocks the first fraud
    # and one legitimate event: 10 + 10 + 50 = 70, so savings are 1 - 70 / 40
    table = np.array(
        [[[0.0, 100.0], [10, 10]], [[0.0, 50.0], [10, 10]], [[0.0, 5.0], [10, 10]], [[0.0, 5.0], [10, 10]]]
    )
    y_true, codes = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
    matrix = two_actions(10, 10, 50)
    ratio = savings_ratio(y_true, taken_cost(table, codes, y_true), table, matrix)
    assert ratio.value == pytest.approx(1 - 70 / 40)


def test_base_of_nothing_is_undefined() -> None:
    table = np.zeros((3, 2, 2))
    ratio = savings_ratio(np.array([1, 0, 0]), np.zeros(3), table, two_actions(0, 0, 0))
    assert ratio.reason is not None
    assert "nothing to save" in ratio.reason
    assert np.isnan(ratio.value)


def test_prior_correction_of_dal_pozzolo_by_hand() -> None:
    # Dal Pozzolo et al. (2015): p = beta p_s / (beta p_s - p_s + 1). With beta = 0.1 and p_s = 0.5: 0.05 / 0.55
    corrected = sigmoid(undo_sampling(log_odds(np.array([0.5])), kept=0.1))
    assert corrected[0] == pytest.approx(0.05 / 0.55)


def twelve_events() -> tuple[np.ndarray, np.ndarray, np.ndarray, CostMatrix]:
    """Twelve events with costs of their own: catching costs 2, a false positive 3 to 8, a miss 10 to 90."""
    y_true = np.array([0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0])
    y_prob = np.array([0.1, 0.4, 0.8, 0.05, 0.35, 0.6, 0.2, 0.9, 0.15, 0.3, 0.5, 0.02])
    fp = [5.0, 7, 3, 6, 5, 8, 4, 5, 6, 7, 5, 6]
    fn = [50.0, 20, 80, 30, 60, 10, 25, 90, 15, 40, 70, 35]
    matrix = CostMatrix(
        ("allow", "block"), ((CostCell(), CostCell(column="fn")), (CostCell(column="fp"), CostCell(2.0)))
    )
    return y_true, y_prob, matrix.per_event(pl.DataFrame({"fn": fn, "fp": fp})), matrix


def test_agrees_with_empulse_where_costs_are_ordinary() -> None:
    # What empulse 0.13.1 gives: cost_loss 30.0 and savings_score 9/19 of blocking from 0.3 up, and the decisions of its
    # CSThresholdClassifier. By hand: 4 frauds caught at 2, false positives of 7, 8 and 7; blocking all costs 4 × 2 + 49
    y_true, y_prob, table, matrix = twelve_events()
    hard = (y_prob >= 0.3).astype(int)
    ours = savings_ratio(y_true, taken_cost(table, hard, y_true), table, matrix)
    assert taken_cost(table, hard, y_true).sum() == 4 * 2 + 7 + 8 + 7 == 30.0
    assert ours.value == pytest.approx(0.4736842105263158)
    assert ours.value == pytest.approx(1 - 30 / 57)
    assert minimum_risk(table, y_prob).tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0]


def test_differs_from_empulse_where_a_ratio_of_differences_flips_its_sign() -> None:
    # empulse 0.13.1 warns, clips its threshold and blocks at 0.01, 0.5 and 0.99 alike. A fraud then costs 5 and a
    # legitimate event 0.5; allowing both costs 1.0
    table = two_actions(5.0, 0.5, 1.0).per_event(frame(x=[0, 0]))
    y_true, theirs = np.array([1, 0]), np.array([1, 1])
    ours = minimum_risk(table, np.array([0.99, 0.01]))
    assert taken_cost(table, ours, y_true).sum() == 1.0
    assert taken_cost(table, theirs, y_true).sum() == 5.5


@settings(deadline=None)
@given(
    st.lists(st.tuples(MONEY, MONEY, MONEY, MONEY), min_size=1, max_size=20),
    st.lists(st.floats(0, 1), min_size=20, max_size=20),
)
def test_minimum_risk_has_the_lowest_expected_cost_for_any_sign(
    cells: list[tuple[float, ...]], probs: list[float]
) -> None:
    table = np.array(cells).reshape(-1, 2, 2)
    p = np.array(probs[: len(table)])
    risk = expected_cost(table, p)
    chosen = risk[np.arange(len(table)), minimum_risk(table, p)]
    assert (chosen <= risk.min(axis=1)).all()


@settings(deadline=None)
@given(st.lists(st.tuples(MONEY, MONEY, MONEY, MONEY, st.booleans()), min_size=1, max_size=30))
def test_perfect_costs_least_and_the_base_is_the_cheaper_of_two_constants(
    rows: list[tuple[float, float, float, float, bool]],
) -> None:
    table = np.array([row[:4] for row in rows]).reshape(-1, 2, 2)
    y_true = np.array([int(row[4]) for row in rows])
    matrix = two_actions(0, 0, 0)
    base = baseline(table, y_true, matrix)
    totals = [taken_cost(table, np.full(len(table), code), y_true).sum() for code in (0, 1)]
    assert base.cost == min(totals)
    assert perfect_cost(table, y_true).sum() <= base.cost + 1e-9


def test_savings_function_decides_by_minimum_risk() -> None:
    table = np.tile([[0.0, 10.0], [1.0, 0.0]], (4, 1, 1))
    # p = 0.2 > 1/11 is blocked: costs 1; block all costs 3
    value = savings(np.array([1, 0, 0, 0]), np.array([0.9, 0.2, 0.0, 0.0]), table, two_actions(0, 1, 10))
    assert value == pytest.approx(1 - 1 / 3)
