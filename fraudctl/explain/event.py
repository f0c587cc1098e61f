"""One event: the world as it was known then, the decision, its reasons, and what would have flipped it.

Owns the view of a single decision. Only what had happened, and only labels that had arrived, are shown as known; the
outcome is given apart, as hindsight.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.costs import cost_matrix, expected_cost
from fraudctl.data.labels import as_known
from fraudctl.errors import DataError, ProjectError
from fraudctl.explain.reasons import Reason, Value, give_reasons
from fraudctl.explain.result import SCHEMA_VERSION
from fraudctl.explain.scene import Contribute, Decide, FeatureLike, Score
from fraudctl.policy.provenance import DecidedBy
from fraudctl.project import Project
from fraudctl.text.figures import count
from fraudctl.text.wording import as_said

RECENT: Final = 8
STEPS: Final = 21
REFINE: Final = 16
REFERENCE_ROWS: Final = 20_000
MOST_LEVELS: Final = 20
CATEGORY_CHANGE: Final = 0.5
"""What another category counts, on the scale of quantiles that numbers are changed by."""


@dataclass(frozen=True)
class KnownEvent:
    """An earlier event of one of the entities; `label` is None where it had not arrived by then."""

    entity: str
    """Name of the entity."""
    event_id: int | str
    """Id of the event."""
    event_time: datetime
    """Time of the event."""
    amount: float | None
    """Amount; null where there is none."""
    label: int | None
    """Label, if it had arrived; else null."""


@dataclass(frozen=True)
class KnownEntity:
    """What was known of one entity: all its earlier events, and the latest of them."""

    entity: str
    """Name of the entity."""
    value: Value
    """Its id."""
    n_events: int
    """Earlier events of it."""
    n_known_frauds: int
    """Frauds among them whose label had arrived."""
    n_pending: int
    """Events among them whose label had not arrived."""
    recent: tuple[KnownEvent, ...]
    """The latest of them."""


@dataclass(frozen=True)
class Change:
    """The cheapest change of one feature that flips the decision between allow and alert.

    Attributes
    ----------
    size
        How far the value moves: the larger of the share of events that it passes and the share of the range (0.1 % to
        99.9 %); 0.5 for another category, or from unknown.
    """

    feature: str
    """Name of the feature."""
    words: str
    """The feature in words."""
    value: Value
    """Its value."""
    needed: Value
    """The value that flips the decision."""
    size: float
    y_prob: float
    """Probability with that value."""
    action: str
    """Action with that value."""


@dataclass(frozen=True)
class EventExplanation:
    """Everything about one decision.

    Attributes
    ----------
    expected_costs
        Action -> expected money lost, by the project's costs.
    decided_by
        By what the action was decided, in the state of the event's moment.
    reasons
        The model's, where it decided; empty where a rule or a capacity did.
    model_view
        The model's reasons in any case: what speaks for the action that it would have chosen.
    change
        None where no single change among the features flips the decision.
    label, label_time
        Hindsight: the outcome, where it is known by now.
    """

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION

    model: str
    """Version of the model."""
    currency: str
    """Currency of the project."""
    event_id: int | str
    """Id of the event."""
    event_time: datetime
    """Time of the event."""
    amount: float | None
    """Amount of the event; null where there is none."""
    y_prob: float
    """Calibrated probability of fraud."""
    action: str
    """Action that was taken."""
    expected_costs: dict[str, float]
    decided_by: DecidedBy
    reasons: tuple[Reason, ...]
    model_view: tuple[Reason, ...]
    known: tuple[KnownEntity, ...]
    """What was known of the event's entities at its time."""
    change: Change | None
    label: int | None
    label_time: datetime | None


