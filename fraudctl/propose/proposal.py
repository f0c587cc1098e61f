"""A proposed project as a value: every choice with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.propose.delay import Delay
from fraudctl.propose.encoding import Mapping
from fraudctl.propose.extras import Extra, as_json
from fraudctl.propose.plan import FeaturePlan
from fraudctl.propose.rest import Remainder
from fraudctl.propose.roles import Choice, Entity

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.propose.beside import Source
    from fraudctl.propose.label_tables import ProposedLabels
    from fraudctl.propose.reading import Look

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Clock:
    """What a time of the event brings with it.

    Attributes
    ----------
    times
        µs UTC, shape ``(n_events,)`` in the order of the table, named like their column.
    first, last
        The period of the rows as they are in the file, UTC.
    delay
        The maturity horizon.
    timezone
        IANA zone, and why.
    """

    times: pl.Series
    first: datetime
    last: datetime
    delay: Delay
    timezone: Choice


@dataclass(frozen=True)
class Proposal:
    """A proposed project, and why.

    Attributes
    ----------
    name
        Name of the project.
    events
        Paths of the data as they are to stand in the project file.
    event_id
        The role that every project has.
    event_time, amount, label, label_time
        Roles that it may lack; there is a label where ``labels`` is None.
    label_values
        Text of a label value -> 1, 0 or None for unknown; empty where the column holds 1, 0 and null.
    clock
        What goes with the event_time; None without one, and then the split is random.
    entities, costs, sources, rest, plan
        Parties to a transaction; columns that price a decision, by cell of the cost matrix; tables beside the events;
        the other columns; the features.
    n_events, n_frauds, n_labelled
        Rows as they are in the file.
    notes
        What the reader should know before trusting the file.
    test, test_reason
        Length of the test period where the default holds too few frauds or leaves nothing to validate on, and why.
    folds
        Periods, or parts of data without a time, that a model is chosen on.
    reading
        How the files are written; None as timestamps and plain numbers.
    labels
        Labels in tables of their own; None where they are a column.
    extras
        Further features that the columns allow, active where a later period says that they pay.
    """

    name: str
    events: tuple[str, ...]
    event_id: Choice
    event_time: Choice | None
    amount: Choice | None
    label: Choice | None
    label_values: Mapping
    label_time: Choice | None
    clock: Clock | None
    entities: tuple[Entity, ...]
    costs: dict[str, Choice]
    sources: tuple[Source, ...]
    rest: Remainder
    plan: FeaturePlan
    n_events: int
    n_frauds: int
    n_labelled: int
    notes: tuple[str, ...]
    test: str | None = None
    test_reason: str = ""
    folds: int = 3
    reading: Look | None = None
    labels: ProposedLabels | None = None
    extras: tuple[Extra, ...] = ()

    @property
    def n_features(self) -> int:
        """How many features the model will see."""
        return self.plan.n_features + sum(item.n_features for item in self.extras if item.active)

    @property
    def roles(self) -> dict[str, Choice | None]:
        """The choice for each role; None where the project lacks it."""
        return {
            "event_id": self.event_id, "event_time": self.event_time, "amount": self.amount, "label": self.label,
            "label_time": self.label_time,
        }  # fmt: skip

    def to_dict(self) -> JsonObject:
        """Give the proposal as JSON values: every choice with its reason."""
        clock = self.clock
        return {
            "schema_version": SCHEMA_VERSION,
            "events": list(self.events),
            "n_events": self.n_events,
            "n_labelled": self.n_labelled,
            "n_frauds": self.n_frauds,
            "period": None if clock is None else [clock.first.isoformat(), clock.last.isoformat()],
            "split": "time" if clock is not None else "random",
            "roles": {
                role: None if choice is None else {"column": choice.column, "reason": choice.reason}
                for role, choice in self.roles.items()
            },
            "label_values": self.label_values,
            "label_delay": None
            if clock is None
            else {"value": str(clock.delay.duration), "reason": clock.delay.reason},
            "timezone": None if clock is None else {"value": clock.timezone.column, "reason": clock.timezone.reason},
            "entities": {item.name: {"column": item.column, "reason": item.reason} for item in self.entities},
            "costs": {cell: {"column": item.column, "reason": item.reason} for cell, item in self.costs.items()},
            "labels": None if self.labels is None else self.labels.to_dict(),
            "sources": {item.name: item.to_dict() for item in self.sources},
            "ignored": {item.column: item.reason for item in self.rest.ignored},
            "unused": {item.column: item.reason for item in self.rest.unused},
            "raw": list(self.plan.raw),
            "categorical": list(self.plan.categorical),
            "n_features": self.n_features,
            "more_features": as_json(self.extras),
            "notes": list(self.notes),
            "reading": {}
            if self.reading is None
            else self.reading.section.model_dump(mode="json", exclude_defaults=True),
        }
