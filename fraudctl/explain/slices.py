"""Where is it weak? Slices of the data where more money is lost than the scores account for.

Owns the search. Frauds and legitimate events are searched separately: among allowed events for missed fraud, among
alerted ones for false positives. Within a score stratum every event is equally likely to be the error, if the model is
as good in a slice as elsewhere; a slice is weak where its errors cost more than that. One search, with the largest
statistic over all slices, is repeated on permuted errors (within strata), so the p-values hold for the search as a
whole. Slices of features are found on
the first part of the period and must show again on the later part; single days are looked for in the whole period.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.explain.conditions import Condition, find_conditions, holds
from fraudctl.explain.scene import FALSE_ALARM, MISSED, Scene
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
class SlicePart:
    """Errors of a slice that also meet one more condition."""

    words: str
    """The condition in words."""
    where: Condition
    """The condition."""
    n_errors: int
    """Errors that meet it."""


@dataclass(frozen=True)
class Slice:
    """A part of the data with more loss than its scores account for.

    Attributes
    ----------
    kind
        False negatives or false positives.
    conditions, where
        In words, joined by "and", and their meaning.
    mostly
        Segments and days that hold for 60 % or more of its errors, 1.5 times as often as for all errors of the kind.
    n_events
        Allowed events (of missed frauds) or alerts (of false positives) of the period that meet the conditions.
    n_errors, cost
        The errors among them, and the money lost by these.
    expected_errors, expected_cost
        The same if each of these events were an error as often as all events of its score are.
    p_value
        Chance of a slice as extreme anywhere in the search, if the model were equally good everywhere.
    confirmed
        Whether it shows again on the later part, by itself (p below 0.1); None for days.
    """

    kind: str
    conditions: tuple[str, ...]
    columns: tuple[str, ...]
    """Columns of its conditions."""
    where: tuple[Condition, ...]
    mostly: tuple[SlicePart, ...]
    n_events: int
    n_errors: int
    expected_errors: float
    cost: float
    expected_cost: float
    p_value: float
    confirmed: bool | None
    confirm_p_value: float | None
    """p-value of that check; null where none was made."""
    significant: bool
    """Whether its p-value is at most 0.05 (0.01 for days) and the later part does not contradict it."""

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
    """The slices."""
    n_conditions: int
    n_possible: int
    n_permutations: int
    """Permutations of the search."""
    reasons: dict[str, str]


@dataclass(frozen=True)
class _FoundSlice:
    """A slice as it was found: its conditions (also as positions) and its tests."""

    where: tuple[Condition, ...]
    members: tuple[int, ...]
    p_value: float
    confirmed: bool | None
    confirm_p_value: float | None
    significant: bool


@dataclass(frozen=True)
class _Side:
    """What is searched of one kind of error: rows of the scene, the errors, and how many events a row stands for."""

    kind: str
    rows: IntArray
    errors: BoolArray
    stake: FloatArray
    weight: FloatArray
    stratum: IntArray
    late: BoolArray


def find_slices(
    scene: Scene,
    *,
    rows: IntArray,
    weight: FloatArray,
    seed: int,
    permutations: int = PERMUTATIONS,
    watch: Callable[[str], object] = lambda _: None,
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
    watch
        Is called with the step that begins.
    """
    from threadpoolctl import threadpool_limits

    conditions, held, n_possible = find_conditions(scene, rows)
    late = np.arange(scene.scored.height)[rows] >= FOUND_ON * scene.scored.height
    items: list[Slice] = []
    reasons: dict[str, str] = {}
    for k, kind in enumerate((MISSED, FALSE_ALARM)):
        inside = np.flatnonzero(scene.by_model[rows] & (scene.alert[rows] != (kind == MISSED)))
        is_error = (scene.missed if kind == MISSED else scene.false_alarm)[rows[inside]]
        if is_error.sum() < MIN_ERRORS or is_error.all():
            reasons[kind] = (
                f"{int(is_error.sum())} errors; at least {MIN_ERRORS} and as many right decisions are needed"
            )
            continue
        everyone, held_errors = population(scene, kind), held[inside[is_error]]
        kept = _thinned(is_error, seed=[seed, k])
        inside, is_error = inside[kept], is_error[kept]
        at = rows[inside]
        stratum = strata_of(scene.y_prob[at])
        side = _Side(kind, at, is_error, scene.stake[at], weight[inside], stratum, late[inside])
        with threadpool_limits(1, user_api="blas"):  # many small products: threads only wait for each other
            found = _search(side, conditions, held[inside], permutations, watch, seed=[seed, k, 1])
        items += [_slice(scene, everyone, item, _mostly(conditions, held_errors, item.members)) for item in found]
    items.sort(key=lambda item: (not item.significant, 0.0 if item.significant else item.p_value, -item.excess))
    return Slices(tuple(items[:MOST]), len(conditions), n_possible, permutations, reasons)


def _thinned(is_error: BoolArray, *, seed: list[int]) -> IntArray:
    """Bound the errors that are searched; both classes are thinned alike, so that strata keep their rates.

    Returns the positions that are kept.
    """
    n = int(is_error.sum())
    if n <= MOST_ERRORS:
        return np.arange(len(is_error))
    return np.flatnonzero(np.random.default_rng(seed).random(len(is_error)) < MOST_ERRORS / n)


