"""The result of an explanation: one frozen value that every rendering takes its figures from.

Owns the versioned schema of ``explain --json``. Nothing here computes; `to_dict` gives plain JSON values.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np

from fraudctl.costs import ConstantAction
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
from fraudctl.sentences import Sentence

SCHEMA_VERSION: Final = 3


@dataclass(frozen=True)
class CampaignLink:
    """The campaign of a missed fraud: the kind of entity that it hangs on, its id, and its frauds."""

    entity: str
    value: str
    size: int


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
    event_time: datetime
    kind: str
    action: str
    y_prob: float
    amount: float | None
    entities: dict[str, Value]
    cost: float
    cause: str | None
    campaign: CampaignLink | None
    cluster: int | None
    reasons: tuple[Reason, ...]
    decided_by: DecidedBy


@dataclass(frozen=True)
class CaughtCase:
    """A caught fraud and the group of caught frauds that the model alerted on for the same reasons."""

    event_id: int | str
    group: int


@dataclass(frozen=True)
class Finding:
    """One statement, as short as it can be, written from typed values: see `fraudctl.sentences`.

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
    words: str
    day: date
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
    n_frauds: int
    n_alerts: int
    n_missed: int
    n_caught: int
    n_false_alarms: int
    cost: float
    missed_cost: float
    false_alarm_cost: float
    caught_cost: float
    base: ConstantAction
    """The cheapest constant action on the events of the period."""
    perfect_cost: float
    fraud_amount: float | None

    @property
    def saved(self) -> float:
        """Money saved against the cheapest constant action."""
        return self.base.cost - self.cost


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
        What was done with which numbers: rows, sample, seed, permutations, versions.
    """

    project: str
    model: str
    as_of: datetime | None
    start: datetime
    until: datetime
    timezone: str
    currency: str
    cost_words: tuple[str, ...]
    totals: Totals
    findings: tuple[Finding, ...]
    causes: tuple[CauseTotal, ...]
    lookback_days: float
    money: Money
    days: tuple[tuple[date, float, float], ...]
    sweep: Sweep
    missed_contrast: Contrast | None
    false_alarm_contrast: Contrast | None
    pairs: Pairs | None
    clusters: tuple[Cluster, ...]
    n_unstable_clusters: int
    campaigns: tuple[Campaign, ...]
    campaign_total: CampaignTotal | None
    n_outside_campaigns: int
    slices: Slices
    broken: tuple[BrokenFeature, ...]
    autopsy: Autopsy | None
    decided: tuple[DecidedTotal, ...]
    errors: tuple[ErrorCase, ...]
    caught: tuple[CaughtCase, ...]
    absent: dict[str, str]
    method: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Give the whole explanation as JSON values; times in ISO 8601."""
        return {"schema_version": SCHEMA_VERSION, **as_json(self)}


def as_json(value: Any) -> Any:
    """Turn dataclasses, tuples, times and numpy scalars into JSON values; what is not finite becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return [as_json(item) for item in value.tolist()]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
