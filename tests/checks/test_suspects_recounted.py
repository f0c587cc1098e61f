"""Leakage statistics are recounted by the obvious computation, on seeded random columns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fraudctl.checks.leakage import MIN_FRAUDS, SURE, Along, LeakageOutcomes, counts_along, roc_auc


def column(rng: np.random.Generator, y: np.ndarray) -> pl.Series:
    """Return a column of any kind that knows more or less of the outcome."""
    n, kind = len(y), rng.integers(0, 6)
    knows = rng.random() < 0.6
    code = (
        np.where(y & (rng.random(n) < rng.choice([0.5, 0.97])), 7, rng.integers(0, 6, n))
        if knows
        else rng.integers(0, 6, n)
    )
    values = [
        pl.Series("x", code).cast(pl.String), pl.Series("x", code), pl.Series("x", code + rng.normal(size=n)),
        pl.Series("x", code == 7), pl.Series("x", code).cast(pl.String).cast(pl.Categorical), pl.Series("x", code / 2),
    ][kind]  # fmt: skip
    gaps = pl.Series(rng.random(n) < rng.choice([0.0, 0.3, 0.98]))
    return pl.select(pl.when(gaps).then(None).otherwise(values).alias("x")).to_series()


def by_value(values: pl.Series, y: pl.Series) -> tuple[int, int, int]:
    """Return values, rows and frauds of the halves whose other half says fraud, row by row."""
    half = np.random.default_rng(0).integers(0, 2, len(y))
    counts: dict[tuple[str | None, int], list[int]] = {}
    for value, fraud, side in zip(values.cast(pl.String), y, half.tolist(), strict=True):
        cell = counts.setdefault((value, side), [0, 0])
        cell[0], cell[1] = cell[0] + 1, cell[1] + int(fraud)
    sure = {
        (value, side): cell
        for (value, side), cell in counts.items()
        if (other := counts.get((value, 1 - side))) is not None and other[1] >= max(3, SURE * other[0])
    }
    return len({value for value, _ in sure}), sum(c[0] for c in sure.values()), sum(c[1] for c in sure.values())


@pytest.mark.parametrize("seed", range(60))
def test_suspects_are_those_of_the_obvious_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(3_000) < 0.05
    label = pl.Series(y.astype(np.int8))
    if seed % 2:
        label = label.set(pl.Series(rng.random(len(y)) < 0.2), None)
    values = column(rng, y)
    found = {item.kind: item.figures for item in LeakageOutcomes(label).suspects(values)}

    known, fraud = values.filter(label.is_not_null()), label.drop_nulls().cast(pl.Boolean)
    filled = known.is_not_null()
    judged = min((fraud & filled).sum(), (~fraud & filled).sum()) >= MIN_FRAUDS
    n_values, n_rows, n_frauds = by_value(known, fraud)
    few = values.dtype != pl.Float64 and known.n_unique() >= 2
    is_sure = judged and few and n_frauds >= max(MIN_FRAUDS, SURE * n_rows, 0.25 * fraud.sum())
    assert ("values" in found) == is_sure
    if is_sure:
        assert n_values
        assert found["values"] == {"share_of_frauds": n_frauds / fraud.sum(), "fraud_rate": n_frauds / n_rows}
    for state in (filled, ~filled):
        sure = state.sum() < len(fraud) and (fraud & state).sum() >= max(
            MIN_FRAUDS, SURE * state.sum(), 0.1 * fraud.sum()
        )
        assert not sure or "filled" in found
    if "separates" in found:
        ranks = known.cast(pl.Float64).filter(filled).rank("average").to_numpy()
        truth = fraud.filter(filled).to_numpy()
        n, m = truth.sum(), (~truth).sum()
        auc = (ranks[truth].sum() - n * (n + 1) / 2) / (n * m)
        assert found["separates"]["auc"] == max(auc, 1 - auc)


@pytest.mark.parametrize("seed", range(20))
def test_auc_is_that_of_average_ranks_to_the_last_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 30, 500).astype(np.float64)
    y = rng.random(500) < rng.choice([0.02, 0.5, 0.97])
    y[:2] = [True, False]
    ranks, n, m = pl.Series(x).rank("average").to_numpy(), int(y.sum()), int((~y).sum())
    assert roc_auc(x, y) == float((ranks[y].sum() - n * (n + 1) / 2) / (n * m))


def rises(time: pl.Series, x: pl.Series) -> bool:
    """Judge as the docstring of `counts_along` says, by sorting all rows."""
    frame = pl.DataFrame({"t": time.cast(pl.Int64), "x": x.cast(pl.Float64)}).drop_nulls()
    for sign in (1, -1):
        steps = frame.with_columns(x=sign * pl.col("x")).sort("t", "x")["x"].diff().drop_nulls()
        if (steps < 0).sum() <= 0.001 * len(steps) and (steps > 0).any():
            correlation = frame.select(pl.corr("t", "x", method="spearman")).item()
            if abs(correlation or 0.0) >= 0.9:
                return True
    return False


@pytest.mark.parametrize("seed", range(60))
def test_what_counts_along_is_found_whatever_the_order_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2_000
    at = rng.integers(0, rng.choice([50, 10**6]), n)
    x = (
        np.floor(at / rng.choice([1, 7, 1000]))
        + (rng.random(n) < rng.choice([0.0, 0.0004, 0.01])) * rng.normal(size=n) * 1e5
    )
    if seed % 3 == 0:
        order = np.argsort(at)
        at, x = at[order], x[order]
    x = np.where(rng.random(n) < rng.choice([0.0, 0.0005]), np.nan, x) * rng.choice([-1, 1])
    time = pl.Series(at).cast(pl.Datetime("us"))
    values = pl.Series("x", x)
    assert counts_along(values, time) == rises(time, values)
    assert Along(time).rises_or_falls(values) == rises(time, values)
