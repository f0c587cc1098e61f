"""The shipped challengers: each learns, repeats itself, and says of a row what it says of it among others."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fraudctl.challengers.contract import ChallengerFacts, ChallengerFeature, as_numbers
from fraudctl.challengers.program import NEEDED, read_program
from fraudctl.errors import UsageError
from fraudctl.project.challengers import ChallengerSection

LEVELS = ("a", "b", "(missing)", "(other)")
NAMES = ("logistic", "lightgbm", "xgboost")


def facts(**params: float) -> ChallengerFacts:
    features = (ChallengerFeature("x"), ChallengerFeature("y"), ChallengerFeature("kind", LEVELS))
    return ChallengerFacts("fit", "rival", 3, 1, features, {}, datetime(2026, 1, 1, tzinfo=UTC), None, params)


def rows(n: int = 2000) -> pl.DataFrame:
    random = np.random.default_rng(n)
    x, y, kind = random.normal(size=n), random.lognormal(size=n), random.integers(0, 4, n)
    fraud = random.random(n) < 1 / (1 + np.exp(2.0 - 1.5 * x - 1.2 * (kind == 1) + 0.5 * np.log(y)))
    return pl.DataFrame(
        {
            "event_id": np.arange(n),
            "x": pl.Series(np.where(random.random(n) < 0.05, np.nan, x), dtype=pl.Float32).fill_nan(None),
            "y": pl.Series(y, dtype=pl.Float32),
            "kind": [LEVELS[k] for k in kind],
            "label": pl.Series(fraud, dtype=pl.Int8),
            "event_weight": random.choice([0.5, 1.0, 2.0], n),
        }
    )


@pytest.fixture(params=NAMES)
def shipped(request: pytest.FixtureRequest) -> ModuleType:
    if request.param != "logistic":
        pytest.importorskip(request.param)
    return importlib.import_module(f"fraudctl.challengers.{request.param}")


def test_it_learns_repeats_itself_and_says_of_a_row_what_it_says_of_it_alone(
    shipped: ModuleType, tmp_path: Path
) -> None:
    train, new = rows(), rows(1000)
    plain = new.drop("label", "event_weight")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shipped.fit(train, train.clear(), facts(), tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1]
    scores = np.asarray(shipped.score(plain, plain.clear(), facts(), tmp_path / "a"))
    assert roc_auc_score(new["label"], scores) > 0.75
    alone = [float(shipped.score(plain[k : k + 1], plain.clear(), facts(), tmp_path / "a")[0]) for k in range(20)]
    np.testing.assert_allclose(alone, scores[:20], rtol=1e-9)
    unseen = plain.with_columns(pl.lit("(other)").alias("kind"), pl.lit(None, dtype=pl.Float32).alias("x"))
    assert np.isfinite(shipped.score(unseen, plain.clear(), facts(), tmp_path / "a")).all()


def test_weights_count_as_that_many_events(shipped: ModuleType, tmp_path: Path) -> None:
    train = rows(600).with_columns(event_weight=pl.col("event_id") % 2 + 1.0)
    double = pl.concat([train, train.filter(pl.col("event_weight") == 2.0)]).with_columns(event_weight=pl.lit(1.0))
    given = {"C": 1e6} if shipped.__name__.endswith("logistic") else {"trees": 1}
    found = []
    for name, table in (("a", train), ("b", double)):
        (tmp_path / name).mkdir()
        shipped.fit(table, table.clear(), facts(**given), tmp_path / name)
        found.append(np.asarray(shipped.score(train, train.clear(), facts(**given), tmp_path / name)))
    equal = np.corrcoef(*found)[0, 1]
    (tmp_path / "c").mkdir()
    shipped.fit(train.with_columns(event_weight=pl.lit(1.0)), train.clear(), facts(**given), tmp_path / "c")
    other = np.asarray(shipped.score(train, train.clear(), facts(**given), tmp_path / "c"))
    assert equal > np.corrcoef(found[0], other)[0, 1]


def test_the_logistic_regression_is_that_of_scikit_learn(tmp_path: Path) -> None:
    from fraudctl.challengers import logistic

    train = rows()
    logistic.fit(train, train.clear(), facts(), tmp_path)
    x = as_numbers(train, facts())[:, :2].astype(np.float64)
    x = np.sign(x) * np.log1p(np.abs(x))
    x = (x - np.nanmean(x, axis=0)) / np.nanstd(x, axis=0)
    kinds = pl.DataFrame({level: train["kind"] == level for level in LEVELS}).cast(pl.Float64).to_numpy()
    design = np.column_stack([np.nan_to_num(x), np.isnan(x), kinds])
    weight = train["event_weight"].to_numpy() / train["event_weight"].mean()  # type: ignore[operator]
    model = LogisticRegression(C=0.1, max_iter=500).fit(design, train["label"].to_numpy(), sample_weight=weight)
    np.testing.assert_allclose(
        logistic.score(train, train.clear(), facts(), tmp_path), model.decision_function(design), atol=1e-4
    )


@pytest.mark.parametrize("entry", NEEDED)
def test_a_library_that_is_not_installed_is_named_before_anything_is_built(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="is not installed") as caught:
        read_program("rival", ChallengerSection.model_validate({"entry": entry}), tmp_path)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("python -m pip install ")
