"""Results of an evaluation and a gate: frozen values, written as JSON by `fraudctl.documents.results`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import ClassVar, Final, Literal

from fraudctl.costs import BASE_RULE, ConstantAction, CostMatrix
from fraudctl.data.categories import Category
from fraudctl.errors import ExitCode
from fraudctl.metrics.calibration import ReliabilityBin
from fraudctl.overlap import SplitOverlap
from fraudctl.policy.decide import Policy
from fraudctl.split import RandomSplit, TimeSplit
from fraudctl.text.figures import percent, period
from fraudctl.text.sentences import Sentence, fixed
from fraudctl.uncertainty import Estimate

SCHEMA_VERSION: Final = 2
NO_REASON = Sentence("")

Verdict = Literal["pass", "fail", "inconclusive"]
Direction = Literal["at_least", "at_most"]
GateVerdict = Literal["pass", "fail", "inconclusive", "none", "refused"]

_EXIT_CODES: dict[str, ExitCode] = {
    "pass": ExitCode.OK,
    "none": ExitCode.OK,
    "fail": ExitCode.NO,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "refused": ExitCode.USAGE,
}


@dataclass(frozen=True)
class RuleResult:
    """One rule of the gate: the figure, the bound, and why that is its verdict."""

    JSON = ("name", "verdict", "metric", "*estimate", "bound", "direction", "reason", "frauds_to_settle")

    name: str
    """Key path in the project file: ``savings.at_least``, ``champion``, ``segments[0] channel=web``."""
    verdict: Verdict
    """Verdict of this rule."""
    metric: str
    """Name of the metric, or of what else was compared."""
    estimate: Estimate
    """The figure that was compared: a metric, or the difference from the champion."""
    bound: float
    """What the end of the interval was compared with."""
    direction: Direction
    """Whether the figure must be at least or at most the bound."""
    reason: Sentence
    """Why this verdict."""
    frauds_to_settle: int | None = None
    """About how many frauds would settle an inconclusive rule, if the figures stay as they are."""


@dataclass(frozen=True)
class GateResult:
    """The verdict, and every rule behind it."""

    JSON = (
        "verdict", "reason", "hint", "rules", "warnings", "confidence", "min_frauds", "champion",
        "control as negative_control",
    )  # fmt: skip

    verdict: GateVerdict
    """``none`` without a gate; ``refused`` where the rules cannot judge a model, because shuffled scores pass them."""
    rules: tuple[RuleResult, ...] = ()
    """Every rule with its verdict, in the order of the project file."""
    reason: Sentence = NO_REASON
    """Why this verdict."""
    hint: Sentence | None = None
    """What to do about it, where something can be done."""
    warnings: tuple[str, ...] = ()
    """What weakens the verdict without changing it."""
    confidence: float | None = None
    """Two-sided confidence of the intervals; null without a gate."""
    min_frauds: int | None = None
    """Frauds that a pass needs; null without a gate."""
    champion: str | None = None
    """Version of the champion that was compared."""
    control: Verdict | None = None
    """Verdict of the same rules on shuffled scores; ``pass`` means that they cannot tell a model from noise."""

    @property
    def exit_code(self) -> ExitCode:
        """0 pass or none, 1 fail, 5 inconclusive, 2 refused (the rules themselves are not fit to judge)."""
        return _EXIT_CODES[self.verdict]


@dataclass(frozen=True)
class Period:
    """Events with ``from_time <= event_time < until``."""

    JSON = ("from_time as from", "until")

    from_time: datetime
    """Start of the period, itself included."""
    until: datetime
    """End of the period, itself excluded."""


def when_of(span: Period | None, split: TimeSplit | RandomSplit, timezone: str) -> str:
    """Return which events were judged, in words: a period by its local days, or the test of a random split."""
    if isinstance(split, RandomSplit):
        return f"a random {percent(split.test_share)} of the events (random split, seed {split.seed})"
    return "" if span is None else period(span.from_time, span.until, timezone)


@dataclass(frozen=True)
class Excluded:
    """Events of the period that were counted and left out."""

    immature: int = 0
    """Events whose outcome was not mature when the data end."""
    unlabelled: int = 0
    """Events without a label."""
    block_known: int = 0
    """Events of entities that were known to be defrauded before the event's day."""
    duplicates: int = 0
    """Rows that repeat another row exactly."""


