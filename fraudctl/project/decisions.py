"""``[costs]``, ``[policy]`` and ``[[rules]]``: what a decision costs, and how scores become decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, FiniteFloat, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fraudctl.data.own import DataColumn
from fraudctl.money import Money, Rate
from fraudctl.project.messages import found
from fraudctl.project.types import Section
from fraudctl.text.figures import whole

ALLOW = "allow"
_MOST_SLOTS = 1_000_000_000
"""More events than any action could take in a week."""
SEGMENTS = "policy.segments"
"""Where the expression stands that gives each event its segment."""


class CostSection(Section):
    """Money lost by one action on one outcome: fixed + rate × amount + column."""

    fixed: Money = 0.0
    """Money per event."""
    rate: Rate = 0.0
    """Money per unit of the amount."""
    column: DataColumn | None = None
    """Column of the data with money per event."""
    at_least: Money | None = None
    """The money is never lower: 0 where a refund, whose amount is negative, must not make the action a gain."""


class ActionSection(Section):
    """What an action costs on a fraud and on a legitimate event; a cell left out is 0."""

    fraud: CostSection = CostSection()
    """When the event is fraud."""
    legit: CostSection = CostSection()
    """When the event is legitimate."""


def default_actions() -> dict[str, ActionSection]:
    """Give the costs of a project without ``[costs]``: the amount and a chargeback fee, a review, an insult."""
    return {
        "allow": ActionSection(fraud=CostSection(fixed=15.0, rate=1.0)),
        "review": ActionSection(fraud=CostSection(fixed=4.0), legit=CostSection(fixed=4.0, rate=0.002)),
        "block": ActionSection(legit=CostSection(fixed=8.0, rate=0.15)),
    }


class CostsSection(Section):
    """The cost matrix."""

    currency: str = "EUR"
    """Word or sign printed with money."""
    actions: dict[str, ActionSection] = Field(default_factory=default_actions)
    """Action -> costs, from the mildest to the harshest. `allow` lets the event pass and must be there."""

    @model_validator(mode="after")
    def _has_pass(self) -> CostsSection:
        if ALLOW not in self.actions or len(self.actions) < 2:
            msg = f"needs the action {ALLOW!r} and at least one other; got {', '.join(self.actions) or 'none'}"
            raise ValueError(msg)
        return self


class LimitSection(Section):
    """A bound on a metric."""

    at_least: FiniteFloat | None = None
    """The metric must not be lower."""
    at_most: FiniteFloat | None = None
    """The metric must not be higher."""

    @model_validator(mode="after")
    def _one_side(self) -> LimitSection:
        if self.at_least is None and self.at_most is None:
            msg = "needs at_least or at_most"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Capacity:
    """Most events that an action can take in a local day, or in a week that starts on Monday.

    >>> Capacity.parse("200 per day")
    Capacity(limit=200, per='day')
    >>> Capacity.parse("lots")
    Traceback (most recent call last):
    ValueError: 'lots' is no capacity; expected a form such as "200 per day" or "1000 per week"
    """

    limit: int
    per: Literal["day", "week"]

    @classmethod
    def parse(cls, text: object) -> Capacity:
        """Read ``<whole number> per day`` or ``<whole number> per week``."""
        if not isinstance(text, str):
            msg = f'is {found(text)}; expected a capacity such as "200 per day"'
            raise ValueError(msg)
        match = re.fullmatch(r"\s*(\d+)\s+per\s+(day|week)\s*", text)
        if match is None:
            msg = f'{text!r} is no capacity; expected a form such as "200 per day" or "1000 per week"'
            raise ValueError(msg)
        if int(match[1]) > _MOST_SLOTS:
            msg = f"{text!r} is no limit; expected at most {whole(_MOST_SLOTS)}, or no capacity for this action"
            raise ValueError(msg)
        return cls(int(match[1]), "day" if match[2] == "day" else "week")

    def __str__(self) -> str:
        return f"{self.limit} per {self.per}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*\d+\s+per\s+(day|week)\s*$", "examples": ["200 per day"]}


ConstrainedMetric = Literal["precision", "recall", "value_recall", "alert_rate", "false_positive_rate"]


class PolicySection(Section):
    """How scores become actions."""

    kind: Literal["expected_cost", "thresholds"] = "expected_cost"
    """`expected_cost`: the action with the lowest expected cost for each event; `thresholds`: cuts on y_prob."""
    segments: str | None = Field(default=None, min_length=1)
    """Column or expression of one row in Polars SQL. Its values with many frauds get thresholds of their own where
    that is shown to save money on other events than those that chose them. Needs kind = "thresholds"."""
    capacity: dict[str, Capacity] = Field(default_factory=dict)
    """Most events per action and local day or week: review = "200 per day". Needs kind = "expected_cost"."""
    constraints: dict[ConstrainedMetric, LimitSection] = Field(default_factory=dict)
    """Metric of all alerts -> bound, held by the end of the interval, not by the point."""

    @model_validator(mode="after")
    def _capacity_goes_by_benefit(self) -> PolicySection:
        if self.capacity and self.kind != "expected_cost":
            msg = 'capacity goes to the events of highest expected benefit; it needs kind = "expected_cost"'
            raise ValueError(msg)
        if ALLOW in self.capacity:
            msg = f"the action {ALLOW!r} cannot have a capacity: it takes what the others leave"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _segments_have_thresholds(self) -> PolicySection:
        if self.segments is not None and self.kind != "thresholds":
            msg = 'segments get thresholds of their own; it needs kind = "thresholds"'
            raise ValueError(msg)
        if self.segments is not None and self.constraints:
            msg = "segments and constraints exclude each other: a constraint holds for one order of all events"
            raise ValueError(msg)
        return self


class RuleSection(Section):
    """A rule beside the model; of several that hold the harshest wins, and the model's action where it is harsher."""

    name: str | None = None
    """What reports call it."""
    when: str
    """Condition in Polars SQL over one row: data columns and features."""
    action: str
    """The action that it demands."""
