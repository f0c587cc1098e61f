"""Conditions that slices are made of: a value of a category, a range of a number, an hour, a weekday, a day.

Owns the binning. Bins depend on the events and never on who erred, so a permutation of errors leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from fraudctl.explain.money import segment_columns
from fraudctl.explain.scene import BoolArray, IntArray, Scene
from fraudctl.explain.wording import level_text, said, spoken

MIN_SHARE: Final = 0.01
"""A condition holds for at least this share of the alerted or of the allowed events, and not for most of both."""
MAX_SHARE: Final = 0.6
MAX_LEVELS: Final = 25
SPIKE: Final = 0.2
"""A single value that holds this share of a number's rows is a bin of its own (zero-inflated counts)."""
MOST: Final = 160
"""Conditions that are searched: those of segments, the clock, the amount, then the features in the model's order."""


@dataclass(frozen=True)
class Condition:
    """A condition in words on one column."""

    column: str
    words: str
    is_day: bool = False
    is_segment: bool = False


def find_conditions(scene: Scene, rows: IntArray) -> tuple[list[Condition], BoolArray, int]:
    """Give conditions, where they hold, and how many there would be without `MOST`.

    Where they hold has the shape ``(len(rows), n_conditions)``.
    """
    alert = scene.alert[rows]
    useful = [(item, held) for item, held in _all_conditions(scene, rows) if _useful(held, alert)]
    days = _days(scene.day.gather(rows))
    kept = [*useful[:MOST], *days]
    n_possible = len(useful) + len(days)
    if not kept:
        return [], np.zeros((len(rows), 0), dtype=bool), n_possible
    return [item for item, _ in kept], np.column_stack([held for _, held in kept]), n_possible


def _all_conditions(scene: Scene, rows: IntArray) -> Iterator[tuple[Condition, BoolArray]]:
    frame = scene.scored[rows]
    words = {item.name: item.words or item.name for item in scene.features}
    segments = segment_columns(scene)
    taken = {*segments, *scene.clock_features}
    numbers = [item.name for item in scene.features if frame.schema[item.name].is_numeric() and item.name not in taken]
    if "amount" in frame.columns:
        numbers = list(dict.fromkeys(["amount", *numbers]))
    protected = set(scene.project.features.protected)
    for name in segments:
        if name not in protected:
            yield from _levels(frame[name], words.get(name, name))
    yield from _clock(frame, scene.project.data.timezone)
    for name in numbers:
        if name not in protected:
            yield from _bins(frame[name], words.get(name, name))


def _useful(held: BoolArray, alert: BoolArray) -> bool:
    shares = [held[side].mean() if side.any() else 0.0 for side in (alert, ~alert)]
    return bool(max(shares) >= MIN_SHARE and min(shares) <= MAX_SHARE and held.sum() >= 20)


def _levels(series: pl.Series, words: str) -> list[tuple[Condition, BoolArray]]:
    counts = series.value_counts(name="n").sort(["n", series.name], descending=[True, False]).head(MAX_LEVELS)
    text = level_text(series)
    values = sorted(level_text(counts[series.name]).to_list())
    link = ":" if series.dtype == pl.Boolean else " is"
    return [
        (Condition(series.name, f"{words}{link} {value}", is_segment=True), (text == value).to_numpy())
        for value in values
    ]


def _bins(series: pl.Series, words: str) -> list[tuple[Condition, BoolArray]]:
    """Cut a number: null, a spike such as zero, and quartiles of the rest."""
    out: list[tuple[Condition, BoolArray]] = []
    name, say = spoken(words), partial(said, words)
    missing = series.is_null().to_numpy()
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    if missing.any():
        out.append((Condition(series.name, f"{name} is unknown"), missing))
    known = values[~missing]
    if not len(known):
        return out
    level, n = np.unique(known, return_counts=True)
    spike = level[n.argmax()] if n.max() >= SPIKE * len(values) else None
    rest = known if spike is None else known[known != spike]
    if spike is not None:
        out.append((Condition(series.name, f"{name} is {say(float(spike))}"), values == spike))
    if len(rest) < 40:
        return out
    q1, q3, q9 = np.quantile(rest, [0.25, 0.75, 0.9])
    own = ~missing if spike is None else ~missing & (values != spike)
    with np.errstate(invalid="ignore"):
        out.append((Condition(series.name, f"{name} is at most {say(q1)}"), own & (values <= q1)))
        middle = f"{name} is between {say(q1)} and {say(q3)}"
        out.append((Condition(series.name, middle), own & (values > q1) & (values <= q3)))
        out.append((Condition(series.name, f"{name} is over {say(q3)}"), own & (values > q3)))
        if q9 > q3:
            out.append((Condition(series.name, f"{name} is over {say(q9)}"), own & (values > q9)))
    return out


def _clock(frame: pl.DataFrame, timezone: str) -> list[tuple[Condition, BoolArray]]:
    local = frame["event_time"].dt.convert_time_zone(timezone)
    hour, weekday = local.dt.hour().to_numpy(), local.dt.weekday().to_numpy()
    parts = {
        "between 0 and 6 h": (0, 6),
        "between 6 and 12 h": (6, 12),
        "between 12 and 18 h": (12, 18),
        "after 18 h": (18, 24),
    }
    out = [(Condition("hour", f"it is {name}"), (hour >= low) & (hour < high)) for name, (low, high) in parts.items()]
    out.append((Condition("weekday", "it is a weekend"), weekday >= 6))
    return out


def _days(day: pl.Series) -> list[tuple[Condition, BoolArray]]:
    values = sorted(day.unique().to_list())
    if len(values) < 3:
        return []
    return [(Condition("day", f"it is {value:%-d %b %Y}", is_day=True), (day == value).to_numpy()) for value in values]
