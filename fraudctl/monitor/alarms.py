"""From deviations to alarms: what moved, since when, how far, together with what, and whether it matters.

Owns which deviations are one alarm, and the floors below which nothing is one. A series is in alarm while it was beyond
the threshold in the latest week. Series whose first days may be the same moved together: they are one alarm, named by
the one that is farthest out. A drift counts only where it moves what is done or what it costs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.monitor.counts import DayCounts
from fraudctl.monitor.engine import MEMORIES, QUIET, Onset, Watch, WatchedPath, onset, weekdays
from fraudctl.monitor.series import WEEK, Figures, Series, Tier, shrunk_means
from fraudctl.text.figures import rounded_figure

LEAST_SHARE: Final = 0.002
"""A share of null or unknown values that is less than this above what it was is no alarm."""
LEAST_EVENTS: Final = 5
"""Nor is one of fewer events."""
HALF: Final = 0.5
"""Below this part of the expected volume, events are missing."""
LEAST_VOLUME: Final = 0.10
"""A change of the volume by less is no alarm."""
DECIDING: Final = frozenset({"score", "action", "amount"})
"""What alert rate and expected cost of an event are made of. Where the volume moved and none of these, they did not:
what is seen of them is how much days differ."""
BY_ITSELF: Final = 1.645
"""Standard errors up to which a mean differs by itself: nine in ten lie within."""
UNSUPPORTED: Final = 3.291
"""The same where the watch saw none of `DECIDING` move: 999 in 1,000 lie within. Then nothing but the change of alerts
or costs speaks for itself, and it is looked at every day: one look in ten would be beyond 1.645 by chance."""
EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class MovedSeries:
    """One watched figure that is not what it was."""

    column: str
    """What is watched: a feature, ``score``, ``action``, ``hour`` or ``volume``."""
    figure: str
    """Which figure of it."""
    before: float | None
    """What was expected by the reference."""
    now: float | None
    """What it has been since the first day of the change."""
    excess: float
    """How far beyond the threshold it went: 1 is the threshold."""
    memory_days: int
    """Days that the mean remembers which went farthest."""
    first_day: date
    """The likeliest first day of the change."""
    first_day_low: date
    """Start of the 90 % interval of the first day."""
    first_day_high: date
    """End of the 90 % interval of the first day."""
    or_before: bool = False
    """Whether the interval begins with the first day that is watched: then the change may be older."""


@dataclass(frozen=True)
class ShiftEffect:
    """What a shift does to something that people act on or pay for."""

    name: Literal["alert rate", "expected cost", "events a day"]
    """What is affected."""
    before: float
    """Per event in the reference; for the volume what days of the same weekdays had."""
    now: float
    """Since the first day of the change."""
    change: float
    """Change as a share of what it was."""
    floor: float
    """The share up to which a change does not matter."""
    beyond: float
    """The share that the mean of so many days differs by itself: 1.645 standard errors, up to which nine in ten lie;
    3.291, up to which 999 in 1,000 lie, of alerts and costs where neither score, action nor amount moved."""

    @property
    def matters(self) -> bool:
        """Whether the change exceeds the floor and what days differ by."""
        return abs(self.change) > self.floor and abs(self.change) > self.beyond


@dataclass(frozen=True)
class MovedGroup:
    """Series that moved together."""

    tier: Tier
    """``data`` where what is null, unknown or missing moved, or the times of day; else ``drift``."""
    moved: tuple[MovedSeries, ...]
    """The one that is farthest out first."""
    effects: tuple[ShiftEffect, ...]
    """What it does to alerts, cost and volume."""
    money_per_day: float | None
    """Expected cost a day now, less what it was; null where it is not known, or neither score, action nor amount
    moved with the volume."""

    @property
    def leading(self) -> MovedSeries:
        """The series that is farthest out."""
        return self.moved[0]

    @property
    def counts(self) -> bool:
        """Whether it is an alarm: data always, drift where it matters or nothing is known of its effects."""
        return self.tier == "data" or not self.effects or any(item.matters for item in self.effects)


@dataclass(frozen=True)
class WatchedDays:
    """Reference and watched days with their series.

    Attributes
    ----------
    reference, now
        Counts of the days of the reference and of those that are judged.
    figures
        Series of the judged days.
    """

    watch: Watch
    reference: DayCounts
    now: DayCounts
    figures: Figures
    path: WatchedPath


@dataclass(frozen=True)
class EffectFloors:
    """Shares up to which changes do not matter."""

    alert_rate: float = 0.05
    expected_cost: float = 0.05


def moved_groups(days: WatchedDays, floors: EffectFloors) -> tuple[MovedGroup, ...]:
    """Return what moved, data before drift, the farthest first."""
    if not len(days.path.days):
        return ()
    beyond = days.path.height / days.watch.threshold
    latest = beyond[-QUIET:]
    found = [
        (at, item, _moved(days, at, item, beyond[:, at]))
        for at, item in enumerate(days.watch.series)
        if latest[:, at].max() > 1.0
    ]
    kept = [(item, moved) for at, item, moved in found if _large(days, at, item, moved)]
    tiers = [(_tier(item, moved), moved) for item, moved in kept]
    groups = [_group(days, members, floors) for members in _together(tiers)]
    return tuple(sorted(groups, key=lambda item: (item.tier != "data", -item.leading.excess)))


def _moved(days: WatchedDays, at: int, item: Series, beyond: FloatArray) -> MovedSeries:
    stop = int(np.flatnonzero(beyond > 1.0)[-1]) + 1
    numbers = days.path.days
    weight = 2.0 / (MEMORIES[-1] + 1.0)
    spread = float(days.watch.scale[-1, at]) / math.sqrt(weight / (2.0 - weight))
    peak = np.abs(days.path.memories[:, :, at]).max(axis=1)
    ramps = MEMORIES[: int(peak.argmax()) + 1]
    since: Onset = onset(days.path.z[:stop, at], numbers[:stop], spread=max(spread, 1.0), ramps=ramps)
    rows = (numbers >= since.day) & (numbers <= numbers[stop - 1])
    before, now = _values(days, at, item, rows)
    return MovedSeries(
        column=item.column,
        figure=item.what,
        before=before,
        now=now,
        excess=round(float(beyond[-QUIET:].max()), 3),
        memory_days=int(MEMORIES[int(peak.argmax())]),
        first_day=day_of(since.day),
        first_day_low=day_of(since.low),
        first_day_high=day_of(since.high),
        or_before=since.low == int(numbers[0]),
    )


def day_of(number: int) -> date:
    """Return the date of a day counted from 1970-01-01."""
    return EPOCH + timedelta(days=int(number))


def _values(days: WatchedDays, at: int, item: Series, rows: BoolArray) -> tuple[float | None, float | None]:
    """Return what a series was expected to be and what it was on some days."""
    weekday = (days.path.days[rows] + 3) % 7
    x, n = days.figures.x[rows, at], days.figures.n[rows, at]
    known = np.isfinite(x)
    if not known.any():
        return None, None
    rate = days.watch.expected.rate[at]
    before = float(rate) if math.isfinite(rate) else float(days.watch.expected.mean[weekday[known], at].mean())
    if item.column == "volume":
        return _rounded(math.exp(before)), _rounded(float(n[known].mean()))
    return _rounded(before), _rounded(float((x[known] * n[known]).sum() / n[known].sum()))


def _rounded(value: float) -> float:
    return rounded_figure(value)


def _tier(item: Series, moved: MovedSeries) -> Tier:
    """Return the tier: a volume that is less than half of what is expected means that events are missing."""
    lost = item.column == "volume" and moved.now is not None and moved.before and moved.now < HALF * moved.before
    return "data" if lost else item.tier


def _large(days: WatchedDays, at: int, item: Series, moved: MovedSeries) -> bool:
    """Return whether a deviation is worth a word: shares of null, other and unknown by their size, volume too."""
    if moved.before is None or moved.now is None:
        return False
    if item.column == "volume":
        return abs(moved.now / max(moved.before, 1e-9) - 1.0) > LEAST_VOLUME
    if not item.share:
        return True
    since = (moved.first_day - EPOCH).days
    rows = days.path.days >= since
    events = abs(moved.now - moved.before) * float(np.nansum(days.figures.n[rows, at]))
    least = LEAST_SHARE if item.tier == "data" else 0.0
    return abs(moved.now - moved.before) >= least and events >= LEAST_EVENTS


def _together(found: Sequence[tuple[Tier, MovedSeries]]) -> list[list[tuple[Tier, MovedSeries]]]:
    """Group series whose intervals of the first day overlap with that of the one that is dated best.

    A series that is dated badly joins the group whose first day is nearest to its own; it joins no two.
    """
    groups: list[list[tuple[Tier, MovedSeries]]] = []
    for tier, item in sorted(found, key=lambda pair: (_width(pair[1]), pair[1].column, pair[1].figure)):
        near = [group for group in groups if _overlap(group[0][1], item)]
        if near:
            nearest = min(near, key=lambda group: abs((group[0][1].first_day - item.first_day).days))
            nearest.append((tier, item))
        else:
            groups.append([(tier, item)])
    return groups


def _width(item: MovedSeries) -> int:
    return (item.first_day_high - item.first_day_low).days


def _overlap(one: MovedSeries, other: MovedSeries) -> bool:
    return one.first_day_low <= other.first_day_high and other.first_day_low <= one.first_day_high


def _group(days: WatchedDays, members: Sequence[tuple[Tier, MovedSeries]], floors: EffectFloors) -> MovedGroup:
    """Return one group; where data moved, the rest of it is a consequence."""
    tier: Tier = "data" if any(item == "data" for item, _ in members) else "drift"
    order = sorted(members, key=lambda pair: (pair[0] != tier, -pair[1].excess, pair[1].column, pair[1].figure))
    moved = tuple(item for _, item in order)
    since = (moved[0].first_day - EPOCH).days
    rows = days.now.days >= since
    columns = {item.column for item in moved}
    effects, money = _effects(days, rows, floors, errors=BY_ITSELF if columns & DECIDING else UNSUPPORTED)
    if "volume" in columns and rows.any():
        effects, money = (effects, money) if columns & DECIDING else ((), None)
        effects = (*effects, _volume(days, rows))
    return MovedGroup(tier, moved, effects, money)


def _effects(
    days: WatchedDays, rows: BoolArray, floors: EffectFloors, *, errors: float
) -> tuple[tuple[ShiftEffect, ...], float | None]:
    """Return what changed in alerts and expected cost on some days, and the money a day.

    ``errors`` are the standard errors up to which their means differ by themselves.
    """
    before, now = days.reference.sums, days.now.sums
    if not {"alerts", "expected_cost", "decided"} <= set(before) & set(now) or not rows.any():
        return (), None
    alerts = _ratio("alert rate", before, now, "alerts", rows, floors.alert_rate, errors)
    cost = _ratio("expected cost", before, now, "expected_cost", rows, floors.expected_cost, errors)
    found = tuple(item for item in (alerts, cost) if item is not None)
    if cost is None:
        return found, None
    per_day = float(np.nanmean(now["decided"][rows]))
    return found, round((cost.now - cost.before) * per_day, 2)


def _volume(days: WatchedDays, rows: BoolArray) -> ShiftEffect:
    """Return what changed in the number of events a day, held against the same weekdays of the reference.

    Where the latest week as a whole has as many as ever, its weekdays made up for each other: then it is that of the
    week.
    """
    usual, weekday = days.reference.events.astype(np.float64), weekdays(days.reference.days)
    means, variance = shrunk_means(usual[:, None], weekday)
    week = float(means[weekdays(days.now.days[-WEEK:]), 0].mean())
    if abs(float(days.now.events[-WEEK:].mean()) / max(week, 1e-9) - 1.0) <= LEAST_VOLUME:
        rows = days.now.days > days.now.days[-1] - WEEK
    before = float(means[weekdays(days.now.days[rows]), 0].mean())
    now = float(days.now.events[rows].mean())
    spread = math.sqrt(float(variance[0])) / max(before, 1e-9)
    beyond = BY_ITSELF * spread / math.sqrt(int(rows.sum()))
    change = now / max(before, 1e-9) - 1.0
    return ShiftEffect("events a day", _rounded(before), _rounded(now), change, LEAST_VOLUME, beyond)


def _ratio(
    name: Literal["alert rate", "expected cost"],
    reference: Mapping[str, FloatArray],
    now: Mapping[str, FloatArray],
    key: str,
    rows: BoolArray,
    floor: float,
    errors: float,
) -> ShiftEffect | None:
    """Compare a mean per event before and now; days of the reference say how much it differs by itself."""
    top, base = reference[key], reference["decided"]
    known = np.isfinite(top) & (base > 0)
    late = np.isfinite(now[key]) & rows & (now["decided"] > 0)
    if known.sum() < 2 or not late.any():
        return None
    before = float(top[known].sum() / base[known].sum())
    after = float(now[key][late].sum() / now["decided"][late].sum())
    rest = (top[known] - before * base[known]) / base[known].mean()
    error = errors * float(rest.std(ddof=1)) * math.sqrt(1.0 / int(known.sum()) + 1.0 / int(late.sum()))
    scale = abs(before) if before else math.nan
    if math.isnan(scale):
        return None
    change = (after - before) / scale
    return ShiftEffect(name, _rounded(before), _rounded(after), change, floor, error / scale)


def alarm_id(model: str, tier: str, name: str, since: str) -> str:
    """Return the id of an alarm: 8 hex of what it is about."""
    return hashlib.sha256("\n".join((model, tier, name, since)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Acknowledged:
    """An alarm that a person took note of.

    Attributes
    ----------
    series
        Names of the series (`Series.name`).
    since, until
        Numbers of the first day of the change and of the last day that was judged then.
    """

    series: tuple[str, ...]
    since: int
    until: int


def accepted_deviations(
    z: FloatArray, days: IntArray, series: Sequence[Series], notes: Sequence[Acknowledged]
) -> FloatArray:
    """Return what is no longer held against series that were acknowledged, shape ``(n_days, n_series)``.

    Up to the acknowledgement that is all of the deviation. Later it is its mean since the change: the new level is
    what is expected, and the series is armed again. The mean is taken over at least a week, whose days are not judged.
    """
    out = np.zeros_like(z)
    names = [item.name for item in series]
    for note in notes:
        until = max(note.until, note.since + QUIET - 1)
        changed = (days >= note.since) & (days <= until)
        for name in note.series:
            if name not in names or not changed.any():
                continue
            at = names.index(name)
            level = float(z[changed, at].mean())
            out[:, at] = np.where(days <= until, z[:, at], level)
    return out