@dataclass(frozen=True)
class ActionOutcome:
    """The events that got one action: how many, their money, and the metrics of that action as if it were the alert."""

    events: int
    """Events with this action."""
    frauds: int
    """Frauds among them."""
    legit: int
    """Legitimate events among them."""
    cost: float
    """Money lost on them, weights included."""
    precision: Estimate
    """Share of frauds among them."""
    recall: Estimate
    """Their share of all frauds."""
    rate: Estimate
    """Their share of all events."""
    false_positive_rate: Estimate
    """Their share of all legitimate events."""
    value_recall: Estimate
    """Their share of the amount of all frauds."""


@dataclass(frozen=True)
class FraudValue:
    """The amounts of the frauds, weights included; negative amounts count as 0."""

    fraud_amount: float
    """Amount of all frauds."""
    fraud_amount_alerted: float
    """Amount of the frauds that were alerted."""
    fraud_amount_missed: float
    """Amount of the frauds that were allowed."""


@dataclass(frozen=True)
class CostSums:
    """The sums behind `savings`, in the project's currency, weights included."""

    JSON = (
        "cost", "base_rule", "baseline", "constants", "block_action", "perfect_cost", "perfect_without_capacity",
        "saved", "saved_by_perfect", "share_of_perfect", "*value",
    )  # fmt: skip

    cost: float
    """Money lost with the decisions that were taken."""
    baseline: ConstantAction
    """The cheapest constant action, which savings are measured against."""
    constants: tuple[ConstantAction, ...]
    """Every constant action, from the mildest to the harshest."""
    block_action: str
    """Name of the harshest action."""
    perfect_cost: float
    """Money lost by a model that knows every outcome."""
    perfect_without_capacity: bool
    """Whether the perfect model takes actions without a capacity where the policy has one."""
    value: FraudValue | None = None
    """Amounts of the frauds; None where the project declares no amount."""
    base_rule: str = BASE_RULE
    """The rule by which the baseline was chosen."""

    @property
    def saved(self) -> float:
        """Money saved against the baseline; negative where the decisions cost more."""
        return self.baseline.cost - self.cost

    @property
    def saved_by_perfect(self) -> float:
        """Money that a perfect model would save against the baseline."""
        return self.baseline.cost - self.perfect_cost

    @property
    def share_of_perfect(self) -> float | None:
        """Saved money as a share of what a perfect model would save; null where it would save nothing."""
        possible = self.saved_by_perfect
        return self.saved / possible if possible > 0 else None


@dataclass(frozen=True)
class MoneyOutcome:
    """Money lost and saved; the currency alone where nothing is known."""

    JSON = ("currency", "*sums")

    currency: str
    """Currency of the project."""
    sums: CostSums | None = None
    """The sums; None where scores or outcomes do not allow them."""


@dataclass(frozen=True)
class CostShift:
    """The difference of savings from the champion with one cost multiplied."""

    JSON = ("cost", "factor", "*difference", "changes")

    cost: str
    """Which cost: ``<action>.<outcome>``."""
    factor: float
    """What it was multiplied by."""
    difference: Estimate
    """Savings of the model minus those of the champion, paired."""
    changes: bool
    """Whether the other model saves more then."""


@dataclass(frozen=True)
class ChampionOutcome:
    """The champion on the same events as the model."""

    model: str
    """Version of the champion."""
    metrics: dict[str, Estimate]
    """Metric -> the champion's figure."""
    differences: dict[str, Estimate]
    """Metric -> the model's figure minus the champion's, paired."""
    cost_sensitivity: tuple[CostShift, ...]
    """Whether other costs would change which model saves more."""


