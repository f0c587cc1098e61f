"""Precision at K per day: of the K events or entities that analysts can look at in a day, how many are fraud.

Ties at the cut are not left to the order of rows: a group of equal scores that straddles the cut counts with the share
of it that fits (its expected value under a random order), and the range between the luckiest and the unluckiest order
is given beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DayBoard:
    """One day's entities by falling highest score."""

    entity: IntArray
    """Entity code, shape ``(n_entities,)``."""
    fraud: BoolArray
    """Whether the entity had a fraud that day."""
    group: IntArray
    """Number of its group of equal scores, from 0, never falling."""


@dataclass(frozen=True)
class TopK:
    """Precision at K, with its range over the orders of each day's ties, no more than all that can be found."""

    value: float
    lowest: float
    highest: float
    n_days: int
    per_day: FloatArray
    """Share of K that was fraud on each day."""


def day_boards(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], *, day: IntArray, entity: IntArray
) -> tuple[DayBoard, ...]:
    """Rank the entities of each day by their highest score of that day.

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
    edges = np.flatnonzero(np.r_[True, days[1:] != days[:-1], True])
    return tuple(_board(entities[lo:hi], frauds[lo:hi], scores[lo:hi]) for lo, hi in itertools.pairwise(edges))


def _board(entity: IntArray, fraud: BoolArray, score: FloatArray) -> DayBoard:
    order = np.argsort(-score, kind="stable")
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
        cut it leaves in expectation: it stays with the probability that it was not among the K.
    """
    days = list(_days(boards, k, remove_detected=remove_detected))
    value, low, high = np.mean(days, axis=0) if days else (math.nan, math.nan, math.nan)
    if days and remove_detected:  # luck on one day is none on the next: nobody is found twice
        high = min(high, len(np.unique(np.concatenate([item.entity[item.fraud] for item in boards]))) / (k * len(days)))
    return TopK(float(value), float(low), float(high), len(boards), np.array([day[0] for day in days]))


def weighted_precision_at_k(
    boards: tuple[DayBoard, ...], k: int, entity_weight: FloatArray, *, remove_detected: bool = True
) -> float:
    """Give `precision_at_k` (expected) where each entity counts as many times as its weight says; for a bootstrap."""
    shares = [
        share for share, _low, _high in _days(boards, k, remove_detected=remove_detected, entity_weight=entity_weight)
    ]
    return float(np.mean(shares)) if shares else math.nan


def _days(
    boards: tuple[DayBoard, ...], k: int, *, remove_detected: bool, entity_weight: FloatArray | None = None
) -> Iterator[tuple[float, float, float]]:
    """Yield each day's expected share of K, and that of the unluckiest and luckiest order of its ties.

    What earlier days found is taken off in expectation; the range is that of the day's own ties (not needed, and not
    computed, where weights are given).
    """
    n_entities = max((int(board.entity.max()) + 1 for board in boards), default=0)
    present = np.ones(n_entities) if entity_weight is None else entity_weight.astype(np.float64, copy=True)
    for board in boards:
        weight = present[board.entity]
        found = _taken(board, weight, k) * board.fraud
        share = float(found.sum() / k)
        yield (share, share, share) if entity_weight is not None else (share, *_range(board, weight, k))
        if remove_detected:
            present[board.entity] = np.maximum(weight - found, 0.0)


def _range(board: DayBoard, weight: FloatArray, k: int) -> tuple[float, float]:
    """Give the lowest and highest share of K over the orders of equal scores."""
    ends = []
    for first in (~board.fraud, board.fraud):
        rank = np.lexsort((~first, board.group))
        ranked = weight[rank]
        taken = np.clip(k - (np.cumsum(ranked) - ranked), 0.0, ranked)
        ends.append(float((taken * board.fraud[rank]).sum() / k))
    return ends[0], ends[1]


def _taken(board: DayBoard, weight: FloatArray, k: int) -> FloatArray:
    """Give how much of each entity's weight is among the K in expectation."""
    size = np.bincount(board.group, weights=weight)
    before = np.cumsum(size) - size
    fits = np.clip(k - before, 0.0, size)
    share = np.divide(fits, size, out=np.zeros_like(size), where=size > 0)
    return np.asarray(weight * share[board.group], dtype=np.float64)
