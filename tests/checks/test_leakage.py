"""Single-column suspects: statistics against doubles, and each way of knowing the answer shown to fire and not to."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fraudctl.checks import leakage
from fraudctl.checks.leakage import auc_low, counts_along, roc_auc, suspects

RNG_SEED = 5
N = 2_000


def brute_auc(x: np.ndarray, y: np.ndarray) -> float:
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in x[y] for b in x[~y]]
    return sum(wins) / len(wins)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_auc_equals_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    x = np.array([value for value, _ in rows], dtype=np.float64)
    y = np.array([label for _, label in rows])
    if y.all() or not y.any():
        return
    assert roc_auc(x, y) == pytest.approx(brute_auc(x, y))
    assert roc_auc(x, y) == pytest.approx(roc_auc_score(y, x))


def test_auc_by_hand() -> None:
    # pairs (fraud, legit): 2>1, 2=2, 3>1, 3>2 -> 3.5 of 4
    assert roc_auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])) == 3.5 / 4


def test_low_end_covers_the_truth_about_as_often_as_it_says() -> None:
    # binormal scores, one standard deviation apart: AUC = Phi(1 / sqrt 2) = 0.7602; a one-sided 97.5 % bound
    rng, truth, below = np.random.default_rng(RNG_SEED), 0.7602, 0
    y = np.repeat([True, False], [40, 160])
    for _ in range(300):
        x = rng.normal(size=200) + y
        below += auc_low(roc_auc(x, y), n_pos=40, n_neg=160) <= truth
    assert 0.95 <= below / 300 <= 1.0


@pytest.mark.parametrize(("auc", "n"), [(1.0, 20), (0.99, 200), (0.6, 1000)])
def test_low_end_is_below_the_estimate_and_rises_with_the_data(auc: float, n: int) -> None:
    few, many = auc_low(auc, n_pos=n, n_neg=n), auc_low(auc, n_pos=10 * n, n_neg=10 * n)
    assert few < many < auc


def labels(*, unknown: int = 0) -> pl.Series:
    """2,000 outcomes, every twentieth a fraud, followed by unknown ones."""
    return pl.Series("label", [int(i % 20 == 0) for i in range(N)] + [None] * unknown, dtype=pl.Int8)


def kinds(values: list[object], *, unknown: int = 0, dtype: pl.DataType | None = None) -> set[str]:
    return {item.kind for item in suspects(pl.Series("x", values, dtype=dtype), labels(unknown=unknown))}


def noise(n: int = N) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).normal(size=n)


def test_numbers_that_separate_fire_in_both_directions() -> None:
    y = labels().to_numpy()
    assert kinds(list(10 * y + noise())) == {"separates"}
    assert kinds(list(-10 * y + noise())) == {"separates"}


def test_honest_and_random_numbers_do_not_fire() -> None:
    y = labels().to_numpy()
    assert kinds(list(noise())) == set()
    assert kinds(list(1.5 * y + noise())) == set()  # AUC about 0.86: strong, but honest columns can be


def test_values_that_are_nearly_all_fraud_fire() -> None:
    y = labels().to_list()
    assert kinds(["stolen" if label and i % 40 else "fine" for i, label in enumerate(y)]) == {"values"}
    assert kinds([f"m{i % 7}" for i in range(N)]) == set()


def test_single_values_seen_once_or_twice_do_not_fire() -> None:
    # every fraud has a value of its own: on the other half of the rows nothing is known of it
    assert kinds([f"id{i}" if i % 20 == 0 else "other" for i in range(N)]) == set()


def test_being_filled_for_frauds_only_fires() -> None:
    y = labels().to_list()
    assert "filled" in kinds([1.0 if label else None for label in y], dtype=pl.Float64())
    assert "filled" in kinds([None if label else "x" for label in y], dtype=pl.String())
    assert kinds([None if i % 3 else float(noise()[i % 50]) for i in range(N)], dtype=pl.Float64()) == set()


def test_a_time_filled_for_frauds_only_fires() -> None:
    when = datetime(2024, 1, 1)
    assert kinds([when if label else None for label in labels()], dtype=pl.Datetime("us")) == {"filled"}


def test_being_filled_only_with_an_outcome_fires() -> None:
    filled = ["a", "b"] * (N // 2)
    assert kinds([*filled, *[None] * 200], unknown=200) == {"labelled"}
    assert kinds([*filled, *["a"] * 200], unknown=200) == set()


def test_nan_counts_as_null() -> None:
    y = labels().to_list()
    assert "filled" in kinds([1.0 if label else float("nan") for label in y], dtype=pl.Float64())


def test_too_few_frauds_say_nothing() -> None:
    label = pl.Series([1] * 19 + [0] * 500, dtype=pl.Int8)
    assert suspects(pl.Series("x", label.to_list()), label) == []


def test_many_rows_are_thinned_without_losing_the_finding() -> None:
    label = pl.Series(np.arange(450_000) % 100 == 0).cast(pl.Int8)
    found = suspects((label.cast(pl.Float64) * 5).alias("x"), label)
    assert [item.kind for item in found] == ["separates"]
    assert found[0].figures["auc"] == 1.0


TIMES = pl.Series([datetime(2024, 1, 1) + timedelta(hours=i) for i in range(400)])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (list(range(400)), True),
        ([-i for i in range(400)], True),
        ([i // 24 for i in range(400)], True),
        ([i % 24 for i in range(400)], False),
        ([1] * 400, False),
        ([0.0] * 399 + [1.0], False),
        ([None, *range(399)], False),
    ],
    ids=["row number", "countdown", "day number", "hour", "constant", "one odd row", "with a null"],
)
def test_counting_along_with_time(values: list[float], expected: bool) -> None:
    assert counts_along(pl.Series(values), TIMES) is expected


def test_counting_along_does_not_depend_on_row_order() -> None:
    frame = pl.DataFrame({"t": TIMES, "x": range(400)}).sample(fraction=1.0, shuffle=True, seed=1)
    assert counts_along(frame["x"], frame["t"])


@pytest.mark.parametrize("values", [[True, False], [True, None], [True], [True, False, None]])
def test_truth_values_are_counted_as_any_others(values: list[bool | None]) -> None:
    rng = np.random.default_rng(len(values))
    column = pl.Series("value", [values[i] for i in rng.integers(0, len(values), 200)], dtype=pl.Boolean)
    y, half = (pl.Series(rng.random(200) < share) for share in (0.3, 0.5))
    fast = leakage._counts_by_value(column, y, half)
    slow = leakage._counts_by_value(column.cast(pl.Int8), y, half).with_columns(pl.col("value").cast(pl.Boolean))
    assert fast.sort("value").rows() == slow.sort("value").rows()