@dataclass(frozen=True)
class DayTotals:
    """Events and money of one local day."""

    day: date
    """Local date."""
    events: int
    """Events of the day."""
    frauds: int
    """Frauds among them."""
    alerts: int
    """Alerts among them."""
    caught: int
    """Frauds that were alerted."""
    cost: float
    """Money lost, weights included."""
    baseline_cost: float
    """Money that the cheapest constant action of the whole period would have lost on the day."""


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error, compared with what honest probabilities show by chance."""

    ece: float
    """Expected calibration error."""
    honest_mean: float
    """Mean error of honest probabilities on as many events."""
    honest_high: float
    """Error that honest probabilities seldom exceed."""
    more_than_chance: bool
    """Whether ``ece`` is above ``honest_high``."""


@dataclass(frozen=True)
class PrecisionRecall:
    """A point of the precision-recall curve."""

    threshold: float
    """Events with at least this y_prob are alerts."""
    precision: float
    """Share of frauds among the alerts."""
    recall: float
    """Share of the frauds that are alerts."""


@dataclass(frozen=True)
class ThresholdCost:
    """A point of the threshold curve: loss if one threshold decided, by the harshest action and without a capacity."""

    threshold: float
    """Events with at least this y_prob get the harshest action."""
    cost: float
    """Money lost, weights included."""
    alert_rate: float
    """Share of the events that get the action, weights included."""


@dataclass(frozen=True)
class ReviewQueue:
    """What a review queue of the K highest scores of each day holds; the order of tied scores is drawn."""

    JSON = ("subject as of", "k", "precision", "lowest", "highest", "recall", "recall_lowest", "recall_highest")

    subject: str
    """What is ranked: ``event``, or the name of an entity, each of whose ids is ranked until found."""
    k: int
    """Length of the queue of a day."""
    precision: float | None
    """Mean over days of the share of the queue that is fraud, and over the orders of tied scores."""
    lowest: float | None
    """The same in the worst order of tied scores."""
    highest: float | None
    """The same in the best order of tied scores."""
    recall: float | None
    """Share of all that could be found."""
    recall_lowest: float | None
    """The same in the worst order of tied scores."""
    recall_highest: float | None
    """The same in the best order of tied scores."""


@dataclass(frozen=True)
class SegmentOutcome:
    """The events of one segment."""

    JSON = ("*category", "events", "frauds", "metrics")

    category: Category
    """The value of the column, null, or all values that are not named."""
    events: int
    """Events of the segment."""
    frauds: int
    """Frauds among them."""
    metrics: dict[str, Estimate]
    """Metric -> figure within the segment; savings against the constant action that is cheapest there."""


@dataclass(frozen=True)
class ControlOutcome:
    """The events that were let through at random, whose outcomes no decision chose."""

    rows: int
    """Events of the control group."""
    frauds: int
    """Frauds among them."""
    metrics: dict[str, Estimate]
    """Metric -> figure on these events alone."""


@dataclass(frozen=True)
class AssumedOutcome:
    """A few metrics if all immature events had one outcome."""

    savings: float | None
    """Share of the base's cost that is saved."""
    cost: float | None
    """Money lost."""
    precision: float | None
    """Share of frauds among the alerts."""
    recall: float | None
    """Share of the frauds that are alerted."""
    savings_base: ConstantAction
    """The constant action that is cheapest then."""


@dataclass(frozen=True)
class ImmatureOutcomes:
    """Bounds on what immature events may still change."""

    all_legit: AssumedOutcome
    """If every immature event turned out legitimate."""
    all_fraud: AssumedOutcome
    """If every immature event turned out fraud."""


@dataclass(frozen=True)
class PooledPeriod:
    """One of the periods that are judged together."""

    JSON = ("*period", "as_of", "refitted", "rows", "frauds", "savings", "savings_of_champion", "savings_base")

    period: Period
    """The period."""
    as_of: datetime
    """What the model of the period knew."""
    refitted: bool
    """Whether the model was refitted for the period; the last one has the model itself."""
    rows: int
    """Evaluated events."""
    frauds: int
    """Frauds among them."""
    savings: float | None
    """Savings of the model; null where undefined."""
    savings_of_champion: float | None
    """Savings of the champion; null without one."""
    savings_base: ConstantAction
    """The constant action that is cheapest on the period."""


