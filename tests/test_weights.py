from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from decisions_world import evaluated, make_events, make_project, score
from training_data import FEATURES, project, table

from fraudctl.calibrate import fit_calibrator
from fraudctl.errors import DataError
from fraudctl.policy import choose_policy
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.split import make_split
from fraudctl.train import TrainedModel, fit_project
from fraudctl.weights import EXPOSURE_FLOOR, WEIGHT, control_group, event_weights, fit_weights, weight_columns

SPLIT = 'as_of = 2026-02-20\ntest = "8d"\nfolds = 2'


def named(**columns: str) -> Project:
    plan = make_project()
    return plan.model_copy(update={"data": plan.data.model_copy(update=columns)})


def test_weights_by_hand() -> None:
    # 2 / 1, 1 / 0.5, 3 / 0.05 (0.01 counts as the floor), 1 / 0.05
    frame = pl.DataFrame({"w": [2.0, 1.0, 3.0, 1.0], "p": [1.0, 0.5, 0.01, 0.0]})
    assert EXPOSURE_FLOOR == 0.05
    both = event_weights(frame, named(weight="w", exposure_prob="p"))
    assert both is not None
    assert both.tolist() == pytest.approx([2.0, 2.0, 60.0, 20.0])
    assert event_weights(frame, named(exposure_prob="p")).tolist() == pytest.approx([1, 2, 20, 20])  # type: ignore[union-attr]
    assert event_weights(frame, make_project()) is None
    assert weight_columns(named(weight="w", exposure_prob="p", control_group="c")) == ["w", "p", "c"]


def test_fits_cut_weights_off_at_the_cap_and_nothing_else_does() -> None:
    # 2 / 1, 1 / 0.5 and 3 / 0.05, where at most 4 stand for one: 3 × 4; the weight of the data is no exposure
    frame = pl.DataFrame({"w": [2.0, 1.0, 3.0], "p": [1.0, 0.5, 0.05]})
    plan = named(weight="w", exposure_prob="p")
    plan = plan.model_copy(update={"train": plan.train.model_copy(update={"weight_cap": 4.0})})
    assert fit_weights(frame, plan).tolist() == pytest.approx([2.0, 2.0, 12.0])  # type: ignore[union-attr]
    assert event_weights(frame, plan).tolist() == pytest.approx([2.0, 2.0, 60.0])  # type: ignore[union-attr]
    uncut = named(weight="w", exposure_prob="p")
    assert fit_weights(frame, uncut).tolist() == pytest.approx([2.0, 2.0, 60.0])  # type: ignore[union-attr]
    assert fit_weights(frame, make_project()) is None


@pytest.mark.parametrize("bad", [None, -0.1, 1.1, float("nan"), float("inf")])
def test_a_probability_is_one(bad: float | None) -> None:
    frame = pl.DataFrame({"p": [0.5, bad]}, schema={"p": pl.Float64})
    with pytest.raises(DataError, match=r"'p' is null or not in \[0, 1\] in 1 of 2 events"):
        event_weights(frame, named(exposure_prob="p"))
    with pytest.raises(DataError, match="'p' is String; expected numbers"):
        event_weights(frame.cast(pl.String), named(exposure_prob="p"))
    with pytest.raises(DataError, match="'q' is missing"):
        event_weights(frame, named(exposure_prob="q"))


def test_a_control_group_is_true_or_one_and_null_is_outside() -> None:
    for values in ([True, False, None], [1, 0, None], [1.0, 0.0, None]):
        found = control_group(pl.DataFrame({"c": values}), named(control_group="c"))
        assert found is not None
        assert found.tolist() == [True, False, False]
    for wrong in (["yes"], [2]):
        with pytest.raises(DataError, match=r"'c' is .*expected true and false"):
            control_group(pl.DataFrame({"c": wrong}), named(control_group="c"))
    assert control_group(pl.DataFrame({"c": [1]}), make_project()) is None


