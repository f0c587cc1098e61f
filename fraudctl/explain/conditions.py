"""Conditions that slices and rules are made of: a value of a category, a range of a number, an hour, a weekday, a day.

Owns the binning, the words of a condition and what it means. A condition is tested as it reads: a bound is rounded to
the digits that are written before a row is compared with it. Bins depend on the events and never on who erred, so a
permutation of errors leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.explain.money import segment_columns
from fraudctl.explain.scene import Scene
from fraudctl.text.figures import day
from fraudctl.text.wording import as_said, level_text, said, spoken

MIN_SHARE: Final = 0.01
"""A condition holds for at least this share of the alerted or of the allowed events, and not for most of both."""
MAX_SHARE: Final = 0.6
MAX_LEVELS: Final = 25
SPIKE: Final = 0.2
"""A single value that holds this share of a number's rows is a bin of its own (zero-inflated counts)."""
MOST: Final = 160
"""Conditions that are searched: those of segments, the clock, the amount, then the features in the model's order."""
DIGITS: Final = range(3, 16)
"""Significant digits of a bound: as few as tell the rows apart."""


@dataclass(frozen=True)
class Condition:
    """A condition in words on one column, and its meaning.

    Attributes
    ----------
    kind
        ``level``: the value as text is `value`. ``number``: the number lies in (`low`, `high`], is not `but`, or is
        unknown where `or_unknown`. ``equal``: the number is `low`. ``known``, ``unknown``: the value is there or null.
        ``hours``: the local hour lies in [`low`, `high`). ``weekend``: a local Saturday or Sunday. ``day``: the local
        day is `value` in ISO form.
    """

    column: str
    """Column that the condition is on."""
    words: str
    """The condition in words."""
    kind: Literal["level", "number", "equal", "known", "unknown", "hours", "weekend", "day"]
    value: str = ""
    """The value, as text; used by the kinds that name one."""
    low: float | None = None
    """Low end, or the number itself; null where unbounded."""
    high: float | None = None
    """High end; null where unbounded."""
    but: float | None = None
    """Number in the range that is excepted; null without one."""
    or_unknown: bool = False
    """Whether unknown values meet the condition too."""

    @property
    def is_day(self) -> bool:
        """Whether it names one day."""
        return self.kind == "day"

    @property
    def is_segment(self) -> bool:
        """Whether it names a value of a category."""
        return self.kind == "level"


def holds(condition: Condition, frame: pl.DataFrame, *, timezone: str) -> BoolArray:
    """Return where a condition holds, shape ``(n_events,)``.

    Parameters
    ----------
    frame
        Feature-table rows with ``event_time`` and the column of the condition.
    """
    return _met(condition, _read(condition, frame, timezone=timezone))


def _read(condition: Condition, frame: pl.DataFrame, *, timezone: str) -> pl.Series | FloatArray:
    """Return what a condition is tested on: local times, values as text, or numbers."""
    if condition.kind in {"hours", "weekend", "day"}:
        return frame["event_time"].dt.convert_time_zone(timezone)
    series = frame[condition.column]
    return level_text(series) if condition.kind == "level" else numbers(series)


def _met(condition: Condition, values: pl.Series | FloatArray) -> BoolArray:
    """Return where a condition holds of what `_read` returned for it."""
    if not isinstance(values, pl.Series):
        return _number_holds(condition, values)
    if condition.kind == "level":
        return np.asarray((values == condition.value).to_numpy())
    return _clock_holds(condition, values)


def _number_holds(condition: Condition, values: FloatArray) -> BoolArray:
    missing = np.isnan(values)
    if condition.kind in {"known", "unknown"}:
        return np.asarray(missing == (condition.kind == "unknown"))
    with np.errstate(invalid="ignore"):
        if condition.kind == "equal":
            return np.asarray(values == condition.low)
        inside = ~missing
        if condition.low is not None:
            inside &= values > condition.low
        if condition.high is not None:
            inside &= values <= condition.high
        if condition.but is not None:
            inside &= values != condition.but
    return np.asarray(inside | missing if condition.or_unknown else inside)


def _clock_holds(condition: Condition, local: pl.Series) -> BoolArray:
    if condition.kind == "day":
        return np.asarray((local.dt.date() == date.fromisoformat(condition.value)).to_numpy())
    if condition.kind == "weekend":
        return np.asarray(local.dt.weekday().to_numpy() >= 6)
    hour = local.dt.hour().to_numpy()
    return np.asarray((hour >= condition.low) & (hour < condition.high))


def numbers(series: pl.Series) -> FloatArray:
    """Return a column as numbers; null is NaN."""
    return np.asarray(series.cast(pl.Float64).fill_null(np.nan).to_numpy(), dtype=np.float64)


def number_condition(
    column: str,
    words: str,
    *,
    low: float | None = None,
    high: float | None = None,
    but: float | None = None,
    or_unknown: bool = False,
    digits: int = 3,
) -> Condition:
    """Return the condition that a number lies in (``low``, ``high``]; its bounds are rounded to what is written."""
    low, high = (None if end is None else as_said(words, end, digits) for end in (low, high))
    parts = [f"over {said(words, low, digits)}"] if low is not None else []
    parts += [f"at most {said(words, high, digits)}"] if high is not None else []
    inside = but is not None and (low is None or but > low) and (high is None or but <= high)
    text = f"{spoken(words)} is {' and '.join(parts)}"
    text += f" but not {said(words, but, digits)}" if inside and but is not None else ""
    text += " or unknown" if or_unknown else ""
    return Condition(column, text, "number", low=low, high=high, but=but if inside else None, or_unknown=or_unknown)


