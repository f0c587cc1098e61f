"""Why each fraud was missed, by what could have been known at its time.

Owns four causes, tried in this order; the first that holds is the cause:

``label_delay``
    An earlier fraud of one of its entities had happened but its label had not arrived: ``event_time < t < label_time``
    (and ``event_time > t - lookback``); where the label was changed, the first time it was known as fraud.
``near_miss``
    Alerted if its odds alone were `NEAR` times as high, with the slots that were left when it came.
``known``
    The label of an earlier fraud of one of its entities had arrived, ``label_time`` in ``(t - lookback, t]``, and had
    not been taken back.
``first_fraud``
    None of these: nothing of its entities was known to be fraud.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.data.labels import spells
from fraudctl.evaluate import Replay
from fraudctl.explain.scene import Scene, micros
from fraudctl.project import Project

CAUSES: Final = ("label_delay", "near_miss", "known", "first_fraud")
NEAR: Final = 2.0
"""Factor on the odds within which a missed fraud is a near miss."""
LOOKBACK_DAYS: Final = 30
MOST_PAIRS: Final = 2_000_000
"""Pairs of a missed fraud and an earlier fraud of its entity that are looked at together."""
DAY_US: Final = 86_400_000_000


@dataclass(frozen=True)
class CauseTotal:
    """One cause: missed frauds of which its condition holds and none that is tried earlier.

    Attributes
    ----------
    n_missed, cost
        These frauds, and the money lost by them. Over the causes they are partitions.
    n_pending, n_near, n_known
        Those of them of which the condition of ``label_delay``, ``near_miss`` and ``known`` holds: classes overlap, and
        only the first that holds names the cause.
    entities
        Entity -> missed frauds with this cause that it explains; a fraud may count under several.
    median_wait_days
        Days until the earliest pending label of its entities arrived, median over the frauds; label_delay only.
    """

    cause: str
    """The cause: ``label_delay``, ``near_miss``, ``known`` or ``first_fraud``."""
    n_missed: int
    cost: float
    n_pending: int
    n_near: int
    n_known: int
    entities: dict[str, int]
    median_wait_days: float | None


@dataclass(frozen=True)
class Causes:
    """The cause of every missed fraud, and the totals.

    Attributes
    ----------
    rows
        Positions of the missed frauds in the scene, shape ``(n_missed,)``.
    cause
        A name of `CAUSES` for each.
    entity
        The entity that shows it, the first in the project's order; "" where none does.
    """

    rows: IntArray
    cause: tuple[str, ...]
    entity: tuple[str, ...]
    totals: tuple[CauseTotal, ...]
    lookback_days: float


@dataclass(frozen=True)
class _Past:
    """What the frauds of one entity say about some events, shape ``(n,)`` each."""

    pending: BoolArray
    known: BoolArray
    wait_us: IntArray


def lookback(project: Project) -> int:
    """Return the microseconds that a fraud is remembered: the longest label window, or 30 days without any."""
    windows = [window.us for spec in project.features.labels for window in spec.windows]
    return max(windows, default=LOOKBACK_DAYS * DAY_US)


def shifted(y_prob: FloatArray, factor: float) -> FloatArray:
    """Return the probabilities with all odds multiplied by ``factor``.

    >>> shifted(np.array([0.5, 0.0, 1.0]), 3.0).tolist()
    [0.75, 0.0, 1.0]
    """
    return np.asarray(factor * y_prob / (1.0 - y_prob + factor * y_prob), dtype=np.float64)


def find_causes(scene: Scene, *, replay: Replay) -> Causes:
    """Return every missed fraud its cause; see the module for their definitions.

    Parameters
    ----------
    replay
        All events of the period; those it judges are the events of the scene, in the same order.
    """
    rows = np.flatnonzero(scene.missed)
    reach = lookback(scene.project)
    events = scene.scored[rows]
    pasts = {name: _past(events, scene.history, name, reach) for name in scene.entities}
    near = np.asarray(replay.codes_alone(rows, shifted(scene.y_prob[rows], NEAR), scene.project) != 0)
    nothing = np.zeros(len(rows), dtype=bool)
    pending = np.logical_or.reduce([past.pending for past in pasts.values()] or [nothing])
    known = np.logical_or.reduce([past.known for past in pasts.values()] or [nothing])
    cause = np.select([pending, near, known], ["label_delay", "near_miss", "known"], "first_fraud")
    entity = [_shown_by(pasts, name, i) for i, name in enumerate(cause)]
    tests = {"n_pending": pending, "n_near": near, "n_known": known}
    totals = tuple(_total(name, cause == name, scene.cost[rows], pasts, tests) for name in CAUSES)
    return Causes(rows, tuple(map(str, cause)), tuple(entity), totals, reach / DAY_US)


def _shown_by(pasts: dict[str, _Past], cause: str, i: int) -> str:
    wanted = {"label_delay": "pending", "known": "known"}.get(cause)
    return next((name for name, past in pasts.items() if wanted and getattr(past, wanted)[i]), "")


def _total(
    cause: str, held: BoolArray, cost: FloatArray, pasts: dict[str, _Past], tests: dict[str, BoolArray]
) -> CauseTotal:
    wanted = {"label_delay": "pending", "known": "known"}.get(cause)
    entities = {name: int((getattr(past, wanted) & held).sum()) for name, past in pasts.items()} if wanted else {}
    median = None
    if cause == "label_delay" and held.any():
        wait = np.minimum.reduce([past.wait_us for past in pasts.values()])[held]
        median = float(np.median(wait)) / DAY_US
    counts = {name: int((held & test).sum()) for name, test in tests.items()}
    return CauseTotal(
        cause, int(held.sum()), float(cost[held].sum()), **counts, entities=entities, median_wait_days=median
    )


def _past(events: pl.DataFrame, history: pl.DataFrame, entity: str, reach: int) -> _Past:
    """Look up the frauds of one entity before each event, some events at a time, so that few pairs are held at once."""
    key = events.select(pl.col(entity).alias("key"), pl.col("event_time").alias("t")).with_row_index("row")
    frauds = _fraud_spells(history, entity)
    no, never = np.zeros(len(key), dtype=bool), np.full(len(key), np.iinfo(np.int64).max)
    past = _Past(no, no.copy(), never)
    counts = key.join(frauds.group_by("key").len(), on="key", how="left", maintain_order="left")["len"].fill_null(0)
    part = (counts.cast(pl.Int64).cum_sum() // MOST_PAIRS).alias("part")
    for some in key.with_columns(part).partition_by("part", include_key=False):
        pairs = some.join(frauds, on="key", how="inner", nulls_equal=False).filter(pl.col("event_time") < pl.col("t"))
        row = pairs["row"].to_numpy()
        t, at, arrived = micros(pairs["t"]), micros(pairs["event_time"]), micros(pairs["since"])
        over = pairs["until"].is_null().to_numpy() | (micros(pairs["until"].fill_null(pairs["t"])) > t)
        pending = (arrived > t) & (at > t - reach) & pairs["first"].to_numpy()
        past.pending[row[pending]] = True
        past.known[row[(arrived <= t) & (arrived > t - reach) & over]] = True
        np.minimum.at(past.wait_us, row[pending], (arrived - t)[pending])
    return past


def _fraud_spells(history: pl.DataFrame, entity: str) -> pl.DataFrame:
    """Return when events of an entity were known as fraud: ``key``, ``event_time``, ``since``, ``until``, ``first``.

    ``first`` is true for the first such time of an event that is fraud by all that is known today.
    """
    known = spells(history).filter(pl.col("label") == 1)
    known = known.with_columns(first=pl.col("row").is_first_distinct())
    names = history.select(pl.col(entity).alias("key"), "event_time", fraud=pl.col("label") == 1).with_row_index("row")
    found = known.join(names, on="row").with_columns(pl.col("first") & pl.col("fraud"))
    return found.select("key", "event_time", "since", "until", "first")
