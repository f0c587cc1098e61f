"""Two models side by side on the same events: how they differ, where they disagree, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.catalogue import SIDE_BY_SIDE
from fraudctl.data import tables
from fraudctl.errors import DataError
from fraudctl.evaluate.estimates import difference, estimate, nothing_known
from fraudctl.evaluate.judged import EvaluatedEvents, prepare
from fraudctl.evaluate.result import Period, when_of
from fraudctl.metrics import ratios
from fraudctl.populations import require_same_events
from fraudctl.project import Project
from fraudctl.split import RandomSplit, TimeSplit
from fraudctl.text.plain import shown_all
from fraudctl.uncertainty import Estimate, RankingIntervals, difference_estimate

SCHEMA_VERSION: Final = 2


@dataclass(frozen=True)
class Disagreement:
    """The events on which one model took one action and the other another."""

    action_a: str
    """Action of A."""
    action_b: str
    """Action of B."""
    events: int
    """Number of such events."""
    frauds: int
    """Frauds among them."""
    cost_a: float
    """Money that A's decisions on them lost, weights included."""
    cost_b: float
    """Money that B's decisions on them lost, weights included."""
    dearer_a: Estimate
    """Money that A's action costs more than B's, with its paired interval."""


@dataclass(frozen=True)
class CostlyEvent:
    """One event on which the models disagree."""

    event_id: int | str
    """Id of the event."""
    label: int
    """1 fraud, 0 legitimate."""
    y_prob_a: float
    """Calibrated probability of A."""
    action_a: str
    """Action of A."""
    cost_a: float
    """Money that A's action lost."""
    y_prob_b: float
    """Calibrated probability of B."""
    action_b: str
    """Action of B."""
    cost_b: float
    """Money that B's action lost."""


@dataclass(frozen=True)
class BothMetrics:
    """The metrics of two models on the same events."""

    a: dict[str, Estimate]
    """Metric -> figure of A."""
    b: dict[str, Estimate]
    """Metric -> figure of B."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same events; differences are A - B."""

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION
    JSON = (
        "a", "b", "period", "split", "events as rows", "frauds", "confidence", "currency", "metrics", "differences",
        "agreed", "disagreements", "rank_correlation", "costliest",
    )  # fmt: skip

    a: str
    """Version of A."""
    b: str
    """Version of B."""
    events: int
    """Events that both decided."""
    frauds: int
    """Frauds among them."""
    period: Period | None
    """Period of the events; null for a random split."""
    timezone: str
    confidence: float
    """Two-sided confidence of the intervals."""
    currency: str
    """Currency of the project."""
    metrics: BothMetrics
    """The metrics of both."""
    differences: dict[str, Estimate]
    """Metric -> figure of A minus that of B, paired."""
    disagreements: tuple[Disagreement, ...]
    """Pairs of different actions, by falling money between them."""
    agreed: int
    """Events on which both took the same action."""
    rank_correlation: float | None
    """Spearman's correlation of the two probabilities; null where one of them is constant."""
    costliest: tuple[CostlyEvent, ...]
    """Single events on which the disagreement costs most."""
    split: TimeSplit | RandomSplit = field(default_factory=TimeSplit)
    """How the events were parted from those trained on."""

    @property
    def when(self) -> str:
        """Which events were compared: a period, or the test of a random split."""
        return when_of(self.period, self.split, self.timezone)


def compare(
    scored_a: pl.DataFrame,
    scored_b: pl.DataFrame,
    *,
    project: Project,
    names: tuple[str, str],
    period: Period | None = None,
    split: TimeSplit | RandomSplit | None = None,
    confidence: float = 0.90,
    seed: int = 0,
    most: int = 20,
) -> Comparison:
    """Compare two models on the same events, priced with the project's present costs.

    Parameters
    ----------
    scored_a, scored_b
        From `fraudctl.evaluate.decide_frame`: the same events in the same order, every label known.
    project
        Its costs and entities.
    names
        Versions of A and B.
    period
        Of the events; by default from the first event to just after the last.
    split
        How the events were parted from those trained on; by default by time.
    confidence, seed
        Of the intervals.
    most
        How many of the costliest single disagreements to list.

    Raises
    ------
    DataError
        The events differ, or a probability is missing.
    """
    require_same_events(scored_a, scored_b, names=names)
    pair = prepare(scored_a, project), prepare(scored_b, project)
    for name, judged in zip(names, pair, strict=True):
        problem = nothing_known(judged)
        if problem is not None:
            msg = f"{name} cannot be compared: {problem}"
            raise DataError(msg)
    a, b = pair
    settings = RankingIntervals(project.evaluate.replicates, seed, confidence)
    found = tuple({name: estimate(name, judged, settings) for name in SIDE_BY_SIDE} for judged in pair)
    return Comparison(
        a=names[0],
        b=names[1],
        events=a.n_events,
        frauds=a.n_frauds,
        period=None if isinstance(split, RandomSplit) else period or spanned(scored_a),
        split=split or TimeSplit(),
        timezone=project.data.timezone,
        confidence=confidence,
        currency=a.matrix.currency,
        metrics=BothMetrics(found[0], found[1]),
        differences={name: difference(name, a, b, settings) for name in SIDE_BY_SIDE},
        disagreements=_disagreements(a, b, confidence),
        agreed=int((a.codes == b.codes).sum()),
        rank_correlation=_spearman(a.y_prob, b.y_prob),
        costliest=_costliest(scored_a, scored_b, a, b, most),
    )