def _search(
    side: _Side,
    conditions: list[Condition],
    held: BoolArray,
    permutations: int,
    watch: Callable[[str], object],
    *,
    seed: list[int],
) -> list[_FoundSlice]:
    """Return the distinct slices of one kind of error that stand out most, each with its p-value."""
    candidates, null = _candidates(side, conditions, held, permutations, watch, seed=seed)
    found = [
        (_find(side, conditions, held, members, _p_value(value, null), seed), _errors_in(side, held, members))
        for value, members in candidates
    ]
    return _distinct(found)


def _candidates(
    side: _Side,
    conditions: list[Condition],
    held: BoolArray,
    permutations: int,
    watch: Callable[[str], object],
    *,
    seed: list[int],
) -> tuple[list[tuple[float, list[int]]], FloatArray]:
    """Search the early part by features and the whole by days; also give the largest statistic of each permutation."""
    is_day = np.array([item.is_day for item in conditions])
    early = ~side.late
    found = _errors(side, early)
    whole = _errors(side, np.ones_like(early))
    drawn = draw_errors(found, permutations, seed=[*seed, 0])
    drawn_days = draw_errors(whole, permutations, seed=[*seed, 1])
    top, null = best_slices(found, held[early][:, ~is_day], drawn, watch=watch)
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


def _distinct(found: list[tuple[_FoundSlice, BoolArray]]) -> list[_FoundSlice]:
    """Of slices with much the same errors keep the first: significant ones before others, then the strongest."""
    kept: list[tuple[_FoundSlice, BoolArray]] = []
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


@dataclass(frozen=True)
class SlicePopulation:
    """All events of a period on which one kind of error can happen: nothing sampled, nothing thinned.

    Attributes
    ----------
    rows
        Their positions in the scene, in time order.
    errors
        Which of them are errors.
    rate
        Share of errors among all events of the population of nearly equal score.
    """

    kind: str
    rows: IntArray
    errors: BoolArray
    rate: FloatArray


def population(scene: Scene, kind: str) -> SlicePopulation:
    """Return the events on which a kind of error can happen, each with the error rate of its score."""
    rows = np.flatnonzero(~scene.alert if kind == MISSED else scene.alert)
    errors = np.asarray((scene.missed if kind == MISSED else scene.false_alarm)[rows])
    stratum = strata_of(scene.y_prob[rows])
    size = int(stratum.max(initial=0)) + 1
    share = np.bincount(stratum[errors], minlength=size) / np.maximum(np.bincount(stratum, minlength=size), 1)
    return SlicePopulation(kind, rows, errors, share[stratum])


def _slice(scene: Scene, everyone: SlicePopulation, found: _FoundSlice, mostly: tuple[SlicePart, ...]) -> Slice:
    """Measure a slice on all events of its kind: its condition, its counts and its money are of the same rows."""
    timezone = scene.project.data.timezone
    read = dict.fromkeys(["event_time", *(item.column for item in found.where)])
    frame = scene.scored.select([name for name in read if name in scene.scored.columns])[everyone.rows]
    inside = np.logical_and.reduce([holds(item, frame, timezone=timezone) for item in found.where])
    mine = everyone.rows[everyone.errors & inside]
    expected = everyone.rate[inside]
    return Slice(
        kind=everyone.kind,
        conditions=tuple(item.words for item in found.where),
        columns=tuple(item.column for item in found.where),
        where=found.where,
        mostly=mostly,
        n_events=int(inside.sum()),
        n_errors=len(mine),
        expected_errors=float(expected.sum()),
        cost=float(scene.cost[mine].sum()),
        expected_cost=float((expected * scene.price[everyone.rows[inside]]).sum()),
        p_value=found.p_value,
        confirmed=found.confirmed,
        confirm_p_value=found.confirm_p_value,
        significant=found.significant,
    )


def _find(
    side: _Side, conditions: list[Condition], held: BoolArray, members: list[int], p_value: float, seed: list[int]
) -> _FoundSlice:
    inside = np.logical_and.reduce(held[:, members], axis=1)
    is_day = conditions[members[0]].is_day
    confirm = None if is_day else score_slice(_errors(side, side.late), inside[side.late], seed=[*seed, 2])
    confirmed = None if confirm is None else confirm <= CONFIRM_LEVEL
    significant = p_value <= (DAY_LEVEL if is_day else LEVEL) and confirmed is not False
    where = tuple(conditions[j] for j in members)
    return _FoundSlice(where, tuple(members), p_value, confirmed, confirm, significant)


def _mostly(conditions: list[Condition], held: BoolArray, members: tuple[int, ...]) -> tuple[SlicePart, ...]:
    """Name segments and days that most errors of a slice share, beyond its own conditions.

    Parameters
    ----------
    held
        Where conditions hold, over all errors of the kind.
    """
    told = {conditions[j].column for j in members}
    mine = held[np.logical_and.reduce(held[:, list(members)], axis=1)]
    among, usual = (part.mean(axis=0) if len(part) else np.zeros(held.shape[1]) for part in (mine, held))
    named = [j for j, item in enumerate(conditions) if (item.is_segment or item.is_day) and item.column not in told]
    return tuple(
        SlicePart(conditions[j].words, conditions[j], int(mine[:, j].sum()))
        for j in named
        if among[j] >= MOSTLY and among[j] >= LIFT * usual[j]
    )
