"""Counts, series and thresholds, each against brute force, a library or arithmetic by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fraudctl.monitor.counts import (
    Cells,
    cells_from_dict,
    cells_of,
    cells_to_dict,
    count_days,
    counts_from_dict,
    counts_to_dict,
    edges_of,
)
from fraudctl.monitor.engine import (
    QUIET,
    block_days,
    episodes,
    follow,
    learn,
    memory,
    onset,
    peak,
    threshold_for,
    weekdays,
)
from fraudctl.monitor.series import (
    VOLUME,
    Figures,
    deviations,
    expect,
    figures,
    poisson_deviations,
    series_of,
    shrunk_means,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""


def table(n: int = 4000, days: int = 28, *, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, days * 86_400, n))
    amount = np.where(rng.random(n) < 0.02, np.nan, rng.gamma(2.0, 40.0, n))
    return pl.DataFrame(
        {
            "event_time": pl.Series([START] * n) + pl.Series(seconds * 1_000_000).cast(pl.Duration("us")),
            "amount": pl.Series(amount).fill_nan(None),
            "channel": rng.choice(["web", "shop", "app"], n, p=[0.6, 0.3, 0.1]),
            "new": rng.random(n) < 0.2,
        }
    ).with_columns(pl.col("event_time").cast(pl.Datetime("us", "UTC")))


CELLS = [("amount", "float"), ("channel", "category"), ("new", "bool")]


def test_counts_are_those_of_a_loop_over_the_rows() -> None:
    frame = table()
    watched = [*(cells_of(name, frame[name], dtype) for name, dtype in CELLS), Cells("hour", "hour")]
    found = count_days(
        frame, watched, timezone="Europe/Berlin", sums={"amount": frame["amount"].fill_null(0).to_numpy()}
    )
    local = frame["event_time"].dt.convert_time_zone("Europe/Berlin")
    for row, when in zip(frame.iter_rows(named=True), local.to_list(), strict=True):
        at = when.date().toordinal() - 719_163 - int(found.days[0])
        edges = watched[0].edges
        value = row["amount"]
        cell = len(edges) + 1 if value is None else sum(edge < value for edge in edges)
        found.cells["amount"][at, cell] -= 1
        found.cells["channel"][at, watched[1].values.index(row["channel"])] -= 1
        found.cells["new"][at, int(row["new"])] -= 1
        found.cells["hour"][at, when.hour] -= 1
        found.events[at] -= 1
        found.sums["amount"][at] -= value or 0.0
    assert not any(rows.any() for rows in found.cells.values())
    assert not found.events.any()
    assert np.allclose(found.sums["amount"], 0)


def test_values_that_the_reference_had_not_are_other_and_null_is_null() -> None:
    frame = table()
    amount, channel = (cells_of(name, frame[name], dtype) for name, dtype in CELLS[:2])
    assert amount.place(pl.Series([None, math.inf, math.nan, -1e9, 1e9])).tolist() == [20, 21, 21, 0, 19]
    assert channel.place(pl.Series([None, "phone", channel.values[0]])).tolist() == [3, 4, 0]
    assert Cells("x", "score", edges=(0.1, 0.5)).place(pl.Series([0.05, 0.1, 0.49, 0.5])).tolist() == [0, 1, 1, 2]
    assert Cells("c", "presence").place(pl.Series([None, "a"])).tolist() == [1, 0]
    empty = cells_of("x", pl.Series([None, None], dtype=pl.Float64), "float")
    assert (empty.edges, empty.n) == ((), 3)
    assert edges_of(np.array([1.0, 1.0, 1.0, 2.0])) == (1.0,)


def test_counts_and_cells_survive_json() -> None:
    frame = table(500, 5)
    watched = [*(cells_of(name, frame[name], dtype) for name, dtype in CELLS), Cells("missing", "flag")]
    assert [cells_from_dict(cells_to_dict(item)) for item in watched] == watched
    found = count_days(frame, watched, timezone="UTC", sums={"n": np.full(500, 0.5)})
    again = counts_from_dict(counts_to_dict(found))
    assert np.array_equal(found.days, again.days)
    assert np.array_equal(found.sums["n"], again.sums["n"])
    assert all(np.array_equal(rows, again.cells[name]) for name, rows in found.cells.items())
    assert (again.cells["missing"] == -1).all()


@given(st.integers(0, 60), st.floats(0.01, 40))
def test_rare_counts_are_judged_by_the_poisson_distribution(count: int, mean: float) -> None:
    found = float(poisson_deviations(np.array([[float(count)]]), np.array([[mean]]))[0, 0])
    above = stats.poisson.sf(count, mean) + stats.poisson.pmf(count, mean) / 2
    if 1e-12 < above < 1 - 1e-12:
        assert found == pytest.approx(-stats.norm.ppf(above), rel=1e-4, abs=1e-5)
    else:
        assert abs(found) > 6


@given(st.floats(1.0, 50.0), st.floats(0.3, 0.7), st.integers(0, 1))
def test_a_day_with_more_events_than_usual_is_no_surer_than_a_usual_one(times: float, share: float, rare: int) -> None:
    """What the reference does not know of its own means does not shrink with the events of later days."""
    counts = np.random.default_rng(1).binomial(2000, (0.5, 0.002)[rare], 56).astype(np.float64)[:, None]
    days = np.arange(56)
    size = np.full((56, 1), 2000.0)
    cells = cells_of("new", pl.Series("new", [True, False]), "bool")
    series = [one for one in series_of(cells, np.array([1, 1, 0])) if one.what == "share of true"]
    reference = Figures(counts / size, size, counts, np.array([0.25]))
    expected = expect(reference, days % 7, series)
    assert expected.rare[0] == bool(rare)
    assert np.allclose(expected.usual, 2000.0)
    found = share * (1.0, 0.01)[rare]
    usual = Figures(np.full((1, 1), found), np.full((1, 1), 2000.0), np.full((1, 1), 2000 * found), np.array([0.25]))
    more = Figures(usual.x, times * usual.n, times * usual.count, usual.within)
    z, larger = (float(deviations(item, days[:1] % 7, expected)[0, 0]) for item in (usual, more))
    if rare:
        assert abs(larger) <= abs(z) * 1.1 + 0.1
    else:
        assert larger == pytest.approx(z)


def test_weekday_means_are_drawn_together_where_weekdays_do_not_differ() -> None:
    rng = np.random.default_rng(0)
    weekday = np.arange(56) % 7
    noise = rng.normal(size=(56, 2))
    x = noise + np.array([0.0, 3.0]) * (weekday == 6)[:, None]
    mean, variance = shrunk_means(x, weekday)
    assert np.ptp(mean[:, 0]) < np.ptp([x[weekday == day, 0].mean() for day in range(7)])
    assert mean[6, 1] - mean[:6, 1].mean() == pytest.approx(3.0, abs=1.0)
    assert np.allclose(variance, 1.0, atol=0.45)
    # by hand: two groups that do not vary inside keep their own means, for F is infinite
    kept, none = shrunk_means(np.array([[1.0], [5.0]] * 3), np.array([0, 1] * 3))
    assert kept[:2, 0].tolist() == [1.0, 5.0]
    assert none[0] == 0.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.sampled_from([1, 3, 7, 28]))
def test_a_memory_is_the_weighted_sum_of_the_past(values: list[float], days: int) -> None:
    weight = 2 / (days + 1)
    wanted, state = [], 0.0
    for value in values:
        state = weight * value + (1 - weight) * state
        wanted.append(state)
    found = memory(np.array(values)[:, None], days)[:, 0]
    assert np.allclose(found, wanted)


@given(st.lists(st.booleans(), max_size=60))
def test_episodes_are_counted_as_by_hand(above: list[bool]) -> None:
    n, last = 0, None
    for day, value in enumerate(above):
        if value:
            n += last is None or day - last > QUIET
            last = day
    assert episodes(np.array(above, dtype=np.bool_)) == n


def test_the_threshold_is_the_lowest_that_keeps_the_promise() -> None:
    rng = np.random.default_rng(1)
    peaks = [np.abs(rng.normal(size=365)) for _ in range(40)]
    found = threshold_for(peaks, 2.0)
    assert np.mean([episodes(item > found) for item in peaks]) <= 2.0
    assert np.mean([episodes(item > found - 0.02) for item in peaks]) > 2.0


def test_blocks_grow_with_the_window() -> None:
    assert [block_days(56, days) for days in (0, 3, 5, 30, math.inf)] == [7, 7, 10, 14, 7]
    assert weekdays(np.array([0, 4])).tolist() == [3, 0]  # 1970-01-01 was a Thursday


def onset_by_hand(z: np.ndarray) -> int:
    gains = [sum(z[k:]) ** 2 / (2 * len(z[k:])) for k in range(len(z))]
    return int(np.argmax(gains))


def test_an_onset_is_found_with_its_interval() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=60) + 4.0 * (np.arange(60) >= 45)
    found = onset(z, np.arange(100, 160), spread=1.0)
    assert found.day == 100 + onset_by_hand(z)
    assert found.low <= found.day <= found.high
    assert abs(found.day - 145) <= 1


def watched_world(seed: int, change: pl.Expr | None = None) -> tuple[float, np.ndarray]:
    frame = table(600 * 84, 84, seed=seed)
    limit = START + timedelta(days=56)
    reference = frame.filter(pl.col("event_time") < limit)
    cells = [*(cells_of(name, reference[name], dtype) for name, dtype in CELLS), Cells("hour", "hour")]
    if change is not None:
        later = pl.col("event_time") >= limit + timedelta(days=7)
        frame = frame.with_columns(amount=pl.when(later).then(change).otherwise("amount"))
    counts = count_days(frame, cells, timezone="UTC")
    before, now = counts.between(0, counts.days[0] + 56), counts.between(counts.days[0] + 56, 1 << 40)
    series = [*(one for item in cells for one in series_of(item, before.cells[item.name].sum(axis=0))), VOLUME]
    watch = learn(figures(before, series), before.days, series, per_year=1.0, window_days=0, seed=3)
    path = follow(watch, figures(now, series), now.days)
    over = path.height > watch.threshold
    return watch.threshold, over.any(axis=1)


def test_unchanged_days_are_quiet_and_new_nulls_are_seen_at_once() -> None:
    threshold, quiet = watched_world(5)
    assert 4.0 < threshold < 6.5
    assert not quiet.any()
    _, nulls = watched_world(5, pl.when(pl.int_range(pl.len()) % 25 == 0).then(None).otherwise("amount"))
    assert not nulls[:7].any()
    assert nulls[7:9].any()
    _, dearer = watched_world(5, pl.col("amount") * 1.3)
    assert not dearer[:7].any()
    assert dearer[7:11].any()


def test_the_same_reference_gives_the_same_threshold() -> None:
    assert watched_world(6)[0] == watched_world(6)[0]
    z = np.random.default_rng(0).normal(size=(40, 3))
    assert np.allclose(peak(z, np.ones((3, 3))), np.abs([memory(z, days) for days in (1, 7, 28)]).max(axis=(0, 2)))


@pytest.mark.parametrize(("length", "ramps"), [(1, (1,)), (7, (1, 7)), (28, (1, 7, 28))])
@pytest.mark.parametrize("memory_of_days", [0.0, 0.6])
def test_the_first_day_of_a_change_lies_in_its_interval(
    length: int, ramps: tuple[int, ...], memory_of_days: float
) -> None:
    """In nine worlds of ten at least, whether it comes at once or slowly, and whether days depend on each other."""
    rng = np.random.default_rng([length, int(10 * memory_of_days)])
    spread = np.sqrt((1 + memory_of_days) / (1 - memory_of_days))
    held = 0
    for _ in range(100):
        noise = rng.normal(size=60)
        for day in range(1, 60):
            noise[day] = memory_of_days * noise[day - 1] + np.sqrt(1 - memory_of_days**2) * noise[day]
        first = int(rng.integers(8, 35))
        shape = np.clip((np.arange(60) - first + 1) / length, 0.0, 1.0)
        found = onset(noise + 2.0 * spread * shape, np.arange(60), spread=float(spread), ramps=ramps)
        held += found.low <= first <= found.high
        assert found.low <= found.day <= found.high
    assert held >= 90
