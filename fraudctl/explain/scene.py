"""What an explanation looks at: the decisions of a period, each right or wrong, and what the rest of it needs.

Owns the derived arrays that every part shares, so that no part has its own idea of an alert or an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.costs import FRAUD, LEGIT, cost_matrix
from fraudctl.errors import DataError
from fraudctl.maturity import instant
from fraudctl.policy.provenance import DECIDED_BY, FIELDS, by_model
from fraudctl.project import Project
from fraudctl.weights import event_weights

MISSED: Final = "false_negative"
FALSE_ALARM: Final = "false_positive"
KINDS: Final = (MISSED, FALSE_ALARM)


class FeatureLike(Protocol):
    """What an explanation needs to know of a feature."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def words(self) -> str: ...  # noqa: D102
    @property
    def entity(self) -> str | None: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102


class Decide(Protocol):
    """The policy on variants of one event: frame and probabilities -> action codes, in the costs' order.

    Each variant is decided by itself, in the state in which the event was.
    """

    def __call__(self, frame: pl.DataFrame, y_prob: FloatArray, /) -> npt.NDArray[np.int8]: ...  # noqa: D102


class Contribute(Protocol):
    """The model's contributions: events -> array of shape ``(n_events, n_features + 1)``, the base last."""

    def __call__(self, frame: pl.DataFrame, /) -> FloatArray: ...  # noqa: D102


class ReadColumns(Protocol):
    """Columns of the history: names -> frame with a row for each of its events, in its order."""

    def __call__(self, names: Sequence[str], /) -> pl.DataFrame: ...  # noqa: D102


class Score(Protocol):
    """The model with its calibrator: events -> y_prob."""

    def __call__(self, frame: pl.DataFrame, /) -> FloatArray: ...  # noqa: D102


