"""Where is it weak? Slices of the data where more money is lost than the scores account for.

Owns the search. Frauds and legitimate events are searched separately: among allowed events for missed fraud, among
alerted ones for false alarms. Within a score stratum every event is equally likely to be the error, if the model is as
good in a slice as elsewhere; a slice is weak where its errors cost more than that. One search, with the largest
statistic over all slices, is repeated on permuted errors (within strata), so the p-values hold for the search as a
whole. Slices of features are found on
the first part of the period and must show again on the later part; single days are looked for in the whole period.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudctl.explain.conditions import Condition, find_conditions
from fraudctl.explain.scene import FALSE_ALARM, MISSED, BoolArray, FloatArray, IntArray, Scene
from fraudctl.explain.search import Errors, best_slices, draw_errors, score_slice, single_statistics, strata_of

PERMUTATIONS: Final = 500
FOUND_ON: Final = 0.6
"""Share of the period's events, from its start, that feature slices are found on."""
LEVEL: Final = 0.05
DAY_LEVEL: Final = 0.01
"""Days have no later part to confirm them on, and so must be clearer."""
CONFIRM_LEVEL: Final = 0.1
MIN_ERRORS: Final = 30
MOST_ERRORS: Final = 3_000
MOSTLY: Final = 0.6
LIFT: Final = 1.5
SAME: Final = 0.5
INSIDE: Final = 0.8
"""Slices whose errors have a Jaccard similarity of `SAME`, or of which one holds `INSIDE` of the other's, are one."""
MOST: Final = 12


@dataclass(frozen=True)
class Slice:
    """A part of the data with more loss than its scores account for.

    Attributes
    ----------
    kind
        False negatives or false positives.
    conditions
        In words, joined by "and".
    mostly
        Segments and days that hold for 60 % or more of its errors, and half as much again as for other errors.
    cost, expected_cost
        Money lost on its errors over the whole period, and what the scores account for.
    p_value
        Chance of a slice as extreme anywhere in the search, if the model were equally good everywhere.
    confirmed
        Whether it shows again on the later part, by itself (p below 0.1); None for days.
    """

    kind: str
    conditions: tuple[str, ...]
    columns: tuple[str, ...]
    mostly: tuple[str, ...]
    n_events: int
    n_errors: int
    expected_errors: float
    cost: float
    expected_cost: float
    p_value: float
    confirmed: bool | None
    confirm_p_value: float | None
    significant: bool

    @property
    def excess(self) -> float:
        """Money lost beyond what the scores account for."""
        return self.cost - self.expected_cost


@dataclass(frozen=True)
class Slices:
    """Slices worth a look: significant ones first, by money; and what was searched.

    Attributes
    ----------
    n_conditions, n_possible
        Conditions that were searched, and how many there are.
    reasons
        Kind of error -> why nothing was searched, where that is so.
    """

    items: tuple[Slice, ...]
    n_conditions: int
    n_possible: int
    n_permutations: int
    reasons: dict[str, str]


@dataclass(frozen=True)
class _Side:
    """One population: its rows in the scene, its errors, and how many events each row stands for beside its weight."""

    kind: str
    rows: IntArray
    errors: BoolArray
    stake: FloatArray
    weight: FloatArray
    stratum: IntArray
    late: BoolArray
    scale: float


def find_slices(
    scene: Scene, *, rows: IntArray, weight: FloatArray, seed: int, permutations: int = PERMUTATIONS
) -> Slices:
    """Search the rows of a scene for weak slices.

    Parameters
    ----------
    rows
        Rows to search; all errors and their peers, or a sample.
    weight
        How many events each row stands for, shape ``(len(rows),)``.
    permutations
        How often the search is repeated on permuted errors; at least 200.
    """
    from threadpoolctl import threadpool_limits

    conditions, held, n_possible = find_conditions(scene, rows)
    late = np.arange(scene.scored.height)[rows] >= FOUND_ON * scene.scored.height
    items: list[Slice] = []
    reasons: dict[str, str] = {}
    for k, kind in enumerate((MISSED, FALSE_ALARM)):
        inside = np.flatnonzero(~scene.alert[rows] if kind == MISSED else scene.alert[rows])
        is_error = (scene.missed if kind == MISSED else scene.false_alarm)[rows[inside]]
        if is_error.sum() < MIN_ERRORS or is_error.all():
            reasons[kind] = (
                f"{int(is_error.sum())} errors; at least {MIN_ERRORS} and as many right decisions are needed"
            )
            continue
        kept, scale = _thinned(is_error, seed=[seed, k])
        inside, is_error = inside[kept], is_error[kept]
        at = rows[inside]
        stratum = strata_of(scene.y_prob[at])
        side = _Side(kind, at, is_error, scene.stake[at], weight[inside], stratum, late[inside], scale)
        with threadpool_limits(1, user_api="blas"):  # many small products: threads only wait for each other
            items.extend(_search(side, conditions, held[inside], permutations, seed=[seed, k, 1]))
    items.sort(key=lambda item: (not item.significant, 0.0 if item.significant else item.p_value, -item.excess))
    return Slices(tuple(items[:MOST]), len(conditions), n_possible, permutations, reasons)