def explain_event(
    event_id: int | str,
    history: pl.DataFrame,
    *,
    project: Project,
    features: Sequence[FeatureLike],
    contribute: Contribute,
    score: Score,
    decide: Decide,
    decided_by: Callable[[pl.DataFrame, FloatArray], DecidedBy],
    model: str,
) -> EventExplanation:
    """Explain the decision on one event of the feature table.

    Parameters
    ----------
    event_id
        As text or number; compared as text.
    history
        The whole feature table.
    score
        Feature-table rows -> y_prob.
    decide, decided_by
        Action codes of variants of the event, and by what its own action was decided, both in the state of its moment.

    Raises
    ------
    DataError
        There is no such event.
    """
    event = history.filter(pl.col("event_id").cast(pl.String) == str(event_id))
    if event.height != 1:
        msg = f"no event has the id that was asked for, among {count(history.height, 'event')}"
        raise DataError(msg, hint="give the event id as it stands in the data")
    y_prob = score(event)
    matrix = cost_matrix(project.costs)
    code = int(decide(event, y_prob)[0])
    values = np.asarray(contribute(event)[:, :-1], dtype=np.float64)
    by = decided_by(event, y_prob)
    own = matrix.actions[code] if by.by_model or by.instead_of is None else by.instead_of
    reasons = give_reasons(
        event, values, towards_alert=np.array([own != matrix.actions[0]]), features=features,
        protected=project.features.protected, history=history, entities=tuple(project.entities),
    )  # fmt: skip
    costs = expected_cost(matrix.per_event(event), y_prob)[0]
    row = event.row(0, named=True)
    return EventExplanation(
        model=model, currency=matrix.currency, event_id=row["event_id"], event_time=row["event_time"],
        amount=row.get("amount"), y_prob=float(y_prob[0]), action=matrix.actions[code],
        expected_costs={name: float(costs[i]) for i, name in enumerate(matrix.actions)},
        decided_by=by, reasons=reasons[0] if by.by_model else (), model_view=reasons[0],
        known=tuple(_known(history, row, name) for name in project.entities),
        change=find_change(event, history, project=project, features=features, score=score, decide=decide),
        label=row["label"], label_time=row["label_time"],
    )  # fmt: skip


def _known(history: pl.DataFrame, row: Mapping[str, Any], entity: str) -> KnownEntity:
    """Return the known world of one entity: earlier events, labels that had arrived."""
    value, t = row[entity], row["event_time"]
    if value is None:
        return KnownEntity(entity, None, 0, 0, 0, ())
    past = history.filter(pl.col(entity) == value, pl.col("event_time") < t).sort("event_time", "event_id")
    past = as_known(past, t)
    arrived = (pl.col("label_time") <= t).fill_null(value=False)
    past = past.with_columns(pl.when(arrived).then(pl.col("label")).alias(".label"))
    has_amount = "amount" in past.columns
    recent = tuple(
        KnownEvent(entity, item["event_id"], item["event_time"], item["amount"] if has_amount else None, item[".label"])
        for item in past.tail(RECENT).reverse().iter_rows(named=True)
    )
    n_frauds = int((past[".label"] == 1).sum())
    return KnownEntity(entity, value, past.height, n_frauds, int(past[".label"].null_count()), recent)


def find_change(
    event: pl.DataFrame,
    history: pl.DataFrame,
    *,
    project: Project,
    features: Sequence[FeatureLike],
    score: Score,
    decide: Decide,
) -> Change | None:
    """Find the smallest change of a single declared signal, protected features left out, that flips allow and alert.

    Each feature is moved over the quantiles of earlier events (or to another category) while the rest stay as they are:
    a diagnosis of the model, since in life features move together. Numbers are tried as sentences write them.

    Raises
    ------
    ProjectError
        A declared signal is no feature.
    """
    base = int(decide(event, score(event))[0])
    past = history.filter(pl.col("event_time") < event["event_time"][0]).tail(REFERENCE_ROWS)
    tried = [
        _cheapest(event, past[feature.name], feature, base, project, score, decide)
        for feature in _changeable(project, features)
        if past.height
    ]
    return min((item for item in tried if item is not None), key=lambda item: item.size, default=None)


