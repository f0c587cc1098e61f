"""``[evaluate]`` and ``[gate]``: what counts, and what a model must show before it may ship."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import Field, model_validator

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
    replicates: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap replicates behind the intervals."""


class ChampionRuleSection(Section):
    """How the model must compare with the champion on the same rows."""

    metric: str = "savings"
    """The metric that is compared, paired."""
    no_worse_than: float = Field(default=0.02, ge=0.0)
    """The margin: passes where the low bound of the difference is above minus this."""


class SegmentRuleSection(LimitSection):
    """A bound that every large enough segment must keep."""

    by: str
    """Column that names the segment."""
    metric: str
    """The metric within the segment."""
    min_frauds: int = Field(default=75, ge=1)
    """Smaller segments are pooled into "rest"."""


class GateSection(Section):
    """Rules that decide the exit code; each compares the low or high end of an interval, never the point."""

    metrics: dict[str, LimitSection] = Field(default_factory=dict)
    """Metric -> bound. In the file these stand directly in [gate]: savings = { at_least = 0.55 }."""
    champion: ChampionRuleSection | None = None
    """Paired comparison with the champion."""
    segments: tuple[SegmentRuleSection, ...] = ()
    """Bounds by segment."""
    confidence: float = Field(default=0.90, gt=0.5, lt=1.0)
    """Two-sided confidence of the intervals."""
    min_frauds: int = Field(default=300, ge=1)
    """Fewer frauds than this never pass."""

    @model_validator(mode="before")
    @classmethod
    def _metrics_stand_directly(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        own = set(cls.model_fields) - {"metrics"}
        metrics = {key: item for key, item in value.items() if key not in own and key != "metrics"}
        return {**{key: item for key, item in value.items() if key in own}, "metrics": metrics}
