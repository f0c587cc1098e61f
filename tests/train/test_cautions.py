from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.progress import Silent
from fraudctl.split import make_split
from fraudctl.train import cautions, fit_model, fit_project, learn_columns, make_pool, params_of
from fraudctl.train.cautions import cap_sentence, capped_trees, constant, out_of_range, range_sentence
from fraudctl.train.model import feature_shares
from fraudctl.train.summary import OutOfRange, TrainingSummary

sys.path.insert(0, str(Path(__file__).parents[1]))
from training_data import FEATURES, Features, project, table

SPLIT = 'as_of = 2026-02-20\ntest = "8d"\nfolds = 2'


class Fitted:
    """A fit that grew ``trees`` trees, the best of them number ``best``."""

    def __init__(self, trees: int, best: int) -> None:
        self.tree_count_, self.best_iteration_ = trees, best - 1


def test_a_fold_counts_as_cut_short_where_all_its_models_grew_all_trees_with_patience_left() -> None:
    fitted = [
        [Fitted(500, 497)],
        [Fitted(500, 450)],  # 50 trees without progress: early stopping would have ended it at the next tree
        [Fitted(430, 380)],
        [Fitted(500, 460), Fitted(500, 480)],
        [Fitted(500, 499), Fitted(300, 250)],
    ]
    assert capped_trees(fitted, iterations=500, patience=50) == [497, 470]  # type: ignore[arg-type]


def test_a_first_look_is_not_warned_of_its_own_cap() -> None:
    assert cap_sentence([150], folds=2, iterations=150) is None
    assert cap_sentence([], folds=2, iterations=500) is None
    assert "2 folds ended at the cap of 160 trees" in str(cap_sentence([160], folds=2, iterations=160))


@pytest.mark.parametrize("seed", range(4))
def test_rows_outside_of_the_training_range_are_those_that_a_recount_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 600
    train = np.arange(n) < 400
    later = ~train & (rng.random(n) < 0.8)
    clock = np.arange(n) / n * rng.uniform(0.5, 2)
    mixed = np.where(train, rng.random(n), rng.random(n) * rng.uniform(1, 4))
    mixed[rng.random(n) < 0.2] = np.nan
    still = rng.random(n)
    frame = pl.DataFrame({"clock": clock, "mixed": mixed, "still": still, "kind": rng.choice(["a", "b"], n)})
    label = (rng.random(n) < 1 / (1 + np.exp(-3 * (clock + np.nan_to_num(mixed) + still - 2)))).astype(np.int8)
    plan = project()
    columns = learn_columns(frame, names=frame.columns, categorical=["kind"], max_categories=9, rows=train)
    pool = make_pool(columns, frame, rows=train, label=label[train])
    model = fit_model(pool, params_of(plan.train.params), settings=plan.train, iterations=15, seed=seed)
    weights = dict(zip(columns.names, np.asarray(model.get_feature_importance()) / 100, strict=True))
    found = out_of_range(frame, columns, feature_shares(model), train=train, later=later)
    expected = {}
    for name in ("clock", "mixed", "still"):
        values = frame[name].to_numpy().astype(np.float32)
        low, high = np.nanmin(values[train]), np.nanmax(values[train])
        outside = [value < low or value > high for value in values[later]]
        if np.mean(outside) >= 0.25 and weights[name] >= 0.01:
            expected[name] = (pytest.approx(np.mean(outside), abs=1e-6), pytest.approx(weights[name], abs=1e-6))
    assert {item.feature: (item.rows, item.weight) for item in found} == expected
    assert "clock" in expected
    assert [item.weight for item in found] == sorted((item.weight for item in found), reverse=True)


def test_values_of_one_kind_only_are_seen_whenever_the_second_one_comes() -> None:
    column = pl.Series([1.0] * 5000 + [2.0, 3.0])
    rows = np.ones(5002, dtype=np.bool_)
    assert not constant(column, rows)
    rows[-2:] = False
    assert constant(column, rows)


def test_training_says_both_with_numbers_and_the_summary_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cautions, "FIRST_LOOK", 10)
    frame = table().with_columns(age=pl.int_range(pl.len()).cast(pl.Float64) + pl.col("label") * 300)
    plan = project(split=SPLIT, train="").model_copy()
    short = plan.model_copy(update={"train": plan.train.model_copy(update={"iterations": 12})})
    split = make_split(frame, short, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    named = Features([*FEATURES.names, "age"], FEATURES.categorical)
    summary = fit_project(frame, named, short, split, progress=Silent()).summary
    assert [item.feature for item in summary.out_of_range] == ["age"]
    assert any("of 2 folds ended at the cap of 12 trees" in text for text in summary.warnings)
    assert range_sentence(summary.out_of_range) in summary.warnings
    assert "[train] iterations = 24" in " ".join(summary.warnings)


def test_a_summary_without_the_range_of_features_is_read() -> None:
    assert TrainingSummary.__dataclass_fields__["out_of_range"].default == ()
    many = [OutOfRange(f"f{i}", 0.5, 0.02) for i in range(7)]
    assert "7 features with 14" in str(range_sentence(many))
    assert "and 2 more" in str(range_sentence(many))
