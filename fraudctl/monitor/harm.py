"""Limits of harm, judged by intervals that hold at every look.

Owns the verdict on each limit of ``[monitor.harm]``. Two intervals answer two questions. What happened in the latest 28
days, once all labels will have come, lies in the 90 % interval of the estimate: a limit is *kept* where the whole of it
lies within. Whether more than chance is behind it is judged by confidence sequences (`fraudctl.sequences`), clustered
by the entities: a limit is *broken* where the whole of one lies beyond. In between it is *open*.

A sequence begins with each week and goes on for up to 13 weeks, looked at as often as one likes; a limit is broken
while the latest 28 days lie beyond it and a sequence says that this is no chance. All sequences of a year share what
the limits of harm may contribute to false alarms. They are taken over cohorts that are closed, whose labels are
complete, and over those that are final or open, whose labels may be yet to come; a verdict says which it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray
from fraudctl.metrics.ratios import Ratio
from fraudctl.monitor.cohort_sums import stretches
from fraudctl.monitor.decisions import COLUMNS
from fraudctl.monitor.performance import JudgedCohorts, LabelledFigure, Performance, figures_of
from fraudctl.monitor.seen import CONSTANTS, COST, FRAUDS, LOSS
from fraudctl.project import Project
from fraudctl.project.decisions import LimitSection
from fraudctl.project.monitor import SavingsLimitSection
from fraudctl.sequences import half_width, target_of
from fraudctl.uncertainty import Clusters, clustered_variance, too_few

LimitState = Literal["kept", "open", "broken", "unknown"]
Basis = Literal["closed", "estimate"]
"""Whether all labels of the cohorts are there, or they are estimated."""

_ARRAYS: Final[Mapping[str, type[np.generic]]] = {
    "cohort": np.float64, "flagged": np.bool_, "fraud": np.float64, "known": np.bool_, "volume": np.float64,
}  # fmt: skip
JUDGED_DAYS: Final = 28
"""The latest days, which have to lie beyond a limit that is broken."""
WEEKS_BACK: Final = (1, 2, 3, 4, 6, 9, 13)
"""Weeks before the end with which sequences that are looked at began."""
SHARE: Final = 0.25
"""What limits of harm may add to the false alarms that are promised over everything else, as a share of them."""
AIM: Final = 0.1
"""Sequences are narrowest where their half-width is this share of the limit."""
FIGURES: Final = {
    "fraud_loss_bps": "missed_bps",
    "recall": "recall",
    "value_recall": "value_recall",
    "precision": "precision",
    "savings": "savings",
    "false_positives_per_1000": "false_positives_per_1000",
}
"""Key of ``[monitor.harm]`` -> figure of `OutcomeFigures`; ``alerts_per_day`` is counted."""


@dataclass(frozen=True)
class PromisedSavings:
    """Savings of the gate that a promotion rests on."""

    version: str
    """The model."""
    value: float | None
    """Savings in its gate; None where the log does not say."""
    se: float = 0.0
    """Their standard error."""
    base: str | None = None
    """The constant action that they were measured against."""


@dataclass(frozen=True)
class SureFigure:
    """A figure of some cohorts with an interval that holds at every look."""

    basis: Basis
    """``closed``: the labels of these cohorts are complete; ``estimate``: some are yet to come."""
    first_day: date
    """First local day of the cohorts."""
    until_day: date
    """The first local day after them."""
    matured: float
    """Share of their frauds that is known."""
    value: float
    """The figure."""
    low: float
    """Low end of the confidence sequence."""
    high: float
    """High end."""


@dataclass(frozen=True)
class LimitVerdict:
    """What the latest 28 days say of a limit of the project file."""

    figure: str
    """Key of ``[monitor.harm]``."""
    at_least: float | None
    """The figure must not be lower; with ``no_worse_than``, the figure at promotion less that."""
    at_most: float | None
    """The figure must not be higher."""
    value: float | None
    """The figure, as expected once all labels have arrived; null where it is unknown."""
    low: float | None
    """Low end of the 90 % interval of what it will have been."""
    high: float | None
    """High end of the 90 % interval."""
    state: LimitState
    """`broken` where an interval that holds at every look lies beyond the limit, `kept` where the 90 % interval lies
    within, `open` otherwise, `unknown` where there is no figure."""
    reason: str | None
    """Why there is no figure."""
    no_worse_than: float | None = None
    """How much less than at promotion it may be."""
    promised: float | None = None
    """The figure at promotion, where the limit is against it."""
    sure: SureFigure | None = None
    """What the verdict `broken` rests on: of the sequences the one that is farthest beyond, closed cohorts first; else
    that of the latest 28 days. Null where there are too few clusters, and for ``alerts_per_day``."""

    @property
    def estimate_alone(self) -> bool:
        """Whether the limit is broken by the estimate alone: labels that are yet to come decide."""
        return self.state == "broken" and self.sure is not None and self.sure.basis == "estimate"


def limit_verdicts(
    judged: JudgedCohorts, found: Performance, project: Project, *, promised: PromisedSavings | None = None
) -> tuple[LimitVerdict, ...]:
    """Return what the latest 28 days say of each limit of ``[monitor.harm]``.

    Parameters
    ----------
    judged
        Estimated cohorts, with a column of `JudgedCohorts.taken` for each entity.
    found
        Performance of the same.
    promised
        Savings at promotion; None where no model was promoted after a gate.
    """
    limits = list(project.monitor.harm.limits())
    names = [name for name, _ in limits if name in FIGURES]
    alpha = SHARE * project.monitor.alarms_per_year / max(len(names), 1)
    sequences = _Sequences.of(judged, alpha) if names else None
    return tuple(_verdict(name, limit, found, sequences, promised) for name, limit in limits)


def _verdict(
    name: str, limit: LimitSection, found: Performance, sequences: _Sequences | None, promised: PromisedSavings | None
) -> LimitVerdict:
    figure = recent_figure(name, found)
    bound = _Bound.of(limit, promised)
    if bound.missing is not None:
        return _unknown(name, bound, bound.missing)
    sure = None if sequences is None or name not in FIGURES else sequences.farthest(name, bound)
    if figure.value is None or figure.low is None or figure.high is None:
        if sure is not None and bound.broken_by(sure.low, sure.high):
            return replace(_unknown(name, bound, figure.reason), state="broken", sure=sure)
        return replace(_unknown(name, bound, figure.reason or "no week is open or final"), sure=sure)
    low, high = figure.low, figure.high
    counted = name not in FIGURES
    broken = bound.broken_by(low, high) if counted else sure is not None and bound.broken_by(sure.low, sure.high)
    kept = (bound.low is None or low >= bound.low) and (bound.high is None or high <= bound.high)
    state: LimitState = "broken" if broken else "kept" if kept else "open"
    return LimitVerdict(
        name, bound.low, bound.high, figure.value, low, high, state, None, bound.margin, bound.promised, sure
    )


def _unknown(name: str, bound: _Bound, reason: str | None) -> LimitVerdict:
    return LimitVerdict(name, bound.low, bound.high, None, None, None, "unknown", reason, bound.margin, bound.promised)


@dataclass(frozen=True)
class _Bound:
    """A limit in numbers: its bounds, how far beyond matters, and what is known of the figure at promotion."""

    low: float | None
    high: float | None
    effect: float
    margin: float | None = None
    promised: float | None = None
    promised_se: float = 0.0
    base: str | None = None
    missing: str | None = None

    @classmethod
    def of(cls, limit: LimitSection, promised: PromisedSavings | None) -> _Bound:
        bounds = [abs(item) for item in (limit.at_least, limit.at_most) if item]
        effect = max(AIM * min(bounds, default=0.0), 1e-3)
        margin = limit.no_worse_than if isinstance(limit, SavingsLimitSection) else None
        if margin is None:
            return cls(limit.at_least, limit.at_most, effect)
        if promised is None or promised.value is None:
            return cls(limit.at_least, limit.at_most, effect, margin, missing=_no_promise(promised))
        low = promised.value - margin
        if limit.at_least is not None and limit.at_least > low:  # the stricter of both, which is no promise
            return cls(limit.at_least, limit.at_most, effect, margin, promised.value)
        return cls(low, limit.at_most, max(margin, 1e-3), margin, promised.value, promised.se, promised.base)

    def broken_by(self, low: float, high: float) -> bool:
        """Return whether the whole of an interval lies beyond."""
        return (self.low is not None and high < self.low) or (self.high is not None and low > self.high)

    def beyond(self, sure: SureFigure) -> float:
        """Return how far beyond the limit the nearer end of an interval lies, in half-widths; negative within."""
        half = max((sure.high - sure.low) / 2.0, 1e-12)
        sides = [] if self.low is None else [(self.low - sure.high) / half]
        return max([*sides, *([] if self.high is None else [(sure.low - self.high) / half])])


def _no_promise(promised: PromisedSavings | None) -> str:
    """Return why there is no figure at promotion."""
    if promised is None:
        return "the model of the latest decision was not promoted, so that there are no savings at promotion"
    again = f"`fraudctl evaluate -m {promised.version}` and a promotion note them"
    return f"the log of models has no savings of the gate that {promised.version} was promoted on; {again}"


def recent_figure(name: str, found: Performance) -> LabelledFigure:
    """Return the figure of the latest 28 days; alerts a day are counted over all days of complete cohorts."""
    if name == "alerts_per_day":
        whole = [cohort for cohort in found.cohorts if cohort.complete]
        whole = whole[-(JUDGED_DAYS if found.every == "day" else JUDGED_DAYS // 7) :]
        if not whole:
            return LabelledFigure(None, None, None, None, "no week is over")
        days = sum((cohort.until_day - cohort.first_day).days for cohort in whole)
        value = sum(cohort.flagged for cohort in whole) / days
        return LabelledFigure(value, value, value, value)
    if found.recent is None:
        return LabelledFigure(None, None, None, None, "no week is open or final")
    figure: LabelledFigure = getattr(found.recent.outcomes, FIGURES[name])
    return figure


# ---------------------------------------------------------------- sequences


@dataclass(frozen=True)
class _Rows:
    """Events of some cohorts as arrays of shape ``(n_events,)``; those whose outcome does not count are 0.

    ``fraud`` is how much of a fraud each is expected to be, ``values`` and ``base`` as of `SeenEvents`, each column
    apart, shape ``(n_columns, n_events)``; ``here`` is 0 for events that are as if they did not count.
    """

    cohort: FloatArray
    flagged: BoolArray
    fraud: FloatArray
    known: BoolArray
    values: FloatArray
    base: FloatArray
    volume: FloatArray
    clusters: Clusters
    here: FloatArray | None = None

    def of(self, rows: BoolArray) -> _Rows:
        """Return the same events, those that are not among ``rows`` as if they did not count."""
        here = rows.astype(np.float64) if self.here is None else self.here * rows
        return replace(self, fraud=self.fraud * here, known=self.known & rows, volume=self.volume * here, here=here)

    def base_of(self, column: int) -> FloatArray:
        """Return a column of ``base``."""
        found: FloatArray = self.base[column]
        return found if self.here is None else np.asarray(found * self.here, dtype=np.float64)

    def frauds(self, column: int) -> FloatArray:
        """Return what a column of ``values`` is expected to be."""
        return np.asarray(self.fraud * self.values[column], dtype=np.float64)


def ratio_of(name: str, rows: _Rows, base_action: int) -> Ratio:
    """Return a figure of ``[monitor.harm]`` as a ratio of sums over events, frauds as many as they are expected to be.

    The value is that of `fraudctl.monitor.performance.figures_of` on the same events.
    """
    flagged = rows.flagged.astype(np.float64)

    def legit() -> FloatArray:
        return rows.base_of(0) - rows.frauds(FRAUDS)

    parts: Mapping[str, Callable[[], tuple[FloatArray, FloatArray, BoolArray]]] = {
        "fraud_loss_bps": lambda: (1e4 * rows.frauds(LOSS) * (1.0 - flagged), rows.volume, rows.known),
        "recall": lambda: (rows.frauds(FRAUDS) * flagged, rows.frauds(FRAUDS), rows.known),
        "value_recall": lambda: (rows.frauds(LOSS) * flagged, rows.frauds(LOSS), rows.known),
        "precision": lambda: (
            rows.frauds(FRAUDS) * flagged, rows.base_of(0) * flagged, rows.flagged & (rows.base_of(0) > 0)
        ),
        "savings": lambda: (
            rows.base_of(1) + rows.frauds(COST), rows.base_of(2 + base_action) + rows.frauds(CONSTANTS + base_action),
            rows.known,
        ),
        "false_positives_per_1000": lambda: (
            1e3 * legit() * flagged, legit(), rows.flagged & (rows.base_of(0) > 0)
        ),
    }  # fmt: skip
    top, bottom, support = parts[name]()
    total, n = float(bottom.sum()), max(int(support.sum()), 1)
    reason = None if total > 0 else "the divisor is 0"
    unit = 0.0 if name == "fraud_loss_bps" else total / n
    offset, scale = (1.0, -1.0) if name == "savings" else (0.0, 1.0)
    return Ratio(top, bottom, unit, support, offset=offset, scale=scale, reason=reason)


@dataclass(frozen=True)
class _Sequences:
    """The events of the latest cohorts, and how often a sequence may leave out the truth.

    Attributes
    ----------
    windows
        By basis, the cohorts that sequences reach back to, oldest first.
    alpha
        Of one sequence.
    """

    judged: JudgedCohorts
    rows: _Rows
    windows: Mapping[Basis, Sequence[int]]
    alpha: float

    @classmethod
    def of(cls, judged: JudgedCohorts, per_year: float) -> _Sequences:
        """Prepare the sequences; ``per_year`` is how often in a year any of a figure's may leave out the truth."""
        windows = _windows(judged)
        wanted = np.unique([number for numbers in windows.values() for number in numbers])
        starts = 365.25 / 7.0 * max(len(windows), 1)
        return cls(judged, _rows(judged, wanted), windows, min(per_year / starts, 0.05))

    def farthest(self, name: str, bound: _Bound) -> SureFigure | None:
        """Return the sequence that decides: the farthest beyond, closed cohorts first; else that of 28 days."""
        latest: SureFigure | None = None
        for basis in self.windows:
            found = dict(self._all(name, basis, bound))
            latest = found.get(JUDGED_DAYS // 7) or next(iter(found.values()), None)
            beyond = [item for item in found.values() if bound.broken_by(item.low, item.high)]
            if beyond and latest is not None and bound.broken_by(latest.value, latest.value):
                return max(beyond, key=bound.beyond)
        return latest

    def _all(self, name: str, basis: Basis, bound: _Bound) -> Iterator[tuple[int, SureFigure]]:
        """Yield weeks and the sequence that began with the first of so many calendar weeks, the shortest first."""
        numbers, seen, week = self.windows[basis], 0, self.judged.calendar.week
        for weeks in WEEKS_BACK:
            part = [number for number in numbers if week(number) > week(numbers[-1]) - weeks]
            if len(part) == seen:
                continue
            seen = len(part)
            found = self._sure(name, basis, part, bound)
            if found is not None:
                yield weeks, found

    def _sure(self, name: str, basis: Basis, numbers: list[int], bound: _Bound) -> SureFigure | None:
        judged = self.judged
        judged.seen.arrays.let_go()
        rows = self.rows.of(np.isin(self.rows.cohort, numbers))
        action = self._action(bound)
        ratio = ratio_of(name, rows, action)
        if ratio.reason is not None or too_few(rows.clusters, ratio.support) is not None:
            return None
        drawn = judged.found.draws[:, numbers].sum(axis=1)
        base = judged.base_sums(numbers)
        volume = float(rows.volume.sum())
        draws = figures_of(drawn, base, volume=volume, base_action=action)[FIGURES[name]]
        unknown = float(np.var(draws[np.isfinite(draws)])) if np.isfinite(draws).any() else math.inf
        variance = clustered_variance(ratio.influence, rows.clusters) + ratio.unit_share**2 + unknown
        se = math.sqrt(variance + bound.promised_se**2)
        if not (math.isfinite(se) and se > 0.0):
            return None
        reach = half_width(se, target_se=target_of(bound.effect, alpha=self.alpha), alpha=self.alpha)
        calendar = judged.calendar
        return SureFigure(
            basis, calendar.first_day(numbers[0]), calendar.until(numbers[-1]), judged.matured(numbers), ratio.value,
            ratio.value - reach, ratio.value + reach,
        )  # fmt: skip

    def _action(self, bound: _Bound) -> int:
        """Return the constant action of savings: that of the promotion, where they are held against it."""
        actions = self.judged.seen.matrix.actions
        return actions.index(bound.base) if bound.base in actions else self.judged.base_action


def _windows(judged: JudgedCohorts) -> dict[Basis, Sequence[int]]:
    """Return the latest closed cohorts, and the latest of those that are final or open; where there are any."""
    shown, week = judged.shown(), judged.calendar.week
    closed = [number for number in shown if judged.found.closed[number]]

    def latest(numbers: list[int]) -> list[int]:
        return [number for number in numbers if week(number) > week(numbers[-1]) - WEEKS_BACK[-1]]

    found: dict[Basis, Sequence[int]] = {"closed": latest(closed), "estimate": latest(shown)}
    return {basis: numbers for basis, numbers in found.items() if numbers}


def _rows(judged: JudgedCohorts, numbers: np.ndarray) -> _Rows:
    """Return the events of some cohorts, with their clusters."""
    seen, found, project = judged.seen, judged.found, judged.project
    wanted = np.isin(np.arange(seen.n_cohorts), numbers)
    inside = np.zeros(len(seen.cohort), dtype=np.bool_)
    for part in stretches(seen):
        inside[part.rows] = wanted[seen.cohort[part.rows]]
    n, events, start = int(inside.sum()), seen.events, 0
    made = {name: np.zeros(n, kind) for name, kind in _ARRAYS.items()}
    tables = {"values": seen.values, "base": seen.base}
    spread = {name: seen.arrays.empty((table.shape[1], n), np.float64) for name, table in tables.items()}
    for part in stretches(seen):
        own, counted = inside[part.rows], seen.counted[part.rows]
        rows = slice(start, start + int(own.sum()))
        start = rows.stop
        place, there = counted[own], own[counted]
        made["cohort"][rows] = seen.cohort[part.rows][own]
        made["flagged"][rows][place] = events.stratum[part.counted][there] > 0
        made["fraud"][rows][place] = found.chance[part.counted][there]
        made["known"][rows][place] = events.known[part.counted][there] == 1
        if seen.volume is not None:
            made["volume"][rows] = seen.volume[part.rows][own]
        for name, table in tables.items():
            found_here = np.zeros((len(place), table.shape[1]))
            found_here[place] = table[part.counted][there]
            spread[name][:, rows] = found_here.T
    names = [name for name in project.entities if name in judged.taken.columns and name not in COLUMNS]
    clusters = Clusters.carried(judged.taken.where(inside, names or ["event_id"]), names)
    seen.arrays.let_go()
    return _Rows(**made, **spread, clusters=clusters)
