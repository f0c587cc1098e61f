"""``[evaluate]`` and ``[gate]``: what counts, and what a model must show before it may ship."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from fraudctl.data.own import DataColumn
from fraudctl.project.decisions import LimitSection
from fraudctl.project.types import Section


class BlockKnownSection(Section):
    """Leave out events of an entity whose fraud had become known before the event's day began."""

    entity: str
    """The entity that would have been blocked."""
    since: datetime | date | None = None
    """Only frauds at or after this time count. Default: the start of the training period."""


class EvaluateSection(Section):
    """What an evaluation takes in."""

    block_known: BlockKnownSection | None = None
    """Events of an entity already known to be defrauded would have been blocked: left out, and counted."""
    segments: tuple[DataColumn, ...] = ()
    """Columns by whose values the evaluation is also split, beside those of [[gate.segments]]."""
    replicates: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap replicates behind the intervals."""


class ChampionRuleSection(Section):
    """How the model must compare with the champion on the same rows."""

    metric: str = "savings"
    """The metric that is compared, paired."""
    no_worse_than: float = Field(default=0.02, ge=0.0)
    """The margin: passes where the low end of the difference is above minus this, fails where the high end is below."""
    better_than: float | None = Field(default=None, ge=0.0)
    """Superiority, if asked: passes where the low end of the difference is above this."""
    if_none: Literal["inconclusive", "baseline"] = "inconclusive"
    """Without a champion: inconclusive, or compare with the cheapest constant action."""


DEFAULT_SEGMENT_MARGIN = 0.10


class SegmentRuleSection(Section):
    """A bound that every segment must keep; without one, each must be no worse than the champion's by 0.10."""

    by: DataColumn
    """Column that names the segment."""
    metric: str
    """The metric within the segment."""
    at_least: float | None = None
    """The metric must not be lower."""
    at_most: float | None = None
    """The metric must not be higher."""
    no_worse_than: float | None = Field(default=None, ge=0.0)
    """Margin against the champion within the segment; 0.10 where no other bound is given."""
    min_frauds: int = Field(default=75, ge=1)
    """Segments with fewer frauds are pooled with all others, as is what is beyond the eight largest."""

    @property
    def margin(self) -> float | None:
        """The margin against the champion, or None where only fixed bounds are asked for."""
        if self.no_worse_than is None and self.at_least is None and self.at_most is None:
            return DEFAULT_SEGMENT_MARGIN
        return self.no_worse_than


class DriftRuleSection(Section):
    """Scores and probabilities must behave as they did: a shift fails where it matters and is more than chance."""

    scores: bool = True
    """The distribution of the scores, against that of the events between the training period and as_of."""
    calibration: bool = True
    """The gap between probabilities and outcomes, against that of honest probabilities."""
    chance: float = Field(default=0.01, gt=0.0, le=0.1)
    """How often each may fail where nothing has changed."""
    alert_rate: float = Field(default=0.05, ge=0.0)
    """A shift that changes the alert rate by at most this share of it, and the expected cost by at most its own, never
    fails."""
    expected_cost: float = Field(default=0.10, ge=0.0)
    """The same for the expected cost of an event; for calibration, for the cost that probabilities promise."""


class GateSection(Section):
    """Rules that decide the exit code; each compares the low or high end of an interval, never the point."""

    metrics: dict[str, LimitSection] = Field(default_factory=dict)
    """Metric -> bound. In the file these stand directly in [gate]: savings = { at_least = 0.55 }."""
    champion: ChampionRuleSection | None = None
    """Paired comparison with the champion."""
    segments: tuple[SegmentRuleSection, ...] = ()
    """Bounds by segment."""
    checks: bool = True
    """Errors that `fraudctl check` finds (schema, data, maturity of labels) fail the gate, before anything else."""
    drift: DriftRuleSection | None = None
    """Drift of scores and of calibration, against their null distributions."""
    confidence: float = Field(default=0.90, gt=0.5, lt=1.0)
    """Two-sided confidence of the intervals."""
    min_frauds: int = Field(default=300, ge=1)
    """Fewer frauds than this never pass."""
    pooled_folds: int = Field(default=1, ge=1, le=12)
    """Test periods that are judged together; for the earlier ones model and champion are refitted at their start."""

    @model_validator(mode="before")
    @classmethod
    def _metrics_stand_directly(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        own = set(cls.model_fields) - {"metrics"}
        metrics = {key: item for key, item in value.items() if key not in own and key != "metrics"}
        return {**{key: item for key, item in value.items() if key in own}, "metrics": metrics}
