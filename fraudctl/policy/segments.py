"""Thresholds of their own for segments of the events, only where the gain is shown on events that did not choose them.

Owns which values of a column or expression are segments, and the proof: thresholds are chosen on four fifths of the
entities and judged on the last, five times; a segment gets its own where the interval of what they save, against the
common thresholds chosen on the same four fifths, lies above zero. Everything else keeps the common ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.errors import ProjectError
from fraudctl.features.rows.read import compile_row_sql
from fraudctl.metrics import ratios
from fraudctl.policy.expressions import readable
from fraudctl.policy.search import ScoreGroups, coarsest, search_thresholds
from fraudctl.project.decisions import SEGMENTS
from fraudctl.uncertainty import Clusters, Estimate, difference_estimate

MOST: Final = 8
"""Segments that are looked at: those with the most frauds."""
MIN_FRAUDS: Final = 50
"""Frauds of a segment below which nothing is tried."""
PARTS: Final = 5
CONFIDENCE: Final = 0.95
"""Two-sided, of one interval. With m segments each is judged at ``1 - (1 - CONFIDENCE) / m`` (Bonferroni), so that one
that gains nothing seldom gets its own, however many are looked at."""

Thresholds = dict[str, float | None]


@dataclass(frozen=True)
class Segments:
    """Which events have thresholds of their own.

    Attributes
    ----------
    by
        Column or expression of one row in Polars SQL, as the project file has it.
    thresholds
        Value, as text -> action -> threshold. Every other value, and null, has the common thresholds.
    """

    by: str
    thresholds: dict[str, Thresholds] = field(default_factory=dict)

    def values(self, frame: pl.DataFrame, *, timezone: str) -> pl.Series:
        """Return the segment of each event as text, null where there is none.

        Raises
        ------
        ProjectError
            The expression gives neither text, whole numbers nor true and false.
        """
        found = compile_row_sql(self.by, allowed=readable(frame), where=SEGMENTS).apply(frame, timezone=timezone)
        if not (found.dtype.is_integer() or isinstance(found.dtype, pl.String | pl.Boolean | pl.Enum | pl.Categorical)):
            msg = f"{SEGMENTS} = {self.by!r} gives {found.dtype}; expected text, whole numbers, or true and false"
            raise ProjectError(
                msg, hint="cut numbers into few parts: CASE WHEN amount > 100 THEN 'high' ELSE 'low' END"
            )
        return found.cast(pl.String)

    def place(self, values: pl.Series) -> IntArray:
        """Return the position of each value in `thresholds`, -1 for the common ones."""
        places = {value: at for at, value in enumerate(self.thresholds)}
        return values.replace_strict(places, default=-1, return_dtype=pl.Int64).to_numpy()


def as_text(value: Any) -> str | None:
    """Return one value as `Segments.values` gives it.

    >>> as_text("web"), as_text(5), as_text(True), as_text(None)
    ('web', '5', 'true', None)
    """
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Cases:
    """What thresholds are chosen on: events with known outcomes, arrays of shape ``(n_events, ...)``.

    Attributes
    ----------
    outcome
        Money of each threshold's action on the true outcome, with weights and rules, ``(n_events, n_actions)``.
    """

    y_true: npt.NDArray[np.int8]
    y_prob: FloatArray
    outcome: FloatArray
    clusters: Clusters


@dataclass(frozen=True)
class SegmentFound:
    """One segment, and whether it gets thresholds of its own.

    Attributes
    ----------
    value
        The segment.
    events, frauds
        Events of the segment, and the frauds among them.
    gain
        Money that they save against the common ones, on events that did not choose either.
    thresholds
        Its own; None where it keeps the common ones.
    """

    JSON = ("value as segment", "events", "frauds", "gain", "own", "thresholds", "why")

    value: str
    events: int
    frauds: int
    gain: Estimate
    thresholds: Thresholds | None

    @property
    def own(self) -> bool:
        """Whether it has thresholds of its own."""
        return self.thresholds is not None

    @property
    def why(self) -> str:
        """State in words what was decided."""
        if self.gain.low is None or self.gain.high is None:
            return "common: the gain is not known"
        if self.thresholds is None:
            return "common: no gain is shown"
        return "own: the gain lies above zero"


def choose_segments(values: pl.Series, cases: Cases, actions: tuple[str, ...]) -> tuple[list[SegmentFound], float]:
    """Try thresholds of their own for the segments with the most frauds.

    Parameters
    ----------
    values
        Segment of each event as text, shape ``(n_events,)``.
    cases
        The events.
    actions
        Those with a threshold, from mild to harsh.

    Returns
    -------
    The segments by falling number of frauds, and the confidence of their intervals.
    """
    names = _tried(values, cases.y_true)
    masks = [(values == name).fill_null(value=False).to_numpy() for name in names]
    held = 1 - (1 - CONFIDENCE) / max(len(names), 1)
    common, own = _out_of_sample(cases, masks)
    found = []
    for name, rows, money in zip(names, masks, own, strict=True):
        gain = _gain(cases, rows, common, money, confidence=held)
        shown = gain.low is not None and gain.low > 0
        chosen = dict(zip(actions, _best(cases, rows), strict=True)) if shown else None
        found.append(SegmentFound(name, int(rows.sum()), int(cases.y_true[rows].sum()), gain, chosen))
    return found, held


def _gain(cases: Cases, rows: BoolArray, common: FloatArray, own: FloatArray, *, confidence: float) -> Estimate:
    """Return by how much the common thresholds cost more than a segment's own.

    Where both differ on a few events only, these may happen to agree; so the standard error is never below what one
    typical fraud is worth, caught against missed.
    """
    y_true, outcome = cases.y_true[rows], cases.outcome[rows][cases.y_true[rows] == 1]
    stake = float(np.mean(outcome.max(axis=1) - outcome.min(axis=1)))
    pair = [replace(ratios.cost(y_true, item[rows]), unit=stake) for item in (common, own)]
    return difference_estimate(pair[0], pair[1], cases.clusters.take(rows), confidence=confidence)


def _tried(values: pl.Series, y_true: npt.NDArray[np.int8]) -> list[str]:
    frame = pl.DataFrame({"value": values, "fraud": y_true.astype(np.int64)}).drop_nulls()
    counts = frame.group_by("value").agg(pl.col("fraud").sum()).filter(pl.col("fraud") >= MIN_FRAUDS)
    return counts.sort(["fraud", "value"], descending=[True, False])["value"].to_list()[:MOST]


def _out_of_sample(cases: Cases, masks: list[BoolArray]) -> tuple[FloatArray, list[FloatArray]]:
    """Return the money of each event under common thresholds, and under each segment's own, chosen without its part."""
    codes, n_clusters = coarsest(cases.clusters)
    part = np.random.default_rng(0).permutation(n_clusters)[codes] % PARTS
    common = np.zeros(len(part))
    own = [np.zeros(len(part)) for _ in masks]
    for number in range(PARTS):
        left_out = part == number
        common[left_out] = _money(cases, left_out, _best(cases, ~left_out))
        for money, mask in zip(own, masks, strict=True):
            rows = left_out & mask
            money[rows] = _money(cases, rows, _best(cases, ~left_out & mask))
    return common, own


def _best(cases: Cases, rows: BoolArray) -> list[float | None]:
    search = search_thresholds(ScoreGroups.of(cases.y_prob[rows], cases.outcome[rows]))
    return [item.value for item in search.thresholds]


def _money(cases: Cases, rows: BoolArray, thresholds: list[float | None]) -> FloatArray:
    """Return the money of some events under thresholds, which rise with harshness."""
    y_prob = cases.y_prob[rows]
    reached = [np.zeros(len(y_prob), dtype=bool) if cut is None else y_prob >= cut for cut in thresholds]
    code = np.maximum.reduce([taken * (at + 1) for at, taken in enumerate(reached)])
    return np.asarray(cases.outcome[rows][np.arange(len(y_prob)), code], dtype=np.float64)