def _thinned(is_error: BoolArray, *, seed: list[int]) -> tuple[IntArray, float]:
    """Bound the errors that are searched; both classes are thinned alike, so that strata keep their rates.

    Returns the positions that are kept, and how many each stands for.
    """
    n = int(is_error.sum())
    if n <= MOST_ERRORS:
        return np.arange(len(is_error)), 1.0
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(is_error)) < MOST_ERRORS / n)
    return kept, n / max(int(is_error[kept].sum()), 1)


def _search(
    side: _Side, conditions: list[Condition], held: BoolArray, permutations: int, *, seed: list[int]
) -> list[Slice]:
    """Give the distinct slices of one kind of error that stand out most, each with its p-value."""
    candidates, null = _candidates(side, conditions, held, permutations, seed=seed)
    found = [
        (_slice(side, conditions, held, members, _p_value(value, null), seed), _errors_in(side, held, members))
        for value, members in candidates
    ]
    return _distinct(found)


def _candidates(
    side: _Side, conditions: list[Condition], held: BoolArray, permutations: int, *, seed: list[int]
) -> tuple[list[tuple[float, list[int]]], FloatArray]:
    """Search the early part by features and the whole by days; also give the largest statistic of each permutation."""
    is_day = np.array([item.is_day for item in conditions])
    early = ~side.late
    found = _errors(side, early)
    whole = _errors(side, np.ones_like(early))
    drawn = draw_errors(found, permutations, seed=[*seed, 0])
    drawn_days = draw_errors(whole, permutations, seed=[*seed, 1])
    top, null = best_slices(found, held[early][:, ~is_day], drawn)
    names = np.flatnonzero(~is_day)
    day_statistic, day_null = single_statistics(whole, held[:, is_day], drawn_days)
    extreme = np.maximum(null, day_null.max(axis=1, initial=-np.inf))
    days = np.flatnonzero(is_day)
    worst = [j for j in np.argsort(-day_statistic, kind="stable")[:3] if day_statistic[j] > 0]
    candidates = [(value, [int(names[j]) for j in members]) for value, members in top]
    candidates += [(float(day_statistic[j]), [int(days[j])]) for j in worst]
    return sorted(candidates, key=lambda item: -item[0]), extreme


def _errors_in(side: _Side, held: BoolArray, members: list[int]) -> BoolArray:
    return np.asarray(side.errors & np.logical_and.reduce(held[:, members], axis=1))


def _distinct(found: list[tuple[Slice, BoolArray]]) -> list[Slice]:
    """Of slices with much the same errors keep the first: significant ones before others, then the strongest."""
    kept: list[tuple[Slice, BoolArray]] = []
    for item, mine in sorted(found, key=lambda pair: not pair[0].significant):
        if not any(_same(mine, theirs) for _, theirs in kept):
            kept.append((item, mine))
    return [item for item, _ in kept]


def _same(a: BoolArray, b: BoolArray) -> bool:
    both, least, most = int((a & b).sum()), min(int(a.sum()), int(b.sum())), int((a | b).sum())
    return both >= INSIDE * least or both >= SAME * most


def _errors(side: _Side, part: BoolArray) -> Errors:
    return Errors.make(side.errors[part], side.stake[part], side.weight[part], side.stratum[part])


def _p_value(value: float, null: FloatArray) -> float:
    return float((1 + (null >= value).sum()) / (1 + len(null)))


def _slice(
    side: _Side, conditions: list[Condition], held: BoolArray, members: list[int], p_value: float, seed: list[int]
) -> Slice:
    inside = np.logical_and.reduce(held[:, members], axis=1)
    errors = _errors(side, np.ones(len(side.rows), dtype=bool))
    mine = side.errors & inside
    is_day = conditions[members[0]].is_day
    confirm = None if is_day else score_slice(_errors(side, side.late), inside[side.late], seed=[*seed, 2])
    confirmed = None if confirm is None else confirm <= CONFIRM_LEVEL
    significant = p_value <= (DAY_LEVEL if is_day else LEVEL) and confirmed is not False
    return Slice(
        kind=side.kind,
        conditions=tuple(conditions[j].words for j in members),
        columns=tuple(conditions[j].column for j in members),
        mostly=_mostly(side, conditions, held, members, mine),
        n_events=round(side.scale * float(side.weight[inside].sum())),
        n_errors=round(side.scale * int(mine.sum())),
        expected_errors=side.scale * float((errors.rate * side.weight)[inside].sum()),
        cost=side.scale * float(side.stake[mine].sum()),
        expected_cost=side.scale * float((errors.rate * side.weight * side.stake)[inside].sum()),
        p_value=p_value,
        confirmed=confirmed,
        confirm_p_value=confirm,
        significant=significant,
    )


def _mostly(
    side: _Side, conditions: list[Condition], held: BoolArray, members: list[int], mine: BoolArray
) -> tuple[str, ...]:
    """Name segments and days that most errors of a slice share, beyond its own conditions."""
    told = {conditions[j].column for j in members}
    among = held[mine].mean(axis=0) if mine.any() else np.zeros(held.shape[1])
    usual = held[side.errors].mean(axis=0)
    named = [j for j, item in enumerate(conditions) if (item.is_segment or item.is_day) and item.column not in told]
    return tuple(conditions[j].words for j in named if among[j] >= MOSTLY and among[j] >= LIFT * usual[j])
