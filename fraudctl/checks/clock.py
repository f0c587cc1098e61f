"""What the time of the event alone says of its outcome: periods with one class only, outcomes that it tells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

import polars as pl

from fraudctl.checks.data import Data
from fraudctl.checks.report import Finding, counted
from fraudctl.text.figures import percent

SURE: Final = 1e-4
"""Chance below which a period with one class only is no accident."""
ENOUGH: Final = 0.05
"""Share of the events of the class that such periods have to hold, at least."""
UNITS: Final = (("week", "1w"), ("day", "1d"), ("hour", "1h"))


def check_clock(data: Data) -> Iterator[Finding]:
    """Find weeks, days or hours with frauds only or legitimate events only; else outcomes that the time tells."""
    column = data.project.data.event_time
    if column is None or data.event_time is None or data.label is None:
        return
    found = [*_one_class(data, column)]
    yield from found
    if not found:
        yield from _tells(data, column, data.event_time)


def one_class_periods(hours: pl.DataFrame, unit: str) -> pl.DataFrame:
    """Return periods of a unit of Polars: ``at`` (local start), ``n``, ``frauds``, ``only`` (1, 0 or null).

    ``only`` is the class of a period that holds one class only and is surely no accident; ``hours`` are `Data.hours`.
    """
    ripe = hours.filter(pl.col("ripe") > 0).select("at", "frauds", n="ripe")
    counts = ripe.group_by(pl.col("at").dt.truncate(unit)).agg(pl.col("n", "frauds").sum()).sort("at")
    total, frauds = int(counts["n"].sum()), int(counts["frauds"].sum())
    if not 0 < frauds < total:
        return counts.with_columns(only=pl.lit(None, pl.Int8))
    base, allowed = frauds / total, math.log(SURE / max(1, counts.height))
    fraud = pl.lit(_more_than_chance(counts, base))
    legit = pl.col("n") * math.log(1 - base) < allowed
    only = (
        pl.when((pl.col("frauds") == pl.col("n")) & fraud).then(1)
        .when((pl.col("frauds") == 0) & legit).then(0).otherwise(None)
    )  # fmt: skip
    return counts.with_columns(only=only.cast(pl.Int8))


def _more_than_chance(counts: pl.DataFrame, base: float) -> bool:
    """Say whether periods with frauds only hold twice the events, and five standard errors more, than by chance.

    Frauds come in bursts, so that single periods without one say little; legitimate events do not.
    """
    n, chance = counts["n"].to_numpy(), base ** counts["n"].to_numpy()
    expected, variance = float((n * chance).sum()), float((n**2 * chance * (1 - chance)).sum())
    found = int(counts.filter(pl.col("frauds") == pl.col("n"))["n"].sum())
    return found >= 2 * expected and found - expected > 5 * math.sqrt(max(variance, 1.0))


def _one_class(data: Data, column: str) -> Iterator[Finding]:
    """Yield one finding for each class that has periods of its own, in the unit that shows most of it."""
    tables = [(name, one_class_periods(data.hours, unit)) for name, unit in UNITS]
    for outcome, what in ((1, "frauds"), (0, "legitimate events")):
        best: tuple[float, str, pl.DataFrame] | None = None
        for name, table in tables:
            alone = table.filter(pl.col("only") == outcome)
            of_class = int((table["frauds"] if outcome else table["n"] - table["frauds"]).sum())
            share = int(alone["n"].sum()) / max(1, of_class)
            if share >= ENOUGH and (best is None or share > 1.2 * best[0]):
                best = share, name, alone
        if best is not None:
            yield _periods(column, what, best[0], best[1], best[2])


def _periods(column: str, what: str, share: float, unit: str, alone: pl.DataFrame) -> Finding:
    first, last = _day(alone["at"].min()), _day(alone["at"].max())
    n_rows = int(alone["n"].sum())
    other = "legitimate events" if what == "frauds" else "frauds"
    told = (
        f"{counted(alone.height, unit)} between {first} and {last} {'holds' if alone.height == 1 else 'hold'} {what} "
        f"only ({n_rows:,}, {percent(share)} of all {what}): {other} of these {unit}s are missing, or the time tells "
        "the outcome"
    )
    counts: dict[str, float] = {"n_periods": alone.height, "n_rows": n_rows, "share": share}
    hint = f"add the {other} of these {unit}s, or leave the {unit}s out: a test on them shows nothing"
    return Finding("one-class", "warning", column, told, counts, hint)


def _day(value: object) -> date | None:
    return value.date() if isinstance(value, datetime) else None


def _tells(data: Data, column: str, times: pl.Series) -> Iterator[Finding]:
    """Find outcomes that parts of the time give away: when in the period, at which hour, at a full minute or second."""
    outcomes = data.outcomes
    if outcomes is None:
        return
    local = times.dt.convert_time_zone(data.project.data.timezone)
    micros = times.cast(pl.Int64)
    parts = {
        "how late it is": micros, "the hour of the day": local.dt.hour(), "the day of the week": local.dt.weekday(),
        "midnight": local.dt.time() == pl.Series([0]).cast(pl.Time)[0], "a full minute": micros % 60_000_000 == 0,
        "a full second": micros % 1_000_000 == 0,
    }  # fmt: skip
    for what, values in parts.items():
        found = outcomes.suspects(values.alias(column))
        if found:
            told = f"the time of the event tells its outcome, by {what}: {found[0].words}"
            hint = "were frauds and legitimate events written by different systems?"
            yield Finding("time-tells", "warning", column, told, dict(found[0].figures), hint)
            return