def _changeable(project: Project, features: Sequence[FeatureLike]) -> list[FeatureLike]:
    """Return the declared signals, or all features where none are declared; never a protected one."""
    signals, names = project.features.signals, {feature.name for feature in features}
    lost = [name for name in signals if name not in names]
    if lost:
        near = difflib.get_close_matches(lost[0], sorted(names), n=1)
        msg = f"features.signals names {lost[0]}, which is no feature of the project"
        raise ProjectError(
            msg, hint=f"did you mean {near[0]}?" if near else "`fraudctl features --describe` lists them"
        )
    free = names - set(project.features.protected)
    return [feature for feature in features if feature.name in free and (not signals or feature.name in signals)]


def _cheapest(
    event: pl.DataFrame,
    past: pl.Series,
    feature: FeatureLike,
    base: int,
    project: Project,
    score: Score,
    decide: Decide,
) -> Change | None:
    numeric = event.schema[feature.name].is_numeric()
    known = past.drop_nulls()
    if not len(known):
        return None
    if not numeric:
        levels = (
            known.value_counts(name=".n")
            .sort([".n", feature.name], descending=[True, False])
            .head(MOST_LEVELS)[feature.name]
            .to_list()
        )
        options = [level for level in levels if level != event[feature.name][0]]
        sizes = np.full(len(options), CATEGORY_CHANGE)
        return _first_flip(event, feature, options, sizes, base, project, score, decide)
    ordered = np.sort(known.cast(pl.Float64).to_numpy())
    now = event[feature.name][0]
    grid = _said(feature, np.quantile(ordered, np.linspace(0, 1, STEPS)))
    coarse = _first_flip(event, feature, grid.tolist(), _moved(ordered, now, grid), base, project, score, decide)
    if coarse is None or now is None or not isinstance(coarse.needed, (int, float)):
        return coarse
    fine = np.linspace(float(now), float(coarse.needed), REFINE + 1)[1:]
    fine = _said(feature, np.round(fine) if event.schema[feature.name].is_integer() else fine)
    return (
        _first_flip(event, feature, fine.tolist(), _moved(ordered, now, fine), base, project, score, decide) or coarse
    )


def _said(feature: FeatureLike, values: FloatArray) -> FloatArray:
    """Return each value as a sentence writes it, so that the number that is read is the number that was tried."""
    words = feature.words or feature.name
    return np.unique(np.array([as_said(words, float(value)) for value in values], dtype=np.float64))


def _moved(ordered: FloatArray, now: float | None, values: FloatArray) -> FloatArray:
    """Return how far each value is from the present one: the larger of its shares of all values and of their range."""
    rank = np.searchsorted(ordered, values, side="right") / len(ordered)
    if now is None:
        return np.full(len(values), 0.5)
    share = np.abs(rank - np.searchsorted(ordered, now, side="right") / len(ordered))
    low, high = np.quantile(ordered, [0.001, 0.999])
    reach = np.abs(values - now) / max(float(high - low), 1e-12)
    return np.asarray(np.maximum(share, np.minimum(reach, 1.0)) + 1e-9 * reach, dtype=np.float64)


def _first_flip(
    event: pl.DataFrame, feature: FeatureLike, options: list[Any], sizes: FloatArray, base: int, project: Project,
    score: Score, decide: Decide,
) -> Change | None:  # fmt: skip
    """Return the option with the smallest size that flips the decision."""
    if not options:
        return None
    dtype = event.schema[feature.name]
    column = pl.Series(feature.name, options, strict=False).cast(dtype)
    variants = pl.concat([event] * len(options)).with_columns(column)
    y_prob = score(variants)
    codes = decide(variants, y_prob)
    same = column.eq_missing(event[feature.name].new_from_index(0, len(column))).to_numpy()
    flips = np.flatnonzero(((codes != 0) != (base != 0)) & ~same)
    if not len(flips):
        return None
    best = int(flips[np.argmin(sizes[flips])])
    action = cost_matrix(project.costs).actions[int(codes[best])]
    words = feature.words or feature.name
    return Change(
        feature.name, words, event[feature.name][0], column[best], float(sizes[best]), float(y_prob[best]), action
    )