@dataclass(frozen=True)
class EvaluationTables:
    """Tables and curves for reports; empty if no outcome is known."""

    by_day: tuple[DayTotals, ...] = ()
    """Totals by local day; empty for a random split."""
    calibration: CalibrationError | None = None
    """Whether probabilities are further from outcomes than chance allows."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """Predicted and observed share of fraud in bins of about equal count."""
    pr_curve: tuple[PrecisionRecall, ...] = ()
    """Precision and recall by falling threshold."""
    cost_curve: tuple[ThresholdCost, ...] = ()
    """Loss by falling threshold."""
    at_k: tuple[ReviewQueue, ...] = ()
    """Review queues of fixed lengths a day."""
    by_segment: dict[str, tuple[SegmentOutcome, ...]] = field(default_factory=dict)
    """Column -> its segments."""
    control_group: ControlOutcome | None = None
    """Metrics on the events that were let through at random; null where the project names none."""
    immature: ImmatureOutcomes | None = None
    """Bounds on what immature events may still change; null without any."""
    overlap: SplitOverlap | None = None
    """What the rows trained on and the evaluated ones have in common."""
    pooled: tuple[PooledPeriod, ...] = ()
    """The periods that are judged together; empty for a single one."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that an evaluation says."""

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION
    JSON = (
        "model", "as_of", "period", "split", "rows", "frauds", "immature_rows", "excluded", "clusters",
        "widened_for", "not_clustered", "confidence",
        "metrics", "by_action", "money", "policy", "costs", "gate", "champion", "warnings", "*tables",
    )  # fmt: skip

    model: str
    """Version of the model, or ``scores`` for scores from a file."""
    as_of: datetime | None
    """What the model's training knew; null for a random split."""
    period: Period | None
    """The evaluated period; null for a random split."""
    rows: int
    """Evaluated events: mature and labelled."""
    frauds: int
    """Frauds among them."""
    excluded: Excluded
    """Events that were left out, by reason."""
    metrics: dict[str, Estimate]
    """Metric -> figure with its interval."""
    by_action: dict[str, ActionOutcome]
    """Action -> the events that got it; empty where nothing is known."""
    money: MoneyOutcome
    """Money lost and saved."""
    policy: Policy
    """The model's frozen policy."""
    costs: CostMatrix
    """The costs that the evaluation prices events by."""
    confidence: float
    """Two-sided confidence of the intervals."""
    tables: EvaluationTables = field(default_factory=EvaluationTables)
    """Tables and curves for reports."""
    clusters: dict[str, int] = field(default_factory=dict)
    """Entity that intervals are drawn over -> number of its ids with a fraud."""
    widened_for: tuple[str, ...] = ()
    """Entities with few ids: where their events differ by more than chance explains, intervals are wider."""
    not_clustered: tuple[str, ...] = ()
    """Entities with too few or too uneven ids to draw intervals over, which none allows for."""
    gate: GateResult = field(default_factory=lambda: GateResult("none", reason=fixed("the project has no [gate]")))
    """Verdict of the gate."""
    champion: ChampionOutcome | None = None
    """The champion on the same events; null without one."""
    warnings: tuple[str, ...] = ()
    """What weakens the figures."""
    split: TimeSplit | RandomSplit = field(default_factory=TimeSplit)
    """How the evaluated events were parted from those trained on."""
    timezone: str = "UTC"
    """Of the project: in which days are named."""

    @property
    def immature_rows(self) -> int:
        """Immature events that were left out; also in ``excluded``."""
        return self.excluded.immature

    @property
    def when(self) -> str:
        """Which events were evaluated: a period, or the test of a random split."""
        n_periods = len(self.tables.pooled)
        pooled = f", {n_periods} periods pooled" if n_periods else ""
        return when_of(self.period, self.split, self.timezone) + pooled
