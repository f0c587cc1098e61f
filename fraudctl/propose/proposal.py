"""A proposed project as a value: every choice with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fraudctl.propose.delay import Delay
from fraudctl.propose.encoding import Mapping
from fraudctl.propose.plan import FeaturePlan
from fraudctl.propose.rest import Rest
from fraudctl.propose.roles import Choice, Entity

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Proposal:
    """A proposed project, and why.

    Attributes
    ----------
    name
        Name of the project.
    events
        Paths of the data as they are to stand in the project file.
    event_id, event_time, label
        The roles that every project has.
    amount, label_time
        Roles that it may lack.
    label_values
        Text of a label value -> 1, 0 or None for unknown; empty where the column holds 1, 0 and null.
    delay
        The maturity horizon.
    timezone
        IANA zone, and why.
    entities, rest, plan
        Parties to a transaction; the other columns; the features.
    n_events, n_frauds, n_labelled, first, last
        Rows as they are in the file, and their period (UTC).
    notes
        What the reader should know before trusting the file.
    """

    name: str
    events: tuple[str, ...]
    event_id: Choice
    event_time: Choice
    amount: Choice | None
    label: Choice
    label_values: Mapping
    label_time: Choice | None
    delay: Delay
    timezone: Choice
    entities: tuple[Entity, ...]
    rest: Rest
    plan: FeaturePlan
    n_events: int
    n_frauds: int
    n_labelled: int
    first: datetime
    last: datetime
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the proposal as JSON values: every choice with its reason."""
        choices = {
            "event_id": self.event_id, "event_time": self.event_time, "amount": self.amount, "label": self.label,
            "label_time": self.label_time,
        }  # fmt: skip
        return {
            "schema_version": SCHEMA_VERSION,
            "events": list(self.events),
            "n_events": self.n_events,
            "n_labelled": self.n_labelled,
            "n_frauds": self.n_frauds,
            "period": [self.first.isoformat(), self.last.isoformat()],
            "roles": {
                role: None if choice is None else {"column": choice.column, "reason": choice.reason}
                for role, choice in choices.items()
            },
            "label_values": self.label_values,
            "label_delay": {"value": str(self.delay.duration), "reason": self.delay.reason},
            "timezone": {"value": self.timezone.column, "reason": self.timezone.reason},
            "entities": {item.name: {"column": item.column, "reason": item.reason} for item in self.entities},
            "ignored": {item.column: item.reason for item in self.rest.ignored},
            "unused": {item.column: item.reason for item in self.rest.unused},
            "raw": list(self.plan.raw),
            "categorical": list(self.plan.categorical),
            "n_features": self.plan.n_features,
            "notes": list(self.notes),
        }
