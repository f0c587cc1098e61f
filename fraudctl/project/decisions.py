"""``[costs]``, ``[policy]`` and ``[[rules]]``: what a decision costs, and how scores become decisions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fraudctl.project.types import Section

PASS_ACTION = "allow"


class CostSection(Section):
    """Money lost by one action on one outcome: fixed + rate × amount + column."""

    fixed: float = 0.0
    """Money per event."""
    rate: float = 0.0
    """Money per unit of the amount."""
    column: str | None = None
    """Column of the data with money per event."""


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
        if PASS_ACTION not in self.actions or len(self.actions) < 2:
            msg = f"needs the action {PASS_ACTION!r} and at least one other; got {', '.join(self.actions) or 'none'}"
            raise ValueError(msg)
        return self


class LimitSection(Section):
    """A bound on a metric."""

    at_least: float | None = None
    """The metric must not be lower."""
    at_most: float | None = None
    """The metric must not be higher."""

    @model_validator(mode="after")
    def _one_side(self) -> LimitSection:
        if self.at_least is None and self.at_most is None:
            msg = "needs at_least or at_most"
            raise ValueError(msg)
        return self


class PolicySection(Section):
    """How scores become actions."""

    kind: Literal["expected_cost", "thresholds"] = "expected_cost"
    """`expected_cost`: the action with the lowest expected cost for each event; `thresholds`: cuts on y_prob."""
    capacity: dict[str, str] = Field(default_factory=dict)
    """Most events per action and day or week: review = "200 per day"."""
    constraints: dict[str, LimitSection] = Field(default_factory=dict)
    """precision, false_positive_rate, alert_rate, recall or value_recall of all alerts -> bound."""


class RuleSection(Section):
    """A rule beside the model; where several hold, the harshest action wins, and never a milder one than the model's."""

    name: str | None = None
    """What reports call it."""
    when: str
    """Condition in Polars SQL over one row: data columns and features."""
    action: str
    """The action that it demands."""
