"""Checks of time: zone, range, order, resolution, gaps, and events far from all others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl

from fraudctl.checks.data import Data
from fraudctl.checks.report import Finding, counted

FAR_DAYS = 14
"""Events beyond a gap this long, and fewer than one in a thousand, are strays."""
FEW = 0.001
_OLD = datetime(1990, 1, 1, tzinfo=UTC)


def check_times(data: Data, *, now: datetime | None) -> Iterator[Finding]:
    """Find what is wrong with the time of the events; ``now`` (aware) makes later ones a finding."""
    times, column = data.event_time, data.project.data.event_time
    if column is None:
        what = (
            "the data have no time: no history, no maturity of labels, a random split that cannot show the future, and "
            "a model that can be evaluated but never score events"
        )
        yield Finding("time-none", "info", "data", what)
    if times is None or column is None:
        return
    if times.null_count():
        what = f"{counted(times.null_count(), 'time')} null; every event needs its time"
        yield Finding("time-null", "error", column, what, {"n_null": times.null_count()})
        times = times.drop_nulls()
        if not len(times):
            return
    yield from _zone(data, column)
    form = data.project.data.time
    if form is not None and form.invented_origin is not None:
        what = f"{data.project.data.times_note}, in any report"
        yield Finding("time-origin", "info", column, what, hint="[data.time] origin, where it is known")
    yield from _range(column, times, now)
    yield from _order(column, times)
    local = times.dt.convert_time_zone(data.project.data.timezone)
    yield from _resolution(column, local)
    yield from _days(column, local)


def _zone(data: Data, column: str) -> Iterator[Finding]:
    dtype, zone = data.schema[column], data.project.data.timezone
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        what = f"times are instants ({dtype.time_zone}); days and hours are those of {zone}"
    else:
        what = f"times carry no zone and are read as {zone}, which also defines days and hours"
    yield Finding("time-zone", "info", column, what, hint="[data] timezone sets it")


def _range(column: str, times: pl.Series, now: datetime | None) -> Iterator[Finding]:
    n_old = int((times < _OLD).sum())
    if n_old:
        what = f"{counted(n_old, 'event')} before 1990: a missing time written as 1970, or another unit?"
        yield Finding(
            "time-1970", "warning", column, what, {"n_rows": n_old}, "leave such rows out, or repair their times"
        )
    n_later = 0 if now is None else int((times > now).sum())
    if n_later:
        what = f"{counted(n_later, 'event')} later than now: the end of the data decides which outcomes count"
        yield Finding("time-future", "warning", column, what, {"n_rows": n_later}, "leave them out, or check the zone")


def _order(column: str, times: pl.Series) -> Iterator[Finding]:
    n_back = int((times.diff() < timedelta(0)).sum())
    if n_back:
        what = f"rows are not in order of time ({counted(n_back, 'step')} back); they are sorted on load"
        yield Finding("time-order", "info", column, what, {"n_steps_back": n_back})


def _resolution(column: str, local: pl.Series) -> Iterator[Finding]:
    if len(local) < 20:
        return
    if bool((local.dt.time() == pl.Series([0], dtype=pl.Int64).cast(pl.Time)[0]).all()):
        what = "all times are midnight: events of one day never see each other, and windows below a day are empty"
        yield Finding("time-resolution", "warning", column, what, hint="use a column with the time of the day")


def _days(column: str, local: pl.Series) -> Iterator[Finding]:
    counts = local.dt.date().alias("day").value_counts().sort("day")
    counts, strays = _without_strays(counts)
    for n_rows, days, side in strays:
        what = f"{counted(n_rows, 'event')} {days:,} days {side} all others"
        hint = "the latest event decides which outcomes count as mature: leave strays out, or repair their times"
        yield Finding("time-stray", "warning", column, what, {"n_rows": n_rows, "days": days}, hint)
    usual = counts["day"].diff().dt.total_days().median()
    missing = _missing_days(counts["day"]) if isinstance(usual, (int, float)) and usual <= 1 else []
    if missing:
        longest = _longest_run(missing)
        what = f"{counted(len(missing), 'day')} without any event, {longest} in a row at most"
        found: dict[str, float] = {"n_days": len(missing), "longest": longest}
        yield Finding("time-gap", "warning", column, what, found, "is a delivery missing?")


def _without_strays(counts: pl.DataFrame) -> tuple[pl.DataFrame, list[tuple[int, int, str]]]:
    """Cut the few events beyond a long gap at either end; each side gives (events, days away, side)."""
    found = []
    few = FEW * int(counts["count"].sum())
    gaps = counts.with_columns(
        gap=(pl.col("day") - pl.col("day").shift()).dt.total_days(),
        until=pl.col("count").cum_sum() - pl.col("count"),
        since=pl.col("count").cum_sum(reverse=True),
    ).filter(pl.col("gap") > FAR_DAYS)
    late = gaps.filter(pl.col("since") <= few).head(1)
    early = gaps.filter(pl.col("until") <= few).tail(1)
    if late.height:
        found.append((int(late["since"][0]), int(late["gap"][0]), "after"))
        counts = counts.filter(pl.col("day") < late["day"][0])
    if early.height:
        found.append((int(early["until"][0]), int(early["gap"][0]), "before"))
        counts = counts.filter(pl.col("day") >= early["day"][0])
    return counts, found


def _missing_days(days: pl.Series) -> list[date]:
    """Give the days without an event between the first and the last, weekdays that never have any left aside."""
    every = pl.date_range(days[0], days[-1], "1d", eager=True)
    open_weekdays = days.dt.weekday().unique()
    lost = every.filter(~every.is_in(days.implode()) & every.dt.weekday().is_in(open_weekdays.implode()))
    return lost.to_list()


def _longest_run(days: list[date]) -> int:
    longest = run = 1
    for before, after in pairwise(days):
        run = run + 1 if (after - before).days == 1 else 1
        longest = max(longest, run)
    return longest
