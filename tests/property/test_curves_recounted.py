"""Every point of the curves of an evaluation is recounted event by event, with weights and with tied scores."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from decisions_world import evaluated, make_events, make_project, score
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.costs import cost_matrix


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_of_both_curves_are_what_their_threshold_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_events = int(rng.integers(50, 200))
    events = make_events(n_events, max(2, n_events // 10), seed=seed)
    digits = int(rng.integers(1, 4))
    events = events.with_columns(
        y_prob=pl.col("y_prob").round(digits), w=pl.Series(rng.choice([0.5, 1.0, 7.0], n_events))
    )
    plan = make_project()
    if rng.random() < 0.7:
        plan = plan.model_copy(update={"data": plan.data.model_copy(update={"weight": "w"})})
    scored = score(events, plan)
    tables = evaluated(scored, plan).tables
    weight = events["w"].to_list() if plan.data.weight else [1.0] * n_events
    cells = cost_matrix(plan.costs).cells
    rows = list(zip(scored.iter_rows(named=True), weight, strict=True))
    for point in tables.cost_curve:
        lost = alerts = 0.0
        for row, w in rows:
            alert = row["y_prob"] >= point.threshold
            cell = cells[2 if alert else 0][row["label"]]
            lost += w * (cell.fixed + cell.rate * row["amount"])
            alerts += w * alert
        assert point.cost == pytest.approx(lost)
        assert point.alert_rate == pytest.approx(alerts / sum(weight))
    for point in tables.pr_curve:
        flagged = [(row["label"], w) for row, w in rows if row["y_prob"] >= point.threshold]
        caught = sum(w for label, w in flagged if label)
        assert point.precision == pytest.approx(caught / sum(w for _, w in flagged))
        assert point.recall == pytest.approx(caught / sum(w for row, w in rows if row["label"]))
