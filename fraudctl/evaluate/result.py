"""What an evaluation and a gate say: frozen value objects with one JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fraudctl.errors import ExitCode
from fraudctl.figures import percent, period
from fraudctl.sentences import Sentence, fixed
from fraudctl.split import RandomSplit
from fraudctl.tables import NO_TIME, moment
from fraudctl.uncertainty import Estimate

SCHEMA_VERSION = 2
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
    """One rule of the gate: what was asked, what was found, and why that is its verdict."""

    name: str
    """Key path in the project file: ``savings.at_least``, ``champion``, ``segments[0] channel=web``."""
    verdict: Verdict
    metric: str
    estimate: Estimate
    """The figure that was compared: a metric, or the difference from the champion."""
    bound: float
    """What the end of the interval was held against."""
    direction: Direction
    reason: Sentence
    """Why this verdict."""
    frauds_to_settle: int | None = None
    """About how many frauds would settle an inconclusive rule, if the figures stay as they are."""

    def to_dict(self) -> dict[str, Any]:
        """Give the rule as JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "metric": self.metric,
            **self.estimate.to_dict(),
            "bound": self.bound,
            "direction": self.direction,
            "reason": self.reason,
            "frauds_to_settle": self.frauds_to_settle,
        }


@dataclass(frozen=True)
class GateResult:
    """The verdict, and every rule behind it."""

    verdict: GateVerdict
    rules: tuple[RuleResult, ...] = ()
    reason: Sentence = NO_REASON
    """Why this verdict."""
    hint: Sentence | None = None
    """What to do about it, where something can be done."""
    warnings: tuple[str, ...] = ()
    confidence: float | None = None
    min_frauds: int | None = None
    champion: str | None = None
    """Version of the champion that was compared."""
    control: Verdict | None = None
    """Verdict of the same rules on shuffled scores; ``pass`` means that they cannot tell a model from noise."""

    @property
    def exit_code(self) -> ExitCode:
        """0 pass or none, 1 fail, 5 inconclusive, 2 refused (the rules themselves are not fit to judge)."""
        return _EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """Give the gate as JSON."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "hint": self.hint,
            "rules": [rule.to_dict() for rule in self.rules],
            "warnings": list(self.warnings),
            "confidence": self.confidence,
            "min_frauds": self.min_frauds,
            "champion": self.champion,
            "negative_control": self.control,
        }


@dataclass(frozen=True)
class Period:
    """Events with ``from_time <= event_time < until`` are evaluated."""

    from_time: datetime
    until: datetime

    def to_dict(self) -> dict[str, str]:
        """Give both ends as ISO 8601."""
        return {"from": self.from_time.isoformat(), "until": self.until.isoformat()}


def when_of(span: Period, by_chance: RandomSplit | None, timezone: str) -> str:
    """Return which events were judged, in words: a period by its local days, or the test of a random split."""
    if by_chance is not None:
        share = percent(by_chance.test_share)
        return f"a random {share} of the events (random split, seed {by_chance.seed})"
    return period(span.from_time, span.until, timezone)


@dataclass(frozen=True)
class Excluded:
    """Events of the period that were counted and left out."""

    immature: int = 0
    unlabelled: int = 0
    block_known: int = 0
    duplicates: int = 0

    def to_dict(self) -> dict[str, int]:
        """Give the counts."""
        return {
            "immature": self.immature,
            "unlabelled": self.unlabelled,
            "block_known": self.block_known,
            "duplicates": self.duplicates,
        }


@dataclass(frozen=True)
class Evaluation:
    """Everything that ``evaluate --json`` has, and what the report draws."""

    model: str
    as_of: datetime
    period: Period
    rows: int
    frauds: int
    excluded: Excluded
    metrics: dict[str, Estimate]
    by_action: dict[str, dict[str, Any]]
    """Action -> events, frauds, cost and its metrics."""
    money: dict[str, Any]
    policy: dict[str, Any]
    costs: dict[str, Any]
    confidence: float
    tables: dict[str, Any] = field(default_factory=dict)
    """What reports draw: by_day, reliability, pr_curve, cost_curve, at_k, immature."""
    clusters: dict[str, int] = field(default_factory=dict)
    """Entity -> number of clusters with a fraud."""
    gate: GateResult = field(default_factory=lambda: GateResult("none", reason=fixed("the project has no [gate]")))
    champion: dict[str, Any] | None = None
    """The champion beside the model on the same events, where one was given."""
    warnings: tuple[str, ...] = ()
    by_chance: RandomSplit | None = None
    """The random split that the events are the test of, where the data have no time."""
    timezone: str = "UTC"
    """Of the project: in which days are named."""

    @property
    def when(self) -> str:
        """Which events were evaluated: a period, or the test of a random split."""
        n_periods = len(self.tables.get("pooled") or [])
        pooled = f", {n_periods} periods pooled" if n_periods else ""
        return when_of(self.period, self.by_chance, self.timezone) + pooled

    def to_dict(self) -> dict[str, Any]:
        """Give the evaluation as JSON; `metrics` maps names to value, low and high, or null with a reason."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "as_of": moment(self.as_of),
            "period": None if self.period.from_time == NO_TIME else self.period.to_dict(),
            "split": {"kind": "time"} if self.by_chance is None else self.by_chance.to_dict(),
            "rows": self.rows,
            "frauds": self.frauds,
            "immature_rows": self.excluded.immature,
            "excluded": self.excluded.to_dict(),
            "clusters": self.clusters,
            "confidence": self.confidence,
            "metrics": {name: item.to_dict() for name, item in self.metrics.items()},
            "by_action": {name: _action_dict(item) for name, item in self.by_action.items()},
            "money": self.money,
            "policy": self.policy,
            "costs": self.costs,
            "gate": self.gate.to_dict(),
            "champion": self.champion,
            "warnings": list(self.warnings),
            **self.tables,
        }


def _action_dict(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to_dict() if isinstance(value, Estimate) else value for key, value in item.items()}
