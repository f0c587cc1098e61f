"""What becomes an alarm, on days whose truth is known: planted changes, odd calendars, and worlds without frauds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from recount_monitor import RECOUNT_MONITOR, Watched

from fraudctl.monitor.alarms import (
    Acknowledged,
    EffectFloors,
    MovedGroup,
    MovedSeries,
    WatchedDays,
    _group,
    _together,
    _volume,
    accepted_deviations,
    alarm_id,
    moved_groups,
)
from fraudctl.monitor.counts import Cells, DayCounts, cells_of, count_days
from fraudctl.monitor.engine import Watch, follow, learn, onset, weekdays
from fraudctl.monitor.reference import count_decided, score_cells
from fraudctl.monitor.series import VOLUME, Series, Tier, deviations, figures, series_of

REFERENCE, AFTER, CHANGE, PER_DAY = 42, 20, 10, 400
FIRST = date(2026, 2, 2)
"""A Monday; clocks in Berlin go forward on 29 March, in the days after the reference."""
ZONE = "Europe/Berlin"


@cache
def world() -> pl.DataFrame:
    """Events at local times with the same habits on every day."""
    rng = np.random.default_rng(4)
    days = REFERENCE + AFTER
    n = days * PER_DAY
    day = np.repeat(np.arange(days), PER_DAY)
    minutes = np.clip(rng.normal(15 * 60, 180, n), 200, 1439).astype(int)
    local = [
        datetime(FIRST.year, FIRST.month, FIRST.day) + timedelta(days=int(d), minutes=int(m))
        for d, m in zip(day, minutes, strict=True)
    ]
    score = rng.beta(0.4, 12.0, n)
    return pl.DataFrame(
        {
            "event_time": pl.Series(local)
            .dt.replace_time_zone(ZONE)
            .dt.convert_time_zone("UTC")
            .cast(pl.Datetime("us", "UTC")),
            "day": day,
            "amount": rng.gamma(2.0, 40.0, n),
            "channel": rng.choice(["web", "shop", "app"], n, p=[0.6, 0.3, 0.1]),
            "y_prob": score,
        }
    ).sort("event_time")


def decided(frame: pl.DataFrame) -> pl.DataFrame:
    review = pl.col("y_prob") >= 0.12
    cost = pl.when(review).then(3.0).otherwise(pl.col("y_prob") * pl.col("amount").fill_null(0.0))
    return frame.with_columns(
        alert=review, expected_cost=cost, action=pl.when(review).then(pl.lit("review")).otherwise(pl.lit("allow"))
    )


@cache
def learned() -> tuple[Watch, DayCounts, tuple[Cells, ...], tuple[Cells, ...]]:
    """The reference, learned once for all tests."""
    before = world().filter(pl.col("day") < REFERENCE)
    plain = (
        cells_of("amount", before["amount"], "float"),
        cells_of("channel", before["channel"], "category"),
        Cells("hour", "hour"),
    )
    scored = tuple(score_cells(before["y_prob"].to_numpy(), [0.12], ["allow", "review"]))
    counts = counted(before, plain, scored, 0, REFERENCE)
    series: list[Series] = [
        one for item in (*plain, *scored) for one in series_of(item, counts.cells[item.name].sum(axis=0))
    ]
    series.append(VOLUME)
    watch = learn(figures(counts, series), counts.days, series, per_year=1.0, window_days=0.0, seed=0)
    return watch, counts, plain, scored


def counted(
    frame: pl.DataFrame, plain: tuple[Cells, ...], scored: tuple[Cells, ...], first: int, stop: int
) -> DayCounts:
    start = FIRST.toordinal() - 719_163
    days = np.arange(start + first, start + stop)
    one = count_days(frame, plain, timezone=ZONE, days=days)
    two = count_decided(decided(frame), scored, timezone=ZONE, days=days)
    return DayCounts(days, one.events, {**one.cells, **two.cells}, two.sums)


def changed(change: dict[str, pl.Expr] | None = None, *, since: int = CHANGE, keep: float = 1.0) -> pl.DataFrame:
    """Give the days after the reference, with columns changed, or events lost, from a day on."""
    frame = world().filter(pl.col("day") >= REFERENCE)
    late = pl.col("day") >= REFERENCE + since
    frame = frame.with_columns(
        pl.when(late).then(expr).otherwise(name).alias(name) for name, expr in (change or {}).items()
    )
    if keep < 1.0:
        frame = frame.filter(~late | (pl.int_range(pl.len()) * 7919 % 1000 < 1000 * keep))
    return frame


def after(change: dict[str, pl.Expr] | None = None, *, since: int = CHANGE, keep: float = 1.0) -> WatchedDays:
    """Watch the days after the reference, changed so."""
    watch, before, plain, scored = learned()
    frame = changed(change, since=since, keep=keep)
    now = counted(frame, plain, scored, REFERENCE, REFERENCE + AFTER)
    found = figures(now, watch.series)
    return WatchedDays(watch, before, now, found, follow(watch, found, now.days))


def groups(days: WatchedDays) -> tuple[MovedGroup, ...]:
    return moved_groups(days, EffectFloors())


def first_day(since: int = CHANGE) -> date:
    return FIRST + timedelta(days=REFERENCE + since)


def test_unchanged_days_are_quiet_over_a_change_of_clocks() -> None:
    assert first_day(0) < date(2026, 3, 29) < first_day(AFTER)
    assert groups(after()) == ()


def test_clocks_in_the_wrong_zone_are_a_matter_of_the_data() -> None:
    found = groups(after({"event_time": pl.col("event_time") + pl.duration(hours=1)}))
    assert [item.tier for item in found] == ["data"]
    assert found[0].leading.column == "hour"
    assert found[0].leading.first_day_low <= first_day() <= found[0].leading.first_day_high


@pytest.mark.parametrize(
    ("change", "column", "figure"),
    [
        ({"amount": pl.lit(None, dtype=pl.Float64)}, "amount", "null share"),
        ({"channel": pl.lit(None, dtype=pl.String)}, "channel", "null share"),
        ({"channel": pl.int_range(pl.len()).cast(pl.String)}, "channel", "share of values not seen before"),
        ({"amount": pl.lit(float("inf"))}, "amount", "share of values that are not finite"),
    ],
)
def test_null_columns_and_new_values_are_one_alarm_of_the_data(
    change: dict[str, pl.Expr], column: str, figure: str
) -> None:
    found = groups(after(change))
    assert [item.tier for item in found] == ["data"]
    assert (found[0].leading.column, found[0].leading.figure) == (column, figure)
    assert found[0].leading.first_day == first_day()
    assert found[0].leading.now == pytest.approx(1.0)
    assert found[0].counts


def test_lost_events_are_missing_and_many_are_drift() -> None:
    lost = groups(after(keep=0.3))
    assert lost[0].tier == "data"
    assert lost[0].leading.figure == VOLUME.what
    assert lost[0].leading.now == pytest.approx(0.3 * PER_DAY, rel=0.05)
    fewer = groups(after(keep=0.75))
    assert [item.tier for item in fewer] == ["drift"]
    assert next(item for item in fewer[0].effects if item.name == "events a day").change == pytest.approx(
        -0.25, abs=0.02
    )


def test_days_without_an_event_after_a_jump_of_the_clock_are_missing_events() -> None:
    found = groups(after(keep=0.0))
    assert [item.tier for item in found] == ["data"]
    assert (found[0].leading.figure, found[0].leading.now) == (VOLUME.what, 0.0)
    assert found[0].leading.first_day == first_day()


def test_what_moves_neither_alerts_nor_cost_is_no_alarm() -> None:
    swapped = pl.when(pl.col("channel") == "shop").then(pl.lit("app")).otherwise("channel")
    found = groups(after({"channel": swapped}))
    assert [item.leading.column for item in found] == ["channel"]
    assert not found[0].counts
    assert all(abs(item.change) <= max(item.floor, item.beyond) for item in found[0].effects)


def test_higher_scores_are_drift_with_their_cost() -> None:
    found = groups(after({"y_prob": (pl.col("y_prob") * 1.6).clip(0, 1)}))
    assert [item.tier for item in found] == ["drift"]
    assert {item.column for item in found[0].moved} <= {"score", "action"}
    effect = {item.name: item for item in found[0].effects}
    assert effect["alert rate"].change > 0.3
    assert effect["alert rate"].matters
    days = after({"y_prob": (pl.col("y_prob") * 1.6).clip(0, 1)})
    late = days.now.days >= first_day().toordinal() - 719_163
    cost = days.now.sums["expected_cost"][late].sum() / PER_DAY / late.sum()
    usual = days.reference.sums["expected_cost"].sum() / PER_DAY / REFERENCE
    assert found[0].money_per_day == pytest.approx((cost - usual) * PER_DAY, rel=0.25)


@pytest.mark.parametrize(("change", "keep"), [({"y_prob": (pl.col("y_prob") * 1.6).clip(0, 1)}, 1.0), ({}, 0.3)])
def test_effects_of_a_shift_are_recounted_from_the_rows(change: dict[str, pl.Expr], keep: float) -> None:
    found = groups(after(change, keep=keep))
    assert found
    assert all(item.effects for item in found)
    local = decided(world()).with_columns(date=pl.col("event_time").dt.convert_time_zone(ZONE).dt.date())
    before = local.filter(pl.col("day") < REFERENCE).to_dicts()
    now = decided(changed(change, keep=keep)).with_columns(
        date=pl.col("event_time").dt.convert_time_zone(ZONE).dt.date()
    )
    for item in found:
        RECOUNT_MONITOR[type(item)](item, Watched(before, now.to_dicts()))


def test_a_world_without_alerts_has_no_effect_to_speak_of() -> None:
    days = after({"y_prob": pl.lit(0.0)})
    nothing = {
        name: np.zeros_like(values) if name == "alerts" else values for name, values in days.reference.sums.items()
    }
    found = moved_groups(replace(days, reference=replace(days.reference, sums=nothing)), EffectFloors())
    assert all(effect.name != "alert rate" for item in found for effect in item.effects)
    assert groups(replace(days, reference=replace(days.reference, sums={})))[0].counts


def test_a_noted_shift_is_quiet_and_armed_again() -> None:
    days = after({"amount": pl.lit(None, dtype=pl.Float64)})
    watch, found, numbers = days.watch, days.figures, days.now.days
    since = first_day().toordinal() - 719_163
    name = "amount: null share"
    note = Acknowledged((name, "amount: level"), since, since + 6)
    z = deviations(found, weekdays(numbers), watch.expected)
    accepted = accepted_deviations(z, numbers, watch.series, [note])
    at = [item.name for item in watch.series].index(name)
    assert np.allclose((z - accepted)[numbers <= since + 6, at], 0)
    assert np.abs((z - accepted)[numbers > since + 6, at]).max() < 1e-6
    others = [k for k, item in enumerate(watch.series) if item.name not in note.series]
    assert not accepted[:, others].any()
    path = follow(watch, found, numbers, accepted)
    quiet = moved_groups(replace(days, path=path), EffectFloors())
    assert name not in {f"{item.column}: {item.figure}" for group in quiet for item in group.moved}


def test_ids_depend_on_what_an_alarm_is_about() -> None:
    assert alarm_id("m", "data", "x", "2026-01-01") == alarm_id("m", "data", "x", "2026-01-01")
    assert len({alarm_id("m", tier, name, "d") for tier in ("data", "drift") for name in ("a", "b")}) == 4
    assert datetime(2026, 3, 29, 12, tzinfo=UTC).astimezone(ZoneInfo(ZONE)).hour == 14


def test_a_badly_dated_figure_joins_the_nearest_first_day_and_joins_no_two() -> None:
    def moved(column: str, first: int, low: int, high: int) -> tuple[Tier, MovedSeries]:
        days = [date(2026, 3, day) for day in (first, low, high)]
        return "drift", MovedSeries(column, "level", 0.0, 0.1, 2.0, 7, *days)

    groups = _together(
        [
            moved("slow", 8, 1, 20),
            moved("a", 5, 4, 6),
            moved("b", 15, 14, 16),
            moved("c", 6, 5, 7),
            moved("d", 28, 27, 29),
        ]
    )
    assert sorted(sorted(item.column for _, item in group) for group in groups) == [["a", "c", "slow"], ["b"], ["d"]]


def test_another_mix_of_weekdays_is_no_change_of_the_volume() -> None:
    """Weekends and workdays that change places move single days far, and the week as a whole not at all."""
    reference = np.tile([100.0, 100, 100, 100, 100, 40, 40], 8)
    for now, matters in (
        (np.tile([40.0, 40, 100, 100, 100, 100, 100], 2), False),
        (np.tile([200.0, 200, 200, 200, 200, 80, 80], 2), True),
    ):
        before = DayCounts(np.arange(4, 60), reference.astype(np.int64), {})  # day 4 was a Monday
        late = DayCounts(np.arange(60, 74), now.astype(np.int64), {})
        days = WatchedDays(None, before, late, None, None)  # type: ignore[arg-type]
        found = _volume(days, np.arange(14) == 0)
        assert found.matters == matters
        assert found.change == pytest.approx(float(now[-7:].sum() / 580 - 1 if not matters else 1.0), abs=0.1)


@pytest.mark.parametrize("reason", [{}, {"y_prob": (pl.col("y_prob") * 1.6).clip(0, 1)}])
def test_where_the_volume_moved_alone_alert_rate_and_cost_are_no_effects(reason: dict[str, pl.Expr]) -> None:
    """How much single days differ in them is no reason for an alarm on the number of events."""
    found = groups(after(reason, keep=0.6))
    group = next(item for item in found if any(moved.column == "volume" for moved in item.moved))
    decisive = {moved.column for moved in group.moved} & {"score", "action", "amount"}
    names = {effect.name for effect in group.effects}
    assert "events a day" in names
    assert ("alert rate" in names) == bool(decisive) == bool(reason)
    assert (group.money_per_day is None) == (not decisive)


def test_alerts_that_the_watch_saw_nothing_of_have_to_change_surely() -> None:
    """A feature moved and neither score, action nor amount did: one look in ten is beyond 1.645 standard errors."""
    reference = np.random.default_rng(2).poisson(10, 56).astype(np.float64)
    size = np.full(56, 500.0)
    before = DayCounts(np.arange(56), size.astype(np.int64), {}, {"alerts": reference, "expected_cost": 40 * size,
                                                                 "decided": size})  # fmt: skip
    late = np.arange(56, 63)
    for alerts, matters in ((12.5, (True, False)), (20.0, (True, True))):
        now = DayCounts(late, size[:7].astype(np.int64), {}, {"alerts": np.full(7, alerts), "decided": size[:7],
                                                              "expected_cost": 40 * size[:7]})  # fmt: skip
        days = WatchedDays(None, before, now, None, None)  # type: ignore[arg-type]
        found = tuple(_group(days, [("drift", moved(column))], EffectFloors()).counts for column in ("score", "age"))
        assert found == matters


def moved(column: str) -> MovedSeries:
    day = date(1970, 1, 1) + timedelta(days=56)
    return MovedSeries(column, "level", 0.0, 0.1, 1.2, 7, day, day, day)


def test_a_figure_that_is_off_from_the_first_day_on_may_have_been_so_before() -> None:
    days = np.arange(40)
    for first in (0, 20):
        z = np.where(days >= first, 3.0, 0.0) + np.random.default_rng(3).normal(0, 0.3, 40)
        found = onset(z, days, spread=1.0, ramps=(1, 7))
        assert found.low <= first <= found.high
        assert (found.low == 0) == (first == 0)
