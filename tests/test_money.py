"""Limits of money and weights: refused where they enter, and finite metrics for everything within them."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.costs import CostCell, CostMatrix, taken_cost
from fraudctl.data.typed import to_amount
from fraudctl.errors import DataError, ProjectError
from fraudctl.metrics import ratios
from fraudctl.money import LARGEST, LARGEST_RATE, LARGEST_WEIGHT
from fraudctl.project import parse_project
from fraudctl.uncertainty import Clusters, difference_estimate, ratio_estimate
from fraudctl.weights import event_weights

DATA = """
[data]
events = "e.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "fraud"
label_delay = "2d"
"""


@pytest.mark.parametrize("value", [1.0001e15, -1e16, 1e300, -1e300])
def test_amounts_and_cost_columns_beyond_the_limit_are_refused_with_their_number(value):
    values = pl.Series("eur", [1.0, value, None, value, math.inf])
    with pytest.raises(DataError, match=r"column 'eur' \(amount\): 2 of 5 values are larger than") as refused:
        to_amount(values)
    assert refused.value.hint is not None
    assert str(value) not in str(refused.value)
    matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(column="eur")), (CostCell(1.0), CostCell())))
    with pytest.raises(DataError, match="the cost column 'eur': 2 of 3"):
        matrix.per_event(pl.DataFrame({"eur": [1.0, value, value]}))


def test_amounts_at_the_limit_and_infinities_are_read_as_before():
    assert to_amount(pl.Series("eur", [LARGEST, -LARGEST, math.nan, math.inf])).to_list() == [1e15, -1e15, None, None]


@pytest.mark.parametrize(
    ("cell", "bound"),
    [("fixed = 1e16", "1,000,000,000,000,000"), ("fixed = -1e300", "-1,000,000,000,000,000"),
     ("rate = 1e7", "1,000,000"), ("at_least = 1e300", "1,000,000,000,000,000")],
)  # fmt: skip
def test_costs_of_the_project_file_beyond_the_limit_are_refused_with_their_place(cell, bound):
    with pytest.raises(ProjectError, match=rf"costs\.actions\.block\.legit\..*expected at (most|least) {bound}"):
        parse_project(DATA + f"[costs.actions]\nallow = {{}}\nblock.legit = {{ {cell} }}\n", path=Path("fraudctl.toml"))


@pytest.mark.parametrize("value", [1e16, 1e300, 1e-16, 5e-324])
def test_weights_beyond_the_limit_are_refused(value):
    project = parse_project(DATA.replace("label_delay", 'weight = "w"\nlabel_delay'), path=Path("fraudctl.toml"))
    with pytest.raises(DataError, match=r"weight column 'w' is null or not a positive number .* in 1 of 2"):
        event_weights(pl.DataFrame({"w": [1.0, value]}), project)


ODD = [0.0, 5e-324, -5e-324, 1e-300, 0.01, -0.01, 12.5, LARGEST, -LARGEST, LARGEST - 0.125]
money = st.one_of(st.sampled_from(ODD), st.floats(-LARGEST, LARGEST), st.floats(-100, 100))
rates = st.one_of(st.sampled_from([0.0, 1.0, -1.0, LARGEST_RATE, 1e-300]), st.floats(-LARGEST_RATE, LARGEST_RATE))
weights = st.one_of(st.just(1.0), st.floats(1 / LARGEST_WEIGHT, LARGEST_WEIGHT))
cells = st.builds(CostCell, fixed=money, rate=rates, at_least=st.none() | money)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), three=st.booleans(), weighted=st.booleans())
def test_every_ratio_of_legal_money_is_finite_or_says_why_it_has_none(data, three, weighted):
    n = 24
    matrix = CostMatrix(
        ("allow", "review", "block") if three else ("allow", "block"),
        tuple((data.draw(cells), data.draw(cells)) for _ in range(3 if three else 2)),
    )
    amount = np.array(data.draw(st.lists(money, min_size=n, max_size=n)))
    weight = np.array(data.draw(st.lists(weights, min_size=n, max_size=n))) if weighted else np.ones(n)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    y_true, actions = rng.integers(0, 2, n), rng.integers(0, len(matrix.actions), (2, n))
    clusters = Clusters.of(pl.DataFrame({"card": range(n), "shop": rng.integers(0, 22, n)}), ["card", "shop"])
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        table = matrix.per_event(pl.DataFrame({"amount": amount}))
        saved, theirs = (
            ratios.savings_ratio(y_true, taken_cost(table, codes, y_true), table, matrix, weight=weight)
            for codes in actions
        )
        spent = ratios.cost(y_true, taken_cost(table, actions[0], y_true), weight=weight)
        caught = ratios.value_recall(y_true, actions[0] > 0, amount, weight=weight)
        found = [ratio_estimate(ratio, clusters, confidence=0.9) for ratio in (saved, spent, caught)]
        found.append(difference_estimate(saved, theirs, clusters, confidence=0.9))
    for estimate in found:
        assert estimate.known or estimate.reason is not None
        assert estimate.value is None or math.isfinite(estimate.value)
