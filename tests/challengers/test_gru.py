"""The recurrent network: which earlier events it reads, and that nothing later reaches a score."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.challengers import gru
from fraudctl.challengers.contract import ChallengerFacts, ChallengerFeature

FEATURES = (ChallengerFeature("x"), ChallengerFeature("kind", ("a", "(missing)", "(other)")))
START = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = 20


def facts(length: int, **params: float) -> ChallengerFacts:
    return ChallengerFacts(
        "score", "gru", 0, 1, FEATURES, {"card": "entity.card"},
        START, HISTORY, {"length": length, **params},
    )  # fmt: skip


def events(rows: list[tuple[int | None, int]]) -> pl.DataFrame:
    random = np.random.default_rng(len(rows))
    return pl.DataFrame(
        {
            "event_id": list(range(len(rows))),
            "event_time": [START + timedelta(seconds=at) for _, at in rows],
            "entity.card": [card for card, _ in rows],
            "x": random.normal(size=len(rows)),
            "kind": ["a"] * len(rows),
        },
        schema_overrides={
            "event_id": pl.Int64, "event_time": pl.Datetime("us", "UTC"), "entity.card": pl.Int64, "kind": pl.String,
        },
    )  # fmt: skip


def slow(frame: pl.DataFrame, length: int) -> list[list[tuple[int, float]]]:
    """Earlier events of each event by looking at every pair."""
    rows, found = frame.to_dicts(), []
    for one in rows:
        mine = [
            (other["event_time"], other["event_id"], at)
            for at, other in enumerate(rows)
            if one["entity.card"] is not None
            and other["entity.card"] == one["entity.card"]
            and other["event_time"] < one["event_time"]
            and other["event_time"] >= one["event_time"] - timedelta(seconds=HISTORY)
        ]
        last = sorted(mine)[-length:]
        found.append([(at, (one["event_time"] - when).total_seconds()) for when, _, at in last])
    return found


@given(
    st.lists(st.tuples(st.sampled_from([None, 1, 2, 3]), st.integers(0, 60)), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_earlier_events_are_those_of_a_search_through_all_pairs(rows: list[tuple[int | None, int]], n: int) -> None:
    frame = events(rows)
    places, ages = gru.earlier_events(frame, facts(n))
    assert places.shape == ages.shape == (len(rows), n)
    found = [
        [(int(p), float(a)) for p, a in zip(*pair, strict=True) if p >= 0] for pair in zip(places, ages, strict=True)
    ]
    assert found == slow(frame, n)
    assert all(sorted(row >= 0, reverse=True) == list(row >= 0) for row in places)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """A network fitted on frauds that follow a large earlier value of their card."""
    pytest.importorskip("torch", reason="the extra `neural` is not installed")
    random = np.random.default_rng(0)
    frame = events([(int(random.integers(0, 60)), int(at)) for at in np.sort(random.integers(0, 900, 3000))])
    places, _ = gru.earlier_events(frame, facts(4))
    before = np.where(places[:, 0] >= 0, frame["x"].to_numpy()[places].max(axis=1, where=places >= 0, initial=-9), -9)
    frame = frame.with_columns(label=pl.Series((before > 1.5).astype(np.int8)), event_weight=pl.lit(1.0))
    folder = tmp_path_factory.mktemp("gru")
    gru.fit(frame, frame.drop("label", "event_weight").clear(), facts(4, epochs=12), folder)
    return folder, frame.drop("label", "event_weight")


def test_it_learns_from_earlier_events(fitted: tuple[Path, pl.DataFrame]) -> None:
    folder, frame = fitted
    scores = gru.score(frame, frame.clear(), facts(4), folder)
    places, _ = gru.earlier_events(frame, facts(4))
    large = frame["x"].to_numpy()[places].max(axis=1, where=places >= 0, initial=-9) > 1.5
    assert scores[large].mean() > scores[~large].mean() + 1.0


def test_no_later_event_and_no_event_of_the_same_instant_changes_a_score(fitted: tuple[Path, pl.DataFrame]) -> None:
    folder, frame = fitted
    before = gru.score(frame, frame.clear(), facts(4), folder)
    middle = frame["event_time"][1500]
    later = pl.col("event_time") >= middle
    altered = frame.with_columns(pl.when(later).then(pl.col("x") * -7 + 3).otherwise("x").alias("x"))
    after = gru.score(altered, frame.clear(), facts(4), folder)
    early = (frame["event_time"] < middle).to_numpy()
    np.testing.assert_allclose(after[early], before[early], atol=1e-5)
    assert (np.abs(after[~early] - before[~early]) > 1e-3).mean() > 0.5


def test_rows_see_each_other_as_they_see_the_context(fitted: tuple[Path, pl.DataFrame]) -> None:
    folder, frame = fitted
    whole = gru.score(frame, frame.clear(), facts(4), folder)
    apart = gru.score(frame[1500:], frame[:1500], facts(4), folder)
    np.testing.assert_allclose(apart, whole[1500:], atol=1e-5)


def test_a_second_fit_gives_the_same_bytes(fitted: tuple[Path, pl.DataFrame], tmp_path: Path) -> None:
    _, frame = fitted
    labelled = frame.with_columns(label=pl.col("event_id") % 3 == 0, event_weight=pl.lit(1.0))
    labelled = labelled.with_columns(pl.col("label").cast(pl.Int8))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        gru.fit(labelled[:600], frame.clear(), facts(3, epochs=1), tmp_path / name)
    assert (tmp_path / "a" / "network.json").read_bytes() == (tmp_path / "b" / "network.json").read_bytes()


def test_the_fewest_epochs_that_are_not_surely_worse_are_taken() -> None:
    best = np.array([0.1, 0.2, 0.3, 0.2])
    noisy = best + np.array([0.3, -0.2, 0.1, -0.1])  # worse by 0.025 on average, by 0.1 on its standard error
    assert gru.fewest_epochs([best + 0.1, noisy, best, best + 0.2]) == 2
    assert gru.fewest_epochs([best + 0.1, best]) == 2
    assert gru.fewest_epochs([]) == 0
