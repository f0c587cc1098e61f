"""The result of an explanation: one frozen value that every rendering takes its figures from.

Owns the form of ``explain --json``, which `fraudctl.documents.results` writes. Nothing here computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, Final

from fraudctl.costs import ConstantAction
from fraudctl.evaluate.result import Excluded
from fraudctl.explain.autopsy import Autopsy
from fraudctl.explain.campaigns import Campaign, CampaignTotal
from fraudctl.explain.causes import CauseTotal
from fraudctl.explain.clusters import Cluster
from fraudctl.explain.contrast import Contrast
from fraudctl.explain.decided import DecidedTotal
from fraudctl.explain.money import Money
from fraudctl.explain.pairs import Pairs
from fraudctl.explain.reasons import Reason, Value
from fraudctl.explain.slices import Slices
from fraudctl.explain.threshold import Sweep
from fraudctl.policy.provenance import DecidedBy
from fraudctl.text.sentences import Sentence

SCHEMA_VERSION: Final = 3


@dataclass(frozen=True)
class CampaignLink:
    """The campaign of a missed fraud: the kind of entity that it hangs on, its id, and its frauds."""

    entity: str
    """Entity that the campaign hangs on."""
    value: str
    """Its id."""
    size: int
    """Frauds of the campaign."""


@dataclass(frozen=True)
class ErrorCase:
    """One wrong decision.

    Attributes
    ----------
    kind
        ``false_negative`` or ``false_positive``.
    cause
        Of a missed fraud; None for false positives.
    campaign
        Of a missed fraud that belongs to one; else None.
    cluster
        Position in the explanation's clusters of a false positive; None outside of stable ones.
    reasons
        The model's; empty where a rule or a capacity decided.
    decided_by
        By what the action was decided.
    """

    event_id: int | str
    """Id of the event."""
    event_time: datetime
    """Time of the event."""
    kind: str
    action: str
    """Action that was taken."""
    y_prob: float
    """Calibrated probability of fraud."""
    amount: float | None
    """Amount of the event; null where there is none."""
    entities: dict[str, Value]
    """Entity -> its id."""
    cost: float
    """Money lost by the decision, without weights."""
    cause: str | None
    campaign: CampaignLink | None
    cluster: int | None
    reasons: tuple[Reason, ...]
    decided_by: DecidedBy


@dataclass(frozen=True)
class CaughtCase:
    """A caught fraud and the group of caught frauds that the model alerted on for the same reasons."""

    event_id: int | str
    """Id of the event."""
    group: int
    """Number of the group."""


@dataclass(frozen=True)
class ReportFinding:
    """One statement, as short as it can be, written from typed values: see `fraudctl.text.sentences`.

    Attributes
    ----------
    kind
        ``slice``, ``day``, ``broken_feature``, ``cause``, ``threshold``, ``campaign``, ``cluster`` or ``autopsy``.
    head, text
        The statement and what supports it, as sentences.
    cost
        Money behind it, which orders the findings: of a slice or a day what is lost beyond expectation, of a broken
        feature beyond a usual day, of a cause, a campaign or a group all that it cost, of a threshold what it would
        have saved, of the autopsy the money of the frauds that it finds.
    significant
        Whether it is more than chance: tested with correction for the whole search. False where nothing was tested.
    """

    kind: str
    head: Sentence
    text: Sentence
    cost: float
    p_value: float | None
    """Chance of as much in the whole search if nothing were there; null where nothing was tested."""
    significant: bool


@dataclass(frozen=True)
class BrokenFeature:
    """A feature whose values on one day are unlike those of all others.

    Attributes
    ----------
    distance
        Largest difference of its shares by bin between the day and the rest (total variation), in [0, 1].
    typical
        Median of the same distance over the other days.
    missed_cost, n_missed
        Missed frauds of that day.
    day_cost, usual_cost
        Money lost on errors that day, and on the median of the other days.
    """

    feature: str
    """Name of the feature."""
    words: str
    """The feature in words."""
    day: date
    """The local day."""
    distance: float
    typical: float
    missed_cost: float
    n_missed: int
    day_cost: float
    usual_cost: float


@dataclass(frozen=True)
class Totals:
    """What happened in the period, in events and in money lost."""

    n_events: int
    """Events of the period."""
    n_frauds: int
    """Frauds among them."""
    n_alerts: int
    """Alerts: events with any action but allow."""
    n_missed: int
    """Frauds that were allowed."""
    n_caught: int
    """Frauds that were alerted."""
    n_false_alarms: int
    """Legitimate events that were alerted."""
    cost: float
    """Money lost on all decisions, weights included."""
    missed_cost: float
    """Money lost on missed frauds."""
    false_alarm_cost: float
    """Money lost on false positives."""
    caught_cost: float
    """Money lost on caught frauds."""
    base: ConstantAction
    """The cheapest constant action on the events of the period."""
    perfect_cost: float
    """Money that a model that knows every outcome would lose."""
    fraud_amount: float | None
    """Amount of all frauds; null where the project declares no amount."""

    @property
    def saved(self) -> float:
        """Money saved against the cheapest constant action."""
        return self.base.cost - self.cost


@dataclass(frozen=True)
class Basis:
    """What the explained decisions rest on."""

    JSON = ("data_fingerprint", "policy", "times", "*excluded")

    data_fingerprint: str
    """Fingerprint of the data."""
    policy: str
    """The policy in words."""
    excluded: Excluded
    """Events of the period that were left out."""
    times: str | None = None
    """That the origin of the times is made up; null where it is not."""


@dataclass(frozen=True)
class Method:
    """What was done with which numbers."""

    JSON = (
        "n_events", "n_searched", "n_explained", "sampled", "weighted", "seed", "permutations", "n_features", "*basis",
    )  # fmt: skip

    n_events: int
    """Events of the period."""
    n_searched: int
    """Events that slices were searched among."""
    n_explained: int
    """Events whose contributions were computed."""
    sampled: bool
    """Whether the search took a sample of the events."""
    weighted: bool
    """Whether events have weights."""
    seed: int
    """Seed of everything that is drawn."""
    permutations: int
    """Permutations of the slice search."""
    n_features: int
    """Features of the model."""
    basis: Basis | None = None
    """What the decisions rest on; None where the caller names nothing."""


@dataclass(frozen=True)
class Explanation:
    """Everything that an explanation says; parts that were not computed are None and stand in `reasons` with why.

    Attributes
    ----------
    start, until
        The period that was asked for: events with ``start <= event_time < until``.
    timezone
        Of the project, in which days are named.
    absent
        Part -> why it is not there.
    method
        What was done with which numbers.
    """

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION

    project: str
    """Name of the project."""
    model: str
    """Version of the model."""
    as_of: datetime | None
    """What the model's training knew; null for a random split."""
    start: datetime
    until: datetime
    timezone: str
    currency: str
    """Currency of the project."""
    cost_words: tuple[str, ...]
    """The costs in words, one text per action."""
    totals: Totals
    """What happened in the period."""
    findings: tuple[ReportFinding, ...]
    """Statements, by falling money."""
    causes: tuple[CauseTotal, ...]
    """Why frauds were missed: a partition of the missed frauds."""
    lookback_days: float
    """Days before an event within which frauds of its entities count as history."""
    money: Money
    """Losses by segment and by entity."""
    days: tuple[tuple[date, float, float], ...]
    """Local day, money lost on missed frauds, and money lost on false positives."""
    sweep: Sweep
    """What other thresholds would have cost."""
    missed_contrast: Contrast | None
    """What lowered the scores of missed frauds below those of caught ones; null where it is absent."""
    false_alarm_contrast: Contrast | None
    """What raised the scores of false positives above those of allowed legitimate events; null where it is absent."""
    pairs: Pairs | None
    """Interactions of features on the errors; null where they were not asked for."""
    clusters: tuple[Cluster, ...]
    """Groups of false positives that the model alerted on for the same reasons."""
    n_unstable_clusters: int
    """Groups that did not come back in random halves, and are left out."""
    campaigns: tuple[Campaign, ...]
    """Frauds of one entity close in time, at least one of them missed."""
    campaign_total: CampaignTotal | None
    """The campaigns with at least two missed frauds together; null without any."""
    n_outside_campaigns: int
    """Missed frauds that are in no campaign."""
    slices: Slices
    """Parts of the data with more loss than their scores account for."""
    broken: tuple[BrokenFeature, ...]
    """Features whose values on one day are unlike those of all others."""
    autopsy: Autopsy | None
    """Whether the missed frauds could have been found; null where it is absent."""
    decided: tuple[DecidedTotal, ...]
    """What each part of the policy decided: a partition of the events."""
    errors: tuple[ErrorCase, ...]
    """Every wrong decision, by falling money."""
    caught: tuple[CaughtCase, ...]
    """Caught frauds and their groups."""
    absent: dict[str, str]
    method: Method
