"""What `init` proposes can be trained, however short the history is; or it says why nothing can be."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudctl.data import tables
from fraudctl.errors import DataError
from fraudctl.power import power_of
from fraudctl.project import Duration, Project, load_project
from fraudctl.propose import Flags
from fraudctl.propose.facts import entity_facts
from fraudctl.split import make_split, periods
from fraudctl.workflows.init import init_project


def fold_history(events: tables.Events, project: Project) -> timedelta:
    """Return how long the training period of the last fold is."""
    found = periods(events.frame, project, known_until=events.known_until)
    test, delay = found.test_until - found.as_of, project.data.label_delay.timedelta
    return found.as_of - 2 * delay - test - events.frame["event_time"][0]


START = datetime(2026, 1, 1, tzinfo=UTC)


def history(days: float, seed: int, *, rate: float, bursts: bool) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = 600
    at = np.sort(rng.uniform(0, days * 86_400, n))
    fraud = (rng.random(n) < rate).astype(int)
    if bursts:  # frauds of a few days only
        fraud[(at // (days * 86_400 / 7)).astype(int) % 3 != 1] = 0
    return pl.DataFrame({
        "event_id": range(n), "event_time": [START + timedelta(seconds=int(second)) for second in at],
        "amount": rng.lognormal(3, 1, n).round(2), "card_id": rng.integers(0, 80, n), "is_fraud": fraud,
    })  # fmt: skip


@settings(max_examples=20, deadline=None)
@example(days=20.0, delay=7, seed=0, rate=0.2, bursts=False)
@example(days=6.0, delay=1, seed=0, rate=0.1, bursts=True)
@given(
    days=st.floats(0.3, 60.0), delay=st.sampled_from([0, 1, 3, 7, 14]), seed=st.integers(0, 99),
    rate=st.sampled_from([0.02, 0.1, 0.5]), bursts=st.booleans(),
)  # fmt: skip
def test_what_init_writes_can_be_trained_and_a_longer_test_is_only_named_where_it_can_be(
    days: float, delay: int, seed: int, rate: float, bursts: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, place = Path(folder) / "e.parquet", Path(folder) / "fraudctl.toml"
        history(days, seed, rate=rate, bursts=bursts).write_parquet(data)
        try:
            found = init_project([str(data)], place=place, flags=Flags(label_delay=f"{delay}d"))
        except DataError:
            assert not place.exists()
            return
        project = load_project(place)
        events = tables.load_events(project)
        assert make_split(events.frame, project, known_until=events.known_until).folds
        named = (found.power.hint or "").partition('test = "')[2].partition('"')[0]
        if named:
            split = project.split.model_copy(update={"test": Duration.parse(named)})
            longer = project.model_copy(update={"split": split})
            assert fold_history(events, longer) > timedelta(0)
        assert found.power == power_of(events.frame, project, known_until=events.known_until)


def test_large_entities_are_measured_on_some_ids_with_all_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    ids = pl.Series(rng.integers(0, 4_000, 40_000))
    times = pl.Series(np.sort(rng.integers(0, 10**13, 40_000)), dtype=pl.Datetime("us", "UTC"))
    whole = entity_facts("card", ids, times, n_ids=ids.n_unique())
    monkeypatch.setattr("fraudctl.propose.facts.ROWS", 10_000)
    monkeypatch.setattr("fraudctl.propose.facts.IDS", 2_000)
    some = entity_facts("card", ids, times, n_ids=ids.n_unique())
    assert (whole.one_in, some.one_in) == (1, 4)
    assert some.n_values == whole.n_values
    assert some.per_value == pytest.approx(whole.per_value, rel=0.1)
    assert some.gaps[1:] == pytest.approx(whole.gaps[1:], rel=0.15)