def test_metrics_count_an_event_as_often_as_it_was_kept_from_being_seen() -> None:
    # Alerted frauds 3, of which one was let through every second time: 1 + 1 + 2 = 4. Missed frauds 1 at 0.25: 4.
    plan = named(exposure_prob="p")
    events = make_events(8, 4).with_columns(
        label=pl.Series([1, 1, 1, 1, 0, 0, 0, 0], dtype=pl.Int8),
        y_prob=pl.Series([0.99, 0.99, 0.99, 0.001, 0.001, 0.001, 0.001, 0.99]),
        p=pl.Series([1.0, 1.0, 0.5, 0.25, 1.0, 1.0, 0.5, 0.2]),
        amount=pl.lit(100.0),
    )
    found = evaluated(score(events, plan), plan)
    assert found.metrics["recall"].value == pytest.approx(4 / 8)
    assert found.metrics["precision"].value == pytest.approx(4 / (4 + 5))  # the false alert stands for 1 / 0.2
    assert found.metrics["false_positive_rate"].value == pytest.approx(5 / (1 + 1 + 2 + 5))
    plain = evaluated(score(events, make_project()), make_project())
    assert plain.metrics["recall"].value == pytest.approx(3 / 4)


def test_the_control_group_is_judged_alone_beside_the_whole() -> None:
    plan = named(control_group="c")
    events = make_events().with_columns(c=pl.col("event_id") % 4 == 0)
    scored = score(events, plan)
    found = evaluated(scored, plan)
    alone = evaluated(scored.filter(pl.col("c")), make_project())
    group = found.tables.control_group
    assert (group.rows, group.frauds) == (1000, alone.frauds)
    for name in ("recall", "precision", "average_precision", "savings", "cost"):
        assert group.metrics[name].value == pytest.approx(alone.metrics[name].value), name
    assert found.metrics["recall"].value == evaluated(scored, make_project()).metrics["recall"].value
    assert evaluated(scored, make_project()).tables.control_group is None
    nobody = evaluated(scored.with_columns(c=pl.lit(value=False)), plan).tables.control_group
    assert nobody.metrics["recall"].reason == "no events"


def fitted(frame: pl.DataFrame, data: str) -> TrainedModel:
    plan = project(split=SPLIT, data=data)
    split = make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    return fit_project(frame, FEATURES, plan, split, progress=Silent())


def test_training_and_calibration_weigh_by_exposure(tmp_path: Path) -> None:
    seen = pl.when(pl.col("velocity") > 2).then(0.25).otherwise(1.0)
    frame = table(4000).with_columns(p=seen, w=1 / seen)
    by_exposure, by_weight = fitted(frame, 'exposure_prob = "p"'), fitted(frame, 'weight = "w"')
    for trained, name in ((by_exposure, "a"), (by_weight, "b")):
        trained.model.save_model(str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert by_exposure.calibrator == by_weight.calibrator
    assert by_exposure.predictions.equals(by_weight.predictions)
    rows = by_exposure.predictions.join(frame.select("event_id", "w"), on="event_id", maintain_order="left")
    assert np.array_equal(rows[WEIGHT], rows["w"])
    assert WEIGHT not in fitted(frame, "").predictions.columns
    label, scores = rows["label"].to_numpy(), rows["y_score"].to_numpy()
    choice = by_exposure.calibrator
    assert choice == (fit_calibrator(label, scores, method=choice.method, weight=rows["w"].to_numpy()))


def test_the_policy_weighs_the_fold_predictions() -> None:
    # At the score 0.5 stand one fraud, which costs 15 + 85 if allowed, and three legitimate events. Reviewing the four
    # costs 4 each: 16. Where each legitimate one stands for five it is (1 + 15) x 4 = 64, and still less than 100.
    plan = make_project('[policy]\nkind = "thresholds"\n')
    rows = make_events(40, 1).with_columns(
        label=pl.Series([1, 0, 0, 0] + [0] * 36, dtype=pl.Int8),
        amount=pl.lit(85.0),
        y_prob=pl.Series([0.5] * 4 + [0.01] * 36),
        event_weight=pl.Series([1.0, 5.0, 5.0, 5.0] + [1.0] * 36),
    )
    plain = choose_policy(plan, rows.drop(WEIGHT), rows["y_prob"].to_numpy())
    heavy = choose_policy(plan, rows, rows["y_prob"].to_numpy())
    assert plain.report.cost == pytest.approx(16.0)
    assert heavy.report.cost == pytest.approx(64.0)
