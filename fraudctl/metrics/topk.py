"""Precision at K per day: of the K events or entities that analysts can look at in a day, how many are fraud.

Ties at the cut do not depend on the order of rows or on names: a group of equal scores that straddles the cut counts
with the share of it that fits (the expectation over random orders), and the range between the luckiest and the
unluckiest order is given with it. The same expectation is taken in every draw of a bootstrap.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.metrics.canonical import canonical_codes


@dataclass(frozen=True)
class DayBoard:
    """One day's entities by falling highest score; equal scores in an order that follows from no name."""

    entity: IntArray
    """Entity code, shape ``(n_entities,)``."""
    fraud: BoolArray
    """Whether the entity had a fraud that day."""
    group: IntArray
    """Number of its group of equal scores, from 0, never falling."""


@dataclass(frozen=True)
class TopK:
    """What the K highest scores of each day find, in expectation and over the orders of each day's ties."""

    k: int
    n_days: int
    found: float
    """Entities with fraud found over all days, in expectation; never more than `findable`."""
    lowest_found: float
    highest_found: float
    findable: int
    """Entities that had a fraud on a day of theirs: each can be found once, or once a day where none is removed."""
    per_day: FloatArray
    """Expected share of K that was fraud on each day."""

    @property
    def value(self) -> float:
        """Precision at K: mean over days of the expected share of K; NaN without days."""
        return self._precision(self.found)

    @property
    def lowest(self) -> float:
        """Precision in the unluckiest order of each day's ties."""
        return self._precision(self.lowest_found)

    @property
    def highest(self) -> float:
        """Precision in the luckiest order of each day's ties."""
        return self._precision(self.highest_found)

    @property
    def recall(self) -> tuple[float, float, float] | None:
        """Share of what could be found, at most 1: expected, lowest and highest; None where nothing could be."""
        if not self.findable:
            return None
        return self.found / self.findable, self.lowest_found / self.findable, self.highest_found / self.findable

    def _precision(self, found: float) -> float:
        return found / (self.k * self.n_days) if self.n_days else math.nan


def day_boards(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], *, day: IntArray, entity: IntArray
) -> tuple[DayBoard, ...]:
    """Rank the entities of each day by their highest score of that day.

    Within equal scores the order follows from what each entity did on all days, not from its code, so that renaming
    entities or permuting rows changes no sum, not even in its last bit.

    Parameters
    ----------
    y_true, y_score
        Labels (1 fraud, 0 legitimate) and scores, shape ``(n_events,)``.
    day
        Number of the local day, shape ``(n_events,)``.
    entity
        Entity codes from 0, -1 for null (left out), shape ``(n_events,)``. To rank events, give each its own code.
    """
    keep = entity >= 0
    y, score, day, entity = np.asarray(y_true)[keep] == 1, np.asarray(y_score)[keep], day[keep], entity[keep]
    order = np.lexsort((-score, entity, day))
    if len(order) == 0:
        return ()
    day, entity = day[order], entity[order]
    starts = np.flatnonzero(np.r_[True, (day[1:] != day[:-1]) | (entity[1:] != entity[:-1])])
    frauds = np.maximum.reduceat(y[order].astype(np.int8), starts).astype(bool)
    scores, days, entities = score[order][starts], day[starts], entity[starts]
    nameless = canonical_codes(entities, int(entities.max()) + 1, days, scores, frauds)
    edges = np.flatnonzero(np.r_[True, days[1:] != days[:-1], True])
    slices = [slice(lo, hi) for lo, hi in itertools.pairwise(edges)]
    return tuple(_board(entities[some], frauds[some], scores[some], nameless[some]) for some in slices)


def _board(entity: IntArray, fraud: BoolArray, score: FloatArray, nameless: IntArray) -> DayBoard:
    order = np.lexsort((nameless, -score))
    ranked = score[order]
    group = np.cumsum(np.r_[False, ranked[1:] != ranked[:-1]])
    return DayBoard(entity[order], fraud[order], group.astype(np.int64))


