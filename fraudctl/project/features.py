"""``[features]``: which histories, label histories, recencies and row-level columns the model sees."""

from __future__ import annotations

from pydantic import Field, field_validator

from fraudctl.project.types import Aggregate, PositiveDuration, Section


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class WindowSection(Section):
    """Aggregates over an entity's earlier events, event_time in ``(t - window, t)``."""

    by: tuple[str, ...]
    """Entities whose history is looked at; each gives its own features."""
    windows: tuple[PositiveDuration, ...]
    """How far back."""
    aggregates: tuple[Aggregate, ...]
    """count, sum(x), mean(x), std(x), min(x), max(x), nunique(x)."""
    include_current: bool = False
    """Whether the event itself counts (its same-time twins never do)."""

    _by = field_validator("by", mode="before")(_as_tuple)


class LabelsSection(Section):
    """Aggregates over an entity's labels that had arrived, label_time in ``(t - window, t]``."""

    by: tuple[str, ...]
    """Entities whose known outcomes are looked at."""
    windows: tuple[PositiveDuration, ...]
    """How far back the label had arrived."""
    aggregates: tuple[Aggregate, ...] = (Aggregate("known_count"), Aggregate("fraud_count"), Aggregate("fraud_rate"))
    """known_count, fraud_count, fraud_rate."""

    _by = field_validator("by", mode="before")(_as_tuple)


class RecencySection(Section):
    """How long ago things happened to an entity, in seconds."""

    by: tuple[str, ...]
    """Entities whose past is looked at."""
    aggregates: tuple[Aggregate, ...] = (Aggregate("seconds_since_last"),)
    """seconds_since_last, seconds_since_first, seconds_since_last_known_fraud."""

    _by = field_validator("by", mode="before")(_as_tuple)


class FeaturesSection(Section):
    """Everything that enters the model, and the words for it."""

    window: tuple[WindowSection, ...] = ()
    """Histories of entities."""
    labels: tuple[LabelsSection, ...] = ()
    """Known outcomes of entities."""
    recency: tuple[RecencySection, ...] = ()
    """Times since earlier events of entities."""
    raw: tuple[str, ...] = ()
    """Columns that enter the model as they are; entity ids never do."""
    categorical: tuple[str, ...] = ()
    """Those of `raw` and `columns` that are categories."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Row-level columns in Polars SQL over one row: name -> expression. May use the features above and each other."""
    words: dict[str, str] = Field(default_factory=dict)
    """What a feature means, in the words that reports and reasons use: feature -> words."""
    protected: tuple[str, ...] = ()
    """Features that are never given as a reason."""