@dataclass(frozen=True)
class Scene:
    """The decided events of a period.

    Attributes
    ----------
    scored
        Feature-table rows with ``y_prob``, ``action`` (text) and ``cost`` (money of the action on the true outcome);
        labels are 1 or 0. In time order.
    history
        All events, earlier and later: needs ``event_id``, ``event_time``, ``label``, ``label_time``, the entities; the
        features are used for usual values where they are there.
    features
        The model's features, in its order.
    """

    scored: pl.DataFrame
    history: pl.DataFrame
    features: Sequence[FeatureLike]
    project: Project
    period: tuple[datetime, datetime] | None = None
    """Events with ``period[0] <= event_time < period[1]`` were to be explained; None where nobody said so."""
    columns: ReadColumns | None = None
    """Reads the features of the history where ``history`` does not hold them."""

    @cached_property
    def y_true(self) -> BoolArray:
        """Whether each event is fraud."""
        return np.asarray(self.scored["label"].to_numpy() == 1)

    @cached_property
    def y_prob(self) -> FloatArray:
        """Calibrated probability of fraud."""
        return np.asarray(self.scored["y_prob"].to_numpy(), dtype=np.float64)

    @cached_property
    def alert(self) -> BoolArray:
        """Whether the action is anything but allow."""
        return np.asarray((self.scored["action"] != "allow").to_numpy())

    @cached_property
    def weight(self) -> FloatArray:
        """How many events each stands for, by `fraudctl.weights`; money counts so often, numbers of events do not."""
        found = event_weights(self.scored, self.project)
        return np.ones(self.scored.height) if found is None else found

    @cached_property
    def cost(self) -> FloatArray:
        """Money lost by each decision, times the event's weight."""
        return self.weight * np.asarray(self.scored["cost"].to_numpy(), dtype=np.float64)

    @cached_property
    def time(self) -> IntArray:
        """Instants in microseconds since 1970 UTC."""
        return micros(self.scored["event_time"])

    @cached_property
    def decided_by(self) -> pl.Series:
        """By what each event was decided; see `fraudctl.policy.provenance`. Without that column, the model."""
        if "decided_by" in self.scored.columns:
            return self.scored["decided_by"]
        by = {**dict.fromkeys(FIELDS), "kind": "expected_cost"}
        return pl.Series("decided_by", [by], dtype=DECIDED_BY).new_from_index(0, self.scored.height)

    @cached_property
    def by_model(self) -> BoolArray:
        """Whether the model's probability decided, and not a rule or a capacity."""
        return by_model(self.decided_by)

    @cached_property
    def missed(self) -> BoolArray:
        """Frauds that were allowed."""
        return self.y_true & ~self.alert

    @cached_property
    def caught(self) -> BoolArray:
        """Frauds that were alerted."""
        return self.y_true & self.alert

    @cached_property
    def false_alarm(self) -> BoolArray:
        """Legitimate events that were alerted."""
        return ~self.y_true & self.alert

    @cached_property
    def passed(self) -> BoolArray:
        """Legitimate events that were allowed."""
        return ~self.y_true & ~self.alert

    @cached_property
    def cost_table(self) -> FloatArray:
        """Money of each action on each outcome, times the event's weight, shape ``(n_events, n_actions, 2)``."""
        return self.weight[:, None, None] * cost_matrix(self.project.costs).per_event(self.scored)

    @cached_property
    def price(self) -> FloatArray:
        """Money that each event loses if it is decided wrongly, shape ``(n_events,)``.

        Of an allowed event the cost of allowing it if it is fraud; of an alerted one the cost of its action if it is
        legitimate. Of an error it is its cost. Negative where being wrong brings money, such as a refund.
        """
        matrix = cost_matrix(self.project.costs)
        codes = self.scored["action"].replace_strict({name: i for i, name in enumerate(matrix.actions)}).to_numpy()
        taken = self.cost_table[np.arange(len(codes)), codes]
        return np.asarray(np.where(self.alert, taken[:, LEGIT], taken[:, FRAUD]), dtype=np.float64)

    @cached_property
    def stake(self) -> FloatArray:
        """`price` where it is a loss, else nothing: what the search for weak slices weighs events by."""
        return np.maximum(self.price, 0.0)

    @cached_property
    def day(self) -> pl.Series:
        """Local date of each event."""
        return self.scored["event_time"].dt.convert_time_zone(self.project.data.timezone).dt.date().alias("day")

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """Ids, times, labels and entities of all labelled events of the history."""
        names = ["event_id", "event_time", "label", *self.entities]
        return self.history.select(names).filter(pl.col("label").is_not_null())

    @cached_property
    def clock_features(self) -> frozenset[str]:
        """Features made of nothing but the time, such as a day of the week in numbers; the time is said in words."""
        columns = self.project.features.columns
        return frozenset(name for name, text in columns.items() if _roots(text) == {"event_time"})

    @property
    def entities(self) -> tuple[str, ...]:
        """Entity columns."""
        return tuple(self.project.entities)

    @cached_property
    def span(self) -> tuple[datetime, datetime]:
        """The period; where nobody gave one, the local days from that of the first event to that of the last."""
        if self.period is not None:
            return self.period
        zone = self.project.data.timezone
        return instant(self.day[0], timezone=zone), instant(self.day[-1] + timedelta(days=1), timezone=zone)

    @property
    def n_days(self) -> float:
        """Length of the period in days; days without events count too."""
        return (self.span[1] - self.span[0]) / timedelta(days=1)


def make_scene(
    scored: pl.DataFrame,
    history: pl.DataFrame,
    *,
    project: Project,
    features: Sequence[FeatureLike],
    period: tuple[datetime, datetime] | None = None,
    columns: ReadColumns | None = None,
) -> Scene:
    """Check and sort what is to be explained.

    Raises
    ------
    DataError
        No rows, labels that are not 1 or 0, probabilities that are not finite, or columns that are missing.
    """
    needed = ["event_id", "event_time", "label", "y_prob", "action", "cost", *project.entities]
    lost = [name for name in needed if name not in scored.columns]
    if lost:
        msg = f"decisions to explain lack {', '.join(lost)}"
        raise DataError(msg)
    if scored.height == 0:
        msg = "no events to explain in the period: 0 mature, labelled rows"
        raise DataError(msg, hint="choose another period with --from and --to")
    bad = int((~scored["label"].is_in([0, 1]).fill_null(value=False)).sum())
    bad += int((~scored["y_prob"].is_finite().fill_null(value=False)).sum())
    if bad:
        msg = f"{bad} of {scored.height} decisions have no label or no finite y_prob; expected none"
        raise DataError(msg)
    ordered = scored if scored["event_time"].is_sorted() else scored.sort("event_time", "event_id")
    return Scene(ordered, history, features, project, period, columns)


def _roots(text: str) -> set[str]:
    return set(pl.sql_expr(text).meta.root_names())


def micros(times: pl.Series) -> IntArray:
    """Return instants as microseconds since 1970 UTC, shape ``(n,)``; no nulls."""
    return np.asarray(times.dt.timestamp("us").to_numpy(), dtype=np.int64)