def precision_at_k(boards: tuple[DayBoard, ...], k: int, *, remove_detected: bool = True) -> TopK:
    """Mean over days of the share of the K highest-scored entities that had a fraud that day.

    ``CP@k`` of Le Borgne et al., *Reproducible Machine Learning for Credit Card Fraud Detection*, chapter 4: the
    divisor is always K, and an entity whose fraud was found on one day is blocked and so not ranked on later days.

    Parameters
    ----------
    boards
        From `day_boards`.
    k
        How many entities can be looked at in a day.
    remove_detected
        Whether an entity found with fraud among the K of one day leaves the ranking of later days. With ties at the
        cut it leaves in expectation: it counts on later days with the probability that it was not among the K.
    """
    plan = BoardPlan.of(boards)
    days = plan.found(np.ones(plan.n_entities), k, remove_detected=remove_detected)
    frauds = [np.unique(board.entity[board.fraud]) for board in boards]
    every = np.concatenate(frauds) if frauds else np.empty(0, dtype=np.int64)
    findable = len(np.unique(every)) if remove_detected else len(every)
    found, low, high = (min(float(item), float(findable)) for item in days.sum(axis=0))
    return TopK(k, len(boards), found, low, high, findable, days[:, 0] / k)


def weighted_precision_at_k(
    boards: tuple[DayBoard, ...], k: int, entity_weight: FloatArray, *, remove_detected: bool = True
) -> float:
    """Return `precision_at_k` (expected) where each entity counts as many times as its weight says; for a bootstrap.

    ``entity_weight`` has shape ``(n_entities,)``, by entity code.
    """
    return BoardPlan.of(boards).precision(entity_weight, k, remove_detected=remove_detected)


@dataclass(frozen=True)
class BoardPlan:
    """The boards of all days as flat arrays, so that a bootstrap ranks once and re-weights many times."""

    board_start: IntArray
    """First score group of each day, and the end, shape ``(n_days + 1,)``."""
    group_start: IntArray
    """First member of each score group, and the end, shape ``(n_groups + 1,)``."""
    entity: IntArray
    """Entity of each member, shape ``(n_members,)``."""
    fraud: BoolArray
    n_entities: int

    @classmethod
    def of(cls, boards: tuple[DayBoard, ...]) -> BoardPlan:
        """Flatten the boards; entities keep their codes."""
        if not boards:
            empty = np.zeros(1, dtype=np.int64)
            return cls(empty, empty, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_), 0)
        entity, fraud = (np.concatenate([getattr(board, name) for board in boards]) for name in ("entity", "fraud"))
        starts, offset = [], 0
        for board in boards:
            starts.append(np.flatnonzero(np.r_[True, board.group[1:] != board.group[:-1]]) + offset)
            offset += len(board.entity)
        board_start = np.cumsum([0, *(len(item) for item in starts)])
        group_start = np.concatenate([*starts, [offset]])
        return cls(board_start.astype(np.int64), group_start.astype(np.int64), entity, fraud, int(entity.max()) + 1)

    def compact(self) -> BoardPlan:
        """Return the plan with entities numbered without gaps, by what they did and not by their code."""
        used, code = np.unique(self.entity, return_inverse=True)
        group = np.repeat(np.arange(len(self.group_start) - 1), np.diff(self.group_start))
        code = canonical_codes(code.astype(np.int64), len(used), group, self.fraud)
        return BoardPlan(self.board_start, self.group_start, code, self.fraud, len(used))

    def found(self, entity_weight: FloatArray, k: int, *, remove_detected: bool = True) -> FloatArray:
        """Return what each day finds: expected, fewest and most over the orders of its ties, ``(n_days, 3)``."""
        from fraudctl.metrics.kernels import found_per_day

        weight = np.ascontiguousarray(entity_weight, dtype=np.float64)
        remove = np.array([remove_detected])
        return np.asarray(
            found_per_day(self.board_start, self.group_start, self.entity, self.fraud, weight, float(k), remove)
        )

    def precision(self, entity_weight: FloatArray, k: int, *, remove_detected: bool = True) -> float:
        """Return the mean over days of the expected share of K; NaN without days."""
        days = self.found(entity_weight, k, remove_detected=remove_detected)
        return float(days[:, 0].sum() / (k * len(days))) if len(days) else math.nan
