"""Typed values that sentences of reports are written from, where the result itself has none.

Each holds what one sentence says: its condition, its count and its money, taken from one part of a result. Nothing here
computes but counts, extremes with their ties, and shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from fraudctl.costs import ConstantAction
from fraudctl.uncertainty import Estimate


@dataclass(frozen=True)
class Span:
    """A period: ``start <= event_time < until``, in days of ``timezone``."""

    start: datetime
    until: datetime
    timezone: str


@dataclass(frozen=True)
class Few:
    """How many errors a section rests on, and the least that it takes to say more than a hint."""

    n: int
    least: int


@dataclass(frozen=True)
class CauseLookback:
    """How far back frauds of an event's entities count."""

    days: float


@dataclass(frozen=True)
class Worst:
    """The days (or weeks, by their Monday) that lost most, all of equals, among ``n``.

    Attributes
    ----------
    n_worse
        On how many of them more was lost than by the base of savings; None where that is not asked.
    """

    unit: str
    n: int
    at: tuple[date, ...]
    cost: float
    n_worse: int | None = None
    base: ConstantAction | None = None


@dataclass(frozen=True)
class Parts:
    """A whole in parts: (name, count, money) each. The parts are a partition."""

    items: tuple[tuple[str, Amount], ...]


@dataclass(frozen=True)
class Amount:
    """A number of events and their money."""

    n: int
    cost: float


@dataclass(frozen=True)
class Listed:
    """The first ``n`` of a list of ``n_all``, and the money of both; `first` is the id of the first."""

    n: int
    n_all: int
    cost: float
    cost_all: float
    first: str


@dataclass(frozen=True)
class Balance:
    """What the decisions of a period cost, and what the base of savings and a perfect model would have cost.

    Attributes
    ----------
    share_of_perfect
        Saved money as a share of what a perfect model would save; None where it would save nothing.
    unlimited
        Whether the perfect model takes actions without a capacity where the policy has one.
    """

    currency: str
    cost: float
    base: ConstantAction
    perfect_cost: float
    share_of_perfect: float | None
    unlimited: bool = False

    @property
    def perfect(self) -> str:
        """Name the perfect model."""
        return "a perfect model without limits of capacity" if self.unlimited else "a perfect model"

    @property
    def saved(self) -> float:
        """Money saved against the base; negative where the decisions cost more."""
        return self.base.cost - self.cost


@dataclass(frozen=True)
class EvaluationScope:
    """What was evaluated.

    Attributes
    ----------
    when
        The period or the random split, as text of the evaluation.
    """

    rows: int
    frauds: int
    model: str
    when: str
    as_of: datetime | None
    timezone: str


@dataclass(frozen=True)
class Rate:
    """A metric with its interval."""

    name: str
    estimate: Estimate
    confidence: float


@dataclass(frozen=True)
class LossCurve:
    """Money lost if one threshold decided.

    Attributes
    ----------
    n
        Thresholds that were compared.
    threshold, cost
        The cheapest one; of equals the lowest.
    low, high
        Ends of the thresholds around it that cost at most 1 % more.
    policy_cost
        What the policy in use lost.
    """

    currency: str
    n: int
    threshold: float
    cost: float
    low: float
    high: float
    policy_cost: float


@dataclass(frozen=True)
class LowestRecall:
    """The segments with the lowest recall, all of equals, among ``n``."""

    names: tuple[str, ...]
    value: float
    n: int


@dataclass(frozen=True)
class CurvePoints:
    """A drawn curve of shares: (x, y) each, and the point of the policy in use."""

    points: tuple[Point, ...]
    here: Point | None


@dataclass(frozen=True)
class Point:
    """A point of a curve."""

    x: float
    y: float


@dataclass(frozen=True)
class Paired:
    """How much the model's figure exceeds the champion's, on the same events, and the base of savings."""

    metric: str
    value: float
    low: float | None
    high: float | None
    champion: str
    base: str


@dataclass(frozen=True)
class PairedDifferences:
    """Paired differences that a chart shows."""

    items: tuple[Paired, ...]


@dataclass(frozen=True)
class Overlap:
    """Events that are in both training and test, and the days between the two; `gap_days` None without a time."""

    events: int
    gap_days: float | None


@dataclass(frozen=True)
class SharedIds:
    """Ids of an entity in the test that training had seen, and their share of its events and frauds."""

    entity: str
    seen: int
    ids: int
    share_of_events: float
    share_of_frauds: float | None


@dataclass(frozen=True)
class ImmatureBounds:
    """Savings if all immature events were legitimate, or fraud, each against its own base."""

    legit: float
    legit_base: str
    fraud: float
    fraud_base: str


@dataclass(frozen=True)
class ControlGroup:
    """Events that were let through at random."""

    rows: int
    frauds: int


@dataclass(frozen=True)
class RandomTest:
    """The test of a random split."""

    rows: int
    share: float
    seed: int


@dataclass(frozen=True)
class Ids:
    """Ids of an entity that have a fraud."""

    entity: str
    n: int


@dataclass(frozen=True)
class Counts:
    """What an explanation looked at."""

    n_events: int
    n_searched: int
    n_explained: int
    n_features: int
    n_permutations: int
    seed: int
    sampled: bool
    weighted: bool