def find_conditions(scene: Scene, rows: IntArray) -> tuple[list[Condition], BoolArray, int]:
    """Return conditions, where they hold, and how many there would be without `MOST`.

    Where they hold has the shape ``(len(rows), n_conditions)``.
    """
    alert, frame, timezone = scene.alert[rows], scene.scored[rows], scene.project.data.timezone
    useful = [pair for pair in _each_held(_all_conditions(scene, frame), frame, timezone) if _useful(pair[1], alert)]
    days = list(_each_held(_days(scene.day.gather(rows)), frame, timezone))
    kept = [*useful[:MOST], *days]
    n_possible = len(useful) + len(days)
    if not kept:
        return [], np.zeros((len(rows), 0), dtype=bool), n_possible
    return [item for item, _ in kept], np.column_stack([held for _, held in kept]), n_possible


def _each_held(
    conditions: Iterable[Condition], frame: pl.DataFrame, timezone: str
) -> Iterator[tuple[Condition, BoolArray]]:
    """Yield conditions and where they hold; neighbours on one column read it once."""
    for _, group in groupby(conditions, lambda item: (item.column, item.is_segment)):
        items = list(group)
        values = _read(items[0], frame, timezone=timezone)
        yield from ((item, _met(item, values)) for item in items)


def _all_conditions(scene: Scene, frame: pl.DataFrame) -> Iterator[Condition]:
    words = {item.name: item.words or item.name for item in scene.features}
    segments = segment_columns(scene)
    taken = {*segments, *scene.clock_features}
    names = [item.name for item in scene.features if frame.schema[item.name].is_numeric() and item.name not in taken]
    if "amount" in frame.columns:
        names = list(dict.fromkeys(["amount", *names]))
    protected = set(scene.project.features.protected)
    for name in segments:
        if name not in protected:
            yield from _levels(frame[name], words.get(name, name))
    yield from _clock()
    for name in names:
        if name not in protected:
            yield from _bins(frame[name], words.get(name, name))


def _useful(held: BoolArray, alert: BoolArray) -> bool:
    shares = [held[side].mean() if side.any() else 0.0 for side in (alert, ~alert)]
    return bool(max(shares) >= MIN_SHARE and min(shares) <= MAX_SHARE and held.sum() >= 20)


def _levels(series: pl.Series, words: str) -> list[Condition]:
    counts = series.value_counts(name=".n").sort([".n", series.name], descending=[True, False]).head(MAX_LEVELS)
    link = ":" if series.dtype == pl.Boolean else " is"
    return [
        Condition(series.name, f"{words}{link} {value}", "level", value=value)
        for value in sorted(level_text(counts[series.name]).to_list())
    ]


def _bins(series: pl.Series, words: str) -> list[Condition]:
    """Cut a number: null, a spike such as zero, and quartiles of the rest."""
    out: list[Condition] = []
    name, column = spoken(words), series.name
    values = numbers(series)
    missing = np.isnan(values)
    if missing.any():
        out.append(Condition(column, f"{name} is unknown", "unknown"))
    known = values[~missing]
    if not len(known):
        return out
    level, n = np.unique(known, return_counts=True)
    spike = float(level[n.argmax()]) if n.max() >= SPIKE * len(values) else None
    rest = known if spike is None else known[known != spike]
    if spike is not None:
        out.append(_equal(column, words, spike))
    if len(rest) < 40:
        return out
    q1, q3, q9 = (float(q) for q in np.quantile(rest, [0.25, 0.75, 0.9]))
    digits = digits_for(words, (q1, q3, q9), rest)
    out.append(number_condition(column, words, high=q1, but=spike, digits=digits))
    out.append(number_condition(column, words, low=q1, high=q3, but=spike, digits=digits))
    out.append(number_condition(column, words, low=q3, but=spike, digits=digits))
    if q9 > q3:
        out.append(number_condition(column, words, low=q9, but=spike, digits=digits))
    return out


def _equal(column: str, words: str, value: float) -> Condition:
    """Return the condition that a number is one value, written with all the digits that it needs."""
    digits = next((n for n in DIGITS if as_said(words, value, n) == value), DIGITS[-1])
    return Condition(column, f"{spoken(words)} is {said(words, value, digits)}", "equal", low=value)


def digits_for(words: str, bounds: tuple[float, ...], values: FloatArray) -> int:
    """Return the fewest digits that keep bounds apart and put no more than one value in a hundred on another side."""
    exact = [values <= bound for bound in bounds]
    for digits in DIGITS:
        rounded = [as_said(words, bound, digits) for bound in bounds]
        moved = max((int((side != (values <= to)).sum()) for side, to in zip(exact, rounded, strict=True)), default=0)
        if len(set(rounded)) == len(set(bounds)) and moved <= 0.01 * len(values):
            return digits
    return DIGITS[-1]


def _clock() -> list[Condition]:
    out = [
        Condition("hour", f"it is between {low} and {high} h", "hours", low=low, high=high)
        for low, high in ((0, 6), (6, 12), (12, 18), (18, 24))
    ]
    out.append(Condition("weekday", "it is a weekend", "weekend"))
    return out


def _days(column: pl.Series) -> list[Condition]:
    values = sorted(column.unique().to_list())
    if len(values) < 3:
        return []
    return [Condition("day", f"it is {day(value)}", "day", value=value.isoformat()) for value in values]
