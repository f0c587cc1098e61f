"""Why a policy is the one that was chosen, as values: what it costs, and what each of its parts brings in money.

Owns the form of the policy report that stands in bundles, in ``train --json`` and in ``threshold --json``. Nothing here
computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from fraudctl.policy.segments import SegmentFound, Thresholds
from fraudctl.uncertainty import Estimate


@dataclass(frozen=True)
class Ends:
    """Both ends of a range; null where a threshold is never reached."""

    low: float | None
    """Low end."""
    high: float | None
    """High end."""


@dataclass(frozen=True)
class ThresholdFound:
    """The best threshold of one action."""

    JSON = ("value", "exact", "plateau", "interval?")

    value: float | None
    """Lowest y_prob that gets the action; null if no event does."""
    exact: float | None
    """The cheapest of all thresholds on the fold predictions; ``value`` lies in the middle of the plateau."""
    plateau: Ends
    """Thresholds that cost at most the tolerance more."""
    interval: Ends | None = None
    """Where the best threshold lies in bootstrap samples; absent where it was not asked for."""


@dataclass(frozen=True)
class OtherSegments:
    """The events that keep the common thresholds because their segment was not tried."""

    events: int
    """Number of events."""
    frauds: int
    """Frauds among them."""


@dataclass(frozen=True)
class SegmentsReport:
    """Which segments get thresholds of their own."""

    by: str
    """Column or expression that names the segments."""
    confidence: float
    """Two-sided confidence of the interval of each gain."""
    each: tuple[SegmentFound, ...]
    """The segments that were tried, by falling number of frauds."""
    rest: OtherSegments
    """All other events."""


@dataclass(frozen=True)
class SlotPrices:
    """Money that a slot of a capacity-limited action is worth."""

    opening: float
    """As a day or week begins."""
    lowest: float
    """At least, by time and slots left."""
    highest: float
    """At most, by time and slots left."""


@dataclass(frozen=True)
class FitReport:
    """What was fitted: thresholds, or prices."""

    JSON = ("thresholds?", "tolerance?", "segments?", "prices?", "alert_price?")

    thresholds: dict[str, ThresholdFound] | None = None
    """Action -> its best threshold; absent for a policy by expected cost."""
    tolerance: float | None = None
    """Share of the cost by which thresholds of the plateau may cost more."""
    segments: SegmentsReport | None = None
    """Which segments get thresholds of their own; absent where none are asked for."""
    prices: dict[str, SlotPrices] | None = None
    """Action with a capacity -> what a slot is worth; absent for a policy by thresholds."""
    alert_price: float | None = None
    """Money that an alert must bring beyond its cost, so that the constraints hold; absent for thresholds."""


@dataclass(frozen=True)
class Alternative:
    """A simpler policy."""

    cost: float
    """Money that it costs on the fold predictions."""
    dearer_by: Estimate
    """How much more than the chosen policy, paired."""


@dataclass(frozen=True)
class RuleMatches:
    """What a condition matches, and what the model alone would have allowed of it."""

    events: int
    """Events that match."""
    frauds: int
    """Frauds among them."""
    events_the_model_allows: int
    """Events that match and that the model alone allows."""
    frauds_the_model_allows: int
    """Frauds among those."""


@dataclass(frozen=True)
class RuleWorth:
    """One rule next to the model."""

    JSON = ("action", "*matches", "brings_alone", "brings")

    action: str
    """The action that it demands at least."""
    matches: RuleMatches
    """What it matches."""
    brings_alone: Estimate
    """Money that it brings without the other rules."""
    brings: Estimate
    """Money that it adds to the other rules."""


@dataclass(frozen=True)
class RulesTogether:
    """All rules together."""

    JSON = ("*matches", "brings")

    matches: RuleMatches
    """What any of them matches."""
    brings: Estimate
    """Money that all of them bring."""


@dataclass(frozen=True)
class RulesReport:
    """What the rules match, catch and bring."""

    each: dict[str, RuleWorth]
    """Rule -> what it is worth."""
    together: RulesTogether
    """All rules."""


@dataclass(frozen=True)
class PolicyShift:
    """The policy that is chosen with one cost multiplied."""

    JSON = ("cost", "factor", "decisions_changed", "thresholds", "keeping_costs_more", "changes", "reason?")

    cost: str
    """Which cost: ``<action>.<outcome>``."""
    factor: float
    """What it was multiplied by."""
    decisions_changed: float | None
    """Share of the decisions that change; null where no policy keeps the constraints."""
    thresholds: Thresholds
    """Action -> threshold that is chosen then; empty for a policy by expected cost."""
    keeping_costs_more: float | None
    """Money that the present decisions then cost more; null where no policy keeps the constraints."""
    changes: bool
    """Whether keeping the policy costs more than the tolerance."""
    reason: str | None = None
    """Why no policy keeps the constraints then; absent where one does."""


@dataclass(frozen=True)
class ConstraintHeld:
    """A constrained metric of the actions that are really taken."""

    JSON = ("*estimate", "holds")

    estimate: Estimate
    """The metric, capacity and rules included."""
    holds: bool
    """Whether the end of the interval keeps the bound."""


@dataclass(frozen=True)
class WorthReport:
    """What each part of the policy brings (positive) in money, and how simpler policies would do."""

    JSON = (
        "brings", "alternatives", "as_good_and_simpler", "rules?", "cost_sensitivity", "constraints?",
        "hindsight_bound?",
    )  # fmt: skip

    brings: dict[str, Estimate]
    """Part of the policy -> money that it brings."""
    alternatives: dict[str, Alternative]
    """Simpler policy -> what it costs, simplest first."""
    as_good_and_simpler: tuple[str, ...]
    """Simpler policies that cost at most the tolerance more and are not shown to cost more."""
    cost_sensitivity: tuple[PolicyShift, ...]
    """What would be chosen with each cost from half to double."""
    rules: RulesReport | None = None
    """What the rules bring; absent without rules."""
    constraints: dict[str, ConstraintHeld] | None = None
    """Constraint -> whether it holds; absent without constraints."""
    hindsight_bound: float | None = None
    """Money if the slots went to the highest expected benefits of the whole day or week; absent without capacities."""


@dataclass(frozen=True)
class PolicyReport:
    """The chosen policy on the fold predictions."""

    JSON = ("events", "frauds", "cost", "currency", "actions", "*fit", "*worth")

    events: int
    """Labelled events of the folds."""
    frauds: int
    """Frauds among them."""
    cost: float
    """Money that the policy's decisions on them cost."""
    currency: str
    """Currency of the project."""
    actions: dict[str, int]
    """Action -> events that get it."""
    fit: FitReport
    """What was fitted."""
    worth: WorthReport
    """What each part brings."""