def spanned(scored: pl.DataFrame) -> Period:
    """Return the period from the first event to just after the last; ``scored`` has at least one."""
    first, last = scored["event_time"].min(), scored["event_time"].max()
    assert isinstance(first, datetime)  # noqa: S101 - for the type checker: there are events, each with its time
    assert isinstance(last, datetime)  # noqa: S101
    return Period(first, last + timedelta(microseconds=1))


def read_logged(decisions: Path, model: str) -> pl.DataFrame:
    """Read what a model decided from logged decisions, each event once, by its first decision.

    Returns
    -------
    DataFrame
        ``event_id``, ``y_prob``, ``action``.

    Raises
    ------
    DataError
        There is no such file, it is damaged or not of that form, or the model has decided nothing.
    """
    files = tables.given_files([decisions], what="--decisions")
    for name in files:
        _require_undamaged(Path(name))
    found = tables.collect(tables.scan(files), files=files)
    missing = [name for name in ("event_id", "model", "probability", "action") if name not in found.columns]
    if missing:
        msg = f"{decisions}: no column {shown_all(missing)}; expected decisions as `serve` and `score` log them"
        raise DataError(msg)
    mine = found.filter(pl.col("model") == model).unique("event_id", keep="first", maintain_order=True)
    if mine.is_empty():
        there = ", ".join(sorted(found["model"].unique().to_list()))
        msg = f"{decisions}: model {model} has decided nothing there; there are decisions of: {there or 'none'}"
        raise DataError(msg, hint="name models that ran as champion or challenger")
    return mine.select("event_id", pl.col("probability").alias("y_prob"), "action")


def _require_undamaged(path: Path) -> None:
    from fraudctl.disk.kept import DamagedError, require_undamaged

    try:
        require_undamaged(path)
    except DamagedError as error:
        raise DataError(
            str(error), hint="restore the file, or remove it: its decisions are then not compared"
        ) from error


def _disagreements(a: EvaluatedEvents, b: EvaluatedEvents, confidence: float) -> tuple[Disagreement, ...]:
    cells = [(x, y) for x in np.unique(a.codes) for y in np.unique(b.codes) if x != y]
    found = [_cell(a, b, int(x), int(y), confidence) for x, y in cells if ((a.codes == x) & (b.codes == y)).any()]
    return tuple(sorted(found, key=lambda item: -abs(item.cost_a - item.cost_b)))


def _cell(a: EvaluatedEvents, b: EvaluatedEvents, code_a: int, code_b: int, confidence: float) -> Disagreement:
    rows = ((a.codes == code_a) & (b.codes == code_b)).astype(np.float64)
    money = [ratios.cost(a.y_true, judged.cost_taken * rows, weight=a.weight) for judged in (a, b)]
    return Disagreement(
        action_a=a.matrix.actions[code_a],
        action_b=a.matrix.actions[code_b],
        events=int(rows.sum()),
        frauds=int((rows * (a.y_true == 1)).sum()),
        cost_a=money[0].value,
        cost_b=money[1].value,
        dearer_a=difference_estimate(money[0], money[1], a.clusters, confidence=confidence),
    )


def _spearman(a: FloatArray, b: FloatArray) -> float | None:
    ranks = [pl.Series(item).rank("average").to_numpy() for item in (a, b)]
    if any(np.ptp(item) == 0 for item in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _costliest(
    scored_a: pl.DataFrame, scored_b: pl.DataFrame, a: EvaluatedEvents, b: EvaluatedEvents, most: int
) -> tuple[CostlyEvent, ...]:
    gap = np.abs(a.cost_taken - b.cost_taken) * (a.codes != b.codes)
    rows = [int(row) for row in np.argsort(-gap, kind="stable")[:most] if gap[row] > 0]
    table = scored_a.select(
        "event_id", "label", y_prob_a="y_prob", action_a="action", cost_a=pl.Series(a.cost_taken)
    ).with_columns(y_prob_b=scored_b["y_prob"], action_b=scored_b["action"], cost_b=pl.Series(b.cost_taken))
    return tuple(CostlyEvent(**row) for row in table[rows].iter_rows(named=True))
