from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fraudctl.errors import ProjectError
from fraudctl.policy.limits import AlertOutcomes, Constraint, alerted, cut_curve, feasible_cuts
from fraudctl.uncertainty import Clusters, CoarseWay, ratio_estimate

N = 300


def world(n_entities: int = 2, *, always: int = 0, coarse: bool = False) -> tuple[np.ndarray, AlertOutcomes]:
    rng = np.random.default_rng(3)
    y_true = (rng.random(N) < 0.3).astype(np.int8)
    scores = np.round(rng.random(N) * 0.6 + 0.4 * y_true, 2)
    codes = tuple(rng.integers(0, 60, N) for _ in range(n_entities))
    forced = np.zeros(N, dtype=bool)
    forced[rng.choice(N, always, replace=False)] = True
    few = (CoarseWay("country", np.floor(scores * 8).astype(np.int64), 1.5),) if coarse else ()
    clusters = Clusters(tuple("abc"[:n_entities]), codes, (60,) * n_entities, N, few)
    return scores, AlertOutcomes(y_true, rng.integers(1, 3, N).astype(float), rng.gamma(2, 20, N), clusters, forced)


@pytest.mark.parametrize("metric", ["precision", "recall", "false_positive_rate", "alert_rate", "value_recall"])
@pytest.mark.parametrize("n_entities", [0, 1, 2, 3])
@pytest.mark.parametrize("always", [0, 7])
@pytest.mark.parametrize("coarse", [False, True])
def test_every_cut_has_the_interval_that_the_evaluation_would_give(
    metric: str, n_entities: int, always: int, coarse: bool
) -> None:
    scores, outcomes = world(n_entities, always=always, coarse=coarse)
    curve = cut_curve(metric, scores, outcomes, confidence=0.9)
    cuts = np.unique(scores[~outcomes.always])[::-1]
    assert len(curve.value) == len(cuts) + 1
    for place in (1, 20, len(cuts)):
        alert = (scores >= cuts[place - 1]) | outcomes.always
        found = ratio_estimate(alerted(metric, alert, outcomes), outcomes.clusters, confidence=0.9, bounds=(0.0, 1.0))
        assert curve.value[place] == pytest.approx(found.value)
        ends = (np.nan, np.nan) if found.low is None else (found.low, found.high)
        assert (curve.low[place], curve.high[place]) == pytest.approx(ends, nan_ok=True)


def test_fewer_than_twenty_clusters_keep_no_constraint() -> None:
    scores, outcomes = world()
    few = replace(outcomes, clusters=Clusters(("card",), (np.arange(N) % 19,), (19,), N))
    with pytest.raises(ProjectError, match="no known interval at any threshold: fewer than 20 clusters"):
        feasible_cuts((Constraint("alert_rate", at_most=0.9),), scores, few, confidence=0.9)
    # precision is known from the cut on that alerts twenty of sixty clusters
    curve = cut_curve("precision", scores, outcomes, confidence=0.9)
    assert not np.isfinite(curve.low[:15]).any()
    assert np.isfinite(curve.low[-1])


def test_a_constraint_is_held_by_the_end_of_the_interval() -> None:
    scores, outcomes = world()
    curve = cut_curve("recall", scores, outcomes, confidence=0.9)
    kept = feasible_cuts((Constraint("recall", at_least=0.5),), scores, outcomes, confidence=0.9)
    assert (kept == (curve.low >= 0.5)).all()
    assert ((curve.value >= 0.5) & ~kept).any()


def test_infeasible_says_which_binds_and_what_would_be_feasible() -> None:
    scores, outcomes = world()
    with pytest.raises(
        ProjectError, match=r"precision at least 1: the low end reaches 0\.\d+ at most, at an alert_rate"
    ):
        feasible_cuts((Constraint("precision", at_least=1.0),), scores, outcomes, confidence=0.9)
    both = (Constraint("recall", at_least=0.9), Constraint("alert_rate", at_most=0.1))
    with pytest.raises(ProjectError, match=r"recall at least 0\.9 needs an alert_rate from .* do not meet"):
        feasible_cuts(both, scores, outcomes, confidence=0.9)
